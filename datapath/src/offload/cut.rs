//! New packets out of pieces of one.

use std::ops::Range;

use crate::buffer::{FramePool, HEADROOM, Packet, Segment};
use crate::offload::Offload;

/// Makes a packet of chunks only: `header`, then the bytes `range` of `source`. Its head keeps the
/// headroom and takes as much as fits. The metadata is `source`'s, without what offloads there were.
///
/// `None`, with nothing held, when frames run out or the packet would need more of them than one
/// may have. Panics when `header` does not fit a chunk or `range` leaves the packet.
pub(super) fn cut(
    source: &Packet,
    header: &[u8],
    range: Range<usize>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let mut head = pool.chunk()?;
    let room = &mut head.bytes_mut()[HEADROOM..];
    room[..header.len()].copy_from_slice(header);
    let in_head = range.len().min(room.len() - header.len());
    let split = range.start + in_head;
    copy(
        source,
        range.start,
        &mut room[header.len()..header.len() + in_head],
    );
    let end = HEADROOM + header.len() + in_head;
    let mut packet = Packet::new(head, HEADROOM..end, source.in_port, Offload::default());
    packet.generation = source.generation;
    let mut at = split;
    while at < range.end {
        let Some(mut frame) = pool.chunk() else {
            pool.drop_packet(packet);
            return None;
        };
        let size = frame.size().min(range.end - at);
        copy(source, at, &mut frame.bytes_mut()[..size]);
        if let Err(segment) = packet.push_tail(Segment::new(frame, 0..size), pool) {
            pool.free(segment.into_frame());
            pool.drop_packet(packet);
            return None;
        }
        at += size;
    }
    Some(packet)
}

/// Copies the bytes of `source` from `at` on, as many as `to` takes.
fn copy(source: &Packet, mut at: usize, mut to: &mut [u8]) {
    let tail = source.tail_segments().iter().map(Segment::bytes);
    for piece in std::iter::once(source.head()).chain(tail) {
        if to.is_empty() {
            return;
        }
        if at >= piece.len() {
            at -= piece.len();
            continue;
        }
        let size = to.len().min(piece.len() - at);
        let (now, later) = to.split_at_mut(size);
        now.copy_from_slice(&piece[at..at + size]);
        to = later;
        at = 0;
    }
    assert!(to.is_empty(), "a range outside the packet");
}
