//! Maps from queues to sockets, and counters. The table of an uplink has a room of its own
//! ([`super::steer`]).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::call::{Command, MapCreate, MapElement, bpf, bpf_fd, object_name};

/// `BPF_MAP_TYPE_ARRAY`
const TYPE_ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_XSKMAP`
const TYPE_XSKMAP: u32 = 17;

fn create(kind: u32, value_size: u32, len: u32, name: &str) -> io::Result<OwnedFd> {
    create_with(MapCreate {
        kind,
        key_size: 4,
        value_size,
        max_entries: len,
        name: object_name(name),
        ..MapCreate::default()
    })
}

/// A map of any kind.
pub(super) fn create_with(mut attr: MapCreate) -> io::Result<OwnedFd> {
    // SAFETY: the struct is that of MAP_CREATE, which makes a descriptor and follows no address.
    unsafe { bpf_fd(Command::MapCreate, &mut attr) }
}

/// A map from receive queue number to AF_XDP socket, which an XDP program redirects to.
#[derive(Debug)]
pub struct XskMap(OwnedFd);

impl XskMap {
    /// An empty map for queues `0..len`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`.
    pub fn new(len: u32) -> io::Result<Self> {
        create(TYPE_XSKMAP, 4, len, "vswitch_xsks").map(Self)
    }

    /// The map behind a descriptor that another process made with [`XskMap::new`]; the calls below
    /// answer an error when it is something else.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Directs `queue` to `socket`, which must be bound to it. The entry ends with the socket.
    ///
    /// # Errors
    /// `E2BIG` when the map has no such queue, `EOPNOTSUPP` when `socket` is no AF_XDP socket.
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let value = socket.as_raw_fd() as u32;
        let mut attr = MapElement {
            map_fd: self.0.as_raw_fd() as u32,
            key: std::ptr::from_ref(&queue).addr() as u64,
            value: std::ptr::from_ref(&value).addr() as u64,
            ..MapElement::default()
        };
        // SAFETY: key and value are the four-byte locals above; every map with a key of another
        // size that `from_fd` may hold would have been made by the same privileged process.
        unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
    }

    /// Empties the slot of `queue`: its packets go where the program says for empty slots.
    ///
    /// # Errors
    /// `ENOENT` when the slot is empty.
    pub fn remove(&self, queue: u32) -> io::Result<()> {
        let mut attr = MapElement {
            map_fd: self.0.as_raw_fd() as u32,
            key: std::ptr::from_ref(&queue).addr() as u64,
            ..MapElement::default()
        };
        // SAFETY: as in `set`; the command reads the key only.
        unsafe { bpf(Command::MapDelete, &mut attr) }.map(drop)
    }

    /// Ends the handle, keeps the descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for XskMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An array of `u64` that programs count in.
#[derive(Debug)]
pub struct Counters(OwnedFd);

impl Counters {
    /// `len` counters, all zero.
    ///
    /// # Errors
    /// `EPERM` without `CAP_BPF`.
    pub fn new(len: u32) -> io::Result<Self> {
        create(TYPE_ARRAY, 8, len, "vswitch_counts").map(Self)
    }

    /// The value of counter `index`.
    ///
    /// # Errors
    /// `ENOENT` when there is no such counter.
    pub fn read(&self, index: u32) -> io::Result<u64> {
        let mut value = 0_u64;
        let mut attr = MapElement {
            map_fd: self.0.as_raw_fd() as u32,
            key: std::ptr::from_ref(&index).addr() as u64,
            value: std::ptr::from_mut(&mut value).addr() as u64,
            ..MapElement::default()
        };
        // SAFETY: the map was made by `new` with keys of four and values of eight bytes, which is
        // what the locals are.
        unsafe { bpf(Command::MapLookup, &mut attr) }?;
        Ok(value)
    }

    /// Sets counter `index`.
    ///
    /// # Errors
    /// `E2BIG` when there is no such counter.
    pub fn write(&self, index: u32, value: u64) -> io::Result<()> {
        let mut attr = MapElement {
            map_fd: self.0.as_raw_fd() as u32,
            key: std::ptr::from_ref(&index).addr() as u64,
            value: std::ptr::from_ref(&value).addr() as u64,
            ..MapElement::default()
        };
        // SAFETY: as in `read`; the command only reads both.
        unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
    }
}

impl AsFd for Counters {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
