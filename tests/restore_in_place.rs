//! `staging: in_place`, for a disk that cannot hold both.

mod support;
#[path = "restores/way_back.rs"]
mod way_back;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, tree};
use way_back::{changed_since, restore, roll_back, work};

fn in_place(node: &FakeNode) -> Value {
    restore(node, json!({"staging": "in_place", "give_up_previous": true}))
}

/// Ends a run in place right after the first step of this kind on such a path.
fn end_after(node: &FakeNode, kind: &str, path: &str, how: &str) -> Option<Value> {
    let log = node.host().join("steps");
    // The same node, in a copy of what it does: the steps are the same each time.
    let trial = changed_since(FakeNode::running());
    let args = json!({"tag": "nightly", "staging": "in_place", "give_up_previous": true});
    let effects = log.display().to_string();
    trial
        .start_module_with("cassandra_restore", args.clone(), &[("CASSANDRA_BACKUP_EFFECTS", &effects)])
        .finish();
    let steps = std::fs::read_to_string(&log).unwrap();
    let steps = steps.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found =
        steps.filter(|step| step["kind"] == kind && step["path"].as_str().unwrap().contains(path));
    let number = found.next().expect("such a step")["step"].to_string();
    if how == "KILL" {
        node.start_module_with("cassandra_restore", args, &[("CASSANDRA_BACKUP_DIE_AFTER", &number)]).wait();
        return None;
    }
    let signal = format!("{number}:{how}");
    Some(
        node.start_module_with("cassandra_restore", args, &[("CASSANDRA_BACKUP_SIGNAL_AFTER", &signal)])
            .finish(),
    )
}

#[test]
fn it_says_what_it_gives_up_and_asks_for_its_own_confirmation() {
    let node = changed_since(FakeNode::running());
    let before = (node.tree(), node.changes());
    let refused = restore(&node, json!({"staging": "in_place"}));
    assert_eq!(
        refused["msg"],
        "`staging: in_place` removes the node's data before the archive is unpacked: a restore that fails from there on can \
         be run again, but not be rolled back. set `give_up_previous: true` as well to confirm \
         that; `staging: beside` needs room for both, and keeps the way back"
    );
    assert!((node.tree(), node.changes()) == before);
}

#[test]
fn the_node_has_the_archives_data_and_nothing_of_the_previous_is_left() {
    let node = FakeNode::running().with_table("ks1", "users", 2);
    node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    let (data, host_id) = (node.user_data(), node.host_id());
    let node = node.with_table("ks1", "new", 1).with_operator_snapshot("mine");
    let result = in_place(&node);
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
    assert_eq!((node.user_data(), node.host_id(), node.run_state()), (data, host_id, RunState::Running));
    assert_eq!(node.restart_policy_name(), "unless-stopped");
    // But the operator's snapshots.
    assert!(node.dirs().table("ks1", "users").join("snapshots/mine/manifest.json").exists());
    let left = tree(&work(&node, "previous"));
    assert!(left.keys().any(|path| path.ends_with("/snapshots/mine/manifest.json")));
    assert!(
        !left.keys().any(|path| path.ends_with("-Data.db") && !path.contains("/snapshots/")),
        "{left:#?}"
    );
    assert_eq!(
        roll_back(&node)["msg"],
        "there is nothing to roll back to: the previous data was removed (`staging: in_place`). The node was not touched"
    );
    assert_eq!(in_place(&node)["changed"], false);
}

#[test]
fn a_damaged_archive_is_found_before_the_node_is_touched() {
    let node = changed_since(FakeNode::running());
    let archive = node.archive("nightly");
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let (data, changes) = (node.user_data(), node.changes());
    let refused = in_place(&node);
    assert_eq!(refused["error"], "archive_damaged", "{refused:#}");
    assert!((node.user_data(), node.changes()) == (data, changes));
    assert_eq!(node.run_state(), RunState::Running);
}

#[test]
fn a_failure_before_anything_is_removed_rolls_back() {
    let node = changed_since(FakeNode::running());
    let tables = node.tables();
    let told = end_after(&node, "Stop", "node", "TERM").unwrap();
    assert_eq!((&told["error"], &told["rolled_back"]), (&json!("interrupted"), &json!(true)), "{told:#}");
    assert_eq!((node.tables(), node.run_state()), (tables, RunState::Running));
}

#[test]
fn one_that_was_cut_off_leaves_the_blocker_and_is_finished_by_the_next_run() {
    for (kind, path) in [("Remove", "previous/"), ("Create", "staged/ks1"), ("Rename", "staged/ks1")] {
        let node = changed_since(FakeNode::running());
        assert!(end_after(&node, kind, path, "KILL").is_none());
        // Nobody's node: whoever starts it sees it refuse.
        let (before, starts) = (tree(&node.dirs().data[0]), node.starts().len());
        node.start();
        assert_eq!((node.run_state(), node.starts().len()), (RunState::Exited, starts), "{kind} {path}");
        assert!(tree(&node.dirs().data[0]) == before);

        let refused = roll_back(&node);
        assert_eq!(
            refused["msg"],
            "there is nothing to roll back to: the previous data was removed (`staging: in_place`). The node was not \
             touched"
        );
        // The option is not asked for again: the journal knows.
        let result = restore(&node, json!({}));
        assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
        assert!(
            node.tables().contains(&"ks1.old".to_owned()) && !node.tables().contains(&"ks1.new".to_owned())
        );
        assert_eq!(
            (node.run_state(), node.restart_policy_name().as_str()),
            (RunState::Running, "unless-stopped")
        );
        assert!(!work(&node, "previous").exists() && !work(&node, "staged").exists());
    }
}

#[test]
fn one_that_is_ended_while_it_unpacks_says_how_things_stand() {
    let node = changed_since(FakeNode::running());
    let told = end_after(&node, "Create", "staged/ks1", "TERM").unwrap();
    assert_eq!(
        told["msg"],
        "ended by SIGTERM. The previous data was given up (`staging: in_place`), and the archive is whole: container `node` \
         is not to be started by hand; run the same restore again. run again"
    );
    assert_eq!(
        (&told["changed"], told.get("rolled_back"), node.run_state()),
        (&json!(true), None, RunState::Exited)
    );
    assert_eq!(in_place(&node)["changed"], true);
    assert!(node.tables().contains(&"ks1.old".to_owned()));
}

#[test]
fn what_was_staged_beside_is_not_taken_for_what_is_asked_in_place() {
    let node = changed_since(FakeNode::running());
    restore(&node, json!({"state": "staged"}));
    assert!(work(&node, "staged/ks1").exists());
    let result = in_place(&node);
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
    assert!(node.tables().contains(&"ks1.old".to_owned()));
    assert_eq!(roll_back(&node)["error"], "no_previous_data");
}
