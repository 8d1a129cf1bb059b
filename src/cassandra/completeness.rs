//! Proves that a snapshot holds every table whole, before anything is packed.
//!
//! nodetool's exit code proves nothing: a table that fails is only logged by some versions. So what the
//! node says it has is held against the directories, each snapshot's `manifest.json` against the sstables
//! there, each `TOC.txt` against the components.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::archive::manifest::TableEntry;
use crate::archive::members::{Attributes, Member, Source};
use crate::cassandra::data_files::{Component, TableDir, holding_snapshot};
use crate::cassandra::nodetool::Tables;
use crate::cassandra::version;
use crate::dir::{Dir, Kind, RelativePath};
use crate::error::Error;
use crate::interrupt;

/// How many missing pieces a message names; the rest is counted.
const NAMED: usize = 5;

/// A snapshot that was proven complete, ready to be packed.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// In the order of the archive.
    pub members: Vec<Member>,
    pub tables: Vec<TableEntry>,
    pub sstable_formats: BTreeSet<String>,
    pub files: u64,
    pub bytes: u64,
}

/// Cassandra's `manifest.json`: only the sstables' `Data.db`, indexes' included.
#[derive(Deserialize)]
struct CassandraManifest {
    files: Vec<String>,
}

/// What a table's `manifest.json` speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    OfAll,
    /// Of the table itself or of one of its indexes, without saying which: releases before 4.0 write one for each, under
    /// one name, and the last stays (seen on 2.1.2, 2.1.20, 2.2.4 and 3.11.5).
    OfOne,
}

impl Speaks {
    fn of(table: &str, tables: &BTreeSet<String>, release_version: &str) -> Speaks {
        let is_index = |name: &String| name.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
        match version::is_before(release_version, (4, 0)) && tables.iter().any(is_index) {
            true => Speaks::OfOne,
            false => Speaks::OfAll,
        }
    }
}

/// 3.x has moved its schema to `system_schema`; the tables that held it before get a snapshot all the same, an empty one,
/// and nodetool does not know them (seen on 3.11.5).
fn held_the_schema(keyspace: &str, table: &str, live: &Tables) -> bool {
    keyspace == "system" && table.starts_with("schema_") && live.contains_key("system_schema")
}

/// Collects the snapshot's files; a piece that is missing is an error that names it.
pub fn prove(roots: &[Dir], tag: &str, live: &Tables, release_version: &str) -> Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    let mut missing = Vec::new();
    let mut held: BTreeMap<(String, String), Vec<TableDir>> = BTreeMap::new();
    for table in holding_snapshot(roots, tag)? {
        held.entry((table.keyspace.clone(), table.table().to_owned())).or_default().push(table);
    }
    for (keyspace, tables) in live {
        // `table.index` is in its table's directory, and in its manifest.
        for table in tables.iter().filter(|table| !table.contains('.')) {
            interrupt::check()?;
            match held.remove(&(keyspace.clone(), table.clone())) {
                Some(dirs) => {
                    let speaks = Speaks::of(table, tables, release_version);
                    missing.append(&mut snapshot.add(Table::list(roots, tag, &dirs, speaks)?));
                }
                None => missing.push(format!("table `{keyspace}.{table}` has no snapshot directory")),
            }
        }
    }
    for (keyspace, table) in
        held.into_keys().filter(|(keyspace, table)| !held_the_schema(keyspace, table, live))
    {
        missing.push(format!("`{keyspace}.{table}` has a snapshot, but the node does not know such a table"));
    }
    if missing.is_empty() && snapshot.tables.iter().all(|table| table.sstables == 0) {
        missing.push("it holds no sstable at all".to_owned());
    }
    if missing.is_empty() {
        snapshot.members.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        // The directories that tables share are listed with each of them.
        snapshot.members.dedup_by(|one, other| one.name == other.name);
        return Ok(snapshot);
    }
    let more = missing.len().saturating_sub(NAMED);
    missing.truncate(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    Err(Error::SnapshotIncomplete { tag: tag.to_owned(), missing: format!("{}{more}", missing.join("; ")) }
        .into())
}

impl Snapshot {
    /// Takes a table in and returns what of it is missing.
    fn add(&mut self, table: Table) -> Vec<String> {
        self.files += table.entry.files;
        self.bytes = self.bytes.saturating_add(table.entry.bytes);
        self.members.extend(table.members);
        self.sstable_formats.extend(table.sstable_formats);
        self.tables.push(table.entry);
        table.missing
    }
}

/// One table as it is found, over all data directories.
struct Table {
    entry: TableEntry,
    members: Vec<Member>,
    sstable_formats: BTreeSet<String>,
    /// The `Data.db` files that are there, named as `manifest.json` names them.
    data_files: BTreeSet<String>,
    /// Those that are known to be missing already.
    told: BTreeSet<String>,
    missing: Vec<String>,
}

