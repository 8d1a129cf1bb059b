//! `cassandra_backup_info`: what is there, without changing anything.

mod backups;
mod support;

use std::fs;

use backups::{backup, damage, nightly, told};
use cassandra_backup::archive::reader::Archive;
use cassandra_backup::error::tell;
use serde_json::{Value, json};
use support::{FakeNode, tree};

/// Runs it and demands that nothing changed.
fn info(node: &FakeNode, args: Value) -> Value {
    let (host, changes) = (tree(node.host()), node.changes());
    let result = node.run_module("cassandra_backup_info", args);
    assert!(tree(node.host()) == host, "{result:#}");
    assert_eq!(node.changes(), changes);
    assert_eq!(result["changed"], false);
    result
}

fn listed(result: &Value) -> Vec<&str> {
    result["backups"].as_array().unwrap().iter().map(|backup| backup["tag"].as_str().unwrap()).collect()
}

fn small() -> FakeNode {
    FakeNode::running().with_table("ks1", "users", 1)
}

#[test]
fn every_archive_is_listed_once_and_sorted() {
    let node = small();
    let made: Vec<Value> =
        ["b", "a", "c"].map(|tag| backup(&node, json!({"tag": tag}))["backup"].clone()).to_vec();
    fs::write(node.backup_dir().join("notes.txt"), "mine").unwrap();
    fs::write(node.backup_dir().join("d.tgz.partial"), "half").unwrap();
    fs::create_dir(node.backup_dir().join("e.tgz")).unwrap();

    let result = info(&node, json!({"container": null}));

    assert_eq!(result["msg"], format!("3 archives in `{}`", node.backup_dir().display()));
    assert_eq!(result["backups"], json!([made[1], made[0], made[2]]));
    assert_eq!(result.get("restore"), None);
    assert_eq!(result.get("container"), None);
}

#[test]
fn one_tag_can_be_asked_for() {
    let node = small();
    nightly(&node);
    backup(&node, json!({"tag": "weekly"}));

    let one = info(&node, json!({"tag": "weekly"}));
    let none = info(&node, json!({"tag": "monthly"}));

    let dir = node.backup_dir();
    assert_eq!(
        (listed(&one), &one["msg"]),
        (vec!["weekly"], &json!(format!("1 archive in `{}`", dir.display())))
    );
    assert_eq!((listed(&none), &none["msg"]), (vec![], &json!(format!("0 archives in `{}`", dir.display()))));
}

#[test]
fn a_directory_that_is_not_there_holds_no_archive() {
    let node = small();

    let result = info(&node, json!({}));

    assert_eq!(result["backups"], json!([]));
    assert_eq!(result["msg"], format!("0 archives in `{}`", node.backup_dir().display()));
}

#[test]
fn a_directory_that_is_a_file_is_told() {
    let node = small();
    fs::write(node.backup_dir(), "not a directory").unwrap();

    let result = info(&node, json!({}));

    let message = format!(
        "`{}` cannot be used as backup_dir: it is not a directory. Nothing was changed. set `backup_dir` to a directory of \
         its own on this host",
        node.backup_dir().display()
    );
    assert_eq!(told(&result), ("backup_dir", message.as_str()));
}

#[test]
fn an_unusable_archive_is_told_with_its_reason_and_hides_no_other() {
    let node = small();
    nightly(&node);
    let [cut, foreign] = ["cut", "foreign"].map(|tag| node.archive(tag));
    let whole = fs::read(node.archive("nightly")).unwrap();
    fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    fs::write(&foreign, "x".repeat(500)).unwrap();

    let result = info(&node, json!({}));

    let dir = node.backup_dir();
    assert_eq!(listed(&result), ["cut", "foreign", "nightly"]);
    assert_eq!(result["msg"], format!("3 archives in `{}`, 2 of them unusable", dir.display()));
    let why = "it was cut short or overwritten: its last 51 bytes are not its footer";
    assert_eq!(
        result["backups"][0],
        json!({
            "tag": "cut", "path": cut, "error": "archive_damaged",
            "msg": format!("the archive `{}` is damaged: {why}", cut.display()),
        })
    );
    let msg =
        format!("`{}` is not an archive of this module: it has no table of contents", foreign.display());
    assert_eq!(
        result["backups"][1],
        json!({"tag": "foreign", "path": foreign, "error": "archive_foreign", "msg": msg})
    );
    assert_eq!(result["backups"][2].get("error"), None);
}

