//! The environment as the kernel has laid it out (environ(7)).

use std::ffi::{CStr, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;

unsafe extern "C" {
    /// The variables, each `NAME=VALUE`, and a null pointer.
    static mut environ: *const *const c_char;
}

/// The environment as it is now, to be passed to execve(2).
pub(super) fn all() -> *const *const c_char {
    // SAFETY: only read here, and there is no other thread that could change it.
    unsafe { (&raw const environ).read() }
}

/// What a variable is set to. Takes memory only where it is set.
pub(super) fn value_of(name: &str) -> Option<OsString> {
    let value =
        strings().find_map(|string| string.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(OsStr::from_bytes(value).to_owned())
}

/// The variables that begin like this, as name and value. Only these are copied:
/// most often there is none, and the library would copy all.
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

/// The strings of the environment, for as long as no variable is set.
fn strings() -> impl Iterator<Item = &'static [u8]> {
    let mut next = all();
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: not behind the null pointer that ends the list, where it stays.
        let string = unsafe { *next };
        if string.is_null() {
            return None;
        }
        // SAFETY: at most at that null pointer.
        next = unsafe { next.add(1) };
        // SAFETY: the list holds C strings, which stay as long as nobody sets a
        // variable; the callers above copy what they keep.
        Some(unsafe { CStr::from_ptr(string) }.to_bytes())
    })
}
