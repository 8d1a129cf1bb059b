//! nodetool inside the container: run, bounded, and read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;

use crate::ansible::request::{NodeAccess, Secret};
use crate::cassandra::{death, version};
use crate::docker::{Container, ExecOutcome, RunState};
use crate::error::Error;

/// How long nodetool may take to answer a question; a snapshot or a repair takes the time it needs.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// What asks or works table by table: ten thousand tables take minutes.
const LONG_ANSWER_TIMEOUT: Duration = Duration::from_secs(1800);

/// Set where the container's Java refuses nodetool's own address: a run has one container.
static OLD_ADDRESSES: OnceLock<String> = OnceLock::new();

/// nodetool of one container, found and ready to be called.
#[derive(Debug, Clone)]
pub struct Nodetool {
    container: Container,
    path: String,
    flags: Vec<String>,
    /// `USER PASSWORD`, given on standard input: never in argv, environment or a file.
    credentials: Option<Secret>,
}

/// `nodetool info -T`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub host_id: String,
    pub data_center: String,
    pub rack: String,
    pub tokens: Vec<String>,
}

/// `nodetool describecluster`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    pub name: String,
    pub partitioner: String,
    /// Those of the nodes that can be reached.
    pub schema_versions: Vec<String>,
    /// Replicas of each keyspace, local ones 0; empty before 4.0, which does not tell.
    pub replicas: BTreeMap<String, u32>,
}

/// One line of `nodetool status`.
#[derive(Debug, PartialEq, Eq)]
pub struct Peer {
    /// `UN` is up and normal.
    pub state: String,
    pub host_id: String,
}

/// Every table of the node, indexes as `table.index`.
pub type Tables = BTreeMap<String, BTreeSet<String>>;

/// `nodetool tablestats`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    pub tables: Tables,
    /// Keyspace and table of each memtable that holds data.
    pub unflushed: Vec<(String, String)>,
}

impl Nodetool {
    /// Finds nodetool in a running container: as given, on PATH, under `$CASSANDRA_HOME`, under `/opt`.
    pub async fn find(container: &Container, access: &NodeAccess) -> Result<Nodetool> {
        const LOOK: &str = r#"for p in "$(command -v nodetool)" "$CASSANDRA_HOME/bin/nodetool" /opt/*/bin/nodetool
do [ -f "$p" ] && [ -x "$p" ] && echo "$p" && exit; done; exit 1"#;
        let missing = || Error::NodetoolMissing { container: container.name.clone() };
        let path = match &access.nodetool_path {
            Some(path) => path.clone(),
            None => {
                let looking = container.exec(&["sh", "-c", LOOK], &[], None);
                let hangs = |_| Error::EngineFailed {
                    request: format!("look for nodetool in container `{}`", container.name),
                    cause: format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
                };
                let looked = tokio::time::timeout(ANSWER_TIMEOUT, looking).await.map_err(hangs)??;
                if looked.exit_code != 0 {
                    return Err(missing().into());
                }
                looked.stdout.trim().to_owned()
            }
        };
        let mut flags = access.nodetool_flags.clone();
        if let Some(port) = access.jmx_port {
            flags.extend(["-p".to_owned(), port.to_string()]);
        }
        let login = access.jmx_username.as_ref().zip(access.jmx_password.as_ref());
        let credentials = login.map(|(user, password)| {
            flags.extend(["-u".to_owned(), user.clone(), "-pwf".to_owned(), "/dev/stdin".to_owned()]);
            Secret::new(format!("{user} {}\n", password.reveal()))
        });
        Ok(Nodetool { container: container.clone(), path, flags, credentials })
    }

    pub async fn release_version(&self) -> Result<String> {
        let said = self.ask(&["version"]).await?;
        let version = field(&said, "ReleaseVersion").filter(|version| is_version(version));
        version.map(str::to_owned).ok_or_else(|| self.senseless("version", "`ReleaseVersion`"))
    }

    pub async fn info(&self) -> Result<Info> {
        self.info_within(ANSWER_TIMEOUT).await
    }

