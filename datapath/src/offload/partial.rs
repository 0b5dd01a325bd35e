//! Recognising a checksum that its sender has only begun.
//!
//! A stack on this machine leaves the transport checksum to its device: for TCP and UDP the field
//! holds the sum of the pseudo header, for SCTP it is zero. The kernel says so beside the packet,
//! but XDP shows bytes alone. The value itself tells: a field equal to the pseudo header's sum is
//! such a beginning. One whole checksum in 65536 looks the same; finishing it gives the same value
//! again, since a packet whose checksum is right sums, with its field taken as zero, to that very
//! value. An SCTP field is zero by chance once in 2^32 packets, and then the sum is zero.
//!
//! TCP and UDP go on with their beginning, for the receiver to take on trust or a port to finish.
//! The CRC of SCTP is no such sum: no other port finishes it, so it is done here.
//!
//! Not asked of a packet from a wire, where the checksum would vouch for damage; the port of the
//! host's UDP sockets, which does not know whence, says what that costs it.
//!
//! A stack that tunnels leaves the *inner* packet's checksum to its device, and computes an outer one
//! as if that had been done (`lco_csum`), so an outer checksum that comes from a local stack proves
//! nothing, and the inner packet is to be asked about again once it is out.
//!
//! Spec: Documentation/networking/checksum-offloads.rst; RFC 9260 appendix A.

use crc32c::crc32c_append;
use vswitch_packet::checksum::Sum;
use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_packet::ipv6::{self, Ipv6};
use vswitch_packet::{EtherType, Protocol};

use super::Checksum;
use crate::buffer::Packet;

/// Where the Ethernet header has its type.
const ETHERTYPE_AT: usize = 12;
const VLAN_TAG_SIZE: usize = 4;
/// Tags in front of a packet whose checksum is looked at.
const MAX_TAGS: usize = 2;
/// Where the transport headers have their checksum.
const TCP_CHECKSUM_AT: usize = 16;
const UDP_CHECKSUM_AT: usize = 6;
const SCTP_CHECKSUM_AT: usize = 8;

/// What a packet carries over IP.
struct Transport {
    protocol: Protocol,
    /// First byte of its header.
    start: usize,
    /// Bytes of header and payload.
    size: usize,
    pseudo: Sum,
}

/// Finds out what the sender has left to do with the checksum of `packet`, which has `len` bytes.
/// The one of SCTP is done when this returns.
#[inline]
#[must_use]
pub fn recognise(packet: &mut Packet, len: usize) -> Checksum {
    let Some(transport) = transport(packet.head(), len) else {
        return Checksum::Unknown;
    };
    let offset = match transport.protocol {
        Protocol::TCP => TCP_CHECKSUM_AT,
        Protocol::UDP => UDP_CHECKSUM_AT,
        Protocol::SCTP => {
            finish_sctp(packet, transport.start, transport.size);
            return Checksum::Unknown;
        }
        _ => return Checksum::Unknown,
    };
    let field = be16(packet.head(), transport.start + offset);
    match u16::try_from(transport.start) {
        Ok(start) if field == Some(transport.pseudo.folded()) => Checksum::Partial {
            start,
            offset: offset as u16,
        },
        _ => Checksum::Unknown,
    }
}

/// Reads `head`, the first bytes of a packet of `len`. `None` for whatever has no transport header
/// of its own: other protocols, fragments, packets that are cut off.
#[inline]
fn transport(head: &[u8], len: usize) -> Option<Transport> {
    let mut at = ETHERTYPE_AT;
    let mut ethertype = EtherType(be16(head, at)?);
    for _ in 0..MAX_TAGS {
        if !ethertype.is_vlan() {
            break;
        }
        at += VLAN_TAG_SIZE;
        ethertype = EtherType(be16(head, at)?);
    }
    let network = at + 2;
    let bytes = head.get(network..)?;
    let mut found = match ethertype {
        EtherType::IPV4 => over_ipv4(bytes, len - network)?,
        EtherType::IPV6 => over_ipv6(bytes, len - network)?,
        _ => return None,
    };
    found.start += network;
    Some(found)
}

