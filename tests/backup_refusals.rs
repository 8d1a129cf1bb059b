//! Every reason not to begin: told in whole sentences, before anything is touched.

mod backups;
mod support;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use backups::{RUNNING, STOPPED, UNTOUCHED, backup, nightly, refusal, told};
use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, Fault};

const TAG: &str = "a tag is made of the letters A-Z and a-z, digits, `_` and `-` only";
const DIRECTORY: &str = "set `backup_dir` to a directory of its own on this host";
const MOUNT: &str = "the data directory must lie on a bind mount or a local volume of this host";
const ENGINE: &str = "see the Docker Engine's log, then run again";

/// Nothing is touched, and this is said.
fn assert_refused(node: &FakeNode, args: Value, word: &str, failure: &str, hint: &str) {
    let told = refusal(node, args);
    assert_eq!(told, (word.to_owned(), format!("{failure}. {UNTOUCHED}. {hint}")));
}

fn refuses(node: &FakeNode, word: &str, failure: &str, hint: &str) {
    assert_refused(node, json!({"tag": "nightly"}), word, failure, hint);
}

#[test]
fn a_container_that_is_not_there_is_told() {
    let hint = "see `docker ps -a` on this host, and set `container` to the node's name";
    let args = json!({"container": "other", "tag": "nightly"});
    assert_refused(&FakeNode::running(), args, "container_absent", "there is no container `other`", hint);
}

#[test]
fn a_container_that_cannot_be_asked_is_told() {
    let hint = "run `docker unpause` on it, then run again";
    refuses(&FakeNode::running().paused(), "container_paused", "container `node` is paused", hint);

    let failure = "container `node` is restarting over and over (exit code 1)";
    let hint = "see `docker logs`; a backup needs a node that runs";
    refuses(&FakeNode::running().restarting(), "container_restarting", failure, hint);
}

#[test]
fn a_container_without_cassandra_is_told() {
    let hint =
        "set `container` to a Cassandra node; where its configuration lies elsewhere, set `config_file`";
    let node = FakeNode::running().symlink_inside("/etc/cassandra/cassandra.yaml", "/nowhere.yaml");
    let failure = "container `node` does not hold a Cassandra node: it has no `/etc/cassandra/cassandra.yaml`, no \
                   `/opt/cassandra/conf/cassandra.yaml`";
    refuses(&node, "not_cassandra", failure, hint);

    let args = json!({"tag": "nightly", "config_file": "/srv/cassandra.yaml"});
    let failure = "container `node` does not hold a Cassandra node: it has no `/srv/cassandra.yaml`";
    assert_refused(&FakeNode::running(), args, "not_cassandra", failure, hint);
}

#[test]
fn a_configuration_that_makes_no_sense_is_told() {
    let node = FakeNode::running().file_inside("/etc/cassandra/cassandra.yaml", "cluster_name: [\n");
    let yaml = serde_yaml_ng::from_str::<Value>("cluster_name: [\n").unwrap_err();
    let failure = format!(
        "container `node` does not hold a Cassandra node: `/etc/cassandra/cassandra.yaml` cannot be read: cassandra.yaml is \
         not valid YAML: {yaml}"
    );
    let hint =
        "set `container` to a Cassandra node; where its configuration lies elsewhere, set `config_file`";
    refuses(&node, "not_cassandra", &failure, hint);
}

#[test]
fn data_that_is_not_where_docker_says_is_refused() {
    let node = FakeNode::running().wrong_mount();
    let data = node.dirs().data[0].clone();
    let failure = format!(
        "`{}` of container `node` cannot be found on this host: `{}` on this host is another directory than the container \
         sees",
        data.display(),
        node.host().join("elsewhere/data").display()
    );
    refuses(&node, "host_path", &failure, MOUNT);
}

#[test]
fn data_in_the_containers_own_layer_is_refused() {
    for node in [FakeNode::running().not_on_a_mount(), FakeNode::stopped().not_on_a_mount()] {
        let failure = format!(
            "`{}` of container `node` cannot be found on this host: it lies in the container's own layer, not on a mount",
            node.dirs().data[0].display()
        );
        refuses(&node, "host_path", &failure, MOUNT);
    }
}

#[test]
fn a_data_directory_whose_symlinks_go_in_a_circle_is_refused() {
    let node =
        FakeNode::running().unset_directories().symlink_inside("/opt/cassandra/data", "/opt/cassandra/data");
    let failure = "`/opt/cassandra/data/data` of container `node` cannot be found on this host: its symlinks go in a circle";
    refuses(&node, "host_path", failure, MOUNT);
}

#[test]
fn a_stopped_node_on_a_wrong_mount_is_found_out_when_it_runs_and_stopped_again() {
    let node = FakeNode::stopped().with_table("ks1", "users", 1).wrong_mount();
    let elsewhere = node.host().join("elsewhere/data");
    fs::create_dir_all(elsewhere.join("ks1")).unwrap();

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "`{}` of container `node` cannot be found on this host: `{}` on this host is another directory than the container \
         sees. {STOPPED}. {MOUNT}",
        node.dirs().data[0].display(),
        elsewhere.display()
    );
    assert_eq!(told(&result), ("host_path", message.as_str()));
    assert_eq!(node.run_state(), RunState::Exited);
    assert_eq!(node.snapshots().len(), 0);
}

