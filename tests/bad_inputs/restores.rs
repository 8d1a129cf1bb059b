//! What a restore refuses for what it finds, all at once, and what only is a warning.

use std::fs;
use std::os::unix::fs::symlink;

use cassandra_backup::size::human;
use serde_json::{Value, json};

use super::support::{FakeNode, Mounted};
use super::{backed_up, reason, restore};

/// Changes what the last run remembered of the node: whoever it is now.
fn remember(node: &FakeNode, change: impl Fn(&mut Value)) {
    let folder = fs::read_dir(node.state_dir()).unwrap().next().unwrap().unwrap().path();
    let path = folder.join("node.json");
    let mut remembered: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut remembered["identity"]);
    fs::write(path, remembered.to_string()).unwrap();
}

#[test]
fn every_reason_is_told_at_once() {
    let node = backed_up(FakeNode::running());
    let made = node.run_module("cassandra_backup", json!({"tag": "part", "keyspaces": ["ks1", "system"]}));
    assert_eq!(made["changed"], true, "{made:#}");
    node.stop();
    let (host_id, data) = (node.host_id(), node.dirs().data[0].clone());
    remember(&node, |identity| {
        identity["host_id"] = json!("another");
        identity["cluster_name"] = json!("Elsewhere");
        identity["cassandra_version"] = json!("4.1.9");
        identity["tokens"] = json!(["1", "2"]);
        identity["data_center"] = json!("dc9");
        identity["rack"] = json!("rack9");
        identity["partitioner"] = json!("org.apache.cassandra.dht.RandomPartitioner");
    });
    symlink("/srv/ks9", data.join("ks9")).unwrap();
    let node = node.auto_remove().labelled("com.docker.swarm.task.id", "x1").shared_with("reader").on_volume(
        "cass",
        "local",
        json!({"type": "nfs"}),
    );
    let (archive, data) = (node.archive("part"), data.display());
    let archive = archive.display();
    let reasons = [
        "13 reasons not to begin: the container was made with `--rm`: its data would be gone once it stops; back the node up, then make it \
         again without `--rm`"
            .to_owned(),
        "the container belongs to a Swarm service, which would start or replace it in the middle; a restore needs \
         a container that only you start and stop".to_owned(),
        "container `reader` is running on the same directories; stop it first".to_owned(),
        "volume `cass` is only there while a container has it mounted; mount it on this host, and that directory \
         into the container".to_owned(),
        format!(
            "`{archive}` holds only some keyspaces (ks1, system); a node is restored from an archive of all of them"
        ),
        format!("`{data}/ks9` is a symlink or a mount of its own, which a restore cannot swap; put the files \
            themselves there, or set `data_file_directories`"),
        format!(
            "`{archive}` is of cluster `Test Cluster`, the node of `Elsewhere`: Cassandra would refuse to start; \
             take an archive of this cluster"
        ),
        format!(
            "`{archive}` is of another node (host_id {host_id}, not another); `force: true` makes this node that one"
        ),
        format!("`{archive}` is of a node with 16 tokens, this one has 2: Cassandra would refuse to start; set \
            `num_tokens` in cassandra.yaml as it was"),
        format!(
            "`{archive}` is of a node in data center `dc7`, this one is in `dc9`: Cassandra would refuse to start, \
             unless it is told to ignore that; `force: true` goes on"
        ),
        format!(
            "`{archive}` is of a node in rack `rack1`, this one is in `rack9`: Cassandra would refuse to start, \
             unless it is \
             told to ignore that; `force: true` goes on"
        ),
        format!(
            "`{archive}` is of a node with the partitioner `Murmur3Partitioner`, this one has `RandomPartitioner`: \
             Cassandra would refuse to start; set `partitioner` in cassandra.yaml as it was"
        ),
        format!("`{archive}` cannot be read: it was made by Cassandra 5.0.5, and this is the older 4.1.9"),
    ];
    assert_eq!(reason(&node, json!({"tag": "part"})), reasons.join("; "));
}

