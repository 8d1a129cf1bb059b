//! The straight road of a restore: the node's data is the archive's, and what was there before is kept.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, Mounted, Tree, check_mode, tree};

const DROPPED: &str = "dropped-1795421386961-gone";

/// A node with a backup `nightly` of two keyspaces.
fn backed_up(node: FakeNode) -> FakeNode {
    let node = node
        .with_table("ks1", "users", 3)
        .with_index("ks1", "users", "users_by_city")
        .with_empty_table("ks1", "empty")
        .with_table("ks2", "gone", 2);
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    assert_eq!(made["failed"], Value::Null, "{made:#}");
    node
}

/// The backup was long ago: rows were written, a table was made, another one dropped, a file is lost.
fn since_changed(node: FakeNode) -> FakeNode {
    let node = node.with_table("ks1", "later", 1);
    node.drop_table("ks2", "gone");
    node.write("ks1", "users");
    node.flush();
    fs::remove_file(node.dirs().table("ks1", "users").join("nb-1-big-Data.db")).unwrap();
    node
}

fn restore(node: &FakeNode, args: Value) -> Value {
    let mut all = json!({"tag": "nightly"});
    args.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    let result = node.run_module("cassandra_restore", all);
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    result
}

/// What is set aside of one of the node's directories.
fn aside(node: &FakeNode, directory: &str, level: &str) -> PathBuf {
    node.dirs().storage.join(format!(".cassandra_restore-{directory}")).join(level)
}

/// All that was set aside: with the snapshots, which follow their tables.
fn all_aside(node: &FakeNode, directory: &str) -> Tree {
    let live = tree(&node.dirs().storage.join(directory)).into_iter();
    let snapshots = live.filter(|(path, _)| path.contains("/snapshots/"));
    tree(&aside(node, directory, "previous")).into_iter().chain(snapshots).collect()
}

/// What changes the container, with what was asked for, since the log had so many entries.
fn changes_since(node: &FakeNode, since: usize) -> Vec<String> {
    let requests = node.engine.requests();
    let changes = requests.iter().skip(since).filter(|request| request.method == "POST");
    let changes = changes.filter(|request| !request.path.contains("exec"));
    changes.map(|request| format!("{request} {}", request.body).trim().to_owned()).collect()
}

