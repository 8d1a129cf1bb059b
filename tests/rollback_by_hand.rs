//! The way back by hand: `state: rolled_back`, from whatever phase a restore has reached.

mod support;
#[path = "restores/way_back.rs"]
mod way_back;

use std::fs;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, Fault, check_mode, tree};
use way_back::{changed_since, restore, roll_back, work};

#[test]
fn every_phase_is_rolled_back_by_hand_and_only_once() {
    for state in ["staged", "swapped", "started", "restored"] {
        let node = changed_since(FakeNode::running().restart_policy("always"));
        let (data, tables, host_id) = (node.user_data(), node.tables(), node.host_id());
        let reached = restore(&node, json!({"state": state}));
        assert_eq!(reached["restore"]["state"], state, "{reached:#}");

        let result = roll_back(&node);
        let msg = match state {
            "staged" => "what was unpacked of the archive is removed; the node was not touched",
            _ => "the previous data of container `node` is back in place",
        };
        assert_eq!((&result["changed"], &result["msg"]), (&json!(true), &json!(msg)), "{state}");
        assert_eq!((node.user_data(), node.tables(), node.host_id()), (data, tables, host_id), "{state}");
        assert_eq!((node.run_state(), node.restart_policy_name().as_str()), (RunState::Running, "always"));
        assert!(node.starts().iter().all(|start| !start.is_new_node || start == &node.starts()[0]));
        assert!(!work(&node, "previous").exists() && !work(&node, "staged").exists());
        // Only what clients could have written to is worth its room.
        assert_eq!(work(&node, "undone").exists(), matches!(state, "started" | "restored"));

        let (before, changes) = (tree(node.host()), node.changes());
        let again = roll_back(&node);
        assert_eq!(again["changed"], false);
        let path = node.archive("nightly").display().to_string();
        assert_eq!(again["msg"], format!("the restore of `{path}` is rolled back already"));
        assert_eq!((tree(node.host()), node.changes()), (before, changes));
    }
}

#[test]
fn clients_writes_to_the_restored_data_are_kept_when_it_is_rolled_back() {
    let node = changed_since(FakeNode::running());
    restore(&node, json!({}));
    node.write("ks1", "users");
    node.flush();
    let written = node.user_data();
    let result = roll_back(&node);
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    let undone = tree(&work(&node, "undone"));
    assert!(!written.is_empty());
    for (path, entry) in written.iter().filter(|(path, _)| path.starts_with("data/ks1/users")) {
        assert_eq!(undone.get(path.strip_prefix("data/").unwrap()), Some(entry), "{path}");
    }
    // It was down only while the data was put back.
    assert!(result["downtime_seconds"].as_f64().unwrap() < 60.0);
}

#[test]
fn without_previous_data_there_is_no_way_back() {
    let node = changed_since(FakeNode::running());
    let none = roll_back(&node);
    assert_eq!(
        none["msg"],
        format!(
            "there is nothing to roll back to: no restore of this node is recorded in `{}`. The node was not touched",
            node.state_dir().display()
        )
    );
    assert_eq!(none["error"], "no_previous_data");
    restore(&node, json!({"keep_previous": false}));
    let (before, changes) = (tree(node.host()), node.changes());
    for args in [json!({"state": "rolled_back"}), check_mode(json!({"state": "rolled_back"}))] {
        let gone = node.run_module("cassandra_restore", args);
        assert_eq!(
            gone["msg"],
            "there is nothing to roll back to: the previous data was removed (`keep_previous: false`). The node was not \
             touched"
        );
    }
    assert_eq!((tree(node.host()), node.changes()), (before, changes));
}

#[test]
fn check_mode_tells_of_the_way_back_and_does_not_go_it() {
    let node = changed_since(FakeNode::running());
    for (state, msg) in [
        ("staged", "what was unpacked of the archive would be removed"),
        ("restored", "the previous data of container `node` would be put back"),
    ] {
        restore(&node, json!({"state": state}));
        let (before, changes) = (tree(node.host()), node.changes());
        let result = node.run_module("cassandra_restore", check_mode(json!({"state": "rolled_back"})));
        assert_eq!((&result["changed"], &result["msg"]), (&json!(true), &json!(msg)));
        assert_eq!((tree(node.host()), node.changes()), (before, changes));
    }
}

