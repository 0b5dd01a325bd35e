//! `struct virtio_net_hdr` to [`Offload`] and back: the one place that knows its bytes.
//!
//! TAP devices and packet sockets put it before every packet. Bytes in, typed value out; a header
//! that contradicts itself or the packet is [`Malformed`].
//!
//! Law: what is decoded from a packet can be relied on as far as the packet's head goes: a partial
//! checksum's field lies in the head, a super-frame's segment size is not 0.
//!
//! Spec: include/uapi/linux/virtio_net.h and include/linux/virtio_net.h; the byte order is the
//! host's (legacy virtio, as tun and packet sockets use it unless told otherwise).

use crate::offload::{Checksum, Gso, GsoKind, Offload, Tunnel};

/// Bytes of the header, and where its longer form (`struct virtio_net_hdr_v1_hash_tunnel`) tells of
/// a tunnel.
const SIZE: usize = 10;
const TUNNEL_AT: usize = 20;
const TUNNEL_SIZE: usize = 24;

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const F_UDP_TUNNEL_CSUM: u8 = 8;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_UDP_TUNNEL_IPV4: u8 = 0x20;
const GSO_UDP_TUNNEL_IPV6: u8 = 0x40;
const GSO_ECN: u8 = 0x80;

/// Bits of the type that say something more of a kind.
const GSO_MODIFIERS: u8 = GSO_UDP_TUNNEL_IPV4 | GSO_UDP_TUNNEL_IPV6 | GSO_ECN;

/// The header makes no sense, alone or for its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads the header of a packet whose head has `head_size` bytes.
///
/// # Errors
/// [`Malformed`], also for the kinds of super-frame that nobody has asked the kernel for.
#[inline]
pub(super) fn decode<const N: usize>(
    header: &[u8; N],
    head_size: usize,
) -> Result<Offload, Malformed> {
    const { assert!(N == SIZE || N == TUNNEL_SIZE) };
    let (flags, gso_type) = (header[0], header[1]);
    // By far the most packets of a quiet port: nothing unfinished.
    if flags == 0 && gso_type == GSO_NONE {
        return Ok(Offload::default());
    }
    let u16_at = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let csum = if flags & F_NEEDS_CSUM != 0 {
        let (start, offset) = (u16_at(6), u16_at(8));
        if usize::from(start) + usize::from(offset) + 2 > head_size {
            return Err(Malformed);
        }
        Checksum::Partial { start, offset }
    } else if flags & F_DATA_VALID != 0 {
        Checksum::Valid
    } else {
        Checksum::Unknown
    };
    let kind = match gso_type & !GSO_MODIFIERS {
        GSO_NONE => return Ok(Offload { csum, gso: None }),
        GSO_TCPV4 => GsoKind::Tcp4,
        GSO_TCPV6 => GsoKind::Tcp6,
        GSO_UDP_L4 => GsoKind::Udp,
        _ => return Err(Malformed),
    };
    let size = u16_at(4);
    if size == 0 {
        return Err(Malformed);
    }
    let tunnel = match gso_type & (GSO_UDP_TUNNEL_IPV4 | GSO_UDP_TUNNEL_IPV6) {
        0 => None,
        _ => Some(decode_tunnel(header, csum)?),
    };
    let ecn = gso_type & GSO_ECN != 0;
    Ok(Offload {
        csum,
        gso: Some(Gso {
            kind,
            size,
            ecn,
            tunnel,
        }),
    })
}

/// The tunnel of a super-frame: only in the longer header, and only around a partial checksum.
fn decode_tunnel(header: &[u8], csum: Checksum) -> Result<Tunnel, Malformed> {
    let (Some([a, b, c, d]), Checksum::Partial { start, .. }) = (
        header
            .get(TUNNEL_AT..)
            .and_then(|rest| rest.first_chunk().copied()),
        csum,
    ) else {
        return Err(Malformed);
    };
    // These two are little-endian on every machine.
    let outer_transport = u16::from_le_bytes([a, b]);
    let inner_network = u16::from_le_bytes([c, d]);
    let is_v6 = match header[1] & (GSO_UDP_TUNNEL_IPV4 | GSO_UDP_TUNNEL_IPV6) {
        GSO_UDP_TUNNEL_IPV4 => false,
        GSO_UDP_TUNNEL_IPV6 => true,
        _ => return Err(Malformed),
    };
    if outer_transport >= inner_network || inner_network >= start {
        return Err(Malformed);
    }
    Ok(Tunnel {
        outer_transport,
        inner_network,
        is_v6,
        csum: header[0] & F_UDP_TUNNEL_CSUM != 0,
    })
}

/// Writes the header for a packet with `offload` whose first bytes are `head`.
#[inline]
#[must_use]
pub(super) fn encode<const N: usize>(offload: &Offload, head: &[u8]) -> [u8; N] {
    const { assert!(N == SIZE || N == TUNNEL_SIZE) };
    let mut header = [0; N];
    match offload.csum {
        Checksum::Unknown => {}
        Checksum::Valid => header[0] = F_DATA_VALID,
        Checksum::Partial { start, offset } => {
            header[0] = F_NEEDS_CSUM;
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            header[8..10].copy_from_slice(&offset.to_ne_bytes());
        }
    }
    if let Some(gso) = offload.gso {
        header[1] = match gso.kind {
            GsoKind::Tcp4 => GSO_TCPV4,
            GsoKind::Tcp6 => GSO_TCPV6,
            GsoKind::Udp => GSO_UDP_L4,
        };
        if gso.ecn {
            header[1] |= GSO_ECN;
        }
        header[2..4].copy_from_slice(&header_len(offload.csum, gso.kind, head).to_ne_bytes());
        header[4..6].copy_from_slice(&gso.size.to_ne_bytes());
        if let Some(tunnel) = gso.tunnel
            && let Some(place) = header.get_mut(TUNNEL_AT..TUNNEL_SIZE)
        {
            place[..2].copy_from_slice(&tunnel.outer_transport.to_le_bytes());
            place[2..].copy_from_slice(&tunnel.inner_network.to_le_bytes());
            header[1] |= if tunnel.is_v6 {
                GSO_UDP_TUNNEL_IPV6
            } else {
                GSO_UDP_TUNNEL_IPV4
            };
            if tunnel.csum {
                header[0] |= F_UDP_TUNNEL_CSUM;
            }
        }
    }
    header
}

