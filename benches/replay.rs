//! A worker without I/O: frames from memory on one side, a port that loses everything on the other.
//!
//! What is measured with it is the switch's own work on a packet. The receiving port copies each
//! frame into a chunk, as Open vSwitch's `net_pcap` does; the sending one only gives frames back.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use vswitch_datapath::buffer::{FramePool, SharedFrames};
use vswitch_datapath::cache::ENTRIES_MAX;
use vswitch_datapath::conntrack::request::{Meta, Request};
use vswitch_datapath::conntrack::seen::{Kind as SeenKind, Seen};
use vswitch_datapath::conntrack::tuple::{Family, Tuple};
use vswitch_datapath::conntrack::{Conntrack, Filter};
use vswitch_datapath::fdb::MacKey;
use vswitch_datapath::neigh::{Heard, NeighbourKey, Waiting, Word};
use vswitch_datapath::offload::Capabilities;
use vswitch_datapath::pipeline::{Routes, Tables};
use vswitch_datapath::port::PortIndex;
use vswitch_datapath::port::memory::MemoryQueue;
use vswitch_datapath::port::null::NullQueue;
use vswitch_datapath::tick::Tick;
use vswitch_datapath::worker::{Inbox, QueueId, Route, Worker};
use vswitch_dpapi::router::HopSpec;
use vswitch_dpapi::{BridgeId, Desired, RouteTarget, RouterId};
use vswitch_flow::action::{Nat, NatKind, NatPorts, NatRange, Subfield};
use vswitch_flow::text::parse_flow;
use vswitch_flow::{Action, Field, FlowRule, Match, OfPort, Prefix};
use vswitch_packet::build::Builder;
use vswitch_tests::sim::{bridge, normal, port, router, router_mac, router_port};

/// Where frames come from, and where they go.
const FROM: PortIndex = PortIndex(1);
const TO: PortIndex = PortIndex(2);

/// Addresses behind each of the two ports when the switch learns.
const HOSTS: usize = 64;

/// Frames of a masked scene: four times as many keys as the exact-match cache has slots, so that
/// none is still there when it comes round again.
const UNSEEN: usize = 4 * 65_536;

/// What the switch is told to do, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ten rules on the whole 5-tuple, none of which is for more than one flow: every flow is a
    /// cache entry of its own and the exact-match cache finds it (as far as it has room).
    Exact,
    /// Ten rules that ignore the source port: so many source ports that the exact-match cache
    /// never knows a packet and the masked one always does.
    Masked,
    /// One rule, NORMAL, with all addresses learned.
    Normal,
    /// The same on two bridges with a router between them; the host beyond is a neighbour of it.
    Routed,
    /// One rule, from port to port.
    Wire,
    /// A masquerade router; every flow is an established connection whose source is translated.
    Masquerade,
    /// The same router; every packet begins a connection.
    Begin,
    /// A thousand rules of twenty masks in ten tables, which packets pass without matching one, and
    /// so many flows that the caches know none.
    New,
}

/// The ports of the router on the near and on the far bridge.
const GATEWAYS: [u32; 2] = [3, 4];

/// The host on the far bridge by which all others are reached.
const BEYOND: [u8; 4] = [10, 128, 0, 2];

/// Where all of the first port's hosts seem to be.
const ROUTER: [u8; 4] = [10, 255, 0, 1];

/// Connections that begin before they are all forgotten.
const BEGIN_LEN: usize = 1 << 18;

/// The zone of their connections.
const ZONE: u16 = 1;

