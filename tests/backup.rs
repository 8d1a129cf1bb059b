//! The road of a backup: what is made, from which node, and how the node is left.

mod backups;
mod support;

use std::fs;
use std::process::Command;

use backups::{
    RUNNING, STOPPED, UNTOUCHED, assert_cleared, assert_no_mark, backup, files, manifest, meeting, mode,
    names, nightly, refusal, told, unpacked,
};
use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, Fault, Signal, Tree, tree};

/// A small node with something of everything.
fn populated(node: FakeNode) -> FakeNode {
    node.with_table("ks1", "users", 2)
        .with_index("ks1", "users", "users_by_city")
        .with_table("ks1", "users_by_name_view", 1)
        .with_empty_table("ks2", "empty")
}

/// The live files of all tables, as they lie below the data directory.
fn live_files(node: &FakeNode) -> Tree {
    let data = tree(&node.dirs().data[0]).into_iter();
    data.filter(|(path, entry)| {
        let is_aside = path.contains("/snapshots/") || path.contains("/backups/");
        entry.kind == "file" && !is_aside && path.contains("-big-")
    })
    .collect()
}

fn steps(result: &Value) -> Vec<&str> {
    let steps = result["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            assert!(step["seconds"].as_f64().unwrap() >= 0.0);
            step["name"].as_str().unwrap()
        })
        .collect()
}

#[test]
fn a_backup_of_a_running_node_is_one_archive_with_its_checksum() {
    let node = populated(FakeNode::running());
    let live = live_files(&node);

    let result = backup(&node, json!({"tag": "nightly"}));

    let archive = node.archive("nightly");
    assert_eq!(files(&node.backup_dir()), ["nightly.tgz", "nightly.tgz.sha256"]);
    assert_eq!((mode(&node.backup_dir()), mode(&archive)), (0o711, 0o600));
    assert_eq!(mode(&node.backup_dir().join("nightly.tgz.sha256")), 0o600);
    let check = Command::new("sha256sum")
        .args(["-c", "nightly.tgz.sha256"])
        .current_dir(node.backup_dir())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(check.stdout).unwrap(), "nightly.tgz: OK\n");

    let size = fs::metadata(&archive).unwrap().len();
    let made = manifest(&archive);
    assert_eq!(result["changed"], true);
    assert_eq!(
        result["msg"],
        format!("`{}` was made: {size} bytes of {} files", archive.display(), made.files)
    );
    let checksum = fs::read_to_string(node.backup_dir().join("nightly.tgz.sha256")).unwrap();
    let schema = &made.node.schema_version;
    assert_eq!(
        result["backup"],
        json!({
            "tag": "nightly", "path": archive, "size": size, "sha256": checksum[..64],
            "created": result["backup"]["created"], "cluster_name": "Test Cluster", "host_id": node.host_id(),
            "cassandra_version": "5.0.5", "schema_version": schema,
            "keyspaces": ["ks1", "ks2", "system", "system_auth", "system_distributed", "system_schema", "system_traces"],
            "tables": made.tables.len(), "files": made.files, "bytes": made.bytes, "proven_by": [],
        })
    );
    let container = json!({"name": "node", "image": "cassandra:5.0", "found": "running", "left": "running"});
    assert_eq!(result["container"], container);
    assert_eq!(
        steps(&result),
        ["look", "ask", "snapshot", "prove", "pack", "verify", "clear snapshot", "publish"]
    );
    assert_eq!(result.get("warnings"), None);
    assert_eq!(result.get("diff"), None);
    assert_eq!(node.changes(), ["nodetool snapshot -t nightly", "nodetool clearsnapshot -t nightly"]);
    assert!(live_files(&node) == live, "the node's own files are as they were");
    assert_eq!(node.snapshots().len(), 0);
    assert_no_mark(&node);
}

