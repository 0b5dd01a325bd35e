//! Routers: what happens to a packet that reaches a router's port.
//!
//! A router's port is a station on its bridge. NORMAL knows its address, and what goes out to it is
//! routed: to the router itself ([`Errand::Hear`]), nowhere ([`Errand::Refuse`]), or with new stations
//! and one hop fewer into the bridge of another port, as a packet that came in there. Where the next hop
//! is not known yet, the packet waits as it came ([`Errand::Wait`]).
//!
//! Law: as translation's. Of the addresses the answer's mask has the leading bits that the tables of
//! routes looked at, and no others unless the next hop is the destination itself; what neighbours there
//! are is a [`Dep`](crate::fdb::Dep). A change of routes makes those answers stale whose packets went
//! through that router to addresses that the routes may concern ([`span`]).
//!
//! Spec: RFC 1812 §5.2 and §5.3, RFC 8200 §3, RFC 4291 §2.5.6 (what is not forwarded).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use vswitch_dpapi::router::{HopSpec, RouteAnswer, RouteSpec, RouterPortSpec, RouterSpec};
use vswitch_dpapi::{PortId, RouteTarget, RouterId};
use vswitch_flow::prefix::{address_bits, left_aligned};
use vswitch_flow::{Field, Prefix};
use vswitch_packet::ipv6::solicited_node;
use vswitch_packet::{EtherType, MacAddr};

use super::traffic::Crossing;
use super::translate::{Task, Walk};
use super::{DpAction, hash};
use crate::counters::DropReason;
use crate::gateway::Trouble;
use crate::neigh::{NeighbourKey, Neighbours, Seen};
use crate::port::PortIndex;
use crate::route::{Lpm, pick};

/// Leading bits of addresses by which answers and changes of routes are told apart.
const SPAN_V4: u8 = 16;
const SPAN_V6: u8 = 48;

/// What a packet is brought to a router for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ToRouter {
    /// The router's port by which it came.
    pub port: PortIndex,
    /// What for.
    pub errand: Errand,
}

impl ToRouter {
    /// Whether it is no matter of what is too large and may be cut: that is done later on the way.
    #[must_use]
    pub const fn leaves_cutting(&self) -> bool {
        matches!(self.errand, Errand::TooBig { .. })
    }
}

/// What is to be done with a packet that is brought to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Errand {
    /// It is for the router itself.
    Hear,
    /// It is not forwarded, and its sender may be told.
    Refuse(Trouble),
    /// It waits for a neighbour.
    Wait {
        /// By which port.
        out: PortIndex,
        /// Which.
        next: IpAddr,
    },
    /// It is too large for a port by which it would go on with another source, and may not be cut.
    TooBig {
        /// By which port.
        out: PortIndex,
    },
    /// It is too large for the port by which it would go on.
    Cut {
        /// By which port.
        out: PortIndex,
        /// To which neighbour.
        next: IpAddr,
    },
}

/// How far a packet has come at a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// It has come, and nobody has asked about its connection.
    Arrived,
    /// It comes from a host that others are led to, and its connection is known.
    Seen,
    /// It is as its connection says. Who begins one may be led to somebody else.
    Tracked,
    /// It has been led to somebody else.
    Led,
    /// It has its new source.
    Leaves {
        /// By which port it goes.
        out: PortIndex,
        /// To which neighbour.
        next: IpAddr,
    },
}

/// A packet's addresses, with the fields that they are in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) to: (Field, IpAddr),
    pub(super) from: (Field, IpAddr),
}

/// A router's port.
#[derive(Clone, Debug)]
pub struct RouterPort {
    /// Where its router stands in [`super::Tables::routers`].
    pub(super) at: usize,
    /// What was asked for.
    pub spec: RouterPortSpec,
    /// Its address for the link alone, if it has IPv6 addresses.
    pub link_local: Option<Ipv6Addr>,
}

