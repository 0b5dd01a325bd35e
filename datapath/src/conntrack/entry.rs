//! One connection in the table: twenty-four words, read without a lock.
//!
//! Not for deciding: `tcp` and `proto` say what a packet does to a connection, `table` where its
//! entry is.
//!
//! Law. The *stamp* is the entry's truth: its upper half is the generation, which changes when the
//! entry is given to another connection; its lower half says whether the entry is alive, whether
//! somebody writes mark, label or flags, and counts those writes.
//! - The two keys are written only while the entry is not alive. So whoever reads the stamp, then a
//!   key, then the same generation alive, has read a whole key.
//! - Mark, label and flags are written by the holder of the entry's lock, between a stamp that says
//!   so and a new one. So whoever reads the same stamp before and after has read whole facts.
//! - What a protocol knows is read and written by the holder of the lock, who has looked at the
//!   generation after taking it; taking an entry from its connection needs the lock too.
//! - Expiry and counters are stored without any of this. One that reaches the next connection of
//!   the entry puts its expiry off once, or counts a packet too many; nothing is decided by it. That
//!   entries rest before they are used again (`table`) makes it rare.
//!
//! Threads: any. The lock is a bit, held for some twenty stores and never while anything else is
//! waited for.
//!
//! Cost: three cache lines; a packet of an established connection reads two, and writes two.
//!
//! The pairs of fences are those of a sequence lock over atomics (H. Boehm, "Can seqlocks get along
//! with programming language memory models?", MSPC 2012, §5).

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::tuple::{Direction, Family, Tuple, protocol};
use crate::tick::Tick;

/// The entry is of a connection.
const ALIVE: u64 = 1;
/// Somebody writes mark, label or flags.
const WRITING: u64 = 2;
/// Counts such writes, in the rest of the lower half.
const WRITE: u64 = 4;
const LOWER: u64 = 0xffff_ffff;

/// The lock, in the word of what the protocol knows.
const LOCK: u64 = 1 << 63;
/// Turns of waiting for the lock after which the processor is given away: whoever holds it was put
/// aside by the kernel.
const SPINS: u32 = 200;

/// Bits of [`Facts::flags`].
pub(super) mod flag {
    /// TCP; without it and [`ICMP`] the connection is of any other protocol.
    pub(in super::super) const TCP: u32 = 0x01;
    /// A query of ICMP or ICMPv6.
    pub(in super::super) const ICMP: u32 = 0x02;
    /// Its source is translated.
    pub(in super::super) const SNAT: u32 = 0x04;
    /// Its destination is translated.
    pub(in super::super) const DNAT: u32 = 0x08;
    /// Its payload is read for FTP.
    pub(in super::super) const FTP: u32 = 0x10;
    /// Its payload is read for TFTP.
    pub(in super::super) const TFTP: u32 = 0x20;
    /// A helper expected it; its parent is kept beside.
    pub(in super::super) const RELATED: u32 = 0x40;
    /// Its sequence numbers are shifted; by how much is kept beside.
    pub(in super::super) const SHIFTED: u32 = 0x80;
    /// It expects others.
    pub(in super::super) const PARENT: u32 = 0x100;
    /// Any helper.
    pub(in super::super) const HELPER: u32 = FTP | TFTP;
    /// Any translation.
    pub(in super::super) const NAT: u32 = SNAT | DNAT;
}

/// A tuple in a zone, as words to compare and to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key([u64; 5]);

/// Protocol and family, as [`Key`] has them in its third word.
const ICMP_V4: u16 = (protocol::ICMP as u16) << 8 | 4;
const ICMP_V6: u16 = (protocol::ICMPV6 as u16) << 8 | 6;

impl Key {
    #[inline]
    pub(super) const fn new(tuple: &Tuple, zone: u16) -> Self {
        let family = match tuple.family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        Self([
            tuple.src as u64,
            tuple.dst as u64,
            (tuple.src_port as u64) << 48
                | (tuple.dst_port as u64) << 32
                | (zone as u64) << 16
                | (tuple.protocol as u64) << 8
                | family,
            (tuple.src >> 64) as u64,
            (tuple.dst >> 64) as u64,
        ])
    }

    #[inline]
    pub(super) const fn zone(&self) -> u16 {
        (self.0[2] >> 16) as u16
    }

    #[inline]
    pub(super) const fn tuple(&self) -> Tuple {
        let [src, dst, rest, src_high, dst_high] = self.0;
        Tuple {
            family: if rest & 0xff == 4 {
                Family::V4
            } else {
                Family::V6
            },
            protocol: (rest >> 8) as u8,
            src: (src_high as u128) << 64 | src as u128,
            dst: (dst_high as u128) << 64 | dst as u128,
            src_port: (rest >> 48) as u16,
            dst_port: (rest >> 32) as u16,
        }
    }

