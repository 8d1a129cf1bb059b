//! Whether a node's data is still what a restore left: proven, or restored again.

use std::collections::HashMap;
use std::io::Read;

use anyhow::{Context, Result};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ansible::request::NodeAccess;
use crate::archive::reader::Archive;
use crate::archive::toc::{Chunk, Content, hex};
use crate::cassandra::data_files::{holds_users_data, live_files};
use crate::cassandra::node::Node;
use crate::cassandra::nodetool::Nodetool;
use crate::dir::{Dir, RelativePath};
use crate::docker::RunState;
use crate::error::tell;
use crate::interrupt;
use crate::restore::commit::difference;
use crate::restore::journal::Journal;
use crate::restore::swap::Swap;
use crate::task::blocking;

/// What a complete restore left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub schema_version: String,
    /// Of the names, sizes, times and inodes of all sstables of the users' keyspaces and `system_auth`.
    pub sstables: String,
    /// The same with the times of the last change, which are the kernel's: nobody can write to a file, or give it an
    /// older time, and leave that as it was.
    pub untouched: String,
}

type Files = Vec<(String, Stat)>;

impl Receipt {
    pub fn of(node: &Node, schema_version: String) -> Result<Receipt> {
        let files = live_files(&node.open_data()?, holds_users_data)?;
        Ok(Receipt {
            schema_version,
            sstables: fingerprint(&files, false),
            untouched: fingerprint(&files, true),
        })
    }
}

fn fingerprint(files: &Files, with_changes: bool) -> String {
    let mut sha256 = Sha256::new();
    for (path, stat) in files {
        let (written, changed) = ((stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec));
        let changed = with_changes.then_some(changed);
        sha256.update(format!("{path}\0{} {} {written:?} {changed:?}\n", stat.st_size, stat.st_ino));
    }
    hex(&sha256.finalize())
}

/// What stands against it that the node's data is still the archive's; `None`: nothing. Asks the node, its disks
/// and the journal of a complete restore; what cannot be found out stands against it.
pub async fn doubt(
    node: &Node,
    journal: &Journal,
    archive: Archive,
    access: &NodeAccess,
) -> Result<(Archive, Option<String>)> {
    let mut doubt = look(node, journal, &archive, access).await;
    let mut archive = archive;
    if let Ok(Doubt::Touched) = doubt {
        let roots = node.open_data()?;
        let (back, compared) = blocking(move || {
            let compared = compare(&roots, &archive);
            Ok((archive, compared))
        })
        .await?;
        (archive, doubt) = (back, compared.map(|why| why.map_or(Doubt::None, Doubt::Because)));
    }
    interrupt::check()?;
    let why = match doubt {
        Ok(Doubt::None | Doubt::Touched) => None,
        Ok(Doubt::Because(why)) => Some(why),
        Err(error) => Some(tell(&error).message),
    };
    Ok((archive, why))
}

enum Doubt {
    None,
    /// The files are the same, but something was done to them: a snapshot is a hard link of each.
    Touched,
    Because(String),
}

async fn look(node: &Node, journal: &Journal, archive: &Archive, access: &NodeAccess) -> Result<Doubt> {
    let because = |why: &str| Ok(Doubt::Because(why.to_owned()));
    let Some(receipt) = &journal.receipt else { return because("what the restore before left is not known") };
    if node.found.run_state != RunState::Running {
        return because("the node does not run, and cannot be asked");
    }
    // A journal that was copied from elsewhere, or another disk.
    Swap::find_mark(node, &[&journal.run_id])?;
    let nodetool = Nodetool::find(&node.container, access).await?;
    let identity = node.identity(&nodetool).await?;
    let stats = nodetool.table_stats(&identity.cassandra_version).await?;
    if let Some(difference) = difference(archive.manifest(), &identity, &stats.tables) {
        return Ok(Doubt::Because(difference));
    }
    if identity.schema_version != receipt.schema_version {
        return because("the schema was changed since the restore before");
    }
    if let Some((keyspace, table)) = stats.unflushed.iter().find(|(keyspace, _)| holds_users_data(keyspace)) {
        return because(&format!("`{keyspace}.{table}` was written to: its memtable holds data"));
    }
    let files = live_files(&node.open_data()?, holds_users_data)?;
    if fingerprint(&files, false) != receipt.sstables {
        return because("the sstables are not those that the restore before left");
    }
    Ok(if fingerprint(&files, true) == receipt.untouched { Doubt::None } else { Doubt::Touched })
}

/// Whether every live file is the archive's, byte for byte; the first that is not.
fn compare(roots: &[Dir], archive: &Archive) -> Result<Option<String>> {
    let entries = archive.toc().entries.iter().map(|entry| (entry.name.as_str(), &entry.content));
    let archived: HashMap<&str, &Content> = entries.collect();
    for (path, _) in live_files(roots, holds_users_data)? {
        let (root, below) = path.split_once('/').unwrap_or_default();
        let name = if roots.len() > 1 { format!("data-{path}") } else { below.to_owned() };
        let index: usize = root.parse().unwrap_or_default();
        let is_same = match archived.get(name.as_str()) {
            Some(Content::File { size, chunks }) => is_same(&roots[index], below, *size, chunks)?,
            _ => false,
        };
        if !is_same {
            return Ok(Some(format!("`{below}` is not the archive's")));
        }
    }
    Ok(None)
}

fn is_same(root: &Dir, path: &str, size: u64, chunks: &[Chunk]) -> Result<bool> {
    let path = RelativePath::parse(path)?;
    let parent = path.parent().context("a file of a table lies in its directory")?;
    let mut file = root.dir_at(&parent)?.file(path.file_name())?;
    let mut bytes = Vec::new();
    for chunk in chunks {
        interrupt::check()?;
        bytes.clear();
        (&mut file).take(chunk.size).read_to_end(&mut bytes)?;
        if Sha256::digest(&bytes)[..] != chunk.sha256 {
            return Ok(false);
        }
    }
    Ok(file.metadata()?.len() == size)
}
