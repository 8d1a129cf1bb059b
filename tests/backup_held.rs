//! `state: snapshot` and `released`: the snapshots of a cluster are taken at once, and become archives later.

mod backups;
mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use backups::{assert_no_mark, backup, files, manifest, nightly, refusal, told};
use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, check_mode, tree};

fn small() -> FakeNode {
    FakeNode::running().with_table("ks1", "users", 2).with_table("ks1", "old", 1)
}

fn hold(node: &FakeNode) -> Value {
    let result = backup(node, json!({"tag": "set", "state": "snapshot"}));
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    result
}

fn release(node: &FakeNode) -> Value {
    let result = backup(node, json!({"tag": "set", "state": "released"}));
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    result
}

fn snapshots(node: &FakeNode) -> Vec<String> {
    node.snapshots().into_iter().collect()
}

fn calls(node: &FakeNode, command: &str) -> usize {
    node.changes().iter().filter(|change| change.starts_with(command)).count()
}

#[test]
fn the_snapshot_is_held_and_nothing_more() {
    let node = small().with_operator_snapshot("mine");
    let (host, changes) = (tree(node.host()), node.changes());
    let asked = json!({"tag": "set", "state": "snapshot", "_ansible_diff": true});
    let foretold = backup(&node, check_mode(asked.clone()));
    assert_eq!((tree(node.host()), node.changes()), (host, changes));
    assert_eq!(foretold["msg"], "the snapshot `set` of container `node` would be taken and held");

    let result = backup(&node, asked);

    assert_eq!(
        (&result["changed"], &result["diff"]),
        (&foretold["changed"], &foretold["diff"]),
        "{result:#}"
    );
    assert_eq!(result["diff"]["before_header"], "snapshot set of container node");
    assert_eq!(
        (&result["diff"]["before"], &result["diff"]["after"]),
        (&json!({"state": "absent"}), &json!({"state": "held"}))
    );
    assert_eq!(snapshots(&node), ["mine", "set"]);
    assert!(!node.backup_dir().exists());
    assert_eq!(result["node"]["host_id"], node.host_id());
    assert_eq!(result["snapshot"]["schema_version"], result["backup"]["schema_version"]);
    assert_eq!(result["snapshot"]["ring"], json!({"UN": [node.host_id()]}));
    let shown = result["backup"].as_object().unwrap();
    assert_eq!((&shown["tag"], shown["files"].as_u64() > Some(10)), (&json!("set"), true), "{shown:?}");
    for only_of_an_archive in ["path", "size", "sha256"] {
        assert!(!shown.contains_key(only_of_an_archive), "{shown:?}");
    }
    let taken = humantime::parse_rfc3339(result["snapshot"]["taken"].as_str().unwrap()).unwrap();
    let created = humantime::parse_rfc3339(shown["created"].as_str().unwrap()).unwrap();
    assert_eq!(
        taken.duration_since(UNIX_EPOCH).unwrap().as_secs(),
        created.duration_since(UNIX_EPOCH).unwrap().as_secs()
    );
    assert_eq!(result["snapshot"]["taken"].as_str().unwrap().len(), "2026-11-22T04:15:30.125Z".len());

    // Once more, it is the same one.
    let (host, changes) = (tree(node.host()), node.changes());
    for again in [hold(&node), backup(&node, check_mode(json!({"tag": "set", "state": "snapshot"})))] {
        assert_eq!(again["msg"], "the snapshot `set` of container `node` is held already");
        assert_eq!(again["changed"], false);
        for key in ["snapshot", "backup", "node"] {
            assert_eq!(again[key], result[key], "{key}");
        }
    }
    assert_eq!((tree(node.host()), node.changes()), (host, changes));
}

