//! A restore phase by phase, what others see in its middle, and the repair at its end.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, Fault, Gate, Signal, Tree, tree};

/// A node with a backup `nightly`, whose table `ks1.users` was dropped since.
fn dropped_since(node: FakeNode) -> FakeNode {
    let node = node.with_table("ks1", "users", 2).with_table("ks3", "things", 1).replicas("ks3", 3);
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    assert_eq!(made["failed"], Value::Null, "{made:#}");
    node.drop_table("ks1", "users");
    node
}

fn run(node: &FakeNode, args: Value) -> Value {
    let mut all = json!({"tag": "nightly"});
    args.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    node.run_module("cassandra_restore", all)
}

fn restore(node: &FakeNode, args: Value) -> Value {
    let result = run(node, args);
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    result
}

fn work(node: &FakeNode, level: &str) -> PathBuf {
    node.dirs().storage.join(".cassandra_restore-data").join(level)
}

/// The node's own files, without what restores keep beside them.
fn live(node: &FakeNode) -> Tree {
    node.tree().into_iter().filter(|(path, _)| !path.starts_with(".cassandra_restore-")).collect()
}

fn repairs(node: &FakeNode) -> Vec<String> {
    node.commands().into_iter().filter(|line| line.starts_with("nodetool repair")).collect()
}

#[test]
fn each_phase_is_an_outcome_that_may_be_asked_for_again() {
    let node = FakeNode::running().with_table("ks1", "users", 2);
    node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    let data = node.user_data();
    node.drop_table("ks1", "users");
    let path = node.archive("nightly").display().to_string();
    let phase = |state: &str| {
        let result = restore(&node, json!({"state": state}));
        assert_eq!((&result["changed"], &result["restore"]["state"]), (&json!(true), &json!(state)));
        let roles = if state == "restored" { ", with the roles and passwords of that time" } else { "" };
        assert_eq!(result["msg"], format!("container `node` is {state} from `{path}`{roles}"));
        result
    };
    let again_is_unchanged = |state: &str| {
        let before = (node.tree(), tree(&node.state_dir()), node.changes());
        let result = restore(&node, json!({"state": state}));
        assert_eq!(result["changed"], false);
        assert_eq!(result["msg"], format!("the restore of `{path}` is {state} already"));
        assert_eq!((node.tree(), tree(&node.state_dir()), node.changes()), before);
    };

    let (before, changes) = (live(&node), node.changes());
    phase("staged");
    assert_eq!((live(&node), node.changes()), (before, changes));
    assert!(tree(&work(&node, "staged")).keys().any(|path| path.starts_with("ks1/users-")));
    again_is_unchanged("staged");

    let swapped = phase("swapped");
    assert_eq!((node.run_state(), node.restart_policy_name().as_str()), (RunState::Exited, "no"));
    assert!(node.dirs().data[0].join("system").is_dir());
    assert_eq!((&swapped["container"]["left"], swapped.get("downtime_seconds")), (&json!("exited"), None));
    again_is_unchanged("swapped");
    again_is_unchanged("staged");

    let started = phase("started");
    assert_eq!((node.run_state(), node.restart_policy_name().as_str()), (RunState::Running, "no"));
    assert_eq!(node.user_data(), data);
    assert!(started["downtime_seconds"].as_f64().unwrap() > 0.0);
    again_is_unchanged("started");

    phase("restored");
    assert_eq!(node.restart_policy_name(), "unless-stopped");
    assert_eq!(node.user_data(), data);
}

#[test]
fn the_downtime_is_counted_over_the_runs() {
    let node = dropped_since(FakeNode::running());
    restore(&node, json!({"state": "swapped"}));
    let swapped = std::time::Instant::now();
    let since = || swapped.elapsed().as_secs_f64();
    while since() < 0.3 {
        restore(&node, json!({"state": "swapped"}));
    }
    let started = restore(&node, json!({"state": "started"}));
    let downtime = started["downtime_seconds"].as_f64().unwrap();
    assert!(downtime > 0.3 && downtime < 0.3 + 60.0, "{downtime}");
}

#[test]
fn what_is_staged_is_moved_in_as_it_is() {
    let node = dropped_since(FakeNode::running());
    restore(&node, json!({"state": "staged"}));
    let staged = tree(&work(&node, "staged"));
    assert_eq!(restore(&node, json!({"state": "swapped"}))["steps"][2]["name"], "stop");
    let live = tree(&node.dirs().data[0]);
    assert!(staged.iter().all(|(path, entry)| live.get(path) == Some(entry)));
}

