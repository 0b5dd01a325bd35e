//! What we remember of a bridge's flows, groups and meters, so that a new datapath gets them again.
//!
//! The datapath is the truth about what is; this follows it: every change that it made is made here
//! ([`Tables::apply`]), and what it did by itself (timeouts, `learn`) it tells. Not for answering
//! requests: dumps are asked of the datapath.
//!
//! Cost: one entry for each flow, found by table, priority and match; a change that is not strict
//! unpacks every flow of its tables ([`Packed`]).

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use vswitch_dpapi::{Change, Removal};
use vswitch_flow::action::Action;
use vswitch_flow::{FlowCommand, FlowFlags, FlowMod, FlowRule, Group, GroupMod, Meter, MeterMod};

use super::journal::{Journal, Turn};
use super::packed::{Packed, PackedKey};

/// Flags that stay with a flow; the others are about the change that brings it.
const KEPT: FlowFlags = FlowFlags(
    FlowFlags::SEND_FLOW_REM.0
        | FlowFlags::NO_PACKET_COUNTS.0
        | FlowFlags::NO_BYTE_COUNTS.0
        | FlowFlags::OUTPUT_LEN.0,
);

/// A flow, and when it came and was changed last, on the journal's clock.
#[derive(Debug)]
pub struct Held {
    /// The flow.
    pub rule: FlowRule,
    /// When it came.
    pub added: u64,
    /// When it was changed last, or came.
    pub changed: u64,
}

/// The same as it is remembered.
#[derive(Debug)]
struct Entry {
    /// Of its priority and match.
    hash: u64,
    added: u64,
    changed: u64,
    packed: Packed,
}

impl Entry {
    fn hold(&self, table: u8) -> Held {
        Held {
            rule: self.packed.rule(table),
            added: self.added,
            changed: self.changed,
        }
    }
}

/// Flows, groups and meters of one bridge.
#[derive(Debug, Default)]
pub struct Tables {
    flows: BTreeMap<u8, HashTable<Entry>>,
    groups: BTreeMap<u32, Group>,
    meters: BTreeMap<u32, Meter>,
    /// What monitors are to be told.
    pub journal: Journal,
    hasher: RandomState,
}

impl Tables {
    /// These flows and nothing else.
    pub fn with_flows(flows: impl IntoIterator<Item = FlowRule>) -> Self {
        let mut tables = Self::default();
        for rule in flows {
            tables.add(rule);
        }
        tables
    }

    /// All flows.
    pub fn flows(&self) -> impl Iterator<Item = FlowRule> {
        self.held().map(|held| held.rule)
    }

    /// All flows, and since when they are what they are.
    pub fn held(&self) -> impl Iterator<Item = Held> {
        let tables = self.flows.iter();
        tables.flat_map(|(number, table)| table.iter().map(|entry| entry.hold(*number)))
    }

    /// Takes the place of `old`: those who watch it watch this.
    pub fn succeed(&mut self, old: Self) {
        self.journal = old.journal;
        let now = self.journal.tick();
        for (number, table) in &mut self.flows {
            for entry in table {
                let key = PackedKey::of(&entry.packed.rule(*number));
                let hash = old.hasher.hash_one(key.bytes());
                let table = old.flows.get(number);
                let known = table.and_then(|table| table.find(hash, |old| old.packed.has(&key)));
                (entry.added, entry.changed) =
                    known.map_or((now, now), |old| (old.added, old.changed));
            }
        }
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.flows.values().map(HashTable::len).sum()
    }

    /// How many flows a table has.
    pub fn len_of(&self, table: u8) -> usize {
        self.flows.get(&table).map_or(0, HashTable::len)
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// All meters.
    pub fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.meters.values()
    }

    fn key(&self, rule: &FlowRule) -> (PackedKey, u64) {
        let key = PackedKey::of(rule);
        let hash = self.hasher.hash_one(key.bytes());
        (key, hash)
    }

