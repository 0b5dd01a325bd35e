//! Address translation at routers' ports: who leaves with another source, who is led to somebody else, and
//! what those are told who were in between.

use std::net::IpAddr;
use std::time::Duration;

use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::router::{DnatSpec, SnatSpec};
use vswitch_dpapi::{PortKind, PortSpec};
use vswitch_packet::Protocol;
use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_tests::sim::{Sim, port, router_mac, router_port};

use super::build::Builder;
use super::mac;
use super::routing::{arp_reply, error, one, only, packet, packet_v6, switch};
use super::tracking::{assert_sums, tuple};

const INSIDE: [u8; 4] = [10, 0, 1, 2];
const OUTSIDE: [u8; 4] = [192, 0, 2, 9];
const PUBLIC: [u8; 4] = [192, 0, 2, 1];
const GATEWAY: [u8; 4] = [10, 0, 1, 1];

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The port with these addresses translates.
fn translating(mut spec: PortSpec, snat: &[&str], dnat: &[DnatSpec]) -> PortSpec {
    if let PortKind::Router(own) = &mut spec.kind {
        own.snat = snat
            .iter()
            .map(|text| SnatSpec {
                addresses: (address(text), address(text)),
                ports: None,
            })
            .collect();
        own.dnat = dnat.to_vec();
    }
    spec
}

fn published(ports: (u16, u16), to_port: u16) -> DnatSpec {
    DnatSpec {
        protocol: 17,
        address: PUBLIC.into(),
        ports,
        to: INSIDE.into(),
        to_port,
    }
}

/// Port 1 with station 1, who is 10.0.1.2, inside; port 2 with station 2, who is 192.0.2.9, outside. Between
/// them a router with ports 11 and 12; what leaves by 12 is 192.0.2.1, whose ports 8080 to 8089 are station
/// 1's from 80 up.
fn translator() -> Sim {
    let outer = ["192.0.2.1/24", "2001:db8::1/64"];
    let outer = router_port(12, 2, 1, 0, &outer);
    let rules = [published((8080, 8089), 80)];
    let ports = vec![
        port(1, 1),
        port(2, 2),
        router_port(11, 1, 1, 0, &["10.0.1.1/24", "fd00:1::1/64"]),
        translating(outer, &["192.0.2.1", "2001:db8::1"], &rules),
    ];
    let mut sim = switch(2, ports, 1);
    // A first connection, by which the router knows both stations.
    drop(sim.send(1, out(7, 7)));
    let left = one(sim.send(2, arp_reply(2, 12, OUTSIDE, PUBLIC)), 2);
    assert_eq!(tuple(&left), (PUBLIC, OUTSIDE, 7, 7));
    drop(sim.send(2, back(7, 7)));
    let came = one(sim.send(1, arp_reply(1, 11, INSIDE, GATEWAY)), 1);
    assert_eq!(tuple(&came), (OUTSIDE, INSIDE, 7, 7));
    assert_eq!(sim.conntrack().len(), 1);
    assert_eq!(sim.new_drops(), []);
    sim
}

fn packet_of(src: u8, port: u32, from: [u8; 4], to: [u8; 4], protocol: Protocol) -> Builder {
    Builder::eth(mac(src), router_mac(port)).ipv4_with(
        ipv4::Repr {
            src: from.into(),
            dst: to.into(),
            protocol,
            ttl: 64,
            tos: 0,
            ident: 7,
            fragment: 0,
            payload_size: 0,
        },
        &[],
    )
}

/// A datagram of station 1 for the outside.
fn out(from_port: u16, to_port: u16) -> Vec<u8> {
    packet(1, 11, INSIDE, OUTSIDE, 64)
        .udp(from_port, to_port)
        .payload(b"to the outside")
        .build()
}

/// A datagram of station 2 for an address of the router.
fn back(from_port: u16, to_port: u16) -> Vec<u8> {
    packet(2, 12, OUTSIDE, PUBLIC, 64)
        .udp(from_port, to_port)
        .payload(b"to the inside")
        .build()
}

