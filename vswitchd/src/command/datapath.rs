//! The packet process from inside: caches, workers, drops.

use vswitch_dpapi::message::{MegaflowRow, Origin, Reply, Request, WorkerStats};
use vswitch_flow::text::{DatapathFlow, ParseError, parse_match};
use vswitch_flow::{Field, Match, OfPort};
use vswitch_rpc::datapath::{
    CachedFlow, CachedRule, Datapath, DpctlDumpFlows, DropRow, Drops, Latency, Port, Queue, Stage,
    WorkerQueues, WorkerStats as WorkerRow,
};
use vswitch_rpc::{Code, Refusal};

use super::appctl::{DATAPATH, named_actions};
use crate::control::Control;
use crate::dataplane::unexpected;

/// The datapath's reason for packets that came when their port had used up its share of misses.
const MISS_BUDGET: &str = "miss_budget";

impl Control {
    async fn megaflows(&mut self, rules: bool) -> Result<Vec<MegaflowRow>, Refusal> {
        match self.dataplane.ask(&Request::Megaflows { rules }).await? {
            Reply::Megaflows(rows) => Ok(rows),
            other => Err(unexpected(&other).into()),
        }
    }

    pub(super) async fn dpctl_show(&mut self) -> Result<Datapath, Refusal> {
        let workers = self.workers().await?;
        let stats = self.port_stats().await?;
        let drops = self.drop_rows().await?;
        let sum = |of: fn(&WorkerStats) -> u64| workers.iter().map(of).sum();
        let mut ports: Vec<Port> = self
            .belief
            .switch
            .ports()
            .map(|(bridge, port)| {
                let stats = stats.iter().find(|stats| stats.port.0 == port.id);
                let counters = stats
                    .map(|stats| stats.counters.clone())
                    .unwrap_or_default();
                Port {
                    number: port.id,
                    of_port: port.of_port,
                    name: port.name.clone(),
                    bridge: bridge.name.clone(),
                    kind: port.kind.name().into(),
                    rx_packets: counters.rx_packets,
                    rx_bytes: counters.rx_bytes,
                    rx_dropped: counters.rx_dropped,
                    rx_errors: counters.rx_errors,
                    tx_packets: counters.tx_packets,
                    tx_bytes: counters.tx_bytes,
                    tx_dropped: counters.tx_dropped,
                    tx_errors: counters.tx_errors,
                }
            })
            .collect();
        ports.sort_by_key(|port| port.number);
        Ok(Datapath {
            name: DATAPATH.into(),
            hit: sum(|worker| worker.emc_hits + worker.megaflow_hits),
            missed: sum(|worker| worker.misses),
            lost: drops
                .iter()
                .filter(|row| row.reason == MISS_BUDGET)
                .map(|row| row.packets)
                .sum(),
            flows: sum(|worker| worker.megaflow_len),
            masks: sum(|worker| worker.masks),
            ports,
        })
    }

    /// Reads a match on cached flows, in which ports have the packet process's numbers.
    pub(super) fn cached_filter(&self, text: &str) -> Result<Match, ParseError> {
        let number = |name: &str| {
            let (_, port) = self.belief.switch.port_anywhere(name)?;
            Some(OfPort(port.id))
        };
        parse_match(text, &number)
    }

    /// A flow that a cached decision came from, with the names of its bridge.
    fn cached_rule(&self, origin: &Origin) -> CachedRule {
        let bridge = origin.bridge.and_then(|id| self.bridge_by_id(id.0));
        CachedRule {
            bridge: bridge.map(|bridge| bridge.name.clone()),
            flow: origin.flow.to_string(),
        }
    }

    pub(super) async fn dpctl_dump_flows(
        &mut self,
        call: DpctlDumpFlows,
    ) -> Result<Vec<CachedFlow>, Refusal> {
        let filter = match &call.filter {
            Some(text) => self.cached_filter(text).map_err(|error| {
                let text = format!("the filter cannot be read: {error}");
                Refusal::new(Code::Refused, text)
            })?,
            None => Match::any(),
        };
        let workers = self.workers().await?;
        let core = |id: u32| workers.iter().find(|worker| worker.worker == id)?.core;
        let mut rows = self.megaflows(call.rules).await?;
        rows.retain(|row| {
            let of_core = call.core.is_none() || call.core == core(row.worker);
            of_core && filter.overlaps(&row.matches)
        });
        let name = |id: u32| {
            let (_, port) = self.belief.switch.port_by_id(id)?;
            Some(port.name.clone())
        };
        Ok(rows
            .into_iter()
            .map(|mut row| {
                let flow = DatapathFlow {
                    key: &row.matches.key(),
                    mask: &row.matches.mask(),
                };
                let mut flow = flow.to_string();
                if call.names {
                    let number = row.matches.key().field(Field::InPort);
                    if let Some(name) = u32::try_from(number).ok().and_then(name) {
                        let numbered = format!("in_port({number})");
                        flow = flow.replacen(&numbered, &format!("in_port({name})"), 1);
                    }
                    row.actions = named_actions(&row.actions, &name);
                }
                (flow, row)
            })
            .map(|(flow, row)| CachedFlow {
                flow,
                rules: row
                    .rules
                    .iter()
                    .map(|rule| self.cached_rule(rule))
                    .collect(),
                packets: row.packets,
                bytes: row.bytes,
                used_s: row.idle_ms.map(|ms| ms as f64 / 1000.0),
                actions: row.actions,
                worker: row.worker,
                core: core(row.worker),
            })
            .collect())
    }

