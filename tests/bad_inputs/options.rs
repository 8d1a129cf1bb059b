//! Each option's nonsense beyond its type, told before anybody is asked anything.

use serde_json::{Value, json};

use super::support::FakeNode;
use super::{BACKUP, INFO, MODULES, RESTORE, refusal};

const TAG: &str = "a tag is made of the letters A-Z and a-z, digits, `_` and `-` only";
const LATEST: &str = "`tag` cannot be `latest`: that is how `cassandra_restore` says the newest archive. choose another \
                      tag, or leave the option out";
const CONTAINER: &str = "set it to the name or id that `docker ps -a` shows on this host";
const HOST_PATH: &str = "a module has no working directory of its own: begin the path with `/`";
const ONE_LINE: &str = "a YAML block (`|`, `>`) ends in a line break: write the path on one line";
const EMPTY_PATH: &str = "give an absolute path, or leave the option out";
const FLAGS: &str = "`nodetool_flags` must not hold a password: `ps` would show it. use `jmx_password` or \
                     `jmx_password_file`";
const MODE: &str = "write it as quoted octal digits, such as \"0600\" or \"0640\"";
const KEYSPACE: &str = "give the names as `DESCRIBE KEYSPACES` shows them, without quotes";

/// The module says so, whole, and has not even spoken to the Engine.
fn told(node: &FakeNode, module: &str, args: Value, expected: &str) {
    let (word, message) = refusal(node, module, args.clone());
    assert_eq!((word.as_str(), message.as_str()), ("bad_option", expected), "{module}: {args}");
    assert!(node.engine.requests().is_empty(), "{module}: {args}");
}

/// What the modules need, and one option of them.
fn with(option: &str, value: &Value) -> Value {
    let mut args = json!({"tag": "t"});
    if option == "jmx_password_file" {
        args["jmx_username"] = json!("op");
    }
    args[option] = value.clone();
    args
}

#[test]
fn nonsense_in_an_option_that_all_modules_have_is_told() {
    let node = FakeNode::running();
    let elsewhere = |given: &str| {
        format!(
            "`docker_host` must be a Unix socket of this host, got: {given}. The module works on the host's own files, so \
             it has to run where the Engine runs. run the task on that host, and set `docker_host: \
             unix:///var/run/docker.sock` where DOCKER_HOST says otherwise"
        )
    };
    let seconds =
        |option: &str, given: i64| format!("`{option}` must be from 1 to 604800 seconds, got: {given}");
    let port = |given: i64| format!("`jmx_port` must be a port from 1 to 65535, got: {given}");
    let long = "t".repeat(300);
    let cases = [
        ("container", json!(""), format!("`container` is empty. {CONTAINER}")),
        ("container", json!("/node"), format!("`container` cannot be the name of a container: /node. {CONTAINER}")),
        ("container", json!("no de"), format!("`container` cannot be the name of a container: no de. {CONTAINER}")),
        ("container", json!("-node"), format!("`container` cannot be the name of a container: -node. {CONTAINER}")),
        ("container", json!("node\n"), format!("`container` cannot be the name of a container: node\n. {CONTAINER}")),
        ("tag", json!(""), "`tag` is empty. give a name, or leave the option out".to_owned()),
        ("tag", json!("a/b"), format!("`tag` holds '/': a/b. {TAG}")),
        ("tag", json!("../b"), format!("`tag` holds '.': ../b. {TAG}")),
        ("tag", json!("v1.2"), format!("`tag` holds '.': v1.2. {TAG}")),
        ("tag", json!(1.5), format!("`tag` holds '.': 1.5. {TAG}")),
        ("tag", json!("a b"), format!("`tag` holds ' ': a b. {TAG}")),
        ("tag", json!("nächtlich"), format!("`tag` holds 'ä': nächtlich. {TAG}")),
        ("tag", json!("nightly\n"), format!("`tag` holds '\\n': nightly\n. {TAG}")),
        ("tag", json!("2026-11-22T04:15"), format!("`tag` holds ':': 2026-11-22T04:15. {TAG}")),
        (
            "tag",
            json!(long),
            "`tag` is 300 bytes long, at most 200 are possible. the tag becomes a file name: choose a shorter one".to_owned(),
        ),
        ("docker_host", json!("tcp://10.0.0.1:2375"), elsewhere("tcp://10.0.0.1:2375")),
        ("docker_host", json!("ssh://db1"), elsewhere("ssh://db1")),
        ("docker_host", json!("docker.sock"), elsewhere("docker.sock")),
        ("docker_host", json!("unix://docker.sock"), elsewhere("unix://docker.sock")),
        ("docker_host", json!(""), elsewhere("")),
        (
            "docker_host",
            json!("unix:///run/docker.sock\n"),
            format!("`docker_host` holds a control character: unix:///run/docker.sock\\n. {ONE_LINE}"),
        ),
        ("backup_dir", json!(""), format!("`backup_dir` is empty. {EMPTY_PATH}")),
        ("backup_dir", json!("backup"), format!("`backup_dir` must be an absolute path of this host, got: backup. {HOST_PATH}")),
        ("backup_dir", json!("./b"), format!("`backup_dir` must be an absolute path of this host, got: ./b. {HOST_PATH}")),
        ("backup_dir", json!("/srv/b\n"), format!("`backup_dir` holds a control character: /srv/b\\n. {ONE_LINE}")),
        ("backup_dir", json!("/srv/b\0"), format!("`backup_dir` holds a control character: /srv/b\\0. {ONE_LINE}")),
        ("state_dir", json!(""), format!("`state_dir` is empty. {EMPTY_PATH}")),
        ("state_dir", json!("s"), format!("`state_dir` must be an absolute path of this host, got: s. {HOST_PATH}")),
        ("state_dir", json!("/s\t"), format!("`state_dir` holds a control character: /s\\t. {ONE_LINE}")),
        (
            "jmx_password_file",
            json!("secret"),
            format!("`jmx_password_file` must be an absolute path of this host, got: secret. {HOST_PATH}"),
        ),
        (
            "config_file",
            json!("cassandra.yaml"),
            "`config_file` must be an absolute path inside the container, got: cassandra.yaml. begin the path with `/`".to_owned(),
        ),
        ("config_file", json!("/c.yaml\n"), format!("`config_file` holds a control character: /c.yaml\\n. {ONE_LINE}")),
        ("jmx_port", json!(0), port(0)),
        ("jmx_port", json!(-1), port(-1)),
        ("jmx_port", json!(65536), port(65536)),
        ("wait_timeout", json!(0), seconds("wait_timeout", 0)),
        ("wait_timeout", json!(-600), seconds("wait_timeout", -600)),
        ("wait_timeout", json!(604_801), seconds("wait_timeout", 604_801)),
        ("stop_timeout", json!(0), seconds("stop_timeout", 0)),
        ("stop_timeout", json!(9_007_199_254_740_991_i64), seconds("stop_timeout", 9_007_199_254_740_991)),
    ];
    for (module, _) in MODULES {
        for (option, value, expected) in &cases {
            told(&node, module, with(option, value), expected);
        }
    }
}

