//! The args file's JSON against the table of options: coerced, completed, and refused in AnsibleModule's words.
//!
//! The order of the checks is AnsibleModule's too, because it tells the first error only: exclusive options,
//! missing ones, types, choices, conditionally required ones, and unknown ones last.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::coerce;
use super::options::{Fact, Kind, Module, Preset};
use super::request::{RunMode, Secret};
use super::values;

pub const HIDDEN: &str = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER";

/// The options of one run, each of its type or absent, and what is to be known of them whether they are good or not.
#[derive(Debug)]
pub struct Args {
    module: Module,
    options: Map<String, Value>,
    pub mode: RunMode,
    /// Whether the result is to repeat the args, as AnsibleModule's does.
    pub inject_invocation: bool,
    pub secrets: Vec<Secret>,
    pub warnings: Vec<String>,
    /// What AnsibleModule would have said, where it would have refused them.
    pub refusal: Option<String>,
}

impl Args {
    pub fn check(module: Module, raw: Map<String, Value>) -> Args {
        Args::check_with(module, raw, &|name| std::env::var(name).ok())
    }

    /// [`Args::check`] with the environment given.
    pub fn check_with(module: Module, raw: Map<String, Value>, env: &dyn Fn(&str) -> Option<String>) -> Args {
        let (internal, options): (Map<_, _>, Map<_, _>) =
            raw.into_iter().partition(|(key, _)| key.starts_with("_ansible_"));
        let mut args = Args {
            module,
            options,
            mode: RunMode {
                check: is_on(&internal, "check_mode", false),
                diff: is_on(&internal, "diff", false),
            },
            inject_invocation: is_on(&internal, "inject_invocation", true),
            secrets: Vec::new(),
            warnings: Vec::new(),
            refusal: None,
        };
        let unknown = args.take_unknown();
        // A playbook's `key:` without a value means "not set".
        args.options.retain(|_, value| !value.is_null());
        args.take_from_environment(env);
        args.resolve_aliases();
        args.collect_secrets();
        args.refusal = args.refuse(env, is_on(&internal, "ignore_unknown_opts", false), &unknown).err();
        args.hide_password_flags();
        args
    }

    fn refuse(
        &mut self,
        env: &dyn Fn(&str) -> Option<String>,
        unknown_is_fine: bool,
        unknown: &BTreeSet<String>,
    ) -> Result<(), String> {
        let exclusive = self.refuse_exclusive();
        self.set_defaults();
        let missing = self.refuse_missing();
        let types = self.coerce(env);
        exclusive.and(missing).and(types)?;
        self.refuse_other_choices()?;
        self.refuse_conditionally_missing()?;
        if unknown.is_empty() || unknown_is_fine { Ok(()) } else { Err(self.unsupported(unknown)) }
    }

    fn take_from_environment(&mut self, env: &dyn Fn(&str) -> Option<String>) {
        for fact in self.module.facts() {
            // An empty variable is an unset one, as for the docker client.
            if let Some(value) = fact.env.and_then(env).filter(|value| !value.is_empty()) {
                self.options.entry(fact.name).or_insert(Value::String(value));
            }
        }
    }

    fn resolve_aliases(&mut self) {
        for fact in self.module.facts() {
            for alias in fact.aliases {
                let Some(value) = self.options.remove(*alias) else { continue };
                if self.options.insert(fact.name.to_string(), value).is_some() {
                    self.warnings.push(format!("Both option {} and its alias {alias} are set.", fact.name));
                }
            }
        }
    }

    fn collect_secrets(&mut self) {
        for fact in self.module.facts().filter(|fact| fact.no_log) {
            if let Some(value) = self.options.get(fact.name) {
                add_secrets(value, &mut self.secrets);
            }
        }
    }

    /// A password among nodetool's flags is refused later on, and must not be seen in the refusal either.
    fn hide_password_flags(&mut self) {
        let flags = self.list("nodetool_flags");
        if flags.iter().any(|flag| values::names_password(flag)) {
            self.secrets.extend(flags.into_iter().map(Secret::new));
        }
    }

    fn take_unknown(&mut self) -> BTreeSet<String> {
        let answers_to = |fact: &Fact, name: &str| fact.name == name || fact.aliases.contains(&name);
        let is_known = |name: &&String| self.module.facts().any(|fact| answers_to(fact, name));
        let unknown: BTreeSet<String> = self.options.keys().filter(|name| !is_known(name)).cloned().collect();
        self.options.retain(|name, _| !unknown.contains(name));
        unknown
    }

    fn refuse_exclusive(&self) -> Result<(), String> {
        let groups = self.module.mutually_exclusive().iter();
        let both = groups.filter(|group| group.iter().filter(|name| self.has(name)).count() > 1);
        let told: Vec<String> = both.map(|group| group.join("|")).collect();
        refuse_if(!told.is_empty(), || format!("parameters are mutually exclusive: {}", told.join(", ")))
    }

    fn set_defaults(&mut self) {
        for fact in self.module.facts() {
            if let Some(value) = fact.preset.value() {
                self.options.entry(fact.name).or_insert(value);
            }
        }
    }

    fn refuse_missing(&self) -> Result<(), String> {
        let needed = self.module.facts().filter(|fact| fact.required && !self.has(fact.name));
        let mut missing: Vec<&str> = needed.map(|fact| fact.name).collect();
        missing.sort_unstable();
        refuse_if(!missing.is_empty(), || format!("missing required arguments: {}", missing.join(", ")))
    }