impl RouterPort {
    pub(super) fn new(spec: &RouterPortSpec, at: usize) -> Self {
        Self {
            at,
            spec: spec.clone(),
            link_local: spec.link_local(),
        }
    }
}

impl RouterPort {
    /// Whether an address is on one of its networks.
    #[must_use]
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => self.link_local.is_some(),
            _ => self.spec.addresses.iter().any(|own| own.contains(address)),
        }
    }
}

/// What is near a router: on the networks of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    /// An address of its own.
    Own(PortIndex),
    /// The address of all on a port's network.
    Broadcast(PortIndex),
    /// A network, with so many bits.
    Network(PortIndex, u8),
}

impl Near {
    /// Leading bits of an address that it was found for.
    fn len(&self, address: IpAddr) -> u8 {
        match self {
            Self::Own(_) | Self::Broadcast(_) => address_bits(address),
            Self::Network(_, len) => *len,
        }
    }
}

/// A route for packets from some network.
type Sourced = (Prefix, Arc<RouteTarget>);

/// All routes to one prefix.
#[derive(Clone, Debug, Default)]
struct Entry {
    len: u8,
    any: Option<Arc<RouteTarget>>,
    /// For packets from some networks, longest prefix first.
    from: Option<Arc<Vec<Sourced>>>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.any.is_none() && self.from.is_none()
    }
}

/// The routes that were given to a router. A copy shares all with the original.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    entries: Lpm<Entry>,
    len: usize,
}

impl Routes {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a route, in the place of one to the same prefix from the same source. The target may be
    /// shared with other routes.
    pub fn put(&mut self, prefix: &Prefix, source: Option<&Prefix>, target: Arc<RouteTarget>) {
        let mut entry = self.entries.get(prefix).cloned().unwrap_or_default();
        entry.len = prefix.len;
        match source {
            None => self.len += usize::from(entry.any.replace(target).is_none()),
            Some(source) => {
                let from = Arc::make_mut(entry.from.get_or_insert_default());
                match from.iter_mut().find(|(known, _)| known == source) {
                    Some((_, old)) => *old = target,
                    None => {
                        self.len += 1;
                        from.push((*source, target));
                        from.sort_by_key(|(source, _)| std::cmp::Reverse(source.len));
                    }
                }
            }
        }
        self.entries.insert(prefix, entry);
    }

    /// Takes a route out. False when there is none.
    pub fn take(&mut self, prefix: &Prefix, source: Option<&Prefix>) -> bool {
        let Some(mut entry) = self.entries.get(prefix).cloned() else {
            return false;
        };
        let was = match (source, &mut entry.from) {
            (None, _) => entry.any.take().is_some(),
            (Some(_), None) => false,
            (Some(source), Some(from)) => {
                let from = Arc::make_mut(from);
                let before = from.len();
                from.retain(|(known, _)| known != source);
                from.len() < before
            }
        };
        entry.from = entry.from.filter(|from| !from.is_empty());
        if was {
            self.len -= 1;
            if entry.is_empty() {
                self.entries.remove(prefix);
            } else {
                self.entries.insert(prefix, entry);
            }
        }
        was
    }
}

/// A router: addresses, routes and neighbours that no other router knows.
#[derive(Clone, Debug)]
pub struct Router {
    /// What was asked for.
    pub spec: RouterSpec,
    /// Its neighbours.
    pub neighbours: Arc<Neighbours>,
    pub(super) near: Lpm<Near>,
    pub(super) routes: Routes,
    /// Its ports.
    pub(super) ports: Vec<PortIndex>,
    /// The hosts that connections to its addresses are led to.
    pub(super) led_to: Vec<IpAddr>,
}

/// Which way an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is near.
    Near(Near),
    /// A route leads there, to a prefix with so many bits, from a source perhaps.
    Route(u8, Option<Prefix>, Arc<RouteTarget>),
    /// There is none.
    None,
}

