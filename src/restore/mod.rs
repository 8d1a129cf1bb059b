//! The verb *restore*: the node's data is the archive's data, in one call or phase by phase.
//!
//! Everything is verified and unpacked beside the live data before the node is touched. Up to the commit
//! point - the node is up and is the archive's - a failure puts the previous data back by itself.

mod blocker;
mod commit;
mod earlier;
pub mod journal;
pub mod plan;
mod preflight;
mod replace;
mod rollback;
pub mod swap;
mod work;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::json;

use crate::ansible::request::{RestoreRequest, RestoreState, Source, Start};
use crate::ansible::result::{Diff, Report};
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::archive::unpack::Unpack;
use crate::cassandra::node::Node;
use crate::dir::RelativePath;
use crate::docker::{Engine, RunState};
use crate::error::Error;
use crate::interrupt;
use crate::restore::journal::{ArchiveId, Found, Journal, Phase};
use crate::restore::swap::{STAGED, Swap};
use crate::state::NodeState;
use crate::task::blocking;

/// As others read who is at work.
const MODULE: &str = "cassandra_restore";

pub async fn run(request: &RestoreRequest, report: &mut Report) -> Result<()> {
    report.enter("look");
    report.standing = "The node was not touched".to_owned();
    let engine = Engine::connect(&request.access.docker_socket).await?;
    let container = engine.container(&request.container).await?;
    let found = container.inspect().await?;
    report.found_container(&container.name, &container.image, found.run_state.word());
    if found.run_state == RunState::Paused {
        return Err(Error::ContainerPaused { container: container.name }.into());
    }
    let node = Node::look(container, &request.access).await?;
    match &request.source {
        _ if request.state == RestoreState::RolledBack => rollback::by_hand(request, &node, report).await,
        Some(source) => forward(request, &engine, &node, source, report).await,
        None => Err(Error::BadOption {
            message: "a restore needs an archive".to_owned(),
            hint: "set `tag`, or `src` to the archive's path on this host",
        }
        .into()),
    }
}

/// Goes on from wherever the node is to the state that is asked for.
async fn forward(
    request: &RestoreRequest,
    engine: &Engine,
    node: &Node,
    source: &Source,
    report: &mut Report,
) -> Result<()> {
    let archive = preflight::open_archive(source, node, &request.access).await?;
    report.backup = Some(json!(archive.backup()?));
    let looked = NodeState::look(&request.access.state_dir, node)?;
    let journal = looked.as_ref().map(Journal::read).transpose()?.flatten();
    looked.as_ref().map_or(Ok(()), NodeState::refuse_busy)?;
    let from = reached(journal.as_ref(), &archive).inspect_err(|_| {
        report.standing = journal.as_ref().map_or_else(String::new, |journal| journal.standing(node));
    })?;
    if from.is_some_and(|phase| has_reached(phase, request.state)) {
        report.msg =
            format!("the restore of `{}` is {} already", archive.path().display(), state_word(request.state));
        report.restore =
            journal.map(|journal| json!({"state": journal.phase.word(), "run_id": journal.run_id}));
        return Ok(());
    }
    if !from.is_some_and(Phase::touches_the_node) {
        report.enter("preflight");
        let mut found = preflight::find(engine, node, &request.access).await?;
        found.is_staged = from.is_some();
        let located = preflight::locate(&archive);
        let verdict = plan::judge(&found, &located, archive.manifest(), archive.toc(), request.force);
        report.warnings.extend(verdict.warnings);
        if !verdict.refusals.is_empty() {
            return Err(Error::Refused { refusals: verdict.refusals }.into());
        }
    } else if let Some(journal) = &journal {
        report.standing = journal.left(node);
        // After a reboot its disk may not be mounted: Cassandra would make itself a new node there.
        Swap::find_mark(node, &[&journal.run_id])?;
        report.standing = journal.standing(node);
    }
    tell_plan(request, node, &archive, from, report);
    if request.mode.check {
        return if from.is_none() { verify(archive, report).await } else { Ok(()) };
    }
    report.changed = false;
    let state = NodeState::enter(&request.access.state_dir, node, MODULE, &archive.manifest().tag)?;
    report.progress = state.progress();
    // Under the lock now: another run may have ended since the first look.
    let journal = Journal::read(&state)?;
    let now = reached(journal.as_ref(), &archive).inspect_err(|_| {
        report.standing = journal.as_ref().map_or_else(String::new, |journal| journal.standing(node));
    })?;
    let journal = match (now, journal) {
        (now, _) if now != from => {
            return Err(Error::Busy { holder: "a run that has ended just now".to_owned() }.into());
        }
        (Some(_), Some(journal)) => journal,
        (_, before) => begin(node, &archive, before)?,
    };
    let swap = Swap::open(node)?;
    let mut restore = Restore { request, node, state, journal, swap };
    restore.walk(archive, report).await
}

