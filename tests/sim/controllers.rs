//! Packets to controllers and from them.

use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::{Change, Desired, Event, PacketIn};
use vswitch_flow::action::{Reason, ToController};
use vswitch_flow::meter::{METER_CONTROLLER, MeterFlags};
use vswitch_flow::{
    Action, Band, BandKind, Field, FlowCommand, FlowMod, FlowRule, Match, Meter, MeterMod, OfPort,
};
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, port};

use super::{build::Builder, mac};

fn switch() -> Sim {
    let desired = Desired {
        bridges: vec![bridge(1), bridge(2)],
        ports: (1..=3).map(|id| port(id, 1)).chain([port(4, 2)]).collect(),
        routers: Vec::new(),
    };
    Sim::new(desired, 1, frames(), |_| PLAIN)
}

fn to_controller() -> ToController {
    ToController {
        max_len: 64,
        id: 0,
        reason: Reason::Action,
        userdata: vec![1, 2, 3],
        pause: false,
        meter: None,
    }
}

fn add(actions: Vec<Action>) -> Change {
    let rule = FlowRule {
        priority: 1,
        cookie: 0xc0,
        instructions: actions.into(),
        ..FlowRule::default()
    };
    FlowMod::new(FlowCommand::Add, rule).into()
}

fn udp(size: usize) -> Vec<u8> {
    Builder::eth(mac(1), mac(2))
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
        .udp(1000, 53)
        .payload(&vec![5; size])
        .build()
}

fn packet_ins(sim: &mut Sim) -> Vec<PacketIn> {
    let events = sim.take_events().into_iter();
    let packets = events.filter_map(|event| match event {
        Event::PacketIn(packet) => Some(*packet),
        _ => None,
    });
    packets.collect()
}

#[test]
fn a_controller_is_told_all_that_it_wants_to_know() {
    let mut sim = switch();
    let actions = vec![
        Action::Load {
            dst: vswitch_flow::Subfield::whole(Field::Reg3),
            value: 9,
        },
        Action::Controller(Box::new(to_controller())),
        Action::Output(OfPort(2)),
    ];
    sim.mod_flows(1, vec![add(actions)]);
    // The second one is cached.
    for _ in 0..2 {
        let out = sim.send(1, udp(1000));
        assert_eq!(out[&2][0].bytes, udp(1000));
        let told = packet_ins(&mut sim);
        assert_eq!(told.len(), 1);
        let told = &told[0];
        assert_eq!(told.packet, udp(1000), "whoever sends it on cuts it");
        assert_eq!(
            (told.in_port, told.max_len, told.cookie),
            (OfPort(1), 64, 0xc0)
        );
        assert_eq!(
            (told.reason, told.userdata.as_slice()),
            (Reason::Action, [1, 2, 3].as_slice())
        );
        assert_eq!(told.fields, Match::any().with(Field::Reg3, 9));
        assert_eq!((told.lost, told.implicit_miss), (0, false));
    }
    sim.credit_rules();
    let rule = sim.tables().bridges()[0]
        .rules()
        .next()
        .expect("one")
        .stats();
    assert_eq!(rule.packets(), 2);
}

#[test]
fn a_table_miss_flow_says_that_nothing_matched() {
    let mut sim = switch();
    let rule = FlowRule {
        instructions: vec![Action::Controller(Box::new(to_controller()))].into(),
        ..FlowRule::default()
    };
    sim.mod_flows(1, vec![FlowMod::new(FlowCommand::Add, rule).into()]);
    sim.send(1, udp(10));
    let told = packet_ins(&mut sim);
    assert_eq!(
        (told[0].reason, told[0].implicit_miss),
        (Reason::NoMatch, false)
    );
}

#[test]
fn a_bridge_that_floods_its_controller_loses_packets_and_no_other_does() {
    let mut sim = switch();
    let actions = || vec![Action::Controller(Box::new(to_controller()))];
    sim.mod_flows(1, vec![add(actions())]);
    sim.mod_flows(2, vec![add(actions())]);
    for _ in 0..400 {
        sim.wire(1).push(udp(10));
    }
    sim.wire(4).push(udp(10));
    // Control does not look until the worker has nothing left to do.
    sim.run_worker(0);
    let lost: u64 = sim.new_drops().iter().map(|(_, len)| len).sum();
    sim.run();
    let told = packet_ins(&mut sim);
    assert!(told.iter().any(|packet| packet.bridge.0 == 2));
    assert_eq!(told.len() as u64 + lost, 401);
    assert!(lost > 100, "{lost}");
    sim.send(1, udp(10));
    assert_eq!(packet_ins(&mut sim)[0].lost, lost);
}

