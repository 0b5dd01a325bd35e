//! The one list of commands. A row says everything about its command: the words, what follows
//! them, help, examples, which call it makes and how the reply is printed. The rows of a subject
//! lie in its file, each beside the function that prints its reply.

pub mod appctl;
pub mod bridge;
pub mod datapath;
pub mod dpctl;
pub mod endpoint;
pub mod fdb;
pub mod flow;
pub mod mirror;
pub mod network;
pub mod openflow;
pub mod port;
pub mod router;
pub mod sandbox;
pub mod ssl;
pub mod switch;
pub mod uplink;

use std::io::Write;

use serde_json::Value;
use vswitch_rpc::Call;
use vswitch_rpc::envelope::BadResponse;

use crate::args::Typed;
use crate::client::Client;
use crate::error::Failure;
use crate::openflow::session::Session;
use crate::output::Page;
use openflow::Answer;

/// One command.
#[derive(Debug)]
pub struct Command {
    /// What is typed: one word, or one or two groups of [`GROUPS`] and a word.
    pub words: &'static [&'static str],
    /// Other words for the last one.
    pub aliases: &'static [&'static str],
    /// What follows the words.
    pub arguments: &'static [Argument],
    /// One line, without a full stop.
    pub help: &'static str,
    /// The rest of what there is to know.
    pub long: &'static str,
    /// At least one.
    pub examples: &'static [Example],
    /// How it is carried out.
    pub run: Run,
}

