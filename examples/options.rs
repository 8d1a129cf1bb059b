//! The option engine by itself, for `tests/differential/run.py`: which compares it with Python's AnsibleModule.
//!
//! `options specs` prints the specs of the three modules and two made-up ones, which have every type and every rule.
//! `options check` reads cases from standard input and prints what the engine makes of each.

use std::collections::BTreeMap;

use cassandra_backup::ansible::args::Args;
use cassandra_backup::ansible::options::Module;
use cassandra_backup::ansible::result::{Outcome, Report, compose};
use cassandra_backup::ansible::spec::{Fact, Kind, Preset, Removal, RequiredIf, Spec, fact};
use cassandra_backup::error::Told;
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Case {
    spec: String,
    args: Map<String, Value>,
    env: BTreeMap<String, String>,
}

fn main() -> anyhow::Result<()> {
    let specs = Module::ALL.map(Module::spec).into_iter().chain([types(), rules()]);
    let answer: Value = match std::env::args().nth(1).as_deref() {
        Some("specs") => specs.map(|spec| (spec.name.to_string(), as_argument_spec(&spec))).collect(),
        Some("check") => {
            let specs: BTreeMap<&str, Spec> = specs.map(|spec| (spec.name, spec)).collect();
            let cases: Vec<Case> = serde_json::from_reader(std::io::stdin())?;
            cases.into_iter().map(|case| check(specs[case.spec.as_str()].clone(), case)).collect()
        }
        _ => anyhow::bail!("specs or check?"),
    };
    println!("{answer}");
    Ok(())
}

fn check(spec: Spec, case: Case) -> Value {
    let args = Args::check_with(spec, case.args, &|name| case.env.get(name).cloned());
    let outcome = match args.refusal.clone() {
        None => Outcome::Done,
        Some(message) => Outcome::Failed(Told { word: "bad_option", message, hint: "" }),
    };
    compose(&Report::default(), &outcome, Some(&args))
}

/// Every type, with what goes with it.
fn types() -> Spec {
    const GONE: Removal = Removal { version: "3.0.0", collection: "kitchen.sink" };
    let list = |name, kind| Fact { elements: Some(kind), ..fact(name, Kind::List) };
    let facts = vec![
        Fact { aliases: &["words", "txt"], deprecated_aliases: &[("txt", GONE)], ..fact("text", Kind::Str) },
        Fact { choices: &["yes", "no", "maybe"], ..fact("answer", Kind::Str) },
        Fact { preset: Preset::Str("a"), choices: &["a", "b", "true"], ..fact("letter", Kind::Str) },
        Fact { preset: Preset::Int(5), ..fact("number", Kind::Int) },
        Fact { choices: &["2", "7", "99"], ..fact("level", Kind::Int) },
        Fact { preset: Preset::Bool(true), ..fact("flag", Kind::Bool) },
        Fact { preset: Preset::Str("1 MB"), ..fact("size", Kind::Bytes) },
        Fact { preset: Preset::Str("~/default"), ..fact("place", Kind::Path) },
        fact("anything", Kind::Raw),
        fact("map", Kind::Dict),
        fact("loose", Kind::List),
        Fact { preset: Preset::Str("x,y"), ..list("texts", Kind::Str) },
        Fact { choices: &["2", "3", "7"], ..list("numbers", Kind::Int) },
        Fact { choices: &["a", "b"], ..list("letters", Kind::Str) },
        list("flags", Kind::Bool),
        list("sizes", Kind::Bytes),
        list("places", Kind::Path),
        list("maps", Kind::Dict),
        list("lists", Kind::List),
        list("raws", Kind::Raw),
        Fact { no_log: true, ..fact("secret", Kind::Str) },
        Fact { no_log: true, ..list("secrets", Kind::Str) },
        Fact { no_log: true, ..fact("secret_map", Kind::Dict) },
        Fact { no_log: true, env: Some("KITCHEN_TOKEN"), ..fact("token", Kind::Str) },
        Fact { env: Some("KITCHEN_NUMBER"), preset: Preset::Int(3), ..fact("fallback", Kind::Int) },
        Fact { removed: Some(GONE), ..fact("old", Kind::Str) },
    ];
    Spec::of("types", facts)
}

