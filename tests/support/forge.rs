//! Archives as nobody's writer makes them: every digest, checksum and count right, but for the lie under test.
#![allow(dead_code)]

use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::header;
use cassandra_backup::archive::manifest;
use cassandra_backup::archive::reader::Archive;
use cassandra_backup::archive::toc::{Chunk, Content, Entry, FOOTER_SIZE, NAME, digest, footer};
use flate2::Crc;
use flate2::read::DeflateDecoder;
use gzip_writer::Writer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[path = "gzip_writer.rs"]
pub mod gzip_writer;

pub const BLOCK: usize = 512;
/// What files of an archive of ours are made of, where nothing else is said.
pub const MODTIME: &str = "2026-11-22T04:15:30Z";
const SECONDS: u64 = 1_795_320_930;

/// One entry: what the tar holds, and what the table of contents says of it.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The tar header, with pax records before it where there are any.
    pub header: Vec<u8>,
    /// Each a gzip member of its own.
    pub payload: Vec<Vec<u8>>,
    pub padding: Vec<u8>,
    /// Its lines in the table. Where one has no `offset`, that of the payload of the same number is written.
    pub lines: Vec<Value>,
}

impl Piece {
    pub fn directory(name: &str) -> Piece {
        let line =
            json!({"name": name, "type": "dir", "modtime": MODTIME, "mode": 0o755, "uid": 999, "gid": 999});
        let header = tar_header(&Tar { mode: 0o755, ..Tar::of(name.as_bytes(), b'5', 0) });
        Piece { header, payload: Vec::new(), padding: Vec::new(), lines: vec![line] }
    }

    pub fn file(name: &str, content: &[u8]) -> Piece {
        Piece::file_of(name, &[content])
    }

    /// A file in these chunks.
    pub fn file_of(name: &str, chunks: &[&[u8]]) -> Piece {
        let size: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let mut first = json!({
            "name": name, "type": "reg", "size": size, "modtime": MODTIME, "mode": 0o644, "uid": 999, "gid": 999,
        });
        if size == 0 {
            first.as_object_mut().unwrap().remove("size");
        }
        let (mut lines, mut start) = (vec![first], 0);
        for (index, chunk) in chunks.iter().enumerate().filter(|_| size > 0) {
            if index > 0 {
                lines.push(json!({"name": name, "type": "chunk", "chunkOffset": start}));
            }
            if index + 1 < chunks.len() {
                lines[index]["chunkSize"] = json!(chunk.len());
            }
            lines[index]["chunkDigest"] = json!(sha256(chunk));
            start += chunk.len();
        }
        Piece {
            header: tar_header(&Tar::of(name.as_bytes(), b'0', size as u64)),
            payload: chunks.iter().filter(|chunk| !chunk.is_empty()).map(|chunk| chunk.to_vec()).collect(),
            padding: vec![0; header::padding(size as u64)],
            lines,
        }
    }

    /// Neither file nor directory: a line of the type `kind`, and a header of the same.
    pub fn other(name: &str, kind: &str, typeflag: u8, target: &str) -> Piece {
        let line = json!({"name": name, "type": kind, "linkName": target, "modtime": MODTIME, "mode": 0o777});
        let tar = Tar { target: target.as_bytes().to_vec(), ..Tar::of(name.as_bytes(), typeflag, 0) };
        Piece { header: tar_header(&tar), payload: Vec::new(), padding: Vec::new(), lines: vec![line] }
    }

    pub fn name(&self) -> &str {
        self.lines[0]["name"].as_str().unwrap()
    }
}

/// The fields of a tar header of one block.
#[derive(Debug, Clone)]
pub struct Tar {
    pub name: Vec<u8>,
    pub typeflag: u8,
    pub target: Vec<u8>,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub seconds: u64,
}

impl Tar {
    pub fn of(name: &[u8], typeflag: u8, size: u64) -> Tar {
        let name = name.to_vec();
        Tar { name, typeflag, target: Vec::new(), size, mode: 0o644, uid: 999, gid: 999, seconds: SECONDS }
    }
}

/// By the field's own words, not by the reader's code.
pub fn tar_header(tar: &Tar) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &tar.name);
    put(100, format!("{:07o}\0{:07o}\0{:07o}\0", tar.mode, tar.uid, tar.gid).as_bytes());
    put(124, format!("{:011o}\0{:011o}\0        ", tar.size, tar.seconds).as_bytes());
    put(156, &[tar.typeflag]);
    put(157, &tar.target);
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000");
    seal(&mut block);
    block
}

