//! Connections: what a switch that tracks them forwards, translates and holds back.

use std::time::Duration;

use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::{Desired, Event};
use vswitch_flow::text::parse_flow;
use vswitch_flow::{Field, FlowRule, OfPort};
use vswitch_packet::build::Builder;
use vswitch_packet::checksum::Sum;
use vswitch_packet::{Protocol, ipv4, tcp};
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, port};

use super::mac;

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];
const OUTSIDE: [u8; 4] = [10, 9, 9, 9];

/// A bridge with four ports.
pub(super) fn switch(workers: usize, flows: &[&str]) -> Sim {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=4).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, workers, frames(), |_| PLAIN);
    sim.set_flows(1, rules(flows));
    sim
}

fn rules(flows: &[&str]) -> Vec<FlowRule> {
    let rule = |flow: &&str| parse_flow(flow, &|_| None).expect(flow);
    flows.iter().map(rule).collect()
}

fn from(src: u8, dst: u8, (src_ip, dst_ip): ([u8; 4], [u8; 4])) -> Builder {
    Builder::eth(mac(src), mac(dst)).ipv4(src_ip, dst_ip)
}

fn request() -> Vec<u8> {
    from(1, 2, (CLIENT, SERVER))
        .udp(1000, 53)
        .payload(b"who?")
        .build()
}

fn answer(to: [u8; 4]) -> Vec<u8> {
    from(2, 1, (SERVER, to))
        .udp(53, 1000)
        .payload(b"me")
        .build()
}

/// The ports that sent something, and how much.
pub(super) fn ports(sim: &mut Sim, port: u32, frame: Vec<u8>) -> Vec<(u32, usize)> {
    let sent = sim.send(port, frame);
    sent.iter()
        .map(|(port, packets)| (*port, packets.len()))
        .collect()
}

/// The one frame that went out, by this port.
fn one(sim: &mut Sim, port: u32, frame: Vec<u8>, to: u32) -> Vec<u8> {
    let mut sent = sim.send(port, frame);
    let mut packets = sent.remove(&to).unwrap_or_default();
    assert!(sent.is_empty(), "by other ports: {sent:?}");
    assert_eq!(packets.len(), 1, "by port {to}");
    packets.remove(0).bytes
}

/// Source and destination address, and source and destination port.
pub(crate) fn tuple(frame: &[u8]) -> ([u8; 4], [u8; 4], u16, u16) {
    let address = |at: usize| frame[at..at + 4].try_into().expect("four bytes");
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    (address(26), address(30), word(34), word(36))
}

/// Whether a frame's sums are right.
pub(crate) fn assert_sums(frame: &[u8]) {
    let ip = &frame[14..];
    let mut sum = Sum::new();
    sum.add(&ip[..20]);
    assert!(sum.is_whole(), "the IPv4 header's sum");
    let size = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let address = |at: usize| ip[at..at + 4].try_into().expect("four bytes");
    let mut sum = Sum::pseudo_v4(address(12), address(16), ip[9], (size - 20) as u32);
    sum.add(&ip[20..size]);
    assert!(sum.is_whole(), "the transport's sum");
}

/// What comes in by port 1 opens connections to port 2; only answers come back.
const FIREWALL: [&str; 4] = [
    "ip,ct_state=-trk actions=ct(table=1)",
    "table=1,in_port=1,ip,ct_state=+trk+new actions=ct(commit),2",
    "table=1,in_port=1,ip,ct_state=+trk+est actions=2",
    "table=1,in_port=2,ip,ct_state=+trk+est actions=1",
];

#[test]
fn answers_come_back_and_nothing_else_does() {
    for workers in [1, 2] {
        let mut sim = switch(workers, &FIREWALL);
        assert_eq!(ports(&mut sim, 2, answer(CLIENT)), [], "nobody has asked");
        assert_eq!(sim.conntrack().len(), 0);
        for _ in 0..3 {
            assert_eq!(ports(&mut sim, 1, request()), [(2, 1)]);
        }
        assert_eq!(sim.conntrack().len(), 1);
        for _ in 0..3 {
            assert_eq!(ports(&mut sim, 2, answer(CLIENT)), [(1, 1)]);
            assert_eq!(ports(&mut sim, 1, request()), [(2, 1)]);
        }
        let other = from(2, 1, (SERVER, CLIENT)).udp(54, 1000).build();
        assert_eq!(ports(&mut sim, 2, other), []);
        assert_eq!(
            sim.new_drops(),
            [(DropReason::NoFlow, 2)],
            "one early and one for nobody"
        );
        sim.advance(Duration::from_secs(3600));
        assert_eq!(sim.conntrack().len(), 0, "connections end");
        assert_eq!(ports(&mut sim, 2, answer(CLIENT)), []);
    }
}