/// What a router says of an address, and how many leading bits of it and of the source that took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which way.
    pub way: Way,
    /// Bits of the destination.
    pub to_bits: u8,
    /// Bits of the source.
    pub from_bits: u8,
}

impl Router {
    pub(super) fn new(spec: &RouterSpec, previous: Option<&Self>, seed: u64) -> Self {
        let max = spec.neighbours_max as usize;
        let neighbours = match previous {
            Some(old) => {
                old.neighbours.set_max(max);
                Arc::clone(&old.neighbours)
            }
            None => Arc::new(Neighbours::new(seed ^ u64::from(spec.id.0) << 32, max)),
        };
        Self {
            spec: spec.clone(),
            neighbours,
            near: Lpm::default(),
            routes: previous.map(|old| old.routes.clone()).unwrap_or_default(),
            ports: Vec::new(),
            led_to: Vec::new(),
        }
    }

    /// A port with these addresses belongs to it.
    pub(super) fn join(&mut self, index: PortIndex, port: &RouterPort) {
        self.ports.push(index);
        self.led_to
            .extend(port.spec.dnat.iter().map(|rule| rule.to));
        for own in &port.spec.addresses {
            let network = own.network();
            self.near.insert(&network, Near::Network(index, own.len));
        }
        // Afterwards, so that a network of one address is our own.
        for own in &port.spec.addresses {
            if own.address.is_ipv4() && own.len < 31 {
                for all in [own.network().address, own.last()] {
                    self.near.insert(&Prefix::host(all), Near::Broadcast(index));
                }
            }
        }
        let link_local = port.link_local.map(IpAddr::V6);
        let own = port.spec.addresses.iter().map(|own| own.address);
        for address in own.chain(link_local) {
            self.near.insert(&Prefix::host(address), Near::Own(index));
        }
    }

    /// Its ports.
    #[must_use]
    pub fn ports(&self) -> &[PortIndex] {
        &self.ports
    }

    /// Its routes.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Which way a packet goes. What is near is as good as the longest route to it.
    #[must_use]
    pub fn find(&self, from: IpAddr, to: IpAddr) -> Found {
        let near = self.near.lookup(to);
        let near_len = near.value.map(|near| near.len(to));
        let (entries, bits) = self.routes.entries.matching(to);
        let mut found = Found {
            way: near.value.map_or(Way::None, |near| Way::Near(*near)),
            to_bits: near.bits.max(bits),
            from_bits: 0,
        };
        for entry in entries.into_iter().rev() {
            if near_len.is_some_and(|len| len >= entry.len) {
                break;
            }
            let sources = entry.from.iter().flat_map(|from| from.iter());
            for (source, target) in sources {
                // Sources of the other family match nothing and need no bits.
                if source.address.is_ipv4() == from.is_ipv4() {
                    found.from_bits = found.from_bits.max(source.len);
                }
                if source.contains(from) {
                    found.way = Way::Route(entry.len, Some(*source), Arc::clone(target));
                    return found;
                }
            }
            if let Some(target) = &entry.any {
                found.way = Way::Route(entry.len, None, Arc::clone(target));
                return found;
            }
        }
        found
    }

    /// The same, to be told.
    #[must_use]
    pub fn answer(&self, from: IpAddr, to: IpAddr) -> RouteAnswer {
        let network = |len| Prefix { address: to, len }.network();
        match self.find(from, to).way {
            Way::None => RouteAnswer::None,
            Way::Near(Near::Own(port)) => RouteAnswer::Local(PortId(port.0)),
            Way::Near(Near::Broadcast(port)) => RouteAnswer::Connected {
                network: Prefix::host(to),
                port: PortId(port.0),
            },
            Way::Near(Near::Network(port, len)) => RouteAnswer::Connected {
                network: network(len),
                port: PortId(port.0),
            },
            Way::Route(len, source, target) => RouteAnswer::Route(RouteSpec {
                prefix: network(len),
                source,
                target: (*target).clone(),
            }),
        }
    }

