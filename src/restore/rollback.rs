//! The way back: the previous data in its place again, the container as it was found.

use anyhow::Result;
use serde_json::json;

use super::Restore;
use crate::ansible::request::RestoreRequest;
use crate::ansible::result::Report;
use crate::cassandra::node::Node;
use crate::docker::RunState;
use crate::error::Error;
use crate::interrupt;
use crate::restore::journal::{Journal, Phase};
use crate::restore::swap::{PREVIOUS, Swap, UNDONE};
use crate::state::NodeState;

/// `state: rolled_back`.
pub(super) async fn by_hand(request: &RestoreRequest, node: &Node, report: &mut Report) -> Result<()> {
    let looked = NodeState::look(&request.access.state_dir, node)?;
    let Some(journal) = looked.as_ref().map(Journal::read).transpose()?.flatten() else {
        let why = "no restore of this node is recorded in `state_dir`".to_owned();
        return Err(Error::NoPreviousData { why }.into());
    };
    report.backup = Some(json!(journal.backup));
    if journal.phase == Phase::RolledBack {
        report.msg = format!("the restore of `{}` is rolled back already", journal.archive.path.display());
        return Ok(());
    }
    let name = &node.container.name;
    report.changed = true;
    report.msg = format!("the previous data of container `{name}` would be put back");
    if request.mode.check {
        return Ok(());
    }
    report.changed = false;
    let state = NodeState::enter(&request.access.state_dir, node)?;
    let swap = Swap::open(node)?;
    swap.check_mark(&journal.run_id)?;
    let needs_previous = (Phase::SettingAside..=Phase::Restored).contains(&journal.phase);
    if needs_previous && !swap.holds(PREVIOUS)? {
        let why = "the previous data was removed (`keep_previous: false`)".to_owned();
        return Err(Error::NoPreviousData { why }.into());
    }
    let mut restore = Restore { request, node, state, journal, swap };
    report.standing =
        format!("The roll-back of container `{name}` is unfinished, and no data is lost; run it again");
    restore.put_back(report).await?;
    report.changed = true;
    report.rolled_back = Some(true);
    report.msg = format!("the previous data of container `{name}` is back in place");
    report.restore = Some(json!({"state": restore.journal.phase.word(), "run_id": restore.journal.run_id}));
    Ok(())
}

impl Restore<'_> {
    /// A failure before the commit: puts everything back and returns what is to be told.
    pub(super) async fn undo(&mut self, error: anyhow::Error, report: &mut Report) -> anyhow::Error {
        let (failed_at, name) = (report.stage, self.node.container.name.clone());
        let undone = self.put_back(report).await;
        report.stage = failed_at;
        report.rolled_back = Some(undone.is_ok());
        match undone {
            Ok(()) => {
                let left =
                    if self.journal.found.run_state.is_up() { "running" } else { "stopped, as it was found" };
                report.standing =
                    format!("The previous data is back in place and container `{name}` is {left}");
                error
            }
            Err(then) => {
                report.standing = format!(
                    "The roll-back is unfinished: container `{name}` is not to be started by hand, and no data is lost; \
                     run `cassandra_restore` with `state: rolled_back`"
                );
                Error::twice(error, &then).into()
            }
        }
    }

    /// From any phase to the previous data in place and the container as it was found.
    async fn put_back(&mut self, report: &mut Report) -> Result<()> {
        report.enter("roll back");
        if matches!(self.journal.phase, Phase::Staging | Phase::Staged) {
            self.swap.tidy()?;
            return self.journal.enter(&self.state, Phase::RolledBack);
        }
        self.stop(report).await?;
        match self.journal.phase {
            // What is live is the rest of the previous data: there is nothing to take out.
            Phase::SettingAside => {}
            Phase::UndoSettingAside | Phase::UndoMovingIn | Phase::UndoSwapped => {}
            _ => {
                self.swap.clear(UNDONE)?;
                self.journal.enter(&self.state, Phase::UndoSettingAside)?;
            }
        }
        if self.journal.phase == Phase::UndoSettingAside {
            self.swap.set_aside(UNDONE, &self.blocker_words())?;
        }
        if self.journal.phase != Phase::UndoSwapped {
            self.make_sure_it_is_stopped().await?;
            self.journal.enter(&self.state, Phase::UndoMovingIn)?;
            self.swap.move_in(PREVIOUS)?;
            self.journal.enter(&self.state, Phase::UndoSwapped)?;
        }
        self.swap.tidy()?;
        self.swap.remove_empty(PREVIOUS)?;
        if !self.journal.was_started {
            // The archive still has every byte of it; no client ever wrote to it.
            self.swap.remove(UNDONE)?;
        }
        self.leave_as_found(report).await?;
        self.journal.enter(&self.state, Phase::RolledBack)
    }

    async fn leave_as_found(&self, report: &mut Report) -> Result<()> {
        let (container, found) = (&self.node.container, &self.journal.found);
        if container.inspect().await?.restart_policy != found.restart_policy {
            container.set_restart_policy(&found.restart_policy).await?;
        }
        report.leaves_container("stopped");
        if found.run_state.is_up() {
            container.start().await?;
            report.leaves_container("running");
        }
        // Whoever asked this run to end does not wait for the node.
        if found.run_state == RunState::Running && interrupt::check().is_ok() {
            self.node.wait_for_clients(self.request.access.wait_timeout).await?;
        }
        Ok(())
    }
}
