//! What the host's kernel knows of the network that carries tunnels, and the next hop in it.
//!
//! Law: [`Underlay::next_hop`] is what the kernel's main table would do with a packet that no rule
//! looks at: the longest prefix, of equal ones the smallest metric, a device that is up. Among hops
//! of equal cost the destination decides, so that the packets of one tunnel stay in order.
//!
//! Threads: made by control, shared by all. Cost: a hash lookup for each prefix length in use;
//! asked for each translation, never for a cached packet. A change copies the table that it is in.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::HashMap;
use vswitch_dpapi::tunnel::{
    RouteHop, RouteKind, UnderlayAddress, UnderlayDevice, UnderlayNeighbour, UnderlayRoute,
};
use vswitch_dpapi::{TunnelWay, UnderlayChange};
use vswitch_packet::MacAddr;

use crate::port::PortIndex;

/// Bytes of the smallest MTU that a path may be said to have.
const MTU_MIN: u32 = 68;

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct Underlay {
    devices: Arc<HashMap<u32, UnderlayDevice>>,
    /// The devices of internal ports and of uplinks.
    ports: Arc<HashMap<PortIndex, u32>>,
    addresses: Arc<HashMap<IpAddr, Vec<UnderlayAddress>>>,
    v4: Arc<Routes>,
    v6: Arc<Routes>,
    neighbours: Arc<HashMap<(u32, IpAddr), MacAddr>>,
}

/// Routes of one family: by prefix length, then by prefix, then by metric.
#[derive(Clone, Debug, Default)]
struct Routes(BTreeMap<u8, HashMap<IpAddr, BTreeMap<u32, Arc<UnderlayRoute>>>>);

/// How packets get onto the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// They enter a bridge as by this internal port of it.
    Bridge(PortIndex),
    /// They leave by this uplink.
    Uplink(PortIndex),
    /// They leave by this socket, and the host finds their next hop.
    Socket(PortIndex),
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The device by which it leaves.
    pub device: u32,
    /// How the switch gets it there.
    pub way: Way,
    /// The neighbour that takes it.
    pub neighbour: IpAddr,
    /// That neighbour's address; `None` while it is not known.
    pub mac: Option<MacAddr>,
    /// The address of the device.
    pub own_mac: MacAddr,
    /// The host's address that it comes from.
    pub source: IpAddr,
    /// Largest layer-3 packet on the way, bytes.
    pub mtu: u32,
}

/// Why a packet goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHop {
    /// It is for the host itself.
    Own,
    /// No route leads there.
    NoRoute,
    /// The route's device is none that the switch can send by in the way asked for.
    NoWay,
    /// The host has no address of the family there.
    NoSource,
}

impl From<&vswitch_dpapi::Underlay> for Underlay {
    fn from(all: &vswitch_dpapi::Underlay) -> Self {
        let mut new = Self::default();
        let devices = all.devices.iter().cloned().map(UnderlayChange::Device);
        let addresses = all.addresses.iter().copied().map(UnderlayChange::Address);
        let routes = all.routes.iter().cloned().map(UnderlayChange::Route);
        let neighbours = all.neighbours.iter().copied();
        let neighbours = neighbours.map(UnderlayChange::Neighbour);
        for change in devices.chain(addresses).chain(routes).chain(neighbours) {
            new.apply(&change);
        }
        new
    }
}

impl Underlay {
    /// The same after these changes.
    #[must_use]
    pub fn after(&self, changes: &[UnderlayChange]) -> Self {
        let mut new = self.clone();
        for change in changes {
            new.apply(change);
        }
        new
    }

    fn apply(&mut self, change: &UnderlayChange) {
        match change {
            UnderlayChange::Device(device) => {
                self.forget_ports(device.ifindex);
                let ports = Arc::make_mut(&mut self.ports);
                for port in [device.internal, device.uplink].into_iter().flatten() {
                    ports.insert(PortIndex(port.0), device.ifindex);
                }
                Arc::make_mut(&mut self.devices).insert(device.ifindex, device.clone());
            }
            UnderlayChange::NoDevice(ifindex) => {
                self.forget_ports(*ifindex);
                Arc::make_mut(&mut self.devices).remove(ifindex);
            }
            UnderlayChange::Address(address) => {
                let all = Arc::make_mut(&mut self.addresses);
                let same = all.entry(address.address).or_default();
                if !same.contains(address) {
                    same.push(*address);
                }
            }
            UnderlayChange::NoAddress(address) => {
                let all = Arc::make_mut(&mut self.addresses);
                if let Some(same) = all.get_mut(&address.address) {
                    same.retain(|other| other != address);
                    if same.is_empty() {
                        all.remove(&address.address);
                    }
                }
            }
            UnderlayChange::Route(route) => self.routes_mut(route.prefix).insert(route),
            UnderlayChange::NoRoute {
                prefix,
                prefix_len,
                metric,
            } => self
                .routes_mut(*prefix)
                .remove(*prefix, *prefix_len, *metric),
            UnderlayChange::Neighbour(UnderlayNeighbour {
                device,
                address,
                mac,
            }) => {
                let all = Arc::make_mut(&mut self.neighbours);
                all.insert((*device, *address), MacAddr(*mac));
            }
            UnderlayChange::NoNeighbour { device, address } => {
                Arc::make_mut(&mut self.neighbours).remove(&(*device, *address));
            }
        }
    }

