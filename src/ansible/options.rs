//! The option facts of the three modules: the one table behind the checks, the result and the docs in `library/`.

use Kind::{Bool, Int, Path, Raw, Str, StrList};

/// Which of the three modules this run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    Backup,
    Restore,
    Info,
}

/// One option as AnsibleModule's `argument_spec` would have it.
#[derive(Debug, Clone, Copy)]
pub struct Fact {
    pub name: &'static str,
    pub kind: Kind,
    pub preset: Preset,
    /// Empty: any value.
    pub choices: &'static [&'static str],
    pub aliases: &'static [&'static str],
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
    /// A path on this host: `~` and `$VAR` are expanded.
    Path,
    StrList,
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

/// "If `option` is `value`, `needed` must be given."
#[derive(Debug, Clone, Copy)]
pub struct RequiredIf {
    pub option: &'static str,
    pub value: &'static str,
    pub needed: &'static [&'static str],
    /// One of them is enough.
    pub any: bool,
}

impl Module {
    pub const ALL: [Module; 3] = [Module::Backup, Module::Restore, Module::Info];

    pub fn name(self) -> &'static str {
        match self {
            Module::Backup => "cassandra_backup",
            Module::Restore => "cassandra_restore",
            Module::Info => "cassandra_backup_info",
        }
    }

    /// The module's options in the order of the docs, which is also the order of their checks.
    pub fn facts(self) -> impl Iterator<Item = &'static Fact> {
        let (container, own) = match self {
            Module::Backup => (&OPTIONAL_CONTAINER, BACKUP),
            Module::Restore => (&REQUIRED_CONTAINER, RESTORE),
            Module::Info => (&OPTIONAL_CONTAINER, INFO),
        };
        [container].into_iter().chain(own).chain(COMMON)
    }

    pub fn mutually_exclusive(self) -> &'static [&'static [&'static str]] {
        const PASSWORD: &[&str] = &["jmx_password", "jmx_password_file"];
        match self {
            Module::Backup => &[&["keyspaces", "exclude_keyspaces"], PASSWORD],
            Module::Restore => &[&["src", "tag"], PASSWORD],
            Module::Info => &[PASSWORD],
        }
    }

    pub fn required_if(self) -> &'static [RequiredIf] {
        match self {
            Module::Backup => &[
                RequiredIf { option: "state", value: "present", needed: &["container"], any: false },
                RequiredIf { option: "state", value: "absent", needed: &["tag"], any: false },
            ],
            Module::Restore => NEEDS_ARCHIVE,
            Module::Info => &[],
        }
    }
}

/// All states of a restore but `rolled_back`, which needs no archive.
const NEEDS_ARCHIVE: &[RequiredIf] =
    &[needs_archive("staged"), needs_archive("swapped"), needs_archive("started"), needs_archive("restored")];

const fn needs_archive(value: &'static str) -> RequiredIf {
    RequiredIf { option: "state", value, needed: &["src", "tag"], any: true }
}

const fn fact(name: &'static str, kind: Kind) -> Fact {
    Fact {
        name,
        kind,
        preset: Preset::Unset,
        choices: &[],
        aliases: &[],
        required: false,
        no_log: false,
        env: None,
    }
}

const fn flag(name: &'static str, preset: bool) -> Fact {
    Fact { preset: Preset::Bool(preset), ..fact(name, Bool) }
}

const fn choice(name: &'static str, preset: &'static str, choices: &'static [&'static str]) -> Fact {
    Fact { preset: Preset::Str(preset), choices, ..fact(name, Str) }
}

const fn path(name: &'static str, preset: &'static str) -> Fact {
    Fact { preset: Preset::Str(preset), ..fact(name, Path) }
}

const fn seconds(name: &'static str, preset: i64) -> Fact {
    Fact { preset: Preset::Int(preset), ..fact(name, Int) }
}

const OPTIONAL_CONTAINER: Fact = Fact { aliases: &["container_name"], ..fact("container", Str) };
const REQUIRED_CONTAINER: Fact = Fact { required: true, ..OPTIONAL_CONTAINER };
const BACKUP_DIR: Fact = path("backup_dir", "/opt/cassandra/backup");

const BACKUP: &[Fact] = &[
    Fact { aliases: &["name"], ..fact("tag", Str) },
    BACKUP_DIR,
    choice("state", "present", &["present", "absent"]),
    fact("keyspaces", StrList),
    fact("exclude_keyspaces", StrList),
    choice("compression", "fast", &["none", "fast", "best"]),
    flag("keep_snapshot", false),
    flag("verify", true),
    choice("when_stopped", "start", &["start", "fail"]),
    flag("force", false),
    fact("owner", Str),
    fact("group", Str),
    Fact { preset: Preset::Str("0600"), ..fact("mode", Raw) },
];

const RESTORE: &[Fact] = &[
    fact("src", Path),
    fact("tag", Str),
    BACKUP_DIR,
    choice("state", "restored", &["staged", "swapped", "started", "restored", "rolled_back"]),
    choice("repair", "auto", &["auto", "full", "none"]),
    choice("start", "auto", &["auto", "as_found"]),
    flag("keep_previous", true),
    flag("force", false),
];

const INFO: &[Fact] = &[BACKUP_DIR, fact("tag", Str), flag("verify", false)];

const COMMON: &[Fact] = &[
    Fact {
        preset: Preset::Str("unix:///var/run/docker.sock"),
        env: Some("DOCKER_HOST"),
        ..fact("docker_host", Str)
    },
    fact("jmx_username", Str),
    Fact { no_log: true, ..fact("jmx_password", Str) },
    fact("jmx_password_file", Path),
    fact("jmx_port", Int),
    // The next three are paths and flags of the container: nothing of this host is expanded in them.
    fact("nodetool_path", Str),
    fact("nodetool_flags", StrList),
    fact("config_file", Str),
    path("state_dir", "/var/lib/cassandra_backup"),
    seconds("wait_timeout", 600),
    seconds("stop_timeout", 120),
];
