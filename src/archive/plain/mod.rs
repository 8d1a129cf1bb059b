//! A tar of a data directory that this module did not make: read to its end, it tells what ours say in their manifest
//! and table of contents, as far as anybody can know.

mod layout;
mod proof;
mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use flate2::Crc;
use sha2::{Digest, Sha256};

use crate::archive::manifest::{FORMAT, Manifest, NodeIdentity};
use crate::archive::members::Attributes;
use crate::archive::pass::{Event, damaged};
use crate::archive::plain::layout::{Place, above_system, holds_table, place, whole_snapshots};
use crate::archive::plain::stream::{Finished, Kind, Member, Part, foreign};
use crate::archive::toc::{Chunk, Content, Entry, Names, Toc};
use crate::dir::RelativePath;
use crate::error::Error;

/// What a restore wants of such an archive.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Of the snapshot, where it holds more than one of the whole node.
    pub tag: Option<String>,
    /// How many the node has: all goes into the first.
    pub data_directories: usize,
}

/// What there is to be known of it besides its manifest and table of contents.
#[derive(Debug)]
pub struct Plain {
    /// Of the whole file.
    pub sha256: String,
    pub proven_by: Vec<String>,
    /// What somebody who restores it has to know.
    pub notes: Vec<String>,
    /// For each member of the tar the entry of the table that has its content.
    entries: Vec<Option<usize>>,
}

/// A member as it was come across.
struct Found {
    member: Member,
    size: u64,
    chunks: Vec<Chunk>,
    crc32: u32,
    /// Of the files that say what others should be.
    text: Option<String>,
    /// Whose content it has: its own, or another's whose hard link it is.
    content: usize,
}

impl Found {
    fn is_file(&self) -> bool {
        self.member.kind != Kind::Directory
    }
}

/// Reads all of it.
pub fn read(path: &Path, file: &File, wanted: &Wanted) -> Result<(Manifest, Toc, Plain)> {
    let (mut found, finished) = scan(path, file)?;
    let chosen = choose(path, &found, wanted)?;
    let (toc, entries) = table(path, &mut found, &chosen, wanted.data_directories)?;
    let checked = proof::check(path, &found, &chosen)?;
    let mut proven_by = vec!["tar headers".to_owned()];
    if finished.is_gzip {
        proven_by.insert(0, "gzip checksums".to_owned());
    }
    proven_by.extend(checked.proven_by);
    let mut keyspaces: Vec<String> = checked.tables.iter().map(|table| table.keyspace.clone()).collect();
    keyspaces.dedup();
    let (files, bytes) = toc
        .data_files()
        .fold((0, 0_u64), |(files, bytes), (_, size)| (files + 1, bytes.saturating_add(size)));
    let manifest = Manifest {
        format: FORMAT,
        tag: chosen.tag.clone().or_else(|| wanted.tag.clone()).unwrap_or_else(|| stem(path)),
        created: checked.newest,
        node: NodeIdentity::unknown(wanted.data_directories),
        sstable_formats: checked.sstable_formats,
        keyspaces,
        whole_node: true,
        tables: checked.tables,
        files,
        bytes,
    };
    Ok((manifest, toc, Plain { sha256: finished.sha256, proven_by, notes: chosen.notes, entries }))
}