#[test]
fn what_is_not_there_any_more_is_missed_before_the_node_is_touched() {
    let node = dropped_since(FakeNode::running());
    let before = (live(&node), node.changes());
    for (lost, told) in [
        (
            "staged",
            format!(
                "what was unpacked of `{}` is not there any more. The node was not touched",
                node.archive("nightly").display()
            ),
        ),
        (
            "run",
            format!(
                "`{}` is missing: is the disk of `{}` mounted? The node was not touched",
                work(&node, "run").display(),
                node.dirs().data[0].display()
            ),
        ),
    ] {
        restore(&node, json!({"state": "staged"}));
        let lost = work(&node, lost);
        if lost.is_dir() {
            fs::remove_dir_all(lost).unwrap()
        } else {
            fs::remove_file(lost).unwrap()
        }
        let failed = run(&node, json!({}));
        assert_eq!(failed["msg"], told);
        assert_eq!((&failed["changed"], failed.get("rolled_back")), (&json!(false), None));
        assert!((live(&node), node.changes()) == before);
    }
    restore(&node, json!({}));
}

#[test]
fn another_archive_takes_the_place_of_one_that_is_only_staged() {
    let node = dropped_since(FakeNode::running());
    let without_users = node.user_data();
    node.run_module("cassandra_backup", json!({"tag": "later"}));
    restore(&node, json!({"state": "staged"}));
    let result = restore(&node, json!({"tag": "later"}));
    assert_eq!(result["changed"], true);
    assert_eq!(node.user_data(), without_users);
}

#[test]
fn another_archive_has_to_wait_for_one_that_is_swapped() {
    let node = dropped_since(FakeNode::running());
    node.run_module("cassandra_backup", json!({"tag": "later"}));
    restore(&node, json!({"state": "swapped"}));
    let before = (node.tree(), node.changes());
    let refused = run(&node, json!({"tag": "later", "force": true}));
    assert_eq!(
        refused["msg"],
        format!(
            "a restore of this node is unfinished (phase `swapped`, archive `{}`). No data is lost; the node is as an \
             earlier run left it: `swapped`, container `node` is exited. finish it by running that restore again, or undo it by `cassandra_restore` with `state: rolled_back`",
            node.archive("nightly").display()
        )
    );
    let refused = node.run_module("cassandra_backup", json!({"tag": "third"}));
    assert_eq!(refused["error"], "restore_unfinished");
    assert_eq!((node.tree(), node.changes()), before);
    restore(&node, json!({}));
    assert!(node.tables().contains(&"ks1.users".to_owned()));
}

/// Held where all live data is set aside, and nothing has been moved in yet.
#[test]
fn in_the_middle_a_blocker_lies_where_the_keyspace_system_should_be() {
    let node = dropped_since(FakeNode::running());
    let stop = node.engine.hold("POST /containers/node/stop");
    let restore = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
    stop.wait_until_reached();
    let middle = Gate::default();
    node.engine.fail_nth("GET /containers/node/json", 3, Fault::Hold(middle.clone()));
    stop.open();
    middle.wait_until_reached();
    let blocker = node.dirs().data[0].join("system");
    assert!(
        fs::read_to_string(&blocker).unwrap().ends_with(
            "No Cassandra starts while this file is here. Do not remove it: the Ansible module cassandra_restore with \
             state: rolled_back puts the previous data back.\n"
        ),
    );
    assert_eq!(tree(&node.dirs().data[0]).into_keys().collect::<Vec<_>>(), ["system"]);
    // Somebody starts the node.
    let (before, starts) = (node.tree(), node.starts());
    node.start();
    assert_eq!((node.run_state(), node.exit_code()), (RunState::Exited, 3));
    assert_eq!((node.tree(), node.starts()), (before, starts));
    middle.open();
    let result = restore.finish();
    assert_eq!(result["changed"], true, "{result:#}");
    assert_eq!(node.run_state(), RunState::Running);
    assert!(node.tables().contains(&"ks1.users".to_owned()));
}

#[test]
fn a_single_node_is_not_repaired_and_one_of_a_cluster_where_it_has_replicas() {
    let node = dropped_since(FakeNode::running());
    restore(&node, json!({}));
    assert_eq!(repairs(&node), [""; 0]);
    let node = dropped_since(FakeNode::running().with_peers(2));
    restore(&node, json!({}));
    let auto = ["ks3", "system_distributed", "system_traces"];
    let auto = auto.map(|keyspace| format!("nodetool repair -full -pr -- {keyspace}"));
    assert_eq!(repairs(&node), auto);
    node.write("ks3", "things");
    restore(&node, json!({"repair": "none"}));
    assert_eq!(repairs(&node), auto);
    node.write("ks3", "things");
    restore(&node, json!({"repair": "full"}));
    let full = ["ks1", "ks3", "system_auth", "system_distributed", "system_traces"];
    let full = full.map(|keyspace| format!("nodetool repair -full -- {keyspace}"));
    assert_eq!(repairs(&node)[auto.len()..], full);
}

#[test]
fn a_whole_cluster_is_repaired_once_all_of_it_is_up_with_one_schema() {
    let node = dropped_since(FakeNode::running().with_peers(2)).with_peer_down();
    let failed = run(&node, json!({"whole_cluster": true, "wait_timeout": 1}));
    let msg = failed["msg"].as_str().unwrap();
    assert!(
        msg.starts_with("the archive is restored, but repair failed: 2 of 3 nodes are up and normal, 1 s"),
        "{msg}"
    );
    assert_eq!((&failed["error"], &failed["stage"]), (&json!("repair_failed"), &json!("repair")));
    assert!(repairs(&node).is_empty());

    let finished = restore(&node.with_peers(2), json!({"whole_cluster": true}));
    assert_eq!((&finished["changed"], &finished["restore"]["state"]), (&json!(true), &json!("restored")));
}

