//! A multibit trie of prefixes: the longest that an address begins with.
//!
//! A node looks at [`STRIDE`] bits of the address. It holds the prefixes that end within these bits,
//! and its children, as two bitmaps and two arrays without gaps: the place of an entry is the number
//! of bits set below it (the tree bitmap of Eatherton, Varghese and Dittia, 2004, with path
//! compression: a node without entries of its own and with one child does not exist, so there are
//! never more than twice as many nodes as prefixes).
//!
//! Law: a value that was handed out never changes. A change copies the nodes on its way that somebody
//! else holds too, at most 22 of them, and no other; nodes that nobody else holds are changed in
//! place, so a table of a million prefixes is loaded without a copy.
//!
//! Law, towards caches: a lookup says how many leading bits of the address it depends on. Any other
//! address with these bits finds the same.
//!
//! Threads: any reads. Cost: a node for each six bits that tell prefixes apart, at most 6 for IPv4 and
//! 22 for IPv6, however many prefixes there are.

use std::sync::Arc;

/// Bits a node looks at: what a bitmap of 64 children can tell apart.
const STRIDE: u8 = 6;

/// The first leaf in a node's little heap, where the root is 1 and the entries below `n` are `2n` and
/// `2n + 1`: an entry of `len` bits `b` has the number `1 << len | b`.
const LEAF: u8 = 1 << STRIDE;

/// For each leaf: itself and the entries above it.
const ABOVE: [u128; LEAF as usize] = {
    let mut all = [0; LEAF as usize];
    let mut leaf = 0;
    while leaf < all.len() {
        let mut at = leaf + LEAF as usize;
        while at > 0 {
            all[leaf] |= 1 << at;
            at /= 2;
        }
        leaf += 1;
    }
    all
};

/// For each entry: those below it, itself not.
const BELOW: [u128; 2 * LEAF as usize] = {
    let mut all = [0; 2 * LEAF as usize];
    let mut at = LEAF as usize - 1;
    while at > 0 {
        let (left, right) = (2 * at, 2 * at + 1);
        all[at] = 1 << left | 1 << right | all[left] | all[right];
        at -= 1;
    }
    all
};

/// The first `len` bits.
const fn top(len: u8) -> u128 {
    match len {
        0 => 0,
        _ => u128::MAX << (128 - len as u32),
    }
}

/// Some bits at `at`, as a child's number.
const fn stride(bits: u128, at: u8) -> u8 {
    // The last node of an IPv6 trie begins at 126 and has two bits.
    ((bits << at) >> 122) as u8
}

#[derive(Clone, Debug)]
struct Node<T> {
    /// The bits before `at`, which all below have in common.
    bits: u128,
    /// Where its own bits begin; a multiple of [`STRIDE`].
    at: u8,
    /// Which entries it has.
    entries: u128,
    /// Which children it has.
    children: u64,
    values: Vec<T>,
    nodes: Vec<Arc<Self>>,
}

impl<T> Node<T> {
    const fn new(bits: u128, at: u8) -> Self {
        Self {
            bits: bits & top(at),
            at,
            entries: 0,
            children: 0,
            values: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Where the value of an entry stands, or would.
    const fn value_at(&self, entry: u8) -> usize {
        (self.entries & ((1 << entry) - 1)).count_ones() as usize
    }

    /// Where a child stands, or would.
    const fn node_at(&self, child: u8) -> usize {
        (self.children & ((1 << child) - 1)).count_ones() as usize
    }

    fn value(&self, entry: u8) -> Option<&T> {
        if self.entries >> entry & 1 == 0 {
            return None;
        }
        self.values.get(self.value_at(entry))
    }

    fn node(&self, child: u8) -> Option<&Arc<Self>> {
        if self.children >> child & 1 == 0 {
            return None;
        }
        self.nodes.get(self.node_at(child))
    }

    fn put(&mut self, entry: u8, value: T) -> Option<T> {
        let at = self.value_at(entry);
        if self.entries >> entry & 1 == 1 {
            let place = self.values.get_mut(at)?;
            return Some(std::mem::replace(place, value));
        }
        self.entries |= 1 << entry;
        self.values.reserve_exact(1);
        self.values.insert(at, value);
        None
    }

    fn put_node(&mut self, child: u8, node: Arc<Self>) {
        let at = self.node_at(child);
        self.children |= 1 << child;
        self.nodes.reserve_exact(1);
        self.nodes.insert(at, node);
    }

    /// How many of the node's own bits tell a leaf's answer from others: as many as it takes until
    /// nothing is below.
    fn telling(&self, leaf: u8) -> u8 {
        for len in 0..STRIDE {
            let entry = (LEAF | leaf) >> (STRIDE - len);
            let below = BELOW[usize::from(entry)];
            if below & self.entries == 0 && (below >> LEAF) as u64 & self.children == 0 {
                return len;
            }
        }
        STRIDE
    }
}

/// A prefix's place: where its node begins, and its entry there.
const fn place(bits: u128, len: u8) -> (u8, u8) {
    if len == 0 {
        return (0, 1);
    }
    let at = (len - 1) / STRIDE * STRIDE;
    let own = len - at;
    (at, 1 << own | stride(bits, at) >> (STRIDE - own))
}

/// What a lookup found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'a, T> {
    /// The value of the longest prefix.
    pub value: Option<&'a T>,
    /// Leading bits of the address that this depends on.
    pub bits: u8,
}

/// Prefixes of addresses of up to 128 bits, left-aligned, with a value each.
#[derive(Debug)]
pub struct Trie<T> {
    root: Arc<Node<T>>,
    len: usize,
}

impl<T> Clone for Trie<T> {
    fn clone(&self) -> Self {
        Self {
            root: Arc::clone(&self.root),
            len: self.len,
        }
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self {
            root: Arc::new(Node::new(0, 0)),
            len: 0,
        }
    }
}

impl<T> Trie<T> {
    /// Prefixes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of the longest prefix that `key` begins with.
    #[must_use]
    pub fn lookup(&self, key: u128) -> Found<'_, T> {
        let mut value = None;
        let bits = self.descend(key, |node, entries| {
            let entry = 127 - entries.leading_zeros() as u8;
            value = node.values.get(node.value_at(entry));
        });
        Found { value, bits }
    }

