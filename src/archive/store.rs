//! backup_dir: a draft becomes a backup by one rename.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error as AnyError, Result};
use rustix::fs::{Access, AtFlags, Gid, Mode, Uid};
use rustix::process::{getegid, geteuid};
use serde_json::{Value, json};

use crate::ansible::request::FileAttributes;
use crate::archive::reader::Archive;
use crate::dir::{Dir, Kind};
use crate::durable;
use crate::effect::{Kind as Step, step};
use crate::error::Error;

/// A directory of archives: `<tag>.tgz`, its checksum `<tag>.tgz.sha256`, and while it is made
/// `<tag>.tgz.partial`.
#[derive(Debug, Clone)]
pub struct Store {
    dir: Arc<Dir>,
}

impl Store {
    /// Makes the directory where it is missing: who fetches an archive as another user may pass through it,
    /// but not list it. One that is there is left as it is.
    pub fn open_or_make(path: &Path) -> Result<Store> {
        if path.exists() {
            return Store::open(path);
        }
        let unusable = |error: AnyError| unusable(path, format!("it cannot be made: {error:#}"));
        make(path).map_err(unusable)?;
        Store::open(path)
    }

    pub fn open(path: &Path) -> Result<Store> {
        Store::open_if_there(path)?.ok_or_else(|| unusable(path, "it does not exist".to_owned()))
    }

    /// `None` where nothing has that name. A symlink that leads nowhere is an error: the disk that it leads to may
    /// hold archives, and not be mounted.
    pub fn open_if_there(path: &Path) -> Result<Option<Store>> {
        let dir = Store::existing_part(path)?;
        Ok((dir.path() == path).then(|| Store { dir: Arc::new(dir) }))
    }

    /// The directory itself, or the one that it would be made in.
    pub fn existing_part(path: &Path) -> Result<Dir> {
        // What may not be looked at is not taken for nothing.
        let is_nothing =
            |error: &std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        let existing = path
            .ancestors()
            .find(|ancestor| ancestor.symlink_metadata().map_or_else(|error| !is_nothing(&error), |_| true));
        let existing = existing.unwrap_or(Path::new("/"));
        Dir::open(existing).map_err(|error| {
            let which = if existing == path { "it".to_owned() } else { format!("`{}`", existing.display()) };
            let why = match std::fs::read_link(existing) {
                Ok(target) if !existing.exists() => {
                    format!("{which} is a symlink to `{}`, where nothing is", target.display())
                }
                _ if !existing.is_dir() => format!("{which} is not a directory"),
                _ => format!("{error:#}"),
            };
            unusable(path, why)
        })
    }

    /// Refuses a directory in which nothing can be made: another user's, or of a disk that is read-only.
    pub fn refuse_unwritable(path: &Path) -> Result<()> {
        let dir = Store::existing_part(path)?;
        let rights = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(&dir, ".", rights, AtFlags::EACCESS).map_err(|errno| {
            let why = format!("nothing can be written in `{}`: {errno}", dir.path().display());
            unusable(path, why)
        })
    }

    /// Refuses a file under an archive's name that is none of ours: it is not to be removed. A damaged archive is.
    pub fn refuse_foreign(path: &Path) -> Result<()> {
        if let Some(what) = Store::in_the_way(path) {
            return Err(Error::ArchiveForeign { path: path.to_owned(), what }.into());
        }
        match Archive::open(path) {
            Err(error) if !matches!(error.downcast_ref(), Some(Error::ArchiveDamaged { .. })) => Err(error),
            _ => Ok(()),
        }
    }

    /// What has an archive's name, where that is no regular file.
    pub fn in_the_way(path: &Path) -> Option<String> {
        let about = path.symlink_metadata().ok()?;
        match std::fs::read_link(path) {
            Ok(target) => Some(format!("it is a symlink to `{}`", target.display())),
            Err(_) if about.is_dir() => Some("it is a directory".to_owned()),
            Err(_) => (!about.is_file()).then(|| "it is not a regular file".to_owned()),
        }
    }

    /// Where the archive of a tag lies, whether the directory exists or not.
    pub fn path_in(backup_dir: &Path, tag: &str) -> PathBuf {
        backup_dir.join(archive_name(tag))
    }

    pub fn path_of(&self, tag: &str) -> PathBuf {
        self.dir.path_of(&archive_name(tag))
    }

