//! The layout of `src`: each room uses only rooms below it, and no files use each other
//! in a circle. Read from the text of the files, their unit tests left out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms, from the top. Those of one floor do not know each other.
const FLOORS: [&[&str]; 7] = [
    &["main"],
    &["run"],
    &["tell", "processes", "cli"],
    &["settings"],
    &["sys", "decide"],
    &["ending"],
    &["signal"],
];

/// A file by the path of its module: `["run", "relay"]`; a room's `mod.rs` is the room.
type Module = Vec<String>;

/// The program's part of every file, without comments.
fn sources() -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![(Path::new("src").to_owned(), Module::new())];
    while let Some((folder, module)) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mut module = module.clone();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if stem != "mod" {
                module.push(stem.to_owned());
            }
            if path.is_dir() {
                folders.push((path, module));
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            // Unit tests stand last in a file, or in one of their own.
            let program = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = program.lines().map(|line| match line.find("//") {
                Some(comment) => &line[..comment],
                None => line,
            });
            found.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
    }
    found
}

/// Every path in `text` that begins with `crate::` or `super::`, groups in braces
/// spelled out.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            expand(&text[at..], Vec::new(), &mut found);
        }
    }
    found
}

/// Reads one path at the beginning of `text`, which follows `prefix`; returns the rest.
fn expand<'a>(text: &'a str, mut prefix: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let mut text = text.trim_start();
    loop {
        let end = text
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(text.len());
        if end > 0 {
            prefix.push(text[..end].to_owned());
        }
        text = &text[end..];
        let Some(rest) = text.strip_prefix("::") else {
            found.push(prefix);
            return text;
        };
        text = rest;
        if let Some(group) = text.strip_prefix('{') {
            text = group;
            loop {
                text = expand(text, prefix.clone(), found).trim_start();
                match text.strip_prefix(',') {
                    Some(rest) if rest.trim_start().starts_with('}') => {
                        text = rest.trim_start();
                    }
                    Some(rest) => {
                        text = rest;
                        continue;
                    }
                    None => {}
                }
                return text.strip_prefix('}').unwrap_or(text);
            }
        }
    }
}

/// Which files a file uses.
fn arrows() -> BTreeSet<(Module, Module)> {
    let sources = sources();
    let mut arrows = BTreeSet::new();
    for (from, text) in &sources {
        for path in paths(text) {
            let mut at = from.clone();
            for word in path {
                match word.as_str() {
                    "crate" => at.clear(),
                    "super" => drop(at.pop()),
                    _ => at.push(word),
                }
            }
            // An item of a file: its file is the longest module on the way.
            while !at.is_empty() && !sources.contains_key(&at) {
                at.pop();
            }
            if !at.is_empty() && at != *from {
                arrows.insert((from.clone(), at));
            }
        }
    }
    arrows
}

fn floor(module: &Module) -> usize {
    let room = module.first().unwrap().as_str();
    FLOORS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("src/{room} is not among the rooms of this test"))
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let arrows = arrows();
    assert!(arrows.len() > 50, "only {arrows:?}");
    for (from, to) in arrows {
        if from.first() != to.first() {
            let (above, below) = (floor(&from), floor(&to));
            assert!(above < below, "{} uses {}", from.join("::"), to.join("::"));
        }
    }
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    // A room's own `mod.rs` declares its files, which use what it offers to all.
    let mut uses = BTreeMap::<Module, BTreeSet<Module>>::new();
    for (from, to) in arrows() {
        uses.entry(from).or_default().insert(to);
    }
    let names: Vec<_> = uses.keys().cloned().collect();
    for start in names {
        let mut seen = BTreeSet::new();
        let mut to_visit = vec![start.clone()];
        while let Some(at) = to_visit.pop() {
            for next in uses.get(&at).into_iter().flatten() {
                assert_ne!(*next, start, "{} uses itself", start.join("::"));
                if seen.insert(next.clone()) {
                    to_visit.push(next.clone());
                }
            }
        }
    }
}

#[test]
fn paths_are_read() {
    let text = "use crate::a::{self, b::{C, d}, e};\nlet x = super::f::g(); mycrate::h";
    let read: Vec<String> = paths(text).iter().map(|path| path.join("::")).collect();
    assert_eq!(
        read,
        [
            "crate::a::self",
            "crate::a::b::C",
            "crate::a::b::d",
            "crate::a::e",
            "super::f::g"
        ]
    );
}
