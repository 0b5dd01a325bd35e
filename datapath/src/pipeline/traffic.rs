//! Counts of packets and bytes that decisions are credited with, and those of ports without devices.
//!
//! Threads: shared; workers add what a cached decision has gathered, control reads. Cost: two additions for
//! each crediting, none for a packet.

use std::sync::atomic::{AtomicU64, Ordering};

/// Packets and bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    pub(super) fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Packets, and bytes of them.
    #[must_use]
    pub fn sums(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.packets), load(&self.bytes))
    }
}

/// What crossed a port that has no device: a patch port, a tunnel, a router's. Bytes are those of the
/// packet that was decided about, before and after all tunnels as it came in.
#[derive(Debug, Default)]
pub struct Crossings {
    /// Into the bridge by it.
    pub rx: Traffic,
    /// Out of the bridge by it.
    pub tx: Traffic,
}

/// Which way a packet crosses a port, seen from the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// In.
    Rx,
    /// Out.
    Tx,
}

impl Crossings {
    /// Counts packets.
    pub fn credit(&self, way: Crossing, packets: u64, bytes: u64) {
        match way {
            Crossing::Rx => self.rx.add(packets, bytes),
            Crossing::Tx => self.tx.add(packets, bytes),
        }
    }
}
