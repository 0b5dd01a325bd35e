//! Decisions already made: two levels in front of the tables.
//!
//! * The *exact-match cache* (`emc`) leads from the hash of a packet's whole key to the entry
//!   that decided such a packet before. It holds 8 bytes a slot and no keys: what it points to is
//!   compared under the entry's own mask, so a collision costs a miss and is never wrong.
//! * The *megaflow cache* (`megaflow`) holds the entries, by mask. A lookup tries one hash table
//!   for each mask. The number of masks is bounded ([`MASKS_MAX`]); a decision that would need one
//!   more is kept as an exact entry, so crafted traffic cannot make lookups long.
//!
//! Law (architecture decision 11): an entry's mask has every bit that the decision read, and an
//! entry answers only while it is *fresh*: true of the tables of the current epoch, because it was
//! made from them or because no change since concerns it ([`Recent`]), and nothing in the FDB has
//! changed that it looked up. Staleness is noticed at lookup; nobody searches the cache when tables
//! change. Two entries that match one key are true of the same tables and therefore agree.
//!
//! Not here: packets, clocks, tables. Threads: a cache belongs to one worker and is never shared.
//! Cost: an exact hit is one slot and one masked comparison; no allocation, no lock. A new entry
//! allocates.

mod emc;
mod megaflow;

use std::sync::Arc;

use vswitch_flow::{FlowMask, SparseKey, SparseMask};
use vswitch_sys::memory::prefetch;

use crate::action::is_straight;
use crate::buffer::BATCH_LEN;
use crate::counters::DropReason;
use crate::fdb::{FdbDeps, MacEntry};
use crate::neigh::Neighbour;
use crate::pipeline::{
    Crossing, Crossings, DpAction, GroupEntry, Lookup, Pick, Recent, Rule, Seen, Translation,
};
use crate::tick::Tick;

pub use megaflow::{ENTRIES_MAX, MASKS_MAX};

use emc::Emc;
use megaflow::Megaflows;

/// What is done with a packet, and what that rests on.
#[derive(Debug)]
pub struct Decision {
    /// The packet's way out; empty means drop.
    pub actions: Box<[DpAction]>,
    /// The actions only change the packet and send it by one port ([`is_straight`]).
    pub straight: bool,
    /// Why it is dropped, when it is.
    pub drop: Option<DropReason>,
    /// What was looked up in FDBs.
    pub deps: FdbDeps,
    /// Learned addresses that this traffic keeps young.
    pub touch: Box<[Arc<MacEntry>]>,
    /// Neighbours that this traffic goes to.
    pub neighbours: Box<[Arc<Neighbour>]>,
    /// Flows that are credited with the traffic.
    pub rules: Box<[Arc<Rule>]>,
    /// Tables that are credited with it.
    pub lookups: Box<[Lookup]>,
    /// What the lookups saw.
    pub seen: Seen,
    /// Groups that are credited with it.
    pub groups: Box<[(Arc<GroupEntry>, Pick)]>,
    /// Ports without devices that are credited with it.
    pub crossings: Box<[(Arc<Crossings>, Crossing)]>,
    /// Learned flows that the traffic keeps young.
    pub renews: Box<[Arc<Rule>]>,
}

impl Decision {
    /// Tells all who count traffic of packets that were decided, the last of them at `now`.
    pub fn credit(&self, packets: u64, bytes: u64, now: Tick) {
        for rule in &self.rules {
            rule.stats().add(packets, bytes, now);
        }
        for lookup in &self.lookups {
            lookup.counters.add(lookup.table, lookup.matched, packets);
        }
        for (group, pick) in &self.groups {
            group.credit(*pick, packets, bytes);
        }
        for (crossings, way) in &self.crossings {
            crossings.credit(*way, packets, bytes);
        }
        for rule in &self.renews {
            rule.renew(now);
        }
    }
}

impl From<Translation> for Decision {
    fn from(translation: Translation) -> Self {
        Self {
            straight: is_straight(&translation.actions),
            actions: boxed(translation.actions),
            drop: translation.drop,
            deps: translation.deps,
            touch: boxed(translation.touch),
            neighbours: boxed(translation.neighbours),
            rules: boxed(translation.rules),
            lookups: boxed(translation.lookups),
            seen: translation.seen,
            groups: boxed(translation.groups),
            crossings: boxed(translation.crossings),
            renews: Box::default(),
        }
    }
}

/// The same in as much memory as it needs. Having the allocator cut off what a vector does not use
/// takes longer than a move, and leaves pieces that nothing else fits in.
fn boxed<T>(mut values: Vec<T>) -> Box<[T]> {
    values.drain(..).collect()
}

/// A cached decision and its traffic.
#[derive(Debug)]
pub struct Entry {
    /// Epoch of the tables that it was last known to be true of.
    epoch: u64,
    /// The subtable it is in.
    subtable: u32,
    /// Rises when the slot is used for another entry.
    generation: u32,
    /// Packets decided.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// When the last one came.
    pub used: Tick,
    /// Packets and bytes that the rules have been told of.
    credited: (u64, u64),
    /// The key of the packet that made the entry.
    key: SparseKey,
    /// The answer; `None` in a free slot.
    decision: Option<Decision>,
}

