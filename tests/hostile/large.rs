//! What is unusual and right: it is restored.

use std::fs;
use std::io::Write;

use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::header;
use cassandra_backup::archive::toc::{Chunk, Content, Entry};
use cassandra_backup::dir::RelativePath;
use serde_json::{Value, json};

use super::forge::gzip_writer::Writer;
use super::forge::{Forge, Piece, member, sha256};
use super::{Bench, Victim};

/// Under how much memory of its own a restore of a node of 100,000 files is done.
const ENOUGH: u64 = 192 << 20;

#[test]
fn a_hundred_thousand_files_are_restored_in_little_memory() {
    let victim = Victim::new();
    let mut forge = victim.whole.clone();
    let table = victim.table();
    let file = Piece::file("x", b"12345");
    for index in 1000..101_000 {
        let name = format!("{table}nb-{index}-big-Data.db");
        let mut piece = file.clone();
        piece.header[..name.len()].copy_from_slice(name.as_bytes());
        super::forge::seal(&mut piece.header);
        piece.lines[0]["name"] = json!(name);
        forge.pieces.push(piece);
    }
    victim.has(&forge.bytes());
    let result = victim.node.start_module_within(
        "cassandra_restore",
        json!({"tag": "nightly", "state": "staged"}),
        ENOUGH,
    );
    let result = result.finish();
    assert_eq!((&result["failed"], &result["changed"]), (&Value::Null, &json!(true)), "{result:#}");
    let found = fs::read_dir(victim.staged().join(&table)).unwrap().count();
    assert!(found > 100_000, "{found} files");
}

#[test]
fn an_empty_file_and_the_longest_names_are_restored() {
    let victim = Victim::new();
    let table = victim.table();
    let mut forge = victim.whole.clone();
    forge.compression = Compression::Best;
    let names = [
        "nb-9-big-Rows.db".to_owned(),
        "l".repeat(101),
        "m".repeat(255),
        format!("{}/{}", "d".repeat(255), "f".repeat(255)),
    ];
    for name in &names {
        if let Some((directory, _)) = name.split_once('/') {
            forge.pieces.push(with_pax(&format!("{table}{directory}/"), None));
        }
        forge.pieces.push(with_pax(
            &format!("{table}{name}"),
            Some(if name.ends_with("Rows.db") { b"" } else { b"12345" }),
        ));
    }
    assert_eq!(Bench::new().told(&forge.bytes()), "whole");
    victim.has(&forge.bytes());
    let result = victim.node.run_module("cassandra_restore", json!({"tag": "nightly", "state": "staged"}));
    assert_eq!(result["changed"], true, "{result:#}");
    let staged = victim.staged().join(&table);
    let sizes = names.map(|name| fs::metadata(staged.join(name)).unwrap().len());
    assert_eq!(sizes, [0, 5, 5, 5]);
}

/// With the header that the format page tells, whatever the name needs.
fn with_pax(name: &str, content: Option<&[u8]>) -> Piece {
    let short = Piece::file("short", content.unwrap_or_default());
    let mut piece = if content.is_some() { short } else { Piece::directory("short/") };
    piece.lines[0]["name"] = json!(name);
    piece.header = header::of(&Entry {
        name: RelativePath::parse(name.trim_end_matches('/')).unwrap(),
        mode: piece.lines[0]["mode"].as_u64().unwrap() as u32,
        uid: 999,
        gid: 999,
        mtime: humantime::parse_rfc3339(super::forge::MODTIME).unwrap(),
        content: content.map_or(Content::Directory, |content| Content::File {
            size: content.len() as u64,
            chunks: Vec::<Chunk>::new(),
        }),
    });
    piece
}

/// A file of 8 GiB and more in 8 MiB: the same 64 MiB of zeros over and over. It is read in full, not unpacked.
#[test]
fn a_file_of_more_than_8_gib_is_verified() {
    const CHUNK: usize = 64 << 20;
    const CHUNKS: usize = 130;
    let zeros = vec![0; CHUNK];
    let (digest, of_chunk) = (sha256(&zeros), one_member(&zeros));
    let size = (CHUNK * CHUNKS) as u64;
    let name = "ks/t-0f/big";

    // What is before it and behind it is an archive's, whose file has one small chunk.
    let mut forge = Forge::small();
    let mut piece = with_pax(name, Some(b"12345"));
    piece.header = header::of(&Entry {
        name: RelativePath::parse(name).unwrap(),
        mode: 0o644,
        uid: 999,
        gid: 999,
        mtime: humantime::parse_rfc3339(super::forge::MODTIME).unwrap(),
        content: Content::File { size, chunks: Vec::new() },
    });
    piece.padding.clear();
    piece.lines = Vec::new();
    for index in 0..CHUNKS {
        let mut line =
            json!({"name": name, "type": "chunk", "chunkOffset": index * CHUNK, "chunkDigest": digest});
        if index == 0 {
            line = json!({
                "name": name, "type": "reg", "size": size, "modtime": super::forge::MODTIME, "mode": 0o644,
                "uid": 999, "gid": 999, "chunkDigest": digest,
            });
        }
        if index + 1 < CHUNKS {
            line["chunkSize"] = json!(CHUNK);
        }
        piece.lines.push(line);
    }
    // Members whose offsets are known are put in where the one small chunk is.
    piece.payload = vec![b"@".to_vec()];
    forge.pieces.push(piece);
    let (_, borders) = forge.bytes_and_borders();
    let at = borders[borders.len() - 3];
    let of_small = borders[borders.len() - 2] - at;
    for (index, line) in forge.pieces.last_mut().unwrap().lines.iter_mut().enumerate() {
        line["offset"] = json!(at + index * of_chunk.len());
    }
    let bytes = forge.bytes();
    let bench = Bench::new();
    let mut out = fs::File::create(bench.path()).unwrap();
    out.write_all(&bytes[..at]).unwrap();
    (0..CHUNKS).for_each(|_| out.write_all(&of_chunk).unwrap());
    let end = bytes.len() - cassandra_backup::archive::toc::FOOTER_SIZE;
    out.write_all(&bytes[at + of_small..end]).unwrap();
    out.write_all(&cassandra_backup::archive::toc::footer((at + CHUNKS * of_chunk.len()) as u64)).unwrap();

    let archive = cassandra_backup::archive::reader::Archive::open(&bench.path()).unwrap();
    assert_eq!(archive.unpacked_size(), size + 700 + 600 + 3 + 5);
    let mut read = 0;
    archive.verify(2, &mut |bytes| read += bytes).unwrap();
    assert_eq!(read, archive.unpacked_size());
}

fn one_member(content: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut out = Writer::new(&mut file, Compression::Fast);
    out.next_member().unwrap();
    out.write(content).unwrap();
    out.finish(b"").unwrap();
    assert_eq!(file, member(&file[10..file.len() - 8], content));
    file
}