/// The transport of a packet of `len` bytes of which `bytes` are here. The view is checked by hand
/// because the packet may be longer than its head.
#[inline]
fn over_ipv4(bytes: &[u8], len: usize) -> Option<Transport> {
    let view = Ipv4::new_unchecked(bytes);
    let (header, total) = (view.header_size(), usize::from(view.total_size()));
    let good = view.version_ihl() >> 4 == 4 && header >= ipv4::HEADER_SIZE && total <= len;
    if !good || view.is_fragment() {
        return None;
    }
    let size = total.checked_sub(header)?;
    let protocol = view.protocol();
    let (src, dst) = (view.src().octets(), view.dst().octets());
    Some(Transport {
        protocol,
        start: header,
        size,
        pseudo: Sum::pseudo_v4(src, dst, protocol.0, size as u32),
    })
}

/// As [`over_ipv4`]. Behind a routing header the last destination is not in the fixed header, so
/// that such a packet's sum is not recognised.
#[inline]
fn over_ipv6(bytes: &[u8], len: usize) -> Option<Transport> {
    let view = Ipv6::new_unchecked(bytes);
    let payload = usize::from(view.payload_size());
    if view.first_word() >> 28 != 6 || ipv6::HEADER_SIZE + payload > len {
        return None;
    }
    let found = ipv6::walk(view.next(), bytes.get(ipv6::HEADER_SIZE..)?).ok()?;
    if found.fragment.is_some() {
        return None;
    }
    let size = payload.checked_sub(found.offset)?;
    let (src, dst) = (view.src().octets(), view.dst().octets());
    Some(Transport {
        protocol: found.protocol,
        start: ipv6::HEADER_SIZE + found.offset,
        size,
        pseudo: Sum::pseudo_v6(src, dst, found.protocol.0, size as u32),
    })
}

/// Computes the checksum of the `size` bytes of SCTP that begin at `start`, if it is missing.
#[cold]
fn finish_sctp(packet: &mut Packet, start: usize, size: usize) {
    let field = start + SCTP_CHECKSUM_AT..start + SCTP_CHECKSUM_AT + 4;
    if packet.head().get(field.clone()) != Some(&[0; 4]) {
        return;
    }
    let mut crc = 0;
    let mut left = size;
    let in_head = packet.head().get(start..).unwrap_or_default();
    let tail = packet.tail_segments().iter().map(|s| s.bytes());
    for piece in std::iter::once(in_head).chain(tail) {
        let bytes = piece.get(..left).unwrap_or(piece);
        crc = crc32c_append(crc, bytes);
        left -= bytes.len();
    }
    packet.head_mut()[field].copy_from_slice(&crc.to_le_bytes());
}

