//! What a restore does next, by what the runs before have left; what it would do, in check mode.

use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::json;

use super::{MODULE, Restore, by_hand, plan, preflight, proof};
use crate::ansible::request::{RestoreRequest, RestoreState, Source, Start};
use crate::ansible::result::{Diff, Report};
use crate::archive::manifest::NodeIdentity;
use crate::archive::reader::Archive;
use crate::cassandra::node::Node;
use crate::docker::{Engine, RunState};
use crate::effort::Effort;
use crate::error::Error;
use crate::progress::Progress;
use crate::restore::journal::{ArchiveId, Found, Journal, Phase};
use crate::restore::swap::{PREVIOUS, Swap};
use crate::state::NodeState;
use crate::task::blocking;

/// Goes on from wherever the node is to the state that is asked for.
pub(super) async fn forward(
    request: &RestoreRequest,
    engine: &Engine,
    node: &Node,
    source: &Source,
    report: &mut Report,
) -> Result<()> {
    let archive = preflight::open_archive(source, node, request).await?;
    report.backup = Some(json!(archive.backup()?));
    let looked = NodeState::look(&request.access.state_dir, node)?;
    let journal = looked.as_ref().map(Journal::read).transpose()?.flatten();
    looked.as_ref().map_or(Ok(()), NodeState::refuse_busy)?;
    let course = Course::of(journal.as_ref(), &archive, request).inspect_err(|_| {
        report.standing = journal.as_ref().map_or_else(String::new, |journal| journal.standing(node));
    })?;
    let begun = Begun { request, node, archive, journal };
    match course {
        Course::Begin => begun.anew(engine, None, report).await,
        Course::Again => begun.anew(engine, Some("`again: true` asks for it".to_owned()), report).await,
        Course::Prove(complete) => {
            let (archive, doubt) = proof::doubt(node, &complete, begun.archive, &request.access).await?;
            let begun = Begun { archive, ..begun };
            match doubt {
                Some(why) => begun.anew(engine, Some(why), report).await,
                None => begun.is_proven(&complete, report),
            }
        }
        Course::GoOn(phase) => begun.go_on(phase, engine, report).await,
        Course::BackFirst(undoing) => begun.back_first(undoing, engine, report).await,
    }
}

/// What a run does, by what the runs before have left.
enum Course {
    Begin,
    /// This archive was restored, and is to be whatever the node holds now.
    Again,
    /// This archive was restored: unchanged, if its data is still there.
    Prove(Box<Journal>),
    /// A run was cut off at this phase, or was asked for no more.
    GoOn(Phase),
    /// A roll-back of this archive's restore was cut off: it is ended before the restore begins anew.
    BackFirst(Box<Journal>),
}

impl Course {
    /// Another archive's restore that has touched the node must be finished or undone first.
    fn of(journal: Option<&Journal>, archive: &Archive, request: &RestoreRequest) -> Result<Course> {
        let Some(journal) = journal else { return Ok(Course::Begin) };
        let is_same = journal.archive.toc_digest == archive.toc_digest();
        match journal.phase {
            Phase::Staging | Phase::RolledBack => Ok(Course::Begin),
            Phase::Restored if is_same && request.again => Ok(Course::Again),
            Phase::Restored if is_same => Ok(Course::Prove(Box::new(journal.clone()))),
            Phase::Restored => Ok(Course::Begin),
            Phase::Staged if is_same && journal.in_place == request.in_place => {
                Ok(Course::GoOn(Phase::Staged))
            }
            Phase::Staged => Ok(Course::Begin),
            _ if !is_same => Err(journal.unfinished().into()),
            phase if phase.is_undoing() => Ok(Course::BackFirst(Box::new(journal.clone()))),
            phase => Ok(Course::GoOn(phase)),
        }
    }
}

/// What a restore begins with.
struct Begun<'a> {
    request: &'a RestoreRequest,
    node: &'a Node,
    archive: Archive,
    journal: Option<Journal>,
}

impl<'a> Begun<'a> {
    /// From the first phase on. `because`: why a complete restore of this archive is done again.
    async fn anew(self, engine: &Engine, because: Option<String>, report: &mut Report) -> Result<()> {
        let identity = self.preflight(engine, false, report).await?;
        tell_plan(self.request, self.node, &self.archive, None, report);
        report.restore = because.map(|why| json!({"state": Phase::Restored.word(), "because": why}));
        if self.request.mode.check {
            return verify(self.archive, self.request.effort, report).await;
        }
        report.changed = false;
        self.begin(identity, report).await
    }