#[test]
fn what_leaves_has_another_source_and_answers_find_back() {
    let mut sim = translator();
    for round in 0..3 {
        let left = one(sim.send(1, out(1000, 53)), 2);
        let (from, to, from_port, to_port) = tuple(&left);
        assert_eq!((from, to, to_port), (PUBLIC, OUTSIDE, 53), "round {round}");
        assert_eq!(left[14 + 8], 63, "one hop fewer");
        assert_sums(&left);
        let came = one(sim.send(2, back(53, from_port)), 1);
        assert_eq!(tuple(&came), (OUTSIDE, INSIDE, 53, 1000));
        assert_eq!(came[14 + 8], 63);
        assert_sums(&came);
    }
    assert_eq!(sim.conntrack().len(), 2);
    // The port is kept where it is free, and another connection's is not.
    let first = tuple(&one(sim.send(1, out(1000, 53)), 2)).2;
    let other = tuple(&one(sim.send(1, out(1001, 53)), 2)).2;
    assert_eq!((first, other), (1000, 1001));
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn both_families_are_translated() {
    let mut sim = translator();
    let asks = sim.send(
        1,
        packet_v6(1, 11, "fd00:1::2", "2001:db8::9", 64)
            .udp(1000, 53)
            .build(),
    );
    drop(asks);
    let said = Builder::eth(mac(2), router_mac(12))
        .ipv6_with(vswitch_packet::ipv6::Repr {
            src: "2001:db8::9".parse().expect("an address"),
            dst: "2001:db8::1".parse().expect("an address"),
            next: Protocol::ICMPV6,
            hop_limit: 255,
            traffic_class: 0,
            flow_label: 0,
            payload_size: 0,
        })
        .neighbour(136, "2001:db8::9".parse().expect("an address"), mac(2));
    // The first one has waited, and leaves translated.
    let left = one(sim.send(2, said.build()), 2);
    let own: [u8; 16] = match address("2001:db8::1") {
        IpAddr::V6(own) => own.octets(),
        IpAddr::V4(_) => unreachable!("it is IPv6"),
    };
    assert_eq!(left[14 + 8..14 + 24], own);
    assert_eq!(sim.conntrack().len(), 2);
}

#[test]
fn errors_about_what_left_are_for_who_sent_it() {
    let mut sim = translator();
    let left = one(sim.send(1, out(1000, 53)), 2);
    let unreachable = packet_of(2, 12, OUTSIDE, PUBLIC, Protocol::ICMP)
        .icmp(3, 3, 0)
        .payload(&left[14..])
        .build();
    let came = one(sim.send(2, unreachable), 1);
    assert_eq!(error(&came), (3, 3, OUTSIDE.into(), INSIDE.into()));
    // What it quotes is what was sent, but for the hop.
    let quoted = &came[14 + 28..];
    assert_eq!(quoted[12..16], INSIDE);
    assert_eq!(quoted[20..22], 1000_u16.to_be_bytes());
    // The hops of one that is on its way out end here, with the sender's own addresses.
    let last = packet(1, 11, INSIDE, OUTSIDE, 1).udp(1000, 53).build();
    let told = one(sim.send(1, last), 1);
    assert_eq!(error(&told), (11, 0, GATEWAY.into(), INSIDE.into()));
    assert_eq!(told[14 + 28 + 12..14 + 28 + 16], INSIDE);
}

#[test]
fn connections_to_published_ports_are_led_inside_and_answered_from_there() {
    let mut sim = translator();
    for port in [8080, 8085, 8089] {
        for _ in 0..2 {
            let came = one(sim.send(2, back(4000, port)), 1);
            assert_eq!(tuple(&came), (OUTSIDE, INSIDE, 4000, port - 8000));
            assert_sums(&came);
            let left = one(sim.send(1, out(port - 8000, 4000)), 2);
            assert_eq!(tuple(&left), (PUBLIC, OUTSIDE, port, 4000));
            assert_sums(&left);
        }
    }
    assert_eq!(sim.conntrack().len(), 4);
    // A host that others are led to may begin connections of its own.
    let left = one(sim.send(1, out(80, 7)), 2);
    assert_eq!(tuple(&left).0, PUBLIC);
    assert_eq!(sim.conntrack().len(), 5);
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn pieces_of_a_datagram_are_led_inside_too() {
    let mut sim = translator();
    let whole = packet_of(2, 12, OUTSIDE, PUBLIC, Protocol::UDP)
        .udp(4000, 8081)
        .payload(&[7; 1600])
        .build();
    let (header, body) = (&whole[..34], &whole[34..]);
    let piece = |at: usize, end: usize, more: bool| {
        let mut frame = header.to_vec();
        frame.extend(&body[at..end]);
        let ip = &mut frame[14..];
        let size = (20 + end - at) as u16;
        ip[2..4].copy_from_slice(&size.to_be_bytes());
        let place = (at / 8) as u16 | u16::from(more) << 13;
        ip[6..8].copy_from_slice(&place.to_be_bytes());
        Ipv4::new_unchecked(ip).fill_checksum();
        frame
    };
    drop(sim.send(2, piece(1184, body.len(), false)));
    let came = sim.send(2, piece(0, 1184, true));
    assert_eq!(sim.new_drops(), []);
    let came = only(came, 1);
    assert_eq!(came.len(), 2);
    for frame in came {
        assert_eq!(frame[14 + 16..14 + 20], INSIDE);
        assert_eq!(frame[..6], mac(1));
    }
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn the_router_still_answers_for_itself() {
    let mut sim = translator();
    let ping = packet_of(2, 12, OUTSIDE, PUBLIC, Protocol::ICMP)
        .icmp(8, 0, 7)
        .build();
    let answer = one(sim.send(2, ping), 2);
    assert_eq!(error(&answer), (0, 0, PUBLIC.into(), OUTSIDE.into()));
    // Nobody is behind this port, inside or out.
    let told = one(sim.send(2, back(4000, 9)), 2);
    assert_eq!(error(&told), (3, 3, PUBLIC.into(), OUTSIDE.into()));
    assert_eq!(sim.conntrack().len(), 1);
}

#[test]
fn what_is_too_large_is_cut_after_and_told_before() {
    let mut sim = translator();
    let mut desired = sim.desired().clone();
    for port in &mut desired.ports {
        if port.id.0 == 12 {
            port.mtu = 1000;
        }
    }
    sim.set_desired(desired);
    let whole = |fragment: u16| {
        let mut frame = packet_of(1, 11, INSIDE, OUTSIDE, Protocol::UDP)
            .udp(1000, 53)
            .payload(&[7; 1200])
            .build();
        let ip = &mut frame[14..];
        ip[6..8].copy_from_slice(&fragment.to_be_bytes());
        Ipv4::new_unchecked(ip).fill_checksum();
        frame
    };
    let told = one(sim.send(1, whole(ipv4::DONT_FRAGMENT)), 1);
    assert_eq!(error(&told), (3, 4, GATEWAY.into(), INSIDE.into()));
    assert_eq!(
        told[14 + 26..14 + 28],
        1000_u16.to_be_bytes(),
        "the next MTU"
    );
    assert_eq!(told[14 + 28 + 12..14 + 28 + 16], INSIDE);
    let pieces = only(sim.send(1, whole(0)), 2);
    assert_eq!(pieces.len(), 2);
    for piece in pieces {
        assert_eq!(piece[14 + 12..14 + 16], PUBLIC);
        assert!(piece.len() <= 14 + 1000);
    }
    let counted = sim.new_drops();
    assert_eq!(counted.len(), 1, "the one that was told: {counted:?}");
}

#[test]
fn bridges_see_what_leaves_as_nobody_tracked_it() {
    let mut sim = translator();
    let flow = |text: &str| vswitch_flow::text::parse_flow(text, &|_| None).expect("a flow");
    for bridge in [1, 2] {
        sim.set_flows(
            bridge,
            vec![
                flow("priority=0 actions=normal"),
                flow("priority=9,ct_state=+trk,ip actions=drop"),
            ],
        );
    }
    let left = one(sim.send(1, out(1000, 53)), 2);
    one(sim.send(2, back(53, tuple(&left).2)), 1);
    // Flows of the bridge outside see the new source.
    sim.set_flows(
        2,
        vec![
            flow("priority=0 actions=normal"),
            flow("priority=9,ip,nw_src=10.0.0.0/8 actions=drop"),
        ],
    );
    one(sim.send(1, out(1000, 53)), 2);
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn who_is_not_known_yet_is_waited_for() {
    let mut sim = translator();
    let far = [192, 0, 2, 77];
    let sent = packet(1, 11, INSIDE, far, 64).udp(1000, 53).build();
    one(sim.send(1, sent.clone()), 2);
    let left = one(sim.send(2, arp_reply(3, 12, far, PUBLIC)), 2);
    assert_eq!(tuple(&left), (PUBLIC, far, 1000, 53));
    assert_eq!(left[14 + 8], 63, "one hop fewer");
    assert_sums(&left);
    let again = one(sim.send(1, sent), 2);
    assert_eq!(tuple(&again), (PUBLIC, far, 1000, 53));
    // Who asks for somebody who did not answer is told so.
    let gone = [192, 0, 2, 78];
    let sent = packet(1, 11, INSIDE, gone, 64).udp(1000, 53).build();
    sim.send(1, sent.clone());
    for _ in 0..4 {
        sim.advance(Duration::from_secs(1));
        sim.run();
    }
    drop(sim.take());
    let told = one(sim.send(1, sent), 1);
    assert_eq!(error(&told), (3, 1, GATEWAY.into(), INSIDE.into()));
    let drops = sim.new_drops();
    let failed = |(reason, _): &(DropReason, u64)| *reason == DropReason::NeighbourFailed;
    assert!(drops.iter().all(failed), "{drops:?}");
}
