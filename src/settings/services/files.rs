//! Reads the files that the command line names.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::Us;
use super::findings::{Findings, Source};

/// The most bytes of a file.
const LARGEST: u64 = 1 << 20;

/// Reads the files at these paths, and of a directory all `*.toml` in order of name. Returns
/// those that are texts.
pub(super) fn load(paths: &[PathBuf], us: &Us, findings: &mut Findings) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut may_be_written = None;
    for path in paths {
        let files = match list(path) {
            Ok(files) => files,
            Err(why) => {
                findings.error(None, format!("{}: {why}", path.display()));
                continue;
            }
        };
        for path in files {
            let name = path.display().to_string();
            match read(&path) {
                Ok((text, data)) => {
                    if may_be_written.is_none() && others_may_write(&data, us) {
                        may_be_written = Some(name.clone());
                    }
                    sources.push(Source { name, text });
                }
                Err(why) => findings.error(None, format!("{name}{why}")),
            }
        }
    }
    if let Some(name) = may_be_written {
        findings.warning(
            None,
            format!(
                "{name}: other users may write to this file, and supervise runs it as root; use \
                 chown root and chmod go-w"
            ),
        );
    }
    sources
}

/// The files that a path stands for: itself, or those of a directory.
fn list(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let cannot_read = |error: io::Error| {
        let why = reason(&error);
        format!("cannot read the directory: {why}; make it readable or name a file")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot_read)? {
        let name = entry.map_err(cannot_read)?.file_name();
        // As `*.toml` in a shell: an editor's files are hidden.
        if name.as_bytes().ends_with(b".toml") && !name.as_bytes().starts_with(b".") {
            let file = path.join(name);
            let at = files.partition_point(|other| *other < file);
            files.insert(at, file);
        }
    }
    if files.is_empty() {
        return Err("no *.toml in this directory; add one or name a file".to_owned());
    }
    Ok(files)
}

/// Reads a file. The error continues a line that begins with its name.
fn read(path: &Path) -> Result<(String, std::fs::Metadata), String> {
    let cannot_read = |error: io::Error| {
        let why = reason(&error);
        format!(": cannot read the file: {why}; correct the path or its permissions")
    };
    let file = File::open(path).map_err(cannot_read)?;
    let data = file.metadata().map_err(cannot_read)?;
    let mut contents = Vec::new();
    let mut limited = file.take(LARGEST + 1);
    limited.read_to_end(&mut contents).map_err(cannot_read)?;
    if contents.len() as u64 > LARGEST {
        return Err(": the file is larger than 1 MiB; is it one of services?".to_owned());
    }
    text(contents).map(|text| (text, data))
}

