//! The archive under construction, which another node's run may be making too.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::OFlags;

use crate::archive::store::{Draft, Store};
use crate::error::Error;

/// Begins an archive. Two nodes of one host may be given one directory and one tag: who comes second must not
/// take the first one's draft away, or half of the second's would get the archive's name.
pub(super) fn begin(store: &Store, tag: &str) -> Result<Draft> {
    let archive = store.path_of(tag);
    refuse_taken(&archive)?;
    let mut draft = store.draft(tag)?;
    match draft.file().try_lock() {
        Err(TryLockError::WouldBlock) => Err(taken(&archive).into()),
        // A filesystem without locks has no second node either that anybody could tell of.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(draft),
    }
}

/// Refuses where another run is making this archive.
pub(super) fn refuse_taken(archive: &Path) -> Result<()> {
    if is_being_made(archive) { Err(taken(archive).into()) } else { Ok(()) }
}

fn taken(archive: &Path) -> Error {
    let why = format!("another run is making `{}` there", archive.display());
    Error::BackupDir { path: archive.parent().unwrap_or(archive).to_owned(), why }
}

/// What was packed into a file that somebody has removed can neither be read back nor get a name.
pub(super) fn demand_in_place(draft: &mut Draft) -> Result<()> {
    let path = draft.path();
    let made = draft.file().metadata().with_context(|| format!("cannot stat `{}`", path.display()))?;
    match std::fs::symlink_metadata(&path) {
        Ok(there) if (there.dev(), there.ino()) == (made.dev(), made.ino()) => Ok(()),
        _ => {
            let (dir, name) = (path.parent().unwrap_or(&path), path.file_name().unwrap_or_default());
            let why = format!("`{}` vanished from it while it was made", name.display());
            Err(Error::BackupDir { path: dir.to_owned(), why }.into())
        }
    }
}

/// Removes the draft of a run that was killed; one that is being made is another node's.
pub(super) fn remove_left_over(backup_dir: &Path, tag: &str) -> Result<()> {
    if !backup_dir.exists() {
        return Ok(());
    }
    let store = Store::open(backup_dir)?;
    if is_being_made(&store.path_of(tag)) { Ok(()) } else { store.remove_draft(tag) }
}

/// A run holds a lock on its draft, and loses it however it dies.
pub(super) fn is_being_made(archive: &Path) -> bool {
    let mut draft = archive.as_os_str().to_owned();
    draft.push(".partial");
    // Shared: a network filesystem gives no other to who only reads.
    // Not waited for, if it is a fifo.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let opened = File::options().read(true).custom_flags(flags).open(draft);
    opened.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}
