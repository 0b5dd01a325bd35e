//! UDP sockets that say of every datagram where it went and how, and that are told the same.
//!
//! For the privileged side: [`open`], which also finds out who has a port already. For the packet
//! process, which gets the descriptor: [`RecvBatch`] and [`SendBatch`], which need no privilege.
//! Nothing here knows what is in a datagram.
//!
//! Runs of datagrams of one size between the same two ends cross the kernel's stack as one, both
//! ways (`UDP_GRO`, `UDP_SEGMENT`): what is received may be several datagrams, cut every
//! [`Received::segment`] bytes, and what is sent may be cut by the kernel or the device.
//!
//! Cost: one system call for a batch of up to [`BATCH_LEN`] messages each way; the arrays for it are
//! made once and live as long as the batch.
//!
//! Spec: udp(7), ip(7), ipv6(7), net/ipv4/udp.c, net/ipv4/udp_offload.c.

use std::fmt;
use std::io;
use std::mem::{self, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::{c_int, c_void, iovec, mmsghdr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::mmsg::{self, Control, set_buffer_size, set_option};

pub use crate::mmsg::{BATCH_LEN, RecvSlot};

/// Datagrams that one message may stand for when it is sent (`UDP_MAX_SEGMENTS` of kernels before
/// 6.9; later ones take 128).
pub const SEGMENTS_MAX: usize = 64;

/// Bytes that one message may have: of an IPv4 packet without headers.
pub const MESSAGE_MAX: usize = 65_535 - 20 - 8;

/// Pieces of memory that all messages of one call may be gathered from.
const PIECES_MAX: usize = 1024;

/// Pieces that one message may have (`UIO_MAXIOV`).
const MESSAGE_PIECES_MAX: usize = 1024;

/// Bytes of control data of one message, either way: addresses, two numbers and a size.
const CONTROL_SIZE: usize = 160;

/// `SO_NO_CHECK` of asm-generic/socket.h
const SO_NO_CHECK: c_int = 11;
/// include/uapi/linux/udp.h
const UDP_NO_CHECK6_TX: c_int = 101;
const UDP_NO_CHECK6_RX: c_int = 102;
const UDP_SEGMENT: c_int = 103;
const UDP_GRO: c_int = 104;
/// `SK_MEMINFO_DROPS` of linux/sock_diag.h, and how many numbers there are.
const MEMINFO_DROPS: usize = 8;
const MEMINFO_LEN: usize = 9;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and nothing else.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// What a socket is to be like.
#[derive(Clone, Copy, Debug)]
pub struct UdpSocketSpec {
    /// Which family.
    pub family: Family,
    /// The port, at every address of the namespace.
    pub port: u16,
    /// Others may open the port as well, and the kernel spreads what comes by its addresses and
    /// ports. All of them have to say so.
    pub shared: bool,
    /// Bytes of datagrams that may wait to be read, counted as the kernel counts memory.
    pub receive_size: u32,
    /// Bytes of datagrams that may be on their way out.
    pub send_size: u32,
}

/// Why a socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum UdpSocketError {
    /// Somebody has the port.
    #[error("{0} UDP port {1} is in use")]
    InUse(Family, u16),
    /// The kernel has no such family.
    #[error("the kernel has no {0} here")]
    NoFamily(Family),
    /// Anything else.
    #[error("the kernel refused to {what} for {family} UDP port {port}: {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The family.
        family: Family,
        /// The port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Opens a non-blocking socket on a port, in the network namespace of the calling thread. It accepts
/// datagrams without a checksum.
///
/// # Errors
/// [`UdpSocketError`]; nothing is left behind.
pub fn open(spec: &UdpSocketSpec) -> Result<OwnedFd, UdpSocketError> {
    let failed = |what, source: io::Error| match source.raw_os_error() {
        Some(libc::EADDRINUSE) => UdpSocketError::InUse(spec.family, spec.port),
        Some(libc::EAFNOSUPPORT) => UdpSocketError::NoFamily(spec.family),
        _ => UdpSocketError::Kernel {
            what,
            family: spec.family,
            port: spec.port,
            source,
        },
    };
    let socket = create(spec.family).map_err(|error| failed("open a socket", error))?;
    let fd = socket.as_fd();
    let on: c_int = 1;
    let options: &[(c_int, c_int, &'static str)] = match spec.family {
        Family::V4 => &[
            (libc::SOL_IP, libc::IP_PKTINFO, "tell destinations"),
            (libc::SOL_IP, libc::IP_RECVTOS, "tell classes"),
            (libc::SOL_IP, libc::IP_RECVTTL, "tell lifetimes"),
        ],
        Family::V6 => &[
            (libc::SOL_IPV6, libc::IPV6_V6ONLY, "leave IPv4 out"),
            (libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, "tell destinations"),
            (libc::SOL_IPV6, libc::IPV6_RECVTCLASS, "tell classes"),
            (libc::SOL_IPV6, libc::IPV6_RECVHOPLIMIT, "tell lifetimes"),
            (libc::SOL_UDP, UDP_NO_CHECK6_RX, "accept zero checksums"),
        ],
    };
    for &(level, name, what) in options {
        set_option(fd, level, name, &on).map_err(|error| failed(what, error))?;
    }
    set_option(fd, libc::SOL_UDP, UDP_GRO, &on)
        .map_err(|error| failed("receive runs of datagrams", error))?;
    if spec.shared {
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, &on)
            .map_err(|error| failed("share the port", error))?;
    }
    let sizes = [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, spec.receive_size),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, spec.send_size),
    ];
    for (force, plain, size) in sizes {
        set_buffer_size(fd, force, plain, size).map_err(|error| failed("size a buffer", error))?;
    }
    set_fragmenting(fd, spec.family, Fragmenting::Never)
        .map_err(|error| failed("forbid fragments", error))?;
    let any = match spec.family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    rustix::net::bind(&socket, &SocketAddr::new(any, spec.port))
        .map_err(|error| failed("bind a socket", error.into()))?;
    Ok(socket)
}

