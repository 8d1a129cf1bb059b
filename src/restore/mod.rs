//! The verb *restore*: the node's data is the archive's data, in one call or phase by phase.
//!
//! Everything is verified and unpacked beside the live data before the node is touched. Up to the commit
//! point - the node is up and is the archive's - a failure puts the previous data back by itself.

mod blocker;
mod by_hand;
mod commit;
mod compare;
mod course;
mod earlier;
pub mod journal;
pub mod plan;
mod preflight;
mod proof;
mod replace;
mod ring;
mod rollback;
mod settings;
mod snapshots;
mod stage;
pub mod swap;
mod work;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::ansible::request::{RestoreRequest, RestoreState};
use crate::ansible::result::Report;
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::cassandra::node::Node;
use crate::docker::{Engine, RunState};
use crate::error::Error;
use crate::restore::journal::{Journal, Phase};
use crate::restore::swap::Swap;
use crate::state::NodeState;

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
    node.refuse_own_layer()?;
    match &request.source {
        _ if request.state.is_back() => by_hand::run(request, &node, report).await,
        Some(source) => course::forward(request, &engine, &node, source, report).await,
        None => Err(Error::BadOption {
            message: "a restore needs an archive".to_owned(),
            hint: "set `tag`, or `src` to the archive's path on this host",
        }
        .into()),
    }
}

/// A restore under way.
struct Restore<'a> {
    request: &'a RestoreRequest,
    node: &'a Node,
    state: NodeState,
    journal: Journal,
    swap: Swap,
    /// None for a roll-back, which needs no archive.
    archive: Option<Archive>,
}

impl Restore<'_> {
    /// The phases in their order, from the one that was reached to the one that is asked for.
    async fn walk(&mut self, report: &mut Report) -> Result<()> {
        let goal = self.request.state;
        let manifest = self.archive()?.manifest().clone();
        if self.journal.phase < Phase::Staged {
            self.stage(report).await?;
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
        report.msg = format!("container `{}` is {} from `{path}`", self.node.container.name, goal.word());
        if goal == RestoreState::Restored {
            report.msg.push_str(", with the roles and passwords of that time");
        }
        self.tell_state(report);
        Ok(())
    }

    /// Keeps what was told of a complete restore that is done again.
    fn tell_state(&self, report: &mut Report) {
        let because = report.restore.as_mut().and_then(|restore| restore.get_mut("because")).map(Value::take);
        let mut told = json!({"state": self.journal.phase.word(), "run_id": self.journal.run_id});
        if let Some(because) = because {
            told["because"] = because;
        }
        report.restore = Some(told);
    }

    fn archive(&self) -> Result<&Archive> {
        self.archive.as_ref().context("no archive is in hand")
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

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
