//! The way back that a restore takes by itself, after a failure before the commit point.

mod support;
#[path = "restores/way_back.rs"]
mod way_back;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{Dirs, FakeNode, Fault, Gate, Signal, Tree};
use way_back::{changed_since, restore, roll_back, work};

/// The node's own files, without what restores keep beside them.
fn live(node: &FakeNode) -> Tree {
    node.tree().into_iter().filter(|(path, _)| !path.starts_with(".cassandra_restore-")).collect()
}

/// Does this at the first start only: the roll-back's start goes well.
fn once(act: impl Fn(&Dirs) + Send + Sync + 'static) -> impl Fn(&Dirs) + Send + Sync + 'static {
    let done = AtomicBool::new(false);
    move |dirs| {
        if !done.swap(true, Ordering::Relaxed) {
            act(dirs);
        }
    }
}

fn newest(table: &Path) -> PathBuf {
    let files = fs::read_dir(table).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.to_string_lossy().ends_with("-Data.db")).max().unwrap()
}

/// A failed restore of a running node, which has its own data again and serves. Gives the result.
fn fails_and_rolls_back(node: &FakeNode, args: Value) -> Value {
    let (data, tables, host_id, policy) =
        (node.user_data(), node.tables(), node.host_id(), node.restart_policy_name());
    let result = restore(node, args);
    assert_eq!((&result["failed"], &result["rolled_back"]), (&json!(true), &json!(true)), "{result:#}");
    assert_eq!((node.user_data(), node.tables(), node.host_id()), (data, tables, host_id));
    assert_eq!((node.run_state(), node.restart_policy_name()), (RunState::Running, policy));
    assert_eq!(result["container"]["left"], "running");
    assert!(!work(node, "previous").exists() && !work(node, "staged").exists());
    // There is nothing left to roll back, and the next restore begins anew.
    assert_eq!(roll_back(node)["changed"], false);
    result
}

