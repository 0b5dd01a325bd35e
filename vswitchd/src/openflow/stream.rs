//! A stream socket to an OpenFlow peer, of whichever family.
//!
//! Law: the event loop hears of what can be read and not of what can be written. The kernel says that
//! there is room whenever a peer has taken something, so whoever listens for that wakes up once more
//! for each answer; here only who has something left to write does ([`Stream::writable`]).

use std::io::{self, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net as unix;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};

use crate::readiness::watch;

/// A connected socket.
#[derive(Debug)]
enum Socket {
    /// Of this machine.
    Unix(unix::UnixStream),
    /// Of any.
    Tcp(net::TcpStream),
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tcp(stream) => stream.as_raw_fd(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

/// A connected socket that is watched for what can be read.
#[derive(Debug)]
pub struct Stream(AsyncFd<Socket>);

impl Stream {
    /// Of this machine.
    ///
    /// # Errors
    /// When the event loop does not take it.
    pub fn unix(stream: UnixStream) -> io::Result<Self> {
        Self::new(Socket::Unix(stream.into_std()?))
    }

    /// Of any.
    ///
    /// # Errors
    /// When the event loop does not take it.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        Self::new(Socket::Tcp(stream.into_std()?))
    }

    fn new(socket: Socket) -> io::Result<Self> {
        Ok(Self(watch(socket, Interest::READABLE)?))
    }

    /// Waits until [`Stream::try_read`] may do something. Giving up the wait loses nothing.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await.map(|_| ())
    }

    /// Waits until [`Stream::try_write`] may do something. Giving up the wait loses nothing.
    pub async fn writable(&self) -> io::Result<()> {
        let copy = self.0.get_ref().as_fd().try_clone_to_owned()?;
        let watched = watch(copy, Interest::WRITABLE)?;
        watched.writable().await.map(|_| ())
    }

    /// Reads what is here; 0 is the end, `WouldBlock` is nothing yet.
    pub fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut last = None;
        let read = self.0.try_io(Interest::READABLE, |socket| {
            let size = match socket {
                Socket::Unix(stream) => (&mut &*stream).read(bytes),
                Socket::Tcp(stream) => (&mut &*stream).read(bytes),
            }?;
            if size == 0 || size == bytes.len() {
                return Ok(size);
            }
            // There was no more. What comes later is told again, so nobody need try in vain.
            last = Some(size);
            Err(io::ErrorKind::WouldBlock.into())
        });
        last.map_or(read, Ok)
    }

    /// Writes what the socket takes now.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.get_ref() {
            Socket::Unix(stream) => (&mut &*stream).write(bytes),
            Socket::Tcp(stream) => (&mut &*stream).write(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(stream: &Stream, mut size: usize) {
        let mut bytes = [0; 1000];
        while size > 0 {
            stream.readable().await.expect("the event loop runs");
            match stream.try_read(&mut bytes) {
                Ok(0) => panic!("the other end is open"),
                Ok(read) => size -= read,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[tokio::test]
    async fn what_comes_after_a_short_read_is_heard_of_and_the_end_too() {
        let (near, far) = UnixStream::pair().expect("socketpair");
        let (near, far) = (
            Stream::unix(near).expect("it is taken"),
            Stream::unix(far).expect("it is taken"),
        );
        for size in [1, 999, 1000, 1001, 2500] {
            assert_eq!(far.try_write(&vec![7; size]).expect("there is room"), size);
            read_all(&near, size).await;
        }
        drop(far);
        near.readable().await.expect("the event loop runs");
        let mut bytes = [0; 10];
        loop {
            near.readable().await.expect("the event loop runs");
            match near.try_read(&mut bytes) {
                Ok(size) => return assert_eq!(size, 0),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[tokio::test]
    async fn a_full_socket_is_writable_when_its_peer_has_read() {
        let (near, far) = UnixStream::pair().expect("socketpair");
        let (near, far) = (
            Stream::unix(near).expect("it is taken"),
            Stream::unix(far).expect("it is taken"),
        );
        let mut written = 0;
        loop {
            match near.try_write(&[1; 1000]) {
                Ok(size) => written += size,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        tokio::join!(read_all(&far, written), async {
            near.writable().await.expect("the event loop runs");
            assert!(near.try_write(&[1]).is_ok());
        });
    }
}
