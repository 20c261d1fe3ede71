//! Releases memory that only the start has needed.

use std::ffi::c_void;

unsafe extern "C" {
    /// The first byte of the program (ld(1)).
    static __executable_start: u8;
    /// The end of its code.
    static etext: u8;
}

/// Releases the pages of code and constants, most of which are not used again. Those that
/// are used later are mapped anew from the page cache, where they stay.
///
/// Best effort: errors are ignored.
pub(crate) fn release_code() {
    let start = &raw const __executable_start;
    let length = (&raw const etext).addr() - start.addr();
    // SAFETY: nothing is ever written between the first byte of the program and the end of
    // its code: the linker puts writable data behind it. These pages belong to the file and
    // are read from it anew when they are used. The start is that of a page, and the kernel
    // rounds the length up to the end of a page, which belongs to the same segment.
    unsafe {
        libc::madvise(
            start.cast_mut().cast::<c_void>(),
            length,
            libc::MADV_DONTNEED,
        )
    };
}
