//! Bad input and bad surroundings: each is told in whole sentences, before anything is touched.

#[path = "bad_inputs/archives.rs"]
mod archives;
mod backups;
#[path = "bad_inputs/containers.rs"]
mod containers;
#[path = "bad_inputs/directories.rs"]
mod directories;
#[path = "bad_inputs/engine.rs"]
mod engine;
#[path = "bad_inputs/mounts.rs"]
mod mounts;
#[path = "bad_inputs/nodetool.rs"]
mod nodetool;
#[path = "bad_inputs/options.rs"]
mod options;
#[path = "bad_inputs/rejoining.rs"]
mod rejoining;
#[path = "bad_inputs/restores.rs"]
mod restores;
mod support;
#[path = "bad_inputs/targets.rs"]
mod targets;

use backups::UNTOUCHED as NO_BACKUP;
use serde_json::{Value, json};
use support::{FakeNode, check_mode, tree_with_times};

const BACKUP: &str = "cassandra_backup";
const RESTORE: &str = "cassandra_restore";
const INFO: &str = "cassandra_backup_info";

/// What a restore says where nothing at all was done.
const UNTOUCHED: &str = "The node was not touched";

/// The three modules, and how each says that it changed nothing.
const MODULES: [(&str, &str); 3] = [(BACKUP, NO_BACKUP), (RESTORE, UNTOUCHED), (INFO, "Nothing was changed")];

fn backed_up(node: FakeNode) -> FakeNode {
    let node = node.with_table("ks1", "users", 2);
    let made = node.run_module(BACKUP, json!({"tag": "nightly"}));
    assert_eq!(made["failed"], Value::Null, "{made:#}");
    node
}

fn restore(node: &FakeNode, args: Value) -> Value {
    node.run_module(RESTORE, nightly(args))
}

fn nightly(args: Value) -> Value {
    let mut all = json!({"tag": "nightly"});
    args.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    all
}

/// The word and the whole message of a run that must touch nothing: no file of the host, not even the time of a
/// directory; no container, no snapshot.
fn refused_once(node: &FakeNode, module: &str, args: Value) -> (String, String) {
    let before = (node.run_state(), node.changes(), tree_with_times(node.host()));
    let result = node.run_module(module, args);
    assert_eq!((&result["failed"], &result["changed"]), (&json!(true), &json!(false)), "{result:#}");
    assert_eq!((node.run_state(), node.changes()), (before.0, before.1), "{result:#}");
    let now = tree_with_times(node.host());
    let differs = now.iter().find(|(path, entry)| before.2.get(*path) != Some(entry));
    // Too much to be shown as a whole.
    assert!(now.len() == before.2.len() && differs.is_none(), "{differs:?}: {result:#}");
    let text = |key: &str| result[key].as_str().unwrap().to_owned();
    (text("error"), text("msg"))
}

/// [`refused_once`], and the same in check mode.
fn refusal(node: &FakeNode, module: &str, args: Value) -> (String, String) {
    let told = refused_once(node, module, args.clone());
    assert_eq!(refused_once(node, module, check_mode(args)), told);
    told
}

/// [`refusal`] of a restore.
fn refused(node: &FakeNode, args: Value) -> (String, String) {
    refusal(node, RESTORE, nightly(args))
}

/// One reason why a restore is not begun, in full.
fn reason(node: &FakeNode, args: Value) -> String {
    let (error, msg) = refused(node, args);
    assert_eq!(error, "refused", "{msg}");
    msg.strip_suffix(UNTOUCHED)
        .and_then(|msg| msg.strip_suffix(". "))
        .unwrap_or_else(|| panic!("{msg}"))
        .to_owned()
}

/// A backup says so, and touches nothing.
fn assert_refused(node: &FakeNode, args: Value, word: &str, failure: &str, hint: &str) {
    let told = refusal(node, BACKUP, args);
    assert_eq!(told, (word.to_owned(), format!("{failure}. {NO_BACKUP}. {hint}")));
}

fn refuses(node: &FakeNode, word: &str, failure: &str, hint: &str) {
    assert_refused(node, json!({"tag": "nightly"}), word, failure, hint);
}

/// Each of the modules says so, and touches nothing.
fn all_refuse(node: &FakeNode, args: Value, word: &str, failure: &str, hint: &str) {
    for (module, untouched) in MODULES {
        let told = refusal(node, module, nightly(args.clone()));
        assert_eq!(told, (word.to_owned(), format!("{failure}. {untouched}. {hint}")), "{module}");
    }
}
