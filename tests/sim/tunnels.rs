//! Tunnels through a bridge: what goes in on one host comes out on another, and what is no tunnel's
//! is dropped with a reason.

use std::net::IpAddr;

use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::tunnel::{
    RouteHop, RouteKind, UnderlayAddress, UnderlayDevice, UnderlayNeighbour, UnderlayRoute,
};
use vswitch_dpapi::{
    BridgeId, Desired, Endpoint, Event, PortId, PortKind, PortSpec, TunnelKey, TunnelKind,
    TunnelSpec, TunnelTos, TunnelWay, Underlay, UnderlayChange,
};
use vswitch_flow::{Action, Field, FlowRule, Match, OfPort};
use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_packet::udp::Udp;
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, normal, port};

use super::{build::Builder, mac};

/// The overlay is bridge 1 with port 1 and tunnel 3; the underlay is bridge 2 with its internal port
/// 4 and the wire 5.
const INSIDE: u32 = 1;
const TUNNEL: u32 = 3;
const INTERNAL: u32 = 4;
const WIRE: u32 = 5;

fn address(host: u8, v6: bool) -> IpAddr {
    if v6 {
        [0xfd00, 0, 0, 0, 0, 0, 0, host.into()].into()
    } else {
        [172, 31, 0, host].into()
    }
}

fn spec(kind: TunnelKind, remote: Endpoint) -> TunnelSpec {
    TunnelSpec {
        kind,
        remote,
        local: None,
        in_key: TunnelKey::Id(42),
        out_key: TunnelKey::Id(42),
        udp_port: match kind {
            TunnelKind::Vxlan => 4789,
            TunnelKind::Geneve => 6081,
        },
        csum: None,
        ttl: Some(64),
        tos: TunnelTos::Set(0),
        dont_fragment: true,
        way: TunnelWay::Auto,
        check_source: false,
    }
}

fn tunnel_port(id: u32, spec: TunnelSpec) -> PortSpec {
    let mut port = port(id, 1);
    port.kind = PortKind::Tunnel(Box::new(spec));
    port.mtu = 65_535;
    port
}

fn desired(spec: TunnelSpec) -> Desired {
    let mut internal = port(INTERNAL, 2);
    internal.kind = PortKind::Internal;
    internal.of_port = OfPort::LOCAL;
    Desired {
        bridges: vec![bridge(1), bridge(2)],
        ports: vec![
            port(INSIDE, 1),
            tunnel_port(TUNNEL, spec),
            internal,
            port(WIRE, 2),
        ],
        routers: Vec::new(),
    }
}

/// What host 1 or 2 knows of the network between them.
fn underlay(host: u8, v6: bool) -> Underlay {
    let len = if v6 { 64 } else { 24 };
    Underlay {
        devices: vec![UnderlayDevice {
            ifindex: 9,
            name: "br2".into(),
            mac: mac(100 + host),
            mtu: 1500,
            up: true,
            internal: Some(PortId(INTERNAL)),
            uplink: None,
            socket: None,
        }],
        addresses: vec![UnderlayAddress {
            device: 9,
            address: address(host, v6),
            prefix_len: len,
        }],
        routes: vec![UnderlayRoute {
            prefix: address(0, v6),
            prefix_len: len,
            metric: 0,
            kind: RouteKind::Unicast,
            hops: vec![RouteHop {
                device: 9,
                gateway: None,
                weight: 1,
            }],
            source: None,
            mtu: None,
        }],
        neighbours: (1..=3)
            .filter(|other| *other != host)
            .map(|other| UnderlayNeighbour {
                device: 9,
                address: address(other, v6),
                mac: mac(100 + other),
            })
            .collect(),
    }
}

/// Host 1 or 2 with a tunnel to the other.
fn host(number: u8, spec: &TunnelSpec, v6: bool) -> Sim {
    let mut sim = Sim::new(desired(spec.clone()), 1, frames(), |_| PLAIN);
    sim.set_flows(1, vec![normal()]);
    sim.set_flows(2, vec![normal()]);
    sim.set_underlay(&underlay(number, v6));
    sim
}

