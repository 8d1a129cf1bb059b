//! The snapshot is cleared on every way out, and nobody's but ours; what a killed run left is found by the next.

mod backups;
mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use backups::{
    Meeting, RUNNING, STOPPED, UNTOUCHED, assert_cleared, assert_no_mark, backup, files, meeting, nightly,
    refusal, told,
};
use cassandra_backup::docker::RunState;
use serde_json::json;
use support::{FakeNode, Fault, Signal};

/// A node at which every backup stands still once its snapshot is taken, until the meeting is over.
fn stands_still(node: FakeNode) -> (FakeNode, Meeting) {
    let (meeting, appointment) = meeting();
    (node.after("nodetool snapshot", move |_| appointment.keep()), meeting)
}

fn small() -> FakeNode {
    FakeNode::running().with_table("ks1", "users", 1)
}

/// The number of the command, counted from the first, that a backup of this node runs in its container.
fn number_of_command(node: &FakeNode, words: &str) -> usize {
    let requests = node.engine.requests();
    let mut commands = requests.iter().filter(|request| request.to_string() == "POST /containers/node/exec");
    commands.position(|request| request.body.contains(words)).unwrap() + 1
}

/// Fails a command of the next backup at the Engine.
fn fail_command(node: &FakeNode, words: &str, fault: Fault) {
    let before = node.engine.requests().len();
    assert_eq!(before, 0, "on a node of which nothing was asked yet");
    let other = small();
    nightly(&other);
    node.engine.fail_nth("POST /exec/", number_of_command(&other, words), fault);
}

#[test]
fn half_a_snapshot_is_cleared_when_nodetool_fails() {
    let node = small()
        .failing_on(
            "nodetool snapshot",
            2,
            "error: disk full\n-- StackTrace --\njava.io.IOException: disk full\n\tat x.y\n",
        )
        .before("nodetool snapshot", |dirs| {
            fs::create_dir_all(dirs.table("ks1", "users").join("snapshots/nightly")).unwrap();
        });

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "`nodetool snapshot -t nightly` failed in container `node` (exit code 2): disk full. {RUNNING}. see `docker logs` \
         and try the command with `docker exec`"
    );
    assert_eq!(told(&result), ("nodetool_failed", message.as_str()));
    assert_eq!(node.changes(), ["nodetool snapshot -t nightly", "nodetool clearsnapshot -t nightly"]);
    assert_cleared(&node);
}

#[test]
fn questions_that_fail_come_before_the_snapshot() {
    for (command, shown) in
        [("info", "info -T"), ("status", "status"), ("describecluster", "describecluster")]
    {
        let node = small().failing_on(&format!("nodetool {command}"), 2, "error: not now\n");

        let result = backup(&node, json!({"tag": "nightly", "wait_timeout": 1}));

        let failed = format!("`nodetool {shown}` failed in container `node` (exit code 2): not now");
        let message = match command {
            "describecluster" => {
                format!("{failed}. {RUNNING}. see `docker logs` and try the command with `docker exec`")
            }
            _ => format!(
                "Cassandra in container `node` was not ready within 1 s: {failed}. {RUNNING}. raise `wait_timeout`, or see \
                 `docker logs`"
            ),
        };
        assert_eq!(told(&result).1, message);
        assert_eq!(node.changes(), [""; 0]);
        assert_cleared(&node);
    }
}

#[test]
fn tables_that_cannot_be_listed_are_told_before_the_snapshot() {
    let node =
        small().failing_on("nodetool tablestats", 1, "nodetool: Failed to connect to '127.0.0.1:7199'.\n");

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "`nodetool tablestats` failed in container `node` (exit code 1): Failed to connect to '127.0.0.1:7199'. {RUNNING}. \
         see `docker logs` and try the command with `docker exec`"
    );
    assert_eq!(told(&result), ("nodetool_failed", message.as_str()));
    assert_eq!(node.changes(), [""; 0]);
}

