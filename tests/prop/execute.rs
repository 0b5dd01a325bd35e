//! What is done to packets is what was decided about their keys: after the actions, the packet
//! reads as the key that a plain interpreter of the flow's actions gets, and its checksums hold.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use vswitch_datapath::action::{FragmentCounts, Sink, Straight, Tools, execute, is_straight};
use vswitch_datapath::buffer::{FramePool, HEADROOM, Packet, SharedFrames};
use vswitch_datapath::conntrack::Conntrack;
use vswitch_datapath::counters::{DropReason, Drops};
use vswitch_datapath::extract::extract;
use vswitch_datapath::offload::{Checksum, Offload};
use vswitch_datapath::pipeline::{Moment, Tables, translate};
use vswitch_datapath::port::PortIndex;
use vswitch_datapath::tick::Tick;
use vswitch_dpapi::{
    BridgeId, BridgeSpec, Desired, Fragments, PortConfig, PortId, PortKind, PortSpec, VlanSpec,
};
use vswitch_flow::{Action, Field, FlowKey, FlowRule, OfPort, Subfield};
use vswitch_packet::build::Builder;
use vswitch_packet::checksum::Sum;
use vswitch_packet::icmpv6::{NEIGHBOUR_ADVERT, NEIGHBOUR_SOLICIT};
use vswitch_packet::{EtherType, ipv6, tcp};

/// One memory for all cases: a region is never unmapped.
static FRAMES: LazyLock<Arc<SharedFrames>> =
    LazyLock::new(|| SharedFrames::new(512, 1).expect("memory"));

const IN_PORT: OfPort = OfPort(1);

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop::collection::vec((any::<bool>(), any::<u16>()), 0..3);
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    (
        tags,
        0..3,
        0..6,
        any::<[u8; 8]>(),
        any::<[u8; 32]>(),
        payload,
        any::<bool>(),
    )
        .prop_map(|(tags, network, transport, v4, v6, payload, extension)| {
            let mut frame = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
            for (service, tci) in tags {
                let tpid = if service {
                    EtherType::QINQ
                } else {
                    EtherType::VLAN
                };
                frame = frame.tag(tpid, tci & 0xefff);
            }
            let [a, b, c, d, e, f, g, h] = v4;
            let half = |at: usize| {
                let bytes: [u8; 16] = v6[at..at + 16].try_into().expect("16 bytes");
                std::net::Ipv6Addr::from(bytes)
            };
            frame = match network {
                0 => {
                    return frame
                        .arp_request([a, b, c, d], [e, f, g, h])
                        .pad_to(60)
                        .build();
                }
                1 => frame.ipv4([a, b, c, d], [e, f, g, h]),
                _ => frame.ipv6(half(0), half(16)),
            };
            if network == 2 && extension {
                frame = frame.extension(
                    vswitch_packet::Protocol::DESTINATION,
                    &[0, 0, 1, 4, 0, 0, 0, 0],
                );
            }
            frame = match (transport, network) {
                (0, _) => frame.tcp(1000, 80, tcp::ACK),
                (1, _) => frame.udp(2000, 53),
                (2, 1) => frame.icmp(8, 0, 7),
                (2, _) => frame.icmpv6(128, 0, 7),
                (3, 2) => {
                    let frame = frame.neighbour(NEIGHBOUR_SOLICIT, half(16), [6; 6]);
                    return frame.build();
                }
                (4, 2) => {
                    let frame = frame.neighbour(NEIGHBOUR_ADVERT, half(0), [6; 6]);
                    return frame.build();
                }
                _ => frame.udp(4000, 4000),
            };
            frame.payload(&payload).pad_to(60).build()
        })
}