fn pair(kind: TunnelKind, v6: bool) -> [Sim; 2] {
    [1, 2].map(|number: u8| {
        let other = Endpoint::Address(address(3 - number, v6));
        host(number, &spec(kind, other), v6)
    })
}

fn frame(src: u8, dst: u8, size: usize) -> Vec<u8> {
    Builder::eth(mac(src), mac(dst))
        .ipv4([10, 0, 0, src], [10, 0, 0, dst])
        .udp(1000, 2000)
        .payload(&vec![7; size])
        .build()
}

/// A host whose tunnels' packets go by an uplink, or by a socket of the host's.
fn host_outside(number: u8, shared: bool) -> Sim {
    let other = Endpoint::Address(address(3 - number, false));
    let mut all = desired(spec(TunnelKind::Vxlan, other));
    all.bridges.pop();
    all.ports.retain(|port| port.bridge.0 == 1);
    let mut outside = port(WIRE, 1);
    outside.bridge = BridgeId::NONE;
    outside.kind = if shared {
        PortKind::Uplink
    } else {
        PortKind::Socket
    };
    all.ports.push(outside);
    let mut sim = Sim::new(all, 1, frames(), |_| PLAIN);
    sim.set_flows(1, vec![normal()]);
    let mut known = underlay(number, false);
    for device in &mut known.devices {
        device.internal = None;
        let port = Some(PortId(WIRE));
        (device.uplink, device.socket) = if shared { (port, None) } else { (None, port) };
    }
    if !shared {
        // The host finds its next hops itself.
        known.neighbours.clear();
    }
    sim.set_underlay(&known);
    sim
}

#[test]
fn uplinks_and_sockets_carry_tunnels_without_a_bridge() {
    for shared in [true, false] {
        let [mut a, mut b] = [1, 2].map(|number| host_outside(number, shared));
        for _ in 0..4 {
            let sent = frame(11, 12, 100);
            let outer = one(&mut a, INSIDE, sent.clone(), WIRE);
            let neighbour = if shared { mac(102) } else { [0; 6] };
            assert_eq!(outer[..6], neighbour);
            assert_eq!(one(&mut b, WIRE, outer, INSIDE), sent);
        }
        assert_eq!((a.new_drops(), b.new_drops()), (vec![], vec![]));
        // Whatever else comes there is no tunnel's.
        assert!(b.send(WIRE, frame(11, 12, 10)).is_empty());
        assert_eq!(b.new_drops(), [(DropReason::TunnelUnknown, 1)]);
        assert!(b.worker(0).cache().counters().exact > 0);
    }
}

/// What leaves by a port, and nothing by others.
fn out(sim: &mut Sim, from: u32, frame: Vec<u8>, to: u32) -> Vec<Vec<u8>> {
    let mut out = sim.send(from, frame);
    let frames = out.remove(&to).unwrap_or_default();
    assert!(out.is_empty(), "also by {:?}", out.keys());
    frames.into_iter().map(|packet| packet.bytes).collect()
}

fn one(sim: &mut Sim, from: u32, frame: Vec<u8>, to: u32) -> Vec<u8> {
    let mut frames = out(sim, from, frame, to);
    assert_eq!(frames.len(), 1, "{:?}", sim.new_drops());
    frames.remove(0)
}

#[test]
fn what_goes_in_on_one_host_comes_out_on_the_other() {
    for kind in [TunnelKind::Vxlan, TunnelKind::Geneve] {
        for v6 in [false, true] {
            let [mut a, mut b] = pair(kind, v6);
            // Twice: worked out, learned, and out of the cache.
            for _ in 0..4 {
                for (src, dst) in [(11, 12), (12, 11)] {
                    let sent = frame(src, dst, 100);
                    let (from, to) = match src {
                        11 => (&mut a, &mut b),
                        _ => (&mut b, &mut a),
                    };
                    // The underlay's bridge learns where the other is from what comes back.
                    let outer = one(from, INSIDE, sent.clone(), WIRE);
                    let headers = if v6 { 40 } else { 20 } + 14 + 8 + 8;
                    assert_eq!(outer.len(), headers + sent.len());
                    assert_eq!(&outer[headers..], sent);
                    assert_eq!(one(to, WIRE, outer, INSIDE), sent);
                }
            }
            assert_eq!((a.new_drops(), b.new_drops()), (vec![], vec![]));
        }
    }
}

