//! What an archive says of itself: its first entry, `cassandra_backup.json`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::archive::toc::rfc3339;
use crate::dir::RelativePath;

/// Its name in the archive.
pub const NAME: &str = "cassandra_backup.json";

/// The format this version writes, and the latest that it reads.
pub const FORMAT: u32 = 1;

/// Which node was backed up, what was asked for, and what proves the archive whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub tag: String,
    /// When the snapshot was taken, in whole seconds.
    #[serde(with = "rfc3339")]
    pub created: SystemTime,
    pub node: NodeIdentity,
    /// The sstable versions in it, as in the files' names: `nb-big`.
    pub sstable_formats: Vec<String>,
    pub keyspaces: Vec<String>,
    /// False where only some keyspaces were asked for.
    pub whole_node: bool,
    pub tables: Vec<TableEntry>,
    /// All data files, this manifest not counted.
    pub files: u64,
    pub bytes: u64,
}

/// What Cassandra calls itself; a restore compares it with what started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    pub cluster_name: String,
    pub host_id: String,
    pub data_center: String,
    pub rack: String,
    pub tokens: Vec<String>,
    pub partitioner: String,
    pub cassandra_version: String,
    pub schema_version: String,
    /// As the container sees them, in the order of `data_file_directories`. With more than one, entry names
    /// begin with `data-0/`, `data-1/`, …
    pub data_directories: Vec<String>,
}

impl NodeIdentity {
    /// Of an archive that does not say whose it is: everything is empty.
    pub fn unknown(data_directories: usize) -> NodeIdentity {
        NodeIdentity {
            cluster_name: String::new(),
            host_id: String::new(),
            data_center: String::new(),
            rack: String::new(),
            tokens: Vec::new(),
            partitioner: String::new(),
            cassandra_version: String::new(),
            schema_version: String::new(),
            data_directories: vec![String::new(); data_directories],
        }
    }

    pub fn is_known(&self) -> bool {
        !self.host_id.is_empty()
    }

    /// As results show it: what a set of a cluster's archives has to know of each node.
    pub fn told(&self) -> Value {
        json!({
            "host_id": self.host_id,
            "cluster_name": self.cluster_name,
            "data_center": self.data_center,
            "rack": self.rack,
            "tokens": self.tokens,
            "cassandra_version": self.cassandra_version,
            "schema_version": self.schema_version,
        })
    }
}

/// One table, with all that lies below its directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    pub keyspace: String,
    pub table: String,
    /// As at the end of the directory's name: 32 hexadecimal digits. Empty where the name has none.
    pub id: String,
    pub sstables: u64,
    pub files: u64,
    pub bytes: u64,
    /// From the snapshot's `schema.cql`; `None` where there is none: Cassandra's own tables, and before 3.11.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gc_grace_seconds: Option<u64>,
    /// It has counters, as far as that `schema.cql` tells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_counters: bool,
}

impl TableEntry {
    /// The name of its directory below the keyspace's.
    pub fn directory(&self) -> String {
        match self.id.as_str() {
            "" => self.table.clone(),
            id => format!("{}-{id}", self.table),
        }
    }
}

impl Manifest {
    pub fn parse(json: &[u8]) -> Result<Manifest> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let Version { format } = serde_json::from_slice(json).context("it has no format number")?;
        if format > FORMAT {
            bail!("it was made by a later version (format {format}); this one reads format {FORMAT}");
        }
        if format != FORMAT {
            bail!("format {format} is not known");
        }
        serde_json::from_slice(json).context("it cannot be read")
    }

    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self).context("cannot write the manifest as JSON")?;
        json.push(b'\n');
        Ok(json)
    }

    /// Compares the files at hand (not counting the manifest itself) with what is promised here, in total
    /// and for each table; the first difference is the error.
    pub fn check_files<'a>(&self, files: impl Iterator<Item = (&'a RelativePath, u64)>) -> Result<()> {
        let levels_above_keyspace = usize::from(self.node.data_directories.len() > 1);
        let mut total = Count::default();
        let mut by_table: HashMap<(&str, &str), Count> = HashMap::new();
        for (path, size) in files {
            total.add(size);
            let mut names = path.names().skip(levels_above_keyspace);
            if let (Some(keyspace), Some(table), Some(_)) = (names.next(), names.next(), names.next()) {
                by_table.entry((keyspace, table)).or_default().add(size);
            }
        }
        if (total.files, total.bytes) != (self.files, self.bytes) {
            bail!(
                "its manifest counts {} files of {} bytes, but {} files of {} bytes are there",
                self.files,
                self.bytes,
                total.files,
                total.bytes
            );
        }
        for table in &self.tables {
            let directory = table.directory();
            let key = (table.keyspace.as_str(), directory.as_str());
            let found = by_table.get(&key).copied().unwrap_or_default();
            if (found.files, found.bytes) != (table.files, table.bytes) {
                bail!(
                    "its manifest counts {} files of {} bytes for table `{}.{}`, but {} files of {} bytes are there",
                    table.files,
                    table.bytes,
                    table.keyspace,
                    table.table,
                    found.files,
                    found.bytes
                );
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    files: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, size: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
    }
}

/// A backup as results show it: the same keys in all three modules. They are a promise to playbooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    pub tag: String,
    pub path: PathBuf,
    pub size: u64,
    /// Of the whole file, where it is known.
    pub sha256: Option<String>,
    #[serde(with = "rfc3339")]
    pub created: SystemTime,
    pub cluster_name: String,
    pub host_id: String,
    pub cassandra_version: String,
    pub schema_version: String,
    pub keyspaces: Vec<String>,
    pub tables: u64,
    pub files: u64,
    pub bytes: u64,
    /// Of an archive that this module did not make: what it was proven right by.
    #[serde(default)]
    pub proven_by: Vec<String>,
}

