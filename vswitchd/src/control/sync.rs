//! Bringing the datapath to what should be: at our start, and whenever a new one has come.
//!
//! A datapath that was found running is adopted: what it holds is asked for first, and its
//! descriptors are copied to us, so that traffic goes on through everything that stays the same. A
//! new one gets the descriptors that we kept.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use vswitch_dpapi::message::{Reply, Request, State};
use vswitch_dpapi::{BridgeId, PortId};
use vswitch_rpc::port::Kind;

use super::Control;
use crate::dataplane::{DataplaneError, Events, unexpected};
use crate::host::{Device, device};
use crate::model::Port;
use crate::model::containers::Containers;

/// Pause before another try to bring the datapath back, after the first failure; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

impl Control {
    /// Connects to a datapath or starts one, and brings it to what should be.
    pub async fn recover(&mut self) -> Result<(), DataplaneError> {
        let result = self.try_recover().await;
        self.failures = match result {
            Ok(()) => 0,
            Err(_) => self.failures.saturating_add(1),
        };
        result
    }

    /// How long to wait before [`Control::recover`] makes sense again.
    pub fn pause(&self) -> Duration {
        match self.failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => PAUSE.saturating_mul(1 << doublings.min(16)).min(PAUSE_MAX),
        }
    }

    async fn try_recover(&mut self) -> Result<(), DataplaneError> {
        let found = self.dataplane.connect().await?;
        let state = match self.dataplane.ask(&Request::State).await? {
            Reply::State(state) => state,
            other => return Err(unexpected(&other)),
        };
        let pid = self.dataplane.pid().unwrap_or_default();
        if found {
            tracing::info!(pid, "adopting the datapath that runs");
        } else {
            tracing::info!(pid, "a datapath has been started");
        }
        if state.poll != self.dataplane.poll_mode() {
            let request = Request::SetPoll(self.dataplane.poll_mode());
            self.dataplane.tell(&request, &[]).await?;
        }
        self.changed = true;
        self.underlay.forget_told();
        let mut attached = self.adopt(&state).await?;
        self.errors.clear();
        let mut ports: Vec<Port> = self.belief.switch.all_ports().cloned().collect();
        // The first AF_XDP port has the kernel pin all packet memory; the others need not wait.
        ports.sort_by_key(|port| matches!(port.kind, Kind::Afxdp | Kind::Uplink));
        self.settle_sandboxes();
        // Devices first, since what is seen of them is part of what should be.
        for port in &ports {
            if !attached.contains(&port.id) {
                self.prepare(port);
            }
        }
        let desired = self.desired(&self.belief);
        if desired != state.desired {
            attached.retain(|id| {
                let was = state.desired.ports.iter().find(|port| port.id.0 == *id);
                let is = desired.ports.iter().find(|port| port.id.0 == *id);
                // What the datapath makes anew has lost its descriptors.
                matches!((was, is), (Some(was), Some(is)) if was.kind == is.kind)
            });
            let request = Request::SetDesired(Box::new(desired));
            let unattached = match self.dataplane.ask(&request).await? {
                Reply::Applied { unattached } => unattached,
                other => return Err(unexpected(&other)),
            };
            for PortId(id) in unattached {
                attached.remove(&id);
            }
        }
        self.enforce_tracking(&state.conntrack).await?;
        self.events = match self.dataplane.events().await {
            Ok(events) => events,
            Err(error) if error.is_loss() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the datapath does not tell what happens");
                Events::default()
            }
        };
        let bridges: Vec<u32> = self.belief.switch.bridges.values().map(|b| b.id).collect();
        for bridge in bridges {
            // Flows of a bridge that it does not know are ours to tell; of the others it knows best.
            if state.desired.bridges.iter().any(|spec| spec.id.0 == bridge) {
                self.adopt_tables(bridge).await?;
            } else {
                self.set_tables(bridge).await?;
            }
        }
        self.settle_networks(|_| true).await?;
        self.set_all_routes().await?;
        for port in &ports {
            self.port_since.entry(port.id).or_insert_with(Instant::now);
            if attached.contains(&port.id) || !self.devices.contains_key(&port.id) {
                continue;
            }
            match self.attach(port.id).await {
                Ok(()) => {}
                Err(error) if error.is_loss() => return Err(error),
                Err(error) => {
                    tracing::warn!(port = port.name, %error, "a port could not be attached");
                    self.errors.insert(port.id, error.to_string());
                }
            }
        }
        self.steer();
        self.route_all();
        let containers = &self.belief.containers;
        self.names.settle(containers, &BTreeSet::new());
        let sandboxes = containers
            .sandboxes()
            .into_iter()
            .map(|one| one.id)
            .collect();
        self.name_servers_for(&sandboxes, &Containers::default());
        Ok(())
    }

    /// Copies the descriptors of ports that the datapath has and that we do not hold. The answer
    /// has the ports that it serves as they should be.
    async fn adopt(&mut self, state: &State) -> Result<BTreeSet<u32>, DataplaneError> {
        let mut attached = BTreeSet::new();
        for id in &state.attached {
            let was = state.desired.ports.iter().find(|port| port.id == *id);
            let switch = &self.belief.switch;
            let on_bridge = switch.ports().map(|(b, port)| (BridgeId(b.id), port));
            let loose = switch.loose_ports().map(|port| (BridgeId::NONE, port));
            let is = on_bridge.chain(loose).find(|(_, port)| port.id == id.0);
            let (Some(was), Some((bridge, port))) = (was, is) else {
                continue;
            };
            if was.name != port.name || was.bridge != bridge {
                continue;
            }
            if self.devices.contains_key(&id.0) {
                attached.insert(id.0);
                continue;
            }
            let port = port.clone();
            let request = Request::Export { port: *id };
            let (attachment, fds) = match self.dataplane.exchange(&request, &[]).await {
                Ok((Reply::Attachment(attachment), fds)) => (attachment, fds),
                Ok((other, _)) => return Err(unexpected(&other)),
                Err(error) if error.is_loss() => return Err(error),
                Err(error) => {
                    tracing::warn!(port = port.name, %error, "a port's descriptors did not come");
                    continue;
                }
            };
            if let Some(device) = Device::adopt(attachment, fds) {
                self.devices.insert(id.0, device);
                attached.insert(id.0);
            }
        }
        Ok(attached)
    }

    /// Gets a port's device ready for a user that has not had it: what we kept, or a new one.
    fn prepare(&mut self, port: &Port) {
        let prepared = match self.devices.get_mut(&port.id) {
            Some(device) => device.renew(),
            None if port.kind == Kind::Socket => {
                let (device, failed) = device::make_sockets(&self.needed_sockets(), None);
                self.devices.insert(port.id, device);
                // What could be opened serves; the rest is tried again.
                if let Some(error) = failed {
                    self.failed.sockets();
                    tracing::warn!(%error, "a UDP port could not be opened");
                }
                Ok(())
            }
            None => {
                let mac = self.mac(port);
                device::make(port, mac).map(|device| {
                    self.devices.insert(port.id, device);
                    self.dress_again(port);
                })
            }
        };
        if let Err(error) = prepared {
            tracing::warn!(port = port.name, %error, "a port has no device");
            self.devices.remove(&port.id);
            self.errors.insert(port.id, error.to_string());
        }
    }
}
