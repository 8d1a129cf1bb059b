//! What fails while a run is at work: its disk, the Engine, nodetool, the container. What is told and left then, and
//! whether the same run made again finishes or undoes it.

#![allow(dead_code)] // A part of what the kills are tested with.

#[path = "faults/backup.rs"]
mod backup;
#[path = "faults/container.rs"]
mod container;
#[path = "faults/engine.rs"]
mod engine;
#[path = "faults/files.rs"]
mod files;
mod kills;
#[path = "faults/nodetool.rs"]
mod nodetool;
mod support;
#[path = "faults/told.rs"]
mod told;

use kills::scene::{Ask, Scene};
use serde_json::{Value, json};
use support::{Frozen, Served};

/// How many runs failed, and how many did not.
#[derive(Debug, Default)]
struct Ends {
    failed: usize,
    passed: usize,
}

impl Ends {
    fn count(&mut self, failed: bool) {
        if failed { self.failed += 1 } else { self.passed += 1 }
    }

    /// So that no fault slips by unnoticed.
    fn at_least(&self, failed: usize, passed: usize) {
        assert!(self.failed >= failed && self.passed >= passed, "{self:?}, not {failed} and {passed}");
    }
}

/// A node that is to be rolled back from `swapped`.
fn swapped() -> (Scene, Frozen) {
    let scene = Scene::new(1, json!({}), |_| ());
    let swapped = scene.after(&Ask::Restore(json!({"tag": "nightly", "state": "swapped"})));
    (scene, swapped)
}

/// A run that something goes wrong with, and the same run when all is well again. Whether the first failed.
fn is_mended(scene: &Scene, from: &Frozen, ask: &Ask, story: &str, run: impl FnOnce() -> Value) -> bool {
    let run = || {
        let result = run();
        told::the_container_is_left_as_said(&scene.node, story, &result);
        result
    };
    is_mended_after(scene, from, ask, story, run, || ())
}

/// The same where somebody has to mend something in between.
fn is_mended_after(
    scene: &Scene,
    from: &Frozen,
    ask: &Ask,
    story: &str,
    run: impl FnOnce() -> Value,
    mend: impl FnOnce(),
) -> bool {
    scene.node.thaw(from);
    let found = scene.world();
    let result = run();
    scene.every_start_was_right(ask);
    scene.holds(story);
    told::the_truth(scene, &found, story, &result);
    scene.node.engine.heal();
    mend();
    if let Ask::RollBack = ask {
        let (again, _) = scene.run(ask);
        assert_eq!(again["failed"], Value::Null, "{story}, run again: {again:#}");
        assert_eq!(Served::by(&scene.node.dirs()), scene.previous.served, "{story}, run again");
        let (world, previous) = (scene.world(), &scene.previous.world);
        assert_eq!(world.live(), previous.live(), "{story}, run again");
        assert_eq!(world.restart_policy, previous.restart_policy, "{story}, run again");
        // Whoever was told that it has ended since starts it: that is no more the roll-back's.
        let was_started = result["msg"].as_str().is_some_and(|msg| msg.contains("it was started"));
        assert!(was_started || world.run_state == previous.run_state, "{story}, run again: {again:#}");
    } else {
        let was_complete = scene.world().phase() == "restored";
        let (again, _) = scene.run(&scene.same_again());
        scene.is_restored_again(&format!("{story}, run again"), &again, was_complete);
    }
    result["failed"] == true
}
