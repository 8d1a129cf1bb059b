//! The second run: an archive that is there already, check mode, a node that is not started for nothing.

mod backups;
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use backups::{RUNNING, UNTOUCHED, backup, damage, manifest, mode, nightly, refusal, told};
use cassandra_backup::archive::reader::Archive;
use cassandra_backup::docker::RunState;
use cassandra_backup::error::tell;
use serde_json::{Value, json};
use support::{FakeNode, check_mode, tree};

const HINT: &str = "choose another `tag`, remove it with `state: absent`, or replace it with `force: true`";

fn small() -> FakeNode {
    FakeNode::running().with_table("ks1", "users", 1)
}

fn unchanged(archive: &Path) -> String {
    format!("`{}` exists, verifies and is this node's", archive.display())
}

/// An archive that is in the way, and why.
fn in_the_way(archive: &Path, why: &str) -> String {
    format!("`{}` exists already, but {why}. {UNTOUCHED}. {HINT}", archive.display())
}

/// What a full reading says of an archive.
fn verdict(archive: &Path) -> String {
    let verified = Archive::open(archive).and_then(|archive| archive.verify(2, &mut |_| {}));
    tell(&verified.unwrap_err()).message
}

#[test]
fn a_backup_that_is_there_is_left_alone() {
    let node = small();
    let first = nightly(&node);
    let (host, changes) = (tree(node.host()), node.changes());

    let second = nightly(&node);

    assert_eq!(second["changed"], false);
    assert_eq!(second["msg"], unchanged(&node.archive("nightly")));
    assert_eq!(second["backup"], first["backup"]);
    assert_eq!(second.get("diff"), None);
    assert!(tree(node.host()) == host);
    assert_eq!(node.changes(), changes);
}

#[test]
fn a_node_is_not_started_to_be_told_that_its_backup_is_there() {
    let node = small();
    nightly(&node);
    node.stop();

    for when_stopped in ["start", "fail"] {
        let result = backup(&node, json!({"tag": "nightly", "when_stopped": when_stopped}));
        assert_eq!((result["changed"].as_bool(), result.get("warnings")), (Some(false), None), "{result:#}");
        assert_eq!(result["container"]["left"], "exited");
    }

    assert_eq!(node.run_state(), RunState::Exited);
    assert!(!node.changes().iter().any(|change| change.ends_with("/start")));
}

#[test]
fn a_stopped_node_that_nothing_is_remembered_of_is_worth_a_warning() {
    let node = small();
    nightly(&node);
    node.stop();
    fs::remove_dir_all(node.state_dir()).unwrap();

    let result = nightly(&node);

    assert_eq!(result["changed"], false);
    let warning = format!(
        "container `node` is stopped and was never seen running by this module, so it could not be checked that `{}` is \
         this node's archive",
        node.archive("nightly").display()
    );
    assert_eq!(result["warnings"], json!([warning]));
}

#[test]
fn an_archive_of_another_node_is_in_the_way() {
    let (node, other) = (small(), small());
    nightly(&node);
    nightly(&other);
    let archive = node.archive("nightly");
    for file in ["nightly.tgz", "nightly.tgz.sha256"] {
        fs::copy(other.backup_dir().join(file), node.backup_dir().join(file)).unwrap();
    }
    let why = format!("it is of another node: host_id {}, not {}", other.host_id(), node.host_id());

    let while_running = refusal(&node, json!({"tag": "nightly"}));
    node.stop();
    let while_stopped = refusal(&node, json!({"tag": "nightly"}));

    for (word, message) in [while_running, while_stopped] {
        assert_eq!((word.as_str(), message), ("archive_exists", in_the_way(&archive, &why)));
    }
}

#[test]
fn a_damaged_archive_is_in_the_way_until_it_is_forced() {
    let node = small();
    nightly(&node);
    let archive = node.archive("nightly");
    damage(&archive);

    let (word, message) = refusal(&node, json!({"tag": "nightly"}));
    let why = format!("it does not verify: {}", verdict(&archive));
    assert_eq!((word.as_str(), message), ("archive_exists", in_the_way(&archive, &why)));

    let forced = backup(&node, json!({"tag": "nightly", "force": true}));
    assert_eq!(forced["changed"], true, "{forced:#}");
    assert_eq!(nightly(&node)["changed"], false);
}