#[test]
fn a_backup_directory_that_vanishes_in_the_middle_is_told_and_the_snapshot_cleared() {
    for verify in [true, false] {
        let node = small();
        let dir = node.backup_dir();
        let node = node.after("nodetool snapshot", {
            let dir = dir.clone();
            move |_| fs::remove_dir_all(&dir).unwrap()
        });

        let result = backup(&node, json!({"tag": "nightly", "verify": verify}));

        let message = format!(
            "`{}` cannot be used as backup_dir: `nightly.tgz.partial` vanished from it while it was made. {RUNNING}. set \
             `backup_dir` to a directory of its own on this host",
            dir.display()
        );
        assert_eq!(told(&result), ("backup_dir", message.as_str()));
        assert!(!dir.exists());
        assert_cleared(&node);
    }
}

#[test]
fn a_signal_clears_the_snapshot_and_leaves_the_node_running() {
    let (node, meeting) = stands_still(small().with_operator_snapshot("mine"));

    let run = node.start_module("cassandra_backup", json!({"tag": "nightly"}));
    meeting.wait();
    run.signal(Signal::TERM);
    meeting.end();
    let result = run.finish();

    assert_eq!(told(&result), ("interrupted", format!("ended by SIGTERM. {RUNNING}. run again").as_str()));
    assert_eq!(result["container"]["left"], "running");
    assert_eq!(node.snapshots().into_iter().collect::<Vec<_>>(), ["mine"]);
    assert_eq!(files(&node.backup_dir()), [""; 0]);
    assert_no_mark(&node);
}

#[test]
fn a_snapshot_of_the_operators_is_neither_used_nor_cleared() {
    let node = small().with_operator_snapshot("nightly");

    let (word, message) = refusal(&node, json!({"tag": "nightly"}));

    let expected = format!(
        "the node holds a snapshot `nightly` already, made by somebody else or kept by `keep_snapshot`. {UNTOUCHED}. choose \
         another `tag`, or clear it yourself with `nodetool clearsnapshot -t`"
    );
    assert_eq!((word.as_str(), message), ("snapshot_not_ours", expected));
}

#[test]
fn a_snapshot_is_kept_where_that_is_asked_for() {
    let node = small();

    let result = backup(&node, json!({"tag": "nightly", "keep_snapshot": true}));

    assert_eq!(result["changed"], true, "{result:#}");
    assert_eq!(node.changes(), ["nodetool snapshot -t nightly"]);
    assert_eq!(node.snapshots().into_iter().collect::<Vec<_>>(), ["nightly"]);
    assert_no_mark(&node);
    backup(&node, json!({"tag": "weekly"}));
    assert_eq!(node.snapshots().into_iter().collect::<Vec<_>>(), ["nightly"]);
}

#[test]
fn a_snapshot_that_no_archive_was_made_of_is_not_kept() {
    let node = small().after("nodetool snapshot", |dirs| {
        fs::remove_file(dirs.table("ks1", "users").join("snapshots/nightly/manifest.json")).unwrap();
    });

    let result = backup(&node, json!({"tag": "nightly", "keep_snapshot": true}));

    assert_eq!(told(&result).0, "snapshot_incomplete");
    assert_cleared(&node);
}

#[test]
fn a_snapshot_kept_for_an_archive_that_got_no_name_is_cleared_by_the_next_run() {
    let once = AtomicBool::new(true);
    let node = small().after("nodetool snapshot", move |dirs| {
        if once.swap(false, Ordering::Relaxed) {
            fs::create_dir_all(dirs.storage.parent().unwrap().join("backup/nightly.tgz")).unwrap();
        }
    });

    let result = backup(&node, json!({"tag": "nightly", "keep_snapshot": true}));

    assert_eq!((&result["stage"], &result["failed"]), (&json!("publish"), &json!(true)), "{result:#}");
    fs::remove_dir(node.archive("nightly")).unwrap();
    let again = backup(&node, json!({"tag": "nightly"}));
    assert_eq!(again["changed"], true, "{again:#}");
    assert_eq!(node.snapshots().len(), 0);
    assert_no_mark(&node);
}

#[test]
fn a_snapshot_that_somebody_takes_while_the_node_is_waited_for_is_not_ours_either() {
    let node = small().after("nodetool status", |dirs| {
        fs::create_dir_all(dirs.table("ks1", "users").join("snapshots/nightly")).unwrap();
    });

    let result = backup(&node, json!({"tag": "nightly"}));

    assert_eq!(told(&result).0, "snapshot_not_ours");
    assert_eq!(node.snapshots().into_iter().collect::<Vec<_>>(), ["nightly"]);
    assert_eq!(node.changes(), [""; 0]);
}