    pub async fn info_within(&self, patience: Duration) -> Result<Info> {
        let info = Info::parse(&self.ask_within(patience, &["info", "-T"]).await?);
        match &info {
            Info { host_id, .. } if host_id.is_empty() => Err(self.senseless("info -T", "`ID`")),
            Info { tokens, .. } if tokens.is_empty() => Err(self.senseless("info -T", "`Token`")),
            _ => Ok(info),
        }
    }

    pub async fn describe_cluster(&self) -> Result<Cluster> {
        let cluster = Cluster::parse(&self.ask(&["describecluster"]).await?);
        match &cluster {
            Cluster { name, .. } if name.is_empty() => Err(self.senseless("describecluster", "`Name`")),
            Cluster { partitioner, .. } if partitioner.is_empty() => {
                Err(self.senseless("describecluster", "`Partitioner`"))
            }
            _ => Ok(cluster),
        }
    }

    pub async fn status(&self) -> Result<Vec<Peer>> {
        self.status_within(ANSWER_TIMEOUT).await
    }

    pub async fn status_within(&self, patience: Duration) -> Result<Vec<Peer>> {
        let peers = parse_status(&self.ask_within(patience, &["status"]).await?);
        if peers.is_empty() { Err(self.senseless("status", "node with a host id")) } else { Ok(peers) }
    }

    pub async fn tables(&self, release_version: &str) -> Result<Tables> {
        self.table_stats(release_version).await.map(|stats| stats.tables)
    }

    /// `tablestats` (`cfstats` before 3.0): the only list of tables that needs no CQL client.
    pub async fn table_stats(&self, release_version: &str) -> Result<TableStats> {
        let command = if version::is_before(release_version, (3, 0)) { "cfstats" } else { "tablestats" };
        let stats = TableStats::parse(&self.ask_within(LONG_ANSWER_TIMEOUT, &[command]).await?);
        if stats.tables.is_empty() { Err(self.senseless(command, "`Table`")) } else { Ok(stats) }
    }

    /// Takes a snapshot of the keyspaces named, of all where none is.
    pub async fn snapshot(&self, tag: &str, keyspaces: &[String]) -> Result<()> {
        let mut command = vec!["snapshot", "-t", tag];
        if !keyspaces.is_empty() {
            command.push("--");
        }
        command.extend(keyspaces.iter().map(String::as_str));
        self.run(&command).await.map(|_| ())
    }

    pub async fn clear_snapshot(&self, tag: &str) -> Result<()> {
        self.ask_within(LONG_ANSWER_TIMEOUT, &["clearsnapshot", "-t", tag]).await.map(|_| ())
    }

    pub async fn drain(&self) -> Result<()> {
        self.ask(&["drain"]).await.map(|_| ())
    }

    /// Repairs one keyspace. One replica, or no other node in a range, is nothing to repair, not a failure.
    pub async fn repair(&self, flags: &[&str], keyspace: &str) -> Result<()> {
        let mut command = vec!["repair"];
        command.extend(flags);
        command.extend(["--", keyspace]);
        let outcome = self.exec(&command).await?;
        let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
        let nothing_to_do =
            ["No repair is needed", "Nothing to repair for"].iter().any(|words| said.contains(words));
        if outcome.exit_code == 0 || nothing_to_do { Ok(()) } else { Err(self.failed(&command, &outcome)) }
    }

    async fn ask(&self, command: &[&str]) -> Result<String> {
        self.ask_within(ANSWER_TIMEOUT, command).await
    }

    async fn ask_within(&self, timeout: Duration, command: &[&str]) -> Result<String> {
        let silent = |_| Error::NodetoolSilent {
            container: self.container.name.clone(),
            command: command.join(" "),
            seconds: timeout.as_secs_f64().ceil() as u64,
        };
        tokio::time::timeout(timeout, self.run(command)).await.map_err(silent)?
    }

    async fn run(&self, command: &[&str]) -> Result<String> {
        let outcome = self.exec(command).await?;
        if outcome.exit_code == 0 { Ok(outcome.stdout) } else { Err(self.failed(command, &outcome)) }
    }