#[test]
fn the_outer_headers_are_those_of_the_standard() {
    let [mut a, _] = pair(TunnelKind::Vxlan, false);
    let outer = one(&mut a, INSIDE, frame(11, 12, 100), WIRE);
    assert_eq!(outer[..6], mac(102));
    assert_eq!(outer[6..12], mac(101));
    let ip = Ipv4::new_checked(&outer[14..]).expect("IPv4");
    assert!(ip.is_whole());
    assert_eq!((ip.ttl(), ip.tos()), (64, 0));
    assert_eq!(ip.fragment(), ipv4::DONT_FRAGMENT);
    let udp = Udp::new_checked(ip.payload()).expect("UDP");
    assert_eq!((udp.dst_port(), udp.checksum()), (4789, 0));
    assert!(udp.src_port() >= 32_768);
    assert_eq!(udp.payload()[..8], [8, 0, 0, 0, 0, 0, 42, 0]);
}

#[test]
fn flows_spread_over_source_ports_and_one_flow_keeps_its_own() {
    let [mut a, _] = pair(TunnelKind::Vxlan, false);
    let mut ports = std::collections::BTreeSet::new();
    for n in 0..50_u16 {
        let sent = |ttl| {
            let mut frame = Builder::eth(mac(11), mac(12))
                .ipv4([10, 0, 0, 11], [10, 0, 0, 12])
                .udp(1000 + n, 2000)
                .build();
            frame[22] = ttl;
            Ipv4::new_unchecked(&mut frame[14..]).fill_checksum();
            frame
        };
        let first = one(&mut a, INSIDE, sent(64), WIRE);
        let again = one(&mut a, INSIDE, sent(63), WIRE);
        assert_eq!(first[34..36], again[34..36]);
        ports.insert([first[34], first[35]]);
    }
    assert!(ports.len() > 45, "{} of 50", ports.len());
}

#[test]
fn a_checksum_that_was_asked_for_is_right_and_a_wrong_one_is_noticed() {
    for v6 in [false, true] {
        let mut with = spec(TunnelKind::Vxlan, Endpoint::Address(address(2, v6)));
        with.csum = Some(true);
        let mut a = host(1, &with, v6);
        let [_, mut b] = pair(TunnelKind::Vxlan, v6);
        for size in [100, 101] {
            let sent = frame(11, 12, size);
            let outer = one(&mut a, INSIDE, sent.clone(), WIRE);
            let slices = etherparse::SlicedPacket::from_ethernet(&outer).expect("parses");
            let Some(etherparse::TransportSlice::Udp(udp)) = &slices.transport else {
                panic!("no UDP");
            };
            let header = udp.to_header();
            let sum = match &slices.net {
                Some(etherparse::NetSlice::Ipv4(ip)) => {
                    header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload())
                }
                Some(etherparse::NetSlice::Ipv6(ip)) => {
                    header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload())
                }
                _ => panic!("no IP"),
            };
            assert_eq!(header.checksum, sum.expect("sums"));
            assert_eq!(one(&mut b, WIRE, outer.clone(), INSIDE), sent);
            let mut wrong = outer.clone();
            *wrong.last_mut().expect("bytes") ^= 1;
            assert!(b.send(WIRE, wrong).is_empty());
            assert_eq!(b.new_drops(), [(DropReason::TunnelChecksum, 1)]);
        }
    }
}

