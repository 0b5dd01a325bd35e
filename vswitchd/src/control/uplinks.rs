//! What uplinks steer to the switch: the sum of what people and ports want, for the addresses that
//! their devices have now.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tokio::time::Instant;
use vswitch_dpapi::tunnel::{RouteKind, UnderlayRoute};
use vswitch_dpapi::{Endpoint, PortId, TunnelSpec, TunnelWay};
use vswitch_flow::Prefix;
use vswitch_rpc::Refusal;
use vswitch_rpc::port::Kind;
use vswitch_sys::bpf::steer::{PortSet, Target};
use vswitch_sys::udp_socket::Family;
use vswitch_sys::xsk;

use super::Control;
use super::underlay::RETRY;
use crate::dataplane::DataplaneError;
use crate::host::netlink::{Link, Sort};
use crate::host::network::Network;
use crate::host::place::Place;
use crate::host::{Device, DeviceError, News, device, holder};
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

/// What could not be had, and when it makes sense to try again.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// Devices that could not become uplinks: why, and until when tunnels go without.
    uplinks: BTreeMap<String, (String, Instant)>,
    /// Not all of the host's UDP ports could be opened.
    sockets: Option<Instant>,
    /// An uplink has no device.
    devices: Option<Instant>,
    /// A change could not be made.
    change: Option<Instant>,
}

impl Failed {
    /// A device could not become an uplink. Answers whether that is news.
    fn uplink(&mut self, name: &str, why: String) -> bool {
        let until = Instant::now() + RETRY;
        let before = self.uplinks.insert(name.into(), (why.clone(), until));
        before.is_none_or(|(before, _)| before != why)
    }

    /// Whether tunnels go without an uplink that could not be had. `now` is one time for all of a
    /// pass, so that what fails in it is not tried again in it, however long the pass takes.
    fn goes_without(&self, name: &str, now: Instant) -> bool {
        let found = self.uplinks.get(name);
        found.is_some_and(|(_, until)| now < *until)
    }

    /// What could not be an uplink may have become one.
    pub(super) fn try_uplinks(&mut self) {
        let now = Instant::now();
        self.uplinks
            .values_mut()
            .for_each(|(_, until)| *until = now);
    }

    /// Not all of the host's UDP ports could be opened.
    pub(super) fn sockets(&mut self) {
        self.sockets = Some(Instant::now() + RETRY);
    }

    /// A change could not be made, and is not to be tried at once.
    pub(super) fn wait(&mut self) {
        self.change = Some(Instant::now() + RETRY);
    }

    /// Without tunnels nothing is needed but that changes can be made.
    pub(super) fn forget_needs(&mut self) {
        self.uplinks.clear();
        (self.sockets, self.devices) = (None, None);
    }

    /// When to try again, tunnels going `without` some uplinks.
    pub(super) fn next(&self, without: &BTreeSet<String>) -> Option<Instant> {
        let uplinks = self.uplinks.iter();
        let wanted = uplinks.filter(|(name, _)| without.contains(*name));
        let others = self.sockets.iter().chain(&self.devices);
        let first = wanted.map(|(_, (_, until))| *until);
        let first = first.chain(others.copied()).min();
        // Everything else waits for that.
        self.change.or(first)
    }
}

/// Whether it is not yet time.
fn is_ahead(at: Option<Instant>) -> bool {
    at.is_some_and(|at| Instant::now() < at)
}

/// What a pass over all tunnels asks again and again: the devices that ports have in our own
/// namespace, by their numbers, and what the kernel says of devices.
#[derive(Debug)]
pub(super) struct Survey {
    /// When the pass began.
    now: Instant,
    /// Of bridges, for the host's use.
    pub(super) internal: BTreeMap<u32, PortId>,
    /// Of bridges.
    taken: BTreeSet<u32>,
    /// Shared with the host.
    pub(super) uplinks: BTreeMap<u32, PortId>,
    /// Whether drivers have XDP themselves.
    native: BTreeMap<u32, bool>,
    /// Devices that tunnels would have as uplinks if they could.
    pub(super) without: BTreeSet<String>,
}

impl Survey {
    fn new(now: Instant) -> Self {
        Self {
            now,
            internal: BTreeMap::new(),
            taken: BTreeSet::new(),
            uplinks: BTreeMap::new(),
            native: BTreeMap::new(),
            without: BTreeSet::new(),
        }
    }
}

impl Control {
    /// The devices that ports have now.
    pub(super) fn survey(&self) -> Survey {
        let mut survey = Survey::new(Instant::now());
        for (_, port) in self.belief.switch.ports() {
            if let Some(ifindex) = self.own_ifindex(port.id) {
                survey.taken.insert(ifindex);
                if port.kind == Kind::Internal {
                    survey.internal.insert(ifindex, PortId(port.id));
                }
            }
        }
        for uplink in self.belief.switch.uplinks.values() {
            let id = uplink.port.id;
            if let Some(ifindex) = self.own_ifindex(id) {
                survey.uplinks.insert(ifindex, PortId(id));
            }
        }
        survey
    }

    /// The number of the device that a port has in our own namespace.
    fn own_ifindex(&self, id: u32) -> Option<u32> {
        let device = self.devices.get(&id)?;
        let link = device.link.as_ref()?;
        (device.place == Place::Own).then_some(link.ifindex)
    }

    /// The host's sockets, for the datapath to send tunnels by.
    pub(super) fn socket(&self) -> Option<PortId> {
        let socket = self.belief.switch.socket.as_ref()?;
        let is_there = self.devices.contains_key(&socket.id);
        is_there.then_some(PortId(socket.id))
    }

