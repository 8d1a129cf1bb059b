//! What the files of a data directory say of each other: components of sstables, digests, a snapshot's lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;

use super::{Chosen, Found};
use crate::archive::manifest::TableEntry;
use crate::archive::pass::damaged;
use crate::archive::plain::stream::{Kind, Member};
use crate::cassandra::completeness::{gc_grace_seconds, has_counters, lacks, listed_in_manifest};
use crate::cassandra::data_files::{Component, split_id};

/// How many wrong files a message names; the rest is counted.
const NAMED: usize = 5;

/// A list of these is a few KiB; a node has megabytes of them in all.
const MOST_TEXT: usize = 16 << 20;
const MOST_TEXTS: usize = 256 << 20;

/// The contents of the files that say what others should be.
#[derive(Default)]
pub struct Kept {
    text: Option<Vec<u8>>,
    total: usize,
}

impl Kept {
    pub fn begin(&mut self, member: &Member) {
        let file = member.name.file_name();
        let is_kept = ["TOC.txt", "Digest.crc32"].iter().any(|end| file.ends_with(end))
            || ["manifest.json", "schema.cql"].contains(&file);
        self.text = (is_kept && member.kind == Kind::File).then(Vec::new);
    }

    pub fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let Some(text) = &mut self.text else { return Ok(()) };
        self.total += bytes.len();
        if text.len() + bytes.len() > MOST_TEXT || self.total > MOST_TEXTS {
            return Err(damaged(path, "its lists of files are larger than those of any node".to_owned()));
        }
        text.extend_from_slice(bytes);
        Ok(())
    }

    pub fn end(&mut self) -> Option<String> {
        self.text.take().map(|text| String::from_utf8_lossy(&text).into_owned())
    }
}

pub struct Checked {
    pub tables: Vec<TableEntry>,
    pub sstable_formats: Vec<String>,
    /// When the last of the files was written: the node was packed no earlier.
    pub newest: SystemTime,
    pub proven_by: Vec<String>,
}

/// One sstable, by what its components say.
#[derive(Default)]
struct Sstable<'a> {
    there: BTreeSet<String>,
    toc: Option<&'a str>,
    digest: Option<&'a str>,
    /// Of `Data.db`.
    data: Option<&'a Found>,
}

#[derive(Default)]
struct Table<'a> {
    entry: Option<TableEntry>,
    /// By their directory's name below the table's, empty for its own, and their own name.
    sstables: BTreeMap<(&'a str, &'a str), Sstable<'a>>,
    manifest: Option<&'a str>,
}

/// Refuses what is not whole, and tells how far that is known.
pub fn check(path: &Path, found: &[Found], chosen: &Chosen) -> Result<Checked> {
    let mut checked = Checked {
        tables: Vec::new(),
        sstable_formats: Vec::new(),
        newest: SystemTime::UNIX_EPOCH,
        proven_by: Vec::new(),
    };
    let mut formats = BTreeSet::new();
    let mut tables: BTreeMap<(&str, &str), Table> = BTreeMap::new();
    for (own, name) in found.iter().zip(&chosen.names) {
        let Some(name) = name else { continue };
        let mut names = name.names();
        let (Some(keyspace), Some(directory)) = (names.next(), names.next()) else { continue };
        let table = tables.entry((keyspace, directory)).or_default();
        let entry = table.entry.get_or_insert_with(|| new_entry(keyspace, directory));
        if !own.is_file() {
            continue;
        }
        let content = &found[own.content];
        checked.newest = checked.newest.max(own.member.attributes.mtime);
        entry.files += 1;
        entry.bytes = entry.bytes.saturating_add(content.size);
        let (first, second) = (names.next().unwrap_or_default(), names.next());
        let (index, file) = second.map_or(("", first), |file| (first, file));
        if let Some(component) = Component::parse(file) {
            formats.insert(component.sstable_format());
            let sstable = table.sstables.entry((index, component.sstable)).or_default();
            sstable.add(component.name, content);
            continue;
        }
        match content.text.as_deref() {
            Some(text) if file == "manifest.json" && chosen.tag.is_some() => table.manifest = Some(text),
            Some(text) if file == "schema.cql" => {
                (entry.gc_grace_seconds, entry.has_counters) = (gc_grace_seconds(text), has_counters(text));
            }
            _ => {}
        }
    }
    checked.sstable_formats.extend(formats);
    let (mut wrong, mut count) = (Vec::new(), Count::default());
    for ((keyspace, directory), table) in tables {
        checked.tables.extend(table.checked(&format!("{keyspace}/{directory}"), &mut wrong, &mut count));
    }
    let is_known =
        |table: &TableEntry| (table.keyspace.as_str(), table.table.as_str()) == ("system", "local");
    if !checked.tables.iter().any(|table| is_known(table) && table.sstables > 0) {
        wrong.push("`system.local` has no sstable: who the node was is not in it".to_owned());
    }
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(NAMED);
        wrong.truncate(NAMED);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        return Err(damaged(path, format!("{}{more}", wrong.join("; "))));
    }
    checked.proven_by = count.told();
    Ok(checked)
}

