//! The port queues of a worker, and the ways to ports that other workers serve.
//!
//! A queue is *ready* while it may have packets: from a readiness event until a receive call finds
//! it drained. Only ready queues are read, so a thousand idle ones cost nothing. A queue whose
//! receive call needs no system call stays ready for a while after it was drained, because looking
//! is cheaper than being told.
//!
//! Packets are collected per queue during a round and written once at its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::queue::ArrayQueue;
use mio::Waker;

use crate::buffer::{BATCH_LEN, Batch, FramePool, Packet};
use crate::counters::{DropReason, Drops};
use crate::offload::Capabilities;
use crate::pipeline::Tables;
use crate::port::{PortIndex, PortQueue, Readiness};

/// Packets that may wait for another worker; at 32 a round, more than it falls behind unless it is
/// overloaded.
const INBOX_LEN: usize = 1024;

/// Rounds without a packet after which a cheap queue is left to its readiness events.
const COLD_AFTER: u32 = 2_000;

/// Packets sent in a round from which on a cheap queue is looked at instead of watched. A watched
/// AF_XDP socket walks its waiters for every packet that leaves it (`sock_wfree`, 6 % of the cost
/// of sending one); below this, registering and deregistering costs more than that.
const SENT_WARM: usize = BATCH_LEN / 2;

/// One queue of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId {
    /// The port.
    pub port: PortIndex,
    /// Its queue number, from 0.
    pub queue: u32,
}

/// How a worker reaches a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// Not at all: the port has no device now.
    #[default]
    None,
    /// By a queue of its own.
    Own(QueueId),
    /// By the worker with this number.
    Peer(u32),
}

/// What is on its way to a worker: packets for its ports, and tables that it takes when it wakes.
#[derive(Debug)]
pub struct Inbox {
    packets: ArrayQueue<(PortIndex, Packet)>,
    /// The worker sleeps, or is about to and will look once more before it does.
    sleeping: AtomicBool,
    /// The newest tables, left by control while the worker slept; the flag is set after them.
    left: Mutex<Option<Arc<Tables>>>,
    is_left: AtomicBool,
    waker: Option<Waker>,
}

impl Inbox {
    /// An empty inbox. `waker` ends the worker's sleep; a worker driven by a test has none.
    #[must_use]
    pub fn new(waker: Option<Waker>) -> Arc<Self> {
        Arc::new(Self {
            packets: ArrayQueue::new(INBOX_LEN),
            sleeping: AtomicBool::new(false),
            left: Mutex::default(),
            is_left: AtomicBool::new(false),
            waker,
        })
    }

    fn push(&self, port: PortIndex, packet: Packet) -> Result<(), Packet> {
        self.packets.push((port, packet)).map_err(|(_, p)| p)?;
        self.wake_sleeper();
        Ok(())
    }

