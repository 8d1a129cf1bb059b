//! What fuzzing begins with: honest input of every kind, and one lie of each kind.

use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::toc::{FOOTER_SIZE, NAME, footer};
use serde_json::{Value, json};

use crate::forge::{Forge, Piece, Tar, a_manifest, member, tar_header};
use crate::invariants::BORDER;

/// Target, name (`bad-…` is to be refused) and input.
pub fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, input: Vec<u8>| seeds.push((target, name.to_owned(), input));

    add("footer", "zero", footer(0).to_vec());
    add("footer", "large", footer(u64::MAX).to_vec());
    add("footer", "bad-upper", footer(u64::MAX).to_ascii_uppercase());

    let table = table_of(&Forge::small().bytes());
    add("table", "small", table.clone());
    add("table", "empty", br#"{"version": 1, "entries": []}"#.to_vec());
    add("table", "bad-version", replaced(&table, r#""version":1"#, r#""version":2"#));
    add("table", "bad-name", replaced(&table, "ks/t-0f/b", "ks/../../b"));
    add("table", "bad-link", replaced(&table, r#""dir""#, r#""symlink""#));

    let mut manifest = a_manifest();
    manifest["tables"] =
        json!([{"keyspace": "ks", "table": "t", "id": "0f", "sstables": 1, "files": 3, "bytes": 9}]);
    add("manifest", "small", manifest.to_string().into_bytes());
    manifest["format"] = json!(2);
    add("manifest", "bad-later", manifest.to_string().into_bytes());

    let attributes = |fill: u8, name: &str| [&[fill; 30], name.as_bytes()].concat();
    add("header", "plain", attributes(0, "ks/t-0f/nb-1-big-Data.db"));
    add("header", "long", attributes(1, &format!("{}/{}", "k".repeat(160), "é".repeat(120))));
    add("header", "split", attributes(0xff, &format!("{}/{}", "k".repeat(120), "t".repeat(90))));
    add("header", "bad-name", attributes(0, "ks/../x"));

    add("member", "stored", member(b"\x01\x05\0\xfa\xffhello", b"hello"));
    add("member", "fast", Forge::small().bytes());
    add("member", "bad-checksum", member(b"\x01\x05\0\xfa\xffhello", b"hullo"));

    for (name, compression) in [("stored", Compression::None), ("best", Compression::Best)] {
        add("archive", name, Forge { compression, ..Forge::small() }.bytes());
    }
    let mut forge = Forge::small();
    forge.pieces.push(Piece::file("../escape", b"x"));
    add("archive", "bad-name", forge.bytes());
    add("archive", "bad-cut", Forge::small().bytes()[..700].to_vec());

    add("forged", "small", to_be_forged(&Forge::small()));
    let mut forge = Forge::small();
    forge.pieces.push(Piece::file(&"n".repeat(100), b""));
    add("forged", "name", to_be_forged(&forge));
    forge.piece("ks/t-0f/b").lines[0]["mode"] = json!(0o777);
    add("forged", "bad-mode", to_be_forged(&forge));
    seeds
}

fn replaced(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8(text.to_vec()).unwrap().replace(from, to).into_bytes()
}

/// The JSON of an archive's table.
fn table_of(archive: &[u8]) -> Vec<u8> {
    let digits = std::str::from_utf8(&archive[archive.len() - FOOTER_SIZE + 16..][..16]).unwrap();
    let at = usize::from_str_radix(digits, 16).unwrap();
    let mut stream = tar::Archive::new(flate2::read::GzDecoder::new(&archive[at..]));
    let mut entry = stream.entries().unwrap().next().unwrap().unwrap();
    let mut json = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut json).unwrap();
    json
}

/// An archive as the target `forged` takes it: what its members hold, with places for offsets and digests.
fn to_be_forged(forge: &Forge) -> Vec<u8> {
    let whole = forge.bytes();
    let mut table: Value = serde_json::from_slice(&table_of(&whole)).unwrap();
    let mut stream = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&whole[..]), &mut stream).unwrap();

    let (mut input, mut member, mut at) = (Vec::new(), 0, 0);
    let first =
        [&[Piece::file(cassandra_backup::archive::manifest::NAME, b"")], forge.pieces.as_slice()].concat();
    let sizes: Vec<Vec<usize>> =
        first.iter().map(|piece| piece.payload.iter().map(Vec::len).collect()).collect();
    let lines = table["entries"].as_array_mut().unwrap();
    let manifest_size = usize::try_from(lines[0]["size"].as_u64().unwrap()).unwrap();
    let mut next_line = 0;
    for (index, piece) in first.iter().enumerate() {
        let sizes = if index == 0 { vec![manifest_size] } else { sizes[index].clone() };
        input.extend(&stream[at..at + piece.header.len()]);
        at += piece.header.len();
        for (number, size) in sizes.iter().enumerate() {
            input.extend(BORDER);
            member += 1;
            input.extend(&stream[at..at + size]);
            at += size;
            let line = &mut lines[next_line + number];
            line["offset"] = json!(format!("@o{member:02x}"));
            line["chunkDigest"] = json!(format!("@d{member:02x}{size:04x}"));
            line.as_object_mut().unwrap().remove("digest");
        }
        let total: usize = sizes.iter().sum();
        let padding = total.wrapping_neg() % 512;
        input.extend(&stream[at..at + padding]);
        at += padding;
        next_line += piece.lines.len();
    }
    input.extend(BORDER);
    input.extend(tar_header(&Tar { mode: 0o600, uid: 0, gid: 0, ..Tar::of(NAME.as_bytes(), b'0', 0) }));
    // An offset is a number: without the quotes.
    let mut json = table.to_string();
    while let Some(place) = json.find("\"@o") {
        json.replace_range(place..place + 1, "");
        json.replace_range(place + 4..place + 5, "");
    }
    input.extend(json.into_bytes());
    input
}
