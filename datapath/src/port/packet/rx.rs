//! From the device into the switch.
//!
//! Every message gets a chunk and a large frame to spill into; what is not used goes back to the
//! pool before the call ends, so that an idle port holds no memory.

use std::os::fd::AsFd;

use vswitch_sys::memory::Frame;
use vswitch_sys::packet_socket::{Received, RecvSlot, VlanTag};

use super::PacketQueue;
use crate::buffer::{Batch, FramePool, HEADROOM, Packet};
use crate::offload::{Gso, tunnel};
use crate::port::{PortIndex, RxStatus, spill, vnet_hdr};

/// Bytes of a VLAN tag.
const TAG_SIZE: usize = 4;

/// Bytes of the two addresses that a VLAN tag follows.
const ADDRESSES_SIZE: usize = 12;

/// Where packets begin: the kernel has taken the VLAN tag out, and with it put back there must
/// still be the whole headroom.
const OFFSET: usize = HEADROOM + TAG_SIZE;

impl PacketQueue {
    pub(super) fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        let wanted = batch.remaining_capacity();
        while self.slots.len() < wanted {
            // Without a chunk, what waits in the socket stays there until frames come back.
            let Some(head) = pool.chunk() else { break };
            let spill = pool.large();
            self.slots.push(RecvSlot { head, spill });
        }
        if self.slots.is_empty() {
            return RxStatus::More;
        }
        let answer = self.recv.recv(self.fd.as_fd(), &mut self.slots, OFFSET);
        for (i, slot) in self.slots.drain(..).enumerate() {
            let RecvSlot { head, mut spill } = slot;
            match self.recv.received(i) {
                None => pool.free(head),
                Some(received) if received.truncated => {
                    self.counters.rx_dropped += 1;
                    pool.free(head);
                }
                Some(received) => match build(self.port, head, &mut spill, received, pool) {
                    Some(packet) => {
                        self.counters.rx_packets += 1;
                        self.counters.rx_bytes += packet.len() as u64;
                        batch.push(packet);
                    }
                    None => self.counters.rx_errors += 1,
                },
            }
            if let Some(frame) = spill {
                pool.free(frame);
            }
        }
        match answer {
            // Fewer than there was room for is no proof that nothing waits: the kernel also stops
            // at a packet that it cannot describe. The next call finds out.
            Ok(received) => {
                self.counters.rx_batches += u64::from(received > 0);
                RxStatus::More
            }
            Err(error) => self.count_rx_error(&error),
        }
    }
}

/// Makes a packet of what was received. `None`, with `head` free again, when it makes no sense.
fn build(
    port: PortIndex,
    head: Frame,
    spill: &mut Option<Frame>,
    received: Received<'_>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let size = received.len;
    let offload = |in_head| vnet_hdr::decode(received.vnet_hdr, in_head).ok();
    let mut packet = spill::assemble(port, head, OFFSET, spill, size, offload, pool)?;
    if !complete(&mut packet) {
        pool.drop_packet(packet);
        return None;
    }
    if let Some(tag) = received.vlan {
        put_back(&mut packet, tag);
    }
    Some(packet)
}

/// Adds to the metadata of a super-frame what the socket's header has no room for. False when its
/// headers do not explain the metadata.
fn complete(packet: &mut Packet) -> bool {
    let Some(gso) = packet.offload.gso else {
        return true;
    };
    match tunnel::find(packet.head(), packet.len(), packet.offload.csum, gso) {
        Ok(tunnel) => {
            packet.offload.gso = Some(Gso { tunnel, ..gso });
            true
        }
        Err(tunnel::Unknown) => false,
    }
}

/// Puts a VLAN tag behind the addresses.
fn put_back(packet: &mut Packet, tag: VlanTag) {
    // There is room: every packet of this port begins TAG_SIZE bytes behind the headroom.
    if !packet.prepend(TAG_SIZE) {
        return;
    }
    let head = packet.head_mut();
    head.copy_within(TAG_SIZE..TAG_SIZE + ADDRESSES_SIZE, 0);
    head[ADDRESSES_SIZE..ADDRESSES_SIZE + 2].copy_from_slice(&tag.tpid.to_be_bytes());
    head[ADDRESSES_SIZE + 2..ADDRESSES_SIZE + 4].copy_from_slice(&tag.tci.to_be_bytes());
}