/// The fields whose writing a key shows. ICMP types stay: another type is another message.
const WRITABLE: [Field; 28] = [
    Field::EthDst,
    Field::EthSrc,
    Field::VlanVid,
    Field::VlanPcp,
    Field::VlanTci,
    Field::ArpOp,
    Field::ArpSpa,
    Field::ArpTpa,
    Field::ArpSha,
    Field::ArpTha,
    Field::Ipv4Src,
    Field::Ipv4Dst,
    Field::IpTos,
    Field::IpDscp,
    Field::IpEcn,
    Field::IpTtl,
    Field::Ipv6Src,
    Field::Ipv6Dst,
    Field::Ipv6Label,
    Field::TcpSrc,
    Field::TcpDst,
    Field::UdpSrc,
    Field::UdpDst,
    Field::IcmpCode,
    Field::Icmp6Code,
    Field::NdTarget,
    Field::NdSll,
    Field::NdTll,
];

fn action() -> impl Strategy<Value = Action> {
    let set = (
        prop::sample::select(&WRITABLE[..]),
        any::<u128>(),
        any::<u128>(),
        any::<bool>(),
    );
    prop_oneof![
        12 => set.prop_map(|(field, value, mask, whole)| {
            let max = field.info().max();
            let mask = if whole { max } else { mask & max };
            Action::SetField { field, value: value & mask, mask }
        }),
        3 => (part(), any::<u128>()).prop_map(|(dst, value)| {
            let value = value & (dst.mask() >> dst.offset);
            Action::Load { dst, value }
        }),
        3 => (part(), part()).prop_map(|(mut src, mut dst)| {
            src.bits = src.bits.min(dst.bits);
            dst.bits = src.bits;
            Action::Move { src, dst }
        }),
        1 => prop_oneof![Just(0x8100), Just(0x88a8)].prop_map(Action::PushVlan),
        1 => Just(Action::PopVlan),
        1 => Just(Action::DecTtl(vec![])),
        2 => Just(Action::Output(OfPort(2))),
    ]
}

/// Some bits of a field.
fn part() -> impl Strategy<Value = Subfield> {
    let bits = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    (prop::sample::select(&WRITABLE[..]), bits).prop_map(|(field, (offset, bits))| {
        let width = usize::from(field.info().bits);
        let offset = offset.index(width);
        let bits = 1 + bits.index(width - offset);
        Subfield {
            field,
            offset: offset as u8,
            bits: bits as u8,
        }
    })
}

/// The actions' meaning on a key, spelled out. `None` when the key would not show all of it.
fn apply(key: &mut FlowKey, action: &Action) -> Option<()> {
    let tags = |key: &FlowKey| {
        let outer = (key.field(Field::VlanTpid), key.field(Field::VlanTci));
        let inner = (
            key.field(Field::InnerVlanTpid),
            key.field(Field::InnerVlanTci),
        );
        (outer, inner)
    };
    let put = |key: &mut FlowKey, (outer, inner): ((u128, u128), (u128, u128))| {
        key.set(Field::VlanTpid, outer.0);
        key.set(Field::VlanTci, outer.1);
        key.set(Field::InnerVlanTpid, inner.0);
        key.set(Field::InnerVlanTci, inner.1);
    };
    match action {
        Action::Output(_) => {}
        Action::PopVlan => {
            let (_, inner) = tags(key);
            put(key, (inner, (0, 0)));
        }
        Action::PushVlan(tpid) => {
            let (outer, inner) = tags(key);
            if inner.1 != 0 {
                return None;
            }
            let tci = if outer.1 == 0 { 0x1000 } else { outer.1 };
            put(key, (((*tpid).into(), tci), outer));
        }
        Action::Load { dst, value } => {
            let set = Action::SetField {
                field: dst.field,
                value: value << dst.offset & dst.mask(),
                mask: dst.mask(),
            };
            return apply(key, &set);
        }
        Action::Move { src, dst } => {
            let value = match src.field.info().prerequisite.holds(key) {
                true => (key.field(src.field) & src.mask()) >> src.offset,
                false => 0,
            };
            return apply(key, &Action::Load { dst: *dst, value });
        }
        Action::DecTtl(_) => {
            if Field::IpTtl.info().prerequisite.holds(key) {
                let ttl = key.field(Field::IpTtl);
                // A used up one ends the list.
                key.set(Field::IpTtl, (ttl > 1).then(|| ttl - 1)?);
            }
        }
        // With a code, the message is not one of neighbour discovery any more.
        Action::SetField {
            field: Field::Icmp6Code,
            ..
        } if Field::NdTarget.info().prerequisite.holds(key) => {
            return None;
        }
        Action::SetField { field, value, mask } => {
            let (field, value) = (*field, *value);
            let mask = if field == Field::IpTos {
                mask & 0xfc
            } else {
                *mask
            };
            if field.info().prerequisite.holds(key) {
                key.set(field, key.field(field) & !mask | value & mask);
            }
            let (outer, inner) = tags(key);
            if outer.1 & 0x1000 == 0 {
                put(key, (inner, (0, 0)));
            } else if outer.0 == 0 {
                put(key, ((0x8100, outer.1), inner));
            }
        }
        _ => return None,
    }
    Some(())
}

