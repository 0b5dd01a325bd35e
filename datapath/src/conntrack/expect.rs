//! What lies beside the table because few connections have it: what helpers expect, who the parent
//! of an expected connection is, and shifted sequence numbers.
//!
//! Law: an expectation is of one connection: the first one committed that fits it takes it away. It
//! ends with its parent, after [`LIFETIME`], or when its parent expects [`PER_PARENT`] newer ones.
//! There are never more than [`EXPECTED`]; a further one is refused.
//!
//! Threads: any. A packet that begins a connection takes the lock only while something is expected;
//! a packet of an expected connection, or of one with shifted numbers, takes one for reading.
//!
//! Spec: Open vSwitch `lib/conntrack.c` for what an expected connection inherits: mark and label,
//! and its parent's original tuple as the one that the packet's metadata shows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::request::{Expected, Handle, Shift};
use super::tuple::{Direction, Tuple};
use crate::tick::Tick;

/// Expectations that there can be: a busy FTP server's, and no more than a megabyte.
pub const EXPECTED: usize = 4096;

/// Expectations of one parent: clients open data connections one after the other.
pub const PER_PARENT: usize = 16;

/// Milliseconds after which nobody comes any more, as in Linux.
pub const LIFETIME: u64 = 300_000;

/// What is expected, and what it will inherit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// What was asked for.
    pub expected: Expected,
    /// Its zone.
    pub zone: u16,
    /// Who expects it.
    pub parent: Handle,
    /// The original tuple of who expects it.
    pub parent_tuple: Tuple,
    /// Mark of the parent.
    pub mark: u32,
    /// Label of the parent.
    pub label: u128,
    /// When it is over.
    pub until: Tick,
}

/// Zone, and the tuple without its source port.
type Wanted = (u16, Tuple);

#[derive(Debug, Default)]
struct Lists {
    wanted: BTreeMap<Wanted, Expectation>,
    /// Oldest first.
    parents: BTreeMap<Handle, VecDeque<Wanted>>,
}

impl Lists {
    fn remove(&mut self, wanted: &Wanted) -> Option<Expectation> {
        let gone = self.wanted.remove(wanted)?;
        if let Some(list) = self.parents.get_mut(&gone.parent) {
            list.retain(|other| other != wanted);
            if list.is_empty() {
                self.parents.remove(&gone.parent);
            }
        }
        Some(gone)
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// How many are expected, to be read without the lock.
    live: AtomicUsize,
    lists: Mutex<Lists>,
    parents: RwLock<BTreeMap<Handle, Tuple>>,
    shifts: RwLock<BTreeMap<Handle, [Shift; 2]>>,
}

const fn wanted(zone: u16, tuple: &Tuple) -> Wanted {
    (
        zone,
        Tuple {
            src_port: 0,
            ..*tuple
        },
    )
}

impl Beside {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        // A list that names what is gone already is harmless.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, lists: &Lists) {
        self.live.store(lists.wanted.len(), Ordering::Release);
    }

    /// Expects one more; false when there are too many. One that wants the same takes its place.
    pub(super) fn expect(&self, expectation: Expectation) -> bool {
        let mut lists = self.lists();
        let wanted = wanted(expectation.zone, &expectation.expected.tuple);
        lists.remove(&wanted);
        let full = lists.wanted.len() >= EXPECTED;
        if !full {
            let list = lists.parents.entry(expectation.parent).or_default();
            list.push_back(wanted);
            let oldest = (list.len() > PER_PARENT)
                .then(|| list.pop_front())
                .flatten();
            if let Some(oldest) = oldest {
                lists.wanted.remove(&oldest);
            }
            lists.wanted.insert(wanted, expectation);
        }
        self.changed(&lists);
        !full
    }

    /// What a first packet is expected as.
    pub(super) fn find(&self, zone: u16, tuple: &Tuple, now: Tick) -> Option<Expectation> {
        if self.live.load(Ordering::Acquire) == 0 {
            return None;
        }
        let lists = self.lists();
        let found = lists.wanted.get(&wanted(zone, tuple))?;
        let port = found.expected.tuple.src_port;
        (found.until > now && (port == 0 || port == tuple.src_port)).then_some(*found)
    }

