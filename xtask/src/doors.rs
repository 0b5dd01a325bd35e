//! The doors inside the datapath process: which module may name which.
//!
//! A crate wall would stop a wrong `use` at once, but would cut the packet's way into a dozen
//! crates. Inside the one crate this table is the wall, and a test of it runs in `cargo xtask
//! check`. A room is a file or folder directly below `datapath/src`; it may name itself, the rooms
//! in its row, and other crates. Test modules may name anything: they build whole worlds.
//!
//! The check reads text, not types: a path `crate::room` outside comments counts, wherever it
//! stands. It cannot see what a room reaches through a re-export, so rooms do not re-export others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// One row per room: its name, what it may name, and why no more.
const DOORS: &[(&str, &[&str], &str)] = &[
    (
        "buffer",
        &["offload", "extract"],
        "memory of packets, and the plain values a packet carries along",
    ),
    (
        "offload",
        &["buffer", "counters"],
        "sums and cuts bytes; knows no tables and no ports",
    ),
    (
        "port",
        &["buffer", "offload", "counters"],
        "moves packets in and out; knows no keys, no tables and no other port",
    ),
    (
        "extract",
        &["buffer", "counters"],
        "reads headers; changes nothing and asks nobody",
    ),
    (
        "cache",
        &["pipeline", "action", "fdb", "neigh", "tick", "counters"],
        "remembers answers; never sees packets or a clock, only an answer and the versions it stands on",
    ),
    (
        "pipeline",
        &[
            "fdb",
            "neigh",
            "route",
            "conntrack",
            "tunnel",
            "tick",
            "counters",
        ],
        "decides from a key; never sees a packet and writes nothing, effects are returned",
    ),
    (
        "action",
        &[
            "buffer",
            "offload",
            "extract",
            "field",
            "conntrack",
            "tunnel",
            "tick",
            "counters",
        ],
        "does what was decided; never looks up and never decides",
    ),
    (
        "field",
        &["buffer", "offload", "extract"],
        "writes bytes of headers and keeps their sums; decides nothing",
    ),
    (
        "gateway",
        &["buffer", "offload", "neigh", "rate", "tick", "counters"],
        "answers packets meant for us; knows neither ports nor tables nor caches",
    ),
    (
        "fdb",
        &["tick", "counters"],
        "remembered state: knows no packets and no ports",
    ),
    (
        "neigh",
        &["buffer", "fdb", "rate", "tick"],
        "remembered state, and packets that wait for it; knows no tables and makes no packets",
    ),
    ("rate", &["tick"], "how often something may happen"),
    (
        "route",
        &[],
        "prefixes and their values: knows nothing of what they lead to",
    ),
    (
        "conntrack",
        &["buffer", "offload", "extract", "field", "tick", "counters"],
        "remembered state, and the bytes it is read from and written to; knows no tables and no ports",
    ),
    (
        "tunnel",
        &["buffer", "offload", "counters"],
        "headers of tunnels and the next hop of the underlay",
    ),
    ("tick", &[], "the switch's time as a value"),
    (
        "counters",
        &[],
        "numbers and reasons: everyone names it, it names nobody",
    ),
];

/// Plain values that every room may name, though they are defined in one.
const VALUES: &[&str] = &[
    "buffer::BATCH_LEN",
    "gateway::Trouble",
    "port::PortIndex",
    "port::PortCounters",
    "pipeline::CtAction",
    "pipeline::DpAction",
    "pipeline::Frozen",
    "pipeline::MAX_DEPTH",
    "pipeline::MeterEntry",
    "pipeline::Moment",
    "pipeline::Punt",
    "pipeline::Template",
    "pipeline::ToRouter",
    "pipeline::Verdict",
    "pipeline::remark",
];

/// Rooms that drive the others and so may name all of them.
const DRIVERS: &[&str] = &["worker", "control", "trace", "main", "lib"];

