//! The forwarding database of a bridge: which address is behind which port, by VLAN.
//!
//! Not for deciding: NORMAL reads it, the worker writes back what NORMAL says was learned.
//!
//! Law, towards caches: a decision that looked an address up holds the [`Dep`] that [`Fdb::lookup`]
//! gave out. Each address falls into one of [`BUCKETS`] buckets by a keyed hash; inserting, moving
//! or removing an address changes its bucket's version after the map and before the lock is let
//! go. A `Dep` is read before the map is. So a decision whose `Dep`s are all valid is the decision
//! that would be taken now, and an attacker who cannot guess the hash can spoil a given decision
//! only by chance.
//!
//! Being seen again changes no decision and so no version: a [`MacEntry`] is shared with the
//! cached decisions that rest on it, which store the time into it without a lock.
//!
//! Law, towards neighbours: a full table evicts from the port with the most addresses, and of that
//! port's the one not seen for the longest time, so a port that floods addresses displaces its own.
//! The times that order a port's addresses are brought up to date only when an address comes up
//! for eviction or expiry, which keeps the per-packet side free of locks; at most
//! [`SECOND_CHANCES`] of them for one eviction, after which the next in line goes.
//!
//! Threads: any. The lock is held for a few hundred nanoseconds by misses and by learning, never
//! by a packet whose decision is cached. [`Fdb::expire`] takes time in proportion to the
//! addresses whose recorded time is over.
//!
//! Spec: IEEE 802.1Q-2018 §8.8 (the filtering database); Open vSwitch `lib/mac-learning.h` for the
//! fair eviction and the dump.

mod table;
mod version;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::port::PortIndex;
use crate::tick::Tick;
use table::Table;

pub use version::{BUCKETS, DEPS_LEN, Dep, FdbDeps, Versions};

/// Addresses looked at before one is evicted although it was seen since its time was recorded.
pub const SECOND_CHANCES: usize = 64;

/// Addresses a new bridge may learn, as in Open vSwitch.
pub const DEFAULT_LIMIT: usize = 8192;

/// Seconds after which a new bridge forgets an address it has not seen (802.1Q-2018 table 8-6).
pub const DEFAULT_AGEING: u32 = 300;

/// An address in a VLAN.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacKey(u64);

impl MacKey {
    /// The low 48 bits of `mac`, as a flow key holds it, in VLAN `vlan`.
    #[inline]
    #[must_use]
    pub const fn new(vlan: u16, mac: u64) -> Self {
        Self((vlan as u64) << 48 | mac & 0xffff_ffff_ffff)
    }

    /// The VLAN; 0 for untagged traffic that belongs to none.
    #[must_use]
    pub const fn vlan(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The address.
    #[must_use]
    pub const fn mac(self) -> [u8; 6] {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// Whether the group bit is set: such an address is nobody's source.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0 >> 40 & 1 == 1
    }

    /// Multiply and fold twice, so that every bit of the address and the seed reaches every bit.
    #[inline]
    fn hash(self, seed: u64) -> u64 {
        const fn fold(a: u64, b: u64) -> u64 {
            let product = a as u128 * b as u128;
            (product >> 64) as u64 ^ product as u64
        }
        fold(
            fold(self.0 ^ seed, 0x9e37_79b9_7f4a_7c15),
            seed | 0x8000_0000_0000_0001,
        )
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vlan {} {:02x?}", self.vlan(), self.mac())
    }
}

/// A learned address. Everything but the time is fixed; an address that moves gets a new entry.
#[derive(Debug)]
pub struct MacEntry {
    key: MacKey,
    port: PortIndex,
    used: AtomicU64,
}

impl MacEntry {
    fn new(key: MacKey, port: PortIndex, now: Tick) -> Self {
        Self {
            key,
            port,
            used: AtomicU64::new(now.0),
        }
    }

    /// Which address.
    #[must_use]
    pub fn key(&self) -> MacKey {
        self.key
    }

    /// Where it is.
    #[inline]
    #[must_use]
    pub fn port(&self) -> PortIndex {
        self.port
    }

    /// When it was seen last.
    #[must_use]
    pub fn used(&self) -> Tick {
        Tick(self.used.load(Ordering::Relaxed))
    }

    /// The address was seen at `now`. Writes only when the time has changed, so that workers do
    /// not fight over the line within a millisecond.
    #[inline]
    pub fn touch(&self, now: Tick) {
        if self.used.load(Ordering::Relaxed) < now.0 {
            self.used.store(now.0, Ordering::Relaxed);
        }
    }
}

/// What learning an address did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// It was known there already.
    Known,
    /// It is new; another may have been evicted for it.
    New,
    /// It was known on another port.
    Moved,
    /// It was not learned: a group address, or the table may hold none.
    Refused,
}

