//! A hash table that is cheap to copy for a change: a tree by the bits of the hash, of which a change
//! copies the way to one leaf.
//!
//! Law: a leaf has at most [`LEAF_MAX`] entries, or lies as deep as the hash has bits; what the tree
//! holds does not depend on the order in which it came. Every node knows the highest [`Hashed::top`]
//! below it.
//!
//! Cost: with a hundred thousand entries five forks and a leaf to find one. A change that has the
//! tree for itself changes it in place; while somebody holds the old value it copies five forks of
//! eight references each and a leaf, some fifty references, whatever else the table holds.

use std::sync::Arc;

/// Bits of the hash that a fork decides by.
const BITS: u32 = 3;

/// Children of a fork. Few, because a copy counts up a reference in each.
const FAN: usize = 1 << BITS;

/// Most entries of a leaf; a full one becomes a fork of leaves with three each.
const LEAF_MAX: usize = 24;

/// Forks on one way at most: then the hash has no bits left, and the leaf takes what comes.
const DEPTH_MAX: u32 = u64::BITS / BITS;

/// Room that a full leaf is given at a time. Doubling would leave a third of it unused.
const LEAF_STEP: usize = 4;

/// What a table can hold.
pub(super) trait Hashed: Clone {
    /// Its hash; never another for the same entry.
    fn hash(&self) -> u64;

    /// What the table is to know the highest of.
    fn top(&self) -> u16;
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Shards<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Debug)]
enum Node<T> {
    Leaf {
        top: u16,
        entries: Arc<Vec<T>>,
    },
    Fork {
        top: u16,
        children: Arc<[Self; FAN]>,
    },
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf { top, entries } => Self::Leaf {
                top: *top,
                entries: Arc::clone(entries),
            },
            Self::Fork { top, children } => Self::Fork {
                top: *top,
                children: Arc::clone(children),
            },
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self::Leaf {
            top: 0,
            entries: Arc::default(),
        }
    }
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self {
            root: Node::default(),
            len: 0,
        }
    }
}

/// The child of a fork `depth` forks below the root in which entries with a hash are.
#[inline]
fn branch(hash: u64, depth: u32) -> usize {
    (hash >> (depth * BITS)) as usize % FAN
}

impl<T: Hashed> Shards<T> {
    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The highest `top` of all entries, 0 when there is none.
    pub(super) fn top(&self) -> u16 {
        self.root.top()
    }

    /// Finds an entry.
    #[inline]
    pub(super) fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&T> {
        let (mut node, mut left) = (&self.root, hash);
        loop {
            match node {
                Node::Leaf { entries, .. } => {
                    return entries.iter().find(|e| e.hash() == hash && is(e));
                }
                Node::Fork { children, .. } => {
                    node = &children[left as usize % FAN];
                    left >>= BITS;
                }
            }
        }
    }

    /// Changes an entry, if it is there. What tells it from others must stay.
    pub(super) fn update<R>(
        &mut self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        change: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        // Looking first, so that nothing is copied for an entry that is not there.
        self.find(hash, &is)?;
        let is = |entry: &T| entry.hash() == hash && is(entry);
        self.root.update(hash, 0, &is, change)
    }

    /// Adds an entry that is not there.
    pub(super) fn insert(&mut self, entry: T) {
        self.len += 1;
        self.root.insert(entry, 0);
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, hash: u64, is: impl Fn(&T) -> bool) -> Option<T> {
        self.find(hash, &is)?;
        let is = |entry: &T| entry.hash() == hash && is(entry);
        let entry = self.root.remove(hash, 0, &is)?;
        self.len -= 1;
        Some(entry)
    }

    /// All entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut nodes = vec![&self.root];
        let mut leaf: std::slice::Iter<'_, T> = [].iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(entry) = leaf.next() {
                    return Some(entry);
                }
                match nodes.pop()? {
                    Node::Leaf { entries, .. } => leaf = entries.iter(),
                    Node::Fork { children, .. } => nodes.extend(children.iter().rev()),
                }
            }
        })
    }
}

