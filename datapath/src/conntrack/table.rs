//! Where connections are: entries by number, and an index from both their tuples to the number.
//!
//! Not for what connections mean: `track` decides, `entry` holds.
//!
//! Law, of the index: a slot holds 32 bits of a key's hash and an entry's number; a connection has
//! one slot, and a second one when translation makes the reply's hash another. A slot only leads
//! to an entry, which says itself whether it is of the key: a slot that is read while it moves can
//! hide a connection, never show a wrong one. So a hit needs nothing more; a miss counts only when
//! the shard's version says that nothing moved meanwhile, and is looked up under the lock
//! otherwise.
//!
//! Law, of keys: a key leads to at most one connection that lives. Both keys of a new connection
//! are looked up under the locks of their shards, which are taken in the order of their numbers.
//!
//! Law, of entries: who is taken out rests in a queue until [`REST`] others of its shard came after
//! it, so a thread that found a connection a moment ago does not meet another in its place.
//!
//! Threads: any. Lookups take no lock and wait for nobody, but in the rare case named above.
//! Beginning and ending take one or two of [`SHARDS`] locks for less than a microsecond; doubling a
//! shard's index takes a few nanoseconds for each of its slots.
//!
//! Cost: an entry is 192 octets; the index has between 8/5 and 16/5 slots of eight octets for each
//! one in use: a search for what is not there looks at four slots then, and at thirty when seven of
//! eight are in use. Entries are made [`CHUNK`] at a time and never given back, the index likewise: a
//! table that was full once has its memory ready for the next time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use arrayvec::ArrayVec;
use crossbeam::utils::CachePadded;
use vswitch_sys::memory::prefetch;

use super::entry::{Begin, Entry, Key, Whole};
use super::request::Handle;
use super::tuple::{Direction, Tuple};
use crate::tick::Tick;

/// Parts of the index with a lock of their own: several times the threads of the largest machine
/// that begin connections at the same moment.
pub(super) const SHARDS: usize = 64;

/// Entries made at once: their 400 KB are written in some fifty microseconds.
const CHUNK: usize = 2048;

/// Most chunks, and with them most connections.
const CHUNKS: usize = 1 << 14;

/// Connections that there can be at most.
pub(super) const CAPACITY: usize = CHUNK * CHUNKS;

/// Freed entries of a shard that rest.
const REST: usize = 16;

/// Slots that are looked at for a connection to give up.
pub(super) const NEAR: usize = 64;

/// Slots of a new shard, as a power of two.
const FIRST_BITS: u32 = 4;

/// Times the index of a shard can double. More slots than entries can fill.
const SEGMENTS: usize = 24;

/// Slots of the index. They are in segments of which each is as large as all before it, so growing
/// moves no segment and wastes none.
#[derive(Debug, Default)]
struct Slots {
    segments: [OnceLock<Box<[AtomicU64]>>; SEGMENTS],
    /// Slots in use for probing are `1 << bits`.
    bits: AtomicU32,
    /// Odd while slots move; another number afterwards.
    version: AtomicU32,
}

/// Of a slot in use: the hash above the entry's number and one.
const fn slot(hash: u32, id: u32) -> u64 {
    (hash as u64) << 32 | (id as u64 + 1)
}

const fn slot_hash(slot: u64) -> u32 {
    (slot >> 32) as u32
}

/// The entry's number; of an empty slot no entry's.
const fn slot_id(slot: u64) -> u32 {
    (slot as u32).wrapping_sub(1)
}

impl Slots {
    /// The slot at a position; an empty one behind the end.
    #[inline]
    fn at(&self, position: u32) -> &AtomicU64 {
        static EMPTY: AtomicU64 = AtomicU64::new(0);
        // The first segment holds 1 << FIRST_BITS slots, the next as many, then twice as many.
        let top = (position | ((1 << FIRST_BITS) - 1)).ilog2() + 1 - FIRST_BITS;
        let first = if top == 0 {
            0
        } else {
            1 << (top + FIRST_BITS - 1)
        };
        self.segments
            .get(top as usize)
            .and_then(OnceLock::get)
            .and_then(|segment| segment.get((position - first) as usize))
            .unwrap_or(&EMPTY)
    }

