//! Flow monitors: peers that hear of what becomes of flows.
//!
//! What happened is in a bridge's journal ([`super::journal`]); `Control::tell_monitors` takes it from
//! there and tells each peer what its monitors watch. A peer that asked for the change itself hears
//! its xid only, unless its monitor wants more, and hears it before the answer to its next request.
//!
//! A peer that does not keep up gets a pause: beyond `PAUSE_SIZE` it is told so, and from then on only
//! of flows that go. When it has taken everything it is told what is new or changed since, and that
//! the pause is over.
//!
//! Law: who applies every message to what the first list held has, outside of a pause, the flows that
//! the switch has.
//!
//! Cost: each step is held against each monitor of the bridge; the first list and the end of a pause
//! look at all flows.
//!
//! Spec: OpenFlow 1.4.1 §7.3.5.18; Open vSwitch's `include/openflow/nicira-ext.h` ("Requesting flow
//! monitoring") and, where these leave a choice, `ofproto/connmgr.c`.

use std::collections::BTreeMap;

use vswitch_dpapi::Removal;
use vswitch_flow::{FlowRule, FlowSelect, Instructions, OfPort};
use vswitch_openflow::flow_monitor::{
    FlowEvent, FlowMonitorRequest, FlowNews, FlowUpdate, MonitorCommand, MonitorFlags,
};
use vswitch_openflow::flow_removed::RemovedReason;
use vswitch_openflow::multipart::Reply;
use vswitch_openflow::{ErrorCode, Message, Version};

use super::journal::{Step, Turn};
use super::link::{Head, LinkId, OWN_XID};
use super::session::Session;
use super::tables::{Held, Tables};
use super::turn::Out;
use crate::control::Control;

/// Bytes of news that may wait before there is a pause (as in Open vSwitch).
const PAUSE_SIZE: usize = 128 << 10;

/// Monitors that a connection may have; every change of a flow is held against each.
const MONITORS_MAX: usize = 1024;

/// The controller's own changes are told in full. The first is the flag's meaning by the
/// specification; by the second Open vSwitch and its tools mean the same.
const OWN_IN_FULL: MonitorFlags =
    MonitorFlags(MonitorFlags::NO_ABBREV.0 | MonitorFlags::ONLY_OWN.0);

/// What a peer watches.
#[derive(Debug, Default)]
pub struct Monitors {
    by_id: BTreeMap<u32, Monitor>,
    /// Since when there is a pause, on the journal's clock.
    paused: Option<u64>,
}

#[derive(Clone, Debug)]
struct Monitor {
    flags: MonitorFlags,
    select: FlowSelect,
}

impl Monitor {
    /// Whether it watches a flow, by what it does or did.
    fn watches(&self, rule: &FlowRule, before: Option<&Instructions>) -> bool {
        if self.select.selects(rule) {
            return true;
        }
        let Some(before) = before.filter(|_| self.select.out_port != OfPort::ANY) else {
            return false;
        };
        let sent = FlowRule {
            instructions: before.clone(),
            ..FlowRule::default()
        };
        let elsewhere = FlowSelect {
            out_port: OfPort::ANY,
            ..self.select.clone()
        };
        sent.sends_to(self.select.out_port) && elsewhere.selects(rule)
    }
}

impl Monitors {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Begins, changes or ends monitors; the numbers of those that have begun. When one of the
    /// requests is refused, none of those before it begins.
    fn change(&mut self, requests: Vec<FlowMonitorRequest>) -> Result<Vec<u32>, ErrorCode> {
        let mut begun = Vec::new();
        for request in requests {
            if let Err(code) = self.change_one(request, &mut begun) {
                for id in begun {
                    self.by_id.remove(&id);
                }
                return Err(code);
            }
        }
        Ok(begun)
    }

