//! The socket on which `vswitchd` speaks, and the control thread's event loop.
//!
//! Several connections may be open (a new `vswitchd` may come before the old one's end is seen, and
//! one listens to events); requests are carried out in the order in which they arrive.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use vswitch_dpapi::message::Request;
use vswitch_dpapi::{Connection, FrameError};

use super::{Control, Session};

const LISTENER: Token = Token(0);
const UPCALLS: Token = Token(1);

/// How often learned addresses are looked through for old ones.
const TICK: Duration = Duration::from_secs(1);

/// Connections at a time; one is the rule.
const CONNECTIONS_MAX: usize = 16;

/// Connections by the token of their events.
type Peers = HashMap<Token, (Connection, Session)>;

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
    let mut peers = Peers::new();
    let mut next = 2;
    control.wake_by(Waker::new(poll.registry(), UPCALLS)?);
    let mut ticked = Instant::now();
    loop {
        let timeout = TICK.saturating_sub(ticked.elapsed());
        match poll.poll(&mut events, Some(timeout.min(control.patience()))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        control.expire();
        if ticked.elapsed() >= TICK {
            control.tick();
            ticked = Instant::now();
        }
        let mut ready: Vec<_> = events.iter().map(|event| event.token()).collect();
        ready.dedup();
        for token in ready {
            if token == LISTENER {
                accept(listener, &poll, &mut peers, &mut next)?;
                continue;
            }
            if token == UPCALLS {
                control.look();
                continue;
            }
            let Some((connection, session)) = peers.get_mut(&token) else {
                continue;
            };
            let listened = session.listener.is_some();
            match converse(&mut control, connection, session) {
                Ok(true) => {
                    if !listened && session.listener.is_some() {
                        let both = Interest::READABLE | Interest::WRITABLE;
                        let fd = connection.stream().as_raw_fd();
                        poll.registry()
                            .reregister(&mut SourceFd(&fd), token, both)?;
                    }
                    tell(&mut control, &poll, &mut peers)?;
                }
                Ok(false) => return Ok(()),
                Err(error) => part(&mut control, &poll, &mut peers, token, &error)?,
            }
        }
        tell(&mut control, &poll, &mut peers)?;
    }
}

/// Ends a connection.
fn part(
    control: &mut Control,
    poll: &Poll,
    peers: &mut Peers,
    token: Token,
    error: &FrameError,
) -> io::Result<()> {
    match error {
        FrameError::Closed => tracing::info!("vswitchd has left"),
        error => tracing::warn!(%error, "a connection was cut off"),
    }
    if let Some((connection, session)) = peers.remove(&token) {
        if session.listener.is_some() {
            control.listen(-1);
        }
        let fd = connection.stream().as_raw_fd();
        poll.registry().deregister(&mut SourceFd(&fd))?;
    }
    Ok(())
}

/// Tells listeners what has happened, as far as they take it.
fn tell(control: &mut Control, poll: &Poll, peers: &mut Peers) -> io::Result<()> {
    let events = control.take_events();
    let mut lost = Vec::new();
    for (token, (connection, session)) in peers.iter_mut() {
        let Some(listener) = &mut session.listener else {
            continue;
        };
        let told = events
            .iter()
            .try_for_each(|event| match listener.push(event)? {
                true => Ok(()),
                false => Err(FrameError::Io(io::Error::other(
                    "events are not taken and have become too many",
                ))),
            });
        let told = told.and_then(|()| listener.flush(connection).map_err(FrameError::Io));
        lost.extend(told.err().map(|error| (*token, error)));
    }
    lost.into_iter()
        .try_for_each(|(token, error)| part(control, poll, peers, token, &error))
}

fn accept(
    listener: &UnixListener,
    poll: &Poll,
    connections: &mut Peers,
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
        connections.insert(token, (Connection::new(stream), Session::default()));
    }
}

/// Answers all requests that have come; false after the one that ends the process.
fn converse(
    control: &mut Control,
    connection: &mut Connection,
    session: &mut Session,
) -> Result<bool, FrameError> {
    while let Some((request, fds)) = connection.try_receive::<Request>()? {
        let last = request == Request::Shutdown;
        let (reply, fds) = control.handle(session, request, fds);
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        connection.send(&reply, &borrowed)?;
        if last {
            return Ok(false);
        }
        if connection.is_drained() {
            break;
        }
    }
    Ok(true)
}
