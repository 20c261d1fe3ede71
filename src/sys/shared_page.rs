//! Bytes that this process shares with its children, for results that need no
//! descriptor. Reading them never waits.

use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Memory that a child which is forked later shares (mmap(2), `MAP_SHARED`), zero at first.
#[derive(Debug)]
pub(super) struct SharedPage {
    first: NonNull<AtomicU64>,
    length: NonZeroUsize,
}

impl SharedPage {
    /// Maps this many bytes.
    ///
    /// # Errors
    /// EINVAL: `length` is 0; ENOMEM; see mmap(2).
    pub(super) fn new(length: usize) -> nix::Result<Self> {
        let length = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let first = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) }?;
        Ok(Self {
            first: first.cast(),
            length,
        })
    }
}

/// Maps this many words, which are never unmapped.
///
/// # Errors
/// As [`SharedPage::new`].
pub(super) fn words(count: usize) -> nix::Result<&'static [AtomicUsize]> {
    let page = ManuallyDrop::new(SharedPage::new(count * size_of::<AtomicUsize>())?);
    // SAFETY: the mapping holds `count` words, zeroed by the kernel and aligned, because it
    // begins with a page. It lives on. Another process may write at any time, which atomics
    // allow.
    Ok(unsafe { std::slice::from_raw_parts(page.first.as_ptr().cast(), count) })
}

impl SharedPage {
    /// The word at this index, of a mapping that is large enough; otherwise the first.
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        let count = self.length.get() / size_of::<AtomicU64>();
        let index = if index < count { index } else { 0 };
        // SAFETY: the mapping is aligned, because it begins with a page, and holds `count`
        // words, zeroed by the kernel. It lives as long as `self`. Another process may write
        // at any time, which atomics allow.
        unsafe { &*self.first.as_ptr().add(index) }
    }

    /// The first byte, for system calls about the whole mapping.
    pub(super) fn start(&self) -> NonNull<std::ffi::c_void> {
        self.first.cast()
    }
}

impl Deref for SharedPage {
    type Target = [AtomicU8];

    fn deref(&self) -> &[AtomicU8] {
        // SAFETY: the mapping holds `length` bytes, zeroed by the kernel, and lives as long
        // as `self`. The other process may write at any time, which atomics allow.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr().cast(), self.length.get()) }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`. If the
        // call fails, the memory stays mapped.
        let _ = unsafe { munmap(self.first.cast(), self.length.get()) };
    }
}
