//! Directories held open, reached one checked name at a time and through no symlink.
//!
//! The container's user owns the data directory and can plant a symlink at any moment, while we work in
//! it as root. So nothing below it is ever opened by a joined path: each step is one `openat` of a single
//! name with `O_NOFOLLOW`, beneath a handle that is already open.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::effect::{Kind as Step, step};

/// Directories below one another that are removed with what holds them. Cassandra needs six; each takes a handle
/// and a part of the stack, of which whoever owns the tree could ask for as much as he likes.
const MOST_LEVELS: usize = 64;

/// The kernel's `XATTR_SIZE_MAX`: no ACL takes more bytes.
const MOST_ACL: usize = 65_536;

/// A directory that stays the same one, whatever happens to the names that led to it.
#[derive(Debug)]
pub struct Dir {
    handle: OwnedFd,
    /// How it was reached: for messages, never opened again.
    path: PathBuf,
}

/// One name in a directory, with what it is (a symlink is a symlink, not what it points to).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Directory,
    File,
    /// A symlink, device, fifo or socket: never followed, opened or packed.
    Other,
}

/// A relative path of checked names: not absolute, no `.` or `..`, never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    pub fn parse(path: &str) -> Result<RelativePath> {
        for name in path.split('/') {
            single_name(name)?;
        }
        Ok(RelativePath(path.to_owned()))
    }

    pub fn join(&self, name: &str) -> Result<RelativePath> {
        single_name(name)?;
        Ok(RelativePath(format!("{}/{name}", self.0)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The directory it lies in, `None` at the top.
    pub fn parent(&self) -> Option<RelativePath> {
        self.0.rsplit_once('/').map(|(parent, _)| RelativePath(parent.to_owned()))
    }
}

/// Refuses whatever is not the name of one directory entry. None is longer on any filesystem.
fn single_name(name: &str) -> Result<()> {
    if name.len() > 255 || name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        bail!("`{}` is not a single file name", name.escape_debug());
    }
    Ok(())
}

impl Dir {
    /// Opens a directory by a path that the host's administrator gave: symlinks in it are followed.
    pub fn open(path: &Path) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = step(Step::Open, || path.to_owned(), || rustix::fs::open(path, flags, Mode::empty()))
            .with_context(|| format!("cannot open directory `{}`", path.display()))?;
        Ok(Dir { handle, path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry, for messages only.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a directory below; an error where there is none.
    pub fn dir(&self, name: &str) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        single_name(name)?;
        let handle = self
            .openat(Step::Open, name, flags, 0)
            .with_context(|| format!("cannot open directory `{}`", self.path_of(name).display()))?;
        Ok(Dir { handle, path: self.path_of(name) })
    }

    /// Opens a directory below; `None` where nothing has that name.
    pub fn dir_if_there(&self, name: &str) -> Result<Option<Dir>> {
        match self.stat(name)? {
            None => Ok(None),
            Some(_) => self.dir(name).map(Some),
        }
    }

    /// Walks down, one checked name after the other.
    pub fn dir_at(&self, path: &RelativePath) -> Result<Dir> {
        let mut names = path.names();
        let first = names.next().unwrap_or_default();
        names.try_fold(self.dir(first)?, |dir, name| dir.dir(name))
    }

    /// Makes a directory, or opens the one that is there.
    pub fn make_dir(&self, name: &str, mode: u32) -> Result<Dir> {
        single_name(name)?;
        let make = || rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(mode));
        match step(Step::MakeDir, || self.path_of(name), make) {
            Ok(()) | Err(Errno::EXIST) => self.dir(name),
            Err(errno) => Err(errno)
                .with_context(|| format!("cannot make directory `{}`", self.path_of(name).display())),
        }
    }

    /// Makes a directory that is new; an error where the name is taken, or is given to another one meanwhile.
    pub fn make_new_dir(&self, name: &str, mode: u32) -> Result<Dir> {
        single_name(name)?;
        let shown = || self.path_of(name).display().to_string();
        let make = || rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(mode));
        match step(Step::MakeDir, || self.path_of(name), make) {
            Err(Errno::EXIST) => bail!("`{}` exists already", shown()),
            made => made.with_context(|| format!("cannot make directory `{}`", shown()))?,
        }
        let dir = self.dir(name)?;
        // The kernel gives no handle to what it makes. Whatever was put in its place is not to be given away.
        if dir.own_stat()?.st_uid != geteuid().as_raw() || !dir.entries()?.is_empty() {
            bail!("`{}` is not the directory that was made there", shown());
        }
        Ok(dir)
    }

    /// Opens a regular file for reading. A fifo or device planted under the name is refused unopened: to open some
    /// devices is to start them.
    pub fn file(&self, name: &str) -> Result<File> {
        single_name(name)?;
        let path = self.path_of(name);
        let context = || format!("cannot open `{}`", path.display());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = self.openat(Step::Open, name, flags, 0).with_context(context)?;
        let stat = step(Step::Stat, || path.clone(), || rustix::fs::fstat(&found))
            .with_context(|| format!("cannot stat `{}`", path.display()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            bail!("`{}` is not a regular file", path.display());
        }
        // Not by its name again: this is the very file that was looked at. A lease that its owner holds is not
        // waited for.
        let again = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::open(again, flags, Mode::empty()).with_context(context)?))
    }

    /// Makes a new file; an error where the name is taken.
    pub fn create_file(&self, name: &str, mode: u32) -> Result<File> {
        single_name(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = self
            .openat(Step::Create, name, flags, mode)
            .with_context(|| format!("cannot make `{}`", self.path_of(name).display()))?;
        Ok(File::from(handle))
    }

    /// What the name is (a symlink is not followed); `None` where nothing has it.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>> {
        single_name(name)?;
        let look = || rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW);
        match step(Step::Stat, || self.path_of(name), look) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => {
                Err(errno).with_context(|| format!("cannot stat `{}`", self.path_of(name).display()))
            }
        }
    }

    /// The directory's own status: device, inode, owner, mode.
    pub fn own_stat(&self) -> Result<Stat> {
        step(Step::Stat, || self.path.clone(), || rustix::fs::fstat(&self.handle))
            .with_context(|| format!("cannot stat `{}`", self.path.display()))
    }

    /// Whether it is the very same directory as another one.
    pub fn is(&self, other: &Dir) -> Result<bool> {
        let (own, other) = (self.own_stat()?, other.own_stat()?);
        Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
    }

    /// Every entry but `.` and `..`, sorted by name. A name that is not UTF-8 is an error that shows it.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let context = || format!("cannot list `{}`", self.path.display());
        // A fresh handle: the position of `self.handle` is shared with whoever lists it next.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listing = self.openat(Step::List, ".", flags, 0).with_context(context)?;
        let mut space = Vec::with_capacity(32 * 1024);
        let mut raw = RawDir::new(listing, space.spare_capacity_mut());
        let mut entries = Vec::new();
        while let Some(entry) = raw.next() {
            let entry = entry.with_context(context)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let Ok(name) = std::str::from_utf8(name) else {
                bail!("`{}` is not a UTF-8 name", self.path.join(OsStr::from_bytes(name)).display());
            };
            let kind = match entry.file_type() {
                FileType::Directory => Kind::Directory,
                FileType::RegularFile => Kind::File,
                // Some filesystems do not say it in the listing.
                FileType::Unknown => match self.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode))
                {
                    Some(FileType::Directory) => Kind::Directory,
                    Some(FileType::RegularFile) => Kind::File,
                    _ => Kind::Other,
                },
                _ => Kind::Other,
            };
            entries.push(Entry { name: name.to_owned(), kind });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// The names of the directories in it, sorted.
    pub fn dir_names(&self) -> Result<Vec<String>> {
        let dirs = self.entries()?.into_iter().filter(|entry| entry.kind == Kind::Directory);
        Ok(dirs.map(|entry| entry.name).collect())
    }

    pub fn remove_file(&self, name: &str) -> Result<()> {
        self.unlink(name, AtFlags::empty())
    }

    /// Removes whatever has the name, with all that is below it; nothing there is fine. Symlinks are
    /// removed, never followed.
    pub fn remove_tree(&self, name: &str) -> Result<()> {
        self.remove_levels(name, MOST_LEVELS)
    }

    fn remove_levels(&self, name: &str, levels: usize) -> Result<()> {
        let Some(stat) = self.stat(name)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return self.remove_file(name);
        }
        if levels == 0 {
            bail!("`{}` lies too deep to be removed", self.path_of(name).display());
        }
        let below = self.dir(name)?;
        for entry in below.entries()? {
            below.remove_levels(&entry.name, levels - 1)?;
        }
        drop(below);
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &str, flags: AtFlags) -> Result<()> {
        single_name(name)?;
        step(Step::Remove, || self.path_of(name), || rustix::fs::unlinkat(&self.handle, name, flags))
            .with_context(|| format!("cannot remove `{}`", self.path_of(name).display()))
    }

    /// What is made in it gets the POSIX ACL that what is made in `other` gets, where that has one.
    pub fn inherit_like(&self, other: &Dir) -> Result<()> {
        const DEFAULT_ACL: &str = "system.posix_acl_default";
        let mut acl = vec![0; MOST_ACL];
        let length = match rustix::fs::fgetxattr(&other.handle, DEFAULT_ACL, &mut acl[..]) {
            Ok(length) => length,
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(()),
            Err(errno) => {
                return Err(errno)
                    .with_context(|| format!("cannot read the ACL of `{}`", other.path().display()));
            }
        };
        rustix::fs::fsetxattr(&self.handle, DEFAULT_ACL, &acl[..length], XattrFlags::empty())
            .with_context(|| format!("cannot set the ACL of `{}`", self.path().display()))
    }

    pub fn set_owner(&self, uid: u32, gid: u32) -> Result<()> {
        let (uid_raw, gid_raw) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        self.attributes(|| rustix::fs::fchown(&self.handle, uid_raw, gid_raw))
            .with_context(|| format!("cannot give `{}` to {uid}:{gid}", self.path.display()))
    }

    pub fn set_mode(&self, mode: u32) -> Result<()> {
        self.attributes(|| rustix::fs::fchmod(&self.handle, Mode::from_raw_mode(mode)))
            .with_context(|| format!("cannot set the mode of `{}`", self.path.display()))
    }

    fn attributes(&self, set: impl FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
        step(Step::Attributes, || self.path.clone(), set)
    }

    fn openat(&self, kind: Step, name: &str, flags: OFlags, mode: u32) -> rustix::io::Result<OwnedFd> {
        let open = || rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(mode));
        step(kind, || self.path_of(name), open)
    }

    /// Bytes that a user without privileges can still write on this filesystem.
    pub fn free_space(&self) -> Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.handle)
            .with_context(|| format!("cannot ask for the free space of `{}`", self.path.display()))?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Makes the directory's own entries survive a power cut.
    pub fn sync(&self) -> Result<()> {
        step(Step::SyncDir, || self.path.clone(), || rustix::fs::fsync(&self.handle))
            .with_context(|| format!("cannot sync `{}`", self.path.display()))
    }

    /// Makes all that is below survive a power cut, with whatever else the filesystem has not written yet.
    pub fn sync_filesystem(&self) -> Result<()> {
        step(Step::SyncFilesystem, || self.path.clone(), || rustix::fs::syncfs(&self.handle))
            .with_context(|| format!("cannot sync the filesystem of `{}`", self.path.display()))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// The path without symlinks as far as it exists: to be compared, never opened.
pub fn real_path(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    match existing {
        Some((ancestor, real)) => real.join(path.strip_prefix(ancestor).unwrap_or(Path::new(""))),
        None => path.to_owned(),
    }
}

/// True where the error, or what caused it, is the host's "no such file or directory".
pub fn is_not_found(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
            || cause.downcast_ref::<Errno>() == Some(&Errno::NOENT)
    })
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
