//! What the Engine says of a container, in this project's words.

use std::collections::HashMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::End;

/// What `inspect` said at one moment.
#[derive(Debug, Clone)]
pub struct Facts {
    pub run_state: RunState,
    /// The first process, seen from the host; 0 where none runs.
    pub pid: i64,
    pub exit_code: i64,
    /// Its last process was killed by the kernel for want of memory.
    pub out_of_memory: bool,
    /// Last; `None` where it never was, or the Engine does not tell.
    pub started: Option<SystemTime>,
    pub restart_policy: RestartPolicy,
    /// Made with `--rm`.
    pub auto_remove: bool,
    /// What its first process was started with.
    pub command: Vec<String>,
    pub env: HashMap<String, String>,
    pub labels: HashMap<String, String>,
    pub mounts: Vec<Mount>,
    pub(super) exec_ids: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Made and never started.
    Created,
    Running,
    Paused,
    Restarting,
    /// Exited, or dead.
    Exited,
}

impl RunState {
    pub fn is_up(self) -> bool {
        matches!(self, RunState::Running | RunState::Restarting)
    }

    /// As a message says it; `None` where the Engine was asked and did not say.
    pub fn told(left: Option<RunState>) -> &'static str {
        match left {
            Some(RunState::Created | RunState::Exited) => "stopped",
            Some(other) => other.word(),
            None => "in a state that the Docker Engine does not tell",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            RunState::Created => "created",
            RunState::Running => "running",
            RunState::Paused => "paused",
            RunState::Restarting => "restarting",
            RunState::Exited => "exited",
        }
    }
}

/// When the Engine starts the container by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    pub name: String,
    pub maximum_retry_count: i64,
}

impl RestartPolicy {
    pub fn no() -> RestartPolicy {
        RestartPolicy { name: "no".to_owned(), maximum_retry_count: 0 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, …
    pub kind: String,
    pub volume: Option<String>,
    pub driver: Option<String>,
    pub host_path: String,
    pub container_path: String,
    /// By the container.
    pub writable: bool,
}

/// What is read of `GET /containers/{id}/json`; whatever an Engine leaves out is as good as empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Inspected {
    pub id: String,
    pub name: String,
    pub config: Config,
    path: String,
    args: Option<Vec<String>>,
    state: State,
    host_config: HostConfig,
    mounts: Option<Vec<MountPoint>>,
    #[serde(rename = "ExecIDs")]
    exec_ids: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    pub image: String,
    env: Option<Vec<String>>,
    labels: Option<HashMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    status: String,
    running: bool,
    pid: i64,
    exit_code: i64,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    started_at: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    restart_policy: EnginePolicy,
    auto_remove: bool,
    /// Of `--tmpfs`, by path inside: what comes of `--mount type=tmpfs` is among the mounts.
    tmpfs: Option<HashMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EnginePolicy {
    name: String,
    maximum_retry_count: i64,
}

/// A mount as `inspect` and the list of containers have it; the list leaves out where a volume lies.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct MountPoint {
    #[serde(rename = "Type")]
    kind: String,
    pub name: Option<String>,
    driver: Option<String>,
    pub source: String,
    destination: String,
    #[serde(rename = "RW")]
    pub writable: Option<bool>,
}

impl Facts {
    pub fn is_started_after(&self, moment: SystemTime) -> bool {
        self.started.is_some_and(|started| started > moment)
    }

    /// How it came to its end, of a container that has died.
    pub fn end(&self) -> End {
        match self.run_state {
            RunState::Running => End::StartedAnew,
            _ if self.out_of_memory => End::OutOfMemory,
            _ => End::Exited(self.exit_code),
        }
    }

    pub(super) fn of(found: Inspected) -> Facts {
        let env = found.config.env.unwrap_or_default();
        let env = env.iter().filter_map(|pair| pair.split_once('='));
        let tmpfs = found.host_config.tmpfs.unwrap_or_default().into_keys().map(Mount::tmpfs);
        Facts {
            run_state: match found.state.status.as_str() {
                "created" => RunState::Created,
                "paused" => RunState::Paused,
                "restarting" => RunState::Restarting,
                "running" | "stopping" => RunState::Running,
                _ if found.state.running => RunState::Running,
                _ => RunState::Exited,
            },
            pid: found.state.pid,
            exit_code: found.state.exit_code,
            // The Engine tells it also where another process than the first was killed so.
            out_of_memory: found.state.oom_killed && found.state.exit_code == 137,
            started: humantime::parse_rfc3339(&found.state.started_at).ok(),
            restart_policy: RestartPolicy::of(found.host_config.restart_policy),
            auto_remove: found.host_config.auto_remove,
            command: [found.path].into_iter().chain(found.args.unwrap_or_default()).collect(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            labels: found.config.labels.unwrap_or_default(),
            mounts: found.mounts.unwrap_or_default().into_iter().map(Mount::of).chain(tmpfs).collect(),
            exec_ids: found.exec_ids.unwrap_or_default(),
        }
    }
}

impl Mount {
    /// Whether there is something of it on this host to be worked on.
    pub fn is_on_host(&self) -> bool {
        matches!(self.kind.as_str(), "bind" | "volume")
    }

    fn tmpfs(container_path: String) -> Mount {
        let container_path = container_path.trim_end_matches('/').to_owned();
        let kind = "tmpfs".to_owned();
        Mount { kind, volume: None, driver: None, host_path: String::new(), container_path, writable: true }
    }

    fn of(mount: MountPoint) -> Mount {
        Mount {
            kind: mount.kind,
            volume: mount.name.filter(|name| !name.is_empty()),
            driver: mount.driver,
            host_path: mount.source,
            container_path: mount.destination,
            writable: mount.writable.unwrap_or(true),
        }
    }
}

impl RestartPolicy {
    fn of(policy: EnginePolicy) -> RestartPolicy {
        let name = if policy.name.is_empty() { "no".to_owned() } else { policy.name };
        RestartPolicy { name, maximum_retry_count: policy.maximum_retry_count }
    }

    /// As `POST /containers/{id}/update` wants it.
    pub(super) fn to_update(&self) -> Value {
        json!({"RestartPolicy": {"Name": self.name, "MaximumRetryCount": self.maximum_retry_count}})
    }
}
