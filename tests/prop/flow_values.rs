//! Values of the flow language, made by chance: matches, actions, flows, groups and meters.
//!
//! What is made is canonical and can be done, so that it reads back as itself.

use std::net::IpAddr;

use proptest::prelude::*;
use vswitch_flow::action::{
    Bundle, BundleAlgorithm, Ct, CtHelper, CtZone, HashFields, Learn, LearnSource, LearnSpec,
    Multilink, Multipath, Nat, NatKind, NatPorts, NatRange, Reason, Sample, ToController,
};
use vswitch_flow::field::Prerequisite;
use vswitch_flow::group::{GROUP_MAX, SelectionMethod};
use vswitch_flow::meter::{METER_MAX, MeterFlags};
use vswitch_flow::rule::{GROUP_ANY, TABLE_MAX};
use vswitch_flow::{
    Action, Band, BandKind, Bucket, Field, FlowFlags, FlowRule, Group, GroupKind, Instructions,
    Match, Meter, OfPort, Subfield,
};

/// Kinds of packets: Ethernet type, protocol, ICMPv6 type.
const SHAPES: &[(Option<u128>, Option<u128>, Option<u128>)] = &[
    (None, None, None),
    (Some(0x88cc), None, None),
    (Some(0x88e7), None, None),
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
pub(crate) const PARTS: [Field; 3] = [Field::VlanVid, Field::VlanPcp, Field::IpTos];

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
    pub(crate) fn matches()(
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
                Field::CtState => (value & 0xff, mask & 0xff),
                _ => (value, mask),
            };
            found = found.with_masked(field, value, mask);
        }
        found
    }
}

fn port() -> impl Strategy<Value = OfPort> {
    (1..=OfPort::MAX.0).prop_map(OfPort)
}

fn any_port() -> impl Strategy<Value = OfPort> {
    let reserved = vec![
        OfPort::IN_PORT,
        OfPort::TABLE,
        OfPort::NORMAL,
        OfPort::FLOOD,
        OfPort::ALL,
        OfPort::CONTROLLER,
        OfPort::LOCAL,
    ];
    prop_oneof![port(), prop::sample::select(reserved)]
}

/// Fields that any packet has; only those that can be written, or all.
fn fields(writable: bool) -> Vec<Field> {
    Field::all()
        .filter(|field| {
            let row = field.info();
            let ct = matches!(field, Field::CtMark | Field::CtLabel);
            row.prerequisite == Prerequisite::None
                && *field != Field::VlanVid
                && (!writable || row.writable && !ct)
        })
        .collect()
}

fn bits_of(fields: Vec<Field>, at_most: u8) -> impl Strategy<Value = Subfield> {
    (
        prop::sample::select(fields),
        any::<[u8; 2]>(),
        any::<bool>(),
    )
        .prop_map(move |(field, [offset, bits], whole)| {
            let width = field.info().bits;
            if whole && width <= at_most {
                return Subfield::whole(field);
            }
            let offset = offset % width;
            Subfield {
                field,
                offset,
                bits: 1 + bits % (width - offset).min(at_most),
            }
        })
}

fn source() -> impl Strategy<Value = Subfield> {
    bits_of(fields(false), 128)
}

fn target() -> impl Strategy<Value = Subfield> {
    bits_of(fields(true), 128)
}

fn bit() -> impl Strategy<Value = Subfield> {
    bits_of(fields(true), 1)
}

/// Bits that can be written, and a value for them.
fn valued(fields: Vec<Field>) -> impl Strategy<Value = (Subfield, u128)> {
    (bits_of(fields, 128), any::<u128>())
        .prop_map(|(dst, value)| (dst, value & (u128::MAX >> (128 - dst.bits))))
}

/// As many bits from one field to another.
fn copied() -> impl Strategy<Value = (Subfield, Subfield)> {
    (source(), target()).prop_map(|(src, dst)| {
        let bits = src.bits.min(dst.bits);
        (Subfield { bits, ..src }, Subfield { bits, ..dst })
    })
}

