//! Archives that this module did not make: tars of a data directory, by GNU tar, Python and pigz.

#[path = "plain_tar/forged.rs"]
mod forged;
#[path = "plain_tar/refused.rs"]
mod refused;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{FakeNode, Tree, check_mode, tree};

const RESTORE: &str = "cassandra_restore";
const INFO: &str = "cassandra_backup_info";

/// A node with users' tables, an index, an empty table, and the snapshot that a dropped one left behind.
fn node() -> FakeNode {
    FakeNode::running()
        .with_table("ks1", "users", 3)
        .with_index("ks1", "users", "users_by_city")
        .with_empty_table("ks1", "empty")
        .with_dropped_table("ks1", "gone")
}

/// Runs a packer, in the node's storage directory where nothing else is said.
fn run(node: &FakeNode, program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    let done = command.args(arguments).current_dir(node.dirs().storage).status().unwrap();
    assert!(done.success(), "{program} {arguments:?}");
}

/// GNU tar with these arguments makes `old.tgz`.
fn tarred(node: &FakeNode, arguments: &[&str]) -> PathBuf {
    let archive = node.host().join("old.tgz");
    run(node, "tar", &[&["-czf", archive.to_str().unwrap()], arguments].concat());
    archive
}

/// Rows are written, a file is lost.
fn change(node: &FakeNode) {
    node.write("ks1", "users");
    node.flush();
    fs::remove_file(node.dirs().table("ks1", "users").join("nb-1-big-Data.db")).unwrap();
}

/// What clients would notice. The times are whole seconds in a tar.
fn data(node: &FakeNode) -> Tree {
    let mut data = node.user_data();
    data.values_mut().for_each(|entry| entry.mtime = (0, 0));
    data
}

fn restored(node: &FakeNode, args: Value) -> Value {
    let result = node.run_module(RESTORE, args);
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    result
}

/// The archive is restored over a changed node, which has the data of before again, byte for byte.
fn brings_back(node: &FakeNode, archive: &Path, before: &Tree) -> Value {
    let (tables, host_id) = (node.tables(), node.host_id());
    change(node);
    assert_ne!(&data(node), before);
    let result = restored(node, json!({"src": archive}));
    assert_eq!((result["changed"].clone(), &data(node)), (json!(true), before));
    assert_eq!((node.tables(), node.host_id()), (tables, host_id));
    assert!(!node.starts().last().unwrap().is_new_node);
    result
}

