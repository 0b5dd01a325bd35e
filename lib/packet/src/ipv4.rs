//! IPv4 headers.
//!
//! Not for reassembly: a fragment is shown as what it is. Spec: RFC 791, RFC 6864 (identification),
//! IANA "Protocol Numbers".

use std::fmt;
use std::net::Ipv4Addr;

use crate::checksum::{self, Sum};
use crate::header::{Malformed, header};

/// What an IP header is followed by. Unknown values stay what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// IPv6 routing header.
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Self = Self(44);
    /// Authentication header.
    pub const AH: Self = Self(51);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// Nothing follows an IPv6 header.
    pub const NONE: Self = Self(59);
    /// IPv6 destination options.
    pub const DESTINATION: Self = Self(60);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// UDP-Lite.
    pub const UDPLITE: Self = Self(136);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.write_str("ICMP"),
            Self::TCP => f.write_str("TCP"),
            Self::UDP => f.write_str("UDP"),
            Self::ICMPV6 => f.write_str("ICMPv6"),
            Self::SCTP => f.write_str("SCTP"),
            Self(other) => write!(f, "protocol {other}"),
        }
    }
}

/// Flag in [`Ipv4::fragment`]: routers may not cut the packet.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// Flag in [`Ipv4::fragment`]: this is not the last piece.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// The offset in [`Ipv4::fragment`], in units of 8 bytes.
pub const OFFSET_MASK: u16 = 0x1fff;

header! {
    /// A packet.
    Ipv4, size 20;
    /// Version and header length in 32-bit words.
    version_ihl, set_version_ihl: u8 = 0;
    /// DSCP and ECN.
    tos, set_tos: u8 = 1;
    /// Bytes of the packet, header included.
    total_size, set_total_size: u16 = 2;
    /// Which packet a fragment is of.
    ident, set_ident: u16 = 4;
    /// Flags and fragment offset.
    fragment, set_fragment: u16 = 6;
    /// Time to live.
    ttl, set_ttl: u8 = 8;
    /// The protocol field.
    protocol_field, set_protocol_field: u8 = 9;
    /// Checksum of the header.
    checksum, set_checksum: u16 = 10;
    /// Source address.
    src, set_src: Ipv4Addr = 12;
    /// Destination address.
    dst, set_dst: Ipv4Addr = 16;
}

impl<T: AsRef<[u8]>> Ipv4<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        if self.version_ihl() >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let (header, total) = (self.header_size(), usize::from(self.total_size()));
        if header < HEADER_SIZE || total < header || total > self.bytes().len() {
            return Err(Malformed::Length);
        }
        Ok(())
    }

    /// Bytes of the header with options.
    #[inline]
    #[must_use]
    pub fn header_size(&self) -> usize {
        usize::from(self.version_ihl() & 0xf) * 4
    }

    /// What follows the header.
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        Protocol(self.protocol_field())
    }

    /// Whether the packet is a piece of a larger one.
    #[inline]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.fragment() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Where the payload lies in the unfragmented packet's, bytes.
    #[inline]
    #[must_use]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.fragment() & OFFSET_MASK) * 8
    }

    /// Options, as bytes.
    #[inline]
    #[must_use]
    pub fn options(&self) -> &[u8] {
        self.bytes()
            .get(HEADER_SIZE..self.header_size())
            .unwrap_or_default()
    }

    /// The bytes after the header, without what only fills up the frame.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes()
            .get(self.header_size()..usize::from(self.total_size()))
            .unwrap_or_default()
    }

    /// Whether the header's checksum is right.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let mut sum = Sum::new();
        sum.add(self.bytes().get(..self.header_size()).unwrap_or_default());
        sum.is_whole()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv4<T> {
    /// Computes the header's checksum.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let header = self.bytes().get(..self.header_size()).unwrap_or_default();
        let sum = checksum::checksum(header);
        self.set_checksum(sum);
    }
}

