//! A flow in force: what was asked for, its traffic, and when it goes.
//!
//! Law: what a flow matches and does never changes; another value takes its place in the tables.
//! Its counters and times do change, under everybody's eyes: workers add what they have collected,
//! and control reads sums that are exact once every worker has been asked. A flow that replaces
//! another shares its counters, so that what a worker still adds to the old one is not lost.
//!
//! Spec: OpenFlow 1.3.5 §5.5 (timeouts), §6.4 (what a replacement keeps).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use vswitch_flow::action::Learn;
use vswitch_flow::rule::each_action;
use vswitch_flow::{Action, FlowCommand, FlowFlags, FlowMod, FlowRule};

use crate::tick::Tick;

/// Flags that stay with a flow; the others say how it is to be added.
const KEPT: u16 = FlowFlags::SEND_FLOW_REM.0
    | FlowFlags::NO_PACKET_COUNTS.0
    | FlowFlags::NO_BYTE_COUNTS.0
    | FlowFlags::OUTPUT_LEN.0;

/// Traffic of a flow.
#[derive(Debug, Default)]
pub struct RuleStats {
    packets: AtomicU64,
    bytes: AtomicU64,
    /// The tick of the last packet plus one; 0 before the first.
    used: AtomicU64,
}

impl RuleStats {
    /// Adds traffic, the last of it at `now`.
    pub fn add(&self, packets: u64, bytes: u64, now: Tick) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.used.fetch_max(now.0 + 1, Ordering::Relaxed);
    }

    /// Packets so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Bytes of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When the last packet came.
    #[must_use]
    pub fn used(&self) -> Option<Tick> {
        self.used.load(Ordering::Relaxed).checked_sub(1).map(Tick)
    }
}

/// What a flow leans on and what leans on it, so that nobody goes through its actions again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ties {
    /// Groups that its actions name.
    pub(crate) groups: Box<[u32]>,
    /// Meters that its instructions and actions name.
    pub(crate) meters: Box<[u32]>,
    /// Table and cookie of flows that go when this one goes (`learn(delete_learned)`).
    pub(crate) learned: Box<[(u8, u64)]>,
    /// Table and cookie of flows whose number is limited (`learn(limit=...)`).
    pub(crate) limited: Box<[(u8, u64)]>,
}

/// The ties of a flow that has none.
static LOOSE: LazyLock<Ties> = LazyLock::new(Ties::default);

impl Ties {
    fn of(flow: &FlowRule) -> Self {
        let (mut groups, mut meters) = (Vec::new(), Vec::new());
        let (mut learned, mut limited) = (Vec::new(), Vec::new());
        meters.extend(flow.instructions.meter);
        let mut see = |action: &Action| match action {
            Action::Group(id) => groups.push(*id),
            Action::Controller(to) => meters.extend(to.meter),
            Action::Meter(id) => meters.push(*id),
            Action::Learn(learn) => {
                let Learn { table, cookie, .. } = **learn;
                if learn.delete_learned {
                    learned.push((table, cookie));
                }
                if learn.limit != 0 {
                    limited.push((table, cookie));
                }
            }
            _ => {}
        };
        each_action(&flow.instructions.apply, &mut see);
        each_action(&flow.instructions.write, &mut see);
        let sorted = |mut ids: Vec<u32>| {
            ids.sort_unstable();
            ids.dedup();
            ids.into_boxed_slice()
        };
        let pairs = |mut pairs: Vec<(u8, u64)>| {
            pairs.sort_unstable();
            pairs.dedup();
            pairs.into_boxed_slice()
        };
        Self {
            groups: sorted(groups),
            meters: sorted(meters),
            learned: pairs(learned),
            limited: pairs(limited),
        }
    }
}

/// A flow in force.
#[derive(Debug)]
pub struct Rule {
    flow: FlowRule,
    created: Tick,
    /// The idle timeout runs from here until the first packet comes.
    counted_from: Tick,
    /// The hard timeout runs from here: the last change, or the last packet that would have learned
    /// the flow again.
    renewed: AtomicU64,
    /// Idle timeout in the upper half, hard timeout in the lower: `fin_timeout` shortens them.
    timeouts: AtomicU32,
    stats: Arc<RuleStats>,
    /// Most flows have none, and there may be a hundred thousand.
    ties: Option<Box<Ties>>,
}