impl Backup {
    /// The manifest with what only the finished file has.
    pub fn of(manifest: &Manifest, path: &Path, size: u64, sha256: Option<String>) -> Backup {
        Backup {
            tag: manifest.tag.clone(),
            path: path.to_owned(),
            size,
            sha256,
            created: manifest.created,
            cluster_name: manifest.node.cluster_name.clone(),
            host_id: manifest.node.host_id.clone(),
            cassandra_version: manifest.node.cassandra_version.clone(),
            schema_version: manifest.node.schema_version.clone(),
            keyspaces: manifest.keyspaces.clone(),
            tables: manifest.tables.len() as u64,
            files: manifest.files,
            bytes: manifest.bytes,
            proven_by: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nightly() -> Value {
        json!({
            "format": 1, "tag": "nightly", "created": "2026-11-22T04:15:30Z",
            "node": {
                "cluster_name": "c1", "host_id": "h1", "data_center": "dc1", "rack": "r1", "tokens": ["-1", "5"],
                "partitioner": "Murmur3Partitioner", "cassandra_version": "4.1.7", "schema_version": "s1",
                "data_directories": ["/var/lib/cassandra/data"],
            },
            "sstable_formats": ["nb-big"], "keyspaces": ["ks1"], "whole_node": false,
            "tables": [{"keyspace": "ks1", "table": "users", "id": "0f", "sstables": 1, "files": 2, "bytes": 30}],
            "files": 3, "bytes": 31,
        })
    }

    fn parsed(json: &Value) -> Manifest {
        Manifest::parse(json.to_string().as_bytes()).unwrap()
    }

    fn checked(manifest: &Manifest, files: &[(&str, u64)]) -> String {
        let files: Vec<_> =
            files.iter().map(|(path, size)| (RelativePath::parse(path).unwrap(), *size)).collect();
        match manifest.check_files(files.iter().map(|(path, size)| (path, *size))) {
            Ok(()) => "whole".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let manifest = parsed(&nightly());
        let written = manifest.to_json().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), nightly());
        assert_eq!(Manifest::parse(&written).unwrap(), manifest);
    }

    #[test]
    fn a_later_format_is_refused_in_words_even_where_its_keys_are_others() {
        let refused = Manifest::parse(br#"{"format": 2, "nodes": []}"#).unwrap_err();
        assert_eq!(refused.to_string(), "it was made by a later version (format 2); this one reads format 1");
        let unknown = Manifest::parse(br#"{"format": 0}"#).unwrap_err();
        assert_eq!(unknown.to_string(), "format 0 is not known");
    }

    #[test]
    fn files_that_are_missing_or_too_many_are_told_with_their_table() {
        let manifest = parsed(&nightly());
        let whole = [("ks1/users-0f/a.db", 10), ("ks1/users-0f/.idx/b.db", 20), ("ks1/other/c", 1)];
        assert_eq!(checked(&manifest, &whole), "whole");
        assert_eq!(
            checked(&manifest, &whole[1..]),
            "its manifest counts 3 files of 31 bytes, but 2 files of 21 bytes are there"
        );
        let moved = [("ks1/users-0f/a.db", 10), ("ks1/other/b.db", 20), ("ks1/other/c", 1)];
        assert_eq!(
            checked(&manifest, &moved),
            "its manifest counts 2 files of 30 bytes for table `ks1.users`, but 1 files of 10 bytes are there"
        );
    }

    #[test]
    fn with_several_data_directories_a_table_is_the_sum_of_its_parts() {
        let mut json = nightly();
        json["node"]["data_directories"] = json!(["/d0", "/d1"]);
        let files =
            [("data-0/ks1/users-0f/a.db", 10), ("data-1/ks1/users-0f/b.db", 20), ("data-1/ks1/t/c", 1)];
        assert_eq!(checked(&parsed(&json), &files), "whole");
    }

    #[test]
    fn a_result_shows_the_manifest_with_the_files_own_facts() {
        let backup = Backup::of(&parsed(&nightly()), Path::new("/b/nightly.tgz"), 7, Some("ab".into()));
        assert_eq!(
            serde_json::to_value(backup).unwrap(),
            json!({
                "tag": "nightly", "path": "/b/nightly.tgz", "size": 7, "sha256": "ab",
                "created": "2026-11-22T04:15:30Z", "cluster_name": "c1", "host_id": "h1",
                "cassandra_version": "4.1.7", "schema_version": "s1", "keyspaces": ["ks1"],
                "tables": 1, "files": 3, "bytes": 31, "proven_by": [],
            })
        );
    }
}
