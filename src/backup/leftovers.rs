//! What a run that died has left on the node: a snapshot, a draft, a container that it had started.

use anyhow::Result;

use super::{Job, MODULE, draft};
use crate::ansible::result::Report;
use crate::cassandra::nodetool::Nodetool;
use crate::docker::RunState;
use crate::interrupt;
use crate::state::NodeState;

impl Job<'_> {
    /// With nothing else to do: clears what a run that died has left, unless that run is only not at its end yet.
    pub(super) async fn clear_up(&self, report: &mut Report) -> Result<()> {
        let (access, tag) = (&self.request.access, &self.request.tag);
        let Some(state) = NodeState::look(&access.state_dir, &self.node)? else { return Ok(()) };
        let is_up = self.node.found.run_state == RunState::Running;
        let has_snapshot = is_up && state.snapshot_mark()?.is_some();
        // The container that it is of was stopped since, or started by somebody else: no change to anybody.
        let is_stale = !self.is_left_running && state.has_start_mark()?;
        if !(has_snapshot || self.is_left_running || is_stale) || state.running()?.is_some() {
            return Ok(());
        }
        if is_stale && !has_snapshot {
            let is_real = !self.request.mode.check;
            let state = is_real.then(|| NodeState::enter(&access.state_dir, &self.node, MODULE, tag));
            return state.map_or(Ok(()), |state| state?.unmark_start());
        }
        report.msg.push_str(match self.request.mode.check {
            true => "; what a run that died has left would be cleared",
            false => "; what a run that died has left is cleared",
        });
        if self.request.mode.check {
            report.changed = true;
            return Ok(());
        }
        let state = NodeState::enter(&access.state_dir, &self.node, MODULE, tag)?;
        if has_snapshot {
            report.enter("clear snapshot");
            self.clear_leftovers(&state, &Nodetool::find(&self.node.container, access).await?).await?;
            report.changed = true;
        }
        if self.is_left_running {
            report.enter("stop");
            let stopped = self.node.container.stop(access.stop_timeout).await?;
            report.leaves_container(stopped.run_state.word());
            report.changed = true;
            state.unmark_start()?;
        }
        Ok(())
    }

    /// Clears what a run that was killed left on this node: only what its mark says is ours.
    pub(super) async fn clear_leftovers(&self, state: &NodeState, nodetool: &Nodetool) -> Result<()> {
        tokio::select! {
            ended = self.wait_for_snapshots() => ended?,
            interrupted = interrupt::requested() => return Err(interrupted.into()),
        }
        let Some(mark) = state.snapshot_mark()? else { return Ok(()) };
        self.clear_snapshot(nodetool, &mark.tag).await?;
        draft::remove_left_over(&mark.backup_dir, &mark.tag)?;
        state.unmark_snapshot()
    }
}