    fn mask(&self) -> u32 {
        (1 << self.bits.load(Ordering::Acquire)) - 1
    }

    /// The first entry that `is` what is looked for, among those with the hash.
    #[inline]
    fn find<T>(&self, hash: u32, mut is: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mask = self.mask();
        let mut position = hash & mask;
        for _ in 0..=mask {
            let slot = self.at(position).load(Ordering::Acquire);
            if slot == 0 {
                return None;
            }
            if slot_hash(slot) == hash
                && let Some(found) = is(slot_id(slot))
            {
                return Some(found);
            }
            position = (position + 1) & mask;
        }
        None
    }

    /// Says that this hash will be looked for soon.
    #[inline]
    fn expect(&self, hash: u32) {
        prefetch(self.at(hash & self.mask()));
    }

    /// Runs `change` while readers know that slots move.
    fn moving(&self, change: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    /// Writes a slot into the first empty place of its row.
    fn put(&self, value: u64) {
        let mask = self.mask();
        let mut position = slot_hash(value) & mask;
        while self.at(position).load(Ordering::Relaxed) != 0 {
            position = (position + 1) & mask;
        }
        self.at(position).store(value, Ordering::Release);
    }

    /// Takes a slot out and closes the gap, so that every row stays without holes.
    fn take(&self, value: u64) -> bool {
        let mask = self.mask();
        let mut hole = slot_hash(value) & mask;
        loop {
            match self.at(hole).load(Ordering::Relaxed) {
                0 => return false,
                found if found == value => break,
                _ => hole = (hole + 1) & mask,
            }
        }
        self.moving(|| {
            let mut next = hole;
            loop {
                next = (next + 1) & mask;
                let moved = self.at(next).load(Ordering::Relaxed);
                if moved == 0 {
                    break;
                }
                // It may move into the hole unless its row begins behind it.
                let home = slot_hash(moved) & mask;
                if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                    self.at(hole).store(moved, Ordering::Release);
                    hole = next;
                }
            }
            self.at(hole).store(0, Ordering::Release);
        });
        true
    }

    /// Doubles; all slots find new places.
    fn grow(&self) {
        let bits = self.bits.load(Ordering::Relaxed);
        let Some(segment) = self.segments.get((bits + 1 - FIRST_BITS) as usize) else {
            return;
        };
        segment.get_or_init(|| (0..1_usize << bits).map(|_| AtomicU64::new(0)).collect());
        self.moving(|| {
            let all: Vec<u64> = (0..1 << bits)
                .map(|position| self.at(position).swap(0, Ordering::Relaxed))
                .filter(|slot| *slot != 0)
                .collect();
            self.bits.store(bits + 1, Ordering::Release);
            for slot in all {
                self.put(slot);
            }
        });
    }
}

/// What only the holder of a shard's lock may touch.
#[derive(Debug, Default)]
struct Inner {
    /// Slots in use.
    used: usize,
    /// Entries without a connection, who was freed first in front.
    free: VecDeque<u32>,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Slots,
    inner: Mutex<Inner>,
}

impl Shard {
    fn new() -> Self {
        let shard = Self::default();
        let first = (0..1 << FIRST_BITS).map(|_| AtomicU64::new(0)).collect();
        shard.slots.segments[0].get_or_init(|| first);
        shard.slots.bits.store(FIRST_BITS, Ordering::Relaxed);
        shard
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked under the lock left slots that still lead to entries or nowhere.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, inner: &mut Inner, value: u64) {
        inner.used += 1;
        let len = 1 << self.slots.bits.load(Ordering::Relaxed);
        if inner.used * 8 > len * 5 {
            self.slots.grow();
        }
        self.slots.put(value);
    }

    fn remove(&self, inner: &mut Inner, value: u64) {
        if self.slots.take(value) {
            inner.used -= 1;
        }
    }
}

/// A key with what finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) key: Key,
    shard: usize,
    hash: u32,
}

impl Place {
    pub(super) const fn tuple(&self) -> Tuple {
        self.key.tuple()
    }
}

/// A connection that a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) handle: Handle,
    /// Which of its keys it was.
    pub(super) direction: Direction,
}

