//! Routers: which way packets go, what becomes of them on the way, and what is said about those that go
//! nowhere.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::router::HopSpec;
use vswitch_dpapi::{Desired, PortKind, PortSpec, RouteSpec, RouteTarget};
use vswitch_flow::Prefix;
use vswitch_packet::arp;
use vswitch_packet::eth::Eth;
use vswitch_packet::icmp::Icmp;
use vswitch_packet::icmpv6::Icmpv6;
use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_packet::ipv6::{self, Ipv6};
use vswitch_packet::{EtherType, MacAddr, Protocol};
use vswitch_tests::sim::{
    PLAIN, Sim, bridge, frames, normal, port, router, router_mac, router_port,
};

use super::{build::Builder, mac};

/// A switch of these bridges, ports and routers, on which bridges are learning switches.
pub(crate) fn switch(bridges: u32, ports: Vec<PortSpec>, routers: u32) -> Sim {
    let desired = Desired {
        bridges: (1..=bridges).map(bridge).collect(),
        ports,
        routers: (1..=routers).map(router).collect(),
    };
    let mut sim = Sim::new(desired, 1, frames(), |_| PLAIN);
    for id in 1..=bridges {
        sim.set_flows(id, vec![normal()]);
    }
    // At the beginning addresses are announced, twice.
    for _ in 0..3 {
        sim.run();
        sim.advance(Duration::from_secs(2));
    }
    drop(sim.take());
    sim
}

/// Two bridges with a port each, 1 and 2, and a router with ports 11 and 12 between them.
pub(crate) fn two_networks() -> Sim {
    let ports = vec![
        port(1, 1),
        port(2, 2),
        router_port(11, 1, 1, 0, &["10.0.1.1/24", "fd00:1::1/64"]),
        router_port(12, 2, 1, 0, &["10.0.2.1/24", "fd00:2::1/64"]),
    ];
    switch(2, ports, 1)
}

/// An IPv4 packet of station `src` on its way to a router's port.
pub(crate) fn packet(src: u8, port: u32, from: [u8; 4], to: [u8; 4], ttl: u8) -> Builder {
    Builder::eth(mac(src), router_mac(port)).ipv4_with(
        ipv4::Repr {
            src: Ipv4Addr::from(from),
            dst: Ipv4Addr::from(to),
            protocol: Protocol::UDP,
            ttl,
            tos: 0,
            ident: 7,
            fragment: ipv4::DONT_FRAGMENT,
            payload_size: 0,
        },
        &[],
    )
}

pub(crate) fn packet_v6(src: u8, port: u32, from: &str, to: &str, hops: u8) -> Builder {
    Builder::eth(mac(src), router_mac(port)).ipv6_with(ipv6::Repr {
        src: from.parse().unwrap(),
        dst: to.parse().unwrap(),
        next: Protocol::UDP,
        hop_limit: hops,
        traffic_class: 0,
        flow_label: 0,
        payload_size: 0,
    })
}

/// Station `number` says that it has an address, to a router's port.
pub(crate) fn arp_reply(number: u8, port: u32, own: [u8; 4], asked_by: [u8; 4]) -> Vec<u8> {
    Builder::eth(mac(number), router_mac(port))
        .arp(arp::Repr {
            op: arp::REPLY,
            sha: MacAddr(mac(number)),
            spa: own.into(),
            tha: MacAddr(router_mac(port)),
            tpa: asked_by.into(),
        })
        .build()
}

/// The frames that a port sent, which is to be the only one that did.
pub(crate) fn only(
    out: std::collections::BTreeMap<u32, Vec<vswitch_datapath::port::memory::WirePacket>>,
    port: u32,
) -> Vec<Vec<u8>> {
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [port], "{out:?}");
    out.into_values()
        .flatten()
        .map(|packet| packet.bytes)
        .collect()
}

/// The one frame that a port sent.
pub(crate) fn one(
    out: std::collections::BTreeMap<u32, Vec<vswitch_datapath::port::memory::WirePacket>>,
    port: u32,
) -> Vec<u8> {
    let mut frames = only(out, port);
    assert_eq!(frames.len(), 1, "one frame");
    frames.remove(0)
}

