use super::*;
use crate::archive::members;
use crate::error::tell;
use std::fs::File;
use std::path::Path;

const PACKING: Packing = Packing { compression: Compression::Fast, threads: 2 };

const MANIFEST: &str = r#"{"format": 1, "tag": "t", "created": "2026-11-22T04:15:30Z", "node": {"cluster_name": "",
    "host_id": "", "data_center": "", "rack": "", "tokens": [], "partitioner": "", "cassandra_version": "",
    "schema_version": "", "data_directories": []}, "sstable_formats": [], "keyspaces": [], "whole_node": true,
    "tables": [], "files": 1, "bytes": 5}"#;

/// Packs a directory with the file `a` of 5 bytes, which something happens to once it was listed.
fn packed_after(happens: impl FnOnce(&Path, &mut Vec<Member>)) -> Result<Written> {
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("a");
    std::fs::write(&file, "12345").unwrap();
    let roots = [Dir::open(here.path()).unwrap()];
    let mut members = members::below(&roots).unwrap();
    happens(&file, &mut members);
    let manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    let written = write(Vec::new(), &manifest, &roots, members, PACKING, &mut |_| {});
    written.map_err(|error| {
        let told = tell(&error);
        anyhow::anyhow!("{}: {}", told.word, told.message.replace(here.path().to_str().unwrap(), "/data"))
    })
}

#[test]
fn a_file_that_changes_after_it_was_listed_is_an_error_that_names_it() {
    packed_after(|_, _| {}).unwrap();

    let grown = packed_after(|file, _| std::fs::write(file, "123456").unwrap()).unwrap_err();
    assert_eq!(
        grown.to_string(),
        "data_changed: the data changed while it was packed: `/data/a` had 5 bytes, and has 6 now (changed between listing and packing)"
    );
    let touched = packed_after(|file, _| {
        File::options().write(true).open(file).unwrap().set_modified(UNIX_EPOCH).unwrap();
    });
    assert_eq!(
        touched.unwrap_err().to_string(),
        "data_changed: the data changed while it was packed: `/data/a` was written to between listing and packing"
    );
    let gone = packed_after(|file, _| std::fs::remove_file(file).unwrap()).unwrap_err();
    assert_eq!(gone.to_string(), "data_changed: the data changed while it was packed: `/data/a` is gone");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("a");
    std::fs::write(&path, vec![1; CHUNK + 5]).unwrap();
    let roots = [Dir::open(here.path()).unwrap()];
    let listed = members::below(&roots).unwrap();
    let mut manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    manifest.bytes = CHUNK as u64 + 5;

    let packed = |happens: &dyn Fn(&File)| {
        let mut once = Some(File::options().write(true).open(&path).unwrap());
        let mut progress = |_| {
            if let Some(file) = once.take() {
                happens(&file);
            }
        };
        write(Vec::new(), &manifest, &roots, listed.clone(), PACKING, &mut progress).unwrap_err().to_string()
    };

    assert_eq!(
        packed(&|file| file.set_modified(UNIX_EPOCH).unwrap()),
        format!(
            "the data changed while it was packed: `{}` was written to while it was read",
            path.display()
        )
    );
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(listed[0].attributes.mtime)
        .unwrap();
    assert_eq!(
        packed(&|file| file.set_len(CHUNK as u64 + 1).unwrap()),
        format!(
            "the data changed while it was packed: `{}` became shorter while it was read",
            path.display()
        )
    );
}

#[test]
fn members_that_no_reader_would_accept_are_refused_before_anything_is_written() {
    let doubled = packed_after(|_, members| members.push(members[0].clone())).unwrap_err();
    assert_eq!(doubled.to_string(), "failed: `a` is listed twice");
    let reserved = packed_after(|_, members| members[0].name = RelativePath::parse(manifest::NAME).unwrap());
    assert_eq!(reserved.unwrap_err().to_string(), "failed: `cassandra_backup.json` is listed twice");
    let orphan = packed_after(|_, members| members[0].name = RelativePath::parse("ks/a").unwrap());
    assert_eq!(orphan.unwrap_err().to_string(), "failed: `ks/a` is listed before its directory");
    let uncounted = packed_after(|_, members| members.clear()).unwrap_err();
    assert_eq!(
        uncounted.to_string(),
        "failed: its manifest counts 1 files of 5 bytes, but 0 files of 0 bytes are there"
    );
}

#[test]
fn a_table_of_contents_has_about_a_million_entries_at_most() {
    for tebibytes in [1u64, 2, 3, 8, 30] {
        let bytes = tebibytes << 40;
        assert!(bytes / chunk_size(bytes) <= 1 << 20, "{tebibytes} TiB");
    }
    assert_eq!(chunk_size(0), CHUNK as u64);
    assert_eq!(chunk_size(1 << 40), CHUNK as u64);
    assert_eq!(chunk_size((1 << 40) + (1 << 21)), 2 << 20);
}