    /// The values of all prefixes that `key` begins with, the shortest first, and the leading bits
    /// that this depends on.
    #[must_use]
    pub fn matching(&self, key: u128) -> (Vec<&T>, u8) {
        let mut values = Vec::new();
        let bits = self.descend(key, |node, mut entries| {
            while entries != 0 {
                let entry = entries.trailing_zeros() as u8;
                entries &= entries - 1;
                values.extend(node.values.get(node.value_at(entry)));
            }
        });
        (values, bits)
    }

    /// Shows the entries that `key` begins with, node by node; gives how many bits that took.
    #[inline]
    fn descend<'a>(&'a self, key: u128, mut meet: impl FnMut(&'a Node<T>, u128)) -> u8 {
        let mut node = &self.root;
        loop {
            let same = (node.bits ^ key).leading_zeros() as u8;
            if same < node.at {
                return same + 1;
            }
            let leaf = stride(key, node.at);
            let entries = node.entries & ABOVE[usize::from(leaf)];
            if entries != 0 {
                meet(node, entries);
            }
            match node.node(leaf) {
                Some(below) => node = below,
                None => return node.at + node.telling(leaf),
            }
        }
    }

    /// The value of exactly this prefix.
    #[must_use]
    pub fn get(&self, key: u128, len: u8) -> Option<&T> {
        let key = key & top(len);
        let (at, entry) = place(key, len);
        let mut node = &self.root;
        while node.at < at {
            node = node.node(stride(key, node.at))?;
        }
        (node.at == at && node.bits == key & top(at))
            .then(|| node.value(entry))
            .flatten()
    }

    /// All prefixes in the order of their addresses, a shorter one before those within it.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u8, &T)> {
        Iter {
            stack: vec![(&self.root, 1)],
        }
    }
}

impl<T: Clone> Trie<T> {
    /// Adds a prefix, the first `len` bits of `key`; gives the value that it had.
    pub fn insert(&mut self, key: u128, len: u8, value: T) -> Option<T> {
        let key = key & top(len);
        let (at, entry) = place(key, len);
        let mut node = Arc::make_mut(&mut self.root);
        while node.at < at {
            let child = stride(key, node.at);
            let place = node.node_at(child);
            match node.node(child) {
                None => node.put_node(child, Arc::new(Node::new(key, at))),
                Some(below) => {
                    let same = (below.bits ^ key).leading_zeros() as u8;
                    let same = same.min(below.at).min(at) / STRIDE * STRIDE;
                    if same < below.at {
                        // The ways part before the child begins.
                        let mut between = Node::new(key, same);
                        between.put_node(stride(below.bits, same), Arc::clone(below));
                        if let Some(slot) = node.nodes.get_mut(place) {
                            *slot = Arc::new(between);
                        }
                    }
                }
            }
            let below = node.nodes.get_mut(place)?;
            node = Arc::make_mut(below);
        }
        let old = node.put(entry, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes a prefix out; gives the value that it had.
    pub fn remove(&mut self, key: u128, len: u8) -> Option<T> {
        // Looked for first, so that nothing is copied in vain.
        self.get(key, len)?;
        let key = key & top(len);
        let (at, entry) = place(key, len);
        let value = remove(Arc::make_mut(&mut self.root), key, at, entry)?;
        self.len -= 1;
        Some(value)
    }
}

/// Takes an entry out of the node at `at` below this one, and nodes that are not needed then. As deep
/// as the trie, at most 22.
fn remove<T: Clone>(node: &mut Node<T>, key: u128, at: u8, entry: u8) -> Option<T> {
    if node.at == at {
        let place = node.value_at(entry);
        node.entries &= !(1 << entry);
        return (place < node.values.len()).then(|| node.values.remove(place));
    }
    let child = stride(key, node.at);
    let place = node.node_at(child);
    let below = Arc::make_mut(node.nodes.get_mut(place)?);
    let value = remove(below, key, at, entry);
    if below.entries == 0 {
        match below.nodes.len() {
            0 => {
                node.nodes.remove(place);
                node.children &= !(1 << child);
            }
            1 => {
                if let Some(only) = below.nodes.pop() {
                    *node.nodes.get_mut(place)? = only;
                }
            }
            _ => {}
        }
    }
    value
}

struct Iter<'a, T> {
    /// Nodes to be gone on with, and their next entry.
    stack: Vec<(&'a Arc<Node<T>>, u8)>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = (u128, u8, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((node, entry)) = self.stack.pop() {
            let below = BELOW[usize::from(entry)];
            if entry < LEAF
                && (below & node.entries != 0 || (below >> LEAF) as u64 & node.children != 0)
            {
                self.stack.push((node, 2 * entry + 1));
                self.stack.push((node, 2 * entry));
            } else if entry >= LEAF
                && let Some(child) = node.node(entry - LEAF)
            {
                self.stack.push((child, 1));
            }
            if let Some(value) = node.value(entry) {
                let own = 7 - entry.leading_zeros() as u8;
                let rest = u128::from(entry) ^ 1 << own;
                let bits = match own {
                    0 => 0,
                    own => (rest << (128 - u32::from(own))) >> node.at,
                };
                return Some((node.bits | bits, node.at + own, value));
            }
        }
        None
    }
}
