//! The way back from a restore outlives another one that comes to nothing.

mod support;

use std::fs;
use std::path::PathBuf;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use support::{FakeNode, Fault, Tree, tree};

/// A node that was restored from `nightly`, with a further backup `later`; gives the data before that restore.
fn restored_once(node: FakeNode) -> (FakeNode, Tree) {
    let node = node.with_table("ks1", "users", 2).with_table("ks1", "old", 1);
    backup(&node, "nightly");
    node.drop_table("ks1", "old");
    let node = node.with_table("ks1", "new", 1);
    let yesterdays = node.user_data();
    succeeds(&node, "nightly", "restored");
    backup(&node, "later");
    (node, yesterdays)
}

fn backup(node: &FakeNode, tag: &str) {
    let made = node.run_module("cassandra_backup", json!({"tag": tag}));
    assert_eq!(made["failed"], Value::Null, "{made:#}");
}

fn restore(node: &FakeNode, tag: &str, state: &str) -> Value {
    node.run_module("cassandra_restore", json!({"tag": tag, "state": state}))
}

fn succeeds(node: &FakeNode, tag: &str, state: &str) {
    let result = restore(node, tag, state);
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
}

fn roll_back(node: &FakeNode) -> Value {
    node.run_module("cassandra_restore", json!({"state": "rolled_back"}))
}

fn work(node: &FakeNode, level: &str) -> PathBuf {
    node.dirs().storage.join(".cassandra_restore-data").join(level)
}

fn journal(node: &FakeNode) -> Value {
    let files = tree(&node.state_dir());
    let path = files.keys().find(|path| path.ends_with("journal.json")).unwrap();
    serde_json::from_slice(&fs::read(node.state_dir().join(path)).unwrap()).unwrap()
}

fn earlier_is_told(node: &FakeNode, result: &Value) {
    let told = format!(
        "the restore of `{}` before this one is the last one again: another `state: rolled_back` takes that one back",
        node.archive("nightly").display()
    );
    assert!(result["warnings"].as_array().is_some_and(|all| all.contains(&json!(told))), "{result:#}");
}

/// The first restore is the last one again, and is rolled back as if there had been no other.
fn goes_back_to(node: &FakeNode, yesterdays: &Tree) {
    assert_eq!(journal(node)["phase"], "restored");
    assert_eq!(journal(node)["archive"]["path"], json!(node.archive("nightly")));
    assert!(!work(node, "replaced").exists() && !work(node, "staged").exists());
    let result = roll_back(node);
    assert_eq!(result["msg"], "the previous data of container `node` is back in place", "{result:#}");
    assert_eq!((&node.user_data(), node.run_state()), (yesterdays, RunState::Running));
    assert_eq!(roll_back(node)["changed"], false);
}

#[test]
fn a_restore_that_fails_anywhere_before_its_commit_leaves_the_way_back_from_the_one_before() {
    let failures = [
        ("POST /containers/node/update", "stop"),
        ("POST /containers/node/stop", "stop"),
        ("POST /containers/node/start", "start"),
    ];
    for (request, stage) in failures {
        let (node, yesterdays) = restored_once(FakeNode::running());
        let (data, previous) = (node.user_data(), tree(&work(&node, "previous")));
        node.engine.fail_nth(request, 1, Fault::Status(500, "out of order"));
        let failed = restore(&node, "later", "restored");
        assert_eq!((&failed["failed"], &failed["rolled_back"]), (&json!(true), &json!(true)), "{failed:#}");
        assert_eq!(failed["stage"], stage);
        earlier_is_told(&node, &failed);
        assert_eq!((node.user_data(), tree(&work(&node, "previous"))), (data, previous), "{request}");
        goes_back_to(&node, &yesterdays);
    }
}

/// Everything live is set aside, and nothing has been moved in yet.
#[test]
fn a_restore_that_fails_in_its_middle_leaves_it_too() {
    let (node, yesterdays) = restored_once(FakeNode::running());
    let (data, previous) = (node.user_data(), tree(&work(&node, "previous")));
    let stop = node.engine.hold("POST /containers/node/stop");
    let run = node.start_module("cassandra_restore", json!({"tag": "later"}));
    stop.wait_until_reached();
    assert_eq!(tree(&work(&node, "replaced")), previous);
    node.engine.fail_nth("GET /containers/node/json", 3, Fault::Status(500, "out of order"));
    stop.open();
    let failed = run.finish();
    assert_eq!((&failed["stage"], &failed["rolled_back"]), (&json!("swap"), &json!(true)), "{failed:#}");
    assert_eq!((node.user_data(), tree(&work(&node, "previous"))), (data, previous));
    goes_back_to(&node, &yesterdays);
}

