//! What control tells of the datapath: flows, groups, meters, addresses, ports, workers, drops.

use std::collections::HashMap;
use std::sync::Arc;

use vswitch_dpapi::message::{
    DropRow, FdbRow, FdbStats, FlowStats, GroupStats, MegaflowRow, MeterStats, Origin,
    PortCounters, PortStats, Reply, StageStats, TableStats, WorkerStats,
};
use vswitch_dpapi::{BridgeId, Endpoint, PortId, PortKind, TunnelSpec};
use vswitch_flow::rule::TABLE_MAX;
use vswitch_flow::{Field, FlowSelect, OfPort};

use super::{Control, Refusal, Session};
use crate::counters::DropReason;
use crate::pipeline::{self, Bridge, Rule, named_groups};
use crate::port::PortIndex;
use crate::tunnel::underlay::{NoHop, Way};
use crate::worker::{Command, Snapshot, Stage};

impl Control {
    /// Notes which flows a connection asks for.
    pub(super) fn choose_flows(
        &self,
        session: &mut Session,
        bridge: BridgeId,
        select: &FlowSelect,
    ) -> Result<(), Refusal> {
        let rules = self.bridge(bridge)?.rules();
        let chosen = rules.filter(|rule| select.selects(rule.flow()));
        session.flows = chosen.cloned().collect();
        session.flows.reverse();
        Ok(())
    }

    /// The next flows that a connection asked for, with counters as they are now.
    pub(super) fn more_flows(&self, session: &mut Session, max: u32) -> Result<Reply, Refusal> {
        self.ask_all(Command::CreditRules)?;
        let now = self.now();
        let left = session.flows.len().saturating_sub(max as usize);
        let rows = session.flows.drain(left..).rev().map(|rule| {
            let stats = rule.stats();
            FlowStats {
                flow: rule.to_flow(),
                packets: stats.packets(),
                bytes: stats.bytes(),
                age_ms: now.since(rule.created()),
                idle_ms: stats.used().map(|used| now.since(used)),
            }
        });
        let rows = rows.collect();
        if left == 0 {
            session.flows = Vec::new();
        }
        Ok(Reply::Flows {
            rows,
            more: left > 0,
        })
    }

    pub(super) fn aggregate(
        &self,
        bridge: BridgeId,
        select: &FlowSelect,
    ) -> Result<Reply, Refusal> {
        self.ask_all(Command::CreditRules)?;
        let (mut packets, mut bytes, mut flows) = (0, 0, 0);
        for rule in self.bridge(bridge)?.rules() {
            if select.selects(rule.flow()) {
                packets += rule.stats().packets();
                bytes += rule.stats().bytes();
                flows += 1;
            }
        }
        Ok(Reply::Aggregate {
            packets,
            bytes,
            flows,
        })
    }

    pub(super) fn table_stats(&self, bridge: BridgeId) -> Result<Reply, Refusal> {
        self.ask_all(Command::CreditRules)?;
        let bridge = self.bridge(bridge)?;
        let rows = (0..=TABLE_MAX).filter_map(|table| {
            let flows = bridge.table(table);
            let (lookups, matched) = bridge.lookups().of(table);
            (flows.is_some() || lookups > 0).then(|| TableStats {
                table,
                active: flows.map_or(0, |flows| flows.len() as u32),
                lookups,
                matched,
            })
        });
        Ok(Reply::Tables(rows.collect()))
    }

    pub(super) fn groups(&self, bridge: BridgeId, id: Option<u32>) -> Result<Reply, Refusal> {
        self.ask_all(Command::CreditRules)?;
        let now = self.now();
        let all = self.bridge(bridge)?.groups();
        // Groups that name a group, once each.
        let mut named = HashMap::<u32, u32>::new();
        for entry in &all {
            for id in named_groups(entry.group()) {
                *named.entry(id).or_default() += 1;
            }
        }
        let wanted = all
            .iter()
            .filter(|entry| id.is_none_or(|id| id == entry.group().id));
        let rows = wanted.map(|entry| {
            let (packets, bytes) = entry.traffic();
            let id = entry.group().id;
            GroupStats {
                group: entry.group().clone(),
                references: entry.flows() + named.get(&id).copied().unwrap_or_default(),
                packets,
                bytes,
                age_ms: now.since(entry.created()),
                buckets: entry.bucket_traffic(),
            }
        });
        Ok(Reply::Groups(rows.collect()))
    }

    pub(super) fn meters(&self, bridge: BridgeId, id: Option<u32>) -> Result<Reply, Refusal> {
        let now = self.now();
        let all = self.bridge(bridge)?.meters();
        let wanted = all
            .iter()
            .filter(|entry| id.is_none_or(|id| id == entry.meter().id));
        let rows = wanted.map(|entry| {
            let (packets, bytes) = entry.traffic();
            MeterStats {
                meter: entry.meter().clone(),
                flows: entry.flows(),
                packets,
                bytes,
                age_ms: now.since(entry.created()),
                bands: entry.band_traffic(),
            }
        });
        Ok(Reply::Meters(rows.collect()))
    }

