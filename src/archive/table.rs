//! The table of contents at the end of an archive: written in pieces, as it would be the largest thing in memory.

use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result};
use codec::{Encoder, Pieces};
use sha2::{Digest, Sha256};

use crate::archive::header;
use crate::archive::manifest::Manifest;
use crate::archive::toc::{self, Toc};
use crate::archive::writer::{CANNOT_WRITE, CHUNK, own_entry};

/// One gzip member: its header, the JSON, the end of the tar stream. The JSON is made twice, for its size comes before
/// it. Returns its SHA-256.
pub(super) fn write(toc: &Toc, manifest: &Manifest, encoder: Encoder, out: impl Write) -> Result<[u8; 32]> {
    let mut digested = Digested::default();
    toc.write_json(&mut BufWriter::new(&mut digested))?;
    let entry = own_entry(toc::NAME, digested.size, manifest)?;

    let mut member = InPieces::new(encoder, out);
    member.write_all(&header::of(&entry)).context(CANNOT_WRITE)?;
    toc.write_json(&mut member)?;
    let end = vec![0; header::padding(digested.size) + header::END.len()];
    member.write_all(&end).context(CANNOT_WRITE)?;
    member.finish().context(CANNOT_WRITE)?;
    Ok(digested.sha256.finalize().into())
}

/// What passes here is counted, and kept nowhere.
#[derive(Default)]
struct Digested {
    size: u64,
    sha256: Sha256,
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size += bytes.len() as u64;
        self.sha256.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A gzip member of which a piece is in memory.
struct InPieces<W> {
    encoder: Encoder,
    pieces: Pieces,
    waiting: Vec<u8>,
    packed: Vec<u8>,
    out: W,
}

impl<W: Write> InPieces<W> {
    fn new(encoder: Encoder, out: W) -> InPieces<W> {
        let mut packed = Vec::new();
        InPieces { pieces: encoder.begin(&mut packed), encoder, waiting: Vec::new(), packed, out }
    }

    fn pass_on(&mut self, last: bool) -> io::Result<()> {
        self.encoder.piece(&mut self.pieces, &self.waiting, last, &mut self.packed);
        self.out.write_all(&self.packed)?;
        self.waiting.clear();
        self.packed.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.pass_on(true)
    }
}

impl<W: Write> Write for InPieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.waiting.len() + bytes.len() > CHUNK {
            self.pass_on(false)?;
        }
        self.waiting.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
