use proptest::prelude::*;
use vswitch_packet::build::Builder;
use vswitch_packet::tcp;

use super::*;
use crate::conntrack::desk::{Desk, hex, sctp};
use crate::offload::{Gso, GsoKind, Offload};

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const A: [u8; 4] = [10, 1, 1, 1];
const B: [u8; 4] = [10, 1, 1, 2];

fn v4() -> Builder {
    Builder::eth(MACS[0], MACS[1]).ipv4(A, B)
}

fn v6() -> Builder {
    let [a, b] = ["fc00::1", "fc00::2"].map(|text| text.parse().expect("an address"));
    Builder::eth(MACS[0], MACS[1]).ipv6(a, b)
}

fn read_with(bytes: &[u8], offload: Offload) -> Result<Seen, Invalid> {
    let mut desk = Desk::new();
    let (seen, after) = desk.with(bytes, offload, |packet, layout| parse(packet, layout));
    assert_eq!(after, bytes, "reading changes nothing");
    desk.close();
    seen
}

fn read(bytes: &[u8]) -> Result<Seen, Invalid> {
    read_with(bytes, Offload::default())
}

fn tuple4(protocol: Protocol, src_port: u16, dst_port: u16) -> Tuple {
    Tuple {
        family: Family::V4,
        protocol: protocol.0,
        src: u128::from(u32::from_be_bytes(A)),
        dst: u128::from(u32::from_be_bytes(B)),
        src_port,
        dst_port,
    }
}

#[test]
fn udp_without_a_checksum() {
    let frame = hex(
        "50540000000a50540000000908004500001c000000000011a4cd0a0101010a010102\
                     0001000200080000",
    );
    let seen = read(&frame).expect("good");
    assert_eq!(seen.tuple, tuple4(Protocol::UDP, 1, 2));
    assert_eq!((seen.kind, seen.len), (Kind::Udp, 42));
    // Over IPv6 it must have one (RFC 8200 §8.1).
    let mut frame = v6().udp(1, 2).payload(b"abc").build();
    assert!(read(&frame).is_ok());
    frame[14 + 40 + 6..][..2].fill(0);
    assert_eq!(read(&frame), Err(Invalid::Checksum));
}

#[test]
fn tcp_with_its_window_scale() {
    let syn = tcp::Repr {
        src_port: 40_000,
        dst_port: 80,
        seq: 7,
        ack: 0,
        flags: flag::SYN,
        window: 64_240,
    };
    let options = [2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 0, 0];
    let frame = v4().tcp_with(syn, &options).build();
    let seen = read(&frame).expect("good");
    let Kind::Tcp(tcp) = seen.kind else {
        panic!("TCP");
    };
    assert_eq!((tcp.flags, tcp.seq, tcp.window), (flag::SYN, 7, 64_240));
    assert_eq!((tcp.wscale, tcp.payload), (Some(7), 0));

    assert_eq!(window_scale(&[3, 3, 200]), Some(14), "RFC 7323 §2.3");
    for options in [&[0, 3, 3, 7][..], &[2, 0, 3, 3], &[2], &[2, 9, 1], &[]] {
        assert_eq!(window_scale(options), None);
    }
    // Later segments cannot change the scale.
    let ack = tcp::Repr {
        flags: flag::ACK,
        ..syn
    };
    let frame = v4().tcp_with(ack, &options).payload(b"hello").build();
    let Ok(Seen {
        kind: Kind::Tcp(tcp),
        ..
    }) = read(&frame)
    else {
        panic!("TCP");
    };
    assert_eq!((tcp.wscale, tcp.payload), (None, 5));
}

#[test]
fn a_wrong_sum_counts_unless_somebody_has_vouched_for_it() {
    let mut frame = v4().tcp(1, 2, flag::ACK).payload(b"hello").build();
    *frame.last_mut().expect("bytes") ^= 1;
    assert_eq!(read(&frame), Err(Invalid::Checksum));
    let begun = Checksum::Partial {
        start: 34,
        offset: 16,
    };
    for csum in [Checksum::Valid, begun] {
        let offload = Offload { csum, gso: None };
        assert!(read_with(&frame, offload).is_ok());
    }
    let mut frame = v4().tcp(1, 2, flag::ACK).build();
    frame[14 + 8] ^= 1;
    assert_eq!(read(&frame), Err(Invalid::HeaderChecksum));
}

