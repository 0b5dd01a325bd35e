//! Whatever `fit` makes of a packet carries the same payload, fits the port and is summed right.
//! The oracle for headers and checksums is etherparse.

use std::collections::BTreeMap;
use std::sync::Arc;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use vswitch_datapath::buffer::{FramePool, HEADROOM, Packet, Segment, SharedFrames};
use vswitch_datapath::counters::DropReason;
use vswitch_datapath::offload::fit::{Fit, fit};
use vswitch_datapath::offload::{Capabilities, Checksum, Gso, GsoKind, Offload, too_big};
use vswitch_datapath::port::PortIndex;
use vswitch_packet::build::Builder;
use vswitch_packet::{EtherType, Protocol, ipv4, tcp};

const SRC_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const FRAMES: (usize, usize) = (3000, 8);

/// A pool that knows whether everything came back.
struct Frames {
    shared: Arc<SharedFrames>,
    pool: FramePool,
}

impl Frames {
    fn new() -> Self {
        thread_local! {
            // A region is never unmapped, so the cases of a test share one.
            static SHARED: Arc<SharedFrames> =
                SharedFrames::new(FRAMES.0 as u32, FRAMES.1 as u32).expect("memory");
        }
        let shared = SHARED.with(Arc::clone);
        let pool = FramePool::new(Arc::clone(&shared));
        Self { shared, pool }
    }

    /// A packet with at most `head_max` bytes in its head and the rest in a large frame.
    fn packet(&mut self, bytes: &[u8], head_max: usize, offload: Offload) -> Packet {
        let (head, tail) = bytes.split_at(bytes.len().min(head_max).min(3840));
        let mut frame = self.pool.chunk().expect("free");
        frame.bytes_mut()[HEADROOM..HEADROOM + head.len()].copy_from_slice(head);
        let range = HEADROOM..HEADROOM + head.len();
        let mut packet = Packet::new(frame, range, PortIndex(3), offload);
        if !tail.is_empty() {
            let mut frame = self.pool.large().expect("free");
            frame.bytes_mut()[..tail.len()].copy_from_slice(tail);
            packet
                .push_tail(Segment::new(frame, 0..tail.len()), &mut self.pool)
                .expect("room");
        }
        packet
    }

    /// The bytes and metadata of packets, whose frames are freed.
    fn take(&mut self, packets: Vec<Packet>) -> Vec<(Vec<u8>, Offload)> {
        let seen = packets.iter().map(|p| (p.to_vec(), p.offload)).collect();
        for packet in packets {
            self.pool.drop_packet(packet);
        }
        seen
    }

    fn assert_all_free(mut self) {
        self.pool.drain();
        assert_eq!(self.shared.free_len(), FRAMES);
    }
}

/// What the headers of a generated packet are.
#[derive(Clone, Debug)]
struct Shape {
    is_v6: bool,
    is_udp: bool,
    tags: usize,
    /// Eight-byte IPv6 extension headers, or four-byte words of IPv4 options.
    extras: usize,
    tcp_options: usize,
    flags: u16,
    payload: Vec<u8>,
    dont_fragment: bool,
}

