//! Small archives that would be large: refused in little memory, and before there is anything to unpack.
//!
//! The memory is bounded by `RLIMIT_DATA`, which the kernel holds for the real executable, and which needs no cgroup:
//! all memory that is private and can be written, heap and stacks of threads.

use std::fs;
use std::os::unix::fs::symlink;

use cassandra_backup::archive::toc::FOOTER_SIZE;
use serde_json::{Value, json};

use super::forge::{Forge, Piece, sha256};
use super::{INFO, SENSELESS, Told, Victim, check_mode, damaged};

/// Less than the smallest of what the archives here would take.
const LITTLE: u64 = 64 << 20;

const MIB: usize = 1 << 20;

impl Victim {
    /// In earnest and in check mode, and listed by `cassandra_backup_info`, in little memory.
    fn refuses_in_little_memory(&self, bytes: &[u8]) -> Told {
        self.has(bytes);
        let told = self.refused(json!({"tag": "nightly"}), Some(LITTLE));
        let checked = self.refused(check_mode(json!({"tag": "nightly"})), Some(LITTLE));
        assert_eq!(checked, told, "in check mode");
        let listed = self.node.start_module_within(INFO, json!({}), LITTLE).finish();
        assert_eq!(listed["failed"], Value::Null, "{listed:#}");
        told
    }
}

/// The users' table with one more file, which is the bomb.
fn with(victim: &Victim, content: &[u8]) -> (Forge, String) {
    let name = format!("{}x", victim.table());
    let mut forge = victim.whole.clone();
    forge.pieces.push(Piece::file(&name, content));
    (forge, name)
}

#[test]
fn the_limit_is_one_that_holds() {
    let victim = Victim::new();
    victim.has(&victim.whole.bytes());
    let run = victim.node.start_module_within(
        "cassandra_restore",
        check_mode(json!({"tag": "nightly"})),
        256 << 10,
    );
    run.wait_for_failure();
    let run =
        victim.node.start_module_within("cassandra_restore", check_mode(json!({"tag": "nightly"})), LITTLE);
    assert_eq!(run.finish()["changed"], true);
}

#[test]
fn a_member_that_inflates_to_more_than_the_table_says_is_refused() {
    let victim = Victim::new();
    let (mut forge, name) = with(&victim, b"\0\0\0\0\0");
    forge.piece(&name).payload = vec![vec![0; 512 * MIB]];
    let more = damaged(&format!(
        "the gzip member that ends with the padding after `{name}`: the compressed data holds more than it should"
    ));
    assert_eq!(victim.refuses_in_little_memory(&forge.bytes()), more);
    // The same in front of it, where tar headers are.
    let (mut forge, name) = with(&victim, b"12345");
    let header = forge.piece(&name).header.clone();
    forge.piece(&name).header = [header, vec![0; 512 * MIB]].concat();
    let told = victim.refuses_in_little_memory(&forge.bytes());
    let before = &forge.pieces[forge.pieces.len() - 2];
    assert!(
        before.name() != name
            && told.ends_with(&format!(
                "the tar header of `{name}`: the compressed data holds more than it should"
            )),
        "{told}"
    );
}

/// Memory is taken for what is read.
#[test]
fn a_chunk_that_is_less_than_the_table_says_is_refused() {
    let victim = Victim::new();
    let (mut forge, name) = with(&victim, b"12345");
    forge.piece(&name).lines[0]["size"] = json!(64 * MIB);
    let mut header = super::forge::Tar::of(name.as_bytes(), b'0', 64 << 20);
    header.seconds = 1_795_320_930;
    forge.piece(&name).header = super::forge::tar_header(&header);
    let early = damaged(&format!("bytes 0-{} of `{name}`: the compressed data ends too early", 64 * MIB - 1));
    assert_eq!(victim.refuses_in_little_memory(&forge.bytes()), early);

    forge.piece(&name).lines[0]["size"] = json!(64 * MIB + 1);
    let large = damaged(&format!("{SENSELESS}`{name}`: a chunk of {} bytes is too large", 64 * MIB + 1));
    assert_eq!(victim.refuses_in_little_memory(&forge.bytes()), large);
    for size in [1u64 << 50, u64::MAX] {
        forge.piece(&name).lines[0]["size"] = json!(size);
        let large = damaged(&format!("{SENSELESS}`{name}`: a chunk of {size} bytes is too large"));
        assert_eq!(victim.refuses_in_little_memory(&forge.bytes()), large);
    }
}

