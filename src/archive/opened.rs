//! A file as it is packed: the one that was listed, unchanged, read without a trace in the page cache.

use std::fs::File;
use std::io::ErrorKind;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use rustix::fs::Stat;

use crate::archive::bytes::Bytes;
use crate::archive::direct::Quiet;
use crate::archive::members;
use crate::error::Error;

/// What tells whether a file is still the one that was listed.
#[derive(PartialEq, Eq)]
pub(super) struct Seen {
    pub size: u64,
    pub mtime: SystemTime,
}

impl Seen {
    fn of(stat: &Stat) -> Seen {
        Seen { size: members::size(stat), mtime: members::mtime(stat) }
    }
}

pub(super) struct Opened {
    file: File,
    around: Option<File>,
    position: u64,
    /// For messages only.
    path: String,
}

impl Opened {
    pub fn new(file: File, path: String) -> Opened {
        Opened { file, around: None, position: 0, path }
    }

    pub fn compare(&self, listed: &Seen, when: &str) -> Result<()> {
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

    /// Appends the next chunk of the file, of so many bytes.
    pub fn read_chunk(&mut self, quiet: &mut Quiet, bytes: &mut Bytes, wanted: u64) -> Result<()> {
        let (bytes, mut filled) = (bytes.more(wanted as usize), 0);
        while filled < bytes.len() {
            match quiet.read(&self.file, &mut self.around, self.position, &mut bytes[filled..]) {
                Ok(0) => bail!(Error::DataChanged {
                    what: format!("`{}` became shorter while it was read", self.path)
                }),
                Ok(count) => {
                    filled += count;
                    self.position += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", self.path)),
            }
        }
        Ok(())
    }
}
