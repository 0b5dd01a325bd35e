//! What a worker does beside its rounds: actions of controllers, packets that wait for control, and
//! packets that controllers are told of.
//!
//! Nothing here is on the hit path.

use std::sync::Arc;
use std::time::Instant;

use vswitch_dpapi::BridgeId;
use vswitch_flow::meter::METER_CONTROLLER;
use vswitch_flow::{Action, META_WORD, Match, OfPort, SparseKey};

use super::Worker;
use super::round::act;
use super::upcall::Wish;
use crate::action::{Again, FragmentCounts, Punted, Sink, Tools, execute};
use crate::buffer::Packet;
use crate::cache::Decision;
use crate::conntrack::Conntrack;
use crate::conntrack::tuple::Family;
use crate::counters::{DropReason, Drops};
use crate::extract::{Extracted, extract_into};
use crate::offload::Capabilities;
use crate::offload::fit::{Fit, fit};
use crate::pipeline::{
    DpAction, Effect, Frozen, Moment, Rule, Translation, Verdict, Waiting, resume, translate_out,
};
use crate::port::PortIndex;
use crate::tick::Tick;

/// Packets that may wait for their flows to be added.
const PARKED_MAX: usize = 256;

/// What controllers can take: whole frames that leave nothing to be done.
const FINISHED: Capabilities = Capabilities {
    csum: false,
    tso4: false,
    tso6: false,
    uso: false,
    mtu: 65_535,
    max_segments: 18,
    tunnel: false,
};

/// The port of packets that came in by none.
const NOWHERE: PortIndex = PortIndex(u32::MAX);

/// A packet that waits for control to add the flows that it learns.
pub(super) struct Parked {
    ticket: u64,
    packet: Packet,
    extracted: Extracted,
    decision: Decision,
}

impl Parked {
    pub(super) fn packet(&self) -> &Packet {
        &self.packet
    }

    pub(super) fn into_packet(self) -> Packet {
        self.packet
    }
}

/// A controller's packet and what is to be done to it.
#[derive(Debug)]
pub struct PacketOut {
    /// On which bridge.
    pub bridge: BridgeId,
    /// The port it is taken to have come by.
    pub in_port: OfPort,
    /// The frame.
    pub packet: Vec<u8>,
    /// What is to be done.
    pub actions: Vec<Action>,
}

/// A packet that a controller lets go on.
#[derive(Debug)]
pub struct Resumed {
    /// Where it stopped.
    pub frozen: Arc<Frozen>,
    /// The frame, which may have been changed.
    pub packet: Vec<u8>,
    /// What no header says of it.
    pub fields: Match,
}

/// A frame that a trace takes along.
#[derive(Debug)]
pub struct Traced {
    /// The port it is taken to have come by.
    pub in_port: PortIndex,
    /// The frame.
    pub frame: Vec<u8>,
    /// With which it was looked up, headers aside.
    pub key: SparseKey,
    /// What was decided.
    pub actions: Vec<DpAction>,
}

impl Worker {
    /// Notes when a round begins.
    #[inline]
    pub(super) fn set_moment(&mut self, now: Instant, tick: Tick) {
        let (first, at) = *self.origin.get_or_insert((now, tick));
        let since = now.saturating_duration_since(first).as_nanos() as u64;
        self.moment = Moment(at.0.saturating_mul(1_000_000).saturating_add(since));
    }

    /// What a translation's packets do to flows: those that they keep young, and what control has to
    /// do.
    pub(super) fn effects(
        &mut self,
        translation: &Translation,
        tick: Tick,
    ) -> (Box<[Arc<Rule>]>, Vec<Arc<Effect>>) {
        let (mut renews, mut wishes) = (Vec::new(), Vec::new());
        for effect in &translation.effects {
            match &**effect {
                Effect::Learn { bridge, change, .. } => {
                    let flow = &change.rule;
                    let bridge = self.tables.bridge(*bridge);
                    let rule = bridge
                        .and_then(|b| b.rule(flow.table, &flow.matches, flow.priority))
                        .filter(|rule| rule.is_learned_by(change));
                    match rule {
                        Some(rule) => renews.push(Arc::clone(rule)),
                        None => wishes.push(Arc::clone(effect)),
                    }
                }
                Effect::Resolve { device, address } => {
                    if self.asked.ask(*device, *address, tick) {
                        wishes.push(Arc::clone(effect));
                    }
                }
                Effect::FinTimeout {
                    rule, idle, hard, ..
                } => {
                    if rule.is_longer_than(*idle, *hard) {
                        wishes.push(Arc::clone(effect));
                    }
                }
            }
        }
        (renews.into(), wishes)
    }

