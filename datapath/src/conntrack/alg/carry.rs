//! What helpers hear, done: expectations in the table, text and numbers in the packet.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Edit, Heard, read, shift_numbers, write};
use crate::buffer::Packet;
use crate::conntrack::Conntrack;
use crate::conntrack::request::Follow;
use crate::conntrack::seen::{Kind, Seen};
use crate::extract::Layout;
use crate::tick::Tick;

/// What helpers met.
#[derive(Debug, Default)]
pub struct Counts {
    expected: AtomicU64,
    refused: AtomicU64,
    written: AtomicU64,
    without_room: AtomicU64,
    split: AtomicU64,
    strangers: AtomicU64,
    malformed: AtomicU64,
}

/// What helpers met, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Connections that are expected since.
    pub expected: u64,
    /// Connections that could not be, because too many are.
    pub refused: u64,
    /// Commands that were written anew.
    pub written: u64,
    /// Commands that had no room for what was to be written.
    pub without_room: u64,
    /// Commands that did not lie in one segment.
    pub split: u64,
    /// Commands with an address that is not the speaker's.
    pub strangers: u64,
    /// Commands that could not be understood.
    pub malformed: u64,
}

impl Counts {
    /// The numbers now.
    #[must_use]
    pub fn read(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            expected: read(&self.expected),
            refused: read(&self.refused),
            written: read(&self.written),
            without_room: read(&self.without_room),
            split: read(&self.split),
            strangers: read(&self.strangers),
            malformed: read(&self.malformed),
        }
    }
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Whom helpers tell of what they read.
#[derive(Clone, Copy, Debug)]
pub struct Helpers<'a> {
    /// The table of the connections.
    pub conntrack: &'a Conntrack,
    /// Where it is counted.
    pub counts: &'a Counts,
}

impl Helpers<'_> {
    /// Does what a packet's connection asks beyond addresses and ports: reads the packet, expects
    /// what it announces, and, where the request `translates`, writes what the other end must read
    /// and moves the numbers. `seen` is the packet as it came to tracking.
    pub fn carry_out(
        &self,
        packet: &mut Packet,
        layout: Layout,
        seen: &Seen,
        follow: &Follow,
        translates: bool,
        now: Tick,
    ) {
        let counts = self.counts;
        match read(follow, packet, layout, seen) {
            Heard::Nothing => {}
            Heard::Split => count(&counts.split),
            Heard::Stranger => count(&counts.strangers),
            Heard::Malformed => count(&counts.malformed),
            Heard::Call(call) => {
                let edit = call.edit.filter(|_| translates);
                if let Some(edit) = &edit {
                    if !write(packet, layout, seen, edit) {
                        count(&counts.without_room);
                    } else {
                        count(&counts.written);
                        self.note(seen, follow, edit);
                    }
                }
                if self
                    .conntrack
                    .expect(follow.connection, &call.expected, now)
                {
                    count(&counts.expected);
                } else {
                    count(&counts.refused);
                }
            }
        }
        if translates {
            shift_numbers(packet, layout, seen, follow);
        }
    }

    /// Has the stream's numbers move by an edit.
    fn note(&self, seen: &Seen, follow: &Follow, edit: &Edit) {
        if let Kind::Tcp(tcp) = seen.kind
            && edit.moves(tcp.seq, follow)
        {
            let (connection, direction) = (follow.connection, follow.direction);
            self.conntrack
                .shift(connection, direction, tcp.seq, edit.growth());
        }
    }
}