#[test]
fn what_is_no_archive_is_in_the_way() {
    let node = small();
    nightly(&node);
    let archive = node.archive("nightly");
    let whole = fs::read(&archive).unwrap();
    let cut = &whole[..whole.len() / 2];
    let damaged = format!("the archive `{}` is damaged: ", archive.display());
    for (content, why) in [
        (cut, format!("{damaged}it was cut short or overwritten: its last 51 bytes are not its footer")),
        (b"".as_slice(), format!("{damaged}it is empty")),
        (
            &[b'x'; 500],
            format!("`{}` is not an archive of this module: it has no table of contents", archive.display()),
        ),
    ] {
        fs::write(&archive, content).unwrap();
        let (word, message) = refusal(&node, json!({"tag": "nightly"}));
        let why = format!("it does not verify: {why}");
        assert_eq!((word.as_str(), message), ("archive_exists", in_the_way(&archive, &why)));
    }
}

#[test]
fn a_checksum_of_another_archive_is_told() {
    let node = small();
    nightly(&node);
    let archive = node.archive("nightly");
    let checksum = node.backup_dir().join("nightly.tgz.sha256");
    fs::write(&checksum, format!("{}  nightly.tgz\n", "0".repeat(64))).unwrap();

    let (word, message) = refusal(&node, json!({"tag": "nightly"}));

    let why = format!("it does not verify: {}", verdict(&archive));
    assert_eq!((word.as_str(), message), ("archive_exists", in_the_way(&archive, &why)));
}

#[test]
fn force_makes_a_newer_archive_under_the_same_name() {
    let node = small();
    nightly(&node);
    node.write("ks1", "users");

    let result = backup(&node, json!({"tag": "nightly", "force": true}));

    assert_eq!(result["changed"], true, "{result:#}");
    let users = |archive: &Path| {
        manifest(archive).tables.into_iter().find(|table| table.table == "users").map(|table| table.sstables)
    };
    assert_eq!(users(&node.archive("nightly")), Some(2));
    assert_eq!(nightly(&node)["backup"]["sha256"], result["backup"]["sha256"]);
}

#[test]
fn an_archive_of_other_keyspaces_is_in_the_way() {
    let node = small().with_table("ks2", "orders", 1);
    let archive = node.archive("nightly");
    let refused = |made: Value, asked: Value, holds: &str| {
        assert_eq!(backup(&node, made.clone())["changed"], true);
        assert_eq!(backup(&node, made)["changed"], false);
        let (word, message) = refusal(&node, asked);
        let why = format!("it holds other keyspaces: {holds}");
        assert_eq!((word.as_str(), message), ("archive_exists", in_the_way(&archive, &why)));
        fs::remove_dir_all(node.backup_dir()).unwrap();
    };
    let whole = json!({"tag": "nightly"});
    let one = json!({"tag": "nightly", "keyspaces": ["ks1"]});
    let both = json!({"tag": "nightly", "keyspaces": ["ks1", "ks2"]});
    let without = json!({"tag": "nightly", "exclude_keyspaces": ["ks1"]});
    let all = "ks1, ks2, system, system_auth, system_distributed, system_schema, system_traces";

    refused(whole.clone(), one.clone(), all);
    refused(whole.clone(), without.clone(), all);
    refused(one.clone(), whole.clone(), "ks1");
    refused(one.clone(), both, "ks1");
    refused(json!({"tag": "nightly", "keyspaces": ["ks2"]}), without.clone(), "ks2");
    refused(one.clone(), without.clone(), "ks1");
    refused(without, whole, "ks2, system, system_auth, system_distributed, system_schema, system_traces");
}

#[test]
fn an_owner_or_mode_that_drifted_is_corrected_once() {
    let node = small();
    nightly(&node);
    let archive = node.archive("nightly");
    fs::set_permissions(&archive, Permissions::from_mode(0o644)).unwrap();
    let run = |args: Value| {
        let result = backup(&node, args);
        (result["changed"] == true, result["msg"].as_str().unwrap().to_owned())
    };
    let said = |what: &str| format!("{}{what}", unchanged(&archive));
    let group =
        rustix::process::getegid().as_raw() + if rustix::process::geteuid().is_root() { 7 } else { 0 };

    assert_eq!(
        run(check_mode(json!({"tag": "nightly"}))),
        (true, said("; its owner, group, mode or checksum file would be corrected"))
    );
    assert_eq!(mode(&archive), 0o644);
    assert_eq!(
        run(json!({"tag": "nightly"})),
        (true, said("; its owner, group, mode or checksum file was corrected"))
    );
    assert_eq!(mode(&archive), 0o600);
    assert_eq!(run(json!({"tag": "nightly"})), (false, said("")));

    let given = json!({"tag": "nightly", "group": group.to_string(), "mode": "0640"});
    assert!(run(given.clone()).0);
    for file in ["nightly.tgz", "nightly.tgz.sha256"] {
        let about = fs::metadata(node.backup_dir().join(file)).unwrap();
        assert_eq!((about.gid(), about.mode() & 0o7777), (group, 0o640));
    }
    assert_eq!(run(given), (false, said("")));
}

