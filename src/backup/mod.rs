//! The verb *backup*: a complete, verified archive of this tag exists, or is gone.

mod draft;
mod leftovers;
mod pace;
mod pack;
mod refuse;

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::ansible::request::{BackupGoal, BackupRequest, Present};
use crate::ansible::result::{Diff, Report};
use crate::archive::manifest::{Backup, NodeIdentity};
use crate::archive::reader::Archive;
use crate::archive::store::{Draft, Ownership, Store};
use crate::backup::pack::{Live, Packed};
use crate::backup::refuse::{refuse_inside, refuse_place, refuse_unfinished, refuse_unusable};
use crate::cassandra::node::Node;
use crate::cassandra::nodetool::Nodetool;
use crate::docker::{Engine, RunState};
use crate::error::{Error, tell};
use crate::interrupt;
use crate::state::{NodeState, SnapshotMark};
use crate::task::{blocking, finally};

/// As others read who is at work.
const MODULE: &str = "cassandra_backup";

const UNTOUCHED: &str = "The node was not touched and no archive was made";

pub async fn run(request: &BackupRequest, report: &mut Report) -> Result<()> {
    match &request.goal {
        BackupGoal::Absent => absent(request, report),
        BackupGoal::Present(present) => {
            report.standing = UNTOUCHED.to_owned();
            let job = Job::look(request, present, report).await?;
            if job.is_there_already(report).await? {
                return job.clear_up(report).await;
            }
            job.refuse_start()?;
            job.refuse_target().await?;
            job.plan(report);
            if request.mode.check {
                return job.foresee(report).await;
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
    /// A run that died had started the container, which it had found stopped.
    is_left_running: bool,
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
                return Err(Error::ContainerRestarting { container: name(), end: found.end() }.into());
            }
            // Whether it may be started is asked where it has to be.
            RunState::Created | RunState::Exited => {}
        }
        let node = Node::look(container, &request.access).await?;
        let mut is_left_running = false;
        if let Some(state) = NodeState::look(&request.access.state_dir, &node)? {
            refuse_unfinished(&state, &node, report)?;
            is_left_running = node.found.run_state.is_up() && state.is_left_running(node.found.started)?;
        }
        refuse_unusable(&node)?;
        refuse_inside(&request.backup_dir, &node)?;
        refuse_place(&request.backup_dir, &request.tag)?;
        Ownership::of(&present.file)?;
        Ok(Job { request, present, node, is_left_running })
    }

    /// True where this tag's archive exists, verifies, and is this node's: then there is nothing to do.
    async fn is_there_already(&self, report: &mut Report) -> Result<bool> {
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
        self.refuse_other_keyspaces(&manifest).map_err(unusable)?;
        let store = Store::open(&self.request.backup_dir)?;
        let (found, asked) = store.attributes(&self.request.tag, &self.present.file)?;
        report.changed = found != asked;
        report.diff = Some(Diff { of: path.display().to_string(), before: found, after: asked });
        if report.changed && !self.request.mode.check {
            store.settle(&self.request.tag, &self.present.file, &sha256)?;
        }
        report.backup = Some(json!(Backup::of(&manifest, &path, size, Some(sha256))));
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

    fn plan(&self, report: &mut Report) {
        let path = Store::path_in(&self.request.backup_dir, &self.request.tag);
        report.changed = true;
        report.msg = format!("`{}` would be made", path.display());
        report.diff = Some(Diff {
            of: path.display().to_string(),
            before: match path.exists() {
                true => json!({"state": "present", "made": made_at(&path)}),
                false => json!({"state": "absent"}),
            },
            after: json!({"state": "present", "made": "now"}),
        });
    }

    /// What the real run would ask, and would fail at, as far as it can be asked without changing anything.
    async fn foresee(&self, report: &mut Report) -> Result<()> {
        if let Some(state) = NodeState::look(&self.request.access.state_dir, &self.node)? {
            state.refuse_busy()?;
        }
        draft::refuse_taken(&Store::path_in(&self.request.backup_dir, &self.request.tag))?;
        if !self.node.found.run_state.is_up() {
            report.warnings.push(format!(
                "container `{}` is stopped: what only the started node can tell was not checked",
                self.node.container.name
            ));
            return Ok(());
        }
        report.enter("ask");
        let (nodetool, identity) = self.meet().await?;
        self.ask(nodetool, identity).await.map(|_| ())
    }

    /// The running node, once it is up and normal.
    async fn meet(&self) -> Result<(Nodetool, NodeIdentity)> {
        let access = &self.request.access;
        let nodetool = Nodetool::find(&self.node.container, access).await?;
        let identity = self.node.wait_until_normal(&nodetool, access.wait_timeout).await?;
        Ok((nodetool, identity))
    }

    async fn make(&self, report: &mut Report) -> Result<()> {
        report.changed = false;
        let (access, tag) = (&self.request.access, &self.request.tag);
        let state = NodeState::enter(&access.state_dir, &self.node, MODULE, tag)?;
        report.progress = state.progress();
        // Under the lock now: another run may have made it, or begun a restore, since the first look.
        refuse_unfinished(&state, &self.node, report)?;
        if !self.present.force && Store::path_in(&self.request.backup_dir, &self.request.tag).exists() {
            return Err(Error::Busy { holder: "a run that has ended just now".to_owned() }.into());
        }
        let (container, stop_timeout) = (&self.node.container, self.request.access.stop_timeout);
        let found = if self.is_left_running { RunState::Exited } else { self.node.found.run_state };
        if !found.is_up() && !self.is_left_running {
            // Killed from here on, this run leaves a container to be stopped by the next one.
            state.mark_start()?;
        }
        report.standing = "No archive was made and the data is untouched".to_owned();
        let made =
            container.while_running(found, stop_timeout, async || self.make_running(&state, report).await);
        let made = made.await;
        let left = self.tell_how_things_stand(report).await;
        if !found.is_up() && left.is_some_and(|left| !left.is_up()) {
            state.unmark_start()?;
        }
        made
    }

    /// Asked and not assumed: the container may have died, or not have stopped again.
    async fn tell_how_things_stand(&self, report: &mut Report) -> Option<RunState> {
        let container = &self.node.container;
        let left = container.inspect().await.ok().map(|facts| facts.run_state);
        if let Some(left) = left {
            report.leaves_container(left.word());
        }
        let archive = if report.changed { "The archive was made" } else { "No archive was made" };
        let (name, is) = (&container.name, RunState::told(left));
        report.standing = format!("{archive}; the data is untouched and container `{name}` is {is}");
        left
    }

    /// The backup itself, on a container that runs.
    async fn make_running(&self, state: &NodeState, report: &mut Report) -> Result<()> {
        let (access, tag) = (&self.request.access, &self.request.tag);
        if !self.node.found.run_state.is_up() {
            report.enter("start");
            self.node.wait_for_clients(access.wait_timeout).await?;
            // Only a running container proves that these are its directories.
            self.node.refuse_moved(&Node::look(self.node.container.clone(), access).await?)?;
        }
        report.enter("ask");
        let (nodetool, identity) = self.meet().await?;
        self.clear_leftovers(state, &nodetool).await?;
        self.refuse_strange_snapshot()?;
        let live = self.ask(nodetool, identity).await?;
        state.remember(&self.node, &live.identity)?;

        let draft = draft::begin(&Store::open_or_make(&self.request.backup_dir)?, tag)?;
        state
            .mark_snapshot(&SnapshotMark { tag: tag.clone(), backup_dir: self.request.backup_dir.clone() })?;
        let is_settled = Cell::new(false);
        let made = async {
            let packed = self.pack_and_clear(&live, draft, &is_settled, report).await?;
            self.publish(packed, &is_settled, report)
        };
        // The mark goes last: killed while a large archive is synced, its draft is found by it. One that stays
        // lets the next run clear what this one could not, or kept for an archive that did not get its name.
        finally(made, async || if is_settled.get() { state.unmark_snapshot() } else { Ok(()) }).await
    }

    async fn pack_and_clear(
        &self,
        live: &Live,
        draft: Draft,
        is_settled: &Cell<bool>,
        report: &mut Report,
    ) -> Result<Packed> {
        let keep = Cell::new(false);
        let pack = async {
            let packed = self.pack(live, draft, report).await?;
            // A snapshot without an archive is of no use to anybody.
            keep.set(self.present.keep_snapshot);
            Ok(packed)
        };
        let clear = async || {
            if !keep.get() {
                self.clear_snapshot(&live.nodetool, &self.request.tag).await?;
                is_settled.set(true);
            }
            Ok(())
        };
        finally(pack, clear).await
    }

    fn publish(&self, packed: Packed, is_settled: &Cell<bool>, report: &mut Report) -> Result<()> {
        report.enter("publish");
        let Packed { mut draft, manifest, size, sha256 } = packed;
        let published = draft.publish(&self.present.file, &sha256);
        if published.is_err() && !draft.has_its_name() {
            return published;
        }
        is_settled.set(true);
        let path = Store::path_in(&self.request.backup_dir, &self.request.tag);
        let backup = Backup::of(&manifest, &path, size, Some(sha256));
        report.changed = true;
        report.msg = format!("`{}` was made: {size} bytes of {} files", path.display(), backup.files);
        report.backup = Some(json!(backup));
        published.with_context(|| {
            format!("`{}` was made, but not its checksum file, which the next run writes", path.display())
        })
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

/// When an archive that is to be replaced was made.
fn made_at(path: &Path) -> String {
    let created = Archive::open(path).map(|archive| archive.manifest().created);
    created.map_or_else(
        |_| "unknown".to_owned(),
        |created| humantime::format_rfc3339_seconds(created).to_string(),
    )
}

/// Whether anything has this name; what may not be looked at is not taken for nothing.
fn is_taken(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot look at `{}`", path.display())),
    }
}

fn absent(request: &BackupRequest, report: &mut Report) -> Result<()> {
    report.enter("remove");
    report.standing = "Nothing was removed".to_owned();
    let path = Store::path_in(&request.backup_dir, &request.tag);
    let is_there = Store::open_if_there(&request.backup_dir)?.is_some() && is_taken(&path)?;
    if is_there {
        Store::refuse_foreign(&path)?;
        Store::refuse_unwritable(&request.backup_dir)?;
        draft::refuse_taken(&path)?;
    }
    report.diff = Some(Diff {
        of: path.display().to_string(),
        before: json!({"state": if is_there { "present" } else { "absent" }}),
        after: json!({"state": "absent"}),
    });
    report.msg = match (is_there, request.mode.check) {
        (false, _) => format!("`{}` is not there", path.display()),
        (true, true) => format!("`{}` would be removed", path.display()),
        (true, false) => format!("`{}` was removed", path.display()),
    };
    if is_there && !request.mode.check {
        report.standing = "What belongs to it may be gone already: run again".to_owned();
        Store::open(&request.backup_dir)?.remove(&request.tag)?;
    }
    report.changed = is_there;
    Ok(())
}
