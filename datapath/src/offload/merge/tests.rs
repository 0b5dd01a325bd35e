//! Merging against cutting: what comes out, cut again, is what went in.

use std::net::Ipv6Addr;

use proptest::prelude::*;
use vswitch_packet::build::Builder;

use super::*;
use crate::buffer::SharedFrames;
use crate::offload::fit::{Fit, fit};
use crate::port::PortIndex;

const MSS: usize = 1000;

/// A port that takes super-frames, and one that takes none and finishes checksums itself.
const TAKES: Capabilities = Capabilities {
    csum: true,
    tso4: true,
    tso6: true,
    uso: false,
    tunnel: false,
    mtu: 1500,
    max_segments: 1 + TAIL_LEN,
};
const WIRE: Capabilities = Capabilities {
    csum: false,
    tso4: false,
    tso6: false,
    ..TAKES
};

/// A segment as a sender makes it.
#[derive(Clone, Debug)]
struct Sent {
    /// 0: IPv4 that may not be fragmented, 1: IPv4 that may, 2: IPv6, 3: as 0, in a VLAN.
    connection: u8,
    seq: u32,
    ident: u16,
    flags: u16,
    payload: usize,
    damaged: bool,
}

impl Sent {
    fn frame(&self) -> Vec<u8> {
        let eth = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let port = 1000 + u16::from(self.connection);
        let payload: Vec<u8> = (0..self.payload)
            .map(|at| (self.seq as usize + at) as u8)
            .collect();
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let v6 = |last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last);
        let (eth, network) = match self.connection {
            3 => (eth.vlan(7), 18),
            _ => (eth, 14),
        };
        let tcp = match self.connection {
            2 => eth.ipv6(v6(1), v6(2)).tcp(port, 80, 0),
            _ => eth.ipv4(a, b).tcp(port, 80, 0),
        };
        let mut frame = tcp.payload(&payload).build();
        let transport = match self.connection {
            2 => network + ipv6::HEADER_SIZE,
            _ => {
                let mut ip = Ipv4::new_unchecked(&mut frame[network..]);
                ip.set_ident(self.ident);
                let fragment = if self.connection == 1 {
                    0
                } else {
                    ipv4::DONT_FRAGMENT
                };
                ip.set_fragment(fragment);
                ip.fill_checksum();
                network + ipv4::HEADER_SIZE
            }
        };
        let tcp_size = frame.len() - transport;
        let pseudo = match self.connection {
            2 => pseudo_v6(v6(1), v6(2), Protocol::TCP, tcp_size as u32),
            _ => pseudo_v4(a.into(), b.into(), Protocol::TCP, tcp_size as u32),
        };
        let mut tcp = Tcp::new_unchecked(&mut frame[transport..]);
        tcp.set_seq(self.seq);
        tcp.set_offset_flags(0x5000 | self.flags);
        tcp.fill_checksum(pseudo);
        if self.damaged {
            let last = frame.len() - 1;
            frame[last] ^= 1;
        }
        frame
    }
}

/// Frames after they went through `merge`: how many super-frames, and what they are cut into.
fn through(frames: &[Vec<u8>]) -> (usize, Vec<Vec<u8>>) {
    let shared = SharedFrames::new(256, 4).expect("memory");
    let mut pool = FramePool::new(shared);
    let packet = |pool: &mut FramePool, frame: &Vec<u8>| pool.packet(frame, PortIndex(1));
    let mut packets: Vec<Packet> = frames
        .iter()
        .map(|frame| packet(&mut pool, frame).expect("room"))
        .collect();
    let mut kept = Vec::new();
    let gone = merge(&mut packets, &TAKES, &mut pool, &mut kept);
    assert_eq!(gone, frames.len() - kept.len());
    let len = kept.iter().filter(|p| p.offload.gso.is_some()).count();
    let mut cut = Vec::new();
    for packet in kept {
        assert!(TAKES.accepts(&packet), "{packet:?}");
        assert!(matches!(
            fit(packet, &WIRE, &mut pool, &mut cut),
            Fit::Ready
        ));
    }
    let bytes = cut.iter().map(Packet::to_vec).collect();
    for packet in cut {
        pool.drop_packet(packet);
    }
    (len, bytes)
}

/// Segments of one connection, one after the other.
fn stream(connection: u8, payloads: &[usize]) -> Vec<Sent> {
    let mut seq = 0xffff_fc00_u32;
    (0..)
        .zip(payloads)
        .map(|(ident, &payload)| {
            let sent = Sent {
                connection,
                seq,
                ident,
                flags: tcp::ACK,
                payload,
                damaged: false,
            };
            seq = seq.wrapping_add(payload as u32);
            sent
        })
        .collect()
}

fn frames(sent: &[Sent]) -> Vec<Vec<u8>> {
    sent.iter().map(Sent::frame).collect()
}

#[test]
fn a_stream_becomes_one_super_frame_and_is_cut_into_the_same_segments() {
    for connection in 0..4 {
        let mut sent = stream(connection, &[MSS, MSS, MSS, MSS, 10]);
        sent[4].flags |= tcp::PSH;
        let frames = frames(&sent);
        assert_eq!(through(&frames), (1, frames), "connection {connection}");
    }
}

