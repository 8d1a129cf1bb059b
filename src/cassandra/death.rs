//! A container that is not up where it has to be: why.

use crate::docker::{Container, Facts, RunState};
use crate::error::Error;

/// `during`: what was done that needs it.
pub async fn told(container: &Container, facts: &Facts, during: &str) -> anyhow::Error {
    let name = container.name.clone();
    if facts.run_state == RunState::Paused {
        return Error::ContainerPaused { container: name }.into();
    }
    let log = last_errors(&container.last_log_lines(20).await);
    Error::ContainerDied { container: name, end: facts.end(), during: during.to_owned(), log }.into()
}

/// What the log says of a death, short: its last error lines, else its last line.
fn last_errors(log: &str) -> String {
    let is_error =
        |line: &&str| line.contains("ERROR") || line.contains("Exception") || line.contains("FATAL");
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(is_error).collect();
    let shown = if errors.is_empty() { &lines } else { &errors };
    let last = &shown[shown.len().saturating_sub(3)..];
    if last.is_empty() { String::new() } else { format!("; its log ends: {}", last.join(" | ")) }
}