/// The values of a header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// What follows.
    pub protocol: Protocol,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Which packet a fragment is of.
    pub ident: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Bytes after the header.
    pub payload_size: u16,
}

impl Repr {
    /// The values of a packet, its options left out.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Ipv4<T>) -> Self {
        Self {
            src: view.src(),
            dst: view.dst(),
            protocol: view.protocol(),
            ttl: view.ttl(),
            tos: view.tos(),
            ident: view.ident(),
            fragment: view.fragment(),
            payload_size: view.payload().len() as u16,
        }
    }

    /// Writes the header, checksum included.
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut view = Ipv4::new_unchecked(bytes);
        view.set_version_ihl(0x45);
        view.set_tos(self.tos);
        view.set_total_size(self.payload_size.saturating_add(HEADER_SIZE as u16));
        view.set_ident(self.ident);
        view.set_fragment(self.fragment);
        view.set_ttl(self.ttl);
        view.set_protocol_field(self.protocol.0);
        view.set_src(self.src);
        view.set_dst(self.dst);
        view.fill_checksum();
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Ipv4<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} > {} {} ttl {} size {}",
            self.src(),
            self.dst(),
            self.protocol(),
            self.ttl(),
            self.total_size()
        )?;
        if self.is_fragment() {
            write!(
                f,
                " fragment {} at {}",
                self.ident(),
                self.fragment_offset()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 24] = [
        0x45, 0x00, 0x00, 0x18, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x11, 0x9c, 0x6f, 0xac, 0x10, 0x0a,
        0x63, 0xac, 0x10, 0x0a, 0x0c, 0xaa, 0xbb, 0xcc, 0xdd,
    ];

    #[test]
    fn deconstruct() {
        let ip = Ipv4::new_checked(&PACKET).unwrap();
        assert_eq!(ip.src(), Ipv4Addr::new(172, 16, 10, 99));
        assert_eq!(ip.fragment(), DONT_FRAGMENT);
        assert!(!ip.is_fragment() && ip.options().is_empty());
        assert_eq!(ip.payload(), [0xaa, 0xbb, 0xcc, 0xdd]);
        assert_eq!(
            ip.to_string(),
            "172.16.10.99 > 172.16.10.12 UDP ttl 64 size 24"
        );
    }

    #[test]
    fn padding_is_not_payload() {
        let mut padded = PACKET.to_vec();
        padded.extend([0; 22]);
        assert_eq!(Ipv4::new_checked(&padded).unwrap().payload().len(), 4);
    }

    #[test]
    fn checksum() {
        let mut packet = PACKET;
        let mut ip = Ipv4::new_checked(&mut packet[..]).unwrap();
        ip.fill_checksum();
        assert!(ip.is_whole());
        ip.set_ttl(63);
        assert!(!ip.is_whole());
        let sum = checksum::update(ip.checksum(), 0x4011, 0x3f11);
        ip.set_checksum(sum);
        assert!(ip.is_whole());
    }

    #[test]
    fn round_trip() {
        let mut bytes = [0; 20];
        let repr = Repr::parse(&Ipv4::new_checked(&PACKET).unwrap());
        repr.emit(&mut bytes);
        assert_eq!(bytes[..10], PACKET[..10]);
        assert_eq!(bytes[12..], PACKET[12..20]);
    }

    #[test]
    fn impossible_lengths() {
        for (at, value, error) in [
            (0, 0x44, Malformed::Length),
            (0, 0x47, Malformed::Length),
            (0, 0x65, Malformed::Version),
            (3, 19, Malformed::Length),
            (3, 25, Malformed::Length),
        ] {
            let mut packet = PACKET;
            packet[at] = value;
            assert_eq!(Ipv4::new_checked(packet), Err(error), "byte {at} = {value}");
        }
        assert_eq!(Ipv4::new_checked(&PACKET[..19]), Err(Malformed::Short));
    }
}
