use proptest::prelude::*;
use vswitch_dpapi::{BridgeSpec, Desired, FlowLimit, Fragments};
use vswitch_flow::action::{Learn, LearnSource, LearnSpec};
use vswitch_flow::group::{BUCKET_ALL, BUCKET_LAST, BucketPlace, SelectionMethod};
use vswitch_flow::meter::MeterFlags;
use vswitch_flow::{Action, Field, Match, Subfield};

use super::*;

const BRIDGE: BridgeId = BridgeId(1);

fn tables(limits: Vec<FlowLimit>) -> Tables {
    let desired = Desired {
        bridges: vec![BridgeSpec {
            id: BRIDGE,
            name: "br0".to_owned(),
            mac_table_size: 10,
            mac_aging_time: 300,
            mirrors: Vec::new(),
            flow_limits: limits,
            miss_to_controller: false,
            fragments: Fragments::Normal,
        }],
        ports: Vec::new(),
        routers: Vec::new(),
    };
    Tables::build(&desired, None, 1, 5).expect("sound")
}

fn apply(
    tables: &Tables,
    changes: Vec<Change>,
    now: Tick,
) -> Result<(Tables, Log), (usize, ChangeRefusal)> {
    let mut evictions = Evictions::default();
    let mut draft = tables.draft(BRIDGE, &mut evictions, now).expect("there");
    for (at, change) in changes.into_iter().enumerate() {
        draft.apply(change).map_err(|why| (at, why))?;
    }
    Ok(tables.with(draft))
}

fn done(tables: &Tables, changes: Vec<Change>) -> Tables {
    apply(tables, changes, Tick(0)).expect("can be done").0
}

fn refused(tables: &Tables, change: Change) -> ChangeRefusal {
    apply(tables, vec![change], Tick(0))
        .expect_err("cannot be")
        .1
}

fn flow(table: u8, priority: u16, port: u128, actions: Vec<Action>) -> FlowRule {
    FlowRule {
        table,
        priority,
        matches: Match::any().with(Field::InPort, port),
        instructions: actions.into(),
        ..FlowRule::default()
    }
}

fn add(rule: FlowRule) -> Change {
    FlowMod::new(FlowCommand::Add, rule).into()
}

fn bucket(id: u32, actions: Vec<Action>) -> Bucket {
    Bucket {
        id,
        weight: 1,
        watch_port: OfPort::ANY,
        watch_group: GROUP_ANY,
        actions,
    }
}

fn group(id: u32, kind: GroupKind, buckets: Vec<Bucket>) -> Group {
    Group {
        id,
        kind,
        selection: SelectionMethod::Default,
        buckets,
    }
}

fn on_group(change: GroupMod) -> Change {
    Change::Group(Box::new(change))
}

fn on_meter(change: MeterMod) -> Change {
    Change::Meter(Box::new(change))
}

fn plain(id: u32) -> Group {
    group(
        id,
        GroupKind::All,
        vec![bucket(0, vec![Action::Output(OfPort(1))])],
    )
}

fn meter(id: u32) -> Meter {
    Meter {
        id,
        flags: MeterFlags::PKTPS,
        bands: Vec::new(),
    }
}

fn cookies(tables: &Tables) -> Vec<u64> {
    let rules = tables.bridge(BRIDGE).expect("there").rules();
    let mut cookies: Vec<_> = rules.map(|rule| rule.flow().cookie).collect();
    cookies.sort_unstable();
    cookies
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let tables = tables(Vec::new());
    let to = |goto| {
        let mut rule = flow(5, 1, 1, Vec::new());
        rule.instructions.goto = Some(goto);
        refused(&tables, add(rule))
    };
    assert_eq!(to(5), ChangeRefusal::GotoBack { from: 5, to: 5 });
    assert_eq!(to(254), ChangeRefusal::GotoBack { from: 5, to: 254 });
    let odd = refused(&tables, add(flow(254, 1, 1, Vec::new())));
    assert_eq!(odd, ChangeRefusal::NoTable(254));
    let nested = Action::Clone(vec![Action::Group(7)]);
    let unknown = refused(&tables, add(flow(0, 1, 1, vec![nested])));
    assert_eq!(unknown, ChangeRefusal::NoOutGroup(7));
    let mut metered = flow(0, 1, 1, Vec::new());
    metered.instructions.meter = Some(9);
    assert_eq!(
        refused(&tables, add(metered)),
        ChangeRefusal::NoFlowMeter(9)
    );
}

