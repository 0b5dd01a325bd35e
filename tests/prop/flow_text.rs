//! What is printed can be typed in again: matches, actions, flows and the keys of packets.

use proptest::prelude::*;
use vswitch_datapath::extract::extract;
use vswitch_flow::text::{Actions, no_names, parse_actions, parse_flow, parse_match};
use vswitch_flow::{Action, Field, FlowFlags, FlowKey, FlowRule, Match, OfPort};
use vswitch_packet::EtherType;
use vswitch_packet::build::Builder;

/// Kinds of packets: Ethernet type, protocol, ICMPv6 type.
const SHAPES: &[(Option<u128>, Option<u128>, Option<u128>)] = &[
    (None, None, None),
    (Some(0x88cc), None, None),
    (Some(0x0806), None, None),
    (Some(0x8035), None, None),
    (Some(0x8847), None, None),
    (Some(0x0800), None, None),
    (Some(0x0800), Some(1), None),
    (Some(0x0800), Some(2), None),
    (Some(0x0800), Some(6), None),
    (Some(0x0800), Some(17), None),
    (Some(0x0800), Some(47), None),
    (Some(0x0800), Some(132), None),
    (Some(0x86dd), None, None),
    (Some(0x86dd), Some(6), None),
    (Some(0x86dd), Some(17), None),
    (Some(0x86dd), Some(132), None),
    (Some(0x86dd), Some(58), None),
    (Some(0x86dd), Some(58), Some(135)),
    (Some(0x86dd), Some(58), Some(136)),
];

/// Fields whose bits another field of the table has as well.
const PARTS: [Field; 3] = [Field::VlanVid, Field::VlanPcp, Field::IpTos];

/// A mask that the field may have: all bits, none, a prefix or any.
fn mask(field: Field) -> impl Strategy<Value = u128> {
    let row = field.info();
    let (max, bits) = (row.max(), u32::from(row.bits));
    let any = any::<u128>().prop_map(move |mask| mask & max);
    let prefix = (0..bits).prop_map(move |rest| max & u128::MAX << rest);
    if row.maskable {
        prop_oneof![2 => Just(max), 1 => prefix, 1 => any].boxed()
    } else {
        Just(max).boxed()
    }
}

/// For every field whether it is in the match, its value and its mask.
fn picks() -> impl Strategy<Value = Vec<(bool, u128, u128)>> {
    Field::all()
        .map(|field| (prop::bool::weighted(0.3), any::<u128>(), mask(field)))
        .collect::<Vec<_>>()
}

prop_compose! {
    fn matches()(
        shape in prop::sample::select(SHAPES),
        tagged in any::<bool>(),
        picks in picks(),
    ) -> Match {
        let mut found = Match::any();
        if tagged {
            found = found.with_masked(Field::VlanTci, 0x1000, 0x1000);
        }
        let (ethertype, protocol, icmp) = shape;
        let fixed = [
            (Field::EthType, ethertype),
            (Field::IpProto, protocol),
            (Field::Icmp6Type, icmp),
        ];
        for (field, value) in fixed {
            if let Some(value) = value {
                found = found.with(field, value);
            }
        }
        for (field, (picked, value, mask)) in Field::all().zip(picks) {
            let fixed = fixed.iter().any(|(other, value)| *other == field && value.is_some());
            let holds = field.info().prerequisite.holds(&found.key());
            if !picked || fixed || !holds || PARTS.contains(&field) {
                continue;
            }
            let (value, mask) = match field {
                Field::VlanTci if tagged => (value | 0x1000, mask | 0x1000),
                // An Ethernet type that is in no shape, so that no other field depends on it.
                Field::EthType => (value & 0xff | 0x9900, mask),
                Field::IpProto => (value & 0x1f | 0xa0, mask),
                _ => (value, mask),
            };
            found = found.with_masked(field, value, mask);
        }
        found
    }
}

fn port() -> impl Strategy<Value = OfPort> {
    let reserved = vec![
        OfPort::IN_PORT,
        OfPort::TABLE,
        OfPort::NORMAL,
        OfPort::FLOOD,
        OfPort::ALL,
        OfPort::CONTROLLER,
        OfPort::LOCAL,
    ];
    prop_oneof![
        (1..=OfPort::MAX.0).prop_map(OfPort),
        prop::sample::select(reserved)
    ]
}

/// An action; with `anywhere`, one that no packet can lack the field for.
fn action(anywhere: bool) -> impl Strategy<Value = Action> {
    let writable: Vec<_> = Field::all()
        .filter(|field| {
            let row = field.info();
            let none = row.prerequisite == vswitch_flow::field::Prerequisite::None;
            row.writable && *field != Field::IpTos && (none || !anywhere)
        })
        .collect();
    let set = prop::sample::select(writable)
        .prop_flat_map(|field| (Just(field), any::<u128>(), mask(field)))
        .prop_map(|(field, value, mask)| Action::SetField {
            field,
            value: value & mask,
            mask,
        });
    prop_oneof![
        2 => port().prop_map(Action::Output),
        2 => set,
        1 => prop::sample::select(vec![0x8100, 0x88a8]).prop_map(Action::PushVlan),
        1 => Just(Action::PopVlan),
    ]
}