    /// Begins an archive of this tag; what a killed run left of one is removed.
    pub fn draft(&self, tag: &str) -> Result<Draft> {
        let name = draft_name(tag);
        self.dir.remove_tree(&name)?;
        let file = self.dir.create_file(&name, 0o600)?;
        Ok(Draft { dir: self.dir.clone(), tag: tag.to_owned(), file })
    }

    /// Removes what a killed run left of an archive under construction; nothing there is fine.
    pub fn remove_draft(&self, tag: &str) -> Result<()> {
        durable::remove(&self.dir, &draft_name(tag))
    }

    /// Owner, group and mode of an archive and of the checksum beside it: as they are, and as they are to be.
    pub fn attributes(&self, tag: &str, attributes: &FileAttributes) -> Result<(Value, Value)> {
        let Ownership { uid, gid, mode } = Ownership::of(attributes)?;
        let (mut found, mut asked) = (json!({}), json!({}));
        for (what, name) in [("archive", archive_name(tag)), ("checksum", checksum_name(tag))] {
            let stat = self.dir.stat(&name)?;
            let show = |uid: u32, gid: u32, mode: u32| json!({"owner": uid, "group": gid, "mode": format!("{mode:04o}")});
            found[what] =
                stat.map_or(json!("missing"), |stat| show(stat.st_uid, stat.st_gid, stat.st_mode & 0o7777));
            let own = || (geteuid().as_raw(), getegid().as_raw());
            let (own_uid, own_gid) = stat.map_or_else(own, |stat| (stat.st_uid, stat.st_gid));
            asked[what] = show(uid.unwrap_or(own_uid), gid.unwrap_or(own_gid), mode);
        }
        Ok((found, asked))
    }

    /// Gives an archive its attributes and its checksum: a run that was killed after it gave the archive its name
    /// left none.
    pub fn settle(&self, tag: &str, attributes: &FileAttributes, sha256: &str) -> Result<()> {
        let ownership = Ownership::of(attributes)?;
        ownership.give(&self.dir.file(&archive_name(tag))?, &self.path_of(tag))?;
        write_checksum(&self.dir, tag, sha256, ownership)
    }

    /// Removes an archive and all that belongs to it; nothing there is fine.
    ///
    /// The checksum goes first: killed in between, an archive without one is left, which is whole and is
    /// found again by its name. The other way round a checksum would stay that no run looks for.
    pub fn remove(&self, tag: &str) -> Result<()> {
        let names = [draft_name(tag), checksum_name(tag), archive_name(tag)];
        names.iter().try_for_each(|name| durable::remove(&self.dir, name))
    }

    /// All tags with an archive under its final name, sorted.
    pub fn tags(&self) -> Result<Vec<String>> {
        let entries = self.dir.entries()?.into_iter().filter(|entry| entry.kind != Kind::Directory);
        let mut tags: Vec<String> =
            entries.filter_map(|entry| entry.name.strip_suffix(".tgz").map(str::to_owned)).collect();
        tags.sort_unstable();
        Ok(tags)
    }

    /// Every archive here, opened as it is come to: a damaged or foreign file is an error of its own.
    pub fn list(&self) -> Result<impl Iterator<Item = (String, Result<Archive>)> + '_> {
        Ok(self.tags()?.into_iter().map(|tag| {
            let archive = Archive::open(&self.path_of(&tag));
            (tag, archive)
        }))
    }
}

/// An archive under construction, as `<tag>.tgz.partial`: gone when dropped before it was published.
#[derive(Debug)]
pub struct Draft {
    dir: Arc<Dir>,
    tag: String,
    file: File,
}

impl Draft {
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it can be read back before it is published.
    pub fn path(&self) -> PathBuf {
        self.dir.path_of(&draft_name(&self.tag))
    }

    /// Gives the finished archive its name, over an older archive of this tag.
    ///
    /// In this order: the older checksum goes, the archive gets its name (synced before and after), its
    /// checksum is written. Killed at any point, the name holds the older archive or this one, each complete,
    /// and beside it is its own checksum or none: never another archive's.
    pub fn publish(&mut self, attributes: &FileAttributes, sha256: &str) -> Result<()> {
        let (archive, checksum) = (archive_name(&self.tag), checksum_name(&self.tag));
        let ownership = Ownership::of(attributes)?;
        ownership.give(&self.file, &self.path())?;
        durable::remove(&self.dir, &checksum)?;
        durable::publish(&self.dir, &draft_name(&self.tag), &archive, &self.file)?;
        write_checksum(&self.dir, &self.tag, sha256, ownership)
    }

