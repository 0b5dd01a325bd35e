//! What a worker does with one packet at `ct()`: reads it, collects fragments, asks the table, writes
//! what a translation wants, and lets a helper read the payload.
//!
//! Not for deciding where the packet goes on; that was decided with the rest of its actions.
//!
//! Law: nothing is remembered of a packet from one `ct()` to the next but its [`Meta`]; the bytes are
//! read each time, because actions may have written headers in between. Every packet handed in comes
//! back, or waits, and every one that waited and is given up is handed out. What cannot be tracked
//! goes on as invalid.
//!
//! Threads: any, on the same [`Conntrack`]. Cost: reading the headers and a look into the table; what
//! fragments, translations and helpers need comes on top.

use vswitch_flow::SparseKey;

use super::Conntrack;
use super::alg::Helpers;
use super::fragments::{Freed, Offer, Piece};
use super::parse::{Invalid, parse};
use super::request::{Meta, Outcome, Request, Rewrite};
use super::rewrite::{rewrite, rewrite_pieces};
use super::seen::Seen;
use super::table::Place;
use crate::buffer::Packet;
use crate::extract::Layout;
use crate::tick::Tick;

/// What is asked about a packet.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// By its flow.
    pub request: &'a Request,
    /// What tracking found last.
    pub before: &'a Meta,
    /// It is a fragment, and may wait for the others.
    pub may_wait: bool,
    /// When it is.
    pub now: Tick,
}

/// What became of a packet.
#[derive(Debug)]
#[must_use = "packets are transmitted or freed, never just dropped"]
pub enum Step {
    /// It goes on.
    On(Packet, Meta),
    /// It waits for the other fragments of its datagram.
    Held,
    /// It was the last of its datagram's fragments: all of them go on, in this order.
    Whole(Vec<Piece>, Meta),
}

/// A packet that was read ahead of being tracked.
///
/// With many connections nothing of what tracking reads is in a near cache. So packets that are
/// tracked together are gone through once for each read that leads to the next: [`Ahead::read`] of
/// all, then [`Ahead::expect_entry`] of all, then [`whole`].
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    seen: Result<Seen, Invalid>,
    place: Option<Place>,
}

impl Ahead {
    /// Reads a packet's headers, and says where in the table it will be looked for.
    #[inline]
    #[must_use]
    pub fn read(conntrack: &Conntrack, packet: &Packet, layout: Layout, zone: u16) -> Self {
        Self::of(conntrack, parse(packet, layout), zone)
    }

    /// The same of headers that were read already.
    #[inline]
    #[must_use]
    pub fn of(conntrack: &Conntrack, seen: Result<Seen, Invalid>, zone: u16) -> Self {
        let place = seen.as_ref().ok();
        let place = place.and_then(|seen| conntrack.expect_slot(seen, zone));
        Self { seen, place }
    }

    /// Says that its connection's entry will be looked at soon.
    #[inline]
    pub fn expect_entry(&self, conntrack: &Conntrack) {
        if let Some(place) = &self.place {
            conntrack.expect_entry(place);
        }
    }

    /// What tracking says of it; `None` when it cannot be tracked.
    #[inline]
    #[must_use]
    pub fn track(&self, conntrack: &Conntrack, ask: &Ask<'_>) -> Option<Outcome> {
        let seen = self.seen.as_ref().ok()?;
        Some(ask.about(conntrack, self.place, seen))
    }

    /// How the headers were seen; `None` when the packet cannot be tracked.
    #[must_use]
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref().ok()
    }
}

/// Tracks a packet that need not wait for others, and says what it was made. `ahead` was read of it
/// as it is, for the request's zone.
pub fn whole(
    conntrack: &Conntrack,
    packet: &mut Packet,
    layout: Layout,
    ahead: &Ahead,
    ask: &Ask<'_>,
) -> (Meta, Option<Rewrite>) {
    let request = ask.request;
    let (Ok(seen), Some(outcome)) = (&ahead.seen, ahead.track(conntrack, ask)) else {
        return (Meta::invalid(request.zone), None);
    };
    if let Some(to) = &outcome.rewrite {
        rewrite(packet, layout, seen, to);
    }
    if let Some(follow) = &outcome.follow {
        let translates = request.nat.is_some();
        let helpers = Helpers {
            conntrack,
            counts: conntrack.helpers(),
        };
        helpers.carry_out(packet, layout, seen, follow, translates, ask.now);
    }
    (outcome.meta, outcome.rewrite)
}

/// Tracks a packet that was looked up with `key`. What waited and is given up goes to `freed`.
pub fn step(
    conntrack: &Conntrack,
    mut packet: Packet,
    layout: Layout,
    key: &SparseKey,
    ask: &Ask<'_>,
    freed: &mut Freed,
) -> Step {
    let request = ask.request;
    let ahead = Ahead::read(conntrack, &packet, layout, request.zone);
    match ahead.seen {
        Err(Invalid::Fragment) if ask.may_wait => {
            let fragments = conntrack.fragments();
            match fragments.offer(packet, layout, key, request.zone, ask.now, freed) {
                Offer::Held => Step::Held,
                Offer::Refused(packet, _) => Step::On(packet, Meta::invalid(request.zone)),
                Offer::Whole { mut pieces, seen } => {
                    let Ok(seen) = seen else {
                        return Step::Whole(pieces, Meta::invalid(request.zone));
                    };
                    let place = conntrack.expect_slot(&seen, request.zone);
                    let outcome = ask.about(conntrack, place, &seen);
                    if let Some(to) = &outcome.rewrite {
                        rewrite_pieces(&mut pieces, &seen, to);
                    }
                    Step::Whole(pieces, outcome.meta)
                }
            }
        }
        _ => {
            let (meta, _) = whole(conntrack, &mut packet, layout, &ahead, ask);
            Step::On(packet, meta)
        }
    }
}

impl Ask<'_> {
    fn about(&self, conntrack: &Conntrack, place: Option<Place>, seen: &Seen) -> Outcome {
        let mut before = *self.before;
        if let Some(original) = &mut before.original
            && original.is_icmp()
        {
            // A key does not say it, and it is the packet's own.
            original.src_port = seen.tuple.src_port;
        }
        conntrack.track_at(place, seen, &before, self.request, self.now)
    }
}