    /// A keyed hash that a tuple shares with its reverse, so that a connection without translation
    /// has one place in the index for both directions.
    ///
    /// Not for keeping secrets; whoever does not know the words cannot make tuples that collide.
    #[inline]
    pub(super) const fn hash(&self, words: &[u64; 5]) -> u64 {
        let [src, dst, rest, src_high, dst_high] = self.0;
        // Of a query the identifier both ways; the type is the other's in the answer.
        let query = matches!(rest as u16, ICMP_V4 | ICMP_V6);
        let src_port = rest >> 48;
        let dst_port = if query { src_port } else { rest >> 32 & 0xffff };
        let from =
            fold(src ^ words[0], src_high ^ words[1]).wrapping_add(src_port.wrapping_mul(words[2]));
        let to =
            fold(dst ^ words[0], dst_high ^ words[1]).wrapping_add(dst_port.wrapping_mul(words[2]));
        let both = from.wrapping_add(to) ^ words[3];
        fold(both, from ^ to ^ (rest & LOWER) ^ words[4])
    }
}

/// Both halves of a product, folded.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    product as u64 ^ (product >> 64) as u64
}

/// What is written under the stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The bits of [`flag`].
    pub(super) flags: u32,
    pub(super) mark: u32,
    pub(super) label: u128,
}

impl Facts {
    pub(super) const fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }
}

/// What a protocol knows of a connection: a word whose highest bit is not its own, and two more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) word: u64,
    pub(super) ends: [u64; 2],
}

/// Packets and octets of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Octets of whole packets.
    pub bytes: u64,
}

/// A connection about to be put into an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) original: Key,
    pub(super) reply: Key,
    pub(super) facts: Facts,
    pub(super) progress: Progress,
    pub(super) expires: Tick,
    pub(super) now: Tick,
    /// Octets of the first packet.
    pub(super) len: u32,
}

/// A whole entry, read for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    pub(super) generation: u32,
    pub(super) original: Key,
    pub(super) reply: Key,
    pub(super) facts: Facts,
    pub(super) progress: Progress,
    pub(super) expires: Tick,
    pub(super) began: Tick,
    pub(super) counters: [Counter; 2],
}

/// The entry. See the module for who may read and write what.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Entry {
    stamp: AtomicU64,
    original: [AtomicU64; 5],
    /// Milliseconds, as a [`Tick`].
    expires: AtomicU64,
    /// [`Progress::word`] and [`LOCK`].
    word: AtomicU64,
    reply: [AtomicU64; 5],
    /// Mark in the upper half, flags in the lower.
    facts: AtomicU64,
    ends: [AtomicU64; 2],
    label: [AtomicU64; 2],
    /// Packets and octets, original and reply.
    counters: [[AtomicU64; 2]; 2],
    /// Milliseconds, as a [`Tick`].
    began: AtomicU64,
}

const RELAXED: Ordering = Ordering::Relaxed;

const fn generation_of(stamp: u64) -> u32 {
    (stamp >> 32) as u32
}

fn load<const N: usize>(words: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|i| words[i].load(RELAXED))
}

fn store<const N: usize>(words: &[AtomicU64; N], values: [u64; N]) {
    for (word, value) in words.iter().zip(values) {
        word.store(value, RELAXED);
    }
}

#[inline]
fn equal(words: &[AtomicU64; 5], key: &Key) -> bool {
    words
        .iter()
        .zip(key.0)
        .all(|(word, value)| word.load(RELAXED) == value)
}

impl Entry {
    /// Whether the entry is of a connection with this key, and which way; with its generation.
    #[inline]
    pub(super) fn is(&self, key: &Key) -> Option<(u32, Direction)> {
        let stamp = self.stamp.load(Ordering::Acquire);
        if stamp & ALIVE == 0 {
            return None;
        }
        let direction = if equal(&self.original, key) {
            Direction::Original
        } else if equal(&self.reply, key) {
            Direction::Reply
        } else {
            return None;
        };
        fence(Ordering::Acquire);
        let generation = generation_of(stamp);
        self.is_of(generation).then_some((generation, direction))
    }

    /// The generation, when the entry is of a connection.
    pub(super) fn generation(&self) -> Option<u32> {
        let stamp = self.stamp.load(Ordering::Acquire);
        (stamp & ALIVE != 0).then_some(generation_of(stamp))
    }