#[test]
fn established_packets_are_decided_by_the_cache() {
    let mut sim = switch(1, &FIREWALL);
    for _ in 0..3 {
        sim.send(1, request());
        sim.send(2, answer(CLIENT));
    }
    let before = sim.worker(0).cache().counters();
    sim.send(1, request());
    sim.send(2, answer(CLIENT));
    let after = sim.worker(0).cache().counters();
    assert_eq!(after.miss, before.miss, "nothing had to be worked out");
    let hits = after.exact + after.masked - before.exact - before.masked;
    assert_eq!(hits, 4, "each packet comes twice");
}

#[test]
fn new_stays_new_until_somebody_answers() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,udp actions=ct(commit,table=1)",
            "table=1,udp,ct_state=+new actions=2",
            "table=1,udp,ct_state=+est actions=3",
            "in_port=2,udp actions=ct(table=1)",
        ],
    );
    for _ in 0..3 {
        assert_eq!(ports(&mut sim, 1, request()), [(2, 1)]);
    }
    assert_eq!(ports(&mut sim, 2, answer(CLIENT)), [(3, 1)]);
    assert_eq!(ports(&mut sim, 1, request()), [(3, 1)]);
}

#[test]
fn addresses_are_translated_there_and_back() {
    let mut sim = switch(
        2,
        &[
            "in_port=1,ip actions=ct(commit,zone=1,nat(src=10.9.9.9)),2",
            "in_port=2,ip,ct_state=-trk actions=ct(table=0,zone=1,nat)",
            "in_port=2,ip,ct_state=+trk+est,ct_zone=1 actions=1",
        ],
    );
    for _ in 0..2 {
        let out = one(&mut sim, 1, request(), 2);
        assert_eq!(tuple(&out), (OUTSIDE, SERVER, 1000, 53));
        assert_sums(&out);
        let back = one(&mut sim, 2, answer(OUTSIDE), 1);
        assert_eq!(tuple(&back), (SERVER, CLIENT, 53, 1000));
        assert_sums(&back);
    }
    // Another client with the same port gets another one.
    let other = from(3, 2, ([10, 0, 0, 3], SERVER)).udp(1000, 53).build();
    let out = one(&mut sim, 1, other, 2);
    let (src, _, port, _) = tuple(&out);
    assert_eq!(src, OUTSIDE);
    assert_ne!(port, 1000);
    assert_sums(&out);
}

#[test]
fn what_follows_a_translation_in_the_same_list_works_on_the_translated_packet() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,udp actions=ct(commit,nat(src=10.9.9.9)),set_field:77->udp_dst,2,\
             push_vlan:0x8100,set_field:4106->vlan_vid,3",
        ],
    );
    let sent = sim.send(1, request());
    let plain = &sent[&2][0].bytes;
    assert_eq!(tuple(plain), (OUTSIDE, SERVER, 1000, 77));
    assert_sums(plain);
    let tagged = &sent[&3][0].bytes;
    assert_eq!(tagged[12..16], [0x81, 0, 0, 10]);
    assert_eq!(tagged[16..], plain[12..]);
}

#[test]
fn zones_do_not_know_each_other() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,ip actions=ct(commit,zone=1),ct(commit,zone=2),2",
            "in_port=2,ip,ct_state=-trk actions=ct(table=0,zone=2)",
            "in_port=3,ip,ct_state=-trk actions=ct(table=0,zone=3)",
            "ip,ct_state=+trk+est actions=1",
        ],
    );
    assert_eq!(ports(&mut sim, 1, request()), [(2, 1)]);
    assert_eq!(sim.conntrack().len(), 2);
    assert_eq!(ports(&mut sim, 2, answer(CLIENT)), [(1, 1)]);
    assert_eq!(ports(&mut sim, 3, answer(CLIENT)), []);
}

