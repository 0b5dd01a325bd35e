//! The cache law: an answer depends on the bits in its mask and on no others, so that it may
//! answer every packet that agrees under the mask.

use std::sync::Arc;

use proptest::prelude::*;
use vswitch_datapath::fdb::MacKey;
use vswitch_datapath::pipeline::{Tables, Translation, translate};
use vswitch_datapath::port::PortIndex;
use vswitch_datapath::tick::Tick;
use vswitch_dpapi::{
    BridgeId, BridgeSpec, Desired, MirrorSpec, PortConfig, PortId, PortKind, PortSpec, VlanMode,
    VlanSpec,
};
use vswitch_flow::{Action, Field, FlowKey, FlowRule, Match, OfPort, PACKET_WORDS, WORDS};

/// Fields that flows match and packets vary in, each with few values so that they meet.
const FIELDS: [(Field, &[u128]); 14] = [
    (Field::InPort, &[1, 2, 3]),
    (
        Field::EthDst,
        &[
            0x0200_0000_0001,
            0x0200_0000_0002,
            0xffff_ffff_ffff,
            0x0180_c200_0003,
        ],
    ),
    (
        Field::EthSrc,
        &[0x0200_0000_0001, 0x0200_0000_0002, 0x0300_0000_0001],
    ),
    (Field::EthType, &[0x0800, 0x86dd, 0x0806, 0x8100]),
    (Field::VlanTci, &[0, 0x100a, 0x100c, 0xb00a, 0x1000]),
    (Field::InnerVlanTci, &[0, 0x1007]),
    (Field::IpProto, &[1, 6, 17, 58]),
    (Field::IpTos, &[0, 4, 0x2e]),
    (Field::IpFrag, &[0, 1, 3]),
    (Field::Ipv4Dst, &[0x0a00_0001, 0x0a00_0002]),
    (Field::TcpDst, &[80, 443, 53]),
    (Field::TcpSrc, &[1000, 135 << 8, 2]),
    (Field::TcpFlags, &[0x02, 0x10, 0x12]),
    (Field::Metadata, &[0, 1]),
];

fn key() -> impl Strategy<Value = FlowKey> {
    prop::collection::vec(any::<prop::sample::Index>(), FIELDS.len()).prop_map(|picks| {
        let mut key = FlowKey::default();
        for ((field, values), pick) in FIELDS.iter().zip(picks) {
            key.set(*field, values[pick.index(values.len())]);
        }
        if key.field(Field::VlanTci) == 0 {
            key.set(Field::InnerVlanTci, 0);
        } else {
            key.set(Field::VlanTpid, 0x8100);
        }
        key
    })
}

pub(super) fn matches() -> impl Strategy<Value = Match> {
    let part = (0..FIELDS.len(), any::<prop::sample::Index>(), any::<bool>());
    prop::collection::vec(part, 0..4).prop_map(|parts| {
        let mut matches = Match::any();
        for (at, pick, whole) in parts {
            let (field, values) = FIELDS[at];
            let value = values[pick.index(values.len())];
            let mask = if whole || !field.info().maskable {
                field.info().max()
            } else {
                field.info().max() & 0xf
            };
            matches = matches.with_masked(field, value & mask, mask);
        }
        matches
    })
}

fn action() -> impl Strategy<Value = Action> {
    let set = (0..FIELDS.len(), any::<prop::sample::Index>(), any::<bool>());
    prop_oneof![
        4 => (1..8_u32).prop_map(|port| Action::Output(OfPort(port))),
        3 => Just(Action::Output(OfPort::NORMAL)),
        1 => Just(Action::Output(OfPort::FLOOD)),
        1 => Just(Action::Output(OfPort::IN_PORT)),
        4 => set.prop_map(|(at, pick, whole)| {
            let (field, values) = FIELDS[at];
            let mask = if whole { field.info().max() } else { 0x3 };
            Action::SetField { field, value: values[pick.index(values.len())] & mask, mask }
        }),
        1 => Just(Action::PushVlan(0x88a8)),
        1 => Just(Action::PopVlan),
        1 => (0..3_u128).prop_map(|vid| Action::SetField {
            field: Field::VlanVid,
            value: if vid == 0 { 0 } else { 0x1009 + vid },
            mask: 0x1fff,
        }),
        1 => Just(Action::SetField { field: Field::VlanPcp, value: 5, mask: 7 }),
        1 => Just(Action::SetField { field: Field::UdpDst, value: 53, mask: 0xffff }),
        1 => Just(Action::SetField { field: Field::IpDscp, value: 9, mask: 0x3f }),
    ]
}

fn flow() -> impl Strategy<Value = FlowRule> {
    (matches(), 0..4_u16, prop::collection::vec(action(), 0..6)).prop_map(
        |(matches, priority, actions)| FlowRule {
            priority,
            matches,
            instructions: actions.into(),
            ..FlowRule::default()
        },
    )
}

