//! The whole of what decides, as an immutable value.
//!
//! Law: a [`Tables`] never changes after it was published. A change makes a new one with a new
//! epoch (`change`); what did not change is shared: forwarding databases and counters always, flow
//! tables unless their flows changed, a bridge's ports unless ports changed. Cached answers carry
//! the epoch they came from.
//!
//! Threads: made by control, read by all workers. Cost: a change of ports or bridges is
//! proportional to the number of ports, a change of flows to the subtables it touches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{HashMap, HashSet};
use vswitch_dpapi::{
    BridgeId, BridgeSpec, Desired, FlowLimit, Fragments, PortConfig, PortId, PortKind, PortSpec,
    RouterId, TunnelSpec,
};
use vswitch_flow::rule::TABLE_MAX;
use vswitch_flow::{Match, OfPort};
use vswitch_packet::MacAddr;

use super::classifier::Table;
use super::freeze::Stops;
use super::group::GroupEntry;
use super::meter::MeterEntry;
use super::mirror::{MirrorSet, Mirrors};
use super::punt::Punts;
use super::recent::Recent;
use super::router::{Router, RouterPort, Routes, span};
use super::rule::Rule;
use super::shelf::Shelf;
use super::traffic::Crossings;
use super::vlan::Membership;
use crate::fdb::{Fdb, MacKey};
use crate::neigh::{NeighbourKey, Waiting};
use crate::port::PortIndex;
use crate::tunnel::ports::TunnelPorts;
use crate::tunnel::underlay::Underlay;

/// Why a desired state or a change of flows is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A bridge number that is not in use.
    #[error("bridge number {} does not exist; send the desired state with it first", .0.0)]
    NoBridge(BridgeId),
    /// Two bridges with one number.
    #[error("bridge number {} is given to two bridges; numbers must be unique", .0.0)]
    BridgeTwice(BridgeId),
    /// Two ports with one number.
    #[error("port number {} is given to two ports; numbers must be unique", .0.0)]
    PortTwice(PortId),
    /// A port number too large to index arrays with.
    #[error("port number {} is too large; the largest is {}", .0.0, PortId::MAX.0)]
    PortTooLarge(PortId),
    /// Two ports of a bridge with one OpenFlow number.
    #[error(
        "OpenFlow port {of_port} of bridge {bridge} is given to two ports; numbers must be unique on a bridge"
    )]
    OfPortTwice {
        /// The bridge's name.
        bridge: String,
        /// The number.
        of_port: u32,
    },
    /// A router number that is not in use.
    #[error("router number {} does not exist; send the desired state with it first", .0.0)]
    NoRouter(RouterId),
    /// Two routers with one number.
    #[error("router number {} is given to two routers; numbers must be unique", .0.0)]
    RouterTwice(RouterId),
    /// More mirrors on a bridge than there are bits to remember them in.
    #[error("bridge {bridge} has {len} mirrors; the limit is {}", Mirrors::MAX)]
    TooManyMirrors {
        /// The bridge's name.
        bridge: String,
        /// How many were asked for.
        len: usize,
    },
}

/// Where a port leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// To a device, by a port queue.
    Device,
    /// To the patch port with this number, or, so far, nowhere.
    Patch(Option<PortIndex>),
    /// Into a tunnel.
    Tunnel,
    /// To a router.
    Router,
}

/// A port of a bridge.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its number in the datapath.
    pub index: PortIndex,
    /// The bridge it is on.
    pub bridge: BridgeId,
    /// Its name.
    pub name: String,
    /// Its OpenFlow number on the bridge.
    pub of_port: OfPort,
    /// Where it leads.
    pub link: Link,
    /// The tunnel that it is.
    pub tunnel: Option<Arc<TunnelSpec>>,
    /// It is a device of the host, which takes what is for the host.
    pub internal: bool,
    /// Largest layer-3 packet it takes, bytes.
    pub mtu: u32,
    /// Whether its device's link is up.
    pub up: bool,
    /// What an OpenFlow peer has forbidden it.
    pub config: PortConfig,
    /// Where its bridge stands in [`Tables::bridges`].
    pub(super) bridge_at: usize,
    /// What it is to its router, if it is one's.
    pub router: Option<RouterPort>,
    /// The traffic of a port without a device, which no queue counts.
    pub crossings: Option<Arc<Crossings>>,
    pub(super) vlan: Membership,
    /// Mirrors that select what comes in and what goes out.
    pub(super) mirror_src: MirrorSet,
    pub(super) mirror_dst: MirrorSet,
    /// It is where a mirror's copies go, and does nothing else.
    pub(super) mirror_output: bool,
}