// These call themselves; the depth is bounded by `DEPTH_MAX`, and only control makes changes.
impl<T: Hashed> Node<T> {
    fn top(&self) -> u16 {
        match self {
            Self::Leaf { top, .. } | Self::Fork { top, .. } => *top,
        }
    }

    fn insert(&mut self, entry: T, depth: u32) {
        match self {
            Self::Fork { top, children } => {
                *top = entry.top().max(*top);
                let children = Arc::make_mut(children);
                children[branch(entry.hash(), depth)].insert(entry, depth + 1);
            }
            Self::Leaf { top, entries } => {
                *top = entry.top().max(*top);
                let entries = Arc::make_mut(entries);
                if entries.len() == entries.capacity() {
                    entries.reserve_exact(LEAF_STEP);
                }
                entries.push(entry);
                if entries.len() > LEAF_MAX && depth < DEPTH_MAX {
                    let entries = std::mem::take(entries);
                    *self = Self::fork(entries, depth);
                }
            }
        }
    }

    /// A fork of leaves.
    fn fork(entries: Vec<T>, depth: u32) -> Self {
        let mut top = 0;
        let mut children: [Self; FAN] = Default::default();
        for entry in entries {
            top = entry.top().max(top);
            children[branch(entry.hash(), depth)].insert(entry, depth + 1);
        }
        Self::Fork {
            top,
            children: Arc::new(children),
        }
    }

    fn update<R>(
        &mut self,
        hash: u64,
        depth: u32,
        is: &impl Fn(&T) -> bool,
        change: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        match self {
            Self::Fork { top, children } => {
                let children = Arc::make_mut(children);
                let child = &mut children[branch(hash, depth)];
                let result = child.update(hash, depth + 1, is, change)?;
                *top = children.iter().map(Self::top).max().unwrap_or(0);
                Some(result)
            }
            Self::Leaf { top, entries } => {
                let entries = Arc::make_mut(entries);
                let result = change(entries.iter_mut().find(|entry| is(entry))?);
                *top = entries.iter().map(T::top).max().unwrap_or(0);
                Some(result)
            }
        }
    }

    fn remove(&mut self, hash: u64, depth: u32, is: &impl Fn(&T) -> bool) -> Option<T> {
        match self {
            Self::Fork { top, children } => {
                let forked = Arc::make_mut(children);
                let child = &mut forked[branch(hash, depth)];
                let gone = child.remove(hash, depth + 1, is)?;
                // Looking at the others costs as much as the change did, so not every time.
                let sparse = matches!(child, Self::Leaf { entries, .. } if entries.len() <= 1);
                let highest = forked.iter().map(Self::top).max().unwrap_or(0);
                *top = highest;
                if sparse && let Some(entries) = joined(forked) {
                    *self = Self::Leaf {
                        top: highest,
                        entries: Arc::new(entries),
                    };
                }
                Some(gone)
            }
            Self::Leaf { top, entries } => {
                let entries = Arc::make_mut(entries);
                let at = entries.iter().position(is)?;
                let gone = entries.swap_remove(at);
                *top = entries.iter().map(T::top).max().unwrap_or(0);
                Some(gone)
            }
        }
    }
}

