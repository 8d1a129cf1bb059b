//! Gzip members written one at a time, as zlib makes them: archives that are forged, and others' ways to compress.
#![allow(dead_code)]

use std::io::{self, Write};

use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::toc::hex;
use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};
use sha2::{Digest, Sha256};

const HEADER: [u8; 10] = *b"\x1f\x8b\x08\0\0\0\0\0\0\xff";

const BUFFER: usize = 256 << 10;

/// A file of gzip members under construction.
pub struct Writer<W> {
    out: W,
    buffer: Vec<u8>,
    /// Bytes of the file before `buffer`.
    written: u64,
    sha256: Sha256,
    deflate: Compress,
    crc: Crc,
    in_member: bool,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W, compression: Compression) -> Writer<W> {
        let level = match compression {
            Compression::None => Level::none(),
            Compression::Fast => Level::new(1),
            Compression::Best => Level::new(9),
        };
        Writer {
            out,
            buffer: Vec::with_capacity(2 * BUFFER),
            written: 0,
            sha256: Sha256::new(),
            deflate: Compress::new(level, false),
            crc: Crc::new(),
            in_member: false,
        }
    }

    /// Ends the member in hand and starts the next; the place where it starts.
    pub fn next_member(&mut self) -> io::Result<u64> {
        self.end_member()?;
        let offset = self.written + self.buffer.len() as u64;
        self.buffer.extend(HEADER);
        self.in_member = true;
        Ok(offset)
    }

    /// Compresses into the member in hand.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.deflate(bytes, FlushCompress::None)
    }

    /// Ends the member in hand and appends these bytes as they are; size and SHA-256 of the whole file.
    pub fn finish(mut self, footer: &[u8]) -> io::Result<(u64, String)> {
        self.end_member()?;
        self.buffer.extend(footer);
        self.flush()?;
        self.out.flush()?;
        Ok((self.written, hex(&self.sha256.finalize())))
    }

    fn end_member(&mut self) -> io::Result<()> {
        if self.in_member {
            self.deflate(&[], FlushCompress::Finish)?;
            self.buffer.extend(self.crc.sum().to_le_bytes());
            self.buffer.extend(self.crc.amount().to_le_bytes());
            self.deflate.reset();
            self.crc.reset();
            self.in_member = false;
        }
        Ok(())
    }

    fn deflate(&mut self, mut bytes: &[u8], flush: FlushCompress) -> io::Result<()> {
        let finishing = matches!(flush, FlushCompress::Finish);
        loop {
            if bytes.is_empty() && !finishing {
                return Ok(());
            }
            if self.buffer.len() >= BUFFER {
                self.flush()?;
            }
            self.buffer.reserve(BUFFER);
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(bytes, &mut self.buffer, flush)?;
            bytes = &bytes[(self.deflate.total_in() - before) as usize..];
            if status == Status::StreamEnd {
                return Ok(());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.sha256.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