    /// By which port a way of a route leads, and to whom.
    fn follow(&self, hop: &HopSpec, to: IpAddr) -> Option<(PortIndex, IpAddr)> {
        let next = hop.gateway.unwrap_or(to);
        let port = match hop.port {
            Some(port) => PortIndex(port.0),
            None => match self.near.lookup(next).value? {
                Near::Network(port, _) => *port,
                // Nobody routes by way of itself.
                Near::Own(_) | Near::Broadcast(_) => return None,
            },
        };
        self.ports.contains(&port).then_some((port, next))
    }

    /// Whether packets from somewhere to an address leave by a port on whose network the address itself
    /// is to be, because a route says so.
    #[must_use]
    pub fn is_direct(&self, port: PortIndex, to: IpAddr) -> bool {
        let near_len = self.near.lookup(to).value.map(|near| near.len(to));
        let (entries, _) = self.routes.entries.matching(to);
        for entry in entries.into_iter().rev() {
            if near_len.is_some_and(|len| len >= entry.len) {
                break;
            }
            let sourced = entry.from.iter().flat_map(|from| from.iter());
            let mut targets = sourced.map(|(_, target)| target).chain(&entry.any);
            let is_its =
                |hop: &HopSpec| hop.gateway.is_none() && self.follow(hop, to) == Some((port, to));
            if targets.any(|target| match &**target {
                RouteTarget::Via(hops) => hops.iter().any(is_its),
                _ => false,
            }) {
                return true;
            }
            if entry.any.is_some() {
                break;
            }
        }
        false
    }

    /// Whether there is a way to an address by another port.
    #[must_use]
    pub fn leads_elsewhere(&self, port: PortIndex, to: IpAddr) -> bool {
        let from = match to {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        match self.find(from, to).way {
            Way::Near(Near::Own(other) | Near::Network(other, _)) => other != port,
            Way::Route(_, _, target) => match &*target {
                RouteTarget::Via(hops) => hops
                    .iter()
                    .any(|hop| self.follow(hop, to).is_some_and(|(other, _)| other != port)),
                _ => false,
            },
            Way::Near(Near::Broadcast(_)) | Way::None => false,
        }
    }
}

/// The bit under which answers about an address at a router are found again.
fn bit_of(router: RouterId, to: IpAddr) -> u64 {
    let len = if to.is_ipv4() { SPAN_V4 } else { SPAN_V6 };
    let bits = left_aligned(to) >> (128 - u32::from(len));
    1 << (hash::mix(bits as u64 ^ u64::from(router.0) << 48) >> 58)
}

/// The answers that a change of a route of a router may concern, as bits.
#[must_use]
pub(super) fn span(router: RouterId, prefix: &Prefix) -> u64 {
    let len = if prefix.address.is_ipv4() {
        SPAN_V4
    } else {
        SPAN_V6
    };
    if prefix.len < len {
        u64::MAX
    } else {
        bit_of(router, prefix.address)
    }
}

/// An IPv4 address that means something on one link or host only, or is a group, by its first byte.
const fn is_martian_v4(first: u8) -> bool {
    matches!(first, 0 | 127 | 224..)
}

/// The same of IPv6, by the first two bytes: unspecified, loopback and IPv4 in disguise, groups, those for
/// the link alone. What translates to IPv4 (64:ff9b::/96, RFC 6052) is an address like any other.
const fn is_martian_v6(first: u16) -> bool {
    first == 0 || first >> 8 == 0xff || first & 0xffc0 == 0xfe80
}

impl Walk<'_> {
    /// The packet reaches a router's port.
    pub(super) fn route(&mut self, index: PortIndex) {
        let Some(port) = self.tables.port(index) else {
            return;
        };
        let Some(own) = &port.router else { return };
        let Some(router) = self.tables.routers().get(own.at) else {
            return;
        };
        let vid = self.outer_vid();
        if vid != 0 && !port.vlan.carries(vid) {
            return self.note(DropReason::VlanNotAllowed);
        }
        if !self.work.retag(0) {
            return self.give_up(DropReason::VlanDepth);
        }
        let station = self.work.field(Field::EthDst) as u64;
        let is_group = station >> 40 & 1 == 1;
        if !is_group && station != MacAddr(own.spec.mac).bits() {
            return self.note(DropReason::RouterNotMine);
        }
        let (to_field, from_field) = match EtherType(self.work.field(Field::EthType) as u16) {
            // Tags within the port's own are nobody's.
            EtherType::ARP if self.outer_vid() == 0 => {
                self.cross_port(port, Crossing::Tx);
                return self.bring(index, Errand::Hear);
            }
            EtherType::IPV4 if self.outer_vid() == 0 => (Field::Ipv4Dst, Field::Ipv4Src),
            EtherType::IPV6 if self.outer_vid() == 0 => (Field::Ipv6Dst, Field::Ipv6Src),
            _ => return self.note(DropReason::RouterProtocol),
        };
        let (to, from) = (self.peek(to_field), self.peek(from_field));
        if is_group {
            return self.hear_group(index, own, to_field, to);
        }
        self.cross_port(port, Crossing::Tx);
        let addresses = Addresses {
            to: (to_field, to),
            from: (from_field, from),
        };
        self.decide(index, router, addresses, Stage::Arrived);
    }