    fn forget_ports(&mut self, ifindex: u32) {
        Arc::make_mut(&mut self.ports).retain(|_, device| *device != ifindex);
    }

    fn routes_mut(&mut self, family: IpAddr) -> &mut Routes {
        Arc::make_mut(match family {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        })
    }

    /// Whether an address is one of the host's.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// A device by its number.
    #[must_use]
    pub fn device(&self, ifindex: u32) -> Option<&UnderlayDevice> {
        self.devices.get(&ifindex)
    }

    /// The device of an internal port or an uplink.
    #[must_use]
    pub fn device_of(&self, port: PortIndex) -> Option<&UnderlayDevice> {
        let ifindex = self.ports.get(&port)?;
        self.devices.get(ifindex)
    }

    /// Where a packet to `remote` goes, that comes from `local` if that is given.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn next_hop(
        &self,
        remote: IpAddr,
        local: Option<IpAddr>,
        way: TunnelWay,
    ) -> Result<NextHop, NoHop> {
        if self.is_own(remote) {
            return Err(NoHop::Own);
        }
        let (route, hop) = self.hop(remote).ok_or(NoHop::NoRoute)?;
        let device = self.device(hop.device).ok_or(NoHop::NoRoute)?;
        let source = local.or_else(|| self.source(remote, route, hop));
        let neighbour = hop.gateway.unwrap_or(remote);
        let mtu = route.mtu.unwrap_or(device.mtu).min(device.mtu);
        Ok(NextHop {
            device: hop.device,
            way: way_by(device, way).ok_or(NoHop::NoWay)?,
            neighbour,
            mac: self.neighbours.get(&(hop.device, neighbour)).copied(),
            own_mac: MacAddr(device.mac),
            source: source.ok_or(NoHop::NoSource)?,
            mtu: mtu.max(MTU_MIN),
        })
    }

    /// Whether packets to an address would leave by this device, or, where none is given, by any.
    #[must_use]
    pub fn leads_by(&self, address: IpAddr, device: Option<u32>) -> bool {
        self.hop(address)
            .is_some_and(|(_, hop)| device.is_none_or(|device| device == hop.device))
    }

    /// The route that a packet to an address takes, and the hop of it.
    fn hop(&self, address: IpAddr) -> Option<(&UnderlayRoute, &RouteHop)> {
        let routes = match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        for (len, prefixes) in routes.0.iter().rev() {
            let Some(metrics) = prefixes.get(&prefix(address, *len)) else {
                continue;
            };
            for route in metrics.values() {
                if route.kind == RouteKind::Nowhere {
                    return None;
                }
                if let Some(hop) = self.choose(route, address) {
                    return Some((route, hop));
                }
            }
        }
        None
    }

    /// One of a route's hops whose device is up.
    fn choose<'a>(&self, route: &'a UnderlayRoute, address: IpAddr) -> Option<&'a RouteHop> {
        let alive = || {
            let hops = route.hops.iter();
            hops.filter(|hop| self.device(hop.device).is_some_and(|device| device.up))
        };
        let total: u64 = alive().map(|hop| u64::from(hop.weight.max(1))).sum();
        let mut at = match total {
            0 => return None,
            // Not a keyed hash: who could choose remotes is the one who owns the switch.
            total => {
                let mut hasher = DefaultHasher::new();
                address.hash(&mut hasher);
                hasher.finish() % total
            }
        };
        alive().find(|hop| {
            let weight = u64::from(hop.weight.max(1));
            let here = at < weight;
            at = at.wrapping_sub(weight);
            here
        })
    }

    /// The host's address that packets to `remote` come from: what the route says, else one of the
    /// device's in the next hop's network, else one of the device's.
    fn source(&self, remote: IpAddr, route: &UnderlayRoute, hop: &RouteHop) -> Option<IpAddr> {
        if let Some(source) = route.source {
            return Some(source);
        }
        let next = hop.gateway.unwrap_or(remote);
        let rank = |one: &UnderlayAddress| {
            let shares = prefix(one.address, one.prefix_len) == prefix(next, one.prefix_len);
            let here = one.device == hop.device;
            // A link-local address speaks to link-local ones only.
            let scope = is_link_local(one.address) == is_link_local(remote);
            (scope, here, shares, one.prefix_len)
        };
        let all = self.addresses.values().flatten();
        let usable = all.filter(|one| {
            one.address.is_ipv4() == remote.is_ipv4()
                && !one.address.is_loopback()
                && (one.device == hop.device || !is_link_local(one.address))
        });
        // The address itself as the last word, so that the order in the map does not decide.
        usable
            .max_by_key(|one| (rank(one), std::cmp::Reverse(one.address)))
            .map(|one| one.address)
    }
}

