//! The control thread: takes requests from `vswitchd` and turns them into snapshots for workers.
//!
//! Law: the control thread never touches what a worker owns. It builds new tables and publishes
//! them, hands queues over, and asks for counters; each request to a worker is answered between two
//! rounds, and a request from `vswitchd` is answered when all workers have answered. So "done"
//! means that every later packet is treated accordingly (architecture decisions 3 and 13).
//!
//! Desired state comes whole; what differs from the state at hand is changed and nothing else is
//! touched. Descriptors stay in our hands as duplicates, so that a restarted `vswitchd` can be
//! given them back.
//!
//! Threads: one. Cost: proportional to what changed, except that tables are rebuilt by parts.

#![expect(
    clippy::disallowed_methods,
    reason = "the control thread and the workers' loop are where time enters the datapath"
)]

mod attach;
mod changes;
mod controllers;
mod ledger;
mod listener;
mod reports;
mod routers;
mod server;
mod trace;
mod tracking;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use vswitch_dpapi::conntrack::{
    CONNECTIONS_MAX_LIMIT, CtSettings, FRAGMENT_MIN_LIMIT, FRAGMENTS_MAX_LIMIT,
};
use vswitch_dpapi::message::{PollMode, Reply, Request, State};
use vswitch_dpapi::{Attachment, BridgeId, Desired, Event, PortId, PortKind, PortSpec, VERSION};
use vswitch_sys::xsk::SharedUmem;

use crate::buffer::{FramePool, SharedFrames};
use crate::conntrack::fragments::Freed;
use crate::conntrack::{self, Conntrack};
use crate::counters::Drops;
use crate::gateway::Gateway;
use crate::pipeline::{self, Bridge, Rule, Tables};
use crate::port::PortIndex;
use crate::tick::Tick;
use crate::tunnel::underlay::Underlay;
use crate::worker::{
    Command, Inbox, PacketOut, QueueId, Route, Upcalls, WaitPolicy, Worker, WorkerHandle,
};

use controllers::Paused;
use listener::Listener;

pub use ledger::{ChangeError, Learned, Ledger, removal};
pub use server::serve;

/// Longest wait for a worker: a round with the largest batch takes microseconds, but the machine
/// may have other plans for the core.
const WORKER_WAIT: Duration = Duration::from_secs(5);

/// Shortest wait for the next timeout of a flow: those that end about the same time go together.
const EXPIRY_WAIT: Duration = Duration::from_millis(50);

/// Places of connections that are looked at every second for those that have timed out: so many, or
/// so large a share of all, which takes milliseconds for millions.
const SWEEP_MIN: usize = 65_536;
const SWEEP_SHARE: usize = 8;

/// How a datapath is set up at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// One worker for each entry, pinned to that core; `None` leaves it to the kernel.
    pub cores: Vec<Option<usize>>,
    /// Chunks (4 KiB) for packets.
    pub chunks: u32,
    /// Large frames (68 KiB) for super-frames.
    pub larges: u32,
    /// How workers wait.
    pub poll: PollMode,
    /// Idle time after which an adaptive worker sleeps.
    pub sleep_after: Duration,
    /// Keys all hashes.
    pub seed: u64,
}

/// A port's descriptors and who serves them.
struct Held {
    attachment: Attachment,
    /// Duplicates, in the order in which they came.
    fds: Vec<OwnedFd>,
    /// The worker of each queue.
    workers: Vec<u32>,
    /// What it turned out to be.
    detail: String,
}

/// What is remembered of a connection.
#[derive(Debug, Default)]
pub struct Session {
    /// Flows that it asked for and has not been told of yet, last one first.
    flows: Vec<Arc<Rule>>,
    /// It is told of events.
    listener: Option<Listener>,
    /// What happens to connections, once it has asked for that.
    connections: Option<conntrack::Events>,
}

/// The control thread's state.
pub struct Control {
    config: Config,
    started: Instant,
    desired: Desired,
    ledger: Ledger,
    frames: Arc<SharedFrames>,
    umem: Arc<SharedUmem>,
    /// All workers' connections.
    conntrack: Arc<Conntrack>,
    /// What all routers' ports remember.
    gateway: Arc<Gateway>,
    /// How they are tracked.
    tracking: CtSettings,
    /// Where the frames of fragments go that waited in vain, and their count.
    fragment_frames: FramePool,
    drops: Drops,
    workers: Vec<WorkerHandle>,
    held: BTreeMap<PortId, Held>,
    poll: PollMode,
    /// Connections that are told of events, and what they are to be told next.
    listeners: usize,
    events: Vec<Event>,
    upcalls: Arc<Upcalls>,
    paused: Paused,
}

