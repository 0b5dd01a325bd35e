//! Reading and writing network byte order within bounds.
//!
//! OpenFlow nests lengths in lengths: a message holds a match that holds fields, instructions that
//! hold actions that hold actions. A [`Reader`] can never look past the part it was made for, and
//! it knows the error that is due when that part is too short, so that the code of a structure says
//! only which values follow each other. A [`Writer`] fills a length in when it is known.
//!
//! A writer does not fail at each value: what cannot be written (longer than its length field can
//! say, or without a form in this version) is remembered and comes out of [`Writer::finish`].

use std::fmt;

use vswitch_flow::OfPort;
use vswitch_packet::MacAddr;

use crate::error::{ErrorCode, OfError};
use crate::header::Version;

/// Bytes of one part of a message, read from the front.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Due when a value does not fit or bytes are left over.
    bad_len: OfError,
}

impl<'a> Reader<'a> {
    /// All of `bytes`; `bad_len` is due when they are too few or too many.
    #[must_use]
    pub fn new(bytes: &'a [u8], bad_len: OfError) -> Self {
        Self {
            rest: bytes,
            bad_len,
        }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The error that is due when lengths are wrong here.
    #[must_use]
    pub fn bad_len(&self) -> OfError {
        self.bad_len
    }

    /// The next `size` bytes.
    pub fn bytes(&mut self, size: usize) -> Result<&'a [u8], OfError> {
        let (head, rest) = self.rest.split_at_checked(size).ok_or(self.bad_len)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], OfError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(self.bad_len)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Passes over `size` bytes, whatever they hold.
    pub fn skip(&mut self, size: usize) -> Result<(), OfError> {
        self.bytes(size).map(drop)
    }

    /// A part of its own of the next `size` bytes, with the same error.
    pub fn part(&mut self, size: usize) -> Result<Self, OfError> {
        let bytes = self.bytes(size)?;
        Ok(Self::new(bytes, self.bad_len))
    }

    /// A part of its own of the next `size` bytes, with another error for lengths *within* it.
    pub fn part_with(&mut self, size: usize, bad_len: OfError) -> Result<Self, OfError> {
        let bytes = self.bytes(size)?;
        Ok(Self::new(bytes, bad_len))
    }

    /// All bytes that are left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// All bytes that are left, without reading them.
    #[must_use]
    pub fn peek(&self) -> &'a [u8] {
        self.rest
    }

    /// The next two bytes, without reading them.
    pub fn peek_u16(&self) -> Result<u16, OfError> {
        self.clone().u16()
    }

    /// Refuses bytes that are left over.
    pub fn finish(self) -> Result<(), OfError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.bad_len)
        }
    }

    /// A byte.
    pub fn u8(&mut self) -> Result<u8, OfError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, OfError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, OfError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, OfError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> Result<u128, OfError> {
        self.array().map(u128::from_be_bytes)
    }

    /// An Ethernet address.
    pub fn mac(&mut self) -> Result<MacAddr, OfError> {
        self.array().map(MacAddr)
    }

    /// A port of 32 bits.
    pub fn port(&mut self) -> Result<OfPort, OfError> {
        self.u32().map(OfPort)
    }

    /// A port of 16 bits (OpenFlow 1.0): the reserved ones get their 32-bit numbers.
    pub fn port16(&mut self) -> Result<OfPort, OfError> {
        self.u16().map(port_from_16)
    }

    /// Text in `N` bytes, ended by a zero.
    pub fn text<const N: usize>(&mut self) -> Result<Text<N>, OfError> {
        self.array::<N>().map(Text::from_wire)
    }
}

/// First of the reserved ports in 16 bits (`OFPP_MAX` of OpenFlow 1.0).
const RESERVED_16: u16 = 0xff00;

/// The number since OpenFlow 1.1 of a port of OpenFlow 1.0.
#[must_use]
pub fn port_from_16(port: u16) -> OfPort {
    if port < RESERVED_16 {
        OfPort(u32::from(port))
    } else {
        OfPort(0xffff_0000 | u32::from(port))
    }
}

/// The number in OpenFlow 1.0 of a port, if it has one.
#[must_use]
pub fn port_to_16(port: OfPort) -> Option<u16> {
    let low = u16::try_from(port.0 & 0xffff).ok()?;
    (port_from_16(low) == port).then_some(low)
}

/// Why a value has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Longer than its length field can say.
    #[error("{0} is too long for its length field of 16 bits (at most 65535 bytes)")]
    TooLong(&'static str),
    /// Not in this version.
    #[error("OpenFlow {version} has no form for {what}")]
    NotIn {
        /// What was to be written.
        what: &'static str,
        /// The version.
        version: Version,
    },
}

