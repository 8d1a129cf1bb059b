//! nodetool at each of its calls in a backup, a restore and a roll-back: it fails, lies or hangs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::backup::{BACKUP, Backed};
use crate::kills::scene::{Ask, RESTORE, Scene};
use crate::support::{CallFault, FakeNode, Signal};
use crate::{Ends, is_mended_after, swapped};

const FAULTS: [CallFault; 3] = [
    CallFault::Fails(
        1,
        "nodetool: Failed to connect to '127.0.0.1:7199' - ConnectException: 'Connection refused'.",
    ),
    CallFault::Lies("Bluetooth is not available\n"),
    CallFault::Hangs,
];

/// The longest that any call is waited for.
const LONGEST: Duration = Duration::from_secs(1801);

/// A run of which a call of nodetool goes wrong so. Nobody waits for one that hangs: the clock is put forward.
fn disturbed(node: &FakeNode, nth: usize, fault: &CallFault, module: &str, args: Value) -> Value {
    node.fail_call(nth, fault.clone());
    if *fault != CallFault::Hangs {
        return node.run_module(module, args);
    }
    let hangs = || {
        while !node.hangs() {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    node.run_past(LONGEST, &[&hangs], module, args)
}

/// A snapshot takes the time it needs: whoever does not want to wait for it ends the run.
fn interrupted(node: &FakeNode, nth: usize, args: Value) -> Value {
    node.fail_call(nth, CallFault::Hangs);
    let run = node.start_module(BACKUP, args);
    while !node.hangs() {
        std::thread::sleep(Duration::from_millis(1));
    }
    run.signal(Signal::TERM);
    run.finish()
}

#[test]
fn a_backup_whose_nodetool_fails_lies_or_hangs_at_a_call_clears_up_or_tells_the_next_run_to() {
    let (mut ends, mut calls) = (Ends::default(), 0);
    for backed in [Backed::running(), Backed::stopped()] {
        backed.thaw();
        assert_eq!(backed.run()["changed"], true);
        let node = &backed.node;
        for (at, call) in node.commands().iter().enumerate() {
            calls += 1;
            for fault in &FAULTS {
                let story = format!("a backup with {fault:?} at call {at}, {call}");
                let is_endless = *fault == CallFault::Hangs && call.starts_with("nodetool snapshot");
                let run = || match is_endless {
                    true => interrupted(node, at + 1, backed.args()),
                    false => disturbed(node, at + 1, fault, BACKUP, backed.args()),
                };
                ends.count(backed.is_mended(&story, run, || node.heal_calls()));
            }
        }
    }
    assert_eq!(calls, 2 * 7, "info, status, describecluster, version, tablestats, snapshot, clearsnapshot");
    // What a node that is starting says is asked again.
    ends.at_least(34, 8);
}

#[test]
fn a_snapshot_that_nodetool_says_it_took_and_one_that_it_says_it_cleared_are_looked_for() {
    let backed = Backed::running();
    let at = |command: &str| backed.node.commands().iter().position(|line| line.starts_with(command));
    backed.run();
    let (taken, cleared) = (at("nodetool snapshot").unwrap(), at("nodetool clearsnapshot").unwrap());
    let said = "Requested creating snapshot(s) for [all keyspaces] with snapshot name [tonight]\n\
                Snapshot directory: tonight\n";
    for (nth, said, error) in [
        (taken + 1, said, "snapshot_incomplete"),
        (cleared + 1, "Requested clearing snapshot(s) for [all keyspaces]\n", "snapshot_not_cleared"),
    ] {
        let mut told = Value::Null;
        let run = || {
            told = disturbed(&backed.node, nth, &CallFault::Lies(said), BACKUP, backed.args());
            told.clone()
        };
        assert!(backed.is_mended(error, run, || backed.node.heal_calls()));
        assert_eq!((&told["error"], &told["changed"]), (&json!(error), &json!(false)), "{told:#}");
    }
}

#[test]
fn a_restore_whose_nodetool_fails_lies_or_hangs_at_a_call_is_undone_and_made_by_the_next_run() {
    let scene = Scene::new(1, json!({}), |_| ());
    let (ask, mut ends) = (scene.same_again(), Ends::default());
    assert_eq!(scene.run(&ask).0["changed"], true);
    let calls = scene.node.commands();
    assert!(calls.len() >= 9, "{calls:#?}");
    for (at, call) in calls.iter().enumerate() {
        for fault in &FAULTS {
            let story = format!("{ask:?} with {fault:?} at call {at}, {call}");
            let run = || disturbed(&scene.node, at + 1, fault, RESTORE, ask.args());
            ends.count(is_mended_after(&scene, &scene.start, &ask, &story, run, || scene.node.heal_calls()));
        }
    }
    ends.at_least(14, 16);
}

/// It is the way out of all that nodetool does wrong.
#[test]
fn a_roll_back_needs_no_nodetool() {
    let (scene, swapped) = swapped();
    scene.node.thaw(&swapped);
    assert_eq!(scene.run(&Ask::RollBack).0["rolled_back"], true);
    assert_eq!(scene.node.commands(), [""; 0]);
}
