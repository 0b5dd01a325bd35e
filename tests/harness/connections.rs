//! A plain model of connection tracking: one map, one thread, nothing packed, nothing shared.
//!
//! [`check`] takes a table of connections and the model through the same steps. After every packet
//! both must say the same about it, and hold the same connections; in the end, when nothing was
//! heard for long enough, both hold none.
//!
//! Where the table may choose, among translated addresses and ports, the model takes what it chose
//! and asks whether it may: in the range, nobody else's, the packet's own port where that was free,
//! and refused only when the whole range was taken.
//!
//! Its users are a property, whose steps are drawn at random, and a fuzz target, whose steps are
//! read from bytes.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use vswitch_datapath::conntrack::request::{Meta, Outcome, Refused, Request, Rewrite, state};
use vswitch_datapath::conntrack::seen::{Kind, Seen, TcpSeen, flag};
use vswitch_datapath::conntrack::tuple::{Direction, Family, Tuple, protocol};
use vswitch_datapath::conntrack::{Conntrack, Cursor, Dumped, Filter};
use vswitch_datapath::tick::Tick;
use vswitch_flow::action::{NatKind, NatPorts, NatRange};

/// What the model knows of an end of a TCP connection.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    sent: u32,
    may_send: u32,
    window: u32,
    /// `Some(None)`: its SYN was missed.
    scale: Option<Option<u8>>,
    /// 0 nothing seen, 1 opening, 2 open, 3 closing, 4 closed, 5 reset.
    phase: u8,
}

#[derive(Clone, Debug)]
enum Progress {
    Tcp([Side; 2]),
    Query { answered: bool },
    Other { several: bool, both: bool },
}

#[derive(Clone, Debug)]
struct Connection {
    original: Tuple,
    reply: Tuple,
    zone: u16,
    mark: u32,
    label: u128,
    source: bool,
    destination: bool,
    progress: Progress,
    expires: u64,
    packets: [u64; 2],
    bytes: [u64; 2],
}

#[derive(Default)]
struct Model {
    connections: HashMap<u32, Connection>,
    tuples: HashMap<(u16, Tuple), (u32, Direction)>,
    next: u32,
    limits: HashMap<u16, usize>,
    check: bool,
    loose: bool,
}

/// What the model says of a packet.
#[derive(Debug, PartialEq)]
struct Said {
    meta: Meta,
    refused: Option<Refused>,
    rewrite: Option<Rewrite>,
}

enum Update {
    /// Milliseconds that it lives on; `None` changes nothing about that.
    Part(Option<u64>),
    First(Option<u64>),
    Restart,
    Foreign,
}

fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

const MINUTE: u64 = 60_000;