    /// Carries out a decision that is not kept. A packet that learns waits until control has added
    /// the flow.
    pub(super) fn carry_out(
        &mut self,
        packet: Packet,
        extracted: &Extracted,
        decision: Decision,
        wishes: Vec<Arc<Effect>>,
        tick: Tick,
    ) {
        decision.credit(1, packet.len() as u64, tick);
        for mac in &decision.touch {
            mac.touch(tick);
        }
        for neighbour in &decision.neighbours {
            neighbour.touch(tick);
        }
        let mut waits = false;
        if !wishes.is_empty() {
            self.ticket += 1;
            for effect in wishes {
                let learns = matches!(*effect, Effect::Learn { .. });
                let wish = Wish {
                    worker: self.id,
                    ticket: self.ticket,
                    effect,
                    at: tick,
                };
                waits |= self.upcalls.wish(wish) && learns;
            }
        }
        if waits && self.parked.len() < PARKED_MAX {
            self.parked.push_back(Parked {
                ticket: self.ticket,
                packet,
                extracted: *extracted,
                decision,
            });
            return;
        }
        self.act_on(packet, extracted, &decision);
    }

    fn act_on(&mut self, packet: Packet, extracted: &Extracted, decision: &Decision) {
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
    }

    /// Lets packets go on whose flows have been added, or have not: up to the one with this ticket.
    pub fn release(&mut self, ticket: u64, now: Instant, tick: Tick) {
        self.set_moment(now, tick);
        while self
            .parked
            .front()
            .is_some_and(|parked| parked.ticket <= ticket)
            && let Some(parked) = self.parked.pop_front()
        {
            self.act_on(parked.packet, &parked.extracted, &parked.decision);
        }
        self.empty_sink(&mut [], tick);
        self.transmit(now);
    }

    /// Does a controller's actions to its packet, up to its outputs.
    pub fn packet_out(&mut self, job: &PacketOut, now: Instant, tick: Tick) {
        let tables = Arc::clone(&self.tables);
        let port = tables.bridge(job.bridge).and_then(|b| b.port(job.in_port));
        let Some((packet, extracted)) = self.make(&job.packet, port.unwrap_or(NOWHERE)) else {
            return;
        };
        let key = extracted.key.to_dense();
        let (bridge, in_port) = (job.bridge, job.in_port);
        match translate_out(&tables, bridge, &key, in_port, &job.actions, None) {
            Some(translation) => self.follow(packet, &extracted, translation, now, tick),
            None => {
                self.stats.drops.count(DropReason::PortUnknown);
                self.pool.drop_packet(packet);
            }
        }
    }

    /// Lets a packet go on that waited for a controller.
    pub fn resume(&mut self, job: &Resumed, now: Instant, tick: Tick) {
        let Some((packet, mut extracted)) = self.make(&job.packet, NOWHERE) else {
            return;
        };
        let mut key = extracted.key.to_dense();
        for (at, value, mask) in job.fields.iter().filter(|(at, _, _)| *at >= META_WORD) {
            key.words[at] = key.words[at] & !mask | value;
        }
        extracted.key = SparseKey::from(&key);
        let tables = Arc::clone(&self.tables);
        let translation = resume(&tables, &key, &job.frozen, None);
        self.follow(packet, &extracted, translation, now, tick);
    }

    /// Does to a traced frame what was decided, except that it leaves by no port: controllers are told
    /// of it. Answers the frames whose headers are to be read again, each with the number of its stop.
    pub fn walk(&mut self, job: &Traced, now: Instant, tick: Tick) -> Vec<(u32, Vec<u8>)> {
        self.set_moment(now, tick);
        let Some(packet) = self.pool.packet(&job.frame, job.in_port) else {
            return Vec::new();
        };
        let mut extracted = Extracted::default();
        let port = OfPort(job.in_port.0);
        if extract_into(packet.head(), packet.len(), port, &mut extracted).is_err() {
            self.pool.drop_packet(packet);
            return Vec::new();
        }
        extracted.key = job.key;
        let mut sink = Sink::default();
        // What is only looked at counts nowhere; controllers are told of it like of any other.
        let mut uncounted = Drops::default();
        // Connections of its own: what is only looked at belongs to none, and waits for nobody.
        let conntrack = Conntrack::new(0);
        conntrack.fragments().set_enabled(Family::V4, false);
        conntrack.fragments().set_enabled(Family::V6, false);
        let tools = Tools {
            pool: &mut self.pool,
            sink: &mut sink,
            drops: &mut uncounted,
            now: self.moment,
            conntrack: &conntrack,
            fragments: &mut FragmentCounts::default(),
        };
        execute(
            packet,
            &extracted,
            &job.actions,
            DropReason::RuleDrop,
            tools,
        );
        let others = sink.inside.into_iter().map(|inside| inside.packet);
        let others = others.chain(sink.answers);
        for packet in sink
            .outputs
            .into_iter()
            .map(|(_, packet)| packet)
            .chain(others)
        {
            self.pool.drop_packet(packet);
        }
        for (_, packet) in sink.routed {
            self.pool.drop_packet(packet);
        }
        for punted in sink.punted {
            self.stats.answers += 1;
            self.tell_controller(punted);
        }
        self.upcalls.wake();
        let mut again = Vec::new();
        for Again { frozen, packet, .. } in sink.again {
            again.push((frozen.id, packet.to_vec()));
            self.pool.drop_packet(packet);
        }
        again
    }

