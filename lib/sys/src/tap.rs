//! TAP devices: making them, joining them, and asking what has become of them.
//!
//! For the privileged side. The descriptors made here are handed to the packet process, which
//! reads and writes them with plain vectored I/O and needs no privilege for it. Not for moving
//! packets, and not for addresses, link state or MTU, which are set by netlink.
//!
//! Law: every read and write on a queue carries [`VNET_HDR_SIZE`] bytes of `struct virtio_net_hdr`
//! before the Ethernet header, in the byte order of the host, and no `struct tun_pi`.
//!
//! A device is made in the network namespace of the calling thread. It may be moved and renamed
//! later without touching its descriptors: [`device_name`] and [`device_namespace`] tell what it
//! is called and where it is now.
//!
//! Spec: Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h, drivers/net/tun.c.

use std::ffi::c_char;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::ioctl;

/// Bytes of header before each packet: `struct virtio_net_hdr_v1_hash_tunnel`, of which the first
/// ten are `struct virtio_net_hdr`. A kernel that does not know the longer form leaves the rest
/// alone, so that one size serves them all.
pub const VNET_HDR_SIZE: usize = 24;

/// Queues that the kernel lets a device have (`MAX_TAP_QUEUES`).
pub const MAX_QUEUES: u16 = 256;

/// Bytes of a device name without its terminating zero (`IFNAMSIZ` - 1).
const NAME_LEN_MAX: usize = libc::IFNAMSIZ - 1;

const TUNSETIFF: ioctl::Opcode = ioctl::opcode::write::<libc::c_int>(b'T', 202);
const TUNSETPERSIST: ioctl::Opcode = ioctl::opcode::write::<libc::c_int>(b'T', 203);
const TUNSETOFFLOAD: ioctl::Opcode = ioctl::opcode::write::<libc::c_uint>(b'T', 208);
const TUNGETIFF: ioctl::Opcode = ioctl::opcode::read::<libc::c_uint>(b'T', 210);
const TUNSETVNETHDRSZ: ioctl::Opcode = ioctl::opcode::write::<libc::c_int>(b'T', 216);
const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;

const IFF_TAP: u16 = 0x0002;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const IFF_TUN_EXCL: u16 = 0x8000;
const IFF_PERSIST: u16 = 0x0800;

/// What the kernel may hand us unfinished (`TUN_F_*`), as a set.
///
/// This governs the direction into the switch. In the other the kernel takes every kind of
/// unfinished packet that it knows, whatever the set says, except tunnelled super-frames.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct TapOffloads(u32);

impl TapOffloads {
    /// Partial checksums; the ground of all others.
    pub const CSUM: Self = Self(0x01);
    /// TCP over IPv4 super-frames.
    pub const TSO4: Self = Self(0x02);
    /// TCP over IPv6 super-frames.
    pub const TSO6: Self = Self(0x04);
    /// TCP super-frames with CWR set.
    pub const TSO_ECN: Self = Self(0x08);
    /// UDP super-frames over IPv4 and IPv6 (Linux 6.2), which only come together.
    pub const USO: Self = Self(0x20 | 0x40);
    /// Super-frames inside a UDP tunnel (Linux 6.17).
    pub const UDP_TUNNEL: Self = Self(0x080);
    /// The same, with a checksum in the outer UDP header.
    pub const UDP_TUNNEL_CSUM: Self = Self(0x100);

    /// Every bit with its name, each after the ones that the kernel demands for it.
    const LADDER: [(Self, &'static str); 7] = [
        (Self::CSUM, "csum"),
        (Self::TSO4, "tso4"),
        (Self::TSO6, "tso6"),
        (Self::TSO_ECN, "ecn"),
        (Self::USO, "uso"),
        (Self::UDP_TUNNEL, "tunnel"),
        (Self::UDP_TUNNEL_CSUM, "tunnel-csum"),
    ];

    /// All that the switch can make use of.
    #[must_use]
    pub fn all() -> Self {
        Self::LADDER
            .iter()
            .fold(Self::default(), |set, (bit, _)| set.with(*bit))
    }

    /// Whether everything in `other` is in this set.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// This set and `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits as `TUNSETOFFLOAD` takes them.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The set of the `TUN_F_*` bits in `bits`; bits that the switch does not use are left out.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & Self::all().0)
    }
}