    fn change_one(
        &mut self,
        request: FlowMonitorRequest,
        begun: &mut Vec<u32>,
    ) -> Result<(), ErrorCode> {
        let id = request.id;
        match request.command {
            MonitorCommand::Add if self.by_id.contains_key(&id) => {
                return Err(ErrorCode::MofcMonitorExists);
            }
            MonitorCommand::Add if self.by_id.len() >= MONITORS_MAX => {
                return Err(ErrorCode::MofcUnknown);
            }
            MonitorCommand::Add => {}
            MonitorCommand::Modify => self.cancel(id)?,
            MonitorCommand::Delete => return self.cancel(id),
        }
        let monitor = Monitor {
            flags: request.flags,
            select: request.select,
        };
        self.by_id.insert(id, monitor);
        begun.push(id);
        Ok(())
    }

    /// Ends a monitor.
    pub fn cancel(&mut self, id: u32) -> Result<(), ErrorCode> {
        let ended = self.by_id.remove(&id);
        ended.map(drop).ok_or(ErrorCode::MofcUnknownMonitor)
    }

    /// The flows that are there when monitors begin.
    fn first(&self, begun: &[u32], tables: &Tables) -> Vec<FlowUpdate> {
        let begun: Vec<&Monitor> = begun.iter().filter_map(|id| self.by_id.get(id)).collect();
        let mut found = Vec::new();
        for held in tables.held() {
            let initial = begun.iter().filter(|monitor| {
                monitor.flags.has(MonitorFlags::INITIAL) && monitor.watches(&held.rule, None)
            });
            if let Some(flags) = union(initial.map(|monitor| monitor.flags)) {
                found.push((held, FlowEvent::Initial, flags));
            }
        }
        in_order(found)
    }

    /// What is new or changed since a pause began, which is over.
    fn missed(&mut self, tables: &Tables) -> Vec<FlowUpdate> {
        let Some(since) = self.paused.take() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for held in tables.held() {
            let (event, wanted) = if held.added > since {
                let either = MonitorFlags::ADD.with(MonitorFlags::MODIFY);
                (FlowEvent::Added, either)
            } else if held.changed > since {
                (FlowEvent::Modified, MonitorFlags::MODIFY)
            } else {
                continue;
            };
            let watching = self.by_id.values().filter(|monitor| {
                monitor.flags.0 & wanted.0 != 0 && monitor.watches(&held.rule, None)
            });
            if let Some(flags) = union(watching.map(|monitor| monitor.flags)) {
                found.push((held, event, flags));
            }
        }
        in_order(found)
    }

    /// What is to be told of one step, if anything. `own` is the xid of the request that asked for it,
    /// if that was this peer's.
    fn update(&self, step: &Step, own: Option<u32>) -> Option<FlowUpdate> {
        let (event, flag) = match step.turn {
            Turn::Added => (FlowEvent::Added, MonitorFlags::ADD),
            Turn::Modified => (FlowEvent::Modified, MonitorFlags::MODIFY),
            Turn::Removed(_) => (FlowEvent::Removed, MonitorFlags::REMOVED),
        };
        if let Some(paused) = self.paused
            && (event != FlowEvent::Removed || step.added > paused)
        {
            return None;
        }
        let watching = self.by_id.values().filter(|monitor| {
            monitor.flags.has(flag) && monitor.watches(&step.rule, step.before.as_ref())
        });
        let flags = union(watching.map(|monitor| monitor.flags))?;
        match own.filter(|_| flags.0 & OWN_IN_FULL.0 == 0 && self.paused.is_none()) {
            Some(xid) => Some(FlowUpdate::Own(xid)),
            None => {
                let reason = match step.turn {
                    Turn::Removed(why) => Some(reason(why)),
                    Turn::Added | Turn::Modified => None,
                };
                Some(news(&step.rule, event, reason, flags))
            }
        }
    }

