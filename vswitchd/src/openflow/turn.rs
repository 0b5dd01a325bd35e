//! A turn: the messages of one peer that are here, answered in order.
//!
//! Consecutive changes to flows, groups and meters go to the datapath together, because a request
//! there costs more than a change. Each is still made or refused by itself: when the datapath
//! refuses one, those before it are made, the refusal is answered, and the rest is tried.
//!
//! Law: every refusal is written before the answer to a later message, so before the barrier's.

use std::collections::VecDeque;

use vswitch_dpapi::Change;
use vswitch_flow::rule::TABLE_MAX;
use vswitch_flow::{FlowCommand, FlowMod, check};
use vswitch_openflow::error::ErrorMessage;
use vswitch_openflow::request_forward::RequestForward;
use vswitch_openflow::{ErrorCode, Message, Version};

use super::dump::Dump;
use super::link::{Answer, Head, Item, LinkId, OWN_XID, Part, TargetState, Word};
use super::monitor::Author;
use super::refuse;
use super::session::{Kind, Session};
use crate::control::{ChangeError, Control};

/// Bytes of an answer after which the rest of a turn waits until they are sent.
const ANSWER_SIZE: usize = 256 << 10;

/// The answer in the making.
#[derive(Debug, Default)]
pub(super) struct Out {
    parts: Vec<Part>,
    bytes: Vec<u8>,
    dump: Option<Box<Dump>>,
}

impl Out {
    /// Answers a message with another.
    pub(super) fn reply(&mut self, session: &Session, head: &Head, message: &Message) {
        match message.encode(session.version, head.xid()) {
            Ok(bytes) => self.bytes.extend_from_slice(&bytes),
            Err(error) => {
                tracing::warn!(%error, "an answer could not be written");
                self.refuse(session.version, head, ErrorCode::BrcEperm);
            }
        }
    }

    /// Answers a message with an error.
    pub(super) fn refuse(&mut self, version: Version, head: &Head, code: ErrorCode) {
        let message = Message::Error(ErrorMessage::refuse(head.bytes(), code));
        if let Ok(bytes) = message.encode(version, head.xid()) {
            self.bytes.extend_from_slice(&bytes);
        }
    }

    /// Answers with a list of flows, after which the turn ends.
    pub(super) fn dump(&mut self, dump: Dump) {
        self.dump = Some(Box::new(dump));
    }

    /// What the peer was told of flows so far comes here.
    pub(super) fn news(&mut self, session: &Session) {
        self.end_bytes();
        self.parts.push(Part::News(session.pusher.told()));
    }

    fn end_bytes(&mut self) {
        if !self.bytes.is_empty() {
            self.parts
                .push(Part::Bytes(std::mem::take(&mut self.bytes)));
        }
    }

    fn is_full(&self) -> bool {
        let size = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::Dump(_) | Part::News(_) => 0,
        };
        let ended: usize = self.parts.iter().map(size).sum();
        self.dump.is_some() || ended + self.bytes.len() > ANSWER_SIZE
    }

    fn parts(mut self) -> Vec<Part> {
        self.end_bytes();
        self.parts.extend(self.dump.map(Part::Dump));
        self.parts
    }
}

impl Control {
    /// Does what a link says.
    pub async fn hear_link(&mut self, word: Word) {
        match word {
            Word::Opened {
                link,
                door,
                version,
                pusher,
            } => {
                let Some((bridge, service)) = self.agent.bridge_of(door) else {
                    return;
                };
                let session = Session::new(door, bridge, service, version, pusher);
                self.agent.sessions.insert(link, session);
                if !service {
                    self.agent.set_target(door, TargetState::Active);
                    self.end_stand_in(bridge).await;
                }
            }
            Word::Turn {
                link,
                items,
                answer,
            } => {
                // A link whose door was closed meanwhile has nobody waiting for the answer.
                let _ = answer.send(self.turn(link, items).await);
            }
            Word::Drained { link } => self.end_pause(link),
            Word::Closed { link } => {
                self.agent.sessions.remove(&link);
            }
            Word::Target { door, state } => self.agent.set_target(door, state),
        }
    }

