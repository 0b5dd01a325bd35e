//! What a flow matches, and the flow itself.

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::field::Field;
use crate::key::{FlowKey, FlowMask};

/// A key and the bits of it that matter. Bits of the key outside the mask are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Match {
    key: FlowKey,
    mask: FlowMask,
}

impl Match {
    /// Matches every packet.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// A match on the bits of `mask`.
    #[must_use]
    pub fn new(key: &FlowKey, mask: &FlowMask) -> Self {
        Self {
            key: key.masked(mask),
            mask: *mask,
        }
    }

    /// Adds: all of `field` must be `value`.
    #[must_use]
    pub fn with(self, field: Field, value: u128) -> Self {
        self.with_masked(field, value, field.info().max())
    }

    /// Adds: the bits `mask` of `field` must be as in `value`. What was said of these bits before
    /// no longer holds; what was said of others stays.
    #[must_use]
    pub fn with_masked(mut self, field: Field, value: u128, mask: u128) -> Self {
        let old = self.mask.field(field);
        self.mask.set(field, old | mask);
        let kept = self.key.field(field) & !mask;
        self.key.set(field, kept | value & mask);
        self
    }

    /// The values.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &FlowKey {
        &self.key
    }

    /// The bits that matter.
    #[inline]
    #[must_use]
    pub fn mask(&self) -> &FlowMask {
        &self.mask
    }

    /// Whether a packet with `key` matches.
    #[inline]
    #[must_use]
    pub fn matches(&self, key: &FlowKey) -> bool {
        self.key.equal_under(key, &self.mask)
    }
}

/// A flow of an OpenFlow table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRule {
    /// Table number.
    pub table: u8,
    /// The highest matching priority wins.
    pub priority: u16,
    /// The owner's mark; the switch does not read it.
    pub cookie: u64,
    /// Which packets.
    pub matches: Match,
    /// What happens to them, in order; nothing means drop.
    pub actions: Vec<Action>,
}