fn tcp_update(sides: &mut [Side; 2], direction: Direction, seg: &TcpSeen, check: bool) -> Update {
    let flags = seg.flags;
    let (syn, ack, fin, rst) = (
        flags & flag::SYN != 0,
        flags & flag::ACK != 0,
        flags & flag::FIN != 0,
        flags & flag::RST != 0,
    );
    if senseless(flags) {
        return Update::Foreign;
    }
    let old = *sides;
    let (s, d) = match direction {
        Direction::Original => (0, 1),
        Direction::Reply => (1, 0),
    };
    if syn && !ack {
        if sides[0].phase >= 4 && sides[1].phase >= 4 {
            return Update::Restart;
        }
        if sides[s].phase <= 1 {
            sides[s].phase = 1;
            return Update::First(Some(MINUTE / 2));
        }
    }
    let (mut ss, mut ds) = match (sides[s].scale, sides[d].scale) {
        _ if syn => (0, 0),
        (Some(Some(a)), Some(Some(b))) => (a, b),
        (Some(None), Some(None)) => (14, 14),
        _ => (0, 0),
    };
    let mut win = u32::from(seg.window);
    let mut start = seg.seq;
    let mut end = start
        .wrapping_add(seg.payload)
        .wrapping_add(syn.into())
        .wrapping_add(fin.into());
    let mut skewed = true;
    if sides[s].phase == 0 {
        if syn && let Some(Some(theirs)) = sides[d].scale {
            if let Some(mine) = seg.wscale {
                ss = mine.min(14);
                ds = theirs;
                sides[s].scale = Some(Some(ss));
                win = win.div_ceil(1 << ss);
            } else {
                sides[s].scale = None;
                sides[d].scale = None;
                sides[d].window = (sides[d].window << theirs).min(65_535);
            }
        }
        sides[s].sent = start;
        sides[s].phase = 1;
        let edge = end.wrapping_add((sides[d].window << ds).max(1));
        if sides[s].may_send == 1 || !before(edge, sides[s].may_send) {
            sides[s].may_send = edge;
            skewed = false;
        }
        sides[s].window = sides[s].window.max(win);
    }
    let answered = if !ack || seg.ack == 0 && rst {
        sides[d].sent
    } else {
        seg.ack
    };
    if start == end {
        start = sides[s].sent;
        end = start;
    }
    let skew = if skewed {
        i64::from(sides[d].sent.wrapping_sub(answered) as i32)
    } else {
        0
    };
    let in_window = !before(sides[s].may_send, end)
        && !before(start, sides[s].sent.wrapping_sub(sides[d].window << ds));
    let acks = (-67_035..=67_035_i64 << ss).contains(&skew);
    let near = [u32::MAX, 0, 1].contains(&seg.seq.wrapping_sub(sides[s].sent));
    let fits = in_window && acks && (!rst || near);
    let loose = (sides[d].phase == 0 || sides[0].phase >= 4 || sides[1].phase >= 4)
        && !before(sides[s].may_send.wrapping_add(67_035), end)
        && !before(start, sides[s].sent.wrapping_sub(67_035));
    if !fits && check && !loose {
        *sides = old;
        return Update::Foreign;
    }
    let settled = fits || !check;
    sides[s].window = sides[s].window.max(win);
    if before(sides[s].sent, end) {
        sides[s].sent = end;
    }
    if !before(answered.wrapping_add(win << ss), sides[d].may_send) {
        sides[d].may_send = answered.wrapping_add((win << ss).max(1));
    }
    if fin && sides[s].phase < 3 {
        sides[s].phase = 3;
    }
    if settled && ack {
        sides[d].phase = match sides[d].phase {
            1 => 2,
            3 => 4,
            phase => phase,
        };
    }
    if rst {
        sides[0].phase = 5;
        sides[1].phase = 5;
    }
    if !settled {
        return Update::Part(None);
    }
    let (low, high) = (
        sides[0].phase.min(sides[1].phase),
        sides[0].phase.max(sides[1].phase),
    );
    Update::Part(Some(match (low, high) {
        (4.., _) => MINUTE / 2,
        (3, _) => 45_000,
        (0 | 1, _) => MINUTE / 2,
        (_, 3..) => 15 * MINUTE,
        _ => 24 * 60 * MINUTE,
    }))
}

fn senseless(flags: u16) -> bool {
    let any = |bits| flags & bits != 0;
    any(flag::SYN) && any(flag::RST | flag::FIN)
        || !any(flag::SYN | flag::ACK | flag::RST)
        || !any(flag::ACK) && any(flag::FIN | flag::PSH | flag::URG)
}

fn tcp_begin(seg: &TcpSeen) -> [Side; 2] {
    let syn = seg.flags & flag::SYN != 0;
    let fin = seg.flags & flag::FIN != 0;
    let shift = seg.wscale.filter(|_| syn).map(|shift| shift.min(14));
    let scale = if syn { shift.map(Some) } else { Some(None) };
    let span = seg.payload + u32::from(syn) + u32::from(fin) + 1;
    let first = Side {
        sent: seg.seq,
        may_send: seg.seq.wrapping_add(span),
        window: u32::from(seg.window.max(1)).div_ceil(1 << shift.unwrap_or(0)),
        scale,
        phase: 1,
    };
    let second = Side {
        may_send: 1,
        window: 1,
        scale: if syn { None } else { Some(None) },
        ..Side::default()
    };
    [first, second]
}

