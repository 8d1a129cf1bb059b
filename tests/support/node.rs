//! A Cassandra node in a container, on a temporary directory that is its host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::api::{Hook, When, World};
use super::cassandra::Cassandra;
use super::container::{Container, Exec, Inside};
use super::engine::FakeEngine;
use super::files::{Dirs, write};
use super::identity::{number, uuid};
use super::nodetool::Settings;

/// Where nodetool lies inside the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodetoolAt {
    Path,
    CassandraHome,
    Opt,
    Nowhere,
}

/// One node with the Engine that runs it. Container paths are host paths: `/proc/<pid>/root` is this machine's.
pub struct FakeNode {
    pub engine: FakeEngine,
    pub(super) world: Arc<World>,
    pub(super) host: TempDir,
}

/// How it is found.
impl FakeNode {
    pub fn running() -> FakeNode {
        let node = FakeNode::created();
        node.start();
        assert_eq!(node.run_state(), RunState::Running);
        node
    }

    pub fn stopped() -> FakeNode {
        let node = FakeNode::running();
        node.stop();
        node
    }

    /// Never started: its data directory is empty.
    pub fn created() -> FakeNode {
        let host = tempfile::Builder::new().prefix("fake-cassandra-").tempdir_in(fast_directory());
        FakeNode::created_in(host.expect("a temporary directory"))
    }

    /// The same, in a directory that is not there yet.
    pub fn created_at(host: &Path) -> FakeNode {
        let (parent, name) = (host.parent().expect("its parent"), host.file_name().expect("its name"));
        let host = tempfile::Builder::new().prefix(name).rand_bytes(0).tempdir_in(parent);
        FakeNode::created_in(host.expect("a directory that can be made"))
    }

    /// Running, with the fewest tables and files that make a node: a run of it has few steps.
    pub fn small() -> FakeNode {
        let node = FakeNode::created().with(|container| container.cassandra.is_small = true);
        node.start();
        node
    }