/// Has the router know that station 2 is 10.0.2.2, behind its port 12, and station 1 10.0.1.2.
fn acquaint(sim: &mut Sim) {
    let out = sim.send(
        1,
        packet(1, 11, [10, 0, 1, 2], [10, 0, 2, 2], 64)
            .udp(1, 2)
            .build(),
    );
    let asked = one(out, 2);
    assert_eq!(Eth::new_unchecked(&asked).ethertype(), EtherType::ARP);
    sim.send(2, arp_reply(2, 12, [10, 0, 2, 2], [10, 0, 2, 1]));
    sim.send(
        2,
        packet(2, 12, [10, 0, 2, 2], [10, 0, 1, 2], 64)
            .udp(2, 1)
            .build(),
    );
    sim.send(1, arp_reply(1, 11, [10, 0, 1, 2], [10, 0, 1, 1]));
    assert_eq!(sim.new_drops(), []);
}

/// The header of an IPv4 frame, which is to be whole.
fn header(frame: &[u8]) -> Ipv4<&[u8]> {
    let ip = Ipv4::new_checked(&frame[14..]).expect("IPv4");
    assert!(ip.is_whole(), "the header's sum is wrong");
    ip
}

/// An ICMP error: type, code, from, to.
pub(crate) fn error(frame: &[u8]) -> (u8, u8, Ipv4Addr, Ipv4Addr) {
    let ip = header(frame);
    assert_eq!(ip.protocol(), Protocol::ICMP);
    let icmp = Icmp::new_checked(ip.payload()).expect("ICMP");
    assert!(icmp.is_whole(), "the message's sum is wrong");
    (icmp.kind(), icmp.code(), ip.src(), ip.dst())
}