impl Kind {
    /// All, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Exact,
        Self::Masked,
        Self::Normal,
        Self::Routed,
        Self::Wire,
        Self::Masquerade,
        Self::Begin,
        Self::New,
    ];

    /// As tables print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "10 rules, exact hit",
            Self::Masked => "10 rules, masked hit",
            Self::Normal => "NORMAL",
            Self::Routed => "NORMAL, routed",
            Self::Wire => "in_port -> output",
            Self::Masquerade => "established, SNAT",
            Self::Begin => "new, SNAT",
            Self::New => "10 tables, new flows",
        }
    }

    fn rules(self) -> Result<Vec<FlowRule>> {
        let rule = |priority, matches, to| FlowRule {
            priority,
            matches,
            instructions: vec![Action::Output(to)].into(),
            ..FlowRule::default()
        };
        let from = Match::any().with(Field::InPort, u128::from(FROM.0));
        let to = OfPort(TO.0);
        Ok(match self {
            Self::Normal | Self::Routed => vec![normal()],
            Self::Wire => vec![rule(1, from, to)],
            Self::Masquerade | Self::Begin => {
                let [host, other] = ["02:00:00:00:03:01", "02:00:00:00:03:02"];
                let leave = format!(
                    "dec_ttl,set_field:{host}->eth_src,set_field:{other}->eth_dst,output:{}",
                    TO.0
                );
                [
                    format!("in_port={},ip actions=ct(zone={ZONE},nat,table=1)", FROM.0),
                    format!("table=1,ip,ct_state=+trk+est actions={leave}"),
                    format!(
                        "table=1,ip,ct_state=+trk+new actions=ct(commit,zone={ZONE},nat(src={})),{leave}",
                        std::net::Ipv4Addr::from(ROUTER)
                    ),
                ]
                .iter()
                .map(|flow| Ok(parse_flow(flow, &|_| None)?))
                .collect::<Result<_>>()?
            }
            Self::New => miss_path(to),
            Self::Exact | Self::Masked => {
                let udp = from
                    .with(Field::EthType, 0x0800)
                    .with(Field::IpProto, u128::from(17_u8));
                // Nine that the traffic has to be compared with and does not match.
                let mut rules: Vec<_> = (1..10_u16)
                    .map(|i| {
                        let mut matches = udp
                            .clone()
                            .with(Field::Ipv4Src, 0x0a00_0001)
                            .with(Field::Ipv4Dst, 0x0aff_ffff)
                            .with(Field::UdpDst, u128::from(i));
                        if self == Self::Exact {
                            matches = matches.with(Field::UdpSrc, u128::from(i));
                        }
                        rule(10 + i, matches, OfPort(FROM.0))
                    })
                    .collect();
                rules.push(rule(1, udp, to));
                rules
            }
        })
    }

    /// Begins the connection of each frame, and has it answered.
    fn establish(self, conntrack: &Conntrack, frames: &[Vec<u8>]) -> Result<()> {
        let range = NatRange {
            kind: NatKind::Source,
            addresses: Some((ROUTER.into(), ROUTER.into())),
            ports: None,
        };
        let translated = |range| Request {
            zone: ZONE,
            commit: true,
            nat: Some(Nat {
                range,
                persistent: false,
                ports: NatPorts::Default,
            }),
            ..Request::default()
        };
        let (commit, answer) = (translated(Some(range)), translated(None));
        for frame in frames.iter().filter(|_| self == Self::Masquerade) {
            let number = |at: usize, size: usize| {
                let bytes = frame.get(at..at + size).unwrap_or_default();
                bytes
                    .iter()
                    .fold(0, |all, byte| all << 8 | u128::from(*byte))
            };
            let mut seen = Seen {
                tuple: Tuple {
                    family: Family::V4,
                    protocol: 17,
                    src: number(26, 4),
                    dst: number(30, 4),
                    src_port: number(34, 2) as u16,
                    dst_port: number(36, 2) as u16,
                },
                len: 60,
                kind: SeenKind::Udp,
            };
            let told = conntrack.track(&seen, &Meta::default(), &commit, Tick(0));
            let rewrite = told.rewrite.context("a connection is not translated")?;
            seen.tuple = rewrite.to.reversed().context("UDP has answers")?;
            conntrack.track(&seen, &Meta::default(), &answer, Tick(0));
        }
        Ok(())
    }

    /// The frames of `flows` flows.
    fn frames(self, flows: usize) -> Vec<Vec<u8>> {
        let len = match self {
            Self::Masked => UNSEEN.next_multiple_of(flows),
            Self::New => 4 * ENTRIES_MAX,
            Self::Begin => BEGIN_LEN,
            _ => flows,
        };
        let frame = |i: usize| {
            // What tells flows apart for the rules; `unseen` does so only for the whole key.
            let (flow, unseen) = match self {
                Self::Masked => (i % flows, i / flows),
                _ => (i, 0),
            };
            let flow = if matches!(self, Self::New | Self::Begin) {
                i
            } else {
                flow
            };
            let [.., a, b, c] = flow.to_be_bytes();
            let host = (flow % HOSTS) as u8;
            let source = [2, 0, 0, (unseen >> 16) as u8, 1, host];
            let station = match self {
                Self::Routed => router_mac(GATEWAYS[0]),
                _ => [2, 0, 0, 0, 2, host],
            };
            Builder::eth(source, station)
                .ipv4([10, a, b, c], [10, 200, b, c])
                .udp(1000_u16.wrapping_add(unseen as u16), 2000)
                .payload(&[0; 18])
                .build()
        };
        (0..len).map(frame).collect()
    }
}

