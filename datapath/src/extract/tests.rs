//! The extractor against an oracle that reads headers through views and writes fields by name, so
//! that neither the places in the key nor the checks of lengths are stated twice.

use std::net::Ipv6Addr;

use proptest::prelude::*;
use vswitch_flow::{Field, FlowKey, OfPort};
use vswitch_packet::arp::{self, Arp};
use vswitch_packet::build::Builder;
use vswitch_packet::eth::Eth;
use vswitch_packet::icmp::Icmp;
use vswitch_packet::icmpv6::{self, Icmpv6};
use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_packet::ipv6::{self, Ipv6};
use vswitch_packet::mpls::{self, Mpls};
use vswitch_packet::sctp::Sctp;
use vswitch_packet::tcp::{self, Tcp};
use vswitch_packet::udp::Udp;
use vswitch_packet::vlan::Vlan;
use vswitch_packet::{EtherType, MacAddr, Malformed, Protocol};

use super::*;

const A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];
const PORT: OfPort = OfPort(7);

fn mac(mac: MacAddr) -> u128 {
    mac.0
        .iter()
        .fold(0, |value, byte| value << 8 | u128::from(*byte))
}

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

/// The key of a frame that is all in one piece, worked out slowly.
fn oracle(frame: &[u8]) -> Option<(FlowKey, Layout)> {
    let mut key = FlowKey::default();
    let mut layout = Layout::default();
    let eth = Eth::new_checked(frame).ok()?;
    key.set(Field::InPort, u128::from(PORT.0));
    key.set(Field::EthDst, mac(eth.dst()));
    key.set(Field::EthSrc, mac(eth.src()));
    let mut ethertype = eth.ethertype();
    let mut rest = eth.payload();
    for (tci, tpid) in [
        (Field::VlanTci, Field::VlanTpid),
        (Field::InnerVlanTci, Field::InnerVlanTpid),
    ] {
        if let Ok(tag) = Vlan::new_checked(rest)
            && ethertype.is_vlan()
        {
            key.set(tci, u128::from(tag.tci() | 0x1000));
            key.set(tpid, u128::from(ethertype.0));
            ethertype = tag.ethertype();
            rest = &rest[4..];
            layout.vlans += 1;
        }
    }
    if ethertype < EtherType::MIN {
        ethertype = EtherType(NO_ETHERTYPE);
        if rest.len() >= 8 && rest.starts_with(&[0xaa, 0xaa, 3, 0, 0, 0]) {
            let kind = EtherType(be16(rest[6], rest[7]));
            if kind >= EtherType::MIN {
                ethertype = kind;
            }
            rest = &rest[8..];
        }
    }
    key.set(Field::EthType, u128::from(ethertype.0));
    layout.l3 = (frame.len() - rest.len()) as u16;
    let l4 = match ethertype {
        EtherType::ARP | EtherType::RARP => {
            if let Ok(arp) = Arp::new_checked(rest) {
                key.set(Field::ArpOp, u128::from(arp.op()));
                key.set(Field::ArpSpa, u128::from(u32::from(arp.spa())));
                key.set(Field::ArpTpa, u128::from(u32::from(arp.tpa())));
                key.set(Field::ArpSha, mac(arp.sha()));
                key.set(Field::ArpTha, mac(arp.tha()));
            }
            None
        }
        EtherType::IPV4 => oracle_ipv4(&mut key, rest),
        EtherType::IPV6 => oracle_ipv6(&mut key, rest),
        kind if kind.is_mpls() => {
            if let Ok(entry) = Mpls::new_checked(rest) {
                let entry = entry.repr();
                key.set(Field::MplsLabel, u128::from(entry.label));
                key.set(Field::MplsTc, u128::from(entry.traffic_class));
                key.set(Field::MplsBos, u128::from(entry.bottom));
                key.set(Field::MplsTtl, u128::from(entry.ttl));
                let whole = |at: usize| {
                    let bytes = rest.get(4 * at..4 * at + 4);
                    let bytes = bytes.and_then(|bytes| bytes.first_chunk::<4>());
                    bytes.map_or(0, |bytes| u128::from(u32::from_be_bytes(*bytes)))
                };
                if !entry.bottom {
                    key.set(Field::MplsLse1, whole(1));
                    if whole(1) & 0x100 == 0 {
                        key.set(Field::MplsLse2, whole(2));
                    }
                }
            }
            None
        }
        EtherType(0x88e7) => {
            if let Some(&[_, a, b, c, ..]) = rest.first_chunk::<7>() {
                key.set(Field::PbbIsid, u128::from(u32::from_be_bytes([0, a, b, c])));
            }
            None
        }
        _ => None,
    };
    if let Some(l4) = l4 {
        layout.l4 = layout.l3 + l4 as u16;
    }
    Some((key, layout))
}