    /// What is to be told of steps: a list for each change.
    fn updates(
        &self,
        steps: &[Step],
        own: impl Fn(usize) -> Option<u32>,
        together: bool,
    ) -> Vec<Vec<FlowUpdate>> {
        let batches = steps.chunk_by(|a, b| together || a.batch == b.batch);
        let told = batches.map(|batch| {
            let mut list: Vec<FlowUpdate> = Vec::new();
            let mut abbreviated = false;
            for step in batch {
                let update = self.update(step, step.asked.and_then(&own));
                // Once is enough for all that a request did.
                let is_own = matches!(update, Some(FlowUpdate::Own(_)));
                if !(is_own && abbreviated) {
                    list.extend(update);
                }
                abbreviated |= is_own;
            }
            list
        });
        told.filter(|list| !list.is_empty()).collect()
    }
}

/// All flags together, if there are any.
fn union(flags: impl Iterator<Item = MonitorFlags>) -> Option<MonitorFlags> {
    flags.reduce(MonitorFlags::with)
}

/// Flows in the order in which they came.
fn in_order(mut found: Vec<(Held, FlowEvent, MonitorFlags)>) -> Vec<FlowUpdate> {
    found.sort_by_key(|(held, _, _)| held.added);
    let told = found.into_iter();
    told.map(|(held, event, flags)| news(&held.rule, event, None, flags))
        .collect()
}

fn reason(why: Removal) -> RemovedReason {
    match why {
        Removal::Idle => RemovedReason::IdleTimeout,
        Removal::Hard => RemovedReason::HardTimeout,
        Removal::Delete => RemovedReason::Delete,
        Removal::GroupDelete => RemovedReason::GroupDelete,
        Removal::MeterDelete => RemovedReason::MeterDelete,
        Removal::Eviction => RemovedReason::Eviction,
    }
}

fn news(
    rule: &FlowRule,
    event: FlowEvent,
    reason: Option<RemovedReason>,
    flags: MonitorFlags,
) -> FlowUpdate {
    let told = flags.has(MonitorFlags::INSTRUCTIONS);
    FlowUpdate::Flow(Box::new(FlowNews {
        event,
        reason,
        table: rule.table,
        priority: rule.priority,
        idle_timeout: rule.idle_timeout,
        hard_timeout: rule.hard_timeout,
        cookie: rule.cookie,
        matches: rule.matches.clone(),
        instructions: if told {
            rule.instructions.clone()
        } else {
            Instructions::default()
        },
    }))
}

/// Who asked for changes that are told of.
pub(super) struct Author<'a> {
    /// The peer.
    pub session: &'a mut Session,
    /// The xids of its requests, in the order in which they were made together.
    pub xids: Vec<u32>,
    /// The answer in the making, which what is told belongs into.
    pub out: &'a mut Out,
}

impl Session {
    /// Tells steps to a peer; whether there was anything to tell.
    fn tell_steps(
        &mut self,
        steps: &[Step],
        own: impl Fn(usize) -> Option<u32>,
        together: bool,
    ) -> bool {
        let lists = self.monitors.updates(steps, own, together);
        let told = !lists.is_empty();
        for list in lists {
            self.tell_updates(list);
        }
        told
    }

    fn tell_updates(&mut self, updates: Vec<FlowUpdate>) {
        let written = |updates| {
            let reply = Reply::FlowMonitor(updates);
            Message::MultipartReply(reply, false).encode(self.version, OWN_XID)
        };
        let bytes = written(updates.clone()).or_else(|_| written(self.sayable(updates)));
        match bytes {
            Ok(bytes) => self.pusher.news(bytes),
            Err(error) => tracing::warn!(%error, "news of flows could not be written"),
        }
    }

