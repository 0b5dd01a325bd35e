//! Tracking a packet's connection, and which ways lead on from there.

use vswitch_flow::{Field, SparseKey};

use super::{Tools, Work};
use crate::conntrack::fragments::Freed;
use crate::conntrack::request::Meta;
use crate::conntrack::step::{Ask, Step, step};
use crate::counters::DropReason;
use crate::extract::Extracted;
use crate::pipeline::CtAction;
use crate::tick::Tick;

/// Nanoseconds of a tick.
const TICK: u64 = 1_000_000;

/// Tracks a packet. `None` when it does not go on with its list of actions: it waits for other
/// fragments, or goes on with them.
pub(super) fn track(
    work: Work,
    ct: &CtAction,
    extracted: &Extracted,
    tools: &mut Tools<'_>,
) -> Option<Work> {
    let key = &extracted.key;
    let layout = work.layout;
    let before = work.tracked.unwrap_or_else(|| Meta::of(key));
    let ask = Ask {
        request: &ct.request,
        before: &before,
        may_wait: is_fragment(key),
        now: Tick(tools.now.0 / TICK),
    };
    let mut freed = Freed::new();
    let step = step(tools.conntrack, work.packet, layout, key, &ask, &mut freed);
    for (packet, reason) in freed {
        tools.fragments.released += 1;
        tools.drops.count(reason);
        tools.pool.drop_packet(packet);
    }
    match step {
        Step::On(packet, meta) => {
            let work = Work {
                packet,
                layout,
                tracked: Some(meta),
            };
            if !ask.may_wait {
                return Some(work);
            }
            lead_on(work, ct, key, tools);
        }
        Step::Held => tools.fragments.held += 1,
        Step::Whole(pieces, meta) => {
            // The one at hand was not put aside.
            tools.fragments.released += pieces.len().saturating_sub(1) as u64;
            for piece in pieces {
                let work = Work {
                    packet: piece.packet,
                    layout: piece.layout,
                    tracked: Some(meta),
                };
                lead_on(work, ct, &piece.key, tools);
            }
        }
    }
    None
}

/// Sends a fragment on the ways that begin at `ct`.
fn lead_on(work: Work, ct: &CtAction, key: &SparseKey, tools: &mut Tools<'_>) {
    let mut ways = [&ct.table, &ct.rest].into_iter().flatten();
    let (first, second) = (ways.next(), ways.next());
    if let (Some(frozen), Some(_)) = (first, second)
        && let Some(copy) = work.copy(tools)
    {
        tools.sink.again.push(copy.again(frozen, *key));
    }
    match second.or(first) {
        Some(frozen) => tools.sink.again.push(work.again(frozen, *key)),
        None => {
            tools.drops.count(DropReason::RuleDrop);
            tools.pool.drop_packet(work.packet);
        }
    }
}

/// Whether a packet was looked up as a piece of a datagram.
fn is_fragment(key: &SparseKey) -> bool {
    let row = Field::IpFrag.info();
    key.word(usize::from(row.word)) >> row.shift & 1 != 0
}