/// Bytes in the making.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    failed: Option<EncodeError>,
}

impl Writer {
    /// Nothing written yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes are written.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Remembers that something could not be written; the first such reason counts.
    pub fn fail(&mut self, why: EncodeError) {
        self.failed.get_or_insert(why);
    }

    /// Remembers that `what` has no form in `version`.
    pub fn not_in(&mut self, what: &'static str, version: Version) {
        self.fail(EncodeError::NotIn { what, version });
    }

    /// The bytes, unless something could not be written.
    pub fn finish(self) -> Result<Vec<u8>, EncodeError> {
        match self.failed {
            None => Ok(self.bytes),
            Some(why) => Err(why),
        }
    }

    /// These bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `size` zeros.
    pub fn zeros(&mut self, size: usize) {
        self.bytes.resize(self.bytes.len() + size, 0);
    }

    /// Zeros until the bytes since `start` are a multiple of eight.
    pub fn pad8(&mut self, start: usize) {
        let size = self.bytes.len() - start;
        self.zeros(size.next_multiple_of(8) - size);
    }

    /// A byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Sixteen bytes.
    pub fn u128(&mut self, value: u128) {
        self.bytes(&value.to_be_bytes());
    }

    /// An Ethernet address.
    pub fn mac(&mut self, value: MacAddr) {
        self.bytes(&value.0);
    }

    /// A port of 32 bits.
    pub fn port(&mut self, port: OfPort) {
        self.u32(port.0);
    }

    /// A port of 16 bits (OpenFlow 1.0).
    pub fn port16(&mut self, port: OfPort) {
        match port_to_16(port) {
            Some(port) => self.u16(port),
            None => self.not_in("a port above 65279", Version::V10),
        }
    }

    /// Text in `N` bytes, ended by a zero.
    pub fn text<const N: usize>(&mut self, text: &Text<N>) {
        self.bytes(&text.0);
    }

    /// Room for a length of 16 bits; give it to [`Writer::fill_length`].
    #[must_use = "a length that is never filled in stays zero"]
    pub fn length(&mut self) -> Length {
        let at = self.bytes.len();
        self.zeros(2);
        Length { at }
    }

    /// Fills in that `what`, written since `start`, is as long as it is now.
    pub fn fill_length(&mut self, length: Length, start: usize, what: &'static str) {
        self.put_length(length, self.bytes.len() - start, what);
    }

    /// Fills in that `what` is `size` bytes long.
    pub fn put_length(&mut self, length: Length, size: usize, what: &'static str) {
        match u16::try_from(size) {
            Ok(size) => {
                self.bytes[length.at..length.at + 2].copy_from_slice(&size.to_be_bytes());
            }
            Err(_) => self.fail(EncodeError::TooLong(what)),
        }
    }
}

/// Messages.
impl Writer {
    /// Writes a header whose length is filled in by [`Writer::end_message`].
    pub(crate) fn begin_message(&mut self, version: u8, kind: u8, xid: u32) {
        self.u8(version);
        self.u8(kind);
        self.zeros(2);
        self.u32(xid);
    }

    /// Fills in the length of the message that began at `start`.
    pub(crate) fn end_message(&mut self, start: usize) {
        self.fill_length(Length { at: start + 2 }, start, "a message");
    }

    /// Replaces the two bytes at `at`, which are written already.
    pub(crate) fn replace_u16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// Takes back what was written since `at`.
    pub(crate) fn split_off(&mut self, at: usize) -> Vec<u8> {
        self.bytes.split_off(at)
    }
}

/// Where a length goes once it is known.
#[derive(Debug)]
pub struct Length {
    at: usize,
}

