//! From the switch out to the device.

use std::iter;
use std::os::fd::AsFd;

use super::PacketQueue;
use crate::buffer::{FramePool, Packet, Segment};
use crate::port::vnet_hdr;

impl PacketQueue {
    pub(super) fn transmit(&mut self, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        self.counters.tx_batches += u64::from(!packets.is_empty());
        let mut done = 0;
        while done < packets.len() {
            let messages = packets[done..].iter().map(|packet| {
                let header = vnet_hdr::encode(&packet.offload, packet.head());
                let tail = packet.tail_segments().iter().map(Segment::bytes);
                (header, iter::once(packet.head()).chain(tail))
            });
            match self.send.send(self.fd.as_fd(), messages) {
                Ok(sent) => {
                    for packet in &packets[done..done + sent] {
                        self.counters.tx_packets += 1;
                        self.counters.tx_bytes += packet.len() as u64;
                    }
                    done += sent;
                }
                Err(error) => done += self.count_tx_error(&error, packets.len() - done),
            }
        }
        for packet in packets.drain(..) {
            pool.drop_packet(packet);
        }
    }
}