/// Why a connection could not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// The original key leads to this one.
    Original(Handle),
    /// The reply key leads to this one.
    Reply(Handle),
    /// There is no entry left.
    Full,
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    words: [u64; 5],
    shards: Box<[CachePadded<Shard>]>,
    chunks: Box<[OnceLock<Box<[Entry]>>]>,
    /// Entries that were ever used.
    touched: AtomicU32,
}

impl Table {
    /// An empty table; who knows the seed can make tuples that collide.
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self {
            words: std::array::from_fn(|_| {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                // Odd, because one of them multiplies.
                scatter(state) | 1
            }),
            shards: (0..SHARDS)
                .map(|_| CachePadded::new(Shard::new()))
                .collect(),
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            touched: AtomicU32::new(0),
        }
    }

    #[inline]
    pub(super) fn place(&self, key: Key) -> Place {
        let hash = key.hash(&self.words);
        Place {
            key,
            shard: (hash >> 32) as usize % SHARDS,
            hash: hash as u32,
        }
    }

    fn shard(&self, place: &Place) -> &Shard {
        // The number was taken modulo the length.
        &self.shards[place.shard]
    }

    /// The entry with a number, once it was made.
    #[inline]
    pub(super) fn entry(&self, id: u32) -> Option<&Entry> {
        let chunk = self.chunks.get(id as usize / CHUNK)?.get()?;
        chunk.get(id as usize % CHUNK)
    }

    /// How many numbers were ever given out: entries have those below.
    pub(super) fn touched(&self) -> u32 {
        self.touched.load(Ordering::Acquire)
    }

    #[inline]
    fn is(&self, id: u32, key: &Key) -> Option<Found> {
        let (generation, direction) = self.entry(id)?.is(key)?;
        Some(Found {
            handle: Handle {
                slot: id,
                generation,
            },
            direction,
        })
    }

    /// The connection that a key leads to, expired ones too.
    #[inline]
    pub(super) fn find(&self, place: &Place) -> Option<Found> {
        let shard = self.shard(place);
        let version = shard.slots.version.load(Ordering::Acquire);
        let found = self.find_in(shard, place);
        if found.is_some() {
            return found;
        }
        fence(Ordering::Acquire);
        if version.is_multiple_of(2) && shard.slots.version.load(Ordering::Relaxed) == version {
            return None;
        }
        let _inner = shard.lock();
        self.find_in(shard, place)
    }

    #[inline]
    fn find_in(&self, shard: &Shard, place: &Place) -> Option<Found> {
        shard.slots.find(place.hash, |id| self.is(id, &place.key))
    }

    /// Says that a key will be looked for soon.
    #[inline]
    pub(super) fn expect(&self, place: &Place) {
        self.shard(place).slots.expect(place.hash);
    }

    /// Says that its entry will be looked at soon.
    #[inline]
    pub(super) fn expect_entry(&self, place: &Place) {
        let id = self.shard(place).slots.find(place.hash, Some);
        if let Some(entry) = id.and_then(|id| self.entry(id)) {
            prefetch(entry);
        }
    }

    /// Locks the shards of two places, in order; the second is `None` when they are one.
    fn lock<'a>(
        &'a self,
        first: &Place,
        second: &Place,
    ) -> (MutexGuard<'a, Inner>, Option<MutexGuard<'a, Inner>>) {
        match first.shard.cmp(&second.shard) {
            std::cmp::Ordering::Equal => (self.shard(first).lock(), None),
            std::cmp::Ordering::Less => {
                let one = self.shard(first).lock();
                (one, Some(self.shard(second).lock()))
            }
            std::cmp::Ordering::Greater => {
                let other = self.shard(second).lock();
                (self.shard(first).lock(), Some(other))
            }
        }
    }

    /// An entry without a connection.
    fn spare(&self, inner: &mut Inner) -> Option<u32> {
        if inner.free.len() > REST {
            return inner.free.pop_front();
        }
        let fresh = self
            .touched
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |touched| {
                ((touched as usize) < CAPACITY).then_some(touched + 1)
            });
        let Ok(id) = fresh else {
            return inner.free.pop_front();
        };
        self.chunks
            .get(id as usize / CHUNK)?
            .get_or_init(|| (0..CHUNK).map(|_| Entry::default()).collect());
        Some(id)
    }

    /// Puts a connection in, unless one of its keys is another's.
    pub(super) fn begin(
        &self,
        original: &Place,
        reply: &Place,
        begin: &Begin,
    ) -> Result<Handle, Clash> {
        let (mut home, mut away) = self.lock(original, reply);
        let home_shard = self.shard(original);
        if let Some(found) = self.find_in(home_shard, original) {
            return Err(Clash::Original(found.handle));
        }
        if let Some(found) = self.find_in(self.shard(reply), reply) {
            return Err(Clash::Reply(found.handle));
        }
        let id = self.spare(&mut home).ok_or(Clash::Full)?;
        let entry = self.entry(id).ok_or(Clash::Full)?;
        let generation = entry.begin(begin);
        home_shard.insert(&mut home, slot(original.hash, id));
        if !same_slot(original, reply) {
            let inner = away.as_mut().unwrap_or(&mut home);
            self.shard(reply).insert(inner, slot(reply.hash, id));
        }
        Ok(Handle {
            slot: id,
            generation,
        })
    }

    /// Takes a connection out and tells what it was; `None` when it is gone already, or `unless`
    /// says no.
    pub(super) fn end(&self, handle: Handle, unless: impl FnOnce(&Entry) -> bool) -> Option<Whole> {
        let entry = self.entry(handle.slot)?;
        let [original, reply] = entry.keys(handle.generation)?;
        let (original, reply) = (self.place(original), self.place(reply));
        let (mut home, mut away) = self.lock(&original, &reply);
        let whole = entry.end(handle.generation, unless)?;
        self.shard(&original)
            .remove(&mut home, slot(original.hash, handle.slot));
        if !same_slot(&original, &reply) {
            let inner = away.as_mut().unwrap_or(&mut home);
            self.shard(&reply)
                .remove(inner, slot(reply.hash, handle.slot));
        }
        home.free.push_back(handle.slot);
        Some(whole)
    }

    /// Connections that stand in the [`NEAR`] slots of the index from a place on, in no order.
    pub(super) fn near(&self, place: &Place) -> ArrayVec<Handle, NEAR> {
        let shard = self.shard(place);
        // Under the lock a slot is seen once; the entries are looked at by the caller.
        let _inner = shard.lock();
        let mask = shard.slots.mask();
        (0..=mask)
            .take(NEAR)
            .filter_map(|step| {
                let slot = shard
                    .slots
                    .at(place.hash.wrapping_add(step) & mask)
                    .load(Ordering::Relaxed);
                let id = slot_id(slot);
                let generation = self.entry(id)?.generation()?;
                Some(Handle {
                    slot: id,
                    generation,
                })
            })
            .collect()
    }

    /// When a connection expires; `None` when it is gone.
    pub(super) fn expires(&self, handle: Handle) -> Option<Tick> {
        let entry = self.entry(handle.slot)?;
        (entry.generation()? == handle.generation).then(|| entry.expires())
    }
}