/// Names an entry until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId {
    index: u32,
    generation: u32,
}

/// Counts of lookups. Every lookup is in exactly one of the first three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Answered by the exact-match cache.
    pub exact: u64,
    /// Answered by the megaflow cache.
    pub masked: u64,
    /// Not answered.
    pub miss: u64,
    /// Entries removed because they were no longer true.
    pub stale: u64,
    /// Entries removed to make room.
    pub evicted: u64,
    /// Masks tried by lookups of the megaflow cache that found an entry.
    pub masks_tried: u64,
}

/// A worker's flow cache.
#[derive(Debug)]
pub struct Cache {
    emc: Emc,
    megaflows: Megaflows,
    seed: u64,
    counters: CacheCounters,
}

impl Cache {
    /// An empty cache whose hashes are keyed with `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            emc: Emc::new(),
            megaflows: Megaflows::new(seed),
            seed,
            counters: CacheCounters::default(),
        }
    }

    /// Finds the decisions for a batch of keys, at most [`BATCH_LEN`], as tables with these last changes give it.
    ///
    /// With many flows nothing of what a lookup reads is in a near cache. So the batch is gone
    /// through once for each read that leads to the next, and the processor loads what all of its
    /// packets need meanwhile.
    #[inline]
    pub fn lookup_batch<'a>(
        &mut self,
        keys: impl ExactSizeIterator<Item = &'a SparseKey> + Clone,
        recent: &Recent,
        found: &mut Vec<Option<EntryId>>,
    ) {
        // Packets of one flow come in trains: a key like the one before it is not looked up again.
        let mut again = [false; BATCH_LEN];
        let mut hashes = [0; BATCH_LEN];
        let mut before: Option<(&SparseKey, u64)> = None;
        let places = hashes.iter_mut().zip(&mut again);
        for ((hash, again), key) in places.zip(keys.clone()) {
            if let Some((last, its_hash)) = before
                && last == key
            {
                (*hash, *again) = (its_hash, true);
            } else {
                *hash = key.hash(self.seed);
                self.emc.expect(*hash);
                before = Some((key, *hash));
            }
        }
        for (&hash, again) in hashes.iter().zip(again).take(keys.len()) {
            if !again && let Some(index) = self.emc.find(hash) {
                self.megaflows.expect(index);
            }
        }
        for ((&hash, again), key) in hashes.iter().zip(again).zip(keys) {
            if again && let Some(&Some(id)) = found.last() {
                self.counters.exact += 1;
                found.push(Some(id));
                continue;
            }
            let id = self.lookup_hashed(key, hash, recent);
            if let Some(decision) = id.and_then(|id| self.decision(id))
                && let Some(first) = decision.actions.first()
            {
                prefetch(first);
            }
            found.push(id);
        }
    }

    /// Finds the decision for `key` as tables with these last changes give it.
    #[inline]
    pub fn lookup(&mut self, key: &SparseKey, recent: &Recent) -> Option<EntryId> {
        self.lookup_hashed(key, key.hash(self.seed), recent)
    }

    #[inline]
    fn lookup_hashed(&mut self, key: &SparseKey, hash: u64, recent: &Recent) -> Option<EntryId> {
        if let Some(index) = self.emc.find(hash)
            && let Some(id) = self.megaflows.check(index, key)
        {
            if self.megaflows.is_fresh(id, recent) {
                self.counters.exact += 1;
                return Some(id);
            }
            self.remove_stale(id);
        }
        self.lookup_masked(key, hash, recent)
    }

    fn lookup_masked(&mut self, key: &SparseKey, hash: u64, recent: &Recent) -> Option<EntryId> {
        while let Some(id) = self.megaflows.find(key) {
            if self.megaflows.is_fresh(id, recent) {
                self.counters.masked += 1;
                self.emc.insert(hash, id.index);
                return Some(id);
            }
            self.remove_stale(id);
        }
        self.counters.miss += 1;
        None
    }

    /// Looks again for a key that the last lookup did not find, without counting: an entry may have
    /// come since.
    pub fn find_again(&mut self, key: &SparseKey, recent: &Recent) -> Option<EntryId> {
        while let Some(id) = self.megaflows.find(key) {
            if self.megaflows.is_fresh(id, recent) {
                return Some(id);
            }
            self.remove_stale(id);
        }
        None
    }

    /// Whether the decision behind `id` still tells the truth: what an earlier packet of the batch
    /// taught the FDB may have ended that.
    #[must_use]
    pub fn still_decided(&mut self, id: EntryId, recent: &Recent) -> bool {
        self.decision(id).is_some() && self.megaflows.is_fresh(id, recent)
    }

    fn remove_stale(&mut self, id: EntryId) {
        self.megaflows.remove(id.index);
        self.counters.stale += 1;
    }

    /// Keeps `decision` for all packets that agree with `key` under `mask`.
    pub fn insert(
        &mut self,
        key: &SparseKey,
        mask: &FlowMask,
        decision: Decision,
        epoch: u64,
        now: Tick,
    ) -> EntryId {
        let (id, evicted) =
            self.megaflows
                .insert(key, SparseMask::from(mask), decision, epoch, now);
        self.counters.evicted += u64::from(evicted);
        self.emc.insert(key.hash(self.seed), id.index);
        id
    }

    /// The decision behind `id`; `None` when the entry has been removed since.
    #[inline]
    #[must_use]
    pub fn decision(&self, id: EntryId) -> Option<&Decision> {
        self.megaflows.entry(id)?.decision.as_ref()
    }

    /// Counts a packet of an entry, keeps what it learned young, and answers what to do with the
    /// packet; `None` when the entry has been removed since.
    #[inline]
    pub fn credit(&mut self, id: EntryId, bytes: u64, now: Tick) -> Option<&Decision> {
        let (entry, dirty) = self.megaflows.entry_mut(id)?;
        let decision = entry.decision.as_ref()?;
        if entry.packets == entry.credited.0 {
            dirty.push(id.index);
        }
        entry.packets += 1;
        entry.bytes += bytes;
        entry.used = now;
        for mac in &decision.touch {
            mac.touch(now);
        }
        for neighbour in &decision.neighbours {
            neighbour.touch(now);
        }
        Some(decision)
    }

    /// Tells all rules of the traffic that they have not been told of. Only entries that had some
    /// are looked at.
    pub fn credit_rules(&mut self) {
        self.megaflows.credit_rules();
    }

    /// Looks at the next `len` slots and removes entries idle for longer than `idle_ms` or no
    /// longer true. A few slots a round keep the cache clean without a pause.
    pub fn sweep(&mut self, len: usize, recent: &Recent, now: Tick, idle_ms: u64) {
        self.megaflows.sweep(len, recent, now, idle_ms);
    }

    /// Forgets everything; rules are told first.
    pub fn clear(&mut self) {
        self.megaflows.clear();
        self.emc = Emc::new();
    }

    /// All entries, with their mask and a key that they match.
    pub fn entries(&self) -> impl Iterator<Item = (&SparseMask, &SparseKey, &Entry)> {
        self.megaflows.entries()
    }

    /// What lookups found so far.
    #[must_use]
    pub fn counters(&self) -> CacheCounters {
        CacheCounters {
            masks_tried: self.megaflows.masks_tried(),
            ..self.counters
        }
    }

    /// How full it is.
    #[must_use]
    pub fn len(&self) -> CacheLen {
        CacheLen {
            entries: self.megaflows.len(),
            masks: self.megaflows.masks_len(),
            exact: self.emc.len(),
        }
    }
}

