//! What uplinks steer to the switch: the sum of what people and ports want, for the addresses that
//! their devices have now.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vswitch_dpapi::tunnel::{RouteKind, UnderlayRoute};
use vswitch_dpapi::{Endpoint, PortId, TunnelSpec, TunnelWay};
use vswitch_rpc::Refusal;
use vswitch_rpc::port::Kind;
use vswitch_sys::bpf::steer::{PortSet, Target};
use vswitch_sys::udp_socket::Family;
use vswitch_sys::xsk;

use super::Control;
use crate::dataplane::DataplaneError;
use crate::host::netlink::{Link, Sort};
use crate::host::network::Network;
use crate::host::place::Place;
use crate::host::{Device, DeviceError, device, holder};
use crate::model::port::PortSettings;
use crate::model::uplink::Protocol;
use crate::model::{Steer, Uplink, tunnel};

/// For whom packets are steered that a person asked for.
pub(crate) const BY_HAND: &str = "uplink add";

/// Rules, and for whom.
pub(crate) type Rules = BTreeMap<Steer, BTreeSet<String>>;

/// What ports of bridges need of the host's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// What is to be steered to the switch, by the names of devices.
    pub(crate) uplinks: BTreeMap<String, Rules>,
    /// UDP ports of the host.
    pub(crate) sockets: BTreeSet<(Family, u16)>,
}

impl Control {
    /// What tunnels need, as the kernel's routes are now.
    pub(super) fn work_out_needs(&self, network: &Network) -> Needs {
        let mut needs = Needs::default();
        for (_, port) in self.belief.switch.ports() {
            let spec = |kind| port.settings.tunnel.spec(kind);
            let Some(spec) = tunnel::protocol(port.kind).and_then(spec) else {
                continue;
            };
            for link in leads_by(network, &spec.remote) {
                self.add_need(&mut needs, &port.name, &spec, link);
            }
        }
        needs
    }

    /// Adds what a tunnel needs to send by a device.
    fn add_need(&self, needs: &mut Needs, name: &str, spec: &TunnelSpec, link: &Link) {
        let by_uplink = match spec.way {
            TunnelWay::Bridge => return,
            TunnelWay::Auto if self.is_internal(link.ifindex) => return,
            TunnelWay::Auto => self.can_share(link),
            TunnelWay::Uplink => !self.unfit.contains_key(&link.name),
            TunnelWay::Socket => false,
        };
        let local = match spec.local {
            Some(Endpoint::Address(address)) => Some(address),
            Some(Endpoint::Flow) | None => None,
        };
        if by_uplink {
            let rule = Steer {
                protocol: Protocol::Udp,
                address: local,
                first: spec.udp_port,
                last: spec.udp_port,
            };
            let rules = needs.uplinks.entry(link.name.clone()).or_default();
            rules.entry(rule).or_default().insert(name.into());
        } else if spec.way != TunnelWay::Uplink {
            let families = match spec.remote {
                Endpoint::Address(IpAddr::V4(_)) => &[Family::V4][..],
                Endpoint::Address(IpAddr::V6(_)) => &[Family::V6],
                Endpoint::Flow => &[Family::V4, Family::V6],
            };
            let ports = families.iter().map(|family| (*family, spec.udp_port));
            needs.sockets.extend(ports);
        }
    }

    /// Whether a device is a port of a bridge that the host uses.
    fn is_internal(&self, ifindex: u32) -> bool {
        let mut ports = self.belief.switch.ports();
        ports.any(|(_, port)| port.kind == Kind::Internal && self.has(port.id, ifindex))
    }

    /// Whether a port has the device of this number in our own namespace.
    pub(super) fn has(&self, id: u32, ifindex: u32) -> bool {
        self.devices.get(&id).is_some_and(|device| {
            let link = device.link.as_ref();
            device.place == Place::Own && link.is_some_and(|link| link.ifindex == ifindex)
        })
    }