fn oracle_ipv4(key: &mut FlowKey, bytes: &[u8]) -> Option<usize> {
    let ip = Ipv4::new_checked(bytes);
    // Like Open vSwitch, the extractor does not look at the version.
    let ip = match ip {
        Err(Malformed::Version) => {
            let mut bytes = bytes.to_vec();
            bytes[0] = 0x40 | bytes[0] & 0xf;
            return oracle_ipv4(key, &bytes);
        }
        ip => ip.ok()?,
    };
    key.set(Field::Ipv4Src, u128::from(u32::from(ip.src())));
    key.set(Field::Ipv4Dst, u128::from(u32::from(ip.dst())));
    key.set(Field::IpProto, u128::from(ip.protocol().0));
    key.set(Field::IpTos, u128::from(ip.tos()));
    key.set(Field::IpTtl, u128::from(ip.ttl()));
    let later = ip.fragment_offset() != 0;
    let frag = u128::from(ip.is_fragment()) | u128::from(later) << 1;
    key.set(Field::IpFrag, frag);
    if later {
        return None;
    }
    if ip.protocol() == Protocol::ICMP {
        let icmp = Icmp::new_checked(ip.payload()).ok()?;
        key.set(Field::IcmpType, u128::from(icmp.kind()));
        key.set(Field::IcmpCode, u128::from(icmp.code()));
        return Some(ip.header_size());
    }
    oracle_ports(key, ip.protocol(), ip.payload()).then_some(ip.header_size())
}

fn oracle_ipv6(key: &mut FlowKey, bytes: &[u8]) -> Option<usize> {
    let ip = match Ipv6::new_checked(bytes) {
        Err(Malformed::Version) => {
            let mut bytes = bytes.to_vec();
            bytes[0] = 0x60 | bytes[0] & 0xf;
            return oracle_ipv6(key, &bytes);
        }
        ip => ip.ok()?,
    };
    key.set(Field::Ipv6Src, ip.src().into());
    key.set(Field::Ipv6Dst, ip.dst().into());
    // What the bits are has tests of its own.
    let exthdr = extensions::bits(bytes, bytes.len());
    key.set(Field::Ipv6ExtHeaders, exthdr.into());
    let found = ip.extensions().ok()?;
    key.set(Field::IpProto, u128::from(found.protocol.0));
    key.set(Field::IpTos, u128::from(ip.traffic_class()));
    key.set(Field::IpTtl, u128::from(ip.hop_limit()));
    key.set(Field::Ipv6Label, u128::from(ip.flow_label()));
    let later = found.fragment.is_some_and(|f| f.offset != 0);
    let frag = u128::from(found.fragment.is_some()) | u128::from(later) << 1;
    key.set(Field::IpFrag, frag);
    if later {
        return None;
    }
    let (payload, at) = (&ip.payload()[found.offset..], 40 + found.offset);
    if found.protocol != Protocol::ICMPV6 {
        return oracle_ports(key, found.protocol, payload).then_some(at);
    }
    let icmp = Icmpv6::new_checked(payload).ok()?;
    key.set(Field::Icmp6Type, u128::from(icmp.kind()));
    key.set(Field::Icmp6Code, u128::from(icmp.code()));
    if let Some(target) = icmp.target() {
        let of = |kind| -> Vec<_> {
            let all = icmp.options().filter(|o| o.kind == kind);
            all.filter_map(|o| o.mac()).collect()
        };
        let (sources, targets) = (of(1), of(2));
        if sources.len() < 2 && targets.len() < 2 {
            key.set(Field::NdTarget, target.into());
            let (field, macs) = match icmp.kind() {
                icmpv6::NEIGHBOUR_SOLICIT => (Field::NdSll, sources),
                _ => (Field::NdTll, targets),
            };
            key.set(field, macs.first().map_or(0, |m| mac(*m)));
        }
    }
    Some(at)
}

