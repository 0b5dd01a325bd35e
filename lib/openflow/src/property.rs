//! Properties: type, length, value, zeros to a multiple of eight (`ofp_prop_header`).
//!
//! OpenFlow 1.4 replaced most fixed layouts by lists of these; 1.3 has them in table features and
//! Nicira's extensions use them too. The length counts the header and not the zeros.

use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer};

/// Type of a property that an experimenter defines.
pub(crate) const EXPERIMENTER: u16 = 0xffff;

const BAD_LEN: OfError = ErrorCode::BpcBadLen.about("a property");

/// The next property: its type and its value.
pub(crate) fn read<'a>(from: &mut Reader<'a>) -> Result<(u16, Reader<'a>), OfError> {
    let mut padded = Reader::new(from.peek(), BAD_LEN);
    let (kind, size) = (padded.u16()?, usize::from(padded.u16()?));
    let value = padded.part(size.checked_sub(4).ok_or(BAD_LEN)?)?;
    from.part_with(size.next_multiple_of(8), BAD_LEN)
        .map_err(|_| BAD_LEN)?;
    Ok((kind, value))
}

/// Refuses a property that is not known here, as one that a request depends on must be.
pub(crate) fn unknown(kind: u16, about: &'static str) -> OfError {
    if kind == EXPERIMENTER {
        ErrorCode::BpcBadExperimenter.about(about)
    } else {
        ErrorCode::BpcBadType.about(about)
    }
}

/// Writes a property.
pub(crate) fn write(to: &mut Writer, kind: u16, value: impl FnOnce(&mut Writer)) {
    let start = to.size();
    to.u16(kind);
    let length = to.length();
    value(to);
    to.fill_length(length, start, "a property");
    to.pad8(start);
}

/// Writes a property whose value is a byte.
pub(crate) fn write_u8(to: &mut Writer, kind: u16, value: u8) {
    write(to, kind, |to| to.u8(value));
}

/// Writes a property whose value is 16 bits, filled up to eight bytes as the specification has it.
pub(crate) fn write_u16(to: &mut Writer, kind: u16, value: u16) {
    write(to, kind, |to| {
        to.u16(value);
        to.zeros(2);
    });
}

/// Writes a property whose value is 32 bits.
pub(crate) fn write_u32(to: &mut Writer, kind: u16, value: u32) {
    write(to, kind, |to| to.u32(value));
}

/// Writes a property whose value begins at a multiple of eight bytes.
pub(crate) fn write_aligned(to: &mut Writer, kind: u16, value: impl FnOnce(&mut Writer)) {
    write(to, kind, |to| {
        to.zeros(4);
        value(to);
    });
}

/// The value of a property that begins at a multiple of eight bytes.
pub(crate) fn aligned(mut value: Reader<'_>) -> Result<Reader<'_>, OfError> {
    value.skip(4)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: OfError = ErrorCode::BrcBadLen.about("a message");

    #[test]
    fn length_counts_the_header_and_not_the_zeros() {
        let mut to = Writer::new();
        write(&mut to, 7, |to| to.u8(9));
        let bytes = to.finish().unwrap();
        assert_eq!(bytes, [0, 7, 0, 5, 9, 0, 0, 0]);
        let mut from = Reader::new(&bytes, OUTER);
        let (kind, mut value) = read(&mut from).unwrap();
        assert_eq!((kind, value.u8(), value.left()), (7, Ok(9), 0));
        assert!(from.is_empty());
    }

    #[test]
    fn wrong_lengths_are_the_propertys_fault() {
        for bytes in [
            &[0, 7, 0][..],
            &[0, 7, 0, 3, 0, 0, 0, 0],
            &[0, 7, 0, 9, 0, 0, 0, 0],
            // The zeros are missing.
            &[0, 7, 0, 5, 9],
        ] {
            let refused = read(&mut Reader::new(bytes, OUTER)).unwrap_err();
            assert_eq!(refused.code, ErrorCode::BpcBadLen, "{bytes:?}");
        }
    }
}
