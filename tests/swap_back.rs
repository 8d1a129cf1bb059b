//! `state: swapped_back`: the previous data is back in its place and the node stays stopped, until `rolled_back`.

mod support;
#[path = "restores/way_back.rs"]
mod way_back;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, Fault, Tree, check_mode, tree};
use way_back::{changed_since, restore, roll_back, work};

const BACK_AND_STOPPED: &str = "the previous data of container `node` is back in place, and it is stopped";

fn swap_back(node: &FakeNode) -> Value {
    node.run_module("cassandra_restore", json!({"state": "swapped_back"}))
}

/// The tables' files as they lie there: a node that stays stopped cannot be asked what its tables are.
fn files(node: &FakeNode) -> Tree {
    node.tree().into_iter().filter(|(path, _)| path.starts_with("data/ks1/")).collect()
}

fn info(node: &FakeNode) -> Value {
    node.run_module("cassandra_backup_info", json!({"container": "node"}))["restore"].clone()
}

fn nothing_changes(node: &FakeNode, msg: &str) {
    let (before, changes) = (tree(node.host()), node.changes());
    let again = swap_back(node);
    assert_eq!((&again["changed"], &again["msg"]), (&json!(false), &json!(msg)), "{again:#}");
    assert_eq!((tree(node.host()), node.changes()), (before, changes));
}

#[test]
fn every_phase_that_has_touched_the_node_is_swapped_back_and_then_rolled_back() {
    for state in ["swapped", "started", "restored"] {
        let node = changed_since(FakeNode::running().restart_policy("always"));
        let (data, files_of_it) = (node.user_data(), files(&node));
        let (tables, host_id) = (node.tables(), node.host_id());
        restore(&node, json!({"state": state}));
        let starts = node.starts().len();

        let result = swap_back(&node);

        assert_eq!((&result["changed"], &result["msg"]), (&json!(true), &json!(BACK_AND_STOPPED)), "{state}");
        let told = (&result["rolled_back"], &result["restore"]["state"], &result["container"]["left"]);
        assert_eq!(told, (&json!(true), &json!("swapped_back"), &json!("exited")), "{state}");
        assert_eq!((files(&node), node.starts().len()), (files_of_it, starts), "{state}");
        assert_eq!((node.run_state(), node.restart_policy_name().as_str()), (RunState::Exited, "no"));
        assert_eq!((&info(&node)["state"], &info(&node)["tag"]), (&json!("undo_swapped"), &json!("nightly")));
        assert_eq!(work(&node, "undone").exists(), matches!(state, "started" | "restored"));
        nothing_changes(
            &node,
            "the previous data of container `node` is back in place already, and it is stopped",
        );

        let back = roll_back(&node);
        assert_eq!(back["msg"], "the previous data of container `node` is back in place", "{state}");
        assert_eq!((node.user_data(), node.tables(), node.host_id()), (data, tables, host_id), "{state}");
        assert_eq!((node.run_state(), node.restart_policy_name().as_str()), (RunState::Running, "always"));
        assert!(!node.starts()[1..].iter().any(|start| start.is_new_node), "{state}");
        let path = node.archive("nightly").display().to_string();
        nothing_changes(&node, &format!("the restore of `{path}` is rolled back already"));
    }
}

#[test]
fn a_node_that_was_not_touched_goes_on_serving() {
    let node = changed_since(FakeNode::running());
    restore(&node, json!({"state": "staged"}));
    let foretold = node
        .run_module("cassandra_restore", check_mode(json!({"state": "swapped_back", "_ansible_diff": true})));
    assert_eq!(
        foretold["diff"]["after"],
        json!({"container": "running", "data": "live", "restore": "rolled_back"})
    );
    let result = swap_back(&node);
    assert_eq!(result["msg"], "what was unpacked of the archive is removed; the node was not touched");
    assert_eq!((&result["restore"]["state"], node.run_state()), (&json!("rolled_back"), RunState::Running));
    assert_eq!((&result["container"]["left"], node.starts().len()), (&json!("running"), 1));
    assert!(!work(&node, "staged").exists());
}

