//! One round: the order of a packet's steps, written here and nowhere else.
//!
//! ```text
//! rx -> extract -> cache -> (miss: translate) -> act -> tx
//!           ^       ^                             |
//!           |       '---- tracked, all together --|
//!           '-------- headers to be read again ---'
//! ```
//!
//! Each ready queue gives at most one batch in turn, and has another turn in the same round only
//! while some queue gives full batches. A batch's packets are looked up together, then
//! decided and carried out one by one in order of arrival, so packets of one flow never overtake
//! each other and a decision sees what the packet before it taught the FDB. Output is collected
//! per queue and written once, at the end of the round.
//!
//! A packet whose headers have to be read again waits until the batch it belongs to has been carried
//! out, and is then decided before the next batch; after [`AGAIN_MAX`] times it is dropped. So are
//! those of a batch that are more than [`AGAIN_PACKETS_MAX`].
//!
//! A queue whose packets are translated more than [`MISSES_FREE`] times a batch is passed over for
//! the next rounds in proportion: what waits, waits in its own ring, and other ports' packets do
//! not wait for its misses.
//!
//! Cost on the hit path: no allocation, no lock; the cycle counter is read a few times a batch.

use std::time::Instant;

use vswitch_flow::OfPort;
use vswitch_sys::clock::cycles;

use super::Worker;
use super::ports::Ports;
use super::stats::{Stage, Stats};
use super::tracked::{Together, alone};
use crate::action::{self, ANSWERS_MAX, Again, Inside, Sink, Straight, Tools};
use crate::buffer::{BATCH_LEN, Batch, FramePool, Packet};
use crate::cache::{Decision, EntryId};
use crate::conntrack::Conntrack;
use crate::counters::DropReason;
use crate::extract::{Extracted, extract_into};
use crate::offload::fit::{Fit, fit};
use crate::offload::merge::merge;
use crate::offload::too_big;
use crate::pipeline::{DpAction, Frozen, Moment, Translation, resume, translate};
use crate::tick::Tick;

/// Translations of one batch that cost its queue nothing.
const MISSES_FREE: u32 = 8;

/// Translations beyond the free ones for which a queue is passed over one round.
const MISSES_PER_PENALTY: u32 = 8;

/// Rounds that a queue is passed over at most, whatever its packets cost: what waits in its ring
/// must not be forgotten.
const PENALTY_MAX: u32 = 16;

/// Times in a round that the ready queues are read, as long as one of them gives a full batch: what
/// is sent in one call shares the call's cost, which is that of several packets' way through the
/// switch. More than two turns gave no more.
const PASSES_MAX: usize = 2;

/// Packets taken over from other workers in a round: enough to keep up with several.
const TAKEN_OVER_MAX: usize = 4 * BATCH_LEN;

/// How often the headers of one packet are read again: more tags than anybody stacks.
const AGAIN_MAX: u32 = 16;

/// Packets of one batch, copies included, whose headers are read again. Flows can have each of a
/// packet's copies make two more; others' packets must not wait for that.
const AGAIN_PACKETS_MAX: usize = 64 * BATCH_LEN;

/// Cache slots that are swept in a round.
const SWEEP_LEN: usize = 2;

/// Milliseconds after which an unused cache entry is removed (Open vSwitch's `max-idle`).
pub(super) const CACHE_IDLE_MS: u64 = 10_000;

/// What a round works with, kept so that nothing is allocated.
#[derive(Default)]
pub(super) struct Scratch {
    /// Boxed, because moving a batch is moving two kilobytes.
    batch: Option<Box<Batch>>,
    pub(super) keys: Vec<Extracted>,
    found: Vec<Option<EntryId>>,
    pub(super) sink: Sink,
    again: Vec<Again>,
    pub(super) inside: Vec<Inside>,
    together: Together,
    pub(super) fitted: Vec<Packet>,
    merged: Vec<Packet>,
    ready: Vec<u32>,
    dirty: Vec<u32>,
    /// When each batch of the round was received, and its length.
    received: Vec<(u64, u64)>,
}

