//! Sparse keys and masks: only the words that are not zero, as the flow caches store them.
//!
//! Only the [`PACKET_WORDS`] that describe a packet as it comes in are here; the pipeline's own are
//! zero then. A TCP/IPv4 packet fills 6 of the key's words, so a sparse key hashes and compares in a few
//! instructions. A map has one bit for each word present; words follow in ascending order.
//!
//! Law: a sparse key holds no zero words except where its builder was told to keep them, and two
//! keys are equal exactly when their dense forms are, because builders drop zero words always.
//!
//! The hash is keyed with a seed chosen at start, so that nobody outside can aim at a bucket.

use std::fmt;
use std::sync::Arc;

use crate::field::Field;
use crate::key::{CT_WORD, CT_WORDS, FlowKey, FlowMask, META_WORD, PACKET_WORDS};

/// A flow key without its zero words.
#[derive(Clone, Copy)]
pub struct SparseKey {
    map: u64,
    words: [u64; PACKET_WORDS],
}

/// A mask without its zero words.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SparseMask {
    map: u64,
    words: [u64; PACKET_WORDS],
}

/// Multiplies to 128 bits and folds, so that every input bit reaches every output bit.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// The keyed hash of words in order: a sum of products of two words each, as in NH (RFC 4418 §5.2),
/// because the products of one sum do not wait for each other. What keys a word depends on the
/// seed and its place. A word that is not there counts as zero.
#[inline]
fn hash(seed: u64, start: u64, mut words: impl Iterator<Item = u64>) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = start;
    let mut place = seed | 1;
    while let Some(a) = words.next() {
        let b = words.next().unwrap_or(0);
        place = place.wrapping_add(STEP);
        sum = sum.wrapping_add(fold(a ^ place, b ^ seed.wrapping_sub(place)));
    }
    fold(sum ^ seed, STEP)
}

/// The words of a mask that are not zero, of the whole key: what a flow table's subtable hashes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskWords(Arc<[(u8, u64)]>);

impl MaskWords {
    /// A keyed hash over the bits of the mask: equal for keys that agree under it.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey, seed: u64) -> u64 {
        let words = self.0.iter();
        let words = words.map(|(index, bits)| key.words[usize::from(*index)] & bits);
        hash(seed, 0, words)
    }

    /// Adds the bits of the mask to another.
    #[inline]
    pub fn add_to(&self, mask: &mut FlowMask) {
        for (index, bits) in self.0.iter() {
            mask.words[usize::from(*index)] |= bits;
        }
    }
}

impl From<&FlowMask> for MaskWords {
    fn from(mask: &FlowMask) -> Self {
        let words = mask.words.iter().enumerate();
        let words = words.filter(|(_, bits)| **bits != 0);
        Self(words.map(|(index, bits)| (index as u8, *bits)).collect())
    }
}

