//! The cache law: an answer depends on the bits in its mask and on no others, so that it may
//! answer every packet that agrees under the mask; and an answer that a change of flows spares is
//! what any of its packets is answered afterwards.

use std::sync::Arc;

use proptest::prelude::*;
use vswitch_datapath::fdb::MacKey;
use vswitch_datapath::pipeline::{Answer, DpAction, Evictions, Tables, Translation, translate};
use vswitch_datapath::port::PortIndex;
use vswitch_datapath::tick::Tick;
use vswitch_dpapi::{
    BridgeId, BridgeSpec, Desired, Fragments, MirrorSpec, PortConfig, PortId, PortKind, PortSpec,
    VlanMode, VlanSpec,
};
use vswitch_flow::action::{
    Ct, CtZone, HashFields, Learn, LearnSource, LearnSpec, Multilink, Multipath, Nat, NatKind,
    NatPorts, NatRange,
};
use vswitch_flow::{
    Action, Field, FlowCommand, FlowKey, FlowMod, FlowRule, Instructions, Match, OfPort,
    PACKET_WORDS, SparseKey, SparseMask, Subfield, WORDS,
};

/// Fields that flows match and packets vary in, each with few values so that they meet.
const FIELDS: [(Field, &[u128]); 23] = [
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
    (
        Field::EthType,
        &[0x0800, 0x86dd, 0x0806, 0x8100, 0x8847, 0x88e7],
    ),
    (Field::VlanTci, &[0, 0x100a, 0x100c, 0xb00a, 0x1000]),
    (Field::InnerVlanTci, &[0, 0x1007]),
    (Field::IpProto, &[1, 6, 17, 58]),
    (Field::IpTos, &[0, 4, 0x2e]),
    (Field::IpFrag, &[0, 1, 3]),
    (Field::Ipv4Dst, &[0x0a00_0001, 0x0a00_0002]),
    (Field::TcpDst, &[80, 443, 53]),
    (Field::TcpSrc, &[1000, 135 << 8, 2]),
    (Field::TcpFlags, &[0x02, 0x10, 0x12]),
    (Field::MplsLabel, &[0, 5]),
    (Field::MplsBos, &[0, 1]),
    (Field::MplsLse1, &[0, 0x5102]),
    (Field::CtState, &[0, 0x21, 0x22, 0x2a, 0x30]),
    (Field::CtZone, &[0, 1, 2]),
    (Field::CtMark, &[0, 1]),
    (Field::CtProto, &[0, 6, 17]),
    (Field::CtTpDst, &[0, 80, 53]),
    (Field::Metadata, &[0, 1]),
    (Field::Reg0, &[0, 1, 2]),
];

