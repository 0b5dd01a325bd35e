//! Flows, in the words of `ovs-ofctl`, and the trace of a packet through them.

use vswitch_rpc::flow::{AddFlow, DelFlows, DumpFlows, Row, Trace};
use vswitch_rpc::method::Removed;
use vswitch_rpc::text::{self, DEFAULT_PRIORITY};

use super::Argument::{Flag, Optional, Required};
use super::{BRIDGE, Command, example, nothing, prints};
use crate::args::Typed;
use crate::output::Page;

pub(super) const ADD: Command = Command {
    words: &["add-flow"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        Required(
            "FLOW",
            "Match, priority and actions, as ovs-ofctl writes them",
        ),
    ],
    help: "Add a flow to a bridge",
    long: "A flow with the same table, priority and match is replaced.",
    examples: &[
        example(
            "vsctl add-flow br0 in_port=1,actions=output:2",
            "From port 1 to port 2",
        ),
        example(
            "vsctl add-flow br0 'priority=10,ip,nw_dst=10.0.0.0/8 actions=drop'",
            "Drop what goes to a network",
        ),
    ],
    call: |typed| {
        Ok(AddFlow {
            bridge: typed.text("BRIDGE"),
            flow: typed.text("FLOW"),
        }
        .into())
    },
    print: prints!(AddFlow, nothing),
};

pub(super) const DEL: Command = Command {
    words: &["del-flows"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        Optional("MATCH", "Only flows that are at least as specific as this"),
        Flag(
            "strict",
            None,
            "Only the flow with exactly this match and priority",
        ),
    ],
    help: "Remove flows from a bridge",
    long: "Without a match all flows are removed, and nothing is forwarded until there are new \
           ones.",
    examples: &[
        example("vsctl del-flows br0", "Empty the table"),
        example(
            "vsctl del-flows br0 in_port=1",
            "Every flow for packets from port 1",
        ),
        example(
            "vsctl del-flows br0 priority=10,in_port=1 --strict",
            "This flow and no other",
        ),
    ],
    call: |typed| {
        let (bridge, filter) = (typed.text("BRIDGE"), typed.optional("MATCH"));
        Ok(DelFlows {
            bridge,
            filter,
            strict: typed.flag("strict"),
        }
        .into())
    },
    print: prints!(DelFlows, print_removed),
};

pub(super) const DUMP: Command = Command {
    words: &["dump-flows"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        Optional("MATCH", "Only flows that are at least as specific as this"),
        Flag(
            "no-stats",
            None,
            "Without counters: text that add-flow takes",
        ),
    ],
    help: "Show the flows of a bridge",
    long: "The format is that of ovs-ofctl dump-flows.",
    examples: &[
        example("vsctl dump-flows br0", "All flows with their counters"),
        example(
            "vsctl dump-flows br0 in_port=1 --no-stats",
            "Some flows, to be saved",
        ),
    ],
    call: |typed| {
        Ok(DumpFlows {
            bridge: typed.text("BRIDGE"),
            filter: typed.optional("MATCH"),
        }
        .into())
    },
    print: prints!(DumpFlows, print_flows),
};

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
    call: |typed| {
        Ok(Trace {
            bridge: typed.text("BRIDGE"),
            flow: typed.text("FLOW"),
        }
        .into())
    },
    print: prints!(Trace, |reply, _, page| page.text(&text::trace(reply))),
};

fn print_removed(removed: &Removed, _: &Typed<'_>, page: &mut Page) {
    page.line(match removed.removed {
        1 => "1 flow removed".into(),
        count => format!("{count} flows removed"),
    });
}

fn print_flows(rows: &Vec<Row>, typed: &Typed<'_>, page: &mut Page) {
    for row in rows {
        page.line(if typed.flag("no-stats") {
            row.text.clone()
        } else {
            flow_line(row)
        });
    }
}

fn flow_line(row: &Row) -> String {
    let mut line = format!(
        " cookie={:#x}, duration={:.3}s, table={}, n_packets={}, n_bytes={}, ",
        row.cookie, row.duration_s, row.table, row.packets, row.bytes
    );
    let mut parts = Vec::new();
    if row.priority != DEFAULT_PRIORITY {
        parts.push(format!("priority={}", row.priority));
    }
    if !row.matches.is_empty() {
        parts.push(row.matches.clone());
    }
    if !parts.is_empty() {
        line += &parts.join(",");
        line.push(' ');
    }
    line + "actions=" + &row.actions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(priority: u16, matches: &str) -> Row {
        Row {
            table: 0,
            priority,
            cookie: 0x1f,
            duration_s: 1.25,
            packets: 5,
            bytes: 490,
            matches: matches.into(),
            actions: "output:2".into(),
            text: String::new(),
        }
    }

    #[test]
    fn flows_look_like_those_of_ovs_ofctl() {
        let head = " cookie=0x1f, duration=1.250s, table=0, n_packets=5, n_bytes=490, ";
        let cases = [
            (
                row(10, "ip,in_port=1"),
                "priority=10,ip,in_port=1 actions=output:2",
            ),
            (row(0, ""), "priority=0 actions=output:2"),
            (
                row(DEFAULT_PRIORITY, "in_port=1"),
                "in_port=1 actions=output:2",
            ),
            (row(DEFAULT_PRIORITY, ""), "actions=output:2"),
        ];
        for (row, tail) in cases {
            assert_eq!(flow_line(&row), format!("{head}{tail}"));
        }
    }
}
