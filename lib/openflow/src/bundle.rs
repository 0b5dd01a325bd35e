//! Bundles: several changes that happen together or not at all.
//!
//! 1.4 has the messages; in 1.3 they are an extension of the ONF with the same bodies.
//!
//! Spec: OpenFlow 1.4.1 §6.8, §7.3.9; ONF extension 230 for 1.3.

use crate::error::{ErrorCode, OfError};
use crate::header::{HEADER_SIZE, Header, Version};
use crate::message::{Decoded, Message};
use crate::property;
use crate::wire::{EncodeError, Reader, Writer, bits, require, words};

words! {
    /// What is done to a bundle (`ofp_bundle_ctrl_type`).
    BundleCommand: u16 {
        /// Begin.
        OpenRequest = 0,
        /// It is open.
        OpenReply = 1,
        /// Nothing more will be added.
        CloseRequest = 2,
        /// It is closed.
        CloseReply = 3,
        /// Do it.
        CommitRequest = 4,
        /// It is done.
        CommitReply = 5,
        /// Forget it.
        DiscardRequest = 6,
        /// It is forgotten.
        DiscardReply = 7,
    }
}

bits! {
    /// `ofp_bundle_flags`.
    BundleFlags: u16 {
        /// All or nothing.
        ATOMIC = 1;
        /// In the order in which messages were added.
        ORDERED = 1 << 1;
    }
}

/// A command to a bundle, or the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleControl {
    /// Which bundle; each connection numbers its own.
    pub bundle: u32,
    /// What is done.
    pub command: BundleCommand,
    /// How, the same in every message of the bundle.
    pub flags: BundleFlags,
}

impl BundleControl {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let bundle = from.u32()?;
        let command = BundleCommand::from_number(from.u16()?)
            .ok_or(ErrorCode::BfcBadType.about("a bundle control message"))?;
        let flags = BundleFlags(from.u16()?);
        properties(from)?;
        Ok(Self {
            bundle,
            command,
            flags,
        })
    }

    pub(crate) fn encode(self, to: &mut Writer) {
        to.u32(self.bundle);
        to.u16(self.command.number());
        to.u16(self.flags.0);
    }
}

/// Properties of bundles are all experimenters', which nobody here knows: what is said by them may
/// be passed over.
fn properties(from: &mut Reader<'_>) -> Result<(), OfError> {
    while !from.is_empty() {
        property::read(from)?;
    }
    Ok(())
}

/// Adds a message to a bundle. The message stays as bytes, because an error that it causes when
/// the bundle is committed carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleAdd {
    /// Which bundle.
    pub bundle: u32,
    /// How, the same in every message of the bundle.
    pub flags: BundleFlags,
    /// The message, header included, of the version and xid of the message around it.
    pub message: Vec<u8>,
}

impl BundleAdd {
    /// Adds `message`.
    ///
    /// # Errors
    /// What cannot be written cannot be added.
    pub fn new(
        bundle: u32,
        flags: BundleFlags,
        message: &Message,
        version: Version,
        xid: u32,
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            bundle,
            flags,
            message: message.encode(version, xid)?,
        })
    }

    /// The message.
    ///
    /// # Errors
    /// As [`Message::decode`].
    pub fn inner(&self) -> Result<Decoded, OfError> {
        Message::decode(&self.message)
    }

    pub(crate) fn decode(from: &mut Reader<'_>, outer: Header) -> Result<Self, OfError> {
        let bundle = from.u32()?;
        from.skip(2)?;
        let flags = BundleFlags(from.u16()?);
        let bad_len = ErrorCode::BfcMsgBadLen.about("a message in a bundle");
        let inner = Header::decode(from.peek()).map_err(|_| bad_len)?;
        let size = usize::from(inner.length);
        if size < HEADER_SIZE || size > from.left() {
            return Err(bad_len);
        }
        let about = "a message in a bundle";
        require(
            inner.version == outer.version,
            ErrorCode::BfcBadVersion,
            about,
        )?;
        require(inner.xid == outer.xid, ErrorCode::BfcMsgBadXid, about)?;
        let message = from.bytes(size)?.to_vec();
        if !from.is_empty() {
            let zeros = size.next_multiple_of(8) - size;
            from.skip(zeros)?;
            properties(from)?;
        }
        Ok(Self {
            bundle,
            flags,
            message,
        })
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u32(self.bundle);
        to.zeros(2);
        to.u16(self.flags.0);
        to.bytes(&self.message);
    }
}
