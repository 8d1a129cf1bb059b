//! What Cassandra itself does: who it is and which tables it has are read from its files at a start, as in a real one.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::files::{COMPONENTS, Dirs, data_files, hash, make_dir, name, regular_files, write, write_sstable};
use super::identity::{Identity, Schema, number, read_newest, uuid};
use super::tables::{LOCAL, SMALL, SYSTEM_TABLES, TABLES};

/// One start that succeeded, with what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub host_id: String,
    /// Whether it made itself a new identity: the data directory had none.
    pub is_new_node: bool,
    /// Writes of the commit log that it replayed, as `ks.table`.
    pub replayed: Vec<String>,
    /// Names of the files found there.
    pub hints: Vec<String>,
    pub saved_caches: Vec<String>,
}

pub struct Cassandra {
    pub dirs: Dirs,
    pub version: String,
    pub cluster_name: String,
    pub num_tokens: usize,
    /// Where clients connect, while it runs.
    pub port: u16,
    pub dies_on_start: bool,
    pub starts_as_somebody_else: bool,
    /// How many requests to the Engine a start takes until clients can connect.
    pub ready_after_requests: usize,
    /// With the fewest tables and files that make a node.
    pub is_small: bool,
    pub identity: Option<Identity>,
    pub schema: Schema,
    /// Cells that are not flushed yet, by `ks.table`.
    pub memtables: BTreeMap<String, usize>,
    pub starts: Vec<Start>,
    pub log: String,
    pub is_drained: bool,
    starting: usize,
    is_running: bool,
    clients: Option<TcpListener>,
}

impl Cassandra {
    pub fn new(storage: PathBuf) -> Cassandra {
        Cassandra {
            dirs: Dirs::below(storage),
            version: "5.0.5".to_owned(),
            cluster_name: "Test Cluster".to_owned(),
            num_tokens: 16,
            port: free_port(),
            dies_on_start: false,
            starts_as_somebody_else: false,
            ready_after_requests: 0,
            is_small: false,
            identity: None,
            schema: Schema::new(),
            memtables: BTreeMap::new(),
            starts: Vec::new(),
            log: String::new(),
            is_drained: false,
            starting: 0,
            is_running: false,
            clients: None,
        }
    }

    /// The exit code where it does not come up.
    pub fn start(&mut self) -> Result<(), i64> {
        self.note("INFO  [main] CassandraDaemon.java:747 - Startup");
        if self.dies_on_start {
            return Err(self.died(1, "ERROR [main] Exception encountered during startup: the test says so"));
        }
        if let Some(blocked) =
            self.dirs.data.iter().map(|data| data.join("system")).find(|path| path.is_file())
        {
            return Err(
                self.died(3, &format!("ERROR [main] FSWriteError: {}: not a directory", blocked.display()))
            );
        }
        self.dirs.make();
        let found = match read_newest::<Identity>(&self.dirs, "system", LOCAL) {
            Ok(found) => found.filter(|_| !self.starts_as_somebody_else),
            Err(file) => {
                return Err(
                    self.died(100, &format!("ERROR [main] CorruptSSTableException: {}", file.display()))
                );
            }
        };
        self.schema = match read_newest::<Schema>(&self.dirs, "system_schema", TABLES) {
            Ok(schema) => schema.unwrap_or_default(),
            Err(file) => {
                return Err(
                    self.died(100, &format!("ERROR [main] CorruptSSTableException: {}", file.display()))
                );
            }
        };
        if let Some(saved) = &found {
            let (name, tokens) = (&self.cluster_name, self.num_tokens);
            let refused = if saved.cluster_name != *name {
                Some(format!(
                    "ERROR [main] Saved cluster name {} != configured name {name}",
                    saved.cluster_name
                ))
            } else if saved.tokens.len() != tokens {
                Some(format!(
                    "ERROR [main] Cannot change the number of tokens from {} to {tokens}",
                    saved.tokens.len()
                ))
            } else {
                None
            };
            if let Some(refused) = refused {
                return Err(self.died(3, &refused));
            }
        }
        let is_new_node = found.is_none();
        let identity = found.unwrap_or_else(|| Identity::new(&self.cluster_name, self.num_tokens));
        self.identity = Some(identity.clone());
        self.remove_orphans();
        self.make_tables();
        self.write_local();
        let start = Start {
            host_id: identity.host_id,
            is_new_node,
            replayed: self.replay(),
            hints: regular_files(&self.dirs.hints).iter().map(|path| name(path)).collect(),
            saved_caches: regular_files(&self.dirs.saved_caches).iter().map(|path| name(path)).collect(),
        };
        self.starts.push(start);
        (self.is_running, self.is_drained) = (true, false);
        self.starting = self.ready_after_requests;
        self.open_to_clients();
        Ok(())
    }

