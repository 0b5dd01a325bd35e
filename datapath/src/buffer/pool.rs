//! The frame pool of a worker and the queues that balance several of them.
//!
//! A worker takes the frame that it freed last: its bytes are still in the core's own cache, and memory that
//! no burst has needed yet is never touched. The queues between workers are first in, first out, so a frame
//! that goes by them is as cold as memory gets; a worker keeps as many as a burst of super-frames is cut
//! into, and gives away those that it has not used for longest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::queue::ArrayQueue;
use vswitch_sys::memory::{Class, Frame, Region};

use super::packet::{HEADROOM, Packet, Segment, Tail};
use crate::offload::Offload;
use crate::port::PortIndex;

/// Frames that move between a worker's own store and the shared queue at a time.
const BLOCK_LEN: usize = 64;

/// Most free frames of a class that a worker keeps: more than a batch of super-frames is cut into.
const STORE_MAX: usize = 2048;

/// Workers together keep at most one free frame of this many, for others to find some.
const STORES_SHARE: usize = 8;

/// Frames that no worker holds, shared by all pools of a process.
#[derive(Debug)]
pub struct SharedFrames {
    region: &'static Region,
    chunks: ArrayQueue<Frame>,
    larges: ArrayQueue<Frame>,
    /// Pools that draw on it.
    pools: AtomicUsize,
}

impl SharedFrames {
    /// Maps memory for `chunks` and `larges` frames, all free.
    ///
    /// # Errors
    /// What `mmap(2)` answers.
    pub fn new(chunks: u32, larges: u32) -> std::io::Result<Arc<Self>> {
        let (region, frames) = Region::leak(chunks, larges)?;
        let shared = Self {
            region,
            chunks: ArrayQueue::new(chunks.max(1) as usize),
            larges: ArrayQueue::new(larges.max(1) as usize),
            pools: AtomicUsize::new(0),
        };
        for frame in frames {
            shared.put(frame);
        }
        Ok(Arc::new(shared))
    }

    /// The memory behind the frames.
    #[must_use]
    pub fn region(&self) -> &'static Region {
        self.region
    }

    /// Free chunks and large frames that are in no worker's store.
    #[must_use]
    pub fn free_len(&self) -> (usize, usize) {
        (self.chunks.len(), self.larges.len())
    }

    fn queue(&self, class: Class) -> &ArrayQueue<Frame> {
        match class {
            Class::Chunk => &self.chunks,
            Class::Large => &self.larges,
        }
    }

    /// How many free frames of a class one pool may keep now.
    fn store_max(&self, class: Class) -> usize {
        let pools = self.pools.load(Ordering::Relaxed).max(1);
        let share = self.queue(class).capacity() / (STORES_SHARE * pools);
        share.clamp(2 * BLOCK_LEN, STORE_MAX)
    }

    /// Puts a free frame into the queue of its class.
    fn put(&self, frame: Frame) {
        let queue = self.queue(frame.class());
        // A queue is as long as its class has frames, so it cannot be full.
        if let Err(frame) = queue.push(frame) {
            std::mem::forget(frame);
            debug_assert!(false, "more frames than the region has");
        }
    }
}

impl Drop for SharedFrames {
    fn drop(&mut self) {
        // The region stays mapped for the life of the process, so its frames have no other end.
        while let Some(frame) = self.chunks.pop().or_else(|| self.larges.pop()) {
            std::mem::forget(frame);
        }
    }
}

/// A worker's own store of free frames.
#[derive(Debug)]
pub struct FramePool {
    shared: Arc<SharedFrames>,
    /// Free frames, the one that was freed last at the back.
    chunks: VecDeque<Frame>,
    larges: VecDeque<Frame>,
    /// Emptied tails, kept so that a super-frame needs no allocation.
    #[expect(clippy::vec_box, reason = "a packet takes the box as it is")]
    tails: Vec<Box<Tail>>,
}

