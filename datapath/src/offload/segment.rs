//! Software segmentation: one super-frame into the packets it stands for.
//!
//! Law: the segments carry the payload of the super-frame, in order and once, behind headers that
//! differ only in what segmentation must change: lengths, the IPv4 identification, the TCP sequence
//! number and flags, checksums. What the headers have before IP (VLAN tags) is copied.
//!
//! Cost: a chunk and a copy of the payload per segment, and a sum over it where the egress port
//! cannot do that.
//!
//! Spec: net/ipv4/tcp_offload.c (`tcp_gso_segment`), net/ipv4/udp_offload.c
//! (`__udp_gso_segment`), RFC 9293 §3.1, RFC 3168 §6.1.2 (CWR), RFC 6864 (identification).

use std::net::{Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use vswitch_packet::checksum::Sum;
use vswitch_packet::{Protocol, ipv4, ipv6, tcp, udp};

use super::cut::cut;
use super::layout::{self, Family, Layout};
use super::{Checksum, Gso, GsoKind, Tunnel, checksum};
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;

/// Bytes of headers that a super-frame may have: far more than the largest there are (IPv6 with
/// extension headers behind two tags), and little enough that a segment of MTU 1500 fits a chunk.
const HEADERS_MAX: usize = 1024;

/// Segments of one super-frame: 64 KiB by the smallest segment that Linux sends
/// (`TCP_MIN_SND_MSS`, 48).
const SEGMENTS_MAX: usize = 1366;

/// Bytes before a transport's checksum field.
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;

/// The headers of a super-frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers {
    /// The headers of what is cut: the inner ones where there is a tunnel.
    pub layout: Layout,
    /// Bytes of all headers: where the payload begins.
    pub size: usize,
    /// The tunnel's headers, and whether their UDP has a checksum.
    pub outer: Option<(Layout, bool)>,
}

impl Headers {
    /// The headers that the wire's MTU and routers go by.
    pub(super) fn outermost(&self) -> Layout {
        self.outer.map_or(self.layout, |(layout, _)| layout)
    }
}

/// Reads the headers of a super-frame. `None` when they are not what `gso` says.
pub(super) fn headers(head: &[u8], gso: Gso) -> Option<Headers> {
    let (layout, outer) = match gso.tunnel {
        None => (layout::read(head)?, None),
        Some(tunnel) => {
            let (inner, outer) = inside(head, tunnel)?;
            (inner, Some((outer, tunnel.csum)))
        }
    };
    let transport = head.get(layout.transport..)?;
    let (protocol, transport_size) = match gso.kind {
        GsoKind::Udp => (Protocol::UDP, udp::HEADER_SIZE),
        GsoKind::Tcp4 | GsoKind::Tcp6 => {
            let view = tcp::Tcp::new_unchecked(transport);
            (Protocol::TCP, view.header_size())
        }
    };
    let family_fits = match gso.kind {
        GsoKind::Tcp4 => layout.family == Family::Ipv4,
        GsoKind::Tcp6 => layout.family == Family::Ipv6,
        GsoKind::Udp => true,
    };
    let smallest = match gso.kind {
        GsoKind::Udp => udp::HEADER_SIZE,
        GsoKind::Tcp4 | GsoKind::Tcp6 => tcp::HEADER_SIZE,
    };
    let size = layout.transport + transport_size;
    let fits = family_fits
        && !layout.is_fragment
        && layout.protocol == protocol
        && transport_size >= smallest
        && size <= head.len().min(HEADERS_MAX)
        && gso.size > 0;
    fits.then_some(Headers {
        layout,
        size,
        outer,
    })
}

/// Reads the headers inside a tunnel and those of the tunnel.
fn inside(head: &[u8], tunnel: Tunnel) -> Option<(Layout, Layout)> {
    let outer = layout::read(head)?;
    let network = usize::from(tunnel.inner_network);
    let family = match head.get(network)? >> 4 {
        4 => Family::Ipv4,
        6 => Family::Ipv6,
        _ => return None,
    };
    let inner = layout::read_ip(head, network, family)?;
    let fits = outer.transport == usize::from(tunnel.outer_transport)
        && outer.protocol == Protocol::UDP
        && !outer.is_fragment
        && outer.transport + udp::HEADER_SIZE <= network;
    fits.then_some((inner, outer))
}