impl Plain {
    /// Reads it once more, and tells of what counts as of an archive of ours: directories first, then the files in the
    /// order of the tar.
    pub fn pass(
        &self,
        path: &Path,
        file: &File,
        toc: &Toc,
        on: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<()> {
        let changed = || damaged(path, "it changed while it was read".to_owned());
        for directory in toc.entries.iter().filter(|entry| entry.content == Content::Directory) {
            on(Event::Entry(directory))?;
        }
        let mut members = self.entries.iter();
        let (mut current, mut chunks) = (None, [].iter());
        let finished = stream::read(path, file, &mut |part| match (part, current) {
            (Part::Member(_), _) => {
                current = members.next().copied().flatten().and_then(|index| toc.entries.get(index));
                let Some(entry) = current else { return Ok(()) };
                if let Content::File { chunks: expected, .. } = &entry.content {
                    chunks = expected.iter();
                }
                on(Event::Entry(entry))
            }
            (Part::Bytes(bytes), Some(_)) => match chunks.next() {
                Some(chunk) if Sha256::digest(bytes)[..] == chunk.sha256 => on(Event::Bytes(bytes)),
                _ => Err(changed()),
            },
            (Part::EndOfFile, Some(_)) => on(Event::EndOfFile),
            (_, None) => Ok(()),
        })?;
        if finished.sha256 == self.sha256 { Ok(()) } else { Err(changed()) }
    }
}

/// Everything in it, in its order.
fn scan(path: &Path, file: &File) -> Result<(Vec<Found>, Finished)> {
    let mut found: Vec<Found> = Vec::new();
    let mut by_name: HashMap<RelativePath, usize> = HashMap::new();
    let (mut crc, mut kept) = (Crc::new(), proof::Kept::default());
    let finished = stream::read(path, file, &mut |part| {
        match part {
            Part::Member(member) => {
                let content = match &member.kind {
                    Kind::Link(target) => *by_name.get(target).ok_or_else(|| {
                        let (name, target) = (member.name.as_str(), target.as_str());
                        foreign(
                            path,
                            &format!("`{name}` in it is a hard link to `{target}`, which is not before it"),
                        )
                    })?,
                    _ => found.len(),
                };
                by_name.insert(member.name.clone(), content);
                crc.reset();
                kept.begin(&member);
                found.push(Found { member, size: 0, chunks: Vec::new(), crc32: 0, text: None, content });
            }
            Part::Bytes(bytes) => {
                crc.update(bytes);
                kept.add(path, bytes)?;
                if let Some(last) = found.last_mut() {
                    let sha256 = Sha256::digest(bytes).into();
                    last.chunks.push(Chunk { offset: 0, start: last.size, size: bytes.len() as u64, sha256 });
                    last.size += bytes.len() as u64;
                }
            }
            Part::EndOfFile => {
                if let Some(last) = found.last_mut() {
                    (last.crc32, last.text) = (crc.sum(), kept.end());
                }
            }
        }
        Ok(())
    })?;
    Ok((found, finished))
}

/// Which members count, and where in the data directory they lie.
struct Chosen {
    tag: Option<String>,
    names: Vec<Option<RelativePath>>,
    notes: Vec<String>,
}

fn choose(path: &Path, found: &[Found], wanted: &Wanted) -> Result<Chosen> {
    let paths: Vec<Vec<&str>> = found.iter().map(|found| found.member.name.names().collect()).collect();
    let top = data_directory(path, &paths)?;
    let mut places = Vec::new();
    for names in &paths {
        places.push(match names.strip_prefix(top) {
            Some(below) => place(below),
            None if top.starts_with(names) => Place::Passed,
            None if holds_table(names) => {
                let (one, other) = (top.join("/"), names.join("/"));
                return Err(foreign(path, &format!("it holds tables in `{one}`, and others, as `{other}`")));
            }
            None => Place::Elsewhere,
        });
    }
    let whole = whole_snapshots(places.iter());
    let named = wanted.tag.as_deref().filter(|tag| whole.contains(tag));
    if named.is_none() && whole.len() > 1 {
        let tags = Vec::from_iter(whole).join("`, `");
        let words = format!(
            "`{}` holds the snapshots `{tags}` of the whole node: put it into `backup_dir` as `<snapshot>.tgz`, and \
             restore that `tag`",
            path.display()
        );
        return Err(Error::Refused { refusals: vec![words] }.into());
    }
    let tag = named.or_else(|| whole.first().copied());
    let (mut names, mut left_out) = (Vec::new(), BTreeSet::new());
    for ((found, place), full) in found.iter().zip(&places).zip(&paths) {
        let is_directory = !found.is_file();
        let name = match place {
            Place::Live(name) if tag.is_none() => Some(name),
            Place::Snapshot(of, name) if tag == Some(*of) => Some(name),
            _ => None,
        };
        // A file in a keyspace's directory, or a directory in a table's that is no index's.
        let name = name.filter(|name| match name[..] {
            [_, _] => is_directory,
            [_, _, last] => !is_directory || last.starts_with('.'),
            _ => !is_directory,
        });
        names.push(name.map(|name| RelativePath::parse(&name.join("/"))).transpose()?);
        if *place == Place::Elsewhere {
            let common = full.iter().zip(top).take_while(|(one, other)| one == other).count();
            let shown = full[..full.len().min(common + 1)].join("/");
            left_out.insert(shown);
        }
    }
    pass_over_doubles(found, &mut names);
    Ok(Chosen { notes: notes(path, tag, left_out.into_iter()), tag: tag.map(str::to_owned), names })
}

/// `find | tar -T -` packs a file once by itself, and once with its directory.
fn pass_over_doubles(found: &[Found], names: &mut [Option<RelativePath>]) {
    let content = |index: usize| found[index].is_file().then_some(&found[found[index].content].chunks);
    let mut first = HashMap::new();
    for (index, name) in names.iter_mut().enumerate().filter(|(index, _)| content(*index).is_some()) {
        let before = name.clone().map(|name| *first.entry(name).or_insert(index));
        if before.is_some_and(|before| before != index && content(before) == content(index)) {
            *name = None;
        }
    }
}

/// The names that lead to the directory that holds `system/local-<id>`.
fn data_directory<'a>(path: &Path, paths: &'a [Vec<&'a str>]) -> Result<&'a [&'a str]> {
    let mut tops = paths.iter().filter_map(|names| above_system(names).map(|count| &names[..count]));
    let first = tops.next().ok_or_else(|| foreign(path, "no `system/local-<id>` is in it"))?;
    match tops.find(|top| *top != first) {
        None => Ok(first),
        Some(other) => {
            let (first, other) = (first.join("/"), other.join("/"));
            Err(foreign(path, &format!("it holds more than one, in `{first}` and in `{other}`")))
        }
    }
}

fn notes(path: &Path, tag: Option<&str>, left_out: impl Iterator<Item = String>) -> Vec<String> {
    const SHOWN: usize = 8;
    let mut notes = Vec::new();
    if let Some(tag) = tag {
        notes.push(format!(
            "of `{}` the snapshot `{tag}` is restored, and nothing else that it holds",
            path.display()
        ));
    }
    let left_out: Vec<String> = left_out.collect();
    if !left_out.is_empty() {
        let shown = left_out[..left_out.len().min(SHOWN)].join("`, `");
        let more = left_out.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes.push(format!(
            "of `{}` what is no table's is left out: `{shown}`{more}; writes that were in a commit log only are not \
             restored",
            path.display()
        ));
    }
    notes
}

/// The table of contents, and for each member its entry.
fn table(
    path: &Path,
    found: &mut [Found],
    chosen: &Chosen,
    data_directories: usize,
) -> Result<(Toc, Vec<Option<usize>>)> {
    let mut sources: BTreeMap<RelativePath, Option<usize>> = BTreeMap::new();
    let mut directory = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: SystemTime::UNIX_EPOCH };
    for (index, name) in chosen.names.iter().enumerate() {
        let (Some(name), member) = (name, &found[index].member) else { continue };
        let name = match data_directories {
            0 | 1 => name.clone(),
            _ => RelativePath::parse(&format!("data-0/{}", name.as_str()))?,
        };
        let mut above = name.parent();
        while let Some(parent) = above {
            above = parent.parent();
            sources.entry(parent).or_insert(None);
        }
        directory = Attributes { mode: 0o755, ..member.attributes };
        let twice = sources.insert(name, Some(index));
        let is_file = |index: usize| found[index].is_file();
        if twice.is_some_and(|before| is_file(index) || before.is_some_and(is_file)) {
            return Err(foreign(path, &format!("`{}` is in it twice", member.name.as_str())));
        }
    }
    let (mut toc, mut names) = (Toc::default(), Names::default());
    let mut entries = vec![None; found.len()];
    for (index, (name, source)) in sources.into_iter().enumerate() {
        let (attributes, content) = match source {
            Some(source) if found[source].is_file() => {
                let (attributes, own) = (found[source].member.attributes, found[source].content);
                if entries[own].replace(index).is_some() {
                    let name = found[source].member.name.as_str();
                    return Err(foreign(
                        path,
                        &format!("`{name}` in it is a hard link to a file that counts as well"),
                    ));
                }
                let chunks = std::mem::take(&mut found[own].chunks);
                (attributes, Content::File { size: found[own].size, chunks })
            }
            Some(source) => (found[source].member.attributes, Content::Directory),
            None => (directory, Content::Directory),
        };
        names.admit(&name, &content).map_err(|error| foreign(path, &format!("{error:#}")))?;
        let Attributes { mode, uid, gid, mtime } = attributes;
        toc.entries.push(Entry { name, mode, uid, gid, mtime, content });
    }
    Ok((toc, entries))
}

/// Without `.tgz`, `.tar.gz` or `.tar`.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = [".tgz", ".tar.gz", ".tar"].iter().find_map(|end| name.strip_suffix(end));
    stem.map_or(name.clone(), str::to_owned)
}
