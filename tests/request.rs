//! What args mean once they are accepted.

use std::path::PathBuf;
use std::time::Duration;

use cassandra_backup::ansible::args::Args;
use cassandra_backup::ansible::options::Module;
use cassandra_backup::ansible::request::*;
use cassandra_backup::effort::Effort;
use serde_json::{Value, json};

fn environment(name: &str) -> Option<String> {
    match name {
        "HOME" => Some("/home/op".to_string()),
        "DOCKER_HOST" => Some("unix:///run/user/1000/docker.sock".to_string()),
        _ => None,
    }
}

fn parse(module: Module, args: Value) -> Request {
    let args = Args::check_with(module.spec(), args.as_object().unwrap().clone(), &environment);
    Request::parse(module, &args).unwrap_or_else(|error| panic!("{error}"))
}

fn backup(args: Value) -> BackupRequest {
    match parse(Module::Backup, args) {
        Request::Backup(request) => request,
        other => panic!("{other:?}"),
    }
}

fn present(args: Value) -> Present {
    match backup(args).goal {
        BackupGoal::Present(present) => present,
        goal => panic!("{goal:?}"),
    }
}

fn restore(args: Value) -> RestoreRequest {
    match parse(Module::Restore, args) {
        Request::Restore(request) => request,
        other => panic!("{other:?}"),
    }
}

fn refused(module: Module, args: Value) -> String {
    let args = Args::check_with(module.spec(), args.as_object().unwrap().clone(), &|_| None);
    Request::parse(module, &args).expect_err("it is accepted").to_string()
}

#[test]
fn a_backup_needs_a_container_and_nothing_else() {
    let request = backup(json!({"container_name": "cassandra"}));

    assert_eq!(request.mode, RunMode { check: false, diff: false });
    assert_eq!(request.backup_dir, PathBuf::from("/opt/cassandra/backup"));
    let access = request.access;
    assert_eq!(access.docker_socket, PathBuf::from("/run/user/1000/docker.sock"));
    assert_eq!(access.state_dir, PathBuf::from("/var/lib/cassandra_backup"));
    assert_eq!(access.wait_timeout, Duration::from_secs(600));
    assert_eq!(access.stop_timeout, Duration::from_secs(120));
    assert!(access.jmx_password.is_none() && access.jmx_port.is_none() && access.nodetool_flags.is_empty());
    let BackupGoal::Present(goal) = request.goal else { panic!("absent") };
    assert_eq!(goal.container, "cassandra");
    assert!(goal.keyspaces.is_empty() && goal.exclude_keyspaces.is_empty());
    assert_eq!((goal.compression, goal.when_stopped), (Compression::Fast, WhenStopped::Start));
    assert_eq!((goal.verify, goal.keep_snapshot, goal.force), (true, false, false));
    assert_eq!(goal.rate_limit, None);
    assert_eq!(goal.effort, Effort { threads: Effort::default_threads(), low_priority: true });
    assert_eq!((goal.file.owner, goal.file.group, goal.file.mode), (None, None, 0o600));
}

#[test]
fn a_backup_without_a_tag_is_named_after_the_time() {
    let tag = backup(json!({"container": "c", "tag": null})).tag;
    let shape: String = tag.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "00000000T000000Z", "{tag}");
}

#[test]
fn strings_for_everything_do_as_well() {
    let request = backup(json!({
        "container": "c", "name": "nightly", "wait_timeout": "30", "jmx_port": "7199", "nodetool_flags": "--ssl,-Dx=y",
        "jmx_password": "s3cret", "backup_dir": "~/backup", "jmx_username": "op", "docker_host": "/run/docker.sock",
        "_ansible_check_mode": true, "_ansible_diff": true,
    }));
    assert_eq!(request.tag, "nightly");
    assert_eq!(request.mode, RunMode { check: true, diff: true });
    assert_eq!(request.backup_dir, PathBuf::from("/home/op/backup"));
    assert_eq!(request.access.docker_socket, PathBuf::from("/run/docker.sock"));
    assert_eq!(request.access.wait_timeout, Duration::from_secs(30));
    assert_eq!(request.access.jmx_port, Some(7199));
    assert_eq!(request.access.nodetool_flags, ["--ssl", "-Dx=y"]);
    assert_eq!(request.access.jmx_username.as_deref(), Some("op"));
    assert_eq!(request.access.jmx_password.as_ref().map(Secret::reveal), Some("s3cret"));
    assert!(!format!("{request:?}").contains("s3cret"));

    let goal = present(
        json!({"container": "c", "keyspaces": "ks1, ks2,", "force": "yes", "compression": "none", "owner": "",
            "rate_limit": "1.5 MB", "threads": "3", "low_priority": "no"}),
    );
    assert_eq!(goal.keyspaces, ["ks1", "ks2"]);
    assert_eq!((goal.force, goal.compression, goal.file.owner), (true, Compression::None, None));
    assert_eq!(goal.rate_limit, Some(3 << 19));
    assert_eq!(goal.effort, Effort { threads: 3, low_priority: false });
}

