//! Bridges: make, remove, list, settings.

use vswitch_rpc::bridge::{AddBr, DelBr, ListBr, ReadBr, SetBr};

use super::Argument::Options;
use super::{BRIDGE, Command, Run, example, names, nothing, prints, settings};

pub(super) const ADD: Command = Command {
    words: &["add-br"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        Options {
            help: "Settings of the bridge, as for set-br",
            required: false,
        },
    ],
    help: "Make a bridge",
    long: "A new bridge is standalone: it has one flow, NORMAL, and forwards at once. With \
           fail_mode=secure its table starts empty and nothing is forwarded. The bridge has a port \
           LOCAL, a network device with the bridge's name.",
    examples: &[
        example("vsctl add-br br0", "A bridge that learns and forwards"),
        example(
            "vsctl add-br br1 fail_mode=secure",
            "A bridge that waits for its flows",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(AddBr {
                name: typed.text("BRIDGE"),
                options: typed.options()?,
            }
            .into())
        },
        prints!(AddBr, nothing),
    ),
};

pub(super) const DEL: Command = Command {
    words: &["del-br"],
    aliases: &[],
    arguments: &[BRIDGE],
    help: "Remove a bridge with its ports",
    long: "Devices that the switch made are removed, those it took are given back.",
    examples: &[example("vsctl del-br br0", "Remove br0")],
    run: Run::Ask(
        |typed| {
            Ok(DelBr {
                name: typed.text("BRIDGE"),
            }
            .into())
        },
        prints!(DelBr, nothing),
    ),
};

pub(super) const LIST: Command = Command {
    words: &["list-br"],
    aliases: &[],
    arguments: &[],
    help: "List the bridges",
    long: "One name on a line, sorted.",
    examples: &[example("vsctl list-br", "The names of all bridges")],
    run: Run::Ask(|_| Ok(ListBr {}.into()), prints!(ListBr, names)),
};

pub(super) const SET: Command = Command {
    words: &["set-br"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        Options {
            help: "What to change",
            required: true,
        },
    ],
    help: "Change settings of a bridge",
    long: "Settings that are not named stay as they are. Either all are changed or, if one is \
           refused, none.\n\n\
           mac_table_size=N   how many addresses the bridge may learn\n\
           mac_aging_time=S   seconds after which an unseen address is forgotten\n\
           fail_mode=MODE     standalone or secure\n\
           controller=LIST    tcp:ADDRESS[:PORT] or ptcp:[PORT][:ADDRESS], or ssl: and pssl: with TLS \
           (set-ssl), with commas; empty for none\n\
           datapath_id=HEX    the OpenFlow number, 16 hexadecimal digits\n\
           flow_limit=N       most flows that table 0 takes\n\
           fragments=HOW      what flows see of them: normal, drop or nx-match",
    examples: &[
        example(
            "vsctl set-br br0 mac_aging_time=60",
            "Forget addresses after a minute",
        ),
        example(
            "vsctl set-br br0 mac_table_size=4096 fail_mode=secure",
            "Two settings at once",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(SetBr {
                name: typed.text("BRIDGE"),
                options: typed.options()?,
            }
            .into())
        },
        prints!(SetBr, nothing),
    ),
};

pub(super) const SHOW_SETTINGS: Command = Command {
    words: &["get-br"],
    aliases: &[],
    arguments: &[BRIDGE],
    help: "Show the settings of a bridge",
    long: "One key=value on a line, defaults included, as set-br takes them.",
    examples: &[example("vsctl get-br br0", "All settings of br0")],
    run: Run::Ask(
        |typed| {
            Ok(ReadBr {
                name: typed.text("BRIDGE"),
            }
            .into())
        },
        prints!(ReadBr, settings),
    ),
};