fn way_by(device: &UnderlayDevice, way: TunnelWay) -> Option<Way> {
    let index = |id: vswitch_dpapi::PortId| PortIndex(id.0);
    let bridge = device.internal.map(index).map(Way::Bridge);
    let uplink = device.uplink.map(index).map(Way::Uplink);
    let socket = device.socket.map(index).map(Way::Socket);
    match way {
        TunnelWay::Auto => bridge.or(uplink).or(socket),
        TunnelWay::Bridge => bridge,
        TunnelWay::Uplink => uplink,
        TunnelWay::Socket => socket,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// An address with all but its first bits zero.
fn prefix(address: IpAddr, len: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let keep = u32::MAX
                .checked_shl(32_u32.saturating_sub(len.into()))
                .unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & keep).into()
        }
        IpAddr::V6(address) => {
            let keep = u128::MAX
                .checked_shl(128_u32.saturating_sub(len.into()))
                .unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & keep).into()
        }
    }
}

impl Routes {
    fn insert(&mut self, route: &UnderlayRoute) {
        let same = self.0.entry(route.prefix_len).or_default();
        let metrics = same
            .entry(prefix(route.prefix, route.prefix_len))
            .or_default();
        metrics.insert(route.metric, Arc::new(route.clone()));
    }

    fn remove(&mut self, address: IpAddr, len: u8, metric: u32) {
        let Some(prefixes) = self.0.get_mut(&len) else {
            return;
        };
        let key = prefix(address, len);
        if let Some(metrics) = prefixes.get_mut(&key) {
            metrics.remove(&metric);
            if metrics.is_empty() {
                prefixes.remove(&key);
            }
        }
        if prefixes.is_empty() {
            self.0.remove(&len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_dpapi::PortId;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn device(ifindex: u32, internal: Option<u32>) -> UnderlayDevice {
        UnderlayDevice {
            ifindex,
            name: format!("dev{ifindex}"),
            mac: [2, 0, 0, 0, 0, ifindex as u8],
            mtu: 1500,
            up: true,
            internal: internal.map(PortId),
            uplink: None,
            socket: None,
        }
    }

    fn route(text: &str, device: u32, gateway: Option<&str>) -> UnderlayRoute {
        let (prefix, len) = text.split_once('/').unwrap();
        UnderlayRoute {
            prefix: ip(prefix),
            prefix_len: len.parse().unwrap(),
            metric: 0,
            kind: RouteKind::Unicast,
            hops: vec![RouteHop {
                device,
                gateway: gateway.map(ip),
                weight: 1,
            }],
            source: None,
            mtu: None,
        }
    }

    fn address(text: &str, device: u32) -> UnderlayAddress {
        let (address, len) = text.split_once('/').unwrap();
        UnderlayAddress {
            device,
            address: ip(address),
            prefix_len: len.parse().unwrap(),
        }
    }

    fn underlay() -> Underlay {
        let neighbour = UnderlayNeighbour {
            device: 1,
            address: ip("10.0.0.9"),
            mac: [2, 0, 0, 0, 0, 9],
        };
        Underlay::from(&vswitch_dpapi::Underlay {
            devices: vec![device(1, Some(7)), device(2, None)],
            addresses: vec![
                address("10.0.0.1/24", 1),
                address("10.9.0.1/16", 2),
                address("fe80::1/64", 1),
                address("fd00::1/64", 1),
            ],
            routes: vec![
                route("10.0.0.0/24", 1, None),
                route("10.9.0.0/16", 2, None),
                route("0.0.0.0/0", 1, Some("10.0.0.9")),
                route("fd00::/64", 1, None),
            ],
            neighbours: vec![neighbour],
        })
    }

    fn hop(underlay: &Underlay, remote: &str) -> Result<NextHop, NoHop> {
        underlay.next_hop(ip(remote), None, TunnelWay::Auto)
    }

    #[test]
    fn the_longest_prefix_decides_and_a_gateway_is_the_neighbour() {
        let underlay = underlay();
        let near = hop(&underlay, "10.0.0.2").unwrap();
        assert_eq!((near.device, near.neighbour), (1, ip("10.0.0.2")));
        assert_eq!((near.mac, near.source), (None, ip("10.0.0.1")));
        let far = hop(&underlay, "192.0.2.1").unwrap();
        assert_eq!(far.neighbour, ip("10.0.0.9"));
        assert_eq!(far.mac, Some(MacAddr([2, 0, 0, 0, 0, 9])));
        assert_eq!(far.way, Way::Bridge(PortIndex(7)));
        assert_eq!(hop(&underlay, "fd00::2").unwrap().source, ip("fd00::1"));
        assert_eq!(hop(&underlay, "fd01::2"), Err(NoHop::NoRoute));
        assert_eq!(hop(&underlay, "10.0.0.1"), Err(NoHop::Own));
        assert_eq!(hop(&underlay, "10.9.0.2"), Err(NoHop::NoWay));
    }

    #[test]
    fn changes_take_and_give_back() {
        let before = underlay();
        let blackhole = UnderlayRoute {
            kind: RouteKind::Nowhere,
            hops: Vec::new(),
            ..route("192.0.2.0/24", 1, None)
        };
        let after = before.after(&[UnderlayChange::Route(blackhole)]);
        assert_eq!(hop(&after, "192.0.2.1"), Err(NoHop::NoRoute));
        let again = after.after(&[UnderlayChange::NoRoute {
            prefix: ip("192.0.2.0"),
            prefix_len: 24,
            metric: 0,
        }]);
        assert_eq!(hop(&again, "192.0.2.1"), hop(&before, "192.0.2.1"));
        let gone = again.after(&[UnderlayChange::NoNeighbour {
            device: 1,
            address: ip("10.0.0.9"),
        }]);
        assert_eq!(hop(&gone, "192.0.2.1").unwrap().mac, None);
        let down = UnderlayDevice {
            up: false,
            ..device(1, Some(7))
        };
        let down = again.after(&[UnderlayChange::Device(down)]);
        assert_eq!(hop(&down, "192.0.2.1"), Err(NoHop::NoRoute));
        let moved = again.after(&[UnderlayChange::NoAddress(address("10.0.0.1/24", 1))]);
        assert!(!moved.is_own(ip("10.0.0.1")) && again.is_own(ip("10.0.0.1")));
    }

    #[test]
    fn a_backup_route_is_taken_while_the_first_ones_device_is_down() {
        let mut backup = route("0.0.0.0/0", 2, Some("10.9.0.9"));
        backup.metric = 100;
        let down = UnderlayDevice {
            up: false,
            ..device(1, Some(7))
        };
        let changes = [UnderlayChange::Route(backup), UnderlayChange::Device(down)];
        let underlay = underlay().after(&changes);
        assert!(underlay.leads_by(ip("192.0.2.1"), Some(2)));
        assert!(!underlay.leads_by(ip("192.0.2.1"), Some(1)));
        assert!(underlay.leads_by(ip("192.0.2.1"), None));
    }

    #[test]
    fn hops_of_equal_cost_share_remotes_by_their_weights() {
        let mut many = route("198.18.0.0/15", 1, Some("10.0.0.9"));
        many.hops.push(RouteHop {
            device: 1,
            gateway: Some(ip("10.0.0.8")),
            weight: 3,
        });
        let underlay = underlay().after(&[UnderlayChange::Route(many)]);
        let by_first = |n: u32| {
            let remote = Ipv4Addr::from(0xc612_0000 + n).into();
            let hop = underlay.next_hop(remote, None, TunnelWay::Auto).unwrap();
            assert_eq!(underlay.next_hop(remote, None, TunnelWay::Auto), Ok(hop));
            hop.neighbour == ip("10.0.0.9")
        };
        let share = (0..1000).filter(|n| by_first(*n)).count();
        assert!((150..350).contains(&share), "{share} of 1000");
    }

    #[test]
    fn the_source_is_the_routes_or_one_that_the_remote_can_answer() {
        let mut spoken = route("203.0.113.0/24", 1, Some("10.0.0.9"));
        spoken.source = Some(ip("10.9.0.1"));
        spoken.mtu = Some(1400);
        let underlay = underlay().after(&[UnderlayChange::Route(spoken)]);
        let hop = hop(&underlay, "203.0.113.1").unwrap();
        assert_eq!((hop.source, hop.mtu), (ip("10.9.0.1"), 1400));
        let own = underlay.next_hop(ip("203.0.113.1"), Some(ip("10.0.0.1")), TunnelWay::Auto);
        assert_eq!(own.unwrap().source, ip("10.0.0.1"));
    }
}