#[test]
fn the_packet_and_its_tracked_copy_go_their_own_ways() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,ip actions=ct(commit,exec(set_field:7->ct_mark),table=1),\
             set_field:02:00:00:00:00:09->dl_dst,2",
            "table=1,ip,ct_mark=7 actions=3",
        ],
    );
    let sent = sim.send(1, request());
    assert_eq!(sent[&3][0].bytes, request());
    assert_eq!(sent[&2][0].bytes[..6], mac(9));
    assert_eq!(sent.len(), 2);
}

#[test]
fn a_packet_that_was_translated_is_known_to_a_second_look() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,ip actions=ct(commit,zone=1,nat(src=10.9.9.9)),2",
            "in_port=2,ip,ct_state=-trk actions=ct(table=0,zone=1,nat)",
            "in_port=2,ip,ct_state=+trk,ct_zone=1 \
             actions=ct(table=1,commit,zone=1,exec(set_field:1->ct_mark))",
            "table=1,in_port=2,ip,ct_mark=1,ct_state=+rpl actions=1",
        ],
    );
    one(&mut sim, 1, request(), 2);
    let back = one(&mut sim, 2, answer(OUTSIDE), 1);
    assert_eq!(tuple(&back), (SERVER, CLIENT, 53, 1000));
    assert_eq!(sim.conntrack().len(), 1);
}

#[test]
fn a_connection_may_be_made_the_other_way_round_by_force() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,udp actions=ct(commit),2",
            "in_port=2,udp actions=ct(force,commit,table=1)",
            "table=1,udp,ct_state=+new actions=3",
        ],
    );
    sim.send(1, request());
    assert_eq!(ports(&mut sim, 2, answer(CLIENT)), [(3, 1)]);
    assert_eq!(sim.conntrack().len(), 1);
}

#[test]
fn bad_sums_are_invalid() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,ip actions=ct(commit,table=1)",
            "table=1,ip,ct_state=+inv+trk actions=3",
            "table=1,ip,ct_state=-inv+trk actions=2",
        ],
    );
    let mut bad = request();
    let last = bad.len() - 1;
    bad[last] ^= 0xff;
    assert_eq!(ports(&mut sim, 1, bad), [(3, 1)]);
    let stray = from(1, 2, (CLIENT, SERVER))
        .tcp(1, 2, tcp::SYN | tcp::FIN)
        .build();
    assert_eq!(ports(&mut sim, 1, stray), [(3, 1)]);
    assert_eq!(sim.conntrack().len(), 0);
    assert_eq!(ports(&mut sim, 1, request()), [(2, 1)]);
}

#[test]
fn controllers_are_told_what_was_found() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,udp actions=ct(commit,zone=4,exec(set_field:6->ct_mark)),controller",
            "in_port=2,udp,ct_state=-trk actions=ct(table=0,zone=4)",
            "in_port=2,udp,ct_state=+trk actions=controller,ct_clear,controller",
        ],
    );
    sim.send(1, request());
    sim.send(2, answer(CLIENT));
    let events = sim.take_events();
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::PacketIn(packet) => Some(&packet.fields),
            _ => None,
        })
        .collect();
    let [before, after, cleared] = told.as_slice() else {
        panic!("{events:?}");
    };
    for untracked in [before, cleared] {
        assert_eq!(untracked.field(Field::CtState), (0, 0));
        assert_eq!(untracked.field(Field::CtZone), (0, 0));
    }
    for (field, value) in [
        (Field::CtState, 0x2a),
        (Field::CtZone, 4),
        (Field::CtMark, 6),
        (Field::CtIpv4Src, 0x0a00_0001),
        (Field::CtIpv4Dst, 0x0a00_0002),
        (Field::CtProto, 17),
        (Field::CtTpSrc, 1000),
        (Field::CtTpDst, 53),
    ] {
        assert_eq!(after.field(field).0, value, "{field}");
    }
}

