//! The table behind [`Neighbours`](super::Neighbours), under its lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;
use vswitch_dpapi::router::{NeighbourState, NeighbourStats};

use super::{
    AHEAD_MS, ASKS_BURST, ASKS_RATE, DOUBT_MS, Due, FAILED_MS, FORGET_MS, Heard, INCOMPLETE_MAX,
    Neighbour, NeighbourKey, Parked, QUEUE_MAX, REACHABLE_MS, RETRY_MS, STALE_MS, Seen, TRIES,
    WAITING_MAX, Waiting, Word,
};
use crate::buffer::Packet;
use crate::port::PortIndex;
use crate::rate::Bucket;
use crate::tick::Tick;

/// Neighbours looked at before one makes room: those whose time comes next.
const CANDIDATES: usize = 64;

/// A line of a dump: who, how, where, when confirmed, how many wait.
pub(super) type Line = (NeighbourKey, NeighbourState, Option<[u8; 6]>, Tick, usize);

/// One neighbour, or the question for one.
struct Entry {
    /// Where it is, while it is known.
    known: Option<Arc<Neighbour>>,
    /// It did not answer.
    failed: bool,
    /// When it was confirmed last; of one that was never known, when it was asked for.
    confirmed: Tick,
    /// When it is looked at again.
    due: Tick,
    /// Questions asked since it was known to be there; 0 while it need not be asked.
    tries: u8,
    /// Another station claims to be it.
    claim: Option<[u8; 6]>,
    /// When such a claim was looked into last.
    doubted: Option<Tick>,
    queue: VecDeque<Waiting>,
    /// In which order those that are not known were asked for.
    serial: u64,
}