#[test]
fn a_super_frame_has_no_more_frames_than_the_port_takes() {
    let frames = frames(&stream(0, &[MSS; 32]));
    let (len, cut) = through(&frames);
    assert_eq!((len, cut), (2, frames));
}

#[test]
fn connections_are_merged_beside_each_other() {
    let (a, b) = (stream(0, &[MSS; 4]), stream(2, &[MSS; 4]));
    let both: Vec<Sent> = a
        .iter()
        .zip(&b)
        .flat_map(|(a, b)| [a.clone(), b.clone()])
        .collect();
    let (len, cut) = through(&frames(&both));
    assert_eq!((len, cut), (2, [frames(&a), frames(&b)].concat()));
}

/// What is done to the second of three segments so that it is not merged with the first.
fn spoilt(spoil: impl FnOnce(&mut Sent)) -> usize {
    let mut sent = stream(1, &[MSS; 3]);
    sent.truncate(2);
    spoil(&mut sent[1]);
    let all = frames(&sent);
    let (len, cut) = through(&all);
    assert_eq!(cut, all);
    len
}

#[test]
fn what_does_not_continue_a_segment_stays_apart() {
    assert_eq!(spoilt(|_| {}), 1);
    assert_eq!(spoilt(|second| second.seq += 1), 0);
    assert_eq!(spoilt(|second| second.ident += 1), 0);
    assert_eq!(spoilt(|second| second.payload += 1), 0);
    assert_eq!(spoilt(|second| second.payload = 0), 0);
    for flag in [tcp::FIN, tcp::SYN, tcp::RST, tcp::URG, tcp::ECE, tcp::CWR] {
        assert_eq!(spoilt(|second| second.flags |= flag), 0, "{flag:#x}");
    }
}

#[test]
fn damage_is_not_vouched_for() {
    // A damaged frame goes on as it is, for its receiver to find out.
    assert_eq!(spoilt(|second| second.damaged = true), 0);
    let mut sent = stream(1, &[MSS; 2]);
    sent[0].damaged = true;
    let all = frames(&sent);
    assert_eq!(through(&all), (0, all));
}

#[test]
fn a_fragment_stays_where_it_is() {
    let mut all = frames(&stream(1, &[MSS; 3]));
    let mut fragment = all[0].clone();
    Ipv4::new_unchecked(&mut fragment[14..]).set_fragment(ipv4::MORE_FRAGMENTS);
    Ipv4::new_unchecked(&mut fragment[14..]).fill_checksum();
    all.insert(1, fragment);
    assert_eq!(through(&all), (1, all));
}

#[test]
fn no_cut_of_a_frame_makes_it_panic() {
    for connection in 0..4 {
        let frame = stream(connection, &[8])[0].frame();
        for len in 14..=frame.len() {
            let cut = frame[..len].to_vec();
            let (_, out) = through(&[frame.clone(), cut.clone(), cut]);
            assert_eq!(out.len(), 3);
        }
    }
}

prop_compose! {
    fn any_sent()(
        connection in 0..4_u8,
        payload in prop::sample::select(vec![0, 10, MSS, MSS, MSS, MSS + 1]),
        flags in prop::sample::select(vec![0, 0, 0, 0, tcp::PSH, tcp::FIN, tcp::ECE]),
        damaged in prop::bool::weighted(0.05),
        jump in prop::bool::weighted(0.1),
    ) -> (Sent, bool) {
        let flags = flags | tcp::ACK;
        (Sent { connection, seq: 0, ident: 0, flags, payload, damaged }, jump)
    }
}

proptest! {
    #[test]
    fn cutting_what_was_merged_gives_the_segments_of_each_connection_back(
        wanted in prop::collection::vec(any_sent(), 1..40),
    ) {
        let mut next = [(7_u32, 3_u16); 4];
        let mut sent = Vec::new();
        for (mut one, jump) in wanted {
            let (seq, ident) = &mut next[usize::from(one.connection)];
            *seq = seq.wrapping_add(u32::from(jump));
            (one.seq, one.ident) = (*seq, *ident);
            *seq = seq.wrapping_add(one.payload as u32);
            *ident = ident.wrapping_add(1);
            sent.push(one);
        }
        let (_, cut) = through(&frames(&sent));
        // Where a connection's segments go between those of others is free.
        let port = |frame: &Vec<u8>| {
            let at = match (frame[12], frame[13]) {
                (0x86, 0xdd) => 14 + 40,
                (0x81, 0x00) => 18 + 20,
                _ => 14 + 20,
            };
            (frame[at], frame[at + 1])
        };
        for connection in 0..4_u8 {
            let of = |all: &[Vec<u8>]| -> Vec<Vec<u8>> {
                let own = (1000 + u16::from(connection)).to_be_bytes();
                all.iter().filter(|frame| port(frame) == own.into()).cloned().collect()
            };
            prop_assert_eq!(of(&cut), of(&frames(&sent)));
        }
    }
}