fn oracle_ports(key: &mut FlowKey, protocol: Protocol, bytes: &[u8]) -> bool {
    let ports = |key: &mut FlowKey, src, dst, ports: (u16, u16)| {
        key.set(src, u128::from(ports.0));
        key.set(dst, u128::from(ports.1));
        true
    };
    match protocol {
        Protocol::TCP if bytes.len() >= tcp::HEADER_SIZE => {
            let tcp = Tcp::new_unchecked(bytes);
            key.set(Field::TcpFlags, u128::from(tcp.flags()));
            let both = (tcp.src_port(), tcp.dst_port());
            ports(key, Field::TcpSrc, Field::TcpDst, both)
        }
        Protocol::UDP if bytes.len() >= 8 => {
            let udp = Udp::new_unchecked(bytes);
            let both = (udp.src_port(), udp.dst_port());
            ports(key, Field::UdpSrc, Field::UdpDst, both)
        }
        Protocol::SCTP => match Sctp::new_checked(bytes) {
            Ok(sctp) => {
                let both = (sctp.src_port(), sctp.dst_port());
                ports(key, Field::SctpSrc, Field::SctpDst, both)
            }
            Err(_) => false,
        },
        _ => false,
    }
}

#[track_caller]
fn check(frame: &[u8]) -> FlowKey {
    match (extract(frame, frame.len(), PORT), oracle(frame)) {
        (Ok(read), Some((key, layout))) => {
            assert_eq!(read.key.to_dense(), key, "{frame:02x?}");
            assert_eq!(read.layout, layout, "{frame:02x?}");
            key
        }
        (Err(DropReason::TooShort), None) => FlowKey::default(),
        (read, oracle) => panic!("{read:?} but the oracle says {oracle:?}"),
    }
}

