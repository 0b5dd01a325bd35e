//! Packet bytes → what tracking looks at, or why the packet cannot be tracked.
//!
//! Not the flow key: that was made when the packet came in, and actions may have rewritten headers
//! since, so the bytes are read again. Unlike extraction this judges: lengths and checksums must be
//! right, because a connection's state must not follow from a packet that its receiver will throw
//! away.
//!
//! Law:
//! * What is accepted is what Open vSwitch's userspace tracker accepts (`conn_key_extract` in
//!   `lib/conntrack.c`): port 0 is none, ICMP queries have code 0, an ICMP error quotes a packet that
//!   was sent by whom the error goes to.
//! * A transport checksum that somebody has verified, or that is only begun, is not summed again.
//!   One that nobody has looked at is, over head and tail. UDP over IPv4 may do without.
//! * The header that an error quotes may end after 8 bytes of its transport header (RFC 792), and no
//!   checksum in it counts.
//! * Headers lie in the head; a packet whose headers reach into its tail is not tracked.
//!
//! Threads: none. Cost: some 20 ns besides a sum over the payload where nobody has checked it.
//!
//! Spec: RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 3828, RFC 792, RFC 4443, RFC 9260.

use crc32c::crc32c_append;
use vswitch_packet::checksum::{Sum, checksum};
use vswitch_packet::{EtherType, Protocol, ipv4, ipv6, udp};

use super::seen::{Kind, Seen, TcpSeen, flag};
use super::tuple::{Family, Tuple};
use crate::buffer::Packet;
use crate::extract::Layout;
use crate::offload::Checksum;

/// Bytes that an ICMP header has before what it quotes, in both families.
pub(super) const ICMP_SIZE: usize = 8;
/// Bytes of a transport header that a quotation has at least.
const QUOTED_SIZE: usize = 8;
/// Bytes of an SCTP header, and of a chunk's.
const SCTP_SIZE: usize = 12;
const CHUNK_SIZE: usize = 4;
/// The largest shift of a TCP window (RFC 7323 §2.3).
const WSCALE_MAX: u8 = 14;

/// Why a packet cannot be tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invalid {
    /// It is not IP, or its IP header contradicts itself or the packet.
    Network,
    /// The IPv4 header's checksum is wrong.
    HeaderChecksum,
    /// It is a piece of a packet, and nobody collects these.
    Fragment,
    /// The transport header is cut off or contradicts the packet's length.
    Transport,
    /// The transport's checksum is wrong.
    Checksum,
    /// A port is 0.
    Port,
    /// ICMP that is neither a query, nor an answer, nor an error.
    Icmp,
    /// An ICMP error about something that its receiver cannot have sent.
    Quotation,
}

/// What an IP header says. Offsets count from the packet's first byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    pub family: Family,
    /// Of what follows; of a later fragment over IPv6 [`Protocol::FRAGMENT`].
    pub protocol: Protocol,
    pub src: u128,
    pub dst: u128,
    /// Where the transport header begins, or a later fragment's bytes.
    pub l4: usize,
    /// Where the IP packet ends; what comes after is padding.
    pub end: usize,
    /// Set when it is a piece of a packet.
    pub fragment: Option<Fragment>,
}

/// Which piece of a packet it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment {
    /// Which packet's.
    pub ident: u32,
    /// Where the piece lies among the bytes that were cut, bytes.
    pub offset: usize,
    /// More follow.
    pub more: bool,
    /// Where the piece's bytes begin in the packet.
    pub begin: usize,
}

/// Reads a packet.
///
/// # Errors
/// Why it cannot be tracked.
pub fn parse(packet: &Packet, layout: Layout) -> Result<Seen, Invalid> {
    let network = network(packet, layout)?;
    if network.fragment.is_some() {
        return Err(Invalid::Fragment);
    }
    let size = network.end.saturating_sub(network.l4);
    let body = Body {
        head: contiguous(packet, network.l4, network.end),
        slices: slices(packet, network.l4, size),
        size,
        is_known: packet.offload.csum != Checksum::Unknown || packet.offload.gso.is_some(),
    };
    transport(&network, &body, packet.len())
}

/// Reads a packet that came in pieces: the first, and the bytes of all of them from the transport
/// header on. `len` is what counters add.
pub(super) fn parse_pieces<'a>(
    first: &'a Packet,
    network: &Network,
    slices: impl Iterator<Item = &'a [u8]> + Clone,
    size: usize,
    len: usize,
) -> Result<Seen, Invalid> {
    let body = Body {
        head: contiguous(first, network.l4, network.end),
        slices,
        size,
        is_known: false,
    };
    transport(network, &body, len)
}

