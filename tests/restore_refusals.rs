//! What a restore refuses before it touches anything, all at once, and what only is a warning.

#[path = "restores/access.rs"]
mod access;
#[path = "restores/archives.rs"]
mod archives;
#[path = "restores/directories.rs"]
mod directories;
#[path = "restores/mounted.rs"]
mod mounted;
mod support;

use std::fs;
use std::os::unix::fs::symlink;

use cassandra_backup::docker::RunState;
use mounted::Mounted;
use serde_json::{Value, json};
use support::{FakeNode, Tree, check_mode, tree};

const UNTOUCHED: &str = "The node was not touched";

fn backed_up(node: FakeNode) -> FakeNode {
    let node = node.with_table("ks1", "users", 2);
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    assert_eq!(made["failed"], Value::Null, "{made:#}");
    node
}

fn restore(node: &FakeNode, args: Value) -> Value {
    let mut all = json!({"tag": "nightly"});
    args.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    node.run_module("cassandra_restore", all)
}

/// The error and the message of a restore that is refused and changes nothing; in check mode it says the same.
fn refused(node: &FakeNode, args: Value) -> (String, String) {
    let before = (tree(node.host()), node.changes());
    let result = restore(node, args.clone());
    assert_eq!((&result["failed"], &result["changed"]), (&json!(true), &json!(false)), "{result:#}");
    is_as(node, &before);
    let foreseen = restore(node, check_mode(args));
    assert_eq!(foreseen["msg"], result["msg"]);
    is_as(node, &before);
    (result["error"].as_str().unwrap().to_owned(), result["msg"].as_str().unwrap().to_owned())
}

/// Too much to be shown where it differs.
fn is_as(node: &FakeNode, before: &(Tree, Vec<String>)) {
    assert_eq!(&node.changes(), &before.1);
    let now = tree(node.host());
    let differs = now.iter().find(|(path, entry)| before.0.get(*path) != Some(entry));
    assert!(now.len() == before.0.len() && differs.is_none(), "{differs:?}");
}

