//! The memory port: a wire made of two vectors, for tests and benches.
//!
//! A test holds the [`MemoryWire`], pushes packets in and takes packets out; the switch holds the
//! [`MemoryQueue`]. A bench gives the queue a vector of frames that it plays for ever. Not a port
//! that a user can add.
//!
//! Law: what was pushed is received, once and in order, while the wire is up; what was sent is
//! taken, once and in order, up to the wire's room.
//!
//! Threads: the queue belongs to a worker, the wire to whoever drives it; a lock between them is
//! taken once per call. Cost: one copy of the bytes each way; replay does not allocate.

mod counters;
mod rx;
mod tx;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use vswitch_sys::memory::LARGE_SIZE;

use super::{PortCounters, PortIndex, PortQueue, Readiness, RxStatus};
use crate::buffer::{Batch, FramePool, Packet};
use crate::offload::{Capabilities, Offload};

/// A packet on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WirePacket {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// What was still to be done to it.
    pub offload: Offload,
}

/// What both ends see.
#[derive(Debug)]
struct Shared {
    /// On the way into the switch.
    inbound: VecDeque<WirePacket>,
    /// Sent by the switch, not taken yet.
    outbound: Vec<WirePacket>,
    /// Packets that `outbound` takes before it is full.
    room: usize,
    is_up: bool,
}

/// The far end of a memory port.
#[derive(Clone, Debug)]
pub struct MemoryWire {
    shared: Arc<Mutex<Shared>>,
}

impl MemoryWire {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic under this lock is a failed test; the vectors are whole at any point.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a packet on the way into the switch.
    pub fn push(&self, bytes: Vec<u8>) {
        self.push_with(bytes, Offload::default());
    }

    /// The same with something left to be done to the packet.
    ///
    /// Panics when the packet is longer than a large frame: no device delivers one.
    pub fn push_with(&self, bytes: Vec<u8>, offload: Offload) {
        assert!(bytes.len() <= LARGE_SIZE, "a packet of {}", bytes.len());
        self.lock().inbound.push_back(WirePacket { bytes, offload });
    }

    /// How many packets the switch has not received yet.
    #[must_use]
    pub fn inbound_len(&self) -> usize {
        self.lock().inbound.len()
    }

    /// All that the switch has sent since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<WirePacket> {
        std::mem::take(&mut self.lock().outbound)
    }

    /// Sets the device up or down. Down, nothing is received and nothing can be sent.
    pub fn set_up(&self, is_up: bool) {
        self.lock().is_up = is_up;
    }

    /// How many packets may wait to be taken before the device says that it has no room.
    pub fn set_room(&self, room: usize) {
        self.lock().room = room;
    }
}

/// Where a queue's packets come from.
#[derive(Debug)]
enum Source {
    Wire,
    /// Plays these for ever, beginning with number `next`.
    Replay {
        frames: Vec<Box<[u8]>>,
        next: usize,
    },
}

/// The switch's end of a memory port.
#[derive(Debug)]
pub struct MemoryQueue {
    port: PortIndex,
    capabilities: Capabilities,
    counters: PortCounters,
    wire: MemoryWire,
    source: Source,
    carries_tunnels: bool,
}

impl MemoryQueue {
    /// A port and its wire, up and with room for anything.
    #[must_use]
    pub fn new(port: PortIndex, capabilities: Capabilities) -> (Self, MemoryWire) {
        let wire = MemoryWire {
            shared: Arc::new(Mutex::new(Shared {
                inbound: VecDeque::new(),
                outbound: Vec::new(),
                room: usize::MAX,
                is_up: true,
            })),
        };
        let queue = Self {
            port,
            capabilities,
            counters: PortCounters::default(),
            wire: wire.clone(),
            source: Source::Wire,
            carries_tunnels: false,
        };
        (queue, wire)
    }

    /// The same, of a port on no bridge, by which tunnels' outer frames come and go.
    #[must_use]
    pub fn carrying_tunnels(self) -> Self {
        Self {
            carries_tunnels: true,
            ..self
        }
    }

    /// A port that receives `frames` over and over, a full batch at each call. Frames longer than a
    /// chunk takes (3,840 bytes) are cut to that. What is sent by it is lost.
    #[must_use]
    pub fn replay(port: PortIndex, capabilities: Capabilities, frames: Vec<Vec<u8>>) -> Self {
        let (mut queue, wire) = Self::new(port, capabilities);
        wire.set_room(0);
        queue.source = Source::Replay {
            frames: frames.into_iter().map(Vec::into_boxed_slice).collect(),
            next: 0,
        };
        queue
    }
}

