//! Runs of the real executable against a fake node.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use serde_json::{Map, Value, json};

use super::node::FakeNode;

pub use rustix::process::Signal;

/// No run of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same args for `ansible-playbook --check --diff`.
pub fn check_mode(mut args: Value) -> Value {
    args["_ansible_check_mode"] = json!(true);
    args["_ansible_diff"] = json!(true);
    args
}

/// A module at work.
pub struct Run<'a> {
    node: &'a FakeNode,
    child: Child,
    outputs: [JoinHandle<String>; 2],
    /// How many requests the Engine had answered before.
    requests_before: usize,
}

impl FakeNode {
    /// Runs a module as Ansible does, to its result. Given here unless in `args` (`null` leaves one out):
    /// `container`, `docker_host`, `state_dir`, `backup_dir` (but beside `src`).
    pub fn run_module(&self, module: &str, args: Value) -> Value {
        self.start_module(module, args).finish()
    }

    /// Starts a module and leaves it at work.
    pub fn start_module(&self, module: &str, args: Value) -> Run<'_> {
        self.start_module_with(module, args, &[])
    }

    /// The same with more in its environment: what `src/effect.rs` reads there.
    pub fn start_module_with(&self, module: &str, args: Value, environment: &[(&str, &str)]) -> Run<'_> {
        // Known to tests only: examples/fake_node.rs runs no module.
        let executable = option_env!("CARGO_BIN_EXE_cassandra_backup").expect("the executable under test");
        self.start_command(Command::new(executable), module, args, environment)
    }

    /// The same with so many bytes of memory that can be written and is its own, and no more: `RLIMIT_DATA`, which
    /// the kernel holds whoever runs it, and which `prlimit` sets and hands on.
    pub fn start_module_within(&self, module: &str, args: Value, bytes: u64) -> Run<'_> {
        let executable = option_env!("CARGO_BIN_EXE_cassandra_backup").expect("the executable under test");
        let mut command = Command::new("prlimit");
        command.arg(format!("--data={bytes}")).arg(executable);
        self.start_command(command, module, args, &[])
    }

    fn start_command(
        &self,
        mut command: Command,
        module: &str,
        args: Value,
        environment: &[(&str, &str)],
    ) -> Run<'_> {
        let requests_before = self.engine.requests().len();
        let file = self.args_file(module, args);
        let mut child = command
            .arg(&file)
            .current_dir(self.host())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.host())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the module to start");
        let outputs = [
            collect(child.stdout.take().expect("its stdout")),
            collect(child.stderr.take().expect("its stderr")),
        ];
        Run { node: self, child, outputs, requests_before }
    }

    /// The file that Ansible would write.
    pub(super) fn args_file(&self, module: &str, args: Value) -> PathBuf {
        let file = self.host().join(format!("args-{}", super::identity::number()));
        std::fs::write(&file, self.args(module, args).to_string()).expect("an args file");
        file
    }

    fn args(&self, module: &str, given: Value) -> Value {
        let mut args: Map<String, Value> = Map::from_iter(
            [
                ("_ansible_check_mode", json!(false)),
                ("_ansible_diff", json!(false)),
                ("_ansible_no_log", json!(false)),
                ("_ansible_verbosity", json!(0)),
                ("_ansible_debug", json!(false)),
                ("_ansible_version", json!("2.19.1")),
                ("_ansible_module_name", json!(module)),
                ("_ansible_syslog_facility", json!("LOG_USER")),
                ("_ansible_target_log_info", json!(null)),
                ("_ansible_selinux_special_fs", json!(["fuse", "nfs", "vboxsf", "ramfs", "9p", "vfat"])),
                ("_ansible_shell_executable", json!("/bin/sh")),
                ("_ansible_socket", json!(null)),
                ("_ansible_keep_remote_files", json!(false)),
                ("_ansible_tmpdir", json!(self.host())),
                ("_ansible_remote_tmp", json!("~/.ansible/tmp")),
                ("_ansible_ignore_unknown_opts", json!(false)),
                ("_ansible_tracebacks_for", json!([])),
                ("container", json!(self.name())),
                ("docker_host", json!(format!("unix://{}", self.engine.socket().display()))),
                ("state_dir", json!(self.state_dir())),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        if given.get("src").is_none() {
            args.insert("backup_dir".to_owned(), json!(self.backup_dir()));
        }
        for (name, value) in given.as_object().expect("args are an object") {
            let ours = !name.starts_with("_ansible_");
            match value {
                Value::Null if ours => drop(args.remove(name)),
                value => drop(args.insert(name.clone(), value.clone())),
            }
        }
        Value::Object(args)
    }
}

impl Run<'_> {
    pub fn wait_for_request(&self, pattern: &str) {
        self.node.engine.wait_for(pattern, self.requests_before);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("its process id");
        kill_process(pid, signal).expect("the signal to be sent");
    }

    /// Ends it as `kill -9` does: there is no result.
    pub fn kill(mut self) {
        self.child.kill().expect("the signal to be sent");
        self.child.wait().expect("its end");
    }

    /// Waits until it is dead by the kill that it was told to give itself.
    pub fn wait_killed(mut self, after: u64) {
        let status = self.child.wait().expect("its end");
        let [stdout, stderr] = self.outputs.map(|output| output.join().expect("its output"));
        let ended = (status.signal(), stderr.as_str());
        assert_eq!(ended, (Some(9), ""), "step {after} was not its last: {stdout}");
    }

    /// Waits for the end of a run that ends without a result.
    pub fn wait(mut self) {
        self.child.wait().expect("its end");
    }

    /// Waits for the end of a run that fails without a result.
    pub fn wait_for_failure(mut self) {
        let status = self.child.wait().expect("its end");
        assert!(!status.success(), "{status}");
        let [stdout, _] = self.outputs.map(|output| output.join().expect("its output"));
        assert_eq!(stdout, "", "no result");
    }

    /// Its result: exactly one line of JSON on stdout, nothing on stderr, the exit code saying the same.
    pub fn finish(mut self) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().ok();
                let requests = self.node.engine.requests();
                let lines: Vec<String> =
                    requests.iter().skip(self.requests_before).map(ToString::to_string).collect();
                panic!("the module did not end; its requests: {lines:#?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let [stdout, stderr] = self.outputs.map(|output| output.join().expect("its output"));
        assert_eq!(stderr, "", "nothing is written to stderr");
        assert!(stdout.ends_with('\n') && stdout.lines().count() == 1, "one line on stdout, not {stdout:?}");
        let result: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
        let is_failed = result["failed"] == true;
        assert_eq!(status.code(), Some(i32::from(is_failed)), "the exit code of {result:#}");
        result
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("UTF-8");
        text
    })
}
