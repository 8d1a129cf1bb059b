//! The node in a container: where its directories lie on this host, who it is, when it is ready.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::ansible::request::NodeAccess;
use crate::archive::manifest::NodeIdentity;
use crate::cassandra::config::{Config, Directories};
use crate::cassandra::death;
use crate::cassandra::nodetool::{ANSWER_TIMEOUT, Info, Nodetool};
pub use crate::cassandra::place::Place;
use crate::cassandra::place::{OWN_LAYER, PathFinder};
use crate::dir::Dir;
use crate::docker::{Container, Facts, RunState};
use crate::error::{Error, is_login_refused, tell};
use crate::interrupt;
use crate::proc;

/// How often a starting node is looked at.
const POLL: Duration = Duration::from_millis(100);

const WAITING: &str = "Cassandra was being waited for";

/// A node as it was found: nothing here was guessed.
#[derive(Debug)]
pub struct Node {
    pub container: Container,
    pub found: Facts,
    pub config: Config,
    /// `data_file_directories` in their order, then `local_system_data_file_directory` where it is set.
    pub data: Vec<Place>,
    pub commitlog: Place,
    /// None before 3.0, where hints are rows of a table.
    pub hints: Option<Place>,
    pub saved_caches: Place,
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
        let mut finder = PathFinder::new(&container, &found);
        let config = read_config(&mut finder, access, property("cassandra.config"), &java).await?;
        let home = home(&found).unwrap_or("/opt/cassandra");
        let storage_dir = property("cassandra.storagedir").unwrap_or_else(|| format!("{home}/data"));
        let Directories { data, commitlog, hints, saved_caches } = config.directories(&storage_dir);

        let mut data_places = Vec::new();
        for path in data {
            data_places.push(finder.place(path).await?);
        }
        let (commitlog, hints) = (finder.place(commitlog).await?, finder.place_once_made(hints).await?);
        let saved_caches = finder.place(saved_caches).await?;
        Ok(Node { config, data: data_places, container, found, commitlog, hints, saved_caches })
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

    /// What a stopped container takes with it cannot be restored.
    pub fn refuse_own_layer(&self) -> Result<()> {
        let Some(place) = self.all_places().find(|place| place.is_in_own_layer) else { return Ok(()) };
        let why = format!(
            "{OWN_LAYER}: back it up while it runs, make the container anew with a volume there, and restore into that"
        );
        let (container, path) = (self.container.name.clone(), place.container_path.clone());
        Err(Error::HostPath { container, path, why }.into())
    }

    /// The data directories, held open.
    pub fn open_data(&self) -> Result<Vec<Dir>> {
        self.data.iter().map(Place::open).collect()
    }

    pub fn all_places(&self) -> impl Iterator<Item = &Place> {
        self.data.iter().chain([&self.commitlog]).chain(&self.hints).chain([&self.saved_caches])
    }

    /// A mount of the node that a path of this host leads through: the container's user could lead it elsewhere.
    pub fn mount_above(&self, path: &Path) -> Option<&Path> {
        self.all_places().find_map(|place| place.mount_above(path))
    }

