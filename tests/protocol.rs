//! Runs of the real executable as Ansible runs it: an args file in, one line of JSON out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A place where the executable lies under some name, with an args file beside it.
struct Run {
    dir: TempDir,
    program: PathBuf,
    environment: Vec<(&'static str, &'static str)>,
}

impl Run {
    fn of(name: &str) -> Run {
        let dir = TempDir::new().unwrap();
        let program = dir.path().join(name);
        // A symlink keeps its name in argv[0], as a copy would.
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cassandra_backup"), &program).unwrap();
        Run { dir, program, environment: Vec::new() }
    }

    fn with_environment(mut self, name: &'static str, value: &'static str) -> Run {
        self.environment.push((name, value));
        self
    }

    fn args_file(&self) -> PathBuf {
        self.dir.path().join("args")
    }

    fn with_text(&self, args: impl AsRef<[u8]>) -> Output {
        std::fs::write(self.args_file(), args).unwrap();
        self.with_file(&self.args_file())
    }

    fn with_file(&self, path: &Path) -> Output {
        self.command().arg(path).output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("DOCKER_HOST").env("HOME", "/home/op").envs(self.environment.iter().copied());
        command
    }

    /// The result of a run that must fail.
    fn failure(&self, args: Value) -> Map<String, Value> {
        failure(&self.with_text(args.to_string()))
    }

    fn message(&self, args: Value) -> String {
        let mut result = self.failure(args);
        result.remove("msg").unwrap().as_str().unwrap().to_string()
    }
}

fn failure(output: &Output) -> Map<String, Value> {
    let result = one_object(output);
    assert_eq!(output.status.code(), Some(1), "{result:?}");
    assert_eq!(result["failed"], true, "{result:?}");
    result
}

fn one_object(output: &Output) -> Map<String, Value> {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let stdout = std::str::from_utf8(&output.stdout).unwrap();
    assert!(stdout.is_ascii(), "{stdout}");
    let line = stdout.strip_suffix('\n').expect("a whole line");
    assert!(!line.contains('\n'), "{stdout}");
    serde_json::from_str(line).unwrap()
}

#[test]
fn an_unknown_option_is_told_with_all_that_are_known() {
    let message = Run::of("cassandra_backup").message(json!({"container": "c", "foo": 1, "bar": 2}));
    assert_eq!(
        message,
        "Unsupported parameters for (cassandra_backup) module: bar, foo. Supported parameters include: backup_dir, \
         compression, config_file, container, docker_host, exclude_keyspaces, force, group, jmx_password, \
         jmx_password_file, jmx_port, jmx_username, keep_days, keep_last, keep_snapshot, keyspaces, low_priority, \
         mode, nodetool_flags, nodetool_path, owner, rate_limit, state, state_dir, stop_timeout, tag, threads, verify, \
         wait_timeout, when_stopped (container_name, name)."
    );
}

#[test]
fn what_is_wrong_with_an_option_is_told_in_ansibles_words() {
    let restore = Run::of("cassandra_restore");
    let backup = Run::of("cassandra_backup");
    for (run, args, message) in [
        (&restore, json!({}), "missing required arguments: container"),
        (&restore, json!({"container": null}), "missing required arguments: container"),
        (
            &restore,
            json!({"container": "c"}),
            "state is restored but any of the following are missing: src, tag",
        ),
        (
            &restore,
            json!({"container": "c", "src": "/a", "tag": "b"}),
            "parameters are mutually exclusive: src|tag",
        ),
        (&backup, json!({}), "state is present but all of the following are missing: container"),
        (&backup, json!({"state": "absent"}), "state is absent but all of the following are missing: tag"),
        (
            &backup,
            json!({"container": "c", "state": "x"}),
            "value of state must be one of: present, snapshot, released, absent, got: x",
        ),
        (
            &backup,
            json!({"container": "c", "jmx_password_file": "/run/secrets/jmx"}),
            "missing parameter(s) required by 'jmx_password_file': jmx_username",
        ),
        (
            &backup,
            json!({"container": "c", "rate_limit": "50 MiB"}),
            "argument 'rate_limit' is of type str and we were unable to convert to bytes: <class 'str'> cannot be \
             converted to a Byte value",
        ),
        (
            &backup,
            json!({"container": "c", "wait_timeout": "soon"}),
            "argument 'wait_timeout' is of type str and we were unable to convert to int: \"'soon'\" cannot be \
             converted to an int",
        ),
        (
            &backup,
            json!({"container": "c", "force": "maybe"}),
            "argument 'force' is of type str and we were unable to convert to bool: The value 'maybe' is not a valid \
             boolean. Valid booleans include: 'y', 'yes', 'on', '1', 'true', 't', 1, 'n', 'no', 'off', '0', 'false', \
             'f', 0",
        ),
    ] {
        assert_eq!(run.message(args.clone()), message, "{args}");
    }
}

