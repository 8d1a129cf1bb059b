//! The node in a container: where its directories lie on this host, who it is, when it is ready.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::ansible::request::NodeAccess;
use crate::archive::manifest::NodeIdentity;
use crate::cassandra::config::{Config, Directories};
use crate::cassandra::nodetool::{Info, Nodetool};
use crate::dir::Dir;
use crate::docker::{Container, Facts, PathInside, RunState};
use crate::error::{Error, is_login_refused, tell};
use crate::interrupt;
use crate::proc;

/// How often a starting node is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Symlinks followed inside the container before it counts as a loop, as the kernel has it.
const MOST_SYMLINKS: usize = 40;

/// A node as it was found: nothing here was guessed.
#[derive(Debug)]
pub struct Node {
    pub container: Container,
    pub found: Facts,
    pub client_port: Option<u16>,
    pub has_cdc: bool,
    /// `data_file_directories` in their order, then `local_system_data_file_directory` where it is set.
    pub data: Vec<Place>,
    pub commitlog: Place,
    pub hints: Place,
    pub saved_caches: Place,
}

/// One directory of the node, inside and on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As Cassandra is configured, for messages and the manifest.
    pub container_path: String,
    pub host_path: PathBuf,
}

impl Node {
    /// Reads the configuration and works out every directory's host path; proven where the container runs.
    pub async fn look(container: Container, access: &NodeAccess) -> Result<Node> {
        let found = container.inspect().await?;
        let java = proc::command_line_with(found.pid, "org.apache.cassandra.service.CassandraDaemon");
        let property = |name: &str| {
            let prefix = format!("-D{name}=");
            java.iter().find_map(|argument| argument.strip_prefix(&prefix)).map(str::to_owned)
        };
        let mut finder = PathFinder { container: &container, found: &found, symlinks: HashMap::new() };
        let config = read_config(&mut finder, access, property("cassandra.config")).await?;
        let home = found.env.get("CASSANDRA_HOME").map_or("/opt/cassandra", String::as_str);
        let storage_dir = property("cassandra.storagedir").unwrap_or_else(|| format!("{home}/data"));
        let Directories { data, commitlog, hints, saved_caches } = config.directories(&storage_dir);

        let mut data_places = Vec::new();
        for path in data {
            data_places.push(finder.place(path).await?);
        }
        let (commitlog, hints) = (finder.place(commitlog).await?, finder.place(hints).await?);
        let saved_caches = finder.place(saved_caches).await?;
        let (client_port, has_cdc) = (config.client_port(), config.cdc_enabled);
        Ok(Node { container, found, client_port, has_cdc, data: data_places, commitlog, hints, saved_caches })
    }

    /// Refuses where a second look finds other directories than the first: the configuration changes at a start.
    pub fn refuse_moved(&self, now: &Node) -> Result<()> {
        let mut pairs = self.data.iter().zip(&now.data);
        let moved = pairs.find(|(then, now)| then != now).map(|(then, _)| then);
        let one_more = || if self.data.len() == now.data.len() { None } else { self.data.first() };
        let Some(place) = moved.or_else(one_more) else { return Ok(()) };
        Err(Error::HostPath {
            container: self.container.name.clone(),
            path: place.container_path.clone(),
            why: "the data lies elsewhere once the container runs; run again while it does".to_owned(),
        }
        .into())
    }

    /// The data directories, held open.
    pub fn open_data(&self) -> Result<Vec<Dir>> {
        self.data.iter().map(|place| Dir::open(&place.host_path)).collect()
    }

    pub fn all_places(&self) -> impl Iterator<Item = &Place> {
        self.data.iter().chain([&self.commitlog, &self.hints, &self.saved_caches])
    }

