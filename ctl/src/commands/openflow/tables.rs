//! How flow tables are configured: what happens when they are full, and news of vacancy.

use serde_json::{Value, json};
use vswitch_flow::rule::TABLE_MAX;
use vswitch_openflow::Version;
use vswitch_openflow::message::Message;
use vswitch_openflow::multipart::{Reply, Request};
use vswitch_openflow::table::{TABLE_ALL, TableConfig, TableDesc, Vacancy};

use super::{SWITCH, gather, make};
use crate::args::Typed;
use crate::commands::Argument::Required;
use crate::commands::{Command, Run, example};
use crate::error::Failure;
use crate::openflow::Trouble;
use crate::openflow::connection::Connection;
use crate::openflow::session::Session;

pub(crate) const DESC: Command = Command {
    words: &["dump-table-desc"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "Show how flow tables are configured",
    long: "Whether flows are evicted from a full table, and when news of its vacancy is due. Needs \
           -O OpenFlow14 or OpenFlow15.",
    examples: &[example(
        "vsctl -O OpenFlow14 dump-table-desc br0",
        "All tables",
    )],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = open(typed, session)?;
        Ok(gather(
            &mut connection,
            Request::TableDesc,
            None,
            |reply| match reply {
                Reply::TableDesc(tables) => tables.iter().map(row).collect(),
                _ => Value::Null,
            },
        )?)
    }),
};

fn row(table: &TableDesc) -> Value {
    json!({
        "table": table.table,
        "eviction": table.config.has(TableConfig::EVICTION),
        "vacancy": table.vacancy.map(|vacancy| json!({
            "down": vacancy.down,
            "up": vacancy.up,
            "now": vacancy.now,
        })),
    })
}

pub(crate) const MODIFY: Command = Command {
    words: &["mod-table"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("TABLE", "The table's number, or all"),
        Required(
            "SETTING",
            "evict, noevict, vacancy:DOWN,UP (per cent) or novacancy",
        ),
    ],
    help: "Configure a flow table",
    long: "With evict, a flow that a full table has no room for takes the place of a less important \
           one. With vacancy, controllers hear when less than DOWN per cent of the table are free, \
           and when it is more than UP per cent again. Needs -O OpenFlow14 or OpenFlow15.",
    examples: &[
        example("vsctl -O OpenFlow14 mod-table br0 0 evict", "Make room"),
        example(
            "vsctl -O OpenFlow14 mod-table br0 0 vacancy:20,80",
            "Tell controllers when there is little room",
        ),
    ],
    run: Run::OpenFlow(|typed, session| {
        let (table, setting) = (typed.text("TABLE"), typed.text("SETTING"));
        let table = match table.as_str() {
            "all" => TABLE_ALL,
            text => text
                .parse()
                .ok()
                .filter(|table| *table <= TABLE_MAX)
                .ok_or_else(|| {
                    Trouble::Argument(format!("'{text}' is no table: 0 to {TABLE_MAX}, or all"))
                })?,
        };
        let change = change(&setting)?;
        let mut connection = open(typed, session)?;
        // What is not to change has to be said as it is.
        let mut tables = Vec::new();
        connection.ask_parts(Request::TableDesc, |reply| {
            if let Reply::TableDesc(part) = reply {
                tables.extend(part);
            }
        })?;
        let concerned = tables
            .into_iter()
            .filter(|desc| table == TABLE_ALL || desc.table == table);
        let changes: Vec<Message> = concerned
            .map(|mut desc| {
                change(&mut desc);
                desc.eviction = None;
                Message::TableMod(desc)
            })
            .collect();
        make(typed, &mut connection, &changes)
    }),
};

/// What a setting makes of a table.
fn change(setting: &str) -> Result<impl Fn(&mut TableDesc), Trouble> {
    let (set, clear, vacancy) = match setting {
        "evict" => (TableConfig::EVICTION, TableConfig::default(), None),
        "noevict" => (TableConfig::default(), TableConfig::EVICTION, None),
        "novacancy" => (TableConfig::default(), TableConfig::VACANCY_EVENTS, None),
        other => {
            let vacancy = other.strip_prefix("vacancy:").and_then(limits);
            let vacancy = vacancy.ok_or_else(|| {
                Trouble::Argument(format!(
                    "'{other}' is no setting of a table: evict, noevict, novacancy, or \
                     vacancy:DOWN,UP with DOWN at most UP and UP at most 100"
                ))
            })?;
            (
                TableConfig::VACANCY_EVENTS,
                TableConfig::default(),
                Some(vacancy),
            )
        }
    };
    Ok(move |desc: &mut TableDesc| {
        desc.config = desc.config.with(set).without(clear);
        let kept = desc.vacancy.map(|kept| Vacancy { now: 0, ..kept });
        let watched = desc.config.has(TableConfig::VACANCY_EVENTS);
        desc.vacancy = vacancy.or(kept).filter(|_| watched);
    })
}

fn limits(text: &str) -> Option<Vacancy> {
    let (down, up) = text.split_once(',')?;
    let (down, up): (u8, u8) = (down.parse().ok()?, up.parse().ok()?);
    (down <= up && up <= 100).then_some(Vacancy { down, up, now: 0 })
}

fn open(typed: &Typed<'_>, session: &Session) -> Result<Connection, Failure> {
    let connection = session.open(&typed.text("BRIDGE"))?;
    if connection.version() < Version::V14 {
        let text = format!(
            "OpenFlow {} does not know how tables are configured; use -O OpenFlow14",
            connection.version()
        );
        return Err(Trouble::Argument(text).into());
    }
    Ok(connection)
}
