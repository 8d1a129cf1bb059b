//! What an archive consists of, piece by piece and member by member, as its table of contents has it; and how members
//! are proven right.

use std::fmt;
use std::iter::Peekable;

use anyhow::Result;
use codec::Decoder;
use sha2::{Digest, Sha256};

use crate::archive::bytes::Bytes;
use crate::archive::gzip::is_header;
use crate::archive::header;
use crate::archive::pass::Event;
use crate::archive::toc::{Chunk, Content, Entry, Toc};

/// So much, unpacked, is a piece of work for a thread; or one member that is larger.
pub const BATCH: usize = 1 << 20;

/// A part of the archive.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    Header(&'a Entry),
    Bytes(&'a Entry, &'a Chunk),
    Padding(&'a Entry),
    Toc,
    Footer,
}

impl<'a> Piece<'a> {
    pub fn entry(&self) -> Option<&'a Entry> {
        match self {
            Piece::Header(entry) | Piece::Bytes(entry, _) | Piece::Padding(entry) => Some(entry),
            Piece::Toc | Piece::Footer => None,
        }
    }

    /// The length of the chunk that it is; 0 where it is none.
    pub fn chunk(&self) -> usize {
        if let Piece::Bytes(_, chunk) = self { chunk.size as usize } else { 0 }
    }

    /// Its length, unpacked.
    pub fn unpacked(&self) -> usize {
        self.chunk() + self.tar_bytes().len()
    }

    /// What the tar has there, but for a file's bytes.
    pub fn tar_bytes(&self) -> Vec<u8> {
        match self {
            Piece::Header(entry) => header::of(entry),
            Piece::Padding(entry) => vec![0; header::padding(entry.file_size().unwrap_or(0))],
            Piece::Bytes(..) | Piece::Toc | Piece::Footer => Vec::new(),
        }
    }

    /// Tells of it, once it is proven; the bytes are a chunk's.
    pub fn tell(&self, bytes: &[u8], on: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let ends_file = match self {
            Piece::Header(entry) => {
                on(Event::Entry(entry))?;
                entry.file_size() == Some(0)
            }
            Piece::Bytes(entry, chunk) => {
                on(Event::Bytes(bytes))?;
                entry.file_size() == Some(chunk.start + chunk.size)
            }
            Piece::Padding(_) | Piece::Toc | Piece::Footer => false,
        };
        if ends_file { on(Event::EndOfFile) } else { Ok(()) }
    }
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

/// All pieces before the table, in order.
fn pieces(toc: &Toc) -> impl Iterator<Item = Piece<'_>> {
    toc.entries.iter().flat_map(|entry| {
        let chunks: &[Chunk] = match &entry.content {
            Content::Directory => &[],
            Content::File { chunks, .. } => chunks,
        };
        let is_padded = header::padding(entry.file_size().unwrap_or(0)) > 0;
        let bytes = chunks.iter().map(move |chunk| Piece::Bytes(entry, chunk));
        std::iter::once(Piece::Header(entry)).chain(bytes).chain(is_padded.then_some(Piece::Padding(entry)))
    })
}

/// A gzip member: the file's first bytes, or a chunk and what lies between it and the next.
#[derive(Debug)]
pub struct Member<'a> {
    pub begin: u64,
    /// Where the next one begins, by the table.
    pub end: u64,
    pub pieces: Vec<Piece<'a>>,
    /// What begins there.
    pub next: Piece<'a>,
}

impl Member<'_> {
    /// Its length, unpacked.
    pub fn unpacked(&self) -> usize {
        self.pieces.iter().map(Piece::unpacked).sum()
    }
}

/// The members before the table, in order.
pub struct Members<'a> {
    pieces: Peekable<Box<dyn Iterator<Item = Piece<'a>> + 'a>>,
    begin: u64,
    toc_offset: u64,
}

impl<'a> Members<'a> {
    pub fn of(toc: &'a Toc, toc_offset: u64) -> Members<'a> {
        let pieces: Box<dyn Iterator<Item = Piece<'a>> + 'a> = Box::new(pieces(toc));
        Members { pieces: pieces.peekable(), begin: 0, toc_offset }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let mut pieces = vec![self.pieces.next()?];
        while let Some(piece) = self.pieces.next_if(|piece| !matches!(piece, Piece::Bytes(..))) {
            pieces.push(piece);
        }
        let next = self.pieces.peek().copied().unwrap_or(Piece::Toc);
        let end = if let Piece::Bytes(_, chunk) = next { chunk.offset } else { self.toc_offset };
        let begin = std::mem::replace(&mut self.begin, end);
        Some(Member { begin, end, pieces, next })
    }
}

/// Members that are proven right together.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    pub members: Vec<Member<'a>>,
    /// As they are in the archive.
    pub packed: Bytes,
    /// Their length, by the table.
    pub unpacked: usize,
    /// What the table says of it makes no sense.
    pub is_doubted: bool,
    pub out: Vec<u8>,
    /// So many of them, from the first, are what the table says, and lie in `out`.
    pub proven: usize,
}

impl<'a> Batch<'a> {
    /// Decodes the members, and compares each chunk's SHA-256 and all tar headers with the table. Stops at the first
    /// that is not right.
    pub fn proven(mut self, decoder: &mut Decoder) -> Batch<'a> {
        if self.is_doubted {
            return self;
        }
        if self.out.len() < self.unpacked {
            self.out.resize(self.unpacked, 0);
        }
        let (mut begin, mut at) = (0, 0);
        for member in &self.members {
            let (length, unpacked) = ((member.end - member.begin) as usize, member.unpacked());
            let Some(packed) = self.packed.get(begin..begin + length) else { break };
            let out = &mut self.out[at..at + unpacked];
            let is_proven =
                is_header(packed) && decoder.member(packed, out).is_ok() && is_right(&member.pieces, out);
            if !is_proven {
                break;
            }
            self.proven += 1;
            (begin, at) = (begin + length, at + unpacked);
        }
        self
    }

    /// With its memory, for the next.
    pub fn cleared(self) -> Batch<'a> {
        let Batch { mut members, mut packed, out, .. } = self;
        members.clear();
        packed.truncate(0);
        Batch { members, packed, out, ..Batch::default() }
    }
}

fn is_right(pieces: &[Piece], mut bytes: &[u8]) -> bool {
    pieces.iter().all(|piece| {
        let (own, rest) = bytes.split_at(piece.unpacked());
        bytes = rest;
        match piece {
            Piece::Bytes(_, chunk) => Sha256::digest(own)[..] == chunk.sha256,
            piece => *own == piece.tar_bytes()[..],
        }
    })
}

/// Whether so many bytes can be a member that holds so many: deflate makes no more than 1032 bytes of one, and what a
/// member costs beyond what it holds is little.
pub fn is_plausible(length: u64, unpacked: usize) -> bool {
    let unpacked = unpacked as u64;
    unpacked <= length.saturating_mul(1032) && length <= unpacked + unpacked / 16 + 4096
}