    /// Ends the worker's sleep if it sleeps, after something was put where it looks.
    pub(super) fn wake_sleeper(&self) {
        // Pairs with the fence in `announce_sleep`: either the sleeper sees what was put there when
        // it looks again, or we see that it sleeps.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    fn lock_left(&self) -> MutexGuard<'_, Option<Arc<Tables>>> {
        // Nothing in between can fail half way.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves tables for a worker that sleeps: it takes them before it receives another packet. False
    /// when it is awake and has to be told.
    pub(super) fn leave(&self, tables: &Arc<Tables>) -> bool {
        *self.lock_left() = Some(Arc::clone(tables));
        self.is_left.store(true, Ordering::Relaxed);
        // Pairs with the fence in `end_sleep`: either the worker sees the tables when it wakes, or
        // we see that it is awake.
        fence(Ordering::SeqCst);
        let asleep = self.sleeping.load(Ordering::Relaxed);
        if !asleep {
            self.take_left();
        }
        asleep
    }

    /// Tables that were left while the worker slept.
    pub(super) fn take_left(&self) -> Option<Arc<Tables>> {
        if !self.is_left.load(Ordering::Relaxed) {
            return None;
        }
        self.is_left.store(false, Ordering::Relaxed);
        self.lock_left().take()
    }

    /// Ends the sleep of a worker for which tables are left, so that it lets go of the old ones.
    pub(super) fn remind(&self) {
        if self.is_left.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    pub(super) fn pop(&self) -> Option<(PortIndex, Packet)> {
        self.packets.pop()
    }

    /// Says that the worker is about to sleep; false when it must not, for packets wait.
    pub(super) fn announce_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.packets.is_empty()
    }

    pub(super) fn end_sleep(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Ends the worker's sleep, now or as soon as it begins.
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker
            && let Err(error) = waker.wake()
        {
            tracing::error!(%error, "a sleeping worker could not be woken");
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // Packets that nobody will send any more; the region is mapped for the life of the
        // process, so their memory stays valid and is only lost to the pool.
        while let Some((_, packet)) = self.packets.pop() {
            std::mem::forget(packet);
        }
    }
}

/// A queue and what is known of it.
pub(super) struct Slot {
    pub(super) id: QueueId,
    pub(super) io: Box<dyn PortQueue>,
    pub(super) caps: Capabilities,
    /// Packets for the end of the round.
    pub(super) out: Vec<Packet>,
    /// In the list of ready queues.
    ready: bool,
    cheap: bool,
    always: bool,
    /// It brings packets in tunnels and no others.
    carries_tunnels: bool,
    /// Receive calls in a row that brought nothing.
    empty: u32,
    /// The loop is told when packets come. Not so for a cheap queue that packets come from or that
    /// bursts are sent to: being told costs the sender a lock that it would share with us for every
    /// burst, and ourselves two for every packet.
    pub(super) watched: bool,
    /// Rounds for which the queue is passed over because its packets missed the cache too often.
    pub(super) penalty: u32,
    /// Cycles spent on its packets.
    pub(super) cycles: u64,
}

/// A route with its queue's slot looked up.
#[derive(Clone, Copy)]
enum Way {
    None,
    Slot(u32),
    Peer(u32),
}

/// All queues of a worker.
pub(super) struct Ports {
    pub(super) slots: Vec<Option<Slot>>,
    routes: Vec<Route>,
    /// The routes, by port number, ready to use.
    ways: Vec<Way>,
    /// Slots to be read.
    pub(super) ready: Vec<u32>,
    /// Slots with packets to be sent.
    pub(super) dirty: Vec<u32>,
    /// Slots that need not be watched any longer, and slots that have to be again.
    pub(super) warm: Vec<u32>,
    pub(super) cold: Vec<u32>,
    /// Slots of cheap queues: before a sleep only these are gone through, however many others
    /// there are.
    cheap: Vec<u32>,
    /// A queue gives packets without ever saying that it has some.
    has_silent: bool,
    pub(super) inbox: Arc<Inbox>,
    peers: Vec<Arc<Inbox>>,
    pub(super) handed_over: u64,
}

impl Ports {
    pub(super) fn new(inbox: Arc<Inbox>, peers: Vec<Arc<Inbox>>) -> Self {
        Self {
            slots: Vec::new(),
            routes: Vec::new(),
            ways: Vec::new(),
            ready: Vec::new(),
            dirty: Vec::new(),
            warm: Vec::new(),
            cold: Vec::new(),
            cheap: Vec::new(),
            has_silent: false,
            inbox,
            peers,
            handed_over: 0,
        }
    }

    /// Takes a queue in and answers its slot number, by which events name it.
    pub(super) fn add(&mut self, id: QueueId, io: Box<dyn PortQueue>) -> u32 {
        let (cheap, always) = match io.readiness() {
            Readiness::Fd { cheap, .. } => (cheap, false),
            Readiness::Always => (false, true),
            Readiness::Never => (false, false),
        };
        let slot = Slot {
            id,
            caps: io.capabilities(),
            carries_tunnels: io.carries_tunnels(),
            io,
            out: Vec::with_capacity(4 * BATCH_LEN),
            ready: false,
            cheap,
            always,
            empty: 0,
            watched: false,
            penalty: 0,
            cycles: 0,
        };
        let number = match self.slots.iter().position(Option::is_none) {
            Some(number) => {
                self.slots[number] = Some(slot);
                number
            }
            None => {
                self.slots.push(Some(slot));
                self.slots.len() - 1
            }
        };
        self.slots_changed();
        // There may be packets from before the queue was registered for events.
        self.mark_ready(number as u32);
        number as u32
    }

    /// Takes a queue out.
    pub(super) fn remove(
        &mut self,
        id: QueueId,
        drops: &mut Drops,
        pool: &mut FramePool,
    ) -> Option<Slot> {
        let number = self.number_of(id)?;
        let mut slot = self.slots[number].take()?;
        self.slots_changed();
        self.ready.retain(|&n| n as usize != number);
        self.dirty.retain(|&n| n as usize != number);
        for packet in slot.out.drain(..) {
            drops.count(DropReason::PortDown);
            pool.drop_packet(packet);
        }
        Some(slot)
    }

    pub(super) fn number_of(&self, id: QueueId) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|slot| slot.id == id))
    }

    pub(super) fn set_routes(&mut self, routes: Vec<Route>) {
        self.routes = routes;
        self.find_ways();
    }

    /// Works out anew what rests on which queues there are.
    fn slots_changed(&mut self) {
        let slots = self.slots.iter().enumerate();
        let cheap = slots.filter(|(_, slot)| slot.as_ref().is_some_and(|slot| slot.cheap));
        self.cheap.clear();
        self.cheap.extend(cheap.map(|(number, _)| number as u32));
        self.has_silent = self.slots.iter().flatten().any(|slot| slot.always);
        self.find_ways();
    }

    fn find_ways(&mut self) {
        let Self {
            slots,
            routes,
            ways,
            ..
        } = self;
        let numbers: HashMap<QueueId, u32> = slots
            .iter()
            .enumerate()
            .filter_map(|(number, slot)| Some((slot.as_ref()?.id, number as u32)))
            .collect();
        ways.clear();
        ways.extend(routes.iter().map(|route| {
            match route {
                Route::None => Way::None,
                Route::Own(id) => numbers
                    .get(id)
                    .map_or(Way::None, |&number| Way::Slot(number)),
                Route::Peer(worker) => Way::Peer(*worker),
            }
        }));
    }

    /// The queue in slot `number` may have packets.
    #[inline]
    pub(super) fn mark_ready(&mut self, number: u32) {
        if let Some(Some(slot)) = self.slots.get_mut(number as usize)
            && !slot.ready
        {
            slot.ready = true;
            slot.empty = 0;
            self.ready.push(number);
        }
    }

    /// Reads the queue in slot `number` and answers whether it stays ready.
    #[inline]
    pub(super) fn rx(
        &mut self,
        number: u32,
        now: std::time::Instant,
        pool: &mut FramePool,
        batch: &mut Batch,
    ) -> bool {
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else {
            return false;
        };
        if slot.penalty > 0 {
            slot.penalty -= 1;
            return true;
        }
        let more = slot.io.rx(now, pool, batch) == crate::port::RxStatus::More;
        if !batch.is_empty() {
            slot.empty = 0;
        } else {
            slot.empty = slot.empty.saturating_add(1);
        }
        slot.ready = more || slot.always || (slot.cheap && slot.empty < COLD_AFTER);
        if slot.cheap && slot.watched && slot.empty == 0 {
            self.warm.push(number);
        } else if slot.cheap && !slot.watched && !slot.ready {
            self.cold.push(number);
        }
        slot.ready
    }

    /// Whether the queue in slot `number` brings packets in tunnels and no others: its port, and
    /// whether they come from a stack on this machine.
    #[inline]
    pub(super) fn carries_tunnels(&self, number: u32) -> Option<(PortIndex, bool)> {
        let slot = self.slots.get(number as usize)?.as_ref()?;
        slot.carries_tunnels
            .then(|| (slot.id.port, slot.io.is_local()))
    }

    /// Whether a port that is served here brings packets of a stack on this machine.
    pub(super) fn is_local(&self, port: PortIndex) -> bool {
        let Some(&Way::Slot(number)) = self.ways.get(port.0 as usize) else {
            return false;
        };
        let slot = self.slots.get(number as usize).and_then(Option::as_ref);
        slot.is_some_and(|slot| slot.io.is_local())
    }

    /// A burst of `len` packets is about to be sent to the queue in slot `number`.
    #[inline]
    pub(super) fn warm_by_sending(&mut self, number: u32, len: usize) {
        if len >= SENT_WARM
            && let Some(Some(slot)) = self.slots.get(number as usize)
            && slot.cheap
            && slot.watched
        {
            // Looked at from now on, since nothing tells of its packets any longer.
            self.mark_ready(number);
            self.warm.push(number);
        }
    }

    /// Sends a packet to a port at the end of the round.
    #[inline]
    pub(super) fn send(
        &mut self,
        port: PortIndex,
        packet: Packet,
        pool: &mut FramePool,
        drops: &mut Drops,
    ) {
        if let Some(&Way::Slot(number)) = self.ways.get(port.0 as usize)
            && let Some(Some(slot)) = self.slots.get_mut(number as usize)
        {
            if slot.out.is_empty() {
                self.dirty.push(number);
            }
            slot.out.push(packet);
        } else {
            self.send_elsewhere(port, packet, pool, drops);
        }
    }

    /// Sends a packet to a port that is not served here.
    #[inline(never)]
    fn send_elsewhere(
        &mut self,
        port: PortIndex,
        packet: Packet,
        pool: &mut FramePool,
        drops: &mut Drops,
    ) {
        let Some(&Way::Peer(worker)) = self.ways.get(port.0 as usize) else {
            drops.count(DropReason::PortDown);
            pool.drop_packet(packet);
            return;
        };
        let sent = match self.peers.get(worker as usize) {
            Some(inbox) => inbox.push(port, packet),
            None => Err(packet),
        };
        match sent {
            Ok(()) => self.handed_over += 1,
            Err(packet) => {
                drops.count(DropReason::QueueFull);
                pool.drop_packet(packet);
            }
        }
    }

    /// A port's MTU has changed.
    pub(super) fn set_mtu(&mut self, id: QueueId, mtu: u32) {
        if let Some(number) = self.number_of(id)
            && let Some(slot) = &mut self.slots[number]
        {
            slot.io.set_mtu(mtu);
            slot.caps = slot.io.capabilities();
        }
    }

    /// Asks for all queues to be watched that are not: the worker is about to sleep.
    pub(super) fn cool(&mut self) {
        let unwatched = self.cheap.iter().filter(|&&number| {
            let slot = self.slots.get(number as usize).and_then(Option::as_ref);
            slot.is_some_and(|slot| !slot.watched)
        });
        self.cold.extend(unwatched);
    }

    /// Whether nothing keeps the worker from sleeping.
    pub(super) fn may_sleep(&self) -> bool {
        self.ready.iter().all(|&number| {
            let slot = self.slots.get(number as usize).and_then(Option::as_ref);
            slot.is_none_or(|slot| (slot.cheap || slot.always) && slot.empty > 0)
        })
    }

    /// Whether a queue gives packets without ever saying that it has some.
    pub(super) fn has_silent(&self) -> bool {
        self.has_silent
    }
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.slots.iter().flatten().map(|slot| slot.id))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::time::Instant;

    use super::*;
    use crate::buffer::SharedFrames;
    use crate::port::{PortCounters, RxStatus};

    /// A ring without packets, to look at which costs no system call.
    struct Ring {
        fd: OwnedFd,
        counters: PortCounters,
    }

    impl PortQueue for Ring {
        fn rx(&mut self, _: Instant, _: &mut FramePool, _: &mut Batch) -> RxStatus {
            RxStatus::Drained
        }

        fn tx(&mut self, _: Instant, pool: &mut FramePool, packets: &mut Vec<Packet>) {
            for packet in packets.drain(..) {
                pool.drop_packet(packet);
            }
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities::default()
        }

        fn set_mtu(&mut self, _: u32) {}

        fn readiness(&self) -> Readiness<'_> {
            Readiness::Fd {
                fd: self.fd.as_fd(),
                cheap: true,
            }
        }

        fn counters(&self) -> &PortCounters {
            &self.counters
        }

        fn close(self: Box<Self>, _: &mut FramePool) {}
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a queue that ignores the time")]
    fn a_ring_that_bursts_are_sent_to_is_looked_at_instead_of_watched_until_it_is_cold() {
        let mut pool = FramePool::new(SharedFrames::new(1, 0).expect("memory"));
        let mut ports = Ports::new(Inbox::new(None), Vec::new());
        let id = QueueId {
            port: PortIndex(1),
            queue: 0,
        };
        let (fd, _) = rustix::pipe::pipe().expect("a pipe");
        let counters = PortCounters::default();
        let number = ports.add(id, Box::new(Ring { fd, counters }));
        let mut look = |ports: &mut Ports| {
            ports.ready.clear();
            ports.rx(number, Instant::now(), &mut pool, &mut Batch::new())
        };
        let watch = |ports: &mut Ports, watched| {
            let slot = ports.slots[number as usize].as_mut();
            slot.expect("just added").watched = watched;
        };
        watch(&mut ports, true);
        while look(&mut ports) {}

        ports.warm_by_sending(number, SENT_WARM - 1);
        assert_eq!((&ports.warm[..], &ports.ready[..]), (&[][..], &[][..]));
        ports.warm_by_sending(number, SENT_WARM);
        assert_eq!(
            (&ports.warm[..], &ports.ready[..]),
            (&[number][..], &[number][..])
        );
        watch(&mut ports, false);
        ports.warm_by_sending(number, SENT_WARM);
        assert_eq!(ports.warm, [number], "it is not watched any longer");

        while look(&mut ports) {
            assert!(ports.cold.is_empty());
        }
        assert_eq!(ports.cold, [number], "nobody would tell of its packets");

        // Before a sleep it is watched again at once, however warm it is.
        ports.cold.clear();
        ports.mark_ready(number);
        ports.cool();
        assert_eq!(ports.cold, [number]);
        ports.cold.clear();
        watch(&mut ports, true);
        ports.cool();
        assert!(ports.cold.is_empty());
    }

    #[test]
    fn tables_are_left_for_who_sleeps_and_taken_once() {
        let tables = Tables::build(&vswitch_dpapi::Desired::default(), None, 1, 1);
        let tables = Arc::new(tables.expect("nothing is wrong with nothing"));
        let inbox = Inbox::new(None);
        assert!(!inbox.leave(&tables), "who is awake is told");
        assert!(inbox.take_left().is_none());
        assert!(inbox.announce_sleep());
        assert!(inbox.leave(&tables) && inbox.leave(&tables));
        inbox.end_sleep();
        assert!(
            inbox
                .take_left()
                .is_some_and(|left| Arc::ptr_eq(&left, &tables))
        );
        assert!(inbox.take_left().is_none());
    }
}
