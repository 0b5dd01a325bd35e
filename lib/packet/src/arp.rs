//! ARP for IPv4 over Ethernet, the only combination in use.
//!
//! Spec: RFC 826, RFC 903 (reverse ARP, same format), RFC 5227 (probes).

use std::fmt;
use std::net::Ipv4Addr;

use crate::header::{MacAddr, Malformed, header};

/// Who has an address?
pub const REQUEST: u16 = 1;
/// An address is at a station.
pub const REPLY: u16 = 2;

/// Hardware type Ethernet, protocol type IPv4, address sizes 6 and 4, as one number.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

header! {
    /// An ARP packet.
    Arp, size 28;
    /// Hardware and protocol type with their address sizes.
    kind, set_kind: [u8; 6] = 0;
    /// Operation.
    op, set_op: u16 = 6;
    /// Sender's hardware address.
    sha, set_sha: MacAddr = 8;
    /// Sender's protocol address.
    spa, set_spa: Ipv4Addr = 14;
    /// Target's hardware address.
    tha, set_tha: MacAddr = 18;
    /// Target's protocol address.
    tpa, set_tpa: Ipv4Addr = 24;
}

impl<T: AsRef<[u8]>> Arp<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        if self.kind() == ETHERNET_IPV4 {
            Ok(())
        } else {
            Err(Malformed::Version)
        }
    }
}

/// An ARP packet's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Operation.
    pub op: u16,
    /// Sender's hardware address.
    pub sha: MacAddr,
    /// Sender's protocol address.
    pub spa: Ipv4Addr,
    /// Target's hardware address, zero in a request.
    pub tha: MacAddr,
    /// Target's protocol address.
    pub tpa: Ipv4Addr,
}

impl Repr {
    /// The values of a packet.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Arp<T>) -> Self {
        Self {
            op: view.op(),
            sha: view.sha(),
            spa: view.spa(),
            tha: view.tha(),
            tpa: view.tpa(),
        }
    }

    /// Writes the packet.
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut view = Arp::new_unchecked(bytes);
        view.set_kind(ETHERNET_IPV4);
        view.set_op(self.op);
        view.set_sha(self.sha);
        view.set_spa(self.spa);
        view.set_tha(self.tha);
        view.set_tpa(self.tpa);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Arp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op() {
            REQUEST => write!(f, "who has {} tell {}", self.tpa(), self.spa()),
            REPLY => write!(f, "{} is at {}", self.spa(), self.sha()),
            op => write!(f, "op {op} {} > {}", self.spa(), self.tpa()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY_BYTES: [u8; 28] = [
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x02, 0x02, 0x42, 0xac, 0x11, 0x00, 0x03, 0xac,
        0x11, 0x00, 0x03, 0x02, 0x42, 0xac, 0x11, 0x00, 0x02, 0xac, 0x11, 0x00, 0x02,
    ];

    #[test]
    fn deconstruct() {
        let arp = Arp::new_checked(&REPLY_BYTES).unwrap();
        assert_eq!(arp.op(), REPLY);
        assert_eq!(arp.tpa(), Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(arp.to_string(), "172.17.0.3 is at 02:42:ac:11:00:03");
    }

    #[test]
    fn round_trip() {
        let mut bytes = [0; 28];
        Repr::parse(&Arp::new_checked(&REPLY_BYTES).unwrap()).emit(&mut bytes);
        assert_eq!(bytes, REPLY_BYTES);
    }

    #[test]
    fn short_or_of_another_network() {
        assert_eq!(Arp::new_checked(&REPLY_BYTES[..27]), Err(Malformed::Short));
        let mut other = REPLY_BYTES;
        other[4] = 8;
        assert_eq!(Arp::new_checked(other), Err(Malformed::Version));
    }
}
