//! What happens to packets, as the other kinds of port count it.

use super::MemoryQueue;
use crate::buffer::Packet;

impl MemoryQueue {
    /// Counts a batch received.
    pub(super) fn count_rx(&mut self, packets: &[Packet]) {
        self.counters.rx_batches += u64::from(!packets.is_empty());
        self.counters.rx_packets += packets.len() as u64;
        self.counters.rx_bytes += packets.iter().map(|p| p.len() as u64).sum::<u64>();
    }

    /// Counts a packet and answers whether it can be sent.
    pub(super) fn count_tx(&mut self, packet: &Packet, is_up: bool, has_room: bool) -> bool {
        if !is_up {
            self.counters.tx_down += 1;
        } else if !has_room {
            self.counters.tx_no_room += 1;
        } else {
            self.counters.tx_packets += 1;
            self.counters.tx_bytes += packet.len() as u64;
            return true;
        }
        false
    }
}
