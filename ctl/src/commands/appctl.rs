//! Commands of `ovs-appctl`, passed through: `vswitchd` knows them, their arguments and their texts.

use vswitch_rpc::method::Appctl;

use super::Argument::{Required, Rest};
use super::{Command, Run, example, names, prints};

pub(super) const APPCTL: Command = Command {
    words: &["appctl"],
    aliases: &[],
    arguments: &[
        Required("COMMAND", "The command, such as fdb/show"),
        Rest("ARG", "What follows the command, options included"),
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
