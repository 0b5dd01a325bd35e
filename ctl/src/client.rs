//! One connection to `vswitchd`: ask, wait, read the answer.
//!
//! Blocking, with a deadline over the whole answer rather than over each read, so that a peer that
//! sends a byte now and then cannot hold us.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use vswitch_rpc::frame::{self, Decoder};
use vswitch_rpc::{Call, Request, Response, SOCKET_NAME};

use crate::error::Failure;

/// The path bytes a unix socket address holds, its closing zero not counted (`sun_path`, unix(7)).
const SOCKET_PATH_SIZE: usize = 107;

/// A connection to `vswitchd`.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
    timeout: Duration,
    next_id: u64,
}

impl Client {
    /// Connects to the switch of a run directory. Each answer may take up to `timeout`.
    pub fn connect(rundir: &Path, timeout: Duration) -> Result<Self, Failure> {
        let socket = rundir.join(SOCKET_NAME);
        if socket.as_os_str().len() > SOCKET_PATH_SIZE {
            let limit = SOCKET_PATH_SIZE - SOCKET_NAME.len() - 1;
            return Err(Failure::PathTooLong {
                rundir: rundir.into(),
                limit,
            });
        }
        let stream = UnixStream::connect(&socket).map_err(|error| match error.kind() {
            // A socket file that nobody listens on is what a killed vswitchd leaves behind.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Failure::NotRunning(rundir.into())
            }
            io::ErrorKind::PermissionDenied => Failure::Denied {
                who: who_may(&socket),
                socket: socket.clone(),
            },
            _ => Failure::Connect {
                socket: socket.clone(),
                error,
            },
        })?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            timeout,
            next_id: 1,
        })
    }

    /// Asks and waits for the answer: the raw reply, or why there is none.
    pub fn call(&mut self, call: &Call) -> Result<Value, Failure> {
        let deadline = now() + self.timeout;
        let id = self.next_id;
        self.next_id += 1;
        let line = frame::encode(&Request::new(id, call))?;
        self.set_timeouts(deadline)?;
        self.stream
            .write_all(&line)
            .map_err(|error| self.explain(error))?;
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(Response::parse(message, &id.into())??);
            }
            let bytes = self.read(deadline)?;
            if bytes.is_empty() {
                return Err(Failure::Closed);
            }
            self.decoder.push(&bytes);
        }
    }

    /// Waits until `vswitchd` is gone, which is when the kernel closes its end.
    pub fn wait_for_end(&mut self) -> Result<(), Failure> {
        let deadline = now() + self.timeout;
        while !self.read(deadline)?.is_empty() {}
        Ok(())
    }

    /// What the stream has; nothing at its end.
    fn read(&mut self, deadline: Instant) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            self.set_timeouts(deadline)?;
            match self.stream.read(&mut bytes) {
                Ok(size) => {
                    bytes.truncate(size);
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The peer died with our bytes unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
    }

    fn set_timeouts(&self, deadline: Instant) -> Result<(), Failure> {
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Err(Failure::Timeout(self.timeout));
        }
        self.stream
            .set_read_timeout(Some(left))
            .and_then(|()| self.stream.set_write_timeout(Some(left)))
            .map_err(Failure::Transport)
    }

    fn explain(&self, error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::Timeout(self.timeout),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Failure::Closed,
            _ => Failure::Transport(error),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the deadline of a blocking socket call; no output depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

/// Who may open the socket, as far as its file tells.
fn who_may(socket: &Path) -> String {
    let owner = match fs::metadata(socket) {
        Ok(file) if file.file_type().is_socket() => {
            let group = if file.mode() & 0o020 == 0 {
                String::new()
            } else {
                format!(" and the members of group {}", file.gid())
            };
            match file.uid() {
                0 => format!("only root{group} may"),
                uid => format!("only root, user {uid}{group} may"),
            }
        }
        _ => "only root may".into(),
    };
    format!("{owner}; try it with sudo")
}
