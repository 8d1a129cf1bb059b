//! What tests put into a node, and what they ask of it afterwards.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use cassandra_backup::docker::RunState;

use super::cassandra::Start;
use super::files::{
    Dirs, Tree, index_dirs, make_dir, name, regular_files, snapshot, subdirectories, tree, write,
    write_sstable,
};
use super::identity::{Identity, Keyspace, Schema, Table, number, uuid};
use super::node::FakeNode;
use super::nodetool::{Call, schema_cql};

/// What it holds. A keyspace is made with its first table.
impl FakeNode {
    /// A table with so many sstables, spread over the data directories.
    pub fn with_table(self, keyspace: &str, table: &str, sstables: usize) -> FakeNode {
        let change = |schema: &mut Schema| add_table(schema, keyspace, table);
        self.with(|container| container.cassandra.alter_schema(change))
            .with_sstables(keyspace, table, sstables)
    }

    /// So many sstables of a table that is there.
    pub fn with_sstables(self, keyspace: &str, table: &str, sstables: usize) -> FakeNode {
        self.with(|container| {
            for number in 1..=sstables {
                let rows = format!("rows of {keyspace}.{table}, sstable {number}\n").repeat(20);
                container.cassandra.add_sstable(keyspace, table, rows.as_bytes());
            }
        })
    }

    pub fn with_empty_table(self, keyspace: &str, table: &str) -> FakeNode {
        self.with_table(keyspace, table, 0)
    }

    /// Many empty tables, in keyspaces with names as long as they may be: `ks0001_xxx…`.
    pub fn with_tables(self, keyspaces: usize, tables_in_each: usize) -> FakeNode {
        self.with(|container| {
            container.cassandra.alter_schema(|schema| {
                for keyspace in 0..keyspaces {
                    let keyspace = format!("ks{keyspace:04}_{}", "x".repeat(41));
                    (0..tables_in_each)
                        .for_each(|table| add_table(schema, &keyspace, &format!("table{table:05}")));
                }
            });
        })
    }

    /// A table whose one `Data.db` is this long and takes no space on the disk.
    pub fn with_big_table(self, keyspace: &str, table: &str, bytes: u64) -> FakeNode {
        let node = self.with_table(keyspace, table, 1);
        let data = node.dirs().table(keyspace, table).join("nb-1-big-Data.db");
        OpenOptions::new()
            .write(true)
            .open(&data)
            .and_then(|file| file.set_len(bytes))
            .expect("a sparse file");
        node
    }

    /// A secondary index of a table that is there, with its sstable in the hidden directory `.<index>`.
    pub fn with_index(self, keyspace: &str, table: &str, index: &str) -> FakeNode {
        self.with(|container| {
            let node = &mut container.cassandra;
            node.alter_schema(|schema| {
                let about = schema.get_mut(keyspace).and_then(|keyspace| keyspace.tables.get_mut(table));
                about.expect("the index's table").indexes.push(index.to_owned());
            });
            let dir = node.table_dirs(keyspace, table)[0].join(format!(".{index}"));
            let entries = format!("entries of {index}\n");
            write_sstable(&dir, 1, entries.as_bytes(), node.host_id(), node.components());
        })
    }

    /// A directory of a table that was dropped, with the snapshot that Cassandra took of it then.
    pub fn with_dropped_table(self, keyspace: &str, table: &str) -> FakeNode {
        let node = self.with_table(keyspace, table, 1);
        node.drop_table(keyspace, table);
        node
    }

    /// A snapshot of every table, taken by somebody else.
    pub fn with_operator_snapshot(self, tag: &str) -> FakeNode {
        self.with(|container| {
            let node = &container.cassandra;
            for (keyspace, table, id) in node.tables() {
                let schema = schema_cql(node, &keyspace, &table, &id);
                snapshot(&node.table_dirs(&keyspace, &table), tag, schema.as_deref());
            }
        })
    }

