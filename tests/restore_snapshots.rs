//! The operator's own snapshots survive a restore.

mod support;
#[path = "restores/way_back.rs"]
mod way_back;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::{FakeNode, Tree, tree};
use way_back::{changed_since, restore, roll_back, work};

/// A node with snapshots of all tables, with `ks1.new` made and `ks1.old` dropped since the backup.
fn node() -> FakeNode {
    changed_since(FakeNode::running()).with_operator_snapshot("mine").with_backups_dir("ks1", "users")
}

fn snapshot(node: &FakeNode, table: &str, tag: &str) -> PathBuf {
    node.dirs().table("ks1", table).join("snapshots").join(tag)
}

/// What lies below `snapshots` and `backups` of the live tables.
fn kept(node: &FakeNode) -> Tree {
    let all = tree(&node.dirs().data[0]).into_iter();
    all.filter(|(path, _)| path.contains("/snapshots/") || path.contains("/backups/")).collect()
}

fn without_new(all: Tree) -> Tree {
    all.into_iter().filter(|(path, _)| !path.starts_with("ks1/new-")).collect()
}

#[test]
fn they_follow_the_tables_that_live_on_and_stay_with_the_others_and_are_named() {
    let node = node();
    let before = kept(&node);
    let new = node.dirs().table("ks1", "new");
    let result = restore(&node, json!({}));
    assert_eq!(kept(&node), without_new(before));
    let left = new.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(
        result["warnings"],
        json!([format!(
            "snapshots of tables that the archive does not have stay with the previous data in `{}`, until the next \
             restore: `ks1.{left}/snapshots/mine`",
            work(&node, "previous").display()
        )])
    );
    assert!(work(&node, &format!("previous/ks1/{left}/snapshots/mine/manifest.json")).exists());
}

#[test]
fn a_roll_back_brings_them_back_with_the_previous_data() {
    let node = node();
    let before = kept(&node);
    restore(&node, json!({}));
    let later = node.with_operator_snapshot("later");
    assert_eq!(roll_back(&later)["changed"], true);
    let now = kept(&later);
    let mine: Tree = now
        .iter()
        .filter(|(path, _)| !path.contains("/later"))
        .map(|(p, e)| (p.clone(), e.clone()))
        .collect();
    assert_eq!(mine, before);
    // One that was taken of the restored table in between as well.
    assert!(snapshot(&later, "users", "later").exists());
}

#[test]
fn a_snapshot_whose_name_is_taken_stays_and_is_named() {
    let node = node();
    // Cassandra, or somebody, takes one of that name before the others come.
    let node = node.after("start", |dirs| {
        let there = dirs.table("ks1", "users").join("snapshots/mine");
        fs::create_dir_all(&there).unwrap();
        fs::write(there.join("theirs"), "x").unwrap();
    });
    let result = restore(&node, json!({}));
    let warned = result["warnings"][0].as_str().unwrap();
    assert!(warned.contains("ks1.users-") && warned.contains("/snapshots/mine`"), "{warned}");
    assert_eq!(fs::read_to_string(snapshot(&node, "users", "mine").join("theirs")).unwrap(), "x");
    let table = node.dirs().table("ks1", "users").file_name().unwrap().to_string_lossy().into_owned();
    assert!(work(&node, &format!("previous/ks1/{table}/snapshots/mine/manifest.json")).exists());
}

#[test]
fn without_the_previous_data_those_of_tables_that_are_gone_are_kept_all_the_same() {
    let node = node();
    let new = node.dirs().table("ks1", "new").file_name().unwrap().to_string_lossy().into_owned();
    let result = restore(&node, json!({"keep_previous": false}));
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    let left: Vec<String> = tree(&work(&node, "previous")).into_keys().collect();
    assert!(left.contains(&format!("ks1/{new}/snapshots/mine/manifest.json")), "{left:#?}");
    assert!(
        left.iter().all(|path| path == "ks1" || path == &format!("ks1/{new}") || path.contains("/snapshots"))
    );
    // That is no previous data, and nothing to be removed by a run that finds the rest unchanged.
    assert_eq!(restore(&node, json!({"keep_previous": false}))["changed"], false);
    assert_eq!(roll_back(&node)["error"], "no_previous_data");
}

#[test]
fn a_link_in_the_place_of_snapshots_is_not_followed() {
    let node = node();
    let outside = node.host().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "s").unwrap();
    let links = node.dirs().table("ks1", "users").join("snapshots");
    fs::remove_dir_all(&links).unwrap();
    std::os::unix::fs::symlink(&outside, &links).unwrap();
    let result = restore(&node, json!({}));
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "s");
    assert!(!links.exists());
}
