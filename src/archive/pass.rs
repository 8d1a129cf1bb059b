//! One pass over an archive from its first byte to its last, comparing all that is there with the table of
//! contents.
//!
//! Members are read here, one after another, and proven right in the workers. What is not proven there is gone through
//! by the sequential reader, which has the last word and says what is wrong and where.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::iter::Peekable;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Error as AnyError, Result, anyhow};
use codec::Decoder;
use sha2::{Digest, Sha256};

use crate::archive::direct::Quiet;
use crate::archive::gzip::{self, Fault};
use crate::archive::header;
use crate::archive::manifest::Manifest;
use crate::archive::pieces::{BATCH, Batch, Member, Members, Piece, is_plausible};
use crate::archive::toc::{self, Entry, FOOTER_SIZE, Toc, hex};
use crate::archive::workers;
use crate::archive::writer::own_entry;
use crate::effect::{Kind, step};
use crate::error::Error;
use crate::interrupt;

/// What a pass comes across. An entry is only told of once its header proved right, bytes once their
/// SHA-256 did.
pub enum Event<'a> {
    Entry(&'a Entry),
    Bytes(&'a [u8]),
    EndOfFile,
}

/// What must be at the end of the file.
#[derive(Debug)]
pub struct End {
    pub toc_offset: u64,
    pub toc_size: u64,
    pub toc_sha256: [u8; 32],
}

pub struct Pass<'a> {
    path: &'a Path,
    file: &'a File,
    /// Of all that was read so far, from the first byte on.
    sha256: Sha256,
    position: u64,
    quiet: Quiet,
    around: Option<File>,
    /// Batches that were told: their memory is used again.
    spare: Vec<Batch<'a>>,
}

const DIFFERS: &str = "it differs from the table of contents";

/// What may be under way in all threads, unpacked; a single batch may be larger.
const UNDER_WAY: usize = 32 << 20;