    /// Takes away what came true.
    pub(super) fn met(&self, expectation: &Expectation) {
        let mut lists = self.lists();
        lists.remove(&wanted(expectation.zone, &expectation.expected.tuple));
        self.changed(&lists);
    }

    /// Takes away all that is over.
    pub(super) fn sweep(&self, now: Tick) {
        if self.live.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut lists = self.lists();
        let over: Vec<Wanted> = lists
            .wanted
            .iter()
            .filter(|(_, expectation)| expectation.until <= now)
            .map(|(wanted, _)| *wanted)
            .collect();
        for wanted in &over {
            lists.remove(wanted);
        }
        self.changed(&lists);
    }

    /// All that is expected at a moment.
    pub(super) fn all(&self, now: Tick) -> Vec<Expectation> {
        let lists = self.lists();
        let live = lists.wanted.values().filter(|one| one.until > now);
        live.copied().collect()
    }

    /// Remembers the parent of an expected connection.
    pub(super) fn adopt(&self, child: Handle, parent: Tuple) {
        let mut parents = self.parents.write().unwrap_or_else(PoisonError::into_inner);
        parents.insert(child, parent);
    }

    /// The parent's tuple of an expected connection.
    pub(super) fn parent(&self, child: Handle) -> Option<Tuple> {
        let parents = self.parents.read().unwrap_or_else(PoisonError::into_inner);
        parents.get(&child).copied()
    }

    /// How far the sequence numbers of both directions are shifted.
    pub(super) fn shifts(&self, connection: Handle) -> [Shift; 2] {
        let shifts = self.shifts.read().unwrap_or_else(PoisonError::into_inner);
        shifts.get(&connection).copied().unwrap_or_default()
    }

    /// The segment at `from` changed its length by `by`.
    pub(super) fn shift(&self, connection: Handle, direction: Direction, from: u32, by: i32) {
        let mut shifts = self.shifts.write().unwrap_or_else(PoisonError::into_inner);
        let shift = &mut shifts.entry(connection).or_default()[direction.index()];
        let unused = shift.before == shift.after;
        // A segment sent once more changes nothing more.
        if unused || from.wrapping_sub(shift.from) as i32 > 0 {
            *shift = Shift {
                from,
                before: shift.after,
                after: shift.after.saturating_add(by),
            };
        }
    }

    /// Forgets all about a connection that is gone.
    pub(super) fn forget(&self, gone: Handle, child: bool, shifted: bool, parent: bool) {
        if child {
            let mut parents = self.parents.write().unwrap_or_else(PoisonError::into_inner);
            parents.remove(&gone);
        }
        if shifted {
            let mut shifts = self.shifts.write().unwrap_or_else(PoisonError::into_inner);
            shifts.remove(&gone);
        }
        if parent {
            let mut lists = self.lists();
            for wanted in lists.parents.remove(&gone).into_iter().flatten() {
                lists.wanted.remove(&wanted);
            }
            self.changed(&lists);
        }
    }
}

