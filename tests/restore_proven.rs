//! Unchanged means proven: whatever may have happened to the data since a restore has it restored again.

mod support;
#[path = "restores/way_back.rs"]
mod way_back;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Timespec, Timestamps};
use serde_json::{Value, json};
use support::{FakeNode, Tree, check_mode, tree_with_times};
use way_back::{changed_since, restore, roll_back, work};

/// A node whose restore is complete.
fn restored() -> FakeNode {
    restored_of(FakeNode::running())
}

fn restored_of(node: FakeNode) -> FakeNode {
    let node = changed_since(node);
    assert_eq!(restore(&node, json!({}))["changed"], true);
    node
}

fn journal(node: &FakeNode) -> PathBuf {
    let folders = fs::read_dir(node.state_dir()).unwrap().map(|entry| entry.unwrap().path());
    folders.map(|folder| folder.join("journal.json")).find(|path| path.exists()).unwrap()
}

fn edit_journal(node: &FakeNode, edit: impl Fn(&mut Value)) {
    let path = journal(node);
    let mut read: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut read);
    fs::write(&path, read.to_string()).unwrap();
}

fn one_sstable(node: &FakeNode) -> PathBuf {
    node.dirs().table("ks1", "users").join("nb-1-big-Data.db")
}

/// The same restore does the whole of it again, says why, and check mode said the same.
fn is_restored_again(node: &FakeNode, why: &str) {
    let foretold = restore(node, check_mode(json!({})));
    assert_eq!((&foretold["changed"], &foretold["restore"]["because"]), (&json!(true), &json!(why)));
    let starts = node.starts().len();
    let again = restore(node, json!({}));
    assert_eq!((&again["failed"], &again["changed"]), (&Value::Null, &json!(true)), "{again:#}");
    assert_eq!(again["restore"]["because"], why);
    assert_eq!(node.starts().len(), starts + 1);
    assert!(node.tables().contains(&"ks1.old".to_owned()));
    is_unchanged(node);
}

/// Nothing at all is done, not even to a time or an Engine.
fn is_unchanged(node: &FakeNode) {
    let look =
        |node: &FakeNode| -> (Tree, Vec<String>) { (tree_with_times(&node.dirs().storage), node.changes()) };
    let before = look(node);
    let result = restore(node, json!({}));
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(false)), "{result:#}");
    assert_eq!(
        result["msg"],
        format!(
            "container `node` is restored from `{}` already, and nothing has changed since",
            node.archive("nightly").display()
        )
    );
    assert_eq!(result["restore"]["state"], "restored");
    assert!(look(node) == before);
}

/// As the first node of a cluster is: who is up is no part of the schema.
#[test]
fn others_that_came_up_later_change_nothing() {
    let node = restored_of(FakeNode::running().with_peers(2).with_peer_down());
    is_unchanged(&node.with_peers(2));
}

/// The others of its cluster did change, and all go back together.
#[test]
fn a_complete_restore_is_done_again_where_that_is_asked_for() {
    let node = restored();
    let why = json!("`again: true` asks for it");
    let foretold = restore(&node, check_mode(json!({"again": true})));
    assert_eq!((&foretold["changed"], &foretold["restore"]["because"]), (&json!(true), &why));
    let starts = node.starts().len();
    let staged = restore(&node, json!({"again": true, "state": "staged"}));
    assert_eq!((&staged["restore"]["state"], &staged["restore"]["because"]), (&json!("staged"), &why));
    // Unfinished, it is gone on with.
    let again = restore(&node, json!({"again": true}));
    assert_eq!((&again["changed"], again["restore"].get("because")), (&json!(true), None), "{again:#}");
    assert_eq!(again["restore"]["run_id"], staged["restore"]["run_id"]);
    assert_eq!(node.starts().len(), starts + 1);
    is_unchanged(&node);
}

const OTHER_SSTABLES: &str = "the sstables are not those that the restore before left";

#[test]
fn a_complete_restore_of_which_nothing_has_changed_is_left_as_it_is() {
    let node = restored();
    is_unchanged(&node);
    // To each state on the way there as well.
    for state in ["staged", "swapped", "started"] {
        assert_eq!(restore(&node, json!({"state": state}))["changed"], false, "{state}");
    }
    is_unchanged(&node);
}

#[test]
fn one_row_written_is_enough() {
    let node = restored();
    node.write("ks1", "users");
    is_restored_again(&node, "`ks1.users` was written to: its memtable holds data");
    node.write("ks1", "users");
    node.flush();
    is_restored_again(&node, OTHER_SSTABLES);
    node.write("system_auth", "roles");
    is_restored_again(&node, "`system_auth.roles` was written to: its memtable holds data");
}

#[test]
fn what_the_node_writes_to_its_own_tables_is_no_change() {
    let node = restored();
    node.write("system", "compaction_history");
    node.flush();
    node.write("system", "compaction_history");
    is_unchanged(&node);
}

