//! The control socket of a datapath with two workers: requests, replies, events.

use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use vswitch_datapath::control::{Config, Control, serve};
use vswitch_dpapi::conntrack::{
    CtCounts, CtEnd, CtEnds, CtEntry, CtEvent, CtSettings, CtState, CtZoneCount, FragmentStats,
};
use vswitch_dpapi::message::{PollMode, TraceFrame, TraceReport, TraceRequest};
use vswitch_dpapi::{
    Attachment, BridgeId, BridgeSpec, Change, ChangeRefusal, Connection, Desired, Event, Fragments,
    PortConfig, PortId, PortKind, PortSpec, Removal, Reply, Request, VERSION, VlanSpec,
};
use vswitch_flow::action::{Ct, CtZone, Reason, ToController};
use vswitch_flow::group::SelectionMethod;
use vswitch_flow::meter::MeterFlags;
use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::text::{no_names, parse_match};
use vswitch_flow::{
    Action, Band, BandKind, Bucket, CtFilter, CtTupleFilter, Field, FlowCommand, FlowFlags,
    FlowMod, FlowRule, FlowSelect, Group, GroupKind, GroupMod, Instructions, Match, Meter,
    MeterMod, OfPort,
};
use vswitch_packet::build::Builder;
use vswitch_packet::mpls;

const BRIDGE: BridgeId = BridgeId(1);

struct Datapath {
    path: PathBuf,
    asks: Connection,
    thread: Option<JoinHandle<()>>,
}

fn connect(path: &PathBuf) -> Connection {
    Connection::new(UnixStream::connect(path).expect("the datapath listens"))
}

impl Datapath {
    /// A datapath with one bridge and two ports that take everything.
    fn start(name: &str) -> Self {
        let file = format!("vswitch-control-{}-{name}.sock", std::process::id());
        let path = std::env::temp_dir().join(file);
        let listener = UnixListener::bind(&path).expect("a socket");
        let control = Control::start(Config {
            cores: vec![None, None],
            chunks: 1024,
            larges: 64,
            poll: PollMode::Adaptive,
            sleep_after: Duration::from_micros(100),
            seed: 5,
        });
        let control = control.expect("memory and threads");
        let thread = std::thread::spawn(move || {
            serve(control, &listener).expect("the socket works");
        });
        let mut datapath = Self {
            asks: connect(&path),
            path,
            thread: Some(thread),
        };
        let hello = datapath.ask(Request::Hello { version: VERSION });
        assert!(matches!(hello, Reply::Hello { .. }));
        let port = |id: u32| PortSpec {
            id: PortId(id),
            bridge: BRIDGE,
            name: format!("p{id}"),
            of_port: OfPort(id),
            kind: PortKind::Null,
            vlan: VlanSpec::default(),
            mtu: 1500,
            up: true,
            config: PortConfig::default(),
        };
        let desired = Desired {
            bridges: vec![BridgeSpec {
                id: BRIDGE,
                name: "br0".to_owned(),
                mac_table_size: 100,
                mac_aging_time: 300,
                mirrors: Vec::new(),
                flow_limits: Vec::new(),
                miss_to_controller: false,
                fragments: Fragments::Normal,
            }],
            ports: vec![port(1), port(2)],
            routers: Vec::new(),
        };
        let applied = datapath.ask(Request::SetDesired(Box::new(desired)));
        assert!(matches!(applied, Reply::Applied { .. }), "{applied:?}");
        for id in 1..=2 {
            let attach = Request::Attach {
                port: PortId(id),
                attachment: Attachment::None,
            };
            assert_eq!(datapath.ask(attach), Reply::Done);
        }
        datapath
    }

    fn ask(&mut self, request: Request) -> Reply {
        self.asks.send(&request, &[]).expect("sent");
        self.asks.receive().expect("answered").0
    }

    fn change(&mut self, changes: Vec<Change>) -> Reply {
        self.ask(Request::Change {
            bridge: BRIDGE,
            changes,
        })
    }

    fn listen(&self) -> Connection {
        let mut events = connect(&self.path);
        events.send(&Request::Events, &[]).expect("sent");
        assert_eq!(events.receive::<Reply>().expect("answered").0, Reply::Done);
        events
    }

