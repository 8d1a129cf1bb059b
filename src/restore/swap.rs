//! Puts one set of data in the place of another, by renames behind a blocker on which no Cassandra starts.
//!
//! Cassandra started on an empty or half-moved data directory makes itself a new node. So the keyspace
//! `system` goes out first and comes in last, each in one step with a regular file of that name: at every
//! instant the directory is the old node's, the new node's, or nobody's.

use anyhow::{Result, bail};

use crate::archive::reader::Archive;
use crate::cassandra::node::{Node, Place};
use crate::dir::{Dir, Kind, is_not_found};
use crate::durable;
use crate::restore::blocker::{SYSTEM, is_a_node, is_blocker, is_file, make_blocker};
use crate::restore::snapshots;
use crate::restore::work::{self, WorkPath, make_like_parent, refuse_without_exchange};

/// The names in a work directory.
pub const STAGED: &str = "staged";
pub const PREVIOUS: &str = "previous";
/// What a roll-back takes out again: it may hold clients' writes.
pub const UNDONE: &str = "undone";
/// The levels of the restore before, while another one is under way.
pub const REPLACED: &str = "replaced";
pub const REPLACED_UNDONE: &str = "replaced-undone";

/// A directory of the node with the work directory for it, on the same mount.
#[derive(Debug)]
pub struct Site {
    pub live: Dir,
    pub work: Dir,
    /// Data directories have a blocker; a commit log is only emptied.
    is_data: bool,
}

/// All directories whose content is replaced together.
#[derive(Debug)]
pub struct Swap {
    /// Data directories first, in their order; then commit log, hints and saved caches.
    sites: Vec<Site>,
    data: usize,
}

impl Swap {
    /// Opens the node's directories and makes the work directories. A directory that Cassandra has not made
    /// yet is made, with its parent's owner.
    pub fn open(node: &Node) -> Result<Swap> {
        let mut sites = Vec::new();
        for place in &node.data {
            sites.push(Site::open(place, true)?);
        }
        for place in node.all_places().skip(node.data.len()) {
            sites.push(Site::open(place, false)?);
        }
        Ok(Swap { sites, data: node.data.len() })
    }

    /// The data directories' sites.
    pub fn data(&self) -> &[Site] {
        &self.sites[..self.data]
    }

    /// The sites of commit log, hints and saved caches.
    pub(super) fn others(&self) -> &[Site] {
        &self.sites[self.data..]
    }

    /// Says whose the work directories are; checked before each step of that run.
    pub fn mark(&self, run_id: &str) -> Result<()> {
        for site in &self.sites {
            work::mark(&site.work, run_id)?;
        }
        Ok(())
    }

    /// After a reboot, a disk that was not mounted looks like an empty directory.
    pub fn check_mark(&self, run_ids: &[&str]) -> Result<()> {
        self.sites.iter().try_for_each(|site| work::check_mark(&site.work, site.live.path(), run_ids))
    }

    /// Refuses where one of the directories is not where it was opened any more.
    pub fn refuse_moved(&self, node: &Node) -> Result<()> {
        let mut pairs = self.sites.iter().zip(node.all_places());
        pairs.try_for_each(|(site, place)| work::refuse_moved(place, &site.live, &site.work))
    }

    /// [`Swap::check_mark`] before anything is opened that would be made.
    pub fn find_mark(node: &Node, run_ids: &[&str]) -> Result<()> {
        node.all_places().try_for_each(|place| work::find_mark(place, run_ids))
    }

    /// Refuses filesystems on which the blocker would not hold, and work directories that are not ours.
    pub fn refuse_without_exchange(&self) -> Result<()> {
        self.sites.iter().try_for_each(|site| work::refuse_strange(&site.work))?;
        self.data().iter().try_for_each(|site| refuse_without_exchange(&site.work))
    }

    /// Empties a level of the work directories, and makes it anew.
    pub fn clear(&self, level: &str) -> Result<()> {
        for site in &self.sites {
            site.work.remove_tree(level)?;
            site.work.make_dir(level, 0o700)?;
            site.work.sync()?;
        }
        Ok(())
    }

    /// Makes a level, where it is not there.
    pub fn make(&self, level: &str) -> Result<()> {
        for site in &self.sites {
            site.work.make_dir(level, 0o700)?;
            site.work.sync()?;
        }
        Ok(())
    }

    /// Refuses where a level is there already.
    pub fn refuse_taken(&self, level: &str) -> Result<()> {
        for site in &self.sites {
            if site.work.stat(level)?.is_some() {
                bail!("`{}` is there already", site.work.path_of(level).display());
            }
        }
        Ok(())
    }

