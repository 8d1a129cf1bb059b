//! Other releases than 5.0: what nodetool, snapshots and layouts of theirs have of their own, as seen on real nodes.

mod backups;
mod support;

use std::fs;
use std::path::Path;

use backups::{RUNNING, backup, manifest, names, nightly, told};
use serde_json::{Value, json};
use support::{Dirs, FakeNode};

const HOME: &str = "/opt/apache-cassandra-2.1.2";

fn restore(node: &FakeNode) -> Value {
    let result = node.run_module("cassandra_restore", json!({"tag": "nightly"}));
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    result
}

/// As before 3.0, which has no `hints_directory`.
fn yaml(node: &FakeNode) -> String {
    let dirs = node.dirs();
    format!(
        "cluster_name: Test Cluster\ndata_file_directories: [{}]\ncommitlog_directory: {}\nsaved_caches_directory: {}\n\
         native_transport_port: {}\n",
        dirs.data[0].display(),
        dirs.commitlog.display(),
        dirs.saved_caches.display(),
        node.port()
    )
}

fn by_hand(node: FakeNode) -> FakeNode {
    let config = yaml(&node);
    node.unpacked_in(HOME, &config)
}

#[test]
fn a_node_unpacked_by_hand_is_found_by_the_command_of_its_container_running_and_stopped() {
    let node = by_hand(FakeNode::running().with_table("ks1", "users", 1));
    nightly(&node);
    assert_eq!(restore(&node)["changed"], true);
    node.stop();
    assert_eq!(backup(&node, json!({"tag": "stopped"}))["changed"], true);
    assert_eq!(restore(&node)["changed"], true);
}

#[test]
fn hints_in_the_containers_own_layer_are_out_of_reach_where_there_are_or_may_be_some() {
    let hints = format!("{HOME}/data/hints");
    let node = by_hand(FakeNode::running()).file_inside(&format!("{hints}/1.hints"), "");
    for node in [node, by_hand(FakeNode::created())] {
        let result = node.run_module("cassandra_restore", json!({"tag": "nightly"}));
        let (word, message) = told(&result);
        let expected = format!(
            "`{hints}` of container `node` cannot be found on this host: it lies in the container's own layer, not on a mount"
        );
        assert!(word == "host_path" && message.starts_with(&expected), "{message}");
    }
}

#[test]
fn a_java_that_refuses_nodetools_address_is_told_to_take_it_and_that_is_told() {
    let node = FakeNode::running()
        .with_table("ks1", "users", 1)
        .refusing_addresses()
        .env("JAVA_TOOL_OPTIONS", "-Da=b");
    let environment = "JAVA_TOOL_OPTIONS=-Da=b -Dcom.sun.jndi.rmiURLParsing=legacy";
    let warning = format!(
        "nodetool works in this container with `{environment}` only: its Java refuses the address that nodetool of this \
         Cassandra gives it (`rmi://[127.0.0.1]`); it was told so for each call here, and would be for everybody's by the \
         container's environment"
    );
    assert_eq!(nightly(&node)["warnings"], json!([warning]));
    assert_eq!(restore(&node)["warnings"], json!([warning]));
    // Each run finds out once.
    let refused = node.calls().into_iter().filter(|call| call.env.is_empty()).count();
    assert_eq!(refused, 2);
    assert!(node.calls().iter().all(|call| call.env.is_empty() || call.env == [environment]));

    let node = node.failing_on("nodetool snapshot", 2, "error: No space left on device\n");
    let result = backup(&node, json!({"tag": "full"}));
    let message = format!(
        "`nodetool snapshot -t full` failed in container `node` (exit code 2): No space left on device. {RUNNING}. see \
         `docker logs` and try the command with `docker exec`"
    );
    assert_eq!(told(&result), ("nodetool_failed", message.as_str()));
}

/// A node of this version, where something is done to the snapshot of an indexed table as soon as it was taken.
fn indexed(version: &str, change: impl Fn(&Dirs, &Path) + Send + Sync + 'static) -> FakeNode {
    let node = FakeNode::running().version(version).with_table("ks1", "users", 2);
    node.with_index("ks1", "users", "by_city").after("nodetool snapshot", move |dirs| {
        change(dirs, &dirs.table("ks1", "users").join("snapshots/nightly"));
    })
}

