//! Having the event loop watch a descriptor for one thing only.
//!
//! The sockets of tokio are always watched for reading and for writing, and the kernel says that there
//! is room to write whenever the other side has read: a wake-up for each message that is answered.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the event loop watch `inner`, which owns its descriptor and never changes it.
///
/// # Errors
/// When the kernel does not take it.
pub(crate) fn watch<T: AsRawFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for those whose descriptor changes, which none here does"
    )]
    AsyncFd::with_interest(inner, interest)
}
