//! The ways in and out of a bridge: sockets that are listened on, and controllers that are connected to.
//!
//! A [`Door`] is one of them with all its connections; dropping it ends them and takes its socket's
//! name away.
//!
//! Law: each door has at most [`LINKS_MAX`] connections at a time; further ones are closed at once,
//! and the log says so once a minute. Who comes over TLS has [`HANDSHAKE`] to prove who it is and counts
//! meanwhile; who cannot is told of in the log, at most once a second. A controller that cannot be reached is tried again after 1 s,
//! then after twice as long each time, up to 8 s (`max_backoff` of Open vSwitch).

use std::fmt::Display;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use vswitch_tls::rustls::Connection;

use super::hello;
use super::keys::Keys;
use super::link::{self, DoorId, End, LinkId, Setting, TargetState, Word};
use super::stream::Stream;

/// Connections of a door.
pub const LINKS_MAX: usize = 512;

/// Pause after the first failure to reach a controller; it doubles.
const BACKOFF: Duration = Duration::from_secs(1);

/// The longest such pause, and how long a connection may take to be made.
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// How long both sides may take to prove to each other who they are.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// How often the log says that connections are refused.
const COMPLAINT: Duration = Duration::from_secs(60);

/// How often the log says at most that a peer could not prove who it is.
const REFUSAL: Duration = Duration::from_secs(1);

/// A way in or out.
#[derive(Debug)]
pub struct Door {
    /// Its number.
    pub id: DoorId,
    task: JoinHandle<()>,
    /// A socket's name, which goes with the door.
    path: Option<PathBuf>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "the socket's name could not be removed");
        }
    }
}

/// Gives connections their numbers.
static NEXT_LINK: AtomicU64 = AtomicU64::new(1);

fn next_link() -> LinkId {
    LinkId(NEXT_LINK.fetch_add(1, Ordering::Relaxed))
}

/// Listens on a socket of this machine that only root may connect to. One that a dead process left
/// behind is replaced.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Door {
    /// Clients of this machine: `BRIDGE.mgmt`.
    pub fn service(path: &Path, setting: Setting) -> io::Result<Self> {
        let listener = bind_unix(path)?;
        let id = setting.door;
        let task = tokio::spawn(async move {
            let mut links = Links::default();
            loop {
                let stream = links.beside(listener.accept()).await;
                let stream = stream.and_then(|(stream, _)| Stream::unix(stream));
                links.take(stream, &setting).await;
            }
        });
        Ok(Self {
            id,
            task,
            path: Some(path.into()),
        })
    }

    /// Those who listen in: `BRIDGE.snoop`.
    pub fn snoop(
        path: &Path,
        id: DoorId,
        copies: broadcast::Sender<Arc<[u8]>>,
    ) -> io::Result<Self> {
        let listener = bind_unix(path)?;
        let task = tokio::spawn(async move {
            let mut links = Links::default();
            loop {
                let stream = links.beside(listener.accept()).await;
                let stream = stream.and_then(|(stream, _)| Stream::unix(stream));
                let Some(stream) = links.admit(stream).await else {
                    continue;
                };
                let copies = copies.subscribe();
                links.set.spawn(async move {
                    if let Err(error) = show(stream, copies).await {
                        tracing::debug!(%error, "a listener has left");
                    }
                });
            }
        });
        Ok(Self {
            id,
            task,
            path: Some(path.into()),
        })
    }

    /// Clients and controllers that come over TCP: `ptcp:`, or `pssl:` with keys. That the address cannot
    /// be had is told by the state, and tried again.
    pub fn passive(address: SocketAddr, keys: Option<Arc<Keys>>, setting: Setting) -> Self {
        let id = setting.door;
        let task = tokio::spawn(async move {
            let listener = loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(error) => tell(&setting, TargetState::Backoff(error.to_string())).await,
                }
                sleep(BACKOFF_MAX).await;
            };
            tell(&setting, TargetState::Listening).await;
            let mut links = Links::default();
            loop {
                let accepted = links.beside(listener.accept()).await;
                let stream = accepted.and_then(|(stream, peer)| Ok((Stream::tcp(stream)?, peer)));
                match &keys {
                    None => {
                        let stream = stream.map(|(stream, _)| stream);
                        links.take(stream, &setting).await;
                    }
                    Some(keys) => links.take_secure(stream, keys, &setting).await,
                }
            }
        });
        Self {
            id,
            task,
            path: None,
        }
    }

    /// A controller that we connect to: `tcp:`, or `ssl:` with keys.
    pub fn active(
        address: SocketAddr,
        keys: Option<Arc<Keys>>,
        bridge: &str,
        setting: Setting,
    ) -> Self {
        let id = setting.door;
        let bridge = bridge.to_owned();
        let task = tokio::spawn(async move {
            let mut backoff = BACKOFF;
            loop {
                tell(&setting, TargetState::Connecting).await;
                let why = match reach(address, keys.as_deref()).await {
                    Ok(stream) => {
                        let begun = Instant::now();
                        let end = link::serve(stream, next_link(), setting.clone()).await;
                        tracing::info!(bridge, %address, %end, "a controller has gone");
                        if begun.elapsed() > BACKOFF_MAX {
                            backoff = BACKOFF;
                        }
                        end.to_string()
                    }
                    Err(why) => why,
                };
                tell(&setting, TargetState::Backoff(why)).await;
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        });
        Self {
            id,
            task,
            path: None,
        }
    }
}

