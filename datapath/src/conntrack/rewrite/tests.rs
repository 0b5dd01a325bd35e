use proptest::prelude::*;
use vswitch_packet::build::Builder;

use super::*;
use crate::conntrack::desk::{Desk, hex, sctp};
use crate::conntrack::parse::parse;
use crate::conntrack::seen::{Kind, flag};
use crate::offload::Offload;

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// What becomes of a frame, whose sums are found right again.
fn become_of(bytes: &[u8], to: impl FnOnce(&Seen) -> Rewrite) -> (Seen, Vec<u8>) {
    let mut desk = Desk::new();
    let (seen, after) = desk.with(bytes, Offload::default(), |packet, layout| {
        let seen = parse(packet, layout).expect("a good packet");
        rewrite(packet, layout, &seen, &to(&seen));
        parse(packet, layout).expect("still good")
    });
    desk.close();
    (seen, after)
}

fn ip(text: &str) -> u128 {
    match text.parse().expect("an address") {
        std::net::IpAddr::V4(ip) => u128::from(ip.to_bits()),
        std::net::IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[test]
fn a_destination_and_its_port() {
    // First packet of "ICMP related NAT with single port" of Open vSwitch's tests.
    let frame = hex(
        "f00000010102f0000001010108004500002944c140004011df100a0101010a0101f0\
                     04d2005000156b24646573745f756e72656163680a",
    );
    let (_, after) = become_of(&frame, |seen| Rewrite {
        to: Tuple {
            dst: ip("10.1.1.2"),
            dst_port: 8080,
            ..seen.tuple
        },
        inner: None,
    });
    // As the error of the same test quotes it.
    let quoted =
        hex("4500002944c140004011dffe0a0101010a01010204d21f9000154cd2646573745f756e72656163680a");
    assert_eq!(&after[14..], quoted);
}

#[test]
fn an_error_outside_and_inside() {
    let frame = hex(
        "f00000010101f00000010102080045c000456a3700004001f9bc0a0101020a010101\
                     0303132800000000 4500002944c140004011dffe0a0101010a010102\
                     04d21f9000154cd2646573745f756e72656163680a",
    );
    let (_, after) = become_of(&frame, |seen| {
        let Kind::IcmpError { inner } = seen.kind else {
            panic!("an error");
        };
        Rewrite {
            to: Tuple {
                src: ip("10.1.1.240"),
                ..seen.tuple
            },
            inner: Some(Tuple {
                dst: ip("10.1.1.240"),
                dst_port: 80,
                ..inner
            }),
        }
    });
    let expected = hex(
        "f00000010101f00000010102080045c000456a3700004001f8ce0a0101f00a010101\
                        0303141600000000 4500002944c140004011df100a0101010a0101f0\
                        04d2005000156b24646573745f756e72656163680a",
    );
    assert_eq!(after, expected);
}

#[test]
fn an_error_about_udp_without_a_checksum() {
    // "ICMP from different source related with NAT" of Open vSwitch's tests.
    let frame = hex(
        "000000001020000000002000080045000038011F0000FF011140C0A81401C0A81414\
                     0304F77800000578 4500001C000040000A11C762C0A81414C0A8140A0002000100080000",
    );
    let (_, after) = become_of(&frame, |seen| {
        let Kind::IcmpError { inner } = seen.kind else {
            panic!("an error");
        };
        Rewrite {
            to: Tuple {
                dst: ip("192.168.10.20"),
                ..seen.tuple
            },
            inner: Some(Tuple {
                src: ip("192.168.10.20"),
                ..inner
            }),
        }
    });
    let expected = hex(
        "000000001020000000002000080045000038011f0000ff011b40c0a81401c0a80a14\
                        0304f778000005784500001c000040000a11d162c0a80a14c0a8140a0002000100080000",
    );
    // The sum over the message stays, because that of the quoted header takes up the change.
    assert_eq!(after, expected);
}

#[test]
fn udp_that_does_without_a_checksum_still_does() {
    let mut frame = v4(1, 2).udp(5, 6).payload(b"abc").build();
    frame[40..42].fill(0);
    let (seen, after) = become_of(&frame, |seen| Rewrite {
        to: Tuple {
            src: 9,
            src_port: 7,
            ..seen.tuple
        },
        inner: None,
    });
    assert_eq!((seen.tuple.src, seen.tuple.src_port), (9, 7));
    assert_eq!(after[40..42], [0, 0]);
}

#[test]
fn a_sum_that_is_begun_is_begun_afterwards() {
    let frames = [
        (
            v4(1, 2).tcp(5, 6, flag::ACK).payload(b"hello").build(),
            34_u16,
            16_u16,
        ),
        (v6(1, 2).udp(5, 6).payload(b"hello").build(), 54, 6),
    ];
    for (mut frame, start, offset) in frames {
        let mut desk = Desk::new();
        let (l4, field) = (usize::from(start), usize::from(start + offset));
        let (packet, layout) = desk.packet(&frame, Offload::default());
        let network = parse::network(&packet, layout).expect("good");
        desk.pool.drop_packet(packet);
        let pseudo = network.pseudo(frame.len() - l4).folded();
        frame[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        let offload = Offload {
            csum: Checksum::Partial { start, offset },
            gso: None,
        };
        let ((), mut after) = desk.with(&frame, offload, |packet, layout| {
            let seen = parse(packet, layout).expect("good");
            let to = Tuple {
                src: 0x0a0a_0a0a,
                dst: 0x0b0b_0b0b,
                src_port: 1111,
                dst_port: 2222,
                ..seen.tuple
            };
            rewrite(packet, layout, &seen, &Rewrite { to, inner: None });
            assert_eq!(packet.offload, offload);
        });
        // Who sends it finishes it.
        let finished = !sum(&after[l4..]);
        after[field..field + 2].copy_from_slice(&finished.to_be_bytes());
        let (seen, _) = desk.with(&after, Offload::default(), |packet, layout| {
            parse(packet, layout).expect("the finished sum is right")
        });
        assert_eq!((seen.tuple.src_port, seen.tuple.dst), (1111, 0x0b0b_0b0b));
        desk.close();
    }
}

fn v4(src: u32, dst: u32) -> Builder {
    Builder::eth(MACS[0], MACS[1]).ipv4(src.to_be_bytes(), dst.to_be_bytes())
}

fn v6(src: u128, dst: u128) -> Builder {
    Builder::eth(MACS[0], MACS[1]).ipv6(src.into(), dst.into())
}

/// A frame of the tuple.
fn frame(tuple: &Tuple, payload: &[u8]) -> Vec<u8> {
    let outside = match tuple.family {
        Family::V4 => v4(tuple.src as u32, tuple.dst as u32),
        Family::V6 => v6(tuple.src, tuple.dst),
    };
    let (src, dst) = (tuple.src_port, tuple.dst_port);
    let rest = u32::from(src) << 16 | 1;
    match Protocol(tuple.protocol) {
        Protocol::TCP => outside.tcp(src, dst, flag::ACK).payload(payload).build(),
        Protocol::UDP => outside.udp(src, dst).payload(payload).build(),
        Protocol::ICMP => outside.icmp(8, 0, rest).payload(payload).build(),
        Protocol::ICMPV6 => outside.icmpv6(128, 0, rest).payload(payload).build(),
        _ => sctp(outside, (src, dst), payload.len()),
    }
}

fn tuples() -> impl Strategy<Value = Tuple> {
    let addresses = (1..=u128::MAX, 1..=u128::MAX);
    let ports = (1..=u16::MAX, 1..=u16::MAX);
    (addresses, ports, any::<bool>(), 0..4_u8).prop_map(|((src, dst), ports, is_v6, protocol)| {
        let (family, icmp, mask, kind) = match is_v6 {
            true => (Family::V6, Protocol::ICMPV6, u128::MAX, 128),
            false => (Family::V4, Protocol::ICMP, 0xffff_ffff, 8),
        };
        let (src, dst) = (src & mask, dst & mask);
        let protocol = [Protocol::TCP, Protocol::UDP, Protocol::SCTP, icmp][usize::from(protocol)];
        let dst_port = if protocol == icmp { kind << 8 } else { ports.1 };
        Tuple {
            family,
            protocol: protocol.0,
            src,
            dst,
            src_port: ports.0,
            dst_port,
        }
    })
}

/// Another tuple of the same kind of packet.
fn like(tuple: &Tuple, other: &Tuple) -> Tuple {
    let mask = match tuple.family {
        Family::V4 => 0xffff_ffff,
        Family::V6 => u128::MAX,
    };
    Tuple {
        src: other.src & mask,
        dst: other.dst & mask,
        src_port: other.src_port,
        dst_port: if tuple.is_icmp() {
            tuple.dst_port
        } else {
            other.dst_port
        },
        ..*tuple
    }
}

proptest! {
    /// Updated sums equal those of a frame that was built so from the beginning.
    #[test]
    fn a_rewritten_frame_is_the_frame_of_its_tuple(from in tuples(), other in tuples(), payload in proptest::collection::vec(any::<u8>(), 1..300)) {
        let to = like(&from, &other);
        let (seen, after) = become_of(&frame(&from, &payload), |_| Rewrite { to, inner: None });
        prop_assert_eq!(seen.tuple, to);
        prop_assert_eq!(after, frame(&to, &payload));
    }

    /// The same of what an error quotes, however much of it there is.
    #[test]
    fn a_rewritten_quotation_is_the_packet_of_its_tuple(from in tuples(), other in tuples(), router in any::<u32>(), payload in proptest::collection::vec(any::<u8>(), 1..200), cut in 8..300_usize) {
        // Of a checksum that the quotation cuts through, nothing can be brought up to date.
        let is_cut = match from.protocol {
            6 => cut == 17,
            132 => (9..12).contains(&cut),
            _ => false,
        };
        prop_assume!(!is_cut);
        let inner = like(&from, &other);
        let error = |quoted: &Tuple| {
            let packet = frame(quoted, &payload);
            let header = if quoted.family == Family::V4 { 20 } else { 40 };
            let packet = &packet[14..packet.len().min(14 + header + cut)];
            match quoted.family {
                Family::V4 => v4(router, quoted.src as u32).icmp(3, 1, 0).payload(packet).build(),
                Family::V6 => v6(u128::from(router), quoted.src).icmpv6(1, 4, 0).payload(packet).build(),
            }
        };
        let (seen, after) = become_of(&error(&from), |seen| Rewrite {
            to: Tuple { dst: inner.src, ..seen.tuple },
            inner: Some(inner),
        });
        prop_assert_eq!(seen.kind, Kind::IcmpError { inner });
        prop_assert_eq!(after, error(&inner));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 14..200), is_v6 in any::<bool>(), to in tuples(), inner in tuples()) {
        bytes[12..14].copy_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[8, 0] });
        if let Some(first) = bytes.get_mut(14) {
            *first = if is_v6 { 0x60 } else { 0x45 };
        }
        let mut desk = Desk::new();
        let (mut packet, layout) = desk.packet(&bytes, Offload::default());
        for l4 in [0, layout.l4, 34, 54, bytes.len() as u16] {
            let layout = Layout { l4, ..layout };
            let from = Tuple { src: !to.src, dst: !to.dst, src_port: !to.src_port, dst_port: !to.dst_port, ..to };
            for inner in [None, Some(inner)] {
                apply(&mut packet, layout, &from, &Rewrite { to, inner }, 8);
            }
        }
        desk.pool.drop_packet(packet);
        desk.close();
    }
}
