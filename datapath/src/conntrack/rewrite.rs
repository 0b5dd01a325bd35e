//! Translation of a packet's bytes: the addresses and ports that tracking decided on.
//!
//! Not for deciding: [`super::nat`] says which tuples there are to choose from and tracking which
//! one it is. What headers and sums there are to write is `field`'s, here as for `set_field`.
//!
//! Law:
//! * Sums that were right are right afterwards: of the IPv4 header, of the transport, of an ICMP
//!   error, and of the packet that the error quotes as far as it is there. UDP without a checksum
//!   stays without one, and one that is only begun stays begun over the new pseudo header.
//! * Of a packet in pieces each is written in its own header; only the first has ports.
//! * What the packet does not have is left alone, so no bytes make this panic.
//!
//! Threads: none. Cost: some 10 ns for an address or a port; an ICMP error two sums over what it
//! quotes; a port of SCTP two passes over the packet.
//!
//! Spec: RFC 1624 (updates), RFC 5508 §3.2 and §4.2 (ICMP queries and errors behind NAT),
//! RFC 768, RFC 9260 §6.8.

use crc32c::{crc32c, crc32c_combine};
use vswitch_flow::Field;
use vswitch_packet::checksum::{Sum, update, update_bytes};
use vswitch_packet::{Protocol, ipv6};

use super::fragments::{self, Piece};
use super::parse::{self, ICMP_SIZE};
use super::request::Rewrite;
use super::seen::Seen;
use super::tuple::{Family, Tuple};
use crate::buffer::Packet;
use crate::extract::Layout;
use crate::field;
use crate::offload::Checksum;

/// Where the identifier of an ICMP query lies.
const IDENT_AT: usize = 4;
/// Where SCTP has its sum, and the bytes of its header.
const SCTP_SUM_AT: usize = 8;
const SCTP_SIZE: usize = 12;

/// Makes a whole packet, which was seen like this, what `rewrite` says.
pub fn rewrite(packet: &mut Packet, layout: Layout, seen: &Seen, rewrite: &Rewrite) {
    apply(packet, layout, &seen.tuple, rewrite, 0);
}

/// The same for the pieces of a packet.
pub fn rewrite_pieces(pieces: &mut [Piece], seen: &Seen, rewrite: &Rewrite) {
    let beyond = fragments::beyond(pieces);
    for piece in pieces {
        apply(
            &mut piece.packet,
            piece.layout,
            &seen.tuple,
            rewrite,
            beyond,
        );
    }
}

/// `beyond` is the bytes of the packet that lie in later fragments, 0 for one that is whole.
fn apply(packet: &mut Packet, layout: Layout, from: &Tuple, rewrite: &Rewrite, beyond: usize) {
    let to = &rewrite.to;
    let layout = with_transport(packet, layout, to.protocol);
    let (src, dst) = match to.family {
        Family::V4 => (Field::Ipv4Src, Field::Ipv4Dst),
        Family::V6 => (Field::Ipv6Src, Field::Ipv6Dst),
    };
    if from.src != to.src {
        field::set(packet, layout, src, to.src, src.info().max());
    }
    if from.dst != to.dst {
        field::set(packet, layout, dst, to.dst, dst.info().max());
    }
    if let Some(inner) = &rewrite.inner {
        quoted(packet, layout, inner);
    } else if to.is_icmp() {
        if from.src_port != to.src_port {
            let ident = u128::from(to.src_port);
            field::set_transport(packet, layout, Protocol(to.protocol), IDENT_AT, 2, ident);
        }
    } else if to.has_ports() && (from.src_port, from.dst_port) != (to.src_port, to.dst_port) {
        ports(packet, layout, to, beyond);
    }
}

/// The layout with the transport header of a protocol that extraction does not know.
fn with_transport(packet: &Packet, layout: Layout, protocol: u8) -> Layout {
    if Protocol(protocol) != Protocol::UDPLITE || layout.l4 != 0 {
        return layout;
    }
    match parse::network(packet, layout) {
        Ok(network) if network.fragment.is_none_or(|piece| piece.offset == 0) => Layout {
            l4: network.l4 as u16,
            ..layout
        },
        _ => layout,
    }
}

/// Writes both ports, which are the first two fields of every transport header that has any.
fn ports(packet: &mut Packet, layout: Layout, to: &Tuple, beyond: usize) {
    let protocol = Protocol(to.protocol);
    let both = u128::from(to.src_port) << 16 | u128::from(to.dst_port);
    let is_piece = protocol == Protocol::SCTP && beyond != 0;
    let before = is_piece.then(|| sctp_sum(packet, layout)).flatten();
    field::set_transport(packet, layout, protocol, 0, 4, both);
    let after = before.and_then(|_| sctp_sum(packet, layout));
    if let (Some(before), Some(after)) = (before, after) {
        // The sum goes on over the later pieces, and what changed with it.
        let sum = before ^ crc32c_combine(before ^ after, 0, beyond);
        let at = usize::from(layout.l4) + SCTP_SUM_AT;
        if let Some(place) = chunk_mut(packet.head_mut(), at) {
            *place = sum.to_le_bytes();
        }
    }
}

fn sctp_sum(packet: &Packet, layout: Layout) -> Option<u32> {
    let at = usize::from(layout.l4) + SCTP_SUM_AT;
    let bytes = packet.head().get(at..)?.first_chunk()?;
    (layout.l4 != 0).then(|| u32::from_le_bytes(*bytes))
}

