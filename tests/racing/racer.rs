//! Whoever owns what is mounted: he renames, replaces and plants there while a module works in it as root.
//!
//! The racer is a thread with the credentials of the node's user, or of root in the container, and with the mount as
//! its root directory. So it reaches what a container reaches and nothing else, whatever symlink it runs into.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use rustix::process::{Gid, Uid, chroot};
use rustix::thread::{
    UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
};

use crate::canaries::Canaries;
use crate::mount::{DECOY, POOL, stock};

/// Which paths are attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The node's directories and keyspaces, and the work directories beside them.
    Roots,
    /// The levels of the work directories, their marks, and what lies below.
    Work,
    /// Tables and files of the live data.
    Live,
    /// The files of one table's snapshot, between their being listed and their being packed.
    Snapshots,
    Anything,
}

pub struct Racer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    is_paused: AtomicBool,
    /// By kind: what was planted or renamed.
    attacks: Mutex<BTreeMap<&'static str, u64>>,
    /// What could not be taken back: the module had moved it meanwhile.
    lost: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Racing,
    Rest,
    Resting,
    End,
}

impl Racer {
    /// Begins at rest.
    pub fn on(mount: &Path, canaries: &Canaries, uid: u32, target: Target, round: u64) -> Racer {
        let shared = Arc::new(Shared {
            wanted: Mutex::new(Wanted::Rest),
            changed: Condvar::new(),
            is_paused: AtomicBool::new(false),
            attacks: Mutex::default(),
            lost: AtomicU64::new(0),
        });
        stock(&mount.join(POOL), canaries);
        let (mount, own) = (mount.to_owned(), shared.clone());
        let links = [canaries.directory(), canaries.file()];
        let thread = std::thread::spawn(move || {
            enter(&mount, uid);
            let patience =
                if target == Target::Snapshots { 8000 } else { [300, 3000, 1000][round as usize % 3] };
            let (random, favourite) = ((round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, round / 5 % 6);
            let mut hands = Hands { random, patience, favourite, target, links, shared: &own };
            while own.may_race() {
                hands.attack();
            }
        });
        let racer = Racer { shared, thread: Some(thread) };
        racer.rest();
        racer
    }

    pub fn race(&self) {
        *self.shared.wanted.lock().unwrap() = Wanted::Racing;
        self.shared.changed.notify_all();
    }

    /// Goes on where it was [`Racer::pause`]d.
    pub fn go_on(&self) {
        if self.shared.is_paused.swap(false, Ordering::Relaxed) {
            self.race();
        }
    }

    /// A rest only for a racer who is at it.
    pub fn pause(&self) {
        let is_racing = *self.shared.wanted.lock().unwrap() == Wanted::Racing;
        self.shared.is_paused.store(is_racing, Ordering::Relaxed);
        self.rest();
    }

    /// Returns once the last attack was taken back.
    pub fn rest(&self) {
        let mut wanted = self.shared.wanted.lock().unwrap();
        if *wanted == Wanted::Resting {
            return;
        }
        *wanted = Wanted::Rest;
        drop(self.shared.changed.wait_while(wanted, |wanted| *wanted == Wanted::Rest).unwrap());
    }

    pub fn attacks(&self) -> BTreeMap<&'static str, u64> {
        self.shared.attacks.lock().unwrap().clone()
    }

    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        *self.shared.wanted.lock().unwrap() = Wanted::End;
        self.shared.changed.notify_all();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the racer gave up");
    }
}

impl Shared {
    fn is_asked_to_rest(&self) -> bool {
        *self.wanted.lock().unwrap() != Wanted::Racing
    }

    fn may_race(&self) -> bool {
        let mut wanted = self.wanted.lock().unwrap();
        if *wanted == Wanted::Rest {
            *wanted = Wanted::Resting;
            self.changed.notify_all();
        }
        let wanted = self.changed.wait_while(wanted, |wanted| *wanted == Wanted::Resting).unwrap();
        *wanted != Wanted::End
    }
}

/// From here on this thread is in the container.
fn enter(mount: &Path, uid: u32) {
    // SAFETY: only the table of open files may not be unshared from under others; this is the root directory's.
    unsafe { unshare_unsafe(UnshareFlags::FS) }.expect("a root directory of its own");
    chroot(mount).expect("the mount as its root directory");
    std::env::set_current_dir("/").expect("the root directory");
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    set_thread_groups(&[]).expect("no groups");
    set_thread_res_gid(group, group, group).expect("its group");
    set_thread_res_uid(user, user, user).expect("its user");
}

