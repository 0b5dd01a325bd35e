//! The flow key and mask: every field of a packet in a fixed number of 64-bit words.
//!
//! The dense form here is what translation and classification work on. Caches use the sparse form
//! of [`crate::sparse`]. Positions come from the table in [`crate::field`]; a field that a packet
//! does not have is zero.
//!
//! Cost: a field is a shift and a mask on one word, or two words for IPv6 addresses.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::field::Field;

/// Words of a key.
pub const WORDS: usize = 44;

/// The first words of a key hold what is known of a packet when it comes in. The others hold what
/// only the pipeline writes (metadata, registers): they begin as zero, so no cached decision
/// depends on them and the sparse form is without them.
pub const PACKET_WORDS: usize = 33;

/// The first word of a key that says what connection tracking found; [`CT_WORDS`] of them follow one
/// another.
pub const CT_WORD: usize = 25;

/// Words of a key that say what connection tracking found.
pub const CT_WORDS: usize = 8;

/// The first word of a key that no header of the packet is behind: tunnel, connection, and what
/// only the pipeline writes.
pub const META_WORD: usize = 18;

const _: () = assert!(WORDS <= 64, "maps of words have 64 bits");
const _: () = assert!(
    CT_WORD + CT_WORDS == PACKET_WORDS,
    "they are a packet's last words"
);

/// The values of all fields.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The words, laid out as the field table says.
    pub words: [u64; WORDS],
}

/// One bit for every bit of a key: set where it matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowMask {
    /// The words, laid out as the field table says.
    pub words: [u64; WORDS],
}

fn read(words: &[u64; WORDS], field: Field) -> u128 {
    let row = field.info();
    let word = row.word as usize;
    if row.bits == 128 {
        u128::from(words[word]) << 64 | u128::from(words[word + 1])
    } else {
        u128::from(words[word] >> row.shift) & row.max()
    }
}

fn write(words: &mut [u64; WORDS], field: Field, value: u128) {
    let row = field.info();
    let word = row.word as usize;
    if row.bits == 128 {
        words[word] = (value >> 64) as u64;
        words[word + 1] = value as u64;
    } else {
        let mask = (row.max() as u64) << row.shift;
        words[word] = words[word] & !mask | ((value as u64) << row.shift) & mask;
    }
}

impl FlowKey {
    /// The value of `field`, in host order.
    #[inline]
    #[must_use]
    pub fn field(&self, field: Field) -> u128 {
        read(&self.words, field)
    }

    /// Sets `field` to the low bits of `value`.
    #[inline]
    pub fn set(&mut self, field: Field, value: u128) {
        write(&mut self.words, field, value);
    }

    /// The key with every bit outside `mask` zero.
    #[must_use]
    pub fn masked(&self, mask: &FlowMask) -> Self {
        let mut key = *self;
        for (word, mask) in key.words.iter_mut().zip(&mask.words) {
            *word &= mask;
        }
        key
    }

    /// Whether both keys agree on all bits of `mask`.
    #[inline]
    #[must_use]
    pub fn equal_under(&self, other: &Self, mask: &FlowMask) -> bool {
        self.words
            .iter()
            .zip(&other.words)
            .zip(&mask.words)
            .all(|((a, b), m)| (a ^ b) & m == 0)
    }
}

impl FlowMask {
    /// A mask with every bit set.
    pub const EXACT: Self = Self {
        words: [u64::MAX; WORDS],
    };

    /// The bits of `field` that matter.
    #[inline]
    #[must_use]
    pub fn field(&self, field: Field) -> u128 {
        read(&self.words, field)
    }

    /// Sets the bits of `field` that matter.
    #[inline]
    pub fn set(&mut self, field: Field, bits: u128) {
        write(&mut self.words, field, bits);
    }

