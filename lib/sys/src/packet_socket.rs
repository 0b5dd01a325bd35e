//! Packet sockets: raw link-layer sockets that keep super-frames whole.
//!
//! For the privileged side: [`open`]. For the packet process, which gets the descriptor:
//! [`RecvBatch`], [`SendBatch`] and [`statistics`], none of which needs privilege. Not for keeping
//! the host's own stack from handling the same packets; a program at the device's tcx ingress does
//! that.
//!
//! Law: every packet, in and out, has [`VNET_HDR_SIZE`] bytes of `struct virtio_net_hdr` before
//! its Ethernet header, in the byte order of the host. The kernel takes the outer VLAN tag out of a
//! packet before the socket sees it and reports it apart ([`Received::vlan`]).
//!
//! Cost: one system call for a batch of up to [`BATCH_LEN`] packets each way; the arrays for it are
//! made once and live as long as the batch.
//!
//! Spec: packet(7), net/packet/af_packet.c, include/uapi/linux/if_packet.h.

use std::fmt;
use std::io;
use std::mem::{self, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::{c_int, c_void, iovec, mmsghdr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::mmsg::{self, Control, set_buffer_size, set_option};

pub use crate::mmsg::{BATCH_LEN, RecvSlot};

/// Bytes of `struct virtio_net_hdr`.
pub const VNET_HDR_SIZE: usize = 10;

/// Pieces of memory that one packet may be gathered from.
pub const SEND_PIECES: usize = 18;

/// Bytes of control data that the kernel attaches to a received packet: one `tpacket_auxdata`.
const CONTROL_SIZE: usize = 64;

// include/uapi/linux/if_packet.h
const PACKET_ADD_MEMBERSHIP: c_int = 1;
const PACKET_STATISTICS: c_int = 6;
const PACKET_AUXDATA: c_int = 8;
const PACKET_VNET_HDR: c_int = 15;
const PACKET_QDISC_BYPASS: c_int = 20;
const PACKET_IGNORE_OUTGOING: c_int = 23;
const PACKET_MR_PROMISC: u16 = 1;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

const ETH_P_ALL: u16 = 0x0003;
const ETH_P_8021Q: u16 = 0x8100;

/// What a packet socket is to be like.
#[derive(Clone, Copy, Debug)]
pub struct PacketSocketSpec {
    /// The device, in the network namespace of the calling thread.
    pub ifindex: u32,
    /// Bytes of packets that may wait to be read, counted as the kernel counts memory.
    pub receive_size: u32,
    /// Bytes of packets that may be on their way out.
    pub send_size: u32,
    /// Hand packets to the driver past the queueing discipline. They are then also invisible to
    /// captures on the device.
    pub qdisc_bypass: bool,
    /// Have the device accept packets for every address.
    pub promiscuous: bool,
}

/// Why a packet socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PacketSocketError {
    /// CAP_NET_RAW is missing.
    #[error("a packet socket needs CAP_NET_RAW in the device's network namespace")]
    NotPermitted,
    /// There is no device of that index.
    #[error("no device has index {0} in this network namespace; it may have been deleted or moved")]
    NoDevice(u32),
    /// Anything else.
    #[error("the kernel refused to {what} (device index {ifindex}): {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The device.
        ifindex: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What the kernel counts, since the last time it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketStatistics {
    /// Packets for the socket, with those that were dropped.
    pub packets: u32,
    /// Packets that found no room in the socket.
    pub drops: u32,
}

/// Opens a non-blocking packet socket on a device in the network namespace of the calling thread.
/// What the socket's own side sends out by the device is not received by it.
///
/// # Errors
/// [`PacketSocketError`]; nothing is left behind.
pub fn open(spec: &PacketSocketSpec) -> Result<OwnedFd, PacketSocketError> {
    let failed = |what, source: io::Error| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => PacketSocketError::NotPermitted,
        Some(libc::ENODEV) => PacketSocketError::NoDevice(spec.ifindex),
        _ => PacketSocketError::Kernel {
            what,
            ifindex: spec.ifindex,
            source,
        },
    };
    // Protocol 0 receives nothing until `bind`: no packets of other devices in between.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
        .map_err(|error| failed("open a packet socket", error.into()))?;
    let fd = socket.as_fd();

    let on: c_int = 1;
    set_option(fd, libc::SOL_PACKET, PACKET_VNET_HDR, &on)
        .map_err(|e| failed("switch offload headers on", e))?;
    set_option(fd, libc::SOL_PACKET, PACKET_AUXDATA, &on)
        .map_err(|e| failed("switch VLAN reports on", e))?;
    set_option(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &on)
        .map_err(|e| failed("ignore outgoing packets", e))?;
    if spec.qdisc_bypass {
        set_option(fd, libc::SOL_PACKET, PACKET_QDISC_BYPASS, &on)
            .map_err(|e| failed("bypass the queueing discipline", e))?;
    }
    set_buffer_size(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, spec.receive_size)
        .map_err(|e| failed("size the receive buffer", e))?;
    set_buffer_size(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, spec.send_size)
        .map_err(|e| failed("size the send buffer", e))?;
    bind(fd, spec.ifindex).map_err(|e| failed("bind a packet socket", e))?;
    if spec.promiscuous {
        let membership = PacketMreq {
            ifindex: spec.ifindex as c_int,
            kind: PACKET_MR_PROMISC,
            address_len: 0,
            address: [0; 8],
        };
        set_option(fd, libc::SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership)
            .map_err(|e| failed("make the device promiscuous", e))?;
    }
    Ok(socket)
}

/// Reads the kernel's counts and sets them to zero.
///
/// # Errors
/// What `getsockopt(2)` answers, `ENOTSOCK` as a rule.
pub fn statistics(socket: BorrowedFd<'_>) -> io::Result<PacketStatistics> {
    #[repr(C)]
    struct TpacketStats {
        packets: u32,
        drops: u32,
    }
    let mut stats = TpacketStats {
        packets: 0,
        drops: 0,
    };
    let mut size = size_of::<TpacketStats>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `stats`, both of which outlive the call;
    // any bytes are a value of it.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_STATISTICS,
            (&raw mut stats).cast::<c_void>(),
            &raw mut size,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(PacketStatistics {
        packets: stats.packets,
        drops: stats.drops,
    })
}

/// `struct packet_mreq`.
#[repr(C)]
struct PacketMreq {
    ifindex: c_int,
    kind: u16,
    address_len: u16,
    address: [u8; 8],
}

fn bind(fd: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    // SAFETY: `sockaddr_ll` is plain data of which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_ALL.to_be();
    address.sll_ifindex = ifindex as c_int;
    // SAFETY: the kernel reads the given number of bytes of `address`, which outlives the call.
    let answer = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast::<libc::sockaddr>(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A VLAN tag that the kernel has taken out of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// The tag's EtherType, 0x8100 or 0x88a8.
    pub tpid: u16,
    /// Priority, drop eligibility and VLAN id.
    pub tci: u16,
}

/// One packet of a [`RecvBatch`].
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Bytes of the packet in its slot, from the Ethernet header on.
    pub len: usize,
    /// The packet was longer than its slot and its end is lost.
    pub truncated: bool,
    /// The offload header.
    pub vnet_hdr: &'a [u8; VNET_HDR_SIZE],
    /// The outer VLAN tag, to be put back behind the addresses.
    pub vlan: Option<VlanTag>,
}

/// The arrays behind `recvmmsg(2)`.
///
/// Invariant: the pointers in `messages` and `pieces` are written by [`RecvBatch::recv`] before its
/// system call, from borrows that last through it, and are dead when it returns.
pub struct RecvBatch {
    messages: Box<[mmsghdr; BATCH_LEN]>,
    pieces: Box<[[iovec; 3]; BATCH_LEN]>,
    vnet_hdrs: Box<[[u8; VNET_HDR_SIZE]; BATCH_LEN]>,
    controls: Box<[Control<CONTROL_SIZE>; BATCH_LEN]>,
    /// How many messages the last call brought.
    len: usize,
}

// SAFETY: the pointers inside are dead between calls (see the invariant); the rest is plain data.
unsafe impl Send for RecvBatch {}

impl Default for RecvBatch {
    fn default() -> Self {
        // SAFETY: `mmsghdr` and `iovec` are plain data of which all zeroes is a value.
        let (messages, pieces) = unsafe { (Box::new(mem::zeroed()), Box::new(mem::zeroed())) };
        Self {
            messages,
            pieces,
            vnet_hdrs: Box::new([[0; VNET_HDR_SIZE]; BATCH_LEN]),
            controls: Box::new([Control::EMPTY; BATCH_LEN]),
            len: 0,
        }
    }
}

impl RecvBatch {
    /// Receives up to one packet per slot, each from byte `offset` of its head chunk on, and
    /// answers how many. They are told of by [`RecvBatch::received`] with the slot's index.
    ///
    /// # Errors
    /// `EAGAIN` when nothing waits; `ENETDOWN` once when the device went down; `EINVAL` when a
    /// packet was lost because its offloads have no form in `struct virtio_net_hdr`.
    pub fn recv(
        &mut self,
        socket: BorrowedFd<'_>,
        slots: &mut [RecvSlot],
        offset: usize,
    ) -> io::Result<usize> {
        self.len = 0;
        let count = slots.len().min(BATCH_LEN);
        for (i, slot) in slots.iter_mut().take(count).enumerate() {
            let pieces = &mut self.pieces[i];
            pieces[0] = iovec {
                iov_base: self.vnet_hdrs[i].as_mut_ptr().cast(),
                iov_len: VNET_HDR_SIZE,
            };
            let pieces_len = 1 + mmsg::describe(slot, offset, &mut pieces[1..]);
            let header = &mut self.messages[i].msg_hdr;
            header.msg_name = std::ptr::null_mut();
            header.msg_namelen = 0;
            header.msg_iov = pieces.as_mut_ptr();
            header.msg_iovlen = pieces_len as _;
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_SIZE as _;
            header.msg_flags = 0;
        }
        // SAFETY: the first `count` headers have just been filled from `self` and from `slots`,
        // both borrowed exclusively until after the call, so every pointer is valid for writes of
        // its length and aliases nothing.
        self.len = unsafe { mmsg::receive(socket, &mut self.messages[..count], 0)? };
        Ok(self.len)
    }

    /// What the last call put into slot `index`, or `None` when it put nothing there.
    #[must_use]
    pub fn received(&self, index: usize) -> Option<Received<'_>> {
        if index >= self.len {
            return None;
        }
        let message = &self.messages[index];
        let control = &self.controls[index].0;
        let control_len = message.msg_hdr.msg_controllen.min(CONTROL_SIZE);
        Some(Received {
            len: (message.msg_len as usize).saturating_sub(VNET_HDR_SIZE),
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            vnet_hdr: &self.vnet_hdrs[index],
            vlan: vlan_tag(&control[..control_len]),
        })
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Reads the VLAN tag out of a received control message: a `cmsghdr` with a `tpacket_auxdata`.
fn vlan_tag(control: &[u8]) -> Option<VlanTag> {
    const DATA: usize = size_of::<libc::cmsghdr>();
    let u16_at = |at: usize| Some(u16::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    let level = u32_at(mem::offset_of!(libc::cmsghdr, cmsg_level))?;
    let kind = u32_at(mem::offset_of!(libc::cmsghdr, cmsg_type))?;
    if (level, kind) != (libc::SOL_PACKET as u32, PACKET_AUXDATA as u32) {
        return None;
    }
    let status = u32_at(DATA + mem::offset_of!(libc::tpacket_auxdata, tp_status))?;
    if status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tci = u16_at(DATA + mem::offset_of!(libc::tpacket_auxdata, tp_vlan_tci))?;
    let tpid = if status & TP_STATUS_VLAN_TPID_VALID != 0 {
        u16_at(DATA + mem::offset_of!(libc::tpacket_auxdata, tp_vlan_tpid))?
    } else {
        ETH_P_8021Q
    };
    Some(VlanTag { tpid, tci })
}

/// The arrays behind `sendmmsg(2)`.
///
/// Invariant: as for [`RecvBatch`]; the pointers are dead when [`SendBatch::send`] returns.
pub struct SendBatch {
    messages: Box<[mmsghdr; BATCH_LEN]>,
    pieces: Box<[[iovec; SEND_PIECES + 1]; BATCH_LEN]>,
    vnet_hdrs: Box<[[u8; VNET_HDR_SIZE]; BATCH_LEN]>,
}

// SAFETY: as for `RecvBatch`.
unsafe impl Send for SendBatch {}

impl Default for SendBatch {
    fn default() -> Self {
        // SAFETY: `mmsghdr` and `iovec` are plain data of which all zeroes is a value.
        let (messages, pieces) = unsafe { (Box::new(mem::zeroed()), Box::new(mem::zeroed())) };
        Self {
            messages,
            pieces,
            vnet_hdrs: Box::new([[0; VNET_HDR_SIZE]; BATCH_LEN]),
        }
    }
}

impl SendBatch {
    /// Sends the first [`BATCH_LEN`] of `packets`, each an offload header and the pieces of the
    /// packet in order, and answers how many the kernel took before it refused one.
    ///
    /// Panics when a packet has more than [`SEND_PIECES`] pieces.
    ///
    /// # Errors
    /// What the kernel said of the first packet: `EAGAIN` and `ENOBUFS` when there is no room,
    /// `ENETDOWN` and `ENXIO` when the device is down or gone, `EMSGSIZE` when the packet is larger
    /// than the MTU, `EINVAL` when the offload header does not suit it.
    pub fn send<'p, Packets, Pieces>(
        &mut self,
        socket: BorrowedFd<'_>,
        packets: Packets,
    ) -> io::Result<usize>
    where
        Packets: Iterator<Item = ([u8; VNET_HDR_SIZE], Pieces)>,
        Pieces: Iterator<Item = &'p [u8]>,
    {
        let mut count = 0;
        for (vnet_hdr, bytes) in packets.take(BATCH_LEN) {
            self.vnet_hdrs[count] = vnet_hdr;
            let pieces = &mut self.pieces[count];
            pieces[0] = iovec {
                iov_base: self.vnet_hdrs[count].as_mut_ptr().cast(),
                iov_len: VNET_HDR_SIZE,
            };
            let mut pieces_len = 1;
            for piece in bytes {
                pieces[pieces_len] = iovec {
                    iov_base: piece.as_ptr().cast_mut().cast(),
                    iov_len: piece.len(),
                };
                pieces_len += 1;
            }
            let header = &mut self.messages[count].msg_hdr;
            header.msg_name = std::ptr::null_mut();
            header.msg_namelen = 0;
            header.msg_iov = pieces.as_mut_ptr();
            header.msg_iovlen = pieces_len;
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
            header.msg_flags = 0;
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` headers have just been filled; their pointers are to `self`,
        // borrowed until after the call, and to slices that live as long as `'p`, which is longer
        // than the call. The kernel only reads through them.
        unsafe { mmsg::send(socket, &mut self.messages[..count]) }
    }
}

impl fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control message as the kernel lays it out on a 64-bit machine.
    fn control(status: u32, tci: u16, tpid: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&36u64.to_ne_bytes());
        bytes.extend_from_slice(&263u32.to_ne_bytes());
        bytes.extend_from_slice(&8u32.to_ne_bytes());
        bytes.extend_from_slice(&status.to_ne_bytes());
        bytes.extend_from_slice(&60u32.to_ne_bytes());
        bytes.extend_from_slice(&60u32.to_ne_bytes());
        for word in [0u16, 14, tci, tpid] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn the_vlan_tag_is_read_from_the_control_message() {
        assert_eq!(vlan_tag(&control(0, 0, 0)), None);
        assert_eq!(
            vlan_tag(&control(0x10, 0x2064, 0)),
            Some(VlanTag {
                tpid: 0x8100,
                tci: 0x2064
            })
        );
        assert_eq!(
            vlan_tag(&control(0x50, 7, 0x88a8)),
            Some(VlanTag {
                tpid: 0x88a8,
                tci: 7
            })
        );
    }

    #[test]
    fn a_cut_control_message_holds_no_tag() {
        let whole = control(0x50, 7, 0x88a8);
        for len in 0..whole.len() {
            assert_eq!(vlan_tag(&whole[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_named_by_its_index() {
        let spec = PacketSocketSpec {
            ifindex: 0x7fff_fff0,
            receive_size: 1 << 16,
            send_size: 1 << 16,
            qdisc_bypass: false,
            promiscuous: false,
        };
        match open(&spec) {
            Err(PacketSocketError::NoDevice(index)) => assert_eq!(index, spec.ifindex),
            Err(PacketSocketError::NotPermitted) => {
                assert!(!rustix::process::geteuid().is_root());
            }
            other => panic!("{other:?}"),
        }
    }
}