/// Whether one slot leads to both keys.
const fn same_slot(original: &Place, reply: &Place) -> bool {
    original.shard == reply.shard && original.hash == reply.hash
}

/// A number whose bits all depend on all bits of another (the finaliser of SplitMix64).
pub(super) const fn scatter(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::entry::{Facts, Progress};
    use super::super::tuple::{Family, Tuple, protocol};
    use super::*;

    fn key(number: u32) -> Key {
        let tuple = Tuple {
            family: Family::V4,
            protocol: protocol::UDP,
            src: number.into(),
            dst: 2,
            src_port: 3,
            dst_port: 4,
        };
        Key::new(&tuple, 0)
    }

    fn reverse(key: &Key) -> Key {
        Key::new(&key.tuple().reversed().expect("UDP has answers"), 0)
    }

    fn begin(table: &Table, original: Key, reply: Key) -> Result<Handle, Clash> {
        let begin = Begin {
            original,
            reply,
            facts: Facts::default(),
            progress: Progress::default(),
            expires: Tick(9),
            now: Tick(1),
            len: 1,
        };
        table.begin(&table.place(original), &table.place(reply), &begin)
    }

    fn find(table: &Table, key: &Key) -> Option<(Handle, Direction)> {
        let found = table.find(&table.place(*key))?;
        Some((found.handle, found.direction))
    }

    #[test]
    fn slots_hold_what_a_map_holds() {
        // Few hashes, so that rows are long, run into each other and around the end.
        let shard = Shard::new();
        let mut inner = shard.lock();
        let mut map = HashMap::new();
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = scatter(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
            let id = (state % 300) as u32;
            let hash = (state >> 32) as u32 % 40 * 7;
            if let Some(hash) = map.remove(&id) {
                shard.remove(&mut inner, slot(hash, id));
            } else {
                map.insert(id, hash);
                shard.insert(&mut inner, slot(hash, id));
            }
            let known = map.get(&id).copied();
            let found = shard
                .slots
                .find(known.unwrap_or(hash), |found| (found == id).then_some(()));
            assert_eq!(found.is_some(), known.is_some());
            assert_eq!(inner.used, map.len());
        }
        for (id, hash) in &map {
            let found = shard
                .slots
                .find(*hash, |found| (found == *id).then_some(()));
            assert!(found.is_some());
        }
        let version = shard.slots.version.load(Ordering::Relaxed);
        assert_eq!(version % 2, 0);
    }

    #[test]
    fn connections_are_found_both_ways_while_the_table_grows_and_shrinks() {
        let table = Table::new(5);
        let mut handles = Vec::new();
        for number in 0..20_000 {
            let original = key(number);
            // Every third one is translated.
            let reply = if number % 3 == 0 {
                reverse(&key(number | 1 << 31))
            } else {
                reverse(&original)
            };
            let handle = begin(&table, original, reply).expect("nothing is taken");
            handles.push((handle, original, reply));
        }
        let check = |(handle, original, reply): &(Handle, Key, Key), there: bool| {
            let (one, two) = (
                there.then_some((*handle, Direction::Original)),
                there.then_some((*handle, Direction::Reply)),
            );
            assert_eq!((find(&table, original), find(&table, reply)), (one, two));
        };
        handles.iter().for_each(|handle| check(handle, true));
        for (i, handle) in handles.iter().enumerate() {
            if i % 2 == 0 {
                assert!(table.end(handle.0, |_| false).is_some());
                assert!(table.end(handle.0, |_| false).is_none(), "once is enough");
            }
        }
        for (i, handle) in handles.iter().enumerate() {
            check(handle, i % 2 == 1);
        }
        assert_eq!(table.expires(handles[1].0), Some(Tick(9)));
        assert_eq!(table.expires(handles[0].0), None);
        // What is freed is used again.
        let touched = table.touched();
        for number in 30_000..38_000 {
            begin(&table, key(number), reverse(&key(number))).expect("nothing is taken");
        }
        assert!(table.touched() <= touched + 1024, "{}", table.touched());
    }

    #[test]
    fn no_two_connections_have_a_key_in_common() {
        let table = Table::new(6);
        let (one, two) = (key(1), key(2));
        let first = begin(&table, one, reverse(&two)).expect("the table is empty");
        let reply = Err(Clash::Reply(first));
        let original = Err(Clash::Original(first));
        assert_eq!(begin(&table, one, reverse(&one)), original);
        assert_eq!(begin(&table, reverse(&two), two), original);
        assert_eq!(begin(&table, two, reverse(&two)), reply);
        assert_eq!(begin(&table, reverse(&one), one), reply);
        assert!(table.end(first, |_| true).is_none());
        assert!(table.end(first, |_| false).is_some());
        assert!(begin(&table, two, reverse(&two)).is_ok());
    }

    #[test]
    fn an_entry_rests_before_it_is_used_again() {
        let table = Table::new(7);
        let first = begin(&table, key(1), reverse(&key(1))).expect("the table is empty");
        table.end(first, |_| false);
        for _ in 0..REST {
            let next = begin(&table, key(1), reverse(&key(1))).expect("nothing is taken");
            assert_ne!(next.slot, first.slot);
            table.end(next, |_| false);
        }
        let next = begin(&table, key(1), reverse(&key(1))).expect("nothing is taken");
        assert_eq!(next.slot, first.slot);
        assert_ne!(next.generation, first.generation);
    }
}
