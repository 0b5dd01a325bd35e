//! What sockets have alike that move messages by the batch: `recvmmsg(2)`, `sendmmsg(2)`, their memory,
//! and options.
//!
//! For [`crate::packet_socket`] and [`crate::udp_socket`], which fill the headers and know what the
//! control data mean.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_void, iovec, mmsghdr};

use crate::memory::Frame;

/// Messages that one call moves at most.
pub const BATCH_LEN: usize = 32;

/// Memory for one message: the head chunk from some byte on, and room for what does not fit.
#[derive(Debug)]
#[must_use = "a slot owns frames"]
pub struct RecvSlot {
    /// Takes the start of the message.
    pub head: Frame,
    /// Takes the rest.
    pub spill: Option<Frame>,
}

/// Memory for control data; the kernel wants it aligned as `struct cmsghdr` is.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control<const SIZE: usize>(pub(crate) [u8; SIZE]);

impl<const SIZE: usize> Control<SIZE> {
    pub(crate) const EMPTY: Self = Self([0; SIZE]);
}

/// Describes a slot's memory, from byte `offset` of its chunk on, in the first of `pieces`, which are
/// two at least; answers how many it took.
pub(crate) fn describe(slot: &mut RecvSlot, offset: usize, pieces: &mut [iovec]) -> usize {
    let head = &mut slot.head.bytes_mut()[offset..];
    pieces[0] = iovec {
        iov_base: head.as_mut_ptr().cast(),
        iov_len: head.len(),
    };
    let Some(spill) = &mut slot.spill else {
        return 1;
    };
    let spill = spill.bytes_mut();
    pieces[1] = iovec {
        iov_base: spill.as_mut_ptr().cast(),
        iov_len: spill.len(),
    };
    2
}

/// Receives a message for each of `headers` while any wait; answers how many came.
///
/// # Safety
/// Every pointer in `headers`, and in the pieces that they lead to, is valid for writes of the length
/// beside it until the call returns, and aliases nothing that is used before.
pub(crate) unsafe fn receive(
    socket: BorrowedFd<'_>,
    headers: &mut [mmsghdr],
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: `headers` has as many as are said; what they lead to is the caller's word.
    let answer = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as libc::c_uint,
            libc::MSG_DONTWAIT | flags,
            std::ptr::null_mut(),
        )
    };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Sends the messages of `headers`; answers how many the kernel took before it refused one.
///
/// # Errors
/// What the kernel said of the first one.
///
/// # Safety
/// Every pointer in `headers`, and in the pieces that they lead to, is valid for reads of the length
/// beside it until the call returns.
pub(crate) unsafe fn send(socket: BorrowedFd<'_>, headers: &mut [mmsghdr]) -> io::Result<usize> {
    // SAFETY: as in `receive`; the kernel writes only the length of each message, into its header.
    let answer = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as libc::c_uint,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Sets a socket option whose value is the plain bytes of `value`.
pub(crate) fn set_option<T>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `value`, which outlives the call.
    let answer = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast::<c_void>(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sizes a socket buffer past the system's limit where we may, and up to it where not.
pub(crate) fn set_buffer_size(
    fd: BorrowedFd<'_>,
    force: c_int,
    plain: c_int,
    size: u32,
) -> io::Result<()> {
    let size = c_int::try_from(size).unwrap_or(c_int::MAX);
    match set_option(fd, libc::SOL_SOCKET, force, &size) {
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            set_option(fd, libc::SOL_SOCKET, plain, &size)
        }
        answer => answer,
    }
}
