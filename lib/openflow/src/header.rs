//! The header of every message, and whole messages out of a stream of bytes.
//!
//! Spec: OpenFlow 1.3.5 §7.1. The header's shape and the first four message types are the same in
//! all versions, so that two sides can find a version together.

use std::fmt;

use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer};

/// A version this crate speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// OpenFlow 1.0.
    V10,
    /// OpenFlow 1.3.
    V13,
    /// OpenFlow 1.4.
    V14,
    /// OpenFlow 1.5.
    V15,
}

impl Version {
    /// Every one, oldest first.
    pub const ALL: [Self; 4] = [Self::V10, Self::V13, Self::V14, Self::V15];

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V10 => 1,
            Self::V13 => 4,
            Self::V14 => 5,
            Self::V15 => 6,
        }
    }

    /// The one with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|this| this.number() == number)
    }
}

/// `1.3`; `OpenFlow13` is the spelling of `ovs-ofctl -O`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V10 => "1.0",
            Self::V13 => "1.3",
            Self::V14 => "1.4",
            Self::V15 => "1.5",
        })
    }
}

/// Bytes of a header.
pub const HEADER_SIZE: usize = 8;

/// A message's header (`ofp_header`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version's number, which need not be one that we speak.
    pub version: u8,
    /// The message's type in that version.
    pub kind: u8,
    /// Bytes of the message, these included.
    pub length: u16,
    /// Answers carry the xid of their question.
    pub xid: u32,
}

impl Header {
    /// The header at the front of `bytes`, which may be more or less than the message.
    pub fn decode(bytes: &[u8]) -> Result<Self, OfError> {
        let mut from = Reader::new(bytes, ErrorCode::BrcBadLen.about("a message's header"));
        Ok(Self {
            version: from.u8()?,
            kind: from.u8()?,
            length: from.u16()?,
            xid: from.u32()?,
        })
    }

    /// Writes it.
    pub fn encode(&self, to: &mut Writer) {
        to.u8(self.version);
        to.u8(self.kind);
        to.u16(self.length);
        to.u32(self.xid);
    }

    /// Whether messages of this type are alike in all versions and so may come with any: hello,
    /// error and echo.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.kind <= 3
    }

    /// Refuses a message of another version than was agreed, other than the immutable ones.
    pub fn require(&self, agreed: Version) -> Result<(), OfError> {
        if self.version == agreed.number() || self.is_immutable() {
            Ok(())
        } else {
            Err(ErrorCode::BrcBadVersion.about("another version than was agreed"))
        }
    }
}

/// Makes whole messages out of a stream of bytes.
///
/// It holds at most what was pushed and not yet handed out. Who reads a socket pushes what came,
/// takes messages until there is none, and reads again: then it holds less than one message and
/// one read.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: Vec<u8>,
    /// Bytes at the front that were handed out.
    taken: usize,
}

impl Framer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, `None` if more bytes must come first. A message is at most 65535
    /// bytes, the most that a header can say.
    ///
    /// # Errors
    /// A length that is less than a header's: nobody can tell where the next message begins, so
    /// the connection must be closed after the error is sent.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, OfError> {
        let waiting = &self.bytes[self.taken..];
        if waiting.len() < HEADER_SIZE {
            return Ok(None);
        }
        let length = usize::from(Header::decode(waiting)?.length);
        if length < HEADER_SIZE {
            return Err(ErrorCode::BrcBadLen.about("a message shorter than its header"));
        }
        let Some(message) = waiting.get(..length) else {
            return Ok(None);
        };
        self.taken += length;
        Ok(Some(message))
    }

    /// Bytes that wait for the rest of their message.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hello of `ovs-ofctl` 3.1, then an echo request with two bytes.
    const STREAM: [u8; 18] = [
        1, 0, 0, 8, 0, 0, 0, 1, //
        4, 2, 0, 10, 0, 0, 0, 2, 0xab, 0xcd,
    ];

    #[test]
    fn messages_come_whole_however_bytes_come() {
        for size in 1..=STREAM.len() {
            let mut framer = Framer::new();
            let mut got = Vec::new();
            for bytes in STREAM.chunks(size) {
                framer.push(bytes);
                while let Some(message) = framer.next_message().unwrap() {
                    got.push(message.to_vec());
                }
            }
            assert_eq!(got, [&STREAM[..8], &STREAM[8..]], "in pieces of {size}");
            assert_eq!(framer.waiting(), 0);
        }
    }

    #[test]
    fn a_length_below_the_headers_ends_the_stream() {
        let mut framer = Framer::new();
        framer.push(&[4, 2, 0, 7, 0, 0, 0, 2]);
        let refused = framer.next_message().unwrap_err();
        assert_eq!(refused.code, ErrorCode::BrcBadLen);
    }

    #[test]
    fn only_the_immutable_messages_may_come_in_any_version() {
        let echo = Header::decode(&STREAM[8..]).unwrap();
        assert_eq!(
            (echo.version, echo.kind, echo.length, echo.xid),
            (4, 2, 10, 2)
        );
        assert_eq!(echo.require(Version::V10), Ok(()));
        let barrier = Header { kind: 20, ..echo };
        assert_eq!(barrier.require(Version::V13), Ok(()));
        let refused = barrier.require(Version::V14).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BrcBadVersion);
        let mut writer = Writer::new();
        echo.encode(&mut writer);
        assert_eq!(writer.finish().unwrap(), &STREAM[8..16]);
    }
}
