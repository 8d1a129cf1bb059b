//! Which node a Cassandra would be that is started now, and what it would serve: asked of the files alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::files::{Dirs, name, regular_files, subdirectories};
use super::identity::{Identity, Schema, read_newest};
use super::tables::{LOCAL, SYSTEM_TABLES, TABLES};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// It does not start: the blocker, or a file that it cannot read.
    Nothing,
    /// It would make itself a new identity.
    NewNode,
    Node(Box<Content>),
}

/// All that clients would see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub host_id: String,
    /// Each file of the users' live tables and the roles, with its content.
    pub files: BTreeMap<String, String>,
    /// Writes after the last sstable that the test made: replayed from the commit log, or flushed since.
    pub late_writes: BTreeMap<String, usize>,
    pub hints: BTreeSet<String>,
}

impl Served {
    pub fn by(dirs: &Dirs) -> Served {
        if dirs.data.iter().any(|data| data.join("system").is_file()) {
            return Served::Nothing;
        }
        let (identity, schema) = (
            read_newest::<Identity>(dirs, "system", LOCAL),
            read_newest::<Schema>(dirs, "system_schema", TABLES),
        );
        match (identity, schema) {
            (Ok(None), _) => Served::NewNode,
            (Ok(Some(identity)), Ok(schema)) => Served::Node(Box::new(Content::of(dirs, identity, &schema))),
            _ => Served::Nothing,
        }
    }
}

impl Content {
    fn of(dirs: &Dirs, identity: Identity, schema: &Option<Schema>) -> Content {
        let mut content = Content {
            host_id: identity.host_id,
            files: BTreeMap::new(),
            late_writes: BTreeMap::new(),
            hints: regular_files(&dirs.hints).iter().map(|path| name(path)).collect(),
        };
        let mut tables = BTreeSet::new();
        let roles = SYSTEM_TABLES.iter().find(|known| known.1 == "roles").expect("the table of roles");
        tables.insert((roles.0.to_owned(), roles.1.to_owned(), roles.2.to_owned()));
        for (keyspace, has) in schema.iter().flatten() {
            let own =
                has.tables.iter().map(|(table, about)| (keyspace.clone(), table.clone(), about.id.clone()));
            tables.extend(own);
        }
        for (keyspace, table, id) in &tables {
            for data in &dirs.data {
                content.add(
                    data,
                    &data.join(keyspace).join(format!("{table}-{id}")),
                    &format!("{keyspace}.{table}"),
                );
            }
        }
        for segment in regular_files(&dirs.commitlog) {
            let known = |line: &&str| {
                tables.iter().any(|(keyspace, table, _)| format!("{keyspace}.{table}") == **line)
            };
            let text = fs::read_to_string(segment).unwrap_or_default();
            text.lines()
                .filter(known)
                .for_each(|table| *content.late_writes.entry(table.to_owned()).or_default() += 1);
        }
        content
    }

    fn add(&mut self, data: &Path, dir: &Path, table: &str) {
        let mut flushed = BTreeSet::new();
        for file in regular_files(dir) {
            let text = String::from_utf8_lossy(&fs::read(&file).expect("its content")).into_owned();
            let late = text.strip_suffix(" rows written later\n").map(str::to_owned);
            if let Some(count) = late.and_then(|count| count.parse::<usize>().ok()) {
                *self.late_writes.entry(table.to_owned()).or_default() += count;
                flushed.insert(name(&file).replace("Data.db", ""));
            } else {
                self.files.insert(shown(data, &file), text);
            }
        }
        // What belongs to a flushed sstable is counted with it.
        self.files.retain(|file, _| {
            !flushed.iter().any(|sstable| file.contains(sstable.as_str()) && file.contains(&name(dir)))
        });
        for index in subdirectories(dir).iter().filter(|dir| name(dir).starts_with('.')) {
            self.add(data, index, table);
        }
    }
}

fn shown(data: &Path, file: &Path) -> String {
    let root = data.parent().expect("the storage directory");
    file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned()
}
