//! Bridges side by side: patches between them, mirrors, and the limit of what they learn.

use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::{Desired, MirrorSpec, PortId, PortKind, VlanMode, VlanSpec};
use vswitch_flow::{Action, FlowRule, Match, OfPort};
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, normal, port};

use super::{build::Builder, mac};

fn frame(src: u8, dst: u8) -> Vec<u8> {
    let ip = |station| [10, 0, 0, station];
    Builder::eth(mac(src), mac(dst))
        .ipv4(ip(src), ip(dst))
        .udp(1000, 2000)
        .build()
}

fn patch(id: u32, bridge: u32, peer: u32) -> vswitch_dpapi::PortSpec {
    let peer = Some(PortId(peer));
    let mut port = port(id, bridge);
    port.kind = PortKind::Patch { peer };
    port
}

fn ports(sim: &mut Sim, from: u32, frame: Vec<u8>) -> Vec<u32> {
    sim.send(from, frame).into_keys().collect()
}

#[test]
fn a_patch_makes_one_network_of_two_bridges() {
    let desired = Desired {
        bridges: vec![bridge(1), bridge(2)],
        ports: vec![
            port(1, 1),
            port(2, 1),
            patch(3, 1, 4),
            patch(4, 2, 3),
            port(5, 2),
            port(6, 2),
        ],
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, 1, frames(), |_| PLAIN);
    sim.set_flows(1, vec![normal()]);
    sim.set_flows(2, vec![normal()]);
    assert_eq!(ports(&mut sim, 1, frame(1, 5)), [2, 5, 6]);
    // Both bridges have learned where the station is.
    assert_eq!(ports(&mut sim, 5, frame(5, 1)), [1]);
    for _ in 0..3 {
        assert_eq!(ports(&mut sim, 1, frame(1, 5)), [5]);
    }
    assert!(sim.worker(0).cache().counters().exact > 0);
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn a_loop_of_patches_ends_with_a_counted_drop() {
    // Two patches between the same bridges: what floods goes round.
    let desired = Desired {
        bridges: vec![bridge(1), bridge(2)],
        ports: vec![
            port(1, 1),
            patch(2, 1, 4),
            patch(3, 1, 5),
            patch(4, 2, 2),
            patch(5, 2, 3),
        ],
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, 1, frames(), |_| PLAIN);
    let flood = FlowRule {
        matches: Match::any(),
        instructions: vec![Action::Output(OfPort::FLOOD)].into(),
        ..FlowRule::default()
    };
    // Only one way round, so that the number of copies stays small.
    let round = FlowRule {
        instructions: vec![Action::Output(OfPort(2))].into(),
        ..flood.clone()
    };
    sim.set_flows(1, vec![round]);
    sim.set_flows(2, vec![flood]);
    assert_eq!(ports(&mut sim, 1, frame(1, 9)), []);
    assert_eq!(sim.new_drops(), [(DropReason::TooDeep, 1)]);
}

#[test]
fn a_mirror_gets_a_copy_of_what_comes_and_goes_and_nothing_else() {
    let mut mirrored = bridge(1);
    mirrored.mirrors = vec![MirrorSpec {
        name: "m".to_owned(),
        select_src: vec![PortId(1)],
        select_dst: vec![PortId(1)],
        output_port: Some(PortId(4)),
        ..MirrorSpec::default()
    }];
    let desired = Desired {
        bridges: vec![mirrored],
        ports: (1..=4).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, 1, frames(), |_| PLAIN);
    sim.set_flows(1, vec![normal()]);
    for station in 1..=3 {
        sim.send(station.into(), frame(station, 9));
    }
    for _ in 0..3 {
        for (from, to, copied) in [(1, 2, true), (2, 1, true), (2, 3, false)] {
            let out = sim.send(from.into(), frame(from, to));
            let expected: &[u32] = if copied {
                &[to.into(), 4]
            } else {
                &[to.into()]
            };
            assert_eq!(out.keys().copied().collect::<Vec<_>>(), expected);
            assert!(out.values().all(|p| p.len() == 1));
            assert!(out.values().all(|p| p[0].bytes == frame(from, to)));
        }
    }
    // The mirror's port is for copies only.
    assert!(sim.send(4, frame(4, 1)).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::MirrorPort, 1)]);
}

#[test]
fn a_port_that_shows_many_addresses_pushes_out_its_own() {
    let mut small = bridge(1);
    small.mac_table_size = 8;
    let desired = Desired {
        bridges: vec![small],
        ports: (1..=3).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, 1, frames(), |_| PLAIN);
    sim.set_flows(1, vec![normal()]);
    sim.send(1, frame(1, 9));
    for station in 10..60 {
        sim.send(2, frame(station, 9));
    }
    assert_eq!(sim.tables().bridges()[0].fdb.len(), 8);
    assert_eq!(ports(&mut sim, 3, frame(3, 1)), [1]);
}

#[test]
fn a_packet_too_big_for_an_access_port_is_answered_in_its_senders_vlan() {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=2)
            .map(|id| {
                let mut port = port(id, 1);
                port.vlan = VlanSpec {
                    mode: if id == 1 {
                        VlanMode::Trunk
                    } else {
                        VlanMode::Access
                    },
                    tag: if id == 1 { 0 } else { 10 },
                    trunks: vec![],
                };
                port
            })
            .collect(),
        routers: Vec::new(),
    };
    let caps = |port: PortId| vswitch_datapath::offload::Capabilities {
        mtu: if port.0 == 2 { 600 } else { 1500 },
        ..PLAIN
    };
    let mut sim = Sim::new(desired, 1, frames(), caps);
    sim.set_flows(1, vec![normal()]);
    let big = Builder::eth(mac(1), mac(2))
        .vlan(10)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
        .udp(1000, 2000)
        .payload(&[0; 1000])
        .build();
    let out = sim.send(1, big);
    assert_eq!(sim.new_drops(), [(DropReason::MtuExceeded, 1)]);
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [1]);
    let answer = &out[&1][0].bytes;
    assert_eq!(answer[12..16], [0x81, 0, 0, 10]);
    // ICMP, destination unreachable, fragmentation needed, MTU 600.
    assert_eq!((answer[27], answer[38], answer[39]), (1, 3, 4));
    assert_eq!(answer[44..46], 600_u16.to_be_bytes());
}
