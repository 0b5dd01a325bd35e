//! The switch as OpenFlow sees it: features, ports, tables, and whether it answers.

use serde_json::{Value, json};
use vswitch_flow::OfPort;
use vswitch_openflow::Version;
use vswitch_openflow::message::Message;
use vswitch_openflow::multipart::{Reply, Request};
use vswitch_openflow::port::{PortConfig, PortDesc, PortFeatures, PortMod};
use vswitch_openflow::queue::{QUEUE_ALL, QueueSelect};

use super::{Answer, NAMES, SWITCH, ask, gather, make, names_if};
use crate::args::Typed;
use crate::commands::Argument::{Optional, Required};
use crate::commands::{Command, Run, example};
use crate::error::Failure;
use crate::openflow::Trouble;
use crate::openflow::session::{self, Session};
use crate::openflow::text::{self, Style};

/// `show BRIDGE`: features, ports and settings.
pub(crate) fn show(typed: &Typed<'_>, session: &Session) -> Result<Answer, Failure> {
    let mut connection = session.open(&typed.text("BRIDGE"))?;
    let style = Style { names: None };
    let features = connection.ask(&Message::FeaturesRequest)?;
    let mut shown = text::message(&features, style);
    let Message::FeaturesReply(found) = features.message else {
        return Err(Trouble::Unexpected("no features").into());
    };
    let mut ports = found.ports.clone();
    if connection.version() > Version::V10 {
        let answer = gather(
            &mut connection,
            Request::PortDesc(OfPort::ANY),
            None,
            |_| Value::Null,
        )?;
        shown += &answer.text;
        ports = session::ports(&mut connection)?;
    }
    let config = connection.ask(&Message::ConfigRequest)?;
    shown += &text::message(&config, style);
    Ok(Answer {
        text: shown,
        json: json!({
            "datapath_id": format!("{:016x}", found.datapath_id),
            "tables": found.tables,
            "buffers": found.buffers,
            "capabilities": found.capabilities.0,
            "ports": ports.iter().map(port_row).collect::<Value>(),
        }),
    })
}

fn port_row(port: &PortDesc) -> Value {
    json!({
        "port": port.port.0,
        "name": port.name.to_text(),
        "mac": port.mac.to_string(),
        "config": port.config.0,
        "state": port.state.0,
        "speed_kbps": port.current_speed,
    })
}

pub(crate) const DESC: Command = Command {
    words: &["dump-desc"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "Show who made a switch",
    long: "Manufacturer, hardware, software, serial number and description.",
    examples: &[example("vsctl dump-desc br0", "Who made it")],
    run: Run::OpenFlow(|typed, session| {
        ask(typed, session, Request::Desc, |reply| match reply {
            Reply::Desc(desc) => json!({
                "manufacturer": desc.manufacturer.to_text(),
                "hardware": desc.hardware.to_text(),
                "software": desc.software.to_text(),
                "serial": desc.serial.to_text(),
                "datapath": desc.datapath.to_text(),
            }),
            _ => Value::Null,
        })
    }),
};

pub(crate) const PORTS: Command = Command {
    words: &["dump-ports"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Optional("PORT", "Only this port: its number or name"),
        NAMES,
    ],
    help: "Show the OpenFlow counters of ports",
    long: "The format is that of ovs-ofctl dump-ports.",
    examples: &[
        example("vsctl dump-ports br0", "All ports"),
        example("vsctl dump-ports br0 sw1", "One port"),
    ],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        let names = names_if(typed, &mut connection)?;
        let port = match typed.optional("PORT") {
            None => OfPort::ANY,
            Some(name) => session::port(&mut connection, &name)?.port,
        };
        Ok(gather(
            &mut connection,
            Request::Port(port),
            names.as_ref(),
            |reply| {
                let Reply::Port(ports) = reply else {
                    return Value::Null;
                };
                ports
                    .iter()
                    .map(|port| {
                        json!({
                            "port": port.port.0,
                            "rx_packets": port.rx_packets,
                            "rx_bytes": port.rx_bytes,
                            "rx_dropped": port.rx_dropped,
                            "rx_errors": port.rx_errors,
                            "tx_packets": port.tx_packets,
                            "tx_bytes": port.tx_bytes,
                            "tx_dropped": port.tx_dropped,
                            "tx_errors": port.tx_errors,
                        })
                    })
                    .collect()
            },
        )?)
    }),
};

