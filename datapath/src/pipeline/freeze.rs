//! Translations that stopped half way, to go on when the packet's headers have been read again.
//!
//! An action may uncover headers that the packet's key does not show: a popped MPLS entry, a popped
//! backbone header. Where something reads them afterwards, the answer ends in
//! [`DpAction::Recirculate`](super::DpAction::Recirculate) with what was still to be done, and the
//! packet comes again with its headers read anew and the number of the stop as `recirc_id`.
//!
//! Law: a stop holds what only the pipeline knows (registers, action set, stack, where the packet
//! is), none of it in the packet's cache key; two stops with the same remainder in the same tables
//! are one, so that the second half of a way is cached once. A stop lives as long as an answer or
//! a packet names it; its number is given again only after that.
//!
//! Threads: any; the table of stops is locked while translations stop, never on the hit path.
//! Cost: a hash of what is frozen for each translation that stops.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vswitch_flow::FlowKey;

use super::state::State;
use super::translate::Task;

/// Where a translation stopped.
pub struct Frozen {
    /// The packet's `recirc_id` from here on; never 0.
    pub id: u32,
    rest: Rest,
}

/// What is still to be done.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Rest {
    /// Of the tables that it was translated with.
    pub(super) epoch: u64,
    pub(super) state: State,
    /// The last one comes first.
    pub(super) tasks: Vec<Task>,
}

/// All stops there are.
#[derive(Default)]
pub(super) struct Stops(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_rest: HashMap<u64, Vec<Weak<Frozen>>>,
    by_id: HashMap<u32, Weak<Frozen>>,
    last: u32,
    /// Stops at which the dead are looked for again.
    clean_at: usize,
}

/// Fewest stops that are worth looking through for dead ones.
const CLEAN_MIN: usize = 256;

impl Frozen {
    pub(super) fn rest(&self) -> &Rest {
        &self.rest
    }

    /// The packet with which translation goes on, when its headers are read as `key`.
    pub(super) fn key(&self, key: &FlowKey) -> FlowKey {
        self.rest.state.with_headers(key).key
    }
}

impl PartialEq for Frozen {
    fn eq(&self, other: &Self) -> bool {
        self.rest == other.rest
    }
}

impl Eq for Frozen {}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen")
            .field("id", &self.id)
            .field("tasks", &self.rest.tasks.len())
            .finish()
    }
}

impl Stops {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing in between can fail half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stop with this remainder: the one there is, or a new one.
    pub(super) fn intern(&self, rest: Rest) -> Arc<Frozen> {
        let mut hasher = DefaultHasher::new();
        rest.hash(&mut hasher);
        let hash = hasher.finish();
        let mut known = self.lock();
        let same = known.by_rest.get(&hash).and_then(|stops| {
            let mut living = stops.iter().filter_map(Weak::upgrade);
            living.find(|stop| stop.rest == rest)
        });
        if let Some(stop) = same {
            return stop;
        }
        known.clean();
        let id = known.free_id();
        let stop = Arc::new(Frozen { id, rest });
        let weak = Arc::downgrade(&stop);
        known.by_rest.entry(hash).or_default().push(weak.clone());
        known.by_id.insert(id, weak);
        stop
    }
}

impl Known {
    fn free_id(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            let taken = self.by_id.get(&self.last);
            if taken.is_none_or(|stop| stop.strong_count() == 0) {
                return self.last;
            }
        }
    }

    /// Forgets the dead, each time that there are twice as many as were alive.
    fn clean(&mut self) {
        if self.by_id.len() < self.clean_at.max(CLEAN_MIN) {
            return;
        }
        self.by_id.retain(|_, stop| stop.strong_count() > 0);
        self.by_rest.retain(|_, stops| {
            stops.retain(|stop| stop.strong_count() > 0);
            !stops.is_empty()
        });
        self.clean_at = 2 * self.by_id.len();
    }
}

impl std::fmt::Debug for Stops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stops")
            .field(&self.lock().by_id.len())
            .finish()
    }
}