    /// Whether a tunnel that is free to choose has a device become an uplink.
    fn can_share(&self, link: &Link) -> bool {
        if self.unfit.contains_key(&link.name) || link.master.is_some() || link.mac.is_none() {
            return false;
        }
        let mut ports = self.belief.switch.ports();
        if ports.any(|(_, port)| self.has(port.id, link.ifindex)) {
            return false;
        }
        match link.sort {
            Sort::Veth | Sort::Physical => {
                xsk::xdp_features(link.ifindex).is_ok_and(|features| features.native)
            }
            Sort::Tun | Sort::Loopback | Sort::Other => false,
        }
    }

    /// Refuses a tunnel by sockets whose UDP port somebody else has.
    pub(crate) fn check_udp_port(&self, settings: &PortSettings) -> Result<(), DeviceError> {
        let spec = |kind| settings.tunnel.spec(tunnel::protocol(kind)?);
        let Some(spec) = settings.kind.and_then(spec) else {
            return Ok(());
        };
        let socket = self.belief.switch.socket.as_ref();
        let socket = socket.and_then(|port| self.devices.get(&port.id));
        let is_ours = socket.is_some_and(|device| {
            let mut ports = device.udp_ports().into_iter();
            ports.any(|(_, port)| port == spec.udp_port)
        });
        if spec.way != TunnelWay::Socket || is_ours {
            return Ok(());
        }
        match holder::of_udp(spec.udp_port) {
            Some(holder) => Err(DeviceError::PortTaken {
                port: spec.udp_port,
                holder,
            }),
            None => Ok(()),
        }
    }

    /// The uplink on a device, and the host's sockets, for the datapath to send tunnels by.
    pub(super) fn ways(&self, ifindex: u32) -> (Option<PortId>, Option<PortId>) {
        let switch = &self.belief.switch;
        let mut uplinks = switch.uplinks.values().map(|uplink| uplink.port.id);
        let uplink = uplinks.find(|id| self.has(*id, ifindex));
        let socket = switch.socket.as_ref().map(|port| port.id);
        let socket = socket.filter(|id| self.devices.contains_key(id));
        (uplink.map(PortId), socket.map(PortId))
    }

    /// What is wanted of an uplink, and by whom.
    pub(crate) fn steered(&self, uplink: &Uplink) -> Rules {
        let needs = self.needs.as_ref();
        let needed = needs.and_then(|needs| needs.uplinks.get(&uplink.port.name));
        let mut wanted = needed.cloned().unwrap_or_default();
        for rule in uplink.asked.iter().flat_map(|asked| &asked.steer) {
            wanted.entry(*rule).or_default().insert(BY_HAND.into());
        }
        wanted
    }

    /// Whether the switch itself needs an uplink.
    pub(crate) fn is_needed(&self, device: &str) -> bool {
        let needs = self.needs.as_ref();
        needs.is_some_and(|needs| needs.uplinks.contains_key(device))
    }

    /// The UDP ports that tunnels need of the host.
    pub(crate) fn needed_sockets(&self) -> BTreeSet<(Family, u16)> {
        let needs = self.needs.as_ref();
        needs.map(|needs| needs.sockets.clone()).unwrap_or_default()
    }

    /// Has every uplink take what is wanted of it. One that cannot is shown with the reason.
    pub(crate) fn steer(&mut self) {
        if self.needs.is_none() {
            // The tables of the process before us know better.
            return;
        }
        self.unsteered.clear();
        for uplink in self.belief.switch.uplinks.values() {
            let id = uplink.port.id;
            let Some(device) = self.devices.get(&id) else {
                continue;
            };
            let rules = self.steered(uplink);
            if let Err(error) = steer_device(device, rules.keys()) {
                tracing::warn!(uplink = uplink.port.name, %error, "packets are not steered");
                self.unsteered.insert(id, error.to_string());
            }
        }
    }

