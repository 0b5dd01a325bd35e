//! Strategies: matches, actions and instructions that OpenFlow can say, in the form in which they
//! are read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use vswitch_flow::action::{
    Bundle, BundleAlgorithm, Ct, CtHelper, CtZone, HashFields, Learn, LearnSource, LearnSpec,
    Multilink, Multipath, Nat, NatKind, NatPorts, NatRange, Reason, Sample, ToController,
};
use vswitch_flow::{Action, Field, FlowKey, FlowMask, Instructions, Match, OfPort, Subfield};

/// Fields that any packet has, besides its port and tag.
const ANY: &[Field] = &[
    Field::EthSrc,
    Field::EthDst,
    Field::TunId,
    Field::TunSrc,
    Field::TunDst,
    Field::TunIpv6Src,
    Field::TunIpv6Dst,
    Field::TunGbpId,
    Field::TunGbpFlags,
    Field::Metadata,
    Field::Reg0,
    Field::Reg7,
    Field::Reg15,
    Field::PktMark,
    Field::CtZone,
    Field::CtMark,
    Field::CtLabel,
    Field::RecircId,
    Field::DpHash,
    Field::ConjId,
];

const IP: &[Field] = &[Field::IpDscp, Field::IpEcn, Field::IpTtl];

/// Kinds of packets: their Ethernet type, their protocol, and the fields they have.
const KINDS: &[(u128, u128, &[&[Field]])] = &[
    (0x1234, 0, &[]),
    (
        0x0800,
        6,
        &[IP, V4, &[Field::TcpSrc, Field::TcpDst, Field::TcpFlags]],
    ),
    (0x0800, 17, &[IP, V4, &[Field::UdpSrc, Field::UdpDst]]),
    (0x0800, 132, &[IP, V4, &[Field::SctpSrc, Field::SctpDst]]),
    (0x0800, 1, &[IP, V4, &[Field::IcmpType, Field::IcmpCode]]),
    (0x86dd, 6, &[IP, V6, &[Field::TcpSrc, Field::TcpDst]]),
    (0x86dd, 58, &[IP, V6, &[Field::Icmp6Type, Field::Icmp6Code]]),
    (
        0x0806,
        0,
        &[&[Field::ArpSpa, Field::ArpTpa, Field::ArpSha, Field::ArpTha]],
    ),
    (
        0x8847,
        0,
        &[&[
            Field::MplsLabel,
            Field::MplsTc,
            Field::MplsBos,
            Field::MplsTtl,
        ]],
    ),
    (0x88e7, 0, &[&[Field::PbbIsid]]),
];

const V4: &[Field] = &[Field::Ipv4Src, Field::Ipv4Dst];
const V6: &[Field] = &[
    Field::Ipv6Src,
    Field::Ipv6Dst,
    Field::Ipv6Label,
    Field::Ipv6ExtHeaders,
];

/// A port that 16 bits can say.
pub(crate) fn port() -> impl Strategy<Value = OfPort> {
    prop_oneof![
        (0..=OfPort::MAX.0).prop_map(OfPort),
        select(vec![OfPort::IN_PORT, OfPort::NORMAL, OfPort::LOCAL]),
    ]
}

/// What a match says of a tag, in a form that OXM has.
fn tag() -> impl Strategy<Value = (u128, u128)> {
    prop_oneof![
        4 => Just((0, 0)),
        1 => Just((0, 0x1fff)),
        1 => Just((0x1000, 0x1000)),
        2 => (0..0x1000_u128).prop_map(|vid| (0x1000 | vid, 0x1fff)),
        2 => (0..0x1_0000_u128).prop_map(|tci| (0x1000 | tci, 0xffff)),
        1 => (0..0x1_0000_u128, 0..0x1_0000_u128).prop_map(|(tci, mask)| (tci & mask, mask))
            .prop_filter("said otherwise", |(tci, mask)| {
                !(*mask & 0x1000 != 0 && tci & 0xffff == 0 && mask & 0xe000 != 0)
            }),
    ]
}