fn error_v6(frame: &[u8]) -> (u8, u8, Ipv6Addr, Ipv6Addr) {
    let ip = Ipv6::new_checked(&frame[14..]).expect("IPv6");
    let icmp = Icmpv6::new_checked(ip.payload()).expect("ICMPv6");
    assert!(
        icmp.is_whole(ip.src(), ip.dst()),
        "the message's sum is wrong"
    );
    (icmp.kind(), icmp.code(), ip.src(), ip.dst())
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(crate) fn via(to: &str, gateways: &[&str]) -> RouteSpec {
    let hop = |gateway: &&str| HopSpec {
        gateway: Some(gateway.parse().unwrap()),
        port: None,
        weight: 1,
    };
    RouteSpec {
        prefix: prefix(to),
        source: None,
        target: RouteTarget::Via(gateways.iter().map(hop).collect()),
    }
}

fn route(to: &str, target: RouteTarget) -> RouteSpec {
    RouteSpec {
        prefix: prefix(to),
        source: None,
        target,
    }
}

#[test]
fn a_packet_waits_for_its_next_hop_and_goes_on_with_new_stations_and_one_hop_fewer() {
    let mut sim = two_networks();
    let sent = packet(1, 11, [10, 0, 1, 2], [10, 0, 2, 2], 64)
        .udp(1000, 2000)
        .payload(b"payload");
    let asked = one(sim.send(1, sent.build()), 2);
    let question = arp::Arp::new_checked(&asked[14..]).unwrap();
    assert_eq!(Eth::new_unchecked(&asked).dst(), MacAddr([0xff; 6]));
    assert_eq!(question.to_string(), "who has 10.0.2.2 tell 10.0.2.1");
    assert_eq!(question.sha().0, router_mac(12));

    let came = one(
        sim.send(2, arp_reply(2, 12, [10, 0, 2, 2], [10, 0, 2, 1])),
        2,
    );
    let eth = Eth::new_unchecked(&came);
    assert_eq!((eth.src().0, eth.dst().0), (router_mac(12), mac(2)));
    let ip = header(&came);
    assert_eq!((ip.ttl(), ip.dst()), (63, v4("10.0.2.2")));
    assert_eq!(came[34..], sent.build()[34..], "the rest is as it was");
    assert_eq!(sim.new_drops(), []);

    // From now on by the cache: the second packet's answer is kept, the third's is found.
    let misses = |sim: &Sim| sim.worker(0).stats().stages[3].packets;
    assert_eq!(one(sim.send(1, sent.build()), 2), came);
    let before = misses(&sim);
    assert_eq!(one(sim.send(1, sent.build()), 2), came);
    assert_eq!(
        misses(&sim),
        before,
        "the third packet needs no translation"
    );
    sim.disable_caches();
    assert_eq!(one(sim.send(1, sent.build()), 2), came);
}

#[test]
fn ipv6_goes_the_same_way() {
    let mut sim = two_networks();
    let sent = packet_v6(1, 11, "fd00:1::2", "fd00:2::2", 64).udp(1000, 2000);
    let asked = one(sim.send(1, sent.build()), 2);
    assert_eq!(
        Eth::new_unchecked(&asked).dst().0,
        [0x33, 0x33, 0xff, 0, 0, 2]
    );
    let (kind, _, from, to) = error_v6(&asked);
    assert_eq!(
        (kind, from, to),
        (135, v6("fd00:2::1"), v6("ff02::1:ff00:2"))
    );
    let answer = Builder::eth(mac(2), router_mac(12))
        .ipv6_with(ipv6::Repr {
            src: v6("fd00:2::2"),
            dst: v6("fd00:2::1"),
            next: Protocol::ICMPV6,
            hop_limit: 255,
            traffic_class: 0,
            flow_label: 0,
            payload_size: 0,
        })
        .neighbour(136, v6("fd00:2::2"), mac(2))
        .build();
    let came = one(sim.send(2, answer), 2);
    let ip = Ipv6::new_checked(&came[14..]).unwrap();
    assert_eq!((ip.hop_limit(), ip.dst()), (63, v6("fd00:2::2")));
    assert_eq!(Eth::new_unchecked(&came).dst().0, mac(2));
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn errors_come_from_the_routers_address_on_the_senders_network() {
    let mut sim = two_networks();
    acquaint(&mut sim);
    drop(sim.take());
    let routes = [
        route("192.0.2.0/24", RouteTarget::Prohibit),
        route("198.51.100.0/24", RouteTarget::Unreachable),
        route("203.0.113.0/24", RouteTarget::Blackhole),
        route("2001:db8:1::/48", RouteTarget::Prohibit),
        route("2001:db8:2::/48", RouteTarget::Unreachable),
    ];
    sim.set_routes(1, &routes);
    let us = (v4("10.0.1.1"), v4("10.0.1.2"));
    for (to, ttl, kind, code, reason) in [
        ([10, 0, 2, 2], 1, 11, 0, DropReason::TtlExceeded),
        ([8, 8, 8, 8], 64, 3, 0, DropReason::NoRoute),
        ([192, 0, 2, 1], 64, 3, 13, DropReason::RouteProhibited),
        ([198, 51, 100, 1], 64, 3, 1, DropReason::RouteUnreachable),
        ([10, 0, 1, 1], 64, 3, 3, DropReason::RouterIgnored),
        ([10, 0, 2, 1], 64, 3, 3, DropReason::RouterIgnored),
    ] {
        let sent = packet(1, 11, [10, 0, 1, 2], to, ttl).udp(1, 33434).build();
        let frame = one(sim.send(1, sent.clone()), 1);
        let from = if kind == 3 && code == 3 {
            v4(&Ipv4Addr::from(to).to_string())
        } else {
            us.0
        };
        // A port of an address of another port is answered from the port by which it came.
        let from = if to == [10, 0, 2, 1] { us.0 } else { from };
        assert_eq!(error(&frame), (kind, code, from, us.1), "{to:?}");
        assert_eq!(Eth::new_unchecked(&frame).dst().0, mac(1));
        // The packet is quoted as it came, its TTL included.
        assert_eq!(frame[42..62], sent[14..34]);
        assert_eq!(sim.new_drops(), [(reason, 1)], "{to:?}");
    }
    let silent = packet(1, 11, [10, 0, 1, 2], [203, 0, 113, 1], 64).udp(1, 2);
    assert!(sim.send(1, silent.build()).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::RouteBlackhole, 1)]);

    for (to, hops, kind, code, reason) in [
        ("fd00:2::2", 1, 3, 0, DropReason::TtlExceeded),
        ("2001:db8::1", 64, 1, 0, DropReason::NoRoute),
        ("2001:db8:1::1", 64, 1, 1, DropReason::RouteProhibited),
        ("2001:db8:2::1", 64, 1, 3, DropReason::RouteUnreachable),
        ("fd00:1::1", 64, 1, 4, DropReason::RouterIgnored),
    ] {
        let sent = packet_v6(1, 11, "fd00:1::2", to, hops)
            .udp(1, 33434)
            .build();
        let frame = one(sim.send(1, sent), 1);
        let us = (v6("fd00:1::1"), v6("fd00:1::2"));
        assert_eq!(error_v6(&frame), (kind, code, us.0, us.1), "{to}");
        assert_eq!(sim.new_drops(), [(reason, 1)], "{to}");
    }
}

