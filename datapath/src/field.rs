//! Writing a field into a header, and keeping the sums that cover it.
//!
//! Not for deciding what is written: actions and the translation of connections do that. A packet
//! that does not have the field stays as it is.
//!
//! Law: sums that were right are right afterwards and one that was wrong stays wrong, because they
//! are updated and not computed anew. One that is only begun has its pseudo header kept up to date.
//!
//! Threads: none. Cost: a few nanoseconds; a port of SCTP two passes over the packet.
//! Spec: RFC 1624 (updates), RFC 768 (zero is no checksum), RFC 3828 (UDP-Lite), RFC 9260 §6.8.

use crc32c::crc32c_append;
use vswitch_flow::Field;
use vswitch_packet::MacAddr;
use vswitch_packet::checksum::{self, Sum};
use vswitch_packet::icmpv6::{NEIGHBOUR_ADVERT, NEIGHBOUR_SOLICIT, OPTION_SOURCE, OPTION_TARGET};
use vswitch_packet::{Protocol, ipv6};

use crate::buffer::Packet;
use crate::extract::Layout;
use crate::offload::Checksum;

/// Bytes of an IPv6 header.
const IPV6_SIZE: usize = 40;
/// Bytes of a neighbour message before its options.
const NEIGHBOUR_SIZE: usize = 24;

/// Where a field is.
struct Place {
    /// Its first byte in the packet.
    at: usize,
    /// The bytes it lies in, at most 16.
    size: usize,
    /// Bits between the lowest of these bytes' bits and the field's.
    shift: u32,
    /// What covers it.
    sums: Sums,
}

/// Which checksums cover a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sums {
    /// None that is in the packet.
    None,
    /// The IPv4 header's.
    Ipv4,
    /// The IPv4 header's and, through the pseudo header, the transport's.
    Ipv4Address,
    /// The transport's, through the pseudo header.
    Ipv6Source,
    /// The same, unless a routing header names further destinations.
    Ipv6Destination,
    /// The transport's of this protocol.
    Transport(Protocol),
}

/// What a change did to the 16-bit words that checksums add: their sum before and afterwards.
struct Change {
    gone: u16,
    came: u16,
}

impl Change {
    /// The checksum at `at` of `head` after the change. `begun`: what is there is a sum, not yet
    /// complemented.
    fn update(&self, head: &mut [u8], at: usize, protocol: Protocol, begun: bool) {
        let Some(field) = head.get_mut(at..).and_then(|b| b.first_chunk_mut::<2>()) else {
            return;
        };
        let sum = u16::from_be_bytes(*field);
        *field = if begun {
            !checksum::update(!sum, self.gone, self.came)
        } else if is_udp(protocol) && sum == 0 {
            // The sender did without (RFC 768).
            return;
        } else {
            match checksum::update(sum, self.gone, self.came) {
                0 if is_udp(protocol) => 0xffff,
                sum => sum,
            }
        }
        .to_be_bytes();
    }
}

/// Writes the bits `mask` of `field`. A packet that does not have the field stays as it is.
pub(crate) fn set(packet: &mut Packet, layout: Layout, field: Field, value: u128, mask: u128) {
    let (l3, l4) = (usize::from(layout.l3), usize::from(layout.l4));
    match field {
        // Nothing covers them, and every router writes both.
        Field::EthDst => return set_address(packet.head_mut(), 0, value, mask),
        Field::EthSrc => return set_address(packet.head_mut(), 6, value, mask),
        Field::IpProto => return set_protocol(packet, layout, value as u8),
        Field::IpTtl if mask == 0xff => return set_ttl(packet, l3, value as u8),
        _ => {}
    }
    if let Some(place) = find(packet.head(), packet.len(), l3, l4, field) {
        store(packet, layout, &place, value, mask);
    }
}

/// Writes the bits `mask` of an Ethernet address.
#[inline]
fn set_address(head: &mut [u8], at: usize, value: u128, mask: u128) {
    let Some(bytes) = head.get_mut(at..).and_then(|b| b.first_chunk_mut::<6>()) else {
        return;
    };
    let old = MacAddr(*bytes).bits();
    let new = old & !(mask as u64) | (value & mask) as u64;
    let [_, _, new @ ..] = new.to_be_bytes();
    *bytes = new;
}

