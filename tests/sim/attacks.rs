//! Whoever sends what nobody asked for: what is remembered stays within its bounds, and who was
//! there before goes on.

use std::time::Duration;

use vswitch_datapath::conntrack::End;
use vswitch_datapath::conntrack::request::Refused;
use vswitch_datapath::counters::DropReason;
use vswitch_packet::build::Builder;
use vswitch_packet::{Protocol, icmp, ipv4, tcp};
use vswitch_tests::sim::Sim;

use super::mac;
use super::tracking::{ports, switch};

/// The world is at port 1 and a server at port 2; what fits no connection goes to port 3, to be
/// seen.
const SERVER: [&str; 5] = [
    "ip,ct_state=-trk actions=ct(zone=5,table=1)",
    "table=1,priority=20,ip,ct_state=+trk+inv actions=3",
    "table=1,priority=10,in_port=1,ip,ct_state=+trk+new actions=ct(commit,zone=5),2",
    "table=1,priority=10,in_port=1,ip,ct_state=+trk+est actions=2",
    "table=1,priority=10,in_port=2,ip,ct_state=+trk+est actions=1",
];

const HOUR: Duration = Duration::from_secs(3600);

/// Numbers without a pattern, the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn address(&mut self) -> [u8; 4] {
        let [a, b, c, ..] = self.next().to_le_bytes();
        [100, a, b, c]
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }
}

/// How many packets were refused for this reason.
fn refused(sim: &Sim, reason: Refused) -> u64 {
    sim.conntrack().happened().refused[reason as usize]
}

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const HOST: [u8; 4] = [10, 0, 0, 2];

/// A TCP connection of the client with the server, and what either end sends next.
struct Talk {
    ports: [u16; 2],
    next: [u32; 2],
}

impl Talk {
    /// Shakes hands with port 80 through the switch.
    fn begin(sim: &mut Sim, port: u16) -> Self {
        Self::begin_with(sim, [port, 80])
    }

    fn begin_with(sim: &mut Sim, ports: [u16; 2]) -> Self {
        let next = [u32::from(ports[0]) << 12, u32::MAX - 5];
        let mut talk = Self { ports, next };
        talk.pass(sim, 0, tcp::SYN, b"");
        talk.pass(sim, 1, tcp::SYN | tcp::ACK, b"");
        talk.pass(sim, 0, tcp::ACK, b"");
        talk
    }

    /// A segment of one end, `by` octets beside where it should be.
    fn segment(&self, end: usize, flags: u16, by: u32, payload: &[u8]) -> Vec<u8> {
        let (addresses, macs) = match end {
            0 => ([CLIENT, HOST], [1, 2]),
            _ => ([HOST, CLIENT], [2, 1]),
        };
        let ack = if flags & tcp::ACK == 0 {
            0
        } else {
            self.next[1 - end]
        };
        Builder::eth(mac(macs[0]), mac(macs[1]))
            .ipv4(addresses[0], addresses[1])
            .tcp_with(
                tcp::Repr {
                    src_port: self.ports[end],
                    dst_port: self.ports[1 - end],
                    seq: self.next[end].wrapping_add(by),
                    ack,
                    flags,
                    window: 8000,
                },
                &[],
            )
            .payload(payload)
            .build()
    }

    /// One end sends, and the switch forwards it as it is.
    fn pass(&mut self, sim: &mut Sim, end: usize, flags: u16, payload: &[u8]) {
        let frame = self.segment(end, flags, 0, payload);
        let (from, to) = if end == 0 { (1, 2) } else { (2, 1) };
        let sent = sim.send(from, frame.clone());
        let there = sent.get(&to).map(Vec::as_slice).unwrap_or_default();
        assert!(
            sent.len() == 1 && there.len() == 1 && there[0].bytes == frame,
            "flags {flags:#x} of end {end}: {sent:?}"
        );
        let octets = payload.len() as u32 + u32::from(flags & (tcp::SYN | tcp::FIN) != 0);
        self.next[end] = self.next[end].wrapping_add(octets);
    }

