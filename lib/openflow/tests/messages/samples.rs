//! One of each message and version: the value, its bytes, and how `ovs-ofctl ofp-print` begins to
//! say it.

use std::net::{IpAddr, Ipv4Addr};

use vswitch_flow::action::Reason;
use vswitch_flow::group::{BucketPlace, SelectionMethod};
use vswitch_flow::meter::MeterFlags;
use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::{
    Action, Band, BandKind, Bucket, CtFilter, CtTupleFilter, Field, FlowCommand, FlowFlags,
    FlowMod, FlowRule, FlowSelect, Group, GroupKind, GroupMod, Instructions, Match, Meter,
    MeterMod, OfPort, Subfield,
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
use vswitch_openflow::group::{GROUP_ALL, GroupCapabilities, GroupFeatures, GroupStats};
use vswitch_openflow::hello::Hello;
use vswitch_openflow::message::{Layout, Message};
use vswitch_openflow::meter::{MeterFeatures, MeterStats};
use vswitch_openflow::multipart::{Reply, Request, SwitchDesc};
use vswitch_openflow::nicira::{
    FlowFormat, PacketInFormat, TlvCommand, TlvMap, TlvTable, TlvTableMod,
};
use vswitch_openflow::packet_in::PacketIn;
use vswitch_openflow::packet_out::PacketOut;
use vswitch_openflow::port::{
    PortConfig, PortDesc, PortFeatures, PortMod, PortReason, PortState, PortStats, PortStatus,
};
use vswitch_openflow::queue::{QUEUE_ALL, QueueConfig, QueueDesc, QueueSelect, QueueStats};
use vswitch_openflow::request_forward::RequestForward;
use vswitch_openflow::role::{Role, RoleReason, RoleRequest, RoleStatus};
use vswitch_openflow::table::{
    FieldId, Flows, TableConfig, TableDesc, TableFeatures, TableProperty, TableReason, TableStats,
    TableStatus, TypeId, Vacancy,
};
use vswitch_openflow::{ErrorCode, Version};
use vswitch_packet::MacAddr;

use Version::{V10, V13, V14, V15};

/// The xid of every sample.
pub(crate) const XID: u32 = 0x1234_5678;

/// One message in one version.
pub(crate) struct Sample {
    pub(crate) version: Version,
    pub(crate) message: Message,
    /// What `ovs-ofctl ofp-print` must say of it, among other things.
    pub(crate) says: &'static str,
}

const MAC: MacAddr = MacAddr([0x0a, 0, 0, 0, 0, 1]);
const AGE: Elapsed = Elapsed {
    seconds: 12,
    nanoseconds: 340_000_000,
};

fn port(number: u32) -> PortDesc {
    PortDesc {
        config: PortConfig::NO_FWD,
        state: PortState::LINK_DOWN,
        current: PortFeatures::GB10_FD.with(PortFeatures::COPPER),
        advertised: PortFeatures::GB1_FD.with(PortFeatures::AUTONEG),
        supported: PortFeatures::GB10_FD,
        peer: PortFeatures::PAUSE,
        current_speed: 10_000_000,
        max_speed: 10_000_000,
        ..PortDesc::new(OfPort(number), MAC, "eth0")
    }
}

fn port_stats(duration: Option<Elapsed>) -> PortStats {
    PortStats {
        port: OfPort(3),
        rx_packets: 1,
        tx_packets: 2,
        rx_bytes: 3,
        tx_bytes: 4,
        rx_dropped: 5,
        tx_dropped: 6,
        rx_errors: 7,
        tx_errors: 8,
        rx_frame_err: 9,
        rx_over_err: 10,
        rx_crc_err: 11,
        collisions: 12,
        duration,
    }
}

fn tcp() -> Match {
    Match::any()
        .with(Field::InPort, 1)
        .with(Field::EthType, 0x0800)
        .with(Field::IpProto, 6)
        .with_masked(Field::Ipv4Dst, 0x0a01_0200, 0xffff_ff00)
        .with(Field::TcpDst, 80)
}

fn with_register() -> Match {
    tcp().with(Field::Reg1, 7)
}

fn output(port: u32) -> Vec<Action> {
    vec![Action::Output(OfPort(port))]
}

/// A flow as `version` can say it.
fn rule(version: Version, matches: Match) -> FlowRule {
    let flags = FlowFlags::SEND_FLOW_REM;
    FlowRule {
        table: 0,
        priority: 100,
        cookie: 0x55,
        matches,
        instructions: Instructions::apply(output(2)),
        idle_timeout: 60,
        hard_timeout: 300,
        importance: if version >= V14 { 9 } else { 0 },
        flags: if version == V10 {
            flags.with(FlowFlags::RESET_COUNTS)
        } else {
            flags
        },
    }
}

fn flow_mod(change: FlowMod) -> Message {
    Message::FlowMod(Box::new(FlowModMessage::from(change)))
}

fn flow_stats(version: Version, layout: Layout) -> FlowStats {
    let nicira = layout == Layout::Nicira;
    let matches = if version == V10 && !nicira {
        tcp()
    } else {
        with_register()
    };
    let mut rule = FlowRule {
        table: 4,
        ..rule(version, matches)
    };
    if version == V10 {
        rule.flags = FlowFlags::default();
    }
    FlowStats {
        rule,
        duration: AGE,
        idle_age: (nicira || version == V15).then_some(5),
        hard_age: None,
        packets: 10,
        bytes: 1000,
    }
}

fn buckets() -> Vec<Bucket> {
    vec![
        Bucket {
            id: 0,
            weight: 10,
            watch_port: OfPort::ANY,
            watch_group: GROUP_ANY,
            actions: output(1),
        },
        Bucket {
            id: 1,
            weight: 20,
            watch_port: OfPort(2),
            watch_group: GROUP_ANY,
            actions: output(2),
        },
    ]
}

fn group(selection: SelectionMethod) -> Group {
    Group {
        id: 7,
        kind: GroupKind::Select,
        selection,
        buckets: buckets(),
    }
}

fn meter() -> Meter {
    Meter {
        id: 3,
        flags: MeterFlags(MeterFlags::KBPS.0 | MeterFlags::BURST.0),
        bands: vec![
            Band {
                kind: BandKind::Drop,
                rate: 1000,
                burst: 100,
            },
            Band {
                kind: BandKind::DscpRemark { levels: 1 },
                rate: 500,
                burst: 50,
            },
        ],
    }
}

fn table_features(version: Version) -> TableFeatures {
    let field = |field, masked| FieldId::new(field, masked, V13).unwrap();
    let mut properties = vec![
        TableProperty::Instructions(Flows::Regular, vec![TypeId::from(1), TypeId::from(4)]),
        TableProperty::NextTables(Flows::Regular, vec![1, 2, 3]),
        TableProperty::NextTables(Flows::Miss, vec![1]),
        TableProperty::WriteActions(Flows::Regular, vec![TypeId::from(0)]),
        TableProperty::ApplyActions(Flows::Regular, vec![TypeId::from(0), TypeId::from(25)]),
        TableProperty::Match(vec![
            field(Field::InPort, false),
            field(Field::EthDst, true),
        ]),
        TableProperty::Wildcards(vec![field(Field::InPort, false)]),
        TableProperty::WriteSetField(Flows::Regular, vec![]),
        TableProperty::ApplySetField(Flows::Regular, vec![field(Field::Reg0, false)]),
    ];
    if version >= V14 {
        // Open vSwitch asks for the others exactly once.
        properties.push(TableProperty::SyncFrom(vec![9]));
        properties.pop();
    }
    TableFeatures {
        table: 5,
        name: "classifier".into(),
        metadata_match: u64::MAX,
        metadata_write: 0xffff,
        config: TableConfig::default(),
        max_entries: 1_000_000,
        properties,
    }
}

fn flow_request(layout: Layout, version: Version) -> FlowRequest {
    let nicira = layout == Layout::Nicira || version > V10;
    FlowRequest {
        layout,
        select: FlowSelect {
            table: Some(2),
            matches: tcp(),
            cookie: if nicira { 0x50 } else { 0 },
            cookie_mask: if nicira { 0xf0 } else { 0 },
            out_port: OfPort(4),
            ..FlowSelect::default()
        },
    }
}

fn packet_in(format: PacketInFormat, version: Version) -> PacketIn {
    let nicira2 = format == PacketInFormat::Nicira2;
    let old = format == PacketInFormat::Standard && version == V10;
    PacketIn {
        reason: Reason::Action,
        table: if old { 0 } else { 6 },
        cookie: (!old).then_some(0x77),
        total_len: 60,
        userdata: if nicira2 { vec![1, 2, 3] } else { vec![] },
        ..PacketIn::new(format, OfPort(3), frame())
    }
}

fn frame() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x0a, 0, 0, 0, 0, 1, 0x88, 0xb5, 1, 2, 3, 4]);
    frame
}