impl Worker {
    /// Moves what is ready, once. Answers how many packets were received, made or taken over.
    pub fn round(&mut self, now: Instant, tick: Tick) -> usize {
        let begin = cycles();
        self.set_moment(now, tick);
        let mut moved = self.take_over();

        for _ in 0..PASSES_MAX {
            let mut ready = std::mem::take(&mut self.scratch.ready);
            std::mem::swap(&mut ready, &mut self.ports.ready);
            let mut full = false;
            for number in ready.drain(..) {
                let len = self.serve(number, now, tick);
                moved += len;
                full |= len == BATCH_LEN;
            }
            self.scratch.ready = ready;
            if !full {
                break;
            }
        }

        self.tick_routers(tick);
        if !self.answers.is_empty() {
            moved += self.answer(tick);
        }
        self.transmit(now);
        self.stats.handed_over = self.ports.handed_over;

        let recent = self.tables.recent();
        self.cache.sweep(SWEEP_LEN, recent, tick, CACHE_IDLE_MS);

        let spent = cycles().wrapping_sub(begin);
        if moved > 0 {
            self.stats.busy_rounds += 1;
            self.stats.busy_cycles += spent;
        } else {
            self.stats.idle_rounds += 1;
            self.stats.idle_cycles += spent;
        }
        moved
    }

    /// Packets from other workers, to be sent as they are.
    fn take_over(&mut self) -> usize {
        let mut len = 0;
        while len < TAKEN_OVER_MAX
            && let Some((port, packet)) = self.ports.inbox.pop()
        {
            len += 1;
            self.ports
                .send(port, packet, &mut self.pool, &mut self.stats.drops);
        }
        self.stats.taken_over += len as u64;
        len
    }

    /// One batch from one queue, up to its outputs.
    fn serve(&mut self, number: u32, now: Instant, tick: Tick) -> usize {
        let begin = cycles();
        let mut batch = self.scratch.batch.take().unwrap_or_default();
        if self.ports.rx(number, now, &mut self.pool, &mut batch) {
            self.ports.ready.push(number);
        }
        let inside = self.ports.carries_tunnels(number);
        let len = batch.len();
        let received = cycles();
        self.stats
            .stage(Stage::Rx, received.wrapping_sub(begin), len);
        if len > 0 {
            self.stats.rx_packets += len as u64;
            self.scratch.received.push((begin, len as u64));
            let misses = match inside {
                Some((at, local)) => self.decide_inside(&mut batch, at, local, tick),
                None => self.decide(&mut batch, tick),
            };
            if let Some(Some(slot)) = self.ports.slots.get_mut(number as usize) {
                let penalty = misses.saturating_sub(MISSES_FREE) / MISSES_PER_PENALTY;
                slot.penalty = match self.is_fair {
                    true => penalty.min(PENALTY_MAX),
                    false => 0,
                };
                slot.cycles += cycles().wrapping_sub(begin);
            }
        }
        self.scratch.batch = Some(batch);
        len
    }

    /// Extract, look up, translate what is not known, act. Answers how many had to be translated.
    pub(super) fn decide(&mut self, batch: &mut Batch, tick: Tick) -> u32 {
        let begin = cycles();
        let len = batch.len();
        let mut keys = std::mem::take(&mut self.scratch.keys);
        let mut found = std::mem::take(&mut self.scratch.found);
        keys.resize_with(BATCH_LEN, Extracted::default);
        found.clear();

        let mut at = 0;
        while let (Some(packet), Some(key)) = (batch.get(at), keys.get_mut(at)) {
            match extract_into(packet.head(), packet.len(), OfPort(packet.in_port.0), key) {
                Ok(()) => at += 1,
                Err(reason) => {
                    self.stats.drops.count(reason);
                    self.pool.drop_packet(batch.remove(at));
                }
            }
        }
        let keys_len = batch.len();
        debug_assert!(self.scratch.sink.is_empty());
        let extracted = cycles();
        self.stats
            .stage(Stage::Extract, extracted.wrapping_sub(begin), len);

        if self.cache_enabled {
            let keys = keys.iter().take(keys_len).map(|x| &x.key);
            self.cache
                .lookup_batch(keys, self.tables.recent(), &mut found);
        } else {
            found.resize(keys_len, None);
        }
        let looked_up = cycles();
        let spent = looked_up.wrapping_sub(extracted);
        self.stats.stage(Stage::Cache, spent, keys_len);

        let translated_before = self.stats.stages[Stage::Translate as usize].cycles;
        let mut misses = 0;
        let mut together = std::mem::take(&mut self.scratch.together);
        for ((at, packet), found) in batch.drain(..).enumerate().zip(&found) {
            let Some(extracted) = keys.get(at) else {
                debug_assert!(false, "there are keys for a whole batch");
                self.pool.drop_packet(packet);
                continue;
            };
            // A packet that was translated may have taught the FDB what later answers rest on.
            let recent = self.tables.recent();
            let found = found.filter(|&id| misses == 0 || self.cache.still_decided(id, recent));
            let size = packet.len() as u64;
            let known = found.and_then(|id| self.cache.credit(id, size, tick));
            match known {
                Some(decision) => match alone(decision, extracted) {
                    Some(ct) if !self.scratch.sink.holds_back() => together.push(packet, at, ct),
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
                    misses += u32::from(self.miss(packet, extracted, None, tick));
                }
            }
        }
        self.scratch.together = together;
        misses += self.empty_sink(&mut keys, tick);
        let translated = self.stats.stages[Stage::Translate as usize].cycles - translated_before;
        let spent = cycles().wrapping_sub(looked_up).saturating_sub(translated);
        self.stats.stage(Stage::Act, spent, keys_len);
        self.scratch.keys = keys;
        self.scratch.found = found;
        misses
    }

