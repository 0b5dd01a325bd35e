//! What control knows of flows besides the tables: who changes them, when they go, what is told.
//!
//! Law: the tables that workers have are a value; the ledger holds the newest one and is the only
//! one to make another. It does no I/O and asks no clock: control publishes what it made, has
//! workers credit their traffic and tells what has gone; a test does the same in its own way.
//!
//! Timers: a flow's expiry is looked at again when the moment has come for which it was put down.
//! Traffic only ever moves it later, so no flow outlives its timeout and none is looked at more
//! often than it is used. Cost: the logarithm of the number of flows with timeouts, for each that
//! comes, goes or was used.
//!
//! Threads: one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hashbrown::HashMap;
use vswitch_dpapi::{
    BridgeId, Change, ChangeRefusal, Desired, Event, Removal, RouteSpec, RouteTarget, RouterId,
};
use vswitch_flow::{FlowMod, FlowRule, Group, Meter, Prefix};

use crate::pipeline::{self, Effect, Evictions, Gone, Log, Routes, Rule, Tables};
use crate::tick::Tick;
use crate::tunnel::underlay::Underlay;

/// A flow with a timeout, and when it is to be looked at.
#[derive(Debug)]
struct Timer {
    at: Tick,
    bridge: BridgeId,
    rule: Arc<Rule>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// Adds routes. Those that lead the same way share it: of a million there are few ways.
fn put_all(routes: &mut Routes, specs: &[RouteSpec]) {
    let mut targets: HashMap<&RouteTarget, Arc<RouteTarget>> = HashMap::new();
    for spec in specs {
        let target = targets
            .entry(&spec.target)
            .or_insert_with(|| Arc::new(spec.target.clone()));
        routes.put(&spec.prefix, spec.source.as_ref(), Arc::clone(target));
    }
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// An unknown bridge.
    #[error("the datapath has no bridge number {}", .0.0)]
    Bridge(BridgeId),
    /// A change that cannot be made, by its place.
    #[error("change {at} cannot be made: {why}")]
    Refused {
        /// Its place among the changes.
        at: usize,
        /// Why not.
        why: ChangeRefusal,
    },
}

/// What a packet's `learn` led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// There are new tables.
    Changed,
    /// The flow was there and is young again.
    Renewed,
    /// There are as many flows as there may be, or the tables do not take it.
    Refused,
}

/// The newest tables and what belongs to them.
#[derive(Debug)]
pub struct Ledger {
    tables: Arc<Tables>,
    evictions: Evictions,
    timers: BinaryHeap<Reverse<Timer>>,
    /// Flows in force that have a timeout: what the timers are held against.
    timed: usize,
    seed: u64,
}

impl Ledger {
    /// No bridge, no flow. `seed` keys all hashes.
    ///
    /// # Errors
    /// None that an empty state could cause.
    pub fn new(seed: u64) -> Result<Self, pipeline::Refusal> {
        Ok(Self {
            tables: Arc::new(Tables::build(&Desired::default(), None, 1, seed)?),
            evictions: Evictions::default(),
            timers: BinaryHeap::new(),
            timed: 0,
            seed,
        })
    }

    /// The newest tables.
    #[must_use]
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Puts another desired state in force. What goes because a table takes less now is answered.
    ///
    /// # Errors
    /// A refusal; nothing has changed then.
    pub fn set_desired(
        &mut self,
        desired: &Desired,
        now: Tick,
    ) -> Result<Vec<Gone>, pipeline::Refusal> {
        let epoch = self.tables.epoch + 1;
        let tables = Tables::build(desired, Some(&self.tables), epoch, self.seed)?;
        self.tables = Arc::new(tables);
        let mut gone = Vec::new();
        for spec in &desired.bridges {
            if spec.flow_limits.iter().any(|limit| limit.evict) {
                gone.extend(self.draft(spec.id, now, |draft| draft.enforce_limits()));
            }
        }
        Ok(gone)
    }

    /// Makes this the network that carries tunnels.
    pub fn set_underlay(&mut self, underlay: Underlay) {
        self.tables = Arc::new(self.tables.with_underlay(underlay));
    }

    /// Makes these all routes of a router.
    ///
    /// # Errors
    /// [`pipeline::Refusal::NoRouter`]; nothing has changed then.
    pub fn set_routes(
        &mut self,
        router: RouterId,
        specs: &[RouteSpec],
    ) -> Result<(), pipeline::Refusal> {
        let mut routes = Routes::default();
        put_all(&mut routes, specs);
        // Whatever was there before may have gone.
        let all = [Prefix::all(true)];
        self.accept_routes(router, routes, all.iter())
    }