/// The header's checksum made right.
pub fn seal(block: &mut [u8]) {
    let block = &mut block[..BLOCK];
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn sha256(bytes: &[u8]) -> String {
    digest(&Sha256::digest(bytes))
}

/// A gzip member around data that is deflated already.
pub fn member(deflated: &[u8], content: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(content);
    let header = *b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
    [&header, deflated, &crc.sum().to_le_bytes(), &crc.amount().to_le_bytes()].concat()
}

/// A manifest of a node that nobody has.
pub fn a_manifest() -> Value {
    json!({
        "format": 1, "tag": "nightly", "created": MODTIME,
        "node": {
            "cluster_name": "Test Cluster", "host_id": "6f2b1c1e-57d5-4a1c-9d0a-0d6c6a3f1f11", "data_center": "dc1",
            "rack": "r1", "tokens": ["1"], "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "cassandra_version": "5.0.5", "schema_version": "54e17321-3f2e-37ca-9b08-d91ba7bdd369",
            "data_directories": ["/var/lib/cassandra/data"],
        },
        "sstable_formats": ["nb-big"], "keyspaces": ["ks"], "whole_node": true, "tables": [], "files": 0, "bytes": 0,
    })
}

/// An archive to be: its parts may be changed, and fit together again where [`Forge::bytes`] writes them.
#[derive(Debug, Clone)]
pub struct Forge {
    pub manifest: Value,
    /// The manifest's bytes, where they are not the JSON above with its counts made right.
    pub manifest_bytes: Option<Vec<u8>>,
    /// What lies behind the manifest's entry.
    pub pieces: Vec<Piece>,
    pub compression: Compression,
    /// Done to the manifest's own entry.
    pub of_manifest: fn(&mut Piece),
    /// The table's JSON, after all lines are known.
    pub table: fn(Vec<u8>) -> Vec<u8>,
    /// The table's tar header.
    pub table_header: fn(&mut Vec<u8>),
    /// The two blocks of zeros behind the table, with its padding.
    pub table_end: fn(&mut Vec<u8>),
}

impl Forge {
    pub fn new(pieces: Vec<Piece>) -> Forge {
        Forge {
            manifest: a_manifest(),
            manifest_bytes: None,
            pieces,
            compression: Compression::Fast,
            of_manifest: |_| {},
            table: |json| json,
            table_header: |_| {},
            table_end: |_| {},
        }
    }

    /// A keyspace `ks` with a table: a file in three chunks, one of one, and an empty one.
    pub fn small() -> Forge {
        Forge::new(vec![
            Piece::directory("ks/"),
            Piece::directory("ks/t-0f/"),
            Piece::file_of("ks/t-0f/a", &[&[b'x'; 700], b"0123456789".repeat(60).as_slice(), b"end"]),
            Piece::file("ks/t-0f/b", b"12345"),
            Piece::file("ks/t-0f/empty", b""),
        ])
    }

    /// An archive taken apart.
    pub fn of(archive: &Path) -> Forge {
        let bytes = std::fs::read(archive).unwrap();
        let archive = Archive::open(archive).unwrap();
        let mut json = Vec::new();
        archive.toc().write_json(&mut json).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let mut lines = json["entries"].as_array().unwrap().iter().cloned().peekable();
        let mut pieces = Vec::new();
        for entry in &archive.toc().entries {
            let mut own = vec![lines.next().unwrap()];
            while lines.peek().is_some_and(|line| line["type"] == "chunk") {
                own.extend(lines.next());
            }
            own.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("offset")));
            pieces.push(Piece {
                header: header::of(entry),
                payload: payload(&bytes, entry),
                padding: vec![0; header::padding(entry.file_size().unwrap_or(0))],
                lines: own,
            });
        }
        let manifest = serde_json::from_slice(&pieces.remove(0).payload.concat()).unwrap();
        Forge { manifest, ..Forge::new(pieces) }
    }

    pub fn piece(&mut self, name: &str) -> &mut Piece {
        self.pieces.iter_mut().find(|piece| piece.name() == name).unwrap_or_else(|| panic!("no `{name}`"))
    }

    /// The first file that is not empty: its name.
    pub fn a_file(&self) -> String {
        self.pieces.iter().find(|piece| !piece.payload.is_empty()).unwrap().name().to_owned()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_and_borders().0
    }

    /// The archive, and where each of its gzip members begins, the footer last.
    pub fn bytes_and_borders(&self) -> (Vec<u8>, Vec<usize>) {
        let mut own = Piece::file(manifest::NAME, &self.manifest_bytes());
        let size = own.payload.iter().map(|chunk| chunk.len() as u64).sum();
        own.header = tar_header(&self.own_tar(manifest::NAME, size));
        own.lines[0].as_object_mut().unwrap().retain(|key, _| key != "uid" && key != "gid");
        own.lines[0]["mode"] = json!(0o600);
        own.lines[0]["modtime"] = self.manifest.get("created").cloned().unwrap_or(json!(MODTIME));
        (self.of_manifest)(&mut own);

        let mut file = Vec::new();
        let mut out = Writer::new(&mut file, self.compression);
        let mut borders = vec![out.next_member().unwrap() as usize];
        let mut lines = Vec::new();
        for piece in std::iter::once(&own).chain(&self.pieces) {
            out.write(&piece.header).unwrap();
            let mut offsets = Vec::new();
            for chunk in &piece.payload {
                offsets.push(out.next_member().unwrap());
                out.write(chunk).unwrap();
            }
            out.write(&piece.padding).unwrap();
            borders.extend(offsets.iter().map(|offset| *offset as usize));
            for (index, line) in piece.lines.iter().enumerate() {
                let mut line = line.clone();
                if let (None, Some(offset)) = (line.get("offset"), offsets.get(index)) {
                    line["offset"] = json!(offset);
                }
                lines.push(line);
            }
        }
        let json = (self.table)(json!({"version": 1, "entries": lines}).to_string().into_bytes());
        let at = out.next_member().unwrap();
        let mut head = tar_header(&self.own_tar(NAME, json.len() as u64));
        (self.table_header)(&mut head);
        let mut end = vec![0; header::padding(json.len() as u64) + 2 * BLOCK];
        (self.table_end)(&mut end);
        [&head, &json, &end].into_iter().for_each(|part| out.write(part).unwrap());
        out.finish(&footer(at)).unwrap();
        borders.extend([at as usize, file.len() - FOOTER_SIZE]);
        (file, borders)
    }

    /// The manifest and the table are of the time that the manifest tells.
    fn own_tar(&self, name: &str, size: u64) -> Tar {
        let created = self.manifest["created"].as_str().and_then(|time| humantime::parse_rfc3339(time).ok());
        let seconds = created.map_or(SECONDS, |time| time.duration_since(UNIX_EPOCH).unwrap().as_secs());
        Tar { mode: 0o600, uid: 0, gid: 0, seconds, ..Tar::of(name.as_bytes(), b'0', size) }
    }

    /// With its counts made right.
    pub fn true_manifest(&self) -> Value {
        serde_json::from_slice(&self.manifest_bytes()).unwrap()
    }

    pub fn manifest_bytes(&self) -> Vec<u8> {
        if let Some(bytes) = &self.manifest_bytes {
            return bytes.clone();
        }
        let mut manifest = self.manifest.clone();
        let files: Vec<(&str, u64)> =
            self.pieces.iter().flat_map(|piece| &piece.lines).filter_map(file_line).collect();
        // Below one data directory or another, where there are more.
        let above = manifest["node"]["data_directories"].as_array().is_some_and(|all| all.len() > 1);
        let inside = |name: &str, below: &str| match name.split_once('/') {
            Some((_, rest)) if above && !below.is_empty() => rest.starts_with(below),
            _ => name.starts_with(below),
        };
        let count = |below: &str| {
            let files = files.iter().filter(|(name, _)| inside(name, below));
            let sizes: Vec<u64> = files.map(|(_, size)| *size).collect();
            (sizes.len(), sizes.into_iter().fold(0, u64::saturating_add))
        };
        let whole = count("");
        (manifest["files"], manifest["bytes"]) = (json!(whole.0), json!(whole.1));
        for table in manifest["tables"].as_array_mut().into_iter().flatten() {
            let text = |key: &str| table[key].as_str().unwrap_or_default().to_owned();
            let (files, bytes) = count(&format!("{}/{}-{}/", text("keyspace"), text("table"), text("id")));
            (table["files"], table["bytes"]) = (json!(files), json!(bytes));
        }
        let mut bytes = serde_json::to_vec_pretty(&manifest).unwrap();
        bytes.push(b'\n');
        bytes
    }
}

/// A file's name and size, as far as its line tells them.
fn file_line(line: &Value) -> Option<(&str, u64)> {
    let is_file = line["type"] == "reg";
    is_file.then(|| (line["name"].as_str().unwrap_or_default(), line["size"].as_u64().unwrap_or(0)))
}

fn payload(archive: &[u8], entry: &Entry) -> Vec<Vec<u8>> {
    let Content::File { chunks, .. } = &entry.content else { return Vec::new() };
    let inflate = |chunk: &Chunk| {
        let mut content = vec![0; chunk.size as usize];
        DeflateDecoder::new(&archive[chunk.offset as usize + 10..]).read_exact(&mut content).unwrap();
        content
    };
    chunks.iter().map(inflate).collect()
}
