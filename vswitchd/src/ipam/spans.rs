//! A set of numbers that lie close together, as runs: a subnet of IPv6 has too many to list.

use std::collections::BTreeMap;

/// The first of each run to its last. Runs neither meet nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(BTreeMap<u128, u128>);

impl Spans {
    pub(super) fn contains(&self, number: u128) -> bool {
        self.run_of(number).is_some()
    }

    fn run_of(&self, number: u128) -> Option<(u128, u128)> {
        let (first, last) = self.0.range(..=number).next_back()?;
        (*last >= number).then_some((*first, *last))
    }

    /// Whether it is new.
    pub(super) fn insert(&mut self, number: u128) -> bool {
        if self.contains(number) {
            return false;
        }
        let below = number.checked_sub(1).and_then(|below| self.run_of(below));
        let above = number.checked_add(1).and_then(|above| self.run_of(above));
        if let Some((first, _)) = above {
            self.0.remove(&first);
        }
        let first = below.map_or(number, |(first, _)| first);
        let last = above.map_or(number, |(_, last)| last);
        self.0.insert(first, last);
        true
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, number: u128) -> bool {
        let Some((first, last)) = self.run_of(number) else {
            return false;
        };
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
        true
    }

    /// The first from `from` to `to` that is not there.
    pub(super) fn first_free(&self, from: u128, to: u128) -> Option<u128> {
        let free = match self.run_of(from) {
            // Runs do not touch, so behind one there is room.
            Some((_, last)) => last.checked_add(1)?,
            None => from,
        };
        (free <= to).then_some(free)
    }

    /// How many there are; `u128::MAX` for more.
    pub(super) fn len(&self) -> u128 {
        let len = |(first, last): (&u128, &u128)| (last - first).saturating_add(1);
        self.0.iter().map(len).fold(0, u128::saturating_add)
    }
}
