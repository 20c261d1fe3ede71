//! The user that a service becomes. /etc/passwd and /etc/group are read here, because a static
//! program has no other service of names.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::findings::quoted;

/// The highest ID: the kernel takes higher ones, and some programs take them for negative.
const HIGHEST: u32 = i32::MAX.cast_unsigned();

/// A user as a file names it: by name or number, with or without a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    id: Id,
    group: Option<Id>,
    /// Its text in the file, for messages.
    pub(crate) shown: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Id {
    Number(u32),
    Name(Vec<u8>),
}

/// What a process of a user is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// The user ID.
    pub(crate) uid: u32,
    /// The group ID.
    pub(crate) gid: u32,
    /// All groups: that one, and the supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// The values of USER and LOGNAME; `None` if the ID has no name, and they must not be
    /// those of another user.
    pub(crate) name: Option<OsString>,
    /// The value of HOME.
    pub(crate) home: OsString,
}

impl User {
    /// Reads `USER` or `USER:GROUP`, each a name or a number. `shown` is the text of the
    /// file.
    pub(crate) fn parse(text: &[u8], shown: &str) -> Result<Self, String> {
        let mut parts = text.splitn(2, |b| *b == b':');
        let user = id(parts.next().unwrap_or_default(), shown)?;
        let group = parts.next().map(|group| id(group, shown)).transpose()?;
        Ok(Self {
            id: user,
            group,
            shown: shown.to_owned(),
        })
    }

    /// Looks the user up in /etc/passwd and /etc/group below `root`, which may have changed
    /// since the last time.
    ///
    /// # Errors
    /// One line that names the user by the text of the file.
    pub(crate) fn resolve(&self, root: &Path) -> Result<Account, String> {
        let shown = quoted(&self.shown);
        let users = read(root, "etc/passwd").map_err(|why| format!("user {shown}: {why}"))?;
        let entry = lines(&users).find_map(|fields| Entry::of(&fields, &self.id));
        let gid = match (&self.group, &entry) {
            (Some(Id::Number(gid)), _) => *gid,
            (Some(Id::Name(name)), _) => self.group_of_name(root, name)?,
            (None, Some(entry)) => entry.gid,
            (None, None) => {
                return Err(match self.id {
                    Id::Number(_) => format!(
                        "user {shown} is not in /etc/passwd and has no group; add one, as in \
                         \"4242:4242\""
                    ),
                    Id::Name(_) => unknown_user(&shown),
                });
            }
        };
        let uid = match (&self.id, &entry) {
            (Id::Number(uid), _) => *uid,
            (Id::Name(_), Some(entry)) => entry.uid,
            (Id::Name(_), None) => return Err(unknown_user(&shown)),
        };
        if uid > HIGHEST || gid > HIGHEST {
            return Err(format!(
                "user {shown} has an ID above {HIGHEST} in /etc/passwd or /etc/group; use a lower \
                 one"
            ));
        }
        let mut groups = vec![gid];
        if let (None, Some(entry)) = (&self.group, &entry) {
            let others = supplementary(root, entry.name);
            for group in others.map_err(|why| format!("user {shown}: {why}"))? {
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
        }
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Ok(Account {
            uid,
            gid,
            groups,
            name: entry.as_ref().map(|entry| text(entry.name)),
            home: match &entry {
                Some(entry) if !entry.home.is_empty() => text(entry.home),
                _ => text(b"/"),
            },
        })
    }

    fn group_of_name(&self, root: &Path, name: &[u8]) -> Result<u32, String> {
        let shown = quoted(&self.shown);
        let groups = read(root, "etc/group").map_err(|why| format!("user {shown}: {why}"))?;
        let gid = lines(&groups).find_map(|fields| match &fields[..] {
            [known, _, gid, ..] if *known == name => number(gid),
            _ => None,
        });
        gid.ok_or_else(|| {
            format!("the group of user {shown} is not in /etc/group; add it, or use a number")
        })
    }
}

fn unknown_user(shown: &str) -> String {
    format!("user {shown} is not in /etc/passwd; add it, or use numbers, as in \"4242:4242\"")
}

/// Reads a name or a number of a file.
fn id(text: &[u8], shown: &str) -> Result<Id, String> {
    let shown = quoted(shown);
    if text.is_empty() {
        return Err(format!(
            "user {shown} has an empty part; write NAME, NAME:GROUP or numbers"
        ));
    }
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+"));
    let digits = digits.unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Ok(Id::Name(text.to_vec()));
    }
    match number(text) {
        Some(number) if number <= HIGHEST => Ok(Id::Number(number)),
        _ => Err(format!(
            "user {shown} has a number that is not an ID; use one from 0 to {HIGHEST}"
        )),
    }
}

/// A number of decimal digits.
fn number(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// An entry of /etc/passwd (passwd(5)).
struct Entry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entry of these fields, if it is that of this user.
    fn of(fields: &[&'a [u8]], user: &Id) -> Option<Self> {
        let [name, _, uid, gid, _, home, ..] = *fields else {
            return None;
        };
        let entry = Self {
            name,
            uid: number(uid)?,
            gid: number(gid)?,
            home,
        };
        let is_it = match user {
            Id::Number(uid) => entry.uid == *uid,
            Id::Name(name) => entry.name == name,
        };
        is_it.then_some(entry)
    }
}

/// The groups that have this user as a member.
fn supplementary(root: &Path, name: &[u8]) -> Result<Vec<u32>, String> {
    let groups = read(root, "etc/group")?;
    let of_name = |fields: Vec<&[u8]>| match fields[..] {
        [_, _, gid, members, ..] if members.split(|b| *b == b',').any(|member| member == name) => {
            number(gid).filter(|gid| *gid <= HIGHEST)
        }
        _ => None,
    };
    Ok(lines(&groups).filter_map(of_name).collect())
}

/// The lines of such a file, each as its fields.
fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let lines = file.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end);
    lines.map(|line| line.split(|b| *b == b':').collect())
}