    /// What tunnels need, as the kernel's routes are now.
    pub(super) fn work_out_needs(&self, network: &Network, survey: &mut Survey) -> Needs {
        let mut needs = Needs::default();
        for (_, port) in self.belief.switch.ports() {
            let spec = |kind| port.settings.tunnel.spec(kind);
            let Some(spec) = tunnel::protocol(port.kind).and_then(spec) else {
                continue;
            };
            for link in leads_by(network, &spec.remote) {
                self.add_need(&mut needs, survey, &port.name, &spec, link);
            }
        }
        needs
    }

    /// Adds what a tunnel needs to send by a device.
    fn add_need(
        &self,
        needs: &mut Needs,
        survey: &mut Survey,
        name: &str,
        spec: &TunnelSpec,
        link: &Link,
    ) {
        let may_share = match spec.way {
            TunnelWay::Bridge => return,
            TunnelWay::Auto if survey.internal.contains_key(&link.ifindex) => return,
            TunnelWay::Auto => can_share(survey, link),
            TunnelWay::Uplink => true,
            TunnelWay::Socket => false,
        };
        let goes_without = may_share && self.failed.goes_without(&link.name, survey.now);
        if goes_without {
            survey.without.insert(link.name.clone());
        }
        let by_uplink = may_share && !goes_without;
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
    /// asked for. True when a device could not become an uplink: nothing has changed then, and others
    /// may be needed.
    pub(super) async fn meet(&mut self, needs: Needs) -> Result<bool, Refusal> {
        if is_ahead(self.failed.change) {
            return Ok(false);
        }
        self.failed.change = None;
        if self.needs.as_ref() == Some(&needs) {
            if self.failed.sockets.is_some() && !is_ahead(self.failed.sockets) {
                self.open_sockets().await?;
            }
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
                    if self.failed.uplink(name, error.to_string()) {
                        tracing::warn!(device = name, %error, "a tunnel goes without an uplink");
                    }
                    failed = true;
                }
            }
        }
        if failed {
            return Ok(true);
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
        if next != self.belief {
            self.commit(next, made).await?;
        }
        let is_there = |name: &String| needs.uplinks.contains_key(name);
        self.failed.uplinks.retain(|name, _| !is_there(name));
        // Only now: a change that fails is to be tried again.
        self.needs = Some(needs);
        self.steer();
        self.open_sockets().await?;
        Ok(false)
    }

    /// Has uplinks that tunnels need and that have no device be looked for, as after news of it.
    pub(super) fn seek_uplinks(&mut self) {
        let uplinks = &self.belief.switch.uplinks;
        let needed = self.needs.iter().flat_map(|needs| needs.uplinks.keys());
        let mut needed = needed.filter_map(|name| uplinks.get(name));
        if needed.all(|uplink| self.devices.contains_key(&uplink.port.id)) {
            self.failed.devices = None;
        } else if !is_ahead(self.failed.devices) {
            self.failed.devices = Some(Instant::now() + RETRY);
            // No device has this number: none but those that are missing are looked at.
            self.hear(News::Device(0));
        }
    }

    /// Has the host's UDP sockets be those that are needed.
    async fn open_sockets(&mut self) -> Result<(), DataplaneError> {
        self.failed.sockets = None;
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
        match error {
            Some(error) => {
                self.errors.insert(id, error.to_string());
                self.failed.sockets();
            }
            None => {
                self.errors.remove(&id);
            }
        }
        if old.is_some_and(|old| old.udp_ports() == device.udp_ports()) {
            return Ok(());
        }
        let old = self.devices.insert(id, device);
        let attached = self.attach(id).await;
        if attached.as_ref().is_err_and(|error| !error.is_loss()) {
            match old {
                Some(old) => self.devices.insert(id, old),
                None => self.devices.remove(&id),
            };
            self.failed.sockets();
        }
        attached
    }
}

/// Whether a tunnel that is free to choose has a device become an uplink.
fn can_share(survey: &mut Survey, link: &Link) -> bool {
    if link.master.is_some() || link.mac.is_none() || survey.taken.contains(&link.ifindex) {
        return false;
    }
    match link.sort {
        Sort::Veth | Sort::Physical => *survey.native.entry(link.ifindex).or_insert_with(|| {
            xsk::xdp_features(link.ifindex).is_ok_and(|features| features.native)
        }),
        Sort::Tun | Sort::Loopback | Sort::Other => false,
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
    let prefix = Prefix {
        address: route.prefix,
        len: route.prefix_len,
    };
    prefix.contains(address)
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
    fn what_failed_once_is_tried_again_while_it_is_needed_and_not_at_once() {
        let mut failed = Failed::default();
        let wanted: BTreeSet<String> = ["eth0".to_owned()].into();
        assert_eq!(failed.next(&wanted), None);
        let before = Instant::now();
        assert!(failed.uplink("eth0", "busy".into()), "it is news");
        assert!(!failed.uplink("eth0", "busy".into()), "it is known");
        assert!(failed.goes_without("eth0", before));
        assert!(!failed.goes_without("eth0", before + 2 * RETRY));
        assert_eq!(failed.next(&BTreeSet::new()), None, "nobody needs it");
        assert!(failed.next(&wanted) >= Some(before + RETRY));
        failed.try_uplinks();
        assert!(!failed.goes_without("eth0", Instant::now()));
        assert!(!failed.uplink("eth0", "busy".into()), "it is known still");
        failed.sockets();
        failed.wait();
        assert!(failed.next(&BTreeSet::new()) >= Some(before + RETRY));
        assert!(is_ahead(failed.sockets) && !is_ahead(Some(before)) && !is_ahead(None));
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
