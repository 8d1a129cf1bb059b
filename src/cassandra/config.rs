//! cassandra.yaml: which directories a node uses and which port its clients use.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The settings of cassandra.yaml that a backup or restore depends on; what is not set is `None`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Config {
    pub cluster_name: Option<String>,
    pub num_tokens: Option<usize>,
    /// Given, it says how many tokens there are.
    pub initial_token: Option<IgnoredAny>,
    pub partitioner: Option<String>,
    /// Which releases must be able to read what the node writes; it reads no newer sstables itself (5.0 on).
    pub storage_compatibility_mode: Option<String>,
    data_file_directories: Option<Vec<String>>,
    local_system_data_file_directory: Option<String>,
    commitlog_directory: Option<String>,
    hints_directory: Option<String>,
    saved_caches_directory: Option<String>,
    pub native_transport_port: Option<u16>,
    pub start_native_transport: Option<bool>,
    /// Change data capture: `cdc_raw_directory` fills up with commit logs for its consumers.
    #[serde(default)]
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
        serde_yaml_ng::from_slice(text).context("cassandra.yaml is not valid YAML")
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
        let mut data = self.data_file_directories.clone().unwrap_or_default();
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
}
