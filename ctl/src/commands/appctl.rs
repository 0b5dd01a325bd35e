//! Commands of `ovs-appctl`, passed through: `vswitchd` knows them, their arguments and their texts.

use vswitch_rpc::method::Appctl;

use super::Argument::{Required, Rest};
use super::{Argument, Command, Run, example, names, prints};
use crate::args::Typed;

const ARGUMENTS: Argument = Rest("ARG", "What follows the command, options included");

pub(super) const APPCTL: Command = Command {
    words: &["appctl"],
    aliases: &[],
    arguments: &[
        Required("COMMAND", "The command, such as fdb/show"),
        ARGUMENTS,
    ],
    help: "Give a command as ovs-appctl gives it",
    long: "list-commands tells which there are; they print what they print under Open vSwitch. \
           ovs-appctl itself works as well: OVS_RUNDIR=/run/vswitch ovs-appctl COMMAND. Options of \
           vsctl stand before COMMAND.",
    examples: &[
        example("vsctl appctl list-commands", "What there is"),
        example(
            "vsctl appctl vlog/set host:dbg",
            "Have vswitchd say more of what it does with devices",
        ),
        example(
            "vsctl appctl dpctl/dump-flows --names filter=tcp",
            "Cached flows of TCP, with the names of ports",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(Appctl {
                command: typed.text("COMMAND"),
                args: typed.rest("ARG"),
            }
            .into())
        },
        prints!(Appctl, names),
    ),
};

pub(super) const DUMP_CONNTRACK: Command = Command {
    words: &["dpctl", "dump-conntrack"],
    aliases: &[],
    arguments: &[ARGUMENTS],
    help: "Show the connections that are tracked",
    long: "The same as vsctl appctl dpctl/dump-conntrack.",
    examples: &[
        example("vsctl dpctl dump-conntrack", "All connections"),
        example("vsctl dpctl dump-conntrack -m zone=5", "Those of a zone"),
    ],
    run: Run::Ask(
        |typed| Ok(dpctl("dump-conntrack", typed).into()),
        prints!(Appctl, names),
    ),
};

pub(super) const FLUSH_CONNTRACK: Command = Command {
    words: &["dpctl", "flush-conntrack"],
    aliases: &[],
    arguments: &[ARGUMENTS],
    help: "Forget connections",
    long: "The same as vsctl appctl dpctl/flush-conntrack. Without arguments all are forgotten, else \
           those of a zone, and of these those with the addresses, protocol and ports that are \
           given for the original direction and perhaps for the reply.",
    examples: &[
        example("vsctl dpctl flush-conntrack", "Forget everything"),
        example(
            "vsctl dpctl flush-conntrack zone=5 ct_nw_src=10.1.1.1,ct_nw_proto=17",
            "Forget some",
        ),
    ],
    run: Run::Ask(
        |typed| Ok(dpctl("flush-conntrack", typed).into()),
        prints!(Appctl, names),
    ),
};

fn dpctl(word: &str, typed: &Typed<'_>) -> Appctl {
    Appctl {
        command: format!("dpctl/{word}"),
        args: typed.rest("ARG"),
    }
}