    /// Takes routes of a router out, and adds others.
    ///
    /// # Errors
    /// [`pipeline::Refusal::NoRouter`]; nothing has changed then.
    pub fn change_routes(
        &mut self,
        router: RouterId,
        remove: &[(Prefix, Option<Prefix>)],
        add: &[RouteSpec],
    ) -> Result<(), pipeline::Refusal> {
        let mut routes = self.tables.router(router)?.routes().clone();
        for (prefix, source) in remove {
            routes.take(prefix, source.as_ref());
        }
        put_all(&mut routes, add);
        let gone = remove.iter().map(|(prefix, _)| prefix);
        let come = add.iter().map(|route| &route.prefix);
        self.accept_routes(router, routes, gone.chain(come))
    }

    fn accept_routes<'a>(
        &mut self,
        router: RouterId,
        routes: Routes,
        changed: impl Iterator<Item = &'a Prefix>,
    ) -> Result<(), pipeline::Refusal> {
        let epoch = self.tables.epoch + 1;
        let tables = self.tables.with_routes(router, routes, changed, epoch)?;
        self.tables = Arc::new(tables);
        Ok(())
    }

    /// Makes these all flows, groups and meters of a bridge.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn set_tables(
        &mut self,
        bridge: BridgeId,
        flows: Vec<FlowRule>,
        groups: Vec<Group>,
        meters: Vec<Meter>,
        now: Tick,
    ) -> Result<Vec<Gone>, ChangeError> {
        let draft = self.tables.draft(bridge, &mut self.evictions, now);
        let mut draft = draft.ok_or(ChangeError::Bridge(bridge))?;
        let replaced = draft.replace(flows, groups, meters);
        replaced.map_err(|(at, why)| ChangeError::Refused { at, why })?;
        let (tables, log) = self.tables.with(draft);
        Ok(self.accept(bridge, tables, log))
    }

    /// Makes changes to a bridge, all of them.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn change(
        &mut self,
        bridge: BridgeId,
        changes: Vec<Change>,
        now: Tick,
    ) -> Result<Vec<Gone>, ChangeError> {
        let draft = self.tables.draft(bridge, &mut self.evictions, now);
        let mut draft = draft.ok_or(ChangeError::Bridge(bridge))?;
        for (at, change) in changes.into_iter().enumerate() {
            if let Err(why) = draft.apply(change) {
                self.evictions.forget(bridge);
                return Err(ChangeError::Refused { at, why });
            }
        }
        let (tables, log) = self.tables.with(draft);
        Ok(self.accept(bridge, tables, log))
    }

    /// Does what a packet's `learn` asks for. The flows that went for it are added to `gone`.
    pub fn learn(
        &mut self,
        bridge: BridgeId,
        change: &FlowMod,
        limit: u32,
        now: Tick,
        gone: &mut Vec<Gone>,
    ) -> Learned {
        let Some(at) = self.tables.bridge(bridge) else {
            return Learned::Refused;
        };
        let flow = &change.rule;
        match at.rule(flow.table, &flow.matches, flow.priority) {
            Some(rule) if rule.is_learned_by(change) => {
                rule.renew(now);
                return Learned::Renewed;
            }
            Some(_) => {}
            None if limit != 0 && at.learned_len(flow.table, flow.cookie) >= limit => {
                return Learned::Refused;
            }
            None => {}
        }
        match self.change(bridge, vec![Change::from(change.clone())], now) {
            Ok(more) => {
                gone.extend(more);
                Learned::Changed
            }
            Err(_) => Learned::Refused,
        }
    }

    /// Does what a packet does to flows, and answers what listeners are told of it. The flows that
    /// went for it are added to `gone`.
    pub fn grant(&mut self, effect: &Effect, now: Tick, gone: &mut Vec<Gone>) -> Option<Event> {
        match effect {
            Effect::Learn {
                bridge,
                change,
                limit,
            } => {
                let learned = self.learn(*bridge, change, *limit, now, gone);
                (learned == Learned::Changed).then(|| Event::Learned {
                    bridge: *bridge,
                    change: Box::new(change.clone()),
                })
            }
            Effect::FinTimeout {
                bridge,
                rule,
                idle,
                hard,
            } => {
                let changed = self.shorten(*bridge, rule, *idle, *hard);
                changed.then(|| Event::Timeouts {
                    bridge: *bridge,
                    rule: Box::new(rule.to_flow()),
                })
            }
            Effect::Resolve { device, address } => Some(Event::Resolve {
                device: *device,
                address: *address,
            }),
        }
    }

    /// Shortens a flow's timeouts, if it is still in force; answers whether that changed them.
    pub fn shorten(&mut self, bridge: BridgeId, rule: &Arc<Rule>, idle: u16, hard: u16) -> bool {
        if !self.is_in_force(bridge, rule) {
            return false;
        }
        let had = rule.expiry().is_some();
        let changed = rule.shorten(idle, hard);
        if changed && let Some((at, _)) = rule.expiry() {
            self.timed += usize::from(!had);
            let rule = Arc::clone(rule);
            self.timers.push(Reverse(Timer { at, bridge, rule }));
        }
        changed
    }

    /// When some flow has to be looked at.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Tick> {
        self.timers.peek().map(|Reverse(timer)| timer.at)
    }

    /// Takes out the flows whose time has come. Workers have told of their traffic before, or a
    /// flow that is in use may go; [`Ledger::next_expiry`] says whether that is worth asking.
    pub fn expire(&mut self, now: Tick) -> Vec<Gone> {
        let mut due: Vec<(BridgeId, Arc<Rule>, Removal)> = Vec::new();
        while let Some(Reverse(first)) = self.timers.peek()
            && first.at < now
        {
            let Some(Reverse(timer)) = self.timers.pop() else {
                break;
            };
            if !self.is_in_force(timer.bridge, &timer.rule) {
                continue;
            }
            match timer.rule.expiry() {
                Some((at, hard)) if at < now => {
                    let reason = if hard { Removal::Hard } else { Removal::Idle };
                    due.push((timer.bridge, timer.rule, reason));
                }
                Some((at, _)) => self.timers.push(Reverse(Timer { at, ..timer })),
                None => {}
            }
        }
        due.sort_by_key(|(bridge, _, _)| *bridge);
        let mut gone = Vec::new();
        for part in due.chunk_by(|(a, _, _), (b, _, _)| a == b) {
            let Some((bridge, _, _)) = part.first() else {
                continue;
            };
            let rules = part.iter().map(|(_, rule, why)| (Arc::clone(rule), *why));
            gone.extend(self.draft(*bridge, now, |draft| draft.expire(rules)));
        }
        gone
    }

    fn is_in_force(&self, bridge: BridgeId, rule: &Arc<Rule>) -> bool {
        let flow = rule.flow();
        let bridge = self.tables.bridge(bridge);
        let there = bridge.and_then(|b| b.rule(flow.table, &flow.matches, flow.priority));
        there.is_some_and(|there| Arc::ptr_eq(there, rule))
    }

    /// Changes a bridge in a way that cannot fail.
    fn draft(
        &mut self,
        bridge: BridgeId,
        now: Tick,
        change: impl FnOnce(&mut pipeline::Draft<'_>),
    ) -> Vec<Gone> {
        let Some(mut draft) = self.tables.draft(bridge, &mut self.evictions, now) else {
            return Vec::new();
        };
        change(&mut draft);
        if draft.log().is_empty() {
            return Vec::new();
        }
        let (tables, log) = self.tables.with(draft);
        self.accept(bridge, tables, log)
    }

    fn accept(&mut self, bridge: BridgeId, tables: Tables, log: Log) -> Vec<Gone> {
        self.tables = Arc::new(tables);
        for rule in log.added {
            if let Some((at, _)) = rule.expiry() {
                self.timed += 1;
                self.timers.push(Reverse(Timer { at, bridge, rule }));
            }
        }
        for gone in &log.gone {
            self.timed -= usize::from(gone.rule.expiry().is_some()).min(self.timed);
        }
        // What went before its time is still put down; it may not become more than the rest.
        if self.timers.len() > 2 * self.timed + 1024 {
            let mut timers = std::mem::take(&mut self.timers).into_vec();
            timers.retain(|Reverse(timer)| self.is_in_force(timer.bridge, &timer.rule));
            self.timers = timers.into();
        }
        log.gone
    }
}

/// What is told of a flow that has gone, if it is ([`Gone::is_told`]). Workers have told of
/// all traffic before.
#[must_use]
pub fn removal(gone: &Gone, now: Tick) -> Option<Event> {
    let Gone {
        bridge,
        rule,
        reason: Some(reason),
    } = gone
    else {
        return None;
    };
    gone.is_told().then(|| Event::FlowRemoved {
        bridge: *bridge,
        rule: Box::new(rule.to_flow()),
        reason: *reason,
        packets: rule.stats().packets(),
        bytes: rule.stats().bytes(),
        age_ms: now.since(rule.created()),
    })
}
