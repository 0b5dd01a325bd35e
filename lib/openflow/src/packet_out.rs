//! Packets from the controller (OpenFlow 1.0.1 §5.3.6, 1.3.5 §7.3.7).

use vswitch_flow::{Action, OfPort};

use crate::action;
use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::packet_in::{read_buffer, write_buffer};
use crate::wire::{Reader, Writer, require};

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketOut {
    /// Where the switch keeps the packet; else `packet` is it.
    pub buffer: Option<u32>,
    /// The port by which it is to seem to have come.
    pub in_port: OfPort,
    /// What to do with it.
    pub actions: Vec<Action>,
    /// The packet, empty if it is in a buffer.
    pub packet: Vec<u8>,
}

impl PacketOut {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let buffer = read_buffer(from)?;
        let in_port = if version == Version::V10 {
            from.port16()?
        } else {
            from.port()?
        };
        let size = usize::from(from.u16()?);
        if version > Version::V10 {
            from.skip(6)?;
        }
        let ordinary = in_port <= OfPort::MAX;
        let special = [OfPort::LOCAL, OfPort::ANY, OfPort::CONTROLLER].contains(&in_port);
        let about = "the port a packet-out is from";
        require(ordinary || special, ErrorCode::BrcBadPort, about)?;
        let actions = action::decode_list(&mut from.part(size)?, version)?;
        let packet = from.take_rest();
        Ok(Self {
            buffer,
            in_port,
            actions,
            packet: if buffer.is_none() {
                packet.to_vec()
            } else {
                Vec::new()
            },
        })
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        write_buffer(self.buffer, to);
        if version == Version::V10 {
            to.port16(self.in_port);
        } else {
            to.port(self.in_port);
        }
        let length = to.length();
        if version > Version::V10 {
            to.zeros(6);
        }
        let start = to.size();
        action::encode_list(to, version, &self.actions);
        to.fill_length(length, start, "a packet-out's actions");
        if self.buffer.is_none() {
            to.bytes(&self.packet);
        }
    }
}
