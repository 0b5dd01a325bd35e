//! VXLAN headers: an Ethernet frame inside a UDP datagram.
//!
//! The first byte's flags say what the header has. Only bit I, a valid network identifier, is of
//! RFC 7348; the group policy extension, which Linux and Open vSwitch know as GBP, adds bit G with
//! a group in the second half of the first word, and A and D of the byte after the flags. All that
//! is reserved is sent as zero and, except for flags, not looked at when it comes.
//!
//! Spec: RFC 7348 §5, draft-smith-vxlan-group-policy-05 §2.1.

use std::fmt;

use crate::header::{Malformed, header};

/// The UDP port that IANA gave to the protocol.
pub const PORT: u16 = 4789;

/// Flag of the first byte: the network identifier is valid.
pub const FLAG_VNI: u8 = 0x08;

/// Flag of the first byte: the group is valid (group policy extension).
pub const FLAG_GROUP: u8 = 0x80;

/// Largest network identifier: it has 24 bits.
pub const VNI_MAX: u32 = 0xff_ffff;

header! {
    /// A VXLAN header and the frame that it carries.
    Vxlan, size 8;
    /// Flags: [`FLAG_VNI`], [`FLAG_GROUP`].
    flags, set_flags: u8 = 0;
    /// Flags of the group policy extension.
    policy, set_policy: u8 = 1;
    /// Group of the group policy extension.
    group, set_group: u16 = 2;
    /// The network identifier in the upper 24 bits, and a reserved byte.
    vni_word, set_vni_word: u32 = 4;
}

impl<T: AsRef<[u8]>> Vxlan<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    /// The network identifier.
    #[inline]
    #[must_use]
    pub fn vni(&self) -> u32 {
        self.vni_word() >> 8
    }

    /// The frame.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_SIZE..).unwrap_or_default()
    }
}

/// The values of a header without extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// The network identifier, 24 bits.
    pub vni: u32,
}

impl Repr {
    /// The values of a header.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Vxlan<T>) -> Self {
        Self { vni: view.vni() }
    }

    /// Writes the header.
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut view = Vxlan::new_unchecked(bytes);
        view.set_flags(FLAG_VNI);
        view.set_policy(0);
        view.set_group(0);
        view.set_vni_word(self.vni << 8);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Vxlan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vni {} flags {:#04x}", self.vni(), self.flags())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Linux 6.1 sends for network 42: `ip link add vxlan0 type vxlan id 42`.
    const HEADER: [u8; 10] = [0x08, 0, 0, 0, 0x00, 0x00, 0x2a, 0x00, 0xaa, 0xbb];

    #[test]
    fn deconstruct() {
        let vxlan = Vxlan::new_checked(&HEADER).unwrap();
        assert_eq!((vxlan.flags(), vxlan.vni()), (FLAG_VNI, 42));
        assert_eq!(vxlan.payload(), [0xaa, 0xbb]);
        assert_eq!(vxlan.to_string(), "vni 42 flags 0x08");
    }

    #[test]
    fn a_group_is_read_beside_the_network() {
        // `ip link add type vxlan id 7 gbp`, a packet with mark 0x64.
        let bytes = [0x88, 0x08, 0x00, 0x64, 0, 0, 7, 0];
        let vxlan = Vxlan::new_checked(&bytes).unwrap();
        assert_eq!((vxlan.flags(), vxlan.policy()), (0x88, 0x08));
        assert_eq!((vxlan.group(), vxlan.vni()), (0x64, 7));
    }

    #[test]
    fn round_trip_with_the_reserved_bits_cleared() {
        let mut bytes = [0xee; 8];
        Repr::parse(&Vxlan::new_checked(&HEADER).unwrap()).emit(&mut bytes);
        assert_eq!(bytes, HEADER[..8]);
        Repr { vni: VNI_MAX }.emit(&mut bytes);
        assert_eq!(bytes, [8, 0, 0, 0, 0xff, 0xff, 0xff, 0]);
    }

    #[test]
    fn short() {
        assert_eq!(Vxlan::new_checked(&HEADER[..7]), Err(Malformed::Short));
    }
}
