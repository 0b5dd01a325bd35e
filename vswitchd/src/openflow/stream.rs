//! A stream socket to an OpenFlow peer, of whichever family.

use std::io;

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// Of this machine.
    Unix(UnixStream),
    /// Of any.
    Tcp(TcpStream),
}

impl Stream {
    /// Waits until [`Stream::try_read`] or [`Stream::try_write`] may do something. Giving up the wait
    /// loses nothing.
    pub async fn ready(&self, interest: Interest) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.ready(interest).await.map(|_| ()),
            Self::Tcp(stream) => stream.ready(interest).await.map(|_| ()),
        }
    }

    /// Reads what is here; 0 is the end, `WouldBlock` is nothing yet.
    pub fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read(bytes),
            Self::Tcp(stream) => stream.try_read(bytes),
        }
    }

    /// Writes what the socket takes now.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        }
    }
}
