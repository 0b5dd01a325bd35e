//! What is printed can be typed in again: matches, actions, flows, groups, meters and the keys of
//! packets.

use proptest::prelude::*;
use vswitch_datapath::extract::extract;
use vswitch_flow::check::{check_flow_mod, check_group_mod, check_meter_mod};
use vswitch_flow::text::{
    Actions, GroupCommand, MeterCommand, Names, no_names, parse_actions, parse_flow,
    parse_flow_mod, parse_group_mod, parse_match, parse_meter_mod,
};
use vswitch_flow::{Field, FlowCommand, FlowKey, FlowMod, GroupMod, Match, MeterMod, OfPort};
use vswitch_packet::EtherType;
use vswitch_packet::build::Builder;

use crate::flow_values::{PARTS, actions, conjunctions, flows, groups, matches, meters, picky};

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
    fn actions_round_trip(
        list in prop_oneof![
            2 => actions(),
            2 => prop::collection::vec(picky(), 0..4),
            1 => conjunctions(),
        ],
    ) {
        let text = Actions(&list).to_string();
        prop_assert_eq!(parse_actions(&text, &no_names), Ok(list), "{}", text);
    }

    #[test]
    fn flows_round_trip(flow in flows()) {
        let text = flow.to_string();
        let read = parse_flow(&text, &no_names);
        prop_assert_eq!(read.as_ref(), Ok(&flow), "{}", text);
        let change = FlowMod::new(FlowCommand::Add, flow);
        let read = parse_flow_mod(&format!("add {text}"), FlowCommand::Delete, &Names::default());
        prop_assert_eq!(read.as_ref(), Ok(&change), "{}", text);
        prop_assert_eq!(check_flow_mod(&change, true), Ok(()), "{}", text);
    }

    #[test]
    fn groups_round_trip(group in groups()) {
        let text = group.to_string();
        let change = GroupMod::Add(group);
        prop_assert_eq!(check_group_mod(&change), Ok(()), "{}", text);
        let read = parse_group_mod(&text, GroupCommand::Add, &Names::default());
        prop_assert_eq!(read, Ok(change), "{}", text);
    }

    #[test]
    fn meters_round_trip(meter in meters()) {
        let text = meter.to_string();
        let change = MeterMod::Modify(meter);
        prop_assert_eq!(check_meter_mod(&change), Ok(()), "{}", text);
        prop_assert_eq!(parse_meter_mod(&text, MeterCommand::Modify), Ok(change), "{}", text);
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
                "(", ")", "ct", "learn", "clone", "nat", "exec", "src", "bucket", "group_id",
                "type", "select", "meter", "bands", "reg0", "NXM_NX_REG1", "..", "\"", "note",
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
        parse_flow_mod(&text, FlowCommand::DeleteStrict, &Names::default()).ok();
        parse_group_mod(&text, GroupCommand::Add, &Names::default()).ok();
        parse_meter_mod(&text, MeterCommand::Add).ok();
    }
}
