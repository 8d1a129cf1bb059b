//! What a result may hold: of a bounded size, in UTF-8, without a secret or a key of Ansible's own.

mod support;
#[path = "restores/way_back.rs"]
mod way_back;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};
use support::{FakeNode, NO_UTF8};
use way_back::{changed_since, restore};

const LARGEST: usize = 100_000;

fn backup(node: &FakeNode, args: Value) -> Value {
    node.run_module("cassandra_backup", args)
}

fn info(node: &FakeNode, args: Value) -> Value {
    node.run_module("cassandra_backup_info", args)
}

/// The result of a run that went well, of a size that Ansible carries.
fn small(result: Value) -> Value {
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    assert!(result.to_string().len() < LARGEST, "{} bytes", result.to_string().len());
    result
}

#[test]
fn ten_thousand_tables_in_two_thousand_keyspaces_are_a_small_result() {
    let node = FakeNode::running().with_tables(2_000, 5);

    let made = small(backup(&node, json!({"tag": "nightly", "verify": false, "compression": "none"})));
    let listed = small(info(&node, json!({})));
    let restored = small(restore(&node, json!({"state": "staged"})));

    assert_eq!(made["backup"]["tables"], 10_048);
    assert_eq!(made["backup"]["keyspaces"].as_array().unwrap().len(), 1_000);
    let cut = |key: &str| {
        json!([format!("the result was too large, and is cut: `{key}` shows 1000 of 2005 entries")])
    };
    assert_eq!(
        (&made["warnings"], &restored["warnings"]),
        (&cut("backup.keyspaces"), &cut("backup.keyspaces"))
    );
    assert_eq!(listed["warnings"], cut("backups.keyspaces"));
}

#[test]
fn a_refusal_that_names_two_thousand_keyspaces_is_small_and_ends_with_how_things_stand() {
    let node = FakeNode::running().with_tables(2_000, 1).with_empty_table("other", "table");
    small(backup(&node, json!({"tag": "nightly", "exclude_keyspaces": "other", "verify": false})));

    let refused = restore(&node, json!({}));

    assert!(refused.to_string().len() < LARGEST);
    assert_eq!(refused["error"], "refused");
    let msg = refused["msg"].as_str().unwrap();
    assert!(
        msg.starts_with(&format!(
            "`{}` holds only some keyspaces (ks0000_",
            node.archive("nightly").display()
        ))
    );
    assert!(
        msg.ends_with("; a node is restored from an archive of all of them. The node was not touched"),
        "{msg}"
    );
}

#[test]
fn of_a_thousand_archives_the_newest_are_told_and_how_many_there_are() {
    let node = FakeNode::running().with_table("ks1", "users", 1);
    small(backup(&node, json!({"tag": "newest", "keyspaces": "ks1"})));
    small(backup(&node, json!({"tag": "older", "keyspaces": "ks1"})));
    let (dir, older) = (node.backup_dir(), node.archive("older"));
    for number in 0..997 {
        fs::hard_link(&older, dir.join(format!("t{number:03}.tgz"))).unwrap();
    }
    fs::write(dir.join("zzz.tgz"), "no archive").unwrap();
    // The one that was made last is first in the order of names, which must not matter.
    fs::remove_file(dir.join("newest.tgz")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    small(backup(&node, json!({"tag": "newest", "keyspaces": "ks1"})));

    let listed = small(info(&node, json!({})));

    let backups = listed["backups"].as_array().unwrap();
    let tags: Vec<&str> = backups.iter().map(|backup| backup["tag"].as_str().unwrap()).collect();
    assert_eq!((tags.len(), tags[0], tags[99]), (100, "newest", "zzz"));
    assert!(tags.is_sorted());
    assert_eq!(
        listed["msg"],
        format!(
            "1000 archives in `{}`, 1 of them unusable; the newest 100 are told, `tag` asks for any other",
            dir.display()
        )
    );
    assert_eq!(info(&node, json!({"tag": "t000"}))["backups"].as_array().unwrap().len(), 1);
}

#[test]
fn names_of_files_that_are_not_utf_8_are_told_in_utf_8() {
    let node = changed_since(FakeNode::running());
    fs::create_dir(node.dirs().data[0].join(OsStr::from_bytes(b"ks\xfe"))).unwrap();

    let told = format!(
        "`{}/ks\u{fffd}` is not a UTF-8 name. The node was not touched",
        node.dirs().data[0].display()
    );
    assert_eq!(backup(&node, json!({"tag": "other"}))["msg"], format!("{told} and no archive was made"));
    assert_eq!(restore(&node, json!({}))["msg"], told);
}

#[test]
fn what_a_container_says_that_is_not_utf_8_is_told_in_utf_8() {
    let node = changed_since(FakeNode::running());
    let node = node.failing_on("nodetool tablestats", 1, &format!("error: {NO_UTF8} is broken"));
    assert_eq!(
        backup(&node, json!({}))["msg"],
        "`nodetool tablestats` failed in container `node` (exit code 1): \u{fffd} is broken. No archive was made; the data \
         is untouched and container `node` is running. see `docker logs` and try the command with `docker exec`"
    );

    let node = node.logging(&format!("ERROR {NO_UTF8} in the log")).dying_on_start();
    let failed = restore(&node, json!({}));
    let msg = failed["msg"].as_str().unwrap();
    assert!(msg.contains("; its log ends: ERROR \u{fffd} in the log"), "{msg}");
}