/// An acknowledgement of shifted numbers, as who sent them counts.
pub(super) const fn unshifted(ack: u32, shift: &Shift) -> u32 {
    // Whether it was behind is asked of the number that comes out: the place itself is not shifted.
    let after = ack.wrapping_add_signed(shift.after.wrapping_neg());
    if after.wrapping_sub(shift.from) as i32 > 0 {
        after
    } else {
        ack.wrapping_add_signed(shift.before.wrapping_neg())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tuple::{Family, protocol};
    use super::*;

    const PARENT: Handle = Handle {
        slot: 3,
        generation: 1,
    };

    /// What `rewrite` makes of a number.
    const fn shifted(number: u32, shift: &Shift) -> u32 {
        let behind = number.wrapping_sub(shift.from) as i32 > 0;
        number.wrapping_add_signed(if behind { shift.after } else { shift.before })
    }

    fn expectation(dst_port: u16, until: u64) -> Expectation {
        let tuple = Tuple {
            family: Family::V4,
            protocol: protocol::TCP,
            src: 1,
            dst: 2,
            src_port: 0,
            dst_port,
        };
        Expectation {
            expected: Expected {
                tuple,
                source: None,
                destination: None,
            },
            zone: 5,
            parent: PARENT,
            parent_tuple: tuple,
            mark: 7,
            label: 8,
            until: Tick(until),
        }
    }

    fn shown(dst_port: u16) -> Tuple {
        Tuple {
            src_port: 999,
            ..expectation(dst_port, 0).expected.tuple
        }
    }

    #[test]
    fn what_is_expected_is_found_until_it_came_or_is_over() {
        let beside = Beside::default();
        let one = expectation(20, 100);
        assert!(beside.expect(one));
        assert_eq!(beside.find(5, &shown(20), Tick(99)), Some(one));
        assert_eq!(beside.find(5, &shown(20), Tick(100)), None);
        assert_eq!(beside.find(4, &shown(20), Tick(0)), None);
        assert_eq!(beside.find(5, &shown(21), Tick(0)), None);
        beside.met(&one);
        assert_eq!(beside.find(5, &shown(20), Tick(0)), None);
        assert_eq!(beside.live.load(Ordering::Relaxed), 0);

        let mut exact = expectation(21, 100);
        exact.expected.tuple.src_port = 20;
        beside.expect(exact);
        assert_eq!(beside.find(5, &shown(21), Tick(0)), None);
        beside.sweep(Tick(99));
        assert_eq!(beside.all(Tick(99)), [exact]);
        beside.sweep(Tick(100));
        assert!(beside.lists().wanted.is_empty() && beside.lists().parents.is_empty());
    }

    #[test]
    fn a_parent_expects_only_so_many_and_takes_them_along() {
        let beside = Beside::default();
        let many = PER_PARENT as u16;
        assert!((0..=many).all(|port| beside.expect(expectation(port, 100))));
        assert_eq!(beside.all(Tick(0)).len(), PER_PARENT);
        assert_eq!(beside.find(5, &shown(0), Tick(0)), None, "the oldest went");
        assert!(beside.find(5, &shown(many), Tick(0)).is_some());
        beside.forget(PARENT, false, false, true);
        assert!(beside.all(Tick(0)).is_empty() && beside.lists().parents.is_empty());
    }

    #[test]
    fn no_more_are_expected_than_there_may_be() {
        let beside = Beside::default();
        let of = |slot, port| Expectation {
            parent: Handle { slot, ..PARENT },
            ..expectation(port, 100)
        };
        let all = EXPECTED as u16;
        assert!((0..all).all(|port| beside.expect(of(u32::from(port) / 16, port))));
        assert!(!beside.expect(of(9999, all)));
        assert!(
            beside.expect(of(9999, 5)),
            "one that wants the same takes its place"
        );
        assert_eq!(beside.all(Tick(0)).len(), EXPECTED);
    }

    #[test]
    fn shifts_add_up_and_are_undone() {
        let beside = Beside::default();
        let shift = |from, by| {
            beside.shift(PARENT, Direction::Original, from, by);
            beside.shifts(PARENT)[0]
        };
        let first = shift(1000, 5);
        assert_eq!((shifted(1000, &first), shifted(1001, &first)), (1000, 1006));
        assert_eq!(shift(1000, 5), first, "sent once more");
        let second = shift(u32::MAX, -3);
        assert_eq!(second, shift(900, 9), "an old one sent once more");
        let second = shift(1500, -3);
        assert_eq!(
            (shifted(1500, &second), shifted(1501, &second)),
            (1505, 1503)
        );
        for number in 1490..1520 {
            let there = shifted(number, &second);
            // Two numbers fell together where octets were taken away.
            let back = unshifted(there, &second);
            assert!(
                back == number || shifted(back, &second) == there,
                "{number}"
            );
        }
        assert_eq!(beside.shifts(PARENT)[1], Shift::default());
        beside.forget(PARENT, false, true, false);
        assert_eq!(beside.shifts(PARENT), [Shift::default(); 2]);
    }
}
