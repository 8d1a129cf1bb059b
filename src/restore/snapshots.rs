//! The operator's own snapshots, and incremental backups: the last copy of something, perhaps. They follow the
//! table that they were taken of, and outlive the data that they lie with.

use anyhow::Result;

use super::swap::Swap;
use crate::dir::{Dir, Kind};
use crate::durable;

/// What Cassandra keeps in a table's directory besides its live files.
const KEPT: [&str; 2] = ["snapshots", "backups"];

impl Swap {
    /// Moves the snapshots in a level to the live tables of the same name and id, and gives those that have none,
    /// or whose name is taken there, as `ks1.users-…/snapshots/tag`. May be done twice.
    pub fn carry_snapshots(&self, level: &str) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for site in self.data() {
            let Some(aside) = site.work.dir_if_there(level)? else { continue };
            each_table(&aside, &mut |keyspace, table, dir| {
                let live = find(&site.live, keyspace)?.map(|dir| find(&dir, table)).transpose()?.flatten();
                for kept in KEPT {
                    let Some(from) = find(dir, kept)? else { continue };
                    for name in carry(&from, live.as_ref(), kept)? {
                        left.push(format!("{keyspace}.{table}/{kept}/{name}"));
                    }
                }
                Ok(())
            })?;
        }
        Ok(left)
    }

    /// Removes a level for good, all but the snapshots in it.
    pub fn remove_but_snapshots(&self, level: &str) -> Result<()> {
        for site in self.data() {
            let Some(aside) = site.work.dir_if_there(level)? else { continue };
            for entry in aside.entries()? {
                if entry.kind != Kind::Directory || !strip(&aside.dir(&entry.name)?, 1)? {
                    aside.remove_tree(&entry.name)?;
                }
            }
            aside.sync()?;
            if aside.entries()?.is_empty() {
                durable::remove(&site.work, level)?;
            }
        }
        self.others().iter().try_for_each(|site| durable::remove(&site.work, level))
    }
}

/// Whether a level holds more than snapshots.
pub fn holds_more(aside: &Dir) -> Result<bool> {
    let mut more = false;
    each_table(aside, &mut |_, _, dir| {
        more |= dir.entries()?.iter().any(|entry| !KEPT.contains(&entry.name.as_str()));
        Ok(())
    })?;
    Ok(more)
}

fn each_table(level: &Dir, act: &mut dyn FnMut(&str, &str, &Dir) -> Result<()>) -> Result<()> {
    for keyspace in level.dir_names()? {
        let dir = level.dir(&keyspace)?;
        for table in dir.dir_names()? {
            act(&keyspace, &table, &dir.dir(&table)?)?;
        }
    }
    Ok(())
}

/// A directory of this name; whatever else has it is none.
fn find(dir: &Dir, name: &str) -> Result<Option<Dir>> {
    let is_there = dir.dir_names()?.iter().any(|entry| entry == name);
    if is_there { dir.dir_if_there(name) } else { Ok(None) }
}

/// The names that could not be moved.
fn carry(from: &Dir, live: Option<&Dir>, kept: &str) -> Result<Vec<String>> {
    let names: Vec<String> = from.entries()?.into_iter().map(|entry| entry.name).collect();
    let Some(live) = live.filter(|_| !names.is_empty()) else { return Ok(names) };
    let to = match find(live, kept)? {
        Some(there) => there,
        None => live.make_new_dir(kept, 0o700)?,
    };
    if to.entries()?.is_empty() {
        // New, or made by a run that died before it had given it away.
        let stat = from.own_stat()?;
        to.set_owner(stat.st_uid, stat.st_gid)?;
        to.set_mode(stat.st_mode & 0o7777)?;
        live.sync()?;
    }
    let mut left = Vec::new();
    for name in names {
        match to.stat(&name)? {
            None => durable::rename(from, &name, &to, &name)?,
            Some(_) => left.push(name),
        }
    }
    to.sync()?;
    from.sync()?;
    Ok(left)
}

/// Removes what is below a directory that is so many levels above a table's, all but snapshots; whether some are
/// left.
fn strip(dir: &Dir, levels: usize) -> Result<bool> {
    let mut holds = false;
    for entry in dir.entries()? {
        let is_kept = entry.kind == Kind::Directory
            && match levels {
                0 => KEPT.contains(&entry.name.as_str()) && !dir.dir(&entry.name)?.entries()?.is_empty(),
                _ => strip(&dir.dir(&entry.name)?, levels - 1)?,
            };
        match is_kept {
            true => holds = true,
            false => dir.remove_tree(&entry.name)?,
        }
    }
    dir.sync()?;
    Ok(holds)
}
