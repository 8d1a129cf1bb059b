//! One container, through the Engine's API on a Unix socket: the only place that speaks Docker.

mod exec;
mod facts;
mod http;
mod stream;

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::Method;
use hyper::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::exec::ExecOutcome;
pub use self::facts::{Facts, Mount, RestartPolicy, RunState};
use self::facts::{Inspected, MountPoint};
use self::http::{Client, Failure, encoded};
use crate::effect::{self, Kind};
use crate::error::Error;
use crate::task::finally;

/// A question to the Engine is answered within this; a stop, an exec or a wait is never cut short by us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct Engine {
    client: Client,
}

/// A container, held by its id: a name may pass to another one while we work.
#[derive(Debug, Clone)]
pub struct Container {
    client: Client,
    pub id: String,
    pub name: String,
    pub image: String,
}

/// What a path inside the container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathInside {
    Symlink { target: String },
    Directory,
    Other,
}

/// One of `GET /containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Listed {
    id: String,
    names: Vec<String>,
    mounts: Vec<MountPoint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Volume {
    options: Option<HashMap<String, String>>,
}

/// The header `X-Docker-Container-Path-Stat`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathStat {
    mode: u32,
    link_target: String,
}

impl Engine {
    pub async fn connect(socket: &Path) -> Result<Engine> {
        let shown = socket.display().to_string();
        match answer(Client::connect(socket)).await {
            Ok(client) => Ok(Engine { client }),
            Err(Failure::Connect(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(Error::EnginePermission { socket: shown }.into())
            }
            Err(Failure::Connect(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::EngineUnreachable { socket: shown, cause: "no such socket".to_owned() }.into())
            }
            Err(failure @ Failure::OtherApi { .. }) => {
                Err(Error::EngineApi { socket: shown, why: failure.to_string() }.into())
            }
            Err(failure) => {
                Err(Error::EngineUnreachable { socket: shown, cause: failure.to_string() }.into())
            }
        }
    }

    pub async fn container(&self, name: &str) -> Result<Container> {
        let path = format!("/containers/{}/json", encoded(name));
        let found: Inspected = match answer(self.client.json(Method::GET, &path, None)).await {
            Ok(found) => found,
            Err(failure) if failure.code() == Some(404) => {
                return Err(Error::ContainerAbsent { container: name.to_owned() }.into());
            }
            Err(failure) => return Err(failed(format!("inspect container `{name}`"), &failure)),
        };
        Ok(Container {
            client: self.client.clone(),
            id: found.id,
            name: found.name.trim_start_matches('/').to_owned(),
            image: found.config.image,
        })
    }

    /// Whether a local volume is an ordinary directory of this host, without mount options.
    pub async fn volume_is_plain(&self, name: &str) -> Result<bool> {
        let path = format!("/volumes/{}", encoded(name));
        let volume = answer(self.client.json::<Volume>(Method::GET, &path, None)).await;
        let volume = volume.map_err(|failure| failed(format!("inspect volume `{name}`"), &failure))?;
        Ok(volume.options.unwrap_or_default().is_empty())
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
        let running = answer(self.client.json::<Vec<Listed>>(Method::GET, "/containers/json", None)).await;
        let running =
            running.map_err(|failure| failed("list the running containers".to_owned(), &failure))?;
        let holding = |mount: &&Mount| {
            mount.is_on_host() && paths.iter().any(|path| path.starts_with(&mount.host_path))
        };
        let holding: Vec<&Mount> = facts.mounts.iter().filter(holding).collect();
        let shares = |other: &MountPoint| {
            // The list of containers names a volume, but not where it lies.
            let same_volume = |mount: &&Mount| mount.volume.is_some() && mount.volume == other.name;
            let source = Path::new(&other.source);
            let same_or_below = paths.iter().any(|path| source.starts_with(path))
                || holding.iter().any(|mount| Path::new(&mount.host_path) == source);
            other.writable.unwrap_or(true) && (same_or_below || holding.iter().any(same_volume))
        };
        let others = running.into_iter().filter(|other| other.id != own.id);
        let others = others.filter(|other| other.mounts.iter().any(shares));
        Ok(others.map(|other| other.names.join(",").trim_start_matches('/').to_owned()).collect())
    }
}

impl Container {
    pub async fn inspect(&self) -> Result<Facts> {
        self.ask("inspect", Method::GET, "/json", None).await.map(Facts::of)
    }

    /// Returns once the Engine has started it; whether Cassandra is ready is another question.
    pub async fn start(&self) -> Result<()> {
        self.order("start", "/start").await?;
        effect::done(Kind::Start, || self.name.clone());
        Ok(())
    }

    /// Asks Cassandra to stop and waits until it has; Docker kills it after `timeout`.
    pub async fn stop(&self, timeout: Duration) -> Result<Facts> {
        let (seconds, asked) = (timeout.as_secs(), SystemTime::now());
        self.order("stop", &format!("/stop?t={seconds}")).await?;
        effect::done(Kind::Stop, || self.name.clone());
        let (facts, container) = (self.inspect().await?, self.name.clone());
        match facts.run_state.is_up() {
            true if facts.is_started_after(asked) => Err(Error::StartedAgain { container }.into()),
            true => Err(Error::StopTimedOut { container, seconds }.into()),
            false => Ok(facts),
        }
    }

