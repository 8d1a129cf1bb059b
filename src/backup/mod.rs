//! The verb *backup*: a complete, verified archive of this tag exists, or is gone.

mod pack;
mod refuse;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::ansible::request::{BackupGoal, BackupRequest, Present, WhenStopped};
use crate::ansible::result::{Diff, Report};
use crate::archive::manifest::{Backup, NodeIdentity};
use crate::archive::reader::Archive;
use crate::archive::store::{Ownership, Store};
use crate::backup::pack::Live;
use crate::backup::refuse::{existing_part, refuse_inside, refuse_unusable};
use crate::cassandra::node::Node;
use crate::cassandra::nodetool::Nodetool;
use crate::docker::{Engine, RunState};
use crate::error::{Error, tell};
use crate::interrupt;
use crate::restore::journal::Journal;
use crate::state::{NodeState, SnapshotMark};
use crate::task::{blocking, finally};

const UNTOUCHED: &str = "The node was not touched and no archive was made";

pub async fn run(request: &BackupRequest, report: &mut Report) -> Result<()> {
    match &request.goal {
        BackupGoal::Absent => absent(request, report),
        BackupGoal::Present(present) => {
            report.standing = UNTOUCHED.to_owned();
            let job = Job::look(request, present, report).await?;
            if job.is_there_already(report).await? {
                return Ok(());
            }
            job.refuse_target().await?;
            job.plan(report);
            if request.mode.check {
                return Ok(());
            }
            job.make(report).await
        }
    }
}

/// A backup that was found to be possible.
struct Job<'a> {
    request: &'a BackupRequest,
    present: &'a Present,
    node: Node,
}

