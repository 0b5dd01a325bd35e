//! What the socket's errors mean for the counters, and what only the kernel counts.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use vswitch_sys::packet_socket;

use super::PacketQueue;
use crate::port::RxStatus;

impl PacketQueue {
    /// A receive call brought nothing.
    pub(super) fn count_rx_error(&mut self, error: &io::Error) -> RxStatus {
        match Errno::from_io_error(error) {
            Some(Errno::AGAIN) => RxStatus::Drained,
            Some(Errno::INTR) => RxStatus::More,
            // A packet whose offloads have no form in the header: the kernel has given it up.
            Some(Errno::INVAL) => {
                self.counters.rx_errors += 1;
                RxStatus::More
            }
            // ENETDOWN is told once; the socket wakes by itself when the device is up again, unless
            // it was deleted.
            _ => RxStatus::Down,
        }
    }

    /// The kernel refused the first of `left` packets. Answers how many are lost by it.
    pub(super) fn count_tx_error(&mut self, error: &io::Error, left: usize) -> usize {
        match Errno::from_io_error(error) {
            Some(Errno::INTR) => 0,
            // The socket's send buffer is full: the others would find the same.
            Some(Errno::AGAIN | Errno::NOMEM) => {
                self.counters.tx_no_room += left as u64;
                left
            }
            // The device's queue took no more; for the next there may be room.
            Some(Errno::NOBUFS) => {
                self.counters.tx_no_room += 1;
                1
            }
            Some(Errno::NETDOWN | Errno::NXIO | Errno::NODEV) => {
                self.counters.tx_down += left as u64;
                left
            }
            _ => {
                self.counters.tx_errors += 1;
                1
            }
        }
    }

    /// Adds the packets that found no room in the socket.
    pub(super) fn add_kernel_drops(&mut self) {
        if let Ok(statistics) = packet_socket::statistics(self.fd.as_fd()) {
            self.counters.rx_dropped += u64::from(statistics.drops);
        }
    }
}
