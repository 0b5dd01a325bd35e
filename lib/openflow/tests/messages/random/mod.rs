//! Random values: what is written in a version reads as the same value.
//!
//! Each family's values are those that the version can say; what it cannot say is left at nothing.

mod flows;
mod groups;
mod tables;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vswitch_flow::action::Reason;
use vswitch_flow::group::{BUCKET_ALL, BucketPlace, SelectionMethod};
use vswitch_flow::meter::{METER_ALL, MeterFlags};
use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::{
    Action, Band, BandKind, Bucket, CtFilter, CtTupleFilter, Field, FlowCommand, FlowFlags,
    FlowMod, FlowRule, FlowSelect, Group, GroupKind, GroupMod, Instructions, Match, Meter,
    MeterMod, OfPort,
};
use vswitch_openflow::async_config::{AsyncConfig, AsyncForm, Reasons};
use vswitch_openflow::bundle::{BundleAdd, BundleCommand, BundleControl, BundleFlags};
use vswitch_openflow::config::{ConfigFlags, SwitchConfig};
use vswitch_openflow::elapsed::Elapsed;
use vswitch_openflow::error::{ErrorKind, ErrorMessage};
use vswitch_openflow::features::{Capabilities, SwitchFeatures};
use vswitch_openflow::flow_mod::FlowModMessage;
use vswitch_openflow::flow_monitor::{
    FlowEvent, FlowMonitorRequest, FlowNews, FlowUpdate, MonitorCommand, MonitorFlags,
};
use vswitch_openflow::flow_removed::{FlowRemoved, RemovedReason};
use vswitch_openflow::flow_stats::{Aggregate, FlowRequest, FlowStats};
use vswitch_openflow::group::{GROUP_ALL, GroupFeatures, GroupStats};
use vswitch_openflow::hello::Hello;
use vswitch_openflow::message::{Dialect, Layout, Message};
use vswitch_openflow::meter::{MeterFeatures, MeterStats};
use vswitch_openflow::multipart::{Assembler, Reply, Request, SwitchDesc};
use vswitch_openflow::nicira::{
    FlowFormat, PacketInFormat, TlvCommand, TlvMap, TlvTable, TlvTableMod,
};
use vswitch_openflow::oxm::match10::fits_match10;
use vswitch_openflow::packet_in::PacketIn;
use vswitch_openflow::packet_out::PacketOut;
use vswitch_openflow::port::{
    PortConfig, PortDesc, PortFeatures, PortMod, PortReason, PortState, PortStats, PortStatus,
};
use vswitch_openflow::queue::{QueueConfig, QueueDesc, QueueSelect, QueueStats};
use vswitch_openflow::role::{Role, RoleReason, RoleRequest, RoleStatus};
use vswitch_openflow::table::{
    FieldId, Flows, TableConfig, TableDesc, TableFeatures, TableProperty, TableReason, TableStats,
    TableStatus, TypeId, Vacancy,
};
use vswitch_openflow::{EncodeError, ErrorCode, Framer, Version};
use vswitch_packet::MacAddr;

use Version::{V10, V13, V14, V15};

use super::samples::{Sample, samples};
use flows::{flows, packets};
use groups::{groups, meters};
use tables::{extensions, tables};

type Boxed<T> = BoxedStrategy<T>;

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(&Version::ALL[..])
}

fn port() -> impl Strategy<Value = OfPort> {
    prop_oneof![
        (1..=0xfeff_u32).prop_map(OfPort),
        Just(OfPort::LOCAL),
        Just(OfPort::ANY),
    ]
}

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9.-]{0,15}"
}

