//! Packets of a batch that are tracked and then looked up again, taken through both together.
//!
//! A flow table that tracks begins with `ct(table=N)` as a rule: all that is done to a packet at first
//! is to track it. Such packets of a batch stay where they are. They are read, looked for in the
//! table of connections, looked up again and decided, each step for all of them before the next, so
//! that what a step has to wait for comes in meanwhile. Their headers are not read again: what
//! translation wrote is known.
//!
//! Law: the same as if each had been carried out alone and put aside to have its headers read again.
//! A packet is taken along only while none waits for that, so packets of one flow never overtake each
//! other, and both kinds share their bounds. Fragments are not taken along.
//!
//! Cost: no allocation, and one shared reference for each run of packets with one decision.

use std::sync::Arc;

use vswitch_flow::{Field, OfPort};

use super::Worker;
use super::round::act;
use crate::action::is_fragment;
use crate::buffer::Packet;
use crate::cache::{Decision, EntryId};
use crate::conntrack::request::{Meta, Rewrite};
use crate::conntrack::step::{Ahead, Ask, whole};
use crate::conntrack::tuple::Family;
use crate::counters::DropReason;
use crate::extract::{Extracted, extract_into};
use crate::pipeline::{CtAction, DpAction};
use crate::tick::Tick;

/// The packets, kept so that nothing is allocated.
#[derive(Default)]
pub(super) struct Together {
    waiting: Vec<Waiting>,
    /// The same in the turn after this one.
    next: Vec<Waiting>,
    ahead: Vec<Ahead>,
    found: Vec<Option<EntryId>>,
    /// What is asked about them, in their order.
    asked: Vec<Arc<CtAction>>,
}

/// A packet that is to be tracked.
struct Waiting {
    packet: Packet,
    /// Where in the batch its key is.
    key: usize,
    /// Which of those asked.
    asked: usize,
}

/// What is to be tracked of a packet if nothing else is done to it.
#[inline]
pub(super) fn alone<'a>(
    decision: &'a Decision,
    extracted: &Extracted,
) -> Option<&'a Arc<CtAction>> {
    match &*decision.actions {
        [DpAction::Ct(ct)] if ct.table.is_some() && !is_fragment(&extracted.key) => Some(ct),
        _ => None,
    }
}

impl Together {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a packet along.
    #[inline]
    pub(super) fn push(&mut self, packet: Packet, key: usize, ct: &Arc<CtAction>) {
        let asked = note(&mut self.asked, ct);
        self.waiting.push(Waiting { packet, key, asked });
    }
}

/// Where in a list something is, which is often its last.
#[inline]
fn note(asked: &mut Vec<Arc<CtAction>>, ct: &Arc<CtAction>) -> usize {
    if !asked.last().is_some_and(|last| Arc::ptr_eq(last, ct)) {
        asked.push(Arc::clone(ct));
    }
    asked.len() - 1
}

impl Worker {
    /// Tracks the packets that wait, at most `left`, and decides about them. Answers how many had to
    /// be translated.
    pub(super) fn decide_tracked(
        &mut self,
        together: &mut Together,
        keys: &mut [Extracted],
        left: usize,
        tick: Tick,
    ) -> u32 {
        self.give_up_tracked(together, left, DropReason::TooMuchWork);
        self.track_together(together, keys);
        let misses = self.look_up_together(together, keys, tick);
        std::mem::swap(&mut together.waiting, &mut together.next);
        if together.waiting.is_empty() {
            together.asked.clear();
        }
        misses
    }

    /// Drops those that wait beyond so many.
    pub(super) fn give_up_tracked(
        &mut self,
        together: &mut Together,
        left: usize,
        reason: DropReason,
    ) {
        let waiting = &mut together.waiting;
        for Waiting { packet, .. } in waiting.drain(left.min(waiting.len())..) {
            self.stats.drops.count(reason);
            self.pool.drop_packet(packet);
        }
        if waiting.is_empty() {
            together.asked.clear();
        }
    }

