//! Whole flows and changes to flows, both ways.

use std::fmt;

use super::action_print::print_instructions;
use super::actions::{PORT, Reader, TABLE};
use super::match_print::{List, print_match};
use super::matches;
use super::names::{Lookup, Named, Names, PortNames, print_table};
use super::token::{Part, Parts, Token};
use super::value;
use super::{DEFAULT_PRIORITY, ParseError, Problem};
use crate::rule::{FlowCommand, FlowFlags, FlowMod, FlowRule, FlowSelect, GROUP_ANY, TABLE_MAX};

/// Words before a change in a file, and what they say.
const COMMANDS: [(&str, FlowCommand); 5] = [
    ("add", FlowCommand::Add),
    ("modify", FlowCommand::Modify),
    ("modify_strict", FlowCommand::ModifyStrict),
    ("delete", FlowCommand::Delete),
    ("delete_strict", FlowCommand::DeleteStrict),
];

/// Flags of a flow in the order in which they are printed.
const FLAGS: [(&str, FlowFlags); 5] = [
    ("send_flow_rem", FlowFlags::SEND_FLOW_REM),
    ("check_overlap", FlowFlags::CHECK_OVERLAP),
    ("reset_counts", FlowFlags::RESET_COUNTS),
    ("no_packet_counts", FlowFlags::NO_PACKET_COUNTS),
    ("no_byte_counts", FlowFlags::NO_BYTE_COUNTS),
];

/// Reads a whole flow, such as `table=1,priority=5,arp actions=flood`.
///
/// What `dump-flows` shows of a flow's past (`duration`, `n_packets`, ...) is passed over, so that
/// a dump can be read in again.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_flow(text: &str, names: PortNames<'_>) -> Result<FlowRule, ParseError> {
    let token = Token::new(text);
    read(token, FlowCommand::Add, Lookup::Ports(names)).map(|change| change.rule)
}

/// Reads a change to flows. The text may begin with a word that says what it does (`add`, `modify`,
/// `modify_strict`, `delete`, `delete_strict`), as in a file for `add-flows`; without one it does
/// `default`.
///
/// A change that names no table adds to table 0, or modifies and deletes in all tables. `cookie=V/M`
/// says which flows are modified or deleted, `cookie=V` gives a flow its cookie. In OpenFlow 1.3,
/// whose changes these are, a modification that finds nothing adds nothing and leaves cookies alone.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_flow_mod(
    text: &str,
    default: FlowCommand,
    names: &Names,
) -> Result<FlowMod, ParseError> {
    let token = Token::new(text);
    let (word, rest) = first_word(token);
    let command = COMMANDS.iter().find(|(name, _)| *name == word.text);
    match command {
        Some((_, command)) => read(rest, *command, Lookup::Names(names)),
        None => read(token, default, Lookup::Names(names)),
    }
}

/// Reads which flows are meant, as `dump-flows` and `dump-aggregate` take it: a match with, where
/// they are said, `table=`, `cookie=V/M`, `out_port=` and `out_group=`.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_flow_select(text: &str, names: &Names) -> Result<FlowSelect, ParseError> {
    let token = Token::new(text);
    read(token, FlowCommand::Delete, Lookup::Names(names)).map(|change| change.select())
}

/// The lines of a file of changes that say something, with their numbers from 1: without comments,
/// which begin with `#`.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let line = content(line);
        (!line.trim().is_empty()).then_some((index + 1, line))
    })
}

/// A line without its comment.
#[must_use]
pub fn content(line: &str) -> &str {
    let mut quoted = false;
    let comment = line.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b'#' && !quoted
    });
    comment.and_then(|at| line.get(..at)).unwrap_or(line)
}

/// The first word, and what follows it.
pub(super) fn first_word(token: Token<'_>) -> (Token<'_>, Token<'_>) {
    let word = token.words().next().unwrap_or(token.slice(0, 0));
    let end = word.at - token.at + word.text.len();
    (word, token.slice(end, token.text.len()))
}

/// Which keywords a command takes.
#[derive(Clone, Copy)]
struct Takes {
    actions: bool,
    priority: bool,
    out: bool,
}

impl Takes {
    fn of(command: FlowCommand) -> Self {
        let deletes = matches!(command, FlowCommand::Delete | FlowCommand::DeleteStrict);
        Self {
            actions: !deletes,
            priority: command != FlowCommand::Delete,
            out: deletes,
        }
    }
}

