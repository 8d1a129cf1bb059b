//! Files written and read around the page cache: it is the node's, and what passes through here once has no use there.
//!
//! Around the cache goes what lies in whole blocks, in memory as in the file; the rest goes through it, and so does all
//! where the filesystem knows no other way. A snapshot's file is a hard link of a live sstable: to read it plainly would
//! push the node's hot pages out of a full cache, and to drop what was read (`POSIX_FADV_DONTNEED`) would throw out the
//! node's pages of that very file.

use std::fs::File;
use std::io::{self, IoSliceMut, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::effect::{Kind, step};

/// The block of all filesystems that matter, in memory too.
const BLOCK: usize = 4096;
const BLOCKS: usize = 1 << 20;

/// Memory in whole blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks(Vec<u8>);

impl Blocks {
    pub fn get(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = vec![0; BLOCKS + BLOCK];
        }
        let begin = self.0.as_ptr().align_offset(BLOCK);
        &mut self.0[begin..begin + BLOCKS]
    }
}

/// The same file once more; an error where its filesystem does nothing around the cache.
pub(super) fn reopened(file: &File, access: OFlags) -> io::Result<File> {
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(File::from(rustix::fs::open(again, access | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty())?))
}

/// Writes a file from its beginning to its end.
#[derive(Debug)]
pub struct Direct {
    around: Option<File>,
    filled: usize,
    /// Before those in `blocks`.
    written: u64,
}

impl Direct {
    /// A file that is to become so large; 0 where nobody knows. A small one goes through the cache.
    pub(super) fn new(file: &File, size: u64) -> Direct {
        let is_small = size > 0 && size < BLOCKS as u64;
        let around = if is_small { None } else { reopened(file, OFlags::WRONLY).ok() };
        Direct { around, filled: 0, written: 0 }
    }

    /// `path` is what the step is done on.
    pub(super) fn write(
        &mut self,
        file: &File,
        path: &Path,
        blocks: &mut Blocks,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.around.is_none() {
                return self.write_through(file, path, bytes);
            }
            let room = &mut blocks.get()[self.filled..];
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == BLOCKS {
                self.flush(file, path, blocks)?;
            }
        }
        Ok(())
    }

    /// What is left. Call it once, at the end.
    pub(super) fn finish(&mut self, file: &File, path: &Path, blocks: &mut Blocks) -> io::Result<()> {
        if self.filled > 0 { self.flush(file, path, blocks) } else { Ok(()) }
    }

    fn flush(&mut self, file: &File, path: &Path, blocks: &mut Blocks) -> io::Result<()> {
        let filled = std::mem::take(&mut self.filled);
        let mut left = &blocks.get()[..filled];
        if let Some(around) = &self.around
            && filled >= BLOCK
        {
            let (whole, rest) = left.split_at(filled - filled % BLOCK);
            match step(Kind::Write, || path.to_owned(), || around.write_all_at(whole, self.written)) {
                Ok(()) => {
                    self.written += whole.len() as u64;
                    left = rest;
                }
                // It can be opened so, and not be written so: all goes through the cache from here on.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.around = None,
                Err(error) => return Err(error),
            }
        }
        if left.is_empty() { Ok(()) } else { self.write_through(file, path, left) }
    }

    fn write_through(&mut self, file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        step(Kind::Write, || path.to_owned(), || file.write_all_at(bytes, self.written))?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// The same as a stream of bytes; its end is the flush.
pub struct Stream<'a> {
    file: &'a File,
    path: PathBuf,
    direct: Direct,
    blocks: Blocks,
}