    /// Tracks all, and makes their keys those that they come again with.
    fn track_together(&mut self, together: &mut Together, keys: &mut [Extracted]) {
        let conntrack = &*self.conntrack;
        let now = self.moment.tick();
        let Together {
            waiting,
            ahead,
            asked,
            next,
            ..
        } = together;
        ahead.clear();
        for Waiting {
            packet,
            key,
            asked: at,
        } in &*waiting
        {
            let layout = keys.get(*key).map_or_else(Default::default, |x| x.layout);
            let zone = asked.get(*at).map_or(0, |ct| ct.request.zone);
            ahead.push(Ahead::read(conntrack, packet, layout, zone));
        }
        for ahead in &*ahead {
            ahead.expect_entry(conntrack);
        }
        for (mut waiting, ahead) in waiting.drain(..).zip(&*ahead) {
            let (Some(extracted), Some(ct)) = (keys.get_mut(waiting.key), asked.get(waiting.asked))
            else {
                debug_assert!(false, "a packet that waits has a key and was asked about");
                self.pool.drop_packet(waiting.packet);
                continue;
            };
            let before = Meta::of(&extracted.key);
            let ask = Ask {
                request: &ct.request,
                before: &before,
                may_wait: false,
                now,
            };
            let packet = &mut waiting.packet;
            let (meta, rewrite) = whole(conntrack, packet, extracted.layout, ahead, &ask);
            let known = rewrite.is_none_or(|rewrite| show(extracted, ahead, &rewrite));
            let id = ct.table.as_ref().map_or(0, |frozen| frozen.id);
            if known {
                extracted.key.come_again(&meta.words(), id);
            } else {
                let before = extracted.key;
                let port = OfPort(packet.in_port.0);
                if let Err(reason) = extract_into(packet.head(), packet.len(), port, extracted) {
                    self.stats.drops.count(reason);
                    self.pool.drop_packet(waiting.packet);
                    continue;
                }
                extracted.key = extracted.key.again(&before, &meta.words(), id);
            }
            next.push(waiting);
        }
        std::mem::swap(waiting, next);
    }

    /// Looks all up again and carries out what is found. Those that are tracked once more wait for
    /// the next turn.
    fn look_up_together(&mut self, together: &mut Together, keys: &[Extracted], tick: Tick) -> u32 {
        let Together {
            waiting,
            next,
            found,
            asked,
            ..
        } = together;
        found.clear();
        if self.cache_enabled {
            let keys = waiting.iter().map(|waiting| &keys[waiting.key].key);
            self.cache.lookup_batch(keys, self.tables.recent(), found);
        } else {
            found.resize(waiting.len(), None);
        }
        let mut misses = 0;
        for (waiting, found) in waiting.drain(..).zip(&*found) {
            let Waiting {
                packet,
                key,
                asked: at,
            } = waiting;
            let extracted = &keys[key];
            let recent = self.tables.recent();
            let found = found.filter(|&id| misses == 0 || self.cache.still_decided(id, recent));
            let size = packet.len() as u64;
            match found.and_then(|id| self.cache.credit(id, size, tick)) {
                Some(decision) => match alone(decision, extracted) {
                    Some(ct) if !self.scratch.sink.holds_back() => {
                        let asked = note(asked, ct);
                        next.push(Waiting { packet, key, asked });
                    }
                    _ => act(
                        packet,
                        extracted,
                        decision,
                        self.moment,
                        &self.conntrack,
                        &mut self.ports,
                        &mut self.pool,
                        &mut self.stats,
                        &mut self.scratch.sink,
                    ),
                },
                None => {
                    let asked = asked.get(at).map(Arc::clone);
                    let frozen = asked.as_ref().and_then(|ct| ct.table.as_deref());
                    misses += u32::from(self.miss(packet, extracted, frozen, tick));
                }
            }
        }
        misses
    }
}

/// Has a key show what a packet was translated to. False when that takes reading its headers again.
#[inline]
fn show(extracted: &mut Extracted, ahead: &Ahead, rewrite: &Rewrite) -> bool {
    let (to, key) = (&rewrite.to, &mut extracted.key);
    let (src, dst) = match to.family {
        Family::V4 => (Field::Ipv4Src, Field::Ipv4Dst),
        Family::V6 => (Field::Ipv6Src, Field::Ipv6Dst),
    };
    let addresses = key.replace(src, to.src) && key.replace(dst, to.dst);
    // Of a protocol that keys do not know they show no ports, nor those that an error quotes.
    let is_error = ahead.seen().is_none_or(|seen| seen.is_error());
    if !addresses || is_error || !to.has_ports() || extracted.layout.l4 == 0 {
        return addresses;
    }
    key.replace(Field::TcpSrc, to.src_port.into()) && key.replace(Field::TcpDst, to.dst_port.into())
}
