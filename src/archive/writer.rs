//! Packs files from where they lie into an archive, in the layout of `docs/archive-format.md`.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::fs::Stat;
use sha2::{Digest, Sha256};

use crate::ansible::request::Compression;
use crate::archive::gzip;
use crate::archive::header;
use crate::archive::manifest::{self, Manifest};
use crate::archive::members::{self, Attributes, Member, Parents, Source};
use crate::archive::toc::{self, Chunk, Content, Entry, Names, Toc};
use crate::dir::{Dir, RelativePath, is_not_found};
use crate::error::Error;
use crate::interrupt;

/// A file's piece in a gzip member of its own, in archives of up to 1 TiB.
pub(super) const CHUNK: usize = 1 << 20;

/// Larger chunks for larger archives: a million entries of the table of contents are as much as is held in
/// memory while reading.
fn chunk_size(bytes: u64) -> u64 {
    (bytes >> 20).next_power_of_two().clamp(CHUNK as u64, 32 << 20)
}

/// The finished archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub size: u64,
    /// Of the whole file.
    pub sha256: String,
    /// `sha256:…` of the table of contents: it covers every chunk, and so names what is in the archive.
    pub toc_digest: String,
}

/// Writes a whole archive to `out`, which is at its beginning; entries are in the order of `members`.
/// Equal input gives equal bytes. `progress` is called with each further number of data bytes packed.
///
/// Neither syncs nor names the file: that is [`Draft::publish`](crate::archive::store::Draft::publish).
pub fn write(
    out: impl Write,
    manifest: &Manifest,
    roots: &[Dir],
    members: &[Member],
    compression: Compression,
    progress: &mut dyn FnMut(u64),
) -> Result<Written> {
    check(manifest, members)?;
    let mut packer = Packer {
        blob: gzip::Writer::new(out, compression),
        toc: Toc::default(),
        parents: Parents::new(roots),
        roots,
        chunk: Vec::new(),
        chunk_size: chunk_size(manifest.bytes),
    };
    packer.blob.next_member().context(CANNOT_WRITE)?;
    packer.pack_manifest(manifest)?;
    for member in members {
        interrupt::check()?;
        packer.pack(member, progress)?;
    }
    packer.finish(manifest)
}

const CANNOT_WRITE: &str = "cannot write the archive";

/// What a reader would refuse is refused before hours of work.
fn check(manifest: &Manifest, members: &[Member]) -> Result<()> {
    let mut names = Names::default();
    names.admit(&RelativePath::parse(manifest::NAME)?, &file(0))?;
    for member in members {
        names.admit(&member.name, &content(&member.source))?;
    }
    manifest.check_files(members.iter().filter_map(|member| match member.source {
        Source::File { size, .. } => Some((&member.name, size)),
        Source::Directory => None,
    }))
}

fn content(source: &Source) -> Content {
    match source {
        Source::Directory => Content::Directory,
        Source::File { size, .. } => file(*size),
    }
}

fn file(size: u64) -> Content {
    Content::File { size, chunks: Vec::new() }
}

/// The entry of something this archive adds to the data: nobody's but root's, as old as the backup.
pub(super) fn own_entry(name: &str, size: u64, manifest: &Manifest) -> Result<Entry> {
    let created = manifest.created.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mtime = UNIX_EPOCH + Duration::from_secs(created.as_secs());
    Ok(Entry { name: RelativePath::parse(name)?, mode: 0o600, uid: 0, gid: 0, mtime, content: file(size) })
}

struct Packer<'a, W> {
    blob: gzip::Writer<W>,
    toc: Toc,
    parents: Parents<'a>,
    roots: &'a [Dir],
    chunk: Vec<u8>,
    chunk_size: u64,
}

