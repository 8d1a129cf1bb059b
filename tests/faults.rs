//! A disk that fails, once or from then on, at each step of a restore and of a roll-back.

#![allow(dead_code)] // A part of what the kills are tested with.

mod kills;
mod support;

use cassandra_backup::docker::RunState;
use kills::scene::{Ask, RESTORE, Scene};
use kills::world::{Points, World, points};
use serde_json::{Value, json};
use support::{Effect, Fault, Frozen, Served};

/// What a step of this kind fails with.
const ONCE: [(&str, &[&str]); 5] = [
    ("ENOSPC", &["MakeDir", "Create", "Write", "Sync", "Rename", "Exchange"]),
    (
        "EIO",
        &["Sync", "SyncDir", "Rename", "Exchange", "Remove", "Attributes", "Stat", "List", "Open", "Read"],
    ),
    ("EACCES", &["MakeDir", "Create", "Remove", "Rename", "Exchange", "Open"]),
    ("EROFS", &["MakeDir", "Create", "Write", "Attributes", "Remove", "Rename", "Exchange"]),
    ("EMFILE", &["Open", "List", "Create"]),
];

/// So that the whole takes minutes: of the steps that only look, and of those inside `staged/`, each seventh.
const STRIDE: usize = 7;

/// Fails each step of a run, each kind with what it can fail with; then the disk is well again, and the same restore
/// is run. Returns how many runs failed and how many did not.
fn each_step_once(scene: &Scene, from: &Frozen, ask: &Ask) -> (usize, usize) {
    scene.node.thaw(from);
    let (_, effects) = scene.run(ask);
    let lasting = points(&effects, Points::Coarse);
    let is_tried = |effect: &&Effect| {
        lasting.contains(&effect.step) || usize::try_from(effect.step).unwrap().is_multiple_of(STRIDE)
    };
    let mut ends = (0, 0);
    for effect in effects.iter().filter(is_tried) {
        let possible = ONCE.iter().filter(|(_, kinds)| kinds.contains(&effect.kind.as_str()));
        // Each errno takes the same road back; which one it is goes round.
        let possible: Vec<&str> = possible.map(|(errno, _)| *errno).collect();
        let Some(errno) = possible.get(usize::try_from(effect.step).unwrap() % possible.len().max(1)) else {
            continue;
        };
        let failed = fails(scene, from, ask, &format!("{}:{errno}", effect.step), effect);
        if failed { ends.0 += 1 } else { ends.1 += 1 }
    }
    ends
}

fn from_each_step_on(scene: &Scene, from: &Frozen, ask: &Ask, errno: &str) -> (usize, usize) {
    scene.node.thaw(from);
    let (_, effects) = scene.run(ask);
    let mut ends = (0, 0);
    for step in points(&effects, Points::Coarsest) {
        let effect = &effects[usize::try_from(step).unwrap() - 1];
        let failed = fails(scene, from, ask, &format!("{step}+:{errno}"), effect);
        if failed { ends.0 += 1 } else { ends.1 += 1 }
    }
    ends
}

/// One run on a disk that fails so; whether it failed.
fn fails(scene: &Scene, from: &Frozen, ask: &Ask, fault: &str, effect: &Effect) -> bool {
    let story = format!("{ask:?} with {fault} at {} of {}", effect.kind, effect.path.display());
    let asked = [("CASSANDRA_BACKUP_FAIL_AT", fault)];
    is_mended(scene, from, ask, &story, || scene.node.start_module_with(RESTORE, ask.args(), &asked).finish())
}

/// Fails each request to the Engine in each way, once or from there on; then it is well again, and the same restore is
/// run. Returns how many runs failed and how many did not.
fn each_request(scene: &Scene, from: &Frozen, ask: &Ask) -> (usize, usize) {
    scene.node.thaw(from);
    let before = scene.node.engine.requests().len();
    scene.run(ask);
    let requests: Vec<String> =
        scene.node.engine.requests().iter().skip(before).map(ToString::to_string).collect();
    let mut ends = (0, 0);
    for (at, request) in requests.iter().enumerate() {
        for (fault, lasts) in [
            (Fault::Status(500, "out of order"), false),
            (Fault::Close, false),
            (Fault::LoseAnswer, false),
            (Fault::Cut, false),
            (Fault::Nonsense("<html>"), false),
            (Fault::Close, true),
        ] {
            let story = format!("{ask:?} with {fault:?} (lasting: {lasts}) at request {at}, {request}");
            let failed = is_mended(scene, from, ask, &story, || {
                let engine = &scene.node.engine;
                match lasts {
                    true => engine.fail_from("", at + 1, fault.clone()),
                    false => engine.fail_nth("", at + 1, fault.clone()),
                }
                let result = scene.node.run_module(RESTORE, ask.args());
                engine.heal();
                result
            });
            if failed { ends.0 += 1 } else { ends.1 += 1 }
        }
    }
    ends
}