#[test]
fn controllers_have_packets_tracked() {
    let mut sim = switch(1, &["ip,ct_state=+new actions=2"]);
    let actions = rules(&["ip actions=ct(commit,table=0)"]).remove(0);
    let actions = actions.instructions.apply.to_vec();
    sim.packet_out(1, OfPort(1), request(), actions);
    let sent = sim.take();
    assert_eq!(sent.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(sim.conntrack().len(), 1);
}

/// The pieces of a datagram to the server's port 53.
fn pieces() -> Vec<Vec<u8>> {
    let payload: Vec<u8> = (0..2800_u32).map(|i| i as u8).collect();
    let whole = from(1, 2, (CLIENT, SERVER))
        .udp(1000, 53)
        .payload(&payload)
        .build();
    let body = &whole[34..];
    let mut at = 0;
    let mut pieces = Vec::new();
    for chunk in body.chunks(1200) {
        let more = at + chunk.len() < body.len();
        let flags = if more { ipv4::MORE_FRAGMENTS } else { 0 };
        let piece = Builder::eth(mac(1), mac(2)).ipv4_with(
            ipv4::Repr {
                src: CLIENT.into(),
                dst: SERVER.into(),
                protocol: Protocol::UDP,
                ttl: 64,
                tos: 0,
                ident: 77,
                fragment: flags | (at / 8) as u16,
                payload_size: 0,
            },
            &[],
        );
        pieces.push(piece.payload(chunk).build());
        at += chunk.len();
    }
    pieces
}

#[test]
fn fragments_wait_for_each_other_and_go_on_as_they_came() {
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        for workers in [1, 2] {
            let mut sim = switch(
                workers,
                &[
                    "in_port=1,ip actions=ct(commit,table=1),3",
                    "table=1,ip,ct_state=+new actions=2",
                ],
            );
            let pieces = pieces();
            assert_eq!(ports(&mut sim, 1, pieces[order[0]].clone()), []);
            assert_eq!(ports(&mut sim, 1, pieces[order[1]].clone()), []);
            assert_eq!(sim.conntrack().len(), 0);
            let sent = sim.send(1, pieces[order[2]].clone());
            for port in [2, 3] {
                let went: Vec<_> = sent[&port].iter().map(|p| p.bytes.clone()).collect();
                assert_eq!(went, pieces, "by port {port}");
            }
            assert_eq!(sim.conntrack().len(), 1);
            assert_eq!(sim.new_drops(), []);
        }
    }
}

#[test]
fn each_fragment_is_translated_in_its_own_header() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,ip actions=ct(commit,nat(src=10.9.9.9)),2",
            "in_port=2,ip actions=ct(nat),1",
        ],
    );
    let pieces = pieces();
    let mut sent = Vec::new();
    for piece in &pieces {
        let out = sim.send(1, piece.clone());
        sent.extend(out.into_values().flatten());
    }
    assert_eq!(sent.len(), pieces.len());
    let mut body = Vec::new();
    for (sent, piece) in sent.iter().zip(&pieces) {
        assert_eq!(sent.bytes[26..30], OUTSIDE);
        assert_eq!(sent.bytes[34 + 8..], piece[34 + 8..]);
        let mut sum = Sum::new();
        sum.add(&sent.bytes[14..34]);
        assert!(sum.is_whole(), "the header's sum");
        body.extend_from_slice(&sent.bytes[34..]);
    }
    let mut sum = Sum::pseudo_v4(OUTSIDE, SERVER, 17, body.len() as u32);
    sum.add(&body);
    assert!(sum.is_whole(), "the datagram's sum");
}

#[test]
fn fragments_whose_datagram_is_not_whole_in_time_are_given_up() {
    let mut sim = switch(1, &["ip actions=ct(commit),2"]);
    let pieces = pieces();
    sim.send(1, pieces[0].clone());
    sim.send(1, pieces[2].clone());
    sim.advance(Duration::from_secs(16));
    assert_eq!(sim.new_drops(), [(DropReason::FragmentTimeout, 2)]);
    assert_eq!(
        ports(&mut sim, 1, pieces[1].clone()),
        [],
        "it comes too late"
    );
    assert_eq!(sim.conntrack().len(), 0);
}

#[test]
fn flows_that_multiply_packets_do_not_hold_others_up() {
    let mut sim = switch(
        1,
        &[
            "in_port=1,ip actions=ct(table=0),ct(table=0)",
            "in_port=3,ip actions=4",
        ],
    );
    sim.wire(1).push(request());
    sim.wire(3).push(request());
    sim.run();
    let sent = sim.take();
    assert_eq!(sent[&4].len(), 1);
    let drops = sim.new_drops();
    let reasons: Vec<_> = drops.iter().map(|(reason, _)| *reason).collect();
    assert!(reasons.contains(&DropReason::TooMuchWork), "{drops:?}");
}