/// Has the router know the station of the host beyond.
fn meet(tables: &Tables, pool: &mut FramePool) -> Result<()> {
    let router = tables.router(RouterId(1))?;
    let key = NeighbourKey {
        port: PortIndex(GATEWAYS[1]),
        address: BEYOND.into(),
    };
    let packet = pool.packet(&[0; 60], FROM).context("no frames")?;
    let from = PortIndex(GATEWAYS[0]);
    router
        .neighbours
        .park(key, Waiting { packet, from }, Tick(0));
    let station = [2, 0, 0, 0, 2, 0];
    let heard = router.neighbours.hear(key, station, Word::Answer, Tick(0));
    let Heard::Learned(_, packets) = heard else {
        anyhow::bail!("the router does not believe its neighbour");
    };
    for waiting in packets {
        pool.drop_packet(waiting.packet);
    }
    pool.drain();
    Ok(())
}

/// Rules that no packet matches, and one in each table that leads on; the first reads addresses and
/// ports, so that packets with others are new to a cache.
fn miss_path(to: OfPort) -> Vec<FlowRule> {
    let udp = || {
        let ip = Match::any().with(Field::EthType, 0x0800);
        ip.with(Field::IpProto, u128::from(17_u8))
    };
    let mut rules = Vec::new();
    for table in 0..10_u8 {
        for at in 0..100_u16 {
            let (mask, number) = (at % 20, u128::from(at / 20));
            let [src, dst] = [
                [0, 8, 16, 24, 32][usize::from(mask) % 5],
                [0, 16, 24, 32][usize::from(mask) / 5],
            ];
            let mut matches = udp();
            for (field, bits, net) in [(Field::Ipv4Src, src, 172), (Field::Ipv4Dst, dst, 173)] {
                let value = (net + number) << 24 | number << 16 | number << 8 | u128::from(table);
                let bits = !(u128::from(u32::MAX) >> bits) & u128::from(u32::MAX);
                matches = matches.with_masked(field, value, bits);
            }
            if mask == 0 {
                matches = matches.with(Field::UdpDst, 61_000 + number);
            }
            rules.push(FlowRule {
                table,
                priority: 100 + mask,
                matches,
                ..FlowRule::default()
            });
        }
        let mut actions = Vec::new();
        if table == 0 {
            for (field, len, to, at) in [
                (Field::Ipv4Src, 32, Field::Reg1, 0),
                (Field::UdpSrc, 16, Field::Reg2, 0),
                (Field::UdpDst, 16, Field::Reg2, 16),
            ] {
                let part = |field, offset| Subfield {
                    field,
                    offset,
                    bits: len,
                };
                actions.push(Action::Move {
                    src: part(field, 0),
                    dst: part(to, at),
                });
            }
        }
        actions.push(match table {
            9 => Action::Output(to),
            _ => Action::Resubmit {
                port: None,
                table: Some(table + 1),
                ct_tuple: false,
            },
        });
        rules.push(FlowRule {
            table,
            priority: 1,
            matches: udp(),
            instructions: actions.into(),
            ..FlowRule::default()
        });
    }
    rules
}

/// A worker that plays a scene.
#[derive(Debug)]
pub struct Replay {
    kind: Kind,
    worker: Worker,
    conntrack: Arc<Conntrack>,
    now: Instant,
    /// Frames until the first comes again.
    len: usize,
}