struct Hands<'a> {
    random: u64,
    /// In microseconds.
    patience: u64,
    /// What he plants most of the time: a run comes far that meets one kind of thing only.
    favourite: u64,
    target: Target,
    /// On the host: a directory and a file that are none of the container's business.
    links: [PathBuf; 2],
    shared: &'a Shared,
}

/// Names that mean something to the modules, wherever they are.
const NAMES: [&str; 14] = [
    "system",
    "staged",
    "previous",
    "undone",
    "replaced",
    "replaced-undone",
    "run",
    "run.new",
    "probe-1",
    "ks1",
    "snapshots",
    "nightly",
    ".cassandra_restore-data",
    "backups",
];
const ROOTS: [&str; 11] = [
    "data/system",
    "data/ks1",
    "data/system_schema",
    "data",
    "commitlog",
    "hints",
    "saved_caches",
    ".cassandra_restore-data",
    ".cassandra_restore-commitlog",
    ".cassandra_restore-hints",
    ".cassandra_restore-saved_caches",
];

impl Hands<'_> {
    /// Does something, and after a moment takes it back.
    fn attack(&mut self) {
        let target = self.choose();
        let done = match self.below(6) {
            0 | 1 if self.target == Target::Snapshots && self.below(4) != 0 => self.exchange(&target),
            0 => self.plant_below(&target),
            1 => self.rename_away(&target),
            2..=4 if self.target == Target::Work => self.plant_before_it_is_made(),
            _ if target.symlink_metadata().is_err() => self.plant(&target),
            _ => self.exchange(&target),
        };
        match done {
            Some(kind) => *self.shared.attacks.lock().unwrap().entry(kind).or_default() += 1,
            // What is not there cannot be attacked.
            None => std::thread::sleep(Duration::from_micros(50)),
        }
        // Some are fierce and meet whatever is done first, some leave enough alone for a run to come far.
        if self.below(3) == 0 || self.target == Target::Snapshots {
            let pause = self.below(self.patience);
            std::thread::sleep(Duration::from_micros(pause));
        }
    }

    fn exchange(&mut self, target: &Path) -> Option<&'static str> {
        let bait = self.pool_path("bait");
        clear(&bait);
        let (kind, made) = self.make(&bait, target);
        let bait = made?;
        let swapped = renameat_with(CWD, &bait, CWD, target, RenameFlags::EXCHANGE).is_ok();
        if swapped {
            let inode = |path: &Path| fs::symlink_metadata(path).ok().map(|about| about.ino());
            let planted = inode(target);
            self.hold();
            let is_still_there = inode(target) == planted;
            if !is_still_there || renameat_with(CWD, &bait, CWD, target, RenameFlags::EXCHANGE).is_err() {
                // The module has taken the bait along: what it was put for comes back as well as it can.
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                renameat_with(CWD, &bait, CWD, target, RenameFlags::NOREPLACE).ok();
            }
        }
        clear(&bait);
        swapped.then_some(kind)
    }

    fn rename_away(&mut self, target: &Path) -> Option<&'static str> {
        let away = self.pool_path("away");
        clear(&away);
        renameat_with(CWD, target, CWD, &away, RenameFlags::NOREPLACE).ok()?;
        self.hold();
        if renameat_with(CWD, &away, CWD, target, RenameFlags::NOREPLACE).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        Some("renamed away")
    }

    fn plant_below(&mut self, target: &Path) -> Option<&'static str> {
        let dir = if fs::symlink_metadata(target).ok()?.is_dir() { target } else { target.parent()? };
        let name = NAMES[self.below(NAMES.len() as u64) as usize];
        self.plant(&dir.join(name))
    }

    /// Under a name that is about to be unpacked, or set aside.
    fn plant_before_it_is_made(&mut self) -> Option<&'static str> {
        let live = self.below_a_keyspace(2);
        let name = live.strip_prefix("/data").ok()?;
        let level = ["staged", "staged", "previous", "undone"][self.below(4) as usize];
        self.plant(&Path::new("/.cassandra_restore-data").join(level).join(name))
    }

    fn plant(&mut self, path: &Path) -> Option<&'static str> {
        let planted = self.make(path, path).1?;
        let inode = |path: &Path| fs::symlink_metadata(path).ok().map(|about| about.ino());
        let own = inode(&planted);
        self.hold();
        if own == inode(&planted) {
            clear(&planted);
        }
        if inode(&planted).is_some() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        Some("planted")
    }

    /// Makes a thing that is no Cassandra's, to stand for another; none where the name is taken.
    fn make(&mut self, path: &Path, stands_for: &Path) -> (&'static str, Option<PathBuf>) {
        let [directory, file] = self.links.clone();
        // As large and as old as what it is put for, where that is an sstable's component.
        let like = stands_for.file_name().filter(|name| name.as_encoded_bytes().starts_with(b"nb-"));
        let file = like.map_or(file, |name| directory.join(name));
        let which = if self.below(4) == 0 { self.below(6) } else { self.favourite };
        let (kind, made) = match which {
            0 | 1 if like.is_none() => ("symlink to a directory", symlink(directory, path).is_ok()),
            0..=2 => ("symlink to a file", symlink(file, path).is_ok()),
            3 => {
                let mode = Mode::from_raw_mode(0o666);
                ("fifo", mknodat(CWD, path, FileType::Fifo, mode, 0).is_ok())
            }
            4 => ("hard link", fs::hard_link(Path::new("/").join(POOL).join("linked"), path).is_ok()),
            _ => {
                let made = fs::create_dir(path).is_ok();
                // A look-alike of whatever is asked for there.
                let files = ["system/local-1", "ks1/users-1", "staged", "previous/system/local-1", "backups"];
                for name in files.iter().filter(|_| made) {
                    fs::create_dir_all(path.join(name)).ok();
                }
                for (name, text) in [("run", "0123456789abcdef"), (DECOY, "")].iter().filter(|_| made) {
                    fs::write(path.join(name), text).ok();
                }
                ("directory", made)
            }
        };
        (kind, made.then(|| path.to_owned()))
    }

    /// A path that modules walk; it need not be there.
    fn choose(&mut self) -> PathBuf {
        let root = |hands: &mut Self, names: &[&str]| {
            Path::new("/").join(names[hands.below(names.len() as u64) as usize])
        };
        match self.target {
            Target::Roots => root(self, &ROOTS),
            Target::Work => {
                let work = root(self, &ROOTS[7..]);
                let level = NAMES[self.below(9) as usize];
                self.descend(work.join(level), 3)
            }
            Target::Live => self.below_a_keyspace(3),
            Target::Snapshots => self.in_a_snapshot(),
            Target::Anything => {
                let root = root(self, &ROOTS);
                self.descend(root, 6)
            }
        }
    }

    /// A table, or what is in it.
    fn below_a_keyspace(&mut self, levels: usize) -> PathBuf {
        let keyspace =
            ["/data/ks1", "/data/ks1", "/data/system", "/data/system_auth"][self.below(4) as usize];
        let tables = entries(Path::new(keyspace));
        let table = self.one_of(&tables).unwrap_or_else(|| Path::new(keyspace).join("users"));
        self.descend(table, levels)
    }

    /// A file of the table that is imitated outside, or what it lies in.
    fn in_a_snapshot(&mut self) -> PathBuf {
        let tables = entries(Path::new("/data/ks1"));
        let users = tables.into_iter().find(|table| table.to_string_lossy().contains("/users-"));
        let users = users.unwrap_or_else(|| PathBuf::from("/data/ks1/users"));
        let tag = self.one_of(&entries(&users.join("snapshots"))).unwrap_or_else(|| users.clone());
        match self.below(10) {
            0 => users,
            1 => tag,
            _ => self.one_of(&entries(&tag)).unwrap_or(tag),
        }
    }

    fn one_of(&mut self, paths: &[PathBuf]) -> Option<PathBuf> {
        paths.get(self.below(paths.len().max(1) as u64) as usize).cloned()
    }

    /// Goes down at random, and stops anywhere.
    fn descend(&mut self, from: PathBuf, levels: usize) -> PathBuf {
        let mut path = from;
        for _ in 0..levels {
            if self.below(5) == 0 {
                break;
            }
            match self.one_of(&entries(&path)) {
                Some(below) => path = below,
                None => break,
            }
        }
        path
    }

    fn pool_path(&self, name: &str) -> PathBuf {
        Path::new("/").join(POOL).join(name)
    }

    /// Some of the time too short for anybody to have seen it, some of the time long enough for a walk to end in it.
    fn hold(&mut self) {
        let longest = match self.below(12) {
            0 => 100_000,
            1..=3 => 5_000,
            _ => 400,
        };
        let until = Instant::now() + Duration::from_micros(self.below(longest));
        while Instant::now() < until && !self.shared.is_asked_to_rest() {
            if longest > 400 {
                std::thread::sleep(Duration::from_micros(100))
            } else {
                std::thread::yield_now()
            }
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn clear(path: &Path) {
    let Ok(about) = fs::symlink_metadata(path) else { return };
    if about.is_dir() {
        fs::remove_dir_all(path).ok()
    } else {
        fs::remove_file(path).ok()
    };
}