    /// Decides packets that are tracked together and those whose headers have to be read again, until
    /// there is none. Answers how many had to be translated.
    fn read_again(&mut self, keys: &mut [Extracted], tick: Tick) -> u32 {
        let mut misses = 0;
        let mut left = AGAIN_PACKETS_MAX;
        let mut together = std::mem::take(&mut self.scratch.together);
        for _ in 0..AGAIN_MAX {
            let mut again = std::mem::take(&mut self.scratch.again);
            std::mem::swap(&mut again, &mut self.scratch.sink.again);
            if together.len() > 0 {
                let len = together.len().min(left);
                misses += self.decide_tracked(&mut together, keys, left, tick);
                left -= len;
            }
            for again in again.drain(left.min(again.len())..) {
                self.stats.drops.count(DropReason::TooMuchWork);
                self.pool.drop_packet(again.packet);
            }
            left -= again.len();
            for Again {
                frozen,
                packet,
                key: before,
                tracked,
            } in again.drain(..)
            {
                let mut extracted = Extracted::default();
                let port = OfPort(packet.in_port.0);
                if let Err(reason) = extract_into(packet.head(), packet.len(), port, &mut extracted)
                {
                    self.stats.drops.count(reason);
                    self.pool.drop_packet(packet);
                    continue;
                }
                extracted.key = extracted.key.again(&before, &tracked, frozen.id);
                misses += u32::from(self.decide_one(packet, &extracted, Some(&frozen), tick));
            }
            self.scratch.again = again;
            misses += self.take_out(&mut left, tick);
            if !self.scratch.sink.holds_back() && together.len() == 0 {
                self.scratch.together = together;
                return misses;
            }
        }
        self.give_up_tracked(&mut together, 0, DropReason::TooDeep);
        self.scratch.together = together;
        for again in self.scratch.sink.again.drain(..) {
            self.stats.drops.count(DropReason::TooDeep);
            self.pool.drop_packet(again.packet);
        }
        for inside in self.scratch.sink.inside.drain(..) {
            self.stats.drops.count(DropReason::TooDeep);
            self.pool.drop_packet(inside.packet);
        }
        misses
    }

    /// Looks one packet up and carries its decision out; `frozen` is where its translation goes on, if
    /// it has begun. Answers whether it had to be translated.
    pub(super) fn decide_one(
        &mut self,
        packet: Packet,
        extracted: &Extracted,
        frozen: Option<&Frozen>,
        tick: Tick,
    ) -> bool {
        let found = match self.cache_enabled {
            true => self.cache.lookup(&extracted.key, self.tables.recent()),
            false => None,
        };
        match self.act_by(found, packet, extracted, tick) {
            Ok(()) => false,
            Err(packet) => self.miss(packet, extracted, frozen, tick),
        }
    }

