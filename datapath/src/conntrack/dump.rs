//! Connections for people: dumps in bounded parts, filters, and counts.
//!
//! Law: a dump shows every connection that lives from its beginning to its end exactly once, and of
//! the others some. Each is shown as it was at one moment.
//!
//! Threads: meant for control; packets go on meanwhile, and each entry is locked for some twenty
//! loads.
//!
//! Cost: a dump of `max` connections looks at no more than [`LOOKS`] times as many entries, so a
//! filter that fits few does not make a part long.
//!
//! Spec: `dpctl/dump-conntrack` and `dpctl/flush-conntrack` of `ovs-vswitchd(8)` for what is shown
//! and filtered by.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use vswitch_flow::action::CtHelper;

use super::Conntrack;
use super::entry::{Counter, Whole, flag};
use super::events::End;
use super::expect::Expectation;
use super::proto::{OtherState, Standing};
use super::request::{Handle, Refused};
use super::tcp::{Scale, Tcp};
use super::tuple::{Tuple, protocol};
use crate::tick::Tick;

/// Entries looked at for each connection that a dump may show.
pub const LOOKS: usize = 16;

/// Where a dump goes on. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u32);

/// A connection as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// The connection.
    pub handle: Handle,
    /// The tuple its first packet showed.
    pub original: Tuple,
    /// The tuple its answers show.
    pub reply: Tuple,
    /// The parent's original tuple, of a connection that a helper expected.
    pub parent: Option<Tuple>,
    /// The zone.
    pub zone: u16,
    /// The mark.
    pub mark: u32,
    /// The label.
    pub label: u128,
    /// Where it stands.
    pub standing: Standing,
    /// Of TCP, what is known of the window scales of both ends.
    pub scales: [Scale; 2],
    /// Whether its source is translated.
    pub snat: bool,
    /// Whether its destination is translated.
    pub dnat: bool,
    /// Who reads its payload.
    pub helper: Option<CtHelper>,
    /// Milliseconds until it expires.
    pub timeout: u64,
    /// Milliseconds since its first packet.
    pub age: u64,
    /// Packets and octets, original and reply.
    pub counters: [Counter; 2],
}

/// What a tuple must show; `None` is anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TupleFilter {
    /// The IP protocol number.
    pub protocol: Option<u8>,
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port; fits no ICMP query.
    pub src_port: Option<u16>,
    /// Destination port; fits no ICMP query.
    pub dst_port: Option<u16>,
    /// Identifier; fits ICMP queries only.
    pub icmp_id: Option<u16>,
    /// Type; fits ICMP queries only.
    pub icmp_type: Option<u8>,
    /// Code; fits ICMP queries only.
    pub icmp_code: Option<u8>,
}

fn fits<T: PartialEq>(wanted: Option<T>, is: T) -> bool {
    wanted.is_none_or(|wanted| wanted == is)
}

impl TupleFilter {
    /// Whether a tuple shows all that it must.
    #[must_use]
    pub fn matches(&self, tuple: &Tuple) -> bool {
        let ports = if tuple.is_icmp() {
            self.src_port.is_none()
                && self.dst_port.is_none()
                && fits(self.icmp_id, tuple.src_port)
                && fits(self.icmp_type, tuple.icmp_type())
                && fits(self.icmp_code, tuple.dst_port as u8)
        } else {
            self.icmp_id.is_none()
                && self.icmp_type.is_none()
                && self.icmp_code.is_none()
                && fits(self.src_port, tuple.src_port)
                && fits(self.dst_port, tuple.dst_port)
        };
        ports
            && fits(self.protocol, tuple.protocol)
            && fits(self.src, tuple.src_ip())
            && fits(self.dst, tuple.dst_ip())
    }
}

/// Which connections are meant. The default means all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of a zone.
    pub zone: Option<u16>,
    /// Value and mask.
    pub mark: (u32, u32),
    /// Value and mask.
    pub label: (u128, u128),
    /// What the original tuple must show.
    pub original: TupleFilter,
    /// What the reply tuple must show.
    pub reply: TupleFilter,
}

impl Filter {
    fn matches(&self, whole: &Whole) -> bool {
        let facts = &whole.facts;
        fits(self.zone, whole.original.zone())
            && (facts.mark ^ self.mark.0) & self.mark.1 == 0
            && (facts.label ^ self.label.0) & self.label.1 == 0
            && self.original.matches(&whole.original.tuple())
            && self.reply.matches(&whole.reply.tuple())
    }
}

/// Connections by protocol and state, as `ct-stats-show` groups them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// All of them.
    pub total: u64,
    /// TCP, by the state that is further on, in the order of [`TcpState`](super::tcp::TcpState).
    pub tcp: [u64; 6],
    /// UDP, and UDP-Lite: one packet, several one way, both ways.
    pub udp: [u64; 3],
    /// SCTP, likewise.
    pub sctp: [u64; 3],
    /// ICMP queries without and with an answer.
    pub icmp: [u64; 2],
    /// ICMPv6 queries likewise.
    pub icmpv6: [u64; 2],
    /// All else, as UDP.
    pub other: [u64; 3],
}

/// What happened since the datapath began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Connections that were committed.
    pub created: u64,
    /// Connections that ended, by [`End`]: expired, flushed, evicted, replaced.
    pub ended: [u64; 4],
    /// Packets that were found invalid, by [`Refused`]: not new, window, zone limit, table full,
    /// translation exhausted.
    pub refused: [u64; 5],
    /// Expectations that were refused because there were too many.
    pub unexpected: u64,
}

