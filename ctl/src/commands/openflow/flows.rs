//! Flows: adding, changing, removing, showing, comparing.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use vswitch_flow::text::{Actions, Names, parse_flow_mod, parse_flow_select};
use vswitch_flow::{Field, FlowCommand, FlowMod, FlowRule, FlowSelect, Match};
use vswitch_openflow::Version;
use vswitch_openflow::flow_mod::FlowModMessage;
use vswitch_openflow::flow_stats::{FlowRequest, FlowStats};
use vswitch_openflow::message::{Layout, Message};
use vswitch_openflow::multipart::{Reply, Request};

use super::{Answer, BUNDLE, FILE, NAMES, SWITCH, gather, make, names_if, read_lines};
use crate::args::Typed;
use crate::commands::Argument::{Flag, Optional, Required, Valued};
use crate::commands::{Command, Run, example};
use crate::error::Failure;
use crate::openflow::Trouble;
use crate::openflow::connection::Connection;
use crate::openflow::session::{self, Session};
use crate::openflow::text::{Style, flow_stats};

/// Priority of flows that say none.
const DEFAULT_PRIORITY: u16 = 32768;

pub(crate) const ADD: Command = Command {
    words: &["add-flow"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required(
            "FLOW",
            "Match, priority and actions, as ovs-ofctl writes them",
        ),
        BUNDLE,
    ],
    help: "Add a flow to a bridge",
    long: "A flow with the same table, priority and match is replaced.",
    examples: &[
        example(
            "vsctl add-flow br0 in_port=1,actions=output:2",
            "From port 1 to port 2",
        ),
        example(
            "vsctl add-flow br0 'table=1,priority=10,ip,nw_dst=10.0.0.0/8 actions=drop'",
            "Drop what goes to a network",
        ),
    ],
    run: Run::OpenFlow(|typed, session| {
        let text = typed.text("FLOW");
        change(typed, session, &[text], FlowCommand::Add)
    }),
};

pub(crate) const ADD_ALL: Command = Command {
    words: &["add-flows"],
    aliases: &[],
    arguments: &[SWITCH, FILE, BUNDLE],
    help: "Add the flows of a file to a bridge",
    long: "One flow a line; # begins a comment. A line may begin with add, modify, modify_strict, \
           delete or delete_strict. A line that cannot be read is named, and nothing is sent then.",
    examples: &[
        example("vsctl add-flows br0 flows.txt", "The flows of a file"),
        example(
            "vsctl add-flows br0 - --bundle",
            "What comes in, all or nothing",
        ),
    ],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        let names = session::names(&mut connection)?;
        let file = typed.text("FILE");
        let messages = read_lines(session, &file, |line| {
            flow_mod(line, FlowCommand::Add, &names, connection.version())
                .map_err(|error| error.to_string())
        })?;
        make(typed, &mut connection, &messages)
    }),
};

pub(crate) const MODIFY: Command = Command {
    words: &["mod-flows"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("FLOW", "A match and the new actions"),
        Flag(
            "strict",
            None,
            "Only the flow with exactly this match and priority",
        ),
        BUNDLE,
    ],
    help: "Give flows new actions",
    long: "Flows that are at least as specific as the match get the actions; they keep their \
           counters, timeouts and cookies. Nothing is added when none is found.",
    examples: &[example(
        "vsctl mod-flows br0 ip,actions=drop",
        "Drop all IPv4 that flows decide about",
    )],
    run: Run::OpenFlow(|typed, session| {
        let command = match typed.flag("strict") {
            true => FlowCommand::ModifyStrict,
            false => FlowCommand::Modify,
        };
        change(typed, session, &[typed.text("FLOW")], command)
    }),
};

pub(crate) const DELETE: Command = Command {
    words: &["del-flows"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Optional("MATCH", "Only flows that are at least as specific as this"),
        Flag(
            "strict",
            None,
            "Only the flow with exactly this match and priority",
        ),
        BUNDLE,
    ],
    help: "Remove flows from a bridge",
    long: "Without a match all flows are removed, and nothing is forwarded until there are new \
           ones. table=, cookie=VALUE/MASK, out_port= and out_group= say which as well.",
    examples: &[
        example("vsctl del-flows br0", "Empty the tables"),
        example(
            "vsctl del-flows br0 in_port=1",
            "Every flow for packets from port 1",
        ),
        example(
            "vsctl del-flows br0 priority=10,in_port=1 --strict",
            "This flow and no other",
        ),
    ],
    run: Run::OpenFlow(|typed, session| {
        let command = match typed.flag("strict") {
            true => FlowCommand::DeleteStrict,
            false => FlowCommand::Delete,
        };
        let text = typed.optional("MATCH").unwrap_or_default();
        change(typed, session, &[text], command)
    }),
};

