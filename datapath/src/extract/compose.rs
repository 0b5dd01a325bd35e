//! Flow key → frame: a packet that reads as a key says, for who has no packet at hand.
//!
//! Not for traffic: it allocates, and it is asked when a person wants to see what would happen.
//!
//! Law: of a key as [`extract`](super::extract) makes them, without IPv6 extension headers and with
//! any payload, the frame reads as that key again. What a key does not say is chosen: identifiers
//! and sequence numbers are zero, later fragments begin 800 bytes into their datagram, and the CRC of
//! SCTP is left out. Contradictions in a key are not looked for; the frame then shows its outer
//! headers.
//!
//! Spec: `flow_compose` in `lib/flow.c` of Open vSwitch.

use std::net::{Ipv4Addr, Ipv6Addr};

use vswitch_flow::{Field, FlowKey};
use vswitch_packet::build::Builder;
use vswitch_packet::icmpv6::{NEIGHBOUR_ADVERT, NEIGHBOUR_SOLICIT, OPTION_SOURCE, OPTION_TARGET};
use vswitch_packet::{EtherType, MacAddr, Protocol, arp, ipv4, ipv6, tcp, vlan};

use super::{FRAGMENT, LATER, PBB};

/// Where a later fragment begins, in units of 8 bytes.
const LATER_AT: u16 = 100;

/// A frame with the headers that `key` says and, where a header takes one, this payload.
#[must_use]
pub fn compose(key: &FlowKey, payload: &[u8]) -> Vec<u8> {
    let mut frame = Builder::eth(mac(key, Field::EthSrc).0, mac(key, Field::EthDst).0);
    for (tci, tpid) in [
        (Field::VlanTci, Field::VlanTpid),
        (Field::InnerVlanTci, Field::InnerVlanTpid),
    ] {
        let tci = key.field(tci) as u16;
        if tci & vlan::DEI == 0 {
            break;
        }
        let tpid = match key.field(tpid) as u16 {
            0 => EtherType::VLAN,
            tpid => EtherType(tpid),
        };
        frame = frame.tag(tpid, tci & !vlan::DEI);
    }
    let ethertype = EtherType(key.field(Field::EthType) as u16);
    let frame = frame.ethertype(ethertype.0);
    let frame = match ethertype {
        EtherType::IPV4 => ipv4(frame, key, payload),
        EtherType::IPV6 => ipv6(frame, key, payload),
        EtherType::ARP | EtherType::RARP => frame.payload(&arp_bytes(key)),
        PBB => frame.payload(&pbb_bytes(key)),
        kind if kind.is_mpls() => frame.payload(&mpls_bytes(key)),
        _ => frame,
    };
    frame.build()
}

fn mac(key: &FlowKey, field: Field) -> MacAddr {
    let [.., a, b, c, d, e, f] = key.field(field).to_be_bytes();
    MacAddr([a, b, c, d, e, f])
}

fn arp_bytes(key: &FlowKey) -> [u8; 28] {
    let mut bytes = [0; 28];
    arp::Repr {
        op: key.field(Field::ArpOp) as u16,
        sha: mac(key, Field::ArpSha),
        spa: Ipv4Addr::from(key.field(Field::ArpSpa) as u32),
        tha: mac(key, Field::ArpTha),
        tpa: Ipv4Addr::from(key.field(Field::ArpTpa) as u32),
    }
    .emit(&mut bytes);
    bytes
}

/// A service tag, and the header of a frame of zeros behind it.
fn pbb_bytes(key: &FlowKey) -> [u8; 18] {
    let mut bytes = [0; 18];
    let tag = (key.field(Field::PbbIsid) as u32).to_be_bytes();
    bytes[..tag.len()].copy_from_slice(&tag);
    bytes
}

/// The entries that the key shows, all three unless the bottom of the stack comes first.
fn mpls_bytes(key: &FlowKey) -> Vec<u8> {
    let number = |field| key.field(field) as u32;
    let first = number(Field::MplsLabel) << 12
        | number(Field::MplsTc) << 9
        | number(Field::MplsBos) << 8
        | number(Field::MplsTtl);
    let entries = [first, number(Field::MplsLse1), number(Field::MplsLse2)];
    let bottom = entries.iter().position(|entry| entry & 1 << 8 != 0);
    let shown = bottom.map_or(entries.len(), |at| at + 1);
    let shown = entries.iter().take(shown);
    shown.flat_map(|entry| entry.to_be_bytes()).collect()
}

