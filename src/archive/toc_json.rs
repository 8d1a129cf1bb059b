//! The table of contents as eStargz's JSON, one object at a time.

use std::fmt;
use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::archive::toc::{Chunk, Content, Entry, Names, digest, parse_digest, rfc3339};
use crate::dir::RelativePath;

/// Readers hold one chunk in memory: larger ones are refused.
const MAX_CHUNK: u64 = 64 << 20;

/// One object at a time, each by the serializer that results have: another kind of output would be another copy of it.
pub fn write(entries: &[Entry], out: &mut dyn Write) -> Result<()> {
    out.write_all(br#"{"version":1,"entries":["#)?;
    let mut json = Vec::new();
    for object in entries.iter().flat_map(objects) {
        if !json.is_empty() {
            out.write_all(b",")?;
        }
        json.clear();
        serde_json::to_writer(&mut json, &object)?;
        out.write_all(&json)?;
    }
    Ok(out.write_all(b"]}")?)
}

/// The entries, and where the last chunk begins.
pub fn read(json: &[u8]) -> Result<(Vec<Entry>, u64)> {
    let Read { version, entries } = serde_json::from_slice(json)?;
    ensure!(version == 1, "version {version} is not known");
    let Builder { entries, last_offset, .. } = entries.0?;
    Ok((entries, last_offset))
}

/// One JSON object of the table; eStargz leaves out what is zero. Only one is held at a time: a large node has
/// a million of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TocEntry {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default, skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modtime: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    mode: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    uid: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    gid: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    /// Zero: up to the file's end.
    #[serde(default, skip_serializing_if = "is_zero")]
    chunk_size: u64,
    /// Of the whole file; written where it has one chunk and costs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<String>,
}

/// What a data directory holds; links and devices are refused by having no name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dir,
    Reg,
    Chunk,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An entry and, where it has more than one chunk, one more object for each further chunk.
fn objects(entry: &Entry) -> impl Iterator<Item = TocEntry> + '_ {
    let (kind, size, chunks): (Kind, u64, &[Chunk]) = match &entry.content {
        Content::Directory => (Kind::Dir, 0, &[]),
        Content::File { size, chunks } => (Kind::Reg, *size, chunks),
    };
    let first = TocEntry {
        size,
        modtime: Some(rfc3339::text(entry.mtime)),
        mode: entry.mode.into(),
        uid: entry.uid.into(),
        gid: entry.gid.into(),
        digest: if let [only] = chunks { Some(digest(&only.sha256)) } else { None },
        ..object(entry, kind, chunks, 0)
    };
    let further = (1..chunks.len()).map(|index| object(entry, Kind::Chunk, chunks, index));
    std::iter::once(first).chain(further)
}

fn object(entry: &Entry, kind: Kind, chunks: &[Chunk], index: usize) -> TocEntry {
    let chunk = chunks.get(index);
    let is_last = index + 1 >= chunks.len();
    TocEntry {
        name: entry.tar_name(),
        kind,
        size: 0,
        modtime: None,
        mode: 0,
        uid: 0,
        gid: 0,
        offset: chunk.map_or(0, |chunk| chunk.offset),
        chunk_offset: chunk.map_or(0, |chunk| chunk.start),
        chunk_size: chunk.filter(|_| !is_last).map_or(0, |chunk| chunk.size),
        digest: None,
        chunk_digest: chunk.map(|chunk| digest(&chunk.sha256)),
    }
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    entries: Built,
}

/// What the objects amount to, or why they make no sense.
struct Built(Result<Builder>);

impl<'de> Deserialize<'de> for Built {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Built, D::Error> {
        struct EachObject;
        impl<'de> Visitor<'de> for EachObject {
            type Value = Built;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<Built, A::Error> {
                let mut built = Ok(Builder::default());
                while let Some(object) = objects.next_element::<TocEntry>()? {
                    built = built.and_then(|builder| builder.add(&object));
                }
                Ok(Built(built.and_then(Builder::complete)))
            }
        }
        deserializer.deserialize_seq(EachObject)
    }
}

#[derive(Default)]
struct Builder {
    entries: Vec<Entry>,
    names: Names,
    /// Of the last entry, in bytes.
    covered: u64,
    /// Of the last chunk.
    last_offset: u64,
}

