//! The neighbours of a router: which station on a bridge has an address.
//!
//! Not for asking: what is to be asked is handed out ([`Neighbours::due`], [`Parked::Asks`]), the
//! gateway asks and tells what it [heard](Neighbours::hear).
//!
//! Law, towards caches: as the FDB's. A decision that looked a neighbour up holds the [`Dep`] that the
//! lookup gave out; a neighbour that becomes known, moves, fails or is forgotten changes its bucket's
//! version. Being confirmed changes none.
//!
//! Law, towards strangers: nobody becomes known who was not asked for. A claim to be a known neighbour
//! at another station is not believed while the known one answers: it is asked first, and has
//! [`TRIES`] times [`DOUBT_MS`] to answer. Bounds: neighbours of a router, those not known among them
//! ([`INCOMPLETE_MAX`]), packets that wait for one ([`QUEUE_MAX`]) and for all ([`WAITING_MAX`]), new
//! questions a second for each port ([`ASKS_RATE`]). Whoever has addresses asked for that do not exist
//! displaces such questions, oldest first, and no neighbour that is known.
//!
//! States: *incomplete* (asked, a question a second, [`TRIES`] of them) then *reachable* or *failed*;
//! *reachable* for [`REACHABLE_MS`], then, if it was used meanwhile, *probe* (asked by itself while
//! packets go on), else *stale* until it is used or has not been for [`FORGET_MS`]; *failed* for
//! [`FAILED_MS`], in which packets to it are answered at once. Traffic keeps nobody stale: a neighbour
//! that is used is asked [`AHEAD_MS`] before its time is over.
//!
//! Threads: any. The lock is held by misses, by packets that wait, by what is heard and by timers, never
//! by a packet whose decision is cached; that one stores the time of its use.
//!
//! Spec: RFC 826, RFC 1122 §2.3.2 (ARP); RFC 4861 §7.3 (states, times); RFC 5227 §2.4 (defence).

mod table;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vswitch_dpapi::PortId;
use vswitch_dpapi::router::{NeighbourRow, NeighbourStats};
use vswitch_flow::prefix::left_aligned;

use crate::buffer::Packet;
use crate::fdb::{Dep, Versions};
use crate::port::PortIndex;
use crate::tick::Tick;

use table::Table;

/// Neighbours that are asked for and not known, or have not answered.
pub const INCOMPLETE_MAX: usize = 1024;

/// Packets that wait for one neighbour: the first of a connection and a few more. A further one takes
/// the place of the oldest.
pub const QUEUE_MAX: usize = 32;

/// Packets that wait for neighbours of one router: a small part of all frames.
pub const WAITING_MAX: usize = 512;

/// New neighbours that are asked for in a second by one port, and at once.
pub const ASKS_RATE: u32 = 1000;
/// The burst of [`ASKS_RATE`].
pub const ASKS_BURST: u32 = 256;

/// How often a neighbour is asked (`MAX_MULTICAST_SOLICIT` of RFC 4861).
pub const TRIES: u8 = 3;

/// Milliseconds between two questions (`RETRANS_TIMER`).
pub const RETRY_MS: u64 = 1000;

/// Milliseconds between two questions when somebody else claims to be the neighbour: one that is there
/// answers in one, and one that has moved is missed for less than a second.
pub const DOUBT_MS: u64 = 250;

/// Milliseconds that an answer is good for (`REACHABLE_TIME`).
pub const REACHABLE_MS: u64 = 30_000;

/// Milliseconds before that at which a neighbour in use is asked: time for all tries.
pub const AHEAD_MS: u64 = 5_000;

/// Milliseconds between looks at whether a stale neighbour is used again (`DELAY_PROBE_TIME`).
pub const STALE_MS: u64 = 5_000;

/// Milliseconds without use after which a neighbour is forgotten.
pub const FORGET_MS: u64 = 300_000;

/// Milliseconds that one who did not answer is not asked again.
pub const FAILED_MS: u64 = 3_000;

/// An address at a router's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeighbourKey {
    /// The port.
    pub port: PortIndex,
    /// The address.
    pub address: IpAddr,
}

impl NeighbourKey {
    fn bucket(&self, seed: u64) -> usize {
        let bits = left_aligned(self.address);
        let mut hash = seed ^ u64::from(self.port.0);
        for half in [bits as u64, (bits >> 64) as u64] {
            let product = u128::from(hash ^ half) * 0x9e37_79b9_7f4a_7c15;
            hash = (product >> 64) as u64 ^ product as u64;
        }
        (hash >> 32) as usize
    }
}

/// A neighbour that is known. One that moves becomes another.
#[derive(Debug)]
pub struct Neighbour {
    key: NeighbourKey,
    mac: [u8; 6],
    used: AtomicU64,
}

impl Neighbour {
    /// Which address.
    #[must_use]
    pub fn key(&self) -> NeighbourKey {
        self.key
    }

    /// Its station.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// When something was sent to it last.
    #[must_use]
    pub fn used(&self) -> Tick {
        Tick(self.used.load(Ordering::Relaxed))
    }

    /// Something is sent to it at `now`. Writes only when the time has changed.
    #[inline]
    pub fn touch(&self, now: Tick) {
        if self.used.load(Ordering::Relaxed) < now.0 {
            self.used.store(now.0, Ordering::Relaxed);
        }
    }
}