/// The entries of leaves that would fill one leaf to a half at most.
fn joined<T: Hashed>(children: &[Node<T>; FAN]) -> Option<Vec<T>> {
    let mut len = 0;
    for child in children {
        match child {
            Node::Leaf { entries, .. } => len += entries.len(),
            Node::Fork { .. } => return None,
        }
    }
    let leaves = children.iter().filter_map(|child| match child {
        Node::Leaf { entries, .. } => Some(entries),
        Node::Fork { .. } => None,
    });
    (len <= LEAF_MAX / 2).then(|| leaves.flat_map(|entries| entries.iter().cloned()).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl Hashed for u64 {
        fn hash(&self) -> u64 {
            self.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3
        }

        fn top(&self) -> u16 {
            *self as u16
        }
    }

    /// Every value below 16 has the same hash.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Crowd(u64);

    impl Hashed for Crowd {
        fn hash(&self) -> u64 {
            self.0 / 16
        }

        fn top(&self) -> u16 {
            self.0 as u16
        }
    }

    fn check<T: Hashed + Ord + std::fmt::Debug>(shards: &Shards<T>, set: &BTreeSet<T>) {
        assert_eq!(&shards.iter().cloned().collect::<BTreeSet<_>>(), set);
        assert_eq!(shards.len(), set.len());
        assert_eq!(shards.iter().count(), set.len());
        assert!(
            set.iter()
                .all(|value| shards.find(value.hash(), |v| v == value).is_some())
        );
        let top = set.iter().map(T::top).max().unwrap_or(0);
        assert_eq!(shards.top(), top);
    }

    #[test]
    fn it_holds_what_a_set_holds_and_a_copy_keeps_what_it_had() {
        let (mut shards, mut set) = (Shards::default(), BTreeSet::new());
        for value in 0..5000_u64 {
            shards.insert(value);
            set.insert(value);
            if value % 3 == 0 {
                let half = value / 2;
                let gone = shards.remove(half.hash(), |v| *v == half);
                assert_eq!(gone.is_some(), set.remove(&half));
            }
        }
        check(&shards, &set);
        let copy = shards.clone();
        for value in 0..5000_u64 {
            shards.remove(value.hash(), |v| *v == value);
        }
        check(&shards, &BTreeSet::new());
        assert!(
            matches!(shards.root, Node::Leaf { .. }),
            "an empty table is small again"
        );
        check(&copy, &set);
    }

    /// The addresses of all leaves and forks.
    fn places<T>(node: &Node<T>, places: &mut BTreeSet<usize>) {
        match node {
            Node::Leaf { entries, .. } => {
                places.insert(Arc::as_ptr(entries) as usize);
            }
            Node::Fork { children, .. } => {
                places.insert(Arc::as_ptr(children) as usize);
                children
                    .iter()
                    .for_each(|child| self::places(child, places));
            }
        }
    }

    #[test]
    fn a_change_copies_one_way_of_a_large_table() {
        let mut shards = Shards::default();
        for value in 0..100_000_u64 {
            shards.insert(value);
        }
        let copy = shards.clone();
        let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
        places(&copy.root, &mut before);
        shards.remove(7_u64.hash(), |v| *v == 7);
        shards.insert(7);
        places(&shards.root, &mut after);
        let fresh = after.difference(&before).count();
        assert!((1..=8).contains(&fresh), "{fresh} new nodes");
        assert!(before.len() < 40_000, "{} nodes", before.len());
    }

    #[test]
    fn an_update_is_seen_by_its_owner_only() {
        let mut shards = Shards::default();
        for value in 0..100 {
            shards.insert(Crowd(value * 16));
        }
        let copy = shards.clone();
        let found = shards.update(5, |v| v.0 == 80, |v| v.0 = 95);
        assert!(found.is_some());
        assert!(shards.update(5, |v| v.0 == 80, |v| v.0 = 96).is_none());
        assert!(copy.find(5, |v| v.0 == 80).is_some());
        assert!(shards.find(5, |v| v.0 == 95).is_some());
        assert_eq!((copy.top(), shards.top()), (99 * 16, 99 * 16));
    }

    proptest! {
        #[test]
        fn it_is_a_set_even_where_hashes_meet(
            changes in prop::collection::vec((any::<bool>(), 0..200_u64), 0..600),
        ) {
            let (mut shards, mut set) = (Shards::default(), BTreeSet::new());
            for (add, value) in changes {
                let value = Crowd(value);
                if !add {
                    let gone = shards.remove(value.hash(), |v| *v == value);
                    prop_assert_eq!(gone.is_some(), set.remove(&value));
                } else if set.insert(value.clone()) {
                    shards.insert(value);
                }
            }
            check(&shards, &set);
        }
    }
}
