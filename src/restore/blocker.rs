//! A regular file named `system` where the keyspace's directory should be: no Cassandra starts on it.

use anyhow::Result;

use crate::dir::{Dir, Entry, Kind};
use crate::durable;

pub const SYSTEM: &str = "system";

pub fn is_blocker(entry: &Entry) -> bool {
    entry.name == SYSTEM && entry.kind == Kind::File
}

pub fn is_a_node(dir: &Dir) -> Result<bool> {
    if is_file(dir, SYSTEM)? {
        return Ok(false);
    }
    let Some(system) = dir.dir_if_there(SYSTEM)? else { return Ok(false) };
    Ok(system.dir_names()?.iter().any(|name| name.starts_with("local-")))
}

pub fn is_file(dir: &Dir, name: &str) -> Result<bool> {
    Ok(dir.stat(name)?.is_some_and(|stat| stat.st_mode & 0o170_000 == 0o100_000))
}

pub fn make_blocker(aside: &Dir, words: &str) -> Result<()> {
    if is_file(aside, SYSTEM)? {
        aside.remove_file(SYSTEM)?;
    }
    let file = aside.create_file(SYSTEM, 0o644)?;
    let path = aside.path_of(SYSTEM);
    durable::fill(&file, &path, words.as_bytes())?;
    durable::sync(&file, &path)
}
