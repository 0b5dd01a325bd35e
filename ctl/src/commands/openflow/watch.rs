//! Watching: packets for controllers, and what switch and controllers say to each other.

use std::io::Write;

use serde_json::json;
use vswitch_flow::FlowSelect;
use vswitch_flow::text::parse_flow_select;
use vswitch_openflow::Version;
use vswitch_openflow::config::SwitchConfig;
use vswitch_openflow::flow_monitor::{FlowMonitorRequest, MonitorCommand, MonitorFlags};
use vswitch_openflow::message::{Decoded, Message};
use vswitch_openflow::multipart::Request;
use vswitch_openflow::nicira::PacketInFormat;

use super::SWITCH;
use crate::args::Typed;
use crate::commands::Argument::{Several, Valued};
use crate::commands::{Command, Run, example};
use crate::error::Failure;
use crate::openflow::Trouble;
use crate::openflow::connection::Connection;
use crate::openflow::session::{self, Session};
use crate::openflow::text::{self, Style};

/// Ends the watch after so many messages.
const COUNT: crate::commands::Argument = Valued(
    "count",
    "N",
    "End after so many messages; without it, go on until interrupted",
);

pub(crate) const MONITOR: Command = Command {
    words: &["monitor"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Several(
            "WHAT",
            "Bytes of each packet that no flow matched, 0 for no news at all, or watch:[CONDITIONS]; \
             without anything 65535 bytes, which is all",
        ),
        Valued(
            "packet-in-format",
            "FORMAT",
            "standard, nxt_packet_in or nxt_packet_in2",
        ),
        COUNT,
    ],
    help: "Show what a switch tells its controllers",
    long: "Packets for controllers, flows that are gone, ports that change.\n\n\
           watch: tells of flows: those that are there, then each that is added, changed or \
           deleted. What follows is a match, table=, out_port= or out_group=, and !initial, !add, \
           !delete, !modify, !actions or !own for what is not to be told.",
    examples: &[
        example("vsctl monitor br0", "All of it, until interrupted"),
        example("vsctl monitor br0 128", "At most 128 bytes of each packet"),
        example("vsctl monitor br0 --count 1 --json", "The next event"),
        example(
            "vsctl monitor br0 watch:table=1,!initial",
            "What becomes of the flows of a table",
        ),
    ],
    run: Run::Watch(|typed, session, out| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        let mut monitors = 0;
        let mut what = typed.rest("WHAT");
        if what.is_empty() {
            // Who does not ask for packets hears nothing at all by a switch's own socket.
            what.push(u16::MAX.to_string());
        }
        for text in what {
            if let Some(conditions) = text.strip_prefix("watch:") {
                let monitor = monitor(conditions, monitors, &mut connection)?;
                connection.send(&monitor)?;
                monitors += 1;
                continue;
            }
            let miss_send_len = text.parse().map_err(|_| {
                Trouble::Argument(format!(
                    "'{text}' is neither a number of bytes up to 65535 nor watch:[CONDITIONS]"
                ))
            })?;
            let before = session::config(&mut connection)?;
            connection.send(&Message::SetConfig(SwitchConfig {
                miss_send_len,
                ..before
            }))?;
        }
        if let Some(text) = typed.value("packet-in-format") {
            let format = match text.as_str() {
                "standard" => PacketInFormat::Standard,
                "nxt_packet_in" => PacketInFormat::Nicira,
                "nxt_packet_in2" => PacketInFormat::Nicira2,
                other => {
                    return Err(Trouble::Argument(format!(
                        "'{other}' is no form of packet-ins: standard, nxt_packet_in or nxt_packet_in2"
                    ))
                    .into());
                }
            };
            connection.send(&Message::SetPacketInFormat(format))?;
        }
        // What was asked for holds when this is answered.
        let _ = connection.ask(&Message::BarrierRequest)?;
        if let Some(error) = connection.errors().into_iter().next() {
            let error = Box::new(error);
            return Err(Trouble::Refused { error }.into());
        }
        watch(typed, session, &mut connection, out)
    }),
};

pub(crate) const SNOOP: Command = Command {
    words: &["snoop"],
    aliases: &[],
    arguments: &[SWITCH, COUNT],
    help: "Show what a switch and its controllers say to each other",
    long: "Every message in both directions, from now on.",
    examples: &[
        example("vsctl snoop br0", "Until interrupted"),
        example("vsctl snoop br0 --count 10", "The next ten messages"),
    ],
    run: Run::Watch(|typed, session, out| {
        let mut connection = session.snoop(&typed.text("BRIDGE"))?;
        watch(typed, session, &mut connection, out)
    }),
};

/// The request for a monitor, from conditions as `ovs-ofctl monitor` takes them.
fn monitor(conditions: &str, id: u32, connection: &mut Connection) -> Result<Message, Trouble> {
    // The controller's own changes in full: 1.4 has two flags for it, and Open vSwitch knows the
    // second only. Before 1.4 there is one, with the first one's number.
    let own = match connection.version() {
        Version::V10 | Version::V13 => MonitorFlags::NO_ABBREV,
        Version::V14 | Version::V15 => MonitorFlags::ONLY_OWN,
    };
    let mut flags = MonitorFlags::INITIAL
        .with(MonitorFlags::ADD)
        .with(MonitorFlags::REMOVED)
        .with(MonitorFlags::MODIFY)
        .with(MonitorFlags::INSTRUCTIONS)
        .with(own);
    let mut rest = Vec::new();
    for word in conditions.split([',', ' ']).filter(|word| !word.is_empty()) {
        flags = flags.without(match word {
            "!initial" => MonitorFlags::INITIAL,
            "!add" => MonitorFlags::ADD,
            "!delete" => MonitorFlags::REMOVED,
            "!modify" => MonitorFlags::MODIFY,
            "!actions" => MonitorFlags::INSTRUCTIONS,
            "!own" => own,
            word => {
                rest.push(word);
                continue;
            }
        });
    }
    let select = if rest.is_empty() {
        FlowSelect::default()
    } else {
        let names = session::names(connection)?;
        parse_flow_select(&rest.join(","), &names)?
    };
    let request = FlowMonitorRequest {
        id,
        command: MonitorCommand::Add,
        flags,
        select,
    };
    Ok(Message::MultipartRequest(
        Request::FlowMonitor(vec![request]),
        false,
    ))
}

fn watch(
    typed: &Typed<'_>,
    session: &Session,
    connection: &mut Connection,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut left = match typed.value("count") {
        None => None,
        Some(text) => Some(
            text.parse::<u64>()
                .map_err(|_| Trouble::Argument(format!("'{text}' is no number of messages")))?,
        ),
    };
    while left != Some(0) {
        let decoded = connection.next_until(None)?;
        let line = match session.json {
            true => format!("{}\n", row(&decoded)),
            false => text::message(&decoded, Style { names: None }),
        };
        out.write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .map_err(Failure::Output)?;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

fn row(decoded: &Decoded) -> serde_json::Value {
    let version: Version = decoded.version;
    json!({
        "version": version.to_string(),
        "xid": decoded.xid,
        "text": text::message(decoded, Style { names: None }).trim_end(),
    })
}
