//! Groups and meters by their numbers: a map from numbers to shared values that is cheap to copy for
//! a change. It is kept in parts, and a change copies one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Parts: with ten thousand values a change copies 160 of them.
const PARTS: usize = 64;

type Part<T> = BTreeMap<u32, Arc<T>>;

/// The map.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    parts: Box<[Arc<Part<T>>]>,
    len: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Arc::default()).collect(),
            len: 0,
        }
    }
}

impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            len: self.len,
        }
    }
}

impl<T> Shelf<T> {
    fn part(&mut self, id: u32) -> Option<&mut Part<T>> {
        let part = self.parts.get_mut(id as usize % PARTS)?;
        Some(Arc::make_mut(part))
    }

    pub(super) fn get(&self, id: u32) -> Option<&Arc<T>> {
        self.parts.get(id as usize % PARTS)?.get(&id)
    }

    /// Puts a value in the place of the one with its number, if there is one.
    pub(super) fn insert(&mut self, id: u32, value: Arc<T>) {
        let old = self.part(id).and_then(|part| part.insert(id, value));
        self.len += usize::from(old.is_none());
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Arc<T>> {
        let old = self.part(id)?.remove(&id)?;
        self.len -= 1;
        Some(old)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All values in the order of their numbers.
    pub(super) fn sorted(&self) -> Vec<&Arc<T>> {
        let mut all: Vec<_> = self.parts.iter().flat_map(|part| part.iter()).collect();
        all.sort_unstable_by_key(|(id, _)| **id);
        all.into_iter().map(|(_, value)| value).collect()
    }
}

/// How many flows name a value. Shared with the value that takes its place; control alone writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Users(Arc<AtomicU32>);

impl Users {
    pub(super) fn len(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, more: i64) {
        let len = i64::from(self.len()) + more;
        debug_assert!(len >= 0, "a flow leaves what it never joined");
        self.0.store(len.max(0) as u32, Ordering::Relaxed);
    }
}
