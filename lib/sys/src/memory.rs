//! Frame memory: one mapping that holds every packet buffer of a datapath process.
//!
//! The mapping has two classes of frames. *Chunks* (4 KiB) are also the UMEM of all AF_XDP
//! sockets, so that a packet goes from one such port to another by its descriptor. *Large* frames
//! (68 KiB) take the tail of a super-frame that a TAP or packet socket delivers in one piece.
//!
//! Law: a [`Frame`] is the only handle to its bytes. It is made once by [`Region::leak`], is never
//! copied, and while the kernel owns the bytes (fill or transmit ring) no `Frame` for them exists.
//! A frame that is dropped instead of being given back is lost to the pool; debug builds panic.
//!
//! A region is never unmapped: sockets and frames may outlive any owner that one could name, and a
//! process has one region for life. Tests share one.

use std::fmt;
use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Bytes of a chunk: the largest UMEM chunk of a kernel with 4 KiB pages (`xdp_umem_reg`).
pub const CHUNK_SIZE: usize = 4096;

/// Bytes of a large frame: a GSO super-frame is at most 65,535 bytes of IP and a link header.
pub const LARGE_SIZE: usize = 17 * CHUNK_SIZE;

/// Which of the two kinds of memory a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 4 KiB, part of the UMEM.
    Chunk,
    /// 68 KiB, known to user space only.
    Large,
}

/// The mapping behind all frames of a process.
pub struct Region {
    base: NonNull<u8>,
    chunks: u32,
    larges: u32,
}

// SAFETY: `base` is only used to derive pointers of distinct frames; a `Frame` is the unique
// handle of its bytes, so threads that share a `Region` never alias through it.
unsafe impl Send for Region {}
// SAFETY: as for `Send`; no method of `&Region` reads or writes the mapped bytes.
unsafe impl Sync for Region {}

impl Region {
    /// Maps zeroed memory for `chunks` and `larges` frames and hands every frame out, once.
    ///
    /// The memory lives as long as the process does.
    ///
    /// # Errors
    /// What `mmap(2)` answers, `ENOMEM` as a rule.
    pub fn leak(chunks: u32, larges: u32) -> io::Result<(&'static Self, Vec<Frame>)> {
        let size = chunks as usize * CHUNK_SIZE + larges as usize * LARGE_SIZE;
        if size == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a region needs at least one frame",
            ));
        }
        // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        // Large pages make the memory cheap to fault in and to pin, and cost the caches' page table
        // walks less; a kernel without them refuses, which changes nothing else.
        // SAFETY: advice about our own fresh mapping, of which nobody has a pointer yet.
        let _ = unsafe { rustix::mm::madvise(base, size, Advice::LinuxHugepage) };
        let base = NonNull::new(base.cast::<u8>()).expect("mmap never answers the null page");
        let region: &'static Self = Box::leak(Box::new(Self {
            base,
            chunks,
            larges,
        }));
        let frames = (0..chunks + larges).map(|i| region.frame(i)).collect();
        Ok((region, frames))
    }

    /// The start of the UMEM: the first chunk's address.
    pub(crate) fn umem_base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes of the UMEM: all chunks, without the large frames.
    #[must_use]
    pub fn umem_size(&self) -> usize {
        self.chunks as usize * CHUNK_SIZE
    }

    /// How many chunks and large frames there are.
    #[must_use]
    pub fn len(&self) -> (u32, u32) {
        (self.chunks, self.larges)
    }

    /// Makes the handle of frame `index`. Callers inside this crate do so once per frame and
    /// again only after the kernel has given the frame back.
    fn frame(&self, index: u32) -> Frame {
        let (offset, size) = if index < self.chunks {
            (index as usize * CHUNK_SIZE, CHUNK_SIZE)
        } else {
            assert!(
                index < self.chunks + self.larges,
                "frame {index} is not of this region"
            );
            let large = (index - self.chunks) as usize;
            (self.umem_size() + large * LARGE_SIZE, LARGE_SIZE)
        };
        Frame {
            // SAFETY: `offset` lies inside the mapping by the checks above.
            ptr: unsafe { self.base.add(offset) },
            index,
            size: size as u32,
        }
    }

    /// Calls the bytes at UMEM offset `address` into the cache; nothing else, whatever the address.
    #[inline]
    pub(crate) fn prefetch(&self, address: u64) {
        let at = self.base.as_ptr().wrapping_add(address as usize);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch is a hint, which reads nothing and faults on no address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// The frame whose bytes hold UMEM offset `address`, given back by the kernel on a completion
    /// or receive ring.
    ///
    /// Panics when the address is outside the UMEM: the kernel checks descriptors against it.
    pub(crate) fn reclaim(&self, address: u64) -> Frame {
        let index = (address / CHUNK_SIZE as u64) as u32;
        assert!(
            index < self.chunks,
            "the kernel returned an address outside the UMEM"
        );
        self.frame(index)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("chunks", &self.chunks)
            .field("larges", &self.larges)
            .finish_non_exhaustive()
    }
}