    /// The flow with the table, priority and match of `rule`.
    pub fn find(&self, rule: &FlowRule) -> Option<FlowRule> {
        let (key, hash) = self.key(rule);
        let table = self.flows.get(&rule.table)?;
        let entry = table.find(hash, |entry| entry.packed.has(&key))?;
        Some(entry.packed.rule(rule.table))
    }

    /// Puts a flow in, in the place of the one that has its table, priority and match.
    pub fn add(&mut self, mut rule: FlowRule) {
        rule.flags = FlowFlags(rule.flags.0 & KEPT.0);
        let (key, hash) = self.key(&rule);
        let (number, now) = (rule.table, self.journal.tick());
        let table = self.flows.entry(number).or_default();
        let old = table.find_mut(hash, |entry| entry.packed.has(&key));
        if self.journal.is_watched() {
            let before = old.as_ref().map(|old| old.packed.rule(number).instructions);
            let before = before.filter(|before| *before != rule.instructions);
            self.journal.note(Turn::Added, &rule, now, before.as_ref());
        }
        let entry = Entry {
            hash,
            added: now,
            changed: now,
            packed: key.with(rule),
        };
        match old {
            Some(old) => *old = entry,
            None => {
                table.insert_unique(hash, entry, |entry| entry.hash);
            }
        }
    }

    /// The flow has gone by itself.
    pub fn lose(&mut self, rule: &FlowRule, why: Removal) {
        self.journal.begin(None);
        self.remove(rule, why);
    }

    fn remove(&mut self, rule: &FlowRule, why: Removal) {
        let (key, hash) = self.key(rule);
        if let Some(table) = self.flows.get_mut(&rule.table)
            && let Ok(found) = table.find_entry(hash, |entry| entry.packed.has(&key))
        {
            let (entry, _) = found.remove();
            let held = entry.hold(rule.table);
            self.journal
                .note(Turn::Removed(why), &held.rule, held.added, None);
            self.forget_learned(learned_by(&held.rule));
        }
    }

    /// Takes flows out, and what goes with them.
    fn take_out(&mut self, only: Option<u8>, why: Removal, goes: impl Fn(&FlowRule) -> bool) {
        let mut learned = Vec::new();
        for (number, table) in &mut self.flows {
            if only.is_none_or(|only| only == *number) {
                table.retain(|entry| {
                    let rule = entry.packed.rule(*number);
                    let stays = !goes(&rule);
                    if !stays {
                        self.journal
                            .note(Turn::Removed(why), &rule, entry.added, None);
                        learned.extend(learned_by(&rule));
                    }
                    stays
                });
            }
        }
        self.forget_learned(learned);
    }

    /// What was learned goes when nobody who learns it is left.
    fn forget_learned(&mut self, learned: Vec<(u8, u64)>) {
        for (table, cookie) in learned {
            let mut flows = self.flows();
            if !flows.any(|rule| learned_by(&rule).contains(&(table, cookie))) {
                drop(flows);
                self.journal.aside();
                self.take_out(Some(table), Removal::Delete, |rule| rule.cookie == cookie);
            }
        }
    }

    /// The flow has other timeouts now.
    pub fn set_timeouts(&mut self, rule: &FlowRule) {
        let (key, hash) = self.key(rule);
        let table = self.flows.get_mut(&rule.table);
        let known = table.and_then(|table| table.find_mut(hash, |entry| entry.packed.has(&key)));
        if let Some(known) = known {
            known.packed = key.with(FlowRule {
                idle_timeout: rule.idle_timeout,
                hard_timeout: rule.hard_timeout,
                ..known.packed.rule(rule.table)
            });
        }
    }

    /// A group as it is now.
    pub fn set_group(&mut self, group: Group) {
        self.groups.insert(group.id, group);
    }

    /// A meter as it is now.
    pub fn set_meter(&mut self, meter: Meter) {
        self.meters.insert(meter.id, meter);
    }

