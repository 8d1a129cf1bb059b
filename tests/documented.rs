//! Every key that a run returns is documented in `library/`, every documented one is returned by some run, and none
//! is one of Ansible's own.

mod backups;
mod support;
#[path = "restores/way_back.rs"]
mod way_back;

use std::collections::BTreeSet;
use std::fs;

use backups::meeting;
use cassandra_backup::ansible::options::Module;
use serde_json::{Map, Value, json};
use support::{FakeNode, check_mode};
use way_back::changed_since;

/// Common to all modules, and documented with Ansible.
const COMMON: [&str; 7] = ["changed", "failed", "warnings", "deprecations", "diff", "invocation", "msg"];
/// What Ansible does something with, or puts in itself.
const RESERVED: [&str; 20] = [
    "ansible_facts",
    "ansible_job_id",
    "ansible_loop_var",
    "attempts",
    "delta",
    "end",
    "exception",
    "finished",
    "item",
    "module_stderr",
    "module_stdout",
    "rc",
    "results",
    "retries",
    "skip_reason",
    "skipped",
    "started",
    "stderr",
    "stdout",
    "unreachable",
];

/// Results of all kinds of runs.
fn backups() -> Vec<Value> {
    let node = FakeNode::running().with_table("ks1", "users", 1);
    let run = |args: Value| node.run_module("cassandra_backup", args);
    vec![
        run(check_mode(json!({"tag": "nightly"}))),
        run(json!({"tag": "nightly"})),
        run(json!({"tag": "nightly"})),
        run(json!({"tag": "set", "state": "snapshot"})),
        run(json!({"tag": "set", "keep_last": 1})),
        run(json!({"tag": "set", "state": "released"})),
        run(json!({"tag": "nightly"})),
        run(check_mode(json!({"tag": "nightly", "state": "absent"}))),
        run(json!({"tag": "nightly", "state": "absent"})),
        run(json!({"tag": "a.b"})),
        run(json!({"container": "other", "container_name": "another"})),
    ]
}

fn restores() -> Vec<Value> {
    let node = changed_since(FakeNode::running());
    let run = |args: Value| node.run_module("cassandra_restore", args);
    let again = || {
        node.write("ks1", "users");
        run(json!({"tag": "nightly"}))
    };
    let mut results = vec![
        run(check_mode(json!({"tag": "nightly"}))),
        run(json!({"tag": "nightly", "state": "staged"})),
        run(json!({"tag": "nightly"})),
        again(),
        run(json!({"state": "rolled_back"})),
        run(json!({"tag": "weekly"})),
        run(json!({"container": "other", "tag": "nightly"})),
    ];
    let node = node.dying_on_start();
    results.push(node.run_module("cassandra_restore", json!({"tag": "nightly"})));
    assert!(results.last().unwrap().get("rolled_back").is_some(), "{results:#?}");
    results
}

fn infos() -> Vec<Value> {
    let node = changed_since(FakeNode::running());
    node.run_module("cassandra_restore", json!({"tag": "nightly", "state": "staged"}));
    fs::write(node.archive("broken"), "no archive").unwrap();
    let run = |node: &FakeNode, args: Value| node.run_module("cassandra_backup_info", args);
    let mut results = vec![
        run(&node, json!({"verify": true})),
        run(&node, json!({"container": "other"})),
        run(&node, json!({"tag": "?"})),
    ];
    node.run_module("cassandra_restore", json!({"state": "rolled_back"}));
    let (clear, stop) = meeting();
    let node = node.before("nodetool clearsnapshot", move |_| stop.keep());
    let backup = node.start_module("cassandra_backup", json!({"tag": "other"}));
    clear.wait();
    results.push(run(&node, json!({})));
    clear.end();
    backup.finish();
    results
}

fn results_of(module: Module) -> Vec<Value> {
    match module {
        Module::Backup => backups(),
        Module::Restore => restores(),
        Module::Info => infos(),
    }
}

/// Its keys are no names, but states of nodes.
const RING: &str = "snapshot.ring";

/// The keys with those below them: `backup`, `backup.tag`.
fn returned(prefix: &str, value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if prefix != RING => {
            for (name, part) in map {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                let is_common = prefix.is_empty() && COMMON.contains(&name.as_str()) && name != "msg";
                if !is_common {
                    returned(&key, part, keys);
                    keys.insert(key);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| returned(prefix, item, keys)),
        _ => {}
    }
}

fn documented(prefix: &str, values: &Map<String, Value>, keys: &mut BTreeSet<String>) {
    for (name, value) in values {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if let Some(parts) = value.get("contains").and_then(Value::as_object) {
            documented(&key, parts, keys);
        }
        keys.insert(key);
    }
}

#[test]
fn every_key_of_a_result_is_documented_and_every_documented_one_is_returned() {
    for module in Module::ALL {
        let path = format!("{}/library/{}.yml", env!("CARGO_MANIFEST_DIR"), module.name());
        let sidecar: Value = serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let (mut told, mut known) = (BTreeSet::new(), BTreeSet::new());
        documented("", sidecar["RETURN"].as_object().unwrap(), &mut known);
        for result in results_of(module) {
            returned("", &result, &mut told);
            let own = result.as_object().unwrap();
            let reserved =
                own.keys().find(|key| RESERVED.contains(&key.as_str()) || key.starts_with("_ansible_"));
            assert_eq!(reserved, None, "{result:#}");
            assert_eq!(own.contains_key("failed"), own.contains_key("error"), "{result:#}");
        }
        assert_eq!(told, known, "{}", module.name());
    }
}

/// What `rescue:` can rely on, as far as the run came.
#[test]
fn a_failure_says_what_failed_where_and_on_which_thing() {
    let node = changed_since(FakeNode::running()).failing_on("nodetool tablestats", 1, "error: broken");
    let keys = |result: &Value| {
        let known = ["error", "hint", "stage", "backup", "container", "changed"];
        known.into_iter().filter(|key| result.get(key).is_some()).collect::<Vec<_>>()
    };
    let failed = |module: &str, args: Value| {
        let result = node.run_module(module, args);
        assert_eq!((&result["failed"], &result["changed"]), (&json!(true), &json!(false)), "{result:#}");
        result
    };

    let option = failed("cassandra_backup", json!({"tag": "a b"}));
    assert_eq!(keys(&option), ["error", "hint", "stage", "changed"]);
    let backup = failed("cassandra_backup", json!({"tag": "other"}));
    assert_eq!(keys(&backup), ["error", "hint", "stage", "container", "changed"]);
    assert_eq!((&backup["stage"], &backup["container"]["left"]), (&json!("ask"), &json!("running")));

    // An archive of some keyspaces only: the run has come as far as to know the backup.
    let node = FakeNode::running().with_table("ks1", "users", 1);
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly", "keyspaces": "ks1"}));
    let refused = node.run_module("cassandra_restore", json!({"tag": "nightly"}));
    assert_eq!(keys(&refused), ["error", "stage", "backup", "container", "changed"]);
    assert_eq!((&refused["backup"], &refused["stage"]), (&made["backup"], &json!("preflight")));
}
