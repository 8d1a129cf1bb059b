//! Recovery from each tree that a power cut may leave.

use std::collections::HashSet;
use std::fs;
use std::sync::{Arc, Mutex};

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::disk::{Disk, Unsynced};
use super::order::violations;
use crate::kills::scene::{Ask, Scene, over_another_timeless};
use crate::support::{Effect, FakeNode, Frozen, Memory, Served, copy, hash};

/// Mixes of what is kept and what is lost, at each step at which they differ.
const MIXES: u64 = 3;

/// A run with all that a model of its disk needs.
struct Recorded<'a> {
    scene: &'a Scene,
    from: &'a Frozen,
    effects: Vec<Effect>,
    /// The node's directories after each stop and start, in their order.
    left: Vec<TempDir>,
    memory: Memory,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    prefixes: usize,
    trees: usize,
    /// Those that were different, and recovered from.
    recovered: usize,
    /// Started by the Engine as the host came up.
    booted: usize,
}

fn record<'a>(scene: &'a Scene, from: &'a Frozen, ask: &Ask) -> Recorded<'a> {
    let left: Arc<Mutex<Vec<TempDir>>> = Arc::default();
    scene.node.thaw(from);
    let memory = scene.node.memory();
    for what in ["stop", "start"] {
        let (left, is_recording) = (left.clone(), Arc::new(Mutex::new(true)));
        scene.node.hook_after(what, move |dirs| {
            if *is_recording.lock().unwrap() {
                let kept = tempfile::Builder::new()
                    .tempdir_in(dirs.storage.parent().expect("the host"))
                    .expect("a directory");
                copy(&dirs.storage, &kept.path().join("cassandra"));
                left.lock().unwrap().push(kept);
            }
        });
    }
    let (result, effects) = scene.run(ask);
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    scene.node.forget_hooks_after();
    let left = std::mem::take(&mut *left.lock().unwrap());
    Recorded { scene, from, effects, left, memory }
}

impl Recorded<'_> {
    fn disk(&self) -> Disk {
        Disk::new(self.scene.node.host(), &self.from.path())
    }

    /// What Cassandra did to its directories while it stopped or started.
    fn cassandra_did(&self, disk: &mut Disk, number: usize) {
        let tree = self.left[number].path().join("cassandra");
        for dir in fs::read_dir(&tree).expect("a listing").flatten() {
            let name = dir.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                disk.is_now_as(&self.scene.node.dirs().storage.join(&name), &dir.path());
            }
        }
    }

    fn in_order(&self) -> Vec<String> {
        let (mut disk, mut orders) = (self.disk(), 0);
        violations(&mut disk, &self.effects, |effect, disk| {
            if matches!(effect.kind.as_str(), "Stop" | "Start") {
                self.cassandra_did(disk, orders);
                orders += 1;
            }
        })
    }

    /// Cuts the power after each step, and recovers from what there may be then.
    fn every_cut(&self) -> Counts {
        let (mut disk, mut orders, mut counts) = (self.disk(), 0, Counts::default());
        let (mut memory, mut seen) = (self.memory.clone(), HashSet::new());
        let counts_for = |(_, effect): &(usize, &Effect)| effect.changes() || effect.is_part;
        for (at, effect) in self.effects.iter().enumerate().filter(counts_for) {
            disk.apply(effect);
            if effect.is_part {
                continue;
            }
            match effect.kind.as_str() {
                "Stop" => memory.run_state = RunState::Exited,
                "Start" => memory.run_state = RunState::Running,
                "Policy" => memory.restart_policy.0 = effect.path.to_string_lossy().into_owned(),
                _ => {}
            }
            if matches!(effect.kind.as_str(), "Stop" | "Start") {
                self.cassandra_did(&mut disk, orders);
                orders += 1;
            }
            disk.foretell(&self.effects[at..]);
            counts.prefixes += 1;
            let volatile = disk.volatile();
            let mut cuts = vec![(Vec::new(), Unsynced::Nothing), (volatile.clone(), Unsynced::All)];
            for seed in 0..MIXES {
                let roll = |what: usize| hash(format!("{} {seed} {what}", effect.step).as_bytes());
                let kept = volatile.iter().copied().filter(|change| roll(*change) % 2 == 0).collect();
                let unsynced = [Unsynced::Nothing, Unsynced::Half, Unsynced::All];
                cuts.push((kept, unsynced[usize::try_from(roll(usize::MAX) % 3).unwrap()]));
            }
            for (kept, unsynced) in cuts {
                counts.trees += 1;
                disk.materialise(&kept, unsynced);
                self.scene.node.remember(&memory);
                if !seen.insert(self.scene.world().key()) {
                    continue;
                }
                counts.recovered += 1;
                let lost: Vec<String> = volatile
                    .iter()
                    .filter(|change| !kept.contains(change))
                    .flat_map(|change| disk.shows(*change))
                    .collect();
                let story = format!(
                    "power cut after step {} ({} {}), {lost:?} lost, {unsynced:?} of what was unsynced",
                    effect.step,
                    effect.kind,
                    effect.path.display()
                );
                counts.booted += usize::from(self.recovers(&story));
            }
        }
        counts
    }

    fn recovers(&self, story: &str) -> bool {
        let scene = self.scene;
        scene.holds(story);
        let was_startable = Served::by(&scene.node.dirs()) != Served::Nothing;
        scene.node.reboot();
        let is_booted = scene.node.run_state() == RunState::Running;
        assert!(!is_booted || was_startable, "{story}");
        assert!(scene.node.starts().iter().skip(1).all(|start| !start.is_new_node), "{story}");
        scene.holds(story);
        let cut = scene.node.freeze();
        let was_complete = scene.world().phase() == "restored";
        let (result, _) = scene.run(&scene.same_again());
        scene.is_restored_again(&format!("{story}, run again"), &result, was_complete);
        scene.node.thaw(&cut);
        scene.rolls_back(&format!("{story}, rolled back"));
        is_booted
    }
}