    /// Answers messages of one peer.
    async fn turn(&mut self, link: LinkId, mut items: VecDeque<Item>) -> Answer {
        let Some(mut session) = self.agent.sessions.remove(&link) else {
            return Answer {
                close: true,
                ..Answer::default()
            };
        };
        let mut out = Out::default();
        while !out.is_full() {
            let changes = take_changes(&session, &mut items);
            if !changes.is_empty() {
                self.make_all(&mut session, changes, &mut out).await;
                continue;
            }
            let Some(item) = items.pop_front() else {
                break;
            };
            let done = match item.message {
                Ok(message) => {
                    self.answer(&mut session, &item.head, message, &mut out)
                        .await
                }
                Err(error) => Err(error.code),
            };
            if let Err(code) = done {
                out.refuse(session.version, &item.head, code);
            }
        }
        self.agent.sessions.insert(link, session);
        Answer {
            parts: out.parts(),
            rest: items,
            close: false,
        }
    }

    /// Makes changes one by one as far as the peer can see.
    async fn make_all(&mut self, session: &mut Session, changes: Vec<Asked>, out: &mut Out) {
        let mut run = Vec::new();
        for (head, change) in changes {
            match change {
                Ok(change) => run.push((head, change)),
                Err(code) => {
                    self.make_run(session, std::mem::take(&mut run), out).await;
                    out.refuse(session.version, &head, code);
                }
            }
        }
        self.make_run(session, run, out).await;
    }

    async fn make_run(&mut self, session: &mut Session, run: Vec<(Head, Change)>, out: &mut Out) {
        let (mut heads, mut rest): (VecDeque<Head>, VecDeque<Change>) = run.into_iter().unzip();
        // Many refusals in a row would each cost the whole rest.
        let mut at_once = rest.len();
        while !rest.is_empty() {
            let now: Vec<Change> = rest.drain(..at_once.min(rest.len())).collect();
            let len = now.len();
            let forward = self.to_forward(session, &now);
            match self.change(session.bridge, now).await {
                Ok(()) => {
                    let made = heads.drain(..len.min(heads.len()));
                    let xids = made.map(|head| head.xid()).collect();
                    self.tell_made(session, xids, out);
                    self.forward(session, &forward);
                    at_once = at_once.saturating_mul(2);
                }
                Err(ChangeError::Refused { at, why, changes }) => {
                    let mut changes = VecDeque::from(changes);
                    let before: Vec<Change> = changes.drain(..at.min(changes.len())).collect();
                    changes.pop_front();
                    changes.append(&mut rest);
                    rest = changes;
                    let made: Vec<Head> = heads.drain(..before.len().min(heads.len())).collect();
                    if !before.is_empty() {
                        self.make_again(session, before, made, out).await;
                    }
                    if let Some(head) = heads.pop_front() {
                        out.refuse(session.version, &head, refuse::code(why));
                    }
                    at_once = (at_once / 2).max(1);
                }
                Err(ChangeError::Dataplane(error)) => {
                    tracing::warn!(%error, "changes could not be made");
                    for head in heads.drain(..len.min(heads.len())) {
                        out.refuse(session.version, &head, ErrorCode::FmfcUnknown);
                    }
                }
            }
        }
    }

    /// Makes changes that would have been made but for one behind them.
    async fn make_again(
        &mut self,
        session: &mut Session,
        changes: Vec<Change>,
        heads: Vec<Head>,
        out: &mut Out,
    ) {
        match self.change(session.bridge, changes).await {
            Ok(()) => {
                let xids = heads.iter().map(Head::xid).collect();
                self.tell_made(session, xids, out);
            }
            Err(error) => {
                // They were possible a moment ago.
                tracing::warn!(%error, "changes were refused the second time");
                for head in heads {
                    out.refuse(session.version, &head, ErrorCode::FmfcUnknown);
                }
            }
        }
    }