#[test]
fn the_archive_unpacks_to_the_live_files_with_their_owners_modes_and_times() {
    let node =
        populated(FakeNode::running()).with_dropped_table("ks1", "old").with_backups_dir("ks1", "users");
    nightly(&node);

    let archived = unpacked(&node.archive("nightly"));
    let (files, others): (Tree, Tree) =
        archived.into_iter().partition(|(path, entry)| entry.kind == "file" && path.contains("-big-"));

    assert!(files == live_files(&node), "{:#?}", files.keys());
    let index = files.keys().find(|path| path.contains("/.users_by_city/")).unwrap();
    assert!(index.ends_with("/.users_by_city/nb-1-big-CompressionInfo.db"), "{index}");
    assert!(files.keys().any(|path| path.starts_with("ks1/users_by_name_view-")));
    let is_own = |path: &&String| path.ends_with("/manifest.json") || path.ends_with("/schema.cql");
    let own = others.keys().filter(is_own).count();
    let (dirs, rest): (Vec<_>, Vec<_>) = others.iter().partition(|(_, entry)| entry.kind == "dir");
    assert!(dirs.iter().any(|(path, _)| path.starts_with("ks2/empty-")), "an empty table is there");
    assert!(!others.keys().any(|path| path.starts_with("ks1/old-")), "a dropped one is not");
    assert_eq!(rest.len(), own + 2, "but for cassandra_backup.json and stargz.index.json");
}

#[test]
fn a_backup_without_a_tag_is_named_after_the_time_in_utc() {
    let node = FakeNode::running();

    let result = backup(&node, json!({}));

    let tag = result["backup"]["tag"].as_str().unwrap();
    let shape: String = tag.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "00000000T000000Z");
    let created = result["backup"]["created"].as_str().unwrap().replace(['-', ':'], "");
    assert_eq!((&created[..8], result["backup"]["path"].as_str()), (&tag[..8], node.archive(tag).to_str()));
    assert!(node.archive(tag).exists());
}

#[test]
fn a_directory_that_is_there_is_left_as_it_is() {
    let node = FakeNode::running();
    fs::create_dir(node.backup_dir()).unwrap();
    let before = mode(&node.backup_dir());
    fs::write(node.backup_dir().join("notes.txt"), "mine").unwrap();

    nightly(&node);

    assert_eq!(mode(&node.backup_dir()), before);
    assert_eq!(files(&node.backup_dir()), ["nightly.tgz", "nightly.tgz.sha256", "notes.txt"]);
}

#[test]
fn a_directory_is_made_with_all_that_is_missing_above_it() {
    let node = FakeNode::running();
    let deep = node.host().join("srv/backup/cassandra");

    let result = backup(&node, json!({"tag": "nightly", "backup_dir": deep}));

    assert_eq!(result["changed"], true, "{result:#}");
    assert_eq!(files(&deep), ["nightly.tgz", "nightly.tgz.sha256"]);
    assert_eq!(mode(&deep), 0o711);
}

#[test]
fn a_backup_that_is_not_wanted_any_more_is_removed_without_the_container() {
    let node = FakeNode::running();
    nightly(&node);
    let (other, archive) = (backup(&node, json!({"tag": "weekly"})), node.archive("nightly"));
    let requests = node.engine.requests().len();
    let remove = |check: bool| {
        let args = json!({
            "tag": "nightly", "state": "absent", "container": null, "_ansible_check_mode": check, "_ansible_diff": true,
        });
        let result = backup(&node, args);
        (result["changed"] == true, result["msg"].as_str().unwrap().to_owned(), result["diff"].clone())
    };
    let diff = |before| {
        let (before, after) = (json!({"state": before}), json!({"state": "absent"}));
        json!({"before_header": archive, "before": before, "after_header": archive, "after": after})
    };
    let said = |what| format!("`{}` {what}", archive.display());

    assert_eq!(remove(true), (true, said("would be removed"), diff("present")));
    assert!(archive.exists());
    assert_eq!(remove(false), (true, said("was removed"), diff("present")));
    assert_eq!(remove(false), (false, said("is not there"), diff("absent")));
    assert_eq!(remove(true), (false, said("is not there"), diff("absent")));

    assert_eq!(files(&node.backup_dir()), ["weekly.tgz", "weekly.tgz.sha256"], "{other:#}");
    assert_eq!(node.engine.requests().len(), requests);
}

