//! What workers have to tell control without being asked: that packets wait for controllers, and
//! what packets do to flows.
//!
//! Law: a worker never waits for control. A packet that learns a flow is put aside until control
//! has added the flow, so that an answer to it meets the flow; when there is no more room for such
//! packets, or for what they do, they go on at once and a later packet learns. Threads: workers put
//! in, control takes out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::queue::ArrayQueue;
use mio::Waker;

use crate::pipeline::Effect;
use crate::tick::Tick;

/// Effects that may wait.
const EFFECTS_MAX: usize = 1024;

/// What a packet does to flows.
#[derive(Debug)]
pub struct Wish {
    /// The worker that has the packet.
    pub worker: u32,
    /// The number that it gave the packet.
    pub ticket: u64,
    /// What is to be done.
    pub effect: Arc<Effect>,
    /// When the packet came.
    pub at: Tick,
}

/// The way from workers to control.
#[derive(Debug)]
pub struct Upcalls {
    wishes: ArrayQueue<Wish>,
    /// Somebody listens to packets.
    listened: AtomicBool,
    /// Control has been woken and has not looked yet.
    woken: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Default for Upcalls {
    fn default() -> Self {
        Self {
            wishes: ArrayQueue::new(EFFECTS_MAX),
            listened: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            waker: OnceLock::new(),
        }
    }
}

impl Upcalls {
    /// Says how control is woken. Without this, as in a test, it looks by itself.
    pub fn set_waker(&self, waker: Waker) {
        if self.waker.set(waker).is_err() {
            tracing::error!("control is woken in two ways");
        }
    }

    /// Says whether packets for controllers are worth telling.
    pub fn set_listened(&self, listened: bool) {
        self.listened.store(listened, Ordering::Relaxed);
    }

    pub(super) fn is_listened(&self) -> bool {
        self.listened.load(Ordering::Relaxed)
    }

    /// Puts a wish at the end; false when there is no room.
    pub(super) fn wish(&self, wish: Wish) -> bool {
        let room = self.wishes.push(wish).is_ok();
        self.wake();
        room
    }

    /// Has control look.
    pub fn wake(&self) {
        // Pairs with the swap in `look`: either control sees what was put in before this, or it has
        // not said that it looks and is woken.
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Some(waker) = self.waker.get()
            && let Err(error) = waker.wake()
        {
            tracing::error!(%error, "control could not be woken");
        }
    }

    /// Control looks: what is put in from now on wakes it again.
    pub fn look(&self) {
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// The wish that waits longest.
    #[must_use]
    pub fn pop(&self) -> Option<Wish> {
        self.wishes.pop()
    }
}
