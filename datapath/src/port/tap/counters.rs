//! What the driver's errors mean for the counters.

use rustix::io::Errno;

use super::TapQueue;
use crate::port::RxStatus;

impl TapQueue {
    /// A read brought no packet.
    pub(super) fn count_rx_error(&mut self, error: Errno) -> RxStatus {
        match error {
            Errno::AGAIN => RxStatus::Drained,
            Errno::INTR => RxStatus::More,
            // A packet whose offloads have no form in the header: the driver has given it up.
            Errno::INVAL => {
                self.counters.rx_errors += 1;
                RxStatus::More
            }
            // EBADFD: the descriptor has outlived its device.
            _ => RxStatus::Down,
        }
    }

    /// A write was refused, and the packet is lost.
    pub(super) fn count_tx_error(&mut self, error: Errno) {
        match error {
            // EIO: the device is set down. EBADFD: it is gone.
            Errno::IO | Errno::BADFD => self.counters.tx_down += 1,
            Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => self.counters.tx_no_room += 1,
            _ => self.counters.tx_errors += 1,
        }
    }
}
