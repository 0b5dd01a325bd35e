//! The four rings: single-producer, single-consumer queues in memory that the kernel shares.
//!
//! Law: the producer index is written by the producer alone and the consumer index by the consumer
//! alone; both only grow, modulo 2^32. Entries between the two belong to the consumer, all others
//! to the producer. Indices are cached and read again only when the cached ones say full or empty,
//! so that the cache line of the other side is touched once a batch.
//!
//! Spec: `net/xdp/xsk_queue.h`, whose comment draws the pairs of barriers.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::xdp::{XdpRingFlags, XdpRingOffset};

/// A descriptor of the receive and transmit rings (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Desc {
    /// UMEM offset of the first byte.
    pub(super) addr: u64,
    /// Bytes.
    pub(super) size: u32,
    /// `XDP_PKT_CONTD`, `XDP_TX_METADATA`.
    pub(super) options: u32,
}

/// The shared memory of one ring, and where in it things are.
struct Memory<T> {
    base: NonNull<u8>,
    size: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    len: u32,
}

// SAFETY: the mapping is owned, and the pointers into it go where it goes.
unsafe impl<T: Send> Send for Memory<T> {}

impl<T: Copy> Memory<T> {
    /// Maps the ring of `len` entries at page offset `page_offset` of `socket`.
    fn map(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        offsets: XdpRingOffset,
        len: u32,
    ) -> io::Result<Self> {
        let flags = offsets.flags.ok_or(io::ErrorKind::Unsupported)?;
        let size = offsets.desc as usize + len as usize * size_of::<T>();
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                socket,
                page_offset,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).expect("mmap never answers the null page");
        // SAFETY: the kernel gave these offsets for a ring of `len` entries, mapped above; it
        // aligns indices to cache lines and entries to eight bytes.
        unsafe {
            Ok(Self {
                base,
                size,
                producer: base.add(offsets.producer as usize).cast(),
                consumer: base.add(offsets.consumer as usize).cast(),
                flags: base.add(flags as usize).cast(),
                entries: base.add(offsets.desc as usize).cast(),
                len,
            })
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: the pointer stays inside the mapping, which lives as long as `self`; the kernel
        // accesses the word as a whole only.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        let flags = unsafe { self.flags.as_ref() }.load(Ordering::Relaxed);
        flags & XdpRingFlags::XDP_RING_NEED_WAKEUP.bits() != 0
    }