/// Cuts `packet`, a super-frame with these `headers`, and appends the segments to `out`. Their
/// checksums are partial, or finished if `finish` says so or they are inside a tunnel. The packet
/// stays the caller's.
///
/// # Errors
/// Why it could not; `out` is then as it was.
pub(super) fn segment(
    packet: &Packet,
    gso: Gso,
    headers: Headers,
    finish: bool,
    pool: &mut FramePool,
    out: &mut Vec<Packet>,
) -> Result<(), DropReason> {
    let before = out.len();
    let total = packet.len();
    let step = usize::from(gso.size);
    if total.saturating_sub(headers.size).div_ceil(step) > SEGMENTS_MAX {
        return Err(DropReason::Malformed);
    }
    let template: ArrayVec<u8, HEADERS_MAX> =
        packet.head().iter().take(headers.size).copied().collect();
    let mut at = headers.size;
    loop {
        let end = total.min(at + step);
        let Some(mut segment) = cut(packet, &template, at..end, pool) else {
            for packet in out.drain(before..) {
                pool.drop_packet(packet);
            }
            return Err(DropReason::NoFrames);
        };
        let place = Place {
            index: (out.len() - before) as u16,
            sent: at - headers.size,
            is_last: end == total,
        };
        rewrite(&mut segment, gso.kind, headers, place);
        if finish || headers.outer.is_some() {
            // The field is in the head: `headers` has found it there.
            let _ = checksum::finish(&mut segment);
        }
        if let Some((outer, csum)) = headers.outer {
            rewrite_outer(&mut segment, outer, csum, place);
        }
        out.push(segment);
        at = end;
        if at == total {
            return Ok(());
        }
    }
}

/// Which segment it is.
#[derive(Clone, Copy)]
struct Place {
    index: u16,
    /// Payload bytes in the segments before.
    sent: usize,
    is_last: bool,
}

/// Makes the headers of the super-frame those of a segment.
fn rewrite(segment: &mut Packet, kind: GsoKind, headers: Headers, place: Place) {
    let layout = headers.layout;
    let pseudo = rewrite_ip(segment, layout, place);
    let transport_size = segment.len() - layout.transport;
    let transport = &mut segment.head_mut()[layout.transport..];
    let offset = match kind {
        GsoKind::Udp => {
            let mut view = udp::Udp::new_unchecked(transport);
            view.set_size(transport_size as u16);
            view.set_checksum(pseudo.folded());
            UDP_CHECKSUM
        }
        GsoKind::Tcp4 | GsoKind::Tcp6 => {
            let mut view = tcp::Tcp::new_unchecked(transport);
            view.set_seq(view.seq().wrapping_add(place.sent as u32));
            let mut flags = view.offset_flags();
            if place.index > 0 {
                flags &= !tcp::CWR;
            }
            if !place.is_last {
                flags &= !(tcp::FIN | tcp::PSH);
            }
            view.set_offset_flags(flags);
            view.set_checksum(pseudo.folded());
            TCP_CHECKSUM
        }
    };
    segment.offload.csum = Checksum::Partial {
        start: layout.transport as u16,
        offset,
    };
}

/// Makes the tunnel's headers those of a segment whose inner part is whole.
fn rewrite_outer(segment: &mut Packet, outer: Layout, csum: bool, place: Place) {
    let mut sum = rewrite_ip(segment, outer, place);
    let size = segment.len() - outer.transport;
    let mut view = udp::Udp::new_unchecked(&mut segment.head_mut()[outer.transport..]);
    view.set_size(size as u16);
    view.set_checksum(0);
    if csum {
        sum.add(&segment.head()[outer.transport..]);
        for piece in segment.tail_segments() {
            sum.add(piece.bytes());
        }
        let mut view = udp::Udp::new_unchecked(&mut segment.head_mut()[outer.transport..]);
        view.set_checksum(sum.finish_udp());
    }
}

/// Makes an IP header that of a segment, and answers the pseudo header's sum for what follows it.
fn rewrite_ip(segment: &mut Packet, layout: Layout, place: Place) -> Sum {
    let transport_size = (segment.len() - layout.transport) as u32;
    let ip_size = segment.len() - layout.network;
    let ip = &mut segment.head_mut()[layout.network..];
    match layout.family {
        Family::Ipv4 => {
            let mut view = ipv4::Ipv4::new_unchecked(ip);
            view.set_total_size(ip_size as u16);
            view.set_ident(view.ident().wrapping_add(place.index));
            view.fill_checksum();
            pseudo_v4(view.src(), view.dst(), layout.protocol, transport_size)
        }
        Family::Ipv6 => {
            let mut view = ipv6::Ipv6::new_unchecked(ip);
            view.set_payload_size((ip_size - ipv6::HEADER_SIZE) as u16);
            pseudo_v6(view.src(), view.dst(), layout.protocol, transport_size)
        }
    }
}

pub(super) fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, size: u32) -> Sum {
    Sum::pseudo_v4(src.octets(), dst.octets(), protocol.0, size)
}

pub(super) fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, size: u32) -> Sum {
    Sum::pseudo_v6(src.octets(), dst.octets(), protocol.0, size)
}
