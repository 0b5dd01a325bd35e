//! Groups and meters.

use std::collections::BTreeMap;
use std::time::Duration;

use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::{Change, Desired};
use vswitch_flow::group::SelectionMethod;
use vswitch_flow::meter::MeterFlags;
use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::{
    Action, Band, BandKind, Bucket, Field, FlowCommand, FlowMod, FlowRule, Group, GroupKind,
    GroupMod, Meter, MeterMod, OfPort,
};
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, port};

use super::{build::Builder, mac};

fn switch() -> Sim {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=6).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    Sim::new(desired, 1, frames(), |_| PLAIN)
}

fn bucket(id: u32, weight: u16, port: u32) -> Bucket {
    Bucket {
        id,
        weight,
        watch_port: OfPort::ANY,
        watch_group: GROUP_ANY,
        actions: vec![Action::Output(OfPort(port))],
    }
}

fn watching(id: u32, port: u32) -> Bucket {
    Bucket {
        watch_port: OfPort(port),
        ..bucket(id, 1, port)
    }
}

fn group(id: u32, kind: GroupKind, buckets: Vec<Bucket>) -> Change {
    Change::Group(Box::new(GroupMod::Add(Group {
        id,
        kind,
        selection: SelectionMethod::Default,
        buckets,
    })))
}

fn flow(actions: Vec<Action>) -> Change {
    let rule = FlowRule {
        instructions: actions.into(),
        ..FlowRule::default()
    };
    FlowMod::new(FlowCommand::Add, rule).into()
}

fn udp(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
    Builder::eth(mac(1), mac(2))
        .ipv4(src, dst)
        .udp(ports.0, ports.1)
        .build()
}

/// Sets ports down or up.
fn set_down(sim: &mut Sim, number: u32, down: bool) {
    let mut desired = sim.desired().clone();
    let port = desired
        .ports
        .iter_mut()
        .find(|port| port.of_port.0 == number);
    port.expect("there").config.down = down;
    sim.set_desired(desired);
}

fn outs(sim: &mut Sim) -> Vec<u32> {
    sim.send(1, udp([10, 0, 0, 1], [10, 0, 0, 2], (7, 8)))
        .into_keys()
        .collect()
}

/// Where many flows go, and where each of them went.
fn spread(sim: &mut Sim, len: u16) -> (BTreeMap<u32, u32>, Vec<u32>) {
    let (mut shares, mut ways) = (BTreeMap::new(), Vec::new());
    for i in 0..len {
        let dst = [10, 0, (i / 250) as u8, (i % 250) as u8];
        let out = sim.send(1, udp([10, 1, 0, 1], dst, (i, 80)));
        let ports: Vec<_> = out.into_keys().collect();
        assert_eq!(ports.len(), 1);
        *shares.entry(ports[0]).or_default() += 1;
        ways.push(ports[0]);
    }
    (shares, ways)
}

#[test]
fn every_bucket_of_an_all_group_gets_the_packet_as_it_came() {
    let mut sim = switch();
    let mut first = bucket(0, 0, 2);
    let set = Action::SetField {
        field: Field::Ipv4Dst,
        value: 0x0909_0909,
        mask: u128::from(u32::MAX),
    };
    first.actions.insert(0, set);
    let buckets = vec![first, bucket(1, 0, 3)];
    sim.mod_flows(
        1,
        vec![
            group(1, GroupKind::All, buckets),
            flow(vec![Action::Group(1)]),
        ],
    );
    let out = sim.send(1, udp([10, 0, 0, 1], [10, 0, 0, 2], (7, 8)));
    assert_eq!(out[&2][0].bytes[30..34], [9, 9, 9, 9]);
    assert_eq!(out[&3][0].bytes[30..34], [10, 0, 0, 2]);
    sim.credit_rules();
    let size = out[&3][0].bytes.len() as u64;
    let entry = sim.tables().bridges()[0].group(1).expect("there");
    assert_eq!(entry.traffic(), (1, size));
    assert_eq!(entry.bucket_traffic(), [(1, size), (1, size)]);
}