    /// Goes on with a packet whose connection was asked about.
    pub(super) fn route_on(&mut self, index: PortIndex, stage: Stage) {
        let port = self.tables.port(index);
        let router = port.and_then(|port| self.tables.router_of(port));
        let (Some(port), Some(router)) = (port, router) else {
            return self.note(DropReason::PortUnknown);
        };
        let fields = match EtherType(self.work.field(Field::EthType) as u16) {
            EtherType::IPV6 => (Field::Ipv6Dst, Field::Ipv6Src),
            _ => (Field::Ipv4Dst, Field::Ipv4Src),
        };
        let addresses = Addresses {
            to: (fields.0, self.peek(fields.0)),
            from: (fields.1, self.peek(fields.1)),
        };
        let name = &port.name;
        self.detail(|| format!("goes on at {name}"));
        if let Stage::Leaves { out, next } = stage {
            return self.pass(index, router, (out, next));
        }
        self.decide(index, router, addresses, stage);
    }

    /// Decides where a packet goes that is the router's to forward or to answer.
    fn decide(&mut self, index: PortIndex, router: &Router, addresses: Addresses, stage: Stage) {
        let Addresses {
            to: (to_field, to),
            from: (from_field, from),
        } = addresses;
        self.routed |= bit_of(router.spec.id, to);
        let found = router.find(from, to);
        self.read_leading(to_field, found.to_bits);
        let own = match found.way {
            Way::Near(Near::Own(own)) => Some(own),
            _ => None,
        };
        if self.asks_connection(index, router, addresses, own, stage) {
            return;
        }
        if own.is_some() {
            self.detail(|| format!("{to} is the router's own: answered here"));
            return self.bring(index, Errand::Hear);
        }
        // The first two bytes tell what is not forwarded at all.
        let first = |field: Field| (field.info().bits - 16, 0xffff_u128);
        let (mut martian, is_v4) = (false, to.is_ipv4());
        for field in [to_field, from_field] {
            let (shift, bits) = first(field);
            let bits = if is_v4 { bits & 0xff00 } else { bits };
            let value = (self.work.bits(field, bits << shift) >> shift) as u16;
            martian |= if is_v4 {
                is_martian_v4((value >> 8) as u8)
            } else {
                is_martian_v6(value)
            };
        }
        if martian {
            return self.note(DropReason::RouterMartian);
        }
        self.read_leading(from_field, found.from_bits);
        self.leave(index, router, found.way, (to_field, to), stage);
    }

