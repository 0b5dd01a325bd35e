//! Telling others that connections begin and end.
//!
//! Law: nobody who moves packets waits for a reader. Events lie in a ring; when it is full the
//! oldest goes and is counted as lost, so a reader who reads the count knows how much it missed.
//!
//! Threads: any number tell, any number read. Without a subscriber telling is one load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use crossbeam::queue::ArrayQueue;

use super::dump::Dumped;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Nothing was heard of it for long enough.
    Expired,
    /// A person had it forgotten.
    Flushed,
    /// The table was full and nobody had answered it yet.
    Evicted,
    /// Another connection began with its tuple, or in the other direction with `force`.
    Replaced,
}

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was committed.
    New(Dumped),
    /// It is gone.
    Destroyed(Dumped, End),
}

#[derive(Debug)]
struct Ring {
    events: ArrayQueue<Event>,
    lost: AtomicU64,
}

/// A subscriber's end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Events(Arc<Ring>);

impl Events {
    /// The oldest event that was not read yet.
    pub fn next_event(&self) -> Option<Event> {
        self.0.events.pop()
    }

    /// Events that went unread, since the subscription began.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

/// All subscribers.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    any: AtomicBool,
    rings: RwLock<Vec<Weak<Ring>>>,
}

impl Subscribers {
    /// A new subscription, with room for so many unread events, at least one.
    pub(super) fn subscribe(&self, capacity: usize) -> Events {
        let ring = Arc::new(Ring {
            events: ArrayQueue::new(capacity.max(1)),
            lost: AtomicU64::new(0),
        });
        let mut rings = self.rings.write().unwrap_or_else(PoisonError::into_inner);
        rings.retain(|ring| ring.strong_count() > 0);
        rings.push(Arc::downgrade(&ring));
        self.any.store(true, Ordering::Relaxed);
        Events(ring)
    }

    /// Tells all subscribers, if there are any.
    #[inline]
    pub(super) fn tell(&self, event: impl FnOnce() -> Option<Event>) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let rings = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        let mut live = rings.iter().filter_map(Weak::upgrade).peekable();
        if live.peek().is_none() {
            drop(live);
            drop(rings);
            self.leave();
            return;
        }
        let Some(event) = event() else { return };
        for ring in live {
            if ring.events.force_push(event.clone()).is_some() {
                ring.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Notes that nobody reads any more, if so.
    fn leave(&self) {
        let mut rings = self.rings.write().unwrap_or_else(PoisonError::into_inner);
        rings.retain(|ring| ring.strong_count() > 0);
        self.any.store(!rings.is_empty(), Ordering::Relaxed);
    }
}
