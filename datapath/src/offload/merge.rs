//! Putting TCP segments that belong together into a super-frame: what a sender's super-frame became on
//! a wire, made whole again for a port that takes it whole.
//!
//! Not for other protocols, and not across rounds: packets are merged that leave by one port in one
//! call anyway, so none waits for another. The counterpart is `segment`, which cuts.
//!
//! Law: cutting what was merged gives the segments back, byte for byte but for the identification of
//! IPv4 packets that may not be fragmented (RFC 6864 §4.1: it means nothing there) and for PSH, which
//! only the last one keeps. No segment is merged whose checksum is not known to be right, so that damage
//! is never vouched for. Packets of one connection stay in order.
//!
//! Threads: workers. Cost: the headers of each packet are read once more; a sum over the payload where
//! nobody has verified it; no copy of the payload, no allocation.
//!
//! Spec: net/ipv4/tcp_offload.c (`tcp_gro_receive`), net/core/gro.c; RFC 9293 §3.1.

use arrayvec::ArrayVec;
use vswitch_packet::checksum::Sum;
use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_packet::ipv6::{self, Ipv6};
use vswitch_packet::tcp::{self, Tcp};
use vswitch_packet::{EtherType, Protocol};

use super::layout::{Family, network_offset};
use super::segment::{pseudo_v4, pseudo_v6};
use super::{Capabilities, Checksum, Gso, GsoKind};
use crate::buffer::{FramePool, Packet, Segment, TAIL_LEN};

/// Connections of one call that segments are merged for; of more, the oldest is left as it is.
const OPEN_MAX: usize = 8;

/// Bytes of the longest IP packet.
const IP_SIZE_MAX: usize = 65_535;

/// Bytes before the checksum of a TCP header.
const CHECKSUM_AT: u16 = 16;

/// What a packet is to those before it.
enum Kind {
    /// A TCP segment.
    Tcp(Headers),
    /// Something else, whose place among segments means nothing.
    Other,
    /// It may belong to any connection: what comes behind it stays there.
    Barrier,
}

/// The headers of a TCP segment.
#[derive(Clone, Copy, Debug)]
struct Headers {
    family: Family,
    network: usize,
    transport: usize,
    /// Bytes of all headers: where the payload begins.
    size: usize,
    /// Bytes of payload.
    payload: usize,
    seq: u32,
    /// It can be a part of a super-frame.
    merges: bool,
    /// Nothing can follow it in one.
    pushes: bool,
}

impl Headers {
    /// The headers of the link, of IP and of TCP.
    fn parts(self, head: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
        let (link, rest) = head.split_at_checked(self.network)?;
        let (ip, tcp) = rest.split_at_checked(self.transport - self.network)?;
        Some((link, ip, tcp.get(..self.size - self.transport)?))
    }
}

/// A super-frame that may grow.
struct Open {
    /// Which of the packets that are kept.
    at: usize,
    /// Of its first segment.
    headers: Headers,
    /// Segments in it.
    len: u16,
    /// Frames that it lies in.
    frames: usize,
    /// Bytes of payload.
    payload: usize,
    /// The last segment was the last that can be.
    pushed: bool,
}

/// Moves `packets`, which are about to leave by a port with these `capabilities`, to `kept`, which is
/// empty, and merges what can be. Answers how many have become part of others.
pub fn merge(
    packets: &mut Vec<Packet>,
    capabilities: &Capabilities,
    pool: &mut FramePool,
    kept: &mut Vec<Packet>,
) -> usize {
    let before = packets.len();
    let frames_max = capabilities.max_segments.min(1 + TAIL_LEN);
    let mut all: ArrayVec<Open, OPEN_MAX> = ArrayVec::new();
    for packet in packets.drain(..) {
        let headers = match kind(&packet) {
            Kind::Tcp(headers) => headers,
            Kind::Other => {
                kept.push(packet);
                continue;
            }
            Kind::Barrier => {
                close(all.drain(..), kept);
                kept.push(packet);
                continue;
            }
        };
        let mut own = None;
        for (place, open) in all.iter().enumerate() {
            let first = kept.get(open.at).filter(|first| {
                same_connection(first.head(), open.headers, packet.head(), headers)
            });
            if let Some(first) = first {
                own = Some((place, fits(open, first, &packet, headers, frames_max)));
                break;
            }
        }
        match own {
            Some((place, true)) => {
                if let Some(open) = all.get_mut(place)
                    && let Some(first) = kept.get_mut(open.at)
                {
                    open.grow(first, packet, headers, pool);
                    if open.pushed {
                        close(all.pop_at(place), kept);
                    }
                }
                continue;
            }
            Some((place, false)) => close(all.pop_at(place), kept),
            None => {}
        }
        let takes = match headers.family {
            Family::Ipv4 => capabilities.tso4,
            Family::Ipv6 => capabilities.tso6,
        };
        if takes && headers.merges && !headers.pushes {
            if all.is_full() {
                close(all.pop_at(0), kept);
            }
            all.push(Open {
                at: kept.len(),
                headers,
                len: 1,
                frames: frames_len(&packet),
                payload: headers.payload,
                pushed: false,
            });
        }
        kept.push(packet);
    }
    close(all, kept);
    before - kept.len()
}