#[test]
fn an_archive_that_cannot_be_staged_leaves_the_way_back_from_the_one_before() {
    let node = changed_since(FakeNode::running());
    let data = node.user_data();
    node.run_module("cassandra_backup", json!({"tag": "damaged"}));
    let mut bytes = fs::read(node.archive("damaged")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(node.archive("damaged"), bytes).unwrap();
    restore(&node, json!({}));
    let failed = restore(&node, json!({"tag": "damaged"}));
    assert_eq!((&failed["error"], failed.get("rolled_back")), (&json!("archive_damaged"), None));
    assert_eq!(roll_back(&node)["msg"], "the previous data of container `node` is back in place");
    assert_eq!(node.user_data(), data);
}

/// Nobody else knows what clients wrote in the meantime.
#[test]
fn a_swapped_node_that_somebody_started_is_kept_aside_too() {
    let node = changed_since(FakeNode::running());
    let data = node.user_data();
    restore(&node, json!({"state": "swapped"}));
    node.start();
    node.write("ks1", "old");
    assert_eq!(roll_back(&node)["rolled_back"], true);
    assert_eq!(node.user_data(), data);
    assert!(tree(&work(&node, "undone")).keys().any(|path| path.starts_with("ks1/old-")));
}

#[test]
fn a_node_stopped_since_it_was_restored_is_rolled_back_to_how_it_was_found() {
    for found in [RunState::Running, RunState::Exited] {
        let node = changed_since(FakeNode::running());
        let data = node.user_data();
        if found == RunState::Exited {
            node.stop();
        }
        restore(&node, json!({}));
        node.stop();
        let result = roll_back(&node);
        assert_eq!((&result["changed"], result.get("downtime_seconds")), (&json!(true), None));
        assert_eq!(result["container"]["left"], found.word());
        assert_eq!(node.run_state(), found);
        node.start();
        assert_eq!(node.user_data(), data);
    }
}

#[test]
fn a_roll_back_that_the_engine_stops_half_way_is_finished_by_the_next_run() {
    let node = changed_since(FakeNode::running());
    let data = node.user_data();
    restore(&node, json!({}));
    node.engine.fail_nth("POST /containers/node/start", 1, Fault::Status(500, "out of order"));
    let result = roll_back(&node);
    assert_eq!(
        result["msg"],
        "the Docker Engine failed to start container `node`: out of order. The roll-back of container `node` is \
         unfinished, and no data is lost; run it again. see the Docker Engine's log, then run again"
    );
    let refused = node.run_module("cassandra_backup", json!({"tag": "later"}));
    assert_eq!(
        refused["msg"],
        format!(
            "a restore of this node is unfinished (phase `undo_swapped`, archive `{}`). No archive was made. No data is \
             lost; the node is as an earlier run left it: `undo_swapped`, container `node` is exited. undo it by \
             `cassandra_restore` with `state: rolled_back`",
            node.archive("nightly").display()
        )
    );
    assert_eq!(roll_back(&node)["msg"], "the previous data of container `node` is back in place");
    assert_eq!((node.run_state(), node.user_data()), (RunState::Running, data));
}

#[test]
fn a_roll_back_that_was_cut_off_is_ended_before_the_restore_begins_anew() {
    let node = changed_since(FakeNode::running());
    let (data, restored) = (node.user_data(), restore(&node, json!({}))["restore"].clone());
    let archived = node.user_data();
    node.engine.fail_nth("POST /containers/node/start", 1, Fault::Status(500, "out of order"));
    assert_eq!(roll_back(&node)["failed"], true);
    let result = restore(&node, json!({}));
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
    assert_ne!(result["restore"]["run_id"], restored["run_id"]);
    assert_eq!((node.run_state(), node.user_data()), (RunState::Running, archived));
    // What it set aside is the previous data, not what the first restore brought.
    assert_eq!(roll_back(&node)["changed"], true);
    assert_eq!(node.user_data(), data);
}