#[test]
fn a_batch_is_made_whole_or_not_at_all_and_sees_what_it_made() {
    let before = done(&tables(Vec::new()), vec![add(flow(0, 1, 1, Vec::new()))]);
    let bad = vec![
        add(flow(0, 1, 2, Vec::new())),
        FlowMod::delete(None, Match::any()).into(),
        add(flow(254, 1, 3, Vec::new())),
    ];
    let error = apply(&before, bad, Tick(0)).expect_err("the last is odd");
    assert_eq!(error, (2, ChangeRefusal::NoTable(254)));
    assert_eq!(cookies(&before).len(), 1);
    // A group and the flow that uses it may come in one batch.
    let good = vec![
        on_group(GroupMod::Add(plain(4))),
        add(flow(0, 1, 2, vec![Action::Group(4)])),
    ];
    assert_eq!(cookies(&done(&before, good)).len(), 2);
}

#[test]
fn overlap_is_asked_for() {
    let one = done(&tables(Vec::new()), vec![add(flow(0, 5, 1, Vec::new()))]);
    let mut ip = FlowRule {
        priority: 5,
        matches: Match::any().with(Field::EthType, 0x0800),
        ..FlowRule::default()
    };
    assert_eq!(cookies(&done(&one, vec![add(ip.clone())])).len(), 2);
    ip.flags = FlowFlags::CHECK_OVERLAP;
    assert_eq!(refused(&one, add(ip.clone())), ChangeRefusal::Overlap);
    ip.priority = 6;
    let two = done(&one, vec![add(ip.clone())]);
    // The same flow again replaces, which is no overlap; the flag is not kept.
    let again = done(&two, vec![add(ip)]);
    let mut flags = again
        .bridge(BRIDGE)
        .expect("there")
        .rules()
        .map(|r| r.flow().flags);
    assert!(flags.all(|flags| flags == FlowFlags::default()));
}

#[test]
fn a_replacement_counts_on_unless_it_is_to_begin_again() {
    let find = |tables: &Tables| {
        let bridge = tables.bridge(BRIDGE).expect("there");
        Arc::clone(bridge.rules().next().expect("one flow"))
    };
    let one = done(&tables(Vec::new()), vec![add(flow(0, 5, 1, Vec::new()))]);
    find(&one).stats().add(3, 300, Tick(5));
    let mut again = flow(0, 5, 1, vec![Action::Output(OfPort(2))]);
    let (kept, log) = apply(&one, vec![add(again.clone())], Tick(70)).expect("done");
    assert_eq!(
        (find(&kept).stats().packets(), find(&kept).created()),
        (3, Tick(70))
    );
    assert!(matches!(log.gone.as_slice(), [Gone { reason: None, .. }]));
    again.flags = FlowFlags::RESET_COUNTS;
    let (reset, _) = apply(&one, vec![add(again)], Tick(70)).expect("done");
    assert_eq!(find(&reset).stats().packets(), 0);
}