/// One line of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it is.
    pub port: PortIndex,
    /// The address and its VLAN.
    pub key: MacKey,
    /// Seconds since it was seen last.
    pub age: u32,
}

/// What has happened to a table since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbStats {
    /// Addresses learned, moves not counted.
    pub learned: u64,
    /// Addresses that were seen on another port than before.
    pub moved: u64,
    /// Addresses that made room for others.
    pub evicted: u64,
    /// Addresses not seen for the ageing time.
    pub expired: u64,
}

/// The addresses of one bridge.
pub struct Fdb {
    seed: u64,
    versions: Versions,
    table: Mutex<Table>,
}

impl Fdb {
    /// An empty table. `seed` keys the hash, `ageing` is in seconds.
    #[must_use]
    pub fn new(seed: u64, ageing: u32, limit: usize) -> Self {
        Self {
            seed,
            versions: Versions::default(),
            table: Mutex::new(Table::new(ageing, limit)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table's methods do not panic half way, so what a panicking thread left is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bucket(&self, key: MacKey) -> usize {
        (key.hash(self.seed) >> 32) as usize % BUCKETS
    }

    /// Decisions that rest on `key` are void. Called with the table locked and already changed.
    fn changed(&self, key: MacKey) {
        self.versions.changed(self.bucket(key));
    }

    /// Where `key` is, and what an answer that is kept rests on.
    #[must_use]
    pub fn lookup(&self, key: MacKey) -> (Dep, Option<Arc<MacEntry>>) {
        let dep = self.versions.dep(self.bucket(key));
        (dep, self.lock().find(key, self.seed).cloned())
    }

    /// The address was seen as a source on `port`.
    pub fn learn(&self, key: MacKey, port: PortIndex, now: Tick) -> Learned {
        if key.is_multicast() {
            return Learned::Refused;
        }
        let mut table = self.lock();
        match table.find(key, self.seed) {
            Some(entry) if entry.port() == port => {
                entry.touch(now);
                return Learned::Known;
            }
            Some(_) => {
                table.remove(key, self.seed);
                table.insert(key, port, now, self.seed);
                table.stats.moved += 1;
                self.changed(key);
                return Learned::Moved;
            }
            None => {}
        }
        if table.limit == 0 {
            return Learned::Refused;
        }
        while table.len() >= table.limit {
            self.evict(&mut table);
        }
        table.insert(key, port, now, self.seed);
        table.stats.learned += 1;
        self.changed(key);
        Learned::New
    }

    fn evict(&self, table: &mut Table) {
        if let Some(victim) = table.victim(self.seed) {
            table.remove(victim, self.seed);
            table.stats.evicted += 1;
            self.changed(victim);
        }
    }

    /// Forgets what has not been seen for the ageing time. To be called about once a second.
    pub fn expire(&self, now: Tick) {
        let mut table = self.lock();
        for key in table.expire(now, self.seed) {
            table.stats.expired += 1;
            self.changed(key);
        }
    }

    /// Forgets everything.
    pub fn flush(&self) {
        self.flush_if(|_| true);
    }

    /// Forgets what was learned on `port`.
    pub fn flush_port(&self, port: PortIndex) {
        self.flush_if(|entry| entry.port() == port);
    }

    /// Forgets what `which` says.
    pub fn flush_if(&self, which: impl Fn(&MacEntry) -> bool) {
        let mut table = self.lock();
        let keys: Vec<_> = table
            .iter()
            .filter(|entry| which(entry))
            .map(|entry| entry.key())
            .collect();
        for key in keys {
            table.remove(key, self.seed);
            self.changed(key);
        }
    }

    /// Changes the ageing time, seconds. It counts for what is known already at the next
    /// [`Self::expire`].
    pub fn set_ageing(&self, seconds: u32) {
        self.lock().ageing = seconds;
    }

    /// Changes how many addresses fit; what is too much goes at once.
    pub fn set_limit(&self, limit: usize) {
        let mut table = self.lock();
        table.limit = limit;
        while table.len() > limit {
            self.evict(&mut table);
        }
    }

    /// Addresses known.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "only shown to people")]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// All addresses, ordered by port, VLAN and address.
    #[must_use]
    pub fn rows(&self, now: Tick) -> Vec<Row> {
        let mut rows: Vec<_> = self
            .lock()
            .iter()
            .map(|entry| Row {
                port: entry.port(),
                key: entry.key(),
                age: (now.since(entry.used()) / 1000) as u32,
            })
            .collect();
        rows.sort_by_key(|row| (row.port, row.key));
        rows
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> FdbStats {
        self.lock().stats
    }
}

impl fmt::Debug for Fdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fdb")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