#[test]
fn nonsense_in_a_modules_own_option_is_told() {
    let node = FakeNode::running();
    let mode = |given: &str| format!("`mode` cannot be the mode of an archive: {given}. {MODE}");
    let keyspace = |option: &str, given: &str| {
        format!("`{option}` holds what cannot be the name of a keyspace: {given}. {KEYSPACE}")
    };
    let choice =
        |option: &str, known: &str| format!("value of {option} must be one of: {known}, got: sideways");
    for (module, option, value, expected) in [
        (BACKUP, "tag", json!("latest"), LATEST.to_owned()),
        (INFO, "tag", json!("latest"), LATEST.to_owned()),
        (BACKUP, "state", json!("sideways"), choice("state", "present, snapshot, released, absent")),
        (BACKUP, "compression", json!("sideways"), choice("compression", "none, fast, best")),
        (BACKUP, "when_stopped", json!("sideways"), choice("when_stopped", "start, fail")),
        (BACKUP, "keyspaces", json!(["ks1", "ks.users"]), keyspace("keyspaces", "ks.users")),
        (BACKUP, "keyspaces", json!("ks1 ks2"), keyspace("keyspaces", "ks1 ks2")),
        (BACKUP, "exclude_keyspaces", json!(["-t"]), keyspace("exclude_keyspaces", "-t")),
        (BACKUP, "exclude_keyspaces", json!(["\"Ks\""]), keyspace("exclude_keyspaces", "\"Ks\"")),
        (BACKUP, "mode", json!(600), mode("600")),
        (BACKUP, "mode", json!("u=rw"), mode("u=rw")),
        (BACKUP, "mode", json!("0888"), mode("0888")),
        (BACKUP, "mode", json!("4600"), mode("4600")),
        (BACKUP, "mode", json!(-1), mode("-1")),
        (
            RESTORE,
            "state",
            json!("sideways"),
            choice("state", "staged, swapped, started, restored, swapped_back, rolled_back"),
        ),
        (RESTORE, "repair", json!("sideways"), choice("repair", "auto, full, none")),
        (RESTORE, "start", json!("sideways"), choice("start", "auto, as_found")),
    ] {
        told(&node, module, with(option, &value), &expected);
    }
    for (src, expected) in [
        ("", format!("`src` is empty. {EMPTY_PATH}")),
        ("a.tgz", format!("`src` must be an absolute path of this host, got: a.tgz. {HOST_PATH}")),
        ("/a.tgz\n", format!("`src` holds a control character: /a.tgz\\n. {ONE_LINE}")),
    ] {
        told(&node, RESTORE, json!({"src": src}), &expected);
    }
}

