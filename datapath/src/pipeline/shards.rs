//! A hash table that is cheap to copy for a change: it is kept in parts, and a change copies one.
//!
//! Law: there are about as many parts as entries in a part, so a change copies about two times the
//! square root of the number of entries, whatever else holds the old value. The parts double when
//! there are more entries than parts squared; over all insertions that costs a constant for each.
//!
//! Whoever inserts hands the hash in and must be able to give it again.

use std::sync::Arc;

use hashbrown::HashTable;

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Shards<T> {
    /// A power of two of them.
    parts: Vec<Arc<HashTable<T>>>,
    len: usize,
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self {
            parts: vec![Arc::default()],
            len: 0,
        }
    }
}

impl<T: Clone> Shards<T> {
    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Parts.
    pub(super) fn parts_len(&self) -> usize {
        self.parts.len()
    }

    /// The part in which entries with a hash are. Bits that the parts do not use themselves.
    #[inline]
    pub(super) fn part_of(&self, hash: u64) -> usize {
        (hash >> 24) as usize & (self.parts.len() - 1)
    }

    /// Finds an entry.
    #[inline]
    pub(super) fn find(&self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&T> {
        self.parts.get(self.part_of(hash))?.find(hash, is)
    }

    /// Finds an entry to change it.
    pub(super) fn find_mut(&mut self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let part = self.part_of(hash);
        Arc::make_mut(self.parts.get_mut(part)?).find_mut(hash, is)
    }

    /// Adds an entry that is not there; true when the entries were divided anew.
    pub(super) fn insert(&mut self, hash: u64, entry: T, hash_of: impl Fn(&T) -> u64) -> bool {
        self.len += 1;
        let grows = self.len > self.parts.len() * self.parts.len();
        if grows {
            self.grow(&hash_of);
        }
        let part = self.part_of(hash);
        if let Some(part) = self.parts.get_mut(part) {
            Arc::make_mut(part).insert_unique(hash, entry, hash_of);
        }
        grows
    }

    fn grow(&mut self, hash_of: &impl Fn(&T) -> u64) {
        let old = std::mem::take(&mut self.parts);
        self.parts = (0..2 * old.len()).map(|_| Arc::default()).collect();
        for entry in old.iter().flat_map(|part| part.iter()) {
            let hash = hash_of(entry);
            let part = self.part_of(hash);
            if let Some(part) = self.parts.get_mut(part).and_then(Arc::get_mut) {
                part.insert_unique(hash, entry.clone(), hash_of);
            }
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<T> {
        let part = self.part_of(hash);
        let part = Arc::make_mut(self.parts.get_mut(part)?);
        let (entry, _) = part.find_entry(hash, is).ok()?.remove();
        self.len -= 1;
        Some(entry)
    }

    /// The entries of a part.
    pub(super) fn part(&self, part: usize) -> impl Iterator<Item = &T> {
        self.parts
            .get(part)
            .into_iter()
            .flat_map(|part| part.iter())
    }

    /// All entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn hash(value: &u64) -> u64 {
        value.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn it_holds_what_a_set_holds_and_a_copy_keeps_what_it_had() {
        let (mut shards, mut set) = (Shards::default(), BTreeSet::new());
        for value in 0..5000_u64 {
            shards.insert(hash(&value), value, hash);
            set.insert(value);
            if value % 3 == 0 {
                let half = value / 2;
                let gone = shards.remove(hash(&half), |v| *v == half);
                assert_eq!(gone.is_some(), set.remove(&half));
            }
        }
        let copy = shards.clone();
        for value in 0..5000 {
            shards.remove(hash(&value), |v| *v == value);
        }
        assert_eq!(shards.len(), 0);
        assert_eq!(copy.iter().copied().collect::<BTreeSet<_>>(), set);
        assert_eq!(copy.len(), set.len());
        assert!(
            set.iter()
                .all(|value| copy.find(hash(value), |v| v == value).is_some())
        );
    }

    #[test]
    fn a_change_copies_one_part_of_many() {
        let mut shards = Shards::default();
        for value in 0..100_000_u64 {
            shards.insert(hash(&value), value, hash);
        }
        let copy = shards.clone();
        shards.remove(hash(&7), |v| *v == 7);
        let differ = shards.parts.iter().zip(&copy.parts);
        let differ: Vec<_> = differ.filter(|(a, b)| !Arc::ptr_eq(a, b)).collect();
        assert_eq!(differ.len(), 1);
        let largest = copy.parts.iter().map(|part| part.len()).max().unwrap_or(0);
        assert!(
            (256..=512).contains(&copy.parts.len()) && largest < 1000,
            "{largest}"
        );
    }
}
