//! A model of a journaling filesystem that loses power.
//!
//! What is in a file, and which names a directory has, is in memory until it is synced. A rename or an exchange is one
//! step in both of its directories: it is found in both or in neither, and so is there for good once either is synced.
//! What happened in one directory is kept in the order in which it happened: where a later change is found, so are all
//! earlier ones of that directory. Between directories there is no order. A file that was written and not synced may be
//! empty, cut short, or whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Effect, copy};

type Id = usize;

#[derive(Debug, Clone)]
enum Inode {
    Directory,
    File(Bytes),
}

#[derive(Debug, Clone)]
enum Bytes {
    /// As this file of another tree, with its owner and mode.
    As(PathBuf),
    /// Written by the run; `None` until it is synced first.
    Own(Option<Vec<u8>>),
}

#[derive(Debug, Clone)]
struct Change {
    /// Directory, name, what has the name from then on.
    sets: Vec<(Id, String, Option<Id>)>,
    is_durable: bool,
    /// Cassandra's own: it syncs what it writes.
    is_foreign: bool,
}

/// Which of a file's bytes are found that were never synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    Nothing,
    Half,
    All,
}

#[derive(Debug)]
pub struct Disk {
    /// Names as the log has them are below it.
    host: PathBuf,
    inodes: Vec<Inode>,
    /// The names at first, and now.
    before: BTreeMap<Id, BTreeMap<String, Id>>,
    now: BTreeMap<Id, BTreeMap<String, Id>>,
    changes: Vec<Change>,
    unsynced: BTreeSet<Id>,
    /// Directories of inodes that the run made.
    made: BTreeSet<Id>,
}

const ROOT: Id = 0;

impl Disk {
    /// All that is below `tree` is on the disk of `host`, for good.
    pub fn new(host: &Path, tree: &Path) -> Disk {
        let mut disk = Disk {
            host: host.to_owned(),
            inodes: vec![Inode::Directory],
            before: BTreeMap::from([(ROOT, BTreeMap::new())]),
            now: BTreeMap::new(),
            changes: Vec::new(),
            unsynced: BTreeSet::new(),
            made: BTreeSet::new(),
        };
        disk.now = disk.before.clone();
        for part in ["cassandra", "state", "backup"] {
            if tree.join(part).exists() {
                let id = disk.load(&tree.join(part));
                disk.now.get_mut(&ROOT).expect("the root").insert(part.to_owned(), id);
            }
        }
        disk.before = disk.now.clone();
        disk
    }

    fn load(&mut self, path: &Path) -> Id {
        if !path.is_dir() {
            return self.add(Inode::File(Bytes::As(path.to_owned())));
        }
        let id = self.add(Inode::Directory);
        let entries: Vec<_> = fs::read_dir(path)
            .expect("a listing")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        for name in entries {
            let below = self.load(&path.join(&name));
            self.now.entry(id).or_default().insert(name.to_string_lossy().into_owned(), below);
        }
        id
    }

    fn add(&mut self, inode: Inode) -> Id {
        let id = self.inodes.len();
        if matches!(inode, Inode::Directory) {
            self.now.insert(id, BTreeMap::new());
        }
        self.inodes.push(inode);
        id
    }

    fn names(&self, path: &Path) -> Vec<String> {
        let below =
            path.strip_prefix(&self.host).unwrap_or_else(|_| panic!("{} is elsewhere", path.display()));
        below.components().map(|name| name.as_os_str().to_string_lossy().into_owned()).collect()
    }

    /// What has this path now.
    pub fn find(&self, path: &Path) -> Option<Id> {
        self.names(path).iter().try_fold(ROOT, |dir, name| self.now.get(&dir)?.get(name).copied())
    }

    fn place(&self, path: &Path) -> (Id, String) {
        let dir = self
            .find(path.parent().expect("a directory"))
            .unwrap_or_else(|| panic!("nothing holds {}", path.display()));
        (dir, path.file_name().expect("a name").to_string_lossy().into_owned())
    }

    fn set(&mut self, sets: Vec<(Id, String, Option<Id>)>, is_foreign: bool) {
        for (dir, name, id) in &sets {
            let names = self.now.get_mut(dir).expect("a directory");
            match id {
                Some(id) => drop(names.insert(name.clone(), *id)),
                None => drop(names.remove(name)),
            }
        }
        self.changes.push(Change { sets, is_durable: is_foreign, is_foreign });
    }