impl fmt::Display for TapOffloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (bit, name) in Self::LADDER {
            if self.has(bit) {
                write!(f, "{separator}{name}")?;
                separator = " ";
            }
        }
        if separator.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TapOffloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TapOffloads({self})")
    }
}

/// Why a TAP device could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name breaks the kernel's rules.
    #[error(
        "{0:?} is no device name: 1 to {NAME_LEN_MAX} bytes without '/', ':' or white space, \
         and neither \".\" nor \"..\""
    )]
    Name(String),
    /// The number of queues is out of range.
    #[error("a TAP device has 1 to {MAX_QUEUES} queues, not {0}")]
    Queues(u16),
    /// The node that all TAP devices are made through.
    #[error(
        "cannot open /dev/net/tun: {0}; the kernel needs the tun driver and the caller the \
         right to open the node"
    )]
    Node(#[source] io::Error),
    /// A device of that name exists, and was to be made.
    #[error("a device named {0} exists already; take another name or join it")]
    Exists(String),
    /// A device of that name exists and does not take the queue.
    #[error(
        "the device {0} exists and is not a multi-queue TAP device with offload headers \
         (`ip -d link show {0}` tells what it is); remove it or take another name"
    )]
    OtherKind(String),
    /// All queues of the device are taken, or it is held by somebody else.
    #[error("the TAP device {0} is in use by another process")]
    Busy(String),
    /// CAP_NET_ADMIN is missing in the namespace.
    #[error("making or joining the TAP device {0} needs CAP_NET_ADMIN in its network namespace")]
    NotPermitted(String),
    /// Anything else.
    #[error("the kernel refused to {what} the TAP device {name}: {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The device.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What [`open`] is to make or join.
#[derive(Clone, Copy, Debug)]
pub struct TapSpec<'a> {
    /// The device's name; a `%d` in it is replaced by a free number.
    pub name: &'a str,
    /// How many queues, each with a descriptor of its own.
    pub queues: u16,
    /// Refuse when a device of that name exists, instead of joining it.
    pub exclusive: bool,
    /// What the kernel may hand over unfinished, as far as it can.
    pub offloads: TapOffloads,
}

/// A TAP device that is held by its queues. It goes when the last of them is closed, unless
/// [`set_persist`] says otherwise.
#[derive(Debug)]
pub struct Tap {
    /// The name it was given.
    pub name: String,
    /// A non-blocking descriptor per queue.
    pub queues: Vec<OwnedFd>,
    /// What of the offloads asked for the kernel has.
    pub offloads: TapOffloads,
}

/// Makes or joins a TAP device in the network namespace of the calling thread.
///
/// # Errors
/// [`TapError`]; nothing is left behind.
pub fn open(spec: &TapSpec<'_>) -> Result<Tap, TapError> {
    check_name(spec.name)?;
    if spec.queues == 0 || spec.queues > MAX_QUEUES {
        return Err(TapError::Queues(spec.queues));
    }
    let mut name = spec.name.to_owned();
    let mut queues = Vec::with_capacity(usize::from(spec.queues));
    for i in 0..spec.queues {
        let fd = open_node().map_err(TapError::Node)?;
        let exclusive = spec.exclusive && i == 0;
        name = attach(fd.as_fd(), &name, exclusive)
            .map_err(|source| explain(&name, exclusive, source))?;
        let size = VNET_HDR_SIZE as libc::c_int;
        // SAFETY: the request reads one `int` from the address of `size`.
        unsafe {
            ioctl::ioctl(
                &fd,
                ioctl::Setter::<TUNSETVNETHDRSZ, libc::c_int>::new(size),
            )
        }
        .map_err(|e| kernel("set the header size of", &name, e.into()))?;
        queues.push(fd);
    }
    let offloads = set_offloads(queues[0].as_fd(), spec.offloads)
        .map_err(|e| kernel("set the offloads of", &name, e))?;
    Ok(Tap {
        name,
        queues,
        offloads,
    })
}

