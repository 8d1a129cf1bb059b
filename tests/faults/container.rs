//! The container while a run is at work: it dies, crash-loops, is out of memory, or is in others' hands.

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use crate::backup::{BACKUP, Backed};
use crate::engine::requests;
use crate::kills::scene::{Ask, RESTORE, Scene};
use crate::support::{CallFault, FakeNode, Fault, Frozen, Gate, Served};
use crate::{Ends, is_mended_after, swapped};

type Happens = fn(&FakeNode);

/// What somebody does with a container that a run has in hand.
const HANDS: [(&str, Happens); 5] = [
    ("paused", FakeNode::pause),
    ("started", FakeNode::start_by_hand),
    ("renamed", |node| node.rename("other")),
    ("removed", FakeNode::remove),
    ("killed", |node| node.dies(137, false)),
];

/// As it was called, and not frozen: made anew where it was removed.
fn handed_back(node: &FakeNode) {
    node.rename("node");
    node.set_dying_on_start(false);
    node.set_ready_after(0);
    node.goes_on();
}

/// A run in the middle of which something happens, at a request to the Engine.
fn in_the_middle(
    node: &FakeNode,
    at: usize,
    module: &str,
    args: Value,
    happens: impl FnOnce(&FakeNode),
) -> Value {
    let gate = Gate::default();
    node.engine.fail_nth("", at + 1, Fault::Hold(gate.clone()));
    let run = node.start_module(module, args);
    gate.wait_until_reached();
    happens(node);
    gate.open();
    run.finish()
}

/// At each request from the first order to the Engine on.
fn in_others_hands(scene: &Scene, ask: &Ask, from: &Frozen) -> Ends {
    let mut ends = Ends::default();
    scene.node.thaw(from);
    let all = requests(&scene.node, || drop(scene.run(ask)));
    let is_order =
        |request: &String| request.starts_with("POST /containers/node/") && !request.ends_with("/exec");
    let first = all.iter().position(is_order).expect("an order");
    for (at, request) in all.iter().enumerate().skip(first) {
        for (what, happens) in HANDS {
            let story = format!("{ask:?}, its container {what} at request {at}, {request}");
            let run = || in_the_middle(&scene.node, at, RESTORE, ask.args(), happens);
            ends.count(is_mended_after(scene, from, ask, &story, run, || handed_back(&scene.node)));
        }
    }
    ends
}

#[test]
fn a_restore_whose_container_is_in_others_hands_between_stop_and_commit() {
    let scene = Scene::new(1, json!({}), |_| ());
    in_others_hands(&scene, &scene.same_again(), &scene.start).at_least(80, 75);
}

#[test]
fn a_roll_back_whose_container_is_in_others_hands() {
    let (scene, swapped) = swapped();
    in_others_hands(&scene, &Ask::RollBack, &swapped).at_least(8, 12);
}

/// Where a restore waits for clients: the first look after the start.
fn wait(scene: &Scene) -> usize {
    scene.node.thaw(&scene.start);
    let all = requests(&scene.node, || drop(scene.run(&scene.same_again())));
    all.iter().position(|request| request == "POST /containers/node/start").expect("a start") + 2
}

#[test]
fn a_container_that_dies_while_clients_are_waited_for_is_told_by_how_and_the_restore_undone() {
    let scene = Scene::new(1, json!({}), |_| ());
    let (at, ask) = (wait(&scene), scene.same_again());
    for (exit_code, is_out_of_memory, how) in [
        (1, false, "exited with code 1"),
        (137, false, "exited with code 137"),
        (137, true, "was killed by the kernel: out of memory"),
    ] {
        let mut told = Value::Null;
        let run = || {
            scene.node.set_ready_after(8);
            told = in_the_middle(&scene.node, at, RESTORE, ask.args(), |node| {
                node.dies(exit_code, is_out_of_memory)
            });
            told.clone()
        };
        let failed = is_mended_after(&scene, &scene.start, &ask, how, run, || handed_back(&scene.node));
        let msg = told["msg"].as_str().unwrap();
        let begins = format!("container `node` {how} while Cassandra was being waited for");
        assert!(failed && msg.starts_with(&begins), "{msg}");
        let ends = match is_out_of_memory {
            true => "is running. give the container more memory, or Cassandra a smaller heap",
            false => "is running. see `docker logs` for why Cassandra ended",
        };
        assert!(msg.ends_with(ends), "{msg}");
        assert_eq!(
            (&told["error"], &told["rolled_back"]),
            (&json!("container_died"), &json!(true)),
            "{told:#}"
        );
    }
}