/// A match that is said alike by its fields.
pub(crate) fn matches() -> impl Strategy<Value = Match> {
    let said = vec((any::<[u8; 16]>(), any::<[u8; 16]>(), 0..4_u8), 40);
    (select(KINDS), option::of(port()), tag(), said).prop_map(
        |((ethertype, protocol, fields), in_port, (tci, tci_mask), said)| {
            let (mut key, mut mask) = (FlowKey::default(), FlowMask::default());
            let mut say = |field: Field, value: u128, bits: u128| {
                key.set(field, value & bits);
                mask.set(field, bits);
            };
            if let Some(port) = in_port {
                say(Field::InPort, u128::from(port.0), 0xffff_ffff);
            }
            say(Field::VlanTci, tci, tci_mask);
            say(Field::EthType, ethertype, 0xffff);
            if protocol != 0 {
                say(Field::IpProto, protocol, 0xff);
            }
            let fields = fields.iter().copied().flatten().chain(ANY);
            for (field, (value, bits, how)) in fields.zip(said) {
                let row = field.info();
                let (value, bits) = (u128::from_be_bytes(value), u128::from_be_bytes(bits));
                match how {
                    0 | 1 => {}
                    2 if row.maskable => say(*field, value, bits & row.max()),
                    _ => say(*field, value & row.max(), row.max()),
                }
            }
            Match::new(&key, &mask)
        },
    )
}

/// Bits of registers, metadata and addresses: all of them may be written.
pub(crate) fn subfield() -> impl Strategy<Value = Subfield> {
    let fields = vec![
        Field::Reg0,
        Field::Reg15,
        Field::Xxreg1,
        Field::Metadata,
        Field::EthSrc,
        Field::Ipv6Dst,
        Field::TunId,
        Field::VlanTci,
    ];
    (select(fields), any::<u8>(), any::<u8>()).prop_map(|(field, offset, bits)| {
        let width = field.info().bits;
        let offset = offset % width;
        Subfield {
            field,
            offset,
            bits: bits % (width - offset).min(64) + 1,
        }
        .clamped(width.min(64))
    })
}

trait Clamp {
    fn clamped(self, most: u8) -> Self;
}

impl Clamp for Subfield {
    fn clamped(mut self, most: u8) -> Self {
        let room = self.field.info().bits - self.offset;
        self.bits = self.bits.min(room).min(most);
        self
    }
}

/// Two runs of as many bits.
fn pair() -> impl Strategy<Value = (Subfield, Subfield)> {
    (subfield(), subfield()).prop_map(|(mut a, mut b)| {
        let bits = a.bits.min(b.bits);
        (a.bits, b.bits) = (bits, bits);
        (a, b)
    })
}

fn bit() -> impl Strategy<Value = Subfield> {
    subfield().prop_map(|bits| Subfield { bits: 1, ..bits })
}

fn low(value: u128, bits: u8) -> u128 {
    value & (u128::MAX >> (128 - u32::from(bits)))
}

/// A field that is written whole and has a code in `set_field`.
fn set_field() -> impl Strategy<Value = Action> {
    let fields: Vec<Field> = [
        ANY,
        V4,
        IP,
        &[
            Field::Ipv6Src,
            Field::TcpSrc,
            Field::UdpDst,
            Field::SctpDst,
            Field::IcmpType,
            Field::Icmp6Code,
            Field::ArpSpa,
            Field::ArpTha,
            Field::MplsLabel,
            Field::MplsTc,
            Field::MplsTtl,
            Field::VlanPcp,
            Field::NdTarget,
            Field::PbbIsid,
            Field::Xreg3,
        ],
    ]
    .concat()
    .into_iter()
    .filter(|field| field.info().writable)
    .filter(|field| !matches!(field, Field::CtMark | Field::CtLabel))
    .collect();
    prop_oneof![
        (select(fields), any::<u128>()).prop_map(|(field, value)| {
            let mask = field.info().max();
            Action::SetField {
                field,
                value: value & mask,
                mask,
            }
        }),
        (0..0x1000_u128).prop_map(|vid| Action::SetField {
            field: Field::VlanVid,
            value: 0x1000 | vid,
            mask: 0x1fff,
        }),
        port().prop_map(|port| Action::SetField {
            field: Field::InPort,
            value: u128::from(port.0),
            mask: 0xffff_ffff,
        }),
    ]
}

