//! Packets that a port cannot take as they are: super-frames, begun checksums, too large ones.

use vswitch_datapath::counters::DropReason;
use vswitch_datapath::offload::{Capabilities, Checksum, Gso, GsoKind, Offload};
use vswitch_dpapi::{Desired, PortId};
use vswitch_flow::text::parse_flow;
use vswitch_packet::checksum::Sum;
use vswitch_packet::tcp;
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, normal, port};

use super::{build::Builder, mac};

/// Port 1 takes anything, port 2 whole packets only, port 3 has a small MTU.
fn switch() -> Sim {
    let caps = |port: PortId| match port.0 {
        1 => Capabilities {
            csum: true,
            tso4: true,
            tso6: true,
            uso: true,
            ..PLAIN
        },
        2 => PLAIN,
        _ => Capabilities { mtu: 1000, ..PLAIN },
    };
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=3).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, 1, frames(), caps);
    sim.set_flows(1, vec![normal()]);
    // Everybody is known.
    for station in 1..=3 {
        sim.send(station.into(), frame(station, 9, 0));
    }
    sim
}

fn frame(src: u8, dst: u8, size: usize) -> Vec<u8> {
    let ip = |station| [10, 0, 0, station];
    Builder::eth(mac(src), mac(dst))
        .ipv4(ip(src), ip(dst))
        .tcp(1000, 2000, tcp::ACK | tcp::PSH)
        .payload(&(0..size).map(|i| i as u8).collect::<Vec<_>>())
        .build()
}

fn super_frame(src: u8, dst: u8, size: usize) -> (Vec<u8>, Offload) {
    let offload = Offload {
        csum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        gso: Some(Gso {
            kind: GsoKind::Tcp4,
            size: 1448,
            ecn: false,
            tunnel: None,
        }),
    };
    (frame(src, dst, size), offload)
}

fn tcp_checksum_is_right(bytes: &[u8]) -> bool {
    let segment = &bytes[34..];
    let address = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    let mut sum = Sum::pseudo_v4(address(26), address(30), 6, segment.len() as u32);
    sum.add(segment);
    sum.is_whole()
}