    async fn begin(self, identity: Option<NodeIdentity>, report: &mut Report) -> Result<()> {
        let (state, archive) = (self.enter(report)?, self.archive);
        // Who starts is compared with who was here, where the archive does not tell.
        if let Some(identity) = identity.filter(|_| !archive.manifest().node.is_known()) {
            state.remember(self.node, &identity)?;
        }
        let journal = begin(self.request, self.node, &archive, self.journal)?;
        walk(self.request, self.node, state, journal, archive, report).await
    }

    async fn go_on(self, phase: Phase, engine: &Engine, report: &mut Report) -> Result<()> {
        let Some(journal) = self.journal.clone() else { return self.anew(engine, None, report).await };
        if has_reached(phase, self.request.state) {
            let (path, state) = (self.archive.path().display(), self.request.state.word());
            report.msg = format!("the restore of `{path}` is {state} already");
            report.restore = Some(json!({"state": phase.word(), "run_id": journal.run_id}));
            return Ok(());
        }
        match phase.touches_the_node() {
            false => self.preflight(engine, true, report).await.map(|_| ())?,
            true => {
                report.standing = journal.left(self.node);
                // After a reboot its disk may not be mounted: Cassandra would make itself a new node there.
                Swap::find_mark(self.node, &[&journal.run_id])?;
                report.standing = journal.standing(self.node);
            }
        }
        tell_plan(self.request, self.node, &self.archive, Some(phase), report);
        if self.request.mode.check {
            let is_read_again = journal.in_place && phase < Phase::MovingIn;
            return if is_read_again {
                verify(self.archive, self.request.effort, report).await
            } else {
                Ok(())
            };
        }
        report.changed = false;
        let state = self.enter(report)?;
        walk(self.request, self.node, state, journal, self.archive, report).await
    }

    async fn back_first(self, undoing: Box<Journal>, engine: &Engine, report: &mut Report) -> Result<()> {
        if self.request.mode.check {
            by_hand::foresee(self.node, &undoing, Phase::RolledBack, report)?;
            self.tell_plan_after(self.node, report);
            return verify(self.archive, self.request.effort, report).await;
        }
        by_hand::end(self.request, self.node, *undoing, Phase::RolledBack, report).await?;
        // It held the lock until here: the restore takes it anew.
        report.progress = Progress::default();
        let node = Node::look(self.node.container.clone(), &self.request.access).await?;
        self.tell_plan_after(&node, report);
        let looked = NodeState::look(&self.request.access.state_dir, &node)?;
        let journal = looked.as_ref().map(Journal::read).transpose()?.flatten();
        let again = Begun { node: &node, journal, ..self };
        let identity = again.preflight(engine, false, report).await?;
        again.begin(identity, report).await
    }

    /// Of the roll-back and the restore after it as one.
    fn tell_plan_after(&self, node: &Node, report: &mut Report) {
        let back = report.diff.take();
        tell_plan(self.request, node, &self.archive, None, report);
        if let (Some(back), Some(forth)) = (back, &mut report.diff) {
            forth.before = back.before;
            if self.request.state == RestoreState::Staged {
                forth.after["container"] = back.after["container"].clone();
            }
        }
    }

    /// The restore is complete and nothing has changed since; only what is kept of it may still have to go.
    fn is_proven(&self, complete: &Journal, report: &mut Report) -> Result<()> {
        let (path, name) = (self.archive.path().display(), &self.node.container.name);
        report.msg =
            format!("container `{name}` is restored from `{path}` already, and nothing has changed since");
        report.restore = Some(json!({"state": complete.phase.word(), "run_id": complete.run_id}));
        report.changed = !self.request.keep_previous && Swap::holds_previous(self.node)?;
        if !report.changed {
            return Ok(());
        }
        report.msg.push_str(match self.request.mode.check {
            true => "; the previous data would be removed",
            false => "; the previous data is removed",
        });
        if self.request.mode.check {
            return Ok(());
        }
        report.changed = false;
        let (state, mut complete) = (self.enter(report)?, complete.clone());
        // Known before it is begun: a part of the data is no way back.
        complete.enter_with(&state, Phase::Restored, |journal| journal.previous_removed = true)?;
        report.changed = true;
        Swap::open(self.node)?.remove_but_snapshots(PREVIOUS)
    }