#[test]
fn a_repair_that_fails_leaves_the_restored_data_and_the_next_run_goes_on_with_it() {
    let node = dropped_since(FakeNode::running().with_peers(2)).failing_on(
        "nodetool repair",
        2,
        "error: Repair job has failed: a replica is down\n-- StackTrace --\njava.lang.RuntimeException\n",
    );
    let failed = run(&node, json!({"keep_previous": false}));
    assert_eq!(
        failed["msg"],
        "the archive is restored, but repair failed: `nodetool repair -full -pr -- ks3` failed in container `node` (exit \
         code 2): Repair job has failed: a replica is down. The archive's data is in place and container `node` is \
         running; the previous data is kept. once all nodes are up, run the same restore again: it goes on with the \
         repair"
    );
    assert_eq!((&failed["error"], &failed["stage"]), (&json!("repair_failed"), &json!("repair")));
    assert_eq!((&failed["changed"], failed.get("rolled_back")), (&json!(true), None));
    assert_eq!(
        (node.run_state(), node.restart_policy_name().as_str()),
        (RunState::Running, "unless-stopped")
    );
    assert!(node.tables().contains(&"ks1.users".to_owned()) && work(&node, "previous").is_dir());

    let (node, starts) = (node.healed(), 2);
    let finished = restore(&node, json!({"keep_previous": false}));
    assert_eq!((&finished["changed"], &finished["restore"]["state"]), (&json!(true), &json!("restored")));
    assert_eq!(node.starts().len(), starts);
    assert!(!work(&node, "previous").exists());
}

#[test]
fn a_run_ended_in_its_repair_leaves_the_restored_data() {
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let (begin, ended) = (Mutex::new(begin), Mutex::new(ended));
    let node = dropped_since(FakeNode::running().with_peers(2)).before("nodetool repair", move |_| {
        begin.lock().unwrap().send(()).ok();
        ended.lock().unwrap().recv().ok();
    });
    let run = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
    begun.recv_timeout(Duration::from_secs(20)).unwrap();
    run.signal(Signal::TERM);
    let ended = run.finish();
    drop(end);
    assert_eq!(
        ended["msg"],
        "ended by SIGTERM. The archive's data is in place and container `node` is running; the previous data is kept. \
         run again"
    );
    assert!(node.tables().contains(&"ks1.users".to_owned()));
    assert_eq!(restore(&node, json!({}))["changed"], true);
}

#[test]
fn a_restart_policy_that_cannot_be_put_back_is_told_and_put_back_by_the_next_run() {
    let node = dropped_since(FakeNode::running());
    node.engine.fail_nth("POST /containers/node/update", 2, Fault::Status(500, "no space left on device"));
    let failed = run(&node, json!({}));
    assert_eq!(
        failed["msg"],
        "the Docker Engine failed to set the restart policy of container `node`: no space left on device. The archive's \
         data is in place and container `node` is running; the previous data is kept. see the Docker Engine's log, then \
         run again"
    );
    assert_eq!(restore(&node, json!({}))["changed"], true);
    assert_eq!(node.restart_policy_name(), "unless-stopped");
}

#[test]
fn a_started_node_that_somebody_stopped_runs_once_it_is_restored() {
    let node = dropped_since(FakeNode::running());
    restore(&node, json!({"state": "started"}));
    node.stop();
    let result = restore(&node, json!({}));
    assert_eq!((&result["container"]["left"], node.run_state()), (&json!("running"), RunState::Running));
}

#[test]
fn a_disk_that_was_not_mounted_after_a_reboot_is_noticed_before_cassandra_starts_on_it() {
    for reached in ["swapped", "started"] {
        let node = FakeNode::running().with_table("ks1", "users", 1);
        node.run_module("cassandra_backup", json!({"tag": "nightly"}));
        assert_eq!(restore(&node, json!({"state": reached}))["changed"], true);
        let mark = node.dirs().storage.join(".cassandra_restore-data/run");
        fs::remove_file(&mark).unwrap();
        let changes = node.changes();

        let result = node.run_module("cassandra_restore", json!({"tag": "nightly"}));

        let missing = format!(
            "`{}` is missing: is the disk of `{}` mounted?",
            mark.display(),
            node.dirs().data[0].display()
        );
        let left = node.run_state().word();
        let standing =
            format!("The node is as an earlier run left it: `{reached}`, container `node` is {left}");
        assert_eq!(
            (&result["failed"], &result["msg"]),
            (&json!(true), &json!(format!("{missing} {standing}")))
        );
        assert_eq!(node.changes(), changes);
    }
}
