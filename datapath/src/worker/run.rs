//! The loop of a worker's thread: rounds while there is work, sleep when there is none.
//!
//! Decision 12: a worker polls while packets come; after a while without any it waits for an event
//! of its ports, its inbox or control. Events are edge-triggered, so a queue is announced once and
//! read until it is drained. Busy polling never sleeps, but still asks for events between rounds,
//! since that is how it learns of packets on ports that need a system call to look at.

#![expect(
    clippy::disallowed_methods,
    reason = "this loop and the control thread are where time enters the datapath"
)]

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use vswitch_sys::clock::cycles;

use super::Worker;
use super::command::{Command, Megaflow, Snapshot, Stopped};
use super::jobs::Parked;
use super::ports::{Inbox, QueueId};
use super::stats::Stats;
use crate::buffer::Packet;
use crate::pipeline::Tables;
use crate::port::{PortQueue, Readiness};
use crate::tick::Tick;
use vswitch_flow::Match;

/// The waker's token; slots have theirs below it.
const WAKER: Token = Token(usize::MAX);

/// Events taken in one call.
const EVENTS_LEN: usize = 256;

/// Busy rounds between two looks at events: a ready queue need not wait long for another to be
/// noticed, and the call's cost is spread over four batches.
const EVENTS_EVERY: u32 = 4;

/// Longest sleep while a port has to be asked for packets because it cannot announce them.
const SILENT_PORT_WAIT: Duration = Duration::from_millis(1);

/// Longest sleep while the cache holds something to be swept.
const SWEEP_WAIT: Duration = Duration::from_secs(1);

/// Longest sleep while there are routers, which do things by themselves.
const ROUTERS_WAIT: Duration = Duration::from_millis(super::router::TIMERS_MS);

/// Slots swept after a long sleep, so that an idle switch forgets in the same time as a busy one.
const SWEEP_IDLE_LEN: usize = 4096;

/// How a worker waits when no packet comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitPolicy {
    /// Time without a packet after which the worker sleeps; `None` means never.
    pub sleep_after: Option<Duration>,
}

/// Control's end of a running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Its number.
    pub id: u32,
    commands: Sender<Command>,
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Hands the worker a command. False when the worker has ended.
    #[must_use]
    pub fn send(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        self.inbox.wake_sleeper();
        sent
    }

    /// Leaves tables for the worker if it sleeps: they are in force for every later packet. False
    /// when it is awake and has to be sent [`Command::Publish`].
    #[must_use]
    pub fn leave(&self, tables: &Arc<Tables>) -> bool {
        self.inbox.leave(tables)
    }

    /// Has a sleeping worker take what was left for it, without waiting.
    pub fn remind(&self) {
        self.inbox.remind();
    }

    /// Waits for the thread's end, after [`Command::Stop`].
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(worker = self.id, "the worker panicked");
        }
    }
}

/// A thread's loop, before it begins.
struct Loop {
    worker: Worker,
    poll: Poll,
    commands: Receiver<Command>,
    wait: WaitPolicy,
    core: Option<usize>,
    started: Instant,
    started_cycles: u64,
}

/// Starts a worker on a thread, pinned to `core` when there is one. `origin` is tick zero.
///
/// # Errors
/// When no thread or event queue can be had.
pub fn start(
    worker: Worker,
    poll: Poll,
    core: Option<usize>,
    wait: WaitPolicy,
    origin: Instant,
) -> std::io::Result<WorkerHandle> {
    let (commands, receiver) = crossbeam::channel::unbounded();
    let id = worker.id;
    let inbox = Arc::clone(&worker.ports.inbox);
    let thread = std::thread::Builder::new()
        .name(format!("worker{id}"))
        .spawn(move || {
            let pinned = core.filter(|&core| vswitch_sys::affinity::pin(core));
            Loop {
                worker,
                poll,
                commands: receiver,
                wait,
                core: pinned,
                started: origin,
                started_cycles: cycles(),
            }
            .run();
        })?;
    Ok(WorkerHandle {
        id,
        commands,
        inbox,
        thread: Some(thread),
    })
}