    fn packet_out(&mut self, in_port: OfPort, actions: Vec<Action>) -> Reply {
        let packet = [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &[0; 46]].concat();
        self.ask(Request::PacketOut {
            bridge: BRIDGE,
            in_port,
            packet,
            actions,
        })
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        if self.asks.send(&Request::Shutdown, &[]).is_ok() {
            let _ = self.asks.receive::<Reply>();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn next(events: &mut Connection) -> Event {
    match events.receive::<Reply>().expect("an event").0 {
        Reply::Event(event) => *event,
        other => panic!("no event: {other:?}"),
    }
}

fn add(rule: FlowRule) -> Change {
    FlowMod::new(FlowCommand::Add, rule).into()
}

fn to(port: u32) -> FlowRule {
    FlowRule {
        instructions: vec![Action::Output(OfPort(port))].into(),
        ..FlowRule::default()
    }
}

#[test]
fn flows_come_in_parts_as_they_were_chosen() {
    let mut datapath = Datapath::start("parts");
    let flows = (0..250).map(|i| {
        add(FlowRule {
            cookie: i,
            matches: Match::any().with(Field::Metadata, i.into()),
            ..to(2)
        })
    });
    assert_eq!(datapath.change(flows.collect()), Reply::Done);
    let select = FlowSelect {
        cookie: 0,
        cookie_mask: 1,
        out_port: OfPort(2),
        ..FlowSelect::default()
    };
    let mut request = Request::Flows {
        bridge: BRIDGE,
        select: Box::new(select.clone()),
        max: 50,
    };
    let mut cookies = Vec::new();
    loop {
        let Reply::Flows { rows, more } = datapath.ask(request) else {
            panic!("no flows");
        };
        assert!(rows.len() <= 50);
        cookies.extend(rows.iter().map(|row| row.flow.cookie));
        if !more {
            break;
        }
        if cookies.len() == 50 {
            // What is deleted meanwhile was chosen all the same.
            let all = FlowMod::delete(None, Match::any());
            assert_eq!(datapath.change(vec![all.into()]), Reply::Done);
        }
        request = Request::MoreFlows { max: 50 };
    }
    cookies.sort_unstable();
    assert_eq!(cookies, (0..125).map(|i| 2 * i).collect::<Vec<_>>());
    let sum = Request::Aggregate {
        bridge: BRIDGE,
        select: Box::new(select),
    };
    let Reply::Aggregate { flows, .. } = datapath.ask(sum) else {
        panic!("no sum");
    };
    assert_eq!(flows, 0);
}

#[test]
fn a_refused_batch_says_which_change_and_why() {
    let mut datapath = Datapath::start("refused");
    let batch = vec![
        add(to(2)),
        add(FlowRule {
            instructions: vec![Action::Group(9)].into(),
            ..FlowRule::default()
        }),
    ];
    let refused = Reply::ChangeRefused {
        at: 1,
        why: ChangeRefusal::NoOutGroup(9),
    };
    assert_eq!(datapath.change(batch), refused);
    let Reply::Tables(tables) = datapath.ask(Request::Tables { bridge: BRIDGE }) else {
        panic!("no tables");
    };
    assert!(tables.is_empty(), "{tables:?}");
}

#[test]
fn what_a_controller_sends_is_done_and_counted_when_it_is_answered() {
    let mut datapath = Datapath::start("out");
    let group = Group {
        id: 3,
        kind: GroupKind::All,
        selection: SelectionMethod::Default,
        buckets: vec![Bucket {
            id: 0,
            weight: 0,
            watch_port: OfPort::ANY,
            watch_group: GROUP_ANY,
            actions: vec![Action::Output(OfPort(2))],
        }],
    };
    let meter = Meter {
        id: 1,
        flags: MeterFlags::PKTPS,
        bands: vec![Band {
            kind: BandKind::Drop,
            rate: 1,
            burst: 3,
        }],
    };
    let mut flow = FlowRule {
        instructions: vec![Action::Group(3)].into(),
        ..FlowRule::default()
    };
    flow.instructions.meter = Some(1);
    let changes = vec![
        Change::Group(Box::new(GroupMod::Add(group))),
        Change::Meter(Box::new(MeterMod::Add(meter))),
        add(flow),
    ];
    assert_eq!(datapath.change(changes), Reply::Done);
    for _ in 0..5 {
        let table = vec![Action::Output(OfPort::TABLE)];
        assert_eq!(datapath.packet_out(OfPort(1), table), Reply::Done);
    }
    let request = Request::Flows {
        bridge: BRIDGE,
        select: Box::default(),
        max: 10,
    };
    let Reply::Flows { rows, .. } = datapath.ask(request) else {
        panic!("no flows");
    };
    assert_eq!((rows[0].packets, rows[0].bytes), (5, 300));
    let Reply::Tables(tables) = datapath.ask(Request::Tables { bridge: BRIDGE }) else {
        panic!("no tables");
    };
    assert_eq!(
        (tables[0].active, tables[0].lookups, tables[0].matched),
        (1, 5, 5)
    );
    let request = Request::Groups {
        bridge: BRIDGE,
        id: None,
    };
    let Reply::Groups(groups) = datapath.ask(request) else {
        panic!("no groups");
    };
    assert_eq!(
        (groups[0].references, groups[0].buckets.as_slice()),
        (1, [(5, 300)].as_slice())
    );
    let request = Request::Meters {
        bridge: BRIDGE,
        id: Some(1),
    };
    let Reply::Meters(meters) = datapath.ask(request) else {
        panic!("no meters");
    };
    assert_eq!((meters[0].flows, meters[0].packets), (1, 5));
    assert_eq!(meters[0].bands, [(2, 120)]);
    let Reply::Ports(ports) = datapath.ask(Request::Ports) else {
        panic!("no ports");
    };
    assert_eq!(ports[1].counters.tx_packets, 3);
}

#[test]
fn listeners_hear_of_packets_and_flows_that_went() {
    let mut datapath = Datapath::start("events");
    let mut events = datapath.listen();
    let to_controller = Action::Controller(Box::new(ToController {
        max_len: 65_535,
        id: 0,
        reason: Reason::Action,
        userdata: Vec::new(),
        pause: false,
        meter: None,
    }));
    let flow = FlowRule {
        priority: 1,
        cookie: 5,
        hard_timeout: 1,
        flags: FlowFlags::SEND_FLOW_REM,
        instructions: vec![to_controller].into(),
        ..FlowRule::default()
    };
    assert_eq!(datapath.change(vec![add(flow)]), Reply::Done);
    let table = vec![Action::Output(OfPort::TABLE)];
    assert_eq!(datapath.packet_out(OfPort(1), table), Reply::Done);
    match next(&mut events) {
        Event::PacketIn(packet) => {
            assert_eq!(
                (packet.in_port, packet.cookie, packet.packet.len()),
                (OfPort(1), 5, 60)
            );
        }
        other => panic!("no packet: {other:?}"),
    }
    match next(&mut events) {
        Event::FlowRemoved {
            reason,
            packets,
            bytes,
            age_ms,
            ..
        } => {
            assert_eq!((reason, packets, bytes), (Removal::Hard, 1, 60));
            assert!((1000..1500).contains(&age_ms), "{age_ms}");
        }
        other => panic!("no flow: {other:?}"),
    }
    // Who leaves is not missed.
    drop(events);
    let mut events = datapath.listen();
    let flow = FlowRule {
        flags: FlowFlags::SEND_FLOW_REM,
        ..to(2)
    };
    let gone = FlowMod::delete(None, Match::any()).into();
    assert_eq!(datapath.change(vec![add(flow), gone]), Reply::Done);
    assert!(matches!(
        next(&mut events),
        Event::FlowRemoved {
            reason: Removal::Delete,
            ..
        }
    ));
}

/// An MPLS entry before an IPv4 packet.
fn labelled() -> Vec<u8> {
    let entry = |label, bottom| mpls::Repr {
        label,
        traffic_class: 0,
        bottom,
        ttl: 9,
    };
    Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .mpls(entry(100, true))
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
        .udp(1000, 53)
        .build()
}

fn trace(datapath: &mut Datapath, frame: TraceFrame, actions: Option<Vec<Action>>) -> TraceReport {
    let matches = parse_match("in_port=1,mpls,mpls_label=100,mpls_bos=1", &no_names);
    let request = TraceRequest {
        bridge: BRIDGE,
        key: matches.expect("a match").key(),
        frame,
        actions,
        names: false,
        ct_next: Vec::new(),
    };
    match datapath.ask(Request::Trace(Box::new(request))) {
        Reply::Trace(report) => report,
        other => panic!("no trace: {other:?}"),
    }
}

#[test]
fn a_trace_goes_on_behind_headers_that_are_read_again() {
    let mut datapath = Datapath::start("trace");
    let web = Match::any()
        .with(Field::EthType, 0x0800)
        .with(Field::Ipv4Dst, 0x0a00_0002);
    let flows = vec![
        add(FlowRule {
            instructions: Instructions::apply(vec![
                Action::PopMpls(0x0800),
                Action::Resubmit {
                    port: None,
                    table: Some(1),
                    ct_tuple: false,
                },
            ]),
            ..FlowRule::default()
        }),
        add(FlowRule {
            table: 1,
            matches: web,
            instructions: Instructions::apply(vec![
                Action::Output(OfPort(2)),
                Action::Output(OfPort::CONTROLLER),
            ]),
            ..FlowRule::default()
        }),
    ];
    assert_eq!(datapath.change(flows), Reply::Done);
    let mut events = datapath.listen();
    let before = datapath.ask(Request::Ports);

    // Without a packet nobody knows what is behind the entry.
    let told = trace(&mut datapath, TraceFrame::None, None);
    assert_eq!(told.actions, "drop", "{told:?}");
    let told = trace(&mut datapath, TraceFrame::Bytes(labelled()), None);
    let at = |line: &str| told.lines.iter().position(|told| told.starts_with(line));
    let (first, title) = (
        at("Datapath actions: pop_mpls(eth_type=0x800),recirc("),
        at("recirc("),
    );
    assert!(first.is_some() && first < title, "{told:?}");
    assert!(
        told.lines
            .iter()
            .any(|line| line.trim() == "Resuming from table 1"),
        "{told:?}"
    );
    let flow = told.lines.iter().rfind(|line| line.starts_with("Flow: "));
    assert!(
        flow.is_some_and(|flow| flow.contains("nw_dst=10.0.0.2")),
        "{told:?}"
    );
    assert!(told.actions.starts_with("2,userspace("), "{told:?}");
    let Event::PacketIn(packet) = next(&mut events) else {
        panic!("controllers are not told");
    };
    let plain = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
        .udp(1000, 53)
        .build();
    assert_eq!(packet.packet, plain, "what the actions made of it");
    assert_eq!(datapath.ask(Request::Ports), before, "it left by a port");
}

#[test]
fn only_a_packet_teaches_a_bridge() {
    let mut datapath = Datapath::start("teach");
    let normal = FlowRule {
        instructions: Instructions::apply(vec![Action::Output(OfPort::NORMAL)]),
        ..FlowRule::default()
    };
    assert_eq!(datapath.change(vec![add(normal)]), Reply::Done);
    let learned = |datapath: &mut Datapath| match datapath.ask(Request::Fdb { bridge: BRIDGE }) {
        Reply::Fdb(rows) => rows.len(),
        other => panic!("no addresses: {other:?}"),
    };
    let before = datapath.ask(Request::Ports);
    let told = trace(&mut datapath, TraceFrame::None, None);
    assert_eq!((told.actions.as_str(), learned(&mut datapath)), ("2", 0));
    let told = trace(&mut datapath, TraceFrame::Made(vec![0; 64]), None);
    assert_eq!((told.actions.as_str(), learned(&mut datapath)), ("2", 1));
    // The same address again, with a controller's actions in place of flows.
    let flood = vec![Action::Output(OfPort::FLOOD)];
    let told = trace(&mut datapath, TraceFrame::Made(Vec::new()), Some(flood));
    assert_eq!(told.actions, "2");
    assert_eq!(datapath.ask(Request::Ports), before, "it left by a port");
}

#[test]
fn a_trace_of_a_loop_says_what_became_of_it() {
    let mut datapath = Datapath::start("loop");
    let again = FlowRule {
        instructions: Instructions::apply(vec![Action::Resubmit {
            port: None,
            table: Some(0),
            ct_tuple: false,
        }]),
        ..FlowRule::default()
    };
    assert_eq!(datapath.change(vec![add(again)]), Reply::Done);
    let told = trace(&mut datapath, TraceFrame::None, None);
    assert_eq!(told.actions, "drop");
    let why = "Translation failed (Recursion too deep), packet is dropped.";
    assert_eq!(told.failure.as_deref(), Some(why));
    let line = ">>>> over max translation depth 64 <<<<";
    assert!(
        told.lines.iter().any(|told| told.trim() == line),
        "{told:?}"
    );
}

/// A datagram between two hosts, without a checksum.
fn datagram(src: u8, dst: u8, src_port: u8, dst_port: u8) -> Vec<u8> {
    let mut packet = [
        &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..],
        &[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0],
        &[10, 1, 1, src, 10, 1, 1, dst],
        &[0, src_port, 0, dst_port, 0, 8, 0, 0],
    ]
    .concat();
    let words = packet[14..34].chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[24..26].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The connections that a filter means, asked for one by one.
fn connections(datapath: &mut Datapath, filter: CtFilter) -> Vec<CtEntry> {
    let (mut all, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let reply = datapath.ask(Request::Connections {
            from,
            max: 1,
            filter: Box::new(filter),
        });
        let Reply::Connections { rows, next: more } = reply else {
            panic!("no connections: {reply:?}");
        };
        assert!(rows.len() <= 1);
        all.extend(rows);
        next = more;
    }
    all
}

#[test]
fn connections_are_told_counted_and_forgotten() {
    let mut datapath = Datapath::start("connections");
    let watch = |datapath: &mut Datapath| match datapath.ask(Request::ConnectionEvents { max: 9 }) {
        Reply::ConnectionEvents { rows, lost: 0 } => rows,
        other => panic!("no events: {other:?}"),
    };
    assert_eq!(watch(&mut datapath), []);
    let commit = |zone| {
        Action::Ct(Box::new(Ct {
            commit: true,
            force: false,
            zone: CtZone::Number(zone),
            table: None,
            helper: None,
            nat: None,
            exec: Vec::new(),
        }))
    };
    for (packet, zone) in [
        (datagram(1, 2, 1, 2), 0),
        (datagram(2, 1, 2, 1), 5),
        (datagram(3, 1, 3, 1), 5),
    ] {
        let out = Request::PacketOut {
            bridge: BRIDGE,
            in_port: OfPort::CONTROLLER,
            packet,
            actions: vec![commit(zone), Action::Output(OfPort(2))],
        };
        assert_eq!(datapath.ask(out), Reply::Done);
    }
    let all = connections(&mut datapath, CtFilter::default());
    assert_eq!(all.len(), 3);
    assert_eq!(all[0].original.ends, CtEnds::Ports { src: 1, dst: 2 });
    assert_eq!(all[0].reply.dst, IpAddr::from([10, 1, 1, 1]));
    assert_eq!(all[0].state, CtState::Other { replied: false });
    // Ages go on between two questions, so rows are told apart by their ids.
    let ids = |rows: &[CtEntry]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    let two = connections(&mut datapath, CtFilter::zone(5));
    assert_eq!(ids(&two), ids(&all[1..]));
    let counts = datapath.ask(Request::CountConnections { zone: Some(5) });
    let two = CtCounts {
        total: 2,
        protocols: [(17, 2)].into(),
        ..CtCounts::default()
    };
    assert_eq!(counts, Reply::ConnectionCounts(two));
    let zones = datapath.ask(Request::ZoneCounts { zones: vec![5, 6] });
    let zone = |zone, count| CtZoneCount { zone, count };
    assert_eq!(zones, Reply::ZoneCounts(vec![zone(5, 2), zone(6, 0)]));

    let host = CtFilter {
        reply: CtTupleFilter {
            dst: Some([10, 1, 1, 3].into()),
            ..CtTupleFilter::default()
        },
        ..CtFilter::default()
    };
    let flush =
        |datapath: &mut Datapath, filter| datapath.ask(Request::FlushConnections(Box::new(filter)));
    assert_eq!(flush(&mut datapath, host), Reply::Flushed(1));
    assert_eq!(flush(&mut datapath, CtFilter::zone(7)), Reply::Flushed(0));
    assert_eq!(flush(&mut datapath, CtFilter::default()), Reply::Flushed(2));
    let Reply::ConnectionStats(stats) = datapath.ask(Request::ConnectionStats) else {
        panic!("no statistics");
    };
    assert_eq!((stats.len, stats.created, stats.flushed), (0, 3, 3));
    let events = watch(&mut datapath);
    let begun = events
        .iter()
        .filter(|event| matches!(event, CtEvent::New(_)));
    let ended = events
        .iter()
        .filter(|event| matches!(event, CtEvent::Destroyed(_, CtEnd::Flushed)));
    assert_eq!((begun.count(), ended.count(), events.len()), (3, 3, 6));
}

#[test]
fn tracking_is_set_whole_and_told_with_the_state() {
    let mut datapath = Datapath::start("tracking");
    let mut settings = CtSettings {
        max_connections: 7,
        ..CtSettings::default()
    };
    settings.limits.insert(5, 0);
    let set = Request::SetConntrack(Box::new(settings.clone()));
    assert_eq!(datapath.ask(set), Reply::Done);
    let too_many = CtSettings {
        max_fragments: 1 << 20,
        ..CtSettings::default()
    };
    let set = Request::SetConntrack(Box::new(too_many));
    assert!(matches!(datapath.ask(set), Reply::Refused { .. }));
    let Reply::State(state) = datapath.ask(Request::State) else {
        panic!("no state");
    };
    assert_eq!(state.conntrack, settings);
    let fragments = Reply::Fragments(FragmentStats::default());
    assert_eq!(datapath.ask(Request::Fragments), fragments);
    assert_eq!(
        datapath.ask(Request::Expectations),
        Reply::Expectations(Vec::new())
    );
}
