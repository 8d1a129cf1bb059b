//! The args file's JSON against a module's spec: coerced, completed, and refused in AnsibleModule's words.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::request::{RunMode, Secret};
use super::spec::{Fact, Preset, Removal, Spec};
use super::{coerce, python, rules, values};

/// The options of one run, each of its type or absent, and what is to be known of them whether they are good or not.
#[derive(Debug)]
pub struct Args {
    spec: Spec,
    options: Map<String, Value>,
    pub mode: RunMode,
    /// Whether the result is to repeat the args, as AnsibleModule's does.
    pub inject_invocation: bool,
    pub secrets: Vec<Secret>,
    pub warnings: Vec<String>,
    /// As the result tells them.
    pub deprecations: Vec<Value>,
    /// What AnsibleModule would have said, where it would have refused them.
    pub refusal: Option<String>,
}

impl Args {
    pub fn check(spec: Spec, raw: Map<String, Value>) -> Args {
        Args::check_with(spec, raw, &|name| std::env::var(name).ok())
    }

    /// [`Args::check`] with the environment given.
    pub fn check_with(spec: Spec, raw: Map<String, Value>, env: &dyn Fn(&str) -> Option<String>) -> Args {
        let (internal, options): (Map<_, _>, Map<_, _>) =
            raw.into_iter().partition(|(key, _)| key.starts_with("_ansible_"));
        let mut args = Args {
            spec,
            options,
            mode: RunMode {
                check: is_on(&internal, "check_mode", false),
                diff: is_on(&internal, "diff", false),
            },
            inject_invocation: is_on(&internal, "inject_invocation", true),
            secrets: Vec::new(),
            warnings: Vec::new(),
            deprecations: Vec::new(),
            refusal: None,
        };
        let unknown = args.take_unknown();
        // A playbook's `key:` without a value means "not set".
        args.options.retain(|_, value| !value.is_null());
        args.take_from_environment(env);
        args.resolve_aliases();
        args.deprecate_options();
        args.collect_secrets();
        let refused = args.refuse(env).and_then(|()| {
            let fine = unknown.is_empty() || is_on(&internal, "ignore_unknown_opts", false);
            let task_name = internal.get("_ansible_module_name").and_then(Value::as_str);
            if fine { Ok(()) } else { Err(args.unsupported(task_name, &unknown)) }
        });
        args.refusal = refused.err();
        args.collect_secrets();
        args.hide_password_flags();
        args
    }

    /// In AnsibleModule's order, because it tells the first error only.
    fn refuse(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let exclusive = rules::exclusive(&self.spec, &self.options);
        self.set_defaults();
        let missing = rules::required(&self.spec, &self.options);
        let types = self.coerce(env);
        exclusive.and(missing).and(types)?;
        for fact in self.spec.facts.iter().filter(|fact| !fact.choices.is_empty()) {
            if let Some(value) = self.options.get_mut(fact.name) {
                rules::choose(fact, value)?;
            }
        }
        rules::together(&self.spec, &self.options)?;
        rules::one_of(&self.spec, &self.options)?;
        rules::required_if(&self.spec, &self.options)?;
        rules::required_by(&self.spec, &self.options)
    }

    fn take_from_environment(&mut self, env: &dyn Fn(&str) -> Option<String>) {
        for fact in &self.spec.facts {
            // An empty variable is an unset one, as for the docker client.
            if let Some(value) = fact.env.and_then(env).filter(|value| !value.is_empty()) {
                self.options.entry(fact.name).or_insert(Value::String(value));
            }
        }
    }

    fn resolve_aliases(&mut self) {
        for fact in &self.spec.facts {
            for (alias, removal) in fact.deprecated_aliases {
                if self.options.contains_key(*alias) {
                    self.deprecations.push(deprecation("Alias", alias, *removal));
                }
            }
            for alias in fact.aliases {
                let Some(value) = self.options.remove(*alias) else { continue };
                if self.options.insert(fact.name.to_string(), value).is_some() {
                    self.warnings.push(format!("Both option {} and its alias {alias} are set.", fact.name));
                }
            }
        }
    }

    fn deprecate_options(&mut self) {
        for fact in self.spec.facts.iter().filter(|fact| self.options.contains_key(fact.name)) {
            self.deprecations.extend(fact.removed.map(|removal| deprecation("Param", fact.name, removal)));
        }
    }

    /// Of the values as they are now: given, and once more as their type has them.
    fn collect_secrets(&mut self) {
        for fact in self.spec.facts.iter().filter(|fact| fact.no_log) {
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
        let is_known = |name: &&String| self.spec.facts.iter().any(|fact| answers_to(fact, name));
        let mut unknown = BTreeSet::new();
        unknown.extend(self.options.keys().filter(|name| !is_known(name)).cloned());
        self.options.retain(|name, _| !unknown.contains(name));
        unknown
    }

    fn set_defaults(&mut self) {
        for fact in &self.spec.facts {
            if let Some(value) = fact.preset.value() {
                self.options.entry(fact.name).or_insert(value);
            }
        }
    }

    /// Gives every value its type; one that cannot have it stays as it is, and the first of them is told.
    fn coerce(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let mut told = Ok(());
        for fact in &self.spec.facts {
            let Some(value) = self.options.get_mut(fact.name) else { continue };
            match coerce::to_type(fact.kind, value, env) {
                Ok(typed) => *value = typed,
                Err(why) => told = told.and(Err(why.told(&format!("argument '{}'", fact.name)))),
            }
            if let (Some(kind), Value::Array(items)) = (fact.elements, value) {
                items.retain_mut(|item| match coerce::to_type(kind, item, env) {
                    Ok(typed) => {
                        *item = typed;
                        true
                    }
                    Err(why) => {
                        let what = format!("Elements value for option '{}'", fact.name);
                        told = std::mem::replace(&mut told, Ok(())).and(Err(why.told(&what)));
                        false
                    }
                });
            }
        }
        told
    }

    fn unsupported(&self, task_name: Option<&str>, unknown: &BTreeSet<String>) -> String {
        let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
        let mut names: Vec<&str> = self.spec.facts.iter().map(|fact| fact.name).collect();
        let mut aliases: Vec<&str> = self.spec.facts.iter().flat_map(|fact| fact.aliases).copied().collect();
        names.sort_unstable();
        aliases.sort_unstable();
        let aliases = if aliases.is_empty() { String::new() } else { format!(" ({})", aliases.join(", ")) };
        format!(
            "Unsupported parameters for ({}) module: {}. Supported parameters include: {}{aliases}.",
            task_name.unwrap_or(self.spec.name),
            unknown.join(", "),
            names.join(", ")
        )
    }

    /// The text of an option; an empty one counts as not given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.options.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.options.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A number; a bool is one too, as in Python.
    pub fn int(&self, name: &str) -> Option<i64> {
        let value = self.options.get(name)?;
        value.as_i64().or_else(|| value.as_bool().map(i64::from))
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

    /// The options for the result's `invocation.module_args`; their secrets are still to be hidden.
    pub fn shown(&self) -> Value {
        let value = |fact: &Fact| self.options.get(fact.name).cloned().unwrap_or(Value::Null);
        Value::Object(self.spec.facts.iter().map(|fact| (fact.name.to_string(), value(fact))).collect())
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

fn deprecation(what: &str, name: &str, Removal { version, collection }: Removal) -> Value {
    let msg = format!("{what} '{name}' is deprecated. See the module docs for more information");
    json!({"msg": msg, "version": version, "collection_name": collection})
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
        scalar => secrets.extend(Some(python::text(scalar)).filter(|text| !text.is_empty()).map(Secret::new)),
    }
}
