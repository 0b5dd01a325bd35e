//! From the wire into the switch.

use super::{MemoryQueue, Source};
use crate::buffer::{Batch, FramePool, HEADROOM, Packet, Segment};
use crate::offload::Offload;
use crate::port::{PortIndex, RxStatus};

impl MemoryQueue {
    pub(super) fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        let before = batch.len();
        let status = match &mut self.source {
            Source::Replay { frames, next } => {
                while !batch.is_full() {
                    let Some(bytes) = frames.get(*next) else {
                        break;
                    };
                    let Some(packet) = copy_in(self.port, bytes, pool) else {
                        break;
                    };
                    *next = if *next + 1 == frames.len() {
                        0
                    } else {
                        *next + 1
                    };
                    batch.push(packet);
                }
                RxStatus::More
            }
            Source::Wire => self.receive_from_wire(pool, batch),
        };
        self.count_rx(&batch[before..]);
        status
    }

    fn receive_from_wire(&self, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        let mut shared = self.wire.lock();
        if !shared.is_up {
            return RxStatus::Down;
        }
        while !batch.is_full() {
            let Some(next) = shared.inbound.front() else {
                return RxStatus::Drained;
            };
            let Some(packet) = packet(self.port, &next.bytes, next.offload, pool) else {
                // The packet waits until frames come back.
                return RxStatus::More;
            };
            shared.inbound.pop_front();
            batch.push(packet);
        }
        RxStatus::More
    }
}

/// A packet of one chunk.
#[inline]
fn copy_in(port: PortIndex, bytes: &[u8], pool: &mut FramePool) -> Option<Packet> {
    let mut head = pool.chunk()?;
    let room = &mut head.bytes_mut()[HEADROOM..];
    let size = bytes.len().min(room.len());
    room[..size].copy_from_slice(&bytes[..size]);
    Some(Packet::new(
        head,
        HEADROOM..HEADROOM + size,
        port,
        Offload::default(),
    ))
}

/// A packet of a chunk and, if it is longer, a large frame, as a TAP delivers it.
fn packet(port: PortIndex, bytes: &[u8], offload: Offload, pool: &mut FramePool) -> Option<Packet> {
    let mut packet = copy_in(port, bytes, pool)?;
    packet.offload = offload;
    let rest = &bytes[packet.len()..];
    if rest.is_empty() {
        return Some(packet);
    }
    let Some(mut frame) = pool.large() else {
        pool.drop_packet(packet);
        return None;
    };
    frame.bytes_mut()[..rest.len()].copy_from_slice(rest);
    if let Err(segment) = packet.push_tail(Segment::new(frame, 0..rest.len()), pool) {
        pool.free(segment.into_frame());
        pool.drop_packet(packet);
        return None;
    }
    Some(packet)
}