#[test]
fn some_keyspaces_make_an_archive_that_says_so() {
    let node = populated(FakeNode::running()).with_table("ks3", "orders", 1);

    backup(&node, json!({"tag": "some", "keyspaces": ["ks1", "ks3"]}));
    backup(&node, json!({"tag": "without", "exclude_keyspaces": ["ks1", "ks2", "system_traces"]}));

    let some = manifest(&node.archive("some"));
    assert_eq!((some.keyspaces, some.whole_node), (vec!["ks1".to_owned(), "ks3".to_owned()], false));
    assert!(names(&node.archive("some")).iter().skip(1).all(|name| name.starts_with("ks")));
    let without = manifest(&node.archive("without"));
    let expected = ["ks3", "system", "system_auth", "system_distributed", "system_schema"];
    assert_eq!((without.keyspaces.as_slice(), without.whole_node), (&expected.map(String::from)[..], false));
    assert_eq!(node.changes()[0], "nodetool snapshot -t some -- ks1 ks3");
    nightly(&node);
    assert!(manifest(&node.archive("nightly")).whole_node);
}

#[test]
fn a_keyspace_that_is_not_there_is_told() {
    let node = populated(FakeNode::running());

    for option in ["keyspaces", "exclude_keyspaces"] {
        let result = backup(&node, json!({"tag": "nightly", option: ["ks1", "ks9"]}));
        let message = format!(
            "the node has no keyspace `ks9` with tables in it. {RUNNING}. see `nodetool tablestats` for their names"
        );
        assert_eq!(told(&result), ("bad_option", message.as_str()));
    }
    assert_eq!(node.changes(), [""; 0]);
}

#[test]
fn a_node_found_stopped_is_started_backed_up_and_stopped_again() {
    let node = populated(FakeNode::running());
    node.stop();
    let node = node.ready_after(12);

    let result = nightly(&node);

    assert_eq!(node.run_state(), RunState::Exited);
    assert_eq!(
        node.changes(),
        [
            "POST /containers/node/start",
            "POST /containers/node/stop?t=120",
            "nodetool snapshot -t nightly",
            "nodetool clearsnapshot -t nightly",
        ]
    );
    let container = json!({"name": "node", "image": "cassandra:5.0", "found": "exited", "left": "exited"});
    assert_eq!(result["container"], container);
    assert_eq!(steps(&result)[..3], ["look", "start", "ask"]);
    assert_eq!(manifest(&node.archive("nightly")).node.host_id, node.host_id());
    assert_eq!((node.starts().len(), node.exit_code()), (2, 143));
}

#[test]
fn a_container_made_anew_on_the_old_data_is_backed_up_and_left_stopped() {
    let node = populated(FakeNode::running());
    node.recreate_container();

    let result = nightly(&node);

    assert_eq!(result["container"]["found"], "created");
    assert_eq!(result["container"]["left"], "exited");
    assert_eq!(node.run_state(), RunState::Exited);
}

#[test]
fn a_node_found_stopped_is_stopped_again_after_a_snapshot_that_failed() {
    let node = FakeNode::stopped().failing_on("nodetool snapshot", 2, "error: No space left on device\n");

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "`nodetool snapshot -t nightly` failed in container `node` (exit code 2): No space left on device. {STOPPED}. see \
         `docker logs` and try the command with `docker exec`"
    );
    assert_eq!(told(&result), ("nodetool_failed", message.as_str()));
    assert_eq!((result["stage"].as_str(), result["changed"].as_bool()), (Some("snapshot"), Some(false)));
    assert_eq!(node.run_state(), RunState::Exited);
    assert_cleared(&node);
}

