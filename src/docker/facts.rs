//! What the Engine says of a container, in this project's words.

use std::collections::HashMap;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, MountPoint, RestartPolicy as EnginePolicy,
    RestartPolicyNameEnum,
};
use serde::{Deserialize, Serialize};

/// What `inspect` said at one moment.
#[derive(Debug, Clone)]
pub struct Facts {
    pub run_state: RunState,
    /// The first process, seen from the host; 0 where none runs.
    pub pid: i64,
    pub exit_code: i64,
    pub restart_policy: RestartPolicy,
    /// Made with `--rm`.
    pub auto_remove: bool,
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
}

impl Facts {
    pub(super) fn of(found: ContainerInspectResponse) -> Facts {
        let state = found.state.unwrap_or_default();
        let host = found.host_config.unwrap_or_default();
        let config = found.config.unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let env = env.iter().filter_map(|pair| pair.split_once('='));
        Facts {
            run_state: match state.status {
                Some(ContainerStateStatusEnum::CREATED) => RunState::Created,
                Some(ContainerStateStatusEnum::PAUSED) => RunState::Paused,
                Some(ContainerStateStatusEnum::RESTARTING) => RunState::Restarting,
                Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => {
                    RunState::Running
                }
                _ if state.running == Some(true) => RunState::Running,
                _ => RunState::Exited,
            },
            pid: state.pid.unwrap_or(0),
            exit_code: state.exit_code.unwrap_or(0),
            restart_policy: RestartPolicy::of(host.restart_policy),
            auto_remove: host.auto_remove.unwrap_or(false),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            labels: config.labels.unwrap_or_default(),
            mounts: found.mounts.unwrap_or_default().into_iter().map(Mount::of).collect(),
            exec_ids: found.exec_ids.unwrap_or_default(),
        }
    }
}

impl Mount {
    fn of(mount: MountPoint) -> Mount {
        Mount {
            kind: mount.typ.unwrap_or_default(),
            volume: mount.name,
            driver: mount.driver,
            host_path: mount.source.unwrap_or_default(),
            container_path: mount.destination.unwrap_or_default(),
        }
    }
}

impl RestartPolicy {
    fn of(policy: Option<EnginePolicy>) -> RestartPolicy {
        let policy = policy.unwrap_or_default();
        let name = policy.name.map(|name| name.to_string()).filter(|name| !name.is_empty());
        RestartPolicy {
            name: name.unwrap_or_else(|| "no".to_owned()),
            maximum_retry_count: policy.maximum_retry_count.unwrap_or(0),
        }
    }

    pub(super) fn to_engine(&self) -> EnginePolicy {
        let name = match self.name.as_str() {
            "always" => RestartPolicyNameEnum::ALWAYS,
            "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
            "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
            _ => RestartPolicyNameEnum::NO,
        };
        EnginePolicy { name: Some(name), maximum_retry_count: Some(self.maximum_retry_count) }
    }
}
