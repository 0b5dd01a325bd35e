//! Flows that come, count and go: timeouts, learning, removal, and what is told of it.

use std::time::Duration;

use vswitch_dpapi::{Change, Desired, Event, FlowLimit, Removal};
use vswitch_flow::action::{Learn, LearnSource, LearnSpec};
use vswitch_flow::{
    Action, Field, FlowCommand, FlowFlags, FlowMod, FlowRule, Match, OfPort, Subfield,
};
use vswitch_packet::tcp;
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, port};

use super::{build::Builder, mac};

fn switch() -> Sim {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=4).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    Sim::new(desired, 1, frames(), |_| PLAIN)
}

fn add(rule: FlowRule) -> Change {
    FlowMod::new(FlowCommand::Add, rule).into()
}

fn to(port: u32) -> FlowRule {
    FlowRule {
        instructions: vec![Action::Output(OfPort(port))].into(),
        ..FlowRule::default()
    }
}

fn udp(src: u8, dst: u8, port: u16) -> Vec<u8> {
    Builder::eth(mac(src), mac(dst))
        .ipv4([10, 0, 0, src], [10, 0, 0, dst])
        .udp(1000, port)
        .build()
}

fn seconds(sim: &mut Sim, seconds: u64) {
    sim.advance(Duration::from_secs(seconds));
}

fn flows(sim: &Sim, table: u8) -> usize {
    let bridge = &sim.tables().bridges()[0];
    bridge
        .table(table)
        .map_or(0, vswitch_datapath::pipeline::Table::len)
}

fn removals(sim: &mut Sim) -> Vec<(u64, Removal, u64, u64, u64)> {
    let told = sim.take_events().into_iter();
    let removed = told.filter_map(|event| match event {
        Event::FlowRemoved {
            rule,
            reason,
            packets,
            bytes,
            age_ms,
            ..
        } => Some((rule.cookie, reason, packets, bytes, age_ms)),
        _ => None,
    });
    removed.collect()
}

#[test]
fn cached_traffic_keeps_a_flow_and_its_last_packet_is_counted() {
    let mut sim = switch();
    let flow = FlowRule {
        cookie: 7,
        idle_timeout: 10,
        flags: FlowFlags::SEND_FLOW_REM,
        ..to(2)
    };
    sim.mod_flows(1, vec![add(flow)]);
    let size = udp(1, 2, 53).len() as u64;
    for _ in 0..5 {
        sim.send(1, udp(1, 2, 53));
        seconds(&mut sim, 8);
    }
    assert_eq!(flows(&sim, 0), 1);
    seconds(&mut sim, 3);
    assert_eq!(flows(&sim, 0), 0);
    assert_eq!(
        removals(&mut sim),
        [(7, Removal::Idle, 5, 5 * size, 43_000)]
    );
    assert!(sim.send(1, udp(1, 2, 53)).is_empty());
}

#[test]
fn a_hard_timeout_ends_a_busy_flow_and_a_modification_begins_it_again() {
    let mut sim = switch();
    let hard = |cookie, port| FlowRule {
        cookie,
        hard_timeout: 10,
        flags: FlowFlags::SEND_FLOW_REM,
        matches: Match::any().with(Field::InPort, port),
        ..to(2)
    };
    sim.mod_flows(1, vec![add(hard(1, 1)), add(hard(2, 3))]);
    seconds(&mut sim, 6);
    let change = FlowMod::new(
        FlowCommand::ModifyStrict,
        FlowRule {
            cookie: 0,
            ..hard(2, 3)
        },
    );
    sim.mod_flows(1, vec![change.into()]);
    for _ in 0..5 {
        sim.send(1, udp(1, 2, 53));
        seconds(&mut sim, 1);
    }
    assert_eq!(removals(&mut sim).len(), 1);
    seconds(&mut sim, 6);
    let told = removals(&mut sim);
    assert_eq!(
        (told[0].0, told[0].1, told[0].4),
        (2, Removal::Hard, 17_000)
    );
}

