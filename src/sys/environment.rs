//! Environment variables, read in place (environ(7)): most are never copied.

use std::ffi::{CStr, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;

unsafe extern "C" {
    /// The variables, each as `NAME=VALUE`, then a null pointer.
    static mut environ: *const *const c_char;
}

/// The current environment, to be passed to execve(2).
pub(super) fn all() -> *const *const c_char {
    // SAFETY: only read, and no other thread could change it.
    unsafe { (&raw const environ).read() }
}

/// Returns the value of a variable, `None` if it is not set.
pub(super) fn value_of(name: &str) -> Option<OsString> {
    let value =
        strings().find_map(|string| string.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(OsStr::from_bytes(value).to_owned())
}

/// Returns the variables whose names begin with `prefix`, as name and value. Only these are
/// copied: there is usually none, and the standard library would copy all.
pub(crate) fn beginning_with(prefix: &str) -> Vec<(OsString, OsString)> {
    let owned = |bytes| OsStr::from_bytes(bytes).to_owned();
    strings()
        .filter(|string| string.starts_with(prefix.as_bytes()))
        .filter_map(|string| {
            let equals = string.iter().position(|byte| *byte == b'=')?;
            let (name, value) = string.split_at(equals);
            Some((owned(name), owned(value.get(1..)?)))
        })
        .collect()
}

/// Removes variables from our own environment, and so from that of later children.
pub(crate) fn remove<'a>(names: impl IntoIterator<Item = &'a OsStr>) {
    for name in names {
        // SAFETY: this process has one thread, so that no other reads the environment
        // meanwhile, and the references into it are short-lived ([`strings`]).
        unsafe { std::env::remove_var(name) };
    }
}

/// The strings of the environment, valid as long as no variable is set.
fn strings() -> impl Iterator<Item = &'static [u8]> {
    let mut next = all();
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: it points into the list, at most at its closing null pointer.
        let string = unsafe { *next };
        if string.is_null() {
            return None;
        }
        // SAFETY: this was not the null pointer, so that another element follows.
        next = unsafe { next.add(1) };
        // SAFETY: the list holds C strings, which stay as long as no variable is set; the
        // callers above copy what they keep.
        Some(unsafe { CStr::from_ptr(string) }.to_bytes())
    })
}