/// The same, while it happens.
#[derive(Debug, Default)]
pub(super) struct Tally {
    created: AtomicU64,
    ended: [AtomicU64; 4],
    refused: [AtomicU64; 5],
    unexpected: AtomicU64,
}

fn add(to: &AtomicU64) {
    to.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    pub(super) fn created(&self) {
        add(&self.created);
    }

    pub(super) fn ended(&self, end: End) {
        add(&self.ended[end as usize]);
    }

    pub(super) fn refused(&self, refused: Refused) {
        add(&self.refused[refused as usize]);
    }

    pub(super) fn unexpected(&self) {
        add(&self.unexpected);
    }

    fn read(&self) -> Happened {
        let of = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Happened {
            created: of(&self.created),
            ended: std::array::from_fn(|i| of(&self.ended[i])),
            refused: std::array::from_fn(|i| of(&self.refused[i])),
            unexpected: of(&self.unexpected),
        }
    }
}

impl Conntrack {
    /// As people see it.
    pub(super) fn dumped(&self, slot: u32, whole: &Whole, now: Tick) -> Dumped {
        let facts = &whole.facts;
        let handle = Handle {
            slot,
            generation: whole.generation,
        };
        let parent = facts
            .has(flag::RELATED)
            .then(|| self.beside.parent(handle))
            .flatten();
        Dumped {
            handle,
            original: whole.original.tuple(),
            reply: whole.reply.tuple(),
            parent,
            zone: whole.original.zone(),
            mark: facts.mark,
            label: facts.label,
            standing: Standing::of(facts.flags, whole.progress.word),
            scales: Tcp::scales(whole.progress.word),
            snat: facts.has(flag::SNAT),
            dnat: facts.has(flag::DNAT),
            helper: helper(facts.flags),
            timeout: whole.expires.since(now),
            age: now.since(whole.began),
            counters: whole.counters,
        }
    }

    /// Appends up to `max` connections that the filter means, and tells where to go on; `None` at
    /// the end. A part may hold less than `max`, even none, before the end.
    pub fn dump(
        &self,
        from: Cursor,
        max: usize,
        filter: &Filter,
        now: Tick,
        into: &mut Vec<Dumped>,
    ) -> Option<Cursor> {
        let end = self.table.touched();
        let looks = u32::try_from(max.saturating_mul(LOOKS)).unwrap_or(u32::MAX);
        let stop = from.0.saturating_add(looks.max(1)).min(end);
        let full = into.len().saturating_add(max);
        for slot in from.0..stop {
            if into.len() >= full {
                return Some(Cursor(slot));
            }
            let whole = self.table.entry(slot).and_then(|entry| entry.whole());
            if let Some(whole) = whole
                && whole.expires > now
                && filter.matches(&whole)
            {
                into.push(self.dumped(slot, &whole, now));
            }
        }
        (stop < end).then_some(Cursor(stop))
    }

    /// Forgets all connections that the filter means, and tells how many.
    pub fn flush(&self, filter: &Filter, now: Tick) -> usize {
        (0..self.table.touched())
            .filter(|slot| {
                let whole = self.table.entry(*slot).and_then(|entry| entry.whole());
                whole.is_some_and(|whole| {
                    let handle = Handle {
                        slot: *slot,
                        generation: whole.generation,
                    };
                    filter.matches(&whole) && self.end(handle, End::Flushed, now, |_| false)
                })
            })
            .count()
    }

    /// What helpers expect.
    #[must_use]
    pub fn expectations(&self, now: Tick) -> Vec<Expectation> {
        self.beside.all(now)
    }

    /// Counts the connections that live, of a zone or of all. Looks at every entry.
    #[must_use]
    pub fn live(&self, zone: Option<u16>, now: Tick) -> Live {
        let mut live = Live::default();
        for slot in 0..self.table.touched() {
            let whole = self.table.entry(slot).and_then(|entry| entry.whole());
            let Some(whole) = whole else { continue };
            if whole.expires <= now || !fits(zone, whole.original.zone()) {
                continue;
            }
            live.total += 1;
            let tuple = whole.original.tuple();
            match Standing::of(whole.facts.flags, whole.progress.word) {
                Standing::Tcp([one, two]) => live.tcp[one.max(two) as usize] += 1,
                Standing::Icmp { answered } if tuple.protocol == protocol::ICMP => {
                    live.icmp[usize::from(answered)] += 1;
                }
                Standing::Icmp { answered } => live.icmpv6[usize::from(answered)] += 1,
                Standing::Other(state) => {
                    let counts = match tuple.protocol {
                        protocol::UDP | protocol::UDPLITE => &mut live.udp,
                        protocol::SCTP => &mut live.sctp,
                        _ => &mut live.other,
                    };
                    counts[match state {
                        OtherState::First => 0,
                        OtherState::Multiple => 1,
                        OtherState::Bidirectional => 2,
                    }] += 1;
                }
            }
        }
        live
    }

    /// What happened since the datapath began.
    #[must_use]
    pub fn happened(&self) -> Happened {
        self.tally.read()
    }
}

/// The helper that flags name.
pub(super) const fn helper(flags: u32) -> Option<CtHelper> {
    if flags & flag::FTP != 0 {
        Some(CtHelper::Ftp)
    } else if flags & flag::TFTP != 0 {
        Some(CtHelper::Tftp)
    } else {
        None
    }
}