#[test]
fn what_ansible_does_not_check_is_told_in_whole_sentences() {
    let run = Run::of("cassandra_backup");
    let because = |option: &str, value: Value| run.message(json!({"container": "c", option: value}));
    let tag_hint = "a tag is made of the letters A-Z and a-z, digits, `_` and `-` only";
    let mode_hint = "write it as quoted octal digits, such as \"0600\" or \"0640\"";
    let container_hint = "set it to the name or id that `docker ps -a` shows on this host";

    assert_eq!(because("tag", json!("")), "`tag` is empty. give a name, or leave the option out");
    assert_eq!(because("tag", json!("a b")), format!("`tag` holds ' ': a b. {tag_hint}"));
    assert_eq!(because("tag", json!("../x")), format!("`tag` holds '.': ../x. {tag_hint}"));
    assert_eq!(
        because("tag", json!("latest")),
        "`tag` cannot be `latest`: that is how `cassandra_restore` says the newest archive. choose another tag, or \
         leave the option out"
    );
    assert_eq!(
        because("tag", json!("x".repeat(201))),
        "`tag` is 201 bytes long, at most 200 are possible. the tag becomes a file name: choose a shorter one"
    );
    assert_eq!(
        because("docker_host", json!("tcp://10.0.0.1:2375")),
        "`docker_host` must be a Unix socket of this host, got: tcp://10.0.0.1:2375. The module works on the host's own \
         files, so it has to run where the Engine runs. run the task on that host, and set `docker_host: \
         unix:///var/run/docker.sock` where DOCKER_HOST says otherwise"
    );
    assert_eq!(
        because("backup_dir", json!("backup")),
        "`backup_dir` must be an absolute path of this host, got: backup. a module has no working directory of its own: \
         begin the path with `/`"
    );
    assert_eq!(
        because("mode", json!(600)),
        format!("`mode` cannot be the mode of an archive: 600. {mode_hint}")
    );
    assert_eq!(
        because("mode", json!("rw")),
        format!("`mode` cannot be the mode of an archive: rw. {mode_hint}")
    );
    assert_eq!(because("container", json!("")), format!("`container` is empty. {container_hint}"));
    assert_eq!(
        because("container", json!("/cassandra")),
        format!("`container` cannot be the name of a container: /cassandra. {container_hint}")
    );
    assert_eq!(because("jmx_port", json!(70000)), "`jmx_port` must be a port from 1 to 65535, got: 70000");
    assert_eq!(
        because("rate_limit", json!("0 MB")),
        "`rate_limit` must be at least 1 byte per second, got: 0. leave the option out for no limit"
    );
    for threads in [0, 65, -1] {
        assert_eq!(
            because("threads", json!(threads)),
            format!(
                "`threads` must be from 1 to 64, got: {threads}. leave the option out for half of the processors"
            )
        );
    }
    assert_eq!(because("stop_timeout", json!(0)), "`stop_timeout` must be from 1 to 604800 seconds, got: 0");
}

#[test]
fn an_engine_elsewhere_is_refused_from_the_environment_too() {
    let run = Run::of("cassandra_backup").with_environment("DOCKER_HOST", "ssh://node1");
    let message = run.message(json!({"container": "c"}));
    let expected = "`docker_host` must be a Unix socket of this host, got: ssh://node1.";
    assert_eq!(message.get(..expected.len()), Some(expected), "{message}");
}

