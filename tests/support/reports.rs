//! The texts in which nodetool tells about a node, as 5.0.5 prints them.

use std::collections::BTreeSet;
use std::fs;

use super::cassandra::Cassandra;
use super::files::{data_files, index_dirs, name, regular_files, subdirectories};
use super::nodetool::{Peer, Settings};
use super::tables::SYSTEM_KEYSPACES;

pub fn status(node: &Cassandra, settings: &Settings) -> String {
    let Some(own) = &node.identity else { return String::new() };
    let (center, tokens, rack) = (&own.data_center, own.tokens.len(), &own.rack);
    let line = |state: &str, address: &str, host_id: &str| {
        format!("{state}  {address}  311.99 KiB  {tokens}      100.0%            {host_id}  {rack}\n")
    };
    let mut text = format!(
        "Datacenter: {center}\n{}\nStatus=Up/Down\n|/ State=Normal/Leaving/Joining/Moving\n\
         --  Address     Load        Tokens  Owns (effective)  Host ID                               Rack \n",
        "=".repeat(12 + center.len())
    );
    text.push_str(&line("UN", "172.17.0.2", &own.host_id));
    settings.peers.iter().for_each(|peer| text.push_str(&line(&peer.state, &peer.address, &peer.host_id)));
    text + "\n"
}

pub fn info(node: &Cassandra, with_tokens: bool) -> String {
    let Some(own) = &node.identity else { return String::new() };
    let tokens = match with_tokens {
        true => own.tokens.iter().map(|token| format!("Token                  : {token}\n")).collect(),
        false => format!(
            "Token                  : (invoke with -T/--tokens to see all {} tokens)\n",
            own.tokens.len()
        ),
    };
    format!(
        "ID                     : {}\nGossip active          : true\nNative Transport active: {}\n\
         Load                   : 311.99 KiB\nUncompressed load      : 443.98 KiB\nGeneration No          : 1795421324\n\
         Uptime (seconds)       : 53\nHeap Memory (MB)       : 173.52 / 384.00\nOff Heap Memory (MB)   : 0.00\n\
         Data Center            : {}\nRack                   : {}\nExceptions             : 0\n\
         Network Cache          : size 8 MiB, overflow size: 0 bytes, capacity 24 MiB\n\
         Percent Repaired       : 100.0%\n{tokens}Bootstrap state        : COMPLETED\n\
         Bootstrap failed       : false\nDecommissioning        : false\nDecommission failed    : false\n",
        own.host_id,
        node.is_open_to_clients(),
        own.data_center,
        own.rack
    )
}

/// Every keyspace with its replicas, in the order that nodetool has.
pub fn keyspaces(node: &Cassandra) -> Vec<(String, u32)> {
    let own = SYSTEM_KEYSPACES.iter().map(|(name, replicas)| ((*name).to_owned(), *replicas));
    let users = node.schema.iter().map(|(name, about)| (name.clone(), about.replicas));
    let (shared, local): (Vec<_>, Vec<_>) = own.partition(|(_, replicas)| *replicas > 0);
    shared.into_iter().chain(users).chain(local).collect()
}

pub fn describe_cluster(node: &Cassandra, settings: &Settings) -> String {
    let Some(own) = &node.identity else { return String::new() };
    let is_up = |peer: &&Peer| peer.state.starts_with('U');
    let up: Vec<&str> = settings.peers.iter().filter(is_up).map(|peer| peer.address.as_str()).collect();
    let down: Vec<&str> =
        settings.peers.iter().filter(|peer| !is_up(peer)).map(|peer| peer.address.as_str()).collect();
    let agreed = std::iter::once("172.17.0.2").chain(up).collect::<Vec<_>>();
    let unreachable = match down.is_empty() {
        true => String::new(),
        false => format!("\t\tUNREACHABLE: [{}]\n", down.join(", ")),
    };
    let replication = |replicas| match replicas {
        0 => "LocalStrategy {}".to_owned(),
        count => format!("SimpleStrategy {{replication_factor={count}}}"),
    };
    let keyspaces: String = keyspaces(node)
        .into_iter()
        .map(|(name, count)| format!("\t{name} -> Replication class: {}\n", replication(count)))
        .collect();
    format!(
        "Cluster Information:\n\tName: {}\n\tSnitch: org.apache.cassandra.locator.GossipingPropertyFileSnitch\n\
         \tDynamicEndPointSnitch: enabled\n\tPartitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
         \tSchema versions:\n\t\t{}: [{}]\n{unreachable}\nStats for all nodes:\n\tLive: {}\n\tJoining: 0\n\tMoving: 0\n\
         \tLeaving: 0\n\tUnreachable: {}\n\nData Centers: \n\t{} #Nodes: {} #Down: {}\n\nDatabase versions:\n\
         \t{}: [172.17.0.2:7000]\n\nKeyspaces:\n{keyspaces}",
        own.cluster_name,
        node.schema_version(),
        agreed.join(", "),
        agreed.len(),
        down.len(),
        own.data_center,
        settings.peers.len() + 1,
        down.len(),
        node.version
    )
}

