//! Requests and replies.

use serde::{Deserialize, Serialize};
use vswitch_flow::{FlowKey, FlowRule, Match, OfPort};

use crate::desired::{Attachment, BridgeId, Desired, PortId};

/// What `vswitchd` asks. Each has the reply that is named with it, or [`Reply::Refused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First on every connection; [`Reply::Hello`].
    Hello {
        /// The asker's [`crate::VERSION`].
        version: u32,
    },
    /// What the datapath holds; [`Reply::State`].
    State,
    /// What should be; [`Reply::Applied`].
    SetDesired(Box<Desired>),
    /// The descriptors of a port, sent beside the message; replaces earlier ones. [`Reply::Done`].
    Attach {
        /// Which port.
        port: PortId,
        /// What the descriptors are.
        attachment: Attachment,
    },
    /// Stop using a port's descriptors and close them; [`Reply::Done`].
    Detach {
        /// Which port.
        port: PortId,
    },
    /// Duplicates of a port's descriptors; [`Reply::Attachment`] with them beside it.
    Export {
        /// Which port.
        port: PortId,
    },
    /// All flows of a bridge; flows that stay keep their counters. [`Reply::Done`].
    SetFlows {
        /// Which bridge.
        bridge: BridgeId,
        /// The flows.
        flows: Vec<FlowRule>,
    },
    /// Changes to the flows of a bridge, all or none; [`Reply::Done`].
    ModFlows {
        /// Which bridge.
        bridge: BridgeId,
        /// In order.
        changes: Vec<FlowChange>,
    },
    /// Flows with counters; [`Reply::Flows`].
    Flows {
        /// Which bridge.
        bridge: BridgeId,
    },
    /// Learned addresses; [`Reply::Fdb`].
    Fdb {
        /// Which bridge.
        bridge: BridgeId,
    },
    /// Forget learned addresses; [`Reply::Done`].
    FlushFdb {
        /// Which bridge.
        bridge: BridgeId,
    },
    /// Cached decisions; [`Reply::Megaflows`].
    Megaflows,
    /// Ports with counters; [`Reply::Ports`].
    Ports,
    /// Workers with counters; [`Reply::Workers`].
    Workers,
    /// Dropped packets by reason; [`Reply::Drops`].
    Drops,
    /// What would happen to a packet; [`Reply::Trace`].
    Trace {
        /// Where it comes in.
        bridge: BridgeId,
        /// The packet's fields; `in_port` is an OpenFlow number of the bridge.
        key: Box<FlowKey>,
    },
    /// Change how idle workers wait; [`Reply::Done`].
    SetPoll(PollMode),
    /// End the process and give everything back; [`Reply::Done`] comes before the end.
    Shutdown,
}

/// One change to a bridge's flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowChange {
    /// Adds a flow; one with the same table, priority and match is replaced.
    Add(Box<FlowRule>),
    /// Deletes all flows that the match covers.
    Delete {
        /// Only in this table.
        table: Option<u8>,
        /// What they match, or more closely.
        matches: Box<Match>,
    },
    /// Deletes the one flow with exactly this match and priority.
    DeleteStrict {
        /// In this table.
        table: u8,
        /// Its priority.
        priority: u16,
        /// Its match.
        matches: Box<Match>,
    },
}

/// How a worker waits when no packet comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PollMode {
    /// Polls while busy, sleeps after a while of idleness until an event.
    #[default]
    Adaptive,
    /// Never sleeps.
    Busy,
}

/// What the datapath answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Versions agree.
    Hello {
        /// The datapath's [`crate::VERSION`].
        version: u32,
        /// Its process.
        pid: u32,
    },
    /// What is.
    State(Box<State>),
    /// The desired state is in force.
    Applied {
        /// Ports that wait for an `Attach`.
        unattached: Vec<PortId>,
    },
    /// It is done.
    Done,
    /// It is not done, and nothing has changed.
    Refused {
        /// One sentence.
        why: String,
    },
    /// A port's attachment; its descriptors are beside the message.
    Attachment(Attachment),
    /// Flows.
    Flows(Vec<FlowStats>),
    /// Learned addresses.
    Fdb(Vec<FdbRow>),
    /// Cached decisions.
    Megaflows(Vec<MegaflowRow>),
    /// Ports.
    Ports(Vec<PortStats>),
    /// Workers.
    Workers(Vec<WorkerStats>),
    /// Drops.
    Drops(Vec<DropRow>),
    /// A trace.
    Trace(TraceReport),
}