#[test]
fn one_sstable_touched_is_enough_also_where_its_time_is_put_back() {
    let node = restored();
    let path = one_sstable(&node);
    fs::File::open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    is_restored_again(&node, OTHER_SSTABLES);

    let about = fs::metadata(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let time = Timespec { tv_sec: about.mtime(), tv_nsec: about.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mtime_nsec(), about.mtime_nsec());
    let name = path.strip_prefix(&node.dirs().data[0]).unwrap().display().to_string();
    is_restored_again(&node, &format!("`{name}` is not the archive's"));
    assert_ne!(fs::read(&path).unwrap(), bytes);
}

/// A snapshot is a hard link of each file: its content tells that nothing else was done to it.
#[test]
fn a_backup_since_is_no_change() {
    let node = FakeNode::running().data_directories(2).with_table("ks2", "big", 3);
    let node = restored_of(node.with_index("ks2", "big", "big_by_size"));
    let made = node.run_module("cassandra_backup", json!({"tag": "later"}));
    assert_eq!(made["changed"], true, "{made:#}");
    is_unchanged(&node.with_operator_snapshot("mine"));
}

#[test]
fn a_file_more_or_less_is_enough() {
    let node = restored();
    fs::remove_file(one_sstable(&node)).unwrap();
    is_restored_again(&node, OTHER_SSTABLES);
    fs::write(node.dirs().table("ks1", "users").join("nb-9-big-Data.db"), "more").unwrap();
    is_restored_again(&node, OTHER_SSTABLES);
}

#[test]
fn tables_that_came_or_went_are_enough() {
    let node = restored();
    node.drop_table("ks1", "old");
    is_restored_again(&node, "it has no table `ks1.old`");
    let node = node.with_empty_table("ks1", "another");
    is_restored_again(&node, "it has a table `ks1.another`, which the archive has not");
}

#[test]
fn another_schema_is_enough() {
    let node = restored().replicas("ks1", 2);
    is_restored_again(&node, "the schema was changed since the restore before");
}

#[test]
fn a_receipt_that_is_forged_or_from_elsewhere_proves_nothing() {
    let node = restored();
    edit_journal(&node, |journal| journal["receipt"]["sstables"] = json!("0".repeat(64)));
    is_restored_again(&node, OTHER_SSTABLES);
    edit_journal(&node, |journal| drop(journal.as_object_mut().unwrap().remove("receipt")));
    is_restored_again(&node, "what the restore before left is not known");

    // Another node's, of the same archive: its run is not the one that marked these disks.
    let mark = work(&node, "run");
    edit_journal(&node, |journal| journal["run_id"] = json!("0123456789abcdef"));
    is_restored_again(&node, &format!("`{}` is of another restore than the journal's", mark.display()));
    // And where the mark was copied as well, the sstables are other files.
    let table = node.dirs().table("ks1", "users");
    copy_in_place(&table);
    is_restored_again(&node, OTHER_SSTABLES);
}

/// The same bytes, owners and times in other inodes, as `rsync` from another disk would bring them.
fn copy_in_place(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            continue;
        }
        let copy = path.with_extension("copy");
        let about = fs::metadata(&path).unwrap();
        fs::copy(&path, &copy).unwrap();
        std::os::unix::fs::chown(&copy, Some(about.uid()), Some(about.gid())).unwrap();
        fs::File::open(&copy).unwrap().set_modified(about.modified().unwrap()).unwrap();
        fs::rename(&copy, &path).unwrap();
    }
}

#[test]
fn another_archive_under_the_same_name_is_another_restore() {
    let node = restored();
    node.drop_table("ks1", "old");
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly", "force": true}));
    assert_eq!(made["changed"], true, "{made:#}");
    let result = restore(&node, json!({}));
    assert_eq!((&result["changed"], result["restore"].get("because")), (&json!(true), None));
    assert!(!node.tables().contains(&"ks1.old".to_owned()));
    is_unchanged(&node);
}

#[test]
fn a_node_that_cannot_be_asked_is_restored_again() {
    let node = restored();
    node.stop();
    is_restored_again(&node, "the node does not run, and cannot be asked");
    let node = node.answering("nodetool tablestats", "");
    let foretold = restore(&node, check_mode(json!({})));
    assert_eq!(
        foretold["restore"]["because"],
        "`nodetool tablestats` gave an answer without `Table` in container `node`"
    );
}

#[test]
fn a_way_back_that_is_not_to_be_kept_is_removed_from_an_unchanged_node() {
    let node = restored();
    assert!(work(&node, "previous").exists());
    let foretold = restore(&node, check_mode(json!({"keep_previous": false})));
    let already = format!(
        "container `node` is restored from `{}` already, and nothing has changed since",
        node.archive("nightly").display()
    );
    assert_eq!(foretold["msg"], format!("{already}; the previous data would be removed"));
    assert!(work(&node, "previous").exists());

    let starts = node.starts();
    let result = restore(&node, json!({"keep_previous": false}));
    assert_eq!(result["msg"], format!("{already}; the previous data is removed"));
    assert_eq!((&result["changed"], node.starts()), (&json!(true), starts));
    assert!(!work(&node, "previous").exists());
    assert_eq!(restore(&node, json!({"keep_previous": false}))["changed"], false);
    assert_eq!(roll_back(&node)["error"], "no_previous_data");
}
