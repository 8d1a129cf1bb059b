//! The docs in `library/` and the executable know the same options.

use std::collections::{BTreeMap, BTreeSet};

use cassandra_backup::ansible::options::Module;
use cassandra_backup::ansible::spec::{Fact, Spec};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE", deny_unknown_fields)]
struct Sidecar {
    documentation: Documentation,
    examples: String,
    #[serde(rename = "RETURN")]
    returned: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Documentation {
    module: String,
    version_added: String,
    // A list of pairs in the order of the file.
    options: serde_yaml_ng::Mapping,
    attributes: BTreeMap<String, Value>,
    notes: Vec<String>,
}

/// An option as documented; a key that this does not know is a key that ansible-doc does not know.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Documented {
    description: Value,
    r#type: String,
    default: Option<Value>,
    #[serde(default)]
    choices: Vec<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    required: bool,
    elements: Option<String>,
    version_added: String,
}

fn sidecar(module: Module) -> Sidecar {
    let path = format!("{}/library/{}.yml", env!("CARGO_MANIFEST_DIR"), module.name());
    let text = std::fs::read_to_string(&path).unwrap();
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn as_documented(fact: &Fact, description: Value) -> Documented {
    let strings = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
    Documented {
        description,
        r#type: fact.kind.name().to_string(),
        default: fact.preset.value(),
        choices: strings(fact.choices),
        aliases: strings(fact.aliases),
        required: fact.required,
        elements: fact.elements.map(|kind| kind.name().to_string()),
        version_added: "0.1.0".to_string(),
    }
}

#[test]
fn the_docs_have_the_options_of_the_executable_in_its_order() {
    for module in Module::ALL {
        let options = sidecar(module).documentation.options;
        let documented: Vec<&str> = options.keys().map(|name| name.as_str().unwrap()).collect();
        let known: Vec<&str> = module.spec().facts.iter().map(|fact| fact.name).collect();
        assert_eq!(documented, known, "{}", module.name());
    }
}

#[test]
fn the_docs_have_each_options_type_default_choices_and_aliases() {
    for module in Module::ALL {
        let options = sidecar(module).documentation.options;
        for fact in module.spec().facts {
            let option: Documented = serde_yaml_ng::from_value(options[fact.name].clone()).unwrap();
            assert!(!option.description.is_null(), "{} has no description", fact.name);
            let expected = as_documented(&fact, option.description.clone());
            assert_eq!(option, expected, "{} of {}", fact.name, module.name());
        }
    }
}

/// The rules between options, as sentences of those that they are about.
fn rules(spec: &Spec) -> BTreeSet<(String, String)> {
    let mut rules = BTreeSet::new();
    let mut tell = |option: &str, sentence: String| {
        rules.insert((option.to_string(), sentence));
    };
    for [first, second] in spec.mutually_exclusive.iter().map(|group| <[&str; 2]>::try_from(*group).unwrap())
    {
        tell(first, format!("Mutually exclusive with O({second})."));
        tell(second, format!("Mutually exclusive with O({first})."));
    }
    for (option, needed) in spec.required_by {
        needed.iter().for_each(|needed| tell(option, format!("Requires O({needed}).")));
    }
    for rule in spec.required_if.iter().filter(|rule| !rule.any) {
        let sentence = format!("Required for O({}={}).", rule.option, rule.value);
        rule.needed.iter().for_each(|needed| tell(needed, sentence.clone()));
    }
    let any: Vec<_> = spec.required_if.iter().filter(|rule| rule.any).collect();
    let values: Vec<String> = any.iter().map(|rule| format!("O({}={})", rule.option, rule.value)).collect();
    for rule in any {
        let [first, second] = <[&str; 2]>::try_from(rule.needed).unwrap();
        for (option, other) in [(first, second), (second, first)] {
            tell(option, format!("This or O({other}) is required for {}.", values.join(", ")));
        }
    }
    assert!(spec.required_together.is_empty() && spec.required_one_of.is_empty(), "no words for these yet");
    rules
}

#[test]
fn the_docs_have_the_rules_between_options_and_no_others() {
    const BEGINNINGS: [&str; 4] = ["Mutually exclusive ", "Requires ", "Required ", "This or "];
    for module in Module::ALL {
        let mut told = BTreeSet::new();
        for (name, option) in sidecar(module).documentation.options {
            let option: Documented = serde_yaml_ng::from_value(option).unwrap();
            for sentence in option.description.as_array().into_iter().flatten().filter_map(Value::as_str) {
                if BEGINNINGS.iter().any(|beginning| sentence.starts_with(beginning)) {
                    told.insert((name.as_str().unwrap().to_string(), sentence.to_string()));
                }
            }
        }
        assert_eq!(told, rules(&module.spec()), "{}", module.name());
    }
}

#[test]
fn the_docs_of_what_the_modules_share_are_the_same() {
    let [backup, restore, info] = Module::ALL.map(sidecar);
    for fact in Module::Info.spec().facts.iter().skip_while(|fact| fact.name != "docker_host") {
        let of = |sidecar: &Sidecar| sidecar.documentation.options[fact.name].clone();
        assert_eq!(of(&backup), of(&restore), "{}", fact.name);
        assert_eq!(of(&backup), of(&info), "{}", fact.name);
    }
    let parts = |sidecar: &Sidecar, key: &str| sidecar.returned[key]["contains"].clone();
    assert_eq!(parts(&backup, "backup"), parts(&restore, "backup"));
    assert_eq!(parts(&backup, "container"), parts(&restore, "container"));
    assert_eq!(parts(&backup, "container"), parts(&info, "container"));
    // One that cannot be used has a reason in place of most of it.
    let mut listed = parts(&info, "backups");
    for key in ["error", "msg", "verified"] {
        listed.as_object_mut().unwrap().remove(key).unwrap();
    }
    assert_eq!(parts(&backup, "backup"), listed);
}

#[test]
fn the_docs_say_what_a_user_looks_for_first() {
    for module in Module::ALL {
        let Sidecar { documentation, examples, returned } = sidecar(module);
        assert_eq!(documentation.module, module.name());
        assert_eq!(documentation.version_added, "0.1.0");
        for attribute in ["check_mode", "diff_mode", "platform"] {
            assert!(documentation.attributes.contains_key(attribute), "{attribute}");
        }
        let notes = documentation.notes.join("\n");
        assert!(notes.contains("community.cassandra.cassandra_backup"), "{notes}");
        assert!(notes.contains("no Python"), "{notes}");
        assert!(examples.contains(&format!("  {}:\n", module.name())), "{examples}");
        for key in ["msg", "error", "hint", "stage", "container", "steps"] {
            assert!(returned.contains_key(key), "{key} of {}", module.name());
        }
    }
}

#[test]
fn every_documented_result_has_a_type_and_a_sample() {
    fn check(name: &str, value: &Value) {
        for key in ["description", "type", "returned"] {
            assert!(value.get(key).is_some(), "{name} has no {key}");
        }
        assert_eq!(value["version_added"], "0.1.0", "{name}");
        match value.get("contains").and_then(Value::as_object) {
            Some(parts) => parts.iter().for_each(|(part, value)| check(&format!("{name}.{part}"), value)),
            None => assert!(value.get("sample").is_some(), "{name} has no sample"),
        }
    }
    for module in Module::ALL {
        for (name, value) in &sidecar(module).returned {
            check(name, value);
        }
    }
}

#[test]
fn every_example_is_a_task_whose_options_are_accepted() {
    use cassandra_backup::ansible::args::Args;
    use cassandra_backup::ansible::request::Request;

    for module in Module::ALL {
        let tasks: Vec<serde_json::Map<String, Value>> =
            serde_yaml_ng::from_str(&sidecar(module).examples).unwrap();
        for options in tasks.iter().filter_map(|task| task.get(module.name())) {
            let mut raw = options.as_object().cloned().unwrap_or_default();
            let is_template = |value: &&mut Value| value.as_str().is_some_and(|text| text.contains("{{"));
            raw.values_mut().filter(is_template).for_each(|value| *value = Value::from("word"));
            let args = Args::check_with(module.spec(), raw, &|_| None);
            if let Err(error) = Request::parse(module, &args) {
                panic!("{options}: {error}");
            }
        }
    }
}
