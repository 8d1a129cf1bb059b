//! The way back: the previous data in its place again, the container as it was found.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::SystemTime;

use anyhow::{Result, anyhow};
use futures_util::FutureExt;

use super::{Restore, now_unix_ms};
use crate::ansible::result::Report;
use crate::cassandra::node::Node;
use crate::docker::RunState;
use crate::error::Error;
use crate::interrupt;
use crate::restore::journal::{Journal, Phase};
use crate::restore::swap::{PREVIOUS, REPLACED, REPLACED_UNDONE, Swap, UNDONE};
use crate::restore::work::WorkPath;

/// Does the work; where it fails, takes it back. Where it panics too: the panic goes on once that is done.
pub(super) async fn or_take_back<S>(
    scope: &mut S,
    work: impl AsyncFnOnce(&mut S) -> Result<()>,
    take_back: impl AsyncFnOnce(&mut S, anyhow::Error) -> anyhow::Error,
) -> Result<()> {
    match AssertUnwindSafe(work(scope)).catch_unwind().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(take_back(scope, error).await),
        Err(panic) => {
            take_back(scope, anyhow!("internal error")).await;
            resume_unwind(panic)
        }
    }
}

/// Without the data that this restore set aside, a roll-back would start a new node.
pub(super) fn demand_previous(node: &Node, journal: &Journal) -> Result<()> {
    if journal.previous_removed {
        let option = if journal.in_place { "staging: in_place" } else { "keep_previous: false" };
        return Err(
            Error::NoPreviousData { why: format!("the previous data was removed (`{option}`)") }.into()
        );
    }
    // Not yet set aside, or moved in again already.
    let may_be_live = matches!(journal.phase, Phase::SettingAside | Phase::UndoMovingIn | Phase::UndoSwapped);
    let is_there = (may_be_live || Swap::holds(node, PREVIOUS)?)
        && (!journal.held_identity || Swap::finds_identity(node, PREVIOUS, may_be_live)?);
    if is_there {
        return Ok(());
    }
    let mut paths = Vec::new();
    for place in &node.data {
        paths.push(WorkPath::of(place)?.path_of(PREVIOUS).display().to_string());
    }
    let why = format!("the previous data is not in `{}` any more", paths.join("`, `"));
    Err(Error::NoPreviousData { why }.into())
}