fn to_controller() -> impl Strategy<Value = Action> {
    let reasons = vec![
        Reason::NoMatch,
        Reason::Action,
        Reason::InvalidTtl,
        Reason::PacketOut,
    ];
    (
        any::<u16>(),
        prop_oneof![Just(0), any::<u16>()],
        select(reasons),
        vec(any::<u8>(), 0..12),
        any::<bool>(),
        option::of(any::<u32>()),
    )
        .prop_map(|(max_len, id, reason, userdata, pause, meter)| {
            Action::Controller(Box::new(ToController {
                max_len,
                id,
                reason,
                userdata,
                pause,
                meter,
            }))
        })
}

fn learn() -> impl Strategy<Value = Action> {
    let source = |bits: u8| move |value: u128| LearnSource::Value(low(value, bits));
    let spec = prop_oneof![
        (subfield(), any::<u128>()).prop_map(move |(dst, value)| LearnSpec::Match {
            src: source(dst.bits)(value),
            dst,
        }),
        pair().prop_map(|(src, dst)| LearnSpec::Match {
            src: LearnSource::Field(src),
            dst,
        }),
        pair().prop_map(|(src, dst)| LearnSpec::Load {
            src: LearnSource::Field(src),
            dst,
        }),
        (subfield(), any::<u128>()).prop_map(move |(dst, value)| LearnSpec::Load {
            src: source(dst.bits)(value),
            dst,
        }),
        subfield().prop_map(LearnSpec::Output),
    ];
    (
        any::<[u16; 5]>(),
        any::<u64>(),
        0..255_u8,
        any::<(bool, bool)>(),
        prop_oneof![Just(0), any::<u32>()],
        option::of(bit()),
        vec(spec, 0..5),
    )
        .prop_map(|(times, cookie, table, flags, limit, result, specs)| {
            Action::Learn(Box::new(Learn {
                idle_timeout: times[0],
                hard_timeout: times[1],
                fin_idle_timeout: times[2],
                fin_hard_timeout: times[3],
                priority: times[4],
                cookie,
                table,
                send_flow_rem: flags.0,
                delete_learned: flags.1,
                limit,
                result,
                specs,
            }))
        })
}

fn hash_fields() -> impl Strategy<Value = HashFields> {
    select(vec![
        HashFields::EthSrc,
        HashFields::SymmetricL4,
        HashFields::SymmetricL3L4,
        HashFields::SymmetricL3L4Udp,
        HashFields::NetworkSrc,
        HashFields::NetworkDst,
        HashFields::SymmetricL3,
    ])
}

fn multipath() -> impl Strategy<Value = Action> {
    let algorithms = vec![
        Multilink::ModuloN,
        Multilink::HashThreshold,
        Multilink::Hrw,
        Multilink::IterHash,
    ];
    (
        hash_fields(),
        select(algorithms),
        any::<(u16, u16, u32)>(),
        subfield(),
    )
        .prop_map(|(fields, algorithm, (basis, link, arg), dst)| {
            Action::Multipath(Box::new(Multipath {
                fields,
                basis,
                algorithm,
                max_link: low(u128::from(link), dst.bits) as u16,
                arg,
                dst,
            }))
        })
}

