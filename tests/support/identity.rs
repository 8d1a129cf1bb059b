//! Who a node is and which tables it has: the content of two of its own tables' files.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::files::{Dirs, data_files, hash};

/// The content of `system.local`, which is what makes a node this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub host_id: String,
    pub cluster_name: String,
    pub data_center: String,
    pub rack: String,
    pub tokens: Vec<String>,
}

impl Identity {
    /// Another one at every call.
    pub fn new(cluster_name: &str, num_tokens: usize) -> Identity {
        let seed = number();
        let token = |at: usize| (hash(format!("{seed} {at}").as_bytes()) as i64).to_string();
        Identity {
            host_id: uuid(seed),
            cluster_name: cluster_name.to_owned(),
            data_center: "dc7".to_owned(),
            rack: "rack1".to_owned(),
            tokens: (0..num_tokens).map(token).collect(),
        }
    }
}

/// The content of `system_schema.tables`: the users' keyspaces.
pub type Schema = BTreeMap<String, Keyspace>;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keyspace {
    pub replicas: u32,
    pub tables: BTreeMap<String, Table>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    /// 32 hexadecimal digits.
    pub id: String,
    pub indexes: Vec<String>,
}

/// The newest `Data.db` of a table of the system's own, in whichever data directory; the file where it is damaged.
pub fn read_newest<T: for<'a> Deserialize<'a>>(
    dirs: &Dirs,
    keyspace: &str,
    table: &str,
) -> Result<Option<T>, PathBuf> {
    let found = dirs.data.iter().flat_map(|data| data_files(&data.join(keyspace).join(table)));
    let Some((_, file)) = found.max() else { return Ok(None) };
    let text = fs::read(&file).map_err(|_| file.clone())?;
    serde_json::from_slice(&text).map(Some).map_err(|_| file)
}

/// Another number at every call, on every run.
pub fn number() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    u64::try_from(now.as_nanos() % 1_000_000_000_000_000_000).expect("it fits").wrapping_add(calls)
}

pub fn uuid(seed: u64) -> String {
    let digits = format!("{:016x}{:016x}", hash(&seed.to_be_bytes()), hash(&(!seed).to_be_bytes()));
    dashed(&digits)
}

/// 32 hexadecimal digits as a UUID is written.
pub fn dashed(digits: &str) -> String {
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}