    pub(super) fn fdb(&self, bridge: BridgeId) -> Result<Reply, Refusal> {
        let bridge = self.bridge(bridge)?;
        let rows = bridge.fdb.rows(self.now()).into_iter().map(|row| {
            let port = PortId(row.port.0);
            let spec = self.desired.ports.iter().find(|spec| spec.id == port);
            FdbRow {
                port,
                of_port: spec.map_or(OfPort::ANY, |spec| spec.of_port),
                vlan: row.key.vlan(),
                mac: row.key.mac(),
                age: row.age,
            }
        });
        Ok(Reply::Fdb(rows.collect()))
    }

    pub(super) fn fdb_stats(&self, bridge: BridgeId) -> Result<Reply, Refusal> {
        let bridge = self.bridge(bridge)?;
        let stats = bridge.fdb.stats();
        Ok(Reply::FdbStats(FdbStats {
            len: bridge.fdb.len() as u64,
            learned: stats.learned,
            expired: stats.expired,
            evicted: stats.evicted,
            moved: stats.moved,
        }))
    }

    pub(super) fn megaflows(&self, rules: bool) -> Result<Reply, Refusal> {
        let now = self.now();
        let mut rows = Vec::new();
        for (worker, megaflows) in self.workers.iter().zip(self.ask_all(Command::Megaflows)?) {
            rows.extend(megaflows.into_iter().map(|megaflow| {
                MegaflowRow {
                    worker: worker.id,
                    actions: pipeline::actions_text(
                        &megaflow.actions,
                        megaflow.matches.field(Field::EthType).0 as u16,
                        |port| port.0.to_string(),
                    ),
                    matches: Box::new(megaflow.matches),
                    rules: match rules {
                        true => megaflow
                            .rules
                            .iter()
                            .map(|rule| self.origin(rule))
                            .collect(),
                        false => Vec::new(),
                    },
                    packets: megaflow.packets,
                    bytes: megaflow.bytes,
                    idle_ms: (megaflow.packets > 1).then(|| now.since(megaflow.used)),
                }
            }));
        }
        Ok(Reply::Megaflows(rows))
    }

