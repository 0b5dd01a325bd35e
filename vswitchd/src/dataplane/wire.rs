//! One connection to the datapath: a request, then its answer.
//!
//! The datapath serves several at once, and what one asked for does not disturb another: long dumps
//! have a connection of their own so that they do not stand in the way of changes.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::timeout;
use vswitch_dpapi::message::{Reply, Request};
use vswitch_dpapi::{Connection, FrameError};

use super::{DataplaneError, unexpected};

/// How long an answer may take. Requests take milliseconds; a change of many flows is the longest.
const ANSWER: Duration = Duration::from_secs(20);

/// A connection over which both sides have agreed on a version.
#[derive(Debug)]
pub struct Wire {
    connection: Connection,
    /// A duplicate of the connection's socket, to wait on.
    readable: tokio::net::UnixStream,
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
        let mut wire = Self {
            connection: Connection::new(stream),
            readable: tokio::net::UnixStream::from_std(copy).map_err(silent)?,
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
        let answer = async {
            self.connection.send(request, fds)?;
            self.receive().await
        };
        match timeout(ANSWER, answer).await {
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
        loop {
            if let Some(message) = self.connection.try_receive()? {
                return Ok(message);
            }
            self.readable.readable().await?;
            // Readiness is taken back only by a read that finds nothing, so that nothing that came
            // in between is waited for.
            let mut message = Ok(None);
            let connection = &mut self.connection;
            let _ = self.readable.try_io(Interest::READABLE, || {
                message = connection.try_receive();
                match message {
                    Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            });
            if let Some(message) = message? {
                return Ok(message);
            }
        }
    }
}