    /// Gives a level another name. Where that is taken the level stays as it is; one that is not there is fine.
    pub fn rename(&self, level: &str, name: &str) -> Result<()> {
        for site in &self.sites {
            if site.work.stat(level)?.is_some() && site.work.stat(name)?.is_none() {
                durable::rename(&site.work, level, &site.work, name)?;
                site.work.sync()?;
            }
        }
        Ok(())
    }

    /// Removes a level for good.
    pub fn remove(&self, level: &str) -> Result<()> {
        self.sites.iter().try_for_each(|site| durable::remove(&site.work, level))
    }

    /// Removes a level from which everything was moved out; what is still in it is an error, not removed.
    pub fn remove_empty(&self, level: &str) -> Result<()> {
        for site in &self.sites {
            if let Some(dir) = site.work.dir_if_there(level)?
                && let Some(entry) = dir.entries()?.first()
            {
                bail!(
                    "`{}` is still there after the previous data was put back",
                    dir.path_of(&entry.name).display()
                );
            }
        }
        self.remove(level)
    }

    /// Removes the work directories' level `staged`, and what a run that was killed left unfinished there; the other
    /// levels hold data that is nowhere else.
    pub fn tidy(&self) -> Result<()> {
        for site in &self.sites {
            site.work.remove_tree(STAGED)?;
            work::remove_unfinished(&site.work)?;
            site.work.sync()?;
        }
        Ok(())
    }

