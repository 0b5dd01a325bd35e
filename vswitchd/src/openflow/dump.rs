//! Long lists of flows, asked of the datapath page by page on a connection of their own.
//!
//! Law: at most as many dumps go on as there are permits; a page is asked for when the one before has
//! been handed to the socket.

use std::path::PathBuf;
use std::sync::Arc;

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
    pub async fn next(mut self: Box<Self>, socket: PathBuf, dumps: Arc<Semaphore>) -> Page {
        match self.ask(socket, dumps).await {
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
        dumps: Arc<Semaphore>,
    ) -> Result<(Vec<Row>, bool), DataplaneError> {
        let (mut wire, permit, request) = match self.under_way.take() {
            Some((wire, permit)) => (wire, permit, Request::MoreFlows { max: PAGE }),
            None => {
                let permit = dumps
                    .acquire_owned()
                    .await
                    .map_err(|_| DataplaneError::Gone)?;
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
