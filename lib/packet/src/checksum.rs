//! The internet checksum: sums over slices, pseudo headers, and updates without summing again.
//!
//! Not for the CRC32c of SCTP, which nobody in the switch has to change.
//!
//! Law: a [`Sum`] is kept in the byte order of the machine and as wide as 64 bits, so that adding
//! is one instruction per word; carries are folded in once, at the end. One's complement sums do
//! not care about the byte order of the words (RFC 1071 §2 (B)), so only the end swaps.
//!
//! Cost: about a cycle per 16 bytes, plus a few cycles for the fold. Spec: RFC 1071,
//! RFC 1624 (updates), RFC 9293 §3.1 and RFC 8200 §8.1 (pseudo headers), RFC 768 (zero means none).

/// A running sum that is not yet folded.
///
/// Pieces may have any size: a piece that ends on an odd byte is continued by the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Sum of 32-bit words in machine order. 2^32 words, 16 GiB, fit before it could overflow.
    acc: u64,
    /// An odd number of bytes was added: the next byte is the low half of a 16-bit word.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { acc: 0, odd: false }
    }

    /// The sum of the pseudo header of TCP or UDP over IPv4. `size` is the bytes of the transport
    /// header and payload.
    #[inline]
    #[must_use]
    pub fn pseudo_v4(src: [u8; 4], dst: [u8; 4], protocol: u8, size: u32) -> Self {
        let mut sum = Self::new();
        sum.word32(src);
        sum.word32(dst);
        sum.word32(u32::from(protocol).to_be_bytes());
        sum.word32(size.to_be_bytes());
        sum
    }

    /// The sum of the pseudo header over IPv6. `protocol` is that of the transport header, not of
    /// an extension header before it; `size` as in [`Self::pseudo_v4`].
    #[inline]
    #[must_use]
    pub fn pseudo_v6(src: [u8; 16], dst: [u8; 16], protocol: u8, size: u32) -> Self {
        let mut sum = Self::new();
        sum.add(&src);
        sum.add(&dst);
        sum.word32(u32::from(protocol).to_be_bytes());
        sum.word32(size.to_be_bytes());
        sum
    }

    #[inline]
    fn word32(&mut self, bytes: [u8; 4]) {
        self.acc += u64::from(u32::from_ne_bytes(bytes));
    }

    /// Adds a 16-bit value that stands in the packet at an even place.
    #[inline]
    pub fn add_u16(&mut self, value: u16) {
        self.acc += u64::from(value.to_be());
    }

    /// Adds the next piece.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let sum = sum_words(bytes);
        // A sum over bytes moved by one place is the sum with its bytes swapped (RFC 1071 §2 (B)).
        self.acc += if self.odd {
            u64::from(fold(sum).swap_bytes())
        } else {
            sum
        };
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// The folded sum, not complemented: what a field holds whose checksum is only begun.
    #[inline]
    #[must_use]
    pub fn folded(self) -> u16 {
        u16::from_be(fold(self.acc))
    }

    /// The checksum, to be stored in the field. The field itself was summed as zero.
    #[inline]
    #[must_use]
    pub fn finish(self) -> u16 {
        !self.folded()
    }

    /// [`Self::finish`] for UDP, where a zero field means that there is no checksum.
    #[inline]
    #[must_use]
    pub fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            sum => sum,
        }
    }

    /// True when the bytes summed, the checksum field among them, are as they were sent.
    #[inline]
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.folded() == 0xffff
    }
}

/// Sum of the 32-bit words of `bytes` in machine order; a rest is filled with zeros.
#[inline]
fn sum_words(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut lanes = [0u64; 8];
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut sum: u64 = lanes.iter().sum();
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    sum + u64::from(u32::from_ne_bytes(last))
}

/// Adds the carries in until 16 bits are left.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum of one slice whose checksum field is zero, such as an IPv4 header.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add(bytes);
    sum.finish()
}

/// The checksum after a 16-bit word of what it covers changed from `old` to `new`
/// (RFC 1624 equation 3: HC' = ~(~HC + ~m + m')).
#[inline]
#[must_use]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// The checksum after the covered bytes `old`, which begin at an even place, became `new`. Sizes
/// may differ as long as both are even, so that what follows keeps its place in the words.
#[inline]
#[must_use]
pub fn update_bytes(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let mut gone = Sum::new();
    gone.add(old);
    let mut sum = Sum::new();
    sum.add_u16(!checksum);
    sum.add_u16(!gone.folded());
    sum.add(new);
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 in its plainest form.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn rfc_1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn ipv4_header_of_a_real_packet() {
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        let mut sum = Sum::new();
        sum.add(&header);
        assert!(sum.is_whole());
        header[10] = 0;
        header[11] = 0;
        assert_eq!(checksum(&header), 0xb861);
    }

    #[test]
    fn all_ones_do_not_overflow_the_fold() {
        for len in 0..200 {
            let bytes = vec![0xff; len];
            assert_eq!(checksum(&bytes), slow(&bytes), "{len} bytes");
        }
        assert_eq!(fold(u64::MAX), 0xffff);
    }

    #[test]
    fn a_udp_checksum_is_never_zero() {
        let mut sum = Sum::new();
        sum.add(&[0xff, 0xff]);
        assert_eq!((sum.finish(), sum.finish_udp()), (0, 0xffff));
    }

    /// RFC 1624 §4: the older equation gave 0x0000 here where 0xffff is not right.
    #[test]
    fn rfc_1624_example() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn pseudo_headers_equal_their_bytes() {
        let mut sum = Sum::new();
        sum.add(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 1, 2]);
        let pseudo = Sum::pseudo_v4([10, 0, 0, 1], [10, 0, 0, 2], 17, 0x102);
        assert_eq!(pseudo.folded(), sum.folded());

        let (src, dst) = ([1; 16], [0xfe; 16]);
        let mut sum = Sum::new();
        sum.add(&src);
        sum.add(&dst);
        sum.add(&[0, 1, 2, 3, 0, 0, 0, 6]);
        assert_eq!(Sum::pseudo_v6(src, dst, 6, 0x10203).folded(), sum.folded());
    }

    proptest! {
        #[test]
        fn any_bytes_equal_the_plain_sum(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(checksum(&bytes), slow(&bytes));
        }

        #[test]
        fn pieces_equal_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(0usize..300, 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().filter(|c| *c <= bytes.len()).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let (mut sum, mut from) = (Sum::new(), 0);
            for to in cuts {
                sum.add(&bytes[from..to]);
                from = to;
            }
            prop_assert_eq!(sum.finish(), slow(&bytes));
        }

        /// What is updated verifies as what is summed again does. The two forms of zero are equal
        /// to a receiver, but an update of a header that is not all zeros never makes 0xffff.
        #[test]
        fn an_update_equals_a_new_sum(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..60),
            at in 0usize..9,
            new in any::<[u8; 2]>(),
        ) {
            bytes[18] = 0x45;
            let before = slow(&bytes);
            let old = [bytes[2 * at], bytes[2 * at + 1]];
            bytes[2 * at..2 * at + 2].copy_from_slice(&new);
            let after = slow(&bytes);
            prop_assert_eq!(update(before, u16::from_be_bytes(old), u16::from_be_bytes(new)), after);
            prop_assert_eq!(update_bytes(before, &old, &new), after);
        }
    }
}