impl SparseKey {
    /// A key with no words, to be filled in ascending word order.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self {
            map: 0,
            words: [0; PACKET_WORDS],
        }
    }

    /// Appends word number `index` of the dense form; a zero is left out. Words must come in
    /// ascending order.
    #[inline]
    pub fn push(&mut self, index: usize, word: u64) {
        debug_assert!(
            index < PACKET_WORDS && self.map >> index == 0,
            "words must ascend"
        );
        let len = self.len();
        if word != 0
            && let Some(slot) = self.words.get_mut(len)
        {
            *slot = word;
            self.map |= 1 << index;
        }
    }

    /// Words held.
    #[inline]
    #[must_use]
    #[allow(
        clippy::len_without_is_empty,
        reason = "a key has at least its Ethernet words"
    )]
    pub fn len(&self) -> usize {
        self.map.count_ones() as usize
    }

    /// Word number `index` of the dense form.
    #[inline]
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        let bit = 1_u64 << index;
        if self.map & bit == 0 {
            return 0;
        }
        let at = (self.map & (bit - 1)).count_ones() as usize;
        self.words.get(at).copied().unwrap_or(0)
    }

    /// A keyed hash over all words.
    #[inline]
    #[must_use]
    pub fn hash(&self, seed: u64) -> u64 {
        hash(seed, self.map, self.present().iter().copied())
    }

    /// A keyed hash over the bits of `mask`: equal for keys that agree under it.
    #[inline]
    #[must_use]
    pub fn hash_under(&self, mask: &SparseMask, seed: u64) -> u64 {
        let words = mask.iter().map(|(index, bits)| self.word(index) & bits);
        hash(seed, 0, words)
    }

    /// Whether both keys agree on all bits of `mask`.
    #[inline]
    #[must_use]
    pub fn equal_under(&self, other: &Self, mask: &SparseMask) -> bool {
        // Most often it is the very packet again, or one that has the same words.
        if self.map == other.map {
            let pairs = self.present().iter().zip(other.present());
            let differs = pairs.map(|(a, b)| a ^ b);
            return differs.fold(0, |all, bits| all | bits) == 0
                || self.equal_where_present(other, mask);
        }
        mask.iter()
            .all(|(index, bits)| (self.word(index) ^ other.word(index)) & bits == 0)
    }

    /// The words that are there.
    #[inline]
    fn present(&self) -> &[u64] {
        self.words.get(..self.len()).unwrap_or_default()
    }

    /// [`Self::equal_under`] for keys that have the same words: what neither has is equal.
    #[inline]
    fn equal_where_present(&self, other: &Self, mask: &SparseMask) -> bool {
        let mut map = self.map;
        let mut differs = 0;
        for (a, b) in self.present().iter().zip(other.present()) {
            let bit = map & map.wrapping_neg();
            map ^= bit;
            if mask.map & bit != 0 {
                let at = (mask.map & (bit - 1)).count_ones() as usize;
                differs |= (a ^ b) & mask.words.get(at).copied().unwrap_or(0);
            }
        }
        differs == 0
    }

    /// This key, read from a packet's headers, for a packet that comes again under the number
    /// `recirc_id`: what tracking found is in `tracked`, and what else no header says is as in the
    /// key `before`.
    #[must_use]
    pub fn again(&self, before: &Self, tracked: &[u64; CT_WORDS], recirc_id: u32) -> Self {
        let mut key = Self::new();
        key.push(0, self.word(0) | u64::from(recirc_id));
        for index in 1..CT_WORD {
            let from = if index < META_WORD { self } else { before };
            key.push(index, from.word(index));
        }
        for (index, word) in (CT_WORD..).zip(tracked) {
            key.push(index, *word);
        }
        key
    }

    /// The same for a packet whose headers are as this key says: nothing has to be read again.
    #[inline]
    pub fn come_again(&mut self, tracked: &[u64; CT_WORDS], recirc_id: u32) {
        const NUMBER: u64 = u32::MAX as u64;
        let [first, ..] = &mut self.words;
        if self.map & 1 == 0 {
            *self = self.again(self, tracked, recirc_id);
            return;
        }
        *first = *first & !NUMBER | u64::from(recirc_id);
        // What tracking found are the last words.
        self.map &= (1 << CT_WORD) - 1;
        for (index, word) in (CT_WORD..).zip(tracked) {
            self.push(index, *word);
        }
    }

    /// Writes `value` to a field that the key may have. False when a word would come or go by that:
    /// the key has to be made anew then.
    #[inline]
    #[must_use]
    pub fn replace(&mut self, field: Field, value: u128) -> bool {
        let row = field.info();
        let index = usize::from(row.word);
        if row.bits == 128 {
            return self.replace_bits(index, (value >> 64) as u64, u64::MAX)
                && self.replace_bits(index + 1, value as u64, u64::MAX);
        }
        self.replace_bits(
            index,
            (value as u64) << row.shift,
            (row.max() as u64) << row.shift,
        )
    }

    fn replace_bits(&mut self, index: usize, value: u64, mask: u64) -> bool {
        let bit = 1_u64 << index;
        let there = self.map & bit != 0;
        let at = (self.map & (bit - 1)).count_ones() as usize;
        match self.words.get_mut(at) {
            Some(word) if there => {
                *word = *word & !mask | value & mask;
                *word != 0
            }
            _ => value & mask == 0,
        }
    }

    /// What tracking found.
    #[must_use]
    pub fn tracked(&self) -> [u64; CT_WORDS] {
        std::array::from_fn(|at| self.word(CT_WORD + at))
    }

    /// The dense form.
    #[must_use]
    pub fn to_dense(&self) -> FlowKey {
        let mut key = FlowKey::default();
        let mut map = self.map;
        for &word in &self.words[..self.len()] {
            key.words[map.trailing_zeros() as usize] = word;
            map &= map - 1;
        }
        key
    }
}

impl Default for SparseKey {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for SparseKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map && self.present() == other.present()
    }
}

impl Eq for SparseKey {}

impl From<&FlowKey> for SparseKey {
    fn from(key: &FlowKey) -> Self {
        let mut sparse = Self::new();
        for (index, &word) in key.words.iter().enumerate().take(PACKET_WORDS) {
            sparse.push(index, word);
        }
        sparse
    }
}

impl fmt::Debug for SparseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_dense().fmt(f)
    }
}

impl SparseMask {
    /// The words that are not zero, with their numbers, ascending.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let mut map = self.map;
        self.words[..self.map.count_ones() as usize]
            .iter()
            .map(move |&bits| {
                let index = map.trailing_zeros() as usize;
                map &= map - 1;
                (index, bits)
            })
    }

    /// Word number `index` of the dense form.
    #[inline]
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        let bit = 1_u64 << index;
        if self.map & bit == 0 {
            return 0;
        }
        let at = (self.map & (bit - 1)).count_ones() as usize;
        self.words.get(at).copied().unwrap_or(0)
    }

    /// The dense form.
    #[must_use]
    pub fn to_dense(&self) -> FlowMask {
        let mut mask = FlowMask::default();
        for (index, bits) in self.iter() {
            mask.words[index] = bits;
        }
        mask
    }
}