/// Why a request was refused: a sentence for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Versions differ.
    #[error(
        "vswitchd speaks version {theirs} of the contract and this datapath version {VERSION}; run both from one build"
    )]
    Version {
        /// The asker's.
        theirs: u32,
    },
    /// A packet that does not wait any more.
    #[error("no packet waits under this continuation; it has gone on, or too many waited after it")]
    NotPaused,
    /// An unknown port.
    #[error("the datapath has no port number {}", .0.0)]
    Port(PortId),
    /// An unknown bridge.
    #[error("the datapath has no bridge number {}", .0.0)]
    Bridge(BridgeId),
    /// Descriptors that do not fit their description.
    #[error("port {port}: {expected} descriptors belong to this attachment and {received} came")]
    Descriptors {
        /// The port's name.
        port: String,
        /// How many belong to it.
        expected: String,
        /// How many came.
        received: usize,
    },
    /// A port could not be put into service.
    #[error("port {port}: {why}")]
    Attach {
        /// The port's name.
        port: String,
        /// What went wrong.
        why: String,
    },
    /// A worker does not answer.
    #[error("worker {0} does not answer; its core may be taken by another program")]
    Worker(u32),
    /// Descriptors could not be duplicated.
    #[error("descriptors of port {port} could not be duplicated: {error}")]
    Duplicate {
        /// The port's name.
        port: String,
        /// What the kernel answered.
        error: std::io::Error,
    },
    /// More connections than the table holds.
    #[error("{0} connections were asked for; at most {CONNECTIONS_MAX_LIMIT} can be tracked")]
    Connections(u32),
    /// More fragments than may be held.
    #[error("{0} fragments were asked for; at most {FRAGMENTS_MAX_LIMIT} can be held")]
    Fragments(u32),
    /// A smallest fragment that is too small.
    #[error("a smallest fragment of {0} bytes was asked for; the least is {FRAGMENT_MIN_LIMIT}")]
    FragmentSize(u32),
    /// A frame that is none.
    #[error("the frame cannot be traced: {0}")]
    Frame(&'static str),
    /// Tables that cannot be.
    #[error(transparent)]
    Tables(#[from] pipeline::Refusal),
    /// A change that cannot be made.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl Control {
    /// Maps memory and starts the workers.
    ///
    /// # Errors
    /// When memory, threads or event queues cannot be had.
    pub fn start(config: Config) -> std::io::Result<Self> {
        let frames = SharedFrames::new(config.chunks, config.larges)?;
        let umem = Arc::new(SharedUmem::new(frames.region()));
        let ledger = Ledger::new(config.seed).map_err(std::io::Error::other)?;
        let conntrack = Arc::new(Conntrack::new(config.seed));
        let gateway = Arc::<Gateway>::default();
        let upcalls = Arc::<Upcalls>::default();
        let started = Instant::now();
        let mut queues = Vec::new();
        let mut inboxes = Vec::new();
        for _ in &config.cores {
            let (poll, waker) = crate::worker::event_queue()?;
            queues.push(poll);
            inboxes.push(Inbox::new(Some(waker)));
        }
        let mut workers = Vec::new();
        for (id, (poll, core)) in queues.into_iter().zip(&config.cores).enumerate() {
            let worker = Worker::new(
                id as u32,
                Arc::clone(&frames),
                Arc::clone(ledger.tables()),
                Arc::clone(&conntrack),
                config.seed.rotate_left(id as u32) ^ id as u64,
                Arc::clone(&inboxes[id]),
                inboxes.clone(),
            )
            .with_upcalls(Arc::clone(&upcalls))
            .with_gateway(Arc::clone(&gateway));
            let wait = wait_policy(config.poll, config.sleep_after);
            workers.push(crate::worker::start(worker, poll, *core, wait, started)?);
        }
        Ok(Self {
            poll: config.poll,
            config,
            started,
            desired: Desired::default(),
            ledger,
            fragment_frames: FramePool::new(Arc::clone(&frames)),
            drops: Drops::default(),
            frames,
            umem,
            conntrack,
            gateway,
            tracking: CtSettings::default(),
            workers,
            held: BTreeMap::new(),
            listeners: 0,
            events: Vec::new(),
            upcalls,
            paused: Paused::default(),
        })
    }

    /// Carries a request out. The reply is sent with the descriptors beside it.
    pub fn handle(
        &mut self,
        session: &mut Session,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> (Reply, Vec<OwnedFd>) {
        match self.try_handle(session, request, fds) {
            Ok(answer) => answer,
            Err(refusal) => {
                let why = refusal.to_string();
                tracing::warn!(why, "refused");
                (Reply::Refused { why }, Vec::new())
            }
        }
    }

    fn try_handle(
        &mut self,
        session: &mut Session,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Refusal> {
        let reply = match request {
            Request::Hello { version: VERSION } => Reply::Hello {
                version: VERSION,
                pid: std::process::id(),
            },
            Request::Hello { version } => return Err(Refusal::Version { theirs: version }),
            Request::State => Reply::State(Box::new(self.state())),
            Request::SetDesired(desired) => self.set_desired(*desired)?,
            Request::Attach { port, attachment } => {
                self.attach(port, attachment, fds)?;
                Reply::Done
            }
            Request::Detach { port } => {
                self.spec(port)?;
                self.detach(port)?;
                Reply::Done
            }
            Request::Export { port } => return self.export(port),
            Request::SetTables {
                bridge,
                flows,
                groups,
                meters,
            } => self.set_tables(bridge, flows, groups, meters)?,
            Request::Change { bridge, changes } => self.change(bridge, changes)?,
            Request::Flows {
                bridge,
                select,
                max,
            } => {
                self.choose_flows(session, bridge, &select)?;
                self.more_flows(session, max)?
            }
            Request::MoreFlows { max } => self.more_flows(session, max)?,
            Request::Aggregate { bridge, select } => self.aggregate(bridge, &select)?,
            Request::Tables { bridge } => self.table_stats(bridge)?,
            Request::Groups { bridge, id } => self.groups(bridge, id)?,
            Request::Meters { bridge, id } => self.meters(bridge, id)?,
            Request::Fdb { bridge } => self.fdb(bridge)?,
            Request::FdbStats { bridge } => self.fdb_stats(bridge)?,
            Request::FlushFdb { bridge } => {
                self.bridge(bridge)?.fdb.flush();
                Reply::Done
            }
            Request::SetConntrack(settings) => {
                self.set_tracking(*settings)?;
                Reply::Done
            }
            Request::Connections { from, max, filter } => self.connections(from, max, &filter),
            Request::FlushConnections(filter) => self.flush_connections(&filter),
            Request::Expectations => self.expectations(),
            Request::CountConnections { zone } => self.count_connections(zone),
            Request::ConnectionStats => self.connection_stats(),
            Request::ZoneCounts { zones } => self.zone_counts(zones),
            Request::Fragments => self.fragment_stats(),
            Request::ConnectionEvents { max } => self.connection_events(session, max),
            Request::SetUnderlay(all) => self.set_underlay(Underlay::from(&*all))?,
            Request::ChangeUnderlay(changes) => {
                self.set_underlay(self.ledger.tables().underlay().after(&changes))?
            }
            Request::SetRoutes { router, routes } => self.set_routes(router, &routes)?,
            Request::ChangeRoutes {
                router,
                remove,
                add,
            } => self.change_routes(router, &remove, &add)?,
            Request::FindRoute { router, from, to } => self.find_route(router, from, to)?,
            Request::Neighbours { router } => self.neighbours(router)?,
            Request::FlushNeighbours {
                router,
                port,
                address,
            } => self.flush_neighbours(router, port, address)?,
            Request::Leases => self.leases(),
            Request::Megaflows { rules } => self.megaflows(rules)?,
            Request::Ports => self.ports()?,
            Request::Workers => self.worker_stats()?,
            Request::Drops => self.drops()?,
            Request::Trace(request) => self.trace(*request)?,
            Request::SetPoll(poll) => {
                self.poll = poll;
                let wait = wait_policy(poll, self.config.sleep_after);
                self.ask_all(|done| Command::SetWait(wait, done))?;
                Reply::Done
            }
            Request::Events => {
                if session.listener.is_none() {
                    session.listener = Some(Listener::default());
                    self.listen(1);
                }
                Reply::Done
            }
            Request::PacketOut {
                bridge,
                in_port,
                packet,
                actions,
            } => self.packet_out(PacketOut {
                bridge,
                in_port,
                packet,
                actions,
            })?,
            Request::Resume {
                packet,
                fields,
                continuation,
                ..
            } => self.resume(packet, *fields, &continuation)?,
            Request::Shutdown => {
                self.stop();
                Reply::Done
            }
        };
        Ok((reply, Vec::new()))
    }

    /// What happens every second: learned addresses and connections grow old, fragments whose
    /// datagrams are not whole in time are given up, and workers that sleep through changes let go of
    /// old tables.
    pub fn tick(&mut self) {
        self.workers.iter().for_each(WorkerHandle::remind);
        let now = self.now();
        for bridge in self.ledger.tables().bridges() {
            bridge.fdb.expire(now);
        }
        let budget = SWEEP_MIN.max(self.conntrack.places() / SWEEP_SHARE);
        self.conntrack.sweep(now, budget);
        let fragments = self.conntrack.fragments();
        while fragments.is_due(now) {
            let mut freed = Freed::new();
            fragments.expire(now, &mut freed);
            for (packet, reason) in freed {
                self.drops.count(reason);
                self.fragment_frames.drop_packet(packet);
            }
        }
        self.fragment_frames.drain();
    }

    /// How long nothing happens by itself.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let next = self.ledger.next_expiry();
        let left = next.map(|at| Duration::from_millis((at.0 + 1).saturating_sub(self.now().0)));
        left.map_or(Duration::MAX, |left| left.max(EXPIRY_WAIT))
    }

    /// Takes out flows whose timeouts have ended.
    pub fn expire(&mut self) {
        if let Err(refusal) = self.expire_flows() {
            tracing::error!(why = refusal.to_string(), "flows could not be timed out");
        }
    }

    /// More listeners, or fewer.
    fn listen(&mut self, more: isize) {
        self.listeners = self.listeners.saturating_add_signed(more);
        self.upcalls.set_listened(self.listeners > 0);
    }

    /// Notes an event for those who listen.
    fn tell(&mut self, event: Event) {
        if self.listeners > 0 {
            self.events.push(event);
        }
    }

    /// What listeners are to be told.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Stops the workers and closes every port.
    pub fn stop(&mut self) {
        for worker in &self.workers {
            let (reply, stopped) = bounded(1);
            if worker.send(Command::Stop(reply)) && stopped.recv_timeout(WORKER_WAIT).is_err() {
                tracing::error!(worker = worker.id, "the worker did not stop in time");
                return;
            }
        }
        for worker in &mut self.workers {
            worker.join();
        }
        let tables = Arc::clone(self.ledger.tables());
        for router in tables.routers() {
            self.give_up(router.neighbours.flush(|_| true).1);
        }
        self.held.clear();
    }

    fn now(&self) -> Tick {
        Tick(self.started.elapsed().as_millis() as u64)
    }

    fn bridge(&self, id: BridgeId) -> Result<&Arc<Bridge>, Refusal> {
        let bridge = self.ledger.tables().bridge(id);
        bridge.ok_or(Refusal::Bridge(id))
    }

    fn state(&self) -> State {
        State {
            uptime: self.started.elapsed().as_secs(),
            desired: self.desired.clone(),
            attached: self.held.keys().copied().collect(),
            poll: self.poll,
            conntrack: self.tracking.clone(),
        }
    }

    fn spec(&self, port: PortId) -> Result<&PortSpec, Refusal> {
        let mut ports = self.desired.ports.iter();
        ports
            .find(|spec| spec.id == port)
            .ok_or(Refusal::Port(port))
    }

    /// Puts a new desired state in force: queues of ports that are gone are closed first, then the
    /// tables change, all at once.
    fn set_desired(&mut self, desired: Desired) -> Result<Reply, Refusal> {
        let before = Arc::clone(self.ledger.tables());
        let gone = self.ledger.set_desired(&desired, self.now())?;
        let kept = |id: &PortId, old: &Desired| {
            let find = |d: &Desired| d.ports.iter().find(|p| p.id == *id).cloned();
            let (old, new) = (find(old), find(&desired));
            new.is_some_and(|new| {
                old.is_some_and(|old| {
                    // A router's port has nothing that could be another.
                    let routers = |spec: &PortSpec| matches!(spec.kind, PortKind::Router(_));
                    old.kind == new.kind || routers(&old) && routers(&new)
                })
            })
        };
        let useless: Vec<_> = self
            .held
            .keys()
            .filter(|id| !kept(id, &self.desired))
            .copied()
            .collect();
        for port in useless {
            self.detach(port)?;
        }
        let old = std::mem::replace(&mut self.desired, desired);
        self.publish(Arc::clone(&before))?;
        let waiting = self.ledger.tables().forget_neighbours(&before);
        self.give_up(waiting);
        drop(before);
        self.tell_gone(&gone)?;
        let mtus: Vec<_> = self
            .desired
            .ports
            .iter()
            .filter(|new| old.ports.iter().any(|p| p.id == new.id && p.mtu != new.mtu))
            .map(|new| (new.id, new.mtu))
            .collect();
        for (port, mtu) in mtus {
            self.set_mtu(port, mtu)?;
        }
        let waits = |port: &&PortSpec| {
            let needs = !matches!(
                port.kind,
                PortKind::Patch { .. } | PortKind::Tunnel(_) | PortKind::Router(_)
            );
            needs && !self.held.contains_key(&port.id)
        };
        let unattached = self.desired.ports.iter().filter(waits).map(|p| p.id);
        Ok(Reply::Applied {
            unattached: unattached.collect(),
        })
    }

    /// Looks up where tunnelled packets go in another network from now on.
    fn set_underlay(&mut self, underlay: Underlay) -> Result<Reply, Refusal> {
        let before = Arc::clone(self.ledger.tables());
        self.ledger.set_underlay(underlay);
        self.publish(before)?;
        Ok(Reply::Done)
    }

    /// Gives the newest tables to all workers. `before` are the ones that they had: they are freed
    /// here, when nobody uses them any more.
    fn publish(&self, before: Arc<Tables>) -> Result<(), Refusal> {
        let tables = self.ledger.tables();
        if tables.epoch == before.epoch {
            return Ok(());
        }
        // Who sleeps finds them when a packet wakes it, and need not be woken for them.
        let awake = self.workers.iter().filter(|worker| !worker.leave(tables));
        self.ask_each(awake, |done| Command::Publish(Arc::clone(tables), done))?;
        Ok(())
    }

    /// Tells every worker how to reach every port.
    fn publish_routes(&self) -> Result<(), Refusal> {
        let len = self.held.keys().last().map_or(0, |id| id.0 as usize + 1);
        for worker in &self.workers {
            let mut routes = vec![Route::None; len];
            for (id, held) in &self.held {
                let own = held.workers.iter().position(|&w| w == worker.id);
                routes[id.0 as usize] = match (own, held.workers.first()) {
                    (Some(queue), _) => Route::Own(QueueId {
                        port: PortIndex(id.0),
                        queue: queue as u32,
                    }),
                    (None, Some(&peer)) => Route::Peer(peer),
                    (None, None) => Route::None,
                };
            }
            self.ask(worker, |done| Command::SetRoutes(routes, done))?;
        }
        Ok(())
    }

    fn set_mtu(&self, port: PortId, mtu: u32) -> Result<(), Refusal> {
        let Some(held) = self.held.get(&port) else {
            return Ok(());
        };
        for (queue, &worker) in held.workers.iter().enumerate() {
            let id = QueueId {
                port: PortIndex(port.0),
                queue: queue as u32,
            };
            self.ask(&self.workers[worker as usize], |done| {
                Command::SetMtu(id, mtu, done)
            })?;
        }
        Ok(())
    }

    /// Has one worker carry out a command and waits for its answer.
    fn ask<T>(
        &self,
        worker: &WorkerHandle,
        command: impl FnOnce(Sender<T>) -> Command,
    ) -> Result<T, Refusal> {
        let (reply, answer) = bounded(1);
        if !worker.send(command(reply)) {
            return Err(Refusal::Worker(worker.id));
        }
        self.answer(worker, &answer)
    }

    /// Has all workers carry out a command at the same time and waits for their answers.
    fn ask_all<T>(&self, command: impl Fn(Sender<T>) -> Command) -> Result<Vec<T>, Refusal> {
        self.ask_each(self.workers.iter(), command)
    }

    /// The same of some workers.
    fn ask_each<'a, T>(
        &'a self,
        workers: impl Iterator<Item = &'a WorkerHandle>,
        command: impl Fn(Sender<T>) -> Command,
    ) -> Result<Vec<T>, Refusal> {
        let mut asked = Vec::new();
        for worker in workers {
            let (reply, answer) = bounded(1);
            if !worker.send(command(reply)) {
                return Err(Refusal::Worker(worker.id));
            }
            asked.push((worker, answer));
        }
        let answers = asked.iter();
        answers
            .map(|(worker, answer)| self.answer(worker, answer))
            .collect()
    }

    fn answer<T>(&self, worker: &WorkerHandle, answer: &Receiver<T>) -> Result<T, Refusal> {
        answer
            .recv_timeout(WORKER_WAIT)
            .map_err(|_| Refusal::Worker(worker.id))
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("config", &self.config)
            .field("frames", &self.frames)
            .field("ports", &self.held.keys())
            .finish_non_exhaustive()
    }
}

fn wait_policy(poll: PollMode, sleep_after: Duration) -> WaitPolicy {
    WaitPolicy {
        sleep_after: match poll {
            PollMode::Adaptive => Some(sleep_after),
            PollMode::Busy => None,
        },
    }
}