pub(crate) const DUMP: Command = Command {
    words: &["dump-flows"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Optional("MATCH", "Only flows that are at least as specific as this"),
        Flag(
            "no-stats",
            None,
            "Without counters: text that add-flows takes",
        ),
        NAMES,
        Valued(
            "sort",
            "FIELD",
            "In rising order of a field, or of the priority",
        ),
        Valued(
            "rsort",
            "FIELD",
            "In falling order of a field, or of the priority",
        ),
    ],
    help: "Show the flows of a bridge",
    long: "The format is that of ovs-ofctl dump-flows. table=, cookie=VALUE/MASK, out_port= and \
           out_group= say which flows as well.",
    examples: &[
        example("vsctl dump-flows br0", "All flows with their counters"),
        example(
            "vsctl dump-flows br0 table=0,ip --no-stats",
            "Some flows, to be saved",
        ),
        example(
            "vsctl dump-flows br0 --rsort=priority",
            "The most important first",
        ),
    ],
    run: Run::OpenFlow(dump),
};

pub(crate) const AGGREGATE: Command = Command {
    words: &["dump-aggregate"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Optional("MATCH", "Only flows that are at least as specific as this"),
    ],
    help: "Show the counters of flows together",
    long: "How many flows there are, and the packets and bytes of all of them.",
    examples: &[
        example("vsctl dump-aggregate br0", "Of all flows"),
        example(
            "vsctl dump-aggregate br0 table=1",
            "Of the flows of table 1",
        ),
    ],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        let request = Request::Aggregate(request(typed, &mut connection)?);
        Ok(gather(
            &mut connection,
            request,
            None,
            |reply| match reply {
                Reply::Aggregate(_, sum) => json!({
                    "packets": sum.packets, "bytes": sum.bytes, "flows": sum.flows,
                }),
                _ => Value::Null,
            },
        )?)
    }),
};

pub(crate) const REPLACE: Command = Command {
    words: &["replace-flows"],
    aliases: &[],
    arguments: &[SWITCH, FILE, BUNDLE],
    help: "Make the flows of a bridge those of a file",
    long: "Flows that are in both stay and keep their counters; the others are removed and added.",
    examples: &[example(
        "vsctl replace-flows br0 flows.txt",
        "These flows and no others",
    )],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        let names = session::names(&mut connection)?;
        let wanted = flows_of_file(session, &typed.text("FILE"), &names, connection.version())?;
        let found = flows_of_switch(&mut connection)?;
        let mut messages = Vec::new();
        for (key, rule) in &found {
            if !wanted.contains_key(key) {
                messages.push(message(FlowMod::new(
                    FlowCommand::DeleteStrict,
                    rule.clone(),
                )));
            }
        }
        for (key, rule) in &wanted {
            if found.get(key).is_none_or(|found| !same(found, rule)) {
                messages.push(message(FlowMod::new(FlowCommand::Add, rule.clone())));
            }
        }
        make(typed, &mut connection, &messages)
    }),
};

pub(crate) const DIFF: Command = Command {
    words: &["diff-flows"],
    aliases: &[],
    arguments: &[
        Required("SOURCE1", "A bridge or a file"),
        Required("SOURCE2", "A bridge or a file"),
    ],
    help: "Compare flows of bridges and files",
    long: "Lines with - are only in the first, lines with + only in the second. The status is 1 \
           when there is a difference.",
    examples: &[
        example(
            "vsctl diff-flows br0 flows.txt",
            "What replace-flows would change",
        ),
        example("vsctl diff-flows br0 br1", "Two bridges"),
    ],
    run: Run::OpenFlow(diff),
};

fn message(change: FlowMod) -> Message {
    Message::FlowMod(Box::new(FlowModMessage::from(change)))
}