#[test]
fn check_mode_and_diff_tell_that_the_node_will_be_stopped() {
    let node = changed_since(FakeNode::running());
    restore(&node, json!({}));
    let (before, changes) = (tree(node.host()), node.changes());
    let asked = check_mode(json!({"state": "swapped_back", "_ansible_diff": true}));
    let result = node.run_module("cassandra_restore", asked);
    let msg = "the previous data of container `node` would be put back, and it would be stopped";
    assert_eq!((&result["changed"], &result["msg"]), (&json!(true), &json!(msg)));
    let data = format!("of {}", node.archive("nightly").display());
    let [is, will_be] = ["before", "after"].map(|side| &result["diff"][side]);
    assert_eq!(is, &json!({"container": "running", "data": data, "restore": "restored"}));
    assert_eq!(will_be, &json!({"container": "exited", "data": "live", "restore": "swapped_back"}));
    assert_eq!((tree(node.host()), node.changes()), (before, changes));
}

/// A roll-back that died has started the container again: there the node is not swapped back yet.
#[test]
fn a_node_that_a_roll_back_has_started_again_is_stopped() {
    let node = changed_since(FakeNode::running());
    let data = node.user_data();
    restore(&node, json!({"state": "swapped"}));
    swap_back(&node);
    let started = node.engine.hold("POST /containers/node/start");
    let run = node.start_module("cassandra_restore", json!({"state": "rolled_back"}));
    started.wait_until_reached();
    run.kill();
    started.open();
    node.start();
    assert_eq!(swap_back(&node)["msg"], BACK_AND_STOPPED);
    assert_eq!((node.run_state(), node.restart_policy_name().as_str()), (RunState::Exited, "no"));
    roll_back(&node);
    assert_eq!((node.run_state(), node.user_data()), (RunState::Running, data));
}

#[test]
fn what_the_engine_stops_half_way_is_told_and_gone_on_with() {
    let node = changed_since(FakeNode::running());
    let data = files(&node);
    restore(&node, json!({}));
    node.engine.fail_nth("POST /containers/node/stop", 1, Fault::Status(500, "out of order"));
    let failed = swap_back(&node);
    assert_eq!(
        failed["msg"],
        "the Docker Engine failed to stop container `node`: out of order. The roll-back of container `node` is \
         unfinished, and no data is lost; run it again. see the Docker Engine's log, then run again"
    );
    assert_eq!(swap_back(&node)["msg"], BACK_AND_STOPPED);
    assert_eq!((node.run_state(), files(&node)), (RunState::Exited, data));
}

#[test]
fn without_a_restore_there_is_nothing_to_swap_back() {
    let node = changed_since(FakeNode::running());
    assert_eq!(swap_back(&node)["error"], "no_previous_data");
    restore(&node, json!({"keep_previous": false}));
    assert_eq!(swap_back(&node)["error"], "no_previous_data");
    assert_eq!(node.run_state(), RunState::Running);
}

/// The restore before this one keeps its way back, whichever road this one's takes.
#[test]
fn the_way_back_from_the_restore_before_is_in_its_place_again_in_the_end() {
    let node = changed_since(FakeNode::running());
    let first = node.user_data();
    restore(&node, json!({}));
    node.run_module("cassandra_backup", json!({"tag": "later"}));
    let second = files(&node);
    restore(&node, json!({"tag": "later", "state": "started"}));
    assert_eq!(swap_back(&node)["msg"], BACK_AND_STOPPED);
    assert_eq!(files(&node), second);
    roll_back(&node);
    assert_eq!((&info(&node)["state"], &info(&node)["tag"]), (&json!("restored"), &json!("nightly")));
    swap_back(&node);
    roll_back(&node);
    assert_eq!(node.user_data(), first);
}