/// What 3.11.5 and 2.2.4 write: the index's own list, over the table's.
fn overwritten(files: &'static str) -> impl Fn(&Dirs, &Path) + Send + Sync + 'static {
    move |_, snapshot| fs::write(snapshot.join("manifest.json"), format!("{{\"files\":[{files}]}}")).unwrap()
}

#[test]
fn before_4_0_the_manifest_of_a_table_with_indexes_speaks_of_one_of_them_only() {
    for version in ["2.2.4", "3.11.5"] {
        for files in ["\"nb-1-big-Data.db\"", ""] {
            let node = indexed(version, overwritten(files));
            nightly(&node);
            let archived = names(&node.archive("nightly"));
            let data =
                archived.iter().filter(|name| name.starts_with("ks1/users-") && name.ends_with("-Data.db"));
            assert_eq!(data.count(), 3, "{archived:#?}");
        }
        let result =
            backup(&indexed(version, overwritten("\"nb-9-big-Data.db\"")), json!({"tag": "nightly"}));
        assert!(told(&result).1.contains("`nb-9-big-Data.db` of table `ks1.users` is missing"), "{result:#}");
    }
    let result = backup(&indexed("4.0.17", overwritten("\"nb-1-big-Data.db\"")), json!({"tag": "nightly"}));
    assert!(
        told(&result).1.contains(
            "the `manifest.json` of table `ks1.users` lacks `.by_city/nb-1-big-Data.db`; the `manifest.json` of table \
             `ks1.users` lacks `nb-2-big-Data.db`"
        ),
        "{result:#}"
    );
}

/// `ks1-users.by_city-ka-1-Data.db` beside `ks1-users-ka-1-Data.db`.
#[test]
fn in_2_1_the_files_of_an_index_lie_beside_the_tables() {
    let node = indexed("2.1.2", |dirs, snapshot| {
        let rename = |dir: &Path, prefix: &str| {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file())
            {
                let name = entry.file_name().into_string().unwrap();
                if let Some(rest) = name.strip_prefix("nb-") {
                    let name = format!("ks1-{prefix}-ka-{}", rest.replace("-big-", "-"));
                    fs::rename(entry.path(), snapshot.join(name)).unwrap();
                }
            }
        };
        rename(&snapshot.join(".by_city"), "users.by_city");
        fs::remove_dir(snapshot.join(".by_city")).unwrap();
        rename(snapshot, "users");
        overwritten("\"ks1-users.by_city-ka-1-Data.db\"")(dirs, snapshot);
    });
    nightly(&node);
    let archived = names(&node.archive("nightly"));
    for name in ["ks1-users-ka-1-Data.db", "ks1-users-ka-2-Data.db", "ks1-users.by_city-ka-1-Data.db"] {
        assert!(archived.iter().any(|path| path.ends_with(&format!("/{name}"))), "{name}: {archived:#?}");
    }
    assert_eq!(manifest(&node.archive("nightly")).sstable_formats, ["ka", "nb-big"]);
    assert!(node.commands().iter().any(|line| line == "nodetool cfstats"));
}

#[test]
fn the_tables_that_held_the_schema_before_3_0_are_no_tables_of_3_11() {
    let schema_table = "system/schema_keyspaces-b0f2235744583cdb9631c43e59ce3676";
    let node = FakeNode::running().version("3.11.5").with_table("ks1", "users", 1);
    let node = node.after("nodetool snapshot", move |dirs| {
        let snapshot = dirs.data[0].join(schema_table).join("snapshots/nightly");
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(snapshot.join("manifest.json"), "{\"files\":[]}").unwrap();
    });
    nightly(&node);
    assert!(!names(&node.archive("nightly")).iter().any(|name| name.contains("schema_keyspaces")));
}

#[test]
fn what_could_not_be_restored_is_not_backed_up() {
    let node = FakeNode::running().version("5.1.0").with_table("ks1", "users", 1);
    let before = node.changes();
    let result = backup(&node, json!({"tag": "nightly"}));
    let message = format!(
        "Cassandra 5.1.0 cannot be backed up: Cassandra 5.1 and later keep the cluster's metadata in a log that is not \
         restored yet. {RUNNING}"
    );
    assert_eq!(told(&result), ("refused", message.as_str()));
    assert_eq!(node.changes(), before);
    backups::assert_cleared(&node);
}