/// A directory of a snapshot: the table's own, or a secondary index's below it.
struct Place<'a> {
    root: usize,
    dir: &'a Dir,
    path: RelativePath,
    /// In the archive.
    name: RelativePath,
    index: Option<&'a str>,
}

impl Place<'_> {
    /// As `manifest.json` names a file of it.
    fn manifest_name(&self, file: &str) -> String {
        self.index.map_or_else(|| file.to_owned(), |index| format!("{index}/{file}"))
    }
}

impl Table {
    /// Lists the snapshot in the table's directories, one or more in each data directory.
    fn list(roots: &[Dir], tag: &str, dirs: &[TableDir], speaks: Speaks) -> Result<Table> {
        let [first, others @ ..] = dirs else { bail!("a table without a directory") };
        let shown = format!("{}.{}", first.keyspace, first.table());
        if let Some(other) = others.iter().find(|dir| dir.id() != first.id()) {
            bail!("table `{shown}` has snapshots `{tag}` under two ids, {} and {}", first.id(), other.id());
        }
        let entry = TableEntry {
            keyspace: first.keyspace.clone(),
            table: first.table().to_owned(),
            id: first.id().to_owned(),
            sstables: 0,
            files: 0,
            bytes: 0,
            gc_grace_seconds: None,
            has_counters: false,
        };
        let mut table = Table {
            entry,
            members: Vec::new(),
            sstable_formats: BTreeSet::new(),
            data_files: BTreeSet::new(),
            told: BTreeSet::new(),
            missing: Vec::new(),
        };
        let mut listed: Option<BTreeSet<String>> = None;
        for dir in dirs {
            if let Some(files) = table.add_directory_of(roots, tag, dir)? {
                listed.get_or_insert_default().extend(files);
            }
        }
        match listed {
            None => table.missing.push(format!("table `{shown}` has no `manifest.json` in its snapshot")),
            Some(listed) => {
                let there = &table.data_files;
                let is_there = |file: &String| {
                    there.contains(file)
                        || (speaks == Speaks::OfOne
                            && there.iter().any(|path| path.ends_with(&format!("/{file}"))))
                };
                let lost = listed.iter().filter(|file| !is_there(file) && !table.told.contains(*file));
                let lost = lost.map(|file| format!("`{file}` of table `{shown}` is missing"));
                let strange = there.difference(&listed).filter(|_| speaks == Speaks::OfAll);
                let strange =
                    strange.map(|file| format!("the `manifest.json` of table `{shown}` lacks `{file}`"));
                table.missing.extend(lost.chain(strange).collect::<Vec<_>>());
            }
        }
        Ok(table)
    }

    /// Adds one of the table's directories and its snapshot; returns what `manifest.json` lists, if it is here
    /// (with several data directories some versions write it to one of them only).
    fn add_directory_of(
        &mut self,
        roots: &[Dir],
        tag: &str,
        table: &TableDir,
    ) -> Result<Option<Vec<String>>> {
        let root = &roots[table.root];
        let mut keyspace_name = RelativePath::parse(&table.keyspace)?;
        if roots.len() > 1 {
            let top = RelativePath::parse(&format!("data-{}", table.root))?;
            keyspace_name = top.join(&table.keyspace)?;
            self.add_directory(top, root)?;
        }
        let table_name = keyspace_name.join(&table.name)?;
        let keyspace_dir = root.dir(&table.keyspace)?;
        self.add_directory(keyspace_name, &keyspace_dir)?;
        self.add_directory(table_name.clone(), &keyspace_dir.dir(&table.name)?)?;

        let path = table.snapshot_path(tag)?;
        let dir = &root.dir_at(&path)?;
        for index in dir.dir_names()? {
            let (dir, path, name) = (&dir.dir(&index)?, path.join(&index)?, table_name.join(&index)?);
            self.add_directory(name.clone(), dir)?;
            self.add_files(&Place { root: table.root, dir, path, name, index: Some(&index) })?;
        }
        self.add_files(&Place { root: table.root, dir, path, name: table_name, index: None })?;
        if dir.stat("schema.cql")?.is_some() {
            let schema = read(dir, "schema.cql")?;
            self.entry.gc_grace_seconds = gc_grace_seconds(&schema);
            self.entry.has_counters = has_counters(&schema);
        }
        if dir.stat("manifest.json")?.is_none() {
            return Ok(None);
        }
        match listed_in_manifest(read(dir, "manifest.json")?.as_bytes()) {
            Ok(files) => Ok(Some(files)),
            Err(error) => {
                let path = dir.path_of("manifest.json");
                let missing = format!("`{}` makes no sense: {error}", path.display());
                Err(Error::SnapshotIncomplete { tag: tag.to_owned(), missing }.into())
            }
        }
    }

