//! A global allocator that counts, for the proof that packets need no allocation.
//!
//! Only test and benchmark binaries install it. Counts are kept per thread, so what the test
//! harness's other threads do is not counted. Cost: one thread-local increment a call.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Without a destructor and with a constant beginning, so that it needs no allocation itself.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator with a count of the calls that got memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// Allocations and reallocations of the calling thread since it began, where [`Counting`] is the
/// global allocator.
#[must_use]
pub fn calls() -> u64 {
    CALLS.with(Cell::get)
}

fn count() {
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is handed to the system's allocator as it came, so its promises hold; counting
// touches a plain thread-local integer and neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, which is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is the system allocator's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: `ptr` came from this allocator and so from the system's, with this layout.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from this allocator and so from the system's, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}
