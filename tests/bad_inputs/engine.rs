//! Docker Engines that fail, babble, hang, or speak another version of the API.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use super::backups::{RUNNING, STOPPED, backup, told};
use super::support::{FakeNode, Fault};
use super::{
    BACKUP, INFO, MODULES, NO_BACKUP, RESTORE, UNTOUCHED, all_refuse, backed_up, refused, refuses, restore,
};

const UNREACHABLE: &str = "is Docker running on this host? set `docker_host` to its Unix socket";
const ENGINE: &str = "see the Docker Engine's log, then run again";

#[test]
fn an_engine_that_is_not_there_is_told() {
    let node = FakeNode::running();
    let file = node.host().join("file");
    fs::write(&file, "no socket").unwrap();
    for (socket, cause) in [
        (node.host().join("no.sock"), "no such socket"),
        (file, "Connection refused (os error 111)"),
        (node.host().join("s".repeat(120)), "path must be shorter than SUN_LEN"),
    ] {
        let args = json!({"docker_host": format!("unix://{}", socket.display())});
        let failure = format!("no Docker Engine answers at `{}`: {cause}", socket.display());
        all_refuse(&node, args, "engine_unreachable", &failure, UNREACHABLE);
    }
}

#[test]
fn what_answers_and_is_no_engine_is_told() {
    for (fault, cause) in [
        (Fault::Status(500, "the disk is on fire"), "the disk is on fire"),
        (Fault::Close, "connection closed before message completed"),
        (Fault::Cut, "connection closed before message completed"),
        (Fault::Babble("220 mail.example.org ESMTP\r\n"), "invalid HTTP version parsed"),
        (
            Fault::Nonsense("<html>It works!</html>"),
            "its answer makes no sense: expected value at line 1 column 1",
        ),
    ] {
        let node = FakeNode::running();
        node.engine.fail("GET /version", fault);
        let failure = format!("no Docker Engine answers at `{}`: {cause}", node.engine.socket().display());
        all_refuse(&node, json!({}), "engine_unreachable", &failure, UNREACHABLE);
    }
}

#[test]
fn an_engine_of_any_version_from_1_12_on_is_spoken_to_in_its_own() {
    for (oldest, newest) in
        [(None, "1.24"), (Some("1.12"), "1.41"), (Some("1.44"), "1.51"), (Some("1.48"), "1.60")]
    {
        let node = backed_up(FakeNode::running().speaking(oldest, newest));
        let before = node.user_data();
        let node = node.with_table("ks1", "later", 1);
        let restored = restore(&node, json!({}));
        assert_eq!(restored["changed"], true, "{newest}: {restored:#}");
        assert_eq!(node.user_data(), before, "{newest}");
        assert_eq!(node.run_module(INFO, json!({}))["restore"]["state"], "restored", "{newest}");
    }
}

/// As podman before 5.0: the blocker, and not the policy, is what a restore stands on.
#[test]
fn an_engine_that_sets_no_restart_policy_is_restored_on() {
    let node = backed_up(FakeNode::running());
    let before = node.user_data();
    node.engine.fail("POST /containers/node/update", Fault::Status(404, "Not Found"));
    let node = node.with_table("ks1", "later", 1);
    let restored = restore(&node, json!({}));
    assert_eq!(restored["changed"], true, "{restored:#}");
    assert_eq!(node.user_data(), before);
}

#[test]
fn an_engine_whose_api_is_another_one_is_told() {
    for (oldest, newest, theirs) in [(None, "1.23", "1.23"), (Some("2.0"), "2.3", "2.0 to 2.3")] {
        let node = FakeNode::running().speaking(oldest, newest);
        let failure = format!(
            "the Docker Engine at `{}` cannot be used: it speaks the API {theirs} and this module 1.24 to 1.44",
            node.engine.socket().display()
        );
        let hint =
            "update the older of the two, Docker on this host (1.12 is the oldest that works) or this module";
        all_refuse(&node, json!({}), "engine_api", &failure, hint);
    }
}

/// Whatever it is asked while nothing is changed yet.
#[test]
fn an_engine_that_breaks_off_is_told_with_what_it_was_asked() {
    let yaml = "`/etc/cassandra/cassandra.yaml` in container `node`";
    for (pattern, request) in [
        ("GET /containers/node/json", "inspect container `node`".to_owned()),
        ("HEAD /containers/node/archive", "look at `/etc` in container `node`".to_owned()),
        ("GET /containers/node/archive", format!("read {yaml}")),
    ] {
        let node = backed_up(FakeNode::running());
        node.engine.fail(pattern, Fault::Close);
        let failure =
            format!("the Docker Engine failed to {request}: connection closed before message completed");
        all_refuse(&node, json!({"tag": "nightly"}), "engine_failed", &failure, ENGINE);
    }
    let node = backed_up(FakeNode::running());
    node.engine.fail("GET /containers/json", Fault::Close);
    let failure =
        "the Docker Engine failed to list the running containers: connection closed before message completed";
    let told = format!("{failure}. {UNTOUCHED}. {ENGINE}");
    assert_eq!(refused(&node, json!({})), ("engine_failed".to_owned(), told));
}

/// Its clock is put forward: nobody waits.
fn hanging(node: &FakeNode, pattern: &str, module: &str, args: Value) -> Value {
    let since = node.engine.requests().len();
    let hangs = || node.engine.wait_for(pattern, since);
    node.run_past(Duration::from_secs(61), &[&hangs], module, args)
}

