//! A disk that fails, once or from then on, at each step of a restore and of a roll-back.

use serde_json::json;

use crate::kills::scene::{Ask, RESTORE, Scene};
use crate::kills::world::{Points, points};
use crate::support::{Effect, Frozen};
use crate::{Ends, is_mended, swapped};

/// What a step of this kind fails with.
const ONCE: [(&str, &[&str]); 5] = [
    ("ENOSPC", &["MakeDir", "Create", "Write", "Sync", "SyncFilesystem", "Rename", "Exchange"]),
    (
        "EIO",
        &[
            "Sync",
            "SyncDir",
            "SyncFilesystem",
            "Rename",
            "Exchange",
            "Remove",
            "Attributes",
            "Stat",
            "List",
            "Open",
            "Read",
        ],
    ),
    ("EACCES", &["MakeDir", "Create", "Remove", "Rename", "Exchange", "Open"]),
    ("EROFS", &["MakeDir", "Create", "Write", "Attributes", "Remove", "Rename", "Exchange"]),
    ("EMFILE", &["Open", "List", "Create"]),
];

/// So that the whole takes minutes: of the steps that only look, of those inside `staged/`, and of those that remove
/// what was given up, each seventh.
const STRIDE: u64 = 7;

/// Each step of a run that is tried, with what it fails with: each errno takes the same road back, so which one it is
/// goes round.
pub fn each_once(effects: &[Effect], which: Points) -> Vec<(String, &Effect)> {
    let lasting = points(effects, which);
    let is_tried = |effect: &&Effect| {
        (lasting.contains(&effect.step) && !removes_the_previous(effect))
            || effect.step.is_multiple_of(STRIDE)
    };
    effects.iter().filter(|effect| !effect.is_part).filter(is_tried).filter_map(once).collect()
}

fn once(effect: &Effect) -> Option<(String, &Effect)> {
    let possible = ONCE.iter().filter(|(_, kinds)| kinds.contains(&effect.kind.as_str()));
    let possible: Vec<&str> = possible.map(|(errno, _)| *errno).collect();
    let turn = usize::try_from(effect.step).expect("a number") % possible.len().max(1);
    possible.get(turn).map(|errno| (format!("{}:{errno}", effect.step), effect))
}

pub fn from_each_on<'a>(effects: &'a [Effect], errno: &str) -> Vec<(String, &'a Effect)> {
    let lasting = points(effects, Points::Coarsest);
    let is_tried = |effect: &&Effect| {
        lasting.contains(&effect.step)
            && (!removes_the_previous(effect) || effect.step.is_multiple_of(STRIDE))
    };
    let from = |effect: &'a Effect| (format!("{}+:{errno}", effect.step), effect);
    effects.iter().filter(|effect| !effect.is_part).filter(is_tried).map(from).collect()
}

fn removes_the_previous(effect: &Effect) -> bool {
    effect.kind == "Remove" && effect.path.to_string_lossy().contains("/previous/")
}

fn fail(scene: &Scene, from: &Frozen, ask: &Ask, faults: Vec<(String, &Effect)>) -> Ends {
    let mut ends = Ends::default();
    for (fault, effect) in faults {
        let story = format!("{ask:?} with {fault} at {} of {}", effect.kind, effect.path.display());
        let asked = [("CASSANDRA_BACKUP_FAIL_AT", fault.as_str())];
        ends.count(is_mended(scene, from, ask, &story, || {
            scene.node.start_module_with(RESTORE, ask.args(), &asked).finish()
        }));
    }
    ends
}

fn effects(scene: &Scene, from: &Frozen, ask: &Ask) -> Vec<Effect> {
    scene.node.thaw(from);
    scene.run(ask).1
}

fn each_step_once(scene: &Scene, from: &Frozen, ask: &Ask) -> Ends {
    fail(scene, from, ask, each_once(&effects(scene, from, ask), Points::Coarse))
}

fn from_each_step_on(scene: &Scene, from: &Frozen, ask: &Ask, errno: &str) -> Ends {
    fail(scene, from, ask, from_each_on(&effects(scene, from, ask), errno))
}

fn in_place() -> Scene {
    Scene::new(1, json!({"staging": "in_place", "give_up_previous": true}), |_| ())
}

#[test]
fn a_restore_whose_disk_fails_once_is_undone_or_told_and_done_by_the_next_run() {
    let scene = Scene::new(1, json!({}), |_| ());
    each_step_once(&scene, &scene.start, &scene.same_again()).at_least(200, 0);
}

#[test]
fn a_restore_on_a_disk_that_is_full_from_a_step_on_loses_nothing() {
    let scene = Scene::new(1, json!({}), |_| ());
    from_each_step_on(&scene, &scene.start, &scene.same_again(), "ENOSPC").at_least(65, 0);
}

#[test]
fn a_restore_on_a_disk_that_is_read_only_from_a_step_on_loses_nothing() {
    let scene = Scene::new(1, json!({}), |_| ());
    from_each_step_on(&scene, &scene.start, &scene.same_again(), "EROFS").at_least(65, 0);
}

/// Before its point of no return it is undone; after it, told, and done by the next run.
#[test]
fn a_restore_in_place_whose_disk_fails_once_gives_up_nothing_before_it_says_so() {
    let scene = in_place();
    each_step_once(&scene, &scene.start, &scene.same_again()).at_least(253, 0);
}

#[test]
fn a_restore_in_place_on_a_disk_that_is_full_or_read_only_from_a_step_on_is_told_as_it_is() {
    let scene = in_place();
    for errno in ["ENOSPC", "EROFS"] {
        from_each_step_on(&scene, &scene.start, &scene.same_again(), errno).at_least(85, 0);
    }
}

#[test]
fn a_roll_back_whose_disk_fails_once_is_ended_by_the_next_run() {
    let (scene, swapped) = swapped();
    each_step_once(&scene, &swapped, &Ask::RollBack).at_least(140, 0);
}

#[test]
fn a_roll_back_on_a_disk_that_is_full_or_read_only_from_a_step_on_is_ended_by_the_next_run() {
    let (scene, swapped) = swapped();
    for errno in ["ENOSPC", "EROFS"] {
        from_each_step_on(&scene, &swapped, &Ask::RollBack, errno).at_least(65, 0);
    }
}
