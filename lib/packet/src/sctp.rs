//! SCTP common headers.
//!
//! Not for chunks, and not for the CRC32c: a switch that does not rewrite SCTP needs neither.
//! Spec: RFC 9260 §3.1.

use std::fmt;

use crate::header::{Malformed, header};

header! {
    /// A packet.
    Sctp, size 12;
    /// Source port.
    src_port, set_src_port: u16 = 0;
    /// Destination port.
    dst_port, set_dst_port: u16 = 2;
    /// Verification tag.
    tag, set_tag: u32 = 4;
    /// CRC32c of the packet, least significant byte first.
    crc, set_crc: [u8; 4] = 8;
}

impl<T: AsRef<[u8]>> Sctp<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    /// The chunks after the header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_SIZE..).unwrap_or_default()
    }
}

/// The values of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Verification tag.
    pub tag: u32,
    /// CRC32c, computed by who wrote the chunks.
    pub crc: [u8; 4],
}

impl Repr {
    /// The values of a packet.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Sctp<T>) -> Self {
        Self {
            src_port: view.src_port(),
            dst_port: view.dst_port(),
            tag: view.tag(),
            crc: view.crc(),
        }
    }

    /// Writes the header.
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut view = Sctp::new_unchecked(bytes);
        view.set_src_port(self.src_port);
        view.set_dst_port(self.dst_port);
        view.set_tag(self.tag);
        view.set_crc(self.crc);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Sctp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} > {} tag 0x{:08x}",
            self.src_port(),
            self.dst_port(),
            self.tag()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 16] = [
        0x80, 0x44, 0x00, 0x50, 0x00, 0x00, 0x00, 0x00, 0x30, 0xba, 0xef, 0x54, 0x01, 0x00, 0x00,
        0x3c,
    ];

    #[test]
    fn deconstruct() {
        let sctp = Sctp::new_checked(&PACKET).unwrap();
        assert_eq!((sctp.src_port(), sctp.dst_port()), (32836, 80));
        assert_eq!(sctp.payload(), [1, 0, 0, 0x3c]);
        assert_eq!(sctp.to_string(), "32836 > 80 tag 0x00000000");
    }

    #[test]
    fn round_trip() {
        let mut bytes = [0; 12];
        Repr::parse(&Sctp::new_checked(&PACKET).unwrap()).emit(&mut bytes);
        assert_eq!(bytes, PACKET[..12]);
    }

    #[test]
    fn short() {
        assert_eq!(Sctp::new_checked(&PACKET[..11]), Err(Malformed::Short));
    }
}