pub(crate) const PORTS_DESC: Command = Command {
    words: &["dump-ports-desc"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "Show the ports of a switch as OpenFlow describes them",
    long: "Number, name, address, configuration, state and speed.",
    examples: &[example("vsctl dump-ports-desc br0", "All ports")],
    run: Run::OpenFlow(|typed, session| {
        ask(
            typed,
            session,
            Request::PortDesc(OfPort::ANY),
            |reply| match reply {
                Reply::PortDesc(ports) => ports.iter().map(port_row).collect(),
                _ => Value::Null,
            },
        )
    }),
};

pub(crate) const TABLES: Command = Command {
    words: &["dump-tables"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "Show the counters of flow tables",
    long: "Flows in each table, packets looked up and packets that matched.",
    examples: &[example("vsctl dump-tables br0", "All tables")],
    run: Run::OpenFlow(|typed, session| {
        ask(typed, session, Request::Table, |reply| match reply {
            Reply::Table(tables) => tables
                .iter()
                .map(|table| {
                    json!({
                        "table": table.table,
                        "active": table.active,
                        "lookups": table.lookups,
                        "matched": table.matches,
                    })
                })
                .collect(),
            _ => Value::Null,
        })
    }),
};

pub(crate) const TABLE_FEATURES: Command = Command {
    words: &["dump-table-features"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "Show what flow tables can do",
    long: "Instructions, actions, fields and the number of flows.",
    examples: &[example("vsctl dump-table-features br0", "All tables")],
    run: Run::OpenFlow(|typed, session| {
        let request = Request::TableFeatures(Vec::new());
        ask(typed, session, request, |reply| match reply {
            Reply::TableFeatures(tables) => tables
                .iter()
                .map(|table| {
                    json!({
                        "table": table.table,
                        "name": table.name.to_text(),
                        "max_entries": table.max_entries,
                    })
                })
                .collect(),
            _ => Value::Null,
        })
    }),
};

pub(crate) const QUEUES: Command = Command {
    words: &["queue-stats"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "Show the counters of queues",
    long: "A switch without queues shows none.",
    examples: &[example("vsctl queue-stats br0", "All queues")],
    run: Run::OpenFlow(|typed, session| {
        let all = QueueSelect {
            port: OfPort::ANY,
            queue: QUEUE_ALL,
        };
        ask(typed, session, Request::Queue(all), |reply| match reply {
            Reply::Queue(queues) => queues
                .iter()
                .map(|queue| {
                    json!({
                        "port": queue.port.0,
                        "queue": queue.queue,
                        "packets": queue.tx_packets,
                        "bytes": queue.tx_bytes,
                    })
                })
                .collect(),
            _ => Value::Null,
        })
    }),
};

/// Several of `mod-port`: the bit, and whether the word sets it.
const PORT_WORDS: [(&str, PortConfig, bool); 14] = [
    ("up", PortConfig::PORT_DOWN, false),
    ("down", PortConfig::PORT_DOWN, true),
    ("stp", PortConfig::NO_STP, false),
    ("no-stp", PortConfig::NO_STP, true),
    ("receive", PortConfig::NO_RECV, false),
    ("no-receive", PortConfig::NO_RECV, true),
    ("receive-stp", PortConfig::NO_RECV_STP, false),
    ("no-receive-stp", PortConfig::NO_RECV_STP, true),
    ("flood", PortConfig::NO_FLOOD, false),
    ("no-flood", PortConfig::NO_FLOOD, true),
    ("forward", PortConfig::NO_FWD, false),
    ("no-forward", PortConfig::NO_FWD, true),
    ("packet-in", PortConfig::NO_PACKET_IN, false),
    ("no-packet-in", PortConfig::NO_PACKET_IN, true),
];

pub(crate) const MOD_PORT: Command = Command {
    words: &["mod-port"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("PORT", "The port: its number or name"),
        Required(
            "WORD",
            "up, down, receive, no-receive, forward, no-forward, ...",
        ),
    ],
    help: "Allow or forbid a port something",
    long: "up and down, receive and no-receive, forward and no-forward, packet-in and \
           no-packet-in; with -O OpenFlow10 also flood and no-flood, stp and no-stp, receive-stp \
           and no-receive-stp.",
    examples: &[
        example("vsctl mod-port br0 sw1 down", "Shut a port"),
        example(
            "vsctl mod-port br0 1 no-packet-in",
            "No packets for controllers from it",
        ),
    ],
    run: Run::OpenFlow(|typed, session| {
        let word = typed.text("WORD");
        let found = PORT_WORDS.iter().find(|(name, ..)| *name == word);
        let Some((_, bit, set)) = found else {
            let words: Vec<_> = PORT_WORDS.iter().map(|(name, ..)| *name).collect();
            let text = format!(
                "'{word}' is nothing a port can be told; allowed: {}",
                words.join(", ")
            );
            return Err(Trouble::Argument(text).into());
        };
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        if PortConfig::known(connection.version()).0 & bit.0 == 0 {
            let text = format!(
                "OpenFlow {} does not know {word}; use -O OpenFlow10",
                connection.version()
            );
            return Err(Trouble::Argument(text).into());
        }
        let port = session::port(&mut connection, &typed.text("PORT"))?;
        let change = Message::PortMod(PortMod {
            port: port.port,
            mac: port.mac,
            config: if *set { *bit } else { PortConfig::default() },
            mask: *bit,
            advertise: PortFeatures::default(),
        });
        make(typed, &mut connection, &[change])
    }),
};

pub(crate) const PROBE: Command = Command {
    words: &["probe"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "See whether a switch answers",
    long: "The status is 0 when it does.",
    examples: &[example("vsctl probe br0", "Is it there?")],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        connection.ask(&Message::EchoRequest(Vec::new()))?;
        Ok(Answer::done())
    }),
};