fn bundle() -> impl Strategy<Value = Action> {
    let algorithms = vec![BundleAlgorithm::ActiveBackup, BundleAlgorithm::Hrw];
    let dst = subfield().prop_filter("room for a port", |dst| dst.bits >= 16);
    (
        hash_fields(),
        any::<u16>(),
        select(algorithms),
        vec(port(), 0..6),
        option::of(dst),
    )
        .prop_map(|(fields, basis, algorithm, members, dst)| {
            Action::Bundle(Box::new(Bundle {
                fields,
                basis,
                algorithm,
                members,
                dst,
            }))
        })
}

fn address() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        (1..u32::MAX, any::<u32>()).prop_map(|(min, more)| {
            let max = min.saturating_add(more);
            (
                Ipv4Addr::from_bits(min).into(),
                Ipv4Addr::from_bits(max).into(),
            )
        }),
        (1..u128::MAX, 0..9_u128).prop_map(|(min, more)| {
            let max = min.saturating_add(more);
            (
                Ipv6Addr::from_bits(min).into(),
                Ipv6Addr::from_bits(max).into(),
            )
        }),
    ]
}

fn nat() -> impl Strategy<Value = Nat> {
    let ports = option::of((1..u16::MAX, any::<u16>()));
    let ports = ports.prop_map(|ports| ports.map(|(min, more)| (min, min.saturating_add(more))));
    let range = (
        select(vec![NatKind::Source, NatKind::Destination]),
        option::of(address()),
        ports,
    );
    let choice = vec![NatPorts::Default, NatPorts::Hash, NatPorts::Random];
    (option::of(range), any::<bool>(), select(choice)).prop_map(|(range, persistent, ports)| Nat {
        range: range.map(|(kind, addresses, ports)| NatRange {
            kind,
            addresses,
            ports: addresses.and(ports),
        }),
        persistent,
        ports,
    })
}

fn ct() -> impl Strategy<Value = Action> {
    let mark = any::<u32>().prop_map(|value| Action::Load {
        dst: Subfield::whole(Field::CtMark),
        value: value.into(),
    });
    let label = subfield().prop_map(|src| Action::Move {
        dst: Subfield {
            field: Field::CtLabel,
            offset: 3,
            bits: src.bits,
        },
        src,
    });
    let zone = prop_oneof![
        any::<u16>().prop_map(CtZone::Number),
        Just(CtZone::Field(Subfield {
            field: Field::Reg0,
            offset: 16,
            bits: 16,
        })),
    ];
    let helper = option::of(select(vec![CtHelper::Ftp, CtHelper::Tftp]));
    (
        any::<(bool, bool)>(),
        zone,
        option::of(0..255_u8),
        helper,
        option::of(nat()),
        vec(prop_oneof![mark, label], 0..3),
    )
        .prop_map(|((commit, force), zone, table, helper, nat, exec)| {
            Action::Ct(Box::new(Ct {
                commit,
                force: commit && force,
                zone,
                table,
                helper,
                nat: if commit {
                    nat
                } else {
                    nat.map(|_| Nat::default())
                },
                exec: if commit { exec } else { Vec::new() },
            }))
        })
}

fn sample() -> impl Strategy<Value = Action> {
    (1..=u16::MAX, any::<(u32, u32, u32)>(), option::of(port())).prop_map(
        |(probability, (collector_set, domain, point), port)| {
            Action::Sample(Box::new(Sample {
                probability,
                collector_set,
                domain,
                point,
                port,
            }))
        },
    )
}