#[test]
fn a_full_table_refuses_or_evicts_the_least_important() {
    let limit = |evict| {
        vec![FlowLimit {
            table: 0,
            len: 3,
            evict,
        }]
    };
    let filled = |tables: Tables| {
        let flows = (1..=3_u16).map(|i| {
            let mut flow = flow(0, 1, i.into(), Vec::new());
            (flow.cookie, flow.hard_timeout) = (i.into(), 100 - i);
            flow.importance = u16::from(i == 3);
            add(flow)
        });
        done(&tables, flows.collect())
    };
    let fourth = add(flow(0, 1, 4, Vec::new()));
    let full = filled(tables(limit(false)));
    assert_eq!(refused(&full, fourth.clone()), ChangeRefusal::TableFull(0));
    // Replacing needs no room, nor does another table.
    done(
        &full,
        vec![
            add(flow(0, 1, 3, Vec::new())),
            add(flow(1, 1, 4, Vec::new())),
        ],
    );

    let full = filled(tables(limit(true)));
    let (one_less, log) = apply(&full, vec![fourth], Tick(0)).expect("one makes room");
    assert_eq!(
        cookies(&one_less),
        [0, 1, 3],
        "2 ends before 1, and 3 is more important"
    );
    let reasons: Vec<_> = log.gone.iter().map(|gone| gone.reason).collect();
    assert_eq!(reasons, [Some(Removal::Eviction)]);
    // A flow without a timeout never goes.
    let more = (5..=7).map(|i| add(flow(0, 1, i, Vec::new()))).collect();
    let error = apply(&one_less, more, Tick(0)).expect_err("two can go");
    assert_eq!(error, (2, ChangeRefusal::TableFull(0)));
}

#[test]
fn groups_are_checked_chained_and_taken_apart() {
    let empty = tables(Vec::new());
    let put = |group| on_group(GroupMod::Add(group));
    let one = done(&empty, vec![put(plain(1))]);
    assert_eq!(refused(&one, put(plain(1))), ChangeRefusal::GroupExists(1));
    let unknown = on_group(GroupMod::Modify(plain(2)));
    assert_eq!(refused(&one, unknown), ChangeRefusal::NoGroup(2));
    let two = vec![bucket(0, Vec::new()), bucket(1, Vec::new())];
    let indirect = group(2, GroupKind::Indirect, two.clone());
    assert_eq!(refused(&one, put(indirect)), ChangeRefusal::BadBuckets(2));
    let blind = group(2, GroupKind::FastFailover, two);
    assert_eq!(refused(&one, put(blind)), ChangeRefusal::BadBuckets(2));
    let twice = group(
        2,
        GroupKind::All,
        vec![bucket(3, Vec::new()), bucket(3, Vec::new())],
    );
    assert_eq!(refused(&one, put(twice)), ChangeRefusal::BucketExists(3));

    let to = |id, next| {
        group(
            id,
            GroupKind::All,
            vec![bucket(0, vec![Action::Group(next)])],
        )
    };
    assert_eq!(refused(&one, put(to(2, 2))), ChangeRefusal::GroupLoop(2));
    let chain = done(&one, vec![put(to(2, 1)), put(to(3, 2))]);
    let back = on_group(GroupMod::Modify(to(1, 3)));
    assert_eq!(refused(&chain, back), ChangeRefusal::GroupLoop(1));

    let ids = |tables: &Tables| -> Vec<u32> {
        let group = tables.bridge(BRIDGE).and_then(|b| b.group(1)).cloned();
        group
            .expect("there")
            .group()
            .buckets
            .iter()
            .map(|b| b.id)
            .collect()
    };
    let insert = |place, new: &[u32]| {
        let buckets = new.iter().map(|id| bucket(*id, Vec::new())).collect();
        on_group(GroupMod::InsertBuckets {
            id: 1,
            place,
            buckets,
        })
    };
    let remove = |bucket| on_group(GroupMod::RemoveBucket { id: 1, bucket });
    let (last, after) = (BucketPlace::Last, BucketPlace::After);
    let more = done(&one, vec![insert(last, &[5]), insert(after(0), &[8, 9])]);
    assert_eq!(ids(&more), [0, 8, 9, 5]);
    assert_eq!(
        refused(&more, insert(after(7), &[1])),
        ChangeRefusal::NoBucket(7)
    );
    assert_eq!(
        refused(&more, insert(last, &[8])),
        ChangeRefusal::BucketExists(8)
    );
    assert_eq!(ids(&done(&more, vec![remove(8)])), [0, 9, 5]);
    assert_eq!(ids(&done(&more, vec![remove(BUCKET_LAST)])), [0, 8, 9]);
    assert!(ids(&done(&more, vec![remove(BUCKET_ALL)])).is_empty());
    assert_eq!(refused(&more, remove(8 + 8)), ChangeRefusal::NoBucket(16));
}