/// Found by the sizes that the table tells, before a byte is unpacked.
#[test]
fn more_than_the_disk_holds_is_refused_by_the_tables_own_sizes() {
    const CHUNKS: usize = 60_000;
    let victim = Victim::new();
    // As many places as there are chunks to be told of, where none of them is.
    let noise: Vec<u8> = (0..20_000u32).flat_map(|index| sha256(&index.to_le_bytes()).into_bytes()).collect();
    let (mut forge, name) = with(&victim, &noise);
    let bomb = format!("{name}y");
    let chunk = json!({"name": bomb, "type": "chunk", "chunkSize": 64 * MIB, "chunkDigest": sha256(b"")});
    let mut lines = vec![json!({
        "name": bomb, "type": "reg", "size": CHUNKS * 64 * MIB, "modtime": super::forge::MODTIME, "mode": 0o644,
        "chunkSize": 64 * MIB, "chunkDigest": sha256(b""),
    })];
    lines.extend((1..CHUNKS).map(|_| chunk.clone()));
    forge.pieces.push(Piece { header: Vec::new(), payload: Vec::new(), padding: Vec::new(), lines });
    let (_, borders) = forge.bytes_and_borders();
    let (start, end) = (borders[borders.len() - 3] + 1, borders[borders.len() - 2]);
    assert!(end - start > CHUNKS, "{} bytes", end - start);
    for (index, line) in forge.piece(&bomb).lines.iter_mut().enumerate() {
        line["offset"] = json!(start + index);
        if index > 0 {
            line["chunkOffset"] = json!(index * 64 * MIB);
        }
    }
    victim.has(&forge.bytes());
    let data = victim.node.dirs().data[0].display().to_string();
    for args in [json!({"tag": "nightly"}), check_mode(json!({"tag": "nightly"}))] {
        let told = victim.refused(args, Some(LITTLE));
        // How much is free changes with whatever else is at work there.
        let (begin, rest) = told.split_once(" has ").unwrap();
        let (_, needed) = rest.split_once(" free, and ").unwrap();
        assert_eq!(begin, format!("refused: `{data}`"));
        assert!(needed.starts_with("4.0 TB (40265"), "{needed}");
    }
}

#[test]
fn a_manifest_that_is_too_large_is_refused_before_it_is_read() {
    let victim = Victim::new();
    let mut forge = victim.whole.clone();
    forge.manifest_bytes = Some(vec![b' '; 9 * MIB]);
    let senseless = |size: usize| damaged(&format!("a manifest of {size} bytes makes no sense"));
    assert_eq!(victim.refuses_in_little_memory(&forge.bytes()), senseless(9 * MIB));

    // In sixteen chunks of 64 MiB, each with its right digest.
    forge.of_manifest = |own| {
        let chunk = vec![b' '; 64 * MIB];
        let chunks: Vec<&[u8]> = vec![&chunk; 16];
        *own = Piece::file_of("cassandra_backup.json", &chunks);
    };
    assert_eq!(victim.refuses_in_little_memory(&forge.bytes()), senseless(1 << 30));
}

/// What is as large as may be, and of nothing but what takes the most memory.
#[test]
fn the_largest_manifest_is_read_in_bounded_memory() {
    let victim = Victim::new();
    let mut forge = victim.whole.clone();
    forge.manifest["node"]["tokens"] = json!(vec![""; 2_500_000]);
    let bytes = serde_json::to_vec(&forge.true_manifest()).unwrap();
    assert!(bytes.len() < 8 << 20);
    forge.manifest_bytes = Some(bytes);
    victim.has(&forge.bytes());
    let told = victim.refused(json!({"tag": "nightly"}), Some(256 << 20));
    assert_eq!(
        told,
        "refused: `PATH` is of a node with 2500000 tokens, this one has 16: Cassandra would refuse to start; set \
         `num_tokens` in cassandra.yaml as it was"
    );
}

