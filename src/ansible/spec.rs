//! What AnsibleModule's `argument_spec` can say of a module's options, as values.

/// A module's options, and the rules between them.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The module's own name, for where the task's is not known.
    pub name: &'static str,
    /// In the order of the docs, which is also the order of their checks.
    pub facts: Vec<Fact>,
    pub mutually_exclusive: &'static [&'static [&'static str]],
    pub required_together: &'static [&'static [&'static str]],
    pub required_one_of: &'static [&'static [&'static str]],
    pub required_if: &'static [RequiredIf],
    /// "Where the first is given, the others must be."
    pub required_by: &'static [(&'static str, &'static [&'static str])],
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Fact {
    pub name: &'static str,
    pub kind: Kind,
    /// What the items of a list are.
    pub elements: Option<Kind>,
    pub preset: Preset,
    /// Empty: any value.
    pub choices: &'static [&'static str],
    pub aliases: &'static [&'static str],
    pub deprecated_aliases: &'static [(&'static str, Removal)],
    pub removed: Option<Removal>,
    pub required: bool,
    pub no_log: bool,
    /// The environment variable that stands in for an option not given.
    pub env: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Str,
    Int,
    Bool,
    /// A number of bytes, with or without a unit: `50MB`.
    Bytes,
    /// A path on this host: `~` and `$VAR` are expanded.
    Path,
    List,
    Dict,
    /// Taken as it comes.
    Raw,
}

/// The default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    Unset,
    Str(&'static str),
    Int(i64),
    Bool(bool),
}

/// When an option or an alias goes, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    pub version: &'static str,
    pub collection: &'static str,
}

/// "If `option` is `value`, `needed` must be given."
#[derive(Debug, Clone, Copy)]
pub struct RequiredIf {
    pub option: &'static str,
    /// As Python's `str()` shows it.
    pub value: &'static str,
    pub needed: &'static [&'static str],
    /// One of them is enough.
    pub any: bool,
}

/// An option of which nothing more is known than its type.
pub const fn fact(name: &'static str, kind: Kind) -> Fact {
    Fact {
        name,
        kind,
        elements: None,
        preset: Preset::Unset,
        choices: &[],
        aliases: &[],
        deprecated_aliases: &[],
        removed: None,
        required: false,
        no_log: false,
        env: None,
    }
}

impl Spec {
    /// Options without a rule between them.
    pub fn of(name: &'static str, facts: Vec<Fact>) -> Spec {
        Spec {
            name,
            facts,
            mutually_exclusive: &[],
            required_together: &[],
            required_one_of: &[],
            required_if: &[],
            required_by: &[],
        }
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Str => "str",
            Kind::Int => "int",
            Kind::Bool => "bool",
            Kind::Bytes => "bytes",
            Kind::Path => "path",
            Kind::List => "list",
            Kind::Dict => "dict",
            Kind::Raw => "raw",
        }
    }
}