/// One bridge with one flow.
fn tables(actions: Vec<Action>) -> Tables {
    let port = |id| PortSpec {
        id: PortId(id),
        bridge: BridgeId(0),
        name: format!("p{id}"),
        of_port: OfPort(id),
        kind: PortKind::Null,
        vlan: VlanSpec::default(),
        mtu: 1500,
        up: true,
        config: PortConfig::default(),
    };
    let desired = Desired {
        bridges: vec![BridgeSpec {
            id: BridgeId(0),
            name: "br0".to_owned(),
            mac_table_size: 10,
            mac_aging_time: 300,
            mirrors: vec![],
            flow_limits: vec![],
            miss_to_controller: false,
            fragments: Fragments::Normal,
        }],
        ports: vec![port(1), port(2)],
        routers: Vec::new(),
    };
    let flow = FlowRule {
        instructions: actions.into(),
        ..FlowRule::default()
    };
    Tables::build(&desired, None, 1, 7)
        .and_then(|tables| tables.set_flows(BridgeId(0), vec![flow], 2, Tick(0)))
        .expect("well formed")
}

/// Network and transport offsets, the end of the packet, the protocol, and the pseudo header.
fn shape(bytes: &[u8]) -> Option<(usize, usize, u8, Sum)> {
    let layout = extract(bytes, bytes.len(), IN_PORT)
        .expect("long enough")
        .layout;
    let (l3, l4) = (usize::from(layout.l3), usize::from(layout.l4));
    let ip = bytes.get(l3..)?;
    let word = |at: usize| usize::from(u16::from_be_bytes([ip[at], ip[at + 1]]));
    if l4 == 0 {
        return None;
    }
    let (end, protocol) = match ip[0] >> 4 {
        4 => (l3 + word(2), ip[9]),
        _ => {
            let next = vswitch_packet::Protocol(ip[6]);
            let found = ipv6::walk(next, &ip[40..]).expect("as built");
            (l3 + 40 + word(4), found.protocol.0)
        }
    };
    let size = (end - l4) as u32;
    let sum = if ip[0] >> 4 == 4 {
        let address = |at: usize| ip[at..at + 4].try_into().expect("four bytes");
        Sum::pseudo_v4(address(12), address(16), protocol, size)
    } else {
        let address = |at: usize| ip[at..at + 16].try_into().expect("16 bytes");
        Sum::pseudo_v6(address(8), address(24), protocol, size)
    };
    Some((
        l4,
        end,
        protocol,
        if protocol == 1 { Sum::new() } else { sum },
    ))
}

const fn sum_at(protocol: u8) -> usize {
    match protocol {
        6 => 16,
        17 => 6,
        _ => 2,
    }
}

