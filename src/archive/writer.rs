//! Packs files from where they lie into an archive, in the layout of `docs/archive-format.md`.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use codec::{Encoder, Level};
use sha2::{Digest, Sha256};

use crate::ansible::request::Compression;
use crate::archive::bytes::Bytes;
use crate::archive::direct::Quiet;
use crate::archive::header;
use crate::archive::manifest::{self, Manifest};
use crate::archive::members::{Attributes, Member, Parents, Source};
use crate::archive::opened::{Opened, Seen};
use crate::archive::table;
use crate::archive::toc::{self, Chunk, Content, Entry, Names, Toc};
use crate::archive::workers::{self, Workers};
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
/// Equal input gives equal bytes, however many threads make them. `progress` is called with each further number of
/// data bytes read.
///
/// Neither syncs nor names the file: that is [`Draft::publish`](crate::archive::store::Draft::publish).
pub fn write(
    out: impl Write,
    manifest: &Manifest,
    roots: &[Dir],
    members: Vec<Member>,
    Packing { compression, threads }: Packing,
    progress: &mut dyn FnMut(u64),
) -> Result<Written> {
    check(manifest, &members)?;
    let level = level(compression);
    let worker = || {
        let mut encoder = Encoder::new(level);
        move |batch: Batch| batch.compressed(&mut encoder)
    };
    workers::with(threads, worker, |workers| {
        let mut packer = Packer {
            out: Output { out, written: 0, sha256: Sha256::new() },
            toc: Toc::default(),
            parents: Parents::new(roots),
            roots,
            chunk_size: chunk_size(manifest.bytes),
            level,
            quiet: Quiet::new(),
            batch: Batch::default(),
            spare: Vec::new(),
            workers,
        };
        packer.next_member(None, 0)?;
        packer.pack_manifest(manifest)?;
        for member in members {
            interrupt::check()?;
            packer.pack(member, progress)?;
        }
        packer.finish(manifest)
    })
}

/// How an archive is made.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    pub compression: Compression,
    /// At least 1.
    pub threads: usize,
}

fn level(compression: Compression) -> Level {
    match compression {
        Compression::None => Level::Stored,
        Compression::Fast => Level::Fast,
        Compression::Best => Level::Best,
    }
}

pub(super) const CANNOT_WRITE: &str = "cannot write the archive";

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

/// A member in the making: a chunk, and what lies between it and the next.
#[derive(Debug)]
struct Begun {
    /// Whose chunk it is, in the table of contents, and of how many bytes: they come first.
    entry: Option<usize>,
    chunk: usize,
    /// Where it ends, in its batch's bytes.
    end: usize,
    /// Where it begins, in what it was compressed to.
    offset: usize,
    sha256: [u8; 32],
}

/// As many members as make a piece of work for a thread.
#[derive(Debug, Default)]
struct Batch {
    bytes: Bytes,
    members: Vec<Begun>,
    out: Vec<u8>,
}

impl Batch {
    fn compressed(mut self, encoder: &mut Encoder) -> Batch {
        let mut begin = 0;
        for member in &mut self.members {
            member.offset = self.out.len();
            member.sha256 = Sha256::digest(&self.bytes[begin..begin + member.chunk]).into();
            encoder.member(&self.bytes[begin..member.end], &mut self.out);
            begin = member.end;
        }
        self
    }

    fn cleared(mut self) -> Batch {
        self.bytes.truncate(0);
        self.members.clear();
        self.out.clear();
        self
    }
}

/// The file, its length and its SHA-256.
struct Output<W> {
    out: W,
    written: u64,
    sha256: Sha256,
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.sha256.update(bytes);
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Packer<'a, 'j, 'w, W> {
    out: Output<W>,
    toc: Toc,
    parents: Parents<'a>,
    roots: &'a [Dir],
    chunk_size: u64,
    level: Level,
    quiet: Quiet,
    batch: Batch,
    /// Batches that were written: their memory is used again.
    spare: Vec<Batch>,
    workers: &'w mut Workers<'j, Batch, Batch>,
}