/// Asks for `wanted` and answers what of it the kernel has; the rest is switched off.
///
/// # Errors
/// What the kernel answers when it refuses even the empty set, as it does on a deleted device.
pub fn set_offloads(queue: BorrowedFd<'_>, wanted: TapOffloads) -> io::Result<TapOffloads> {
    // All at once first: on a device that carries traffic the steps below would be felt.
    if set_offload_bits(queue, wanted.bits()).is_ok() {
        return Ok(wanted);
    }
    set_offload_bits(queue, 0)?;
    let mut have = TapOffloads::default();
    for (bit, _) in TapOffloads::LADDER {
        if wanted.has(bit) && set_offload_bits(queue, have.with(bit).bits()).is_ok() {
            have = have.with(bit);
        }
    }
    Ok(have)
}

/// Whether the device stays when its last queue is closed.
///
/// # Errors
/// `EBADFD` when the device is gone.
pub fn set_persist(queue: BorrowedFd<'_>, persist: bool) -> io::Result<()> {
    // SAFETY: the request takes its argument by value.
    unsafe {
        ioctl::ioctl(
            queue,
            ioctl::IntegerSetter::<TUNSETPERSIST>::new_usize(usize::from(persist)),
        )
    }?;
    Ok(())
}

/// What a queue's device is called now.
///
/// # Errors
/// `EBADFD` when the device is gone.
pub fn device_name(queue: BorrowedFd<'_>) -> io::Result<String> {
    // SAFETY: the request writes one `struct ifreq`, although its number says `unsigned int`.
    let request = unsafe { ioctl::ioctl(queue, ioctl::Getter::<TUNGETIFF, libc::ifreq>::new()) }?;
    Ok(name_of(&request))
}

/// Whether a queue's device stays when its last queue is closed.
///
/// # Errors
/// `EBADFD` when the device is gone.
pub fn is_persistent(queue: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: as in `device_name`.
    let request = unsafe { ioctl::ioctl(queue, ioctl::Getter::<TUNGETIFF, libc::ifreq>::new()) }?;
    // SAFETY: the kernel has written the flags member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags } as u16;
    Ok(flags & IFF_PERSIST != 0)
}

