//! A tar of whatever maker, compressed by gzip or not, read from its first byte to its last.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Error as AnyError, Result, anyhow};
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};
use tar::{Entry, EntryType};

use crate::archive::direct::Quiet;
use crate::archive::members::Attributes;
use crate::archive::pass::damaged;
use crate::archive::toc::hex;
use crate::dir::RelativePath;
use crate::effect::{Kind as Step, step};
use crate::error::Error;
use crate::interrupt;

/// Of a file's content so much is told at once, but for its last part.
pub const PART: usize = 1 << 20;

/// The headers of one member take no more: names of 64 levels, and what pax adds.
const MOST_HEADER: u64 = 1 << 20;

/// As many files as a table of contents of ours may have: each takes memory.
const MOST_MEMBERS: usize = 4_000_000;

const BUFFER: usize = 1 << 20;

/// The last second of the year 9999: later ones cannot be written down.
const LAST_SECOND: u64 = 253_402_300_799;

pub enum Part<'a> {
    Member(Member),
    Bytes(&'a [u8]),
    EndOfFile,
}

#[derive(Debug)]
pub struct Member {
    pub name: RelativePath,
    pub kind: Kind,
    pub attributes: Attributes,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    /// The same file as one that came before.
    Link(RelativePath),
}

/// What a whole reading tells.
#[derive(Debug)]
pub struct Finished {
    /// Of the whole file.
    pub sha256: String,
    pub is_gzip: bool,
}

/// Reads everything. What is no tar from its beginning is foreign, what ends or changes in the middle damaged.
pub fn read(path: &Path, file: &File, on: &mut dyn FnMut(Part) -> Result<()>) -> Result<Finished> {
    let meter = Meter::default();
    let mut raw = BufReader::with_capacity(BUFFER, Raw::of(file, &meter));
    let reading = Reading { path, meter: &meter, name: None };
    let is_gzip = raw.fill_buf().map_err(|error| reading.told(error))?.starts_with(b"\x1f\x8b");
    let unpacked: Box<dyn Read + '_> =
        if is_gzip { Box::new(Gunzip(Some(GzDecoder::new(raw)))) } else { Box::new(raw) };
    reading.all(tar::Archive::new(Metered { unpacked, meter: &meter }), on)?;
    Ok(Finished { sha256: hex(&meter.sha256.take().finalize()), is_gzip })
}

/// What the readers that lie in each other tell besides their bytes.
#[derive(Default)]
struct Meter {
    /// Of the file as it is.
    sha256: RefCell<Sha256>,
    /// Why the disk gave no more: the readers above make another error of it.
    failed: Cell<Option<io::Error>>,
    /// So many unpacked bytes may still be read.
    left: Cell<u64>,
    /// Nothing is left to be unpacked.
    ended: Cell<bool>,
}

/// The file, hashed as it is read.
struct Raw<'a> {
    file: &'a File,
    meter: &'a Meter,
    quiet: Quiet,
    around: Option<File>,
    position: u64,
}

impl<'a> Raw<'a> {
    fn of(file: &'a File, meter: &'a Meter) -> Raw<'a> {
        Raw { file, meter, quiet: Quiet::new(), around: None, position: 0 }
    }
}

impl Read for Raw<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = step(Step::Read, PathBuf::new, || {
            self.quiet.read(self.file, &mut self.around, self.position, bytes)
        });
        let count = read.map_err(|error| {
            let kind = error.kind();
            self.meter.failed.set(Some(error));
            io::Error::from(kind)
        })?;
        self.meter.sha256.borrow_mut().update(&bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

/// Gzip members one after another, as pigz and bgzip make them, and the zeros with which a tape is filled up.
struct Gunzip<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let count = decoder.read(bytes)?;
            if count > 0 || bytes.is_empty() {
                return Ok(count);
            }
            self.0 = self.0.take().map(GzDecoder::into_inner).map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

fn next_member<R: BufRead>(mut rest: R) -> io::Result<Option<GzDecoder<R>>> {
    loop {
        let filled = rest.fill_buf()?;
        match filled.iter().take_while(|byte| **byte == 0).count() {
            0 if filled.is_empty() => return Ok(None),
            0 => return Ok(Some(GzDecoder::new(rest))),
            zeros => rest.consume(zeros),
        }
    }
}

/// What is unpacked, no further than it is allowed to: a header that claims gigabytes is not given them.
struct Metered<'a> {
    unpacked: Box<dyn Read + 'a>,
    meter: &'a Meter,
}

impl Read for Metered<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.left.get();
        if left == 0 {
            return Err(io::Error::other("its headers are larger than any"));
        }
        let most = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.unpacked.read(&mut bytes[..most])?;
        self.meter.left.set(left - count as u64);
        self.meter.ended.set(count == 0 && most > 0);
        Ok(count)
    }
}

struct Reading<'a> {
    path: &'a Path,
    meter: &'a Meter,
    /// Of the last member that was begun.
    name: Option<String>,
}

