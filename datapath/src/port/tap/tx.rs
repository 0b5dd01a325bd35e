//! From the switch out to the device.

use std::io::IoSlice;

use arrayvec::ArrayVec;
use rustix::io::Errno;
use vswitch_sys::tap::VNET_HDR_SIZE;

use super::TapQueue;
use crate::buffer::{FramePool, Packet, TAIL_LEN};
use crate::port::vnet_hdr;

impl TapQueue {
    pub(super) fn transmit(&mut self, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        self.counters.tx_batches += u64::from(!packets.is_empty());
        for packet in packets.drain(..) {
            let size = packet.len();
            match self.write(&packet) {
                Ok(_) => {
                    self.counters.tx_packets += 1;
                    self.counters.tx_bytes += size as u64;
                }
                Err(error) => self.count_tx_error(error),
            }
            pool.drop_packet(packet);
        }
    }

    /// The packet behind its offload header, in one call.
    fn write(&self, packet: &Packet) -> Result<usize, Errno> {
        let header: [u8; VNET_HDR_SIZE] = vnet_hdr::encode(&packet.offload, packet.head());
        let mut pieces = ArrayVec::<_, { 2 + TAIL_LEN }>::new();
        pieces.push(IoSlice::new(&header));
        pieces.push(IoSlice::new(packet.head()));
        let tail = packet.tail_segments().iter();
        pieces.extend(tail.map(|segment| IoSlice::new(segment.bytes())));
        rustix::io::writev(&self.fd, &pieces)
    }
}
