//! A packet that was read into the rest of a chunk and, behind it, a large frame.
//!
//! TAP devices and packet sockets deliver super-frames of 64 KiB in one piece. Every read offers
//! both; a packet that fits the chunk leaves the large frame for the next read.

use std::ops::Range;

use vswitch_sys::memory::Frame;

use super::{ETHERNET_SIZE, PortIndex};
use crate::buffer::{FramePool, Packet, Segment};
use crate::offload::Offload;

/// Makes the packet of `size` bytes that begins at byte `offset` of `head` and goes on in `spill`,
/// which is taken only if it holds some of it. `offload` is asked for with the bytes in the head.
///
/// `None`, with `head` free again, when the packet is shorter than an Ethernet header, longer than
/// both frames, or `offload` has none.
#[inline]
pub(super) fn assemble(
    port: PortIndex,
    head: Frame,
    offset: usize,
    spill: &mut Option<Frame>,
    size: usize,
    offload: impl FnOnce(usize) -> Option<Offload>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let offload = if size < ETHERNET_SIZE {
        None
    } else {
        offload(size.min(head.size() - offset))
    };
    let Some(offload) = offload else {
        pool.free(head);
        return None;
    };
    join(port, head, offset, spill, size, offload, pool)
}

/// As [`assemble`], of what need not be a frame yet.
#[inline]
pub(super) fn join(
    port: PortIndex,
    head: Frame,
    offset: usize,
    spill: &mut Option<Frame>,
    size: usize,
    offload: Offload,
    pool: &mut FramePool,
) -> Option<Packet> {
    let room = head.size() - offset;
    let range: Range<usize> = offset..offset + size.min(room);
    let mut packet = Packet::new(head, range, port, offload);
    if size > room {
        let rest = size - room;
        let frame = spill.take_if(|frame| rest <= frame.size());
        let pushed = frame.map(|frame| packet.push_tail(Segment::new(frame, 0..rest), pool));
        match pushed {
            Some(Ok(())) => {}
            Some(Err(segment)) => {
                pool.free(segment.into_frame());
                pool.drop_packet(packet);
                return None;
            }
            None => {
                pool.drop_packet(packet);
                return None;
            }
        }
    }
    Some(packet)
}