    /// Has uplinks and sockets be there that are needed, and no others, except those that people
    /// asked for. True when a device could not become an uplink, so that others may be needed.
    pub(crate) async fn meet(&mut self, needs: Needs) -> Result<bool, Refusal> {
        if self.needs.as_ref() == Some(&needs) {
            return Ok(false);
        }
        let mut next = self.belief.clone();
        let mut made = Vec::new();
        let mut failed = false;
        for name in needs.uplinks.keys() {
            if next.switch.uplinks.contains_key(name) {
                continue;
            }
            let port = next.switch.uplink(name)?.port.clone();
            let device = self
                .check_untaken(&port)
                .and_then(|()| device::make(&port, None));
            match device {
                Ok(device) => made.push((port.id, device)),
                Err(error) => {
                    tracing::warn!(device = name, %error, "a tunnel goes without an uplink");
                    next.switch.uplinks.remove(name);
                    self.unfit.insert(name.clone(), error.to_string());
                    failed = true;
                }
            }
        }
        let stays = |name: &String, uplink: &mut Uplink| {
            uplink.asked.is_some() || needs.uplinks.contains_key(name)
        };
        next.switch.uplinks.retain(stays);
        next.switch.set_socket(!needs.sockets.is_empty())?;
        if let Some(port) = &next.switch.socket
            && !self.devices.contains_key(&port.id)
        {
            let (device, error) = device::make_sockets(&needs.sockets, None);
            if let Some(error) = error {
                tracing::warn!(%error, "a UDP port could not be opened");
            }
            made.push((port.id, device));
        }
        self.needs = Some(needs);
        if next != self.belief {
            self.commit(next, made).await?;
        }
        self.steer();
        self.open_sockets().await?;
        Ok(failed)
    }

    /// Has the host's UDP sockets be those that are needed.
    async fn open_sockets(&mut self) -> Result<(), DataplaneError> {
        let Some(id) = self.belief.switch.socket.as_ref().map(|port| port.id) else {
            return Ok(());
        };
        let wanted = self.needed_sockets();
        let old = self.devices.get(&id);
        if old.is_some_and(|device| device.udp_ports() == wanted) {
            self.errors.remove(&id);
            return Ok(());
        }
        let (device, error) = device::make_sockets(&wanted, old);
        let is_other = old.is_none_or(|old| old.udp_ports() != device.udp_ports());
        if is_other {
            self.devices.insert(id, device);
            self.attach(id).await?;
        }
        match error {
            Some(error) => self.errors.insert(id, error.to_string()),
            None => self.errors.remove(&id),
        };
        Ok(())
    }
}

/// The devices by which packets of a tunnel leave: those of the route to its remote, or all that
/// have a route when flows say the remote.
fn leads_by<'a>(network: &'a Network, remote: &Endpoint) -> impl Iterator<Item = &'a Link> {
    let routes = network.routes.values();
    let unicast = routes.filter(|route| route.kind == RouteKind::Unicast);
    let devices: BTreeSet<u32> = match *remote {
        Endpoint::Flow => unicast
            .flat_map(|route| route.hops.iter().map(|hop| hop.device))
            .collect(),
        Endpoint::Address(address) => {
            let routes = network.routes.values();
            let leading = routes.filter(|route| covers(route, address));
            let best = leading.max_by_key(|route| (route.prefix_len, Reverse(route.metric)));
            let best = best.filter(|route| route.kind == RouteKind::Unicast);
            let hops = best.into_iter().flat_map(|route| &route.hops);
            hops.map(|hop| hop.device).collect()
        }
    };
    let links = network.links.iter();
    let links = links.filter(move |(ifindex, _)| devices.contains(ifindex));
    links
        .map(|(_, link)| link)
        .filter(|link| link.sort != Sort::Loopback)
}

/// Whether a route is for an address.
fn covers(route: &UnderlayRoute, address: IpAddr) -> bool {
    let len = u32::from(route.prefix_len);
    match (route.prefix, address) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => {
            let differs = u32::from(prefix) ^ u32::from(address);
            differs.leading_zeros() >= len
        }
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            let differs = u128::from(prefix) ^ u128::from(address);
            differs.leading_zeros() >= len
        }
        _ => false,
    }
}

/// Has a device take what rules say, at the addresses that it has now.
pub(crate) fn steer_device<'a>(
    device: &Device,
    rules: impl Iterator<Item = &'a Steer> + Clone,
) -> Result<(), DeviceError> {
    let name = device.link.as_ref().map_or("an uplink", |link| &link.name);
    let addresses = device.addresses().map_err(|source| DeviceError::Kernel {
        what: "tell the addresses of",
        name: name.into(),
        source,
    })?;
    device.steer(&table(rules, &addresses))
}

