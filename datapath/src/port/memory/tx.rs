//! From the switch out to the wire.

use super::{MemoryQueue, WirePacket};
use crate::buffer::{FramePool, Packet};

impl MemoryQueue {
    pub(super) fn transmit(&mut self, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        let wire = self.wire.clone();
        let mut shared = wire.lock();
        self.counters.tx_batches += u64::from(!packets.is_empty());
        for packet in packets.drain(..) {
            let has_room = shared.outbound.len() < shared.room;
            if self.count_tx(&packet, shared.is_up, has_room) {
                shared.outbound.push(WirePacket {
                    bytes: packet.to_vec(),
                    offload: packet.offload,
                });
            }
            pool.drop_packet(packet);
        }
    }
}