/// The text of a file, without a byte order mark.
fn text(contents: Vec<u8>) -> Result<String, String> {
    let mut text = String::from_utf8(contents).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let before = String::from_utf8_lossy(before);
        let line = before.split('\n').count();
        let last = before.rsplit('\n').next().unwrap_or_default();
        let column = 1 + last.chars().count();
        format!(":{line}:{column}: the text is not UTF-8; convert the file")
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// Why an operation on a file failed, in the words of the C library.
pub(super) fn reason(error: &io::Error) -> String {
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.map_or_else(|| error.to_string(), |errno| errno.desc().to_owned())
}

/// Whether another user could have us run anything as root.
fn others_may_write(data: &std::fs::Metadata, us: &Us) -> bool {
    let by_group = data.mode() & 0o020 != 0 && data.gid() != 0;
    let by_all = data.mode() & 0o002 != 0;
    us.uid == 0 && data.is_file() && (by_group || by_all || data.uid() != 0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Testing;
    use super::super::{Given, Purpose, read};
    use super::*;

    const SERVICE: &str = "grace = 5\n[services.NAME]\ncommand = ['app']\n";

    fn read_files(testing: &Testing, paths: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| testing.path(path)).collect();
        let read = read(&paths, &Given::default(), &testing.world, Purpose::Run);
        let root = testing.path("").display().to_string();
        let name = |service: &super::super::Service| service.name.clone();
        let without_root = |line: String| line.replace(&root, "");
        read.map(|services| services.list.iter().map(name).collect())
            .map_err(|lines| lines.into_iter().map(without_root).collect())
    }

    #[test]
    fn a_directory_stands_for_its_files_in_order_of_name() {
        let testing = Testing::new();
        for (path, name) in [
            ("d/b.toml", "b"),
            ("d/a.toml", "a"),
            ("d/.x.toml", "x"),
            ("d/y", "y"),
        ] {
            let text = SERVICE.replace("NAME", name);
            let text = if name == "a" {
                text
            } else {
                text.replace("grace = 5\n", "")
            };
            testing.file(path, &text, 0o644);
        }
        testing.file(
            "z",
            &SERVICE.replace("NAME", "z").replace("grace = 5\n", ""),
            0o644,
        );
        let names = |names: &[&str]| Ok(names.iter().map(ToString::to_string).collect());
        assert_eq!(read_files(&testing, &["d"]), names(&["a", "b"]));
        assert_eq!(read_files(&testing, &["z", "d"]), names(&["z", "a", "b"]));
        let twice = read_files(&testing, &["d", "d/b.toml"]).unwrap_err();
        let expected = "d/b.toml:1:11: service 'b' stands in two files, also at d/b.toml:1:11; \
                        rename or remove one of them";
        assert_eq!(twice, [expected]);
    }

    #[test]
    fn what_is_no_file_of_services_is_refused() {
        let testing = Testing::new();
        testing.file("bytes", "", 0o644);
        std::fs::write(testing.path("bytes"), b"a = 1\n\xc3\xa4 = \xff").unwrap();
        testing.file("large", &"#".repeat(1 << 20), 0o644);
        testing.file("too-large", &"#".repeat((1 << 20) + 1), 0o644);
        testing.file("d/x.toml/y", "", 0o644);
        for (path, expected) in [
            (
                "none",
                "none: cannot read the file: No such file or directory; correct the path or its permissions",
            ),
            (
                "bin",
                "bin: no *.toml in this directory; add one or name a file",
            ),
            (
                "d",
                "d/x.toml: cannot read the file: Is a directory; correct the path or its permissions",
            ),
            (
                "bytes",
                "bytes:2:5: the text is not UTF-8; convert the file",
            ),
            (
                "too-large",
                "too-large: the file is larger than 1 MiB; is it one of services?",
            ),
        ] {
            assert_eq!(
                read_files(&testing, &[path]),
                Err(vec![expected.to_owned()])
            );
        }
        let lines = read_files(&testing, &["large"]).unwrap_err();
        assert!(
            lines.iter().any(|line| line.contains("no services")),
            "{lines:?}"
        );
        // All of them at once, and what is wrong in the others.
        testing.file(
            "wrong",
            "[services.a]\ncommand = 5\ndepends_on = ['b']\n",
            0o644,
        );
        let lines = read_files(&testing, &["wrong", "bytes", "none"]).unwrap_err();
        assert_eq!(lines.len(), 3, "{lines:#?}");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let testing = Testing::new();
        testing.file(
            "f",
            &format!("\u{feff}x = 1\n{}", SERVICE.replace("NAME", "a")),
            0o644,
        );
        let lines = read_files(&testing, &["f"]).unwrap_err();
        assert!(lines[0].starts_with("f:1:1: unknown key 'x'"), "{lines:?}");
    }

    #[test]
    fn root_is_warned_of_a_file_that_others_may_write() {
        let testing = Testing::new();
        testing.file("f", &SERVICE.replace("NAME", "a"), 0o644);
        let warnings = |mode, us: &Us| {
            testing.mode("f", mode);
            let mut findings = Findings::default();
            load(&[testing.path("f")], us, &mut findings);
            findings.into_lines(&[]).unwrap().len()
        };
        let root = Us::default();
        let other = Us {
            uid: 5,
            ..Us::default()
        };
        let is_root = nix::unistd::geteuid().is_root();
        assert_eq!(warnings(0o644, &root), usize::from(!is_root), "the owner");
        assert_eq!(warnings(0o646, &root), 1, "all");
        assert_eq!(warnings(0o646, &other), 0);
        if is_root {
            assert_eq!(warnings(0o664, &root), 0, "the group of root");
            std::os::unix::fs::chown(testing.path("f"), None, Some(5)).unwrap();
            assert_eq!(warnings(0o664, &root), 1, "a group");
            assert_eq!(warnings(0o644, &root), 0);
            std::os::unix::fs::chown(testing.path("f"), Some(5), None).unwrap();
            assert_eq!(warnings(0o644, &root), 1, "the owner");
        }
    }
}
