//! One flow table: finds the flow of highest priority that matches a key, and says what it read.
//!
//! Flows with the same mask share a subtable, a hash table from masked key to flows (tuple space
//! search: Srinivasan, Suri, Varghese, SIGCOMM 1999). Subtables are searched in the order of their
//! highest priority, and the search ends when no later one can do better.
//!
//! Law: the answer depends on the bits in the masks of the subtables that were searched and on no
//! others; exactly these are added to the caller's mask. Where two flows of equal priority match,
//! which OpenFlow leaves open, the one whose subtable is searched first wins.
//!
//! Cost: a lookup hashes the key once for each subtable searched. A change copies the one subtable
//! it touches unless the table is not shared yet, so a batch of changes copies each at most once:
//! about 2 ms for 100,000 flows with one mask.

use std::sync::Arc;

use hashbrown::HashTable;
use vswitch_flow::{FlowKey, FlowMask, MaskWords, Match};

use super::rule::Rule;

/// The flows with one mask and one masked key, highest priority first.
type Bucket = Vec<Arc<Rule>>;

#[derive(Clone)]
struct Subtable {
    mask: FlowMask,
    words: MaskWords,
    max_priority: u16,
    buckets: HashTable<Bucket>,
}

/// A flow table.
#[derive(Clone, Default)]
pub struct Table {
    seed: u64,
    /// Highest `max_priority` first.
    subtables: Vec<Arc<Subtable>>,
    len: usize,
}

impl Subtable {
    fn new(mask: &FlowMask) -> Self {
        Self {
            mask: *mask,
            words: MaskWords::from(mask),
            max_priority: 0,
            buckets: HashTable::new(),
        }
    }

    /// The flows whose masked key is `key`'s. A bucket is never empty.
    fn bucket(&self, key: &FlowKey, seed: u64) -> Option<&Bucket> {
        self.buckets.find(self.words.hash(key, seed), |bucket| {
            bucket
                .first()
                .is_some_and(|rule| rule.flow().matches.matches(key))
        })
    }

    fn recount(&mut self) {
        self.max_priority = self
            .buckets
            .iter()
            .filter_map(|bucket| bucket.first())
            .map(|rule| rule.flow().priority)
            .max()
            .unwrap_or(0);
    }
}

impl Table {
    /// An empty table. `seed` keys the hashes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            subtables: Vec::new(),
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
        let mut best: Option<&Arc<Rule>> = None;
        for subtable in &self.subtables {
            if best.is_some_and(|rule| rule.flow().priority >= subtable.max_priority) {
                break;
            }
            read.union(&subtable.mask);
            let found = subtable
                .bucket(key, self.seed)
                .and_then(|bucket| bucket.first());
            if let Some(rule) = found
                && best.is_none_or(|best| best.flow().priority < rule.flow().priority)
            {
                best = Some(rule);
            }
        }
        best
    }

    /// The flow with exactly this match and priority.
    #[must_use]
    pub fn find(&self, matches: &Match, priority: u16) -> Option<&Arc<Rule>> {
        let mask = matches.mask();
        let subtable = self.subtables.iter().find(|s| s.mask == mask)?;
        subtable
            .bucket(&matches.key(), self.seed)?
            .iter()
            .find(|rule| rule.flow().priority == priority)
    }

    /// All flows.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.subtables
            .iter()
            .flat_map(|subtable| subtable.buckets.iter().flatten())
    }

    /// Adds a flow; one with the same match and priority goes.
    pub fn insert(&mut self, rule: Arc<Rule>) {
        let (key, mask) = (rule.flow().matches.key(), rule.flow().matches.mask());
        let priority = rule.flow().priority;
        let at = match self.subtables.iter().position(|s| s.mask == mask) {
            Some(at) => at,
            None => {
                self.subtables.push(Arc::new(Subtable::new(&mask)));
                self.subtables.len() - 1
            }
        };
        let seed = self.seed;
        let Some(subtable) = self.subtables.get_mut(at).map(Arc::make_mut) else {
            return;
        };
        subtable.max_priority = subtable.max_priority.max(priority);
        let words = &subtable.words;
        let hash = |key: &FlowKey| words.hash(key, seed);
        let bucket = subtable.buckets.find_mut(hash(&key), |bucket| {
            bucket
                .first()
                .is_some_and(|rule| rule.flow().matches.matches(&key))
        });
        match bucket {
            Some(bucket) => {
                let at = bucket.partition_point(|r| r.flow().priority > priority);
                match bucket.get_mut(at) {
                    Some(same) if same.flow().priority == priority => {
                        *same = rule;
                        self.len -= 1;
                    }
                    _ => bucket.insert(at, rule),
                }
            }
            None => {
                subtable
                    .buckets
                    .insert_unique(hash(&key), vec![rule], |bucket| {
                        bucket.first().map_or(0, |r| hash(&r.flow().matches.key()))
                    });
            }
        }
        self.len += 1;
        self.sort();
    }

    /// Takes out the flow with exactly this match and priority.
    pub fn remove(&mut self, matches: &Match, priority: u16) -> Option<Arc<Rule>> {
        let (key, mask, seed) = (matches.key(), matches.mask(), self.seed);
        let at = self.subtables.iter().position(|s| s.mask == mask)?;
        let subtable = Arc::make_mut(self.subtables.get_mut(at)?);
        let hash = subtable.words.hash(&key, seed);
        let mut entry = subtable
            .buckets
            .find_entry(hash, |bucket| {
                bucket
                    .first()
                    .is_some_and(|rule| rule.flow().matches.matches(&key))
            })
            .ok()?;
        let bucket = entry.get_mut();
        let place = bucket.iter().position(|r| r.flow().priority == priority)?;
        let rule = bucket.remove(place);
        if bucket.is_empty() {
            entry.remove();
        }
        self.len -= 1;
        if subtable.buckets.is_empty() {
            self.subtables.remove(at);
        } else if priority == subtable.max_priority {
            subtable.recount();
            self.sort();
        }
        Some(rule)
    }

    /// Takes out the flows that `which` chooses; answers how many.
    pub fn remove_if(&mut self, which: impl Fn(&Rule) -> bool) -> usize {
        let before = self.len;
        for subtable in &mut self.subtables {
            if !subtable.buckets.iter().flatten().any(|rule| which(rule)) {
                continue;
            }
            let subtable = Arc::make_mut(subtable);
            let mut gone = 0;
            subtable.buckets.retain(|bucket| {
                bucket.retain(|rule| {
                    let goes = which(rule);
                    gone += usize::from(goes);
                    !goes
                });
                !bucket.is_empty()
            });
            self.len -= gone;
            subtable.recount();
        }
        self.subtables.retain(|s| !s.buckets.is_empty());
        self.sort();
        before - self.len
    }

    fn sort(&mut self) {
        // Stable, so that the order among equals does not depend on what was looked up.
        self.subtables
            .sort_by_key(|subtable| std::cmp::Reverse(subtable.max_priority));
    }
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
        assert!(table.lookup(&key, &mut read).is_none());
        assert_eq!(read.field(Field::TcpDst), 0xffff);
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
            flip in 0..(vswitch_flow::WORDS * 64),
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