fn read<'a>(
    token: Token<'a>,
    command: FlowCommand,
    names: Lookup<'a>,
) -> Result<FlowMod, ParseError> {
    let takes = Takes::of(command);
    let mut change = FlowMod::new(
        command,
        FlowRule {
            priority: DEFAULT_PRIORITY,
            ..FlowRule::default()
        },
    );
    change.all_tables = command != FlowCommand::Add;
    let mut reader = matches::Reader::new(names);
    let mut actions = None;
    let mut parts = token.parts();
    while let Some(part) = next_before_actions(&mut parts, &mut actions)? {
        if !keyword(&part, takes, names, &mut change)? {
            reader.part(part)?;
        }
    }
    change.rule.matches = reader.finish()?;
    match actions {
        Some(actions) if takes.actions => {
            let table = if change.all_tables {
                0
            } else {
                change.rule.table
            };
            let mut reader = Reader::of(&change.rule.matches, names);
            change.rule.instructions = reader.instructions(actions, table)?;
        }
        Some(actions) => return actions.fail(Problem::ActionsOfDelete),
        None if takes.actions => return token.fail(Problem::NoActions),
        None => {}
    }
    Ok(change)
}

/// The next part, unless it is `actions=`, which goes to the end of the text.
fn next_before_actions<'a>(
    parts: &mut Parts<'a>,
    actions: &mut Option<Token<'a>>,
) -> Result<Option<Part<'a>>, ParseError> {
    let rest = parts.rest();
    let gap = rest.text.len()
        - rest
            .text
            .trim_start_matches([',', ' ', '\t', '\r', '\n'])
            .len();
    let text = rest.text.get(gap..).unwrap_or_default();
    for word in ["actions=", "action="] {
        if text.starts_with(word) {
            *actions = Some(rest.slice(gap + word.len(), rest.text.len()));
            return Ok(None);
        }
    }
    parts.next().transpose()
}

/// Takes what belongs to the flow and not to its match. False when the part is something else.
fn keyword(
    part: &Part<'_>,
    takes: Takes,
    names: Lookup<'_>,
    change: &mut FlowMod,
) -> Result<bool, ParseError> {
    let name = part.name.text;
    let strict = || {
        part.whole.fail(Problem::NotHere {
            name: name.to_owned(),
            hint: "only additions, modifications and strict deletions take it",
        })
    };
    let kept = || {
        part.whole.fail(Problem::NotHere {
            name: name.to_owned(),
            hint: "it says how a flow lives, and nothing about which flows are deleted",
        })
    };
    let out = || {
        part.whole.fail(Problem::NotHere {
            name: name.to_owned(),
            hint: "only deletions and dumps take it",
        })
    };
    if let Some((_, flag)) = FLAGS.iter().find(|(word, _)| *word == name) {
        if !takes.actions {
            return kept();
        }
        part.alone()?;
        change.rule.flags = change.rule.flags.with(*flag);
        return Ok(true);
    }
    let rule = &mut change.rule;
    match name {
        "table" => {
            let value = part.need(TABLE)?;
            match names.table(value.text) {
                Some(table @ 0..=TABLE_MAX) => {
                    rule.table = table;
                    change.all_tables = false;
                }
                Some(0xff) if change.command != FlowCommand::Add => change.all_tables = true,
                _ => return part.refuse(value, TABLE),
            }
        }
        "priority" if !takes.priority => return strict(),
        "priority" => rule.priority = part.u16()?,
        "cookie" => return cookie(part, change).map(|()| true),
        "idle_timeout" | "hard_timeout" | "importance" if !takes.actions => return kept(),
        "idle_timeout" => rule.idle_timeout = part.u16()?,
        "hard_timeout" => rule.hard_timeout = part.u16()?,
        "importance" => rule.importance = part.u16()?,
        "out_port" | "out_group" if !takes.out => return out(),
        "out_port" => {
            let value = part.need(PORT)?;
            match value::port(value.text, names) {
                Some(port) => change.out_port = port,
                None => return part.refuse(value, PORT),
            }
        }
        "out_group" => {
            let any = ["any", "all"];
            let any = any
                .iter()
                .any(|any| any.eq_ignore_ascii_case(part.value.text));
            change.out_group = if any { GROUP_ANY } else { part.u32()? };
        }
        // A flow's past, and what Open vSwitch says of its own flows besides.
        "duration"
        | "n_packets"
        | "n_bytes"
        | "idle_age"
        | "hard_age"
        | "no_readonly_table"
        | "allow_hidden_fields" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

/// Reads `V`, which a flow gets, or `V/M`, which says which flows are meant.
fn cookie(part: &Part<'_>, change: &mut FlowMod) -> Result<(), ParseError> {
    let allowed = "a number of 64 bits; with /mask it says which flows are modified or deleted";
    let value = part.need(allowed)?;
    let number = |text: &str| match text {
        "-1" => Some(u64::MAX),
        text => u64::try_from(value::number(text)?).ok(),
    };
    let (text, mask) = match value.text.split_once('/') {
        Some((text, mask)) => (text, Some(mask)),
        None => (value.text, None),
    };
    let mask = match (mask, change.command) {
        (Some(_), FlowCommand::Add) => {
            return part.refuse(
                value,
                "a number of 64 bits: a flow that is added takes no mask",
            );
        }
        (None, FlowCommand::Delete | FlowCommand::DeleteStrict) => {
            return part.refuse(
                value,
                format!("said with a mask here, such as cookie={text}/-1"),
            );
        }
        (Some(mask), _) => match number(mask) {
            Some(mask) => Some(mask),
            None => return part.refuse(value, allowed),
        },
        (None, _) => None,
    };
    match (number(text), mask) {
        (Some(cookie), Some(mask)) => (change.cookie, change.cookie_mask) = (cookie, mask),
        (Some(cookie), None) => change.rule.cookie = cookie,
        (None, _) => return part.refuse(value, allowed),
    }
    Ok(())
}

impl fmt::Display for FlowRule {
    /// As `dump-flows --no-stats` shows it, with cookie and table always.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cookie={:#x}, table={}, ", self.cookie, self.table)?;
        print_life(self, f)?;
        print_body(self, None, f)
    }
}

impl fmt::Display for Named<'_, FlowRule> {
    /// The same with names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cookie={:#x}, table=", self.0.cookie)?;
        print_table(self.0.table, Some(self.1), f)?;
        f.write_str(", ")?;
        print_life(self.0, f)?;
        print_body(self.0, Some(self.1), f)
    }
}