fn shape(max_payload: usize) -> impl Strategy<Value = Shape> {
    (
        any::<[bool; 3]>(),
        0..3usize,
        0..3usize,
        0..4usize,
        0..0x100u16,
        (1..max_payload, any::<u64>()),
    )
        .prop_map(
            |([is_v6, is_udp, dont_fragment], tags, extras, tcp_options, flags, (size, seed))| {
                let payload = (0..size as u64)
                    .map(|i| ((seed ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
                    .collect();
                Shape {
                    is_v6,
                    is_udp,
                    tags,
                    extras,
                    tcp_options,
                    flags,
                    payload,
                    dont_fragment,
                }
            },
        )
}

impl Shape {
    /// The packet with a finished checksum.
    fn bytes(&self) -> Vec<u8> {
        let mut builder = Builder::eth(SRC_MAC, DST_MAC);
        for tag in 0..self.tags {
            let tpid = if tag == 0 && self.tags > 1 {
                EtherType::QINQ
            } else {
                EtherType::VLAN
            };
            builder = builder.tag(tpid, 0x2000 | tag as u16);
        }
        if self.is_v6 {
            builder = builder.ipv6(
                "fd00::1:2:3:4".parse().unwrap(),
                "fd00::ffff:5".parse().unwrap(),
            );
            for _ in 0..self.extras {
                builder = builder.extension(Protocol::DESTINATION, &[0, 0, 1, 4, 0, 0, 0, 0]);
            }
        } else {
            let repr = ipv4::Repr {
                src: [10, 1, 2, 3].into(),
                dst: [10, 255, 4, 5].into(),
                protocol: Protocol::default(),
                ttl: 17,
                tos: 3,
                ident: 0xfffe,
                fragment: if self.dont_fragment {
                    ipv4::DONT_FRAGMENT
                } else {
                    0
                },
                payload_size: 0,
            };
            // Router alert is copied into fragments; a timestamp's kind is not.
            let options = [[0x94, 4, 0, 0], [0x44, 4, 5, 0]].concat();
            builder = builder.ipv4_with(repr, &options[..self.extras * 4]);
        }
        builder = if self.is_udp {
            builder.udp(4000, 5000)
        } else {
            let repr = tcp::Repr {
                src_port: 4000,
                dst_port: 5000,
                seq: 0xffff_f000,
                ack: 77,
                flags: self.flags,
                window: 1000,
            };
            builder.tcp_with(repr, &[1; 12][..self.tcp_options * 4])
        };
        builder.payload(&self.payload).build()
    }

    fn link_size(&self) -> usize {
        14 + 4 * self.tags
    }

    fn transport(&self) -> usize {
        let ip = if self.is_v6 {
            40 + 8 * self.extras
        } else {
            20 + 4 * self.extras
        };
        self.link_size() + ip
    }

    fn headers(&self) -> usize {
        self.transport()
            + if self.is_udp {
                8
            } else {
                20 + 4 * self.tcp_options
            }
    }

    fn checksum_offset(&self) -> u16 {
        if self.is_udp { 6 } else { 16 }
    }

    /// The packet as a kernel hands it over: a sum of the pseudo header where the checksum goes.
    fn partial(&self) -> (Vec<u8>, Checksum) {
        let mut bytes = self.bytes();
        let (start, offset) = (self.transport(), self.checksum_offset());
        let size = (bytes.len() - start) as u32;
        let protocol = if self.is_udp { 17 } else { 6 };
        let ip = &bytes[self.link_size()..];
        let addresses = if self.is_v6 { &ip[8..40] } else { &ip[12..20] };
        let mut words: u64 = addresses
            .chunks(2)
            .map(|w| u64::from(u16::from_be_bytes([w[0], w[1]])))
            .sum();
        words += u64::from(size) + protocol;
        let field = start + usize::from(offset);
        bytes[field..field + 2].copy_from_slice(&fold(words).to_be_bytes());
        let start = start as u16;
        (bytes, Checksum::Partial { start, offset })
    }

    fn gso(&self, size: u16) -> Gso {
        let kind = match (self.is_udp, self.is_v6) {
            (true, _) => GsoKind::Udp,
            (false, false) => GsoKind::Tcp4,
            (false, true) => GsoKind::Tcp6,
        };
        Gso {
            kind,
            size,
            ecn: false,
            tunnel: None,
        }
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Does what a network card does with a partial checksum.
fn finish(bytes: &mut [u8], offload: Offload) {
    if let Checksum::Partial { start, offset } = offload.csum {
        let (start, field) = (usize::from(start), usize::from(start + offset));
        let sum = bytes[start..]
            .chunks(2)
            .map(|w| u64::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])))
            .sum();
        let value = match !fold(sum) {
            0 if offset == 6 => 0xffff,
            value => value,
        };
        bytes[field..field + 2].copy_from_slice(&value.to_be_bytes());
    }
}

/// The oracle: all lengths and checksums are right.
fn assert_whole(bytes: &[u8]) {
    let packet = SlicedPacket::from_ethernet(bytes).expect("a packet");
    let transport = packet.transport.expect("a transport header");
    match packet.net.expect("an IP header") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let (src, dst) = (header.source, header.destination);
            match transport {
                TransportSlice::Tcp(tcp) => assert_eq!(
                    tcp.checksum(),
                    tcp.calc_checksum_ipv4(src, dst).expect("size")
                ),
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    assert_eq!(usize::from(header.length), 8 + udp.payload().len());
                    let sum = header
                        .calc_checksum_ipv4_raw(src, dst, udp.payload())
                        .expect("size");
                    assert_eq!(header.checksum, if sum == 0 { 0xffff } else { sum });
                }
                other => panic!("{other:?}"),
            }
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let (src, dst) = (header.source, header.destination);
            match transport {
                TransportSlice::Tcp(tcp) => assert_eq!(
                    tcp.checksum(),
                    tcp.calc_checksum_ipv6(src, dst).expect("size")
                ),
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    assert_eq!(usize::from(header.length), 8 + udp.payload().len());
                    let sum = header
                        .calc_checksum_ipv6_raw(src, dst, udp.payload())
                        .expect("size");
                    assert_eq!(header.checksum, if sum == 0 { 0xffff } else { sum });
                }
                other => panic!("{other:?}"),
            }
        }
        NetSlice::Arp(_) => panic!("an IP packet became ARP"),
    }
}

