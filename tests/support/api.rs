//! What each request to the Engine does, with the words and codes of a real one.

use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use super::container::{Container, Exec};
use super::files::{Dirs, hash};
use super::http::{Request, Response, frame};
use super::identity::number;
use super::nodetool::{self, CallFault, Outcome};

/// The versions of the API that an Engine speaks; one before 1.25 does not tell the oldest.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    pub oldest: Option<&'static str>,
    pub newest: &'static str,
}

/// The container and what tests have hung on it.
pub struct World {
    pub api: Mutex<Api>,
    container: Mutex<Container>,
    hooks: Mutex<Vec<Hook>>,
}

/// Runs when something begins (`start`, `stop`, `nodetool snapshot`) or has been done.
#[derive(Clone)]
pub struct Hook {
    pub when: When,
    pub pattern: String,
    pub act: Arc<dyn Fn(&Dirs) + Send + Sync>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

pub enum Answer {
    Response(Response),
    /// The connection becomes the stream of this exec.
    Exec(String),
}

impl World {
    pub fn new(container: Container) -> World {
        let api = Mutex::new(Api { oldest: Some("1.12"), newest: "1.41" });
        World { api, container: Mutex::new(container), hooks: Mutex::default() }
    }

    /// The container; a test that panicked with it in hand does not take the others down.
    pub fn container(&self) -> MutexGuard<'_, Container> {
        self.container.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn add_hook(&self, hook: Hook) {
        self.hooks.lock().unwrap().push(hook);
    }

    pub fn forget_hooks(&self, when: When) {
        self.hooks.lock().unwrap().retain(|hook| hook.when != when);
    }

    /// A path of a request, with the container's name for its id.
    pub fn by_name(&self, path: &str) -> String {
        let container = self.container();
        path.replace(&container.id, &container.name)
    }

    pub fn answer(&self, request: &Request) -> Answer {
        self.container().cassandra.tick();
        if let Some(refused) = self.refuse_version(request) {
            return Answer::Response(Response::error(400, refused));
        }
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let response = match (request.method.as_str(), segments.as_slice()) {
            ("GET" | "HEAD", ["_ping"]) => Response::bytes("text/plain", b"OK".to_vec()),
            ("GET", ["version"]) => Response::json(200, &self.version()),
            ("GET", ["containers", "json"]) => {
                let container = self.container();
                let own = container.is_running() || container.run_state == RunState::Restarting;
                let own = own.then(|| container.summary());
                Response::json(200, &own.into_iter().chain(container.neighbours.clone()).collect())
            }
            ("GET", ["volumes", name]) => match self.container().volumes.get(*name) {
                Some(volume) => Response::json(200, volume),
                None => Response::error(404, format!("get {name}: no such volume")),
            },
            ("GET", ["exec", id, "json"]) => match self.container().inspect_exec(id) {
                Some(exec) => Response::json(200, &exec),
                None => Response::error(404, format!("No such exec instance: {id}")),
            },
            ("POST", ["exec", id, "start"]) => match self.container().execs.get_mut(*id) {
                Some(exec) if !exec.is_running && exec.exit_code.is_none() => {
                    exec.is_running = true;
                    return Answer::Exec((*id).to_owned());
                }
                Some(_) => Response::error(409, format!("Error: Exec command {id} has already run")),
                None => Response::error(404, format!("No such exec instance: {id}")),
            },
            (_, ["containers", known, ..]) if !self.is_known(known) => {
                Response::error(404, format!("No such container: {known}"))
            }
            ("GET", ["containers", _, "json"]) => Response::json(200, &self.container().inspect()),
            ("POST", ["containers", _, "start"]) => self.start(),
            ("POST", ["containers", _, "stop"]) => self.stop(),
            ("POST", ["containers", _, "update"]) => match self.container().update(&request.json()) {
                Ok(()) => Response::json(200, &json!({ "Warnings": null })),
                Err(refused) => Response::error(409, refused),
            },
            ("POST", ["containers", _, "exec"]) => self.create_exec(&request.json()),
            ("HEAD" | "GET", ["containers", _, "archive"]) => {
                self.archive(&request.query("path").unwrap_or_default())
            }
            ("GET", ["containers", _, "logs"]) => self.logs(request.query("tail")),
            _ => Response::error(404, "page not found"),
        };
        Answer::Response(response)
    }

