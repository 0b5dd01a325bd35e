//! Making a packet fit the port that it is to leave by: the one call before `tx`.
//!
//! A packet that the port can take as it is passes untouched, which is nearly all of them and costs
//! a few comparisons. Of the others, a super-frame is cut or a checksum finished where the port
//! cannot, an IPv4 packet that may be fragmented is, and what is too large is handed back to be answered (`too_big`).
//!
//! The MTU is held against what would be on the wire: a super-frame counts by its segments.

use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_sys::memory::CHUNK_SIZE;

use super::cut::cut;
use super::layout::{self, Family, Layout};
use super::segment::{self, Headers};
use super::{Capabilities, Checksum, Gso, GsoKind, checksum, fragment};
use crate::buffer::{FramePool, HEADROOM, Packet};
use crate::counters::DropReason;

/// Bytes of an Ethernet header without tags.
const LINK_SIZE: usize = 14;

/// What became of a packet.
#[derive(Debug)]
#[must_use = "a packet that is too big is the caller's to answer and free"]
pub enum Fit {
    /// `out` has it, whole or in pieces.
    Ready,
    /// It is larger than the port's MTU and may not be cut: the caller answers and frees it.
    TooBig(Packet),
    /// It is freed, for this reason; nothing was appended to `out`.
    Dropped(DropReason),
}

/// Makes `packet` fit a port with these `capabilities` and appends what is to be sent to `out`.
#[inline]
pub fn fit(
    packet: Packet,
    capabilities: &Capabilities,
    pool: &mut FramePool,
    out: &mut Vec<Packet>,
) -> Fit {
    if capabilities.accepts(&packet) {
        out.push(packet);
        return Fit::Ready;
    }
    make_fit(packet, capabilities, pool, out)
}

impl Capabilities {
    /// Whether the port can take the packet as it is. May say no of one that it can.
    #[inline]
    #[must_use]
    pub fn accepts(&self, packet: &Packet) -> bool {
        let mtu = self.mtu as usize;
        let tail = packet.tail_segments();
        if !tail.is_empty() && tail.len() >= self.max_segments {
            return false;
        }
        let Checksum::Partial { start, .. } = packet.offload.csum else {
            return packet.offload.gso.is_none() && packet.len() <= mtu + LINK_SIZE;
        };
        if !self.csum {
            return false;
        }
        let Some(gso) = packet.offload.gso else {
            return packet.len() <= mtu + LINK_SIZE;
        };
        // The headers end where the transport's do; the sum begins where they begin.
        let start = usize::from(start);
        let transport_size = match gso.kind {
            GsoKind::Udp => 8,
            GsoKind::Tcp4 | GsoKind::Tcp6 => match packet.head().get(start + 12) {
                Some(word) => usize::from(word >> 4) * 4,
                None => return false,
            },
        };
        self.takes(gso) && start + transport_size + usize::from(gso.size) <= mtu + LINK_SIZE
    }

    /// Whether the port takes super-frames of the kind.
    #[inline]
    fn takes(&self, gso: Gso) -> bool {
        self.csum
            && (self.tunnel || gso.tunnel.is_none())
            && match gso.kind {
                GsoKind::Tcp4 => self.tso4,
                GsoKind::Tcp6 => self.tso6,
                GsoKind::Udp => self.uso,
            }
    }
}

#[cold]
#[inline(never)]
fn make_fit(
    packet: Packet,
    capabilities: &Capabilities,
    pool: &mut FramePool,
    out: &mut Vec<Packet>,
) -> Fit {
    match packet.offload.gso {
        Some(gso) => fit_super_frame(packet, gso, capabilities, pool, out),
        None => fit_packet(packet, capabilities, pool, out),
    }
}

