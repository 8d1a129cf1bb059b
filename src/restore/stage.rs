//! The archive's files, proved right and unpacked where one rename brings them in.

use anyhow::{Context, Result};

use super::Restore;
use crate::ansible::result::Report;
use crate::archive::reader::Archive;
use crate::archive::unpack::Unpack;
use crate::dir::RelativePath;
use crate::error::Error;
use crate::interrupt;
use crate::restore::journal::Phase;
use crate::restore::swap::STAGED;
use crate::task::blocking;

impl Restore<'_> {
    /// Verifies the archive and, unless it has to wait for the room, unpacks it on the live data's disk in the same
    /// pass; the node is not touched.
    pub(super) async fn stage(&mut self, report: &mut Report) -> Result<()> {
        report.enter("stage");
        self.swap.refuse_without_exchange()?;
        self.journal.enter(&self.state, Phase::Staging)?;
        self.swap.mark(&self.journal.run_id)?;
        let staged = match self.journal.in_place {
            true => self.verify().await,
            false => self.unpack().await,
        };
        if let Err(error) = staged {
            return Err(match self.forget_staging() {
                Ok(()) => error,
                Err(then) => Error::twice(error, &then).into(),
            });
        }
        self.journal.enter(&self.state, Phase::Staged)?;
        report.changed = true;
        interrupt::check()?;
        Ok(())
    }

    async fn verify(&mut self) -> Result<()> {
        self.swap.clear(STAGED)?;
        let (effort, progress) = (self.request.effort, self.state.progress());
        self.with_archive(move |archive| {
            progress.set_total(archive.manifest().bytes);
            effort.spend(|threads| archive.verify(threads, &mut |bytes| progress.add(bytes))).map(|_| ())
        })
        .await
    }

    /// What lies there of an earlier try is removed first.
    pub(super) async fn unpack(&mut self) -> Result<()> {
        self.swap.clear(STAGED)?;
        let mut roots = Vec::new();
        for site in self.swap.data() {
            let staged = site.work.dir(STAGED)?;
            staged.inherit_like(&site.live)?;
            roots.push(staged);
        }
        let (owner, progress) = (self.swap.owner(self.archive()?)?, self.state.progress());
        let effort = self.request.effort;
        self.with_archive(move |archive| {
            progress.set_total(archive.manifest().bytes);
            let unpacked = effort.spend(|threads| {
                let unpack = Unpack { owner: Some(owner), skip: &is_the_snapshots_own, threads };
                archive.unpack(&roots, &unpack, &mut |bytes| progress.add(bytes))
            });
            unpacked.map(|_| ())
        })
        .await
    }

    async fn with_archive(
        &mut self,
        work: impl FnOnce(&Archive) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let archive = self.archive.take().context("no archive is in hand")?;
        let (archive, done) = blocking(move || {
            let done = work(&archive);
            Ok((archive, done))
        })
        .await?;
        self.archive = Some(archive);
        done
    }
}

/// What Cassandra wrote about the snapshot belongs to the archive, not into a live table directory.
fn is_the_snapshots_own(path: &RelativePath) -> bool {
    let names: Vec<&str> = path.names().collect();
    matches!(names[..], [_, _, "manifest.json" | "schema.cql"])
}
