//! Changes to the flows, groups and meters of a bridge.
//!
//! Law: a [`Draft`] is a copy of a bridge that changes are made to, each seeing what the ones
//! before it have made. Either all of them are made and the copy takes the bridge's place, or one
//! is refused and nothing has happened. What a draft did to flows is in its log, so that whoever
//! keeps timers and tells controllers need not compare.
//!
//! Cost: what the change concerns. A strict change finds its flow by its match; a change without
//! priority looks at every flow of its tables; a deleted group or meter at all flows, unless none
//! names it.
//!
//! Spec: OpenFlow 1.3.5 §6.4 to §6.7; where that leaves something open, `ofproto.c` of Open vSwitch:
//! a flow that replaces another keeps its counters unless they are to begin again, a modified one
//! keeps its age, timeouts and flags.

use std::collections::BTreeMap;
use std::sync::Arc;

use vswitch_dpapi::{BridgeId, Change, ChangeRefusal, Removal};
use vswitch_flow::group::GROUP_MAX;
use vswitch_flow::rule::{GROUP_ANY, TABLE_MAX};
use vswitch_flow::{
    Bucket, FlowCommand, FlowFlags, FlowMod, FlowRule, Group, GroupKind, GroupMod, Instructions,
    Meter, MeterMod, OfPort,
};

use super::classifier::Table;
use super::evict::Evictions;
use super::group::{GROUPS_MAX, GroupEntry, leads_to_itself};
use super::meter::{METERS_MAX, MeterEntry};
use super::recent::Recent;
use super::rule::{Rule, Ties};
use super::tables::{Bridge, Refusal, Tables};
use crate::tick::Tick;

/// A flow that is no longer in force.
#[derive(Clone, Debug)]
pub struct Gone {
    /// Where it was.
    pub bridge: BridgeId,
    /// The flow.
    pub rule: Arc<Rule>,
    /// Why; `None` when another took its place.
    pub reason: Option<Removal>,
}

impl Gone {
    /// Whether its end is told: where somebody asked for that with the flow, and where nobody has
    /// asked for its end, since whoever remembers the tables does not know of it otherwise.
    #[must_use]
    pub fn is_told(&self) -> bool {
        match self.reason {
            None => false,
            Some(Removal::Idle | Removal::Hard | Removal::Eviction) => true,
            Some(Removal::Delete | Removal::GroupDelete | Removal::MeterDelete) => {
                self.rule.flow().flags.has(FlowFlags::SEND_FLOW_REM)
            }
        }
    }
}

/// What a draft did to flows.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Flows that have come, in order; some may be gone again.
    pub added: Vec<Arc<Rule>>,
    /// Flows that have gone, in order.
    pub gone: Vec<Gone>,
}

/// What is to become of a bridge.
#[derive(Debug)]
pub struct Draft<'a> {
    bridge: Bridge,
    evictions: &'a mut Evictions,
    seed: u64,
    now: Tick,
    log: Log,
    /// Groups and meters are as they were.
    only_flows: bool,
    /// By how much the flows that name a group or a meter have become more.
    group_users: BTreeMap<u32, i64>,
    meter_users: BTreeMap<u32, i64>,
    /// Tables and cookies of learned flows that may have lost the last flow that learns them.
    orphans: Vec<(u8, u64)>,
}