    fn add_files(&mut self, place: &Place) -> Result<()> {
        let mut sstables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in place.dir.entries()? {
            let shown = place.dir.path_of(&file.name);
            match file.kind {
                Kind::File => {}
                Kind::Directory if place.index.is_none() => continue,
                _ => bail!("`{}` is neither a file nor an index's directory", shown.display()),
            }
            let stat = place.dir.stat(&file.name)?;
            let stat = stat.with_context(|| format!("`{}` vanished while it was listed", shown.display()))?;
            if let Some(component) = Component::parse(&file.name) {
                self.sstable_formats.insert(component.sstable_format());
                sstables.entry(component.sstable.to_owned()).or_default().insert(component.name.to_owned());
                if component.name == "Data.db" {
                    self.data_files.insert(place.manifest_name(&file.name));
                    // Cassandra drops such an sstable at its start, with one line in its log.
                    if stat.st_size == 0 {
                        self.missing.push(format!("`{}` is empty", shown.display()));
                    }
                }
            }
            let size = stat.st_size.unsigned_abs();
            self.entry.files += 1;
            // Sparse files may claim any size.
            self.entry.bytes = self.entry.bytes.saturating_add(size);
            self.members.push(Member {
                name: place.name.join(&file.name)?,
                attributes: Attributes::of(&stat),
                source: Source::File { root: place.root, path: place.path.join(&file.name)?, size },
            });
        }
        if place.index.is_none() {
            self.entry.sstables += sstables.len() as u64;
        }
        for (sstable, there) in sstables {
            self.check_components(place, &sstable, &there)?;
        }
        Ok(())
    }

    fn check_components(&mut self, place: &Place, sstable: &str, there: &BTreeSet<String>) -> Result<()> {
        let toc = format!("{sstable}-TOC.txt");
        let toc = if there.contains("TOC.txt") { Some(read(place.dir, &toc)?) } else { None };
        for (component, what) in lacks(sstable, there, toc.as_deref()) {
            let file = format!("{sstable}-{component}");
            self.missing.push(format!("`{}` {what}", place.dir.path_of(&file).display()));
            self.told.insert(place.manifest_name(&file));
        }
        Ok(())
    }

    fn add_directory(&mut self, name: RelativePath, dir: &Dir) -> Result<()> {
        let attributes = Attributes::of(&dir.own_stat()?);
        self.members.push(Member { name, attributes, source: Source::Directory });
        Ok(())
    }
}

/// Holds an sstable's `TOC.txt` against the components that are there: what is wrong with which of them.
pub fn lacks<'a>(
    sstable: &str,
    there: &BTreeSet<String>,
    toc: Option<&'a str>,
) -> Vec<(&'a str, &'static str)> {
    let Some(toc) = toc else {
        return if is_received_whole(sstable, there) { Vec::new() } else { vec![("TOC.txt", "is missing")] };
    };
    let mut listed = BTreeSet::new();
    listed.extend(toc.lines().map(str::trim).filter(|name| !name.is_empty()));
    // One that was cut short would prove anything complete.
    let cut = (!listed.contains("Data.db")).then_some(("TOC.txt", "does not list `Data.db`"));
    let lost = listed.into_iter().filter(|component| !there.contains(*component));
    cut.into_iter().chain(lost.map(|component| (component, "is missing"))).collect()
}

/// The `Data.db` files that a snapshot's `manifest.json` lists.
pub fn listed_in_manifest(json: &[u8]) -> serde_json::Result<Vec<String>> {
    serde_json::from_slice::<CassandraManifest>(json).map(|manifest| manifest.files)
}

/// From 4.0 on a node can be sent sstables as they are, by zero-copy streaming: at its bootstrap, a rebuild, a repair. They
/// come without their `TOC.txt` and never get one. Without what is asked for here none can be read (seen on 5.0.5).
fn is_received_whole(sstable: &str, there: &BTreeSet<String>) -> bool {
    const NEEDED: [&[&str]; 4] =
        [&["Data.db"], &["Statistics.db"], &["Index.db", "Partitions.db"], &["CompressionInfo.db", "CRC.db"]];
    (sstable.ends_with("-bti") || (sstable.ends_with("-big") && sstable >= "na"))
        && NEEDED.iter().all(|needed| needed.iter().any(|component| there.contains(*component)))
}

/// `AND gc_grace_seconds = 864000`, as Cassandra writes it with every table.
pub fn gc_grace_seconds(schema: &str) -> Option<u64> {
    let (_, value) = schema.split_once("gc_grace_seconds = ")?;
    value.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// A column `views counter,`.
pub fn has_counters(schema: &str) -> bool {
    schema.lines().any(|line| line.trim_end().trim_end_matches(',').ends_with(" counter"))
}

fn read(dir: &Dir, name: &str) -> Result<String> {
    let mut text = String::new();
    // A TOC or manifest is a few KiB; whatever is larger was planted.
    let read = dir.file(name)?.take(1 << 24).read_to_string(&mut text);
    read.with_context(|| format!("cannot read `{}`", dir.path_of(name).display()))?;
    Ok(text)
}