fn other(direction: Direction) -> Direction {
    match direction {
        Direction::Original => Direction::Reply,
        Direction::Reply => Direction::Original,
    }
}

fn address(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl Model {
    fn forget(&mut self, id: u32) {
        let gone = self.connections.remove(&id).expect("it is known");
        self.tuples.remove(&(gone.zone, gone.original));
        self.tuples.remove(&(gone.zone, gone.reply));
    }

    fn expire(&mut self, now: u64) {
        let over: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.expires <= now)
            .map(|(id, _)| *id)
            .collect();
        over.into_iter().for_each(|id| self.forget(id));
    }

    fn find(&self, zone: u16, tuple: &Tuple) -> Option<(u32, Direction)> {
        self.tuples.get(&(zone, *tuple)).copied()
    }

    fn refuse(zone: u16, refused: Refused) -> Said {
        Said {
            meta: Meta::invalid(zone),
            refused: Some(refused),
            rewrite: None,
        }
    }

    fn say(&mut self, seen: &Seen, last: &Meta, ask: &Request, now: u64, did: &Outcome) -> Said {
        self.expire(now);
        let error = match &seen.kind {
            Kind::IcmpError { inner } => Some(*inner),
            _ => None,
        };
        let Some(shown) = error.map_or(Some(seen.tuple), |inner| inner.reversed()) else {
            return Self::refuse(ask.zone, Refused::NotNew);
        };
        let translated = if last.zone == ask.zone {
            last.state & (state::SNAT | state::DNAT)
        } else {
            0
        };
        let mut found = if translated == 0 {
            self.find(ask.zone, &shown)
        } else {
            let by_answer = shown
                .reversed()
                .and_then(|answer| self.find(ask.zone, &answer))
                .map(|(id, direction)| (id, other(direction)));
            let by_past = last
                .original
                .filter(|_| ask.nat.is_none())
                .and_then(|original| self.find(ask.zone, &original));
            by_answer
                .or(by_past)
                .or_else(|| self.find(ask.zone, &shown))
        };
        if let Some((id, Direction::Reply)) = found
            && ask.force
            && error.is_none()
        {
            self.forget(id);
            found = None;
        }
        if let Some((id, direction)) = found
            && let Some(said) = self.known(id, direction, seen, shown, translated, ask, now)
        {
            return said;
        }
        self.fresh(seen, shown, last, ask, now, did)
    }

    /// `None`: the tuple is used for another connection now.
    #[expect(
        clippy::too_many_arguments,
        reason = "a model says everything in one place"
    )]
    fn known(
        &mut self,
        id: u32,
        direction: Direction,
        seen: &Seen,
        shown: Tuple,
        translated: u8,
        ask: &Request,
        now: u64,
    ) -> Option<Said> {
        let check = self.check;
        let connection = self.connections.get_mut(&id).expect("it was found");
        let reply = direction == Direction::Reply;
        let mut bits = state::TRACKED | translated;
        if let Kind::IcmpError { .. } = seen.kind {
            bits |= state::RELATED | if reply { state::REPLY } else { 0 };
        } else {
            let update = match (&mut connection.progress, &seen.kind) {
                (Progress::Tcp(sides), Kind::Tcp(seg)) => {
                    let update = tcp_update(sides, direction, seg, check);
                    match update {
                        Update::Part(time) if !reply && sides[1].phase == 0 => Update::First(time),
                        update => update,
                    }
                }
                (Progress::Query { answered }, _) => {
                    *answered |= reply;
                    if *answered {
                        Update::Part(Some(MINUTE / 2))
                    } else {
                        Update::First(Some(MINUTE))
                    }
                }
                (Progress::Other { several, both }, _) => {
                    *both |= reply;
                    *several = true;
                    if *both {
                        Update::Part(Some(MINUTE / 2))
                    } else {
                        Update::First(Some(MINUTE))
                    }
                }
                (Progress::Tcp(_), _) => Update::Foreign,
            };
            match update {
                Update::Part(time) => {
                    bits |= state::ESTABLISHED | if reply { state::REPLY } else { 0 };
                    connection.expires = time.map_or(connection.expires, |time| now + time);
                }
                Update::First(time) => {
                    bits |= state::NEW;
                    connection.expires = time.map_or(connection.expires, |time| now + time);
                }
                Update::Restart => {
                    self.forget(id);
                    return None;
                }
                Update::Foreign => {
                    let mut said = Self::refuse(ask.zone, Refused::Window);
                    said.meta.mark = connection.mark;
                    said.meta.label = connection.label;
                    return Some(said);
                }
            }
            let way = usize::from(reply);
            connection.packets[way] += 1;
            connection.bytes[way] += u64::from(seen.len);
            connection.mark = connection.mark & !ask.mark.1 | ask.mark.0 & ask.mark.1;
            connection.label = connection.label & !ask.label.1 | ask.label.0 & ask.label.1;
        }
        let nat = connection.source || connection.destination;
        let mut rewrite = None;
        if nat && translated == 0 && ask.nat.is_some() {
            let (source, destination) = if reply {
                (connection.destination, connection.source)
            } else {
                (connection.source, connection.destination)
            };
            bits |= if source { state::SNAT } else { 0 };
            bits |= if destination { state::DNAT } else { 0 };
            let answer = if reply {
                connection.original
            } else {
                connection.reply
            };
            let to = answer.reversed().expect("it has answers");
            if let Kind::IcmpError { inner } = seen.kind {
                let mut outer = seen.tuple;
                if source {
                    outer.src = if to.src == shown.src {
                        outer.src
                    } else {
                        to.src
                    };
                }
                if destination {
                    outer.dst = if to.dst == shown.dst {
                        outer.dst
                    } else {
                        to.dst
                    };
                }
                let within = to.reversed().expect("it has answers");
                if outer != seen.tuple || within != inner {
                    rewrite = Some(Rewrite {
                        to: outer,
                        inner: (within != inner).then_some(within),
                    });
                }
            } else if to != seen.tuple {
                rewrite = Some(Rewrite { to, inner: None });
            }
        }
        Some(Said {
            meta: Meta {
                state: bits,
                zone: ask.zone,
                mark: connection.mark,
                label: connection.label,
                original: Some(connection.original),
            },
            refused: None,
            rewrite,
        })
    }

    fn fresh(
        &mut self,
        seen: &Seen,
        shown: Tuple,
        last: &Meta,
        ask: &Request,
        now: u64,
        did: &Outcome,
    ) -> Said {
        let (progress, time) = match &seen.kind {
            Kind::Tcp(seg) => {
                let syn = seg.flags & flag::SYN != 0;
                let half = syn && seg.flags & flag::ACK != 0;
                if senseless(seg.flags) || half || !syn && !self.loose {
                    return Self::refuse(ask.zone, Refused::NotNew);
                }
                (Progress::Tcp(tcp_begin(seg)), MINUTE / 2)
            }
            Kind::IcmpError { .. } => return Self::refuse(ask.zone, Refused::NotNew),
            Kind::IcmpQuery => {
                if !matches!(seen.tuple.dst_port >> 8, 8 | 13 | 15 | 128) {
                    return Self::refuse(ask.zone, Refused::NotNew);
                }
                (Progress::Query { answered: false }, MINUTE)
            }
            _ => {
                let progress = Progress::Other {
                    several: false,
                    both: false,
                };
                (progress, MINUTE)
            }
        };
        let mut said = Said {
            meta: Meta {
                state: state::TRACKED | state::NEW,
                zone: ask.zone,
                mark: 0,
                label: 0,
                original: Some(shown),
            },
            refused: None,
            rewrite: None,
        };
        if !ask.commit {
            return said;
        }
        let in_zone = |connection: &&Connection| connection.zone == ask.zone;
        let count = self.connections.values().filter(in_zone).count();
        if self
            .limits
            .get(&ask.zone)
            .is_some_and(|limit| count >= *limit)
        {
            return Self::refuse(ask.zone, Refused::ZoneLimit);
        }
        if self.find(ask.zone, &shown).is_some() {
            // What it shows is of another connection than the one it was of, which is gone.
            return self.say(seen, last, ask, now, did);
        }
        let range = ask.nat.as_ref().and_then(|nat| nat.range.as_ref());
        let to = match range {
            None => {
                let answer = shown.reversed().expect("it begins something");
                if self.find(ask.zone, &answer).is_some() {
                    return Self::refuse(ask.zone, Refused::NatExhausted);
                }
                shown
            }
            Some(range) => match self.choice(&shown, range, ask, did) {
                Some(to) => to,
                None => return Self::refuse(ask.zone, Refused::NatExhausted),
            },
        };
        let source = range.is_some_and(|range| range.kind == NatKind::Source);
        let destination = range.is_some_and(|range| range.kind == NatKind::Destination);
        said.meta.state |= if source { state::SNAT } else { 0 };
        said.meta.state |= if destination { state::DNAT } else { 0 };
        said.meta.mark = ask.mark.0 & ask.mark.1;
        said.meta.label = ask.label.0 & ask.label.1;
        said.rewrite = (to != shown).then_some(Rewrite { to, inner: None });
        let connection = Connection {
            original: shown,
            reply: to.reversed().expect("it begins something"),
            zone: ask.zone,
            mark: said.meta.mark,
            label: said.meta.label,
            source,
            destination,
            progress,
            expires: now + time,
            packets: [1, 0],
            bytes: [seen.len.into(), 0],
        };
        let id = self.next;
        self.next += 1;
        // A packet to oneself is its own answer; it goes the original way.
        self.tuples
            .insert((ask.zone, connection.reply), (id, Direction::Reply));
        self.tuples
            .insert((ask.zone, connection.original), (id, Direction::Original));
        self.connections.insert(id, connection);
        said
    }

    /// What was chosen, if it may be; `None` when it was right to choose nothing.
    fn choice(
        &self,
        shown: &Tuple,
        range: &NatRange,
        ask: &Request,
        did: &Outcome,
    ) -> Option<Tuple> {
        let free = |to: &Tuple| {
            to.reversed()
                .is_some_and(|answer| self.find(ask.zone, &answer).is_none())
        };
        let is_source = range.kind == NatKind::Source;
        let (low, high) = range.addresses.expect("all ranges here have addresses");
        let mut addresses = address(low)..=address(high);
        let own = if is_source {
            shown.src_port
        } else {
            shown.dst_port
        };
        let with = |address, port| {
            let mut to = *shown;
            if is_source {
                (to.src, to.src_port) = (address, port);
            } else {
                (to.dst, to.dst_port) = (address, port);
            }
            to
        };
        // An identifier counts as a source's port; what has no ports keeps none.
        let ported = shown.has_ports() || is_source && shown.is_icmp();
        let ports = range.ports.filter(|_| ported);
        if did.refused == Some(Refused::NatExhausted) {
            let (first, last) = ports.unwrap_or((own, own));
            for address in addresses {
                for port in first..=last {
                    let to = with(address, port);
                    assert!(!free(&to), "{to:?} is free, and was refused");
                }
            }
            return None;
        }
        let to = did.rewrite.map_or(*shown, |rewrite| rewrite.to);
        let (address, port) = if is_source {
            assert_eq!((to.dst, to.dst_port), (shown.dst, shown.dst_port));
            (to.src, to.src_port)
        } else {
            assert_eq!(to.src, shown.src);
            (to.dst, to.dst_port)
        };
        assert!(free(&to), "{to:?} is another connection's");
        assert!(addresses.contains(&address), "{to:?} is out of {range:?}");
        match ports {
            Some((first, last)) => assert!((first..=last).contains(&port), "{to:?}: {range:?}"),
            // A port by the connection's hash may be any.
            None if port != own
                && ask
                    .nat
                    .as_ref()
                    .is_some_and(|nat| nat.ports == NatPorts::Default) =>
            {
                let taken = addresses.any(|address| !free(&with(address, own)));
                assert!(ported && taken, "{to:?}: {own} was free");
            }
            None => {}
        }
        if !is_source && to.src_port != shown.src_port {
            let (first, last) = ports.unwrap_or((own, own));
            let taken = (first..=last).all(|port| !free(&with(address, port)));
            assert!(taken, "{to:?}: the source's port changed for nothing");
        }
        Some(to)
    }

    /// What people would see.
    fn lines(&self) -> HashSet<String> {
        let lines = self.connections.values().map(|one| {
            let standing = match &one.progress {
                Progress::Tcp(sides) => format!("{:?}", sides.map(|side| side.phase)),
                Progress::Query { answered } => format!("{answered}"),
                Progress::Other { several, both } => {
                    format!("{}", u8::from(*several || *both) + u8::from(*both))
                }
            };
            line(
                (&one.original, &one.reply, one.zone),
                (one.mark, one.label, one.expires),
                (one.packets, one.bytes),
                &standing,
            )
        });
        lines.collect()
    }
}

