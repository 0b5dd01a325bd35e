//! From the rows to a parser, and from its matches to what was typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, value_parser};
use vswitch_openflow::Version;
use vswitch_rpc::method::Options;
use vswitch_rpc::{DEFAULT_RUNDIR, RUNDIR_VARIABLE};

use crate::commands::{self, Argument, Command, Run};
use crate::generate;
use crate::openflow::papers::Papers;

/// What `--timeout` is without being given: longer than any command takes on a machine in trouble
/// (starting a datapath included), short enough for a person to see that something hangs.
const DEFAULT_TIMEOUT_S: &str = "60";

/// What OpenFlow commands speak unless told otherwise: the version whose every message is known here.
const DEFAULT_OPENFLOW: &str = "OpenFlow13";

/// The name under which key=value words are kept.
const OPTIONS: &str = "KEY=VALUE";

/// What holds for every command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// Where the switch keeps its sockets.
    pub rundir: PathBuf,
    /// Print the reply as JSON.
    pub json: bool,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Versions of OpenFlow to offer.
    pub versions: Vec<Version>,
    /// Who we are to switches that speak TLS.
    pub papers: Papers,
}

impl Globals {
    /// Picks them out of the matches.
    pub fn read(matches: &ArgMatches) -> Self {
        Self {
            rundir: matches
                .get_one::<PathBuf>("rundir")
                .cloned()
                .unwrap_or(DEFAULT_RUNDIR.into()),
            json: matches.get_flag("json"),
            timeout: Duration::from_secs(*matches.get_one("timeout").expect("it has a default")),
            versions: matches
                .get_many::<Version>("openflow")
                .expect("it has a default")
                .copied()
                .collect(),
            papers: Papers {
                private_key: matches.get_one("private-key").cloned(),
                certificate: matches.get_one("certificate").cloned(),
                ca_cert: matches.get_one("ca-cert").cloned(),
            },
        }
    }
}