    /// Waits until clients can connect: a listening socket in the container's network, no JVM started for it.
    pub async fn wait_for_clients(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let started_as = self.container.inspect().await?.pid;
        loop {
            interrupt::check()?;
            let facts = self.container.inspect().await?;
            if facts.run_state != RunState::Running || (started_as != 0 && facts.pid != started_as) {
                return Err(self.died(&facts).await);
            }
            let Some(port) = self.client_port else { return Ok(()) };
            if proc::listens(facts.pid, port) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(timeout, format!("no socket listens on port {port}")).into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the node is up and normal in its own eyes, and returns who it says it is.
    pub async fn wait_until_normal(&self, nodetool: &Nodetool, timeout: Duration) -> Result<NodeIdentity> {
        let deadline = Instant::now() + timeout;
        loop {
            interrupt::check()?;
            let state = match self.own_state(nodetool).await {
                Ok((state, info)) if state == "UN" => return self.identity_of(info, nodetool).await,
                Ok((state, _)) => format!("its state is `{state}`"),
                Err(error) if may_pass(&error) => tell(&error).message,
                Err(error) => return Err(error),
            };
            let facts = self.container.inspect().await?;
            if !facts.run_state.is_up() {
                return Err(self.died(&facts).await);
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(timeout, state).into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn own_state(&self, nodetool: &Nodetool) -> Result<(String, Info)> {
        let info = nodetool.info().await?;
        let peers = nodetool.status().await?;
        let own = peers.into_iter().find(|peer| peer.host_id == info.host_id);
        Ok((own.map_or_else(|| "not in the ring".to_owned(), |peer| peer.state), info))
    }

    /// Who the running node says it is.
    pub async fn identity(&self, nodetool: &Nodetool) -> Result<NodeIdentity> {
        self.identity_of(nodetool.info().await?, nodetool).await
    }

    async fn identity_of(&self, info: Info, nodetool: &Nodetool) -> Result<NodeIdentity> {
        let cluster = nodetool.describe_cluster().await?;
        Ok(NodeIdentity {
            cluster_name: cluster.name,
            host_id: info.host_id,
            data_center: info.data_center,
            rack: info.rack,
            tokens: info.tokens,
            partitioner: cluster.partitioner,
            cassandra_version: nodetool.release_version().await?,
            schema_version: cluster.schema_versions.join(","),
            data_directories: self.data.iter().map(|place| place.container_path.clone()).collect(),
        })
    }

    async fn died(&self, facts: &Facts) -> anyhow::Error {
        let log = last_errors(&self.container.last_log_lines(20).await);
        let (container, exit_code) = (self.container.name.clone(), facts.exit_code);
        Error::ContainerDied { container, exit_code, log }.into()
    }

    fn not_ready(&self, timeout: Duration, state: String) -> Error {
        Error::NotReady { container: self.container.name.clone(), seconds: timeout.as_secs(), state }
    }
}

/// What nodetool fails with while a node is starting; a wrong password stays wrong however long one waits.
fn may_pass(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(Error::NodetoolFailed { output, .. }) => !is_login_refused(output),
        _ => false,
    }
}

/// What the log says of a death, short: its last error lines, else its last line.
fn last_errors(log: &str) -> String {
    let is_error =
        |line: &&str| line.contains("ERROR") || line.contains("Exception") || line.contains("FATAL");
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(is_error).collect();
    let shown = if errors.is_empty() { &lines } else { &errors };
    let last = &shown[shown.len().saturating_sub(3)..];
    if last.is_empty() { String::new() } else { format!("; its log ends: {}", last.join(" | ")) }
}

async fn read_config(
    finder: &mut PathFinder<'_>,
    access: &NodeAccess,
    java_property: Option<String>,
) -> Result<Config> {
    let (container, found) = (finder.container, finder.found);
    let in_directory = |variable: &str, below: &str| {
        found
            .env
            .get(variable)
            .map(|directory| format!("{}{below}/cassandra.yaml", directory.trim_end_matches('/')))
    };
    let candidates = match (&access.config_file, java_property) {
        (Some(path), _) => vec![path.clone()],
        // A URL, as Cassandra wants it.
        (None, Some(url)) => vec![url.trim_start_matches("file:").replacen("///", "/", 1)],
        (None, None) => {
            let usual = [
                in_directory("CASSANDRA_CONF", ""),
                in_directory("CASSANDRA_HOME", "/conf"),
                Some("/etc/cassandra/cassandra.yaml".to_owned()),
            ];
            let mut candidates = Vec::new();
            for path in usual.into_iter().flatten() {
                if !candidates.contains(&path) {
                    candidates.push(path);
                }
            }
            candidates
        }
    };
    for path in &candidates {
        // The Engine does not follow a symlink that is the last name.
        let Some(resolved) = finder.resolve(path).await? else { continue };
        if let Some(text) = container.read_file(&resolved).await? {
            let container = container.name.clone();
            return Config::parse(&text).map_err(|error| {
                let why = format!("`{path}` cannot be read: {error:#}");
                Error::NotCassandra { container, why }.into()
            });
        }
    }
    let why = format!("it has no `{}`", candidates.join("`, no `"));
    Err(Error::NotCassandra { container: container.name.clone(), why }.into())
}

/// Follows paths from the container's view to the host's.
struct PathFinder<'a> {
    container: &'a Container,
    found: &'a Facts,
    /// What was asked already: each question is a round trip.
    symlinks: HashMap<String, Option<String>>,
}

impl PathFinder<'_> {
    async fn place(&mut self, container_path: String) -> Result<Place> {
        let fail = |why: String| Error::HostPath {
            container: self.container.name.clone(),
            path: container_path.clone(),
            why,
        };
        let resolved =
            self.resolve(&container_path).await?.ok_or_else(|| fail("its symlinks go in a circle".into()))?;
        let inside = Path::new(&resolved);
        let mounts = &self.found.mounts;
        let covering = mounts.iter().filter(|mount| inside.starts_with(&mount.container_path));
        let Some(mount) = covering.max_by_key(|mount| mount.container_path.len()) else {
            return Err(fail("it lies in the container's own layer, not on a mount".to_owned()).into());
        };
        if !matches!(mount.kind.as_str(), "bind" | "volume") {
            return Err(fail(format!("it lies on a mount of type {}", mount.kind)).into());
        }
        let nested = mounts.iter().find(|other| {
            other.container_path != resolved && Path::new(&other.container_path).starts_with(inside)
        });
        if let Some(nested) = nested {
            return Err(fail(format!("another mount, `{}`, lies below it", nested.container_path)).into());
        }
        let below = inside.strip_prefix(&mount.container_path).unwrap_or(Path::new(""));
        let host_path = match below.as_os_str().is_empty() {
            true => PathBuf::from(&mount.host_path),
            false => Path::new(&mount.host_path).join(below),
        };
        if self.found.run_state == RunState::Running {
            prove_same(self.found.pid, &resolved, &host_path).map_err(fail)?;
        }
        Ok(Place { container_path, host_path })
    }

    /// The path without symlinks; what is not there yet is taken as it is. `None`: a loop.
    async fn resolve(&mut self, path: &str) -> Result<Option<String>> {
        let mut resolved = String::new();
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut followed = 0;
        while let Some(name) = rest.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => resolved.truncate(resolved.rfind('/').unwrap_or(0)),
                name => {
                    let next = format!("{resolved}/{name}");
                    let Some(target) = self.symlink_target(&next).await? else {
                        resolved = next;
                        continue;
                    };
                    followed += 1;
                    if followed > MOST_SYMLINKS {
                        return Ok(None);
                    }
                    if target.starts_with('/') {
                        resolved.clear();
                    }
                    rest.extend(target.split('/').rev().map(str::to_owned));
                }
            }
        }
        Ok(Some(resolved))
    }

