//! The trace of a packet through the flows of a bridge.

use vswitch_rpc::flow::Trace;
use vswitch_rpc::text;

use super::Argument::{Flag, Optional, Repeated, Required};
use super::{BRIDGE, Command, Run, example, prints};

pub(super) const TRACE: Command = Command {
    words: &["trace"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        Required("FLOW", "The packet's fields, as a match is written"),
        Optional(
            "PACKET",
            "The packet's bytes in hexadecimal, whose headers count then; it teaches, and \
             controllers are told of it",
        ),
        Flag("generate", None, "The same with a packet made of FLOW"),
        Flag("names", None, "Ports by their names"),
        Repeated(
            "ct-next",
            "STATES",
            "What connection tracking finds, trk,est; once for each time that it is asked",
        ),
    ],
    help: "Show what a bridge would do with a packet, step by step",
    long: "The packet is sent nowhere and no flow counts it; without PACKET and --generate nothing is \
           learned either. The last line says what is done in the end, with the port numbers of \
           vsctl dpctl show.",
    examples: &[
        example(
            "vsctl trace br0 in_port=1,dl_src=50:54:00:00:00:01,dl_dst=50:54:00:00:00:02",
            "A packet from port 1",
        ),
        example(
            "vsctl trace br0 in_port=1,tcp,nw_dst=10.0.0.2,tp_dst=80",
            "A web request",
        ),
        example(
            "vsctl trace br0 in_port=1 505400000005505400000006080600",
            "These bytes, and what they teach",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(Trace {
                bridge: typed.text("BRIDGE"),
                flow: typed.text("FLOW"),
                packet: typed.optional("PACKET"),
                generate: typed.flag("generate"),
                names: typed.flag("names"),
                ct_next: typed.values("ct-next"),
            }
            .into())
        },
        prints!(Trace, |reply, _, page| page.text(&text::trace(reply))),
    ),
};