fn key() -> impl Strategy<Value = FlowKey> {
    prop::collection::vec(any::<prop::sample::Index>(), FIELDS.len()).prop_map(|picks| {
        let mut key = FlowKey::default();
        for ((field, values), pick) in FIELDS.iter().zip(picks) {
            key.set(*field, values[pick.index(values.len())]);
        }
        // What only the pipeline writes is zero when a packet comes in.
        key.words[PACKET_WORDS..].fill(0);
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

fn simple() -> impl Strategy<Value = Action> {
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
        8 => of_the_pipeline(),
    ]
}

/// Bits of these fields go to and from registers and the stack.
const MOVED: [Field; 8] = [
    Field::EthSrc,
    Field::EthDst,
    Field::Ipv4Dst,
    Field::TcpDst,
    Field::VlanTci,
    Field::InPort,
    Field::Metadata,
    Field::Reg0,
];

fn part(field: Field) -> Subfield {
    Subfield {
        field,
        offset: 0,
        bits: 4,
    }
}

/// Actions that work on what only the pipeline knows, or lead elsewhere in it, or change headers so
/// that they have to be read again.
pub(super) fn of_the_pipeline() -> impl Strategy<Value = Action> {
    let moved = || prop::sample::select(MOVED.as_slice());
    let reg = || prop::sample::select([Field::Reg0, Field::Reg1].as_slice());
    prop_oneof![
        2 => (reg(), 0..3_u128).prop_map(|(field, value)| Action::Load { dst: part(field), value }),
        2 => (moved(), reg()).prop_map(|(src, dst)| Action::Move { src: part(src), dst: part(dst) }),
        1 => (reg(), moved()).prop_map(|(src, dst)| Action::Move { src: part(src), dst: part(dst) }),
        1 => moved().prop_map(|field| Action::StackPush(part(field))),
        1 => reg().prop_map(|field| Action::StackPop(part(field))),
        1 => reg().prop_map(|field| Action::OutputField { src: part(field), max_len: 0 }),
        4 => (prop::option::of(1..4_u32), prop::option::weighted(0.8, 0..3_u8), 0..4).prop_map(
            |(port, table, kind)| {
                Action::Resubmit { port: port.map(OfPort), table, ct_tuple: kind == 0 }
            }
        ),
        4 => track().prop_map(|ct| Action::Ct(Box::new(ct))),
        1 => Just(Action::CtClear),
        1 => Just(Action::Output(OfPort::CONTROLLER)),
        1 => (1..4_u32).prop_map(|port| Action::OutputTruncated { port: OfPort(port), max_len: 40 }),
        1 => Just(Action::Exit),
        1 => Just(Action::DecTtl(vec![0])),
        1 => Just(Action::SetVlanVid(10)),
        1 => Just(Action::SetVlanPcp(3)),
        1 => Just(Action::PushMpls(0x8847)),
        2 => Just(Action::PopMpls(0x0800)),
        1 => Just(Action::PopMpls(0x8847)),
        1 => Just(Action::DecMplsTtl),
        1 => Just(Action::CopyTtlIn),
        1 => Just(Action::CopyTtlOut),
        1 => Just(Action::PushPbb(0x88e7)),
        1 => Just(Action::PopPbb),
        1 => Just(Action::CheckPktLarger { len: 70, dst: Subfield { field: Field::Reg1, offset: 0, bits: 1 } }),
        1 => Just(Action::FinTimeout { idle: 1, hard: 2 }),
        1 => multipath(),
    ]
}

/// Tracking in one of a few zones, with what it writes into connections and packets.
fn track() -> impl Strategy<Value = Ct> {
    let zone = prop_oneof![
        3 => (0..2_u16).prop_map(CtZone::Number),
        1 => Just(CtZone::Field(part(Field::Reg0))),
        1 => Just(CtZone::Field(part(Field::CtZone))),
        1 => Just(CtZone::Field(part(Field::TcpDst))),
    ];
    let mark = prop_oneof![
        3 => Just(Action::SetField { field: Field::CtMark, value: 1, mask: 3 }),
        1 => Just(Action::Load { dst: part(Field::CtLabel), value: 5 }),
        1 => Just(Action::Move { src: part(Field::EthSrc), dst: part(Field::CtMark) }),
        1 => Just(Action::Move { src: part(Field::CtMark), dst: part(Field::CtLabel) }),
    ];
    let nat = prop::option::of(
        prop::option::of((any::<bool>(), any::<bool>())).prop_map(|kind| {
            let range = kind.map(|(source, ports)| NatRange {
                kind: if source {
                    NatKind::Source
                } else {
                    NatKind::Destination
                },
                addresses: Some(([10, 9, 9, 1].into(), [10, 9, 9, 2].into())),
                ports: ports.then_some((700, 710)),
            });
            Nat {
                range,
                persistent: false,
                ports: NatPorts::Default,
            }
        }),
    );
    (
        (prop::bool::weighted(0.7), prop::bool::weighted(0.2)),
        zone,
        // Most tables lead on, so that few packets come round again for ever.
        prop::option::weighted(0.7, prop::sample::select([1, 2, 2, 2].as_slice())),
        nat,
        prop::collection::vec(mark, 0..3),
    )
        .prop_map(|((commit, force), zone, table, nat, exec)| Ct {
            commit,
            force: commit && force,
            zone,
            table,
            helper: None,
            nat: nat.filter(|nat| commit || nat.range.is_none()),
            exec: if commit { exec } else { Vec::new() },
        })
}

fn multipath() -> impl Strategy<Value = Action> {
    let fields = prop_oneof![
        Just(HashFields::EthSrc),
        Just(HashFields::SymmetricL4),
        Just(HashFields::SymmetricL3L4Udp),
        Just(HashFields::NetworkDst),
    ];
    fields.prop_map(|fields| {
        Action::Multipath(Box::new(Multipath {
            fields,
            basis: 0,
            algorithm: Multilink::HashThreshold,
            max_link: 2,
            arg: 0,
            dst: part(Field::Reg0),
        }))
    })
}

/// What `learn` says of a packet.
fn learn() -> impl Strategy<Value = Action> {
    let field = prop::sample::select([Field::EthSrc, Field::VlanTci, Field::Ipv4Dst].as_slice());
    field.prop_map(|field| {
        let all = Subfield::whole(field);
        Action::Learn(Box::new(Learn {
            idle_timeout: 0,
            hard_timeout: 9,
            fin_idle_timeout: 0,
            fin_hard_timeout: 0,
            priority: 3,
            cookie: 1,
            table: 2,
            send_flow_rem: false,
            delete_learned: false,
            limit: 0,
            result: None,
            specs: vec![
                LearnSpec::Match {
                    src: LearnSource::Field(all),
                    dst: all,
                },
                LearnSpec::Output(Subfield::whole(Field::InPort)),
            ],
        }))
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => simple(),
        1 => prop::collection::vec(simple(), 0..4).prop_map(Action::Clone),
        1 => learn(),
    ]
}

/// Instructions of a flow in `table`, of three.
pub(super) fn instructions(
    action: impl Strategy<Value = Action> + Clone,
    write: impl Strategy<Value = Action>,
    table: u8,
) -> impl Strategy<Value = Instructions> {
    let metadata = prop::option::weighted(0.2, Just((1, 1)));
    let goto = prop::option::weighted(0.4, table + 1..4);
    (
        prop::collection::vec(action, 0..6),
        prop::collection::vec(write, 0..3),
        prop::bool::weighted(0.1),
        metadata,
        goto,
    )
        .prop_map(move |(apply, write, clear, metadata, goto)| Instructions {
            meter: None,
            apply: apply.into(),
            clear,
            write: write.into(),
            metadata,
            goto: goto.filter(|_| table < 2).map(|table| table.min(2)),
        })
}

/// Flows are in one of three tables, most in the first.
pub(super) fn table() -> impl Strategy<Value = u8> {
    prop::sample::select([0, 0, 1, 2].as_slice())
}

fn flow() -> impl Strategy<Value = FlowRule> {
    let action = action().boxed();
    table().prop_flat_map(move |table| {
        let instructions = instructions(action.clone(), simple(), table);
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
                fragments: Fragments::Normal,
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
                routers: Vec::new(),
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
    let lookups = |t: &Translation| {
        t.lookups
            .iter()
            .map(|l| (l.table, l.matched))
            .collect::<Vec<_>>()
    };
    prop_assert_eq!(lookups(a), lookups(b), "{}", what);
    prop_assert_eq!(
        format!("{:?}", a.effects),
        format!("{:?}", b.effects),
        "{}",
        what
    );
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
        // What is only tracked goes nowhere.
        let goes = answer.actions.iter().any(DpAction::is_way_out);
        prop_assert!(answer.drop.is_some() != goes);
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
    #[test]
    fn what_a_change_spares_stays_true(
        tables in tables(),
        key in key(),
        port in 1..5_u32,
        bridge in 0..2_u32,
        changes in prop::collection::vec((any::<bool>(), flow()), 1..4),
        others in prop::collection::vec(key(), 8),
    ) {
        let port = PortIndex(port);
        let answer = translate(&tables, &key, port, None);
        let mut evictions = Evictions::default();
        let mut draft = tables
            .draft(BridgeId(bridge), &mut evictions, Tick(0))
            .expect("the bridge is there");
        for (add, flow) in changes {
            let change = match add {
                true => FlowMod::new(FlowCommand::Add, flow),
                false => FlowMod::delete(Some(flow.table), flow.matches),
            };
            // What cannot be changed is not.
            let _ = draft.apply(change.into());
        }
        let (after, _) = tables.with(draft);
        let spared = after.recent().spares(tables.epoch, &Answer {
            key: &SparseKey::from(&key),
            mask: &SparseMask::from(&answer.mask),
            lookups: &answer.lookups,
            renews: &[],
            seen: &answer.seen,
        });
        if spared {
            for with in others.iter().chain([&key]) {
                let mut words = [0; WORDS];
                for (at, word) in words.iter_mut().enumerate().take(PACKET_WORDS) {
                    let mask = answer.mask.words[at];
                    *word = key.words[at] & mask | with.words[at] & !mask;
                }
                let again = translate(&after, &FlowKey { words }, port, None);
                prop_assert_eq!(&answer.actions, &again.actions);
                prop_assert_eq!(answer.drop, again.drop);
                prop_assert_eq!(&answer.learn, &again.learn);
                let rules = |t: &Translation| t.rules.iter().map(Arc::as_ptr).collect::<Vec<_>>();
                prop_assert_eq!(rules(&answer), rules(&again));
            }
        }
    }
}