#[test]
fn the_archive_is_made_of_the_snapshot_that_is_held_whatever_came_after_it() {
    let node = small();
    let held = hold(&node);
    let tables = held["backup"]["tables"].clone();
    node.write("ks1", "users");
    node.flush();
    node.drop_table("ks1", "old");
    let node = node.with_table("ks1", "new", 1);

    let result = backup(&node, json!({"tag": "set"}));

    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
    assert_eq!(calls(&node, "nodetool snapshot"), 1);
    assert_eq!((&result["snapshot"], &result["node"]), (&held["snapshot"], &held["node"]));
    for key in ["created", "schema_version", "files", "bytes", "tables"] {
        assert_eq!(result["backup"][key], held["backup"][key], "{key}");
    }
    let made = manifest(&node.archive("set"));
    let of_ks1: Vec<_> = made.tables.iter().filter(|table| table.keyspace == "ks1").collect();
    assert_eq!(of_ks1.iter().map(|table| table.table.as_str()).collect::<Vec<_>>(), ["old", "users"]);
    assert_eq!(json!(made.tables.len()), tables);
    // Cassandra's own of the table that was dropped stays.
    assert_eq!((snapshots(&node).len(), files(&node.backup_dir()).len()), (1, 2));
    assert!(snapshots(&node)[0].starts_with("dropped-"));
    assert_no_mark(&node);
    assert_eq!(backup(&node, json!({"tag": "set"}))["changed"], false);
}

#[test]
fn a_node_that_was_stopped_meanwhile_is_started_for_the_archive_and_stopped_again() {
    let node = small();
    let held = hold(&node);
    node.stop();
    let result = backup(&node, json!({"tag": "set"}));
    assert_eq!((&result["failed"], &result["snapshot"]), (&Value::Null, &held["snapshot"]), "{result:#}");
    assert_eq!((node.run_state(), calls(&node, "nodetool snapshot")), (RunState::Exited, 1));
    assert_eq!(snapshots(&node), [""; 0]);
}

#[test]
fn keep_snapshot_leaves_it_to_the_operator() {
    let node = small();
    hold(&node);
    backup(&node, json!({"tag": "set", "keep_snapshot": true}));
    assert_no_mark(&node);
    assert_eq!((release(&node)["changed"].clone(), snapshots(&node)), (json!(false), vec!["set".to_owned()]));
}

#[test]
fn a_stopped_node_takes_no_part() {
    let node = small();
    node.stop();
    let (word, message) = refusal(&node, json!({"tag": "set", "state": "snapshot"}));
    assert_eq!(
        (word.as_str(), message.as_str()),
        (
            "container_stopped",
            "container `node` is stopped: the snapshots of a set are taken of nodes that are up. The node was not \
             touched and no archive was made. start it, and see that it is up and normal before it takes part"
        )
    );
}

#[test]
fn an_archive_of_this_tag_is_of_another_time() {
    let node = small();
    backup(&node, json!({"tag": "set"}));
    let (word, message) = refusal(&node, json!({"tag": "set", "state": "snapshot"}));
    let path = node.archive("set").display().to_string();
    assert_eq!(word, "archive_exists");
    assert!(
        message.starts_with(&format!(
            "`{path}` exists already, but a snapshot that is taken now would be of another time."
        )),
        "{message}"
    );
    let held = backup(&node, json!({"tag": "set", "state": "snapshot", "force": true}));
    assert_eq!(held["changed"], true, "{held:#}");
    let made = backup(&node, json!({"tag": "set", "force": true}));
    assert_eq!(made["snapshot"], held["snapshot"], "{made:#}");
    assert_eq!(calls(&node, "nodetool snapshot"), 2);
}

#[test]
fn a_snapshot_that_was_held_for_another_backup_is_cleared_and_named() {
    for (tag, state) in [("other", "present"), ("other", "snapshot"), ("nightly", "present")] {
        let node = small();
        nightly(&node);
        let held = hold(&node);
        let result = backup(&node, json!({"tag": tag, "state": state}));
        assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
        let taken = &held["backup"]["created"].as_str().unwrap();
        let warning = format!(
            "the snapshot `set` was held since {taken} for a backup that was never made of it, and is cleared"
        );
        assert_eq!(result["warnings"], json!([warning]), "{tag} {state}");
        let left = if state == "snapshot" { vec![tag.to_owned()] } else { vec![] };
        assert_eq!(snapshots(&node), left, "{tag} {state}");
        assert!(!node.archive("set").exists());
    }
}

