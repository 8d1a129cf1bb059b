//! nodetool, with the texts and exit codes of 5.0.5.

use std::collections::BTreeSet;
use std::fs;

use super::cassandra::Cassandra;
use super::container::Container;
use super::files::{hash, name, snapshot, subdirectories};
use super::identity::dashed;
use super::reports::{describe_cluster, info, keyspaces, list_snapshots, status, table_stats};

/// What tests have set.
#[derive(Debug, Clone)]
pub struct Settings {
    pub jmx_port: u16,
    /// User and password, where JMX asks for them.
    pub jmx_auth: Option<(String, String)>,
    /// Java is newer than Cassandra: it does not take `rmi://[127.0.0.1]:7199`.
    pub java_refuses_addresses: bool,
    pub peers: Vec<Peer>,
    /// Commands that fail, by how they begin: exit code and stderr.
    pub failures: Vec<(String, i64, String)>,
    /// Commands that say something else, by how they begin.
    pub answers: Vec<(String, String)>,
    /// Commands that never end, by how they begin.
    pub hanging: Vec<String>,
    /// Tables that a snapshot leaves out without a word.
    pub lost: BTreeSet<String>,
    /// What goes wrong at which call, once.
    pub at_call: Option<(usize, CallFault)>,
    pub calls: Vec<Call>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFault {
    /// Nothing is done; it exits so and says why.
    Fails(i64, &'static str),
    /// Nothing is done; it says this, as if all were well.
    Lies(&'static str),
    Hangs,
}

impl Settings {
    /// What goes wrong with the last of the calls.
    pub fn fault(&self) -> Option<&CallFault> {
        self.at_call.as_ref().filter(|(nth, _)| *nth == self.calls.len()).map(|(_, fault)| fault)
    }
}

/// Another node of the cluster, as this one sees it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: String,
    pub host_id: String,
    /// `UN`, `DN`, …
    pub state: String,
}

/// One call, its global flags apart.
#[derive(Debug, Clone)]
pub struct Call {
    pub argv: Vec<String>,
    pub env: Vec<String>,
    pub flags: Vec<(String, String)>,
    /// The command and what follows it.
    pub command: Vec<String>,
    pub stdin: String,
}

#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub exit_code: i64,
    pub stdout: String,
    pub stderr: String,
}

impl Call {
    pub fn parse(argv: &[String], stdin: &str) -> Call {
        let mut flags = Vec::new();
        let mut rest = argv.iter().skip(1).peekable();
        while let Some(flag) = rest.next_if(|word| word.starts_with('-')) {
            let value = match flag.split_once('=') {
                Some((_, value)) => value.to_owned(),
                None if matches!(flag.as_str(), "-pp" | "--print-port") => String::new(),
                None => rest.next().cloned().unwrap_or_default(),
            };
            flags.push((flag.split('=').next().unwrap_or_default().to_owned(), value));
        }
        let (argv, command) = (argv.to_vec(), rest.cloned().collect());
        Call { argv, env: Vec::new(), flags, command, stdin: stdin.to_owned() }
    }

    /// `nodetool snapshot -t nightly`, wherever nodetool lies and whatever its global flags are.
    pub fn line(&self) -> String {
        format!("nodetool {}", self.command.join(" "))
    }

    fn flag(&self, short: &str, long: &str) -> Option<&str> {
        self.flags.iter().find(|(name, _)| name == short || name == long).map(|(_, value)| value.as_str())
    }

    fn option(&self, name: &str) -> Option<&str> {
        let at = self.command.iter().position(|word| word == name)?;
        self.command.get(at + 1).map(String::as_str)
    }

    fn has(&self, names: &[&str]) -> bool {
        self.command.iter().any(|word| names.contains(&word.as_str()))
    }

