//! Data directories that are not where a backup or a restore can work on them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cassandra_backup::docker::RunState;
use serde_json::json;

use super::backups::{STOPPED, backup, told};
use super::support::{FakeNode, Mounted, check_mode};
use super::{all_refuse, assert_refused, backed_up, reason, restore};

const MOUNT: &str = "the data directory must lie on a bind mount or a local volume of this host";

/// Each of the modules says so of a node's first data directory.
fn refused_by_all(node: &FakeNode, why: &str) {
    let data = node.dirs().data[0].display().to_string();
    let failure = format!("`{data}` of container `node` cannot be found on this host: {why}");
    all_refuse(node, json!({}), "host_path", &failure, MOUNT);
}

#[test]
fn data_that_is_not_where_docker_says_is_refused() {
    let node = FakeNode::running().wrong_mount();
    let elsewhere = node.host().join("elsewhere/data");
    let elsewhere = elsewhere.display();
    refused_by_all(
        &node,
        &format!("`{elsewhere}` on this host is another directory than the container sees"),
    );
}

/// The container holds its disk; the host's path shows what lies below the mount point.
#[test]
fn a_disk_that_the_host_lost_under_a_running_node_is_noticed() {
    let node = backed_up(FakeNode::running()).wrong_mount();
    fs::remove_dir_all(node.host().join("elsewhere/data")).unwrap();
    let gone = node.host().join("elsewhere/data");
    let gone = gone.display();
    refused_by_all(
        &node,
        &format!(
            "`{gone}` on this host: cannot open directory `{gone}`: No such file or directory (os error 2)"
        ),
    );
}

#[test]
fn data_in_the_containers_own_layer_is_refused_of_a_stopped_node() {
    let node = FakeNode::stopped().not_on_a_mount();
    refused_by_all(
        &node,
        "it lies in the container's own layer, not on a mount, which can be read only while it runs",
    );
}

/// What is restored there would be gone with the container that is stopped for it.
#[test]
fn data_in_the_containers_own_layer_is_backed_up_of_a_running_node_and_not_restored() {
    let node = FakeNode::running().with_table("ks1", "users", 1).not_on_a_mount();
    let backed_up = node.run_module("cassandra_backup", json!({"tag": "layer"}));
    assert_eq!(backed_up["changed"], true);
    assert!(backed_up["backup"]["keyspaces"].as_array().unwrap().contains(&json!("ks1")));
    let result = node.run_module("cassandra_restore", json!({"tag": "layer"}));
    let (word, message) = told(&result);
    assert_eq!(word, "host_path");
    let why = "it lies in the container's own layer, not on a mount: back it up while it runs, make the container anew with \
               a volume there, and restore into that";
    assert!(message.contains(why), "{message}");
    assert_eq!(node.run_state(), RunState::Running);
}

#[test]
fn data_in_memory_is_refused() {
    for node in [FakeNode::running(), FakeNode::stopped()] {
        let data = node.dirs().data[0].clone();
        let node = node.also_mounting("tmpfs", Path::new(""), &data);
        refused_by_all(&node, "it lies on a mount of type tmpfs");
        let by_option = FakeNode::running().not_on_a_mount();
        let data = by_option.dirs().data[0].clone();
        refused_by_all(&by_option.with_tmpfs(&data), "it lies on a mount of type tmpfs");
    }
}

/// It lies nowhere on this host: not above the data, and not where another container's tmpfs lies.
#[test]
fn a_tmpfs_beside_the_data_is_nothing_to_a_restore() {
    let node = backed_up(FakeNode::running()).also_mounting("tmpfs", Path::new(""), Path::new("/tmp"));
    let node = node.with_tmpfs(Path::new("/run"));
    assert_eq!(restore(&node, json!({}))["changed"], true);
}

/// A restore would move and remove as root what the container may only read.
#[test]
fn data_on_a_mount_that_is_read_only_for_the_container_is_refused() {
    for node in [FakeNode::running().mounted_read_only(), FakeNode::stopped().mounted_read_only()] {
        refused_by_all(&node, "it lies on a mount that is read-only for the container");
    }
}

/// The source of one mount lies below another's: the container's user can rename it there.
#[test]
fn a_mount_whose_source_the_container_can_replace_is_entered_through_no_symlink() {
    let node = backed_up(FakeNode::stopped());
    let (data, source) = (node.dirs().data[0].clone(), node.dirs().storage.join("source"));
    let node = node.also_mounting("bind", &source, &data);
    symlink(&data, &source).unwrap();
    let failed = restore(&node, json!({}));
    let refused = format!("cannot open directory `{}`: Not a directory (os error 20)", source.display());
    assert_eq!(told(&failed), ("failed", format!("{refused}. The node was not touched").as_str()));
}

#[test]
fn a_mount_below_a_data_directory_is_refused() {
    for node in [FakeNode::running(), FakeNode::stopped()] {
        let keyspace = node.dirs().data[0].join("ks1");
        let other = node.host().join("other-disk");
        let node = node.also_mounting("bind", &other, &keyspace);
        refused_by_all(&node, &format!("another mount, `{}`, lies below it", keyspace.display()));
    }
}

