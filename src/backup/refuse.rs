//! Every reason not to begin a backup, found before anything is touched.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::Job;
use crate::ansible::request::WhenStopped;
use crate::ansible::result::Report;
use crate::archive::store::Store;
use crate::cassandra::data_files::{holding_snapshot, live_bytes};
use crate::cassandra::node::Node;
use crate::dir::{Kind, is_not_found, real_path};
use crate::error::Error;
use crate::restore::journal::Journal;
use crate::state::NodeState;
use crate::task::blocking;

impl Job<'_> {
    /// An archive of other keyspaces than those asked for is not the one that is asked for.
    pub(super) fn refuse_other_keyspaces(
        &self,
        keyspaces: &[String],
        whole_node: bool,
    ) -> Result<(), String> {
        let set = |names: &[String]| {
            let mut set = BTreeSet::new();
            set.extend(names.iter().cloned());
            set
        };
        let (asked, held) = (set(&self.present.keyspaces), set(keyspaces));
        let excluded = set(&self.present.exclude_keyspaces);
        let same = match (asked.is_empty(), excluded.is_empty()) {
            (false, _) => asked == held,
            (true, true) => whole_node,
            // Every node has a keyspace `system`: without it, some keyspaces were asked for by name.
            (true, false) => {
                let has_all_others = held.union(&excluded).any(|keyspace| keyspace == "system");
                has_all_others && held.is_disjoint(&excluded)
            }
        };
        if same { Ok(()) } else { Err(format!("it holds other keyspaces: {}", keyspaces.join(", "))) }
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
        Store::refuse_unwritable(&self.request.backup_dir)?;
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
        let free = Store::existing_part(&self.request.backup_dir)?.free_space()?;
        if needed > free {
            return Err(Error::NoSpace { path: self.request.backup_dir.clone(), needed, free }.into());
        }
        Ok(())
    }
}

/// A node in the middle of a restore is neither started nor backed up.
pub(super) fn refuse_unfinished(state: &NodeState, node: &Node, report: &mut Report) -> Result<()> {
    match Journal::read(state)? {
        Some(journal) if journal.phase.touches_the_node() => {
            // It may be another run that is at it just now.
            state.refuse_busy()?;
            report.standing = format!("No archive was made. {}", journal.standing(node));
            Err(journal.unfinished().into())
        }
        _ => Ok(()),
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
            return Err(Error::Blocked { path: place.host_path.join("system") }.into());
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

/// An archive inside the node's own directories would be cleared with them by a restore. Elsewhere on their mount,
/// the container's user could lead what root writes to another directory.
pub(super) fn refuse_inside(backup_dir: &Path, node: &Node) -> Result<()> {
    let real = real_path(backup_dir);
    for place in node.all_places() {
        if real.starts_with(real_path(&place.host_path)) {
            let why = format!("it lies inside the node's own directory `{}`", place.host_path.display());
            return Err(Error::BackupDir { path: backup_dir.to_owned(), why }.into());
        }
    }
    if let Some(mount) = node.mount_above(backup_dir) {
        let why = format!(
            "it lies on the node's own mount `{}`, where the container can replace it",
            mount.display()
        );
        return Err(Error::BackupDir { path: backup_dir.to_owned(), why }.into());
    }
    Ok(())
}

/// Refuses a directory that cannot take an archive of this tag, and what only looks like one: a rename would
/// replace a symlink, and fail on a directory once everything is packed.
pub(super) fn refuse_place(backup_dir: &Path, tag: &str) -> Result<()> {
    Store::existing_part(backup_dir)?;
    let path = Store::path_in(backup_dir, tag);
    match Store::in_the_way(&path) {
        Some(what) => Err(Error::ArchiveInTheWay { path, what }.into()),
        None => Ok(()),
    }
}
