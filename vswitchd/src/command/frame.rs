//! Packets as people write them.

/// Bytes of an Ethernet header.
const HEADER: usize = 14;

/// Why text is no packet, in the words of Open vSwitch (`eth_from_hex` in `lib/packets.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Something else than pairs of digits.
    #[error("Trailing garbage in packet data")]
    Garbage,
    /// Not even an Ethernet header.
    #[error("Packet data too short for Ethernet")]
    Short,
}

/// Reads bytes in hexadecimal; blanks may stand between them.
pub(super) fn read_bytes(text: &str) -> Result<Vec<u8>, FrameError> {
    let digit = |letter: u8| char::from(letter).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Vec::new();
    let mut rest = text.trim_ascii_start().as_bytes();
    while let [high, low, after @ ..] = rest {
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            break;
        };
        bytes.push(high << 4 | low);
        rest = after.trim_ascii_start();
    }
    if rest.is_empty() {
        Ok(bytes)
    } else {
        Err(FrameError::Garbage)
    }
}

/// Reads a frame.
pub(super) fn read_frame(text: &str) -> Result<Vec<u8>, FrameError> {
    let bytes = read_bytes(text)?;
    if bytes.len() < HEADER {
        return Err(FrameError::Short);
    }
    Ok(bytes)
}

/// A payload of `len` bytes that count up.
pub(super) fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| at as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_pairs_of_digits() {
        assert_eq!(
            read_bytes(" 50 54\t0aFf "),
            Ok(vec![0x50, 0x54, 0x0a, 0xff])
        );
        assert_eq!(read_bytes("5"), Err(FrameError::Garbage));
        assert_eq!(read_bytes("5 0"), Err(FrameError::Garbage));
        assert_eq!(read_bytes("50zz"), Err(FrameError::Garbage));
        assert_eq!(read_frame("505400000005"), Err(FrameError::Short));
        let frame = "505400000005 505400000006 88cc";
        assert_eq!(read_frame(frame).map(|bytes| bytes.len()), Ok(14));
    }
}
