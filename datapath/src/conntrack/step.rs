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
use super::request::{Meta, Outcome, Request};
use super::rewrite::{rewrite, rewrite_pieces};
use super::seen::Seen;
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
    match parse(&packet, layout) {
        Ok(seen) => {
            let outcome = ask.about(conntrack, &seen);
            if let Some(to) = &outcome.rewrite {
                rewrite(&mut packet, layout, &seen, to);
            }
            if let Some(follow) = &outcome.follow {
                let translates = request.nat.is_some();
                let helpers = Helpers {
                    conntrack,
                    counts: conntrack.helpers(),
                };
                helpers.carry_out(&mut packet, layout, &seen, follow, translates, ask.now);
            }
            Step::On(packet, outcome.meta)
        }
        Err(Invalid::Fragment) if ask.may_wait => {
            let fragments = conntrack.fragments();
            match fragments.offer(packet, layout, key, request.zone, ask.now, freed) {
                Offer::Held => Step::Held,
                Offer::Refused(packet, _) => Step::On(packet, Meta::invalid(request.zone)),
                Offer::Whole { mut pieces, seen } => {
                    let Ok(seen) = seen else {
                        return Step::Whole(pieces, Meta::invalid(request.zone));
                    };
                    let outcome = ask.about(conntrack, &seen);
                    if let Some(to) = &outcome.rewrite {
                        rewrite_pieces(&mut pieces, &seen, to);
                    }
                    Step::Whole(pieces, outcome.meta)
                }
            }
        }
        Err(_) => Step::On(packet, Meta::invalid(request.zone)),
    }
}

impl Ask<'_> {
    fn about(&self, conntrack: &Conntrack, seen: &Seen) -> Outcome {
        let mut before = *self.before;
        if let Some(original) = &mut before.original
            && original.is_icmp()
        {
            // A key does not say it, and it is the packet's own.
            original.src_port = seen.tuple.src_port;
        }
        conntrack.track(seen, &before, self.request, self.now)
    }
}