#[test]
fn clearing_that_fails_is_told_and_done_by_the_next_run() {
    let node = small().failing_on("nodetool clearsnapshot", 2, "error: cannot remove\n");

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "`nodetool clearsnapshot -t nightly` failed in container `node` (exit code 2): cannot remove. {RUNNING}. see \
         `docker logs` and try the command with `docker exec`"
    );
    assert_eq!(told(&result), ("nodetool_failed", message.as_str()));
    assert_eq!(files(&node.backup_dir()), [""; 0]);

    let node = node.healed();
    backup(&node, json!({"tag": "weekly"}));
    assert_eq!(files(&node.backup_dir()), ["weekly.tgz", "weekly.tgz.sha256"]);
    assert_eq!(node.snapshots().len(), 0);
    assert_no_mark(&node);
}

#[test]
fn clearing_that_nodetool_only_says_it_did_is_an_error() {
    let lies = AtomicBool::new(true);
    let node = small().after("nodetool clearsnapshot", move |dirs| {
        if lies.swap(false, Ordering::Relaxed) {
            fs::create_dir_all(dirs.table("ks1", "users").join("snapshots/nightly")).unwrap();
        }
    });

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "snapshot `nightly` of table `ks1.users` is still there after `nodetool clearsnapshot`. {RUNNING}. it takes space \
         as long as it is there: see Cassandra's log for why; the next run tries again"
    );
    assert_eq!(told(&result), ("snapshot_not_cleared", message.as_str()));
    assert_eq!(result["stage"], "clear snapshot");
    nightly(&node);
    assert_eq!(node.snapshots().len(), 0);
}

#[test]
fn both_failures_are_told_where_clearing_fails_too() {
    let node = small().failing_on("nodetool snapshot", 2, "error: disk full\n").failing_on(
        "nodetool clearsnapshot",
        2,
        "error: cannot remove\n",
    );

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "`nodetool snapshot -t nightly` failed in container `node` (exit code 2): disk full; and then: `nodetool \
         clearsnapshot -t nightly` failed in container `node` (exit code 2): cannot remove. {RUNNING}. see `docker logs` \
         and try the command with `docker exec`"
    );
    assert_eq!(told(&result), ("nodetool_failed", message.as_str()));
}

#[test]
fn a_snapshot_whose_connection_is_lost_is_not_forgotten() {
    let node = small();
    fail_command(&node, r#""snapshot""#, Fault::Abandon);

    let result = backup(&node, json!({"tag": "nightly", "wait_timeout": 1}));

    let message = format!(
        "the Docker Engine failed to run `nodetool snapshot -t nightly` in container `node`: the connection was lost while it \
         ran; and then: another run is at work on this node: a `nodetool snapshot` is running in container `node`. \
         {RUNNING}. see the Docker Engine's log, then run again"
    );
    assert_eq!(told(&result), ("engine_failed", message.as_str()));
    // It may come to its end yet: the mark stays, and the next run clears what it made.
    fs::create_dir_all(node.dirs().table("ks1", "users").join("snapshots/nightly")).unwrap();
    node.stop();
    node.start();
    backup(&node, json!({"tag": "weekly"}));
    assert_eq!(node.snapshots().len(), 0);
}

#[test]
fn a_question_whose_answer_is_cut_off_is_no_answer() {
    let node = small();
    fail_command(&node, r#""tablestats""#, Fault::Cut);

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "the Docker Engine failed to run `nodetool tablestats` in container `node`: its output was cut off. {RUNNING}. see the \
         Docker Engine's log, then run again"
    );
    assert_eq!(told(&result), ("engine_failed", message.as_str()));
    assert_eq!(node.changes(), [""; 0]);
}

#[test]
fn an_engine_that_fails_in_the_middle_still_stops_what_was_started() {
    let node = FakeNode::stopped().with_table("ks1", "users", 1);
    node.engine.fail("POST /exec/", Fault::Status(500, "the disk is on fire"));

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "the Docker Engine failed to run a command in container `node`: the disk is on fire. {STOPPED}. see the Docker \
         Engine's log, then run again"
    );
    assert_eq!(told(&result), ("engine_failed", message.as_str()));
    assert_eq!(node.run_state(), RunState::Exited);
}