#[test]
fn a_route_by_a_port_alone_leads_to_hosts_on_its_network_whatever_their_addresses() {
    let mut sim = two_networks();
    let direct = |text: &str| {
        let hop = HopSpec {
            gateway: None,
            port: Some(vswitch_dpapi::PortId(12)),
            weight: 1,
        };
        route(text, RouteTarget::Via(vec![hop]))
    };
    let more = direct("2001:db8::/48");
    sim.set_routes(1, &[direct("198.51.100.0/24"), more]);
    let sent = packet(1, 11, [10, 0, 1, 2], [198, 51, 100, 7], 64).udp(1, 2);
    let asked = one(sim.send(1, sent.build()), 2);
    let view = arp::Arp::new_checked(&asked[14..]).unwrap();
    assert_eq!(view.to_string(), "who has 198.51.100.7 tell 10.0.2.1");
    let heard = sim.send(2, arp_reply(7, 12, [198, 51, 100, 7], [10, 0, 2, 1]));
    let passed = one(heard, 2);
    assert_eq!(Eth::new_unchecked(&passed).dst().0, mac(7));

    let sent = packet_v6(1, 11, "fd00:1::2", "2001:db8::7", 64).udp(1, 2);
    one(sim.send(1, sent.build()), 2);
    let known = Builder::eth(mac(7), router_mac(12)).ipv6_with(ipv6::Repr {
        src: v6("2001:db8::7"),
        dst: v6("fd00:2::1"),
        next: Protocol::ICMPV6,
        hop_limit: 255,
        traffic_class: 0,
        flow_label: 0,
        payload_size: 0,
    });
    let known = known.neighbour(136, v6("2001:db8::7"), mac(7));
    let passed = one(sim.send(2, known.build()), 2);
    assert_eq!(Eth::new_unchecked(&passed).dst().0, mac(7));

    // Such a host finds the router, and one with an address that no route names does not.
    let ask = |from, port: u8| {
        let frame = Builder::eth(mac(8), [0xff; 6]);
        frame.arp_request(from, [10, 0, port, 1]).build()
    };
    assert_eq!(only(sim.send(2, ask([198, 51, 100, 8], 2)), 2).len(), 1);
    assert_eq!(sim.new_drops(), []);
    assert!(sim.send(2, ask([198, 51, 101, 8], 2)).is_empty());
    assert!(sim.send(1, ask([198, 51, 100, 8], 1)).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::RouterForged, 2)]);
    // A longer route elsewhere says that it is not there.
    sim.change_routes(1, &[], &[via("198.51.100.8/32", &["10.0.1.9"])]);
    assert!(sim.send(2, ask([198, 51, 100, 8], 2)).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::RouterForged, 1)]);
}

#[test]
fn errors_are_limited_and_never_about_errors() {
    let mut sim = two_networks();
    let sent = packet(1, 11, [10, 0, 1, 2], [8, 8, 8, 8], 64)
        .udp(1, 2)
        .build();
    let mut told = 0;
    for _ in 0..300 {
        told += sim.send(1, sent.clone()).len();
    }
    assert_eq!(told, 50, "the burst");
    sim.advance(Duration::from_secs(1));
    let more: usize = (0..300).map(|_| sim.send(1, sent.clone()).len()).sum();
    assert_eq!(
        more, 50,
        "no more than the burst, however long it was quiet"
    );
    assert_eq!(sim.new_drops(), [(DropReason::NoRoute, 600)]);

    sim.advance(Duration::from_secs(9));
    let about_error = packet(1, 11, [10, 0, 1, 2], [8, 8, 8, 8], 64)
        .icmp(3, 1, 0)
        .payload(&[0; 28])
        .build();
    assert!(sim.send(1, about_error).is_empty());
    let martian = packet(1, 11, [127, 0, 0, 1], [8, 8, 8, 8], 64).udp(1, 2);
    assert!(sim.send(1, martian.build()).is_empty());
    let drops = sim.new_drops();
    assert_eq!(
        drops,
        [(DropReason::RouterMartian, 1), (DropReason::NoRoute, 1)]
    );
}