    /// Incremental backups of a table: hard links in its `backups/`.
    pub fn with_backups_dir(self, keyspace: &str, table: &str) -> FakeNode {
        for dir in self.dirs().tables(keyspace, table) {
            make_dir(&dir.join("backups"));
            for file in regular_files(&dir) {
                fs::hard_link(&file, dir.join("backups").join(name(&file))).expect("a hard link");
            }
        }
        self
    }

    pub fn with_hints(self) -> FakeNode {
        write(&self.dirs().hints.join(format!("{}-1795421320629-2.hints", uuid(number()))), b"hints");
        self
    }

    pub fn replicas(self, keyspace: &str, count: u32) -> FakeNode {
        self.with(|container| {
            let change =
                |schema: &mut Schema| schema.get_mut(keyspace).expect("the keyspace").replicas = count;
            container.cassandra.alter_schema(change);
        })
    }
}

/// What happens to it between two runs.
impl FakeNode {
    /// Somebody starts the container; what follows is as after `POST …/start`.
    pub fn start(&self) {
        self.world.container().start();
    }

    pub fn stop(&self) {
        self.world.container().stop();
    }

    /// A client's write: in a memtable and the commit log, in no sstable yet.
    pub fn write(&self, keyspace: &str, table: &str) {
        self.world.container().cassandra.write(&format!("{keyspace}.{table}"));
    }

    /// Somebody takes a snapshot of one table.
    pub fn operators_snapshot(&self, keyspace: &str, table: &str, tag: &str) {
        snapshot(&self.world.container().cassandra.table_dirs(keyspace, table), tag, None);
    }

    pub fn flush(&self) {
        self.world.container().cassandra.flush();
    }

    pub fn drop_table(&self, keyspace: &str, table: &str) {
        let mut container = self.world.container();
        let node = &mut container.cassandra;
        let dirs = node.table_dirs(keyspace, table);
        // By the time of the drop: a table that a restore has brought back is dropped a second time later.
        let tags = (1_795_421_386_961_u64..).map(|time| format!("dropped-{time}-{table}"));
        let mut free = tags.filter(|tag| !dirs.iter().any(|dir| dir.join("snapshots").join(tag).exists()));
        snapshot(&dirs, &free.next().expect("a time"), None);
        for dir in &dirs {
            regular_files(dir).iter().for_each(|file| fs::remove_file(file).expect("a dropped file removed"));
            index_dirs(dir)
                .iter()
                .for_each(|index| fs::remove_dir_all(index).expect("a dropped index removed"));
        }
        node.alter_schema(|schema| schema.get_mut(keyspace).expect("the keyspace").tables.remove(table));
    }

    /// `docker rm` and `docker run`: another container of the same name on the same data, not started yet.
    pub fn recreate_container(&self) {
        let mut container = self.world.container();
        container.stop();
        container.id = format!("{}{}", uuid(number()).replace('-', ""), uuid(number()).replace('-', ""));
        container.run_state = RunState::Created;
    }
}

/// How it is now.
impl FakeNode {
    pub fn name(&self) -> String {
        self.world.container().name.clone()
    }

    pub fn id(&self) -> String {
        self.world.container().id.clone()
    }

    pub fn run_state(&self) -> RunState {
        self.world.container().run_state
    }

    pub fn exit_code(&self) -> i64 {
        self.world.container().exit_code
    }

    pub fn restart_policy_name(&self) -> String {
        self.world.container().restart_policy.0.clone()
    }

    pub fn port(&self) -> u16 {
        self.world.container().cassandra.port
    }

    /// Who it was at its last start.
    pub fn identity(&self) -> Identity {
        self.world.container().cassandra.identity.clone().expect("a node that was started")
    }

    pub fn host_id(&self) -> String {
        self.identity().host_id
    }

    /// The users' live tables, as `ks1.users`.
    pub fn tables(&self) -> Vec<String> {
        let container = self.world.container();
        let keyspaces = container.cassandra.schema.iter();
        keyspaces
            .flat_map(|(keyspace, has)| has.tables.keys().map(move |table| format!("{keyspace}.{table}")))
            .collect()
    }

