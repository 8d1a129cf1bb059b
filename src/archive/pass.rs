//! One pass over an archive from its first byte to its last, comparing all that is there with the table of
//! contents.

use std::fmt;
use std::fs::File;
use std::path::Path;

use anyhow::{Error as AnyError, Result, anyhow};
use sha2::{Digest, Sha256};

use crate::archive::gzip::{self, Fault};
use crate::archive::header;
use crate::archive::manifest::Manifest;
use crate::archive::toc::{self, Chunk, Content, Entry, FOOTER_SIZE, Toc};
use crate::archive::writer::own_entry;
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
    members: gzip::Reader<&'a File>,
    chunk: Vec<u8>,
}

/// A part of the archive, for messages.
enum Piece<'a> {
    Header(&'a Entry),
    Bytes(&'a Entry, &'a Chunk),
    Padding(&'a Entry),
    Toc,
    Footer,
}

impl fmt::Display for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Header(entry) => write!(f, "the tar header of `{}`", entry.tar_name()),
            Piece::Bytes(entry, chunk) => {
                let last = chunk.start + chunk.size - 1;
                write!(f, "bytes {}-{last} of `{}`", chunk.start, entry.tar_name())
            }
            Piece::Padding(entry) => write!(f, "the padding after `{}`", entry.tar_name()),
            Piece::Toc => f.write_str("the table of contents"),
            Piece::Footer => f.write_str("the footer"),
        }
    }
}

const DIFFERS: &str = "it differs from the table of contents";

impl<'a> Pass<'a> {
    /// `file` stands at `position`.
    pub fn new(path: &'a Path, file: &'a File, position: u64) -> Pass<'a> {
        Pass { path, members: gzip::Reader::new(file, position), chunk: Vec::new() }
    }

    /// Reads everything, and gives the file's SHA-256.
    pub fn run(
        mut self,
        toc: &Toc,
        manifest: &Manifest,
        end: &End,
        on: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<String> {
        let mut last = Piece::Footer;
        for (index, entry) in toc.entries.iter().enumerate() {
            interrupt::check()?;
            if index == 0 {
                self.members.begin_member().map_err(|fault| self.fault(&Piece::Header(entry), fault))?;
            }
            last = self.entry(entry, on)?;
        }
        self.border(&last, &Piece::Toc, end.toc_offset)?;
        self.toc(manifest, end)?;
        let mut footer = [0; FOOTER_SIZE];
        self.members.read_plain(&mut footer).map_err(|fault| self.fault(&Piece::Footer, fault))?;
        if footer != toc::footer(end.toc_offset) {
            return Err(self.damage(&Piece::Footer, "it changed while the archive was read"));
        }
        let path = self.path;
        self.members.finish().map_err(|fault| told(path, &Piece::Footer, fault))
    }

    /// The first entry's content, which is the manifest.
    pub fn first(&mut self, entry: &Entry) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.members.begin_member().map_err(|fault| self.fault(&Piece::Header(entry), fault))?;
        self.entry(entry, &mut |event| {
            if let Event::Bytes(bytes) = event {
                content.extend(bytes);
            }
            Ok(())
        })?;
        Ok(content)
    }

    /// One entry up to where the next header begins; what came last.
    fn entry<'e>(&mut self, entry: &'e Entry, on: &mut dyn FnMut(Event) -> Result<()>) -> Result<Piece<'e>> {
        self.demand(&Piece::Header(entry), &header::of(entry))?;
        on(Event::Entry(entry))?;
        let Content::File { size, chunks } = &entry.content else { return Ok(Piece::Header(entry)) };
        let mut last = Piece::Header(entry);
        for chunk in chunks {
            interrupt::check()?;
            let piece = Piece::Bytes(entry, chunk);
            self.border(&last, &piece, chunk.offset)?;
            let read = self.members.read_into(&mut self.chunk, chunk.size as usize);
            read.map_err(|fault| told(self.path, &piece, fault))?;
            if Sha256::digest(&self.chunk)[..] != chunk.sha256 {
                return Err(self.damage(&piece, "the SHA-256 differs from the table of contents"));
            }
            on(Event::Bytes(&self.chunk))?;
            last = piece;
        }
        on(Event::EndOfFile)?;
        let padding = header::padding(*size);
        if padding > 0 {
            last = Piece::Padding(entry);
            self.demand(&last, &[0; header::BLOCK][..padding])?;
        }
        Ok(last)
    }

    /// From one gzip member to the next, which must be where the table of contents says.
    fn border(&mut self, last: &Piece, next: &Piece, offset: u64) -> Result<()> {
        let ended = self.members.end_member();
        ended.map_err(|fault| {
            told(self.path, &format_args!("the gzip member that ends with {last}"), fault)
        })?;
        let position = self.members.position();
        if position != offset {
            return Err(
                self.damage(next, &format!("it begins at byte {position} of the archive, not at {offset}"))
            );
        }
        self.members.begin_member().map_err(|fault| self.fault(next, fault))
    }

    fn toc(&mut self, manifest: &Manifest, end: &End) -> Result<()> {
        self.demand(&Piece::Toc, &header::of(&own_entry(toc::NAME, end.toc_size, manifest)?))?;
        let mut sha256 = Sha256::new();
        let mut left = end.toc_size;
        while left > 0 {
            self.chunk.resize(left.min(1 << 20) as usize, 0);
            self.members.read(&mut self.chunk).map_err(|fault| told(self.path, &Piece::Toc, fault))?;
            sha256.update(&self.chunk);
            left -= self.chunk.len() as u64;
        }
        if sha256.finalize()[..] != end.toc_sha256 {
            return Err(self.damage(&Piece::Toc, "it changed while the archive was read"));
        }
        let zeros = vec![0; header::padding(end.toc_size) + header::END.len()];
        self.demand(&Piece::Toc, &zeros)?;
        self.members.end_member().map_err(|fault| self.fault(&Piece::Toc, fault))
    }

    fn demand(&mut self, piece: &Piece, expected: &[u8]) -> Result<()> {
        let mut found = vec![0; expected.len()];
        self.members.read(&mut found).map_err(|fault| self.fault(piece, fault))?;
        if found != expected {
            return Err(self.damage(piece, DIFFERS));
        }
        Ok(())
    }

    fn fault(&self, piece: &Piece, fault: Fault) -> AnyError {
        told(self.path, piece, fault)
    }

    fn damage(&self, piece: &Piece, why: &str) -> AnyError {
        damaged(self.path, format!("{piece}: {why}"))
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