/// Opens a non-blocking socket that only sends, from a port of the kernel's choice, in the network
/// namespace of the calling thread. What is sent to that port is dropped.
///
/// # Errors
/// [`UdpSocketError`]; nothing is left behind.
pub fn open_sender(family: Family, send_size: u32) -> Result<OwnedFd, UdpSocketError> {
    let failed = |what, source: io::Error| match source.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => UdpSocketError::NoFamily(family),
        _ => UdpSocketError::Kernel {
            what,
            family,
            port: 0,
            source,
        },
    };
    let socket = create(family).map_err(|error| failed("open a socket", error))?;
    let fd = socket.as_fd();
    // BPF_RET | BPF_K: accept 0 bytes of whatever comes.
    let mut filter = [libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: filter.as_mut_ptr(),
    };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
        .map_err(|error| failed("close the ears of a socket", error))?;
    set_buffer_size(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send_size)
        .map_err(|error| failed("size a buffer", error))?;
    set_fragmenting(fd, family, Fragmenting::Never)
        .map_err(|error| failed("forbid fragments", error))?;
    Ok(socket)
}

fn create(family: Family) -> io::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(domain, SocketType::DGRAM, flags, None)?)
}

/// Whether the kernel may cut datagrams that are larger than the way to their receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragmenting {
    /// It may, and so may routers: IPv4's "do not fragment" is not set.
    Allowed,
    /// It refuses them (`EMSGSIZE`) and tells routers not to cut.
    Never,
}

/// Says so for datagrams sent from now on.
///
/// # Errors
/// What `setsockopt(2)` answers.
pub fn set_fragmenting(
    socket: BorrowedFd<'_>,
    family: Family,
    fragmenting: Fragmenting,
) -> io::Result<()> {
    let value: c_int = match fragmenting {
        Fragmenting::Allowed => libc::IP_PMTUDISC_DONT,
        Fragmenting::Never => libc::IP_PMTUDISC_DO,
    };
    match family {
        Family::V4 => set_option(socket, libc::SOL_IP, libc::IP_MTU_DISCOVER, &value),
        // The values have the same meaning and the same numbers.
        Family::V6 => set_option(socket, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, &value),
    }
}

/// Has datagrams sent from now on carry a checksum, or a zero in its place. Runs of datagrams need
/// one: without, the kernel refuses them (`EINVAL`).
///
/// # Errors
/// What `setsockopt(2)` answers.
pub fn set_checksums(socket: BorrowedFd<'_>, family: Family, on: bool) -> io::Result<()> {
    let off = c_int::from(!on);
    match family {
        Family::V4 => set_option(socket, libc::SOL_SOCKET, SO_NO_CHECK, &off),
        Family::V6 => set_option(socket, libc::SOL_UDP, UDP_NO_CHECK6_TX, &off),
    }
}

