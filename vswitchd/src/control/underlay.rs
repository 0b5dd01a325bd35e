//! Telling the datapath of the network that carries tunnels.
//!
//! Law: while there is a tunnel port, the datapath knows what the kernel knows, at most some
//! milliseconds late: all of it at first, then what has changed since it was told last. Without a
//! tunnel port it is told nothing.
//!
//! Neighbours that tunnels need and that are about to be forgotten are confirmed by the kernel
//! before it does so.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;
use vswitch_dpapi::message::Request;
use vswitch_dpapi::tunnel::{UnderlayAddress, UnderlayDevice, UnderlayNeighbour, UnderlayRoute};
use vswitch_dpapi::{Endpoint, Underlay, UnderlayChange};

use super::{Control, uplinks};
use crate::dataplane::DataplaneError;
use crate::host::network::{self, Heard, Network, RouteName};

/// How long news are gathered before they are acted on: setting up a device makes several, and
/// neighbours come and go in crowds.
const GATHER: Duration = Duration::from_millis(5);

/// Pause before what failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Neighbours that are confirmed at most.
const NEEDED_MAX: usize = 16_384;

/// What is known and what was told.
#[derive(Debug, Default)]
pub(super) struct State {
    network: Network,
    /// What the datapath has; `None` when it was told nothing.
    told: Option<Told>,
    /// Neighbours that tunnels have asked for.
    needed: BTreeSet<(u32, IpAddr)>,
    read_routes: bool,
    read_all: bool,
    /// When there is something to do.
    due: Option<Instant>,
}

/// What the datapath was told, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    devices: BTreeMap<u32, UnderlayDevice>,
    addresses: BTreeSet<(u32, IpAddr, u8)>,
    routes: BTreeMap<RouteName, UnderlayRoute>,
    neighbours: BTreeMap<(u32, IpAddr), [u8; 6]>,
}

impl State {
    /// There may be something to tell.
    pub(super) fn stir(&mut self) {
        self.due_at(Instant::now());
    }

    /// There is something to do at a time, unless that is done before.
    fn due_at(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Takes note of news, which are gathered for a while.
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Neighbour { .. } => {
                if !self.network.note(heard) {
                    return;
                }
            }
            Heard::Routes => self.read_routes = true,
            Heard::Everything => self.read_all = true,
        }
        self.due_at(Instant::now() + GATHER);
    }

    /// Reads what is to be read again. What could not be read stays to be read.
    fn read(
        &mut self,
        all: impl FnOnce() -> io::Result<Network>,
        routes: impl FnOnce(&mut Network) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.read_all {
            self.network = all()?;
        } else if self.read_routes {
            routes(&mut self.network)?;
        }
        (self.read_all, self.read_routes) = (false, false);
        Ok(())
    }

    /// Another datapath, which knows nothing.
    pub(super) fn forget_told(&mut self) {
        self.told = None;
        self.read_all = true;
        self.stir();
    }
}

impl Control {
    /// Takes note of news of the network.
    pub fn hear_network(&mut self, heard: Heard) {
        self.underlay.hear(heard);
        if let Heard::Neighbour {
            device,
            address,
            stale: true,
            ..
        } = heard
            && self.underlay.told.is_some()
            && self.needs(device, address)
        {
            self.resolve(device, address);
        }
    }

    /// A tunnel needs a neighbour's address.
    pub(super) fn wish_neighbour(&mut self, device: u32, address: IpAddr) {
        let needed = &mut self.underlay.needed;
        if needed.len() >= NEEDED_MAX {
            needed.clear();
        }
        needed.insert((device, address));
        self.resolve(device, address);
    }

    fn resolve(&self, device: u32, address: IpAddr) {
        if let Err(error) = network::resolve(device, address) {
            tracing::debug!(%error, device, %address, "a neighbour could not be asked for");
        }
    }

    /// Whether packets of tunnels go by a neighbour.
    fn needs(&self, device: u32, address: IpAddr) -> bool {
        let routes = self.underlay.network.routes.values();
        let mut gateways = routes.flat_map(|route| &route.hops);
        let mut ports = self.belief.switch.ports();
        self.underlay.needed.contains(&(device, address))
            || ports
                .any(|(_, port)| port.settings.tunnel.remote == Some(Endpoint::Address(address)))
            || gateways.any(|hop| hop.gateway == Some(address))
    }

    /// When the datapath is to be told, if there is reason to.
    pub fn underlay_due(&self) -> Option<Instant> {
        self.underlay.due
    }

