//! Commands inside the container: `docker exec`.

use anyhow::Result;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Container, answer, http, stream};
use crate::effect::{self, Kind};
use crate::error::Error;

/// How a command in the container ended.
#[derive(Debug)]
pub struct ExecOutcome {
    pub exit_code: i64,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExecId {
    id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ExecState {
    running: bool,
    exit_code: Option<i64>,
    process_config: Process,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    entrypoint: String,
    arguments: Option<Vec<String>>,
}

impl Container {
    /// Runs a command in the container, with `input` on its standard input, until it ends. `environment` is added
    /// to the container's own.
    pub async fn exec(
        &self,
        command: &[&str],
        environment: &[&str],
        input: Option<&str>,
    ) -> Result<ExecOutcome> {
        let what = "run a command in";
        let options = json!({
            "AttachStdin": input.is_some(), "AttachStdout": true, "AttachStderr": true, "Cmd": command,
            "Env": environment,
        });
        let exec: ExecId = self.ask(what, Method::POST, "/exec", Some(options)).await?;
        let start = format!("/exec/{}/start", exec.id);
        let started = answer(self.client.upgrade(&start, json!({"Detach": false, "Tty": false}))).await;
        let (output, mut stdin) = tokio::io::split(started.map_err(|failure| self.failed(what, &failure))?);
        if let Some(text) = input {
            // A command that ends without reading it is not an error of ours: its exit code tells.
            let _ = stdin.write_all(text.as_bytes()).await;
            let _ = stdin.shutdown().await;
        }
        let mut frames = Vec::new();
        let read = output.take(http::MOST_BYTES as u64).read_to_end(&mut frames).await;
        if read.map_err(|error| self.lost(&error.to_string()))? == http::MOST_BYTES {
            return Err(self.lost(&format!("it said more than {} bytes", http::MOST_BYTES)));
        }
        let Some((stdout, stderr)) = stream::split(&frames) else {
            return Err(self.lost("its output was cut off"));
        };
        // There is none as long as it runs.
        let Some(exit_code) = self.exec_state(&exec.id).await?.and_then(|exec| exec.exit_code) else {
            return Err(self.lost("the connection was lost while it ran"));
        };
        effect::done(Kind::Command, || command.join(" "));
        Ok(ExecOutcome { exit_code, stdout, stderr })
    }

    fn lost(&self, cause: &str) -> anyhow::Error {
        let request = format!("follow a command in container `{}`", self.name);
        Error::EngineFailed { request, cause: cause.to_owned() }.into()
    }

    /// `None` where the Engine has forgotten it.
    async fn exec_state(&self, id: &str) -> Result<Option<ExecState>> {
        match answer(self.client.json(Method::GET, &format!("/exec/{id}/json"), None)).await {
            Ok(exec) => Ok(Some(exec)),
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => Err(self.failed("look at a command in", &failure)),
        }
    }

    /// The command lines that somebody's `exec` is running in the container now.
    pub async fn running_commands(&self) -> Result<Vec<String>> {
        let mut commands = Vec::new();
        for id in self.inspect().await?.exec_ids {
            if let Some(exec) = self.exec_state(&id).await?.filter(|exec| exec.running) {
                let arguments = exec.process_config.arguments.unwrap_or_default().join(" ");
                commands.push(format!("{} {arguments}", exec.process_config.entrypoint));
            }
        }
        Ok(commands)
    }
}
