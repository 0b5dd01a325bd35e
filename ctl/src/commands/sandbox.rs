//! Sandboxes: network namespaces that are connected to container networks.

use vswitch_rpc::sandbox::{Sandbox, SandboxCreate, SandboxExec, SandboxLs, SandboxRm};

use super::Argument::{Repeated, Required, Rest, Valued};
use super::network::{labels, print_id, short};
use super::{Argument, Command, Run, example, nothing, prints};
use crate::args::Typed;
use crate::output::Page;
use crate::output::table::Align::Left;
use crate::output::table::Table;

const SANDBOX: Argument = Required(
    "SANDBOX",
    "The sandbox: its name, id, or the beginning of its id",
);

pub(super) const CREATE: Command = Command {
    words: &["sandbox", "create"],
    aliases: &[],
    arguments: &[
        Required("NAME", "The sandbox"),
        Valued(
            "netns",
            "NETNS",
            "A namespace that is there: a name of ip netns, a path, or the number of a process",
        ),
        Repeated("label", "KEY=VALUE", "For people"),
    ],
    help: "Make a sandbox",
    long: "Makes a network namespace of the sandbox's name, as ip netns does, with its loopback device up; or \
           takes one that is there, which stays when the sandbox goes. Prints the sandbox's id.",
    examples: &[
        example("vsctl sandbox create c1", "With a namespace of its own"),
        example(
            "vsctl sandbox create c2 --netns 4711",
            "The namespace of process 4711",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(SandboxCreate {
                name: typed.text("NAME"),
                netns: typed.value("netns"),
                labels: labels(typed)?,
            }
            .into())
        },
        prints!(SandboxCreate, print_id),
    ),
};

pub(super) const LIST: Command = Command {
    words: &["sandbox", "ls"],
    aliases: &[],
    arguments: &[],
    help: "List the sandboxes",
    long: "One on a line, by name, with the networks that each is connected to.",
    examples: &[example("vsctl sandbox ls", "All sandboxes")],
    run: Run::Ask(|_| Ok(SandboxLs {}.into()), prints!(SandboxLs, print_all)),
};

pub(super) const REMOVE: Command = Command {
    words: &["sandbox", "rm"],
    aliases: &[],
    arguments: &[SANDBOX],
    help: "Disconnect a sandbox from all networks and remove it",
    long: "A namespace that was made for it goes too, unless a process is in it.",
    examples: &[example("vsctl sandbox rm c1", "Remove c1")],
    run: Run::Ask(
        |typed| {
            Ok(SandboxRm {
                sandbox: typed.text("SANDBOX"),
            }
            .into())
        },
        prints!(SandboxRm, nothing),
    ),
};

pub(super) const EXEC: Command = Command {
    words: &["sandbox", "exec"],
    aliases: &[],
    arguments: &[SANDBOX, Rest("COMMAND", "The command with its arguments")],
    help: "Run a command in a sandbox",
    long: "In its network namespace; all else is as where vsctl is run. The exit status is the command's.",
    examples: &[example(
        "vsctl sandbox exec c1 ping -c 1 10.2.0.9",
        "Ping from c1",
    )],
    run: Run::Inside(
        |typed| {
            Ok(SandboxExec {
                sandbox: typed.text("SANDBOX"),
            }
            .into())
        },
        |typed| typed.rest("COMMAND"),
    ),
};

fn print_all(sandboxes: &Vec<Sandbox>, _: &Typed<'_>, page: &mut Page) {
    let columns = [
        ("SANDBOX ID", Left),
        ("NAME", Left),
        ("NETWORKS", Left),
        ("NETNS", Left),
    ];
    let mut table = Table::new(0, &columns);
    for sandbox in sandboxes {
        let networks = match sandbox.networks.as_slice() {
            [] => "-".to_owned(),
            networks => networks.join(" "),
        };
        table.row([
            short(&sandbox.id).into(),
            (&sandbox.name).into(),
            networks.into(),
            (&sandbox.netns).into(),
        ]);
    }
    table.print(page);
}