    /// A packet of our own, and what its headers say.
    fn make(&mut self, bytes: &[u8], port: PortIndex) -> Option<(Packet, Extracted)> {
        self.stats.answers += 1;
        let Some(packet) = self.pool.packet(bytes, port) else {
            self.stats.drops.count(DropReason::NoFrames);
            return None;
        };
        let mut extracted = Extracted::default();
        let read = extract_into(packet.head(), packet.len(), OfPort(port.0), &mut extracted);
        if let Err(reason) = read {
            self.stats.drops.count(reason);
            self.pool.drop_packet(packet);
            return None;
        }
        Some((packet, extracted))
    }

    /// Carries out what was worked out for one packet.
    fn follow(
        &mut self,
        packet: Packet,
        extracted: &Extracted,
        translation: Translation,
        now: Instant,
        tick: Tick,
    ) {
        self.set_moment(now, tick);
        for learn in &translation.learn {
            if let Some(bridge) = self.tables.bridge(learn.bridge) {
                bridge.fdb.learn(learn.key, learn.port, tick);
            }
        }
        let (renews, wishes) = self.effects(&translation, tick);
        let decision = Decision {
            renews,
            ..Decision::from(translation)
        };
        self.carry_out(packet, extracted, decision, wishes, tick);
        self.empty_sink(&mut [], tick);
        self.transmit(now);
    }

    /// Puts packets for controllers where control takes them.
    #[cold]
    pub(super) fn tell_controllers(&mut self) {
        let mut punted = std::mem::take(&mut self.scratch.sink.punted);
        for punted in punted.drain(..) {
            self.tell_controller(punted);
        }
        self.scratch.sink.punted = punted;
        self.upcalls.wake();
    }

    fn tell_controller(&mut self, punted: Punted) {
        let Punted { what, packet, key } = punted;
        let bridge = self.tables.bridge(what.bridge);
        let Some(bridge) = bridge.filter(|_| self.upcalls.is_listened()) else {
            self.stats.drops.count(DropReason::NoController);
            self.pool.drop_packet(packet);
            return;
        };
        let meters = [Some(METER_CONTROLLER), what.to.meter];
        let meters = meters
            .into_iter()
            .flatten()
            .filter_map(|id| bridge.meter(id));
        let mut verdicts = meters.map(|meter| meter.meter_packet(packet.len(), self.moment));
        if verdicts.any(|verdict| verdict == Verdict::Drop) {
            self.stats.drops.count(DropReason::MeterDrop);
            self.pool.drop_packet(packet);
            return;
        }
        let mut finished = std::mem::take(&mut self.scratch.fitted);
        match fit(packet, &FINISHED, &mut self.pool, &mut finished) {
            Fit::Ready => self.stats.split += finished.len().saturating_sub(1) as u64,
            Fit::TooBig(packet) => {
                self.stats.drops.count(DropReason::MtuExceeded);
                self.pool.drop_packet(packet);
            }
            Fit::Dropped(reason) => self.stats.drops.count(reason),
        }
        let key = key.to_dense();
        for packet in finished.drain(..) {
            let waiting = Waiting {
                packet: what.packet_in(&key, packet.to_vec()),
                paused: what.continuation.clone(),
            };
            if bridge.punts().push(waiting) {
                self.stats.punted += 1;
            } else {
                self.stats.drops.count(DropReason::ControllerBusy);
            }
            self.pool.drop_packet(packet);
        }
        self.scratch.fitted = finished;
    }
}
