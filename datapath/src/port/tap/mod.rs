//! TAP ports: a kernel network device whose wire is a file descriptor of ours.
//!
//! For containers, virtual machines and the host: whoever owns the device's namespace sees an
//! ordinary Ethernet device with all offloads. Not for devices that exist without us; those are
//! packet or AF_XDP ports.
//!
//! Law: see `README.md` for what to expect; `vswitch_sys::tap` for the header before each packet.
//! Threads: one queue, one worker. Cost: a `readv` or `writev` per packet, there is no batched
//! form; one copy of the bytes each way.
//!
//! Spec: Documentation/networking/tuntap.rst, drivers/net/tun.c.

mod counters;
mod rx;
mod tx;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use vswitch_sys::tap::TapOffloads;

use super::{PortCounters, PortIndex, PortQueue, Readiness, RxStatus};
use crate::buffer::{Batch, FramePool, Packet, TAIL_LEN};
use crate::offload::Capabilities;

/// One queue of a TAP device.
#[derive(Debug)]
pub struct TapQueue {
    fd: OwnedFd,
    port: PortIndex,
    capabilities: Capabilities,
    counters: PortCounters,
}

impl TapQueue {
    /// Takes over a non-blocking descriptor that `vswitch_sys::tap::open` made. `offloads` is what
    /// the kernel has of them, `mtu` the device's.
    #[must_use]
    pub fn new(fd: OwnedFd, port: PortIndex, offloads: TapOffloads, mtu: u32) -> Self {
        Self {
            fd,
            port,
            capabilities: Capabilities {
                // The kernel takes these from us whatever it was asked to give; a kernel that does
                // not offer UDP segmentation does not know it here either.
                csum: true,
                tso4: true,
                tso6: true,
                uso: offloads.has(TapOffloads::USO),
                tunnel: offloads.has(TapOffloads::UDP_TUNNEL.with(TapOffloads::UDP_TUNNEL_CSUM)),
                mtu,
                max_segments: 1 + TAIL_LEN,
            },
            counters: PortCounters::default(),
        }
    }
}

impl PortQueue for TapQueue {
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

    fn close(self: Box<Self>, _pool: &mut FramePool) {}
}