    /// A flow that a cached decision came from, and where it is.
    fn origin(&self, rule: &Arc<Rule>) -> Origin {
        let flow = rule.flow();
        let holds = |bridge: &&Arc<Bridge>| {
            let found = bridge.rule(flow.table, &flow.matches, flow.priority);
            found.is_some_and(|found| Arc::ptr_eq(found, rule))
        };
        let mut bridges = self.ledger.tables().bridges().iter();
        Origin {
            bridge: bridges.find(holds).map(|bridge| bridge.id),
            flow: Box::new(flow.clone()),
        }
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>, Refusal> {
        self.ask_all(Command::Snapshot)
    }

    pub(super) fn ports(&self) -> Result<Reply, Refusal> {
        let snapshots = self.snapshots()?;
        self.ask_all(Command::CreditRules)?;
        let rows = self.desired.ports.iter().map(|spec| {
            let held = self.held.get(&spec.id);
            let mut sum = PortCounters::default();
            let queues = snapshots.iter().flat_map(|s| &s.queues);
            for (_, counters, _) in queues.filter(|(id, _, _)| id.port.0 == spec.id.0) {
                sum.rx_packets += counters.rx_packets;
                sum.rx_bytes += counters.rx_bytes;
                sum.rx_dropped += counters.rx_dropped;
                sum.rx_errors += counters.rx_errors;
                sum.tx_packets += counters.tx_packets;
                sum.tx_bytes += counters.tx_bytes;
                sum.tx_dropped += counters.tx_no_room + counters.tx_down;
                sum.tx_errors += counters.tx_errors;
            }
            let port = self.ledger.tables().port(PortIndex(spec.id.0));
            if let Some(crossings) = port.and_then(|port| port.crossings.as_ref()) {
                (sum.rx_packets, sum.rx_bytes) = crossings.rx.sums();
                (sum.tx_packets, sum.tx_bytes) = crossings.tx.sums();
            }
            PortStats {
                port: spec.id,
                attached: held.is_some(),
                workers: held.map(|held| held.workers.clone()).unwrap_or_default(),
                detail: match &spec.kind {
                    PortKind::Tunnel(tunnel) => self.way_of(tunnel),
                    _ => held.map(|held| held.detail.clone()).unwrap_or_default(),
                },
                counters: sum,
            }
        });
        Ok(Reply::Ports(rows.collect()))
    }

    /// How packets of a tunnel get onto the network, and why they do not.
    fn way_of(&self, tunnel: &TunnelSpec) -> String {
        let tables = self.ledger.tables();
        let Endpoint::Address(remote) = tunnel.remote else {
            return "as flows say".to_owned();
        };
        let local = match tunnel.local {
            Some(Endpoint::Address(local)) => Some(local),
            _ => None,
        };
        let underlay = tables.underlay();
        let hop = match underlay.next_hop(remote, local, tunnel.way) {
            Ok(hop) => hop,
            Err(NoHop::Own) => return format!("none: {remote} is this host"),
            Err(NoHop::NoRoute) => return format!("none: no route leads to {remote}"),
            Err(NoHop::NoSource) => {
                return format!("none: this host has no address from which to reach {remote}");
            }
            Err(NoHop::NoWay) => {
                return format!(
                    "none: the route to {remote} leads by a device that is no port of the switch"
                );
            }
        };
        let device = underlay.device(hop.device).map_or("?", |d| d.name.as_str());
        let by = match hop.way {
            Way::Bridge(port) | Way::Uplink(port) | Way::Socket(port) => tables.port(port),
        };
        let bridge = by.and_then(|port| tables.bridge(port.bridge));
        let way = match (hop.way, bridge) {
            (Way::Bridge(_), Some(bridge)) => format!("bridge {}", bridge.name),
            (Way::Bridge(_), None) => "bridge".to_owned(),
            (Way::Uplink(_), _) => format!("uplink {device}"),
            (Way::Socket(_), _) => "socket".to_owned(),
        };
        let next = match hop.mac {
            _ if matches!(hop.way, Way::Socket(_)) => "next hop as the host finds it".to_owned(),
            Some(mac) => format!("next hop {} at {mac}", hop.neighbour),
            None => format!("next hop {} does not answer yet", hop.neighbour),
        };
        format!(
            "{way}: the route leads by {device}, from {}, {next}",
            hop.source
        )
    }

    pub(super) fn worker_stats(&self) -> Result<Reply, Refusal> {
        let snapshots = self.snapshots()?;
        let workers = self.workers.iter().zip(snapshots);
        let rows = workers.map(|(worker, snapshot)| report(worker.id, &snapshot));
        Ok(Reply::Workers(rows.collect()))
    }

    pub(super) fn drops(&self) -> Result<Reply, Refusal> {
        let mut sum = self.drops;
        let mut no_room = 0;
        let mut device_down = 0;
        let mut refused = 0;
        for snapshot in self.snapshots()? {
            sum.add(&snapshot.stats.drops);
            for (_, counters, _) in &snapshot.queues {
                no_room += counters.tx_no_room;
                device_down += counters.tx_down;
                refused += counters.tx_errors;
            }
        }
        let row = |reason: &str, sentence: &str, packets| DropRow {
            reason: reason.to_owned(),
            sentence: sentence.to_owned(),
            packets,
        };
        let mut rows: Vec<_> = sum
            .iter()
            .map(|(reason, packets)| row(reason.name(), DropReason::sentence(reason), packets))
            .collect();
        // Ports count for themselves what their devices did not take.
        rows.push(row(
            "tx_no_room",
            "The device or its ring had no room for the packet.",
            no_room,
        ));
        rows.push(row(
            "tx_down",
            "The device was down or gone when the packet was sent.",
            device_down,
        ));
        rows.push(row("tx_errors", "The kernel refused the packet.", refused));
        Ok(Reply::Drops(rows))
    }
}

fn report(worker: u32, snapshot: &Snapshot) -> WorkerStats {
    let stats = &snapshot.stats;
    let microseconds = |cycles: u64| cycles as f64 * 1e6 / snapshot.cycles_per_second.max(1.0);
    let at = |quantile| microseconds(stats.residence.value_at_quantile(quantile));
    // Queues are also looked at in rounds that find nothing.
    let queued: u64 = snapshot.queues.iter().map(|(_, _, cycles)| cycles).sum();
    let busy = stats.busy_cycles.max(queued);
    WorkerStats {
        worker,
        core: snapshot.core.map(|core| core as u32),
        busy_rounds: stats.busy_rounds,
        idle_rounds: stats.idle_rounds,
        sleeps: stats.sleeps,
        busy_cycles: stats.busy_cycles,
        idle_cycles: stats.idle_cycles,
        emc_hits: snapshot.cache.exact,
        megaflow_hits: snapshot.cache.masked,
        masks_tried: snapshot.cache.masks_tried,
        misses: snapshot.cache.miss,
        stale: snapshot.cache.stale,
        emc_len: snapshot.cache_len.exact as u64,
        megaflow_len: snapshot.cache_len.entries as u64,
        masks: snapshot.cache_len.masks as u64,
        megaflow_limit: crate::cache::ENTRIES_MAX as u64,
        cycles_per_second: snapshot.cycles_per_second,
        stages: Stage::ALL
            .into_iter()
            .map(|stage| {
                let counters = stats.stages[stage as usize];
                StageStats {
                    name: stage.name().to_owned(),
                    cycles: counters.cycles,
                    packets: counters.packets,
                    batches: counters.batches,
                }
            })
            .collect(),
        latency_us: [
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            microseconds(stats.residence.max()),
        ],
        queues: snapshot
            .queues
            .iter()
            .map(|(id, _, cycles)| {
                let share = cycles.saturating_mul(1000) / busy.max(1);
                (PortId(id.port.0), id.queue, share as u32)
            })
            .collect(),
    }
}