fn policy(name: &str) -> String {
    let policy = format!(r#"{{"RestartPolicy":{{"Name":"{name}","MaximumRetryCount":0}}}}"#);
    format!("POST /containers/node/update {policy}")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_node_has_the_backups_data_again_byte_for_byte() {
    let node = backed_up(FakeNode::running());
    let (data, tables, host_id) = (node.user_data(), node.tables(), node.host_id());
    let node = since_changed(node);
    assert_ne!(node.user_data(), data);

    let result = restore(&node, json!({}));

    assert_eq!((node.user_data(), node.tables(), node.host_id()), (data, tables, host_id));
    assert_eq!(result["changed"], true);
    assert_eq!(
        result["msg"],
        format!(
            "container `node` is restored from `{}`, with the roles and passwords of that time",
            node.archive("nightly").display()
        )
    );
    assert!(!node.starts().last().unwrap().is_new_node);
    assert!(node.dirs().tables("ks1", "later").is_empty());
    // The snapshot's own files stay in the archive.
    let live = tree(&node.dirs().data[0]);
    let notes = live.keys().filter(|path| path.ends_with("manifest.json") || path.ends_with("schema.cql"));
    let notes = notes.filter(|path| !path.contains("/snapshots/dropped-"));
    assert_eq!(notes.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_was_written_since_is_set_aside_and_never_replayed() {
    let node = backed_up(FakeNode::running());
    node.stop();
    node.start();
    let node = node.with_hints().stubborn();
    node.write("ks1", "users");
    let dirs = node.dirs();
    let directories =
        [("commitlog", &dirs.commitlog), ("hints", &dirs.hints), ("saved_caches", &dirs.saved_caches)];
    let before: Vec<Tree> = directories.iter().map(|(_, path)| tree(path)).collect();
    assert!(before.iter().all(|files| files.len() == 1), "{before:#?}");

    let result = restore(&node, json!({"stop_timeout": 77}));

    let start = node.starts().pop().unwrap();
    assert_eq!((start.replayed, start.hints, start.saved_caches), (vec![], vec![], vec![]));
    let kept: Vec<Tree> = directories.iter().map(|(name, _)| tree(&aside(&node, name, "previous"))).collect();
    assert_eq!(kept, before);
    assert_eq!(
        result["warnings"],
        json!(["container `node` was killed after 77 s: its previous data is set aside as it was"])
    );
}

#[test]
fn the_previous_data_is_kept_whole() {
    let node = since_changed(backed_up(FakeNode::running())).with_operator_snapshot("mine").stubborn();
    let before = tree(&node.dirs().data[0]);
    restore(&node, json!({}));
    assert_eq!(all_aside(&node, "data"), before);
    assert!(
        before.keys().any(|path| path.contains(DROPPED)) && before.keys().any(|path| path.contains("/mine/"))
    );
    assert!(!aside(&node, "data", "staged").exists());
}

#[test]
fn restored_files_belong_to_the_owner_of_the_live_data_directory() {
    if !is_root() {
        return;
    }
    let node = backed_up(FakeNode::running());
    let (data, before) = (node.dirs().data[0].clone(), node.user_data());
    // The container was made anew with another user.
    chown(&data, Some(4711), Some(4712)).unwrap();
    restore(&node, json!({}));
    let restored = node.user_data();
    assert!(restored.values().all(|entry| (entry.uid, entry.gid) == (4711, 4712)));
    let modes_and_times =
        |tree: &Tree| tree.values().map(|entry| (entry.mode, entry.mtime)).collect::<Vec<_>>();
    assert_eq!(modes_and_times(&restored), modes_and_times(&before));
    assert_eq!(fs::metadata(&data).unwrap().uid(), 4711);
}

#[test]
fn the_result_tells_what_was_done_and_how_long_the_node_was_down() {
    let node = backed_up(FakeNode::running());
    let result = restore(&node, json!({}));
    let steps: Vec<&str> =
        result["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        ["look", "preflight", "stage", "stop", "swap", "start", "check", "finish", "repair", "tidy"]
    );
    let downtime = result["downtime_seconds"].as_f64().unwrap();
    assert!(downtime > 0.0 && downtime < 60.0, "{downtime}");
    assert_eq!(
        result["container"],
        json!({"name": "node", "image": "cassandra:5.0", "found": "running", "left": "running"})
    );
    assert_eq!(result["restore"]["state"], "restored");
    assert_eq!(result["backup"]["host_id"], node.host_id());
    assert_eq!(result["backup"]["path"], json!(node.archive("nightly")));
    assert_eq!((result.get("rolled_back"), result.get("warnings"), result.get("diff")), (None, None, None));
}

#[test]
fn nobodys_restart_policy_starts_the_node_in_the_middle() {
    let node = backed_up(FakeNode::running().restart_policy("always"));
    let since = node.engine.requests().len();
    restore(&node, json!({"stop_timeout": 300}));
    let expected = [
        policy("no"),
        "POST /containers/node/stop?t=300".to_owned(),
        "POST /containers/node/start".to_owned(),
        policy("always"),
    ];
    assert_eq!(changes_since(&node, since), expected);
    assert_eq!((node.run_state(), node.restart_policy_name().as_str()), (RunState::Running, "always"));
}

#[test]
fn a_node_found_stopped_runs_afterwards_unless_it_is_to_be_left_as_found() {
    for (start, left) in [("auto", RunState::Running), ("as_found", RunState::Exited)] {
        let node = backed_up(FakeNode::running());
        let data = node.user_data();
        let node = since_changed(node);
        node.stop();
        let result = restore(&node, json!({"start": start}));
        assert_eq!((node.run_state(), node.user_data()), (left, data));
        assert_eq!(node.restart_policy_name(), "unless-stopped");
        assert_eq!(
            (&result["container"]["found"], &result["container"]["left"]),
            (&json!("exited"), &json!(left.word()))
        );
        // It was known from the backup, so nothing is left unchecked; and it was not serving before.
        assert_eq!((result.get("warnings"), result.get("downtime_seconds")), (None, None));
    }
}

#[test]
fn a_rebuilt_host_gets_the_node_of_the_archive() {
    let lost = backed_up(FakeNode::running());
    let rebuilt = FakeNode::created();
    let result = restore(&rebuilt, json!({"tag": null, "src": lost.archive("nightly")}));
    assert_eq!(rebuilt.user_data(), lost.user_data());
    assert_eq!((rebuilt.host_id(), rebuilt.run_state()), (lost.host_id(), RunState::Running));
    assert!(!rebuilt.starts()[0].is_new_node);
    assert_eq!((&result["container"]["found"], result.get("warnings")), (&json!("created"), None));
}

#[test]
fn directories_that_cassandra_has_not_made_yet_are_made_for_its_user() {
    let lost = backed_up(FakeNode::running());
    let rebuilt = FakeNode::created();
    let dirs = rebuilt.dirs();
    for dir in [&dirs.data[0], &dirs.commitlog, &dirs.hints, &dirs.saved_caches] {
        fs::remove_dir(dir).unwrap();
    }
    restore(&rebuilt, json!({"tag": null, "src": lost.archive("nightly")}));
    assert_eq!(rebuilt.user_data(), lost.user_data());
    let owner = fs::metadata(&dirs.storage).unwrap().uid();
    assert_eq!(fs::metadata(&dirs.commitlog).unwrap().uid(), owner);
}

#[test]
fn a_new_hosts_directories_of_root_are_given_to_the_user_of_the_archive() {
    if !is_root() {
        return;
    }
    let lost = backed_up(FakeNode::running());
    let rebuilt = FakeNode::created();
    let dirs = rebuilt.dirs();
    let all = [&dirs.data[0], &dirs.commitlog, &dirs.hints, &dirs.saved_caches];
    all.iter().for_each(|dir| chown(dir, Some(0), Some(0)).unwrap());
    restore(&rebuilt, json!({"tag": null, "src": lost.archive("nightly")}));
    assert_eq!(rebuilt.user_data(), lost.user_data());
    let owners = all.map(|dir| fs::metadata(dir).unwrap().uid());
    assert_eq!(owners, [fs::metadata(&lost.dirs().data[0]).unwrap().uid(); 4]);
}

#[test]
fn a_node_in_a_crash_loop_is_restored() {
    let node = backed_up(FakeNode::running());
    let data = node.user_data();
    fs::write(node.dirs().table("system", "local").join("nb-1-big-Data.db"), "garbage").unwrap();
    let node = node.restarting();
    let result = restore(&node, json!({}));
    assert_eq!((node.run_state(), node.user_data()), (RunState::Running, data));
    assert_eq!(
        (&result["container"]["found"], &result["container"]["left"]),
        (&json!("restarting"), &json!("running"))
    );
}

#[test]
fn each_data_directory_gets_its_own_files_again() {
    let node = backed_up(FakeNode::running().data_directories(2));
    let data = node.user_data();
    assert!(data.keys().any(|path| path.starts_with("data-2/ks1/users-") && path.ends_with("Data.db")));
    node.drop_table("ks2", "gone");
    let changed = node.user_data();
    let node = node.stubborn();
    let before: Vec<Tree> = node.dirs().data.iter().map(|dir| tree(dir)).collect();
    restore(&node, json!({}));
    assert_eq!(node.user_data(), data);
    let kept = ["data", "data-2"].map(|name| all_aside(&node, name));
    assert_eq!(kept.to_vec(), before);
    restore(&node, json!({"tag": null, "state": "rolled_back"}));
    assert_eq!(node.user_data(), changed);
}

#[test]
fn what_belongs_to_the_directory_itself_stays_in_its_place() {
    let node = backed_up(FakeNode::running());
    let data = node.dirs().data[0].clone();
    fs::create_dir(data.join("lost+found")).unwrap();
    fs::write(data.join("lost+found/#12"), "found").unwrap();
    fs::write(data.join(".cassandra_fs_ownership"), "volume_id=1").unwrap();
    fs::write(data.join("cassandra-heartbeat"), "old").unwrap();
    let inode = fs::metadata(&data).unwrap().ino();
    restore(&node, json!({}));
    assert_eq!(fs::read_to_string(data.join("lost+found/#12")).unwrap(), "found");
    assert_eq!(fs::read_to_string(data.join(".cassandra_fs_ownership")).unwrap(), "volume_id=1");
    assert_eq!(fs::metadata(&data).unwrap().ino(), inode);
    assert!(!data.join("cassandra-heartbeat").exists());
}

/// Where the data directory is a mount of its own, a rename reaches no further than inside it.
#[test]
fn on_a_mount_of_its_own_the_work_is_done_inside_the_data_directory() {
    let node = FakeNode::created();
    let data = node.dirs().data[0].clone();
    let Some(mounted) = Mounted::at(&data, "64m") else { return };
    chown(&data, Some(999), Some(999)).unwrap();
    node.start();
    let node = backed_up(node);
    let before = node.user_data();
    let node = since_changed(node).stubborn();
    let previous = tree(&data);
    restore(&node, json!({}));
    let restored = node.user_data();
    let snapshots = tree(&data).into_iter().filter(|(path, _)| path.contains("/snapshots/"));
    let kept = tree(&data.join(".cassandra_restore-data/backups/previous"));
    let kept: Tree = kept.into_iter().chain(snapshots.filter(|(path, _)| !path.starts_with('.'))).collect();
    // Cassandra does not start where it may not enter a directory that it only passes over.
    let mode = |below: &str| fs::metadata(data.join(below)).unwrap().mode() & 0o777;
    let modes =
        ["", "/backups", "/backups/previous"].map(|below| mode(&format!(".cassandra_restore-data{below}")));
    let undone = node.run_module("cassandra_restore", json!({"state": "rolled_back"}));
    let user_data = node.user_data();
    drop(mounted);
    assert_eq!(restored, before);
    assert_eq!(kept, previous);
    assert_eq!(modes, [0o755, 0o755, 0o700]);
    assert_eq!(undone["msg"], "the previous data of container `node` is back in place");
    assert!(user_data.keys().any(|path| path.contains("later")), "{user_data:#?}");
}

#[test]
fn the_newest_archive_of_the_node_is_found_by_the_tag_latest() {
    let node = backed_up(FakeNode::running());
    let other = FakeNode::running().with_table("ks9", "strange", 1);
    let made = other.run_module("cassandra_backup", json!({"tag": "other", "backup_dir": node.backup_dir()}));
    assert_eq!(made["changed"], true, "{made:#}");
    let made = node.run_module("cassandra_backup", json!({"tag": "part", "keyspaces": "ks1"}));
    assert_eq!(made["changed"], true, "{made:#}");
    fs::write(node.archive("zz_damaged"), "no archive").unwrap();
    let result = restore(&node, json!({"tag": "latest"}));
    assert_eq!(result["backup"]["tag"], "nightly");
}

#[test]
fn without_keeping_it_the_previous_data_is_removed_and_the_next_restore_replaces_it() {
    let node = backed_up(FakeNode::running());
    restore(&node, json!({"keep_previous": false}));
    assert!(!aside(&node, "data", "previous").exists());
    let node = node.with_table("ks1", "second", 1);
    restore(&node, json!({}));
    let kept = || tree(&aside(&node, "data", "previous")).into_keys().collect::<Vec<_>>().join("\n");
    assert!(kept().contains("ks1/second-"));
    node.write("ks1", "users");
    restore(&node, json!({}));
    assert!(!kept().contains("ks1/second-") && kept().contains("ks1/users-"));
}

#[test]
fn check_mode_tells_the_change_and_makes_none() {
    let node = since_changed(backed_up(FakeNode::running()));
    let before = (tree(node.host()), node.changes());
    let archive = node.archive("nightly");
    for state in ["staged", "swapped", "started", "restored"] {
        let result = restore(&node, check_mode(json!({"state": state})));
        assert_eq!(result["changed"], true);
        assert_eq!(result["msg"], format!("container `node` would be {state} from `{}`", archive.display()));
        assert_eq!(
            result["diff"]["before"],
            json!({"container": "running", "data": "live", "restore": null})
        );
        assert_eq!(result["diff"]["after"]["restore"], state);
    }
    assert_eq!((tree(node.host()), node.changes()), before);
}
