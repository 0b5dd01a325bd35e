//! Changes to flows, groups and meters: the one way in which they are made.
//!
//! Law: a change is made by the datapath first and remembered after ([`Tables`]). What the datapath
//! did by itself before is remembered before, so that both sides see everything in the same order.

use std::collections::HashMap;

use vswitch_dpapi::message::{Reply, Request};
use vswitch_dpapi::{BridgeId, Change, ChangeRefusal, Event, Removal};
use vswitch_flow::{FlowCommand, FlowMod, FlowRule, FlowSelect};
use vswitch_rpc::{Code, Refusal};

use super::Control;
use crate::dataplane::{DataplaneError, unexpected};
use crate::driver;
use crate::model::Bridge;
use crate::model::containers::Id;
use crate::openflow::tables::Tables;
use crate::plan;

/// Flows asked for at a time, so that no answer is long.
const PAGE: u32 = 4096;

/// Why changes were not made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// One of them is not possible.
    #[error("{why}")]
    Refused {
        /// Which, by its place.
        at: usize,
        /// Why.
        why: ChangeRefusal,
        /// All of them again, so that others may be tried.
        changes: Vec<Change>,
    },
    /// The datapath could not be asked.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused { why, .. } => Self::new(Code::Refused, why.to_string()),
            ChangeError::Dataplane(error) => error.into(),
        }
    }
}

/// What makes the flows of a container network in `tables` those of `wanted`.
fn differences(tables: &Tables, wanted: Vec<FlowRule>) -> Vec<Change> {
    let key = |rule: &FlowRule| (rule.table, rule.priority, rule.matches.clone());
    let old = tables
        .flows()
        .filter(|rule| rule.cookie == driver::bridge::COOKIE);
    let mut old: HashMap<_, FlowRule> = old.map(|rule| (key(&rule), rule)).collect();
    let mut changes = Vec::new();
    for rule in wanted {
        let before = old.remove(&key(&rule));
        if before.is_none_or(|before| before.instructions != rule.instructions) {
            changes.push(FlowMod::new(FlowCommand::Add, rule).into());
        }
    }
    let gone = old.into_values().map(|rule| FlowMod {
        cookie: driver::bridge::COOKIE,
        cookie_mask: u64::MAX,
        ..FlowMod::new(FlowCommand::DeleteStrict, rule)
    });
    changes.extend(gone.map(Change::from));
    changes
}

impl Control {
    /// Makes changes, all or none, in this order.
    pub(crate) async fn change(
        &mut self,
        bridge: u32,
        changes: Vec<Change>,
    ) -> Result<(), ChangeError> {
        let mut request = Request::Change {
            bridge: BridgeId(bridge),
            changes,
        };
        let mut answer = self.dataplane.ask(&request).await;
        if answer.as_ref().is_err_and(DataplaneError::is_loss) {
            // The next datapath has what we remember, so not these.
            self.recover().await?;
            answer = self.dataplane.ask(&request).await;
        }
        self.changed_by(&mut request, answer?)
    }

