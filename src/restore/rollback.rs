//! The way back: the previous data in its place again, the container as it was found.

use std::panic::{AssertUnwindSafe, resume_unwind};

use anyhow::{Result, anyhow};
use futures_util::FutureExt;
use serde_json::json;

use super::{MODULE, Restore, now_unix_ms};
use crate::ansible::request::RestoreRequest;
use crate::ansible::result::{Diff, Report};
use crate::cassandra::node::Node;
use crate::docker::RunState;
use crate::error::Error;
use crate::interrupt;
use crate::restore::journal::{Journal, Phase};
use crate::restore::swap::{PREVIOUS, REPLACED, REPLACED_UNDONE, Swap, UNDONE};
use crate::restore::work::WorkPath;
use crate::state::NodeState;

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

/// `state: rolled_back`.
pub(super) async fn by_hand(request: &RestoreRequest, node: &Node, report: &mut Report) -> Result<()> {
    let looked = NodeState::look(&request.access.state_dir, node)?;
    let Some(journal) = looked.as_ref().map(Journal::read).transpose()?.flatten() else {
        let why = format!("no restore of this node is recorded in `{}`", request.access.state_dir.display());
        return Err(Error::NoPreviousData { why }.into());
    };
    looked.as_ref().map_or(Ok(()), NodeState::refuse_busy)?;
    report.backup = Some(json!(journal.backup));
    if journal.phase == Phase::RolledBack && journal.earlier.is_none() {
        report.msg = format!("the restore of `{}` is rolled back already", journal.archive.path.display());
        return Ok(());
    }
    foresee(node, &journal, report)?;
    if request.mode.check { Ok(()) } else { end(request, node, journal, report).await }
}

/// What a roll-back would do, or what stands against it; nothing is changed.
pub(super) fn foresee(node: &Node, journal: &Journal, report: &mut Report) -> Result<()> {
    let name = &node.container.name;
    if was_touched(journal) {
        demand_previous(node, journal)?;
        let is_unfinished = !journal.phase.is_finished();
        if is_unfinished {
            report.standing = journal.left(node);
        }
        Swap::find_mark(node, &[&journal.run_id])?;
        if is_unfinished {
            report.standing = journal.standing(node);
        }
    }
    report.changed = true;
    report.msg = match journal.phase {
        Phase::Staging | Phase::Staged => "what was unpacked of the archive would be removed".to_owned(),
        Phase::RolledBack => {
            "the way back from the restore before would be put in its place again".to_owned()
        }
        _ => format!("the previous data of container `{name}` would be put back"),
    };
    tell_way_back(journal, node, report);
    Ok(())
}

fn was_touched(journal: &Journal) -> bool {
    (Phase::SettingAside..Phase::RolledBack).contains(&journal.phase)
}

/// Rolls back from wherever the journal says that a restore, or its roll-back, has come.
pub(super) async fn end(
    request: &RestoreRequest,
    node: &Node,
    journal: Journal,
    report: &mut Report,
) -> Result<()> {
    foresee(node, &journal, report)?;
    report.changed = false;
    let name = &node.container.name;
    let was_touched = was_touched(&journal);
    let state = NodeState::enter(&request.access.state_dir, node, MODULE, &journal.backup.tag)?;
    report.progress = state.progress();
    // Under the lock now: the other run may have ended since the first look.
    if !Journal::is_same(Journal::read(&state)?.as_ref(), Some(&journal)) {
        return Err(Error::Busy { holder: "a run that has ended just now".to_owned() }.into());
    }
    let swap = Swap::open(node)?;
    report.standing =
        format!("The roll-back of container `{name}` is unfinished, and no data is lost; run it again");
    let rolled_back = json!({"state": Phase::RolledBack.word(), "run_id": journal.run_id});
    let msg = match journal.phase {
        Phase::Staging | Phase::Staged => {
            "what was unpacked of the archive is removed; the node was not touched".to_owned()
        }
        Phase::RolledBack => "the way back from the restore before is in its place again".to_owned(),
        _ => format!("the previous data of container `{name}` is back in place"),
    };
    let mut restore = Restore { request, node, state, journal, swap, archive: None };
    if let Err(error) = restore.put_back(report).await {
        restore.tell_left(report).await;
        return Err(error);
    }
    (report.msg, report.restore) = (msg, Some(rolled_back));
    report.changed = true;
    report.rolled_back = Some(true);
    if was_touched { restore.settle(report).await } else { Ok(()) }
}

fn tell_way_back(journal: &Journal, node: &Node, report: &mut Report) {
    let (run_state, found) = (node.found.run_state, journal.found.run_state);
    let (data, left) = match journal.phase {
        Phase::Staging | Phase::Staged | Phase::RolledBack => ("live".to_owned(), run_state),
        Phase::Swapped | Phase::Starting | Phase::Started | Phase::Restored => {
            (format!("of {}", journal.archive.path.display()), found)
        }
        _ => ("set aside in part".to_owned(), found),
    };
    report.diff = Some(Diff {
        of: format!("container {}", node.container.name),
        before: json!({"container": run_state.word(), "data": data, "restore": journal.phase.word()}),
        after: json!({"container": left.word(), "data": "live", "restore": Phase::RolledBack.word()}),
    });
}

/// Without the data that this restore set aside, a roll-back would start a new node.
fn demand_previous(node: &Node, journal: &Journal) -> Result<()> {
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
        let undone = self.put_back(report).await;
        if undone.is_err() {
            self.tell_left(report).await;
        }
        let ended = match &undone {
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

    /// From any phase to the previous data in place and the container as it was found.
    async fn put_back(&mut self, report: &mut Report) -> Result<()> {
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
        if self.journal.phase == Phase::SettingAside && self.swap.is_untouched(PREVIOUS)? {
            // A blocker, at most.
            self.swap.remove(PREVIOUS)?;
            // Known before it is begun: a part of what was unpacked is not the archive.
            self.journal.enter(&self.state, Phase::UndoSwapped)?;
            self.swap.tidy()?;
            return self.leave_as_found(report).await;
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
        self.stop(report).await?;
        if self.journal.phase == Phase::UndoSettingAside {
            self.swap.set_aside(UNDONE, &self.blocker_words())?;
        }
        if self.journal.phase != Phase::UndoSwapped {
            self.make_sure_it_is_stopped().await?;
            demand_previous(self.node, &self.journal)?;
            self.journal.enter(&self.state, Phase::UndoMovingIn)?;
            self.swap.move_in(PREVIOUS)?;
            self.swap.refuse_moved(self.node)?;
            self.journal.enter(&self.state, Phase::UndoSwapped)?;
        }
        self.swap.tidy()?;
        self.swap.remove_empty(PREVIOUS)?;
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
        self.leave_as_found(report).await
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
    async fn settle(&mut self, report: &mut Report) -> Result<()> {
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
