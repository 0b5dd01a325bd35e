//! Controllers that a bridge was given: whether they are there, and what happens while none is.
//!
//! A standalone bridge whose controllers have all been away for `PATIENCE` loses its flows and gets
//! the one by which it forwards like a learning switch; it goes when a controller is back. A secure
//! bridge keeps what it has. Spec: Open vSwitch's `fail_mode` (`ovs-vswitchd.conf.db(5)`).

use std::time::Duration;

use tokio::time::Instant;
use vswitch_flow::{FlowCommand, FlowMod, FlowRule};
use vswitch_openflow::role::Role;
use vswitch_rpc::bridge::FailMode;
use vswitch_rpc::show;

use super::link::{DoorId, PROBE, TargetState};
use super::session::Session;
use super::{Agent, BridgeDoors};
use crate::control::Control;
use crate::model::{Bridge, Target};
use crate::plan;

/// How long a bridge waits for its controllers: three probes without an answer.
const PATIENCE: Duration = Duration::from_secs(3 * PROBE.as_secs());

/// The cookie of the flow that stands in for controllers: `failopen` in ASCII.
const COOKIE: u64 = u64::from_be_bytes(*b"failopen");

/// Forwards like a learning switch.
fn stand_in() -> FlowRule {
    FlowRule {
        cookie: COOKIE,
        ..plan::normal()
    }
}

impl BridgeDoors {
    fn has_controller(&self) -> bool {
        let mut targets = self.targets.values();
        targets.any(|target| target.state == TargetState::Active)
    }

    /// Notes since when no controller is there.
    fn watch(&mut self) {
        if self.targets.is_empty() || self.has_controller() {
            self.alone_since = None;
        } else {
            self.alone_since.get_or_insert_with(Instant::now);
        }
    }
}

impl Agent {
    /// A target's state has changed.
    pub(super) fn set_target(&mut self, door: DoorId, state: TargetState) {
        for doors in self.bridges.values_mut() {
            let mut targets = doors.targets.iter_mut();
            if let Some((target, found)) = targets.find(|(_, found)| found.door.id == door) {
                if let TargetState::Backoff(why) = &state
                    && found.error.as_ref() != Some(why)
                {
                    let bridge = &doors.name;
                    tracing::warn!(bridge, controller = %target, why, "a controller is not reached");
                    found.error = Some(why.clone());
                }
                if state == TargetState::Active {
                    tracing::info!(bridge = doors.name, controller = %target, "a controller is there");
                    found.error = None;
                }
                if found.state != state {
                    found.since = Instant::now();
                    found.state = state;
                }
                doors.watch();
                return;
            }
        }
    }

    /// Controllers of a bridge, or their absence, after its doors have changed.
    pub(super) fn watch(&mut self, bridge: u32) {
        if let Some(doors) = self.bridges.get_mut(&bridge) {
            doors.watch();
        }
    }
}

impl Control {
    /// When [`Control::agent_time`] has something to do.
    pub fn agent_due(&self) -> Option<Instant> {
        let alone = self
            .agent
            .bridges
            .values()
            .filter(|doors| !doors.standing_in);
        let patience = alone.filter_map(|doors| doors.alone_since).min();
        let bundles = self
            .agent
            .sessions
            .values()
            .filter_map(Session::bundles_due)
            .min();
        let patience = patience.map(|since| since + PATIENCE);
        patience.into_iter().chain(bundles).min()
    }

    /// Does what is done after some time: bundles that were left alone are forgotten, and flows
    /// stand in for controllers.
    pub async fn agent_time(&mut self) {
        for session in self.agent.sessions.values_mut() {
            for bundle in session.expire_bundles() {
                tracing::debug!(bundle, "a bundle was left alone and is forgotten");
            }
        }
        self.stand_in().await;
    }

    /// Lets flows stand in for controllers that have been away for too long.
    async fn stand_in(&mut self) {
        let mut due = Vec::new();
        for (id, doors) in &mut self.agent.bridges {
            let long = doors
                .alone_since
                .is_some_and(|since| since.elapsed() >= PATIENCE);
            if long && !doors.standing_in {
                doors.standing_in = true;
                due.push(*id);
            }
        }
        for id in due {
            let bridge = self.bridge_by_id(id);
            let Some(bridge) = bridge.filter(|b| b.settings.fail_mode == FailMode::Standalone)
            else {
                continue;
            };
            tracing::warn!(
                bridge = bridge.name,
                "no controller is there: it learns and forwards"
            );
            let all = FlowMod {
                all_tables: true,
                ..FlowMod::new(FlowCommand::Delete, FlowRule::default())
            };
            let changes = vec![
                all.into(),
                FlowMod::new(FlowCommand::Add, stand_in()).into(),
            ];
            if let Err(error) = self.change(id, changes).await {
                tracing::error!(%error, "no flow could stand in for the controllers");
            }
        }
    }

    /// A controller has come: it decides alone.
    pub(super) async fn end_stand_in(&mut self, bridge: u32) {
        if let Some(doors) = self.agent.bridges.get_mut(&bridge) {
            doors.standing_in = false;
        }
        // Not only where we remember having put it in: that may have been before a restart.
        let tables = self.tables.get(&bridge);
        let there = tables.and_then(|tables| tables.find(&stand_in()));
        if there != Some(stand_in()) {
            return;
        }
        let change = FlowMod::new(FlowCommand::DeleteStrict, stand_in());
        if let Err(error) = self.change(bridge, vec![change.into()]).await {
            tracing::error!(%error, "the flow that stood in for controllers could not be removed");
        }
    }

    /// The controllers of a bridge and how it stands with them.
    pub(crate) fn controllers(&self, bridge: &Bridge) -> Vec<show::Controller> {
        let Some(doors) = self.agent.bridges.get(&bridge.id) else {
            return Vec::new();
        };
        let target = |(target, found): (&Target, &super::TargetDoor)| {
            let sessions = self.agent.sessions.values();
            let peers = sessions.filter(|session| session.door == found.door.id);
            let first = peers.clone().next();
            show::Controller {
                target: target.to_string(),
                state: match &found.state {
                    TargetState::Connecting => "connecting".into(),
                    TargetState::Active => "active".into(),
                    TargetState::Backoff(_) => "backoff".into(),
                    TargetState::Listening => "listening".into(),
                },
                connections: peers.count() as u64,
                version: first.map(|session| session.version.to_string()),
                role: first.map(|session| {
                    let role = match session.role {
                        Role::Primary => "primary",
                        Role::Secondary => "secondary",
                        Role::Equal | Role::NoChange => "equal",
                    };
                    role.into()
                }),
                since_s: found.since.elapsed().as_secs(),
                error: found.error.clone(),
            }
        };
        doors.targets.iter().map(target).collect()
    }
}