    /// Updates with what this version can say of them. A flow that another version made may not be
    /// sayable: its instructions are left out first, then the whole flow.
    fn sayable(&self, updates: Vec<FlowUpdate>) -> Vec<FlowUpdate> {
        let can = |update: &FlowUpdate| {
            let reply = Reply::FlowMonitor(vec![update.clone()]);
            let message = Message::MultipartReply(reply, false);
            message.encode(self.version, OWN_XID).is_ok()
        };
        let said = updates.into_iter().filter_map(|mut update| {
            if !can(&update)
                && let FlowUpdate::Flow(news) = &mut update
            {
                news.instructions = Instructions::default();
            }
            can(&update).then_some(update)
        });
        said.collect()
    }

    /// Begins a pause if the peer does not keep up.
    fn check_pace(&mut self, tables: &mut Tables) {
        if self.monitors.paused.is_some() || self.pusher.news_waiting() <= PAUSE_SIZE {
            return;
        }
        self.monitors.paused = Some(tables.journal.tick());
        // First, so that the connection cannot miss it.
        self.pusher.pause();
        self.tell_pause(Message::FlowMonitorPaused, FlowUpdate::Paused);
    }

    fn tell_pause(&mut self, message: Message, update: FlowUpdate) {
        let message = if self.version >= Version::V14 {
            Message::MultipartReply(Reply::FlowMonitor(vec![update]), false)
        } else {
            message
        };
        if let Some(bytes) = self.encode(&message, OWN_XID) {
            self.pusher.news(bytes);
        }
    }
}

impl Control {
    /// Tells monitors what has happened to a bridge's flows since they were told last. `together`:
    /// in one list, as what a bundle did.
    pub(super) fn tell_monitors(
        &mut self,
        bridge: u32,
        author: Option<Author<'_>>,
        together: bool,
    ) {
        let Some(tables) = self.tables.get_mut(&bridge) else {
            return;
        };
        if tables.journal.is_empty() {
            return;
        }
        let steps = tables.journal.take();
        let mut watched = false;
        for session in self.agent.sessions.values_mut() {
            if session.bridge == bridge && !session.monitors.is_empty() {
                watched = true;
                session.tell_steps(&steps, |_| None, together);
                session.check_pace(tables);
            }
        }
        if let Some(Author { session, xids, out }) = author
            && !session.monitors.is_empty()
        {
            watched = true;
            if session.tell_steps(&steps, |place| xids.get(place).copied(), together) {
                out.news(session);
                session.check_pace(tables);
            }
        }
        // A peer at its turn is not among the others; it begins to watch by its next request.
        tables.journal.watch(watched);
    }

    /// Begins, changes and ends monitors, and answers with the flows that are there.
    pub(super) fn monitor(
        &mut self,
        session: &mut Session,
        head: &Head,
        requests: Vec<FlowMonitorRequest>,
        out: &mut Out,
    ) -> Result<(), ErrorCode> {
        // What has happened so far is no news to monitors that begin now.
        let author = Author {
            session,
            xids: Vec::new(),
            out,
        };
        self.tell_monitors(author.session.bridge, Some(author), false);
        let tables = self.tables.entry(session.bridge).or_default();
        let begun = session.monitors.change(requests)?;
        tables.journal.watch(true);
        let updates = session.monitors.first(&begun, tables);
        out.news(session);
        let written = |updates| Message::MultipartReply(Reply::FlowMonitor(updates), false);
        let whole = written(updates.clone());
        if whole.encode(session.version, head.xid()).is_ok() {
            out.reply(session, head, &whole);
        } else {
            out.reply(session, head, &written(session.sayable(updates)));
        }
        Ok(())
    }

    /// A peer has taken all news: its pause ends.
    pub(super) fn end_pause(&mut self, link: LinkId) {
        let Some(session) = self.agent.sessions.get_mut(&link) else {
            return;
        };
        let Some(tables) = self.tables.get(&session.bridge) else {
            return;
        };
        if session.monitors.paused.is_none() {
            return;
        }
        let updates = session.monitors.missed(tables);
        if !updates.is_empty() {
            session.tell_updates(updates);
        }
        session.tell_pause(Message::FlowMonitorResumed, FlowUpdate::Resumed);
    }
}
