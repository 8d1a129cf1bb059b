//! The only place that renames: what is published here survives a power cut, whole.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::RenameFlags;
use serde::Serialize;

use crate::dir::Dir;
use crate::effect::{Kind, On, step};

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
    let kind = if flags.contains(RenameFlags::EXCHANGE) { Kind::Exchange } else { Kind::Rename };
    let paths = || (from.path_of(name), to.path_of(new_name));
    step(kind, paths, || rustix::fs::renameat_with(from, name, to, new_name, flags)).with_context(|| {
        format!("cannot move `{}` to `{}`", from.path_of(name).display(), to.path_of(new_name).display())
    })
}

/// Gives a finished file its name, over an older file of that name.
/// Killed or without power at any point, the name holds the old content or the new, never a part.
pub fn publish(dir: &Dir, draft: &str, name: &str, file: &File) -> Result<()> {
    sync(file, &dir.path_of(draft))?;
    rename_with(dir, draft, dir, name, RenameFlags::empty())?;
    dir.sync()
}

/// Writes a small file as a whole; what survives a crash is as for [`publish`].
pub fn write(dir: &Dir, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let draft = format!("{name}.new");
    dir.remove_tree(&draft)?;
    let file = dir.create_file(&draft, mode)?;
    fill(&file, &dir.path_of(&draft), content)?;
    publish(dir, &draft, name, &file)
}

/// Writes more of a file. `path` is for messages.
pub fn fill(mut file: &File, path: &Path, content: &[u8]) -> Result<()> {
    step(Kind::Write, || path.to_owned(), || file.write_all(content))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// Makes what was written to a file survive a power cut; its name is [`Dir::sync`]'s. `path` is for messages.
pub fn sync(file: &File, path: &Path) -> Result<()> {
    step(Kind::Sync, || On::file(path.to_owned(), file), || file.sync_all())
        .with_context(|| format!("cannot sync `{}`", path.display()))
}

/// [`write`] of a value as JSON that a person can read.
pub fn write_json(dir: &Dir, name: &str, value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_vec_pretty(value).with_context(|| format!("cannot write `{name}` as JSON"))?;
    text.push(b'\n');
    write(dir, name, 0o600, &text)
}

/// Makes a directory with what is missing above it, each for good.
pub fn make_dirs(path: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    std::fs::create_dir_all(path)?;
    let parents = missing.iter().filter_map(|made| made.parent());
    parents.filter(|parent| *parent != Path::new("")).try_for_each(|parent| File::open(parent)?.sync_all())
}

/// Removes a file for good; nothing there is fine.
pub fn remove(dir: &Dir, name: &str) -> Result<()> {
    dir.remove_tree(name)?;
    dir.sync()
}

/// The right to work on one node: held until dropped, gone with the process however it dies. What its holder
/// writes into the file is for others to read.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Whoever only looks holds the lock for a moment: it is tried again, so often.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

impl Lock {
    /// Takes the lock file of a directory; where another run holds it, `Err` with what that run wrote there.
    pub fn acquire(path: &Path, holder: &[u8]) -> Result<std::result::Result<Lock, Vec<u8>>> {
        let context = || format!("cannot use the lock file `{}`", path.display());
        let options = || File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = step(Kind::Create, || path.to_owned(), options).with_context(context)?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < TRIES => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => {
                    let mut other = Vec::new();
                    file.read_to_end(&mut other).with_context(context)?;
                    return Ok(Err(other));
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(context),
            }
        }
        let lock = Lock { file };
        lock.tell(holder).with_context(context)?;
        Ok(Ok(lock))
    }

    /// What its holder wrote last; `None` where nobody holds it. Nobody is kept from it.
    pub fn look(path: &Path) -> Result<Option<Vec<u8>>> {
        let context = || format!("cannot look at the lock file `{}`", path.display());
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(context),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => {
                let mut told = Vec::new();
                file.read_to_end(&mut told).with_context(context)?;
                Ok(Some(told))
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(context),
        }
    }

    /// Writes over what was told before. Who looks meanwhile may see the end of that behind it.
    pub fn tell(&self, content: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(content, 0)?;
        self.file.set_len(content.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn who_only_looks_keeps_nobody_from_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (path, ended) = (dir.path().join("lock"), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    Lock::look(&path).unwrap();
                }
            });
            for _ in 0..500 {
                assert!(Lock::acquire(&path, b"mine").unwrap().is_ok());
            }
            ended.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_lock_that_is_held_tells_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::acquire(&path, b"first").unwrap().unwrap();
        assert_eq!(Lock::acquire(&path, b"second").unwrap().unwrap_err(), b"first");
        lock.tell(b"other").unwrap();
        assert_eq!(Lock::look(&path).unwrap().unwrap(), b"other");
        drop(lock);
        assert!(Lock::acquire(&path, b"second").unwrap().is_ok());
    }
}
