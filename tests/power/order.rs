//! The order of writes, syncs and renames, held against the log of a run.

use std::path::Path;

use super::disk::Disk;
use crate::support::Effect;

/// What of a run was not yet on the disk when something relied on it, in words.
pub fn violations(
    disk: &mut Disk,
    effects: &[Effect],
    mut after: impl FnMut(&Effect, &mut Disk),
) -> Vec<String> {
    let mut found = Vec::new();
    for effect in effects.iter().filter(|effect| !effect.failed) {
        let relied_on = relied_on(disk, effect);
        if !relied_on.is_empty() {
            found.push(format!(
                "step {} ({} {}): {}",
                effect.step,
                effect.kind,
                effect.path.display(),
                relied_on.join("; ")
            ));
        }
        disk.apply(effect);
        after(effect, disk);
    }
    found
}

/// Two empty files that are tried on, a draft that is removed, a lock: nothing relies on them.
fn is_of_no_weight(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with("probe-") || name == "lock" || name.ends_with(".new") || name.ends_with(".partial")
}

fn relied_on(disk: &Disk, effect: &Effect) -> Vec<String> {
    let mut missing = Vec::new();
    if matches!(effect.kind.as_str(), "Rename" | "Exchange") && !is_probe(&effect.path) {
        // What gets a new name is on the disk, with all that is below it.
        let to = effect.to.iter().filter(|_| effect.kind == "Exchange").map(|to| to.as_path());
        for path in std::iter::once(effect.path.as_path()).chain(to) {
            let id = disk.find(path).expect("what is renamed");
            missing.extend(
                disk.unsynced_below(id).into_iter().map(|path| format!("`{path}` is renamed unsynced")),
            );
        }
    }
    let volatile = disk.volatile().into_iter().map(|at| (at, disk.shows(at)));
    // What happened in a directory that is removed by now went with it.
    let is_found = |path: &String| path.starts_with("/cassandra/") || path.starts_with("/state");
    let volatile: Vec<Vec<String>> = volatile
        .map(|(_, shown)| shown.into_iter().filter(is_found).collect::<Vec<_>>())
        .filter(|shown| !shown.iter().all(|path| is_of_no_weight(path)))
        .collect();
    let is_journal = |path: &str| path.starts_with("/state");
    // A journal entry tells of what is done; an order to the Engine acts on it.
    let is_entry =
        effect.kind == "Rename" && effect.to.as_ref().is_some_and(|to| to.ends_with("journal.json"));
    let is_order = matches!(effect.kind.as_str(), "Start" | "Stop" | "Policy");
    if is_entry || is_order {
        let pending = volatile.iter().flatten();
        missing.extend(pending.map(|path| format!("`{path}` is not on the disk yet")));
    }
    // What is announced is not done before the announcement stays.
    let changes = matches!(effect.kind.as_str(), "MakeDir" | "Create" | "Rename" | "Exchange" | "Remove");
    let here = effect.path.to_string_lossy();
    if changes && here.contains("/cassandra/") {
        let pending = volatile.iter().flatten().filter(|path| is_journal(path));
        missing.extend(pending.map(|path| format!("the entry `{path}` is not on the disk yet")));
    }
    missing
}

fn is_probe(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("probe-"))
}
