//! What speaks OpenFlow to a bridge, in the manner of `ovs-ofctl(8)`.
//!
//! The bridge may be this switch's, Open vSwitch's, or at an address: these commands need nothing of
//! `vswitchd` but its agent.

pub(super) mod change;
pub(super) mod connections;
pub(super) mod flows;
pub(super) mod fragments;
pub(super) mod groups;
pub(super) mod meters;
pub(super) mod ports;
pub(super) mod tables;
pub(super) mod watch;

use serde_json::{Value, json};
use vswitch_flow::text::{Names, lines};
use vswitch_openflow::Version;
use vswitch_openflow::message::Message;
use vswitch_openflow::multipart::{Reply, Request};

use super::Argument;
use crate::args::Typed;
use crate::error::Failure;
use crate::openflow::Trouble;
use crate::openflow::connection::Connection;
use crate::openflow::session::{self, Session};
use crate::openflow::text::{self, Style};

/// What a command found.
#[derive(Debug, Default)]
pub struct Answer {
    /// For people.
    pub text: String,
    /// The same for programs.
    pub json: Value,
}

impl Answer {
    /// It is done and there is nothing to say.
    fn done() -> Self {
        Self {
            text: String::new(),
            json: json!({}),
        }
    }
}

/// A bridge by name or address, as every command wants it.
const SWITCH: Argument = Argument::Required(
    "BRIDGE",
    "A bridge of the run directory, unix:PATH, tcp:ADDRESS[:PORT] or ssl:ADDRESS[:PORT]",
);

/// `--bundle`.
const BUNDLE: Argument = Argument::Flag("bundle", None, "All or nothing: in an OpenFlow bundle");

/// `--names`.
const NAMES: Argument = Argument::Flag("names", None, "Ports by their names");

/// A file of changes.
const FILE: Argument = Argument::Required("FILE", "The file, - for standard input");

/// Asks for statistics that come in one piece and prints them as `ovs-ofctl` does.
fn ask(
    typed: &Typed<'_>,
    session: &Session,
    request: Request,
    json: fn(&Reply) -> Value,
) -> Result<Answer, Failure> {
    let mut connection = session.open(&typed.text("BRIDGE"))?;
    let names = names_if(typed, &mut connection)?;
    Ok(gather(&mut connection, request, names.as_ref(), json)?)
}

/// The names of the switch if `--names` was typed.
fn names_if(typed: &Typed<'_>, connection: &mut Connection) -> Result<Option<Names>, Trouble> {
    match typed.has_flag("names") {
        true => session::names(connection).map(Some),
        false => Ok(None),
    }
}

/// Asks, joins the parts of the answer, and prints them under one header.
fn gather(
    connection: &mut Connection,
    request: Request,
    names: Option<&Names>,
    json: fn(&Reply) -> Value,
) -> Result<Answer, Trouble> {
    let version = connection.version();
    let mut whole: Option<Reply> = None;
    let xid = connection.ask_parts(request, |part| match &mut whole {
        Some(whole) => join(whole, part),
        None => whole = Some(part),
    })?;
    let Some(mut reply) = whole else {
        return Err(Trouble::Unexpected("nothing"));
    };
    sort(&mut reply);
    let mut shown = text::reply_header(&reply, version, xid);
    text::reply(&reply, version, Style { names }, &mut shown);
    Ok(Answer {
        text: shown,
        json: json(&reply),
    })
}

/// Adds a part of a list to what came before.
fn join(whole: &mut Reply, part: Reply) {
    match (whole, part) {
        (Reply::Flow(_, all), Reply::Flow(_, more)) => all.extend(more),
        (Reply::Table(all), Reply::Table(more)) => all.extend(more),
        (Reply::Port(all), Reply::Port(more)) => all.extend(more),
        (Reply::Queue(all), Reply::Queue(more)) => all.extend(more),
        (Reply::Group(all), Reply::Group(more)) => all.extend(more),
        (Reply::GroupDesc(all), Reply::GroupDesc(more)) => all.extend(more),
        (Reply::Meter(all), Reply::Meter(more)) => all.extend(more),
        (Reply::MeterConfig(all), Reply::MeterConfig(more)) => all.extend(more),
        (Reply::TableFeatures(all), Reply::TableFeatures(more)) => all.extend(more),
        (Reply::PortDesc(all), Reply::PortDesc(more)) => all.extend(more),
        (Reply::TableDesc(all), Reply::TableDesc(more)) => all.extend(more),
        (Reply::QueueDesc(all), Reply::QueueDesc(more)) => all.extend(more),
        (Reply::FlowMonitor(all), Reply::FlowMonitor(more)) => all.extend(more),
        _ => {}
    }
}

/// Puts a list in the order of its numbers; a switch may give it in any.
fn sort(reply: &mut Reply) {
    match reply {
        Reply::Port(ports) => ports.sort_by_key(|port| port.port),
        Reply::PortDesc(ports) => ports.sort_by_key(|port| port.port),
        Reply::Group(groups) => groups.sort_by_key(|group| group.id),
        Reply::GroupDesc(groups) => groups.sort_by_key(|group| group.id),
        Reply::Meter(meters) => meters.sort_by_key(|meter| meter.id),
        Reply::MeterConfig(meters) => meters.sort_by_key(|meter| meter.id),
        _ => {}
    }
}

/// Reads every line of a file of changes before the first is sent, so that a bad line changes
/// nothing.
fn read_lines<T>(
    session: &Session,
    file: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Trouble> {
    let text = session.read(file)?;
    lines(&text)
        .map(|(line, text)| {
            parse(text.trim()).map_err(|error| Trouble::Line {
                file: file.to_owned(),
                line,
                error,
            })
        })
        .collect()
}

/// Makes changes one by one, or all or none when `--bundle` was typed.
fn make(
    typed: &Typed<'_>,
    connection: &mut Connection,
    messages: &[Message],
) -> Result<Answer, Failure> {
    if typed.has_flag("bundle") {
        change::bundle(connection, messages)?;
    } else {
        session::change(connection, messages)?;
    }
    Ok(Answer::done())
}

/// Refuses what a version cannot say before anything is sent.
fn at_least(connection: &Connection, version: Version, what: &str) -> Result<(), Trouble> {
    if connection.version() >= version {
        return Ok(());
    }
    Err(Trouble::Argument(format!(
        "{what} came with OpenFlow {version}, but {} is spoken here; use -O OpenFlow13",
        connection.version()
    )))
}
