//! Bytes as the digits that data files and expectations have, and a reader's complaint.

use vswitch_openflow::{ErrorCode, OfError};

/// What a reader says of too few bytes.
pub(crate) const SHORT: OfError = ErrorCode::BrcBadLen.about("a test");

/// The bytes of hexadecimal digits; whatever else stands between them is passed over.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