    /// A packet to a group reaches a router's port.
    fn hear_group(&mut self, index: PortIndex, own: &RouterPort, field: Field, to: IpAddr) {
        let all_bits = address_bits(to);
        self.read_leading(field, all_bits);
        let is_ours = match to {
            IpAddr::V4(v4) => {
                let mut networks = own.spec.addresses.iter();
                v4.is_broadcast() || networks.any(|own| own.len < 31 && own.last() == to)
            }
            IpAddr::V6(v6) => {
                let known = own.spec.addresses.iter().map(|own| own.address);
                let local = own.link_local.map(IpAddr::V6);
                let is_its =
                    |address| matches!(address, IpAddr::V6(own) if solicited_node(own) == v6);
                // All nodes, all routers, all servers of DHCP, and who has one of our addresses.
                matches!(v6.segments(), [0xff02, 0, 0, 0, 0, 0, 0, 1 | 2])
                    || v6.segments() == [0xff02, 0, 0, 0, 0, 0, 1, 2]
                    || known.chain(local).any(is_its)
            }
        };
        if is_ours {
            self.bring(index, Errand::Hear);
        } else {
            self.note(DropReason::RouterNotMine);
        }
    }

    /// Sends the packet on that came to a router by `index`.
    fn leave(
        &mut self,
        index: PortIndex,
        router: &Router,
        way: Way,
        (field, to): (Field, IpAddr),
        stage: Stage,
    ) {
        let (refused, hops) = match way {
            Way::None => (Some(Trouble::NoRoute), None),
            // A router does not say to all on a network what somebody from elsewhere wants (RFC 2644).
            Way::Near(Near::Own(_) | Near::Broadcast(_)) => {
                return self.note(DropReason::RouterMartian);
            }
            Way::Near(Near::Network(port, len)) => {
                let tables = self.tables;
                self.detail(|| {
                    let network = Prefix { address: to, len }.network();
                    let name = tables.port(port).map_or("a port", |port| &port.name);
                    format!("{to} is on the network {network} of {name}")
                });
                (None, Some((port, to)))
            }
            Way::Route(len, source, target) => {
                self.detail(|| {
                    let prefix = Prefix { address: to, len }.network();
                    let from = source.map_or_else(String::new, |from| format!(" from {from}"));
                    format!("route {prefix}{from} of {}", router.spec.name)
                });
                match &*target {
                    RouteTarget::Blackhole => return self.note(DropReason::RouteBlackhole),
                    RouteTarget::Prohibit => (Some(Trouble::Prohibited), None),
                    RouteTarget::Unreachable => (Some(Trouble::Unreachable), None),
                    RouteTarget::Via(hops) => match self.choose(router, hops, to) {
                        None => (Some(Trouble::NoRoute), None),
                        hop => (None, hop),
                    },
                }
            }
        };
        let ttl = self.work.field(Field::IpTtl);
        if ttl <= 1 {
            self.detail(|| format!("its hops are used up (ttl {ttl})"));
            return self.bring(index, Errand::Refuse(Trouble::TimeExceeded));
        }
        if let Some(trouble) = refused {
            self.detail(|| trouble.reason().sentence().to_owned());
            return self.bring(index, Errand::Refuse(trouble));
        }
        let Some((out, next)) = hops else { return };
        if next == to {
            self.read_leading(field, address_bits(to));
        }
        if let Seen::Failed = self.see_neighbour(router, out, next) {
            self.detail(|| format!("{next} does not answer"));
            return self.bring(index, Errand::Refuse(Trouble::HostDown));
        }
        if !self.leaves_as_another(index, router, (out, next), stage) {
            self.pass(index, router, (out, next));
        }
    }

    fn see_neighbour(&mut self, router: &Router, out: PortIndex, next: IpAddr) -> Seen {
        let key = NeighbourKey {
            port: out,
            address: next,
        };
        let (dep, seen) = router.neighbours.lookup(key);
        self.depend(dep);
        seen
    }