    /// Carries out what a cache entry says of a packet, and credits it. The packet comes back when there
    /// is no such entry.
    #[inline]
    fn act_by(
        &mut self,
        id: Option<EntryId>,
        packet: Packet,
        extracted: &Extracted,
        tick: Tick,
    ) -> Result<(), Packet> {
        let size = packet.len() as u64;
        let Some(decision) = id.and_then(|id| self.cache.credit(id, size, tick)) else {
            return Err(packet);
        };
        act(
            packet,
            extracted,
            decision,
            self.moment,
            &self.conntrack,
            &mut self.ports,
            &mut self.pool,
            &mut self.stats,
            &mut self.scratch.sink,
        );
        Ok(())
    }

    /// A packet that the cache did not know when its batch was looked up; `frozen` is where its
    /// translation goes on, if it has begun. Answers whether it had to be translated.
    #[cold]
    pub(super) fn miss(
        &mut self,
        packet: Packet,
        extracted: &Extracted,
        frozen: Option<&Frozen>,
        tick: Tick,
    ) -> bool {
        let begin = cycles();
        let epoch = self.tables.epoch;
        // An earlier packet of the batch may have brought the answer.
        let mut id = None;
        if self.cache_enabled {
            id = self.cache.find_again(&extracted.key, self.tables.recent());
        }
        let is_new = id.is_none();
        if is_new {
            let translation = self.translate(&packet, extracted, frozen, tick);
            let (renews, wishes) = self.effects(&translation, tick);
            // What teaches rests on what is not yet so: the next packet works out the answer that
            // lasts.
            let lasting = translation.cacheable
                && translation.learn.is_empty()
                && wishes.is_empty()
                && self.cache_enabled;
            let mask = translation.mask;
            let decision = Decision {
                renews,
                ..Decision::from(translation)
            };
            if lasting {
                let key = &extracted.key;
                id = Some(self.cache.insert(key, &mask, decision, epoch, tick));
            } else {
                let spent = cycles().wrapping_sub(begin);
                self.stats.stage(Stage::Translate, spent, 1);
                self.carry_out(packet, extracted, decision, wishes, tick);
                return is_new;
            }
        }
        self.stats
            .stage(Stage::Translate, cycles().wrapping_sub(begin), 1);

        if let Err(packet) = self.act_by(id, packet, extracted, tick) {
            debug_assert!(false, "a translated packet has a decision");
            self.pool.drop_packet(packet);
        }
        is_new
    }

    /// Decides for good about packets that other steps have put into the sink, and about those that
    /// are to be tracked together, whose keys these are.
    #[inline]
    pub(super) fn empty_sink(&mut self, keys: &mut [Extracted], tick: Tick) -> u32 {
        let mut misses = 0;
        if self.scratch.sink.holds_back() || self.scratch.together.len() > 0 {
            misses = self.read_again(keys, tick);
        }
        if !self.scratch.sink.punted.is_empty() {
            self.tell_controllers();
        }
        if !self.scratch.sink.routed.is_empty() {
            self.serve_routers(tick);
        }
        if !self.scratch.sink.answers.is_empty() {
            self.keep_answers();
        }
        misses
    }

    /// Works out what happens to a packet, and learns what it teaches.
    fn translate(
        &self,
        packet: &Packet,
        extracted: &Extracted,
        frozen: Option<&Frozen>,
        tick: Tick,
    ) -> Translation {
        let key = extracted.key.to_dense();
        let tables = &self.tables;
        let translation = match frozen {
            None => translate(tables, &key, packet.in_port, None),
            Some(frozen) => resume(tables, &key, frozen, None),
        };
        for learn in &translation.learn {
            if let Some(bridge) = tables.bridge(learn.bridge) {
                bridge.fdb.learn(learn.key, learn.port, tick);
            }
        }
        translation
    }

