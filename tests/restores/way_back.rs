//! What the tests of both ways back have in common.

// Each file in tests/ is a crate of its own and uses a part of this.
#![allow(dead_code)]

use std::path::PathBuf;

use serde_json::{Value, json};

use super::support::FakeNode;

/// A node with a backup `nightly`; since then a table was made and another one dropped.
pub fn changed_since(node: FakeNode) -> FakeNode {
    let node = node.with_table("ks1", "users", 2).with_table("ks1", "old", 1);
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    assert_eq!(made["failed"], Value::Null, "{made:#}");
    node.drop_table("ks1", "old");
    node.with_table("ks1", "new", 1)
}

pub fn restore(node: &FakeNode, args: Value) -> Value {
    let mut all = json!({"tag": "nightly"});
    args.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    node.run_module("cassandra_restore", all)
}

pub fn roll_back(node: &FakeNode) -> Value {
    node.run_module("cassandra_restore", json!({"state": "rolled_back"}))
}

pub fn work(node: &FakeNode, level: &str) -> PathBuf {
    node.dirs().storage.join(".cassandra_restore-data").join(level)
}
