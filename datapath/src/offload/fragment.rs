//! IPv4 fragmentation, for a packet that may be cut and must leave by a smaller MTU.
//!
//! A fragment may be cut again: offsets go on from its own, and only the last piece of a last
//! fragment says that nothing follows. The transport checksum spans the whole packet, so it is
//! finished before. IPv6 packets are cut by who sends them, never on the way.
//!
//! Spec: RFC 791 §2.3 and §3.1 (copied options), §3.2 (the procedure).

use arrayvec::ArrayVec;
use vswitch_packet::ipv4::{self, Ipv4};

use super::checksum;
use super::cut::cut;
use super::layout::{Family, Layout};
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;

/// Bytes of the largest IPv4 header, and of what comes before it.
const HEADER_MAX: usize = 60;
const LINK_MAX: usize = 64;

/// Option kinds without a length byte.
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;

/// The bit of an option's kind that has it copied into every fragment.
const COPIED: u8 = 0x80;

/// Cuts `packet`, whose headers are `layout`'s, into fragments of at most `mtu` bytes and appends
/// them to `out`. The packet stays the caller's; its checksum is finished in it.
///
/// # Errors
/// Why it could not; `out` is then as it was.
pub(super) fn fragment(
    packet: &mut Packet,
    layout: Layout,
    mtu: usize,
    pool: &mut FramePool,
    out: &mut Vec<Packet>,
) -> Result<(), DropReason> {
    debug_assert_eq!(layout.family, Family::Ipv4);
    if !checksum::finish(packet) || layout.network > LINK_MAX {
        return Err(DropReason::Malformed);
    }
    let packet = &*packet;
    let header = &packet.head()[layout.network..layout.transport];
    let view = Ipv4::new_unchecked(header);
    let total = usize::from(view.total_size());
    // Padding of a short frame is behind the IP packet and belongs to no fragment.
    if total < header.len() || layout.network + total > packet.len() {
        return Err(DropReason::Malformed);
    }
    let (first_offset, flags) = (view.fragment_offset(), view.fragment() & !ipv4::OFFSET_MASK);
    let link = &packet.head()[..layout.network];
    let begin = layout.transport;
    let end = layout.network + total;
    let mut first = ArrayVec::<u8, { LINK_MAX + HEADER_MAX }>::new();
    first.extend(link.iter().chain(header).copied());
    let later = later_header(link, header);

    let before = out.len();
    let mut at = begin;
    while at < end {
        let template = if at == begin { &first } else { &later };
        let header_size = template.len() - layout.network;
        let room = mtu.saturating_sub(header_size);
        let is_last = end - at <= room;
        let size = if is_last { end - at } else { room & !7 };
        let piece = (size > 0)
            .then(|| cut(packet, template, at..at + size, pool))
            .flatten();
        let Some(mut piece) = piece else {
            for packet in out.drain(before..) {
                pool.drop_packet(packet);
            }
            return Err(if size > 0 {
                DropReason::NoFrames
            } else {
                DropReason::Malformed
            });
        };
        let ip = &mut piece.head_mut()[layout.network..];
        let mut view = Ipv4::new_unchecked(ip);
        view.set_total_size((header_size + size) as u16);
        let offset = ((first_offset + at - begin) / 8) as u16 & ipv4::OFFSET_MASK;
        let more = if is_last { 0 } else { ipv4::MORE_FRAGMENTS };
        view.set_fragment(flags | more | offset);
        view.fill_checksum();
        out.push(piece);
        at += size;
    }
    Ok(())
}

/// The header of every fragment but the first: with those options that ask to be copied.
fn later_header(link: &[u8], header: &[u8]) -> ArrayVec<u8, { LINK_MAX + HEADER_MAX }> {
    let mut later = ArrayVec::new();
    let (fixed, mut options) = header.split_at(ipv4::HEADER_SIZE.min(header.len()));
    later.extend(link.iter().chain(fixed).copied());
    while let Some(&kind) = options.first() {
        let size = match kind {
            END_OF_OPTIONS => break,
            NO_OPERATION => 1,
            _ => usize::from(options.get(1).copied().unwrap_or(0)),
        };
        // An option whose length is impossible ends the list.
        if size == 0 || (size < 2 && kind != NO_OPERATION) || size > options.len() {
            break;
        }
        let (option, rest) = options.split_at(size);
        if kind & COPIED != 0 {
            later.extend(option.iter().copied());
        }
        options = rest;
    }
    while !(later.len() - link.len()).is_multiple_of(4) {
        later.push(END_OF_OPTIONS);
    }
    let size = later.len() - link.len();
    if let Some(version_ihl) = later.get_mut(link.len()) {
        *version_ihl = 0x40 | (size / 4) as u8;
    }
    later
}
