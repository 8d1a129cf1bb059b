//! `keep_last` and `keep_days`: older archives of this node go, and nothing else.

mod backups;
mod support;

use std::fs;

use backups::{backup, files, refusal};
use serde_json::{Value, json};
use support::{FakeNode, check_mode, tree};

/// A node with three archives, the last the newest.
fn with_three() -> FakeNode {
    let node = FakeNode::running().with_table("ks1", "users", 1);
    for tag in ["n1", "n2", "n3"] {
        assert_eq!(backup(&node, json!({"tag": tag}))["changed"], true);
    }
    node
}

fn tags(node: &FakeNode) -> Vec<String> {
    files(&node.backup_dir()).iter().filter_map(|name| name.strip_suffix(".tgz").map(str::to_owned)).collect()
}

#[test]
fn what_is_beyond_the_newest_goes_with_its_checksum_once_a_newer_one_is_there() {
    let node = with_three();
    let asked = json!({"tag": "n4", "keep_last": 2, "_ansible_diff": true});
    let before = tree(node.host());
    let foretold = backup(&node, check_mode(asked.clone()));
    assert_eq!(tree(node.host()), before);
    let result = backup(&node, asked);
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    assert_eq!(
        (&result["removed"], &result["diff"]),
        (&json!(["n2", "n1"]), &foretold["diff"]),
        "{result:#}"
    );
    assert_eq!(foretold["removed"], result["removed"]);
    assert_eq!(result["diff"]["before"]["others"], json!(["n3", "n2", "n1"]));
    assert_eq!(result["diff"]["after"]["others"], json!(["n3"]));
    assert_eq!(files(&node.backup_dir()), ["n3.tgz", "n3.tgz.sha256", "n4.tgz", "n4.tgz.sha256"]);
}

#[test]
fn and_also_where_it_was_there_already() {
    let node = with_three();
    let unchanged = backup(&node, json!({"tag": "n3", "keep_last": 3}));
    assert_eq!((&unchanged["changed"], &unchanged["removed"]), (&json!(false), &json!([])), "{unchanged:#}");
    let foretold = backup(&node, check_mode(json!({"tag": "n3", "keep_last": 1})));
    assert_eq!((tags(&node).len(), &foretold["changed"]), (3, &json!(true)));
    let result = backup(&node, json!({"tag": "n3", "keep_last": 1}));
    assert_eq!((&result["changed"], &result["removed"]), (&json!(true), &json!(["n2", "n1"])));
    assert_eq!(tags(&node), ["n3"]);
    // What is young stays however many there are.
    backup(&node, json!({"tag": "n4"}));
    let young = backup(&node, json!({"tag": "n4", "keep_last": 1, "keep_days": 1}));
    assert_eq!((&young["changed"], &young["removed"]), (&json!(false), &json!([])));
    assert_eq!(backup(&node, json!({"tag": "n4"})).get("removed"), None);
}

#[test]
fn what_is_not_this_nodes_or_cannot_be_read_or_is_not_finished_stays() {
    let (node, other) = (with_three(), FakeNode::running().with_table("ks1", "users", 1));
    backup(&other, json!({"tag": "a0"}));
    fs::copy(other.archive("a0"), node.archive("a0")).unwrap();
    fs::write(node.archive("broken"), "no archive").unwrap();
    fs::write(node.backup_dir().join("n0.tgz.partial"), "a part").unwrap();
    let result = backup(&node, json!({"tag": "n4", "keep_last": 1}));
    assert_eq!(result["removed"], json!(["n3", "n2", "n1"]), "{result:#}");
    assert_eq!(tags(&node), ["a0", "broken", "n4"]);
    assert!(node.backup_dir().join("n0.tgz.partial").exists());
    let warning = result["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with(&format!("`{}` is kept: ", node.archive("broken").display())), "{warning}");
    assert_eq!(result["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn what_an_unfinished_restore_needs_stays_until_it_is_finished() {
    let node = with_three();
    let staged = node.run_module("cassandra_restore", json!({"tag": "n1", "state": "staged"}));
    assert_eq!(staged["failed"], Value::Null, "{staged:#}");
    let result = backup(&node, json!({"tag": "n4", "keep_last": 1}));
    assert_eq!(result["removed"], json!(["n3", "n2"]), "{result:#}");
    assert_eq!(tags(&node), ["n1", "n4"]);
    node.run_module("cassandra_restore", json!({"state": "rolled_back"}));
    assert_eq!(backup(&node, json!({"tag": "n4", "keep_last": 1}))["removed"], json!(["n1"]));
}

#[test]
fn without_a_proof_of_its_own_the_one_before_stays() {
    let node = with_three();
    let result = backup(&node, json!({"tag": "n4", "keep_last": 1, "verify": false}));
    assert_eq!(result["removed"], json!(["n2", "n1"]), "{result:#}");
    assert_eq!(tags(&node), ["n3", "n4"]);
}

#[test]
fn a_backup_that_fails_removes_nothing() {
    let node = with_three().failing_on("nodetool snapshot", 1, "error: no space");
    let result = backup(&node, json!({"tag": "n4", "keep_last": 1}));
    assert_eq!((&result["failed"], tags(&node).len()), (&json!(true), 3));
    for option in ["keep_last", "keep_days"] {
        let (word, message) = refusal(&node, json!({"tag": "n4", option: 0}));
        assert_eq!(word, "bad_option");
        assert!(message.starts_with(&format!("`{option}` must be at least 1, got: 0")), "{message}");
    }
}
