//! The packet process from inside: caches, workers, drops.

use vswitch_dpapi::message::{MegaflowRow, Reply, Request, WorkerStats};
use vswitch_flow::text::DatapathFlow;
use vswitch_rpc::Refusal;
use vswitch_rpc::datapath::{
    CachedFlow, Datapath, DropRow, Drops, Latency, Port, Queue, Stage, WorkerQueues,
    WorkerStats as WorkerRow,
};

use crate::control::Control;
use crate::dataplane::unexpected;

/// The datapath's reason for packets that came when their port had used up its share of misses.
const MISS_BUDGET: &str = "miss_budget";

impl Control {
    async fn megaflows(&mut self) -> Result<Vec<MegaflowRow>, Refusal> {
        match self.dataplane.ask(&Request::Megaflows).await? {
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
            name: "vswitch".into(),
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

    pub(super) async fn dpctl_dump_flows(&mut self) -> Result<Vec<CachedFlow>, Refusal> {
        let workers = self.workers().await?;
        let core = |id: u32| workers.iter().find(|worker| worker.worker == id)?.core;
        let rows = self.megaflows().await?;
        Ok(rows
            .into_iter()
            .map(|row| CachedFlow {
                flow: DatapathFlow {
                    key: &row.matches.key(),
                    mask: &row.matches.mask(),
                }
                .to_string(),
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
        Ok(workers
            .into_iter()
            .map(|worker| {
                let mut queues: Vec<Queue> = worker
                    .queues
                    .iter()
                    .map(|(port, queue, per_mille)| Queue {
                        port: self.port_name(port.0),
                        queue: *queue,
                        usage_percent: Some(f64::from(*per_mille) / 10.0),
                    })
                    .collect();
                queues.sort_by(|a, b| (&a.port, a.queue).cmp(&(&b.port, b.queue)));
                WorkerQueues {
                    worker: worker.worker,
                    core: worker.core,
                    queues,
                }
            })
            .collect())
    }

    async fn drop_rows(&mut self) -> Result<Vec<DropRow>, Refusal> {
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

fn worker_row(worker: WorkerStats) -> WorkerRow {
    let rx = worker.stages.iter().find(|stage| stage.name == "rx");
    let (packets, batches) = rx.map_or((0, 0), |stage| (stage.packets, stage.batches));
    let [p50_us, p90_us, p99_us, p999_us, max_us] = worker.latency_us;
    WorkerRow {
        worker: worker.worker,
        core: worker.core,
        packets,
        batches,
        avg_batch: if batches == 0 {
            0.0
        } else {
            packets as f64 / batches as f64
        },
        emc_hits: worker.emc_hits,
        megaflow_hits: worker.megaflow_hits,
        misses: worker.misses,
        stale: worker.stale,
        emc_len: worker.emc_len,
        megaflow_len: worker.megaflow_len,
        masks: worker.masks,
        sleeps: worker.sleeps,
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