#[test]
fn flows_go_with_their_group_or_meter() {
    let mut metered = flow(0, 1, 9, Vec::new());
    (metered.cookie, metered.instructions.meter) = (9, Some(1));
    let grouped = |cookie: u64, group| {
        let mut flow = flow(0, 1, cookie.into(), vec![Action::Group(group)]);
        flow.cookie = cookie;
        add(flow)
    };
    let all = done(
        &tables(Vec::new()),
        vec![
            on_group(GroupMod::Add(plain(1))),
            on_group(GroupMod::Add(plain(2))),
            on_meter(MeterMod::Add(meter(1))),
            grouped(1, 1),
            grouped(2, 2),
            add(metered),
        ],
    );
    let users = |tables: &Tables| {
        tables
            .bridge(BRIDGE)
            .and_then(|b| b.group(2))
            .map(|g| g.flows())
    };
    assert_eq!(users(&all), Some(1));
    let change = vec![
        on_group(GroupMod::Delete(1)),
        on_group(GroupMod::Delete(77)),
    ];
    let (less, log) = apply(&all, change, Tick(0)).expect("done");
    assert_eq!(cookies(&less), [2, 9]);
    assert!(
        log.gone
            .iter()
            .all(|gone| gone.reason == Some(Removal::GroupDelete))
    );
    let (less, log) = apply(&less, vec![on_meter(MeterMod::Delete(1))], Tick(0)).expect("done");
    assert_eq!(cookies(&less), [2]);
    assert!(
        log.gone
            .iter()
            .all(|gone| gone.reason == Some(Removal::MeterDelete))
    );
    // Deleted and made again in one batch: nobody uses the new one.
    let again = vec![
        on_group(GroupMod::Delete(2)),
        on_group(GroupMod::Add(plain(2))),
    ];
    let anew = done(&less, again);
    assert_eq!((cookies(&anew), users(&anew)), (Vec::new(), Some(0)));
}

#[test]
fn meters_are_known_or_refused() {
    let one = done(&tables(Vec::new()), vec![on_meter(MeterMod::Add(meter(1)))]);
    let exists = refused(&one, on_meter(MeterMod::Add(meter(1))));
    assert_eq!(exists, ChangeRefusal::MeterExists(1));
    let unknown = refused(&one, on_meter(MeterMod::Modify(meter(2))));
    assert_eq!(unknown, ChangeRefusal::NoMeter(2));
    let special = on_meter(MeterMod::Add(meter(vswitch_flow::meter::METER_CONTROLLER)));
    let gone = done(&one, vec![special, on_meter(MeterMod::DeleteAll)]);
    assert!(gone.bridge(BRIDGE).expect("there").meters().is_empty());
}

fn learner(reg: u128, limit: u32, delete_learned: bool) -> FlowRule {
    let learn = Learn {
        idle_timeout: 0,
        hard_timeout: 0,
        fin_idle_timeout: 0,
        fin_hard_timeout: 0,
        priority: 1,
        cookie: 0x123,
        table: 1,
        send_flow_rem: false,
        delete_learned,
        limit,
        result: None,
        specs: vec![LearnSpec::Match {
            src: LearnSource::Value(1),
            dst: Subfield::whole(Field::Reg1),
        }],
    };
    FlowRule {
        matches: Match::any().with(Field::Reg0, reg),
        instructions: vec![Action::Learn(Box::new(learn))].into(),
        ..FlowRule::default()
    }
}

