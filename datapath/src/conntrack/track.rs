//! What one packet is to the connections that are known, and what it changes.
//!
//! Not bytes: `parse` made the [`Seen`], `rewrite` will do what the [`Outcome`] says.
//!
//! Law:
//! - Without `commit` nothing begins. With it, a packet that may begin a connection and is of none
//!   begins one, or is invalid and says why ([`Refused`]): it never goes on half tracked.
//! - `new` until packets were seen both ways, `est` from then on; a packet that does not fit its
//!   connection is invalid and changes nothing of it.
//! - An ICMP error is related to the connection of the packet in it. It begins nothing, puts no
//!   expiry off and ends nothing, whoever sent it.
//! - A connection is translated as it was committed. A packet that its zone has translated already
//!   is known by what it became, and is not translated again.
//! - `force` forgets a connection whose reply this packet would be, and begins one.
//!
//! Cost: a packet of an established connection takes no lock, but for TCP the one of its entry. One
//! that begins a connection takes one or two of the table's.
//!
//! Spec: `ovs-actions(7)`, `ct` and `nat`; `ovs-fields(7)`, `ct_state`; Open vSwitch
//! `lib/conntrack.c` for what these leave open. Unlike there, TCP is not established by one end
//! alone, and a connection that is refused makes its packet invalid instead of new.

use std::sync::atomic::Ordering;

use vswitch_flow::action::{CtHelper, NatKind, NatPorts};

use super::entry::{Begin, Entry, Facts, Key, flag};
use super::events::{End, Event};
use super::expect::{Expectation, unshifted};
use super::proto::{self, Standing};
use super::request::{Follow, Handle, Meta, Outcome, Refused, Request, Rewrite, state};
use super::seen::{Kind, Seen};
use super::table::{Clash, Found, Place, scatter};
use super::tcp::Step;
use super::tuple::{Direction, Tuple, protocol};
use super::{Conntrack, dump, nat};
use crate::tick::Tick;

/// Source ports tried for an expected connection whose own is taken on the translated address.
const EXPECTED_PORTS: u16 = 32;

/// The first port that is not reserved (RFC 6335 §6).
const FIRST_PORT: u16 = 1024;

const NAT_BITS: u8 = state::SNAT | state::DNAT;

/// The packet and what was asked about it.
struct Packet<'a> {
    seen: &'a Seen,
    /// The tuple that it shows of its connection: its own, or that of an answer to the packet in
    /// an error.
    shown: Tuple,
    /// Where that is looked for.
    place: Place,
    /// Bits of [`NAT_BITS`], when the zone has translated it already.
    kept: u8,
    before: &'a Meta,
    request: &'a Request,
    now: Tick,
}

impl Packet<'_> {
    const fn is_error(&self) -> bool {
        self.seen.is_error()
    }

    const fn zone(&self) -> u16 {
        self.request.zone
    }
}

/// What came of trying one translation.
enum Tried {
    Made(Handle),
    /// The reply would be another connection's.
    Taken,
    /// Somebody else began the connection meanwhile.
    Raced,
    Full,
}

/// The state bits of a packet that the connection translates.
const fn nat_state(flags: u32, direction: Direction) -> u8 {
    let (snat, dnat) = (flags & flag::SNAT != 0, flags & flag::DNAT != 0);
    let (source, destination) = match direction {
        Direction::Original => (snat, dnat),
        Direction::Reply => (dnat, snat),
    };
    let source = if source { state::SNAT } else { 0 };
    let destination = if destination { state::DNAT } else { 0 };
    source | destination
}

/// What a packet becomes that shows one key of a connection, when the answer shows the other.
fn rewrite(seen: &Seen, shown: &Tuple, answer: &Tuple) -> Option<Rewrite> {
    let to = answer.reversed()?;
    let rewrite = if let Kind::IcmpError { inner } = &seen.kind {
        // Who reports the error need not be an end of the connection: only what is translated
        // changes.
        let mut outer = seen.tuple;
        if to.src != shown.src {
            outer.src = to.src;
        }
        if to.dst != shown.dst {
            outer.dst = to.dst;
        }
        Rewrite {
            to: outer,
            inner: to.reversed().filter(|after| after != inner),
        }
    } else {
        Rewrite { to, inner: None }
    };
    (rewrite.to != seen.tuple || rewrite.inner.is_some()).then_some(rewrite)
}

