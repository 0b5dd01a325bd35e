//! One flow table: finds the flow of highest priority that matches a key, and says what it read.
//!
//! Flows with the same mask share a subtable, a hash table from masked key to flows (tuple space
//! search: Srinivasan, Suri, Varghese, SIGCOMM 1999). Subtables are searched in the order of their
//! highest priority, and the search ends when no later one can do better. Before a subtable's flows
//! are looked up, its *stages* are: does any of its flows have these ports and registers, then these
//! link-layer fields, then these network fields? Where the answer is no, the fields behind it are
//! not read (staged lookup, as in Open vSwitch: Pfaff et al., NSDI 2015, §5.3).
//!
//! A flow with `conjunction` actions is one clause of one or more conjunctions: it decides nothing
//! by itself. When the flows of one priority that match make up every clause of one, the table is
//! searched again with `conj_id` set, for flows that match on it (`ovs-fields(7)`).
//!
//! Law: the answer depends on the bits in the masks of the stages and subtables that were searched
//! and on no others; exactly these are added to the caller's mask. Where two flows of equal priority
//! match, which OpenFlow leaves open, the one whose subtable is searched first wins; of two
//! conjunctions the one with the lower number does.
//!
//! Cost: a lookup hashes the key once for each subtable searched, and once for each stage that the
//! one before did not have. Where all flows of a subtable have the same in a stage, or a filter says
//! at once that none has the key, no tree is walked. At worst a lookup searches all subtables, and
//! there may be as many as flows, when every flow has a mask of its own. Then it is linear, as in any
//! tuple space search; cached answers keep that off most packets. A change finds its subtable among
//! all, and copies one way through each of its trees ([`super::shards`]), which hardly depends on the
//! number of flows.

use std::collections::BTreeMap;
use std::sync::Arc;

use vswitch_flow::{Action, FlowKey, FlowMask, META_WORD, MaskWords, Match, WORDS};

use super::rule::Rule;
use super::shards::{Hashed, Shards};

/// The words of a key that are read up to each stage: where the packet is, the link layer, the
/// network layer. What is left is the transport layer.
const STAGES: [&[std::ops::Range<usize>]; 3] = [
    &[0..1, META_WORD..WORDS],
    &[0..5, META_WORD..WORDS],
    &[0..11, META_WORD..WORDS],
];

/// Buckets that may go, beyond as many as are left, before a filter is made anew.
const FILTER_GONE_MAX: usize = 64;

/// A flow where a search finds it.
#[derive(Clone)]
struct Entry {
    priority: u16,
    /// It is a clause of a conjunction.
    is_clause: bool,
    rule: Arc<Rule>,
}

/// The flows with one mask and one masked key.
#[derive(Clone)]
struct Bucket {
    hash: u64,
    first: Entry,
    /// Those of lower priority, in order.
    rest: Vec<Entry>,
}

/// The bits that a stage compares.
struct Part {
    mask: FlowMask,
    words: MaskWords,
}

/// How many buckets have a key's bits in a stage: by hash, so a wrong yes is possible and costs a
/// search.
#[derive(Clone)]
struct Present {
    hash: u64,
    len: u32,
}

/// What a subtable's flows have in the bits of a stage: most often all have the same.
#[derive(Clone)]
enum Presence {
    One(Present),
    Many(Shards<Present>),
}

/// Which hashes a subtable may have: a quick no for most that it does not have, as long as its flows
/// are few.
#[derive(Clone, Default)]
struct Filter {
    bits: [u64; 8],
    /// Buckets that have gone, whose bits are still set.
    gone: usize,
}

/// What all flows of a subtable have in one word. Most packets that match none of them differ there,
/// which is seen without a hash.
#[derive(Clone, Copy, Default)]
struct Common {
    at: u8,
    bits: u64,
    value: u64,
}