    /// Tells monitors of changes that were made for requests of these xids.
    fn tell_made(&mut self, session: &mut Session, xids: Vec<u32>, out: &mut Out) {
        let bridge = session.bridge;
        let author = Author { session, xids, out };
        self.tell_monitors(bridge, Some(author), false);
    }

    /// The changes to groups and meters, if another controller wants to hear of them.
    fn to_forward(&self, session: &Session, changes: &[Change]) -> Vec<Message> {
        let mut peers = self.agent.sessions.values();
        if !peers.any(|peer| peer.bridge == session.bridge && peer.wants_forwarded()) {
            return Vec::new();
        }
        let message = |change: &Change| match change {
            Change::Flow(_) => None,
            Change::Group(change) => Some(Message::GroupMod((**change).clone())),
            Change::Meter(change) => Some(Message::MeterMod((**change).clone())),
        };
        changes.iter().filter_map(message).collect()
    }

    fn forward(&self, session: &Session, requests: &[Message]) {
        for request in requests {
            let reason = u32::from(matches!(request, Message::MeterMod(_)));
            for peer in self.peers(session.bridge) {
                if peer.wants(Kind::RequestForward, reason)
                    && let Ok(request) = RequestForward::new(request, peer.version, OWN_XID)
                {
                    peer.tell(&Message::RequestForward(request));
                }
            }
        }
    }
}

/// A change that was asked for, or why it is not even tried.
type Asked = (Head, Result<Change, ErrorCode>);

/// The changes at the front.
fn take_changes(session: &Session, items: &mut VecDeque<Item>) -> Vec<Asked> {
    let is_change = |item: &Item| {
        let message = item.message.as_ref();
        message.is_ok_and(|message| {
            matches!(
                message,
                Message::FlowMod(_) | Message::GroupMod(_) | Message::MeterMod(_)
            )
        })
    };
    let mut changes = Vec::new();
    while items.front().is_some_and(is_change) {
        if let Some(Item {
            head,
            message: Ok(message),
        }) = items.pop_front()
        {
            let change = if session.may_change() {
                change(message, session.version)
            } else {
                Err(ErrorCode::BrcIsSecondary)
            };
            changes.push((head, change));
        }
    }
    changes
}

/// What a message asks to be changed, checked as far as that needs nobody.
pub(super) fn change(message: Message, version: Version) -> Result<Change, ErrorCode> {
    match message {
        Message::FlowMod(message) => {
            // There are no buffers, so there is none of this number.
            if message.buffer.is_some() && message.change.command == FlowCommand::Add {
                return Err(ErrorCode::BrcBufferUnknown);
            }
            check_flow(&message.change, version)?;
            Ok(Change::Flow(Box::new(message.change)))
        }
        Message::GroupMod(change) => {
            check::check_group_mod(&change).map_err(|why| refuse::fault(&why))?;
            Ok(Change::Group(Box::new(change)))
        }
        Message::MeterMod(change) => {
            check::check_meter_mod(&change).map_err(|why| refuse::fault(&why))?;
            Ok(Change::Meter(Box::new(change)))
        }
        _ => Err(ErrorCode::BrcBadType),
    }
}

fn check_flow(change: &FlowMod, version: Version) -> Result<(), ErrorCode> {
    if change.all_tables || change.rule.table <= TABLE_MAX {
        // 1.0 lets an action come to nothing where later versions want to know that it does not.
        let strict = version > Version::V10;
        return check::check_flow_mod(change, strict).map_err(|why| refuse::fault(&why));
    }
    // Open vSwitch keeps table 254 for itself and lets nobody write it.
    match change.command {
        FlowCommand::Add | FlowCommand::Modify | FlowCommand::ModifyStrict => {
            Err(ErrorCode::BrcEperm)
        }
        FlowCommand::Delete | FlowCommand::DeleteStrict => Err(ErrorCode::BrcBadTableId),
    }
}