#[test]
fn a_node_found_stopped_is_stopped_again_after_packing_that_failed() {
    let node = FakeNode::stopped().with_table("ks1", "users", 1).after("nodetool snapshot", |dirs| {
        let held = dirs.table("ks1", "users").join("snapshots/nightly/nb-1-big-Index.db");
        fs::remove_file(held).unwrap();
    });

    let result = backup(&node, json!({"tag": "nightly"}));

    let missing = node.dirs().table("ks1", "users").join("snapshots/nightly/nb-1-big-Index.db");
    let message = format!(
        "the snapshot `nightly` is not complete: `{}` is missing. {STOPPED}. run again; if the same piece is missing, see \
         Cassandra's log and `nodetool verify`",
        missing.display()
    );
    assert_eq!(told(&result), ("snapshot_incomplete", message.as_str()));
    assert_eq!(node.run_state(), RunState::Exited);
    assert_cleared(&node);
}

#[test]
fn a_signal_in_the_middle_leaves_the_node_as_it_was_found() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP"), (Signal::INT, "SIGINT")] {
        let (meeting, appointment) = meeting();
        let node = FakeNode::stopped().after("nodetool snapshot", move |_| appointment.keep());

        let run = node.start_module("cassandra_backup", json!({"tag": "nightly"}));
        meeting.wait();
        run.signal(signal);
        meeting.end();
        let result = run.finish();

        let message = format!("ended by {name}. {STOPPED}. run again");
        assert_eq!(told(&result), ("interrupted", message.as_str()));
        assert_eq!(node.run_state(), RunState::Exited);
        assert_cleared(&node);
    }
}

#[test]
fn a_node_that_is_not_to_be_started_is_refused() {
    let node = FakeNode::stopped();

    let (word, message) = refusal(&node, json!({"tag": "nightly", "when_stopped": "fail"}));

    let expected =
        format!("container `node` is stopped. {UNTOUCHED}. start it, or set `when_stopped: start`");
    assert_eq!((word.as_str(), message), ("container_stopped", expected));
}

#[test]
fn a_node_that_dies_at_its_start_is_told_with_the_end_of_its_log() {
    for policy in ["no", "unless-stopped"] {
        let node = FakeNode::stopped().restart_policy(policy).dying_on_start();

        let result = backup(&node, json!({"tag": "nightly"}));

        let message = format!(
            "container `node` exited with code 1 while Cassandra was being waited for; its log ends: ERROR [main] \
             Exception encountered during startup: the test says so. {STOPPED}. see `docker logs` for why Cassandra ended"
        );
        assert_eq!(told(&result), ("container_died", message.as_str()));
        assert_eq!(node.run_state(), RunState::Exited);
    }
}

#[test]
fn a_node_that_does_not_become_ready_is_waited_for_as_long_as_was_asked() {
    let node = FakeNode::stopped().ready_after(100_000);

    let result = backup(&node, json!({"tag": "nightly", "wait_timeout": 1}));

    let message = format!(
        "Cassandra in container `node` was not ready within 1 s: no socket listens on port {}. {STOPPED}. raise \
         `wait_timeout`, or see `docker logs`",
        node.port()
    );
    assert_eq!(told(&result), ("not_ready", message.as_str()));
    assert_eq!(node.run_state(), RunState::Exited);
}

#[test]
fn a_container_that_does_not_stop_again_is_told_as_it_is() {
    let node = FakeNode::stopped();
    node.engine.fail("POST /containers/node/stop", Fault::Status(500, "the disk is on fire"));

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = "the Docker Engine failed to stop container `node`: the disk is on fire. The archive was made; the \
                   data is untouched and container `node` is running. see the Docker Engine's log, then run again";
    assert_eq!(told(&result), ("engine_failed", message));
    assert_eq!(
        (result["changed"].as_bool(), result["backup"]["tag"].as_str()),
        (Some(true), Some("nightly"))
    );
    assert_eq!(result["container"]["left"], "running");
    assert_eq!(files(&node.backup_dir()), ["nightly.tgz", "nightly.tgz.sha256"]);
}