    /// Writes what the round collected: makes every packet fit its port, then one call a queue.
    pub(super) fn transmit(&mut self, now: Instant) {
        if self.ports.dirty.is_empty() {
            self.scratch.received.clear();
            return;
        }
        let begin = cycles();
        let mut dirty = std::mem::take(&mut self.scratch.dirty);
        std::mem::swap(&mut dirty, &mut self.ports.dirty);
        let mut fitted = std::mem::take(&mut self.scratch.fitted);
        let mut sent = 0;
        for number in dirty.drain(..) {
            let Some(Some(slot)) = self.ports.slots.get_mut(number as usize) else {
                continue;
            };
            let len = slot.out.len();
            sent += len;
            self.ports.warm_by_sending(number, len);
            let Some(Some(slot)) = self.ports.slots.get_mut(number as usize) else {
                continue;
            };
            if len > 1 && (slot.caps.tso4 || slot.caps.tso6) {
                let kept = &mut self.scratch.merged;
                self.stats.merged += merge(&mut slot.out, &slot.caps, &mut self.pool, kept) as u64;
                std::mem::swap(&mut slot.out, kept);
            }
            if slot.out.iter().all(|packet| slot.caps.accepts(packet)) {
                slot.io.tx(now, &mut self.pool, &mut slot.out);
                continue;
            }
            let port = slot.id.port;
            for packet in slot.out.drain(..) {
                let before = fitted.len();
                match fit(packet, &slot.caps, &mut self.pool, &mut fitted) {
                    Fit::Ready => {
                        self.stats.split += (fitted.len() - before).saturating_sub(1) as u64;
                    }
                    Fit::TooBig(packet) => {
                        self.stats.drops.count(DropReason::MtuExceeded);
                        let answers = &mut self.scratch.sink.answers;
                        if answers.len() < ANSWERS_MAX
                            && let Some(mut answer) =
                                too_big::answer(&packet, slot.caps.mtu, &mut self.pool)
                        {
                            answer.in_port = port;
                            answers.push(answer);
                        }
                        self.pool.drop_packet(packet);
                    }
                    Fit::Dropped(reason) => self.stats.drops.count(reason),
                }
            }
            slot.io.tx(now, &mut self.pool, &mut fitted);
        }
        self.scratch.dirty = dirty;
        self.scratch.fitted = fitted;
        self.keep_answers();
        let end = cycles();
        self.stats.stage(Stage::Tx, end.wrapping_sub(begin), sent);
        for (begin, len) in self.scratch.received.drain(..) {
            let residence = end.wrapping_sub(begin).max(1);
            self.stats.residence.saturating_record_n(residence, len);
        }
    }
}

/// Carries out a decision.
#[inline]
#[expect(
    clippy::too_many_arguments,
    reason = "the decision is borrowed from the worker's cache, so the worker comes in parts"
)]
pub(super) fn act(
    packet: Packet,
    extracted: &Extracted,
    decision: &Decision,
    now: Moment,
    conntrack: &Conntrack,
    ports: &mut Ports,
    pool: &mut FramePool,
    stats: &mut Stats,
    sink: &mut Sink,
) {
    match &*decision.actions {
        // Most packets go to one port as they are.
        [DpAction::Output(port)] => ports.send(*port, packet, pool, &mut stats.drops),
        [] => {
            stats
                .drops
                .count(decision.drop.unwrap_or(DropReason::RuleDrop));
            pool.drop_packet(packet);
        }
        actions if decision.straight => {
            let Some(straight) = Straight::new(actions) else {
                debug_assert!(false, "actions that are straight end with a way out");
                stats.drops.count(DropReason::RuleDrop);
                return pool.drop_packet(packet);
            };
            let drops = &mut stats.drops;
            if let Some(packet) = straight.change(packet, extracted.layout, pool, sink, drops) {
                ports.send(straight.port, packet, pool, drops);
            }
        }
        actions => {
            let why_not = decision.drop.unwrap_or(DropReason::RuleDrop);
            let ends = |sink: &Sink, stats: &Stats| {
                sink.len() as u64 + stats.drops.total() + stats.fragments.held
            };
            let before = (ends(sink, stats), stats.fragments.released);
            let tools = Tools {
                pool: &mut *pool,
                sink: &mut *sink,
                drops: &mut stats.drops,
                now,
                conntrack,
                fragments: &mut stats.fragments,
            };
            action::execute(packet, extracted, actions, why_not, tools);
            // One packet went in, and the fragments that waited for it; what came out beyond them are
            // copies, lost ones included.
            let came = 1 + stats.fragments.released - before.1;
            let went = ends(sink, stats) - before.0;
            stats.copies += went.saturating_sub(came);
            for (port, packet) in sink.outputs.drain(..) {
                ports.send(port, packet, pool, &mut stats.drops);
            }
        }
    }
}