fn ipv4(frame: Builder, key: &FlowKey, payload: &[u8]) -> Builder {
    let pieces = key.field(Field::IpFrag) as u64;
    let mut fragment = 0;
    if pieces & FRAGMENT != 0 {
        fragment |= ipv4::MORE_FRAGMENTS;
    }
    if pieces & LATER != 0 {
        fragment |= LATER_AT;
    }
    let frame = frame.ipv4_with(
        ipv4::Repr {
            src: Ipv4Addr::from(key.field(Field::Ipv4Src) as u32),
            dst: Ipv4Addr::from(key.field(Field::Ipv4Dst) as u32),
            protocol: Protocol(key.field(Field::IpProto) as u8),
            ttl: key.field(Field::IpTtl) as u8,
            tos: key.field(Field::IpTos) as u8,
            ident: 0,
            fragment,
            payload_size: 0,
        },
        &[],
    );
    match pieces & LATER {
        0 => transport(frame, key, payload),
        _ => frame.payload(payload),
    }
}

fn ipv6(frame: Builder, key: &FlowKey, payload: &[u8]) -> Builder {
    let pieces = key.field(Field::IpFrag) as u64;
    let protocol = Protocol(key.field(Field::IpProto) as u8);
    let mut frame = frame.ipv6_with(ipv6::Repr {
        src: Ipv6Addr::from(key.field(Field::Ipv6Src)),
        dst: Ipv6Addr::from(key.field(Field::Ipv6Dst)),
        next: protocol,
        hop_limit: key.field(Field::IpTtl) as u8,
        traffic_class: key.field(Field::IpTos) as u8,
        flow_label: key.field(Field::Ipv6Label) as u32,
        payload_size: 0,
    });
    if pieces & FRAGMENT != 0 {
        let offset = if pieces & LATER == 0 { 0 } else { LATER_AT };
        let [high, low] = (offset << 3 | 1).to_be_bytes();
        let header = [protocol.0, 0, high, low, 0, 0, 0, 0];
        frame = frame.extension(Protocol::FRAGMENT, &header);
    }
    match pieces & LATER {
        0 => transport(frame, key, payload),
        _ => frame.payload(payload),
    }
}

fn transport(frame: Builder, key: &FlowKey, payload: &[u8]) -> Builder {
    let number = |field| key.field(field) as u16;
    let frame = match Protocol(key.field(Field::IpProto) as u8) {
        Protocol::TCP => frame.tcp_with(
            tcp::Repr {
                src_port: number(Field::TcpSrc),
                dst_port: number(Field::TcpDst),
                seq: 0,
                ack: 0,
                flags: number(Field::TcpFlags),
                window: 0,
            },
            &[],
        ),
        Protocol::UDP => frame.udp(number(Field::UdpSrc), number(Field::UdpDst)),
        Protocol::SCTP => frame.sctp(number(Field::SctpSrc), number(Field::SctpDst)),
        Protocol::ICMP if is(key, EtherType::IPV4) => {
            let (kind, code) = (number(Field::IcmpType), number(Field::IcmpCode));
            frame.icmp(kind as u8, code as u8, 0)
        }
        Protocol::ICMPV6 if is(key, EtherType::IPV6) => return icmpv6(frame, key, payload),
        _ => frame,
    };
    frame.payload(payload)
}

fn icmpv6(frame: Builder, key: &FlowKey, payload: &[u8]) -> Builder {
    let number = |field| key.field(field) as u8;
    let (kind, code) = (number(Field::Icmp6Type), number(Field::Icmp6Code));
    let frame = frame.icmpv6(kind, code, 0);
    let (option, field) = match kind {
        NEIGHBOUR_SOLICIT => (OPTION_SOURCE, Field::NdSll),
        NEIGHBOUR_ADVERT => (OPTION_TARGET, Field::NdTll),
        _ => return frame.payload(payload),
    };
    let mut message = key.field(Field::NdTarget).to_be_bytes().to_vec();
    let mac = mac(key, field);
    if mac != MacAddr::default() {
        message.extend([option, 1]);
        message.extend(mac.0);
    }
    frame.payload(&message)
}

