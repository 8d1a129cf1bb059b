use super::*;

#[test]
fn info_is_read_with_its_tokens() {
    let text = "ID                     : 2e836e05-5d6b-49fb-b521-ecdcbf8c6451\nGossip active          : true\n\
                Data Center            : dc7\nRack                   : rack1\nToken                  : -88\n\
                Token                  : -77\n";
    let read = Info::parse(text);
    assert_eq!(read.host_id, "2e836e05-5d6b-49fb-b521-ecdcbf8c6451");
    assert_eq!((read.data_center.as_str(), read.rack.as_str()), ("dc7", "rack1"));
    assert_eq!(read.tokens, ["-77", "-88"]);
}

#[test]
fn describecluster_tells_schema_versions_and_replicas() {
    let text = "Cluster Information:\n\tName: Rig: Test\n\tPartitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
                \tSchema versions:\n\t\te2385b48-a007-32e5-b92d-91e7abe48487: [172.17.0.2]\n\n\t\tUNREACHABLE: [10.0.0.3]\n\
                Database versions:\n\t5.0.5: [172.17.0.2:7000]\n\nKeyspaces:\n\
                \tsystem_traces -> Replication class: SimpleStrategy {replication_factor=2}\n\
                \tks1 -> Replication class: NetworkTopologyStrategy {dc1=3, dc2=2/1}\n\
                \tsystem -> Replication class: LocalStrategy {}\n";
    let read = Cluster::parse(text);
    assert_eq!(read.name, "Rig: Test");
    assert_eq!(read.schema_versions, ["e2385b48-a007-32e5-b92d-91e7abe48487"]);
    let replicas: Vec<(&str, u32)> =
        read.replicas.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(replicas, [("ks1", 5), ("system", 0), ("system_traces", 2)]);
}

#[test]
fn status_is_read_with_and_without_a_known_load() {
    let text = "Datacenter: dc1\n--  Address  Load  Tokens  Owns  Host ID  Rack\n\
                UN  10.0.0.1  311.99 KiB  16  100.0%  2e836e05-5d6b-49fb-b521-ecdcbf8c6451  rack1\n\
                DN  10.0.0.2  ?  16  ?  11111111-5d6b-49fb-b521-ecdcbf8c6451  rack1\n";
    let states: Vec<(String, String)> =
        parse_status(text).into_iter().map(|peer| (peer.state, peer.host_id)).collect();
    assert_eq!(states[0], ("UN".to_owned(), "2e836e05-5d6b-49fb-b521-ecdcbf8c6451".to_owned()));
    assert_eq!(states[1].0, "DN");
}

#[test]
fn tables_are_listed_with_their_indexes_and_what_is_not_flushed() {
    let text = "Total number of tables: 54\n----------------\nKeyspace : ks1\n\tRead Count: 0\n\t\tTable: users\n\
                \t\tSSTable count: 1\n\t\tMemtable cell count: 3\n\t\tTable (index): users.by_city\n----------------\nKeyspace: ks2\n\t\tTable: MixedCase\n\t\tMemtable cell count: 0\n";
    let TableStats { tables, unflushed } = TableStats::parse(text);
    assert_eq!(tables["ks1"].iter().collect::<Vec<_>>(), ["users", "users.by_city"]);
    assert_eq!(tables["ks2"].iter().collect::<Vec<_>>(), ["MixedCase"]);
    assert_eq!(unflushed, [("ks1".to_owned(), "users".to_owned())]);
}

#[test]
fn a_stack_trace_is_left_out_of_the_reason() {
    let stderr = "error: Snapshot x already exists.\n-- StackTrace --\njava.io.IOException: Snapshot x already exists.\n\tat org.apache";
    let outcome = ExecOutcome { exit_code: 2, stdout: "Requested".to_owned(), stderr: stderr.to_owned() };
    assert_eq!(reason(&outcome), "Snapshot x already exists");
}
