//! Containers that cannot be worked with, and nodes that another run left or works on.

use std::fs;

use cassandra_backup::cassandra::config::Config;
use cassandra_backup::docker::RunState;
use serde_json::json;

use super::backups::nightly;
use super::support::{FakeNode, Fault, Gate, tree};
use super::{
    BACKUP, INFO, NO_BACKUP, RESTORE, UNTOUCHED, all_refuse, assert_refused, backed_up, reason, refusal,
    refuses, restore,
};

#[test]
fn a_container_that_is_not_there_is_told() {
    let hint = "see `docker ps -a` on this host, and set `container` to the node's name";
    let args = json!({"container": "other"});
    all_refuse(&FakeNode::running(), args, "container_absent", "there is no container `other`", hint);
}

#[test]
fn a_container_that_cannot_be_asked_is_told() {
    let hint = "run `docker unpause` on it, then run again";
    let node = backed_up(FakeNode::running()).paused();
    let args = || json!({"tag": "weekly"});
    assert_refused(&node, args(), "container_paused", "container `node` is paused", hint);
    let told = format!("container `node` is paused. {UNTOUCHED}. {hint}");
    assert_eq!(refusal(&node, RESTORE, args()), ("container_paused".to_owned(), told));
    // To be looked at it need not run.
    assert_eq!(node.run_module(INFO, args())["container"]["found"], "paused");

    let failure = "container `node` is restarting over and over (exit code 1)";
    let hint = "see `docker logs`; a backup needs a node that runs";
    refuses(&FakeNode::running().restarting(), "container_restarting", failure, hint);
}

const NO_NODE: &str =
    "set `container` to a Cassandra node; where its configuration lies elsewhere, set `config_file`";

#[test]
fn a_container_without_cassandra_is_told() {
    let node = FakeNode::running().symlink_inside("/etc/cassandra/cassandra.yaml", "/nowhere.yaml");
    let failure = "container `node` does not hold a Cassandra node: it has no file `/etc/cassandra/cassandra.yaml`, no file \
                   `/opt/cassandra/conf/cassandra.yaml`";
    all_refuse(&node, json!({}), "not_cassandra", failure, NO_NODE);

    // A directory is not read with all that is in it.
    for path in ["/srv/cassandra.yaml", "/etc/cassandra", "/"] {
        let failure = format!("container `node` does not hold a Cassandra node: it has no file `{path}`");
        all_refuse(&FakeNode::running(), json!({"config_file": path}), "not_cassandra", &failure, NO_NODE);
    }
}

#[test]
fn a_configuration_that_makes_no_sense_is_told() {
    for text in ["cluster_name: [\n", "just words\n", "data_file_directories: /one/not/a/list\n"] {
        let node = FakeNode::running().file_inside("/etc/cassandra/cassandra.yaml", text);
        let why = Config::parse(text.as_bytes()).unwrap_err();
        let failure = format!(
            "container `node` does not hold a Cassandra node: `/etc/cassandra/cassandra.yaml` cannot be read: {why:#}"
        );
        all_refuse(&node, json!({}), "not_cassandra", &failure, NO_NODE);
    }
}

#[test]
fn a_node_without_data_is_not_started_to_be_backed_up() {
    let hint = "see `docker inspect` for what is mounted on its data directory; a volume that is only there while the container \
                runs needs it to be started first";
    let node = FakeNode::created();
    let data = node.dirs().data[0].clone();
    let failure =
        format!("container `node` has no data to back up: `{}` on this host is empty", data.display());
    refuses(&node, "no_data", &failure, hint);

    let node = FakeNode::stopped();
    let data = node.dirs().data[0].clone();
    fs::remove_dir_all(&data).unwrap();
    let failure =
        format!("container `node` has no data to back up: `{}` on this host is empty", data.display());
    refuses(&node, "no_data", &failure, hint);
}

#[test]
fn a_node_in_the_middle_of_a_restore_is_neither_started_nor_backed_up() {
    let node = FakeNode::running().with_table("ks1", "users", 1);
    nightly(&node);
    let swapped = node.run_module("cassandra_restore", json!({"tag": "nightly", "state": "swapped"}));
    assert_eq!(
        (swapped["changed"].as_bool(), node.run_state()),
        (Some(true), RunState::Exited),
        "{swapped:#}"
    );

    let hint = "finish it by running that restore again, or undo it by `cassandra_restore` with `state: rolled_back`";
    let failure = format!(
        "a restore of this node is unfinished (phase `swapped`, archive `{}`)",
        node.archive("nightly").display()
    );
    let told = format!(
        "{failure}. No archive was made. No data is lost; the node is as an earlier run left it: `swapped`, container `node` \
         is exited. {hint}"
    );
    for tag in ["nightly", "weekly"] {
        let refused = refusal(&node, BACKUP, json!({"tag": tag}));
        assert_eq!(refused, ("restore_unfinished".to_owned(), told.clone()));
    }
}