    /// A request and its answer.
    fn exchange(&mut self, sim: &mut Sim) {
        self.pass(sim, 0, tcp::ACK | tcp::PSH, b"GET /");
        self.pass(sim, 1, tcp::ACK | tcp::PSH, b"this is what there is");
        self.pass(sim, 0, tcp::ACK, b"");
    }
}

#[test]
fn a_syn_flood_takes_no_more_than_the_limit_and_nobody_established_suffers() {
    const LIMIT: usize = 500;
    let mut sim = switch(1, &SERVER);
    sim.conntrack().set_limit(LIMIT);
    let mut chance = Chance(1);
    let mut talks: Vec<_> = (0..5).map(|i| Talk::begin(&mut sim, 1000 + i)).collect();
    for burst in 0..150 {
        for _ in 0..32 {
            let port = chance.next() as u16 | 1;
            let syn = Builder::eth(mac(1), mac(2)).ipv4(chance.address(), HOST);
            sim.wire(1).push(syn.tcp(port, 80, tcp::SYN).build());
        }
        sim.run();
        let _ = sim.take();
        assert!(sim.conntrack().len() <= LIMIT, "{}", sim.conntrack().len());
        let at = burst % talks.len();
        talks[at].exchange(&mut sim);
    }
    assert!(sim.conntrack().len() > LIMIT * 9 / 10, "there was a flood");
    let evicted = sim.conntrack().happened().ended[End::Evicted as usize];
    let begun = sim.conntrack().len() as u64 + evicted - talks.len() as u64;
    let told = begun + refused(&sim, Refused::TableFull);
    assert_eq!(told, 150 * 32, "each SYN is held, was held or was refused");
    // Who comes now gets in as well.
    Talk::begin(&mut sim, 2000).exchange(&mut sim);
    // All that nobody answered is forgotten; the others are not.
    sim.advance(Duration::from_secs(31));
    assert_eq!(sim.conntrack().len(), talks.len() + 1);
    for talk in &mut talks {
        talk.exchange(&mut sim);
    }
    sim.advance(25 * HOUR);
    assert_eq!(sim.conntrack().len(), 0);
}

#[test]
fn a_flood_displaces_nobody_who_is_half_closed() {
    const LIMIT: usize = 100;
    let mut sim = switch(1, &SERVER);
    sim.conntrack().set_limit(LIMIT);
    let mut talks: Vec<_> = (0..20).map(|i| Talk::begin(&mut sim, 1000 + i)).collect();
    // The client has asked all that it wanted to know; the answer is a long one.
    for talk in &mut talks {
        talk.pass(&mut sim, 0, tcp::FIN | tcp::ACK, b"");
        talk.pass(&mut sim, 1, tcp::ACK, b"");
    }
    let mut chance = Chance(4);
    for _ in 0..4000 {
        let syn = Builder::eth(mac(1), mac(2)).ipv4(chance.address(), HOST);
        sim.send(1, syn.tcp(1, 80, tcp::SYN).build());
    }
    assert_eq!(sim.conntrack().len(), LIMIT, "there was a flood");
    for talk in &mut talks {
        talk.pass(&mut sim, 1, tcp::ACK | tcp::PSH, b"the long answer");
        talk.pass(&mut sim, 0, tcp::ACK, b"");
        talk.pass(&mut sim, 1, tcp::FIN | tcp::ACK, b"");
        talk.pass(&mut sim, 0, tcp::ACK, b"");
    }
}

#[test]
fn a_flood_in_one_zone_leaves_room_in_others() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,ip actions=ct(commit,zone=1,table=1)",
            "in_port=2,ip actions=ct(commit,zone=2,table=1)",
            "table=1,ip,ct_state=+new actions=4",
            "table=1,ip,ct_state=+inv actions=3",
        ],
    );
    sim.conntrack().set_zone_limit(1, Some(20));
    let mut chance = Chance(2);
    let mut request = |station| {
        Builder::eth(mac(station), mac(9))
            .ipv4(chance.address(), HOST)
            .udp(1000, 53)
            .build()
    };
    for number in 0..100 {
        let to = if number < 20 { 4 } else { 3 };
        assert_eq!(ports(&mut sim, 1, request(1)), [(to, 1)], "{number}");
        assert_eq!(ports(&mut sim, 2, request(2)), [(4, 1)], "{number}");
    }
    assert_eq!(sim.conntrack().zone_limit(1).count, 20);
    assert_eq!(sim.conntrack().zone_limit(2).count, 100);
    assert_eq!(refused(&sim, Refused::ZoneLimit), 80);
    sim.advance(HOUR);
    assert_eq!(sim.conntrack().zone_limit(1).count, 0);
    assert_eq!(
        ports(&mut sim, 1, request(1)),
        [(4, 1)],
        "there is room again"
    );
}

