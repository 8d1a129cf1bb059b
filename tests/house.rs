//! The invariants of `ARCHITECTURE.md` that no compiler and no lint holds.

use std::fs;
use std::path::{Path, PathBuf};

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// Every source file with its code: without its tests and without comment lines.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    let mut sources = Vec::new();
    for path in paths.iter().filter(|path| !path.to_string_lossy().ends_with("_tests.rs")) {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let code =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        sources.push((path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), code));
    }
    assert!(sources.len() > 20, "the sources are not where this test looks for them");
    sources
}

/// The files, other than those allowed, whose code has one of these words.
fn offenders(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let is_allowed = |name: &str| allowed.iter().any(|allowed| name.starts_with(allowed));
    let has_word = |code: &str| words.iter().find(|word| code.contains(*word)).copied();
    sources()
        .iter()
        .filter(|(name, _)| !is_allowed(name))
        .filter_map(|(name, code)| has_word(code).map(|word| format!("{name}: {word}")))
        .collect()
}

#[test]
fn only_docker_speaks_to_the_engine() {
    assert_eq!(offenders(&["hyper", "http_body", "UnixStream"], &["docker/"]), [""; 0]);
}

#[test]
fn only_main_prints_or_exits_and_nothing_writes_to_stderr() {
    let words = ["println!", "print!(", "eprint", "dbg!(", "process::exit", "io::stdout", "io::stderr"];
    assert_eq!(offenders(&words, &["main.rs"]), [""; 0]);
    assert_eq!(offenders(&["eprint", "io::stderr", "dbg!("], &[]), [""; 0]);
}

#[test]
fn only_durable_renames() {
    assert_eq!(offenders(&["fs::rename", "renameat"], &["durable.rs"]), [""; 0]);
}

#[test]
fn ansible_knows_nothing_of_docker_or_cassandra() {
    let words = ["crate::docker", "crate::cassandra", "crate::archive", "crate::restore", "crate::backup"];
    let others =
        ["archive/", "backup/", "cassandra/", "docker/", "restore/", "info.rs", "lib.rs", "state.rs"];
    assert_eq!(offenders(&words, &others), [""; 0]);
}

#[test]
fn no_other_module_knows_ansibles_internal_keys() {
    assert_eq!(offenders(&["_ansible_"], &["ansible/"]), [""; 0]);
}

#[test]
fn the_plan_the_manifest_and_the_table_of_contents_do_no_io() {
    let pure = [
        "restore/plan.rs",
        "restore/compare.rs",
        "archive/manifest.rs",
        "archive/toc.rs",
        "archive/toc_json.rs",
    ];
    let words = ["std::fs", "File::", "Dir::", "crate::docker", "async fn", "std::env"];
    let others: Vec<String> =
        sources().into_iter().map(|(name, _)| name).filter(|name| !pure.contains(&name.as_str())).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    assert_eq!(offenders(&words, &others), [""; 0]);
}

#[test]
fn nothing_gives_up_by_panicking() {
    assert_eq!(offenders(&[".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("], &[]), [""; 0]);
}

#[test]
fn no_room_is_crowded() {
    let mut paths = Vec::new();
    for top in ["src", "tests", "examples"] {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(top), &mut paths);
    }
    let lines = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    let rust = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    assert_eq!(rust.filter(|path| lines(path) > 400).collect::<Vec<_>>(), Vec::<PathBuf>::new());
}
