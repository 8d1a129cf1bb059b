//! Archives that nobody should trust. Each is made with every digest, checksum and count right but for its one lie, so
//! that the guard against this lie is what refuses it; each goes through the library and through a whole restore.

#[path = "support/archives.rs"]
mod archives;
#[path = "hostile/bombs.rs"]
mod bombs;
#[path = "hostile/damage.rs"]
mod damage;
#[path = "hostile/disagree.rs"]
mod disagree;
#[path = "support/forge.rs"]
mod forge;
#[path = "hostile/large.rs"]
mod large;
#[path = "hostile/manifests.rs"]
mod manifests;
#[path = "hostile/mixed.rs"]
mod mixed;
#[path = "hostile/names.rs"]
mod names;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use cassandra_backup::archive::reader::Archive;
use cassandra_backup::archive::unpack::Unpack;
use cassandra_backup::dir::Dir;
use cassandra_backup::docker::RunState;
use cassandra_backup::error::tell;
use forge::Forge;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{FakeNode, Tree, check_mode, tree};
use tempfile::TempDir;

const RESTORE: &str = "cassandra_restore";
const INFO: &str = "cassandra_backup_info";
const DIFFERS: &str = "it differs from the table of contents";
const SENSELESS: &str = "its table of contents makes no sense: ";
const CUT: &str = "it was cut short or overwritten: its last 51 bytes are not its footer";

/// What is said of an archive, without its path: `damaged: …`, `foreign: …`, `failed: …`, or `whole`.
type Told = String;

fn damaged(what: &str) -> Told {
    format!("damaged: {what}")
}

/// The same where the line and column of the JSON are left out: they depend on the archive's other names.
fn without_column(told: &str) -> Told {
    told.split(" at line 1 column ").next().unwrap().to_owned()
}

/// Reads archives by the library, in a directory with things that none of them may touch.
struct Bench {
    dir: TempDir,
    around: Tree,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::Builder::new().prefix("hostile-").tempdir_in(memory()).unwrap();
        for name in ["evil", "etc/passwd", "staged/.keep"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "as it was").unwrap();
        }
        let around = Bench::around(dir.path());
        Bench { dir, around }
    }

    fn around(dir: &Path) -> Tree {
        let outside = |path: &str| !path.starts_with("staged/in") && !path.starts_with("nightly");
        tree(dir).into_iter().filter(|(path, _)| outside(path)).collect()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("nightly.tgz")
    }

    fn verified(&self, bytes: &[u8]) -> Told {
        fs::write(self.path(), bytes).unwrap();
        let read = Archive::open(&self.path()).and_then(|archive| archive.verify(2, &mut |_| {}));
        read.map_or_else(|error| self.plain(&error), |_| "whole".to_owned())
    }

    fn plain(&self, error: &anyhow::Error) -> Told {
        let (told, path) = (tell(error), self.path().display().to_string());
        let kind = told.word.strip_prefix("archive_").unwrap_or(told.word);
        let message = told
            .message
            .replace(&format!("the archive `{path}` is damaged: "), "")
            .replace(&format!("`{path}` is not an archive of this module: "), "")
            .replace(&path, "PATH");
        format!("{kind}: {message}")
    }

    /// Verifies and unpacks: both say the same, and nothing changes but where it is unpacked to.
    fn told(&self, bytes: &[u8]) -> Told {
        let verified = self.verified(bytes);
        let target = self.dir.path().join("staged/in");
        fs::create_dir(&target).unwrap();
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let unpacked = Archive::open(&self.path()).and_then(|archive| {
            let mut roots = vec![Dir::open(&target)?];
            for index in 1..archive.manifest().node.data_directories.len().min(3) {
                let name = format!("in-{index}");
                roots.push(Dir::open(&self.dir.path().join("staged"))?.make_dir(&name, 0o700)?);
            }
            archive.unpack(&roots, &Unpack { owner: Some(own), skip: &|_| false, threads: 2 }, &mut |_| {})
        });
        let unpacked = unpacked.map_or_else(|error| self.plain(&error), |_| "whole".to_owned());
        assert_eq!(unpacked, verified, "unpacking and verifying tell the same");
        assert_eq!(
            Bench::around(self.dir.path()),
            self.around,
            "outside of where it is unpacked: {verified}"
        );
        Dir::open(&self.dir.path().join("staged")).unwrap().entries().unwrap().iter().for_each(|entry| {
            if entry.name.starts_with("in") {
                Dir::open(&self.dir.path().join("staged")).unwrap().remove_tree(&entry.name).unwrap();
            }
        });
        verified
    }
}

/// A node with a backup, whose archive is replaced.
struct Victim {
    node: FakeNode,
    whole: Forge,
}

impl Victim {
    fn new() -> Victim {
        Victim::of(FakeNode::running())
    }

    fn of(node: FakeNode) -> Victim {
        let node = node.with_table("ks1", "users", 1);
        let made = node.run_module("cassandra_backup", json!({"tag": "nightly"}));
        assert_eq!(made["failed"], Value::Null, "{made:#}");
        let whole = Forge::of(&node.archive("nightly"));
        Victim { node, whole }
    }

    /// Where the users' table lies in the archive: `ks1/users-…/`.
    fn table(&self) -> String {
        let names = self.whole.pieces.iter().map(|piece| piece.name());
        names.into_iter().find(|name| name.starts_with("ks1/users-")).unwrap().to_owned()
    }