/// A piece of a UDP datagram: the bytes from `offset` on.
fn piece(src: [u8; 4], ident: u16, offset: usize, more: bool, body: &[u8]) -> Vec<u8> {
    let flag = if more { ipv4::MORE_FRAGMENTS } else { 0 };
    let repr = ipv4::Repr {
        src: src.into(),
        dst: HOST.into(),
        protocol: Protocol::UDP,
        ttl: 64,
        tos: 0,
        ident,
        fragment: flag | (offset / 8) as u16,
        payload_size: 0,
    };
    let header = Builder::eth(mac(1), mac(2)).ipv4_with(repr, &[]);
    header.payload(body).build()
}

/// A datagram of the client in two pieces.
fn two_pieces(ident: u16) -> [Vec<u8>; 2] {
    let whole = Builder::eth(mac(1), mac(2))
        .ipv4(CLIENT, HOST)
        .udp(1000, 53)
        .payload(&[7; 2000])
        .build();
    let body = &whole[34..];
    [
        piece(CLIENT, ident, 0, true, &body[..1400]),
        piece(CLIENT, ident, 1400, false, &body[1400..]),
    ]
}

#[test]
fn a_flood_of_fragments_is_bounded_and_whole_datagrams_pass() {
    const MOST: usize = 200;
    let mut sim = switch(1, &SERVER);
    sim.conntrack()
        .fragments()
        .set_max(MOST as u32)
        .expect("a number that can be");
    let mut chance = Chance(3);
    for burst in 0..60_u16 {
        for _ in 0..20 {
            let (src, ident) = (chance.address(), chance.next() as u16);
            sim.wire(1).push(piece(src, ident, 0, true, &[0; 1200]));
        }
        sim.run();
        assert!(sim.take().is_empty(), "half a datagram went on");
        assert!(sim.conntrack().fragments().len() <= MOST);
        for piece in two_pieces(burst) {
            sim.wire(1).push(piece);
        }
        sim.run();
        assert_eq!(sim.take()[&2].len(), 2, "both pieces, after burst {burst}");
    }
    assert_eq!(
        sim.conntrack().len(),
        1,
        "only whole datagrams begin something"
    );
    sim.advance(Duration::from_secs(16));
    assert_eq!(sim.conntrack().fragments().len(), 0);
    let drops = sim.new_drops();
    let given_up: u64 = drops.iter().map(|(_, len)| len).sum();
    assert_eq!(given_up, 60 * 20, "{drops:?}");
    assert!(drops.iter().all(|(reason, _)| {
        matches!(
            reason,
            DropReason::FragmentGivenUp | DropReason::FragmentTimeout
        )
    }));
}

#[test]
fn a_datagram_without_end_holds_what_one_can_have() {
    let mut sim = switch(1, &SERVER);
    for offset in (0..65_536).step_by(1200) {
        sim.wire(1).push(piece(CLIENT, 9, offset, true, &[0; 1200]));
        sim.run();
    }
    // Pieces that would reach beyond the largest packet are none.
    assert!(sim.conntrack().fragments().len() <= 65_535 / 1200);
    sim.advance(Duration::from_secs(16));
    assert_eq!(sim.conntrack().fragments().len(), 0);
    assert_eq!(sim.conntrack().len(), 0);
}