#[test]
fn a_node_that_does_not_come_up_has_its_previous_data_again() {
    let node = changed_since(FakeNode::running())
        .before("start", once(|dirs| fs::write(newest(&dirs.table("system", "local")), "garbage").unwrap()));
    let file = newest(&node.dirs().table("system", "local"));
    let result = fails_and_rolls_back(&node, json!({}));
    assert_eq!(
        result["msg"],
        format!(
            "container `node` exited with code 100 while Cassandra was being waited for; its log ends: ERROR [main] \
             CorruptSSTableException: {}. The previous data is back in place and container `node` is running. see \
             `docker logs` for why Cassandra ended",
            file.display()
        )
    );
    assert_eq!((&result["error"], &result["stage"]), (&json!("container_died"), &json!("start")));
    let steps = result["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap());
    assert_eq!(
        steps.collect::<Vec<_>>(),
        ["look", "preflight", "stage", "stop", "swap", "start", "roll back"]
    );
    assert!(result["downtime_seconds"].as_f64().unwrap() > 0.0);
    // What was started may hold clients' writes: it is kept aside.
    assert_eq!(
        fs::read(newest(
            &fs::read_dir(work(&node, "undone/system"))
                .unwrap()
                .map(|table| table.unwrap().path())
                .find(|table| table.to_string_lossy().contains("local-"))
                .unwrap()
        ))
        .unwrap(),
        b"garbage"
    );
}

#[test]
fn a_node_that_made_itself_another_identity_has_its_own_again() {
    let node = changed_since(FakeNode::running())
        .before("start", once(|dirs| fs::remove_dir_all(dirs.table("system", "local")).unwrap()));
    let own = node.host_id();
    let result = fails_and_rolls_back(&node, json!({}));
    let stranger = node.starts()[1].clone();
    assert!(stranger.is_new_node);
    assert_eq!(
        result["msg"],
        format!(
            "the node that started is not the archive's: its host_id is `{}`, the archive's is `{own}`. The previous data \
             is back in place and container `node` is running. see `docker logs` for what Cassandra made of its data",
            stranger.host_id
        )
    );
    assert_eq!((&result["error"], &result["stage"]), (&json!("not_the_archives_node"), &json!("check")));
}

#[test]
fn a_node_of_a_cluster_that_is_restored_as_a_whole_stays_down_until_all_are_back() {
    let node = changed_since(FakeNode::running())
        .before("start", once(|dirs| fs::remove_dir_all(dirs.table("system", "local")).unwrap()));
    let (own, tables) = (node.host_id(), node.tables());
    let failed = restore(&node, json!({"whole_cluster": true, "state": "started"}));
    assert_eq!((&failed["error"], &failed["rolled_back"]), (&json!("not_the_archives_node"), &json!(true)));
    let msg = failed["msg"].as_str().unwrap();
    assert!(msg.contains("The previous data is back in place, and container `node` is stopped"), "{msg}");
    assert_eq!((node.run_state(), node.restart_policy_name().as_str()), (RunState::Exited, "no"));

    let back = roll_back(&node);
    assert_eq!((&back["failed"], &back["changed"]), (&Value::Null, &json!(true)), "{back:#}");
    assert_eq!((node.host_id(), node.tables()), (own, tables));
    assert_eq!(
        (node.run_state(), node.restart_policy_name().as_str()),
        (RunState::Running, "unless-stopped")
    );
}

#[test]
fn a_node_that_lists_other_tables_has_its_previous_data_again() {
    let node = changed_since(FakeNode::running()).before(
        "start",
        once(|dirs| {
            let file = newest(&dirs.table("system_schema", "tables"));
            let schema = fs::read_to_string(&file).unwrap();
            fs::write(&file, schema.replace("\"old\"", "\"odd\"")).unwrap();
        }),
    );
    let result = fails_and_rolls_back(&node, json!({}));
    assert_eq!(
        result["msg"],
        "the node that started is not the archive's: it has no table `ks1.old`. The previous data is back in place and \
         container `node` is running. see `docker logs` for what Cassandra made of its data"
    );
}

#[test]
fn a_node_that_never_gets_ready_has_its_previous_data_again_and_is_not_said_to_serve() {
    let node = changed_since(FakeNode::running()).ready_after(1_000_000);
    let (tables, starts) = (node.tables(), node.starts().len());
    let result = restore(&node, json!({"wait_timeout": 1}));
    let not_ready = format!(
        "Cassandra in container `node` was not ready within 1 s: no socket listens on port {}",
        node.port()
    );
    assert_eq!(
        result["msg"],
        format!(
            "{not_ready}; and then: {not_ready}. The previous data is back in place and container `node` is started, but \
             was not seen to serve clients. raise `wait_timeout`, or see `docker logs`"
        )
    );
    assert_eq!((&result["error"], &result["rolled_back"]), (&json!("not_ready"), &json!(true)));
    assert_eq!(
        (node.run_state(), node.tables(), node.starts().len()),
        (RunState::Running, tables, starts + 2)
    );
    assert_eq!(roll_back(&node)["changed"], false);
}

#[test]
fn an_engine_that_fails_once_leaves_the_node_as_it_was_found() {
    let cases = [
        ("POST /containers/node/update", "set the restart policy of"),
        ("POST /containers/node/stop", "stop"),
        ("POST /containers/node/start", "start"),
    ];
    for (request, words) in cases {
        let node = changed_since(FakeNode::running());
        node.engine.fail_nth(request, 1, Fault::Status(500, "out of order"));
        let result = fails_and_rolls_back(&node, json!({}));
        assert_eq!(
            result["msg"],
            format!(
                "the Docker Engine failed to {words} container `node`: out of order. The previous data is back in place \
                 and container `node` is running. see the Docker Engine's log, then run again"
            )
        );
    }
}

#[test]
fn an_engine_that_cannot_stop_the_node_leaves_it_serving() {
    for request in ["POST /containers/node/update", "POST /containers/node/stop"] {
        let node = changed_since(FakeNode::running());
        let (before, starts) = (live(&node), node.starts());
        node.engine.fail(request, Fault::Status(500, "out of order"));
        // Only what succeeded can be undone: the policy cannot be set back where it cannot be set.
        fails_and_rolls_back(&node, json!({}));
        assert_eq!((live(&node), node.starts()), (before, starts), "{request}");
    }
}

#[test]
fn a_stop_whose_answer_is_lost_is_followed_by_a_start() {
    let node = changed_since(FakeNode::running());
    node.engine.fail_nth("POST /containers/node/stop", 1, Fault::LoseAnswer);
    let result = fails_and_rolls_back(&node, json!({}));
    assert_eq!(result["error"], "engine_failed");
    assert_eq!(node.starts().len(), 2);
}

#[test]
fn an_engine_that_starts_nothing_any_more_is_told_with_what_to_do() {
    let node = changed_since(FakeNode::running());
    let tables = node.tables();
    node.engine.fail("POST /containers/node/start", Fault::Status(500, "out of order"));
    let result = restore(&node, json!({}));
    let failed = "the Docker Engine failed to start container `node`: out of order";
    assert_eq!(
        result["msg"],
        format!(
            "{failed}; and then: {failed}. The previous data is back in place, but container `node` is not as it was found; \
             run `cassandra_restore` with `state: rolled_back`. see the Docker Engine's log, then run again"
        )
    );
    assert_eq!((&result["rolled_back"], &result["container"]["left"]), (&json!(false), &json!("exited")));
    node.engine.heal();
    let result = roll_back(&node);
    assert_eq!((&result["changed"], &result["rolled_back"]), (&json!(true), &json!(true)));
    assert_eq!(result["msg"], "the previous data of container `node` is back in place");
    assert_eq!(
        (node.run_state(), node.restart_policy_name().as_str()),
        (RunState::Running, "unless-stopped")
    );
    assert_eq!(node.starts().last().unwrap().host_id, node.host_id());
    assert_eq!(node.tables(), tables);
}

#[test]
fn a_run_that_is_ended_while_it_waits_for_the_node_puts_everything_back() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")] {
        let node = changed_since(FakeNode::running()).ready_after(1_000_000);
        let tables = node.tables();
        let run = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
        run.wait_for_request("POST /containers/node/start");
        run.signal(signal);
        let result = run.finish();
        assert_eq!(
            result["msg"],
            format!(
                "ended by {name}. The previous data is back in place and container `node` is started. run again"
            )
        );
        assert_eq!((&result["error"], &result["rolled_back"]), (&json!("interrupted"), &json!(true)));
        assert_eq!((node.run_state(), node.tables()), (RunState::Running, tables));
        assert_eq!(node.restart_policy_name(), "unless-stopped");
    }
}

