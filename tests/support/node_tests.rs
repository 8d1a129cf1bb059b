//! The fake node: that it does with its files what Cassandra does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cassandra_backup::docker::RunState;
use serde_json::json;

use super::support::FakeNode;
use super::{exec, with};

#[test]
fn a_snapshot_is_hard_links_of_every_live_table_with_its_manifest() {
    let node = FakeNode::running()
        .with_table("ks1", "users", 2)
        .with_index("ks1", "users", "users_by_city")
        .with_empty_table("ks1", "empty")
        .with_dropped_table("ks1", "old");
    let (code, said, _) = exec(&node, &["nodetool", "snapshot", "-t", "x"]);
    let head = "Requested creating snapshot(s) for [all keyspaces] with snapshot name [x] and options {skipFlush=false}\n";
    assert_eq!((code, said), (0, format!("{head}Snapshot directory: x\n")));

    let table = node.dirs().table("ks1", "users");
    let snapshot = table.join("snapshots/x");
    let inode = |file: &Path| fs::metadata(file).unwrap().ino();
    assert_eq!(inode(&snapshot.join("nb-2-big-Data.db")), inode(&table.join("nb-2-big-Data.db")));
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(snapshot.join("manifest.json")).unwrap()).unwrap();
    let listed = ["nb-1-big-Data.db", "nb-2-big-Data.db", ".users_by_city/nb-1-big-Data.db"];
    assert_eq!(manifest["files"], json!(listed));
    assert!(fs::read_to_string(snapshot.join("schema.cql")).unwrap().contains(") WITH ID = "));
    assert!(node.dirs().table("ks1", "empty").join("snapshots/x/manifest.json").exists());
    assert!(!node.dirs().table("ks1", "old").join("snapshots/x").exists());
    assert!(!node.dirs().table("system", "local").join("snapshots/x/schema.cql").exists());

    let (code, said, error) = exec(&node, &["nodetool", "snapshot", "-t", "x"]);
    assert_eq!((code, said.as_str()), (2, head));
    assert!(error.starts_with("error: Snapshot x already exists.\n-- StackTrace --\n"), "{error}");
    exec(&node, &["nodetool", "clearsnapshot", "-t", "x"]);
    assert_eq!(node.snapshots().into_iter().collect::<Vec<_>>(), ["dropped-1795421386961-old"]);
    let (_, said, _) = exec(&node, &["nodetool", "tablestats", "ks1"]);
    let tables: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("Table")).collect();
    assert_eq!(tables, ["Table: empty", "Table: users", "Table (index): users.users_by_city"]);
}

#[test]
fn a_table_is_lost_silently_and_a_hook_takes_a_file_away() {
    let node = FakeNode::running()
        .with_table("ks1", "users", 1)
        .with_table("ks1", "other", 1)
        .silently_losing("ks1.users")
        .after("nodetool snapshot", |dirs| {
            fs::remove_file(dirs.table("ks1", "other").join("snapshots/x/nb-1-big-Index.db")).unwrap();
        });
    assert_eq!(exec(&node, &["nodetool", "snapshot", "-t", "x"]).0, 0);
    assert!(!node.dirs().table("ks1", "users").join("snapshots/x").exists());
    assert!(!node.dirs().table("ks1", "other").join("snapshots/x/nb-1-big-Index.db").exists());
    assert!(node.dirs().table("ks1", "other").join("nb-1-big-Index.db").exists());
}

#[test]
fn several_data_directories_share_the_sstables_and_have_one_manifest() {
    let node = FakeNode::running().data_directories(2).with_table("ks1", "users", 3);
    exec(&node, &["nodetool", "snapshot", "-t", "x", "--", "ks1"]);
    let [first, second] = node.dirs().snapshots("x").try_into().unwrap();
    assert!(first.join("nb-1-big-Data.db").exists() && second.join("nb-2-big-Data.db").exists());
    assert!(first.join("manifest.json").exists() && !second.join("manifest.json").exists());
}

#[test]
fn who_a_node_is_and_what_it_has_come_from_its_files() {
    let one = FakeNode::stopped().with_table("ks1", "users", 1);
    let other = FakeNode::stopped().with_table("ks2", "things", 1);
    let (from, to) = (&one.dirs().data[0], &other.dirs().data[0]);
    fs::remove_dir_all(to).unwrap();
    let copied =
        std::process::Command::new("cp").args(["-a".as_ref(), from.as_os_str(), to.as_os_str()]).status();
    assert!(copied.unwrap().success());
    other.start();
    assert_eq!((other.host_id(), other.tables()), (one.host_id(), vec!["ks1.users".to_owned()]));
    assert!(!other.starts()[1].is_new_node);
    assert_eq!(other.user_data(), one.user_data());
}

