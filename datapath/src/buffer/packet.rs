//! A packet: a head chunk, an optional tail, and what offloads say about both.

use std::fmt;
use std::ops::Range;

use arrayvec::ArrayVec;
use vswitch_sys::memory::{Class, Frame};

use super::FramePool;
use crate::offload::Offload;
use crate::port::PortIndex;

/// Bytes kept free before a received packet, for headers that actions push. It is what the kernel
/// leaves before a frame on an AF_XDP receive ring (`XDP_PACKET_HEADROOM`).
pub const HEADROOM: usize = 256;

/// Segments a tail can hold: a 64 KiB packet in AF_XDP multi-buffer form has at most 18
/// descriptors (`Documentation/networking/af_xdp.rst`), the first of which is the head.
pub const TAIL_LEN: usize = 17;

/// Bytes of a packet that are not in its head chunk.
#[must_use = "a segment owns a frame"]
pub struct Segment {
    frame: Frame,
    start: u32,
    end: u32,
}

impl Segment {
    /// The bytes `range` of `frame`.
    ///
    /// Panics when the range leaves the frame.
    #[inline]
    pub fn new(frame: Frame, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= frame.size());
        Self {
            frame,
            start: range.start as u32,
            end: range.end as u32,
        }
    }

    /// The segment's bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.frame.bytes()[self.range()]
    }

    /// The segment's bytes, to be written.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        &mut self.frame.bytes_mut()[range]
    }

    /// Where in its frame the segment lies.
    #[inline]
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The frame behind the segment.
    #[inline]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Ends the segment; the frame is the caller's.
    #[inline]
    pub fn into_frame(self) -> Frame {
        self.frame
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len as u32);
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({:?} {:?})", self.frame, self.range())
    }
}

/// The rest of a packet that is larger than its head chunk.
pub type Tail = ArrayVec<Segment, TAIL_LEN>;

/// A packet in the switch.
///
/// All headers that the switch reads or changes are in the head; the tail is payload.
#[must_use = "a packet is transmitted or freed, never just dropped"]
pub struct Packet {
    head: Frame,
    start: u32,
    end: u32,
    tail: Option<Box<Tail>>,
    /// The port queue it came in by.
    pub in_port: PortIndex,
    /// How many answers of ours led to it: 0 for what came by a port, one more for an answer than for
    /// what it answers.
    pub generation: u8,
    /// What is still to be done to it: checksum to finish, segments to cut.
    pub offload: Offload,
}

impl Packet {
    /// A packet of the bytes `range` of chunk `head`.
    ///
    /// Panics when the range leaves the frame.
    #[inline]
    pub fn new(head: Frame, range: Range<usize>, in_port: PortIndex, offload: Offload) -> Self {
        assert!(range.start <= range.end && range.end <= head.size());
        Self {
            head,
            start: range.start as u32,
            end: range.end as u32,
            tail: None,
            in_port,
            generation: 0,
            offload,
        }
    }

    /// Bytes of the whole packet, from the Ethernet header on.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a packet is never empty")]
    pub fn len(&self) -> usize {
        let tail: usize = self.tail_segments().iter().map(|s| s.range().len()).sum();
        self.head_range().len() + tail
    }

    /// The bytes of the head chunk that belong to the packet.
    #[inline]
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head.bytes()[self.head_range()]
    }

    /// The head, to be written.
    #[inline]
    #[must_use]
    pub fn head_mut(&mut self) -> &mut [u8] {
        let range = self.head_range();
        &mut self.head.bytes_mut()[range]
    }

    /// Where in its chunk the head lies.
    #[inline]
    #[must_use]
    pub fn head_range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The chunk that holds the head.
    #[inline]
    pub fn head_frame(&self) -> &Frame {
        &self.head
    }

    /// The segments after the head, in order.
    #[inline]
    pub fn tail_segments(&self) -> &[Segment] {
        match &self.tail {
            Some(tail) => tail,
            None => &[],
        }
    }

    /// The segments after the head, to be written.
    #[inline]
    pub fn tail_segments_mut(&mut self) -> &mut [Segment] {
        match &mut self.tail {
            Some(tail) => tail,
            None => &mut [],
        }
    }

    /// Adds `len` bytes of room before the packet. The new bytes are whatever the frame held.
    /// False, with nothing changed, when the headroom is used up.
    #[inline]
    #[must_use]
    pub fn prepend(&mut self, len: usize) -> bool {
        if len > self.start as usize {
            return false;
        }
        self.start -= len as u32;
        self.offload.shift(len as i32);
        true
    }

    /// Takes `len` bytes off the front of the packet. False when the head is shorter than that.
    #[inline]
    #[must_use]
    pub fn strip(&mut self, len: usize) -> bool {
        if len > self.head_range().len() {
            return false;
        }
        self.start += len as u32;
        self.offload.shift(-(len as i32));
        true
    }

    /// Adds zeros up to `len` bytes, for a packet that is all in its head and has room behind it.
    pub fn pad_to(&mut self, len: usize) {
        let (start, end) = (self.start as usize, self.end as usize);
        let wanted = start + len;
        if self.tail_segments().is_empty()
            && let Some(room) = self.head.bytes_mut().get_mut(end..wanted)
        {
            room.fill(0);
            self.end = wanted as u32;
        }
    }

    /// Keeps the first `len` bytes; frames that hold nothing any more go to `freed`.
    pub fn truncate(&mut self, len: usize, mut freed: impl FnMut(Frame)) {
        let head_len = self.head_range().len();
        if len <= head_len {
            self.end = self.start + len as u32;
        }
        let mut left = len.saturating_sub(head_len);
        if let Some(tail) = &mut self.tail {
            let mut keep = 0;
            for segment in tail.iter_mut() {
                if left == 0 {
                    break;
                }
                segment.truncate(left);
                left -= segment.range().len();
                keep += 1;
            }
            for segment in tail.drain(keep..) {
                freed(segment.into_frame());
            }
        }
    }

    /// Adds a segment at the end.
    ///
    /// # Errors
    /// The segment, when the tail is full.
    pub fn push_tail(&mut self, segment: Segment, pool: &mut FramePool) -> Result<(), Segment> {
        let tail = self.tail.get_or_insert_with(|| pool.tail());
        tail.try_push(segment).map_err(|e| e.element())
    }

    /// Chunks and large frames that it lies in.
    #[must_use]
    pub fn frames_len(&self) -> (usize, usize) {
        let large = |segment: &&Segment| segment.frame().class() != Class::Chunk;
        let tail = self.tail_segments();
        let large = tail.iter().filter(large).count();
        // The head lies in a chunk.
        (1 + tail.len() - large, large)
    }

    /// Ends the packet; the frames are the caller's.
    #[inline]
    pub fn into_frames(self) -> (Frame, Option<Box<Tail>>) {
        (self.head, self.tail)
    }

    /// All bytes in one vector: for tests, traces and captures, not for the hit path.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.head().to_vec();
        for segment in self.tail_segments() {
            bytes.extend_from_slice(segment.bytes());
        }
        bytes
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.len())
            .field("in_port", &self.in_port)
            .field("offload", &self.offload)
            .finish_non_exhaustive()
    }
}