/// What a datapath holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Seconds since it started.
    pub uptime: u64,
    /// The desired state it has.
    pub desired: Desired,
    /// Ports that have their descriptors.
    pub attached: Vec<PortId>,
    /// How its workers wait.
    pub poll: PollMode,
}

/// A flow with its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStats {
    /// The flow.
    pub flow: FlowRule,
    /// Packets that it decided.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Milliseconds since it was added.
    pub age_ms: u64,
    /// Milliseconds since it was hit last; `None` when never.
    pub idle_ms: Option<u64>,
}

/// A learned address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbRow {
    /// Where it is.
    pub port: PortId,
    /// That port's OpenFlow number.
    pub of_port: OfPort,
    /// In which VLAN.
    pub vlan: u16,
    /// The address.
    pub mac: [u8; 6],
    /// Seconds since it was seen last.
    pub age: u32,
}

/// A cached decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MegaflowRow {
    /// Worker that holds it.
    pub worker: u32,
    /// Which packets.
    pub matches: Box<Match>,
    /// What happens to them, spelled as Open vSwitch spells datapath actions.
    pub actions: String,
    /// Packets that it decided.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Milliseconds since it was hit last; `None` when only its first packet was seen.
    pub idle_ms: Option<u64>,
}

/// A port's counters, summed over its queues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCounters {
    /// Packets received; a super-frame is one.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Lost before us.
    pub rx_dropped: u64,
    /// Received but unusable.
    pub rx_errors: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Not sent for want of room or because the device is down.
    pub tx_dropped: u64,
    /// Refused by the kernel.
    pub tx_errors: u64,
}

/// A port as the datapath sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// Which port.
    pub port: PortId,
    /// Whether it has its descriptors.
    pub attached: bool,
    /// The workers that serve its queues, in queue order.
    pub workers: Vec<u32>,
    /// What its attachment turned out to be ("native, copy, 1 queue").
    pub detail: String,
    /// Its traffic.
    pub counters: PortCounters,
}

/// Cycles and packets of one step of a worker's round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageStats {
    /// The step's name.
    pub name: String,
    /// Time-stamp-counter cycles spent in it.
    pub cycles: u64,
    /// Packets that went through it.
    pub packets: u64,
    /// Batches that went through it.
    pub batches: u64,
}

/// A worker's counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// Which worker.
    pub worker: u32,
    /// The core it is pinned to, when it could be pinned.
    pub core: Option<u32>,
    /// Rounds that moved packets.
    pub busy_rounds: u64,
    /// Rounds that found nothing.
    pub idle_rounds: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Cycles of rounds that moved packets.
    pub busy_cycles: u64,
    /// Cycles of rounds that found nothing.
    pub idle_cycles: u64,
    /// Packets decided by the exact-match cache.
    pub emc_hits: u64,
    /// Packets decided by the masked cache.
    pub megaflow_hits: u64,
    /// Packets that were translated.
    pub misses: u64,
    /// Cached decisions found stale.
    pub stale: u64,
    /// Exact entries held.
    pub emc_len: u64,
    /// Masked entries held.
    pub megaflow_len: u64,
    /// Masks in use.
    pub masks: u64,
    /// The steps, in order.
    pub stages: Vec<StageStats>,
    /// Time in the switch, microseconds: 50th, 90th, 99th, 99.9th percentile, maximum.
    pub latency_us: [f64; 5],
    /// Port queues it serves, with the share of its busy cycles in per mille.
    pub queues: Vec<(PortId, u32, u32)>,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// The reason's name.
    pub reason: String,
    /// What it means, one sentence.
    pub sentence: String,
    /// How many packets.
    pub packets: u64,
}

/// What a trace found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// The way through the tables, line by line.
    pub lines: Vec<String>,
    /// What the datapath would do.
    pub actions: String,
}