impl Restore<'_> {
    /// A failure before the commit: puts everything back and returns what is to be told.
    pub(super) async fn undo(&mut self, error: anyhow::Error, report: &mut Report) -> anyhow::Error {
        if self.journal.phase == Phase::Started {
            // Once it is committed, clients may have written.
            let left = self.tell_left(report).await;
            self.stand_committed(left, report);
            return error;
        }
        if self.journal.is_past_return() {
            self.tell_left(report).await;
            self.stand_unfinished(report);
            return error;
        }
        let (failed_at, name) = (report.stage, self.node.container.name.clone());
        let was_touched = self.journal.phase > Phase::Staged;
        // The other nodes of a cluster may be up with the restored data already: none is to meet them with its own.
        let to = if self.request.whole_cluster { Phase::UndoSwapped } else { Phase::RolledBack };
        let undone = self.put_back(to, report).await;
        if undone.is_err() {
            self.tell_left(report).await;
        }
        let ended = match &undone {
            Ok(()) if was_touched && to == Phase::UndoSwapped => {
                report.standing = format!(
                    "The previous data is back in place, and container `{name}` is stopped, for other nodes may be up \
                     with the restored data; roll all of them back (`state: swapped_back`, then `rolled_back`)"
                );
                Ok(())
            }
            Ok(()) if was_touched => self.settle(report).await,
            Ok(()) => Ok(()),
            Err(_) if self.journal.phase == Phase::UndoSwapped => {
                report.standing = format!(
                    "The previous data is back in place, but container `{name}` is not as it was found; run \
                     `cassandra_restore` with `state: rolled_back`"
                );
                Ok(())
            }
            Err(_) if was_touched => {
                report.standing = format!(
                    "The roll-back is unfinished: container `{name}` is not to be started by hand, and no data is \
                     lost; run `cassandra_restore` with `state: rolled_back`"
                );
                Ok(())
            }
            Err(_) => Ok(()),
        };
        report.end_step();
        report.stage = failed_at;
        report.rolled_back = was_touched.then_some(undone.is_ok());
        match undone.and(ended) {
            Ok(()) => error,
            // Nothing was touched, and what is missing is missed twice.
            Err(then) if !was_touched && then.to_string() == error.to_string() => error,
            Err(then) => Error::twice(error, &then).into(),
        }
    }

    /// From any phase to the previous data in place, and the container as it was found; or stopped, where that is as far
    /// as to go. A node that was not touched is left as it is.
    pub(super) async fn put_back(&mut self, to: Phase, report: &mut Report) -> Result<()> {
        report.enter("roll back");
        match self.journal.phase {
            Phase::Staging | Phase::Staged => {
                self.forget_staging()?;
                self.tell_of_earlier(report);
                return Ok(());
            }
            Phase::RolledBack => {
                self.recall_earlier()?;
                self.tell_of_earlier(report);
                return Ok(());
            }
            _ => {}
        }
        self.swap_back(report).await?;
        match to {
            Phase::UndoSwapped => self.stop(report).await,
            _ => self.leave_as_found(report).await,
        }
    }

    /// The previous data in its place. The container is stopped for it, unless nothing was set aside yet.
    async fn swap_back(&mut self, report: &mut Report) -> Result<()> {
        if self.journal.phase == Phase::SettingAside && self.swap.is_untouched(PREVIOUS)? {
            // A blocker, at most.
            self.swap.remove(PREVIOUS)?;
            // Known before it is begun: a part of what was unpacked is not the archive.
            self.journal.enter(&self.state, Phase::UndoSwapped)?;
            return self.swap.tidy();
        }
        self.swap.refuse_moved(self.node)?;
        demand_previous(self.node, &self.journal)?;
        let is_up = self.node.container.inspect().await?.run_state.is_up();
        // By whomever it was started: clients may have written to it.
        self.journal.was_started |= is_up && self.journal.phase > Phase::MovingIn;
        if matches!(self.journal.phase, Phase::Started | Phase::Restored) {
            self.journal.stopped_unix_ms = is_up.then(now_unix_ms);
        }
        // While it sets aside, what is live is the rest of the previous data: there is nothing to take out.
        if self.journal.phase != Phase::SettingAside && !self.journal.phase.is_undoing() {
            self.swap.clear(UNDONE)?;
            self.journal.enter(&self.state, Phase::UndoSettingAside)?;
        }
        if self.journal.phase == Phase::UndoSwapped {
            self.stop(report).await?;
        } else {
            self.stop_or_block(report).await?;
            match self.journal.phase {
                Phase::UndoSettingAside => self.set_aside_to(UNDONE, report).await?,
                _ => self.hold_down(SystemTime::now(), report).await?,
            }
            demand_previous(self.node, &self.journal)?;
            self.journal.enter(&self.state, Phase::UndoMovingIn)?;
            self.swap.move_in(PREVIOUS)?;
            self.swap.refuse_moved(self.node)?;
            self.journal.enter(&self.state, Phase::UndoSwapped)?;
            // What was started behind the blocker is about to end on it.
            self.stop_or_block(report).await?;
        }
        self.swap.tidy()?;
        // Those that a complete restore had brought to its tables.
        self.swap.carry_snapshots(UNDONE)?;
        if !self.journal.was_started {
            // The archive still has every byte of it; no client ever wrote to it.
            self.swap.remove(UNDONE)?;
        }
        if self.journal.earlier_removed {
            self.swap.remove(REPLACED)?;
            self.swap.remove(REPLACED_UNDONE)?;
        }
        // Goes last: as long as it is there, something of the above may be left to do.
        self.swap.remove_empty(PREVIOUS)
    }

    /// Asked and not assumed: it may have ended, or been started by somebody else.
    pub(super) async fn tell_left(&self, report: &mut Report) -> Option<RunState> {
        let left = self.node.container.inspect().await.ok()?.run_state;
        report.leaves_container(left.word());
        Some(left)
    }

    /// Only with the previous data in its place.
    async fn leave_as_found(&mut self, report: &mut Report) -> Result<()> {
        let (container, found) = (&self.node.container, &self.journal.found);
        let facts = container.inspect().await?;
        let mut set = Ok(());
        if facts.restart_policy != found.restart_policy {
            set = container.set_restart_policy(&found.restart_policy).await;
        }
        if found.run_state.is_up() && !facts.run_state.is_up() {
            report.leaves_container(facts.run_state.word());
            container.start().await?;
        }
        let left = if found.run_state.is_up() { found.run_state } else { facts.run_state };
        report.leaves_container(left.word());
        // A node that serves with the wrong policy is better than one that does not.
        set?;
        self.journal.enter(&self.state, Phase::RolledBack)
    }

    /// With the previous data back: sees the node serve again, and then leaves the restore before as the last
    /// one. The journal forgets how this one found the container.
    pub(super) async fn settle(&mut self, report: &mut Report) -> Result<()> {
        let served = self.wait_as_found(report).await;
        let recalled = self.recall_earlier();
        match &recalled {
            Ok(()) => self.tell_of_earlier(report),
            Err(_) => report.standing.push_str(
                "; the way back from the restore before is not in its place yet: run `cassandra_restore` with \
                 `state: rolled_back`",
            ),
        }
        match (served, recalled) {
            (Err(first), Err(then)) => Err(Error::twice(first, &then).into()),
            (served, recalled) => served.and(recalled),
        }
    }

    /// Whoever asks for a roll-back once more gets another one.
    fn tell_of_earlier(&self, report: &mut Report) {
        if self.journal.phase == Phase::Restored && !self.journal.previous_removed {
            report.warnings.push(format!(
                "the restore of `{}` before this one is the last one again: another `state: rolled_back` takes that \
                 one back",
                self.journal.archive.path.display()
            ));
        }
    }

    /// With the previous data back: waits until a node that was found running serves again.
    async fn wait_as_found(&self, report: &mut Report) -> Result<()> {
        let stands = |how: &str| {
            let name = &self.node.container.name;
            format!("The previous data is back in place and container `{name}` is {how}")
        };
        report.standing = match self.journal.found.run_state {
            // Whoever asked this run to end does not wait for the node.
            RunState::Running if interrupt::check().is_err() => stands("started"),
            RunState::Running => {
                report.standing = stands("started, but was not seen to serve clients");
                if let Err(error) = self.node.wait_for_clients(self.request.access.wait_timeout).await {
                    match self.tell_left(report).await {
                        Some(RunState::Exited | RunState::Created) => {
                            report.standing = stands("stopped: it was started, and has ended by itself");
                        }
                        Some(RunState::Running) => {}
                        left @ (Some(RunState::Restarting | RunState::Paused) | None) => {
                            report.standing = stands(&format!("{}: it was started", RunState::told(left)));
                        }
                    }
                    return Err(error);
                }
                self.tell_downtime(report);
                stands("running")
            }
            RunState::Restarting => stands("restarting, as it was found"),
            _ => stands("stopped, as it was found"),
        };
        Ok(())
    }
}

#[cfg(test)]
#[path = "rollback_tests.rs"]
mod tests;