#[test]
fn a_container_that_dies_on_every_start_is_left_with_the_previous_data_and_told_as_restarting() {
    let scene = Scene::new(1, json!({}), |_| ());
    let mut told = Value::Null;
    let run = || {
        let args = scene.same_again().args();
        let stop = "POST /containers/node/stop";
        let gate = scene.node.engine.hold(stop);
        let run = scene.node.start_module(RESTORE, args);
        gate.wait_until_reached();
        scene.node.set_dying_on_start(true);
        gate.open();
        told = run.finish();
        told.clone()
    };
    let story = "dying on every start";
    let mend = || {
        assert_eq!(scene.node.run_state(), RunState::Restarting);
        handed_back(&scene.node);
    };
    assert!(is_mended_after(&scene, &scene.start, &scene.same_again(), story, run, mend));
    let msg = told["msg"].as_str().unwrap();
    assert!(msg.contains("The previous data is back in place and container `node` is restarting"), "{msg}");
    assert_eq!(told["container"]["left"], "restarting");
}

/// The old node's own end, once its data is back: no failure of the roll-back, and told as what it is.
#[test]
fn an_old_node_that_dies_after_a_roll_back_started_it_is_not_called_running() {
    let (scene, swapped) = swapped();
    scene.node.thaw(&swapped);
    let all = requests(&scene.node, || drop(scene.run(&Ask::RollBack)));
    let start = all.iter().position(|request| request == "POST /containers/node/start").unwrap();
    for (is_kept_up, is) in
        [(false, "stopped: it was started, and has ended by itself"), (true, "restarting: it was started")]
    {
        scene.node.thaw(&swapped);
        scene.node.set_ready_after(8);
        let told = in_the_middle(&scene.node, start + 2, RESTORE, Ask::RollBack.args(), |node| {
            if !is_kept_up {
                node.set_restart_policy("no");
            }
            node.dies(137, true);
        });
        let msg = told["msg"].as_str().unwrap();
        let stands = format!("The previous data is back in place and container `node` is {is}");
        assert!(msg.contains("was killed by the kernel: out of memory") && msg.contains(&stands), "{msg}");
        assert_eq!(told["container"]["left"], scene.node.run_state().word(), "{told:#}");
        assert_eq!(scene.world().live(), scene.previous.world.live());
        handed_back(&scene.node);
    }
}

/// Stopped, and then the disk fails: it is not as it was found any more.
#[test]
fn a_roll_back_that_fails_once_it_has_stopped_the_node_says_that_it_is_stopped() {
    let scene = Scene::new(1, json!({}), |_| ());
    scene.node.thaw(&scene.start);
    scene.run(&scene.same_again());
    assert_eq!(scene.node.run_state(), RunState::Running);
    let restored = scene.node.freeze();
    let (_, effects) = scene.run(&Ask::RollBack);
    let stop = effects.iter().find(|effect| effect.kind == "Stop").expect("a stop").step;
    let exchange = effects.iter().find(|effect| effect.kind == "Exchange" && effect.step > stop);
    scene.node.thaw(&restored);
    let asked = format!("{}:EIO", exchange.expect("an exchange").step);
    let fault = [("CASSANDRA_BACKUP_FAIL_AT", asked.as_str())];
    let told = scene.node.start_module_with(RESTORE, Ask::RollBack.args(), &fault).finish();
    assert_eq!((&told["failed"], &told["container"]["left"]), (&json!(true), &json!("exited")), "{told:#}");
    assert_eq!(scene.node.run_state(), RunState::Exited);
    assert_eq!(scene.run(&Ask::RollBack).0["rolled_back"], true);
    assert_eq!(scene.world().live(), scene.previous.world.live());
}

#[test]
fn a_backup_whose_container_dies_or_is_in_others_hands_at_a_request() {
    let mut ends = Ends::default();
    for backed in [Backed::running(), Backed::stopped()] {
        backed.thaw();
        let all = requests(&backed.node, || drop(backed.run()));
        let oom: (&str, Happens) = ("out of memory", |node| node.dies(137, true));
        for (at, request) in all.iter().enumerate().step_by(2) {
            for (what, happens) in HANDS.into_iter().chain([oom]).filter(|(what, _)| *what != "removed") {
                let story = format!("a backup, its container {what} at request {at}, {request}");
                let run = || in_the_middle(&backed.node, at, BACKUP, backed.args(), happens);
                let mend = || {
                    handed_back(&backed.node);
                    backed.node.found_again(backed.found);
                };
                ends.count(backed.is_mended(&story, run, mend));
            }
        }
    }
    ends.at_least(120, 130);
}

