//! Switches, traffic and changes to generate cases from: few values each, so that packets meet
//! flows, addresses meet ports and keys meet again.

use std::net::IpAddr;

use proptest::prelude::*;
use vswitch_datapath::offload::{Checksum, Gso, GsoKind, Offload};
use vswitch_dpapi::tunnel::{
    RouteHop, RouteKind, UnderlayAddress, UnderlayDevice, UnderlayNeighbour, UnderlayRoute,
};
use vswitch_dpapi::{
    BridgeId, Desired, Endpoint, PortId, PortKind, PortSpec, TunnelKey, TunnelKind, TunnelSpec,
    TunnelTos, TunnelWay, Underlay, UnderlayChange,
};
use vswitch_flow::{Action, Field, FlowRule, Instructions, OfPort};
use vswitch_packet::build::Builder;
use vswitch_packet::{EtherType, MacAddr, arp, mpls, tcp};
use vswitch_tests::sim::{bridge, port, router, router_port};

use super::translate::{instructions, matches, mirror, of_the_pipeline, table, vlan};

/// Ports with a device; 4 and 8 are the ends of a patch between the bridges.
pub(super) const DEVICES: [u32; 6] = [1, 2, 3, 5, 6, 7];

pub(super) fn device() -> impl Strategy<Value = u32> {
    prop::sample::select(DEVICES.as_slice())
}

/// A tunnel port of bridge 0, and an internal port of bridge 1 by which its packets go.
const TUNNEL: u32 = 9;
const INTERNAL: u32 = 10;

/// The Ethernet address of the internal port's device.
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 99];

/// The number of the internal port's device.
const DEVICE: u32 = 3;

/// A host's address on the network that carries tunnels; ours is 1.
fn host(last: u8) -> IpAddr {
    [172, 31, 0, last].into()
}

/// Tunnel and internal port.
fn tunnel_ports() -> [PortSpec; 2] {
    let mut tunnel = port(TUNNEL, 0);
    tunnel.mtu = 65_535;
    tunnel.kind = PortKind::Tunnel(Box::new(TunnelSpec {
        kind: TunnelKind::Vxlan,
        remote: Endpoint::Address(host(2)),
        local: None,
        in_key: TunnelKey::Flow,
        out_key: TunnelKey::Id(42),
        udp_port: 4789,
        csum: None,
        ttl: None,
        tos: TunnelTos::Inherit,
        dont_fragment: true,
        way: TunnelWay::Auto,
        check_source: false,
    }));
    let mut internal = port(INTERNAL, 1);
    internal.kind = PortKind::Internal;
    [tunnel, internal]
}

/// What is known of the network that carries tunnels.
pub(super) fn underlay() -> Underlay {
    Underlay {
        devices: vec![UnderlayDevice {
            ifindex: DEVICE,
            name: "host".into(),
            mac: HOST_MAC,
            mtu: 1500,
            up: true,
            internal: Some(PortId(INTERNAL)),
            uplink: None,
            socket: None,
        }],
        addresses: vec![UnderlayAddress {
            device: DEVICE,
            address: host(1),
            prefix_len: 24,
        }],
        routes: vec![UnderlayRoute {
            prefix: host(0),
            prefix_len: 24,
            metric: 0,
            kind: RouteKind::Unicast,
            hops: vec![RouteHop {
                device: DEVICE,
                gateway: None,
                weight: 1,
            }],
            source: None,
            mtu: None,
        }],
        neighbours: Vec::new(),
    }
}

/// The tunnel's neighbour.
pub(super) fn known() -> UnderlayNeighbour {
    UnderlayNeighbour {
        device: DEVICE,
        address: host(2),
        mac: [2, 0, 0, 0, 0, 5],
    }
}

/// The tunnel's neighbour comes, moves or goes.
pub(super) fn neighbour() -> impl Strategy<Value = UnderlayChange> {
    prop_oneof![
        3 => (2..6_u8).prop_map(|station| UnderlayChange::Neighbour(UnderlayNeighbour {
            device: DEVICE,
            address: host(2),
            mac: [2, 0, 0, 0, 0, station],
        })),
        1 => Just(UnderlayChange::NoNeighbour { device: DEVICE, address: host(2) }),
    ]
}

/// A router's port, whose station is one that frames go to.
fn gateway(id: u32, bridge: u32, own: &str) -> PortSpec {
    let mut port = router_port(id, bridge, 1, 0, &[own]);
    if let PortKind::Router(own) = &mut port.kind {
        own.mac = ROUTER;
    }
    port
}

/// The station of routers' ports: no frame comes from it but by mistake.
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 5];

