//! The table of contents and the tar say different things, each with right checksums.

use std::time::Duration;

use serde_json::{Value, json};

use super::forge::{Forge, Piece, Tar, seal, sha256, tar_header};
use super::{Bench, DIFFERS, Lie, SENSELESS, Told, Victim, damaged};

/// Two files of one length in the users' table, `x` before `y`, and a directory `z/` behind them.
fn two(forge: &mut Forge) -> (String, String) {
    let table =
        forge.pieces.iter().map(Piece::name).find(|name| name.starts_with("ks1/users-")).unwrap().to_owned();
    let [x, y] = ["x", "y"].map(|name| format!("{table}{name}"));
    forge.pieces.extend([
        Piece::file(&x, b"first"),
        Piece::file(&y, b"other"),
        Piece::directory(&format!("{table}z/")),
    ]);
    (x, y)
}

fn header_of(name: &str) -> Told {
    damaged(&format!("the tar header of `{name}`: {DIFFERS}"))
}

fn header_ends(name: &str) -> Told {
    damaged(&format!("the tar header of `{name}`: the compressed data ends too early"))
}

#[test]
fn an_attribute_that_differs_is_refused_whichever_of_the_two_was_changed() {
    let victim = Victim::new();
    let bench = Bench::new();
    let mut whole = victim.whole.clone();
    let (x, _) = two(&mut whole);
    let directory = format!("{}z/", x.trim_end_matches('x'));
    let later = humantime::format_rfc3339(
        humantime::parse_rfc3339(super::forge::MODTIME).unwrap() + Duration::from_nanos(1),
    );
    let in_the_table = [
        ("name", json!(format!("{x}1"))),
        ("modtime", json!("2026-11-22T04:15:31Z")),
        ("modtime", json!(later.to_string())),
        ("modtime", json!("1970-01-01T00:00:00Z")),
        ("mode", json!(0o777)),
        ("mode", json!(0o4644)),
        ("uid", json!(0)),
        ("uid", json!(3_000_000)),
        ("gid", json!(1000)),
    ];
    for (key, value) in in_the_table {
        for of in [&x, &directory] {
            let mut forge = whole.clone();
            if key == "name" && of == &directory {
                continue; // Its own directory would be missing.
            }
            forge.piece(of).lines[0][key] = value.clone();
            let name = if key == "name" { value.as_str().unwrap() } else { of };
            // What is not in a header of one block needs pax records, for which there are no bytes.
            let needs_pax = value == json!(later.to_string()) || value == json!(3_000_000);
            let expected = if needs_pax { header_ends(name) } else { header_of(name) };
            assert_eq!(bench.told(&forge.bytes()), expected, "{key} of {of}");
            assert_eq!(victim.refuses(&forge.bytes()), expected, "{key} of {of}, in a restore");
        }
    }
    let right = Tar::of(x.as_bytes(), b'0', 5);
    let in_the_tar = [
        Tar { name: b"ks1/../../evil".to_vec(), ..right.clone() },
        Tar { name: b"/etc/passwd".to_vec(), ..right.clone() },
        Tar { size: 4, ..right.clone() },
        Tar { size: 0o77777777777, ..right.clone() },
        Tar { mode: 0o7777, ..right.clone() },
        Tar { uid: 0, ..right.clone() },
        Tar { gid: 0, ..right.clone() },
        Tar { seconds: 0, ..right.clone() },
        Tar { typeflag: b'5', ..right.clone() },
        Tar { target: b"x".to_vec(), ..right.clone() },
    ];
    for tar in in_the_tar {
        let mut forge = whole.clone();
        forge.piece(&x).header = tar_header(&tar);
        assert_eq!(bench.told(&forge.bytes()), header_of(&x), "{tar:?}");
        assert_eq!(victim.refuses(&forge.bytes()), header_of(&x), "{tar:?}, in a restore");
    }
}