#[test]
fn pieces_that_overlap_end_their_datagram_and_no_other() {
    let mut sim = switch(1, &SERVER);
    for ident in 0..50_u16 {
        let [first, last] = two_pieces(ident);
        // Over the end of the first piece, and with other bytes than it.
        let over = piece(CLIENT, ident, 1392, true, &[9; 1200]);
        let doubled = first.clone();
        // A doubled piece is one that came twice, and changes nothing.
        assert_eq!(ports(&mut sim, 1, first), []);
        assert_eq!(ports(&mut sim, 1, doubled), [(3, 1)]);
        if ident % 2 == 0 {
            assert_eq!(ports(&mut sim, 1, last), [(2, 2)], "{ident}");
            continue;
        }
        assert_eq!(ports(&mut sim, 1, over), [(3, 1)]);
        assert_eq!(ports(&mut sim, 1, last), [(3, 1)], "{ident} is given up");
    }
    assert_eq!(sim.new_drops(), [(DropReason::FragmentGivenUp, 25)]);
    sim.advance(Duration::from_secs(16));
    assert_eq!(sim.conntrack().fragments().waiting(), []);
}

#[test]
fn segments_outside_the_window_are_invalid_and_change_nothing() {
    let mut sim = switch(1, &SERVER);
    let mut talk = Talk::begin(&mut sim, 1000);
    talk.exchange(&mut sim);
    let wrong: [(u16, u32, &[u8]); 7] = [
        (tcp::ACK | tcp::PSH, 1_000_000, b"evil"),
        (tcp::ACK | tcp::PSH, 0_u32.wrapping_sub(1_000_000), b"evil"),
        (tcp::RST, 5_000, b""),
        (tcp::RST, 0_u32.wrapping_sub(5_000), b""),
        (tcp::FIN | tcp::ACK, 1_000_000, b""),
        (tcp::SYN | tcp::FIN, 0, b""),
        (0, 0, b""),
    ];
    for end in [0, 1] {
        for (flags, by, payload) in wrong {
            let frame = talk.segment(end, flags, by, payload);
            let sent = ports(&mut sim, end as u32 + 1, frame);
            assert_eq!(sent, [(3, 1)], "end {end}, flags {flags:#x}, by {by}");
            talk.exchange(&mut sim);
        }
    }
    assert_eq!(refused(&sim, Refused::Window), 14);
    // Nor does it keep a connection alive.
    sim.advance(23 * HOUR);
    let frame = talk.segment(0, tcp::ACK | tcp::PSH, 1_000_000, b"evil");
    assert_eq!(ports(&mut sim, 1, frame), [(3, 1)]);
    sim.advance(HOUR + Duration::from_secs(1));
    assert_eq!(sim.conntrack().len(), 0);
}

/// An ICMP error of somebody about this packet: its IP header and eight octets more.
fn error_about(frame: &[u8], from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    Builder::eth(mac(1), mac(2))
        .ipv4(from, to)
        .icmp(icmp::UNREACHABLE, 3, 0)
        .payload(&frame[14..14 + 28])
        .build()
}

#[test]
fn forged_errors_end_nothing_and_keep_nothing_alive() {
    let mut flows = SERVER.to_vec();
    flows.push("table=1,priority=10,ip,ct_state=+trk+rel actions=4");
    let mut sim = switch(1, &flows);
    let request = || {
        let request = Builder::eth(mac(1), mac(2)).ipv4(CLIENT, HOST);
        request.udp(1000, 53).build()
    };
    let answer = || {
        let answer = Builder::eth(mac(2), mac(1)).ipv4(HOST, CLIENT);
        answer.udp(53, 1000).build()
    };
    assert_eq!(ports(&mut sim, 1, request()), [(2, 1)]);
    assert_eq!(ports(&mut sim, 2, answer()), [(1, 1)]);
    // About what the server never sent.
    let other = Builder::eth(mac(2), mac(1)).ipv4(HOST, CLIENT);
    let lie = error_about(&other.udp(53, 1001).build(), [9, 9, 9, 9], HOST);
    assert_eq!(ports(&mut sim, 1, lie), [(3, 1)]);
    assert_eq!(refused(&sim, Refused::NotNew), 1);
    // About what it did send: whoever says so cannot be known.
    for _ in 0..3 {
        sim.advance(Duration::from_secs(12));
        let guess = error_about(&answer(), [9, 9, 9, 9], HOST);
        let alive = sim.conntrack().len() == 1;
        let to = if alive { 4 } else { 3 };
        assert_eq!(ports(&mut sim, 1, guess), [(to, 1)]);
        if alive {
            assert_eq!(sim.conntrack().len(), 1, "an error ended it");
        }
    }
    assert_eq!(sim.conntrack().len(), 0, "36 s without a packet of its own");
}

