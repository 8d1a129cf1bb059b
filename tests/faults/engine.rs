//! An Engine that fails, hangs, or dies and comes back at each request of a restore, a roll-back and a backup.

use std::time::Duration;

use serde_json::Value;

use crate::kills::scene::{Ask, RESTORE, Scene};
use crate::support::{FakeNode, Fault, Frozen};
use crate::{Ends, is_mended, swapped};
use serde_json::json;

/// With a `true`, all requests from the one on.
pub fn ways() -> [(Fault, bool); 6] {
    [
        (Fault::Status(500, "out of order"), false),
        (Fault::Close, false),
        (Fault::LoseAnswer, false),
        (Fault::Cut, false),
        (Fault::Nonsense("<html>"), false),
        (Fault::Close, true),
    ]
}

/// The requests of a run that is not disturbed.
pub fn requests(node: &FakeNode, run: impl FnOnce()) -> Vec<String> {
    let before = node.engine.requests().len();
    run();
    node.engine.requests().iter().skip(before).map(ToString::to_string).collect()
}

/// A run of which a request goes wrong so.
pub fn disturbed(
    node: &FakeNode,
    at: usize,
    (fault, lasts): (Fault, bool),
    module: &str,
    args: Value,
) -> Value {
    match lasts {
        true => node.engine.fail_from("", at + 1, fault),
        false => node.engine.fail_nth("", at + 1, fault),
    }
    node.run_module(module, args)
}

/// The same with one that is never answered; the clock is put forward once it hangs.
pub fn hanging(node: &FakeNode, at: usize, request: &str, module: &str, args: Value) -> Value {
    let before = node.engine.requests().len();
    node.engine.fail_nth("", at + 1, Fault::Silence);
    let hangs = |request: usize| {
        while node.engine.requests().len() <= request {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    // A start or a stop takes the time it needs, as long as the Engine answers whoever asks in between.
    let is_order = request.starts_with("POST /containers/node/st");
    if is_order {
        node.engine.fail_nth("", 1, Fault::Silence);
    }
    let hangs_again = || hangs(before + at + 1);
    let stuck: [&(dyn Fn() + Sync); 2] = [&|| hangs(before + at), &hangs_again];
    node.run_past(Duration::from_secs(61), &stuck[..if is_order { 2 } else { 1 }], module, args)
}

fn each_request(scene: &Scene, from: &Frozen, ask: &Ask) -> Ends {
    scene.node.thaw(from);
    let mut ends = Ends::default();
    for (at, request) in requests(&scene.node, || drop(scene.run(ask))).iter().enumerate() {
        for way in ways() {
            let story = format!("{ask:?} with {way:?} at request {at}, {request}");
            ends.count(is_mended(scene, from, ask, &story, || {
                disturbed(&scene.node, at, way, RESTORE, ask.args())
            }));
        }
    }
    ends
}

fn each_hanging(scene: &Scene, from: &Frozen, ask: &Ask) -> Ends {
    scene.node.thaw(from);
    let mut ends = Ends::default();
    for (at, request) in requests(&scene.node, || drop(scene.run(ask))).iter().enumerate() {
        let story = format!("{ask:?} with no answer to request {at}, {request}");
        ends.count(is_mended(scene, from, ask, &story, || {
            hanging(&scene.node, at, request, RESTORE, ask.args())
        }));
    }
    ends
}

#[test]
fn a_restore_whose_engine_fails_at_a_request_or_dies_there_and_comes_back() {
    let scene = Scene::new(1, json!({}), |_| ());
    each_request(&scene, &scene.start, &scene.same_again()).at_least(340, 70);
}

#[test]
fn a_roll_back_whose_engine_fails_at_a_request_or_dies_there_and_comes_back() {
    let (scene, swapped) = swapped();
    each_request(&scene, &swapped, &Ask::RollBack).at_least(150, 0);
}

#[test]
fn a_restore_whose_engine_hangs_at_a_request_is_not_waited_for_for_ever() {
    let scene = Scene::new(1, json!({}), |_| ());
    each_hanging(&scene, &scene.start, &scene.same_again()).at_least(55, 10);
}

#[test]
fn a_roll_back_whose_engine_hangs_at_a_request_is_not_waited_for_for_ever() {
    let (scene, swapped) = swapped();
    each_hanging(&scene, &swapped, &Ask::RollBack).at_least(25, 0);
}