#[test]
fn an_entry_that_only_one_of_them_has_is_refused() {
    let victim = Victim::new();
    let mut whole = victim.whole.clone();
    let (x, y) = two(&mut whole);
    let cases: [(&str, Lie, Told); 6] = [
        (
            "a file that only the tar has",
            &|forge| {
                let header = forge.piece(&y).header.clone();
                forge.piece(&x).padding.extend(tar_header(&Tar::of(b"../evil", b'0', 0)));
                forge.piece(&y).header = header;
            },
            header_of(&y),
        ),
        (
            "a link that only the tar has, at the end",
            &|forge| {
                let link = Tar { target: b"/etc".to_vec(), ..Tar::of(b"link", b'2', 0) };
                forge.pieces.last_mut().unwrap().padding.extend(tar_header(&link));
            },
            damaged(&format!(
                "the gzip member that ends with the tar header of `{}z/`: the compressed data holds more than it should",
                victim.table()
            )),
        ),
        ("a file that only the table has", &|forge| forge.piece(&x).header.clear(), header_ends(&x)),
        (
            "an end of the tar in the middle",
            &|forge| forge.piece(&x).padding.extend([0; 1024]),
            header_of(&y),
        ),
        (
            "in another order",
            &|forge| {
                let at = forge.pieces.iter().position(|piece| piece.name() == x).unwrap();
                let lines = forge.pieces[at].lines.clone();
                forge.pieces[at].lines = forge.pieces[at + 1].lines.clone();
                forge.pieces[at + 1].lines = lines;
            },
            header_of(&y),
        ),
        (
            "a directory behind what is in it",
            &|forge| {
                let at = forge.pieces.iter().position(|piece| piece.name() == victim.table()).unwrap();
                let directory = forge.pieces.remove(at);
                forge.pieces.push(directory);
            },
            String::new(),
        ),
    ];
    let bench = Bench::new();
    for (name, lie, expected) in cases {
        let mut forge = whole.clone();
        lie(&mut forge);
        let told = bench.told(&forge.bytes());
        match expected.as_str() {
            "" => assert!(told.ends_with("` is listed before its directory"), "{name}: {told}"),
            _ => assert_eq!(told, expected, "{name}"),
        }
        assert_eq!(victim.refuses(&forge.bytes()), told, "{name}, in a restore");
    }
}

#[test]
fn content_that_is_not_the_tables_is_refused() {
    let victim = Victim::new();
    let mut whole = victim.whole.clone();
    let (x, y) = two(&mut whole);
    let differs = |name: &str| {
        damaged(&format!("bytes 0-4 of `{name}`: the SHA-256 differs from the table of contents"))
    };
    let early = damaged(&format!("bytes 0-4 of `{x}`: the compressed data ends too early"));
    let more = damaged(&format!("the padding after `{x}`: {DIFFERS}"));
    let cases: [(&str, Lie, Told); 9] = [
        (
            "swapped digests",
            &|forge| {
                let digest =
                    |name: &str, forge: &mut Forge| forge.piece(name).lines[0]["chunkDigest"].clone();
                let (of_x, of_y) = (digest(&x, forge), digest(&y, forge));
                forge.piece(&x).lines[0]["chunkDigest"] = of_y;
                forge.piece(&y).lines[0]["chunkDigest"] = of_x;
            },
            differs(&x),
        ),
        (
            "swapped contents",
            &|forge| {
                let of_x = forge.piece(&x).payload.clone();
                forge.piece(&x).payload = forge.piece(&y).payload.clone();
                forge.piece(&y).payload = of_x;
            },
            differs(&x),
        ),
        (
            "two digests of one chunk",
            &|forge| forge.piece(&x).lines[0]["digest"] = json!(sha256(b"other")),
            damaged(&format!("{SENSELESS}`{x}`: its `digest` differs from its `chunkDigest`")),
        ),
        ("other content", &|forge| forge.piece(&x).payload = vec![b"FIRST".to_vec()], differs(&x)),
        (
            "less content, and nothing behind it",
            &|forge| {
                forge.piece(&x).payload = vec![b"firs".to_vec()];
                forge.piece(&x).padding.clear();
                forge.piece(&y).header.clear();
            },
            early.clone(),
        ),
        ("more content", &|forge| forge.piece(&x).payload = vec![b"firstX".to_vec()], more.clone()),
        ("padding that is not zero", &|forge| forge.piece(&x).padding[506] = 1, more),
        (
            "padding that is too short",
            &|forge| forge.piece(&x).padding.truncate(506),
            damaged(&format!("the padding after `{x}`: {DIFFERS}")),
        ),
        (
            "content in two gzip members",
            &|forge| forge.piece(&x).payload = vec![b"fir".to_vec(), b"st".to_vec()],
            early,
        ),
    ];
    let bench = Bench::new();
    for (name, lie, expected) in cases {
        let mut forge = whole.clone();
        lie(&mut forge);
        assert_eq!(bench.told(&forge.bytes()), expected, "{name}");
        assert_eq!(victim.refuses(&forge.bytes()), expected, "{name}, in a restore");
    }
}

