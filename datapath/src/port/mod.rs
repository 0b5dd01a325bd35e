//! Ports: where packets come from and go to.
//!
//! `rx` is into the switch and `tx` is out of it, always from the switch's side. Each kind of port
//! is a folder with the same file names and a README that starts with its caveats. A kind offers
//! one [`PortQueue`] per queue; each belongs to one worker, which alone calls it.
//!
//! A port touches neither keys nor tables nor other ports.

pub mod afxdp;
pub mod memory;
pub mod null;
pub mod packet;
pub mod pcap;
mod spill;
pub mod tap;
pub mod udp;
mod vnet_hdr;

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::buffer::{Batch, FramePool, Packet};
use crate::offload::Capabilities;

/// Bytes of the shortest packet there can be: an Ethernet header.
pub const ETHERNET_SIZE: usize = 14;

/// A port's number inside the datapath process, unique over all bridges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortIndex(pub u32);

/// What a receive call found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxStatus {
    /// Nothing is left: wait for the next readiness event.
    Drained,
    /// The batch is full or the port may have more: call again in the next round.
    More,
    /// The device is gone or down; an event or a command will say when it is back.
    Down,
}

/// How a worker learns that a queue has packets.
#[derive(Debug)]
pub enum Readiness<'a> {
    /// The descriptor becomes readable (edge-triggered registration is enough).
    Fd {
        /// What to wait for.
        fd: BorrowedFd<'a>,
        /// `rx` without an event costs no system call (a shared ring), so a busy worker may look
        /// on its own instead of waiting to be told.
        cheap: bool,
    },
    /// There are packets whenever one asks (replay from a file).
    Always,
    /// Never receives.
    Never,
}

/// One queue of a port, owned by one worker.
pub trait PortQueue: Send {
    /// Appends received packets to `batch` until it is full or the queue is empty. `now` is the
    /// round's time; only a port that paces itself (replay from a file) looks at it.
    fn rx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) -> RxStatus;

    /// Sends `packets` and leaves the vector empty. The caller has made every packet fit
    /// [`PortQueue::capabilities`]. What cannot be sent is freed and counted. `now` is the round's
    /// time, which a capture writes down.
    fn tx(&mut self, now: Instant, pool: &mut FramePool, packets: &mut Vec<Packet>);

    /// What may be handed to `tx`.
    fn capabilities(&self) -> Capabilities;

    /// Its packets are whole outer frames of tunnels, for no bridge.
    fn carries_tunnels(&self) -> bool {
        false
    }

    /// Its packets come from a stack on this machine, which leaves checksums for the device to finish
    /// (see `offload::partial`), those of packets inside of tunnels too.
    fn is_local(&self) -> bool {
        false
    }

    /// The device's MTU has changed: the largest layer-3 packet in bytes.
    fn set_mtu(&mut self, mtu: u32);

    /// How to wait for packets.
    fn readiness(&self) -> Readiness<'_>;

    /// What has happened so far. Written by `rx` and `tx`, plain integers.
    fn counters(&self) -> &PortCounters;

    /// Adds to the counters what only the kernel has counted, such as packets lost for want of
    /// room before us. Costs a system call where there is such a thing: for the moments at which
    /// counters are published, not for every round.
    fn refresh_counters(&mut self) {}

    /// Ends the queue: every frame it holds goes back to `pool`.
    fn close(self: Box<Self>, pool: &mut FramePool);
}

/// Traffic of one port queue. Every packet offered to `tx` is in `tx_packets` or in one of the
/// `tx_*` drop counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Packets received; a super-frame is one.
    pub rx_packets: u64,
    /// Bytes received, from the Ethernet header on.
    pub rx_bytes: u64,
    /// Lost before us: no free frame, ring full (as the kernel counts it).
    pub rx_dropped: u64,
    /// Received but unusable: a malformed offload header, more fragments than a packet may have.
    pub rx_errors: u64,
    /// Packets sent; a super-frame is one.
    pub tx_packets: u64,
    /// Bytes sent, from the Ethernet header on.
    pub tx_bytes: u64,
    /// The device or its ring had no room.
    pub tx_no_room: u64,
    /// The device is down or gone.
    pub tx_down: u64,
    /// The kernel refused the packet.
    pub tx_errors: u64,
    /// `rx` calls that brought at least one packet.
    pub rx_batches: u64,
    /// `tx` calls.
    pub tx_batches: u64,
}
