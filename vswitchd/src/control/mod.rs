//! What the control process holds, and the one way in which it changes.
//!
//! [`Control`] belongs to the event loop in `main.rs`, which hands it calls, news of devices and the
//! datapath's end, one after another; nothing else touches it, so nothing is locked.
//!
//! Law of a change: it is checked first, then its devices are made, then it is written to the store,
//! then the datapath has it, and only then is it answered. Whatever fails takes everything before it
//! back. A datapath that dies meanwhile is no failure: the next one gets the whole of it.

mod change;
mod look;
pub mod routes;
mod sync;
mod underlay;
pub(crate) mod uplinks;

use std::collections::BTreeMap;

use tokio::time::Instant;
use vswitch_dpapi::message::Request;
use vswitch_dpapi::{CtSettings, Desired, PortId};
use vswitch_rpc::{Code, Refusal};

pub use change::ChangeError;

use crate::command::appctl::{Cleared, Sampled};
use crate::dataplane::{Dataplane, DataplaneError, Events};
use crate::host::Device;
use crate::host::netlink::Link;
use crate::log::Log;
use crate::model::Port;
use crate::names::Names;
use crate::openflow::Agent;
use crate::openflow::tables::Tables;
use crate::plan::{self, Seen};
use crate::store::{Belief, Store, StoreError};

/// Everything the control process holds.
#[derive(Debug)]
pub struct Control {
    /// What should be.
    pub(crate) belief: Belief,
    store: Store,
    /// The kernel's part of each port, by the port's number. A port without an entry has no device:
    /// it is gone, or could not be had.
    pub(crate) devices: BTreeMap<u32, Device>,
    /// Why a port does not work, by the port's number.
    pub(crate) errors: BTreeMap<u32, String>,
    /// What the devices were that ports have lost, by the port's number.
    lost: BTreeMap<u32, Link>,
    /// The packet process.
    pub dataplane: Dataplane,
    /// What it tells without being asked.
    pub events: Events,
    /// Flows, groups and meters by the bridge's number, as the datapath has them.
    pub(crate) tables: BTreeMap<u32, Tables>,
    /// Routes by the router's number, as the datapath and the store have them.
    routes: BTreeMap<u32, routes::RouteMap>,
    /// Controllers and OpenFlow clients.
    pub agent: Agent,
    /// Bridges, ports or devices may be other than peers were told.
    pub(crate) changed: bool,
    /// Bridges whose peers want packets that nothing matches.
    pub(crate) misses: Vec<u32>,
    /// When each port was made or found, by its number.
    pub(crate) port_since: BTreeMap<u32, Instant>,
    /// How often in a row the datapath could not be brought back.
    failures: u32,
    /// Devices of which there is news.
    news: look::Pending,
    /// The network that carries tunnels.
    underlay: underlay::State,
    /// What ports of bridges need of the host's network; `None` until it was worked out.
    needs: Option<uplinks::Needs>,
    /// What ports need and could not have.
    failed: uplinks::Failed,
    /// Uplinks that do not take what they should, and why, by the numbers of their ports.
    pub(crate) unsteered: BTreeMap<u32, String>,
    /// Who serves names on container networks.
    pub(crate) names: Names,
    /// What is said, how loudly, and where.
    pub(crate) log: Log,
    /// What samples of the datapath's counters have shown.
    pub(crate) sampled: Sampled,
    /// Workers whose counters were cleared.
    pub(crate) cleared: Cleared,
    /// The call that ends this process has been carried out.
    pub(crate) last_call: bool,
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::new(Code::Failed, error.to_string()).hint("nothing has been changed")
    }
}

impl Control {
    /// Nothing is done yet; [`Control::recover`] brings datapath and devices to what should be.
    pub fn new(store: Store, belief: Belief, dataplane: Dataplane, agent: Agent, log: Log) -> Self {
        Self {
            belief,
            store,
            devices: BTreeMap::new(),
            errors: BTreeMap::new(),
            lost: BTreeMap::new(),
            dataplane,
            events: Events::default(),
            tables: BTreeMap::new(),
            routes: BTreeMap::new(),
            agent,
            changed: true,
            misses: Vec::new(),
            port_since: BTreeMap::new(),
            failures: 0,
            news: look::Pending::default(),
            underlay: underlay::State::default(),
            needs: None,
            failed: uplinks::Failed::default(),
            unsteered: BTreeMap::new(),
            names: Names::default(),
            log,
            sampled: Sampled::default(),
            cleared: Cleared::default(),
            last_call: false,
        }
    }

    /// Whether a call has asked this process to end.
    pub fn is_over(&self) -> bool {
        self.last_call
    }

    /// What the datapath is to be told if `belief` should be.
    pub(crate) fn desired(&self, belief: &Belief) -> Desired {
        let seen = self.devices.iter().filter_map(|(id, device)| {
            let link = device.link.as_ref()?;
            let seen = Seen {
                mtu: link.mtu,
                up: link.running,
            };
            Some((*id, seen))
        });
        let evicting = self.agent.evicting();
        plan::desired(&belief.switch, &seen.collect(), &self.misses, &evicting)
    }

