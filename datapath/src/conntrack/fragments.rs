//! Fragments on their way to tracking: held until their packet is whole.
//!
//! Tracking needs ports and a checksum, and a packet in pieces has the one in its first piece and
//! the other over all of them. So pieces wait here; when the last one comes, all of them are handed
//! back in order, together with what they say as one packet. They go on as the pieces they are:
//! nothing is copied together.
//!
//! Not for cutting packets (`offload`), nor for what becomes of a whole one (`step`).
//!
//! Law:
//! * Every packet that is offered comes back exactly once: with its whole packet, refused, or given
//!   up to whoever calls then, with the reason to count it under. Frames do not belong to one
//!   worker, so any worker may free what another one brought.
//! * Pieces never overlap. A packet with two pieces over the same bytes is given up whole, with the
//!   pieces that are still to come (RFC 5722, RFC 8200 §4.5), because what it says depends on who
//!   puts it together. A piece that is the same as one held is only a doubled one: it is bad, and
//!   the others wait on.
//! * Bounds: pieces in all ([`Fragments::set_max`]), pieces of one packet by the smallest piece
//!   there may be, and time, 15 s from a packet's first piece. At the bound the packet that has
//!   waited longest makes room for a new one; Open vSwitch refuses the new one, so that who sends
//!   70 single pieces a second stops everybody's.
//! * Pieces belong together by zone, addresses, identification and, over IPv4, protocol. By what
//!   port they came in does not count: a packet's pieces may take two paths.
//!
//! Threads: one lock, held for a few comparisons; settings and counters are atomics. Cost: a
//! microsecond a piece, and nothing for packets that are whole.
//!
//! Spec: RFC 791 §3.2, RFC 8200 §4.5, RFC 5722, RFC 815; what can be set and counted after
//! `lib/ipf.c` of Open vSwitch (`dpctl/ipf-*`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use vswitch_flow::SparseKey;

use super::parse::{self, Fragment, Invalid, Network};
use super::seen::Seen;
use super::tuple::Family;
use crate::buffer::Packet;
use crate::counters::DropReason;
use crate::extract::Layout;
use crate::offload::Checksum;
use crate::tick::Tick;

/// How long a packet's first piece waits for the others, milliseconds.
pub const TIMEOUT: u64 = 15_000;
/// Pieces that are held in all, unless another number is set; and the most that can be.
pub const MAX: u32 = 1_000;
/// The largest bound on pieces that can be set.
pub const MAX_LIMIT: u32 = 5_000;
/// The smallest piece that is not a last one, unless another number is set: bytes of the IP packet.
pub const MIN_SIZE_V4: u32 = 1_200;
/// The same for IPv6, whose links carry this much (RFC 8200 §5).
pub const MIN_SIZE_V6: u32 = 1_280;
/// The least that can be set as the smallest piece.
pub const MIN_SIZE_LIMIT: u32 = 400;

/// Bytes that a packet can have when it is whole.
const SIZE_MAX: usize = 65_535;
/// Bytes of headers in a piece: the largest IPv4 header, and as much as IPv6 needs as a rule.
const HEADERS_SIZE: usize = 60;
/// Packets that are given up in one call because their time is over.
const EXPIRED_PER_CALL: usize = 4;

/// What became of a piece.
#[derive(Debug)]
#[must_use = "packets are transmitted or freed, never just dropped"]
pub enum Offer {
    /// It is held.
    Held,
    /// It was the last that was missing.
    Whole {
        /// All pieces, in the order of what they carry.
        pieces: Vec<Piece>,
        /// What they say as one packet, or why it cannot be tracked: [`Invalid::Transport`] also
        /// when the transport header does not lie in the first piece.
        seen: Result<Seen, Invalid>,
    },
    /// It will never be part of a packet. It goes on by itself, untracked.
    Refused(Packet, Bad),
}