fn assert_sums(bytes: &[u8], begun: bool) -> Result<(), TestCaseError> {
    let read = extract(bytes, bytes.len(), IN_PORT).expect("long enough");
    let ip = &bytes[usize::from(read.layout.l3)..];
    let is_ipv4 = read.key.to_dense().field(Field::EthType) == 0x0800;
    if is_ipv4 && ip[0] >> 4 == 4 && ip.len() >= 20 {
        let mut sum = Sum::new();
        sum.add(&ip[..20]);
        prop_assert!(sum.is_whole(), "the IPv4 header's sum");
    }
    if let Some((l4, end, protocol, pseudo)) = shape(bytes) {
        if begun {
            let at = l4 + sum_at(protocol);
            let field = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            // Both zeros of one's complement are the same sum.
            let same = field == pseudo.folded() || field ^ pseudo.folded() == 0xffff;
            prop_assert!(same, "{field:#x} is begun, not {:#x}", pseudo.folded());
        } else {
            let mut sum = pseudo;
            sum.add(&bytes[l4..end]);
            prop_assert!(sum.is_whole(), "the sum of protocol {protocol}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn packets_become_what_their_keys_become(
        mut bytes in frame(),
        mut actions in prop::collection::vec(action(), 0..8),
        begin in any::<bool>(),
    ) {
        actions.push(Action::Output(OfPort(2)));
        assert_sums(&bytes, false)?;
        let read = extract(&bytes, bytes.len(), IN_PORT).expect("long enough");
        let mut offload = Offload::default();
        let mut begun = false;
        if begin
            && let Some((l4, _, protocol, pseudo)) = shape(&bytes)
            && matches!(protocol, 6 | 17)
        {
            let at = sum_at(protocol);
            bytes[l4 + at..l4 + at + 2].copy_from_slice(&pseudo.folded().to_be_bytes());
            offload.csum = Checksum::Partial { start: l4 as u16, offset: at as u16 };
            begun = true;
        }

        let mut key = read.key.to_dense();
        let mut wanted = Vec::new();
        for action in &actions {
            if apply(&mut key, action).is_none() {
                return Ok(());
            }
            if matches!(action, Action::Output(_)) {
                wanted.push(key);
            }
        }

        let answer = translate(&tables(actions), &read.key.to_dense(), PortIndex(1), None);
        let mut pool = FramePool::new(Arc::clone(&FRAMES));
        let mut frame = pool.chunk().expect("free");
        frame.bytes_mut()[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(&bytes);
        let packet = Packet::new(frame, HEADROOM..HEADROOM + bytes.len(), PortIndex(1), offload);
        let second = pool.copy(&packet).expect("free");
        let (mut sink, mut drops) = (Sink::default(), Drops::default());
        let tools = Tools {
            pool: &mut pool,
            sink: &mut sink,
            drops: &mut drops,
            now: Moment(0),
            conntrack: &Conntrack::new(3),
            fragments: &mut FragmentCounts::default(),
        };
        execute(packet, &read, &answer.actions, DropReason::RuleDrop, tools);
        let out: Vec<_> = sink
            .outputs
            .into_iter()
            .map(|(_, packet)| {
                let done = (packet.to_vec(), packet.offload);
                pool.drop_packet(packet);
                done
            })
            .collect();
        if is_straight(&answer.actions) {
            // The short way leads to the same.
            let straight = Straight::new(&answer.actions).expect("it ends with a way out");
            let mut sink = Sink::default();
            let layout = read.layout;
            let done = straight.change(second, layout, &mut pool, &mut sink, &mut drops);
            let done = done.expect("there is room");
            prop_assert_eq!(&out, &[(done.to_vec(), done.offload)]);
            pool.drop_packet(done);
        } else {
            pool.drop_packet(second);
        }
        prop_assert_eq!(out.len(), wanted.len());
        prop_assert_eq!(drops.total(), 0);
        for ((bytes, offload), wanted) in out.iter().zip(&wanted) {
            let read = extract(bytes, bytes.len(), IN_PORT).expect("long enough");
            prop_assert_eq!(&read.key.to_dense(), wanted);
            assert_sums(bytes, begun)?;
            if begun {
                let start = matches!(offload.csum, Checksum::Partial { start, .. }
                    if start == read.layout.l4);
                prop_assert!(start, "the sum begins elsewhere: {:?}", offload.csum);
            }
        }
    }
}