/// Writes the TTL or hop limit, as every router does.
#[inline]
fn set_ttl(packet: &mut Packet, l3: usize, ttl: u8) {
    let size = packet.len();
    let (Some(network), Some(room)) = (packet.head_mut().get_mut(l3..), size.checked_sub(l3))
    else {
        return;
    };
    if is_ipv4(network, room) {
        let Some(header) = network.first_chunk_mut::<20>() else {
            return;
        };
        // The sum is over 16-bit words: TTL and protocol are one.
        let gone = u16::from_be_bytes([header[8], header[9]]);
        header[8] = ttl;
        let came = u16::from_be_bytes([header[8], header[9]]);
        if gone != came {
            let sum = u16::from_be_bytes([header[10], header[11]]);
            let sum = checksum::update(sum, gone, came);
            [header[10], header[11]] = sum.to_be_bytes();
        }
    } else if is_ipv6(network, room)
        && let Some(limit) = network.get_mut(7)
    {
        *limit = ttl;
    }
}

/// Writes `size` bytes, at most 16, that lie `at` bytes into the transport header, which is of
/// `protocol`. For what OpenFlow has no field for.
pub(crate) fn set_transport(
    packet: &mut Packet,
    layout: Layout,
    protocol: Protocol,
    at: usize,
    size: usize,
    value: u128,
) {
    debug_assert!((1..=16).contains(&size));
    if layout.l4 != 0 {
        let place = Place {
            at: usize::from(layout.l4) + at,
            size,
            shift: 0,
            sums: Sums::Transport(protocol),
        };
        store(packet, layout, &place, value, u128::MAX);
    }
}

/// Writes the bits `mask` of a place and updates what covers it.
fn store(packet: &mut Packet, layout: Layout, place: &Place, value: u128, mask: u128) {
    let (l3, l4) = (usize::from(layout.l3), usize::from(layout.l4));
    let begun = match packet.offload.csum {
        Checksum::Partial { start, .. } => start == layout.l4 && l4 != 0,
        Checksum::Unknown | Checksum::Valid => false,
    };
    let sctp = place.sums == Sums::Transport(Protocol::SCTP) && !begun;
    let before = sctp.then(|| sctp_crc(packet, l3, l4));
    let base = if l4 != 0 && place.at >= l4 { l4 } else { l3 };
    let Some(change) = write(packet.head_mut(), base, place, value, mask) else {
        return;
    };
    if let Some(before) = before {
        let difference = before ^ sctp_crc(packet, l3, l4);
        let sum = packet.head_mut().get_mut(l4 + 8..);
        if let Some(sum) = sum.and_then(|bytes| bytes.first_chunk_mut::<4>()) {
            // Whatever was wrong with the sum still is.
            *sum = (u32::from_le_bytes(*sum) ^ difference).to_le_bytes();
        }
        return;
    }
    let head = packet.head_mut();
    match place.sums {
        Sums::None => {}
        Sums::Ipv4 => change.update(head, l3 + 10, Protocol::default(), false),
        Sums::Ipv4Address => {
            change.update(head, l3 + 10, Protocol::default(), false);
            let protocol = Protocol(head.get(l3 + 9).copied().unwrap_or_default());
            // ICMP has no pseudo header.
            if protocol != Protocol::ICMP {
                transport(head, l4, protocol, begun, &change);
            }
        }
        Sums::Ipv6Source | Sums::Ipv6Destination => {
            // The pseudo header has the last destination, which a routing header may hold.
            if let Some((protocol, routed)) = ipv6_protocol(head, l3)
                && (place.sums == Sums::Ipv6Source || !routed)
            {
                transport(head, l4, protocol, begun, &change);
            }
        }
        // A sum that is only begun does not cover the transport header yet.
        Sums::Transport(_) if begun => {}
        Sums::Transport(protocol) => transport(head, l4, protocol, false, &change),
    }
}

