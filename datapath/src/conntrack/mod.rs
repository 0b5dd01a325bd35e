//! Connections: which packets belong together, in which state they are, and what their addresses
//! become.
//!
//! Not for deciding: flows say which packets are tracked, in which zone, and what is committed.
//! [`Conntrack`] is not for bytes: a packet comes as a [`Seen`](seen::Seen), which [`parse`] makes,
//! and leaves with an [`Outcome`](request::Outcome), which [`rewrite`] carries out.
//!
//! Law: one table for all workers. The directions of a connection may be on two cores and its
//! packets on more; every packet gets an answer that some order of all packets explains. What is
//! remembered is bounded: by the limit of the table, of the zone, and of expectations; what begins
//! beyond the limit takes the place of something nobody has answered, or is refused and says so.
//!
//! Threads: any, with `&self`. A packet of an established connection takes no lock that another
//! connection's could hold.
//!
//! Time and chance are handed in: `now` with every call, the seed at the beginning.
//!
//! Spec: `ovs-actions(7)`, `ct`; `ovs-fields(7)`, "Connection Tracking Fields"; where they are silent,
//! Open vSwitch's userspace tracker (`lib/conntrack.c`), as the modules below name it.

pub mod alg;
#[cfg(test)]
mod desk;
pub mod dump;
mod entry;
pub mod events;
pub mod expect;
pub mod fragments;
pub mod meta;
pub mod nat;
pub mod parse;
pub mod proto;
pub mod request;
pub mod rewrite;
pub mod seen;
pub mod step;
mod sweep;
mod table;
pub mod tcp;
#[cfg(test)]
mod tests;
pub mod timeouts;
mod track;
pub mod tuple;
pub mod zones;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

pub use dump::{Cursor, Dumped, Filter, Happened, Live, TupleFilter};
pub use entry::Counter;
pub use events::{End, Event, Events};
pub use timeouts::{Timeout, Timeouts};
pub use zones::ZoneLimit;

use crate::tick::Tick;
use entry::flag;
use events::Subscribers;
use expect::{Beside, Expectation};
use fragments::Fragments;
use request::{Expected, Handle};
use table::Table;
use tuple::{Direction, Tuple};
use zones::Zones;

/// Connections that there may be before anyone says otherwise, as in Open vSwitch.
pub const DEFAULT_LIMIT: usize = 3_000_000;

/// All connections of a datapath.
#[derive(Debug)]
pub struct Conntrack {
    table: Table,
    zones: Zones,
    beside: Beside,
    subscribers: Subscribers,
    tally: dump::Tally,
    count: AtomicUsize,
    limit: AtomicUsize,
    seq_check: AtomicBool,
    loose: AtomicBool,
    /// Chance, for translations; the table has its own of the same seed.
    seed: u64,
    /// Times that chance was asked for a translation.
    draws: AtomicU64,
    /// Where sweeping goes on.
    swept: AtomicU32,
    fragments: Fragments,
    helpers: alg::Counts,
}