/// Why a piece is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bad {
    /// Its header contradicts itself, or its length is not a multiple of 8 although more follow.
    Malformed,
    /// Collecting is switched off for its family.
    Disabled,
    /// It is smaller than pieces may be.
    TooSmall,
    /// Another piece of its packet has the same bytes, or has said that the packet ends before.
    Overlap,
    /// No more pieces may be held.
    Full,
}

/// Packets that nobody waits for any more, and what they are counted under.
pub type Freed = Vec<(Packet, DropReason)>;

/// A piece of a packet.
#[derive(Debug)]
pub struct Piece {
    /// The piece.
    pub packet: Packet,
    /// Where its headers are.
    pub layout: Layout,
    /// The key with which it was looked up.
    pub key: SparseKey,
    /// Where its bytes belong in the whole, and how many they are.
    offset: usize,
    pub(super) size: usize,
    /// Where they begin in the piece.
    begin: usize,
}

/// What pieces say as one packet.
fn seen(pieces: &[Piece]) -> Result<Seen, Invalid> {
    let (first, rest) = pieces.split_first().ok_or(Invalid::Fragment)?;
    let network = parse::network(&first.packet, first.layout)?;
    // Extension headers behind the fragment header are no part of the transport's bytes.
    let before = network.l4.saturating_sub(first.begin);
    let in_first = first.size.checked_sub(before).ok_or(Invalid::Transport)?;
    let slices = parse::slices(&first.packet, network.l4, in_first).chain(
        rest.iter()
            .flat_map(|piece| parse::slices(&piece.packet, piece.begin, piece.size)),
    );
    let size = in_first + beyond(pieces);
    let len = pieces.iter().map(|piece| piece.packet.len()).sum();
    parse::parse_pieces(&first.packet, &network, slices, size, len)
}

/// Bytes of a packet that are not in the first of its pieces.
pub(super) fn beyond(pieces: &[Piece]) -> usize {
    pieces.iter().skip(1).map(|piece| piece.size).sum()
}

/// What pieces of one packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    src: u128,
    dst: u128,
    ident: u32,
    zone: u16,
    family: Family,
    /// 0 over IPv6, where only the first piece's header says it.
    protocol: u8,
}

/// A packet that is not whole yet.
#[derive(Debug)]
struct Datagram {
    /// Counts up: who came first goes first.
    serial: u64,
    /// When it is given up.
    deadline: Tick,
    /// In the order of their offsets, without overlap. None in a packet that was given up.
    pieces: Vec<Piece>,
    /// Bytes of the pieces.
    size: usize,
    /// Where the last piece ends, once it is there.
    end: Option<usize>,
    /// Pieces overlapped: no piece of it is ever taken again.
    is_spoiled: bool,
}

#[derive(Debug, Default)]
struct Table {
    datagrams: BTreeMap<Key, Datagram>,
    /// Their keys by age.
    order: BTreeMap<u64, Key>,
    serial: u64,
}

/// What is set and counted for a family.
#[derive(Debug)]
struct Books {
    is_enabled: AtomicBool,
    min_size: AtomicU32,
    accepted: AtomicU64,
    completed: AtomicU64,
    expired: AtomicU64,
    too_small: AtomicU64,
    overlapped: AtomicU64,
    purged: AtomicU64,
}

impl Books {
    fn new(min_size: u32) -> Self {
        Self {
            is_enabled: AtomicBool::new(true),
            min_size: AtomicU32::new(min_size),
            accepted: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            too_small: AtomicU64::new(0),
            overlapped: AtomicU64::new(0),
            purged: AtomicU64::new(0),
        }
    }

    fn status(&self) -> FamilyStatus {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        FamilyStatus {
            is_enabled: self.is_enabled.load(Ordering::Relaxed),
            min_size: self.min_size.load(Ordering::Relaxed),
            accepted: read(&self.accepted),
            completed: read(&self.completed),
            expired: read(&self.expired),
            too_small: read(&self.too_small),
            overlapped: read(&self.overlapped),
            purged: read(&self.purged),
        }
    }
}

