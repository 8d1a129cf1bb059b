//! The container as the Engine sees it: its state, its mounts, its files, the commands run in it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use super::cassandra::Cassandra;
use super::files::name;
use super::http::base64;
use super::nodetool::Settings;

/// A file of the container's own layer.
#[derive(Debug, Clone)]
pub enum Inside {
    File(Vec<u8>),
    Symlink(String),
}

/// A command begun by `exec`.
#[derive(Debug, Clone)]
pub struct Exec {
    pub argv: Vec<String>,
    /// Beside the container's own.
    pub env: Vec<String>,
    pub attach_stdin: bool,
    /// Neither running nor ended: created, and not started yet.
    pub is_running: bool,
    pub exit_code: Option<i64>,
}

impl Exec {
    pub fn end(&mut self, exit_code: i64) {
        self.is_running = false;
        self.exit_code.get_or_insert(exit_code);
    }
}

pub struct Container {
    pub id: String,
    pub name: String,
    pub run_state: RunState,
    pub exit_code: i64,
    /// The kernel killed it for want of memory.
    pub is_out_of_memory: bool,
    /// Last; before any time where it never was.
    pub started: SystemTime,
    pub restart_policy: (String, i64),
    pub auto_remove: bool,
    /// Of `--tmpfs`: options by path inside.
    pub tmpfs: Value,
    /// Cassandra does not end by itself when asked to: it is killed.
    pub is_stubborn: bool,
    /// Its entry point and what that is given.
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<Value>,
    pub volumes: BTreeMap<String, Value>,
    /// Other running containers, as `GET /containers/json` lists them.
    pub neighbours: Vec<Value>,
    pub files: BTreeMap<String, Inside>,
    /// Paths of nodetool inside.
    pub executables: BTreeSet<String>,
    /// Where the container's executables lie on this machine, for its shell.
    pub root: PathBuf,
    pub execs: BTreeMap<String, Exec>,
    pub cassandra: Cassandra,
    pub nodetool: Settings,
}

impl Container {
    pub fn is_running(&self) -> bool {
        matches!(self.run_state, RunState::Running | RunState::Paused)
    }

    /// Where Cassandra does not come up, the restart policy decides what the container is then.
    pub fn start(&mut self) {
        (self.started, self.is_out_of_memory) = (SystemTime::now(), false);
        match self.cassandra.start() {
            Ok(()) => (self.run_state, self.exit_code) = (RunState::Running, 0),
            Err(exit_code) => {
                self.exit_code = exit_code;
                self.run_state =
                    if self.restart_policy.0 == "no" { RunState::Exited } else { RunState::Restarting };
            }
        }
    }

    pub fn stop(&mut self) {
        let was_running = self.is_running();
        self.cassandra.stop(self.is_stubborn);
        if was_running {
            self.exit_code = if self.is_stubborn { 137 } else { 143 };
        }
        self.run_state = RunState::Exited;
        self.execs.values_mut().for_each(|exec| exec.end(137));
    }

    /// `POST …/update`: the restart policy only.
    pub fn update(&mut self, change: &Value) -> Result<(), String> {
        if self.auto_remove {
            return Err(format!(
                "Cannot update container {}: Restart policy cannot be updated because AutoRemove is enabled for the container",
                self.id
            ));
        }
        let policy = &change["RestartPolicy"];
        let name = policy["Name"].as_str().unwrap_or("no").to_owned();
        self.restart_policy = (name, policy["MaximumRetryCount"].as_i64().unwrap_or(0));
        Ok(())
    }

    pub fn inspect(&self) -> Value {
        let is_restarting = self.run_state == RunState::Restarting;
        let pid = if self.is_running() { std::process::id() } else { 0 };
        let env: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let not_ended = self.execs.iter().filter(|(_, exec)| exec.exit_code.is_none());
        let execs: Vec<&String> = not_ended.map(|(id, _)| id).collect();
        json!({
            "Id": self.id,
            "Created": "2026-11-23T08:08:38.103253964Z",
            "Path": self.command[0],
            "Args": self.command[1..],
            "State": {
                "Status": self.run_state.word(),
                "Running": self.is_running() || is_restarting,
                "Paused": self.run_state == RunState::Paused,
                "Restarting": is_restarting,
                "OOMKilled": self.is_out_of_memory,
                "Dead": false,
                "Pid": pid,
                "ExitCode": self.exit_code,
                "Error": "",
                "StartedAt": humantime::format_rfc3339_nanos(self.started).to_string(),
                "FinishedAt": "0001-01-01T00:00:00Z",
            },
            "Image": "sha256:6c643958b8b0b71310ab4ed1a5f7b61f74c23814e467d5a7e2fdac1e02855c47",
            "Name": format!("/{}", self.name),
            "RestartCount": 0,
            "Driver": "overlay2",
            "Platform": "linux",
            "ExecIDs": if execs.is_empty() { Value::Null } else { json!(execs) },
            "HostConfig": {
                "NetworkMode": "default",
                "RestartPolicy": { "Name": self.restart_policy.0, "MaximumRetryCount": self.restart_policy.1 },
                "AutoRemove": self.auto_remove,
                "Tmpfs": self.tmpfs,
                "CgroupnsMode": "host",
            },
            "Mounts": self.mounts,
            "Config": {
                "Hostname": &self.id[..12],
                "Env": env,
                "Cmd": ["cassandra", "-f"],
                "Image": "cassandra:5.0",
                "Volumes": { "/var/lib/cassandra": {} },
                "Entrypoint": ["docker-entrypoint.sh"],
                "Labels": self.labels,
            },
            "NetworkSettings": { "IPAddress": "172.17.0.2", "Networks": {} },
        })
    }

