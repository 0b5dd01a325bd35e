//! ICMP for IPv6, and of neighbour discovery what a switch reads and changes.
//!
//! Not for router advertisements' prefixes and timers. Spec: RFC 4443, RFC 4861 §4.

use std::fmt;
use std::net::Ipv6Addr;

use crate::checksum::Sum;
use crate::header::{MacAddr, Malformed, Wire, header};
use crate::ipv4::Protocol;

/// Packet too big.
pub const TOO_BIG: u8 = 2;
/// Echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Router solicitation.
pub const ROUTER_SOLICIT: u8 = 133;
/// Router advertisement.
pub const ROUTER_ADVERT: u8 = 134;
/// Neighbour solicitation.
pub const NEIGHBOUR_SOLICIT: u8 = 135;
/// Neighbour advertisement.
pub const NEIGHBOUR_ADVERT: u8 = 136;

/// Neighbour discovery option: the sender's link-layer address.
pub const OPTION_SOURCE: u8 = 1;
/// Neighbour discovery option: the target's link-layer address.
pub const OPTION_TARGET: u8 = 2;

/// Where the target of a neighbour message lies.
const TARGET: usize = 8;
/// Where the options of a neighbour message begin.
const OPTIONS: usize = 24;

header! {
    /// A message.
    Icmpv6, size 8;
    /// Type.
    kind, set_kind: u8 = 0;
    /// Code.
    code, set_code: u8 = 1;
    /// Checksum of the pseudo header and the message.
    checksum, set_checksum: u16 = 2;
    /// The second word: identifier and sequence number of an echo, flags of an advertisement, the
    /// MTU of a packet too big.
    rest, set_rest: u32 = 4;
}

impl<T: AsRef<[u8]>> Icmpv6<T> {
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    /// Whether it is a neighbour solicitation or advertisement.
    #[inline]
    #[must_use]
    pub fn is_neighbour(&self) -> bool {
        matches!(self.kind(), NEIGHBOUR_SOLICIT | NEIGHBOUR_ADVERT) && self.code() == 0
    }

    /// The target of a neighbour message, if the bytes hold it.
    #[inline]
    #[must_use]
    pub fn target(&self) -> Option<Ipv6Addr> {
        let held = self.is_neighbour() && self.bytes().len() >= OPTIONS;
        held.then(|| Wire::read(self.bytes(), TARGET))
    }