/// Every message that the version has.
pub(crate) fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    for version in Version::ALL {
        let mut add = |message, says| {
            all.push(Sample {
                version,
                message,
                says,
            });
        };
        connection(version, &mut add);
        ports(version, &mut add);
        flows(version, &mut add);
        groups_and_meters(version, &mut add);
        tables(version, &mut add);
        extensions(version, &mut add);
    }
    all
}

fn connection(version: Version, add: &mut impl FnMut(Message, &'static str)) {
    let hello = Hello {
        version: version.number(),
        ..Hello::new(&[V10, V13, V14, V15])
    };
    add(Message::Hello(hello), "OFPT_HELLO");
    let refused = [version.number(), 2, 0, 8, 0, 0, 0, 1];
    let full = ErrorMessage::refuse(&refused, ErrorCode::FmfcTableFull);
    add(Message::Error(full), "OFPFMFC_TABLE_FULL");
    let nicira = ErrorMessage::refuse(&refused, ErrorCode::NxbrcMustBeZero);
    add(Message::Error(nicira), "NXBRC_MUST_BE_ZERO");
    let other = ErrorMessage {
        kind: ErrorKind::Other { kind: 77, code: 1 },
        data: vec![1, 2],
    };
    // Open vSwitch does not know it either.
    add(Message::Error(other), "OFPBRC_BAD_LEN");
    add(Message::EchoRequest(vec![1, 2, 3]), "3 bytes of payload");
    add(Message::EchoReply(vec![]), "0 bytes of payload");
    add(Message::FeaturesRequest, "OFPT_FEATURES_REQUEST");
    let old = version == V10;
    let features = SwitchFeatures {
        datapath_id: 0xabc,
        buffers: 0,
        tables: 254,
        auxiliary: 0,
        capabilities: Capabilities::FLOW_STATS.with(Capabilities::PORT_STATS),
        actions: if old { 0x0fff } else { 0 },
        ports: if old { vec![port(1)] } else { vec![] },
    };
    add(
        Message::FeaturesReply(features),
        "dpid:0000000000000abc\nn_tables:254, n_buffers:0\ncapabilities: FLOW_STATS PORT_STATS",
    );
    add(Message::ConfigRequest, "OFPT_GET_CONFIG_REQUEST");
    let config = SwitchConfig {
        flags: ConfigFlags::FRAG_NX_MATCH,
        miss_send_len: 128,
    };
    add(
        Message::ConfigReply(config),
        "frags=nx-match miss_send_len=128",
    );
    add(Message::SetConfig(config), "OFPT_SET_CONFIG");
    add(Message::BarrierRequest, "OFPT_BARRIER_REQUEST");
    add(Message::BarrierReply, "OFPT_BARRIER_REPLY");
    let role = RoleRequest {
        layout: Layout::Nicira,
        role: Role::Secondary,
        generation: 0,
    };
    add(Message::RoleRequest(role), "NXT_ROLE_REQUEST");
    add(Message::RoleReply(role), "role=secondary");
    if version > V10 {
        let role = RoleRequest {
            layout: Layout::Standard,
            role: Role::Primary,
            generation: 9,
        };
        add(Message::RoleRequest(role), "role=primary generation_id=9");
        add(Message::RoleReply(role), "role=primary generation_id=9");
        let status = RoleStatus {
            role: Role::Secondary,
            reason: RoleReason::PrimaryRequest,
            generation: 11,
        };
        add(
            Message::RoleStatus(status),
            "role=secondary generation_id=11 reason=primary_request",
        );
        add(Message::AsyncRequest, "GET_ASYNC_REQUEST");
    }
    let reasons = |primary, secondary| Reasons {
        primary: Some(primary),
        secondary: Some(secondary),
    };
    let fixed = |form| AsyncConfig {
        packet_in: reasons(3, 0),
        port_status: reasons(7, 7),
        flow_removed: reasons(7, 0),
        ..AsyncConfig::new(form)
    };
    let properties = |form| AsyncConfig {
        role_status: reasons(7, 7),
        table_status: Reasons {
            primary: Some(0x18),
            secondary: None,
        },
        request_forward: reasons(3, 0),
        ..fixed(form)
    };
    add(
        Message::SetAsync(fixed(AsyncForm::Nicira)),
        "PORT_STATUS: add delete modify",
    );
    if version < V14 {
        let choice = properties(AsyncForm::NiciraProperties);
        add(
            Message::SetAsync(choice),
            "REQUESTFORWARD: group_mod_request",
        );
    }
    if version == V13 {
        let choice = fixed(AsyncForm::Standard);
        add(Message::SetAsync(choice), "OFPT_SET_ASYNC (OF1.3)");
        add(Message::AsyncReply(choice), "OFPT_GET_ASYNC_REPLY");
    }
    if version >= V14 {
        let choice = properties(AsyncForm::Standard);
        add(
            Message::SetAsync(choice),
            "TABLE_STATUS: vacancy_down vacancy_up",
        );
        add(Message::AsyncReply(choice), "OFPT_GET_ASYNC_REPLY");
    }
    add(
        Message::MultipartRequest(Request::Desc, false),
        "OFPST_DESC request",
    );
    let desc = SwitchDesc {
        manufacturer: "maker".into(),
        hardware: "hard".into(),
        software: "soft".into(),
        serial: "1".into(),
        datapath: "br0".into(),
    };
    add(
        Message::MultipartReply(Reply::Desc(Box::new(desc)), false),
        "Manufacturer: maker\nHardware: hard\nSoftware: soft\nSerial Num: 1\nDP Description: br0",
    );
}

fn ports(version: Version, add: &mut impl FnMut(Message, &'static str)) {
    let status = PortStatus {
        reason: PortReason::Modify,
        desc: port(3),
    };
    add(
        Message::PortStatus(Box::new(status)),
        "MOD: 3(eth0): addr:0a:00:00:00:00:01",
    );
    let change = PortMod {
        port: OfPort::LOCAL,
        mac: MAC,
        config: PortConfig::PORT_DOWN,
        mask: PortConfig::PORT_DOWN.with(PortConfig::NO_FWD),
        advertise: PortFeatures::GB10_FD.with(PortFeatures::FIBER),
    };
    add(Message::PortMod(change), "advertise: 10GB-FD FIBER");
    add(
        Message::MultipartRequest(Request::PortDesc(OfPort::ANY), false),
        "OFPST_PORT_DESC request",
    );
    add(
        Message::MultipartReply(Reply::PortDesc(vec![port(1), port(2)]), false),
        "2(eth0): addr:0a:00:00:00:00:01\n     config:     NO_FWD\n     state:      LINK_DOWN\n     \
         current:    10GB-FD COPPER\n     advertised: 1GB-FD AUTO_NEG\n     supported:  \
         10GB-FD\n     peer:       AUTO_PAUSE\n     speed: 10000 Mbps now, 10000 Mbps max",
    );
    add(
        Message::MultipartRequest(Request::Port(OfPort(3)), false),
        "OFPST_PORT request",
    );
    let duration = (version > V10).then_some(AGE);
    add(
        Message::MultipartReply(Reply::Port(vec![port_stats(duration)]), false),
        "rx pkts=1, bytes=3, drop=5, errs=7, frame=9, over=10, crc=11\n           tx pkts=2, bytes=4, \
         drop=6, errs=8, coll=12",
    );
    let select = QueueSelect {
        port: OfPort::ANY,
        queue: QUEUE_ALL,
    };
    add(
        Message::MultipartRequest(Request::Queue(select), false),
        "port=ANY queue=ALL",
    );
    let stats = QueueStats {
        port: OfPort(2),
        queue: 5,
        tx_bytes: 100,
        tx_packets: 2,
        tx_errors: 1,
        duration,
    };
    add(
        Message::MultipartReply(Reply::Queue(vec![stats, stats]), false),
        "queue 5: bytes=100, pkts=2, errors=1",
    );
    let queue = QueueDesc {
        port: OfPort(2),
        queue: 5,
        min_rate: Some(100),
        max_rate: (version > V10).then_some(500),
    };
    let says = if version == V10 {
        "queue 5: min_rate:10.0%"
    } else {
        "queue 5: min_rate:10.0% max_rate:50.0%"
    };
    if version >= V14 {
        add(
            Message::MultipartRequest(Request::QueueDesc(select), false),
            "QUEUE_DESC request",
        );
        add(
            Message::MultipartReply(Reply::QueueDesc(vec![queue]), false),
            says,
        );
    } else {
        add(Message::QueueConfigRequest(OfPort(2)), "port=2");
        let config = QueueConfig {
            port: OfPort(2),
            queues: vec![queue],
        };
        add(Message::QueueConfigReply(config), says);
    }
}

fn flows(version: Version, add: &mut impl FnMut(Message, &'static str)) {
    let old = version == V10;
    let new = FlowMod::new(FlowCommand::Add, rule(version, tcp()));
    add(
        flow_mod(new),
        "ADD priority=100,tcp,in_port=1,nw_dst=10.1.2.0/24,tp_dst=80 cookie:0x55 idle:60 hard:300",
    );
    let new = FlowMod::new(FlowCommand::Add, rule(version, with_register()));
    add(flow_mod(new), "reg1=0x7");
    let mut change = FlowMod::new(FlowCommand::ModifyStrict, rule(version, tcp()));
    change.rule.flags = FlowFlags::default();
    change.rule.importance = 0;
    change.cookie = 0x40;
    change.cookie_mask = 0xf0;
    if old {
        change.all_tables = true;
        change.upsert = true;
        change.new_cookie = true;
    } else {
        change.rule.cookie = 0;
    }
    add(flow_mod(change), "MOD_STRICT");
    let mut delete = FlowMod::delete(None, tcp());
    delete.out_port = OfPort(3);
    add(flow_mod(delete), "DEL");
    let delete = FlowMod::delete(Some(3), Match::any());
    if !old {
        add(flow_mod(delete), "DEL table:3");
    }
    let select = |layout| Request::Flow(flow_request(layout, version));
    add(
        Message::MultipartRequest(select(Layout::Standard), false),
        "OFPST_FLOW request",
    );
    let reply = |layout| Reply::Flow(layout, vec![flow_stats(version, layout)]);
    add(
        Message::MultipartReply(reply(Layout::Standard), false),
        "cookie=0x55, duration=12.340s, table=4, n_packets=10, n_bytes=1000, idle_timeout=60",
    );
    let aggregate = Aggregate {
        packets: 3,
        bytes: 180,
        flows: 2,
    };
    let request = |layout| Request::Aggregate(flow_request(layout, version));
    add(
        Message::MultipartRequest(request(Layout::Standard), false),
        "OFPST_AGGREGATE request",
    );
    add(
        Message::MultipartReply(Reply::Aggregate(Layout::Standard, aggregate), false),
        "packet_count=3 byte_count=180 flow_count=2",
    );
    let removed = |layout| FlowRemoved {
        layout,
        matches: tcp(),
        cookie: 0x55,
        priority: 100,
        reason: RemovedReason::HardTimeout,
        table: (!old || layout == Layout::Nicira).then_some(3),
        duration: AGE,
        idle_timeout: 60,
        hard_timeout: if old { 0 } else { 300 },
        packets: 10,
        bytes: 1000,
    };
    add(
        Message::FlowRemoved(Box::new(removed(Layout::Standard))),
        "reason=hard",
    );
    if old {
        add(
            Message::MultipartRequest(select(Layout::Nicira), false),
            "NXST_FLOW request",
        );
        add(
            Message::MultipartReply(reply(Layout::Nicira), false),
            "idle_age=5, priority=100,tcp,reg1=0x7",
        );
        add(
            Message::MultipartRequest(request(Layout::Nicira), false),
            "NXST_AGGREGATE request",
        );
        add(
            Message::MultipartReply(Reply::Aggregate(Layout::Nicira, aggregate), false),
            "NXST_AGGREGATE reply (xid=0x12345678): packet_count=3",
        );
        add(
            Message::FlowRemoved(Box::new(removed(Layout::Nicira))),
            "NXT_FLOW_REMOVED",
        );
    }
    for format in PacketInFormat::ALL {
        let packet = packet_in(*format, version);
        add(
            Message::PacketIn(Box::new(packet)),
            "total_len=60 in_port=3 (via action) data_len=18",
        );
    }
    let packet = PacketOut {
        buffer: None,
        in_port: OfPort::CONTROLLER,
        metadata: Match::any(),
        actions: output(2),
        packet: frame(),
    };
    add(
        Message::PacketOut(Box::new(packet)),
        "in_port=CONTROLLER actions=output:2 data_len=18",
    );
    if version == V15 {
        let packet = PacketOut {
            buffer: None,
            in_port: OfPort(1),
            metadata: Match::any().with(Field::Reg1, 7).with(Field::Metadata, 5),
            actions: vec![Action::Meter(3), Action::Output(OfPort(2))],
            packet: frame(),
        };
        add(
            Message::PacketOut(Box::new(packet)),
            "reg1=0x7,metadata=0x5,in_port=1 actions=meter:3,output:2 data_len=18",
        );
        let mut change = FlowMod::new(FlowCommand::Add, rule(version, tcp()));
        let bits = |field, offset| Subfield {
            field,
            offset,
            bits: 8,
        };
        change.rule.instructions = Instructions {
            meter: Some(4),
            ..Instructions::apply(vec![
                Action::SetField {
                    field: Field::Reg1,
                    value: 5,
                    mask: 0xff,
                },
                Action::Move {
                    src: bits(Field::Reg1, 0),
                    dst: bits(Field::Reg2, 16),
                },
                Action::Meter(5),
                Action::Output(OfPort(2)),
            ])
        };
        add(
            flow_mod(change),
            "actions=meter:4,set_field:0x5/0xff->reg1,\
             move:NXM_NX_REG1[0..7]->NXM_NX_REG2[16..23],meter:5,output:2",
        );
    }
    let monitor = FlowMonitorRequest {
        id: 5,
        command: MonitorCommand::Add,
        flags: MonitorFlags::INITIAL
            .with(MonitorFlags::ADD)
            .with(MonitorFlags::INSTRUCTIONS),
        select: FlowSelect {
            table: Some(2),
            matches: tcp(),
            out_port: OfPort(4),
            ..FlowSelect::default()
        },
    };
    add(
        Message::MultipartRequest(Request::FlowMonitor(vec![monitor]), false),
        "id=5 flags=initial,add,actions",
    );
    let news = FlowNews {
        event: FlowEvent::Removed,
        reason: Some(RemovedReason::Delete),
        table: 2,
        priority: 100,
        idle_timeout: 60,
        hard_timeout: 300,
        cookie: 0x55,
        matches: tcp(),
        instructions: Instructions::default(),
    };
    let updates = vec![FlowUpdate::Flow(Box::new(news)), FlowUpdate::Own(9)];
    add(
        Message::MultipartReply(Reply::FlowMonitor(updates), false),
        "event=DELETED reason=delete table=2",
    );
    if version < V14 {
        add(Message::FlowMonitorCancel(5), "id=5");
        add(Message::FlowMonitorPaused, "FLOW_MONITOR_PAUSED");
        add(Message::FlowMonitorResumed, "FLOW_MONITOR_RESUMED");
    }
}

fn groups_and_meters(version: Version, add: &mut impl FnMut(Message, &'static str)) {
    let old = version == V10;
    let new = GroupMod::Add(group(SelectionMethod::Default));
    add(Message::GroupMod(new), "ADD group_id=7,type=select,bucket=");
    let change = GroupMod::Modify(Group {
        kind: GroupKind::FastFailover,
        buckets: buckets()
            .into_iter()
            .map(|bucket| Bucket {
                weight: 0,
                watch_port: OfPort(9),
                ..bucket
            })
            .collect(),
        ..group(SelectionMethod::Default)
    });
    add(Message::GroupMod(change), "MOD group_id=7,type=ff");
    add(Message::GroupMod(GroupMod::Delete(7)), "DEL group_id=7");
    add(
        Message::GroupMod(GroupMod::DeleteAll),
        "DEL group_id=4294967292",
    );
    if old || version == V15 {
        let hash = SelectionMethod::Hash {
            fields: vec![(Field::EthDst, 0xffff_ffff_ffff), (Field::Ipv4Src, 0xff)],
            param: 5,
        };
        add(
            Message::GroupMod(GroupMod::Add(group(hash))),
            "selection_method=hash,selection_method_param=5,fields(eth_dst,ip_src=0.0.0.255)",
        );
        let remove = GroupMod::RemoveBucket { id: 7, bucket: 1 };
        add(Message::GroupMod(remove), "REMOVE_BUCKET");
        let insert = GroupMod::InsertBuckets {
            id: 7,
            place: BucketPlace::After(3),
            buckets: buckets().into_iter().take(1).collect(),
        };
        add(
            Message::GroupMod(insert),
            "INSERT_BUCKET command_bucket_id:3,group_id=7,bucket=bucket_id:0,weight:10,actions=",
        );
    }
    add(
        Message::MultipartRequest(Request::Group(GROUP_ALL), false),
        "GROUP request",
    );
    let stats = GroupStats {
        id: 7,
        references: 2,
        packets: 30,
        bytes: 3000,
        duration: Some(AGE),
        buckets: vec![(10, 1000), (20, 2000)],
    };
    add(
        Message::MultipartReply(Reply::Group(vec![stats]), false),
        "packet_count=30,byte_count=3000,bucket0:packet_count=10,byte_count=1000",
    );
    add(
        Message::MultipartRequest(Request::GroupDesc(GROUP_ALL), false),
        "GROUP_DESC request",
    );
    add(
        Message::MultipartReply(
            Reply::GroupDesc(vec![group(SelectionMethod::Default)]),
            false,
        ),
        "group_id=7,type=select,bucket=",
    );
    add(
        Message::MultipartRequest(Request::GroupFeatures, false),
        "GROUP_FEATURES request",
    );
    let features = GroupFeatures {
        types: 0xf,
        capabilities: GroupCapabilities::SELECT_WEIGHT,
        max_groups: [1, 2, 3, 4],
        actions: [1, 1, 1, 1],
    };
    add(
        Message::MultipartReply(Reply::GroupFeatures(features), false),
        "Types:  0xf\n    Capabilities:  0x1",
    );
    if old {
        return;
    }
    add(
        Message::MeterMod(MeterMod::Add(meter())),
        "ADD meter=3 kbps burst bands=\ntype=drop rate=1000 burst_size=100",
    );
    add(Message::MeterMod(MeterMod::Modify(meter())), "MOD meter=3");
    add(Message::MeterMod(MeterMod::Delete(3)), "DEL meter=3");
    add(Message::MeterMod(MeterMod::DeleteAll), "DEL meter=all");
    add(
        Message::MultipartRequest(Request::Meter(3), false),
        "OFPST_METER request",
    );
    let stats = MeterStats {
        id: 3,
        flows: 2,
        packets: 30,
        bytes: 3000,
        duration: AGE,
        bands: vec![(1, 60)],
    };
    add(
        Message::MultipartReply(Reply::Meter(vec![stats]), false),
        "meter:3 flow_count:2 packet_in_count:30 byte_in_count:3000 duration:12.340s bands:\n\
         0: packet_count:1 byte_count:60",
    );
    add(
        Message::MultipartRequest(Request::MeterConfig(3), false),
        "OFPST_METER_CONFIG request",
    );
    add(
        Message::MultipartReply(Reply::MeterConfig(vec![meter()]), false),
        "type=dscp_remark rate=500 burst_size=50 prec_level=1",
    );
    add(
        Message::MultipartRequest(Request::MeterFeatures, false),
        "OFPST_METER_FEATURES request",
    );
    let features = MeterFeatures {
        max_meters: 100,
        band_types: 6,
        capabilities: 0xf,
        max_bands: 8,
        max_color: 1,
    };
    add(
        Message::MultipartReply(Reply::MeterFeatures(features), false),
        "max_meter:100 max_bands:8 max_color:1\nband_types: drop dscp_remark",
    );
}

fn tables(version: Version, add: &mut impl FnMut(Message, &'static str)) {
    let old = version == V10;
    add(
        Message::MultipartRequest(Request::Table, false),
        "OFPST_TABLE request",
    );
    let stats = TableStats {
        table: 0,
        name: if old { "classifier".into() } else { "".into() },
        wildcards: if old { 0x3f_ffff } else { 0 },
        max_entries: if old { 1_000_000 } else { 0 },
        active: 3,
        lookups: 9,
        matches: 6,
    };
    add(
        Message::MultipartReply(Reply::Table(vec![stats]), false),
        "active=3, lookup=9, matched=6",
    );
    if old {
        return;
    }
    let mut change = TableDesc::new(4, TableConfig::default());
    if version >= V14 {
        change.config = TableConfig::EVICTION.with(TableConfig::VACANCY_EVENTS);
        change.vacancy = Some(Vacancy {
            down: 20,
            up: 80,
            now: 0,
        });
    }
    add(Message::TableMod(change), "table_id=4");
    add(
        Message::MultipartRequest(Request::TableFeatures(vec![]), false),
        "OFPST_TABLE_FEATURES request",
    );
    add(
        Message::MultipartRequest(Request::TableFeatures(vec![table_features(version)]), false),
        "OFPST_TABLE_FEATURES request",
    );
    add(
        Message::MultipartReply(Reply::TableFeatures(vec![table_features(version)]), false),
        "table 5 (\"classifier\")",
    );
    if version >= V14 {
        let desc = TableDesc {
            eviction: Some(6),
            vacancy: Some(Vacancy {
                down: 20,
                up: 80,
                now: 50,
            }),
            ..change
        };
        add(
            Message::MultipartRequest(Request::TableDesc, false),
            "OFPST_TABLE_DESC request",
        );
        add(
            Message::MultipartReply(Reply::TableDesc(vec![desc]), false),
            "eviction=on eviction_flags=IMPORTANCE|LIFETIME\n   vacancy=on vacancy_down=20% \
             vacancy_up=80% vacancy=50%",
        );
        let status = TableStatus {
            reason: TableReason::VacancyUp,
            desc,
        };
        add(Message::TableStatus(status), "reason=VACANCY_UP");
    }
}

fn extensions(version: Version, add: &mut impl FnMut(Message, &'static str)) {
    if version > V10 {
        let control = BundleControl {
            bundle: 8,
            command: BundleCommand::CommitRequest,
            flags: BundleFlags::ATOMIC.with(BundleFlags::ORDERED),
        };
        add(
            Message::BundleControl(control),
            "bundle_id=0x8 type=COMMIT_REQUEST flags=atomic ordered",
        );
        let inner = flow_mod(FlowMod::new(FlowCommand::Add, rule(version, tcp())));
        let message = BundleAdd::new(8, BundleFlags::ATOMIC, &inner, version, XID).unwrap();
        add(
            Message::BundleAdd(message),
            "bundle_id=0x8 flags=atomic\nOFPT_FLOW_MOD",
        );
    }
    let request = Message::GroupMod(GroupMod::Delete(7));
    let forward = RequestForward::new(&request, version, XID).unwrap();
    add(Message::RequestForward(forward), "reason=group_mod");
    if version == V10 {
        add(Message::SetFlowFormat(FlowFormat::Nxm), "format=nxm");
    }
    add(Message::FlowModTableId(true), "enable");
    add(
        Message::SetPacketInFormat(PacketInFormat::Nicira2),
        "format=nxt_packet_in2",
    );
    add(Message::FlowAge, "NXT_FLOW_AGE");
    add(Message::SetControllerId(123), "id=123");
    let map = TlvMap {
        class: 0xffff,
        kind: 1,
        size: 4,
        index: 2,
    };
    let change = TlvTableMod {
        command: TlvCommand::Add,
        maps: vec![map],
    };
    add(Message::TlvTableMod(change), "ADD mapping table");
    add(Message::TlvTableRequest, "NXT_TLV_TABLE_REQUEST");
    let table = TlvTable {
        max_space: 256,
        max_fields: 64,
        maps: vec![map],
    };
    add(
        Message::TlvTableReply(table),
        "max option space=256 max fields=64",
    );
    add(Message::CtFlushZone(13), "zone_id=13");
    let flush = CtFilter {
        protocol: 6,
        original: CtTupleFilter {
            src: Some(IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1))),
            dst: Some(IpAddr::V4(Ipv4Addr::new(10, 1, 1, 2))),
            src_port: Some(1),
            dst_port: Some(2),
            ..CtTupleFilter::default()
        },
        zone: Some(5),
        mark: Some((3, 7)),
        labels: Some((1 << 100, u128::MAX)),
        ..CtFilter::default()
    };
    add(Message::CtFlush(Box::new(flush)), "CT_FLUSH");
    let resume = PacketIn {
        // Open vSwitch's own property 0x8002: mirrors, none of them.
        continuation: Some(vec![0x80, 2, 0, 8, 0, 0, 0, 0]),
        userdata: vec![],
        total_len: u32::try_from(frame().len()).unwrap(),
        ..packet_in(PacketInFormat::Nicira2, version)
    };
    add(Message::Resume(Box::new(resume)), "NXT_RESUME");
}
