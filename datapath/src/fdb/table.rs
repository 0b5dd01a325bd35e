//! The map behind a forwarding database, and the orders that eviction and ageing need.
//!
//! Law: every entry is in the map once, in its port's order once, and counted once in `sizes`.
//! An order's time is never later than its entry's: the entry may have been seen since.
//!
//! Cost: a lookup is one hash; inserting and removing add a few steps of a B-tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};

use super::{FdbStats, MacEntry, MacKey, SECOND_CHANCES};
use crate::port::PortIndex;
use crate::tick::Tick;

/// A place in a port's order: recorded time, then the order of insertion.
type Place = (Tick, u64);

struct Slot {
    entry: Arc<MacEntry>,
    place: Place,
}

pub(super) struct Table {
    slots: HashTable<Slot>,
    /// The addresses of each port that has any, oldest first.
    orders: HashMap<PortIndex, BTreeMap<Place, MacKey>>,
    /// Ports by number of addresses.
    sizes: BTreeSet<(usize, PortIndex)>,
    next: u64,
    /// Seconds.
    pub(super) ageing: u32,
    pub(super) limit: usize,
    pub(super) stats: FdbStats,
}

impl Table {
    pub(super) fn new(ageing: u32, limit: usize) -> Self {
        Self {
            slots: HashTable::new(),
            orders: HashMap::new(),
            sizes: BTreeSet::new(),
            next: 0,
            ageing,
            limit,
            stats: FdbStats::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &MacEntry> {
        self.slots.iter().map(|slot| &*slot.entry)
    }

    pub(super) fn find(&self, key: MacKey, seed: u64) -> Option<&Arc<MacEntry>> {
        self.slots
            .find(key.hash(seed), |slot| slot.entry.key() == key)
            .map(|slot| &slot.entry)
    }

    /// Adds `key`, which is not there.
    pub(super) fn insert(&mut self, key: MacKey, port: PortIndex, now: Tick, seed: u64) {
        let place = (now, self.next);
        self.next += 1;
        self.slots.insert_unique(
            key.hash(seed),
            Slot {
                entry: Arc::new(MacEntry::new(key, port, now)),
                place,
            },
            |slot| slot.entry.key().hash(seed),
        );
        let order = self.orders.entry(port).or_default();
        self.sizes.remove(&(order.len(), port));
        order.insert(place, key);
        self.sizes.insert((order.len(), port));
    }

    /// Takes `key` out, if it is there.
    pub(super) fn remove(&mut self, key: MacKey, seed: u64) {
        let found = self
            .slots
            .find_entry(key.hash(seed), |slot| slot.entry.key() == key);
        let Ok(found) = found else { return };
        let (slot, _) = found.remove();
        let port = slot.entry.port();
        let Some(order) = self.orders.get_mut(&port) else {
            return;
        };
        self.sizes.remove(&(order.len(), port));
        order.remove(&slot.place);
        if order.is_empty() {
            self.orders.remove(&port);
        } else {
            self.sizes.insert((order.len(), port));
        }
    }

    /// The first of a port's order, after those that were seen since their time was recorded have
    /// been put where they belong; at most `chances` of them.
    fn oldest(&mut self, port: PortIndex, chances: usize, seed: u64) -> Option<(Tick, MacKey)> {
        let order = self.orders.get_mut(&port)?;
        for _ in 0..chances {
            let (&place, &key) = order.first_key_value()?;
            let slot = self
                .slots
                .find_mut(key.hash(seed), |slot| slot.entry.key() == key)?;
            let used = slot.entry.used();
            if used <= place.0 {
                return Some((place.0, key));
            }
            order.remove(&place);
            slot.place = (used, place.1);
            order.insert(slot.place, key);
        }
        let (place, key) = order.first_key_value()?;
        Some((place.0, *key))
    }

    /// Who goes when the table is full.
    pub(super) fn victim(&mut self, seed: u64) -> Option<MacKey> {
        let (_, port) = *self.sizes.last()?;
        self.oldest(port, SECOND_CHANCES, seed).map(|(_, key)| key)
    }

    /// Takes out all addresses that were not seen for the ageing time.
    pub(super) fn expire(&mut self, now: Tick, seed: u64) -> Vec<MacKey> {
        let limit = u64::from(self.ageing) * 1000;
        let due = |at: Tick| now.since(at) >= limit;
        let ports: Vec<_> = self
            .orders
            .iter()
            .filter(|(_, order)| {
                order
                    .first_key_value()
                    .is_some_and(|(place, _)| due(place.0))
            })
            .map(|(port, _)| *port)
            .collect();
        let mut gone = Vec::new();
        for port in ports {
            while let Some((_, key)) = self
                .oldest(port, usize::MAX, seed)
                .filter(|(at, _)| due(*at))
            {
                self.remove(key, seed);
                gone.push(key);
            }
        }
        gone
    }
}
