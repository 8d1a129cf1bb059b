//! The verb *backup*: a complete, verified archive of this tag exists, or its snapshot is held, or either is gone.

mod absent;
mod draft;
mod existing;
mod held;
mod leftovers;
mod pace;
mod pack;
mod refuse;
mod release;
mod retention;

use std::cell::Cell;

use anyhow::{Context, Result};
use serde_json::json;

use crate::ansible::request::{BackupGoal, BackupRequest, Present};
use crate::ansible::result::{Diff, Report};
use crate::archive::manifest::{Backup, NodeIdentity};
use crate::archive::store::{Draft, Ownership, Store};
use crate::backup::existing::made_at;
use crate::backup::pack::{Live, Packed};
use crate::backup::refuse::{refuse_inside, refuse_place, refuse_unfinished, refuse_unusable};
use crate::cassandra::node::Node;
use crate::cassandra::nodetool::Nodetool;
use crate::cassandra::version;
use crate::docker::{Engine, RunState};
use crate::error::Error;
use crate::state::{Held, NodeState, SnapshotMark};
use crate::task::finally;

/// As others read who is at work.
const MODULE: &str = "cassandra_backup";

const UNTOUCHED: &str = "The node was not touched and no archive was made";

pub async fn run(request: &BackupRequest, report: &mut Report) -> Result<()> {
    match &request.goal {
        BackupGoal::Absent => absent::run(request, report),
        BackupGoal::Released(present) => Job::find(request, present, report).await?.release(report).await,
        BackupGoal::Snapshot(present) => Job::look(request, present, report).await?.hold(report).await,
        BackupGoal::Present(present) => {
            let job = Job::look(request, present, report).await?;
            if job.is_there_already(report).await? {
                job.clear_up(report).await?;
                return job.retire_alone(report).await;
            }
            job.refuse_start()?;
            job.refuse_target().await?;
            job.plan(report);
            if request.mode.check {
                job.foresee(report).await?;
                return job.retire(report).await;
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
    /// Finds the node, unless a restore of it is unfinished; nothing is changed.
    async fn find(request: &'a BackupRequest, present: &'a Present, report: &mut Report) -> Result<Job<'a>> {
        report.enter("look");
        report.standing = UNTOUCHED.to_owned();
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
        Ok(Job { request, present, node, is_left_running })
    }

    /// Finds the node and refuses what cannot be backed up.
    async fn look(request: &'a BackupRequest, present: &'a Present, report: &mut Report) -> Result<Job<'a>> {
        let job = Job::find(request, present, report).await?;
        refuse_unusable(&job.node)?;
        refuse_inside(&request.backup_dir, &job.node)?;
        refuse_place(&request.backup_dir, &request.tag)?;
        Ownership::of(&present.file)?;
        Ok(job)
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
        report.node = Some(identity.told());
        self.ask(nodetool, identity).await.map(|_| ())
    }

    /// The running node, once it is up and normal.
    async fn meet(&self) -> Result<(Nodetool, NodeIdentity)> {
        let access = &self.request.access;
        let nodetool = Nodetool::find(&self.node.container, access).await?;
        let identity = self.node.wait_until_normal(&nodetool, access.wait_timeout).await?;
        if let Some(why) = version::is_out_of_reach(&identity.cassandra_version) {
            let words = format!("Cassandra {} cannot be backed up: {why}", identity.cassandra_version);
            return Err(Error::Refused { refusals: vec![words] }.into());
        }
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
        made?;
        self.retire(report).await
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
        let held = self.clear_leftovers(state, &nodetool, report).await?;
        state.remember(&self.node, &identity)?;
        let is_held = held.is_some();
        let live = match held {
            Some(held) => self.as_it_was(nodetool, held, report),
            None => {
                self.refuse_strange_snapshot()?;
                self.ask(nodetool, identity).await?
            }
        };
        let draft = draft::begin(&Store::open_or_make(&self.request.backup_dir)?, tag)?;
        if !is_held {
            self.mark(state, None)?;
        }
        let is_settled = Cell::new(false);
        let made = async {
            let packed = self.pack_and_clear(live, draft, &is_settled, report).await?;
            self.publish(packed, &is_settled, report)
        };
        // The mark goes last: killed while a large archive is synced, its draft is found by it. One that stays
        // lets the next run clear what this one could not, or kept for an archive that did not get its name.
        finally(made, async || if is_settled.get() { state.unmark_snapshot() } else { Ok(()) }).await
    }

    /// Written before a snapshot is taken: it is ours from here on.
    fn mark(&self, state: &NodeState, held: Option<Held>) -> Result<()> {
        let (tag, backup_dir) = (self.request.tag.clone(), self.request.backup_dir.clone());
        state.mark_snapshot(&SnapshotMark { tag, backup_dir, held })
    }

    async fn pack_and_clear(
        &self,
        mut live: Live,
        draft: Draft,
        is_settled: &Cell<bool>,
        report: &mut Report,
    ) -> Result<Packed> {
        let (keep, nodetool) = (Cell::new(false), live.nodetool.clone());
        let pack = async {
            let packed = self.pack(&mut live, draft, report).await?;
            // A snapshot without an archive is of no use to anybody.
            keep.set(self.present.keep_snapshot);
            Ok(packed)
        };
        let clear = async || {
            if !keep.get() {
                self.clear_snapshot(&nodetool, &self.request.tag).await?;
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
        report.node = Some(manifest.node.told());
        published.with_context(|| {
            format!("`{}` was made, but not its checksum file, which the next run writes", path.display())
        })
    }

    async fn ask(&self, nodetool: Nodetool, identity: NodeIdentity) -> Result<Live> {
        let mut tables = nodetool.tables(&identity.cassandra_version).await?;
        for keyspace in self.present.keyspaces.iter().chain(&self.present.exclude_keyspaces) {
            if !tables.contains_key(keyspace) {
                let message = format!("the node has no keyspace `{keyspace}` with tables in it");
                return Err(
                    Error::BadOption { message, hint: "see `nodetool tablestats` for their names" }.into()
                );
            }
        }
        let (only, without) = (&self.present.keyspaces, &self.present.exclude_keyspaces);
        let asked =
            |keyspace: &String| (only.is_empty() || only.contains(keyspace)) && !without.contains(keyspace);
        let whole_node = tables.keys().all(asked);
        tables.retain(|keyspace, _| asked(keyspace));
        Ok(Live { nodetool, identity, tables, whole_node, held: None })
    }
}
