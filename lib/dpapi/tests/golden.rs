//! Golden frames: the bytes of one sample of every message, beside the version that they belong to.
//!
//! When a message changes, its bytes change, and the test asks for a new version. The samples name
//! every variant: `covered` has no wildcard, so a new variant does not compile without one.

use std::fmt::Write as _;
use std::path::Path;

use vswitch_dpapi::conntrack::{
    CtCounts, CtEnd, CtEnds, CtEntry, CtEvent, CtExpectation, CtHappened, CtSettings, CtState,
    CtTimeout, CtTuple, CtZoneCount, FragmentCounts, FragmentSettings, FragmentStats,
    FragmentsWaiting, TcpEnd, TcpState,
};
use vswitch_dpapi::frame::encode;
use vswitch_dpapi::message::{
    DropRow, FdbRow, FdbStats, FlowStats, GroupStats, MegaflowRow, MeterStats, Origin, PollMode,
    PortCounters, PortStats, Reply, Request, StageStats, State, TableStats, TraceFrame,
    TraceReport, TraceRequest, WorkerStats,
};
use vswitch_dpapi::router::{
    AdvertiseSpec, DhcpSpec, DnatSpec, HopSpec, LeaseRow, NeighbourRow, NeighbourState,
    NeighbourStats, RouteAnswer, SnatSpec,
};
use vswitch_dpapi::tunnel::{
    RouteHop, RouteKind, UnderlayAddress, UnderlayDevice, UnderlayNeighbour, UnderlayRoute,
};
use vswitch_dpapi::{
    Attachment, BridgeId, BridgeSpec, Change, ChangeRefusal, Desired, Endpoint, Event, FlowLimit,
    Fragments, MirrorSpec, PacketIn, PortConfig, PortId, PortKind, PortSpec, Removal, RouteSpec,
    RouteTarget, RouterId, RouterPortSpec, RouterSpec, TunnelKey, TunnelKind, TunnelSpec,
    TunnelTos, TunnelWay, Underlay, UnderlayChange, VERSION, VlanMode, VlanSpec, XskMode,
};
use vswitch_flow::action::{CtHelper, Reason};
use vswitch_flow::group::{BucketPlace, SelectionMethod};
use vswitch_flow::meter::MeterFlags;
use vswitch_flow::{
    Action, Band, BandKind, Bucket, CtFilter, CtTupleFilter, Field, FlowCommand, FlowKey, FlowMod,
    FlowRule, FlowSelect, Group, GroupKind, GroupMod, Match, Meter, MeterMod, OfPort, Prefix,
};

/// Fails to compile when a message is added without a sample below.
fn covered(request: &Request, reply: &Reply) {
    match request {
        Request::Hello { .. }
        | Request::State
        | Request::SetDesired(_)
        | Request::Attach { .. }
        | Request::Detach { .. }
        | Request::Export { .. }
        | Request::SetTables { .. }
        | Request::Change { .. }
        | Request::Flows { .. }
        | Request::MoreFlows { .. }
        | Request::Aggregate { .. }
        | Request::Tables { .. }
        | Request::Groups { .. }
        | Request::Meters { .. }
        | Request::PacketOut { .. }
        | Request::Resume { .. }
        | Request::Events
        | Request::Fdb { .. }
        | Request::FlushFdb { .. }
        | Request::Megaflows { .. }
        | Request::Ports
        | Request::Workers
        | Request::Drops
        | Request::Trace(_)
        | Request::SetPoll(_)
        | Request::Shutdown
        | Request::FdbStats { .. }
        | Request::SetConntrack(_)
        | Request::Connections { .. }
        | Request::FlushConnections(_)
        | Request::Expectations
        | Request::CountConnections { .. }
        | Request::ConnectionStats
        | Request::ZoneCounts { .. }
        | Request::Fragments
        | Request::ConnectionEvents { .. }
        | Request::SetUnderlay(_)
        | Request::ChangeUnderlay(_)
        | Request::SetRoutes { .. }
        | Request::ChangeRoutes { .. }
        | Request::FindRoute { .. }
        | Request::Neighbours { .. }
        | Request::FlushNeighbours { .. }
        | Request::Leases => {}
    }
    match reply {
        Reply::Hello { .. }
        | Reply::State(_)
        | Reply::Applied { .. }
        | Reply::Done
        | Reply::Refused { .. }
        | Reply::Attachment(_)
        | Reply::ChangeRefused { .. }
        | Reply::Flows { .. }
        | Reply::Aggregate { .. }
        | Reply::Tables(_)
        | Reply::Groups(_)
        | Reply::Meters(_)
        | Reply::Event(_)
        | Reply::Fdb(_)
        | Reply::Megaflows(_)
        | Reply::Ports(_)
        | Reply::Workers(_)
        | Reply::Drops(_)
        | Reply::Trace(_)
        | Reply::FdbStats(_)
        | Reply::Connections { .. }
        | Reply::Flushed(_)
        | Reply::Expectations(_)
        | Reply::ConnectionCounts(_)
        | Reply::ConnectionStats(_)
        | Reply::ZoneCounts(_)
        | Reply::Fragments(_)
        | Reply::ConnectionEvents { .. }
        | Reply::Route(_)
        | Reply::Neighbours { .. }
        | Reply::Leases(_) => {}
    }
}