impl<'a> Pass<'a> {
    pub fn new(path: &'a Path, file: &'a File) -> Pass<'a> {
        Pass {
            path,
            file,
            sha256: Sha256::new(),
            position: 0,
            quiet: Quiet::new(),
            around: None,
            spare: Vec::new(),
        }
    }

    /// Reads everything, and gives the file's SHA-256.
    pub fn run(
        mut self,
        toc: &'a Toc,
        manifest: &Manifest,
        end: &End,
        threads: usize,
        on: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<String> {
        let worker = || {
            let mut decoder = Decoder::new();
            move |batch: Batch<'a>| batch.proven(&mut decoder)
        };
        let mut members = Members::of(toc, end.toc_offset).peekable();
        workers::with(threads, worker, |workers| -> Result<()> {
            let mut under_way = 0;
            loop {
                interrupt::check()?;
                while !workers.is_full()
                    && under_way < UNDER_WAY
                    && let Some(batch) = self.next_batch(&mut members)?
                {
                    under_way += batch.unpacked;
                    workers.give(batch);
                }
                let Some(batch) = workers.take() else { return Ok(()) };
                under_way -= batch.unpacked;
                self.tell(&batch, on)?;
                self.spare.push(batch.cleared());
            }
        })?;
        self.rest(manifest, end)
    }

    /// The first entry's content, which is the manifest.
    pub fn first(&self, toc: &'a Toc, toc_offset: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let is_first =
            |piece: &Piece| piece.entry().is_some_and(|entry| std::ptr::eq(entry, &toc.entries[0]));
        for member in Members::of(toc, toc_offset) {
            let mut reader = self.begin(&member)?;
            for piece in &member.pieces {
                if !is_first(piece) {
                    return Ok(content);
                }
                content.extend(self.prove(&mut reader, piece)?);
            }
            self.end(&mut reader, &member)?;
        }
        Ok(content)
    }

    /// The next members, read from the file as they are.
    fn next_batch(&mut self, members: &mut Peekable<Members<'a>>) -> Result<Option<Batch<'a>>> {
        let mut batch = self.spare.pop().unwrap_or_default();
        while let Some(next) = members.peek() {
            let (length, unpacked) = (next.end - next.begin, next.unpacked());
            // What is a lie is not worth its memory: it is found out byte by byte.
            let is_doubted = !is_plausible(length, unpacked);
            let is_full = batch.unpacked + unpacked > BATCH || is_doubted;
            if is_full && !batch.members.is_empty() {
                break;
            }
            batch.is_doubted = is_doubted;
            batch.unpacked += if is_doubted { 0 } else { unpacked };
            batch.members.extend(members.next());
            if is_full {
                break;
            }
        }
        let Some(last) = batch.members.last() else { return Ok(None) };
        let end = last.end;
        self.read(&mut batch, end)?;
        Ok(Some(batch))
    }

    /// Reads a batch's members, up to `end`; of one that is doubted no more is kept than its SHA-256. Where the file
    /// ends too early, so does the batch.
    fn read(&mut self, batch: &mut Batch, end: u64) -> Result<()> {
        while self.position < end {
            let begin = if batch.is_doubted { 0 } else { batch.packed.len() };
            let wanted = (end - self.position).min(BATCH as u64) as usize;
            batch.packed.truncate(begin);
            let into = batch.packed.more(wanted);
            let read = step(Kind::Read, PathBuf::new, || {
                self.quiet.read(self.file, &mut self.around, self.position, into)
            });
            let count = match read {
                Ok(0) => {
                    batch.packed.truncate(begin);
                    return Ok(());
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                Err(error) => {
                    let first = batch.members.first().and_then(|member| member.pieces.first());
                    return Err(told(self.path, first.unwrap_or(&Piece::Toc), Fault::Io(error)));
                }
            };
            batch.packed.truncate(begin + count);
            self.sha256.update(&batch.packed[begin..]);
            self.position += count as u64;
        }
        Ok(())
    }

    /// What was proven, piece by piece; what was not is proven now, or told.
    fn tell(&self, batch: &Batch, on: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let mut at = 0;
        for (index, member) in batch.members.iter().enumerate() {
            if index >= batch.proven {
                self.prove_member(member, on)?;
                continue;
            }
            for piece in &member.pieces {
                interrupt::check()?;
                piece.tell(&batch.out[at..][..piece.chunk()], on)?;
                at += piece.unpacked();
            }
        }
        Ok(())
    }

    fn prove_member(&self, member: &Member, on: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let mut reader = self.begin(member)?;
        for piece in &member.pieces {
            interrupt::check()?;
            let bytes = self.prove(&mut reader, piece)?;
            piece.tell(&bytes, on)?;
        }
        self.end(&mut reader, member)
    }

    fn begin(&self, member: &Member) -> Result<gzip::Reader<At<'a>>> {
        let mut reader = self.reader(member.begin);
        let first = member.pieces.first().unwrap_or(&member.next);
        reader.begin_member().map_err(|fault| told(self.path, first, fault))?;
        Ok(reader)
    }

    fn reader(&self, position: u64) -> gzip::Reader<At<'a>> {
        gzip::Reader::new(At { file: self.file, position }, position)
    }

    fn end(&self, reader: &mut gzip::Reader<At>, member: &Member) -> Result<()> {
        let last = member.pieces.last().unwrap_or(&member.next);
        let ended = reader.end_member();
        ended.map_err(|fault| {
            told(self.path, &format_args!("the gzip member that ends with {last}"), fault)
        })?;
        let position = reader.position();
        if position != member.end {
            let why = format!("it begins at byte {position} of the archive, not at {}", member.end);
            return Err(self.damage(&member.next, &why));
        }
        Ok(())
    }

    /// The bytes of a chunk; none where it is something else.
    fn prove(&self, reader: &mut gzip::Reader<At>, piece: &Piece) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let Piece::Bytes(_, chunk) = piece else {
            self.demand(reader, piece, &piece.tar_bytes())?;
            return Ok(bytes);
        };
        let read = reader.read_into(&mut bytes, chunk.size as usize);
        read.map_err(|fault| told(self.path, piece, fault))?;
        if Sha256::digest(&bytes)[..] != chunk.sha256 {
            return Err(self.damage(piece, "the SHA-256 differs from the table of contents"));
        }
        Ok(bytes)
    }

    /// The table of contents and the footer, with which the file ends; its SHA-256.
    fn rest(mut self, manifest: &Manifest, end: &End) -> Result<String> {
        let (path, mut reader) = (self.path, self.reader(end.toc_offset));
        reader.begin_member().map_err(|fault| told(path, &Piece::Toc, fault))?;
        self.toc(&mut reader, manifest, end)?;
        let mut footer = [0; FOOTER_SIZE];
        reader.read_plain(&mut footer).map_err(|fault| told(path, &Piece::Footer, fault))?;
        if footer != toc::footer(end.toc_offset) {
            return Err(self.damage(&Piece::Footer, "it changed while the archive was read"));
        }
        let file_end = reader.position();
        reader.finish().map_err(|fault| told(path, &Piece::Footer, fault))?;
        self.read(&mut Batch { is_doubted: true, ..Batch::default() }, file_end)?;
        Ok(hex(&self.sha256.finalize()))
    }

    fn toc(&self, reader: &mut gzip::Reader<At>, manifest: &Manifest, end: &End) -> Result<()> {
        let own = header::of(&own_entry(toc::NAME, end.toc_size, manifest)?);
        self.demand(reader, &Piece::Toc, &own)?;
        let (mut sha256, mut chunk) = (Sha256::new(), Vec::new());
        let mut left = end.toc_size;
        while left > 0 {
            chunk.resize(left.min(1 << 20) as usize, 0);
            reader.read(&mut chunk).map_err(|fault| told(self.path, &Piece::Toc, fault))?;
            sha256.update(&chunk);
            left -= chunk.len() as u64;
        }
        if sha256.finalize()[..] != end.toc_sha256 {
            return Err(self.damage(&Piece::Toc, "it changed while the archive was read"));
        }
        let zeros = vec![0; header::padding(end.toc_size) + header::END.len()];
        self.demand(reader, &Piece::Toc, &zeros)?;
        reader.end_member().map_err(|fault| told(self.path, &Piece::Toc, fault))
    }

    fn demand(&self, reader: &mut gzip::Reader<At>, piece: &Piece, expected: &[u8]) -> Result<()> {
        let mut found = vec![0; expected.len()];
        reader.read(&mut found).map_err(|fault| told(self.path, piece, fault))?;
        if found != expected {
            return Err(self.damage(piece, DIFFERS));
        }
        Ok(())
    }

    fn damage(&self, piece: &Piece, why: &str) -> AnyError {
        damaged(self.path, format!("{piece}: {why}"))
    }
}

/// A file read from a place on, whoever else reads it.
struct At<'a> {
    file: &'a File,
    position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(bytes, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

pub fn damaged(path: &Path, what: String) -> AnyError {
    Error::ArchiveDamaged { path: path.to_owned(), what }.into()
}

pub fn told(path: &Path, piece: &dyn fmt::Display, fault: Fault) -> AnyError {
    match fault {
        Fault::Damage(why) => damaged(path, format!("{piece}: {why}")),
        Fault::Io(error) => {
            anyhow!(error).context(format!("cannot read the archive `{}` ({piece})", path.display()))
        }
    }
}
