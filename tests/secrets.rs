//! A password is in no output, whatever Ansible's switches are, and nothing is written down of a run.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{FakeNode, tree};

const SECRET: &str = "s3cret";

/// Switches of Ansible's that make a module say more, or less.
fn switches() -> [Value; 4] {
    [
        json!({}),
        json!({"_ansible_no_log": true}),
        json!({"_ansible_verbosity": 5, "_ansible_debug": true}),
        json!({"_ansible_no_log": true, "_ansible_verbosity": 5, "_ansible_tracebacks_for": ["error", "warning"]}),
    ]
}

fn with(mut args: Value, more: &Value) -> Value {
    more.as_object().unwrap().iter().for_each(|(name, value)| args[name] = value.clone());
    args
}

/// Runs that fail in different places, with nodetool and the container repeating the password.
fn failures(node: &FakeNode, password: &Value) -> Vec<Value> {
    let password = with(json!({"jmx_username": "op"}), password);
    let run = |module, args: Value| node.run_module(module, with(args, &password));
    vec![
        run("cassandra_backup", json!({"state": format!("not-{SECRET}")})),
        run("cassandra_backup", json!({"tag": format!("{SECRET}.")})),
        run("cassandra_backup", json!({"container": format!("no_{SECRET}")})),
        run("cassandra_backup", json!({"tag": "nightly"})),
        run("cassandra_restore", json!({"tag": SECRET})),
        run("cassandra_restore", json!({"src": format!("/{SECRET}.tgz")})),
        run("cassandra_backup_info", json!({"container": format!("no_{SECRET}")})),
    ]
}

#[test]
fn a_failing_run_repeats_no_password_whatever_the_switches_are() {
    let node = FakeNode::running().with_table("ks1", "users", 1).jmx_auth("op", SECRET);
    let node = node.failing_on("nodetool tablestats", 1, &format!("error: cannot log in with {SECRET}"));
    let file = node.host().join("password");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let before = tree(node.host());

    for more in switches() {
        for password in [json!({"jmx_password": SECRET}), json!({"jmx_password_file": file})] {
            let results = failures(&node, &with(password.clone(), &more));
            for result in &results {
                assert_eq!(result["failed"], true, "{result:#}");
                // Where the file's name is no option yet, its content is not known to be secret.
                let is_known = password.get("jmx_password").is_some() || result["error"] != "bad_option";
                assert!(!is_known || !result.to_string().contains(SECRET), "{more} {result:#}");
            }
            let told =
                "`nodetool tablestats` failed in container `node` (exit code 1): cannot log in with ********";
            let msg = results[3]["msg"].as_str().unwrap();
            assert!(msg.starts_with(told), "{msg}");
        }
    }

    // Neither a log nor anything else of it is left.
    let mut after = tree(node.host());
    after.retain(|path, _| !path.starts_with("state"));
    assert!(after == before);
    for path in fs::read_dir(node.state_dir()).unwrap().map(|entry| entry.unwrap().path()) {
        for note in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            assert!(!fs::read_to_string(&note).unwrap().contains(SECRET), "{}", note.display());
        }
    }
}

#[test]
fn the_switches_change_nothing_in_a_result() {
    let node = FakeNode::running().with_table("ks1", "users", 1);
    let results = switches().map(|more| {
        let mut result = node.run_module("cassandra_backup", with(json!({"container": "other"}), &more));
        result.as_object_mut().unwrap().remove("steps");
        result
    });
    assert!(results.iter().all(|result| result == &results[0]), "{results:#?}");
    assert_eq!(results[0]["error"], "container_absent");
}