    /// Makes a change that the datapath has made; `asked` is its place among those that somebody
    /// asked for together.
    pub fn apply(&mut self, change: Change, asked: Option<usize>) {
        match change {
            Change::Flow(change) => {
                self.journal.begin(asked);
                self.change_flows(*change);
            }
            // The flows that go with these were not named.
            Change::Group(change) => {
                self.journal.begin(None);
                self.change_groups(*change);
            }
            Change::Meter(change) => {
                self.journal.begin(None);
                self.change_meters(&change);
            }
        }
    }

    fn change_flows(&mut self, change: FlowMod) {
        match change.command {
            FlowCommand::Add => self.add(change.rule),
            FlowCommand::Modify | FlowCommand::ModifyStrict => {
                if !self.modify(&change) && change.upsert {
                    self.add(change.rule);
                }
            }
            FlowCommand::DeleteStrict if !change.all_tables => {
                if self
                    .find(&change.rule)
                    .is_some_and(|rule| change.concerns(&rule))
                {
                    self.remove(&change.rule, Removal::Delete);
                }
            }
            FlowCommand::Delete | FlowCommand::DeleteStrict => {
                let only = (!change.all_tables).then_some(change.rule.table);
                self.take_out(only, Removal::Delete, |rule| change.concerns(rule));
            }
        }
    }

    /// Gives flows other instructions; whether there was one.
    fn modify(&mut self, change: &FlowMod) -> bool {
        let mut found = false;
        if change.command == FlowCommand::ModifyStrict && !change.all_tables {
            let number = change.rule.table;
            let (key, hash) = self.key(&change.rule);
            let table = self.flows.get_mut(&number);
            let entry =
                table.and_then(|table| table.find_mut(hash, |entry| entry.packed.has(&key)));
            if let Some(entry) = entry {
                found = modify(entry, number, change, &mut self.journal);
            }
        } else {
            let only = (!change.all_tables).then_some(change.rule.table);
            for (number, table) in &mut self.flows {
                if only.is_none_or(|only| only == *number) {
                    for entry in table {
                        found |= modify(entry, *number, change, &mut self.journal);
                    }
                }
            }
        }
        found
    }

    fn change_groups(&mut self, change: GroupMod) {
        match change {
            GroupMod::Add(group) | GroupMod::Modify(group) | GroupMod::AddOrModify(group) => {
                self.set_group(group);
            }
            GroupMod::Delete(id) => {
                self.groups.remove(&id);
                self.take_out(None, Removal::GroupDelete, |rule| rule.uses_group(id));
            }
            GroupMod::DeleteAll => {
                self.groups.clear();
                self.take_out(None, Removal::GroupDelete, |rule| {
                    let mut found = false;
                    rule.each_action(&mut |action| found |= matches!(action, Action::Group(_)));
                    found
                });
            }
            // The datapath has made it, so there is the group and the bucket that it names.
            GroupMod::InsertBuckets { id, place, buckets } => {
                let group = self.groups.get_mut(&id);
                let _ = group.map(|group| group.insert(place, buckets));
            }
            GroupMod::RemoveBucket { id, bucket } => {
                let group = self.groups.get_mut(&id);
                let _ = group.map(|group| group.remove(bucket));
            }
        }
    }

    fn change_meters(&mut self, change: &MeterMod) {
        match change {
            MeterMod::Add(meter) | MeterMod::Modify(meter) => self.set_meter(meter.clone()),
            MeterMod::Delete(id) => {
                self.meters.remove(id);
                self.take_out(None, Removal::MeterDelete, |rule| {
                    passes_meter(rule, |meter| meter == *id)
                });
            }
            MeterMod::DeleteAll => {
                self.meters.clear();
                self.take_out(None, Removal::MeterDelete, |rule| {
                    passes_meter(rule, |_| true)
                });
            }
        }
    }
}

