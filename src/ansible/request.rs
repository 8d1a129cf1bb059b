//! The three modules' args, checked once: after [`Request::parse`] nothing is optional that isn't.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::args::Args;
use super::options::Module;
use super::{login, values};
use crate::effort::Effort;
use crate::error::Error;

/// What the playbook asks for.
#[derive(Debug)]
pub enum Request {
    Backup(BackupRequest),
    Restore(RestoreRequest),
    Info(InfoRequest),
}

/// Whether the run may change anything (`--check`) and shows what it changes (`--diff`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMode {
    pub check: bool,
    pub diff: bool,
}

/// How the node is reached; the same in all three modules.
#[derive(Debug)]
pub struct NodeAccess {
    /// Path of the Engine's Unix socket.
    pub docker_socket: PathBuf,
    pub jmx_username: Option<String>,
    /// As given, or from the file that was given.
    pub jmx_password: Option<Secret>,
    pub jmx_port: Option<u16>,
    pub nodetool_path: Option<String>,
    pub nodetool_flags: Vec<String>,
    pub config_file: Option<String>,
    pub state_dir: PathBuf,
    /// How long a started node may take until it is ready.
    pub wait_timeout: Duration,
    /// How long Cassandra may take to stop before Docker kills it.
    pub stop_timeout: Duration,
}

#[derive(Debug)]
pub struct BackupRequest {
    pub mode: RunMode,
    pub access: NodeAccess,
    pub goal: BackupGoal,
    pub backup_dir: PathBuf,
    /// Snapshot tag and archive name; `^[A-Za-z0-9_-]+$`.
    pub tag: String,
}

#[derive(Debug)]
pub enum BackupGoal {
    Present(Present),
    /// The snapshot that an archive is made of is held, and nothing more.
    Snapshot(Present),
    /// No snapshot of this tag is held any more.
    Released(Present),
    Absent,
}

/// How the archive is to be made.
#[derive(Debug)]
pub struct Present {
    pub container: String,
    /// Empty: the whole node.
    pub keyspaces: Vec<String>,
    pub exclude_keyspaces: Vec<String>,
    pub compression: Compression,
    pub effort: Effort,
    /// Bytes of data that are read in a second at most.
    pub rate_limit: Option<u64>,
    pub keep_snapshot: bool,
    pub verify: bool,
    pub when_stopped: WhenStopped,
    pub force: bool,
    pub file: FileAttributes,
    pub keep_last: Option<u64>,
    pub keep_days: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Fast,
    Best,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenStopped {
    Start,
    Fail,
}

/// Owner and group (name or number) and mode of the finished archive.
#[derive(Debug)]
pub struct FileAttributes {
    pub owner: Option<String>,
    pub group: Option<String>,
    pub mode: u32,
}

#[derive(Debug)]
pub struct RestoreRequest {
    pub mode: RunMode,
    pub access: NodeAccess,
    pub container: String,
    /// `None` only for the way back, which needs no archive.
    pub source: Option<Source>,
    pub state: RestoreState,
    pub repair: Repair,
    pub start: Start,
    pub keep_previous: bool,
    /// For a disk that cannot hold both: what is live is removed before the archive is unpacked.
    pub in_place: bool,
    pub effort: Effort,
    /// Every node of the cluster is restored together, from one set of archives.
    pub whole_cluster: bool,
    /// A complete restore of this archive is done again, also where nothing has changed since.
    pub again: bool,
    pub force: bool,
}

/// Which archive on this host.
#[derive(Debug, Clone)]
pub enum Source {
    File(PathBuf),
    Tag {
        backup_dir: PathBuf,
        tag: String,
    },
    /// The newest complete archive of this node in the directory.
    Latest {
        backup_dir: PathBuf,
    },
}

/// The phases of a restore, each an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestoreState {
    Staged,
    Swapped,
    Started,
    Restored,
    SwappedBack,
    RolledBack,
}