/// Reads the IP header.
pub(super) fn network(packet: &Packet, layout: Layout) -> Result<Network, Invalid> {
    let l3 = usize::from(layout.l3);
    let head = packet.head();
    let ethertype = l3.checked_sub(2).and_then(|at| be16(head.get(at..)?));
    let bytes = head.get(l3..).ok_or(Invalid::Network)?;
    let room = packet.len() - l3;
    match ethertype.map(EtherType) {
        Some(EtherType::IPV4) => network_v4(bytes, room, l3),
        Some(EtherType::IPV6) => network_v6(bytes, room, l3),
        _ => Err(Invalid::Network),
    }
}

fn network_v4(bytes: &[u8], room: usize, l3: usize) -> Result<Network, Invalid> {
    let fixed = bytes.first_chunk::<20>().ok_or(Invalid::Network)?;
    let [_, _, t0, t1, i0, i1, f0, f1, _, protocol, ..] = *fixed;
    let size = usize::from(fixed[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([t0, t1]));
    if fixed[0] >> 4 != 4 || size < fixed.len() || total < size || total > room {
        return Err(Invalid::Network);
    }
    let header = bytes.get(..size).ok_or(Invalid::Network)?;
    if checksum(header) != 0 {
        return Err(Invalid::HeaderChecksum);
    }
    let pieces = u16::from_be_bytes([f0, f1]);
    let (offset, more) = (
        usize::from(pieces & ipv4::OFFSET_MASK) * 8,
        pieces & ipv4::MORE_FRAGMENTS != 0,
    );
    let fragment = Fragment {
        ident: u32::from(u16::from_be_bytes([i0, i1])),
        offset,
        more,
        begin: l3 + size,
    };
    let [.., a, b, c, d, e, f, g, h] = *fixed;
    Ok(Network {
        family: Family::V4,
        protocol: Protocol(protocol),
        src: u128::from(u32::from_be_bytes([a, b, c, d])),
        dst: u128::from(u32::from_be_bytes([e, f, g, h])),
        l4: l3 + size,
        end: l3 + total,
        fragment: (offset != 0 || more).then_some(fragment),
    })
}

fn network_v6(bytes: &[u8], room: usize, l3: usize) -> Result<Network, Invalid> {
    let (header, rest) = bytes
        .split_first_chunk::<{ ipv6::HEADER_SIZE }>()
        .ok_or(Invalid::Network)?;
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || header.len() + payload > room {
        return Err(Invalid::Network);
    }
    let rest = rest.get(..payload).unwrap_or(rest);
    let next = Protocol(header[6]);
    let found = ipv6::walk(next, rest).map_err(|_| Invalid::Network)?;
    let fragment = match found.fragment {
        None => None,
        Some(fragment) => Some(Fragment {
            ident: fragment.ident,
            offset: usize::from(fragment.offset),
            more: fragment.more,
            begin: l3
                + header.len()
                + behind_fragment_header(next, rest).ok_or(Invalid::Network)?,
        }),
    };
    let (src, dst) = (address(header, 8), address(header, 24));
    Ok(Network {
        family: Family::V6,
        protocol: found.protocol,
        src,
        dst,
        l4: l3 + header.len() + found.offset,
        end: l3 + header.len() + payload,
        fragment,
    })
}

/// Where the bytes begin that a fragment header stands before: bytes from the first extension
/// header on, which is of kind `next`.
fn behind_fragment_header(mut next: Protocol, bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for _ in 0..ipv6::MAX_EXTENSIONS {
        let &[after, units, ..] = bytes.get(at..)?.first_chunk::<8>()?;
        at += match next {
            Protocol::FRAGMENT => return Some(at + 8),
            Protocol::AH => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        next = Protocol(after);
    }
    None
}

/// 16 bytes of an IPv6 header.
fn address(header: &[u8; ipv6::HEADER_SIZE], at: usize) -> u128 {
    let bytes = header.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

fn be16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The bytes from `begin` up to `end` that lie in the head.
fn contiguous(packet: &Packet, begin: usize, end: usize) -> &[u8] {
    let head = packet.head();
    head.get(begin..end.min(head.len())).unwrap_or_default()
}

/// `size` bytes of a packet from `begin` on, which is in its head.
pub(super) fn slices(
    packet: &Packet,
    begin: usize,
    size: usize,
) -> impl Iterator<Item = &[u8]> + Clone {
    let first = contiguous(packet, begin, begin + size);
    let mut left = size - first.len();
    let tail = packet.tail_segments().iter().map_while(move |segment| {
        let bytes = segment.bytes();
        let taken = bytes.get(..left).unwrap_or(bytes);
        left -= taken.len();
        (!taken.is_empty()).then_some(taken)
    });
    std::iter::once(first).chain(tail)
}

/// A packet from its transport header on.
struct Body<'a, I> {
    /// As much of it as lies together with the IP header.
    head: &'a [u8],
    /// All of it, in order, `head` first.
    slices: I,
    /// Bytes in all.
    size: usize,
    /// The checksum need not be summed.
    is_known: bool,
}

impl<'a, I: Iterator<Item = &'a [u8]> + Clone> Body<'a, I> {
    /// Adds the first `size` bytes.
    fn sum(&self, mut sum: Sum, size: usize) -> Sum {
        let mut left = size;
        for slice in self.slices.clone() {
            let slice = slice.get(..left).unwrap_or(slice);
            sum.add(slice);
            left -= slice.len();
        }
        sum
    }

    /// Whether the checksum over the first `size` bytes is right.
    fn check(&self, pseudo: Sum, size: usize) -> Result<(), Invalid> {
        if self.is_known || self.sum(pseudo, size).is_whole() {
            Ok(())
        } else {
            Err(Invalid::Checksum)
        }
    }
}

impl Network {
    /// The sum of the pseudo header of a transport packet of `size` bytes.
    pub(super) fn pseudo(&self, size: usize) -> Sum {
        match self.family {
            Family::V4 => {
                let [src, dst] = [self.src, self.dst].map(|a| (a as u32).to_be_bytes());
                Sum::pseudo_v4(src, dst, self.protocol.0, size as u32)
            }
            Family::V6 => {
                let [src, dst] = [self.src, self.dst].map(u128::to_be_bytes);
                Sum::pseudo_v6(src, dst, self.protocol.0, size as u32)
            }
        }
    }

    /// The packet's tuple.
    fn tuple(&self, (src_port, dst_port): (u16, u16)) -> Tuple {
        Tuple {
            family: self.family,
            protocol: self.protocol.0,
            src: self.src,
            dst: self.dst,
            src_port,
            dst_port,
        }
    }
}

/// Reads the transport header.
fn transport<'a, I: Iterator<Item = &'a [u8]> + Clone>(
    network: &Network,
    body: &Body<'a, I>,
    len: usize,
) -> Result<Seen, Invalid> {
    let (ports, kind) = match (network.family, network.protocol) {
        (_, Protocol::TCP) => tcp(network, body)?,
        (_, Protocol::UDP) => udp(network, body)?,
        (_, Protocol::UDPLITE) => udplite(network, body)?,
        (_, Protocol::SCTP) => sctp(body)?,
        (Family::V4, Protocol::ICMP) => {
            body.check(Sum::new(), body.size)?;
            icmp(network, body.head)?
        }
        (Family::V6, Protocol::ICMPV6) => {
            body.check(network.pseudo(body.size), body.size)?;
            icmp(network, body.head)?
        }
        _ => ((0, 0), Kind::Other),
    };
    Ok(Seen {
        tuple: network.tuple(ports),
        len: len as u32,
        kind,
    })
}

type Read = Result<((u16, u16), Kind), Invalid>;

/// Both ports, neither of which may be 0.
fn ports(a: u8, b: u8, c: u8, d: u8) -> Result<(u16, u16), Invalid> {
    match (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])) {
        (0, _) | (_, 0) => Err(Invalid::Port),
        ports => Ok(ports),
    }
}