impl Replay {
    /// A worker with `flows` flows of a kind, cold.
    ///
    /// # Errors
    /// When there is no memory for frames.
    pub fn new(kind: Kind, flows: usize) -> Result<Self> {
        let is_routed = kind == Kind::Routed;
        let mut desired = Desired {
            bridges: vec![bridge(1)],
            ports: vec![port(FROM.0, 1), port(TO.0, if is_routed { 2 } else { 1 })],
            routers: Vec::new(),
        };
        if is_routed {
            let [near, far] = GATEWAYS;
            desired.bridges.push(bridge(2));
            desired.routers.push(router(1));
            desired.ports.extend([
                router_port(near, 1, 1, 0, &["10.0.0.1/9"]),
                router_port(far, 2, 1, 0, &["10.128.0.1/9"]),
            ]);
        }
        let shared = SharedFrames::new(4096, 1)?;
        let empty = Tables::build(&desired, None, 1, 7)?;
        let mut tables = empty.set_flows(BridgeId(1), kind.rules()?, 2, Tick(0))?;
        if is_routed {
            tables = tables.set_flows(BridgeId(2), kind.rules()?, 3, Tick(0))?;
            let hop = HopSpec {
                gateway: Some(BEYOND.into()),
                port: None,
                weight: 1,
            };
            let mut routes = Routes::default();
            let all: Prefix = "10.200.0.0/16".parse()?;
            routes.put(&all, None, Arc::new(RouteTarget::Via(vec![hop])));
            tables = tables.with_routes(RouterId(1), routes, std::iter::once(&all), 4)?;
            meet(&tables, &mut FramePool::new(Arc::clone(&shared)))?;
            let far = tables.bridge(BridgeId(2)).context("the far bridge")?;
            far.fdb.learn(MacKey::new(0, 0x0200_0000_0200), TO, Tick(0));
        }
        if let Some(bridge) = tables.bridge(BridgeId(1)) {
            for host in 0..HOSTS as u64 {
                for (port, network) in [(FROM, 1), (TO, 2)]
                    .into_iter()
                    .take(2 - usize::from(is_routed))
                {
                    let mac = 0x0200_0000_0000 | network << 8 | host;
                    bridge.fdb.learn(MacKey::new(0, mac), port, Tick(0));
                }
            }
        }
        let frames = kind.frames(flows);
        let conntrack = Arc::new(Conntrack::new(11));
        kind.establish(&conntrack, &frames)?;
        let inbox = Inbox::new(None);
        let mut worker = Worker::new(
            0,
            shared,
            Arc::new(tables),
            Arc::clone(&conntrack),
            11,
            Arc::clone(&inbox),
            vec![inbox],
        );
        let caps = Capabilities {
            mtu: 1500,
            max_segments: 18,
            ..Capabilities::default()
        };
        let len = frames.len();
        let id = |port| QueueId { port, queue: 0 };
        let source = MemoryQueue::replay(FROM, caps, frames);
        worker.add_queue(id(FROM), Box::new(source));
        worker.add_queue(id(TO), Box::new(NullQueue::new(1500)));
        worker.set_routes(vec![Route::None, Route::Own(id(FROM)), Route::Own(id(TO))]);
        Ok(Self {
            kind,
            worker,
            conntrack,
            now: Instant::now(),
            len,
        })
    }

    /// Forgets all connections, where each packet is to begin one. Answers how many packets may come
    /// until this is needed again.
    pub fn forget(&mut self) -> usize {
        if self.kind != Kind::Begin {
            return usize::MAX;
        }
        self.conntrack.flush(&Filter::default(), Tick(1));
        self.len
    }

    /// Moves at least `packets` packets and answers how many.
    pub fn run(&mut self, packets: usize) -> usize {
        let mut moved = 0;
        while moved < packets {
            moved += self.worker.round(self.now, Tick(1));
        }
        moved
    }

    /// Plays every frame twice, so that the caches hold what they will hold.
    ///
    /// # Errors
    /// When packets do not arrive: the scene would measure something else than it says.
    pub fn warm_up(&mut self) -> Result<()> {
        self.run(2 * self.len + 4096);
        self.forget();
        let before = self.arrived();
        let moved = self.run(4096) as u64;
        let arrived = self.arrived() - before;
        let drops: Vec<_> = self
            .worker
            .stats()
            .drops
            .iter()
            .filter(|d| d.1 > 0)
            .collect();
        ensure!(
            arrived == moved,
            "{arrived} packets of {moved} arrive; dropped: {drops:?}"
        );
        Ok(())
    }

    fn arrived(&self) -> u64 {
        let id = QueueId { port: TO, queue: 0 };
        self.worker.queue(id).map_or(0, |q| q.counters().tx_packets)
    }

    /// The worker, to be looked at.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.worker
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        for id in self.worker.queue_ids() {
            self.worker.close_queue(id);
        }
        self.worker.finish();
    }
}
