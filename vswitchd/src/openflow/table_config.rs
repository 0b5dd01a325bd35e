//! Configuration of tables by controllers: whether flows are evicted, and news of vacancy.
//!
//! A table without a limit (`flow_limit` of the bridge) is never full: it evicts nothing, and is vacant.
//! Kept as long as the bridge, not in the store, as in Open vSwitch.
//!
//! Spec: OpenFlow 1.4.1 §6.2, §7.3.3, §7.4.5; Open vSwitch's `ofproto/ofproto.c` where these leave
//! a choice.

use std::collections::{BTreeMap, BTreeSet};

use vswitch_dpapi::message::Request;
use vswitch_flow::rule::TABLE_MAX;
use vswitch_openflow::table::{
    TABLE_ALL, TableConfig, TableDesc, TableReason, TableStatus, Vacancy,
};
use vswitch_openflow::{ErrorCode, Message};

use super::session::Kind;
use crate::control::Control;

/// How flows to evict are chosen, which cannot be: by importance, what is left of their lives, and
/// otherwise (`OFPTMPEF_*`).
const EVICTION_FLAGS: u32 = 1 | 1 << 1 | 1 << 2;

/// Bits of a configuration that may be said; those of what is missed have had no meaning since 1.3.
const KNOWN: u32 = TableConfig::MISS_CONTINUE.0
    | TableConfig::MISS_DROP.0
    | TableConfig::EVICTION.0
    | TableConfig::VACANCY_EVENTS.0;

/// Of a table whose configuration was changed.
#[derive(Clone, Copy, Debug, Default)]
struct Setting {
    evict: bool,
    watch: Option<Watch>,
}

/// When news of a table's vacancy is due.
#[derive(Clone, Copy, Debug)]
struct Watch {
    down: u8,
    up: u8,
    /// Which news comes next: the two take turns.
    next: TableReason,
}

/// The tables of a bridge whose configuration was changed.
#[derive(Debug, Default)]
pub struct TableSettings(BTreeMap<u8, Setting>);

impl TableSettings {
    /// Tables that evict flows.
    pub fn evicting(&self) -> BTreeSet<u8> {
        let evicting = self.0.iter().filter(|(_, setting)| setting.evict);
        evicting.map(|(table, _)| *table).collect()
    }

    fn desc(&self, table: u8, vacancy: u8) -> TableDesc {
        let setting = self.0.get(&table).copied().unwrap_or_default();
        let mut config = TableConfig::default();
        if setting.evict {
            config = config.with(TableConfig::EVICTION);
        }
        if setting.watch.is_some() {
            config = config.with(TableConfig::VACANCY_EVENTS);
        }
        TableDesc {
            eviction: Some(EVICTION_FLAGS),
            vacancy: setting.watch.map(|watch| Vacancy {
                down: watch.down,
                up: watch.up,
                now: vacancy,
            }),
            ..TableDesc::new(table, config)
        }
    }
}

/// What a change says of vacancy, checked.
fn vacancy_of(change: &TableDesc) -> Result<Vacancy, ErrorCode> {
    let said = change.vacancy.unwrap_or_default();
    let right = said.down <= said.up && said.up <= 100 && said.now == 0;
    if right {
        Ok(said)
    } else {
        Err(ErrorCode::BpcBadValue)
    }
}

impl Control {
    /// Per cent of a table that are free.
    fn vacancy(&self, bridge: u32, table: u8) -> u8 {
        let settings = self.bridge_by_id(bridge).map(|bridge| &bridge.settings);
        let limit = settings.and_then(|settings| settings.flow_limit);
        let Some(limit) = limit.filter(|limit| table == 0 && *limit > 0) else {
            return 100;
        };
        let used = self
            .tables
            .get(&bridge)
            .map_or(0, |tables| tables.len_of(table)) as u64;
        let free = u64::from(limit).saturating_sub(used);
        u8::try_from(free * 100 / u64::from(limit)).unwrap_or(100)
    }

    /// Configures a table, or all.
    pub(super) async fn change_table(
        &mut self,
        bridge: u32,
        change: &TableDesc,
    ) -> Result<(), ErrorCode> {
        let vacancy = vacancy_of(change)?;
        let other_eviction = change.eviction.is_some_and(|flags| flags != EVICTION_FLAGS);
        if change.config.0 & !KNOWN != 0 || other_eviction {
            return Err(ErrorCode::TmfcBadConfig);
        }
        let tables = match change.table {
            TABLE_ALL => 0..=TABLE_MAX,
            table if table <= TABLE_MAX => table..=table,
            _ => return Err(ErrorCode::TmfcBadTable),
        };
        for table in tables {
            let now = self.vacancy(bridge, table);
            let Some(doors) = self.agent.bridges.get_mut(&bridge) else {
                return Err(ErrorCode::TmfcEperm);
            };
            let setting = doors.tables.0.entry(table).or_default();
            setting.evict = change.config.has(TableConfig::EVICTION);
            let next = if now < vacancy.up {
                TableReason::VacancyUp
            } else {
                TableReason::VacancyDown
            };
            let watched = change.config.has(TableConfig::VACANCY_EVENTS);
            setting.watch = watched.then(|| Watch {
                down: vacancy.down,
                up: vacancy.up,
                next: setting.watch.map_or(next, |watch| watch.next),
            });
        }
        let request = Request::SetDesired(Box::new(self.desired(&self.belief)));
        self.dataplane.ask(&request).await.map_err(|error| {
            tracing::warn!(%error, "a table could not be configured");
            ErrorCode::TmfcEperm
        })?;
        Ok(())
    }

    /// Descriptions of all tables.
    pub(super) fn table_descs(&self, bridge: u32) -> Vec<TableDesc> {
        let settings = self.agent.bridges.get(&bridge).map(|doors| &doors.tables);
        let none = TableSettings::default();
        let settings = settings.unwrap_or(&none);
        let desc = |table| settings.desc(table, self.vacancy(bridge, table));
        (0..=TABLE_MAX).map(desc).collect()
    }

    /// Tells peers of tables whose vacancy has crossed what they asked to be told of.
    pub(super) fn tell_vacancy(&mut self) {
        let mut due = Vec::new();
        for (bridge, doors) in &self.agent.bridges {
            for (table, setting) in &doors.tables.0 {
                let Some(watch) = setting.watch else { continue };
                let now = self.vacancy(*bridge, *table);
                let reason = if now < watch.down {
                    TableReason::VacancyDown
                } else if now > watch.up {
                    TableReason::VacancyUp
                } else {
                    continue;
                };
                if reason == watch.next {
                    let desc = doors.tables.desc(*table, now);
                    due.push((*bridge, TableStatus { reason, desc }));
                }
            }
        }
        for (bridge, status) in due {
            let number = u32::from(status.reason.number());
            let message = Message::TableStatus(status);
            for peer in self
                .peers(bridge)
                .filter(|peer| peer.wants(Kind::TableStatus, number))
            {
                peer.tell(&message);
            }
            let doors = self.agent.bridges.get_mut(&bridge);
            let setting = doors.and_then(|doors| doors.tables.0.get_mut(&status.desc.table));
            if let Some(watch) = setting.and_then(|setting| setting.watch.as_mut()) {
                watch.next = match status.reason {
                    TableReason::VacancyDown => TableReason::VacancyUp,
                    TableReason::VacancyUp => TableReason::VacancyDown,
                };
            }
        }
    }
}