/// The network namespace that a queue's device is in now.
///
/// `SIOCGSKNS` on the same descriptor would answer the namespace in which it was opened, whatever
/// has become of the device.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN there, `EBADFD` when the device is gone, `ENOTTY` before
/// Linux 5.9.
pub fn device_namespace(queue: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument.
    let fd: RawFd = unsafe { libc::ioctl(queue.as_raw_fd(), TUNGETDEVNETNS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kernel's rules for a device name (`dev_valid_name`), in words instead of `EINVAL`.
fn check_name(name: &str) -> Result<(), TapError> {
    let bad = |c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace();
    if name.is_empty()
        || name.len() > NAME_LEN_MAX
        || name == "."
        || name == ".."
        || name.contains(bad)
    {
        return Err(TapError::Name(name.to_owned()));
    }
    Ok(())
}

fn open_node() -> io::Result<OwnedFd> {
    // Non-blocking is also what lets the driver build small packets without a copy of the header
    // (`tun_can_build_skb`).
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    Ok(file.into())
}

/// Joins `queue` to the device `name`, and answers the name in full.
fn attach(queue: BorrowedFd<'_>, name: &str, exclusive: bool) -> io::Result<String> {
    let mut flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    if exclusive {
        flags |= IFF_TUN_EXCL;
    }
    // SAFETY: `ifreq` is plain data of which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the request reads and writes one `struct ifreq`, although its number says `int`.
    unsafe {
        ioctl::ioctl(
            queue,
            ioctl::Updater::<TUNSETIFF, libc::ifreq>::new(&mut request),
        )
    }?;
    Ok(name_of(&request))
}

fn set_offload_bits(queue: BorrowedFd<'_>, bits: u32) -> io::Result<()> {
    // SAFETY: the request takes its argument by value.
    unsafe {
        ioctl::ioctl(
            queue,
            ioctl::IntegerSetter::<TUNSETOFFLOAD>::new_usize(bits as usize),
        )
    }?;
    Ok(())
}

fn name_of(request: &libc::ifreq) -> String {
    request
        .ifr_name
        .iter()
        .take_while(|&&c| c != 0)
        .map(|&c| char::from(c as u8))
        .collect()
}

fn kernel(what: &'static str, name: &str, source: io::Error) -> TapError {
    TapError::Kernel {
        what,
        name: name.to_owned(),
        source,
    }
}

/// Puts into words what the kernel means when it does not let us join a device.
fn explain(name: &str, exclusive: bool, source: io::Error) -> TapError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::EBUSY) if exclusive => TapError::Exists(name),
        Some(libc::EBUSY) => TapError::Busy(name),
        Some(libc::EINVAL | libc::EEXIST) => TapError::OtherKind(name),
        Some(libc::EPERM) => TapError::NotPermitted(name),
        _ => TapError::Kernel {
            what: "make or join",
            name,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TAP devices need CAP_NET_ADMIN; an unprivileged test run still checks the rest.
    fn tap(name: &str, queues: u16) -> Option<Tap> {
        let spec = TapSpec {
            name,
            queues,
            exclusive: true,
            offloads: TapOffloads::all(),
        };
        match open(&spec) {
            Ok(tap) => Some(tap),
            Err(TapError::NotPermitted(_) | TapError::Node(_))
                if !rustix::process::geteuid().is_root() =>
            {
                None
            }
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn a_bad_name_is_refused_before_the_kernel_is_asked() {
        for name in ["", "a/b", "a b", "..", "sixteen-bytes-16", "a:b"] {
            let spec = TapSpec {
                name,
                queues: 1,
                exclusive: false,
                offloads: TapOffloads::default(),
            };
            assert!(matches!(open(&spec), Err(TapError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn queues_out_of_range_are_refused() {
        for queues in [0, 257] {
            let spec = TapSpec {
                name: "vstq%d",
                queues,
                exclusive: false,
                offloads: TapOffloads::default(),
            };
            assert!(matches!(open(&spec), Err(TapError::Queues(_))));
        }
    }

    #[test]
    fn a_device_has_its_queues_and_at_least_tcp_offloads() {
        let Some(tap) = tap("vsttap%d", 2) else {
            return;
        };
        assert_eq!(tap.queues.len(), 2);
        for queue in &tap.queues {
            assert_eq!(device_name(queue.as_fd()).expect("attached"), tap.name);
        }
        let tcp = TapOffloads::CSUM
            .with(TapOffloads::TSO4)
            .with(TapOffloads::TSO6);
        assert!(tap.offloads.has(tcp), "{}", tap.offloads);
        assert!(!is_persistent(tap.queues[0].as_fd()).expect("attached"));
    }

    #[test]
    fn a_name_that_exists_is_refused_when_it_was_to_be_new_and_joined_otherwise() {
        let Some(first) = tap("vstexc%d", 1) else {
            return;
        };
        let mut spec = TapSpec {
            name: &first.name,
            queues: 1,
            exclusive: true,
            offloads: TapOffloads::default(),
        };
        assert!(matches!(open(&spec), Err(TapError::Exists(_))));
        spec.exclusive = false;
        let second = open(&spec).expect("joined");
        assert_eq!(second.name, first.name);
        spec.name = "lo";
        assert!(matches!(open(&spec), Err(TapError::OtherKind(_))));
    }

    #[test]
    fn a_set_of_offloads_reads_well_and_survives_its_bits() {
        let set = TapOffloads::CSUM.with(TapOffloads::USO);
        assert_eq!(set.to_string(), "csum uso");
        assert_eq!(TapOffloads::from_bits(set.bits()), set);
        assert_eq!(TapOffloads::default().to_string(), "none");
        assert!(!TapOffloads::all().without(TapOffloads::USO).has(set));
    }
}