    /// Gives every value its type; one that has none is dropped, and the first of them told.
    fn coerce(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let mut told = Ok(());
        for fact in self.module.facts() {
            let Some(value) = self.options.remove(fact.name) else { continue };
            match fact.kind.coerce(&value, env) {
                Ok(typed) => {
                    self.options.insert(fact.name.to_string(), typed);
                }
                Err(why) => {
                    told = told.and(Err(format!(
                        "argument '{}' is of type {} and we were unable to convert to {}: {why}",
                        fact.name,
                        coerce::type_name(&value),
                        fact.kind.name()
                    )));
                }
            }
        }
        told
    }

    fn refuse_other_choices(&self) -> Result<(), String> {
        for fact in self.module.facts().filter(|fact| !fact.choices.is_empty()) {
            let given = self.options.get(fact.name).map(coerce::text).unwrap_or_default();
            refuse_if(!fact.choices.contains(&given.as_str()), || {
                format!("value of {} must be one of: {}, got: {given}", fact.name, fact.choices.join(", "))
            })?;
        }
        Ok(())
    }

    fn refuse_conditionally_missing(&self) -> Result<(), String> {
        for rule in self.module.required_if() {
            let applies = self.options.get(rule.option).is_some_and(|given| given == rule.value);
            let missing: Vec<&str> = rule.needed.iter().copied().filter(|name| !self.has(name)).collect();
            let tolerated = if rule.any { rule.needed.len() - 1 } else { 0 };
            refuse_if(applies && missing.len() > tolerated, || {
                format!(
                    "{} is {} but {} of the following are missing: {}",
                    rule.option,
                    rule.value,
                    if rule.any { "any" } else { "all" },
                    missing.join(", ")
                )
            })?;
        }
        Ok(())
    }

    fn unsupported(&self, unknown: &BTreeSet<String>) -> String {
        let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
        let mut names: Vec<&str> = self.module.facts().map(|fact| fact.name).collect();
        let mut aliases: Vec<&str> = self.module.facts().flat_map(|fact| fact.aliases).copied().collect();
        names.sort_unstable();
        aliases.sort_unstable();
        let aliases = if aliases.is_empty() { String::new() } else { format!(" ({})", aliases.join(", ")) };
        format!(
            "Unsupported parameters for ({}) module: {}. Supported parameters include: {}{aliases}.",
            self.module.name(),
            unknown.join(", "),
            names.join(", ")
        )
    }

    fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The text of an option; an empty one counts as not given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.options.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.options.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.options.get(name).and_then(Value::as_i64)
    }

    /// The items of a list, without the blanks that a comma-separated string leaves around them.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self.options.get(name).and_then(Value::as_array).into_iter().flatten();
        let items = items.filter_map(Value::as_str).map(str::trim).filter(|item| !item.is_empty());
        items.map(str::to_string).collect()
    }

    pub fn raw(&self, name: &str) -> Option<&Value> {
        self.options.get(name)
    }

    /// The options for the result's `invocation.module_args`, secrets hidden.
    pub fn shown(&self) -> Value {
        let shown = |fact: &Fact| match self.options.get(fact.name) {
            Some(value) if fact.no_log && value != "" => json!(HIDDEN),
            Some(value) => value.clone(),
            None => Value::Null,
        };
        Value::Object(self.module.facts().map(|fact| (fact.name.to_string(), shown(fact))).collect())
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Str => "str",
            Kind::Int => "int",
            Kind::Bool => "bool",
            Kind::Path => "path",
            Kind::StrList => "list",
            Kind::Raw => "raw",
        }
    }

    fn coerce(self, value: &Value, env: &dyn Fn(&str) -> Option<String>) -> Result<Value, String> {
        Ok(match self {
            Kind::Str => Value::String(coerce::text(value)),
            Kind::Int => json!(coerce::integer(value)?),
            Kind::Bool => Value::Bool(coerce::boolean(value)?),
            Kind::Path => Value::String(coerce::path(value, env)),
            Kind::StrList => json!(coerce::string_list(value)?),
            Kind::Raw => value.clone(),
        })
    }
}

impl Preset {
    pub fn value(self) -> Option<Value> {
        match self {
            Preset::Unset => None,
            Preset::Str(text) => Some(json!(text)),
            Preset::Int(number) => Some(json!(number)),
            Preset::Bool(flag) => Some(json!(flag)),
        }
    }
}

fn refuse_if(wrong: bool, told: impl FnOnce() -> String) -> Result<(), String> {
    if wrong { Err(told()) } else { Ok(()) }
}

/// One of Ansible's own switches. Ansible sends real bools; of anything else the careful reading is "on".
fn is_on(internal: &Map<String, Value>, name: &str, absent: bool) -> bool {
    match internal.get(&format!("_ansible_{name}")) {
        None | Some(Value::Null) => absent,
        Some(value) => coerce::boolean(value).unwrap_or(true),
    }
}

fn add_secrets(value: &Value, secrets: &mut Vec<Secret>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| add_secrets(item, secrets)),
        Value::Object(map) => map.values().for_each(|item| add_secrets(item, secrets)),
        Value::Null | Value::Bool(_) => {}
        scalar => secrets.extend(Some(coerce::text(scalar)).filter(|text| !text.is_empty()).map(Secret::new)),
    }
}
