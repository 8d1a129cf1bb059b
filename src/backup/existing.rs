//! An archive that is there already: the one that is asked for, or in the way.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::Job;
use crate::ansible::result::{Diff, Report};
use crate::archive::manifest::Backup;
use crate::archive::reader::Archive;
use crate::archive::store::Store;
use crate::cassandra::nodetool::Nodetool;
use crate::docker::RunState;
use crate::error::{Error, tell};
use crate::interrupt;
use crate::state::NodeState;
use crate::task::blocking;

impl Job<'_> {
    /// True where this tag's archive exists, verifies, and is this node's: then there is nothing to do.
    pub(super) async fn is_there_already(&self, report: &mut Report) -> Result<bool> {
        let path = Store::path_in(&self.request.backup_dir, &self.request.tag);
        if self.present.force || !path.exists() {
            return Ok(false);
        }
        report.enter("verify");
        let unusable = |why: String| Error::ArchiveExists { path: path.clone(), why };
        let (read, effort) = (path.clone(), self.present.effort);
        let verified = blocking(move || {
            let archive = Archive::open(&read)?;
            let verified = effort.spend(|threads| archive.verify(threads, &mut |_| {}))?;
            Ok((archive.manifest().clone(), archive.size(), verified.sha256))
        });
        let (manifest, size, sha256) = match verified.await {
            Ok(verified) => verified,
            Err(error) => {
                interrupt::check()?;
                return Err(unusable(format!("it does not verify: {}", tell(&error).message)).into());
            }
        };
        match self.known_host_id().await? {
            Some(host_id) if host_id != manifest.node.host_id => {
                let other = &manifest.node.host_id;
                return Err(unusable(format!("it is of another node: host_id {other}, not {host_id}")).into());
            }
            Some(_) => {}
            None => report.warnings.push(format!(
                "container `{}` is stopped and was never seen running by this module, so it could not be checked \
                 that `{}` is this node's archive",
                self.node.container.name,
                path.display()
            )),
        }
        self.refuse_other_keyspaces(&manifest.keyspaces, manifest.whole_node).map_err(unusable)?;
        let store = Store::open(&self.request.backup_dir)?;
        let (found, asked) = store.attributes(&self.request.tag, &self.present.file)?;
        report.changed = found != asked;
        report.diff = Some(Diff { of: path.display().to_string(), before: found, after: asked });
        if report.changed && !self.request.mode.check {
            store.settle(&self.request.tag, &self.present.file, &sha256)?;
        }
        report.backup = Some(json!(Backup::of(&manifest, &path, size, Some(sha256))));
        report.node = Some(manifest.node.told());
        let corrected = match (report.changed, self.request.mode.check) {
            (false, _) => "",
            (true, true) => "; its owner, group, mode or checksum file would be corrected",
            (true, false) => "; its owner, group, mode or checksum file was corrected",
        };
        report.msg = format!("`{}` exists, verifies and is this node's{corrected}", path.display());
        Ok(true)
    }

    /// The running node's, else what the last run remembered: a stopped node is not started to be asked.
    async fn known_host_id(&self) -> Result<Option<String>> {
        if self.node.found.run_state == RunState::Running {
            let nodetool = Nodetool::find(&self.node.container, &self.request.access).await?;
            return Ok(Some(nodetool.info().await?.host_id));
        }
        let remembered = match NodeState::look(&self.request.access.state_dir, &self.node)? {
            Some(state) => state.remembered()?,
            None => None,
        };
        Ok(remembered.map(|remembered| remembered.identity.host_id))
    }
}

/// When an archive that is to be replaced was made.
pub(super) fn made_at(path: &Path) -> String {
    let created = Archive::open(path).map(|archive| archive.manifest().created);
    created.map_or_else(
        |_| "unknown".to_owned(),
        |created| humantime::format_rfc3339_seconds(created).to_string(),
    )
}
