//! An allocator that ends whoever allocates or frees after clone: all cases run under it.
//!
//! Invariant: only the process that has called [`watch`] may use memory of the heap; its children abort.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use runtime::sys::child::clone::{Request, SingleThreaded, clone_child};
use runtime::sys::process::ns::Namespaces;

use super::*;

static OWNER: AtomicU32 = AtomicU32::new(0);

/// From here on this process alone may allocate.
pub(super) fn watch() {
    OWNER.store(std::process::id(), Ordering::Relaxed);
}

#[derive(Debug)]
struct Watched;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn check() {
    let owner = OWNER.load(Ordering::Relaxed);
    if owner != 0 && std::process::id() != owner {
        std::process::abort();
    }
}

// SAFETY: each call is handed on to the system's allocator as it is.
#[expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The watch itself: without it every other case would pass whatever the child half does.
pub(super) fn is_watched(_: &Bench) {
    let proof = SingleThreaded::check().unwrap();
    let request = Request { namespaces: Namespaces::NONE, cgroup: None };
    let end = |child: fn() -> i32| {
        let cloned = clone_child(&proof, &request, |_half| child()).unwrap();
        pidfd::reap(cloned.pidfd.as_fd(), Wait::Block).unwrap().unwrap()
    };
    assert_eq!(end(|| 3), Exit::Code(3));
    assert_eq!(end(|| i32::from(*black_box(Box::new(3_u8)))), Exit::Signal(6));
}
