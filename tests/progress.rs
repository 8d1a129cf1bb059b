//! How far a run is, as `cassandra_backup_info` tells it meanwhile.

mod backups;
mod support;

use backups::{meeting, nightly};
use serde_json::{Value, json};
use support::{FakeNode, tree};

fn running(node: &FakeNode) -> Value {
    let result = node.run_module("cassandra_backup_info", json!({"tag": "nightly"}));
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(false)), "{result:#}");
    assert!(result.get("running").is_some(), "{result:#}");
    result["running"].clone()
}

fn node() -> FakeNode {
    FakeNode::running().with_table("ks1", "users", 2)
}

#[test]
fn nobody_is_at_work_before_and_after() {
    let node = node();
    assert_eq!(running(&node), Value::Null);
    nightly(&node);
    assert_eq!(running(&node), Value::Null);
}

#[test]
fn a_backup_tells_its_stage_and_its_bytes_and_is_not_disturbed() {
    let ((snapshot, first_stop), (clear, last_stop)) = (meeting(), meeting());
    let node = node().before("nodetool snapshot", move |_| first_stop.keep());
    let node = node.before("nodetool clearsnapshot", move |_| last_stop.keep());
    let run = node.start_module("cassandra_backup", json!({"tag": "nightly"}));
    snapshot.wait();
    let first = running(&node);
    assert_eq!(first["module"], "cassandra_backup");
    assert_eq!((&first["tag"], &first["stage"]), (&json!("nightly"), &json!("snapshot")));
    assert_eq!(
        (&first["bytes"], &first["total_bytes"], &first["percent"]),
        (&json!(0), &json!(null), &json!(null))
    );
    assert!(
        first["since"].as_str().unwrap().ends_with('Z') && first["pid"].as_u64().unwrap() > 1,
        "{first:#}"
    );
    snapshot.end();

    clear.wait();
    let before = tree(&node.state_dir());
    let last = running(&node);
    assert!(tree(&node.state_dir()) == before, "looking changes nothing");
    clear.end();
    let made = run.finish();

    // Packed, and read back.
    let bytes = 2 * made["backup"]["bytes"].as_u64().unwrap();
    assert!(bytes > 0);
    assert_eq!(
        (&last["bytes"], &last["total_bytes"], &last["percent"]),
        (&json!(bytes), &json!(bytes), &json!(100.0))
    );
    assert_eq!((&last["stage"], &last["seconds_left"]), (&json!("clear snapshot"), &json!(null)));
    assert_eq!(last["pid"], first["pid"]);
    assert_eq!((&made["changed"], &made["failed"]), (&json!(true), &Value::Null));
}

#[test]
fn rate_and_time_left_are_told_while_bytes_go_by() {
    let node = FakeNode::running().with_big_table("ks1", "big", 6 << 20);
    let run = node.start_module("cassandra_backup", json!({"tag": "nightly", "rate_limit": "2MB"}));
    let told = std::iter::repeat_with(|| running(&node)).find(|told| told["seconds_left"].is_u64());
    let told = told.expect("there is no end before that");
    assert_eq!((&told["stage"], &told["total_bytes"].is_u64()), (&json!("pack"), &true), "{told:#}");
    let percent = told["percent"].as_f64().unwrap();
    assert!(0.0 < percent && percent < 50.0, "{told:#}");
    assert!((1..=3 << 20).contains(&told["bytes_per_second"].as_u64().unwrap()), "{told:#}");
    assert_eq!(run.finish()["changed"], true);
}

#[test]
fn a_restore_tells_it_too() {
    let node = node();
    let bytes = nightly(&node)["backup"]["bytes"].clone();
    let stop = node.engine.hold("POST /containers/node/stop");
    let run = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
    stop.wait_until_reached();
    let told = running(&node);
    stop.open();
    assert_eq!(run.finish()["changed"], true);

    assert_eq!((&told["module"], &told["stage"]), (&json!("cassandra_restore"), &json!("stop")));
    assert_eq!((&told["bytes"], &told["total_bytes"]), (&bytes, &bytes));
}

#[test]
fn a_run_that_was_killed_is_not_at_work() {
    let (snapshot, stop) = meeting();
    let node = node().before("nodetool snapshot", move |_| stop.keep());
    let run = node.start_module("cassandra_backup", json!({"tag": "nightly"}));
    snapshot.wait();
    assert_eq!(running(&node)["stage"], "snapshot");
    run.kill();
    snapshot.end();
    assert_eq!(running(&node), Value::Null);
}