/// `None` where no such keyspace or table is.
pub fn table_stats(node: &Cassandra, wanted: &[&str]) -> Option<String> {
    let is_wanted = |keyspace: &str, table: &str| {
        wanted.is_empty()
            || wanted.iter().any(|name| *name == keyspace || *name == format!("{keyspace}.{table}"))
    };
    let mut blocks = Vec::new();
    let mut total = 0;
    let tables = node.tables();
    for (keyspace, _) in keyspaces(node) {
        let mut block = String::new();
        for (_, table, _) in tables.iter().filter(|(of, table, _)| *of == keyspace && is_wanted(of, table)) {
            let dirs = node.table_dirs(&keyspace, table);
            let sstables: usize = dirs.iter().map(|dir| data_files(dir).len()).sum();
            let bytes = dirs.iter().flat_map(|dir| regular_files(dir));
            let bytes: u64 = bytes.filter_map(|file| fs::metadata(file).ok()).map(|about| about.len()).sum();
            let cells = node.memtables.get(&format!("{keyspace}.{table}")).copied().unwrap_or(0);
            block.push_str(&table_block("Table", table, sstables, bytes, cells));
            let indexes =
                dirs.iter().flat_map(|dir| index_dirs(dir)).map(|dir| name(&dir)).collect::<BTreeSet<_>>();
            for index in indexes {
                block.push_str(&table_block("Table (index)", &format!("{table}{index}"), 1, 4868, 0));
                total += 1;
            }
            total += 1;
        }
        if !block.is_empty() {
            blocks.push(format!(
                "Keyspace: {keyspace}\n\tRead Count: 0\n\tRead Latency: NaN ms\n\tWrite Count: 0\n\
                 \tWrite Latency: NaN ms\n\tPending Flushes: 0\n{block}"
            ));
        }
    }
    let line = "----------------\n";
    (total > 0).then(|| format!("Total number of tables: {total}\n{line}{}{line}", blocks.join(line)))
}

fn table_block(kind: &str, table: &str, sstables: usize, bytes: u64, cells: usize) -> String {
    format!(
        "\t\t{kind}: {table}\n\t\tSSTable count: {sstables}\n\t\tOld SSTable count: 0\n\t\tSpace used (live): {bytes}\n\
         \t\tSpace used (total): {bytes}\n\t\tSpace used by snapshots (total): 0\n\t\tNumber of partitions (estimate): 5\n\
         \t\tMemtable cell count: {cells}\n\t\tMemtable data size: {}\n\t\tMemtable switch count: 1\n\
         \t\tLocal read count: 0\n\t\tLocal write count: {cells}\n\t\tPending flushes: 0\n\t\tPercent repaired: 0.0\n\
         \t\tDroppable tombstone ratio: 0.00000\n\n",
        cells * 20
    )
}

pub fn list_snapshots(node: &Cassandra) -> String {
    let mut lines = String::new();
    for table in node.dirs.all_tables() {
        let keyspace = name(table.parent().expect("the keyspace's directory"));
        let table_name = name(&table).rsplit_once('-').map_or(String::new(), |(table, _)| table.to_owned());
        for snapshot in subdirectories(&table.join("snapshots")) {
            lines.push_str(&format!(
                "{:<13} {keyspace:<18} {table_name:<30} 110 bytes 110 bytes    2026-11-23T08:09:46.961Z                \n",
                name(&snapshot)
            ));
        }
    }
    if lines.is_empty() {
        return "Snapshot Details: \nThere are no snapshots\n".to_owned();
    }
    format!(
        "Snapshot Details: \nSnapshot name Keyspace name      Column family name             True size Size on disk \
         Creation time            Expiration time\n{lines}\nTotal TrueDiskSpaceUsed: 0 bytes\n\n"
    )
}
