//! What caches must not change: which packets go where.

use vswitch_dpapi::Desired;
use vswitch_flow::{Action, Field, FlowCommand, FlowMod, FlowRule, Match, OfPort};
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, normal, port};

use super::{build::Builder, mac};

fn switch() -> Sim {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=4).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    Sim::new(desired, 1, frames(), |_| PLAIN)
}

fn to(port: u32, matches: Match) -> FlowRule {
    FlowRule {
        priority: 10,
        matches,
        instructions: vec![Action::Output(OfPort(port))].into(),
        ..FlowRule::default()
    }
}

fn frame(dst_port: u16) -> Vec<u8> {
    Builder::eth(mac(1), mac(2))
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
        .udp(1000, dst_port)
        .build()
}

#[test]
fn the_second_packet_of_a_flow_is_a_hit_and_goes_the_same_way() {
    let mut sim = switch();
    sim.set_flows(1, vec![to(2, Match::any().with(Field::EthType, 0x0800))]);
    for _ in 0..5 {
        let out = sim.send(1, frame(53));
        assert_eq!(out.keys().copied().collect::<Vec<_>>(), [2]);
    }
    let counters = sim.worker(0).cache().counters();
    assert_eq!((counters.miss, counters.exact), (1, 4));
    // Another flow under the same mask.
    sim.send(1, frame(54));
    assert_eq!(sim.worker(0).cache().counters().masked, 1);
}

#[test]
fn a_changed_flow_is_in_force_for_the_next_packet() {
    let mut sim = switch();
    for port in [2, 3, 4, 2] {
        sim.set_flows(1, vec![to(port, Match::any())]);
        let out = sim.send(1, frame(53));
        assert_eq!(out.keys().copied().collect::<Vec<_>>(), [port]);
    }
    sim.set_flows(1, Vec::new());
    assert!(sim.send(1, frame(53)).is_empty());
}

#[test]
fn flow_counters_are_exact_when_asked_for_whatever_the_cache_holds() {
    let mut sim = switch();
    sim.set_flows(1, vec![normal()]);
    let size = frame(1).len() as u64;
    for i in 0..100 {
        sim.send(1, frame(i % 7));
    }
    sim.credit_rules();
    let bridge = &sim.tables().bridges()[0];
    let rule = bridge.rules().next().expect("one flow");
    assert_eq!(
        (rule.stats().packets(), rule.stats().bytes()),
        (100, 100 * size)
    );
}

#[test]
fn a_station_that_moves_within_a_batch_is_followed_by_the_rest_of_the_batch() {
    let mut sim = switch();
    let from_2_to_1 = Builder::eth(mac(2), mac(1)).arp_request([10, 0, 0, 2], [10, 0, 0, 1]);
    let from_2_to_1 = from_2_to_1.pad_to(60).build();
    sim.set_flows(1, vec![normal()]);
    sim.send(1, frame(53));
    for _ in 0..3 {
        let out = sim.send(2, from_2_to_1.clone());
        assert_eq!(out.keys().copied().collect::<Vec<_>>(), [1]);
    }
    // One batch: the station speaks on port 2, and port 2's next packet is for it.
    sim.wire(2).push(frame(53));
    sim.wire(2).push(from_2_to_1);
    sim.run();
    assert_eq!(sim.take().get(&1).map_or(0, Vec::len), 0);
}

#[test]
fn a_station_stays_known_while_it_sends_what_is_not_cached() {
    let mut sim = switch();
    sim.disable_caches();
    sim.set_flows(1, vec![normal()]);
    sim.send(1, frame(53));
    for _ in 0..4 {
        sim.advance(std::time::Duration::from_secs(200));
        sim.send(1, frame(53));
    }
    let bridge = &sim.tables().bridges()[0];
    assert_eq!(bridge.fdb.stats().expired, 0);
}

#[test]
fn a_change_elsewhere_leaves_what_the_caches_know() {
    let mut sim = switch();
    let udp = |dst: u128| {
        Match::any()
            .with(Field::EthType, 0x0800)
            .with(Field::IpProto, 17)
            .with(Field::UdpDst, dst)
    };
    sim.set_flows(1, vec![to(2, udp(53)), normal()]);
    sim.send(1, frame(53));
    let add = |sim: &mut Sim, flow| {
        sim.mod_flows(1, vec![FlowMod::new(FlowCommand::Add, flow).into()]);
    };
    for dst in 1000..1200 {
        add(&mut sim, to(3, udp(dst)));
        let out = sim.send(1, frame(53));
        assert_eq!(out.keys().copied().collect::<Vec<_>>(), [2]);
    }
    let counters = sim.worker(0).cache().counters();
    assert_eq!((counters.miss, counters.stale, counters.exact), (1, 0, 200));
    // One that concerns it is noticed, however it is made.
    add(&mut sim, to(4, udp(53)));
    assert_eq!(sim.send(1, frame(53)).into_keys().next(), Some(4));
    sim.mod_flows(1, vec![FlowMod::delete(None, udp(53)).into()]);
    assert_ne!(sim.send(1, frame(53)).into_keys().next(), Some(4));
    assert_eq!(sim.worker(0).cache().counters().stale, 2);
    // After more changes than are remembered nothing is taken for granted.
    sim.send(1, frame(53));
    for dst in 2000..2100 {
        add(&mut sim, to(3, udp(dst)));
    }
    let misses = sim.worker(0).cache().counters().miss;
    sim.send(1, frame(53));
    assert_eq!(sim.worker(0).cache().counters().miss, misses + 1);
}
