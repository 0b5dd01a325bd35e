//! The socket on which `vswitchd` speaks, and the control thread's event loop.
//!
//! Several connections may be open (a new `vswitchd` may come before the old one's end is seen);
//! requests are carried out in the order in which they arrive.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use vswitch_dpapi::message::Request;
use vswitch_dpapi::{Connection, FrameError};

use super::Control;

const LISTENER: Token = Token(0);

/// How often learned addresses are looked through for old ones.
const TICK: Duration = Duration::from_secs(1);

/// Connections at a time; one is the rule.
const CONNECTIONS_MAX: usize = 16;

/// Serves requests until one says that the process shall end.
///
/// # Errors
/// When the listener fails.
pub fn serve(mut control: Control, listener: &UnixListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    let listener_fd = listener.as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&listener_fd), LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(CONNECTIONS_MAX);
    let mut connections: HashMap<Token, Connection> = HashMap::new();
    let mut next = 1;
    let mut ticked = Instant::now();
    loop {
        let timeout = TICK.saturating_sub(ticked.elapsed());
        match poll.poll(&mut events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if ticked.elapsed() >= TICK {
            control.tick();
            ticked = Instant::now();
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(listener, &poll, &mut connections, &mut next)?;
                continue;
            }
            let Some(connection) = connections.get_mut(&event.token()) else {
                continue;
            };
            match converse(&mut control, connection) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    match error {
                        FrameError::Closed => tracing::info!("vswitchd has left"),
                        error => tracing::warn!(%error, "a connection was cut off"),
                    }
                    let fd = connection.stream().as_raw_fd();
                    poll.registry().deregister(&mut SourceFd(&fd))?;
                    connections.remove(&event.token());
                }
            }
        }
    }
}

fn accept(
    listener: &UnixListener,
    poll: &Poll,
    connections: &mut HashMap<Token, Connection>,
    next: &mut usize,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                return Ok(());
            }
        };
        if connections.len() >= CONNECTIONS_MAX {
            tracing::warn!("refused a connection: {CONNECTIONS_MAX} are open");
            continue;
        }
        let fd = stream.as_raw_fd();
        let token = Token(*next);
        *next += 1;
        poll.registry()
            .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        connections.insert(token, Connection::new(stream));
    }
}

/// Answers all requests that have come; false after the one that ends the process.
fn converse(control: &mut Control, connection: &mut Connection) -> Result<bool, FrameError> {
    while let Some((request, fds)) = connection.try_receive::<Request>()? {
        let last = request == Request::Shutdown;
        let (reply, fds) = control.handle(request, fds);
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        connection.send(&reply, &borrowed)?;
        if last {
            return Ok(false);
        }
    }
    Ok(true)
}