/// Writes the protocol behind an IP header. It is part of the pseudo header, so what was the
/// transport's checksum is kept up to date. Behind extension headers it stays as it is.
fn set_protocol(packet: &mut Packet, layout: Layout, protocol: u8) {
    let (l3, l4) = (usize::from(layout.l3), usize::from(layout.l4));
    let size = packet.len();
    let begun = match packet.offload.csum {
        Checksum::Partial { start, .. } => start == layout.l4 && l4 != 0,
        Checksum::Unknown | Checksum::Valid => false,
    };
    let head = packet.head_mut();
    let (Some(network), Some(room)) = (head.get(l3..), size.checked_sub(l3)) else {
        return;
    };
    let v4 = is_ipv4(network, room);
    let direct = l4 == 0 || l4 == l3 + IPV6_SIZE;
    let at = match v4 {
        true => l3 + 9,
        false if is_ipv6(network, room) && direct => l3 + 6,
        false => return,
    };
    let Some(place) = head.get_mut(at) else {
        return;
    };
    let old = std::mem::replace(place, protocol);
    let change = Change {
        gone: old.into(),
        came: protocol.into(),
    };
    if v4 {
        change.update(head, l3 + 10, Protocol::default(), false);
    }
    if !v4 || Protocol(old) != Protocol::ICMP {
        transport(head, l4, Protocol(old), begun, &change);
    }
}

/// The TOS or traffic class of an IP packet.
pub(crate) fn tos(packet: &Packet, layout: Layout) -> Option<u8> {
    let l3 = usize::from(layout.l3);
    let network = packet.head().get(l3..)?;
    let room = packet.len().checked_sub(l3)?;
    if is_ipv4(network, room) {
        network.get(1).copied()
    } else if is_ipv6(network, room) {
        let [a, b, ..] = *network.first_chunk::<2>()?;
        Some(a << 4 | b >> 4)
    } else {
        None
    }
}

fn transport(head: &mut [u8], l4: usize, protocol: Protocol, begun: bool, change: &Change) {
    if let Some(at) = checksum_at(protocol)
        && l4 != 0
    {
        change.update(head, l4 + at, protocol, begun);
    }
}

/// Whether zero in the checksum's place says that there is none (RFC 768, RFC 3828 §3.1).
pub(crate) const fn is_udp(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::UDP | Protocol::UDPLITE)
}

/// Where a transport header has its internet checksum, if it has one.
pub(crate) const fn checksum_at(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::TCP => Some(16),
        Protocol::UDP | Protocol::UDPLITE => Some(6),
        Protocol::ICMP | Protocol::ICMPV6 => Some(2),
        _ => None,
    }
}

/// Merges the value into its bytes; `None` when they are not there or stay the same.
fn write(head: &mut [u8], base: usize, place: &Place, value: u128, mask: u128) -> Option<Change> {
    // Whole words from `base` on.
    let from = place.at - (place.at.wrapping_sub(base) & 1);
    let end = place.at + place.size;
    let to = end + (end.wrapping_sub(base) & 1);
    let (shift, behind) = (place.shift, 8 * (to - end) as u32);
    if to <= head.len() && shift + behind < u128::BITS {
        let [value, mask] = [value, mask].map(|bits| bits << shift << behind);
        match to - from {
            2 => return write_words::<2>(head, from, value, mask),
            4 => return write_words::<4>(head, from, value, mask),
            6 => return write_words::<6>(head, from, value, mask),
            16 => return write_words::<16>(head, from, value, mask),
            _ => {}
        }
    }
    let words = head.get_mut(from..to.min(head.len()))?;
    let gone = sum(words);
    let field = words.get_mut(place.at - from..)?.get_mut(..place.size)?;
    let old = field
        .iter()
        .fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
    let (value, mask) = (value << shift, mask << shift);
    let new = old & !mask | value & mask;
    if new == old {
        return None;
    }
    for (at, byte) in field.iter_mut().rev().enumerate() {
        *byte = (new >> (8 * at)) as u8;
    }
    let came = sum(words);
    Some(Change { gone, came })
}