/// Reads such a file. An image without it has no names.
fn read(root: &Path, name: &str) -> Result<Vec<u8>, String> {
    match std::fs::read(root.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!(
            "cannot read /{name}: {}; make it readable",
            super::files::reason(&error)
        )),
        Ok(contents) => Ok(contents),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Testing;
    use super::*;

    fn user(text: &str) -> User {
        User::parse(text.as_bytes(), "shown").unwrap()
    }

    #[test]
    fn users_are_looked_up_as_docker_does() {
        let testing = Testing::new();
        for (text, uid, gid, groups, name, home) in [
            ("root", 0, 0, &[0][..], Some("root"), "/root"),
            ("0", 0, 0, &[0], Some("root"), "/root"),
            ("www", 33, 34, &[34, 50, 60], Some("www"), "/var/www"),
            ("33", 33, 34, &[34, 50, 60], Some("www"), "/var/www"),
            ("www:ssl", 33, 50, &[50], Some("www"), "/var/www"),
            ("www:34", 33, 34, &[34], Some("www"), "/var/www"),
            ("33:99", 33, 99, &[99], Some("www"), "/var/www"),
            ("4242:4242", 4242, 4242, &[4242], None, "/"),
            ("4242:ssl", 4242, 50, &[50], None, "/"),
            ("bare", 35, 35, &[35], Some("bare"), "/"),
            ("own", 36, 36, &[36], Some("own"), "/"),
            (
                "2147483647:2147483647",
                2_147_483_647,
                2_147_483_647,
                &[2_147_483_647],
                None,
                "/",
            ),
        ] {
            let account = Account {
                uid,
                gid,
                groups: groups.to_vec(),
                name: name.map(OsString::from),
                home: home.into(),
            };
            assert_eq!(
                user(text).resolve(&testing.world.root),
                Ok(account),
                "{text}"
            );
        }
    }

    #[test]
    fn an_unknown_user_is_refused_by_the_text_of_the_file() {
        let testing = Testing::new();
        for (text, why) in [
            ("nobody", "is not in /etc/passwd; add it"),
            ("broken", "is not in /etc/passwd; add it"),
            ("homeless", "is not in /etc/passwd; add it"),
            ("4242", "has no group"),
            ("www:nobody", "is not in /etc/group"),
            ("high:34", "has an ID above"),
            ("www:high", "has an ID above"),
        ] {
            let error = user(text).resolve(&testing.world.root).unwrap_err();
            assert!(
                error.contains(why) && error.contains("'shown'"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn files_are_read_anew_and_may_be_absent() {
        let testing = Testing::new();
        let root = &testing.world.root;
        let new = user("new:team");
        assert!(new.resolve(root).is_err());
        testing.file("etc/passwd", "new:x:70:71::/new:/bin/sh\n", 0o644);
        testing.file("etc/group", "team:x:72:\n", 0o644);
        assert_eq!(new.resolve(root).map(|it| (it.uid, it.gid)), Ok((70, 72)));
        std::fs::remove_file(testing.path("etc/passwd")).unwrap();
        assert!(
            new.resolve(root)
                .unwrap_err()
                .contains("is not in /etc/passwd")
        );
        assert_eq!(user("5:6").resolve(root).map(|it| it.uid), Ok(5));
        testing.file("etc/passwd/x", "", 0o644);
        let error = new.resolve(root).unwrap_err();
        assert_eq!(
            error,
            "user 'shown': cannot read /etc/passwd: Is a directory; make it readable"
        );
        std::fs::remove_dir_all(testing.path("etc/passwd")).unwrap();
        testing.file("etc/passwd", "new:x:70:71::/new:/bin/sh\n", 0o644);
        std::fs::remove_file(testing.path("etc/group")).unwrap();
        assert_eq!(user("new").resolve(root).map(|it| it.groups), Ok(vec![71]));
        testing.file("etc/group/x", "", 0o644);
        assert!(
            user("new")
                .resolve(root)
                .unwrap_err()
                .contains("cannot read /etc/group")
        );
        assert!(
            new.resolve(root)
                .unwrap_err()
                .contains("cannot read /etc/group")
        );
    }

    #[test]
    fn names_and_numbers_are_told_apart() {
        assert_eq!(id(b"www", ""), Ok(Id::Name(b"www".to_vec())));
        assert_eq!(id(b"9a", ""), Ok(Id::Name(b"9a".to_vec())));
        assert_eq!(id(b"-a", ""), Ok(Id::Name(b"-a".to_vec())));
        assert_eq!(id(b"-", ""), Ok(Id::Name(b"-".to_vec())));
        assert_eq!(id(b"007", ""), Ok(Id::Number(7)));
        assert_eq!(id(b"2147483647", ""), Ok(Id::Number(HIGHEST)));
        for text in ["-1", "+1", "2147483648", "4294967295", "4294967296", ""] {
            assert!(id(text.as_bytes(), "").is_err(), "{text}");
        }
    }
}