#[test]
fn owner_group_and_mode_are_those_asked_for_from_the_beginning() {
    let node = small();
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());

    let result = backup(
        &node,
        json!({"tag": "nightly", "owner": own.0.to_string(), "group": own.1.to_string(), "mode": "0644"}),
    );

    assert_eq!(result["changed"], true, "{result:#}");
    assert_eq!(mode(&node.archive("nightly")), 0o644);
    let (word, message) = refusal(&node, json!({"tag": "weekly", "owner": "nobody-knows"}));
    let expected = format!(
        "`owner` is `nobody-knows`, which `/etc/passwd` does not list. {UNTOUCHED}. give it as a number, which works with \
         directory services too"
    );
    assert_eq!((word.as_str(), message), ("bad_option", expected));
}

#[test]
fn check_mode_says_what_would_be_done_and_does_nothing() {
    let node = small();
    let archive = node.archive("nightly");
    let asked = |args: Value| {
        let (host, changes) = (tree(node.host()), node.changes());
        let result = backup(&node, args);
        assert!(tree(node.host()) == host);
        assert_eq!(node.changes(), changes);
        result
    };
    let diff = |before: Value| {
        let after = json!({"state": "present", "made": "now"});
        json!({"before_header": archive, "before": before, "after_header": archive, "after": after})
    };
    let absent = diff(json!({"state": "absent"}));

    let first = asked(check_mode(json!({"tag": "nightly"})));
    assert_eq!((first["changed"].as_bool(), &first["diff"]), (Some(true), &absent));
    assert_eq!(first["msg"], format!("`{}` would be made", archive.display()));
    assert_eq!(first["container"]["left"], "running");
    let quiet = asked(json!({"tag": "nightly", "_ansible_check_mode": true}));
    assert_eq!((quiet["changed"].as_bool(), quiet.get("diff")), (Some(true), None));

    let real = backup(&node, json!({"tag": "nightly", "_ansible_diff": true}));
    assert_eq!((real["changed"].as_bool(), &real["diff"]), (Some(true), &absent));

    assert_eq!(asked(check_mode(json!({"tag": "nightly"})))["changed"], false);
    let forced = asked(check_mode(json!({"tag": "nightly", "force": true})));
    let present = diff(json!({"state": "present", "made": real["backup"]["created"]}));
    assert_eq!((forced["changed"].as_bool(), &forced["diff"]), (Some(true), &present));
}

#[test]
fn check_mode_does_not_start_a_stopped_node() {
    let node = small();
    node.stop();

    let result = backup(&node, check_mode(json!({"tag": "nightly"})));

    assert_eq!((result["changed"].as_bool(), node.run_state()), (Some(true), RunState::Exited));
    assert_eq!(node.changes(), [""; 0]);
    assert!(!node.backup_dir().exists() && !node.state_dir().exists());
}

#[test]
fn a_backup_of_a_running_node_needs_jmx_to_say_whose_archive_it_is() {
    let node = small();
    nightly(&node);
    let node = node.jmx_auth("backup", "s3cret");

    let result = backup(&node, json!({"tag": "nightly"}));

    let message = format!(
        "`nodetool info -T` failed in container `node` (exit code 2): Authentication failed! Credentials required. \
         {UNTOUCHED}. set `jmx_username` and `jmx_password` to those that Cassandra's JMX knows"
    );
    assert_eq!(told(&result), ("nodetool_failed", message.as_str()));
    let given = backup(&node, json!({"tag": "weekly", "jmx_username": "backup"}));
    assert_eq!(told(&given).1, message.replace(UNTOUCHED, RUNNING));
}
