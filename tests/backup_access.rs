//! How the node is reached: where its configuration and nodetool lie, and what JMX wants to know.

mod backups;
mod support;

use std::fs;

use backups::{backup, files, nightly};
use serde_json::json;
use support::{FakeNode, NodetoolAt};

#[test]
fn nodetool_is_found_in_the_usual_places_or_where_the_option_says() {
    for (place, path) in [
        (NodetoolAt::Path, "/usr/local/bin/nodetool"),
        (NodetoolAt::CassandraHome, "/srv/cassandra/bin/nodetool"),
        (NodetoolAt::Opt, "/opt/apache-cassandra-5.0.5/bin/nodetool"),
    ] {
        let node = FakeNode::running().nodetool_at(place);
        nightly(&node);
        assert!(node.calls().iter().all(|call| call.argv[0] == path), "{place:?}");

        let given = backup(&node, json!({"tag": "given", "nodetool_path": path}));
        assert_eq!(given["changed"], true, "{given:#}");
    }
}

#[test]
fn the_configuration_is_found_wherever_it_is() {
    let yaml = |node: &FakeNode| {
        let dirs = node.dirs();
        let [data, commitlog] = [&dirs.data[0], &dirs.commitlog].map(|dir| dir.display().to_string());
        let [hints, caches] = [&dirs.hints, &dirs.saved_caches].map(|dir| dir.display().to_string());
        format!(
            "data_file_directories: [{data}]\ncommitlog_directory: {commitlog}\nhints_directory: {hints}\n\
             saved_caches_directory: {caches}\nnative_transport_port: {}\n",
            node.port()
        )
    };
    let broken = |node: FakeNode| node.file_inside("/etc/cassandra/cassandra.yaml", ":");

    let node = FakeNode::running();
    let text = yaml(&node);
    let node = broken(node).file_inside("/srv/my.yaml", &text);
    assert_eq!(backup(&node, json!({"config_file": "/srv/my.yaml"}))["changed"], true);

    let node = FakeNode::running();
    let text = yaml(&node);
    let node = node
        .symlink_inside("/etc/cassandra/cassandra.yaml", "../cassandra-5/cassandra.yaml")
        .symlink_inside("/etc/cassandra-5", "/srv/conf")
        .file_inside("/srv/conf/cassandra.yaml", &text);
    nightly(&node);

    let node = FakeNode::running();
    let text = yaml(&node);
    let node =
        broken(node).env("CASSANDRA_CONF", "/srv/conf/").file_inside("/srv/conf/cassandra.yaml", &text);
    nightly(&node);

    nightly(&FakeNode::running().unset_directories());
    nightly(&FakeNode::stopped().unset_directories());
}

#[test]
fn a_password_reaches_nodetool_on_its_standard_input_only() {
    let node = FakeNode::running().jmx_auth("backup", "s3cret").jmx_port(7299);
    let file = node.host().join("password");
    fs::write(&file, "s3cret\nand a second line\n").unwrap();
    for (tag, option, value) in
        [("one", "jmx_password", json!("s3cret")), ("two", "jmx_password_file", json!(file))]
    {
        let result = backup(
            &node,
            json!({"tag": tag, "jmx_username": "backup", "jmx_port": 7299, "nodetool_flags": ["--print-port"], option: value}),
        );
        assert_eq!(result["changed"], true, "{result:#}");
        assert!(!result.to_string().contains("s3cret"));
    }
    let flags = ["--print-port", "-p", "7299", "-u", "backup", "-pwf", "/dev/stdin"];
    for call in node.calls() {
        assert_eq!(call.argv[1..=flags.len()], flags);
        assert_eq!(call.stdin, "backup s3cret\n");
    }
    assert!(node.engine.requests().iter().all(|request| !request.body.contains("s3cret")));
    assert_eq!(files(&node.backup_dir()), ["one.tgz", "one.tgz.sha256", "two.tgz", "two.tgz.sha256"]);
}
