//! Every way a run fails, in the operator's words, each with its hint.
//!
//! A message says what failed and on which thing. What it means for the data and the node is added at the
//! edge from the run's [`Report`](crate::ansible::result::Report), because only the run knows how far it came.

use std::fmt;
use std::path::PathBuf;

use crate::size::human;

/// What an operator is told. `#[error]` is the sentence, [`Error::word`] the stable `error` key of the
/// result, [`Error::hint`] what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{message}")]
    BadOption { message: String, hint: &'static str },

    #[error("no Docker Engine answers at `{socket}`: {cause}")]
    EngineUnreachable { socket: String, cause: String },
    #[error("no permission to use the Docker Engine's socket `{socket}`")]
    EnginePermission { socket: String },
    #[error("the Docker Engine at `{socket}` cannot be used: {why}")]
    EngineApi { socket: String, why: String },
    #[error("the Docker Engine failed to {request}: {cause}")]
    EngineFailed { request: String, cause: String },

    #[error("there is no container `{container}`")]
    ContainerAbsent { container: String },
    #[error("container `{container}` is paused")]
    ContainerPaused { container: String },
    #[error("container `{container}` is restarting over and over ({})", end.cause())]
    ContainerRestarting { container: String, end: End },
    #[error("container `{container}` is stopped")]
    ContainerStopped { container: String },
    #[error("container `{container}` is stopped: the snapshots of a set are taken of nodes that are up")]
    NothingToHold { container: String },
    #[error("container `{container}` did not stop within {seconds} s")]
    StopTimedOut { container: String, seconds: u64 },
    #[error("container `{container}` was stopped, and somebody else has started it again")]
    StartedAgain { container: String },
    #[error("container `{container}` {end} while {during}{log}")]
    ContainerDied { container: String, end: End, during: String, log: String },
    #[error("container `{container}` does not hold a Cassandra node: {why}")]
    NotCassandra { container: String, why: String },
    #[error("`{path}` of container `{container}` cannot be found on this host: {why}")]
    HostPath { container: String, path: String, why: String },

    #[error("`nodetool` was not found in container `{container}`")]
    NodetoolMissing { container: String },
    #[error("`nodetool {command}` failed in container `{container}` (exit code {exit_code}): {output}")]
    NodetoolFailed { container: String, command: String, exit_code: i64, output: String },
    #[error("`nodetool {command}` gave no answer within {seconds} s in container `{container}`")]
    NodetoolSilent { container: String, command: String, seconds: u64 },
    #[error("`nodetool {command}` gave an answer without {lacks} in container `{container}`")]
    NodetoolSenseless { container: String, command: String, lacks: &'static str },
    #[error("Cassandra in container `{container}` was not ready within {seconds} s: {state}")]
    NotReady { container: String, seconds: u64, state: String },

    #[error("another run is at work on this node: {holder}")]
    Busy { holder: String },
    #[error("container `{container}` has no data to back up: `{paths}` on this host is empty")]
    NoData { container: String, paths: String },
    #[error("a restore of this node is unfinished (phase `{phase}`, archive `{archive}`)")]
    RestoreUnfinished { phase: String, archive: String },
    #[error("`{path}` is a file: a restore is unfinished that `state_dir` does not know")]
    Blocked { path: PathBuf },

    #[error("the node holds a snapshot `{tag}` already, made by somebody else or kept by `keep_snapshot`")]
    SnapshotNotOurs { tag: String },
    #[error("snapshot `{tag}` of table `{table}` is still there after `nodetool clearsnapshot`")]
    SnapshotNotCleared { tag: String, table: String },
    #[error("the snapshot `{tag}` is not complete: {missing}")]
    SnapshotIncomplete { tag: String, missing: String },
    #[error("the data changed while it was packed: {what}")]
    DataChanged { what: String },

    #[error("`{path}` cannot be used as backup_dir: {why}")]
    BackupDir { path: PathBuf, why: String },
    #[error("`{path}` cannot be used as state_dir: {why}")]
    StateDir { path: PathBuf, why: String },
    #[error("not enough space in `{path}`: {} are needed, {} are free", human(*needed), human(*free))]
    NoSpace { path: PathBuf, needed: u64, free: u64 },

    #[error("`{path}` exists already, but {why}")]
    ArchiveExists { path: PathBuf, why: String },
    #[error("`{path}` is in the way: {what}")]
    ArchiveInTheWay { path: PathBuf, what: String },
    #[error("there is no archive `{path}`")]
    ArchiveMissing { path: PathBuf },
    #[error("`{backup_dir}` holds no complete archive of this node")]
    NoLatest { backup_dir: PathBuf },
    #[error("the archive `{path}` is damaged: {what}")]
    ArchiveDamaged { path: PathBuf, what: String },
    #[error("`{path}` is not an archive of this module: {what}")]
    ArchiveForeign { path: PathBuf, what: String },
    #[error("the archive `{path}` is of another node: {difference}")]
    ArchiveOfAnotherNode { path: PathBuf, difference: String },

    #[error("{}", list(refusals))]
    Refused { refusals: Vec<String> },
    #[error("the node that started is not the archive's: {difference}")]
    NotTheArchivesNode { difference: String },
    #[error("there is nothing to roll back to: {why}")]
    NoPreviousData { why: String },
    #[error("the archive is restored, but repair failed: {cause}")]
    RepairFailed { cause: String },

    #[error("ended by {signal}")]
    Interrupted { signal: &'static str },

    #[error("{first}; and then: {then}", first = first.message)]
    Twice { first: Box<Told>, then: String },
}

fn list(refusals: &[String]) -> String {
    match refusals {
        [one] => one.clone(),
        many => format!("{} reasons not to begin: {}", many.len(), many.join("; ")),
    }
}

impl Error {
    /// A failure whose clean-up failed as well: the first one names and hints.
    pub fn twice(first: anyhow::Error, then: &anyhow::Error) -> Error {
        Error::Twice { first: Box::new(tell(&first)), then: tell(then).message }
    }

    /// The stable word of the result's `error` key, for `rescue:` and `failed_when:`.
    pub fn word(&self) -> &'static str {
        use Error::*;
        match self {
            BadOption { .. } => "bad_option",
            EngineUnreachable { .. } => "engine_unreachable",
            EnginePermission { .. } => "engine_permission",
            EngineApi { .. } => "engine_api",
            EngineFailed { .. } => "engine_failed",
            ContainerAbsent { .. } => "container_absent",
            ContainerPaused { .. } => "container_paused",
            ContainerRestarting { .. } => "container_restarting",
            ContainerStopped { .. } | NothingToHold { .. } => "container_stopped",
            StopTimedOut { .. } => "stop_timed_out",
            StartedAgain { .. } => "started_again",
            ContainerDied { .. } => "container_died",
            NotCassandra { .. } => "not_cassandra",
            HostPath { .. } => "host_path",
            NodetoolMissing { .. } => "nodetool_missing",
            NodetoolFailed { .. } | NodetoolSilent { .. } | NodetoolSenseless { .. } => "nodetool_failed",
            NotReady { .. } => "not_ready",
            Busy { .. } => "busy",
            NoData { .. } => "no_data",
            RestoreUnfinished { .. } | Blocked { .. } => "restore_unfinished",
            SnapshotNotOurs { .. } => "snapshot_not_ours",
            SnapshotNotCleared { .. } => "snapshot_not_cleared",
            SnapshotIncomplete { .. } => "snapshot_incomplete",
            DataChanged { .. } => "data_changed",
            BackupDir { .. } => "backup_dir",
            StateDir { .. } => "state_dir",
            NoSpace { .. } => "no_space",
            ArchiveExists { .. } | ArchiveInTheWay { .. } => "archive_exists",
            ArchiveMissing { .. } => "archive_missing",
            NoLatest { .. } => "archive_missing",
            ArchiveDamaged { .. } => "archive_damaged",
            ArchiveForeign { .. } => "archive_foreign",
            ArchiveOfAnotherNode { .. } => "archive_of_another_node",
            Refused { .. } => "refused",
            NotTheArchivesNode { .. } => "not_the_archives_node",
            NoPreviousData { .. } => "no_previous_data",
            RepairFailed { .. } => "repair_failed",
            Interrupted { .. } => "interrupted",
            Twice { first, .. } => first.word,
        }
    }

    /// What to do next; empty where the sentence says it already.
    pub fn hint(&self) -> &'static str {
        use Error::*;
        match self {
            BadOption { hint, .. } => hint,
            EngineUnreachable { .. } => {
                "is Docker running on this host? set `docker_host` to its Unix socket"
            }
            EnginePermission { .. } => "run the task with `become: true`, or as a user of the group `docker`",
            EngineApi { .. } => {
                "update the older of the two, Docker on this host (1.12 is the oldest that works) or this module"
            }
            EngineFailed { .. } => "see the Docker Engine's log, then run again",
            ContainerAbsent { .. } => {
                "see `docker ps -a` on this host, and set `container` to the node's name"
            }
            ContainerPaused { .. } => "run `docker unpause` on it, then run again",
            ContainerRestarting { end: End::OutOfMemory, .. }
            | ContainerDied { end: End::OutOfMemory, .. } => {
                "give the container more memory, or Cassandra a smaller heap"
            }
            ContainerRestarting { .. } => "see `docker logs`; a backup needs a node that runs",
            ContainerStopped { .. } => "start it, or set `when_stopped: start`",
            NothingToHold { .. } => "start it, and see that it is up and normal before it takes part",
            StopTimedOut { .. } => "raise `stop_timeout`, or see `docker logs`",
            StartedAgain { .. } => {
                "end what starts it (a supervisor, systemd, an orchestrator), and run again"
            }
            ContainerDied { .. } => "see `docker logs` for why Cassandra ended",
            NotCassandra { .. } => {
                "set `container` to a Cassandra node; where its configuration lies elsewhere, set `config_file`"
            }
            HostPath { .. } => "the data directory must lie on a bind mount or a local volume of this host",
            NodetoolMissing { .. } => "set `nodetool_path` to its path inside the container",
            NodetoolFailed { output, .. } if is_login_refused(output) => {
                "set `jmx_username` and `jmx_password` to those that Cassandra's JMX knows"
            }
            NodetoolFailed { .. } => "see `docker logs` and try the command with `docker exec`",
            NodetoolSilent { .. } => {
                "that nodetool is still running in the container: see `docker top` and `docker logs` for why Cassandra \
                 does not answer"
            }
            NodetoolSenseless { .. } => {
                "see what it says with `docker exec`; where another program has its name, set `nodetool_path`"
            }
            NotReady { state, .. } if state.contains("ConnectException") => {
                "raise `wait_timeout`, set `jmx_port` where JMX listens on another port, or see `docker logs`"
            }
            NotReady { .. } => "raise `wait_timeout`, or see `docker logs`",
            Busy { .. } => "wait until it has ended, then run again",
            NoData { .. } => {
                "see `docker inspect` for what is mounted on its data directory; a volume that is only there while the \
                 container runs needs it to be started first"
            }
            RestoreUnfinished { phase, .. } if phase.starts_with("undo_") => {
                "undo it by `cassandra_restore` with `state: rolled_back`"
            }
            RestoreUnfinished { .. } => {
                "finish it by running that restore again, or undo it by `cassandra_restore` with `state: rolled_back`"
            }
            Blocked { .. } => {
                "the file tells which: run `cassandra_restore` with the `state_dir` of that one"
            }
            SnapshotNotOurs { .. } => {
                "choose another `tag`, or clear it yourself with `nodetool clearsnapshot -t`"
            }
            SnapshotNotCleared { .. } => {
                "it takes space as long as it is there: see Cassandra's log for why; the next run tries again"
            }
            SnapshotIncomplete { .. } => {
                "run again; if the same piece is missing, see Cassandra's log and `nodetool verify`"
            }
            DataChanged { .. } => "run again",
            BackupDir { .. } => "set `backup_dir` to a directory of its own on this host",
            StateDir { .. } => {
                "set `state_dir` to a directory of its own on this host, the same one for all modules"
            }
            NoSpace { .. } => "free some space, or set another directory on a larger disk",
            ArchiveExists { .. } => {
                "choose another `tag`, remove it with `state: absent`, or replace it with `force: true`"
            }
            ArchiveInTheWay { .. } => "choose another `tag`, or move it away",
            ArchiveMissing { .. } | NoLatest { .. } => {
                "`cassandra_backup_info` lists the archives of a directory"
            }
            ArchiveDamaged { .. } => "use another archive; a fetched copy of this one may be whole",
            ArchiveForeign { .. } => "name an archive that `cassandra_backup` made",
            ArchiveOfAnotherNode { .. } => "choose this node's own archive, or another `tag`",
            Refused { .. } => "",
            NotTheArchivesNode { .. } => "see `docker logs` for what Cassandra made of its data",
            NoPreviousData { .. } => "",
            RepairFailed { .. } => {
                "once all nodes are up, run the same restore again: it goes on with the repair"
            }
            Interrupted { .. } => "run again",
            Twice { first, .. } => first.hint,
        }
    }
}

