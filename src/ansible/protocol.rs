//! One run as Ansible sees it: args file in, one line of JSON out, whatever happens in between.

use std::any::Any;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use serde_json::ser::Formatter;
use serde_json::{Map, Value, json};
use tokio::task::JoinError;

use super::args::Args;
use super::options::Module;
use super::request::Request;
use super::result::{Outcome, Report, compose};
use crate::error::{Error, Told, tell};

/// What the process leaves: its only line of output, and whether it exits with 1.
#[derive(Debug)]
pub struct Answer {
    pub line: Vec<u8>,
    pub failed: bool,
}

/// Reads the args file, does the work and composes the result. Returns whatever happens, panics included.
pub fn answer(
    program: &OsStr,
    args_file: &Path,
    work: impl FnOnce(&Request, &mut Report) -> Result<()>,
) -> Answer {
    let composed = panic::catch_unwind(AssertUnwindSafe(|| match read_args_file(args_file) {
        Err(error) => (compose(&Report::default(), &failure(&error), None), true),
        Ok(raw) => answer_to(program, raw, work),
    }));
    let (result, failed) = composed.unwrap_or_else(|_| {
        let told = internal_error();
        (json!({"failed": true, "msg": told.message, "error": told.word}), true)
    });
    Answer { line: one_line(&result), failed }
}

fn answer_to(
    program: &OsStr,
    raw: Map<String, Value>,
    work: impl FnOnce(&Request, &mut Report) -> Result<()>,
) -> (Value, bool) {
    let module = match choose_module(raw.get("_ansible_module_name").and_then(Value::as_str), program) {
        Ok(module) => module,
        Err(error) => return (compose(&Report::default(), &failure(&error.into()), None), true),
    };
    let mut args = Args::check(module.spec(), raw);
    let mut report = Report::default();
    report.stage = "options";
    let done = panic::catch_unwind(AssertUnwindSafe(|| {
        let request = Request::parse(module, &args)?;
        // One that was read from a file is as secret as one among the args.
        args.secrets.extend(request.access().jmx_password.clone());
        work(&request, &mut report)
    }));
    report.end_step();
    let outcome = match done {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(error)) => failure(&error),
        Err(payload) => {
            forget(payload);
            Outcome::Failed(internal_error())
        }
    };
    (compose(&report, &outcome, Some(&args)), matches!(outcome, Outcome::Failed(_)))
}

/// An error as the result tells it. A panic in a blocking task comes as an error that quotes what was panicked
/// with, which may hold anything.
fn failure(error: &anyhow::Error) -> Outcome {
    let panicked = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<JoinError>().is_some_and(JoinError::is_panic)
    };
    Outcome::Failed(if error.chain().any(panicked) { internal_error() } else { tell(error) })
}

/// Reads the args and removes the file, which may hold a password, once it is known to be Ansible's own.
fn read_args_file(path: &Path) -> Result<Map<String, Value>> {
    let bad = |what: &dyn std::fmt::Display| Error::BadOption {
        message: format!("cannot use the args file `{}`: {what}", path.display()),
        hint: "Ansible writes this file: run the module from a playbook",
    };
    let content = std::fs::read(path).map_err(|error| bad(&error))?;
    // What the parser says of it could quote a secret.
    let args = serde_json::from_slice(&content).map_err(|_| bad(&"it is not JSON"))?;
    let Value::Object(args) = args else { return Err(bad(&"it is not a JSON object").into()) };
    let ansibles_own = args.keys().any(|key| key.starts_with("_ansible_"));
    let keep = args.get("_ansible_keep_remote_files").and_then(Value::as_bool).unwrap_or(false);
    if ansibles_own && !keep {
        // Where it cannot be removed (another user's directory, under become) Ansible does it after the run.
        let _ = std::fs::remove_file(path);
    }
    Ok(args)
}

/// The module that the task names, else the one that the executable is called after.
fn choose_module(task_name: Option<&str>, program: &OsStr) -> Result<Module, Error> {
    let file_name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let own_name = file_name.strip_prefix("AnsiballZ_").unwrap_or(&file_name);
    let by_task = task_name.and_then(|name| module_named(without_architecture(name).rsplit('.').next()?));
    let by_file = || module_named(without_architecture(own_name).split('.').next()?);
    by_task.or_else(by_file).ok_or_else(|| Error::BadOption {
        message: format!("`{}` is none of this executable's modules", task_name.unwrap_or(own_name)),
        hint: "put it into `library/` under the names cassandra_backup, cassandra_restore and cassandra_backup_info",
    })
}

fn module_named(name: &str) -> Option<Module> {
    Module::ALL.into_iter().find(|module| module.name() == name)
}

fn without_architecture(name: &str) -> &str {
    let suffixes = ["x86_64", "amd64", "aarch64", "arm64"];
    let bare = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)?.strip_suffix(['_', '.', '-']));
    bare.unwrap_or(name)
}

/// Where the first panic of this process was: all that is told of it.
static PANICKED_AT: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panics from writing to stderr, which over ssh is the same stream as stdout.
pub fn silence_panics() {
    panic::set_hook(Box::new(|info| {
        if let (Ok(mut place), Some(location)) = (PANICKED_AT.lock(), info.location()) {
            place.get_or_insert_with(|| format!("{}:{}", location.file(), location.line()));
        }
    }));
}

fn internal_error() -> Told {
    let place = PANICKED_AT.lock().ok().and_then(|place| place.clone());
    let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
    Told {
        word: "internal",
        message: format!("internal error{place} in cassandra_backup {}", env!("CARGO_PKG_VERSION")),
        hint: "this is a bug: please report it with this message",
    }
}

/// Drops what was panicked with; where its own drop panics too, that is one panic as well as the other.
fn forget(payload: Box<dyn Any + Send>) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
}

/// The result as one line of ASCII: Ansible splits lines at U+2028 and its like, and a tty may not be UTF-8.
fn one_line(result: &Value) -> Vec<u8> {
    let mut line = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut line, Ascii);
    if serde::Serialize::serialize(result, &mut serializer).is_err() {
        line = br#"{"failed":true,"msg":"internal error: no result could be written","error":"internal"}"#
            .to_vec();
    }
    line.push(b'\n');
    line
}

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for c in fragment.chars() {
            if c.is_ascii() && c != '\x7f' {
                write!(writer, "{c}")?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}
