//! A second opinion on whole frames: what the builder makes, `etherparse` reads the same way and
//! finds whole.

use std::net::Ipv6Addr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use vswitch_packet::build::Builder;
use vswitch_packet::print::Frame;
use vswitch_packet::{EtherType, Protocol, ipv4, mpls, tcp};

const A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

#[test]
fn tcp_over_ipv4_with_options_and_two_tags() {
    let frame = Builder::eth(A, B)
        .tag(EtherType::QINQ, 0x6123)
        .vlan(7)
        .ipv4_with(
            ipv4::Repr {
                src: [10, 1, 2, 3].into(),
                dst: [10, 4, 5, 6].into(),
                protocol: Protocol::default(),
                ttl: 3,
                tos: 0xb8,
                ident: 77,
                fragment: 0,
                payload_size: 0,
            },
            &[1, 1, 1, 0],
        )
        .tcp_with(
            tcp::Repr {
                src_port: 1000,
                dst_port: 2000,
                seq: 5,
                ack: 6,
                flags: tcp::SYN | tcp::ACK,
                window: 9,
            },
            &[2, 4, 5, 0xb4],
        )
        .payload(b"odd")
        .build();
    let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
    assert_eq!(sliced.vlan_ids().len(), 2);
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else {
        panic!("not IPv4")
    };
    let header = ip.header().to_header();
    assert_eq!(header.calc_header_checksum(), header.header_checksum);
    assert_eq!(header.dscp.value(), 0x2e);
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
        panic!("not TCP")
    };
    assert_eq!(tcp.options(), [2, 4, 5, 0xb4]);
    assert_eq!(
        tcp.calc_checksum_ipv4(header.source, header.destination)
            .unwrap(),
        tcp.checksum()
    );
    assert_eq!(
        Frame(&frame).to_string(),
        "02:00:00:00:00:0a > 02:00:00:00:00:0b 802.1ad | vlan 291 pcp 3 802.1Q | vlan 7 pcp 0 IPv4 \
         | 10.1.2.3 > 10.4.5.6 TCP ttl 3 size 51 | 1000 > 2000 [S.] seq 5 ack 6 window 9"
    );
}

#[test]
fn udp_over_ipv6_behind_an_extension() {
    let frame = Builder::eth(A, B)
        .ipv6(v6(1), v6(2))
        .extension(Protocol::DESTINATION, &[0, 0, 1, 4, 0, 0, 0, 0])
        .udp(5000, 53)
        .payload(b"query")
        .build();
    let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
        panic!("not UDP")
    };
    assert_eq!(udp.destination_port(), 53);
    let Some(NetSlice::Ipv6(ip)) = &sliced.net else {
        panic!("not IPv6")
    };
    let header = udp.to_header();
    let (src, dst) = (ip.header().source(), ip.header().destination());
    let sum = header.calc_checksum_ipv6_raw(src, dst, b"query").unwrap();
    assert_eq!(sum, udp.checksum());
}

#[test]
fn every_other_kind_prints_as_what_it_is() {
    let mpls = mpls::Repr {
        label: 9,
        traffic_class: 1,
        bottom: true,
        ttl: 2,
    };
    let eth = || Builder::eth(A, B);
    for (frame, end) in [
        (
            eth().arp_request([10, 0, 0, 1], [10, 0, 0, 2]),
            "ARP | who has 10.0.0.2 tell 10.0.0.1",
        ),
        (eth().mpls(mpls), "MPLS | label 9 tc 1 ttl 2 bottom"),
        (
            eth().ipv4([1, 1, 1, 1], [2, 2, 2, 2]).icmp(3, 1, 0),
            "| type 3 code 1",
        ),
        (
            eth().ipv4([1, 1, 1, 1], [2, 2, 2, 2]).sctp(1, 2),
            "| 1 > 2 tag 0x00000000",
        ),
        (
            eth().ipv6(v6(1), v6(2)).neighbour(136, v6(1), A),
            "| fd00::1 is here 02:00:00:00:00:0a",
        ),
        (
            eth().ipv6(v6(1), v6(2)).fragment(8, true, 5),
            "| fragment 5 at 8",
        ),
        (eth().ethertype(0x88cc).payload(&[0; 4]), "type 0x88cc"),
    ] {
        let line = Frame(&frame.build()).to_string();
        assert!(line.ends_with(end), "{line}");
    }
}

proptest! {
    #[test]
    fn sums_agree_for_any_payload(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        src in any::<[u8; 4]>(),
        dst in any::<[u8; 4]>(),
        ports in any::<(u16, u16)>(),
    ) {
        let frame = Builder::eth(A, B).ipv4(src, dst).udp(ports.0, ports.1).payload(&payload).build();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("not UDP") };
        let sum = udp.to_header().calc_checksum_ipv4_raw(src, dst, &payload).unwrap();
        prop_assert_eq!(sum, udp.checksum());

        let (a, b) = (Ipv6Addr::from(quads(src)), Ipv6Addr::from(quads(dst)));
        let frame = Builder::eth(A, B).ipv6(a, b).tcp(ports.0, ports.1, 0x10).payload(&payload).build();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("not TCP") };
        let Some(NetSlice::Ipv6(ip)) = &sliced.net else { panic!("not IPv6") };
        prop_assert_eq!(tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap(), tcp.checksum());
    }

    #[test]
    fn any_bytes_can_be_printed(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        prop_assert!(!Frame(&bytes).to_string().is_empty());
    }

    /// Random bytes rarely get past the first type field, so the types are given.
    #[test]
    fn any_bytes_behind_a_known_type_can_be_printed(
        kind in prop::sample::select(vec![0x0800_u16, 0x86dd, 0x8100, 0x8847, 0x0806]),
        first in prop::sample::select(vec![0x45_u8, 0x46, 0x60]),
        mut bytes in proptest::collection::vec(any::<u8>(), 15..120),
    ) {
        bytes[12..14].copy_from_slice(&kind.to_be_bytes());
        bytes[14] = first;
        prop_assert!(!Frame(&bytes).to_string().is_empty());
    }
}

/// An IPv6 address of four times the same bytes.
fn quads(quad: [u8; 4]) -> [u8; 16] {
    std::array::from_fn(|i| quad[i % 4])
}
