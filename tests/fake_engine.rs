//! The fake Engine and node themselves, seen through the library's own client: what the other tests stand on.

#[path = "support/node_tests.rs"]
mod node_tests;
mod support;

use std::fs;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use cassandra_backup::docker::{Container, Engine, PathInside, RestartPolicy, RunState};
use cassandra_backup::error::{Told, tell};
use serde_json::json;
use support::{FakeNode, Fault, NodetoolAt, check_mode};

/// Longer than any fake takes to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(120);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

/// Does something with the node's container, as the modules reach it.
fn with<T>(node: &FakeNode, work: impl AsyncFnOnce(Container) -> T) -> T {
    block_on(async {
        let engine = Engine::connect(node.engine.socket()).await.unwrap();
        work(engine.container(&node.name()).await.unwrap()).await
    })
}

/// A command in the container: exit code, stdout, stderr.
fn exec(node: &FakeNode, command: &[&str]) -> (i64, String, String) {
    let outcome = with(node, async |container| container.exec(command, &[], None).await.unwrap());
    (outcome.exit_code, outcome.stdout, outcome.stderr)
}

fn connect_error(socket: &Path) -> Told {
    tell(&block_on(Engine::connect(socket)).unwrap_err())
}

#[test]
fn a_running_node_is_inspected_with_its_mount_and_environment() {
    let node = FakeNode::running().named("cass1").restart_policy("always").labelled("rack", "7");
    let (container, facts) = with(&node, async |container| {
        let facts = container.inspect().await.unwrap();
        (container, facts)
    });
    assert_eq!((container.name.as_str(), container.image.as_str()), ("cass1", "cassandra:5.0"));
    assert_eq!(container.id.len(), 64);
    assert_eq!((facts.run_state, facts.pid), (RunState::Running, i64::from(std::process::id())));
    assert_eq!(facts.restart_policy, RestartPolicy { name: "always".to_owned(), maximum_retry_count: 0 });
    assert_eq!(facts.env["CASSANDRA_CONF"], "/etc/cassandra");
    assert_eq!(facts.labels["rack"], "7");
    let mount = &facts.mounts[0];
    assert_eq!(
        (mount.kind.as_str(), mount.host_path.as_str()),
        ("bind", node.dirs().storage.to_str().unwrap())
    );
    assert_eq!(mount.host_path, mount.container_path);
    assert!(fs::metadata(format!("/proc/{}/root{}", facts.pid, mount.container_path)).is_ok());
}

#[test]
fn every_run_state_is_seen() {
    let seen = |node: FakeNode| with(&node, async |container| container.inspect().await.unwrap().run_state);
    assert_eq!(seen(FakeNode::created()), RunState::Created);
    assert_eq!(seen(FakeNode::running()), RunState::Running);
    assert_eq!(seen(FakeNode::stopped()), RunState::Exited);
    assert_eq!(seen(FakeNode::running().paused()), RunState::Paused);
    assert_eq!(seen(FakeNode::running().restarting()), RunState::Restarting);
}

#[test]
fn a_command_gives_its_output_errors_and_exit_code() {
    let node = FakeNode::running().failing_on("nodetool flush", 2, "error: disk full\n");
    assert_eq!(
        exec(&node, &["nodetool", "version"]),
        (0, "ReleaseVersion: 5.0.5\n".to_owned(), String::new())
    );
    assert_eq!(exec(&node, &["nodetool", "flush"]), (2, String::new(), "error: disk full\n".to_owned()));
    let (code, said, _) = exec(&node, &["cqlsh"]);
    assert_eq!(code, 126);
    assert!(said.contains("exec: \"cqlsh\": executable file not found in $PATH"), "{said}");
    let (code, _, said) = exec(&node, &["nodetool", "-p", "7198", "status"]);
    assert_eq!(code, 1);
    assert_eq!(
        said,
        "nodetool: Failed to connect to '127.0.0.1:7198' - ConnectException: 'Connection refused'.\n"
    );
}

#[test]
fn a_password_reaches_nodetool_on_standard_input_only() {
    let node = FakeNode::running().jmx_auth("backup", "s3cret");
    let login = |input| {
        let command = ["nodetool", "-u", "backup", "-pwf", "/dev/stdin", "version"];
        with(&node, async |container| container.exec(&command, &[], input).await.unwrap())
    };
    assert_eq!(login(Some("backup s3cret\n")).stdout, "ReleaseVersion: 5.0.5\n");
    let wrong = login(Some("backup guess\n"));
    assert_eq!(wrong.exit_code, 2);
    assert!(
        wrong.stderr.starts_with("error: Invalid username or password\n-- StackTrace --\n"),
        "{}",
        wrong.stderr
    );
    assert!(login(None).stderr.starts_with("error: Authentication failed! Credentials required\n"));
    assert_eq!(node.commands(), ["nodetool version"; 3]);
    assert!(node.calls().iter().all(|call| !call.argv.join(" ").contains("s3cret")));
}