    fn version(&self) -> Value {
        let Api { oldest, newest } = *self.api.lock().unwrap();
        let mut version =
            json!({ "Version": "20.10.24", "ApiVersion": newest, "Os": "linux", "Arch": "amd64" });
        if let Some(oldest) = oldest {
            version["MinAPIVersion"] = json!(oldest);
        }
        version
    }

    fn refuse_version(&self, request: &Request) -> Option<String> {
        let asked = request.target.strip_prefix("/v")?.split('/').next()?;
        let number = |version: &str| {
            let (major, minor) = version.split_once('.')?;
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        };
        let version = number(asked)?;
        let Api { oldest, newest } = *self.api.lock().unwrap();
        if let Some(oldest) = oldest.filter(|oldest| number(oldest).is_some_and(|oldest| version < oldest)) {
            return Some(format!(
                "client version {asked} is too old. Minimum supported API version is {oldest}, please upgrade your client \
                 to a newer version"
            ));
        }
        let is_too_new = number(newest).is_some_and(|newest| version > newest);
        is_too_new
            .then(|| format!("client version {asked} is too new. Maximum supported API version is {newest}"))
    }

    fn is_known(&self, container: &str) -> bool {
        let own = self.container();
        own.name == container || (container.len() >= 12 && own.id.starts_with(container))
    }

    fn start(&self) -> Response {
        match self.container().run_state {
            RunState::Running | RunState::Restarting => return Response::empty(304),
            RunState::Paused => {
                return Response::error(409, "cannot start a paused container, try unpause instead");
            }
            RunState::Created | RunState::Exited => {}
        }
        self.run_hooks(When::Before, "start");
        self.container().start();
        self.run_hooks(When::After, "start");
        Response::empty(204)
    }

    fn stop(&self) -> Response {
        if matches!(self.container().run_state, RunState::Created | RunState::Exited) {
            return Response::empty(304);
        }
        self.run_hooks(When::Before, "stop");
        self.container().stop();
        self.run_hooks(When::After, "stop");
        Response::empty(204)
    }

    fn create_exec(&self, options: &Value) -> Response {
        let mut container = self.container();
        let (id, name) = (&container.id, &container.name);
        match container.run_state {
            RunState::Running => {}
            RunState::Paused => {
                let message = format!("Container {name} is paused, unpause the container before exec");
                return Response::error(409, message);
            }
            RunState::Restarting => {
                let message = format!("Container {id} is restarting, wait until the container is running");
                return Response::error(409, message);
            }
            RunState::Created | RunState::Exited => {
                return Response::error(409, format!("Container {id} is not running"));
            }
        }
        let words = |key: &str| -> Vec<String> {
            let words = options[key].as_array().into_iter().flatten();
            words.map(|word| word.as_str().unwrap_or_default().to_owned()).collect()
        };
        let exec = Exec {
            argv: words("Cmd"),
            env: words("Env"),
            attach_stdin: options["AttachStdin"] == true,
            is_running: false,
            exit_code: None,
        };
        let id = format!("{:064x}", hash(&number().to_be_bytes()));
        container.execs.insert(id.clone(), exec);
        Response::json(201, &json!({ "Id": id }))
    }

    pub fn reads_stdin(&self, exec: &str) -> bool {
        self.container().execs.get(exec).is_some_and(|exec| exec.attach_stdin)
    }

    /// Whether the command of an exec never ends; it counts as called.
    pub fn hangs(&self, id: &str) -> bool {
        let Some(exec) = self.container().execs.get(id).cloned() else { return false };
        if !exec.argv.first().is_some_and(|program| self.is_nodetool(program)) {
            return false;
        }
        let call = nodetool::Call::parse(&exec.argv, "");
        let settings = &mut self.container().nodetool;
        let is_told_to = settings.hanging.iter().any(|pattern| call.line().starts_with(pattern));
        settings.calls.push(call);
        let hangs = is_told_to || settings.fault() == Some(&CallFault::Hangs);
        if !hangs {
            settings.calls.pop();
        }
        hangs
    }

