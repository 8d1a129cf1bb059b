//! nodetool that is nowhere, is not let in, prints nonsense or hangs. A running node is asked who it is before a
//! restore stops it: what could not work afterwards is told then.

use std::time::Duration;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use super::backups::{RUNNING, STOPPED, backup, told, wait_until};
use super::support::{FakeNode, NodetoolAt, Signal};
use super::{BACKUP, RESTORE, UNTOUCHED, backed_up, reason, refused, restore};

const SILENCE: &str =
    "nodetool: Failed to connect to '127.0.0.1:7199' - ConnectException: 'Connection refused'.";

/// Neither stopped nor asked to change anything since its backup.
fn before_touching(node: &FakeNode, args: Value) -> (String, String) {
    let starts = node.starts().len();
    let told = refused(node, args);
    assert_eq!((node.run_state(), node.starts().len()), (RunState::Running, starts));
    assert!(!node.dirs().storage.join(".cassandra_restore-data").exists());
    told
}

#[test]
fn nodetool_that_is_nowhere_is_told_before_the_node_is_touched() {
    let missing = (
        "nodetool_missing".to_owned(),
        format!(
            "`nodetool` was not found in container `node`. {UNTOUCHED}. set `nodetool_path` to its path inside the container"
        ),
    );
    let node = backed_up(FakeNode::running());
    assert_eq!(before_touching(&node, json!({"nodetool_path": "/usr/bin/nodetool"})), missing);
    assert_eq!(
        before_touching(&node, json!({"tag": "latest", "nodetool_path": "/usr/bin/nodetool"})),
        missing
    );
    assert_eq!(
        before_touching(&node, json!({"state": "staged", "nodetool_path": "/usr/bin/nodetool"})),
        missing
    );
    let node = node.nodetool_at(NodetoolAt::Nowhere);
    assert_eq!(before_touching(&node, json!({"force": true})), missing);
}

#[test]
fn a_refused_jmx_login_is_told_before_the_node_is_touched() {
    let node = backed_up(FakeNode::running()).jmx_auth("backup", "s3cret");
    let refusal = |why: &str| {
        let msg = format!(
            "`nodetool info -T` failed in container `node` (exit code 2): {why}. {UNTOUCHED}. set `jmx_username` and \
             `jmx_password` to those that Cassandra's JMX knows"
        );
        ("nodetool_failed".to_owned(), msg)
    };
    assert_eq!(before_touching(&node, json!({})), refusal("Authentication failed! Credentials required"));
    let wrong = json!({"jmx_username": "backup", "jmx_password": "gu3ss"});
    assert_eq!(before_touching(&node, wrong), refusal("Invalid username or password"));
    let right = json!({"jmx_username": "backup", "jmx_password": "s3cret"});
    assert_eq!(restore(&node, right)["changed"], true);
}

#[test]
fn a_password_file_that_cannot_be_read_is_told_before_the_node_is_touched() {
    let node = backed_up(FakeNode::running()).jmx_auth("backup", "s3cret");
    let file = node.host().join("nothing");
    let (error, msg) = before_touching(&node, json!({"jmx_username": "backup", "jmx_password_file": file}));
    let why = format!(
        "`jmx_password_file` `{}` cannot be read: No such file or directory (os error 2). name a file on this host \
         whose first line is the password",
        file.display()
    );
    assert_eq!((error, msg), ("bad_option".to_owned(), why));
}

/// It may be what the restore is for.
#[test]
fn a_running_node_that_does_not_answer_is_no_reason_to_refuse_and_told_as_what_it_is() {
    let node = backed_up(FakeNode::running()).failing_on("nodetool", 1, SILENCE);
    let staged = restore(&node, json!({"state": "staged", "state_dir": node.host().join("fresh")}));
    assert_eq!((&staged["failed"], &staged["changed"]), (&Value::Null, &json!(true)), "{staged:#}");
    assert_eq!(
        staged["warnings"],
        json!([
            "the node runs, but does not answer nodetool: whether the archive is this node's, and of a version that it \
             reads, could not be checked"
        ])
    );
    // Where the last run remembered who it is, that is what counts.
    let staged = restore(&node, json!({"state": "staged"}));
    assert_eq!((&staged["failed"], &staged["warnings"]), (&Value::Null, &Value::Null), "{staged:#}");
}

#[test]
fn latest_of_several_nodes_is_not_taken_for_a_running_node_that_does_not_answer() {
    let (node, other) = (backed_up(FakeNode::running()), backed_up(FakeNode::running()));
    std::fs::copy(other.archive("nightly"), node.archive("others")).unwrap();
    let node = node.failing_on("nodetool", 1, SILENCE);
    assert_eq!(
        reason(&node, json!({"tag": "latest", "state_dir": node.host().join("fresh")})),
        format!(
            "`{}` holds archives of 2 nodes, and which are this one's is not known: it runs, but does not answer nodetool; \
             name a `tag`",
            node.backup_dir().display()
        )
    );
}