/// The parser of the whole command line.
pub fn parser() -> clap::Command {
    let mut root = clap::Command::new("vsctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Sees and changes a running virtual switch")
        .long_about(
            "Sees and changes a running virtual switch.\n\n\
             Every command is one question to vswitchd, which listens in the run directory. A \
             change is in force, and counters are exact, when the command has ended.",
        )
        .after_long_help(
            "Exit status: 0 done, 1 refused or failed, 2 not a command.\n\n\
             Colours appear on a terminal only; NO_COLOR turns them off.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .infer_long_args(true)
        .args(globals());
    for command in commands::COMMANDS {
        match *command.words {
            [word] => root = root.subcommand(subcommand(command, word)),
            [group, word] => {
                if root.find_subcommand(group).is_none() {
                    root = root.subcommand(group_of(&[group]));
                }
                root = root
                    .mut_subcommand(group, |parent| parent.subcommand(subcommand(command, word)));
            }
            [outer, inner, word] => {
                if root.find_subcommand(outer).is_none() {
                    root = root.subcommand(group_of(&[outer]));
                }
                root = root.mut_subcommand(outer, |parent| {
                    let parent = match parent.find_subcommand(inner) {
                        Some(_) => parent,
                        None => parent.subcommand(group_of(&[outer, inner])),
                    };
                    parent
                        .mut_subcommand(inner, |group| group.subcommand(subcommand(command, word)))
                });
            }
            _ => unreachable!("a command has one to three words; a test looks at every row"),
        }
    }
    root.subcommand(generate::parser())
}

fn globals() -> [clap::Arg; 7] {
    let file = |name: &'static str, letter: char, help: &'static str| {
        clap::Arg::new(name)
            .long(name)
            .short(letter)
            .value_name("FILE")
            .help(help)
            .value_parser(value_parser!(PathBuf))
            .value_hint(clap::ValueHint::FilePath)
            .global(true)
    };
    [
        clap::Arg::new("rundir")
            .long("rundir")
            .value_name("DIR")
            .help("Where vswitchd keeps its sockets")
            .env(RUNDIR_VARIABLE)
            // A man page must not tell of the machine it was made on.
            .hide_env_values(true)
            .default_value(DEFAULT_RUNDIR)
            .value_parser(value_parser!(PathBuf))
            .value_hint(clap::ValueHint::DirPath)
            .global(true),
        clap::Arg::new("json")
            .long("json")
            .help("Print the reply as JSON")
            .action(ArgAction::SetTrue)
            .global(true),
        clap::Arg::new("timeout")
            .long("timeout")
            .value_name("SECONDS")
            .help("How long to wait for an answer")
            .default_value(DEFAULT_TIMEOUT_S)
            .value_parser(value_parser!(u64).range(1..=86_400))
            .global(true),
        clap::Arg::new("openflow")
            .long("openflow")
            .short('O')
            .value_name("VERSION")
            .help("Versions of OpenFlow to offer: OpenFlow10, OpenFlow13, OpenFlow14, OpenFlow15")
            .default_value(DEFAULT_OPENFLOW)
            .value_delimiter(',')
            .value_parser(ValueParser::from(openflow_version))
            .global(true),
        file(
            "private-key",
            'p',
            "Our private key for ssl: switches, in PEM",
        ),
        file("certificate", 'c', "The certificate of that key"),
        file(
            "ca-cert",
            'C',
            "The authorities whose word is taken for who a switch is",
        ),
    ]
}

fn group_of(words: &[&'static str]) -> clap::Command {
    let name = words.last().copied().unwrap_or_default();
    let path = words.join(" ");
    let about = commands::GROUPS
        .iter()
        .find(|(group, _)| *group == path)
        .map_or("", |(_, about)| about);
    clap::Command::new(name)
        .about(about)
        .subcommand_required(true)
        .arg_required_else_help(true)
}

fn subcommand(command: &'static Command, word: &'static str) -> clap::Command {
    let mut examples = String::from("Examples:");
    for example in command.examples {
        examples += &format!("\n  {}\n      {}", example.line, example.says);
    }
    let mut parser = clap::Command::new(word)
        .about(command.help)
        .long_about(format!("{}.\n\n{}", command.help, command.long))
        .after_long_help(examples)
        .visible_aliases(command.aliases.iter().copied());
    for argument in command.arguments {
        parser = parser.arg(match *argument {
            Argument::Required(name, help) => positional(name, help).required(true),
            Argument::Optional(name, help) => positional(name, help),
            Argument::Options { help, required } => positional(OPTIONS, help)
                .action(ArgAction::Append)
                .num_args(if required { 1.. } else { 0.. })
                .required(required)
                .value_parser(ValueParser::from(key_value)),
            Argument::Several(name, help) => positional(name, help)
                .action(ArgAction::Append)
                .num_args(0..),
            Argument::Rest(name, help) => positional(name, help)
                .action(ArgAction::Append)
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true),
            Argument::Valued(name, value, help) => clap::Arg::new(name)
                .long(name)
                .value_name(value)
                .help(help)
                .allow_negative_numbers(true),
            Argument::Repeated(name, value, help) => clap::Arg::new(name)
                .long(name)
                .value_name(value)
                .help(help)
                .action(ArgAction::Append),
            Argument::Flag(name, short, help) => {
                let mut flag = clap::Arg::new(name)
                    .long(name)
                    .help(help)
                    .action(ArgAction::SetTrue);
                if let Some(short) = short {
                    flag = flag.short(short);
                }
                flag
            }
        });
    }
    parser
}

fn positional(name: &'static str, help: &'static str) -> clap::Arg {
    clap::Arg::new(name).value_name(name).help(help)
}

/// The word is not a setting. Which keys there are is for `vswitchd` to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a setting is written key=value")]
struct NotKeyValue;

fn key_value(word: &str) -> Result<(String, String), NotKeyValue> {
    let (key, value) = word.split_once('=').ok_or(NotKeyValue)?;
    if key.is_empty() {
        return Err(NotKeyValue);
    }
    Ok((key.into(), value.into()))
}

/// The word names no version that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "versions are OpenFlow10, OpenFlow13, OpenFlow14 and OpenFlow15, with commas between several"
)]
struct NoVersion;

fn openflow_version(word: &str) -> Result<Version, NoVersion> {
    match word.trim_start_matches("OpenFlow") {
        "10" | "1.0" => Ok(Version::V10),
        "13" | "1.3" => Ok(Version::V13),
        "14" | "1.4" => Ok(Version::V14),
        "15" | "1.5" => Ok(Version::V15),
        _ => Err(NoVersion),
    }
}

/// The words of the command that was typed, and its own matches.
pub fn deepest(matches: &ArgMatches) -> (Vec<&str>, &ArgMatches) {
    let mut words = Vec::new();
    let mut matches = matches;
    while let Some((word, below)) = matches.subcommand() {
        words.push(word);
        matches = below;
    }
    (words, matches)
}