#[derive(Clone)]
struct Subtable {
    words: MaskWords,
    common: Common,
    /// What its flows have in each stage.
    present: [Presence; STAGES.len()],
    /// The words of its mask up to each stage; subtables with the same share them.
    stages: Arc<[Part]>,
    filter: Filter,
    buckets: Shards<Bucket>,
    mask: Arc<FlowMask>,
}

/// The hashes of a key in the stages of one subtable after another: most have the same stages.
#[derive(Default)]
struct StageHashes<'a> {
    stages: Option<&'a Arc<[Part]>>,
    hashes: [u64; STAGES.len()],
    len: usize,
}

/// A flow table.
#[derive(Clone, Default)]
pub struct Table {
    seed: u64,
    /// Highest priority first.
    subtables: Vec<Arc<Subtable>>,
    /// All their masks together.
    all: FlowMask,
    len: usize,
}

impl Entry {
    fn new(rule: Arc<Rule>) -> Self {
        let mut actions = rule.flow().instructions.apply.iter();
        Self {
            priority: rule.flow().priority,
            is_clause: actions.any(|action| matches!(action, Action::Conjunction { .. })),
            rule,
        }
    }
}

impl Bucket {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    fn has_key(&self, key: &FlowKey) -> bool {
        self.first.rule.flow().matches.matches(key)
    }

    /// Puts a flow where its priority belongs; true when one of the same priority had to go.
    fn put(&mut self, mut entry: Entry) -> bool {
        if entry.priority > self.first.priority {
            std::mem::swap(&mut entry, &mut self.first);
            self.rest.insert(0, entry);
            return false;
        }
        if entry.priority == self.first.priority {
            self.first = entry;
            return true;
        }
        let at = self.rest.partition_point(|e| e.priority > entry.priority);
        match self.rest.get_mut(at) {
            Some(same) if same.priority == entry.priority => {
                *same = entry;
                true
            }
            _ => {
                self.rest.insert(at, entry);
                false
            }
        }
    }

    /// Takes one out of several.
    fn take(&mut self, priority: u16) -> Option<Entry> {
        let at = self.rest.iter().position(|e| e.priority == priority);
        if self.first.priority == priority && !self.rest.is_empty() {
            let next = self.rest.remove(0);
            return Some(std::mem::replace(&mut self.first, next));
        }
        Some(self.rest.remove(at?))
    }
}

impl Hashed for Bucket {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn top(&self) -> u16 {
        self.first.priority
    }
}

impl Hashed for Present {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn top(&self) -> u16 {
        0
    }
}

impl Part {
    fn new(mask: &FlowMask) -> Self {
        Self {
            mask: *mask,
            words: MaskWords::from(mask),
        }
    }
}

impl Presence {
    fn has(&self, hash: u64) -> bool {
        match self {
            Self::One(present) => present.len > 0 && present.hash == hash,
            Self::Many(all) => all.find(hash, |_| true).is_some(),
        }
    }

    fn add(&mut self, hash: u64) {
        match self {
            Self::One(present) if present.len == 0 => *present = Present { hash, len: 1 },
            Self::One(present) if present.hash == hash => present.len += 1,
            Self::One(present) => {
                let mut all = Shards::default();
                all.insert(present.clone());
                all.insert(Present { hash, len: 1 });
                *self = Self::Many(all);
            }
            Self::Many(all) => {
                let more = all.update(hash, |_| true, |present| present.len += 1);
                if more.is_none() {
                    all.insert(Present { hash, len: 1 });
                }
            }
        }
    }

    fn remove(&mut self, hash: u64) {
        match self {
            Self::One(present) => present.len = present.len.saturating_sub(1),
            Self::Many(all) => {
                let left = all.update(
                    hash,
                    |_| true,
                    |present| {
                        present.len -= 1;
                        present.len
                    },
                );
                if left == Some(0) {
                    all.remove(hash, |_| true);
                }
            }
        }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self::One(Present { hash: 0, len: 0 })
    }
}

impl Filter {
    fn place(hash: u64) -> (usize, u64) {
        // The lowest bits choose the way in the tree.
        let bit = (hash >> 55) as usize;
        (bit / 64, 1 << (bit % 64))
    }

