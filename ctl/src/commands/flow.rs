//! The trace of a packet through the flows of a bridge.

use vswitch_rpc::flow::Trace;
use vswitch_rpc::text;

use super::Argument::Required;
use super::{BRIDGE, Command, Run, example, prints};

pub(super) const TRACE: Command = Command {
    words: &["trace"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        Required("FLOW", "The packet's fields, as a match is written"),
    ],
    help: "Show what a bridge would do with a packet, step by step",
    long: "Nothing is sent, learned or counted. The last line says what is done in the end.",
    examples: &[
        example(
            "vsctl trace br0 in_port=1,dl_src=50:54:00:00:00:01,dl_dst=50:54:00:00:00:02",
            "A packet from port 1",
        ),
        example(
            "vsctl trace br0 in_port=1,tcp,nw_dst=10.0.0.2,tp_dst=80",
            "A web request",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(Trace {
                bridge: typed.text("BRIDGE"),
                flow: typed.text("FLOW"),
            }
            .into())
        },
        prints!(Trace, |reply, _, page| page.text(&text::trace(reply))),
    ),
};
