//! One node of a cluster whose other nodes are up, and a node that would refuse to start on the archive.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{FakeNode, check_mode};
use super::{backed_up, reason, restore};

/// A node whose tables, as their snapshots say, forget deleted rows after so many seconds.
fn forgetting_after(seconds: u64) -> FakeNode {
    let node = FakeNode::running().with_peers(2).after("nodetool snapshot", move |dirs| {
        for snapshot in dirs.snapshots("nightly") {
            let path = snapshot.join("schema.cql");
            if let Ok(schema) = fs::read_to_string(&path) {
                fs::write(path, schema.replace("864000", &seconds.to_string())).unwrap();
            }
        }
    });
    backed_up(node)
}

#[test]
fn a_node_of_a_live_cluster_is_not_restored_from_before_gc_grace() {
    let node = forgetting_after(1);
    sleep(Duration::from_millis(1100));
    let before = (node.tree(), node.changes());
    let why = format!(
        "`{}` is 0 hours old, older than the gc_grace_seconds of `ks1.users` (1), and other nodes are up: rows that \
         were \
         deleted since would come back; to roll back a whole cluster go by `state: staged`, `swapped`, `started` on all \
         nodes, to take this risk set `force: true`",
        node.archive("nightly").display()
    );
    assert_eq!(reason(&node, json!({})), why);
    assert!(restore(&node, check_mode(json!({})))["msg"].as_str().unwrap().starts_with(&why));
    assert!((node.tree(), node.changes()) == before);
    assert_eq!(restore(&node, json!({"state": "staged"}))["changed"], true);
    assert_eq!(restore(&node, json!({"force": true}))["changed"], true);
}

#[test]
fn counters_of_a_live_cluster_are_told_and_deletes_that_are_forgotten_at_once_are_not() {
    let node = FakeNode::running().with_peers(2).after("nodetool snapshot", |dirs| {
        for path in dirs.snapshots("nightly").iter().map(|snapshot| snapshot.join("schema.cql")) {
            if let Ok(schema) = fs::read_to_string(&path) {
                let schema = schema.replace("864000", "0").replace("    city text\n", "    views counter\n");
                fs::write(path, schema).unwrap();
            }
        }
    });
    let node = backed_up(node);
    let result = restore(&node, json!({}));
    assert_eq!(result["changed"], true, "{result:#}");
    let warning = format!(
        "`ks1.users` in `{}` holds counters: this node would count on from the archive's, and increments since can \
         be lost \
         until it is repaired; keep its clients away until then",
        node.archive("nightly").display()
    );
    assert_eq!(result["warnings"], json!([warning]));
}

#[test]
fn one_within_gc_grace_and_the_only_node_of_a_cluster_are_restored() {
    let node = forgetting_after(864_000);
    let result = restore(&node, json!({}));
    assert_eq!((&result["changed"], result.get("warnings")), (&json!(true), None), "{result:#}");
    let node = backed_up(FakeNode::running());
    assert_eq!(restore(&node, json!({}))["failed"], Value::Null);
}

#[test]
fn a_cluster_whose_schema_has_changed_since_is_told() {
    let node = forgetting_after(864_000).with_table("ks1", "later", 1);
    let result = restore(&node, json!({}));
    assert_eq!(
        result["warnings"],
        json!([format!(
            "the schema of `{}` is another one than the cluster has now: tables that were dropped or altered since \
             may come \
             back with this node",
            node.archive("nightly").display()
        )])
    );
}

/// With these lines in its cassandra.yaml, and no others but for its directories and its port.
fn configured(node: FakeNode, lines: &str) -> FakeNode {
    let dirs = node.dirs();
    let [data, commitlog] = [&dirs.data[0], &dirs.commitlog].map(|dir| dir.display().to_string());
    let [hints, caches] = [&dirs.hints, &dirs.saved_caches].map(|dir| dir.display().to_string());
    let config = format!(
        "native_transport_port: {}\ndata_file_directories: ['{data}']\ncommitlog_directory: '{commitlog}'\n\
         hints_directory: '{hints}'\nsaved_caches_directory: '{caches}'\n{lines}\n",
        node.port()
    );
    node.file_inside("/etc/cassandra/cassandra.yaml", &config)
}

/// The next start goes by the configuration of today, whoever the running node says that it is.
#[test]
fn settings_that_were_changed_since_the_node_was_started_are_told_before_it_is_touched() {
    let node = configured(backed_up(FakeNode::running()), "num_tokens: 256");
    let (archive, changes) = (node.archive("nightly"), node.changes());
    let why = format!(
        "cassandra.yaml says `num_tokens: 256`, and `{}` is of a node with `16`: Cassandra would refuse to start; \
         set it as it \
         was",
        archive.display()
    );
    assert_eq!(reason(&node, json!({"force": true})), why);
    assert_eq!(node.changes(), changes);
    node.stop();
    assert_eq!(reason(&node, json!({"force": true})), why);
    assert_eq!(restore(&configured(node, "num_tokens: 16"), json!({}))["changed"], true);
}

/// A container that is made again has the image's own cassandra.yaml until its entry point writes another.
#[test]
fn settings_of_a_container_that_was_never_started_are_a_warning() {
    let lost = backed_up(FakeNode::running());
    let archive = lost.archive("nightly");
    let node = configured(FakeNode::created(), "num_tokens: 256");
    let result = restore(&node, check_mode(json!({"tag": null, "src": archive})));
    let warning = format!(
        "cassandra.yaml says `num_tokens: 256`, and `{}` is of a node with `16`: where its first start leaves that so, \
         Cassandra refuses to start, and this is rolled back",
        archive.display()
    );
    let warnings = result["warnings"].as_array().expect("warnings");
    assert!(warnings.contains(&json!(warning)), "{result:#}");
}

#[test]
fn sstables_that_the_configuration_refuses_are_told_before_the_node_is_touched() {
    let node = FakeNode::running().with_table("ks1", "users", 1);
    let table = node.dirs().table("ks1", "users");
    for entry in fs::read_dir(&table).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        fs::rename(entry.path(), table.join(name.replace("nb-1-", "nb-3gi1_0cqj-"))).unwrap();
    }
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    assert_eq!(made["failed"], Value::Null, "{made:#}");
    let node = configured(node, "uuid_sstable_identifiers_enabled: false");
    let changes = node.changes();
    assert_eq!(
        reason(&node, json!({})),
        format!(
            "`{}` holds sstables with ids that are not numbers, such as `nb-3gi1_0cqj-big-CompressionInfo.db`, and \
             cassandra.yaml says `uuid_sstable_identifiers_enabled: false`: Cassandra would refuse to start; set it to true",
            node.archive("nightly").display()
        )
    );
    assert_eq!(node.changes(), changes);
}
