//! What a value must be beyond its type: a tag, a container's name, a path of this host, a file mode.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::args::Args;
use super::python;
use crate::effort::Effort;
use crate::error::Error;

pub fn refused(message: String, hint: &'static str) -> Error {
    Error::BadOption { message, hint }
}

const LONGEST_TAG: usize = 200;
/// A week: long enough for any node, short enough for every clock.
const LONGEST_WAIT: i64 = 604_800;

/// Now in UTC, as the tag of a backup that was given none: `20261122T041530Z`.
pub fn tag_of_now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string().replace(['-', ':'], "")
}

/// The option `tag` where it is given and may name an archive, a snapshot and a file.
pub fn tag(args: &Args) -> Result<Option<String>, Error> {
    let Some(tag) = args.raw("tag").map(python::text) else { return Ok(None) };
    if tag.is_empty() {
        return Err(refused("`tag` is empty".to_string(), "give a name, or leave the option out"));
    }
    if tag.len() > LONGEST_TAG {
        let message = format!("`tag` is {} bytes long, at most {LONGEST_TAG} are possible", tag.len());
        return Err(refused(message, "the tag becomes a file name: choose a shorter one"));
    }
    if let Some(other) = tag.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-')) {
        let message = format!("`tag` holds {other:?}: {tag}");
        return Err(refused(message, "a tag is made of the letters A-Z and a-z, digits, `_` and `-` only"));
    }
    Ok(Some(tag))
}

/// [`tag`] of one archive: `latest` is how a restore says which, not the name of one.
pub fn own_tag(args: &Args) -> Result<Option<String>, Error> {
    match tag(args)? {
        Some(tag) if tag == "latest" => Err(refused(
            "`tag` cannot be `latest`: that is how `cassandra_restore` says the newest archive".to_string(),
            "choose another tag, or leave the option out",
        )),
        tag => Ok(tag),
    }
}

pub fn container(args: &Args) -> Result<Option<String>, Error> {
    let Some(name) = args.raw("container").map(python::text) else { return Ok(None) };
    let hint = "set it to the name or id that `docker ps -a` shows on this host";
    if name.is_empty() {
        return Err(refused("`container` is empty".to_string(), hint));
    }
    // What Docker itself allows.
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let goes_on = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !begins || !goes_on {
        return Err(refused(format!("`container` cannot be the name of a container: {name}"), hint));
    }
    Ok(Some(name))
}

/// The Engine's Unix socket; Engines elsewhere are refused.
pub fn docker_socket(args: &Args) -> Result<PathBuf, Error> {
    let given = path(args, "docker_host")?.unwrap_or_default();
    match given.strip_prefix("unix://").unwrap_or(given) {
        path if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(refused(
            format!(
                "`docker_host` must be a Unix socket of this host, got: {given}. The module works on the host's \
                 own files, so it has to run where the Engine runs"
            ),
            "run the task on that host, and set `docker_host: unix:///var/run/docker.sock` where DOCKER_HOST says \
             otherwise",
        )),
    }
}

/// A path with a line break or a NUL in it was not meant so, and would tear messages apart.
fn path<'a>(args: &'a Args, option: &str) -> Result<Option<&'a str>, Error> {
    match args.text(option) {
        Some(path) if path.contains(char::is_control) => Err(refused(
            format!("`{option}` holds a control character: {}", path.escape_debug()),
            "a YAML block (`|`, `>`) ends in a line break: write the path on one line",
        )),
        path => Ok(path),
    }
}

/// A path of this host, where the option is given.
pub fn host_path(args: &Args, option: &str) -> Result<Option<PathBuf>, Error> {
    match path(args, option)? {
        Some(path) if !path.starts_with('/') => Err(refused(
            format!("`{option}` must be an absolute path of this host, got: {path}"),
            "a module has no working directory of its own: begin the path with `/`",
        )),
        path => Ok(path.map(PathBuf::from)),
    }
}

/// [`host_path`] of an option that has a default or must be given.
pub fn needed_host_path(args: &Args, option: &str) -> Result<PathBuf, Error> {
    let empty = || refused(format!("`{option}` is empty"), "give an absolute path, or leave the option out");
    host_path(args, option)?.ok_or_else(empty)
}

pub fn container_path(args: &Args, option: &str) -> Result<Option<String>, Error> {
    match path(args, option)? {
        Some(path) if !path.starts_with('/') => Err(refused(
            format!("`{option}` must be an absolute path inside the container, got: {path}"),
            "begin the path with `/`",
        )),
        path => Ok(path.map(str::to_string)),
    }
}

pub fn port(args: &Args, option: &str) -> Result<Option<u16>, Error> {
    let Some(given) = args.int(option) else { return Ok(None) };
    match u16::try_from(given) {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(refused(format!("`{option}` must be a port from 1 to 65535, got: {given}"), "")),
    }
}

