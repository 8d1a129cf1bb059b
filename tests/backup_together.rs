//! Two runs at once: on one node, and on two nodes with one directory.

mod backups;
mod support;

use backups::{Meeting, RUNNING, UNTOUCHED, backup, files, manifest, meeting, told};
use serde_json::json;
use support::FakeNode;

/// A node at which every backup stands still once its snapshot is taken, until the meeting is over.
fn stands_still(node: FakeNode) -> (FakeNode, Meeting) {
    let (meeting, appointment) = meeting();
    (node.after("nodetool snapshot", move |_| appointment.keep()), meeting)
}

fn small() -> FakeNode {
    FakeNode::running().with_table("ks1", "users", 1)
}

#[test]
fn a_second_run_on_a_node_at_work_is_refused() {
    let (node, meeting) = stands_still(small());
    let first = node.start_module("cassandra_backup", json!({"tag": "nightly"}));
    meeting.wait();
    let changes = node.changes();

    for tag in ["nightly", "weekly"] {
        let second = backup(&node, json!({"tag": tag}));
        let running = node.run_module("cassandra_backup_info", json!({}))["running"].clone();
        let of = |key: &str| running[key].as_str().unwrap().to_owned();
        let message = format!(
            "another run is at work on this node: `cassandra_backup` of `nightly` on container `node`, process {} since {}, now \
             at `snapshot`. {UNTOUCHED}. wait until it has ended, then run again",
            running["pid"],
            of("since")
        );
        assert_eq!(told(&second), ("busy", message.as_str()));
    }
    assert_eq!(node.changes(), changes);

    meeting.end();
    assert_eq!(first.finish()["changed"], true);
    assert_eq!(files(&node.backup_dir()), ["nightly.tgz", "nightly.tgz.sha256"]);
}

#[test]
fn two_nodes_with_one_directory_and_one_tag_do_not_mix_their_archives() {
    let (node, meeting) = stands_still(small());
    let other = small();
    let args = json!({"tag": "nightly", "backup_dir": node.backup_dir(), "verify": false});
    let first = node.start_module("cassandra_backup", args.clone());
    meeting.wait();

    let second = backup(&other, args);

    let dir = node.backup_dir();
    let message = format!(
        "`{}` cannot be used as backup_dir: another run is making `{}` there. {RUNNING}. set `backup_dir` to a directory of \
         its own on this host",
        dir.display(),
        node.archive("nightly").display()
    );
    assert_eq!(told(&second), ("backup_dir", message.as_str()));
    meeting.end();
    assert_eq!(first.finish()["changed"], true);
    assert_eq!(manifest(&node.archive("nightly")).node.host_id, node.host_id());
    assert_eq!(other.changes(), [""; 0]);
}
