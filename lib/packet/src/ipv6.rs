//! IPv6 headers and the walk over extension headers.
//!
//! The walk is bounded twice: by the bytes that are there and by [`MAX_EXTENSIONS`], so that a
//! crafted chain costs no more than a few dozen instructions. Spec: RFC 8200, RFC 4302 (AH),
//! RFC 6946 (atomic fragments).

use std::fmt;
use std::net::Ipv6Addr;

use crate::header::{Malformed, Wire, header};
use crate::ipv4::Protocol;

/// Extension headers that the walk goes over. RFC 8200 §4.1 names six that may stand in a packet,
/// destination options twice; hosts do not send more than a few.
pub const MAX_EXTENSIONS: usize = 16;

/// The group that those listen to who have an address (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

header! {
    /// A packet.
    Ipv6, size 40;
    /// Version, traffic class and flow label.
    first_word, set_first_word: u32 = 0;
    /// Bytes after the header, extension headers included.
    payload_size, set_payload_size: u16 = 4;
    /// The next header field.
    next_field, set_next_field: u8 = 6;
    /// Hop limit.
    hop_limit, set_hop_limit: u8 = 7;
    /// Source address.
    src, set_src: Ipv6Addr = 8;
    /// Destination address.
    dst, set_dst: Ipv6Addr = 24;
}

impl<T: AsRef<[u8]>> Ipv6<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        if self.first_word() >> 28 != 6 {
            return Err(Malformed::Version);
        }
        if HEADER_SIZE + usize::from(self.payload_size()) > self.bytes().len() {
            return Err(Malformed::Length);
        }
        Ok(())
    }

    /// DSCP and ECN.
    #[inline]
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (self.first_word() >> 20) as u8
    }

    /// Flow label, 20 bits.
    #[inline]
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        self.first_word() & 0xf_ffff
    }

    /// The first header after this one.
    #[inline]
    #[must_use]
    pub fn next(&self) -> Protocol {
        Protocol(self.next_field())
    }

    /// The bytes after the header, without what only fills up the frame.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let end = HEADER_SIZE + usize::from(self.payload_size());
        self.bytes().get(HEADER_SIZE..end).unwrap_or_default()
    }

    /// Walks over the extension headers.
    ///
    /// # Errors
    /// A chain that is cut off or too long.
    #[inline]
    pub fn extensions(&self) -> Result<Extensions, Malformed> {
        walk(self.next(), self.payload())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv6<T> {
    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, value: u8) {
        let rest = self.first_word() & !(0xff << 20);
        self.set_first_word(rest | u32::from(value) << 20);
    }

    /// Sets the flow label to the low 20 bits of `value`.
    #[inline]
    pub fn set_flow_label(&mut self, value: u32) {
        let rest = self.first_word() & !0xf_ffff;
        self.set_first_word(rest | value & 0xf_ffff);
    }
}

/// What the extension headers of a packet lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// The header behind them. [`Protocol::FRAGMENT`] for a later fragment, whose first header
    /// says nothing about its bytes.
    pub protocol: Protocol,
    /// Where that header begins, bytes after the IPv6 header.
    pub offset: usize,
    /// Set when the packet is a piece of a larger one.
    pub fragment: Option<Fragment>,
}

/// A fragment header's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where the piece lies in the unfragmented payload, bytes.
    pub offset: u16,
    /// More pieces follow.
    pub more: bool,
    /// Which packet it is a piece of.
    pub ident: u32,
}

/// Walks over the extension headers at the start of `payload`, the first of which is `next`.
///
/// An atomic fragment (RFC 6946) is no fragment.
///
/// # Errors
/// A header that the bytes cut off, or more than [`MAX_EXTENSIONS`].
#[inline]
pub fn walk(next: Protocol, payload: &[u8]) -> Result<Extensions, Malformed> {
    let mut found = Extensions {
        protocol: next,
        offset: 0,
        fragment: None,
    };
    if !is_extension(next) {
        return Ok(found);
    }
    walk_on(&mut found, payload).map(|()| found)
}

#[inline]
const fn is_extension(protocol: Protocol) -> bool {
    matches!(
        protocol,
        Protocol::HOP_BY_HOP
            | Protocol::ROUTING
            | Protocol::DESTINATION
            | Protocol::AH
            | Protocol::FRAGMENT
    )
}

#[inline(never)]
fn walk_on(found: &mut Extensions, payload: &[u8]) -> Result<(), Malformed> {
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(found.protocol) {
            return Ok(());
        }
        let rest = payload.get(found.offset..).unwrap_or_default();
        let Some(&[next, units, _, _, _, _, _, _]) = rest.first_chunk::<8>() else {
            return Err(Malformed::Short);
        };
        let size = match found.protocol {
            Protocol::AH => (usize::from(units) + 2) * 4,
            Protocol::FRAGMENT => 8,
            _ => (usize::from(units) + 1) * 8,
        };
        if size > rest.len() {
            return Err(Malformed::Short);
        }
        if found.protocol == Protocol::FRAGMENT {
            let word = u16::read(rest, 2);
            // The two reserved bits between offset and flag say nothing.
            let (offset, more) = (word & 0xfff8, word & 1 == 1);
            if offset != 0 || more {
                found.fragment = Some(Fragment {
                    offset,
                    more,
                    ident: u32::read(rest, 4),
                });
            }
            if offset != 0 {
                found.offset += size;
                return Ok(());
            }
        }
        found.protocol = Protocol(next);
        found.offset += size;
    }
    if is_extension(found.protocol) {
        return Err(Malformed::Length);
    }
    Ok(())
}

