//! `rate_limit`: how fast a backup may read from a live node.

mod backups;
mod support;

use std::time::{Duration, Instant};

use backups::{RUNNING, backup, files, nightly, told};
use serde_json::{Value, json};
use support::{FakeNode, Signal};

fn seconds_of(result: &Value, step: &str) -> f64 {
    let steps = result["steps"].as_array().unwrap();
    steps.iter().find(|found| found["name"] == step).unwrap()["seconds"].as_f64().unwrap()
}

#[test]
fn packing_takes_at_least_the_time_that_the_limit_makes_it() {
    let node = FakeNode::running().with_table("ks1", "users", 3);
    let bytes = nightly(&node)["backup"]["bytes"].as_u64().unwrap();

    let result = backup(&node, json!({"tag": "slow", "rate_limit": bytes * 2}));

    assert_eq!(result["changed"], true, "{result:#}");
    let seconds = seconds_of(&result, "pack");
    assert!(seconds >= 0.5, "{bytes} bytes at {} in a second took {seconds} s", bytes * 2);
}

#[test]
fn a_signal_does_not_wait_for_a_slow_backup() {
    let node = FakeNode::running().with_big_table("ks1", "users", 64 << 20);
    let args = json!({"tag": "nightly", "rate_limit": "100 KB", "compression": "none"});
    let run = node.start_module("cassandra_backup", args);
    // All of it takes eleven minutes: once the draft has grown, the run waits for its first piece.
    let draft = node.backup_dir().join("nightly.tgz.partial");
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::fs::metadata(&draft).map_or(0, |about| about.len()) == 0 {
        assert!(Instant::now() < deadline, "no draft");
        std::thread::sleep(Duration::from_millis(5));
    }

    run.signal(Signal::TERM);
    let result = run.finish();

    assert_eq!(told(&result), ("interrupted", format!("ended by SIGTERM. {RUNNING}. run again").as_str()));
    assert_eq!(result["stage"], "pack");
    assert_eq!((node.snapshots().len(), files(&node.backup_dir())), (0, vec![]));
}