    /// As `GET /containers/json` lists it.
    pub fn summary(&self) -> Value {
        json!({
            "Id": self.id, "Names": [format!("/{}", self.name)], "Image": "cassandra:5.0",
            "State": self.run_state.word(), "Status": "Up 2 minutes", "Labels": self.labels, "Mounts": self.mounts,
        })
    }

    pub fn inspect_exec(&self, id: &str) -> Option<Value> {
        let exec = self.execs.get(id)?;
        Some(json!({
            "ID": id,
            "Running": exec.is_running,
            "ExitCode": exec.exit_code,
            "ProcessConfig": {
                "tty": false, "entrypoint": exec.argv.first(), "arguments": exec.argv.get(1..), "privileged": false,
            },
            "OpenStdin": exec.attach_stdin, "OpenStderr": true, "OpenStdout": true,
            "CanRemove": !exec.is_running, "ContainerID": self.id, "DetachKeys": "", "Pid": 0,
        }))
    }

    /// What is at a path, its last name not followed; the container's own layer first, then the mounts.
    pub fn look(&self, path: &str) -> Option<Found> {
        let path = self.follow_parents(path);
        match self.files.get(&path) {
            Some(Inside::File(content)) => return Some(Found::File(content.clone())),
            Some(Inside::Symlink(target)) => return Some(Found::Symlink(target.clone())),
            None => {}
        }
        let host = self.host_path(&path);
        if let Some(about) = host.as_ref().and_then(|host| host.symlink_metadata().ok()) {
            let host = host.expect("it was just looked at");
            return match about.file_type() {
                kind if kind.is_dir() => Some(Found::Directory(about.permissions().mode() & 0o777)),
                kind if kind.is_symlink() => {
                    Some(Found::Symlink(std::fs::read_link(host).ok()?.to_string_lossy().into_owned()))
                }
                // Whoever reads a fifo waits for its writer.
                kind => {
                    (if kind.is_file() { std::fs::read(host) } else { Ok(Vec::new()) }).ok().map(Found::File)
                }
            };
        }
        let below = |known: &str| Path::new(known).starts_with(&path);
        let destinations = self.mounts.iter().filter_map(|mount| mount["Destination"].as_str());
        let is_above = self.files.keys().map(String::as_str).chain(destinations).any(below);
        is_above.then_some(Found::Directory(0o755))
    }

    /// The base64 of `X-Docker-Container-Path-Stat`.
    pub fn path_stat(path: &str, found: &Found) -> String {
        // Go's os.ModeDir and os.ModeSymlink are high bits.
        let (mode, size, target) = match found {
            Found::File(content) => (0o644, content.len(), ""),
            Found::Directory(mode) => (1 << 31 | mode, 4096, ""),
            Found::Symlink(target) => (1 << 27 | 0o777, target.len(), target.as_str()),
        };
        let stat = json!({
            "name": name(Path::new(path)), "size": size, "mode": mode, "mtime": "2026-11-23T08:16:30Z", "linkTarget": target,
        });
        base64(stat.to_string().as_bytes())
    }

    fn host_path(&self, path: &str) -> Option<PathBuf> {
        self.mounts.iter().find_map(|mount| {
            let below = Path::new(path).strip_prefix(mount["Destination"].as_str()?).ok()?;
            Some(Path::new(mount["Source"].as_str()?).join(below))
        })
    }

    fn follow_parents(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for _ in 0..40 {
            let links = self.files.iter().filter_map(|(at, file)| match file {
                Inside::Symlink(target) => Some((at, target)),
                Inside::File(_) => None,
            });
            let followed = links.clone().find_map(|(at, target)| {
                let below = path.strip_prefix(&format!("{at}/"))?;
                Some(format!("{target}/{below}"))
            });
            match followed {
                Some(followed) => path = followed,
                None => break,
            }
        }
        path
    }
}

pub enum Found {
    File(Vec<u8>),
    Directory(u32),
    Symlink(String),
}

impl Found {
    /// The tar that `GET …/archive` answers: a symlink comes as a symlink.
    pub fn pack(&self, path: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(0);
        let name = name(Path::new(path));
        match self {
            Found::File(content) => {
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, name, content.as_slice()).expect("a tar entry");
            }
            Found::Directory(mode) => {
                header.set_mode(*mode);
                header.set_entry_type(tar::EntryType::Directory);
                // The root has no name.
                let name = if name.is_empty() { "./".to_owned() } else { format!("{name}/") };
                archive.append_data(&mut header, name, std::io::empty()).expect("a tar entry");
            }
            Found::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, name, target).expect("a tar entry");
            }
        }
        archive.into_inner().expect("a tar archive")
    }
}
