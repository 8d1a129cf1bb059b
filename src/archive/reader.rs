//! An archive opened by a few seeks, and read in full to prove it whole.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error as AnyError, Result};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::archive::gzip;
use crate::archive::header::{self, BLOCK};
use crate::archive::manifest::{self, Backup, Manifest};
use crate::archive::pass::{End, Event, Pass, damaged, told};
use crate::archive::plain::{self, Plain, Wanted};
use crate::archive::toc::{self, FOOTER_SIZE, Toc};
use crate::archive::unpack::place;
use crate::error::Error;

/// A table of contents beyond this is a lie: it would describe some four million files.
const MAX_TOC: u64 = 1 << 30;

/// The most regular table shrinks to a fortieth; what shrinks more is a small file that takes much memory.
const MOST_INFLATED: u64 = 100;

/// A manifest beyond this is a lie: it would count some 30,000 tables.
const MAX_MANIFEST: u64 = 8 << 20;

/// A checksum file holds one line.
const MAX_CHECKSUM: u64 = 4096;

/// An archive whose footer, table of contents and manifest are all right; its files were not looked at. Or a plain tar,
/// of which there is nothing to be known before it was read to its end.
#[derive(Debug)]
pub struct Archive {
    pub(super) path: PathBuf,
    file: File,
    size: u64,
    manifest: Manifest,
    pub(super) toc: Toc,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Own(End),
    Plain(Plain),
}

/// What a full reading has proved right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Of the whole file.
    pub sha256: String,
}

impl Archive {
    /// Reads no more than the footer, the table of contents and the manifest.
    pub fn open(path: &Path) -> Result<Archive> {
        let no_table = || foreign(path, "it has no table of contents".to_owned());
        Archive::open_own(path)?.ok_or_else(no_table)
    }

    /// [`Archive::open`]; where it is a tar of a data directory that somebody else made, all of it is read.
    pub fn open_any(path: &Path, wanted: &Wanted) -> Result<Archive> {
        if let Some(own) = Archive::open_own(path)? {
            return Ok(own);
        }
        let (file, size) = open_file(path)?;
        let (manifest, toc, mut plain) = plain::read(path, &file, wanted)?;
        if let Some(beside) = compare_with_recorded(path, &plain.sha256)? {
            plain.proven_by.insert(0, format!("`{}`", beside.display()));
        }
        Ok(Archive { path: path.to_owned(), file, size, manifest, toc, form: Form::Plain(plain) })
    }