/// Makes super-frames that will not grow any more whole.
fn close(all: impl IntoIterator<Item = Open>, kept: &mut [Packet]) {
    for open in all {
        if open.len > 1
            && let Some(packet) = kept.get_mut(open.at)
        {
            open.finish(packet);
        }
    }
}

fn frames_len(packet: &Packet) -> usize {
    1 + packet.tail_segments().len()
}

/// Reads the headers of a packet.
fn kind(packet: &Packet) -> Kind {
    let head = packet.head();
    let Some((ethertype, network)) = network_offset(head) else {
        return Kind::Other;
    };
    let ip = head.get(network..).unwrap_or_default();
    let (family, protocol, header_size, total) = match ethertype {
        EtherType::IPV4 => {
            let Some(fixed) = ip.get(..ipv4::HEADER_SIZE) else {
                return Kind::Barrier;
            };
            let view = Ipv4::new_unchecked(fixed);
            if view.is_fragment() {
                return Kind::Barrier;
            }
            let size = view.header_size();
            let total = usize::from(view.total_size());
            (Family::Ipv4, view.protocol(), size, total)
        }
        EtherType::IPV6 => {
            let Some(fixed) = ip.get(..ipv6::HEADER_SIZE) else {
                return Kind::Barrier;
            };
            let view = Ipv6::new_unchecked(fixed);
            let total = ipv6::HEADER_SIZE + usize::from(view.payload_size());
            (Family::Ipv6, view.next(), ipv6::HEADER_SIZE, total)
        }
        _ => return Kind::Other,
    };
    match protocol {
        Protocol::TCP => {}
        Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6 | Protocol::SCTP => return Kind::Other,
        _ => return Kind::Barrier,
    }
    // A header with options is none that could be merged, nor compared.
    let smallest = match family {
        Family::Ipv4 => ipv4::HEADER_SIZE,
        Family::Ipv6 => ipv6::HEADER_SIZE,
    };
    let transport = network + smallest;
    let fixed = head
        .get(transport..)
        .and_then(|rest| rest.get(..tcp::HEADER_SIZE));
    let Some(fixed) = fixed.filter(|_| header_size == smallest && packet.offload.gso.is_none())
    else {
        return Kind::Barrier;
    };
    let view = Tcp::new_unchecked(fixed);
    let size = transport + view.header_size();
    let len = packet.len();
    let payload = len.saturating_sub(size);
    let flags = view.flags();
    let merges = view.header_size() >= tcp::HEADER_SIZE
        && size <= head.len()
        && len - network == total
        && payload > 0
        && flags & tcp::ACK != 0
        && flags & !(tcp::ACK | tcp::PSH | tcp::ECE) == 0;
    Kind::Tcp(Headers {
        family,
        network,
        transport,
        size,
        payload,
        seq: view.seq(),
        merges,
        pushes: flags & tcp::PSH != 0,
    })
}

/// Whether two segments are of one connection in one direction.
fn same_connection(a: &[u8], of_a: Headers, b: &[u8], of_b: Headers) -> bool {
    let addresses = match of_a.family {
        Family::Ipv4 => 12..ipv4::HEADER_SIZE,
        Family::Ipv6 => 8..ipv6::HEADER_SIZE,
    };
    // The ports are right behind the addresses.
    let range = addresses.start..addresses.end + 4;
    of_a.family == of_b.family
        && a.get(of_a.network..).and_then(|ip| ip.get(range.clone()))
            == b.get(of_b.network..).and_then(|ip| ip.get(range))
}

/// Whether a segment of the same connection is the next of a super-frame.
fn fits(open: &Open, first: &Packet, packet: &Packet, headers: Headers, frames_max: usize) -> bool {
    let of = open.headers;
    let next = of.seq.wrapping_add(open.payload as u32);
    headers.merges
        && headers.seq == next
        && headers.payload <= of.payload
        && (headers.network, headers.size) == (of.network, of.size)
        && of.size - of.network + open.payload + headers.payload <= IP_SIZE_MAX
        && open.frames + frames_len(packet) <= frames_max
        && same_headers(open, first.head(), packet.head())
        && (open.len > 1 || is_whole(first, of))
        && is_whole(packet, headers)
}