    #[inline]
    fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = Self::place(hash);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    fn add(&mut self, hash: u64) {
        let (word, bit) = Self::place(hash);
        if let Some(word) = self.bits.get_mut(word) {
            *word |= bit;
        }
    }
}

impl Common {
    /// The word of a mask with most bits that `stage` does not have, so far with the values of `key`.
    fn new(mask: &FlowMask, stage: Option<&FlowMask>, key: &FlowKey) -> Self {
        let own = |at: usize| mask.words[at] & !stage.map_or(0, |stage| stage.words[at]);
        let at = (0..WORDS).max_by_key(|at| own(*at).count_ones());
        let at = at.unwrap_or(0);
        Self {
            at: at as u8,
            bits: mask.words[at],
            value: key.words[at] & mask.words[at],
        }
    }

    fn add(&mut self, key: &FlowKey) {
        self.bits &= !(self.value ^ key.words[usize::from(self.at)]);
        self.value &= self.bits;
    }

    #[inline]
    fn may_have(&self, key: &FlowKey) -> bool {
        (key.words[usize::from(self.at)] ^ self.value) & self.bits == 0
    }
}

impl<'a> StageHashes<'a> {
    /// The hash in a stage of `stages`; what is compared there is added to `read`. Stages are asked
    /// for in order.
    #[inline]
    fn of(
        &mut self,
        stages: &'a Arc<[Part]>,
        at: usize,
        key: &FlowKey,
        seed: u64,
        read: &mut FlowMask,
    ) -> u64 {
        if !self.stages.is_some_and(|known| Arc::ptr_eq(known, stages)) {
            self.stages = Some(stages);
            self.len = 0;
        }
        if at >= self.len
            && let (Some(stage), Some(hash)) = (stages.get(at), self.hashes.get_mut(at))
        {
            stage.words.add_to(read);
            *hash = stage.words.hash(key, seed);
            self.len = at + 1;
        }
        self.hashes.get(at).copied().unwrap_or(0)
    }
}

impl Subtable {
    /// An empty one. Stages that `others` have are shared.
    fn new(mask: &FlowMask, others: &[Arc<Self>]) -> Self {
        let mut stages: Vec<Part> = Vec::new();
        for ranges in STAGES {
            let mut part = FlowMask::default();
            for at in ranges.iter().cloned().flatten() {
                part.words[at] = mask.words[at];
            }
            let new = stages.last().is_none_or(|last| last.mask != part);
            if new && part != *mask && !part.is_empty() {
                stages.push(Part::new(&part));
            }
        }
        let same = |other: &&Arc<Self>| {
            let masks = other.stages.iter().map(|stage| &stage.mask);
            masks.eq(stages.iter().map(|stage| &stage.mask))
        };
        let known = others.iter().find(same);
        Self {
            words: MaskWords::from(mask),
            common: Common::default(),
            present: Default::default(),
            stages: known.map_or_else(|| stages.into(), |other| Arc::clone(&other.stages)),
            filter: Filter::default(),
            buckets: Shards::default(),
            mask: Arc::new(*mask),
        }
    }

    fn max_priority(&self) -> u16 {
        self.buckets.top()
    }

    /// The flows whose masked key is `key`'s.
    fn bucket(&self, key: &FlowKey, seed: u64) -> Option<&Bucket> {
        if !self.common.may_have(key) {
            return None;
        }
        let hash = self.words.hash(key, seed);
        if !self.filter.may_have(hash) {
            return None;
        }
        self.buckets.find(hash, |bucket| bucket.has_key(key))
    }

