//! A backup whose disk or Engine fails, or whose node's container does: an archive is whole or there is none, and
//! nothing of it stays on the node, or the next run clears it.

use std::collections::BTreeMap;
use std::fs;

use cassandra_backup::archive::reader::Archive;
use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use crate::Ends;
use crate::engine::{disturbed, hanging, requests, ways};
use crate::files::{each_once, from_each_on};
use crate::kills::scene::node;
use crate::kills::world::Points;
use crate::support::{Effect, FakeNode, Frozen, Tree, tree};
use crate::told;

pub const BACKUP: &str = "cassandra_backup";
const TAG: &str = "tonight";

/// A node before a backup, found running or stopped.
pub struct Backed {
    pub node: FakeNode,
    start: Frozen,
    pub found: RunState,
    data: Tree,
    others: Tree,
}

impl Backed {
    pub fn running() -> Backed {
        Backed::of(node(1))
    }

    pub fn stopped() -> Backed {
        let node = node(1);
        node.stop();
        Backed::of(node)
    }

    fn of(node: FakeNode) -> Backed {
        let start = node.freeze();
        let (found, data, others) = (node.run_state(), node.user_data(), others(&node));
        Backed { node, start, found, data, others }
    }

    pub fn args(&self) -> Value {
        json!({"tag": TAG, "wait_timeout": 2})
    }

    pub fn thaw(&self) {
        self.node.thaw(&self.start);
    }

    pub fn run(&self) -> Value {
        self.node.run_module(BACKUP, self.args())
    }

    /// A run that something goes wrong with, and the same when all is well again. Whether the first failed.
    pub fn is_mended(&self, story: &str, run: impl FnOnce() -> Value, mend: impl FnOnce()) -> bool {
        self.thaw();
        let result = run();
        self.is_told(story, &result);
        self.nothing_is_lost(story);
        self.node.engine.heal();
        mend();
        let again = self.run();
        let story = format!("{story}, run again");
        assert_eq!(again["failed"], Value::Null, "{story}: {again:#}");
        self.is_made(&story);
        self.nothing_is_lost(&story);
        assert_eq!((self.node.run_state(), &again["container"]["left"]), (self.found, &self.found_word()));
        let kept = ["before_upgrade", "dropped-1795421386961-old"].map(str::to_owned);
        assert_eq!(self.node.snapshots(), kept.into(), "{story}");
        let state: Vec<String> = tree(&self.node.state_dir()).into_keys().collect();
        // A stopped node is not started for a mark of what is no more.
        let is_marked = self.found.is_up() && state.iter().any(|path| path.ends_with("/snapshot.json"));
        assert!(!is_marked, "{story}: {state:#?}");
        result["failed"] == true
    }

    fn found_word(&self) -> Value {
        json!(self.found.word())
    }

    /// The archive is whole or absent, and what is said of it and of the container is so.
    fn is_told(&self, story: &str, result: &Value) {
        told::the_container_is_left_as_said(&self.node, story, result);
        let is_there = self.node.archive(TAG).exists();
        if is_there {
            Archive::open(&self.node.archive(TAG))
                .and_then(|archive| archive.verify(2, &mut |_| {}))
                .unwrap();
        }
        assert_eq!(result["changed"] == true, is_there, "{story}: {result:#}");
        if result["failed"] != true {
            return self.is_made(story);
        }
        let msg = told::names_a_thing(story, result);
        let is_made = msg.contains("The archive was made; ");
        let is_none = msg.contains("No archive was made") || msg.contains("no archive was made");
        assert_eq!((is_made, is_none), (is_there, !is_there), "{story}: {msg}");
        if msg.contains("container `node` is ") {
            told::is_up_as_said(story, msg, self.node.run_state());
        } else {
            assert!(msg.contains("The node was not touched"), "{story}: {msg}");
        }
    }

    fn is_made(&self, story: &str) {
        let files: Vec<String> = tree(&self.node.backup_dir()).into_keys().collect();
        let named = ["nightly.tgz", "nightly.tgz.sha256", "tonight.tgz", "tonight.tgz.sha256"];
        assert_eq!(files, named, "{story}");
        let archive = Archive::open(&self.node.archive(TAG)).expect("an archive");
        let sha256 = archive.verify(2, &mut |_| {}).expect("one that is whole").sha256;
        let told = fs::read_to_string(self.node.backup_dir().join("tonight.tgz.sha256")).expect("a checksum");
        assert_eq!(told, format!("{sha256}  tonight.tgz\n"), "{story}");
    }

    fn nothing_is_lost(&self, story: &str) {
        let now = self.node.user_data();
        let lost: BTreeMap<_, _> =
            self.data.iter().filter(|(path, entry)| now.get(*path) != Some(entry)).collect();
        assert_eq!(lost, BTreeMap::new(), "{story}");
        assert_eq!(others(&self.node), self.others, "{story}");
        assert!(self.node.starts().iter().skip(1).all(|start| !start.is_new_node), "{story}");
    }
}

/// What no run may touch: an operator's snapshot, other archives.
fn others(node: &FakeNode) -> Tree {
    let backup = tree(&node.backup_dir()).into_iter().filter(|(path, _)| !path.starts_with(TAG));
    let snapshots = node.dirs().snapshots("before_upgrade");
    let kept =
        snapshots.iter().flat_map(|dir| tree(dir).into_iter().map(|(path, entry)| (dir.join(path), entry)));
    kept.map(|(path, entry)| (path.display().to_string(), entry)).chain(backup).collect()
}

