//! An archive is read by everyone's tools, not by ours alone.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cassandra_backup::ansible::request::Compression;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

#[path = "support/archives.rs"]
mod archives;

/// A data directory with what readers stumble over.
struct Node {
    data: TempDir,
    work: TempDir,
}

/// busybox knows ustar's long names (all that Cassandra needs) but no pax records.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    Ustar,
    Pax,
}

impl Node {
    fn new(names: Names) -> Node {
        let node = Node { data: TempDir::new().unwrap(), work: TempDir::new().unwrap() };
        let long = "k".repeat(48);
        let table = format!("{long}/{long}-{}", "0".repeat(32));
        node.file(&format!("{table}/nb-1-big-Data.db"), &noise(2 * (1 << 20) + 4321), 0o644, 1);
        node.file(&format!("{table}/nb-1-big-Index.db"), &noise(1 << 20), 0o640, 987_654_321);
        node.file(&format!("{table}/.{long}_idx/nb-1-big-CompressionInfo.db"), b"12345", 0o600, 0);
        node.file(&format!("{table}/nb-1-big-Filter.db"), b"", 0o444, 5);
        fs::create_dir_all(node.data.path().join("ks1/empty-0f")).unwrap();
        if names == Names::Pax {
            node.file(&format!("ks1/{}", "x".repeat(255)), b"a long name", 0o600, 0);
            node.file(&format!("ks1/{}", "é".repeat(120)), b"a long name in UTF-8", 0o600, 7);
            node.file("ks1/é", b"a short one", 0o600, 7);
        }
        for directory in ["ks1/empty-0f", "ks1", &table, &long] {
            let directory = node.data.path().join(directory);
            fs::set_permissions(&directory, PermissionsExt::from_mode(0o750)).unwrap();
            File::open(&directory).unwrap().set_modified(time(123)).unwrap();
        }
        archives::pack(&[node.data.path()], &node.archive(), Compression::Fast).unwrap();
        node
    }

    fn file(&self, path: &str, content: &[u8], mode: u32, nanos: u32) {
        let path = self.data.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        File::open(&path).unwrap().set_modified(time(nanos)).unwrap();
    }

    fn archive(&self) -> PathBuf {
        self.work.path().join("nightly.tgz")
    }

    /// Runs a reader in an empty directory and compares what it unpacked there.
    fn is_unpacked_by(&self, package: &str, command: &[&str]) {
        let target = TempDir::new().unwrap();
        let output = run(package, command, &self.archive(), target.path());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command:?}");
        for own in ["cassandra_backup.json", "stargz.index.json"] {
            fs::remove_file(target.path().join(own)).unwrap();
        }
        let keeps_directory_times = command[0] != "busybox";
        let expected = to_the_second(self.data.path(), keeps_directory_times);
        assert_eq!(to_the_second(target.path(), keeps_directory_times), expected, "{command:?}");
    }
}

fn time(nanos: u32) -> SystemTime {
    UNIX_EPOCH + Duration::new(1_700_000_000, nanos)
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let blocks = (0..size.div_ceil(32)).flat_map(|index| Sha256::digest(index.to_le_bytes()));
    blocks.take(size).collect()
}

/// Names, modes, times in whole seconds and content. busybox sets a directory's time before it unpacks into
/// it, whatever the archive.
fn to_the_second(root: &Path, with_directory_times: bool) -> Vec<(PathBuf, u32, u64, Option<String>)> {
    let tree = archives::tree(root).into_iter();
    tree.map(|(path, attributes, content)| {
        let seconds = attributes.mtime.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let seconds = if content.is_some() || with_directory_times { seconds } else { 0 };
        (path, attributes.mode, seconds, content.map(|content| hex(&content)))
    })
    .collect()
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs `command` with the archive's path for each `{}`.
fn run(package: &str, command: &[&str], archive: &Path, directory: &Path) -> Output {
    let archive = archive.to_str().unwrap();
    let args = command[1..].iter().map(|arg| arg.replace("{}", archive));
    // Without a UTF-8 locale bsdtar cannot write such names.
    let output = Command::new(command[0]).args(args).current_dir(directory).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| {
        panic!("`{}` cannot be run ({error}): install the Debian package `{package}`", command[0])
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn gnu_tar_unpacks_it() {
    Node::new(Names::Pax).is_unpacked_by("tar", &["tar", "-xpzf", "{}"]);
}

#[test]
fn busybox_tar_unpacks_it() {
    Node::new(Names::Ustar).is_unpacked_by("busybox", &["busybox", "tar", "-xpzf", "{}"]);
}

#[test]
fn bsdtar_unpacks_it() {
    Node::new(Names::Pax).is_unpacked_by("libarchive-tools", &["bsdtar", "-xpzf", "{}"]);
}

#[test]
fn pythons_tarfile_unpacks_it() {
    let script = "import sys, tarfile; tarfile.open(sys.argv[1], 'r:gz').extractall('.', **({'filter': \
                  'fully_trusted'} if hasattr(tarfile, 'fully_trusted_filter') else dict()))";
    Node::new(Names::Pax).is_unpacked_by("python3", &["python3", "-c", script, "{}"]);
}

#[test]
fn tar_lists_the_manifest_first_and_the_table_of_contents_last() {
    let node = Node::new(Names::Pax);
    for (package, command) in [
        ("tar", &["tar", "tzf", "{}"][..]),
        ("busybox", &["busybox", "tar", "tzf", "{}"]),
        ("libarchive-tools", &["bsdtar", "tzf", "{}"]),
    ] {
        let output = run(package, command, &node.archive(), node.work.path());
        let listed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(listed.lines().next(), Some("cassandra_backup.json"), "{command:?}");
        assert_eq!(listed.lines().last(), Some("stargz.index.json"), "{command:?}");
    }
}

#[test]
fn the_estargz_reader_of_containerd_verifies_every_byte() {
    let node = Node::new(Names::Pax);
    let archive = cassandra_backup::archive::reader::Archive::open(&node.archive()).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/estargz");
    let binary = node.work.path().join("estargz");
    run("golang", &["go", "build", "-o", binary.to_str().unwrap(), "."], &node.archive(), &program);

    let command = [binary.to_str().unwrap(), "{}", &archive.toc_digest()];
    let output = run("golang", &command, &node.archive(), node.work.path());

    let mut read: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    read.retain(|line| !line.starts_with("cassandra_backup.json "));
    read.sort();
    let files = archives::tree(node.data.path()).into_iter();
    let mut expected: Vec<String> = files
        .filter_map(|(path, _, content)| {
            let content = content?;
            Some(format!("{} {} {}", path.display(), content.len(), hex(&content)))
        })
        .collect();
    expected.sort();
    assert_eq!(read, expected);
}