    /// The options of a neighbour message, in order.
    #[inline]
    #[must_use]
    pub fn options(&self) -> Options<'_> {
        let bytes = if self.is_neighbour() {
            self.bytes().get(OPTIONS..).unwrap_or_default()
        } else {
            &[]
        };
        Options { bytes }
    }

    /// The bytes after the header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_SIZE..).unwrap_or_default()
    }

    /// Whether the message's checksum is right between these addresses.
    #[must_use]
    pub fn is_whole(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        sum(self.bytes(), src, dst).is_whole()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Icmpv6<T> {
    /// Computes the checksum over all bytes of the view, between these addresses.
    pub fn fill_checksum(&mut self, src: Ipv6Addr, dst: Ipv6Addr) {
        self.set_checksum(0);
        let sum = sum(self.bytes(), src, dst).finish();
        self.set_checksum(sum);
    }

    /// Sets the target of a neighbour message.
    pub fn set_target(&mut self, value: Ipv6Addr) {
        value.write(self.bytes.as_mut(), TARGET);
    }
}

fn sum(bytes: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> Sum {
    let protocol = Protocol::ICMPV6.0;
    let mut sum = Sum::pseudo_v6(src.octets(), dst.octets(), protocol, bytes.len() as u32);
    sum.add(bytes);
    sum
}

/// Walks over neighbour discovery options. Ends before one of size zero or that is cut off.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    bytes: &'a [u8],
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdOption<'a> {
    /// Type.
    pub kind: u8,
    /// The whole option, its type and size included.
    pub bytes: &'a [u8],
}

impl NdOption<'_> {
    /// The Ethernet address in a link-layer address option.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        let link = matches!(self.kind, OPTION_SOURCE | OPTION_TARGET) && self.bytes.len() == 8;
        link.then(|| Wire::read(self.bytes, 2))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = NdOption<'a>;

    fn next(&mut self) -> Option<NdOption<'a>> {
        let &[kind, units, ..] = self.bytes else {
            return None;
        };
        let size = usize::from(units) * 8;
        if size == 0 {
            return None;
        }
        let (bytes, rest) = self.bytes.split_at_checked(size)?;
        self.bytes = rest;
        Some(NdOption { kind, bytes })
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
    pub fn parse<T: AsRef<[u8]>>(view: &Icmpv6<T>) -> Self {
        Self {
            kind: view.kind(),
            code: view.code(),
            rest: view.rest(),
        }
    }

    /// Writes the header and the checksum over it and the payload, which is already in `bytes`.
    pub fn emit(&self, bytes: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        let mut view = Icmpv6::new_unchecked(bytes);
        view.set_kind(self.kind);
        view.set_code(self.code);
        view.set_rest(self.rest);
        view.fill_checksum(src, dst);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Icmpv6<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind(), self.target()) {
            (ECHO_REQUEST, _) => f.write_str("echo request"),
            (ECHO_REPLY, _) => f.write_str("echo reply"),
            (NEIGHBOUR_SOLICIT, Some(target)) => write!(f, "who has {target}"),
            (NEIGHBOUR_ADVERT, Some(target)) => write!(f, "{target} is here"),
            (kind, _) => write!(f, "type {kind} code {}", self.code()),
        }?;
        for mac in self.options().filter_map(|option| option.mac()) {
            write!(f, " {mac}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRC: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x42, 0xacff, 0xfe11, 2);
    const DST: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff11, 3);
    const SOLICIT: [u8; 32] = [
        135, 0, 0xe6, 0x52, 0, 0, 0, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x00, 0x42, 0xac, 0xff, 0xfe,
        0x11, 0x00, 0x03, 1, 1, 0x02, 0x42, 0xac, 0x11, 0x00, 0x02,
    ];

    #[test]
    fn deconstruct() {
        let icmp = Icmpv6::new_checked(&SOLICIT).unwrap();
        assert_eq!(icmp.target(), "fe80::42:acff:fe11:3".parse().ok());
        let mac = icmp.options().next().unwrap().mac();
        assert_eq!(mac, Some(MacAddr([0x02, 0x42, 0xac, 0x11, 0, 2])));
        assert_eq!(
            icmp.to_string(),
            "who has fe80::42:acff:fe11:3 02:42:ac:11:00:02"
        );
    }

    #[test]
    fn checksum_covers_the_pseudo_header() {
        let mut bytes = SOLICIT;
        let mut icmp = Icmpv6::new_checked(&mut bytes[..]).unwrap();
        icmp.fill_checksum(SRC, DST);
        assert!(icmp.is_whole(SRC, DST));
        assert!(!icmp.is_whole(SRC, SRC));
    }

    #[test]
    fn round_trip() {
        let mut bytes = SOLICIT;
        bytes[..8].fill(0xee);
        let repr = Repr::parse(&Icmpv6::new_checked(&SOLICIT).unwrap());
        repr.emit(&mut bytes, SRC, DST);
        assert_eq!(bytes[..2], SOLICIT[..2]);
        assert_eq!(bytes[4..], SOLICIT[4..]);
    }

    #[test]
    fn options_of_impossible_size_end_the_walk() {
        for units in [0, 2, 255] {
            let mut bytes = SOLICIT;
            bytes[25] = units;
            let icmp = Icmpv6::new_checked(&bytes).unwrap();
            assert_eq!(icmp.options().count(), 0, "{units} units");
        }
        let cut = Icmpv6::new_checked(&SOLICIT[..23]).unwrap();
        assert_eq!((cut.target(), cut.options().count()), (None, 0));
        assert_eq!(Icmpv6::new_checked(&SOLICIT[..7]), Err(Malformed::Short));
    }
}