/// Writes mark and label as asked.
fn apply(facts: &mut Facts, request: &Request) {
    let (mark, mark_mask) = request.mark;
    let (label, label_mask) = request.label;
    facts.mark = facts.mark & !mark_mask | mark & mark_mask;
    facts.label = facts.label & !label_mask | label & label_mask;
}

/// Writes mark and label of a connection as asked, if that changes them; `None` when the connection
/// is gone.
#[inline]
fn write(entry: &Entry, generation: u32, facts: Facts, request: &Request) -> Option<Facts> {
    let mut after = facts;
    apply(&mut after, request);
    if after == facts {
        return Some(facts);
    }
    entry.change(generation, |facts| apply(facts, request))
}

/// The flag of a helper, if it reads this protocol.
const fn helper_flag(helper: Option<CtHelper>, tuple: &Tuple) -> u32 {
    match (helper, tuple.protocol) {
        (Some(CtHelper::Ftp), protocol::TCP) => flag::FTP,
        (Some(CtHelper::Tftp), protocol::UDP) => flag::TFTP,
        _ => 0,
    }
}

/// Whether a connection may be given up for a new one: it has expired, nobody has answered it, or
/// it is over.
fn is_spare(entry: &Entry, generation: u32, now: Tick) -> bool {
    let flags = entry.facts(generation).map(|facts| facts.flags);
    entry.expires() <= now
        || flags.is_some_and(|flags| Standing::of(flags, entry.word()).is_spare())
}

impl Conntrack {
    /// Says what a packet is, and commits its connection when asked to.
    ///
    /// `before` is what tracking told the packet last, or [`Meta::default`] when nobody asked. A
    /// packet that cannot be parsed is not for here: it has [`Meta::invalid`].
    pub fn track(&self, seen: &Seen, before: &Meta, request: &Request, now: Tick) -> Outcome {
        self.track_at(
            self.expect_slot(seen, request.zone),
            seen,
            before,
            request,
            now,
        )
    }

    /// Where a packet's connection would be: the first of two looks ahead, each of which calls what
    /// the next step reads into the processor's caches. `None` when it can be of none.
    #[inline]
    pub(super) fn expect_slot(&self, seen: &Seen, zone: u16) -> Option<Place> {
        let shown = match &seen.kind {
            Kind::IcmpError { inner } => inner.reversed()?,
            _ => seen.tuple,
        };
        let place = self.table.place(Key::new(&shown, zone));
        self.table.expect(&place);
        Some(place)
    }

    /// The second look ahead.
    #[inline]
    pub(super) fn expect_entry(&self, place: &Place) {
        self.table.expect_entry(place);
    }