    /// Makes all bits of `field` matter, and those of the fields that say whether it exists.
    #[inline]
    pub fn require(&mut self, field: Field) {
        let row = field.info();
        write(&mut self.words, field, row.max());
        for &field in row.prerequisite.fields() {
            write(&mut self.words, field, field.info().max());
        }
    }

    /// Makes every bit that matters in `other` matter here.
    #[inline]
    pub fn union(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Makes no bit matter that matters in `other`.
    #[inline]
    pub fn remove(&mut self, other: &Self) {
        for (word, bits) in self.words.iter_mut().zip(&other.words) {
            *word &= !bits;
        }
    }

    /// Whether some bit matters here and in `other`.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let mut pairs = self.words.iter().zip(&other.words);
        pairs.any(|(word, bits)| word & bits != 0)
    }

    /// Whether no bit matters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }
}

/// Words as they are sent: a map of those that are not zero, and these in ascending order.
fn serialize<S: Serializer>(words: &[u64; WORDS], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = 0_u64;
    let mut present = Vec::new();
    for (index, &word) in words.iter().enumerate() {
        if word != 0 {
            map |= 1 << index;
            present.push(word);
        }
    }
    (map, present).serialize(serializer)
}

fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; WORDS], D::Error> {
    let (mut map, present) = <(u64, Vec<u64>)>::deserialize(deserializer)?;
    if map >> WORDS != 0 || map.count_ones() as usize != present.len() {
        return Err(de::Error::custom("the map of a key's words is wrong"));
    }
    let mut words = [0; WORDS];
    for word in present {
        if let Some(slot) = words.get_mut(map.trailing_zeros() as usize) {
            *slot = word;
        }
        map &= map.wrapping_sub(1);
    }
    Ok(words)
}

macro_rules! words {
    ($name:ident) => {
        impl Default for $name {
            fn default() -> Self {
                Self { words: [0; WORDS] }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize(&self.words, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer).map(|words| Self { words })
            }
        }
    };
}

words!(FlowKey);
words!(FlowMask);

/// Prints the fields that are not zero; a debugging aid, not the flow text.
fn debug(words: &[u64; WORDS], name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut out = f.debug_struct(name);
    for field in Field::all() {
        let value = read(words, field);
        if value != 0 {
            out.field(field.info().name, &format_args!("{value:#x}"));
        }
    }
    out.finish()
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(&self.words, "FlowKey", f)
    }
}

impl fmt::Debug for FlowMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(&self.words, "FlowMask", f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_reads_back_what_was_set_and_changes_nothing_else() {
        for field in Field::all() {
            let mut key = FlowKey {
                words: [0xa5a5_5a5a_a5a5_5a5a; WORDS],
            };
            let before = key;
            let value = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210 & field.info().max();
            key.set(field, value);
            assert_eq!(key.field(field), value, "{field}");
            key.set(field, before.field(field));
            assert_eq!(key, before, "{field} wrote outside its bits");
        }
    }

    #[test]
    fn what_tracking_found_has_words_of_its_own() {
        for field in Field::all() {
            let row = field.info();
            let words = usize::from(row.word)..=usize::from(row.word) + usize::from(row.bits > 64);
            let of_tracking = field >= Field::CtState && field <= Field::CtIpv6Dst;
            let there = words
                .clone()
                .all(|at| (CT_WORD..PACKET_WORDS).contains(&at));
            let partly = words
                .clone()
                .any(|at| (CT_WORD..PACKET_WORDS).contains(&at));
            assert_eq!((there, partly), (of_tracking, of_tracking), "{field}");
        }
    }

    #[test]
    fn require_covers_what_decides_whether_the_field_exists() {
        let mut mask = FlowMask::default();
        mask.require(Field::TcpDst);
        assert_eq!(mask.field(Field::TcpDst), 0xffff);
        assert_eq!(mask.field(Field::EthType), 0xffff);
        assert_eq!(mask.field(Field::IpProto), 0xff);
        assert_eq!(mask.field(Field::TcpSrc), 0);
    }
}