/// The event queue of a worker, and the waker that its inbox needs.
///
/// # Errors
/// What `epoll_create(2)` or `eventfd(2)` answer.
pub fn event_queue() -> std::io::Result<(Poll, Waker)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    Ok((poll, waker))
}

impl Loop {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_LEN);
        let loop_started = Instant::now();
        let mut last_packet = loop_started;
        let mut since_events = 0;
        let measured_from = loop_started;
        self.started_cycles = cycles();
        loop {
            while let Ok(command) = self.commands.try_recv() {
                if !self.obey(command, measured_from) {
                    return;
                }
            }
            let now = Instant::now();
            let tick = Tick(now.duration_since(self.started).as_millis() as u64);
            let moved = self.worker.round(now, tick);
            self.rewatch();
            if moved > 0 {
                last_packet = now;
                since_events += 1;
                if since_events < EVENTS_EVERY {
                    continue;
                }
                since_events = 0;
                self.events(&mut events, Some(Duration::ZERO));
                continue;
            }
            since_events = 0;
            let idle = now.duration_since(last_packet);
            let may_sleep = self.wait.sleep_after.is_some_and(|after| idle >= after)
                && self.worker.ports.may_sleep()
                && self.worker.ports.inbox.announce_sleep()
                && self.commands.is_empty();
            if may_sleep {
                self.worker.stats.sleeps += 1;
                self.worker.ports.cool();
                self.rewatch();
                let timeout = self.sleep_limit();
                self.events(&mut events, timeout);
                self.wake_up();
                let tick = Tick(Instant::now().duration_since(self.started).as_millis() as u64);
                let recent = self.worker.tables.recent();
                if idle > SWEEP_WAIT {
                    self.worker.cache.sweep(
                        SWEEP_IDLE_LEN,
                        recent,
                        tick,
                        super::round::CACHE_IDLE_MS,
                    );
                }
            } else {
                self.wake_up();
                self.events(&mut events, Some(Duration::ZERO));
            }
        }
    }

    /// Sleeps no longer: takes the tables that were left meanwhile.
    fn wake_up(&mut self) {
        let inbox = &self.worker.ports.inbox;
        inbox.end_sleep();
        if let Some(tables) = inbox.take_left()
            && tables.epoch > self.worker.tables.epoch
        {
            self.worker.tables = tables;
        }
    }

    /// Stops watching queues that packets come from, and watches those again from which none come.
    /// Watching begins with an event when there are packets already, so none is overlooked.
    fn rewatch(&mut self) {
        while let Some(number) = self.worker.ports.warm.pop() {
            self.watch(number, false);
        }
        while let Some(number) = self.worker.ports.cold.pop() {
            self.watch(number, true);
        }
    }

    /// Has the event queue announce packets of a queue, or not any longer.
    fn watch(&mut self, number: u32, watched: bool) {
        let Some(Some(slot)) = self.worker.ports.slots.get_mut(number as usize) else {
            return;
        };
        if slot.watched == watched {
            return;
        }
        let Readiness::Fd { fd, .. } = slot.io.readiness() else {
            return;
        };
        let fd = fd.as_raw_fd();
        let registry = self.poll.registry();
        let done = if watched {
            let token = Token(number as usize);
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
        } else {
            registry.deregister(&mut SourceFd(&fd))
        };
        match done {
            Ok(()) => slot.watched = watched,
            Err(error) => {
                tracing::error!(%error, id = ?slot.id, "a port queue cannot be waited for")
            }
        }
    }

    fn sleep_limit(&self) -> Option<Duration> {
        if self.worker.ports.has_silent() {
            Some(SILENT_PORT_WAIT)
        } else if self.worker.id == 0 && !self.worker.tables.routers().is_empty() {
            Some(ROUTERS_WAIT)
        } else if self.worker.cache.len().entries > 0 {
            Some(SWEEP_WAIT)
        } else {
            None
        }
    }

    /// Takes readiness events in, waiting for at most `timeout`.
    fn events(&mut self, events: &mut Events, timeout: Option<Duration>) {
        match self.poll.poll(events, timeout) {
            Ok(()) => {
                for event in events.iter().filter(|event| event.token() != WAKER) {
                    self.worker.ports.mark_ready(event.token().0 as u32);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => tracing::error!(%error, "waiting for events failed"),
        }
    }

    /// Carries out a command; false ends the loop. Nobody waits for an answer that cannot be
    /// delivered, so a closed channel is no error.
    fn obey(&mut self, command: Command, measured_from: Instant) -> bool {
        match command {
            Command::Publish(tables, done) => {
                self.worker.tables = tables;
                let _ = done.send(());
            }
            Command::AddQueue(id, io, done) => {
                self.add_queue(id, io);
                let _ = done.send(());
            }
            Command::RemoveQueue(id, done) => {
                self.remove_queue(id);
                let _ = done.send(());
            }
            Command::SetRoutes(routes, done) => {
                self.worker.ports.set_routes(routes);
                let _ = done.send(());
            }
            Command::SetMtu(id, mtu, done) => {
                self.worker.ports.set_mtu(id, mtu);
                let _ = done.send(());
            }
            Command::CreditRules(done) => {
                self.worker.credit_rules();
                let _ = done.send(());
            }
            Command::PacketOut(job, done) => {
                let (now, tick) = self.now();
                self.worker.packet_out(&job, now, tick);
                let _ = done.send(());
            }
            Command::Resume(job, done) => {
                let (now, tick) = self.now();
                self.worker.resume(&job, now, tick);
                let _ = done.send(());
            }
            Command::Walk(job, reply) => {
                let (now, tick) = self.now();
                let again = self.worker.walk(&job, now, tick);
                let _ = reply.send(again);
            }
            Command::Release(ticket, done) => {
                let (now, tick) = self.now();
                self.worker.release(ticket, now, tick);
                let _ = done.send(());
            }
            Command::Snapshot(reply) => {
                let snapshot = self.worker.snapshot(self.core, self.rate(measured_from));
                let _ = reply.send(snapshot);
            }
            Command::Megaflows(reply) => {
                let _ = reply.send(self.worker.megaflows());
            }
            Command::SetWait(wait, done) => {
                self.wait = wait;
                let _ = done.send(());
            }
            Command::Stop(reply) => {
                let ids: Vec<_> = self.worker.queue_ids();
                for &id in &ids {
                    self.remove_queue(id);
                }
                self.worker.finish();
                let _ = reply.send(Stopped { queues: ids.len() });
                return false;
            }
        }
        true
    }

    fn now(&self) -> (Instant, Tick) {
        let now = Instant::now();
        (
            now,
            Tick(now.duration_since(self.started).as_millis() as u64),
        )
    }

    fn add_queue(&mut self, id: QueueId, io: Box<dyn PortQueue>) {
        let number = self.worker.add_queue(id, io);
        self.watch(number, true);
    }

    fn remove_queue(&mut self, id: QueueId) {
        if let Some(number) = self.worker.ports.number_of(id) {
            self.watch(number as u32, false);
        }
        self.worker.close_queue(id);
    }

    /// Cycles a second, measured since the loop began.
    fn rate(&self, measured_from: Instant) -> f64 {
        let seconds = measured_from.elapsed().as_secs_f64().max(1e-6);
        cycles().wrapping_sub(self.started_cycles) as f64 / seconds
    }
}

impl Worker {
    /// Serves a queue from the next round on; answers the number by which events name it.
    pub fn add_queue(&mut self, id: QueueId, io: Box<dyn PortQueue>) -> u32 {
        self.ports.add(id, io)
    }

    /// Sets how every port is reached, by port number.
    pub fn set_routes(&mut self, routes: Vec<super::Route>) {
        self.ports.set_routes(routes);
    }

    /// Uses these tables from the next round on.
    pub fn publish(&mut self, tables: Arc<Tables>) {
        self.tables = tables;
    }

    /// A queue has packets again (a test's stand-in for a readiness event).
    pub fn mark_ready(&mut self, number: u32) {
        self.ports.mark_ready(number);
    }

    /// Takes a queue out of service; packets that wait for it are dropped and counted.
    pub fn take_queue(&mut self, id: QueueId) -> Option<Box<dyn PortQueue>> {
        let slot = self
            .ports
            .remove(id, &mut self.stats.drops, &mut self.pool)?;
        Some(slot.io)
    }

    /// Tells the rules of all traffic so far.
    pub fn credit_rules(&mut self) {
        self.cache.credit_rules();
    }

    /// Gives every free frame back to the frames that all workers share.
    pub fn drain_pool(&mut self) {
        self.pool.drain();
    }

    /// Takes a queue out of service and closes it.
    pub fn close_queue(&mut self, id: QueueId) {
        if let Some(io) = self.take_queue(id) {
            io.close(&mut self.pool);
        }
    }

    /// Chunks and large frames in packets that wait for the next round.
    #[must_use]
    pub fn held_frames(&self) -> (usize, usize) {
        let parked = self.parked.iter().map(Parked::packet);
        let packets = self.answers.iter().chain(parked);
        packets
            .map(Packet::frames_len)
            .fold((0, 0), |sum, len| (sum.0 + len.0, sum.1 + len.1))
    }

    /// Packets that wait for control to add the flows that they learn.
    #[must_use]
    pub fn parked_len(&self) -> usize {
        self.parked.len()
    }

    /// A port's queue, to be looked at.
    #[must_use]
    pub fn queue(&self, id: QueueId) -> Option<&dyn PortQueue> {
        let number = self.ports.number_of(id)?;
        self.ports.slots[number].as_ref().map(|slot| &*slot.io)
    }

    /// The queues that it serves.
    #[must_use]
    pub fn queue_ids(&self) -> Vec<QueueId> {
        self.ports.slots.iter().flatten().map(|s| s.id).collect()
    }

    /// Tells the rules of all traffic and gives every frame back: the end.
    pub fn finish(&mut self) {
        self.cache.clear();
        for packet in self.answers.drain(..) {
            self.pool.drop_packet(packet);
        }
        for parked in self.parked.drain(..) {
            self.pool.drop_packet(parked.into_packet());
        }
        while let Some((_, packet)) = self.ports.inbox.pop() {
            self.stats
                .drops
                .count(crate::counters::DropReason::PortDown);
            self.pool.drop_packet(packet);
        }
        self.pool.drain();
    }

    fn snapshot(&mut self, core: Option<usize>, cycles_per_second: f64) -> Snapshot {
        let slots = self.ports.slots.iter_mut().flatten();
        let queues = slots.map(|slot| {
            slot.io.refresh_counters();
            (slot.id, *slot.io.counters(), slot.cycles)
        });
        Snapshot {
            queues: queues.collect(),
            stats: Stats::clone(&self.stats),
            cache: self.cache.counters(),
            cache_len: self.cache.len(),
            core,
            cycles_per_second,
        }
    }

    fn megaflows(&self) -> Vec<Megaflow> {
        let entries = self.cache.entries();
        let rows = entries.filter_map(|(mask, key, entry)| {
            let decision = entry.decision()?;
            Some(Megaflow {
                matches: Match::new(&key.to_dense(), &mask.to_dense()),
                actions: decision.actions.to_vec(),
                rules: decision.rules.to_vec(),
                packets: entry.packets,
                bytes: entry.bytes,
                used: entry.used,
            })
        });
        rows.collect()
    }
}
