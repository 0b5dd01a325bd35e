//! UDP headers.
//!
//! A checksum field of zero means, over IPv4, that nobody computed one. Spec: RFC 768, RFC 8200
//! §8.1, RFC 2675 §4 (a length of zero, which only jumbograms may have).

use std::fmt;

use crate::checksum::Sum;
use crate::header::{Malformed, header};

header! {
    /// A datagram.
    Udp, size 8;
    /// Source port.
    src_port, set_src_port: u16 = 0;
    /// Destination port.
    dst_port, set_dst_port: u16 = 2;
    /// Bytes of header and payload.
    size, set_size: u16 = 4;
    /// Checksum of the pseudo header and the datagram, or zero.
    checksum, set_checksum: u16 = 6;
}

impl<T: AsRef<[u8]>> Udp<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        let size = usize::from(self.size());
        if size < HEADER_SIZE || size > self.bytes().len() {
            return Err(Malformed::Length);
        }
        Ok(())
    }

    /// The bytes after the header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes()
            .get(HEADER_SIZE..usize::from(self.size()))
            .unwrap_or_default()
    }

    /// Whether the checksum is right or absent; `pseudo` is the sum of the pseudo header.
    #[must_use]
    pub fn is_whole(&self, mut pseudo: Sum) -> bool {
        let datagram = self.bytes().get(..usize::from(self.size()));
        pseudo.add(datagram.unwrap_or_default());
        self.checksum() == 0 || pseudo.is_whole()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Udp<T> {
    /// Computes the checksum over all bytes of the view and the pseudo header's sum.
    pub fn fill_checksum(&mut self, mut pseudo: Sum) {
        self.set_checksum(0);
        pseudo.add(self.bytes());
        self.set_checksum(pseudo.finish_udp());
    }
}

/// The values of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

impl Repr {
    /// The values of a datagram.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Udp<T>) -> Self {
        Self {
            src_port: view.src_port(),
            dst_port: view.dst_port(),
        }
    }

    /// Writes the header and the checksum over it and the payload, which is already in `bytes`.
    pub fn emit(&self, bytes: &mut [u8], pseudo: Sum) {
        let size = u16::try_from(bytes.len()).unwrap_or(0);
        let mut view = Udp::new_unchecked(bytes);
        view.set_src_port(self.src_port);
        view.set_dst_port(self.dst_port);
        view.set_size(size);
        view.fill_checksum(pseudo);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Udp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} > {} size {}",
            self.src_port(),
            self.dst_port(),
            self.size()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: [u8; 12] = [
        0xbf, 0x00, 0x00, 0x35, 0x00, 0x0c, 0x12, 0x4d, 0xaa, 0x00, 0x00, 0xff,
    ];

    fn pseudo() -> Sum {
        Sum::pseudo_v4([192, 168, 1, 1], [192, 168, 1, 2], 17, 12)
    }

    #[test]
    fn deconstruct() {
        let udp = Udp::new_checked(&DATAGRAM).unwrap();
        assert_eq!((udp.src_port(), udp.dst_port()), (48896, 53));
        assert_eq!(udp.payload(), [0xaa, 0x00, 0x00, 0xff]);
        assert!(udp.is_whole(pseudo()));
        assert_eq!(udp.to_string(), "48896 > 53 size 12");
    }

    #[test]
    fn a_zero_checksum_is_whole_and_is_never_made() {
        let mut bytes = DATAGRAM;
        bytes[6..8].fill(0);
        assert!(Udp::new_checked(&bytes).unwrap().is_whole(pseudo()));
        // The payload is chosen so that everything sums to all ones.
        let mut udp = Udp::new_checked(&mut bytes[..]).unwrap();
        udp.fill_checksum(pseudo());
        let sum = udp.checksum();
        let payload = u16::from_be_bytes([0xaa, 0x00]);
        let (wide, over) = payload.overflowing_add(sum);
        bytes[8..10].copy_from_slice(&(wide + u16::from(over)).to_be_bytes());
        let mut udp = Udp::new_checked(&mut bytes[..]).unwrap();
        udp.fill_checksum(pseudo());
        assert_eq!(udp.checksum(), 0xffff);
        assert!(udp.is_whole(pseudo()));
    }

    #[test]
    fn round_trip() {
        let mut bytes = DATAGRAM;
        bytes[..8].fill(0xee);
        let repr = Repr::parse(&Udp::new_checked(&DATAGRAM).unwrap());
        repr.emit(&mut bytes, pseudo());
        assert_eq!(bytes, DATAGRAM);
    }

    #[test]
    fn short_and_impossible_lengths() {
        assert_eq!(Udp::new_checked(&DATAGRAM[..7]), Err(Malformed::Short));
        for size in [0, 7, 13] {
            let mut bytes = DATAGRAM;
            bytes[5] = size;
            assert_eq!(
                Udp::new_checked(bytes),
                Err(Malformed::Length),
                "size {size}"
            );
        }
    }
}