fn line(
    tuples: (&Tuple, &Tuple, u16),
    facts: (u32, u128, u64),
    counts: ([u64; 2], [u64; 2]),
    standing: &str,
) -> String {
    format!("{tuples:?} {facts:?} {counts:?} {standing}")
}

fn dumped(one: &Dumped, now: u64) -> String {
    use vswitch_datapath::conntrack::proto::{OtherState, Standing};
    let standing = match one.standing {
        Standing::Tcp(states) => format!("{:?}", states.map(|state| state as u8)),
        Standing::Icmp { answered } => format!("{answered}"),
        Standing::Other(OtherState::First) => "0".to_owned(),
        Standing::Other(OtherState::Multiple) => "1".to_owned(),
        Standing::Other(OtherState::Bidirectional) => "2".to_owned(),
    };
    line(
        (&one.original, &one.reply, one.zone),
        (one.mark, one.label, one.timeout + now),
        (
            one.counters.map(|counter| counter.packets),
            one.counters.map(|counter| counter.bytes),
        ),
        &standing,
    )
}

/// Who sends a packet to whom. Numbers of packets sent before count around.
#[derive(Clone, Debug)]
pub enum Who {
    /// From, to, ports, and what kind of packet.
    Anybody(u8, u8, u16, u16, u8),
    /// As one sent before.
    Again(usize),
    /// Back to who sent one before.
    Answer(usize),
    /// Somebody complains about one sent before.
    Complaint(u8, usize),
}

