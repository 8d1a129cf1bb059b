//! The docs in `library/` and the executable know the same options.

use std::collections::BTreeMap;

use cassandra_backup::ansible::options::{Fact, Kind, Module};
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
        elements: (fact.kind == Kind::StrList).then(|| "str".to_string()),
        version_added: "0.1.0".to_string(),
    }
}

#[test]
fn the_docs_have_the_options_of_the_executable_in_its_order() {
    for module in Module::ALL {
        let options = sidecar(module).documentation.options;
        let documented: Vec<&str> = options.keys().map(|name| name.as_str().unwrap()).collect();
        let known: Vec<&str> = module.facts().map(|fact| fact.name).collect();
        assert_eq!(documented, known, "{}", module.name());
    }
}

#[test]
fn the_docs_have_each_options_type_default_choices_and_aliases() {
    for module in Module::ALL {
        let options = sidecar(module).documentation.options;
        for fact in module.facts() {
            let option: Documented = serde_yaml_ng::from_value(options[fact.name].clone()).unwrap();
            assert!(!option.description.is_null(), "{} has no description", fact.name);
            let expected = as_documented(fact, option.description.clone());
            assert_eq!(option, expected, "{} of {}", fact.name, module.name());
        }
    }
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
            let raw = options.as_object().cloned().unwrap_or_default();
            let args = Args::check_with(module, raw, &|_| None);
            if let Err(error) = Request::parse(module, &args) {
                panic!("{options}: {error}");
            }
        }
    }
}
