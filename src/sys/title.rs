//! The name of this process and its command line, as ps(1) shows them.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

/// The arguments of this process: their number, and a pointer to each.
static COUNT: AtomicI32 = AtomicI32::new(0);
static ARGUMENTS: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());

/// Notes where the arguments of this process are.
///
/// # Safety
/// They are those that the C runtime passed to `main`.
pub(crate) unsafe fn note_arguments(count: c_int, arguments: *const *const c_char) {
    COUNT.store(count, Ordering::Relaxed);
    ARGUMENTS.store(arguments.cast_mut(), Ordering::Relaxed);
}

/// Names this process `supervise[NAME]`, cut where there is no room for it: 15 bytes in its
/// name (`PR_SET_NAME`), and as many in the command line as that had. If it fails, the name
/// stays.
pub(crate) fn set_title(name: &str) {
    let title = format!("supervise[{name}]");
    if let Ok(title) = CString::new(title.as_bytes()) {
        let _ = nix::sys::prctl::set_name(&title);
    }
    if let Some((first, length)) = strings() {
        // SAFETY: `length` bytes of arguments begin there, as `strings` found. A program may
        // write to its arguments. This process has one thread, and no reference to them:
        // those of the entry point were copied.
        overwrite(
            unsafe { std::slice::from_raw_parts_mut(first, length) },
            title.as_bytes(),
        );
    }
}

/// The memory of the argument strings that follow each other without a gap: the first byte,
/// and how many there are up to the null byte of the last one.
fn strings() -> Option<(*mut u8, usize)> {
    let arguments = ARGUMENTS.load(Ordering::Relaxed);
    let count = usize::try_from(COUNT.load(Ordering::Relaxed)).ok()?;
    if arguments.is_null() || count == 0 {
        return None;
    }
    // SAFETY: the C runtime passes `count` pointers, and `count` is not 0.
    let first = unsafe { *arguments };
    let mut length = 0;
    for index in 0..count {
        // SAFETY: as above, and `index` is below `count`.
        let string = unsafe { *arguments.add(index) };
        if string != first.wrapping_add(length) {
            break;
        }
        // SAFETY: each of these points to a C string, which lives as long as the process.
        length += unsafe { CStr::from_ptr(string) }.to_bytes_with_nul().len();
    }
    Some((first.cast_mut().cast(), length))
}

/// Writes as much of a title as there is room for, and null bytes, one at least: if the last
/// byte were another, the kernel would read on into the environment.
fn overwrite(room: &mut [u8], title: &[u8]) {
    let length = title.len().min(room.len().saturating_sub(1));
    room.fill(0);
    for (to, byte) in room.iter_mut().zip(title.iter().take(length)) {
        *to = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::super::process;
    use super::*;

    /// The memory of the arguments of this process, as the kernel knows it.
    fn bounds() -> (usize, usize) {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        // Fields 48 and 49 of proc_pid_stat(5), of which these begin with the third.
        let mut fields = fields.split(' ').skip(45).map(str::parse);
        (
            fields.next().unwrap().unwrap(),
            fields.next().unwrap().unwrap(),
        )
    }

    /// Sets the title in a child that notes these arguments, and returns its command line and
    /// name.
    fn titled(name: &str, arguments: &[*const c_char]) -> (Vec<u8>, String) {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let child = process::fork(|| {
            let count = arguments.len().try_into().unwrap();
            // SAFETY: the caller passes those of this process, which is what counts.
            unsafe { note_arguments(count, arguments.as_ptr()) };
            set_title(name);
            let line = std::fs::read("/proc/self/cmdline").unwrap();
            let comm = std::fs::read("/proc/self/comm").unwrap();
            std::io::Write::write_all(&mut &writer, &[comm, line].concat()).unwrap();
            0
        });
        drop(writer);
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut all).unwrap();
        let pid = nix::unistd::Pid::from_raw(child.unwrap());
        nix::sys::wait::waitpid(pid, None).unwrap();
        let end = all.iter().position(|byte| *byte == b'\n').unwrap();
        let line = all.split_off(end + 1);
        (line, String::from_utf8(all).unwrap().trim().to_owned())
    }

    #[test]
    fn the_title_replaces_the_command_line_and_nothing_else() {
        let before = std::fs::read("/proc/self/cmdline").unwrap();
        let (first, end) = bounds();
        assert_eq!(end - first, before.len());
        let mut arguments = Vec::new();
        let mut next = first;
        for string in before.split_inclusive(|byte| *byte == 0) {
            arguments.push(ptr::with_exposed_provenance::<c_char>(next));
            next += string.len();
        }
        let padded = |text: &str, length: usize| {
            let mut line = text.as_bytes().to_vec();
            line.resize(length, 0);
            line
        };
        let whole = before.len();
        let (line, comm) = titled("web", &arguments);
        assert_eq!(line, padded("supervise[web]", whole));
        assert_eq!(comm, "supervise[web]");
        let long = "a".repeat(whole);
        let (line, comm) = titled(&long, &arguments);
        let cut = format!("supervise[{long}");
        assert_eq!(line, padded(&cut[..whole - 1], whole));
        assert_eq!(comm, "supervise[aaaaa");
        // Those that do not follow are left alone.
        let last = *arguments.last().unwrap();
        let first = *arguments.first().unwrap();
        let own = CString::new("own").unwrap();
        for arguments in [&[first, own.as_ptr(), last][..], &[first]] {
            let (line, _) = titled(&long, arguments);
            let length = before.iter().position(|byte| *byte == 0).unwrap();
            let cut = format!("supervise[{long}").as_bytes()[..length].to_vec();
            assert_eq!(line, [&cut, &before[length..]].concat());
        }
        assert_eq!(own.as_bytes(), b"own");
        let (line, comm) = titled("web", &[]);
        assert_eq!((line, comm.as_str()), (before, "supervise[web]"));
    }

    #[test]
    fn the_last_byte_stays_null() {
        for (room, expected) in [(0, &b""[..]), (1, b"\0"), (3, b"ab\0"), (5, b"abc\0\0")] {
            let mut memory = vec![b'-'; room];
            overwrite(&mut memory, b"abc");
            assert_eq!(memory, expected);
        }
    }
}