impl From<&FlowMask> for SparseMask {
    fn from(mask: &FlowMask) -> Self {
        let mut sparse = Self {
            map: 0,
            words: [0; PACKET_WORDS],
        };
        let mut len = 0;
        for (index, &word) in mask.words.iter().enumerate().take(PACKET_WORDS) {
            if word != 0 {
                sparse.words[len] = word;
                sparse.map |= 1 << index;
                len += 1;
            }
        }
        sparse
    }
}

impl fmt::Debug for SparseMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_dense().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::WORDS;
    use proptest::prelude::*;

    fn words() -> impl Strategy<Value = [u64; WORDS]> {
        // Half of the words zero, as in a real key; those of the pipeline always.
        prop::collection::vec(prop_oneof![Just(0_u64), any::<u64>()], PACKET_WORDS).prop_map(
            |packet| {
                let mut words = [0; WORDS];
                words[..PACKET_WORDS].copy_from_slice(&packet);
                words
            },
        )
    }

    proptest! {
        #[test]
        fn sparse_and_dense_are_the_same_key(a in words(), b in words()) {
            let (a, b) = (FlowKey { words: a }, FlowKey { words: b });
            let (sa, sb) = (SparseKey::from(&a), SparseKey::from(&b));
            prop_assert_eq!(sa.to_dense(), a);
            prop_assert_eq!(sa == sb, a == b);
            prop_assert_eq!(sa.hash(7), SparseKey::from(&a).hash(7));
            for i in 0..PACKET_WORDS {
                prop_assert_eq!(sa.word(i), a.words[i]);
            }
        }

        #[test]
        fn a_packet_that_comes_again_keeps_what_no_header_says(
            read in words(), before in words(), tracked in any::<[u64; CT_WORDS]>(), id in 1..9_u32
        ) {
            let mut read = FlowKey { words: read };
            read.set(Field::RecircId, 0);
            let before = FlowKey { words: before };
            let again = SparseKey::from(&read).again(&SparseKey::from(&before), &tracked, id);
            prop_assert_eq!(again.tracked(), tracked);
            let mut wanted = before;
            wanted.words[..META_WORD].copy_from_slice(&read.words[..META_WORD]);
            wanted.words[CT_WORD..PACKET_WORDS].copy_from_slice(&tracked);
            wanted.set(Field::RecircId, id.into());
            prop_assert_eq!(again.to_dense(), wanted);
        }

        #[test]
        fn a_packet_that_comes_again_as_it_was_is_not_read_anew(
            key in words(), tracked in any::<[u64; CT_WORDS]>(), id in 1..9_u32
        ) {
            let mut key = FlowKey { words: key };
            let mut came = SparseKey::from(&key);
            came.come_again(&tracked, id);
            let before = SparseKey::from(&key);
            key.set(Field::RecircId, 0);
            prop_assert_eq!(came, SparseKey::from(&key).again(&before, &tracked, id));
        }

        #[test]
        fn a_field_is_replaced_or_the_key_is_to_be_made_anew(
            key in words(), value in any::<u128>(), share in 0..6_u32, which in 0..3_usize
        ) {
            let field = [Field::Ipv4Src, Field::Ipv6Dst, Field::TcpSrc][which];
            let mut key = FlowKey { words: key };
            // Zero often enough.
            let value = if share == 0 { 0 } else { value & field.info().max() };
            let mut sparse = SparseKey::from(&key);
            let map = sparse.map;
            let replaced = sparse.replace(field, value);
            key.set(field, value);
            let wanted = SparseKey::from(&key);
            prop_assert_eq!(replaced, wanted.map == map);
            if replaced {
                prop_assert_eq!(sparse, wanted);
            }
        }

        #[test]
        fn masked_comparison_and_hash_agree_with_the_dense_form(
            a in words(), b in words(), m in words(), share in any::<u64>()
        ) {
            let a = FlowKey { words: a };
            let mask = FlowMask { words: m };
            // A second key that agrees under the mask in some of the words.
            let mut b = FlowKey { words: b };
            for i in 0..WORDS {
                if share >> i & 1 == 1 {
                    b.words[i] = a.words[i] & mask.words[i] | b.words[i] & !mask.words[i];
                }
            }
            let sparse = SparseMask::from(&mask);
            prop_assert_eq!(sparse.to_dense(), mask);
            let (sa, sb) = (SparseKey::from(&a), SparseKey::from(&b));
            let equal = a.equal_under(&b, &mask);
            prop_assert_eq!(sa.equal_under(&sb, &sparse), equal);
            prop_assert_eq!(equal, a.masked(&mask) == b.masked(&mask));
            if equal {
                prop_assert_eq!(sa.hash_under(&sparse, 3), sb.hash_under(&sparse, 3));
            }
        }
    }
}
