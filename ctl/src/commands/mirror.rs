//! Mirrors: make and remove. `show` lists them.

use vswitch_rpc::mirror::{AddMirror, DelMirror};

use super::Argument::{Options, Required};
use super::{Argument, BRIDGE, Command, Run, example, nothing, prints};

const MIRROR: Argument = Required("NAME", "The mirror");

pub(super) const ADD: Command = Command {
    words: &["add-mirror"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        MIRROR,
        Options {
            help: "What to copy, and where to",
            required: true,
        },
    ],
    help: "Copy traffic of a bridge to a port or a VLAN",
    long: "select_all=true      every packet\n\
           select_src=PORT,..   what comes in through these ports\n\
           select_dst=PORT,..   what goes out through these ports\n\
           select_vlan=N,..     only these VLANs\n\
           output_port=PORT     copies leave here\n\
           output_vlan=N        copies are flooded in this VLAN",
    examples: &[example(
        "vsctl add-mirror br0 m0 select_src=sw1 select_dst=sw1 output_port=sw3",
        "Copy all traffic of sw1 to sw3",
    )],
    run: Run::Ask(
        |typed| {
            let (bridge, name) = (typed.text("BRIDGE"), typed.text("NAME"));
            Ok(AddMirror {
                bridge,
                name,
                options: typed.options()?,
            }
            .into())
        },
        prints!(AddMirror, nothing),
    ),
};

pub(super) const DEL: Command = Command {
    words: &["del-mirror"],
    aliases: &[],
    arguments: &[BRIDGE, MIRROR],
    help: "Stop a mirror",
    long: "The ports it copied from and to stay as they are.",
    examples: &[example("vsctl del-mirror br0 m0", "Remove the mirror m0")],
    run: Run::Ask(
        |typed| {
            Ok(DelMirror {
                bridge: typed.text("BRIDGE"),
                name: typed.text("NAME"),
            }
            .into())
        },
        prints!(DelMirror, nothing),
    ),
};
