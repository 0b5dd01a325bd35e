//! Recognising a checksum that its sender has only begun.
//!
//! A stack on this machine leaves the transport checksum to its device: the field holds the sum of
//! the pseudo header. The kernel says so beside the packet, but XDP shows bytes alone. The value
//! itself tells: a field equal to the pseudo header's sum is such a beginning. One whole checksum in
//! 65536 looks the same; finishing it gives the same value again, since a packet whose checksum is
//! right sums, with its field taken as zero, to that very value.
//!
//! Never asked of a packet from a wire, where the checksum would vouch for damage.
//!
//! Spec: Documentation/networking/checksum-offloads.rst.

use vswitch_packet::checksum::Sum;
use vswitch_packet::ipv4::Ipv4;
use vswitch_packet::ipv6::{self, Ipv6};
use vswitch_packet::{EtherType, Protocol};

use crate::offload::Checksum;

/// Bytes of the Ethernet header up to its type.
const ETHERTYPE_AT: usize = 12;
const VLAN_TAG_SIZE: usize = 4;
/// Tags in front of a packet whose checksum is looked at.
const MAX_TAGS: usize = 2;

/// What `head`, the first bytes of a packet of `len`, says of its checksum.
#[inline]
pub(super) fn recognise(head: &[u8], len: usize) -> Checksum {
    begun(head, len).unwrap_or(Checksum::Unknown)
}

#[inline]
fn begun(head: &[u8], len: usize) -> Option<Checksum> {
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
    let (protocol, transport, pseudo) = match ethertype {
        EtherType::IPV4 => ipv4(bytes, len - network)?,
        EtherType::IPV6 => ipv6(bytes, len - network)?,
        _ => return None,
    };
    let offset = match protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        _ => return None,
    };
    let start = network + transport;
    if be16(head, start + offset)? != pseudo.folded() {
        return None;
    }
    Some(Checksum::Partial {
        start: u16::try_from(start).ok()?,
        offset: offset as u16,
    })
}

/// Protocol, where its header begins, and the pseudo header's sum. `len` bytes follow, of which
/// `bytes` are here.
#[inline]
fn ipv4(bytes: &[u8], len: usize) -> Option<(Protocol, usize, Sum)> {
    // Checked by hand: the packet may be longer than its head.
    let view = Ipv4::new_unchecked(bytes);
    let (header, total) = (view.header_size(), usize::from(view.total_size()));
    if view.version_ihl() >> 4 != 4 || header < 20 || view.is_fragment() || total > len {
        return None;
    }
    let size = total.checked_sub(header)? as u32;
    let protocol = view.protocol();
    let (src, dst) = (view.src().octets(), view.dst().octets());
    let pseudo = Sum::pseudo_v4(src, dst, protocol.0, size);
    Some((protocol, header, pseudo))
}

/// As [`ipv4`]. Behind a routing header the last destination is not in the fixed header, so that
/// such a packet is not recognised.
#[inline]
fn ipv6(bytes: &[u8], len: usize) -> Option<(Protocol, usize, Sum)> {
    let view = Ipv6::new_unchecked(bytes);
    let payload = usize::from(view.payload_size());
    if view.first_word() >> 28 != 6 || ipv6::HEADER_SIZE + payload > len {
        return None;
    }
    let found = ipv6::walk(view.next(), bytes.get(ipv6::HEADER_SIZE..)?).ok()?;
    if found.fragment.is_some() {
        return None;
    }
    let size = payload.checked_sub(found.offset)? as u32;
    let (src, dst) = (view.src().octets(), view.dst().octets());
    let pseudo = Sum::pseudo_v6(src, dst, found.protocol.0, size);
    Some((found.protocol, ipv6::HEADER_SIZE + found.offset, pseudo))
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

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

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
            assert_eq!(recognise(&frame, frame.len()), Checksum::Unknown);
        }
    }

    #[test]
    fn a_begun_checksum_is_recognised_behind_tags_and_padding() {
        let mut frame = eth().vlan(5).ipv4(A, B).udp(1, 2).payload(b"abc").build();
        begin(&mut frame, 18 + 20 + 6, Sum::pseudo_v4(A, B, 17, 11));
        frame.resize(64, 0);
        assert_eq!(
            recognise(&frame, 64),
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
        assert_eq!(recognise(&frame[..3840], frame.len()), csum);
        // Cut off: the sender's packet is not what has arrived.
        assert_eq!(recognise(&frame[..3840], 3840), Checksum::Unknown);
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
            recognise(&frame, frame.len()),
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
        assert_eq!(recognise(&frame, frame.len()), Checksum::Unknown);
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
            recognise(&frame[..cut], cut);
        }
        for at in 0..frame.len() {
            for value in [0, 0x7f, 0xff] {
                let was = std::mem::replace(&mut frame[at], value);
                recognise(&frame, frame.len());
                frame[at] = was;
            }
        }
    }
}