#[test]
fn the_longest_route_wins_and_a_change_of_routes_is_in_force_at_once() {
    let mut sim = two_networks();
    acquaint(&mut sim);
    sim.set_routes(1, &[via("0.0.0.0/0", &["10.0.2.2"])]);
    let sent = packet(1, 11, [10, 0, 1, 2], [8, 8, 8, 8], 64)
        .udp(1, 2)
        .build();
    drop(sim.take());
    for _ in 0..3 {
        assert_eq!(
            Eth::new_unchecked(&one(sim.send(1, sent.clone()), 2))
                .dst()
                .0,
            mac(2)
        );
    }
    sim.change_routes(1, &[], &[route("8.8.8.0/24", RouteTarget::Blackhole)]);
    assert!(sim.send(1, sent.clone()).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::RouteBlackhole, 1)]);
    sim.change_routes(1, &[(prefix("8.8.8.0/24"), None)], &[]);
    assert_eq!(only(sim.send(1, sent), 2).len(), 1);
    // An address of ours is nearer than any route.
    sim.change_routes(1, &[], &[route("10.0.1.1/32", RouteTarget::Blackhole)]);
    let ping = packet(1, 11, [10, 0, 1, 2], [10, 0, 1, 1], 64)
        .icmp(8, 0, 1)
        .build();
    assert_eq!(error(&one(sim.send(1, ping), 1)).0, 0);
}

#[test]
fn a_route_change_leaves_other_answers_alone() {
    let mut sim = two_networks();
    acquaint(&mut sim);
    drop(sim.take());
    let sent = packet(1, 11, [10, 0, 1, 2], [10, 0, 2, 2], 64)
        .udp(1, 2)
        .build();
    sim.send(1, sent.clone());
    let misses = |sim: &Sim| sim.worker(0).stats().stages[3].packets;
    let before = misses(&sim);
    for step in 0..50_u8 {
        let spec = route(&format!("192.{step}.0.0/16"), RouteTarget::Blackhole);
        sim.change_routes(1, &[], &[spec]);
        sim.send(1, sent.clone());
    }
    // One in 64 is taken for one that may be concerned.
    assert!(misses(&sim) - before <= 5, "{}", misses(&sim) - before);
}

#[test]
fn connections_are_spread_over_equal_ways_and_each_keeps_its_own() {
    let mut sim = two_networks();
    for station in [2_u8, 3] {
        let to = [10, 0, 2, station];
        sim.send(1, packet(1, 11, [10, 0, 1, 2], to, 64).udp(1, 2).build());
        sim.send(2, arp_reply(station, 12, to, [10, 0, 2, 1]));
    }
    sim.set_routes(1, &[via("0.0.0.0/0", &["10.0.2.2", "10.0.2.3"])]);
    drop(sim.take());
    let mut counts = [0; 2];
    for source in 0..200_u16 {
        let sent = packet(1, 11, [10, 0, 1, 2], [8, 8, 8, 8], 64).udp(1000 + source, 53);
        let first = one(sim.send(1, sent.build()), 2);
        assert_eq!(
            one(sim.send(1, sent.build()), 2),
            first,
            "a connection keeps its way"
        );
        let station = Eth::new_unchecked(&first).dst().0[5];
        counts[usize::from(station - 2)] += 1;
    }
    assert!(
        counts.iter().all(|len| (60..140).contains(len)),
        "{counts:?}"
    );
}