#[test]
fn verifying_finds_one_flipped_byte_and_proves_the_others() {
    let node = small();
    nightly(&node);
    let sound = backup(&node, json!({"tag": "sound"}));
    let archive = node.archive("nightly");
    damage(&archive);

    let quick = info(&node, json!({}));
    let thorough = info(&node, json!({"verify": true}));

    assert!(
        quick["backups"].as_array().unwrap().iter().all(|backup| backup.get("error").is_none()),
        "{quick:#}"
    );
    let verified = Archive::open(&archive).unwrap().verify(2, &mut |_| {});
    let verdict = tell(&verified.unwrap_err()).message;
    let expected = json!({"tag": "nightly", "path": archive, "error": "archive_damaged", "msg": verdict});
    assert_eq!(thorough["backups"][0], expected);
    let mut proved = sound["backup"].clone();
    proved["verified"] = json!(true);
    assert_eq!(thorough["backups"][1], proved);
}

#[test]
fn a_container_is_looked_at_where_it_is_named() {
    let node = small();
    nightly(&node);

    let running = info(&node, json!({}));
    node.stop();
    let stopped = info(&node, json!({}));
    let absent = info(&node, json!({"container": "other"}));

    assert_eq!(running["restore"], Value::Null);
    assert!(running.as_object().unwrap().contains_key("restore"));
    let container =
        |state: &str| json!({"name": "node", "image": "cassandra:5.0", "found": state, "left": state});
    assert_eq!(running["container"], container("running"));
    assert_eq!(stopped["container"], container("exited"));
    let message = "there is no container `other`. Nothing was changed. see `docker ps -a` on this host, and set \
                   `container` to the node's name";
    assert_eq!(told(&absent), ("container_absent", message));
}

#[test]
fn a_restore_is_told_with_its_state_and_archive() {
    let node = small();
    nightly(&node);
    node.run_module("cassandra_restore", json!({"tag": "nightly", "state": "swapped"}));

    let result = info(&node, json!({}));

    let restore = &result["restore"];
    assert_eq!((restore["state"].as_str(), restore["finished"].as_bool()), (Some("swapped"), Some(false)));
    assert_eq!(restore["archive"], json!(node.archive("nightly")));
    assert_eq!(restore["tag"], "nightly");
    assert_eq!(listed(&result), ["nightly"]);
}

#[test]
fn a_restore_is_told_with_whether_there_is_a_way_back() {
    let node = small();
    nightly(&node);
    let kept_after = |args: Value| {
        let result = node.run_module("cassandra_restore", args);
        assert_eq!(result.get("failed"), None, "{result:#}");
        info(&node, json!({}))["restore"]["previous_kept"].clone()
    };

    assert_eq!(kept_after(json!({"tag": "nightly", "state": "staged"})), false);
    assert_eq!(kept_after(json!({"tag": "nightly", "state": "swapped"})), true);
    assert_eq!(kept_after(json!({"tag": "nightly"})), true);
    assert_eq!(kept_after(json!({"state": "rolled_back"})), false);
    assert_eq!(kept_after(json!({"tag": "nightly", "keep_previous": false})), false);
}

#[test]
fn a_restore_that_was_killed_in_the_middle_has_a_way_back() {
    let node = small();
    nightly(&node);
    let stop = node.engine.hold("POST /containers/node/stop");
    let run = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
    stop.wait_until_reached();
    run.kill();

    let told = info(&node, json!({}))["restore"].clone();
    stop.open();
    assert_eq!((&told["state"], &told["previous_kept"]), (&json!("setting_aside"), &json!(true)));
}

#[test]
fn check_mode_makes_no_difference() {
    let node = small();
    nightly(&node);
    let mut results = [false, true].map(|check| info(&node, json!({"_ansible_check_mode": check})));
    for result in &mut results {
        result.as_object_mut().unwrap().remove("steps");
        result.as_object_mut().unwrap().remove("invocation");
    }
    assert_eq!(results[0], results[1]);
}