    /// Whether some flow has the same as `key` in each stage; what was read is added to `read`.
    #[inline]
    fn reaches<'a>(
        &'a self,
        key: &FlowKey,
        seed: u64,
        read: &mut FlowMask,
        hashes: &mut StageHashes<'a>,
    ) -> bool {
        let mut present = self.present.iter().take(self.stages.len()).enumerate();
        present.all(|(at, present)| present.has(hashes.of(&self.stages, at, key, seed, read)))
    }

    /// Adds a flow; true when one with the same match and priority had to go.
    fn insert(&mut self, rule: Arc<Rule>, key: &FlowKey, seed: u64) -> bool {
        let entry = Entry::new(rule);
        let hash = self.words.hash(key, seed);
        let is = |bucket: &Bucket| bucket.has_key(key);
        if self.buckets.find(hash, is).is_some() {
            let replaced = self.buckets.update(hash, is, |bucket| bucket.put(entry));
            return replaced.unwrap_or(false);
        }
        self.buckets.insert(Bucket {
            hash,
            first: entry,
            rest: Vec::new(),
        });
        self.note(hash, key);
        for (stage, present) in self.stages.iter().zip(&mut self.present) {
            present.add(stage.words.hash(key, seed));
        }
        false
    }

    fn remove(&mut self, key: &FlowKey, priority: u16, seed: u64) -> Option<Arc<Rule>> {
        let hash = self.words.hash(key, seed);
        let is = |bucket: &Bucket| bucket.has_key(key);
        let bucket = self.buckets.find(hash, is)?;
        if !bucket.rest.is_empty() {
            let entry = self
                .buckets
                .update(hash, is, |bucket| bucket.take(priority))?;
            return entry.map(|entry| entry.rule);
        }
        if bucket.first.priority != priority {
            return None;
        }
        let bucket = self.buckets.remove(hash, is)?;
        for (stage, present) in self.stages.iter().zip(&mut self.present) {
            present.remove(stage.words.hash(key, seed));
        }
        self.filter.gone += 1;
        if self.filter.gone > FILTER_GONE_MAX + self.buckets.len() {
            self.filter = Filter::default();
            let buckets = self.buckets.iter();
            let left: Vec<_> = buckets
                .map(|bucket| (bucket.hash, bucket.first.rule.flow().matches.key()))
                .collect();
            if let Some((_, key)) = left.first() {
                self.common = self.common_of(key);
            }
            for (hash, key) in &left {
                self.note(*hash, key);
            }
        }
        Some(bucket.first.rule)
    }

    /// Notes that there is a bucket, for a quick no for keys that have none.
    fn note(&mut self, hash: u64, key: &FlowKey) {
        if self.buckets.len() == 1 {
            self.common = self.common_of(key);
        }
        self.common.add(key);
        self.filter.add(hash);
    }

    fn common_of(&self, key: &FlowKey) -> Common {
        Common::new(&self.mask, self.stages.last().map(|stage| &stage.mask), key)
    }
}