fn tcp<'a, I: Iterator<Item = &'a [u8]> + Clone>(network: &Network, body: &Body<'a, I>) -> Read {
    let header = body.head.first_chunk::<20>().ok_or(Invalid::Transport)?;
    let [
        a,
        b,
        c,
        d,
        s0,
        s1,
        s2,
        s3,
        a0,
        a1,
        a2,
        a3,
        f0,
        f1,
        w0,
        w1,
        ..,
    ] = *header;
    let size = usize::from(f0 >> 4) * 4;
    if size < header.len() || size > body.size {
        return Err(Invalid::Transport);
    }
    body.check(network.pseudo(body.size), body.size)?;
    let flags = u16::from_be_bytes([f0, f1]) & 0x0fff;
    let wscale = if flags & flag::SYN == 0 {
        None
    } else {
        body.head.get(header.len()..size).and_then(window_scale)
    };
    let seen = TcpSeen {
        flags,
        seq: u32::from_be_bytes([s0, s1, s2, s3]),
        ack: u32::from_be_bytes([a0, a1, a2, a3]),
        window: u16::from_be_bytes([w0, w1]),
        payload: (body.size - size) as u32,
        wscale,
    };
    Ok((ports(a, b, c, d)?, Kind::Tcp(seen)))
}

/// The window scale among a TCP header's options (RFC 7323 §2.2).
fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        match *options {
            // End of the list.
            [] | [0, ..] => return None,
            [1, ref rest @ ..] => options = rest,
            [3, 3, shift, ..] => return Some(shift.min(WSCALE_MAX)),
            [_, size, ..] if size >= 2 => options = options.get(usize::from(size)..)?,
            _ => return None,
        }
    }
}

