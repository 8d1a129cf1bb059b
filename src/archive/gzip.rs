//! Gzip members written and read one at a time, with their places in the file known.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use flate2::{Compress, Compression as Level, Crc, Decompress, FlushCompress, FlushDecompress, Status};
use sha2::{Digest, Sha256};

use crate::ansible::request::Compression;
use crate::archive::toc::hex;
use crate::effect::{Kind, step};

/// Every member's header: deflate, no name, no time (equal input gives equal bytes), no particular system.
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
        step(Kind::Write, PathBuf::new, || self.out.write_all(&self.buffer))?;
        self.sha256.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Why a member cannot be read: the file is not what it should be, or the disk failed.
#[derive(Debug)]
pub enum Fault {
    Damage(&'static str),
    Io(io::Error),
}

/// A file of gzip members, read from one place on; every byte read is hashed.
pub struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    /// The bytes of `buffer` not yet used.
    next: usize,
    end: usize,
    /// Where in the file the next unused byte lies.
    position: u64,
    sha256: Sha256,
    inflate: Decompress,
    crc: Crc,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// `source` stands at `position`, where a member begins.
    pub fn new(source: R, position: u64) -> Reader<R> {
        Reader {
            source,
            buffer: vec![0; BUFFER],
            next: 0,
            end: 0,
            position,
            sha256: Sha256::new(),
            inflate: Decompress::new(false),
            crc: Crc::new(),
            ended: false,
        }
    }

    /// Where in the file the next byte to be used lies; between members: where the next one begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn begin_member(&mut self) -> Result<(), Fault> {
        let mut header = [0; HEADER.len()];
        self.read_plain(&mut header)?;
        if header != HEADER {
            return Err(Fault::Damage("no gzip member begins where one should"));
        }
        self.inflate.reset(false);
        self.crc.reset();
        self.ended = false;
        Ok(())
    }

    /// Fills `bytes` from the member in hand.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.inflate(&mut bytes[filled..])? {
                0 => return Err(Fault::Damage("the compressed data ends too early")),
                count => filled += count,
            }
        }
        self.crc.update(bytes);
        Ok(())
    }

    /// Fills a buffer with so many bytes from the member in hand: memory is taken for what is there, not for what
    /// is claimed to be.
    pub fn read_into(&mut self, buffer: &mut Vec<u8>, size: usize) -> Result<(), Fault> {
        buffer.truncate(size);
        let mut filled = 0;
        while filled < size {
            if filled == buffer.len() {
                buffer.resize(size.min(filled + (1 << 20)), 0);
            }
            self.read(&mut buffer[filled..])?;
            filled = buffer.len();
        }
        Ok(())
    }

    /// Makes sure that the member in hand holds no more, and that its checksum is right.
    pub fn end_member(&mut self) -> Result<(), Fault> {
        if self.inflate(&mut [0])? != 0 {
            return Err(Fault::Damage("the compressed data holds more than it should"));
        }
        let mut trailer = [0; 8];
        self.read_plain(&mut trailer)?;
        if trailer[..4] != self.crc.sum().to_le_bytes() || trailer[4..] != self.crc.amount().to_le_bytes() {
            return Err(Fault::Damage("the gzip checksum is wrong"));
        }
        Ok(())
    }

    /// Reads bytes that are not compressed.
    pub fn read_plain(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        for byte in bytes {
            self.fill()?;
            *byte = self.buffer[self.next];
            self.consume(1);
        }
        Ok(())
    }

    /// The SHA-256 of all that was read; an error where the file goes on.
    pub fn finish(mut self) -> Result<String, Fault> {
        match self.fill() {
            Err(Fault::Damage(_)) => Ok(hex(&self.sha256.finalize())),
            Err(fault) => Err(fault),
            Ok(()) => Err(Fault::Damage("the file goes on behind its end")),
        }
    }

    /// Some decompressed bytes; 0 at the end of the member.
    fn inflate(&mut self, bytes: &mut [u8]) -> Result<usize, Fault> {
        while !self.ended {
            self.fill()?;
            let (in_before, out_before) = (self.inflate.total_in(), self.inflate.total_out());
            let input = &self.buffer[self.next..self.end];
            let status = self
                .inflate
                .decompress(input, bytes, FlushDecompress::None)
                .map_err(|_| Fault::Damage("the compressed data cannot be decoded"))?;
            let used = (self.inflate.total_in() - in_before) as usize;
            let made = (self.inflate.total_out() - out_before) as usize;
            self.consume(used);
            self.ended = status == Status::StreamEnd;
            if made > 0 {
                return Ok(made);
            }
            if used == 0 && !self.ended {
                return Err(Fault::Damage("the compressed data cannot be decoded"));
            }
        }
        Ok(0)
    }

    fn fill(&mut self) -> Result<(), Fault> {
        while self.next == self.end {
            let count = match step(Kind::Read, PathBuf::new, || self.source.read(&mut self.buffer)) {
                Ok(0) => return Err(Fault::Damage("the file ends too early")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Io(error)),
            };
            self.sha256.update(&self.buffer[..count]);
            (self.next, self.end) = (0, count);
        }
        Ok(())
    }

    fn consume(&mut self, count: usize) {
        self.next += count;
        self.position += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_members(compression: Compression) -> (Vec<u8>, u64) {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, compression);
        writer.next_member().unwrap();
        writer.write(&vec![7; 1_000_000]).unwrap();
        let second = writer.next_member().unwrap();
        writer.write(b"two").unwrap();
        writer.finish(b"").unwrap();
        (file, second)
    }

    #[test]
    fn members_are_read_back_where_they_were_begun() {
        for compression in [Compression::None, Compression::Fast, Compression::Best] {
            let (file, second) = two_members(compression);
            let mut reader = Reader::new(&file[..], 0);
            reader.begin_member().unwrap();
            let mut bytes = vec![0; 1_000_000];
            reader.read(&mut bytes).unwrap();
            reader.end_member().unwrap();
            assert_eq!(reader.position(), second);
            reader.begin_member().unwrap();
            reader.read(&mut bytes[..3]).unwrap();
            reader.end_member().unwrap();
            assert_eq!(&bytes[..4], b"two\x07");
            assert_eq!(reader.finish().unwrap(), hex(&Sha256::digest(&file)));
        }
    }

    #[test]
    fn a_member_that_holds_less_or_more_than_expected_is_damage() {
        let (file, second) = two_members(Compression::Fast);
        let read = |count: usize| {
            let mut reader = Reader::new(&file[second as usize..], second);
            reader.begin_member()?;
            reader.read(&mut vec![0; count])?;
            reader.end_member()
        };
        assert!(matches!(read(3), Ok(())));
        assert!(matches!(read(4), Err(Fault::Damage("the compressed data ends too early"))));
        assert!(matches!(read(2), Err(Fault::Damage("the compressed data holds more than it should"))));
    }
}