/// Gives a flow of this table other instructions if a change concerns it; whether it does.
fn modify(entry: &mut Entry, table: u8, change: &FlowMod, journal: &mut Journal) -> bool {
    let mut rule = entry.packed.rule(table);
    if !change.concerns(&rule) {
        return false;
    }
    let new = &change.rule;
    let other_cookie = change.new_cookie && rule.cookie != new.cookie;
    if !other_cookie && rule.instructions == new.instructions {
        return true;
    }
    let before = std::mem::replace(&mut rule.instructions, new.instructions.clone());
    if change.new_cookie {
        rule.cookie = new.cookie;
    }
    entry.changed = journal.tick();
    let before = Some(&before).filter(|before| **before != rule.instructions);
    journal.note(Turn::Modified, &rule, entry.added, before);
    entry.packed = PackedKey::of(&rule).with(rule);
    true
}

/// Whether a flow names a meter for which this holds.
fn passes_meter(rule: &FlowRule, is: impl Fn(u32) -> bool) -> bool {
    let mut found = rule.instructions.meter.is_some_and(&is);
    rule.each_action(&mut |action| {
        found |= match action {
            Action::Meter(id) => is(*id),
            Action::Controller(to) => to.meter.is_some_and(&is),
            _ => false,
        };
    });
    found
}