    /// Does what a step did.
    pub fn apply(&mut self, effect: &Effect) {
        match effect.kind.as_str() {
            "MakeDir" => {
                let (dir, name) = self.place(&effect.path);
                let id = self.add(Inode::Directory);
                self.made.insert(id);
                self.set(vec![(dir, name, Some(id))], false);
            }
            "Create" if self.find(&effect.path).is_none() => {
                let (dir, name) = self.place(&effect.path);
                let id = self.add(Inode::File(Bytes::Own(None)));
                self.made.insert(id);
                self.set(vec![(dir, name, Some(id))], false);
            }
            "Write" => {
                let id = self.find(&effect.path).expect("the file that is written");
                self.unsynced.insert(id);
            }
            "Sync" => {
                let id = self.find(&effect.path).expect("the file that is synced");
                self.inodes[id] = Inode::File(Bytes::Own(effect.bytes()));
                self.unsynced.remove(&id);
            }
            "SyncDir" => {
                let id = self.find(&effect.path).expect("the directory that is synced");
                self.keep_all_of(id);
            }
            "Rename" | "Exchange" => {
                let (from, to) = (&effect.path, effect.to.as_ref().expect("where to"));
                let (one, other) = (self.place(from), self.place(to));
                let (moved, there) = (self.find(from), self.find(to));
                let back = if effect.kind == "Exchange" { there } else { None };
                self.set(vec![(one.0, one.1, back), (other.0, other.1, moved)], false);
            }
            "Remove" => {
                let (dir, name) = self.place(&effect.path);
                self.set(vec![(dir, name, None)], false);
            }
            _ => {}
        }
    }

    /// Cassandra has left this below `root`; it has synced it.
    pub fn is_now_as(&mut self, root: &Path, tree: &Path) {
        let Some(dir) = self.find(root) else { return };
        let is = self.now[&dir].clone();
        for name in is.keys().filter(|name| !tree.join(name).exists()) {
            self.set(vec![(dir, name.clone(), None)], true);
        }
        for entry in fs::read_dir(tree).expect("a listing").flatten() {
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            match is.get(&name) {
                Some(id) if path.is_dir() && self.now.contains_key(id) => {
                    self.is_now_as(&root.join(&name), &path)
                }
                Some(id) if !path.is_dir() && self.bytes(*id) == fs::read(&path).expect("its content") => {}
                _ => {
                    let id = self.load(&path);
                    self.keep_loaded(id);
                    self.set(vec![(dir, name, Some(id))], true);
                }
            }
        }
    }

    fn keep_loaded(&mut self, id: Id) {
        let Some(names) = self.now.get(&id).cloned() else { return };
        self.before.insert(id, names.clone());
        names.values().for_each(|id| self.keep_loaded(*id));
    }

    fn bytes(&self, id: Id) -> Vec<u8> {
        match &self.inodes[id] {
            Inode::File(Bytes::As(path)) => fs::read(path).expect("its content"),
            Inode::File(Bytes::Own(bytes)) => bytes.clone().unwrap_or_default(),
            Inode::Directory => Vec::new(),
        }
    }

    /// The directory is synced: what happened in it is kept, and all that has to be kept with that.
    fn keep_all_of(&mut self, dir: Id) {
        let mut keep: BTreeSet<usize> = (0..self.changes.len()).filter(|at| self.touches(*at, dir)).collect();
        self.close(&mut keep);
        keep.iter().for_each(|at| self.changes[*at].is_durable = true);
    }

    fn touches(&self, at: usize, dir: Id) -> bool {
        !self.changes[at].is_foreign && self.changes[at].sets.iter().any(|(touched, ..)| *touched == dir)
    }

    /// Adds whatever came before in the same directories.
    fn close(&self, keep: &mut BTreeSet<usize>) {
        let mut waiting: Vec<usize> = keep.iter().copied().collect();
        while let Some(at) = waiting.pop() {
            for (dir, ..) in &self.changes[at].sets {
                for earlier in (0..at).filter(|earlier| self.touches(*earlier, *dir)) {
                    if keep.insert(earlier) {
                        waiting.push(earlier);
                    }
                }
            }
        }
    }

    /// The changes that a power cut may lose.
    pub fn volatile(&self) -> Vec<usize> {
        (0..self.changes.len()).filter(|at| !self.changes[*at].is_durable).collect()
    }

