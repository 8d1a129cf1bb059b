//! One kill, after each step that changes something.

use serde_json::json;

use crate::kills::scene::{Ask, Scene};
use crate::kills::world::points;

/// Kills a run of `first` after each step; then the same again, and a roll-back, each from there.
fn each_step(scene: &Scene, first: &Ask) -> usize {
    scene.node.thaw(&scene.start);
    let (result, effects) = scene.run(first);
    scene.is_restored("undisturbed", &result);
    let points = points(&effects, false);
    for after in &points {
        scene.node.thaw(&scene.start);
        scene.kill(first, *after);
        let killed = scene.node.freeze();
        let story = format!("killed after step {after} ({:?})", effects[usize::try_from(*after).unwrap() - 1]);
        let (result, _) = scene.run(&scene.same_again());
        scene.is_restored(&format!("{story}, run again"), &result);
        scene.node.thaw(&killed);
        let had_journal = scene.world().journal().is_some();
        let (result, _) = scene.run(&Ask::RollBack);
        if had_journal { scene.is_rolled_back(&format!("{story}, rolled back"), &result) } else {
            scene.previous_stands(&story);
        }
    }
    points.len()
}

#[test]
fn a_restore() {
    let scene = Scene::new(1, json!({}), |_| ());
    assert_eq!(each_step(&scene, &scene.same_again()), 0);
}