/// A span that is known.
fn elapsed() -> impl Strategy<Value = Elapsed> {
    (0..u32::MAX, any::<u32>()).prop_map(|(seconds, nanoseconds)| Elapsed {
        seconds,
        nanoseconds,
    })
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

fn pairs() -> impl Strategy<Value = Vec<(u64, u64)>> {
    vec(any::<(u64, u64)>(), 0..5)
}

fn words<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

fn matches() -> impl Strategy<Value = Match> {
    let tcp = (any::<u32>(), 0..=32_u32, option::of(any::<u16>()));
    let tcp = tcp.prop_map(|(address, bits, port)| {
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        let mut tcp = Match::any()
            .with(Field::EthType, 0x0800)
            .with(Field::IpProto, 6)
            .with_masked(Field::Ipv4Dst, address.into(), mask.into());
        if let Some(port) = port {
            tcp = tcp.with(Field::TcpDst, port.into());
        }
        tcp
    });
    let base = prop_oneof![
        Just(Match::any()),
        tcp,
        any::<u64>().prop_map(|mac| {
            Match::any().with(Field::EthDst, u128::from(mac) & Field::EthDst.info().max())
        }),
    ];
    (base, option::of(1..0xfeff_u32), option::of(any::<u32>())).prop_map(
        |(mut matches, port, register)| {
            if let Some(port) = port {
                matches = matches.with(Field::InPort, port.into());
            }
            if let Some(register) = register {
                matches = matches.with(Field::Reg0, register.into());
            }
            matches
        },
    )
}

/// A match for messages that have the fixed match in 1.0.
fn matches_for(version: Version, layout: Layout) -> Boxed<Match> {
    if version == V10 && layout == Layout::Standard {
        let fits = |matches: &Match| fits_match10(matches);
        matches().prop_filter("fits the match of 1.0", fits).boxed()
    } else {
        matches().boxed()
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    vec(
        prop_oneof![
            port()
                .prop_filter("not any", |port| *port != OfPort::ANY)
                .prop_map(Action::Output),
            Just(Action::PopVlan),
        ],
        0..4,
    )
}

fn instructions(version: Version) -> Boxed<Instructions> {
    if version == V10 {
        return actions().prop_map(Instructions::apply).boxed();
    }
    let parts = (
        option::of(1..1000_u32),
        actions(),
        any::<bool>(),
        option::of(any::<(u64, u64)>()),
        option::of(1..=253_u8),
    );
    parts
        .prop_map(|(meter, apply, clear, metadata, goto)| Instructions {
            meter,
            clear,
            metadata: metadata
                .map(|(value, mask)| (value & mask, mask))
                .filter(|(_, mask)| *mask != 0),
            goto,
            ..Instructions::apply(apply)
        })
        .boxed()
}

fn rule(version: Version, layout: Layout) -> impl Strategy<Value = FlowRule> {
    let numbers = any::<(u16, u64, u16, u16, u16)>();
    let parts = (
        0..=253_u8,
        numbers,
        matches_for(version, layout),
        instructions(version),
        0..0x20_u16,
    );
    parts.prop_map(move |(table, numbers, matches, instructions, flags)| {
        let (priority, cookie, idle_timeout, hard_timeout, importance) = numbers;
        FlowRule {
            table,
            priority,
            cookie,
            matches,
            instructions,
            idle_timeout,
            hard_timeout,
            importance: if version >= V14 { importance } else { 0 },
            flags: FlowFlags(if version == V10 { flags & 3 } else { flags }),
        }
    })
}

fn reasons(known: u32, optional: bool) -> impl Strategy<Value = Reasons> {
    let mask = move || {
        let some = any::<u32>().prop_map(move |mask| Some(mask & known));
        if optional {
            prop_oneof![some, Just(None)].boxed()
        } else {
            some.boxed()
        }
    };
    (mask(), mask()).prop_map(|(primary, secondary)| Reasons { primary, secondary })
}

fn connection(version: Version) -> Boxed<Message> {
    let code = prop::sample::select(ErrorCode::all().collect::<Vec<_>>());
    let error = (code, bytes(80)).prop_map(|(code, data)| {
        Message::Error(ErrorMessage {
            kind: ErrorKind::Known(code),
            data,
        })
    });
    let hello = option::of(vec(any::<u32>(), 0..4)).prop_map(move |bitmap| {
        Message::Hello(Hello {
            version: version.number(),
            bitmap,
        })
    });
    let role = (words(Role::ALL), any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
        move |(role, generation, nicira, reply)| {
            let nicira = nicira || version == V10;
            let role = RoleRequest {
                layout: if nicira {
                    Layout::Nicira
                } else {
                    Layout::Standard
                },
                role: if nicira && role == Role::NoChange {
                    Role::Equal
                } else {
                    role
                },
                generation: if nicira { 0 } else { generation },
            };
            if reply {
                Message::RoleReply(role)
            } else {
                Message::RoleRequest(role)
            }
        },
    );
    let config = (0..8_u16, any::<u16>()).prop_map(|(flags, miss_send_len)| {
        Message::SetConfig(SwitchConfig {
            flags: ConfigFlags(flags),
            miss_send_len,
        })
    });
    let (form, properties) = match version {
        V10 => (AsyncForm::NiciraProperties, true),
        V13 => (AsyncForm::Standard, false),
        V14 | V15 => (AsyncForm::Standard, true),
    };
    let packet_in = if version >= V14 { 0x3f } else { 7 };
    let more = move |known| {
        if properties {
            reasons(known, true).boxed()
        } else {
            Just(Reasons::default()).boxed()
        }
    };
    let choice = (
        reasons(packet_in, properties),
        reasons(7, properties),
        reasons(0x3f, properties),
        more(7),
        more(0x18),
        more(3),
    );
    let choice = choice.prop_map(move |masks| {
        let (packet_in, port_status, flow_removed, role_status, table_status, forward) = masks;
        Message::SetAsync(AsyncConfig {
            form,
            packet_in,
            port_status,
            flow_removed,
            role_status,
            table_status,
            request_forward: forward,
        })
    });
    let desc = vec("[ -~]{0,31}", 5).prop_map(|texts| {
        let text = |at: usize| texts[at].as_str();
        let desc = SwitchDesc {
            manufacturer: text(0).into(),
            hardware: text(1).into(),
            software: text(2).into(),
            serial: text(3).into(),
            datapath: text(4).into(),
        };
        Message::MultipartReply(Reply::Desc(Box::new(desc)), false)
    });
    let status = (1..4_usize, words(RoleReason::ALL), any::<u64>());
    let status = status.prop_map(|(role, reason, generation)| {
        Message::RoleStatus(RoleStatus {
            role: Role::ALL[role],
            reason,
            generation,
        })
    });
    let old = prop_oneof![
        hello,
        error,
        bytes(50).prop_map(Message::EchoRequest),
        role,
        config,
        choice,
        desc
    ];
    if version == V10 {
        old.boxed()
    } else {
        prop_oneof![6 => old, 1 => status].boxed()
    }
}

fn port_desc(version: Version) -> impl Strategy<Value = PortDesc> {
    (
        port(),
        mac(),
        name(),
        any::<[u32; 6]>(),
        any::<(u32, u32)>(),
    )
        .prop_map(move |(port, mac, name, bits, speeds)| {
            let old = version == V10;
            let features = |at: usize| PortFeatures(bits[at] & if old { 0xf87f } else { 0xffff });
            let speed = |features: PortFeatures, speed| {
                if old { features.fastest() } else { speed }
            };
            PortDesc {
                config: PortConfig(bits[0] & PortConfig::known(version).0),
                state: PortState(bits[1] & if old { 0x301 } else { 7 }),
                current: features(2),
                advertised: features(3),
                supported: features(4),
                peer: features(5),
                current_speed: speed(features(2), speeds.0),
                max_speed: speed(features(4), speeds.1),
                ..PortDesc::new(port, mac, &name)
            }
        })
}

fn ports(version: Version) -> Boxed<Message> {
    let status = (words(PortReason::ALL), port_desc(version))
        .prop_map(|(reason, desc)| Message::PortStatus(Box::new(PortStatus { reason, desc })));
    let change = port_desc(version).prop_map(|desc| {
        Message::PortMod(PortMod {
            port: desc.port,
            mac: desc.mac,
            config: desc.config,
            mask: desc.config,
            advertise: desc.current,
        })
    });
    let descs = vec(port_desc(version), 0..4)
        .prop_map(|ports| Message::MultipartReply(Reply::PortDesc(ports), false));
    let stats = (port(), any::<[u64; 12]>(), option::of(elapsed()));
    let stats = stats.prop_map(move |(port, counters, duration)| PortStats {
        port,
        rx_packets: counters[0],
        tx_packets: counters[1],
        rx_bytes: counters[2],
        tx_bytes: counters[3],
        rx_dropped: counters[4],
        tx_dropped: counters[5],
        rx_errors: counters[6],
        tx_errors: counters[7],
        rx_frame_err: counters[8],
        rx_over_err: counters[9],
        rx_crc_err: counters[10],
        collisions: counters[11],
        duration: duration.filter(|_| version > V10),
    });
    let stats =
        vec(stats, 0..4).prop_map(|stats| Message::MultipartReply(Reply::Port(stats), false));
    let queue = (
        port(),
        any::<u32>(),
        any::<[u64; 3]>(),
        option::of(elapsed()),
    );
    let queue = queue.prop_map(move |(port, queue, counters, duration)| QueueStats {
        port,
        queue,
        tx_bytes: counters[0],
        tx_packets: counters[1],
        tx_errors: counters[2],
        duration: duration.filter(|_| version > V10),
    });
    let queues =
        vec(queue, 0..4).prop_map(|stats| Message::MultipartReply(Reply::Queue(stats), false));
    let select = (port(), any::<u32>()).prop_map(|(port, queue)| QueueSelect { port, queue });
    let select = select.prop_map(|select| Message::MultipartRequest(Request::Queue(select), false));
    let rate = || option::of(any::<u16>());
    let config = (port(), vec((any::<u32>(), rate(), rate()), 0..4));
    let config = config.prop_map(move |(port, queues)| {
        let desc = |(queue, min_rate, max_rate): (u32, Option<u16>, Option<u16>)| QueueDesc {
            port,
            queue,
            min_rate,
            max_rate: max_rate.filter(|_| version > V10),
        };
        let queues = queues.into_iter().map(desc).collect();
        if version >= V14 {
            Message::MultipartReply(Reply::QueueDesc(queues), false)
        } else {
            Message::QueueConfigReply(QueueConfig { port, queues })
        }
    });
    let features = (any::<u64>(), any::<[u32; 3]>(), any::<[u8; 2]>());
    let features = (features, vec(port_desc(version), 0..3));
    let features = features.prop_map(move |((datapath_id, words, bytes), ports)| {
        let old = version == V10;
        Message::FeaturesReply(SwitchFeatures {
            datapath_id,
            buffers: words[0],
            tables: bytes[0],
            auxiliary: if old { 0 } else { bytes[1] },
            capabilities: Capabilities(words[1]),
            actions: if old { words[2] } else { 0 },
            ports: if old { ports } else { vec![] },
        })
    });
    prop_oneof![
        status, change, descs, stats, queues, select, config, features
    ]
    .boxed()
}

fn message(version: Version) -> Boxed<Message> {
    let common = prop_oneof![
        connection(version),
        ports(version),
        flows(version),
        packets(version),
        groups(version),
        tables(version),
        extensions(version),
    ];
    if version == V10 {
        common.boxed()
    } else {
        prop_oneof![7 => common, 1 => meters()].boxed()
    }
}

const XID: u32 = 77;

/// Tables in commands, so that 1.0 can say everything too.
const DIALECT: Dialect = Dialect { table_id: true };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_written_reads_the_same(
        (version, message) in version().prop_flat_map(|version| (Just(version), message(version))),
    ) {
        let bytes = message.encode_with(version, XID, DIALECT).unwrap();
        let read = Message::decode_with(&bytes, DIALECT);
        let read = read.unwrap_or_else(|refused| panic!("{refused}: {message:?}\n{bytes:02x?}"));
        if let Message::Error(ErrorMessage { kind: ErrorKind::Known(code), .. }) = &message {
            // Not every version has a number for every error.
            let Message::Error(read) = read.message else { panic!("not an error") };
            if read.kind != ErrorKind::Known(*code) {
                let stand_ins = [ErrorCode::NxbrcUnencodableError, ErrorCode::BrcEperm];
                prop_assert!(stand_ins.map(ErrorKind::Known).contains(&read.kind));
            }
            return Ok(());
        }
        prop_assert_eq!(&read.message, &message);
        prop_assert_eq!((read.version, read.xid), (version, XID));
    }

    #[test]
    fn random_bodies_never_panic_and_read_as_they_are_written_again(
        version in version(),
        kind in 0..40_u8,
        experimenter in prop::sample::select(vec![None, Some(0x2320_u32), Some(0x4f4e_4600)]),
        number in prop_oneof![0..50_u32, Just(132), 1870..1873_u32, 2300..2302_u32],
        body in vec(prop_oneof![Just(0_u8), any::<u8>()], 0..120),
    ) {
        let mut bytes = vec![version.number(), if experimenter.is_some() { 4 } else { kind }];
        bytes.extend([0, 0, 0, 0, 0, 1]);
        if let Some(who) = experimenter {
            bytes.extend(who.to_be_bytes());
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(body);
        let size = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&size.to_be_bytes());
        reads_as_written_again(&bytes, Dialect::default());
    }
}

/// What was read must be writable and read the same, unless its usual form is longer than a
/// message can be.
fn reads_as_written_again(bytes: &[u8], dialect: Dialect) {
    let Ok(read) = Message::decode_with(bytes, dialect) else {
        return;
    };
    match read.message.encode_with(read.version, read.xid, dialect) {
        Ok(again) => {
            let second = Message::decode_with(&again, dialect);
            assert_eq!(second.as_ref(), Ok(&read), "{bytes:02x?}\n{again:02x?}");
        }
        Err(EncodeError::TooLong(_)) => {}
        Err(refused) => panic!("{refused}: {read:?}"),
    }
}

/// Changes of bytes that keep a message's length true, so that what is within gets read.
#[derive(Clone, Debug)]
enum Edit {
    /// Another value of a byte.
    Set(prop::sample::Index, u8),
    /// One bit.
    Flip(prop::sample::Index),
    /// Some bytes again.
    Double(prop::sample::Index, usize),
    /// Without some bytes.
    Cut(prop::sample::Index, usize),
}

impl Edit {
    fn any() -> impl Strategy<Value = Self> {
        let at = any::<prop::sample::Index>;
        prop_oneof![
            3 => (at(), prop_oneof![0..40_u8, any::<u8>()]).prop_map(|(at, to)| Self::Set(at, to)),
            3 => at().prop_map(Self::Flip),
            1 => (at(), 1..5_usize).prop_map(|(at, size)| Self::Double(at, 4 * size)),
            1 => (at(), 1..5_usize).prop_map(|(at, size)| Self::Cut(at, 4 * size)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let body = bytes.len() - 8;
        if body == 0 {
            return;
        }
        match self {
            Self::Set(at, to) => bytes[8 + at.index(body)] = *to,
            Self::Flip(at) => {
                let bit = at.index(8 * body);
                bytes[8 + bit / 8] ^= 1 << (bit % 8);
            }
            Self::Double(at, size) => {
                let at = 8 + at.index(body);
                let end = bytes.len().min(at + size);
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            Self::Cut(at, size) => {
                let at = 8 + at.index(body);
                let end = bytes.len().min(at + size);
                bytes.drain(at..end);
            }
        }
        let size = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&size.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn edited_messages_read_as_they_are_written_again(
        which in any::<prop::sample::Index>(),
        edits in vec(Edit::any(), 1..6),
        table_id in any::<bool>(),
    ) {
        static MESSAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
            let bytes = |sample: Sample| sample.message.encode(sample.version, XID).unwrap();
            samples().into_iter().map(bytes).collect()
        });
        let mut bytes = which.get(&MESSAGES[..]).clone();
        edits.iter().for_each(|edit| edit.apply(&mut bytes));
        reads_as_written_again(&bytes, Dialect { table_id });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A long list comes in several messages, of which only the last says that it is the last, and
    /// is the same list when it is put together.
    #[test]
    fn long_lists_come_in_parts(
        version in version(),
        flows in (0..2000_usize, 0..65_535_u16).prop_map(|(count, first)| {
            (0..count).map(|at| FlowStats {
                rule: FlowRule {
                    priority: first.wrapping_add(u16::try_from(at).unwrap()),
                    matches: Match::any().with(Field::InPort, 1 + at as u128 % 3),
                    instructions: Instructions::apply(vec![Action::Output(OfPort(2)); at % 9]),
                    ..FlowRule::default()
                },
                ..FlowStats::default()
            }).collect::<Vec<_>>()
        }),
    ) {
        let list = Reply::Flow(Layout::Standard, flows);
        let message = Message::MultipartReply(list.clone(), false);
        let bytes = message.encode(version, XID).unwrap();
        let mut framer = Framer::new();
        framer.push(&bytes);
        let mut assembler = Assembler::new(bytes.len());
        let mut whole = None;
        while let Some(part) = framer.next_message().unwrap() {
            prop_assert!(whole.is_none(), "the last part was not the last");
            let read = Message::decode(part).unwrap();
            let Message::MultipartReply(reply, more) = read.message else {
                panic!("not a reply");
            };
            whole = assembler.add(read.xid, more, reply, part.len()).unwrap();
        }
        prop_assert_eq!(whole, Some(list));
        prop_assert_eq!(framer.waiting(), 0);
    }
}
