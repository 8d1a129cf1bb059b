//! What is there: the archives of a directory, and where a restore of the node stands. Changes nothing.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::ansible::request::InfoRequest;
use crate::ansible::result::Report;
use crate::archive::plain::Wanted;
use crate::archive::reader::Archive;
use crate::archive::store::Store;
use crate::cassandra::node::Node;
use crate::docker::Engine;
use crate::effort::Effort;
use crate::error::tell;
use crate::interrupt;
use crate::restore::journal::Journal;
use crate::state::NodeState;
use crate::task::blocking;

/// As many archives are told at once: more make a result that Ansible is slow with.
const MOST: usize = 100;

pub async fn run(request: &InfoRequest, report: &mut Report) -> Result<()> {
    report.standing = "Nothing was changed".to_owned();
    if let Some(container) = &request.container {
        report.enter("look");
        report.restore = Some(restore_of(request, container, report).await?);
    }
    report.enter(if request.verify { "verify" } else { "list" });
    let verify = request.verify.then_some(request.effort);
    let (backup_dir, only) = (request.backup_dir.clone(), request.tag.clone());
    let mut backups = blocking(move || list(&backup_dir, only.as_deref(), verify)).await?;
    let unusable = backups.iter().filter(|backup| backup.get("error").is_some()).count();
    let archives = if backups.len() == 1 { "archive" } else { "archives" };
    report.msg = format!("{} {archives} in `{}`", backups.len(), request.backup_dir.display());
    if unusable > 0 {
        report.msg.push_str(&format!(", {unusable} of them unusable"));
    }
    if backups.len() > MOST {
        report.msg.push_str(&format!("; the newest {MOST} are told, `tag` asks for any other"));
        keep_newest(&mut backups);
    }
    if let Some(running) = report.running.as_ref().filter(|running| !running.is_null()) {
        let of = |key: &str| running[key].as_str().unwrap_or_default().to_owned();
        report.msg.push_str(&format!("; `{}` is at work, at `{}`", of("module"), of("stage")));
    }
    report.backups = Some(backups);
    Ok(())
}

/// Leaves the order as it is. What cannot be used has no date, and counts as newest: somebody should see to it.
fn keep_newest(backups: &mut Vec<Value>) {
    let date = |backup: &Value| backup["created"].as_str().unwrap_or("unknown").to_owned();
    let mut dates: Vec<(String, usize)> = backups.iter().map(date).zip(0..).collect();
    dates.sort_unstable();
    let kept: Vec<usize> = dates.into_iter().rev().take(MOST).map(|(_, index)| index).collect();
    let mut index = 0..;
    backups.retain(|_| index.next().is_some_and(|index| kept.contains(&index)));
}

/// A file that cannot be used is told with its reason: it must not hide the others.
fn list(backup_dir: &Path, only: Option<&str>, verify: Option<Effort>) -> Result<Vec<Value>> {
    let Some(store) = Store::open_if_there(backup_dir)? else { return Ok(Vec::new()) };
    let mut backups = Vec::new();
    for tag in store.tags()?.into_iter().filter(|tag| only.is_none_or(|only| only == tag)) {
        interrupt::check()?;
        let path = store.path_of(&tag);
        let described = match verify {
            None => Archive::open(&path).and_then(|archive| Ok(json!(archive.backup()?))),
            Some(effort) => effort.spend(|threads| verified(&path, &tag, threads)),
        };
        interrupt::check()?;
        backups.push(described.unwrap_or_else(|error| {
            let told = tell(&error);
            json!({"tag": tag, "path": path, "error": told.word, "msg": told.message})
        }));
    }
    Ok(backups)
}

/// Every byte of it is read; only then is there anything to be told of a tar that is not ours.
fn verified(path: &Path, tag: &str, threads: usize) -> Result<Value> {
    let archive = Archive::open_any(path, &Wanted { tag: Some(tag.to_owned()), data_directories: 1 })?;
    let verified = archive.verify(threads, &mut |_| {})?;
    let mut backup = json!(archive.backup()?);
    backup["sha256"] = json!(verified.sha256);
    backup["verified"] = json!(true);
    Ok(backup)
}

/// The last restore of this node; `null` where there was none.
async fn restore_of(request: &InfoRequest, container: &str, report: &mut Report) -> Result<Value> {
    let engine = Engine::connect(&request.access.docker_socket).await?;
    let container = engine.container(container).await?;
    let found = container.inspect().await?;
    report.found_container(&container.name, &container.image, found.run_state.word());
    let node = Node::look(container, &request.access).await?;
    let state = NodeState::look(&request.access.state_dir, &node)?;
    let running = state.as_ref().map(NodeState::running).transpose()?.flatten();
    report.running = Some(json!(running));
    let journal = state.as_ref().map(Journal::read).transpose()?.flatten();
    let Some(journal) = journal else { return Ok(Value::Null) };
    Ok(json!({
        "state": journal.phase.word(),
        "finished": journal.phase.is_finished(),
        "run_id": journal.run_id,
        "tag": journal.backup.tag,
        "archive": journal.archive.path,
        "begun": humantime::format_rfc3339_seconds(journal.begun).to_string(),
        "previous_kept": journal.phase.has_previous() && !journal.previous_removed,
    }))
}