    /// `None` where it was never an archive of ours.
    fn open_own(path: &Path) -> Result<Option<Archive>> {
        let (file, size) = open_file(path)?;
        let end = match read_footer(&file, size).with_context(|| cannot_read(path))? {
            Some(toc_offset) => toc_offset,
            None => return refuse_cut(path, &file, size).map(|()| None),
        };
        let mut archive_file = &file;
        archive_file.seek(SeekFrom::Start(end)).with_context(|| cannot_read(path))?;
        let json = read_toc(path, &file, end, size)?;
        let unreadable =
            |error: AnyError| damaged(path, format!("its table of contents makes no sense: {error:#}"));
        let toc = Toc::parse(&json, end).map_err(unreadable)?;

        let Some(first) = toc.entries.first().filter(|first| first.name.as_str() == manifest::NAME) else {
            return Err(foreign(path, format!("its first entry is not `{}`", manifest::NAME)));
        };
        if let Some(size) = first.file_size().filter(|size| *size > MAX_MANIFEST) {
            return Err(damaged(path, format!("a manifest of {size} bytes makes no sense")));
        }
        let json_of_manifest = Pass::new(path, &file).first(&toc, end)?;
        let manifest =
            Manifest::parse(&json_of_manifest).map_err(|error| foreign(path, format!("{error:#}")))?;
        manifest.check_files(toc.data_files()).map_err(|error| damaged(path, format!("{error:#}")))?;
        let data_directories = manifest.node.data_directories.len();
        let data = if data_directories > 1 { &toc.entries[1..] } else { &[] };
        for entry in data {
            place(entry, data_directories).map_err(|error| damaged(path, format!("{error:#}")))?;
        }

        let toc_size = json.len() as u64;
        let end = End { toc_offset: end, toc_size, toc_sha256: Sha256::digest(&json).into() };
        Ok(Some(Archive { path: path.to_owned(), file, size, manifest, toc, form: Form::Own(end) }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn toc(&self) -> &Toc {
        &self.toc
    }

    /// Of the archive itself, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Of all files in it, the manifest not counted.
    pub fn unpacked_size(&self) -> u64 {
        self.manifest.bytes
    }

    /// `sha256:…` of the table of contents: it covers every chunk, and so names what is in the archive. Of a plain tar
    /// it is the whole file's.
    pub fn toc_digest(&self) -> String {
        match &self.form {
            Form::Own(end) => toc::digest(&end.toc_sha256),
            Form::Plain(plain) => format!("sha256:{}", plain.sha256),
        }
    }

    /// What results show of it; the SHA-256 is the one written beside it, unproved.
    pub fn backup(&self) -> Result<Backup> {
        let (sha256, proven_by) = match &self.form {
            Form::Own(_) => (self.recorded_sha256()?, Vec::new()),
            Form::Plain(plain) => (Some(plain.sha256.clone()), plain.proven_by.clone()),
        };
        Ok(Backup { proven_by, ..Backup::of(&self.manifest, &self.path, self.size, sha256) })
    }

    /// Of a plain tar what whoever restores it has to know.
    pub fn notes(&self) -> Vec<String> {
        let Form::Plain(plain) = &self.form else { return Vec::new() };
        let (path, proven_by) = (self.path.display(), plain.proven_by.join(", "));
        let proven = format!(
            "`{path}` was not made by this module, and does not say what it should hold: it is proven by {proven_by}"
        );
        [proven].into_iter().chain(plain.notes.iter().cloned()).collect()
    }

    /// The SHA-256 that `<archive>.sha256` holds; `None` where there is no such file.
    pub fn recorded_sha256(&self) -> Result<Option<String>> {
        recorded_sha256(&self.path)
    }

    /// Reads every byte: gzip checksums, tar headers, the SHA-256 of every chunk, the places where members
    /// begin, and the file's own SHA-256 where one is recorded beside it. `progress` is called with each
    /// further number of data bytes proved right, [`Archive::unpacked_size`] in all.
    pub fn verify(&self, threads: usize, progress: &mut dyn FnMut(u64)) -> Result<Verified> {
        if let Form::Plain(plain) = &self.form {
            // As it was opened.
            progress(self.manifest.bytes);
            return Ok(Verified { sha256: plain.sha256.clone() });
        }
        self.pass(threads, &mut |_| Ok(()), progress)
    }

    pub(super) fn pass(
        &self,
        threads: usize,
        on: &mut dyn FnMut(Event) -> Result<()>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Verified> {
        let mut in_data = false;
        let mut on = |event: Event| {
            match &event {
                Event::Entry(entry) => in_data = entry.name.as_str() != manifest::NAME,
                Event::Bytes(bytes) if in_data => progress(bytes.len() as u64),
                _ => {}
            }
            if in_data { on(event) } else { Ok(()) }
        };
        let sha256 = match &self.form {
            Form::Own(end) => {
                let pass = Pass::new(&self.path, &self.file);
                pass.run(&self.toc, &self.manifest, end, threads, &mut on)?
            }
            Form::Plain(plain) => {
                plain.pass(&self.path, &self.file, &self.toc, &mut on)?;
                plain.sha256.clone()
            }
        };
        compare_with_recorded(&self.path, &sha256)?;
        Ok(Verified { sha256 })
    }
}

fn recorded_sha256(archive: &Path) -> Result<Option<String>> {
    let path = checksum_path(archive);
    let mut text = Vec::new();
    let read = open_whatever(&path).and_then(|file| match file.metadata()?.is_file() {
        true => file.take(MAX_CHECKSUM).read_to_end(&mut text),
        false => Ok(0),
    });
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("cannot read `{}`", path.display()))?,
    };
    let first = std::str::from_utf8(&text).ok().and_then(|text| text.split_whitespace().next());
    match first.filter(|word| word.len() == 64 && word.bytes().all(|digit| digit.is_ascii_hexdigit())) {
        Some(sha256) => Ok(Some(sha256.to_ascii_lowercase())),
        None => Err(damaged(archive, format!("`{}` beside it holds no SHA-256", path.display()))),
    }
}

/// Where it is recorded, if it is.
fn compare_with_recorded(archive: &Path, sha256: &str) -> Result<Option<PathBuf>> {
    let Some(recorded) = recorded_sha256(archive)? else { return Ok(None) };
    let beside = checksum_path(archive);
    if recorded == sha256 {
        return Ok(Some(beside));
    }
    Err(damaged(archive, format!("its SHA-256 is {sha256}, but `{}` says {recorded}", beside.display())))
}

fn checksum_path(archive: &Path) -> PathBuf {
    let mut path = archive.as_os_str().to_owned();
    path.push(".sha256");
    path.into()
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read the archive `{}`", path.display())
}

fn foreign(path: &Path, what: String) -> AnyError {
    Error::ArchiveForeign { path: path.to_owned(), what }.into()
}

/// Not blocking: a fifo of that name is for the caller to refuse, and not waited for.
fn open_whatever(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}

fn open_file(path: &Path) -> Result<(File, u64)> {
    let file = match open_whatever(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(match std::fs::read_link(path) {
                Ok(target) => {
                    foreign(path, format!("it is a symlink to `{}`, where nothing is", target.display()))
                }
                Err(_) => Error::ArchiveMissing { path: path.to_owned() }.into(),
            });
        }
        Err(error) => return Err(error).with_context(|| cannot_read(path)),
    };
    let metadata = file.metadata().with_context(|| cannot_read(path))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "it is a directory" } else { "it is not a regular file" };
        return Err(foreign(path, what.to_owned()));
    }
    Ok((file, metadata.len()))
}

