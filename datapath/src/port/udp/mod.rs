//! UDP sockets as ports: the outer packets of tunnels, where the host's own stack carries them.
//!
//! A port of this kind belongs to no bridge. What it receives are whole outer frames, like those of
//! a bridge's port or an uplink, whose headers it has written itself; what it sends are such frames,
//! of which it strips the headers. So encapsulating is written once and knows nothing of ways. See
//! `README.md` for what gets lost.
//!
//! Law: every datagram received is in `rx_packets` or in one of the drop counters, and every packet
//! offered in one of the `tx_*`. Frames are held only between two `rx` calls while a received run is
//! not split to its end.
//!
//! Threads: one queue, one worker. Cost: a system call per batch each way, and one for each further
//! socket that has something; a datagram that was received in a run is copied once. A sender's two
//! modes (fragments, checksums) are changed by a system call each when a packet wants another than
//! the one before it.
//!
//! Spec: udp(7), ip(7), ipv6(7); RFC 6935 for zero checksums over IPv6.

mod counters;
mod rx;
mod tx;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use arrayvec::ArrayVec;
use rustix::event::epoll;
use vswitch_sys::udp_socket::{self, Family, Fragmenting, RecvBatch, RecvSlot, SendBatch};

use super::{PortCounters, PortIndex, PortQueue, Readiness, RxStatus};
use crate::buffer::{BATCH_LEN, Batch, FramePool, Packet, TAIL_LEN};
use crate::offload::Capabilities;

/// A socket that datagrams come by.
#[derive(Debug)]
struct Receiver {
    fd: OwnedFd,
    /// The port that it is bound to.
    port: u16,
    /// Datagrams that the kernel had dropped when it was asked last.
    kernel_drops: u32,
}

/// A socket that datagrams go by, and its modes.
#[derive(Debug)]
struct Sender {
    fd: OwnedFd,
    family: Family,
    /// How it treats large datagrams now.
    fragmenting: Fragmenting,
    /// Whether it writes checksums now.
    checksums: bool,
}

/// Some UDP sockets.
#[derive(Debug)]
pub struct UdpQueue {
    receivers: Vec<Receiver>,
    /// The receiver that is asked first the next time.
    next: usize,
    /// Tells when one of several receivers has something.
    ready: Option<OwnedFd>,
    senders: Vec<Sender>,
    port: PortIndex,
    mtu: u32,
    counters: PortCounters,
    recv: RecvBatch,
    send: SendBatch,
    /// Holds frames during `rx` only; kept for its room.
    slots: ArrayVec<RecvSlot, BATCH_LEN>,
    /// Messages that were received and are not split to their ends, the oldest first.
    runs: ArrayVec<rx::Run, BATCH_LEN>,
    /// What the headers of the packets being sent say, and which packets a sender sends; kept for
    /// their room.
    plans: Vec<Option<tx::Plan>>,
    order: Vec<u32>,
}

impl UdpQueue {
    /// Takes over descriptors that `vswitch_sys::udp_socket` made: bound ones that receive, and ones
    /// that send.
    ///
    /// # Errors
    /// When one is no UDP socket of either family.
    pub fn new(
        receivers: Vec<OwnedFd>,
        senders: Vec<OwnedFd>,
        port: PortIndex,
        mtu: u32,
    ) -> io::Result<Self> {
        let receivers = receivers.into_iter().map(|fd| {
            Ok(Receiver {
                port: udp_socket::local(fd.as_fd())?.1,
                kernel_drops: udp_socket::dropped(fd.as_fd())?,
                fd,
            })
        });
        let receivers: Vec<Receiver> = receivers.collect::<io::Result<_>>()?;
        let senders = senders.into_iter().map(|fd| {
            let (family, _) = udp_socket::local(fd.as_fd())?;
            // Someone else may have had it before, so its modes are set and not assumed.
            udp_socket::set_fragmenting(fd.as_fd(), family, Fragmenting::Never)?;
            udp_socket::set_checksums(fd.as_fd(), family, true)?;
            Ok(Sender {
                fd,
                family,
                fragmenting: Fragmenting::Never,
                checksums: true,
            })
        });
        Ok(Self {
            ready: watch(&receivers)?,
            receivers,
            next: 0,
            senders: senders.collect::<io::Result<_>>()?,
            port,
            mtu,
            counters: PortCounters::default(),
            recv: RecvBatch::default(),
            send: SendBatch::default(),
            slots: ArrayVec::new(),
            runs: ArrayVec::new(),
            plans: Vec::with_capacity(4 * BATCH_LEN),
            order: Vec::with_capacity(4 * BATCH_LEN),
        })
    }
}

/// What becomes readable when one of several receivers does; `None` when there are not several.
fn watch(receivers: &[Receiver]) -> io::Result<Option<OwnedFd>> {
    if receivers.len() < 2 {
        return Ok(None);
    }
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for receiver in receivers {
        let data = epoll::EventData::new_u64(0);
        epoll::add(&ready, &receiver.fd, data, epoll::EventFlags::IN)?;
    }
    Ok(Some(ready))
}

impl PortQueue for UdpQueue {
    fn rx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        self.receive(pool, batch)
    }

    fn tx(&mut self, _now: Instant, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        self.transmit(pool, packets);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Sums and segments of a datagram's content are nothing to the kernel.
            mtu: self.mtu,
            max_segments: 1 + TAIL_LEN,
            ..Capabilities::default()
        }
    }

    fn carries_tunnels(&self) -> bool {
        true
    }

    /// Which device a datagram came by is not told, so each may be from a veth.
    fn is_local(&self) -> bool {
        true
    }

    fn set_mtu(&mut self, mtu: u32) {
        self.mtu = mtu;
    }

    fn readiness(&self) -> Readiness<'_> {
        let fd = match (&self.ready, self.receivers.first()) {
            (Some(ready), _) => ready.as_fd(),
            (None, Some(receiver)) => receiver.fd.as_fd(),
            (None, None) => return Readiness::Never,
        };
        Readiness::Fd { fd, cheap: false }
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn refresh_counters(&mut self) {
        self.add_kernel_drops();
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        for run in self.runs {
            run.free(pool);
        }
    }
}