/// Clients may speak FTP with the server; what a helper expects goes to port 4, to be seen.
const FTP: [&str; 5] = [
    "ip,ct_state=-trk actions=ct(zone=5,table=1)",
    "table=1,priority=20,ip,ct_state=+trk+new+rel actions=4",
    "table=1,priority=10,in_port=1,tcp,tp_dst=21,ct_state=+trk+new actions=ct(commit,zone=5,alg=ftp),2",
    "table=1,priority=10,in_port=1,ip,ct_state=+trk+est actions=2",
    "table=1,priority=10,in_port=2,ip,ct_state=+trk+est actions=1",
];

/// Whether the switch expects a data connection of the server's port 20 with this end.
fn is_expected(sim: &mut Sim, to: [u8; 4], port: u16) -> bool {
    let syn = Builder::eth(mac(2), mac(1)).ipv4(HOST, to);
    let went = ports(sim, 2, syn.tcp(20, port, tcp::SYN).build());
    assert!(went == [(4, 1)] || went.is_empty(), "{went:?}");
    !went.is_empty()
}

#[test]
fn commands_that_lie_or_come_in_parts_open_nothing() {
    const COMMAND: u16 = tcp::ACK | tcp::PSH;
    let mut sim = switch(1, &FTP);
    let mut talk = Talk::begin_with(&mut sim, [1000, 21]);
    for (segments, address) in [
        // In parts, wherever they are parted.
        (&[&b"PORT 10,0,0,1,4,"[..], b"1\r\n"][..], CLIENT),
        (&[b"PO", b"RT 10,0,0,1,4,1\r\n"], CLIENT),
        (&[b"PORT 10,0,0,1,4,1", b"\r\n"], CLIENT),
        (&[b"EPRT |1|10.0.0.1|1025", b"|\r\n"], CLIENT),
        // Somebody else's address, the server's own among them.
        (&[b"PORT 10,0,0,7,4,1\r\n"], [10, 0, 0, 7]),
        (&[b"EPRT |1|10.0.0.7|1025|\r\n"], [10, 0, 0, 7]),
        (&[b"PORT 10,0,0,2,4,1\r\n"], HOST),
        // No command at all.
        (&[b"PORT 10,0,0,1,4,257\r\n"], CLIENT),
        (&[b"PORT 10,0,0,1,4\r\n"], CLIENT),
        (&[b"EPRT |2|10.0.0.1|1025|\r\n"], CLIENT),
        (&[b"EPRT |1|10.0.0.1|66561|\r\n"], CLIENT),
        (&[b"SITE PORT 10,0,0,1,4,1\r\n"], CLIENT),
        (&[b"227 =10,0,0,1,4,1\r\n"], CLIENT),
        (&[&[b'1'; 1400]], CLIENT),
        (&[b"PORT ", &[b'1'; 1400]], CLIENT),
    ] {
        for segment in segments {
            talk.pass(&mut sim, 0, COMMAND, segment);
        }
        let said = segments.concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!is_expected(&mut sim, address, 1025), "{said}");
        assert!(!is_expected(&mut sim, CLIENT, 1025), "{said}");
        // The line is over, and the connection is not.
        talk.pass(&mut sim, 0, COMMAND, b"\r\n");
        talk.pass(&mut sim, 1, COMMAND, b"500 what?\r\n");
    }
    let counted = sim.conntrack().helpers().read();
    assert_eq!((counted.expected, counted.strangers), (0, 3), "{counted:?}");
    // What the client may say is understood as before.
    talk.pass(&mut sim, 0, COMMAND, b"PORT 10,0,0,1,4,1\r\n");
    assert!(is_expected(&mut sim, CLIENT, 1025));
    assert!(!is_expected(&mut sim, CLIENT, 1026));
}