fn rule() -> FlowRule {
    FlowRule {
        table: 3,
        priority: 1000,
        cookie: 0x0123_4567,
        matches: Match::any().with(Field::InPort, 1).with_masked(
            Field::Ipv4Dst,
            0x0a01_0000,
            0xffff_0000,
        ),
        instructions: vec![
            Action::SetField {
                field: Field::EthSrc,
                value: 0x0200_0000_0001,
                mask: 0xffff_ffff_ffff,
            },
            Action::PushVlan(0x8100),
            Action::PopVlan,
            Action::Output(OfPort::NORMAL),
        ]
        .into(),
        ..FlowRule::default()
    }
}

fn desired() -> Desired {
    let port = |id, kind| PortSpec {
        id: PortId(id),
        bridge: BridgeId(1),
        name: format!("p{id}"),
        of_port: OfPort(id),
        kind,
        vlan: VlanSpec {
            mode: VlanMode::NativeTagged,
            tag: 7,
            trunks: vec![8, 9],
        },
        mtu: 9000,
        up: true,
        config: PortConfig {
            no_flood: true,
            ..PortConfig::default()
        },
    };
    Desired {
        bridges: vec![BridgeSpec {
            id: BridgeId(1),
            name: "br0".into(),
            mac_table_size: 8192,
            mac_aging_time: 300,
            flow_limits: vec![FlowLimit {
                table: 0,
                len: 100,
                evict: true,
            }],
            miss_to_controller: true,
            fragments: Fragments::NxMatch,
            mirrors: vec![MirrorSpec {
                name: "m0".into(),
                select_all: true,
                select_src: vec![PortId(1)],
                select_dst: vec![PortId(2)],
                select_vlan: vec![10],
                output_port: Some(PortId(3)),
                output_vlan: Some(11),
            }],
        }],
        ports: vec![
            port(1, PortKind::Afxdp),
            port(2, PortKind::Tap),
            port(3, PortKind::Packet),
            port(4, PortKind::Internal),
            port(
                5,
                PortKind::Patch {
                    peer: Some(PortId(9)),
                },
            ),
            port(6, PortKind::Null),
            port(7, PortKind::Pcap),
            port(8, PortKind::Tunnel(Box::new(tunnel()))),
            port(9, PortKind::Uplink),
            port(10, PortKind::Socket),
            port(11, PortKind::Router(Box::new(router_port()))),
        ],
        routers: vec![RouterSpec {
            id: RouterId(3),
            name: "r1".into(),
            neighbours_max: 16_384,
            errors_rate: 100,
            zone: 0xf003,
        }],
    }
}

