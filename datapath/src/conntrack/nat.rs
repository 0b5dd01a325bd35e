//! Which addresses and ports a translation may use, in the order in which they are tried.
//!
//! Not for trying: who holds the table asks for one tuple after the other until it finds one that
//! nobody uses, and when there is no next one, the translation is exhausted.
//!
//! Law:
//! * The packet's own port comes first wherever the range has it and chance is not asked for, so
//!   that a translation which changes only addresses is what users see.
//! * A range of at most [`WHOLE`] tuples is walked to its end, each tuple once. Of a larger one
//!   stretches are walked, each half as long as the one before, from places that differ with the
//!   packet and the seed: a full table costs a bounded number of attempts.
//! * `persistent` chooses the address by the packet's own address alone, without the seed: a client
//!   keeps its address, after a restart as well.
//! * ICMP queries have an identifier where others have a source port. Protocols without ports have
//!   only addresses.
//!
//! Where no ports are named, source translation takes a port of the same kind as the packet's:
//! below 512, below 1024, or above (RFC 4787 REQ-2; `nat_get_unique_tuple` in Open vSwitch's
//! `lib/conntrack.c`). Destination translation changes the source port as well when nothing else
//! helps, as it does there.
//!
//! Threads: none; a function of its arguments. Cost: a few nanoseconds a tuple, no allocation.

use std::net::IpAddr;

use vswitch_flow::action::{Nat, NatKind, NatPorts};

use super::tuple::{Family, Tuple};

/// The largest range that is walked to its end.
pub const WHOLE: u64 = 256;

/// Lengths of the stretches that are walked of a larger range: the attempts that Open vSwitch
/// makes.
const STRETCHES: [u64; 5] = [128, 64, 32, 16, 8];

/// The largest number of addresses that are chosen from, in a range that has more of them.
const ADDRESSES_MAX: u64 = 1 << 32;

/// A value in the middle of nowhere, to tell uses of one seed apart (2^64 divided by the golden
/// ratio).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The tuples that a packet of `tuple`, the first of its connection, may become.
///
/// `seed` is a secret, so that strangers cannot foretell ports; for [`NatPorts::Random`] it should
/// differ from call to call. There is no tuple when `nat` has no range, or addresses of another
/// family than the packet.
pub fn candidates(nat: &Nat, tuple: &Tuple, seed: u64) -> impl Iterator<Item = Tuple> + use<> {
    let tuple = *tuple;
    let spaces = Spaces::of(nat, &tuple, seed);
    spaces.into_iter().flat_map(move |spaces| {
        let Spaces { kind, first, then } = spaces;
        let first = first.walk().map(move |(address, port)| match kind {
            NatKind::Source => Tuple {
                src: address,
                src_port: port,
                ..tuple
            },
            NatKind::Destination => Tuple {
                dst: address,
                dst_port: port,
                ..tuple
            },
        });
        // A destination that is taken with all its ports may still be free for another source.
        let then = then.into_iter().flat_map(move |(address, port, space)| {
            let others = space.walk().filter(move |pair| pair.1 != tuple.src_port);
            others.map(move |(_, src_port)| Tuple {
                dst: address,
                dst_port: port,
                src_port,
                ..tuple
            })
        });
        first.chain(then)
    })
}

/// What is walked.
struct Spaces {
    kind: NatKind,
    /// Addresses and ports of the end that is translated.
    first: Space,
    /// For a destination: its address and port, and what its source's port may be.
    then: Option<(u128, u16, Space)>,
}

impl Spaces {
    fn of(nat: &Nat, tuple: &Tuple, seed: u64) -> Option<Self> {
        let range = nat.range.as_ref()?;
        let is_source = range.kind == NatKind::Source;
        let (own, port) = if is_source {
            (tuple.src, tuple.src_port)
        } else {
            (tuple.dst, tuple.dst_port)
        };
        let (low, high) = match range.addresses {
            None => (own, own),
            Some((low, high)) => {
                let (low, high) = (bits(low, tuple.family)?, bits(high, tuple.family)?);
                // All zero: the address stays as long as it can.
                if low == 0 { (own, own) } else { (low, high) }
            }
        };
        let addresses = u64::try_from(high.saturating_sub(low))
            .unwrap_or(ADDRESSES_MAX)
            .min(ADDRESSES_MAX - 1)
            + 1;
        let place = mix(seed, [tuple.src, tuple.dst, ends(tuple)]);
        let (low, addresses, place_of_address) = if nat.persistent {
            // Nobody but the client decides, and nothing else is tried for it.
            let chosen = mix(0, [tuple.src, low, high]) % addresses;
            (low + u128::from(chosen), 1, 0)
        } else {
            (low, addresses, place % addresses)
        };
        let place_of_port = mix(seed ^ STEP, [tuple.src, tuple.dst, ends(tuple)]);
        let ports = if is_source {
            source_ports(range.ports, tuple, nat.ports, place_of_port)
        } else {
            match range.ports {
                Some((low, high)) if tuple.has_ports() => {
                    Ports::within(low, high, port, nat.ports, place_of_port)
                }
                _ => Ports::only(port),
            }
        };
        let first = Space {
            low,
            addresses,
            ports,
            address: place_of_address,
            seed: place_of_port,
        };
        let then = (!is_source && ports_can_change(tuple)).then(|| {
            let address = low + u128::from(place_of_address);
            let ports = source_ports(None, tuple, NatPorts::Default, place_of_port);
            let space = Space {
                low: tuple.src,
                addresses: 1,
                ports,
                address: 0,
                seed: place_of_address ^ place_of_port,
            };
            (address, first.ports.begin(), space)
        });
        Some(Self {
            kind: range.kind,
            first,
            then,
        })
    }
}