fn is(key: &FlowKey, ethertype: EtherType) -> bool {
    key.field(Field::EthType) as u16 == ethertype.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vswitch_flow::OfPort;
    use vswitch_flow::text::{no_names, parse_match};

    use super::*;
    use crate::extract::extract;

    fn read(frame: &[u8]) -> FlowKey {
        let read = extract(frame, frame.len(), OfPort(1)).expect("an Ethernet header");
        read.key.to_dense()
    }

    #[test]
    fn frames_read_as_the_flows_they_were_made_of() {
        let tags = "vlan_tci=0x100a,dl_type=";
        for flow in [
            "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_tos=32,nw_ttl=64,tp_src=8,tp_dst=9,tcp_flags=0x12",
            "udp,nw_frag=first,tp_src=53,tp_dst=1000",
            "udp,nw_frag=later",
            "icmp,icmp_type=8,icmp_code=1",
            "sctp6,ipv6_src=::1,ipv6_dst=::2,ipv6_label=0x12345,sctp_src=1,sctp_dst=2",
            "udp6,nw_frag=first,tp_src=7,tp_dst=9",
            "ipv6,nw_proto=44,nw_frag=later,nw_ttl=3",
            "icmp6,icmp_type=135,icmp_code=0,nd_target=fe80::1,nd_sll=02:00:00:00:00:01",
            "icmp6,icmp_type=136,icmp_code=0,nd_target=fe80::1",
            "arp,arp_op=2,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_sha=02:00:00:00:00:01,arp_tha=02:00:00:00:00:02",
            "rarp,arp_op=3",
            "mpls,mpls_label=100,mpls_tc=3,mpls_ttl=9,mpls_bos=1",
            "dl_type=0x8848,mpls_label=100,mpls_bos=0",
            &format!("{tags}0x0800,nw_proto=47"),
            &format!("{tags}0x88cc"),
        ] {
            let flow =
                format!("in_port=1,dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,{flow}");
            let matches = parse_match(&flow, &no_names).expect(&flow);
            let frame = compose(&matches.key(), &[1, 2, 3]);
            assert!(matches.matches(&read(&frame)), "{flow}: {frame:02x?}");
        }
    }

    /// Frames without extension headers.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let kinds = prop::sample::select(vec![
            0x0800_u16, 0x86dd, 0x0806, 0x8035, 0x8847, 0x8848, 0x88e7, 0x88cc,
        ]);
        let protocols = prop::sample::select(vec![1_u8, 6, 17, 47, 58, 132]);
        let fragments = prop::sample::select(vec![0_u16, 0x2000, 0x2064, 0x0064]);
        let tags = prop::collection::vec((any::<bool>(), any::<u16>()), 0..3);
        let rest = prop::collection::vec(any::<u8>(), 24..80);
        (kinds, protocols, fragments, tags, rest).prop_map(
            |(kind, protocol, fragment, tags, rest)| {
                let mut frame = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
                for (service, tci) in tags {
                    let tpid = if service {
                        EtherType::QINQ
                    } else {
                        EtherType::VLAN
                    };
                    frame = frame.tag(tpid, tci & !vlan::DEI);
                }
                let frame = frame.ethertype(kind);
                let mut rest = rest;
                // A transport header whose size says that it is there whole.
                rest[12] = 0x50;
                let frame = match EtherType(kind) {
                    EtherType::IPV4 => frame.ipv4_with(
                        ipv4::Repr {
                            src: Ipv4Addr::new(10, 0, 0, rest[0]),
                            dst: Ipv4Addr::new(10, 0, 1, rest[1]),
                            protocol: Protocol(protocol),
                            ttl: rest[2],
                            tos: rest[3],
                            ident: 7,
                            fragment,
                            payload_size: 0,
                        },
                        &[],
                    ),
                    EtherType::IPV6 => frame.ipv6_with(ipv6::Repr {
                        src: Ipv6Addr::from(u128::from(rest[0]) << 64),
                        dst: Ipv6Addr::from(u128::from(rest[1])),
                        next: Protocol(protocol),
                        hop_limit: rest[2],
                        traffic_class: rest[3],
                        flow_label: 0xf_00ff,
                        payload_size: 0,
                    }),
                    EtherType::ARP | EtherType::RARP => {
                        rest.splice(..6, [0, 1, 8, 0, 6, 4]);
                        frame
                    }
                    _ => frame,
                };
                frame.payload(&rest).build()
            },
        )
    }

    proptest! {
        #[test]
        fn a_key_reads_as_itself_again(frame in frame(), payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let key = read(&frame);
            let again = read(&compose(&key, &payload));
            prop_assert_eq!(again, key);
        }
    }
}
