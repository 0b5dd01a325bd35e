//! Requests and replies.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_flow::{
    Action, CtFilter, FlowKey, FlowRule, FlowSelect, Group, Match, Meter, OfPort, Prefix,
};

use crate::change::{Change, ChangeRefusal};
use crate::conntrack::{
    CtCounts, CtEntry, CtEvent, CtExpectation, CtHappened, CtSettings, CtZoneCount, FragmentStats,
};
use crate::desired::{Attachment, BridgeId, Desired, PortId};
use crate::event::Event;
use crate::router::{LeaseRow, NeighbourRow, NeighbourStats, RouteAnswer, RouteSpec, RouterId};
use crate::tunnel::{Underlay, UnderlayChange};

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
    /// All flows, groups and meters of a bridge; what stays keeps its counters. [`Reply::Done`].
    SetTables {
        /// Which bridge.
        bridge: BridgeId,
        /// The flows.
        flows: Vec<FlowRule>,
        /// The groups.
        groups: Vec<Group>,
        /// The meters.
        meters: Vec<Meter>,
    },
    /// Changes to the flows, groups and meters of a bridge, all or none; [`Reply::Done`] or
    /// [`Reply::ChangeRefused`].
    Change {
        /// Which bridge.
        bridge: BridgeId,
        /// In order.
        changes: Vec<Change>,
    },
    /// Flows with counters; [`Reply::Flows`] with at most `max` of them.
    Flows {
        /// Which bridge.
        bridge: BridgeId,
        /// Which of its flows.
        select: Box<FlowSelect>,
        /// Most rows of the reply.
        max: u32,
    },
    /// More of the flows that this connection asked for last, as they were chosen then;
    /// [`Reply::Flows`].
    MoreFlows {
        /// Most rows of the reply.
        max: u32,
    },
    /// Sums over flows; [`Reply::Aggregate`].
    Aggregate {
        /// Which bridge.
        bridge: BridgeId,
        /// Which of its flows.
        select: Box<FlowSelect>,
    },
    /// Tables that have or had a flow, with counters; [`Reply::Tables`].
    Tables {
        /// Which bridge.
        bridge: BridgeId,
    },
    /// Groups with counters; [`Reply::Groups`].
    Groups {
        /// Which bridge.
        bridge: BridgeId,
        /// Only this one.
        id: Option<u32>,
    },
    /// Meters with counters; [`Reply::Meters`].
    Meters {
        /// Which bridge.
        bridge: BridgeId,
        /// Only this one.
        id: Option<u32>,
    },
    /// Does actions to a packet of the asker's; [`Reply::Done`] when they have been done.
    PacketOut {
        /// On which bridge.
        bridge: BridgeId,
        /// The port it is taken to have come by; [`OfPort::CONTROLLER`] or [`OfPort::ANY`] is none.
        in_port: OfPort,
        /// The frame.
        packet: Vec<u8>,
        /// What is done. [`OfPort::TABLE`] goes through the tables.
        actions: Vec<Action>,
    },
    /// Lets a paused packet go on ([`crate::event::PacketIn::continuation`]); [`Reply::Done`].
    Resume {
        /// On which bridge.
        bridge: BridgeId,
        /// The frame, which may have been changed.
        packet: Vec<u8>,
        /// Fields that the pipeline had written, which may have been changed.
        fields: Box<Match>,
        /// As the event gave it.
        continuation: Vec<u8>,
    },
    /// From now on this connection gets [`Reply::Event`]s and is asked nothing more;
    /// [`Reply::Done`] first.
    Events,
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
    Megaflows {
        /// Also the flows that they came from.
        rules: bool,
    },
    /// Ports with counters; [`Reply::Ports`].
    Ports,
    /// Workers with counters; [`Reply::Workers`].
    Workers,
    /// Dropped packets by reason; [`Reply::Drops`].
    Drops,
    /// What would happen to a packet, or happens; [`Reply::Trace`].
    Trace(Box<TraceRequest>),
    /// Change how idle workers wait; [`Reply::Done`].
    SetPoll(PollMode),
    /// End the process and give everything back; [`Reply::Done`] comes before the end.
    Shutdown,
    /// How learning went; [`Reply::FdbStats`].
    FdbStats {
        /// Which bridge.
        bridge: BridgeId,
    },
    /// How connections are to be tracked; [`Reply::Done`]. Those that are tracked stay.
    SetConntrack(Box<CtSettings>),
    /// Tracked connections; [`Reply::Connections`]. Connections that come or go meanwhile may be
    /// told or not, all others are told once.
    Connections {
        /// Where to go on; 0 is the beginning.
        from: u32,
        /// Most rows of the reply.
        max: u32,
        /// Which connections.
        filter: Box<CtFilter>,
    },
    /// Forget connections; [`Reply::Flushed`]. A filter that [is a tuple](CtFilter::is_tuple) means
    /// one connection.
    FlushConnections(Box<CtFilter>),
    /// Connections that helpers expect; [`Reply::Expectations`].
    Expectations,
    /// Connections that live, counted, those of one zone or all; [`Reply::ConnectionCounts`].
    CountConnections {
        /// Only this zone.
        zone: Option<u16>,
    },
    /// What has happened to connections; [`Reply::ConnectionStats`].
    ConnectionStats,
    /// How many connections zones have; [`Reply::ZoneCounts`] in this order.
    ZoneCounts {
        /// Which zones.
        zones: Vec<u16>,
    },
    /// Fragments that wait for the rest of their packets; [`Reply::Fragments`].
    Fragments,
    /// Connections that have begun or ended since this connection asked last;
    /// [`Reply::ConnectionEvents`]. What happened before it asked first is not told.
    ConnectionEvents {
        /// Most rows of the reply.
        max: u32,
    },
    /// All that is known of the network that carries tunnels; replaces what was known.
    /// [`Reply::Done`].
    SetUnderlay(Box<Underlay>),
    /// What has changed of it, in order; [`Reply::Done`].
    ChangeUnderlay(Vec<UnderlayChange>),
    /// All routes of a router; [`Reply::Done`].
    SetRoutes {
        /// Which router.
        router: RouterId,
        /// The routes.
        routes: Vec<RouteSpec>,
    },
    /// Changes to the routes of a router; [`Reply::Done`]. Those that go need not be there.
    ChangeRoutes {
        /// Which router.
        router: RouterId,
        /// Routes that go: to a prefix, from a source.
        remove: Vec<(Prefix, Option<Prefix>)>,
        /// Routes that come, afterwards, in the place of those that are like them.
        add: Vec<RouteSpec>,
    },
    /// What a router would do; [`Reply::Route`].
    FindRoute {
        /// Which router.
        router: RouterId,
        /// With a packet from there, or from nowhere in particular.
        from: Option<IpAddr>,
        /// To there.
        to: IpAddr,
    },
    /// The neighbours of a router; [`Reply::Neighbours`].
    Neighbours {
        /// Which router.
        router: RouterId,
    },
    /// Forget neighbours of a router; [`Reply::Flushed`].
    FlushNeighbours {
        /// Which router.
        router: RouterId,
        /// Only those of this port.
        port: Option<PortId>,
        /// Only the one with this address.
        address: Option<IpAddr>,
    },
    /// Addresses that routers have given to hosts; [`Reply::Leases`].
    Leases,
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
    /// It is not done, and nothing has changed.
    ChangeRefused {
        /// The change that could not be made, by its place in the request.
        at: u32,
        /// Why not.
        why: ChangeRefusal,
    },
    /// Flows.
    Flows {
        /// Some of them.
        rows: Vec<FlowStats>,
        /// There are more to ask for.
        more: bool,
    },
    /// Sums over flows.
    Aggregate {
        /// Packets that they decided.
        packets: u64,
        /// Bytes of them.
        bytes: u64,
        /// How many flows.
        flows: u32,
    },
    /// Tables.
    Tables(Vec<TableStats>),
    /// Groups.
    Groups(Vec<GroupStats>),
    /// Meters.
    Meters(Vec<MeterStats>),
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
    /// Something has happened.
    Event(Box<Event>),
    /// How learning went.
    FdbStats(FdbStats),
    /// Tracked connections.
    Connections {
        /// Some of them, perhaps none.
        rows: Vec<CtEntry>,
        /// Where to go on; `None` at the end.
        next: Option<u32>,
    },
    /// So many connections, or neighbours, were forgotten.
    Flushed(u64),
    /// What helpers expect.
    Expectations(Vec<CtExpectation>),
    /// Connections, counted.
    ConnectionCounts(CtCounts),
    /// What has happened to connections.
    ConnectionStats(Box<CtHappened>),
    /// Connections of zones.
    ZoneCounts(Vec<CtZoneCount>),
    /// Fragments.
    Fragments(FragmentStats),
    /// Connections that have begun or ended.
    ConnectionEvents {
        /// The oldest first.
        rows: Vec<CtEvent>,
        /// Events that are lost because nobody asked for them in time, since the first was asked
        /// for.
        lost: u64,
    },
    /// What a router would do.
    Route(RouteAnswer),
    /// The neighbours of a router.
    Neighbours {
        /// In the order of ports and addresses.
        rows: Vec<NeighbourRow>,
        /// What has happened to them.
        stats: NeighbourStats,
    },
    /// Addresses that were given.
    Leases(Vec<LeaseRow>),
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
    /// How it tracks connections.
    pub conntrack: CtSettings,
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