#[test]
fn places_of_members_that_are_not_the_tars_are_refused() {
    let victim = Victim::new();
    let mut whole = victim.whole.clone();
    let (x, y) = two(&mut whole);
    let (bytes, borders) = whole.bytes_and_borders();
    let place = |index: usize| borders[borders.len() - index];
    // The last two members before the table's are those of `x` and `y`.
    let (of_x, of_y, of_table) = (place(4), place(3), place(2));
    let moved = |name: &str, at: usize, to: usize| {
        damaged(&format!("bytes 0-4 of `{name}`: it begins at byte {at} of the archive, not at {to}"))
    };
    let behind = |at: &str| {
        damaged(&format!("{SENSELESS}its last chunk begins at byte {at}, behind the table itself"))
    };
    let cases: [(&str, &str, Value, Told); 5] = [
        ("one byte on", &x, json!(of_x + 1), moved(&x, of_x, of_x + 1)),
        ("another member", &y, json!(of_y - 1), moved(&y, of_y, of_y - 1)),
        (
            "before the one before",
            &y,
            json!(of_x),
            damaged(&format!("{SENSELESS}`{y}`: its chunk at byte 0 does not come after the one before")),
        ),
        // The table's place depends on nothing in the table.
        ("the table's member", &y, json!(of_table), behind(&of_table.to_string())),
        ("the end of all numbers", &y, json!(u64::MAX), behind(&u64::MAX.to_string())),
    ];
    let bench = Bench::new();
    assert_eq!(bench.told(&bytes), "whole");
    for (name, of, offset, expected) in cases {
        let mut forge = whole.clone();
        forge.piece(of).lines[0]["offset"] = offset;
        assert_eq!(bench.told(&forge.bytes()), expected, "{name}");
        assert_eq!(victim.refuses(&forge.bytes()), expected, "{name}, in a restore");
    }
}

/// The table is found by the footer, before its tar header is known to be right.
#[test]
fn a_table_whose_own_header_or_end_is_wrong_is_refused() {
    let victim = Victim::new();
    let mut whole = victim.whole.clone();
    two(&mut whole);
    let (_, borders) = whole.bytes_and_borders();
    let at = borders[borders.len() - 2];
    let unreadable = |why: &str| damaged(&format!("the table of contents, at byte {at}: {why}"));
    let differs = damaged(&format!("the table of contents: {DIFFERS}"));
    let header = unreadable("its tar header makes no sense");
    fn change(head: &mut [u8], at: usize, bytes: &[u8]) {
        head[at..at + bytes.len()].copy_from_slice(bytes);
        seal(head);
    }
    type Of = fn(&mut Vec<u8>);
    let headers: [(&str, Of, Told); 7] = [
        ("another name", |head| change(head, 0, b"stargz.index.jsoN"), header.clone()),
        ("a longer name", |head| change(head, 17, b"x"), differs.clone()),
        ("a size that is no number", |head| change(head, 124, b"0000000000x"), header.clone()),
        ("a size of 8 GiB less one", |head| change(head, 124, b"77777777777"), header),
        ("a mode", |head| change(head, 100, b"0000777"), differs.clone()),
        ("a type", |head| change(head, 156, b"2"), differs.clone()),
        ("a checksum that is wrong", |head| head[148] ^= 1, differs.clone()),
    ];
    let ends: [(&str, Of, Told); 3] = [
        ("an end that is not zero", |end| *end.last_mut().unwrap() = 1, differs),
        ("no end", |end| end.truncate(end.len() - 512), unreadable("the compressed data ends too early")),
        (
            "a longer end",
            |end| end.extend([0; 512]),
            unreadable("the compressed data holds more than it should"),
        ),
    ];
    let bench = Bench::new();
    for (is_end, (name, lie, expected)) in
        headers.into_iter().map(|case| (false, case)).chain(ends.into_iter().map(|case| (true, case)))
    {
        let mut forge = whole.clone();
        if is_end {
            forge.table_end = lie
        } else {
            forge.table_header = lie
        }
        assert_eq!(bench.told(&forge.bytes()), expected, "{name}");
        assert_eq!(victim.refuses(&forge.bytes()), expected, "{name}, in a restore");
    }
}