impl Reading<'_> {
    fn all(mut self, mut tar: tar::Archive<Metered>, on: &mut dyn FnMut(Part) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; PART];
        let mut members = 0;
        self.meter.left.set(MOST_HEADER);
        for entry in tar.entries().map_err(|error| self.told(error))? {
            interrupt::check()?;
            let mut entry = entry.map_err(|error| self.told(error))?;
            self.name = Some(String::from_utf8_lossy(&entry.path_bytes()).into_owned());
            members += 1;
            if members > MOST_MEMBERS {
                return Err(damaged(self.path, format!("it has more than {MOST_MEMBERS} members")));
            }
            if let Some(member) = self.member(&mut entry)? {
                self.meter.left.set(u64::MAX);
                let is_file = member.kind == Kind::File;
                on(Part::Member(member))?;
                if is_file {
                    self.content(&mut entry, &mut buffer, on)?;
                }
            }
            self.meter.left.set(MOST_HEADER);
        }
        self.rest(tar.into_inner(), &mut buffer)
    }

    fn content(
        &self,
        entry: &mut Entry<Metered>,
        buffer: &mut [u8],
        on: &mut dyn FnMut(Part) -> Result<()>,
    ) -> Result<()> {
        let mut left = entry.size();
        while left > 0 {
            interrupt::check()?;
            let part = &mut buffer[..left.min(PART as u64) as usize];
            entry.read_exact(part).map_err(|error| self.told(error))?;
            left -= part.len() as u64;
            on(Part::Bytes(part))?;
        }
        on(Part::EndOfFile)
    }

    /// Behind the two blocks of zeros there is nothing but more of them; without them it was cut off between two files.
    fn rest(&self, mut unpacked: Metered, buffer: &mut [u8]) -> Result<()> {
        if self.name.is_none() {
            return Err(self.foreign("it holds nothing"));
        }
        if self.meter.ended.get() {
            return Err(self.told(io::ErrorKind::UnexpectedEof.into()));
        }
        self.meter.left.set(u64::MAX);
        loop {
            interrupt::check()?;
            let count = unpacked.read(buffer).map_err(|error| self.told(error))?;
            if count == 0 {
                return Ok(());
            }
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(damaged(self.path, "something lies behind the end of its tar".to_owned()));
            }
        }
    }

    /// `None` for the directory itself that was packed.
    fn member(&self, entry: &mut Entry<Metered>) -> Result<Option<Member>> {
        let header = entry.header();
        let entry_type = header.entry_type();
        let seconds = header.mtime().unwrap_or(0).min(LAST_SECOND);
        let number = |read: io::Result<u64>| u32::try_from(read.unwrap_or(0)).unwrap_or(0);
        let attributes = Attributes {
            mode: header.mode().unwrap_or(0o600) & 0o7777,
            uid: number(header.uid()),
            gid: number(header.gid()),
            mtime: UNIX_EPOCH + Duration::from_secs(seconds),
        };
        let path = entry.path_bytes().into_owned();
        let kind = match entry_type {
            EntryType::Directory => Kind::Directory,
            // As tar wrote directories before there was a type for them.
            EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous if !self.is_sparse(entry)? => Kind::File,
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let no_name = || self.foreign("it has a hard link to nothing");
                Kind::Link(self.name(&target)?.ok_or_else(no_name)?)
            }
            _ => {
                let what = match entry_type {
                    EntryType::Symlink => "a symlink",
                    EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => "a sparse file",
                    _ => "neither a file nor a directory",
                };
                let name = self.name.as_deref().unwrap_or_default();
                return Err(self.foreign(&format!("`{}` in it is {what}", name.escape_debug())));
            }
        };
        Ok(self.name(&path)?.map(|name| Member { name, kind, attributes }))
    }

    /// The newer way to say it: in words of pax.
    fn is_sparse(&self, entry: &mut Entry<Metered>) -> Result<bool> {
        let words = entry.pax_extensions().map_err(|error| self.told(error))?;
        for word in words.into_iter().flatten() {
            let word = word.map_err(|error| self.told(error))?;
            if word.key_bytes().starts_with(b"GNU.sparse") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn name(&self, bytes: &[u8]) -> Result<Option<RelativePath>> {
        let text = String::from_utf8_lossy(bytes);
        let leads_out = || self.foreign(&format!("`{}` in it leads out of it", text.escape_debug()));
        let Ok(known) = std::str::from_utf8(bytes) else {
            return Err(self.foreign(&format!("`{}` in it is not UTF-8", text.escape_debug())));
        };
        if known.starts_with('/') {
            return Err(leads_out());
        }
        let names: Vec<&str> = known.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        if names.is_empty() {
            return Ok(None);
        }
        RelativePath::parse(&names.join("/")).map(Some).map_err(|_| leads_out())
    }

    fn told(&self, error: io::Error) -> AnyError {
        if let Some(failed) = self.meter.failed.take() {
            return anyhow!(failed).context(format!("cannot read the archive `{}`", self.path.display()));
        }
        let is_cut = error.kind() == io::ErrorKind::UnexpectedEof;
        match &self.name {
            None if is_cut => damaged(self.path, "it was cut short".to_owned()),
            None => self.foreign(&format!("{error}")),
            Some(name) => {
                let why = if is_cut { "it was cut short".to_owned() } else { format!("{error}") };
                damaged(self.path, format!("in or behind `{}`: {why}", name.escape_debug()))
            }
        }
    }

    fn foreign(&self, what: &str) -> AnyError {
        foreign(self.path, what)
    }
}

/// Neither an archive of ours nor a tar of a data directory.
pub fn foreign(path: &Path, what: &str) -> AnyError {
    let what = format!("it has no table of contents, and is no tar of a data directory: {what}");
    Error::ArchiveForeign { path: path.to_owned(), what }.into()
}