#[test]
fn a_select_group_spreads_by_weight_and_moves_only_what_it_must() {
    let mut sim = switch();
    let buckets = vec![
        watching(0, 2),
        watching(1, 3),
        watching(2, 4),
        bucket(3, 0, 5),
    ];
    sim.mod_flows(
        1,
        vec![
            group(1, GroupKind::Select, buckets),
            flow(vec![Action::Group(1)]),
        ],
    );
    let (shares, before) = spread(&mut sim, 600);
    assert!(
        shares.values().all(|share| (150..250).contains(share)),
        "{shares:?}"
    );
    assert_eq!(shares.len(), 3);
    assert_eq!(spread(&mut sim, 600).1, before);
    set_down(&mut sim, 3, true);
    let (shares, after) = spread(&mut sim, 600);
    assert_eq!(shares.keys().copied().collect::<Vec<_>>(), [2, 4]);
    let pairs = || before.iter().zip(&after);
    assert!(pairs().all(|(old, new)| old == new || *old == 3));
    set_down(&mut sim, 3, false);
    assert_eq!(spread(&mut sim, 600).1, before);
}

#[test]
fn weights_are_shares() {
    let mut sim = switch();
    let weights = [5, 10, 25, 60];
    let buckets = weights.iter().zip(0..);
    let buckets = buckets
        .map(|(weight, id)| bucket(id, *weight, id + 2))
        .collect();
    sim.mod_flows(
        1,
        vec![
            group(1, GroupKind::Select, buckets),
            flow(vec![Action::Group(1)]),
        ],
    );
    let (shares, _) = spread(&mut sim, 2000);
    for (weight, port) in weights.into_iter().zip(2..) {
        let (share, wanted) = (shares[&port], u32::from(weight) * 20);
        assert!(
            share.abs_diff(wanted) < wanted / 2,
            "{share} instead of {wanted}"
        );
    }
}

#[test]
fn both_directions_take_the_same_way() {
    let mut sim = switch();
    let buckets = (0..4).map(|id| bucket(id, 1, id + 2)).collect();
    sim.mod_flows(
        1,
        vec![
            group(1, GroupKind::Select, buckets),
            flow(vec![Action::Group(1)]),
        ],
    );
    for i in 0..50 {
        let (a, b) = ([10, 0, 0, i], [10, 0, 9, 9]);
        let there = sim.send(1, udp(a, b, (1000 + u16::from(i), 53)));
        let reply = Builder::eth(mac(2), mac(1))
            .ipv4(b, a)
            .udp(53, 1000 + u16::from(i));
        let back = sim.send(1, reply.build());
        assert!(there.keys().eq(back.keys()));
    }
}