impl Rule {
    /// A flow added at `created`, which goes on counting where `previous` stopped.
    #[must_use]
    pub fn new(mut flow: FlowRule, created: Tick, previous: Option<&Self>) -> Self {
        flow.flags = FlowFlags(flow.flags.0 & KEPT);
        let ties = Ties::of(&flow);
        Self {
            ties: (ties != *LOOSE).then(|| Box::new(ties)),
            renewed: AtomicU64::new(created.0),
            timeouts: AtomicU32::new(pair(flow.idle_timeout, flow.hard_timeout)),
            flow,
            created,
            counted_from: created,
            stats: previous.map_or_else(Arc::default, |rule| Arc::clone(&rule.stats)),
        }
    }

    /// This flow with other instructions, and another cookie if there is one. It keeps its age,
    /// its timeouts and its flags, and its counters unless they are to begin again.
    #[must_use]
    pub(super) fn modified(
        &self,
        instructions: vswitch_flow::Instructions,
        cookie: Option<u64>,
        reset: bool,
        now: Tick,
    ) -> Self {
        let flow = FlowRule {
            instructions,
            cookie: cookie.unwrap_or(self.flow.cookie),
            ..self.to_flow()
        };
        Self {
            created: self.created,
            counted_from: if reset { now } else { self.counted_from },
            ..Self::new(flow, now, (!reset).then_some(self))
        }
    }

    /// What was asked for. Its timeouts may have been shortened since ([`Rule::to_flow`]).
    #[must_use]
    pub fn flow(&self) -> &FlowRule {
        &self.flow
    }

    /// The flow as it is now.
    #[must_use]
    pub fn to_flow(&self) -> FlowRule {
        let (idle_timeout, hard_timeout) = self.timeouts();
        FlowRule {
            idle_timeout,
            hard_timeout,
            ..self.flow.clone()
        }
    }

    /// Whether the flow as it is now is `flow`.
    #[must_use]
    pub fn is(&self, flow: &FlowRule) -> bool {
        let flags = FlowFlags(flow.flags.0 & KEPT);
        self.timeouts() == (flow.idle_timeout, flow.hard_timeout)
            && self.flow.flags == flags
            && self.flow.table == flow.table
            && self.flow.priority == flow.priority
            && self.flow.cookie == flow.cookie
            && self.flow.importance == flow.importance
            && self.flow.matches == flow.matches
            && self.flow.instructions == flow.instructions
    }

    /// Whether a `learn` that makes `change` finds nothing to change here. One that modifies leaves
    /// timeouts as they are.
    #[must_use]
    pub fn is_learned_by(&self, change: &FlowMod) -> bool {
        match change.command {
            FlowCommand::Add => self.is(&change.rule),
            _ => {
                let cookie = !change.new_cookie || self.flow.cookie == change.rule.cookie;
                cookie && self.flow.instructions == change.rule.instructions
            }
        }
    }

    /// When it was added.
    #[must_use]
    pub fn created(&self) -> Tick {
        self.created
    }

    /// Its traffic.
    #[must_use]
    pub fn stats(&self) -> &RuleStats {
        &self.stats
    }

    pub(crate) fn ties(&self) -> &Ties {
        self.ties.as_deref().unwrap_or(&LOOSE)
    }

