//! Lists a directory whose names are numbers, as those of processes in /proc are. Not by
//! the standard library, which panics if close(2) fails.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::checked;

/// How many bytes of entries are read at a time: about 170 processes.
const BUFFER: usize = 4096;

/// Where the length of an entry and its name are in a `linux_dirent64` (getdents64(2)).
const LENGTH_AT: usize = 16;
const NAME_AT: usize = 19;

/// Returns the numbers among the names in a directory. It takes one descriptor.
///
/// # Errors
/// ENOENT: no such directory, or none any more; EMFILE: no descriptor left; see open(2),
/// getdents64(2).
pub(crate) fn numbers_in(path: &str) -> nix::Result<Vec<i32>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(path, flags, Mode::empty())?;
    let mut numbers = Vec::new();
    let mut buffer = [0; BUFFER];
    loop {
        let length = read_entries(&directory, &mut buffer)?;
        let mut entries = buffer.get(..length).unwrap_or_default();
        if entries.is_empty() {
            return Ok(numbers);
        }
        while let Some((name, rest)) = split_entry(entries) {
            numbers.extend(number(name));
            entries = rest;
        }
    }
}

fn read_entries(directory: &OwnedFd, buffer: &mut [u8; BUFFER]) -> nix::Result<usize> {
    // SAFETY: the kernel writes at most as many bytes as the buffer has, which outlives the
    // call.
    let length = checked(unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            directory.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    })?;
    Ok(usize::try_from(length).unwrap_or_default())
}

/// The name of the first entry, with what follows it up to the next, and the other entries.
fn split_entry(entries: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = entries.get(LENGTH_AT..LENGTH_AT + 2)?.try_into().ok()?;
    let length = usize::from(u16::from_ne_bytes(length));
    let name = entries.get(NAME_AT..length)?;
    Some((name, entries.get(length..)?))
}

/// The number that a name is, up to its null byte.
fn number(name: &[u8]) -> Option<i32> {
    let name = name.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nix::errno::Errno;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_numbers_in_a_directory_are_found_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("supervise-list-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        // More than fit into the buffer.
        for name in (1..=500).map(|n: i32| n.to_string()) {
            std::fs::write(folder.join(name), "").unwrap();
        }
        for name in ["self", "12x", "99999999999"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let found = numbers_in(folder.to_str().unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
        let found: BTreeSet<i32> = found.unwrap().into_iter().collect();
        assert_eq!(found, (1..=500).collect());
        let missing = numbers_in(folder.to_str().unwrap());
        assert_eq!(missing, Err(Errno::ENOENT));
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut entries = bytes.as_slice();
            while let Some((name, rest)) = split_entry(entries) {
                let _ = number(name);
                prop_assert!(rest.len() < entries.len());
                entries = rest;
            }
        }
    }
}
