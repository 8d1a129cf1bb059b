//! Every reason not to begin a backup, found before anything is touched.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::Job;
use crate::ansible::request::WhenStopped;
use crate::archive::manifest::Manifest;
use crate::cassandra::data_files::{holding_snapshot, live_bytes};
use crate::cassandra::node::Node;
use crate::dir::{Dir, Kind, is_not_found, real_path};
use crate::error::Error;
use crate::state::NodeState;
use crate::task::blocking;

impl Job<'_> {
    /// An archive of other keyspaces than those asked for is not the one that is asked for.
    pub(super) fn refuse_other_keyspaces(&self, manifest: &Manifest) -> Result<(), String> {
        let asked: BTreeSet<&String> = self.present.keyspaces.iter().collect();
        let held: BTreeSet<&String> = manifest.keyspaces.iter().collect();
        let excluded: BTreeSet<&String> = self.present.exclude_keyspaces.iter().collect();
        let same = match (asked.is_empty(), excluded.is_empty()) {
            (false, _) => asked == held,
            (true, true) => manifest.whole_node,
            // Every node has a keyspace `system`: without it, some keyspaces were asked for by name.
            (true, false) => {
                let has_all_others = held.union(&excluded).any(|keyspace| *keyspace == "system");
                has_all_others && held.is_disjoint(&excluded)
            }
        };
        if same {
            Ok(())
        } else {
            Err(format!("it holds other keyspaces: {}", manifest.keyspaces.join(", ")))
        }
    }

    /// A node that was away for long can bring deleted rows back: who fears that has it not started.
    pub(super) fn refuse_start(&self) -> Result<()> {
        let container = self.node.container.name.clone();
        match (self.node.found.run_state.is_up(), self.present.when_stopped) {
            (false, WhenStopped::Fail) => Err(Error::ContainerStopped { container }.into()),
            _ => Ok(()),
        }
    }

    /// A snapshot of this tag that no mark calls ours would be cleared with ours.
    pub(super) fn refuse_strange_snapshot(&self) -> Result<()> {
        match holding_snapshot(&self.node.open_data()?, &self.request.tag)?.is_empty() {
            true => Ok(()),
            false => Err(Error::SnapshotNotOurs { tag: self.request.tag.clone() }.into()),
        }
    }

    /// Refuses a target that cannot take the archive, and a tag that is somebody else's snapshot.
    pub(super) async fn refuse_target(&self) -> Result<()> {
        let roots = self.node.open_data()?;
        let state = NodeState::look(&self.request.access.state_dir, &self.node)?;
        let mark = state.as_ref().map(NodeState::snapshot_mark).transpose()?.flatten();
        if mark.is_none_or(|mark| mark.tag != self.request.tag) {
            self.refuse_strange_snapshot()?;
        }
        let (only, without) = (self.present.keyspaces.clone(), self.present.exclude_keyspaces.clone());
        let asked = move |keyspace: &str| {
            (only.is_empty() || only.iter().any(|one| one == keyspace))
                && !without.iter().any(|one| one == keyspace)
        };
        let needed = blocking(move || live_bytes(&roots, asked)).await?;
        let free = existing_part(&self.request.backup_dir)?.free_space()?;
        if needed > free {
            return Err(Error::NoSpace { path: self.request.backup_dir.clone(), needed, free }.into());
        }
        Ok(())
    }
}

/// A node without data, or behind the blocker of a restore, is not started to be backed up.
pub(super) fn refuse_unusable(node: &Node) -> Result<()> {
    let mut entries = Vec::new();
    for place in &node.data {
        let found = match place.open() {
            Ok(dir) => dir.entries()?,
            Err(error) if is_not_found(&error) => continue,
            Err(error) => return Err(error),
        };
        if found.iter().any(|entry| entry.name == "system" && entry.kind == Kind::File) {
            // Of a restore with another `state_dir`: the file itself says which.
            let archive = format!("see {}", place.host_path.join("system").display());
            return Err(Error::RestoreUnfinished { phase: "unknown".to_owned(), archive }.into());
        }
        entries.extend(found);
    }
    if !entries.iter().any(|entry| entry.kind == Kind::Directory) {
        let paths: Vec<_> = node.data.iter().map(|place| place.host_path.display().to_string()).collect();
        let container = node.container.name.clone();
        return Err(Error::NoData { container, paths: paths.join("`, `") }.into());
    }
    Ok(())
}

/// An archive inside the node's own directories would be cleared with them by a restore.
pub(super) fn refuse_inside(backup_dir: &Path, node: &Node) -> Result<()> {
    let real = real_path(backup_dir);
    for place in node.all_places() {
        if real.starts_with(real_path(&place.host_path)) {
            let why = format!("it lies inside the node's own directory `{}`", place.host_path.display());
            return Err(Error::BackupDir { path: backup_dir.to_owned(), why }.into());
        }
    }
    Ok(())
}

/// The directory itself, or the one that it will be made in; a file in the way is an error.
pub(super) fn existing_part(backup_dir: &Path) -> Result<Dir> {
    let existing = backup_dir.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok());
    let existing = existing.unwrap_or(Path::new("/"));
    Dir::open(existing).map_err(|error| {
        let why = match existing.is_dir() {
            true => format!("{error:#}"),
            false => format!("`{}` is not a directory", existing.display()),
        };
        Error::BackupDir { path: backup_dir.to_owned(), why }.into()
    })
}
