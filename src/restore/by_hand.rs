//! The way back that is asked for: `state: swapped_back` and `state: rolled_back`.

use anyhow::Result;
use serde_json::json;

use super::{MODULE, Restore};
use crate::ansible::request::{RestoreRequest, RestoreState};
use crate::ansible::result::{Diff, Report};
use crate::cassandra::node::Node;
use crate::docker::{RestartPolicy, RunState};
use crate::error::Error;
use crate::restore::journal::{Journal, Phase};
use crate::restore::rollback::demand_previous;
use crate::restore::swap::{PREVIOUS, Swap};
use crate::state::NodeState;

pub(super) async fn run(request: &RestoreRequest, node: &Node, report: &mut Report) -> Result<()> {
    let looked = NodeState::look(&request.access.state_dir, node)?;
    let Some(journal) = looked.as_ref().map(Journal::read).transpose()?.flatten() else {
        let why = format!("no restore of this node is recorded in `{}`", request.access.state_dir.display());
        return Err(Error::NoPreviousData { why }.into());
    };
    looked.as_ref().map_or(Ok(()), NodeState::refuse_busy)?;
    report.backup = Some(json!(journal.backup));
    let to = match request.state {
        RestoreState::SwappedBack => Phase::UndoSwapped,
        _ => Phase::RolledBack,
    };
    if let Some(msg) = is_there(node, &journal, to)? {
        report.msg = msg;
        return Ok(());
    }
    foresee(node, &journal, to, report)?;
    if request.mode.check { Ok(()) } else { end(request, node, journal, to, report).await }
}

/// What is told where there is nothing to do.
fn is_there(node: &Node, journal: &Journal, to: Phase) -> Result<Option<String>> {
    let is_held = !node.found.run_state.is_up() && node.found.restart_policy == RestartPolicy::no();
    Ok(match journal.phase {
        Phase::RolledBack if to == Phase::UndoSwapped || journal.earlier.is_none() => {
            Some(format!("the restore of `{}` is rolled back already", journal.archive.path.display()))
        }
        Phase::UndoSwapped if to == Phase::UndoSwapped && is_held && !Swap::holds(node, PREVIOUS)? => {
            Some(format!(
                "the previous data of container `{}` is back in place already, and it is stopped",
                node.container.name
            ))
        }
        _ => None,
    })
}

/// What a roll-back would do, or what stands against it; nothing is changed.
pub(super) fn foresee(node: &Node, journal: &Journal, to: Phase, report: &mut Report) -> Result<()> {
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
        _ if to == Phase::UndoSwapped => {
            format!("the previous data of container `{name}` would be put back, and it would be stopped")
        }
        _ => format!("the previous data of container `{name}` would be put back"),
    };
    tell_way_back(journal, to, node, report);
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
    to: Phase,
    report: &mut Report,
) -> Result<()> {
    foresee(node, &journal, to, report)?;
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
    let reached = reached(&journal, to);
    let rolled_back = json!({"state": reached, "run_id": journal.run_id});
    let msg = match journal.phase {
        Phase::Staging | Phase::Staged => {
            "what was unpacked of the archive is removed; the node was not touched".to_owned()
        }
        Phase::RolledBack => "the way back from the restore before is in its place again".to_owned(),
        _ if to == Phase::UndoSwapped => {
            format!("the previous data of container `{name}` is back in place, and it is stopped")
        }
        _ => format!("the previous data of container `{name}` is back in place"),
    };
    let mut restore = Restore { request, node, state, journal, swap, archive: None };
    if let Err(error) = restore.put_back(to, report).await {
        restore.tell_left(report).await;
        return Err(error);
    }
    (report.msg, report.restore) = (msg, Some(rolled_back));
    report.changed = true;
    report.rolled_back = Some(true);
    match was_touched && to == Phase::RolledBack {
        true => restore.settle(report).await,
        false => Ok(()),
    }
}

/// As the option `state` calls it: a node that was not touched has nothing to be swapped back.
fn reached(journal: &Journal, to: Phase) -> &'static str {
    match to {
        Phase::UndoSwapped if was_touched(journal) => RestoreState::SwappedBack.word(),
        _ => RestoreState::RolledBack.word(),
    }
}

fn tell_way_back(journal: &Journal, to: Phase, node: &Node, report: &mut Report) {
    let (run_state, found) = (node.found.run_state, journal.found.run_state);
    let (data, left) = match journal.phase {
        Phase::Staging | Phase::Staged | Phase::RolledBack => ("live".to_owned(), run_state),
        Phase::Swapped | Phase::Starting | Phase::Started | Phase::Restored => {
            (format!("of {}", journal.archive.path.display()), found)
        }
        _ => ("set aside in part".to_owned(), found),
    };
    let left = match to {
        Phase::UndoSwapped if was_touched(journal) => RunState::Exited,
        _ => left,
    };
    report.diff = Some(Diff {
        of: format!("container {}", node.container.name),
        before: json!({"container": run_state.word(), "data": data, "restore": journal.phase.word()}),
        after: json!({"container": left.word(), "data": "live", "restore": reached(journal, to)}),
    });
}