pub(super) fn vlan() -> impl Strategy<Value = VlanSpec> {
    let mode = prop_oneof![
        Just(VlanMode::Trunk),
        Just(VlanMode::Access),
        Just(VlanMode::NativeTagged),
        Just(VlanMode::NativeUntagged),
    ];
    let trunks = prop_oneof![Just(vec![]), Just(vec![10]), Just(vec![0, 10, 12])];
    (mode, prop_oneof![Just(0), Just(10), Just(12)], trunks)
        .prop_map(|(mode, tag, trunks)| VlanSpec { mode, tag, trunks })
}

pub(super) fn mirror() -> impl Strategy<Value = MirrorSpec> {
    let output = prop_oneof![
        (1..5_u32).prop_map(|port| (Some(PortId(port)), None)),
        Just((None, Some(12))),
    ];
    (any::<bool>(), 1..5_u32, any::<bool>(), output).prop_map(
        |(select_all, port, by_vlan, (output_port, output_vlan))| MirrorSpec {
            name: "m".to_owned(),
            select_all,
            select_src: vec![PortId(port)],
            select_dst: vec![PortId(1)],
            select_vlan: if by_vlan { vec![0, 10] } else { vec![] },
            output_port,
            output_vlan,
        },
    )
}

/// Two bridges with four ports each; the fourth ones are joined by a patch.
fn tables() -> impl Strategy<Value = Tables> {
    let flows = || prop::collection::vec(flow(), 1..8);
    let learned = prop::collection::vec((0..2_u16, 1..3_u64, 1..9_u32), 0..4);
    (
        prop::collection::vec(vlan(), 8),
        prop::collection::vec(mirror(), 0..3),
        flows(),
        flows(),
        learned,
    )
        .prop_map(|(vlans, mirrors, first, second, learned)| {
            let bridge = |id, mirrors| BridgeSpec {
                id: BridgeId(id),
                name: format!("br{id}"),
                mac_table_size: 100,
                mac_aging_time: 300,
                mirrors,
                flow_limits: Vec::new(),
                miss_to_controller: false,
            };
            let ports = vlans.into_iter().zip(1..).map(|(vlan, id)| PortSpec {
                id: PortId(id),
                bridge: BridgeId((id - 1) / 4),
                name: format!("p{id}"),
                of_port: OfPort(id),
                kind: match id {
                    4 => PortKind::Patch {
                        peer: Some(PortId(8)),
                    },
                    8 => PortKind::Patch {
                        peer: Some(PortId(4)),
                    },
                    _ => PortKind::Null,
                },
                vlan,
                mtu: 1500,
                up: true,
                config: PortConfig::default(),
            });
            let desired = Desired {
                bridges: vec![bridge(0, mirrors), bridge(1, vec![])],
                ports: ports.collect(),
            };
            let mut tables = Tables::build(&desired, None, 1, 7).expect("well formed");
            for (bridge, flows) in [(0, first), (1, second)] {
                tables = tables
                    .set_flows(BridgeId(bridge), flows, 2, Tick(0))
                    .expect("the bridge is there");
            }
            for (vlan, mac, port) in learned {
                let key = MacKey::new(10 * vlan, 0x0200_0000_0000 | mac);
                let bridge = tables.bridge(BridgeId((port - 1) / 4)).expect("there");
                bridge.fdb.learn(key, PortIndex(port), Tick(0));
            }
            tables
        })
}

fn assert_same(a: &Translation, b: &Translation, what: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(&a.actions, &b.actions, "{}", what);
    prop_assert_eq!(a.drop, b.drop, "{}", what);
    prop_assert_eq!(a.mask, b.mask, "{}", what);
    prop_assert_eq!(&a.learn, &b.learn, "{}", what);
    prop_assert_eq!(a.cacheable, b.cacheable, "{}", what);
    let rules = |t: &Translation| t.rules.iter().map(Arc::as_ptr).collect::<Vec<_>>();
    prop_assert_eq!(rules(a), rules(b), "{}", what);
    Ok(())
}

proptest! {
    #[test]
    fn bits_outside_the_mask_do_not_matter(
        tables in tables(),
        key in key(),
        port in 1..5_u32,
        noise in prop::collection::vec(any::<u64>(), PACKET_WORDS),
        other in key(),
    ) {
        let port = PortIndex(port);
        let answer = translate(&tables, &key, port, None);
        prop_assert!(answer.drop.is_some() == answer.actions.is_empty());
        let agree = |with: &[u64]| {
            let mut words = [0; WORDS];
            for (at, word) in words.iter_mut().enumerate().take(PACKET_WORDS) {
                let mask = answer.mask.words[at];
                *word = key.words[at] & mask | with[at] & !mask;
            }
            FlowKey { words }
        };
        for bit in 0..PACKET_WORDS * 64 {
            let mut flipped = key.words;
            flipped[bit / 64] ^= 1 << (bit % 64);
            let flipped = agree(&flipped);
            if flipped != key {
                let again = translate(&tables, &flipped, port, None);
                assert_same(&answer, &again, &format!("bit {} of word {}", bit % 64, bit / 64))?;
            }
        }
        for (with, what) in [(&noise[..], "noise"), (&other.words[..], "another packet")] {
            assert_same(&answer, &translate(&tables, &agree(with), port, None), what)?;
        }
    }
}
