//! The whole of what decides, as an immutable value.
//!
//! Law: a [`Tables`] never changes after it was published. A change makes a new one with a new
//! epoch; what did not change is shared: forwarding databases always, flow tables unless their
//! flows changed, a bridge's ports unless ports changed. Cached answers carry the epoch they came
//! from.
//!
//! Threads: made by control, read by all workers. Cost: a change of ports or bridges is
//! proportional to the number of ports, a change of flows to the subtables it touches.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use vswitch_dpapi::{BridgeId, BridgeSpec, Change, Desired, PortId, PortKind, PortSpec};
use vswitch_flow::{FlowCommand, FlowRule, OfPort};

use super::classifier::Table;
use super::mirror::{MirrorSet, Mirrors};
use super::rule::Rule;
use super::vlan::Membership;
use crate::fdb::Fdb;
use crate::port::PortIndex;
use crate::tick::Tick;

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
    /// Largest layer-3 packet it takes, bytes.
    pub mtu: u32,
    /// Whether its device's link is up.
    pub up: bool,
    /// Where its bridge stands in [`Tables::bridges`].
    pub(super) bridge_at: usize,
    pub(super) vlan: Membership,
    /// Mirrors that select what comes in and what goes out.
    pub(super) mirror_src: MirrorSet,
    pub(super) mirror_dst: MirrorSet,
    /// It is where a mirror's copies go, and does nothing else.
    pub(super) mirror_output: bool,
}

/// What a change of flows does not touch.
#[derive(Debug, Default)]
struct Layout {
    /// Ascending OpenFlow numbers.
    ports: Vec<PortIndex>,
    by_number: HashMap<OfPort, PortIndex>,
    mirrors: Mirrors,
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
    tables: BTreeMap<u8, Arc<Table>>,
}

/// All bridges, ports and flows at one moment.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Grows with every change.
    pub epoch: u64,
    seed: u64,
    bridges: Vec<Arc<Bridge>>,
    /// Indexed by port number.
    ports: Arc<Vec<Option<Arc<Port>>>>,
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

    /// A flow table; `None` when it has never had a flow.
    #[must_use]
    pub fn table(&self, number: u8) -> Option<&Table> {
        self.tables.get(&number).map(|table| &**table)
    }

    /// All flows with their table's number, tables in order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.tables.values().flat_map(|table| table.iter())
    }

    pub(super) fn mirrors(&self) -> &Mirrors {
        &self.layout.mirrors
    }

    fn find(&self, flow: &FlowRule) -> Option<&Arc<Rule>> {
        self.tables
            .get(&flow.table)?
            .find(&flow.matches, flow.priority)
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
        let mut ports = ports(desired);
        let mut bridges = Vec::with_capacity(desired.bridges.len());
        for spec in &desired.bridges {
            let mut layout = Layout {
                mirrors: Mirrors::new(&spec.mirrors),
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
            mirror_ports(spec, &layout, &mut ports);
            bridges.push(Arc::new(bridge(spec, layout, previous, seed)));
        }
        let tables = Self {
            epoch,
            seed,
            bridges,
            ports: Arc::new(ports.into_iter().map(|port| port.map(Arc::new)).collect()),
        };
        if let Some(previous) = previous {
            tables.forget_since(previous);
        }
        Ok(tables)
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

    /// The same with exactly these flows on a bridge. Flows that stay keep their counters, and
    /// their age too unless their actions or cookie changed.
    ///
    /// # Errors
    /// [`Refusal::NoBridge`].
    pub fn set_flows(
        &self,
        bridge: BridgeId,
        flows: Vec<FlowRule>,
        epoch: u64,
        now: Tick,
    ) -> Result<Self, Refusal> {
        self.change(bridge, epoch, |bridge| {
            let mut tables = BTreeMap::new();
            for flow in flows {
                let rule = match bridge.find(&flow) {
                    Some(old) if *old.flow() == flow => Arc::clone(old),
                    old => Arc::new(Rule::new(flow, now, old.map(|old| &**old))),
                };
                tables
                    .entry(rule.flow().table)
                    .or_insert_with(|| Table::new(self.seed))
                    .insert(rule);
            }
            bridge.tables = tables
                .into_iter()
                .map(|(number, table)| (number, Arc::new(table)))
                .collect();
        })
    }

    /// The same with changes to the flows of a bridge, made in order.
    ///
    /// # Errors
    /// [`Refusal::NoBridge`].
    pub fn mod_flows(
        &self,
        bridge: BridgeId,
        changes: Vec<Change>,
        epoch: u64,
        now: Tick,
    ) -> Result<Self, Refusal> {
        self.change(bridge, epoch, |bridge| {
            for change in changes {
                let Change::Flow(change) = change else {
                    continue;
                };
                match change.command {
                    FlowCommand::Add => {
                        let flow = change.rule;
                        let old = bridge.find(&flow).cloned();
                        let rule = Rule::new(flow, now, old.as_deref());
                        let table = bridge
                            .tables
                            .entry(rule.flow().table)
                            .or_insert_with(|| Arc::new(Table::new(self.seed)));
                        Arc::make_mut(table).insert(Arc::new(rule));
                    }
                    _ => {
                        for flows in bridge.tables.values_mut() {
                            Arc::make_mut(flows).remove_if(|rule| change.concerns(rule.flow()));
                        }
                    }
                }
            }
        })
    }

    fn change(
        &self,
        id: BridgeId,
        epoch: u64,
        change: impl FnOnce(&mut Bridge),
    ) -> Result<Self, Refusal> {
        let mut tables = self.clone();
        tables.epoch = epoch;
        let bridge = tables
            .bridges
            .iter_mut()
            .find(|bridge| bridge.id == id)
            .ok_or(Refusal::NoBridge(id))?;
        change(Arc::make_mut(bridge));
        Ok(tables)
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
    let mut ids = HashSet::new();
    let mut numbers = HashSet::new();
    for port in &desired.ports {
        if port.id > PortId::MAX {
            return Err(Refusal::PortTooLarge(port.id));
        }
        if !ids.insert(port.id) {
            return Err(Refusal::PortTwice(port.id));
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

fn ports(desired: &Desired) -> Vec<Option<Port>> {
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
            *slot = Some(port(spec, bridge_at));
        }
    }
    ports
}

fn port(spec: &PortSpec, bridge_at: usize) -> Port {
    Port {
        index: PortIndex(spec.id.0),
        bridge: spec.bridge,
        name: spec.name.clone(),
        of_port: spec.of_port,
        link: match spec.kind {
            PortKind::Patch { peer } => Link::Patch(peer.map(|peer| PortIndex(peer.0))),
            _ => Link::Device,
        },
        mtu: spec.mtu,
        up: spec.up,
        bridge_at,
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
        tables: old.map(|old| old.tables.clone()).unwrap_or_default(),
    }
}