/// One reason to refuse, in full.
fn reason(node: &FakeNode, args: Value) -> String {
    let (error, msg) = refused(node, args);
    assert_eq!(error, "refused", "{msg}");
    msg.strip_suffix(UNTOUCHED)
        .and_then(|msg| msg.strip_suffix(". "))
        .unwrap_or_else(|| panic!("{msg}"))
        .to_owned()
}

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
        "11 reasons not to begin: the container was made with `--rm`: its data would be gone once it stops"
            .to_owned(),
        "the container belongs to a Swarm service, which would start or replace it in the middle".to_owned(),
        "container `reader` is running on the same directories; stop it first".to_owned(),
        "volume `cass` is only there while a container has it mounted".to_owned(),
        format!(
            "`{archive}` holds only some keyspaces (ks1, system); a node is restored from an archive of all of them"
        ),
        format!("`{data}/ks9` is a symlink or a mount of its own, which a restore cannot swap"),
        format!(
            "`{archive}` is of cluster `Test Cluster`, the node of `Elsewhere`: Cassandra would refuse to start"
        ),
        format!(
            "`{archive}` is of another node (host_id {host_id}, not another); `force: true` makes this node that one"
        ),
        format!("`{archive}` is of a node with 16 tokens, this one has 2: Cassandra would refuse to start"),
        format!(
            "`{archive}` is of a node with the partitioner `Murmur3Partitioner`, this one has `RandomPartitioner`: \
             Cassandra would refuse to start"
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
fn a_volume_that_is_gone_when_the_node_stops_is_refused_and_a_plain_one_is_not() {
    let refusal = "volume `cass` is only there while a container has it mounted";
    let node =
        backed_up(FakeNode::running()).on_volume("cass", "local", json!({"o": "bind", "device": "/srv"}));
    assert_eq!(reason(&node, json!({"force": true})), refusal);
    let node = node.on_volume("cass", "rexray", json!(null));
    assert_eq!(reason(&node, json!({})), refusal);
    let node = node.on_volume("cass", "local", json!(null));
    assert_eq!(restore(&node, json!({}))["changed"], true);
}

#[test]
fn a_node_with_more_data_directories_is_refused() {
    let node = backed_up(FakeNode::running()).data_directories(2);
    assert_eq!(reason(&node, json!({})), "the node has 2 data directories, the archive 1");
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
        format!("`{}` is a symlink or a mount of its own, which a restore cannot swap", keyspace.display())
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
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    assert_eq!(made["changed"], true, "{made:#}");
    let ballast = data.join("lost+found");
    fs::write(&ballast, vec![1; 5 << 20]).unwrap();
    let free = {
        let about = rustix::fs::statvfs(&data).unwrap();
        about.f_bavail * about.f_frsize
    };
    let told = reason(&node, json!({"force": true}));
    fs::remove_file(&ballast).unwrap();
    let staged = restore(&node, json!({"state": "staged"}));
    let restored = restore(&node, json!({}));
    drop(mounted);
    let needed = told
        .strip_prefix(&format!("`{}` has {free} bytes free, and ", data.display()))
        .and_then(|rest| rest.strip_suffix(" are needed to unpack beside the live data"));
    let needed: u64 = needed.and_then(|needed| needed.parse().ok()).unwrap_or_else(|| panic!("{told}"));
    assert!(needed > free && needed > 4 << 20, "{needed}");
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

/// Restored over, the only whole copy of its data would be replaced.
#[test]
fn a_restore_that_another_state_dir_knows_to_be_unfinished_is_refused() {
    let node = backed_up(FakeNode::running());
    let gate = node.engine.hold("POST /containers/node/stop");
    let run = node.start_module("cassandra_restore", json!({"tag": "nightly"}));
    gate.wait_until_reached();
    let middle = support::Gate::default();
    node.engine.fail_nth("GET /containers/node/json", 3, support::Fault::Hold(middle.clone()));
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
    // Known, it is told as what it is, with the way out.
    assert_eq!(
        restore(&node, json!({}))["msg"],
        format!(
            "a restore of this node is unfinished (phase `setting_aside`, archive `{}`). {UNTOUCHED}. undo it by \
             `cassandra_restore` with `state: rolled_back`",
            node.archive("nightly").display()
        )
    );
    let undone = node.run_module("cassandra_restore", json!({"state": "rolled_back"}));
    assert_eq!(undone["rolled_back"], true, "{undone:#}");
    assert_eq!(node.tables(), ["ks1.users"]);
    assert!(!node.starts().last().unwrap().is_new_node);
}

#[test]
fn a_container_that_cannot_be_worked_with_is_told_in_words() {
    let node = backed_up(FakeNode::running()).paused();
    assert_eq!(
        refused(&node, json!({})),
        (
            "container_paused".to_owned(),
            format!("container `node` is paused. {UNTOUCHED}. run `docker unpause` on it, then run again")
        )
    );
    assert_eq!(
        refused(&node, json!({"container": "other"})),
        (
            "container_absent".to_owned(),
            format!(
                "there is no container `other`. {UNTOUCHED}. see `docker ps -a` on this host, and set `container` to the \
                 node's name"
            )
        )
    );
    let node = backed_up(FakeNode::running()).not_on_a_mount();
    assert_eq!(
        refused(&node, json!({})),
        (
            "host_path".to_owned(),
            format!(
                "`{}` of container `node` cannot be found on this host: it lies in the container's own layer, not on a \
                 mount. {UNTOUCHED}. the data directory must lie on a bind mount or a local volume of this host",
                node.dirs().data[0].display()
            )
        )
    );
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
    for args in [json!({}), json!({"tag": null, "state": "rolled_back"})] {
        let busy = restore(&node, args);
        let running = node.run_module("cassandra_backup_info", json!({}))["running"].clone();
        let (pid, since) = (&running["pid"], running["since"].as_str().unwrap());
        let told = format!(
            "another run is at work on this node: `cassandra_restore` of `nightly` on container `node`, process {pid} since \
             {since}, now at `stop` (100 %). {UNTOUCHED}. wait until it has ended, then run again"
        );
        assert_eq!(busy["msg"], told);
        assert_eq!(busy["error"], "busy");
    }
    assert_eq!((tree(&node.dirs().storage), node.changes()), before);
    gate.open();
    assert_eq!(run.finish()["changed"], true);
}
