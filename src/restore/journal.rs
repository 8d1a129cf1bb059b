//! What a restore was about to do, written and synced before it is done.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::archive::manifest::Backup;
use crate::archive::toc::rfc3339;
use crate::cassandra::node::Node;
use crate::docker::{RestartPolicy, RunState};
use crate::error::Error;
use crate::restore::proof::Receipt;
use crate::state::NodeState;

const NAME: &str = "journal.json";

/// The last restore of a node: while it runs, and after it the way back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Journal {
    /// Names this restore; a marker in each work directory holds it too.
    pub run_id: String,
    pub phase: Phase,
    pub archive: ArchiveId,
    pub backup: Backup,
    pub container: String,
    /// How things were found, and are left after a roll-back.
    pub found: Found,
    #[serde(with = "rfc3339")]
    pub begun: SystemTime,
    /// Cassandra was started on the restored data: it may hold clients' writes.
    pub was_started: bool,
    /// When the node was asked to stop; none where it was found stopped.
    pub stopped_unix_ms: Option<u64>,
    /// What is set aside has a node's identity: where that is missing, the data is not there.
    #[serde(default)]
    pub held_identity: bool,
    /// `staging: in_place`: what was live makes room for what is unpacked.
    #[serde(default)]
    pub in_place: bool,
    /// Its removal was begun: what is still there is a part.
    #[serde(default)]
    pub previous_removed: bool,
    /// The same of the way back from the restore before.
    #[serde(default)]
    pub earlier_removed: bool,
    /// What a complete restore left, to be compared with what is there later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// The restore before this one, as long as its way back is there: until this one is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Box<Journal>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveId {
    pub path: PathBuf,
    /// Of the table of contents: it covers every chunk.
    pub toc_digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub run_state: RunState,
    pub restart_policy: RestartPolicy,
}

/// How far it came. `ARCHITECTURE.md` says what exists on disk in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Unpacking beside the live data.
    Staging,
    /// Unpacked, verified and synced; the node was not touched.
    Staged,
    /// The node is stopped, or about to be; live data is being set aside.
    SettingAside,
    /// In place: what was live is being removed, then the archive unpacked.
    Emptying,
    /// Everything live is set aside; staged data is being moved in.
    MovingIn,
    /// The archive's data lies where Cassandra looks for it.
    Swapped,
    /// The container is started; not yet known whether it is the archive's node.
    Starting,
    /// Committed: the node is the archive's and serves clients.
    Started,
    /// Complete.
    Restored,
    /// Rolling back: restored data is being set aside.
    UndoSettingAside,
    /// Rolling back: the previous data is being moved in.
    UndoMovingIn,
    /// The previous data is back; the container is not yet as it was found.
    UndoSwapped,
    /// Rolled back: all is as it was found.
    RolledBack,
}

impl Phase {
    /// Whether it can be left as it is.
    pub fn is_finished(self) -> bool {
        matches!(self, Phase::Restored | Phase::RolledBack)
    }

    /// Whether live data may be moved, or a node be up that is not committed.
    pub fn touches_the_node(self) -> bool {
        !self.is_finished() && !matches!(self, Phase::Staging | Phase::Staged)
    }

    /// Whether a roll-back was begun and has not ended.
    pub fn is_undoing(self) -> bool {
        matches!(self, Phase::UndoSettingAside | Phase::UndoMovingIn | Phase::UndoSwapped)
    }

    /// Whether what was live before lies aside, or a part of it.
    pub fn has_previous(self) -> bool {
        self.touches_the_node() || self == Phase::Restored
    }

    pub fn word(self) -> &'static str {
        match self {
            Phase::Staging => "staging",
            Phase::Staged => "staged",
            Phase::SettingAside => "setting_aside",
            Phase::Emptying => "emptying",
            Phase::MovingIn => "moving_in",
            Phase::Swapped => "swapped",
            Phase::Starting => "starting",
            Phase::Started => "started",
            Phase::Restored => "restored",
            Phase::UndoSettingAside => "undo_setting_aside",
            Phase::UndoMovingIn => "undo_moving_in",
            Phase::UndoSwapped => "undo_swapped",
            Phase::RolledBack => "rolled_back",
        }
    }
}

impl Journal {
    pub fn read(state: &NodeState) -> Result<Option<Journal>> {
        state.read(NAME)
    }

    /// Writes what comes next; when it returns, it survives a power cut.
    pub fn enter(&mut self, state: &NodeState, phase: Phase) -> Result<()> {
        self.enter_with(state, phase, |_| ())
    }

    /// The same with what else holds from then on.
    pub fn enter_with(
        &mut self,
        state: &NodeState,
        phase: Phase,
        change: impl FnOnce(&mut Journal),
    ) -> Result<()> {
        let mut next = Journal { phase, ..self.clone() };
        change(&mut next);
        // What could not be written does not hold: nothing that follows from it is done, or told.
        state.write(NAME, &next)?;
        *self = next;
        Ok(())
    }

    /// How things stand for a run that this restore keeps from its work.
    pub fn standing(&self, node: &Node) -> String {
        format!("No data is lost; the node is {}", self.as_left(node))
    }

    /// How the node is found, where nobody knows yet whether its data is there.
    pub fn left(&self, node: &Node) -> String {
        format!("The node is {}", self.as_left(node))
    }

    fn as_left(&self, node: &Node) -> String {
        let (phase, name, state) = (self.phase.word(), &node.container.name, node.found.run_state.word());
        format!("as an earlier run left it: `{phase}`, container `{name}` is {state}")
    }

    /// Whether what it set aside can be put back: a restore in place gives that up before its commit.
    pub fn is_past_return(&self) -> bool {
        self.in_place && self.previous_removed
    }

    /// Whether two looks saw the same: no other run wrote in between.
    pub fn is_same(one: Option<&Journal>, other: Option<&Journal>) -> bool {
        let seen = |journal: &Journal| (journal.run_id.clone(), journal.phase);
        one.map(seen) == other.map(seen)
    }

    pub fn unfinished(&self) -> Error {
        Error::RestoreUnfinished {
            phase: self.phase.word().to_owned(),
            archive: self.archive.path.display().to_string(),
        }
    }
}
