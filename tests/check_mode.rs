//! Check mode and diff tell the truth: for every state and starting point, `--check --diff` says what the run
//! that follows then does, and changes nothing.

mod backups;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use backups::{damage, nightly};
use serde_json::{Value, json};
use support::{FakeNode, Fault, check_mode, tree};

const BACKUP: &str = "cassandra_backup";
const RESTORE: &str = "cassandra_restore";

/// Where a node and its archives stand before the run.
type Start = fn() -> FakeNode;

fn node() -> FakeNode {
    FakeNode::running().with_table("ks1", "users", 2)
}

fn backed_up() -> FakeNode {
    let node = node();
    nightly(&node);
    node
}

fn stopped() -> FakeNode {
    let node = backed_up();
    node.stop();
    node
}

fn blank_stopped() -> FakeNode {
    let node = node();
    node.stop();
    node
}

fn at(state: &str) -> FakeNode {
    let node = backed_up();
    let reached = node.run_module(RESTORE, json!({"tag": "nightly", "state": state}));
    assert_eq!(reached["restore"]["state"], state, "{reached:#}");
    node
}

fn swapped_back() -> FakeNode {
    let node = at("restored");
    node.run_module(RESTORE, json!({"tag": null, "state": "swapped_back"}));
    node
}

fn rolled_back() -> FakeNode {
    let node = at("restored");
    node.run_module(RESTORE, json!({"tag": null, "state": "rolled_back"}));
    node
}

fn damaged() -> FakeNode {
    let node = backed_up();
    damage(&node.archive("nightly"));
    node
}

/// All that a file system tells of every file below, but when it was last read; not of `root` itself, in which
/// each run's args file comes and goes.
fn all_of(root: &Path) -> BTreeMap<PathBuf, [i64; 10]> {
    let mut found = BTreeMap::new();
    for name in tree(root).into_keys() {
        let path = root.join(name);
        let is = fs::symlink_metadata(&path).unwrap();
        let times = [is.mtime(), is.mtime_nsec(), is.ctime(), is.ctime_nsec()];
        let [inode, size, links] = [is.ino(), is.size(), is.nlink()].map(|number| number as i64);
        let owner = [i64::from(is.uid()), i64::from(is.gid()), i64::from(is.mode())];
        found.insert(path, [&times[..], &[inode, size, links], &owner].concat().try_into().unwrap());
    }
    found
}

/// Whether a request to the Engine only reads, or begins a command that does.
fn only_reads(request: &str) -> bool {
    request.starts_with("GET ")
        || request.starts_with("HEAD ")
        || request.ends_with("/exec")
        || (request.starts_with("POST /exec/") && request.ends_with("/start"))
}

/// Runs it in check mode, then for real, and compares. The real run's result.
fn foretold(module: &str, start: impl Fn() -> FakeNode, args: Value) -> Value {
    let node = start();
    let before = (all_of(node.host()), tree(node.host()), node.run_state(), node.changes());
    let requests = node.engine.requests().len();
    let foretold = node.run_module(module, check_mode(args.clone()));
    for request in node.engine.requests().iter().skip(requests) {
        assert!(only_reads(&request.to_string()), "{request} by {args}");
    }
    // Commands too: `changes` knows those of nodetool that only ask.
    assert_eq!((node.run_state(), node.changes()), (before.2, before.3), "{args}");
    assert!(tree(node.host()) == before.1 && all_of(node.host()) == before.0, "a file was touched by {args}");

    let mut real_args = args.clone();
    real_args["_ansible_diff"] = json!(true);
    let real = node.run_module(module, real_args);
    for key in ["changed", "failed", "error", "diff"] {
        assert_eq!(foretold[key], real[key], "{key} of {module} {args}: {foretold:#} but {real:#}");
    }
    if foretold["failed"] == true {
        assert_eq!(foretold["hint"], real["hint"]);
    } else if let Some(left) = real["diff"]["after"]["container"].as_str().filter(|left| !left.contains(' '))
    {
        assert_eq!(real["container"]["left"], left, "{module} {args}");
    }
    // Its own prediction for the state that it has reached is kept as well.
    real
}

fn backup(start: Start, args: Value) -> Value {
    foretold(BACKUP, start, with_tag(args))
}

fn with_tag(mut args: Value) -> Value {
    if args.get("tag").is_none() && args.get("src").is_none() {
        args["tag"] = json!("nightly");
    }
    args
}