/// What was typed after the words of a command.
#[derive(Clone, Copy, Debug)]
pub struct Typed<'a> {
    matches: &'a ArgMatches,
}

impl<'a> Typed<'a> {
    /// Looks at one command's matches.
    pub fn new(matches: &'a ArgMatches) -> Self {
        Self { matches }
    }

    /// A [`Argument::Required`].
    pub fn text(&self, name: &str) -> String {
        self.optional(name)
            .expect("the parser has refused a command line without it")
    }

    /// An [`Argument::Optional`].
    pub fn optional(&self, name: &str) -> Option<String> {
        self.matches.get_one::<String>(name).cloned()
    }

    /// The words of an [`Argument::Rest`] or [`Argument::Several`].
    pub fn rest(&self, name: &str) -> Vec<String> {
        let words = self.matches.get_many::<String>(name);
        words.into_iter().flatten().cloned().collect()
    }

    /// An [`Argument::Flag`].
    pub fn flag(&self, name: &str) -> bool {
        self.matches.get_flag(name)
    }

    /// An [`Argument::Flag`] that not every command has.
    pub fn has_flag(&self, name: &str) -> bool {
        matches!(self.matches.try_get_one::<bool>(name), Ok(Some(true)))
    }

    /// An [`Argument::Valued`].
    pub fn value(&self, name: &str) -> Option<String> {
        self.optional(name)
    }

    /// An [`Argument::Repeated`].
    pub fn values(&self, name: &str) -> Vec<String> {
        self.rest(name)
    }

    /// The settings of an [`Argument::Options`]. A key given twice is an error: which of the two
    /// was meant?
    pub fn options(&self) -> Result<Options, clap::Error> {
        let mut options = Options::new();
        for (key, value) in self
            .matches
            .get_many::<(String, String)>(OPTIONS)
            .into_iter()
            .flatten()
        {
            if options.insert(key.clone(), value.clone()).is_some() {
                let text = format!("the setting '{key}' is given twice\n");
                return Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
            }
        }
        Ok(options)
    }
}

/// Parses a command line into its row and, where it asks `vswitchd`, its call, program name first;
/// the world is not touched.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Option<(&'static Command, Option<vswitch_rpc::Call>)>, clap::Error> {
    let matches = parser().try_get_matches_from(arguments)?;
    let (words, matches) = deepest(&matches);
    let Some(command) = commands::find(&words) else {
        return Ok(None);
    };
    let call = match command.run {
        Run::Ask(meaning, _)
        | Run::Talk(meaning, _)
        | Run::Either(_, meaning, _)
        | Run::Inside(meaning, _) => Some(meaning(&Typed::new(matches))?),
        Run::OpenFlow(_) | Run::Watch(_) => None,
    };
    Ok(Some((command, call)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_rpc::Call;
    use vswitch_rpc::port::AddPort;

    fn typed(line: &str) -> Result<Call, clap::Error> {
        let words = line.split(' ').map(OsString::from);
        parse(words).map(|parsed| parsed.expect("a row").1.expect("a call"))
    }

    #[test]
    fn the_rows_make_a_sound_parser() {
        parser().debug_assert();
    }

    #[test]
    fn settings_become_a_map() {
        let call = typed("vsctl add-port br0 sw1 type=tap trunks=1,2 remote_ip=").unwrap();
        let Call::AddPort(AddPort {
            bridge,
            name,
            options,
        }) = call
        else {
            panic!("{call:?}")
        };
        assert_eq!((bridge.as_str(), name.as_str()), ("br0", "sw1"));
        let pairs: Vec<_> = options
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("remote_ip", ""), ("trunks", "1,2"), ("type", "tap")]
        );
    }

    #[test]
    fn what_has_not_the_shape_of_a_setting_is_a_usage_error() {
        for line in [
            "vsctl add-port br0 sw1 tap",
            "vsctl add-port br0 sw1 =tap",
            "vsctl add-port br0 sw1 type=tap type=tap",
            "vsctl add-port br0",
            "vsctl set-port br0 sw1",
            "vsctl fdb",
            "vsctl frobnicate",
            "vsctl list-br --timeout 0",
        ] {
            let error = typed(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_run_directory_may_come_before_or_after_the_words() {
        for line in [
            "vsctl --rundir /x fdb show br0",
            "vsctl fdb show br0 --rundir /x",
        ] {
            let matches = parser().try_get_matches_from(line.split(' ')).unwrap();
            assert_eq!(
                Globals::read(&matches).rundir,
                PathBuf::from("/x"),
                "{line}"
            );
        }
    }
}