/// Whether two segments have the same headers but for what segments of one super-frame differ in.
fn same_headers(open: &Open, a: &[u8], b: &[u8]) -> bool {
    let of = open.headers;
    let (Some((link_a, ip_a, tcp_a)), Some((link_b, ip_b, tcp_b))) = (of.parts(a), of.parts(b))
    else {
        return false;
    };
    let ip = match of.family {
        Family::Ipv4 => {
            let (a, b) = (Ipv4::new_unchecked(ip_a), Ipv4::new_unchecked(ip_b));
            let means_nothing = a.fragment() & ipv4::DONT_FRAGMENT != 0;
            (a.version_ihl(), a.tos(), a.fragment(), a.ttl())
                == (b.version_ihl(), b.tos(), b.fragment(), b.ttl())
                && (means_nothing || a.ident().wrapping_add(open.len) == b.ident())
        }
        Family::Ipv6 => {
            let (a, b) = (Ipv6::new_unchecked(ip_a), Ipv6::new_unchecked(ip_b));
            (a.first_word(), a.hop_limit()) == (b.first_word(), b.hop_limit())
        }
    };
    let (a, b) = (Tcp::new_unchecked(tcp_a), Tcp::new_unchecked(tcp_b));
    link_a == link_b
        && ip
        && a.ack() == b.ack()
        && (a.offset_flags() ^ b.offset_flags()) & !tcp::PSH == 0
        && (a.window(), a.urgent()) == (b.window(), b.urgent())
        && tcp_a.get(tcp::HEADER_SIZE..) == tcp_b.get(tcp::HEADER_SIZE..)
}

/// Whether the checksums of a segment are known to be right, or are now found to be.
fn is_whole(packet: &Packet, headers: Headers) -> bool {
    let head = packet.head();
    if headers.family == Family::Ipv4 {
        let ip = head
            .get(headers.network..headers.transport)
            .unwrap_or_default();
        if !Ipv4::new_unchecked(ip).is_whole() {
            return false;
        }
    }
    match packet.offload.csum {
        Checksum::Valid => true,
        Checksum::Partial { start, offset } => {
            usize::from(start) == headers.transport && offset == CHECKSUM_AT
        }
        Checksum::Unknown => {
            let size = headers.size - headers.transport + headers.payload;
            let mut sum = pseudo(head, headers, size);
            sum.add(head.get(headers.transport..).unwrap_or_default());
            for segment in packet.tail_segments() {
                sum.add(segment.bytes());
            }
            sum.is_whole()
        }
    }
}

/// The sum of the pseudo header of a segment with `size` bytes of TCP.
fn pseudo(head: &[u8], headers: Headers, size: usize) -> Sum {
    let ip = head
        .get(headers.network..headers.transport)
        .unwrap_or_default();
    match headers.family {
        Family::Ipv4 => {
            let view = Ipv4::new_unchecked(ip);
            pseudo_v4(view.src(), view.dst(), Protocol::TCP, size as u32)
        }
        Family::Ipv6 => {
            let view = Ipv6::new_unchecked(ip);
            pseudo_v6(view.src(), view.dst(), Protocol::TCP, size as u32)
        }
    }
}

impl Open {
    /// Adds a segment that fits.
    fn grow(&mut self, first: &mut Packet, packet: Packet, headers: Headers, pool: &mut FramePool) {
        self.len += 1;
        self.frames += frames_len(&packet);
        self.payload += headers.payload;
        self.pushed = headers.pushes || headers.payload < self.headers.payload;
        if headers.pushes {
            let tcp = first.head_mut().get_mut(self.headers.transport..);
            let mut view = Tcp::new_unchecked(tcp.unwrap_or_default());
            view.set_offset_flags(view.offset_flags() | tcp::PSH);
        }
        first.generation = first.generation.max(packet.generation);
        let range = packet.head_range();
        let (head, tail) = packet.into_frames();
        let payload = range.start + headers.size..range.end;
        if payload.is_empty() {
            pool.free(head);
        } else {
            push(first, Segment::new(head, payload), pool);
        }
        if let Some(mut tail) = tail {
            for segment in tail.drain(..) {
                push(first, segment, pool);
            }
            pool.free_tail(tail);
        }
    }

    /// Makes the headers those of a super-frame.
    fn finish(&self, packet: &mut Packet) {
        let Headers {
            family,
            network,
            transport,
            size,
            payload,
            ..
        } = self.headers;
        let tcp_size = size - transport + self.payload;
        let sum = pseudo(packet.head(), self.headers, tcp_size).folded();
        let head = packet.head_mut();
        let kind = match family {
            Family::Ipv4 => {
                let ip = head.get_mut(network..transport).unwrap_or_default();
                let mut view = Ipv4::new_unchecked(ip);
                view.set_total_size((transport - network + tcp_size) as u16);
                view.fill_checksum();
                GsoKind::Tcp4
            }
            Family::Ipv6 => {
                let ip = head.get_mut(network..transport).unwrap_or_default();
                Ipv6::new_unchecked(ip).set_payload_size(tcp_size as u16);
                GsoKind::Tcp6
            }
        };
        let tcp = head.get_mut(transport..).unwrap_or_default();
        Tcp::new_unchecked(tcp).set_checksum(sum);
        packet.offload.csum = Checksum::Partial {
            start: transport as u16,
            offset: CHECKSUM_AT,
        };
        packet.offload.gso = Some(Gso {
            kind,
            size: payload as u16,
            ecn: false,
            tunnel: None,
        });
    }
}

/// Adds a segment to a packet that has room for it.
fn push(packet: &mut Packet, segment: Segment, pool: &mut FramePool) {
    if let Err(segment) = packet.push_tail(segment, pool) {
        debug_assert!(false, "frames were counted");
        pool.free(segment.into_frame());
    }
}

#[cfg(test)]
mod tests;