    /// Who the node is, as far as that is known.
    async fn preflight(
        &self,
        engine: &Engine,
        is_staged: bool,
        report: &mut Report,
    ) -> Result<Option<NodeIdentity>> {
        report.enter("preflight");
        let (access, in_place) = (&self.request.access, self.request.in_place);
        let mut found = preflight::find(engine, self.node, access, in_place).await?;
        (found.is_staged, found.is_at_once) = (is_staged, self.request.state == RestoreState::Restored);
        found.is_whole_cluster = self.request.whole_cluster;
        let located = preflight::locate(&self.archive);
        let (manifest, toc) = (self.archive.manifest(), self.archive.toc());
        let verdict = plan::judge(&found, &located, manifest, toc, self.request.force);
        report.warnings.extend(self.archive.notes());
        report.warnings.extend(verdict.warnings);
        match verdict.refusals.is_empty() {
            true => Ok(found.identity),
            false => Err(Error::Refused { refusals: verdict.refusals }.into()),
        }
    }

    /// Takes the node for this run alone. Another run may have ended since the first look.
    fn enter(&self, report: &mut Report) -> Result<NodeState> {
        let tag = &self.archive.manifest().tag;
        let state = NodeState::enter(&self.request.access.state_dir, self.node, MODULE, tag)?;
        report.progress = state.progress();
        match Journal::is_same(Journal::read(&state)?.as_ref(), self.journal.as_ref()) {
            true => Ok(state),
            false => Err(Error::Busy { holder: "a run that has ended just now".to_owned() }.into()),
        }
    }
}

async fn walk(
    request: &RestoreRequest,
    node: &Node,
    state: NodeState,
    journal: Journal,
    archive: Archive,
    report: &mut Report,
) -> Result<()> {
    let swap = Swap::open(node)?;
    Restore { request, node, state, journal, swap, archive: Some(archive) }.walk(report).await
}

fn has_reached(phase: Phase, state: RestoreState) -> bool {
    let goal = match state {
        RestoreState::Staged => Phase::Staged,
        RestoreState::Swapped => Phase::Swapped,
        RestoreState::Started => Phase::Started,
        RestoreState::Restored | RestoreState::SwappedBack | RestoreState::RolledBack => return false,
    };
    phase >= goal
}

/// What staging would find, where nothing may be unpacked.
async fn verify(archive: Archive, effort: Effort, report: &mut Report) -> Result<()> {
    report.enter("verify");
    blocking(move || effort.spend(|threads| archive.verify(threads, &mut |_| {})).map(|_| ())).await
}

fn tell_plan(
    request: &RestoreRequest,
    node: &Node,
    archive: &Archive,
    from: Option<Phase>,
    report: &mut Report,
) {
    let (path, name) = (archive.path().display(), &node.container.name);
    let goal = request.state.word();
    report.changed = true;
    report.msg = format!("container `{name}` would be {goal} from `{path}`");
    let archives = format!("{path}, made {}", humantime::format_rfc3339_seconds(archive.manifest().created));
    let is_swapped = from.is_some_and(Phase::touches_the_node);
    let found = node.found.run_state;
    let (data, left) = match request.state {
        RestoreState::Staged => ("live", found),
        RestoreState::Swapped => (archives.as_str(), RunState::Exited),
        _ => (archives.as_str(), RunState::Running),
    };
    let is_stopped_again = request.state == RestoreState::Restored && request.start == Start::AsFound;
    report.diff = Some(Diff {
        of: format!("container {name}"),
        before: json!({
            "container": found.word(),
            "data": if is_swapped { &archives } else { "live" },
            "restore": from.map(Phase::word),
        }),
        after: json!({
            "container": if is_stopped_again { "as it was found" } else { left.word() },
            "data": data,
            "restore": goal,
        }),
    });
}

fn begin(
    request: &RestoreRequest,
    node: &Node,
    archive: &Archive,
    before: Option<Journal>,
) -> Result<Journal> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("no random number")?;
    Ok(Journal {
        run_id: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        phase: Phase::Staging,
        archive: ArchiveId { path: archive.path().to_owned(), toc_digest: archive.toc_digest() },
        backup: archive.backup()?,
        container: node.container.name.clone(),
        found: Found { run_state: node.found.run_state, restart_policy: node.found.restart_policy.clone() },
        begun: SystemTime::now(),
        was_started: false,
        stopped_unix_ms: None,
        held_identity: false,
        in_place: request.in_place,
        previous_removed: false,
        earlier_removed: false,
        receipt: None,
        earlier: before.and_then(|before| match before.phase {
            Phase::Restored => Some(Box::new(Journal { earlier: None, ..before })),
            _ => before.earlier,
        }),
    })
}
