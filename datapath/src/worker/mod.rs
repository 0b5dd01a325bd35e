//! A worker: the packet loop of one core.
//!
//! A worker owns everything that a packet touches on its way: port queues, cache, free frames,
//! counters. Nobody else reads or writes them while it runs. What is shared is read-only (the
//! [`Tables`] snapshot), internally synchronised (the FDBs, the connections) or a queue (commands,
//! packets from other workers, what control is told).
//!
//! Law: in every round, packets received + answers made + fragments taken up again = sent + dropped
//! by reason + handed to another worker or to controllers + taken by routers + fragments put aside, and
//! every frame is in the pool, in a packet, in a port or in the kernel.
//!
//! `round` has the order of a packet's steps; `run` the loop around it that waits and obeys;
//! `ports` the queues; `command` what control may ask. A test drives [`Worker::round`] itself,
//! with its own clock and no thread.

mod answers;
mod command;
mod jobs;
mod ports;
mod round;
mod router;
mod run;
mod stats;
mod tracked;
mod tunnel;
mod upcall;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::action::ANSWERS_MAX;
use crate::buffer::{FramePool, Packet, SharedFrames};
use crate::cache::Cache;
use crate::conntrack::Conntrack;
use crate::gateway::Gateway;
use crate::pipeline::{Moment, Tables};
use crate::tick::Tick;

pub use command::{Command, Megaflow, Snapshot, Stopped};
pub use jobs::{PacketOut, Resumed, Traced};
pub use ports::{Inbox, QueueId, Route};
pub use run::{WaitPolicy, WorkerHandle, event_queue, start};
pub use stats::{Stage, StageCounters, Stats};
pub use upcall::{Upcalls, Wish};

use jobs::Parked;
use ports::Ports;
use round::Scratch;
use tunnel::Asked;

/// The state of one packet loop.
pub struct Worker {
    id: u32,
    tables: Arc<Tables>,
    /// All workers' connections.
    conntrack: Arc<Conntrack>,
    /// What all routers' ports remember.
    gateway: Arc<Gateway>,
    /// When routers are looked at for what time brings.
    timers_due: Tick,
    cache: Cache,
    pool: FramePool,
    ports: Ports,
    /// Packets that we made, which enter the pipeline by the port for which they speak.
    answers: Vec<Packet>,
    /// Packets that wait for control to add the flows that they learn, in order of their tickets.
    parked: VecDeque<Parked>,
    /// Neighbours that were asked for lately.
    asked: Asked,
    /// The last ticket given.
    ticket: u64,
    upcalls: Arc<Upcalls>,
    /// The first round's instant and tick: what meters tell time by.
    origin: Option<(Instant, Tick)>,
    /// When this round began.
    moment: Moment,
    scratch: Box<Scratch>,
    stats: Stats,
    cache_enabled: bool,
    /// Whether a queue is passed over in proportion to what its packets cost.
    is_fair: bool,
}

impl Worker {
    /// A worker with no ports. `seed` keys its cache's hashes; `inbox` is where other workers put
    /// packets for its ports, and `peers` are theirs, by worker number.
    #[must_use]
    pub fn new(
        id: u32,
        frames: Arc<SharedFrames>,
        tables: Arc<Tables>,
        conntrack: Arc<Conntrack>,
        seed: u64,
        inbox: Arc<Inbox>,
        peers: Vec<Arc<Inbox>>,
    ) -> Self {
        let mut scratch = Box::<Scratch>::default();
        // Workers number what they put into tunnels each for itself.
        scratch.sink.ident = (seed ^ u64::from(id) << 12) as u16;
        Self {
            id,
            tables,
            conntrack,
            gateway: Arc::default(),
            timers_due: Tick(0),
            cache: Cache::new(seed),
            pool: FramePool::new(frames),
            ports: Ports::new(inbox, peers),
            answers: Vec::with_capacity(ANSWERS_MAX),
            scratch,
            stats: Stats::new(),
            cache_enabled: true,
            is_fair: true,
            parked: VecDeque::new(),
            ticket: 0,
            asked: Asked::default(),
            upcalls: Arc::default(),
            origin: None,
            moment: Moment::default(),
        }
    }

    /// Gives every queue its turn in every round, whatever its packets cost. For the proof that caches
    /// change nothing: how many packets have to be translated would change whose turn it is.
    pub fn pass_over_nobody(&mut self) {
        self.is_fair = false;
    }

    /// Decides every packet by the tables alone. For the proof that caches change nothing.
    pub fn disable_cache(&mut self) {
        self.cache_enabled = false;
        self.cache.clear();
    }

    /// Tells control by `upcalls` what packets ask of it; without this nobody hears it.
    #[must_use]
    pub fn with_upcalls(mut self, upcalls: Arc<Upcalls>) -> Self {
        self.upcalls = upcalls;
        self
    }

    /// Shares what routers' ports remember with other workers; without this it is the worker's own.
    #[must_use]
    pub fn with_gateway(mut self, gateway: Arc<Gateway>) -> Self {
        self.gateway = gateway;
        self
    }

    /// The worker's free frames.
    #[must_use]
    pub fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// The flow cache, to be looked at.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id)
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}