/// Connects to a controller; why not, in words.
async fn reach(address: SocketAddr, keys: Option<&Keys>) -> Result<Stream, String> {
    // Who we are is known before anybody is troubled.
    let identity = keys.map(Keys::identity).transpose();
    let identity = identity.map_err(|error| error.to_string())?;
    let stream = match timeout(BACKOFF_MAX, TcpStream::connect(address)).await {
        Ok(stream) => stream.map_err(|error| error.to_string())?,
        Err(_) => return Err("no answer".into()),
    };
    let _ = stream.set_nodelay(true);
    let mut stream = Stream::tcp(stream).map_err(|error| error.to_string())?;
    if let Some(identity) = identity {
        let connection = identity.connect(address.ip());
        let connection = connection.map_err(|error| error.to_string())?;
        let secured = secure(&mut stream, connection.into()).await;
        secured.map_err(|end| end.to_string())?;
    }
    Ok(stream)
}

/// Has both sides prove who they are, in time.
async fn secure(stream: &mut Stream, connection: Connection) -> Result<(), End> {
    match timeout(HANDSHAKE, stream.secure(connection)).await {
        Ok(result) => result,
        Err(_) => Err(End::Slow(HANDSHAKE)),
    }
}

async fn tell(setting: &Setting, state: TargetState) {
    let door = setting.door;
    let _ = setting.words.send(Word::Target { door, state }).await;
}

/// The connections of a door; they end with it.
#[derive(Default)]
struct Links {
    set: JoinSet<()>,
    complained: Option<Instant>,
    /// When the log last told of a peer that could not prove who it is.
    refused: Arc<Mutex<Option<Instant>>>,
}

impl Links {
    /// Waits for something while connections that have ended are collected.
    async fn beside<T>(&mut self, event: impl Future<Output = T>) -> T {
        tokio::pin!(event);
        loop {
            tokio::select! {
                event = &mut event => return event,
                Some(_) = self.set.join_next() => {}
            }
        }
    }

    /// What was accepted, if there is a place for it.
    async fn admit<T>(&mut self, accepted: io::Result<T>) -> Option<T> {
        match accepted {
            Ok(stream) if self.set.len() < LINKS_MAX => Some(stream),
            Ok(_) => {
                if self
                    .complained
                    .is_none_or(|last| last.elapsed() > COMPLAINT)
                {
                    self.complained = Some(Instant::now());
                    tracing::warn!("there are {LINKS_MAX} connections; more are closed at once");
                }
                None
            }
            Err(error) => {
                // Out of descriptors, as a rule: there is nothing to do but to try again later.
                tracing::warn!(%error, "an OpenFlow client could not be accepted");
                sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }

    async fn take(&mut self, accepted: io::Result<Stream>, setting: &Setting) {
        let Some(stream) = self.admit(accepted).await else {
            return;
        };
        let setting = setting.clone();
        self.set.spawn(async move {
            let end = link::serve(stream, next_link(), setting).await;
            tracing::debug!(%end, "an OpenFlow client has left");
        });
    }

    /// The same for one that has to prove who it is.
    async fn take_secure(
        &mut self,
        accepted: io::Result<(Stream, SocketAddr)>,
        keys: &Arc<Keys>,
        setting: &Setting,
    ) {
        let Some((mut stream, peer)) = self.admit(accepted).await else {
            return;
        };
        let refused = Arc::clone(&self.refused);
        let identity = keys.identity();
        let setting = setting.clone();
        self.set.spawn(async move {
            let identity = match identity {
                Ok(identity) => identity,
                Err(error) => return tell_refused(&refused, peer, &error),
            };
            let result = match identity.accept() {
                Ok(connection) => secure(&mut stream, connection.into()).await,
                Err(error) => Err(End::Tls(error.to_string())),
            };
            if let Err(end) = result {
                return tell_refused(&refused, peer, &end);
            }
            let end = link::serve(stream, next_link(), setting).await;
            tracing::debug!(%end, "an OpenFlow client has left");
        });
    }
}

/// Tells of a peer that could not prove who it is, or takes us for somebody else.
fn tell_refused(last: &Mutex<Option<Instant>>, peer: SocketAddr, why: &dyn Display) {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= REFUSAL) {
        *last = Some(Instant::now());
        tracing::warn!(%peer, %why, "a peer over TLS was turned away");
    } else {
        tracing::debug!(%peer, %why, "a peer over TLS was turned away");
    }
}

/// Writes copies to one who listens in. What it is too slow for is left out.
async fn show(mut stream: Stream, mut copies: broadcast::Receiver<Arc<[u8]>>) -> Result<(), End> {
    let mut bytes = [0; 512];
    write(&mut stream, &hello::ours()).await?;
    loop {
        tokio::select! {
            copy = copies.recv() => match copy {
                Ok(copy) => write(&mut stream, &copy).await?,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            ready = stream.readable() => {
                ready?;
                // Whatever it says is of no interest but for its end.
                match stream.try_read(&mut bytes) {
                    Ok(0) => return Ok(()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                        return Err(error.into());
                    }
                    _ => {}
                }
            }
        }
    }
}

async fn write(stream: &mut Stream, mut bytes: &[u8]) -> Result<(), End> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(size) => bytes = bytes.get(size..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