fn ipv4_repr(fragment: u16) -> ipv4::Repr {
    ipv4::Repr {
        src: [192, 168, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        protocol: Protocol::UDP,
        ttl: 61,
        tos: 0xb9,
        ident: 99,
        fragment,
        payload_size: 0,
    }
}

fn ipv6_repr() -> ipv6::Repr {
    ipv6::Repr {
        src: v6(1),
        dst: v6(2),
        next: Protocol::NONE,
        hop_limit: 61,
        traffic_class: 0xb9,
        flow_label: 0xa_bcde,
        payload_size: 0,
    }
}

/// One valid frame of every kind that the key knows.
fn frames() -> Vec<Vec<u8>> {
    let eth = || Builder::eth(A, B);
    let v4 = || eth().ipv4_with(ipv4_repr(0), &[]);
    let six = || eth().ipv6_with(ipv6_repr());
    let mut double = v6(9).octets().to_vec();
    double.extend([1, 1, 2, 0, 0, 0, 0, 1, 1, 1, 2, 0, 0, 0, 0, 2]);
    let label = mpls::Repr {
        label: 0xa_bcde,
        traffic_class: 5,
        bottom: false,
        ttl: 33,
    };
    [
        v4().tcp(1000, 80, tcp::SYN | tcp::ECE).payload(b"hello"),
        v4().udp(1000, 53).payload(b"hello"),
        v4().sctp(1000, 36412).payload(b"chunk"),
        v4().icmp(3, 1, 0).payload(b"hello"),
        eth().ipv4_with(ipv4_repr(0), &[7; 40]).tcp(1, 2, tcp::ACK),
        eth()
            .ipv4_with(ipv4_repr(ipv4::MORE_FRAGMENTS), &[])
            .udp(1, 2)
            .payload(&[0; 8]),
        eth()
            .ipv4_with(ipv4_repr(ipv4::MORE_FRAGMENTS | 185), &[])
            .payload(&[0xff; 24]),
        eth().ipv4_with(ipv4_repr(185), &[]).payload(&[0xff; 24]),
        eth().vlan(100).ipv4([1, 2, 3, 4], [5, 6, 7, 8]).udp(1, 2),
        eth()
            .tag(EtherType::QINQ, 0xe064)
            .vlan(5)
            .ipv4([1, 2, 3, 4], [5, 6, 7, 8])
            .tcp(1, 2, 0),
        eth()
            .vlan(1)
            .vlan(2)
            .vlan(3)
            .ipv4([1, 2, 3, 4], [5, 6, 7, 8])
            .tcp(1, 2, 0),
        eth().arp_request([10, 0, 0, 1], [10, 0, 0, 2]),
        eth().vlan(9).arp(arp::Repr {
            op: 0x1234,
            sha: MacAddr(A),
            spa: [10, 0, 0, 1].into(),
            tha: MacAddr(B),
            tpa: [10, 0, 0, 2].into(),
        }),
        six().tcp(1000, 443, tcp::FIN | tcp::ACK).payload(b"hello"),
        six().udp(1000, 53).payload(b"hello"),
        six().sctp(1000, 36412),
        six().icmpv6(128, 0, 5).payload(b"ping"),
        six().neighbour(icmpv6::NEIGHBOUR_SOLICIT, v6(9), A),
        six().neighbour(icmpv6::NEIGHBOUR_ADVERT, v6(9), B),
        six()
            .icmpv6(icmpv6::NEIGHBOUR_SOLICIT, 0, 0)
            .payload(&double),
        six()
            .icmpv6(icmpv6::NEIGHBOUR_SOLICIT, 1, 0)
            .payload(&double),
        six()
            .extension(Protocol::HOP_BY_HOP, &[0, 0, 5, 2, 0, 0, 1, 0])
            .extension(Protocol::ROUTING, &[0; 8])
            .extension(
                Protocol::DESTINATION,
                &[0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            )
            .extension(
                Protocol::AH,
                &[0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            )
            .udp(7, 8),
        six()
            .fragment(0, true, 5)
            .tcp(1, 2, tcp::SYN)
            .payload(&[0; 4]),
        six().fragment(1448, true, 5).payload(&[0xff; 24]),
        six().fragment(0, false, 5).udp(3, 4),
        eth()
            .mpls(label)
            .mpls(mpls::Repr {
                bottom: true,
                ..label
            })
            .payload(&[0x45; 20]),
        eth().ethertype(0x88cc).payload(&[1; 46]),
        eth().ethertype(46).payload(&[0x42; 46]),
        eth()
            .ethertype(46)
            .payload(&[0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0x00, 0x45]),
        eth()
            .ethertype(46)
            .payload(&[0xaa, 0xaa, 3, 0, 0, 0, 0x01, 0x00, 0x45]),
    ]
    .iter()
    .map(Builder::build)
    .collect()
}

#[test]
fn every_kind_of_frame_reads_as_the_oracle_reads_it() {
    for frame in frames() {
        check(&frame);
    }
}

#[test]
fn a_tcp_packet_has_its_fields_where_the_table_says() {
    let frame = Builder::eth(A, B)
        .tag(EtherType::QINQ, 0x6064)
        .ipv4_with(ipv4_repr(0), &[])
        .tcp(1000, 80, tcp::SYN)
        .build();
    let key = check(&frame);
    for (field, value) in [
        (Field::InPort, 7),
        (Field::EthDst, 0x0200_0000_000b),
        (Field::EthSrc, 0x0200_0000_000a),
        (Field::EthType, 0x0800),
        (Field::VlanTci, 0x7064),
        (Field::VlanVid, 0x1064),
        (Field::VlanPcp, 3),
        (Field::VlanTpid, 0x88a8),
        (Field::InnerVlanTci, 0),
        (Field::Ipv4Src, 0xc0a8_0001),
        (Field::Ipv4Dst, 0x0a00_0002),
        (Field::IpProto, 6),
        (Field::IpDscp, 0x2e),
        (Field::IpEcn, 1),
        (Field::IpTtl, 61),
        (Field::IpFrag, 0),
        (Field::TcpSrc, 1000),
        (Field::TcpDst, 80),
        (Field::TcpFlags, 2),
    ] {
        assert_eq!(key.field(field), value, "{field}");
    }
}

/// Sets the IP length of an untagged frame to the bytes that are there, as if the sender had
/// meant so little, and leaves other frames alone.
fn claim_what_is_there(frame: &mut [u8]) {
    if frame.len() >= 34 && frame[12..14] == [0x08, 0x00] {
        let total = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
    } else if frame.len() >= 54 && frame[12..14] == [0x86, 0xdd] {
        let payload = (frame.len() - 54) as u16;
        frame[18..20].copy_from_slice(&payload.to_be_bytes());
    }
}

#[test]
fn a_cut_at_any_byte_leaves_deeper_fields_zero() {
    for frame in frames() {
        let whole = check(&frame);
        for size in 0..frame.len() {
            // Cut on the way: the IP header promises more than there is.
            let cut = check(&frame[..size]);
            // Cut by the sender: the IP header is right, the header behind it is not whole.
            let mut short = frame[..size].to_vec();
            claim_what_is_there(&mut short);
            let meant = check(&short);
            for field in Field::all() {
                // The type field names the tag that was cut, and a cut takes the second of two
                // equal options away, which leaves a good message.
                let spoilt =
                    whole.field(Field::Icmp6Type) == 135 && whole.field(Field::NdTarget) == 0;
                let nd = matches!(field, Field::NdTarget | Field::NdSll | Field::ArpSha);
                if field == Field::EthType || spoilt && nd {
                    continue;
                }
                for key in [&cut, &meant] {
                    let value = key.field(field);
                    assert!(
                        value == 0 || value == whole.field(field),
                        "{field} is {value:#x} after {size} bytes of {frame:02x?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_frame_without_a_whole_ethernet_header_is_refused() {
    let frame = [0xff; 14];
    for size in 0..14 {
        assert_eq!(
            extract(&frame[..size], size, PORT),
            Err(DropReason::TooShort)
        );
    }
    assert!(extract(&frame, 14, PORT).is_ok());
}

#[test]
fn padding_does_not_change_the_key() {
    let frame = |size: usize| {
        let tcp = Builder::eth(A, B)
            .ipv4([1, 2, 3, 4], [5, 6, 7, 8])
            .tcp(1, 2, 0);
        check(&tcp.pad_to(size).build())
    };
    let whole = frame(0);
    assert_eq!(whole.field(Field::TcpDst), 2);
    // Open vSwitch once refused paddings over 255 bytes and forwarded by layer 2 only.
    for size in [60, 309, 310, 1500, 9000] {
        assert_eq!(frame(size), whole, "padded to {size} bytes");
    }
}

#[test]
fn padding_is_not_read_as_a_transport_header() {
    let mut frame = Builder::eth(A, B)
        .ipv4_with(ipv4_repr(0), &[])
        .payload(&[0, 1, 0, 2])
        .build();
    frame.extend([0xff; 40]);
    let key = check(&frame);
    assert_eq!(key.field(Field::IpProto), 17);
    assert_eq!(key.field(Field::UdpDst), 0);
}

#[test]
fn a_udp_length_of_zero_does_not_hide_the_ports() {
    let mut frame = Builder::eth(A, B)
        .ipv4([1, 2, 3, 4], [5, 6, 7, 8])
        .udp(9, 53)
        .payload(b"x")
        .build();
    frame[38..40].fill(0);
    assert_eq!(check(&frame).field(Field::UdpDst), 53);
}

#[test]
fn ip_protocol_zero_reads_like_any_unknown_protocol() {
    let mut repr = ipv4_repr(0);
    repr.protocol = Protocol(0);
    let frame = Builder::eth(A, B)
        .ipv4_with(repr, &[])
        .payload(&[9; 30])
        .build();
    let key = check(&frame);
    assert_eq!(key.field(Field::IpProto), 0);
    assert_eq!(key.field(Field::IpTtl), 61);
    assert_eq!(key.field(Field::TcpDst), 0);
}

#[test]
fn a_neighbour_option_given_twice_spoils_the_message_but_not_its_type() {
    let mut body = v6(9).octets().to_vec();
    body.extend([2, 1, 2, 0, 0, 0, 0, 1]);
    let advert = |body: &[u8]| {
        let six = Builder::eth(A, B).ipv6(v6(1), v6(2));
        check(&six.icmpv6(136, 0, 0).payload(body).build())
    };
    let once = advert(&body);
    assert_eq!(once.field(Field::NdTarget), v6(9).into());
    assert_eq!(once.field(Field::NdTll), 0x0200_0000_0001);
    assert_eq!(
        once.field(Field::NdSll),
        0,
        "an advertisement has no source option field"
    );
    body.extend([2, 1, 2, 0, 0, 0, 0, 2]);
    let twice = advert(&body);
    assert_eq!(twice.field(Field::Icmp6Type), 136);
    assert_eq!(twice.field(Field::NdTarget), 0);
    assert_eq!(twice.field(Field::NdTll), 0);
}

#[test]
fn a_neighbour_option_of_impossible_size_leaves_the_target() {
    for units in [0, 2, 255] {
        let mut body = v6(9).octets().to_vec();
        body.extend([1, units, 2, 0, 0, 0, 0, 1]);
        let six = Builder::eth(A, B).ipv6(v6(1), v6(2));
        let key = check(&six.icmpv6(135, 0, 0).payload(&body).build());
        assert_eq!(key.field(Field::NdTarget), v6(9).into(), "{units} units");
        assert_eq!(key.field(Field::NdSll), 0, "{units} units");
    }
}

#[test]
fn a_loop_of_tags_ends_at_the_second() {
    let mut frame = Builder::eth(A, B);
    for vid in 1..=300 {
        frame = frame.vlan(vid);
    }
    let frame = frame.ipv4([1, 2, 3, 4], [5, 6, 7, 8]).build();
    let key = check(&frame);
    assert_eq!(key.field(Field::VlanVid), 0x1001);
    assert_eq!(key.field(Field::InnerVlanTci), 0x1002);
    assert_eq!(key.field(Field::EthType), 0x8100);
    assert_eq!(key.field(Field::Ipv4Src), 0);
}

#[test]
fn a_chain_of_extensions_ends_at_the_bound() {
    let chain = |len: usize| {
        let mut frame = Builder::eth(A, B).ipv6_with(ipv6_repr());
        for _ in 0..len {
            frame = frame.extension(Protocol::DESTINATION, &[0, 0, 1, 4, 0, 0, 0, 0]);
        }
        check(&frame.udp(1, 2).build())
    };
    let longest = chain(ipv6::MAX_EXTENSIONS);
    assert_eq!(longest.field(Field::UdpDst), 2);
    let over = chain(ipv6::MAX_EXTENSIONS + 1);
    assert_eq!(over.field(Field::Ipv6Src), v6(1).into());
    for field in [
        Field::IpProto,
        Field::IpTtl,
        Field::Ipv6Label,
        Field::UdpDst,
    ] {
        assert_eq!(over.field(field), 0, "{field}");
    }
}

#[test]
fn the_head_of_a_super_frame_is_read_though_its_length_is_the_whole() {
    let frame = Builder::eth(A, B)
        .ipv4([1, 2, 3, 4], [5, 6, 7, 8])
        .tcp(1, 2, tcp::ACK)
        .payload(&[0; 60_000])
        .build();
    let whole = extract(&frame, frame.len(), PORT).unwrap();
    assert_eq!(extract(&frame[..54], frame.len(), PORT).unwrap(), whole);
    // Headers across head and tail count as cut off.
    let across = extract(&frame[..53], frame.len(), PORT).unwrap();
    assert_eq!(across.layout.l4, 0);
    assert_eq!(across.key.to_dense().field(Field::Ipv4Src), 0x0102_0304);
}

proptest! {
    #[test]
    fn any_bytes_read_as_the_oracle_reads_them(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&frame);
    }

    /// Valid frames with some bytes changed and the end cut off: almost right is where readers err.
    #[test]
    fn damaged_frames_read_as_the_oracle_reads_them(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        pad in 0..70_usize,
    ) {
        let frames = frames();
        let mut frame = which.get(&frames).clone();
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        frame.extend(std::iter::repeat_n(0xa5, pad));
        check(&frame);
    }
}
