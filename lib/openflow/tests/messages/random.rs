//! Random values: what is written in a version reads as the same value.
//!
//! Each family's values are those that the version can say; what it cannot say is left at nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vswitch_flow::action::Reason;
use vswitch_flow::group::{BUCKET_ALL, SelectionMethod};
use vswitch_flow::meter::{METER_ALL, MeterFlags};
use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::{
    Action, Band, BandKind, Bucket, Field, FlowCommand, FlowFlags, FlowMod, FlowRule, FlowSelect,
    Group, GroupKind, GroupMod, Instructions, Match, Meter, MeterMod, OfPort,
};
use vswitch_openflow::async_config::{AsyncConfig, AsyncForm, Reasons};
use vswitch_openflow::bundle::{BundleAdd, BundleCommand, BundleControl, BundleFlags};
use vswitch_openflow::config::{ConfigFlags, SwitchConfig};
use vswitch_openflow::ct_flush::{CtFlush, CtTuple};
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

use Version::{V10, V13, V14};

use super::samples::{Sample, samples};

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
            importance: if version == V14 { importance } else { 0 },
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
        V14 => (AsyncForm::Standard, true),
    };
    let packet_in = if version == V14 { 0x3f } else { 7 };
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
        if version == V14 {
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

fn flow_mod(version: Version) -> Boxed<Message> {
    // Both forms of 1.0 are chosen by what the match needs.
    let rule = rule(version, Layout::Nicira);
    let commands = prop::sample::select(vec![
        FlowCommand::Add,
        FlowCommand::Modify,
        FlowCommand::ModifyStrict,
        FlowCommand::Delete,
        FlowCommand::DeleteStrict,
    ]);
    let conditions = (
        any::<(u64, u64)>(),
        port(),
        any::<u32>(),
        any::<[bool; 2]>(),
    );
    let parts = (commands, rule, conditions, option::of(0..u32::MAX));
    parts
        .prop_map(
            move |(command, rule, (cookie, out_port, out_group, all), buffer)| {
                let old = version == V10;
                let add = command == FlowCommand::Add;
                let delete = matches!(command, FlowCommand::Delete | FlowCommand::DeleteStrict);
                let mut change = FlowMod::new(command, rule);
                if !add {
                    change.cookie_mask = cookie.1;
                    change.cookie = cookie.0 & cookie.1;
                }
                if delete {
                    change.out_port = out_port;
                    change.out_group = if old { GROUP_ANY } else { out_group };
                }
                if delete || !old && !add {
                    change.rule.cookie = 0;
                }
                if !add {
                    change.rule.importance = 0;
                }
                if old && add {
                    change.rule.flags = change.rule.flags.with(FlowFlags::RESET_COUNTS);
                }
                if old && !add && !delete {
                    change.upsert = true;
                    change.new_cookie = all[0];
                    if !all[0] {
                        change.rule.cookie = u64::MAX;
                    }
                }
                if all[1] && (delete || old && !add) {
                    change.all_tables = true;
                    change.rule.table = 0;
                }
                Message::FlowMod(Box::new(FlowModMessage { change, buffer }))
            },
        )
        .boxed()
}

fn layouts(version: Version) -> Boxed<Layout> {
    if version == V10 {
        prop_oneof![Just(Layout::Standard), Just(Layout::Nicira)].boxed()
    } else {
        Just(Layout::Standard).boxed()
    }
}

fn flows(version: Version) -> Boxed<Message> {
    let stats = move |layout| {
        let ages = (option::of(0..65_535_u16), option::of(0..65_535_u16));
        let parts = (rule(version, layout), elapsed(), ages, any::<(u64, u64)>());
        parts.prop_map(move |(mut rule, duration, ages, (packets, bytes))| {
            if version == V10 {
                rule.flags = FlowFlags::default();
            }
            let nicira = layout == Layout::Nicira;
            FlowStats {
                rule,
                duration,
                idle_age: ages.0.filter(|_| nicira),
                hard_age: ages.1.filter(|_| nicira),
                packets,
                bytes,
            }
        })
    };
    let reply = layouts(version).prop_flat_map(move |layout| {
        let flows = vec(stats(layout), 0..5);
        flows.prop_map(move |flows| Message::MultipartReply(Reply::Flow(layout, flows), false))
    });
    let select = move |layout| {
        let conditions = (any::<(u64, u64)>(), port(), any::<u32>());
        let parts = (
            option::of(0..=253_u8),
            matches_for(version, layout),
            conditions,
        );
        parts.prop_map(
            move |(table, matches, ((cookie, mask), out_port, out_group))| {
                let fixed = version == V10 && layout == Layout::Standard;
                let mask = if fixed { 0 } else { mask };
                FlowSelect {
                    table,
                    matches,
                    cookie: cookie & mask,
                    cookie_mask: mask,
                    out_port,
                    out_group: if version == V10 { GROUP_ANY } else { out_group },
                }
            },
        )
    };
    let request = (layouts(version), any::<bool>()).prop_flat_map(move |(layout, aggregate)| {
        select(layout).prop_map(move |select| {
            let request = FlowRequest { layout, select };
            let request = if aggregate {
                Request::Aggregate(request)
            } else {
                Request::Flow(request)
            };
            Message::MultipartRequest(request, false)
        })
    });
    let aggregate = (layouts(version), any::<(u64, u64, u32)>());
    let aggregate = aggregate.prop_map(|(layout, (packets, bytes, flows))| {
        let aggregate = Aggregate {
            packets,
            bytes,
            flows,
        };
        Message::MultipartReply(Reply::Aggregate(layout, aggregate), false)
    });
    let removed = layouts(version).prop_flat_map(move |layout| {
        let parts = (
            rule(version, layout),
            elapsed(),
            words(RemovedReason::ALL),
            any::<(u64, u64)>(),
        );
        parts.prop_map(move |(rule, duration, reason, (packets, bytes))| {
            let fixed = version == V10 && layout == Layout::Standard;
            let early = reason == RemovedReason::MeterDelete && version < V14;
            Message::FlowRemoved(Box::new(FlowRemoved {
                layout,
                matches: rule.matches,
                cookie: rule.cookie,
                priority: rule.priority,
                reason: if early { RemovedReason::Delete } else { reason },
                table: (!fixed).then_some(rule.table),
                duration,
                idle_timeout: rule.idle_timeout,
                hard_timeout: if version == V10 { 0 } else { rule.hard_timeout },
                packets,
                bytes,
            }))
        })
    });
    prop_oneof![
        flow_mod(version),
        flow_mod(version),
        reply,
        request,
        aggregate,
        removed
    ]
    .boxed()
}

fn packets(version: Version) -> Boxed<Message> {
    let reason = prop::sample::select(match version {
        V10 | V13 => vec![Reason::NoMatch, Reason::Action, Reason::InvalidTtl],
        V14 => vec![Reason::ActionSet, Reason::Group, Reason::PacketOut],
    });
    let extra = (bytes(20), option::of(bytes(20)), any::<bool>());
    let parts = (
        words(PacketInFormat::ALL),
        (
            option::of(0..u32::MAX),
            reason,
            any::<u8>(),
            option::of(0..u64::MAX),
        ),
        (vec(any::<u8>(), 1..100), 0..100_u32, 1..0xfeff_u32),
        extra,
    );
    let packet_in = parts.prop_map(
        move |(format, (buffer, reason, table, cookie), packet, extra)| {
            let (packet, cut, in_port) = packet;
            let (userdata, continuation, resume) = extra;
            let format = if resume {
                PacketInFormat::Nicira2
            } else {
                format
            };
            let fixed = format == PacketInFormat::Standard && version == V10;
            let nicira2 = format == PacketInFormat::Nicira2;
            let size = u32::try_from(packet.len()).unwrap();
            let packet = PacketIn {
                buffer,
                reason,
                table: if fixed { 0 } else { table },
                cookie: cookie.filter(|_| !fixed),
                total_len: size + cut,
                userdata: if nicira2 { userdata } else { vec![] },
                continuation: continuation.filter(|_| nicira2),
                ..PacketIn::new(format, OfPort(in_port), packet)
            };
            if resume {
                Message::Resume(Box::new(packet))
            } else {
                Message::PacketIn(Box::new(packet))
            }
        },
    );
    let packet_out = (option::of(0..u32::MAX), port(), actions(), bytes(100));
    let packet_out = packet_out.prop_map(|(buffer, in_port, actions, packet)| {
        Message::PacketOut(Box::new(PacketOut {
            buffer,
            in_port,
            actions,
            packet: if buffer.is_some() { vec![] } else { packet },
        }))
    });
    prop_oneof![packet_in, packet_out].boxed()
}

fn group(version: Version) -> impl Strategy<Value = Group> {
    let kinds = prop::sample::select(vec![
        GroupKind::All,
        GroupKind::Select,
        GroupKind::Indirect,
        GroupKind::FastFailover,
    ]);
    let bucket = (any::<u16>(), 1..100_u32, actions());
    let hash = (any::<u64>(), any::<bool>(), any::<u32>());
    (any::<u32>(), kinds, vec(bucket, 1..4), hash).prop_map(move |(id, kind, buckets, hash)| {
        let select = kind == GroupKind::Select;
        let bucket = |(at, (weight, watch, actions)): (usize, (u16, u32, Vec<Action>))| Bucket {
            id: u32::try_from(at).unwrap(),
            weight: if select { weight } else { 0 },
            watch_port: if kind == GroupKind::FastFailover {
                OfPort(watch)
            } else {
                OfPort::ANY
            },
            watch_group: GROUP_ANY,
            actions,
        };
        let most = if kind == GroupKind::Indirect { 1 } else { 4 };
        let (param, fields, mask) = hash;
        Group {
            id: id & 0xffff_ff00,
            kind,
            selection: if !select || version != V10 {
                SelectionMethod::Default
            } else if fields {
                let fields = vec![
                    (Field::Ipv4Src, u128::from(mask | 1)),
                    (Field::TcpDst, 0xff),
                ];
                SelectionMethod::Hash { fields, param }
            } else {
                SelectionMethod::DpHash { param }
            },
            buckets: buckets
                .into_iter()
                .take(most)
                .enumerate()
                .map(bucket)
                .collect(),
        }
    })
}

fn groups(version: Version) -> Boxed<Message> {
    let change = (group(version), 0..6_u8).prop_map(move |(group, command)| {
        let id = group.id;
        Message::GroupMod(match command {
            0 => GroupMod::Add(group),
            1 => GroupMod::Modify(group),
            2 => GroupMod::AddOrModify(group),
            3 if version == V10 => GroupMod::RemoveBucket {
                id,
                bucket: BUCKET_ALL,
            },
            4 => GroupMod::DeleteAll,
            _ => GroupMod::Delete(id),
        })
    });
    let descs = vec(group(version), 0..4)
        .prop_map(|groups| Message::MultipartReply(Reply::GroupDesc(groups), false));
    let stats = (
        any::<(u32, u32, u64, u64)>(),
        option::of(elapsed()),
        pairs(),
    );
    let stats =
        stats.prop_map(
            |((id, references, packets, bytes), duration, buckets)| GroupStats {
                id,
                references,
                packets,
                bytes,
                duration,
                buckets,
            },
        );
    let stats =
        vec(stats, 0..4).prop_map(|stats| Message::MultipartReply(Reply::Group(stats), false));
    let features = any::<(u32, [u32; 4], [u32; 4])>();
    let features = features.prop_map(|(types, max_groups, actions)| {
        let features = GroupFeatures {
            types,
            max_groups,
            actions,
            ..GroupFeatures::default()
        };
        Message::MultipartReply(Reply::GroupFeatures(features), false)
    });
    let request = any::<u32>().prop_map(|id| Message::MultipartRequest(Request::Group(id), false));
    let all = Message::MultipartRequest(Request::GroupDesc(GROUP_ALL), false);
    prop_oneof![change, descs, stats, features, request, Just(all)].boxed()
}

fn meters() -> Boxed<Message> {
    let kind = prop_oneof![
        Just(BandKind::Drop),
        any::<u8>().prop_map(|levels| BandKind::DscpRemark { levels }),
    ];
    let band = (kind, any::<u32>(), any::<u32>());
    let band = band.prop_map(|(kind, rate, burst)| Band { kind, rate, burst });
    let meter = (0..METER_ALL, 0..16_u16, vec(band, 0..4));
    let meter = meter.prop_map(|(id, flags, bands)| Meter {
        id,
        flags: MeterFlags(if flags & 3 == 3 { flags ^ 1 } else { flags }),
        bands,
    });
    let meter = meter.boxed();
    let change = (meter.clone(), 0..4_u8).prop_map(|(meter, command)| {
        Message::MeterMod(match command {
            0 => MeterMod::Add(meter),
            1 => MeterMod::Modify(meter),
            2 => MeterMod::Delete(meter.id),
            _ => MeterMod::DeleteAll,
        })
    });
    let config = vec(meter, 0..4)
        .prop_map(|meters| Message::MultipartReply(Reply::MeterConfig(meters), false));
    let stats = (any::<(u32, u32, u64, u64)>(), elapsed(), pairs());
    let stats = stats.prop_map(
        |((id, flows, packets, bytes), duration, bands)| MeterStats {
            id,
            flows,
            packets,
            bytes,
            duration,
            bands,
        },
    );
    let stats =
        vec(stats, 0..4).prop_map(|stats| Message::MultipartReply(Reply::Meter(stats), false));
    let features = any::<(u32, u32, u32, u8, u8)>().prop_map(|numbers| {
        let (max_meters, band_types, capabilities, max_bands, max_color) = numbers;
        let features = MeterFeatures {
            max_meters,
            band_types,
            capabilities,
            max_bands,
            max_color,
        };
        Message::MultipartReply(Reply::MeterFeatures(features), false)
    });
    prop_oneof![change, config, stats, features].boxed()
}

fn table_property(version: Version) -> Boxed<TableProperty> {
    let flows = || prop_oneof![Just(Flows::Regular), Just(Flows::Miss)];
    let types = || {
        let id = (
            any::<u16>(),
            prop_oneof![Just(vec![]), vec(any::<u8>(), 4..9)],
        );
        vec(
            id.prop_map(|(kind, experimenter)| TypeId { kind, experimenter }),
            0..4,
        )
    };
    let fields = || {
        let ours = prop::sample::select(vec![Field::InPort, Field::EthDst, Field::TcpFlags]);
        let ours = (ours, any::<bool>())
            .prop_map(|(field, masked)| FieldId::new(field, masked, V13).unwrap());
        let any = (0..0xffff_0000_u32).prop_map(|header| FieldId {
            header,
            experimenter: None,
        });
        vec(prop_oneof![ours, any], 0..4)
    };
    let old = prop_oneof![
        (flows(), types()).prop_map(|(flows, ids)| TableProperty::Instructions(flows, ids)),
        (flows(), bytes(9)).prop_map(|(flows, ids)| TableProperty::NextTables(flows, ids)),
        (flows(), types()).prop_map(|(flows, ids)| TableProperty::WriteActions(flows, ids)),
        (flows(), types()).prop_map(|(flows, ids)| TableProperty::ApplyActions(flows, ids)),
        fields().prop_map(TableProperty::Match),
        fields().prop_map(TableProperty::Wildcards),
        (flows(), fields()).prop_map(|(flows, ids)| TableProperty::WriteSetField(flows, ids)),
        (flows(), fields()).prop_map(|(flows, ids)| TableProperty::ApplySetField(flows, ids)),
        (flows(), any::<(u32, u32)>(), bytes(9)).prop_map(|(flows, (who, what), value)| {
            TableProperty::Experimenter(flows, who, what, value)
        }),
    ];
    if version == V14 {
        prop_oneof![9 => old, 1 => bytes(9).prop_map(TableProperty::SyncFrom)].boxed()
    } else {
        old.boxed()
    }
}

fn tables(version: Version) -> Boxed<Message> {
    let stats = (any::<(u8, u32, u32, u32, u64, u64)>(), name());
    let stats = stats.prop_map(move |(numbers, name)| {
        let (table, wildcards, max_entries, active, lookups, matches) = numbers;
        let old = version == V10;
        TableStats {
            table,
            name: if old { name.as_str().into() } else { "".into() },
            wildcards: if old { wildcards } else { 0 },
            max_entries: if old { max_entries } else { 0 },
            active,
            lookups,
            matches,
        }
    });
    let stats =
        vec(stats, 0..4).prop_map(|stats| Message::MultipartReply(Reply::Table(stats), false));
    if version == V10 {
        return stats.boxed();
    }
    let vacancy = any::<[u8; 3]>().prop_map(|[down, up, now]| Vacancy { down, up, now });
    let desc = (
        any::<(u8, u32)>(),
        option::of(any::<u32>()),
        option::of(vacancy),
    );
    let desc = desc.prop_map(move |((table, config), eviction, vacancy)| TableDesc {
        table,
        config: TableConfig(config),
        eviction: eviction.filter(|_| version == V14),
        vacancy: vacancy.filter(|_| version == V14),
    });
    let desc = desc.boxed();
    let change = desc.clone().prop_map(Message::TableMod);
    let features = (
        any::<(u8, u64, u64, u32, u32)>(),
        name(),
        vec(table_property(version), 0..6),
    );
    let features = features.prop_map(|(numbers, name, properties)| {
        let (table, metadata_match, metadata_write, config, max_entries) = numbers;
        TableFeatures {
            table,
            name: name.as_str().into(),
            metadata_match,
            metadata_write,
            config: TableConfig(config),
            max_entries,
            properties,
        }
    });
    let features = (vec(features, 0..3), any::<bool>()).prop_map(|(tables, request)| {
        if request {
            Message::MultipartRequest(Request::TableFeatures(tables), false)
        } else {
            Message::MultipartReply(Reply::TableFeatures(tables), false)
        }
    });
    if version == V13 {
        return prop_oneof![stats, change, features].boxed();
    }
    let descs = vec(desc.clone(), 0..4)
        .prop_map(|tables| Message::MultipartReply(Reply::TableDesc(tables), false));
    let status = (words(TableReason::ALL), desc)
        .prop_map(|(reason, desc)| Message::TableStatus(TableStatus { reason, desc }));
    prop_oneof![stats, change, features, descs, status].boxed()
}

fn extensions(version: Version) -> Boxed<Message> {
    let map = any::<(u16, u8, u8, u16)>().prop_map(|(class, kind, size, index)| TlvMap {
        class,
        kind,
        size,
        index,
    });
    let maps = vec(map, 0..4).boxed();
    let change = (words(TlvCommand::ALL), maps.clone())
        .prop_map(|(command, maps)| Message::TlvTableMod(TlvTableMod { command, maps }));
    let table = (any::<(u32, u16)>(), maps).prop_map(|((max_space, max_fields), maps)| {
        Message::TlvTableReply(TlvTable {
            max_space,
            max_fields,
            maps,
        })
    });
    let address = |four: bool| {
        if four {
            (1..u32::MAX)
                .prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
                .boxed()
        } else {
            (1_u128 << 64..u128::MAX)
                .prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
                .boxed()
        }
    };
    let tuple = move |four| {
        let numbers = any::<[u16; 3]>();
        let few = any::<[u8; 2]>();
        let which = any::<[bool; 5]>();
        let addresses = (option::of(address(four)), option::of(address(four)));
        (addresses, numbers, few, which).prop_map(|((src, dst), numbers, few, which)| CtTuple {
            src,
            dst,
            src_port: which[0].then_some(numbers[0]),
            dst_port: which[1].then_some(numbers[1]),
            icmp_id: which[2].then_some(numbers[2]),
            icmp_type: which[3].then_some(few[0]),
            icmp_code: which[4].then_some(few[1]),
        })
    };
    let flush = any::<bool>().prop_flat_map(move |four| {
        let marks = (
            option::of(any::<(u32, u32)>()),
            option::of(any::<(u128, u128)>()),
        );
        (
            any::<u8>(),
            tuple(four),
            tuple(four),
            option::of(any::<u16>()),
            marks,
        )
            .prop_map(|(protocol, original, reply, zone, (mark, labels))| {
                Message::CtFlush(Box::new(CtFlush {
                    protocol,
                    original,
                    reply,
                    zone,
                    mark,
                    labels,
                }))
            })
    });
    let bundle = (any::<u32>(), words(BundleCommand::ALL), 0..4_u16);
    let bundle = bundle.prop_map(move |(bundle, command, flags)| {
        let flags = BundleFlags(flags);
        if version == V10 {
            return Message::SetFlowFormat(FlowFormat::OpenFlow10);
        }
        if flags == BundleFlags::ATOMIC {
            let inner = Message::EchoRequest(vec![1]);
            let add = BundleAdd::new(bundle, flags, &inner, version, XID).unwrap();
            return Message::BundleAdd(add);
        }
        Message::BundleControl(BundleControl {
            bundle,
            command,
            flags,
        })
    });
    let monitor = (
        any::<u32>(),
        0..0x40_u16,
        matches(),
        option::of(0..=253_u8),
        port(),
    );
    let monitor = monitor.prop_map(|(id, flags, matches, table, out_port)| {
        let monitor = FlowMonitorRequest {
            id,
            command: MonitorCommand::Add,
            flags: MonitorFlags(flags),
            select: FlowSelect {
                table,
                matches,
                out_port,
                ..FlowSelect::default()
            },
        };
        Message::MultipartRequest(Request::FlowMonitor(vec![monitor]), false)
    });
    let news = (
        rule(version, Layout::Nicira),
        1..4_usize,
        words(RemovedReason::ALL),
    );
    let news = (news, any::<u32>()).prop_map(|((rule, event, reason), xid)| {
        let event = FlowEvent::ALL[event];
        let flow = FlowNews {
            event,
            reason: (event == FlowEvent::Removed).then_some(reason),
            table: rule.table,
            priority: rule.priority,
            idle_timeout: rule.idle_timeout,
            hard_timeout: rule.hard_timeout,
            cookie: rule.cookie,
            matches: rule.matches,
            instructions: rule.instructions,
        };
        let updates = vec![FlowUpdate::Flow(Box::new(flow)), FlowUpdate::Own(xid)];
        Message::MultipartReply(Reply::FlowMonitor(updates), true)
    });
    let small = prop_oneof![
        any::<bool>().prop_map(Message::FlowModTableId),
        words(PacketInFormat::ALL).prop_map(Message::SetPacketInFormat),
        any::<u16>().prop_map(Message::SetControllerId),
        any::<u16>().prop_map(Message::CtFlushZone),
    ];
    prop_oneof![change, table, flush, bundle, monitor, news, small].boxed()
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