fn sha256(archive: &Path) -> String {
    Sha256::digest(fs::read(archive).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn warnings(result: &Value) -> Vec<&str> {
    result["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn an_archive_of_gnu_tar_is_restored_and_says_how_far_it_was_proven() {
    let node = node();
    let archive = tarred(&node, &["data", "commitlog", "hints", "saved_caches"]);
    let result = brings_back(&node, &archive, &data(&node));

    let backup = &result["backup"];
    let files = backup["proven_by"][2].as_str().unwrap();
    let count = files.strip_prefix("components of ").unwrap().split(' ').next().unwrap();
    assert_eq!(
        backup["proven_by"],
        json!([
            "gzip checksums",
            "tar headers",
            format!("components of {count} sstables ({count} by their `TOC.txt`)"),
            format!("`Digest.crc32` of {count} of {count} `Data.db`"),
        ])
    );
    assert_eq!((&backup["tag"], &backup["host_id"]), (&json!("old"), &json!("")));
    assert_eq!(backup["sha256"], sha256(&archive));
    let shown = archive.display();
    assert_eq!(
        warnings(&result),
        [
            format!(
                "`{shown}` was not made by this module, and does not say what it should hold: it is proven by gzip \
                 checksums, tar headers, components of {count} sstables ({count} by their `TOC.txt`), `Digest.crc32` of \
                 {count} of {count} `Data.db`"
            ),
            format!(
                "of `{shown}` what is no table's is left out: `commitlog`, `hints`, `saved_caches`; writes that were in \
                 a commit log only are not restored"
            ),
            format!(
                "`{shown}` does not say of which node and version it is: the node that starts has to be {}, unless \
                 `force: true` lets it be another",
                node.host_id()
            ),
        ]
    );
    // The dropped table's snapshot is the previous data's, not the archive's.
    assert!(!node.starts().last().unwrap().replayed.iter().any(|table| table == "ks1.users"));
}

#[test]
fn a_second_restore_of_it_is_proven_to_change_nothing() {
    let node = node();
    let archive = tarred(&node, &["data"]);
    brings_back(&node, &archive, &data(&node));
    let again = restored(&node, json!({"src": archive}));
    assert_eq!(
        (&again["changed"], &again["restore"]["state"]),
        (&json!(false), &json!("restored")),
        "{again:#}"
    );
    // A snapshot touches every file: they are compared with the archive, byte for byte.
    let node = node.with_operator_snapshot("mine");
    assert_eq!(restored(&node, json!({"src": archive}))["changed"], false);
    node.write("ks1", "users");
    node.flush();
    assert_eq!(restored(&node, json!({"src": archive}))["changed"], true);
}

#[test]
fn every_way_to_pack_it_restores_the_same() {
    let node = node();
    let before = data(&node);
    let file = |name: &str| node.host().join(name);
    let shown = |name: &str| file(name).to_str().unwrap().to_owned();
    let data = node.dirs().data[0].display().to_string();

    run(&node, "tar", &["-czf", &shown("dot.tgz"), "-C", &data, "."]);
    run(&node, "tar", &["-cf", &shown("plain.tar"), "-C", &data, "."]);
    let transform = "s,^,var/lib/cassandra/,";
    run(&node, "tar", &["-czf", &shown("deep.tar.gz"), "--transform", transform, "data"]);
    run(&node, "tar", &["--format=posix", "-czf", &shown("pax.tgz"), "data"]);
    // Names beyond what ustar holds: once by `L`, once by pax.
    let long = format!("s,^data,{}/data,", ["x".repeat(90), "y".repeat(90), "z".repeat(90)].join("/"));
    run(&node, "tar", &["--format=gnu", "-czf", &shown("gnu-long.tgz"), "--transform", &long, "data"]);
    run(&node, "tar", &["--format=posix", "-czf", &shown("pax-long.tgz"), "--transform", &long, "data"]);
    run(&node, "tar", &["-I", "pigz -p 4 -b 128", "-cf", &shown("pigz.tgz"), "data"]);
    for (name, format) in [("python.tgz", "PAX_FORMAT"), ("python-gnu.tgz", "GNU_FORMAT")] {
        let script = "import sys, tarfile\n\
                      with tarfile.open(sys.argv[1], 'w:gz', format=getattr(tarfile, sys.argv[2])) as tar:\n    \
                      tar.add('data')";
        run(&node, "python3", &["-c", script, &shown(name), format]);
    }
    // Files only, and two gzip members with the zeros of a tape behind them.
    run(
        &node,
        "sh",
        &["-c", &format!("find data -type f -o -type d -empty | tar -czf {} -T -", shown("files.tgz"))],
    );
    let tar = fs::read(file("plain.tar")).unwrap();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (one, two) = tar.split_at(tar.len() / 3);
    fs::write(file("members.tgz"), [gzip(one), gzip(two), vec![0; 4096]].concat()).unwrap();

    let all = [
        "dot.tgz",
        "plain.tar",
        "deep.tar.gz",
        "pax.tgz",
        "gnu-long.tgz",
        "pax-long.tgz",
        "pigz.tgz",
        "python.tgz",
        "python-gnu.tgz",
        "files.tgz",
        "members.tgz",
    ];
    for name in all {
        let result = brings_back(&node, &file(name), &before);
        assert_eq!(
            result["backup"]["proven_by"][0],
            if name == "plain.tar" { "tar headers" } else { "gzip checksums" }
        );
    }
}

#[test]
fn of_an_archive_with_a_snapshot_of_the_whole_node_the_snapshot_counts() {
    let node = node().with_operator_snapshot("nightly");
    let before = data(&node);
    node.write("ks1", "users");
    node.flush();
    // The snapshot's files are hard links of live ones in it, and of the live file that came later there is nothing.
    let both = tarred(&node, &["--sort=name", "data"]);
    let result = brings_back(&node, &both, &before);
    assert_eq!(result["backup"]["tag"], "nightly");
    assert_eq!(result["backup"]["proven_by"][4].as_str().unwrap().split(' ').next(), Some("`manifest.json`"));
    assert_eq!(
        warnings(&result)[1],
        format!("of `{}` the snapshot `nightly` is restored, and nothing else that it holds", both.display())
    );
    let live = tree(&node.dirs().data[0]);
    let notes = live.keys().filter(|path| path.ends_with("manifest.json") || path.ends_with("schema.cql"));
    assert_eq!(notes.filter(|path| !path.contains("/snapshots/")).collect::<Vec<_>>(), [""; 0]);

    // Only the snapshot's files, its levels left in.
    let alone = node.host().join("alone.tgz");
    let find = format!(
        "find data -path '*/snapshots/nightly/*' -type f -o -path '*/snapshots/nightly' | tar -czf {} -T -",
        alone.display()
    );
    run(&node, "sh", &["-c", &find]);
    brings_back(&node, &alone, &before);
}

#[test]
fn of_two_snapshots_the_one_is_restored_that_the_tag_names() {
    let node = node().with_operator_snapshot("monday");
    let monday = data(&node);
    node.write("ks1", "users");
    node.flush();
    let node = node.with_operator_snapshot("tuesday");
    let archive = tarred(&node, &["data"]);
    let result = node.run_module(RESTORE, json!({"src": archive}));
    assert_eq!(
        (result["error"].as_str().unwrap(), result["msg"].as_str().unwrap()),
        (
            "refused",
            format!(
                "`{}` holds the snapshots `monday`, `tuesday` of the whole node: put it into `backup_dir` as \
                 `<snapshot>.tgz`, and restore that `tag`. The node was not touched",
                archive.display()
            )
            .as_str()
        )
    );
    fs::create_dir(node.backup_dir()).unwrap();
    fs::copy(&archive, node.archive("monday")).unwrap();
    assert_eq!(restored(&node, json!({"tag": "monday"}))["backup"]["tag"], "monday");
    assert_eq!(data(&node), monday);
}

#[test]
fn check_mode_reads_all_of_it_and_changes_nothing() {
    let node = node();
    let archive = tarred(&node, &["data"]);
    change(&node);
    let (before, changes) = (tree(&node.dirs().storage), node.changes());
    let result = restored(&node, check_mode(json!({"src": archive})));
    assert_eq!(
        (&result["changed"], result["backup"]["proven_by"][0].as_str()),
        (&json!(true), Some("gzip checksums"))
    );
    assert_eq!((tree(&node.dirs().storage), node.changes()), (before, changes));
}

#[test]
fn the_archive_of_another_node_is_rolled_back_unless_it_is_forced() {
    let (other, node) = (node(), node());
    let archive = tarred(&other, &["data"]);
    let (before, own) = (data(&node), node.host_id());
    let result = node.run_module(RESTORE, json!({"src": archive}));
    assert_eq!((&result["error"], &result["rolled_back"]), (&json!("not_the_archives_node"), &json!(true)));
    let told = format!(
        "the node that started is not the archive's: its host_id is `{}`, and before it was `{own}`: the archive is of \
         another node, which `force: true` makes this one",
        other.host_id()
    );
    assert!(result["msg"].as_str().unwrap().starts_with(&told), "{result:#}");
    assert_eq!((data(&node), node.host_id(), node.run_state()), (before, own, RunState::Running));

    restored(&node, json!({"src": archive, "force": true}));
    assert_eq!((data(&node), node.host_id()), (data(&other), other.host_id()));
}

#[test]
fn a_node_with_two_data_directories_has_it_all_in_the_first() {
    let (other, node) = (node(), FakeNode::running().data_directories(2));
    let archive = tarred(&other, &["data"]);
    restored(&node, json!({"src": archive, "force": true}));
    assert_eq!(node.host_id(), other.host_id());
    let names = |tree: Tree| tree.into_keys().filter(|path| path.contains("ks1/users")).collect::<Vec<_>>();
    assert_eq!(names(tree(&node.dirs().data[0])), names(tree(&other.dirs().data[0])));
}

#[test]
fn phase_by_phase_and_in_place_it_is_restored_as_well() {
    let node = node();
    let (archive, before) = (tarred(&node, &["data"]), data(&node));
    change(&node);
    for state in ["staged", "swapped", "started", "restored"] {
        let result = restored(&node, json!({"src": archive, "state": state}));
        assert_eq!(result["restore"]["state"], state);
    }
    assert_eq!(data(&node), before);
    change(&node);
    restored(&node, json!({"src": archive, "staging": "in_place", "give_up_previous": true}));
    assert_eq!(data(&node), before);
}

#[test]
fn info_tells_of_it_once_it_is_asked_to_read_it() {
    let node = node();
    let archive = tarred(&node, &["data"]);
    fs::create_dir(node.backup_dir()).unwrap();
    fs::rename(&archive, node.archive("old")).unwrap();
    let listed = &node.run_module(INFO, json!({}))["backups"][0];
    assert_eq!((&listed["error"], &listed["tag"]), (&json!("archive_foreign"), &json!("old")));
    let read = &node.run_module(INFO, json!({"verify": true}))["backups"][0];
    assert_eq!((&read["verified"], &read["keyspaces"][0]), (&json!(true), &json!("ks1")), "{read:#}");
    assert_eq!(read["sha256"], sha256(&node.archive("old")));
}