#[test]
fn a_node_found_stopped_is_left_stopped_with_every_byte_as_it_was() {
    let node = changed_since(FakeNode::running()).dying_on_start();
    node.stop();
    let before = live(&node);
    let result = restore(&node, json!({}));
    assert_eq!(
        result["msg"],
        "container `node` exited with code 1 while Cassandra was being waited for; its log ends: ERROR [main] Exception \
         encountered during startup: the test says so. The previous data is back in place and container `node` is \
         stopped, as it was found. see `docker logs` for why Cassandra ended"
    );
    assert_eq!((live(&node), node.run_state()), (before, RunState::Exited));
    assert_eq!((&result["rolled_back"], &result["container"]["left"]), (&json!(true), &json!("exited")));
    assert_eq!(node.restart_policy_name(), "unless-stopped");
}

/// What somebody put into the way after everything live was set aside.
#[test]
fn a_swap_that_cannot_be_finished_is_taken_back() {
    let node = changed_since(FakeNode::running());
    node.stop();
    let before = live(&node);
    let middle = Gate::default();
    let stop = node.engine.hold("POST /containers/node/update");
    let run = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
    stop.wait_until_reached();
    node.engine.fail_nth("GET /containers/node/json", 2, Fault::Hold(middle.clone()));
    stop.open();
    middle.wait_until_reached();
    let in_the_way = node.dirs().data[0].join("ks1");
    fs::create_dir(&in_the_way).unwrap();
    middle.open();
    let result = run.finish();
    assert_eq!(
        result["msg"],
        format!(
            "cannot move `{}` to `{}`: File exists (os error 17). The previous data is back in place and container `node` \
             is stopped, as it was found",
            work(&node, "staged/ks1").display(),
            in_the_way.display()
        )
    );
    assert_eq!((live(&node), node.run_state()), (before, RunState::Exited));
    // No client ever wrote to it, and the archive has it still.
    assert!(!work(&node, "undone").exists());
}

#[test]
fn a_directory_that_cannot_be_moved_aside_brings_back_all_that_was() {
    let node = changed_since(FakeNode::running());
    node.stop();
    let before = live(&node);
    let mounted = node.dirs().hints.join("mounted");
    let stop = node.engine.hold("POST /containers/node/update");
    let run = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
    stop.wait_until_reached();
    fs::create_dir(&mounted).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&mounted).output().unwrap();
    stop.open();
    let result = run.finish();
    if !mount.status.success() {
        return;
    }
    assert!(Command::new("umount").arg(&mounted).status().unwrap().success());
    fs::remove_dir(&mounted).unwrap();
    assert_eq!(
        result["msg"],
        format!(
            "cannot move `{}` to `{}`: Device or resource busy (os error 16). The previous data is back in place and \
             container `node` is stopped, as it was found",
            mounted.display(),
            node.dirs().storage.join(".cassandra_restore-hints/previous/mounted").display()
        )
    );
    assert_eq!(live(&node), before);
}