/// Checks every source file below `source`.
pub(crate) fn check(source: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(source, &mut files)?;
    let mut forbidden = Vec::new();
    let mut unknown = BTreeMap::new();
    for file in files {
        let shown = file.strip_prefix(source).unwrap_or(&file);
        let room = room_of(shown);
        if DRIVERS.contains(&room.as_str()) || in_tests(shown) {
            continue;
        }
        let Some((_, allowed, why)) = DOORS.iter().find(|row| row.0 == room) else {
            unknown.insert(room, shown.to_owned());
            continue;
        };
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        for (line, named) in named_rooms(&text) {
            if named != room && !allowed.contains(&named.as_str()) {
                forbidden.push(format!(
                    "{}:{line}: `{room}` may not name `{named}` ({why})",
                    shown.display()
                ));
            }
        }
    }
    ensure!(
        forbidden.is_empty(),
        "doors that do not exist:\n  {}",
        forbidden.join("\n  ")
    );
    ensure!(
        unknown.is_empty(),
        "rooms without a row in xtask/src/doors.rs: {}",
        unknown
            .iter()
            .map(|(room, file)| format!("{room} ({})", file.display()))
            .collect::<Vec<_>>()
            .join(", ")
    );
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// The room a file belongs to: its first folder, or its own stem.
fn room_of(relative: &Path) -> String {
    let first = relative.components().next();
    first
        .map(|c| Path::new(c.as_os_str()).with_extension(""))
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn in_tests(relative: &Path) -> bool {
    relative
        .components()
        .any(|c| Path::new(c.as_os_str()).with_extension("").as_os_str() == "tests")
}

/// The rooms that a file names, with line numbers, up to its test module.
fn named_rooms(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Inside `use crate::{` the names stand at depth one, on this line or the next ones.
    let mut group_depth = 0_usize;
    for (number, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let mut rest = line;
        if group_depth > 0 {
            rest = group(rest, &mut group_depth, &mut |name| {
                found.push((number + 1, name));
            });
        }
        while let Some((before, after)) = rest.split_once("crate::") {
            rest = after;
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            if let Some(inside) = after.strip_prefix('{') {
                group_depth = 1;
                rest = group(inside, &mut group_depth, &mut |name| {
                    found.push((number + 1, name));
                });
            } else if VALUES.iter().any(|value| starts_with_path(after, value)) {
                continue;
            } else if let Some(name) = leading_name(after) {
                found.push((number + 1, name));
            }
        }
    }
    found
}

/// Whether `text` begins with `path` and the last name ends there.
fn starts_with_path(text: &str, path: &str) -> bool {
    text.strip_prefix(path)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Reads on inside `use crate::{…}` and reports the names at its first level; returns what
/// follows the group.
fn group<'a>(text: &'a str, depth: &mut usize, report: &mut dyn FnMut(String)) -> &'a str {
    let mut at_start = true;
    for (index, c) in text.char_indices() {
        match c {
            '{' => *depth += 1,
            '}' => {
                *depth -= 1;
                if *depth == 0 {
                    return &text[index + 1..];
                }
            }
            ',' => at_start = true,
            c if c.is_whitespace() => {}
            _ => {
                if at_start
                    && *depth == 1
                    && let Some(name) = leading_name(&text[index..])
                {
                    report(name);
                }
                at_start = false;
            }
        }
    }
    ""
}

/// A module's name at the head of `text`. Types and macros of the crate root are no rooms.
fn leading_name(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
        .collect();
    let after = &text[name.len()..];
    let is_module = !name.is_empty() && name != "self" && !after.starts_with('!');
    is_module.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_every_form_of_path() {
        let text = "use crate::buffer::Batch;\n\
                    use crate::{\n    cache::{Emc, deep::Thing},\n    fdb,\n};\n\
                    fn f() { crate::pipeline::go(); } // crate::worker in a comment\n\
                    use vswitch_crate::other;\n\
                    use crate::port::PortIndex;\n\
                    use crate::{action, tunnel::Vxlan};\n\
                    #[cfg(test)]\nmod tests { use crate::worker; }\n";
        let names: Vec<_> = named_rooms(text).into_iter().map(|n| n.1).collect();
        assert_eq!(
            names,
            ["buffer", "cache", "fdb", "pipeline", "action", "tunnel"]
        );
    }

    #[test]
    fn a_forbidden_door_and_an_unknown_room_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let source = directory.path();
        std::fs::write(source.join("counters.rs"), "use crate::worker::Round;\n").expect("written");
        let refusal = check(source)
            .expect_err("counters names nobody")
            .to_string();
        assert!(refusal.contains("counters.rs:1"), "{refusal}");

        std::fs::write(source.join("counters.rs"), "").expect("written");
        std::fs::write(source.join("drawer.rs"), "").expect("written");
        let refusal = check(source).expect_err("no such room").to_string();
        assert!(refusal.contains("drawer"), "{refusal}");
    }

    #[test]
    fn every_row_names_rooms_that_have_a_row() {
        for (room, allowed, _) in DOORS {
            for name in *allowed {
                assert!(
                    DOORS.iter().any(|row| row.0 == *name),
                    "{room} may name {name}, which has no row"
                );
            }
        }
    }
}
