//! What two ends call their connection: the five words a packet shows of it.
//!
//! Not the zone: the table adds it. Not bytes: `parse` makes a [`Tuple`] of them and `rewrite`
//! writes one back.
//!
//! Law: [`Tuple::reversed`] of what one end sends is what the other end answers with, as long as
//! nobody translates in between; reversing twice gives the same tuple.
//!
//! Spec: RFC 792 and RFC 4443 for which ICMP types answer each other; of these the pairs that Open
//! vSwitch's userspace tracker follows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// IP protocol numbers that tracking treats in their own way (IANA, "Protocol Numbers").
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDPLITE: u8 = 136;
}

/// Which way a packet goes, as seen from who sent the connection's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// As the first packet.
    Original,
    /// The other way.
    Reply,
}

impl Direction {
    /// 0 for original, 1 for reply.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Original => 0,
            Self::Reply => 1,
        }
    }

    /// The other one.
    #[inline]
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// Addresses and ports of a packet, as it shows them at the moment of tracking.
///
/// IPv4 addresses stand in the low 32 bits. Of ICMP queries `src_port` is the identifier and
/// `dst_port` is `type << 8 | code`, in both directions. Protocols without ports have both 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// The version of IP.
    pub family: Family,
    /// The IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub src: u128,
    /// Destination address.
    pub dst: u128,
    /// Source port, or the identifier of an ICMP query.
    pub src_port: u16,
    /// Destination port, or type and code of an ICMP query.
    pub dst_port: u16,
}

impl Tuple {
    /// Of an ICMP query and its answer, the one that is not `kind`; `None` for other types.
    #[inline]
    const fn answer(family: Family, kind: u8) -> Option<u8> {
        Some(match (family, kind) {
            // Echo, timestamp and information (RFC 792).
            (Family::V4, 8) => 0,
            (Family::V4, 0) => 8,
            (Family::V4, 13) => 14,
            (Family::V4, 14) => 13,
            (Family::V4, 15) => 16,
            (Family::V4, 16) => 15,
            // Echo (RFC 4443 §4).
            (Family::V6, 128) => 129,
            (Family::V6, 129) => 128,
            _ => return None,
        })
    }

    /// Whether ports mean an identifier, a type and a code.
    #[inline]
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        matches!(
            (self.family, self.protocol),
            (Family::V4, protocol::ICMP) | (Family::V6, protocol::ICMPV6)
        )
    }

    /// Whether the protocol has ports that can be translated.
    #[inline]
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        matches!(
            self.protocol,
            protocol::TCP | protocol::UDP | protocol::SCTP | protocol::UDPLITE
        )
    }

    /// Type of an ICMP query; 0 for all else.
    #[inline]
    #[must_use]
    pub const fn icmp_type(&self) -> u8 {
        if self.is_icmp() {
            (self.dst_port >> 8) as u8
        } else {
            0
        }
    }

    /// The tuple of the answer: addresses and ports change places; an ICMP query keeps its
    /// identifier and changes its type. `None` for an ICMP type that has no answer.
    #[inline]
    #[must_use]
    pub const fn reversed(&self) -> Option<Self> {
        let (src_port, dst_port) = if self.is_icmp() {
            match Self::answer(self.family, self.icmp_type()) {
                Some(kind) => (self.src_port, (kind as u16) << 8 | self.dst_port & 0xff),
                None => return None,
            }
        } else {
            (self.dst_port, self.src_port)
        };
        Some(Self {
            family: self.family,
            protocol: self.protocol,
            src: self.dst,
            dst: self.src,
            src_port,
            dst_port,
        })
    }

    /// The source address.
    #[must_use]
    pub fn src_ip(&self) -> IpAddr {
        self.ip(self.src)
    }

    /// The destination address.
    #[must_use]
    pub fn dst_ip(&self) -> IpAddr {
        self.ip(self.dst)
    }

    fn ip(&self, address: u128) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::from_bits(address as u32).into(),
            Family::V6 => Ipv6Addr::from_bits(address).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(family: Family, protocol: u8, kind: u8) -> Tuple {
        Tuple {
            family,
            protocol,
            src: 0x0a01_0101,
            dst: 0x0a01_0102,
            src_port: 77,
            dst_port: u16::from(kind) << 8,
        }
    }

    #[test]
    fn ports_change_places() {
        let tuple = Tuple {
            family: Family::V4,
            protocol: protocol::TCP,
            src: 0x0a01_0101,
            dst: 0x0a01_0102,
            src_port: 40_000,
            dst_port: 80,
        };
        let back = tuple.reversed().expect("TCP has answers");
        assert_eq!((back.src, back.dst), (tuple.dst, tuple.src));
        assert_eq!((back.src_port, back.dst_port), (80, 40_000));
        assert_eq!(back.reversed(), Some(tuple));
        assert_eq!(tuple.src_ip().to_string(), "10.1.1.1");
    }

    #[test]
    fn an_icmp_query_keeps_its_identifier() {
        for (family, protocol, kind, answer) in [
            (Family::V4, protocol::ICMP, 8, 0),
            (Family::V4, protocol::ICMP, 13, 14),
            (Family::V4, protocol::ICMP, 15, 16),
            (Family::V6, protocol::ICMPV6, 128, 129),
        ] {
            let tuple = query(family, protocol, kind);
            let back = tuple.reversed().expect("a query");
            assert_eq!((back.src_port, back.icmp_type()), (77, answer));
            assert_eq!(back.reversed(), Some(tuple));
        }
    }

    #[test]
    fn what_has_no_answer_has_no_reverse() {
        assert_eq!(query(Family::V4, protocol::ICMP, 3).reversed(), None);
        assert_eq!(query(Family::V6, protocol::ICMPV6, 135).reversed(), None);
        // ICMPv6 over IPv4 is a protocol without ports, no query.
        let odd = query(Family::V4, protocol::ICMPV6, 135);
        assert!(odd.reversed().is_some());
    }
}