/// Settings and counts of a family: the lines of `dpctl/ipf-get-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyStatus {
    /// Pieces are collected.
    pub is_enabled: bool,
    /// The smallest piece that is not a last one, bytes of the IP packet.
    pub min_size: u32,
    /// Pieces that were held.
    pub accepted: u64,
    /// Pieces that went on with their whole packet.
    pub completed: u64,
    /// Pieces whose time was over.
    pub expired: u64,
    /// Pieces that were refused for their size.
    pub too_small: u64,
    /// Pieces that were refused for their overlap.
    pub overlapped: u64,
    /// Pieces that were held and given up with their packet, because of an overlap or for want of
    /// room.
    pub purged: u64,
}

/// Settings and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Pieces that are held.
    pub held: usize,
    /// How many may be.
    pub max: u32,
    /// Of IPv4.
    pub v4: FamilyStatus,
    /// Of IPv6.
    pub v6: FamilyStatus,
}

/// A packet that is not whole, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The version of IP.
    pub family: Family,
    /// Source address.
    pub src: u128,
    /// Destination address.
    pub dst: u128,
    /// The sender's number of the packet.
    pub ident: u32,
    /// In which zone.
    pub zone: u16,
    /// What it carries; 0 over IPv6.
    pub protocol: u8,
    /// Pieces that are there.
    pub pieces: usize,
    /// The first piece is there.
    pub has_first: bool,
    /// The last piece is there.
    pub has_last: bool,
    /// Pieces overlapped; it waits only to refuse the rest.
    pub is_spoiled: bool,
}

/// Why a setting is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The smallest piece would be too small.
    #[error(
        "a smallest fragment of {asked} bytes was asked for, and {MIN_SIZE_LIMIT} is the least"
    )]
    MinSize {
        /// What was asked for.
        asked: u32,
    },
    /// Too many pieces would be held.
    #[error("{asked} fragments were asked for, and no more than {MAX_LIMIT} can be held")]
    Max {
        /// What was asked for.
        asked: u32,
    },
}

/// The fragments that wait.
#[derive(Debug)]
pub struct Fragments {
    table: Mutex<Table>,
    /// Pieces in the table.
    held: AtomicUsize,
    max: AtomicU32,
    /// The tick before which nothing is to be given up; no lock is taken to see that.
    due: AtomicU64,
    v4: Books,
    v6: Books,
}

impl Default for Fragments {
    fn default() -> Self {
        Self::new()
    }
}

