//! What the tests of backups have in common: runs, words of messages, looks into an archive.

// Each file in tests/ is a crate of its own and uses a part of this.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use cassandra_backup::archive::manifest::Manifest;
use cassandra_backup::archive::reader::Archive;
use serde_json::{Value, json};

use super::support::{FakeNode, Tree, tree};

const PATIENCE: Duration = Duration::from_secs(20);

/// What is said where nothing at all was done.
pub const UNTOUCHED: &str = "The node was not touched and no archive was made";
/// What is said where it was begun.
pub const RUNNING: &str = "No archive was made; the data is untouched and container `node` is running";
pub const STOPPED: &str = "No archive was made; the data is untouched and container `node` is stopped";

pub fn backup(node: &FakeNode, args: Value) -> Value {
    node.run_module("cassandra_backup", args)
}

/// The usual one.
pub fn nightly(node: &FakeNode) -> Value {
    let result = backup(node, json!({"tag": "nightly"}));
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    result
}

/// The word and the whole message of a failure.
pub fn told(result: &Value) -> (&str, &str) {
    assert_eq!(result["failed"], true, "{result:#}");
    (result["error"].as_str().unwrap(), result["msg"].as_str().unwrap())
}

/// The message of a run that must refuse before it touches anything: no request that changes, no file on the host.
pub fn refusal(node: &FakeNode, args: Value) -> (String, String) {
    let (state, host, changes) = (node.run_state(), tree(node.host()), node.changes());
    let result = backup(node, args);
    assert_eq!(node.changes(), changes, "{result:#}");
    assert!(tree(node.host()) == host, "something was changed on the host: {result:#}");
    assert_eq!(node.run_state(), state);
    assert_eq!(result["changed"], false);
    let (word, message) = told(&result);
    (word.to_owned(), message.to_owned())
}

pub fn manifest(archive: &Path) -> Manifest {
    Archive::open(archive).unwrap().manifest().clone()
}

/// The names of all files in an archive.
pub fn names(archive: &Path) -> Vec<String> {
    let archive = Archive::open(archive).unwrap();
    archive.toc().entries.iter().map(|entry| entry.name.as_str().to_owned()).collect()
}

/// What a person gets out of it with the tools that are everywhere.
pub fn unpacked(archive: &Path) -> Tree {
    let into = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["xpzf", archive.to_str().unwrap(), "--numeric-owner", "-C", into.path().to_str().unwrap()]);
    let ended = tar.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    tree(into.path())
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// What lies in the backup directory.
pub fn files(dir: &Path) -> Vec<String> {
    tree(dir).into_keys().collect()
}

/// Nothing is left of a backup that failed: no snapshot, no file, no mark.
pub fn assert_cleared(node: &FakeNode) {
    assert_eq!(node.snapshots().into_iter().collect::<Vec<_>>(), [""; 0]);
    if node.backup_dir().exists() {
        assert_eq!(files(&node.backup_dir()), [""; 0]);
    }
    assert_no_mark(node);
}

pub fn assert_no_mark(node: &FakeNode) {
    let marks: Vec<String> =
        tree(&node.state_dir()).into_keys().filter(|path| path.ends_with("snapshot.json")).collect();
    assert_eq!(marks, [""; 0]);
}

/// Flips a byte in the middle of a file.
pub fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Holds a run back at a hook of the node, until the test lets it go on.
pub struct Meeting {
    reached: Receiver<()>,
    go_on: Sender<()>,
}

/// What waits there: give it to a hook.
pub struct Appointment(Mutex<(Sender<()>, Receiver<()>)>);

pub fn meeting() -> (Meeting, Appointment) {
    let ((reached_tx, reached), (go_on, go_on_rx)) = (channel(), channel());
    (Meeting { reached, go_on }, Appointment(Mutex::new((reached_tx, go_on_rx))))
}

impl Meeting {
    pub fn wait(&self) {
        self.reached.recv_timeout(PATIENCE).expect("the run comes to the meeting");
    }

    /// From now on nothing waits there any more.
    pub fn end(self) {
        drop(self.go_on);
    }
}

impl Appointment {
    pub fn keep(&self) {
        let pair = self.0.lock().unwrap();
        // Nobody there: the meeting is over.
        if pair.0.send(()).is_ok() {
            pair.1.recv_timeout(PATIENCE).ok();
        }
    }
}

/// Waits for what no request tells of.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}