/// A change as text gives it, with what OpenFlow 1.0 means by it.
fn flow_mod(
    text: &str,
    command: FlowCommand,
    names: &Names,
    version: Version,
) -> Result<Message, Trouble> {
    let mut change = parse_flow_mod(text, command, names)?;
    if version == Version::V10 {
        change.upsert = true;
        change.new_cookie = true;
    } else if matches!(
        change.command,
        FlowCommand::Modify | FlowCommand::ModifyStrict
    ) {
        // Since 1.1 a modification is of one table; without a word it is the first.
        change.all_tables = false;
    }
    Ok(message(change))
}

fn change(
    typed: &Typed<'_>,
    session: &Session,
    texts: &[String],
    command: FlowCommand,
) -> Result<Answer, Failure> {
    let mut connection = session.open(&typed.text("BRIDGE"))?;
    let names = session::names(&mut connection)?;
    let messages = texts
        .iter()
        .map(|text| flow_mod(text, command, &names, connection.version()))
        .collect::<Result<Vec<_>, _>>()?;
    make(typed, &mut connection, &messages)
}

/// Which flows were typed.
fn request(typed: &Typed<'_>, connection: &mut Connection) -> Result<FlowRequest, Trouble> {
    let select = match typed.optional("MATCH") {
        Some(text) => {
            let names = session::names(connection)?;
            parse_flow_select(&text, &names)?
        }
        None => FlowSelect::default(),
    };
    Ok(FlowRequest {
        layout: layout(connection.version()),
        select,
    })
}

/// OpenFlow 1.0 has no words for most fields; Nicira's form has.
const fn layout(version: Version) -> Layout {
    match version {
        Version::V10 => Layout::Nicira,
        Version::V13 | Version::V14 | Version::V15 => Layout::Standard,
    }
}

fn fetch(connection: &mut Connection, request: FlowRequest) -> Result<Vec<FlowStats>, Trouble> {
    let mut flows = Vec::new();
    connection.ask_parts(Request::Flow(request), |part| {
        if let Reply::Flow(_, part) = part {
            flows.extend(part);
        }
    })?;
    Ok(flows)
}

fn dump(typed: &Typed<'_>, session: &Session) -> Result<Answer, Failure> {
    let mut connection = session.open(&typed.text("BRIDGE"))?;
    let names = names_if(typed, &mut connection)?;
    let request = request(typed, &mut connection)?;
    let mut flows = fetch(&mut connection, request)?;
    for (flag, falls) in [("sort", false), ("rsort", true)] {
        if let Some(key) = typed.value(flag) {
            let key = SortKey::parse(&key)?;
            flows.sort_by(|a, b| match falls {
                false => key.compare(&a.rule, &b.rule),
                true => key.compare(&b.rule, &a.rule),
            });
        }
    }
    let style = Style {
        names: names.as_ref(),
    };
    let with_past = !typed.flag("no-stats");
    let mut text = String::new();
    for flow in &flows {
        text += &format!(" {}\n", flow_stats(flow, with_past, style));
    }
    Ok(Answer {
        text,
        json: flows.iter().map(row).collect(),
    })
}

fn row(flow: &FlowStats) -> Value {
    let rule = &flow.rule;
    json!({
        "table": rule.table,
        "priority": rule.priority,
        "cookie": rule.cookie,
        "duration_s": Duration::from(flow.duration).as_secs_f64(),
        "packets": flow.packets,
        "bytes": flow.bytes,
        "idle_timeout": rule.idle_timeout,
        "hard_timeout": rule.hard_timeout,
        "importance": rule.importance,
        "match": rule.matches.to_string(),
        "actions": rule.instructions.to_string(),
        "text": flow_stats(flow, false, Style { names: None }),
    })
}

/// What flows are put in order by.
enum SortKey {
    Priority,
    Field(Field),
}

impl SortKey {
    fn parse(text: &str) -> Result<Self, Trouble> {
        match text {
            "priority" => Ok(Self::Priority),
            name => Field::by_name(name).map(Self::Field).ok_or_else(|| {
                Trouble::Argument(format!(
                    "{name} is no field to sort by; priority is, and every field of a match"
                ))
            }),
        }
    }

    /// Flows that do not say the field come before those that do.
    fn compare(&self, a: &FlowRule, b: &FlowRule) -> Ordering {
        match self {
            Self::Priority => a.priority.cmp(&b.priority),
            Self::Field(field) => {
                let key = |rule: &FlowRule| {
                    let (value, mask) = rule.matches.field(*field);
                    (mask != 0).then_some(value)
                };
                key(a).cmp(&key(b))
            }
        }
    }
}

