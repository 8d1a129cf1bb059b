//! The options of the three modules: the one table behind the checks, the result and the docs in `library/`.

use super::spec::{Fact, Kind, Preset, RequiredIf, Spec, fact};
use Kind::{Bool, Bytes, Int, List, Path, Raw, Str};

/// Which of the three modules this run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    Backup,
    Restore,
    Info,
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

    pub fn spec(self) -> Spec {
        let (container, own) = match self {
            Module::Backup => (OPTIONAL_CONTAINER, BACKUP),
            Module::Restore => (REQUIRED_CONTAINER, RESTORE),
            Module::Info => (OPTIONAL_CONTAINER, INFO),
        };
        let spec = Spec {
            required_by: PASSWORD_NEEDS_USER,
            ..Spec::of(self.name(), [&[container], own, COMMON].concat())
        };
        match self {
            Module::Backup => Spec {
                mutually_exclusive: &[&["keyspaces", "exclude_keyspaces"], PASSWORD],
                required_if: &[
                    RequiredIf { option: "state", value: "present", needed: &["container"], any: false },
                    RequiredIf {
                        option: "state",
                        value: "snapshot",
                        needed: &["container", "tag"],
                        any: false,
                    },
                    RequiredIf {
                        option: "state",
                        value: "released",
                        needed: &["container", "tag"],
                        any: false,
                    },
                    RequiredIf { option: "state", value: "absent", needed: &["tag"], any: false },
                ],
                ..spec
            },
            Module::Restore => {
                Spec { mutually_exclusive: &[&["src", "tag"], PASSWORD], required_if: NEEDS_ARCHIVE, ..spec }
            }
            Module::Info => Spec { mutually_exclusive: &[PASSWORD], ..spec },
        }
    }
}

const PASSWORD: &[&str] = &["jmx_password", "jmx_password_file"];
const PASSWORD_NEEDS_USER: &[(&str, &[&str])] =
    &[("jmx_password", &["jmx_username"]), ("jmx_password_file", &["jmx_username"])];

/// All states of a restore but those of the way back, which needs no archive.
const NEEDS_ARCHIVE: &[RequiredIf] =
    &[needs_archive("staged"), needs_archive("swapped"), needs_archive("started"), needs_archive("restored")];

const fn needs_archive(value: &'static str) -> RequiredIf {
    RequiredIf { option: "state", value, needed: &["src", "tag"], any: true }
}

const fn flag(name: &'static str, preset: bool) -> Fact {
    Fact { preset: Preset::Bool(preset), ..fact(name, Bool) }
}

const fn strings(name: &'static str) -> Fact {
    Fact { elements: Some(Str), ..fact(name, List) }
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
    choice("state", "present", &["present", "snapshot", "released", "absent"]),
    strings("keyspaces"),
    strings("exclude_keyspaces"),
    choice("compression", "fast", &["none", "fast", "best"]),
    fact("rate_limit", Bytes),
    flag("keep_snapshot", false),
    flag("verify", true),
    choice("when_stopped", "start", &["start", "fail"]),
    flag("force", false),
    fact("keep_last", Int),
    fact("keep_days", Int),
    fact("owner", Str),
    fact("group", Str),
    Fact { preset: Preset::Str("0600"), ..fact("mode", Raw) },
];

const RESTORE: &[Fact] = &[
    fact("src", Path),
    fact("tag", Str),
    BACKUP_DIR,
    choice("state", "restored", &["staged", "swapped", "started", "restored", "swapped_back", "rolled_back"]),
    choice("repair", "auto", &["auto", "full", "none"]),
    choice("start", "auto", &["auto", "as_found"]),
    choice("staging", "beside", &["beside", "in_place"]),
    flag("give_up_previous", false),
    flag("keep_previous", true),
    flag("whole_cluster", false),
    flag("again", false),
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
    strings("nodetool_flags"),
    fact("config_file", Str),
    path("state_dir", "/var/lib/cassandra_backup"),
    fact("threads", Int),
    flag("low_priority", true),
    seconds("wait_timeout", 600),
    seconds("stop_timeout", 120),
];