impl Table {
    /// An empty table. `seed` keys the hashes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            subtables: Vec::new(),
            all: FlowMask::default(),
            len: 0,
        }
    }

    /// Flows in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no flow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The flow that decides about `key`. The bits that were read are added to `read`.
    #[must_use]
    pub fn lookup(&self, key: &FlowKey, read: &mut FlowMask) -> Option<&Arc<Rule>> {
        let mut clauses = Vec::new();
        let found = self.search(key, read, &mut clauses);
        let floor = found.map(|entry| entry.priority);
        clauses.retain(|clause| Some(clause.priority) > floor);
        clauses.sort_by_key(|clause| std::cmp::Reverse(clause.priority));
        for clauses in clauses.chunk_by(|a, b| a.priority == b.priority) {
            if let Some(id) = complete(clauses) {
                let mut key = *key;
                key.set(vswitch_flow::Field::ConjId, id.into());
                if let Some(found) = self.search(&key, read, &mut Vec::new()) {
                    return Some(&found.rule);
                }
            }
        }
        found.map(|entry| &entry.rule)
    }

    /// The flow of highest priority that is no clause; clauses that match go to `clauses`.
    fn search<'a>(
        &'a self,
        key: &FlowKey,
        read: &mut FlowMask,
        clauses: &mut Vec<&'a Entry>,
    ) -> Option<&'a Entry> {
        let mut best: Option<&Entry> = None;
        let mut hashes = StageHashes::default();
        // Those of the first that were searched whole. Adding each one's mask to what was read takes
        // longer than searching it, and most often it is all of them.
        let mut whole = 0_u128;
        for (at, subtable) in self.subtables.iter().enumerate() {
            if best.is_some_and(|best| best.priority >= subtable.max_priority()) {
                break;
            }
            if !subtable.reaches(key, self.seed, read, &mut hashes) {
                continue;
            }
            match 1_u128.checked_shl(at as u32) {
                Some(bit) => whole |= bit,
                None => subtable.words.add_to(read),
            }
            let Some(bucket) = subtable.bucket(key, self.seed) else {
                continue;
            };
            for entry in bucket.entries() {
                if entry.is_clause {
                    clauses.push(entry);
                    continue;
                }
                if best.is_none_or(|best| best.priority < entry.priority) {
                    best = Some(entry);
                }
                break;
            }
        }
        if whole.count_ones() as usize == self.subtables.len() {
            read.union(&self.all);
        } else {
            while whole != 0 {
                if let Some(subtable) = self.subtables.get(whole.trailing_zeros() as usize) {
                    subtable.words.add_to(read);
                }
                whole &= whole - 1;
            }
        }
        best
    }

    /// The flow with exactly this match and priority.
    #[must_use]
    pub fn find(&self, matches: &Match, priority: u16) -> Option<&Arc<Rule>> {
        let mask = matches.mask();
        let subtable = self.subtables.iter().find(|s| *s.mask == mask)?;
        let bucket = subtable.bucket(&matches.key(), self.seed)?;
        let mut entries = bucket.entries();
        let entry = entries.find(|entry| entry.priority == priority)?;
        Some(&entry.rule)
    }

    /// All flows.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let buckets = self.subtables.iter().flat_map(|s| s.buckets.iter());
        buckets.flat_map(|bucket| bucket.entries().map(|entry| &entry.rule))
    }

    /// Adds a flow; one with the same match and priority goes.
    pub fn insert(&mut self, rule: Arc<Rule>) {
        let (key, mask) = (rule.flow().matches.key(), rule.flow().matches.mask());
        let (at, is_new) = match self.subtables.iter().position(|s| *s.mask == mask) {
            Some(at) => (at, false),
            None => {
                let subtable = Subtable::new(&mask, &self.subtables);
                self.subtables.push(Arc::new(subtable));
                self.all.union(&mask);
                (self.subtables.len() - 1, true)
            }
        };
        let seed = self.seed;
        let Some(subtable) = self.subtables.get_mut(at).map(Arc::make_mut) else {
            return;
        };
        let before = subtable.max_priority();
        if !subtable.insert(rule, &key, seed) {
            self.len += 1;
        }
        if is_new || subtable.max_priority() != before {
            self.sort();
        }
    }

    /// Takes out the flow with exactly this match and priority.
    pub fn remove(&mut self, matches: &Match, priority: u16) -> Option<Arc<Rule>> {
        let (key, mask, seed) = (matches.key(), matches.mask(), self.seed);
        let at = self.subtables.iter().position(|s| *s.mask == mask)?;
        let subtable = Arc::make_mut(self.subtables.get_mut(at)?);
        let before = subtable.max_priority();
        let rule = subtable.remove(&key, priority, seed)?;
        self.len -= 1;
        if subtable.buckets.len() == 0 {
            self.subtables.remove(at);
            // Of more it is not asked for.
            if self.subtables.len() <= u128::BITS as usize {
                self.all = FlowMask::default();
                for subtable in &self.subtables {
                    self.all.union(&subtable.mask);
                }
            }
        } else if subtable.max_priority() != before {
            self.sort();
        }
        Some(rule)
    }

    /// Takes out the flows that `which` chooses; answers how many.
    pub fn remove_if(&mut self, which: impl Fn(&Rule) -> bool) -> usize {
        let gone: Vec<_> = self.iter().filter(|rule| which(rule)).cloned().collect();
        for rule in &gone {
            self.remove(&rule.flow().matches, rule.flow().priority);
        }
        gone.len()
    }

    fn sort(&mut self) {
        // Stable, so that the order among equals does not depend on what was looked up.
        self.subtables
            .sort_by_key(|subtable| std::cmp::Reverse(subtable.max_priority()));
    }
}