    /// [`track`](Self::track) of a packet that was looked ahead for.
    pub(super) fn track_at(
        &self,
        place: Option<Place>,
        seen: &Seen,
        before: &Meta,
        request: &Request,
        now: Tick,
    ) -> Outcome {
        let Some(place) = place else {
            return self.refuse(request.zone, Refused::NotNew);
        };
        let packet = Packet {
            seen,
            shown: place.tuple(),
            place,
            kept: if before.zone == request.zone {
                before.state & NAT_BITS
            } else {
                0
            },
            before,
            request,
            now,
        };
        // Once more only when the connection ended or began on another thread at this moment.
        loop {
            let outcome = match self.look(&packet) {
                Some(found) => self.existing(&packet, found),
                None => self.create(&packet),
            };
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    fn refuse(&self, zone: u16, refused: Refused) -> Outcome {
        self.tally.refused(refused);
        Outcome {
            meta: Meta::invalid(zone),
            refused: Some(refused),
            rewrite: None,
            follow: None,
        }
    }

    /// The connection of a tuple, unless it has expired.
    fn find(&self, zone: u16, tuple: &Tuple, now: Tick) -> Option<Found> {
        self.find_at(&self.table.place(Key::new(tuple, zone)), now)
    }

    #[inline]
    fn find_at(&self, place: &Place, now: Tick) -> Option<Found> {
        let found = self.table.find(place)?;
        (self.table.expires(found.handle)? > now).then_some(found)
    }

    /// The connection of a packet, and which way the packet goes.
    #[inline]
    fn look(&self, packet: &Packet<'_>) -> Option<Found> {
        let (zone, now) = (packet.zone(), packet.now);
        let found = if packet.kept == 0 {
            self.find_at(&packet.place, now)
        } else {
            // It shows already what the other end will see, so the answer is what the other end
            // will show.
            let answer = packet.shown.reversed()?;
            let found = self.find(zone, &answer, now).map(|found| Found {
                direction: found.direction.other(),
                ..found
            });
            let found = found.or_else(|| {
                // Its header was written since: it is still of the connection it was of.
                let original = packet.before.original.as_ref();
                let original = original.filter(|_| packet.request.nat.is_none())?;
                self.find(zone, original, now)
            });
            found.or_else(|| self.find_at(&packet.place, now))
        }?;
        // An error must not be able to end a connection.
        let forced = packet.request.force && !packet.is_error();
        if forced && found.direction == Direction::Reply {
            self.end(found.handle, End::Replaced, now, |_| false);
            return None;
        }
        Some(found)
    }

    /// Takes a packet into its connection; `None` when that is gone meanwhile.
    fn existing(&self, packet: &Packet<'_>, found: Found) -> Option<Outcome> {
        let Found { handle, direction } = found;
        let entry = self.table.entry(handle.slot)?;
        let mut facts = entry.facts(handle.generation)?;
        let request = packet.request;
        let mut told = state::TRACKED | packet.kept;
        if direction == Direction::Reply {
            told |= state::REPLY;
        }
        if packet.is_error() {
            told |= state::RELATED;
        } else {
            let timeout = match self.step(entry, &found, &facts, packet)? {
                Step::Anew => {
                    self.end(handle, End::Replaced, packet.now, |_| false);
                    return self.create(packet);
                }
                Step::Invalid => {
                    let mut outcome = self.refuse(request.zone, Refused::Window);
                    outcome.meta.mark = facts.mark;
                    outcome.meta.label = facts.label;
                    return Some(outcome);
                }
                Step::Valid(timeout) => {
                    told |= state::ESTABLISHED;
                    timeout
                }
                Step::Again(timeout) => {
                    told = told & !state::REPLY | state::NEW;
                    timeout
                }
            };
            if facts.has(flag::RELATED) {
                told |= state::RELATED;
            }
            if let Some(timeout) = timeout {
                entry.expire_at(self.zones.after(request.zone, packet.now, timeout));
            }
            entry.count(direction, packet.seen.len);
            if !facts.has(flag::RELATED) {
                facts = write(entry, handle.generation, facts, request)?;
            }
        }

        // Most packets show what is asked for here.
        let plain = packet.kept == 0 && direction == Direction::Original;
        let translates = facts.has(flag::NAT) && packet.kept == 0 && request.nat.is_some();
        let follows = facts.has(flag::HELPER | flag::SHIFTED) && !packet.is_error();
        let keys = if plain && !translates && !follows {
            None
        } else {
            let keys = entry.keys(handle.generation)?;
            Some(keys.map(|key| key.tuple()))
        };
        let rewrite = keys.filter(|_| translates).and_then(|keys| {
            told |= nat_state(facts.flags, direction);
            let answer = &keys[direction.other().index()];
            rewrite(packet.seen, &packet.shown, answer)
        });
        let original = keys.map_or(packet.shown, |[original, _]| original);
        let original = if facts.has(flag::RELATED) {
            self.beside.parent(handle).unwrap_or(original)
        } else {
            original
        };
        let follow = keys
            .filter(|_| follows)
            .map(|keys| self.follow(handle, direction, &facts, keys));
        Some(Outcome {
            meta: Meta {
                state: told,
                zone: request.zone,
                mark: facts.mark,
                label: facts.label,
                original: Some(original),
            },
            refused: None,
            rewrite,
            follow,
        })
    }

    fn follow(
        &self,
        connection: Handle,
        direction: Direction,
        facts: &Facts,
        [original, reply]: [Tuple; 2],
    ) -> Box<Follow> {
        let shifts = if facts.has(flag::SHIFTED) {
            self.beside.shifts(connection)
        } else {
            Default::default()
        };
        Box::new(Follow {
            connection,
            direction,
            helper: dump::helper(facts.flags),
            original,
            reply,
            seq: shifts[direction.index()],
            ack: shifts[direction.other().index()],
        })
    }

    /// What a packet does to what its protocol knows of the connection.
    #[inline]
    fn step(
        &self,
        entry: &Entry,
        found: &Found,
        facts: &Facts,
        packet: &Packet<'_>,
    ) -> Option<Step> {
        let generation = found.handle.generation;
        let direction = found.direction;
        match (&packet.seen.kind, facts.has(flag::TCP)) {
            (Kind::Tcp(segment), true) => {
                let mut segment = *segment;
                if facts.has(flag::SHIFTED) {
                    // The sender answers numbers that were shifted on their way to it.
                    let shifts = self.beside.shifts(found.handle);
                    let shift = &shifts[direction.other().index()];
                    segment.ack = unshifted(segment.ack, shift);
                }
                let check = self.seq_check.load(Ordering::Relaxed);
                entry.advance(generation, |progress| {
                    proto::segment(progress, &segment, direction, check)
                })
            }
            (Kind::Tcp(_), false) | (_, true) => Some(Step::Invalid),
            (_, false) => {
                let word = entry.word();
                let next = proto::next(facts.flags, word, direction);
                if next == word {
                    return Some(proto::told(facts.flags, word));
                }
                entry.advance(generation, |progress| {
                    progress.word = proto::next(facts.flags, progress.word, direction);
                    proto::told(facts.flags, progress.word)
                })
            }
        }
    }

    /// Begins the connection of a packet that is of none; `None` when another thread did.
    #[cold]
    #[inline(never)]
    fn create(&self, packet: &Packet<'_>) -> Option<Outcome> {
        let (seen, request, zone) = (packet.seen, packet.request, packet.zone());
        let loose = self.loose.load(Ordering::Relaxed);
        if packet.shown.reversed().is_none() || !proto::may_begin(seen, loose) {
            return Some(self.refuse(zone, Refused::NotNew));
        }
        let expectation = self.beside.find(zone, &packet.shown, packet.now);
        let expectation = expectation.as_ref();
        let mut outcome = Outcome {
            meta: Meta {
                state: state::TRACKED | state::NEW,
                zone,
                mark: 0,
                label: 0,
                original: Some(packet.shown),
            },
            refused: None,
            rewrite: None,
            follow: None,
        };
        if let Some(expectation) = expectation {
            outcome.meta = Meta {
                state: outcome.meta.state | state::RELATED,
                zone,
                mark: expectation.mark,
                label: expectation.label,
                original: Some(expectation.parent_tuple),
            };
        }
        if !request.commit {
            return Some(outcome);
        }

        if !self.zones.enter(zone) {
            return Some(self.refuse(zone, Refused::ZoneLimit));
        }
        let original = packet.place;
        if !self.reserve(&original, packet.now) {
            self.zones.leave(zone);
            return Some(self.refuse(zone, Refused::TableFull));
        }
        let (kind, progress, timeout) = proto::begin(seen);
        let mut facts = Facts {
            flags: kind | helper_flag(request.helper, &packet.shown),
            mark: outcome.meta.mark,
            label: outcome.meta.label,
        };
        match expectation {
            Some(_) => facts.flags |= flag::RELATED,
            None => apply(&mut facts, request),
        }
        let mut begin = Begin {
            original: original.key,
            reply: original.key,
            facts,
            progress,
            expires: self.zones.after(zone, packet.now, timeout),
            now: packet.now,
            len: seen.len,
        };
        let (tried, to) = self.choose(packet, &original, expectation, &mut begin);
        let refused = match tried {
            Tried::Made(handle) => {
                self.began(handle, expectation, packet.now);
                let facts = begin.facts;
                outcome.meta.mark = facts.mark;
                outcome.meta.label = facts.label;
                outcome.meta.state |= nat_state(facts.flags, Direction::Original);
                let keys = [packet.shown, begin.reply.tuple()];
                outcome.rewrite = (to != packet.shown).then_some(Rewrite { to, inner: None });
                if facts.has(flag::HELPER) {
                    let follow = self.follow(handle, Direction::Original, &facts, keys);
                    outcome.follow = Some(follow);
                }
                return Some(outcome);
            }
            Tried::Raced => None,
            Tried::Taken => Some(Refused::NatExhausted),
            Tried::Full => Some(Refused::TableFull),
        };
        self.zones.leave(zone);
        self.count.fetch_sub(1, Ordering::Relaxed);
        refused.map(|refused| self.refuse(zone, refused))
    }

    /// Puts the connection into the table, translated as asked. Tells what its packet becomes.
    fn choose(
        &self,
        packet: &Packet<'_>,
        original: &Place,
        expectation: Option<&Expectation>,
        begin: &mut Begin,
    ) -> (Tried, Tuple) {
        let shown = packet.shown;
        let plain = begin.facts.flags;
        let Some(asked) = &packet.request.nat else {
            return (self.attempt(original, &shown, begin, packet.now), shown);
        };
        let expected = expectation.map(|expectation| &expectation.expected);
        if let Some(expected) = expected {
            let mut to = shown;
            if let Some(source) = expected.source {
                begin.facts.flags |= flag::SNAT;
                to.src = source;
            }
            if let Some((destination, port)) = expected.destination {
                begin.facts.flags |= flag::DNAT;
                (to.dst, to.dst_port) = (destination, port);
            }
            let others = (0..EXPECTED_PORTS).map(|by| Tuple {
                src_port: FIRST_PORT
                    .saturating_add(shown.src_port.wrapping_add(by * 7) % (u16::MAX - FIRST_PORT)),
                ..to
            });
            let others = others.filter(|to| expected.source.is_some() && to.has_ports());
            let all = std::iter::once(to).chain(others);
            return self.first_free(original, all, begin, packet.now, shown);
        }
        let Some(range) = &asked.range else {
            return (self.attempt(original, &shown, begin, packet.now), shown);
        };
        begin.facts.flags = plain
            | match range.kind {
                NatKind::Source => flag::SNAT,
                NatKind::Destination => flag::DNAT,
            };
        let seed = match asked.ports {
            NatPorts::Random => scatter(self.seed ^ self.draws.fetch_add(1, Ordering::Relaxed)),
            NatPorts::Default | NatPorts::Hash => self.seed,
        };
        let all = nat::candidates(asked, &shown, seed);
        self.first_free(original, all, begin, packet.now, shown)
    }

    /// The first of some translations that no other connection has.
    fn first_free(
        &self,
        original: &Place,
        all: impl Iterator<Item = Tuple>,
        begin: &mut Begin,
        now: Tick,
        shown: Tuple,
    ) -> (Tried, Tuple) {
        for to in all {
            match self.attempt(original, &to, begin, now) {
                Tried::Taken => {}
                tried => return (tried, to),
            }
        }
        (Tried::Taken, shown)
    }

    fn attempt(&self, original: &Place, to: &Tuple, begin: &mut Begin, now: Tick) -> Tried {
        let Some(reply) = to.reversed() else {
            return Tried::Taken;
        };
        let reply = self.table.place(Key::new(&reply, original.key.zone()));
        begin.reply = reply.key;
        loop {
            // Most translations that are taken are found so without a lock.
            if begin.facts.has(flag::NAT)
                && let Some(taken) = self.table.find(&reply)
                && !self.clear(taken.handle, now)
            {
                return Tried::Taken;
            }
            match self.table.begin(original, &reply, begin) {
                Ok(handle) => return Tried::Made(handle),
                Err(Clash::Full) => return Tried::Full,
                Err(Clash::Original(other)) if !self.clear(other, now) => return Tried::Raced,
                Err(Clash::Reply(other)) if !self.clear(other, now) => return Tried::Taken,
                Err(Clash::Original(_) | Clash::Reply(_)) => {}
            }
        }
    }

    /// Takes a connection out of the way that has expired; false when it lives.
    fn clear(&self, handle: Handle, now: Tick) -> bool {
        match self.table.expires(handle) {
            Some(expires) if expires > now => false,
            Some(_) => {
                self.end(handle, End::Expired, now, |entry| entry.expires() > now);
                true
            }
            None => true,
        }
    }

    /// Counts one more connection in, in the place of another if need be.
    fn reserve(&self, place: &Place, now: Tick) -> bool {
        let reserve = || {
            let limit = self.limit.load(Ordering::Relaxed);
            let count = &self.count;
            count
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                    (count < limit).then_some(count + 1)
                })
                .is_ok()
        };
        reserve() || self.give_up(place, now) && reserve()
    }