    /// Waits until clients can connect: a listening socket in the container's network, no JVM started for it.
    pub async fn wait_for_clients(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let started_as = self.container.inspect().await?.pid;
        loop {
            interrupt::check()?;
            let facts = self.container.inspect().await?;
            if facts.run_state != RunState::Running || (started_as != 0 && facts.pid != started_as) {
                return Err(death::told(&self.container, &facts, WAITING).await);
            }
            let Some(port) = self.config.client_port() else { return Ok(()) };
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
            // As long as there is time, it is the same nodetool that is waited for: a second one would be another
            // JVM in a node that has no answer for the first.
            let patience = deadline.saturating_duration_since(Instant::now()).max(ANSWER_TIMEOUT);
            let asked = tokio::select! {
                state = self.own_state(nodetool, patience) => state,
                interrupted = interrupt::requested() => return Err(interrupted.into()),
            };
            let state = match asked {
                Ok((state, info)) if state == "UN" => return self.identity_of(info, nodetool).await,
                Ok((state, _)) => format!("its state is `{state}`"),
                Err(error) if may_pass(&error) => tell(&error).message,
                Err(error) => return Err(error),
            };
            let facts = self.container.inspect().await?;
            if !facts.run_state.is_up() {
                return Err(death::told(&self.container, &facts, WAITING).await);
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(timeout, state).into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn own_state(&self, nodetool: &Nodetool, patience: Duration) -> Result<(String, Info)> {
        let info = nodetool.info_within(patience).await?;
        let peers = nodetool.status_within(patience).await?;
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

    fn not_ready(&self, timeout: Duration, state: String) -> Error {
        Error::NotReady { container: self.container.name.clone(), seconds: timeout.as_secs(), state }
    }
}

/// What nodetool fails with while a node is starting; a wrong password stays wrong however long one waits.
fn may_pass(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(Error::NodetoolFailed { output, .. }) => !is_login_refused(output),
        Some(Error::NodetoolSilent { .. } | Error::NodetoolSenseless { .. }) => true,
        _ => false,
    }
}

/// Where Cassandra was unpacked: as the environment has it, or as the container starts it: `<home>/bin/cassandra`.
fn home(found: &Facts) -> Option<&str> {
    let told = found.env.get("CASSANDRA_HOME").map(|home| home.trim_end_matches('/'));
    told.or_else(|| found.command.iter().find_map(|word| word.strip_suffix("/bin/cassandra")))
}

/// The directories in which Cassandra itself looks for its cassandra.yaml, in its order.
fn class_path(java: &[String]) -> impl Iterator<Item = &str> {
    let is_flag = |word: &String| matches!(word.as_str(), "-cp" | "-classpath" | "--class-path");
    let path = java.iter().skip_while(move |word| !is_flag(word)).nth(1).map_or("", String::as_str);
    path.split(':')
        .filter(|entry| entry.starts_with('/') && !entry.ends_with(".jar") && !entry.ends_with('*'))
}

async fn read_config(
    finder: &mut PathFinder<'_>,
    access: &NodeAccess,
    java_property: Option<String>,
    java: &[String],
) -> Result<Config> {
    let (container, found) = (finder.container, finder.found);
    let yaml_in = |directory: &str| format!("{}/cassandra.yaml", directory.trim_end_matches('/'));
    let candidates = match (&access.config_file, java_property) {
        (Some(path), _) => vec![path.clone()],
        // A URL, as Cassandra wants it.
        (None, Some(url)) => vec![url.trim_start_matches("file:").replacen("///", "/", 1)],
        (None, None) => {
            let usual = [
                found.env.get("CASSANDRA_CONF").map(|conf| yaml_in(conf)),
                home(found).map(|home| yaml_in(&format!("{home}/conf"))),
                Some(yaml_in("/etc/cassandra")),
            ];
            let mut candidates = Vec::new();
            for path in class_path(java).map(yaml_in).chain(usual.into_iter().flatten()) {
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
    let why = format!("it has no file `{}`", candidates.join("`, no file `"));
    Err(Error::NotCassandra { container: container.name.clone(), why }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cassandra_yaml_is_looked_for_in_the_directories_of_the_class_path() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let home = "/opt/apache-cassandra-2.1.2/bin/..";
        let java = words(&format!(
            "java -ea -cp {home}/conf:{home}/build/classes/main:{home}/lib/airline-0.6.jar:/opt/lib/*:relative -Dx=y \
             org.apache.cassandra.service.CassandraDaemon"
        ));
        let found: Vec<&str> = class_path(&java).collect();
        assert_eq!(found, [format!("{home}/conf"), format!("{home}/build/classes/main")]);
        assert_eq!(class_path(&words("java -jar x.jar")).next(), None);
        assert_eq!(class_path(&[]).next(), None);
    }
}