/// The lowest conjunction of which each clause is among these flows.
fn complete(clauses: &[&Entry]) -> Option<u32> {
    let mut known: BTreeMap<u32, (u64, u8)> = BTreeMap::new();
    for entry in clauses {
        for action in &entry.rule.flow().instructions.apply {
            if let Action::Conjunction {
                id,
                clause,
                clauses,
            } = action
            {
                let (seen, len) = known.entry(*id).or_default();
                *seen |= 1_u64.checked_shl((*clause).into()).unwrap_or(0);
                *len = (*len).max(*clauses);
            }
        }
    }
    let all = |len: u8| u64::MAX >> (64 - u32::from(len.clamp(1, 64)));
    let mut whole = known.iter().filter(|(_, (seen, len))| *seen == all(*len));
    whole.next().map(|(id, _)| *id)
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("flows", &self.len)
            .field("masks", &self.subtables.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vswitch_flow::{Field, FlowRule};

    use super::*;
    use crate::tick::Tick;

    fn rule(priority: u16, matches: Match, cookie: u64) -> Arc<Rule> {
        let flow = FlowRule {
            priority,
            cookie,
            matches,
            ..FlowRule::default()
        };
        Arc::new(Rule::new(flow, Tick(0), None))
    }

    #[test]
    fn a_search_reads_only_the_masks_it_needs() {
        let mut table = Table::new(1);
        let tcp = Match::any()
            .with(Field::EthType, 0x0800)
            .with(Field::TcpDst, 80);
        table.insert(rule(100, Match::any().with(Field::InPort, 1), 1));
        table.insert(rule(10, tcp, 2));
        let mut key = FlowKey::default();
        key.set(Field::InPort, 1);
        let mut read = FlowMask::default();
        let found = table.lookup(&key, &mut read).expect("matches");
        assert_eq!(found.flow().cookie, 1);
        assert_eq!(
            read.field(Field::TcpDst),
            0,
            "the first answer was good enough"
        );

        key.set(Field::InPort, 2);
        key.set(Field::EthType, 0x0800);
        assert!(table.lookup(&key, &mut read).is_none());
        assert_eq!(read.field(Field::TcpDst), 0xffff);
    }

    #[test]
    fn flows_that_stay_are_found_when_most_have_gone_and_others_have_come() {
        let matches = |port: u128| {
            let ip = Match::any().with(Field::EthType, 0x0800 + port % 3);
            ip.with(Field::UdpDst, port)
        };
        let found = |table: &Table, port: u128| {
            let mut key = FlowKey::default();
            key.set(Field::EthType, 0x0800 + port % 3);
            key.set(Field::UdpDst, port);
            table.lookup(&key, &mut FlowMask::default()).is_some()
        };
        let mut table = Table::new(1);
        for port in 0..500 {
            table.insert(rule(1, matches(port), 0));
        }
        for port in 0..490 {
            assert!(table.remove(&matches(port), 1).is_some());
        }
        for port in 1000..1010 {
            table.insert(rule(1, matches(port), 0));
        }
        let all = (0..2000).filter(|port| found(&table, *port));
        let expected = (490..500).chain(1000..1010);
        assert_eq!(all.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        let filter = &table.subtables[0].filter;
        assert!(filter.gone <= FILTER_GONE_MAX + 20, "it was made anew");
        let set: u32 = filter.bits.iter().map(|word| word.count_ones()).sum();
        assert!(set < 200, "{set} bits for 20 flows");
    }

    #[test]
    fn changing_a_copy_leaves_the_original_alone() {
        let mut table = Table::new(1);
        table.insert(rule(1, Match::any(), 1));
        let before = table.clone();
        table.insert(rule(1, Match::any(), 2));
        table.insert(rule(5, Match::any(), 3));
        assert_eq!((before.len(), table.len()), (1, 2));
        let mut read = FlowMask::default();
        let cookie = |t: &Table, read: &mut FlowMask| {
            t.lookup(&FlowKey::default(), read).map(|r| r.flow().cookie)
        };
        assert_eq!(cookie(&before, &mut read), Some(1));
        assert_eq!(cookie(&table, &mut read), Some(3));
        assert_eq!(table.remove_if(|r| r.flow().priority == 5), 1);
        assert_eq!(cookie(&table, &mut read), Some(2));
    }

    fn clause(priority: u16, matches: Match, id: u32, clause: u8, clauses: u8) -> Arc<Rule> {
        let flow = FlowRule {
            priority,
            matches,
            instructions: vec![Action::Conjunction {
                id,
                clause,
                clauses,
            }]
            .into(),
            ..FlowRule::default()
        };
        Arc::new(Rule::new(flow, Tick(0), None))
    }

    /// The Open vSwitch test "classifier - single conjunctive match".
    #[test]
    fn clauses_decide_together_and_not_alone() {
        let ip = || Match::any().with(Field::EthType, 0x0800);
        let (src, dst) = (
            |last: u128| ip().with(Field::Ipv4Src, 0x0a00_0000 | last),
            |last: u128| ip().with(Field::Ipv4Dst, 0x0a00_0000 | last),
        );
        let both = |a: u128, b: u128| src(a).with(Field::Ipv4Dst, 0x0a00_0000 | b);
        let mut table = Table::new(1);
        table.insert(rule(32768, Match::any().with(Field::ConjId, 1), 3));
        for last in [1, 4, 6, 7] {
            table.insert(clause(100, src(last), 1, 0, 2));
        }
        for last in [2, 5, 7, 8] {
            table.insert(clause(100, dst(last), 1, 1, 2));
        }
        table.insert(rule(100, both(1, 4), 4));
        table.insert(rule(100, both(3, 5), 5));
        table.insert(rule(0, Match::any(), 2));
        let ask = |table: &Table, a: u128, b: u128| {
            let key = both(a, b).key();
            let mut read = FlowMask::default();
            let found = table
                .lookup(&key, &mut read)
                .expect("the last flow matches");
            assert_eq!(
                found.flow().instructions.apply.len(),
                0,
                "no clause decides"
            );
            assert_eq!(read.field(Field::Ipv4Src), 0xffff_ffff);
            found.flow().cookie
        };
        for (a, b, cookie) in [
            (1, 4, 4),
            (3, 5, 5),
            (1, 2, 3),
            (7, 7, 3),
            (6, 5, 3),
            (2, 2, 2),
            (1, 1, 2),
            (0, 0, 2),
        ] {
            assert_eq!(ask(&table, a, b), cookie, "{a} to {b}");
        }
        assert!(table.remove(&dst(2), 100).is_some());
        assert_eq!(ask(&table, 1, 2), 2);
        // A better flow that decides alone goes first.
        table.insert(rule(200, src(7), 9));
        assert_eq!(ask(&table, 7, 7), 9);
    }

    #[test]
    fn a_stage_without_a_flow_hides_what_is_behind_it() {
        let mut table = Table::new(1);
        let tcp = |last: u128| {
            Match::any()
                .with(Field::InPort, 1)
                .with(Field::EthType, 0x0800)
                .with(Field::Ipv4Dst, 0x0a00_0000 | last)
                .with(Field::IpProto, 6)
                .with(Field::TcpDst, 80)
        };
        for last in 0..100 {
            table.insert(rule(1, tcp(last), 1));
        }
        let read_of = |table: &Table, key: &FlowKey| {
            let mut read = FlowMask::default();
            let found = table.lookup(key, &mut read).is_some();
            let bits = |field| read.field(field) != 0;
            (
                found,
                bits(Field::EthType),
                bits(Field::Ipv4Dst),
                bits(Field::TcpDst),
            )
        };
        let hit = tcp(5).key();
        assert_eq!(read_of(&table, &hit), (true, true, true, true));
        let mut elsewhere = hit;
        elsewhere.set(Field::Ipv4Dst, 0x0b00_0005);
        assert_eq!(read_of(&table, &elsewhere), (false, true, true, false));
        elsewhere.set(Field::EthType, 0x86dd);
        assert_eq!(read_of(&table, &elsewhere), (false, true, false, false));
        elsewhere.set(Field::InPort, 2);
        assert_eq!(read_of(&table, &elsewhere), (false, false, false, false));
        // A stage forgets flows that go.
        for last in 0..100 {
            table.remove(&tcp(last), 1);
        }
        assert_eq!(read_of(&table, &hit), (false, false, false, false));
    }

    const FIELDS: [Field; 5] = [
        Field::InPort,
        Field::EthType,
        Field::VlanTci,
        Field::Ipv4Dst,
        Field::TcpDst,
    ];

    fn matches() -> impl Strategy<Value = Match> {
        let mask = prop_oneof![Just(0_u128), Just(1), Just(3), Just(u128::MAX)];
        prop::collection::vec((0..4_u128, mask), FIELDS.len()).prop_map(|fields| {
            let mut matches = Match::any();
            for (field, (value, mask)) in FIELDS.into_iter().zip(fields) {
                matches = matches.with_masked(field, value, mask & field.info().max());
            }
            matches
        })
    }

    fn key() -> impl Strategy<Value = FlowKey> {
        prop::collection::vec(0..4_u128, FIELDS.len()).prop_map(|values| {
            let mut key = FlowKey::default();
            for (field, value) in FIELDS.into_iter().zip(values) {
                key.set(field, value);
            }
            key
        })
    }

    proptest! {
        #[test]
        fn the_table_answers_as_a_list_does(
            changes in prop::collection::vec((any::<bool>(), matches(), 0..4_u16), 1..40),
            keys in prop::collection::vec(key(), 1..20),
            flip in 0..(WORDS * 64),
        ) {
            let mut table = Table::new(99);
            let mut list: Vec<Arc<Rule>> = Vec::new();
            for (i, (add, matches, priority)) in changes.into_iter().enumerate() {
                let same = |r: &Rule| r.flow().matches == matches && r.flow().priority == priority;
                if add {
                    let rule = rule(priority, matches.clone(), i as u64);
                    list.retain(|r| !same(r));
                    list.push(Arc::clone(&rule));
                    table.insert(rule);
                } else {
                    let gone = list.len();
                    list.retain(|r| !same(r));
                    prop_assert_eq!(table.remove_if(same), gone - list.len());
                }
                prop_assert_eq!(table.len(), list.len());
                prop_assert_eq!(table.iter().count(), list.len());
            }
            for rule in &list {
                let found = table.find(&rule.flow().matches, rule.flow().priority);
                prop_assert!(found.is_some_and(|r| Arc::ptr_eq(r, rule)));
            }
            for key in keys {
                let best = list
                    .iter()
                    .filter(|r| r.flow().matches.matches(&key))
                    .map(|r| r.flow().priority)
                    .max();
                let mut read = FlowMask::default();
                let found = table.lookup(&key, &mut read);
                prop_assert_eq!(found.map(|r| r.flow().priority), best);
                prop_assert!(found.is_none_or(|r| r.flow().matches.matches(&key)));
                // A bit that was not read does not matter.
                let (word, bit) = (flip / 64, 1_u64 << (flip % 64));
                if read.words[word] & bit == 0 {
                    let mut other = key;
                    other.words[word] ^= bit;
                    let again = table.lookup(&other, &mut read);
                    prop_assert_eq!(found.map(Arc::as_ptr), again.map(Arc::as_ptr));
                }
            }
        }
    }
}
