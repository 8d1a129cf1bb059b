mod support;
use serde_json::json;
use support::*;
#[test]
fn look() {
    let node = FakeNode::small()
        .with_table("ks1", "users", 2)
        .with_index("ks1", "users", "by_city")
        .with_dropped_table("ks1", "old")
        .with_hints();
    let r = node.run_module("cassandra_backup", json!({"tag":"nightly"}));
    println!("{r:#}");
    node.write("ks1", "users");
    let start = node.freeze();
    let (r, e) = node.run_logged("cassandra_restore", json!({"tag":"nightly"}));
    println!("{r:#}");
    for e in e.iter().filter(|e| e.changes()) {
        println!("{} {} {} {:?}", e.step, e.kind, e.path.display(), e.to);
    }
    println!("{} of {}", e.iter().filter(|e| e.changes()).count(), e.len());
    println!("{} unsynced", e.iter().filter(|e| e.changes() && !e.is_sync()).count());
    let t = std::time::Instant::now();
    for _ in 0..50 {
        node.thaw(&start);
    }
    println!("thaw {:?}", t.elapsed() / 50);
    let t = std::time::Instant::now();
    for _ in 0..50 {
        node.thaw(&start);
        node.run_module("cassandra_restore", json!({"tag":"nightly"}));
    }
    println!("restore {:?}", t.elapsed() / 50);
    let t = std::time::Instant::now();
    for _ in 0..50 {
        node.thaw(&start);
        node.run_killed("cassandra_restore", json!({"tag":"nightly"}), 300);
    }
    println!("killed {:?}", t.elapsed() / 50);
}
#[test]
fn timing() {
    let node = FakeNode::small()
        .with_table("ks1", "users", 2)
        .with_index("ks1", "users", "by_city")
        .with_dropped_table("ks1", "old")
        .with_hints();
    node.run_module("cassandra_backup", json!({"tag":"nightly"}));
    node.write("ks1", "users");
    let start = node.freeze();
    for at in [1, 64, 112, 156, 300, 351, 395, 398, 426, 514, 525, 533] {
        let t = std::time::Instant::now();
        for _ in 0..20 {
            node.thaw(&start);
            node.run_killed("cassandra_restore", json!({"tag":"nightly"}), at);
        }
        println!("killed {at} {:?}", t.elapsed() / 20);
    }
    for r in node.engine.requests() {
        println!("{r}");
    }
}
