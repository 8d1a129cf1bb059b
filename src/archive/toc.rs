//! The table of contents, the archive's last tar entry, and the footer that tells where it begins.
//!
//! The layout is eStargz's: the JSON keys, the footer's 51 bytes and what they mean are not ours to change.

use std::collections::HashSet;
use std::io::Write;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde::Serializer;
use serde::de::{Deserialize, Deserializer};

use crate::archive::{manifest, toc_json};
use crate::dir::RelativePath;

/// Its name in the archive.
pub const NAME: &str = "stargz.index.json";

pub const FOOTER_SIZE: usize = 51;

/// The empty gzip member around the offset's 16 digits: its header with the subfield `SG`, the magic, an
/// empty stored block, and a checksum and length of zero.
const FOOTER_BEFORE: [u8; 16] = *b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0";
const FOOTER_AFTER: [u8; 19] = *b"STARGZ\x01\0\0\xff\xff\0\0\0\0\0\0\0\0";

pub fn footer(toc_offset: u64) -> [u8; FOOTER_SIZE] {
    let mut footer = [0; FOOTER_SIZE];
    footer[..16].copy_from_slice(&FOOTER_BEFORE);
    footer[16..32].copy_from_slice(format!("{toc_offset:016x}").as_bytes());
    footer[32..].copy_from_slice(&FOOTER_AFTER);
    footer
}

/// The offset of the table of contents.
pub fn parse_footer(bytes: &[u8]) -> Result<u64> {
    let digits = bytes.get(16..32).and_then(|digits| std::str::from_utf8(digits).ok());
    let offset = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match offset {
        Some(offset) if footer(offset) == bytes => Ok(offset),
        _ => bail!("the last {FOOTER_SIZE} bytes are not the footer of an eStargz file"),
    }
}

/// The table as it may be relied on: every chunk known, nothing doubled, nothing out of order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Toc {
    pub entries: Vec<Entry>,
}

/// One tar entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: RelativePath,
    /// Permission bits only.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: SystemTime,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Directory,
    /// The chunks in order; none where the file is empty.
    File {
        size: u64,
        chunks: Vec<Chunk>,
    },
}

/// A piece of a file, compressed as a gzip member of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Of the gzip member, in the archive.
    pub offset: u64,
    /// Of the first byte, in the file.
    pub start: u64,
    pub size: u64,
    pub sha256: [u8; 32],
}

impl Entry {
    /// The name as the tar header and the JSON have it: a directory's ends with a slash.
    pub fn tar_name(&self) -> String {
        match self.content {
            Content::Directory => format!("{}/", self.name.as_str()),
            Content::File { .. } => self.name.as_str().to_owned(),
        }
    }

    /// A file's size; `None` for a directory.
    pub fn file_size(&self) -> Option<u64> {
        match &self.content {
            Content::Directory => None,
            Content::File { size, .. } => Some(*size),
        }
    }
}

impl Toc {
    /// As JSON, of which no more than a little is held at a time.
    pub fn write_json(&self, out: &mut dyn Write) -> Result<()> {
        toc_json::write(&self.entries, out).context("cannot write the table of contents as JSON")
    }

    /// Reads the table of an archive whose table begins at `toc_offset`, and checks that it makes sense.
    pub fn parse(json: &[u8], toc_offset: u64) -> Result<Toc> {
        let (entries, last_offset) = toc_json::read(json)?;
        ensure!(
            last_offset < toc_offset,
            "its last chunk begins at byte {last_offset}, behind the table itself"
        );
        Ok(Toc { entries })
    }

    /// All data files with their sizes: the manifest is none of them.
    pub fn data_files(&self) -> impl Iterator<Item = (&RelativePath, u64)> {
        let files = self.entries.iter().filter_map(|entry| Some((&entry.name, entry.file_size()?)));
        files.filter(|(name, _)| name.as_str() != manifest::NAME)
    }
}

const MAX_DEPTH: usize = 64;

/// What an archive's names must be, for its writer as for its readers.
#[derive(Default)]
pub struct Names {
    all: HashSet<RelativePath>,
    directories: HashSet<RelativePath>,
}

impl Names {
    /// An error where the name is taken, or its directory is not listed before it.
    pub fn admit(&mut self, name: &RelativePath, content: &Content) -> Result<()> {
        ensure!(name.as_str() != NAME, "`{NAME}` is the name of the table of contents");
        // Cassandra's are five levels deep; what removes a tree holds a directory open for each.
        ensure!(name.names().count() <= MAX_DEPTH, "`{}` is too deep", name.as_str());
        if let Some(parent) = name.parent() {
            ensure!(self.directories.contains(&parent), "`{}` is listed before its directory", name.as_str());
        }
        ensure!(self.all.insert(name.clone()), "`{}` is listed twice", name.as_str());
        if *content == Content::Directory {
            self.directories.insert(name.clone());
        }
        Ok(())
    }
}

/// As eStargz writes it: `sha256:` and 64 hexadecimal digits.
pub fn digest(sha256: &[u8]) -> String {
    format!("sha256:{}", hex(sha256))
}

pub fn parse_digest(digest: &str) -> Result<[u8; 32]> {
    let mut sha256 = [0; 32];
    let digits = digest
        .strip_prefix("sha256:")
        .filter(|digits| digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let digits = digits.with_context(|| format!("`{digest}` is not a SHA-256 digest"))?;
    for (index, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16)
            .with_context(|| format!("`{digest}` is not a SHA-256 digest"))?;
    }
    Ok(sha256)
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[digit as usize])).collect()
}

/// Times as JSON has them: RFC 3339 in UTC, parts of a second only where there are any.
pub mod rfc3339 {
    use super::*;
    use serde::de::Error;

    pub fn text(time: SystemTime) -> String {
        humantime::format_rfc3339(time).to_string()
    }

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(|error| D::Error::custom(format!("time `{text}`: {error}")))
    }
}

#[cfg(test)]
#[path = "toc_tests.rs"]
mod tests;