/// The table of an uplink whose device has these addresses.
fn table<'a>(
    rules: impl Iterator<Item = &'a Steer>,
    addresses: &[IpAddr],
) -> BTreeMap<Target, PortSet> {
    let mut table: BTreeMap<Target, PortSet> = BTreeMap::new();
    for rule in rules {
        let these = match &rule.address {
            Some(address) => std::slice::from_ref(address),
            None => addresses,
        };
        for &address in these {
            let target = Target {
                vlan: 0,
                address,
                protocol: rule.protocol.number(address),
            };
            let ports = table.entry(target).or_default();
            ports.add(rule.first..=rule.last);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use vswitch_dpapi::tunnel::RouteHop;

    use super::*;

    fn route(text: &str, metric: u32, device: u32) -> UnderlayRoute {
        let (prefix, len) = text.split_once('/').unwrap();
        UnderlayRoute {
            prefix: prefix.parse().unwrap(),
            prefix_len: len.parse().unwrap(),
            metric,
            kind: RouteKind::Unicast,
            hops: vec![RouteHop {
                device,
                gateway: None,
                weight: 1,
            }],
            source: None,
            mtu: None,
        }
    }

    #[test]
    fn a_tunnel_needs_the_device_that_leads_to_its_remote() {
        let mut network = Network::default();
        for (ifindex, sort) in [(1, Sort::Loopback), (2, Sort::Veth), (3, Sort::Veth)] {
            let link = Link {
                ifindex,
                name: format!("d{ifindex}"),
                mtu: 1500,
                mac: Some([2; 6]),
                up: true,
                running: true,
                sort,
                master: None,
            };
            network.links.insert(ifindex, link);
        }
        let mut nowhere = route("192.0.2.0/24", 0, 2);
        nowhere.kind = RouteKind::Nowhere;
        let routes = [
            route("0.0.0.0/0", 10, 2),
            route("0.0.0.0/0", 20, 3),
            route("10.0.0.0/8", 0, 3),
            route("127.0.0.0/8", 0, 1),
            route("fd00::/64", 0, 2),
            nowhere,
        ];
        for route in routes {
            let name = (route.prefix, route.prefix_len, route.metric);
            network.routes.insert(name, route);
        }
        let names = |remote: Endpoint| -> Vec<String> {
            let links = leads_by(&network, &remote);
            links.map(|link| link.name.clone()).collect()
        };
        let to = |text: &str| names(Endpoint::Address(text.parse().unwrap()));
        assert_eq!(to("198.51.100.1"), ["d2"]);
        assert_eq!(to("10.1.2.3"), ["d3"]);
        assert_eq!(to("fd00::9"), ["d2"]);
        assert!(to("fd01::9").is_empty() && to("127.0.0.9").is_empty());
        assert!(to("192.0.2.1").is_empty());
        assert_eq!(names(Endpoint::Flow), ["d2", "d3"]);
    }

    #[test]
    fn a_rule_without_an_address_is_one_for_each_that_the_device_has() {
        let rules: Vec<Steer> = ["udp:4789", "udp:10.0.0.1:6081-6082", "icmp:7"]
            .map(|text| text.parse().unwrap())
            .into();
        let addresses: Vec<IpAddr> = ["10.0.0.1", "fd00::1"]
            .map(|text| text.parse().unwrap())
            .into();
        let table = table(rules.iter(), &addresses);
        let ports = |address: usize, protocol: u8| {
            let target = Target {
                vlan: 0,
                address: addresses[address],
                protocol,
            };
            let set = table.get(&target);
            set.map(|set| [7, 4789, 6081, 6082].map(|port| set.has(port)))
        };
        assert_eq!(ports(0, 17), Some([false, true, true, true]));
        assert_eq!(ports(1, 17), Some([false, true, false, false]));
        assert_eq!(ports(0, 1), Some([true, false, false, false]));
        assert_eq!(ports(1, 58), Some([true, false, false, false]));
        assert_eq!(table.len(), 4);
        assert!(super::table(rules[..1].iter(), &[]).is_empty());
    }
}
