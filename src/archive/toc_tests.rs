use super::*;
use serde_json::{Value, json};

fn zeros() -> String {
    digest(&[0; 32])
}

/// A directory, an empty file, a file of one chunk and one of three.
fn table() -> Value {
    json!({"version": 1, "entries": [
        {"name": "ks/", "type": "dir", "modtime": "2026-11-22T04:15:30Z", "mode": 0o755, "uid": 999, "gid": 998},
        {"name": "ks/empty", "type": "reg", "modtime": "2026-11-22T04:15:30Z", "mode": 0o644},
        {"name": "ks/one", "type": "reg", "size": 5, "modtime": "2026-11-22T04:15:30.000000001Z", "mode": 0o644,
         "offset": 100, "digest": zeros(), "chunkDigest": zeros()},
        {"name": "ks/three", "type": "reg", "size": 25, "modtime": "2026-11-22T04:15:30Z", "mode": 0o600,
         "offset": 200, "chunkSize": 10, "chunkDigest": zeros()},
        {"name": "ks/three", "type": "chunk", "offset": 300, "chunkOffset": 10, "chunkSize": 10,
         "chunkDigest": zeros()},
        {"name": "ks/three", "type": "chunk", "offset": 400, "chunkOffset": 20, "chunkDigest": zeros()},
    ]})
}

fn parsed(json: &Value) -> Result<Toc> {
    Toc::parse(json.to_string().as_bytes(), 500)
}

#[test]
fn a_table_is_written_as_it_was_read() {
    let toc = parsed(&table()).unwrap();
    let mut json = Vec::new();
    toc.write_json(&mut json).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), table());
    let Content::File { size: 25, chunks } = &toc.entries[3].content else { panic!("{:?}", toc.entries[3]) };
    let places: Vec<_> = chunks.iter().map(|chunk| (chunk.offset, chunk.start, chunk.size)).collect();
    assert_eq!(places, [(200, 0, 10), (300, 10, 10), (400, 20, 5)]);
}

#[test]
fn a_table_that_makes_no_sense_is_refused_with_the_entry() {
    let cases = [
        ("/version", json!(2), "version 2 is not known"),
        (
            "/entries/2/type",
            json!("symlink"),
            "unknown variant `symlink`, expected one of `dir`, `reg`, `chunk` at line 1 column 226",
        ),
        ("/entries/0/name", json!("ks"), "`ks`: a directory's name ends without `/`"),
        ("/entries/0/type", json!("chunk"), "`ks/`: a chunk comes before its file"),
        ("/entries/0/name", json!("other/"), "`ks/empty` is listed before its directory"),
        ("/entries/1/name", json!("../x"), "`../x`: `..` is not a single file name"),
        ("/entries/1/name", json!("/etc"), "`/etc`: `` is not a single file name"),
        ("/entries/1/name", json!("ks/one"), "`ks/one` is listed twice"),
        (
            "/entries/1/name",
            json!("stargz.index.json"),
            "`stargz.index.json` is the name of the table of contents",
        ),
        ("/entries/1/mode", json!(0o100644), "`ks/empty`: mode 100644 is no mode"),
        ("/entries/1/modtime", Value::Null, "`ks/empty`: it has no `modtime`"),
        ("/entries/1/uid", json!(1u64 << 32), "`ks/empty`: its `uid` is too large"),
        ("/entries/1/gid", json!(u32::MAX), "`ks/empty`: its `gid` is too large"),
        ("/entries/2/type", json!("dir"), "`ks/one`: a directory's name ends without `/`"),
        ("/entries/3/size", json!(0), "`ks/three`: it has more chunks than bytes"),
        ("/entries/2/chunkDigest", Value::Null, "`ks/one`: it lacks a `chunkDigest`"),
        ("/entries/2/chunkDigest", json!("md5:00"), "`ks/one`: `md5:00` is not a SHA-256 digest"),
        (
            "/entries/2/digest",
            json!(digest(&[1; 32])),
            "`ks/one`: its `digest` differs from its `chunkDigest`",
        ),
        ("/entries/2/size", json!(u64::MAX), "`ks/one`: a chunk of 18446744073709551615 bytes is too large"),
        ("/entries/3/size", json!(20), "`ks/three`: it has more chunks than bytes"),
        ("/entries/3/size", json!(15), "`ks/three`: its chunks are longer than the file"),
        (
            "/entries/3/offset",
            json!(100),
            "`ks/three`: its chunk at byte 0 does not come after the one before",
        ),
        ("/entries/4/name", json!("ks/one"), "`ks/three`: a chunk of `ks/one` follows it"),
        ("/entries/4/chunkOffset", json!(9), "`ks/three`: its chunks leave a gap or overlap at byte 10"),
        ("/entries/4/chunkSize", json!(9), "`ks/three`: its chunks leave a gap or overlap at byte 19"),
        ("/entries/5/chunkSize", json!(4), "`ks/three`: its chunks end at byte 24 of 25"),
        ("/entries/5/offset", json!(500), "its last chunk begins at byte 500, behind the table itself"),
    ];
    for (place, value, expected) in cases {
        let mut json = table();
        match json.pointer_mut(place) {
            Some(found) => *found = value,
            None => {
                let (entry, key) = place.rsplit_once('/').unwrap();
                json.pointer_mut(entry).unwrap()[key] = value;
            }
        }
        match parsed(&json) {
            Ok(_) => panic!("{place}: {expected}"),
            Err(error) => assert_eq!(format!("{error:#}"), expected, "{place}"),
        }
    }
}

#[test]
fn the_footer_is_an_empty_gzip_member_that_holds_the_offset() {
    let footer = footer(0x12ab);
    assert_eq!(parse_footer(&footer).unwrap(), 0x12ab);
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&footer[..]), &mut content).unwrap();
    assert_eq!(content, b"");
}

#[test]
fn any_other_51_bytes_are_no_footer() {
    let whole = footer(7);
    for index in 0..FOOTER_SIZE {
        let mut footer = whole;
        footer[index] ^= 0x80;
        let refused = parse_footer(&footer).unwrap_err().to_string();
        assert_eq!(refused, "the last 51 bytes are not the footer of an eStargz file");
    }
    assert!(parse_footer(&whole[1..]).is_err());
}
