//! Where a restore works: beside the live data, on the same mount, so that a rename reaches.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, StatxFlags};

use crate::dir::Dir;
use crate::durable;
use crate::error::Error;

/// Where the work directory of a live directory lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkPath {
    pub parent: PathBuf,
    pub name: String,
    /// Inside the live directory, where that is a mount of its own.
    pub inside: bool,
}

impl WorkPath {
    /// Beside the live directory, where a rename can reach: on the same mount.
    pub fn of(live: &Path) -> Result<WorkPath> {
        let base = live.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = format!(".cassandra_restore-{base}");
        let parent = live.parent().unwrap_or(Path::new("/"));
        if mount_of(live)? == mount_of(parent)? {
            return Ok(WorkPath { parent: parent.to_owned(), name, inside: false });
        }
        Ok(WorkPath { parent: live.to_owned(), name, inside: true })
    }

    pub fn open_or_make(&self) -> Result<Dir> {
        let dir = Dir::open(&self.parent)?.make_dir(&self.name, 0o700)?;
        // Cassandra looks into every directory that is not called `snapshots` or `backups`.
        if self.inside { dir.make_dir("backups", 0o700) } else { Ok(dir) }
    }

    pub fn open(&self) -> Result<Option<Dir>> {
        let dir = Dir::open(&self.parent)?.dir_if_there(&self.name)?;
        match dir {
            Some(dir) if self.inside => dir.dir_if_there("backups"),
            dir => Ok(dir),
        }
    }
}

/// The mount's id where the kernel tells it (5.8 on), else the device: a rename reaches as far.
fn mount_of(path: &Path) -> Result<u64> {
    let stat =
        rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), StatxFlags::MNT_ID | StatxFlags::INO)
            .with_context(|| format!("cannot stat `{}`", path.display()))?;
    let has_mount_id = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    let device = (u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor);
    Ok(if has_mount_id { stat.stx_mnt_id } else { device })
}

/// Refuses a filesystem that cannot exchange two names in one step: there the blocker would leave a moment
/// in which a Cassandra that starts makes itself a new node.
pub fn refuse_without_exchange(work: &Dir) -> Result<()> {
    const PROBES: [&str; 2] = ["probe-1", "probe-2"];
    for probe in PROBES {
        work.remove_tree(probe)?;
        work.create_file(probe, 0o600)?;
    }
    let exchanged = durable::exchange(work, PROBES[0], work, PROBES[1]);
    for probe in PROBES {
        work.remove_tree(probe)?;
    }
    exchanged.map_err(|error| {
        let path = work.path().display();
        let refusal = format!("the filesystem of `{path}` cannot exchange two names in one step: {error:#}");
        Error::Refused { refusals: vec![refusal] }.into()
    })
}