fn error(result: &Value) -> &str {
    result["error"].as_str().unwrap_or_default()
}

#[test]
fn a_backup_that_is_made() {
    for start in [node as Start, blank_stopped] {
        assert_eq!(backup(start, json!({}))["changed"], true);
    }
    for args in [
        json!({"keyspaces": ["ks1"]}),
        json!({"force": true}),
        json!({"force": true, "mode": "0640", "compression": "best", "keep_snapshot": true, "verify": false}),
        json!({"tag": "weekly"}),
    ] {
        let start = if args.get("keyspaces").is_some() { node as Start } else { backed_up };
        assert_eq!(backup(start, args)["changed"], true);
    }
}

#[test]
fn a_backup_that_is_there() {
    for start in [backed_up as Start, stopped] {
        assert_eq!(backup(start, json!({}))["changed"], false);
        let settled = backup(start, json!({"mode": "0640"}));
        assert_eq!(settled["changed"], true);
        assert_eq!(settled["diff"]["before"]["archive"]["mode"], "0600");
        assert_eq!(settled["diff"]["after"]["archive"]["mode"], "0640");
    }
    let lost = || {
        let node = backed_up();
        fs::remove_file(node.backup_dir().join("nightly.tgz.sha256")).unwrap();
        node
    };
    assert_eq!(foretold(BACKUP, lost, json!({"tag": "nightly"}))["diff"]["before"]["checksum"], "missing");
}

#[test]
fn a_backup_that_cannot_be() {
    let cases: [(&str, Start, Value); 11] = [
        ("archive_exists", damaged, json!({})),
        ("archive_exists", backed_up, json!({"keyspaces": ["ks1"]})),
        ("bad_option", node, json!({"keyspaces": ["nowhere"]})),
        ("bad_option", node, json!({"owner": "nobody.of.that.name"})),
        ("bad_option", node, json!({"tag": "latest"})),
        ("container_absent", node, json!({"container": "other"})),
        ("container_paused", || FakeNode::running().paused(), json!({})),
        ("container_restarting", || FakeNode::running().restarting(), json!({})),
        ("container_stopped", blank_stopped, json!({"when_stopped": "fail"})),
        ("nodetool_missing", node, json!({"nodetool_path": "/nowhere/nodetool"})),
        ("restore_unfinished", || at("swapped"), json!({"tag": "weekly"})),
    ];
    for (word, start, args) in cases {
        assert_eq!(error(&backup(start, args.clone())), word, "{args}");
    }
    let asks_for_a_password = || node().jmx_auth("ops", "s3cret");
    let refused = foretold(BACKUP, asks_for_a_password, json!({"tag": "nightly"}));
    assert_eq!(error(&refused), "nodetool_failed");
}

#[test]
fn a_backup_that_goes() {
    let gone = |start: Start| {
        foretold(BACKUP, start, json!({"tag": "nightly", "state": "absent", "container": null}))
    };
    assert_eq!(gone(backed_up)["changed"], true);
    assert_eq!(gone(damaged)["changed"], true);
    assert_eq!(gone(node)["changed"], false);
}

#[test]
fn a_restore_to_every_state_from_every_phase() {
    let starts: [(&str, Start); 9] = [
        ("running", backed_up),
        ("stopped", stopped),
        ("staged", || at("staged")),
        ("swapped", || at("swapped")),
        ("started", || at("started")),
        ("restored", || at("restored")),
        ("swapped_back", swapped_back),
        ("rolled_back", rolled_back),
        ("crash-looping", || backed_up().restarting()),
    ];
    let phases = ["staged", "swapped", "started", "restored"];
    for (name, start) in starts {
        for (index, state) in phases.iter().enumerate() {
            let result = foretold(RESTORE, start, json!({"tag": "nightly", "state": state}));
            assert_eq!(result["failed"], Value::Null, "{state} from {name}: {result:#}");
            let from = phases.iter().position(|phase| *phase == name);
            let is_new = from.is_none_or(|from| index > from);
            assert_eq!(result["changed"], is_new, "{state} from {name}");
        }
    }
}