    /// What is neither the command, an option nor one's value.
    fn operands(&self) -> Vec<&str> {
        let mut operands = Vec::new();
        let mut words = self.command.iter().skip(1).map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--" => operands.extend(words.by_ref()),
                "-t" | "--tag" | "-F" | "--format" => drop(words.next()),
                option if option.starts_with('-') => {}
                operand => operands.push(operand),
            }
        }
        operands
    }
}

fn said(stdout: impl Into<String>) -> Outcome {
    Outcome { stdout: stdout.into(), ..Outcome::default() }
}

fn failed(exit_code: i64, stdout: impl Into<String>, stderr: impl Into<String>) -> Outcome {
    Outcome { exit_code, stdout: stdout.into(), stderr: stderr.into() }
}

/// A call that nodetool itself does not take: told on stdout.
fn refused(why: impl std::fmt::Display) -> Outcome {
    failed(1, format!("nodetool: {why}\nSee 'nodetool help' or 'nodetool help <command>'.\n"), "")
}

/// A failure of the server, with a stack trace as nodetool prints it.
fn thrown(stdout: impl Into<String>, exception: &str, message: &str) -> Outcome {
    let trace = "\tat org.apache.cassandra.service.StorageService.takeSnapshot(StorageService.java:4450)\n\
                 \tat java.base/java.lang.Thread.run(Thread.java:840)\n";
    failed(2, stdout, format!("error: {message}\n-- StackTrace --\n{exception}: {message}\n{trace}\n"))
}

/// What Java itself says and refuses, in the words of 8u492 under Cassandra 2.1.2.
pub fn run(container: &mut Container, call: &Call) -> Outcome {
    let told = call.env.iter().find_map(|pair| pair.strip_prefix("JAVA_TOOL_OPTIONS="));
    let takes_addresses = told.is_some_and(|told| told.contains("-Dcom.sun.jndi.rmiURLParsing=legacy"));
    let mut outcome = match container.nodetool.java_refuses_addresses && !takes_addresses {
        true => failed(
            1,
            "",
            "nodetool: Failed to connect to '127.0.0.1:7199' - URISyntaxException: 'Malformed IPv6 address at index 7: \
             rmi://[127.0.0.1]:7199'.\n",
        ),
        false => answer(container, call),
    };
    if let Some(told) = told {
        outcome.stderr.insert_str(0, &format!("Picked up JAVA_TOOL_OPTIONS: {told}\n"));
    }
    outcome
}

fn answer(container: &mut Container, call: &Call) -> Outcome {
    let settings = container.nodetool.clone();
    let node = &mut container.cassandra;
    let port = call.flag("-p", "--port").unwrap_or("7199");
    if !node.answers() || port != settings.jmx_port.to_string() {
        let text = format!(
            "nodetool: Failed to connect to '127.0.0.1:{port}' - ConnectException: 'Connection refused'.\n"
        );
        return failed(1, "", text);
    }
    if let Some(refused) = settings.jmx_auth.as_ref().and_then(|known| refuse_login(call, known)) {
        return refused;
    }
    match settings.fault() {
        Some(CallFault::Fails(exit_code, words)) => return failed(*exit_code, "", *words),
        Some(CallFault::Lies(words)) => return said(*words),
        Some(CallFault::Hangs) | None => {}
    }
    let failure = settings.failures.iter().find(|(pattern, ..)| call.line().starts_with(pattern));
    if let Some((_, exit_code, stderr)) = failure {
        return failed(*exit_code, "", stderr.clone());
    }
    if let Some((_, text)) = settings.answers.iter().find(|(pattern, _)| call.line().starts_with(pattern)) {
        return said(text.clone());
    }
    match call.command.first().map_or("help", String::as_str) {
        "version" => said(format!("ReleaseVersion: {}\n", node.version)),
        "status" => said(status(node, &settings)),
        "info" => said(info(node, call.has(&["-T", "--tokens"]))),
        "describecluster" => said(describe_cluster(node, &settings)),
        "tablestats" | "cfstats" => match table_stats(node, &call.operands()) {
            Some(stats) => said(stats),
            None => refused(format!("Unknown keyspaces: {:?}", call.operands())),
        },
        "statusbinary" => said(if node.is_open_to_clients() { "running\n" } else { "not running\n" }),
        "statusgossip" => said("running\n"),
        "netstats" => said(format!(
            "Mode: {}\nNot sending any streams.\nRead Repair Statistics:\nAttempted: 0\nMismatch (Blocking): 0\n\
             Mismatch (Background): 0\n",
            if node.is_drained { "DRAINED" } else { "NORMAL" }
        )),
        "snapshot" => take_snapshot(node, &settings, call),
        "clearsnapshot" => clear_snapshot(node, call),
        "listsnapshots" => said(list_snapshots(node)),
        "repair" => repair(node, &settings, call),
        "drain" => {
            node.drain();
            Outcome::default()
        }
        "flush" => {
            node.flush();
            Outcome::default()
        }
        "disablebinary" => {
            node.close_to_clients();
            Outcome::default()
        }
        "enablebinary" => {
            node.open_to_clients();
            Outcome::default()
        }
        unknown => refused(format!("Found unexpected parameters: [{unknown}]")),
    }
}

