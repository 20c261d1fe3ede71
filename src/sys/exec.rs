//! Executes the command, looked up as execvp(3) does, and explains why the kernel refuses it.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::ptr;

use nix::errno::Errno;

use super::environment;
use super::executable::{Kind, OWN_MACHINE, SAMPLE, machine_name};
use crate::ending::{NOT_EXECUTABLE, NOT_FOUND};

/// The value of PATH that execvp(3) uses if it is not set.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The shell that runs a script without a `#!` line, as in execvp(3).
const SHELL: &CStr = c"/bin/sh";

/// Why the command could not be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecError {
    /// The exit status: 126 or 127; 125 if the command was not looked for.
    pub(crate) status: u8,
    /// One line, without the prefix of the log.
    pub(crate) text: String,
}

/// Replaces this process by the command (`execve(2)`). Returns only on failure. `shown`: the
/// text that stands for the command in messages, if it and its path may be secret.
pub(super) fn exec(arguments: &[CString], shown: Option<&str>) -> ExecError {
    let Some(name) = arguments.first() else {
        return ExecError {
            status: NOT_FOUND,
            text: "no command".to_owned(),
        };
    };
    let searched = !name.to_bytes().contains(&b'/');
    let path = searched.then(|| std::env::var_os("PATH")).flatten();
    let mut refused = None;
    for path in candidates(name, path.as_deref()) {
        match try_one(&path, arguments) {
            // It does not exist, or a folder of PATH is not searchable: try the next one.
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT
                if !exists(&path) => {}
            Errno::EACCES | Errno::ENAMETOOLONG if searched && !exists(&path) => {}
            errno @ (Errno::EACCES | Errno::ENOENT) => {
                refused.get_or_insert((path, errno));
            }
            errno => return explain(name, shown, &path, errno),
        }
    }
    match refused {
        Some((path, errno)) => explain(name, shown, &path, errno),
        None => not_found(arguments, name, shown),
    }
}

/// The files that a name can refer to with this value of PATH, in the order in which they
/// are tried.
pub(crate) fn candidates(name: &CStr, path: Option<&OsStr>) -> Vec<CString> {
    let name = name.to_bytes();
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains(&b'/') {
        return CString::new(name).into_iter().collect();
    }
    let path = path.map_or(DEFAULT_PATH, OsStr::as_bytes);
    path.split(|b| *b == b':')
        .filter_map(|folder| {
            // An empty entry is the working directory.
            let folder = if folder.is_empty() { b"." } else { folder };
            CString::new([folder, b"/", name].concat()).ok()
        })
        .collect()
}

fn try_one(path: &CStr, arguments: &[CString]) -> Errno {
    let Err(errno) = execve(path, arguments.iter().map(CString::as_c_str));
    // The shell runs a text file without `#!`, as in execvp(3), but no program for another
    // machine, which execvp(3) would have it run as well.
    if errno == Errno::ENOEXEC && kind_of(path) == Some(Kind::Text) {
        let rest = arguments.iter().skip(1).map(CString::as_c_str);
        let Err(_) = execve(SHELL, [SHELL, path].into_iter().chain(rest));
    }
    errno
}

/// Calls `execve(2)` with the current environment.
fn execve<'a>(path: &CStr, arguments: impl Iterator<Item = &'a CStr>) -> nix::Result<Infallible> {
    let mut pointers: Vec<*const libc::c_char> = arguments.map(CStr::as_ptr).collect();
    pointers.push(ptr::null());
    // SAFETY: `path` and all elements of `pointers` except the closing null are C strings
    // that outlive the call. So are those of the environment, because no other thread
    // could change it.
    unsafe { libc::execve(path.as_ptr(), pointers.as_ptr(), environment::all()) };
    Err(Errno::last())
}

fn as_path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

fn exists(path: &CStr) -> bool {
    as_path(path).exists()
}

fn kind_of(path: &CStr) -> Option<Kind> {
    let file = std::fs::File::open(as_path(path)).ok()?;
    let mut sample = Vec::with_capacity(SAMPLE);
    file.take(SAMPLE as u64).read_to_end(&mut sample).ok()?;
    Some(Kind::of(&sample))
}