impl RestoreState {
    pub fn word(self) -> &'static str {
        match self {
            RestoreState::Staged => "staged",
            RestoreState::Swapped => "swapped",
            RestoreState::Started => "started",
            RestoreState::Restored => "restored",
            RestoreState::SwappedBack => "swapped_back",
            RestoreState::RolledBack => "rolled_back",
        }
    }

    /// The other way: it needs no archive, and asks the node nothing.
    pub fn is_back(self) -> bool {
        matches!(self, RestoreState::SwappedBack | RestoreState::RolledBack)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    Auto,
    Full,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A restored node ends up running.
    Auto,
    AsFound,
}

#[derive(Debug)]
pub struct InfoRequest {
    pub mode: RunMode,
    pub access: NodeAccess,
    /// Given: its unfinished restore is told as well.
    pub container: Option<String>,
    pub backup_dir: PathBuf,
    /// Given: only this archive.
    pub tag: Option<String>,
    /// Read every byte and check every digest.
    pub verify: bool,
    pub effort: Effort,
}

/// A value that never reaches a message, a log or a result.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Secret {
        Secret(value)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl Request {
    /// The request that checked args make, or what is wrong with them.
    pub fn parse(module: Module, args: &Args) -> Result<Request, Error> {
        if let Some(message) = &args.refusal {
            return Err(Error::BadOption { message: message.clone(), hint: "" });
        }
        match module {
            Module::Backup => BackupRequest::parse(args).map(Request::Backup),
            Module::Restore => RestoreRequest::parse(args).map(Request::Restore),
            Module::Info => InfoRequest::parse(args).map(Request::Info),
        }
    }

    pub fn access(&self) -> &NodeAccess {
        match self {
            Request::Backup(request) => &request.access,
            Request::Restore(request) => &request.access,
            Request::Info(request) => &request.access,
        }
    }
}

impl NodeAccess {
    fn parse(args: &Args, asks_nodetool: bool) -> Result<NodeAccess, Error> {
        let given = |option| args.text(option).map(str::to_string);
        Ok(NodeAccess {
            docker_socket: values::docker_socket(args)?,
            jmx_username: given("jmx_username"),
            jmx_password: login::password(args, asks_nodetool)?,
            jmx_port: values::port(args, "jmx_port")?,
            nodetool_path: given("nodetool_path"),
            nodetool_flags: values::nodetool_flags(args)?,
            config_file: values::container_path(args, "config_file")?,
            state_dir: values::needed_host_path(args, "state_dir")?,
            wait_timeout: values::seconds(args, "wait_timeout")?,
            stop_timeout: values::seconds(args, "stop_timeout")?,
        })
    }
}

impl BackupRequest {
    fn parse(args: &Args) -> Result<BackupRequest, Error> {
        let container = values::container(args)?;
        type OfNode = fn(Present) -> BackupGoal;
        const GOALS: &[(&str, Option<OfNode>)] = &[
            ("present", Some(BackupGoal::Present)),
            ("snapshot", Some(BackupGoal::Snapshot)),
            ("released", Some(BackupGoal::Released)),
            ("absent", None),
        ];
        let goal = match word(args, "state", GOALS)? {
            Some(of_node) => of_node(Present::parse(args, needed("container", container)?)?),
            None => BackupGoal::Absent,
        };
        Ok(BackupRequest {
            mode: args.mode,
            access: NodeAccess::parse(args, !matches!(goal, BackupGoal::Absent))?,
            goal,
            backup_dir: values::needed_host_path(args, "backup_dir")?,
            tag: values::own_tag(args)?.unwrap_or_else(values::tag_of_now),
        })
    }
}

impl Present {
    fn parse(args: &Args, container: String) -> Result<Present, Error> {
        use Compression::{Best, Fast, None};
        use WhenStopped::{Fail, Start};
        Ok(Present {
            container,
            keyspaces: values::keyspaces(args, "keyspaces")?,
            exclude_keyspaces: values::keyspaces(args, "exclude_keyspaces")?,
            compression: word(args, "compression", &[("none", None), ("fast", Fast), ("best", Best)])?,
            effort: values::effort(args)?,
            rate_limit: values::rate_limit(args)?,
            keep_snapshot: args.is_on("keep_snapshot"),
            verify: args.is_on("verify"),
            when_stopped: word(args, "when_stopped", &[("start", Start), ("fail", Fail)])?,
            force: args.is_on("force"),
            file: FileAttributes {
                owner: args.text("owner").map(str::to_string),
                group: args.text("group").map(str::to_string),
                mode: values::file_mode(args)?,
            },
            keep_last: values::at_least_one(args, "keep_last")?,
            keep_days: values::at_least_one(args, "keep_days")?,
        })
    }
}