    /// As on SIGTERM: it drains. Killed, its commit log keeps what was not flushed.
    pub fn stop(&mut self, is_killed: bool) {
        if self.is_running && !is_killed {
            self.drain();
            write(&self.dirs.saved_caches.join("KeyCache-f.db"), b"keys");
        }
        self.memtables.clear();
        self.clients = None;
        self.is_running = false;
    }

    /// It is as it was at some other time, its files with it.
    pub fn resume(&mut self, is_running: bool, is_drained: bool) {
        (self.is_running, self.is_drained, self.starting) = (is_running, is_drained, 0);
        match is_running && !is_drained {
            true => self.open_to_clients(),
            false => self.close_to_clients(),
        }
    }

    pub fn drain(&mut self) {
        self.flush();
        self.clients = None;
        self.is_drained = true;
        self.note("INFO  [StorageServiceShutdownHook] StorageService.java:524 - DRAINED");
    }

    /// Whether nodetool can reach it.
    pub fn answers(&self) -> bool {
        self.is_running && self.starting == 0
    }

    pub fn is_open_to_clients(&self) -> bool {
        self.clients.is_some()
    }

    /// A request came to the Engine: time passes.
    pub fn tick(&mut self) {
        if self.is_running && self.starting > 0 {
            self.starting -= 1;
            self.open_to_clients();
        }
    }

    pub fn open_to_clients(&mut self) {
        if self.starting == 0 && self.clients.is_none() {
            self.clients = Some(listen(self.port));
        }
    }

    pub fn close_to_clients(&mut self) {
        self.clients = None;
    }

    /// A client's write, which is in the memory and the commit log only.
    pub fn write(&mut self, table: &str) {
        *self.memtables.entry(table.to_owned()).or_default() += 1;
        let segment = self.segment();
        let log = fs::read(&segment).unwrap_or_default();
        write(&segment, &[&log[..], format!("{table}\n").as_bytes()].concat());
    }

    pub fn flush(&mut self) {
        for (table, cells) in std::mem::take(&mut self.memtables) {
            let (keyspace, table) = table.split_once('.').expect("keyspace.table");
            self.add_sstable(keyspace, table, format!("{cells} rows written later\n").as_bytes());
        }
        regular_files(&self.dirs.commitlog).iter().for_each(|segment| remove(segment));
        self.new_segment();
    }

    /// Writes an sstable of a table that is there, to the data directory whose turn it is.
    pub fn add_sstable(&self, keyspace: &str, table: &str, data: &[u8]) -> PathBuf {
        let dirs = self.table_dirs(keyspace, table);
        let newest = dirs.iter().flat_map(|dir| data_files(dir)).map(|(generation, _)| generation).max();
        let generation = newest.unwrap_or(0) + 1;
        let dir = &dirs[(generation - 1) % dirs.len()];
        write_sstable(dir, generation, data, self.host_id(), self.components());
        dir.join(format!("nb-{generation}-big-Data.db"))
    }

    /// The directories of a live table: the local system tables lie in the first data directory only.
    pub fn table_dirs(&self, keyspace: &str, table: &str) -> Vec<PathBuf> {
        let own = self.own_tables().find(|known| known.0 == keyspace && known.1 == table);
        let users = || self.schema.get(keyspace)?.tables.get(table).map(|about| about.id.as_str());
        let id = own.map(|known| known.2).or_else(users);
        let id = id.unwrap_or_else(|| panic!("there is no table {keyspace}.{table}"));
        let is_local = matches!(keyspace, "system" | "system_schema");
        let data = if is_local { &self.dirs.data[..1] } else { &self.dirs.data[..] };
        data.iter().map(|data| data.join(keyspace).join(format!("{table}-{id}"))).collect()
    }