fn chunk_mut<const N: usize>(bytes: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    bytes.get_mut(at..)?.first_chunk_mut()
}

/// Writes the tuple of the packet that an ICMP error quotes.
fn quoted(packet: &mut Packet, layout: Layout, to: &Tuple) {
    let l4 = usize::from(layout.l4);
    let Ok(network) = parse::network(packet, layout) else {
        return;
    };
    let begun = matches!(packet.offload.csum, Checksum::Partial { .. });
    let end = network.end.min(packet.head().len());
    let Some(message) = packet.head_mut().get_mut(l4..end).filter(|_| l4 != 0) else {
        return;
    };
    let Some((header, bytes)) = message.split_first_chunk_mut::<ICMP_SIZE>() else {
        return;
    };
    let before = sum(bytes);
    match to.family {
        Family::V4 => quoted_v4(bytes, to),
        Family::V6 => quoted_v6(bytes, to),
    }
    // A sum that is only begun does not cover the message yet.
    if !begun {
        let [_, _, a, b, ..] = header;
        [*a, *b] = update(u16::from_be_bytes([*a, *b]), before, sum(bytes)).to_be_bytes();
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add(bytes);
    sum.folded()
}

fn quoted_v4(bytes: &mut [u8], to: &Tuple) {
    let l4 = bytes.first().map_or(0, |byte| usize::from(byte & 0xf) * 4);
    let total = bytes.get(2..).and_then(|rest| rest.first_chunk());
    let total = total.map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)));
    let protocol = Protocol(to.protocol);
    // ICMP has no pseudo header.
    let transport = sum_at(bytes, l4, protocol).filter(|_| protocol != Protocol::ICMP);
    let header = Some((10, Protocol::default()));
    for (at, address) in [(12, to.src), (16, to.dst)] {
        put(
            bytes,
            at,
            (address as u32).to_be_bytes(),
            [header, transport],
        );
    }
    quoted_ports(bytes, l4, total, to);
}

fn quoted_v6(bytes: &mut [u8], to: &Tuple) {
    let Some((protocol, routed)) = field::ipv6_protocol(bytes, 0) else {
        return;
    };
    let Some((header, rest)) = bytes.split_first_chunk::<{ ipv6::HEADER_SIZE }>() else {
        return;
    };
    let total = header.len() + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let Ok(found) = ipv6::walk(Protocol(header[6]), rest) else {
        return;
    };
    let l4 = header.len() + found.offset;
    let transport = sum_at(bytes, l4, protocol);
    put(bytes, 8, to.src.to_be_bytes(), [None, transport]);
    // The pseudo header has the last destination, which a routing header may hold.
    put(
        bytes,
        24,
        to.dst.to_be_bytes(),
        [None, transport.filter(|_| !routed)],
    );
    quoted_ports(bytes, l4, total, to);
}

/// Writes the ports or the identifier of a quoted packet of `total` bytes, whose transport header
/// begins at `l4`.
fn quoted_ports(bytes: &mut [u8], l4: usize, total: usize, to: &Tuple) {
    let protocol = Protocol(to.protocol);
    let transport = sum_at(bytes, l4, protocol);
    if to.is_icmp() {
        put(
            bytes,
            l4 + IDENT_AT,
            to.src_port.to_be_bytes(),
            [transport, None],
        );
    } else if to.has_ports() {
        let header = bytes.get(l4..).and_then(|rest| rest.first_chunk());
        let before: Option<[u8; SCTP_SIZE]> = header.copied();
        put(bytes, l4, to.src_port.to_be_bytes(), [transport, None]);
        put(bytes, l4 + 2, to.dst_port.to_be_bytes(), [transport, None]);
        if protocol == Protocol::SCTP
            && let Some(before) = before
            && let Some(header) = chunk_mut::<SCTP_SIZE>(bytes, l4)
        {
            // Sums over the same bytes differ by what the changed ones make of each, moved over
            // those that follow.
            let difference = crc32c(&before) ^ crc32c(header);
            let beyond = total.saturating_sub(l4 + SCTP_SIZE);
            let difference = crc32c_combine(difference, 0, beyond);
            if let Some(place) = chunk_mut::<4>(header, SCTP_SUM_AT) {
                *place = (u32::from_le_bytes(*place) ^ difference).to_le_bytes();
            }
        }
    }
}

/// A checksum's place and what it is of.
type Place = Option<(usize, Protocol)>;

/// Where a quoted transport header has its checksum, if that is there.
fn sum_at(bytes: &[u8], l4: usize, protocol: Protocol) -> Place {
    let at = l4 + field::checksum_at(protocol)?;
    (at + 2 <= bytes.len()).then_some((at, protocol))
}

/// Writes bytes and updates the sums that cover them, which lie elsewhere.
fn put<const N: usize>(bytes: &mut [u8], at: usize, new: [u8; N], sums: [Place; 2]) {
    let Some(place) = chunk_mut::<N>(bytes, at) else {
        return;
    };
    let old = std::mem::replace(place, new);
    for (at, protocol) in sums.into_iter().flatten() {
        if let Some(place) = chunk_mut::<2>(bytes, at) {
            let sum = u16::from_be_bytes(*place);
            let is_udp = field::is_udp(protocol);
            if is_udp && sum == 0 {
                continue;
            }
            *place = match update_bytes(sum, &old, &new) {
                0 if is_udp => 0xffff,
                sum => sum,
            }
            .to_be_bytes();
        }
    }
}

#[cfg(test)]
mod tests;
