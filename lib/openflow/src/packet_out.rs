//! Packets from the controller (OpenFlow 1.0.1 §5.3.6, 1.3.5 §7.3.7, 1.5.1 §7.3.6).
//!
//! 1.5 has a match in the place of the port, whose other fields are what the packet is to bring along.

use vswitch_flow::{Action, Field, Match, OfPort};

use crate::action;
use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::oxm::matches::{decode_match, encode_match};
use crate::packet_in::{read_buffer, write_buffer};
use crate::wire::{Reader, Writer, require};

/// What is known of a packet beside its bytes and its port, and what a packet-out may say of it.
const PIPELINE: [Field; 13] = [
    Field::TunId,
    Field::TunSrc,
    Field::TunDst,
    Field::TunIpv6Src,
    Field::TunIpv6Dst,
    Field::TunFlags,
    Field::TunGbpId,
    Field::TunGbpFlags,
    Field::Metadata,
    Field::Xxreg0,
    Field::Xxreg1,
    Field::Xxreg2,
    Field::Xxreg3,
];

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketOut {
    /// Where the switch keeps the packet; else `packet` is it.
    pub buffer: Option<u32>,
    /// The port by which it is to seem to have come.
    pub in_port: OfPort,
    /// What it is to bring along: metadata, registers, a tunnel's fields (1.5).
    pub metadata: Match,
    /// What to do with it.
    pub actions: Vec<Action>,
    /// The packet, empty if it is in a buffer.
    pub packet: Vec<u8>,
}

impl PacketOut {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let buffer = read_buffer(from)?;
        let mut metadata = Match::any();
        let (in_port, size) = match version {
            Version::V10 => (from.port16()?, from.u16()?),
            Version::V13 | Version::V14 => {
                let (port, size) = (from.port()?, from.u16()?);
                from.skip(6)?;
                (port, size)
            }
            Version::V15 => {
                let size = from.u16()?;
                from.skip(2)?;
                metadata = decode_match(from)?;
                let (port, mask) = metadata.field(Field::InPort);
                let about = "a packet-out without the port it is from";
                require(mask != 0, ErrorCode::BrcBadPort, about)?;
                metadata = without(&metadata, &[Field::InPort]);
                let known = without(&metadata, &PIPELINE).is_any();
                let about = "what a packet-out says of a packet";
                require(known, ErrorCode::BrcPipelineFieldsOnly, about)?;
                (OfPort(port as u32), size)
            }
        };
        let size = usize::from(size);
        let ordinary = in_port <= OfPort::MAX;
        let special = [OfPort::LOCAL, OfPort::ANY, OfPort::CONTROLLER].contains(&in_port);
        let about = "the port a packet-out is from";
        require(ordinary || special, ErrorCode::BrcBadPort, about)?;
        let actions = action::decode_list(&mut from.part(size)?, version)?;
        let packet = from.take_rest();
        Ok(Self {
            buffer,
            in_port,
            metadata,
            actions,
            packet: if buffer.is_none() {
                packet.to_vec()
            } else {
                Vec::new()
            },
        })
    }

    /// Actions that give the packet what it is to bring along.
    pub fn settings(&self) -> impl Iterator<Item = Action> {
        PIPELINE.into_iter().filter_map(|field| {
            let (value, mask) = self.metadata.field(field);
            (mask != 0).then_some(Action::SetField { field, value, mask })
        })
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        write_buffer(self.buffer, to);
        match version {
            Version::V10 => to.port16(self.in_port),
            Version::V13 | Version::V14 => to.port(self.in_port),
            Version::V15 => {}
        }
        let length = to.length();
        match version {
            Version::V10 => {}
            Version::V13 | Version::V14 => to.zeros(6),
            Version::V15 => {
                to.zeros(2);
                let port = u128::from(self.in_port.0);
                let metadata = self.metadata.clone().with(Field::InPort, port);
                encode_match(to, version, &metadata);
            }
        }
        if version < Version::V15 && self.metadata != Match::any() {
            to.not_in("fields that a packet-out brings along", version);
        }
        let start = to.size();
        action::encode_list(to, version, &self.actions);
        to.fill_length(length, start, "a packet-out's actions");
        if self.buffer.is_none() {
            to.bytes(&self.packet);
        }
    }
}

/// A match that says nothing of some fields.
fn without(matches: &Match, fields: &[Field]) -> Match {
    let (keys, mut masks) = (matches.key(), matches.mask());
    for field in fields {
        masks.set(*field, 0);
    }
    Match::new(&keys, &masks)
}