    /// Whether the archive is there under its name; it may be that only what comes after failed.
    pub fn has_its_name(&self) -> bool {
        let named = self.dir.stat(&archive_name(&self.tag)).ok().flatten();
        let made = rustix::fs::fstat(&self.file).ok();
        named
            .zip(made)
            .is_some_and(|(named, made)| (named.st_dev, named.st_ino) == (made.st_dev, made.st_ino))
    }
}

/// Writes `<tag>.tgz.sha256`, as `sha256sum -c` reads it.
fn write_checksum(dir: &Dir, tag: &str, sha256: &str, ownership: Ownership) -> Result<()> {
    let (archive, checksum) = (archive_name(tag), checksum_name(tag));
    let draft = format!("{checksum}.partial");
    let path = dir.path_of(&draft);
    dir.remove_tree(&draft)?;
    let file = dir.create_file(&draft, 0o600)?;
    durable::fill(&file, &path, format!("{sha256}  {archive}\n").as_bytes())?;
    ownership.give(&file, &path)?;
    durable::publish(dir, &draft, &checksum, &file)
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.has_its_name() {
            // What cannot be removed is removed by the next draft of this tag, or told by it.
            let _ = self.dir.remove_file(&draft_name(&self.tag));
        }
    }
}

/// Owner, group and mode of a file, names looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: u32,
}

impl Ownership {
    /// Ask before long work whether the names exist.
    pub fn of(attributes: &FileAttributes) -> Result<Ownership> {
        Ok(Ownership {
            uid: number("owner", attributes.owner.as_deref(), Path::new("/etc/passwd"))?,
            gid: number("group", attributes.group.as_deref(), Path::new("/etc/group"))?,
            mode: attributes.mode,
        })
    }

    fn give(&self, file: &File, path: &Path) -> Result<()> {
        let (uid, gid) = (self.uid.map(Uid::from_raw), self.gid.map(Gid::from_raw));
        if uid.is_some() || gid.is_some() {
            step(Step::Attributes, || path.to_owned(), || rustix::fs::fchown(file, uid, gid))
                .with_context(|| format!("cannot set the owner of `{}`", path.display()))?;
        }
        let mode = Mode::from_raw_mode(self.mode);
        step(Step::Attributes, || path.to_owned(), || rustix::fs::fchmod(file, mode))
            .with_context(|| format!("cannot set the mode of `{}`", path.display()))
    }
}

/// A number as it is, a name from the third field of its line. The executable is static, so directory
/// services are out of its reach.
fn number(option: &str, asked: Option<&str>, database: &Path) -> Result<Option<u32>> {
    let Some(name) = asked else { return Ok(None) };
    // The last number is what the kernel takes for "leave it as it is".
    if let Some(number) = name.parse().ok().filter(|number| *number != u32::MAX) {
        return Ok(Some(number));
    }
    let text = std::fs::read(database).with_context(|| format!("cannot read `{}`", database.display()))?;
    let text = String::from_utf8_lossy(&text);
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    match found {
        Some(number) => Ok(Some(number)),
        None => Err(Error::BadOption {
            message: format!("`{option}` is `{name}`, which `{}` does not list", database.display()),
            hint: "give it as a number, which works with directory services too",
        }
        .into()),
    }
}

/// Makes a directory that is missing, with what is missing above it, and sees to it that it stays.
fn make(path: &Path) -> Result<()> {
    let absolute = std::path::absolute(path)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Ok(());
    };
    durable::make_dirs(parent).with_context(|| format!("cannot make `{}`", parent.display()))?;
    let parent = Dir::open(parent)?;
    let name = name.to_str().context("its name is not UTF-8")?;
    // Whatever the umask says.
    parent.make_dir(name, 0o711)?.set_mode(0o711)?;
    parent.sync()
}

fn unusable(path: &Path, why: String) -> AnyError {
    Error::BackupDir { path: path.to_owned(), why }.into()
}

fn archive_name(tag: &str) -> String {
    format!("{tag}.tgz")
}

fn draft_name(tag: &str) -> String {
    format!("{tag}.tgz.partial")
}

fn checksum_name(tag: &str) -> String {
    format!("{tag}.tgz.sha256")
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