impl<W: Write> Packer<'_, W> {
    fn pack_manifest(&mut self, manifest: &Manifest) -> Result<()> {
        let json = manifest.to_json()?;
        let entry = own_entry(manifest::NAME, json.len() as u64, manifest)?;
        self.header(entry)?;
        for piece in json.chunks(CHUNK) {
            self.chunk.clear();
            self.chunk.extend(piece);
            self.pack_chunk()?;
        }
        self.pad(json.len() as u64)
    }

    fn pack(&mut self, member: &Member, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let Attributes { mode, uid, gid, mtime } = member.attributes;
        self.header(Entry {
            name: member.name.clone(),
            mode,
            uid,
            gid,
            mtime,
            content: content(&member.source),
        })?;
        let Source::File { root, path, size } = &member.source else { return Ok(()) };

        let listed = Seen { size: *size, mtime };
        let mut source = self.open(*root, path)?;
        source.compare(&listed, "between listing and packing")?;
        let mut left = *size;
        while left > 0 {
            interrupt::check()?;
            source.read_chunk(&mut self.chunk, left.min(self.chunk_size))?;
            self.pack_chunk()?;
            left -= self.chunk.len() as u64;
            progress(self.chunk.len() as u64);
        }
        source.compare(&listed, "while it was read")?;
        self.pad(*size)
    }

    fn open(&mut self, root: usize, path: &RelativePath) -> Result<Opened> {
        let shown = || match self.roots.get(root) {
            Some(root) => root.path_of(path.as_str()).display().to_string(),
            None => path.as_str().to_owned(),
        };
        let opened = self.parents.of(root, path).and_then(|dir| dir.file(path.file_name()));
        match opened {
            Ok(file) => Ok(Opened { file, path: shown() }),
            Err(error) if is_not_found(&error) => {
                bail!(Error::DataChanged { what: format!("`{}` is gone", shown()) })
            }
            Err(error) => Err(error),
        }
    }

    /// An entry's header; its chunks are added to the table as they are packed.
    fn header(&mut self, entry: Entry) -> Result<()> {
        self.blob.write(&header::of(&entry)).context(CANNOT_WRITE)?;
        self.toc.entries.push(entry);
        Ok(())
    }

    /// `self.chunk` as the next piece of the file whose header came last.
    fn pack_chunk(&mut self) -> Result<()> {
        let offset = self.blob.next_member().context(CANNOT_WRITE)?;
        self.blob.write(&self.chunk).context(CANNOT_WRITE)?;
        let Some(Entry { content: Content::File { chunks, .. }, .. }) = self.toc.entries.last_mut() else {
            bail!("a chunk without a file");
        };
        let start = chunks.last().map_or(0, |chunk| chunk.start + chunk.size);
        let sha256 = Sha256::digest(&self.chunk).into();
        chunks.push(Chunk { offset, start, size: self.chunk.len() as u64, sha256 });
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        self.blob.write(&[0; header::BLOCK][..header::padding(size)]).context(CANNOT_WRITE)
    }

    fn finish(mut self, manifest: &Manifest) -> Result<Written> {
        let json = self.toc.to_json()?;
        let size = json.len() as u64;
        let toc_offset = self.blob.next_member().context(CANNOT_WRITE)?;
        self.blob.write(&header::of(&own_entry(toc::NAME, size, manifest)?)).context(CANNOT_WRITE)?;
        self.blob.write(&json).context(CANNOT_WRITE)?;
        self.pad(size)?;
        self.blob.write(&header::END).context(CANNOT_WRITE)?;
        let (size, sha256) = self.blob.finish(&toc::footer(toc_offset)).context(CANNOT_WRITE)?;
        Ok(Written { size, sha256, toc_digest: toc::digest(&Sha256::digest(&json)) })
    }
}

/// What tells whether a file is still the one that was listed.
#[derive(PartialEq, Eq)]
struct Seen {
    size: u64,
    mtime: SystemTime,
}

impl Seen {
    fn of(stat: &Stat) -> Seen {
        Seen { size: members::size(stat), mtime: members::mtime(stat) }
    }
}

struct Opened {
    file: File,
    /// For messages only.
    path: String,
}

impl Opened {
    fn compare(&self, listed: &Seen, when: &str) -> Result<()> {
        let stat = rustix::fs::fstat(&self.file).with_context(|| format!("cannot stat `{}`", self.path))?;
        let found = Seen::of(&stat);
        if found.size != listed.size {
            let sizes = format!("had {} bytes, and has {} now", listed.size, found.size);
            bail!(Error::DataChanged { what: format!("`{}` {sizes} (changed {when})", self.path) });
        }
        if found.mtime != listed.mtime {
            bail!(Error::DataChanged { what: format!("`{}` was written to {when}", self.path) });
        }
        Ok(())
    }

    /// The next chunk of a file, of so many bytes.
    fn read_chunk(&mut self, chunk: &mut Vec<u8>, wanted: u64) -> Result<()> {
        chunk.clear();
        let count = (&self.file)
            .take(wanted)
            .read_to_end(chunk)
            .with_context(|| format!("cannot read `{}`", self.path))?;
        if (count as u64) < wanted {
            bail!(Error::DataChanged { what: format!("`{}` became shorter while it was read", self.path) });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