/// The levels are laid by, and nothing has been set aside yet.
#[test]
fn a_restore_that_is_killed_before_anything_is_set_aside_is_rolled_back_by_hand() {
    let (node, yesterdays) = restored_once(FakeNode::running());
    let data = node.user_data();
    let stop = node.engine.hold("POST /containers/node/stop");
    let run = node.start_module("cassandra_restore", json!({"tag": "later"}));
    stop.wait_until_reached();
    run.kill();
    stop.open();
    assert_eq!(
        (&journal(&node)["phase"], &journal(&node)["held_identity"]),
        (&json!("setting_aside"), &json!(true))
    );
    assert!(!work(&node, "previous").exists() && work(&node, "replaced").is_dir());
    let result = roll_back(&node);
    assert_eq!((&result["failed"], &result["rolled_back"]), (&Value::Null, &json!(true)), "{result:#}");
    assert_eq!(node.user_data(), data);
    goes_back_to(&node, &yesterdays);
}

#[test]
fn once_committed_the_way_back_is_the_new_restores() {
    let (node, _) = restored_once(FakeNode::running());
    let node = node.with_table("ks1", "third", 1);
    let before = node.user_data();
    succeeds(&node, "later", "started");
    assert!(work(&node, "replaced").is_dir() && work(&node, "previous").is_dir());
    succeeds(&node, "later", "restored");
    assert!(!work(&node, "replaced").exists() && journal(&node).get("earlier").is_none());
    assert_eq!(roll_back(&node)["rolled_back"], true);
    assert_eq!(node.user_data(), before);
    assert_eq!(roll_back(&node)["changed"], false);
}

#[test]
fn by_hand_every_phase_gives_the_way_back_from_the_one_before_again() {
    for state in ["staged", "swapped", "started"] {
        let (node, yesterdays) = restored_once(FakeNode::running());
        let data = node.user_data();
        succeeds(&node, "later", state);
        let run_id = journal(&node)["run_id"].clone();
        let result = roll_back(&node);
        assert_eq!((&result["failed"], &result["rolled_back"]), (&Value::Null, &json!(true)), "{result:#}");
        assert_eq!(result["restore"], json!({"state": "rolled_back", "run_id": run_id}));
        earlier_is_told(&node, &result);
        assert_eq!(node.user_data(), data, "{state}");
        goes_back_to(&node, &yesterdays);
    }
}

#[test]
fn what_was_unpacked_and_is_lost_does_not_take_the_way_back_along() {
    let (node, yesterdays) = restored_once(FakeNode::running());
    succeeds(&node, "later", "staged");
    fs::remove_dir_all(work(&node, "staged")).unwrap();
    let failed = restore(&node, "later", "restored");
    assert_eq!((&failed["failed"], failed.get("rolled_back")), (&json!(true), None));
    goes_back_to(&node, &yesterdays);
}

/// A disk that is not mounted: it still has the mark of the restore that was staged.
#[test]
fn a_missing_mark_keeps_the_way_back_until_it_is_there_again() {
    let (node, yesterdays) = restored_once(FakeNode::running());
    succeeds(&node, "later", "staged");
    let (mark, away) = (work(&node, "run"), node.dirs().storage.join("away"));
    fs::rename(&mark, &away).unwrap();
    let missing = format!(
        "`{}` is missing: is the disk of `{}` mounted?",
        mark.display(),
        node.dirs().data[0].display()
    );
    let failed = restore(&node, "later", "restored");
    assert_eq!(failed["msg"], format!("{missing} The node was not touched"));
    assert_eq!(roll_back(&node)["failed"], true);
    fs::rename(&away, &mark).unwrap();
    assert_eq!(
        roll_back(&node)["msg"],
        "what was unpacked of the archive is removed; the node was not touched"
    );
    goes_back_to(&node, &yesterdays);
}

