//! Writes an archive's files below data directories, each byte proved right before it is written.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};

use crate::archive::direct::{Blocks, Direct};
use crate::archive::members::Parents;
use crate::archive::pass::Event;
use crate::archive::reader::{Archive, Verified};
use crate::archive::toc::{Content, Entry};
use crate::dir::{Dir, RelativePath};
use crate::durable;
use crate::effect::{Kind, step};
use crate::interrupt;

/// How files are to be made.
pub struct Unpack<'a> {
    /// User and group of everything; `None`: as in the archive.
    pub owner: Option<(u32, u32)>,
    /// Which paths below the data directory are left out; a directory takes all below it with it.
    pub skip: &'a dyn Fn(&RelativePath) -> bool,
    /// At least 1.
    pub threads: usize,
}

impl Archive {
    /// Unpacks below `roots`, the data directories in the order of the manifest's, while it does all that
    /// [`Archive::verify`] does. Existing files are an error. When it returns, everything is on disk; when it
    /// fails, the caller removes what is there: damage shows only when it is reached.
    pub fn unpack(&self, roots: &[Dir], options: &Unpack, progress: &mut dyn FnMut(u64)) -> Result<Verified> {
        let directories = self.manifest().node.data_directories.len().max(1);
        ensure!(
            roots.len() == directories,
            "the archive `{}` holds {directories} data directories, to be unpacked into {}",
            self.path.display(),
            roots.len()
        );
        let mut unpacker = Unpacker {
            roots,
            parents: Parents::new(roots),
            options,
            skipped: HashSet::new(),
            directories: Vec::new(),
            file: None,
            blocks: Blocks::default(),
            is_synced_at_once: syncfs_tells_errors(),
        };
        let verified = self.pass(options.threads, &mut |event| unpacker.event(event), progress)?;
        unpacker.finish_directories()?;
        Ok(verified)
    }
}

struct Unpacker<'a> {
    roots: &'a [Dir],
    parents: Parents<'a>,
    options: &'a Unpack<'a>,
    skipped: HashSet<(usize, RelativePath)>,
    /// Made, but without their owners, modes and times: those would be lost while files are made in them.
    directories: Vec<(usize, RelativePath, Attributes)>,
    file: Option<Unfinished>,
    blocks: Blocks,
    /// All of it at the end, not each file by itself: a hundred thousand small files would wait for the disk each.
    is_synced_at_once: bool,
}

/// A file that is being written.
struct Unfinished {
    file: File,
    shown: PathBuf,
    attributes: Attributes,
    direct: Direct,
}

struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    times: Timestamps,
}

impl Unpacker<'_> {
    fn event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Entry(entry) => self.begin(entry),
            Event::Bytes(bytes) => match &mut self.file {
                Some(Unfinished { file, shown, direct, .. }) => direct
                    .write(file, shown, &mut self.blocks, bytes)
                    .with_context(|| format!("cannot write `{}`", shown.display())),
                None => Ok(()),
            },
            Event::EndOfFile => self.file.take().map_or(Ok(()), |unfinished| {
                let Unfinished { file, shown, attributes, mut direct } = unfinished;
                direct
                    .finish(&file, &shown, &mut self.blocks)
                    .with_context(|| format!("cannot write `{}`", shown.display()))?;
                set(&file, &attributes, &shown)?;
                match self.is_synced_at_once {
                    true => Ok(()),
                    false => durable::sync(&file, &shown),
                }
            }),
        }
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        let Some((root, path)) = place(entry, self.roots.len())? else { return Ok(()) };
        let parent_skipped = path.parent().is_some_and(|parent| self.skipped.contains(&(root, parent)));
        if parent_skipped || (self.options.skip)(&path) {
            self.skipped.insert((root, path));
            return Ok(());
        }
        let attributes = self.attributes(entry);
        let parent = self.parents.of(root, &path)?;
        match entry.content {
            Content::Directory => {
                parent.make_new_dir(path.file_name(), 0o700)?;
                self.directories.push((root, path, attributes));
            }
            Content::File { size, .. } => {
                let file = parent.create_file(path.file_name(), 0o600)?;
                let shown = parent.path_of(path.file_name());
                let direct = Direct::new(&file, size);
                self.file = Some(Unfinished { file, shown, attributes, direct });
            }
        }
        Ok(())
    }

    fn attributes(&self, entry: &Entry) -> Attributes {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        // A file that runs as its owner has no place in a data directory; a directory may pass its group on.
        let allowed = if entry.content == Content::Directory { 0o3777 } else { 0o777 };
        let mtime = entry.mtime.duration_since(UNIX_EPOCH).unwrap_or_default();
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: mtime.as_secs() as i64,
                tv_nsec: mtime.subsec_nanos().into(),
            },
        };
        Attributes { uid, gid, mode: entry.mode & allowed, times }
    }

    /// Deepest first: a directory without write permission is the last thing that happens to it.
    fn finish_directories(&mut self) -> Result<()> {
        for (root, path, attributes) in self.directories.iter().rev() {
            interrupt::check()?;
            let dir = self.parents.of(*root, path)?.dir(path.file_name())?;
            set(&dir, attributes, dir.path())?;
            if !self.is_synced_at_once {
                dir.sync()?;
            }
        }
        let sync = if self.is_synced_at_once { Dir::sync_filesystem } else { Dir::sync };
        self.roots.iter().try_for_each(sync)
    }
}

/// Before Linux 5.8, `syncfs` kept it to itself that something could not be written.
fn syncfs_tells_errors() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}

/// Which data directory an entry belongs to, and its path there; `None` for a data directory itself.
pub(super) fn place(entry: &Entry, data_directories: usize) -> Result<Option<(usize, RelativePath)>> {
    let name = entry.name.as_str();
    if data_directories <= 1 {
        return Ok(Some((0, entry.name.clone())));
    }
    let (first, rest) = match name.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    let index = first.strip_prefix("data-").and_then(|index| index.parse().ok());
    let index = index.filter(|index| *index < data_directories && format!("data-{index}") == first);
    match (index, rest) {
        (Some(index), Some(rest)) => Ok(Some((index, RelativePath::parse(rest)?))),
        (Some(_), None) if entry.content == Content::Directory => Ok(None),
        _ => bail!("`{name}` is in none of the archive's {data_directories} data directories"),
    }
}

/// The owner before the mode: changing an owner clears mode bits. The time last.
fn set(handle: &impl AsFd, attributes: &Attributes, path: &Path) -> Result<()> {
    let Attributes { uid, gid, mode, times } = attributes;
    let (shown, on) = (path.display(), || path.to_owned());
    let stat = step(Kind::Stat, on, || rustix::fs::fstat(handle));
    let stat = stat.with_context(|| format!("cannot stat `{shown}`"))?;
    // Only where it differs: without root, one may keep one's own files.
    if (stat.st_uid, stat.st_gid) != (*uid, *gid) {
        let give = || rustix::fs::fchown(handle, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
        step(Kind::Attributes, on, give).with_context(|| format!("cannot give `{shown}` to {uid}:{gid}"))?;
    }
    step(Kind::Attributes, on, || rustix::fs::fchmod(handle, Mode::from_raw_mode(*mode)))
        .with_context(|| format!("cannot set the mode of `{shown}`"))?;
    step(Kind::Attributes, on, || rustix::fs::futimens(handle, times))
        .with_context(|| format!("cannot set the time of `{shown}`"))
}
