//! Long lists of flows, asked of the datapath page by page on a connection of their own.
//!
//! Law: at most as many dumps go on as there are permits; a page is asked for when the one before has
//! been handed to the socket. A peer that takes nothing keeps its permit only as long as nobody waits
//! for one ([`Permits::is_wanted`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vswitch_dpapi::BridgeId;
use vswitch_dpapi::message::{FlowStats as Row, Reply, Request};
use vswitch_flow::FlowSelect;
use vswitch_openflow::elapsed::Elapsed;
use vswitch_openflow::flow_stats::FlowStats;
use vswitch_openflow::{Layout, Message, Version, multipart};

use crate::dataplane::{DataplaneError, Wire, unexpected};

/// Flows of a page: some 150 KB.
const PAGE: u32 = 1000;

/// Who holds a permit has a list under way.
#[derive(Clone, Debug)]
pub struct Permits {
    free: Arc<Semaphore>,
    /// How many wait for one.
    waiting: Arc<AtomicUsize>,
}

/// One that waits for a permit.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Permits {
    /// So many.
    pub fn new(len: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(len)),
            waiting: Arc::default(),
        }
    }

    /// Whether somebody waits for one.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// One of them, as soon as there is one.
    async fn acquire(&self) -> Result<OwnedSemaphorePermit, DataplaneError> {
        let _waiter = Waiter::new(&self.waiting);
        let permit = Arc::clone(&self.free).acquire_owned().await;
        permit.map_err(|_| DataplaneError::Gone)
    }
}

/// A list that is being asked for.
#[derive(Debug)]
pub struct Dump {
    /// Of which bridge.
    pub bridge: u32,
    /// Which of its flows.
    pub select: FlowSelect,
    /// The request's version, form and xid.
    pub version: Version,
    /// See `version`.
    pub layout: Layout,
    /// See `version`.
    pub xid: u32,
    /// The connection, once the first page has come.
    pub under_way: Option<(Wire, OwnedSemaphorePermit)>,
}

/// Some of a list.
#[derive(Debug)]
pub struct Page {
    /// Messages as they are sent.
    pub bytes: Vec<u8>,
    /// What is to be asked for next.
    pub rest: Option<Box<Dump>>,
}

impl Dump {
    /// The next page. A datapath that does not answer ends the list.
    pub async fn next(mut self: Box<Self>, socket: PathBuf, permits: Permits) -> Page {
        match self.ask(socket, &permits).await {
            Ok((rows, more)) => {
                let bytes = self.write(rows, more);
                Page {
                    bytes,
                    rest: more.then_some(self),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a list of flows ends early");
                Page {
                    bytes: self.write(Vec::new(), false),
                    rest: None,
                }
            }
        }
    }

    async fn ask(
        &mut self,
        socket: PathBuf,
        permits: &Permits,
    ) -> Result<(Vec<Row>, bool), DataplaneError> {
        let (mut wire, permit, request) = match self.under_way.take() {
            Some((wire, permit)) => (wire, permit, Request::MoreFlows { max: PAGE }),
            None => {
                let permit = permits.acquire().await?;
                let request = Request::Flows {
                    bridge: BridgeId(self.bridge),
                    select: Box::new(self.select.clone()),
                    max: PAGE,
                };
                (Wire::connect(&socket).await?, permit, request)
            }
        };
        match wire.exchange(&request, &[]).await? {
            (Reply::Flows { rows, more }, _) => {
                if more {
                    self.under_way = Some((wire, permit));
                }
                Ok((rows, more))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn write(&self, rows: Vec<Row>, more: bool) -> Vec<u8> {
        let written = |flows| {
            let reply = multipart::Reply::Flow(self.layout, flows);
            Message::MultipartReply(reply, more).encode(self.version, self.xid)
        };
        let mut flows: Vec<FlowStats> = rows.into_iter().map(stats).collect();
        written(flows.clone()).unwrap_or_else(|_| {
            // A flow that another version made may not be sayable in this one.
            flows.retain(|flow| written(vec![flow.clone()]).is_ok());
            written(flows).unwrap_or_default()
        })
    }
}

fn stats(row: Row) -> FlowStats {
    let seconds = |ms: u64| {
        u16::try_from(ms / 1000)
            .unwrap_or(u16::MAX - 1)
            .min(u16::MAX - 1)
    };
    FlowStats {
        rule: row.flow,
        duration: Elapsed::from(std::time::Duration::from_millis(row.age_ms)),
        idle_age: Some(seconds(row.idle_ms.unwrap_or(row.age_ms))),
        hard_age: None,
        packets: row.packets,
        bytes: row.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_permit_is_wanted_while_somebody_waits() {
        let permits = Permits::new(1);
        let first = permits.acquire().await.expect("a free one");
        assert!(!permits.is_wanted());
        let mut second = Box::pin(permits.acquire());
        tokio::select! {
            biased;
            _ = &mut second => panic!("there is no second one"),
            () = tokio::task::yield_now() => {}
        }
        assert!(permits.is_wanted());
        drop(first);
        let second = second.await.expect("the first one");
        assert!(!permits.is_wanted());
        drop(second);
        // Who gives up waiting waits no longer.
        let _held = permits.acquire().await.expect("a free one");
        let mut given_up = Box::pin(permits.acquire());
        tokio::select! {
            biased;
            _ = &mut given_up => panic!("there is no second one"),
            () = tokio::task::yield_now() => {}
        }
        drop(given_up);
        assert!(!permits.is_wanted());
    }
}