    /// Remembers what the datapath answered to changes.
    fn changed_by(&mut self, request: &mut Request, answer: Reply) -> Result<(), ChangeError> {
        while let Some(event) = self.events.here() {
            self.happened(event);
        }
        let (bridge, changes) = match request {
            Request::Change { bridge, changes } => (bridge.0, std::mem::take(changes)),
            other => return Err(DataplaneError::Refused(format!("{other:?} is no change")).into()),
        };
        match answer {
            Reply::Done => {
                let tables = self.tables.entry(bridge).or_default();
                for (place, change) in changes.into_iter().enumerate() {
                    tables.apply(change, Some(place));
                }
                Ok(())
            }
            Reply::ChangeRefused { at, why } => Err(ChangeError::Refused {
                at: at as usize,
                why,
                changes,
            }),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Takes note of what the datapath tells.
    pub fn happened(&mut self, event: Event) {
        match &event {
            Event::PacketIn(_) => {}
            Event::Resolve { device, address } => self.wish_neighbour(*device, *address),
            Event::FlowRemoved {
                bridge,
                rule,
                reason,
                ..
            } => {
                // Deletions are changes of ours, remembered as such.
                let by_itself = matches!(reason, Removal::Idle | Removal::Hard | Removal::Eviction);
                if by_itself && let Some(tables) = self.tables.get_mut(&bridge.0) {
                    tables.lose(rule, *reason);
                }
            }
            Event::Learned { bridge, change } => {
                if let Some(tables) = self.tables.get_mut(&bridge.0) {
                    tables.apply(Change::Flow(change.clone()), None);
                }
            }
            Event::Timeouts { bridge, rule } => {
                if let Some(tables) = self.tables.get_mut(&bridge.0) {
                    tables.set_timeouts(rule);
                }
            }
        }
        self.agent.note(event);
    }

    /// The flows that come with a bridge.
    fn first_flows(&self, bridge: &Bridge) -> Vec<FlowRule> {
        let network = bridge.network.as_ref().and_then(|id| id.parse().ok());
        let containers = &self.belief.containers;
        match network.and_then(|id| containers.network_by_id(&id)) {
            Some(network) => {
                let endpoints = containers.of_network(&network.id);
                driver::bridge::flows(network, endpoints, bridge)
            }
            None => plan::first_flows(bridge),
        }
    }

    /// Has the flows of container networks' bridges be those that follow from endpoints, of the networks that
    /// `concerned` says. The datapath that knows a bridge may know it from before a change.
    pub(super) async fn settle_networks(
        &mut self,
        concerned: impl Fn(&Id) -> bool,
    ) -> Result<(), DataplaneError> {
        let bridges = self.belief.switch.bridges.values();
        let work: Vec<(u32, Vec<Change>)> = bridges
            .filter_map(|bridge| {
                let network: Id = bridge.network.as_ref()?.parse().ok()?;
                let tables = self.tables.get(&bridge.id)?;
                concerned(&network)
                    .then(|| (bridge.id, differences(tables, self.first_flows(bridge))))
            })
            .filter(|(_, changes)| !changes.is_empty())
            .collect();
        for (bridge, changes) in work {
            let mut request = Request::Change {
                bridge: BridgeId(bridge),
                changes,
            };
            let answer = self.dataplane.ask(&request).await?;
            match self.changed_by(&mut request, answer) {
                Ok(()) => {}
                Err(ChangeError::Dataplane(error)) => return Err(error),
                Err(refused) => return Err(DataplaneError::Refused(refused.to_string())),
            }
        }
        Ok(())
    }

    /// Has the datapath take the flows, groups and meters of a bridge that we remember, or those
    /// that its settings bring.
    pub(super) async fn set_tables(&mut self, bridge: u32) -> Result<(), DataplaneError> {
        if !self.tables.contains_key(&bridge) {
            let mut bridges = self.belief.switch.bridges.values();
            let first = bridges
                .find(|other| other.id == bridge)
                .map(|bridge| self.first_flows(bridge));
            let tables = Tables::with_flows(first.unwrap_or_default());
            self.tables.insert(bridge, tables);
        }
        let tables = &self.tables[&bridge];
        let request = Request::SetTables {
            bridge: BridgeId(bridge),
            flows: tables.flows().collect(),
            groups: tables.groups().cloned().collect(),
            meters: tables.meters().cloned().collect(),
        };
        self.dataplane.tell(&request, &[]).await
    }

    /// Remembers the flows, groups and meters of a bridge that the datapath has.
    pub(super) async fn adopt_tables(&mut self, bridge: u32) -> Result<(), DataplaneError> {
        let mut tables = Tables::default();
        let id = BridgeId(bridge);
        let mut request = Request::Flows {
            bridge: id,
            select: Box::new(FlowSelect::default()),
            max: PAGE,
        };
        loop {
            let (rows, more) = match self.dataplane.ask(&request).await? {
                Reply::Flows { rows, more } => (rows, more),
                other => return Err(unexpected(&other)),
            };
            for row in rows {
                tables.add(row.flow);
            }
            if !more {
                break;
            }
            request = Request::MoreFlows { max: PAGE };
        }
        let request = Request::Groups {
            bridge: id,
            id: None,
        };
        match self.dataplane.ask(&request).await {
            Ok(Reply::Groups(rows)) => rows.into_iter().for_each(|row| tables.set_group(row.group)),
            Ok(other) => return Err(unexpected(&other)),
            Err(error) if error.is_loss() => return Err(error),
            Err(error) => tracing::debug!(%error, "no groups"),
        }
        let request = Request::Meters {
            bridge: id,
            id: None,
        };
        match self.dataplane.ask(&request).await {
            Ok(Reply::Meters(rows)) => rows.into_iter().for_each(|row| tables.set_meter(row.meter)),
            Ok(other) => return Err(unexpected(&other)),
            Err(error) if error.is_loss() => return Err(error),
            Err(error) => tracing::debug!(%error, "no meters"),
        }
        self.replace_tables(bridge, tables);
        Ok(())
    }

    /// Remembers other tables of a bridge; who watches the bridge goes on watching.
    pub(crate) fn replace_tables(&mut self, bridge: u32, mut tables: Tables) {
        if let Some(old) = self.tables.remove(&bridge) {
            tables.succeed(old);
        }
        self.tables.insert(bridge, tables);
    }
}
