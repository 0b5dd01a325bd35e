//! Meters.

use serde_json::{Value, json};
use vswitch_flow::meter::METER_ALL;
use vswitch_flow::text::{MeterCommand, parse_meter_mod};
use vswitch_openflow::Version;
use vswitch_openflow::message::Message;
use vswitch_openflow::multipart::{Reply, Request};

use super::{Answer, SWITCH, ask, at_least, gather, make};
use crate::args::Typed;
use crate::commands::Argument::{Optional, Required};
use crate::commands::{Command, Run, example};
use crate::error::Failure;
use crate::openflow::Trouble;
use crate::openflow::session::Session;

pub(crate) const ADD: Command = Command {
    words: &["add-meter"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("METER", "The meter, as ovs-ofctl writes it"),
    ],
    help: "Add a meter to a bridge",
    long: "There must be no meter with this number yet.",
    examples: &[example(
        "vsctl add-meter br0 meter=1,kbps,bands=type=drop,rate=1000",
        "At most a megabit a second",
    )],
    run: Run::OpenFlow(|typed, session| {
        change(typed, session, &typed.text("METER"), MeterCommand::Add)
    }),
};

pub(crate) const MODIFY: Command = Command {
    words: &["mod-meter"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("METER", "The meter, as ovs-ofctl writes it"),
    ],
    help: "Replace a meter of a bridge",
    long: "Flows that use the meter go on using it.",
    examples: &[example(
        "vsctl mod-meter br0 meter=1,kbps,bands=type=drop,rate=2000",
        "Twice the rate",
    )],
    run: Run::OpenFlow(|typed, session| {
        change(typed, session, &typed.text("METER"), MeterCommand::Modify)
    }),
};

pub(crate) const DELETE: Command = Command {
    words: &["del-meters"],
    aliases: &["del-meter"],
    arguments: &[
        SWITCH,
        Optional("METER", "meter=NUMBER; all meters without it"),
    ],
    help: "Remove meters from a bridge",
    long: "Flows that use a meter go with it.",
    examples: &[
        example("vsctl del-meters br0", "All meters"),
        example("vsctl del-meters br0 meter=1", "One meter"),
    ],
    run: Run::OpenFlow(|typed, session| {
        let text = typed
            .optional("METER")
            .unwrap_or_else(|| "meter=all".into());
        change(typed, session, &text, MeterCommand::Delete)
    }),
};

pub(crate) const DUMP: Command = Command {
    words: &["dump-meters"],
    aliases: &["dump-meter"],
    arguments: &[
        SWITCH,
        Optional("METER", "meter=NUMBER; all meters without it"),
    ],
    help: "Show the meters of a bridge",
    long: "The text can be given to add-meter again.",
    examples: &[example("vsctl dump-meters br0", "All meters")],
    run: Run::OpenFlow(|typed, session| {
        asked(typed, session, Request::MeterConfig, |reply| match reply {
            Reply::MeterConfig(meters) => meters
                .iter()
                .map(|meter| json!({ "meter": meter.id, "text": meter.to_string() }))
                .collect(),
            _ => Value::Null,
        })
    }),
};

pub(crate) const STATS: Command = Command {
    words: &["meter-stats"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Optional("METER", "meter=NUMBER; all meters without it"),
    ],
    help: "Show the counters of meters",
    long: "Of each meter and of each of its bands.",
    examples: &[example("vsctl meter-stats br0", "All meters")],
    run: Run::OpenFlow(|typed, session| {
        asked(typed, session, Request::Meter, |reply| match reply {
            Reply::Meter(meters) => meters
                .iter()
                .map(|meter| {
                    json!({
                        "meter": meter.id,
                        "flows": meter.flows,
                        "packets": meter.packets,
                        "bytes": meter.bytes,
                        "bands": meter.bands.iter().map(|(packets, bytes)| {
                            json!({ "packets": packets, "bytes": bytes })
                        }).collect::<Value>(),
                    })
                })
                .collect(),
            _ => Value::Null,
        })
    }),
};

pub(crate) const FEATURES: Command = Command {
    words: &["meter-features"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "Show which meters a bridge can have",
    long: "How many meters and bands, of which types.",
    examples: &[example("vsctl meter-features br0", "What is possible")],
    run: Run::OpenFlow(|typed, session| {
        ask(
            typed,
            session,
            Request::MeterFeatures,
            |reply| match reply {
                Reply::MeterFeatures(features) => json!({
                    "max_meters": features.max_meters,
                    "max_bands": features.max_bands,
                    "band_types": features.band_types,
                    "capabilities": features.capabilities,
                }),
                _ => Value::Null,
            },
        )
    }),
};

fn asked(
    typed: &Typed<'_>,
    session: &Session,
    request: fn(u32) -> Request,
    json: fn(&Reply) -> Value,
) -> Result<Answer, Failure> {
    let id = match typed.optional("METER").as_deref() {
        None | Some("meter=all" | "all") => METER_ALL,
        Some(text) => text
            .trim_start_matches("meter=")
            .parse()
            .map_err(|_| Trouble::Argument(format!("'{text}' is no number of a meter")))?,
    };
    let mut connection = session.open(&typed.text("BRIDGE"))?;
    at_least(&connection, Version::V13, "meters")?;
    Ok(gather(&mut connection, request(id), None, json)?)
}

fn change(
    typed: &Typed<'_>,
    session: &Session,
    text: &str,
    command: MeterCommand,
) -> Result<Answer, Failure> {
    let mut connection = session.open(&typed.text("BRIDGE"))?;
    at_least(&connection, Version::V13, "meters")?;
    let change = parse_meter_mod(text, command).map_err(Trouble::from)?;
    make(typed, &mut connection, &[Message::MeterMod(change)])
}