/// Text in a field of `N` bytes: at most `N - 1` bytes, ended by a zero. Kept as bytes, since a
/// peer may send any.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// What a peer sent; what follows the first zero is no part of it.
    fn from_wire(mut bytes: [u8; N]) -> Self {
        let end = bytes.iter().position(|byte| *byte == 0);
        let end = end.unwrap_or(N.saturating_sub(1));
        bytes[end..].fill(0);
        Self(bytes)
    }

    /// As text; what is not UTF-8 shows as replacement characters.
    #[must_use]
    pub fn to_text(&self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(N);
        String::from_utf8_lossy(&self.0[..end]).into_owned()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// What does not fit is cut off at a character's border.
impl<const N: usize> From<&str> for Text<N> {
    fn from(text: &str) -> Self {
        let mut end = text.len().min(N.saturating_sub(1));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; N];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Self::from_wire(bytes)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

/// `Err(code: about)` unless `holds`.
pub(crate) fn require(holds: bool, code: ErrorCode, about: &'static str) -> Result<(), OfError> {
    if holds {
        Ok(())
    } else {
        Err(code.about(about))
    }
}

/// A type of bits with names: `bits! { /// doc Name: u32 { /// doc FLAG = 1; } }`.
macro_rules! bits {
    (
        $(#[$doc:meta])*
        $name:ident: $int:ty { $($(#[$bit_doc:meta])* $bit:ident = $value:expr;)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub $int);

        impl $name {
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)*

            /// Whether all of `bits` are set.
            #[must_use]
            pub const fn has(self, bits: Self) -> bool {
                self.0 & bits.0 == bits.0
            }

            /// These and those.
            #[must_use]
            pub const fn with(self, bits: Self) -> Self {
                Self(self.0 | bits.0)
            }

            /// These without those.
            #[must_use]
            pub const fn without(self, bits: Self) -> Self {
                Self(self.0 & !bits.0)
            }
        }
    };
}
pub(crate) use bits;

/// A type of numbered words: `words! { /// doc Name: u8 { /// doc Word = 1, } }`.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident: $int:ty { $($(#[$word_doc:meta])* $word:ident = $value:expr,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$word_doc])* $word,)*
        }

        impl $name {
            /// Every one, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];

            /// Its number on the wire.
            #[must_use]
            pub const fn number(self) -> $int {
                match self { $(Self::$word => $value,)* }
            }

            /// The one with this number.
            #[must_use]
            pub const fn from_number(number: $int) -> Option<Self> {
                $(if number == $value {
                    return Some(Self::$word);
                })*
                None
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: OfError = ErrorCode::BrcBadLen.about("test");

    #[test]
    fn a_part_ends_where_it_ends() {
        let mut all = Reader::new(&[0, 1, 2, 3, 4, 5, 6, 7], BAD);
        let mut part = all
            .part_with(3, ErrorCode::BacBadLen.about("an action"))
            .unwrap();
        assert_eq!(part.u16(), Ok(1));
        assert_eq!(part.u16().unwrap_err().code, ErrorCode::BacBadLen);
        assert_eq!(part.u8(), Ok(2));
        assert_eq!(all.peek_u16(), Ok(0x0304));
        assert_eq!(all.u32(), Ok(0x0304_0506));
        assert_eq!(all.clone().finish(), Err(BAD));
        assert_eq!(all.u64(), Err(BAD));
        assert_eq!(all.take_rest(), [7]);
        assert_eq!(all.finish(), Ok(()));
    }

    #[test]
    fn lengths_are_filled_in_and_too_long_is_an_error() {
        let mut writer = Writer::new();
        writer.u16(7);
        let length = writer.length();
        writer.u8(9);
        writer.pad8(0);
        writer.fill_length(length, 0, "a test");
        assert_eq!(writer.finish(), Ok(vec![0, 7, 0, 8, 9, 0, 0, 0]));

        let mut writer = Writer::new();
        let length = writer.length();
        writer.zeros(65534);
        writer.fill_length(length, 0, "a test");
        assert_eq!(writer.finish(), Err(EncodeError::TooLong("a test")));
    }

    #[test]
    fn reserved_ports_of_16_bits_have_32_bit_numbers() {
        for (short, long) in [
            (1, OfPort(1)),
            (0xfeff, OfPort::MAX),
            (0xfff8, OfPort::IN_PORT),
            (0xfffe, OfPort::LOCAL),
            (0xffff, OfPort::ANY),
        ] {
            assert_eq!(port_from_16(short), long);
            assert_eq!(port_to_16(long), Some(short));
        }
        assert_eq!(port_to_16(OfPort(0xff00)), None);
        assert_eq!(port_to_16(OfPort(0x1_0000)), None);
    }

    #[test]
    fn text_is_cut_and_ended() {
        assert_eq!(Text::<8>::from("br0").to_text(), "br0");
        assert_eq!(Text::<4>::from("äöü").to_text(), "ä");
        assert_eq!(Text::<4>::from_wire(*b"abcd").to_text(), "abc");
        let ended = Text::<4>::from_wire([b'a', 0, b'c', 0]);
        assert_eq!(ended, Text::from("a"));
        assert_eq!(Text::<4>::from_wire([0xff, 0, 0, 0]).to_text(), "\u{fffd}");
    }
}