#[test]
fn a_client_that_announces_without_end_is_expected_so_often_and_no_more() {
    let mut sim = switch(1, &FTP);
    let mut talk = Talk::begin_with(&mut sim, [1000, 21]);
    for number in 0..500_u16 {
        let [high, low] = (2000 + number).to_be_bytes();
        let command = format!("PORT 10,0,0,1,{high},{low}\r\n");
        talk.pass(&mut sim, 0, tcp::ACK | tcp::PSH, command.as_bytes());
        talk.pass(&mut sim, 1, tcp::ACK, b"");
    }
    let expected: Vec<u16> = (2000..2500)
        .filter(|port| is_expected(&mut sim, CLIENT, *port))
        .collect();
    assert_eq!(expected, (2484..2500).collect::<Vec<_>>());
    // With the control connection all that it announced is gone.
    sim.advance(25 * HOUR);
    assert_eq!(sim.conntrack().len(), 0);
    assert!(!is_expected(&mut sim, CLIENT, 2499));
}

/// Any packet between few hosts and ports, right and wrong.
fn any_packet(chance: &mut Chance) -> Vec<u8> {
    let host = |chance: &mut Chance| [10, 0, 0, 1 + chance.below(4) as u8];
    let port = |chance: &mut Chance| 1 + chance.below(4) as u16;
    let (src, dst) = (host(chance), host(chance));
    let builder = Builder::eth(mac(1), mac(2)).ipv4(src, dst);
    match chance.below(8) {
        0..3 => {
            const FLAGS: [u16; 6] = [
                tcp::SYN,
                tcp::SYN | tcp::ACK,
                tcp::ACK,
                tcp::ACK | tcp::PSH,
                tcp::FIN | tcp::ACK,
                tcp::RST | tcp::ACK,
            ];
            let repr = tcp::Repr {
                src_port: port(chance),
                dst_port: port(chance),
                seq: chance.below(3) as u32,
                ack: chance.below(3) as u32,
                flags: FLAGS[chance.below(6) as usize],
                window: 100,
            };
            builder.tcp_with(repr, &[]).build()
        }
        3..5 => builder.udp(port(chance), port(chance)).build(),
        5 => {
            let kind = if chance.below(2) == 0 { 8 } else { 0 };
            builder.icmp(kind, 0, chance.below(3) as u32).build()
        }
        6 => {
            let about = Builder::eth(mac(1), mac(2)).ipv4(dst, host(chance));
            let about = about.udp(port(chance), port(chance)).build();
            error_about(&about, src, dst)
        }
        _ => {
            let (ident, offset) = (chance.below(4) as u16, chance.below(3) as usize * 1200);
            piece(src, ident, offset, chance.below(2) == 0, &[0; 1200])
        }
    }
}

#[test]
fn whatever_comes_nothing_is_left_in_the_end() {
    for workers in [1, 2] {
        let mut sim = switch(
            workers,
            &[
                "in_port=1,ip actions=ct(commit,zone=1,nat(src=10.9.9.1-10.9.9.2:50-59),table=1)",
                "in_port=2,ip actions=ct(zone=1,nat,table=1)",
                "in_port=3,ip actions=ct(commit,force,zone=2,table=1)",
                "in_port=4,ip actions=ct(commit,zone=1,nat(dst=10.0.0.4),table=1)",
                "table=1,ip,ct_state=+inv actions=drop",
                "table=1,ip,ct_state=-inv actions=2",
            ],
        );
        let mut chance = Chance(5);
        let mut most = 0;
        for _ in 0..400 {
            for _ in 0..8 {
                let port = 1 + chance.below(4) as u32;
                sim.wire(port).push(any_packet(&mut chance));
            }
            sim.run();
            let _ = sim.take();
            most = most.max(sim.conntrack().len());
            if chance.below(20) == 0 {
                sim.advance(Duration::from_secs(chance.below(40)));
            }
        }
        assert!(most > 50, "only {most} connections at once");
        sim.advance(25 * HOUR);
        assert_eq!(sim.conntrack().len(), 0);
        assert_eq!(sim.conntrack().fragments().len(), 0);
        for zone in [1, 2] {
            assert_eq!(sim.conntrack().zone_limit(zone).count, 0, "zone {zone}");
        }
    }
}