#[test]
fn one_that_is_not_whole_any_more_is_taken_anew() {
    let node = small();
    let first = hold(&node);
    let dir = node.dirs().table("ks1", "users").join("snapshots/set");
    fs::remove_file(dir.join("nb-1-big-Data.db")).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    let result = backup(&node, json!({"tag": "set", "state": "snapshot"}));
    assert_eq!(result["changed"], true, "{result:#}");
    assert_ne!(result["snapshot"]["taken"], first["snapshot"]["taken"]);
    let warning = "the snapshot `set` that was held is not whole any more: another one is taken";
    assert_eq!(result["warnings"], json!([warning]));
    assert_eq!(hold(&node)["changed"], false);
}

#[test]
fn other_keyspaces_than_those_that_are_held_are_refused() {
    let node = small();
    hold(&node);
    for state in ["present", "snapshot"] {
        let result = backup(&node, json!({"tag": "set", "state": state, "keyspaces": "ks1"}));
        let (word, message) = told(&result);
        assert_eq!(word, "bad_option");
        assert!(
            message.starts_with("the snapshot `set` is held, but it holds other keyspaces: ks1, "),
            "{message}"
        );
    }
    assert_eq!(snapshots(&node), ["set"]);
}

#[test]
fn a_snapshot_that_cannot_be_proven_is_cleared() {
    let node = small().failing_on("nodetool snapshot", 1, "error: no space");
    let result = backup(&node, json!({"tag": "set", "state": "snapshot"}));
    let (word, message) = told(&result);
    assert_eq!(word, "nodetool_failed");
    assert!(message.contains("No snapshot is held and the data is untouched"), "{message}");
    assert_eq!((&result["changed"], snapshots(&node)), (&json!(false), vec![]));
    assert_no_mark(&node);
}

#[test]
fn what_is_held_is_released_and_only_that() {
    for is_stopped in [false, true] {
        let node = small().data_directories(2).with_table("ks2", "big", 3).with_operator_snapshot("mine");
        hold(&node);
        nightly_beside(&node);
        if is_stopped {
            node.stop();
        }
        let found = node.run_state();
        let foretold = backup(&node, check_mode(json!({"tag": "set", "state": "released"})));
        assert_eq!(foretold["msg"], "the snapshot `set` of container `node` would be cleared");
        assert_eq!(snapshots(&node), ["mine", "set"]);
        let result = release(&node);
        assert_eq!(
            (&result["changed"], &result["msg"]),
            (&json!(true), &json!("the snapshot `set` of container `node` is cleared"))
        );
        assert_eq!((snapshots(&node), node.run_state()), (vec!["mine".to_owned()], found));
        assert_no_mark(&node);
        let (host, changes) = (tree(node.host()), node.changes());
        let again = release(&node);
        assert_eq!(again["msg"], "no snapshot `set` of ours is held on container `node`");
        assert_eq!((&again["changed"], tree(node.host()), node.changes()), (&json!(false), host, changes));
    }
}

/// An archive of the same tag, as a run before has made it.
fn nightly_beside(node: &FakeNode) {
    fs::create_dir_all(node.backup_dir()).unwrap();
    let path: PathBuf = node.archive("set");
    fs::write(&path, "an archive").unwrap();
}

#[test]
fn a_snapshot_that_somebody_else_took_is_neither_held_nor_released() {
    let node = small().with_operator_snapshot("set");
    assert_eq!(release(&node)["changed"], false);
    let refused = backup(&node, json!({"tag": "set", "state": "snapshot"}));
    assert_eq!(told(&refused).0, "snapshot_not_ours");
    assert_eq!(snapshots(&node), ["set"]);
}