/// How far the journal says that this archive's restore came; `None`: begin. Another archive's restore that
/// has touched the node must be finished or undone first.
fn reached(journal: Option<&Journal>, archive: &Archive) -> Result<Option<Phase>> {
    let Some(journal) = journal else { return Ok(None) };
    let same = journal.archive.toc_digest == archive.toc_digest();
    match journal.phase {
        // A complete restore is done again: that the data is still the archive's is not proven.
        phase if phase.is_finished() => Ok(None),
        Phase::Staging => Ok(None),
        Phase::Staged => Ok(same.then_some(Phase::Staged)),
        Phase::Swapped | Phase::Started if same => Ok(Some(journal.phase)),
        _ => Err(journal.unfinished().into()),
    }
}

fn has_reached(phase: Phase, state: RestoreState) -> bool {
    let goal = match state {
        RestoreState::Staged => Phase::Staged,
        RestoreState::Swapped => Phase::Swapped,
        RestoreState::Started => Phase::Started,
        RestoreState::Restored | RestoreState::RolledBack => return false,
    };
    phase >= goal
}

fn state_word(state: RestoreState) -> &'static str {
    match state {
        RestoreState::Staged => "staged",
        RestoreState::Swapped => "swapped",
        RestoreState::Started => "started",
        RestoreState::Restored => "restored",
        RestoreState::RolledBack => "rolled_back",
    }
}

/// What staging would find, where nothing may be unpacked.
async fn verify(mut archive: Archive, report: &mut Report) -> Result<()> {
    report.enter("verify");
    blocking(move || archive.verify(&mut |_| {}).map(|_| ())).await
}

fn tell_plan(
    request: &RestoreRequest,
    node: &Node,
    archive: &Archive,
    from: Option<Phase>,
    report: &mut Report,
) {
    let (path, name) = (archive.path().display(), &node.container.name);
    let goal = state_word(request.state);
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

fn begin(node: &Node, archive: &Archive, before: Option<Journal>) -> Result<Journal> {
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
        previous_removed: false,
        earlier_removed: false,
        earlier: before.and_then(|before| match before.phase {
            Phase::Restored => Some(Box::new(Journal { earlier: None, ..before })),
            _ => before.earlier,
        }),
    })
}

/// A restore under way.
struct Restore<'a> {
    request: &'a RestoreRequest,
    node: &'a Node,
    state: NodeState,
    journal: Journal,
    swap: Swap,
}

impl Restore<'_> {
    /// The phases in their order, from the one that was reached to the one that is asked for.
    async fn walk(&mut self, archive: Archive, report: &mut Report) -> Result<()> {
        let goal = self.request.state;
        let manifest = archive.manifest().clone();
        if self.journal.phase < Phase::Staged {
            self.stage(archive, report).await?;
        }
        if goal > RestoreState::Staged && self.journal.phase < Phase::Started {
            rollback::or_take_back(
                &mut (&mut *self, &mut *report),
                async |(restore, report)| restore.swap_and_start(goal, &manifest, report).await,
                async |(restore, report), error| restore.undo(error, report).await,
            )
            .await?;
        }
        if goal == RestoreState::Restored {
            self.finish(&manifest, report).await?;
        }
        let path = self.journal.archive.path.display();
        report.msg =
            format!("container `{}` is {} from `{path}`", self.node.container.name, state_word(goal));
        if goal == RestoreState::Restored {
            report.msg.push_str(", with the roles and passwords of that time");
        }
        report.restore = Some(json!({"state": self.journal.phase.word(), "run_id": self.journal.run_id}));
        Ok(())
    }

    /// Verifies the archive and unpacks it on the live data's disk, in one pass; the node is not touched.
    async fn stage(&mut self, mut archive: Archive, report: &mut Report) -> Result<()> {
        report.enter("stage");
        self.swap.refuse_without_exchange()?;
        self.journal.enter(&self.state, Phase::Staging)?;
        self.swap.mark(&self.journal.run_id)?;
        self.swap.clear(STAGED)?;
        let mut roots = Vec::new();
        for site in self.swap.data() {
            roots.push(site.work.dir(STAGED)?);
        }
        let owner = self.swap.owner(&archive)?;
        let progress = self.state.progress();
        progress.set_total(archive.manifest().bytes);
        let staged = blocking(move || {
            let unpack = Unpack { owner: Some(owner), skip: &is_the_snapshots_own };
            archive.unpack(&roots, &unpack, &mut |bytes| progress.add(bytes))
        });
        if let Err(error) = staged.await {
            return Err(match self.forget_staging() {
                Ok(()) => error,
                Err(then) => Error::twice(error, &then).into(),
            });
        }
        self.journal.enter(&self.state, Phase::Staged)?;
        report.changed = true;
        interrupt::check()?;
        Ok(())
    }

    async fn swap_and_start(
        &mut self,
        goal: RestoreState,
        manifest: &Manifest,
        report: &mut Report,
    ) -> Result<()> {
        match self.journal.phase < Phase::Swapped {
            true => self.replace(report).await?,
            false => self.stand_unfinished(report),
        }
        if goal > RestoreState::Swapped {
            self.start(manifest, report).await?;
        }
        Ok(())
    }
}

/// What Cassandra wrote about the snapshot belongs to the archive, not into a live table directory.
fn is_the_snapshots_own(path: &RelativePath) -> bool {
    let names: Vec<&str> = path.names().collect();
    matches!(names[..], [_, _, "manifest.json" | "schema.cql"])
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
