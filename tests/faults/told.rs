//! Whether a message tells the truth: what failed and on which thing, whether the data is all right, whether the node
//! is up, and what is to be done next.

use cassandra_backup::docker::RunState;
use serde_json::Value;

use crate::kills::scene::Scene;
use crate::kills::world::World;
use crate::support::FakeNode;

/// Of a restore or a roll-back.
pub fn the_truth(scene: &Scene, found: &World, story: &str, result: &Value) {
    if result["failed"] != true {
        return;
    }
    the_container_is_left_as_said(&scene.node, story, result);
    let msg = names_a_thing(story, result);
    let (now, before) = (scene.world(), &scene.previous.world);
    if msg.contains("The node was not touched") {
        assert_eq!((now.live(), now.run_state), (found.live(), found.run_state), "{story}: {msg}");
    } else if msg.contains("The previous data is back in place") {
        assert_eq!(now.live(), before.live(), "{story}: {msg}");
        is_up_as_said(story, msg, now.run_state);
    } else if msg.contains("The archive's data is in place") {
        assert!(["started", "restored"].contains(&now.phase().as_str()), "{story}: {msg}");
        is_up_as_said(story, msg, now.run_state);
    } else if msg.contains("was given up") {
        assert_eq!(flag(&now, "previous_removed"), Some(true), "{story}: {msg}");
        assert!(msg.contains("run the same restore again"), "{story}: {msg}");
    } else {
        let is_told =
            ["is unfinished", "as an earlier run left it"].iter().find(|words| msg.contains(**words));
        assert!(is_told.is_some(), "{story}: {msg}");
        assert_ne!(flag(&now, "previous_removed"), Some(true), "{story}: {msg}");
        let next = ["run the same restore again", "`state: rolled_back`", "run it again"];
        let is_next =
            msg.contains("as an earlier run left it") || next.iter().any(|words| msg.contains(words));
        assert!(is_next, "{story}: it says not what next: {msg}");
    }
}

fn flag(world: &World, name: &str) -> Option<bool> {
    world.journal().and_then(|journal| journal[name].as_bool())
}

/// The message of a failure, which says what failed by its name.
pub fn names_a_thing<'a>(story: &str, result: &'a Value) -> &'a str {
    let msg = result["msg"].as_str().expect("a message");
    assert_ne!(result["error"], "internal", "{story}: {result:#}");
    let before_standing = msg.split(". ").next().unwrap_or_default();
    let names_it = before_standing.contains('`')
        || before_standing.contains("the Docker Engine failed to list the running containers")
        || result["error"] == "interrupted";
    assert!(names_it, "{story}: it names no thing: {msg}");
    assert!(!msg.contains("``"), "{story}: it names a thing without a name: {msg}");
    assert!(!msg.ends_with(": ") && !msg.contains(": ."), "{story}: it gives no reason: {msg}");
    msg
}

/// Whether a sentence about the container, `container `node` is running`, is so.
pub fn is_up_as_said(story: &str, msg: &str, now: RunState) {
    let said = msg.split("container `node` is ").last().unwrap_or_default();
    let is_so = match now {
        _ if said.starts_with("not as it was found") => true,
        // Asked last where nobody answered, or the container was gone.
        _ if said.starts_with("in a state that the Docker Engine does not tell") => true,
        RunState::Running => ["running", "started"].iter().any(|word| said.starts_with(word)),
        RunState::Created | RunState::Exited => said.starts_with("stopped"),
        other => said.starts_with(other.word()),
    };
    assert!(is_so, "{story}: {msg}, and it is {now:?}");
}

/// `container.left` of the result, unless nobody could be asked.
pub fn the_container_is_left_as_said(node: &FakeNode, story: &str, result: &Value) {
    let left = result["container"]["left"].as_str();
    let is_there = !node.name().starts_with("gone-");
    let is_known = left.is_some() && is_there && !node.engine.is_failing();
    assert!(!is_known || left == Some(node.run_state().word()), "{story}: {result:#}");
}
