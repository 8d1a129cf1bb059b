//! Cassandra's files on the host, as a real 5.0 node lays them out.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

/// The user of the official image, where the tests may give files away.
const CASSANDRA: u32 = 999;

/// A node's directories; the same paths inside the container and on the host.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// Below it lie all the others: what is mounted.
    pub storage: PathBuf,
    pub data: Vec<PathBuf>,
    pub commitlog: PathBuf,
    pub hints: PathBuf,
    pub saved_caches: PathBuf,
}

impl Dirs {
    pub fn below(storage: PathBuf) -> Dirs {
        Dirs {
            data: vec![storage.join("data")],
            commitlog: storage.join("commitlog"),
            hints: storage.join("hints"),
            saved_caches: storage.join("saved_caches"),
            storage,
        }
    }

    pub fn make(&self) {
        let others = [&self.commitlog, &self.hints, &self.saved_caches];
        self.data.iter().chain(others).for_each(|dir| make_dir(dir));
    }

    /// Every directory of a table by this name, a dropped one's included, in each data directory.
    pub fn tables(&self, keyspace: &str, table: &str) -> Vec<PathBuf> {
        let keyspaces = self.data.iter().map(|data| data.join(keyspace));
        let dirs = keyspaces.flat_map(|keyspace| subdirectories(&keyspace));
        dirs.filter(|dir| name(dir).rsplit_once('-').is_some_and(|(of, id)| of == table && id.len() == 32))
            .collect()
    }

    /// The first of them: where there is one data directory and no dropped table, the only one.
    pub fn table(&self, keyspace: &str, table: &str) -> PathBuf {
        let found = self.tables(keyspace, table).into_iter().next();
        found.unwrap_or_else(|| panic!("there is no directory of {keyspace}.{table}"))
    }

    /// Every table's directory, in each data directory.
    pub fn all_tables(&self) -> Vec<PathBuf> {
        let keyspaces = self.data.iter().flat_map(|data| subdirectories(data));
        keyspaces
            .flat_map(|keyspace| subdirectories(&keyspace))
            .filter(|dir| name(dir).contains('-'))
            .collect()
    }

    /// The snapshot directories of this tag.
    pub fn snapshots(&self, tag: &str) -> Vec<PathBuf> {
        let snapshots = self.all_tables().into_iter().map(|table| table.join("snapshots").join(tag));
        snapshots.filter(|snapshot| snapshot.is_dir()).collect()
    }
}

pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

pub fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    sorted(dir).into_iter().filter(|path| path.is_dir() && !path.is_symlink()).collect()
}

pub fn regular_files(dir: &Path) -> Vec<PathBuf> {
    sorted(dir).into_iter().filter(|path| path.is_file() && !path.is_symlink()).collect()
}

/// The directories of secondary indexes in a table's.
pub fn index_dirs(table: &Path) -> Vec<PathBuf> {
    subdirectories(table).into_iter().filter(|dir| name(dir).starts_with('.')).collect()
}

/// Makes a directory, with those above it, as Cassandra's user does.
pub fn make_dir(dir: &Path) {
    if dir.is_dir() {
        return;
    }
    make_dir(dir.parent().expect("a directory to make it in"));
    fs::create_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    give_away(dir, 0o755);
}

pub fn write(path: &Path, content: &[u8]) {
    make_dir(path.parent().expect("a directory to write it in"));
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    give_away(path, 0o644);
}

fn give_away(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode to be set");
    if rustix::process::geteuid().is_root() {
        lchown(path, Some(CASSANDRA), Some(CASSANDRA)).expect("the owner to be set");
    }
}

/// The components of an sstable, as its `TOC.txt` lists them.
pub const COMPONENTS: &[&str] = &[
    "Data.db",
    "Statistics.db",
    "Digest.crc32",
    "TOC.txt",
    "CompressionInfo.db",
    "Filter.db",
    "Index.db",
    "Summary.db",
];

/// One sstable with these components; the host id is in its statistics, as 5.0 has it.
pub fn write_sstable(dir: &Path, generation: usize, data: &[u8], host_id: &str, components: &[&str]) {
    let digits: String = host_id.chars().filter(|digit| *digit != '-').collect();
    let host_id =
        (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap_or(0));
    for component in components {
        let content = match *component {
            "Data.db" => data.to_owned(),
            "Statistics.db" => b"statistics\0\x01".iter().copied().chain(host_id.clone()).collect(),
            "Digest.crc32" => crc32(data).to_string().into_bytes(),
            "TOC.txt" => components.iter().map(|name| format!("{name}\n")).collect::<String>().into_bytes(),
            "CompressionInfo.db" => b"LZ4Compressor".to_vec(),
            other => other.trim_end_matches(".db").to_lowercase().into_bytes(),
        };
        write(&dir.join(format!("nb-{generation}-big-{component}")), &content);
    }
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum()
}