/// The same for a few words of a number that is known beforehand.
#[inline]
fn write_words<const N: usize>(
    head: &mut [u8],
    at: usize,
    value: u128,
    mask: u128,
) -> Option<Change> {
    let words = head.get_mut(at..)?.first_chunk_mut::<N>()?;
    let gone = sum(words);
    let mut wide = [0; 16];
    wide[16 - N..].copy_from_slice(words);
    let old = u128::from_be_bytes(wide);
    let new = old & !mask | value & mask;
    if new == old {
        return None;
    }
    words.copy_from_slice(&new.to_be_bytes()[16 - N..]);
    let came = sum(words);
    Some(Change { gone, came })
}

#[inline]
fn sum(words: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add(words);
    sum.folded()
}

/// Where a packet of `size` bytes has `field`, if it has.
fn find(head: &[u8], size: usize, l3: usize, l4: usize, field: Field) -> Option<Place> {
    let network = head.get(l3..)?;
    let room = size.checked_sub(l3)?;
    let place = |at, size, shift, sums| {
        Some(Place {
            at,
            size,
            shift,
            sums,
        })
    };
    let arp = |at, size| {
        let whole = network.len() >= 28 && network.starts_with(&[0, 1, 8, 0, 6, 4]);
        place(l3 + at, size, 0, Sums::None).filter(|_| whole)
    };
    let ipv4 = |at, size, sums| place(l3 + at, size, 0, sums).filter(|_| is_ipv4(network, room));
    let ipv6 = |at, size, shift, sums| {
        place(l3 + at, size, shift, sums).filter(|_| is_ipv6(network, room))
    };
    let mpls = |shift| place(l3, 4, shift, Sums::None).filter(|_| network.len() >= 4);
    let segment =
        |at, size, protocol| place(l4 + at, size, 0, Sums::Transport(protocol)).filter(|_| l4 != 0);
    match field {
        Field::ArpOp => arp(6, 2),
        Field::ArpSha => arp(8, 6),
        Field::ArpSpa => arp(14, 4),
        Field::ArpTha => arp(18, 6),
        Field::ArpTpa => arp(24, 4),
        Field::Ipv4Src => ipv4(12, 4, Sums::Ipv4Address),
        Field::Ipv4Dst => ipv4(16, 4, Sums::Ipv4Address),
        Field::IpTos => ipv4(1, 1, Sums::Ipv4).or_else(|| ipv6(0, 4, 20, Sums::None)),
        Field::IpTtl => ipv4(8, 1, Sums::Ipv4).or_else(|| ipv6(7, 1, 0, Sums::None)),
        Field::Ipv6Src => ipv6(8, 16, 0, Sums::Ipv6Source),
        Field::Ipv6Dst => ipv6(24, 16, 0, Sums::Ipv6Destination),
        Field::Ipv6Label => ipv6(0, 4, 0, Sums::None),
        Field::TcpSrc => segment(0, 2, Protocol::TCP),
        Field::TcpDst => segment(2, 2, Protocol::TCP),
        Field::UdpSrc => segment(0, 2, Protocol::UDP),
        Field::UdpDst => segment(2, 2, Protocol::UDP),
        Field::SctpSrc => segment(0, 2, Protocol::SCTP),
        Field::SctpDst => segment(2, 2, Protocol::SCTP),
        Field::IcmpType => segment(0, 1, Protocol::ICMP),
        Field::IcmpCode => segment(1, 1, Protocol::ICMP),
        Field::Icmp6Type => segment(0, 1, Protocol::ICMPV6),
        Field::Icmp6Code => segment(1, 1, Protocol::ICMPV6),
        Field::NdTarget | Field::NdSll | Field::NdTll => {
            let message = head.get(l4..).filter(|_| l4 != 0)?;
            let at = neighbour(message, field)?;
            segment(
                at,
                if field == Field::NdTarget { 16 } else { 6 },
                Protocol::ICMPV6,
            )
        }
        Field::MplsLabel => mpls(12),
        Field::MplsTc => mpls(9),
        Field::MplsBos => mpls(8),
        Field::EthType => place(l3.checked_sub(2)?, 2, 0, Sums::None),
        Field::MplsTtl => mpls(0),
        Field::PbbIsid => place(l3 + 1, 3, 0, Sums::None).filter(|_| network.len() >= 4),
        // Tags are pushed and popped; the rest is not part of a packet or may not be written.
        _ => None,
    }
}

