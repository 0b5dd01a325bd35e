//! Bridges and what they have learnt.

use std::collections::BTreeMap;

use vswitch_dpapi::message::{FdbRow, FdbStats as LearningStats, Reply, Request};
use vswitch_dpapi::{BridgeId, Change};
use vswitch_flow::{FlowCommand, FlowMod, FlowRule};
use vswitch_rpc::Refusal;
use vswitch_rpc::bridge::{
    AddBr, DelBr, FdbCounters, FdbEntry, FdbFlush, FdbShare, FdbShow, FdbStats, ReadBr, SetBr,
};
use vswitch_rpc::method::{Done, Options};

use super::random;
use crate::control::{ChangeError, Control};
use crate::dataplane::unexpected;
use crate::host::device;
use crate::model::{Bridge, ModelError, bridge, key};
use crate::plan;

/// Names of ports by their numbers.
#[derive(Debug)]
pub(super) struct PortNames<'a>(BTreeMap<u32, &'a str>);

impl PortNames<'_> {
    /// The name of a port; its number when it is gone.
    pub(super) fn of(&self, id: u32) -> String {
        let name = self.0.get(&id);
        name.map_or_else(|| id.to_string(), |name| (*name).to_owned())
    }
}

impl Control {
    pub(super) async fn add_br(&mut self, call: AddBr) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        let mac = random_mac()?;
        next.switch.add_bridge(&call.name, &call.options, mac)?;
        let local = next.switch.bridge(&call.name)?.ports[&call.name].clone();
        let device = device::make(&local, Some(mac))?;
        self.commit(next, vec![(local.id, device)]).await?;
        Ok(Done {})
    }

    pub(super) async fn del_br(&mut self, call: DelBr) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        self.check_no_network(&call.name)?;
        let bridge = next.switch.del_bridge(&call.name)?;
        self.check_unrouted(bridge.ports.values())?;
        self.commit(next, Vec::new()).await?;
        Ok(Done {})
    }

    pub(super) fn list_br(&self) -> Result<Vec<String>, Refusal> {
        Ok(self.belief.switch.bridges.keys().cloned().collect())
    }

    pub(super) async fn set_br(&mut self, call: SetBr) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        let before = next.switch.bridge(&call.name)?.clone();
        if ["fail_mode", "controller"]
            .iter()
            .any(|key| call.options.contains_key(*key))
        {
            self.check_no_network(&call.name)?;
        }
        next.switch.set_bridge(&call.name, &call.options)?;
        self.commit(next, Vec::new()).await?;
        let after = self.belief.switch.bridge(&call.name)?.clone();
        self.turn_flows(&before, &after).await?;
        Ok(Done {})
    }

    /// Refuses what would take a container network its bridge or its flows.
    fn check_no_network(&self, bridge: &str) -> Result<(), Refusal> {
        let network = self.belief.switch.bridge(bridge)?.network.as_ref();
        let network = network.and_then(|id| self.belief.containers.network(id).ok());
        match network {
            Some(network) => Err(ModelError::OfNetwork {
                what: format!("the bridge {bridge}"),
                network: network.name.clone(),
            }
            .into()),
            None => Ok(()),
        }
    }

    /// Gives a bridge the flows that come with its new settings, and takes those away that came
    /// with the old ones.
    async fn turn_flows(&mut self, before: &Bridge, after: &Bridge) -> Result<(), ChangeError> {
        let tables = self.tables.entry(after.id).or_default();
        let is_empty = tables.is_empty();
        let (old, new) = (plan::first_flows(before), plan::first_flows(after));
        let change = |command, rule: &FlowRule| FlowMod::new(command, rule.clone()).into();
        let mut changes: Vec<Change> = Vec::new();
        if before.settings.controllers.is_empty() != after.settings.controllers.is_empty() {
            // Who decides from now on begins with nothing, as with Open vSwitch.
            let all = FlowMod {
                all_tables: true,
                ..FlowMod::new(FlowCommand::Delete, FlowRule::default())
            };
            changes.push(all.into());
            changes.extend(new.iter().map(|rule| change(FlowCommand::Add, rule)));
        } else {
            // The one flow that comes with standalone goes with it; others stay.
            for rule in old.iter().filter(|rule| !new.contains(rule)) {
                if tables.find(rule).as_ref() == Some(rule) {
                    changes.push(change(FlowCommand::DeleteStrict, rule));
                }
            }
            for rule in new.iter().filter(|rule| !old.contains(rule) && is_empty) {
                changes.push(change(FlowCommand::Add, rule));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.change(after.id, changes).await
    }

    pub(super) fn read_br(&self, call: &ReadBr) -> Result<Options, Refusal> {
        let bridge = self.belief.switch.bridge(&call.name)?;
        Ok(key::show(bridge::KEYS, &bridge.settings))
    }

    async fn learning(&mut self, bridge: &str) -> Result<LearningStats, Refusal> {
        let bridge = BridgeId(self.belief.switch.bridge(bridge)?.id);
        match self.dataplane.ask(&Request::FdbStats { bridge }).await? {
            Reply::FdbStats(stats) => Ok(stats),
            other => Err(unexpected(&other).into()),
        }
    }

    async fn fdb(&mut self, bridge: &str) -> Result<Vec<FdbRow>, Refusal> {
        let bridge = BridgeId(self.belief.switch.bridge(bridge)?.id);
        match self.dataplane.ask(&Request::Fdb { bridge }).await? {
            Reply::Fdb(rows) => Ok(rows),
            other => Err(unexpected(&other).into()),
        }
    }

    /// The name of the port with this number, or the number where it is just being removed.
    pub(super) fn port_name(&self, id: u32) -> String {
        let port = self.belief.switch.all_ports().find(|port| port.id == id);
        port.map_or_else(|| id.to_string(), |port| port.name.clone())
    }

    /// The names of all ports, for answers with many rows.
    pub(super) fn port_names(&self) -> PortNames<'_> {
        let ports = self.belief.switch.all_ports();
        PortNames(ports.map(|port| (port.id, port.name.as_str())).collect())
    }

    pub(super) async fn fdb_show(&mut self, call: &FdbShow) -> Result<Vec<FdbEntry>, Refusal> {
        let mut rows = self.fdb(&call.bridge).await?;
        rows.sort_by_key(|row| (row.vlan, row.mac));
        let names = self.port_names();
        Ok(rows
            .iter()
            .map(|row| FdbEntry {
                of_port: row.of_port.0,
                port: names.of(row.port.0),
                vlan: row.vlan,
                mac: key::show_mac(row.mac),
                age_s: u64::from(row.age),
            })
            .collect())
    }

    pub(super) async fn fdb_flush(&mut self, call: &FdbFlush) -> Result<Done, Refusal> {
        let bridge = BridgeId(self.belief.switch.bridge(&call.bridge)?.id);
        let request = Request::FlushFdb { bridge };
        self.dataplane.tell(&request, &[]).await?;
        Ok(Done {})
    }

    pub(super) async fn fdb_stats(&mut self, call: &FdbStats) -> Result<FdbCounters, Refusal> {
        let learning = self.learning(&call.bridge).await?;
        let rows = self.fdb(&call.bridge).await?;
        let mut by_port = BTreeMap::new();
        for row in &rows {
            *by_port.entry(row.port.0).or_insert(0) += 1;
        }
        Ok(FdbCounters {
            entries: rows.len() as u64,
            learned: learning.learned,
            expired: learning.expired,
            evicted: learning.evicted,
            moved: learning.moved,
            limit: u64::from(
                self.belief
                    .switch
                    .bridge(&call.bridge)?
                    .settings
                    .mac_table_size,
            ),
            by_port: by_port
                .into_iter()
                .map(|(port, entries)| FdbShare {
                    port: self.port_name(port),
                    entries,
                })
                .collect(),
        })
    }
}

/// An address that nobody else has: random, locally administered, not a group's.
pub(super) fn random_mac() -> Result<[u8; 6], Refusal> {
    let mut mac: [u8; 6] = random()?;
    mac[0] = mac[0] & 0xfc | 0x02;
    Ok(mac)
}
