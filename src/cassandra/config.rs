//! cassandra.yaml: which directories a node uses and which port its clients use.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use saphyr_parser::{Event, Parser, ScalarStyle};

/// The settings of cassandra.yaml that a backup or restore depends on; what is not set is `None`.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub cluster_name: Option<String>,
    pub num_tokens: Option<usize>,
    /// Given, it says how many tokens there are.
    pub has_initial_token: bool,
    pub partitioner: Option<String>,
    /// Which releases must be able to read what the node writes; it reads no newer sstables itself (5.0 on).
    pub storage_compatibility_mode: Option<String>,
    data_file_directories: Vec<String>,
    local_system_data_file_directory: Option<String>,
    commitlog_directory: Option<String>,
    hints_directory: Option<String>,
    saved_caches_directory: Option<String>,
    pub native_transport_port: Option<u16>,
    pub start_native_transport: Option<bool>,
    /// Change data capture: `cdc_raw_directory` fills up with commit logs for its consumers.
    pub cdc_enabled: bool,
    /// Set to false, Cassandra does not start on sstables whose ids are not numbers (`StartupChecks`, 4.1 on).
    pub uuid_sstable_identifiers_enabled: Option<bool>,
}

/// A node's directories as paths inside the container.
#[derive(Debug, PartialEq, Eq)]
pub struct Directories {
    /// `data_file_directories` in their order, then `local_system_data_file_directory` where it is set.
    pub data: Vec<String>,
    pub commitlog: String,
    pub hints: String,
    pub saved_caches: String,
}

impl Config {
    pub fn parse(text: &[u8]) -> Result<Config> {
        let text = str::from_utf8(text).context("cassandra.yaml is not valid UTF-8")?;
        let set = Settings::read(text).context("cassandra.yaml is not valid YAML")?;
        Ok(Config {
            cluster_name: set.text("cluster_name")?,
            num_tokens: set.number("num_tokens")?.map(usize::from),
            has_initial_token: set.0.contains_key("initial_token"),
            partitioner: set.text("partitioner")?,
            storage_compatibility_mode: set.text("storage_compatibility_mode")?,
            data_file_directories: set.list("data_file_directories")?,
            local_system_data_file_directory: set.text("local_system_data_file_directory")?,
            commitlog_directory: set.text("commitlog_directory")?,
            hints_directory: set.text("hints_directory")?,
            saved_caches_directory: set.text("saved_caches_directory")?,
            native_transport_port: set.number("native_transport_port")?,
            start_native_transport: set.flag("start_native_transport")?,
            cdc_enabled: set.flag("cdc_enabled")?.unwrap_or_default(),
            uuid_sstable_identifiers_enabled: set.flag("uuid_sstable_identifiers_enabled")?,
        })
    }

    /// The port that clients connect to; `None` where the node is configured to have none.
    pub fn client_port(&self) -> Option<u16> {
        self.start_native_transport.unwrap_or(true).then(|| self.native_transport_port.unwrap_or(9042))
    }

    /// What is not set lies below the storage directory, as `DatabaseDescriptor` has it: `data`, `commitlog`,
    /// `hints`, `saved_caches`.
    pub fn directories(&self, storage_dir: &str) -> Directories {
        let below = |name: &str| format!("{storage_dir}/{name}");
        let set = |setting: &Option<String>, name: &str| setting.clone().unwrap_or_else(|| below(name));
        let mut data = self.data_file_directories.clone();
        if data.is_empty() {
            data.push(below("data"));
        }
        data.extend(self.local_system_data_file_directory.clone().filter(|local| !data.contains(local)));
        Directories {
            data,
            commitlog: set(&self.commitlog_directory, "commitlog"),
            hints: set(&self.hints_directory, "hints"),
            saved_caches: set(&self.saved_caches_directory, "saved_caches"),
        }
    }
}

/// What is set at the top level, by name. A null is not set.
#[derive(Debug, Default)]
struct Settings(BTreeMap<String, Setting>);

#[derive(Debug, PartialEq)]
enum Setting {
    Scalar(String),
    /// Of scalars.
    List(Vec<String>),
    /// Whatever else there is: none of those that are asked for.
    Other,
}

impl Settings {
    fn read(text: &str) -> Result<Settings> {
        let mut settings = Settings::default();
        let (mut depth, mut documents, mut name, mut value) = (0_usize, 0, None, Setting::Other);
        for event in Parser::new_from_str(text) {
            let (event, _) = event?;
            match (event, depth) {
                (Event::DocumentStart(_), _) => documents += 1,
                (Event::MappingStart(..), 0) => depth = 1,
                (Event::SequenceStart(..), 1) => (depth, value) = (2, Setting::List(Vec::new())),
                (Event::SequenceStart(..) | Event::MappingStart(..), 1..) => {
                    (depth, value) = (depth + 1, Setting::Other);
                }
                (Event::SequenceEnd | Event::MappingEnd, 1..) => {
                    depth -= 1;
                    if depth == 1 {
                        settings.take(&mut name, std::mem::replace(&mut value, Setting::Other));
                    }
                }
                (Event::Scalar(text, style, ..), 1) => {
                    let is_null = style == ScalarStyle::Plain
                        && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                    match name.take() {
                        None => name = Some(text.into_owned()),
                        Some(name) if is_null => drop(settings.0.remove(&name)),
                        unset => settings.take(&mut { unset }, Setting::Scalar(text.into_owned())),
                    }
                }
                (Event::Scalar(text, ..), 2) => {
                    if let Setting::List(items) = &mut value {
                        items.push(text.into_owned());
                    }
                }
                (Event::Alias(_), 1) => settings.take(&mut name, Setting::Other),
                (Event::Alias(_), 2) => value = Setting::Other,
                (Event::Scalar(..) | Event::SequenceStart(..) | Event::Alias(_), 0) => {
                    bail!("it is no map of settings")
                }
                _ => {}
            }
        }
        match documents {
            1 => Ok(settings),
            _ => bail!("it holds {documents} documents"),
        }
    }

