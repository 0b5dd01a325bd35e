//! What a flow matches.
//!
//! A match says something of a few words of the key. Only these are stored, as pairs of value and
//! mask in ascending order, since a table may hold a hundred thousand matches. Two matches are
//! equal exactly when they match the same packets: bits of a value outside its mask are zero, and
//! there is no pair whose mask is zero.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::field::Field;
use crate::key::{FlowKey, FlowMask, WORDS};

/// Bits of a connection's state that no packet has set; see [`Match::new`].
const NO_STATE: u128 = 0xffff_ff00;

/// A key and the bits of it that matter.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// One bit for each word of the key that matters.
    map: u64,
    /// Value and mask of these words.
    words: Box<[(u64, u64)]>,
}

impl Match {
    /// Matches every packet.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// A match on the bits of `mask`. `ct_state` has 32 bits on the wire and eight that mean
    /// something; that the others must be zero says nothing and is left out, so that all who match
    /// the whole state say the same.
    #[must_use]
    pub fn new(key: &FlowKey, mask: &FlowMask) -> Self {
        let state = mask.field(Field::CtState);
        if state & NO_STATE != 0 {
            let kept = !NO_STATE | key.field(Field::CtState);
            let mut mask = *mask;
            mask.set(Field::CtState, state & kept);
            return Self::of_words(key, &mask);
        }
        Self::of_words(key, mask)
    }

    fn of_words(key: &FlowKey, mask: &FlowMask) -> Self {
        let mut map = 0;
        for (index, &mask) in mask.words.iter().enumerate() {
            map |= u64::from(mask != 0) << index;
        }
        let words = key.words.iter().zip(&mask.words);
        let words = words.filter(|(_, mask)| **mask != 0);
        Self {
            map,
            words: words.map(|(key, mask)| (key & mask, *mask)).collect(),
        }
    }

    /// Adds: all of `field` must be `value`.
    #[must_use]
    pub fn with(self, field: Field, value: u128) -> Self {
        self.with_masked(field, value, field.info().max())
    }

    /// Adds: the bits `mask` of `field` must be as in `value`. What was said of these bits before
    /// no longer holds; what was said of others stays. Who adds many fields sets them in a
    /// [`FlowKey`] and a [`FlowMask`] and calls [`Match::new`], which allocates once.
    #[must_use]
    pub fn with_masked(self, field: Field, value: u128, mask: u128) -> Self {
        let (mut keys, mut masks) = (self.key(), self.mask());
        masks.set(field, masks.field(field) | mask);
        let kept = keys.field(field) & !mask;
        keys.set(field, kept | value & mask);
        Self::new(&keys, &masks)
    }

    /// The values, zero where they do not matter.
    #[must_use]
    pub fn key(&self) -> FlowKey {
        let mut key = FlowKey::default();
        for (index, value, _) in self.iter() {
            key.words[index] = value;
        }
        key
    }

    /// The bits that matter.
    #[must_use]
    pub fn mask(&self) -> FlowMask {
        let mut dense = FlowMask::default();
        for (index, _, mask) in self.iter() {
            dense.words[index] = mask;
        }
        dense
    }

