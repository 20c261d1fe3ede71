//! Which user ids exist in our user namespace (`user_namespaces(7)`).

/// The user ids that exist in our user namespace, as /proc shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownUids {
    /// The one that stands for all ids that are not mapped.
    overflow: u32,
    /// First and number of each range of mapped ids; `None`: all are mapped.
    mapped: Option<Vec<(u32, u32)>>,
}

impl KnownUids {
    /// Reads them.
    pub(crate) fn read() -> Self {
        let overflow = std::fs::read("/proc/sys/kernel/overflowuid")
            .ok()
            .and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
        // Without the file there are no user namespaces.
        let mapped = std::fs::read("/proc/self/uid_map")
            .ok()
            .map(|map| parse_uid_map(&map));
        Self {
            overflow: overflow.unwrap_or(65534),
            mapped,
        }
    }

    /// Whether our user namespace has this user id. That includes the overflow id if it is
    /// mapped, although it may then also stand for other users.
    pub(crate) fn is_mapped(&self, uid: u32) -> bool {
        let is_in = |(first, count): &(u32, u32)| uid.wrapping_sub(*first) < *count;
        uid != u32::MAX && self.mapped.as_ref().is_none_or(|map| map.iter().any(is_in))
    }

    /// Whether this id belongs to one user, so that a process can take it on. The overflow
    /// id does so only if all ids are mapped.
    pub(crate) fn is_one_user(&self, uid: u32) -> bool {
        self.is_mapped(uid) && (uid != self.overflow || self.are_all_mapped())
    }

    fn are_all_mapped(&self) -> bool {
        self.mapped
            .as_ref()
            .is_none_or(|map| map.contains(&(0, u32::MAX)))
    }
}

/// Parses lines of three numbers: the first id inside, the first id outside, their number
/// (`user_namespaces(7)`).
fn parse_uid_map(map: &[u8]) -> Vec<(u32, u32)> {
    let lines = map.split(|b| *b == b'\n').filter_map(|line| {
        let mut numbers = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let first = numbers.next()?.parse().ok()?;
        let count = numbers.nth(1)?.parse().ok()?;
        Some((first, count))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_ids_are_distinguished_from_others() {
        let map =
            parse_uid_map(b"         0       1000          1\n      1000     100000        500\n");
        assert_eq!(map, [(0, 1), (1000, 500)]);
        let known = KnownUids {
            overflow: 1100,
            mapped: Some(map),
        };
        let that = |holds: &dyn Fn(u32) -> bool| {
            let uids = [0, 1, 999, 1000, 1100, 1499, 1500, u32::MAX];
            uids.into_iter()
                .filter(|uid| holds(*uid))
                .collect::<Vec<_>>()
        };
        assert_eq!(that(&|uid| known.is_mapped(uid)), [0, 1000, 1100, 1499]);
        assert_eq!(that(&|uid| known.is_one_user(uid)), [0, 1000, 1499]);
        // The map of a system without user namespaces, and no map.
        let whole = parse_uid_map(b"         0          0 4294967295\n");
        for mapped in [Some(whole), None] {
            let known = KnownUids {
                overflow: 65534,
                mapped,
            };
            assert!(known.is_one_user(1) && known.is_one_user(65534));
            assert!(!known.is_one_user(u32::MAX) && !known.is_mapped(u32::MAX));
        }
        let known = KnownUids {
            overflow: 65534,
            mapped: Some(Vec::new()),
        };
        assert!(!known.is_mapped(0));
    }
}