fn new_entry(keyspace: &str, directory: &str) -> TableEntry {
    let (table, id) = split_id(directory).unwrap_or((directory, ""));
    TableEntry {
        keyspace: keyspace.to_owned(),
        table: table.to_owned(),
        id: id.to_owned(),
        sstables: 0,
        files: 0,
        bytes: 0,
        gc_grace_seconds: None,
        has_counters: false,
    }
}

impl<'a> Sstable<'a> {
    fn add(&mut self, component: &str, content: &'a Found) {
        match component {
            "TOC.txt" => self.toc = content.text.as_deref(),
            "Digest.crc32" => self.digest = content.text.as_deref(),
            "Data.db" => self.data = Some(content),
            _ => {}
        }
        self.there.insert(component.to_owned());
    }
}

impl Table<'_> {
    fn checked(self, shown: &str, wrong: &mut Vec<String>, count: &mut Count) -> Option<TableEntry> {
        let mut entry = self.entry?;
        let mut data_files = BTreeSet::new();
        for ((index, name), sstable) in self.sstables {
            let below = if index.is_empty() { name.to_owned() } else { format!("{index}/{name}") };
            count.sstables += 1;
            entry.sstables += u64::from(index.is_empty());
            count.tocs += usize::from(sstable.toc.is_some());
            let lacking = lacks(name, &sstable.there, sstable.toc).into_iter();
            wrong.extend(lacking.map(|(component, what)| format!("`{shown}/{below}-{component}` {what}")));
            let Some(data) = sstable.data else { continue };
            data_files.insert(format!("{below}-Data.db"));
            if data.size == 0 {
                wrong.push(format!("`{shown}/{below}-Data.db` is empty"));
            }
            if let Some(digest) = sstable.digest {
                count.digests += 1;
                if digest.trim() != data.crc32.to_string() {
                    wrong.push(format!("`{shown}/{below}-Data.db` is not what its `Digest.crc32` says"));
                }
            }
        }
        if let Some(manifest) = self.manifest {
            count.manifests += 1;
            match listed_in_manifest(manifest.as_bytes()) {
                Err(error) => wrong.push(format!("`{shown}/manifest.json` makes no sense: {error}")),
                Ok(files) => {
                    let mut listed = BTreeSet::new();
                    listed.extend(files);
                    let lost = listed.difference(&data_files);
                    let strange = data_files.difference(&listed);
                    wrong.extend(lost.map(|file| format!("`{shown}/{file}` is missing")));
                    wrong.extend(strange.map(|file| format!("`{shown}/manifest.json` lacks `{file}`")));
                }
            }
        }
        Some(entry)
    }
}

#[derive(Default)]
struct Count {
    sstables: usize,
    tocs: usize,
    digests: usize,
    manifests: usize,
}

impl Count {
    fn told(&self) -> Vec<String> {
        let Count { sstables, tocs, digests, manifests } = self;
        let mut told = vec![
            format!("components of {sstables} sstables ({tocs} by their `TOC.txt`)"),
            format!("`Digest.crc32` of {digests} of {sstables} `Data.db`"),
        ];
        if *manifests > 0 {
            told.push(format!("`manifest.json` of {manifests} tables of the snapshot"));
        }
        told
    }
}
