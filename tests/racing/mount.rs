//! What is mounted, and the racer's part of it.

use std::fs;
use std::os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt, lchown};
use std::path::Path;

use crate::canaries::Canaries;

/// The user of the official image, and of the fake node's files.
pub const CASSANDRA: u32 = 999;
/// Where the racer keeps what it plants: beside all that the modules know.
pub const POOL: &str = ".pool";
/// In each directory that it has made.
pub const DECOY: &str = "decoy";

/// Removes what the racer has put below the mount: the fake Cassandra, which knows no attacks, is not to be led out
/// of it either.
pub fn sweep(mount: &Path) {
    let linked = fs::metadata(mount.join(POOL).join("linked")).expect("the hard link").ino();
    let mut waiting = vec![mount.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("its type"));
            if path.ends_with(POOL) {
                continue;
            }
            if kind.is_dir() && path.join(DECOY).exists() {
                fs::remove_dir_all(&path).expect("what was planted to be removed");
            } else if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_symlink() || kind.is_fifo() || entry.ino() == linked {
                fs::remove_file(&path).expect("what was planted to be removed");
            }
        }
    }
}

/// As the entry point of the official image does at each start: all below the mount is given to Cassandra's user.
pub fn give_away(mount: &Path) {
    let mut waiting = vec![mount.to_owned()];
    while let Some(dir) = waiting.pop() {
        lchown(&dir, Some(CASSANDRA), Some(CASSANDRA)).expect("the owner to be set");
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type().expect("its type").is_dir() {
                true => waiting.push(entry.path()),
                false => lchown(entry.path(), Some(CASSANDRA), Some(CASSANDRA)).expect("the owner to be set"),
            }
        }
    }
}

/// Hard links cannot be made out of a container: what he has of them was linked by an administrator.
pub fn stock(pool: &Path, canaries: &Canaries) {
    fs::create_dir_all(pool).expect("the pool");
    fs::hard_link(canaries.linked(), pool.join("linked")).expect("a hard link");
    give_away(pool);
}