#[test]
fn json_that_is_no_table_is_refused() {
    let victim = Victim::new();
    let senseless = |what: &str| damaged(&format!("{SENSELESS}{what}"));
    let foreign = "foreign: its first entry is not `cassandra_backup.json`".to_owned();
    fn with(json: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
        String::from_utf8(json).unwrap().replacen(from, to, 1).into_bytes()
    }
    victim.all_are_refused(vec![
        ("nothing", |forge| forge.table = |_: Vec<u8>| Vec::new(), senseless("EOF while parsing a value")),
        ("no JSON", |forge| forge.table = |_| b"entries: []".to_vec(), senseless("expected value")),
        (
            "a list",
            |forge| forge.table = |_| b"[]".to_vec(),
            senseless("invalid length 0, expected struct Read with 2 elements"),
        ),
        ("no entries", |forge| forge.table = |_| br#"{"version":1,"entries":[]}"#.to_vec(), foreign),
        (
            "entries that are none",
            |forge| forge.table = |_| br#"{"version":1,"entries":null}"#.to_vec(),
            senseless("invalid type: null, expected a list of entries"),
        ),
        (
            "a later version",
            |forge| forge.table = |json| with(json, r#""version":1"#, r#""version":2"#),
            senseless("version 2 is not known"),
        ),
        (
            "two versions",
            |forge| forge.table = |json| with(json, r#""version":1"#, r#""version":1,"version":1"#),
            senseless("duplicate field `version`"),
        ),
        (
            "two lists",
            |forge| forge.table = |json| with(json, r#""version":1"#, r#""version":1,"entries":[]"#),
            senseless("duplicate field `entries`"),
        ),
        (
            "two names",
            |forge| forge.table = |json| with(json, r#"{"name":"#, r#"{"name":"x","name":"#),
            senseless("duplicate field `name`"),
        ),
        (
            "something behind it",
            |forge| forge.table = |json| [&json[..], b"{}"].concat(),
            senseless("trailing characters"),
        ),
        (
            "a fraction of a byte",
            |forge| forge.table = |json| with(json, r#""mode":384"#, r#""mode":384.5"#),
            senseless("invalid type: floating point `384.5`, expected u64"),
        ),
        (
            "less than nothing",
            |forge| forge.table = |json| with(json, r#""mode":384"#, r#""mode":-1"#),
            senseless("invalid value: integer `-1`, expected u64"),
        ),
        (
            "more than all numbers",
            |forge| forge.table = |json| with(json, r#""mode":384"#, r#""mode":18446744073709551616"#),
            senseless("invalid type: floating point `1.8446744073709552e+19`, expected u64"),
        ),
        (
            "a list of lists",
            |forge| forge.table = |_| [br#"{"version":1,"entries":"#.as_slice(), &b"[".repeat(2000)].concat(),
            senseless("invalid type: sequence, expected a string"),
        ),
    ]);
}