/// No run has worked on it before, but for the one that made the archive, on another host.
fn is_new_to_us(node: &FakeNode) {
    let folders = fs::read_dir(node.state_dir()).expect("a listing");
    folders.flatten().for_each(|folder| fs::remove_dir_all(folder.path()).expect("a folder removed"));
}

fn scenes() -> Vec<(&'static str, Scene)> {
    let timeless = |directories, args| Scene::timeless(directories, args, |_| ());
    vec![
        ("plain", timeless(1, json!({}))),
        ("two directories", timeless(2, json!({}))),
        ("new", Scene::timeless(1, json!({}), is_new_to_us)),
        ("over another", over_another_timeless()),
        ("keep_previous", timeless(1, json!({"keep_previous": false}))),
        ("in place", timeless(1, json!({"staging": "in_place", "give_up_previous": true}))),
        ("stopped", Scene::timeless(1, json!({"start": "as_found"}), FakeNode::stop)),
    ]
}

#[test]
fn whatever_a_run_relies_on_is_on_the_disk_before() {
    let mut steps = 0;
    for (name, scene) in scenes() {
        let run = record(&scene, &scene.start, &scene.same_again());
        assert_eq!(run.in_order(), [""; 0], "{name}");
        steps += run.effects.len();
        for state in ["staged", "swapped", "started", "restored"] {
            let mut args = scene.restore.clone();
            args["state"] = json!(state);
            let from = scene.after(&Ask::Restore(args));
            if scene.world().journal().is_some_and(|journal| journal["previous_removed"] == true) {
                continue;
            }
            let run = record(&scene, &from, &Ask::RollBack);
            assert_eq!(run.in_order(), [""; 0], "{name}, rolled back from {state}");
            steps += run.effects.len();
        }
    }
    assert!(steps > 5_000, "{steps}");
}

/// At least so many: prefixes, trees, those that differed.
fn is_enough(counts: &Counts, least: [usize; 3]) {
    let found = [counts.prefixes, counts.trees, counts.recovered];
    assert!(found.iter().zip(least).all(|(found, least)| *found >= least), "{counts:?}");
}

#[test]
fn a_restore_without_power_after_any_step_is_finished_or_undone() {
    let scene = Scene::timeless(1, json!({}), |_| ());
    let run = record(&scene, &scene.start, &scene.same_again());
    is_enough(&run.every_cut(), [250, 1_000, 100]);
}

#[test]
fn a_roll_back_without_power_after_any_step_is_ended() {
    for state in ["swapped", "restored"] {
        let scene = Scene::timeless(1, json!({}), |_| ());
        let mut args = scene.restore.clone();
        args["state"] = json!(state);
        let from = scene.after(&Ask::Restore(args));
        let run = record(&scene, &from, &Ask::RollBack);
        is_enough(&run.every_cut(), [60, 300, 40]);
    }
}

#[test]
fn a_restore_in_place_without_power_after_any_step_is_finished_or_undone() {
    let scene = Scene::timeless(1, json!({"staging": "in_place", "give_up_previous": true}), |_| ());
    let run = record(&scene, &scene.start, &scene.same_again());
    is_enough(&run.every_cut(), [250, 1_000, 100]);
}