fn learned(table: u8, reg: u128, cookie: u64) -> Change {
    add(FlowRule {
        table,
        cookie,
        matches: Match::any().with(Field::Reg0, reg),
        ..FlowRule::default()
    })
}

#[test]
fn learned_flows_go_with_the_last_flow_that_learns_them() {
    let all = done(
        &tables(Vec::new()),
        vec![
            add(learner(1, 0, true)),
            add(learner(2, 0, true)),
            learned(1, 3, 0x123),
            learned(1, 4, 0x123),
            learned(2, 5, 0x123),
            learned(1, 6, 0x234),
        ],
    );
    let delete = |reg| FlowMod::delete(Some(0), Match::any().with(Field::Reg0, reg)).into();
    let less = done(&all, vec![delete(1)]);
    assert_eq!(cookies(&less).len(), 5);
    assert_eq!(cookies(&done(&less, vec![delete(2)])), [0x123, 0x234]);
    // A flow that is modified to learn the same does not let go in between.
    let mut change = FlowMod::new(FlowCommand::Modify, learner(2, 7, true));
    change.rule.table = 0;
    assert_eq!(cookies(&done(&less, vec![change.into()])).len(), 5);
}

#[test]
fn limited_flows_are_counted_by_table_and_cookie() {
    let count = |tables: &Tables| tables.bridge(BRIDGE).expect("there").learned_len(1, 0x123);
    let before = done(&tables(Vec::new()), vec![learned(1, 3, 0x123)]);
    assert_eq!(count(&before), 0, "nobody asks");
    let asked = done(&before, vec![add(learner(1, 5, false))]);
    assert_eq!(count(&asked), 1);
    let more = done(&asked, vec![learned(1, 4, 0x123), learned(2, 4, 0x123)]);
    assert_eq!(count(&more), 2);
    let replaced = done(&more, vec![learned(1, 4, 0x77)]);
    assert_eq!(count(&replaced), 1);
    let none = done(&replaced, vec![FlowMod::delete(None, Match::any()).into()]);
    assert_eq!(count(&none), 0);
}

// Against a list.

/// A flow of the list: what it is, when it was made, and how many packets it has.
#[derive(Clone, Debug, PartialEq)]
struct Listed {
    flow: FlowRule,
    created: u64,
    packets: u64,
}

#[derive(Clone, Debug, Default)]
struct List(Vec<Listed>);

impl List {
    fn add(&mut self, mut flow: FlowRule, now: u64) -> Result<(), ChangeRefusal> {
        let flags = flow.flags;
        flow.flags = FlowFlags(flags.0 & FlowFlags::SEND_FLOW_REM.0);
        let same = |l: &Listed| {
            l.flow.table == flow.table
                && l.flow.priority == flow.priority
                && l.flow.matches == flow.matches
        };
        if flow.instructions.goto.is_some_and(|to| to <= flow.table) {
            let to = flow.instructions.goto.unwrap_or(0);
            let from = flow.table;
            return Err(ChangeRefusal::GotoBack { from, to });
        }
        let mut packets = 0;
        match self.0.iter().position(same) {
            Some(at) => {
                let old = self.0.remove(at);
                if !flags.has(FlowFlags::RESET_COUNTS) {
                    packets = old.packets;
                }
            }
            None => {
                let mut table = self.0.iter().filter(|l| l.flow.table == flow.table);
                if flags.has(FlowFlags::CHECK_OVERLAP)
                    && table.clone().any(|l| {
                        l.flow.priority == flow.priority && l.flow.matches.overlaps(&flow.matches)
                    })
                {
                    return Err(ChangeRefusal::Overlap);
                }
                if flow.table == 1 && table.by_ref().count() >= 4 {
                    return Err(ChangeRefusal::TableFull(1));
                }
            }
        }
        let created = now;
        self.0.push(Listed {
            flow,
            created,
            packets,
        });
        Ok(())
    }

