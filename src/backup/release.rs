//! `state: released`: no snapshot of ours of this tag is held any more. Archives stay.

use anyhow::Result;
use serde_json::json;

use super::{Job, MODULE, draft};
use crate::ansible::result::Report;
use crate::cassandra::data_files::holding_snapshot;
use crate::cassandra::nodetool::Nodetool;
use crate::durable;
use crate::state::NodeState;

impl Job<'_> {
    pub(super) async fn release(&self, report: &mut Report) -> Result<()> {
        let (access, tag, name) = (&self.request.access, &self.request.tag, &self.node.container.name);
        report.standing = "The data is untouched".to_owned();
        let looked = NodeState::look(&access.state_dir, &self.node)?;
        let is_there = looked.as_ref().map(|state| self.is_ours(state)).transpose()?.unwrap_or(false);
        report.changed = is_there;
        report.diff = Some(
            self.diff(json!({"state": if is_there { "held" } else { "absent" }}), json!({"state": "absent"})),
        );
        report.msg = match (is_there, self.request.mode.check) {
            (false, _) => format!("no snapshot `{tag}` of ours is held on container `{name}`"),
            (true, true) => format!("the snapshot `{tag}` of container `{name}` would be cleared"),
            (true, false) => format!("the snapshot `{tag}` of container `{name}` is cleared"),
        };
        if is_there && self.request.mode.check {
            looked.map_or(Ok(()), |state| state.refuse_busy())?;
        } else if is_there {
            report.changed = false;
            let state = NodeState::enter(&access.state_dir, &self.node, MODULE, tag)?;
            report.progress = state.progress();
            report.enter("clear snapshot");
            self.clear_ours(&state).await?;
            report.changed = true;
        }
        Ok(())
    }

    /// Without a mark it is somebody else's.
    fn is_ours(&self, state: &NodeState) -> Result<bool> {
        Ok(state.snapshot_mark()?.is_some_and(|mark| mark.tag == self.request.tag))
    }

    async fn clear_ours(&self, state: &NodeState) -> Result<()> {
        // Under the lock now: another run may have cleared it, and its operator taken one since.
        let Some(mark) = state.snapshot_mark()?.filter(|mark| mark.tag == self.request.tag) else {
            return Ok(());
        };
        if self.node.found.run_state.is_up() {
            let nodetool = Nodetool::find(&self.node.container, &self.request.access).await?;
            self.clear_snapshot(&nodetool, &mark.tag).await?;
        } else {
            self.remove_snapshot(&mark.tag)?;
        }
        draft::remove_left_over(&mark.backup_dir, &mark.tag)?;
        state.unmark_snapshot()
    }

    /// As Cassandra itself clears one, for a node that is stopped: its links are removed, the sstables stay.
    fn remove_snapshot(&self, tag: &str) -> Result<()> {
        let roots = self.node.open_data()?;
        for table in holding_snapshot(&roots, tag)? {
            let snapshots = roots[table.root].dir_at(&table.path()?.join("snapshots")?)?;
            durable::remove(&snapshots, tag)?;
        }
        Ok(())
    }
}