/// How many datagrams found no room in the socket, since it was opened.
///
/// # Errors
/// What `getsockopt(2)` answers.
pub fn dropped(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut numbers = [0_u32; MEMINFO_LEN];
    let mut size = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `numbers`, both of which outlive the call;
    // any bytes are a value of it.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast::<c_void>(),
            &raw mut size,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(numbers[MEMINFO_DROPS])
}

/// Where a socket is bound.
///
/// # Errors
/// `InvalidData` when it is of another family, and what `getsockname(2)` answers.
pub fn local(socket: BorrowedFd<'_>) -> io::Result<(Family, u16)> {
    let address = SocketAddr::try_from(rustix::net::getsockname(socket)?)?;
    let family = match address {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    };
    Ok((family, address.port()))
}

/// A socket address as the kernel takes and gives it.
#[derive(Clone, Copy)]
#[repr(C)]
union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    family: libc::sa_family_t,
}

impl Address {
    fn empty() -> Self {
        // SAFETY: all zeroes is a value of every member.
        unsafe { mem::zeroed() }
    }

    fn family(&self) -> c_int {
        // SAFETY: the family is the first field of every member and always initialised.
        c_int::from(unsafe { self.family })
    }

    fn size(&self) -> libc::socklen_t {
        match self.family() {
            libc::AF_INET6 => size_of::<libc::sockaddr_in6>() as libc::socklen_t,
            _ => size_of::<libc::sockaddr_in>() as libc::socklen_t,
        }
    }

    /// `None` for another family than the two.
    fn get(&self) -> Option<SocketAddr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: every byte of an `Address` is initialised, and any bytes are a value.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::new(ip.into(), u16::from_be(v6.sin6_port)))
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let mut made = Self::empty();
        match address {
            SocketAddr::V4(address) => {
                made.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from(*address.ip()).to_be(),
                    },
                    sin_zero: [0; 8],
                };
            }
            SocketAddr::V6(address) => {
                made.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr {
                        s6_addr: address.ip().octets(),
                    },
                    sin6_scope_id: address.scope_id(),
                };
            }
        }
        made
    }
}

/// One message of a [`RecvBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the message, those included that found no room in its slot.
    pub len: usize,
    /// The message was longer than its slot and its end is lost.
    pub truncated: bool,
    /// Bytes of each datagram but the last; `None` when the message is one.
    pub segment: Option<u16>,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address it was sent to; `None` when the kernel did not say.
    pub to: Option<IpAddr>,
    /// TOS or traffic class, ECN included.
    pub tos: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
}

/// The arrays behind `recvmmsg(2)`.
///
/// Invariant: the pointers in `messages` and `pieces` are written by [`RecvBatch::recv`] before its
/// system call, from borrows that last through it, and are dead when it returns.
pub struct RecvBatch {
    messages: Box<[mmsghdr; BATCH_LEN]>,
    pieces: Box<[[iovec; 2]; BATCH_LEN]>,
    addresses: Box<[Address; BATCH_LEN]>,
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
            addresses: Box::new([Address::empty(); BATCH_LEN]),
            controls: Box::new([Control::EMPTY; BATCH_LEN]),
            len: 0,
        }
    }
}