#[test]
fn a_node_that_is_killed_for_want_of_memory_while_its_snapshot_is_taken_is_told_so() {
    let backed = Backed::running();
    backed.thaw();
    assert_eq!(backed.run()["changed"], true);
    let is_snapshot = |call: &String| call.starts_with("nodetool snapshot");
    let nth = backed.node.commands().iter().position(is_snapshot).expect("a snapshot") + 1;
    let mut told = Value::Null;
    let run = || {
        backed.node.fail_call(nth, CallFault::Hangs);
        let run = backed.node.start_module(BACKUP, backed.args());
        while !backed.node.hangs() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        backed.node.dies(137, true);
        told = run.finish();
        told.clone()
    };
    let mend = || {
        backed.node.heal_calls();
        backed.node.found_again(RunState::Running);
    };
    assert!(backed.is_mended("out of memory", run, mend));
    let msg = told["msg"].as_str().unwrap();
    let begins = "container `node` was killed by the kernel: out of memory while `nodetool snapshot -t tonight` ran in it";
    assert!(msg.starts_with(begins), "{msg}");
}

#[test]
fn a_node_that_is_out_of_memory_over_and_over_is_told_so_by_a_backup() {
    let backed = Backed::running();
    backed.node.dies(137, true);
    let message = "container `node` is restarting over and over (killed by the kernel: out of memory). The node was \
                   not touched and no archive was made. give the container more memory, or Cassandra a smaller heap";
    assert_eq!(backed.run()["msg"], message);
}

/// It had no time to drain: what it had not flushed lies in its commit log.
#[test]
fn a_node_that_is_out_of_memory_while_it_stops_is_set_aside_as_it_was() {
    let scene = Scene::new(1, json!({}), |_| ());
    let args = scene.same_again().args();
    let told = in_the_middle(&scene.node, stop_of(&scene), RESTORE, args, |node| node.dies(137, true));
    let warning =
        "container `node` was killed by the kernel (out of memory): its previous data is set aside as it was";
    assert_eq!((&told["failed"], &told["warnings"]), (&Value::Null, &json!([warning])), "{told:#}");
    assert_eq!(scene.run(&Ask::RollBack).0["rolled_back"], true);
    assert_eq!(Served::by(&scene.node.dirs()), scene.previous.served);
}

/// Frozen, it would go on writing into what is being moved.
#[test]
fn a_container_that_somebody_starts_and_pauses_once_the_restore_has_stopped_it_ends_the_restore() {
    let scene = Scene::new(1, json!({}), |_| ());
    let (ask, stop) = (scene.same_again(), stop_of(&scene));
    let started_and_paused: Happens = |node| {
        node.start_by_hand();
        node.pause();
    };
    let message = "container `node` was paused by somebody else in the middle of the restore; and then: the Docker \
                   Engine failed to start container `node`: cannot start a paused container, try unpause instead. The \
                   previous data is back in place, but container `node` is not as it was found; run \
                   `cassandra_restore` with `state: rolled_back`";
    let mut told = Value::Null;
    let run = || {
        // After the stop; before the blocker, on which it would end.
        told = in_the_middle(&scene.node, stop + 1, RESTORE, ask.args(), started_and_paused);
        told.clone()
    };
    assert!(is_mended_after(&scene, &scene.start, &ask, message, run, || handed_back(&scene.node)));
    assert_eq!(told["msg"], message);
}

/// A supervisor: before the blocker is there it is stopped once more, behind it Cassandra ends by itself.
#[test]
fn a_container_that_somebody_starts_as_soon_as_it_is_stopped_is_restored_all_the_same() {
    let scene = Scene::new(1, json!({}), |_| ());
    let (ask, stop) = (scene.same_again(), stop_of(&scene));
    let warning = "container `node` was started by somebody else in the middle of the restore: Cassandra was kept from \
                   its data";
    // Behind the blocker it has ended before anybody looks.
    let seen = json!([warning]);
    for (after, warnings) in [(1, &seen), (2, &Value::Null), (3, &Value::Null)] {
        scene.node.thaw(&scene.start);
        let told = in_the_middle(&scene.node, stop + after, RESTORE, ask.args(), FakeNode::start_by_hand);
        assert_eq!((&told["failed"], &told["warnings"]), (&Value::Null, warnings), "{after}: {told:#}");
        assert_eq!(scene.run(&Ask::RollBack).0["rolled_back"], true);
        assert_eq!(Served::by(&scene.node.dirs()), scene.previous.served);
    }
}

/// Which of the requests of a restore is the stop.
fn stop_of(scene: &Scene) -> usize {
    scene.node.thaw(&scene.start);
    let all = requests(&scene.node, || drop(scene.run(&scene.same_again())));
    scene.node.thaw(&scene.start);
    all.iter().position(|request| request.starts_with("POST /containers/node/stop")).expect("a stop")
}