impl Port {
    /// Whether packets that go out by it arrive somewhere, as groups that watch it want to know.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.up && !self.config.down
    }
}

/// How often each table of a bridge was asked, and how often it had an answer. Cached answers count
/// as if the tables had been asked.
#[derive(Debug)]
pub struct LookupCounters {
    tables: Box<[(AtomicU64, AtomicU64)]>,
}

impl Default for LookupCounters {
    fn default() -> Self {
        Self {
            tables: (0..=TABLE_MAX).map(|_| Default::default()).collect(),
        }
    }
}

impl LookupCounters {
    /// Counts packets that were looked up in a table.
    pub fn add(&self, table: u8, matched: bool, packets: u64) {
        if let Some((lookups, matches)) = self.tables.get(usize::from(table)) {
            lookups.fetch_add(packets, Ordering::Relaxed);
            if matched {
                matches.fetch_add(packets, Ordering::Relaxed);
            }
        }
    }

    /// Packets looked up in a table, and those for which it had a flow.
    #[must_use]
    pub fn of(&self, table: u8) -> (u64, u64) {
        let counts = self.tables.get(usize::from(table));
        counts.map_or((0, 0), |(lookups, matches)| {
            let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
            (load(lookups), load(matches))
        })
    }
}

/// What a change of flows does not touch.
#[derive(Debug, Default)]
struct Layout {
    /// Ascending OpenFlow numbers.
    ports: Vec<PortIndex>,
    by_number: HashMap<OfPort, PortIndex>,
    /// Routers' ports by their addresses.
    stations: HashMap<MacKey, PortIndex>,
    mirrors: Mirrors,
    limits: BTreeMap<u8, FlowLimit>,
    miss_to_controller: bool,
    fragments: Fragments,
}

/// A bridge: ports, flow tables and a forwarding database.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// Its number.
    pub id: BridgeId,
    /// Its name.
    pub name: Arc<str>,
    /// Its learned addresses.
    pub fdb: Arc<Fdb>,
    layout: Arc<Layout>,
    lookups: Arc<LookupCounters>,
    punts: Arc<Punts>,
    /// Indexed by number, up to the highest that has had a flow.
    pub(super) tables: Vec<Option<Arc<Table>>>,
    pub(super) groups: Arc<Shelf<GroupEntry>>,
    pub(super) meters: Arc<Shelf<MeterEntry>>,
    /// How many `learn(delete_learned)` there are for a table and a cookie.
    pub(super) learners: Arc<BTreeMap<(u8, u64), u32>>,
    /// How many `learn(limit=...)` there are for a table and a cookie, and how many flows of these.
    pub(super) limited: Arc<BTreeMap<(u8, u64), (u32, u32)>>,
}

/// All bridges, ports and flows at one moment.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Grows with every change.
    pub epoch: u64,
    /// What the last changes touched.
    recent: Recent,
    seed: u64,
    bridges: Vec<Arc<Bridge>>,
    /// Indexed by port number.
    ports: Arc<Vec<Option<Arc<Port>>>>,
    /// All routers.
    routers: Vec<Arc<Router>>,
    /// Where translations stopped.
    stops: Arc<Stops>,
    /// The network that carries tunnels.
    underlay: Underlay,
    tunnels: Arc<TunnelPorts>,
}

impl Bridge {
    /// Its ports in the order of their OpenFlow numbers.
    #[must_use]
    pub fn ports(&self) -> &[PortIndex] {
        &self.layout.ports
    }

    /// The port with an OpenFlow number.
    #[must_use]
    pub fn port(&self, number: OfPort) -> Option<PortIndex> {
        self.layout.by_number.get(&number).copied()
    }

    /// The router's port that has this address.
    #[must_use]
    pub fn station(&self, address: MacKey) -> Option<PortIndex> {
        self.layout.stations.get(&address).copied()
    }

