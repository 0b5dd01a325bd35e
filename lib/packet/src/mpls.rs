//! MPLS label stacks.
//!
//! Spec: RFC 3032 §2.1, RFC 5462 (traffic class).

use std::fmt;

use crate::header::{Malformed, header};

header! {
    /// A label stack entry and what follows it.
    Mpls, size 4;
    /// The whole entry.
    entry, set_entry: u32 = 0;
}

impl<T: AsRef<[u8]>> Mpls<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    /// The entry's values.
    #[inline]
    #[must_use]
    pub fn repr(&self) -> Repr {
        Repr::from(self.entry())
    }

    /// The bytes after the entry: the next one, or what the last one carries.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_SIZE..).unwrap_or_default()
    }
}

/// A label stack entry's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Label, 20 bits.
    pub label: u32,
    /// Traffic class, 3 bits.
    pub traffic_class: u8,
    /// Set in the last entry.
    pub bottom: bool,
    /// Time to live.
    pub ttl: u8,
}

impl From<u32> for Repr {
    #[inline]
    fn from(entry: u32) -> Self {
        Self {
            label: entry >> 12,
            traffic_class: (entry >> 9 & 7) as u8,
            bottom: entry & 0x100 != 0,
            ttl: entry as u8,
        }
    }
}

impl From<Repr> for u32 {
    #[inline]
    fn from(repr: Repr) -> Self {
        repr.label << 12
            | Self::from(repr.traffic_class & 7) << 9
            | Self::from(repr.bottom) << 8
            | Self::from(repr.ttl)
    }
}

impl Repr {
    /// Writes the entry.
    pub fn emit(&self, bytes: &mut [u8]) {
        Mpls::new_unchecked(bytes).set_entry(u32::from(*self));
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Mpls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr {
            label,
            traffic_class,
            bottom,
            ttl,
        } = self.repr();
        write!(f, "label {label} tc {traffic_class} ttl {ttl}")?;
        f.write_str(if bottom { " bottom" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: [u8; 5] = [0x00, 0x06, 0x4b, 0x40, 0x45];

    #[test]
    fn deconstruct() {
        let mpls = Mpls::new_checked(&ENTRY).unwrap();
        let repr = mpls.repr();
        assert_eq!((repr.label, repr.traffic_class, repr.ttl), (100, 5, 64));
        assert!(repr.bottom);
        assert_eq!(mpls.payload(), [0x45]);
        assert_eq!(mpls.to_string(), "label 100 tc 5 ttl 64 bottom");
    }

    #[test]
    fn round_trip() {
        let mut bytes = [0; 4];
        Mpls::new_checked(&ENTRY).unwrap().repr().emit(&mut bytes);
        assert_eq!(bytes, ENTRY[..4]);
    }

    #[test]
    fn short() {
        assert_eq!(Mpls::new_checked(&ENTRY[..3]), Err(Malformed::Short));
    }
}
