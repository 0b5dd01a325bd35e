//! Helpers: protocols whose payload announces further connections.
//!
//! FTP and TFTP tell the other end by which address and port the data will go. A helper reads that,
//! so that tracking knows the data connection as related when it comes, and, where addresses are
//! translated, writes into the payload what the other end can reach.
//!
//! Not for the data connections: tracking has them. Not for a proxy: what is not understood passes
//! as it is.
//!
//! Law:
//! * Only an end's own address is believed, as it has it or as the other end sees it. Otherwise a
//!   client could have a server's data sent to, and a firewall opened for, somebody else
//!   (RFC 2577 §3).
//! * A command that does not lie whole in one segment is not read: putting a stream together is what
//!   a proxy does. It is counted.
//! * What a helper wrote moves the sequence numbers behind it, in this direction, and the
//!   acknowledgements of the other one back ([`shift_numbers`]), SACK blocks among them. A segment
//!   that is sent again is written again and counts once.
//! * A payload that has no room for what has to be written stays as it is; counted as well.
//!
//! Threads: none of its own; what a connection remembers is in the table. Cost: a scan over the
//! payload of control connections, nothing for others.
//!
//! Spec: RFC 959 §4.1.2 (PORT, PASV), RFC 2428 (EPRT, EPSV), RFC 1350 §4 (TFTP), RFC 9293 §3.4,
//! RFC 2018 §3 (SACK).

mod carry;
mod ftp;
mod tftp;

pub use carry::{Counted, Counts, Helpers};

use arrayvec::ArrayVec;
use vswitch_flow::action::CtHelper;
use vswitch_packet::checksum::{Sum, update};
use vswitch_packet::{Protocol, ipv6};

use super::parse;
use super::request::{Expected, Follow, Shift};
use super::seen::{Kind, Seen, flag};
use super::tuple::Family;
use crate::buffer::Packet;
use crate::extract::Layout;
use crate::field;
use crate::offload::Checksum;

/// Characters of the longest address (an IPv6 address with an IPv4 one in it).
const ADDRESS_SIZE: usize = 45;
/// Where a TCP header has its numbers and its checksum, and its bytes without options.
const SEQ_AT: usize = 4;
const ACK_AT: usize = 8;
const CHECKSUM_AT: usize = 16;
const TCP_SIZE: usize = 20;
/// The option with selective acknowledgements (RFC 2018 §3).
const OPTION_SACK: u8 = 5;

/// What a helper heard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is read where it is answered; a box would be an allocation for each command"
)]
pub enum Heard {
    /// Nothing of interest.
    Nothing,
    /// A command that goes on in another segment.
    Split,
    /// An address that is not the speaker's.
    Stranger,
    /// A command that cannot be understood.
    Malformed,
    /// A connection is announced.
    Call(Call),
}

/// A connection is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The connection.
    pub expected: Expected,
    /// What the other end has to be told instead of what stands there.
    pub edit: Option<Edit>,
}

/// Text to be put in the place of other text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where the text begins, bytes from the payload's first.
    at: usize,
    /// Bytes of the old text.
    size: usize,
    /// The new one.
    text: ArrayVec<u8, ADDRESS_SIZE>,
}

impl Edit {
    /// By how many bytes the payload grows.
    #[must_use]
    pub fn growth(&self) -> i32 {
        self.text.len() as i32 - self.size as i32
    }

    /// Whether the stream's numbers after the segment at `seq` move by it. They have moved already
    /// when the segment is sent again.
    #[must_use]
    pub fn moves(&self, seq: u32, follow: &Follow) -> bool {
        let Shift {
            from,
            before,
            after,
        } = follow.seq;
        self.growth() != 0 && (before == after || is_after(seq, from))
    }
}

/// Reads a packet of a connection that has a helper.
#[must_use]
pub fn read(follow: &Follow, packet: &Packet, layout: Layout, seen: &Seen) -> Heard {
    let Some((_, payload)) = payload(packet, layout, seen) else {
        return Heard::Nothing;
    };
    match (follow.helper, seen.kind) {
        (Some(CtHelper::Ftp), Kind::Tcp(_)) => ftp::read(follow, payload),
        (Some(CtHelper::Tftp), Kind::Udp) => tftp::read(follow, payload),
        _ => Heard::Nothing,
    }
}

/// A packet's payload as far as it lies in the head, and where it begins.
fn payload<'a>(packet: &'a Packet, layout: Layout, seen: &Seen) -> Option<(usize, &'a [u8])> {
    let network = parse::network(packet, layout).ok()?;
    let head = packet.head();
    let size = match seen.kind {
        Kind::Tcp(_) => usize::from(head.get(network.l4 + 12)? >> 4) * 4,
        Kind::Udp => 8,
        _ => return None,
    };
    let begin = network.l4 + size;
    Some((begin, head.get(begin..network.end.min(head.len()))?))
}