/// What a lookup found.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The neighbour.
    Known(Arc<Neighbour>),
    /// It has to be asked for.
    Unknown,
    /// It does not answer.
    Failed,
}

/// A packet that waits for a neighbour.
#[derive(Debug)]
pub struct Waiting {
    /// The packet as it came to the router.
    pub packet: Packet,
    /// The router port by which it came.
    pub from: PortIndex,
}

/// What became of a packet that was to wait.
#[derive(Debug)]
pub enum Parked {
    /// It waits. Another one may have lost its place to it.
    Waits(Option<Waiting>),
    /// It waits, and the neighbour is to be asked for. Another question may have been given up, with
    /// the packets that waited for its answer.
    Asks(Vec<Waiting>),
    /// It need not wait: the neighbour has become known.
    Known(Waiting, Arc<Neighbour>),
    /// It cannot wait: the neighbour does not answer.
    Failed(Waiting),
    /// It cannot wait: there is no room, or too much is asked for.
    Full(Waiting),
}

/// How something was heard of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It says where it is, to us: an answer.
    Answer,
    /// It is seen to be there: it asks, or says so unasked.
    Remark,
}

/// What became of something that was heard.
#[derive(Debug)]
pub enum Heard {
    /// Nobody asked for this neighbour.
    Stranger,
    /// It is known to be there.
    Confirmed,
    /// It has become known; these packets waited for it.
    Learned(Arc<Neighbour>, Vec<Waiting>),
    /// Another station is known as this neighbour and is asked first, if it is not already: at this
    /// address.
    Doubted(Option<[u8; 6]>),
}

/// What a neighbour's time brings.
#[derive(Debug)]
pub enum Due {
    /// It is to be asked: at this station, or all.
    Ask(NeighbourKey, Option<[u8; 6]>),
    /// It did not answer; these packets waited.
    Failed(NeighbourKey, Vec<Waiting>),
}

/// The neighbours of one router.
pub struct Neighbours {
    seed: u64,
    versions: Versions,
    table: Mutex<Table>,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Neighbours {
    /// Nobody; at most `max` of them later. `seed` keys the hash.
    #[must_use]
    pub fn new(seed: u64, max: usize) -> Self {
        Self {
            seed,
            versions: Versions::default(),
            table: Mutex::new(Table::new(max)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table's methods do not panic half way, so what a panicking thread left is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decisions that rest on these are void. Called with the table locked and already changed.
    fn changed(&self, table: &mut Table) {
        for key in table.changed.drain(..) {
            self.versions.changed(key.bucket(self.seed));
        }
    }

    /// Does something to the table, and makes decisions void that rest on what has changed.
    fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.lock();
        let done = work(&mut table);
        self.changed(&mut table);
        done
    }

    /// Changes how many neighbours fit.
    pub fn set_max(&self, max: usize) {
        self.with(|table| table.set_max(max));
    }

    /// What is known of an address, and what an answer that is kept rests on.
    #[must_use]
    pub fn lookup(&self, key: NeighbourKey) -> (Dep, Seen) {
        let dep = self.versions.dep(key.bucket(self.seed));
        (dep, self.lock().see(&key))
    }

    /// Has a packet wait for a neighbour.
    pub fn park(&self, key: NeighbourKey, waiting: Waiting, now: Tick) -> Parked {
        self.with(|table| table.park(key, waiting, now))
    }

    /// Something was heard of an address.
    pub fn hear(&self, key: NeighbourKey, mac: [u8; 6], word: Word, now: Tick) -> Heard {
        self.with(|table| table.hear(key, mac, word, now))
    }

    /// The next thing that time brings, if it has come.
    #[must_use]
    pub fn due(&self, now: Tick) -> Option<Due> {
        self.with(|table| table.due(now))
    }

    /// Forgets those that `which` says; gives the packets that waited for them.
    pub fn flush(&self, which: impl Fn(&NeighbourKey) -> bool) -> (usize, Vec<Waiting>) {
        self.with(|table| table.flush(which))
    }

    /// Packets that wait.
    #[must_use]
    pub fn waiting_len(&self) -> usize {
        self.lock().waiting
    }

    /// Chunks and large frames that packets which wait lie in.
    #[must_use]
    pub fn held_frames(&self) -> (usize, usize) {
        let table = self.lock();
        let lens = table.packets().map(Packet::frames_len);
        lens.fold((0, 0), |sum, len| (sum.0 + len.0, sum.1 + len.1))
    }

    /// All, in the order of ports and addresses.
    #[must_use]
    pub fn rows(&self, now: Tick) -> Vec<NeighbourRow> {
        let table = self.lock();
        let row = |(key, state, mac, confirmed, waiting): table::Line| NeighbourRow {
            port: PortId(key.port.0),
            address: key.address,
            mac,
            state,
            confirmed: (now.since(confirmed) / 1000) as u32,
            waiting: waiting as u32,
        };
        table.lines(now).map(row).collect()
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> NeighbourStats {
        let table = self.lock();
        NeighbourStats {
            len: table.len() as u64,
            waiting: table.waiting as u64,
            ..table.stats
        }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        // Whoever takes a router away flushes it before. A frame that is not given back is lost, which
        // is better than the end of the process.
        for waiting in self.flush(|_| true).1 {
            debug_assert!(false, "packets wait at a router that is gone");
            std::mem::forget(waiting);
        }
    }
}