impl Builder {
    fn add(mut self, object: &TocEntry) -> Result<Builder> {
        if object.kind == Kind::Chunk {
            self.add_chunk(object)?;
            return Ok(self);
        }
        self = self.complete()?;
        let entry = entry(object).with_context(|| format!("`{}`", object.name))?;
        self.names.admit(&entry.name, &entry.content)?;
        let has_chunks = entry.file_size().is_some_and(|size| size > 0);
        self.entries.push(entry);
        self.covered = 0;
        if has_chunks {
            self.add_chunk(object)?;
        }
        Ok(self)
    }

    /// The chunk that an object tells of, as the next of the last entry.
    fn add_chunk(&mut self, object: &TocEntry) -> Result<()> {
        let Some(entry) = self.entries.last_mut() else {
            bail!("`{}`: a chunk comes before its file", object.name)
        };
        let name = entry.tar_name();
        let Content::File { size, chunks } = &mut entry.content else {
            bail!("`{name}`: a directory has chunks");
        };
        let chunk = chunk(object, &name, *size, self.covered, self.last_offset)
            .with_context(|| format!("`{name}`"))?;
        self.last_offset = chunk.offset;
        self.covered += chunk.size;
        chunks.push(chunk);
        Ok(())
    }

    /// Makes sure that the last entry's chunks are all there, and gives back the room that more would have had.
    fn complete(mut self) -> Result<Builder> {
        let Some(last) = self.entries.last_mut() else { return Ok(self) };
        let size = last.file_size().unwrap_or(0);
        ensure!(
            size == self.covered,
            "`{}`: its chunks end at byte {} of {size}",
            last.tar_name(),
            self.covered
        );
        if let Content::File { chunks, .. } = &mut last.content {
            chunks.shrink_to_fit();
        }
        Ok(self)
    }
}

/// An entry without its chunks.
fn entry(object: &TocEntry) -> Result<Entry> {
    let (name, content) = match (object.kind, object.name.strip_suffix('/')) {
        (Kind::Dir, Some(name)) => (name, Content::Directory),
        (Kind::Dir, None) => bail!("a directory's name ends without `/`"),
        _ => (object.name.as_str(), Content::File { size: object.size, chunks: Vec::new() }),
    };
    ensure!(object.mode <= 0o7777, "mode {:o} is no mode", object.mode);
    let modtime = object.modtime.as_deref().context("it has no `modtime`")?;
    Ok(Entry {
        name: RelativePath::parse(name)?,
        mode: object.mode as u32,
        uid: owner(object.uid).context("its `uid` is too large")?,
        gid: owner(object.gid).context("its `gid` is too large")?,
        mtime: humantime::parse_rfc3339(modtime).with_context(|| format!("its `modtime` is `{modtime}`"))?,
        content,
    })
}

/// The last number is what the kernel takes for "leave it as it is".
fn owner(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| *number != u32::MAX)
}

/// The chunk of file `name` behind the `covered` bytes that the chunks before it hold.
fn chunk(object: &TocEntry, name: &str, file_size: u64, covered: u64, last_offset: u64) -> Result<Chunk> {
    ensure!(object.name == name, "a chunk of `{}` follows it", object.name);
    ensure!(covered < file_size, "it has more chunks than bytes");
    ensure!(object.chunk_offset == covered, "its chunks leave a gap or overlap at byte {covered}");
    let left = file_size - covered;
    let size = if object.chunk_size == 0 { left } else { object.chunk_size };
    ensure!(size <= left, "its chunks are longer than the file");
    ensure!(size <= MAX_CHUNK, "a chunk of {size} bytes is too large");
    ensure!(object.offset > last_offset, "its chunk at byte {covered} does not come after the one before");
    let sha256 = parse_digest(object.chunk_digest.as_deref().context("it lacks a `chunkDigest`")?)?;
    if let Some(digest) = object.digest.as_deref().filter(|_| size == file_size) {
        ensure!(parse_digest(digest)? == sha256, "its `digest` differs from its `chunkDigest`");
    }
    Ok(Chunk { offset: object.offset, start: covered, size, sha256 })
}