impl RestoreRequest {
    fn parse(args: &Args) -> Result<RestoreRequest, Error> {
        const STATES: &[(&str, RestoreState)] = &[
            ("staged", RestoreState::Staged),
            ("swapped", RestoreState::Swapped),
            ("started", RestoreState::Started),
            ("restored", RestoreState::Restored),
            ("swapped_back", RestoreState::SwappedBack),
            ("rolled_back", RestoreState::RolledBack),
        ];
        const REPAIRS: &[(&str, Repair)] =
            &[("auto", Repair::Auto), ("full", Repair::Full), ("none", Repair::None)];
        let state = word(args, "state", STATES)?;
        Ok(RestoreRequest {
            mode: args.mode,
            container: needed("container", values::container(args)?)?,
            access: NodeAccess::parse(args, !state.is_back())?,
            source: Source::parse(args)?,
            state,
            repair: word(args, "repair", REPAIRS)?,
            start: word(args, "start", &[("auto", Start::Auto), ("as_found", Start::AsFound)])?,
            keep_previous: args.is_on("keep_previous"),
            in_place: is_in_place(args)?,
            effort: values::effort(args)?,
            whole_cluster: args.is_on("whole_cluster"),
            again: args.is_on("again"),
            force: args.is_on("force"),
        })
    }
}

impl Source {
    fn parse(args: &Args) -> Result<Option<Source>, Error> {
        let backup_dir = values::needed_host_path(args, "backup_dir")?;
        Ok(match values::tag(args)? {
            Some(tag) if tag == "latest" => Some(Source::Latest { backup_dir }),
            Some(tag) => Some(Source::Tag { backup_dir, tag }),
            None if args.raw("src").is_some() => Some(Source::File(values::needed_host_path(args, "src")?)),
            None => None,
        })
    }
}

impl InfoRequest {
    fn parse(args: &Args) -> Result<InfoRequest, Error> {
        Ok(InfoRequest {
            mode: args.mode,
            container: values::container(args)?,
            access: NodeAccess::parse(args, false)?,
            backup_dir: values::needed_host_path(args, "backup_dir")?,
            tag: values::own_tag(args)?,
            verify: args.is_on("verify"),
            effort: values::effort(args)?,
        })
    }
}

/// What cannot be undone is asked for twice.
fn is_in_place(args: &Args) -> Result<bool, Error> {
    let in_place = word(args, "staging", &[("beside", false), ("in_place", true)])?;
    if in_place && !args.is_on("give_up_previous") {
        return Err(Error::BadOption {
            message: "`staging: in_place` removes the node's data before the archive is unpacked: a restore that fails \
                      from there on can be run again, but not be rolled back"
                .to_owned(),
            hint: "set `give_up_previous: true` as well to confirm that; `staging: beside` needs room for both, and keeps \
                   the way back",
        });
    }
    Ok(in_place)
}

/// The meaning of an option's word.
fn word<T: Copy>(args: &Args, option: &str, words: &[(&str, T)]) -> Result<T, Error> {
    let given = args.text(option).unwrap_or_default();
    let known = words.iter().find(|(word, _)| *word == given);
    // The table refused all other words before; a word it allows and this does not know is a bug that tests find.
    known.map(|(_, meaning)| *meaning).ok_or_else(|| Error::BadOption {
        message: format!("value of {option} has no meaning here: {given}"),
        hint: "",
    })
}

fn needed<T>(option: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::BadOption {
        message: format!("missing required arguments: {option}"),
        hint: "",
    })
}