#[test]
fn a_packet_that_nobody_wants_to_hear_of_is_dropped_for_that_reason() {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: vec![port(1, 1)],
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, 1, frames(), |_| PLAIN);
    sim.be_deaf();
    sim.mod_flows(
        1,
        vec![add(vec![Action::Controller(Box::new(to_controller()))])],
    );
    sim.send(1, udp(10));
    assert_eq!(sim.new_drops(), [(DropReason::NoController, 1)]);
}

#[test]
fn packets_to_controllers_have_a_meter_of_their_own() {
    let mut sim = switch();
    let meter = Meter {
        id: METER_CONTROLLER,
        flags: MeterFlags::PKTPS,
        bands: vec![Band {
            kind: BandKind::Drop,
            rate: 1,
            burst: 3,
        }],
    };
    let actions = vec![Action::Controller(Box::new(to_controller()))];
    sim.mod_flows(
        1,
        vec![Change::Meter(Box::new(MeterMod::Add(meter))), add(actions)],
    );
    for _ in 0..10 {
        sim.send(1, udp(10));
    }
    assert_eq!(packet_ins(&mut sim).len(), 3);
    assert_eq!(sim.new_drops(), [(DropReason::MeterDrop, 7)]);
}

#[test]
fn a_controller_sends_by_ports_and_through_tables() {
    let mut sim = switch();
    let from_2 = FlowRule {
        priority: 5,
        matches: Match::any().with(Field::InPort, 2),
        instructions: vec![Action::Output(OfPort(3))].into(),
        ..FlowRule::default()
    };
    sim.mod_flows(1, vec![FlowMod::new(FlowCommand::Add, from_2).into()]);
    let out = |sim: &mut Sim, in_port, actions| {
        sim.packet_out(1, in_port, udp(10), actions);
        sim.take().into_keys().collect::<Vec<_>>()
    };
    let send = |port| vec![Action::Output(port)];
    assert_eq!(out(&mut sim, OfPort::CONTROLLER, send(OfPort(2))), [2]);
    assert_eq!(out(&mut sim, OfPort::ANY, send(OfPort::FLOOD)), [1, 2, 3]);
    assert_eq!(out(&mut sim, OfPort(2), send(OfPort::FLOOD)), [1, 3]);
    assert_eq!(out(&mut sim, OfPort(2), send(OfPort::TABLE)), [3]);
    assert_eq!(out(&mut sim, OfPort(1), send(OfPort::TABLE)), [0; 0]);
    // Counted at once.
    let rule = sim.tables().bridges()[0]
        .rules()
        .next()
        .expect("one")
        .stats();
    assert_eq!(rule.packets(), 1);
    let back = vec![Action::Output(OfPort::CONTROLLER)];
    for in_port in [OfPort::CONTROLLER, OfPort::ANY] {
        sim.packet_out(1, in_port, udp(10), back.clone());
        assert_eq!(packet_ins(&mut sim)[0].in_port, in_port);
    }
    // What is no frame goes nowhere, and a large one goes whole.
    sim.packet_out(1, OfPort::ANY, vec![1, 2, 3], send(OfPort(2)));
    assert!(sim.take().is_empty());
    sim.packet_out(
        1,
        OfPort::ANY,
        udp(9000),
        vec![Action::Output(OfPort::CONTROLLER)],
    );
    assert_eq!(packet_ins(&mut sim)[0].packet, udp(9000));
}

#[test]
fn a_paused_packet_goes_on_where_it_stopped() {
    let mut sim = switch();
    let pause = ToController {
        pause: true,
        ..to_controller()
    };
    let first = vec![
        Action::SetField {
            field: Field::Ipv4Dst,
            value: 0x0909_0909,
            mask: u128::from(u32::MAX),
        },
        Action::Controller(Box::new(pause)),
        Action::Resubmit {
            port: None,
            table: Some(1),
            ct_tuple: false,
        },
    ];
    let second = FlowRule {
        table: 1,
        matches: Match::any()
            .with(Field::EthType, 0x0800)
            .with(Field::Ipv4Dst, 0x0909_0909),
        instructions: vec![Action::Output(OfPort(3))].into(),
        ..FlowRule::default()
    };
    sim.mod_flows(
        1,
        vec![add(first), FlowMod::new(FlowCommand::Add, second).into()],
    );
    assert!(sim.send(1, udp(10)).is_empty());
    let told = packet_ins(&mut sim);
    assert_eq!(told.len(), 1);
    sim.resume(&told[0]);
    let out = sim.take();
    assert_eq!(out[&3][0].bytes[30..34], [9, 9, 9, 9]);
}