impl<'a> Stream<'a> {
    /// `path` is what the steps are done on.
    pub fn new(file: &'a File, path: PathBuf) -> Stream<'a> {
        Stream { file, path, direct: Direct::new(file, 0), blocks: Blocks::default() }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.direct.write(self.file, &self.path, &mut self.blocks, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.direct.finish(self.file, &self.path, &mut self.blocks)
    }
}

/// Reads in the quietest way that kernel and filesystem know.
pub(super) struct Quiet {
    way: Way,
    blocks: Blocks,
}

#[derive(Clone, Copy)]
enum Way {
    /// What is in the cache stays there, what is not does not come in (Linux 6.14).
    Uncached,
    Around,
}

/// `RWF_DONTCACHE`.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

impl Quiet {
    pub fn new() -> Quiet {
        Quiet { way: Way::Uncached, blocks: Blocks::default() }
    }

    /// Some bytes from `position` on. `around` is the file's own, and first `None`.
    pub fn read(
        &mut self,
        file: &File,
        around: &mut Option<File>,
        position: u64,
        bytes: &mut [u8],
    ) -> io::Result<usize> {
        if let Way::Uncached = self.way {
            match preadv2(file, &mut [IoSliceMut::new(bytes)], position, DONTCACHE) {
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => self.way = Way::Around,
                read => return Ok(read?),
            }
        }
        // A small piece is read as quickly from the cache as around it, and takes little of it.
        if position.is_multiple_of(BLOCK as u64) && bytes.len() >= BLOCKS / 4 {
            match self.read_around(file, around, position, bytes) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                read => return read,
            }
        }
        file.read_at(bytes, position)
    }

    fn read_around(
        &mut self,
        file: &File,
        around: &mut Option<File>,
        position: u64,
        bytes: &mut [u8],
    ) -> io::Result<usize> {
        let around = match around {
            Some(around) => around,
            None => around.insert(reopened(file, OFlags::RDONLY)?),
        };
        let blocks = self.blocks.get();
        let count = around.read_at(blocks, position)?.min(bytes.len());
        bytes[..count].copy_from_slice(&blocks[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether around the cache or through it, the same bytes; lengths at and beside the borders of blocks.
    #[test]
    fn what_is_written_is_there_whatever_its_length() {
        for folder in [env!("CARGO_MANIFEST_DIR").to_owned() + "/target", "/dev/shm".to_owned()] {
            for length in [0, 1, BLOCK - 1, BLOCK, BLOCKS - 1, BLOCKS, BLOCKS + 1, 3 * BLOCKS + BLOCK + 7] {
                let content: Vec<u8> = (0..length).map(|at| (at * 31 / 7) as u8).collect();
                let file = tempfile::NamedTempFile::new_in(&folder).unwrap();
                let mut stream = Stream::new(file.as_file(), file.path().to_owned());
                for piece in content.chunks(300_007) {
                    stream.write_all(piece).unwrap();
                }
                stream.flush().unwrap();
                assert!(std::fs::read(file.path()).unwrap() == content, "{length} in {folder}");
            }
        }
    }

    /// As a filesystem with larger blocks refuses it: at a place between two of them.
    #[test]
    fn what_cannot_be_written_around_the_cache_goes_through_it_whole() {
        let content: Vec<u8> = (0..3 * BLOCKS + BLOCK + 7).map(|at| (at * 31 / 7) as u8).collect();
        for piece in [300_007, content.len()] {
            let folder = env!("CARGO_MANIFEST_DIR").to_owned() + "/target";
            let file = tempfile::NamedTempFile::new_in(folder).unwrap();
            let (file, path) = (file.as_file(), file.path());
            let around = Some(reopened(file, OFlags::WRONLY).unwrap());
            let (mut direct, mut blocks) = (Direct { around, filled: 0, written: 1 }, Blocks::default());
            for piece in content.chunks(piece) {
                direct.write(file, path, &mut blocks, piece).unwrap();
            }
            direct.finish(file, path, &mut blocks).unwrap();
            assert!(direct.around.is_none(), "it was written there all the same");
            assert!(std::fs::read(path).unwrap()[1..] == content, "in pieces of {piece}");
        }
    }

    /// Whatever the way, the same bytes; a file of 2.5 MiB and some has whole blocks and an end.
    #[test]
    fn every_way_reads_the_same() {
        let content: Vec<u8> =
            (0..2_700_001_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut file =
            tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").unwrap();
        file.write_all(&content).unwrap();
        for way in [Way::Uncached, Way::Around] {
            let mut quiet = Quiet { way, blocks: Blocks::default() };
            let (mut around, mut read) = (None, vec![0; content.len() + 1]);
            let mut filled = 0;
            while let count @ 1.. =
                quiet.read(file.as_file(), &mut around, filled as u64, &mut read[filled..]).unwrap()
            {
                filled += count;
            }
            assert!(read[..filled] == content);
        }
    }
}