/// What makes a flow the same one: table, priority and match.
type Flows = BTreeMap<(u8, u16, String), FlowRule>;

fn by_key(rules: impl IntoIterator<Item = FlowRule>) -> Flows {
    let key = |rule: &FlowRule| (rule.table, rule.priority, rule.matches.to_string());
    rules.into_iter().map(|rule| (key(&rule), rule)).collect()
}

fn flows_of_switch(connection: &mut Connection) -> Result<Flows, Trouble> {
    let request = FlowRequest {
        layout: layout(connection.version()),
        select: FlowSelect::default(),
    };
    let flows = fetch(connection, request)?;
    Ok(by_key(flows.into_iter().map(|flow| flow.rule)))
}

fn flows_of_file(
    session: &Session,
    file: &str,
    names: &Names,
    version: Version,
) -> Result<Flows, Trouble> {
    let rules = read_lines(session, file, |line| {
        match flow_mod(line, FlowCommand::Add, names, version) {
            Ok(Message::FlowMod(message)) if message.change.command == FlowCommand::Add => {
                Ok(message.change.rule)
            }
            Ok(_) => Err("only flows to add can stand here".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })?;
    Ok(by_key(rules))
}

/// Whether a flow need not be sent again.
fn same(a: &FlowRule, b: &FlowRule) -> bool {
    a.instructions == b.instructions
        && a.cookie == b.cookie
        && (a.idle_timeout, a.hard_timeout, a.importance)
            == (b.idle_timeout, b.hard_timeout, b.importance)
}

fn diff(typed: &Typed<'_>, session: &Session) -> Result<Answer, Failure> {
    let one = source(session, &typed.text("SOURCE1"))?;
    let two = source(session, &typed.text("SOURCE2"))?;
    let mut text = String::new();
    let mut rows = Vec::new();
    let mut say = |sign: &str, rule: &FlowRule| {
        let line = diff_line(rule);
        text += &format!("{sign}{line}\n");
        rows.push(json!({ "only_in": if sign == "-" { 1 } else { 2 }, "flow": line }));
    };
    let keys: std::collections::BTreeSet<_> = one.keys().chain(two.keys()).collect();
    for key in keys {
        match (one.get(key), two.get(key)) {
            (Some(a), Some(b)) if same(a, b) => {}
            (a, b) => {
                a.iter().for_each(|rule| say("-", rule));
                b.iter().for_each(|rule| say("+", rule));
            }
        }
    }
    let json = rows.into();
    match text.is_empty() {
        true => Ok(Answer { text, json }),
        false => Err(Failure::Differs(Box::new(Answer { text, json }))),
    }
}

/// The flows of a bridge or of a file, whichever of the two has the name.
fn source(session: &Session, name: &str) -> Result<Flows, Trouble> {
    match session.open(name) {
        Ok(mut connection) => flows_of_switch(&mut connection),
        Err(Trouble::Target(_)) if name == "-" || std::path::Path::new(name).is_file() => {
            flows_of_file(session, name, &Names::default(), Version::V13)
        }
        Err(error) => Err(error),
    }
}

fn diff_line(rule: &FlowRule) -> String {
    let mut text = String::new();
    if rule.table != 0 {
        text += &format!("table={} ", rule.table);
    }
    text += &match_text(&rule.matches, rule.priority);
    for (label, value) in [
        ("idle_timeout", rule.idle_timeout),
        ("hard_timeout", rule.hard_timeout),
        ("importance", rule.importance),
    ] {
        if value != 0 {
            text += &format!(" {label}={value}");
        }
    }
    if rule.cookie != 0 {
        text += &format!(" cookie={:#x}", rule.cookie);
    }
    format!("{} actions={}", text.trim_end(), rule.instructions)
        .trim_start()
        .to_owned()
}

fn match_text(found: &Match, priority: u16) -> String {
    match (priority, found.to_string()) {
        (DEFAULT_PRIORITY, text) => text,
        (priority, text) if text.is_empty() => format!("priority={priority}"),
        (priority, text) => format!("priority={priority},{text}"),
    }
}

/// Actions as a list in JSON says them.
pub(crate) fn actions_text(actions: &[vswitch_flow::Action]) -> String {
    Actions(actions).to_string()
}