fn set(fields: Vec<Field>) -> impl Strategy<Value = Action> {
    prop::sample::select(fields)
        .prop_flat_map(|field| (Just(field), any::<u128>(), mask(field)))
        .prop_map(|(field, value, mask)| Action::SetField {
            field,
            value: value & mask,
            mask,
        })
}

prop_compose! {
    fn controller()(
        max_len in any::<u16>(),
        id in any::<u16>(),
        reason in prop::sample::select(vec![
            Reason::NoMatch, Reason::Action, Reason::InvalidTtl, Reason::ActionSet, Reason::Group,
            Reason::PacketOut,
        ]),
        userdata in prop::collection::vec(any::<u8>(), 0..9),
        pause in any::<bool>(),
        meter in prop::option::of(any::<u32>()),
        plain in any::<bool>(),
    ) -> Action {
        let to = ToController { max_len, id, reason, userdata, pause, meter };
        match plain {
            // The whole packet is an output.
            true => Action::Controller(Box::new(ToController::new(max_len.min(0xfffe)))),
            false if to.is_plain() => Action::Output(OfPort::CONTROLLER),
            false => Action::Controller(Box::new(to)),
        }
    }
}

fn spec() -> impl Strategy<Value = LearnSpec> {
    let fields_of_match = fields(false);
    prop_oneof![
        source().prop_map(LearnSpec::Output),
        copied().prop_map(|(src, dst)| LearnSpec::Load {
            src: LearnSource::Field(src),
            dst
        }),
        copied().prop_map(|(src, dst)| LearnSpec::Match {
            src: LearnSource::Field(src),
            dst
        }),
        valued(fields(true)).prop_map(|(dst, value)| LearnSpec::Load {
            src: LearnSource::Value(value),
            dst
        }),
        valued(fields_of_match).prop_map(|(dst, value)| {
            // Bits without a name cannot be matched whole.
            let value = match dst.field {
                Field::CtState => value & 0xff,
                Field::TunFlags => value & 1,
                _ => value,
            };
            LearnSpec::Match {
                src: LearnSource::Value(value),
                dst,
            }
        }),
    ]
}

prop_compose! {
    fn learn()(
        seconds in any::<[u16; 4]>(),
        priority in any::<u16>(),
        cookie in any::<u64>(),
        table in 0..=TABLE_MAX,
        flags in any::<[bool; 2]>(),
        limit in any::<u32>(),
        result in prop::option::of(bit()),
        specs in prop::collection::vec(spec(), 0..4),
    ) -> Action {
        Action::Learn(Box::new(Learn {
            idle_timeout: seconds[0],
            hard_timeout: seconds[1],
            fin_idle_timeout: seconds[2],
            fin_hard_timeout: seconds[3],
            priority,
            cookie,
            table,
            send_flow_rem: flags[0],
            delete_learned: flags[1],
            limit,
            result,
            specs,
        }))
    }
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    let ordered = |a: IpAddr, b: IpAddr| if a <= b { (a, b) } else { (b, a) };
    prop_oneof![
        any::<[[u8; 4]; 2]>().prop_map(move |[a, b]| ordered(a.into(), b.into())),
        any::<[[u16; 8]; 2]>().prop_map(move |[a, b]| ordered(a.into(), b.into())),
        any::<[u8; 4]>().prop_map(|a| (a.into(), a.into())),
    ]
}

prop_compose! {
    fn nat()(
        ranged in any::<bool>(),
        kind in prop::sample::select(vec![NatKind::Source, NatKind::Destination]),
        addresses in prop::option::of(addresses()),
        ports in prop::option::of((1..=u16::MAX, 1..=u16::MAX)),
        persistent in any::<bool>(),
        how in prop::sample::select(vec![NatPorts::Default, NatPorts::Hash, NatPorts::Random]),
    ) -> Nat {
        if !ranged {
            return Nat::default();
        }
        let ports = ports.filter(|_| addresses.is_some()).map(|(a, b)| (a.min(b), a.max(b)));
        let range = Some(NatRange { kind, addresses, ports });
        Nat { range, persistent, ports: how }
    }
}

