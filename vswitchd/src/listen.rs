//! A unix stream socket that others speak on, whatever they speak.
//!
//! Each connection becomes a task of its own. Law: not more connections at a time than there are
//! places; more wait in the kernel's queue. Only root may connect: the socket has mode 0600. The
//! socket's name goes with the [`Listener`].

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// How long to wait when a client cannot be accepted: out of descriptors, as a rule.
const AGAIN: Duration = Duration::from_millis(100);

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    accepting: tokio::task::JoinHandle<()>,
}

impl Listener {
    /// Listens on `path` and serves each client with what `serve` makes of its connection. A socket
    /// that a dead process left behind is replaced, so the caller holds whatever makes it the only
    /// one.
    pub fn start<F>(
        path: &Path,
        places: usize,
        serve: impl Fn(UnixStream) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self {
            path: path.into(),
            accepting: tokio::spawn(accept(listener, places, serve)),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket's name could not be removed");
        }
    }
}

async fn accept<F>(listener: UnixListener, places: usize, serve: impl Fn(UnixStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(places));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = serve(stream);
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
