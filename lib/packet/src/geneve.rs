//! Geneve headers: an Ethernet frame behind options inside a UDP datagram.
//!
//! An option has a class, a type within the class, and up to 124 bytes. Its bit C (critical) asks
//! who does not know it to drop the packet; bit C of the header says that there is such an option.
//!
//! Law: [`options`] ends, and what it yields lies inside the bytes it was given; an option that
//! does not is reported once and is the last.
//!
//! Spec: RFC 8926 §3.

use std::fmt;

use crate::eth::EtherType;
use crate::header::{Malformed, header};

/// The UDP port that IANA gave to the protocol.
pub const PORT: u16 = 6081;

/// Bit of the flags: a control packet (O).
pub const FLAG_OAM: u8 = 0x80;

/// Bit of the flags: there is a critical option (C).
pub const FLAG_CRITICAL: u8 = 0x40;

/// Bit of an option's type: it is critical.
pub const CRITICAL: u8 = 0x80;

/// Protocol type of an Ethernet frame: transparent Ethernet bridging.
pub const ETHERNET: EtherType = EtherType(0x6558);

/// Bytes of options at most: the header counts them in 6 bits of 4 bytes each.
pub const OPTIONS_MAX: usize = 63 * 4;

/// Bytes of an option's header.
pub const OPTION_SIZE: usize = 4;

/// Bytes of an option's value at most.
pub const VALUE_MAX: usize = 31 * 4;

header! {
    /// A Geneve header and what it carries.
    Geneve, size 8;
    /// Version in the upper 2 bits, and the size of options in units of 4 bytes.
    version_size, set_version_size: u8 = 0;
    /// [`FLAG_OAM`] and [`FLAG_CRITICAL`].
    flags, set_flags: u8 = 1;
    /// What the payload is.
    protocol, set_protocol: u16 = 2;
    /// The network identifier in the upper 24 bits, and a reserved byte.
    vni_word, set_vni_word: u32 = 4;
}

impl<T: AsRef<[u8]>> Geneve<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        if self.version() != 0 {
            return Err(Malformed::Version);
        }
        if HEADER_SIZE + self.options_size() > self.bytes().len() {
            return Err(Malformed::Length);
        }
        Ok(())
    }

    /// The version; only 0 is defined.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version_size() >> 6
    }

    /// Bytes of all options.
    #[inline]
    #[must_use]
    pub fn options_size(&self) -> usize {
        usize::from(self.version_size() & 0x3f) * 4
    }

    /// The network identifier.
    #[inline]
    #[must_use]
    pub fn vni(&self) -> u32 {
        self.vni_word() >> 8
    }

    /// The bytes of all options.
    #[inline]
    #[must_use]
    pub fn option_bytes(&self) -> &[u8] {
        self.bytes()
            .get(HEADER_SIZE..HEADER_SIZE + self.options_size())
            .unwrap_or_default()
    }

    /// The options in order.
    pub fn options(&self) -> impl Iterator<Item = Result<GeneveOption<'_>, Malformed>> {
        options(self.option_bytes())
    }

    /// The bytes behind the options.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes()
            .get(HEADER_SIZE + self.options_size()..)
            .unwrap_or_default()
    }
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneveOption<'a> {
    /// Who has defined it.
    pub class: u16,
    /// Which of that class's, with the bit [`CRITICAL`].
    pub kind: u8,
    /// Its value, a multiple of 4 bytes.
    pub value: &'a [u8],
}

/// Reads the options in `bytes`, all of which are options.
pub fn options(bytes: &[u8]) -> impl Iterator<Item = Result<GeneveOption<'_>, Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((head, behind)) = rest.split_first_chunk::<OPTION_SIZE>() else {
            rest = &[];
            return Some(Err(Malformed::Short));
        };
        let [high, low, kind, size] = *head;
        let Some((value, after)) = behind.split_at_checked(usize::from(size & 0x1f) * 4) else {
            rest = &[];
            return Some(Err(Malformed::Length));
        };
        rest = after;
        Some(Ok(GeneveOption {
            class: u16::from_be_bytes([high, low]),
            kind,
            value,
        }))
    })
}

impl GeneveOption<'_> {
    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        OPTION_SIZE + self.value.len()
    }

    /// Writes it into the beginning of `bytes` and answers how many it took; `None`, with nothing
    /// written, when there is not room enough or the value is none that an option can have.
    pub fn emit(&self, bytes: &mut [u8]) -> Option<usize> {
        if !self.value.len().is_multiple_of(4) || self.value.len() > VALUE_MAX {
            return None;
        }
        let place = bytes.get_mut(..self.size())?;
        let (head, value) = place.split_at_mut(OPTION_SIZE);
        let [high, low] = self.class.to_be_bytes();
        head.copy_from_slice(&[high, low, self.kind, (self.value.len() / 4) as u8]);
        value.copy_from_slice(self.value);
        Some(self.size())
    }
}

