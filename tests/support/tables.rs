//! The tables that Cassandra 5.0.5 makes for itself, with the ids they have on every node.

/// Keyspace, table, id, and how many sstables a young node has of it.
pub const SYSTEM_TABLES: &[(&str, &str, &str, usize)] = &[
    ("system", "IndexInfo", "9f5c6374d48532299a0a5094af9ad1e3", 1),
    ("system", "available_ranges", "c539fcabd65a31d18133d25605643ee3", 0),
    ("system", "available_ranges_v2", "4224a0882ac93d0c889dfbb5f0facda0", 0),
    ("system", "batches", "919a4bc57a333573b03e13fc3f68b465", 0),
    ("system", "built_views", "4b3c50a9ea873d7691016dbc9c38494a", 1),
    ("system", "compaction_history", "b4dbb7b4dc493fb5b3bfce6e434832ca", 1),
    ("system", "local", "7ad54392bcdd35a684174e047860b377", 1),
    ("system", "paxos", "b7b7f0c2fd0a34108c053ef614bb7c2d", 0),
    ("system", "paxos_repair_history", "ecb8666740b23316bb91e612c8047457", 0),
    ("system", "peer_events", "59dfeaea8db2334191ef109974d81484", 0),
    ("system", "peer_events_v2", "0e65065fe40138ed9507b9213fae8d11", 0),
    ("system", "peers", "37f71aca7dc2383ba70672528af04d4f", 0),
    ("system", "peers_v2", "c4325fbb8e5e3bafbd070f9250ed818e", 0),
    ("system", "prepared_statements", "18a9c2576a0c3841ba718cd529849fef", 0),
    ("system", "repairs", "a3d277d1cfaf36f5a2a738d5eea9ad6a", 0),
    ("system", "size_estimates", "618f817b005f3678b8a453f3930b8e86", 1),
    ("system", "sstable_activity", "5a1ff267ace03f128563cfae6103c65e", 1),
    ("system", "sstable_activity_v2", "62efe31f3be8310c8d298963439c1288", 1),
    ("system", "table_estimates", "176c39cdb93d33a5a2188eb06a56f66e", 1),
    ("system", "top_partitions", "7e5a361c317c351fb15fffd8afd3dd4b", 0),
    ("system", "transferred_ranges", "6cad20f7d4f53af2b6e20da33c6c1f83", 0),
    ("system", "transferred_ranges_v2", "1ff78f1a7df13a2aa9986f4932270af5", 0),
    ("system", "view_builds_in_progress", "6c22df66c3bd3df6b74d21179c6a9fe9", 1),
    ("system_schema", "aggregates", "924c55872e3a345bb10c12f37c1ba895", 1),
    ("system_schema", "column_masks", "738cc5ed01683268b9d1853d4bc278af", 1),
    ("system_schema", "columns", "24101c25a2ae3af787c1b40ee1aca33f", 1),
    ("system_schema", "dropped_columns", "5e7583b5f3f43af19a39b7e1d6f5f11f", 1),
    ("system_schema", "functions", "96489b7980be3e14a70166a0b9159450", 1),
    ("system_schema", "indexes", "0feb57ac311f382fba6d9024d305702f", 1),
    ("system_schema", "keyspaces", "abac5682dea631c5b535b3d6cffd0fb6", 1),
    ("system_schema", "tables", "afddfb9dbc1e30688056eed6c302ba09", 1),
    ("system_schema", "triggers", "4df70b666b05325195a132b54005fd48", 1),
    ("system_schema", "types", "5a8b1ca866023f77a0459273d308917a", 1),
    ("system_schema", "views", "9786ac1cdd583201a7cdad556410c985", 1),
    ("system_auth", "cidr_groups", "9c48af0013f63059bb0e8fcabba6eecb", 0),
    ("system_auth", "cidr_permissions", "b8b43d5fd6c0331c8f7d765ea658f4c4", 0),
    ("system_auth", "identity_to_role", "0bd47a48d6ba3c8eb4420f6349329bda", 0),
    ("system_auth", "network_permissions", "d46780c22f1c3db9b4c1b8d9fbc0cc23", 0),
    ("system_auth", "resource_role_permissons_index", "5f2fbdad91f13946bd25d5da3a5c35ec", 0),
    ("system_auth", "role_members", "0ecdaa87f8fb3e6088d174fb36fe5c0d", 0),
    ("system_auth", "role_permissions", "3afbe79f219431a7add7f5ab90d8ec9c", 0),
    ("system_auth", "roles", "5bc52802de2535edaeab188eecebb090", 1),
    ("system_distributed", "parent_repair_history", "deabd734b99d3b9c92e5fd92eb5abf14", 0),
    ("system_distributed", "partition_denylist", "d6123acc864934969d4ef3fe39a6018b", 0),
    ("system_distributed", "repair_history", "759fffad624b318180eefa9a52d1f627", 0),
    ("system_distributed", "view_build_status", "5582b59f8e4e35e1b9133acada51eb04", 1),
    ("system_traces", "events", "8826e8e9e16a372887533bc1fc713c25", 0),
    ("system_traces", "sessions", "c5e99f1686773914b17e960613512345", 0),
];

/// What a node cannot be without: who it is, which tables it has, who may log in.
pub const SMALL: &[(&str, &str)] =
    &[("system", "local"), ("system_schema", "tables"), ("system_auth", "roles")];

/// Keyspaces with the number of replicas, 0 for those that are on each node for itself; the order of `describecluster`.
pub const SYSTEM_KEYSPACES: &[(&str, u32)] = &[
    ("system_traces", 2),
    ("system_distributed", 3),
    ("system_auth", 1),
    ("system_schema", 0),
    ("system", 0),
];

/// Where the node's identity lies.
pub const LOCAL: &str = "local-7ad54392bcdd35a684174e047860b377";
/// Where its schema lies.
pub const TABLES: &str = "tables-afddfb9dbc1e30688056eed6c302ba09";