#[test]
fn ansibles_own_keys_are_no_options() {
    let result = Run::of("cassandra_restore")
        .failure(json!({"_ansible_check_mode": false, "_ansible_of_tomorrow": {}}));
    assert_eq!(result["msg"], "missing required arguments: container");
}

#[test]
fn a_failure_has_its_word_and_the_args_it_was_given() {
    let result = Run::of("cassandra_backup_info")
        .failure(json!({"tag": "a/b", "verify": "yes", "jmx_username": "u", "jmx_password": 17}));
    assert_eq!(result["error"], "bad_option");
    assert_eq!(result["stage"], "options");
    assert_eq!(result["changed"], false);
    assert_eq!(result["hint"], "a tag is made of the letters A-Z and a-z, digits, `_` and `-` only");
    let module_args = json!({
        "container": null,
        "backup_dir": "/opt/cassandra/backup",
        "tag": "a/b",
        "verify": true,
        "docker_host": "unix:///var/run/docker.sock",
        "jmx_username": "u",
        "jmx_password": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER",
        "jmx_password_file": null,
        "jmx_port": null,
        "nodetool_path": null,
        "nodetool_flags": null,
        "config_file": null,
        "state_dir": "/var/lib/cassandra_backup",
        "threads": null,
        "low_priority": true,
        "wait_timeout": 600,
        "stop_timeout": 120,
    });
    assert_eq!(result["invocation"], json!({"module_args": module_args}));
}

#[test]
fn args_are_repeated_only_where_ansible_wants_them() {
    let run = Run::of("cassandra_restore");
    assert!(run.failure(json!({"_ansible_inject_invocation": true})).contains_key("invocation"));
    assert!(!run.failure(json!({"_ansible_inject_invocation": false})).contains_key("invocation"));
}