    /// A flow table; `None` when it has never had a flow.
    #[must_use]
    pub fn table(&self, number: u8) -> Option<&Table> {
        self.tables.get(usize::from(number))?.as_deref()
    }

    /// All flow tables that have or had a flow, in order.
    pub fn tables(&self) -> impl Iterator<Item = (u8, &Table)> {
        let numbered = (0..=TABLE_MAX).zip(&self.tables);
        numbered.filter_map(|(number, table)| Some((number, table.as_deref()?)))
    }

    /// All flows, tables in order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.tables.iter().flatten().flat_map(|table| table.iter())
    }

    /// The flow with exactly this table, match and priority.
    #[must_use]
    pub fn rule(&self, table: u8, matches: &Match, priority: u16) -> Option<&Arc<Rule>> {
        self.table(table)?.find(matches, priority)
    }

    /// A group by its number.
    #[must_use]
    pub fn group(&self, id: u32) -> Option<&Arc<GroupEntry>> {
        self.groups.get(id)
    }

    /// All groups, by their numbers.
    #[must_use]
    pub fn groups(&self) -> Vec<&Arc<GroupEntry>> {
        self.groups.sorted()
    }

    /// A meter by its number.
    #[must_use]
    pub fn meter(&self, id: u32) -> Option<&Arc<MeterEntry>> {
        self.meters.get(id)
    }

    /// All meters, by their numbers.
    #[must_use]
    pub fn meters(&self) -> Vec<&Arc<MeterEntry>> {
        self.meters.sorted()
    }

    /// How many flows with a cookie a table has. Only known of those that some `learn` limits.
    #[must_use]
    pub fn learned_len(&self, table: u8, cookie: u64) -> u32 {
        let counts = self.limited.get(&(table, cookie));
        counts.map_or(0, |(_, flows)| *flows)
    }

    /// The counters of its tables.
    #[must_use]
    pub fn lookups(&self) -> &Arc<LookupCounters> {
        &self.lookups
    }

    /// Its packets that wait to be told to controllers.
    #[must_use]
    pub fn punts(&self) -> &Punts {
        &self.punts
    }

    /// Whether packets that no flow matches go to controllers.
    #[must_use]
    pub fn miss_to_controller(&self) -> bool {
        self.layout.miss_to_controller
    }

    /// What flows see of fragments.
    #[must_use]
    pub fn fragments(&self) -> Fragments {
        self.layout.fragments
    }

    /// How many flows a table takes, if that is limited.
    pub(super) fn limit(&self, table: u8) -> Option<FlowLimit> {
        self.layout.limits.get(&table).copied()
    }

    pub(super) fn mirrors(&self) -> &Mirrors {
        &self.layout.mirrors
    }
}

impl Tables {
    /// Compiles a desired state. Bridges of `previous` that stay keep their learned addresses and
    /// their flows; addresses that were learned on ports that are gone, or belong to other VLANs
    /// now, are forgotten. `seed` keys all hashes; the first one stays for good.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing has changed then.
    pub fn build(
        desired: &Desired,
        previous: Option<&Self>,
        epoch: u64,
        seed: u64,
    ) -> Result<Self, Refusal> {
        check(desired)?;
        let seed = previous.map_or(seed, |tables| tables.seed);
        let mut ports = ports(desired, previous);
        let routers = routers(desired, &ports, previous, seed);
        let mut bridges = Vec::with_capacity(desired.bridges.len());
        for spec in &desired.bridges {
            let mut layout = Layout {
                mirrors: Mirrors::new(&spec.mirrors),
                limits: spec
                    .flow_limits
                    .iter()
                    .map(|limit| (limit.table, *limit))
                    .collect(),
                miss_to_controller: spec.miss_to_controller,
                fragments: spec.fragments,
                ..Layout::default()
            };
            let mut own: Vec<_> = desired
                .ports
                .iter()
                .filter(|port| port.bridge == spec.id)
                .map(|port| (port.of_port, PortIndex(port.id.0)))
                .collect();
            own.sort();
            layout.ports = own.iter().map(|(_, index)| *index).collect();
            layout.by_number = own.into_iter().collect();
            layout.stations = stations(&layout, &ports);
            mirror_ports(spec, &layout, &mut ports);
            bridges.push(Arc::new(bridge(spec, layout, previous, seed)));
        }
        let specs = ports.iter().flatten();
        let specs = specs.filter_map(|port| Some((port.index, port.tunnel.as_ref()?)));
        let tunnels = TunnelPorts::new(specs);
        let tables = Self {
            epoch,
            recent: Recent::new(epoch),
            seed,
            bridges,
            ports: Arc::new(ports.into_iter().map(|port| port.map(Arc::new)).collect()),
            routers,
            stops: previous.map_or_else(Arc::default, |tables| Arc::clone(&tables.stops)),
            underlay: previous.map_or_else(Underlay::default, |tables| tables.underlay.clone()),
            tunnels: Arc::new(tunnels),
        };
        if let Some(previous) = previous {
            tables.forget_since(previous);
        }
        Ok(tables)
    }