#[test]
fn an_archive_is_removed_without_a_container() {
    let request = backup(json!({"state": "absent", "tag": "old"}));
    assert!(matches!(request.goal, BackupGoal::Absent));
    assert_eq!(request.tag, "old");
}

#[test]
fn a_mode_is_octal_digits_or_what_yaml_makes_of_them() {
    for (given, mode) in [
        (json!("0600"), 0o600),
        (json!("600"), 0o600),
        (json!("0o640"), 0o640),
        (json!(384), 0o600),
        (json!(0o644), 0o644),
    ] {
        assert_eq!(present(json!({"container": "c", "mode": given})).file.mode, mode, "{given}");
    }
}

#[test]
fn a_mode_that_lost_its_quotes_or_its_sense_is_refused() {
    for given in [
        json!(600),
        json!(640),
        json!(644),
        json!(660),
        json!(664),
        json!(666),
        json!(400),
        json!(440),
        json!(444),
        json!("u=rw"),
        json!("0800"),
        json!("+600"),
        json!("-600"),
        json!(""),
        json!("4600"),
        json!("0755"),
        json!("0200"),
        json!("0620"),
        json!("0"),
        json!(-1),
        json!(true),
        json!([]),
        json!(384.5),
    ] {
        let message = refused(Module::Backup, json!({"container": "c", "mode": given}));
        assert!(message.starts_with("`mode` cannot be the mode of an archive: "), "{given}: {message}");
    }
}

#[test]
fn a_restore_names_its_archive_in_one_of_three_ways() {
    let source = |args: Value| restore(args).source;
    let backup_dir = PathBuf::from("/b");
    assert!(matches!(
        source(json!({"container": "c", "src": "$HOME/a.tgz"})),
        Some(Source::File(path)) if path.as_os_str() == "/home/op/a.tgz"
    ));
    assert!(matches!(
        source(json!({"container": "c", "tag": "t", "backup_dir": "/b"})),
        Some(Source::Tag { backup_dir: dir, tag }) if dir == backup_dir && tag == "t"
    ));
    assert!(matches!(
        source(json!({"container": "c", "tag": "latest", "backup_dir": "/b"})),
        Some(Source::Latest { backup_dir: dir }) if dir == backup_dir
    ));
    assert!(source(json!({"container": "c", "state": "rolled_back"})).is_none());
}

#[test]
fn a_restore_does_all_of_it_unless_told_otherwise() {
    let request = restore(json!({"container": "c", "tag": "t"}));
    assert_eq!(
        (request.state, request.repair, request.start),
        (RestoreState::Restored, Repair::Auto, Start::Auto)
    );
    assert_eq!((request.keep_previous, request.force), (true, false));
}

#[test]
fn every_choice_of_the_table_has_a_meaning() {
    for module in Module::ALL {
        for fact in module.spec().facts {
            for choice in fact.choices {
                let mut args = json!({"container": "c", "tag": "t"});
                args[fact.name] = json!(choice);
                if *choice == "in_place" {
                    args["give_up_previous"] = json!(true);
                }
                parse(module, args);
            }
        }
    }
}

#[test]
fn information_needs_nothing() {
    let Request::Info(request) = parse(Module::Info, json!({})) else { panic!("not info") };
    assert_eq!((request.container, request.tag, request.verify), (None, None, false));
    assert_eq!(request.backup_dir, PathBuf::from("/opt/cassandra/backup"));
}

#[test]
fn an_empty_option_with_a_default_is_refused_and_an_empty_path_of_an_archive_too() {
    assert_eq!(refused(Module::Info, json!({"backup_dir": ""})), "`backup_dir` is empty");
    assert_eq!(refused(Module::Info, json!({"state_dir": ""})), "`state_dir` is empty");
    assert_eq!(refused(Module::Restore, json!({"container": "c", "src": ""})), "`src` is empty");
}

#[test]
fn what_is_not_the_name_of_a_keyspace_is_refused() {
    assert_eq!(
        refused(Module::Backup, json!({"container": "c", "keyspaces": ["ks1", "ks.users"]})),
        "`keyspaces` holds what cannot be the name of a keyspace: ks.users"
    );
}