    async fn exec(&self, command: &[&str]) -> Result<ExecOutcome> {
        let mut line = vec![self.path.as_str()];
        line.extend(self.flags.iter().map(String::as_str));
        line.extend(command);
        let mut ended = self.call(&line).await;
        if ended.as_ref().is_ok_and(has_refused_its_address) && OLD_ADDRESSES.get().is_none() {
            self.take_old_addresses().await?;
            ended = self.call(&line).await;
        }
        if !ended.as_ref().is_ok_and(|outcome| outcome.exit_code == 0)
            && let Ok(facts) = self.container.inspect().await
            && facts.run_state != RunState::Running
        {
            let during = format!("`nodetool {}` ran in it", command.join(" "));
            return Err(death::told(&self.container, &facts, &during).await);
        }
        ended.map_err(|error| match error.downcast() {
            Ok(Error::EngineFailed { cause, .. }) => {
                let (name, command) = (&self.container.name, command.join(" "));
                let request = format!("run `nodetool {command}` in container `{name}`");
                Error::EngineFailed { request, cause }.into()
            }
            Ok(other) => other.into(),
            Err(other) => other,
        })
    }

    async fn call(&self, line: &[&str]) -> Result<ExecOutcome> {
        let environment: Vec<&str> = OLD_ADDRESSES.get().map(String::as_str).into_iter().collect();
        let input = self.credentials.as_ref().map(Secret::reveal);
        self.container.exec(line, &environment, input).await
    }

    /// Beside what the container itself tells its Java.
    async fn take_old_addresses(&self) -> Result<()> {
        let facts = self.container.inspect().await?;
        let own = facts.env.get("JAVA_TOOL_OPTIONS").map(|own| format!("{own} ")).unwrap_or_default();
        OLD_ADDRESSES.get_or_init(|| format!("JAVA_TOOL_OPTIONS={own}{TAKE_OLD_ADDRESSES}"));
        Ok(())
    }

    /// It ended well and did not say what it is asked for: a broken connection, or another program.
    fn senseless(&self, command: &str, lacks: &'static str) -> anyhow::Error {
        let container = self.container.name.clone();
        Error::NodetoolSenseless { container, command: command.to_owned(), lacks }.into()
    }

    fn failed(&self, command: &[&str], outcome: &ExecOutcome) -> anyhow::Error {
        let container = self.container.name.clone();
        // What the shell says where the file is not there or may not be run.
        if matches!(outcome.exit_code, 126 | 127) {
            return Error::NodetoolMissing { container }.into();
        }
        let command = command.join(" ");
        Error::NodetoolFailed { container, command, exit_code: outcome.exit_code, output: reason(outcome) }
            .into()
    }
}

/// What Java needs to be told from 8u331, 11.0.15 and 17.0.3 on, where Cassandra is older than 3.0.27, 3.11.13 or 4.0.4.
const TAKE_OLD_ADDRESSES: &str = "-Dcom.sun.jndi.rmiURLParsing=legacy";

/// `URISyntaxException: 'Malformed IPv6 address at index 7: rmi://[127.0.0.1]:7199'`: nothing was done.
fn has_refused_its_address(outcome: &ExecOutcome) -> bool {
    let refused = |said: &str| said.contains("Malformed IPv6 address") && said.contains("rmi://[");
    outcome.exit_code != 0 && (refused(&outcome.stdout) || refused(&outcome.stderr))
}

/// How nodetool was made to work, where it did not by itself.
pub fn told_to_java() -> Option<String> {
    OLD_ADDRESSES.get().map(|environment| {
        format!(
            "nodetool works in this container with `{environment}` only: its Java refuses the address that nodetool of \
             this Cassandra gives it (`rmi://[127.0.0.1]`); it was told so for each call here, and would be for \
             everybody's by the container's environment"
        )
    })
}