#[test]
fn nodetool_that_is_nowhere_is_told_at_once() {
    let nowhere = format!(
        "`nodetool` was not found in container `node`. {RUNNING}. set `nodetool_path` to its path inside the container"
    );

    let node = FakeNode::running().nodetool_at(NodetoolAt::Nowhere);
    assert_eq!(told(&backup(&node, json!({}))), ("nodetool_missing", nowhere.as_str()));
    let node = FakeNode::running();
    let wrong = backup(&node, json!({"nodetool_path": "/usr/bin/nodetool"}));
    assert_eq!(told(&wrong), ("nodetool_missing", nowhere.as_str()));
}

#[test]
fn a_wrong_jmx_password_is_told_at_once_and_shown_nowhere() {
    let node = FakeNode::running().jmx_auth("backup", "s3cret");

    let result = backup(&node, json!({"tag": "nightly", "jmx_username": "backup", "jmx_password": "gu3ss"}));

    let message = format!(
        "`nodetool info -T` failed in container `node` (exit code 2): Invalid username or password. {RUNNING}. set \
         `jmx_username` and `jmx_password` to those that Cassandra's JMX knows"
    );
    assert_eq!(told(&result), ("nodetool_failed", message.as_str()));
    assert!(!result.to_string().contains("gu3ss"));
    assert_eq!(node.commands(), ["nodetool info -T"]);
    assert_eq!(node.calls()[0].stdin, "backup gu3ss\n");
}

const DOCKER_EXEC: &str =
    "see what it says with `docker exec`; where another program has its name, set `nodetool_path`";
const STILL_RUNNING: &str = "that nodetool is still running in the container: see `docker top` and `docker logs` for why Cassandra does not answer";

/// Each question, what an answer to it must have, and whether a node that is starting may still come to its senses.
const QUESTIONS: [(&str, &str, &str, bool); 7] = [
    ("info -T", "Bluetooth is not available\n", "`ID`", true),
    ("info -T", "ID : 2e836e05-5d6b-49fb-b521-ecdcbf8c6451\nToken : (node is not joined)\n", "`Token`", true),
    ("status", "Datacenter: dc1\n", "node with a host id", true),
    ("describecluster", "", "`Name`", false),
    ("describecluster", "Cluster Information:\n\tName: c\n", "`Partitioner`", false),
    ("version", "ReleaseVersion: five\n", "`ReleaseVersion`", false),
    ("tablestats", "Total number of tables: 0\n", "`Table`", false),
];

#[test]
fn nodetool_that_prints_nonsense_is_told_by_its_command_and_what_is_missing() {
    for (command, text, lacks, may_pass) in QUESTIONS {
        let node = FakeNode::running().answering(&format!("nodetool {command}"), text);
        let before = node.tree();

        let result = backup(&node, json!({"wait_timeout": 1}));

        let failure = format!("`nodetool {command}` gave an answer without {lacks} in container `node`");
        let message = match may_pass {
            true => format!(
                "Cassandra in container `node` was not ready within 1 s: {failure}. {RUNNING}. raise `wait_timeout`, or see \
                 `docker logs`"
            ),
            false => format!("{failure}. {RUNNING}. {DOCKER_EXEC}"),
        };
        let word = if may_pass { "not_ready" } else { "nodetool_failed" };
        assert_eq!(told(&result), (word, message.as_str()));
        assert_eq!((node.tree() == before, node.changes()), (true, vec![]), "{command}");
        assert!(!node.backup_dir().exists());
    }
}

/// What it cannot say of itself is not known: it may be what the restore is for.
#[test]
fn a_node_whose_nodetool_prints_nonsense_is_restored_with_a_warning() {
    for (command, text, ..) in
        QUESTIONS.into_iter().filter(|(command, ..)| !matches!(*command, "status" | "tablestats"))
    {
        let node = backed_up(FakeNode::running()).answering(&format!("nodetool {command}"), text);
        let staged = restore(&node, json!({"state": "staged", "state_dir": node.host().join("fresh")}));
        assert_eq!((&staged["failed"], &staged["changed"]), (&Value::Null, &json!(true)), "{staged:#}");
        assert_eq!(
            staged["warnings"],
            json!([
                "the node runs, but does not answer nodetool: whether the archive is this node's, and of a version that it \
                 reads, could not be checked"
            ])
        );
    }
}