#[test]
fn super_frames_and_tails_are_read_whole() {
    let payload: Vec<u8> = (0..20_001).map(|at| at as u8).collect();
    for frame in [
        v4().tcp(1, 2, flag::ACK).payload(&payload).build(),
        v6().udp(1, 2).payload(&payload).build(),
        sctp(v4(), (1, 2), 20_000),
    ] {
        for at in [100, 1499, 1500] {
            let mut desk = Desk::new();
            let (packet, layout) = desk.split(&frame, at, Offload::default());
            let seen = parse(&packet, layout).expect("good");
            assert_eq!(seen.len as usize, frame.len());
            desk.pool.drop_packet(packet);
            // A wrong byte in the tail is noticed.
            let mut wrong = frame.clone();
            wrong[9000] ^= 4;
            let (mut packet, layout) = desk.split(&wrong, at, Offload::default());
            assert_eq!(parse(&packet, layout), Err(Invalid::Checksum));
            packet.offload.gso = Some(Gso {
                kind: GsoKind::Tcp4,
                size: 1448,
                ecn: false,
                tunnel: None,
            });
            assert!(
                parse(&packet, layout).is_ok(),
                "its segments get sums later"
            );
            desk.pool.drop_packet(packet);
            desk.close();
        }
    }
}

#[test]
fn queries_of_icmp_have_an_identifier() {
    let seen = read(&v4().icmp(8, 0, 0x1234_0001).payload(b"ping").build()).expect("good");
    assert_eq!(seen.tuple, tuple4(Protocol::ICMP, 0x1234, 0x0800));
    assert_eq!(seen.kind, Kind::IcmpQuery);
    let seen = read(&v6().icmpv6(129, 0, 0x1234_0001).payload(b"pong").build()).expect("good");
    assert_eq!((seen.tuple.src_port, seen.tuple.icmp_type()), (0x1234, 129));
    assert_eq!(read(&v4().icmp(8, 1, 0).build()), Err(Invalid::Icmp));
    // Neighbours are asked for, not connected to.
    let target = "fc00::2".parse().expect("an address");
    let frame = v6().neighbour(135, target, MACS[0]).build();
    assert_eq!(read(&frame), Err(Invalid::Icmp));
}

#[test]
fn errors_of_icmp_quote_what_their_receiver_sent() {
    // "ICMP related NAT with single port" of Open vSwitch's tests.
    let frame = hex(
        "f00000010101f00000010102080045c000456a3700004001f9bc0a0101020a010101\
                     0303132800000000 4500002944c140004011dffe0a0101010a010102\
                     04d21f9000154cd2646573745f756e72656163680a",
    );
    let seen = read(&frame).expect("good");
    let inner = tuple4(Protocol::UDP, 1234, 8080);
    assert_eq!(seen.kind, Kind::IcmpError { inner });
    assert_eq!((seen.tuple.src, seen.tuple.dst), (inner.dst, inner.src));
    assert_eq!((seen.tuple.src_port, seen.tuple.dst_port), (0, 0));

    // Eight bytes of the transport header are enough, seven are not (RFC 792).
    let quoted = Builder::eth(MACS[0], MACS[1])
        .ipv4(B, A)
        .tcp(80, 40_000, flag::ACK)
        .build();
    let error = |size: usize| {
        v4().icmp(11, 0, 0)
            .payload(&quoted[14..14 + 20 + size])
            .build()
    };
    let seen = read(&error(8)).expect("good");
    let Kind::IcmpError { inner } = seen.kind else {
        panic!("an error");
    };
    assert_eq!((inner.src_port, inner.dst_port), (80, 40_000));
    assert_eq!(read(&error(7)), Err(Invalid::Quotation));

    // Somebody else's packet.
    let quoted = v4().tcp(80, 40_000, flag::ACK).build();
    let frame = v4().icmp(3, 1, 0).payload(&quoted[14..]).build();
    assert_eq!(read(&frame), Err(Invalid::Quotation));
    // An error about an error.
    let quoted = Builder::eth(MACS[0], MACS[1])
        .ipv4(B, A)
        .icmp(3, 1, 0)
        .build();
    let frame = v4().icmp(3, 1, 0).payload(&quoted[14..]).build();
    assert_eq!(read(&frame), Err(Invalid::Quotation));
}

