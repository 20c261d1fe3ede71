//! Which known name may have been meant by an unknown one.

/// Returns the known name that is nearest to an unknown one, if any is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // One that begins with a known name (GRACE_PERIOD) is near to it.
    let near = |known: &&str| {
        let distance = distance(name, known);
        let longest = name.len().max(known.len());
        name.starts_with(*known) || known.starts_with(name) || distance * 2 < longest
    };
    known.filter(near).min_by_key(|known| distance(name, known))
}

/// The number of characters to insert, remove or replace to turn one into the other.
fn distance(from: &str, to: &str) -> usize {
    // From the part of `from` that was read so far to each part of `to`.
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (before, a) in from.chars().enumerate() {
        let mut left = before + 1;
        let mut above_left = before;
        for (above, b) in row.iter_mut().skip(1).zip(to.chars()) {
            let replaced = above_left + usize::from(a != b);
            above_left = *above;
            left = replaced.min(left + 1).min(*above + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = before + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("grace", "grace", 0),
            ("graze", "grace", 1),
            ("gracce", "grace", 1),
            ("grac", "grace", 1),
            ("kitten", "sitting", 3),
            ("abc", "xyz", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }
}