impl<'a> Job<'a> {
    /// Finds the node and refuses what cannot be backed up; nothing is changed.
    async fn look(request: &'a BackupRequest, present: &'a Present, report: &mut Report) -> Result<Job<'a>> {
        report.enter("look");
        let engine = Engine::connect(&request.access.docker_socket).await?;
        let container = engine.container(&present.container).await?;
        let found = container.inspect().await?;
        report.found_container(&container.name, &container.image, found.run_state.word());
        let name = || container.name.clone();
        match found.run_state {
            RunState::Running => {}
            RunState::Paused => return Err(Error::ContainerPaused { container: name() }.into()),
            RunState::Restarting => {
                let exit_code = found.exit_code;
                return Err(Error::ContainerRestarting { container: name(), exit_code }.into());
            }
            RunState::Created | RunState::Exited if present.when_stopped == WhenStopped::Fail => {
                return Err(Error::ContainerStopped { container: name() }.into());
            }
            RunState::Created | RunState::Exited => {}
        }
        let node = Node::look(container, &request.access).await?;
        refuse_unusable(&node)?;
        if let Some(state) = NodeState::look(&request.access.state_dir, &node)? {
            Journal::refuse_unfinished(&state)?;
        }
        refuse_inside(&request.backup_dir, &node)?;
        existing_part(&request.backup_dir)?;
        Ownership::of(&present.file)?;
        Ok(Job { request, present, node })
    }

    /// True where this tag's archive exists, verifies, and is this node's: then there is nothing to do.
    async fn is_there_already(&self, report: &mut Report) -> Result<bool> {
        let path = Store::path_in(&self.request.backup_dir, &self.request.tag);
        if self.present.force || !path.exists() {
            return Ok(false);
        }
        report.enter("verify");
        let unusable = |why: String| Error::ArchiveExists { path: path.clone(), why };
        let read = path.clone();
        let verified = blocking(move || {
            let mut archive = Archive::open(&read)?;
            let verified = archive.verify(&mut |_| {})?;
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
        self.refuse_other_keyspaces(&manifest).map_err(unusable)?;
        report.backup = Some(json!(Backup::of(&manifest, &path, size, Some(sha256))));
        let store = Store::open(&self.request.backup_dir)?;
        report.changed = !store.has_attributes(&self.request.tag, &self.present.file)?;
        if report.changed && !self.request.mode.check {
            store.set_attributes(&self.request.tag, &self.present.file)?;
        }
        report.msg = format!("`{}` exists, verifies and is this node's", path.display());
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

    fn plan(&self, report: &mut Report) {
        let path = Store::path_in(&self.request.backup_dir, &self.request.tag);
        report.changed = true;
        report.msg = format!("`{}` would be made", path.display());
        report.diff = Some(Diff {
            before: json!({"archive": path, "state": if path.exists() { "present" } else { "absent" }}),
            after: json!({"archive": path, "state": "present", "tag": self.request.tag}),
        });
    }

    async fn make(&self, report: &mut Report) -> Result<()> {
        report.changed = false;
        let state = NodeState::enter(&self.request.access.state_dir, &self.node)?;
        let (container, found) = (&self.node.container, self.node.found.run_state);
        let left = if found.is_up() { "running" } else { "stopped again" };
        report.standing = format!(
            "No archive was made; the data is untouched and container `{}` is {left}",
            container.name
        );
        let stop_timeout = self.request.access.stop_timeout;
        container.while_running(found, stop_timeout, async || self.make_running(&state, report).await).await
    }

    /// The backup itself, on a container that runs.
    async fn make_running(&self, state: &NodeState, report: &mut Report) -> Result<()> {
        let (access, tag) = (&self.request.access, &self.request.tag);
        if !self.node.found.run_state.is_up() {
            report.enter("start");
            self.node.wait_for_clients(access.wait_timeout).await?;
            // Only a running container proves that these are its directories.
            Node::look(self.node.container.clone(), access).await?;
        }
        report.enter("ask");
        let nodetool = Nodetool::find(&self.node.container, access).await?;
        let identity = self.node.wait_until_normal(&nodetool, access.wait_timeout).await?;
        self.clear_leftovers(state, &nodetool).await?;
        let live = self.ask(nodetool, identity).await?;
        state.remember(&self.node, &live.identity)?;

        let store = Store::open_or_make(&self.request.backup_dir)?;
        let draft = store.draft(tag)?;
        state
            .mark_snapshot(&SnapshotMark { tag: tag.clone(), backup_dir: self.request.backup_dir.clone() })?;
        let clear = async || {
            if !self.present.keep_snapshot {
                live.nodetool.clear_snapshot(tag).await?;
                self.check_cleared().await?;
            }
            state.unmark_snapshot()
        };
        let packed = finally(self.pack(&live, draft, report), clear).await?;

        report.enter("publish");
        let path = packed.draft.publish(&self.present.file, &packed.sha256)?;
        let backup = Backup::of(&packed.manifest, &path, packed.size, Some(packed.sha256));
        report.changed = true;
        report.msg =
            format!("`{}` was made: {} bytes of {} files", path.display(), packed.size, backup.files);
        report.backup = Some(json!(backup));
        Ok(())
    }

    /// Clears what a run that was killed left on this node: only what its mark says is ours.
    async fn clear_leftovers(&self, state: &NodeState, nodetool: &Nodetool) -> Result<()> {
        let deadline = Instant::now() + self.request.access.wait_timeout;
        let is_ours = |command: &String| command.contains("nodetool") && command.contains("snapshot");
        while self.node.container.running_commands().await?.iter().any(is_ours) {
            interrupt::check()?;
            if Instant::now() > deadline {
                return Err(
                    Error::Busy { holder: "a nodetool snapshot runs in the container".to_owned() }.into()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let Some(mark) = state.snapshot_mark()? else { return Ok(()) };
        nodetool.clear_snapshot(&mark.tag).await?;
        if mark.backup_dir.exists() {
            Store::open(&mark.backup_dir)?.remove_draft(&mark.tag)?;
        }
        state.unmark_snapshot()
    }

    async fn ask(&self, nodetool: Nodetool, identity: NodeIdentity) -> Result<Live> {
        let all = nodetool.tables(&identity.cassandra_version).await?;
        for keyspace in self.present.keyspaces.iter().chain(&self.present.exclude_keyspaces) {
            if !all.contains_key(keyspace) {
                let message = format!("the node has no keyspace `{keyspace}` with tables in it");
                return Err(
                    Error::BadOption { message, hint: "see `nodetool tablestats` for their names" }.into()
                );
            }
        }
        let (only, without) = (&self.present.keyspaces, &self.present.exclude_keyspaces);
        let asked =
            |keyspace: &String| (only.is_empty() || only.contains(keyspace)) && !without.contains(keyspace);
        let whole_node = all.keys().all(asked);
        let tables = all.into_iter().filter(|(keyspace, _)| asked(keyspace)).collect();
        Ok(Live { nodetool, identity, tables, whole_node })
    }
}

fn absent(request: &BackupRequest, report: &mut Report) -> Result<()> {
    report.enter("remove");
    let path = Store::path_in(&request.backup_dir, &request.tag);
    let is_there = path.exists();
    report.changed = is_there;
    report.diff = Some(Diff {
        before: json!({"archive": path, "state": if is_there { "present" } else { "absent" }}),
        after: json!({"archive": path, "state": "absent"}),
    });
    report.msg = match (is_there, request.mode.check) {
        (false, _) => format!("`{}` is not there", path.display()),
        (true, true) => format!("`{}` would be removed", path.display()),
        (true, false) => format!("`{}` was removed", path.display()),
    };
    if is_there && !request.mode.check {
        Store::open(&request.backup_dir)?.remove(&request.tag)?;
    }
    Ok(())
}