    /// Forgets neighbours of routers and ports that are not what they were before; gives the packets
    /// that waited for them.
    #[must_use]
    pub fn forget_neighbours(&self, previous: &Self) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        for old in &previous.routers {
            let new = self.router(old.spec.id).ok();
            let stays = |key: &NeighbourKey| {
                let port = new.and(self.port(key.port));
                let own = port.and_then(|port| port.router.as_ref());
                own.is_some_and(|own| own.spec.router == old.spec.id && own.is_on_link(key.address))
            };
            waiting.extend(old.neighbours.flush(|key| !stays(key)).1);
        }
        waiting
    }

    /// Forgets what was learned on ports that are not what they were.
    fn forget_since(&self, previous: &Self) {
        for old in previous.ports.iter().flatten() {
            let same = self
                .port(old.index)
                .is_some_and(|new| new.bridge == old.bridge && new.vlan == old.vlan);
            if !same && let Some(bridge) = self.bridge(old.bridge) {
                bridge.fdb.flush_port(old.index);
            }
        }
    }

    /// The same with another value of a bridge.
    pub(super) fn with_bridge(&self, bridge: Bridge, recent: Recent) -> Self {
        let bridges = self.bridges.iter().cloned();
        let mut bridges: Vec<_> = bridges.collect();
        if let Some(place) = bridges.iter_mut().find(|old| old.id == bridge.id) {
            *place = Arc::new(bridge);
        }
        Self {
            epoch: recent.epoch(),
            recent,
            seed: self.seed,
            bridges,
            ports: Arc::clone(&self.ports),
            routers: self.routers.clone(),
            stops: Arc::clone(&self.stops),
            underlay: self.underlay.clone(),
            tunnels: Arc::clone(&self.tunnels),
        }
    }

    /// The same with another network that carries tunnels.
    #[must_use]
    pub fn with_underlay(&self, underlay: Underlay) -> Self {
        let recent = self.recent.after_underlay(self.epoch + 1);
        Self {
            epoch: recent.epoch(),
            recent,
            underlay,
            ..self.clone()
        }
    }

    /// The tunnel ports.
    #[must_use]
    pub fn tunnels(&self) -> &TunnelPorts {
        &self.tunnels
    }

    /// The network that carries tunnels.
    #[must_use]
    pub fn underlay(&self) -> &Underlay {
        &self.underlay
    }

    /// The same with other routes of a router, of which these were added, removed or replaced.
    ///
    /// # Errors
    /// [`Refusal::NoRouter`].
    pub fn with_routes<'a>(
        &self,
        id: RouterId,
        routes: Routes,
        changed: impl Iterator<Item = &'a vswitch_flow::Prefix>,
        epoch: u64,
    ) -> Result<Self, Refusal> {
        let mut routers = self.routers.clone();
        let mut places = routers.iter_mut();
        let place = places.find(|router| router.spec.id == id);
        let place = place.ok_or(Refusal::NoRouter(id))?;
        let spans = changed.fold(0, |spans, prefix| spans | span(id, prefix));
        *place = Arc::new(Router {
            routes,
            ..Router::clone(place)
        });
        Ok(Self {
            epoch,
            recent: self.recent.after_routes(epoch, spans),
            routers,
            ..self.clone()
        })
    }

    /// All routers.
    #[must_use]
    pub fn routers(&self) -> &[Arc<Router>] {
        &self.routers
    }

    /// A router by its number.
    ///
    /// # Errors
    /// [`Refusal::NoRouter`].
    pub fn router(&self, id: RouterId) -> Result<&Arc<Router>, Refusal> {
        let mut routers = self.routers.iter();
        routers
            .find(|router| router.spec.id == id)
            .ok_or(Refusal::NoRouter(id))
    }

    /// The router of a router's port.
    #[must_use]
    pub fn router_of(&self, port: &Port) -> Option<&Arc<Router>> {
        self.routers.get(port.router.as_ref()?.at)
    }

    /// What the last changes touched.
    #[inline]
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Keys all hashes.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn stops(&self) -> &Stops {
        &self.stops
    }

    /// All bridges.
    #[must_use]
    pub fn bridges(&self) -> &[Arc<Bridge>] {
        &self.bridges
    }

    /// A bridge by its number.
    #[must_use]
    pub fn bridge(&self, id: BridgeId) -> Option<&Arc<Bridge>> {
        self.bridges.iter().find(|bridge| bridge.id == id)
    }

    /// A port by its number.
    #[inline]
    #[must_use]
    pub fn port(&self, index: PortIndex) -> Option<&Arc<Port>> {
        self.ports.get(index.0 as usize)?.as_ref()
    }

    /// All ports.
    pub fn ports(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.ports.iter().flatten()
    }
}