/// The offset of the table of contents; `None` where the file does not end in a footer that makes sense.
fn read_footer(file: &File, size: u64) -> std::io::Result<Option<u64>> {
    let mut footer = [0; FOOTER_SIZE];
    let Some(start) = size.checked_sub(FOOTER_SIZE as u64) else { return Ok(None) };
    file.read_exact_at(&mut footer, start)?;
    Ok(toc::parse_footer(&footer).ok().filter(|toc_offset| *toc_offset < start))
}

/// Tells an archive of ours that was cut or overwritten from a file that never was one.
fn refuse_cut(path: &Path, file: &File, size: u64) -> Result<()> {
    if size == 0 {
        return Err(damaged(path, "it is empty".to_owned()));
    }
    // As much of the first entry's name as can be decoded: little is left of an archive cut near its begin.
    let mut begin = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(file).take(manifest::NAME.len() as u64);
    let cut_within_name = decoder.read_to_end(&mut begin).is_err();
    let is_gzip = decoder.get_ref().header().is_some() || size < FOOTER_SIZE as u64;
    let ours = manifest::NAME.as_bytes().starts_with(&begin) && (cut_within_name || !begin.is_empty());
    if is_gzip && ours {
        let what = "it was cut short or overwritten: its last 51 bytes are not its footer".to_owned();
        return Err(damaged(path, what));
    }
    Ok(())
}

/// The JSON, with all that must be between it and the footer.
fn read_toc(path: &Path, file: &File, toc_offset: u64, size: u64) -> Result<Vec<u8>> {
    let fault = |fault| told(path, &format_args!("the table of contents, at byte {toc_offset}"), fault);
    let wrong = |why| fault(gzip::Fault::Damage(why));
    let mut members = gzip::Reader::new(file, toc_offset);
    members.begin_member().map_err(fault)?;
    let mut head = [0; BLOCK];
    members.read(&mut head).map_err(fault)?;
    let json_size =
        header::size_of(&head).filter(|size| *size <= MAX_TOC && head.starts_with(toc::NAME.as_bytes()));
    let Some(json_size) = json_size else { return Err(wrong("its tar header makes no sense")) };

    if json_size > MOST_INFLATED * (size - toc_offset) {
        return Err(wrong("it inflates to more than any table does"));
    }
    let mut json = Vec::new();
    members.read_into(&mut json, json_size as usize).map_err(fault)?;
    let mut rest = vec![0; header::padding(json_size) + header::END.len()];
    members.read(&mut rest).map_err(fault)?;
    members.end_member().map_err(fault)?;
    if members.position() != size - FOOTER_SIZE as u64 {
        return Err(wrong("something lies between it and the footer"));
    }
    Ok(json)
}
