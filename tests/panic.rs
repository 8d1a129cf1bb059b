//! A panic anywhere in a run leaves as one line of JSON that does not quote what was panicked with.
//!
//! The executable has no switch that makes it panic. So the function that wraps every run is called with work that
//! panics, in a process of its own: this test executable, run again.

use std::ffi::OsStr;
use std::io::Write;
use std::process::Command;

use cassandra_backup::ansible::protocol;
use cassandra_backup::ansible::result::Report;
use serde_json::{Value, json};

/// What the work's scopes do on the way out.
struct Scope<'a>(&'a mut Report);

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.0.standing = "the scope has unwound".to_string();
    }
}

fn panic_at_once(report: &mut Report) -> anyhow::Result<()> {
    report.changed = true;
    report.stage = "pack";
    let _scope = Scope(report);
    panic!("with s3cret")
}

/// What `tokio` makes of it quotes what was panicked with.
fn panic_in_a_blocking_task(report: &mut Report) -> anyhow::Result<()> {
    report.stage = "pack";
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        tokio::task::spawn_blocking(|| panic!("with s3cret")).await?;
        Ok(())
    })
}

#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn the_run() {
    let work = match std::env::var("THE_RUN").as_deref() {
        Ok("panic_at_once") => panic_at_once,
        Ok("panic_in_a_blocking_task") => panic_in_a_blocking_task,
        _ => return,
    };
    let dir = tempfile::TempDir::new().unwrap();
    let args_file = dir.path().join("args");
    std::fs::write(&args_file, r#"{"container": "c", "_ansible_inject_invocation": false}"#).unwrap();

    protocol::silence_panics();
    let answer = protocol::answer(OsStr::new("cassandra_backup"), &args_file, |_, report| work(report));
    let _ = std::panic::take_hook();

    assert!(answer.failed);
    std::io::stdout().write_all(&[b"\n", answer.line.as_slice()].concat()).unwrap();
}

fn result_of(run: &str) -> Value {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this)
        .args(["--exact", "the_run", "--ignored", "--nocapture"])
        .env("THE_RUN", run)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(!stdout.contains("s3cret"), "{stdout}");
    let mut lines = stdout.lines().filter(|line| line.starts_with('{'));
    let result =
        serde_json::from_str(lines.next().unwrap_or_else(|| panic!("no result in {stdout}"))).unwrap();
    assert_eq!(lines.next(), None);
    result
}

/// Takes the place of the panic out of the message: it moves with every edit of this file.
fn without_place(result: &mut Value) -> String {
    let message = result["msg"].take().as_str().unwrap().to_string();
    let (before, after) = message.split_once("tests/panic.rs:").unwrap_or_else(|| panic!("{message}"));
    format!("{before}HERE{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[test]
fn a_panic_leaves_through_the_same_door_after_the_scopes_have_unwound() {
    let mut result = result_of("panic_at_once");
    assert_eq!(
        without_place(&mut result),
        format!(
            "internal error at HERE in cassandra_backup {}. the scope has unwound. this is a bug: please report it with \
             this message",
            env!("CARGO_PKG_VERSION")
        )
    );
    let rest = json!({
        "changed": true, "msg": null, "failed": true, "error": "internal", "stage": "pack",
        "hint": "this is a bug: please report it with this message",
    });
    assert_eq!(result, rest);
}

#[test]
fn a_panic_in_a_blocking_task_is_told_in_the_same_way() {
    let mut result = result_of("panic_in_a_blocking_task");
    let message = without_place(&mut result);
    assert!(message.starts_with("internal error at HERE in cassandra_backup "), "{message}");
    assert_eq!(result["error"], "internal");
    assert_eq!(result["stage"], "pack");
}