/// A table with its counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStats {
    /// Its number.
    pub table: u8,
    /// Flows in it.
    pub active: u32,
    /// Packets looked up in it, cached answers included.
    pub lookups: u64,
    /// Packets for which a flow was found.
    pub matched: u64,
}

/// A group with its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStats {
    /// The group.
    pub group: Group,
    /// Flows and groups that name it.
    pub references: u32,
    /// Packets that it handled.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Milliseconds since it was added.
    pub age_ms: u64,
    /// Packets and bytes of each bucket.
    pub buckets: Vec<(u64, u64)>,
}

/// A meter with its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterStats {
    /// The meter.
    pub meter: Meter,
    /// Flows that name it.
    pub flows: u32,
    /// Packets that went into it.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Milliseconds since it was added.
    pub age_ms: u64,
    /// Packets and bytes of each band.
    pub bands: Vec<(u64, u64)>,
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

/// What has happened to a bridge's table of addresses since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbStats {
    /// Addresses held now.
    pub len: u64,
    /// Addresses learned, moves not counted.
    pub learned: u64,
    /// Addresses not seen for the ageing time.
    pub expired: u64,
    /// Addresses that made room for others.
    pub evicted: u64,
    /// Addresses that were seen on another port than before.
    pub moved: u64,
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
    /// The flows that it came from, in the order they were met; empty unless they were asked for.
    pub rules: Vec<Origin>,
    /// Packets that it decided.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Milliseconds since it was hit last; `None` when only its first packet was seen.
    pub idle_ms: Option<u64>,
}

