//! The packet process from inside: caches, workers, drops.

use serde::{Deserialize, Serialize};

/// `dpctl-show`: ports and caches of the packet process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpctlShow {}

/// The answer to `dpctl-show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Datapath {
    /// What a person calls it.
    pub name: String,
    /// Packets whose answer was cached.
    pub hit: u64,
    /// Packets whose answer had to be worked out.
    pub missed: u64,
    /// Packets dropped because there was no time to work their answer out.
    pub lost: u64,
    /// Masked answers cached now, over all workers.
    pub flows: u64,
    /// Masks in use now, over all workers.
    pub masks: u64,
    /// In the order of their datapath numbers.
    pub ports: Vec<Port>,
}

/// A port as the packet process numbers it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// The number in cached flows, unique over all bridges.
    pub number: u32,
    /// The OpenFlow number on its bridge.
    pub of_port: u32,
    /// The port's name.
    pub name: String,
    /// The bridge it belongs to.
    pub bridge: String,
    /// The word for its kind.
    pub kind: String,
    /// Packets into the switch.
    pub rx_packets: u64,
    /// Bytes into the switch.
    pub rx_bytes: u64,
    /// Lost before the switch.
    pub rx_dropped: u64,
    /// Received but unusable.
    pub rx_errors: u64,
    /// Packets out of the switch.
    pub tx_packets: u64,
    /// Bytes out of the switch.
    pub tx_bytes: u64,
    /// Not sent for want of room or because the device is down.
    pub tx_dropped: u64,
    /// Refused by the kernel.
    pub tx_errors: u64,
}

/// `dpctl-dump-flows`: the cached answers with masks, worker by worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpctlDumpFlows {
    /// Ports by name instead of number.
    #[serde(default)]
    pub names: bool,
    /// Only answers that may be for packets that this match takes; `in_port` is a port's name, or its
    /// number as `dpctl-show` tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Also the flows that they came from.
    #[serde(default)]
    pub rules: bool,
    /// Only what the worker on this core holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<u32>,
}

/// One cached answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CachedFlow {
    /// `recirc_id(0),in_port(1),eth(...),eth_type(0x0800),ipv4(...,frag=no)`.
    pub flow: String,
    /// Packets it answered.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds since the last one; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_s: Option<f64>,
    /// `3,1` or `drop`.
    pub actions: String,
    /// The flows that it came from, in the order they were met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<CachedRule>,
    /// The worker whose cache holds it.
    pub worker: u32,
    /// The core of that worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<u32>,
}

/// A flow that a cached answer came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedRule {
    /// The bridge that has it; absent when it is gone and the answer waits for being worked out
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Its text.
    pub flow: String,
}

/// `pmd-stats`: where the workers' time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmdStats {}

/// One worker's account since it started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStats {
    /// The worker's number.
    pub worker: u32,
    /// The core it is pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core: Option<u32>,
    /// The memory node of that core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa: Option<u32>,
    /// Packets received.
    pub packets: u64,
    /// Batches received.
    pub batches: u64,
    /// Packets in a batch, on average.
    pub avg_batch: f64,
    /// Packets answered by the exact-match cache.
    pub emc_hits: u64,
    /// Packets answered by the masked cache.
    pub megaflow_hits: u64,
    /// Masks tried for those.
    pub masks_tried: u64,
    /// Packets whose answer had to be worked out.
    pub misses: u64,
    /// Cached answers found out of date.
    pub stale: u64,
    /// Exact answers held now.
    pub emc_len: u64,
    /// Masked answers held now.
    pub megaflow_len: u64,
    /// Most masked answers it may hold.
    pub megaflow_limit: u64,
    /// Masks in use now.
    pub masks: u64,
    /// Rounds that moved packets.
    pub busy_rounds: u64,
    /// Rounds that found nothing to do.
    pub idle_rounds: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Cycles of its clock in a second; 0 when it is not known.
    pub cycles_per_second: f64,
    /// Cycles in rounds that found nothing to do.
    pub idle_cycles: u64,
    /// Cycles in rounds that moved packets.
    pub busy_cycles: u64,
    /// The steps of a round, in their order.
    pub stages: Vec<Stage>,
    /// Time in the switch, from receiving a packet to sending it; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// One step of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// `rx`, `extract`, `cache`, `translate`, `act`, `tx`.
    pub name: String,
    /// Cycles spent in it.
    pub cycles: u64,
    /// Packets it dealt with.
    pub packets: u64,
    /// How often it ran.
    pub batches: u64,
}

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the packets were no slower.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// `pmd-rxq`: which worker reads which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmdRxq {}

/// The queues of one worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerQueues {
    /// The worker's number.
    pub worker: u32,
    /// The core it is pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<u32>,
    /// The memory node of that core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa: Option<u32>,
    /// The share of its time since it started in which it moved packets, 0 to 100.
    #[serde(default)]
    pub busy_percent: f64,
    /// Sorted by port and queue.
    pub queues: Vec<Queue>,
}

/// One receive queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// The port's name.
    pub port: String,
    /// From 0.
    pub queue: u32,
    /// The share of the worker's time since it started that this queue's packets took, 0 to 100;
    /// absent when it is not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_percent: Option<f64>,
}

/// `drops`: packets that went nowhere, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drops {
    /// Also the reasons that never occurred.
    #[serde(default)]
    pub all: bool,
}

/// One reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// Its name: `no_flow`.
    pub reason: String,
    /// What it means.
    pub sentence: String,
    /// How many packets.
    pub packets: u64,
}