#[test]
fn what_excludes_or_needs_another_option_is_told() {
    let node = FakeNode::running();
    let both = |options: &str| format!("parameters are mutually exclusive: {options}");
    for (module, args, expected) in [
        (
            BACKUP,
            json!({"container": null}),
            "state is present but all of the following are missing: container".to_owned(),
        ),
        (
            BACKUP,
            json!({"state": "absent"}),
            "state is absent but all of the following are missing: tag".to_owned(),
        ),
        (
            BACKUP,
            json!({"keyspaces": ["a"], "exclude_keyspaces": ["b"]}),
            both("keyspaces|exclude_keyspaces"),
        ),
        (
            INFO,
            json!({"jmx_password": "s3cret", "jmx_password_file": "/x"}),
            both("jmx_password|jmx_password_file"),
        ),
        (RESTORE, json!({"container": null, "tag": "t"}), "missing required arguments: container".to_owned()),
        (RESTORE, json!({}), "state is restored but any of the following are missing: src, tag".to_owned()),
        (RESTORE, json!({"src": "/a.tgz", "tag": "t"}), both("src|tag")),
    ] {
        told(&node, module, args, &expected);
    }
}

/// In none of the ways that nodetool would take it; and it is not repeated.
#[test]
fn a_password_among_nodetools_flags_is_refused_in_every_form() {
    let node = FakeNode::running();
    for flags in [
        json!(["-pw", "s3cret"]),
        json!("-u,operator,-pw,s3cret"),
        json!(["-pw s3cret"]),
        json!(["-u operator -pw s3cret"]),
        json!(["-pw=s3cret"]),
        json!(["-pws3cret"]),
        json!(["--password", "s3cret"]),
        json!(["--password=s3cret"]),
    ] {
        for (module, _) in MODULES {
            let args = with("nodetool_flags", &flags);
            told(&node, module, args.clone(), FLAGS);
            assert!(!node.run_module(module, args).to_string().contains("s3cret"), "{flags}");
        }
    }
    // A file of the container's is no password.
    let flags = json!(["-u", "operator", "-pwf", "/etc/jmx", "--password-file=/etc/jmx"]);
    assert_eq!(node.run_module(BACKUP, with("nodetool_flags", &flags))["changed"], true);
}

/// nodetool reads words from its standard input: what it cannot read it would call a wrong password.
#[test]
fn a_login_that_nodetool_cannot_read_is_told_before_the_node_is_touched() {
    let hint = "nodetool takes a user and a password of one word each";
    let file = |node: &FakeNode, text: &str| {
        let path = node.host().join("password");
        std::fs::write(&path, text).unwrap();
        path
    };
    for node in [FakeNode::running(), FakeNode::stopped()] {
        let path = file(&node, "two words\n");
        let shown = path.display();
        for (args, failure) in [
            (
                json!({"jmx_username": "o p", "jmx_password": "s3cret"}),
                "`jmx_username` holds a blank or a line break".to_owned(),
            ),
            (
                json!({"jmx_username": "op", "jmx_password": "s3 cret"}),
                "`jmx_password` holds a blank or a line break".to_owned(),
            ),
            (
                json!({"jmx_username": "op", "jmx_password": "s3cret\n"}),
                "`jmx_password` holds a blank or a line break".to_owned(),
            ),
            (json!({"jmx_username": "", "jmx_password": "s3cret"}), "`jmx_username` is empty".to_owned()),
            (
                json!({"jmx_username": "op", "jmx_password_file": path}),
                format!("the first line of `jmx_password_file` `{shown}` holds a blank or a line break"),
            ),
        ] {
            for (module, _) in MODULES {
                let mut all = args.clone();
                all["tag"] = json!("t");
                told(&node, module, all, &format!("{failure}. {hint}"));
            }
        }
        file(&node, "\nsecret\n");
        let args = json!({"jmx_username": "op", "jmx_password_file": path});
        told(
            &node,
            BACKUP,
            args,
            &format!("the first line of `jmx_password_file` `{shown}` is empty. {hint}"),
        );
    }
}