/// Asks the processor to load the cache lines of `value`, for a reader that comes soon and has other
/// work until then.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..size_of::<T>().div_ceil(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = std::ptr::from_ref(value)
            .cast::<i8>()
            .wrapping_add(64 * line);
        // SAFETY: a prefetch is a hint, which reads nothing and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The one handle of a piece of packet memory.
#[must_use = "a frame that is not given back is lost to its pool"]
pub struct Frame {
    ptr: NonNull<u8>,
    index: u32,
    size: u32,
}

// SAFETY: a frame is the unique handle of its bytes, wherever it is.
unsafe impl Send for Frame {}
// SAFETY: `&Frame` gives read access only.
unsafe impl Sync for Frame {}

impl Frame {
    /// All bytes of the frame.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `ptr` is valid for `size` initialised bytes for the life of the process, and
        // this handle is the only one, so nobody writes while the borrow lasts.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.size as usize) }
    }

    /// All bytes of the frame, to be written.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the exclusive borrow of the only handle is held.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.size as usize) }
    }

    /// Bytes of memory behind the frame.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// The class by size.
    #[inline]
    #[must_use]
    pub fn class(&self) -> Class {
        if self.size as usize == CHUNK_SIZE {
            Class::Chunk
        } else {
            Class::Large
        }
    }

    /// The frame's number in its region.
    #[inline]
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Gives the bytes to the kernel: the handle ends, the UMEM offset of its first byte stays.
    /// Only chunks have one.
    #[inline]
    pub(crate) fn into_umem(self) -> u64 {
        debug_assert_eq!(
            self.class(),
            Class::Chunk,
            "only chunks are part of the UMEM"
        );
        let address = u64::from(self.index) * CHUNK_SIZE as u64;
        std::mem::forget(self);
        address
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} {:?})", self.index, self.class())
    }
}

#[cfg(debug_assertions)]
impl Drop for Frame {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("frame {} was dropped instead of being freed", self.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_handed_out_once_and_apart() {
        let (region, mut frames) = Region::leak(3, 2).expect("mmap");
        assert_eq!(frames.len(), 5);
        for (i, frame) in frames.iter_mut().enumerate() {
            frame.bytes_mut().fill(i as u8 + 1);
        }
        for (i, frame) in frames.into_iter().enumerate() {
            let size = if i < 3 { CHUNK_SIZE } else { LARGE_SIZE };
            assert_eq!(frame.size(), size);
            assert!(frame.bytes().iter().all(|&b| b == i as u8 + 1));
            std::mem::forget(frame);
        }
        assert_eq!(region.umem_size(), 3 * CHUNK_SIZE);
    }

    #[test]
    fn a_frame_comes_back_from_the_kernel_by_any_address_inside_it() {
        let (region, frames) = Region::leak(2, 0).expect("mmap");
        let mut frames = frames.into_iter();
        std::mem::forget(frames.next());
        let address = frames.next().expect("two frames").into_umem();
        let again = region.reclaim(address + 256);
        assert_eq!(again.index(), 1);
        std::mem::forget(again);
    }
}