/// The ports that a source may get.
fn source_ports(range: Option<(u16, u16)>, tuple: &Tuple, how: NatPorts, place: u64) -> Ports {
    let own = tuple.src_port;
    if !ports_can_change(tuple) {
        return Ports::only(own);
    }
    match range {
        Some((low, high)) => Ports::within(low, high, own, how, place),
        // An identifier says nothing about who sent it.
        None if tuple.is_icmp() => Ports::within(0, u16::MAX, own, how, place),
        None => {
            let (low, high) = match own {
                0..512 => (1, 511),
                512..1024 => (600, 1023),
                _ => (1024, u16::MAX),
            };
            let mut ports = Ports::within(low, high, own, how, place);
            if how != NatPorts::Random {
                // Without a range the packet's own port is always one that it may have.
                ports.kept = Some(own);
            }
            ports
        }
    }
}

/// Whether a source's port, or what stands in its place, may be another one.
const fn ports_can_change(tuple: &Tuple) -> bool {
    tuple.has_ports() || tuple.is_icmp()
}

/// An address of the family as a number.
fn bits(address: IpAddr, family: Family) -> Option<u128> {
    match (address, family) {
        (IpAddr::V4(address), Family::V4) => Some(u128::from(address.to_bits())),
        (IpAddr::V6(address), Family::V6) => Some(address.to_bits()),
        _ => None,
    }
}

/// What a tuple has besides addresses.
fn ends(tuple: &Tuple) -> u128 {
    let family = match tuple.family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    let protocol = u128::from(tuple.protocol);
    family << 40 | protocol << 32 | u128::from(tuple.src_port) << 16 | u128::from(tuple.dst_port)
}

/// Ports that follow one another.
#[derive(Clone, Copy, Debug)]
struct Ports {
    /// Tried before all others.
    kept: Option<u16>,
    low: u16,
    len: u64,
    /// Which of them comes first, from `low` on.
    start: u64,
}

impl Ports {
    const fn only(port: u16) -> Self {
        Self {
            kept: None,
            low: port,
            len: 1,
            start: 0,
        }
    }

    /// The ports `low` up to and with `high`. The first is `own`, where it is among them and
    /// nothing else is asked for, else the one at `place`.
    fn within(low: u16, high: u16, own: u16, how: NatPorts, place: u64) -> Self {
        let (low, high) = (low.min(high), high.max(low));
        let len = u64::from(high - low) + 1;
        let keeps = how == NatPorts::Default && (low..=high).contains(&own);
        Self {
            kept: keeps.then_some(own),
            low,
            len,
            start: if keeps {
                u64::from(own - low)
            } else {
                place % len
            },
        }
    }

    fn at(&self, index: u64) -> u16 {
        self.low + (index % self.len) as u16
    }

    /// The one that is tried first.
    fn begin(&self) -> u16 {
        self.kept.unwrap_or_else(|| self.at(self.start))
    }
}

/// Addresses, each with ports.
#[derive(Clone, Copy, Debug)]
struct Space {
    low: u128,
    addresses: u64,
    ports: Ports,
    /// Which address comes first, from `low` on.
    address: u64,
    /// Varies where later stretches begin.
    seed: u64,
}

impl Space {
    /// All that is tried, in order.
    fn walk(self) -> impl Iterator<Item = (u128, u16)> {
        let first = (self.at(self.address), self.ports.begin());
        let kept = self.ports.kept.map(|_| first);
        let size = self.addresses * self.ports.len;
        // Who asks for a port that is taken has neighbours who asked for the ones beside it: a search
        // from there would walk along all of them.
        let port = match kept {
            Some(_) if size > WHOLE => self.seed % self.ports.len,
            _ => self.ports.start,
        };
        let start = self.address * self.ports.len + port;
        let lens: &[u64] = if size <= WHOLE { &[WHOLE] } else { &STRETCHES };
        let stretches = lens.iter().enumerate().flat_map(move |(round, len)| {
            let from = match round {
                0 => start,
                _ => mix(self.seed, [u128::from(round as u64), 0, 0]) % size,
            };
            (0..size.min(*len)).map(move |step| self.pair((from + step) % size))
        });
        // What came first is not tried again.
        kept.into_iter()
            .chain(stretches.filter(move |pair| kept != Some(*pair)))
    }

    /// The tuple's end number `index`: all ports of an address follow one another.
    fn pair(&self, index: u64) -> (u128, u16) {
        let address = self.at(index / self.ports.len);
        (address, self.ports.at(index % self.ports.len))
    }

    fn at(&self, address: u64) -> u128 {
        self.low.saturating_add(u128::from(address))
    }
}

/// Numbers from which a number follows that looks like none of them.
fn mix(seed: u64, values: [u128; 3]) -> u64 {
    let mut hash = seed;
    for value in values {
        for half in [value as u64, (value >> 64) as u64] {
            let product = u128::from(hash ^ STEP) * u128::from(half ^ STEP.rotate_left(32) | 1);
            hash = (product >> 64) as u64 ^ product as u64 ^ half.wrapping_mul(STEP);
        }
    }
    // The finish of SplitMix64, so that small ranges get bits of all of it.
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests;
