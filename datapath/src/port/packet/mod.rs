//! Packet-socket ports: devices that exist without us and keep their segmentation offload.
//!
//! For a veth or NIC that carries bulk TCP: other than with XDP, the device's peer goes on sending
//! super-frames. Not for high packet rates, where AF_XDP is several times faster.
//!
//! Law: the host's own stack sees the same packets unless the tcx program that drops them is
//! attached; who opens the socket attaches it. See `README.md` for the rest of what to expect.
//! Threads: one queue, one worker. Cost: a system call per batch each way, and one copy each way.
//!
//! Spec: packet(7), net/packet/af_packet.c.

mod counters;
mod rx;
mod tx;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use arrayvec::ArrayVec;
use vswitch_sys::packet_socket::{RecvBatch, RecvSlot, SendBatch};

use super::{PortCounters, PortIndex, PortQueue, Readiness, RxStatus};
use crate::buffer::{BATCH_LEN, Batch, FramePool, Packet, TAIL_LEN};
use crate::offload::Capabilities;

/// A packet socket.
#[derive(Debug)]
pub struct PacketQueue {
    fd: OwnedFd,
    port: PortIndex,
    capabilities: Capabilities,
    counters: PortCounters,
    recv: RecvBatch,
    send: SendBatch,
    /// Holds frames during `rx` only; kept for its room.
    slots: ArrayVec<RecvSlot, BATCH_LEN>,
}

impl PacketQueue {
    /// Takes over a descriptor that `vswitch_sys::packet_socket::open` made for a device with that
    /// MTU.
    #[must_use]
    pub fn new(fd: OwnedFd, port: PortIndex, mtu: u32) -> Self {
        Self {
            fd,
            port,
            capabilities: Capabilities {
                // The socket takes all of them for any device; where the device cannot, the kernel
                // does it before the driver sees the packet.
                csum: true,
                tso4: true,
                tso6: true,
                uso: true,
                tunnel: false,
                mtu,
                max_segments: 1 + TAIL_LEN,
            },
            counters: PortCounters::default(),
            recv: RecvBatch::default(),
            send: SendBatch::default(),
            slots: ArrayVec::new(),
        }
    }
}

impl PortQueue for PacketQueue {
    fn rx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        self.receive(pool, batch)
    }

    fn tx(&mut self, _now: Instant, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        self.transmit(pool, packets);
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn set_mtu(&mut self, mtu: u32) {
        self.capabilities.mtu = mtu;
    }

    fn readiness(&self) -> Readiness<'_> {
        Readiness::Fd {
            fd: self.fd.as_fd(),
            cheap: false,
        }
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn refresh_counters(&mut self) {
        self.add_kernel_drops();
    }

    fn close(self: Box<Self>, _pool: &mut FramePool) {}
}