    /// Where its files are unpacked to.
    fn staged(&self) -> PathBuf {
        self.node.dirs().storage.join(".cassandra_restore-data/staged")
    }

    /// Its archive, and the right checksum beside it.
    fn has(&self, bytes: &[u8]) {
        fs::write(self.node.archive("nightly"), bytes).unwrap();
        record(&self.node.archive("nightly"), bytes);
    }

    fn checksum(&self) -> PathBuf {
        self.node.backup_dir().join("nightly.tgz.sha256")
    }

    /// What a restore says of an archive that it refuses, in earnest and in check mode.
    fn refuses(&self, bytes: &[u8]) -> Told {
        self.has(bytes);
        self.refuses_what_is_there()
    }

    /// The same in earnest only, where there are many.
    fn refused_once(&self, bytes: &[u8]) -> Told {
        self.has(bytes);
        self.refused(json!({"tag": "nightly"}), None)
    }

    fn refuses_what_is_there(&self) -> Told {
        let told = self.refused(json!({"tag": "nightly"}), None);
        assert_eq!(self.refused(check_mode(json!({"tag": "nightly"})), None), told, "in check mode");
        told
    }

    /// One run: the node is not touched, nothing is written outside of staging, and nothing is left there.
    fn refused(&self, args: Value, memory: Option<u64>) -> Told {
        let (state, changes, before) = (self.node.run_state(), self.node.changes(), self.around());
        let result = match memory {
            None => self.node.run_module(RESTORE, args),
            Some(bytes) => self.node.start_module_within(RESTORE, args, bytes).finish(),
        };
        assert_eq!((&result["failed"], &result["changed"]), (&json!(true), &json!(false)), "{result:#}");
        assert_eq!((self.node.run_state(), self.node.changes()), (state, changes), "{result:#}");
        let now = self.around();
        let differs = |path: &&String| now.get(*path) != before.get(*path);
        let changed: Vec<&String> = now.keys().chain(before.keys()).filter(differs).collect();
        assert!(changed.is_empty(), "{changed:?} changed: {result:#}");
        assert_eq!(self.node.run_state(), RunState::Running);
        let (word, msg) = (result["error"].as_str().unwrap(), result["msg"].as_str().unwrap());
        self.plain(word, msg)
    }

    fn plain(&self, word: &str, msg: &str) -> Told {
        let path = self.node.archive("nightly").display().to_string();
        let (untouched, kind) = (". The node was not touched", word.strip_prefix("archive_").unwrap_or(word));
        let (told, hint) = msg.split_once(untouched).unwrap_or_else(|| panic!("{msg}"));
        let (begin, hint_expected) = match kind {
            "damaged" => (
                format!("the archive `{path}` is damaged: "),
                ". use another archive; a fetched copy of this one may be whole",
            ),
            "foreign" => (
                format!("`{path}` is not an archive of this module: "),
                ". name an archive that `cassandra_backup` made",
            ),
            _ => (String::new(), ""),
        };
        assert_eq!(hint, hint_expected, "{msg}");
        let told = told.strip_prefix(&begin).unwrap_or_else(|| panic!("{msg}"));
        format!("{kind}: {}", told.replace(&path, "PATH"))
    }

    /// All of the host but what a run remembers (its journal, and whose the work directories are), and but the
    /// archive, which the test itself changes.
    fn around(&self) -> Tree {
        let own = |path: &str| {
            let remembered = path
                .split_once("/.cassandra_restore-")
                .is_some_and(|(_, work)| work.split_once('/').is_none_or(|(_, below)| below == "run"));
            remembered || ["state", "args-", "backup/"].iter().any(|begin| path.starts_with(begin))
        };
        tree(self.node.host()).into_iter().filter(|(path, _)| !own(path)).collect()
    }

    /// Each lie is found by the library and by a whole restore, which say the same.
    fn all_are_refused(&self, cases: Vec<Case>) {
        let bench = Bench::new();
        assert_eq!(bench.told(&self.whole.bytes()), "whole");
        for (name, lie, expected) in cases {
            let mut forge = self.whole.clone();
            lie(&mut forge);
            let bytes = forge.bytes();
            assert_eq!(without_column(&bench.told(&bytes)), expected, "{name}");
            assert_eq!(without_column(&self.refuses(&bytes)), expected, "{name}, in a restore");
        }
        assert_eq!(self.restores(&self.whole.bytes())["changed"], true);
    }

    fn restores(&self, bytes: &[u8]) -> Value {
        self.has(bytes);
        let result = self.node.run_module(RESTORE, json!({"tag": "nightly"}));
        assert_eq!(result["failed"], Value::Null, "{result:#}");
        result
    }
}

/// One lie: its name, how it is made, and what is said of it.
type Case = (&'static str, fn(&mut Forge), String);

/// The same where it needs what is known of a victim.
type Lie<'a> = &'a dyn Fn(&mut Forge);

/// What is done to the JSON of a table.
type ToTable = fn(Vec<u8>) -> Vec<u8>;

/// Writes an archive's checksum beside it.
fn record(archive: &Path, bytes: &[u8]) {
    let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(archive.with_extension("tgz.sha256"), format!("{sha256}  nightly.tgz\n")).unwrap();
}

/// Where files are made and removed fastest.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