fn exec() -> impl Strategy<Value = Action> {
    let fields = || vec![Field::CtMark, Field::CtLabel];
    prop_oneof![
        set(fields()),
        valued(fields()).prop_map(|(dst, value)| Action::Load { dst, value }),
        (source(), bits_of(fields(), 128)).prop_map(|(src, dst)| {
            let bits = src.bits.min(dst.bits);
            let (src, dst) = (Subfield { bits, ..src }, Subfield { bits, ..dst });
            Action::Move { src, dst }
        }),
    ]
}

prop_compose! {
    fn ct()(
        commit in any::<bool>(),
        force in any::<bool>(),
        zone in prop_oneof![
            any::<u16>().prop_map(CtZone::Number),
            bits_of(fields(false), 16).prop_map(CtZone::Field),
        ],
        table in prop::option::of(0..=TABLE_MAX),
        helper in prop::option::of(prop::sample::select(vec![CtHelper::Ftp, CtHelper::Tftp])),
        nat in prop::option::of(nat()),
        exec in prop::collection::vec(exec(), 0..3),
    ) -> Action {
        Action::Ct(Box::new(Ct {
            commit,
            force: force && commit,
            zone,
            table,
            helper,
            nat: nat.filter(|nat| commit || nat.range.is_none()),
            exec: if commit { exec } else { Vec::new() },
        }))
    }
}

fn hashes() -> impl Strategy<Value = HashFields> {
    prop::sample::select(vec![
        HashFields::EthSrc,
        HashFields::SymmetricL4,
        HashFields::SymmetricL3L4,
        HashFields::SymmetricL3L4Udp,
        HashFields::NetworkSrc,
        HashFields::NetworkDst,
        HashFields::SymmetricL3,
    ])
}

prop_compose! {
    fn multipath()(
        fields in hashes(),
        basis in any::<u16>(),
        algorithm in prop::sample::select(vec![
            Multilink::ModuloN, Multilink::HashThreshold, Multilink::Hrw, Multilink::IterHash,
        ]),
        links in any::<u16>(),
        arg in any::<u32>(),
        dst in target(),
    ) -> Action {
        let most = u16::try_from(u128::MAX >> (128 - dst.bits)).unwrap_or(u16::MAX);
        let max_link = links.min(most);
        Action::Multipath(Box::new(Multipath { fields, basis, algorithm, max_link, arg, dst }))
    }
}

prop_compose! {
    fn bundle()(
        fields in hashes(),
        basis in any::<u16>(),
        algorithm in prop::sample::select(vec![BundleAlgorithm::ActiveBackup, BundleAlgorithm::Hrw]),
        members in prop::collection::vec(prop_oneof![port(), Just(OfPort::LOCAL)], 0..4),
        dst in prop::option::of(target()),
    ) -> Action {
        Action::Bundle(Box::new(Bundle { fields, basis, algorithm, members, dst }))
    }
}

prop_compose! {
    fn sample()(
        probability in 1..=u16::MAX,
        numbers in any::<[u32; 3]>(),
        port in prop::option::of(port()),
    ) -> Action {
        let [collector_set, domain, point] = numbers;
        Action::Sample(Box::new(Sample { probability, collector_set, domain, point, port }))
    }
}

/// Actions that write fields and that any packet can bear.
fn rewriting() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => set(fields(true)),
        2 => valued(fields(true)).prop_map(|(dst, value)| Action::Load { dst, value }),
        2 => copied().prop_map(|(src, dst)| Action::Move { src, dst }),
        1 => source().prop_map(Action::StackPush),
        1 => target().prop_map(Action::StackPop),
    ]
}

