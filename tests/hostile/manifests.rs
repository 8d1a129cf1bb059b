//! What an archive says of itself, where its own digests are right.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use super::forge::{Forge, Piece, sha256};
use super::support::FakeNode;
use super::{Bench, Lie, Told, Victim, damaged};

fn foreign(what: &str) -> Told {
    format!("foreign: {what}")
}

#[test]
fn a_manifest_that_is_none_is_refused() {
    let unreadable = |why: &str| foreign(&format!("it cannot be read: {why}"));
    let no_format = |why: &str| foreign(&format!("it has no format number: {why}"));
    let first = foreign("its first entry is not `cassandra_backup.json`");
    let with = |bytes: &'static [u8]| move |forge: &mut Forge| forge.manifest_bytes = Some(bytes.to_vec());
    let cases: [(&str, Lie, Told); 13] = [
        ("empty", &with(b""), no_format("EOF while parsing a value at line 1 column 0")),
        ("no JSON", &with(b"format: 1"), no_format("expected ident at line 1 column 2")),
        ("not UTF-8", &with(b"{\"\xff\": 1}"), no_format("invalid unicode code point at line 1 column 3")),
        ("no format", &with(b"{}"), no_format("missing field `format` at line 1 column 2")),
        (
            "a later format",
            &with(br#"{"format":2}"#),
            foreign("it was made by a later version (format 2); this one reads format 1"),
        ),
        (
            "the last format of all",
            &with(br#"{"format":4294967295}"#),
            foreign("it was made by a later version (format 4294967295); this one reads format 1"),
        ),
        ("format 0", &with(br#"{"format":0}"#), foreign("format 0 is not known")),
        ("nothing else", &with(br#"{"format":1}"#), unreadable("missing field `tag` at line 1 column 12")),
        (
            "two formats",
            &with(br#"{"format":1,"format":1}"#),
            no_format("duplicate field `format` at line 1 column 20"),
        ),
        (
            "a list where words are",
            &(|forge: &mut Forge| forge.manifest["node"]["host_id"] = json!([])),
            String::new(),
        ),
        ("missing", &(|forge: &mut Forge| forge.of_manifest = |own| own.lines.clear()), first.clone()),
        (
            "of another name",
            &(|forge: &mut Forge| {
                forge.of_manifest = |own| own.lines[0]["name"] = json!("cassandra_backup.jsoN")
            }),
            first,
        ),
        (
            "a directory",
            &(|forge: &mut Forge| {
                forge.of_manifest = |own| {
                    own.clone_from(&Piece { ..Piece::directory("cassandra_backup.json/") });
                }
            }),
            no_format("EOF while parsing a value at line 1 column 0"),
        ),
    ];
    let (bench, victim) = (Bench::new(), Victim::new());
    for (name, lie, expected) in cases {
        let mut forge = victim.whole.clone();
        lie(&mut forge);
        let told = bench.told(&forge.bytes());
        match expected.as_str() {
            "" => assert!(
                told.starts_with(
                    "foreign: it cannot be read: invalid type: sequence, expected a string at line "
                ),
                "{name}: {told}"
            ),
            _ => assert_eq!(told, expected, "{name}"),
        }
        assert_eq!(victim.refuses(&forge.bytes()), told, "{name}, in a restore");
    }
}

#[test]
fn a_manifest_that_does_not_match_the_archive_is_refused() {
    let (bench, victim) = (Bench::new(), Victim::new());
    let (table, files) = (victim.table(), victim.whole.pieces.clone());
    let count = |below: &str| {
        let below =
            files.iter().filter(|piece| piece.name().starts_with(below) && piece.lines[0]["type"] == "reg");
        let sizes: Vec<u64> = below.map(|piece| piece.lines[0]["size"].as_u64().unwrap_or(0)).collect();
        (sizes.len() as u64, sizes.iter().sum::<u64>())
    };
    let ((all, bytes), (own, own_bytes)) = (count(""), count(&table));
    let whole = |files: u64, promised: u64| {
        damaged(&format!(
            "its manifest counts {files} files of {promised} bytes, but {all} files of {bytes} bytes are there"
        ))
    };
    let of_table = |files: u64, promised: u64| {
        damaged(&format!(
            "its manifest counts {files} files of {promised} bytes for table `ks1.users`, but {own} files of \
             {own_bytes} \
             bytes are there"
        ))
    };
    let true_manifest = victim.whole.true_manifest();
    let at = true_manifest["tables"]
        .as_array()
        .unwrap()
        .iter()
        .position(|table| table["table"] == "users")
        .unwrap();
    let cases = [
        ("/files", json!(all + 1), whole(all + 1, bytes)),
        ("/files", json!(0), whole(0, bytes)),
        ("/bytes", json!(bytes - 1), whole(all, bytes - 1)),
        ("/bytes", json!(u64::MAX), whole(all, u64::MAX)),
        (&*format!("/tables/{at}/files"), json!(own + 1), of_table(own + 1, own_bytes)),
        (&*format!("/tables/{at}/bytes"), json!(own_bytes + 1), of_table(own, own_bytes + 1)),
    ];
    for (place, value, expected) in cases {
        let mut manifest = true_manifest.clone();
        *manifest.pointer_mut(place).unwrap() = value;
        let forge = Forge { manifest_bytes: Some(manifest.to_string().into_bytes()), ..victim.whole.clone() };
        assert_eq!(bench.told(&forge.bytes()), expected, "{place}");
        assert_eq!(victim.refuses(&forge.bytes()), expected, "{place}, in a restore");
    }
}

/// The manifest decides in how many directories the files belong.
#[test]
fn names_that_belong_to_no_data_directory_are_refused() {
    let bench = Bench::new();
    let victim = Victim::of(FakeNode::running().data_directories(2));
    let none = |name: &str| damaged(&format!("`{name}` is in none of the archive's 2 data directories"));
    assert_eq!(bench.told(&victim.whole.bytes()), "whole");
    for name in [
        "data-2",
        "data-00",
        "data-01",
        "data-+1",
        "data--1",
        "data-",
        "Data-0",
        "ks1",
        "data-18446744073709551616",
    ] {
        let mut forge = victim.whole.clone();
        forge.pieces.push(Piece::directory(&format!("{name}/")));
        assert_eq!(bench.told(&forge.bytes()), none(name));
        assert_eq!(victim.refuses(&forge.bytes()), none(name));
    }
    // A file where the data directory itself would be.
    let mut forge = victim.whole.clone();
    forge.pieces.retain(|piece| !piece.name().starts_with("data-1/"));
    forge.pieces.push(Piece::file("data-1", b"x"));
    assert_eq!(bench.told(&forge.bytes()), none("data-1"));
    assert_eq!(victim.refuses(&forge.bytes()), none("data-1"));
}

#[test]
fn a_manifest_of_more_data_directories_than_there_are_is_refused() {
    let victim = Victim::new();
    for count in [0, 2, 100_000] {
        let mut forge = victim.whole.clone();
        forge.manifest["node"]["data_directories"] = json!(vec!["/d"; count]);
        if count > 1 {
            // Which are told first, as the counts of tables differ too.
            forge.manifest["tables"] = json!([]);
        }
        let told = victim.refuses(&forge.bytes());
        match count {
            0 => assert_eq!(
                told,
                "refused: the node has 1 data directories, the archive 0: give cassandra.yaml as many \
                 `data_file_directories`"
            ),
            _ => assert_eq!(
                told,
                damaged(&format!(
                    "`{}` is in none of the archive's {count} data directories",
                    forge.pieces[0].name().trim_end_matches('/')
                ))
            ),
        }
    }
}

/// It is beside the archive, where whoever may write in that directory puts what they like.
#[test]
fn a_checksum_file_that_holds_none_is_refused_and_not_waited_for() {
    let victim = Victim::new();
    let bytes = victim.whole.bytes();
    let checksum = victim.checksum();
    let none = damaged("`PATH.sha256` beside it holds no SHA-256");
    let own = sha256(&bytes).replace("sha256:", "");
    let other = |digits: &str| damaged(&format!("its SHA-256 is {own}, but `PATH.sha256` says {digits}"));
    let is = |what: &dyn Fn(), expected: Told| {
        victim.has(&bytes);
        fs::remove_file(&checksum).unwrap();
        what();
        assert_eq!(victim.refuses_what_is_there(), expected);
        if fs::symlink_metadata(&checksum).unwrap().is_dir() {
            fs::remove_dir(&checksum).unwrap();
        } else {
            fs::remove_file(&checksum).unwrap();
        }
    };
    let holds = |text: &[u8], expected: Told| is(&|| fs::write(&checksum, text).unwrap(), expected);
    holds(b"", none.clone());
    holds(b"\n", none.clone());
    holds(&own.as_bytes()[1..], none.clone());
    holds(format!("{own}0  nightly.tgz\n").as_bytes(), none.clone());
    holds(format!("g{}  nightly.tgz\n", &own[1..]).as_bytes(), none.clone());
    holds(&[b"\xff\xfe", own.as_bytes()].concat(), none.clone());
    holds("é".repeat(32).as_bytes(), none.clone());
    holds(&[&b" ".repeat(5000), own.as_bytes()].concat(), none.clone());
    holds("0".repeat(64).as_bytes(), other(&"0".repeat(64)));
    is(&|| fs::create_dir(&checksum).unwrap(), none.clone());
    is(&|| symlink("/dev/zero", &checksum).unwrap(), none.clone());
    is(&|| mknodat(CWD, &checksum, FileType::Fifo, Mode::RUSR, 0).unwrap(), none.clone());
    // Of a thousand GiB, none of which is on the disk.
    is(&|| fs::File::create(&checksum).unwrap().set_len(1 << 40).unwrap(), none);
    // Every digit of it, one at a time.
    for at in 0..64 {
        let mut digits = own.clone().into_bytes();
        digits[at] = if digits[at] == b'0' { b'1' } else { b'0' };
        let digits = String::from_utf8(digits).unwrap();
        fs::write(&checksum, format!("{digits}  nightly.tgz\n")).unwrap();
        assert_eq!(victim.refused(json!({"tag": "nightly"}), None), other(&digits));
    }
}