fn udp<'a, I: Iterator<Item = &'a [u8]> + Clone>(network: &Network, body: &Body<'a, I>) -> Read {
    let header = body.head.first_chunk::<8>().ok_or(Invalid::Transport)?;
    let [a, b, c, d, s0, s1, c0, c1] = *header;
    let size = usize::from(u16::from_be_bytes([s0, s1]));
    if size < udp::HEADER_SIZE || size > body.size {
        return Err(Invalid::Transport);
    }
    let has_none = network.family == Family::V4 && (c0, c1) == (0, 0);
    if !has_none {
        body.check(network.pseudo(size), size)?;
    }
    Ok((ports(a, b, c, d)?, Kind::Udp))
}

/// UDP whose checksum covers only a part of the packet (RFC 3828).
fn udplite<'a, I: Iterator<Item = &'a [u8]> + Clone>(
    network: &Network,
    body: &Body<'a, I>,
) -> Read {
    let header = body.head.first_chunk::<8>().ok_or(Invalid::Transport)?;
    let [a, b, c, d, s0, s1, ..] = *header;
    let covered = match usize::from(u16::from_be_bytes([s0, s1])) {
        0 => body.size,
        size => size,
    };
    if covered < udp::HEADER_SIZE || covered > body.size {
        return Err(Invalid::Transport);
    }
    body.check(network.pseudo(body.size), covered)?;
    Ok((ports(a, b, c, d)?, Kind::Udp))
}

fn sctp<'a, I: Iterator<Item = &'a [u8]> + Clone>(body: &Body<'a, I>) -> Read {
    let header = body
        .head
        .first_chunk::<SCTP_SIZE>()
        .ok_or(Invalid::Transport)?;
    let [a, b, c, d, _, _, _, _, sum @ ..] = *header;
    if !chunks_fill(body) {
        return Err(Invalid::Transport);
    }
    if !body.is_known && sctp_sum(body) != u32::from_le_bytes(sum) {
        return Err(Invalid::Checksum);
    }
    Ok((ports(a, b, c, d)?, Kind::Sctp))
}

/// Whether the chunks of an SCTP packet end where it does (RFC 9260 §3.2).
fn chunks_fill<'a, I: Iterator<Item = &'a [u8]> + Clone>(body: &Body<'a, I>) -> bool {
    // Where the next chunk begins, and which byte is looked for: a length's high, then its low one.
    let mut next = SCTP_SIZE;
    let mut wanted = next + 2;
    let mut high = None;
    let mut base = 0;
    for slice in body.slices.clone() {
        while let Some(&byte) = wanted.checked_sub(base).and_then(|at| slice.get(at)) {
            let Some(high_byte) = high.take() else {
                high = Some(byte);
                wanted += 1;
                continue;
            };
            let size = usize::from(u16::from_be_bytes([high_byte, byte]));
            if size < CHUNK_SIZE {
                return false;
            }
            next += size.next_multiple_of(4);
            wanted = next + 2;
        }
        base += slice.len();
    }
    next == body.size && high.is_none()
}

/// The CRC32c of an SCTP packet with its sum taken as zero.
fn sctp_sum<'a, I: Iterator<Item = &'a [u8]> + Clone>(body: &Body<'a, I>) -> u32 {
    let mut crc = 0;
    for (index, slice) in body.slices.clone().enumerate() {
        if index > 0 {
            crc = crc32c_append(crc, slice);
            continue;
        }
        // The header lies in the first.
        let (before, rest) = slice.split_at(slice.len().min(8));
        crc = crc32c_append(crc, before);
        crc = crc32c_append(crc, &[0; 4]);
        crc = crc32c_append(crc, rest.get(4..).unwrap_or_default());
    }
    crc
}