/// Something that happens to both.
#[derive(Clone, Debug)]
pub enum Step {
    /// A packet is tracked, once for each request. Only a request that commits may write a mark or a
    /// label, and only one with a single address may be persistent.
    Packet(Who, TcpSeen, Vec<Request>),
    /// Milliseconds pass.
    Advance(u64),
    /// So many places of the table are swept.
    Sweep(usize),
    /// The connections of a zone are forgotten.
    Flush(u16),
    /// Whether sequence numbers are checked.
    Check(bool),
    /// Whether connections are picked up in their midst.
    Loose(bool),
}

fn kind_of(tuple: &Tuple, segment: &TcpSeen) -> Kind {
    match tuple.protocol {
        protocol::TCP => Kind::Tcp(*segment),
        protocol::UDP => Kind::Udp,
        protocol::SCTP => Kind::Sctp,
        _ if tuple.is_icmp() => Kind::IcmpQuery,
        _ => Kind::Other,
    }
}

fn anybody(src: u8, dst: u8, src_port: u16, dst_port: u16, kind: u8) -> Tuple {
    let (protocol, src_port, dst_port) = match kind {
        0 | 1 => (protocol::TCP, src_port, dst_port),
        2 => (protocol::UDP, src_port, dst_port),
        3 => (protocol::SCTP, src_port, dst_port),
        4 => (
            protocol::ICMP,
            src_port,
            [8_u16, 0, 13][usize::from(dst_port % 3)] << 8,
        ),
        _ => (112, 0, 0),
    };
    Tuple {
        family: Family::V4,
        protocol,
        src: src.into(),
        dst: dst.into(),
        src_port,
        dst_port,
    }
}