/// An action that every version reads as it was written.
pub(crate) fn action() -> impl Strategy<Value = Action> {
    let leaf = prop_oneof![
        3 => port().prop_map(Action::Output),
        1 => to_controller(),
        1 => (port(), 14..u32::MAX).prop_map(|(port, max_len)| {
            Action::OutputTruncated { port, max_len }
        }),
        1 => (subfield(), any::<u16>()).prop_map(|(src, max_len)| {
            Action::OutputField { src, max_len }
        }),
        1 => any::<u32>().prop_map(Action::SetQueue),
        1 => Just(Action::PopQueue),
        1 => any::<u32>().prop_map(Action::Group),
        2 => (subfield(), any::<u128>()).prop_map(|(dst, value)| {
            Action::Load { dst, value: low(value, dst.bits) }
        }),
        2 => pair().prop_map(|(src, dst)| Action::Move { src, dst }),
        1 => subfield().prop_map(Action::StackPush),
        1 => subfield().prop_map(Action::StackPop),
        1 => Just(Action::PopVlan),
        1 => Just(Action::PushMpls(0x8847)),
        1 => any::<u16>().prop_map(Action::PopMpls),
        1 => vec(any::<u16>(), 0..6).prop_map(Action::DecTtl),
        1 => Just(Action::DecMplsTtl),
        1 => (option::of(port()), option::of(0..255_u8), any::<bool>()).prop_map(
            |(port, table, ct_tuple)| Action::Resubmit {
                port: port.filter(|port| *port != OfPort::IN_PORT),
                table,
                ct_tuple,
            }
        ),
        1 => learn(),
        1 => vec(any::<u8>(), 1..30).prop_map(|mut bytes| {
            // A note goes to the end of its action.
            bytes.resize(bytes.len().next_multiple_of(8) + 6, 0);
            Action::Note(bytes)
        }),
        1 => Just(Action::Exit),
        1 => multipath(),
        1 => bundle(),
        1 => (any::<u16>(), bit()).prop_map(|(len, dst)| Action::CheckPktLarger { len, dst }),
        1 => any::<(u16, u16)>().prop_map(|(idle, hard)| Action::FinTimeout { idle, hard }),
        2 => ct(),
        1 => Just(Action::CtClear),
        1 => sample(),
        1 => select(vec![Field::Reg0, Field::EthSrc]).prop_map(Action::DeleteField),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| vec(inner, 0..4).prop_map(Action::Clone))
}

/// An action that OpenFlow 1.3 and later read as they were written.
pub(crate) fn action13() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => action(),
        3 => set_field(),
        1 => select(vec![0x8100, 0x88a8]).prop_map(Action::PushVlan),
        1 => Just(Action::PushPbb(0x88e7)),
        1 => Just(Action::PopPbb),
        1 => Just(Action::CopyTtlOut),
        1 => Just(Action::CopyTtlIn),
    ]
}

/// An action that OpenFlow 1.0 reads as it was written.
pub(crate) fn action10() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => action(),
        1 => (0..0x1000_u16).prop_map(Action::SetVlanVid),
        1 => (0..8_u8).prop_map(Action::SetVlanPcp),
        1 => (0..=OfPort::MAX.0, any::<u32>()).prop_map(|(port, queue)| Action::Enqueue {
            port: OfPort(port),
            queue,
        }),
        2 => (
            select(vec![
                Field::EthSrc,
                Field::EthDst,
                Field::Ipv4Src,
                Field::Ipv4Dst,
                Field::IpDscp,
                Field::TunId,
                Field::MplsLabel,
                Field::MplsTc,
                Field::MplsTtl,
            ]),
            any::<u128>(),
        )
            .prop_map(|(field, value)| {
                let mask = field.info().max();
                Action::SetField { field, value: value & mask, mask }
            }),
    ]
}

/// Instructions of OpenFlow 1.3 and later.
pub(crate) fn instructions() -> impl Strategy<Value = Instructions> {
    let write = prop_oneof![
        (0..=OfPort::MAX.0).prop_map(|port| Action::Output(OfPort(port))),
        any::<u32>().prop_map(Action::Group),
        set_field(),
        Just(Action::PopVlan),
    ];
    (
        option::of(any::<u32>()),
        vec(action13(), 0..5),
        any::<bool>(),
        vec(write, 0..4),
        option::of(any::<(u64, u64)>()),
        option::of(any::<u8>()),
    )
        .prop_map(
            |(meter, apply, clear, write, metadata, goto)| Instructions {
                meter,
                apply: apply.into(),
                clear,
                write: write.into(),
                metadata,
                goto,
            },
        )
}
