//! From the switch into the rings.

use std::ops::Range;

use arrayvec::ArrayVec;
use vswitch_sys::memory::{CHUNK_SIZE, Class, Frame};
use vswitch_sys::xsk::Kick;

use super::{AfxdpQueue, Link};
use crate::buffer::{FramePool, Packet, Segment, TAIL_LEN};
use crate::offload::Checksum;
use crate::port::ETHERNET_SIZE;

/// Where bytes that are copied begin in their chunk: behind the metadata, and on a word.
const COPY_START: usize = 32;

/// Bytes that a chunk takes when they are copied.
const COPY_SIZE: usize = CHUNK_SIZE - COPY_START;

/// Why a packet was not put into the ring.
enum Refusal {
    NoRoom,
    Unfit,
}

impl AfxdpQueue {
    pub(super) fn transmit(&mut self, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        if packets.is_empty() {
            return;
        }
        self.counters.tx_batches += 1;
        self.socket.complete(|frame| pool.free(frame));
        if self.link == Link::Down {
            // Up again? What the ring still holds goes out then, and this burst behind it.
            self.flush(pool);
        }
        if self.link != Link::Up {
            self.counters.tx_down += packets.len() as u64;
            for packet in packets.drain(..) {
                pool.drop_packet(packet);
            }
            return;
        }
        for packet in packets.drain(..) {
            let size = packet.len();
            match self.enqueue(pool, packet) {
                Ok(()) => {
                    self.counters.tx_packets += 1;
                    self.counters.tx_bytes += size as u64;
                }
                Err((packet, refusal)) => {
                    match refusal {
                        Refusal::NoRoom => self.counters.tx_no_room += 1,
                        Refusal::Unfit => self.counters.tx_errors += 1,
                    }
                    pool.drop_packet(packet);
                }
            }
        }
        self.flush(pool);
    }

    /// Hands the ring to the kernel, in one call where it can take everything.
    pub(super) fn flush(&mut self, pool: &mut FramePool) {
        let kick = self.socket.kick(|frame| pool.free(frame));
        self.waiting = kick == Kick::Later;
        self.link = match kick {
            Kick::Done | Kick::Later => Link::Up,
            Kick::Down => Link::Down,
            Kick::Gone => Link::Gone,
        };
    }

    /// Puts all pieces of a packet into the ring, or none.
    #[inline]
    fn enqueue(&mut self, pool: &mut FramePool, packet: Packet) -> Result<(), (Packet, Refusal)> {
        let headroom = self.socket.tx_headroom();
        let range = packet.head_range();
        let csum = match packet.offload.csum {
            Checksum::Partial { start, offset } => Some((start, offset)),
            Checksum::Unknown | Checksum::Valid => None,
        };
        let summable = csum.is_none_or(|(start, offset)| {
            self.capabilities.csum && usize::from(start) + usize::from(offset) + 2 <= range.len()
        });
        let fits = summable
            && packet.offload.gso.is_none()
            && range.len() >= ETHERNET_SIZE
            && is_direct(packet.head_frame(), &range, headroom);
        if !fits {
            return Err((packet, Refusal::Unfit));
        }
        let tail = packet.tail_segments().iter();
        let pieces = 1 + tail.map(|s| piece_len(s, headroom)).sum::<usize>();
        if pieces > self.capabilities.max_segments {
            return Err((packet, Refusal::Unfit));
        }
        if !self.make_room(pool, pieces as u32) {
            return Err((packet, Refusal::NoRoom));
        }
        if pieces == 1 {
            let (frame, tail) = packet.into_frames();
            self.push(pool, frame, range, headroom, false, csum);
            if let Some(tail) = tail {
                pool.free_tail(tail);
            }
            return Ok(());
        }
        self.enqueue_pieces(pool, packet, pieces, headroom, csum)
    }

    #[inline(never)]
    fn enqueue_pieces(
        &mut self,
        pool: &mut FramePool,
        packet: Packet,
        pieces: usize,
        headroom: usize,
        csum: Option<(u16, u16)>,
    ) -> Result<(), (Packet, Refusal)> {
        let tail = packet.tail_segments().iter();
        let copied: usize = tail
            .filter(|s| !is_direct(s.frame(), &s.range(), headroom))
            .map(|s| piece_len(s, headroom))
            .sum();
        let mut chunks = ArrayVec::<Frame, TAIL_LEN>::new();
        for _ in 0..copied {
            let Some(frame) = pool.chunk() else {
                for frame in chunks {
                    pool.free(frame);
                }
                return Err((packet, Refusal::NoRoom));
            };
            chunks.push(frame);
        }
        let range = packet.head_range();
        let (head, tail) = packet.into_frames();
        let mut left = pieces - 1;
        self.push(pool, head, range, headroom, left > 0, csum);
        let Some(mut tail) = tail else {
            return Ok(());
        };
        for segment in tail.drain(..) {
            let range = segment.range();
            if range.is_empty() {
                pool.free(segment.into_frame());
            } else if is_direct(segment.frame(), &range, headroom) {
                left -= 1;
                let frame = segment.into_frame();
                self.push(pool, frame, range, headroom, left > 0, None);
            } else {
                for bytes in segment.bytes().chunks(COPY_SIZE) {
                    let Some(mut frame) = chunks.pop() else { break };
                    left -= 1;
                    let range = COPY_START..COPY_START + bytes.len();
                    frame.bytes_mut()[range.clone()].copy_from_slice(bytes);
                    self.push(pool, frame, range, headroom, left > 0, None);
                }
                pool.free(segment.into_frame());
            }
        }
        pool.free_tail(tail);
        Ok(())
    }

    /// True when the ring takes `wanted` pieces, after the kernel was asked to empty it if need be.
    #[inline]
    fn make_room(&mut self, pool: &mut FramePool, wanted: u32) -> bool {
        if self.socket.tx_room(wanted) >= wanted {
            return true;
        }
        self.flush(pool);
        self.socket.tx_room(wanted) >= wanted
    }

    /// Puts one piece into the ring, which has room for it.
    #[inline]
    fn push(
        &mut self,
        pool: &mut FramePool,
        mut frame: Frame,
        mut range: Range<usize>,
        headroom: usize,
        more: bool,
        csum: Option<(u16, u16)>,
    ) {
        if range.start < headroom {
            let len = range.len();
            frame.bytes_mut().copy_within(range, headroom);
            range = headroom..headroom + len;
        }
        if let Err((frame, error)) = self.socket.transmit(frame, range, more, csum) {
            debug_assert!(false, "a piece that was checked is {error:?}");
            pool.free(frame);
        }
    }
}

/// True when the bytes can be sent from where they are, after a move within the chunk if need be.
#[inline]
fn is_direct(frame: &Frame, range: &Range<usize>, headroom: usize) -> bool {
    frame.class() == Class::Chunk
        && (range.start >= headroom || headroom + range.len() <= CHUNK_SIZE)
}

/// How many pieces a segment takes in the ring.
#[inline]
fn piece_len(segment: &Segment, headroom: usize) -> usize {
    let range = segment.range();
    if range.is_empty() {
        0
    } else if is_direct(segment.frame(), &range, headroom) {
        1
    } else {
        range.len().div_ceil(COPY_SIZE)
    }
}
