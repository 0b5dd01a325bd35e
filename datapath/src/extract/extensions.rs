//! Which extension headers an IPv6 packet has: the bits of `ipv6_exthdr`.
//!
//! Spec: OpenFlow 1.3.5 §7.2.3.8 (`ofp_ipv6exthdr_flags`), RFC 8200 §4.1 (the recommended order).
//! When one of them is cut off, none counts.

use vswitch_packet::{Protocol, ipv6};

const NO_NEXT: u16 = 1;
const ESP: u16 = 1 << 1;
const AUTH: u16 = 1 << 2;
const DESTINATION: u16 = 1 << 3;
const FRAGMENT: u16 = 1 << 4;
const ROUTER: u16 = 1 << 5;
const HOP: u16 = 1 << 6;
const REPEATED: u16 = 1 << 7;
const UNORDERED: u16 = 1 << 8;

/// IPv6's fixed header, bytes.
const HEADER_SIZE: usize = 40;

/// No more data (RFC 8200 §4.7) and encapsulated security payload (RFC 4303).
const PROTOCOL_NONE: Protocol = Protocol(59);
const PROTOCOL_ESP: Protocol = Protocol(50);

/// The bits of a packet that begins with an IPv6 header and of which `size` bytes are a packet.
#[cold]
pub(super) fn bits(packet: &[u8], size: usize) -> u16 {
    let Some(header) = packet.first_chunk::<HEADER_SIZE>() else {
        return 0;
    };
    let total = HEADER_SIZE + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if total > size {
        return 0;
    }
    let mut rest = packet
        .get(HEADER_SIZE..total.min(packet.len()))
        .unwrap_or_default();
    let mut next = Protocol(header[6]);
    let (mut bits, mut place, mut destinations) = (0, 0, 0);
    for _ in 0..ipv6::MAX_EXTENSIONS {
        // Where the header belongs among the others. Options for the destination belong before a
        // routing header or last.
        let (bit, order) = match next {
            Protocol::HOP_BY_HOP => (HOP, 0),
            Protocol::DESTINATION if place < 2 => (DESTINATION, 1),
            Protocol::ROUTING => (ROUTER, 2),
            Protocol::FRAGMENT => (FRAGMENT, 3),
            Protocol::AH => (AUTH, 4),
            Protocol::DESTINATION => (DESTINATION, 6),
            PROTOCOL_ESP => return bits | ESP,
            PROTOCOL_NONE => return bits | NO_NEXT,
            _ => return bits,
        };
        let Some(&[after, units, high, low, ..]) = rest.first_chunk::<8>() else {
            return 0;
        };
        let size = match next {
            Protocol::AH => (usize::from(units) + 2) * 4,
            Protocol::FRAGMENT => 8,
            _ => (usize::from(units) + 1) * 8,
        };
        if size > rest.len() {
            return 0;
        }
        let again = if bit == DESTINATION {
            destinations += 1;
            destinations > 2
        } else {
            bits & bit != 0
        };
        bits |= bit;
        if again {
            bits |= REPEATED;
        }
        if order < place {
            bits |= UNORDERED;
        }
        place = place.max(order);
        if next == Protocol::FRAGMENT && u16::from_be_bytes([high, low]) & 0xfff8 != 0 {
            return bits;
        }
        next = Protocol(after);
        rest = rest.get(size..).unwrap_or_default();
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv6 packet with these headers, each of 8 bytes, and `last` behind them.
    fn packet(headers: &[Protocol], last: Protocol) -> Vec<u8> {
        let mut bytes = vec![0_u8; HEADER_SIZE];
        bytes[0] = 0x60;
        bytes[5] = 8 * headers.len() as u8;
        let mut kinds = headers.iter().copied().chain([last]);
        bytes[6] = kinds.next().expect("one at least").0;
        for kind in kinds {
            bytes.extend([kind.0, 0, 0, 0, 0, 0, 0, 0]);
        }
        bytes
    }

    #[test]
    fn each_kind_has_its_bit() {
        const TCP: Protocol = Protocol::TCP;
        let of = |headers: &[Protocol], last| {
            let packet = packet(headers, last);
            bits(&packet, packet.len())
        };
        assert_eq!(of(&[], TCP), 0);
        assert_eq!(of(&[], PROTOCOL_NONE), NO_NEXT);
        assert_eq!(of(&[Protocol::HOP_BY_HOP], TCP), HOP);
        assert_eq!(of(&[Protocol::ROUTING], TCP), ROUTER);
        assert_eq!(of(&[Protocol::FRAGMENT], TCP), FRAGMENT);
        assert_eq!(
            of(&[Protocol::DESTINATION], PROTOCOL_ESP),
            DESTINATION | ESP
        );
        let (hop, dest, route) = (
            Protocol::HOP_BY_HOP,
            Protocol::DESTINATION,
            Protocol::ROUTING,
        );
        let good = of(&[hop, dest, route, Protocol::FRAGMENT, dest], TCP);
        assert_eq!(good, HOP | DESTINATION | ROUTER | FRAGMENT);
        assert_eq!(of(&[route, hop], TCP), HOP | ROUTER | UNORDERED);
        assert_eq!(of(&[route, route], TCP), ROUTER | REPEATED);
        assert_eq!(of(&[dest, dest, dest], TCP), DESTINATION | REPEATED);
    }

    #[test]
    fn what_is_cut_off_is_not_there() {
        let packet = packet(&[Protocol::HOP_BY_HOP, Protocol::ROUTING], Protocol::TCP);
        assert_eq!(bits(&packet, packet.len()), HOP | ROUTER);
        assert_eq!(bits(&packet, packet.len() - 1), 0, "the length lies");
        assert_eq!(bits(&packet[..50], packet.len()), 0);
        assert_eq!(bits(&packet[..39], packet.len()), 0);
    }

    #[test]
    fn an_authentication_header_counts_in_fours() {
        // As the switch tester of Ryu builds it: hop-by-hop options, then 24 bytes of header.
        let mut packet = packet(&[Protocol::HOP_BY_HOP, Protocol::AH], Protocol::TCP);
        packet[40 + 8 + 1] = 4;
        packet.extend([0; 16]);
        packet[5] += 16;
        assert_eq!(bits(&packet, packet.len()), HOP | AUTH);
    }
}