    /// An Engine that has no such order (podman before 5) leaves it as it is.
    pub async fn set_restart_policy(&self, policy: &RestartPolicy) -> Result<()> {
        let path = self.path("/update");
        match answer(self.client.json::<Value>(Method::POST, &path, Some(policy.to_update()))).await {
            Err(failure) if failure.code() == Some(404) => return Ok(()),
            Err(failure) => return Err(self.failed("set the restart policy of", &failure)),
            Ok(_) => effect::done(Kind::Policy, || policy.name.clone()),
        }
        Ok(())
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

    /// What a path inside is, also while the container is stopped; `None` where nothing is there.
    pub async fn stat(&self, path: &str) -> Result<Option<PathInside>> {
        let what = format!("look at `{path}` in");
        let headers = match answer(self.client.head(&self.path_inside(path))).await {
            Ok(headers) => headers,
            Err(failure) if failure.code() == Some(404) => return Ok(None),
            Err(failure) => return Err(self.failed(&what, &failure)),
        };
        let Some(stat) = path_stat(&headers) else {
            return Err(self.failed(&what, &Failure::Broken("its answer makes no sense".to_owned())));
        };
        // Go's os.ModeDir and os.ModeSymlink.
        Ok(Some(match stat.mode {
            mode if mode & (1 << 31) != 0 => PathInside::Directory,
            mode if mode & (1 << 27) != 0 => PathInside::Symlink { target: stat.link_target },
            _ => PathInside::Other,
        }))
    }

    /// The content of a file inside, also while the container is stopped; `None` where no file is there. A
    /// symlink is not followed.
    pub async fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        // The Engine would send a directory with all that is in it.
        if self.stat(path).await? != Some(PathInside::Other) {
            return Ok(None);
        }
        let what = format!("read `{path}` in");
        let packed = match answer(self.client.bytes(Method::GET, &self.path_inside(path), None)).await {
            Ok(packed) => packed,
            Err(failure) if failure.code() == Some(404) => return Ok(None),
            Err(failure) => return Err(self.failed(&what, &failure)),
        };
        first_file(&packed).map_err(|error| {
            self.failed(&what, &Failure::Broken(format!("its answer makes no sense: {error}")))
        })
    }

    /// The end of the container's log, for a message about a node that died; empty where it cannot be had.
    pub async fn last_log_lines(&self, lines: usize) -> String {
        let path = self.path(&format!("/logs?stdout=1&stderr=1&tail={lines}"));
        let log = answer(self.client.bytes(Method::GET, &path, None)).await.unwrap_or_default();
        match stream::split(&log) {
            Some((stdout, stderr)) => stdout + &stderr,
            // With a terminal there are no frames.
            None => String::from_utf8_lossy(&log).into_owned(),
        }
    }

    fn path(&self, below: &str) -> String {
        format!("/containers/{}{below}", self.id)
    }

    fn path_inside(&self, path: &str) -> String {
        self.path(&format!("/archive?path={}", encoded(path)))
    }

    /// A request that the Engine answers at once.
    async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        method: Method,
        below: &str,
        body: Option<Value>,
    ) -> Result<T> {
        let answered = answer(self.client.json(method, &self.path(below), body)).await;
        answered.map_err(|failure| self.failed(what, &failure))
    }

    /// A request that takes the time it needs, as long as the Engine answers others.
    async fn order(&self, what: &str, below: &str) -> Result<()> {
        let path = self.path(below);
        let mut done = std::pin::pin!(self.client.bytes(Method::POST, &path, None));
        loop {
            tokio::select! {
                done = &mut done => return done.map(|_| ()).map_err(|failure| self.failed(what, &failure)),
                () = tokio::time::sleep(ANSWER_TIMEOUT) => {}
            }
            let asked = answer(self.client.bytes(Method::GET, &self.path("/json"), None)).await;
            if let Err(silence @ Failure::Timeout(_)) = asked {
                return Err(self.failed(what, &silence));
            }
        }
    }

    fn failed(&self, request: &str, failure: &Failure) -> anyhow::Error {
        failed(format!("{request} container `{}`", self.name), failure)
    }
}

/// The content of the first file of a tar archive; `None` where there is none.
fn first_file(packed: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    for entry in tar::Archive::new(packed).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content)?;
            return Ok(Some(content));
        }
    }
    Ok(None)
}

fn path_stat(headers: &HeaderMap) -> Option<PathStat> {
    let encoded = headers.get("X-Docker-Container-Path-Stat")?;
    serde_json::from_slice(&BASE64_STANDARD.decode(encoded).ok()?).ok()
}

/// Bounds what the Engine answers at once; what takes its own time is not asked through this.
async fn answer<T>(request: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let timed_out = Failure::Timeout(ANSWER_TIMEOUT.as_secs());
    tokio::time::timeout(ANSWER_TIMEOUT, request).await.unwrap_or(Err(timed_out))
}

fn failed(request: String, failure: &Failure) -> anyhow::Error {
    Error::EngineFailed { request, cause: failure.to_string() }.into()
}