    pub fn has_ended(&self, exec: &str) -> bool {
        self.container().execs.get(exec).is_none_or(|exec| exec.exit_code.is_some())
    }

    /// Runs the command of an exec to its end; its outputs.
    pub fn run_exec(&self, id: &str, input: &str) -> (String, String) {
        let Some(exec) = self.container().execs.get(id).cloned() else { return Default::default() };
        let program = exec.argv.first().map_or("", String::as_str);
        let outcome = match (program, exec.argv.get(1).map(String::as_str)) {
            ("sh" | "/bin/sh", Some("-c")) => self.shell(&exec.argv[2..]),
            _ if self.is_nodetool(program) => self.nodetool(&exec, input),
            _ => Outcome {
                exit_code: 126,
                stdout: format!(
                    "OCI runtime exec failed: exec failed: unable to start container process: exec: \"{program}\": \
                     executable file not found in $PATH: unknown\r\n"
                ),
                stderr: String::new(),
            },
        };
        self.container().execs.entry(id.to_owned()).and_modify(|exec| exec.end(outcome.exit_code));
        (outcome.stdout, outcome.stderr)
    }

    fn nodetool(&self, exec: &Exec, input: &str) -> Outcome {
        let call = nodetool::Call { env: exec.env.clone(), ..nodetool::Call::parse(&exec.argv, input) };
        self.container().nodetool.calls.push(call.clone());
        self.run_hooks(When::Before, &call.line());
        let outcome = nodetool::run(&mut self.container(), &call);
        self.run_hooks(When::After, &call.line());
        outcome
    }

    /// A real shell, which finds the container's executables where this machine keeps them.
    fn shell(&self, arguments: &[String]) -> Outcome {
        let container = self.container();
        let root = container.root.to_string_lossy().into_owned();
        let here = |text: &str| format!("{root}{text}");
        let path =
            container.env.get("PATH").map_or("", String::as_str).split(':').map(here).collect::<Vec<_>>();
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(arguments[0].replace(" /opt/", &format!(" {root}/opt/"))).args(&arguments[1..]);
        shell.env_clear().env("PATH", path.join(":"));
        if let Some(home) = container.env.get("CASSANDRA_HOME") {
            shell.env("CASSANDRA_HOME", here(home));
        }
        let ended = shell.output().expect("a shell");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&root, "");
        Outcome {
            exit_code: ended.status.code().map_or(137, i64::from),
            stdout: text(&ended.stdout),
            stderr: text(&ended.stderr),
        }
    }

    fn is_nodetool(&self, program: &str) -> bool {
        let container = self.container();
        let on_path = container.env.get("PATH").map_or("", String::as_str).split(':');
        let mut on_path = on_path.map(|dir| format!("{dir}/{program}"));
        container.executables.contains(program) || on_path.any(|path| container.executables.contains(&path))
    }

    fn archive(&self, path: &str) -> Response {
        let container = self.container();
        let Some(found) = container.look(path) else {
            let message = format!("Could not find the file {path} in container {}", container.name);
            return Response::error(404, message);
        };
        let mut response = Response::bytes("application/x-tar", found.pack(path));
        response.headers.push(("X-Docker-Container-Path-Stat", Container::path_stat(path, &found)));
        response
    }

    fn logs(&self, tail: Option<String>) -> Response {
        let container = self.container();
        let lines: Vec<&str> = container.cassandra.log.lines().collect();
        let wanted = tail.and_then(|tail| tail.parse().ok()).unwrap_or(lines.len());
        let shown = lines[lines.len().saturating_sub(wanted)..].iter();
        let frames = shown.flat_map(|line| frame(1, format!("{line}\n").as_bytes())).collect();
        Response::bytes("application/vnd.docker.raw-stream", frames)
    }

    /// Without a lock on the container: a hook may ask the node, or wait for the test.
    fn run_hooks(&self, when: When, what: &str) {
        let dirs = self.container().cassandra.dirs.clone();
        let hooks = self.hooks.lock().unwrap().clone();
        let due = hooks.iter().filter(|hook| hook.when == when && what.starts_with(&hook.pattern));
        due.for_each(|hook| (hook.act)(&dirs));
    }
}