/// How a container came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(i64),
    OutOfMemory,
    /// It runs again: nobody tells how the run before ended.
    StartedAnew,
}

impl End {
    fn cause(self) -> String {
        match self {
            End::Exited(code) => format!("exit code {code}"),
            End::OutOfMemory => "killed by the kernel: out of memory".to_owned(),
            End::StartedAnew => "started anew".to_owned(),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(code) => write!(f, "exited with code {code}"),
            End::OutOfMemory | End::StartedAnew => write!(f, "was {}", self.cause()),
        }
    }
}

/// Whether nodetool said that JMX did not let it in.
pub fn is_login_refused(output: &str) -> bool {
    ["Invalid username or password", "Authentication failed"].iter().any(|words| output.contains(words))
}

/// An error as the result shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub word: &'static str,
    pub message: String,
    pub hint: &'static str,
}

/// Finds the operator's words in an error's chain; what has none is told by its chain as an internal error.
pub fn tell(error: &anyhow::Error) -> Told {
    let as_context = error.downcast_ref::<Error>();
    match as_context.or_else(|| error.chain().find_map(|cause| cause.downcast_ref())) {
        Some(known) => Told { word: known.word(), message: known.to_string(), hint: known.hint() },
        None => Told { word: "failed", message: format!("{error:#}"), hint: "" },
    }
}
