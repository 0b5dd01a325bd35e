//! The exact-match cache: from the hash of a whole key to an entry, 8 bytes a slot.
//!
//! Four slots a bucket share half a cache line. A slot holds 32 bits of the hash and the entry's
//! number. The reader compares the entry itself, so a slot that points to a removed or reused
//! entry is harmless and nothing has to be cleaned here.

use vswitch_sys::memory::prefetch;

/// Buckets: 65,536 slots, 512 KiB, what fits a core's second-level cache beside the entries.
const BUCKETS: usize = 1 << 14;
const WAYS: usize = 4;

/// A slot that leads nowhere; a used one has the hash's upper half above the entry's number.
const EMPTY: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Emc {
    buckets: Box<[[u64; WAYS]]>,
    /// Which way is replaced next in a full bucket.
    victim: usize,
}

impl Emc {
    pub(super) fn new() -> Self {
        Self {
            buckets: vec![[EMPTY; WAYS]; BUCKETS].into_boxed_slice(),
            victim: 0,
        }
    }

    /// Says that this hash will be looked for soon.
    #[inline]
    pub(super) fn expect(&self, hash: u64) {
        prefetch(&self.buckets[hash as usize % BUCKETS]);
    }

    /// The entry that a key with this hash led to.
    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<u32> {
        let signature = hash >> 32;
        self.buckets[hash as usize % BUCKETS]
            .iter()
            .find(|&&slot| slot >> 32 == signature && slot != EMPTY)
            .map(|&slot| slot as u32)
    }

    /// Remembers that a key with this hash leads to entry `index`.
    pub(super) fn insert(&mut self, hash: u64, index: u32) {
        let signature = hash >> 32;
        let bucket = &mut self.buckets[hash as usize % BUCKETS];
        let way = bucket
            .iter()
            .position(|&slot| slot == EMPTY || slot >> 32 == signature)
            .unwrap_or_else(|| {
                self.victim = (self.victim + 1) % WAYS;
                self.victim
            });
        bucket[way] = signature << 32 | u64::from(index);
    }

    pub(super) fn len(&self) -> usize {
        let slots = self.buckets.iter().flatten();
        slots.filter(|&&slot| slot != EMPTY).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_keeps_four_and_replaces_in_turn() {
        let mut emc = Emc::new();
        let hash = |i: u64| i << 32 | 5;
        for i in 1..=4 {
            emc.insert(hash(i), i as u32);
        }
        assert!((1..=4).all(|i| emc.find(hash(i)) == Some(i as u32)));
        emc.insert(hash(5), 50);
        assert_eq!(emc.find(hash(5)), Some(50));
        let kept = (1..=4).filter(|&i| emc.find(hash(i)).is_some()).count();
        assert_eq!(kept, 3);
        emc.insert(hash(5), 51);
        assert_eq!(emc.find(hash(5)), Some(51));
        assert_eq!(emc.len(), 4);
        assert_eq!(emc.find(6), None);
    }
}
