//! What a learning switch does.

use std::time::Duration;

use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::{Desired, VlanMode, VlanSpec};
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, normal, port};

use super::{build::Builder, mac};

/// A bridge with four ports and one NORMAL flow.
fn switch() -> Sim {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=4).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, 1, frames(), |_| PLAIN);
    sim.set_flows(1, vec![normal()]);
    sim
}

fn frame(src: u8, dst: u8) -> Vec<u8> {
    let ip = |station| [10, 0, 0, station];
    Builder::eth(mac(src), mac(dst))
        .ipv4(ip(src), ip(dst))
        .udp(1000, 2000)
        .payload(b"payload")
        .build()
}

#[test]
fn the_unknown_floods_everywhere_but_back_and_the_known_goes_to_its_port() {
    let mut sim = switch();
    let sent = frame(1, 2);
    let out = sim.send(1, sent.clone());
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [2, 3, 4]);
    assert!(out.values().all(|p| p.len() == 1 && p[0].bytes == sent));

    let out = sim.send(2, frame(2, 1));
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [1]);
    let out = sim.send(1, frame(1, 2));
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn a_station_that_moves_is_found_at_its_new_port_at_once() {
    let mut sim = switch();
    sim.send(1, frame(1, 9));
    sim.send(2, frame(2, 1));
    assert_eq!(
        sim.send(2, frame(2, 1)).keys().copied().collect::<Vec<_>>(),
        [1]
    );
    // Cached by now; the station's next packet comes in elsewhere.
    sim.send(3, frame(1, 9));
    assert_eq!(
        sim.send(2, frame(2, 1)).keys().copied().collect::<Vec<_>>(),
        [3]
    );
}

#[test]
fn an_address_is_forgotten_when_it_is_silent_and_not_while_cached_traffic_comes() {
    let mut sim = switch();
    sim.send(1, frame(1, 9));
    for _ in 0..10 {
        sim.advance(Duration::from_secs(200));
        sim.send(1, frame(1, 9));
    }
    assert_eq!(
        sim.send(2, frame(2, 1)).keys().copied().collect::<Vec<_>>(),
        [1]
    );
    sim.advance(Duration::from_secs(301));
    assert_eq!(sim.send(2, frame(2, 1)).len(), 3);
}

#[test]
fn a_packet_for_its_own_port_is_dropped_and_counted() {
    let mut sim = switch();
    sim.send(1, frame(1, 9));
    sim.send(1, frame(2, 9));
    sim.new_drops();
    assert!(sim.send(1, frame(1, 2)).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::FdbSamePort, 1)]);
}

#[test]
fn a_frame_shorter_than_a_header_is_dropped_and_counted() {
    let mut sim = switch();
    for size in 1..14 {
        assert!(sim.send(1, frame(1, 2)[..size].to_vec()).is_empty());
    }
    assert_eq!(sim.new_drops(), [(DropReason::TooShort, 13)]);
    assert_eq!(sim.send(1, frame(1, 2)[..14].to_vec()).len(), 3);
}

#[test]
fn vlans_keep_apart_and_trunks_carry_tags() {
    let mut desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=4).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    let access = |tag| VlanSpec {
        mode: VlanMode::Access,
        tag,
        trunks: Vec::new(),
    };
    desired.ports[0].vlan = access(10);
    desired.ports[1].vlan = access(10);
    desired.ports[2].vlan = access(20);
    let mut sim = Sim::new(desired, 1, frames(), |_| PLAIN);
    sim.set_flows(1, vec![normal()]);

    let untagged = frame(1, 2);
    let out = sim.send(1, untagged.clone());
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [2, 4]);
    assert_eq!(out[&2][0].bytes, untagged);
    let tagged = Builder::eth(mac(1), mac(2)).vlan(10);
    let tagged = tagged
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
        .udp(1000, 2000)
        .payload(b"payload")
        .build();
    assert_eq!(out[&4][0].bytes, tagged);

    // A tag on an access port is another VLAN's.
    assert!(sim.send(3, tagged).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::VlanNotAllowed, 1)]);
}