    /// Reads what has to be read again and tells the datapath what it does not know.
    pub async fn tell_underlay(&mut self) -> Result<(), DataplaneError> {
        self.underlay.due = None;
        if !self.belief.switch.has_tunnels() {
            self.failed.forget_needs();
            self.meet_needs(uplinks::Needs::default()).await;
            if let Some(at) = self.failed.next(&BTreeSet::new()) {
                self.underlay.due_at(at);
            }
            // What is known grows old, and is read when it is wanted.
            if self.underlay.told.take().is_some() {
                let nothing = Request::SetUnderlay(Box::default());
                self.dataplane.tell(&nothing, &[]).await?;
            }
            self.underlay.read_all = true;
            return Ok(());
        }
        if let Err(error) = self.underlay.read(Network::read, Network::read_routes) {
            tracing::warn!(%error, "the kernel's routes could not be read");
            self.underlay.due_at(Instant::now() + RETRY);
            return Ok(());
        }
        let mut survey = self.survey();
        let mut needs = self.work_out_needs(&self.underlay.network, &mut survey);
        while self.meet_needs(needs).await {
            // Without the uplinks that could not be had others may be needed, or sockets.
            needs = self.work_out_needs(&self.underlay.network, &mut survey);
        }
        self.seek_uplinks();
        if let Some(at) = self.failed.next(&survey.without) {
            self.underlay.due_at(at);
        }
        let now = self.known();
        let request = match &self.underlay.told {
            None => Request::SetUnderlay(Box::new(now.whole())),
            Some(before) => {
                let changes = now.since(before);
                if changes.is_empty() {
                    return Ok(());
                }
                Request::ChangeUnderlay(changes)
            }
        };
        // When this fails, it is not known what the datapath has.
        self.underlay.told = None;
        if let Err(error) = self.dataplane.tell(&request, &[]).await {
            // The next datapath is told everything anyway.
            if !error.is_loss() {
                self.underlay.due_at(Instant::now() + RETRY);
            }
            return Err(error);
        }
        self.underlay.told = Some(now);
        Ok(())
    }

    /// Has what tunnels need be there; true when something could not be had.
    async fn meet_needs(&mut self, needs: uplinks::Needs) -> bool {
        match self.meet(needs).await {
            Ok(failed) => failed,
            Err(error) => {
                tracing::warn!(%error, "a tunnel does not have what it needs");
                self.failed.wait();
                false
            }
        }
    }

    /// What the datapath should know.
    fn known(&self) -> Told {
        let network = &self.underlay.network;
        let survey = self.survey();
        let socket = self.socket();
        let devices = network.links.values().map(|link| {
            let device = UnderlayDevice {
                ifindex: link.ifindex,
                name: link.name.clone(),
                mac: link.mac.unwrap_or_default(),
                mtu: link.mtu,
                up: link.up,
                internal: survey.internal.get(&link.ifindex).copied(),
                uplink: survey.uplinks.get(&link.ifindex).copied(),
                socket,
            };
            (link.ifindex, device)
        });
        let addresses = network.addresses.iter();
        Told {
            devices: devices.collect(),
            addresses: addresses
                .map(|one| (one.device, one.address, one.prefix_len))
                .collect(),
            routes: network.routes.clone(),
            neighbours: network.neighbours.clone(),
        }
    }
}

fn address(&(device, address, prefix_len): &(u32, IpAddr, u8)) -> UnderlayAddress {
    UnderlayAddress {
        device,
        address,
        prefix_len,
    }
}

fn neighbour((&(device, address), &mac): (&(u32, IpAddr), &[u8; 6])) -> UnderlayNeighbour {
    UnderlayNeighbour {
        device,
        address,
        mac,
    }
}

impl Told {
    fn whole(&self) -> Underlay {
        Underlay {
            devices: self.devices.values().cloned().collect(),
            addresses: self.addresses.iter().map(address).collect(),
            routes: self.routes.values().cloned().collect(),
            neighbours: self.neighbours.iter().map(neighbour).collect(),
        }
    }

