//! One kill, after each step that changes something; then the same run again, or a roll-back.

use std::collections::HashSet;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use crate::kills::scene::{Ask, Scene, counted, over_another};
use crate::kills::world::{Points, points};
use crate::support::{FakeNode, Frozen, step};

/// Kills a run after each of its steps. From each state that this leaves, the restore is run again, and rolled back.
/// Returns how many kills there were.
fn each_step(scene: &Scene, from: &Frozen, first: &Ask, which: Points) -> usize {
    scene.node.thaw(from);
    let (result, effects) = scene.run(first);
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    let (points, mut seen) = (points(&effects, which), HashSet::new());
    for after in &points {
        scene.node.thaw(from);
        scene.kill(first, *after);
        if !seen.insert(scene.world().key()) {
            continue;
        }
        let killed = scene.node.freeze();
        let story = format!("killed after step {after} ({:?})", step(&effects, *after));
        let was_complete = scene.world().phase() == "restored";
        let (result, _) = scene.run(&scene.same_again());
        scene.is_restored_again(&format!("{story}, run again"), &result, was_complete);
        scene.node.thaw(&killed);
        scene.rolls_back(&format!("{story}, rolled back"));
        if matches!(first, Ask::SwapBack) {
            scene.node.thaw(&killed);
            scene.swaps_back(&format!("{story}, swapped back"));
            scene.rolls_back(&format!("{story}, swapped back and rolled back"));
        }
    }
    points.len()
}

fn nothing(_: &FakeNode) {}

#[test]
fn a_restore_killed_after_any_step_is_finished_or_undone_by_the_next_run() {
    let scene = Scene::new(1, json!({}), nothing);
    counted(each_step(&scene, &scene.start, &scene.same_again(), Points::Every), 291);
}

#[test]
fn and_so_is_one_over_two_data_directories() {
    let scene = Scene::new(2, json!({}), nothing);
    counted(each_step(&scene, &scene.start, &scene.same_again(), Points::Coarse), 127);
}

#[test]
fn and_one_that_keeps_no_previous_data() {
    let scene = Scene::new(1, json!({"keep_previous": false}), nothing);
    counted(each_step(&scene, &scene.start, &scene.same_again(), Points::Coarse), 145);
}

#[test]
fn and_one_in_place() {
    let scene = Scene::new(1, json!({"staging": "in_place", "give_up_previous": true}), nothing);
    counted(each_step(&scene, &scene.start, &scene.same_again(), Points::Coarse), 156);
}

#[test]
fn and_one_of_a_node_that_was_found_stopped() {
    let scene = Scene::new(2, json!({"start": "as_found"}), FakeNode::stop);
    assert_eq!(scene.restored.world.run_state, RunState::Exited);
    counted(each_step(&scene, &scene.start, &scene.same_again(), Points::Coarse), 127);
}

#[test]
fn and_one_over_the_way_back_of_a_restore_before() {
    let scene = over_another();
    counted(each_step(&scene, &scene.start, &scene.same_again(), Points::Coarse), 137);
}

#[test]
fn and_one_to_each_state_on_the_way() {
    let scene = Scene::new(1, json!({}), nothing);
    let mut kills = Vec::new();
    for state in ["staged", "swapped", "started"] {
        kills.push(each_step(
            &scene,
            &scene.start,
            &Ask::Restore(json!({"tag": "nightly", "state": state})),
            Points::Coarse,
        ));
    }
    counted(kills, vec![39, 69, 79]);
}

#[test]
fn a_roll_back_by_hand_killed_after_any_step_is_ended_by_the_next_run() {
    let mut kills = Vec::new();
    for directories in [1, 2] {
        let scene = Scene::new(directories, json!({}), nothing);
        for state in ["staged", "swapped", "started", "restored"] {
            let from = scene.after(&Ask::Restore(json!({"tag": "nightly", "state": state})));
            kills.push(each_step(&scene, &from, &Ask::RollBack, Points::Coarse));
        }
    }
    counted(kills, vec![18, 75, 50, 53, 22, 93, 62, 70]);
}

#[test]
fn and_so_is_one_that_leaves_the_node_stopped_and_the_rest_of_the_way_from_there() {
    let mut kills = Vec::new();
    for (directories, states) in [(1, &["staged", "swapped", "started", "restored"][..]), (2, &["restored"])]
    {
        let scene = Scene::new(directories, json!({}), nothing);
        for state in states {
            let from = scene.after(&Ask::Restore(json!({"tag": "nightly", "state": state})));
            kills.push(each_step(&scene, &from, &Ask::SwapBack, Points::Coarse));
        }
        scene.after(&scene.same_again());
        scene.swaps_back("undisturbed");
        let from = scene.node.freeze();
        kills.push(each_step(&scene, &from, &Ask::RollBack, Points::Coarse));
    }
    counted(kills, vec![18, 70, 45, 48, 11, 65, 12]);
}
