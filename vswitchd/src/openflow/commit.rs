//! Making a bundle: all of its messages or none.
//!
//! Changes to flows, groups and meters are one request to the datapath, which makes all or none. What
//! stands between them divides it: packets, which go out by the tables as they are at that place, and
//! changes to ports. When a part after the first is refused, the tables and ports go back to what
//! they were; packets that have gone out have gone out.

use vswitch_dpapi::message::Request;
use vswitch_dpapi::{BridgeId, Change};
use vswitch_flow::{FlowRule, Group, Meter};
use vswitch_openflow::{ErrorCode, Message};

use super::link::Head;
use super::monitor::Author;
use super::refuse;
use super::session::Session;
use super::tables::Tables;
use super::turn::{self, Out};
use crate::control::{ChangeError, Control};

/// What a bridge's tables and ports were.
struct Before {
    flows: Vec<FlowRule>,
    groups: Vec<Group>,
    meters: Vec<Meter>,
    ports: Option<crate::store::Belief>,
}

/// A part of a bundle that is made at once.
enum Step {
    Changes(Vec<(Head, Change)>),
    Other(Box<(Head, Message)>),
}

impl Step {
    fn len(&self) -> usize {
        match self {
            Self::Changes(changes) => changes.len(),
            Self::Other(_) => 0,
        }
    }

    fn xid(&self) -> u32 {
        match self {
            Self::Changes(changes) => changes.first().map_or(0, |(head, _)| head.xid()),
            Self::Other(other) => other.0.xid(),
        }
    }
}

impl Control {
    /// Makes the messages of a bundle. The one that was refused is answered by `out`, and the
    /// error is for the commit itself.
    pub(super) async fn commit_bundle(
        &mut self,
        session: &mut Session,
        messages: Vec<(Head, Message)>,
        out: &mut Out,
    ) -> Result<(), ErrorCode> {
        let steps = match steps(session, messages) {
            Ok(steps) => steps,
            Err(refused) => {
                let (head, code) = *refused;
                out.refuse(session.version, &head, code);
                return Err(ErrorCode::BfcMsgFailed);
            }
        };
        // A place in the journal is one within its step. One xid is told for the whole bundle, so the
        // first message's will do for each.
        let longest = steps.iter().map(Step::len).max().unwrap_or_default();
        let xids = vec![steps.first().map_or(0, Step::xid); longest];
        let before = (steps.len() > 1).then(|| self.remember(session.bridge, &steps));
        for step in steps {
            if let Err(refused) = self.make_step(session.bridge, step).await {
                let (head, code) = *refused;
                out.refuse(session.version, &head, code);
                if let Some(before) = before {
                    self.put_back(session.bridge, before).await;
                }
                return Err(ErrorCode::BfcMsgFailed);
            }
        }
        let bridge = session.bridge;
        let author = Author { session, xids, out };
        self.tell_monitors(bridge, Some(author), true);
        Ok(())
    }

    async fn make_step(&mut self, bridge: u32, step: Step) -> Result<(), Box<(Head, ErrorCode)>> {
        match step {
            Step::Changes(changes) => {
                let (heads, changes): (Vec<Head>, Vec<Change>) = changes.into_iter().unzip();
                let Err(error) = self.change(bridge, changes).await else {
                    return Ok(());
                };
                let (at, code) = match error {
                    ChangeError::Refused { at, why, .. } => (at, refuse::code(why)),
                    ChangeError::Dataplane(error) => {
                        tracing::warn!(%error, "a bundle could not be made");
                        (0, ErrorCode::FmfcUnknown)
                    }
                };
                match heads.get(at).or(heads.first()) {
                    Some(head) => Err(Box::new((head.clone(), code))),
                    None => Ok(()),
                }
            }
            Step::Other(other) => {
                let (head, message) = *other;
                let done = match message {
                    Message::PacketOut(packet) => self.packet_out(bridge, *packet).await,
                    Message::PortMod(change) => self.change_port(bridge, &change).await,
                    _ => Err(ErrorCode::BfcMsgUnsup),
                };
                done.map_err(|code| Box::new((head, code)))
            }
        }
    }

    fn remember(&self, bridge: u32, steps: &[Step]) -> Before {
        let ports = steps.iter().any(
            |step| matches!(step, Step::Other(other) if matches!(other.1, Message::PortMod(_))),
        );
        let tables = self.tables.get(&bridge);
        Before {
            flows: tables.into_iter().flat_map(Tables::flows).collect(),
            groups: tables
                .into_iter()
                .flat_map(Tables::groups)
                .cloned()
                .collect(),
            meters: tables
                .into_iter()
                .flat_map(Tables::meters)
                .cloned()
                .collect(),
            ports: ports.then(|| self.belief.clone()),
        }
    }

    async fn put_back(&mut self, bridge: u32, before: Before) {
        let mut tables = Tables::with_flows(before.flows.iter().cloned());
        before
            .groups
            .iter()
            .for_each(|group| tables.set_group(group.clone()));
        before
            .meters
            .iter()
            .for_each(|meter| tables.set_meter(meter.clone()));
        let request = Request::SetTables {
            bridge: BridgeId(bridge),
            flows: before.flows,
            groups: before.groups,
            meters: before.meters,
        };
        // A datapath that is gone is replaced by one that gets what is remembered.
        self.replace_tables(bridge, tables);
        if let Some(tables) = self.tables.get_mut(&bridge) {
            tables.journal.forget_asked();
        }
        if let Err(error) = self.dataplane.tell(&request, &[]).await {
            tracing::error!(%error, "a bundle that failed could not be taken back");
        }
        if let Some(ports) = before.ports
            && let Err(error) = self.commit(ports, Vec::new()).await
        {
            tracing::error!(%error, "ports of a bundle that failed could not be taken back");
        }
    }
}

/// The parts of a bundle, or the first message that cannot be.
fn steps(
    session: &Session,
    messages: Vec<(Head, Message)>,
) -> Result<Vec<Step>, Box<(Head, ErrorCode)>> {
    let mut steps = Vec::new();
    for (head, message) in messages {
        match message {
            Message::FlowMod(_) | Message::GroupMod(_) | Message::MeterMod(_) => {
                let change = match turn::change(message, session.version) {
                    Ok(change) => change,
                    Err(code) => return Err(Box::new((head, code))),
                };
                match steps.last_mut() {
                    Some(Step::Changes(changes)) => changes.push((head, change)),
                    _ => steps.push(Step::Changes(vec![(head, change)])),
                }
            }
            other => steps.push(Step::Other(Box::new((head, other)))),
        }
    }
    Ok(steps)
}