/// The `Data.db` files of a table, with their generations, oldest first.
pub fn data_files(dir: &Path) -> Vec<(usize, PathBuf)> {
    let files = regular_files(dir).into_iter().filter(|path| name(path).ends_with("-Data.db"));
    let mut found: Vec<(usize, PathBuf)> =
        files.filter_map(|path| Some((name(&path).split('-').nth(1)?.parse().ok()?, path))).collect();
    found.sort();
    found
}

/// Hard links of the live files, and the manifest that Cassandra writes beside them in one data directory.
pub fn snapshot(table_dirs: &[PathBuf], tag: &str, schema: Option<&str>) {
    let mut listed = Vec::new();
    for dir in table_dirs {
        let snapshot = dir.join("snapshots").join(tag);
        make_dir(&snapshot);
        let indexes = index_dirs(dir).into_iter().map(|index| (format!("{}/", name(&index)), index));
        for (below, from) in std::iter::once((String::new(), dir.clone())).chain(indexes) {
            for file in regular_files(&from).iter().filter(|file| name(file).contains("-big-")) {
                let link = snapshot.join(format!("{below}{}", name(file)));
                make_dir(link.parent().expect("the snapshot's directory"));
                fs::hard_link(file, &link).unwrap_or_else(|error| panic!("{}: {error}", link.display()));
                if name(file).ends_with("-Data.db") {
                    listed.push(format!("\"{below}{}\"", name(file)));
                }
            }
        }
    }
    let files = if listed.is_empty() { "[ ]".to_owned() } else { format!("[ {} ]", listed.join(", ")) };
    let manifest = format!(
        "{{\n  \"files\" : {files},\n  \"created_at\" : \"2026-11-23T08:09:46.961Z\",\n  \"expires_at\" : null,\n  \
         \"ephemeral\" : false\n}}"
    );
    let first = table_dirs[0].join("snapshots").join(tag);
    write(&first.join("manifest.json"), manifest.as_bytes());
    if let Some(schema) = schema {
        write(&first.join("schema.cql"), schema.as_bytes());
    }
}

/// What is below a directory, by relative path.
pub type Tree = BTreeMap<String, Entry>;

/// All of a file that a backup and restore must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `file`, `dir` or `other`.
    pub kind: &'static str,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Of the content, or of a symlink's target; a large sparse file counts by its size alone.
    pub hash: u64,
    /// Seconds and nanoseconds; of files only, as a directory's changes with what is done in it.
    pub mtime: (i64, i64),
}

pub fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for path in sorted(&dir) {
            let about = fs::symlink_metadata(&path).expect("a file that stays");
            let mut entry = Entry {
                kind: "other",
                mode: about.mode() & 0o7777,
                uid: about.uid(),
                gid: about.gid(),
                size: 0,
                hash: 0,
                mtime: (0, 0),
            };
            if about.is_dir() {
                entry.kind = "dir";
                waiting.push(path.clone());
            } else if about.is_file() {
                let content =
                    if about.len() > 1 << 24 { Vec::new() } else { fs::read(&path).expect("its content") };
                let mtime = (about.mtime(), about.mtime_nsec());
                entry = Entry { kind: "file", size: about.len(), hash: hash(&content), mtime, ..entry };
            } else if let Ok(target) = fs::read_link(&path) {
                entry.hash = hash(target.as_os_str().as_encoded_bytes());
            }
            let below = path.strip_prefix(root).expect("a path below the root");
            found.insert(below.to_string_lossy().into_owned(), entry);
        }
    }
    found
}

/// [`tree`] with the times of the directories too: nothing was made and removed again in one of them.
pub fn tree_with_times(root: &Path) -> Tree {
    let mut found = tree(root);
    for (path, entry) in found.iter_mut().filter(|(_, entry)| entry.kind == "dir") {
        let about = fs::symlink_metadata(root.join(path)).expect("a directory that stays");
        entry.mtime = (about.mtime(), about.mtime_nsec());
    }
    found
}

/// The same on every run.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