    /// Every start that succeeded.
    pub fn starts(&self) -> Vec<Start> {
        self.world.container().cassandra.starts.clone()
    }

    pub fn log(&self) -> String {
        self.world.container().cassandra.log.clone()
    }

    pub fn dirs(&self) -> Dirs {
        self.world.container().cassandra.dirs.clone()
    }

    /// The tags of all snapshots on the disk.
    pub fn snapshots(&self) -> BTreeSet<String> {
        let tables = self.dirs().all_tables().into_iter();
        tables.flat_map(|table| subdirectories(&table.join("snapshots"))).map(|dir| name(&dir)).collect()
    }

    /// Everything below the storage directory: data, commit log, hints and saved caches.
    pub fn tree(&self) -> Tree {
        tree(&self.dirs().storage)
    }

    /// What clients would notice: the live tables of the users' keyspaces and `system_auth`, without their snapshots
    /// and incremental backups.
    pub fn user_data(&self) -> Tree {
        let container = self.world.container();
        let node = &container.cassandra;
        let is_users = |keyspace: &str| !keyspace.starts_with("system") || keyspace == "system_auth";
        let mut found = Tree::new();
        for (keyspace, table, _) in node.tables().iter().filter(|(keyspace, ..)| is_users(keyspace)) {
            for dir in node.table_dirs(keyspace, table) {
                let shown = dir.strip_prefix(&node.dirs.storage).expect("a directory of this node").display();
                let live = tree(&dir).into_iter();
                let live =
                    live.filter(|(path, _)| !path.starts_with("snapshots") && !path.starts_with("backups"));
                found.extend(live.map(|(path, entry)| (format!("{shown}/{path}"), entry)));
            }
        }
        found
    }

    /// The temporary directory: everything of this node, on its host.
    pub fn host(&self) -> &Path {
        self.host.path()
    }

    pub fn backup_dir(&self) -> PathBuf {
        self.host().join("backup")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.host().join("state")
    }

    pub fn archive(&self, tag: &str) -> PathBuf {
        self.backup_dir().join(format!("{tag}.tgz"))
    }
}

/// What was asked of it.
impl FakeNode {
    /// Every call of nodetool: `nodetool snapshot -t nightly`.
    pub fn commands(&self) -> Vec<String> {
        self.calls().iter().map(Call::line).collect()
    }

    /// The same with argv, global flags and standard input.
    pub fn calls(&self) -> Vec<Call> {
        self.world.container().nodetool.calls.clone()
    }

    /// Requests and commands that change something, in the order of each; a run in check mode makes none.
    pub fn changes(&self) -> Vec<String> {
        let is_change = |line: &String| {
            let path = line.strip_prefix("POST ").unwrap_or_default();
            let is_exec = path.starts_with("/exec/") || path.ends_with("/exec");
            !path.is_empty() && !is_exec
        };
        let requests =
            self.engine.requests().iter().map(ToString::to_string).filter(is_change).collect::<Vec<_>>();
        let asks = |line: &String| {
            let asking = [
                "version",
                "status",
                "info",
                "describecluster",
                "tablestats",
                "cfstats",
                "netstats",
                "listsnapshots",
            ];
            line.split(' ').nth(1).is_some_and(|command| asking.iter().any(|word| command.starts_with(word)))
        };
        let commands = self.commands().into_iter().filter(|line| !asks(line));
        requests.into_iter().chain(commands).collect()
    }
}

fn add_table(schema: &mut Schema, keyspace: &str, table: &str) {
    let keyspace =
        schema.entry(keyspace.to_owned()).or_insert(Keyspace { replicas: 1, tables: Default::default() });
    let id = format!("{:08x}e71511f19ec941fbb22e0c5c", number() as u32);
    keyspace.tables.insert(table.to_owned(), Table { id, indexes: Vec::new() });
}
