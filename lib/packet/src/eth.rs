//! Ethernet II headers, and the types that follow them.
//!
//! Not for 802.3 frames with a length: their type is below [`EtherType::MIN`].
//! Spec: IEEE 802.3 clause 3, IANA "IEEE 802 Numbers".

use std::fmt;

use crate::header::{MacAddr, Malformed, header};

/// What an Ethernet header or a VLAN tag is followed by. Unknown values stay what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EtherType(pub u16);

impl EtherType {
    /// Below this a type field is the length of an 802.3 frame.
    pub const MIN: Self = Self(0x0600);
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// Reverse ARP, in ARP's format.
    pub const RARP: Self = Self(0x8035);
    /// An 802.1Q tag.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// MPLS.
    pub const MPLS: Self = Self(0x8847);
    /// MPLS with upstream-assigned labels.
    pub const MPLS_MULTICAST: Self = Self(0x8848);
    /// An 802.1ad service tag.
    pub const QINQ: Self = Self(0x88a8);

    /// Whether a VLAN tag follows.
    #[inline]
    #[must_use]
    pub const fn is_vlan(self) -> bool {
        matches!(self, Self::VLAN | Self::QINQ)
    }

    /// Whether an MPLS label stack follows.
    #[inline]
    #[must_use]
    pub const fn is_mpls(self) -> bool {
        matches!(self, Self::MPLS | Self::MPLS_MULTICAST)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IPV4 => f.write_str("IPv4"),
            Self::ARP => f.write_str("ARP"),
            Self::RARP => f.write_str("RARP"),
            Self::VLAN => f.write_str("802.1Q"),
            Self::IPV6 => f.write_str("IPv6"),
            Self::MPLS => f.write_str("MPLS"),
            Self::QINQ => f.write_str("802.1ad"),
            Self(other) => write!(f, "type 0x{other:04x}"),
        }
    }
}

header! {
    /// A frame.
    Eth, size 14;
    /// Destination address.
    dst, set_dst: MacAddr = 0;
    /// Source address.
    src, set_src: MacAddr = 6;
    /// The type field: what follows, or the length of an 802.3 frame.
    type_field, set_type_field: u16 = 12;
}

impl<T: AsRef<[u8]>> Eth<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    /// What follows the header.
    #[inline]
    #[must_use]
    pub fn ethertype(&self) -> EtherType {
        EtherType(self.type_field())
    }

    /// The bytes after the header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_SIZE..).unwrap_or_default()
    }
}

/// An Ethernet header's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// What follows.
    pub ethertype: EtherType,
}

impl Repr {
    /// The values of a header.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Eth<T>) -> Self {
        Self {
            dst: view.dst(),
            src: view.src(),
            ethertype: view.ethertype(),
        }
    }

    /// Writes the header.
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut view = Eth::new_unchecked(bytes);
        view.set_dst(self.dst);
        view.set_src(self.src);
        view.set_type_field(self.ethertype.0);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Eth<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} {}", self.src(), self.dst(), self.ethertype())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 16] = [
        0x33, 0x33, 0, 0, 0, 0xfb, 0x02, 0x42, 0xac, 0x11, 0x00, 0x02, 0x86, 0xdd, 0x60, 0x00,
    ];

    #[test]
    fn deconstruct() {
        let eth = Eth::new_checked(&FRAME).unwrap();
        assert_eq!(eth.dst(), MacAddr([0x33, 0x33, 0, 0, 0, 0xfb]));
        assert!(eth.dst().is_multicast());
        assert_eq!(eth.ethertype(), EtherType::IPV6);
        assert_eq!(eth.payload(), [0x60, 0x00]);
        assert_eq!(
            eth.to_string(),
            "02:42:ac:11:00:02 > 33:33:00:00:00:fb IPv6"
        );
    }

    #[test]
    fn round_trip() {
        let mut bytes = [0; 14];
        Repr::parse(&Eth::new_checked(&FRAME).unwrap()).emit(&mut bytes);
        assert_eq!(bytes, FRAME[..14]);
    }

    #[test]
    fn short() {
        assert_eq!(Eth::new_checked(&FRAME[..13]), Err(Malformed::Short));
    }
}
