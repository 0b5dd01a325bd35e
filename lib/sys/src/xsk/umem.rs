//! The memory that sockets share, and which of them may lend it to the next.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::net::sockopt;
use rustix::net::xdp::{XdpUmemReg, XdpUmemRegFlags};

use crate::memory::{CHUNK_SIZE, Region};

/// `XDP_UMEM_TX_METADATA_LEN` of linux/if_xdp.h: there is metadata before transmitted packets.
const REG_TX_METADATA: u32 = 1 << 2;

/// Bytes of `struct xsk_tx_metadata`, which lies before a packet that needs its checksum finished.
/// With metadata registered, every transmitted buffer must have these bytes before it in its chunk
/// (`xp_aligned_validate_desc`), used or not.
pub const TX_METADATA_SIZE: usize = 24;

/// What sockets must have in common to share one registration of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The driver reads and writes the chunks itself.
    pub(super) zero_copy: bool,
    /// A packet may take several chunks.
    pub(super) multi_buffer: bool,
}

#[derive(Debug)]
struct Donor {
    socket: Weak<OwnedFd>,
    kind: Kind,
    metadata: bool,
}

/// The chunks of a region as the UMEM of any number of sockets.
#[derive(Debug)]
pub struct SharedUmem {
    region: &'static Region,
    /// Bound sockets whose registration others may join. The lock is held while one binds and
    /// while one closes, so that a socket that ends is not kept alive by another that binds.
    donors: Mutex<Vec<Donor>>,
}

impl SharedUmem {
    /// The chunks of `region`, not registered yet.
    #[must_use]
    pub fn new(region: &'static Region) -> Self {
        Self {
            region,
            donors: Mutex::default(),
        }
    }

    /// The memory.
    #[must_use]
    pub fn region(&self) -> &'static Region {
        self.region
    }

    /// Tries `join` with every live socket of `kind`, until one is taken. `join` says whether the
    /// socket it was given can be joined. Answers whether the registration has metadata.
    pub(super) fn join(
        &self,
        kind: Kind,
        mut join: impl FnMut(BorrowedFd<'_>) -> io::Result<bool>,
    ) -> io::Result<Option<bool>> {
        let mut donors = self.donors.lock().unwrap_or_else(PoisonError::into_inner);
        donors.retain(|donor| donor.socket.strong_count() > 0);
        for donor in donors.iter().filter(|donor| donor.kind == kind) {
            if let Some(socket) = donor.socket.upgrade()
                && join(socket.as_fd())?
            {
                return Ok(Some(donor.metadata));
            }
        }
        Ok(None)
    }

    /// Registers the memory with `socket`. Answers whether there is room for transmit metadata,
    /// which kernels before 6.8 do not know.
    pub(super) fn register(&self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let mut request = XdpUmemReg {
            addr: self.region.umem_base().as_ptr().addr() as u64,
            len: self.region.umem_size() as u64,
            chunk_size: CHUNK_SIZE as u32,
            headroom: 0,
            flags: XdpUmemRegFlags::from_bits_retain(REG_TX_METADATA),
            tx_metadata_len: TX_METADATA_SIZE as u32,
        };
        // The memory is never unmapped (`Region::leak`), so the kernel may keep the address.
        match sockopt::set_xdp_umem_reg(socket, request) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::INVAL) => {
                request.flags = XdpUmemRegFlags::empty();
                request.tx_metadata_len = 0;
                sockopt::set_xdp_umem_reg(socket, request)?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets later sockets join the registration of `socket`, which is bound.
    pub(super) fn offer(&self, socket: &Arc<OwnedFd>, kind: Kind, metadata: bool) {
        let donor = Donor {
            socket: Arc::downgrade(socket),
            kind,
            metadata,
        };
        self.donors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(donor);
    }

    /// Closes `socket` while nobody binds against it.
    pub(super) fn close(&self, socket: Arc<OwnedFd>) {
        let _donors = self.donors.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = Arc::into_inner(socket);
        debug_assert!(socket.is_some(), "others hold a socket under the lock only");
    }
}
