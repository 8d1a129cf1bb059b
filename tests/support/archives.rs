//! Archives of any tree, for tests and `examples/pack.rs`.
#![allow(dead_code)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::direct::Stream;
use cassandra_backup::archive::manifest::{self, FORMAT, Manifest, NodeIdentity};
use cassandra_backup::archive::members::{self, Member, Source};
use cassandra_backup::archive::reader::{Archive, Verified};
use cassandra_backup::archive::toc;
use cassandra_backup::archive::unpack::Unpack;
use cassandra_backup::archive::writer::{self, Packing, Written};
use cassandra_backup::dir::Dir;

/// A manifest that counts these members, of a node nobody has.
pub fn manifest(members: &[Member], data_directories: usize) -> Manifest {
    let sizes = members.iter().filter_map(|member| match member.source {
        Source::File { size, .. } => Some(size),
        Source::Directory => None,
    });
    Manifest {
        format: FORMAT,
        tag: "nightly".into(),
        created: UNIX_EPOCH + Duration::from_secs(1_795_320_930),
        node: NodeIdentity {
            cluster_name: "Test Cluster".into(),
            host_id: "6f2b1c1e-57d5-4a1c-9d0a-0d6c6a3f1f11".into(),
            data_center: "dc1".into(),
            rack: "r1".into(),
            tokens: vec!["-9223372036854775808".into()],
            partitioner: "org.apache.cassandra.dht.Murmur3Partitioner".into(),
            cassandra_version: "4.1.7".into(),
            schema_version: "54e17321-3f2e-37ca-9b08-d91ba7bdd369".into(),
            data_directories: (0..data_directories)
                .map(|index| format!("/var/lib/cassandra/data{index}"))
                .collect(),
        },
        sstable_formats: vec!["nb-big".into()],
        keyspaces: vec!["ks1".into()],
        whole_node: false,
        tables: Vec::new(),
        files: sizes.clone().count() as u64,
        bytes: sizes.sum(),
    }
}

pub fn open_all(paths: &[&Path]) -> Result<Vec<Dir>> {
    paths.iter().map(|path| Dir::open(path)).collect()
}

/// Where nothing else is said.
const THREADS: usize = 2;

pub fn pack(directories: &[&Path], archive: &Path, compression: Compression) -> Result<Written> {
    pack_as(directories, archive, Packing { compression, threads: THREADS })
}

/// Packs all that is below these directories.
pub fn pack_as(directories: &[&Path], archive: &Path, packing: Packing) -> Result<Written> {
    let roots = open_all(directories)?;
    let members = members::below(&roots)?;
    let out = File::create(archive).with_context(|| format!("cannot make `{}`", archive.display()))?;
    let out = Stream::new(&out, archive.to_owned());
    writer::write(out, &manifest(&members, roots.len()), &roots, members, packing, &mut |_| {})
}

/// Packs an unpacked archive again, its files changed: with the manifest that lies there, and its counts made right.
pub fn repack(directory: &Path, archive: &Path) -> Result<Written> {
    let roots = open_all(&[directory])?;
    let mut manifest = Manifest::parse(&std::fs::read(directory.join(manifest::NAME))?)?;
    let own = [manifest::NAME, toc::NAME];
    let members: Vec<Member> =
        members::below(&roots)?.into_iter().filter(|member| !own.contains(&member.name.as_str())).collect();
    (manifest.files, manifest.bytes) = count(&members, "");
    for table in &mut manifest.tables {
        let below = format!("{}/{}/", table.keyspace, table.directory());
        (table.files, table.bytes) = count(&members, &below);
    }
    let out = File::create(archive).with_context(|| format!("cannot make `{}`", archive.display()))?;
    let packing = Packing { compression: Compression::Fast, threads: THREADS };
    writer::write(out, &manifest, &roots, members, packing, &mut |_| {})
}

/// The files whose names begin so, and their bytes.
fn count(members: &[Member], below: &str) -> (u64, u64) {
    let members = members.iter().filter(|member| member.name.as_str().starts_with(below));
    members.fold((0, 0), |(files, bytes), member| match member.source {
        Source::File { size, .. } => (files + 1, bytes + size),
        Source::Directory => (files, bytes),
    })
}

pub fn unpack(archive: &Path, directories: &[&Path]) -> Result<Verified> {
    unpack_by(THREADS, archive, directories)
}

/// Unpacks with the archive's owners, leaving nothing out.
pub fn unpack_by(threads: usize, archive: &Path, directories: &[&Path]) -> Result<Verified> {
    let options = Unpack { owner: None, skip: &|_| false, threads };
    Archive::open(archive)?.unpack(&open_all(directories)?, &options, &mut |_| {})
}

pub fn verify(archive: &Path) -> Result<Verified> {
    verify_by(THREADS, archive)
}

pub fn verify_by(threads: usize, archive: &Path) -> Result<Verified> {
    Archive::open(archive)?.verify(threads, &mut |_| {})
}

/// What a whole tree is: every name with its attributes and content.
pub fn tree(root: &Path) -> Vec<(PathBuf, members::Attributes, Option<Vec<u8>>)> {
    let dir = Dir::open(root).unwrap();
    let members = members::below(&[dir]).unwrap();
    let content = |member: &Member| match member.source {
        Source::Directory => None,
        Source::File { .. } => Some(std::fs::read(root.join(member.name.as_str())).unwrap()),
    };
    members.iter().map(|member| (member.name.as_str().into(), member.attributes, content(member))).collect()
}