    fn entry(&self, index: u32) -> *mut T {
        // SAFETY: `len` is a power of two (`map` is called with checked sizes), so the masked
        // index is below it, inside the mapping.
        unsafe { self.entries.as_ptr().add((index & (self.len - 1)) as usize) }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `map`, and every pointer into it ends with `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}

/// Our end of a ring that we fill: fill or transmit.
pub(super) struct Producer<T: Copy> {
    memory: Memory<T>,
    /// Where the next entry goes; ahead of the shared index by what is not published yet.
    head: u32,
    /// The consumer index as last read.
    tail: u32,
}

impl<T: Copy> Producer<T> {
    /// Maps our end; the arguments are as for the kernel's `mmap`.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        offsets: XdpRingOffset,
        len: u32,
    ) -> io::Result<Self> {
        let memory = Memory::map(socket, page_offset, offsets, len)?;
        let head = memory.producer().load(Ordering::Relaxed);
        let tail = memory.consumer().load(Ordering::Acquire);
        Ok(Self { memory, head, tail })
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u32 {
        self.memory.len
    }

    /// How many entries are free, of which the caller wants `wanted`.
    #[inline]
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        let room = self.memory.len - self.head.wrapping_sub(self.tail);
        if room >= wanted {
            return room;
        }
        // Acquire pairs with the kernel's smp_store_release of the consumer index: what it read
        // from the entries happened before we write them again.
        self.tail = self.memory.consumer().load(Ordering::Acquire);
        self.memory.len - self.head.wrapping_sub(self.tail)
    }

    /// Writes the next entry; the caller has asked [`Self::room`] for it. The kernel sees it after
    /// [`Self::publish`].
    #[inline]
    pub(super) fn push(&mut self, entry: T) {
        assert!(
            self.head.wrapping_sub(self.tail) < self.memory.len,
            "a full ring was written to"
        );
        // SAFETY: the entry lies between producer and consumer index by the check above, so the
        // kernel does not touch it; `entry` stays inside the mapping.
        unsafe { self.memory.entry(self.head).write(entry) };
        self.head = self.head.wrapping_add(1);
    }

    /// Hands everything written to the kernel.
    #[inline]
    pub(super) fn publish(&self) {
        // Release pairs with the kernel's smp_load_acquire of the producer index: it sees the
        // entries before it sees that they are there.
        self.memory.producer().store(self.head, Ordering::Release);
    }

    /// How many published entries the kernel has not taken yet.
    #[inline]
    pub(super) fn pending(&mut self) -> u32 {
        self.tail = self.memory.consumer().load(Ordering::Acquire);
        self.head.wrapping_sub(self.tail)
    }

    /// True when the kernel asks to be called.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.memory.needs_wakeup()
    }
}

/// Our end of a ring that the kernel fills: receive or completion.
pub(super) struct Consumer<T: Copy> {
    memory: Memory<T>,
    /// The next entry to read; ahead of the shared index by what is not released yet.
    tail: u32,
    /// The producer index as last read.
    head: u32,
}

impl<T: Copy> Consumer<T> {
    /// Maps our end; the arguments are as for the kernel's `mmap`.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        offsets: XdpRingOffset,
        len: u32,
    ) -> io::Result<Self> {
        let memory = Memory::map(socket, page_offset, offsets, len)?;
        let tail = memory.consumer().load(Ordering::Relaxed);
        let head = tail;
        Ok(Self { memory, tail, head })
    }

    /// The next entry, copied out. It stays ours until [`Self::release`].
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.tail == self.head {
            // Acquire pairs with the kernel's smp_store_release of the producer index: the entries
            // and the bytes they name are written.
            self.head = self.memory.producer().load(Ordering::Acquire);
            if self.tail == self.head {
                return None;
            }
        }
        // SAFETY: the entry lies between consumer and producer index, so the kernel has written it
        // and does not touch it; `entry` stays inside the mapping.
        let entry = unsafe { self.memory.entry(self.tail).read() };
        self.tail = self.tail.wrapping_add(1);
        Some(entry)
    }

    /// Gives the entries read back to the kernel.
    #[inline]
    pub(super) fn release(&self) {
        // Release pairs with the kernel's smp_load_acquire of the consumer index: our reads of the
        // entries happened before it writes them again.
        self.memory.consumer().store(self.tail, Ordering::Release);
    }
}

impl<T: Copy> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("len", &self.memory.len)
            .field("head", &self.head)
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}

impl<T: Copy> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("len", &self.memory.len)
            .field("head", &self.head)
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::MemfdFlags;

    use super::*;

    /// A ring over a memory file, so that both ends can be ours.
    fn pair(len: u32) -> (Producer<u64>, Consumer<u64>) {
        let file = rustix::fs::memfd_create("ring", MemfdFlags::CLOEXEC).expect("memfd");
        rustix::fs::ftruncate(&file, 4096).expect("sized");
        let offsets = XdpRingOffset {
            producer: 0,
            consumer: 64,
            desc: 192,
            flags: Some(128),
        };
        let producer = Producer::map(file.as_fd(), 0, offsets, len).expect("mmap");
        let consumer = Consumer::map(file.as_fd(), 0, offsets, len).expect("mmap");
        (producer, consumer)
    }

    #[test]
    fn entries_come_out_in_order_and_only_when_published() {
        let (mut producer, mut consumer) = pair(4);
        assert_eq!(producer.room(4), 4);
        producer.push(7);
        producer.push(8);
        assert_eq!(consumer.pop(), None);
        producer.publish();
        assert_eq!(consumer.pop(), Some(7));
        assert_eq!(consumer.pop(), Some(8));
        assert_eq!(consumer.pop(), None);
        assert_eq!(producer.pending(), 2);
        consumer.release();
        assert_eq!(producer.pending(), 0);
    }

    #[test]
    fn a_full_ring_has_no_room_until_entries_are_released() {
        let (mut producer, mut consumer) = pair(4);
        for round in 0..100 {
            while producer.room(1) > 0 {
                producer.push(round);
            }
            producer.publish();
            assert_eq!(producer.room(1), 0);
            for _ in 0..4 {
                assert_eq!(consumer.pop(), Some(round));
            }
            assert_eq!(producer.room(1), 0);
            consumer.release();
            assert_eq!(producer.room(4), 4);
        }
    }

    #[test]
    #[should_panic(expected = "full ring")]
    fn writing_to_a_full_ring_is_caught() {
        let (mut producer, _consumer) = pair(4);
        for entry in 0..5 {
            producer.push(entry);
        }
    }
}
