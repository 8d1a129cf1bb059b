//! What a killed backup left on the node is cleared by the next one, and nothing that is not its own.

mod backups;
mod support;

use std::fs;

use backups::{Meeting, RUNNING, assert_no_mark, backup, files, meeting, nightly, told};
use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, check_mode, tree};

/// A node at which every backup stands still once its snapshot is taken, until the meeting is over.
fn stands_still(node: FakeNode) -> (FakeNode, Meeting) {
    let (meeting, appointment) = meeting();
    (node.after("nodetool snapshot", move |_| appointment.keep()), meeting)
}

fn small() -> FakeNode {
    FakeNode::running().with_table("ks1", "users", 1)
}

#[test]
fn what_a_killed_run_left_is_cleared_by_the_next_one() {
    for tag in ["nightly", "weekly"] {
        let (node, meeting) = stands_still(small().with_operator_snapshot("mine"));
        let run = node.start_module("cassandra_backup", json!({"tag": "nightly"}));
        meeting.wait();
        run.kill();
        meeting.end();
        assert!(node.snapshots().contains("nightly"));
        assert_eq!(files(&node.backup_dir()), ["nightly.tgz.partial"]);

        let result = backup(&node, json!({"tag": tag}));

        assert_eq!(result["changed"], true, "{result:#}");
        assert_eq!(node.snapshots().into_iter().collect::<Vec<_>>(), ["mine"]);
        assert_eq!(files(&node.backup_dir()), [format!("{tag}.tgz"), format!("{tag}.tgz.sha256")]);
        assert_eq!(node.changes()[1], "nodetool clearsnapshot -t nightly");
        assert_no_mark(&node);
    }
}

/// Killed while it packs, a run that had started the node leaves it running.
fn killed_after_its_start() -> FakeNode {
    let node = small();
    node.stop();
    let (node, meeting) = stands_still(node);
    let run = node.start_module("cassandra_backup", json!({"tag": "nightly"}));
    meeting.wait();
    run.kill();
    meeting.end();
    assert_eq!(node.run_state(), RunState::Running);
    node
}

#[test]
fn a_container_that_a_killed_run_had_started_is_stopped_by_the_next_one() {
    let node = killed_after_its_start();
    let result = backup(&node, json!({"tag": "nightly"}));
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
    assert_eq!((&result["container"]["left"], node.run_state()), (&json!("exited"), RunState::Exited));
    assert!(node.snapshots().is_empty());
    assert_no_mark(&node);
    // That is over: the next run leaves a node running that is found so.
    node.start();
    assert_eq!(backup(&node, json!({"tag": "weekly"}))["container"]["left"], "running");
    assert_eq!(node.run_state(), RunState::Running);
}

#[test]
fn what_a_killed_run_left_is_cleared_by_a_run_that_has_nothing_else_to_do() {
    let node = small();
    nightly(&node);
    let (node, meeting) = stands_still(node);
    node.stop();
    let run = node.start_module("cassandra_backup", json!({"tag": "other"}));
    meeting.wait();
    run.kill();
    meeting.end();
    let changes = node.changes().len();
    let foretold = backup(&node, check_mode(json!({"tag": "nightly"})));
    assert_eq!((&foretold["changed"], node.changes().len()), (&json!(true), changes));
    let result = backup(&node, json!({"tag": "nightly"}));
    let is_there = format!("`{}` exists, verifies and is this node's", node.archive("nightly").display());
    assert_eq!(result["msg"], format!("{is_there}; what a run that died has left is cleared"));
    assert_eq!((&result["changed"], &result["container"]["left"]), (&json!(true), &json!("exited")));
    assert_eq!((node.run_state(), node.snapshots().len()), (RunState::Exited, 0));
    assert_eq!(files(&node.backup_dir()), ["nightly.tgz", "nightly.tgz.sha256"]);
    assert_eq!(backup(&node, json!({"tag": "nightly"}))["changed"], false);
}

#[test]
fn a_container_that_somebody_has_started_since_is_left_running() {
    let node = killed_after_its_start();
    node.stop();
    // The mark is of long ago.
    let folder = fs::read_dir(node.state_dir()).unwrap().next().unwrap().unwrap().path();
    fs::write(folder.join("started.json"), r#"{"before": "2026-11-23T08:08:38Z"}"#).unwrap();
    node.start();
    let result = backup(&node, json!({"tag": "nightly"}));
    assert_eq!((&result["changed"], &result["container"]["left"]), (&json!(true), &json!("running")));
}

#[test]
fn a_killed_run_is_cleared_up_after_where_its_directory_is_gone() {
    let (node, meeting) = stands_still(small());
    let run = node.start_module("cassandra_backup", json!({"tag": "nightly"}));
    meeting.wait();
    run.kill();
    meeting.end();
    fs::remove_dir_all(node.backup_dir()).unwrap();

    nightly(&node);

    assert_eq!(node.snapshots().len(), 0);
}

#[test]
fn check_mode_leaves_what_a_killed_run_left() {
    let (node, meeting) = stands_still(small());
    let run = node.start_module("cassandra_backup", json!({"tag": "nightly"}));
    meeting.wait();
    run.kill();
    meeting.end();
    let host = tree(node.host());

    let result = backup(&node, json!({"tag": "weekly", "_ansible_check_mode": true}));

    assert_eq!(result["changed"], true, "{result:#}");
    assert!(tree(node.host()) == host);
}

#[test]
fn a_snapshot_that_still_runs_in_the_container_is_waited_for() {
    let node = small().running_command("nodetool snapshot -t somebodys");

    let result = backup(&node, json!({"tag": "nightly", "wait_timeout": 1}));

    let message = format!(
        "another run is at work on this node: a `nodetool snapshot` is running in container `node`. {RUNNING}. \
         wait until it has ended, then run again"
    );
    assert_eq!(told(&result), ("busy", message.as_str()));
    assert_eq!(node.changes(), [""; 0]);
}