/// The values of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// The header that follows.
    pub next: Protocol,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes after the header.
    pub payload_size: u16,
}

impl Repr {
    /// The values of a packet.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Ipv6<T>) -> Self {
        Self {
            src: view.src(),
            dst: view.dst(),
            next: view.next(),
            hop_limit: view.hop_limit(),
            traffic_class: view.traffic_class(),
            flow_label: view.flow_label(),
            payload_size: view.payload_size(),
        }
    }

    /// Writes the header.
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut view = Ipv6::new_unchecked(bytes);
        view.set_first_word(6 << 28);
        view.set_traffic_class(self.traffic_class);
        view.set_flow_label(self.flow_label);
        view.set_payload_size(self.payload_size);
        view.set_next_field(self.next.0);
        view.set_hop_limit(self.hop_limit);
        view.set_src(self.src);
        view.set_dst(self.dst);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Ipv6<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} > {} {} hop limit {} size {}",
            self.src(),
            self.dst(),
            self.next(),
            self.hop_limit(),
            self.payload_size()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A router solicitation's header, hop-by-hop options before the message.
    const PACKET: [u8; 48] = [
        0x6b, 0x81, 0x23, 0x45, 0x00, 0x08, 0x00, 0xff, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x00, 0x42,
        0xac, 0xff, 0xfe, 0x11, 0x00, 0x02, 0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0x02, 0x3a, 0x00, 0x05, 0x02, 0x00, 0x00, 0x01, 0x00,
    ];

    #[test]
    fn deconstruct() {
        let ip = Ipv6::new_checked(&PACKET).unwrap();
        assert_eq!((ip.traffic_class(), ip.flow_label()), (0xb8, 0x12345));
        assert_eq!(ip.dst(), "ff02::2".parse::<Ipv6Addr>().unwrap());
        let found = ip.extensions().unwrap();
        assert_eq!((found.protocol, found.offset), (Protocol::ICMPV6, 8));
        assert_eq!(found.fragment, None);
    }

    #[test]
    fn round_trip() {
        let mut bytes = [0; 40];
        Repr::parse(&Ipv6::new_checked(&PACKET).unwrap()).emit(&mut bytes);
        assert_eq!(bytes, PACKET[..40]);
    }

    #[test]
    fn short_impossible_or_another_version() {
        assert_eq!(Ipv6::new_checked(&PACKET[..39]), Err(Malformed::Short));
        assert_eq!(Ipv6::new_checked(&PACKET[..47]), Err(Malformed::Length));
        let mut other = PACKET;
        other[0] = 0x4b;
        assert_eq!(Ipv6::new_checked(other), Err(Malformed::Version));
    }

    #[test]
    fn the_walk_goes_over_every_kind_of_extension() {
        let mut bytes = Vec::new();
        bytes.extend([43, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([51, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([
            44, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
        ]);
        bytes.extend([6, 0, 0x00, 0x01, 0xde, 0xad, 0xbe, 0xef]);
        let found = walk(Protocol::HOP_BY_HOP, &bytes).unwrap();
        assert_eq!((found.protocol, found.offset), (Protocol::TCP, bytes.len()));
        let fragment = found.fragment.unwrap();
        assert_eq!((fragment.offset, fragment.more), (0, true));
        assert_eq!(fragment.ident, 0xdead_beef);
        for len in 0..bytes.len() {
            assert_eq!(
                walk(Protocol::HOP_BY_HOP, &bytes[..len]),
                Err(Malformed::Short)
            );
        }
    }

    #[test]
    fn a_later_fragment_hides_its_protocol_and_an_atomic_one_is_none() {
        let later = walk(Protocol::FRAGMENT, &[17, 0, 0x05, 0xa8, 0, 0, 0, 7]).unwrap();
        assert_eq!(later.protocol, Protocol::FRAGMENT);
        assert_eq!(later.fragment.unwrap().offset, 1448);
        let atomic = walk(Protocol::FRAGMENT, &[17, 0, 0, 0, 0, 0, 0, 7]).unwrap();
        assert_eq!((atomic.protocol, atomic.fragment), (Protocol::UDP, None));
    }

    #[test]
    fn a_chain_longer_than_any_host_sends_is_refused() {
        let chain = |len: usize| {
            let mut bytes = [60, 0, 0, 0, 0, 0, 0, 0].repeat(len - 1);
            bytes.extend([17, 0, 0, 0, 0, 0, 0, 0]);
            walk(Protocol::DESTINATION, &bytes)
        };
        assert_eq!(chain(MAX_EXTENSIONS).unwrap().protocol, Protocol::UDP);
        assert_eq!(chain(MAX_EXTENSIONS + 1), Err(Malformed::Length));
    }
}
