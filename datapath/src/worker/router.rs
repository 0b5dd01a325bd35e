//! Packets that were brought to routers, and what routers do as time passes.
//!
//! Translation says what for ([`Errand`]); the gateway does it; here the two meet, with the tables of
//! this moment. What a router says enters the pipeline with the round's answers.
//!
//! Law: a packet brought to a router is taken, answered, or dropped with a reason. Timers of all routers
//! are the first worker's. Nothing here is on the hit path.

use std::net::IpAddr;
use std::sync::Arc;

use super::Worker;
use crate::counters::DropReason;
use crate::gateway::{Leads, Out, Seat, Trouble, pass_on};
use crate::neigh::{Due, NeighbourKey, Seen};
use crate::offload::Capabilities;
use crate::offload::fit::{Fit, fit};
use crate::pipeline::{Errand, Router, Tables, ToRouter};
use crate::port::PortIndex;
use crate::tick::Tick;

/// Milliseconds between two looks at what routers do as time passes.
pub(super) const TIMERS_MS: u64 = 100;

/// Things that the time of one router's neighbours brings at once; more wait for the next look.
const DUE_MAX: usize = 1024;

/// The port as the gateway is shown it, and its router.
fn seat<'a>(
    tables: &'a Tables,
    index: PortIndex,
    leads: &'a dyn Fn(IpAddr) -> Leads,
) -> Option<Seat<'a>> {
    let port = tables.port(index)?;
    let own = port.router.as_ref()?;
    let router = tables.router_of(port)?;
    Some(Seat {
        index,
        mtu: port.mtu,
        spec: &own.spec,
        link_local: own.link_local,
        errors_rate: router.spec.errors_rate,
        neighbours: &router.neighbours,
        leads,
    })
}

fn router_of(tables: &Tables, index: PortIndex) -> Option<&Arc<Router>> {
    tables.router_of(tables.port(index)?)
}

impl Worker {
    /// Does what packets were brought to routers for.
    #[cold]
    pub(super) fn serve_routers(&mut self, tick: Tick) {
        let mut routed = std::mem::take(&mut self.scratch.sink.routed);
        let mut out = Out::default();
        for (what, packet) in routed.drain(..) {
            let (generation, before) = (packet.generation, out.packets.len());
            self.serve_router(what, packet, tick, &mut out);
            // Of what it made go on, some had waited, and may be of a later one.
            for made in out.packets.iter_mut().skip(before) {
                made.generation = made.generation.max(generation);
            }
        }
        self.scratch.sink.routed = routed;
        self.follow_router(out);
    }

    fn serve_router(
        &mut self,
        what: ToRouter,
        packet: crate::buffer::Packet,
        tick: Tick,
        out: &mut Out,
    ) {
        let tables = Arc::clone(&self.tables);
        let gateway = Arc::clone(&self.gateway);
        let pool = &mut self.pool;
        let leads = |to| {
            router_of(&tables, what.port).map_or_else(Leads::default, |router| Leads {
                elsewhere: router.leads_elsewhere(what.port, to),
                direct: router.is_direct(what.port, to),
            })
        };
        let Some(from) = seat(&tables, what.port, &leads) else {
            self.stats.drops.count(DropReason::PortUnknown);
            return pool.drop_packet(packet);
        };
        match what.errand {
            Errand::Hear => gateway.hear(packet, &from, tick, pool, out),
            Errand::Refuse(trouble) => gateway.refuse(packet, trouble, &from, tick, pool, out),
            Errand::Wait { out: port, next } => match seat(&tables, port, &|_| Leads::default()) {
                Some(to) => gateway.wait(packet, &from, next, &to, tick, pool, out),
                None => {
                    self.stats.drops.count(DropReason::PortUnknown);
                    pool.drop_packet(packet);
                }
            },
            Errand::TooBig { out: port } => {
                let mtu = tables.port(port).map_or(0, |port| port.mtu);
                gateway.refuse(packet, Trouble::TooBig(mtu), &from, tick, pool, out);
            }
            Errand::Cut { out: port, next } => {
                let Some(to) = seat(&tables, port, &|_| Leads::default()) else {
                    self.stats.drops.count(DropReason::PortUnknown);
                    return pool.drop_packet(packet);
                };
                let key = NeighbourKey {
                    port,
                    address: next,
                };
                let Seen::Known(neighbour) = to.neighbours.lookup(key).1 else {
                    self.stats.drops.count(DropReason::NeighbourBusy);
                    return pool.drop_packet(packet);
                };
                // Sums and segments are the business of the port by which it leaves in the end.
                let all = Capabilities {
                    csum: true,
                    tso4: true,
                    tso6: true,
                    uso: true,
                    mtu: to.mtu,
                    max_segments: crate::buffer::TAIL_LEN + 1,
                    tunnel: true,
                };
                let mut pieces = Vec::new();
                match fit(packet, &all, pool, &mut pieces) {
                    Fit::Ready => {
                        out.taken += 1;
                        let pass = |piece| pass_on(piece, &neighbour, to.spec.mac);
                        out.packets.extend(pieces.into_iter().map(pass));
                    }
                    Fit::TooBig(packet) => {
                        let trouble = Trouble::TooBig(to.mtu);
                        gateway.refuse(packet, trouble, &from, tick, pool, out);
                    }
                    Fit::Dropped(reason) => self.stats.drops.count(reason),
                }
            }
        }
    }

    /// Counts what came of it, and has answers enter the pipeline.
    fn follow_router(&mut self, out: Out) {
        self.stats.taken += out.taken;
        self.stats.answers += out.returned;
        for reason in out.drops {
            self.stats.drops.count(reason);
        }
        for packet in out.packets {
            self.keep_answer(packet);
        }
    }

    /// Does what routers do as time passes, if it is time.
    #[inline]
    pub(super) fn tick_routers(&mut self, tick: Tick) {
        if self.id == 0 && tick >= self.timers_due {
            self.timers_due = Tick(tick.0 + TIMERS_MS);
            if !self.tables.routers().is_empty() {
                self.time_routers(tick);
            }
        }
    }

    #[cold]
    fn time_routers(&mut self, tick: Tick) {
        let tables = Arc::clone(&self.tables);
        let gateway = Arc::clone(&self.gateway);
        let is_there = |port| {
            let port = tables.port(port);
            port.is_some_and(|port| port.router.is_some())
        };
        gateway.keep(is_there);
        let mut out = Out::default();
        let nowhere = |_| Leads::default();
        let seat_of = |index| seat(&tables, index, &nowhere);
        for router in tables.routers() {
            for _ in 0..DUE_MAX {
                let Some(due) = router.neighbours.due(tick) else {
                    break;
                };
                let (Due::Ask(key, _) | Due::Failed(key, _)) = &due;
                match (seat_of(key.port), due) {
                    (Some(seat), due) => {
                        gateway.time_came(due, &seat, seat_of, tick, &mut self.pool, &mut out);
                    }
                    (None, Due::Failed(_, packets)) => {
                        for waiting in packets {
                            out.returned += 1;
                            out.drops.push(DropReason::NeighbourFailed);
                            self.pool.drop_packet(waiting.packet);
                        }
                    }
                    (None, Due::Ask(..)) => {}
                }
            }
            for &port in router.ports() {
                if let Some(seat) = seat_of(port) {
                    gateway.tick(&seat, tick, &mut self.pool, &mut out);
                }
            }
        }
        self.follow_router(out);
    }
}