fn not_found(arguments: &[CString], name: &CStr, shown: Option<&str>) -> ExecError {
    let bytes = name.to_bytes();
    let shown = shown.map_or(bytes, str::as_bytes);
    let slash = bytes.contains(&b'/');
    let text = if bytes.is_empty() {
        "the command is empty; give the name of a program".to_owned()
    } else {
        let why = if slash {
            "no such file or directory"
        } else {
            "not found in PATH"
        };
        let here = [b"./", bytes].concat();
        let advice = if arguments.len() == 1 && bytes.iter().any(u8::is_ascii_whitespace) {
            "; it contains a space: split it into the program and its arguments".to_owned()
        } else if slash {
            String::new()
        } else if Path::new(OsStr::from_bytes(&here)).is_file() {
            let here = [b"./", shown].concat();
            format!("; it is in the working directory: use {}", quoted(&here))
        } else {
            "; install it or give its full path".to_owned()
        };
        format!("cannot run {}: {why}{advice}", quoted(shown))
    };
    ExecError {
        status: NOT_FOUND,
        text,
    }
}

fn explain(name: &CStr, shown: Option<&str>, path: &CStr, errno: Errno) -> ExecError {
    // As in env(1), timeout(1) and the shells: 127 if execve(2) fails with ENOENT.
    let status = if errno == Errno::ENOENT {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    };
    let why = match errno {
        Errno::ENOENT => missing_part(path),
        Errno::EACCES => no_access(path),
        Errno::ENOEXEC => wrong_format(path),
        Errno::E2BIG => {
            "its arguments and environment are too long for the kernel; shorten them".to_owned()
        }
        Errno::ETXTBSY => "it is open for writing; close it first".to_owned(),
        Errno::EAGAIN => {
            "the limit on processes of its user is reached; raise it (ulimit -u)".to_owned()
        }
        Errno::ELOOP => "too many symbolic links in its path".to_owned(),
        other => other.desc().to_owned(),
    };
    let shown = if let Some(shown) = shown {
        quoted(shown.as_bytes())
    } else if name.to_bytes() == path.to_bytes() {
        quoted(name.to_bytes())
    } else {
        format!("{} ({})", quoted(name.to_bytes()), quoted(path.to_bytes()))
    };
    ExecError {
        status,
        text: format!("cannot run {shown}: {why}"),
    }
}

/// Explains ENOENT for a file that exists: something that it needs does not.
fn missing_part(path: &CStr) -> String {
    match kind_of(path) {
        Some(Kind::Script { interpreter }) if interpreter.ends_with(b"\r") => format!(
            "its #! line ends in a carriage return, so its interpreter would be {}; convert its \
             line endings from CRLF to LF",
            quoted(&interpreter)
        ),
        Some(Kind::Script { interpreter })
            if Path::new(OsStr::from_bytes(&interpreter)).exists() =>
        {
            format!(
                "a file that its interpreter {} needs does not exist",
                quoted(&interpreter)
            )
        }
        Some(Kind::Script { interpreter }) => format!(
            "its interpreter {} does not exist; install it or fix the #! line",
            quoted(&interpreter)
        ),
        Some(Kind::Elf {
            loader: Some(loader),
            ..
        }) => format!(
            "its loader {} does not exist; use a static build or an image with that C library",
            quoted(&loader)
        ),
        _ => "a file that it needs does not exist".to_owned(),
    }
}

fn no_access(path: &CStr) -> String {
    let Ok(meta) = as_path(path).metadata() else {
        return "permission denied in a directory of its path".to_owned();
    };
    if meta.is_dir() {
        return "it is a directory; give the name of a program".to_owned();
    }
    if !meta.is_file() {
        return "it is not a regular file".to_owned();
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return "it is not executable; use chmod +x".to_owned();
    }
    if let Some(Kind::Script { interpreter }) = kind_of(path) {
        let interpreter_path = PathBuf::from(OsStr::from_bytes(&interpreter));
        if interpreter_path
            .metadata()
            .is_ok_and(|meta| meta.permissions().mode() & 0o111 == 0)
        {
            return format!("its interpreter {} is not executable", quoted(&interpreter));
        }
    }
    "permission denied; make it executable for this user, on a filesystem that is not mounted noexec"
        .to_owned()
}

fn wrong_format(path: &CStr) -> String {
    match kind_of(path) {
        Some(Kind::Elf { machine, .. }) if machine != OWN_MACHINE => format!(
            "it was built for {}, but this machine is {own}; use a build for {own}",
            machine_name(machine),
            own = machine_name(OWN_MACHINE)
        ),
        Some(Kind::Elf { .. }) => "it is a damaged executable".to_owned(),
        Some(Kind::Script { interpreter }) if interpreter.is_empty() => {
            "its #! line names no interpreter".to_owned()
        }
        Some(Kind::Text) => {
            "it has no #! line, and /bin/sh does not exist; add a #! line".to_owned()
        }
        _ => "it is neither an executable for this machine nor a script".to_owned(),
    }
}

/// Quotes a name, with characters that are not printable escaped.
pub(super) fn quoted(name: &[u8]) -> String {
    format!("'{}'", String::from_utf8_lossy(name).escape_debug())
}