/// A router for one host, which tracks in two zones one after the other.
const ROUTER: [&str; 7] = [
    "in_port=1,ip,ct_state=-trk actions=ct(zone=1,nat,table=1)",
    "in_port=2,ip,ct_state=-trk actions=ct(zone=1,nat,table=2)",
    "in_port=1,ipv6,ct_state=-trk actions=ct(zone=2,table=1)",
    "in_port=2,ipv6,ct_state=-trk actions=ct(zone=2,table=2)",
    "table=1,ip,ct_state=+new actions=ct(commit,zone=1,nat(src=10.9.9.9)),dec_ttl,2",
    "table=1,ip,ct_state=-new actions=ct(zone=3,table=3)",
    "table=2,ip actions=ct(zone=3,table=3)",
];

const BEHIND_ROUTER: [&str; 5] = [
    "table=1,ipv6 actions=ct(commit,zone=2),2",
    "table=2,ipv6,ct_state=+est actions=1",
    "table=3,in_port=1,ip actions=dec_ttl,2",
    "table=3,in_port=2,ip,nw_dst=10.0.0.1 actions=dec_ttl,1",
    "table=3,in_port=2,udp,tp_dst=7 actions=4",
];

/// What a router may meet: by which port, and the frame.
fn mixed() -> Vec<(u32, Vec<u8>)> {
    let out = || from(1, 2, (CLIENT, SERVER));
    let back = || from(2, 1, (SERVER, OUTSIDE));
    let payload = [7; 40];
    let mut all = Vec::new();
    for port in [1000, 1001, 2000] {
        all.push((1, out().udp(port, 53).payload(&payload).build()));
        all.push((2, back().udp(53, port).payload(&payload).build()));
    }
    all.push((1, out().tcp(3000, 80, tcp::SYN).build()));
    all.push((2, back().tcp(80, 3000, tcp::SYN | tcp::ACK).build()));
    all.push((1, out().tcp(3000, 80, tcp::ACK).build()));
    all.push((1, out().icmp(8, 0, 5 << 16).payload(&payload).build()));
    all.push((2, back().icmp(0, 0, 5 << 16).payload(&payload).build()));
    // An error about a packet that was translated.
    let quoted = Builder::eth(mac(1), mac(2)).ipv4(OUTSIDE, SERVER);
    let quoted = quoted.udp(1000, 53).payload(&payload).build();
    all.push((2, back().icmp(3, 3, 0).payload(&quoted[14..]).build()));
    // What begins nothing, and what nobody tracks.
    all.push((2, back().udp(9, 7).payload(&payload).build()));
    all.push((1, from(1, 2, ([0; 4], SERVER)).udp(1, 2).build()));
    all.push((
        1,
        Builder::eth(mac(1), mac(2))
            .ethertype(0x88b5)
            .payload(&payload)
            .build(),
    ));
    let (host, other) = (0xfd00_u128 << 112 | 1, 0xfd00_u128 << 112 | 2);
    let six = |a: u128, b: u128| Builder::eth(mac(1), mac(2)).ipv6(a.into(), b.into());
    all.push((1, six(host, other).udp(5000, 53).payload(&payload).build()));
    all.push((2, six(other, host).udp(53, 5000).payload(&payload).build()));
    let mut broken = out().udp(1000, 53).payload(&payload).build();
    broken[45] ^= 1;
    all.push((1, broken));
    all
}

#[test]
fn packets_that_are_tracked_together_fare_as_each_would_alone() {
    let flows = [&ROUTER[..], &BEHIND_ROUTER].concat();
    let (mut together, mut alone) = (switch(1, &flows), switch(1, &flows));
    alone.disable_caches();
    let frames = mixed();
    let mut state = 1_u64;
    let mut forwarded = 0;
    for _ in 0..400 {
        // More than a batch, in an order that changes.
        for _ in 0..40 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (port, frame) = &frames[(state >> 33) as usize % frames.len()];
            together.wire(*port).push(frame.clone());
            alone.wire(*port).push(frame.clone());
        }
        together.run();
        alone.run();
        let sent = together.take();
        forwarded += sent.values().map(Vec::len).sum::<usize>();
        assert_eq!(sent, alone.take());
        assert_eq!(together.new_drops(), alone.new_drops());
        assert_eq!(together.conntrack().len(), alone.conntrack().len());
    }
    assert!(forwarded > 8000, "most packets have a way: {forwarded}");
    let hits = together.worker(0).cache().counters();
    assert!(hits.miss < 200, "most are known: {hits:?}");
}