impl PortQueue for MemoryQueue {
    fn rx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        self.receive(pool, batch)
    }

    fn tx(&mut self, _now: Instant, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        self.transmit(pool, packets);
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn carries_tunnels(&self) -> bool {
        self.carries_tunnels
    }

    fn set_mtu(&mut self, mtu: u32) {
        self.capabilities.mtu = mtu;
    }

    fn readiness(&self) -> Readiness<'_> {
        Readiness::Always
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn close(self: Box<Self>, _pool: &mut FramePool) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{BATCH_LEN, HEADROOM, SharedFrames};

    fn capabilities() -> Capabilities {
        Capabilities {
            mtu: 1500,
            max_segments: 18,
            ..Capabilities::default()
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do: the port does not look at it"
    )]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn what_is_pushed_is_received_and_what_is_sent_is_taken() {
        let shared = SharedFrames::new(64, 2).expect("memory");
        let mut pool = FramePool::new(Arc::clone(&shared));
        let (queue, wire) = MemoryQueue::new(PortIndex(4), capabilities());
        let mut queue = Box::new(queue);
        let sizes = [60, 3840, 3841, 60_000];
        for size in sizes {
            wire.push((0..size).map(|i| i as u8).collect());
        }
        let mut batch = Batch::new();
        assert_eq!(queue.rx(now(), &mut pool, &mut batch), RxStatus::Drained);
        assert_eq!(batch.len(), sizes.len());
        assert!(batch.iter().all(|p| p.head_range().start == HEADROOM));
        let mut packets: Vec<Packet> = batch.drain(..).collect();
        queue.tx(now(), &mut pool, &mut packets);
        let sent = wire.take();
        assert_eq!(sent.len(), sizes.len());
        for (packet, size) in sent.iter().zip(sizes) {
            assert_eq!(packet.bytes.len(), size);
            assert!(packet.bytes.iter().enumerate().all(|(i, &b)| b == i as u8));
        }
        assert_eq!(queue.counters().rx_bytes, queue.counters().tx_bytes);
        queue.close(&mut pool);
        pool.drain();
        assert_eq!(shared.free_len(), (64, 2));
    }

    #[test]
    fn a_wire_that_is_down_or_full_is_counted() {
        let shared = SharedFrames::new(64, 0).expect("memory");
        let mut pool = FramePool::new(Arc::clone(&shared));
        let (mut queue, wire) = MemoryQueue::new(PortIndex(4), capabilities());
        let mut send = |queue: &mut MemoryQueue, count: usize| {
            let mut packets = (0..count)
                .map(|_| {
                    let head = pool.chunk().expect("free");
                    Packet::new(head, 256..316, PortIndex(1), Offload::default())
                })
                .collect();
            queue.tx(now(), &mut pool, &mut packets);
        };
        wire.set_room(2);
        send(&mut queue, 3);
        assert_eq!(
            (queue.counters.tx_packets, queue.counters.tx_no_room),
            (2, 1)
        );
        wire.set_up(false);
        send(&mut queue, 3);
        assert_eq!((queue.counters.tx_packets, queue.counters.tx_down), (2, 3));
        wire.push(vec![0; 60]);
        let mut batch = Batch::new();
        assert_eq!(queue.rx(now(), &mut pool, &mut batch), RxStatus::Down);
        wire.set_up(true);
        assert_eq!(queue.rx(now(), &mut pool, &mut batch), RxStatus::Drained);
        assert_eq!(batch.len(), 1);
        for packet in batch {
            pool.drop_packet(packet);
        }
    }

    #[test]
    fn replay_never_ends_and_keeps_the_order() {
        let mut pool = FramePool::new(SharedFrames::new(64, 0).expect("memory"));
        let frames = (0..3u8).map(|i| vec![i; 60]).collect();
        let mut queue = MemoryQueue::replay(PortIndex(1), capabilities(), frames);
        let mut expected = (0..3u8).cycle();
        for _ in 0..10 {
            let mut batch = Batch::new();
            assert_eq!(queue.rx(now(), &mut pool, &mut batch), RxStatus::More);
            assert_eq!(batch.len(), BATCH_LEN);
            for packet in batch {
                assert_eq!(packet.head(), [expected.next().expect("cycle"); 60]);
                pool.drop_packet(packet);
            }
        }
    }
}