    /// Ends one connection near a place that has expired or that nobody has answered: the one that
    /// was silent for longest. By the time that is left, a flood of what may wait for long would
    /// displace everybody who may not.
    fn give_up(&self, place: &Place, now: Tick) -> bool {
        let near = self.table.near(place).into_iter();
        let spare = near.filter_map(|handle| {
            let entry = self.table.entry(handle.slot)?;
            let lives = entry.expires() > now;
            if !is_spare(entry, handle.generation, now) {
                return None;
            }
            Some((lives, self.heard(entry, handle.generation)?, handle))
        });
        let Some((lives, _, first)) = spare.min_by_key(|(lives, heard, _)| (*lives, *heard)) else {
            return false;
        };
        let end = if lives { End::Evicted } else { End::Expired };
        self.end(first, end, now, |entry| {
            !is_spare(entry, first.generation, now)
        })
    }

    /// When the last packet of a connection came, unless its zone's timeouts were changed since.
    fn heard(&self, entry: &Entry, generation: u32) -> Option<Tick> {
        let [original, _] = entry.keys(generation)?;
        let flags = entry.facts(generation)?.flags;
        let timeout = Standing::of(flags, entry.word()).timeout();
        let wait = self.zones.after(original.zone(), Tick(0), timeout);
        Some(Tick(entry.expires().0.saturating_sub(wait.0)))
    }