    fn apply(&mut self, change: &FlowMod, now: u64) -> Result<(), ChangeRefusal> {
        let strict = matches!(
            change.command,
            FlowCommand::ModifyStrict | FlowCommand::DeleteStrict
        );
        let deletes = matches!(
            change.command,
            FlowCommand::Delete | FlowCommand::DeleteStrict
        );
        let meant = |l: &Listed| {
            let flow = &l.flow;
            let sends = |flow: &FlowRule| {
                let wanted = Action::Output(change.out_port);
                flow.instructions.apply.contains(&wanted)
                    || flow.instructions.write.contains(&wanted)
            };
            (change.all_tables || flow.table == change.rule.table)
                && flow.cookie & change.cookie_mask == change.cookie & change.cookie_mask
                && (!deletes || change.out_port == OfPort::ANY || sends(flow))
                && if strict {
                    flow.priority == change.rule.priority && flow.matches == change.rule.matches
                } else {
                    change.rule.matches.covers(&flow.matches)
                }
        };
        match change.command {
            FlowCommand::Add => self.add(change.rule.clone(), now)?,
            FlowCommand::Delete | FlowCommand::DeleteStrict => self.0.retain(|l| !meant(l)),
            FlowCommand::Modify | FlowCommand::ModifyStrict => {
                let mut any = false;
                for l in self.0.iter_mut().filter(|l| meant(l)) {
                    any = true;
                    let to = change.rule.instructions.goto;
                    if let Some(to) = to.filter(|to| *to <= l.flow.table) {
                        let from = l.flow.table;
                        return Err(ChangeRefusal::GotoBack { from, to });
                    }
                    l.flow.instructions = change.rule.instructions.clone();
                    if change.new_cookie {
                        l.flow.cookie = change.rule.cookie;
                    }
                    if change.rule.flags.has(FlowFlags::RESET_COUNTS) {
                        l.packets = 0;
                    }
                }
                if !any && change.upsert && change.cookie_mask == 0 {
                    self.add(change.rule.clone(), now)?;
                }
            }
        }
        Ok(())
    }

    fn sorted(mut self) -> Vec<Listed> {
        self.0.sort_by_key(|l| {
            let FlowRule {
                table, priority, ..
            } = l.flow;
            (table, priority, format!("{:?}", l.flow.matches))
        });
        self.0
    }
}

fn rows(tables: &Tables) -> Vec<Listed> {
    let rules = tables.bridge(BRIDGE).expect("there").rules();
    let list = rules.map(|rule| Listed {
        flow: rule.to_flow(),
        created: rule.created().0,
        packets: rule.stats().packets(),
    });
    List(list.collect()).sorted()
}

fn any_match() -> impl Strategy<Value = Match> {
    let part = || prop_oneof![3 => Just(None), 2 => (0..2_u128).prop_map(Some)];
    (part(), part(), part()).prop_map(|(port, kind, tcp)| {
        let mut matches = Match::any();
        let fields = [Field::InPort, Field::EthType, Field::TcpDst];
        for (field, value) in fields.into_iter().zip([port, kind, tcp]) {
            if let Some(value) = value {
                matches = matches.with(field, value);
            }
        }
        matches
    })
}

fn any_flow() -> impl Strategy<Value = FlowRule> {
    let flags = [
        FlowFlags::default(),
        FlowFlags::SEND_FLOW_REM,
        FlowFlags::CHECK_OVERLAP,
        FlowFlags::RESET_COUNTS,
    ];
    let instructions = (0..3_u32, 0..3_u32, prop::option::weighted(0.1, 0..4_u8));
    (
        (0..3_u8, 0..3_u16, 0..3_u64),
        any_match(),
        instructions,
        0..4_u16,
        prop::sample::select(flags.to_vec()),
    )
        .prop_map(
            |((table, priority, cookie), matches, (apply, write, goto), time, flags)| {
                let output = |port: u32| -> Box<[Action]> {
                    (port > 0)
                        .then_some(Action::Output(OfPort(port)))
                        .into_iter()
                        .collect()
                };
                FlowRule {
                    table,
                    priority,
                    cookie,
                    matches,
                    instructions: Instructions {
                        apply: output(apply),
                        write: output(write),
                        goto,
                        ..Instructions::default()
                    },
                    idle_timeout: time,
                    flags,
                    ..FlowRule::default()
                }
            },
        )
}

