//! Requests of one controller that others are told of (OpenFlow 1.4.1 §7.4.6): changes to groups
//! and meters. In 1.0 an extension of Nicira, in 1.3 one of the ONF.

use crate::error::{ErrorCode, OfError};
use crate::header::{Header, Version};
use crate::message::{Decoded, Message};
use crate::wire::{EncodeError, Reader, Writer, require};

/// A request that another controller made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestForward {
    /// The request, header included.
    pub request: Vec<u8>,
}

impl RequestForward {
    /// Tells of `request`.
    ///
    /// # Errors
    /// What cannot be written cannot be told.
    pub fn new(request: &Message, version: Version, xid: u32) -> Result<Self, EncodeError> {
        let request = request.encode(version, xid)?;
        Ok(Self { request })
    }

    /// The request.
    ///
    /// # Errors
    /// As [`Message::decode`].
    pub fn inner(&self) -> Result<Decoded, OfError> {
        Message::decode(&self.request)
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let header = Header::decode(from.peek()).map_err(|_| from.bad_len())?;
        let whole = usize::from(header.length) == from.left();
        require(whole, ErrorCode::BrcBadLen, "a forwarded request")?;
        let request = from.take_rest().to_vec();
        Ok(Self { request })
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.bytes(&self.request);
    }
}