impl Fragments {
    /// None yet, with the settings that Open vSwitch begins with.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Mutex::default(),
            held: AtomicUsize::new(0),
            max: AtomicU32::new(MAX),
            due: AtomicU64::new(u64::MAX),
            v4: Books::new(MIN_SIZE_V4),
            v6: Books::new(MIN_SIZE_V6),
        }
    }

    /// Takes a piece on its way to tracking in `zone`. What is given up for it goes to `freed`.
    pub fn offer(
        &self,
        packet: Packet,
        layout: Layout,
        key: &SparseKey,
        zone: u16,
        now: Tick,
        freed: &mut Freed,
    ) -> Offer {
        self.expire(now, freed);
        let (network, fragment) = match self.admit(&packet, layout) {
            Ok(admitted) => admitted,
            Err(bad) => return Offer::Refused(packet, bad),
        };
        let of = Key {
            src: network.src,
            dst: network.dst,
            ident: fragment.ident,
            zone,
            family: network.family,
            protocol: match network.family {
                Family::V4 => network.protocol.0,
                Family::V6 => 0,
            },
        };
        let piece = Piece {
            packet,
            layout,
            key: *key,
            offset: fragment.offset,
            size: network.end - fragment.begin,
            begin: fragment.begin,
        };
        match self.place(of, piece, !fragment.more, now, freed) {
            Placed::Held => Offer::Held,
            Placed::Last(pieces) => {
                let seen = seen(&pieces);
                Offer::Whole { pieces, seen }
            }
            Placed::Bad(packet, bad) => Offer::Refused(packet, bad),
        }
    }

    /// Whether a packet is a piece that may be held.
    fn admit(&self, packet: &Packet, layout: Layout) -> Result<(Network, Fragment), Bad> {
        let network = parse::network(packet, layout).map_err(|_| Bad::Malformed)?;
        let fragment = network.fragment.ok_or(Bad::Malformed)?;
        let books = self.books(network.family);
        if !books.is_enabled.load(Ordering::Relaxed) {
            return Err(Bad::Disabled);
        }
        let size = network.end.saturating_sub(fragment.begin);
        // Whoever cuts a packet finishes its sum before.
        let is_begun = matches!(packet.offload.csum, Checksum::Partial { .. });
        if size == 0
            || fragment.more && !size.is_multiple_of(8)
            || fragment.offset + size > SIZE_MAX
            || is_begun
            || packet.offload.gso.is_some()
        {
            return Err(Bad::Malformed);
        }
        let ip_size = network.end - usize::from(layout.l3);
        if fragment.more && ip_size < books.min_size.load(Ordering::Relaxed) as usize {
            books.too_small.fetch_add(1, Ordering::Relaxed);
            return Err(Bad::TooSmall);
        }
        Ok((network, fragment))
    }

    /// Puts a piece to the others of its packet. What is given up for it goes to `freed`.
    fn place(&self, key: Key, piece: Piece, is_last: bool, now: Tick, freed: &mut Freed) -> Placed {
        let books = self.books(key.family);
        let mut guard = self.lock();
        let table = &mut *guard;
        if let Err(bad) = self.make_room(table, &key, freed) {
            return Placed::Bad(piece.packet, bad);
        }
        let serial = table.serial;
        let datagram = table.datagrams.entry(key).or_insert_with(|| Datagram {
            serial,
            deadline: Tick(now.0.saturating_add(TIMEOUT)),
            pieces: Vec::new(),
            size: 0,
            end: None,
            is_spoiled: false,
        });
        if datagram.serial == serial {
            table.serial += 1;
            table.order.insert(serial, key);
        }
        if datagram.is_spoiled {
            books.overlapped.fetch_add(1, Ordering::Relaxed);
            return Placed::Bad(piece.packet, Bad::Overlap);
        }
        let pieces_max = SIZE_MAX / (self.min_size(key.family) - HEADERS_SIZE) + 1;
        match datagram.fits(&piece, is_last) {
            Fit::Free(_) if datagram.pieces.len() >= pieces_max => {
                // Pieces of the smallest size would have filled it.
                self.spoil(datagram, books, freed);
                Placed::Bad(piece.packet, Bad::Full)
            }
            Fit::Free(at) => {
                books.accepted.fetch_add(1, Ordering::Relaxed);
                self.held.fetch_add(1, Ordering::Relaxed);
                if is_last {
                    datagram.end = Some(piece.offset + piece.size);
                }
                datagram.size += piece.size;
                datagram.pieces.insert(at, piece);
                if datagram.end == Some(datagram.size) {
                    let pieces = table.remove(&key);
                    let len = pieces.len();
                    self.held.fetch_sub(len, Ordering::Relaxed);
                    books.completed.fetch_add(len as u64, Ordering::Relaxed);
                    self.note_due(table);
                    Placed::Last(pieces)
                } else {
                    self.note_due(table);
                    Placed::Held
                }
            }
            Fit::Same => {
                books.overlapped.fetch_add(1, Ordering::Relaxed);
                Placed::Bad(piece.packet, Bad::Overlap)
            }
            Fit::Overlap => {
                books.overlapped.fetch_add(1, Ordering::Relaxed);
                self.spoil(datagram, books, freed);
                self.note_due(table);
                Placed::Bad(piece.packet, Bad::Overlap)
            }
        }
    }

    /// Sees that one more piece of `key` may be held, by giving up the packet that has waited
    /// longest, which must be another.
    fn make_room(&self, table: &mut Table, key: &Key, freed: &mut Freed) -> Result<(), Bad> {
        let max = self.max.load(Ordering::Relaxed) as usize;
        // Spoiled packets have no pieces, but are remembered.
        while self.held.load(Ordering::Relaxed).max(table.datagrams.len()) >= max {
            let oldest = table.order.first_key_value().map(|(_, key)| *key);
            match oldest {
                Some(oldest) if oldest != *key => {
                    let pieces = table.remove(&oldest);
                    self.held.fetch_sub(pieces.len(), Ordering::Relaxed);
                    let books = self.books(oldest.family);
                    books
                        .purged
                        .fetch_add(pieces.len() as u64, Ordering::Relaxed);
                    give_up(pieces, DropReason::FragmentGivenUp, freed);
                }
                _ => return Err(Bad::Full),
            }
        }
        Ok(())
    }

    /// Gives up a packet and all that is still to come of it.
    fn spoil(&self, datagram: &mut Datagram, books: &Books, freed: &mut Freed) {
        let len = datagram.pieces.len();
        self.held.fetch_sub(len, Ordering::Relaxed);
        books.purged.fetch_add(len as u64, Ordering::Relaxed);
        let pieces = std::mem::take(&mut datagram.pieces);
        give_up(pieces, DropReason::FragmentGivenUp, freed);
        datagram.is_spoiled = true;
    }

    /// Whether there is something to give up, without a lock: callers ask once a round.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: Tick) -> bool {
        now.0 >= self.due.load(Ordering::Relaxed)
    }

    /// Gives up some packets whose time is over.
    pub fn expire(&self, now: Tick, freed: &mut Freed) {
        if !self.is_due(now) {
            return;
        }
        let mut guard = self.lock();
        let table = &mut *guard;
        for _ in 0..EXPIRED_PER_CALL {
            // All wait equally long, so the oldest's time is over first.
            let oldest = table.order.first_key_value().map(|(_, key)| *key);
            let Some(key) = oldest.filter(|key| table.deadline(key).is_some_and(|at| at <= now))
            else {
                break;
            };
            let pieces = table.remove(&key);
            self.held.fetch_sub(pieces.len(), Ordering::Relaxed);
            let books = self.books(key.family);
            books
                .expired
                .fetch_add(pieces.len() as u64, Ordering::Relaxed);
            give_up(pieces, DropReason::FragmentTimeout, freed);
        }
        self.note_due(table);
    }

    /// Gives up all packets: when the datapath ends, or when a user asks.
    pub fn clear(&self, freed: &mut Freed) {
        let mut guard = self.lock();
        let table = std::mem::take(&mut *guard);
        self.held.store(0, Ordering::Relaxed);
        self.due.store(u64::MAX, Ordering::Relaxed);
        drop(guard);
        for (key, datagram) in table.datagrams {
            let len = datagram.pieces.len() as u64;
            self.books(key.family)
                .purged
                .fetch_add(len, Ordering::Relaxed);
            give_up(datagram.pieces, DropReason::FragmentGivenUp, freed);
        }
    }

    /// Packets that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Switches collecting on or off for a family. Without it pieces are not tracked.
    pub fn set_enabled(&self, family: Family, is_enabled: bool) {
        let books = self.books(family);
        books.is_enabled.store(is_enabled, Ordering::Relaxed);
    }

    /// Sets the smallest piece that is not a last one, bytes of the IP packet.
    ///
    /// # Errors
    /// A size below [`MIN_SIZE_LIMIT`].
    pub fn set_min_size(&self, family: Family, size: u32) -> Result<(), Refused> {
        if size < MIN_SIZE_LIMIT {
            return Err(Refused::MinSize { asked: size });
        }
        self.books(family).min_size.store(size, Ordering::Relaxed);
        Ok(())
    }

    /// Sets how many pieces may be held.
    ///
    /// # Errors
    /// More than [`MAX_LIMIT`].
    pub fn set_max(&self, max: u32) -> Result<(), Refused> {
        if max > MAX_LIMIT {
            return Err(Refused::Max { asked: max });
        }
        self.max.store(max, Ordering::Relaxed);
        Ok(())
    }

    /// Settings and counts.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            held: self.len(),
            max: self.max.load(Ordering::Relaxed),
            v4: self.v4.status(),
            v6: self.v6.status(),
        }
    }

    /// The packets that are not whole, the oldest first.
    #[must_use]
    pub fn waiting(&self) -> Vec<Waiting> {
        let table = self.lock();
        let datagrams = table.order.values().filter_map(|key| {
            let datagram = table.datagrams.get(key)?;
            Some(Waiting {
                family: key.family,
                src: key.src,
                dst: key.dst,
                ident: key.ident,
                zone: key.zone,
                protocol: key.protocol,
                pieces: datagram.pieces.len(),
                has_first: datagram.pieces.first().is_some_and(|p| p.offset == 0),
                has_last: datagram.end.is_some(),
                is_spoiled: datagram.is_spoiled,
            })
        });
        datagrams.collect()
    }

    fn books(&self, family: Family) -> &Books {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The smallest piece, never less than can be set.
    fn min_size(&self, family: Family) -> usize {
        let size = self.books(family).min_size.load(Ordering::Relaxed);
        size.max(MIN_SIZE_LIMIT) as usize
    }

    fn note_due(&self, table: &Table) {
        let oldest = table.order.values().next();
        let due = oldest.and_then(|key| table.deadline(key));
        self.due
            .store(due.map_or(u64::MAX, |tick| tick.0), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code between lock and unlock leaves a piece nowhere, so what a panic left is usable.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Fragments {
    fn drop(&mut self) {
        // Frames end in a pool. Without one they stay what they are: the region is mapped for the
        // life of the process.
        let table = std::mem::take(&mut *self.lock());
        for piece in table.datagrams.into_values().flat_map(|d| d.pieces) {
            std::mem::forget(piece.packet);
        }
    }
}

impl Table {
    fn deadline(&self, key: &Key) -> Option<Tick> {
        self.datagrams.get(key).map(|datagram| datagram.deadline)
    }

    /// Forgets a packet; its pieces are the caller's.
    fn remove(&mut self, key: &Key) -> Vec<Piece> {
        let Some(datagram) = self.datagrams.remove(key) else {
            return Vec::new();
        };
        self.order.remove(&datagram.serial);
        datagram.pieces
    }
}

/// Where a piece went.
enum Placed {
    Held,
    /// To the others, of which none is missing now.
    Last(Vec<Piece>),
    Bad(Packet, Bad),
}

fn give_up(pieces: Vec<Piece>, reason: DropReason, freed: &mut Freed) {
    freed.extend(pieces.into_iter().map(|piece| (piece.packet, reason)));
}

/// Whether a piece fits among others.
enum Fit {
    /// It does, at this place.
    Free(usize),
    /// The same piece is there.
    Same,
    /// Other pieces have some of its bytes, or lie where it says that nothing does.
    Overlap,
}

impl Datagram {
    fn fits(&self, piece: &Piece, is_last: bool) -> Fit {
        let end = piece.offset + piece.size;
        let at = self.pieces.partition_point(|p| p.offset < piece.offset);
        let before = at.checked_sub(1).and_then(|at| self.pieces.get(at));
        let after = self.pieces.get(at);
        if let Some(other) = after
            && (other.offset, other.size) == (piece.offset, piece.size)
            && is_last == (self.end == Some(end))
        {
            return Fit::Same;
        }
        let overlaps = before.is_some_and(|p| p.offset + p.size > piece.offset)
            || after.is_some_and(|p| p.offset < end);
        let ends_before = match self.end {
            Some(known) => end > known || is_last,
            None => is_last && after.is_some(),
        };
        if overlaps || ends_before {
            Fit::Overlap
        } else {
            Fit::Free(at)
        }
    }
}

#[cfg(test)]
mod tests;