fn actions(anywhere: bool) -> impl Strategy<Value = Vec<Action>> {
    prop::collection::vec(action(anywhere), 0..6)
}

prop_compose! {
    fn flows()(
        matches in matches(),
        actions in actions(true),
        table in 0..=254_u8,
        priority in any::<u16>(),
        cookie in any::<u64>(),
        timeouts in any::<[u16; 3]>(),
        flags in any::<u16>(),
    ) -> FlowRule {
        FlowRule {
            table,
            priority,
            cookie,
            matches,
            instructions: actions.into(),
            idle_timeout: timeouts[0],
            hard_timeout: timeouts[1],
            importance: timeouts[2],
            flags: FlowFlags(flags & 7),
        }
    }
}

prop_compose! {
    /// A packet with random values in all its headers.
    fn packets()(
        kind in 0..8_u8,
        macs in any::<[[u8; 6]; 2]>(),
        tags in prop::collection::vec((any::<bool>(), any::<u16>()), 0..3),
        quads in any::<[[u8; 4]; 2]>(),
        halves in any::<[u128; 2]>(),
        ports in any::<(u16, u16)>(),
        flags in any::<u16>(),
        option in any::<[u8; 6]>(),
    ) -> Vec<u8> {
        let mut frame = Builder::eth(macs[0], macs[1]);
        for (service, tci) in tags {
            let tpid = if service { EtherType::QINQ } else { EtherType::VLAN };
            frame = frame.tag(tpid, tci);
        }
        let (a, b) = (halves[0].into(), halves[1].into());
        let [high, low] = flags.to_be_bytes();
        match kind {
            0 => frame.ipv4(quads[0], quads[1]).tcp(ports.0, ports.1, flags),
            1 => frame.ipv4(quads[0], quads[1]).udp(ports.0, ports.1),
            2 => frame.ipv4(quads[0], quads[1]).icmp(high, low, 0),
            3 => frame.arp_request(quads[0], quads[1]),
            4 => frame.ipv6(a, b).tcp(ports.0, ports.1, flags),
            5 => frame.ipv6(a, b).sctp(ports.0, ports.1),
            6 => frame.ipv6(a, b).neighbour(135 + high % 2, b, option),
            _ => frame.ethertype(flags).payload(&[0; 8]),
        }
        .build()
    }
}

proptest! {
    #[test]
    fn matches_round_trip(found in matches()) {
        let text = found.to_string();
        let read = parse_match(&text, &no_names);
        prop_assert_eq!(read, Ok(found), "{}", text);
    }

    #[test]
    fn actions_round_trip(list in actions(false)) {
        let text = Actions(&list).to_string();
        prop_assert_eq!(parse_actions(&text, &no_names), Ok(list), "{}", text);
    }

    #[test]
    fn flows_round_trip(flow in flows()) {
        let text = flow.to_string();
        prop_assert_eq!(parse_flow(&text, &no_names), Ok(flow), "{}", text);
    }

    /// Everything that a packet's key holds can be said: key → text → key.
    #[test]
    fn keys_of_packets_round_trip(packet in packets(), number in 1..=OfPort::MAX.0) {
        let key = extract(&packet, packet.len(), OfPort(number)).expect("a whole frame").key;
        let key: FlowKey = key.to_dense();
        let mut exact = Match::any();
        for field in Field::all().filter(|field| !PARTS.contains(field)) {
            if field.info().prerequisite.holds(&key) {
                exact = exact.with(field, key.field(field));
            }
        }
        let text = exact.to_string();
        let read = parse_match(&text, &no_names);
        prop_assert_eq!(read, Ok(exact.clone()), "{}", text);
        prop_assert_eq!(exact.key(), key, "{}", text);
    }

    /// Text made of words that mean something is where parsers err.
    #[test]
    fn any_text_is_read_or_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "tcp", "arp", "ip", "nw_src", "tcp_flags", "dl_vlan", "actions", "set_field", "=",
                ":", ",", "/", "->", "+", "-", "|", "[", "]", "0x", "ff", "10", ".", "::", " ",
                "syn", "output", "é", "mod_vlan_vid", "ip_frag", "later", "icmp_type", "LOCAL",
            ]),
            0..30,
        ),
    ) {
        let text = words.concat();
        if let Err(error) = parse_flow(&text, &no_names) {
            prop_assert!(error.at <= text.len(), "{}", error);
        }
        parse_match(&text, &no_names).ok();
        parse_actions(&text, &no_names).ok();
    }
}