impl<W: Write> Packer<'_, '_, '_, W> {
    fn pack_manifest(&mut self, manifest: &Manifest) -> Result<()> {
        let json = manifest.to_json()?;
        let entry = own_entry(manifest::NAME, json.len() as u64, manifest)?;
        self.header(entry);
        for piece in json.chunks(CHUNK) {
            self.next_chunk(piece.len())?;
            self.batch.bytes.extend(piece);
        }
        self.pad(json.len() as u64);
        Ok(())
    }

    fn pack(&mut self, member: Member, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let Member { name, attributes: Attributes { mode, uid, gid, mtime }, source } = member;
        let Source::File { root, path, size } = source else {
            self.header(Entry { name, mode, uid, gid, mtime, content: Content::Directory });
            return Ok(());
        };
        self.header(Entry { name, mode, uid, gid, mtime, content: file(size) });

        let listed = Seen { size, mtime };
        let mut source = self.open(root, &path)?;
        source.compare(&listed, "between listing and packing")?;
        let mut left = size;
        while left > 0 {
            interrupt::check()?;
            let chunk = left.min(self.chunk_size);
            self.next_chunk(chunk as usize)?;
            source.read_chunk(&mut self.quiet, &mut self.batch.bytes, chunk)?;
            left -= chunk;
            progress(chunk);
        }
        source.compare(&listed, "while it was read")?;
        self.pad(size);
        Ok(())
    }

    fn open(&mut self, root: usize, path: &RelativePath) -> Result<Opened> {
        let shown = || match self.roots.get(root) {
            Some(root) => root.path_of(path.as_str()).display().to_string(),
            None => path.as_str().to_owned(),
        };
        let opened = self.parents.of(root, path).and_then(|dir| dir.file(path.file_name()));
        match opened {
            Ok(file) => Ok(Opened::new(file, shown())),
            Err(error) if is_not_found(&error) => {
                bail!(Error::DataChanged { what: format!("`{}` is gone", shown()) })
            }
            Err(error) => Err(error),
        }
    }

    /// An entry's header, behind the chunk before it.
    fn header(&mut self, entry: Entry) {
        self.batch.bytes.extend(&header::of(&entry));
        self.toc.entries.push(entry);
    }

    fn pad(&mut self, size: u64) {
        self.batch.bytes.more(header::padding(size)).fill(0);
    }

    /// A member for the next chunk of the file whose header came last.
    fn next_chunk(&mut self, size: usize) -> Result<()> {
        self.next_member(Some(self.toc.entries.len() - 1), size)
    }

    /// Ends the member in hand and begins the next, in a batch of its own where this one would grow too large.
    fn next_member(&mut self, entry: Option<usize>, chunk: usize) -> Result<()> {
        self.end_member();
        if !self.batch.members.is_empty() && self.batch.bytes.len() + chunk > CHUNK {
            self.give()?;
        }
        self.batch.members.push(Begun { entry, chunk, end: 0, offset: 0, sha256: [0; 32] });
        Ok(())
    }

    fn end_member(&mut self) {
        if let Some(last) = self.batch.members.last_mut() {
            last.end = self.batch.bytes.len();
        }
    }

    fn give(&mut self) -> Result<()> {
        if self.workers.is_full() {
            self.take()?;
        }
        let next = self.spare.pop().unwrap_or_default();
        self.workers.give(std::mem::replace(&mut self.batch, next));
        Ok(())
    }

    /// Writes the batch that was given first; its chunks have their places now. False where none is left.
    fn take(&mut self) -> Result<bool> {
        let Some(batch) = self.workers.take() else { return Ok(false) };
        for member in &batch.members {
            let Some(entry) = member.entry.and_then(|entry| self.toc.entries.get_mut(entry)) else {
                continue;
            };
            let Content::File { chunks, .. } = &mut entry.content else { bail!("a chunk without a file") };
            if chunks.is_empty() {
                // A hundred thousand small files have a chunk each, and no room for more.
                chunks.reserve_exact(1);
            }
            let start = chunks.last().map_or(0, |chunk| chunk.start + chunk.size);
            let offset = self.out.written + member.offset as u64;
            chunks.push(Chunk { offset, start, size: member.chunk as u64, sha256: member.sha256 });
        }
        self.out.write_all(&batch.out).context(CANNOT_WRITE)?;
        self.spare.push(batch.cleared());
        Ok(true)
    }

    fn finish(mut self, manifest: &Manifest) -> Result<Written> {
        self.end_member();
        self.give()?;
        while self.take()? {}
        let toc_offset = self.out.written;
        let toc_sha256 = table::write(&self.toc, manifest, Encoder::new(self.level), &mut self.out)?;
        self.out.write_all(&toc::footer(toc_offset)).context(CANNOT_WRITE)?;
        self.out.flush().context(CANNOT_WRITE)?;
        let Output { written, sha256, .. } = self.out;
        Ok(Written {
            size: written,
            sha256: toc::hex(&sha256.finalize()),
            toc_digest: toc::digest(&toc_sha256),
        })
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
