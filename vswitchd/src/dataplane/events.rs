//! What the datapath tells without being asked, on a connection that serves only this.
//!
//! Law: what a change did to flows is in this stream before the change is answered, so who takes
//! everything that is here ([`Events::here`]) after an answer knows all that came before it.

use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::io::unix::AsyncFd;
use vswitch_dpapi::Event;
use vswitch_dpapi::message::{Reply, Request};

use super::{DataplaneError, Wire, unexpected};

/// The stream of events; without a datapath nothing comes.
#[derive(Debug, Default)]
pub struct Events {
    /// The connection, and the watch for what comes by it.
    wire: Option<(Wire, AsyncFd<OwnedFd>)>,
}

impl Events {
    /// Has the datapath that listens on `socket` tell.
    ///
    /// # Errors
    /// As [`Wire::exchange`] gives them.
    pub async fn start(socket: &Path) -> Result<Self, DataplaneError> {
        let mut wire = Wire::connect(socket).await?;
        match wire.exchange(&Request::Events, &[]).await? {
            (Reply::Done, _) => match wire.readable() {
                Ok(readable) => Ok(Self {
                    wire: Some((wire, readable)),
                }),
                Err(error) => Err(DataplaneError::Silent(error.to_string())),
            },
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// The next event. It never comes when the connection has ended: that the datapath is gone is
    /// noticed by its other connection.
    pub async fn next(&mut self) -> Event {
        while let Some((wire, readable)) = &mut self.wire {
            match wire.receive_of(readable).await {
                Ok(Some((Reply::Event(event), _))) => return *event,
                Ok(Some((other, _))) => self.end(&unexpected(&other)),
                Ok(None) => {}
                Err(error) => self.end(&error),
            }
        }
        std::future::pending().await
    }

    /// The next event that has come already.
    pub fn here(&mut self) -> Option<Event> {
        match self.wire.as_mut()?.0.try_receive() {
            Ok(Some(Reply::Event(event))) => return Some(*event),
            Ok(Some(other)) => self.end(&unexpected(&other)),
            Ok(None) => {}
            Err(error) => self.end(&error),
        }
        None
    }

    fn end(&mut self, why: &dyn std::fmt::Display) {
        tracing::debug!(%why, "the datapath tells nothing more");
        self.wire = None;
    }
}