impl Tables {
    /// A draft of a bridge, at `now`.
    #[must_use]
    pub fn draft<'a>(
        &self,
        bridge: BridgeId,
        evictions: &'a mut Evictions,
        now: Tick,
    ) -> Option<Draft<'a>> {
        Some(Draft {
            bridge: Bridge::clone(self.bridge(bridge)?),
            evictions,
            seed: self.seed(),
            now,
            log: Log::default(),
            only_flows: true,
            group_users: BTreeMap::new(),
            meter_users: BTreeMap::new(),
            orphans: Vec::new(),
        })
    }

    /// The same with exactly these flows on a bridge, and its groups and meters as they are.
    ///
    /// # Errors
    /// [`Refusal::NoBridge`].
    pub fn set_flows(
        &self,
        bridge: BridgeId,
        flows: Vec<FlowRule>,
        epoch: u64,
        now: Tick,
    ) -> Result<Self, Refusal> {
        let mut evictions = Evictions::default();
        let draft = self.draft(bridge, &mut evictions, now);
        let mut draft = draft.ok_or(Refusal::NoBridge(bridge))?;
        draft.replace_flows(flows);
        Ok(self.with_bridge(draft.bridge, Recent::new(epoch)))
    }

    /// The same tables with what a draft made of its bridge.
    #[must_use]
    pub fn with(&self, draft: Draft<'_>) -> (Self, Log) {
        for (id, more) in draft.group_users {
            if let Some(group) = draft.bridge.group(id) {
                group.users().add(more);
            }
        }
        for (id, more) in draft.meter_users {
            if let Some(meter) = draft.bridge.meter(id) {
                meter.users().add(more);
            }
        }
        let (epoch, log) = (self.epoch + 1, draft.log);
        let recent = match draft.only_flows {
            true => {
                let touched = log.touched();
                self.recent()
                    .after(epoch, draft.bridge.lookups(), touched.iter().copied())
            }
            false => Recent::new(epoch),
        };
        (self.with_bridge(draft.bridge, recent), log)
    }
}

impl Log {
    /// Whether no flow came or went.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.gone.is_empty()
    }

    /// All flows that it speaks of.
    fn touched(&self) -> Vec<&Arc<Rule>> {
        let gone = self.gone.iter().map(|gone| &gone.rule);
        self.added.iter().chain(gone).collect()
    }
}