impl RecvBatch {
    /// Receives up to one message per slot, each from byte `offset` of its head chunk on, and
    /// answers how many. They are told of by [`RecvBatch::received`] with the slot's index.
    ///
    /// # Errors
    /// `EAGAIN` when nothing waits.
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
            let pieces_len = mmsg::describe(slot, offset, pieces);
            let header = &mut self.messages[i].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut self.addresses[i]).cast();
            header.msg_namelen = size_of::<Address>() as libc::socklen_t;
            header.msg_iov = pieces.as_mut_ptr();
            header.msg_iovlen = pieces_len as _;
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_SIZE as _;
            header.msg_flags = 0;
        }
        // SAFETY: the first `count` headers have just been filled from `self` and from `slots`,
        // both borrowed exclusively until after the call, so every pointer is valid for writes of
        // its length and aliases nothing.
        self.len = unsafe { mmsg::receive(socket, &mut self.messages[..count], libc::MSG_TRUNC)? };
        Ok(self.len)
    }

    /// What the last call put into slot `index`, or `None` when it put nothing there.
    #[must_use]
    pub fn received(&self, index: usize) -> Option<Received> {
        if index >= self.len {
            return None;
        }
        let message = &self.messages[index];
        let control = &self.controls[index].0;
        let control_len = message.msg_hdr.msg_controllen.min(CONTROL_SIZE);
        let mut received = Received {
            len: message.msg_len as usize,
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            segment: None,
            from: self.addresses[index].get()?,
            to: None,
            tos: 0,
            ttl: 0,
        };
        read_control(&control[..control_len], &mut received);
        Some(received)
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Bytes of a control message's header: `struct cmsghdr`, which is a whole number of words.
const HEADER_SIZE: usize = size_of::<libc::cmsghdr>();

/// Reads what control messages say of a received message.
fn read_control(mut control: &[u8], received: &mut Received) {
    let number = |bytes: &[u8]| Some(c_int::from_ne_bytes(*bytes.first_chunk()?));
    while let Some(size) = control
        .first_chunk()
        .map(|bytes| usize::from_ne_bytes(*bytes))
    {
        let Some(data) = control.get(HEADER_SIZE..size) else {
            return;
        };
        let field = |at: usize| number(control.get(at..)?);
        let level = field(mem::offset_of!(libc::cmsghdr, cmsg_level));
        let kind = field(mem::offset_of!(libc::cmsghdr, cmsg_type));
        match (level.unwrap_or(-1), kind.unwrap_or(-1)) {
            (libc::SOL_IP, libc::IP_PKTINFO) => {
                let at = mem::offset_of!(libc::in_pktinfo, ipi_addr);
                let address = data.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
                received.to = address.map(|bytes| Ipv4Addr::from(*bytes).into());
            }
            (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                let address = data.first_chunk::<16>();
                received.to = address.map(|bytes| Ipv6Addr::from(*bytes).into());
            }
            (libc::SOL_IP, libc::IP_TOS) => {
                received.tos = data.first().copied().unwrap_or_default();
            }
            (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                received.tos = number(data).unwrap_or_default() as u8;
            }
            (libc::SOL_IP, libc::IP_TTL) | (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => {
                received.ttl = number(data).unwrap_or_default() as u8;
            }
            (libc::SOL_UDP, UDP_GRO) => {
                let size = number(data).and_then(|size| u16::try_from(size).ok());
                received.segment = size.filter(|&size| size > 0);
            }
            _ => {}
        }
        let next = size.next_multiple_of(size_of::<usize>());
        control = control.get(next..).unwrap_or_default();
    }
}

/// A message to be sent, its bytes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: SocketAddr,
    /// From which of our addresses; an unspecified one leaves it to the kernel.
    pub from: IpAddr,
    /// TOS or traffic class, ECN included.
    pub tos: u8,
    /// Time to live, or hop limit; 0 is the system's own.
    pub ttl: u8,
    /// Cut it into datagrams of this many bytes, the last may have fewer.
    pub segment: Option<u16>,
}

/// The arrays behind `sendmmsg(2)`.
///
/// Invariant: as for [`RecvBatch`]; the pointers are dead when [`SendBatch::send`] returns.
pub struct SendBatch {
    messages: Box<[mmsghdr; BATCH_LEN]>,
    pieces: Vec<iovec>,
    addresses: Box<[Address; BATCH_LEN]>,
    controls: Box<[Control<CONTROL_SIZE>; BATCH_LEN]>,
}

// SAFETY: as for `RecvBatch`.
unsafe impl Send for SendBatch {}

impl Default for SendBatch {
    fn default() -> Self {
        Self {
            // SAFETY: `mmsghdr` is plain data of which all zeroes is a value.
            messages: unsafe { Box::new(mem::zeroed()) },
            pieces: Vec::with_capacity(PIECES_MAX),
            addresses: Box::new([Address::empty(); BATCH_LEN]),
            controls: Box::new([Control::EMPTY; BATCH_LEN]),
        }
    }
}

impl SendBatch {
    /// Sends the first of `messages`, each with the pieces of its bytes in order, and answers how
    /// many the kernel took before it refused one. [`BATCH_LEN`] are sent at most, and only as many
    /// as have room for all their pieces; the first one always has.
    ///
    /// # Errors
    /// What the kernel said of the first message: `EAGAIN` and `ENOBUFS` when there is no room,
    /// `EMSGSIZE` when it is larger than the way takes, `ENETUNREACH` and `EHOSTUNREACH` without a
    /// way, `EINVAL` when it cannot be cut, or when its pieces are more than the kernel takes.
    pub fn send<'p, Messages, Pieces>(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: Messages,
    ) -> io::Result<usize>
    where
        Messages: Iterator<Item = (Outgoing, Pieces)>,
        Pieces: Iterator<Item = &'p [u8]>,
    {
        self.pieces.clear();
        let mut lens = [0_usize; BATCH_LEN];
        let mut count = 0;
        for (message, bytes) in messages.take(BATCH_LEN) {
            let before = self.pieces.len();
            self.pieces.extend(bytes.map(|piece| iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: piece.len(),
            }));
            let len = self.pieces.len() - before;
            if len > MESSAGE_PIECES_MAX {
                if count == 0 {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                break;
            }
            lens[count] = len;
            self.addresses[count] = message.to.into();
            let control = write_control(&message, &mut self.controls[count]);
            let header = &mut self.messages[count].msg_hdr;
            header.msg_namelen = self.addresses[count].size();
            header.msg_controllen = control as _;
            header.msg_flags = 0;
            count += 1;
            if self.pieces.len() > PIECES_MAX - 64 {
                break;
            }
        }
        if count == 0 {
            return Ok(0);
        }
        let mut at = 0;
        for (i, len) in lens.iter().take(count).enumerate() {
            let header = &mut self.messages[i].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut self.addresses[i]).cast();
            header.msg_iov = self.pieces[at..at + len].as_mut_ptr();
            header.msg_iovlen = *len as _;
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            at += len;
        }
        // SAFETY: the first `count` headers have just been filled; their pointers are to `self`,
        // borrowed until after the call and not changed since, and to slices that live as long as
        // `'p`, which is longer than the call. The kernel only reads through them.
        unsafe { mmsg::send(socket, &mut self.messages[..count]) }
    }
}

