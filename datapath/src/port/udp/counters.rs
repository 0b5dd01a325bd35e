//! What the socket's errors mean for the counters, and what only the kernel counts.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use vswitch_sys::udp_socket;

use super::UdpQueue;
use crate::port::RxStatus;

/// What becomes of a message that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nothing: it is sent again.
    Again,
    /// It is lost and counted, and the others are tried.
    This,
    /// It is lost and counted, and so are all others.
    All,
    /// Its datagrams are sent one by one.
    Alone,
}

impl UdpQueue {
    /// What it means that a receive call brought nothing.
    pub(super) fn read_rx_error(error: &io::Error) -> RxStatus {
        match Errno::from_io_error(error) {
            Some(Errno::AGAIN) => RxStatus::Drained,
            // An error about something that was sent, told once; what waits is still there.
            _ => RxStatus::More,
        }
    }

    /// The kernel refused a message of `len` datagrams, the first of `left`.
    pub(super) fn count_tx_error(&mut self, error: &io::Error, len: usize, left: usize) -> Refused {
        let counters = &mut self.counters;
        match Errno::from_io_error(error) {
            Some(Errno::INTR) => Refused::Again,
            // The socket's send buffer is full: the others would find the same.
            Some(Errno::AGAIN | Errno::NOMEM) => {
                counters.tx_no_room += left as u64;
                Refused::All
            }
            // The device's queue took no more; for another there may be room.
            Some(Errno::NOBUFS) => {
                counters.tx_no_room += len as u64;
                Refused::This
            }
            // The way to this receiver, or from this address. Others may have one.
            Some(
                Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::NETDOWN
                | Errno::HOSTDOWN
                | Errno::NODEV
                | Errno::NXIO
                | Errno::ADDRNOTAVAIL,
            ) => {
                counters.tx_down += len as u64;
                Refused::This
            }
            // The run as one: larger than the path takes, or not to be cut on this way.
            Some(Errno::MSGSIZE | Errno::INVAL | Errno::IO) if len > 1 => Refused::Alone,
            _ => {
                counters.tx_errors += len as u64;
                Refused::This
            }
        }
    }

    /// Adds the datagrams that found no room in the sockets.
    pub(super) fn add_kernel_drops(&mut self) {
        for receiver in &mut self.receivers {
            if let Ok(drops) = udp_socket::dropped(receiver.fd.as_fd()) {
                let new = drops.wrapping_sub(receiver.kernel_drops);
                self.counters.rx_dropped += u64::from(new);
                receiver.kernel_drops = drops;
            }
        }
    }
}