#[test]
fn another_nodes_archive_is_restored_by_force_and_the_node_is_that_one_then() {
    let lost = backed_up(FakeNode::running());
    let node = FakeNode::running().with_table("ks2", "own", 1);
    let args = json!({"tag": null, "src": lost.archive("nightly")});
    assert_eq!(
        reason(&node, args.clone()),
        format!(
            "`{}` is of another node (host_id {}, not {}); `force: true` makes this node that one",
            lost.archive("nightly").display(),
            lost.host_id(),
            node.host_id()
        )
    );
    let mut args = args;
    args["force"] = json!(true);
    assert_eq!(restore(&node, args)["changed"], true);
    assert_eq!((node.host_id(), node.user_data()), (lost.host_id(), lost.user_data()));
}

#[test]
fn a_node_with_more_data_directories_is_refused() {
    let node = backed_up(FakeNode::running()).data_directories(2);
    assert_eq!(
        reason(&node, json!({})),
        "the node has 2 data directories, the archive 1: give cassandra.yaml as many `data_file_directories`"
    );
}

/// Proves nothing where the tests may not mount: it returns early there.
#[test]
fn a_disk_that_cannot_hold_both_is_refused_and_what_is_staged_needs_no_room_again() {
    let node = FakeNode::created();
    let data = node.dirs().data[0].clone();
    let Some(mounted) = Mounted::at(&data, "10m") else { return };
    node.start();
    let node = node.with_table("ks1", "users", 1).with_big_table("ks1", "big", 4 << 20);
    fs::write(node.dirs().table("ks1", "big").join("nb-1-big-Data.db"), vec![7; 4 << 20]).unwrap();
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    assert_eq!(made["changed"], true, "{made:#}");
    let ballast = data.join("lost+found");
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let free = {
        let about = rustix::fs::statvfs(&data).unwrap();
        about.f_bavail * about.f_frsize
    };
    let told = reason(&node, json!({"force": true}));
    let in_place = restore(&node, json!({"staging": "in_place", "give_up_previous": true}));
    node.write("ks1", "users");
    fs::remove_file(&ballast).unwrap();
    let staged = restore(&node, json!({"state": "staged"}));
    let restored = restore(&node, json!({}));
    drop(mounted);
    let needed = told
        .strip_prefix(&format!("`{}` has {} free, and ", data.display(), human(free)))
        .and_then(|rest| {
            rest.strip_suffix(
                " bytes) are needed to unpack beside the live data; `staging: in_place` \
            needs less, and gives up the way back",
            )
        })
        .and_then(|needed| needed.split_once(" ("));
    let needed: u64 = needed.and_then(|(_, bytes)| bytes.parse().ok()).unwrap_or_else(|| panic!("{told}"));
    assert!(needed > free && needed > 4 << 20, "{needed}");
    assert_eq!(in_place["changed"], true, "{in_place:#}");
    assert_eq!((&staged["changed"], &restored["changed"]), (&json!(true), &json!(true)), "{restored:#}");
}

#[test]
fn a_directory_of_something_else_is_only_restored_over_by_force() {
    let lost = backed_up(FakeNode::running());
    let node = FakeNode::created();
    let data = node.dirs().data[0].clone();
    fs::write(data.join("thesis.tex"), "years of work").unwrap();
    let args = json!({"tag": null, "src": lost.archive("nightly")});
    assert_eq!(
        reason(&node, args.clone()),
        format!(
            "`{}` holds files, but no Cassandra keyspace `system`; `force: true` restores over it",
            data.display()
        )
    );
    let mut args = args;
    args["force"] = json!(true);
    assert_eq!(restore(&node, args)["changed"], true);
    let kept = node.dirs().storage.join(".cassandra_restore-data/previous/thesis.tex");
    assert_eq!(fs::read_to_string(kept).unwrap(), "years of work");
}