#[test]
fn an_engine_that_hangs_is_not_waited_for_longer_than_a_minute() {
    for (module, untouched) in MODULES {
        let node = FakeNode::running();
        node.engine.fail("GET /version", Fault::Silence);
        let result = hanging(&node, "GET /version", module, json!({"tag": "t"}));
        let socket = node.engine.socket().display();
        let message = format!(
            "no Docker Engine answers at `{socket}`: no answer within 60 s. {untouched}. {UNREACHABLE}"
        );
        assert_eq!(told(&result), ("engine_unreachable", message.as_str()));

        let node = FakeNode::running();
        let inspect = "GET /containers/node/json";
        node.engine.fail_nth(inspect, 2, Fault::Silence);
        let again = || while node.engine.requests().len() < 3 {};
        let result = node.run_past(Duration::from_secs(61), &[&again], module, json!({"tag": "t"}));
        let message = format!(
            "the Docker Engine failed to inspect container `node`: no answer within 60 s. {untouched}. {ENGINE}"
        );
        assert_eq!(told(&result), ("engine_failed", message.as_str()));
    }
}

#[test]
fn an_engine_that_hangs_in_the_middle_of_a_restore_gets_its_node_back() {
    let node = backed_up(FakeNode::running());
    let data = node.user_data();
    node.engine.fail_nth("POST /containers/node/update", 1, Fault::Silence);

    let result = hanging(&node, "POST /containers/node/update", RESTORE, json!({"tag": "nightly"}));

    let message = format!(
        "the Docker Engine failed to set the restart policy of container `node`: no answer within 60 s. The previous data \
         is back in place and container `node` is running. {ENGINE}"
    );
    assert_eq!(told(&result), ("engine_failed", message.as_str()));
    assert_eq!((node.run_state(), node.user_data()), (RunState::Running, data));
}

/// A node that flushes for an hour is not broken off by us.
#[test]
fn a_stop_a_start_and_a_snapshot_take_the_time_they_need() {
    let slow = |node: &FakeNode, pattern: &str, module: &str| {
        let gate = node.engine.hold(pattern);
        let hangs = || {
            gate.wait_until_reached();
            let gate = gate.clone();
            // After the clock was put forward.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                gate.open();
            });
        };
        let result = node.run_past(Duration::from_secs(3600), &[&hangs], module, json!({"tag": "nightly"}));
        assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
    };
    slow(&FakeNode::stopped(), "POST /containers/node/start", BACKUP);
    slow(&FakeNode::stopped(), "POST /containers/node/stop", BACKUP);
    slow(&backed_up(FakeNode::running()), "POST /containers/node/stop", RESTORE);

    let (sent, snapshot) = std::sync::mpsc::channel();
    let (sent, snapshot) = (Mutex::new(sent), Mutex::new(snapshot));
    let node = FakeNode::running().before("nodetool snapshot", move |_| {
        sent.lock().unwrap().send(()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    });
    let hangs = || snapshot.lock().unwrap().recv().unwrap();
    let result = node.run_past(Duration::from_secs(3600), &[&hangs], BACKUP, json!({"tag": "nightly"}));
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
}

#[test]
fn an_engine_that_fails_is_told_with_what_it_said() {
    let failing = |pattern: &str, nth: usize| {
        let node = FakeNode::running();
        // In check mode once more.
        for _ in 0..2 {
            node.engine.fail_nth(pattern, nth, Fault::Status(500, "the disk is on fire"));
        }
        node
    };
    let inspect = "the Docker Engine failed to inspect container `node`: the disk is on fire";
    refuses(&failing("GET /containers/node/json", 1), "engine_failed", inspect, ENGINE);
    refuses(&failing("GET /containers/node/json", 2), "engine_failed", inspect, ENGINE);
    let read = "the Docker Engine failed to read `/etc/cassandra/cassandra.yaml` in container `node`: the disk is on fire";
    refuses(&failing("GET /containers/node/archive", 1), "engine_failed", read, ENGINE);
    let exec = told(&backup(&failing("POST /containers/node/exec", 1), json!({}))).1.to_owned();
    let said = format!(
        "the Docker Engine failed to run a command in container `node`: the disk is on fire. {RUNNING}"
    );
    assert_eq!(exec, format!("{said}. {ENGINE}"));
}

#[test]
fn a_start_that_the_engine_refuses_is_told() {
    let node = FakeNode::stopped();
    let fault = Fault::Status(500, "driver failed programming external connectivity");
    node.engine.fail("POST /containers/node/start", fault);

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "the Docker Engine failed to start container `node`: driver failed programming external connectivity. {STOPPED}. \
         {ENGINE}"
    );
    assert_eq!(told(&result), ("engine_failed", message.as_str()));
    assert_eq!(node.run_state(), RunState::Exited);
}

/// Root may use any socket: there the module runs as somebody else.
#[test]
fn a_socket_without_permission_is_told() {
    let node = FakeNode::running();
    fs::set_permissions(node.engine.socket(), fs::Permissions::from_mode(0o000)).unwrap();
    let args = json!({
        "_ansible_module_name": "cassandra_backup", "container": "node", "tag": "nightly",
        "docker_host": format!("unix://{}", node.engine.socket().display()),
    });
    let file = node.host().join("args");
    fs::write(&file, args.to_string()).unwrap();
    // By its open file: the directories above it may be closed to others.
    let program = File::open(env!("CARGO_BIN_EXE_cassandra_backup")).unwrap();
    let mut module = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    if rustix::process::geteuid().is_root() {
        module.uid(65534).gid(65534);
    }

    let ended = module.arg(&file).current_dir("/").output().unwrap();

    let result: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let message = format!(
        "no permission to use the Docker Engine's socket `{}`. {NO_BACKUP}. run the task with `become: true`, or as a user \
         of the group `docker`",
        node.engine.socket().display()
    );
    assert_eq!(told(&result), ("engine_permission", message.as_str()));
    assert!(node.engine.requests().is_empty());
}