#[test]
fn extension_headers_are_walked_over() {
    let frame = hex("50540000000a50540000000986dd6000000000180040\
                     fc000000000000000000000000000001 fc000000000000000000000000000002\
                     1100050200000100 000100020010f7b2 0102030405060708");
    let seen = read(&frame).expect("good");
    assert_eq!((seen.tuple.src_port, seen.tuple.dst_port), (1, 2));
    assert_eq!(seen.tuple.src_ip().to_string(), "fc00::1");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let frame = v4().udp(1, 2).payload(b"abcd").build();
    let with = |at: usize, byte: u8| {
        let mut frame = frame.clone();
        frame[at] = byte;
        let mut ip = ipv4::Ipv4::new_unchecked(&mut frame[14..34]);
        ip.fill_checksum();
        read(&frame)
    };
    assert_eq!(with(14, 0x55), Err(Invalid::Network), "version 5");
    assert_eq!(with(14, 0x44), Err(Invalid::Network), "16 bytes of header");
    assert_eq!(with(17, 33), Err(Invalid::Network), "longer than the frame");
    assert_eq!(with(17, 27), Err(Invalid::Transport), "UDP cut off");
    assert_eq!(
        with(14 + 20 + 5, 13),
        Err(Invalid::Transport),
        "UDP too long"
    );
    assert_eq!(with(20, 0x20), Err(Invalid::Fragment));
    let arp = Builder::eth(MACS[0], MACS[1]).arp_request(A, B).build();
    assert_eq!(read(&arp), Err(Invalid::Network));
    assert_eq!(read(&v4().udp(0, 2).build()), Err(Invalid::Port));
    assert_eq!(read(&v4().tcp(1, 0, 2).build()), Err(Invalid::Port));
    // Chunks that do not end where the packet does.
    let mut frame = sctp(v4(), (1, 2), 8);
    frame[14 + 20 + 12 + 3] = 16;
    assert_eq!(read(&frame), Err(Invalid::Transport));
    frame[14 + 20 + 12 + 3] = 3;
    assert_eq!(read(&frame), Err(Invalid::Transport));
}

#[test]
fn padding_belongs_to_no_packet() {
    let frame = v4().udp(1, 2).payload(b"a").pad_to(60).build();
    assert!(read(&frame).is_ok());
    let mut dirty = frame;
    dirty[50] = 0xff;
    assert!(read(&dirty).is_ok());
}

#[test]
fn other_protocols_have_addresses_only() {
    let mut frame = v4().payload(&[1, 2, 3, 4]).build();
    frame[14 + 9] = 47;
    ipv4::Ipv4::new_unchecked(&mut frame[14..34]).fill_checksum();
    let seen = read(&frame).expect("good");
    assert_eq!(
        (seen.tuple, seen.kind),
        (tuple4(Protocol(47), 0, 0), Kind::Other)
    );
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = proptest::collection::vec(any::<u8>(), 0..200);
    (payload, 0..7_u8).prop_map(|(payload, kind)| match kind {
        0 => v4().tcp(1, 2, flag::ACK).payload(&payload).build(),
        1 => v6().tcp(1, 2, flag::ACK).payload(&payload).build(),
        2 => v6().udp(1, 2).payload(&payload).build(),
        3 => v4().icmp(8, 0, 5).payload(&payload).build(),
        4 => v6().icmpv6(128, 0, 5).payload(&payload).build(),
        5 => sctp(v4(), (1, 2), payload.len()),
        _ => {
            let quoted = Builder::eth(MACS[0], MACS[1])
                .ipv4(B, A)
                .udp(1, 2)
                .payload(&payload)
                .build();
            v4().icmp(3, 1, 0).payload(&quoted[14..]).build()
        }
    })
}

proptest! {
    #[test]
    fn one_flipped_bit_is_noticed(frame in frames(), at in 0..10_000_usize, bit in 0..8_u8) {
        prop_assert!(read(&frame).is_ok());
        let mut frame = frame;
        // From the transport header on, and not in the fields of IPv6 that no sum covers.
        let l4 = if frame[12] == 8 { 34 } else { 54 };
        let at = l4 + at % (frame.len() - l4);
        frame[at] ^= 1_u8 << bit;
        prop_assert!(read(&frame).is_err(), "bit {bit} of byte {at}");
    }

    #[test]
    fn no_bytes_make_it_panic(mut frame in frames(), edits in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8), len in 14..400_usize) {
        for (at, byte) in edits {
            let at = usize::from(at) % frame.len();
            frame[at] = byte;
        }
        frame.truncate(len);
        let offload = Offload { csum: Checksum::Valid, gso: None };
        let _ = read(&frame);
        let _ = read_with(&frame, offload);
    }
}