/// Actions that are not in others and that any packet can bear.
fn simple() -> impl Strategy<Value = Action> {
    let outputs = prop_oneof![
        3 => any_port().prop_map(Action::Output),
        1 => (prop_oneof![port(), Just(OfPort::LOCAL)], 14..=u32::MAX)
            .prop_map(|(port, max_len)| Action::OutputTruncated { port, max_len }),
        1 => source().prop_map(|src| Action::OutputField { src, max_len: u16::MAX }),
        1 => controller(),
        1 => any::<u32>().prop_map(Action::SetQueue),
        1 => Just(Action::PopQueue),
        1 => (0..=GROUP_MAX).prop_map(Action::Group),
    ];
    let resubmits =
        (prop::option::of(port()), prop::option::of(0..=TABLE_MAX)).prop_map(|(port, table)| {
            Action::Resubmit {
                port,
                table: table.or(if port.is_none() { Some(0) } else { None }),
                ct_tuple: false,
            }
        });
    let others = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Action::Note),
        Just(Action::Exit),
        Just(Action::CtClear),
        (any::<u16>(), bit()).prop_map(|(len, dst)| Action::CheckPktLarger { len, dst }),
        multipath(),
        bundle(),
        sample(),
        learn(),
    ];
    prop_oneof![3 => outputs, 3 => rewriting(), 1 => resubmits, 3 => others]
}

/// Lists of actions that any packet can bear.
pub(crate) fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = simple().prop_recursive(2, 8, 3, |inner| {
        prop::collection::vec(inner, 0..3).prop_map(Action::Clone)
    });
    prop::collection::vec(action, 0..6)
}

/// Actions that need some packet, which a list alone does not say.
pub(crate) fn picky() -> impl Strategy<Value = Action> {
    let writable: Vec<_> = Field::all()
        .filter(|field| {
            let row = field.info();
            let ct = matches!(field, Field::CtMark | Field::CtLabel);
            row.writable && row.prerequisite != Prerequisite::None && !ct && *field != Field::IpTos
        })
        .collect();
    prop_oneof![
        3 => set(writable),
        1 => (0..=0xfff_u16).prop_map(Action::SetVlanVid),
        1 => (0..=7_u8).prop_map(Action::SetVlanPcp),
        1 => prop::sample::select(vec![0x8100, 0x88a8]).prop_map(Action::PushVlan),
        1 => Just(Action::PopVlan),
        1 => prop::sample::select(vec![0x8847, 0x8848]).prop_map(Action::PushMpls),
        1 => any::<u16>().prop_map(Action::PopMpls),
        1 => Just(Action::PushPbb(0x88e7)),
        1 => Just(Action::PopPbb),
        1 => prop::collection::vec(any::<u16>(), 0..3).prop_map(Action::DecTtl),
        1 => Just(Action::DecMplsTtl),
        1 => Just(Action::CopyTtlOut),
        1 => Just(Action::CopyTtlIn),
        1 => any::<[u16; 2]>().prop_map(|[idle, hard]| Action::FinTimeout { idle, hard }),
        1 => (port(), any::<u32>()).prop_map(|(port, queue)| Action::Enqueue { port, queue }),
        1 => (prop::option::of(port()), 0..=TABLE_MAX).prop_map(|(port, table)| Action::Resubmit {
            port,
            table: Some(table),
            ct_tuple: true,
        }),
        3 => ct(),
    ]
}

/// Conjunctions, which stand alone.
pub(crate) fn conjunctions() -> impl Strategy<Value = Vec<Action>> {
    let one = (any::<u32>(), 2..=64_u8, any::<u8>()).prop_map(|(id, clauses, clause)| {
        Action::Conjunction {
            id,
            clause: clause % clauses,
            clauses,
        }
    });
    prop::collection::vec(one, 1..4)
}

prop_compose! {
    fn instructions()(
        meter in prop::option::of(1..=METER_MAX),
        apply in prop_oneof![4 => actions(), 1 => conjunctions()],
        clear in any::<bool>(),
        write in prop::collection::vec(prop_oneof![
            any_port().prop_map(Action::Output),
            (0..=GROUP_MAX).prop_map(Action::Group),
            set(fields(true)),
            Just(Action::PopVlan),
            Just(Action::DecTtl(Vec::new())),
        ], 0..4),
        metadata in prop::option::of(any::<(u64, u64)>()),
        goto in any::<bool>(),
    ) -> Instructions {
        let goto = goto.then_some(TABLE_MAX);
        Instructions { meter, apply: apply.into(), clear, write: write.into(), metadata, goto }
    }
}

