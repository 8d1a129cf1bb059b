//! `keep_last` and `keep_days`: which older archives of this node have to go once there is a newer one.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde_json::json;

use super::{Job, MODULE, draft};
use crate::ansible::request::Present;
use crate::ansible::result::Report;
use crate::archive::store::Store;
use crate::dir::real_path;
use crate::error::tell;
use crate::restore::journal::Journal;
use crate::state::NodeState;
use crate::task::blocking;

const DAY: Duration = Duration::from_secs(86_400);

/// The archives of this node in `backup_dir`, as far as they can be read.
#[derive(Debug, Default)]
struct Found {
    /// From the newest to the oldest; that of this run is not among them.
    others: Vec<Other>,
    /// When that of this run was made; none where it would be made now.
    own: Option<SystemTime>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Other {
    tag: String,
    created: SystemTime,
    /// By a restore that is unfinished, or by a run that replaces it.
    is_needed: bool,
}

impl Job<'_> {
    /// [`Job::retire`] of a run that has made no archive and so does not have the node for itself yet.
    pub(super) async fn retire_alone(&self, report: &mut Report) -> Result<()> {
        let (access, tag) = (&self.request.access, &self.request.tag);
        let is_asked_for = self.present.keep_last.is_some() || self.present.keep_days.is_some();
        let _state = match is_asked_for && !self.request.mode.check {
            true => Some(NodeState::enter(&access.state_dir, &self.node, MODULE, tag)?),
            false => None,
        };
        self.retire(report).await
    }

    /// Removes what is kept no longer, now that this tag's archive is there.
    pub(super) async fn retire(&self, report: &mut Report) -> Result<()> {
        if self.present.keep_last.is_none() && self.present.keep_days.is_none() {
            return Ok(());
        }
        // A stopped node that nobody has asked: what is its own is not known.
        let Some(host_id) = report.node.as_ref().map(|node| node["host_id"].clone()) else { return Ok(()) };
        report.enter("retire");
        let (backup_dir, state_dir) =
            (self.request.backup_dir.clone(), self.request.access.state_dir.clone());
        let own = self.request.tag.clone();
        let found = blocking(move || {
            let host_id = host_id.as_str().unwrap_or_default();
            find(&backup_dir, &state_dir, &own, host_id)
        })
        .await?;
        report.warnings.extend(found.warnings.iter().cloned());
        let retired = found.retired(self.present, SystemTime::now());
        let older: Vec<&str> = found.others.iter().map(|other| other.tag.as_str()).collect();
        if let Some(diff) = &mut report.diff {
            diff.before["others"] = json!(older);
            let kept = older.iter().filter(|tag| !retired.iter().any(|retired| retired == *tag));
            diff.after["others"] = json!(kept.collect::<Vec<_>>());
        }
        report.removed = Some(Vec::new());
        for tag in retired {
            if !self.request.mode.check {
                Store::open(&self.request.backup_dir)?.remove(&tag)?;
            }
            report.changed = true;
            report.removed.get_or_insert_default().push(tag);
        }
        Ok(())
    }
}

fn find(backup_dir: &Path, state_dir: &Path, own: &str, host_id: &str) -> Result<Found> {
    let mut found = Found::default();
    let Some(store) = Store::open_if_there(backup_dir)? else { return Ok(found) };
    let needed = needed(state_dir)?;
    for (tag, archive) in store.list()? {
        let path = store.path_of(&tag);
        match archive {
            Ok(archive) if archive.manifest().node.host_id != host_id => {}
            Ok(archive) if tag == own => found.own = Some(archive.manifest().created),
            Ok(archive) => {
                let is_needed = needed.contains(&real_path(&path)) || draft::is_being_made(&path);
                let created = archive.manifest().created;
                found.others.push(Other { tag, created, is_needed });
            }
            Err(error) => {
                found.warnings.push(format!("`{}` is kept: {}", path.display(), tell(&error).message));
            }
        }
    }
    found.others.sort_unstable_by(|one, other| (other.created, &other.tag).cmp(&(one.created, &one.tag)));
    Ok(found)
}

/// The archives of all unfinished restores on this host.
fn needed(state_dir: &Path) -> Result<Vec<PathBuf>> {
    let mut needed = Vec::new();
    for state in NodeState::all(state_dir)? {
        let journal = Journal::read(&state)?.filter(|journal| !journal.phase.is_finished());
        needed.extend(journal.map(|journal| real_path(&journal.archive.path)));
    }
    Ok(needed)
}

impl Found {
    /// Beyond the newest `keep_last` and older than `keep_days`, as far as either is given; this run's archive counts.
    fn retired(&self, keep: &Present, now: SystemTime) -> Vec<String> {
        let own = self.own.unwrap_or(now);
        let newest = self.others.first().map(|other| other.tag.as_str());
        let mut retired = Vec::new();
        for (index, other) in self.others.iter().enumerate() {
            let newer = index as u64 + u64::from(own >= other.created);
            let is_beyond = keep.keep_last.is_none_or(|last| newer >= last);
            let days = keep.keep_days.map(|days| DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)));
            let is_older =
                days.is_none_or(|age| now.duration_since(other.created).is_ok_and(|since| since > age));
            // What was not read back proves nothing yet.
            let is_proof = !keep.verify && newest == Some(&other.tag);
            if is_beyond && is_older && !other.is_needed && !is_proof {
                retired.push(other.tag.clone());
            }
        }
        retired
    }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