    fn created_in(host: TempDir) -> FakeNode {
        // The Engine's socket is for others to reach, as in the tests of permissions.
        fs::set_permissions(host.path(), fs::Permissions::from_mode(0o755)).expect("its mode to be set");
        let storage = host.path().join("cassandra");
        let mut container = Container {
            id: format!("{}{}", uuid(number()).replace('-', ""), uuid(number()).replace('-', "")),
            name: "node".to_owned(),
            run_state: RunState::Created,
            exit_code: 0,
            is_out_of_memory: false,
            started: std::time::UNIX_EPOCH,
            restart_policy: ("unless-stopped".to_owned(), 0),
            auto_remove: false,
            tmpfs: Value::Null,
            is_stubborn: false,
            command: ["docker-entrypoint.sh", "cassandra", "-f"].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("CASSANDRA_CONF".to_owned(), "/etc/cassandra".to_owned())]),
            labels: BTreeMap::new(),
            mounts: vec![bind(&storage, &storage)],
            volumes: BTreeMap::new(),
            neighbours: Vec::new(),
            files: BTreeMap::new(),
            executables: BTreeSet::new(),
            root: host.path().join("inside"),
            execs: BTreeMap::new(),
            cassandra: Cassandra::new(storage),
            nodetool: Settings {
                jmx_port: 7199,
                jmx_auth: None,
                java_refuses_addresses: false,
                peers: Vec::new(),
                failures: Vec::new(),
                answers: Vec::new(),
                hanging: Vec::new(),
                lost: BTreeSet::new(),
                at_call: None,
                calls: Vec::new(),
            },
        };
        container.cassandra.dirs.make();
        write_config(&mut container, true);
        let world = Arc::new(World::new(container));
        let engine = FakeEngine::listen(host.path().join("docker.sock"), world.clone());
        FakeNode { engine, world, host }.nodetool_at(NodetoolAt::Path)
    }

    pub fn named(self, name: &str) -> FakeNode {
        self.with(|container| container.name = name.to_owned())
    }

    pub fn paused(self) -> FakeNode {
        self.with(|container| container.run_state = RunState::Paused)
    }

    /// In a crash loop: up for a moment, over and over.
    pub fn restarting(self) -> FakeNode {
        self.with(|container| {
            container.cassandra.stop(true);
            (container.run_state, container.exit_code) = (RunState::Restarting, 1);
        })
    }

    pub fn restart_policy(self, name: &str) -> FakeNode {
        self.with(|container| container.restart_policy.0 = name.to_owned())
    }

    /// Made with `--rm`.
    pub fn auto_remove(self) -> FakeNode {
        self.with(|container| container.auto_remove = true)
    }

    pub fn labelled(self, name: &str, value: &str) -> FakeNode {
        self.with(|container| drop(container.labels.insert(name.to_owned(), value.to_owned())))
    }

    pub fn env(self, name: &str, value: &str) -> FakeNode {
        self.with(|container| drop(container.env.insert(name.to_owned(), value.to_owned())))
    }

    /// A file of the container's own layer.
    pub fn file_inside(self, path: &str, content: &str) -> FakeNode {
        self.with(|container| {
            drop(container.files.insert(path.to_owned(), Inside::File(content.as_bytes().to_vec())))
        })
    }

    pub fn symlink_inside(self, path: &str, target: &str) -> FakeNode {
        self.with(|container| {
            drop(container.files.insert(path.to_owned(), Inside::Symlink(target.to_owned())))
        })
    }

    /// The mount's source is another directory of this host than the one that the container sees.
    pub fn wrong_mount(self) -> FakeNode {
        let elsewhere = self.host.path().join("elsewhere");
        Dirs::below(elsewhere.clone()).make();
        self.with(|container| {
            let storage = container.cassandra.dirs.storage.clone();
            container.mounts = vec![bind(&elsewhere, &storage)];
        })
    }

    /// The data lies in the container's own layer.
    pub fn not_on_a_mount(self) -> FakeNode {
        self.with(|container| container.mounts.clear())
    }

    /// On a volume; `options` is what `docker volume inspect` shows, `null` for a plain one.
    pub fn on_volume(self, name: &str, driver: &str, options: Value) -> FakeNode {
        self.with(|container| {
            let mut mount = container.mounts[0].clone();
            (mount["Type"], mount["Name"], mount["Driver"]) = (json!("volume"), json!(name), json!(driver));
            let volume = json!({
                "Name": name, "Driver": driver, "Mountpoint": mount["Source"], "Options": options, "Scope": "local",
                "Labels": null, "CreatedAt": "2026-11-23T08:08:38Z",
            });
            container.mounts = vec![mount];
            container.volumes.insert(name.to_owned(), volume);
        })
    }

    /// Another running container that has this node's directories mounted.
    pub fn shared_with(self, name: &str) -> FakeNode {
        self.with(|container| {
            let summary = json!({
                "Id": format!("{}f", &container.id[1..]), "Names": [format!("/{name}")], "Image": "busybox",
                "State": "running", "Mounts": container.mounts,
            });
            container.neighbours.push(summary);
        })
    }

    /// Somebody's command that is running in the container.
    pub fn running_command(self, line: &str) -> FakeNode {
        self.with(|container| {
            let exec = Exec {
                argv: line.split(' ').map(str::to_owned).collect(),
                env: Vec::new(),
                attach_stdin: false,
                is_running: true,
                exit_code: None,
            };
            container.execs.insert(format!("{:064x}", number()), exec);
        })
    }

    pub fn nodetool_at(self, place: NodetoolAt) -> FakeNode {
        let (bin, home) = match place {
            NodetoolAt::Path => ("/usr/local/bin", "/opt/cassandra"),
            NodetoolAt::CassandraHome => ("/srv/cassandra/bin", "/srv/cassandra"),
            NodetoolAt::Opt => ("/opt/apache-cassandra-5.0.5/bin", "/nowhere"),
            NodetoolAt::Nowhere => ("/nowhere/bin", "/nowhere"),
        };
        let path = format!("{bin}/nodetool");
        self.with(|container| {
            fs::remove_dir_all(&container.root).ok();
            container.executables.clear();
            container.env.insert("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned());
            container.env.insert("CASSANDRA_HOME".to_owned(), home.to_owned());
            if place != NodetoolAt::Nowhere {
                let here = container.root.join(&path[1..]);
                write(&here, b"#!/bin/sh\nexit 99\n");
                fs::set_permissions(here, fs::Permissions::from_mode(0o755)).expect("its mode to be set");
                container.executables.insert(path);
            }
        })
    }

    pub fn version(self, version: &str) -> FakeNode {
        self.with(|container| container.cassandra.version = version.to_owned())
    }

    /// The name in its cassandra.yaml; call it before the node's first start to have it in its data as well.
    pub fn cluster_name(self, name: &str) -> FakeNode {
        self.with(|container| {
            container.cassandra.cluster_name = name.to_owned();
            write_config(container, true);
        })
    }

    /// More data directories: `data`, `data-2`, …; sstables made later are spread over them.
    pub fn data_directories(self, count: usize) -> FakeNode {
        self.with(|container| {
            let dirs = &mut container.cassandra.dirs;
            dirs.data.extend((2..=count).map(|at| dirs.storage.join(format!("data-{at}"))));
            dirs.make();
            if container.run_state != RunState::Created {
                container.cassandra.alter_schema(|_| ());
            }
            write_config(container, true);
        })
    }

    /// The directories are not set in cassandra.yaml: they are below `$CASSANDRA_HOME/data`, a symlink.
    pub fn unset_directories(self) -> FakeNode {
        self.with(|container| write_config(container, false))
    }

    /// JMX asks for a user and a password.
    pub fn jmx_auth(self, user: &str, password: &str) -> FakeNode {
        self.with(|container| container.nodetool.jmx_auth = Some((user.to_owned(), password.to_owned())))
    }

    pub fn jmx_port(self, port: u16) -> FakeNode {
        self.with(|container| container.nodetool.jmx_port = port)
    }
}

