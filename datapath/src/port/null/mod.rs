//! The null port: takes everything, gives nothing.
//!
//! For measuring a pipeline without the cost of I/O, and for sending to nowhere with a counter. Not
//! for dropping packets by policy: a drop has a reason, this is traffic that was sent.
//!
//! Threads: one queue, one worker. Cost: giving the frames back.

use std::time::Instant;

use super::{PortCounters, PortQueue, Readiness, RxStatus};
use crate::buffer::{Batch, FramePool, Packet, TAIL_LEN};
use crate::offload::Capabilities;

/// A queue that loses what it is given.
#[derive(Debug)]
pub struct NullQueue {
    capabilities: Capabilities,
    counters: PortCounters,
}

impl NullQueue {
    /// A queue that takes packets of up to `mtu` bytes of layer 3, finished or not.
    #[must_use]
    pub fn new(mtu: u32) -> Self {
        Self {
            capabilities: Capabilities {
                csum: true,
                tso4: true,
                tso6: true,
                uso: true,
                tunnel: true,
                mtu,
                max_segments: 1 + TAIL_LEN,
            },
            counters: PortCounters::default(),
        }
    }
}

impl PortQueue for NullQueue {
    fn rx(&mut self, _now: Instant, _pool: &mut FramePool, _batch: &mut Batch) -> RxStatus {
        RxStatus::Drained
    }

    fn tx(&mut self, _now: Instant, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        self.counters.tx_batches += u64::from(!packets.is_empty());
        self.counters.tx_packets += packets.len() as u64;
        for packet in packets.drain(..) {
            self.counters.tx_bytes += packet.len() as u64;
            pool.drop_packet(packet);
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn set_mtu(&mut self, mtu: u32) {
        self.capabilities.mtu = mtu;
    }

    fn readiness(&self) -> Readiness<'_> {
        Readiness::Never
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn close(self: Box<Self>, _pool: &mut FramePool) {}
}
