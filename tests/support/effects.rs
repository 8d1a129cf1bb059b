//! The steps of a run, as `src/effect.rs` logs them, and runs that end after one.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::node::FakeNode;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Effect {
    pub step: u64,
    pub kind: String,
    pub path: PathBuf,
    pub to: Option<PathBuf>,
    /// Of a file at its sync, in hexadecimal digits.
    pub content: Option<String>,
    pub failed: bool,
    /// It is done with the step of this number, and is none itself.
    pub is_part: bool,
}

impl Effect {
    /// Whether anything is another after it than before.
    pub fn changes(&self) -> bool {
        !self.failed
            && !self.is_part
            && !matches!(self.kind.as_str(), "Open" | "Stat" | "List" | "Read")
            && !self.only_asks()
    }

    /// What nodetool only tells changes nothing.
    fn only_asks(&self) -> bool {
        let does = ["snapshot", "clearsnapshot", "repair", "drain"];
        self.kind == "Command" && !self.path.to_string_lossy().split(' ').any(|word| does.contains(&word))
    }

    /// A sync changes nothing for whoever is only killed: the kernel keeps what was written.
    pub fn is_sync(&self) -> bool {
        matches!(self.kind.as_str(), "Sync" | "SyncDir" | "SyncFilesystem")
    }

    pub fn bytes(&self) -> Option<Vec<u8>> {
        let digits = self.content.as_ref()?;
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
        Some((0..digits.len()).step_by(2).map(byte).collect())
    }
}

pub fn read_effects(log: &Path) -> Vec<Effect> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a step")).collect()
}

impl FakeNode {
    /// A run to its end: its result and its steps.
    pub fn run_logged(&self, module: &str, args: Value) -> (Value, Vec<Effect>) {
        let log = self.host().join("effects");
        fs::remove_file(&log).ok();
        let variable = [("CASSANDRA_BACKUP_EFFECTS", log.to_str().expect("a path of UTF-8"))];
        let result = self.start_module_with(module, args, &variable).finish();
        (result, read_effects(&log))
    }

    /// A run that is dead after this step, as by `kill -9`.
    pub fn run_killed(&self, module: &str, args: Value, after: u64) {
        let number = after.to_string();
        self.start_module_with(module, args, &[("CASSANDRA_BACKUP_DIE_AFTER", &number)]).wait_killed(after);
    }

    /// A run that gets a signal after this step.
    pub fn run_signalled(&self, module: &str, args: Value, after: u64, signal: &str) -> Value {
        let asked = format!("{after}:{signal}");
        self.start_module_with(module, args, &[("CASSANDRA_BACKUP_SIGNAL_AFTER", &asked)]).finish()
    }
}

/// The step of this number.
pub fn step(effects: &[Effect], number: u64) -> &Effect {
    effects.iter().find(|effect| effect.step == number && !effect.is_part).expect("a step of the run")
}