    /// Whether every data directory's work directory has this level; nothing is made to see it.
    pub fn holds(node: &Node, level: &str) -> Result<bool> {
        for place in &node.data {
            let Some(work) = WorkPath::of(place)?.open()? else { return Ok(false) };
            if work.stat(level)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether some of the previous data is there, snapshots not counted; nothing is made to see it.
    pub fn holds_previous(node: &Node) -> Result<bool> {
        for place in &node.data {
            let work = WorkPath::of(place)?.open()?;
            let aside = work.map(|work| work.dir_if_there(PREVIOUS)).transpose()?.flatten();
            if aside.as_ref().map(snapshots::holds_more).transpose()?.unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a level, or where that is as good a live directory, holds a node; nothing is made to see it.
    pub fn finds_identity(node: &Node, level: &str, or_live: bool) -> Result<bool> {
        for place in &node.data {
            let live = match place.open() {
                Err(error) if is_not_found(&error) => continue,
                live => live?,
            };
            let work = WorkPath::of(place)?.open()?;
            let aside = work.map(|work| work.dir_if_there(level)).transpose()?.flatten();
            for dir in aside.iter().chain(or_live.then_some(&live)) {
                if is_a_node(dir)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether nothing was moved to this level yet: the live directories are as they were.
    pub fn is_untouched(&self, level: &str) -> Result<bool> {
        for site in &self.sites {
            let aside = site.work.dir_if_there(level)?;
            let moved = aside.map(|aside| aside.entries()).transpose()?.unwrap_or_default();
            if site.is_blocked()? || moved.iter().any(|entry| !is_blocker(entry)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a level holds a node: without `system.local`, Cassandra makes itself a new one.
    pub fn holds_identity(&self, level: &str) -> Result<bool> {
        for site in self.data() {
            if site.holds_identity(level)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The owner that restored files get: the live data directory's own, where it is in use or somebody's;
    /// else the archive's.
    pub fn owner(&self, archive: &Archive) -> Result<(u32, u32)> {
        let Some(site) = self.data().first() else { bail!("the node has no data directory") };
        let own = site.live.own_stat()?;
        if own.st_uid != 0 || !site.is_unused()? {
            return Ok((own.st_uid, own.st_gid));
        }
        let first = archive.toc().entries.iter().find(|entry| entry.file_size().is_none());
        Ok(first.map_or((own.st_uid, own.st_gid), |first| (first.uid, first.gid)))
    }

    /// Gives directories that are new and root's to the owner of the restored files: Cassandra writes in them.
    pub fn adopt_unused(&self, (uid, gid): (u32, u32)) -> Result<()> {
        for site in &self.sites {
            if site.live.own_stat()?.st_uid == 0 && site.is_unused()? {
                site.live.set_owner(uid, gid)?;
            }
        }
        Ok(())
    }

    /// Takes `system` to `level`, in one step with the blocker: from here on no Cassandra starts.
    pub fn block(&self, level: &str, words: &str) -> Result<()> {
        self.data().iter().try_for_each(|site| site.block(level, words))
    }

    /// Takes everything else to `level`.
    pub fn set_aside(&self, level: &str) -> Result<()> {
        for site in &self.sites {
            let aside = site.work.dir(level)?;
            for name in site.movable()? {
                durable::rename(&site.live, &name, &aside, &name)?;
            }
            aside.sync()?;
            site.live.sync()?;
        }
        self.sites.iter().try_for_each(Site::refuse_unemptied)
    }

    /// Brings everything in `level` in, `system` last and in one step with the blocker's end. The data
    /// directory that holds the node's identity is the last one.
    pub fn move_in(&self, level: &str) -> Result<()> {
        for site in &self.sites {
            let Some(from) = site.work.dir_if_there(level)? else { continue };
            for entry in from.entries()?.iter().filter(|entry| !(site.is_data && entry.name == SYSTEM)) {
                durable::rename(&from, &entry.name, &site.live, &entry.name)?;
            }
            site.live.sync()?;
            from.sync()?;
        }
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for site in self.data() {
            if site.holds_identity(level)? { last.push(site) } else { first.push(site) }
        }
        first.into_iter().chain(last).try_for_each(|site| site.unblock(level))
    }
}

impl Site {
    fn open(place: &Place, is_data: bool) -> Result<Site> {
        let live = match place.open() {
            Ok(live) => live,
            Err(error) if is_not_found(&error) => make_like_parent(place)?,
            Err(error) => return Err(error),
        };
        let work = WorkPath::of(place)?.open_or_make()?;
        Ok(Site { live, work, is_data })
    }

    /// What a swap moves: not the work directory, nor what belongs to the directory itself.
    fn movable(&self) -> Result<Vec<String>> {
        let keep = |name: &str| {
            name == "lost+found"
                || name.starts_with(".cassandra_fs_ownership")
                || name.starts_with(".cassandra_restore-")
                || (self.is_data && name == SYSTEM)
        };
        Ok(self.live.entries()?.into_iter().map(|entry| entry.name).filter(|name| !keep(name)).collect())
    }

    /// Whoever owns the directory may have hidden a part of it, or shown another file for the blocker.
    fn refuse_unemptied(&self) -> Result<()> {
        let left = self.movable()?.into_iter().next();
        match left.or_else(|| self.is_data.then(|| SYSTEM.to_owned())) {
            Some(name) if name != SYSTEM || !self.is_blocked()? => {
                bail!("`{}` appeared while data was set aside", self.live.path_of(&name).display())
            }
            _ => Ok(()),
        }
    }

    fn is_unused(&self) -> Result<bool> {
        let names = self.live.entries()?.into_iter().map(|entry| entry.name);
        Ok(names.into_iter().all(|name| name.starts_with('.') || name == "lost+found"))
    }

    /// From here on no Cassandra starts on this directory.
    fn block(&self, level: &str, words: &str) -> Result<()> {
        let aside = self.work.make_dir(level, 0o700)?;
        let kind =
            self.live.entries()?.into_iter().find(|entry| entry.name == SYSTEM).map(|entry| entry.kind);
        match kind {
            // The blocker of a run that was cut off.
            Some(Kind::File) => {}
            // One step, in which the keyspace is given its place aside: no second one could be missed.
            Some(Kind::Directory) => {
                make_blocker(&aside, words)?;
                durable::exchange(&self.live, SYSTEM, &aside, SYSTEM)?;
            }
            Some(Kind::Other) => bail!("`{}` is no directory", self.live.path_of(SYSTEM).display()),
            None => {
                make_blocker(&aside, words)?;
                durable::rename(&aside, SYSTEM, &self.live, SYSTEM)?;
            }
        }
        self.live.sync()?;
        aside.sync()?;
        self.work.sync()
    }

    fn is_blocked(&self) -> Result<bool> {
        Ok(self.is_data && is_file(&self.live, SYSTEM)?)
    }

    /// From here on the directory is the node's whose data was brought in.
    fn unblock(&self, level: &str) -> Result<()> {
        let from = self.work.dir_if_there(level)?;
        if !self.is_blocked()? {
            // A run was cut off before the blocker went in, or after it came out.
            return match from {
                Some(from) if is_file(&from, SYSTEM)? => durable::remove(&from, SYSTEM),
                Some(from) if from.stat(SYSTEM)?.is_some() => {
                    let (own, other) = (from.path_of(SYSTEM), self.live.path_of(SYSTEM));
                    bail!("`{}` cannot be moved in: `{}` is there", own.display(), other.display())
                }
                _ => Ok(()),
            };
        }
        match from {
            Some(from) if from.stat(SYSTEM)?.is_some() => {
                durable::exchange(&self.live, SYSTEM, &from, SYSTEM)?;
                self.live.sync()?;
                durable::remove(&from, SYSTEM)
            }
            // A directory that had no such keyspace: another data directory's, or one that was empty.
            _ => durable::remove(&self.live, SYSTEM),
        }
    }

    /// Whether this data directory's part of a level holds `system.local`.
    fn holds_identity(&self, level: &str) -> Result<bool> {
        self.work.dir_if_there(level)?.map_or(Ok(false), |level| is_a_node(&level))
    }
}

#[cfg(test)]
#[path = "swap_tests.rs"]
mod tests;
