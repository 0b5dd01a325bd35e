//! The megaflow cache: entries by mask, a hash table for each.
//!
//! Tables are tried in the order of their hits, renewed now and then. At [`MASKS_MAX`] masks a new
//! one is replaced by the exact mask, so a lookup tries at most one table more than that. At
//! [`ENTRIES_MAX`] entries the one that was idle longest among a few neighbours goes.

use hashbrown::HashTable;
use vswitch_flow::{FlowMask, SparseKey, SparseMask};
use vswitch_sys::memory::prefetch;

use super::{Decision, Entry, EntryId};
use crate::pipeline::{Answer, Recent};
use crate::tick::Tick;

/// Most masks besides the exact one: what a lookup costs at worst under attack.
pub const MASKS_MAX: usize = 64;

/// Most entries of a worker, Open vSwitch's `flow-limit`; about 90 MB when full.
pub const ENTRIES_MAX: usize = 200_000;

/// Entries that are looked at to find one to evict.
const EVICT_SAMPLE: usize = 16;

/// Lookups between two renewals of the order of masks.
const REORDER_EVERY: u32 = 65_536;

#[derive(Debug)]
struct Subtable {
    mask: SparseMask,
    /// Entry numbers, by the hash of the masked key.
    table: HashTable<u32>,
    /// Hits since the order was renewed.
    hits: u64,
}

#[derive(Debug)]
pub(super) struct Megaflows {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// An emptied slot takes the next new mask.
    subtables: Vec<Subtable>,
    /// Numbers of subtables that hold entries, most hits first.
    order: Vec<u32>,
    seed: u64,
    lookups: u32,
    /// Masks tried by all lookups that found something.
    masks_tried: u64,
    /// Where the sweep goes on.
    hand: usize,
    /// Masks besides the exact one, and entries, that are kept at most.
    masks_max: usize,
    entries_max: usize,
    /// Entries with traffic that their rules have not been told of. After an insertion there is room
    /// for a note of each entry, so that a hit allocates nothing.
    dirty: Vec<u32>,
}