/// Two bridges, 0 and 1, with four ports each, a tunnel from one through the other, and perhaps a router
/// between them.
pub(super) fn desired() -> impl Strategy<Value = Desired> {
    (
        prop::collection::vec(vlan(), 8),
        prop::collection::vec(mirror(), 0..2),
        prop::sample::select([4, 100, 100].as_slice()),
        any::<bool>(),
    )
        .prop_map(|(vlans, mirrors, mac_table_size, routed)| {
            let mut bridges = vec![bridge(0), bridge(1)];
            bridges[0].mirrors = mirrors;
            for bridge in &mut bridges {
                bridge.mac_table_size = mac_table_size;
            }
            let ports = vlans.into_iter().zip(1..).map(|(vlan, id)| {
                let mut port = port(id, (id - 1) / 4);
                port.vlan = vlan;
                let peer = [(4, 8), (8, 4)].into_iter().find(|(end, _)| *end == id);
                if let Some((_, peer)) = peer {
                    let peer = Some(PortId(peer));
                    port.kind = PortKind::Patch { peer };
                }
                port
            });
            let mut ports: Vec<_> = ports.collect();
            if routed {
                ports.push(gateway(11, 0, "10.0.0.5/29"));
                ports.push(gateway(12, 1, "10.0.0.14/29"));
            }
            Desired {
                ports: ports.into_iter().chain(tunnel_ports()).collect(),
                bridges,
                routers: routed.then(|| router(1)).into_iter().collect(),
            }
        })
}

fn simple() -> impl Strategy<Value = Action> {
    let set = prop::sample::select(
        [
            (Field::EthDst, 0x0200_0000_0002, u128::MAX),
            (Field::EthSrc, 0x0200_0000_0003, 0xff),
            (Field::VlanVid, 0x100a, 0x1fff),
            (Field::VlanPcp, 5, 7),
            (Field::Ipv4Dst, 0x0a00_0002, u128::MAX),
            (Field::Ipv4Src, 3, 3),
            (Field::IpDscp, 9, 0x3f),
            (Field::TcpDst, 443, 0xffff),
            (Field::UdpDst, 53, 0xffff),
            (Field::MplsTtl, 5, 0xff),
            (Field::Metadata, 1, u128::MAX),
        ]
        .as_slice(),
    );
    prop_oneof![
        3 => (1..11_u32).prop_map(|port| Action::Output(OfPort(port))),
        6 => Just(Action::Output(OfPort::NORMAL)),
        1 => Just(Action::Output(OfPort::FLOOD)),
        1 => Just(Action::Output(OfPort::IN_PORT)),
        3 => set.prop_map(|(field, value, mask)| {
            let mask = mask & field.info().max();
            Action::SetField { field, value: value & mask, mask }
        }),
        1 => Just(Action::PushVlan(0x8100)),
        1 => Just(Action::PopVlan),
        5 => of_the_pipeline(),
    ]
}

pub(super) fn flow() -> impl Strategy<Value = FlowRule> {
    let action = prop_oneof![
        9 => simple(),
        1 => prop::collection::vec(simple(), 0..4).prop_map(Action::Clone),
    ]
    .boxed();
    table().prop_flat_map(move |table| {
        let instructions = prop_oneof![
            2 => Just(Instructions::apply([Action::Output(OfPort::NORMAL)])),
            3 => instructions(action.clone(), simple(), table),
        ];
        (matches(), 0..4_u16, instructions).prop_map(move |(matches, priority, instructions)| {
            FlowRule {
                table,
                priority,
                matches,
                instructions,
                ..FlowRule::default()
            }
        })
    })
}

pub(super) fn flows() -> impl Strategy<Value = Vec<FlowRule>> {
    prop::collection::vec(flow(), 1..7)
}

/// A bridge of [`desired`].
pub(super) fn bridge_id() -> impl Strategy<Value = BridgeId> {
    (0..2_u32).prop_map(BridgeId)
}

