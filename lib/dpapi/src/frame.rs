//! Messages on a unix stream socket: a length, a count of descriptors, then the message.
//!
//! A frame is `u32` body size, `u8` descriptor count (both little endian), then the body.
//! Descriptors ride on the first byte of their frame. A peer that announces more than
//! [`SIZE_MAX`] bytes or [`FDS_MAX`] descriptors, or whose descriptors do not come, is cut off.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest body, bytes: room for a million flows.
pub const SIZE_MAX: usize = 256 << 20;

/// Most descriptors beside one message: the queues of a port and its map and link. The kernel
/// allows 253 (`SCM_MAX_FD`).
pub const FDS_MAX: usize = 200;

const HEADER_SIZE: usize = 5;

/// Bytes read at a time.
const READ_SIZE: usize = 64 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer closed the connection.
    #[error("the other side closed the connection")]
    Closed,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer announced too much.
    #[error(
        "a message of {size} bytes with {fds} descriptors was announced; at most {SIZE_MAX} bytes and {FDS_MAX} descriptors are allowed"
    )]
    TooLarge {
        /// Announced body size.
        size: usize,
        /// Announced descriptors.
        fds: usize,
    },
    /// Descriptors that were announced did not come.
    #[error("{announced} descriptors were announced and {received} came")]
    Descriptors {
        /// In the header.
        announced: usize,
        /// On the socket.
        received: usize,
    },
    /// The body is no message of this version.
    #[error("a message could not be read: {0}")]
    Malformed(#[from] postcard::Error),
}

/// One end of the contract's socket.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// What a read fills.
    buffer: Box<[u8]>,
    /// What has come and is not a whole message yet.
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    /// The last read took all that the socket had.
    drained: bool,
}

impl Connection {
    /// Speaks over `stream`.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            buffer: vec![0; READ_SIZE].into(),
            bytes: Vec::new(),
            fds: VecDeque::new(),
            drained: false,
        }
    }

    /// The socket, to wait on.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The socket, for registration with an event loop.
    pub fn stream_mut(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Sends one message with descriptors beside it. Waits until the socket takes all of it.
    ///
    /// # Errors
    /// `TooLarge` before anything is sent; `Io` when the connection broke.
    pub fn send<T: Serialize>(
        &mut self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), FrameError> {
        let frame = encode(message, fds.len())?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut sent = 0;
        while sent < frame.len() {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if sent == 0 && !fds.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(fds));
            }
            match rustix::net::sendmsg(
                &self.stream,
                &[IoSlice::new(&frame[sent..])],
                &mut control,
                SendFlags::NOSIGNAL,
            ) {
                Ok(n) => sent += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::OUT, None)?,
                Err(e) => return Err(FrameError::Io(e.into())),
            }
        }
        Ok(())
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// `Closed` at the end of the stream; the others mean that the peer cannot be trusted further.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), FrameError> {
        loop {
            if let Some(message) = self.next_message()? {
                return Ok(message);
            }
            if !self.fill()? {
                self.wait(PollFlags::IN, None)?;
            }
        }
    }

    /// The next message if it begins to come within `patience` and is here whole then.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive_within<T: DeserializeOwned>(
        &mut self,
        patience: Duration,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, FrameError> {
        self.wait(PollFlags::IN, Some(patience))?;
        self.try_receive()
    }

    /// The next message if all of it has come, without waiting.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn try_receive<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, FrameError> {
        loop {
            if let Some(message) = self.next_message()? {
                return Ok(Some(message));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Whether the last read took all that the socket had and no whole message is left of it: then
    /// [`Connection::try_receive`] finds something only after more has come.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained && self.frame_size().is_none_or(|size| self.bytes.len() < size)
    }

    /// The size of the frame that begins what was received, once its header is here.
    fn frame_size(&self) -> Option<usize> {
        let (size, _) = self.bytes.split_first_chunk::<4>()?;
        Some(HEADER_SIZE.saturating_add(u32::from_le_bytes(*size) as usize))
    }

    /// Takes a whole frame out of what was received.
    fn next_message<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, FrameError> {
        let Some((header, rest)) = self.bytes.split_first_chunk::<HEADER_SIZE>() else {
            return Ok(None);
        };
        let size = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let fds = usize::from(header[4]);
        if size > SIZE_MAX || fds > FDS_MAX {
            return Err(FrameError::TooLarge { size, fds });
        }
        let Some(body) = rest.get(..size) else {
            return Ok(None);
        };
        // Descriptors come with the first byte of their frame, so they are all here.
        if self.fds.len() < fds {
            return Err(FrameError::Descriptors {
                announced: fds,
                received: self.fds.len(),
            });
        }
        let message = postcard::from_bytes(body)?;
        self.bytes.drain(..HEADER_SIZE + size);
        Ok(Some((message, self.fds.drain(..fds).collect())))
    }

    /// Reads what the socket has; false when it has nothing now.
    fn fill(&mut self) -> Result<bool, FrameError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match rustix::net::recvmsg(
                &self.stream,
                &mut [IoSliceMut::new(&mut self.buffer)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
            ) {
                Ok(received) => break received,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    self.drained = true;
                    return Ok(false);
                }
                Err(e) => return Err(FrameError::Io(e.into())),
            }
        };
        // A read ends after descriptors, whatever lies behind them.
        self.drained = received.bytes < self.buffer.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.drained = false;
                self.fds.extend(fds);
            }
        }
        if received.bytes == 0 {
            return Err(FrameError::Closed);
        }
        let read = self.buffer.get(..received.bytes);
        self.bytes.extend_from_slice(read.unwrap_or_default());
        Ok(true)
    }

    fn wait(&self, flags: PollFlags, patience: Option<Duration>) -> Result<(), FrameError> {
        let mut fds = [PollFd::from_borrowed_fd(self.stream.as_fd(), flags)];
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        match rustix::event::poll(&mut fds, patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(FrameError::Io(e.into())),
        }
    }
}