#[test]
fn a_route_may_be_for_packets_from_some_network_only() {
    let mut sim = two_networks();
    acquaint(&mut sim);
    drop(sim.take());
    let from = RouteSpec {
        source: Some(prefix("10.0.1.128/25")),
        target: RouteTarget::Prohibit,
        ..via("0.0.0.0/0", &[])
    };
    sim.set_routes(1, &[via("0.0.0.0/0", &["10.0.2.2"]), from]);
    for (own, way) in [(2, 2), (127, 2), (128, 1), (200, 1)] {
        let sent = packet(1, 11, [10, 0, 1, own], [8, 8, 8, 8], 64).udp(1, 2);
        only(sim.send(1, sent.build()), way);
    }
    // What is on a network of ours is nearer than both.
    let near = packet(1, 11, [10, 0, 1, 200], [10, 0, 2, 2], 64).udp(1, 2);
    only(sim.send(1, near.build()), 2);
}

#[test]
fn two_routers_know_nothing_of_each_other() {
    let ports = vec![
        port(1, 1),
        port(2, 1),
        router_port(11, 1, 1, 0, &["10.0.1.1/24"]),
        router_port(12, 1, 1, 5, &["10.0.2.1/24"]),
        router_port(21, 1, 2, 0, &["10.0.1.254/24"]),
        router_port(22, 1, 2, 6, &["10.0.2.1/24"]),
    ];
    let mut sim = switch(1, ports, 2);
    // The same question of both leads into different VLANs.
    for (own, vid) in [(11, 5), (21, 6)] {
        let sent = packet(1, own, [10, 0, 1, 2], [10, 0, 2, 9], 64)
            .udp(1, 2)
            .build();
        let out = sim.send(1, sent);
        let frames: Vec<_> = out.values().flatten().collect();
        assert!(!frames.is_empty());
        for frame in frames {
            assert_eq!(
                frame.bytes[12..16],
                [0x81, 0, 0, vid],
                "the question's VLAN"
            );
        }
    }
    sim.set_routes(2, &[route("8.8.8.8/32", RouteTarget::Blackhole)]);
    let by = |sim: &mut Sim, own| {
        sim.new_drops();
        sim.send(
            1,
            packet(1, own, [10, 0, 1, 2], [8, 8, 8, 8], 64)
                .udp(1, 2)
                .build(),
        );
        sim.new_drops()
    };
    assert_eq!(by(&mut sim, 11), [(DropReason::NoRoute, 1)]);
    assert_eq!(by(&mut sim, 21), [(DropReason::RouteBlackhole, 1)]);
}

#[test]
fn a_routers_port_is_a_member_of_its_vlan_only() {
    let ports = vec![
        port(1, 1),
        router_port(11, 1, 1, 10, &["10.0.1.1/24"]),
        router_port(12, 1, 1, 20, &["10.0.2.1/24"]),
    ];
    let mut sim = switch(1, ports, 1);
    let ping = |vid: u16, own: u32, to| {
        Builder::eth(mac(1), router_mac(own))
            .vlan(vid)
            .ipv4([10, 0, 1, 2], to)
            .icmp(8, 0, 1)
            .build()
    };
    let answer = one(sim.send(1, ping(10, 11, [10, 0, 1, 1])), 1);
    assert_eq!(
        answer[12..16],
        [0x81, 0, 0, 10],
        "the answer is in the VLAN of the question"
    );
    // In another VLAN nobody has this address.
    assert!(sim.send(1, ping(20, 11, [10, 0, 1, 1])).is_empty());
    // Between the two VLANs is the router.
    let asked = one(sim.send(1, ping(10, 11, [10, 0, 2, 2])), 1);
    assert_eq!(asked[12..18], [0x81, 0, 0, 20, 8, 6]);
}