/// A frame of one of a few stations, with `size` bytes of payload.
pub(super) fn frame(size: impl Strategy<Value = usize>) -> impl Strategy<Value = Vec<u8>> {
    let stations = (
        1..7_u8,
        prop::sample::select([1, 2, 3, 5, 9, 255].as_slice()),
    );
    (stations, 0..6, 0..13, size).prop_map(|((src, dst), tags, kind, size)| {
        let dst_mac = match dst {
            255 => [0xff; 6],
            9 => [0x01, 0x80, 0xc2, 0, 0, 3],
            _ => [2, 0, 0, 0, 0, dst],
        };
        let mut frame = Builder::eth([2, 0, 0, 0, 0, src], dst_mac);
        frame = match tags {
            0 => frame.tag(EtherType::VLAN, 10),
            1 => frame.tag(EtherType::VLAN, 12),
            2 => frame.tag(EtherType::VLAN, 0xb00a & 0xefff),
            3 => frame.tag(EtherType::QINQ, 10).tag(EtherType::VLAN, 7),
            _ => frame,
        };
        let v4 = |frame: Builder| frame.ipv4([10, 0, 0, src], [10, 0, 0, dst]);
        let v6 = |frame: Builder| {
            let address = |last: u8| std::net::Ipv6Addr::from(0xfe80 << 112 | u128::from(last));
            frame.ipv6(address(src), address(dst))
        };
        frame = match kind {
            0 => {
                return frame
                    .arp_request([10, 0, 0, src], [10, 0, 0, dst])
                    .pad_to(60)
                    .build();
            }
            // In the tunnel, mostly: its networks are 42 and, which flows may ask for, others.
            10 | 11 => {
                let inner = Builder::eth([2, 0, 0, 0, 1, src], [2, 0, 0, 0, 0, dst])
                    .ipv4([10, 0, 1, src], [10, 0, 0, dst])
                    .udp(1000 + u16::from(src), 53)
                    .build();
                let header = [8, 0, 0, 0, 0, 0, 40 + dst % 4, 0];
                return Builder::eth([2, 0, 0, 0, 0, src], HOST_MAC)
                    .ipv4([172, 31, 0, 2 + u8::from(src == 6)], [172, 31, 0, 1])
                    .udp(40_000 + u16::from(src), 4789)
                    .payload(&[&header[..], &inner].concat())
                    .pad_to(60)
                    .build();
            }
            // The station says where it is, whoever asked.
            12 => {
                return frame
                    .arp(arp::Repr {
                        op: arp::REPLY,
                        sha: MacAddr([2, 0, 0, 0, 0, src]),
                        spa: [10, 0, 0, src].into(),
                        tha: MacAddr(dst_mac),
                        tpa: [10, 0, 0, dst].into(),
                    })
                    .pad_to(60)
                    .build();
            }
            1 => v4(frame).tcp(1000, 443, tcp::SYN),
            2 => v4(frame).udp(1000, 53),
            3 => v4(frame).icmp(8, 0, 7),
            4 => v6(frame).tcp(1000, 80, tcp::ACK),
            5 => v6(frame).udp(2, 443),
            6 => v4(frame).fragment(185, true, 7),
            8 | 9 => {
                let entry = |label, bottom| mpls::Repr {
                    label,
                    traffic_class: 1,
                    bottom,
                    ttl: 2,
                };
                let frame = if kind == 8 {
                    frame
                } else {
                    frame.mpls(entry(3, false))
                };
                v4(frame.mpls(entry(5, true))).udp(1000, 53)
            }
            _ => v4(frame).tcp(1000, 80, tcp::ACK),
        };
        let payload: Vec<_> = (0..size).map(|i| i as u8).collect();
        frame.payload(&payload).pad_to(60).build()
    })
}

/// A frame with the port it comes in by: that of its station, unless the station has moved.
pub(super) fn sent(frame: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = (u32, Vec<u8>)> {
    (frame, prop::option::weighted(0.05, device())).prop_map(|(frame, port)| {
        let home = DEVICES[usize::from(frame[11]) - 1];
        (port.unwrap_or(home), frame)
    })
}

/// A frame of up to 60 KB that stands for many.
pub(super) fn super_frame() -> impl Strategy<Value = (Vec<u8>, Offload)> {
    (
        (1..4_u8, 1..4_u8),
        any::<bool>(),
        0..3,
        1..60_000_usize,
        200..9000_u16,
    )
        .prop_map(|((src, dst), tagged, kind, size, gso)| {
            let mut frame = Builder::eth([2, 0, 0, 0, 0, src], [2, 0, 0, 0, 0, dst]);
            if tagged {
                frame = frame.vlan(10);
            }
            let link = if tagged { 18 } else { 14 };
            let address = |last: u8| std::net::Ipv6Addr::from(0xfe80 << 112 | u128::from(last));
            let (frame, start, offset, kind) = match kind {
                0 => (
                    frame
                        .ipv4([10, 0, 0, src], [10, 0, 0, dst])
                        .tcp(1000, 80, tcp::ACK),
                    link + 20,
                    16,
                    GsoKind::Tcp4,
                ),
                1 => (
                    frame
                        .ipv6(address(src), address(dst))
                        .tcp(1000, 80, tcp::ACK),
                    link + 40,
                    16,
                    GsoKind::Tcp6,
                ),
                _ => (
                    frame.ipv4([10, 0, 0, src], [10, 0, 0, dst]).udp(1000, 53),
                    link + 20,
                    6,
                    GsoKind::Udp,
                ),
            };
            let payload: Vec<_> = (0..size).map(|i| i as u8).collect();
            let offload = Offload {
                csum: Checksum::Partial { start, offset },
                gso: Some(Gso {
                    kind,
                    size: gso,
                    ecn: false,
                    tunnel: None,
                }),
            };
            (frame.payload(&payload).build(), offload)
        })
}