/// The bytes of a frame.
///
/// # Errors
/// `TooLarge`, or a value that postcard cannot encode.
pub fn encode<T: Serialize>(message: &T, fds: usize) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, vec![0; HEADER_SIZE])?;
    let size = frame.len() - HEADER_SIZE;
    if size > SIZE_MAX || fds > FDS_MAX {
        return Err(FrameError::TooLarge { size, fds });
    }
    frame[..4].copy_from_slice(&(size as u32).to_le_bytes());
    frame[4] = fds as u8;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Reply, Request};
    use std::io::{Read, Write};

    fn pair() -> (Connection, Connection) {
        let (a, b) = UnixStream::pair().expect("socketpair");
        (Connection::new(a), Connection::new(b))
    }

    #[test]
    fn messages_arrive_in_order_with_their_own_descriptors() {
        let (mut a, mut b) = pair();
        let (reader, writer) = io::pipe().expect("pipe");
        a.send(&Request::State, &[]).expect("send");
        a.send(&Request::Drops, &[writer.as_fd()]).expect("send");
        a.send(&Request::Ports, &[]).expect("send");
        drop(writer);

        let (first, fds) = b.receive::<Request>().expect("receive");
        assert_eq!((first, fds.len()), (Request::State, 0));
        let (second, mut fds) = b.receive::<Request>().expect("receive");
        assert_eq!((second, fds.len()), (Request::Drops, 1));
        let fd = fds.pop().expect("one descriptor");
        std::fs::File::from(fd)
            .write_all(b"through")
            .expect("write");
        let mut text = String::new();
        io::BufReader::new(reader)
            .read_to_string(&mut text)
            .expect("read");
        assert_eq!(text, "through");
        let (third, fds) = b.receive::<Request>().expect("receive");
        assert_eq!((third, fds.len()), (Request::Ports, 0));
    }

    #[test]
    fn a_message_larger_than_the_socket_buffer_gets_through() {
        let (mut a, mut b) = pair();
        let why = "x".repeat(3 << 20);
        let sent = Reply::Refused { why };
        let copy = sent.clone();
        let sender = std::thread::spawn(move || a.send(&copy, &[]).map(|()| a));
        let (received, _) = b.receive::<Reply>().expect("receive");
        assert_eq!(received, sent);
        sender.join().expect("no panic").expect("sent");
    }

    #[test]
    fn try_receive_answers_none_until_the_last_byte() {
        let (mut a, mut b) = pair();
        let frame = encode(&Request::Hello { version: 77 }, 0).expect("encode");
        for &byte in &frame[..frame.len() - 1] {
            a.stream_mut().write_all(&[byte]).expect("write");
            assert!(b.try_receive::<Request>().expect("no error").is_none());
        }
        a.stream_mut()
            .write_all(&frame[frame.len() - 1..])
            .expect("write");
        let (message, _) = b
            .try_receive::<Request>()
            .expect("no error")
            .expect("whole");
        assert_eq!(message, Request::Hello { version: 77 });
    }

    #[test]
    fn a_liar_is_cut_off() {
        let (mut a, mut b) = pair();
        a.stream_mut()
            .write_all(&[0xff, 0xff, 0xff, 0xff, 0])
            .expect("write");
        assert!(matches!(
            b.receive::<Request>(),
            Err(FrameError::TooLarge { .. })
        ));

        let (mut a, mut b) = pair();
        let mut frame = encode(&Request::State, 0).expect("encode");
        frame[4] = 3;
        a.stream_mut().write_all(&frame).expect("write");
        assert!(matches!(
            b.receive::<Request>(),
            Err(FrameError::Descriptors {
                announced: 3,
                received: 0
            })
        ));

        let (mut a, mut b) = pair();
        a.stream_mut()
            .write_all(&[2, 0, 0, 0, 0, 0xee, 0xee])
            .expect("write");
        assert!(matches!(
            b.receive::<Request>(),
            Err(FrameError::Malformed(_))
        ));

        let (a, mut b) = pair();
        drop(a);
        assert!(matches!(b.receive::<Request>(), Err(FrameError::Closed)));
    }
}