#[test]
fn a_data_directory_whose_symlinks_go_in_a_circle_is_refused() {
    let node =
        FakeNode::running().unset_directories().symlink_inside("/opt/cassandra/data", "/opt/cassandra/data");
    let failure = "`/opt/cassandra/data/data` of container `node` cannot be found on this host: its symlinks go in a \
        circle";
    all_refuse(&node, json!({}), "host_path", failure, MOUNT);
}

/// A backup only reads, and the node runs or is started: who else has the files, and what becomes of them later, is
/// no reason against it.
#[test]
fn what_keeps_a_restore_off_does_not_keep_a_backup_off() {
    let refusals = [
        (
            FakeNode::running().shared_with("reader"),
            "container `reader` is running on the same directories; stop it first",
        ),
        (
            FakeNode::running().auto_remove(),
            "the container was made with `--rm`: its data would be gone once it stops; back the node up, then make \
             it again without `--rm`",
        ),
        (
            FakeNode::running().labelled("io.kubernetes.pod.uid", "x1"),
            "the container belongs to a Kubernetes pod, which would start or replace it in the middle; a \
             restore needs a container that only you start and stop",
        ),
        (
            FakeNode::running().on_volume("cass", "rexray", json!(null)),
            "volume `cass` is only there while a container has it mounted; mount it on this host, and that directory \
             into the container",
        ),
        (
            FakeNode::running().on_volume("cass", "local", json!({"type": "nfs", "o": "addr=10.0.0.9,rw"})),
            "volume `cass` is only there while a container has it mounted; mount it on this host, and that directory \
             into the container",
        ),
    ];
    for (node, refusal) in refusals {
        let node = backed_up(node);
        assert_eq!(reason(&node, json!({"force": true})), refusal);
    }
}

/// Nobody knows whether it is a new node or a disk that is not mounted: it is not started to find out.
#[test]
fn a_stopped_node_whose_disk_is_not_mounted_is_not_backed_up_and_only_restored_with_a_warning() {
    let node = backed_up(FakeNode::running());
    let data = node.dirs().data[0].clone();
    node.stop();
    fs::rename(&data, node.host().join("unmounted")).unwrap();
    fs::create_dir(&data).unwrap();
    let failure =
        format!("container `node` has no data to back up: `{}` on this host is empty", data.display());
    let hint = "see `docker inspect` for what is mounted on its data directory; a volume that is only there while the \
                container runs needs it to be started first";
    assert_refused(&node, json!({"tag": "weekly"}), "no_data", &failure, hint);

    let foreseen = restore(&node, check_mode(json!({})));
    assert_eq!(
        foreseen["warnings"],
        json!([format!(
            "the node held data when it was last seen, and `{}` is empty now: where its disk is only not mounted, roll \
             back, mount it and run again",
            data.display()
        )])
    );
    assert_eq!(restore(&node, json!({}))["changed"], true);
    assert_eq!(restore(&node, json!({"tag": null, "state": "rolled_back"}))["rolled_back"], true);
}

#[test]
fn a_stopped_node_on_a_wrong_mount_is_found_out_when_it_runs_and_stopped_again() {
    let node = FakeNode::stopped().with_table("ks1", "users", 1).wrong_mount();
    let elsewhere = node.host().join("elsewhere/data");
    fs::create_dir_all(elsewhere.join("ks1")).unwrap();

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "`{}` of container `node` cannot be found on this host: `{}` on this host is another directory than the \
         container \
         sees. {STOPPED}. {MOUNT}",
        node.dirs().data[0].display(),
        elsewhere.display()
    );
    assert_eq!(told(&result), ("host_path", message.as_str()));
    assert_eq!(node.run_state(), RunState::Exited);
    assert_eq!(node.snapshots().len(), 0);
}

#[test]
fn a_volume_that_is_gone_when_the_node_stops_is_refused_and_a_plain_one_is_not() {
    let refusal = "volume `cass` is only there while a container has it mounted; mount it on this host, and that \
        directory into the container";
    let node =
        backed_up(FakeNode::running()).on_volume("cass", "local", json!({"o": "bind", "device": "/srv"}));
    assert_eq!(reason(&node, json!({"force": true})), refusal);
    let node = node.on_volume("cass", "rexray", json!(null));
    assert_eq!(reason(&node, json!({})), refusal);
    let node = node.on_volume("cass", "local", json!(null));
    assert_eq!(restore(&node, json!({}))["changed"], true);
}

/// Proves nothing where the tests may not mount: it returns early there.
#[test]
fn a_keyspace_on_a_disk_of_its_own_is_refused() {
    let node = backed_up(FakeNode::running());
    let keyspace = node.dirs().data[0].join("ks7");
    fs::create_dir(&keyspace).unwrap();
    let Some(mounted) = Mounted::at(&keyspace, "1m") else { return };
    let told = reason(&node, json!({}));
    drop(mounted);
    assert_eq!(
        told,
        format!(
            "`{}` is a symlink or a mount of its own, which a restore cannot swap; put the files themselves there, \
             or set `data_file_directories`",
            keyspace.display()
        )
    );
}