    /// Makes `next` what should be, in the store and in the datapath. `made` are the devices of new
    /// ports. After an error everything is as before, and those devices are gone.
    pub(crate) async fn commit(
        &mut self,
        next: Belief,
        made: Vec<(u32, Device)>,
    ) -> Result<(), Refusal> {
        self.store.save(&self.belief, &next)?;
        let before = std::mem::replace(&mut self.belief, next);
        let new: Vec<u32> = made.iter().map(|(id, _)| *id).collect();
        self.devices.extend(made);
        let mut result = self.enforce(&before, &new).await;
        if result.as_ref().is_err_and(DataplaneError::is_loss) {
            // The next datapath gets everything, this change with the rest.
            result = self.recover().await;
            if let Some(why) = new.iter().find_map(|id| self.errors.remove(id)) {
                result = Err(DataplaneError::Refused(why));
            }
        }
        self.changed = true;
        self.underlay.stir();
        let Err(error) = result else {
            self.forget_removed();
            let changes = self.belief.containers.changes(&before.containers);
            self.names
                .settle(&self.belief.containers, &changes.networks);
            self.name_servers_for(&changes.sandboxes, &before.containers);
            return Ok(());
        };
        for id in &new {
            self.devices.remove(id);
        }
        let failed = std::mem::replace(&mut self.belief, before);
        if let Err(error) = self.store.save(&failed, &self.belief) {
            tracing::error!(%error, "a change that failed could not be taken out of the store");
        }
        if !error.is_loss()
            && let Err(error) = self.enforce(&failed, &[]).await
        {
            tracing::error!(%error, "a change that failed could not be taken back");
        }
        self.forget_removed();
        Err(error.into())
    }

    /// Has the datapath do what differs between `before` and now.
    async fn enforce(&mut self, before: &Belief, new: &[u32]) -> Result<(), DataplaneError> {
        let desired = self.desired(&self.belief);
        if desired != self.desired(before) {
            let request = Request::SetDesired(Box::new(desired));
            self.dataplane.tell(&request, &[]).await?;
        }
        self.enforce_tracking(&before.switch.conntrack).await?;
        let known = |id: u32| before.switch.bridges.values().any(|bridge| bridge.id == id);
        let bridges = self.belief.switch.bridges.values();
        let fresh: Vec<u32> = bridges
            .map(|bridge| bridge.id)
            .filter(|id| !known(*id))
            .collect();
        for bridge in fresh {
            self.set_tables(bridge).await?;
        }
        // An endpoint is held to what it may say before it can say anything.
        let changes = self.belief.containers.changes(&before.containers);
        self.settle_networks(|network| changes.networks.contains(network))
            .await?;
        for id in new {
            self.attach(*id).await?;
        }
        Ok(())
    }

    /// Has the datapath track connections as they should be, if it does so in another way.
    async fn enforce_tracking(&mut self, is: &CtSettings) -> Result<(), DataplaneError> {
        let wanted = &self.belief.switch.conntrack;
        if wanted == is {
            return Ok(());
        }
        let request = Request::SetConntrack(Box::new(wanted.clone()));
        self.dataplane.tell(&request, &[]).await
    }

    /// Hands a port's descriptors over.
    async fn attach(&mut self, id: u32) -> Result<(), DataplaneError> {
        let Some(device) = self.devices.get_mut(&id) else {
            return Ok(());
        };
        let request = Request::Attach {
            port: PortId(id),
            attachment: device.attachment(),
        };
        self.dataplane.tell(&request, &device.fds()).await?;
        device.handed_over();
        Ok(())
    }

    /// Lets go of the devices of ports that are no more, and of the tables of bridges, whose numbers others
    /// may get.
    fn forget_removed(&mut self) {
        let switch = &self.belief.switch;
        let ids: std::collections::BTreeSet<u32> = switch.all_ports().map(|port| port.id).collect();
        self.devices.retain(|id, _| ids.contains(id));
        self.errors.retain(|id, _| ids.contains(id));
        self.lost.retain(|id, _| ids.contains(id));
        let bridges: std::collections::BTreeSet<u32> =
            switch.bridges.values().map(|bridge| bridge.id).collect();
        self.tables.retain(|id, _| bridges.contains(id));
        self.port_since.retain(|id, _| ids.contains(id));
        for id in ids {
            self.port_since.entry(id).or_insert_with(Instant::now);
        }
    }

    /// The address for the device of a port, where we make it.
    fn mac(&self, port: &Port) -> Option<[u8; 6]> {
        if port.is_local() {
            let bridge = self.belief.switch.bridges.get(&port.name);
            bridge.map(|bridge| bridge.mac)
        } else {
            port.settings.addr
        }
    }

    /// Ends the datapath and gives every device back.
    pub async fn shutdown(&mut self) -> Result<(), DataplaneError> {
        match self.dataplane.shutdown().await {
            // One that is not there has nothing to give back.
            Ok(()) | Err(DataplaneError::Gone) => {}
            Err(error) => return Err(error),
        }
        self.devices.clear();
        Ok(())
    }
}
