//! One container, through the Engine's API on a Unix socket: the only place that speaks Docker.

mod facts;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use bollard::container::LogOutput;
use bollard::errors::Error as EngineError;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{ContainerUpdateBody, MountPoint};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder, InspectContainerOptions,
    ListContainersOptions, LogsOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;

pub use self::facts::{Facts, Mount, RestartPolicy, RunState};
use crate::error::Error;
use crate::task::finally;

/// A question to the Engine is answered within this; a stop, an exec or a wait is never cut short by us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than any repair: bollard wants a number.
const NO_TIMEOUT_SECONDS: u64 = 30 * 24 * 3600;

#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
}

/// A container, held by its id: a name may pass to another one while we work.
#[derive(Debug, Clone)]
pub struct Container {
    docker: Docker,
    pub id: String,
    pub name: String,
    pub image: String,
}

/// What a path inside the container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathInside {
    Symlink { target: String },
    Other,
}

/// How a command in the container ended.
#[derive(Debug)]
pub struct ExecOutcome {
    pub exit_code: i64,
    pub stdout: String,
    pub stderr: String,
}

impl Engine {
    pub async fn connect(socket: &Path) -> Result<Engine> {
        let shown = socket.display().to_string();
        if std::fs::metadata(socket).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
        {
            return Err(Error::EnginePermission { socket: shown }.into());
        }
        let path = socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, NO_TIMEOUT_SECONDS, API_DEFAULT_VERSION)
            .map_err(|error| unreachable(&shown, &error))?;
        let docker =
            answer(docker.negotiate_version()).await.map_err(|error| match std::fs::metadata(socket) {
                Ok(_) if permission_denied(&error) => Error::EnginePermission { socket: shown.clone() },
                _ => unreachable(&shown, &error),
            })?;
        Ok(Engine { docker })
    }

    pub async fn container(&self, name: &str) -> Result<Container> {
        let found = match answer(self.docker.inspect_container(name, None::<InspectContainerOptions>)).await {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => {
                return Err(Error::ContainerAbsent { container: name.to_owned() }.into());
            }
            Err(error) => return Err(failed(format!("inspect container `{name}`"), error)),
        };
        Ok(Container {
            docker: self.docker.clone(),
            id: found.id.unwrap_or_default(),
            name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            image: found.config.and_then(|config| config.image).unwrap_or_default(),
        })
    }

    /// Whether a local volume is an ordinary directory of this host, without mount options.
    pub async fn volume_is_plain(&self, name: &str) -> Result<bool> {
        let volume = answer(self.docker.inspect_volume(name)).await;
        let volume = volume.map_err(|error| failed(format!("inspect volume `{name}`"), error))?;
        Ok(volume.options.is_empty())
    }

    /// The names of the other running containers that can write into one of these host directories: they have
    /// it, a part of it, or the very mount that holds it. A mount of some directory far above is no sign of
    /// that: agents that watch a host have its root.
    pub async fn others_mounting(
        &self,
        own: &Container,
        facts: &Facts,
        paths: &[&Path],
    ) -> Result<Vec<String>> {
        let running = answer(self.docker.list_containers(None::<ListContainersOptions>))
            .await
            .map_err(|error| failed("list the running containers".to_owned(), error))?;
        let holding = |mount: &&Mount| paths.iter().any(|path| path.starts_with(&mount.host_path));
        let holding: Vec<&Mount> = facts.mounts.iter().filter(holding).collect();
        let shares = |other: &MountPoint| {
            // The list of containers names a volume, but not where it lies.
            let same_volume = |mount: &&Mount| mount.volume.is_some() && mount.volume == other.name;
            let source = Path::new(other.source.as_deref().unwrap_or_default());
            let same_or_below = paths.iter().any(|path| source.starts_with(path))
                || holding.iter().any(|mount| Path::new(&mount.host_path) == source);
            other.rw.unwrap_or(true) && (same_or_below || holding.iter().any(same_volume))
        };
        let others = running.into_iter().filter(|other| other.id.as_deref() != Some(&own.id));
        let others = others.filter(|other| other.mounts.iter().flatten().any(shares));
        Ok(others
            .map(|other| other.names.unwrap_or_default().join(",").trim_start_matches('/').to_owned())
            .collect())
    }
}

impl Container {
    pub async fn inspect(&self) -> Result<Facts> {
        let found = answer(self.docker.inspect_container(&self.id, None::<InspectContainerOptions>)).await;
        found.map(Facts::of).map_err(|error| self.failed("inspect", error))
    }

    /// Returns once the Engine has started it; whether Cassandra is ready is another question.
    pub async fn start(&self) -> Result<()> {
        let started = self.docker.start_container(&self.id, None::<StartContainerOptions>).await;
        started.map_err(|error| self.failed("start", error))
    }

    /// Asks Cassandra to stop and waits until it has; Docker kills it after `timeout`.
    pub async fn stop(&self, timeout: Duration) -> Result<Facts> {
        let seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let stopped = self.docker.stop_container(&self.id, Some(options)).await;
        stopped.map_err(|error| self.failed("stop", error))?;
        let facts = self.inspect().await?;
        if facts.run_state.is_up() {
            let (container, seconds) = (self.name.clone(), timeout.as_secs());
            return Err(Error::StopTimedOut { container, seconds }.into());
        }
        Ok(facts)
    }

    pub async fn set_restart_policy(&self, policy: &RestartPolicy) -> Result<()> {
        let update = ContainerUpdateBody { restart_policy: Some(policy.to_engine()), ..Default::default() };
        let updated = answer(self.docker.update_container(&self.id, update)).await;
        updated.map_err(|error| self.failed("set the restart policy of", error))
    }