/// A run that something goes wrong with, and the same restore when all is well again. Whether the first failed.
fn is_mended(scene: &Scene, from: &Frozen, ask: &Ask, story: &str, run: impl FnOnce() -> Value) -> bool {
    scene.node.thaw(from);
    let found = scene.world();
    let result = run();
    scene.every_start_was_right(ask);
    scene.holds(story);
    let failed = result["failed"] == true;
    if failed {
        told_the_truth(scene, &found, story, &result);
    }
    if let Ask::RollBack = ask {
        let (again, _) = scene.run(ask);
        assert_eq!(again["failed"], Value::Null, "{story}, run again: {again:#}");
        assert_eq!(Served::by(&scene.node.dirs()), scene.previous.served, "{story}, run again");
        assert_eq!(scene.world().live(), scene.previous.world.live(), "{story}, run again");
    } else {
        let was_complete = scene.world().phase() == "restored";
        let (again, _) = scene.run(&scene.same_again());
        scene.is_restored_again(&format!("{story}, run again"), &again, was_complete);
    }
    failed
}

/// What failed and on which thing, whether the data is all right and whether the node is up.
fn told_the_truth(scene: &Scene, found: &World, story: &str, result: &Value) {
    let msg = result["msg"].as_str().expect("a message");
    assert_ne!(result["error"], "internal", "{story}: {result:#}");
    let names_it =
        msg.contains('`') || msg.contains("the Docker Engine failed to list the running containers");
    assert!(names_it, "{story}: it names no thing: {msg}");
    let (now, before) = (scene.world(), &scene.previous.world);
    if msg.contains("The node was not touched") {
        assert_eq!((now.live(), now.run_state), (found.live(), found.run_state), "{story}: {msg}");
    } else if msg.contains("The previous data is back in place") {
        assert_eq!(now.live(), before.live(), "{story}: {msg}");
        let ended = ["is not as it was found", "has ended by itself"].iter().any(|words| msg.contains(words));
        let is_as_said = ended || now.run_state == before.run_state;
        assert!(is_as_said, "{story}: {msg}, {:?}", now.run_state);
    } else if msg.contains("The archive's data is in place") {
        assert!(["started", "restored"].contains(&now.phase().as_str()), "{story}: {msg}");
        assert_eq!(now.run_state, RunState::Running, "{story}: {msg}");
    } else {
        let is_told = ["is unfinished", "as an earlier run left it", "was given up", "no data is lost"];
        assert!(is_told.iter().any(|words| msg.contains(words)), "{story}: {msg}");
    }
}

#[test]
fn a_restore_whose_disk_fails_once_is_undone_or_told_and_done_by_the_next_run() {
    let scene = Scene::new(1, json!({}), |_| ());
    let (failed, passed) = each_step_once(&scene, &scene.start, &scene.same_again());
    assert!(failed > 150, "{failed} of {}", failed + passed);
}

#[test]
fn a_restore_on_a_disk_that_is_full_from_a_step_on_loses_nothing() {
    let scene = Scene::new(1, json!({}), |_| ());
    let (failed, passed) = from_each_step_on(&scene, &scene.start, &scene.same_again(), "ENOSPC");
    assert!(failed > 50, "{failed} of {}", failed + passed);
}

#[test]
fn a_restore_on_a_disk_that_is_read_only_from_a_step_on_loses_nothing() {
    let scene = Scene::new(1, json!({}), |_| ());
    let (failed, passed) = from_each_step_on(&scene, &scene.start, &scene.same_again(), "EROFS");
    assert!(failed > 50, "{failed} of {}", failed + passed);
}

#[test]
fn a_roll_back_whose_disk_fails_once_is_ended_by_the_next_run() {
    let scene = Scene::new(1, json!({}), |_| ());
    let swapped = scene.after(&Ask::Restore(json!({"tag": "nightly", "state": "swapped"})));
    let (failed, passed) = each_step_once(&scene, &swapped, &Ask::RollBack);
    assert!(failed > 50, "{failed} of {}", failed + passed);
}

#[test]
fn a_restore_whose_engine_fails_at_a_request_or_dies_there_and_comes_back() {
    let scene = Scene::new(1, json!({}), |_| ());
    let (failed, passed) = each_request(&scene, &scene.start, &scene.same_again());
    assert!(failed > 100, "{failed} of {}", failed + passed);
}

#[test]
fn a_roll_back_whose_engine_fails_at_a_request_or_dies_there_and_comes_back() {
    let scene = Scene::new(1, json!({}), |_| ());
    let swapped = scene.after(&Ask::Restore(json!({"tag": "nightly", "state": "swapped"})));
    let (failed, passed) = each_request(&scene, &swapped, &Ask::RollBack);
    assert!(failed > 50, "{failed} of {}", failed + passed);
}