    #[inline]
    fn is_of(&self, generation: u32) -> bool {
        let stamp = self.stamp.load(RELAXED);
        stamp & ALIVE != 0 && generation_of(stamp) == generation
    }

    /// Reads under the stamp; `None` when the entry is not of this generation any more.
    #[inline]
    fn read<T>(&self, generation: u32, read: impl Fn() -> T) -> Option<T> {
        loop {
            let stamp = self.stamp.load(Ordering::Acquire);
            if stamp & ALIVE == 0 || generation_of(stamp) != generation {
                return None;
            }
            if stamp & WRITING == 0 {
                let value = read();
                fence(Ordering::Acquire);
                if self.stamp.load(RELAXED) == stamp {
                    return Some(value);
                }
            }
            spin_loop();
        }
    }

    fn load_facts(&self) -> Facts {
        let word = self.facts.load(RELAXED);
        let [high, low] = load(&self.label);
        Facts {
            flags: word as u32,
            mark: (word >> 32) as u32,
            label: u128::from(high) << 64 | u128::from(low),
        }
    }

    fn store_facts(&self, facts: &Facts) {
        let word = u64::from(facts.mark) << 32 | u64::from(facts.flags);
        self.facts.store(word, RELAXED);
        store(
            &self.label,
            [(facts.label >> 64) as u64, facts.label as u64],
        );
    }

    /// Mark, label and flags of one moment.
    #[inline]
    pub(super) fn facts(&self, generation: u32) -> Option<Facts> {
        self.read(generation, || self.load_facts())
    }

    /// Both keys: original and reply.
    #[inline]
    pub(super) fn keys(&self, generation: u32) -> Option<[Key; 2]> {
        self.read(generation, || {
            [Key(load(&self.original)), Key(load(&self.reply))]
        })
    }

    #[inline]
    pub(super) fn expires(&self) -> Tick {
        Tick(self.expires.load(RELAXED))
    }

    /// Puts the expiry off, or forward.
    #[inline]
    pub(super) fn expire_at(&self, at: Tick) {
        // Many packets come in one tick: a line that is only read stays with every core.
        if self.expires.load(RELAXED) != at.0 {
            self.expires.store(at.0, RELAXED);
        }
    }

    /// Counts a packet. Nobody's count is lost, whichever threads the directions are on.
    #[inline]
    pub(super) fn count(&self, direction: Direction, len: u32) {
        let [packets, bytes] = &self.counters[direction.index()];
        packets.fetch_add(1, RELAXED);
        bytes.fetch_add(len.into(), RELAXED);
    }

    /// What the protocol knows, without the lock: of one moment only for protocols that use the
    /// word alone.
    #[inline]
    pub(super) fn word(&self) -> u64 {
        self.word.load(RELAXED) & !LOCK
    }

    fn lock(&self) -> u64 {
        let mut turns = 0;
        loop {
            let word = self.word.load(RELAXED);
            if word & LOCK == 0
                && self
                    .word
                    .compare_exchange_weak(word, word | LOCK, Ordering::Acquire, RELAXED)
                    .is_ok()
            {
                return word;
            }
            turns += 1;
            if turns % SPINS == 0 {
                std::thread::yield_now();
            }
            spin_loop();
        }
    }

    fn unlock(&self, word: u64) {
        self.word.store(word & !LOCK, Ordering::Release);
    }

    /// Changes what the protocol knows; `None` when the entry is not of this generation any more.
    #[inline]
    pub(super) fn advance<T>(
        &self,
        generation: u32,
        change: impl FnOnce(&mut Progress) -> T,
    ) -> Option<T> {
        let word = self.lock();
        if !self.is_of(generation) {
            self.unlock(word);
            return None;
        }
        let before = Progress {
            word,
            ends: load(&self.ends),
        };
        let mut after = before;
        let told = change(&mut after);
        if after.ends != before.ends {
            store(&self.ends, after.ends);
        }
        self.unlock(after.word);
        Some(told)
    }

    /// Changes mark, label and flags, and tells what they are then; `None` when the entry is not of
    /// this generation any more.
    pub(super) fn change(&self, generation: u32, change: impl FnOnce(&mut Facts)) -> Option<Facts> {
        let word = self.lock();
        if !self.is_of(generation) {
            self.unlock(word);
            return None;
        }
        let before = self.load_facts();
        let mut after = before;
        change(&mut after);
        if after != before {
            let stamp = self.stamp.load(RELAXED);
            self.stamp.store(stamp | WRITING, RELAXED);
            fence(Ordering::Release);
            self.store_facts(&after);
            let next = (stamp & !LOWER) | (stamp.wrapping_add(WRITE) & LOWER);
            self.stamp.store(next, Ordering::Release);
        }
        self.unlock(word);
        Some(after)
    }