/// The values of a header; its options are written behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// The network identifier, 24 bits.
    pub vni: u32,
    /// A control packet.
    pub oam: bool,
    /// There is a critical option.
    pub critical: bool,
    /// Bytes of options, a multiple of 4 and at most [`OPTIONS_MAX`].
    pub options_size: usize,
}

impl Repr {
    /// The values of a header.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Geneve<T>) -> Self {
        Self {
            vni: view.vni(),
            oam: view.flags() & FLAG_OAM != 0,
            critical: view.flags() & FLAG_CRITICAL != 0,
            options_size: view.options_size(),
        }
    }

    /// Writes the header of a packet that carries an Ethernet frame.
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut view = Geneve::new_unchecked(bytes);
        view.set_version_size((self.options_size / 4) as u8 & 0x3f);
        let oam = if self.oam { FLAG_OAM } else { 0 };
        let critical = if self.critical { FLAG_CRITICAL } else { 0 };
        view.set_flags(oam | critical);
        view.set_protocol(ETHERNET.0);
        view.set_vni_word(self.vni << 8);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Geneve<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vni {}", self.vni())?;
        if self.flags() & FLAG_OAM != 0 {
            f.write_str(" oam")?;
        }
        for option in self.options().map_while(Result::ok) {
            write!(f, " option {:#06x}/{:#04x}", option.class, option.kind)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Open vSwitch 3.1 sends for key 0x7b with tun_metadata0 mapped to class 0xffff, type
    /// 0x80, 4 bytes.
    const HEADER: [u8; 18] = [
        0x02, 0x40, 0x65, 0x58, 0x00, 0x00, 0x7b, 0x00, // the header
        0xff, 0xff, 0x80, 0x01, 0x00, 0x00, 0x00, 0x0a, // the option
        0xaa, 0xbb, // the frame
    ];

    #[test]
    fn deconstruct() {
        let geneve = Geneve::new_checked(&HEADER).unwrap();
        assert_eq!((geneve.version(), geneve.options_size()), (0, 8));
        assert_eq!((geneve.vni(), geneve.protocol()), (0x7b, ETHERNET.0));
        assert_eq!(geneve.payload(), [0xaa, 0xbb]);
        let option = GeneveOption {
            class: 0xffff,
            kind: 0x80,
            value: &[0, 0, 0, 10],
        };
        assert_eq!(geneve.options().collect::<Vec<_>>(), [Ok(option)]);
        assert_eq!(geneve.to_string(), "vni 123 option 0xffff/0x80");
    }

    #[test]
    fn round_trip() {
        let geneve = Geneve::new_checked(&HEADER).unwrap();
        let mut bytes = [0xee; 16];
        Repr::parse(&geneve).emit(&mut bytes);
        let mut at = HEADER_SIZE;
        for option in geneve.options() {
            at += option.unwrap().emit(&mut bytes[at..]).unwrap();
        }
        assert_eq!((at, bytes.as_slice()), (16, &HEADER[..16]));
    }

    #[test]
    fn an_option_ends_where_the_options_do() {
        let bytes = [0, 1, 2, 0, 0, 1, 3, 2, 9, 9, 9, 9];
        let all: Vec<_> = options(&bytes).collect();
        let first = GeneveOption {
            class: 1,
            kind: 2,
            value: &[],
        };
        assert_eq!(all, [Ok(first), Err(Malformed::Length)]);
        assert_eq!(
            options(&bytes[..6]).last(),
            Some(Err(Malformed::Short)),
            "an option's header is cut off"
        );
        assert_eq!(options(&[]).next(), None);
    }

    #[test]
    fn an_option_is_written_whole_or_not_at_all() {
        let mut bytes = [7; 8];
        for value in [&[0; 8][..], &[0; 3], &[0; 128]] {
            let option = GeneveOption {
                class: 1,
                kind: 2,
                value,
            };
            assert_eq!(option.emit(&mut bytes), None);
        }
        assert_eq!(bytes, [7; 8]);
    }

    #[test]
    fn short_versions_and_options_beyond_the_end() {
        assert_eq!(Geneve::new_checked(&HEADER[..7]), Err(Malformed::Short));
        assert_eq!(Geneve::new_checked(&HEADER[..15]), Err(Malformed::Length));
        let mut bytes = HEADER;
        bytes[0] = 0x42;
        assert_eq!(Geneve::new_checked(bytes), Err(Malformed::Version));
    }
}
