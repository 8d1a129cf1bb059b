//! What a spec demands of the options together, in the words and the order of AnsibleModule: the first offence is told.

use serde_json::{Map, Value};

use super::python;
use super::spec::{Fact, RequiredIf, Spec};

type Options = Map<String, Value>;

pub fn exclusive(spec: &Spec, options: &Options) -> Result<(), String> {
    let both = spec.mutually_exclusive.iter().filter(|group| given(group, options) > 1);
    let told: Vec<String> = both.map(|group| group.join("|")).collect();
    refuse_if(!told.is_empty(), || format!("parameters are mutually exclusive: {}", told.join(", ")))
}

pub fn required(spec: &Spec, options: &Options) -> Result<(), String> {
    let needed = spec.facts.iter().filter(|fact| fact.required).map(|fact| fact.name);
    let mut missing: Vec<&str> = needed.filter(|name| !options.contains_key(*name)).collect();
    missing.sort_unstable();
    refuse_if(!missing.is_empty(), || format!("missing required arguments: {}", missing.join(", ")))
}

/// A value, or each item of a list, against the choices.
pub fn choose(fact: &Fact, value: &mut Value) -> Result<(), String> {
    let is_choice = |value: &Value| fact.choices.contains(&python::text(value).as_str());
    let choices = fact.choices.join(", ");
    if let Value::Array(items) = value {
        let other: Vec<String> = items.iter().filter(|item| !is_choice(item)).map(python::text).collect();
        return refuse_if(!other.is_empty(), || {
            let (name, other) = (fact.name, other.join(", "));
            format!("value of {name} must be one or more of: {choices}. Got no match for: {other}")
        });
    }
    if let Some(meant) = word_for_bool(fact, value) {
        *value = Value::String(meant.to_string());
    }
    refuse_if(!is_choice(value), || {
        format!("value of {} must be one of: {choices}, got: {}", fact.name, python::text(value))
    })
}

/// The choice that YAML made a bool of: `no` came as false.
fn word_for_bool(fact: &Fact, value: &Value) -> Option<&'static str> {
    let words: &[&str] = match value.as_str() {
        Some("True") => &["y", "yes", "on", "1", "true", "t"],
        Some("False") => &["n", "no", "off", "0", "false", "f"],
        _ => return None,
    };
    let mut meant = fact.choices.iter().filter(|choice| words.contains(choice));
    let first = meant.next()?;
    if meant.next().is_none() { Some(first) } else { None }
}

pub fn together(spec: &Spec, options: &Options) -> Result<(), String> {
    let is_apart = |group: &[&str]| (1..group.len()).contains(&given(group, options));
    let apart = spec.required_together.iter().find(|group| is_apart(group));
    apart.map_or(Ok(()), |group| Err(format!("parameters are required together: {}", group.join(", "))))
}

pub fn one_of(spec: &Spec, options: &Options) -> Result<(), String> {
    let absent = spec.required_one_of.iter().find(|group| given(group, options) == 0);
    absent.map_or(Ok(()), |group| Err(format!("one of the following is required: {}", group.join(", "))))
}

pub fn required_if(spec: &Spec, options: &Options) -> Result<(), String> {
    for RequiredIf { option, value, needed, any } in spec.required_if {
        let applies = options.get(*option).is_some_and(|given| python::text(given) == *value);
        let missing = missing(needed, options);
        let tolerated = if *any { needed.len() - 1 } else { 0 };
        refuse_if(applies && missing.len() > tolerated, || {
            let how_many = if *any { "any" } else { "all" };
            let missing = missing.join(", ");
            format!("{option} is {value} but {how_many} of the following are missing: {missing}")
        })?;
    }
    Ok(())
}

pub fn required_by(spec: &Spec, options: &Options) -> Result<(), String> {
    for (option, needed) in spec.required_by {
        let missing = missing(needed, options);
        refuse_if(options.contains_key(*option) && !missing.is_empty(), || {
            format!("missing parameter(s) required by '{option}': {}", missing.join(", "))
        })?;
    }
    Ok(())
}

fn given(names: &[&str], options: &Options) -> usize {
    names.iter().filter(|name| options.contains_key(**name)).count()
}

fn missing<'a>(names: &[&'a str], options: &Options) -> Vec<&'a str> {
    names.iter().copied().filter(|name| !options.contains_key(*name)).collect()
}

fn refuse_if(wrong: bool, told: impl FnOnce() -> String) -> Result<(), String> {
    if wrong { Err(told()) } else { Ok(()) }
}