/// The password comes on standard input (`-pwf /dev/stdin`) or, badly, in argv.
fn refuse_login(call: &Call, (user, password): &(String, String)) -> Option<Outcome> {
    let given_user = call.flag("-u", "--username");
    let from_stdin = call.flag("-pwf", "--password-file").filter(|file| *file == "/dev/stdin");
    let line = from_stdin.and_then(|_| call.stdin.lines().find_map(|line| line.split_once(' ')));
    let given = line.filter(|(of, _)| Some(*of) == given_user).map(|(_, word)| word);
    match (given_user, given.or(call.flag("-pw", "--password"))) {
        (Some(of), Some(word)) if of == user && word == password => None,
        (Some(_), Some(_)) => {
            let exception = "javax.security.auth.login.FailedLoginException";
            Some(thrown("", exception, "Invalid username or password"))
        }
        _ => Some(thrown("", "java.lang.SecurityException", "Authentication failed! Credentials required")),
    }
}

fn take_snapshot(node: &mut Cassandra, settings: &Settings, call: &Call) -> Outcome {
    let tag = call.option("-t").or(call.option("--tag")).unwrap_or("1795421386961");
    let keyspaces = call.operands();
    let of = if keyspaces.is_empty() { "all keyspaces".to_owned() } else { keyspaces.join(", ") };
    let head = format!(
        "Requested creating snapshot(s) for [{of}] with snapshot name [{tag}] and options {{skipFlush=false}}\n"
    );
    let tables = node.tables();
    if let Some(unknown) = keyspaces.iter().find(|wanted| !tables.iter().any(|(known, ..)| known == *wanted))
    {
        let outcome = refused(format!("Keyspace {unknown} does not exist"));
        return Outcome { stdout: head + &outcome.stdout, ..outcome };
    }
    let wanted =
        tables.iter().filter(|(keyspace, ..)| keyspaces.is_empty() || keyspaces.contains(&keyspace.as_str()));
    let wanted: Vec<_> = wanted.collect();
    let holds = |dir: &std::path::PathBuf| dir.join("snapshots").join(tag).exists();
    if wanted.iter().any(|(keyspace, table, _)| node.table_dirs(keyspace, table).iter().any(holds)) {
        return thrown(head, "java.io.IOException", &format!("Snapshot {tag} already exists."));
    }
    node.flush();
    for (keyspace, table, id) in wanted {
        if !settings.lost.contains(&format!("{keyspace}.{table}")) {
            let schema = schema_cql(node, keyspace, table, id);
            snapshot(&node.table_dirs(keyspace, table), tag, schema.as_deref());
        }
    }
    said(format!("{head}Snapshot directory: {tag}\n"))
}

