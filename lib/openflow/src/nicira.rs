//! Nicira's messages that stand alone (Open vSwitch's `include/openflow/nicira-ext.h`). Those that
//! are another form of a standard message are with that message.

use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer, require, words};

words! {
    /// How flows are told of in OpenFlow 1.0 (`nx_flow_format`).
    FlowFormat: u32 {
        /// As 1.0 has it.
        OpenFlow10 = 0,
        /// With `nx_match`.
        Nxm = 2,
    }
}

words! {
    /// How packets are sent to the controller (`ofputil_packet_in_format`).
    PacketInFormat: u32 {
        /// As the version has it.
        Standard = 0,
        /// `NXT_PACKET_IN`.
        Nicira = 1,
        /// `NXT_PACKET_IN2`.
        Nicira2 = 2,
    }
}

pub(crate) fn decode_flow_format(from: &mut Reader<'_>) -> Result<FlowFormat, OfError> {
    let bad = ErrorCode::BrcEperm.about("a flow format");
    FlowFormat::from_number(from.u32()?).ok_or(bad)
}

pub(crate) fn decode_packet_in_format(from: &mut Reader<'_>) -> Result<PacketInFormat, OfError> {
    let bad = ErrorCode::BrcEperm.about("a packet-in format");
    PacketInFormat::from_number(from.u32()?).ok_or(bad)
}

/// Whether commands of flows carry a table (`NXT_FLOW_MOD_TABLE_ID`).
pub(crate) fn decode_table_id(from: &mut Reader<'_>) -> Result<bool, OfError> {
    let set = from.u8()? != 0;
    from.skip(7)?;
    Ok(set)
}

pub(crate) fn encode_table_id(set: bool, to: &mut Writer) {
    to.u8(set.into());
    to.zeros(7);
}

/// Six zeros and a number, as several messages have it.
pub(crate) fn decode_number(from: &mut Reader<'_>) -> Result<u16, OfError> {
    let zeros = from.array()? == [0; 6];
    require(
        zeros,
        ErrorCode::NxbrcMustBeZero,
        "six bytes before a number",
    )?;
    from.u16()
}

pub(crate) fn encode_number(number: u16, to: &mut Writer) {
    to.zeros(6);
    to.u16(number);
}

words! {
    /// What is done to the table of tunnel options (`nx_tlv_table_mod_command`).
    TlvCommand: u16 {
        /// Adds options.
        Add = 0,
        /// Deletes options.
        Delete = 1,
        /// Deletes all.
        Clear = 2,
    }
}

/// A tunnel option and the `tun_metadata` field that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlvMap {
    /// The option's class.
    pub class: u16,
    /// The option's type.
    pub kind: u8,
    /// Bytes of its value, a multiple of four.
    pub size: u8,
    /// The field's number.
    pub index: u16,
}

/// A change to the table of tunnel options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvTableMod {
    /// What is done.
    pub command: TlvCommand,
    /// To which options.
    pub maps: Vec<TlvMap>,
}

/// The table of tunnel options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlvTable {
    /// Most bytes of all options together.
    pub max_space: u32,
    /// Most fields.
    pub max_fields: u16,
    /// The options.
    pub maps: Vec<TlvMap>,
}

impl TlvTableMod {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let command = TlvCommand::from_number(from.u16()?)
            .ok_or(ErrorCode::NxttmfcBadCommand.about("a change to the TLV table"))?;
        from.skip(6)?;
        let maps = decode_maps(from)?;
        Ok(Self { command, maps })
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u16(self.command.number());
        to.zeros(6);
        encode_maps(&self.maps, to);
    }
}

impl TlvTable {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let (max_space, max_fields) = (from.u32()?, from.u16()?);
        from.skip(10)?;
        Ok(Self {
            max_space,
            max_fields,
            maps: decode_maps(from)?,
        })
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u32(self.max_space);
        to.u16(self.max_fields);
        to.zeros(10);
        encode_maps(&self.maps, to);
    }
}

fn decode_maps(from: &mut Reader<'_>) -> Result<Vec<TlvMap>, OfError> {
    let mut maps = Vec::new();
    while !from.is_empty() {
        maps.push(TlvMap {
            class: from.u16()?,
            kind: from.u8()?,
            size: from.u8()?,
            index: from.u16()?,
        });
        from.skip(2)?;
    }
    Ok(maps)
}

fn encode_maps(maps: &[TlvMap], to: &mut Writer) {
    for map in maps {
        to.u16(map.class);
        to.u8(map.kind);
        to.u8(map.size);
        to.u16(map.index);
        to.zeros(2);
    }
}