    /// Notes a connection that began.
    fn began(&self, handle: Handle, expectation: Option<&Expectation>, now: Tick) {
        if let Some(expectation) = expectation {
            self.beside.met(expectation);
            self.beside.adopt(handle, expectation.parent_tuple);
            let entry = self.table.entry(handle.slot);
            let lives = entry.and_then(Entry::generation) == Some(handle.generation);
            if !lives {
                // It ended before its parent was noted.
                self.beside.forget(handle, true, false, false);
            }
        }
        self.tally.created();
        self.subscribers.tell(|| {
            let whole = self.table.entry(handle.slot)?.whole()?;
            Some(Event::New(self.dumped(handle.slot, &whole, now)))
        });
    }

    /// Ends a connection, `unless` it says no under its lock; false when it did, or when the
    /// connection is gone already.
    pub(super) fn end(
        &self,
        handle: Handle,
        end: End,
        now: Tick,
        unless: impl FnOnce(&Entry) -> bool,
    ) -> bool {
        let Some(whole) = self.table.end(handle, unless) else {
            return false;
        };
        self.zones.leave(whole.original.zone());
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.tally.ended(end);
        let dumped = || Some(Event::Destroyed(self.dumped(handle.slot, &whole, now), end));
        self.subscribers.tell(dumped);
        let has = |flag| whole.facts.has(flag);
        if has(flag::RELATED | flag::SHIFTED | flag::PARENT) {
            let (child, shifted) = (has(flag::RELATED), has(flag::SHIFTED));
            self.beside
                .forget(handle, child, shifted, has(flag::PARENT));
        }
        true
    }
}