/// Cassandra's own tables have none.
pub fn schema_cql(node: &Cassandra, keyspace: &str, table: &str, id: &str) -> Option<String> {
    let quoted = |name: &str| match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => format!("\"{name}\""),
        false => name.to_owned(),
    };
    let about = node.schema.get(keyspace)?.tables.get(table)?;
    let full = format!("{}.{}", quoted(keyspace), quoted(table));
    let mut text = format!(
        "CREATE TABLE IF NOT EXISTS {full} (\n    id int PRIMARY KEY,\n    city text\n) WITH ID = {}\n\
         \x20   AND additional_write_policy = '99p'\n    AND comment = ''\n    AND default_time_to_live = 0\n\
         \x20   AND gc_grace_seconds = 864000\n    AND speculative_retry = '99p';\n",
        dashed(id)
    );
    for index in &about.indexes {
        text.push_str(&format!("CREATE INDEX IF NOT EXISTS {index} ON {full} (city);\n"));
    }
    Some(text)
}

fn clear_snapshot(node: &Cassandra, call: &Call) -> Outcome {
    let keyspaces = call.operands();
    let of = if keyspaces.is_empty() { "all keyspaces".to_owned() } else { keyspaces.join(", ") };
    let (tag, what) = match call.option("-t").or(call.option("--tag")) {
        Some(tag) => (Some(tag), format!("snapshot name [{tag}]")),
        None if call.has(&["--all"]) => (None, "[all snapshots]".to_owned()),
        None => return refused("Specify snapshot name or --all"),
    };
    for table in node.dirs.all_tables() {
        let keyspace = name(table.parent().expect("the keyspace's directory"));
        if keyspaces.is_empty() || keyspaces.contains(&keyspace.as_str()) {
            let held = subdirectories(&table.join("snapshots")).into_iter();
            let due = held.filter(|snapshot| tag.is_none_or(|tag| name(snapshot) == tag));
            due.for_each(|snapshot| fs::remove_dir_all(snapshot).expect("a snapshot removed"));
        }
    }
    said(format!("Requested clearing snapshot(s) for [{of}] with {what}\n"))
}

fn repair(node: &Cassandra, settings: &Settings, call: &Call) -> Outcome {
    let named = call.operands();
    let known = keyspaces(node);
    if let Some(unknown) = named.first().filter(|wanted| !known.iter().any(|(name, _)| name == *wanted)) {
        return thrown(
            "",
            "java.lang.IllegalArgumentException",
            &format!("Keyspace [{unknown}] does not exist."),
        );
    }
    let wanted = known.iter().filter(|(name, replicas)| match named.first() {
        Some(keyspace) => name == keyspace,
        None => *replicas > 0,
    });
    let at = "[2026-11-23 08:09:56,092]";
    let mut text = String::new();
    for (number, (keyspace, replicas)) in wanted.enumerate() {
        let number = number + 1;
        if *replicas <= 1 {
            text.push_str(&format!(
                "{at} Replication factor is {replicas}. No repair is needed for keyspace '{keyspace}'\n"
            ));
            continue;
        }
        text.push_str(&format!(
            "{at} Starting repair command #{number} (44da1b30-e715-11f1-9ec9-41fbb22e0c5c), repairing keyspace {keyspace} \
             with repair options (parallelism: parallel, primary range: {}, incremental: {})\n",
            call.has(&["-pr", "--partitioner-range"]),
            !call.has(&["-full", "--full"])
        ));
        if settings.peers.is_empty() {
            let range = format!("({},{}]", hash(b"from") as i64, hash(b"to") as i64);
            let why = format!(
                "Repair command #{number} failed with error Nothing to repair for {range} in {keyspace} - aborting"
            );
            text.push_str(&format!("{at} {why}\n{at} Repair command #{number} finished with error\n"));
            let message = format!(
                "Repair job has failed with the error message: {why}. Check the logs on the repair participants for further details"
            );
            return thrown(text, "java.lang.RuntimeException", &message);
        }
        text.push_str(&format!(
            "{at} Repair completed successfully\n{at} Repair command #{number} finished in 1 second\n"
        ));
    }
    said(text)
}