#[test]
fn what_does_not_fit_the_next_network_is_cut_or_its_sender_told() {
    let mut small = router_port(12, 2, 1, 0, &["10.0.2.1/24", "fd00:2::1/64"]);
    small.mtu = 1280;
    let ports = vec![
        port(1, 1),
        port(2, 2),
        router_port(11, 1, 1, 0, &["10.0.1.1/24", "fd00:1::1/64"]),
        small,
    ];
    let mut sim = switch(2, ports, 1);
    acquaint(&mut sim);
    drop(sim.take());
    let mut repr = ipv4::Repr {
        src: v4("10.0.1.2"),
        dst: v4("10.0.2.2"),
        protocol: Protocol::UDP,
        ttl: 64,
        tos: 0,
        ident: 7,
        fragment: ipv4::DONT_FRAGMENT,
        payload_size: 0,
    };
    let sent = |repr, size: usize| {
        Builder::eth(mac(1), router_mac(11))
            .ipv4_with(repr, &[])
            .udp(1, 2)
            .payload(&vec![7; size - 28])
            .build()
    };
    only(sim.send(1, sent(repr, 1280)), 2);
    let frame = one(sim.send(1, sent(repr, 1281)), 1);
    assert_eq!(error(&frame), (3, 4, v4("10.0.1.1"), v4("10.0.1.2")));
    assert_eq!(frame[40..42], 1280_u16.to_be_bytes(), "the MTU is said");
    assert_eq!(sim.new_drops(), [(DropReason::MtuExceeded, 1)]);

    repr.fragment = 0;
    let pieces = only(sim.send(1, sent(repr, 1500)), 2);
    assert_eq!(pieces.len(), 2);
    for piece in &pieces {
        let ip = header(piece);
        assert!(piece.len() <= 1280 + 14 && ip.is_fragment() && ip.ttl() == 63);
        assert_eq!(Eth::new_unchecked(piece).dst().0, mac(2));
    }
    let sizes: usize = pieces
        .iter()
        .map(|piece| header(piece).payload().len())
        .sum();
    assert_eq!(sizes, 1480);
}

#[test]
fn a_flow_of_packets_in_a_ring_of_routers_ends() {
    // Two routers that have each the other as way to everything.
    let ports = vec![
        port(1, 1),
        router_port(11, 1, 1, 0, &["10.0.1.1/24"]),
        router_port(12, 2, 1, 0, &["10.0.2.1/24"]),
        router_port(22, 2, 2, 0, &["10.0.2.2/24"]),
    ];
    let mut sim = switch(2, ports, 2);
    sim.set_routes(1, &[via("0.0.0.0/0", &["10.0.2.2"])]);
    sim.set_routes(2, &[via("0.0.0.0/0", &["10.0.2.1"])]);
    let sent = packet(1, 11, [10, 0, 1, 2], [8, 8, 8, 8], 9)
        .udp(1, 2)
        .build();
    // The routers find each other without help from outside; whoever's turn it is when the hops are used
    // up says so, and its answer finds the way back, or too many bridges on the way end it.
    for _ in 0..4 {
        sim.send(1, sent.clone());
    }
    sim.new_drops();
    sim.send(1, sent);
    let drops = sim.new_drops();
    assert_eq!(
        drops.iter().map(|(_, len)| len).sum::<u64>(),
        1,
        "{drops:?}"
    );
    let ends = [DropReason::TtlExceeded, DropReason::TooDeep];
    assert!(ends.contains(&drops[0].0), "{drops:?}");
}

#[test]
fn nobody_else_may_be_a_routers_station() {
    let mut sim = two_networks();
    let forged = Builder::eth(router_mac(11), mac(9))
        .ipv4([10, 0, 1, 9], [10, 0, 1, 2])
        .udp(1, 2);
    assert!(sim.send(1, forged.build()).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::RouterMac, 1)]);
    // And its packets still go to the router.
    let ping = packet(1, 11, [10, 0, 1, 2], [10, 0, 1, 1], 64)
        .icmp(8, 0, 1)
        .build();
    assert_eq!(error(&one(sim.send(1, ping), 1)).0, 0);
}

#[test]
fn a_router_that_goes_gives_its_packets_back() {
    let mut sim = two_networks();
    for host in 2..20 {
        sim.send(
            1,
            packet(1, 11, [10, 0, 1, 2], [10, 0, 2, host], 64)
                .udp(1, 2)
                .build(),
        );
    }
    let mut desired = sim.desired().clone();
    desired.routers.clear();
    desired
        .ports
        .retain(|port| !matches!(port.kind, PortKind::Router(_)));
    sim.set_desired(desired);
    assert_eq!(sim.new_drops(), [(DropReason::NeighbourFailed, 18)]);
    sim.run();
}
