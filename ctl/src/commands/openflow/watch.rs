//! Watching: packets for controllers, and what switch and controllers say to each other.

use std::io::Write;

use serde_json::json;
use vswitch_openflow::Version;
use vswitch_openflow::config::{ConfigFlags, SwitchConfig};
use vswitch_openflow::message::{Decoded, Message};
use vswitch_openflow::nicira::PacketInFormat;

use super::SWITCH;
use crate::args::Typed;
use crate::commands::Argument::{Optional, Valued};
use crate::commands::{Command, Run, example};
use crate::error::Failure;
use crate::openflow::Trouble;
use crate::openflow::connection::Connection;
use crate::openflow::session::Session;
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
        Optional(
            "MISS-LEN",
            "Bytes of each packet that no flow matched; 65535 is all",
        ),
        Valued(
            "packet-in-format",
            "FORMAT",
            "standard, nxt_packet_in or nxt_packet_in2",
        ),
        COUNT,
    ],
    help: "Show what a switch tells its controllers",
    long: "Packets for controllers, flows that are gone, ports that change. Packets come only \
           when a MISS-LEN is given.",
    examples: &[
        example(
            "vsctl monitor br0 65535",
            "Packets, whole, until interrupted",
        ),
        example("vsctl monitor br0 --count 1 --json", "The next event"),
    ],
    run: Run::Watch(|typed, session, out| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        if let Some(text) = typed.optional("MISS-LEN") {
            let miss_send_len = text.parse().map_err(|_| {
                Trouble::Argument(format!("'{text}' is no number of bytes up to 65535"))
            })?;
            connection.send(&Message::SetConfig(SwitchConfig {
                flags: ConfigFlags::default(),
                miss_send_len,
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
