//! Packets that come out of tunnels, and what tunnels ask of control.
//!
//! A packet that was taken out comes in by the port of its tunnel like any other: its headers are
//! read, and the cache is asked. What its outer headers said is part of its key.
//!
//! Law: a packet that is in tunnels within tunnels goes through this as often as headers of a packet
//! may be read again, and is dropped then.

use std::net::IpAddr;

use hashbrown::HashMap;
use vswitch_flow::{Field, OfPort, SparseKey};

use super::Worker;
use crate::action::Inside;
use crate::buffer::{BATCH_LEN, Batch, Packet};
use crate::counters::DropReason;
use crate::extract::{Extracted, extract_into};
use crate::offload::fit::{Fit, fit};
use crate::offload::{Capabilities, Checksum, partial};
use crate::port::PortIndex;
use crate::tick::Tick;
use crate::tunnel::decap::{Came, strip};

/// What is told of a neighbour at most once in so many milliseconds.
const ASK_AGAIN_MS: u64 = 1000;

/// Neighbours whose last question is remembered.
const ASKED_MAX: usize = 4096;

/// Super-frames of datagrams, each with a tunnel's headers of its own, are cut before.
const DATAGRAMS: Capabilities = Capabilities {
    csum: true,
    tso4: false,
    tso6: false,
    uso: false,
    tunnel: false,
    mtu: 65_535,
    max_segments: 18,
};

/// When neighbours were asked for last.
#[derive(Debug, Default)]
pub(super) struct Asked(HashMap<(u32, IpAddr), Tick>);

impl Asked {
    /// Whether it is time to ask for a neighbour; it is asked for then.
    pub(super) fn ask(&mut self, device: u32, address: IpAddr, now: Tick) -> bool {
        if self.0.len() >= ASKED_MAX {
            self.0.clear();
        }
        let last = self.0.get(&(device, address));
        let due = last.is_none_or(|last| now.since(*last) >= ASK_AGAIN_MS);
        if due {
            self.0.insert((device, address), now);
        }
        due
    }
}

impl Worker {
    /// Takes the packets of a port that carries tunnels and nothing else out of them, and decides about
    /// them. Answers how many had to be translated.
    pub(super) fn decide_inside(
        &mut self,
        batch: &mut Batch,
        at: PortIndex,
        local: bool,
        tick: Tick,
    ) -> u32 {
        let inside = batch.drain(..).map(|packet| Inside { packet, at, local });
        self.scratch.sink.inside.extend(inside);
        let mut keys = std::mem::take(&mut self.scratch.keys);
        keys.resize_with(BATCH_LEN, Extracted::default);
        let misses = self.empty_sink(&mut keys, tick);
        self.scratch.keys = keys;
        misses
    }

    /// Takes packets out of their tunnels, at most `left`, and decides about them. Answers how many
    /// had to be translated.
    pub(super) fn take_out(&mut self, left: &mut usize, tick: Tick) -> u32 {
        let mut misses = 0;
        let mut waiting = std::mem::take(&mut self.scratch.inside);
        std::mem::swap(&mut waiting, &mut self.scratch.sink.inside);
        let mut pieces = std::mem::take(&mut self.scratch.fitted);
        for Inside { packet, at, local } in waiting.drain(..) {
            // Through a bridge it came by another port than the one that it is taken out at.
            let local = local || self.ports.is_local(packet.in_port);
            let holds_datagrams = packet.offload.gso.is_some_and(|gso| gso.tunnel.is_none());
            if !holds_datagrams || *left == 0 {
                pieces.push(packet);
            } else {
                match fit(packet, &DATAGRAMS, &mut self.pool, &mut pieces) {
                    Fit::Ready => self.stats.split += pieces.len().saturating_sub(1) as u64,
                    Fit::TooBig(packet) => {
                        self.stats.drops.count(DropReason::MtuExceeded);
                        self.pool.drop_packet(packet);
                    }
                    Fit::Dropped(reason) => self.stats.drops.count(reason),
                }
            }
            for packet in pieces.drain(..) {
                if *left == 0 {
                    self.stats.drops.count(DropReason::TooMuchWork);
                    self.pool.drop_packet(packet);
                    continue;
                }
                *left -= 1;
                misses += u32::from(self.enter_from(packet, at, local, tick));
            }
        }
        self.scratch.fitted = pieces;
        self.scratch.inside = waiting;
        misses
    }

    /// Takes one packet out of its tunnel and decides about it. Answers whether it had to be
    /// translated.
    fn enter_from(&mut self, mut packet: Packet, at: PortIndex, local: bool, tick: Tick) -> bool {
        let tables = &self.tables;
        if local && packet.offload.csum == Checksum::Unknown {
            // Such an outer sum is right only once the inner one is finished.
            packet.offload.csum = Checksum::Valid;
        }
        let came = strip(
            &mut packet,
            tables.tunnels(),
            tables.underlay(),
            at,
            &mut self.pool,
        );
        let mut extracted = Extracted::default();
        let read = came.and_then(|came| {
            if local && packet.offload.csum == Checksum::Unknown {
                let len = packet.len();
                packet.offload.csum = partial::recognise(&mut packet, len);
            }
            let port = OfPort(packet.in_port.0);
            extract_into(packet.head(), packet.len(), port, &mut extracted)?;
            add_outer(&mut extracted.key, &came);
            Ok(())
        });
        if let Err(reason) = read {
            self.stats.drops.count(reason);
            self.pool.drop_packet(packet);
            return false;
        }
        self.decide_one(packet, &extracted, None, tick)
    }
}

/// Adds what the outer headers said to a key of which the packet's own headers are known.
fn add_outer(key: &mut SparseKey, came: &Came) {
    let word = |field: Field| usize::from(field.info().word);
    let outer = &came.outer;
    key.push(word(Field::TunId), outer.key.into());
    match (outer.remote, outer.local) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let both = u64::from(u32::from(src)) << 32 | u64::from(u32::from(dst));
            key.push(word(Field::TunSrc), both);
        }
        (src, dst) => {
            for (address, field) in [(src, Field::TunIpv6Src), (dst, Field::TunIpv6Dst)] {
                let bits = match address {
                    IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
                    IpAddr::V6(address) => u128::from(address),
                };
                key.push(word(field), (bits >> 64) as u64);
                key.push(word(field) + 1, bits as u64);
            }
        }
    }
    let at = |field: Field, value: u64| value << field.info().shift;
    let flags = at(Field::TunFlags, came.oam.into());
    let tos = at(Field::TunTos, came.tos.into());
    key.push(
        word(Field::TunFlags),
        flags | tos | at(Field::TunTtl, came.ttl.into()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_asked_for_once_a_second() {
        let mut asked = Asked::default();
        let [a, b] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        assert!(asked.ask(1, a, Tick(0)));
        assert!(!asked.ask(1, a, Tick(999)));
        assert!(asked.ask(1, b, Tick(999)) && asked.ask(2, a, Tick(999)));
        assert!(asked.ask(1, a, Tick(1000)));
    }

    #[test]
    fn questions_that_are_remembered_do_not_grow_for_ever() {
        let mut asked = Asked::default();
        for n in 0..3 * ASKED_MAX as u32 {
            let address = std::net::Ipv4Addr::from(n).into();
            assert!(asked.ask(1, address, Tick(0)));
            assert!(asked.0.len() <= ASKED_MAX);
        }
    }
}
