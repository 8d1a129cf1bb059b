//! A running node is asked who it is before it is stopped: what could not work afterwards is told then.

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use super::support::{FakeNode, NodetoolAt};
use super::{UNTOUCHED, backed_up, reason, refused, restore};

const SILENCE: &str =
    "nodetool: Failed to connect to '127.0.0.1:7199' - ConnectException: 'Connection refused'.";

/// Neither stopped nor asked to change anything since its backup.
fn told(node: &FakeNode, args: Value) -> (String, String) {
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
    assert_eq!(told(&node, json!({"nodetool_path": "/usr/bin/nodetool"})), missing);
    assert_eq!(told(&node, json!({"tag": "latest", "nodetool_path": "/usr/bin/nodetool"})), missing);
    assert_eq!(told(&node, json!({"state": "staged", "nodetool_path": "/usr/bin/nodetool"})), missing);
    let node = node.nodetool_at(NodetoolAt::Nowhere);
    assert_eq!(told(&node, json!({"force": true})), missing);
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
    assert_eq!(told(&node, json!({})), refusal("Authentication failed! Credentials required"));
    let wrong = json!({"jmx_username": "backup", "jmx_password": "gu3ss"});
    assert_eq!(told(&node, wrong), refusal("Invalid username or password"));
    let right = json!({"jmx_username": "backup", "jmx_password": "s3cret"});
    assert_eq!(restore(&node, right)["changed"], true);
}

#[test]
fn a_password_file_that_cannot_be_read_is_told_before_the_node_is_touched() {
    let node = backed_up(FakeNode::running()).jmx_auth("backup", "s3cret");
    let file = node.host().join("nothing");
    let (error, msg) = told(&node, json!({"jmx_username": "backup", "jmx_password_file": file}));
    let why = format!(
        "cannot read jmx_password_file `{}`: No such file or directory (os error 2). {UNTOUCHED}",
        file.display()
    );
    assert_eq!((error, msg), ("failed".to_owned(), why));
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