/// A tunnelled frame for host 2, with `edit` done to its bytes from the UDP header on.
fn crafted(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let [mut a, _] = pair(TunnelKind::Vxlan, false);
    let mut outer = one(&mut a, INSIDE, frame(11, 12, 100), WIRE);
    edit(&mut outer);
    outer
}

#[test]
fn what_no_tunnel_takes_is_dropped_with_its_reason() {
    let [_, mut b] = pair(TunnelKind::Vxlan, false);
    let mut dropped = |frame: Vec<u8>, reason| {
        assert!(b.send(WIRE, frame).is_empty());
        assert_eq!(b.new_drops(), [(reason, 1)]);
    };
    dropped(crafted(|f| f[48] = 43), DropReason::TunnelUnknown);
    dropped(crafted(|f| f[42] = 0), DropReason::TunnelFlags);
    dropped(crafted(|f| f[42] = 0x88), DropReason::TunnelFlags);
    dropped(crafted(|f| f[49] = 1), DropReason::TunnelFlags);
    dropped(crafted(|f| f[24] ^= 1), DropReason::TunnelChecksum);
    let another = crafted(|f| {
        f[29] = 3;
        Ipv4::new_unchecked(&mut f[14..34]).fill_checksum();
    });
    dropped(another, DropReason::TunnelUnknown);
    let first_fragment = crafted(|f| {
        f[20] = 0x20;
        Ipv4::new_unchecked(&mut f[14..34]).fill_checksum();
    });
    dropped(first_fragment, DropReason::TunnelFragment);
    let short = crafted(|f| {
        f.truncate(14 + 20 + 8 + 8 + 13);
        let size = (f.len() - 14) as u16;
        f[16..18].copy_from_slice(&size.to_be_bytes());
        f[38..40].copy_from_slice(&(size - 20).to_be_bytes());
        Ipv4::new_unchecked(&mut f[14..34]).fill_checksum();
    });
    dropped(short, DropReason::TunnelTruncated);
    dropped(crafted(|f| f[39] = 200), DropReason::TunnelTruncated);
}

