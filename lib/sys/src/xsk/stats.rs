//! What the kernel counts for a socket.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::net::sockopt;

/// Packets that a socket lost or refused (`XDP_STATISTICS`), since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Received packets lost for want of a chunk in the fill ring or for being too large.
    pub rx_dropped: u64,
    /// Fill entries that name no chunk of the UMEM.
    pub rx_invalid: u64,
    /// Received packets lost because we had not read the receive ring.
    pub rx_ring_full: u64,
    /// Times that the kernel looked for a chunk and the fill ring was empty. In copy mode each is
    /// also in `rx_dropped`.
    pub rx_fill_empty: u64,
    /// Transmit entries that the kernel refused.
    pub tx_invalid: u64,
    /// Times that the transmit ring was found empty; no loss.
    pub tx_ring_empty: u64,
}

impl Statistics {
    pub(super) fn read(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let s = sockopt::xdp_statistics(socket)?;
        Ok(Self {
            rx_dropped: s.rx_dropped,
            rx_invalid: s.rx_invalid_descs,
            rx_ring_full: s.rx_ring_full.unwrap_or(0),
            rx_fill_empty: s.rx_fill_ring_empty_descs.unwrap_or(0),
            tx_invalid: s.tx_invalid_descs,
            tx_ring_empty: s.tx_ring_empty_descs.unwrap_or(0),
        })
    }

    /// All received packets that were lost before us.
    #[must_use]
    pub fn rx_lost(&self) -> u64 {
        self.rx_dropped + self.rx_ring_full
    }
}