impl FramePool {
    /// An empty store that draws on `shared`.
    #[must_use]
    pub fn new(shared: Arc<SharedFrames>) -> Self {
        shared.pools.fetch_add(1, Ordering::Relaxed);
        Self {
            shared,
            chunks: VecDeque::with_capacity(STORE_MAX),
            larges: VecDeque::with_capacity(STORE_MAX),
            tails: Vec::with_capacity(BLOCK_LEN),
        }
    }

    /// The memory behind the frames, which AF_XDP sockets register as UMEM.
    #[must_use]
    pub fn region(&self) -> &'static Region {
        self.shared.region
    }

    /// A free chunk, or `None` when the region is exhausted.
    #[inline]
    pub fn chunk(&mut self) -> Option<Frame> {
        match self.chunks.pop_back() {
            Some(frame) => Some(frame),
            None => refill(&mut self.chunks, &self.shared.chunks),
        }
    }

    /// A packet of these bytes, as if it had come in by a port; `None` when frames are used up or
    /// the bytes are more than a packet can have.
    pub fn packet(&mut self, bytes: &[u8], in_port: PortIndex) -> Option<Packet> {
        let mut head = self.chunk()?;
        let room = head.size() - HEADROOM;
        let (front, rest) = bytes.split_at(bytes.len().min(room));
        head.bytes_mut()[HEADROOM..HEADROOM + front.len()].copy_from_slice(front);
        let range = HEADROOM..HEADROOM + front.len();
        let mut packet = Packet::new(head, range, in_port, Offload::default());
        if rest.is_empty() {
            return Some(packet);
        }
        let frame = self.large().map(|mut frame| {
            let taken = frame.bytes_mut().get_mut(..rest.len());
            (
                taken.map(|place| place.copy_from_slice(rest)).is_some(),
                frame,
            )
        });
        match frame {
            Some((true, frame)) => {
                match packet.push_tail(Segment::new(frame, 0..rest.len()), self) {
                    Ok(()) => return Some(packet),
                    Err(segment) => self.free(segment.into_frame()),
                }
            }
            Some((false, frame)) => self.free(frame),
            None => {}
        }
        self.drop_packet(packet);
        None
    }

    /// A free large frame, or `None` when all are in use.
    #[inline]
    pub fn large(&mut self) -> Option<Frame> {
        match self.larges.pop_back() {
            Some(frame) => Some(frame),
            None => refill(&mut self.larges, &self.shared.larges),
        }
    }

    /// Takes a frame back.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        let shared = &self.shared;
        let class = frame.class();
        let own = match class {
            Class::Chunk => &mut self.chunks,
            Class::Large => &mut self.larges,
        };
        own.push_back(frame);
        if own.len().is_multiple_of(BLOCK_LEN) && own.len() >= shared.store_max(class) {
            for frame in own.drain(..BLOCK_LEN) {
                shared.put(frame);
            }
        }
    }

    /// Ends a packet: all its frames are free again.
    #[inline]
    pub fn drop_packet(&mut self, packet: Packet) {
        let (head, tail) = packet.into_frames();
        self.free(head);
        if let Some(tail) = tail {
            self.free_tail(tail);
        }
    }

    /// An empty tail, from the store where there is one.
    pub fn tail(&mut self) -> Box<Tail> {
        self.tails.pop().unwrap_or_default()
    }

    /// Frees the frames of a tail and keeps its box.
    pub fn free_tail(&mut self, mut tail: Box<Tail>) {
        while let Some(segment) = tail.pop() {
            self.free(segment.into_frame());
        }
        if self.tails.len() < BLOCK_LEN {
            self.tails.push(tail);
        }
    }

    /// A second packet with the same bytes and metadata, or `None` when frames run out.
    pub fn copy(&mut self, packet: &Packet) -> Option<Packet> {
        let mut head = self.chunk()?;
        let range = packet.head_range();
        head.bytes_mut()[range.clone()].copy_from_slice(packet.head());
        let mut copy = Packet::new(head, range, packet.in_port, packet.offload);
        copy.generation = packet.generation;
        for segment in packet.tail_segments() {
            let bytes = segment.bytes();
            let frame = if bytes.len() <= vswitch_sys::memory::CHUNK_SIZE {
                self.chunk()
            } else {
                self.large()
            };
            let Some(mut frame) = frame else {
                self.drop_packet(copy);
                return None;
            };
            frame.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
            if let Err(segment) = copy.push_tail(Segment::new(frame, 0..bytes.len()), self) {
                self.free(segment.into_frame());
                self.drop_packet(copy);
                return None;
            }
        }
        Some(copy)
    }

    /// Gives every free frame back to the shared queues, at the end of a worker.
    pub fn drain(&mut self) {
        for frame in self.chunks.drain(..).chain(self.larges.drain(..)) {
            self.shared.put(frame);
        }
    }

    /// Free frames in this store: chunks, large frames.
    #[must_use]
    pub fn free_len(&self) -> (usize, usize) {
        (self.chunks.len(), self.larges.len())
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        self.drain();
        self.shared.pools.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cold]