prop_compose! {
    pub(crate) fn flows()(
        matches in matches(),
        instructions in instructions(),
        table in 0..TABLE_MAX,
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
            instructions,
            idle_timeout: timeouts[0],
            hard_timeout: timeouts[1],
            importance: timeouts[2],
            flags: FlowFlags(flags & 0x1f),
        }
    }
}

prop_compose! {
    fn bucket(select: bool, watches: bool)(
        weight in any::<u16>(),
        watch_port in port(),
        watch_group in prop::option::of(0..=GROUP_MAX),
        actions in actions(),
    ) -> Bucket {
        Bucket {
            id: 0,
            weight: if select { weight } else { 0 },
            watch_port: if watches { watch_port } else { OfPort::ANY },
            watch_group: watch_group.filter(|_| watches).unwrap_or(GROUP_ANY),
            actions,
        }
    }
}

fn selection() -> impl Strategy<Value = SelectionMethod> {
    let field = prop::sample::select(
        fields(false)
            .into_iter()
            .filter(|f| {
                !matches!(
                    f,
                    Field::CtState | Field::TunFlags | Field::InPort | Field::ActsetOutput
                )
            })
            .collect::<Vec<_>>(),
    );
    let field = field.prop_flat_map(|field| (Just(field), mask(field)));
    let fields = prop::collection::vec(field, 0..4).prop_map(|mut fields| {
        fields.retain(|(_, mask)| *mask != 0);
        fields.sort_by_key(|(field, _)| *field);
        fields.dedup_by_key(|(field, _)| *field);
        fields
    });
    prop_oneof![
        Just(SelectionMethod::Default),
        any::<u64>().prop_map(|param| SelectionMethod::DpHash { param }),
        (fields, any::<u64>()).prop_map(|(fields, param)| SelectionMethod::Hash { fields, param }),
    ]
}

pub(crate) fn groups() -> impl Strategy<Value = Group> {
    let kinds = vec![
        (GroupKind::All, false, 0..4),
        (GroupKind::Select, true, 0..4),
        (GroupKind::Indirect, false, 1..2),
        (GroupKind::FastFailover, true, 0..4),
    ];
    let parts = prop::sample::select(kinds).prop_flat_map(|(kind, watches, size)| {
        let bucket = bucket(kind == GroupKind::Select, watches);
        (Just(kind), prop::collection::vec(bucket, size))
    });
    (0..=GROUP_MAX, parts, selection(), 0..3_u32).prop_map(
        |(id, (kind, mut buckets), selection, first)| {
            for (bucket, number) in buckets.iter_mut().zip(first..) {
                bucket.id = number;
            }
            let select = kind == GroupKind::Select;
            let selection = if select {
                selection
            } else {
                SelectionMethod::Default
            };
            Group {
                id,
                kind,
                selection,
                buckets,
            }
        },
    )
}

pub(crate) fn meters() -> impl Strategy<Value = Meter> {
    let kind = prop_oneof![
        Just(BandKind::Drop),
        (1..=u8::MAX).prop_map(|levels| BandKind::DscpRemark { levels }),
    ];
    let band = (kind, 1..=u32::MAX, 1..=u32::MAX);
    let bands = prop::collection::vec(band, 1..4);
    (1..=METER_MAX, any::<[bool; 3]>(), bands).prop_map(|(id, [kbps, burst, stats], bands)| {
        let unit = if kbps {
            MeterFlags::KBPS
        } else {
            MeterFlags::PKTPS
        };
        let burst_flag = if burst { MeterFlags::BURST.0 } else { 0 };
        let stats_flag = if stats { MeterFlags::STATS.0 } else { 0 };
        let bands = bands.into_iter().map(|(kind, rate, size)| Band {
            kind,
            rate,
            burst: if burst { size } else { 0 },
        });
        Meter {
            id,
            flags: MeterFlags(unit.0 | burst_flag | stats_flag),
            bands: bands.collect(),
        }
    })
}