fn check(desired: &Desired) -> Result<(), Refusal> {
    let mut bridges = HashMap::new();
    for bridge in &desired.bridges {
        if bridges.insert(bridge.id, bridge).is_some() {
            return Err(Refusal::BridgeTwice(bridge.id));
        }
        if bridge.mirrors.len() > Mirrors::MAX {
            return Err(Refusal::TooManyMirrors {
                bridge: bridge.name.clone(),
                len: bridge.mirrors.len(),
            });
        }
    }
    let mut routers = HashSet::new();
    for router in &desired.routers {
        if !routers.insert(router.id) {
            return Err(Refusal::RouterTwice(router.id));
        }
    }
    let mut ids = HashSet::new();
    let mut numbers = HashSet::new();
    for port in &desired.ports {
        if port.id > PortId::MAX {
            return Err(Refusal::PortTooLarge(port.id));
        }
        if !ids.insert(port.id) {
            return Err(Refusal::PortTwice(port.id));
        }
        if let PortKind::Router(own) = &port.kind
            && !routers.contains(&own.router)
        {
            return Err(Refusal::NoRouter(own.router));
        }
        if port.bridge == BridgeId::NONE {
            // Not for translation, which never sees what comes by it.
            continue;
        }
        let bridge = bridges
            .get(&port.bridge)
            .ok_or(Refusal::NoBridge(port.bridge))?;
        if !numbers.insert((port.bridge, port.of_port)) {
            return Err(Refusal::OfPortTwice {
                bridge: bridge.name.clone(),
                of_port: port.of_port.0,
            });
        }
    }
    Ok(())
}

fn ports(desired: &Desired, previous: Option<&Tables>) -> Vec<Option<Port>> {
    let len = desired
        .ports
        .iter()
        .map(|port| port.id.0 as usize + 1)
        .max();
    let mut ports: Vec<Option<Port>> = vec![None; len.unwrap_or(0)];
    for spec in &desired.ports {
        let bridge_at = desired.bridges.iter().position(|b| b.id == spec.bridge);
        let slot = ports.get_mut(spec.id.0 as usize);
        if let (Some(slot), Some(bridge_at)) = (slot, bridge_at) {
            let mut port = port(spec, bridge_at);
            if let PortKind::Router(own) = &spec.kind {
                let at = desired.routers.iter().position(|r| r.id == own.router);
                port.router = at.map(|at| RouterPort::new(own, at));
            }
            if !matches!(port.link, Link::Device) {
                let old = previous.and_then(|tables| tables.port(port.index));
                let old = old.and_then(|old| old.crossings.clone());
                port.crossings = Some(old.unwrap_or_default());
            }
            *slot = Some(port);
        }
    }
    ports
}

