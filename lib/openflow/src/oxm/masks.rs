//! Lists of fields with the bits of each that count, as selection methods of groups have them: OXM
//! entries without a mask, whose value *is* the mask (Open vSwitch's
//! `include/openflow/netronome-ext.h`).

use vswitch_flow::Field;

use super::{Header, Wire, read_payload};
use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::wire::{Reader, Writer, require};

/// Reads a list up to the end.
///
/// # Errors
/// The `OFPBPC_*` or `OFPBMC_*` error that is due.
pub fn decode_masks(from: &mut Reader<'_>) -> Result<Vec<(Field, u128)>, OfError> {
    let mut fields: Vec<(Field, u128)> = Vec::new();
    while !from.is_empty() {
        let header = Header::read(from)?;
        let about = "a field of a list";
        require(!header.masked, ErrorCode::BmcBadMask, about)?;
        let wire = header.wire();
        let entry = read_payload(from, header, wire)?;
        let entry = entry.ok_or(ErrorCode::BmcBadField.about(about))?;
        let field = entry.wire.field;
        let twice = fields.iter().any(|(other, _)| *other == field);
        require(!twice, ErrorCode::BmcDupField, about)?;
        require(entry.value != 0, ErrorCode::BmcBadMask, about)?;
        fields.push((field, entry.value & field.info().max()));
    }
    Ok(fields)
}

/// Writes a list.
pub fn encode_masks(to: &mut Writer, version: Version, fields: &[(Field, u128)]) {
    for (field, mask) in fields {
        match Wire::preferred(*field, version) {
            Some(wire) => {
                wire.put_header(to, false);
                wire.put_value(to, *mask);
            }
            None => to.not_in("a field of a list", version),
        }
    }
}