fn fit_super_frame(
    mut packet: Packet,
    gso: Gso,
    capabilities: &Capabilities,
    pool: &mut FramePool,
    out: &mut Vec<Packet>,
) -> Fit {
    let headers = segment::headers(packet.head(), gso).filter(|headers| {
        match packet.offload.csum {
            // The sum begins with the transport header or the metadata lies.
            Checksum::Partial { start, .. } => usize::from(start) == headers.layout.transport,
            Checksum::Unknown | Checksum::Valid => true,
        }
    });
    let Some(headers) = headers else {
        return dropped(packet, DropReason::Malformed, pool);
    };
    let payload = packet.len().saturating_sub(headers.size);
    let Headers { size, outer, .. } = headers;
    let layout = headers.outermost();
    let segment_size = size - layout.network + payload.min(usize::from(gso.size));
    let too_big = segment_size > capabilities.mtu as usize;
    if too_big && !may_fragment(&packet, layout) {
        return Fit::TooBig(packet);
    }
    if !too_big && outer.is_none() && payload <= usize::from(gso.size) {
        // It stands for one packet only.
        packet.offload.gso = None;
        return fit_packet(packet, capabilities, pool, out);
    }
    let has_csum = matches!(packet.offload.csum, Checksum::Partial { .. });
    if !too_big && capabilities.takes(gso) && has_csum {
        return fit_frames(packet, capabilities, pool, out);
    }
    let before = out.len();
    let finish = !capabilities.csum;
    let done = segment::segment(&packet, gso, headers, finish, pool, out);
    pool.drop_packet(packet);
    if let Err(reason) = done {
        return Fit::Dropped(reason);
    }
    let frames = out[before..].iter().map(frames_len).max().unwrap_or(0);
    if !too_big && frames <= capabilities.max_segments {
        return Fit::Ready;
    }
    // Segments that are still too large, which IPv4 lets us cut once more.
    let segments: Vec<Packet> = out.drain(before..).collect();
    let mut answer = Fit::Ready;
    for segment in segments {
        match fit_packet(segment, capabilities, pool, out) {
            Fit::Ready => {}
            Fit::TooBig(segment) => {
                pool.drop_packet(segment);
                answer = Fit::Dropped(DropReason::Malformed);
            }
            Fit::Dropped(reason) => answer = Fit::Dropped(reason),
        }
    }
    if let Fit::Dropped(_) = answer {
        for packet in out.drain(before..) {
            pool.drop_packet(packet);
        }
    }
    answer
}

fn fit_packet(
    mut packet: Packet,
    capabilities: &Capabilities,
    pool: &mut FramePool,
    out: &mut Vec<Packet>,
) -> Fit {
    let mtu = capabilities.mtu as usize;
    let network = layout::network_offset(packet.head()).map_or(LINK_SIZE, |(_, at)| at);
    if packet.len() - network.min(packet.len()) > mtu {
        let Some(layout) = layout::read(packet.head()).filter(|l| may_fragment(&packet, *l)) else {
            return Fit::TooBig(packet);
        };
        let before = out.len();
        let done = fragment::fragment(&mut packet, layout, mtu, pool, out);
        pool.drop_packet(packet);
        let frames = out[before..].iter().map(frames_len).max().unwrap_or(0);
        return match done {
            Err(reason) => Fit::Dropped(reason),
            Ok(()) if frames > capabilities.max_segments => {
                for packet in out.drain(before..) {
                    pool.drop_packet(packet);
                }
                Fit::Dropped(DropReason::TooManyFrames)
            }
            Ok(()) => Fit::Ready,
        };
    }
    if !capabilities.csum && !checksum::finish(&mut packet) {
        return dropped(packet, DropReason::Malformed, pool);
    }
    fit_frames(packet, capabilities, pool, out)
}

/// Packs the packet into fewer frames where the port sends no more.
fn fit_frames(
    packet: Packet,
    capabilities: &Capabilities,
    pool: &mut FramePool,
    out: &mut Vec<Packet>,
) -> Fit {
    if frames_len(&packet) <= capabilities.max_segments {
        out.push(packet);
        return Fit::Ready;
    }
    let beyond_head = packet.len().saturating_sub(CHUNK_SIZE - HEADROOM);
    if 1 + beyond_head.div_ceil(CHUNK_SIZE) > capabilities.max_segments {
        return dropped(packet, DropReason::TooManyFrames, pool);
    }
    let Some(mut copy) = cut(&packet, &[], 0..packet.len(), pool) else {
        return dropped(packet, DropReason::NoFrames, pool);
    };
    copy.offload = packet.offload;
    pool.drop_packet(packet);
    out.push(copy);
    Fit::Ready
}

fn frames_len(packet: &Packet) -> usize {
    1 + packet.tail_segments().len()
}

/// Whether the packet's sender lets it be fragmented on the way.
fn may_fragment(packet: &Packet, layout: Layout) -> bool {
    layout.family == Family::Ipv4
        && packet
            .head()
            .get(layout.network..)
            .is_some_and(|ip| Ipv4::new_unchecked(ip).fragment() & ipv4::DONT_FRAGMENT == 0)
}

fn dropped(packet: Packet, reason: DropReason, pool: &mut FramePool) -> Fit {
    pool.drop_packet(packet);
    Fit::Dropped(reason)
}