/// All routers, with the ports that belong to them.
fn routers(
    desired: &Desired,
    ports: &[Option<Port>],
    previous: Option<&Tables>,
    seed: u64,
) -> Vec<Arc<Router>> {
    let of = |(at, spec): (usize, &vswitch_dpapi::RouterSpec)| {
        let old = previous.and_then(|tables| tables.router(spec.id).ok());
        let mut router = Router::new(spec, old.map(|old| &**old), seed);
        for port in ports.iter().flatten() {
            if let Some(own) = port.router.as_ref().filter(|own| own.at == at) {
                router.join(port.index, own);
            }
        }
        Arc::new(router)
    };
    desired.routers.iter().enumerate().map(of).collect()
}

/// The routers' ports of a bridge by their addresses.
fn stations(layout: &Layout, ports: &[Option<Port>]) -> HashMap<MacKey, PortIndex> {
    let all = layout.ports.iter();
    let all = all.filter_map(|index| ports.get(index.0 as usize)?.as_ref());
    let station = |port: &Port| {
        let mac = MacAddr(port.router.as_ref()?.spec.mac).bits();
        Some((MacKey::new(port.vlan.vlan_of(0)?, mac), port.index))
    };
    all.filter_map(station).collect()
}

fn port(spec: &PortSpec, bridge_at: usize) -> Port {
    Port {
        index: PortIndex(spec.id.0),
        bridge: spec.bridge,
        name: spec.name.clone(),
        of_port: spec.of_port,
        link: match spec.kind {
            PortKind::Patch { peer } => Link::Patch(peer.map(|peer| PortIndex(peer.0))),
            PortKind::Tunnel(_) => Link::Tunnel,
            PortKind::Router(_) => Link::Router,
            _ => Link::Device,
        },
        tunnel: match &spec.kind {
            PortKind::Tunnel(tunnel) => Some(Arc::new((**tunnel).clone())),
            _ => None,
        },
        internal: spec.kind == PortKind::Internal,
        mtu: spec.mtu,
        up: spec.up,
        config: spec.config,
        bridge_at,
        router: None,
        crossings: None,
        vlan: Membership::new(&spec.vlan),
        mirror_src: 0,
        mirror_dst: 0,
        mirror_output: false,
    }
}

/// Notes at the ports which mirrors they concern.
fn mirror_ports(spec: &BridgeSpec, layout: &Layout, ports: &mut [Option<Port>]) {
    for (at, mirror) in spec.mirrors.iter().enumerate() {
        if layout.mirrors.get(at).is_none() {
            continue;
        }
        for index in &layout.ports {
            let Some(Some(port)) = ports.get_mut(index.0 as usize) else {
                continue;
            };
            let id = PortId(index.0);
            if mirror.output_port == Some(id) {
                port.mirror_output = true;
                continue;
            }
            if mirror.select_all || mirror.select_src.contains(&id) {
                port.mirror_src |= 1 << at;
            }
            if mirror.select_all || mirror.select_dst.contains(&id) {
                port.mirror_dst |= 1 << at;
            }
        }
    }
}

fn bridge(spec: &BridgeSpec, layout: Layout, previous: Option<&Tables>, seed: u64) -> Bridge {
    let old = previous.and_then(|tables| tables.bridge(spec.id));
    let limit = spec.mac_table_size as usize;
    let fdb = match old {
        Some(old) => {
            old.fdb.set_ageing(spec.mac_aging_time);
            old.fdb.set_limit(limit);
            Arc::clone(&old.fdb)
        }
        None => Arc::new(Fdb::new(
            seed ^ u64::from(spec.id.0),
            spec.mac_aging_time,
            limit,
        )),
    };
    Bridge {
        id: spec.id,
        name: spec.name.as_str().into(),
        fdb,
        layout: Arc::new(layout),
        punts: old.map(|old| Arc::clone(&old.punts)).unwrap_or_default(),
        lookups: old.map(|old| Arc::clone(&old.lookups)).unwrap_or_default(),
        tables: old.map(|old| old.tables.clone()).unwrap_or_default(),
        groups: old.map(|old| Arc::clone(&old.groups)).unwrap_or_default(),
        meters: old.map(|old| Arc::clone(&old.meters)).unwrap_or_default(),
        learners: old.map(|old| Arc::clone(&old.learners)).unwrap_or_default(),
        limited: old.map(|old| Arc::clone(&old.limited)).unwrap_or_default(),
    }
}