    /// Puts a connection into an entry that is of none, and tells the new generation. Only for the
    /// holder of the lock of the entry's shard.
    pub(super) fn begin(&self, begin: &Begin) -> u32 {
        self.lock();
        let generation = generation_of(self.stamp.load(RELAXED)).wrapping_add(1);
        // Not alive and of the new generation: who still reads the old connection notices.
        self.stamp.store(u64::from(generation) << 32, RELAXED);
        fence(Ordering::Release);
        store(&self.original, begin.original.0);
        store(&self.reply, begin.reply.0);
        self.store_facts(&begin.facts);
        store(&self.ends, begin.progress.ends);
        self.expires.store(begin.expires.0, RELAXED);
        self.began.store(begin.now.0, RELAXED);
        store(&self.counters[0], [1, begin.len.into()]);
        store(&self.counters[1], [0, 0]);
        let alive = u64::from(generation) << 32 | ALIVE;
        self.stamp.store(alive, Ordering::Release);
        self.unlock(begin.progress.word);
        generation
    }

    /// Takes the entry from its connection and tells what it was; `None` when it is not of this
    /// generation, or `unless` says no. Only for the holder of the locks of its shards.
    pub(super) fn end(&self, generation: u32, unless: impl FnOnce(&Self) -> bool) -> Option<Whole> {
        let word = self.lock();
        let ended = (self.is_of(generation) && !unless(self)).then(|| {
            let whole = self.load_whole(generation, word);
            let stamp = u64::from(generation) << 32;
            self.stamp.store(stamp, Ordering::Release);
            whole
        });
        self.unlock(word);
        ended
    }

    /// Everything, of one moment but for the counters.
    pub(super) fn whole(&self) -> Option<Whole> {
        let generation = self.generation()?;
        let word = self.lock();
        let whole = self
            .is_of(generation)
            .then(|| self.load_whole(generation, word));
        self.unlock(word);
        whole
    }

