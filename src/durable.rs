//! The only place that renames: what is published here survives a power cut, whole.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::RenameFlags;
use serde::Serialize;

use crate::dir::Dir;

/// Renames from one held directory to another. The target must be free: nothing is ever overwritten.
/// Not durable until both directories are synced.
pub fn rename(from: &Dir, name: &str, to: &Dir, new_name: &str) -> Result<()> {
    rename_with(from, name, to, new_name, RenameFlags::NOREPLACE)
}

/// Swaps two names in one step: at no instant is either of them missing.
/// Not durable until both directories are synced.
pub fn exchange(one: &Dir, name: &str, other: &Dir, other_name: &str) -> Result<()> {
    rename_with(one, name, other, other_name, RenameFlags::EXCHANGE)
}

fn rename_with(from: &Dir, name: &str, to: &Dir, new_name: &str, flags: RenameFlags) -> Result<()> {
    rustix::fs::renameat_with(from, name, to, new_name, flags).with_context(|| {
        format!("cannot move `{}` to `{}`", from.path_of(name).display(), to.path_of(new_name).display())
    })
}

/// Gives a finished file its name, over an older file of that name.
/// Killed or without power at any point, the name holds the old content or the new, never a part.
pub fn publish(dir: &Dir, draft: &str, name: &str, file: &File) -> Result<()> {
    file.sync_all().with_context(|| format!("cannot sync `{}`", dir.path_of(draft).display()))?;
    rename_with(dir, draft, dir, name, RenameFlags::empty())?;
    dir.sync()
}

/// Writes a small file as a whole; what survives a crash is as for [`publish`].
pub fn write(dir: &Dir, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let draft = format!("{name}.new");
    dir.remove_tree(&draft)?;
    let mut file = dir.create_file(&draft, mode)?;
    file.write_all(content).with_context(|| format!("cannot write `{}`", dir.path_of(&draft).display()))?;
    publish(dir, &draft, name, &file)
}

/// [`write`] of a value as JSON that a person can read.
pub fn write_json(dir: &Dir, name: &str, value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_vec_pretty(value).with_context(|| format!("cannot write `{name}` as JSON"))?;
    text.push(b'\n');
    write(dir, name, 0o600, &text)
}

/// Removes a file for good; nothing there is fine.
pub fn remove(dir: &Dir, name: &str) -> Result<()> {
    dir.remove_tree(name)?;
    dir.sync()
}

/// The right to work on one node: held until dropped, gone with the process however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file of a directory; where another run holds it, `Err` with what that run wrote there.
    pub fn acquire(path: &Path, holder: &str) -> Result<std::result::Result<Lock, String>> {
        let context = || format!("cannot use the lock file `{}`", path.display());
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.as_mut().map_err(|error| anyhow::anyhow!("{error}")).with_context(context)?;
        let mut file = file.try_clone().with_context(context)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).with_context(context)?;
                file.rewind().with_context(context)?;
                file.write_all(holder.as_bytes()).with_context(context)?;
                Ok(Ok(Lock { _file: file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut other = String::new();
                file.read_to_string(&mut other).with_context(context)?;
                Ok(Err(other))
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(context),
        }
    }
}
