//! `state: snapshot`: the snapshot of this tag is held on the node, and becomes an archive later. All nodes of a cluster
//! take theirs within seconds; packing takes as long as it takes.

use std::cell::Cell;
use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Job, MODULE};
use crate::ansible::result::{Diff, Report};
use crate::archive::manifest::{Backup, NodeIdentity};
use crate::archive::store::Store;
use crate::backup::pack::Live;
use crate::backup::refuse::refuse_unfinished;
use crate::cassandra::completeness::Snapshot;
use crate::cassandra::nodetool::Nodetool;
use crate::error::Error;
use crate::state::{Held, NodeState};
use crate::task::finally;

const NOT_HELD: &str = "No snapshot is held and the data is untouched";

impl Job<'_> {
    pub(super) async fn hold(&self, report: &mut Report) -> Result<()> {
        let container = self.node.container.name.clone();
        if !self.node.found.run_state.is_up() {
            return Err(Error::NothingToHold { container }.into());
        }
        self.refuse_archive()?;
        if let Some(state) = NodeState::look(&self.request.access.state_dir, &self.node)?
            && let Some((held, snapshot)) = self.held(&state).await?
        {
            report.msg =
                format!("the snapshot `{}` of container `{container}` is held already", self.request.tag);
            return self.tell_held(held, snapshot, report);
        }
        self.refuse_target().await?;
        report.changed = true;
        report.msg =
            format!("the snapshot `{}` of container `{container}` would be taken and held", self.request.tag);
        report.diff = Some(self.diff(json!({"state": "absent"}), json!({"state": "held"})));
        match self.request.mode.check {
            true => self.foresee(report).await,
            false => self.take_and_hold(report).await,
        }
    }

    pub(super) fn diff(&self, before: Value, after: Value) -> Diff {
        let of = format!("snapshot {} of container {}", self.request.tag, self.node.container.name);
        Diff { of, before, after }
    }

    /// What is there was made of another snapshot.
    fn refuse_archive(&self) -> Result<()> {
        let path = Store::path_in(&self.request.backup_dir, &self.request.tag);
        if self.present.force || !path.exists() {
            return Ok(());
        }
        let why = "a snapshot that is taken now would be of another time".to_owned();
        Err(Error::ArchiveExists { path, why }.into())
    }

    async fn take_and_hold(&self, report: &mut Report) -> Result<()> {
        report.changed = false;
        let access = &self.request.access;
        let state = NodeState::enter(&access.state_dir, &self.node, MODULE, &self.request.tag)?;
        report.progress = state.progress();
        report.standing = NOT_HELD.to_owned();
        // Under the lock now: another run may have made an archive, or begun a restore, since the first look.
        refuse_unfinished(&state, &self.node, report)?;
        self.refuse_archive()?;
        report.enter("ask");
        let (nodetool, identity) = self.meet().await?;
        let (held, snapshot) = match self.clear_leftovers(&state, &nodetool, report).await? {
            Some(held) => held,
            None => self.take_new(&state, nodetool, identity, report).await?,
        };
        report.changed = true;
        let (tag, container) = (&self.request.tag, &self.node.container.name);
        report.msg = format!(
            "the snapshot `{tag}` of container `{container}` is held: {} files of {} bytes",
            snapshot.files, snapshot.bytes
        );
        self.tell_held(held, snapshot, report)
    }

    async fn take_new(
        &self,
        state: &NodeState,
        nodetool: Nodetool,
        identity: NodeIdentity,
        report: &mut Report,
    ) -> Result<(Held, Snapshot)> {
        self.refuse_strange_snapshot()?;
        let live = self.ask(nodetool, identity).await?;
        state.remember(&self.node, &live.identity)?;
        self.mark(state, None)?;
        let is_held = Cell::new(false);
        let take = async {
            let (taken, snapshot) = self.take(&live, report).await?;
            report.enter("ask again");
            let schema_version = live.nodetool.describe_cluster().await?.schema_versions.join(",");
            let mut ring = BTreeMap::new();
            ring.extend(live.nodetool.status().await?.into_iter().map(|peer| (peer.host_id, peer.state)));
            let held = Held {
                taken,
                identity: live.identity.clone(),
                tables: live.tables.clone(),
                whole_node: live.whole_node,
                schema_version,
                ring,
            };
            self.mark(state, Some(held.clone()))?;
            is_held.set(true);
            Ok((held, snapshot))
        };
        finally(take, async || {
            if is_held.get() {
                return Ok(());
            }
            self.clear_snapshot(&live.nodetool, &self.request.tag).await?;
            state.unmark_snapshot()
        })
        .await
    }

    /// The snapshot that is held for this tag, where it is still whole.
    pub(super) async fn held(&self, state: &NodeState) -> Result<Option<(Held, Snapshot)>> {
        let mark = state.snapshot_mark()?.filter(|mark| mark.tag == self.request.tag);
        let Some(held) = mark.and_then(|mark| mark.held) else { return Ok(None) };
        let keyspaces: Vec<String> = held.tables.keys().cloned().collect();
        self.refuse_other_keyspaces(&keyspaces, held.whole_node).map_err(|why| Error::BadOption {
            message: format!("the snapshot `{}` is held, but {why}", self.request.tag),
            hint: "ask for the same keyspaces, or clear it with `state: released`",
        })?;
        match self.prove(&held.tables, &held.identity).await {
            Ok(snapshot) => Ok(Some((held, snapshot))),
            Err(error) if matches!(error.downcast_ref(), Some(Error::SnapshotIncomplete { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What an archive is made of, where the snapshot is held: the node as it was then.
    pub(super) fn as_it_was(&self, nodetool: Nodetool, held: (Held, Snapshot), report: &mut Report) -> Live {
        let (held, snapshot) = held;
        report.snapshot = Some(told(&held));
        let Held { taken, identity, tables, whole_node, .. } = held;
        Live { nodetool, identity, tables, whole_node, held: Some((taken, snapshot)) }
    }

    fn tell_held(&self, held: Held, snapshot: Snapshot, report: &mut Report) -> Result<()> {
        report.snapshot = Some(told(&held));
        report.node = Some(held.identity.told());
        if !report.changed {
            report.diff = Some(self.diff(json!({"state": "held"}), json!({"state": "held"})));
        }
        let keyspaces = held.tables.keys().cloned().collect();
        let manifest = self.manifest(held.taken, held.identity, keyspaces, held.whole_node, &snapshot);
        let mut backup = json!(Backup::of(&manifest, &self.request.backup_dir, 0, None));
        if let Value::Object(backup) = &mut backup {
            // What only an archive has.
            backup.retain(|key, _| !matches!(key.as_str(), "path" | "size" | "sha256"));
        }
        report.backup = Some(backup);
        Ok(())
    }
}

fn told(held: &Held) -> Value {
    let taken = humantime::format_rfc3339_millis(held.taken).to_string();
    json!({"taken": taken, "schema_version": held.schema_version, "ring": held.ring})
}