    /// Begins the hard timeout again: a packet would have learned this flow.
    pub fn renew(&self, now: Tick) {
        self.renewed.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Idle and hard timeout, seconds; 0 is none.
    #[must_use]
    pub fn timeouts(&self) -> (u16, u16) {
        let both = self.timeouts.load(Ordering::Relaxed);
        ((both >> 16) as u16, both as u16)
    }

    /// Whether [`Rule::shorten`] would change something.
    #[must_use]
    pub fn is_longer_than(&self, idle: u16, hard: u16) -> bool {
        let longer = |old: u16, new: u16| new != 0 && (old == 0 || new < old);
        let (old_idle, old_hard) = self.timeouts();
        longer(old_idle, idle) || longer(old_hard, hard)
    }

    /// Shortens timeouts; 0 leaves one as it is. True when that changed something. A timeout that
    /// the flow did not have counts as longer than any (`reduce_timeout` of Open vSwitch).
    pub fn shorten(&self, idle: u16, hard: u16) -> bool {
        let shorter = |old: u16, new: u16| match (old, new) {
            (old, 0) => old,
            (0, new) => new,
            (old, new) => old.min(new),
        };
        let change = |both: u32| {
            let (old_idle, old_hard) = ((both >> 16) as u16, both as u16);
            let new = pair(shorter(old_idle, idle), shorter(old_hard, hard));
            (new != both).then_some(new)
        };
        let order = Ordering::Relaxed;
        self.timeouts.fetch_update(order, order, change).is_ok()
    }

    /// When it goes unless something happens before; `None` is never. The second is whether the
    /// hard timeout says so.
    #[must_use]
    pub fn expiry(&self) -> Option<(Tick, bool)> {
        let (idle, hard) = self.timeouts();
        let after = |from: u64, seconds: u16| {
            (seconds != 0).then(|| from + Tick::seconds(seconds.into()).0)
        };
        // A flow that counts on where another stopped was not idle before it was there.
        let from = self.stats.used().unwrap_or_default().max(self.counted_from);
        let idle = after(from.0, idle);
        let hard = after(self.renewed.load(Ordering::Relaxed), hard);
        match (idle, hard) {
            (Some(idle), Some(hard)) if idle < hard => Some((Tick(idle), false)),
            (_, Some(hard)) => Some((Tick(hard), true)),
            (Some(idle), None) => Some((Tick(idle), false)),
            (None, None) => None,
        }
    }
}

fn pair(idle: u16, hard: u16) -> u32 {
    u32::from(idle) << 16 | u32::from(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(idle_timeout: u16, hard_timeout: u16) -> Rule {
        let flow = FlowRule {
            idle_timeout,
            hard_timeout,
            ..FlowRule::default()
        };
        Rule::new(flow, Tick::seconds(100), None)
    }

    #[test]
    fn a_flow_goes_by_the_timeout_that_ends_first() {
        assert_eq!(rule(0, 0).expiry(), None);
        let both = rule(10, 30);
        assert_eq!(both.expiry(), Some((Tick::seconds(110), false)));
        both.stats().add(1, 60, Tick::seconds(125));
        assert_eq!(both.expiry(), Some((Tick::seconds(130), true)));
        both.renew(Tick::seconds(120));
        assert_eq!(both.expiry(), Some((Tick::seconds(135), false)));
        assert_eq!(rule(30, 30).expiry(), Some((Tick::seconds(130), true)));
    }

    #[test]
    fn timeouts_become_shorter_and_never_longer() {
        let flow = rule(0, 30);
        assert!(flow.shorten(5, 40));
        assert_eq!(flow.timeouts(), (5, 30));
        assert!(!flow.shorten(0, 0) && !flow.shorten(5, 31));
        assert!(flow.shorten(9, 3));
        assert_eq!(flow.timeouts(), (5, 3));
        assert_eq!(flow.to_flow().hard_timeout, 3);
    }

    #[test]
    fn a_modified_flow_keeps_what_openflow_says_it_keeps() {
        let old = rule(7, 9);
        old.stats().add(3, 300, Tick::seconds(101));
        let now = Tick::seconds(105);
        let new = old.modified(vec![Action::PopVlan].into(), None, false, now);
        assert_eq!(new.created(), old.created());
        assert_eq!(new.timeouts(), (7, 9));
        assert_eq!(new.stats().packets(), 3);
        old.stats().add(1, 100, now);
        assert_eq!(new.stats().packets(), 4, "what comes late is not lost");
        assert_eq!(new.expiry(), Some((Tick::seconds(112), false)));
        let reset = old.modified(vec![Action::PopVlan].into(), Some(8), true, now);
        assert_eq!((reset.stats().packets(), reset.flow().cookie), (0, 8));
    }
}
