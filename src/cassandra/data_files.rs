//! Where a node's files lie: `<data directory>/<keyspace>/<table>-<id>/<sstable component>`.

use anyhow::Result;
use rustix::fs::Stat;

use crate::dir::{Dir, Kind, RelativePath, is_not_found};

/// A table's directory in one of the data directories. A table dropped and made again has two, with two ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableDir {
    /// Index of the data directory.
    pub root: usize,
    pub keyspace: String,
    /// The directory's own name.
    pub name: String,
}

impl TableDir {
    pub fn table(&self) -> &str {
        split_id(&self.name).map_or(self.name.as_str(), |(table, _)| table)
    }

    /// 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        split_id(&self.name).map_or("", |(_, id)| id)
    }

    /// Its path below the data directory.
    pub fn path(&self) -> Result<RelativePath> {
        RelativePath::parse(&self.keyspace)?.join(&self.name)
    }

    pub fn snapshot_path(&self, tag: &str) -> Result<RelativePath> {
        self.path()?.join("snapshots")?.join(tag)
    }
}

pub fn split_id(directory: &str) -> Option<(&str, &str)> {
    let (table, id) = directory.rsplit_once('-')?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some((table, id))
}

/// Every table directory of every keyspace, dropped tables' included; whatever else lies there is not ours.
pub fn table_dirs(roots: &[Dir]) -> Result<Vec<TableDir>> {
    let mut found = Vec::new();
    for (root, dir) in roots.iter().enumerate() {
        for keyspace in dir.dir_names()? {
            let names = dir.dir_if_there(&keyspace)?.map(|dir| dir.dir_names()).transpose()?;
            let tables = names.into_iter().flatten().filter(|name| split_id(name).is_some());
            found.extend(tables.map(|name| TableDir { root, keyspace: keyspace.clone(), name }));
        }
    }
    Ok(found)
}

impl TableDir {
    /// `None` where the live node has removed it since it was listed.
    fn open(&self, roots: &[Dir]) -> Result<Option<Dir>> {
        match roots[self.root].dir_at(&self.path()?) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The table directories that hold a snapshot of this tag, by its whole name.
pub fn holding_snapshot(roots: &[Dir], tag: &str) -> Result<Vec<TableDir>> {
    let mut holding = Vec::new();
    for table in table_dirs(roots)? {
        let Some(dir) = table.open(roots)? else { continue };
        if let Some(snapshots) = dir.dir_if_there("snapshots")?
            && snapshots.stat(tag)?.is_some()
        {
            holding.push(table);
        }
    }
    Ok(holding)
}

/// Bytes of the live files of some keyspaces: what an archive of them needs at most.
pub fn live_bytes(roots: &[Dir], of: impl Fn(&str) -> bool) -> Result<u64> {
    let sizes = live_files(roots, of)?.into_iter().map(|(_, stat)| stat.st_size.unsigned_abs());
    // Whoever owns the files says how long they are.
    Ok(sizes.fold(0, u64::saturating_add))
}

/// Whether a keyspace holds what users put there: `system_auth` holds their roles. The others of the system's own
/// are written to by the node itself, all the time.
pub fn holds_users_data(keyspace: &str) -> bool {
    const OWN: [&str; 7] = [
        "system",
        "system_schema",
        "system_distributed",
        "system_traces",
        "system_views",
        "system_virtual_schema",
        "system_cluster_metadata",
    ];
    !OWN.contains(&keyspace)
}

/// Every live file of some keyspaces with its path and status, in order; snapshots and incremental backups are
/// none. The paths begin with the index of the data directory.
pub fn live_files(roots: &[Dir], of: impl Fn(&str) -> bool) -> Result<Vec<(String, Stat)>> {
    let mut files = Vec::new();
    for table in table_dirs(roots)?.into_iter().filter(|table| of(&table.keyspace)) {
        let Some(dir) = table.open(roots)? else { continue };
        let path = format!("{}/{}/{}", table.root, table.keyspace, table.name);
        for index in dir.dir_names()?.iter().filter(|name| name.starts_with('.')) {
            if let Some(dir) = dir.dir_if_there(index)? {
                add_files(&dir, &format!("{path}/{index}"), &mut files)?;
            }
        }
        add_files(&dir, &path, &mut files)?;
    }
    Ok(files)
}

fn add_files(dir: &Dir, path: &str, files: &mut Vec<(String, Stat)>) -> Result<()> {
    for entry in dir.entries()?.iter().filter(|entry| entry.kind == Kind::File) {
        // A live node may have compacted it away in between.
        files.extend(dir.stat(&entry.name)?.map(|stat| (format!("{path}/{}", entry.name), stat)));
    }
    Ok(())
}

/// The name of one sstable's component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component<'a> {
    /// What the components of one sstable share: `nb-1-big`, before 2.2 `ks1-users-ka-1`.
    pub sstable: &'a str,
    /// As in TOC.txt: `Data.db`.
    pub name: &'a str,
    pub version: &'a str,
    /// `big` or `bti`; none before 2.2.
    pub format: Option<&'a str>,
}

impl Component<'_> {
    pub fn parse(file: &str) -> Option<Component<'_>> {
        let parts: Vec<&str> = file.splitn(4, '-').collect();
        if let [version, generation, format @ ("big" | "bti"), name] = parts[..]
            && version.len() == 2
        {
            let sstable = &file[..version.len() + generation.len() + format.len() + 2];
            return Some(Component { sstable, name, version, format: Some(format) });
        }
        let (sstable, name) = file.rsplit_once('-')?;
        let (rest, generation) = sstable.rsplit_once('-')?;
        let (_, version) = rest.rsplit_once('-')?;
        let is_old = version.len() == 2 && generation.bytes().all(|byte| byte.is_ascii_digit());
        is_old.then_some(Component { sstable, name, version, format: None })
    }

    /// As told in results: `nb-big`, `ka`.
    pub fn sstable_format(&self) -> String {
        match self.format {
            Some(format) => format!("{}-{format}", self.version),
            None => self.version.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_directory_is_told_by_its_id() {
        let table = |name: &str| TableDir { root: 0, keyspace: "ks".to_owned(), name: name.to_owned() };
        let users = table("users-30df3520e71511f19ec941fbb22e0c5c");
        assert_eq!((users.table(), users.id()), ("users", "30df3520e71511f19ec941fbb22e0c5c"));
        assert_eq!(table("_paxos_repair_state").id(), "");
    }

    #[test]
    fn components_of_every_naming_are_read() {
        let read = |file| Component::parse(file).map(|part| (part.sstable, part.name, part.sstable_format()));
        assert_eq!(read("nb-12-big-Data.db"), Some(("nb-12-big", "Data.db", "nb-big".to_owned())));
        assert_eq!(
            read("da-3gpi_0rkg_5b4og2k0hqd5qz9v5t-bti-Partitions.db"),
            Some(("da-3gpi_0rkg_5b4og2k0hqd5qz9v5t-bti", "Partitions.db", "da-bti".to_owned()))
        );
        assert_eq!(
            read("nb-1-big-SAI+aa+users_by_email+TermsData.db"),
            Some(("nb-1-big", "SAI+aa+users_by_email+TermsData.db", "nb-big".to_owned()))
        );
        assert_eq!(read("ks1-users-ka-7-TOC.txt"), Some(("ks1-users-ka-7", "TOC.txt", "ka".to_owned())));
        for other in ["manifest.json", "schema.cql", "nb_txn_flush_x.log", "big"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