fn router_port() -> RouterPortSpec {
    RouterPortSpec {
        router: RouterId(3),
        mac: [2, 0, 0, 0, 0, 9],
        addresses: vec![prefix("10.0.1.1/24"), prefix("fd00::1/64")],
        proxy_arp: true,
        advertise: Some(AdvertiseSpec {
            interval: 600,
            lifetime: 1800,
        }),
        dhcp: Some(DhcpSpec {
            ranges: vec![([10, 0, 1, 100].into(), [10, 0, 1, 199].into())],
            hosts: vec![([2, 0, 0, 0, 0, 7], [10, 0, 1, 7].into())],
            lease_time: 3600,
        }),
        dhcpv6: true,
        dns: vec![[10, 0, 1, 53].into()],
        snat: vec![SnatSpec {
            addresses: ([10, 0, 1, 1].into(), [10, 0, 1, 1].into()),
            ports: Some((1024, 65_535)),
        }],
        dnat: vec![DnatSpec {
            protocol: 6,
            address: [10, 0, 1, 1].into(),
            ports: (8080, 8089),
            to: [10, 0, 2, 9].into(),
            to_port: 80,
        }],
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn routes() -> Vec<RouteSpec> {
    let targets = [
        RouteTarget::Via(vec![HopSpec {
            gateway: Some([10, 0, 1, 2].into()),
            port: Some(PortId(11)),
            weight: 3,
        }]),
        RouteTarget::Blackhole,
        RouteTarget::Prohibit,
        RouteTarget::Unreachable,
    ];
    let route = |target| RouteSpec {
        prefix: prefix("192.0.2.0/24"),
        source: Some(prefix("10.0.0.0/8")),
        target,
    };
    targets.map(route).into()
}

fn tunnel() -> TunnelSpec {
    TunnelSpec {
        kind: TunnelKind::Geneve,
        remote: Endpoint::Address([10, 1, 1, 1].into()),
        local: Some(Endpoint::Flow),
        in_key: TunnelKey::Id(5),
        out_key: TunnelKey::Flow,
        udp_port: 6081,
        csum: Some(true),
        ttl: Some(9),
        tos: TunnelTos::Set(0x28),
        dont_fragment: true,
        way: TunnelWay::Bridge,
        check_source: true,
    }
}

fn underlay() -> Underlay {
    Underlay {
        devices: vec![UnderlayDevice {
            ifindex: 3,
            name: "br-u".into(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            up: true,
            internal: Some(PortId(4)),
            uplink: None,
            socket: Some(PortId(10)),
        }],
        addresses: vec![UnderlayAddress {
            device: 3,
            address: [10, 1, 1, 2].into(),
            prefix_len: 24,
        }],
        routes: vec![UnderlayRoute {
            prefix: [10, 1, 1, 0].into(),
            prefix_len: 24,
            metric: 100,
            kind: RouteKind::Unicast,
            hops: vec![RouteHop {
                device: 3,
                gateway: Some([10, 1, 1, 9].into()),
                weight: 1,
            }],
            source: Some([10, 1, 1, 2].into()),
            mtu: Some(1400),
        }],
        neighbours: vec![UnderlayNeighbour {
            device: 3,
            address: [10, 1, 1, 1].into(),
            mac: [2, 0, 0, 0, 0, 2],
        }],
    }
}

fn underlay_changes() -> Vec<UnderlayChange> {
    let Underlay {
        devices,
        addresses,
        routes,
        neighbours,
    } = underlay();
    let devices = devices.into_iter().map(UnderlayChange::Device);
    let addresses = addresses.into_iter().flat_map(|address| {
        [
            UnderlayChange::Address(address),
            UnderlayChange::NoAddress(address),
        ]
    });
    let routes = routes.into_iter().map(UnderlayChange::Route);
    let neighbours = neighbours.into_iter().map(UnderlayChange::Neighbour);
    let gone = [
        UnderlayChange::NoDevice(3),
        UnderlayChange::NoRoute {
            prefix: [10, 1, 1, 0].into(),
            prefix_len: 24,
            metric: 100,
        },
        UnderlayChange::NoNeighbour {
            device: 3,
            address: [10, 1, 1, 1].into(),
        },
    ];
    devices
        .chain(addresses)
        .chain(routes)
        .chain(neighbours)
        .chain(gone)
        .collect()
}

fn settings() -> CtSettings {
    CtSettings {
        max_connections: 10,
        tcp_seq_chk: false,
        tcp_loose: true,
        default_limit: 4,
        limits: [(5, 6)].into(),
        timeouts: [(CtTimeout::TcpSynSent, 7)].into(),
        zone_timeouts: [(5, [(CtTimeout::IcmpReply, 8)].into())].into(),
        max_fragments: 9,
        fragments_v4: FragmentSettings {
            collect: true,
            min_size: 400,
        },
        fragments_v6: FragmentSettings {
            collect: false,
            min_size: 1280,
        },
    }
}

fn filter() -> CtFilter {
    let tuple = CtTupleFilter {
        src: Some([10, 1, 1, 1].into()),
        dst: None,
        src_port: Some(1),
        dst_port: Some(2),
        icmp_id: Some(3),
        icmp_type: Some(4),
        icmp_code: Some(5),
    };
    CtFilter {
        protocol: 6,
        original: tuple,
        reply: tuple,
        zone: Some(5),
        mark: Some((1, 2)),
        labels: Some((3, 1 << 100)),
    }
}

fn tuple(ends: CtEnds) -> CtTuple {
    CtTuple {
        protocol: 6,
        src: [10, 1, 1, 1].into(),
        dst: [10, 1, 1, 2].into(),
        ends,
    }
}

fn entry() -> CtEntry {
    let ends = CtEnds::Ports { src: 1, dst: 2 };
    let end = TcpEnd {
        state: TcpState::Established,
        scale: Some(7),
        missed: false,
    };
    CtEntry {
        id: 1,
        original: tuple(ends),
        reply: tuple(ends),
        parent: Some(tuple(CtEnds::Icmp {
            id: 1,
            kind: 8,
            code: 0,
        })),
        zone: 2,
        mark: 3,
        labels: 4,
        state: CtState::Tcp([end, TcpEnd::default()]),
        snat: true,
        dnat: false,
        helper: Some(CtHelper::Ftp),
        timeout_ms: 5,
        age_ms: 6,
        counters: [(7, 8), (9, 10)],
    }
}

fn group() -> Group {
    Group {
        id: 1,
        kind: GroupKind::Select,
        selection: SelectionMethod::Hash {
            fields: vec![(Field::Ipv4Dst, 0xffff_ff00)],
            param: 7,
        },
        buckets: vec![Bucket {
            id: 2,
            weight: 100,
            watch_port: OfPort::ANY,
            watch_group: 0xffff_ffff,
            actions: vec![Action::Output(OfPort(3))],
        }],
    }
}

fn meter() -> Meter {
    Meter {
        id: 1,
        flags: MeterFlags::PKTPS,
        bands: vec![Band {
            kind: BandKind::DscpRemark { levels: 1 },
            rate: 1000,
            burst: 100,
        }],
    }
}

fn requests() -> Vec<Request> {
    let bridge = BridgeId(1);
    let port = PortId(2);
    let mut key = FlowKey::default();
    key.set(Field::EthDst, 0x0200_0000_0002);
    let attachments = [
        Attachment::Tap { offloads: 0x77 },
        Attachment::Packet { ifindex: 12 },
        Attachment::Xsk {
            ifindex: 12,
            mode: XskMode::Native,
            multi_buffer: true,
            local: true,
            steered: true,
        },
        Attachment::Socket {
            queues: 2,
            receivers: 3,
            senders: 4,
        },
        Attachment::Pcap {
            replay: true,
            capture: true,
            paced: false,
            repeat: true,
        },
        Attachment::None,
    ];
    let mut requests = vec![
        // The version itself is not part of what has a version.
        Request::Hello { version: 0 },
        Request::State,
        Request::SetDesired(Box::new(desired())),
        Request::Detach { port },
        Request::Export { port },
        Request::SetTables {
            bridge,
            flows: vec![rule()],
            groups: vec![group()],
            meters: vec![meter()],
        },
        Request::Change {
            bridge,
            changes: vec![
                FlowMod::new(FlowCommand::Add, rule()).into(),
                FlowMod::delete(Some(1), rule().matches).into(),
                Change::Group(Box::new(GroupMod::Add(group()))),
                Change::Group(Box::new(GroupMod::InsertBuckets {
                    id: 1,
                    place: BucketPlace::After(2),
                    buckets: group().buckets,
                })),
                Change::Meter(Box::new(MeterMod::Modify(meter()))),
            ],
        },
        Request::Flows {
            bridge,
            select: Box::new(FlowSelect::default()),
            max: 100,
        },
        Request::MoreFlows { max: 100 },
        Request::Aggregate {
            bridge,
            select: Box::new(FlowSelect::default()),
        },
        Request::Tables { bridge },
        Request::Groups { bridge, id: None },
        Request::Meters {
            bridge,
            id: Some(1),
        },
        Request::PacketOut {
            bridge,
            in_port: OfPort::CONTROLLER,
            packet: vec![1, 2, 3],
            actions: vec![Action::Output(OfPort::TABLE)],
        },
        Request::Resume {
            bridge,
            packet: vec![1, 2, 3],
            fields: Box::new(rule().matches),
            continuation: vec![4, 5],
        },
        Request::Events,
        Request::Fdb { bridge },
        Request::FlushFdb { bridge },
        Request::Megaflows { rules: true },
        Request::Ports,
        Request::Workers,
        Request::Drops,
        Request::Trace(Box::new(TraceRequest {
            bridge,
            key,
            frame: TraceFrame::Bytes(vec![1, 2]),
            actions: Some(vec![Action::Exit]),
            names: true,
            ct_next: vec![0x22],
        })),
        Request::Trace(Box::new(TraceRequest {
            bridge,
            key,
            frame: TraceFrame::Made(vec![3]),
            actions: None,
            names: false,
            ct_next: Vec::new(),
        })),
        Request::SetPoll(PollMode::Busy),
        Request::Shutdown,
        Request::FdbStats { bridge },
        Request::SetConntrack(Box::new(settings())),
        Request::Connections {
            from: 1,
            max: 100,
            filter: Box::new(filter()),
        },
        Request::FlushConnections(Box::new(filter())),
        Request::Expectations,
        Request::CountConnections { zone: Some(5) },
        Request::ConnectionStats,
        Request::ZoneCounts { zones: vec![1, 2] },
        Request::Fragments,
        Request::ConnectionEvents { max: 100 },
        Request::SetUnderlay(Box::new(underlay())),
        Request::ChangeUnderlay(underlay_changes()),
        Request::SetRoutes {
            router: RouterId(3),
            routes: routes(),
        },
        Request::ChangeRoutes {
            router: RouterId(3),
            remove: vec![(prefix("10.0.0.0/8"), None)],
            add: routes(),
        },
        Request::FindRoute {
            router: RouterId(3),
            from: Some([10, 0, 1, 2].into()),
            to: [192, 0, 2, 1].into(),
        },
        Request::Neighbours {
            router: RouterId(3),
        },
        Request::FlushNeighbours {
            router: RouterId(3),
            port: Some(PortId(11)),
            address: Some([10, 0, 1, 2].into()),
        },
        Request::Leases,
    ];
    requests.extend(
        attachments
            .into_iter()
            .map(|attachment| Request::Attach { port, attachment }),
    );
    requests
}

fn replies() -> Vec<Reply> {
    let port = PortId(2);
    vec![
        Reply::Hello {
            version: 0,
            pid: 4321,
        },
        Reply::State(Box::new(State {
            uptime: 99,
            desired: desired(),
            attached: vec![port],
            poll: PollMode::Adaptive,
            conntrack: settings(),
        })),
        Reply::Applied {
            unattached: vec![port],
        },
        Reply::Done,
        Reply::Refused { why: "no".into() },
        Reply::Attachment(Attachment::None),
        Reply::ChangeRefused {
            at: 3,
            why: ChangeRefusal::GotoBack { from: 3, to: 2 },
        },
        Reply::Flows {
            rows: vec![FlowStats {
                flow: rule(),
                packets: 1,
                bytes: 2,
                age_ms: 3,
                idle_ms: Some(4),
            }],
            more: true,
        },
        Reply::Aggregate {
            packets: 1,
            bytes: 2,
            flows: 3,
        },
        Reply::Tables(vec![TableStats {
            table: 1,
            active: 2,
            lookups: 3,
            matched: 4,
        }]),
        Reply::Groups(vec![GroupStats {
            group: group(),
            references: 1,
            packets: 2,
            bytes: 3,
            age_ms: 4,
            buckets: vec![(2, 3)],
        }]),
        Reply::Meters(vec![MeterStats {
            meter: meter(),
            flows: 1,
            packets: 2,
            bytes: 3,
            age_ms: 4,
            bands: vec![(1, 2)],
        }]),
        Reply::Fdb(vec![FdbRow {
            port,
            of_port: OfPort::LOCAL,
            vlan: 10,
            mac: [2, 0, 0, 0, 0, 1],
            age: 5,
        }]),
        Reply::Megaflows(vec![MegaflowRow {
            worker: 1,
            matches: Box::new(rule().matches),
            actions: "2,3".into(),
            rules: vec![Origin {
                bridge: Some(BridgeId(1)),
                flow: Box::new(rule()),
            }],
            packets: 1,
            bytes: 2,
            idle_ms: None,
        }]),
        Reply::Ports(vec![PortStats {
            port,
            attached: true,
            workers: vec![0, 1],
            detail: "native".into(),
            counters: PortCounters {
                rx_packets: 1,
                rx_bytes: 2,
                rx_dropped: 3,
                rx_errors: 4,
                tx_packets: 5,
                tx_bytes: 6,
                tx_dropped: 7,
                tx_errors: 8,
            },
        }]),
        Reply::Workers(vec![WorkerStats {
            worker: 1,
            core: Some(2),
            busy_rounds: 3,
            stages: vec![StageStats {
                name: "rx".into(),
                cycles: 1,
                packets: 2,
                batches: 3,
            }],
            latency_us: [1.0, 2.0, 3.0, 4.0, 5.0],
            queues: vec![(port, 0, 1000)],
            ..WorkerStats::default()
        }]),
        Reply::Drops(vec![DropRow {
            reason: "too_short".into(),
            sentence: "Short.".into(),
            packets: 1,
        }]),
        Reply::Trace(TraceReport {
            lines: vec!["Flow: ip".into()],
            actions: "drop".into(),
            failure: Some("Too deep".into()),
        }),
        Reply::Event(Box::new(Event::PacketIn(Box::new(PacketIn {
            bridge: BridgeId(1),
            reason: Reason::Action,
            implicit_miss: false,
            table: 1,
            cookie: 2,
            controller: 3,
            max_len: 128,
            in_port: OfPort(4),
            packet: vec![1, 2, 3],
            fields: rule().matches,
            userdata: vec![5],
            continuation: Some(vec![6]),
            lost: 7,
        })))),
        Reply::Event(Box::new(Event::FlowRemoved {
            bridge: BridgeId(1),
            rule: Box::new(rule()),
            reason: Removal::Idle,
            packets: 1,
            bytes: 2,
            age_ms: 3,
        })),
        Reply::Event(Box::new(Event::Learned {
            bridge: BridgeId(1),
            change: Box::new(FlowMod::new(FlowCommand::Add, rule())),
        })),
        Reply::Event(Box::new(Event::Timeouts {
            bridge: BridgeId(1),
            rule: Box::new(rule()),
        })),
        Reply::Event(Box::new(Event::Resolve {
            device: 3,
            address: [10, 1, 1, 1].into(),
        })),
        Reply::FdbStats(FdbStats {
            len: 1,
            learned: 2,
            expired: 3,
            evicted: 4,
            moved: 5,
        }),
        Reply::Connections {
            rows: vec![
                entry(),
                CtEntry {
                    state: CtState::Other { replied: true },
                    ..entry()
                },
            ],
            next: Some(3),
        },
        Reply::Flushed(1),
        Reply::Expectations(vec![CtExpectation {
            original: tuple(CtEnds::Ports { src: 0, dst: 2 }),
            parent: tuple(CtEnds::Ports { src: 1, dst: 21 }),
            zone: 1,
            mark: 2,
            labels: 3,
        }]),
        Reply::ConnectionCounts(CtCounts {
            total: 3,
            protocols: [(6, 2), (17, 1)].into(),
            tcp: [(TcpState::TimeWait, 2)].into(),
        }),
        Reply::ConnectionStats(Box::new(CtHappened {
            len: 1,
            created: 2,
            expired: 3,
            flushed: 4,
            evicted: 5,
            replaced: 6,
            not_new: 7,
            outside_window: 8,
            zone_full: 9,
            table_full: 10,
            nat_exhausted: 11,
            unexpected: 12,
        })),
        Reply::ZoneCounts(vec![CtZoneCount { zone: 1, count: 2 }]),
        Reply::Fragments(FragmentStats {
            held: 1,
            v4: FragmentCounts {
                accepted: 1,
                completed: 2,
                expired: 3,
                too_small: 4,
                overlapped: 5,
                purged: 6,
            },
            v6: FragmentCounts::default(),
            waiting: vec![FragmentsWaiting {
                src: [10, 1, 1, 1].into(),
                dst: [10, 1, 1, 2].into(),
                ident: 1,
                zone: 2,
                protocol: 17,
                len: 3,
                has_first: true,
                has_last: false,
                is_spoiled: false,
            }],
        }),
        Reply::Route(RouteAnswer::Local(PortId(11))),
        Reply::Route(RouteAnswer::Connected {
            network: prefix("10.0.1.0/24"),
            port: PortId(11),
        }),
        Reply::Route(RouteAnswer::Route(routes().remove(0))),
        Reply::Route(RouteAnswer::None),
        Reply::Neighbours {
            rows: [
                NeighbourState::Incomplete,
                NeighbourState::Reachable,
                NeighbourState::Stale,
                NeighbourState::Probe,
                NeighbourState::Failed,
            ]
            .map(|state| NeighbourRow {
                port: PortId(11),
                address: [10, 0, 1, 2].into(),
                mac: Some([2, 0, 0, 0, 0, 7]),
                state,
                confirmed: 5,
                waiting: 1,
            })
            .into(),
            stats: NeighbourStats {
                len: 1,
                waiting: 2,
                asked: 3,
                learned: 4,
                moved: 5,
                refused: 6,
                failed: 7,
                evicted: 8,
            },
        },
        Reply::Leases(vec![LeaseRow {
            port: PortId(11),
            address: [10, 0, 1, 100].into(),
            mac: [2, 0, 0, 0, 0, 7],
            left: 3000,
        }]),
        Reply::ConnectionEvents {
            rows: vec![
                CtEvent::New(entry()),
                CtEvent::Destroyed(entry(), CtEnd::Replaced),
            ],
            lost: 1,
        },
    ]
}

#[test]
fn messages_have_the_bytes_of_their_version() {
    let mut text = format!("version {VERSION}\n");
    let mut add = |name: String, frame: Vec<u8>| {
        let name = name
            .split([' ', '(', '{'])
            .next()
            .unwrap_or_default()
            .to_owned();
        let hex = frame.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(text, "{name} {hex}");
    };
    for request in requests() {
        covered(&request, &Reply::Done);
        add(
            format!("{request:?}"),
            encode(&request, 0).expect("encodes"),
        );
    }
    for reply in replies() {
        covered(&Request::State, &reply);
        add(format!("{reply:?}"), encode(&reply, 0).expect("encodes"));
    }

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden.txt");
    if std::env::var_os("UPDATE").is_some() {
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let same_version = old.lines().next() == text.lines().next();
        assert!(
            !same_version || old == text,
            "messages have changed: raise VERSION in lib/dpapi/src/lib.rs before updating"
        );
        std::fs::write(&path, &text).expect("the golden file is written");
        return;
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is there");
    for (ours, theirs) in text.lines().zip(golden.lines()) {
        assert_eq!(
            ours, theirs,
            "a message has changed: raise VERSION and run this test with UPDATE=1"
        );
    }
    assert_eq!(text.lines().count(), golden.lines().count());
}
