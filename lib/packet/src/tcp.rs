//! TCP headers.
//!
//! Spec: RFC 9293 §3.1, RFC 3168 (ECE, CWR).

use std::fmt;

use crate::checksum::Sum;
use crate::header::{Malformed, header};

/// The sender is done.
pub const FIN: u16 = 0x001;
/// Opens a connection.
pub const SYN: u16 = 0x002;
/// Ends a connection at once.
pub const RST: u16 = 0x004;
/// Deliver now.
pub const PSH: u16 = 0x008;
/// The acknowledgement number counts.
pub const ACK: u16 = 0x010;
/// The urgent pointer counts.
pub const URG: u16 = 0x020;
/// Congestion was seen.
pub const ECE: u16 = 0x040;
/// The congestion window was reduced.
pub const CWR: u16 = 0x080;

header! {
    /// A segment.
    Tcp, size 20;
    /// Source port.
    src_port, set_src_port: u16 = 0;
    /// Destination port.
    dst_port, set_dst_port: u16 = 2;
    /// Sequence number.
    seq, set_seq: u32 = 4;
    /// Acknowledgement number.
    ack, set_ack: u32 = 8;
    /// Header size in 32-bit words, then 12 flag bits.
    offset_flags, set_offset_flags: u16 = 12;
    /// Window.
    window, set_window: u16 = 14;
    /// Checksum of the pseudo header and the segment.
    checksum, set_checksum: u16 = 16;
    /// Urgent pointer.
    urgent, set_urgent: u16 = 18;
}

impl<T: AsRef<[u8]>> Tcp<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        if self.header_size() < HEADER_SIZE || self.header_size() > self.bytes().len() {
            return Err(Malformed::Length);
        }
        Ok(())
    }

    /// Bytes of the header with options.
    #[inline]
    #[must_use]
    pub fn header_size(&self) -> usize {
        usize::from(self.offset_flags() >> 12) * 4
    }

    /// The flag bits, 12 of them.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> u16 {
        self.offset_flags() & 0x0fff
    }

    /// Options, as bytes.
    #[inline]
    #[must_use]
    pub fn options(&self) -> &[u8] {
        self.bytes()
            .get(HEADER_SIZE..self.header_size())
            .unwrap_or_default()
    }

    /// The bytes after the header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(self.header_size()..).unwrap_or_default()
    }

    /// Whether the checksum is right; `pseudo` is the sum of the pseudo header.
    #[must_use]
    pub fn is_whole(&self, mut pseudo: Sum) -> bool {
        pseudo.add(self.bytes());
        pseudo.is_whole()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Tcp<T> {
    /// Computes the checksum over all bytes of the view and the pseudo header's sum.
    pub fn fill_checksum(&mut self, mut pseudo: Sum) {
        self.set_checksum(0);
        pseudo.add(self.bytes());
        self.set_checksum(pseudo.finish());
    }
}

/// The values of a header without options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// The flag bits, 12 of them.
    pub flags: u16,
    /// Window.
    pub window: u16,
}

impl Repr {
    /// The values of a segment, its options left out.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Tcp<T>) -> Self {
        Self {
            src_port: view.src_port(),
            dst_port: view.dst_port(),
            seq: view.seq(),
            ack: view.ack(),
            flags: view.flags(),
            window: view.window(),
        }
    }

    /// Writes the header and the checksum over it and the payload, which is already in `bytes`.
    pub fn emit(&self, bytes: &mut [u8], pseudo: Sum) {
        let mut view = Tcp::new_unchecked(bytes);
        view.set_src_port(self.src_port);
        view.set_dst_port(self.dst_port);
        view.set_seq(self.seq);
        view.set_ack(self.ack);
        view.set_offset_flags(5 << 12 | self.flags & 0x0fff);
        view.set_window(self.window);
        view.set_urgent(0);
        view.fill_checksum(pseudo);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Tcp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} [", self.src_port(), self.dst_port())?;
        let names = [
            (SYN, 'S'),
            (FIN, 'F'),
            (RST, 'R'),
            (PSH, 'P'),
            (ACK, '.'),
            (URG, 'U'),
            (ECE, 'E'),
            (CWR, 'C'),
        ];
        for (flag, name) in names {
            if self.flags() & flag != 0 {
                write!(f, "{name}")?;
            }
        }
        write!(
            f,
            "] seq {} ack {} window {}",
            self.seq(),
            self.ack(),
            self.window()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN with MSS, from 192.168.69.1 to 192.168.69.100.
    const SEGMENT: [u8; 24] = [
        0xbf, 0x00, 0x00, 0x50, 0x01, 0x23, 0x45, 0x67, 0x00, 0x00, 0x00, 0x00, 0x60, 0x02, 0xff,
        0xff, 0x00, 0x00, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4,
    ];

    fn pseudo() -> Sum {
        Sum::pseudo_v4([192, 168, 69, 1], [192, 168, 69, 100], 6, 24)
    }

    #[test]
    fn deconstruct() {
        let tcp = Tcp::new_checked(&SEGMENT).unwrap();
        assert_eq!((tcp.src_port(), tcp.dst_port()), (48896, 80));
        assert_eq!((tcp.flags(), tcp.header_size()), (SYN, 24));
        assert_eq!(tcp.options(), [2, 4, 5, 0xb4]);
        assert!(tcp.payload().is_empty());
        assert_eq!(
            tcp.to_string(),
            "48896 > 80 [S] seq 19088743 ack 0 window 65535"
        );
    }

    #[test]
    fn checksum() {
        let mut bytes = SEGMENT;
        let mut tcp = Tcp::new_checked(&mut bytes[..]).unwrap();
        tcp.fill_checksum(pseudo());
        assert!(tcp.is_whole(pseudo()));
        tcp.set_dst_port(81);
        assert!(!tcp.is_whole(pseudo()));
    }

    #[test]
    fn round_trip() {
        let repr = Repr::parse(&Tcp::new_checked(&SEGMENT).unwrap());
        let mut bytes = [0; 20];
        repr.emit(&mut bytes, pseudo());
        assert_eq!(Repr::parse(&Tcp::new_checked(&bytes).unwrap()), repr);
    }

    #[test]
    fn short_and_impossible_lengths() {
        assert_eq!(Tcp::new_checked(&SEGMENT[..19]), Err(Malformed::Short));
        assert_eq!(Tcp::new_checked(&SEGMENT[..23]), Err(Malformed::Length));
        let mut small = SEGMENT;
        small[12] = 0x40;
        assert_eq!(Tcp::new_checked(small), Err(Malformed::Length));
    }
}
