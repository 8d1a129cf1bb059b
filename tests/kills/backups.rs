//! A backup killed after each step: the next one clears what is its own, and only that.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::time::SystemTime;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use crate::kills::scene::{backed_up, counted, node};
use crate::kills::world::{Points, World, points};
use crate::support::{FakeNode, Tree, step, tree};

const BACKUP: &str = "cassandra_backup";

/// What no run may touch: an operator's snapshot, another node's draft that is being made, other archives.
fn others(node: &FakeNode) -> Tree {
    let backup = tree(&node.backup_dir()).into_iter().filter(|(path, _)| !path.starts_with("tonight"));
    let snapshots = node.dirs().snapshots("before_upgrade");
    let kept =
        snapshots.iter().flat_map(|dir| tree(dir).into_iter().map(|(path, entry)| (dir.join(path), entry)));
    kept.map(|(path, entry)| (path.display().to_string(), entry)).chain(backup).collect()
}

fn each_step(prepare: impl FnOnce(&FakeNode), args: Value) -> usize {
    let node = node(2);
    prepare(&node);
    let draft = fs::File::create(node.backup_dir().join("others.tgz.partial")).expect("another node's draft");
    draft.lock().expect("its lock");
    let (start, found, epoch) = (node.freeze(), node.run_state(), SystemTime::now());
    let (before, data) = (others(&node), node.user_data());
    let (result, effects) = node.run_logged(BACKUP, args.clone());
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
    let clean: Vec<String> = tree(&node.host().join("state")).into_keys().collect();
    let (points, mut seen) = (points(&effects, Points::Every), HashSet::new());
    for after in &points {
        node.thaw(&start);
        node.run_killed(BACKUP, args.clone(), *after);
        let story = format!("killed after step {after} ({:?})", step(&effects, *after));
        assert_eq!(others(&node), before, "{story}");
        if !seen.insert(World::of(&node, epoch).key()) {
            continue;
        }
        let result = node.run_module(BACKUP, args.clone());
        assert_eq!(result["failed"], Value::Null, "{story}: {result:#}");
        assert_eq!(others(&node), before, "{story}, run again");
        assert_eq!(
            node.snapshots(),
            ["before_upgrade", "dropped-1795421386961-old"].map(str::to_owned).into(),
            "{story}"
        );
        let archives: Vec<String> = tree(&node.backup_dir()).into_keys().collect();
        let named =
            ["nightly.tgz", "nightly.tgz.sha256", "others.tgz.partial", "tonight.tgz", "tonight.tgz.sha256"];
        assert_eq!(archives, named, "{story}");
        let told = fs::read_to_string(node.backup_dir().join("tonight.tgz.sha256")).expect("a checksum");
        assert!(told.contains(result["backup"]["sha256"].as_str().expect("its checksum")), "{story}: {told}");
        assert_eq!(
            (node.run_state(), node.restart_policy_name().as_str()),
            (found, "unless-stopped"),
            "{story}"
        );
        let mut state: Vec<String> = tree(&node.host().join("state")).into_keys().collect();
        // Of a container that was stopped again: it counts for a minute, and is written over.
        state.retain(|path| found == RunState::Running || !path.ends_with("/started.json"));
        assert_eq!(state, clean, "{story}");
        let lost: BTreeMap<_, _> =
            data.iter().filter(|(path, _)| !node.user_data().contains_key(*path)).collect();
        assert_eq!(lost, BTreeMap::new(), "{story}");
        assert!(node.starts().iter().skip(1).all(|start| !start.is_new_node), "{story}");
    }
    points.len()
}

#[test]
fn a_backup_killed_after_any_step_leaves_nothing_behind_once_it_is_run_again() {
    counted(each_step(|_| (), json!({"tag": "tonight"})), 30);
}

#[test]
fn and_neither_does_one_that_replaces_an_older_archive() {
    counted(each_step(|node| backed_up(node, "tonight"), json!({"tag": "tonight", "force": true})), 31);
}

#[test]
fn and_one_of_a_node_that_was_found_stopped_leaves_it_stopped() {
    let kills = each_step(
        |node| {
            node.stop();
            assert_eq!(node.run_state(), RunState::Exited);
        },
        json!({"tag": "tonight"}),
    );
    counted(kills, 39);
}

/// What a snapshot that is held may lead to, once the run that took it was killed.
fn held_killed(prepare: impl FnOnce(&FakeNode), killed: Value) -> usize {
    let node = node(2);
    prepare(&node);
    let (start, before) = (node.freeze(), others(&node));
    let (result, effects) = node.run_logged(BACKUP, killed.clone());
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
    let own: BTreeSet<String> = ["before_upgrade", "dropped-1795421386961-old"].map(str::to_owned).into();
    let held: BTreeSet<String> = own.iter().cloned().chain(["tonight".to_owned()]).collect();
    let (points, mut seen) = (points(&effects, Points::Every), HashSet::new());
    for after in &points {
        node.thaw(&start);
        node.run_killed(BACKUP, killed.clone(), *after);
        let story = format!("killed after step {after} ({:?})", step(&effects, *after));
        assert_eq!(others(&node), before, "{story}");
        if !seen.insert(World::of(&node, SystemTime::UNIX_EPOCH).key()) {
            continue;
        }
        let left = node.freeze();
        for (state, snapshots) in [("snapshot", &held), ("present", &own), ("released", &own)] {
            node.thaw(&left);
            let story = format!("{story}, then {state}");
            let is_made = node.archive("tonight").exists();
            let result = node.run_module(BACKUP, json!({"tag": "tonight", "state": state}));
            if state == "snapshot" && is_made {
                assert_eq!(result["error"], "archive_exists", "{story}: {result:#}");
                continue;
            }
            assert_eq!(result["failed"], Value::Null, "{story}: {result:#}");
            assert_eq!((others(&node), &node.snapshots()), (before.clone(), snapshots), "{story}");
            let marks =
                tree(&node.host().join("state")).into_keys().filter(|path| path.ends_with("snapshot.json"));
            assert_eq!(marks.count(), usize::from(state == "snapshot"), "{story}");
            let archives: Vec<String> =
                tree(&node.backup_dir()).into_keys().filter(|path| path.contains("tonight")).collect();
            let made: &[&str] = match state == "present" || is_made {
                true => &["tonight.tgz", "tonight.tgz.sha256"],
                false => &[],
            };
            let is_whole = match state {
                // What is held is packed later: the draft that is begun then takes the place of this one.
                "snapshot" => archives.is_empty() || archives == ["tonight.tgz.partial"],
                // An archive that has its name only lacks its checksum, which the next backup writes.
                "released" if is_made => {
                    archives[0] == "tonight.tgz" && !archives.contains(&"tonight.tgz.partial".to_owned())
                }
                _ => archives == made,
            };
            assert!(is_whole, "{story}: {archives:?}");
        }
    }
    points.len()
}

#[test]
fn a_snapshot_to_be_held_killed_after_any_step_is_taken_packed_or_released_by_the_next_run() {
    counted(held_killed(|_| (), json!({"tag": "tonight", "state": "snapshot"})), 18);
}

#[test]
fn and_so_is_one_that_is_packed_or_released_when_the_run_is_killed() {
    let hold = |node: &FakeNode| {
        node.run_module(BACKUP, json!({"tag": "tonight", "state": "snapshot"}));
    };
    let kills =
        ["present", "released"].map(|state| held_killed(hold, json!({"tag": "tonight", "state": state})));
    counted(kills, [24, 6]);
}