/// From what was typed to what is meant.
pub type Meaning = fn(&Typed<'_>) -> Result<Call, clap::Error>;
/// Prints a reply.
pub type Print = fn(&Typed<'_>, Value, &mut Page) -> Result<(), BadResponse>;
/// Speaks OpenFlow and says what it found.
pub type Exchange = fn(&Typed<'_>, &Session) -> Result<Answer, Failure>;
/// Asks `vswitchd` as often as it takes and says what it found.
pub type Talk = fn(&Typed<'_>, &mut Client) -> Result<Answer, Failure>;
/// Speaks OpenFlow and prints while it goes on.
pub type Watch = fn(&Typed<'_>, &Session, &mut dyn Write) -> Result<(), Failure>;

/// The words of a program to run.
pub type Program = fn(&Typed<'_>) -> Vec<String>;

/// How a command is carried out.
#[derive(Debug)]
pub enum Run {
    /// One question to `vswitchd`.
    Ask(Meaning, Print),
    /// Several questions to `vswitchd`, of which this is the first if there is nothing else to read.
    Talk(Meaning, Talk),
    /// OpenFlow with a bridge.
    OpenFlow(Exchange),
    /// OpenFlow with a bridge if one is named, else a question to `vswitchd`.
    Either(Exchange, Meaning, Print),
    /// OpenFlow with a bridge, until interrupted.
    Watch(Watch),
    /// One question to `vswitchd` that is answered with a namespace, and a program that is run there.
    Inside(Meaning, Program),
}

/// A command line that works, and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// With the program's name.
    pub line: &'static str,
    /// Without a full stop.
    pub says: &'static str,
}

const fn example(line: &'static str, says: &'static str) -> Example {
    Example { line, says }
}

/// What may follow the words of a command.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// A word that must be there: name, help.
    Required(&'static str, &'static str),
    /// A word that may be there: name, help.
    Optional(&'static str, &'static str),
    /// `key=value` words, last.
    Options {
        /// What they are for.
        help: &'static str,
        /// At least one must be there.
        required: bool,
    },
    /// Any words, last: name, help.
    Several(&'static str, &'static str),
    /// Any words, options included, last: name, help.
    Rest(&'static str, &'static str),
    /// `--name`, perhaps with a letter: name, letter, help.
    Flag(&'static str, Option<char>, &'static str),
    /// `--name VALUE`: name, what the value is called, help.
    Valued(&'static str, &'static str, &'static str),
    /// The same, any number of times.
    Repeated(&'static str, &'static str, &'static str),
}

/// A bridge's name, as most commands want it.
const BRIDGE: Argument = Argument::Required("BRIDGE", "The bridge");
/// A port's name.
const PORT: Argument = Argument::Required("PORT", "The port");

/// The function that reads a reply of a method and prints it.
macro_rules! prints {
    ($method:ty, $print:expr) => {
        |typed, reply, page| {
            let reply: <$method as vswitch_rpc::Method>::Reply =
                vswitch_rpc::envelope::decode_reply(reply)?;
            let print: fn(&_, &$crate::args::Typed<'_>, &mut $crate::output::Page) = $print;
            print(&reply, typed, page);
            Ok(())
        }
    };
}
use prints;

/// Prints nothing: the exit status says it all.
fn nothing<T>(_: &T, _: &Typed<'_>, _: &mut Page) {}

/// Prints names, one on a line.
fn names(names: &Vec<String>, _: &Typed<'_>, page: &mut Page) {
    for name in names {
        page.line(name);
    }
}

/// Prints settings as the commands take them.
fn settings(settings: &vswitch_rpc::method::Options, _: &Typed<'_>, page: &mut Page) {
    for (key, value) in settings {
        page.line(format_args!("{key}={value}"));
    }
}

/// The first words of two-word commands, and what they are about.
pub const GROUPS: &[(&str, &str)] = &[
    ("fdb", "What a bridge has learned about addresses"),
    (
        "dpctl",
        "The packet process: its ports, cached flows and connections",
    ),
    ("pmd", "The workers of the packet process"),
    ("uplink", "Devices shared with the host"),
    ("router", "Routers, which join the networks of bridges"),
    ("router port", "Where routers meet bridges"),
    ("route", "Which way a router sends packets"),
    ("neigh", "What a router knows of its neighbours"),
    ("network", "Container networks"),
    (
        "sandbox",
        "Network namespaces that are connected to container networks",
    ),
    ("endpoint", "Who is on which container network"),
];

/// Every command, in the order of the help.
pub const COMMANDS: &[Command] = &[
    switch::SHOW,
    switch::SHUTDOWN,
    bridge::ADD,
    bridge::DEL,
    bridge::LIST,
    bridge::SET,
    bridge::SHOW_SETTINGS,
    port::ADD,
    port::DEL,
    port::LIST,
    port::SET,
    port::SHOW_SETTINGS,
    port::DUMP,
    mirror::ADD,
    mirror::DEL,
    ssl::SET,
    ssl::SHOW,
    ssl::DEL,
    uplink::LIST,
    uplink::ADD,
    uplink::RM,
    flow::TRACE,
    openflow::flows::ADD,
    openflow::flows::ADD_ALL,
    openflow::flows::MODIFY,
    openflow::flows::DELETE,
    openflow::flows::REPLACE,
    openflow::flows::DIFF,
    openflow::flows::DUMP,
    openflow::flows::AGGREGATE,
    openflow::change::BUNDLE_FILE,
    openflow::change::PACKET_OUT,
    openflow::groups::ADD,
    openflow::groups::ADD_ALL,
    openflow::groups::MODIFY,
    openflow::groups::DELETE,
    openflow::groups::INSERT,
    openflow::groups::REMOVE,
    openflow::groups::DUMP,
    openflow::groups::STATS,
    openflow::groups::FEATURES,
    openflow::meters::ADD,
    openflow::meters::MODIFY,
    openflow::meters::DELETE,
    openflow::meters::DUMP,
    openflow::meters::STATS,
    openflow::meters::FEATURES,
    openflow::ports::DESC,
    openflow::ports::PORTS,
    openflow::ports::PORTS_DESC,
    openflow::ports::MOD_PORT,
    openflow::ports::TABLES,
    openflow::ports::TABLE_FEATURES,
    openflow::tables::DESC,
    openflow::tables::MODIFY,
    openflow::ports::QUEUES,
    openflow::fragments::GET,
    openflow::fragments::SET,
    openflow::connections::FLUSH,
    openflow::connections::FLUSH_ZONE,
    openflow::ports::PROBE,
    openflow::watch::MONITOR,
    openflow::watch::SNOOP,
    network::CREATE,
    network::LIST,
    network::INSPECT,
    network::REMOVE,
    network::PRUNE,
    network::CONNECT,
    network::DISCONNECT,
    network::EXPLAIN,
    sandbox::CREATE,
    sandbox::LIST,
    sandbox::REMOVE,
    sandbox::EXEC,
    endpoint::LIST,
    endpoint::INSPECT,
    fdb::SHOW,
    fdb::FLUSH,
    fdb::STATS,
    router::ADD,
    router::DEL,
    router::SHOW,
    router::LEASES,
    router::PORT_ADD,
    router::PORT_DEL,
    router::PORT_SET,
    router::ROUTE_ADD,
    router::ROUTE_DEL,
    router::ROUTE_SHOW,
    router::ROUTE_GET,
    router::NEIGH_SHOW,
    router::NEIGH_FLUSH,
    datapath::DPCTL_SHOW,
    datapath::DPCTL_DUMP_FLOWS,
    dpctl::DUMP_CONNTRACK,
    dpctl::DUMP_EXPECTED,
    dpctl::FLUSH_CONNTRACK,
    dpctl::STATS,
    dpctl::BUCKETS,
    dpctl::COUNT,
    dpctl::MAX,
    dpctl::SET_MAX,
    dpctl::LIMITS,
    dpctl::SET_LIMITS,
    dpctl::DEL_LIMITS,
    dpctl::SEQ_CHK,
    dpctl::ENABLE_SEQ_CHK,
    dpctl::DISABLE_SEQ_CHK,
    dpctl::LOOSE,
    dpctl::ENABLE_LOOSE,
    dpctl::DISABLE_LOOSE,
    dpctl::TIMEOUTS,
    dpctl::SET_TIMEOUT,
    dpctl::DEL_TIMEOUT,
    dpctl::IPF_STATUS,
    dpctl::IPF_ENABLE,
    dpctl::IPF_DISABLE,
    dpctl::IPF_MIN_FRAG,
    dpctl::IPF_MAX_NFRAGS,
    datapath::PMD_STATS,
    datapath::PMD_RXQ,
    datapath::DROPS,
    appctl::APPCTL,
];

/// The row of a command by the words as the parser reports them, which are never aliases.
pub fn find(words: &[&str]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.words == words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;
    use std::collections::BTreeSet;
    use vswitch_rpc::method;

    #[test]
    fn every_row_has_an_example_that_parses_to_itself() {
        for command in COMMANDS {
            let words = command.words.join(" ");
            assert!(!command.examples.is_empty(), "{words}");
            for example in command.examples {
                let line = shell_words(example.line);
                let parsed = args::parse(line).unwrap_or_else(|error| panic!("{words}: {error}"));
                let (row, call) = parsed.expect("examples are rows");
                assert_eq!(row.words, command.words, "{}", example.line);
                let Some(call) = call else { continue };
                match &call {
                    // One call for all commands on connections.
                    Call::Dpctl(call) => {
                        assert_eq!(command.words, ["dpctl", call.command.as_str()]);
                    }
                    _ => assert_eq!(call.name(), command.words.join("-"), "{}", example.line),
                }
                // A call whose parameters the contract itself would refuse is no example.
                Call::parse(call.name(), call.params()).expect(example.line);
            }
        }
    }

    /// The words of a line, single quotes respected.
    fn shell_words(line: &str) -> Vec<std::ffi::OsString> {
        line.split('\'')
            .enumerate()
            .flat_map(|(part, text)| {
                if part % 2 == 1 {
                    vec![text.into()]
                } else {
                    text.split_whitespace().map(Into::into).collect()
                }
            })
            .collect()
    }

    #[test]
    fn every_method_can_be_reached() {
        let reached: BTreeSet<&str> = COMMANDS
            .iter()
            .flat_map(|command| command.examples)
            .filter_map(|example| args::parse(shell_words(example.line)).ok().flatten())
            .filter_map(|(_, call)| call)
            .map(|call| call.name())
            .collect();
        // Programs without OpenFlow may change flows by calls; `vsctl` speaks OpenFlow.
        let flows = ["add-flow", "del-flows", "dump-flows"];
        let offered: BTreeSet<&str> = method::NAMES.iter().copied().collect();
        let missed: Vec<_> = offered.difference(&reached).copied().collect();
        assert_eq!(missed, flows);
    }

    #[test]
    fn every_command_and_argument_is_in_the_document() {
        let document = include_str!("../../../docs/vsctl.md");
        for command in COMMANDS {
            let words = format!("| `vsctl {}", command.words.join(" "));
            let mut lines = document.lines();
            let row = lines.find(|line| {
                let rest = line.strip_prefix(&words);
                rest.is_some_and(|rest| rest.starts_with(['`', ' ']))
            });
            let row = row.unwrap_or_else(|| panic!("docs/vsctl.md has no row {words}"));
            for argument in command.arguments {
                let text = match *argument {
                    Argument::Required(name, _) => name.to_string(),
                    Argument::Optional(name, _) => format!("[{name}]"),
                    Argument::Options { required, .. } if required => "key=value ...".into(),
                    Argument::Options { .. } => "[key=value ...]".into(),
                    Argument::Several(name, _) | Argument::Rest(name, _) => format!("[{name} ...]"),
                    Argument::Flag(_, Some(letter), _) if row.contains(&format!("[-{letter}]")) => {
                        continue;
                    }
                    Argument::Flag(name, ..) => format!("[--{name}]"),
                    Argument::Valued(name, value, _) | Argument::Repeated(name, value, _) => {
                        format!("[--{name} {value}]")
                    }
                };
                assert!(row.contains(&text), "{words}: {text} is not in the row");
            }
        }
    }

    #[test]
    fn words_are_unique_and_groups_are_explained() {
        let mut seen = BTreeSet::new();
        for command in COMMANDS {
            assert!(seen.insert(command.words), "{:?}", command.words);
            assert!(matches!(command.words.len(), 1..=3), "{:?}", command.words);
            for len in 1..command.words.len() {
                let group = command.words[..len].join(" ");
                assert!(GROUPS.iter().any(|(name, _)| *name == group), "{group}");
            }
            for text in [command.help, command.examples[0].says] {
                assert!(
                    !text.ends_with('.') && !text.is_empty(),
                    "{:?}: {text}",
                    command.words
                );
            }
        }
    }
}
