//! What holds for whatever bytes a reader is given; shared by the fuzz targets and the replay of their corpus. Each
//! says whether the bytes were accepted.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::manifest::Manifest;
use cassandra_backup::archive::reader::Archive;
use cassandra_backup::archive::toc::{self, Content, Entry, Toc};
use cassandra_backup::archive::unpack::Unpack;
use cassandra_backup::archive::writer::{self, Packing};
use cassandra_backup::archive::{gzip, header, members};
use cassandra_backup::dir::{Dir, RelativePath};
use cassandra_backup::error::{Error, tell};
use gzip_writer::Writer;
use sha2::{Digest, Sha256};

#[path = "../support/gzip_writer.rs"]
#[allow(clippy::duplicate_mod)]
// The fuzz targets have it from here, the replay of their corpus from `forge.rs` too.
mod gzip_writer;

/// The name of a target, and what it does.
pub type Target = (&'static str, fn(&[u8]) -> bool);

pub const TARGETS: [Target; 7] = [
    ("footer", footer),
    ("table", table),
    ("manifest", manifest_json),
    ("header", tar_header),
    ("member", gzip_member),
    ("archive", archive),
    ("forged", forged),
];

/// What is a footer is the footer of its offset, byte for byte.
pub fn footer(data: &[u8]) -> bool {
    let Ok(offset) = toc::parse_footer(data) else { return false };
    assert_eq!(toc::footer(offset), data);
    true
}

/// What is a table of contents is read again as it is written, covers every file, and leads nowhere else.
pub fn table(data: &[u8]) -> bool {
    let Ok(table) = Toc::parse(data, u64::MAX) else { return false };
    let mut json = Vec::new();
    table.write_json(&mut json).unwrap();
    assert_eq!(Toc::parse(&json, u64::MAX).unwrap(), table);
    let mut last_offset = 0;
    for (index, entry) in table.entries.iter().enumerate() {
        let name = entry.name.as_str();
        let is_safe =
            |part: &str| !["", ".", ".."].contains(&part) && part.len() <= 255 && !part.contains('\0');
        assert!(name.split('/').all(is_safe), "{name:?}");
        if index < 500 {
            assert!(!table.entries[..index].iter().any(|before| before.name == entry.name), "{name:?} twice");
        }
        if let Content::File { size, chunks } = &entry.content {
            let mut covered = 0;
            for chunk in chunks {
                assert!(chunk.start == covered && chunk.size > 0 && chunk.offset > last_offset, "{chunk:?}");
                (covered, last_offset) = (covered + chunk.size, chunk.offset);
            }
            assert_eq!(covered, *size);
        }
        is_understood(entry);
    }
    true
}

/// What is a manifest is read again as it is written.
pub fn manifest_json(data: &[u8]) -> bool {
    let Ok(manifest) = Manifest::parse(data) else { return false };
    assert_eq!(Manifest::parse(&manifest.to_json().unwrap()).unwrap(), manifest);
    manifest.check_files(std::iter::empty()).ok();
    true
}

/// A header that is made of any attributes says them to another reader too.
pub fn tar_header(data: &[u8]) -> bool {
    if let Some(block) = data.first_chunk() {
        header::size_of(block);
    }
    let Some((numbers, name)) = data.split_at_checked(30) else { return false };
    let number = |at: usize, bytes: usize| {
        numbers[at..at + bytes].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let Some(name) = std::str::from_utf8(name).ok().and_then(|name| RelativePath::parse(name).ok()) else {
        return false;
    };
    let is_directory = numbers[29] % 2 == 1;
    is_understood(&Entry {
        name,
        mode: (number(0, 2) & 0o7777) as u32,
        uid: number(2, 4) as u32,
        gid: number(6, 4) as u32,
        // Up to the year 9999.
        mtime: UNIX_EPOCH
            + Duration::new(number(10, 8) % 253_402_300_800, (number(18, 4) % 1_000_000_000) as u32),
        content: if is_directory {
            Content::Directory
        } else {
            // As much as another reader can count with.
            Content::File { size: number(21, 8) >> 2, chunks: Vec::new() }
        },
    });
    true
}

fn is_understood(entry: &Entry) {
    let bytes = header::of(entry);
    assert_eq!(bytes.len() % header::BLOCK, 0);
    // To this reader a record ends with a line, to all others after as many bytes as it says.
    if entry.name.as_str().contains('\n') {
        return;
    }
    let mut archive = tar::Archive::new(bytes.as_slice().chain(std::io::repeat(0)));
    let mut read = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(read.path_bytes(), entry.tar_name().as_bytes());
    assert_eq!(read.size(), entry.file_size().unwrap_or(0));
    assert_eq!(read.header().mode().unwrap(), entry.mode);
    let pax: Vec<(String, String)> = match read.pax_extensions().unwrap() {
        None => Vec::new(),
        Some(records) => {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            records.flatten().map(|record| (text(record.key_bytes()), text(record.value_bytes()))).collect()
        }
    };
    let said = |key: &str, plain: u64| {
        let record = pax.iter().find(|(name, _)| name == key);
        record.map_or(plain.to_string(), |(_, value)| value.clone())
    };
    let head = read.header();
    assert_eq!(said("uid", head.uid().unwrap()), entry.uid.to_string());
    assert_eq!(said("gid", head.gid().unwrap()), entry.gid.to_string());
    let time = entry.mtime.duration_since(UNIX_EPOCH).unwrap();
    let whole = match time.subsec_nanos() {
        0 => time.as_secs().to_string(),
        nanos => format!("{}.{nanos:09}", time.as_secs()),
    };
    assert_eq!(said("mtime", head.mtime().unwrap()), whole);
}

/// A gzip member that is read is one to another reader too, of the same content.
pub fn gzip_member(data: &[u8]) -> bool {
    const MOST: u64 = 1 << 20;
    let mut theirs = Vec::new();
    let is_gzip = flate2::read::GzDecoder::new(data).take(MOST).read_to_end(&mut theirs).is_ok();
    let mut reader = gzip::Reader::new(data, 0);
    let mut ours = Vec::new();
    let read = reader.begin_member().and_then(|()| reader.read_into(&mut ours, theirs.len()));
    let is_whole = read.and_then(|()| reader.end_member()).is_ok();
    if is_whole {
        assert!(is_gzip && ours == theirs, "{} bytes, not {}", ours.len(), theirs.len());
        assert!(reader.position() <= data.len() as u64);
    }
    is_whole
}

/// An archive that verifies is unpacked to what its table says, and packed again from there it is the same.
pub fn archive(data: &[u8]) -> bool {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("t.tgz");
    fs::write(&path, data).unwrap();
    let told = match Archive::open(&path).and_then(|archive| archive.verify(2, &mut |_| {})) {
        Ok(_) => return is_whole(&path, work.path()),
        Err(error) => tell(&error),
    };
    assert!(["archive_damaged", "archive_foreign"].contains(&told.word), "{told:?}");
    let unpacked = unpacked(&path, work.path()).unwrap_err();
    assert_eq!(tell(&unpacked), told, "unpacking and verifying tell the same");
    false
}

fn is_whole(path: &Path, work: &Path) -> bool {
    let archive = Archive::open(path).unwrap();
    // As many roots as a hostile manifest likes are no test of the reader.
    if archive.manifest().node.data_directories.len() > 4 {
        return true;
    }
    let roots = unpacked(path, work).unwrap();
    let mut found = members::below(&roots).unwrap();
    let listed = &archive.toc().entries[1..];
    assert_eq!(found.len(), listed.len());
    let mut expected: Vec<&Entry> = listed.iter().collect();
    found.sort_by(|one, two| one.name.cmp(&two.name));
    expected.sort_by(|one, two| one.name.cmp(&two.name));
    for (found, entry) in found.iter().zip(&expected) {
        assert_eq!(found.name, entry.name);
        if entry.content == Content::Directory && entry.name.as_str().starts_with("data-") {
            continue; // The root itself keeps what it is.
        }
        let allowed = if entry.content == Content::Directory { 0o3777 } else { 0o777 };
        assert_eq!(found.attributes.mode, entry.mode & allowed, "{}", entry.name.as_str());
        assert_eq!(found.attributes.mtime, entry.mtime, "{}", entry.name.as_str());
    }
    let again = work.join("again.tgz");
    // In the same order as in the archive: any in which a directory comes first is a right one.
    let place = |name: &RelativePath| listed.iter().position(|entry| entry.name == *name);
    found.sort_by_key(|member| place(&member.name));
    let out = File::create(&again).unwrap();
    writer::write(
        out,
        archive.manifest(),
        &roots,
        found,
        Packing { compression: Compression::Fast, threads: 2 },
        &mut |_| {},
    )
    .unwrap();
    let again = Archive::open(&again).unwrap();
    assert_eq!(again.manifest(), archive.manifest());
    let files = |archive: &Archive| -> Vec<(String, u64)> {
        archive.toc().data_files().map(|(name, size)| (name.as_str().to_owned(), size)).collect()
    };
    assert_eq!(files(&again), files(&archive));
    true
}

/// With the owner of whoever runs this: the archive's may be anybody.
fn unpacked(path: &Path, work: &Path) -> anyhow::Result<Vec<Dir>> {
    let archive = Archive::open(path)?;
    let count = archive.manifest().node.data_directories.len().max(1);
    let mut roots = Vec::new();
    for index in 0..count.min(4) {
        let root = work.join(format!("root-{index}"));
        fs::create_dir(&root).unwrap();
        roots.push(Dir::open(&root)?);
    }
    if count > 4 {
        return Err(Error::ArchiveMissing { path: path.to_owned() }.into());
    }
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    archive.unpack(&roots, &Unpack { owner: Some(own), skip: &|_| false, threads: 2 }, &mut |_| {})?;
    Ok(roots)
}

/// Between two members of [`forged`]'s input.
pub const BORDER: &[u8] = b"\n--\n";

/// [`archive`], of what its members hold: compressed here, with the right checksums, so that what is fuzzed is the
/// readers behind those. In the last member, which is the table, `@oNN` stands for the offset of a member and
/// `@dNNLLLL` for the SHA-256 of its first bytes, all in hexadecimal digits.
pub fn forged(data: &[u8]) -> bool {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(BORDER.len()).position(|window| window == BORDER) {
        parts.push(&rest[..at]);
        rest = &rest[at + BORDER.len()..];
    }
    let mut bytes = Vec::new();
    let mut out = Writer::new(&mut bytes, Compression::Fast);
    let mut offsets = Vec::new();
    for part in &parts {
        offsets.push(out.next_member().unwrap());
        out.write(part).unwrap();
    }
    let table = filled_in(rest, &parts, &offsets);
    let at = out.next_member().unwrap();
    let Some((head, json)) = table.split_at_checked(header::BLOCK) else { return false };
    let mut head = head.to_vec();
    // Its length is not known before the places are filled in.
    head[124..136].copy_from_slice(format!("{:011o}\0", json.len()).as_bytes());
    head[148..156].copy_from_slice(b"        ");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let end = vec![0; header::padding(json.len() as u64) + header::END.len()];
    [&head, json, &end].into_iter().for_each(|part| out.write(part).unwrap());
    out.finish(&toc::footer(at)).unwrap();
    archive(&bytes)
}

fn filled_in(table: &[u8], parts: &[&[u8]], offsets: &[u64]) -> Vec<u8> {
    let digits = |from: usize, to: usize| {
        let digits = std::str::from_utf8(table.get(from..to)?).ok()?;
        usize::from_str_radix(digits, 16).ok()
    };
    let mut filled = Vec::new();
    let mut at = 0;
    while at < table.len() {
        let member = digits(at + 2, at + 4).filter(|member| *member < parts.len());
        match (table[at..].first_chunk(), member) {
            (Some(b"@o"), Some(member)) => {
                filled.extend(offsets[member].to_string().into_bytes());
                at += 4;
            }
            (Some(b"@d"), Some(member)) if digits(at + 4, at + 8).is_some() => {
                let length = digits(at + 4, at + 8).unwrap().min(parts[member].len());
                filled.extend(toc::digest(&Sha256::digest(&parts[member][..length])).into_bytes());
                at += 8;
            }
            _ => {
                filled.push(table[at]);
                at += 1;
            }
        }
    }
    filled
}