    /// The last one of a name counts, as it does for Cassandra. What has none is the name of what comes next.
    fn take(&mut self, name: &mut Option<String>, value: Setting) {
        match name.take() {
            Some(name) => drop(self.0.insert(name, value)),
            None => *name = Some(String::new()),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Setting::Scalar(text)) => Ok(Some(text.clone())),
            Some(_) => bail!("`{name}` of cassandra.yaml is no single value"),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u16>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse();
        number.map(Some).with_context(|| format!("`{name}` of cassandra.yaml cannot be `{text}`"))
    }

    /// In all the words that YAML 1.1 has for it, which is what Cassandra reads.
    fn flag(&self, name: &str) -> Result<Option<bool>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(Some(true)),
            "false" | "no" | "off" => Ok(Some(false)),
            _ => bail!("`{name}` of cassandra.yaml is neither true nor false: `{text}`"),
        }
    }

    fn list(&self, name: &str) -> Result<Vec<String>> {
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(Setting::List(items)) => Ok(items.clone()),
            Some(_) => bail!("`{name}` of cassandra.yaml is no list"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_are_not_set_lie_below_the_storage_directory() {
        let config = Config::parse(b"cluster_name: c\ncommitlog_directory: /log\n").unwrap();
        assert_eq!(
            config.directories("/opt/cassandra/data"),
            Directories {
                data: vec!["/opt/cassandra/data/data".to_owned()],
                commitlog: "/log".to_owned(),
                hints: "/opt/cassandra/data/hints".to_owned(),
                saved_caches: "/opt/cassandra/data/saved_caches".to_owned(),
            }
        );
        assert_eq!(config.client_port(), Some(9042));
    }

    #[test]
    fn the_local_system_directory_comes_after_the_data_directories() {
        let yaml = b"data_file_directories: [/a, /b]\nlocal_system_data_file_directory: /c\n\
                     native_transport_port: 9142\n";
        let config = Config::parse(yaml).unwrap();
        assert_eq!(config.directories("/s").data, ["/a", "/b", "/c"]);
        assert_eq!(config.client_port(), Some(9142));
    }

    #[test]
    fn a_node_without_native_transport_has_no_client_port() {
        assert_eq!(Config::parse(b"start_native_transport: false").unwrap().client_port(), None);
    }

    #[test]
    fn what_is_set_is_read_wherever_else_its_name_stands() {
        let yaml = b"# a comment\n---\ncluster_name: 'Test: Cluster' # its name\nnum_tokens: 16\ninitial_token:\n\
            hints_directory: ~\npartitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
            data_file_directories:\n    - /var/lib/cassandra/data\n    - \"/srv/d 2\"\n\
            seed_provider:\n  - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n    parameters:\n\
            \x20     - seeds: \"10.0.0.1,10.0.0.2\"\n        cluster_name: not this one\n\
            ? [complex, key]\n: num_tokens\n\
            cdc_enabled: yes\nstart_native_transport: FALSE\n\
            client_encryption_options: {enabled: false, nested: {cluster_name: nor this}}\n";
        let config = Config::parse(yaml).unwrap();
        assert_eq!(config.cluster_name.as_deref(), Some("Test: Cluster"));
        assert_eq!((config.num_tokens, config.has_initial_token), (Some(16), false));
        assert_eq!(config.directories("/s").data, ["/var/lib/cassandra/data", "/srv/d 2"]);
        assert_eq!(config.directories("/s").hints, "/s/hints");
        assert_eq!((config.cdc_enabled, config.client_port()), (true, None));
        assert!(Config::parse(b"initial_token: -1,5\ncluster_name: 7").unwrap().has_initial_token);
    }

    #[test]
    fn what_cannot_be_is_told_with_its_name() {
        for (yaml, told) in [
            ("just words", "cassandra.yaml is not valid YAML: it is no map of settings"),
            ("", "cassandra.yaml is not valid YAML: it holds 0 documents"),
            ("a: 1\n---\nb: 2\n", "cassandra.yaml is not valid YAML: it holds 2 documents"),
            ("data_file_directories: /one", "`data_file_directories` of cassandra.yaml is no list"),
            ("data_file_directories: [{a: b}]", "`data_file_directories` of cassandra.yaml is no list"),
            ("cluster_name: [c]", "`cluster_name` of cassandra.yaml is no single value"),
            (
                "cluster_name: &c x\nhints_directory: *c",
                "`hints_directory` of cassandra.yaml is no single value",
            ),
            ("cdc_enabled: maybe", "`cdc_enabled` of cassandra.yaml is neither true nor false: `maybe`"),
        ] {
            assert_eq!(format!("{:#}", Config::parse(yaml.as_bytes()).unwrap_err()), told, "{yaml}");
        }
        for yaml in ["cluster_name: [\n", "native_transport_port: 70000", "a: b: c", "\t- x: ["] {
            Config::parse(yaml.as_bytes()).unwrap_err();
        }
        // Neither depth nor aliases take more room than the text.
        Config::parse(format!("a: {}", "[".repeat(100_000)).as_bytes()).unwrap_err();
    }
}