#[test]
fn a_secret_is_nowhere_in_a_failing_runs_output() {
    let run = Run::of("cassandra_backup");
    let args = json!({"container": "c", "jmx_password": "s3cret", "state": "not-s3cret", "tag": "s3cret"});
    let output = run.with_text(args.to_string());
    assert_eq!(
        failure(&output)["msg"],
        "value of state must be one of: present, snapshot, released, absent, got: not-********"
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"));
}

#[test]
fn a_password_among_nodetools_flags_is_refused_and_hidden() {
    let args = json!({"container": "c", "nodetool_flags": ["-u", "op", "-pw", "s3cret"]});
    let output = Run::of("cassandra_backup").with_text(args.to_string());
    assert_eq!(
        failure(&output)["msg"],
        "`nodetool_flags` must not hold a password: `ps` would show it. use `jmx_password` or `jmx_password_file`"
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"));
}

#[test]
fn both_names_of_an_option_are_worth_a_warning() {
    let args = json!({"container": "c", "container_name": "/d"});
    let result = Run::of("cassandra_backup").failure(args);
    assert_eq!(result["warnings"], json!(["Both option container and its alias container_name are set."]));
    assert_eq!(result["invocation"]["module_args"]["container"], "/d");
}

#[test]
fn the_task_names_the_module_and_else_the_file_does() {
    let options_of = |file: &str, task: Value| {
        let message = Run::of(file)
            .message(json!({"_ansible_module_name": task, "container": "c", "zzz": 1, "tag": "t"}));
        let told = message.strip_prefix("Unsupported parameters for (").unwrap_or(&message);
        let (name, told) = told.split_once(") module: zzz. Supported parameters include: ").unwrap();
        let module = match told {
            told if told.contains("keep_snapshot") => "cassandra_backup",
            told if told.contains("keep_previous") => "cassandra_restore",
            _ => "cassandra_backup_info",
        };
        (name.to_string(), module)
    };
    for (file, task, module) in [
        ("x", "cassandra_restore", "cassandra_restore"),
        ("x", "ansible.legacy.cassandra_backup", "cassandra_backup"),
        ("x", "ns.coll.cassandra_backup_info_x86_64", "cassandra_backup_info"),
        ("x", "cassandra_restore.aarch64", "cassandra_restore"),
        ("AnsiballZ_cassandra_backup_info", "cassandra_backup", "cassandra_backup"),
        ("AnsiballZ_cassandra_restore_aarch64", "renamed", "cassandra_restore"),
    ] {
        assert_eq!(options_of(file, json!(task)), (task.to_string(), module), "{file} {task}");
    }
    for (file, module) in [
        ("AnsiballZ_cassandra_backup_info", "cassandra_backup_info"),
        ("cassandra_restore.x86_64", "cassandra_restore"),
        ("cassandra_backup.bin", "cassandra_backup"),
    ] {
        assert_eq!(options_of(file, json!(null)), (module.to_string(), module), "{file}");
    }
    assert_eq!(
        Run::of("AnsiballZ_other").message(json!({})),
        "`other` is none of this executable's modules. put it into `library/` under the names cassandra_backup, \
         cassandra_restore and cassandra_backup_info"
    );
}

#[test]
fn the_args_file_is_gone_after_the_run_unless_ansible_keeps_it_or_did_not_write_it() {
    for (args, stays) in [
        (json!({"_ansible_keep_remote_files": false}), false),
        (json!({"_ansible_version": "2.19.14"}), false),
        (json!({"_ansible_keep_remote_files": true}), true),
        (json!({"container": "by hand"}), true),
    ] {
        let run = Run::of("cassandra_restore");
        run.failure(args.clone());
        assert_eq!(run.args_file().exists(), stays, "{args}");
    }
}

#[test]
fn an_args_file_that_cannot_be_used_is_told_without_its_content() {
    let run = Run::of("cassandra_backup");
    let path = run.args_file();
    let told = |what: &str| {
        format!(
            "cannot use the args file `{}`: {what}. Ansible writes this file: run the module from a playbook",
            path.display()
        )
    };
    let message = |output: Output| failure(&output)["msg"].as_str().unwrap().to_string();

    assert_eq!(message(run.with_file(&path)), told("No such file or directory (os error 2)"));
    for text in [b"".as_slice(), b"{\"jmx_password\": \"s3cret\"", b"\xff{}", b"{} {}"] {
        assert_eq!(message(run.with_text(text)), told("it is not JSON"));
    }
    assert_eq!(message(run.with_text("[\"s3cret\"]")), told("it is not a JSON object"));
    assert!(path.exists());
}

#[test]
fn odd_characters_leave_as_ascii_and_arrive_as_they_were() {
    let result = Run::of("cassandra_backup")
        .failure(json!({"container": "c", "state": "ü\u{2028}\u{1f600}\u{7f}\n\""}));
    assert_eq!(
        result["msg"],
        "value of state must be one of: present, snapshot, released, absent, got: ü\u{2028}\u{1f600}\u{7f}\n\""
    );
}

#[test]
fn a_reader_that_has_gone_away_is_no_crash() {
    let run = Run::of("cassandra_restore");
    std::fs::write(run.args_file(), "{}").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child =
        run.command().arg(run.args_file()).stdout(writer).stderr(std::process::Stdio::piped()).spawn();
    let output = child.unwrap().wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(1), Vec::new()));
}

#[test]
fn a_person_is_told_how_to_use_it() {
    let run = Run::of("cassandra_backup");
    for (flag, code) in [(None, 1), (Some("--help"), 0), (Some("--version"), 0)] {
        let output = run.command().args(flag).output().unwrap();
        let first_line = concat!("cassandra_backup ", env!("CARGO_PKG_VERSION"), "\n");
        assert!(String::from_utf8_lossy(&output.stdout).starts_with(first_line));
        assert_eq!((output.status.code(), output.stderr), (Some(code), Vec::new()));
    }
}

#[test]
fn an_engine_that_is_not_there_is_told() {
    for module in ["cassandra_backup", "cassandra_restore"] {
        let args = json!({"container": "c", "tag": "t", "docker_host": "unix:///nonexistent/docker.sock"});
        let result = Run::of(module).failure(args);
        assert_eq!(result["error"], "engine_unreachable", "{result:?}");
        assert_eq!(result["hint"], "is Docker running on this host? set `docker_host` to its Unix socket");
    }
}