impl Draft<'_> {
    /// What was done to flows so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Makes a change.
    ///
    /// # Errors
    /// Why it cannot be made. The draft is of no use then.
    pub fn apply(&mut self, change: Change) -> Result<(), ChangeRefusal> {
        self.only_flows &= matches!(change, Change::Flow(_));
        match change {
            Change::Flow(change) => self.flow(*change),
            Change::Group(change) => self.group(*change),
            Change::Meter(change) => self.meter(*change),
        }
    }

    /// Makes these all flows, groups and meters. What stays keeps its counters, and its age unless
    /// it changed. A flow that names a group or meter which is not there is left out, since it would
    /// have gone with it.
    ///
    /// # Errors
    /// A table that cannot be, with the place of the flow that is to be in it.
    pub fn replace(
        &mut self,
        flows: Vec<FlowRule>,
        groups: Vec<Group>,
        meters: Vec<Meter>,
    ) -> Result<(), (usize, ChangeRefusal)> {
        let odd = flows.iter().position(|flow| flow.table > TABLE_MAX);
        if let Some(at) = odd {
            let table = flows.get(at).map_or(0, |flow| flow.table);
            return Err((at, ChangeRefusal::NoTable(table)));
        }
        self.only_flows = false;
        self.replace_groups(groups);
        self.replace_meters(meters);
        self.replace_flows(flows);
        Ok(())
    }

    fn replace_flows(&mut self, flows: Vec<FlowRule>) {
        let before: Vec<_> = self.bridge.rules().cloned().collect();
        let old = std::mem::take(&mut self.bridge.tables);
        for flow in flows {
            let table = old.get(usize::from(flow.table)).and_then(Option::as_deref);
            let previous = table.and_then(|t| t.find(&flow.matches, flow.priority));
            let rule = match previous {
                Some(rule) if rule.is(&flow) => Arc::clone(rule),
                previous => {
                    let rule = Rule::new(flow, self.now, previous.map(|rule| &**rule));
                    Arc::new(rule)
                }
            };
            let ties = rule.ties();
            if ties
                .groups
                .iter()
                .any(|id| self.bridge.group(*id).is_none())
                || ties
                    .meters
                    .iter()
                    .any(|id| self.bridge.meter(*id).is_none())
            {
                continue;
            }
            self.table(rule.flow().table).insert(rule);
        }
        // Tables that were there stay, for their counters' sake.
        for number in (0..=TABLE_MAX)
            .zip(&old)
            .filter_map(|(n, t)| t.as_ref().map(|_| n))
        {
            self.table(number);
        }
        let bridge = self.bridge.clone();
        for rule in before {
            let flow = rule.flow();
            match bridge.rule(flow.table, &flow.matches, flow.priority) {
                Some(new) if Arc::ptr_eq(new, &rule) => {}
                Some(_) => self.log_gone(&rule, None),
                None => self.log_gone(&rule, Some(Removal::Delete)),
            }
        }
        for rule in bridge.rules() {
            let flow = rule.flow();
            let table = old.get(usize::from(flow.table)).and_then(Option::as_deref);
            let previous = table.and_then(|t| t.find(&flow.matches, flow.priority));
            if !previous.is_some_and(|old| Arc::ptr_eq(old, rule)) {
                self.log_added(rule);
            }
        }
        self.evictions.forget(self.bridge.id);
    }

    fn replace_groups(&mut self, groups: Vec<Group>) {
        let old = std::mem::take(&mut self.bridge.groups);
        let shelf = Arc::make_mut(&mut self.bridge.groups);
        for group in groups {
            let entry = match old.get(group.id) {
                Some(entry) if *entry.group() == group => Arc::clone(entry),
                previous => Arc::new(GroupEntry::new(
                    group,
                    self.now,
                    previous.map(|entry| &**entry),
                )),
            };
            shelf.insert(entry.group().id, entry);
        }
    }

    fn replace_meters(&mut self, meters: Vec<Meter>) {
        let old = std::mem::take(&mut self.bridge.meters);
        let shelf = Arc::make_mut(&mut self.bridge.meters);
        for meter in meters {
            let entry = match old.get(meter.id) {
                Some(entry) if *entry.meter() == meter => Arc::clone(entry),
                previous => Arc::new(MeterEntry::new(
                    meter,
                    self.now,
                    previous.map(|entry| &**entry),
                )),
            };
            shelf.insert(entry.meter().id, entry);
        }
    }

    /// Takes flows out that are still there, for one reason each.
    pub fn expire(&mut self, due: impl IntoIterator<Item = (Arc<Rule>, Removal)>) {
        for (rule, reason) in due {
            self.remove(&rule, reason);
        }
        self.forget_learned();
    }

    /// Brings tables that evict down to what they take.
    pub fn enforce_limits(&mut self) {
        for number in 0..=TABLE_MAX {
            let Some(limit) = self.bridge.limit(number).filter(|limit| limit.evict) else {
                continue;
            };
            while self.len(number) > limit.len && self.evict(number) {}
        }
        self.forget_learned();
    }

    fn len(&self, table: u8) -> u32 {
        self.bridge.table(table).map_or(0, Table::len) as u32
    }

    fn table(&mut self, number: u8) -> &mut Table {
        let at = usize::from(number);
        let tables = &mut self.bridge.tables;
        if tables.len() <= at {
            tables.resize(at + 1, None);
        }
        let seed = self.seed;
        let table = tables[at].get_or_insert_with(|| Arc::new(Table::new(seed)));
        Arc::make_mut(table)
    }

    // Flows.

    fn flow(&mut self, change: FlowMod) -> Result<(), ChangeRefusal> {
        let table = change.rule.table;
        if table > TABLE_MAX && !change.all_tables {
            return Err(ChangeRefusal::NoTable(table));
        }
        match change.command {
            FlowCommand::Add => self.add(change.rule)?,
            FlowCommand::Modify | FlowCommand::ModifyStrict => self.modify(change)?,
            FlowCommand::Delete | FlowCommand::DeleteStrict => {
                for rule in self.concerned(&change) {
                    self.remove(&rule, Removal::Delete);
                }
            }
        }
        self.forget_learned();
        Ok(())
    }

    fn add(&mut self, flow: FlowRule) -> Result<(), ChangeRefusal> {
        let number = flow.table;
        if number > TABLE_MAX {
            return Err(ChangeRefusal::NoTable(number));
        }
        let old = self
            .bridge
            .rule(number, &flow.matches, flow.priority)
            .cloned();
        let (flags, reset) = (flow.flags, flow.flags.has(FlowFlags::RESET_COUNTS));
        let rule = Rule::new(flow, self.now, old.as_deref().filter(|_| !reset));
        self.check(number, &rule.flow().instructions, rule.ties())?;
        match old {
            Some(old) => self.log_gone(&old, None),
            None => {
                let overlaps = |other: &&Arc<Rule>| {
                    other.flow().priority == rule.flow().priority
                        && other.flow().matches.overlaps(&rule.flow().matches)
                };
                let table = self.bridge.table(number);
                if flags.has(FlowFlags::CHECK_OVERLAP)
                    && table.is_some_and(|table| table.iter().any(|other| overlaps(&other)))
                {
                    return Err(ChangeRefusal::Overlap);
                }
                if let Some(limit) = self.bridge.limit(number)
                    && self.len(number) >= limit.len
                    && !(limit.evict && self.evict(number))
                {
                    return Err(ChangeRefusal::TableFull(number));
                }
            }
        }
        self.insert(Arc::new(rule));
        Ok(())
    }

    fn modify(&mut self, change: FlowMod) -> Result<(), ChangeRefusal> {
        let rules = self.concerned(&change);
        let FlowMod {
            rule: template,
            upsert,
            new_cookie,
            cookie_mask,
            ..
        } = change;
        if rules.is_empty() {
            // One that asks for a cookie wants to change what is there (OpenFlow 1.1).
            return match upsert && cookie_mask == 0 {
                true => self.add(template),
                false => Ok(()),
            };
        }
        let reset = template.flags.has(FlowFlags::RESET_COUNTS);
        let cookie = new_cookie.then_some(template.cookie);
        for old in rules {
            let instructions = template.instructions.clone();
            let new = old.modified(instructions, cookie, reset, self.now);
            self.check(new.flow().table, &new.flow().instructions, new.ties())?;
            self.log_gone(&old, None);
            self.insert(Arc::new(new));
        }
        Ok(())
    }

    /// The flows that a modification or deletion concerns.
    fn concerned(&self, change: &FlowMod) -> Vec<Arc<Rule>> {
        let select = change.select();
        let tables = self.bridge.tables();
        let tables = tables.filter(|(number, _)| select.table.is_none_or(|t| t == *number));
        match change.command {
            FlowCommand::ModifyStrict | FlowCommand::DeleteStrict => {
                let (matches, priority) = (&change.rule.matches, change.rule.priority);
                let found = tables.filter_map(|(_, table)| table.find(matches, priority));
                found
                    .filter(|rule| select.selects(rule.flow()))
                    .cloned()
                    .collect()
            }
            _ => {
                let all = tables.flat_map(|(_, table)| table.iter());
                all.filter(|rule| select.selects(rule.flow()))
                    .cloned()
                    .collect()
            }
        }
    }

    /// Whether a flow's instructions can be followed.
    fn check(
        &self,
        table: u8,
        instructions: &Instructions,
        ties: &Ties,
    ) -> Result<(), ChangeRefusal> {
        if let Some(to) = instructions.goto
            && (to <= table || to > TABLE_MAX)
        {
            return Err(ChangeRefusal::GotoBack { from: table, to });
        }
        let no_group = ties
            .groups
            .iter()
            .find(|id| self.bridge.group(**id).is_none());
        if let Some(id) = no_group {
            return Err(ChangeRefusal::NoOutGroup(*id));
        }
        let no_meter = ties
            .meters
            .iter()
            .find(|id| self.bridge.meter(**id).is_none());
        no_meter.map_or(Ok(()), |id| Err(ChangeRefusal::NoFlowMeter(*id)))
    }

    /// Makes room in a table; false when no flow may go.
    fn evict(&mut self, number: u8) -> bool {
        let Some(table) = self.bridge.table(number) else {
            return false;
        };
        match self.evictions.choose(self.bridge.id, number, table) {
            Some(rule) => self.remove(&rule, Removal::Eviction),
            None => false,
        }
    }

    fn insert(&mut self, rule: Arc<Rule>) {
        self.log_added(&rule);
        self.evictions.added(self.bridge.id, &rule);
        self.table(rule.flow().table).insert(rule);
    }

    /// Takes a flow out; false when it is not there any more.
    fn remove(&mut self, rule: &Arc<Rule>, reason: Removal) -> bool {
        let flow = rule.flow();
        let there = self.bridge.rule(flow.table, &flow.matches, flow.priority);
        if !there.is_some_and(|there| Arc::ptr_eq(there, rule)) {
            return false;
        }
        self.table(flow.table).remove(&flow.matches, flow.priority);
        self.log_gone(rule, Some(reason));
        true
    }

    fn log_added(&mut self, rule: &Arc<Rule>) {
        self.count(rule, 1);
        self.log.added.push(Arc::clone(rule));
    }

    fn log_gone(&mut self, rule: &Arc<Rule>, reason: Option<Removal>) {
        self.count(rule, -1);
        self.log.gone.push(Gone {
            bridge: self.bridge.id,
            rule: Arc::clone(rule),
            reason,
        });
    }

    /// Notes what a flow that comes or goes leans on.
    fn count(&mut self, rule: &Rule, more: i64) {
        let ties = rule.ties();
        for &id in &ties.groups {
            *self.group_users.entry(id).or_default() += more;
        }
        for &id in &ties.meters {
            *self.meter_users.entry(id).or_default() += more;
        }
        for &key in &ties.learned {
            let learners = Arc::make_mut(&mut self.bridge.learners);
            let count = learners.entry(key).or_default();
            *count = count.saturating_add_signed(more as i32);
            if *count == 0 {
                self.orphans.push(key);
            }
        }
        for &key in &ties.limited {
            self.count_limiter(key, more);
        }
        let key = (rule.flow().table, rule.flow().cookie);
        if self.bridge.limited.contains_key(&key) {
            let limited = Arc::make_mut(&mut self.bridge.limited);
            if let Some((_, flows)) = limited.get_mut(&key) {
                *flows = flows.saturating_add_signed(more as i32);
            }
        }
    }

    fn count_limiter(&mut self, key: (u8, u64), more: i64) {
        let (table, cookie) = key;
        let limited = Arc::make_mut(&mut self.bridge.limited);
        if let Some((limiters, _)) = limited.get_mut(&key) {
            *limiters = limiters.saturating_add_signed(more as i32);
            if *limiters == 0 {
                limited.remove(&key);
            }
        } else if more > 0 {
            let table = self
                .bridge
                .tables
                .get(usize::from(table))
                .and_then(Option::as_deref);
            let rules = table.into_iter().flat_map(Table::iter);
            let flows = rules.filter(|rule| rule.flow().cookie == cookie).count();
            limited.insert(key, (1, flows as u32));
        }
    }

    /// Flows go that were learned by flows that have gone (`delete_learned`), and flows that those
    /// have learned.
    fn forget_learned(&mut self) {
        while let Some((table, cookie)) = self.orphans.pop() {
            if self.bridge.learners.get(&(table, cookie)) != Some(&0) {
                continue;
            }
            Arc::make_mut(&mut self.bridge.learners).remove(&(table, cookie));
            let mut change = FlowMod::delete(Some(table), vswitch_flow::Match::any());
            (change.cookie, change.cookie_mask) = (cookie, u64::MAX);
            for rule in self.concerned(&change) {
                self.remove(&rule, Removal::Delete);
            }
        }
    }

    // Groups.

    fn group(&mut self, change: GroupMod) -> Result<(), ChangeRefusal> {
        match change {
            GroupMod::Add(group) if self.bridge.group(group.id).is_some() => {
                Err(ChangeRefusal::GroupExists(group.id))
            }
            GroupMod::Modify(group) if self.bridge.group(group.id).is_none() => {
                Err(ChangeRefusal::NoGroup(group.id))
            }
            GroupMod::Add(group) | GroupMod::Modify(group) | GroupMod::AddOrModify(group) => {
                self.put_group(group)
            }
            GroupMod::Delete(id) => {
                self.delete_group(id);
                Ok(())
            }
            GroupMod::DeleteAll => {
                let all: Vec<_> = self.bridge.groups().iter().map(|g| g.group().id).collect();
                self.delete_users(Removal::GroupDelete, |ties| !ties.groups.is_empty());
                all.into_iter().for_each(|id| self.delete_group(id));
                Ok(())
            }
            GroupMod::InsertBuckets { id, place, buckets } => {
                let mut group = self.known_group(id)?;
                let done = group.insert(place, buckets);
                done.map_err(ChangeRefusal::NoBucket)?;
                self.put_group(group)
            }
            GroupMod::RemoveBucket { id, bucket } => {
                let mut group = self.known_group(id)?;
                group.remove(bucket).map_err(ChangeRefusal::NoBucket)?;
                self.put_group(group)
            }
        }
    }

    fn known_group(&self, id: u32) -> Result<Group, ChangeRefusal> {
        let entry = self.bridge.group(id);
        let group = entry.map(|entry| entry.group().clone());
        group.ok_or(ChangeRefusal::NoGroup(id))
    }

    fn put_group(&mut self, group: Group) -> Result<(), ChangeRefusal> {
        let id = group.id;
        let watched = |b: &Bucket| b.watch_port != OfPort::ANY || b.watch_group != GROUP_ANY;
        let sound = id <= GROUP_MAX
            && match group.kind {
                GroupKind::Indirect => group.buckets.len() == 1,
                GroupKind::FastFailover => group.buckets.iter().all(watched),
                GroupKind::All | GroupKind::Select => true,
            };
        if !sound {
            return Err(ChangeRefusal::BadBuckets(id));
        }
        let mut ids: Vec<_> = group.buckets.iter().map(|bucket| bucket.id).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(ChangeRefusal::BucketExists(
                pair.first().copied().unwrap_or(0),
            ));
        }
        let known = |id| self.bridge.group(id).map(|entry| entry.group());
        if leads_to_itself(&group, known) {
            return Err(ChangeRefusal::GroupLoop(id));
        }
        let old = self.bridge.group(id).cloned();
        if old.is_none() && self.bridge.groups.len() >= GROUPS_MAX {
            return Err(ChangeRefusal::TooManyGroups);
        }
        let entry = GroupEntry::new(group, self.now, old.as_deref());
        Arc::make_mut(&mut self.bridge.groups).insert(id, Arc::new(entry));
        Ok(())
    }

    fn delete_group(&mut self, id: u32) {
        let Some(entry) = self.bridge.group(id) else {
            return;
        };
        let more = self.group_users.get(&id).copied().unwrap_or_default();
        if i64::from(entry.flows()) + more > 0 {
            self.delete_users(Removal::GroupDelete, |ties| ties.groups.contains(&id));
        }
        Arc::make_mut(&mut self.bridge.groups).remove(id);
        self.group_users.remove(&id);
    }

    /// Deletes the flows with such ties.
    fn delete_users(&mut self, reason: Removal, which: impl Fn(&Ties) -> bool) {
        let rules = self.bridge.rules().filter(|rule| which(rule.ties()));
        for rule in rules.cloned().collect::<Vec<_>>() {
            self.remove(&rule, reason);
        }
        self.forget_learned();
    }

    // Meters.

    fn meter(&mut self, change: MeterMod) -> Result<(), ChangeRefusal> {
        match change {
            MeterMod::Add(meter) => {
                if self.bridge.meter(meter.id).is_some() {
                    return Err(ChangeRefusal::MeterExists(meter.id));
                }
                if self.bridge.meters.len() >= METERS_MAX {
                    return Err(ChangeRefusal::TooManyMeters);
                }
                self.put_meter(meter);
            }
            MeterMod::Modify(meter) => {
                if self.bridge.meter(meter.id).is_none() {
                    return Err(ChangeRefusal::NoMeter(meter.id));
                }
                self.put_meter(meter);
            }
            MeterMod::Delete(id) => self.delete_meter(id),
            MeterMod::DeleteAll => {
                let all: Vec<_> = self.bridge.meters().iter().map(|m| m.meter().id).collect();
                self.delete_users(Removal::MeterDelete, |ties| !ties.meters.is_empty());
                all.into_iter().for_each(|id| self.delete_meter(id));
            }
        }
        Ok(())
    }

    fn put_meter(&mut self, meter: Meter) {
        let id = meter.id;
        let old = self.bridge.meter(id).cloned();
        let entry = MeterEntry::new(meter, self.now, old.as_deref());
        Arc::make_mut(&mut self.bridge.meters).insert(id, Arc::new(entry));
    }

    fn delete_meter(&mut self, id: u32) {
        let Some(entry) = self.bridge.meter(id) else {
            return;
        };
        let more = self.meter_users.get(&id).copied().unwrap_or_default();
        if i64::from(entry.flows()) + more > 0 {
            self.delete_users(Removal::MeterDelete, |ties| ties.meters.contains(&id));
        }
        Arc::make_mut(&mut self.bridge.meters).remove(id);
        self.meter_users.remove(&id);
    }
}

#[cfg(test)]
mod tests;
