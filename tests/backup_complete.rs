//! The proof before packing: what is missing is named, what is not ours stays out.

mod backups;
mod support;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use backups::{RUNNING, assert_cleared, backup, files, manifest, names, nightly, told, wait_until};
use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{Dirs, FakeNode, Signal};

/// A node with two sstables and an index, where something is done to the snapshot as soon as it was taken.
fn harmed(harm: impl Fn(&Dirs, &Path) + Send + Sync + 'static) -> FakeNode {
    let node = FakeNode::running().with_table("ks1", "users", 2).with_index("ks1", "users", "by_city");
    node.with_table("ks1", "orders", 1).after("nodetool snapshot", move |dirs| {
        harm(dirs, &dirs.table("ks1", "users").join("snapshots/nightly"));
    })
}

/// The snapshot of `ks1.users`, as messages show it.
fn snapshot(node: &FakeNode) -> PathBuf {
    node.dirs().table("ks1", "users").join("snapshots/nightly")
}

/// A backup fails because this is missing, and leaves nothing behind.
fn assert_missing(node: &FakeNode, missing: &str) {
    let result = backup(node, json!({"tag": "nightly"}));
    let message = format!(
        "the snapshot `nightly` is not complete: {missing}. {RUNNING}. run again; if the same piece is missing, see \
         Cassandra's log and `nodetool verify`"
    );
    assert_eq!(told(&result), ("snapshot_incomplete", message.as_str()));
    assert_eq!(result["stage"], "prove");
    assert_eq!(node.run_state(), RunState::Running);
    assert_cleared(node);
}

#[test]
fn a_snapshot_directory_that_is_missing_is_named_by_its_table() {
    let node = harmed(|_, snapshot| fs::remove_dir_all(snapshot).unwrap());
    assert_missing(&node, "table `ks1.users` has no snapshot directory");
}

#[test]
fn a_table_that_cassandra_lost_without_a_word_is_named() {
    let node = FakeNode::running().with_table("ks1", "users", 1).silently_losing("ks1.users");
    assert_missing(&node, "table `ks1.users` has no snapshot directory");

    let node = FakeNode::running().with_empty_table("ks1", "empty").silently_losing("ks1.empty");
    assert_missing(&node, "table `ks1.empty` has no snapshot directory");
}

#[test]
fn each_component_that_is_missing_is_named() {
    for component in
        ["CompressionInfo.db", "Digest.crc32", "Filter.db", "Index.db", "Statistics.db", "Summary.db"]
    {
        let file = format!("nb-2-big-{component}");
        let name = file.clone();
        let node = harmed(move |_, snapshot| fs::remove_file(snapshot.join(&name)).unwrap());
        assert_missing(&node, &format!("`{}` is missing", snapshot(&node).join(file).display()));
    }
}

/// As one that the node was sent whole by another; `upgradesstables` would be the way out, and nobody knows it.
#[test]
fn an_sstable_without_a_toc_is_complete_with_what_every_sstable_has() {
    let harm = |component: &'static str| {
        harmed(move |_, snapshot| {
            for name in ["TOC.txt", component] {
                fs::remove_file(snapshot.join(format!("nb-2-big-{name}"))).unwrap();
            }
        })
    };
    for needed in ["Statistics.db", "Index.db", "CompressionInfo.db"] {
        let node = harm(needed);
        assert_missing(
            &node,
            &format!("`{}` is missing", snapshot(&node).join("nb-2-big-TOC.txt").display()),
        );
    }
    let result = backup(&harm("Filter.db"), json!({"tag": "nightly"}));
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
}

#[test]
fn a_missing_data_file_is_named() {
    let node = harmed(|_, snapshot| fs::remove_file(snapshot.join("nb-1-big-Data.db")).unwrap());
    assert_missing(&node, &format!("`{}` is missing", snapshot(&node).join("nb-1-big-Data.db").display()));
}

#[test]
fn an_sstable_that_is_missing_with_all_its_components_is_named() {
    let node = harmed(|_, snapshot| {
        for file in fs::read_dir(snapshot).unwrap().map(|entry| entry.unwrap().path()) {
            if file.to_string_lossy().contains("/nb-1-big-") {
                fs::remove_file(file).unwrap();
            }
        }
    });
    assert_missing(&node, "`nb-1-big-Data.db` of table `ks1.users` is missing");
}

#[test]
fn an_index_directory_that_is_missing_is_named() {
    let node = harmed(|_, snapshot| fs::remove_dir_all(snapshot.join(".by_city")).unwrap());
    assert_missing(&node, "`.by_city/nb-1-big-Data.db` of table `ks1.users` is missing");
}

