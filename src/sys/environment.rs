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

/// What a variable is set to.
pub(super) fn value_of(name: &str) -> Option<OsString> {
    let mut set = beginning_with(&format!("{name}=")).into_iter();
    set.next().map(|(_, value)| value)
}

/// The variables that begin like this, as name and value. Only these are copied:
/// most often there is none, and the library would copy all.
pub(crate) fn beginning_with(prefix: &str) -> Vec<(OsString, OsString)> {
    let mut found = Vec::new();
    let mut next = all();
    if next.is_null() {
        return found;
    }
    loop {
        // SAFETY: not behind the null pointer that ends the list, where the loop
        // ends.
        let variable = unsafe { *next };
        if variable.is_null() {
            return found;
        }
        // SAFETY: the list holds C strings, which stay as long as nobody sets a
        // variable.
        let bytes = unsafe { CStr::from_ptr(variable) }.to_bytes();
        if bytes.starts_with(prefix.as_bytes())
            && let Some(equals) = bytes.iter().position(|byte| *byte == b'=')
        {
            let (name, value) = bytes.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            let owned = |bytes| OsStr::from_bytes(bytes).to_owned();
            found.push((owned(name), owned(value)));
        }
        // SAFETY: at most at that null pointer.
        next = unsafe { next.add(1) };
    }
}
