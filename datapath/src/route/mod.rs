//! Routes: which way to an address.
//!
//! Not for what is at the end of the way: neighbours are another room's. Not for deciding either:
//! translation asks, and puts the bits that the answer depends on into its mask.
//!
//! Law: a [`Lpm`] is a value. A clone costs nothing, shares all with the original, and does not see
//! its changes; so a table of routes can be part of an immutable snapshot (`trie`).
//!
//! Threads: any. Cost: see `trie`.
//!
//! Spec: RFC 1812 §5.2.4 for the longest match; RFC 2992 for the choice among equal ways.

mod trie;

use std::net::IpAddr;

use vswitch_flow::Prefix;
use vswitch_flow::prefix::left_aligned;

pub use trie::{Found, Trie};

/// A table of prefixes of both families.
#[derive(Debug)]
pub struct Lpm<T> {
    v4: Trie<T>,
    v6: Trie<T>,
}

impl<T> Default for Lpm<T> {
    fn default() -> Self {
        Self {
            v4: Trie::default(),
            v6: Trie::default(),
        }
    }
}

impl<T> Clone for Lpm<T> {
    fn clone(&self) -> Self {
        Self {
            v4: self.v4.clone(),
            v6: self.v6.clone(),
        }
    }
}

impl<T> Lpm<T> {
    fn of(&self, address: IpAddr) -> &Trie<T> {
        if address.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        }
    }

    /// Prefixes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the longest prefix that has the address, and how many leading bits of the address
    /// that depends on.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> Found<'_, T> {
        self.of(address).lookup(left_aligned(address))
    }

    /// The values of all prefixes that have the address, the shortest first, and how many leading bits
    /// of the address that depends on.
    #[must_use]
    pub fn matching(&self, address: IpAddr) -> (Vec<&T>, u8) {
        self.of(address).matching(left_aligned(address))
    }

    /// The value of exactly this prefix.
    #[must_use]
    pub fn get(&self, prefix: &Prefix) -> Option<&T> {
        self.of(prefix.address).get(prefix.bits(), prefix.len)
    }

    /// All, IPv4 first, in the order of their addresses, a shorter prefix before those within it.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &T)> {
        let v4 = self.v4.iter().map(|(bits, len, value)| {
            let address = IpAddr::from(((bits >> 96) as u32).to_be_bytes());
            (Prefix { address, len }, value)
        });
        let v6 = self.v6.iter().map(|(bits, len, value)| {
            let address = IpAddr::from(bits.to_be_bytes());
            (Prefix { address, len }, value)
        });
        v4.chain(v6)
    }
}

impl<T: Clone> Lpm<T> {
    fn of_mut(&mut self, address: IpAddr) -> &mut Trie<T> {
        if address.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        }
    }

    /// Adds a prefix; gives the value that it had.
    pub fn insert(&mut self, prefix: &Prefix, value: T) -> Option<T> {
        self.of_mut(prefix.address)
            .insert(prefix.bits(), prefix.len, value)
    }

    /// Takes a prefix out; gives the value that it had.
    pub fn remove(&mut self, prefix: &Prefix) -> Option<T> {
        self.of_mut(prefix.address)
            .remove(prefix.bits(), prefix.len)
    }
}

/// Which of some equal ways a flow takes: its place, of ways with these weights. The flow's hash says
/// which, so that a flow keeps its way while the ways are the same, and each way gets its part.
#[must_use]
pub fn pick(weights: impl Iterator<Item = u16> + Clone, hash: u32) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    // A part of the hash's range is a way's (RFC 2992): fewer flows move than with a remainder.
    let mut point = (u64::from(hash) * total) >> 32;
    for (at, weight) in weights.enumerate() {
        match point.checked_sub(weight.into()) {
            Some(rest) => point = rest,
            None => return Some(at),
        }
    }
    None
}

#[cfg(test)]
mod tests;
