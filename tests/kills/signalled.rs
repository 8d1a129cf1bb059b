//! A signal after each step: the run ends by itself, and its words are true.

use std::collections::BTreeMap;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use crate::kills::scene::{Left, RESTORE, Scene, counted, over_another};
use crate::kills::world::{Points, points};
use crate::support::Served;

/// How a run ended that was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It came too late: complete.
    Complete,
    /// The node was not touched.
    Untouched,
    /// The previous data was put back.
    RolledBack,
    /// Nothing rolls back by itself once it is committed.
    Committed,
    /// In place: the previous data was given up.
    GivenUp,
}

fn each_step(scene: &Scene, which: Points, signal: &str) -> BTreeMap<End, usize> {
    scene.node.thaw(&scene.start);
    let (result, effects) = scene.run(&scene.same_again());
    scene.is_restored("undisturbed", &result);
    let mut ends = BTreeMap::new();
    for after in points(&effects, which) {
        let story = format!("SIG{signal} after step {after}");
        scene.node.thaw(&scene.start);
        let result = scene.node.run_signalled(RESTORE, scene.restore.clone(), after, signal);
        scene.every_start_was_right(&scene.same_again());
        scene.holds(&story);
        *ends.entry(told_the_truth(scene, &story, signal, &result)).or_default() += 1;
        let was_complete = scene.world().phase() == "restored";
        let (result, _) = scene.run(&scene.same_again());
        scene.is_restored_again(&format!("{story}, run again"), &result, was_complete);
    }
    ends
}

fn told_the_truth(scene: &Scene, story: &str, signal: &str, result: &Value) -> End {
    if result["failed"] != true {
        scene.is_restored(story, result);
        return End::Complete;
    }
    assert_eq!(result["error"], "interrupted", "{story}: {result:#}");
    let msg = result["msg"].as_str().expect("a message");
    assert!(msg.starts_with(&format!("ended by SIG{signal}. ")), "{story}: {msg}");
    let (now, before) = (scene.world(), &scene.previous.world);
    assert_eq!(result["container"]["left"], now.run_state.word(), "{story}: {result:#}");
    if result["changed"] == false {
        assert_eq!((now.live(), now.run_state), (before.live(), before.run_state), "{story}: {result:#}");
    }
    if result["rolled_back"] == true {
        let left = Left { undone: true, ..Left::default() };
        scene.previous_stands(story, &left);
        let standing = match before.run_state {
            RunState::Running => "The previous data is back in place and container `node` is started",
            _ => "The previous data is back in place and container `node` is stopped, as it was found",
        };
        assert!(msg.contains(standing), "{story}: {msg}");
        return End::RolledBack;
    }
    assert_eq!(result.get("rolled_back"), None, "{story}: {result:#}");
    if msg.contains("The node was not touched") {
        let untouched = (before.live(), before.run_state, before.restart_policy.clone());
        assert_eq!((now.live(), now.run_state, now.restart_policy), untouched, "{story}: {msg}");
        return End::Untouched;
    }
    if msg.contains("The previous data was given up (`staging: in_place`)") {
        assert_eq!(scene.restore["staging"], "in_place", "{story}: {msg}");
        return End::GivenUp;
    }
    let is_told = msg.contains("The archive's data is in place and container `node` is running");
    assert!(is_told, "{story}: {msg}");
    assert_eq!(
        (Served::by(&scene.node.dirs()), now.run_state),
        (scene.restored.served.clone(), RunState::Running)
    );
    // Its restore is not undone by a run of the same: `state: rolled_back` is what does that.
    let keeps = msg.contains("the previous data is kept");
    assert_eq!(keeps, now.journal().expect("a journal")["previous_removed"] == false, "{story}: {msg}");
    End::Committed
}

/// Where exactly a signal is noticed is the scheduler's; how often each end was seen is not the same on every run.
fn ended(ends: &BTreeMap<End, usize>, signals: usize, kinds: &[End]) {
    assert!(kinds.iter().all(|kind| ends.contains_key(kind)), "{ends:?}");
    counted(ends.values().sum(), signals);
}

#[test]
fn a_restore_that_gets_a_signal_after_any_step_ends_by_itself_and_says_how_things_stand() {
    let scene = Scene::new(1, json!({}), |_| ());
    ended(&each_step(&scene, Points::Every, "TERM"), 291, &[End::Complete, End::Untouched, End::RolledBack]);
}

#[test]
fn and_so_do_those_over_two_directories_over_another_restore_and_in_place() {
    let two = Scene::new(2, json!({"keep_previous": false}), |_| ());
    let all = [End::Complete, End::Untouched, End::RolledBack];
    ended(&each_step(&two, Points::Coarse, "HUP"), 184, &all);
    ended(&each_step(&over_another(), Points::Coarse, "INT"), 137, &all);
    let in_place = Scene::new(1, json!({"staging": "in_place", "give_up_previous": true}), |_| ());
    ended(&each_step(&in_place, Points::Coarse, "TERM"), 156, &all);
}