#[test]
fn a_table_that_is_too_large_is_refused_before_it_is_read() {
    let victim = Victim::new();
    let place = |forge: &Forge| {
        let borders = forge.bytes_and_borders().1;
        borders[borders.len() - 2]
    };
    let mut forge = victim.whole.clone();
    let inflates = damaged(&format!(
        "the table of contents, at byte {}: it inflates to more than any table does",
        place(&forge)
    ));
    // A right one, behind so many spaces; a deep one; one that only says so.
    let tables: [fn(Vec<u8>) -> Vec<u8>; 3] = [
        |json| [vec![b' '; 512 * MIB], json].concat(),
        |_| vec![b'['; 64 * MIB],
        |json| {
            [&json[..json.len() - 2], format!(",{{\"name\":\"{}\"", "x".repeat(64 * MIB)).as_bytes()].concat()
        },
    ];
    for table in tables {
        forge.table = table;
        assert_eq!(victim.refuses_in_little_memory(&forge.bytes()), inflates);
    }
    let mut forge = victim.whole.clone();
    forge.table_header = |head| {
        head[124..135].copy_from_slice(b"10000000000"); // 1 GiB
        super::forge::seal(head);
    };
    assert_eq!(victim.refuses_in_little_memory(&forge.bytes()), inflates);
    forge.table_header = |head| {
        head[124..135].copy_from_slice(b"10000000001");
        super::forge::seal(head);
    };
    let senseless =
        inflates.replace("it inflates to more than any table does", "its tar header makes no sense");
    assert_eq!(victim.refuses_in_little_memory(&forge.bytes()), senseless);
}

/// No reader goes down with it: neither its stack nor its time has an end that an archive reaches.
#[test]
fn json_nested_a_hundred_thousand_times_is_read_or_refused() {
    let victim = Victim::new();
    let mut forge = victim.whole.clone();
    // Unknown keys are skipped, whatever they hold.
    let manifest = serde_json::to_string(&forge.true_manifest()).unwrap();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    forge.manifest_bytes = Some(format!(r#"{{"deep":{deep},{}"#, &manifest[1..]).into_bytes());
    victim.has(&forge.bytes());
    let run =
        victim.node.start_module_within("cassandra_restore", check_mode(json!({"tag": "nightly"})), LITTLE);
    assert_eq!(run.finish()["changed"], true);
    // Those that are known hold no lists of lists.
    let deep = format!(r#"{{"format":1,"tag":{}"#, "[".repeat(100_000));
    forge.manifest_bytes = Some(deep.into_bytes());
    let told = victim.refuses_in_little_memory(&forge.bytes());
    assert_eq!(told, "foreign: it has no format number: EOF while parsing a list at line 1 column 100018");
}

/// The archive itself may be as large as the filesystem lets it be, without taking any space.
#[test]
fn an_archive_of_nothing_but_holes_is_refused() {
    let victim = Victim::new();
    let whole = victim.whole.bytes();
    let archive = victim.node.archive("nightly");
    victim.has(&whole);
    fs::remove_file(victim.checksum()).unwrap();
    let sparse = fs::File::create(&archive).unwrap();
    let size = 1u64 << 40;
    sparse.set_len(size).unwrap();
    let refused = |expected: Told| {
        assert_eq!(victim.refused(json!({"tag": "nightly"}), Some(LITTLE)), expected);
    };
    let nothing = "foreign: it has no table of contents, and is no tar of a data directory: it holds nothing";
    refused(nothing.to_owned());
    // With a footer that points into the holes.
    let footer = cassandra_backup::archive::toc::footer(12);
    std::os::unix::fs::FileExt::write_all_at(&sparse, &footer, size - FOOTER_SIZE as u64).unwrap();
    refused(damaged("the table of contents, at byte 12: no gzip member begins where one should"));
    drop(sparse);
    // What never ends.
    fs::remove_file(&archive).unwrap();
    symlink("/dev/zero", &archive).unwrap();
    refused("foreign: it is not a regular file".to_owned());
    fs::remove_file(&archive).unwrap();
    fs::write(&archive, whole).unwrap();
}