/// Every rule.
fn rules() -> Spec {
    let mut facts: Vec<Fact> =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"].map(|name| fact(name, Kind::Str)).to_vec();
    facts.extend([
        Fact { required: true, aliases: &["needed"], ..fact("must", Kind::Str) },
        Fact { required: true, ..fact("also", Kind::Int) },
        Fact { preset: Preset::Str("none"), ..fact("mode", Kind::Str) },
        fact("on", Kind::Bool),
        fact("count", Kind::Int),
    ]);
    Spec {
        mutually_exclusive: &[&["a", "b"], &["b", "c", "d"]],
        required_together: &[&["e", "f"], &["f", "k"]],
        required_one_of: &[&["g", "h"], &["g", "count"]],
        required_if: &[
            RequiredIf { option: "mode", value: "any", needed: &["a", "e"], any: true },
            RequiredIf { option: "mode", value: "all", needed: &["c", "d", "k"], any: false },
            RequiredIf { option: "on", value: "True", needed: &["i"], any: false },
            RequiredIf { option: "count", value: "99", needed: &["j"], any: true },
        ],
        required_by: &[("i", &["j", "k"]), ("d", &["mode"]), ("k", &["f"])],
        ..Spec::of("rules", facts)
    }
}

/// The arguments for AnsibleModule, but for a fallback: that is the name of its variable.
fn as_argument_spec(spec: &Spec) -> Value {
    let kind_of = |name: &str| spec.facts.iter().find(|fact| fact.name == name).map(|fact| fact.kind);
    let required_if = |rule: &RequiredIf| {
        let value = match kind_of(rule.option) {
            Some(Kind::Bool) => json!(rule.value == "True"),
            Some(Kind::Int) => json!(rule.value.parse::<i64>().unwrap()),
            _ => json!(rule.value),
        };
        json!([rule.option, value, rule.needed, rule.any])
    };
    json!({
        "argument_spec": spec.facts.iter().map(|fact| (fact.name.to_string(), option(fact))).collect::<Value>(),
        "mutually_exclusive": spec.mutually_exclusive,
        "required_together": spec.required_together,
        "required_one_of": spec.required_one_of,
        "required_if": spec.required_if.iter().map(required_if).collect::<Value>(),
        "required_by": spec.required_by.iter().copied().collect::<BTreeMap<_, _>>(),
    })
}

fn option(fact: &Fact) -> Value {
    let mut option = json!({"type": fact.kind.name(), "required": fact.required, "no_log": fact.no_log});
    if let Some(kind) = fact.elements {
        option["elements"] = json!(kind.name());
    }
    if let Some(value) = fact.preset.value() {
        option["default"] = value;
    }
    if !fact.choices.is_empty() {
        let is_int = fact.elements.unwrap_or(fact.kind) == Kind::Int;
        let choice = |word: &&str| if is_int { json!(word.parse::<i64>().unwrap()) } else { json!(word) };
        option["choices"] = fact.choices.iter().map(choice).collect();
    }
    if !fact.aliases.is_empty() {
        option["aliases"] = json!(fact.aliases);
    }
    let removal = |name: &str, removal: &Removal| json!({"name": name, "version": removal.version, "collection_name": removal.collection});
    if !fact.deprecated_aliases.is_empty() {
        option["deprecated_aliases"] =
            fact.deprecated_aliases.iter().map(|(alias, gone)| removal(alias, gone)).collect();
    }
    if let Some(Removal { version, collection }) = fact.removed {
        option["removed_in_version"] = json!(version);
        option["removed_from_collection"] = json!(collection);
    }
    if let Some(variable) = fact.env {
        option["fallback"] = json!(variable);
    }
    option
}