impl Megaflows {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            subtables: Vec::new(),
            order: Vec::new(),
            seed,
            lookups: 0,
            masks_tried: 0,
            hand: 0,
            masks_max: MASKS_MAX,
            entries_max: ENTRIES_MAX,
            dirty: Vec::new(),
        }
    }

    /// Says that the entry at `index` will be looked at soon.
    #[inline]
    pub(super) fn expect(&self, index: u32) {
        if let Some(entry) = self.entries.get(index as usize) {
            prefetch(entry);
        }
    }

    /// The entry at `index`, if it is one and matches `key`.
    #[inline]
    pub(super) fn check(&self, index: u32, key: &SparseKey) -> Option<EntryId> {
        let entry = self.entries.get(index as usize)?;
        entry.decision.as_ref()?;
        let mask = &self.subtables.get(entry.subtable as usize)?.mask;
        key.equal_under(&entry.key, mask).then_some(EntryId {
            index,
            generation: entry.generation,
        })
    }

    /// The first entry that matches `key`.
    pub(super) fn find(&mut self, key: &SparseKey) -> Option<EntryId> {
        self.lookups += 1;
        if self.lookups == REORDER_EVERY {
            self.reorder();
        }
        let Self {
            entries,
            subtables,
            order,
            seed,
            masks_tried,
            ..
        } = self;
        for (&number, tried) in order.iter().zip(1..) {
            let subtable = &mut subtables[number as usize];
            let hash = key.hash_under(&subtable.mask, *seed);
            let found = subtable.table.find(hash, |&index| {
                key.equal_under(&entries[index as usize].key, &subtable.mask)
            });
            if let Some(&index) = found {
                subtable.hits += 1;
                *masks_tried += tried;
                return Some(EntryId {
                    index,
                    generation: entries[index as usize].generation,
                });
            }
        }
        None
    }

    #[cold]
    fn reorder(&mut self) {
        self.lookups = 0;
        let subtables = &mut self.subtables;
        self.order
            .sort_by_key(|&n| std::cmp::Reverse(subtables[n as usize].hits));
        for subtable in subtables {
            subtable.hits = 0;
        }
    }

    /// Whether the entry still tells the truth.
    #[inline]
    pub(super) fn is_fresh(&mut self, id: EntryId, recent: &Recent) -> bool {
        let entry = &self.entries[id.index as usize];
        let decision = entry.decision.as_ref();
        decision.is_some_and(|d| d.deps.valid())
            && (entry.epoch == recent.epoch() || self.outlives(id.index, recent))
    }

    /// Whether no change concerns the entry since it was last looked at.
    #[cold]
    fn outlives(&mut self, index: u32, recent: &Recent) -> bool {
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return false;
        };
        let (Some(decision), Some(subtable)) =
            (&entry.decision, self.subtables.get(entry.subtable as usize))
        else {
            return false;
        };
        let answer = Answer {
            key: &entry.key,
            mask: &subtable.mask,
            lookups: &decision.lookups,
            renews: &decision.renews,
            seen: &decision.seen,
        };
        let spared = recent.spares(entry.epoch, &answer);
        if spared {
            entry.epoch = recent.epoch();
        }
        spared
    }

    /// Adds an entry; true when another had to go for it.
    pub(super) fn insert(
        &mut self,
        key: &SparseKey,
        mask: SparseMask,
        decision: Decision,
        epoch: u64,
        now: Tick,
    ) -> (EntryId, bool) {
        let evicted = self.len() >= self.entries_max && self.evict();
        // Entries that go are told of at once, but stay noted: now and then all are.
        if self.dirty.len() > self.entries.len() {
            self.credit_rules();
        }
        let number = self.subtable(mask);
        let mut entry = Entry {
            epoch,
            subtable: number,
            generation: 0,
            packets: 0,
            bytes: 0,
            used: now,
            credited: (0, 0),
            key: *key,
            decision: Some(decision),
        };
        let index = match self.free.pop() {
            Some(index) => {
                let slot = &mut self.entries[index as usize];
                entry.generation = slot.generation;
                *slot = entry;
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.dirty.reserve(self.entries.len());
        let Self {
            entries,
            subtables,
            seed,
            ..
        } = self;
        let Subtable { mask, table, .. } = &mut subtables[number as usize];
        let hash = |i: u32| entries[i as usize].key.hash_under(mask, *seed);
        table.insert_unique(hash(index), index, |&i| hash(i));
        let generation = self.entries[index as usize].generation;
        (EntryId { index, generation }, evicted)
    }

    /// The number of the subtable for `mask`, or for the exact mask when there are too many.
    fn subtable(&mut self, mask: SparseMask) -> u32 {
        if let Some(number) = self.number_of(&mask) {
            return number;
        }
        let exact = SparseMask::from(&FlowMask::EXACT);
        let has_exact = usize::from(self.number_of(&exact).is_some());
        if mask != exact && self.order.len() - has_exact >= self.masks_max {
            return self.subtable(exact);
        }
        let subtable = Subtable {
            mask,
            table: HashTable::new(),
            hits: 0,
        };
        let number = match self.subtables.iter().position(|s| s.table.is_empty()) {
            Some(number) => {
                self.subtables[number] = subtable;
                number
            }
            None => {
                self.subtables.push(subtable);
                self.subtables.len() - 1
            }
        };
        self.order.push(number as u32);
        number as u32
    }

    fn number_of(&self, mask: &SparseMask) -> Option<u32> {
        let mut numbers = self.order.iter().copied();
        numbers.find(|&n| self.subtables[n as usize].mask == *mask)
    }

    /// Removes the entry at `index`, if there is one; its rules are told of its traffic.
    pub(super) fn remove(&mut self, index: u32) {
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return;
        };
        credit(entry);
        if entry.decision.take().is_none() {
            return;
        }
        entry.generation = entry.generation.wrapping_add(1);
        let number = entry.subtable;
        let subtable = &mut self.subtables[number as usize];
        let hash = entry.key.hash_under(&subtable.mask, self.seed);
        if let Ok(found) = subtable.table.find_entry(hash, |&i| i == index) {
            found.remove();
        }
        if subtable.table.is_empty() {
            self.order.retain(|&n| n != number);
        }
        self.free.push(index);
    }

    /// Makes room: of the next few entries from the hand on, the one idle longest goes.
    #[cold]
    fn evict(&mut self) -> bool {
        let len = self.entries.len();
        let victim = (0..len)
            .map(|i| (self.hand + i) % len)
            .filter(|&i| self.entries[i].decision.is_some())
            .take(EVICT_SAMPLE)
            .min_by_key(|&i| self.entries[i].used);
        self.hand = (self.hand + EVICT_SAMPLE) % len.max(1);
        if let Some(index) = victim {
            self.remove(index as u32);
        }
        victim.is_some()
    }

    pub(super) fn sweep(&mut self, len: usize, recent: &Recent, now: Tick, idle_ms: u64) {
        for _ in 0..len.min(self.entries.len()) {
            self.hand = (self.hand + 1) % self.entries.len();
            let index = self.hand as u32;
            let entry = &self.entries[self.hand];
            if entry.decision.is_none() {
                continue;
            }
            let idle = now.since(entry.used) > idle_ms;
            if idle || entry.epoch != recent.epoch() && !self.outlives(index, recent) {
                self.remove(index);
            }
        }
    }

    pub(super) fn credit_rules(&mut self) {
        for index in self.dirty.drain(..) {
            if let Some(entry) = self.entries.get_mut(index as usize) {
                credit(entry);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        for index in 0..self.entries.len() {
            self.remove(index as u32);
        }
    }

    #[inline]
    pub(super) fn entry(&self, id: EntryId) -> Option<&Entry> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.generation == id.generation).then_some(entry)
    }

    /// The entry, and where it is noted that it has traffic.
    #[inline]
    pub(super) fn entry_mut(&mut self, id: EntryId) -> Option<(&mut Entry, &mut Vec<u32>)> {
        let entry = self.entries.get_mut(id.index as usize)?;
        (entry.generation == id.generation).then_some((entry, &mut self.dirty))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&SparseMask, &SparseKey, &Entry)> {
        let live = self.entries.iter().filter(|e| e.decision.is_some());
        live.map(|entry| {
            let mask = &self.subtables[entry.subtable as usize].mask;
            (mask, &entry.key, entry)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn masks_tried(&self) -> u64 {
        self.masks_tried
    }

    pub(super) fn masks_len(&self) -> usize {
        self.order.len()
    }
}

/// Tells an entry's rules of traffic that they have not been told of.
fn credit(entry: &mut Entry) {
    let packets = entry.packets - entry.credited.0;
    let bytes = entry.bytes - entry.credited.1;
    if packets == 0 {
        return;
    }
    entry.credited = (entry.packets, entry.bytes);
    if let Some(decision) = &entry.decision {
        decision.credit(packets, bytes, entry.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fdb::FdbDeps;
    use crate::pipeline::Seen;
    use vswitch_flow::{Field, FlowKey};

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

    fn key(dst: u128, port: u128) -> SparseKey {
        let mut key = FlowKey::default();
        key.set(Field::InPort, 1);
        key.set(Field::EthDst, dst);
        key.set(Field::UdpDst, port);
        SparseKey::from(&key)
    }

    fn mask(port_bits: u128) -> SparseMask {
        let mut mask = FlowMask::default();
        mask.set(Field::EthDst, u128::MAX);
        mask.set(Field::UdpDst, port_bits);
        SparseMask::from(&mask)
    }

    #[test]
    fn an_entry_answers_for_all_keys_under_its_mask_until_it_is_removed() {
        let mut cache = Megaflows::new(1);
        let (id, _) = cache.insert(&key(7, 80), mask(0), decision(), 1, Tick(0));
        assert_eq!(cache.find(&key(7, 443)), Some(id));
        assert_eq!(cache.find(&key(8, 80)), None);
        assert!(cache.is_fresh(id, &Recent::new(1)) && !cache.is_fresh(id, &Recent::new(2)));
        cache.remove(id.index);
        assert_eq!(cache.find(&key(7, 443)), None);
        assert!(cache.entry(id).is_none());
        assert_eq!((cache.len(), cache.masks_len()), (0, 0));

        let (again, _) = cache.insert(&key(9, 1), mask(0xff), decision(), 1, Tick(0));
        assert_eq!(again.index, id.index);
        assert_ne!(again.generation, id.generation);
        assert_eq!(cache.check(again.index, &key(9, 0x101)), Some(again));
        assert_eq!(cache.check(again.index, &key(9, 2)), None);
    }

    #[test]
    fn masks_beyond_the_bound_become_exact_entries() {
        let mut cache = Megaflows::new(1);
        cache.masks_max = 4;
        for bits in 0..20 {
            cache.insert(&key(bits, bits), mask(bits), decision(), 1, Tick(0));
        }
        assert_eq!((cache.masks_len(), cache.len()), (5, 20));
        for bits in 0..20 {
            assert!(cache.find(&key(bits, bits)).is_some(), "{bits}");
        }
        assert_eq!(cache.find(&key(19, 19 | 0x8000)), None);
    }

    #[test]
    fn a_full_cache_evicts_the_idle() {
        let mut cache = Megaflows::new(1);
        cache.entries_max = 10;
        for i in 0..10 {
            cache.insert(&key(i, 0), mask(0), decision(), 1, Tick(100 - i as u64));
        }
        let (_, evicted) = cache.insert(&key(50, 0), mask(0), decision(), 1, Tick(200));
        assert!(evicted);
        assert_eq!(cache.len(), 10);
        assert_eq!(cache.find(&key(9, 0)), None);
        assert!(cache.find(&key(0, 0)).is_some());
    }

    #[test]
    fn the_sweep_removes_idle_and_outdated_entries() {
        let mut cache = Megaflows::new(1);
        cache.insert(&key(1, 0), mask(0), decision(), 1, Tick(0));
        cache.insert(&key(2, 0), mask(0), decision(), 1, Tick(9_000));
        cache.insert(&key(3, 0), mask(0), decision(), 2, Tick(9_000));
        cache.sweep(3, &Recent::new(2), Tick(12_000), 10_000);
        assert_eq!(cache.len(), 1);
        assert!(cache.find(&key(3, 0)).is_some());
    }
}