fn seen_of(who: &Who, segment: &TcpSeen, sent: &[Tuple]) -> Seen {
    let some = |index: &usize| match sent {
        [] => anybody(1, 2, 1, 2, 2),
        sent => sent[*index % sent.len()],
    };
    let mut kind = None;
    let tuple = match who {
        Who::Anybody(src, dst, from, to, kind) => anybody(*src, *dst, *from, *to, *kind),
        Who::Again(index) => some(index),
        Who::Answer(index) => some(index).reversed().unwrap_or(some(index)),
        Who::Complaint(from, index) => {
            let inner = some(index);
            kind = Some(Kind::IcmpError { inner });
            Tuple {
                protocol: protocol::ICMP,
                src: (*from).into(),
                dst: inner.src,
                src_port: 0,
                dst_port: 0,
                ..inner
            }
        }
    };
    Seen {
        tuple,
        len: 60 + u32::from(tuple.src_port),
        kind: kind.unwrap_or_else(|| kind_of(&tuple, segment)),
    }
}

fn all(ct: &Conntrack, now: u64) -> HashSet<String> {
    let mut into = Vec::new();
    let mut from = Some(Cursor::default());
    while let Some(at) = from {
        from = ct.dump(at, 64, &Filter::default(), Tick(now), &mut into);
    }
    let lines: HashSet<_> = into.iter().map(|one| dumped(one, now)).collect();
    assert_eq!(lines.len(), into.len(), "no connection is shown twice");
    lines
}