    /// The tables that it makes for itself.
    fn own_tables(&self) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str, usize)> {
        let is_small = self.is_small;
        SYSTEM_TABLES.iter().filter(move |known| !is_small || SMALL.contains(&(known.0, known.1)))
    }

    /// The components of its sstables.
    pub fn components(&self) -> &'static [&'static str] {
        if self.is_small { &["Data.db", "TOC.txt"] } else { COMPONENTS }
    }

    /// Every live table: keyspace, table, id.
    pub fn tables(&self) -> Vec<(String, String, String)> {
        let own = self.own_tables().map(|(keyspace, table, id, _)| (*keyspace, *table, *id));
        let users = self.schema.iter().flat_map(|(keyspace, has)| {
            has.tables.iter().map(|(table, about)| (keyspace.as_str(), table.as_str(), about.id.as_str()))
        });
        own.chain(users)
            .map(|(keyspace, table, id)| (keyspace.to_owned(), table.to_owned(), id.to_owned()))
            .collect()
    }

    /// Changes the schema, on disk as well; what it names gets its directories.
    pub fn alter_schema<T>(&mut self, change: impl FnOnce(&mut Schema) -> T) -> T {
        let changed = change(&mut self.schema);
        self.make_tables();
        regular_files(&self.table_dirs("system_schema", "tables")[0]).iter().for_each(|old| remove(old));
        self.add_sstable("system_schema", "tables", &serde_json::to_vec(&self.schema).expect("JSON"));
        changed
    }

    pub fn host_id(&self) -> &str {
        self.identity.as_ref().map_or("", |identity| &identity.host_id)
    }

    /// One value for one schema, whatever node has it.
    pub fn schema_version(&self) -> String {
        uuid(hash(&serde_json::to_vec(&self.schema).expect("JSON")))
    }

    /// The directories of all live tables; a table of the system's own gets its sstable with them.
    fn make_tables(&self) {
        for (keyspace, table, _) in self.tables() {
            let dirs = self.table_dirs(&keyspace, &table);
            let is_made = dirs[0].is_dir();
            dirs.iter().for_each(|dir| make_dir(dir));
            let has_sstable =
                |known: &&(&str, &str, &str, usize)| known.0 == keyspace && known.1 == table && known.3 > 0;
            if !is_made
                && table != "local"
                && table != "tables"
                && SYSTEM_TABLES.iter().any(|known| has_sstable(&known))
            {
                self.add_sstable(&keyspace, &table, format!("rows of {keyspace}.{table}\n").as_bytes());
            }
        }
        let repairs = self.dirs.data[0].join("system/_paxos_repair_state/ballot.meta");
        if !repairs.exists() {
            write(&repairs, b"ballot");
        }
        let schema = &self.table_dirs("system_schema", "tables")[0];
        if data_files(schema).is_empty() {
            self.add_sstable("system_schema", "tables", &serde_json::to_vec(&self.schema).expect("JSON"));
        }
    }

    /// Every start writes `system.local` anew; the sstable before the last is compacted away.
    fn write_local(&self) {
        let dir = &self.table_dirs("system", "local")[0];
        self.add_sstable("system", "local", &serde_json::to_vec(&self.identity).expect("JSON"));
        let generations: Vec<usize> = data_files(dir).into_iter().map(|(generation, _)| generation).collect();
        for old in &generations[..generations.len().saturating_sub(2)] {
            let prefix = format!("nb-{old}-");
            let files = regular_files(dir).into_iter().filter(|path| name(path).starts_with(&prefix));
            files.for_each(|path| remove(&path));
        }
    }

    /// What has no `Data.db`, or an empty one, is deleted without asking.
    fn remove_orphans(&mut self) {
        for dir in self.dirs.all_tables() {
            for file in regular_files(&dir) {
                let file_name = name(&file);
                let Some((sstable, _)) = file_name.split_once("-big-") else { continue };
                let data = dir.join(format!("{sstable}-big-Data.db"));
                if !fs::metadata(&data).is_ok_and(|about| about.len() > 0) {
                    remove(&file);
                    self.note(&format!("WARN  [main] Removing orphans for {}/{sstable}", dir.display()));
                }
            }
        }
    }

    /// Replays the commit log and begins a new segment.
    fn replay(&mut self) -> Vec<String> {
        let mut replayed = Vec::new();
        for segment in regular_files(&self.dirs.commitlog) {
            let text = fs::read_to_string(&segment).unwrap_or_default();
            let known = self.tables();
            let is_known = |table: &&str| known.iter().any(|(ks, name, _)| format!("{ks}.{name}") == **table);
            replayed.extend(text.lines().filter(|line| is_known(line)).map(str::to_owned));
            remove(&segment);
        }
        replayed.iter().for_each(|table| *self.memtables.entry(table.clone()).or_default() += 1);
        // A real one too writes out what it replayed before it serves.
        self.flush();
        replayed
    }

    fn segment(&self) -> PathBuf {
        regular_files(&self.dirs.commitlog).pop().unwrap_or_else(|| self.new_segment())
    }

    fn new_segment(&self) -> PathBuf {
        let segment = self.dirs.commitlog.join(format!("CommitLog-7-{:020}.log", number()));
        write(&segment, b"");
        segment
    }

    fn died(&mut self, exit_code: i64, log: &str) -> i64 {
        self.note(log);
        exit_code
    }

    pub fn note(&mut self, line: &str) {
        self.log.push_str(line);
        self.log.push('\n');
    }
}

fn remove(file: &Path) {
    fs::remove_file(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// Another test's node may try for a moment whether the port is free.
fn listen(port: u16) -> TcpListener {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            bound => return bound.expect("the client port"),
        }
    }
}

/// A port below those that the kernel gives away by itself: it stays this node's while nothing listens on it.
fn free_port() -> u16 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let first = u64::from(std::process::id()) * 61;
    loop {
        let at = first + CALLS.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from(at % 20_000).expect("it fits");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