    pub(super) async fn pmd_stats(&mut self) -> Result<Vec<WorkerRow>, Refusal> {
        let workers = self.workers().await?;
        Ok(workers.into_iter().map(worker_row).collect())
    }

    pub(super) async fn pmd_rxq(&mut self) -> Result<Vec<WorkerQueues>, Refusal> {
        let workers = self.workers().await?;
        let uptime = match self.dataplane.ask(&Request::State).await? {
            Reply::State(state) => state.uptime,
            other => return Err(unexpected(&other).into()),
        };
        Ok(workers
            .into_iter()
            .map(|worker| {
                let busy = busy_percent(&worker, uptime);
                let mut queues: Vec<Queue> = worker
                    .queues
                    .iter()
                    .map(|(port, queue, per_mille)| Queue {
                        port: self.port_name(port.0),
                        queue: *queue,
                        usage_percent: Some(busy * f64::from(*per_mille) / 1000.0),
                    })
                    .collect();
                queues.sort_by(|a, b| (&a.port, a.queue).cmp(&(&b.port, b.queue)));
                WorkerQueues {
                    worker: worker.worker,
                    core: worker.core,
                    numa: worker.core.and_then(memory_node),
                    busy_percent: busy,
                    queues,
                }
            })
            .collect())
    }

    pub(super) async fn drop_rows(&mut self) -> Result<Vec<DropRow>, Refusal> {
        match self.dataplane.ask(&Request::Drops).await? {
            Reply::Drops(rows) => Ok(rows
                .into_iter()
                .map(|row| DropRow {
                    reason: row.reason,
                    sentence: row.sentence,
                    packets: row.packets,
                })
                .collect()),
            other => Err(unexpected(&other).into()),
        }
    }

    pub(super) async fn drops(&mut self, call: Drops) -> Result<Vec<DropRow>, Refusal> {
        let mut rows = self.drop_rows().await?;
        rows.retain(|row| call.all || row.packets > 0);
        Ok(rows)
    }
}

/// The share of a worker's time in which it moved packets. Where it cannot be told how much of the
/// time it slept, that of the time in which it did not.
fn busy_percent(worker: &WorkerStats, uptime: u64) -> f64 {
    let awake = worker.busy_cycles.saturating_add(worker.idle_cycles) as f64;
    let all = awake.max(worker.cycles_per_second * uptime as f64);
    100.0 * worker.busy_cycles as f64 / all.max(1.0)
}

/// The memory node of a core, where the kernel tells (`/sys/devices/system/cpu/cpuN/nodeM`).
fn memory_node(core: u32) -> Option<u32> {
    let entries = std::fs::read_dir(format!("/sys/devices/system/cpu/cpu{core}")).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut nodes = names.filter_map(|name| name.strip_prefix("node")?.parse().ok());
    nodes.next()
}

fn worker_row(worker: WorkerStats) -> WorkerRow {
    let rx = worker.stages.iter().find(|stage| stage.name == "rx");
    let (packets, batches) = rx.map_or((0, 0), |stage| (stage.packets, stage.batches));
    let [p50_us, p90_us, p99_us, p999_us, max_us] = worker.latency_us;
    WorkerRow {
        worker: worker.worker,
        core: worker.core,
        numa: worker.core.and_then(memory_node),
        packets,
        batches,
        avg_batch: if batches == 0 {
            0.0
        } else {
            packets as f64 / batches as f64
        },
        emc_hits: worker.emc_hits,
        megaflow_hits: worker.megaflow_hits,
        masks_tried: worker.masks_tried,
        misses: worker.misses,
        stale: worker.stale,
        emc_len: worker.emc_len,
        megaflow_len: worker.megaflow_len,
        megaflow_limit: worker.megaflow_limit,
        masks: worker.masks,
        busy_rounds: worker.busy_rounds,
        idle_rounds: worker.idle_rounds,
        sleeps: worker.sleeps,
        cycles_per_second: worker.cycles_per_second,
        idle_cycles: worker.idle_cycles,
        busy_cycles: worker.busy_cycles,
        stages: worker
            .stages
            .into_iter()
            .map(|stage| Stage {
                name: stage.name,
                cycles: stage.cycles,
                packets: stage.packets,
                batches: stage.batches,
            })
            .collect(),
        latency: (max_us > 0.0).then_some(Latency {
            p50_us,
            p90_us,
            p99_us,
            p999_us,
            max_us,
        }),
    }
}