/// A flow that a cached decision came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The bridge that has it; `None` when it is gone and the decision waits for being worked out
    /// again.
    pub bridge: Option<BridgeId>,
    /// The flow.
    pub flow: Box<FlowRule>,
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
    /// Masks tried for those.
    pub masks_tried: u64,
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
    /// Most masked entries it may hold.
    pub megaflow_limit: u64,
    /// Cycles of the time-stamp counter in a second.
    pub cycles_per_second: f64,
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

/// A packet to be traced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRequest {
    /// Where it comes in.
    pub bridge: BridgeId,
    /// Its fields; `in_port` is an OpenFlow number, which the bridge need not have.
    pub key: FlowKey,
    /// The packet itself.
    pub frame: TraceFrame,
    /// A controller sends it with these actions, instead of its coming by a port.
    pub actions: Option<Vec<Action>>,
    /// Call ports by their names.
    pub names: bool,
    /// What tracking finds, `ct_state`, each time that it is asked on the way; afterwards it finds
    /// new connections.
    pub ct_next: Vec<u8>,
}

/// The packet of a trace. With a packet the trace has its effects: addresses and flows are learned and
/// controllers are told; it leaves by no port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceFrame {
    /// There is none: nothing is changed.
    None,
    /// These bytes; what their headers say counts, not what the key says of headers.
    Bytes(Vec<u8>),
    /// One with the key's headers and this payload.
    Made(Vec<u8>),
}

/// What a trace found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// The way through the tables, line by line. Where headers are read again another way begins, and
    /// the line with the actions of each but the last is among these.
    pub lines: Vec<String>,
    /// What the datapath would do, at the end of the last way.
    pub actions: String,
    /// Why the packet is dropped all the same, a sentence, if its last way was too long.
    pub failure: Option<String>,
}