/// Cut off between two renames of the levels, while the journal still says `staged`.
#[test]
fn levels_that_are_half_laid_by_are_gone_on_with_or_brought_back() {
    for goes_on in [true, false] {
        let (node, yesterdays) = restored_once(FakeNode::running());
        succeeds(&node, "later", "staged");
        fs::rename(work(&node, "previous"), work(&node, "replaced")).unwrap();
        if goes_on {
            succeeds(&node, "later", "swapped");
        }
        assert_eq!(roll_back(&node)["rolled_back"], true);
        goes_back_to(&node, &yesterdays);
    }
}

/// Cut off when all was rolled back but the levels and the journal of the restore before.
#[test]
fn a_roll_back_that_did_not_bring_the_levels_back_is_finished_by_the_next_one() {
    let (node, yesterdays) = restored_once(FakeNode::running());
    let earlier = journal(&node);
    succeeds(&node, "later", "staged");
    fs::rename(work(&node, "previous"), work(&node, "replaced")).unwrap();
    let files = tree(&node.state_dir());
    let path = node.state_dir().join(files.keys().find(|path| path.ends_with("journal.json")).unwrap());
    let mut pending = journal(&node);
    assert_eq!(pending["earlier"], earlier);
    pending["phase"] = json!("rolled_back");
    fs::write(&path, pending.to_string()).unwrap();
    fs::remove_dir_all(work(&node, "staged")).unwrap();
    let result = roll_back(&node);
    assert_eq!(result["msg"], "the way back from the restore before is in its place again", "{result:#}");
    goes_back_to(&node, &yesterdays);
}

#[test]
fn what_an_earlier_roll_back_kept_aside_is_there_after_a_restore_that_fails() {
    let (node, _) = restored_once(FakeNode::running());
    roll_back(&node);
    let undone = tree(&work(&node, "undone"));
    assert!(!undone.is_empty());
    node.engine.fail_nth("POST /containers/node/stop", 1, Fault::Status(500, "out of order"));
    assert_eq!(restore(&node, "later", "restored")["rolled_back"], true);
    assert_eq!(tree(&work(&node, "undone")), undone);
    // Where a failed restore has something to keep too, the older one keeps its other name.
    node.engine.fail_nth("POST /containers/node/start", 1, Fault::Status(500, "out of order"));
    assert_eq!(restore(&node, "later", "restored")["rolled_back"], true);
    assert_eq!(tree(&work(&node, "replaced-undone")), undone);
    succeeds(&node, "later", "restored");
    assert!(!work(&node, "undone").exists() && !work(&node, "replaced-undone").exists());
}

#[test]
fn where_the_previous_data_is_gone_nothing_is_rolled_back() {
    for state in ["swapped", "restored"] {
        let node = FakeNode::running().with_table("ks1", "users", 2);
        backup(&node, "nightly");
        succeeds(&node, "nightly", state);
        let previous = work(&node, "previous");
        fs::remove_dir_all(&previous).unwrap();
        let words = format!(
            "there is nothing to roll back to: the previous data is not in `{}` any more. The node was not touched",
            previous.display()
        );
        for is_there in [false, true] {
            if is_there {
                fs::create_dir(&previous).unwrap();
            }
            let (before, changes) = (tree(node.host()), node.changes());
            let refused = roll_back(&node);
            assert_eq!((&refused["msg"], &refused["error"]), (&json!(words), &json!("no_previous_data")));
            assert_eq!((tree(node.host()), node.changes()), (before, changes));
        }
    }
}

/// It was emptied while the node was started; what came in is not taken out again.
#[test]
fn a_roll_back_by_itself_does_not_start_a_new_node_either() {
    let node = FakeNode::running().with_table("ks1", "users", 2);
    backup(&node, "nightly");
    let node = node.before("start", |dirs| {
        let previous = dirs.storage.join(".cassandra_restore-data/previous");
        fs::remove_dir_all(&previous).unwrap();
        fs::create_dir(&previous).unwrap();
    });
    let node = node.dying_on_start();
    let failed = restore(&node, "nightly", "restored");
    assert_eq!((&failed["error"], &failed["rolled_back"]), (&json!("container_died"), &json!(false)));
    let told = failed["msg"].as_str().unwrap();
    let gone = format!("the previous data is not in `{}` any more", work(&node, "previous").display());
    assert!(told.contains(&gone) && told.contains("is not to be started by hand"), "{told}");
    let requests = node.engine.requests();
    let starts =
        requests.iter().filter(|request| request.to_string().starts_with("POST /containers/node/start"));
    assert_eq!(starts.count(), 1);
    assert!(node.dirs().data[0].join("system").is_dir());
}
