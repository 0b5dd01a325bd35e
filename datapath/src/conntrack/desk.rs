//! Where tests make packets and give their frames back.

use std::sync::Arc;

use vswitch_flow::OfPort;

use crate::buffer::{FramePool, HEADROOM, Packet, Segment, SharedFrames};
use crate::extract::{Layout, extract};
use crate::offload::Offload;
use crate::port::PortIndex;

/// A worker's frames.
pub(super) struct Desk {
    shared: Arc<SharedFrames>,
    pub pool: FramePool,
}

impl Desk {
    pub(super) fn new() -> Self {
        let shared = SharedFrames::new(1024, 4).expect("memory");
        Self {
            pool: FramePool::new(Arc::clone(&shared)),
            shared,
        }
    }

    /// A packet of these bytes, and where extraction found its headers.
    pub(super) fn packet(&mut self, bytes: &[u8], offload: Offload) -> (Packet, Layout) {
        self.split(bytes, bytes.len().min(1500), offload)
    }

    /// The same with the bytes from `at` on in the tail.
    pub(super) fn split(&mut self, bytes: &[u8], at: usize, offload: Offload) -> (Packet, Layout) {
        let (front, rest) = bytes.split_at(at);
        let mut frame = self.pool.chunk().expect("a frame");
        let range = HEADROOM..HEADROOM + front.len();
        frame.bytes_mut()[range.clone()].copy_from_slice(front);
        let mut packet = Packet::new(frame, range, PortIndex(1), offload);
        for piece in rest.chunks(2000) {
            let mut frame = self.pool.chunk().expect("a frame");
            frame.bytes_mut()[..piece.len()].copy_from_slice(piece);
            packet
                .push_tail(Segment::new(frame, 0..piece.len()), &mut self.pool)
                .expect("room");
        }
        let extracted = extract(packet.head(), packet.len(), OfPort(1)).expect("long enough");
        (packet, extracted.layout)
    }

    /// What `work` says of a packet of these bytes, and the bytes afterwards.
    pub(super) fn with<T>(
        &mut self,
        bytes: &[u8],
        offload: Offload,
        work: impl FnOnce(&mut Packet, Layout) -> T,
    ) -> (T, Vec<u8>) {
        let (mut packet, layout) = self.packet(bytes, offload);
        let said = work(&mut packet, layout);
        let after = packet.to_vec();
        self.pool.drop_packet(packet);
        (said, after)
    }

    /// All frames are free again.
    pub(super) fn close(mut self) {
        self.pool.drain();
        let (chunks, larges) = self.shared.region().len();
        let all = (chunks as usize, larges as usize);
        assert_eq!(self.shared.free_len(), all, "a frame is lost");
    }
}

/// The bytes of a hexadecimal text.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| (byte as char).to_digit(16).expect("a digit") as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// A frame with SCTP ports and one chunk of `size` bytes of data, its sum right.
pub(super) fn sctp(
    frame: vswitch_packet::build::Builder,
    ports: (u16, u16),
    size: usize,
) -> Vec<u8> {
    let mut chunk = vec![0, 3];
    chunk.extend((size as u16 + 4).to_be_bytes());
    chunk.extend((0..size.next_multiple_of(4)).map(|at| at as u8));
    let mut bytes = frame.sctp(ports.0, ports.1).payload(&chunk).build();
    let l4 = bytes.len() - chunk.len() - 12;
    let sum = crc32c::crc32c(&bytes[l4..]);
    bytes[l4 + 8..l4 + 12].copy_from_slice(&sum.to_le_bytes());
    bytes
}