#[test]
fn a_component_of_an_index_that_is_missing_is_named() {
    let node = harmed(|_, snapshot| fs::remove_file(snapshot.join(".by_city/nb-1-big-Filter.db")).unwrap());
    assert_missing(
        &node,
        &format!("`{}` is missing", snapshot(&node).join(".by_city/nb-1-big-Filter.db").display()),
    );
}

#[test]
fn a_missing_manifest_is_named() {
    let node = harmed(|_, snapshot| fs::remove_file(snapshot.join("manifest.json")).unwrap());
    assert_missing(&node, "table `ks1.users` has no `manifest.json` in its snapshot");
}

#[test]
fn an_sstable_that_the_manifest_does_not_know_is_named() {
    let node = harmed(|_, snapshot| fs::write(snapshot.join("manifest.json"), r#"{"files": []}"#).unwrap());
    let left_out = [".by_city/nb-1-big-Data.db", "nb-1-big-Data.db", "nb-2-big-Data.db"]
        .map(|file| format!("the `manifest.json` of table `ks1.users` lacks `{file}`"));
    assert_missing(&node, &left_out.join("; "));
}

#[test]
fn a_manifest_that_makes_no_sense_is_told_with_its_path() {
    let node = harmed(|_, snapshot| fs::write(snapshot.join("manifest.json"), "{").unwrap());
    let path = snapshot(&node).join("manifest.json");
    let why = "EOF while parsing an object at line 1 column 1";
    assert_missing(&node, &format!("`{}` makes no sense: {why}", path.display()));
}

#[test]
fn an_empty_data_file_is_named() {
    let node = harmed(|_, snapshot| fs::write(snapshot.join("nb-1-big-Data.db"), "").unwrap());
    assert_missing(&node, &format!("`{}` is empty", snapshot(&node).join("nb-1-big-Data.db").display()));
}

#[test]
fn a_toc_that_was_cut_short_proves_nothing() {
    let node = harmed(|_, snapshot| fs::write(snapshot.join("nb-1-big-TOC.txt"), "").unwrap());
    let toc = snapshot(&node).join("nb-1-big-TOC.txt");
    assert_missing(&node, &format!("`{}` does not list `Data.db`", toc.display()));
}

#[test]
fn a_great_deal_missing_is_told_in_a_few_lines() {
    let node = harmed(|dirs, _| {
        for snapshot in
            dirs.snapshots("nightly").iter().filter(|path| !path.to_string_lossy().contains("/ks1/"))
        {
            fs::remove_dir_all(snapshot).unwrap();
        }
    });
    let result = backup(&node, json!({"tag": "nightly"}));
    let tables = ["IndexInfo", "available_ranges", "available_ranges_v2", "batches", "built_views"];
    let named = tables.map(|table| format!("table `system.{table}` has no snapshot directory")).join("; ");
    let message = format!(
        "the snapshot `nightly` is not complete: {named}; and 43 more. {RUNNING}. run again; if the same piece is \
         missing, see Cassandra's log and `nodetool verify`"
    );
    assert_eq!(told(&result), ("snapshot_incomplete", message.as_str()));
    assert_cleared(&node);
}

#[test]
fn a_symlink_among_the_snapshots_files_is_not_followed() {
    let node = harmed(|_, snapshot| {
        fs::remove_file(snapshot.join("nb-1-big-Index.db")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", snapshot.join("nb-1-big-Index.db")).unwrap();
    });
    let result = backup(&node, json!({"tag": "nightly"}));
    let link = snapshot(&node).join("nb-1-big-Index.db");
    let message = format!("`{}` is neither a file nor an index's directory. {RUNNING}", link.display());
    assert_eq!(told(&result), ("failed", message.as_str()));
    assert_cleared(&node);
}

#[test]
fn other_snapshots_dropped_tables_and_incremental_backups_stay_out() {
    let node = FakeNode::running()
        .with_table("ks1", "users", 1)
        .with_table("ks1", "old", 2)
        .with_operator_snapshot("x1")
        .with_operator_snapshot("nightly-before")
        .with_backups_dir("ks1", "users");
    node.drop_table("ks1", "old");
    let dropped = node.snapshots();

    let result = backup(&node, json!({"tag": "x"}));

    assert_eq!(result["changed"], true, "{result:#}");
    let names = names(&node.archive("x"));
    let strange = |name: &&String| {
        ["snapshots", "backups", "/old-", "x1", "nightly", "/dropped-"].iter().any(|word| name.contains(word))
    };
    assert_eq!(names.iter().filter(strange).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(
        names.iter().filter(|name| name.ends_with("nb-1-big-Data.db") && name.starts_with("ks1/")).count(),
        1
    );
    assert_eq!(node.snapshots(), dropped);
}

#[test]
fn a_table_made_again_under_its_old_name_is_archived_once() {
    let node = FakeNode::running().with_dropped_table("ks1", "users").with_table("ks1", "users", 1);

    let result = nightly(&node);

    let manifest = manifest(&node.archive("nightly"));
    let users: Vec<_> = manifest.tables.iter().filter(|table| table.table == "users").collect();
    assert_eq!(users.len(), 1, "{result:#}");
    let live =
        node.dirs().tables("ks1", "users").into_iter().find(|dir| dir.join("nb-1-big-Data.db").exists());
    assert!(live.unwrap().to_string_lossy().ends_with(&users[0].id));
}

#[test]
fn two_data_directories_keep_their_places() {
    let node = FakeNode::running().data_directories(2).with_table("ks1", "users", 3);

    nightly(&node);

    let archive = node.archive("nightly");
    let data: Vec<String> = names(&archive)
        .into_iter()
        .filter(|name| name.contains("/ks1/") && name.ends_with("-Data.db"))
        .map(|name| format!("{}/{}", name.split('/').next().unwrap(), name.rsplit('/').next().unwrap()))
        .collect();
    assert_eq!(data, ["data-0/nb-1-big-Data.db", "data-0/nb-3-big-Data.db", "data-1/nb-2-big-Data.db"]);
    let dirs: Vec<String> = node.dirs().data.iter().map(|dir| dir.display().to_string()).collect();
    assert_eq!(manifest(&archive).node.data_directories, dirs);
}

#[test]
fn a_piece_missing_in_the_second_data_directory_is_named() {
    let node = FakeNode::running().data_directories(2).with_table("ks1", "users", 2).after(
        "nodetool snapshot",
        |dirs| {
            let second = dirs.tables("ks1", "users")[1].join("snapshots/nightly/nb-2-big-Statistics.db");
            fs::remove_file(second).unwrap();
        },
    );
    let second = node.dirs().tables("ks1", "users")[1].join("snapshots/nightly/nb-2-big-Statistics.db");
    assert_missing(&node, &format!("`{}` is missing", second.display()));
}

/// A backup that stands still while its first table, which is large, is packed: something happens to a later one.
fn while_packing(act: impl Fn(&Path)) -> (FakeNode, Value) {
    let node = FakeNode::running().with_big_table("aa", "big", 1 << 27).with_table("zz", "last", 1);
    let draft = node.backup_dir().join("nightly.tgz.partial");
    // Not compressed: its zeros would all come at once.
    let run = node.start_module("cassandra_backup", json!({"tag": "nightly", "compression": "none"}));
    wait_until("packing begins", || fs::metadata(&draft).is_ok_and(|about| about.len() > 0));
    run.signal(Signal::STOP);
    assert!(fs::metadata(&draft).unwrap().len() < 1 << 27, "its first table is not packed yet");
    act(&node.dirs().table("zz", "last").join("snapshots/nightly/nb-1-big-Index.db"));
    run.signal(Signal::CONT);
    let result = run.finish();
    (node, result)
}

fn assert_changed(node: &FakeNode, result: &Value, what: &str) {
    let file = node.dirs().table("zz", "last").join("snapshots/nightly/nb-1-big-Index.db");
    let message =
        format!("the data changed while it was packed: `{}` {what}. {RUNNING}. run again", file.display());
    assert_eq!(told(result), ("data_changed", message.as_str()));
    assert_eq!(result["stage"], "pack");
    assert_cleared(node);
}

#[test]
fn a_file_that_grows_while_the_archive_is_packed_is_told() {
    let (node, result) = while_packing(|file| {
        use std::io::Write;
        OpenOptions::new().append(true).open(file).unwrap().write_all(b"more").unwrap();
    });
    assert_changed(&node, &result, "had 5 bytes, and has 9 now (changed between listing and packing)");
}

#[test]
fn a_file_that_is_rewritten_while_the_archive_is_packed_is_told() {
    let (node, result) = while_packing(|file| fs::write(file, "iNDEX").unwrap());
    assert_changed(&node, &result, "was written to between listing and packing");
}

#[test]
fn a_file_that_vanishes_while_the_archive_is_packed_is_told() {
    let (node, result) = while_packing(|file| fs::remove_file(file).unwrap());
    assert_changed(&node, &result, "is gone");
}

#[test]
fn a_snapshot_without_any_sstable_is_no_backup() {
    let node = FakeNode::running().with_empty_table("ks1", "empty");
    let result = backup(&node, json!({"tag": "nightly", "keyspaces": ["ks1"]}));
    let message = format!(
        "the snapshot `nightly` is not complete: it holds no sstable at all. {RUNNING}. run again; if the same piece is \
         missing, see Cassandra's log and `nodetool verify`"
    );
    assert_eq!(told(&result), ("snapshot_incomplete", message.as_str()));
    assert_eq!(files(&node.backup_dir()), [""; 0]);
}