fn any_change() -> impl Strategy<Value = FlowMod> {
    let command = prop_oneof![
        6 => Just(FlowCommand::Add),
        2 => Just(FlowCommand::Modify),
        2 => Just(FlowCommand::ModifyStrict),
        1 => Just(FlowCommand::Delete),
        2 => Just(FlowCommand::DeleteStrict),
    ];
    let cookie = prop_oneof![3 => Just((0, 0)), 1 => (0..3_u64, 1..4_u64)];
    (
        command,
        any_flow(),
        cookie,
        any::<(bool, bool, bool)>(),
        0..4_u32,
    )
        .prop_map(
            |(command, rule, (cookie, cookie_mask), (all_tables, upsert, new_cookie), port)| {
                FlowMod {
                    all_tables: all_tables && command != FlowCommand::Add,
                    cookie,
                    cookie_mask,
                    out_port: if port == 0 { OfPort::ANY } else { OfPort(port) },
                    upsert,
                    new_cookie,
                    ..FlowMod::new(command, rule)
                }
            },
        )
}

proptest! {
    #[test]
    fn changes_do_what_they_do_to_a_list(
        batches in prop::collection::vec(prop::collection::vec(any_change(), 1..4), 1..25),
    ) {
        let limit = FlowLimit { table: 1, len: 4, evict: false };
        let mut tables = tables(vec![limit]);
        let mut list = List::default();
        for (now, batch) in batches.into_iter().enumerate() {
            let mut next = list.clone();
            let wanted = batch.iter().enumerate().try_for_each(|(at, change)| {
                next.apply(change, now as u64).map_err(|why| (at, why))
            });
            let changes = batch.into_iter().map(Change::from).collect();
            let result = apply(&tables, changes, Tick(now as u64));
            match (wanted, result) {
                (Ok(()), Ok((made, log))) => {
                    let before: Vec<_> = tables.bridge(BRIDGE).expect("there").rules().cloned().collect();
                    let after: Vec<_> = made.bridge(BRIDGE).expect("there").rules().cloned().collect();
                    // The log leads from what was to what is.
                    let balance = |rule: &Arc<Rule>| {
                        let is = |other: &Arc<Rule>| Arc::ptr_eq(rule, other);
                        let added = log.added.iter().filter(|r| is(r)).count() as i32;
                        let gone = log.gone.iter().filter(|g| is(&g.rule)).count() as i32;
                        i32::from(before.iter().any(is)) + added - gone
                    };
                    for rule in before.iter().chain(&log.added) {
                        prop_assert_eq!(balance(rule), i32::from(after.iter().any(|r| Arc::ptr_eq(r, rule))));
                    }
                    tables = made;
                    list = next;
                }
                (Err((at, why)), Err(error)) => {
                    prop_assert_eq!(error.0, at);
                    let same_kind = std::mem::discriminant(&error.1) == std::mem::discriminant(&why);
                    prop_assert!(same_kind, "{:?} and {:?}", error.1, why);
                }
                (wanted, result) => prop_assert!(false, "{wanted:?} and {:?}", result.map(|_| ())),
            }
            prop_assert_eq!(rows(&tables), list.clone().sorted());
            // Some traffic, different for each flow.
            for (at, row) in rows(&tables).iter().enumerate() {
                let bridge = tables.bridge(BRIDGE).expect("there");
                let rule = bridge.rule(row.flow.table, &row.flow.matches, row.flow.priority);
                let rule = rule.expect("listed");
                rule.stats().add(at as u64 % 3, 60, Tick(now as u64));
            }
            let counts: Vec<_> = rows(&tables).into_iter().collect();
            list = List(counts);
        }
    }
}
