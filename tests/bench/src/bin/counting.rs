//! The same programs with an allocator that counts. It costs time, so nothing here is timed.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::Ordering,
};

use tidings_bench::measure::{ALLOCATIONS, LIVE_BYTES};

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of the caller. This program is not
// shipped; the shipped crates forbid unsafe code.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        forget(layout.size());
        count(size);
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        forget(layout.size());
        unsafe { System.dealloc(memory, layout) }
    }
}

fn count(size: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    LIVE_BYTES.fetch_add(size as i64, Ordering::Relaxed);
}

fn forget(size: usize) {
    LIVE_BYTES.fetch_sub(size as i64, Ordering::Relaxed);
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    tidings_bench::main();
}