#[test]
fn arp_is_spread_by_its_protocol_addresses() {
    let mut sim = switch();
    let buckets = vec![bucket(0, 1, 2), bucket(1, 1, 3)];
    sim.mod_flows(
        1,
        vec![
            group(1, GroupKind::Select, buckets),
            flow(vec![Action::Group(1)]),
        ],
    );
    let mut shares = BTreeMap::<u32, u32>::new();
    for i in 0..200 {
        let request = Builder::eth(mac(2), mac(1)).arp_request([10, 0, i, 1], [10, 1, 1, i]);
        for port in sim.send(1, request.build()).into_keys() {
            *shares.entry(port).or_default() += 1;
        }
    }
    assert!(
        shares.len() == 2 && shares.values().all(|share| (60..140).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn failover_takes_the_first_that_lives() {
    let mut sim = switch();
    let inner = vec![watching(0, 4)];
    let mut last = bucket(2, 1, 5);
    last.watch_group = 2;
    let buckets = vec![watching(0, 2), watching(1, 3), last];
    sim.mod_flows(
        1,
        vec![
            group(2, GroupKind::FastFailover, inner),
            group(1, GroupKind::FastFailover, buckets),
            flow(vec![Action::Group(1)]),
        ],
    );
    assert_eq!(outs(&mut sim), [2]);
    set_down(&mut sim, 2, true);
    assert_eq!(outs(&mut sim), [3]);
    set_down(&mut sim, 3, true);
    assert_eq!(outs(&mut sim), [5]);
    set_down(&mut sim, 4, true);
    assert_eq!(outs(&mut sim), [0; 0]);
    set_down(&mut sim, 2, false);
    assert_eq!(outs(&mut sim), [2]);
}

#[test]
fn selected_buckets_are_credited_when_cached() {
    let mut sim = switch();
    let buckets = vec![bucket(0, 1, 2), bucket(1, 0, 3)];
    sim.mod_flows(
        1,
        vec![
            group(1, GroupKind::Select, buckets),
            flow(vec![Action::Group(1)]),
        ],
    );
    for _ in 0..7 {
        outs(&mut sim);
    }
    sim.credit_rules();
    let entry = sim.tables().bridges()[0].group(1).expect("there");
    assert_eq!((entry.traffic().0, entry.bucket_traffic()[0].0), (7, 7));
    assert_eq!(entry.bucket_traffic()[1], (0, 0));
}

fn meter(id: u32, flags: MeterFlags, kind: BandKind, rate: u32, burst: u32) -> Change {
    Change::Meter(Box::new(MeterMod::Add(Meter {
        id,
        flags,
        bands: vec![Band { kind, rate, burst }],
    })))
}

fn metered(id: u32) -> Change {
    let mut rule = FlowRule {
        instructions: vec![Action::Output(OfPort(2))].into(),
        ..FlowRule::default()
    };
    rule.instructions.meter = Some(id);
    FlowMod::new(FlowCommand::Add, rule).into()
}

#[test]
fn a_meter_drops_what_is_too_much_and_time_brings_more() {
    let mut sim = switch();
    let drops = meter(1, MeterFlags::PKTPS, BandKind::Drop, 10, 5);
    sim.mod_flows(1, vec![drops, metered(1)]);
    let burst = |sim: &mut Sim, len: u16| {
        let sent = (0..len).map(|_| outs(sim).len()).sum::<usize>();
        let dropped = sim.new_drops();
        let lost: u64 = dropped.iter().map(|(_, len)| len).sum();
        assert!(
            dropped
                .iter()
                .all(|(reason, _)| *reason == DropReason::MeterDrop)
        );
        assert_eq!(sent as u64 + lost, u64::from(len));
        sent
    };
    assert_eq!(burst(&mut sim, 20), 5);
    sim.advance(Duration::from_millis(300));
    assert_eq!(burst(&mut sim, 20), 3);
    let mut sent = 0;
    for _ in 0..500 {
        sim.advance(Duration::from_millis(20));
        sent += burst(&mut sim, 1);
    }
    assert!((95..=105).contains(&sent), "{sent} of 100 in 10 seconds");
    let entry = sim.tables().bridges()[0].meter(1).expect("there");
    assert_eq!(entry.traffic().0, 540);
    assert_eq!(entry.band_traffic()[0].0 + 8 + sent as u64, 540);
}

#[test]
fn a_meter_marks_what_is_too_much() {
    let mut sim = switch();
    let marks = BandKind::DscpRemark { levels: 1 };
    let change = meter(1, MeterFlags::PKTPS, marks, 1, 2);
    sim.mod_flows(1, vec![change, metered(1)]);
    let mut frame = udp([10, 0, 0, 1], [10, 0, 0, 2], (7, 8));
    // AF11, with the header's checksum made right.
    frame[15] = 10 << 2;
    let mut header = vswitch_packet::ipv4::Ipv4::new_unchecked(&mut frame[14..]);
    header.fill_checksum();
    let tos = |sim: &mut Sim| sim.send(1, frame.clone())[&2][0].bytes[15];
    let seen: Vec<_> = (0..4).map(|_| tos(&mut sim)).collect();
    assert_eq!(seen, [10 << 2, 10 << 2, 12 << 2, 12 << 2]);
}