/// Timeouts, flags and importance.
fn print_life(rule: &FlowRule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (name, value) in [
        ("idle_timeout", rule.idle_timeout),
        ("hard_timeout", rule.hard_timeout),
    ] {
        if value != 0 {
            write!(f, "{name}={value}, ")?;
        }
    }
    for (name, flag) in FLAGS {
        if rule.flags.has(flag) {
            write!(f, "{name} ")?;
        }
    }
    if rule.importance != 0 {
        write!(f, "importance={}, ", rule.importance)?;
    }
    Ok(())
}

/// `priority=...,match actions=...`: the end of a dump's line.
fn print_body(rule: &FlowRule, names: Option<&Names>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut list = List { f, first: true };
    if rule.priority != DEFAULT_PRIORITY {
        write!(list.next()?, "priority={}", rule.priority)?;
    }
    print_match(&rule.matches, names, &mut list)?;
    let space = if list.first { "" } else { " " };
    write!(f, "{space}actions=")?;
    print_instructions(&rule.instructions, names, f)
}

/// What a dump shows of a flow's past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// How long ago it was added.
    pub duration: std::time::Duration,
    /// Packets that matched; `None` if they were not counted.
    pub packets: Option<u64>,
    /// Their bytes; `None` if they were not counted.
    pub bytes: Option<u64>,
    /// Seconds since the last of them, where the peer says so.
    pub idle_age: Option<u32>,
    /// Seconds since the flow was last changed, where the peer says so.
    pub hard_age: Option<u32>,
}

/// A line of `dump-flows`, letter by letter as `ovs-ofctl` writes it after its leading blank.
#[derive(Clone, Copy, Debug)]
pub struct DumpLine<'a> {
    /// The flow.
    pub rule: &'a FlowRule,
    /// Its past; `None` is `--no-stats`.
    pub past: Option<&'a Past>,
    /// Names, for `--names`.
    pub names: Option<&'a Names>,
}

impl fmt::Display for DumpLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule;
        if self.past.is_some() || rule.cookie != 0 {
            write!(f, "cookie={:#x}, ", rule.cookie)?;
        }
        if let Some(past) = self.past {
            f.write_str("duration=")?;
            print_duration(past.duration, f)?;
            f.write_str(", ")?;
        }
        let name = self.names.and_then(|names| names.table_name(rule.table));
        if self.past.is_some() || rule.table != 0 || name.is_some() {
            f.write_str("table=")?;
            print_table(rule.table, self.names, f)?;
            f.write_str(", ")?;
        }
        if let Some(past) = self.past {
            for (name, count) in [("n_packets", past.packets), ("n_bytes", past.bytes)] {
                match count {
                    Some(count) => write!(f, "{name}={count}, ")?,
                    None => write!(f, "{name}=?, ")?,
                }
            }
        }
        print_life(rule, f)?;
        if let Some(past) = self.past {
            if let Some(age) = past.idle_age {
                write!(f, "idle_age={age}, ")?;
            }
            if let Some(age) = past.hard_age
                && u64::from(age) != past.duration.as_secs()
            {
                write!(f, "hard_age={age}, ")?;
            }
        }
        print_body(rule, self.names, f)
    }
}

/// Seconds with no digits, three if these are all there are, or as many as are not zero, and `s`
/// (`ofp_print_duration`).
///
/// # Errors
/// Those of the formatter.
pub fn print_duration(duration: std::time::Duration, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", duration.as_secs())?;
    let nanoseconds = duration.subsec_nanos();
    if nanoseconds.is_multiple_of(1_000_000) {
        if nanoseconds != 0 {
            write!(f, ".{:03}", nanoseconds / 1_000_000)?;
        }
    } else {
        let digits = format!("{nanoseconds:09}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str("s")
}