#[test]
fn a_deleted_flow_tells_of_all_its_traffic() {
    let mut sim = switch();
    let flow = FlowRule {
        flags: FlowFlags::SEND_FLOW_REM,
        ..to(2)
    };
    sim.mod_flows(1, vec![add(flow.clone())]);
    for i in 0..50 {
        sim.send(1, udp(1, 2, i % 3));
    }
    // Replacing is no removal.
    sim.mod_flows(1, vec![add(FlowRule { cookie: 3, ..flow })]);
    assert!(removals(&mut sim).is_empty());
    sim.send(1, udp(1, 2, 9));
    sim.mod_flows(1, vec![FlowMod::delete(None, Match::any()).into()]);
    let told = removals(&mut sim);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].1, told[0].2), (Removal::Delete, 51));
}

#[test]
fn a_full_table_evicts_what_ends_first_and_traffic_moves_that() {
    let mut desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=4).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    desired.bridges[0].flow_limits = vec![FlowLimit {
        table: 0,
        len: 3,
        evict: true,
    }];
    let mut sim = Sim::new(desired.clone(), 1, frames(), |_| PLAIN);
    let flow = |cookie: u64, port| FlowRule {
        cookie,
        idle_timeout: 100,
        flags: FlowFlags::SEND_FLOW_REM,
        matches: Match::any().with(Field::InPort, port),
        ..to(4)
    };
    for cookie in 1..=3 {
        sim.mod_flows(1, vec![add(flow(cookie, cookie.into()))]);
        seconds(&mut sim, 1);
    }
    sim.send(1, udp(1, 2, 53));
    sim.credit_rules();
    sim.mod_flows(1, vec![add(flow(9, 9))]);
    assert_eq!(removals(&mut sim)[0].0, 2, "1 was used, 3 is younger");
    // A table that takes less lets go of what is too much.
    desired.bridges[0].flow_limits[0].len = 1;
    sim.set_desired(desired);
    let gone: Vec<_> = removals(&mut sim)
        .iter()
        .map(|row| (row.0, row.1))
        .collect();
    assert_eq!(gone, [(3, Removal::Eviction), (1, Removal::Eviction)]);
}

/// Learns in table 1 where a source address is.
fn learner(hard_timeout: u16, limit: u32) -> FlowRule {
    let learn = Learn {
        idle_timeout: 0,
        hard_timeout,
        fin_idle_timeout: 0,
        fin_hard_timeout: 0,
        priority: 5,
        cookie: 0x1,
        table: 1,
        send_flow_rem: false,
        delete_learned: false,
        limit,
        result: None,
        specs: vec![
            LearnSpec::Match {
                src: LearnSource::Field(Subfield::whole(Field::EthSrc)),
                dst: Subfield::whole(Field::EthDst),
            },
            LearnSpec::Output(Subfield::whole(Field::InPort)),
        ],
    };
    FlowRule {
        instructions: vec![
            Action::Learn(Box::new(learn)),
            Action::Resubmit {
                port: None,
                table: Some(1),
                ct_tuple: false,
            },
        ]
        .into(),
        ..FlowRule::default()
    }
}

fn flood() -> FlowRule {
    FlowRule {
        table: 1,
        instructions: vec![Action::Output(OfPort::FLOOD)].into(),
        ..FlowRule::default()
    }
}

fn out(sim: &mut Sim, port: u32, frame: Vec<u8>) -> Vec<u32> {
    sim.send(port, frame).into_keys().collect()
}

#[test]
fn an_answer_meets_the_flow_that_its_question_taught() {
    let mut sim = switch();
    sim.mod_flows(1, vec![add(learner(60, 0)), add(flood())]);
    assert_eq!(out(&mut sim, 3, udp(3, 1, 53)), [1, 2, 4]);
    assert_eq!(out(&mut sim, 1, udp(1, 3, 53)), [3]);
    assert_eq!(out(&mut sim, 3, udp(3, 1, 53)), [1]);
    // The station moves.
    assert_eq!(out(&mut sim, 2, udp(3, 1, 53)), [1]);
    assert_eq!(out(&mut sim, 1, udp(1, 3, 53)), [2]);
    let told = sim.take_events();
    let learned = told
        .iter()
        .filter(|event| matches!(event, Event::Learned { .. }));
    assert_eq!(learned.count(), 3);
}

