//! Gzip members read one byte after another, from anybody's encoder: what is wrong with one is said.

use std::io::{self, Read};
use std::path::PathBuf;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::effect::{Kind, step};

/// Every member's header: deflate, no name, no time (equal input gives equal bytes), no particular system.
const HEADER: [u8; 10] = *b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
/// Where the header may differ: an extra field with hints for the decoder comes behind it.
const FLAGS: usize = 3;
const EXTRA: u8 = 4;

/// Whether a member of ours begins so.
pub fn is_header(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<10>() else { return false };
    let mut plain = *header;
    plain[FLAGS] &= !EXTRA;
    plain == HEADER
}

const BUFFER: usize = 256 << 10;

/// Why a member cannot be read: the file is not what it should be, or the disk failed.
#[derive(Debug)]
pub enum Fault {
    Damage(&'static str),
    Io(io::Error),
}

/// A file of gzip members, read from one place on, one byte after another.
pub struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    /// The bytes of `buffer` not yet used.
    next: usize,
    end: usize,
    /// Where in the file the next unused byte lies.
    position: u64,
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
        if !is_header(&header) {
            return Err(Fault::Damage("no gzip member begins where one should"));
        }
        if header[FLAGS] == EXTRA {
            let mut length = [0; 2];
            self.read_plain(&mut length)?;
            self.read_plain(&mut vec![0; u16::from_le_bytes(length).into()])?;
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

    /// An error where the file goes on.
    pub fn finish(mut self) -> Result<(), Fault> {
        match self.fill() {
            Err(Fault::Damage(_)) => Ok(()),
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
    use codec::{Encoder, Level};

    use super::*;

    fn two_members(level: Level) -> (Vec<u8>, u64) {
        let (mut file, mut encoder) = (Vec::new(), Encoder::new(level));
        encoder.member(&vec![7; 1_000_000], &mut file);
        let second = file.len();
        encoder.member(b"two", &mut file);
        (file, second as u64)
    }

    #[test]
    fn members_are_read_back_where_they_were_begun() {
        for level in [Level::Stored, Level::Fast, Level::Best] {
            let (file, second) = two_members(level);
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
            reader.finish().unwrap();
        }
    }

    #[test]
    fn a_member_that_holds_less_or_more_than_expected_is_damage() {
        let (file, second) = two_members(Level::Fast);
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
