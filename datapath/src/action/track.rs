//! Tracking a packet's connection, and which ways lead on from there.

use vswitch_flow::{Field, SparseKey};

use super::{Tools, Work};
use crate::conntrack::fragments::Freed;
use crate::conntrack::request::Meta;
use crate::conntrack::step::{Ahead, Ask, Step, step, whole};
use crate::counters::DropReason;
use crate::pipeline::CtAction;

/// Tracks a packet that is no fragment, where it is.
pub(super) fn track_whole(work: &mut Work, ct: &CtAction, key: &SparseKey, tools: &Tools<'_>) {
    let before = work.tracked.unwrap_or_else(|| Meta::of(key));
    let ask = Ask {
        request: &ct.request,
        before: &before,
        may_wait: false,
        now: tools.now.tick(),
    };
    let ahead = Ahead::read(tools.conntrack, &work.packet, work.layout, ct.request.zone);
    let (meta, _) = whole(tools.conntrack, &mut work.packet, work.layout, &ahead, &ask);
    work.tracked = Some(meta);
}

/// Tracks a fragment. It does not go on with its list of actions: it waits for the others of its
/// datagram, or goes on with them.
pub(super) fn track_fragment(work: Work, ct: &CtAction, key: &SparseKey, tools: &mut Tools<'_>) {
    let layout = work.layout;
    let before = work.tracked.unwrap_or_else(|| Meta::of(key));
    let ask = Ask {
        request: &ct.request,
        before: &before,
        may_wait: true,
        now: tools.now.tick(),
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
pub(crate) fn is_fragment(key: &SparseKey) -> bool {
    let row = Field::IpFrag.info();
    key.word(usize::from(row.word)) >> row.shift & 1 != 0
}