#[inline]
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use vswitch_packet::build::Builder;

    use super::*;
    use crate::buffer::{FramePool, HEADROOM, Segment, SharedFrames};
    use crate::offload::Offload;
    use crate::port::PortIndex;

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    /// What is recognised in a packet of the first `len` bytes, and the packet after that.
    fn recognised(bytes: &[u8], head: usize) -> (Checksum, Vec<u8>) {
        let mut pool = FramePool::new(SharedFrames::new(8, 0).expect("memory"));
        let mut frame = pool.chunk().expect("free");
        let range = HEADROOM..HEADROOM + head;
        frame.bytes_mut()[range.clone()].copy_from_slice(&bytes[..head]);
        let mut packet = Packet::new(frame, range, PortIndex(1), Offload::default());
        for piece in bytes[head..].chunks(3840) {
            let mut frame = pool.chunk().expect("free");
            frame.bytes_mut()[..piece.len()].copy_from_slice(piece);
            let segment = Segment::new(frame, 0..piece.len());
            packet.push_tail(segment, &mut pool).expect("room");
        }
        let csum = recognise(&mut packet, bytes.len());
        let after = packet.to_vec();
        pool.drop_packet(packet);
        (csum, after)
    }

    fn checksum_of(bytes: &[u8]) -> Checksum {
        recognised(bytes, bytes.len().min(3840)).0
    }

    fn eth() -> Builder {
        Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
    }

    /// Puts the pseudo header's sum into the checksum field at `field`, as a sender's stack does.
    fn begin(frame: &mut [u8], field: usize, pseudo: Sum) {
        frame[field..field + 2].copy_from_slice(&pseudo.folded().to_be_bytes());
    }

    #[test]
    fn a_whole_checksum_is_left_alone() {
        for frame in [
            eth().ipv4(A, B).tcp(1, 2, 0x10).payload(b"abc").build(),
            eth().ipv4(A, B).udp(1, 2).payload(b"abc").build(),
            eth().arp_request(A, B).build(),
        ] {
            assert_eq!(checksum_of(&frame), Checksum::Unknown);
        }
    }

    #[test]
    fn a_begun_checksum_is_recognised_behind_tags_and_padding() {
        let mut frame = eth().vlan(5).ipv4(A, B).udp(1, 2).payload(b"abc").build();
        begin(&mut frame, 18 + 20 + 6, Sum::pseudo_v4(A, B, 17, 11));
        frame.resize(64, 0);
        assert_eq!(
            checksum_of(&frame),
            Checksum::Partial {
                start: 38,
                offset: 6
            }
        );
    }

    #[test]
    fn the_length_is_that_of_the_packet_and_not_of_its_head() {
        let payload = vec![1; 8000];
        let mut frame = eth().ipv4(A, B).tcp(1, 2, 0x10).payload(&payload).build();
        begin(&mut frame, 14 + 20 + 16, Sum::pseudo_v4(A, B, 6, 8020));
        let csum = Checksum::Partial {
            start: 34,
            offset: 16,
        };
        assert_eq!(checksum_of(&frame), csum);
        // Cut off: the sender's packet is not what has arrived.
        assert_eq!(checksum_of(&frame[..3840]), Checksum::Unknown);
    }

    #[test]
    fn ipv6_is_recognised() {
        let (a, b) = (
            Ipv6Addr::LOCALHOST,
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
        );
        let mut frame = eth().ipv6(a, b).tcp(1, 2, 0x10).build();
        begin(
            &mut frame,
            14 + 40 + 16,
            Sum::pseudo_v6(a.octets(), b.octets(), 6, 20),
        );
        assert_eq!(
            checksum_of(&frame),
            Checksum::Partial {
                start: 54,
                offset: 16
            }
        );
    }

    #[test]
    fn a_fragment_is_never_begun() {
        let mut frame = eth().ipv4(A, B).udp(1, 2).payload(b"abc").build();
        begin(&mut frame, 34 + 6, Sum::pseudo_v4(A, B, 17, 11));
        frame[20] = 0x20;
        assert_eq!(checksum_of(&frame), Checksum::Unknown);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut frame = eth()
            .vlan(1)
            .ipv4(A, B)
            .tcp(1, 2, 0)
            .payload(b"abc")
            .build();
        for cut in 0..frame.len() {
            transport(&frame[..cut], cut);
        }
        for at in 0..frame.len() {
            for value in [0, 0x7f, 0xff] {
                let was = std::mem::replace(&mut frame[at], value);
                checksum_of(&frame);
                frame[at] = was;
            }
        }
    }

    #[test]
    fn a_missing_sctp_checksum_is_computed_over_head_and_tail() {
        let payload: Vec<u8> = (0..5000).map(|i| i as u8).collect();
        let mut begun = eth().ipv4(A, B).sctp(1, 2).payload(&payload).build();
        let field = 34 + SCTP_CHECKSUM_AT;
        begun[field..field + 4].fill(0);
        let sum = crc32c::crc32c(&begun[34..]).to_le_bytes();
        for head in [46, 47, 100, 3840] {
            let (csum, after) = recognised(&begun, head);
            assert_eq!(csum, Checksum::Unknown);
            assert_eq!(after[field..field + 4], sum);
            // A second look finds nothing to do.
            assert_eq!(recognised(&after, head).1, after);
        }
    }
}