/// How full a cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheLen {
    /// Entries.
    pub entries: usize,
    /// Masks, the exact one included.
    pub masks: usize,
    /// Slots of the exact-match cache that hold something.
    pub exact: usize,
}

impl Entry {
    /// The answer.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vswitch_flow::{Field, FlowKey};

    use super::*;

    fn decision() -> Decision {
        Decision {
            straight: false,
            actions: Box::default(),
            drop: None,
            deps: FdbDeps::default(),
            touch: Box::default(),
            neighbours: Box::default(),
            rules: Box::default(),
            lookups: Box::default(),
            seen: Seen::default(),
            groups: Box::default(),
            crossings: Box::default(),
            renews: Box::default(),
        }
    }

    fn key(dst: u8, port: u8) -> SparseKey {
        let mut key = FlowKey::default();
        key.set(Field::EthDst, dst.into());
        key.set(Field::UdpDst, port.into());
        SparseKey::from(&key)
    }

    proptest! {
        /// Known and unknown keys in trains, of which some share an entry and one entry is stale.
        #[test]
        fn a_batch_is_looked_up_as_its_packets_would_be(
            batch in prop::collection::vec((1..=4_u8, 0..=1_u8, 1..=5_usize), 0..12),
        ) {
            let mut mask = FlowMask::default();
            mask.set(Field::EthDst, u128::MAX);
            let caches = || {
                let mut cache = Cache::new(7);
                for (dst, epoch) in [(1, 2), (2, 2), (3, 1)] {
                    cache.insert(&key(dst, 0), &mask, decision(), epoch, Tick(0));
                }
                cache
            };
            let trains = batch.iter().flat_map(|&(dst, port, len)| vec![key(dst, port); len]);
            let keys: Vec<_> = trains.take(BATCH_LEN).collect();
            let (mut together, mut single) = (caches(), caches());
            let mut found = Vec::new();
            let recent = Recent::new(2);
            together.lookup_batch(keys.iter(), &recent, &mut found);
            let expected: Vec<_> = keys.iter().map(|key| single.lookup(key, &recent)).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(together.counters(), single.counters());
        }
    }
}
