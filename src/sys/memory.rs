//! Giving back memory that only the start has needed.

use std::ffi::c_void;

unsafe extern "C" {
    /// Where the linker has put the first byte of the program.
    static __executable_start: u8;
    /// The end of its code.
    static etext: u8;
}

/// Gives back the pages of code and constants, most of which nobody needs again:
/// what is executed later is mapped anew from the page cache, where it stays.
///
/// Nothing depends on it, so that an error is none.
pub(crate) fn give_back_code() {
    let start = &raw const __executable_start;
    let length = (&raw const etext).addr() - start.addr();
    // SAFETY: from the first byte of the program to the end of its code nothing is
    // ever written: the linker puts what is behind that. Such pages are those of
    // the file, and read from it anew when they are touched. The start is that of
    // a page, and the kernel rounds the length up to the next one at most, which
    // belongs to the same segment.
    unsafe {
        libc::madvise(
            start.cast_mut().cast::<c_void>(),
            length,
            libc::MADV_DONTNEED,
        )
    };
}