    /// What is other than before: what is new first, so that packets find a way all the time.
    fn since(&self, before: &Self) -> Vec<UnderlayChange> {
        let mut changes = Vec::new();
        let is_new = |device: &&UnderlayDevice| before.devices.get(&device.ifindex) != Some(device);
        let devices = self.devices.values().filter(is_new).cloned();
        changes.extend(devices.map(UnderlayChange::Device));
        let added = self.addresses.difference(&before.addresses);
        changes.extend(added.map(address).map(UnderlayChange::Address));
        let routes = self.routes.iter();
        let routes = routes.filter(|(name, route)| before.routes.get(name) != Some(route));
        changes.extend(routes.map(|(_, route)| UnderlayChange::Route(route.clone())));
        let neighbours = self.neighbours.iter();
        let neighbours = neighbours.filter(|(name, mac)| before.neighbours.get(name) != Some(mac));
        changes.extend(neighbours.map(neighbour).map(UnderlayChange::Neighbour));
        let gone = before
            .routes
            .keys()
            .filter(|name| !self.routes.contains_key(name));
        changes.extend(
            gone.map(|&(prefix, prefix_len, metric)| UnderlayChange::NoRoute {
                prefix,
                prefix_len,
                metric,
            }),
        );
        let gone = before.neighbours.keys();
        let gone = gone.filter(|name| !self.neighbours.contains_key(name));
        changes
            .extend(gone.map(|&(device, address)| UnderlayChange::NoNeighbour { device, address }));
        let gone = before.addresses.difference(&self.addresses);
        changes.extend(gone.map(address).map(UnderlayChange::NoAddress));
        let gone = before.devices.keys();
        let gone = gone.filter(|ifindex| !self.devices.contains_key(ifindex));
        changes.extend(gone.map(|ifindex| UnderlayChange::NoDevice(*ifindex)));
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_dpapi::tunnel::RouteKind;

    fn neighbour_is(last: u8) -> Heard {
        Heard::Neighbour {
            device: 1,
            address: [10, 0, 0, last].into(),
            mac: Some([last; 6]),
            stale: false,
        }
    }

    #[test]
    fn a_network_that_could_not_be_read_is_not_known() {
        let mut state = State::default();
        state.hear(Heard::Everything);
        state.hear(Heard::Routes);
        let refused = || Err(io::Error::other("no memory"));
        assert!(state.read(refused, |_| Ok(())).is_err());
        let whole = || {
            let mut network = Network::default();
            network.note(neighbour_is(1));
            Ok(network)
        };
        assert!(state.read(whole, |_| Ok(())).is_ok());
        assert_eq!(state.network.neighbours.len(), 1);
        state.hear(Heard::Routes);
        let never = || -> io::Result<Network> { panic!("there was no need") };
        assert!(
            state
                .read(never, |_| refused().map(drop::<Network>))
                .is_err()
        );
        let mut read = false;
        let routes = |_: &mut Network| {
            read = true;
            Ok(())
        };
        assert!(state.read(never, routes).is_ok());
        assert!(read, "what failed was not tried again");
        assert!(state.read(never, |_| panic!("read twice")).is_ok());
    }

    #[test]
    fn neighbours_are_gathered_and_told_soon_even_while_something_waits_to_be_tried_again() {
        let mut state = State::default();
        let before = Instant::now();
        state.due_at(before + RETRY);
        state.hear(neighbour_is(1));
        let due = state.due.expect("there is something to tell");
        assert!(due >= before + GATHER, "it would be told alone");
        assert!(due < before + Duration::from_millis(100));
        state.hear(neighbour_is(2));
        assert_eq!(state.due, Some(due), "a crowd would never be told");
        state.due = None;
        state.hear(neighbour_is(2));
        assert_eq!(state.due, None, "nothing is new");
    }

    fn told(last: u8) -> Told {
        let ip: IpAddr = [10, 0, 0, last].into();
        let route = UnderlayRoute {
            prefix: ip,
            prefix_len: 32,
            metric: 0,
            kind: RouteKind::Nowhere,
            hops: Vec::new(),
            source: None,
            mtu: None,
        };
        let device = UnderlayDevice {
            ifindex: last.into(),
            name: "d".into(),
            mac: [2; 6],
            mtu: 1500,
            up: true,
            internal: None,
            uplink: None,
            socket: None,
        };
        Told {
            devices: [(last.into(), device)].into(),
            addresses: [(last.into(), ip, 24)].into(),
            routes: [((ip, 32, 0), route)].into(),
            neighbours: [((last.into(), ip), [last; 6])].into(),
        }
    }

    #[test]
    fn what_has_changed_is_told_and_nothing_else() {
        assert_eq!(told(1).since(&told(1)), []);
        assert_eq!(told(1).since(&Told::default()).len(), 4);
        assert_eq!(Told::default().since(&told(1)).len(), 4);
        let mut moved = told(1);
        moved.neighbours.values_mut().for_each(|mac| *mac = [9; 6]);
        let change = UnderlayChange::Neighbour(UnderlayNeighbour {
            device: 1,
            address: [10, 0, 0, 1].into(),
            mac: [9; 6],
        });
        assert_eq!(moved.since(&told(1)), [change]);
    }

    #[test]
    fn what_is_new_is_told_before_what_is_gone() {
        let changes = told(2).since(&told(1));
        let is_gone = |change: &UnderlayChange| {
            matches!(
                change,
                UnderlayChange::NoDevice(_)
                    | UnderlayChange::NoAddress(_)
                    | UnderlayChange::NoRoute { .. }
                    | UnderlayChange::NoNeighbour { .. }
            )
        };
        assert_eq!(changes.len(), 8);
        assert!(changes.iter().take(4).all(|change| !is_gone(change)));
        assert!(changes.iter().skip(4).all(is_gone));
    }
}
