//! The road that `docs/restore-phases.md` draws is the one that a restore and a roll-back take, step by step.

mod support;
#[path = "restores/way_back.rs"]
mod way_back;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::FakeNode;
use way_back::{changed_since, restore};

/// What the run did, with what follows itself told once, and what only makes it durable left out.
fn road(node: &FakeNode, args: Value) -> Vec<String> {
    let log = node.host().join("steps");
    fs::remove_file(&log).ok();
    let effects = log.display().to_string();
    let run = node.start_module_with("cassandra_restore", args, &[("CASSANDRA_BACKUP_EFFECTS", &effects)]);
    let result = run.finish();
    assert_eq!(result["failed"], Value::Null, "{result:#}");
    let text = fs::read_to_string(&log).unwrap();
    let mut phase = String::new();
    let mut road: Vec<String> = Vec::new();
    for line in text.lines() {
        let step: Value = serde_json::from_str(line).unwrap();
        if step["kind"] == "Sync" && step["path"].as_str().unwrap().ends_with("journal.json.new") {
            phase = journaled(step["content"].as_str().unwrap());
        }
        if let Some(words) = words(&step, &phase)
            && road.last() != Some(&words)
        {
            road.push(words);
        }
    }
    road
}

fn journaled(hex: &str) -> String {
    let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
    let journal: Value = serde_json::from_slice(&bytes.collect::<Vec<_>>()).unwrap();
    let removed = ["previous_removed", "earlier_removed"].into_iter().filter(|flag| journal[flag] == true);
    let removed: String = removed.map(|flag| format!(", {flag}")).collect();
    format!("{}{removed}", journal["phase"].as_str().unwrap())
}

fn words(step: &Value, phase: &str) -> Option<String> {
    let text = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
    let (path, to) = (text("path"), text("to"));
    let place = |path: &str| -> Option<(String, String)> {
        let (_, below) = path.split_once("/.cassandra_restore-")?;
        let mut names = below.split('/');
        Some((names.next()?.to_owned(), names.next().unwrap_or_default().to_owned()))
    };
    let name = |path: &str| Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = match text("kind").as_str() {
        "Policy" => format!("restart policy `{path}`"),
        "Stop" => "stop".to_owned(),
        "Start" => "start".to_owned(),
        "Rename" if name(&to) == "journal.json" => format!("journal: {phase}"),
        "Rename" if name(&to) == "run" => "mark the work directories".to_owned(),
        "Rename" if name(&to) == "node.json" => "remember who the node is".to_owned(),
        "Rename" if path.contains("/snapshots/") => "snapshots to their tables".to_owned(),
        "Exchange" if path.contains("probe-") => "try whether two names can be exchanged".to_owned(),
        "Exchange" => match (place(&to)?, phase.contains("setting_aside")) {
            ((_, level), true) => format!("blocker in, `system` to {level}"),
            ((_, level), false) => format!("blocker out, `system` from {level}"),
        },
        "Rename" => match (place(&path), place(&to)) {
            (None, Some((_, level))) => format!("live to {level}"),
            (Some((_, level)), None) => format!("{level} to live"),
            (Some((_, level)), Some((_, other))) => format!("{level} becomes {other}"),
            (None, None) => return None,
        },
        "Create" | "Write" if place(&path).is_some_and(|(_, level)| level == "staged") => "unpack".to_owned(),
        "Remove" => {
            let (_, level) = place(&path)?;
            match level.as_str() {
                "" | "run.new" | "probe-1" | "probe-2" => return None,
                // The blocker, once it is out.
                _ if name(&path) == "system" && phase.contains("moving_in") => {
                    return None;
                }
                level => format!("remove {level}"),
            }
        }
        _ => return None,
    };
    Some(words)
}

/// The lines of a list of the document, below its heading.
fn drawn(heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/restore-phases.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("### {heading}\n")).expect("the heading");
    let list =
        section.lines().skip_while(|line| !line.starts_with("1. ")).take_while(|line| !line.is_empty());
    list.map(|line| line.split_once(". ").expect("a number").1.to_owned()).collect()
}

#[test]
fn a_restore_takes_the_road_that_is_drawn() {
    let node = changed_since(FakeNode::running()).with_operator_snapshot("mine");
    assert_eq!(road(&node, json!({"tag": "nightly"})), drawn("A restore"));
}

#[test]
fn a_roll_back_takes_the_road_that_is_drawn() {
    let node = changed_since(FakeNode::running()).with_operator_snapshot("mine");
    restore(&node, json!({}));
    assert_eq!(road(&node, json!({"state": "rolled_back"})), drawn("A roll-back of a complete restore"));
}

#[test]
fn a_restore_is_swapped_back_on_the_road_that_is_drawn() {
    let node = changed_since(FakeNode::running()).with_operator_snapshot("mine");
    restore(&node, json!({}));
    assert_eq!(road(&node, json!({"state": "swapped_back"})), drawn("A complete restore swapped back"));
    let rest = ["restart policy `unless-stopped`", "start", "journal: rolled_back"];
    assert_eq!(road(&node, json!({"state": "rolled_back"})), rest);
}

#[test]
fn a_restore_in_place_takes_the_road_that_is_drawn() {
    let node = changed_since(FakeNode::running());
    let args = json!({"tag": "nightly", "staging": "in_place", "give_up_previous": true});
    assert_eq!(road(&node, args), drawn("A restore in place"));
}
