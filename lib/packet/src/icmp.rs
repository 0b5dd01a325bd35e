//! ICMP for IPv4.
//!
//! Spec: RFC 792, RFC 1191 (next-hop MTU), IANA "ICMP Parameters".

use std::fmt;

use crate::checksum;
use crate::header::{Malformed, header};

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Code of [`UNREACHABLE`]: the packet is too large and may not be cut.
pub const FRAGMENTATION_NEEDED: u8 = 4;

header! {
    /// A message.
    Icmp, size 8;
    /// Type.
    kind, set_kind: u8 = 0;
    /// Code.
    code, set_code: u8 = 1;
    /// Checksum of the message.
    checksum, set_checksum: u16 = 2;
    /// The second word: identifier and sequence number of an echo, zero and the MTU when
    /// fragmentation was needed.
    rest, set_rest: u32 = 4;
}

impl<T: AsRef<[u8]>> Icmp<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    /// Which stream of echoes it belongs to.
    #[inline]
    #[must_use]
    pub fn echo_ident(&self) -> u16 {
        (self.rest() >> 16) as u16
    }

    /// Which echo of the stream it is.
    #[inline]
    #[must_use]
    pub fn echo_seq(&self) -> u16 {
        self.rest() as u16
    }

    /// The bytes after the header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_SIZE..).unwrap_or_default()
    }

    /// Whether the message's checksum is right.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        checksum::checksum(self.bytes()) == 0
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Icmp<T> {
    /// Computes the checksum over all bytes of the view.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let sum = checksum::checksum(self.bytes());
        self.set_checksum(sum);
    }
}

/// The values of a message's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The second word.
    pub rest: u32,
}

impl Repr {
    /// The values of a message.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(view: &Icmp<T>) -> Self {
        Self {
            kind: view.kind(),
            code: view.code(),
            rest: view.rest(),
        }
    }

    /// Writes the header and the checksum over it and the payload, which is already in `bytes`.
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut view = Icmp::new_unchecked(bytes);
        view.set_kind(self.kind);
        view.set_code(self.code);
        view.set_rest(self.rest);
        view.fill_checksum();
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Icmp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            ECHO_REQUEST => write!(
                f,
                "echo request {} seq {}",
                self.echo_ident(),
                self.echo_seq()
            ),
            ECHO_REPLY => write!(
                f,
                "echo reply {} seq {}",
                self.echo_ident(),
                self.echo_seq()
            ),
            kind => write!(f, "type {kind} code {}", self.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: [u8; 12] = [
        0x08, 0x00, 0x8e, 0xfe, 0x12, 0x34, 0xab, 0xcd, 0xaa, 0x00, 0x00, 0xff,
    ];

    #[test]
    fn deconstruct() {
        let icmp = Icmp::new_checked(&ECHO).unwrap();
        assert_eq!((icmp.echo_ident(), icmp.echo_seq()), (0x1234, 0xabcd));
        assert!(icmp.is_whole());
        assert_eq!(icmp.payload(), [0xaa, 0x00, 0x00, 0xff]);
        assert_eq!(icmp.to_string(), "echo request 4660 seq 43981");
    }

    #[test]
    fn round_trip() {
        let mut bytes = ECHO;
        bytes[..8].fill(0xee);
        Repr::parse(&Icmp::new_checked(&ECHO).unwrap()).emit(&mut bytes);
        assert_eq!(bytes, ECHO);
    }

    #[test]
    fn short_or_damaged() {
        assert_eq!(Icmp::new_checked(&ECHO[..7]), Err(Malformed::Short));
        let mut damaged = ECHO;
        damaged[11] ^= 1;
        assert!(!Icmp::new_checked(&damaged).unwrap().is_whole());
    }
}