/// Reads an ICMP message of either family; what it quotes must be in `head`.
fn icmp(network: &Network, head: &[u8]) -> Read {
    let (header, quoted) = head
        .split_first_chunk::<ICMP_SIZE>()
        .ok_or(Invalid::Transport)?;
    if let Some(ports) = query(network.family, header) {
        return Ok((ports, Kind::IcmpQuery));
    }
    if !is_error(network.family, header[0]) {
        return Err(Invalid::Icmp);
    }
    let inner = match network.family {
        Family::V4 => quoted_v4(quoted),
        Family::V6 => quoted_v6(quoted),
    };
    match inner {
        Some(inner) if inner.src == network.dst => Ok(((0, 0), Kind::IcmpError { inner })),
        _ => Err(Invalid::Quotation),
    }
}

/// The ports of the tuple of a query or an answer: identifier, type and code. The types are those
/// that [`Tuple::reversed`] knows.
fn query(family: Family, header: &[u8; ICMP_SIZE]) -> Option<(u16, u16)> {
    let &[kind, code, _, _, a, b, ..] = header;
    let is_query = match family {
        Family::V4 => matches!(kind, 0 | 8 | 13..=16),
        Family::V6 => matches!(kind, 128 | 129),
    };
    (is_query && code == 0).then(|| (u16::from_be_bytes([a, b]), u16::from(kind) << 8))
}

/// Whether the type is of an error about a packet.
const fn is_error(family: Family, kind: u8) -> bool {
    match family {
        // Unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792).
        Family::V4 => matches!(kind, 3 | 4 | 5 | 11 | 12),
        // Unreachable, too big, time exceeded, parameter problem (RFC 4443 §3).
        Family::V6 => matches!(kind, 1..=4),
    }
}

/// The tuple of a quoted IPv4 packet.
fn quoted_v4(bytes: &[u8]) -> Option<Tuple> {
    let fixed = bytes.first_chunk::<20>()?;
    let size = usize::from(fixed[0] & 0xf) * 4;
    let is_later = u16::from_be_bytes([fixed[6], fixed[7]]) & ipv4::OFFSET_MASK != 0;
    if fixed[0] >> 4 != 4 || size < fixed.len() || is_later {
        return None;
    }
    let [.., a, b, c, d, e, f, g, h] = *fixed;
    let (src, dst) = (
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    );
    let protocol = Protocol(fixed[9]);
    let (src_port, dst_port) = quoted_ports(Family::V4, protocol, bytes.get(size..)?)?;
    Some(Tuple {
        family: Family::V4,
        protocol: protocol.0,
        src: u128::from(src),
        dst: u128::from(dst),
        src_port,
        dst_port,
    })
}

/// The tuple of a quoted IPv6 packet.
fn quoted_v6(bytes: &[u8]) -> Option<Tuple> {
    let (header, rest) = bytes.split_first_chunk::<{ ipv6::HEADER_SIZE }>()?;
    let found = ipv6::walk(Protocol(header[6]), rest).ok()?;
    if header[0] >> 4 != 6 || found.fragment.is_some_and(|f| f.offset != 0) {
        return None;
    }
    let l4 = rest.get(found.offset..)?;
    let (src_port, dst_port) = quoted_ports(Family::V6, found.protocol, l4)?;
    Some(Tuple {
        family: Family::V6,
        protocol: found.protocol.0,
        src: address(header, 8),
        dst: address(header, 24),
        src_port,
        dst_port,
    })
}

fn quoted_ports(family: Family, protocol: Protocol, l4: &[u8]) -> Option<(u16, u16)> {
    match (family, protocol) {
        (_, Protocol::TCP | Protocol::UDP | Protocol::UDPLITE | Protocol::SCTP) => {
            let &[a, b, c, d, ..] = l4.first_chunk::<QUOTED_SIZE>()?;
            ports(a, b, c, d).ok()
        }
        (Family::V4, Protocol::ICMP) | (Family::V6, Protocol::ICMPV6) => {
            query(family, l4.first_chunk()?)
        }
        _ => Some((0, 0)),
    }
}

#[cfg(test)]
mod tests;