pub(super) struct Table {
    entries: HashMap<NeighbourKey, Entry>,
    /// By when they are looked at again.
    timers: BTreeSet<(Tick, NeighbourKey)>,
    /// Those that are not known, oldest question first.
    unknown: BTreeMap<u64, NeighbourKey>,
    serial: u64,
    max: usize,
    asks: HashMap<PortIndex, Bucket>,
    pub(super) waiting: usize,
    pub(super) stats: NeighbourStats,
    /// Keys whose answers have changed.
    pub(super) changed: Vec<NeighbourKey>,
}

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            timers: BTreeSet::new(),
            unknown: BTreeMap::new(),
            serial: 0,
            max,
            asks: HashMap::new(),
            waiting: 0,
            stats: NeighbourStats::default(),
            changed: Vec::new(),
        }
    }

    /// Packets that wait.
    pub(super) fn packets(&self) -> impl Iterator<Item = &Packet> {
        let queues = self.entries.values().flat_map(|entry| &entry.queue);
        queues.map(|waiting| &waiting.packet)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        while self.entries.len() - self.unknown.len() > max && self.evict_known() {}
    }

    pub(super) fn see(&self, key: &NeighbourKey) -> Seen {
        match self.entries.get(key) {
            Some(Entry { failed: true, .. }) => Seen::Failed,
            Some(Entry {
                known: Some(known), ..
            }) => Seen::Known(Arc::clone(known)),
            _ => Seen::Unknown,
        }
    }

    /// Looks at an entry again at `due`.
    fn schedule(&mut self, key: NeighbourKey, due: Tick) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.timers.remove(&(entry.due, key));
            entry.due = due;
            self.timers.insert((due, key));
        }
    }

    /// Takes an entry out; gives the packets that waited.
    fn remove(&mut self, key: &NeighbourKey) -> Vec<Waiting> {
        let Some(entry) = self.entries.remove(key) else {
            return Vec::new();
        };
        self.timers.remove(&(entry.due, *key));
        if entry.known.is_none() {
            self.unknown.remove(&entry.serial);
        }
        if entry.known.is_some() || entry.failed {
            self.changed.push(*key);
        }
        self.waiting -= entry.queue.len();
        entry.queue.into()
    }

    /// Makes room among those that are known: of some whose time comes next, the one that was not
    /// used for the longest time goes.
    fn evict_known(&mut self) -> bool {
        let oldest = self
            .timers
            .iter()
            .filter_map(|(_, key)| Some((self.entries.get(key)?.known.as_ref()?.used(), *key)))
            .take(CANDIDATES)
            .min();
        let Some((_, key)) = oldest else { return false };
        // Nothing waits for one that is known.
        self.remove(&key);
        self.stats.evicted += 1;
        true
    }

    pub(super) fn park(&mut self, key: NeighbourKey, waiting: Waiting, now: Tick) -> Parked {
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.failed {
                return Parked::Failed(waiting);
            }
            if let Some(known) = &entry.known {
                return Parked::Known(waiting, Arc::clone(known));
            }
            let full = entry.queue.len() >= QUEUE_MAX || self.waiting >= WAITING_MAX;
            if full && let Some(oldest) = entry.queue.pop_front() {
                entry.queue.push_back(waiting);
                return Parked::Waits(Some(oldest));
            }
            if full {
                return Parked::Full(waiting);
            }
            entry.queue.push_back(waiting);
            self.waiting += 1;
            return Parked::Waits(None);
        }
        let asks = self.asks.entry(key.port);
        let bucket = asks.or_insert_with(|| Bucket::new(ASKS_RATE, ASKS_BURST));
        if !bucket.take(now) {
            return Parked::Full(waiting);
        }
        let mut displaced = Vec::new();
        while self.unknown.len() >= INCOMPLETE_MAX || self.waiting >= WAITING_MAX {
            let Some(oldest) = self.unknown.first_key_value().map(|(_, key)| *key) else {
                break;
            };
            displaced.extend(self.remove(&oldest));
            self.stats.evicted += 1;
        }
        self.serial += 1;
        let due = Tick(now.0 + RETRY_MS);
        let entry = Entry {
            known: None,
            failed: false,
            confirmed: now,
            due,
            tries: 1,
            claim: None,
            doubted: None,
            queue: VecDeque::from([waiting]),
            serial: self.serial,
        };
        self.waiting += 1;
        self.entries.insert(key, entry);
        self.timers.insert((due, key));
        self.unknown.insert(self.serial, key);
        self.stats.asked += 1;
        Parked::Asks(displaced)
    }

    pub(super) fn hear(&mut self, key: NeighbourKey, mac: [u8; 6], word: Word, now: Tick) -> Heard {
        let is_station = mac[0] & 1 == 0 && mac != [0; 6];
        let Some(entry) = self.entries.get_mut(&key).filter(|_| is_station) else {
            return Heard::Stranger;
        };
        let Some(known) = &entry.known else {
            return self.learn(key, mac, now);
        };
        let station = known.mac;
        if station == mac {
            self.stats.refused += u64::from(entry.claim.take().is_some());
            entry.confirmed = now;
            entry.tries = 0;
            self.schedule(key, Tick(now.0 + REACHABLE_MS - AHEAD_MS));
            return Heard::Confirmed;
        }
        if entry.tries > 0 {
            // It is being asked. The first claim counts: who claims often gains nothing.
            entry.claim.get_or_insert(mac);
            return Heard::Doubted(None);
        }
        let lately = |at: Tick| now.since(at) < u64::from(TRIES) * DOUBT_MS + RETRY_MS;
        if entry.doubted.is_some_and(lately) && word == Word::Remark {
            self.stats.refused += 1;
            return Heard::Doubted(None);
        }
        entry.doubted = Some(now);
        entry.claim = Some(mac);
        entry.tries = 1;
        self.stats.asked += 1;
        self.schedule(key, Tick(now.0 + DOUBT_MS));
        Heard::Doubted(Some(station))
    }

    /// One that was asked for is there.
    fn learn(&mut self, key: NeighbourKey, mac: [u8; 6], now: Tick) -> Heard {
        let Some(entry) = self.entries.get_mut(&key) else {
            return Heard::Stranger;
        };
        self.unknown.remove(&entry.serial);
        let neighbour = Arc::new(Neighbour {
            key,
            mac,
            used: now.0.into(),
        });
        entry.known = Some(Arc::clone(&neighbour));
        entry.failed = false;
        entry.confirmed = now;
        entry.tries = 0;
        let packets: Vec<_> = entry.queue.drain(..).collect();
        self.waiting -= packets.len();
        self.stats.learned += 1;
        self.changed.push(key);
        self.schedule(key, Tick(now.0 + REACHABLE_MS - AHEAD_MS));
        while self.entries.len() - self.unknown.len() > self.max && self.evict_known() {}
        Heard::Learned(neighbour, packets)
    }

    pub(super) fn due(&mut self, now: Tick) -> Option<Due> {
        loop {
            let (_, key) = *self.timers.first().filter(|(at, _)| *at <= now)?;
            if let Some(due) = self.time_of(key, now) {
                return Some(due);
            }
        }
    }

    /// The time of a neighbour has come. Afterwards it is scheduled later, or gone.
    fn time_of(&mut self, key: NeighbourKey, now: Tick) -> Option<Due> {
        let entry = self.entries.get_mut(&key)?;
        let station = entry.known.as_ref().map(|known| known.mac);
        if entry.failed {
            self.remove(&key);
            return None;
        }
        if entry.tries > 0 && entry.tries < TRIES {
            entry.tries += 1;
            self.stats.asked += 1;
            let pause = if entry.claim.is_some() {
                DOUBT_MS
            } else {
                RETRY_MS
            };
            self.schedule(key, Tick(now.0 + pause));
            return Some(Due::Ask(key, station));
        }
        let Some(known) = &entry.known else {
            entry.failed = true;
            let packets: Vec<_> = entry.queue.drain(..).collect();
            self.waiting -= packets.len();
            self.stats.failed += 1;
            self.changed.push(key);
            self.schedule(key, Tick(now.0 + FAILED_MS));
            return Some(Due::Failed(key, packets));
        };
        if entry.tries > 0 {
            let Some(claim) = entry.claim.take() else {
                // Whoever sends to it next has all stations asked.
                self.stats.failed += 1;
                self.remove(&key);
                return None;
            };
            entry.known = Some(Arc::new(Neighbour {
                key,
                mac: claim,
                used: known.used().0.into(),
            }));
            entry.tries = 0;
            entry.confirmed = now;
            self.stats.moved += 1;
            self.changed.push(key);
            self.schedule(key, Tick(now.0 + REACHABLE_MS - AHEAD_MS));
            return None;
        }
        if known.used() > entry.confirmed {
            entry.tries = 1;
            self.stats.asked += 1;
            self.schedule(key, Tick(now.0 + RETRY_MS));
            return Some(Due::Ask(key, station));
        }
        if now.since(known.used()) >= FORGET_MS {
            self.remove(&key);
            return None;
        }
        self.schedule(key, Tick(now.0 + STALE_MS));
        None
    }

    pub(super) fn flush(&mut self, which: impl Fn(&NeighbourKey) -> bool) -> (usize, Vec<Waiting>) {
        let keys: Vec<_> = self
            .entries
            .keys()
            .filter(|key| which(key))
            .copied()
            .collect();
        let packets = keys.iter().flat_map(|key| self.remove(key)).collect();
        (keys.len(), packets)
    }

    pub(super) fn lines(&self, now: Tick) -> impl Iterator<Item = Line> {
        let mut lines: Vec<_> = self
            .entries
            .iter()
            .map(|(key, entry)| {
                let state = match &entry.known {
                    _ if entry.failed => NeighbourState::Failed,
                    None => NeighbourState::Incomplete,
                    Some(_) if entry.tries > 0 => NeighbourState::Probe,
                    Some(_) if now.since(entry.confirmed) < REACHABLE_MS => {
                        NeighbourState::Reachable
                    }
                    Some(_) => NeighbourState::Stale,
                };
                let mac = entry.known.as_ref().map(|known| known.mac);
                (*key, state, mac, entry.confirmed, entry.queue.len())
            })
            .collect();
        lines.sort_by_key(|line| line.0);
        lines.into_iter()
    }
}
