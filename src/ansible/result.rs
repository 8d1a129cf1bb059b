//! What a run tells Ansible: filled in as the run goes, so that a failure tells as much as a success.

use std::time::Instant;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::args::Args;
use super::bound::bound;
use super::request::Secret;
use crate::error::Told;
use crate::progress::Progress;

/// What stands for a secret in the result.
const HIDDEN: &str = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER";

/// The result under construction. Keys are a promise to playbooks: see the sidecars in `library/`.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Whether anything was changed so far, on this host or on the node.
    pub changed: bool,
    /// One sentence: what was done, or would be.
    pub msg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<Vec<Value>>,
    /// Who the node was when the snapshot was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Value>,
    /// The snapshot that is held, or that the archive was made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Value>,
    /// Tags of the older archives that had to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downtime_seconds: Option<f64>,
    /// The run that is at work on the node; `null`: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Value>,
    /// Where a restore stands, as `cassandra_restore`'s `state` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<Value>,
    /// On failure: whether the previous data was put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
    /// What the run is at, for a failure's `stage`.
    #[serde(skip)]
    pub stage: &'static str,
    /// One sentence for a failure: is the data all right, is the node up.
    #[serde(skip)]
    pub standing: String,
    #[serde(skip)]
    stage_begun: Option<Instant>,
    /// Whom the stages are told to while the run goes on.
    #[serde(skip)]
    pub progress: Progress,
}

impl Report {
    /// Begins the next step: it ends the one before, and names where a failure was.
    pub fn enter(&mut self, stage: &'static str) {
        self.end_step();
        self.progress.enter(stage);
        self.stage = stage;
        self.stage_begun = Some(Instant::now());
    }

