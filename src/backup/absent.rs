//! `state: absent`: the archive is gone. Asks no container, which may be gone too.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::draft;
use crate::ansible::request::BackupRequest;
use crate::ansible::result::{Diff, Report};
use crate::archive::store::Store;

/// Whether anything has this name; what may not be looked at is not taken for nothing.
fn is_taken(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot look at `{}`", path.display())),
    }
}

pub(super) fn run(request: &BackupRequest, report: &mut Report) -> Result<()> {
    report.enter("remove");
    report.standing = "Nothing was removed".to_owned();
    let path = Store::path_in(&request.backup_dir, &request.tag);
    let is_there = Store::open_if_there(&request.backup_dir)?.is_some() && is_taken(&path)?;
    if is_there {
        Store::refuse_foreign(&path)?;
        Store::refuse_unwritable(&request.backup_dir)?;
        draft::refuse_taken(&path)?;
    }
    report.diff = Some(Diff {
        of: path.display().to_string(),
        before: json!({"state": if is_there { "present" } else { "absent" }}),
        after: json!({"state": "absent"}),
    });
    report.msg = match (is_there, request.mode.check) {
        (false, _) => format!("`{}` is not there", path.display()),
        (true, true) => format!("`{}` would be removed", path.display()),
        (true, false) => format!("`{}` was removed", path.display()),
    };
    if is_there && !request.mode.check {
        report.standing = "What belongs to it may be gone already: run again".to_owned();
        Store::open(&request.backup_dir)?.remove(&request.tag)?;
    }
    report.changed = is_there;
    Ok(())
}
