//! ICMP errors: the answer to a packet that is too large for where it should go and may not be cut, and
//! to one that cannot be delivered for another reason.
//!
//! Law: one answer to one packet, never to what could multiply: no answer to an ICMP error, to a
//! later fragment, to or from a group or broadcast address. How many answers a port gets per second
//! is the caller's to limit.
//!
//! A switch has no address of its own, so the answer to what is too large comes from where the packet was
//! going. To the sender this looks as if the far host's link were smaller, which is what it is. A router
//! answers from its own address.
//!
//! Spec: RFC 792, RFC 1191 §4, RFC 1812 §4.3.2 (what must not be answered, how much is quoted),
//! RFC 4443 §2.4 and §3.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vswitch_packet::eth::{self, Eth};
use vswitch_packet::icmp::{self, Icmp};
use vswitch_packet::icmpv6::{self, Icmpv6};
use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_packet::ipv6::{self, Ipv6};
use vswitch_packet::{MacAddr, Protocol};

use super::Offload;
use super::layout::{self, Family, Layout};
use crate::buffer::{FramePool, HEADROOM, Packet};

/// Bytes of an ICMP error packet at most, the IP header included (RFC 1812 §4.3.2.3).
const IPV4_MAX: usize = 576;

/// Bytes of an ICMPv6 error packet at most: the smallest MTU there is (RFC 4443 §2.4 (c)).
const IPV6_MAX: usize = 1280;

/// Hops an answer may take.
const HOPS: u8 = 64;

/// Precedence "internetwork control", as routers set it (RFC 1812 §4.3.2.5).
const CONTROL: u8 = 0xc0;

/// Bytes of an ICMP error's header, the same for both families.
const ICMP_SIZE: usize = icmp::HEADER_SIZE;

/// What an ICMP error says: type, code and the word after the checksum, in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// ICMP.
    pub v4: (u8, u8, u32),
    /// ICMPv6.
    pub v6: (u8, u8, u32),
}

impl Message {
    /// Only `mtu` bytes of layer 3 fit. The first half of ICMP's word is unused (RFC 1191 §4).
    #[must_use]
    pub fn too_big(mtu: u32) -> Self {
        let half = mtu.min(u32::from(u16::MAX));
        Self {
            v4: (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, half),
            v6: (icmpv6::TOO_BIG, 0, mtu),
        }
    }
}

/// Builds the answer to `packet`, which found only `mtu` bytes of layer 3: ICMP "fragmentation
/// needed" or ICMPv6 "packet too big". It is to leave by the port by which the packet came, with
/// the VLAN tags that the packet has now.
///
/// `None` when the packet must not be answered, is no IP packet, or no frame is free.
pub fn answer(packet: &Packet, mtu: u32, pool: &mut FramePool) -> Option<Packet> {
    error(packet, Message::too_big(mtu), None, pool)
}

/// Builds an ICMP error about `packet` from `source`, or from where the packet was going. It is to leave
/// as [`answer`] says.
///
/// `None` as for [`answer`], and when `source` is of another family than the packet.
pub fn error(
    packet: &Packet,
    message: Message,
    source: Option<IpAddr>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let head = packet.head();
    let layout = layout::read(head)?;
    let addresses = Eth::new_unchecked(head);
    let (src, dst) = (addresses.src(), addresses.dst());
    if dst.is_multicast() || !is_station(src) || layout.is_later_fragment {
        return None;
    }
    let link = head.get(..layout.network)?;
    match (layout.family, source) {
        (Family::Ipv4, None) => answer_v4(packet, link, layout, message, None, pool),
        (Family::Ipv4, Some(IpAddr::V4(from))) => {
            answer_v4(packet, link, layout, message, Some(from), pool)
        }
        (Family::Ipv6, None) => answer_v6(packet, link, layout, message, None, pool),
        (Family::Ipv6, Some(IpAddr::V6(from))) => {
            answer_v6(packet, link, layout, message, Some(from), pool)
        }
        _ => None,
    }
}