    /// Ends the last step.
    pub fn end_step(&mut self) {
        if let Some(begun) = self.stage_begun.take() {
            let seconds = (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
            self.steps.push(Step { name: self.stage, seconds });
        }
    }

    /// The container as it was found; it is left so unless something else is said.
    pub fn found_container(&mut self, name: &str, image: &str, found: &str) {
        self.container = Some(json!({"name": name, "image": image, "found": found, "left": found}));
    }

    pub fn leaves_container(&mut self, left: &str) {
        if let Some(container) = &mut self.container {
            container["left"] = json!(left);
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub seconds: f64,
}

/// Before and after as a person wants to read them: small maps, not data.
#[derive(Debug)]
pub struct Diff {
    /// What it is about: Ansible shows it above each side.
    pub of: String,
    pub before: Value,
    pub after: Value,
}

impl Serialize for Diff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Diff { of, before, after } = self;
        json!({"before_header": of, "before": before, "after_header": of, "after": after})
            .serialize(serializer)
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    Done,
    Failed(Told),
}

/// The result as Ansible gets it. Without `args` there were none that could be read.
pub fn compose(report: &Report, outcome: &Outcome, args: Option<&Args>) -> Value {
    let mut result = match serde_json::to_value(report) {
        Ok(Value::Object(map)) => map,
        _ => Map::from_iter([("changed".to_string(), json!(report.changed))]),
    };
    if let Outcome::Failed(told) = outcome {
        add_failure(&mut result, report, told);
    }
    let Some(args) = args else { return Value::Object(result) };
    let failed = matches!(outcome, Outcome::Failed(_));
    // What was to come did not.
    if failed || !args.mode.diff {
        result.remove("diff");
    }
    if failed && args.mode.check {
        result.insert("changed".to_string(), json!(false));
    }
    let warnings: Vec<&String> = args.warnings.iter().chain(&report.warnings).collect();
    if !warnings.is_empty() {
        result.insert("warnings".to_string(), json!(warnings));
    }
    if !args.deprecations.is_empty() {
        result.insert("deprecations".to_string(), json!(args.deprecations));
    }
    if args.inject_invocation {
        result.insert("invocation".to_string(), json!({"module_args": args.shown()}));
    }
    let mut result = Value::Object(result);
    // Before anything is cut: half a secret is a secret too.
    mask(&mut result, &longest_first(&args.secrets));
    // Words of our own, which playbooks ask for: a secret that is one of them by chance would break them.
    if let (Outcome::Failed(told), Value::Object(result)) = (outcome, &mut result) {
        add_words(result, report, told);
    }
    bound(result)
}

fn add_failure(result: &mut Map<String, Value>, report: &Report, told: &Told) {
    result.insert("failed".to_string(), json!(true));
    result.insert("msg".to_string(), json!(one_text([&told.message, &report.standing, told.hint])));
    add_words(result, report, told);
}

fn add_words(result: &mut Map<String, Value>, report: &Report, told: &Told) {
    result.insert("error".to_string(), json!(told.word));
    if !told.hint.is_empty() {
        result.insert("hint".to_string(), json!(told.hint));
    }
    if !report.stage.is_empty() {
        result.insert("stage".to_string(), json!(report.stage));
    }
}

/// Sentences as one text: what failed, how things stand, what to do. A single one stays as it is.
fn one_text(sentences: [&str; 3]) -> String {
    let mut text = String::new();
    for sentence in sentences.into_iter().filter(|sentence| !sentence.is_empty()) {
        if !text.is_empty() {
            text.push_str(if text.ends_with(['.', '!', '?']) { " " } else { ". " });
        }
        text.push_str(sentence);
    }
    text
}

/// A secret that holds another one must go first, or its rest would stay.
fn longest_first(secrets: &[Secret]) -> Vec<&str> {
    let mut secrets: Vec<&str> = secrets.iter().map(Secret::reveal).collect();
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// Hides secrets as AnsibleModule does: in every string however short the secret, and numbers that hold one.
fn mask(value: &mut Value, secrets: &[&str]) {
    match value {
        Value::String(text) if secrets.contains(&text.as_str()) => *text = HIDDEN.to_string(),
        Value::String(text) => {
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                *text = text.replace(secret, "********");
            }
        }
        Value::Number(number) => {
            let digits = number.to_string();
            if secrets.iter().any(|secret| !secret.is_empty() && digits.contains(secret)) {
                *value = json!(HIDDEN);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, secrets)),
        Value::Object(map) => map.values_mut().for_each(|item| mask(item, secrets)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ansible::options::Module;

    fn args(json: Value) -> Args {
        let Value::Object(map) = json else { panic!("an object is needed") };
        Args::check_with(Module::Backup.spec(), map, &|_| None)
    }

    fn failed(message: &str, hint: &'static str) -> Outcome {
        Outcome::Failed(Told { word: "busy", message: message.to_string(), hint })
    }

    #[test]
    fn a_failure_tells_all_that_the_run_had_done() {
        let mut report = Report { changed: true, stage: "pack", ..Report::default() };
        report.standing = "the node is up and its snapshot is cleared.".to_string();
        report.backup = Some(json!({"tag": "nightly"}));
        report.warnings = vec!["slow".to_string()];
        let args = args(json!({"container": "c", "_ansible_inject_invocation": false}));

        let result = compose(&report, &failed("no space", "free some"), Some(&args));

        assert_eq!(
            result,
            json!({
                "changed": true,
                "msg": "no space. the node is up and its snapshot is cleared. free some",
                "backup": {"tag": "nightly"},
                "warnings": ["slow"],
                "failed": true,
                "error": "busy",
                "hint": "free some",
                "stage": "pack",
            })
        );
    }

    #[test]
    fn a_failure_without_standing_and_hint_is_told_as_it_is() {
        let result = compose(&Report::default(), &failed("missing required arguments: container", ""), None);

        let expected = json!({
            "changed": false, "msg": "missing required arguments: container", "failed": true, "error": "busy",
        });
        assert_eq!(result, expected);
    }

    #[test]
    fn secrets_are_hidden_in_every_string_and_number() {
        let args = args(json!({
            "container": "c", "jmx_password": ["42", "42abc"], "_ansible_inject_invocation": false,
        }));
        let mut report = Report { msg: "used 42abc and 42".to_string(), ..Report::default() };
        report.backup = Some(json!({"exactly": "42", "size": 1420, "list": [{"deep": "x42y"}], "yes": true}));

        let result = compose(&report, &Outcome::Done, Some(&args));

        let expected = json!({
            "changed": false,
            "msg": "used ******** and ********",
            "backup": {"exactly": HIDDEN, "size": HIDDEN, "list": [{"deep": "x********y"}], "yes": true},
        });
        assert_eq!(result, expected);
    }

    #[test]
    fn a_diff_is_shown_only_where_it_was_asked_for() {
        let (before, after) = (json!({"state": "absent"}), json!({"state": "present"}));
        let diff = || Some(Diff { of: "x".to_owned(), before: before.clone(), after: after.clone() });
        let report = Report { diff: diff(), ..Report::default() };

        let quiet = compose(&report, &Outcome::Done, Some(&args(json!({"container": "c"}))));
        let asked =
            compose(&report, &Outcome::Done, Some(&args(json!({"container": "c", "_ansible_diff": true}))));

        assert_eq!(quiet.get("diff"), None);
        assert_eq!(
            asked["diff"],
            json!({"before_header": "x", "before": before, "after_header": "x", "after": after})
        );
    }
}
