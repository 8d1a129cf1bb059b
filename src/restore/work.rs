//! Where a restore works: beside the live data, on the same mount, so that a rename reaches.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{AtFlags, StatxFlags};
use rustix::process::geteuid;

use crate::cassandra::node::Place;
use crate::dir::{Dir, is_not_found};
use crate::durable;
use crate::error::Error;

const RUN: &str = "run";
const RUN_DRAFT: &str = "run.new";
/// Whatever is longer was planted.
const LONGEST_RUN_ID: u64 = 64;
/// What [`refuse_without_exchange`] makes.
const PROBES: [&str; 2] = ["probe-1", "probe-2"];

/// Where the work directory of a live directory lies.
#[derive(Debug)]
pub struct WorkPath {
    /// The live directory itself, where that is a mount of its own; else the one that holds it.
    parent: Dir,
    name: String,
    inside: bool,
}

impl WorkPath {
    /// Beside the live directory, where a rename can reach: on the same mount.
    pub fn of(place: &Place) -> Result<WorkPath> {
        let live = place.open()?;
        let (parent, base) = place.open_parent()?;
        let inside = mount_of(&live)? != mount_of(&parent)?;
        let parent = if inside { live } else { parent };
        Ok(WorkPath { parent, name: format!(".cassandra_restore-{base}"), inside })
    }

    /// The path of a level, for messages only.
    pub fn path_of(&self, level: &str) -> PathBuf {
        let dir = self.parent.path_of(&self.name);
        if self.inside { dir.join("backups").join(level) } else { dir.join(level) }
    }

    /// Root's alone, whoever it was given to since it was made: the official image gives all below its mount to
    /// Cassandra's user each time it starts.
    pub fn open_or_make(&self) -> Result<Dir> {
        if !self.inside {
            let dir = self.parent.make_dir(&self.name, 0o700)?;
            if !is_strange(&dir)? {
                take(&dir, 0o700)?;
            }
            self.parent.sync()?;
            return Ok(dir);
        }
        // Cassandra looks into every directory of its data that is not called `snapshots` or `backups`, and does
        // not start where it may not enter one, not even one that it would pass over. The levels stay closed.
        let dir = self.parent.make_dir(&self.name, 0o755)?;
        let backups = dir.make_dir("backups", 0o755)?;
        if !is_strange(&backups)? {
            take(&dir, 0o755)?;
            take(&backups, 0o755)?;
        }
        self.parent.sync()?;
        dir.sync()?;
        Ok(backups)
    }

    pub fn open(&self) -> Result<Option<Dir>> {
        let dir = self.parent.dir_if_there(&self.name)?;
        match dir {
            Some(dir) if self.inside => dir.dir_if_there("backups"),
            dir => Ok(dir),
        }
    }
}

fn take(dir: &Dir, mode: u32) -> Result<()> {
    let owner = geteuid();
    if owner.is_root() && dir.own_stat()?.st_uid != owner.as_raw() {
        dir.set_owner(0, 0)?;
    }
    dir.set_mode(mode)
}

/// Whether it holds something, and no restore's mark: whoever owns the mount may have moved any directory there.
fn is_strange(work: &Dir) -> Result<bool> {
    let entries = work.entries()?;
    let has_mark = entries.iter().any(|entry| entry.name == RUN);
    let is_ours = |name: &str| PROBES.contains(&name) || name == RUN_DRAFT;
    Ok(!has_mark && !entries.iter().all(|entry| is_ours(&entry.name)))
}

/// Such a directory is neither filled nor emptied.
pub fn refuse_strange(work: &Dir) -> Result<()> {
    if is_strange(work)? {
        let (path, mark) = (work.path().display(), work.path_of(RUN));
        bail!("`{path}` is no restore's: `{}` is missing; move it away", mark.display());
    }
    Ok(())
}

/// Says whose a work directory is.
pub fn mark(work: &Dir, run_id: &str) -> Result<()> {
    durable::write(work, RUN, 0o600, run_id.as_bytes())
}

/// Removes what a run that was killed was about to make.
pub fn remove_unfinished(work: &Dir) -> Result<()> {
    PROBES.iter().chain([&RUN_DRAFT]).try_for_each(|name| work.remove_tree(name))
}

/// Refuses a work directory that is another run's, or nobody's.
pub fn check_mark(work: &Dir, live: &Path, run_ids: &[&str]) -> Result<()> {
    let path = work.path_of(RUN);
    let found = work.file(RUN).and_then(|mut file| {
        let mut text = String::new();
        let read = file.by_ref().take(LONGEST_RUN_ID).read_to_string(&mut text);
        read.with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(text)
    });
    match found {
        Ok(text) if run_ids.contains(&text.as_str()) => Ok(()),
        Ok(_) => bail!("`{}` is of another restore than the journal's", path.display()),
        Err(error) if is_not_found(&error) => Err(no_mark(&path, live)),
        Err(error) => Err(error),
    }
}

/// [`check_mark`] of a work directory that may not be there.
pub fn find_mark(place: &Place, run_ids: &[&str]) -> Result<()> {
    let work = WorkPath::of(place)?;
    match work.open()? {
        Some(dir) => check_mark(&dir, &place.host_path, run_ids),
        None => Err(no_mark(&work.path_of(RUN), &place.host_path)),
    }
}

/// Refuses where another directory was given the place of one that was worked in: what was moved there is not where
/// Cassandra looks for it.
pub fn refuse_moved(place: &Place, live: &Dir, work: &Dir) -> Result<()> {
    let found = WorkPath::of(place)?.open()?;
    let moved = match found.map_or(Ok(false), |found| found.is(work))? {
        true if place.open()?.is(live)? => return Ok(()),
        true => live,
        false => work,
    };
    bail!("`{}` was moved away while it was worked in", moved.path().display())
}

fn no_mark(path: &Path, live: &Path) -> anyhow::Error {
    anyhow!("`{}` is missing: is the disk of `{}` mounted?", path.display(), live.display())
}

/// The mount's id where the kernel tells it (5.8 on), else the device: a rename reaches as far.
fn mount_of(dir: &Dir) -> Result<u64> {
    let stat = rustix::fs::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::INO)
        .with_context(|| format!("cannot stat `{}`", dir.path().display()))?;
    let has_mount_id = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    let device = (u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor);
    Ok(if has_mount_id { stat.stx_mnt_id } else { device })
}

/// Refuses a filesystem that cannot exchange two names in one step: there the blocker would leave a moment
/// in which a Cassandra that starts makes itself a new node.
pub fn refuse_without_exchange(work: &Dir) -> Result<()> {
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

/// Makes a directory that Cassandra would make at its start, with the owner that its parent has.
pub fn make_like_parent(place: &Place) -> Result<Dir> {
    let mut dir = place.open_mount_or_make()?;
    for name in place.names_below_mount() {
        dir = match dir.dir_if_there(name)? {
            Some(there) => there,
            None => {
                let stat = dir.own_stat()?;
                let made = dir.make_new_dir(name, 0o755)?;
                made.set_owner(stat.st_uid, stat.st_gid)?;
                dir.sync()?;
                made
            }
        };
    }
    Ok(dir)
}