fn refill(own: &mut VecDeque<Frame>, shared: &ArrayQueue<Frame>) -> Option<Frame> {
    for _ in 0..BLOCK_LEN {
        match shared.pop() {
            Some(frame) => own.push_back(frame),
            None => break,
        }
    }
    own.pop_back()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::HEADROOM;
    use crate::offload::Offload;
    use crate::port::PortIndex;

    #[test]
    fn frames_are_conserved_through_copy_and_drop() {
        let shared = SharedFrames::new(200, 4).expect("mmap");
        let mut pool = FramePool::new(Arc::clone(&shared));
        let mut head = pool.chunk().expect("free");
        head.bytes_mut()[HEADROOM..HEADROOM + 60].fill(7);
        let mut packet = Packet::new(
            head,
            HEADROOM..HEADROOM + 60,
            PortIndex(1),
            Offload::default(),
        );
        let mut large = pool.large().expect("free");
        large.bytes_mut()[..60_000].fill(9);
        packet
            .push_tail(Segment::new(large, 0..60_000), &mut pool)
            .expect("room");

        let copy = pool.copy(&packet).expect("frames left");
        assert_eq!(copy.len(), 60_060);
        assert_eq!(copy.head(), packet.head());
        assert_eq!(
            copy.tail_segments()[0].bytes(),
            packet.tail_segments()[0].bytes()
        );
        pool.drop_packet(packet);
        pool.drop_packet(copy);
        pool.drain();
        assert_eq!(shared.free_len(), (200, 4));
    }

    #[test]
    fn a_burst_comes_out_of_the_frames_of_the_one_before() {
        let shared = SharedFrames::new(16_384, 0).expect("mmap");
        let mut pool = FramePool::new(Arc::clone(&shared));
        let mut burst = || {
            let mut frames: Vec<_> = (0..1500).map_while(|_| pool.chunk()).collect();
            let mut places: Vec<_> = frames.iter_mut().map(|f| f.bytes_mut().as_ptr()).collect();
            for frame in frames {
                pool.free(frame);
            }
            places.sort_unstable();
            places
        };
        assert_eq!(burst(), burst());
    }

    #[test]
    fn pools_leave_frames_for_others() {
        let shared = SharedFrames::new(4096, 0).expect("mmap");
        let mut pools: Vec<_> = (0..4)
            .map(|_| FramePool::new(Arc::clone(&shared)))
            .collect();
        for pool in &mut pools {
            let frames: Vec<_> = std::iter::from_fn(|| pool.chunk()).collect();
            for frame in frames {
                pool.free(frame);
            }
        }
        assert!(shared.free_len().0 >= 4096 - 4096 / STORES_SHARE);
    }

    #[test]
    fn an_exhausted_pool_answers_none_and_recovers() {
        let shared = SharedFrames::new(3, 0).expect("mmap");
        let mut pool = FramePool::new(shared);
        let frames: Vec<_> = std::iter::from_fn(|| pool.chunk()).collect();
        assert_eq!(frames.len(), 3);
        assert!(pool.large().is_none());
        for frame in frames {
            pool.free(frame);
        }
        let again = pool.chunk().expect("freed");
        pool.free(again);
    }
}