/// nodetool's own sentence, without the Java stack trace behind it.
fn reason(outcome: &ExecOutcome) -> String {
    // Java says on stderr what it was told by the environment; nodetool its failures, in some versions, on stdout.
    let is_nodetools = |line: &&str| !line.is_empty() && !line.starts_with("Picked up JAVA_TOOL_OPTIONS");
    let is_silent = !outcome.stderr.lines().map(str::trim).any(|line| is_nodetools(&line));
    let said = if is_silent { &outcome.stdout } else { &outcome.stderr };
    let lines = said.lines().map(str::trim).filter(is_nodetools);
    let lines = lines.take_while(|line| *line != "-- StackTrace --");
    let sentences: Vec<&str> =
        lines.filter(|line| !line.starts_with("at ") && !line.starts_with("See 'nodetool help'")).collect();
    let from = sentences.len().saturating_sub(3);
    let text = sentences[from..].join("; ");
    text.trim_start_matches("error: ").trim_start_matches("nodetool: ").trim_end_matches('.').to_owned()
}

/// `5.0.5`, `4.1-beta1-SNAPSHOT`: a number before and behind the first dot.
fn is_version(text: &str) -> bool {
    let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| begins(major) && begins(minor))
}

/// The value of `Name   : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

impl Info {
    fn parse(text: &str) -> Info {
        let value = |name| field(text, name).unwrap_or_default().to_owned();
        let tokens = text.lines().filter_map(|line| line.split_once(':'));
        let tokens = tokens.filter(|(name, _)| name.trim() == "Token").map(|(_, token)| token.trim());
        // `(node is not joined to the cluster)`, or too many tokens to be shown without `-T`.
        let mut tokens: Vec<String> =
            tokens.filter(|token| !token.starts_with('(')).map(str::to_owned).collect();
        tokens.sort_unstable();
        Info { host_id: value("ID"), data_center: value("Data Center"), rack: value("Rack"), tokens }
    }
}

impl Cluster {
    fn parse(text: &str) -> Cluster {
        let value = |name| field(text, name).unwrap_or_default().to_owned();
        // Before 4.0 the lines of a section have no name to end them: a schema version is told by its list.
        let schema_versions = text.lines().filter_map(|line| {
            let (version, nodes) = line.trim().split_once(": ")?;
            let is_version = version.len() == 36 && version.matches('-').count() == 4;
            (nodes.starts_with('[') && is_version).then(|| version.to_owned())
        });
        let replicas = text.lines().filter_map(|line| {
            let (keyspace, replication) = line.trim().split_once(" -> Replication class: ")?;
            let counts = replication.split_once('{')?.1.trim_end_matches('}').split(',');
            // A transient replica is written `3/1`: three, one of them transient.
            let count = |pair: &str| pair.split_once('=')?.1.split('/').next()?.trim().parse::<u32>().ok();
            Some((keyspace.to_owned(), counts.filter_map(count).sum()))
        });
        let mut cluster = Cluster {
            name: value("Name"),
            partitioner: value("Partitioner"),
            schema_versions: schema_versions.collect(),
            replicas: BTreeMap::new(),
        };
        cluster.replicas.extend(replicas);
        cluster
    }
}

fn parse_status(text: &str) -> Vec<Peer> {
    let is_uuid = |word: &&str| word.len() == 36 && word.matches('-').count() == 4;
    let peer = |line: &str| {
        let mut words = line.split_whitespace();
        let state = words.next()?;
        let host_id = words.find(is_uuid)?;
        Some(Peer { state: state.to_owned(), host_id: host_id.to_owned() })
    };
    text.lines().filter_map(peer).collect()
}

impl TableStats {
    /// Reads the plain output, which every version has: `Keyspace : ks`, then `Table: t` or `Table (index): t.i`,
    /// each with `Memtable cell count: 0`.
    fn parse(text: &str) -> TableStats {
        let mut stats = TableStats::default();
        let (mut keyspace, mut table) = (None, None);
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match (name.trim(), &keyspace, &table) {
                ("Keyspace", ..) => keyspace = Some(value.to_owned()),
                ("Table" | "Table (index)", Some(keyspace), _) => {
                    stats.tables.entry(keyspace.clone()).or_default().insert(value.to_owned());
                    table = Some(value.to_owned());
                }
                ("Memtable cell count", Some(keyspace), Some(table)) if value != "0" => {
                    stats.unflushed.push((keyspace.clone(), table.clone()));
                }
                _ => {}
            }
        }
        stats
    }
}

#[cfg(test)]
#[path = "nodetool_tests.rs"]
mod tests;