fn answer_v4(
    packet: &Packet,
    link: &[u8],
    layout: Layout,
    message: Message,
    from: Option<Ipv4Addr>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let head = packet.head();
    let ip = Ipv4::new_unchecked(head.get(layout.network..)?);
    let (src, dst) = (ip.src(), ip.dst());
    if !is_host_v4(src) || !is_host_v4(dst) {
        return None;
    }
    if layout.protocol == Protocol::ICMP
        && !is_query_v4(Icmp::new_unchecked(head.get(layout.transport..)?).kind())
    {
        return None;
    }
    let quote = quote(head, layout, IPV4_MAX - ipv4::HEADER_SIZE - ICMP_SIZE);
    let repr = ipv4::Repr {
        src: from.unwrap_or(dst),
        dst: src,
        protocol: Protocol::ICMP,
        ttl: HOPS,
        tos: CONTROL,
        ident: 0,
        fragment: ipv4::DONT_FRAGMENT,
        payload_size: (ICMP_SIZE + quote.len()) as u16,
    };
    build(packet, link, ipv4::HEADER_SIZE, quote, pool, |ip| {
        let (header, body) = ip.split_at_mut(ipv4::HEADER_SIZE);
        repr.emit(header);
        Ipv4::new_unchecked(header).fill_checksum();
        let (kind, code, rest) = message.v4;
        let mut view = Icmp::new_unchecked(body);
        view.set_kind(kind);
        view.set_code(code);
        view.set_rest(rest);
        view.fill_checksum();
    })
}

fn answer_v6(
    packet: &Packet,
    link: &[u8],
    layout: Layout,
    message: Message,
    from: Option<Ipv6Addr>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let head = packet.head();
    let ip = Ipv6::new_unchecked(head.get(layout.network..)?);
    let (src, dst) = (ip.src(), ip.dst());
    if !is_host_v6(src) || !is_host_v6(dst) {
        return None;
    }
    if layout.protocol == Protocol::ICMPV6
        && is_error_v6(Icmpv6::new_unchecked(head.get(layout.transport..)?).kind())
    {
        return None;
    }
    let quote = quote(head, layout, IPV6_MAX - ipv6::HEADER_SIZE - ICMP_SIZE);
    let from = from.unwrap_or(dst);
    let repr = ipv6::Repr {
        src: from,
        dst: src,
        next: Protocol::ICMPV6,
        hop_limit: HOPS,
        traffic_class: CONTROL,
        flow_label: 0,
        payload_size: (ICMP_SIZE + quote.len()) as u16,
    };
    build(packet, link, ipv6::HEADER_SIZE, quote, pool, |ip| {
        let (header, body) = ip.split_at_mut(ipv6::HEADER_SIZE);
        repr.emit(header);
        let (kind, code, rest) = message.v6;
        let mut view = Icmpv6::new_unchecked(body);
        view.set_kind(kind);
        view.set_code(code);
        view.set_rest(rest);
        view.fill_checksum(from, src);
    })
}

/// As much of the packet as an answer may quote, from the IP header on. All headers are in the
/// head, so more than the head is never needed.
fn quote(head: &[u8], layout: Layout, max: usize) -> &[u8] {
    let ip = &head[layout.network..];
    &ip[..ip.len().min(max)]
}

/// Makes the answer: the link header turned around, then `ip_size` bytes of IP header, the ICMP
/// header and the quote, of which `fill` gets all but the link header.
fn build(
    packet: &Packet,
    link: &[u8],
    ip_size: usize,
    quote: &[u8],
    pool: &mut FramePool,
    fill: impl FnOnce(&mut [u8]),
) -> Option<Packet> {
    let size = link.len() + ip_size + ICMP_SIZE + quote.len();
    let mut frame = pool.chunk()?;
    let bytes = &mut frame.bytes_mut()[HEADROOM..HEADROOM + size];
    bytes.fill(0);
    let (to, ip) = bytes.split_at_mut(link.len());
    to.copy_from_slice(link);
    let old = Eth::new_unchecked(link);
    let mut new = Eth::new_unchecked(to);
    new.set_dst(old.src());
    new.set_src(old.dst());
    ip[ip_size + ICMP_SIZE..].copy_from_slice(quote);
    fill(ip);
    let range = HEADROOM..HEADROOM + size;
    let mut answer = Packet::new(frame, range, packet.in_port, Offload::default());
    answer.generation = packet.generation;
    Some(answer)
}

fn is_station(address: MacAddr) -> bool {
    !address.is_multicast() && address != MacAddr::default()
}

/// An address of one host, as far as can be told without knowing the networks.
fn is_host_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    // Class E holds the broadcast address and nothing that could be asked back.
    first != 0 && first != 127 && first < 224
}

fn is_host_v6(address: Ipv6Addr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

/// ICMP messages that are certainly no errors. An unknown one may be, and is not answered.
fn is_query_v4(kind: u8) -> bool {
    matches!(kind, 0 | 8 | 9 | 10 | 13..=18)
}

/// All ICMPv6 errors have the first bit clear (RFC 4443 §2.1).
fn is_error_v6(kind: u8) -> bool {
    kind & 0x80 == 0
}

const _: () = assert!(HEADROOM + eth::HEADER_SIZE + IPV6_MAX < 4096 - 64);