/// A port that takes nothing unfinished.
fn plain(mtu: u32) -> Capabilities {
    Capabilities {
        csum: false,
        tso4: false,
        tso6: false,
        uso: false,
        tunnel: false,
        mtu,
        max_segments: 18,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn segments_carry_the_payload_of_the_super_frame(
        shape in shape(64_000),
        gso_size in 64..9000u16,
        head_max in 200..4000usize,
        csum in any::<bool>(),
    ) {
        let mut frames = Frames::new();
        let (bytes, partial) = shape.partial();
        let offload = Offload { csum: partial, gso: Some(shape.gso(gso_size)) };
        let packet = frames.packet(&bytes, head_max, offload);
        let port = Capabilities { csum, ..plain(9300) };
        let mut out = Vec::new();
        let answer = fit(packet, &port, &mut frames.pool, &mut out);
        prop_assert!(matches!(answer, Fit::Ready), "{answer:?}");

        for packet in &out {
            prop_assert!(packet.head_range().start >= HEADROOM);
            prop_assert_eq!(packet.in_port, PortIndex(3));
        }
        let mut payload = Vec::new();
        let headers = shape.headers();
        let sent = frames.take(out);
        let last = sent.len() - 1;
        for (i, (mut bytes, offload)) in sent.into_iter().enumerate() {
            prop_assert_eq!(offload.gso, None);
            prop_assert_eq!(matches!(offload.csum, Checksum::Partial { .. }), csum);
            prop_assert!(bytes.len() <= headers + usize::from(gso_size));
            prop_assert!(i == last || bytes.len() == headers + usize::from(gso_size));
            finish(&mut bytes, offload);
            assert_whole(&bytes);
            let ip = &bytes[shape.link_size()..];
            if !shape.is_v6 {
                let ident = u16::from_be_bytes([ip[4], ip[5]]);
                prop_assert_eq!(ident, 0xfffeu16.wrapping_add(i as u16));
            }
            if !shape.is_udp {
                let tcp = tcp::Tcp::new_unchecked(&bytes[shape.transport()..]);
                prop_assert_eq!(tcp.seq(), 0xffff_f000u32.wrapping_add(payload.len() as u32));
                let mut flags = shape.flags;
                if i > 0 {
                    flags &= !tcp::CWR;
                }
                if i < last {
                    flags &= !(tcp::FIN | tcp::PSH);
                }
                prop_assert_eq!(tcp.flags(), flags);
            }
            payload.extend_from_slice(&bytes[headers..]);
        }
        prop_assert_eq!(payload, shape.payload);
        frames.assert_all_free();
    }

    #[test]
    fn fragments_carry_the_payload_of_the_packet(
        shape in shape(20_000),
        mtus in prop::collection::vec(100..1600u32, 1..3),
        head_max in 200..4000usize,
        is_partial in any::<bool>(),
    ) {
        let shape = Shape { is_v6: false, dont_fragment: false, ..shape };
        let mut frames = Frames::new();
        let whole = shape.bytes();
        let (bytes, csum) = if is_partial {
            shape.partial()
        } else {
            (whole.clone(), Checksum::Unknown)
        };
        let packet = frames.packet(&bytes, head_max, Offload { csum, gso: None });
        // Each fragment meets the next link, as on a way through several.
        let mut packets = vec![packet];
        for mtu in &mtus {
            let mut out = Vec::new();
            for packet in packets {
                let answer = fit(packet, &plain(*mtu), &mut frames.pool, &mut out);
                prop_assert!(matches!(answer, Fit::Ready), "{answer:?}");
            }
            packets = out;
        }
        let smallest = mtus.iter().min().copied().unwrap_or(0) as usize;

        let link = shape.link_size();
        let mut pieces = BTreeMap::new();
        let mut is_last_seen = false;
        for (bytes, offload) in frames.take(packets) {
            prop_assert!(bytes.len() - link <= smallest);
            prop_assert_eq!(matches!(offload.csum, Checksum::Partial { .. }), false);
            prop_assert_eq!(&bytes[..link], &whole[..link]);
            let ip = ipv4::Ipv4::new_checked(&bytes[link..]).expect("a fragment");
            prop_assert!(ip.is_whole());
            prop_assert_eq!(ip.ident(), 0xfffe);
            let options = ip.options();
            if ip.fragment_offset() == 0 {
                prop_assert_eq!(options.len(), shape.extras * 4);
            } else {
                prop_assert_eq!(options.len(), shape.extras.min(1) * 4);
            }
            is_last_seen |= ip.fragment() & ipv4::MORE_FRAGMENTS == 0;
            pieces.insert(ip.fragment_offset(), ip.payload().to_vec());
        }
        prop_assert!(is_last_seen);
        let mut payload = Vec::new();
        for (offset, piece) in pieces {
            prop_assert_eq!(offset, payload.len());
            payload.extend(piece);
        }
        prop_assert_eq!(&payload[..], &whole[shape.transport()..]);
        frames.assert_all_free();
    }

    #[test]
    fn a_packet_that_fits_changes_only_its_frames_and_its_checksum(
        shape in shape(9000),
        head_max in 200..4000usize,
        csum in any::<bool>(),
        max_segments in prop::sample::select(vec![4usize, 18]),
    ) {
        let mut frames = Frames::new();
        let (bytes, partial) = shape.partial();
        let offload = Offload { csum: partial, gso: None };
        let packet = frames.packet(&bytes, head_max, offload);
        let port = Capabilities { csum, max_segments, ..plain(9300) };
        let mut out = Vec::new();
        let answer = fit(packet, &port, &mut frames.pool, &mut out);
        prop_assert!(matches!(answer, Fit::Ready), "{answer:?}");
        prop_assert!(out[0].tail_segments().len() < max_segments);
        let mut sent = frames.take(out);
        prop_assert_eq!(sent.len(), 1);
        let (mut bytes, offload) = sent.remove(0);
        prop_assert_eq!(matches!(offload.csum, Checksum::Partial { .. }), csum);
        finish(&mut bytes, offload);
        assert_whole(&bytes);
        prop_assert_eq!(bytes, shape.bytes());
        frames.assert_all_free();
    }

    #[test]
    fn no_bytes_and_no_metadata_make_it_panic_or_lose_a_frame(
        shape in shape(3000),
        garbage in prop::collection::vec((0..200usize, any::<u8>()), 0..12),
        cut_at in 14..3000usize,
        start in 0..200u16,
        offset in 0..40u16,
        kind in 0..4u8,
        gso_size in 1..3000u16,
        mtu in 68..2000u32,
    ) {
        let mut frames = Frames::new();
        let mut bytes = shape.bytes();
        for (at, byte) in garbage {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(cut_at.max(14));
        let gso = [None, Some(GsoKind::Tcp4), Some(GsoKind::Tcp6), Some(GsoKind::Udp)]
            [usize::from(kind)]
            .map(|kind| Gso { kind, size: gso_size, ecn: false, tunnel: None });
        let offload = Offload { csum: Checksum::Partial { start, offset }, gso };
        let packet = frames.packet(&bytes, 3840, offload);
        let mut out = Vec::new();
        match fit(packet, &plain(mtu), &mut frames.pool, &mut out) {
            Fit::Ready => {
                for packet in &out {
                    prop_assert!(packet.len() <= mtu as usize + 14 + 32);
                }
            }
            Fit::Dropped(_) => prop_assert!(out.is_empty()),
            Fit::TooBig(packet) => {
                out.extend(too_big::answer(&packet, mtu, &mut frames.pool));
                frames.pool.drop_packet(packet);
            }
        }
        frames.take(out);
        frames.assert_all_free();
    }
}

fn super_frame(payload: usize) -> Shape {
    Shape {
        is_v6: false,
        is_udp: false,
        tags: 0,
        extras: 0,
        tcp_options: 3,
        flags: tcp::ACK | tcp::PSH,
        payload: vec![9; payload],
        dont_fragment: true,
    }
}

#[test]
fn a_port_that_takes_super_frames_gets_them_untouched() {
    let mut frames = Frames::new();
    let (bytes, csum) = super_frame(60_000).partial();
    let shape = super_frame(60_000);
    for size in [1448, 1449] {
        let offload = Offload {
            csum,
            gso: Some(shape.gso(size)),
        };
        let packet = frames.packet(&bytes, 3840, offload);
        let port = Capabilities {
            csum: true,
            tso4: true,
            ..plain(1500)
        };
        let mut out = Vec::new();
        match fit(packet, &port, &mut frames.pool, &mut out) {
            Fit::Ready => assert_eq!(size, 1448),
            Fit::TooBig(packet) => {
                // Segments of 1501 bytes: counted by what would be on the wire.
                assert_eq!(size, 1449);
                let answer = too_big::answer(&packet, 1500, &mut frames.pool).expect("IPv4");
                out.push(answer);
                frames.pool.drop_packet(packet);
            }
            Fit::Dropped(reason) => panic!("{reason:?}"),
        }
        let sent = frames.take(out);
        if size == 1448 {
            assert_eq!(sent, [(bytes.clone(), offload)]);
        }
    }
    frames.assert_all_free();
}

#[test]
fn a_super_frame_of_one_segment_becomes_a_packet() {
    let mut frames = Frames::new();
    let shape = super_frame(1000);
    let (bytes, csum) = shape.partial();
    let gso = Some(shape.gso(1448));
    let packet = frames.packet(&bytes, 3840, Offload { csum, gso });
    let port = Capabilities {
        csum: true,
        ..plain(1500)
    };
    let mut out = Vec::new();
    assert!(matches!(
        fit(packet, &port, &mut frames.pool, &mut out),
        Fit::Ready
    ));
    assert_eq!(frames.take(out), [(bytes, Offload { csum, gso: None })]);
    frames.assert_all_free();
}

#[test]
fn a_super_frame_that_may_be_fragmented_is_cut_twice() {
    let mut frames = Frames::new();
    let shape = Shape {
        dont_fragment: false,
        ..super_frame(20_000)
    };
    let (bytes, csum) = shape.partial();
    let gso = Some(shape.gso(1448));
    let packet = frames.packet(&bytes, 3840, Offload { csum, gso });
    let mut out = Vec::new();
    assert!(matches!(
        fit(packet, &plain(600), &mut frames.pool, &mut out),
        Fit::Ready
    ));
    let sent = frames.take(out);
    let payload: usize = sent.iter().map(|(bytes, _)| bytes.len() - 34).sum();
    let segments = 20_000usize.div_ceil(1448);
    assert_eq!(payload, 20_000 + segments * 32);
    assert!(sent.iter().all(|(bytes, _)| bytes.len() <= 614));
    frames.assert_all_free();
}

#[test]
fn a_packet_of_more_frames_than_the_port_sends_is_refused() {
    let mut frames = Frames::new();
    let shape = super_frame(9000);
    let packet = frames.packet(&shape.bytes(), 3840, Offload::default());
    let port = Capabilities {
        max_segments: 1,
        ..plain(9300)
    };
    let answer = fit(packet, &port, &mut frames.pool, &mut Vec::new());
    assert!(matches!(answer, Fit::Dropped(DropReason::TooManyFrames)));
    frames.assert_all_free();
}

#[test]
fn an_exhausted_pool_drops_the_whole_super_frame() {
    let mut frames = Frames::new();
    let shape = super_frame(60_000);
    let (bytes, csum) = shape.partial();
    let gso = Some(shape.gso(100));
    let packet = frames.packet(&bytes, 3840, Offload { csum, gso });
    let mut held: Vec<_> = std::iter::from_fn(|| frames.pool.chunk()).collect();
    for frame in held.drain(..100) {
        frames.pool.free(frame);
    }
    let mut out = Vec::new();
    let answer = fit(packet, &plain(1500), &mut frames.pool, &mut out);
    assert!(
        matches!(answer, Fit::Dropped(DropReason::NoFrames)),
        "{answer:?}"
    );
    assert!(out.is_empty());
    for frame in held {
        frames.pool.free(frame);
    }
    frames.assert_all_free();
}

#[test]
fn the_answer_to_a_large_ipv4_packet_quotes_it_and_names_the_mtu() {
    let mut frames = Frames::new();
    let shape = Shape {
        tags: 1,
        ..super_frame(3000)
    };
    let bytes = shape.bytes();
    let packet = frames.packet(&bytes, 3840, Offload::default());
    let Fit::TooBig(packet) = fit(packet, &plain(1400), &mut frames.pool, &mut Vec::new()) else {
        panic!("a packet that must not be cut");
    };
    let answer = too_big::answer(&packet, 1400, &mut frames.pool).expect("an answer");
    assert_eq!(answer.in_port, packet.in_port);
    frames.pool.drop_packet(packet);
    let (answer, _) = frames.take(vec![answer]).remove(0);
    assert_eq!(answer[..6], SRC_MAC);
    assert_eq!(answer[6..12], DST_MAC);
    assert_eq!(answer[12..18], bytes[12..18]);
    assert_eq!(answer.len(), 18 + 576);
    let sliced = SlicedPacket::from_ethernet(&answer).expect("a packet");
    let Some(NetSlice::Ipv4(ip)) = sliced.net else {
        panic!("not IPv4");
    };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(header.source, [10, 255, 4, 5]);
    assert_eq!(header.destination, [10, 1, 2, 3]);
    let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else {
        panic!("not ICMP");
    };
    assert_eq!(
        icmp.icmp_type(),
        etherparse::Icmpv4Type::DestinationUnreachable(
            etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 }
        )
    );
    assert_eq!(
        icmp.checksum(),
        icmp.icmp_type().calc_checksum(icmp.payload())
    );
    assert_eq!(icmp.payload(), &bytes[18..18 + 548]);
    frames.assert_all_free();
}

#[test]
fn the_answer_to_a_large_ipv6_packet_is_packet_too_big() {
    let mut frames = Frames::new();
    let shape = Shape {
        is_v6: true,
        ..super_frame(3000)
    };
    let bytes = shape.bytes();
    let packet = frames.packet(&bytes, 3840, Offload::default());
    let Fit::TooBig(packet) = fit(packet, &plain(1400), &mut frames.pool, &mut Vec::new()) else {
        panic!("a packet that must not be cut");
    };
    let answer = too_big::answer(&packet, 1400, &mut frames.pool).expect("an answer");
    frames.pool.drop_packet(packet);
    let (answer, _) = frames.take(vec![answer]).remove(0);
    assert_eq!(answer.len(), 14 + 1280);
    let sliced = SlicedPacket::from_ethernet(&answer).expect("a packet");
    let Some(NetSlice::Ipv6(ip)) = sliced.net else {
        panic!("not IPv6");
    };
    let header = ip.header().to_header();
    let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else {
        panic!("not ICMPv6");
    };
    assert_eq!(
        icmp.icmp_type(),
        etherparse::Icmpv6Type::PacketTooBig { mtu: 1400 }
    );
    assert!(icmp.is_checksum_valid(header.source, header.destination));
    assert_eq!(header.destination, bytes[14 + 8..14 + 24]);
    assert_eq!(icmp.payload(), &bytes[14..14 + 1280 - 48]);
    frames.assert_all_free();
}

#[test]
fn what_could_multiply_is_not_answered() {
    let mut frames = Frames::new();
    let base = || Builder::eth(SRC_MAC, DST_MAC);
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let v6 = |text: &str| text.parse().unwrap();
    let later = ipv4::Repr {
        src: a.into(),
        dst: b.into(),
        protocol: Protocol::UDP,
        ttl: 64,
        tos: 0,
        ident: 1,
        fragment: ipv4::DONT_FRAGMENT | 185,
        payload_size: 0,
    };
    let body = [0; 64];
    let silent = [
        base().ipv4(a, b).icmp(3, 4, 1400).payload(&body).build(),
        base().ipv4(a, b).icmp(11, 0, 0).payload(&body).build(),
        base()
            .ipv4(a, [224, 0, 0, 5])
            .udp(1, 2)
            .payload(&body)
            .build(),
        base().ipv4(a, [255; 4]).udp(1, 2).payload(&body).build(),
        base().ipv4([0; 4], b).udp(1, 2).payload(&body).build(),
        base().ipv4_with(later, &[]).payload(&body).build(),
        base()
            .ipv6(v6("fd00::1"), v6("fd00::2"))
            .icmpv6(2, 0, 1400)
            .payload(&body)
            .build(),
        base()
            .ipv6(v6("fd00::1"), v6("ff02::1"))
            .udp(1, 2)
            .payload(&body)
            .build(),
        base()
            .ipv6(v6("::"), v6("fd00::2"))
            .udp(1, 2)
            .payload(&body)
            .build(),
        base()
            .ipv6(v6("fd00::1"), v6("fd00::2"))
            .fragment(8, false, 1)
            .payload(&body)
            .build(),
        Builder::eth(SRC_MAC, [0xff; 6])
            .ipv4(a, b)
            .udp(1, 2)
            .payload(&body)
            .build(),
        base().ethertype(0x88b5).payload(&body).build(),
    ];
    for bytes in &silent {
        let packet = frames.packet(bytes, 3840, Offload::default());
        let answer = too_big::answer(&packet, 1400, &mut frames.pool);
        assert!(answer.is_none(), "{bytes:02x?}");
        frames.pool.drop_packet(packet);
    }
    let answered = [
        base().ipv4(a, b).icmp(8, 0, 0).payload(&body).build(),
        base()
            .ipv6(v6("fd00::1"), v6("fd00::2"))
            .icmpv6(128, 0, 0)
            .payload(&body)
            .build(),
        base()
            .ipv6(v6("fd00::1"), v6("fd00::2"))
            .fragment(0, true, 1)
            .udp(1, 2)
            .payload(&body)
            .build(),
    ];
    for bytes in &answered {
        let packet = frames.packet(bytes, 3840, Offload::default());
        let answer = too_big::answer(&packet, 1400, &mut frames.pool).expect("an answer");
        frames.pool.drop_packet(answer);
        frames.pool.drop_packet(packet);
    }
    frames.assert_all_free();
}