/// Takes a table, whose hashes `seed` keys and whose zone 7 has a `limit`, and the model through the
/// same steps.
///
/// # Panics
/// When they differ.
pub fn check(steps: &[Step], seed: u64, limit: Option<u32>) {
    let ct = Conntrack::new(seed);
    let mut model = Model {
        check: true,
        loose: true,
        ..Model::default()
    };
    // With a limit, what has expired is taken out at once: until then it counts in the zone.
    ct.set_zone_limit(7, limit);
    model.limits = limit.map(|limit| (7, limit as usize)).into_iter().collect();
    let mut now = 0;
    let mut sent = Vec::new();
    for step in steps {
        match step {
            Step::Packet(who, segment, requests) => {
                let mut seen = seen_of(who, segment, &sent);
                sent.push(seen.tuple);
                let mut last = Meta::default();
                for request in requests {
                    let did = ct.track(&seen, &last, request, Tick(now));
                    let said = model.say(&seen, &last, request, now, &did);
                    let did = Said {
                        meta: did.meta,
                        refused: did.refused,
                        rewrite: did.rewrite,
                    };
                    assert_eq!(did, said, "{seen:?} {request:?}");
                    if let Some(rewrite) = did.rewrite {
                        seen.tuple = rewrite.to;
                        if let Some(inner) = rewrite.inner {
                            seen.kind = Kind::IcmpError { inner };
                        }
                    }
                    last = did.meta;
                }
                if !matches!(seen.kind, Kind::IcmpError { .. }) {
                    sent.push(seen.tuple);
                }
            }
            Step::Advance(by) => {
                now += by;
                if limit.is_some() {
                    ct.sweep(Tick(now), usize::MAX);
                }
            }
            Step::Sweep(budget) => {
                ct.sweep(Tick(now), *budget);
            }
            Step::Flush(zone) => {
                let filter = Filter {
                    zone: Some(*zone),
                    ..Filter::default()
                };
                ct.flush(&filter, Tick(now));
                let gone = model
                    .connections
                    .iter()
                    .filter(|(_, one)| one.zone == *zone);
                let gone: Vec<u32> = gone.map(|(id, _)| *id).collect();
                gone.into_iter().for_each(|id| model.forget(id));
            }
            Step::Check(check) => {
                ct.set_tcp_seq_chk(*check);
                model.check = *check;
            }
            Step::Loose(loose) => {
                ct.set_loose(*loose);
                model.loose = *loose;
            }
        }
        model.expire(now);
        assert_eq!(all(&ct, now), model.lines());
    }
    now += 25 * 60 * MINUTE;
    ct.sweep(Tick(now), usize::MAX);
    assert_eq!(ct.len(), 0, "everything ends");
    assert_eq!(ct.zone_limit(0).count + ct.zone_limit(7).count, 0);
}
