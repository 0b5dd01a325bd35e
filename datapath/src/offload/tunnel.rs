//! Finding the tunnel around a super-frame whose metadata does not speak of one.
//!
//! `struct virtio_net_hdr` in its short form, all that packet sockets have, names the inner
//! protocol and where the inner sum begins, and leaves the tunnel out (`virtio_net_hdr_from_skb`).
//! The inner IP header must end where the inner transport header begins and must tell the packet's
//! own length; that finds it whatever the tunnel's own header looks like.

use vswitch_packet::{Protocol, ipv4, ipv6, udp};

use super::layout::{self, Family};
use super::{Checksum, Gso, GsoKind, Tunnel};

/// The metadata cannot be brought together with the packet's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

/// The tunnel around a super-frame of `size` bytes with this metadata, if it is in one. `head` holds
/// all its headers.
///
/// # Errors
/// [`Unknown`] when the sum begins behind the outermost transport header and there is no UDP
/// tunnel to explain it.
pub fn find(head: &[u8], size: usize, csum: Checksum, gso: Gso) -> Result<Option<Tunnel>, Unknown> {
    let Checksum::Partial { start, .. } = csum else {
        return Ok(None);
    };
    let outer = layout::read(head).ok_or(Unknown)?;
    let start = usize::from(start);
    if outer.transport == start {
        return Ok(None);
    }
    let inner = match gso.kind {
        GsoKind::Tcp4 => inner_v4(head, size, start, Protocol::TCP),
        GsoKind::Tcp6 => inner_v6(head, size, start, Protocol::TCP),
        GsoKind::Udp => inner_v4(head, size, start, Protocol::UDP)
            .or_else(|| inner_v6(head, size, start, Protocol::UDP)),
    };
    let inner = inner.ok_or(Unknown)?;
    let header = head.get(outer.transport..).ok_or(Unknown)?;
    if outer.protocol != Protocol::UDP || outer.transport + udp::HEADER_SIZE > inner {
        return Err(Unknown);
    }
    Ok(Some(Tunnel {
        outer_transport: outer.transport as u16,
        inner_network: inner as u16,
        is_v6: outer.family == Family::Ipv6,
        csum: udp::Udp::new_unchecked(header).checksum() != 0,
    }))
}

/// Where an IPv4 header begins that ends at `end` and reaches to the packet's.
fn inner_v4(head: &[u8], size: usize, end: usize, protocol: Protocol) -> Option<usize> {
    (ipv4::HEADER_SIZE..=60)
        .step_by(4)
        .filter_map(|header_size| end.checked_sub(header_size))
        .find(|&at| {
            let Some(bytes) = head.get(at..end) else {
                return false;
            };
            let view = ipv4::Ipv4::new_unchecked(bytes);
            view.version_ihl() >> 4 == 4
                && view.header_size() == bytes.len()
                && view.protocol() == protocol
                && at + usize::from(view.total_size()) == size
        })
}

/// Where an IPv6 header without extensions begins that ends at `end` and reaches to the packet's.
fn inner_v6(head: &[u8], size: usize, end: usize, protocol: Protocol) -> Option<usize> {
    let at = end.checked_sub(ipv6::HEADER_SIZE)?;
    let view = ipv6::Ipv6::new_unchecked(head.get(at..end)?);
    let fits = view.first_word() >> 28 == 6
        && view.next() == protocol
        && end + usize::from(view.payload_size()) == size;
    fits.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_packet::build::Builder;

    const GSO: Gso = Gso {
        kind: GsoKind::Tcp4,
        size: 1398,
        ecn: false,
        tunnel: None,
    };

    fn sum_from(start: usize) -> Checksum {
        Checksum::Partial {
            start: start as u16,
            offset: 16,
        }
    }

    fn inner() -> Vec<u8> {
        Builder::eth([2, 0, 0, 0, 0, 3], [2, 0, 0, 0, 0, 4])
            .ipv4([10, 9, 0, 1], [10, 9, 0, 2])
            .tcp(7, 8, 0x10)
            .payload(&[5; 4000])
            .build()
    }

    fn vxlan(udp_checksum: bool) -> Vec<u8> {
        let payload = [&[8, 0, 0, 0, 0, 0, 7, 0], &inner()[..]].concat();
        let mut frame = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .vlan(9)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
            .udp(33_000, 4789)
            .payload(&payload)
            .build();
        if !udp_checksum {
            frame[44..46].fill(0);
        }
        frame
    }

    #[test]
    fn the_tunnel_is_found_behind_tags_and_before_the_inner_sum() {
        for csum in [false, true] {
            let frame = vxlan(csum);
            let found = find(
                &frame,
                frame.len(),
                sum_from(18 + 20 + 8 + 8 + 14 + 20),
                GSO,
            );
            let expected = Tunnel {
                outer_transport: 38,
                inner_network: 68,
                is_v6: false,
                csum,
            };
            assert_eq!(found, Ok(Some(expected)));
        }
    }

    #[test]
    fn a_super_frame_in_no_tunnel_has_none() {
        let frame = inner();
        assert_eq!(find(&frame, frame.len(), sum_from(34), GSO), Ok(None));
    }

    #[test]
    fn a_sum_that_begins_anywhere_else_is_unknown() {
        let frame = vxlan(true);
        for start in (0..200).filter(|&start| start != 38 && start != 88) {
            let found = find(&frame, frame.len(), sum_from(start), GSO);
            assert_eq!(found, Err(Unknown), "{start}");
        }
        let other = Gso {
            kind: GsoKind::Tcp6,
            ..GSO
        };
        assert_eq!(find(&frame, frame.len(), sum_from(88), other), Err(Unknown));
        for len in 0..88 {
            assert!(find(&frame[..len], frame.len(), sum_from(88), GSO).is_err());
        }
    }
}