#[test]
fn a_super_frame_crosses_whole_to_a_port_that_takes_it_and_in_segments_to_one_that_does_not() {
    let mut sim = switch();
    let (bytes, offload) = super_frame(2, 1, 20_000);
    sim.wire(2).push_with(bytes.clone(), offload);
    sim.run();
    let out = sim.take();
    assert_eq!(out[&1].len(), 1);
    assert_eq!((&out[&1][0].bytes, out[&1][0].offload), (&bytes, offload));

    let (bytes, offload) = super_frame(1, 2, 20_000);
    sim.wire(1).push_with(bytes.clone(), offload);
    sim.run();
    let out = sim.take();
    assert_eq!(out[&2].len(), 20_000_usize.div_ceil(1448));
    let mut payload = Vec::new();
    for segment in &out[&2] {
        assert!(segment.bytes.len() <= 1514);
        assert_eq!(
            (segment.offload.gso, segment.offload.csum),
            (None, Checksum::Valid)
        );
        assert!(tcp_checksum_is_right(&segment.bytes));
        payload.extend_from_slice(&segment.bytes[54..]);
    }
    assert_eq!(payload, bytes[54..]);
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn segments_that_arrive_together_leave_as_a_super_frame_where_the_port_takes_one() {
    let mut sim = switch();
    let (bytes, offload) = super_frame(1, 2, 20_000);
    sim.wire(1).push_with(bytes.clone(), offload);
    sim.run();
    let segments: Vec<Vec<u8>> = sim.take()[&2].iter().map(|out| out.bytes.clone()).collect();
    // The same connection, the other way: from a wire, each by itself.
    for segment in &segments {
        let mut segment = segment.clone();
        segment[..6].copy_from_slice(&mac(1));
        segment[6..12].copy_from_slice(&mac(2));
        sim.wire(2).push(segment);
    }
    sim.run();
    let out = sim.take();
    let frames = segments.len();
    assert!(out[&1].len() < frames / 4, "{} of {frames}", out[&1].len());
    let payload: Vec<u8> = out[&1]
        .iter()
        .flat_map(|packet| packet.bytes[54..].to_vec())
        .collect();
    assert_eq!(payload, bytes[54..]);
    let gso = out[&1][0].offload.gso.expect("a super-frame");
    assert_eq!((gso.kind, gso.size), (GsoKind::Tcp4, 1448));
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn what_does_not_fit_is_answered_towards_its_sender() {
    let mut sim = switch();
    let out = sim.send(1, frame(1, 3, 1200));
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(sim.new_drops(), [(DropReason::MtuExceeded, 1)]);
    let answer = &out[&1][0].bytes;
    assert_eq!(answer[..6], mac(1));
    assert_eq!(answer[6..12], mac(3));
    // ICMP, destination unreachable, fragmentation needed, MTU 1000.
    assert_eq!((answer[23], answer[34], answer[35]), (1, 3, 4));
    assert_eq!(answer[40..42], 1000_u16.to_be_bytes());
}

#[test]
fn answers_that_beget_answers_end_however_many_are_on_their_way() {
    // Ports 2 and 3 are too small for our own answers, which flows make questions of.
    let caps = |port: PortId| match port.0 {
        1 => PLAIN,
        _ => Capabilities { mtu: 600, ..PLAIN },
    };
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=3).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, 1, frames(), caps);
    let flows = [
        "in_port=1,actions=output:2",
        "in_port=2,icmp6,actions=set_field:128->icmpv6_type,output:3",
        "in_port=3,icmp6,actions=set_field:128->icmpv6_type,output:2",
    ];
    let rule = |flow: &&str| parse_flow(flow, &|_| None).expect(flow);
    sim.set_flows(1, flows.iter().map(rule).collect());
    let large = Builder::eth(mac(1), mac(2))
        .ipv6(
            "fd00::1".parse().expect("one"),
            "fd00::2".parse().expect("one"),
        )
        .udp(1, 2)
        .payload(&[7; 1400])
        .build();
    // One begins while the answers to another are at each other.
    for _ in 0..2 {
        sim.wire(1).push(large.clone());
        sim.wake();
        for _ in 0..3 {
            assert!(sim.round() > 0);
        }
    }
    sim.run();
    let drops = sim.new_drops();
    let too_large = 2 * (1 + GENERATIONS);
    assert_eq!(
        drops,
        [
            (DropReason::TooDeep, 2),
            (DropReason::MtuExceeded, too_large)
        ]
    );
    assert!(sim.take().is_empty());
}

/// Answers that may beget each other (`GENERATIONS_MAX` of workers).
const GENERATIONS: u64 = 16;

#[test]
fn what_may_be_fragmented_is_cut_to_the_mtu_it_leaves_by() {
    let mut sim = switch();
    let repr = vswitch_packet::ipv4::Repr {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 3].into(),
        protocol: vswitch_packet::Protocol::default(),
        ttl: 64,
        tos: 0,
        ident: 7,
        fragment: 0,
        payload_size: 0,
    };
    let payload: Vec<_> = (0..1400).map(|i| i as u8).collect();
    let sent = Builder::eth(mac(1), mac(3))
        .ipv4_with(repr, &[])
        .udp(1000, 2000)
        .payload(&payload)
        .build();
    let out = sim.send(1, sent.clone());
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [3]);
    assert_eq!(out[&3].len(), 2);
    let mut joined = Vec::new();
    for fragment in &out[&3] {
        assert!(fragment.bytes.len() <= 1014);
        // Where it belongs, in units of 8 bytes.
        let at = u16::from_be_bytes([fragment.bytes[20], fragment.bytes[21]]) & 0x1fff;
        assert_eq!(usize::from(at) * 8, joined.len());
        joined.extend_from_slice(&fragment.bytes[34..]);
    }
    assert_eq!(joined, sent[34..]);
    assert_eq!(sim.new_drops(), []);
}