#[test]
fn nodetool_is_found_where_it_lies() {
    const LOOK: &str = r#"for p in "$(command -v nodetool)" "$CASSANDRA_HOME/bin/nodetool" /opt/*/bin/nodetool
        do [ -x "$p" ] && echo "$p" && exit; done; exit 1"#;
    let look = |place| exec(&FakeNode::running().nodetool_at(place), &["sh", "-c", LOOK]);
    assert_eq!(look(NodetoolAt::Path).1, "/usr/local/bin/nodetool\n");
    assert_eq!(look(NodetoolAt::CassandraHome).1, "/srv/cassandra/bin/nodetool\n");
    assert_eq!(look(NodetoolAt::Opt).1, "/opt/apache-cassandra-5.0.5/bin/nodetool\n");
    assert_eq!(look(NodetoolAt::Nowhere), (1, String::new(), String::new()));
    let node = FakeNode::running().nodetool_at(NodetoolAt::Opt);
    assert_eq!(exec(&node, &["/opt/apache-cassandra-5.0.5/bin/nodetool", "version"]).0, 0);
    assert_eq!(exec(&node, &["nodetool", "version"]).0, 126);
}

#[test]
fn files_are_read_and_looked_at_while_the_container_is_stopped() {
    let node = FakeNode::stopped()
        .unset_directories()
        .symlink_inside("/etc/link.yaml", "/etc/cassandra/cassandra.yaml");
    let storage = node.dirs().storage;
    with(&node, async |container| {
        let config = container.read_file("/etc/cassandra/cassandra.yaml").await.unwrap().unwrap();
        assert!(
            String::from_utf8(config).unwrap().contains(&format!("native_transport_port: {}\n", node.port()))
        );
        assert_eq!(container.read_file("/etc/cassandra/nothing").await.unwrap(), None);
        assert_eq!(container.stat("/nothing").await.unwrap(), None);
        assert_eq!(container.stat("/opt/cassandra").await.unwrap(), Some(PathInside::Directory));
        assert_eq!(container.read_file("/opt/cassandra").await.unwrap(), None);
        let target = storage.to_str().unwrap().to_owned();
        assert_eq!(
            container.stat("/opt/cassandra/data").await.unwrap(),
            Some(PathInside::Symlink { target })
        );
        // As in the Engine, names above the last are followed, the last is not.
        assert_eq!(
            container.stat("/opt/cassandra/data/commitlog").await.unwrap(),
            Some(PathInside::Directory)
        );
        assert_eq!(container.stat("/opt/cassandra/data/nothing").await.unwrap(), None);
        let toc = node.dirs().table("system", "local").join("nb-1-big-TOC.txt");
        let content = container.read_file(toc.to_str().unwrap()).await.unwrap();
        assert_eq!(content, fs::read(&toc).ok());
    });
}

#[test]
fn a_stopped_container_is_started_for_work_and_stopped_again() {
    let node = FakeNode::stopped();
    with(&node, async |container| {
        let host_id = container
            .while_running(RunState::Exited, STOP_TIMEOUT, async || {
                assert_eq!(node.run_state(), RunState::Running);
                container.exec(&["nodetool", "info"], &[], None).await.map(|info| info.stdout)
            })
            .await
            .unwrap();
        assert!(host_id.contains(&node.host_id()));
        let facts = container.inspect().await.unwrap();
        assert_eq!((facts.run_state, facts.exit_code), (RunState::Exited, 143));
        // Both answer 304 where there is nothing to do.
        container.stop(STOP_TIMEOUT).await.unwrap();
        container.start().await.unwrap();
        container.start().await.unwrap();
    });
    let stop = "POST /containers/node/stop?t=120";
    assert_eq!(node.changes()[..3], ["POST /containers/node/start", stop, stop]);
}

#[test]
fn the_restart_policy_is_set_but_not_of_a_container_made_with_rm() {
    let node = FakeNode::running();
    with(&node, async |container| container.set_restart_policy(&RestartPolicy::no()).await.unwrap());
    assert_eq!(node.restart_policy_name(), "no");
    let node = FakeNode::running().auto_remove();
    let refused =
        with(&node, async |container| container.set_restart_policy(&RestartPolicy::no()).await.unwrap_err());
    let message = tell(&refused).message;
    assert!(
        message.ends_with("Restart policy cannot be updated because AutoRemove is enabled for the container"),
        "{message}"
    );
}

#[test]
fn commands_of_others_are_seen_until_the_container_stops() {
    let node = FakeNode::running().running_command("nodetool repair -full");
    let running = || with(&node, async |container| container.running_commands().await.unwrap());
    exec(&node, &["nodetool", "version"]);
    assert_eq!(running(), ["nodetool repair -full"]);
    node.stop();
    assert_eq!(running(), Vec::<String>::new());
}