impl Conntrack {
    /// No connections yet. The seed is a secret: who knows it can make tuples that collide in the
    /// index, and foretell translated ports.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            table: Table::new(seed),
            zones: Zones::default(),
            beside: Beside::default(),
            subscribers: Subscribers::default(),
            tally: dump::Tally::default(),
            count: AtomicUsize::new(0),
            limit: AtomicUsize::new(DEFAULT_LIMIT),
            seq_check: AtomicBool::new(true),
            loose: AtomicBool::new(true),
            seed: table::scatter(!seed),
            draws: AtomicU64::new(0),
            swept: AtomicU32::new(0),
            fragments: Fragments::new(),
            helpers: alg::Counts::default(),
        }
    }

    /// The fragments that wait for the rest of their packets.
    #[must_use]
    pub const fn fragments(&self) -> &Fragments {
        &self.fragments
    }

    /// What helpers met.
    #[must_use]
    pub const fn helpers(&self) -> &alg::Counts {
        &self.helpers
    }

    /// Connections in the table, with those whose time is over and that nobody took out yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places that hold a connection or held one: as many as there were connections at most. This is
    /// how far a whole [sweep](Self::sweep) goes, long after a flood is over too.
    #[must_use]
    pub fn places(&self) -> usize {
        self.table.touched() as usize
    }

    /// Connections that there may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets how many connections there may be, at most the 33,554,432 that the table can hold. What
    /// is over a lower limit stays until its time is over.
    pub fn set_limit(&self, limit: usize) {
        self.limit
            .store(limit.min(table::CAPACITY), Ordering::Relaxed);
    }

    /// Whether a TCP segment must be where its connection can have sent one.
    #[must_use]
    pub fn tcp_seq_chk(&self) -> bool {
        self.seq_check.load(Ordering::Relaxed)
    }

    /// Sets [`tcp_seq_chk`](Self::tcp_seq_chk); it is on at first.
    pub fn set_tcp_seq_chk(&self, check: bool) {
        self.seq_check.store(check, Ordering::Relaxed);
    }

    /// Whether a TCP connection may be picked up in its middle.
    #[must_use]
    pub fn loose(&self) -> bool {
        self.loose.load(Ordering::Relaxed)
    }

    /// Sets [`loose`](Self::loose); it is on at first, as it always is in Open vSwitch.
    pub fn set_loose(&self, loose: bool) {
        self.loose.store(loose, Ordering::Relaxed);
    }

    /// Connections that a zone has and may have.
    #[must_use]
    pub fn zone_limit(&self, zone: u16) -> ZoneLimit {
        self.zones.limit(zone)
    }

    /// Sets how many connections a zone may have; with `None` the default holds for it.
    pub fn set_zone_limit(&self, zone: u16, limit: Option<u32>) {
        self.zones.set_limit(zone, limit);
    }

    /// Connections that a zone without a limit of its own may have; 0 is any number.
    #[must_use]
    pub fn default_zone_limit(&self) -> u32 {
        self.zones.default_limit()
    }

    /// Sets [`default_zone_limit`](Self::default_zone_limit).
    pub fn set_default_zone_limit(&self, limit: u32) {
        self.zones.set_default_limit(limit);
    }

    /// Zones with a limit of their own, and those with connections while there is a default limit.
    #[must_use]
    pub fn zone_limits(&self) -> Vec<ZoneLimit> {
        self.zones.limits()
    }

    /// The timeouts of a zone.
    #[must_use]
    pub fn timeouts(&self, zone: u16) -> Timeouts {
        self.zones.timeouts(zone)
    }

    /// Sets the timeouts of a zone; with `None` the default ones hold for it. Each connection takes
    /// them over with its next packet.
    pub fn set_timeouts(&self, zone: u16, timeouts: Option<&Timeouts>) {
        self.zones.set_timeouts(zone, timeouts);
    }

    /// Sets the timeouts of zones that have none of their own.
    pub fn set_default_timeouts(&self, timeouts: &Timeouts) {
        self.zones.set_default_timeouts(timeouts);
    }

    /// Events from now on, with room for so many that were not read yet.
    #[must_use]
    pub fn subscribe(&self, capacity: usize) -> Events {
        self.subscribers.subscribe(capacity)
    }

    /// Expects a connection because of what a helper read in its parent; false when the parent is
    /// gone or too much is expected.
    pub fn expect(&self, parent: Handle, expected: &Expected, now: Tick) -> bool {
        let Some(entry) = self.table.entry(parent.slot) else {
            return false;
        };
        let Some([original, _]) = entry.keys(parent.generation) else {
            return false;
        };
        let facts = entry.change(parent.generation, |facts| facts.flags |= flag::PARENT);
        let Some(facts) = facts else { return false };
        let noted = self.beside.expect(Expectation {
            expected: *expected,
            zone: original.zone(),
            parent,
            parent_tuple: original.tuple(),
            mark: facts.mark,
            label: facts.label,
            until: Tick(now.0.saturating_add(expect::LIFETIME)),
        });
        if !noted {
            self.tally.unexpected();
        }
        self.still(parent)
            .unwrap_or_else(|| self.beside.forget(parent, false, false, true));
        noted
    }

    /// Whether a connection with this tuple is expected or there is one: a helper that chooses a
    /// port for the tuple takes another then.
    #[must_use]
    pub fn is_taken(&self, zone: u16, tuple: &Tuple, now: Tick) -> bool {
        self.beside.find(zone, tuple, now).is_some()
            || self
                .table
                .find(&self.table.place(entry::Key::new(tuple, zone)))
                .is_some()
    }

    /// Notes that a helper made the segment at `from` longer by `by` octets: later sequence numbers
    /// of this direction move with it.
    pub fn shift(&self, connection: Handle, direction: Direction, from: u32, by: i32) {
        let Some(entry) = self.table.entry(connection.slot) else {
            return;
        };
        self.beside.shift(connection, direction, from, by);
        let flags = entry.change(connection.generation, |facts| facts.flags |= flag::SHIFTED);
        if flags.is_none() {
            self.beside.forget(connection, false, true, false);
        }
    }

    /// Whether a connection is still there.
    fn still(&self, connection: Handle) -> Option<()> {
        let entry = self.table.entry(connection.slot)?;
        (entry.generation()? == connection.generation).then_some(())
    }
}