/// Bytes that the kernel should put into the linear part of its buffer: all headers. 0, which
/// leaves it to the kernel, when they cannot be told. Without it a super-frame is copied into one
/// large block of memory instead of pages.
fn header_len(csum: Checksum, kind: GsoKind, head: &[u8]) -> u16 {
    let Checksum::Partial { start, .. } = csum else {
        return 0;
    };
    let transport_len = match kind {
        GsoKind::Udp => 8,
        GsoKind::Tcp4 | GsoKind::Tcp6 => match head.get(usize::from(start) + 12) {
            Some(data_offset) => u16::from(data_offset >> 4) * 4,
            None => return 0,
        },
    };
    match start.checked_add(transport_len) {
        Some(len) if usize::from(len) <= head.len() => len,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a 6.18 kernel puts before a TCP super-frame from a TAP: NEEDS_CSUM, TCPV4, 66 bytes of
    /// headers, 1448 bytes a segment, sum from byte 34, field 16 bytes on.
    #[cfg(target_endian = "little")]
    const TCP4: [u8; SIZE] = [1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0];

    fn tcp4() -> Offload {
        Offload {
            csum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            gso: Some(Gso {
                kind: GsoKind::Tcp4,
                size: 1448,
                ecn: false,
                tunnel: None,
            }),
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_super_frame_is_read_and_written_as_the_kernel_does() {
        assert_eq!(decode(&TCP4, 2000), Ok(tcp4()));
        let mut head = [0; 100];
        head[34 + 12] = 0x80;
        assert_eq!(encode::<SIZE>(&tcp4(), &head), TCP4);
    }

    #[test]
    fn every_offload_survives_the_round_trip() {
        let head = [0x50; 200];
        let csums = [
            Checksum::Unknown,
            Checksum::Valid,
            Checksum::Partial {
                start: 58,
                offset: 6,
            },
        ];
        for csum in csums {
            for kind in [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp] {
                for ecn in [false, true] {
                    let mut gso = Gso {
                        kind,
                        size: 1200,
                        ecn,
                        tunnel: None,
                    };
                    for gso in [Some(gso), None] {
                        let offload = Offload { csum, gso };
                        let header: [u8; SIZE] = encode(&offload, &head);
                        assert_eq!(decode(&header, head.len()), Ok(offload));
                        let header: [u8; TUNNEL_SIZE] = encode(&offload, &head);
                        assert_eq!(decode(&header, head.len()), Ok(offload));
                    }
                    for (is_v6, has_csum) in [(false, false), (false, true), (true, true)] {
                        gso.tunnel = Some(Tunnel {
                            outer_transport: 14,
                            inner_network: 38,
                            is_v6,
                            csum: has_csum,
                        });
                        let gso = Some(gso);
                        let offload = Offload { csum, gso };
                        let header: [u8; TUNNEL_SIZE] = encode(&offload, &head);
                        let is_partial = matches!(csum, Checksum::Partial { .. });
                        let expected = if is_partial {
                            Ok(offload)
                        } else {
                            Err(Malformed)
                        };
                        assert_eq!(decode(&header, head.len()), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn a_checksum_field_outside_the_head_is_malformed() {
        let mut head = [0; 100];
        head[34 + 12] = 0x80;
        let header: [u8; SIZE] = encode(&tcp4(), &head);
        assert_eq!(decode(&header, 34 + 16 + 2), Ok(tcp4()));
        assert_eq!(decode(&header, 34 + 16 + 1), Err(Malformed));
    }

    #[test]
    fn unknown_kinds_and_segments_of_nothing_are_malformed() {
        let mut header: [u8; SIZE] = encode(&tcp4(), &[0; 100]);
        header[4..6].fill(0);
        assert_eq!(decode(&header, 100), Err(Malformed));
        for kind in [2, 3, 6, 0x21, 0x41, 0x7f] {
            let mut header: [u8; SIZE] = encode(&tcp4(), &[0; 100]);
            header[1] = kind;
            assert_eq!(decode(&header, 100), Err(Malformed), "{kind:#x}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for seed in 0..=u16::MAX {
            let [a, b] = seed.to_ne_bytes();
            let header = [a, b, b, a, a, b, b, a, b, b];
            let _ = decode(&header, usize::from(b));
        }
    }

    #[test]
    fn the_header_length_is_left_open_when_it_leaves_the_head() {
        let mut head = [0xf0; 60];
        assert_eq!(&encode::<SIZE>(&tcp4(), &head)[2..4], &[0, 0]);
        head[34 + 12] = 0x50;
        let header: [u8; SIZE] = encode(&tcp4(), &head);
        assert_eq!(u16::from_ne_bytes([header[2], header[3]]), 54);
    }
}