    /// Those in these directories, by what is asked of their paths.
    pub fn shows(&self, at: usize) -> Vec<String> {
        self.changes[at].sets.iter().map(|(dir, name, _)| format!("{}/{name}", self.path_of(*dir))).collect()
    }

    fn path_of(&self, id: Id) -> String {
        let holder = self.now.iter().find_map(|(dir, names)| {
            let name = names.iter().find(|(_, held)| **held == id)?.0;
            Some((*dir, name.clone()))
        });
        match holder {
            Some((dir, name)) if id != ROOT => format!("{}/{name}", self.path_of(dir)),
            _ => String::new(),
        }
    }

    /// What below this is not on the disk yet.
    pub fn unsynced_below(&self, id: Id) -> Vec<String> {
        let mut found = Vec::new();
        if self.unsynced.contains(&id) {
            found.push(self.path_of(id));
        }
        let volatile = self.volatile();
        if self.now.contains_key(&id) && volatile.iter().any(|at| self.touches(*at, id)) {
            found.push(self.path_of(id));
        }
        let below = self.now.get(&id).into_iter().flat_map(|names| names.values());
        found.extend(below.flat_map(|below| self.unsynced_below(*below)));
        found
    }

    /// Makes the tree that is found after a power cut which these changes have survived, besides those that must.
    pub fn materialise(&self, kept: &[usize], unsynced: Unsynced) {
        let mut keep: BTreeSet<usize> =
            (0..self.changes.len()).filter(|at| self.changes[*at].is_durable).collect();
        keep.extend(kept);
        self.close(&mut keep);
        let mut names = self.before.clone();
        for (dir, name, id) in keep.iter().flat_map(|at| &self.changes[*at].sets) {
            let names = names.entry(*dir).or_default();
            match id {
                Some(id) => drop(names.insert(name.clone(), *id)),
                None => drop(names.remove(name)),
            }
        }
        for part in ["cassandra", "state"] {
            let path = self.host.join(part);
            fs::remove_dir_all(&path).ok();
            if let Some(id) = names.get(&ROOT).and_then(|names| names.get(part)) {
                self.make(*id, &path, &names, unsynced);
            }
        }
    }

    fn make(&self, id: Id, path: &Path, names: &BTreeMap<Id, BTreeMap<String, Id>>, unsynced: Unsynced) {
        match &self.inodes[id] {
            Inode::Directory => {
                fs::create_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                for (name, below) in names.get(&id).into_iter().flatten() {
                    self.make(*below, &path.join(name), names, unsynced);
                }
                self.give_away(path, if path.to_string_lossy().contains("/state") { 0o700 } else { 0o755 });
            }
            Inode::File(Bytes::As(source)) => copy(source, path),
            Inode::File(Bytes::Own(_)) => {
                let bytes = self.bytes(id);
                let found = match unsynced {
                    _ if !self.unsynced.contains(&id) => bytes.len(),
                    Unsynced::Nothing => 0,
                    Unsynced::Half => bytes.len() / 2,
                    Unsynced::All => bytes.len(),
                };
                fs::write(path, &bytes[..found]).expect("a file written");
                self.give_away(path, 0o644);
            }
        }
    }

    /// Owners and modes are not in the log: Cassandra's user has what is not ours.
    fn give_away(&self, path: &Path, mode: u32) {
        use std::os::unix::fs::{PermissionsExt, chown};
        let is_levels =
            |name: &str| matches!(name, "staged" | "previous" | "undone" | "replaced" | "run" | "run.new");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let is_ours = path.starts_with(self.host.join("state"))
            || name.starts_with(".cassandra_restore-")
            || is_levels(&name);
        if is_ours {
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
        } else {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
            if rustix::process::geteuid().is_root() {
                chown(path, Some(999), Some(999)).expect("its owner");
            }
        }
    }

    /// A file that is written and will be synced: what it will hold is known from the log's end.
    pub fn foretell(&mut self, effects: &[Effect]) {
        for id in self.unsynced.clone() {
            let path = format!("{}{}", self.host.display(), self.path_of(id));
            let synced =
                effects.iter().find(|effect| effect.kind == "Sync" && effect.path == Path::new(&path));
            if let Some(bytes) = synced.and_then(Effect::bytes) {
                self.inodes[id] = Inode::File(Bytes::Own(Some(bytes)));
            }
        }
    }
}
