//! VLAN tags: the four bytes after a tag protocol identifier.
//!
//! A view begins behind the Ethernet type that announced it, with the TCI. Spec: IEEE 802.1Q-2022
//! clause 9.

use std::fmt;

use crate::eth::EtherType;
use crate::header::{Malformed, header};

/// The VID bits of a TCI.
pub const VID_MASK: u16 = 0x0fff;
/// The drop-eligible bit of a TCI. In flow keys this place says that a tag is there.
pub const DEI: u16 = 0x1000;
/// Where the priority begins in a TCI.
pub const PCP_SHIFT: u32 = 13;

header! {
    /// A tag and what follows it.
    Vlan, size 4;
    /// Tag control information: priority, drop-eligible bit, VLAN identifier.
    tci, set_tci: u16 = 0;
    /// The type field of what follows.
    type_field, set_type_field: u16 = 2;
}

impl<T: AsRef<[u8]>> Vlan<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    /// VLAN identifier, 12 bits.
    #[inline]
    #[must_use]
    pub fn vid(&self) -> u16 {
        self.tci() & VID_MASK
    }

    /// Priority, 3 bits.
    #[inline]
    #[must_use]
    pub fn pcp(&self) -> u8 {
        (self.tci() >> PCP_SHIFT) as u8
    }

    /// What follows the tag.
    #[inline]
    #[must_use]
    pub fn ethertype(&self) -> EtherType {
        EtherType(self.type_field())
    }

    /// The bytes after the tag.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_SIZE..).unwrap_or_default()
    }
}

/// A tag's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Tag control information.
    pub tci: u16,
    /// What follows.
    pub ethertype: EtherType,
}

impl Repr {
    /// The values of a tag.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Vlan<T>) -> Self {
        Self {
            tci: view.tci(),
            ethertype: view.ethertype(),
        }
    }

    /// Writes the tag.
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut view = Vlan::new_unchecked(bytes);
        view.set_tci(self.tci);
        view.set_type_field(self.ethertype.0);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Vlan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "vlan {} pcp {} {}",
            self.vid(),
            self.pcp(),
            self.ethertype()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: [u8; 5] = [0xb0, 0x64, 0x08, 0x00, 0x45];

    #[test]
    fn deconstruct() {
        let tag = Vlan::new_checked(&TAG).unwrap();
        assert_eq!((tag.vid(), tag.pcp(), tag.tci() & DEI), (100, 5, DEI));
        assert_eq!(tag.payload(), [0x45]);
        assert_eq!(tag.to_string(), "vlan 100 pcp 5 IPv4");
    }

    #[test]
    fn round_trip() {
        let mut bytes = [0; 4];
        Repr::parse(&Vlan::new_checked(&TAG).unwrap()).emit(&mut bytes);
        assert_eq!(bytes, TAG[..4]);
    }

    #[test]
    fn short() {
        assert_eq!(Vlan::new_checked(&TAG[..3]), Err(Malformed::Short));
    }
}
