//! Two kills: after each step of a run, and then after each step of the run that comes after it.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::kills::scene::{Ask, Scene, counted, over_another};
use crate::kills::world::{Points, points};
use crate::support::Frozen;

/// All pairs of a death in `first` and one in `second`; from each state that they leave, the restore is run again, and
/// rolled back. States that are the same, byte for byte, are gone on from once. Returns the numbers of deaths in the
/// first run and of pairs.
fn all_pairs(scene: &Scene, from: &Frozen, first: &Ask, second: &Ask) -> [usize; 2] {
    let (mut pairs, mut once, mut twice) = (0, HashSet::new(), HashSet::new());
    scene.node.thaw(from);
    let (result, effects) = scene.run(first);
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    let deaths = points(&effects, Points::Coarsest);
    for after in &deaths {
        scene.node.thaw(from);
        scene.kill(first, *after);
        // A restore that is complete still would be proven so; with its files copied it is done again, over itself:
        // what that leads to is told by the tests over a restore before.
        let world = scene.world();
        let is_complete = world.phase() == "restored" && matches!(second, Ask::Restore(_));
        // A roll-back would be that of the restore before.
        let is_the_one_before =
            world.journal() == scene.previous.world.journal() && matches!(second, Ask::RollBack);
        if !once.insert(world.key()) || is_complete || is_the_one_before {
            continue;
        }
        let killed = scene.node.freeze();
        let flag = |name: &str| world.journal().is_some_and(|journal| journal[name] == true);
        let was_started = flag("was_started") || scene.holds_undone();
        let had_earlier =
            scene.knows_earlier() && !flag("earlier_removed") && matches!(second, Ask::RollBack);
        let (_, effects) = scene.run(second);
        for then_after in points(&effects, Points::Coarsest) {
            scene.node.thaw(&killed);
            scene.kill(second, then_after);
            pairs += 1;
            let told = format!("{first:?} killed after {after}, {second:?} after {then_after}");
            // What no client can have written to is not kept.
            let is_over = scene.world().journal() == scene.previous.world.journal();
            assert!(was_started || !is_over || !scene.holds_undone(), "{told}");
            assert!(!had_earlier || is_over || scene.knows_earlier(), "{told}");
            if twice.insert(scene.world().key()) {
                ends_well(scene, &told);
            }
        }
    }
    assert!(twice.len() > 40, "{} different states", twice.len());
    [deaths.len(), pairs]
}

fn ends_well(scene: &Scene, story: &str) {
    let killed = scene.node.freeze();
    let was_complete = scene.world().phase() == "restored";
    let (result, _) = scene.run(&scene.same_again());
    scene.is_restored_again(&format!("{story}, run again"), &result, was_complete);
    scene.node.thaw(&killed);
    scene.rolls_back(&format!("{story}, rolled back"));
}

fn restore() -> Scene {
    Scene::new(1, json!({}), |_| ())
}

#[test]
fn a_restore_killed_and_killed_again_when_it_goes_on() {
    let scene = restore();
    counted(all_pairs(&scene, &scene.start, &scene.same_again(), &scene.same_again()), [70, 2515]);
}

#[test]
fn a_restore_killed_and_its_roll_back_killed_too() {
    let scene = restore();
    counted(all_pairs(&scene, &scene.start, &scene.same_again(), &Ask::RollBack), [70, 1758]);
}

#[test]
fn a_roll_back_of_a_complete_restore_killed_and_killed_again_when_it_goes_on() {
    let scene = restore();
    let from = scene.after(&scene.same_again());
    counted(all_pairs(&scene, &from, &Ask::RollBack, &Ask::RollBack), [45, 991]);
}

#[test]
#[ignore = "takes minutes: cargo test --test killed -- --ignored"]
fn a_roll_back_of_a_complete_restore_killed_and_the_restore_after_it_killed_too() {
    let scene = restore();
    let from = scene.after(&scene.same_again());
    counted(all_pairs(&scene, &from, &Ask::RollBack, &scene.same_again()), [45, 4058]);
}

#[test]
#[ignore = "takes minutes: cargo test --test killed -- --ignored"]
fn a_restore_over_two_data_directories_killed_and_killed_again_when_it_goes_on() {
    let scene = Scene::new(2, json!({}), |_| ());
    counted(all_pairs(&scene, &scene.start, &scene.same_again(), &scene.same_again()), [97, 4705]);
}

#[test]
#[ignore = "takes minutes: cargo test --test killed -- --ignored"]
fn a_restore_over_the_way_back_of_the_one_before_killed_and_its_roll_back_killed_too() {
    let scene = over_another();
    counted(all_pairs(&scene, &scene.start, &scene.same_again(), &Ask::RollBack), [109, 4892]);
}
