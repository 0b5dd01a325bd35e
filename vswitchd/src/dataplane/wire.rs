//! One connection to the datapath: a request, then its answer.
//!
//! The datapath serves several at once, and what one asked for does not disturb another: long dumps
//! have a connection of their own so that they do not stand in the way of changes.
//!
//! Most answers come within microseconds. They are waited for on the spot ([`AT_ONCE`]), because going
//! round by the event loop takes longer; so the event loop watches for the connection's end only.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use vswitch_dpapi::message::{Reply, Request};
use vswitch_dpapi::{Connection, FrameError};

use super::{DataplaneError, unexpected};
use crate::readiness::watch;

/// How long an answer may take. Requests take milliseconds; a change of many flows is the longest.
const ANSWER: Duration = Duration::from_secs(20);

/// How long an answer is waited for while nothing else is done.
const AT_ONCE: Duration = Duration::from_micros(200);

/// A connection over which both sides have agreed on a version.
#[derive(Debug)]
pub struct Wire {
    connection: Connection,
    /// A duplicate of the connection's socket that is watched for its end: urgent data never comes.
    end: AsyncFd<OwnedFd>,
    pid: u32,
}

impl Wire {
    /// Connects to the datapath that listens on `socket`.
    ///
    /// # Errors
    /// `Gone` when nobody listens there.
    pub async fn connect(socket: &Path) -> Result<Self, DataplaneError> {
        let stream = UnixStream::connect(socket).map_err(|_| DataplaneError::Gone)?;
        Self::greet(stream).await
    }

    /// Agrees on a version.
    ///
    /// # Errors
    /// `Version` when the other side has another, and what [`Wire::exchange`] gives.
    pub async fn greet(stream: UnixStream) -> Result<Self, DataplaneError> {
        let silent = |error: io::Error| DataplaneError::Silent(error.to_string());
        stream.set_nonblocking(true).map_err(silent)?;
        let copy = stream.try_clone().map_err(silent)?;
        let end = watch(OwnedFd::from(copy), Interest::PRIORITY).map_err(silent)?;
        let mut wire = Self {
            connection: Connection::new(stream),
            end,
            pid: 0,
        };
        let version = vswitch_dpapi::VERSION;
        match wire.exchange(&Request::Hello { version }, &[]).await {
            Ok((Reply::Hello { pid, .. }, _)) => {
                wire.pid = pid;
                Ok(wire)
            }
            Ok((other, _)) => Err(unexpected(&other)),
            Err(DataplaneError::Refused(why)) => Err(DataplaneError::Version(why)),
            Err(error) => Err(error),
        }
    }

    /// The datapath's process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// One request and its answer, with descriptors both ways.
    ///
    /// # Errors
    /// `Refused` when the datapath will not; after any other this connection is of no more use.
    pub async fn exchange(
        &mut self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), DataplaneError> {
        let sent = self.connection.send(request, fds);
        let answer = match sent.and_then(|()| self.connection.receive_within(AT_ONCE)) {
            Ok(Some(answer)) => Ok(Ok(answer)),
            Ok(None) => timeout(ANSWER, self.receive()).await,
            Err(error) => Ok(Err(error)),
        };
        match answer {
            Ok(Ok((Reply::Refused { why }, _))) => Err(DataplaneError::Refused(why)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(FrameError::Closed)) => Err(DataplaneError::Gone),
            Ok(Err(error)) => Err(DataplaneError::Silent(error.to_string())),
            Err(_) => {
                let text = format!("nothing came for {} s", ANSWER.as_secs());
                Err(DataplaneError::Silent(text))
            }
        }
    }

    /// The next message, if it is here already.
    pub(super) fn try_receive(&mut self) -> Result<Option<Reply>, FrameError> {
        let message = self.connection.try_receive()?;
        Ok(message.map(|(reply, _)| reply))
    }

    /// The next message. A caller that gives up waiting loses none.
    pub(super) async fn receive(&mut self) -> Result<(Reply, Vec<OwnedFd>), FrameError> {
        let readable = self.readable()?;
        loop {
            if let Some(message) = self.receive_of(&readable).await? {
                return Ok(message);
            }
        }
    }

    /// A watch for messages, for [`Wire::receive_of`].
    pub(super) fn readable(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let copy = self.connection.stream().as_fd().try_clone_to_owned()?;
        watch(copy, Interest::READABLE)
    }

    /// The next message when `readable` says that there may be one. Giving up waiting loses none.
    pub(super) async fn receive_of(
        &mut self,
        readable: &AsyncFd<OwnedFd>,
    ) -> Result<Option<(Reply, Vec<OwnedFd>)>, FrameError> {
        if !self.connection.is_drained()
            && let Some(message) = self.connection.try_receive()?
        {
            return Ok(Some(message));
        }
        let mut ready = readable.readable().await?;
        let message = self.connection.try_receive()?;
        if self.connection.is_drained() {
            // What comes from now on is told again.
            ready.clear_ready();
        }
        Ok(message)
    }

    /// Waits for the connection's end.
    pub(super) async fn ended(&self) -> FrameError {
        // Its end is there for readers, whatever is watched for.
        match self.end.ready(Interest::READABLE).await {
            Ok(_) => FrameError::Closed,
            Err(error) => FrameError::Io(error),
        }
    }
}