/// Its clock is put forward, once such a command hangs: nobody waits.
fn hanging(node: &FakeNode, seconds: u64, module: &str, args: Value) -> Value {
    let calls = node.calls().len();
    let hangs = || while node.calls().len() == calls || !node.hangs() {};
    node.run_past(Duration::from_secs(seconds + 1), &[&hangs], module, args)
}

#[test]
fn nodetool_that_hangs_is_told_by_its_command_and_not_asked_again() {
    for (command, seconds) in [("describecluster", 120), ("version", 120), ("tablestats", 1800)] {
        let node = FakeNode::running().hanging_on(&format!("nodetool {command}"));

        let result = hanging(&node, seconds, BACKUP, json!({"tag": "nightly"}));

        let message = format!(
            "`nodetool {command}` gave no answer within {seconds} s in container `node`. {RUNNING}. {STILL_RUNNING}"
        );
        assert_eq!(told(&result), ("nodetool_failed", message.as_str()));
        assert_eq!(node.changes(), [""; 0]);
        assert!(!node.backup_dir().exists());
    }
}

/// A second nodetool beside the first would be one more JVM in a node that has no answer for one.
#[test]
fn a_node_that_is_waited_for_has_one_nodetool_hanging_at_most() {
    for command in ["info -T", "status"] {
        let node = FakeNode::running().hanging_on(&format!("nodetool {command}"));

        let result = hanging(&node, 600, BACKUP, json!({"tag": "nightly"}));

        let message = format!(
            "Cassandra in container `node` was not ready within 600 s: `nodetool {command}` gave no answer within 600 s in \
             container `node`. {RUNNING}. raise `wait_timeout`, or see `docker logs`"
        );
        assert_eq!(told(&result), ("not_ready", message.as_str()));
        let asked = node.commands().into_iter().filter(|line| line.ends_with(command));
        assert_eq!(asked.count(), 1);
    }
}

#[test]
fn a_node_whose_nodetool_hangs_is_restored_with_a_warning() {
    let node = backed_up(FakeNode::running()).hanging_on("nodetool info");
    let args = json!({"tag": "nightly", "state": "staged", "state_dir": node.host().join("fresh")});
    let staged = hanging(&node, 120, RESTORE, args);
    assert_eq!((&staged["failed"], &staged["changed"]), (&Value::Null, &json!(true)), "{staged:#}");
    assert_eq!(staged["warnings"].as_array().map(Vec::len), Some(1));
    assert_eq!(node.run_state(), RunState::Running);
}

/// Whoever asks the run to end does not wait for nodetool.
#[test]
fn a_signal_ends_the_waiting_for_a_nodetool_that_hangs() {
    let node = FakeNode::stopped().hanging_on("nodetool info");
    let run = node.start_module(BACKUP, json!({"tag": "nightly"}));
    wait_until("nodetool hangs", || node.hangs());
    run.signal(Signal::TERM);
    let result = run.finish();
    let message = format!("ended by SIGTERM. {STOPPED}. run again");
    assert_eq!(told(&result), ("interrupted", message.as_str()));
    assert_eq!(node.run_state(), RunState::Exited);
}

/// A node behind its blocker waits for a roll-back, not for a password.
#[test]
fn a_password_file_that_is_gone_keeps_nobody_from_a_roll_back_a_removal_or_a_look() {
    let node = backed_up(FakeNode::running());
    assert_eq!(restore(&node, json!({"state": "swapped"}))["changed"], true);
    let lost = json!({"jmx_username": "op", "jmx_password_file": node.host().join("nothing")});
    let with = |more: Value| {
        let mut args = lost.clone();
        more.as_object().unwrap().iter().for_each(|(name, value)| args[name] = value.clone());
        args
    };
    assert_eq!(restore(&node, with(json!({"tag": null, "state": "rolled_back"})))["rolled_back"], true);
    assert_eq!(node.run_module("cassandra_backup_info", lost.clone()).get("failed"), None);
    let gone = node.run_module("cassandra_backup", with(json!({"tag": "nightly", "state": "absent"})));
    assert_eq!(gone["changed"], true);
}

#[test]
fn a_port_where_no_jmx_listens_is_told_with_what_to_do() {
    let node = FakeNode::running();
    let (word, message) = {
        let result = backup(&node, json!({"tag": "nightly", "jmx_port": 7198, "wait_timeout": 1}));
        let (word, message) = told(&result);
        (word.to_owned(), message.to_owned())
    };
    assert_eq!(word, "not_ready");
    let hint = "raise `wait_timeout`, set `jmx_port` where JMX listens on another port, or see `docker logs`";
    assert!(message.ends_with(hint), "{message}");
}