#[test]
fn a_learned_flow_stays_young_while_cached_packets_would_learn_it() {
    let mut sim = switch();
    sim.mod_flows(1, vec![add(learner(10, 0)), add(flood())]);
    sim.send(3, udp(3, 1, 53));
    sim.take_events();
    for _ in 0..10 {
        sim.send(3, udp(3, 1, 53));
        seconds(&mut sim, 4);
    }
    assert_eq!(flows(&sim, 1), 2);
    assert!(sim.take_events().is_empty(), "nothing has changed");
    assert!(
        sim.worker(0).cache().counters().exact >= 8,
        "the packets were cached"
    );
    seconds(&mut sim, 7);
    assert_eq!(flows(&sim, 1), 1);
    sim.send(3, udp(3, 1, 53));
    assert_eq!(flows(&sim, 1), 2);
}

#[test]
fn no_more_flows_are_learned_than_the_limit() {
    let mut sim = switch();
    sim.mod_flows(1, vec![add(learner(0, 2)), add(flood())]);
    for station in [5, 6, 7, 8, 5] {
        assert_eq!(out(&mut sim, 1, udp(station, 9, 53)), [2, 3, 4]);
    }
    assert_eq!(flows(&sim, 1), 3);
    // What is over the limit is cached like any other packet.
    sim.send(1, udp(8, 9, 53));
    let before = sim.worker(0).cache().counters().miss;
    sim.send(1, udp(8, 9, 53));
    assert_eq!(sim.worker(0).cache().counters().miss, before);
}

#[test]
fn a_batch_of_packets_learns_once_and_stays_in_order() {
    let mut sim = switch();
    sim.mod_flows(1, vec![add(learner(60, 0)), add(flood())]);
    for i in 0..40 {
        sim.wire(3).push(udp(3, 1, i));
    }
    sim.run();
    let taken = sim.take();
    let ports: Vec<u16> = taken[&1]
        .iter()
        .map(|packet| u16::from_be_bytes([packet.bytes[36], packet.bytes[37]]))
        .collect();
    assert_eq!(ports, (0..40).collect::<Vec<_>>());
    let told = sim.take_events();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_fin_shortens_a_flow_and_that_is_told() {
    let mut sim = switch();
    let flow = FlowRule {
        idle_timeout: 100,
        instructions: vec![
            Action::FinTimeout { idle: 5, hard: 0 },
            Action::Output(OfPort(2)),
        ]
        .into(),
        ..FlowRule::default()
    };
    sim.mod_flows(1, vec![add(flow)]);
    let segment = |flags| {
        Builder::eth(mac(1), mac(2))
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
            .tcp(1000, 80, flags)
            .build()
    };
    sim.send(1, segment(tcp::ACK));
    seconds(&mut sim, 20);
    assert_eq!(flows(&sim, 0), 1);
    for _ in 0..3 {
        sim.send(1, segment(tcp::FIN | tcp::ACK));
    }
    let told = sim.take_events();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(matches!(&told[0], Event::Timeouts { rule, .. } if rule.idle_timeout == 5));
    seconds(&mut sim, 6);
    assert_eq!(flows(&sim, 0), 0);
}

#[test]
fn tables_count_cached_packets_as_looked_up() {
    let mut sim = switch();
    let goto = FlowRule {
        matches: Match::any().with(Field::EthType, 0x0800),
        instructions: vflow_goto(3),
        ..FlowRule::default()
    };
    sim.mod_flows(1, vec![add(goto), add(FlowRule { table: 3, ..to(2) })]);
    for _ in 0..10 {
        sim.send(1, udp(1, 2, 53));
    }
    let arp = Builder::eth(mac(1), mac(2)).arp_request([10, 0, 0, 1], [10, 0, 0, 2]);
    for _ in 0..5 {
        sim.send(1, arp.clone().pad_to(60).build());
    }
    sim.credit_rules();
    let bridge = &sim.tables().bridges()[0];
    assert_eq!(bridge.lookups().of(0), (15, 10));
    assert_eq!(bridge.lookups().of(3), (10, 10));
}

fn vflow_goto(table: u8) -> vswitch_flow::Instructions {
    vswitch_flow::Instructions {
        goto: Some(table),
        ..vswitch_flow::Instructions::default()
    }
}