#[test]
fn congestion_marks_are_kept_as_rfc_6040_says() {
    let [mut a, mut b] = pair(TunnelKind::Vxlan, false);
    let sent = |ecn: u8| {
        let mut frame = frame(11, 12, 20);
        frame[15] = ecn;
        Ipv4::new_unchecked(&mut frame[14..34]).fill_checksum();
        frame
    };
    // What is inside, what the network makes of the outer mark, and what comes out.
    for (inner, network, wanted) in [
        (0b00, 0b00, Some(0b00)),
        (0b00, 0b11, None),
        (0b10, 0b10, Some(0b10)),
        (0b10, 0b01, Some(0b01)),
        (0b10, 0b11, Some(0b11)),
        (0b01, 0b11, Some(0b11)),
        (0b11, 0b11, Some(0b11)),
    ] {
        let mut outer = one(&mut a, INSIDE, sent(inner), WIRE);
        assert_eq!(outer[15] & 0b11, inner);
        outer[15] = outer[15] & !0b11 | network;
        Ipv4::new_unchecked(&mut outer[14..34]).fill_checksum();
        let frames = out(&mut b, WIRE, outer, INSIDE);
        match wanted {
            Some(ecn) => assert_eq!(frames, [sent(ecn)]),
            None => {
                assert!(frames.is_empty());
                assert_eq!(b.new_drops(), [(DropReason::TunnelCongested, 1)]);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_answered_inside_the_tunnel_or_cut_where_that_is_allowed() {
    let [mut a, mut b] = pair(TunnelKind::Vxlan, false);
    // 1500 bytes less 50 of headers are a frame of 1464: 1450 from the IP header on.
    let fits = frame(11, 12, 1450 - 28);
    assert_eq!(one(&mut a, INSIDE, fits, WIRE).len(), 1514);
    let answer = one(&mut a, INSIDE, frame(11, 12, 1450 - 27), INSIDE);
    assert_eq!(answer[..6], mac(11));
    let ip = Ipv4::new_checked(&answer[14..]).expect("IPv4");
    // Destination unreachable, fragmentation needed, and the MTU (RFC 1191 §4).
    assert_eq!(ip.payload()[..2], [3, 4]);
    assert_eq!(ip.payload()[6..8], 1450_u16.to_be_bytes());
    assert_eq!(a.new_drops(), [(DropReason::MtuExceeded, 1)]);

    let mut may_be_cut = frame(11, 12, 2000);
    may_be_cut[20] = 0;
    Ipv4::new_unchecked(&mut may_be_cut[14..34]).fill_checksum();
    let pieces = out(&mut a, INSIDE, may_be_cut, WIRE);
    assert_eq!(pieces.len(), 2);
    let mut size = 0;
    for piece in pieces {
        let inner = one(&mut b, WIRE, piece, INSIDE);
        size += Ipv4::new_checked(&inner[14..])
            .expect("IPv4")
            .payload()
            .len();
    }
    assert_eq!(size, 2008);
}

#[test]
fn a_neighbour_that_is_not_known_is_asked_for_once_a_second() {
    let [mut a, _] = pair(TunnelKind::Vxlan, false);
    let gone = UnderlayChange::NoNeighbour {
        device: 9,
        address: address(2, false),
    };
    a.change_underlay(&[gone]);
    for _ in 0..5 {
        assert!(a.send(INSIDE, frame(11, 12, 10)).is_empty());
        assert_eq!(a.new_drops(), [(DropReason::TunnelNoNeighbour, 1)]);
    }
    let asked = Event::Resolve {
        device: 9,
        address: address(2, false),
    };
    assert_eq!(a.take_events(), [asked]);
    let known = underlay(1, false).neighbours.remove(0);
    a.change_underlay(&[UnderlayChange::Neighbour(known)]);
    assert_eq!(out(&mut a, INSIDE, frame(11, 12, 10), WIRE).len(), 1);
}

#[test]
fn a_change_of_the_network_is_seen_by_cached_packets() {
    let [mut a, _] = pair(TunnelKind::Vxlan, false);
    for _ in 0..3 {
        one(&mut a, INSIDE, frame(11, 12, 10), WIRE);
    }
    let moved = UnderlayNeighbour {
        device: 9,
        address: address(2, false),
        mac: mac(77),
    };
    a.change_underlay(&[UnderlayChange::Neighbour(moved)]);
    assert_eq!(one(&mut a, INSIDE, frame(11, 12, 10), WIRE)[..6], mac(77));
    let route = underlay(1, false).routes.remove(0);
    a.change_underlay(&[UnderlayChange::NoRoute {
        prefix: route.prefix,
        prefix_len: route.prefix_len,
        metric: route.metric,
    }]);
    assert!(a.send(INSIDE, frame(11, 12, 10)).is_empty());
    assert_eq!(a.new_drops(), [(DropReason::TunnelNoRoute, 1)]);
    a.change_underlay(&[UnderlayChange::Route(UnderlayRoute {
        kind: RouteKind::Unicast,
        ..route
    })]);
    one(&mut a, INSIDE, frame(11, 12, 10), WIRE);
}

#[test]
fn a_tunnel_to_the_host_itself_goes_nowhere() {
    let own = spec(TunnelKind::Vxlan, Endpoint::Address(address(1, false)));
    let mut a = host(1, &own, false);
    assert!(a.send(INSIDE, frame(11, 12, 10)).is_empty());
    assert_eq!(a.new_drops(), [(DropReason::TunnelSelf, 1)]);
}

#[test]
fn flows_say_the_ends_of_a_tunnel_and_see_them() {
    let mut of_flows = spec(TunnelKind::Vxlan, Endpoint::Flow);
    (of_flows.in_key, of_flows.out_key) = (TunnelKey::Flow, TunnelKey::Flow);
    let mut a = host(1, &of_flows, false);
    let set = |field, value| Action::SetField {
        field,
        value,
        mask: Field::info(field).max(),
    };
    let remote = |last: u128| 0xac1f_0000 | last;
    let out_flow = |dst: u8, last: u128| FlowRule {
        matches: Match::any()
            .with(Field::InPort, INSIDE.into())
            .with(Field::EthDst, u128::from(dst) | 0x0200_0000_0000),
        instructions: vec![
            set(Field::TunId, 100 + last),
            set(Field::TunDst, remote(last)),
            Action::Output(OfPort(TUNNEL)),
        ]
        .into(),
        ..FlowRule::default()
    };
    let in_flow = FlowRule {
        matches: Match::any()
            .with(Field::InPort, TUNNEL.into())
            .with(Field::TunId, 103)
            .with(Field::TunSrc, remote(3)),
        instructions: vec![Action::Output(OfPort(INSIDE))].into(),
        ..FlowRule::default()
    };
    a.set_flows(1, vec![out_flow(12, 2), out_flow(13, 3), in_flow]);
    for (dst, last) in [(12, 2), (13, 3), (12, 2), (13, 3)] {
        let outer = one(&mut a, INSIDE, frame(11, dst, 10), WIRE);
        assert_eq!(outer[30..34], [172, 31, 0, last]);
        assert_eq!(outer[46..49], [0, 0, 100 + last]);
    }
    let mut b = host(
        3,
        &spec(TunnelKind::Vxlan, Endpoint::Address(address(1, false))),
        false,
    );
    for (key, comes) in [(103, true), (102, false)] {
        let mut other = spec(TunnelKind::Vxlan, Endpoint::Address(address(1, false)));
        other.out_key = TunnelKey::Id(key);
        b.set_desired(desired(other));
        let outer = one(&mut b, INSIDE, frame(13, 11, 10), WIRE);
        let frames = out(&mut a, WIRE, outer, INSIDE);
        assert_eq!(frames.len(), usize::from(comes));
    }
    assert_eq!(a.new_drops(), [(DropReason::NoFlow, 1)]);
}

#[test]
fn outer_headers_are_read_again_where_a_flow_asks_for_the_source_port() {
    let [mut a, _] = pair(TunnelKind::Vxlan, false);
    let outer = one(&mut a, INSIDE, frame(11, 12, 10), WIRE);
    let source = u128::from(u16::from_be_bytes([outer[34], outer[35]]));
    let by_source = FlowRule {
        matches: Match::any()
            .with(Field::EthType, 0x0800)
            .with(Field::IpProto, 17)
            .with(Field::UdpSrc, source),
        instructions: vec![Action::Output(OfPort(WIRE))].into(),
        priority: 10,
        ..FlowRule::default()
    };
    let rest = FlowRule {
        priority: 1,
        ..FlowRule::default()
    };
    a.set_flows(2, vec![by_source, rest]);
    for _ in 0..3 {
        assert_eq!(one(&mut a, INSIDE, frame(11, 12, 10), WIRE), outer);
        let other = Builder::eth(mac(11), mac(12))
            .ipv4([10, 0, 0, 11], [10, 0, 0, 12])
            .udp(1001, 2000)
            .build();
        assert!(a.send(INSIDE, other).is_empty());
        assert_eq!(a.new_drops(), [(DropReason::RuleDrop, 1)]);
    }
}

#[test]
fn sources_without_a_route_back_are_refused_when_asked() {
    let mut checked = spec(TunnelKind::Vxlan, Endpoint::Flow);
    checked.check_source = true;
    let mut b = host(2, &checked, false);
    let sent = crafted(|_| ());
    assert_eq!(out(&mut b, WIRE, sent, INSIDE).len(), 1);
    let spoofed = crafted(|f| {
        f[26..30].copy_from_slice(&[192, 0, 2, 1]);
        Ipv4::new_unchecked(&mut f[14..34]).fill_checksum();
    });
    assert!(b.send(WIRE, spoofed).is_empty());
    assert_eq!(b.new_drops(), [(DropReason::TunnelSource, 1)]);
}