    /// Only for the holder of the lock, whose word this is.
    fn load_whole(&self, generation: u32, word: u64) -> Whole {
        Whole {
            generation,
            original: Key(load(&self.original)),
            reply: Key(load(&self.reply)),
            facts: self.load_facts(),
            progress: Progress {
                word,
                ends: load(&self.ends),
            },
            expires: self.expires(),
            began: Tick(self.began.load(RELAXED)),
            counters: std::array::from_fn(|way| {
                let [packets, bytes] = load(&self.counters[way]);
                Counter { packets, bytes }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [u64; 5] = [
        0x9e37_79b9_7f4a_7c15,
        0xbf58_476d_1ce4_e5b9,
        0x94d0_49bb_1331_11eb,
        0xd6e8_feb8_6659_fd93,
        0xa076_1d64_78bd_642f,
    ];

    fn tuple(protocol: u8, src: u128, dst: u128, src_port: u16, dst_port: u16) -> Tuple {
        Tuple {
            family: if src > u128::from(u32::MAX) {
                Family::V6
            } else {
                Family::V4
            },
            protocol,
            src,
            dst,
            src_port,
            dst_port,
        }
    }

    fn begin(tuple: &Tuple, zone: u16) -> Begin {
        let reverse = tuple.reversed().expect("has an answer");
        Begin {
            original: Key::new(tuple, zone),
            reply: Key::new(&reverse, zone),
            facts: Facts {
                flags: flag::FTP,
                mark: 7,
                label: 1 << 100 | 9,
            },
            progress: Progress {
                word: 5,
                ends: [1, 2],
            },
            expires: Tick(500),
            now: Tick(10),
            len: 60,
        }
    }

    #[test]
    fn an_entry_is_three_cache_lines() {
        assert_eq!(size_of::<Entry>(), 192);
        assert_eq!(align_of::<Entry>(), 64);
    }

    #[test]
    fn a_key_is_its_tuple_and_zone() {
        for tuple in [
            tuple(protocol::UDP, 0x0a00_0001, 0x0a00_0002, 65_535, 53),
            tuple(protocol::ICMP, 1, 2, 0xbeef, 8 << 8),
            tuple(132, u128::MAX - 5, 1 << 127, 1, 2),
        ] {
            let key = Key::new(&tuple, 0xfffe);
            assert_eq!((key.tuple(), key.zone()), (tuple, 0xfffe));
            let back = Key::new(&tuple.reversed().expect("has an answer"), 0xfffe);
            assert_ne!(key, back);
            assert_eq!(key.hash(&WORDS), back.hash(&WORDS), "{tuple:?}");
            assert_ne!(key.hash(&WORDS), Key::new(&tuple, 1).hash(&WORDS));
        }
    }

    #[test]
    fn each_part_of_a_tuple_moves_the_hash() {
        let base = tuple(protocol::TCP, 1 << 64 | 1, 2 << 64 | 2, 3, 4);
        let hash = |tuple: Tuple| Key::new(&tuple, 0).hash(&WORDS);
        let others = [
            Tuple {
                src: 1 << 64 | 2,
                ..base
            },
            Tuple {
                src: 2 << 64 | 1,
                ..base
            },
            Tuple {
                dst: 2 << 64 | 1,
                ..base
            },
            Tuple {
                src_port: 4,
                dst_port: 3,
                ..base
            },
            Tuple {
                src_port: 5,
                ..base
            },
            Tuple {
                protocol: protocol::UDP,
                ..base
            },
            Tuple {
                src: base.dst,
                dst: base.src,
                ..base
            },
        ];
        for (i, other) in others.into_iter().enumerate() {
            assert_ne!(hash(other), hash(base), "{i}");
        }
    }

    #[test]
    fn a_connection_comes_and_goes() {
        let entry = Entry::default();
        let tuple = tuple(protocol::TCP, 1, 2, 3, 4);
        let key = Key::new(&tuple, 9);
        assert_eq!(entry.is(&key), None);
        let begin = begin(&tuple, 9);
        let generation = entry.begin(&begin);
        assert_eq!(entry.is(&key), Some((generation, Direction::Original)));
        assert_eq!(entry.is(&begin.reply), Some((generation, Direction::Reply)));
        assert_eq!(entry.is(&Key::new(&tuple, 8)), None);
        assert_eq!(entry.facts(generation), Some(begin.facts));
        assert_eq!(entry.keys(generation), Some([begin.original, begin.reply]));
        entry.count(Direction::Reply, 100);
        let whole = entry.whole().expect("alive");
        assert_eq!(whole.progress, begin.progress);
        let count = |packets, bytes| Counter { packets, bytes };
        assert_eq!(whole.counters, [count(1, 60), count(1, 100)]);

        assert!(entry.end(generation.wrapping_add(1), |_| false).is_none());
        assert!(entry.end(generation, |_| true).is_none());
        let ended = entry.end(generation, |_| false).expect("alive");
        assert_eq!((ended.original, ended.facts), (key, begin.facts));
        assert!(entry.end(generation, |_| false).is_none());
        assert_eq!(entry.is(&key), None);
        assert_eq!(entry.facts(generation), None);
        assert!(entry.whole().is_none());

        let again = entry.begin(&begin);
        assert_ne!(again, generation);
        assert_eq!(entry.advance(generation, |_| ()), None);
        assert_eq!(entry.change(generation, |_| ()), None);
        assert_eq!(entry.facts(again), Some(begin.facts));
    }

    #[test]
    fn changes_show_and_leave_the_rest() {
        let entry = Entry::default();
        let begin = begin(&tuple(protocol::TCP, 1, 2, 3, 4), 0);
        let generation = entry.begin(&begin);
        let told = entry.advance(generation, |progress| {
            progress.word = 6;
            progress.ends[1] = 8;
            "told"
        });
        assert_eq!((told, entry.word()), (Some("told"), 6));
        let facts = entry.change(generation, |facts| facts.mark = 70);
        assert_eq!(facts.map(|facts| facts.mark), Some(70));
        let whole = entry.whole().expect("alive");
        assert_eq!(
            whole.facts,
            Facts {
                mark: 70,
                ..begin.facts
            }
        );
        assert_eq!(whole.progress.ends, [1, 8]);
        assert_eq!(whole.generation, generation);
    }

    #[test]
    fn labels_are_never_torn() {
        let entry = Entry::default();
        let generation = entry.begin(&begin(&tuple(protocol::TCP, 1, 2, 3, 4), 0));
        entry.change(generation, |facts| (facts.label, facts.mark) = (0, 0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..=20_000_u64 {
                    entry.change(generation, |facts| {
                        facts.mark = turn as u32;
                        facts.label = u128::from(turn) << 64 | u128::from(turn);
                    });
                }
            });
            let mut last = 0;
            while last < 20_000 {
                let facts = entry.facts(generation).expect("alive");
                assert_eq!((facts.label >> 64) as u64, facts.label as u64);
                assert_eq!(facts.label as u32, facts.mark);
                assert!(facts.mark >= last);
                last = facts.mark;
            }
        });
    }
}