/// Bytes in a second, where there is a limit.
/// At least one thread; each takes some megabytes.
pub fn effort(args: &Args) -> Result<Effort, Error> {
    const MOST: u64 = 64;
    let low_priority = args.is_on("low_priority");
    match args.raw("threads") {
        None => Ok(Effort { threads: Effort::default_threads(), low_priority }),
        Some(given) => match given.as_u64().filter(|threads| (1..=MOST).contains(threads)) {
            Some(threads) => Ok(Effort { threads: threads as usize, low_priority }),
            None => {
                let message = format!("`threads` must be from 1 to {MOST}, got: {given}");
                Err(Error::BadOption { message, hint: "leave the option out for half of the processors" })
            }
        },
    }
}

pub fn rate_limit(args: &Args) -> Result<Option<u64>, Error> {
    let limit = args.raw("rate_limit").and_then(Value::as_u64);
    if limit == Some(0) {
        let message = "`rate_limit` must be at least 1 byte per second, got: 0".to_string();
        return Err(refused(message, "leave the option out for no limit"));
    }
    Ok(limit)
}

/// A number that says how many are kept.
pub fn at_least_one(args: &Args, option: &str) -> Result<Option<u64>, Error> {
    let Some(given) = args.int(option) else { return Ok(None) };
    match u64::try_from(given) {
        Ok(number @ 1..) => Ok(Some(number)),
        _ => Err(refused(
            format!("`{option}` must be at least 1, got: {given}"),
            "leave the option out to keep all archives",
        )),
    }
}

pub fn seconds(args: &Args, option: &str) -> Result<Duration, Error> {
    let given = args.int(option).unwrap_or_default();
    match u64::try_from(given) {
        Ok(seconds @ 1..) if given <= LONGEST_WAIT => Ok(Duration::from_secs(seconds)),
        _ => Err(refused(format!("`{option}` must be from 1 to {LONGEST_WAIT} seconds, got: {given}"), "")),
    }
}

pub fn keyspaces(args: &Args, option: &str) -> Result<Vec<String>, Error> {
    let names = args.list(option);
    match names.iter().find(|name| name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_')) {
        Some(other) => Err(refused(
            format!("`{option}` holds what cannot be the name of a keyspace: {other}"),
            "give the names as `DESCRIBE KEYSPACES` shows them, without quotes",
        )),
        None => Ok(names),
    }
}

/// Flags for `nodetool`, none of which may hold a password: they are seen by `ps`.
pub fn nodetool_flags(args: &Args) -> Result<Vec<String>, Error> {
    let flags = args.list("nodetool_flags");
    if flags.iter().any(|flag| names_password(flag)) {
        return Err(refused(
            "`nodetool_flags` must not hold a password: `ps` would show it".to_string(),
            "use `jmx_password` or `jmx_password_file`",
        ));
    }
    Ok(flags)
}

pub fn names_password(flag: &str) -> bool {
    // `-pwx`, `-pw=x` and `--password=x` too; `-pwf` and `--password-file` only name a file.
    let holds = |word: &str, option: &str, file: &str| {
        let is_file = word == file || word.starts_with(&format!("{file}="));
        word.starts_with(option) && !is_file
    };
    flag.split_whitespace()
        .any(|word| holds(word, "-pw", "-pwf") || holds(word, "--password", "--password-file"))
}

/// The mode of the archive: octal digits as text, or the number that YAML makes of `0600`.
pub fn file_mode(args: &Args) -> Result<u32, Error> {
    let Some(given) = args.raw("mode") else { return Ok(0o600) };
    let mode = match given {
        Value::String(digits) => octal(digits),
        Value::Number(number) => number.as_u64().and_then(|mode| u32::try_from(mode).ok()),
        _ => None,
    };
    match mode {
        Some(mode) if is_mode_of_a_file(mode) => Ok(mode),
        _ => Err(refused(
            format!("`mode` cannot be the mode of an archive: {}", python::text(given)),
            "write it as quoted octal digits, such as \"0600\" or \"0640\"",
        )),
    }
}

fn octal(digits: &str) -> Option<u32> {
    let digits = digits.trim();
    let digits = digits.strip_prefix("0o").unwrap_or(digits);
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, 8).ok() }
}

/// Nothing but read and write, nobody writes who cannot read, and the owner reads: the decimal `600`, `640`,
/// `644`, … of a playbook that forgot the quotes all fall out.
fn is_mode_of_a_file(mode: u32) -> bool {
    let (read, write) = (mode & 0o444, mode & 0o222);
    mode & !0o666 == 0 && write & !(read >> 1) == 0 && mode & 0o400 != 0
}