/// Writes an edit into a TCP packet. False, with nothing changed, when there is no room.
#[must_use]
pub fn write(packet: &mut Packet, layout: Layout, seen: &Seen, edit: &Edit) -> bool {
    let Some((begin, payload)) = payload(packet, layout, seen) else {
        return false;
    };
    let (payload_size, at) = (payload.len(), begin + edit.at);
    if !packet.tail_segments().is_empty() || edit.at + edit.size > payload_size {
        return false;
    }
    let (old_end, rest) = (begin + payload_size, at + edit.size);
    let new_end = old_end - edit.size + edit.text.len();
    if packet.head_range().start + new_end > packet.head_frame().size() {
        return false;
    }
    // What comes after the packet is padding, which would be in the way.
    packet.truncate(old_end, |_| ());
    packet.pad_to(new_end.max(old_end));
    let head = packet.head_mut();
    head.copy_within(rest..old_end, at + edit.text.len());
    if let Some(place) = head.get_mut(at..at + edit.text.len()) {
        place.copy_from_slice(&edit.text);
    }
    packet.truncate(new_end, |_| ());
    set_size(packet, layout, seen.tuple.family, new_end);
    true
}

/// Makes the lengths and sums of a TCP packet, all in its head, true for its new end.
fn set_size(packet: &mut Packet, layout: Layout, family: Family, end: usize) {
    let l3 = usize::from(layout.l3);
    let (at, size) = match family {
        Family::V4 => (l3 + 2, end - l3),
        Family::V6 => (l3 + 4, end - l3 - ipv6::HEADER_SIZE),
    };
    let head = packet.head_mut();
    let Some(place) = word(head, at) else {
        return;
    };
    let (old, new) = (u16::from_be_bytes(*place), size as u16);
    *place = new.to_be_bytes();
    if family == Family::V4
        && let Some(place) = word(head, l3 + 10)
    {
        *place = update(u16::from_be_bytes(*place), old, new).to_be_bytes();
    }
    let Ok(network) = parse::network(packet, layout) else {
        return;
    };
    let begun = matches!(packet.offload.csum, Checksum::Partial { .. });
    let Some(segment) = packet.head_mut().get_mut(network.l4..end) else {
        return;
    };
    let mut sum: Sum = network.pseudo(segment.len());
    if !begun {
        // What was there was right, or the packet were not tracked.
        if let Some(place) = word(segment, CHECKSUM_AT) {
            *place = [0; 2];
        }
        sum.add(segment);
    }
    if let Some(place) = word(segment, CHECKSUM_AT) {
        let sum = if begun { sum.folded() } else { sum.finish() };
        *place = sum.to_be_bytes();
    }
}

fn word(bytes: &mut [u8], at: usize) -> Option<&mut [u8; 2]> {
    bytes.get_mut(at..)?.first_chunk_mut()
}

/// Moves the numbers of a TCP packet as what helpers wrote before demands.
pub fn shift_numbers(packet: &mut Packet, layout: Layout, seen: &Seen, follow: &Follow) {
    let Kind::Tcp(tcp) = seen.kind else {
        return;
    };
    let seq = forward(tcp.seq, follow.seq);
    if seq != tcp.seq {
        set(packet, layout, SEQ_AT, seq);
    }
    if tcp.flags & flag::ACK != 0 && follow.ack != Shift::default() {
        set(packet, layout, ACK_AT, back(tcp.ack, follow.ack));
        for at in sack_numbers(packet, layout) {
            let l4 = usize::from(layout.l4);
            let bytes = packet.head().get(l4 + at..).and_then(|b| b.first_chunk());
            if let Some(number) = bytes.map(|bytes| u32::from_be_bytes(*bytes)) {
                set(packet, layout, at, back(number, follow.ack));
            }
        }
    }
}

fn set(packet: &mut Packet, layout: Layout, at: usize, number: u32) {
    field::set_transport(packet, layout, Protocol::TCP, at, 4, u128::from(number));
}

/// Where a TCP header has the edges of SACK blocks, of which 40 bytes of options hold four.
fn sack_numbers(packet: &Packet, layout: Layout) -> ArrayVec<usize, 8> {
    let mut found = ArrayVec::new();
    let header = packet
        .head()
        .get(usize::from(layout.l4)..)
        .unwrap_or_default();
    let size = header.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4);
    let header = header.get(..size).unwrap_or_default();
    let mut at = TCP_SIZE;
    while let Some(&kind) = header.get(at) {
        let size = match (kind, header.get(at + 1)) {
            (0, _) => break,
            (1, _) => 1,
            (_, Some(&size @ 2..)) => usize::from(size),
            _ => break,
        };
        if kind == OPTION_SACK {
            let end = header.len().min(at + size);
            let numbers = (at + 2..end).step_by(4).filter(|at| at + 4 <= end);
            found.extend(numbers.take(found.remaining_capacity()));
        }
        at += size;
    }
    found
}

/// Where a number of a stream is after what was written into it.
fn forward(number: u32, shift: Shift) -> u32 {
    let by = if is_after(number, shift.from) {
        shift.after
    } else {
        shift.before
    };
    number.wrapping_add_signed(by)
}

/// The number that is after the writing where `number` is.
fn back(number: u32, shift: Shift) -> u32 {
    let before = number.wrapping_sub(shift.before as u32);
    if is_after(before, shift.from) {
        number.wrapping_sub(shift.after as u32)
    } else {
        before
    }
}

/// Whether `number` comes after `other` in sequence space (RFC 9293 §3.4).
const fn is_after(number: u32, other: u32) -> bool {
    (number.wrapping_sub(other) as i32) > 0
}

#[cfg(test)]
mod tests;