#[test]
fn a_node_behind_the_blocker_of_a_restore_is_refused_whoever_remembers_it() {
    let node = FakeNode::stopped();
    let system = node.dirs().data[0].join("system");
    fs::remove_dir_all(&system).unwrap();
    fs::write(&system, "a restore is at work").unwrap();
    let hint = "the file tells which: run `cassandra_restore` with the `state_dir` of that one";
    let failure =
        format!("`{}` is a file: a restore is unfinished that `state_dir` does not know", system.display());
    refuses(&node, "restore_unfinished", &failure, hint);
}

/// Restored over, the only whole copy of its data would be replaced.
#[test]
fn a_restore_that_another_state_dir_knows_to_be_unfinished_is_refused() {
    let node = backed_up(FakeNode::running());
    let gate = node.engine.hold("POST /containers/node/stop");
    let run = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
    gate.wait_until_reached();
    let middle = Gate::default();
    node.engine.fail_nth("GET /containers/node/json", 3, Fault::Hold(middle.clone()));
    gate.open();
    middle.wait_until_reached();
    run.kill();
    middle.open();
    let data = node.dirs().data[0].clone();
    let elsewhere = json!({"state_dir": node.host().join("elsewhere"), "force": true});
    assert_eq!(
        reason(&node, elsewhere),
        format!(
            "`{}/system` is a file: a restore is unfinished that `state_dir` does not know; give the `state_dir` of that \
             one",
            data.display()
        )
    );
    // Known, it is told as what it is, with the ways out, and undone.
    let refused = node.run_module("cassandra_backup", json!({"tag": "other"}));
    assert_eq!(
        refused["msg"],
        format!(
            "a restore of this node is unfinished (phase `setting_aside`, archive `{}`). No archive was made. No data is \
             lost; the node is as an earlier run left it: `setting_aside`, container `node` is exited. finish it by \
             running that restore again, or undo it by `cassandra_restore` with `state: rolled_back`",
            node.archive("nightly").display()
        )
    );
    let undone = node.run_module("cassandra_restore", json!({"state": "rolled_back"}));
    assert_eq!(undone["rolled_back"], true, "{undone:#}");
    assert_eq!(node.tables(), ["ks1.users"]);
    assert!(!node.starts().last().unwrap().is_new_node);
}

#[test]
fn a_stopped_node_that_was_never_seen_is_restored_with_a_warning() {
    let node = backed_up(FakeNode::running());
    node.stop();
    let result = restore(&node, json!({"state_dir": node.host().join("fresh")}));
    assert_eq!((&result["changed"], node.run_state()), (&json!(true), RunState::Running));
    assert_eq!(
        result["warnings"],
        json!([
            "the node is not running and was never seen by this module: whether the archive is this node's, and of a \
             version that it reads, could not be checked"
        ])
    );
}

#[test]
fn a_node_that_another_run_works_on_is_left_to_it() {
    let node = backed_up(FakeNode::running());
    let gate = node.engine.hold("POST /containers/node/stop");
    let run = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
    gate.wait_until_reached();
    let before = (tree(&node.dirs().storage), node.changes());
    let runs = [
        (RESTORE, UNTOUCHED, json!({"tag": "nightly"})),
        (RESTORE, UNTOUCHED, json!({"state": "rolled_back"})),
        // Not "a restore is unfinished, undo it".
        (BACKUP, NO_BACKUP, json!({"tag": "nightly"})),
    ];
    for (module, untouched, args) in runs {
        let busy = node.run_module(module, args);
        let running = node.run_module("cassandra_backup_info", json!({}))["running"].clone();
        let (pid, since) = (&running["pid"], running["since"].as_str().unwrap());
        let told = format!(
            "another run is at work on this node: `cassandra_restore` of `nightly` on container `node`, process {pid} since \
             {since}, now at `stop`. {untouched}. wait until it has ended, then run again"
        );
        assert_eq!(busy["msg"], told);
        assert_eq!(busy["error"], "busy");
    }
    assert_eq!((tree(&node.dirs().storage), node.changes()), before);
    gate.open();
    assert_eq!(run.finish()["changed"], true);
}
