//! From a running node to an archive that only lacks its name.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::{Job, draft};
use crate::ansible::result::Report;
use crate::archive::direct::Stream;
use crate::archive::manifest::{FORMAT, Manifest, NodeIdentity};
use crate::archive::reader::Archive;
use crate::archive::store::Draft;
use crate::archive::writer::{self, Packing};
use crate::backup::pace::Pace;
use crate::cassandra::completeness::{self, Snapshot};
use crate::cassandra::data_files::holding_snapshot;
use crate::cassandra::nodetool::{Nodetool, Tables};
use crate::effort::Effort;
use crate::error::Error;
use crate::interrupt;
use crate::progress::Progress;
use crate::task::blocking;

/// What nodetool told of the running node.
pub(super) struct Live {
    pub(super) nodetool: Nodetool,
    pub(super) identity: NodeIdentity,
    /// Those that are asked for.
    pub(super) tables: Tables,
    pub(super) whole_node: bool,
    /// When its snapshot was taken and what is in it, where that is held already.
    pub(super) held: Option<(SystemTime, Snapshot)>,
}

/// An archive that only lacks its name.
pub(super) struct Packed {
    pub(super) draft: Draft,
    pub(super) manifest: Manifest,
    pub(super) size: u64,
    pub(super) sha256: String,
}

impl Job<'_> {
    /// Takes the snapshot and proves that it is complete. When it was taken, and what is in it.
    pub(super) async fn take(&self, live: &Live, report: &mut Report) -> Result<(SystemTime, Snapshot)> {
        report.enter("snapshot");
        let keyspaces: Vec<String> = live.tables.keys().cloned().collect();
        let taken = SystemTime::now();
        tokio::select! {
            taken = live.nodetool.snapshot(&self.request.tag, if live.whole_node { &[] } else { &keyspaces }) => taken?,
            interrupted = interrupt::requested() => return Err(interrupted.into()),
        }
        interrupt::check()?;
        report.enter("prove");
        Ok((taken, self.prove(&live.tables, &live.identity).await?))
    }

    pub(super) async fn prove(&self, tables: &Tables, identity: &NodeIdentity) -> Result<Snapshot> {
        let (roots, tag, tables) = (self.node.open_data()?, self.request.tag.clone(), tables.clone());
        let version = identity.cassandra_version.clone();
        blocking(move || completeness::prove(&roots, &tag, &tables, &version)).await
    }

    /// Snapshot, proof, packing and reading back.
    pub(super) async fn pack(
        &self,
        live: &mut Live,
        mut draft: Draft,
        report: &mut Report,
    ) -> Result<Packed> {
        let (taken, snapshot) = match live.held.take() {
            Some(held) => held,
            None => self.take(live, report).await?,
        };
        report.enter("pack");
        let roots = self.node.open_data()?;
        let keyspaces = live.tables.keys().cloned().collect();
        let manifest = self.manifest(taken, live.identity.clone(), keyspaces, live.whole_node, &snapshot);
        let (compression, effort, progress) =
            (self.present.compression, self.present.effort, report.progress.clone());
        // Each byte is packed, and read back.
        progress.set_total(manifest.bytes.saturating_mul(if self.present.verify { 2 } else { 1 }));
        let mut pace = Pace::of(self.present.rate_limit);
        let cannot_make = format!("cannot make `{}`", draft.path().display());
        let (manifest, mut draft, written) = blocking(move || {
            let mut passed = |bytes| {
                pace.keep(bytes);
                progress.add(bytes);
            };
            let path = draft.path();
            let written = effort.spend(|threads| {
                let packing = Packing { compression, threads };
                writer::write(
                    Stream::new(draft.file(), path),
                    &manifest,
                    &roots,
                    snapshot.members,
                    packing,
                    &mut passed,
                )
            })?;
            Ok((manifest, draft, written))
        })
        .await
        .context(cannot_make)?;
        draft::demand_in_place(&mut draft)?;
        if self.present.verify {
            report.enter("verify");
            let (sha256, progress) = (written.sha256.clone(), report.progress.clone());
            draft = blocking(move || {
                read_back(&draft.path(), &sha256, effort, &progress)?;
                Ok(draft)
            })
            .await?;
        }
        report.enter("clear snapshot");
        Ok(Packed { draft, manifest, size: written.size, sha256: written.sha256 })
    }

    pub(super) fn manifest(
        &self,
        taken: SystemTime,
        node: NodeIdentity,
        keyspaces: Vec<String>,
        whole_node: bool,
        snapshot: &Snapshot,
    ) -> Manifest {
        Manifest {
            format: FORMAT,
            tag: self.request.tag.clone(),
            created: whole_seconds(taken),
            node,
            sstable_formats: snapshot.sstable_formats.iter().cloned().collect(),
            keyspaces,
            whole_node,
            tables: snapshot.tables.clone(),
            files: snapshot.files,
            bytes: snapshot.bytes,
        }
    }

    /// Waits until no `nodetool snapshot` is at work in the container: one of a run that was killed, or whose
    /// connection broke, would go on making what is being cleared. Part of clean-up: a signal does not end it.
    pub(super) async fn wait_for_snapshots(&self) -> Result<()> {
        let deadline = Instant::now() + self.request.access.wait_timeout;
        let is_one = |command: &String| command.contains("nodetool") && command.contains("snapshot");
        while self.node.container.running_commands().await?.iter().any(is_one) {
            if Instant::now() > deadline {
                // Not its arguments: somebody's password may be among them.
                let holder =
                    format!("a `nodetool snapshot` is running in container `{}`", self.node.container.name);
                return Err(Error::Busy { holder }.into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Clears a snapshot that is ours, and looks: nodetool says that it did also where it did not.
    pub(super) async fn clear_snapshot(&self, nodetool: &Nodetool, tag: &str) -> Result<()> {
        self.wait_for_snapshots().await?;
        nodetool.clear_snapshot(tag).await?;
        let left = holding_snapshot(&self.node.open_data()?, tag)?;
        match left.first() {
            None => Ok(()),
            Some(table) => {
                let (tag, table) = (tag.to_owned(), format!("{}.{}", table.keyspace, table.table()));
                Err(Error::SnapshotNotCleared { tag, table }.into())
            }
        }
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// What was written is what can be read: disks and memory lie now and then.
fn read_back(path: &Path, sha256: &str, effort: Effort, progress: &Progress) -> Result<()> {
    let archive = Archive::open(path)?;
    let read = effort.spend(|threads| archive.verify(threads, &mut |bytes| progress.add(bytes)))?.sha256;
    if read != sha256 {
        let what = format!("it reads back with SHA-256 {read}, but {sha256} was written");
        return Err(Error::ArchiveDamaged { path: path.to_owned(), what }.into());
    }
    Ok(())
}