/// What it does wrong.
impl FakeNode {
    /// A command that begins so fails and does nothing.
    pub fn failing_on(self, command: &str, exit_code: i64, stderr: &str) -> FakeNode {
        let failure = (command.to_owned(), exit_code, stderr.to_owned());
        self.with(|container| container.nodetool.failures.push(failure))
    }

    /// Commands fail no more.
    pub fn healed(self) -> FakeNode {
        self.engine.heal();
        self.with(|container| {
            container.nodetool.failures.clear();
            container.nodetool.answers.clear();
            container.nodetool.hanging.clear();
            container.nodetool.lost.clear();
            container.is_stubborn = false;
            container.cassandra.dies_on_start = false;
            container.cassandra.starts_as_somebody_else = false;
        })
    }

    /// A snapshot leaves this table (`ks1.users`) out and says nothing.
    pub fn silently_losing(self, table: &str) -> FakeNode {
        self.with(|container| container.nodetool.lost.extend([table.to_owned()]))
    }

    /// A line of the container's log.
    pub fn logging(self, line: &str) -> FakeNode {
        self.with(|container| container.cassandra.note(line))
    }

    pub fn dying_on_start(self) -> FakeNode {
        self.with(|container| container.cassandra.dies_on_start = true)
    }

    pub fn starting_as_somebody_else(self) -> FakeNode {
        self.with(|container| container.cassandra.starts_as_somebody_else = true)
    }

    /// A start takes so many requests to the Engine until nodetool and clients can connect.
    pub fn ready_after(self, requests: usize) -> FakeNode {
        self.with(|container| container.cassandra.ready_after_requests = requests)
    }

    /// Does not end when asked to: Docker kills it (exit code 137), its commit log stays unflushed.
    pub fn stubborn(self) -> FakeNode {
        self.with(|container| container.is_stubborn = true)
    }

    /// Runs before `start`, `stop` or a command that begins so (`nodetool snapshot`).
    pub fn before(self, what: &str, act: impl Fn(&Dirs) + Send + Sync + 'static) -> FakeNode {
        self.world.add_hook(Hook { when: When::Before, pattern: what.to_owned(), act: Arc::new(act) });
        self
    }

    pub fn after(self, what: &str, act: impl Fn(&Dirs) + Send + Sync + 'static) -> FakeNode {
        self.world.add_hook(Hook { when: When::After, pattern: what.to_owned(), act: Arc::new(act) });
        self
    }

    /// The same where the node is not to be given away.
    pub fn hook_after(&self, what: &str, act: impl Fn(&Dirs) + Send + Sync + 'static) {
        self.world.add_hook(Hook { when: When::After, pattern: what.to_owned(), act: Arc::new(act) });
    }

    pub fn forget_hooks_after(&self) {
        self.world.forget_hooks(When::After);
    }

    pub(super) fn with(self, change: impl FnOnce(&mut Container)) -> FakeNode {
        change(&mut self.world.container());
        self
    }
}

/// In memory where there is some: a node is hundreds of files. `TMPDIR` has the last word.
fn fast_directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let is_fit = rustix::fs::statvfs(memory).is_ok_and(|about| {
        let may_execute = !about.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC);
        may_execute && about.f_bavail * about.f_frsize > 1 << 30
    });
    if is_fit && std::env::var_os("TMPDIR").is_none() { memory.to_owned() } else { std::env::temp_dir() }
}

fn bind(source: &Path, destination: &Path) -> Value {
    json!({
        "Type": "bind", "Source": source, "Destination": destination, "Mode": "", "RW": true, "Propagation": "rprivate",
    })
}

fn write_config(container: &mut Container, sets_directories: bool) {
    let Cassandra { dirs, cluster_name, num_tokens, port, .. } = &container.cassandra;
    let mut config = format!(
        "cluster_name: {cluster_name}\nnum_tokens: {num_tokens}\nnative_transport_port: {port}\n\
         partitioner: org.apache.cassandra.dht.Murmur3Partitioner\nauto_snapshot: true\n"
    );
    if sets_directories {
        let data: String = dirs.data.iter().map(|dir| format!("  - {}\n", dir.display())).collect();
        config.push_str(&format!(
            "data_file_directories:\n{data}commitlog_directory: {}\nhints_directory: {}\nsaved_caches_directory: {}\n",
            dirs.commitlog.display(),
            dirs.hints.display(),
            dirs.saved_caches.display()
        ));
    } else {
        let target = dirs.storage.to_string_lossy().into_owned();
        container.files.insert("/opt/cassandra/data".to_owned(), Inside::Symlink(target));
    }
    container.files.insert("/etc/cassandra/cassandra.yaml".to_owned(), Inside::File(config.into_bytes()));
}
