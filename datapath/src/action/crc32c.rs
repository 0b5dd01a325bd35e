//! The CRC of SCTP: polynomial 0x1edc6f41, bits reversed (RFC 9260 appendix A).
//!
//! Not for bulk data: a byte at a time from one table, for the rare packet whose SCTP ports are
//! rewritten.

/// For each byte, what it does to the register.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// A running CRC.
pub(super) struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32c {
    /// Adds the next piece.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let [low, ..] = (self.0 ^ u32::from(*byte)).to_le_bytes();
            self.0 = TABLE[usize::from(low)] ^ self.0 >> 8;
        }
    }

    /// The sum, as the header holds it in little-endian order.
    pub(super) fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3720_examples() {
        let crc = |bytes: &[u8]| {
            let mut crc = Crc32c::default();
            crc.add(bytes);
            crc.finish()
        };
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc(b"123456789"), 0xe306_9283);
    }
}
