//! From the rings into the switch.

use vswitch_sys::xsk::Received;

use super::{AfxdpQueue, Link};
use crate::buffer::{Batch, FramePool, Packet, Segment};
use crate::offload::{Offload, partial};
use crate::port::{ETHERNET_SIZE, RxStatus};

impl AfxdpQueue {
    pub(super) fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        let before = batch.len();
        let mut size = 0;
        let mut pieces = 0;
        let mut status = RxStatus::More;
        while !batch.is_full() {
            let Some(piece) = self.socket.receive() else {
                status = RxStatus::Drained;
                break;
            };
            pieces += 1;
            self.take(piece, pool, batch);
        }
        // Only now are bytes looked at: taking the batch has called them into the cache.
        for packet in &mut batch[before..] {
            let len = packet.len();
            size += len as u64;
            if self.local {
                packet.offload.csum = partial::recognise(packet, len);
            }
        }
        self.counters.rx_packets += (batch.len() - before) as u64;
        self.counters.rx_bytes += size;
        if pieces > 0 {
            self.socket.release_rx();
            self.fill_missing += pieces;
        }
        if self.fill_missing > 0 {
            self.refill(pool);
        }
        if self.waiting {
            self.flush(pool);
            if self.waiting {
                // Nothing tells when the kernel has room again, so the worker must not sleep.
                status = RxStatus::More;
            }
        }
        if batch.len() > before {
            self.counters.rx_batches += 1;
        } else if self.link == Link::Gone {
            status = RxStatus::Down;
        }
        status
    }

    /// Adds a piece to the packet that it belongs to, and the packet, when whole, to the batch.
    #[inline]
    fn take(&mut self, piece: Received, pool: &mut FramePool, batch: &mut Batch) {
        let Received { frame, range, more } = piece;
        if self.skip {
            self.skip = more;
            pool.free(frame);
            return;
        }
        let packet = match self.open.take() {
            None if range.len() < ETHERNET_SIZE => {
                pool.free(frame);
                Err(())
            }
            None => Ok(Packet::new(frame, range, self.port, Offload::default())),
            Some(mut packet) => match packet.push_tail(Segment::new(frame, range), pool) {
                Ok(()) => Ok(packet),
                Err(segment) => {
                    pool.free(segment.into_frame());
                    pool.drop_packet(packet);
                    Err(())
                }
            },
        };
        match packet {
            Ok(packet) if more => self.open = Some(packet),
            Ok(packet) => batch.push(packet),
            Err(()) => {
                self.counters.rx_errors += 1;
                self.skip = more;
            }
        }
    }

    /// Replaces the chunks that were received, as far as the pool has any.
    pub(super) fn refill(&mut self, pool: &mut FramePool) {
        let before = self.fill_missing;
        while self.fill_missing > 0 {
            let Some(frame) = pool.chunk() else { break };
            if let Err(frame) = self.socket.fill(frame) {
                // The kernel has delivered a packet before it let go of the entry.
                pool.free(frame);
                break;
            }
            self.fill_missing -= 1;
        }
        if self.fill_missing < before {
            self.socket.publish_fill();
        }
    }
}