fn each_step(backed: &Backed, lasting: Option<&str>) -> Ends {
    backed.thaw();
    let (result, effects) = backed.node.run_logged(BACKUP, backed.args());
    assert_eq!(result["changed"], true, "{result:#}");
    let faults = match lasting {
        None => each_once(&effects, Points::Every),
        Some(errno) => from_each_on(&effects, errno),
    };
    let mut ends = Ends::default();
    for (fault, effect) in faults {
        let story = format!("a backup with {fault} at {} of {}", effect.kind, effect.path.display());
        let asked = [("CASSANDRA_BACKUP_FAIL_AT", fault.as_str())];
        let run = || backed.node.start_module_with(BACKUP, backed.args(), &asked).finish();
        ends.count(backed.is_mended(&story, run, || ()));
    }
    ends
}

#[test]
fn a_backup_whose_disk_fails_once_leaves_nothing_that_the_next_run_does_not_clear() {
    each_step(&Backed::running(), None).at_least(97, 0);
}

#[test]
fn and_neither_does_one_of_a_node_that_was_found_stopped() {
    each_step(&Backed::stopped(), None).at_least(97, 0);
}

#[test]
fn a_backup_on_a_disk_that_is_full_or_read_only_from_a_step_on_is_told_and_made_by_the_next_run() {
    let backed = Backed::running();
    for errno in ["ENOSPC", "EROFS"] {
        each_step(&backed, Some(errno)).at_least(15, 0);
    }
}

#[test]
fn a_backup_whose_engine_fails_at_a_request_or_dies_there_and_comes_back() {
    let backed = Backed::stopped();
    let mut ends = Ends::default();
    for (at, request) in requests(&backed.node, || drop(backed.run())).iter().enumerate() {
        // Three of the six at each, in turn: so that the whole takes minutes.
        for way in ways().into_iter().skip(at % 2).step_by(2) {
            let story = format!("a backup with {way:?} at request {at}, {request}");
            let run = || disturbed(&backed.node, at, way, BACKUP, backed.args());
            ends.count(backed.is_mended(&story, run, || ()));
        }
    }
    ends.at_least(180, 0);
}

#[test]
fn a_backup_whose_engine_hangs_at_a_request_is_not_waited_for_for_ever() {
    let backed = Backed::stopped();
    let mut ends = Ends::default();
    for (at, request) in requests(&backed.node, || drop(backed.run())).iter().enumerate() {
        let story = format!("a backup with no answer to request {at}, {request}");
        let run = || hanging(&backed.node, at, request, BACKUP, backed.args());
        ends.count(backed.is_mended(&story, run, || backed.node.heal_calls()));
    }
    ends.at_least(60, 0);
}

/// A backup of which the checksum, the last file of all, cannot be written.
fn without_checksum(backed: &Backed, args: &Value) -> Value {
    let (_, effects) = backed.node.run_logged(BACKUP, args.clone());
    let is_checksum =
        |effect: &&Effect| effect.kind == "Write" && effect.path.ends_with("tonight.tgz.sha256.partial");
    let fault = format!("{}:ENOSPC", effects.iter().find(is_checksum).expect("its write").step);
    backed.thaw();
    let fault = [("CASSANDRA_BACKUP_FAIL_AT", fault.as_str())];
    backed.node.start_module_with(BACKUP, args.clone(), &fault).finish()
}

/// With its name it is made: what comes after can be mended by the next run.
#[test]
fn an_archive_of_which_only_the_checksum_cannot_be_written_was_made() {
    let backed = Backed::running();
    let result = without_checksum(&backed, &backed.args());
    let archive = backed.node.archive(TAG);
    let message = format!(
        "`{archive}` was made, but not its checksum file, which the next run writes: cannot write \
         `{archive}.sha256.partial`: No space left on device (os error 28). The archive was made; the data is \
         untouched and container `node` is running",
        archive = archive.display()
    );
    assert_eq!((&result["msg"], &result["changed"]), (&json!(message), &json!(true)));
    assert_eq!(backed.run()["failed"], Value::Null);
    backed.is_made("run again");
}

#[test]
fn and_the_snapshot_that_is_kept_with_it_is_not_cleared_by_the_next_run() {
    let backed = Backed::running();
    let args = json!({"tag": TAG, "keep_snapshot": true});
    assert_eq!(without_checksum(&backed, &args)["failed"], true);
    let again = backed.node.run_module(BACKUP, args);
    assert_eq!((&again["failed"], &again["changed"]), (&Value::Null, &json!(true)), "{again:#}");
    backed.is_made("run again");
    assert!(backed.node.snapshots().contains(TAG), "{:?}", backed.node.snapshots());
}

/// The archive under construction is called by its name.
#[test]
fn an_archive_that_cannot_be_written_is_named() {
    let backed = Backed::running();
    let (_, effects) = backed.node.run_logged(BACKUP, backed.args());
    let archive = format!("{TAG}.tgz.partial");
    let packs = effects.iter().find(|effect| effect.kind == "Write" && effect.path.ends_with(&archive));
    let fault = format!("{}:ENOSPC", packs.expect("a write of the archive").step);
    backed.thaw();
    let fault = [("CASSANDRA_BACKUP_FAIL_AT", fault.as_str())];
    let result = backed.node.start_module_with(BACKUP, backed.args(), &fault).finish();
    let message = format!(
        "cannot make `{}.partial`: cannot write the archive: No space left on device (os error 28). No archive was \
         made; the data is untouched and container `node` is running",
        backed.node.archive(TAG).display()
    );
    assert_eq!(result["msg"], message);
}