/// Whether an IPv4 header that agrees with `room` bytes is there, as extraction asks.
fn is_ipv4(network: &[u8], room: usize) -> bool {
    let Some(header) = network.first_chunk::<20>() else {
        return false;
    };
    let header_size = usize::from(header[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    header[0] >> 4 == 4 && header_size >= 20 && header_size <= total && total <= room
}

/// Whether an IPv6 header that agrees with `room` bytes is there, as extraction asks.
fn is_ipv6(network: &[u8], room: usize) -> bool {
    let Some(header) = network.first_chunk::<IPV6_SIZE>() else {
        return false;
    };
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    header[0] >> 4 == 6 && IPV6_SIZE + payload <= room
}

/// The transport protocol of an IPv6 packet, and whether a routing header names further
/// destinations.
pub(crate) fn ipv6_protocol(head: &[u8], l3: usize) -> Option<(Protocol, bool)> {
    let next = Protocol(*head.get(l3 + 6)?);
    let payload = head.get(l3 + IPV6_SIZE..)?;
    let protocol = ipv6::walk(next, payload).ok()?.protocol;
    let (mut next, mut rest) = (next, payload);
    for _ in 0..ipv6::MAX_EXTENSIONS {
        let &[after, words, _, segments_left, ..] = rest else {
            break;
        };
        let size = match next {
            Protocol::ROUTING if segments_left != 0 => return Some((protocol, true)),
            Protocol::HOP_BY_HOP | Protocol::ROUTING | Protocol::DESTINATION => {
                (usize::from(words) + 1) * 8
            }
            Protocol::FRAGMENT => 8,
            Protocol::AH => (usize::from(words) + 2) * 4,
            _ => break,
        };
        next = Protocol(after);
        rest = rest.get(size..).unwrap_or_default();
    }
    Some((protocol, false))
}

/// Where a neighbour message has a field, bytes from the message's first.
fn neighbour(message: &[u8], field: Field) -> Option<usize> {
    let &[kind, code, ..] = message else {
        return None;
    };
    if kind != NEIGHBOUR_SOLICIT && kind != NEIGHBOUR_ADVERT
        || code != 0
        || message.len() < NEIGHBOUR_SIZE
    {
        return None;
    }
    let wanted = match field {
        Field::NdTarget => return Some(8),
        Field::NdSll if kind == NEIGHBOUR_SOLICIT => OPTION_SOURCE,
        Field::NdTll if kind == NEIGHBOUR_ADVERT => OPTION_TARGET,
        _ => return None,
    };
    let mut at = NEIGHBOUR_SIZE;
    loop {
        let &[kind, words, ..] = message.get(at..)? else {
            return None;
        };
        // A length of zero would never end (RFC 4861 §4.6).
        if words == 0 {
            return None;
        }
        if kind == wanted && words == 1 {
            return Some(at + 2);
        }
        at += usize::from(words) * 8;
    }
}

/// The CRC32c of an SCTP packet with its sum taken as zero.
fn sctp_crc(packet: &Packet, l3: usize, l4: usize) -> u32 {
    let head = packet.head();
    let network = head.get(l3..).unwrap_or_default();
    let field = |at: usize| {
        let bytes = network.get(at..).and_then(|rest| rest.first_chunk());
        usize::from(u16::from_be_bytes(bytes.copied().unwrap_or_default()))
    };
    // What lies behind the end that the IP header names is padding.
    let end = match network.first().map_or(0, |byte| byte >> 4) {
        4 => l3 + field(2),
        _ => l3 + IPV6_SIZE + field(4),
    };
    let in_head = head.get(..end).unwrap_or(head);
    let mut crc = crc32c_append(0, in_head.get(l4..l4 + 8).unwrap_or_default());
    crc = crc32c_append(crc, &[0; 4]);
    crc = crc32c_append(crc, in_head.get(l4 + 12..).unwrap_or_default());
    let mut left = end.saturating_sub(head.len());
    for segment in packet.tail_segments() {
        let bytes = segment.bytes();
        crc = crc32c_append(crc, bytes.get(..left).unwrap_or(bytes));
        left = left.saturating_sub(bytes.len());
    }
    crc
}