impl fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatch").finish_non_exhaustive()
    }
}

/// Writes the control messages of one that is to be sent; answers their bytes.
fn write_control(message: &Outgoing, control: &mut Control<CONTROL_SIZE>) -> usize {
    let mut writer = ControlWriter {
        bytes: &mut control.0,
        len: 0,
    };
    let (tos, ttl) = (c_int::from(message.tos), c_int::from(message.ttl));
    match (message.to, message.from) {
        (SocketAddr::V4(_), IpAddr::V4(from)) => {
            if !from.is_unspecified() {
                // struct in_pktinfo: the device (any), the source, and a destination unused here.
                let mut info = [0; size_of::<libc::in_pktinfo>()];
                let at = mem::offset_of!(libc::in_pktinfo, ipi_spec_dst);
                info[at..at + 4].copy_from_slice(&from.octets());
                writer.push(libc::SOL_IP, libc::IP_PKTINFO, &info);
            }
            writer.push(libc::SOL_IP, libc::IP_TOS, &tos.to_ne_bytes());
            if ttl > 0 {
                writer.push(libc::SOL_IP, libc::IP_TTL, &ttl.to_ne_bytes());
            }
        }
        (_, from) => {
            if let IpAddr::V6(from) = from
                && !from.is_unspecified()
            {
                // struct in6_pktinfo: the source, and the device (any).
                let mut info = [0; size_of::<libc::in6_pktinfo>()];
                info[..16].copy_from_slice(&from.octets());
                writer.push(libc::SOL_IPV6, libc::IPV6_PKTINFO, &info);
            }
            writer.push(libc::SOL_IPV6, libc::IPV6_TCLASS, &tos.to_ne_bytes());
            if ttl > 0 {
                writer.push(libc::SOL_IPV6, libc::IPV6_HOPLIMIT, &ttl.to_ne_bytes());
            }
        }
    }
    if let Some(segment) = message.segment {
        writer.push(libc::SOL_UDP, UDP_SEGMENT, &segment.to_ne_bytes());
    }
    writer.len
}

struct ControlWriter<'a> {
    bytes: &'a mut [u8; CONTROL_SIZE],
    len: usize,
}

impl ControlWriter<'_> {
    fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let size = HEADER_SIZE + data.len();
        let end = self.len + size.next_multiple_of(size_of::<usize>());
        // All that a message can have together is less; `all_control_fits` sees to it.
        let place = &mut self.bytes[self.len..end];
        place.fill(0);
        place[..size_of::<usize>()].copy_from_slice(&size.to_ne_bytes());
        let level_at = mem::offset_of!(libc::cmsghdr, cmsg_level);
        place[level_at..level_at + 4].copy_from_slice(&level.to_ne_bytes());
        let kind_at = mem::offset_of!(libc::cmsghdr, cmsg_type);
        place[kind_at..kind_at + 4].copy_from_slice(&kind.to_ne_bytes());
        place[HEADER_SIZE..size].copy_from_slice(data);
        self.len = end;
    }
}

#[cfg(test)]
mod tests;