#[test]
fn an_empty_data_directory_makes_a_new_node_and_a_blocked_one_none() {
    let node = FakeNode::stopped().with_table("ks1", "users", 1).restart_policy("no");
    let (data, host_id) = (node.dirs().data[0].clone(), node.host_id());
    fs::rename(data.join("system"), data.join("gone")).unwrap();
    fs::write(data.join("system"), "a restore is under way").unwrap();
    let before = node.tree();
    node.start();
    assert_eq!((node.run_state(), node.exit_code()), (RunState::Exited, 3));
    assert_eq!(node.tree(), before);
    fs::remove_file(data.join("system")).unwrap();
    node.start();
    assert_eq!(node.run_state(), RunState::Running);
    assert_ne!(node.host_id(), host_id);
    assert!(node.starts()[1].is_new_node);
}

#[test]
fn a_node_that_dies_on_start_is_restarted_over_and_over_and_its_log_says_why() {
    let node = FakeNode::stopped().dying_on_start();
    let log = with(&node, async |container| {
        container.start().await.unwrap();
        container.last_log_lines(1).await
    });
    assert_eq!(log, "ERROR [main] Exception encountered during startup: the test says so\n");
    assert_eq!((node.run_state(), node.exit_code()), (RunState::Restarting, 1));
    let node = FakeNode::stopped().cluster_name("Renamed").restart_policy("no");
    node.start();
    assert_eq!((node.run_state(), node.exit_code()), (RunState::Exited, 3));
    assert!(
        node.log().ends_with("Saved cluster name Test Cluster != configured name Renamed\n"),
        "{}",
        node.log()
    );
}

#[test]
fn writes_are_flushed_at_a_stop_and_replayed_after_a_kill() {
    let node = FakeNode::running().with_table("ks1", "users", 1);
    let sstables = || fs::read_dir(node.dirs().table("ks1", "users")).unwrap().count() / 8;
    node.write("ks1", "users");
    assert!(exec(&node, &["nodetool", "tablestats", "ks1.users"]).1.contains("Memtable cell count: 1\n"));
    node.stop();
    node.start();
    assert_eq!((sstables(), node.starts()[1].replayed.len()), (2, 0));
    node.write("ks1", "users");
    let node = node.stubborn();
    node.stop();
    assert_eq!(
        (node.exit_code(), fs::read_dir(node.dirs().table("ks1", "users")).unwrap().count() / 8),
        (137, 2)
    );
    node.start();
    assert_eq!(node.starts()[2].replayed, ["ks1.users"]);
}

#[test]
fn clients_can_connect_while_the_node_is_ready_and_not_before() {
    let node = FakeNode::stopped().ready_after(5);
    let listens = || std::net::TcpStream::connect(("127.0.0.1", node.port())).is_ok();
    assert!(!listens());
    node.start();
    let (code, _, said) = exec(&node, &["nodetool", "status"]);
    assert_eq!(code, 1);
    assert!(said.ends_with("ConnectException: 'Connection refused'.\n"), "{said}");
    assert!(listens());
    assert!(
        exec(&node, &["nodetool", "status"])
            .1
            .contains(&format!("UN  172.17.0.2  311.99 KiB  16      100.0%            {}", node.host_id()))
    );
    exec(&node, &["nodetool", "drain"]);
    assert!(!listens());
    assert_eq!(exec(&node, &["nodetool", "statusbinary"]).1, "not running\n");
}

#[test]
fn repair_says_what_a_real_one_says() {
    let node =
        FakeNode::running().with_table("ks1", "users", 1).with_table("ks3", "users", 1).replicas("ks3", 3);
    let repair = |keyspace| exec(&node, &["nodetool", "repair", "-full", "--", keyspace]);
    assert!(repair("ks1").1.ends_with("Replication factor is 1. No repair is needed for keyspace 'ks1'\n"));
    let (code, said, error) = repair("ks3");
    assert_eq!(code, 2);
    assert!(
        said.contains("Nothing to repair for") && error.starts_with("error: Repair job has failed"),
        "{said}{error}"
    );
    let node = node.with_peers(2);
    let (code, said, _) = exec(&node, &["nodetool", "repair", "-full", "-pr", "ks3"]);
    assert_eq!(code, 0);
    assert!(said.contains("Repair completed successfully\n"), "{said}");
    let (_, cluster, _) = exec(&node, &["nodetool", "describecluster"]);
    assert!(
        cluster.contains("ks3 -> Replication class: SimpleStrategy {replication_factor=3}\n"),
        "{cluster}"
    );
}
