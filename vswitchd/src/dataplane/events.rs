//! What the datapath tells without being asked, on a connection that serves only this.
//!
//! Law: what a change did to flows is in this stream before the change is answered, so who takes
//! everything that is here ([`Events::here`]) after an answer knows all that came before it.

use std::path::Path;

use vswitch_dpapi::Event;
use vswitch_dpapi::message::{Reply, Request};

use super::{DataplaneError, Wire, unexpected};

/// The stream of events; without a datapath nothing comes.
#[derive(Debug, Default)]
pub struct Events {
    wire: Option<Wire>,
}

impl Events {
    /// Has the datapath that listens on `socket` tell.
    ///
    /// # Errors
    /// As [`Wire::exchange`] gives them.
    pub async fn start(socket: &Path) -> Result<Self, DataplaneError> {
        let mut wire = Wire::connect(socket).await?;
        match wire.exchange(&Request::Events, &[]).await? {
            (Reply::Done, _) => Ok(Self { wire: Some(wire) }),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// The next event. It never comes when the connection has ended: that the datapath is gone is
    /// noticed by its other connection.
    pub async fn next(&mut self) -> Event {
        while let Some(wire) = &mut self.wire {
            match wire.receive().await {
                Ok((Reply::Event(event), _)) => return *event,
                Ok((other, _)) => self.end(&unexpected(&other)),
                Err(error) => self.end(&error),
            }
        }
        std::future::pending().await
    }

    /// The next event that has come already.
    pub fn here(&mut self) -> Option<Event> {
        match self.wire.as_mut()?.try_receive() {
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