#[test]
fn an_engine_that_is_not_there_is_told() {
    let node = FakeNode::running();
    let socket = node.host().join("no.sock");
    let args = json!({"tag": "nightly", "docker_host": format!("unix://{}", socket.display())});
    let failure = format!("no Docker Engine answers at `{}`: no such socket", socket.display());
    let hint = "is Docker running on this host? set `docker_host` to its Unix socket";
    assert_refused(&node, args, "engine_unreachable", &failure, hint);
}

#[test]
fn an_engine_that_does_not_talk_is_told() {
    let node = FakeNode::running();
    node.engine.fail("GET /version", Fault::Status(500, "the disk is on fire"));
    let failure =
        format!("no Docker Engine answers at `{}`: the disk is on fire", node.engine.socket().display());
    let hint = "is Docker running on this host? set `docker_host` to its Unix socket";
    refuses(&node, "engine_unreachable", &failure, hint);
}

#[test]
fn an_engine_that_fails_is_told_with_what_it_said() {
    let failing = |pattern: &str, nth: usize| {
        let node = FakeNode::running();
        node.engine.fail_nth(pattern, nth, Fault::Status(500, "the disk is on fire"));
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
        "no permission to use the Docker Engine's socket `{}`. {UNTOUCHED}. run the task with `become: true`, or as a user \
         of the group `docker`",
        node.engine.socket().display()
    );
    assert_eq!(told(&result), ("engine_permission", message.as_str()));
    assert!(node.engine.requests().is_empty());
}

#[test]
fn a_tag_that_cannot_be_one_is_told() {
    let node = FakeNode::running();
    for (tag, message) in [
        ("a/b", format!("`tag` holds '/': a/b. {TAG}")),
        ("2026-11-22T04:15", format!("`tag` holds ':': 2026-11-22T04:15. {TAG}")),
        ("", "`tag` is empty. give a name, or leave the option out".to_owned()),
        (
            "latest",
            "`tag` cannot be `latest`: that is how `cassandra_restore` says the newest archive. choose another tag, or \
             leave the option out"
                .to_owned(),
        ),
    ] {
        assert_eq!(refusal(&node, json!({"tag": tag})), ("bad_option".to_owned(), message));
    }
    assert!(node.engine.requests().is_empty());
}

#[test]
fn a_backup_directory_that_is_none_is_told() {
    let node = FakeNode::running();
    let file = node.host().join("file");
    fs::write(&file, "not a directory").unwrap();
    let dangling = node.host().join("dangling");
    symlink(node.host().join("nowhere"), &dangling).unwrap();
    for (dir, in_the_way) in
        [(file.clone(), &file), (file.join("below"), &file), (dangling.clone(), &dangling)]
    {
        let failure = format!(
            "`{}` cannot be used as backup_dir: `{}` is not a directory",
            dir.display(),
            in_the_way.display()
        );
        assert_refused(&node, json!({"backup_dir": dir}), "backup_dir", &failure, DIRECTORY);
    }
}

#[test]
fn a_backup_directory_inside_the_nodes_own_is_told() {
    let node = FakeNode::running();
    let link = node.host().join("link");
    symlink(&node.dirs().data[0], &link).unwrap();
    let inside = |dir: &Path, own: &Path| {
        let failure = format!(
            "`{}` cannot be used as backup_dir: it lies inside the node's own directory `{}`",
            dir.display(),
            own.display()
        );
        assert_refused(&node, json!({"backup_dir": dir}), "backup_dir", &failure, DIRECTORY);
    };
    let dirs = node.dirs();
    inside(&dirs.data[0], &dirs.data[0]);
    inside(&dirs.data[0].join("backup/deep"), &dirs.data[0]);
    inside(&link.join("backup"), &dirs.data[0]);
    inside(&dirs.commitlog, &dirs.commitlog);
    // Beside them, on the same mount, it is the operator's own business.
    assert_eq!(backup(&node, json!({"backup_dir": dirs.storage.join("backup")}))["changed"], true);
}

#[test]
fn a_disk_that_is_too_small_is_told_before_anything_is_written() {
    let node = FakeNode::running().with_big_table("ks1", "big", 1 << 42);
    let (word, message) = refusal(&node, json!({"tag": "nightly"}));
    // What is free changes from one moment to the next.
    let number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let words: Vec<&str> = message.split(' ').map(|word| if number(word) { "N" } else { word }).collect();
    let expected = format!(
        "not enough space in `{}`: N bytes are needed, N are free. {UNTOUCHED}. free some space, or set another directory \
         on a larger disk",
        node.backup_dir().display()
    );
    assert_eq!((word.as_str(), words.join(" ")), ("no_space", expected));
}

#[test]
fn a_node_without_data_is_not_started_to_be_backed_up() {
    let hint = "see `docker inspect` for what is mounted on its data directory";
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
    refuses(&node, "restore_unfinished", &failure, hint);
    assert_refused(&node, json!({"tag": "weekly"}), "restore_unfinished", &failure, hint);
}

#[test]
fn a_node_behind_the_blocker_of_a_restore_is_refused_whoever_remembers_it() {
    let node = FakeNode::stopped();
    let system = node.dirs().data[0].join("system");
    fs::remove_dir_all(&system).unwrap();
    fs::write(&system, "a restore is at work").unwrap();
    let hint = "undo it by `cassandra_restore` with `state: rolled_back`";
    let failure =
        format!("a restore of this node is unfinished (phase `unknown`, archive `see {}`)", system.display());
    refuses(&node, "restore_unfinished", &failure, hint);
}