    /// Sends the packet by a port to a neighbour, one hop fewer, or has it wait for that.
    fn pass(&mut self, index: PortIndex, router: &Router, (out, next): (PortIndex, IpAddr)) {
        let neighbour = match self.see_neighbour(router, out, next) {
            Seen::Known(neighbour) => neighbour,
            Seen::Failed => return self.bring(index, Errand::Refuse(Trouble::HostDown)),
            Seen::Unknown => {
                self.detail(|| format!("{next} is not known yet: the packet waits"));
                return self.bring(index, Errand::Wait { out, next });
            }
        };
        let Some(port) = self.tables.port(out) else {
            return self.note(DropReason::PortUnknown);
        };
        let Some(own) = &port.router else { return };
        let ttl = self.work.field(Field::IpTtl).saturating_sub(1);
        self.detail(|| {
            let mac = MacAddr(neighbour.mac());
            format!("next hop {next} is {mac} by {}, ttl {ttl}", port.name)
        });
        let check = ToRouter {
            port: index,
            errand: Errand::Cut { out, next },
        };
        self.work
            .emit(DpAction::FitRoute(port.mtu, Arc::new(check)));
        let all = Field::EthSrc.info().max();
        for (field, mac) in [
            (Field::EthSrc, own.spec.mac),
            (Field::EthDst, neighbour.mac()),
        ] {
            let value = MacAddr(mac).bits().into();
            self.work.set_field(field, value, all);
        }
        self.work.set_field(Field::IpTtl, ttl, 0xff);
        self.out.neighbours.push(neighbour);
        self.later(Task::Enter(out));
    }

    /// One of several ways: for one connection always the same.
    fn choose(
        &mut self,
        router: &Router,
        hops: &[HopSpec],
        to: IpAddr,
    ) -> Option<(PortIndex, IpAddr)> {
        let usable = || {
            hops.iter()
                .filter_map(|hop| Some((hop.weight, router.follow(hop, to)?)))
        };
        let mut ways = usable();
        let (_, first) = ways.next()?;
        if ways.next().is_none() {
            return Some(first);
        }
        let hash = hash::of_connection(&mut self.work);
        let at = pick(usable().map(|(weight, _)| weight), hash)?;
        let (_, way) = usable().nth(at)?;
        self.detail(|| {
            format!(
                "way {} of {} by the packet's hash",
                at + 1,
                usable().count()
            )
        });
        Some(way)
    }

    /// Brings the packet to a router, as it is now.
    pub(super) fn bring(&mut self, port: PortIndex, errand: Errand) {
        self.work
            .emit(DpAction::Router(Arc::new(ToRouter { port, errand })));
    }

    /// An address of the packet. Who looks at it says how much with [`Self::read_leading`].
    pub(super) fn peek(&self, field: Field) -> IpAddr {
        let value = self.work.key().field(field);
        if field.info().bits == 32 {
            IpAddr::V4(Ipv4Addr::from_bits(value as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(value))
        }
    }

    /// Notes that the first `len` bits of a field were read.
    pub(super) fn read_leading(&mut self, field: Field, len: u8) {
        let bits = field.info().bits;
        let rest = bits.saturating_sub(len);
        if rest < bits {
            let max = field.info().max();
            self.work.bits(field, max >> rest << rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_translates_to_ipv4_is_forwarded_and_what_means_one_link_is_not() {
        let first = |text: &str| {
            let address: Ipv6Addr = text.parse().expect("an address");
            is_martian_v6(address.segments()[0])
        };
        for martian in ["::", "::1", "::ffff:192.0.2.1", "ff02::1", "fe80::1"] {
            assert!(first(martian), "{martian}");
        }
        for other in ["64:ff9b::192.0.2.1", "2001:db8::1", "fd00::1", "100::1"] {
            assert!(!first(other), "{other}");
        }
    }
}
