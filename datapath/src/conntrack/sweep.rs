//! Taking out what has expired, a slice at a time.
//!
//! Not for being right: a connection whose time is over is no longer found, and is taken out by
//! whoever wants its tuple. This is for those that nobody asks about any more.
//!
//! Threads: one, control's. A slice of a thousand entries takes some ten microseconds while little
//! expires; packets go on meanwhile.

use std::sync::atomic::Ordering;

use super::Conntrack;
use super::events::End;
use super::request::Handle;
use crate::tick::Tick;

impl Conntrack {
    /// Looks at up to `budget` of the [`places`](Self::places), from where the last call stopped, and ends the connections
    /// that have expired. Tells how many.
    ///
    /// With a budget of a tenth of the table ten times a second, what has expired is gone a second
    /// later.
    pub fn sweep(&self, now: Tick, budget: usize) -> usize {
        self.beside.sweep(now);
        let touched = self.table.touched();
        let looks = u32::try_from(budget).unwrap_or(u32::MAX).min(touched);
        let first = self.swept.load(Ordering::Relaxed);
        let mut ended = 0;
        for look in 0..looks {
            let slot = (u64::from(first) + u64::from(look)) % u64::from(touched);
            let slot = slot as u32;
            let Some(entry) = self.table.entry(slot) else {
                continue;
            };
            if entry.expires() > now {
                continue;
            }
            let Some(generation) = entry.generation() else {
                continue;
            };
            let handle = Handle { slot, generation };
            let gone = self.end(handle, End::Expired, now, |entry| entry.expires() > now);
            ended += usize::from(gone);
        }
        if touched > 0 {
            let next = (u64::from(first) + u64::from(looks)) % u64::from(touched);
            self.swept.store(next as u32, Ordering::Relaxed);
        }
        ended
    }
}