    /// Does work with the container running, started for it where it was not, and stopped again after that.
    pub async fn while_running<T>(
        &self,
        found: RunState,
        stop_timeout: Duration,
        work: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<T> {
        if found.is_up() {
            return work().await;
        }
        let work = async {
            self.start().await?;
            work().await
        };
        finally(work, async || self.stop(stop_timeout).await.map(|_| ())).await
    }

    /// Runs a command in the container, with `input` on its standard input, until it ends.
    pub async fn exec(&self, command: &[&str], input: Option<&str>) -> Result<ExecOutcome> {
        let fail = |error| self.failed("run a command in", error);
        let options = CreateExecOptions {
            attach_stdin: Some(input.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let exec = answer(self.docker.create_exec(&self.id, options)).await.map_err(fail)?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let started = self.docker.start_exec(&exec.id, None::<StartExecOptions>).await.map_err(fail)?;
        if let StartExecResults::Attached { mut output, input: mut stdin } = started {
            if let Some(text) = input {
                // A command that ends without reading it is not an error of ours: its exit code tells.
                let _ = stdin.write_all(text.as_bytes()).await;
                let _ = stdin.shutdown().await;
            }
            while let Some(chunk) = output.next().await {
                match chunk.map_err(fail)? {
                    LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                    LogOutput::StdOut { message } => stdout.extend_from_slice(&message),
                    // What is left of a frame when the connection breaks.
                    LogOutput::Console { .. } => return Err(self.lost("its output was cut off")),
                    LogOutput::StdIn { .. } => {}
                }
            }
        }
        let ended = answer(self.docker.inspect_exec(&exec.id)).await.map_err(fail)?;
        // There is none as long as it runs.
        let Some(exit_code) = ended.exit_code else {
            return Err(self.lost("the connection was lost while it ran"));
        };
        Ok(ExecOutcome {
            exit_code,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    fn lost(&self, cause: &str) -> anyhow::Error {
        let request = format!("follow a command in container `{}`", self.name);
        Error::EngineFailed { request, cause: cause.to_owned() }.into()
    }

    /// The command lines that somebody's `exec` is running in the container now.
    pub async fn running_commands(&self) -> Result<Vec<String>> {
        let mut commands = Vec::new();
        for id in self.inspect().await?.exec_ids {
            let exec = match answer(self.docker.inspect_exec(&id)).await {
                Ok(exec) => exec,
                // It ended in between.
                Err(error) if status(&error) == Some(404) => continue,
                Err(error) => return Err(self.failed("look at a command in", error)),
            };
            if exec.running == Some(true)
                && let Some(process) = exec.process_config
            {
                let arguments = process.arguments.unwrap_or_default().join(" ");
                commands.push(format!("{} {arguments}", process.entrypoint.unwrap_or_default()));
            }
        }
        Ok(commands)
    }

    /// What a path inside is, also while the container is stopped; `None` where nothing is there.
    pub async fn stat(&self, path: &str) -> Result<Option<PathInside>> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(path).build();
        match answer(self.docker.get_container_archive_info(&self.id, Some(options))).await {
            // Go's os.ModeSymlink; an ordinary file has an empty target.
            Ok(stat) if stat.file_mode & (1 << 27) != 0 => {
                Ok(Some(PathInside::Symlink { target: stat.link_target }))
            }
            Ok(_) => Ok(Some(PathInside::Other)),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.failed(&format!("look at `{path}` in"), error)),
        }
    }

    /// The content of a file inside, also while the container is stopped; `None` where nothing is there.
    pub async fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let download = self.docker.download_from_container(&self.id, Some(options));
        let packed = match answer(download.map_ok(|bytes| bytes.to_vec()).try_concat()).await {
            Ok(packed) => packed,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(self.failed(&format!("read `{path}` in"), error)),
        };
        let mut archive = tar::Archive::new(packed.as_slice());
        for entry in archive.entries()? {
            let mut entry = entry?;
            if entry.header().entry_type().is_file() {
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut content)?;
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// The end of the container's log, for a message about a node that died; empty where it cannot be had.
    pub async fn last_log_lines(&self, lines: usize) -> String {
        let options =
            LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let log = self.docker.logs(&self.id, Some(options));
        let joined = log.try_fold(String::new(), async |text, line| Ok(text + &line.to_string()));
        answer(joined).await.unwrap_or_default()
    }

    fn failed(&self, request: &str, error: EngineError) -> anyhow::Error {
        failed(format!("{request} container `{}`", self.name), error)
    }
}

/// Bounds what the Engine answers at once; what takes its own time is not asked through this.
async fn answer<T>(request: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    tokio::time::timeout(ANSWER_TIMEOUT, request).await.unwrap_or(Err(EngineError::RequestTimeoutError))
}

fn status(error: &EngineError) -> Option<u16> {
    match error {
        EngineError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn failed(request: String, error: EngineError) -> anyhow::Error {
    Error::EngineFailed { request, cause: cause(&error) }.into()
}

fn unreachable(socket: &str, error: &EngineError) -> Error {
    Error::EngineUnreachable { socket: socket.to_owned(), cause: cause(error) }
}

/// The innermost reason: hyper wraps "connection refused" in words that name no thing.
fn cause(error: &EngineError) -> String {
    match error {
        EngineError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        EngineError::SocketNotFoundError(_) => "no such socket".to_owned(),
        EngineError::RequestTimeoutError => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        other => {
            let mut innermost: &dyn std::error::Error = other;
            while let Some(source) = innermost.source() {
                innermost = source;
            }
            innermost.to_string()
        }
    }
}

fn permission_denied(error: &EngineError) -> bool {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::PermissionDenied;
        }
        next = cause.source();
    }
    false
}