    async fn symlink_target(&mut self, path: &str) -> Result<Option<String>> {
        if let Some(known) = self.symlinks.get(path) {
            return Ok(known.clone());
        }
        let target = match self.container.stat(path).await? {
            Some(PathInside::Symlink { target }) => Some(target),
            Some(PathInside::Other) | None => None,
        };
        self.symlinks.insert(path.to_owned(), target.clone());
        Ok(target)
    }
}

/// The container's directory and the host's must be one inode: a mount that moved, or a socket of another
/// host's engine, would make us work on a stranger's files.
fn prove_same(pid: i64, container_path: &str, host_path: &Path) -> std::result::Result<(), String> {
    let seen_inside = PathBuf::from(format!("/proc/{pid}/root{container_path}"));
    let inside = match std::fs::metadata(&seen_inside) {
        Ok(inside) => inside,
        // Cassandra makes its directories itself, some of them late.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !host_path.exists() => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(
                "it cannot be compared with the container's view without root; run with `become: true`"
                    .into(),
            );
        }
        Err(error) => return Err(format!("it cannot be seen through process {pid}: {error}")),
    };
    match std::fs::metadata(host_path) {
        Ok(outside) if (outside.dev(), outside.ino()) == (inside.dev(), inside.ino()) => Ok(()),
        Ok(_) => Err(format!(
            "`{}` on this host is another directory than the container sees",
            host_path.display()
        )),
        Err(error) => Err(format!("`{}` on this host: {error}", host_path.display())),
    }
}