#[test]
fn a_roll_back_from_every_phase() {
    let back = |start: Start| foretold(RESTORE, start, json!({"tag": null, "state": "rolled_back"}));
    for (start, data) in [
        ((|| at("staged")) as Start, "live"),
        (|| at("swapped"), "of "),
        (|| at("started"), "of "),
        (|| at("restored"), "of "),
    ] {
        let result = back(start);
        assert_eq!(result["changed"], true);
        assert!(result["diff"]["before"]["data"].as_str().unwrap().starts_with(data), "{result:#}");
    }
    assert_eq!(back(rolled_back)["changed"], false);
    let stopped = json!({"tag": null, "state": "swapped_back"});
    for state in ["staged", "swapped", "started", "restored"] {
        assert_eq!(foretold(RESTORE, || at(state), stopped.clone())["changed"], true, "{state}");
    }
    assert_eq!(foretold(RESTORE, swapped_back, stopped)["changed"], false);
    assert_eq!(back(swapped_back)["changed"], true);
    assert_eq!(error(&back(backed_up)), "no_previous_data");
}

#[test]
fn a_restore_that_cannot_be() {
    let restored = |start: Start, args: Value| foretold(RESTORE, start, with_tag(args));
    let with_args: [(&str, Start, Value); 9] = [
        // One flipped byte of the data: only a reading of all of it finds that.
        ("archive_damaged", damaged, json!({})),
        ("archive_missing", backed_up, json!({"tag": "weekly"})),
        ("bad_option", backed_up, json!({"tag": null})),
        ("container_paused", || backed_up().paused(), json!({})),
        ("nodetool_missing", backed_up, json!({"nodetool_path": "/nowhere/nodetool"})),
        ("refused", || backed_up().auto_remove(), json!({})),
        ("refused", || backed_up().labelled("com.docker.swarm.task.id", "1"), json!({})),
        ("restore_unfinished", || with_another_archive("swapped"), json!({"tag": "weekly"})),
        ("no_previous_data", no_previous, json!({"tag": null, "state": "rolled_back"})),
    ];
    for (word, start, args) in with_args {
        assert_eq!(error(&restored(start, args.clone())), word, "{args}");
    }
}

fn with_another_archive(state: &str) -> FakeNode {
    let node = backed_up();
    node.run_module(BACKUP, json!({"tag": "weekly"}));
    node.run_module(RESTORE, json!({"tag": "nightly", "state": state}));
    node
}

fn no_previous() -> FakeNode {
    let node = backed_up();
    node.run_module(RESTORE, json!({"tag": "nightly", "keep_previous": false}));
    node
}

#[test]
fn a_disk_that_is_not_mounted_any_more() {
    let unmounted = |state: &'static str| {
        move || {
            let node = at(state);
            fs::remove_file(node.dirs().storage.join(".cassandra_restore-data/run")).unwrap();
            node
        }
    };
    for state in ["swapped", "started"] {
        let forth = foretold(RESTORE, unmounted(state), json!({"tag": "nightly"}));
        let back = foretold(RESTORE, unmounted(state), json!({"tag": null, "state": "rolled_back"}));
        for result in [forth, back] {
            assert!(result["msg"].as_str().unwrap().contains("mounted?"), "{result:#}");
        }
    }
}

#[test]
fn a_node_at_which_another_run_is_at_work() {
    let node = backed_up();
    let stop = node.engine.hold("POST /containers/node/stop");
    let run = node.start_module(RESTORE, json!({"tag": "nightly"}));
    stop.wait_until_reached();
    for (module, args) in [
        (BACKUP, json!({"tag": "weekly"})),
        (RESTORE, json!({"tag": "nightly"})),
        (RESTORE, json!({"tag": null, "state": "rolled_back"})),
    ] {
        let foretold = node.run_module(module, check_mode(args.clone()));
        let real = node.run_module(module, args.clone());
        assert_eq!((&foretold["error"], &foretold["msg"]), (&real["error"], &real["msg"]), "{module} {args}");
    }
    stop.open();
    assert_eq!(run.finish()["changed"], true);
}

#[test]
fn looking_is_the_same_in_check_mode() {
    let args = json!({"verify": true});
    let result = foretold("cassandra_backup_info", backed_up, args);
    assert_eq!((&result["changed"], &result["backups"][0]["verified"]), (&json!(false), &json!(true)));
}

#[test]
fn an_engine_that_fails_fails_both() {
    let silent = || {
        let node = backed_up();
        node.engine.fail("GET /containers/node/json", Fault::Status(500, "out of order"));
        node
    };
    for module in [BACKUP, RESTORE] {
        assert_eq!(error(&foretold(module, silent, json!({"tag": "nightly"}))), "engine_failed");
    }
}
