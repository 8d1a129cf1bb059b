//! Whether a node's data is still what a restore left: proven, or restored again.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ansible::request::NodeAccess;
use crate::archive::manifest::Manifest;
use crate::archive::toc::hex;
use crate::cassandra::data_files::{holds_users_data, live_files};
use crate::cassandra::node::Node;
use crate::cassandra::nodetool::Nodetool;
use crate::docker::RunState;
use crate::error::tell;
use crate::interrupt;
use crate::restore::commit::difference;
use crate::restore::journal::Journal;
use crate::restore::swap::Swap;

/// What a complete restore left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub schema_version: String,
    /// Of the names, sizes, times and inodes of all sstables of the users' keyspaces and `system_auth`.
    pub sstables: String,
}

impl Receipt {
    pub fn of(node: &Node, schema_version: String) -> Result<Receipt> {
        Ok(Receipt { schema_version, sstables: fingerprint(node)? })
    }
}

/// The time of the last change is the kernel's: nobody can write to a file, or give it an older time, and leave
/// that as it was. The inode tells a copy.
fn fingerprint(node: &Node) -> Result<String> {
    let mut sha256 = Sha256::new();
    for (path, stat) in live_files(&node.open_data()?, holds_users_data)? {
        let (changed, written) = ((stat.st_ctime, stat.st_ctime_nsec), (stat.st_mtime, stat.st_mtime_nsec));
        let line = format!("{path}\0{} {} {changed:?} {written:?}\n", stat.st_size, stat.st_ino);
        sha256.update(line);
    }
    Ok(hex(&sha256.finalize()))
}

/// What stands against it that the node's data is still the archive's; `None`: nothing. Asks the node, its disks
/// and the journal of a complete restore; what cannot be found out stands against it.
pub async fn doubt(
    node: &Node,
    journal: &Journal,
    manifest: &Manifest,
    access: &NodeAccess,
) -> Result<Option<String>> {
    let found = look(node, journal, manifest, access).await;
    interrupt::check()?;
    Ok(found.unwrap_or_else(|error| Some(tell(&error).message)))
}

async fn look(
    node: &Node,
    journal: &Journal,
    manifest: &Manifest,
    access: &NodeAccess,
) -> Result<Option<String>> {
    let because = |why: &str| Ok(Some(why.to_owned()));
    let Some(receipt) = &journal.receipt else { return because("what the restore before left is not known") };
    if node.found.run_state != RunState::Running {
        return because("the node does not run, and cannot be asked");
    }
    // A journal that was copied from elsewhere, or another disk.
    Swap::find_mark(node, &[&journal.run_id])?;
    let nodetool = Nodetool::find(&node.container, access).await?;
    let identity = node.identity(&nodetool).await?;
    let stats = nodetool.table_stats(&identity.cassandra_version).await?;
    if let Some(difference) = difference(manifest, &identity, &stats.tables) {
        return Ok(Some(difference));
    }
    if identity.schema_version != receipt.schema_version {
        return because("the schema was changed since the restore before");
    }
    if let Some((keyspace, table)) = stats.unflushed.iter().find(|(keyspace, _)| holds_users_data(keyspace)) {
        return Ok(Some(format!("`{keyspace}.{table}` was written to: its memtable holds data")));
    }
    if fingerprint(node)? != receipt.sstables {
        return because("the sstables are not those that the restore before left");
    }
    Ok(None)
}
