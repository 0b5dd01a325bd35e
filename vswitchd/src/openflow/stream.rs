//! A stream socket to an OpenFlow peer, of whichever family, with TLS or without (`secure`).
//!
//! Law: the event loop hears of what can be read and not of what can be written. The kernel says that
//! there is room whenever a peer has taken something, so whoever listens for that wakes up once more
//! for each answer; here only who has something left to write does ([`Stream::writable`]).

use std::io::{self, IoSlice, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net as unix;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};

use vswitch_tls::explain;
use vswitch_tls::rustls::Connection;

use super::link::End;
use super::secure::Tls;
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

impl Read for &Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => (&mut &*stream).read(bytes),
            Socket::Tcp(stream) => (&mut &*stream).read(bytes),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => (&mut &*stream).write(bytes),
            Socket::Tcp(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => (&mut &*stream).write_vectored(pieces),
            Socket::Tcp(stream) => (&mut &*stream).write_vectored(pieces),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connected socket that is watched for what can be read.
#[derive(Debug)]
pub struct Stream {
    watched: AsyncFd<Socket>,
    tls: Option<Box<Tls>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.end(self.watched.get_ref());
        }
    }
}

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
        Ok(Self {
            watched: watch(socket, Interest::READABLE)?,
            tls: None,
        })
    }

    /// Has both sides prove who they are, and is safe from then on.
    ///
    /// # Errors
    /// When one of them does not believe the other, or the connection ends.
    pub async fn secure(&mut self, connection: Connection) -> Result<(), End> {
        let mut tls = Box::new(Tls::new(connection));
        while tls.is_greeting() {
            self.flush(&mut tls).await?;
            if !tls.is_greeting() {
                break;
            }
            self.readable().await?;
            let socket = self.watched.get_ref();
            match self
                .watched
                .try_io(Interest::READABLE, |socket| tls.take(socket))
            {
                Ok(0) => return Err(End::Closed),
                Ok(_) => tls
                    .digest(socket)
                    .map_err(|error| End::Tls(explain(&error)))?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.flush(&mut tls).await?;
        self.tls = Some(tls);
        Ok(())
    }

    async fn flush(&self, tls: &mut Tls) -> io::Result<()> {
        loop {
            match tls.flush(self.watched.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                result => return result,
            }
        }
    }

    /// Waits until [`Stream::try_read`] may do something. Giving up the wait loses nothing.
    pub async fn readable(&self) -> io::Result<()> {
        if self.tls.as_ref().is_some_and(|tls| tls.has_more()) {
            return Ok(());
        }
        self.watched.readable().await.map(|_| ())
    }

    /// Waits until [`Stream::try_write`] may do something. Giving up the wait loses nothing.
    pub async fn writable(&self) -> io::Result<()> {
        let copy = self.watched.get_ref().as_fd().try_clone_to_owned()?;
        let watched = watch(copy, Interest::WRITABLE)?;
        watched.writable().await.map(|_| ())
    }

    /// Reads what is here; 0 is the end, `WouldBlock` is nothing yet.
    pub fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let watched = &self.watched;
        if let Some(tls) = &mut self.tls {
            let take =
                |tls: &mut Tls| watched.try_io(Interest::READABLE, |socket| tls.take(socket));
            return tls.read(bytes, take, watched.get_ref());
        }
        let mut last = None;
        let read = watched.try_io(Interest::READABLE, |mut socket| {
            let size = socket.read(bytes)?;
            if size == 0 || size == bytes.len() {
                return Ok(size);
            }
            // There was no more. What comes later is told again, so nobody need try in vain.
            last = Some(size);
            Err(io::ErrorKind::WouldBlock.into())
        });
        last.map_or(read, Ok)
    }

    /// Writes what the socket takes now. What it did not take is to be offered again as it is, more may
    /// follow it.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket = self.watched.get_ref();
        match &mut self.tls {
            Some(tls) => tls.write(bytes, socket),
            None => socket.write(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use vswitch_tls::{Files, Identity};

    use super::*;
    use crate::openflow::authority::Authority;

    async fn read_all(stream: &mut Stream, mut size: usize) {
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
        let (mut near, mut far) = (
            Stream::unix(near).expect("it is taken"),
            Stream::unix(far).expect("it is taken"),
        );
        for size in [1, 999, 1000, 1001, 2500] {
            assert_eq!(far.try_write(&vec![7; size]).expect("there is room"), size);
            read_all(&mut near, size).await;
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
        let (mut near, mut far) = (
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
        tokio::join!(read_all(&mut far, written), async {
            near.writable().await.expect("the event loop runs");
            assert!(near.try_write(&[1]).is_ok());
        });
    }

    /// Two ends that believe each other.
    async fn secured() -> (Stream, Stream) {
        let place = tempfile::tempdir().expect("a directory");
        let ca = Authority::new(place.path(), "ca").expect("an authority");
        let identity = |name: &str| {
            let papers = ca.sign(name).expect("papers");
            let files = Files {
                private_key: papers.key,
                certificate: papers.certificate,
                ca_cert: papers.ca,
            };
            Identity::load(&files).expect("good files")
        };
        let (near, far) = UnixStream::pair().expect("socketpair");
        let (mut near, mut far) = (
            Stream::unix(near).expect("it is taken"),
            Stream::unix(far).expect("it is taken"),
        );
        let client = identity("client").connect([127, 0, 0, 1].into());
        let server = identity("server").accept();
        let (one, other) = tokio::join!(
            near.secure(client.expect("a connection").into()),
            far.secure(server.expect("a connection").into()),
        );
        one.expect("it believes the server");
        other.expect("it believes the client");
        (near, far)
    }

    #[tokio::test]
    async fn tls_carries_more_than_the_socket_holds_in_order_and_its_end() {
        const SIZE: usize = 3_000_000;
        let (mut near, mut far) = secured().await;
        let byte = |at: usize| (at * 7 / 5) as u8;
        let sent: Vec<u8> = (0..SIZE).map(byte).collect();
        let send = async {
            let mut rest = sent.as_slice();
            let mut full = 0;
            while !rest.is_empty() {
                match near.try_write(rest) {
                    Ok(size) => rest = &rest[size..],
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        full += 1;
                        near.writable().await.expect("the event loop runs");
                    }
                }
            }
            assert!(full > 0, "the socket took all at once");
            drop(near);
        };
        let receive = async {
            let mut got = Vec::new();
            let mut bytes = [0; 1000];
            loop {
                far.readable().await.expect("the event loop runs");
                match far.try_read(&mut bytes) {
                    Ok(0) => break,
                    Ok(size) => got.extend_from_slice(&bytes[..size]),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            got
        };
        let ((), got) = tokio::join!(send, receive);
        assert!(got == sent, "{} bytes came of {SIZE}", got.len());
    }
}
