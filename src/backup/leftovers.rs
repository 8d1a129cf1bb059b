//! What a run that died has left on the node: a snapshot, a draft, a container that it had started.

use anyhow::Result;

use super::{Job, MODULE, draft};
use crate::ansible::result::Report;
use crate::cassandra::completeness::Snapshot;
use crate::cassandra::nodetool::Nodetool;
use crate::docker::RunState;
use crate::interrupt;
use crate::state::{Held, NodeState};

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
            let nodetool = Nodetool::find(&self.node.container, access).await?;
            self.wait_for_others().await?;
            self.clear_marked(&state, &nodetool, report).await?;
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

    /// Clears what a run that was killed left on this node: only what its mark says is ours. A snapshot that is held
    /// for this tag, and whole, is given back in place of that.
    pub(super) async fn clear_leftovers(
        &self,
        state: &NodeState,
        nodetool: &Nodetool,
        report: &mut Report,
    ) -> Result<Option<(Held, Snapshot)>> {
        self.wait_for_others().await?;
        if let Some(held) = self.held(state).await? {
            return Ok(Some(held));
        }
        let was_held =
            state.snapshot_mark()?.is_some_and(|mark| mark.tag == self.request.tag && mark.held.is_some());
        self.clear_marked(state, nodetool, report).await?;
        if was_held {
            report.warnings.push(format!(
                "the snapshot `{}` that was held is not whole any more: another one is taken",
                self.request.tag
            ));
        }
        Ok(None)
    }

    async fn wait_for_others(&self) -> Result<()> {
        tokio::select! {
            ended = self.wait_for_snapshots() => ended,
            interrupted = interrupt::requested() => Err(interrupted.into()),
        }
    }

    pub(super) async fn clear_marked(
        &self,
        state: &NodeState,
        nodetool: &Nodetool,
        report: &mut Report,
    ) -> Result<()> {
        let Some(mark) = state.snapshot_mark()? else { return Ok(()) };
        self.clear_snapshot(nodetool, &mark.tag).await?;
        draft::remove_left_over(&mark.backup_dir, &mark.tag)?;
        state.unmark_snapshot()?;
        if let Some(held) = mark.held.filter(|_| mark.tag != self.request.tag) {
            let taken = humantime::format_rfc3339_seconds(held.taken);
            report.warnings.push(format!(
                "the snapshot `{}` was held since {taken} for a backup that was never made of it, and is cleared",
                mark.tag
            ));
        }
        Ok(())
    }
}
