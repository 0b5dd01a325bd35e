//! Random tables, and what experimenters say.

use super::*;

pub(super) fn table_property(version: Version) -> Boxed<TableProperty> {
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
    if version >= V14 {
        prop_oneof![9 => old, 1 => bytes(9).prop_map(TableProperty::SyncFrom)].boxed()
    } else {
        old.boxed()
    }
}

pub(super) fn tables(version: Version) -> Boxed<Message> {
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
        eviction: eviction.filter(|_| version >= V14),
        vacancy: vacancy.filter(|_| version >= V14),
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

pub(super) fn extensions(version: Version) -> Boxed<Message> {
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
        (addresses, numbers, few, which).prop_map(|((src, dst), numbers, few, which)| {
            CtTupleFilter {
                src,
                dst,
                src_port: which[0].then_some(numbers[0]),
                dst_port: which[1].then_some(numbers[1]),
                icmp_id: which[2].then_some(numbers[2]),
                icmp_type: which[3].then_some(few[0]),
                icmp_code: which[4].then_some(few[1]),
            }
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
                Message::CtFlush(Box::new(CtFilter {
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
        (0..0x40_u16).prop_filter("it has to tell of something", |flags| flags & 0xe != 0),
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