    /// The words that matter, ascending: number, value, mask.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
        let mut map = self.map;
        self.words.iter().map(move |&(value, mask)| {
            let index = map.trailing_zeros() as usize;
            map &= map.wrapping_sub(1);
            (index, value, mask)
        })
    }

    /// Whether nothing matters: every packet matches.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.map == 0
    }

    /// The value of a field, zero in the bits that do not matter, and its bits that matter.
    #[must_use]
    pub fn field(&self, field: Field) -> (u128, u128) {
        let row = field.info();
        let word = |index: usize| {
            let bit = 1_u64 << index;
            if self.map & bit == 0 {
                return (0, 0);
            }
            let at = (self.map & (bit - 1)).count_ones() as usize;
            self.words.get(at).copied().unwrap_or_default()
        };
        let (value, mask) = word(usize::from(row.word));
        if row.bits == 128 {
            let (low, low_mask) = word(usize::from(row.word) + 1);
            let wide = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
            (wide(value, low), wide(mask, low_mask))
        } else {
            let narrow = |word: u64| u128::from(word >> row.shift) & row.max();
            (narrow(value), narrow(mask))
        }
    }

    /// Whether a packet with `key` matches.
    #[inline]
    #[must_use]
    pub fn matches(&self, key: &FlowKey) -> bool {
        self.iter()
            .all(|(index, value, mask)| (key.words[index] ^ value) & mask == 0)
    }

    /// Whether every packet that `narrow` matches is one that this matches, as modifying and
    /// deleting flows ask (OpenFlow 1.3.5 §6.4).
    #[must_use]
    pub fn covers(&self, narrow: &Self) -> bool {
        if self.map & !narrow.map != 0 {
            return false;
        }
        let mut others = narrow.iter();
        self.iter().all(|(index, value, bits)| {
            // Both ascend, and the other has every word that this has.
            let same = others.find(|(other, _, _)| *other == index);
            same.is_some_and(|(_, other, mask)| bits & !mask == 0 && (other ^ value) & bits == 0)
        })
    }

    /// Whether some packet could match both (overlap, OpenFlow 1.3.5 §6.4).
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (key, mask) = (other.key(), other.mask());
        self.iter()
            .all(|(index, value, bits)| (key.words[index] ^ value) & bits & mask.words[index] == 0)
    }
}

impl fmt::Debug for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Match")
            .field("key", &self.key())
            .field("mask", &self.mask())
            .finish()
    }
}

impl Serialize for Match {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.map, &self.words).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Match {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (map, words) = <(u64, Box<[(u64, u64)]>)>::deserialize(deserializer)?;
        let canonical = words
            .iter()
            .all(|(value, mask)| *mask != 0 && value & !mask == 0);
        if map >> WORDS != 0 || map.count_ones() as usize != words.len() || !canonical {
            return Err(de::Error::custom("a match's words are wrong"));
        }
        Ok(Self { map, words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> Match {
        Match::any()
            .with(Field::EthType, 0x0800)
            .with(Field::IpProto, 6)
    }

    #[test]
    fn fields_read_back_and_what_is_said_later_holds() {
        let both = tcp()
            .with(Field::Ipv6Src, 1 << 127 | 5)
            .with(Field::Reg3, 7);
        assert_eq!(both.field(Field::IpProto), (6, 0xff));
        assert_eq!(both.field(Field::Ipv6Src), (1 << 127 | 5, u128::MAX));
        assert_eq!(both.field(Field::Reg3), (7, 0xffff_ffff));
        assert_eq!(both.field(Field::Reg2), (0, 0));
        assert_eq!(both.field(Field::Xreg1), (7, 0xffff_ffff));
        assert_eq!(both.clone().with(Field::Reg3, 8).field(Field::Reg3).0, 8);
        assert_eq!(Match::new(&both.key(), &both.mask()), both);
        let state = Match::any().with(Field::CtState, 0x21);
        assert_eq!(state, Match::any().with_masked(Field::CtState, 0x21, 0xff));
        assert_eq!(state.field(Field::CtState), (0x21, 0xff));
    }

    #[test]
    fn covering_and_overlapping() {
        let any = Match::any();
        let to = |port| tcp().with(Field::TcpDst, port);
        assert!(any.covers(&to(80)) && !to(80).covers(&any));
        assert!(tcp().covers(&to(80)) && !to(80).covers(&to(81)));
        assert!(to(80).overlaps(&tcp()) && tcp().overlaps(&to(80)));
        assert!(!to(80).overlaps(&to(81)));
        assert!(to(80).overlaps(&Match::any().with(Field::InPort, 1)));
        let mut key = FlowKey::default();
        key.set(Field::EthType, 0x0800);
        key.set(Field::IpProto, 6);
        assert!(tcp().matches(&key) && !to(80).matches(&key));
    }
}