/// Table and cookie of flows that a flow has learned and that are to go with it.
fn learned_by(rule: &FlowRule) -> Vec<(u8, u64)> {
    let mut learned = Vec::new();
    rule.each_action(&mut |action| {
        if let Action::Learn(learn) = action
            && learn.delete_learned
        {
            learned.push((learn.table, learn.cookie));
        }
    });
    learned
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_flow::action::Learn;
    use vswitch_flow::{Field, Instructions, Match, OfPort};

    fn rule(table: u8, priority: u16, port: u128, to: u32) -> FlowRule {
        FlowRule {
            table,
            priority,
            matches: Match::any().with(Field::InPort, port),
            instructions: Instructions::apply(vec![Action::Output(OfPort(to))]),
            ..FlowRule::default()
        }
    }

    fn flow(command: FlowCommand, rule: FlowRule) -> Change {
        Change::from(FlowMod::new(command, rule))
    }

    fn all(tables: &Tables) -> Vec<FlowRule> {
        let mut all: Vec<FlowRule> = tables.flows().collect();
        all.sort_by_key(|rule| (rule.table, rule.priority, format!("{:?}", rule.matches)));
        all
    }

    #[test]
    fn a_flow_takes_the_place_of_its_like_and_no_others() {
        let mut tables = Tables::default();
        let checked = FlowRule {
            flags: FlowFlags::CHECK_OVERLAP.with(FlowFlags::SEND_FLOW_REM),
            ..rule(0, 5, 1, 2)
        };
        for rule in [
            rule(0, 5, 1, 9),
            checked,
            rule(0, 6, 1, 3),
            rule(1, 5, 1, 4),
        ] {
            tables.apply(flow(FlowCommand::Add, rule), None);
        }
        let kept = FlowRule {
            flags: FlowFlags::SEND_FLOW_REM,
            ..rule(0, 5, 1, 2)
        };
        assert_eq!(all(&tables), [kept, rule(0, 6, 1, 3), rule(1, 5, 1, 4)]);
    }

    #[test]
    fn modifications_leave_cookies_and_add_only_where_they_should() {
        let mut tables = Tables::with_flows([rule(0, 5, 1, 2), rule(0, 6, 2, 2)]);
        let any = |to| FlowRule {
            cookie: 7,
            matches: Match::any(),
            ..rule(0, 0, 0, to)
        };
        tables.apply(flow(FlowCommand::Modify, any(8)), None);
        assert_eq!(all(&tables), [rule(0, 5, 1, 8), rule(0, 6, 2, 8)]);
        tables.apply(flow(FlowCommand::ModifyStrict, rule(0, 5, 2, 3)), None);
        assert_eq!(tables.len(), 2);
        let upsert = FlowMod {
            upsert: true,
            new_cookie: true,
            ..FlowMod::new(FlowCommand::ModifyStrict, rule(0, 5, 2, 3))
        };
        tables.apply(upsert.clone().into(), None);
        assert_eq!(tables.len(), 3);
        let again = FlowMod {
            rule: FlowRule {
                cookie: 9,
                ..rule(0, 5, 2, 4)
            },
            ..upsert
        };
        tables.apply(again.clone().into(), None);
        assert_eq!(tables.find(&rule(0, 5, 2, 0)), Some(again.rule));
    }

    #[test]
    fn deletions_take_what_their_conditions_say() {
        let rules = [rule(0, 5, 1, 2), rule(0, 6, 2, 3), rule(1, 5, 1, 2)];
        let left = |change: FlowMod| {
            let mut tables = Tables::with_flows(rules.clone());
            tables.apply(change.into(), None);
            all(&tables)
        };
        let any = FlowRule {
            matches: Match::any(),
            ..rule(0, 0, 0, 0)
        };
        let delete = FlowMod::new(FlowCommand::Delete, any);
        assert_eq!(left(delete.clone()), rules[2..]);
        let everywhere = FlowMod {
            all_tables: true,
            ..delete
        };
        assert!(left(everywhere.clone()).is_empty());
        let to_2 = FlowMod {
            out_port: OfPort(2),
            ..everywhere
        };
        assert_eq!(left(to_2), rules[1..2]);
        let strict = FlowMod::new(FlowCommand::DeleteStrict, rule(0, 5, 1, 0));
        assert_eq!(left(strict.clone()), rules[1..]);
        let other_cookie = FlowMod {
            cookie: 1,
            cookie_mask: 1,
            ..strict
        };
        assert_eq!(left(other_cookie), rules);
    }

    #[test]
    fn what_was_learned_goes_with_the_last_who_learns_it() {
        let learner = |priority| FlowRule {
            instructions: Instructions::apply(vec![Action::Learn(Box::new(Learn {
                idle_timeout: 0,
                hard_timeout: 0,
                fin_idle_timeout: 0,
                fin_hard_timeout: 0,
                priority: 1,
                cookie: 9,
                table: 3,
                send_flow_rem: false,
                delete_learned: true,
                limit: 0,
                result: None,
                specs: Vec::new(),
            }))]),
            ..rule(0, priority, 1, 0)
        };
        let learned = FlowRule {
            cookie: 9,
            ..rule(3, 1, 7, 1)
        };
        let other = rule(3, 1, 8, 1);
        let mut tables = Tables::with_flows([learner(1), learner(2), learned, other.clone()]);
        tables.apply(flow(FlowCommand::DeleteStrict, learner(1)), None);
        assert_eq!(tables.len(), 3);
        tables.lose(&learner(2), Removal::Idle);
        assert_eq!(all(&tables), [other]);
    }

    #[test]
    fn groups_and_meters_take_their_flows_along() {
        let by_group = FlowRule {
            instructions: Instructions::apply(vec![Action::Group(3)]),
            ..rule(0, 1, 1, 0)
        };
        let metered = FlowRule {
            instructions: Instructions {
                meter: Some(4),
                ..Instructions::default()
            },
            ..rule(0, 2, 1, 0)
        };
        let mut tables = Tables::with_flows([by_group, metered.clone(), rule(0, 3, 1, 1)]);
        tables.apply(Change::Group(Box::new(GroupMod::Delete(3))), None);
        assert_eq!(all(&tables), [metered, rule(0, 3, 1, 1)]);
        tables.apply(Change::Meter(Box::new(MeterMod::DeleteAll)), None);
        assert_eq!(all(&tables), [rule(0, 3, 1, 1)]);
    }
}