#[test]
fn other_containers_on_the_same_directories_are_found() {
    let node = FakeNode::running().shared_with("reader");
    let others = block_on(async {
        let engine = Engine::connect(node.engine.socket()).await.unwrap();
        let own = engine.container("node").await.unwrap();
        let facts = own.inspect().await.unwrap();
        engine.others_mounting(&own, &facts, &[&node.dirs().data[0]]).await.unwrap()
    });
    assert_eq!(others, ["reader"]);
}

#[test]
fn an_engine_that_cannot_be_used_is_told_in_words() {
    let node = FakeNode::running();
    let absent = connect_error(&node.host().join("no.sock"));
    assert_eq!(
        absent.message,
        format!("no Docker Engine answers at `{}/no.sock`: no such socket", node.host().display())
    );
    let error = block_on(async {
        let engine = Engine::connect(node.engine.socket()).await.unwrap();
        engine.container("other").await.unwrap_err()
    });
    assert_eq!(tell(&error).message, "there is no container `other`");
    node.engine.fail_nth("GET /containers/node/json", 2, Fault::Status(500, "the disk is on fire"));
    let error = with(&node, async |container| container.inspect().await.unwrap_err());
    assert_eq!(
        tell(&error).message,
        "the Docker Engine failed to inspect container `node`: the disk is on fire"
    );
    node.engine.fail("GET /version", Fault::Close);
    assert_eq!(connect_error(node.engine.socket()).word, "engine_unreachable");
}

/// Root may use any socket: there the test runs itself again as somebody else.
#[test]
fn a_socket_without_permission_is_told_as_such() {
    const SOCKET: &str = "FAKE_ENGINE_SOCKET";
    if let Some(socket) = std::env::var_os(SOCKET) {
        let told = connect_error(Path::new(&socket));
        assert_eq!(told.word, "engine_permission", "{}", told.message);
        return;
    }
    let node = FakeNode::running();
    let socket = node.engine.socket();
    fs::set_permissions(socket, fs::Permissions::from_mode(0o000)).unwrap();
    if !rustix::process::geteuid().is_root() {
        assert_eq!(connect_error(socket).word, "engine_permission");
        return;
    }
    // By its open file: the directories above it may be closed to others.
    let own = fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let again = std::process::Command::new(format!("/proc/self/fd/{}", own.as_raw_fd()))
        .args(["--exact", "a_socket_without_permission_is_told_as_such"])
        .env(SOCKET, socket)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn faults_come_when_they_are_due() {
    let node = FakeNode::running();
    // Done, but the answer is lost.
    node.engine.fail_nth("POST /containers/node/stop", 1, Fault::LoseAnswer);
    with(&node, async |container| container.stop(STOP_TIMEOUT).await.unwrap_err());
    assert_eq!(node.run_state(), RunState::Exited);
    node.engine.fail_nth("GET /containers/node/json", 1, Fault::Cut);
    let cut =
        block_on(async { Engine::connect(node.engine.socket()).await.unwrap().container("node").await });
    assert_eq!(tell(&cut.unwrap_err()).word, "engine_failed");
    let gate = node.engine.hold("POST /containers/node/start");
    std::thread::scope(|scope| {
        let start = scope.spawn(|| with(&node, async |container| container.start().await));
        gate.wait_until_reached();
        assert_eq!(node.run_state(), RunState::Exited);
        gate.open();
        start.join().unwrap().unwrap();
    });
    assert_eq!(node.run_state(), RunState::Running);
}

#[test]
fn asking_is_no_change_and_acting_is() {
    let node = FakeNode::running();
    exec(&node, &["nodetool", "info", "-T"]);
    assert_eq!(node.changes(), Vec::<String>::new());
    exec(&node, &["nodetool", "-h", "127.0.0.1", "snapshot", "-t", "x"]);
    with(&node, async |container| container.stop(STOP_TIMEOUT).await.unwrap());
    assert_eq!(node.changes(), ["POST /containers/node/stop?t=120", "nodetool snapshot -t x"]);
}

#[test]
fn a_wrong_mount_leads_to_another_directory() {
    let node = FakeNode::running().wrong_mount();
    let mount = with(&node, async |container| container.inspect().await.unwrap().mounts.remove(0));
    let (outside, inside) =
        (fs::metadata(mount.host_path).unwrap(), fs::metadata(mount.container_path).unwrap());
    assert_ne!(outside.ino(), inside.ino());
}

#[test]
fn the_real_executable_runs_against_it() {
    let node = FakeNode::running();
    let result = node.run_module("cassandra_backup", check_mode(json!({ "container": "other" })));
    assert_eq!(result["error"], "container_absent", "{result:#}");
    let run = node.start_module("cassandra_backup_info", json!({}));
    assert_eq!(run.finish()["backups"], json!([]));
    assert_eq!(node.changes(), Vec::<String>::new());
}
