//! Sparse keys and masks: only the words that are not zero, as the flow caches store them.
//!
//! A TCP/IPv4 packet fills 6 of the key's words, so a sparse key hashes and compares in a few
//! instructions. A map has one bit for each word present; words follow in ascending order.
//!
//! Law: a sparse key holds no zero words except where its builder was told to keep them, and two
//! keys are equal exactly when their dense forms are, because builders drop zero words always.
//!
//! The hash is keyed with a seed chosen at start, so that nobody outside can aim at a bucket.

use std::fmt;

use crate::key::{FlowKey, FlowMask, WORDS};

/// A flow key without its zero words.
#[derive(Clone, Copy)]
pub struct SparseKey {
    map: u64,
    words: [u64; WORDS],
}

/// A mask without its zero words.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SparseMask {
    map: u64,
    words: [u64; WORDS],
}

/// One step of the keyed hash: multiply to 128 bits and fold, so that every input bit reaches
/// every output bit.
#[inline]
fn mix(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
    (product >> 64) as u64 ^ product as u64
}

impl SparseKey {
    /// A key with no words, to be filled in ascending word order.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self {
            map: 0,
            words: [0; WORDS],
        }
    }

    /// Appends word number `index` of the dense form; a zero is left out. Words must come in
    /// ascending order.
    #[inline]
    pub fn push(&mut self, index: usize, word: u64) {
        debug_assert!(index < WORDS && self.map >> index == 0, "words must ascend");
        if word != 0 {
            self.words[self.len() % WORDS] = word;
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
        self.words[at % WORDS]
    }

    /// A keyed hash over all words.
    #[inline]
    #[must_use]
    pub fn hash(&self, seed: u64) -> u64 {
        let mut state = mix(seed, self.map);
        for &word in &self.words[..self.len()] {
            state = mix(state, word);
        }
        state
    }

    /// A keyed hash over the bits of `mask`: equal for keys that agree under it.
    #[inline]
    #[must_use]
    pub fn hash_under(&self, mask: &SparseMask, seed: u64) -> u64 {
        let mut state = seed;
        for (index, bits) in mask.iter() {
            state = mix(state, self.word(index) & bits);
        }
        state
    }

    /// Whether both keys agree on all bits of `mask`.
    #[inline]
    #[must_use]
    pub fn equal_under(&self, other: &Self, mask: &SparseMask) -> bool {
        mask.iter()
            .all(|(index, bits)| (self.word(index) ^ other.word(index)) & bits == 0)
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
        self.map == other.map && self.words[..self.len()] == other.words[..self.len()]
    }
}

impl Eq for SparseKey {}

impl From<&FlowKey> for SparseKey {
    fn from(key: &FlowKey) -> Self {
        let mut sparse = Self::new();
        for (index, &word) in key.words.iter().enumerate() {
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
            words: [0; WORDS],
        };
        let mut len = 0;
        for (index, &word) in mask.words.iter().enumerate() {
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
    use proptest::prelude::*;

    fn words() -> impl Strategy<Value = [u64; WORDS]> {
        // Half of the words zero, as in a real key.
        prop::array::uniform18(prop_oneof![Just(0_u64), any::<u64>()])
    }

    proptest! {
        #[test]
        fn sparse_and_dense_are_the_same_key(a in words(), b in words()) {
            let (a, b) = (FlowKey { words: a }, FlowKey { words: b });
            let (sa, sb) = (SparseKey::from(&a), SparseKey::from(&b));
            prop_assert_eq!(sa.to_dense(), a);
            prop_assert_eq!(sa == sb, a == b);
            prop_assert_eq!(sa.hash(7), SparseKey::from(&a).hash(7));
            for i in 0..WORDS {
                prop_assert_eq!(sa.word(i), a.words[i]);
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
