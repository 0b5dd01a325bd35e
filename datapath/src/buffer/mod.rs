//! Packets and the frames that hold them.
//!
//! Law: who holds a [`Packet`] transmits it or frees it. [`FramePool::free`] and
//! [`FramePool::drop_packet`] are the only ends of a packet besides a port's transmit ring, so
//! that at any moment: frames of the region = free + held by packets + held by the kernel.
//!
//! Threads: a [`FramePool`] belongs to one worker; pools exchange frames in blocks through the
//! shared queues of [`SharedFrames`]. Cost: taking or freeing a frame is a push or pop on a local
//! vector; every 64th touches the shared queue.

mod packet;
mod pool;

pub use packet::{HEADROOM, Packet, Segment, TAIL_LEN, Tail};
pub use pool::{FramePool, SharedFrames};

/// Packets that one step handles at a time (architecture decision 8).
pub const BATCH_LEN: usize = 32;

/// A batch of packets on its way through the steps.
pub type Batch = arrayvec::ArrayVec<Packet, BATCH_LEN>;
