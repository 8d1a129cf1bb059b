//! What was packed comes out again, whatever it is; what was damaged is told by its name.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::reader::Archive;
use cassandra_backup::archive::toc::Content;
use cassandra_backup::archive::unpack::Unpack;
use cassandra_backup::dir::Dir;
use cassandra_backup::error::tell;
use proptest::prelude::*;
use tempfile::TempDir;

#[path = "support/archives.rs"]
mod archives;

const MIB: usize = 1 << 20;
const ALL: [Compression; 3] = [Compression::None, Compression::Fast, Compression::Best];

#[derive(Debug, Clone)]
struct Node {
    name: String,
    mode: u32,
    mtime: Duration,
    uid: u32,
    content: What,
}

#[derive(Debug, Clone)]
enum What {
    File { size: usize, seed: u64 },
    Directory(Vec<Node>),
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-zA-Z0-9_.-]{1,20}",
        2 => "[a-z]{95,255}",
        2 => "[äßøλ語🜁 '\"\\\\\n]{1,60}",
    ]
    .prop_filter("a name of its own", |name| name != "." && name != ".." && name.len() <= 255)
}

fn node(content: impl Strategy<Value = What>) -> impl Strategy<Value = Node> {
    let times = (0u64..1 << 34, prop_oneof![Just(0u32), 0u32..1_000_000_000]);
    let owners = prop_oneof![Just(0u32), Just(999), Just(3_000_000)];
    (names(), 0u32..0o1000, times, owners, content).prop_map(
        |(name, mode, (seconds, nanos), uid, content)| Node {
            name,
            mode,
            mtime: Duration::new(seconds, nanos),
            uid,
            content,
        },
    )
}

fn files() -> impl Strategy<Value = Node> {
    let sizes = prop_oneof![
        4 => Just(0),
        20 => 1usize..2000,
        4 => prop_oneof![Just(511usize), Just(512), Just(513)],
        1 => prop_oneof![Just(MIB - 1), Just(MIB), Just(MIB + 1), Just(2 * MIB)],
    ];
    node((sizes, any::<u64>()).prop_map(|(size, seed)| What::File { size, seed }))
}

fn trees() -> impl Strategy<Value = Vec<Node>> {
    let nodes = files().prop_recursive(4, 24, 5, |inner| {
        node(prop::collection::vec(inner, 0..5).prop_map(What::Directory)).boxed()
    });
    prop::collection::vec(nodes, 0..6)
}

/// Half of it repeats and half does not, as in sstables.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut byte = move |index: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if (index / 4096).is_multiple_of(2) { b'x' } else { state as u8 }
    };
    (0..size).map(&mut byte).collect()
}

fn make(at: &Path, nodes: &[Node]) {
    for node in nodes {
        let path = at.join(&node.name);
        if path.exists() {
            continue; // the same name twice
        }
        match &node.content {
            What::File { size, seed } => fs::write(&path, content(*size, *seed)).unwrap(),
            What::Directory(below) => {
                fs::create_dir(&path).unwrap();
                make(&path, below);
            }
        }
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(node.uid), Some(node.uid)).unwrap();
        }
        let readable = if rustix::process::geteuid().is_root() { 0 } else { 0o700 };
        fs::set_permissions(&path, PermissionsExt::from_mode(node.mode | readable)).unwrap();
        File::open(&path).unwrap().set_modified(UNIX_EPOCH + node.mtime).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 200, ..Default::default() })]

    #[test]
    fn whatever_is_packed_comes_out_the_same(nodes in trees(), which in 0usize..3) {
        let (source, target, work) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
        make(source.path(), &nodes);
        let (one, two) = (work.path().join("one.tgz"), work.path().join("two.tgz"));

        let written = archives::pack(&[source.path()], &one, ALL[which]).unwrap();
        archives::pack(&[source.path()], &two, ALL[which]).unwrap();
        let verified = archives::verify(&one).unwrap();
        archives::unpack(&one, &[target.path()]).unwrap();

        prop_assert_eq!(archives::tree(target.path()), archives::tree(source.path()));
        prop_assert_eq!(&verified.sha256, &written.sha256);
        prop_assert_eq!(Archive::open(&one).unwrap().toc_digest(), written.toc_digest);
        prop_assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap(), "equal input gave other bytes");
    }
}

#[test]
fn several_data_directories_come_back_each_into_its_own() {
    let roots = [(); 4].map(|()| TempDir::new().unwrap());
    let [one, two, one_again, two_again] = roots.each_ref().map(TempDir::path);
    fs::create_dir(one.join("ks")).unwrap();
    fs::write(one.join("ks/a"), "in the first").unwrap();
    fs::write(two.join("a"), "in the second").unwrap();
    let work = TempDir::new().unwrap();
    let archive = work.path().join("t.tgz");
    archives::pack(&[one, two], &archive, Compression::Fast).unwrap();

    archives::unpack(&archive, &[one_again, two_again]).unwrap();

    assert_eq!(archives::tree(one_again), archives::tree(one));
    assert_eq!(archives::tree(two_again), archives::tree(two));
    let refused = archives::unpack(&archive, &[one_again]).unwrap_err().to_string();
    let expected =
        format!("the archive `{}` holds 2 data directories, to be unpacked into 1", archive.display());
    assert_eq!(refused, expected);
}

#[test]
fn unpacking_leaves_out_what_it_is_told_and_gives_the_rest_to_the_owner_it_is_told() {
    let (source, target, work) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    for (path, content) in [("ks/t/a-Data.db", "data"), ("ks/t/manifest.json", "{}"), ("old/t/b", "b")] {
        fs::create_dir_all(source.path().join(path).parent().unwrap()).unwrap();
        fs::write(source.path().join(path), content).unwrap();
    }
    fs::set_permissions(source.path().join("ks/t/a-Data.db"), PermissionsExt::from_mode(0o4755)).unwrap();
    let archive = work.path().join("t.tgz");
    archives::pack(&[source.path()], &archive, Compression::Fast).unwrap();

    let (uid, gid) = match rustix::process::geteuid().is_root() {
        true => (4711, 12),
        false => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    };
    let skip = |path: &cassandra_backup::dir::RelativePath| {
        path.as_str() == "old" || path.file_name() == "manifest.json"
    };
    let options = Unpack { owner: Some((uid, gid)), skip: &skip, threads: 2 };
    let opened = Archive::open(&archive).unwrap();
    let total = opened.unpacked_size();
    let mut seen = 0;
    opened.unpack(&[Dir::open(target.path()).unwrap()], &options, &mut |bytes| seen += bytes).unwrap();

    let names: Vec<PathBuf> = archives::tree(target.path()).into_iter().map(|(path, ..)| path).collect();
    assert_eq!(names, ["ks", "ks/t", "ks/t/a-Data.db"].map(PathBuf::from));
    let metadata = fs::metadata(target.path().join("ks/t/a-Data.db")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (uid, gid, 0o755));
    assert_eq!((seen, total), (7, 7));
}

#[test]
fn unpacking_never_writes_over_a_file() {
    let node = Packed::new(Compression::Fast);
    let target = TempDir::new().unwrap();
    fs::create_dir(target.path().join("ks")).unwrap();
    let refused = archives::unpack(&node.archive, &[target.path()]).unwrap_err().to_string();
    assert_eq!(refused, format!("`{}` exists already", target.path().join("ks").display()));
}

/// An archive of `ks/a` (2 MiB and 5 bytes), `ks/b` (5 bytes) and `ks/empty`.
struct Packed {
    _work: TempDir,
    archive: PathBuf,
    whole: Vec<u8>,
}

impl Packed {
    fn new(compression: Compression) -> Packed {
        let (source, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let ks = source.path().join("ks");
        fs::create_dir(&ks).unwrap();
        fs::write(ks.join("a"), content(2 * MIB + 5, 7)).unwrap();
        fs::write(ks.join("b"), "12345").unwrap();
        fs::write(ks.join("empty"), "").unwrap();
        for path in [ks.join("a"), ks.join("b"), ks.join("empty"), ks.clone()] {
            File::open(path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        }
        let archive = work.path().join("t.tgz");
        archives::pack(&[source.path()], &archive, compression).unwrap();
        let whole = fs::read(&archive).unwrap();
        Packed { _work: work, archive, whole }
    }

    /// Where the chunks of a file begin in the archive.
    fn offsets(&self, name: &str) -> Vec<usize> {
        fs::write(&self.archive, &self.whole).unwrap();
        let archive = Archive::open(&self.archive).unwrap();
        let entry = archive.toc().entries.iter().find(|entry| entry.name.as_str() == name).unwrap();
        let Content::File { chunks, .. } = &entry.content else { panic!("{entry:?}") };
        chunks.iter().map(|chunk| chunk.offset as usize).collect()
    }

    fn toc_offset(&self) -> usize {
        let footer = &self.whole[self.whole.len() - 51..];
        usize::from_str_radix(std::str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap()
    }

    /// What a full reading says once these bytes are the archive, after "the archive `…` is damaged: ".
    fn damage(&self, bytes: &[u8]) -> String {
        fs::write(&self.archive, bytes).unwrap();
        let told = match archives::verify(&self.archive) {
            Ok(_) => return "whole".to_owned(),
            Err(error) => tell(&error),
        };
        let target = TempDir::new().unwrap();
        let unpacked = archives::unpack(&self.archive, &[target.path()]).unwrap_err();
        assert_eq!(tell(&unpacked), told, "unpacking and verifying tell the same");
        let begin = format!("the archive `{}` is damaged: ", self.archive.display());
        told.message.strip_prefix(&begin).unwrap_or(&told.message).to_owned()
    }

    fn flipped(&self, at: usize) -> String {
        let mut bytes = self.whole.clone();
        bytes[at] ^= 0x10;
        self.damage(&bytes)
    }
}

const CUT: &str = "it was cut short or overwritten: its last 51 bytes are not its footer";

#[test]
fn an_archive_that_was_cut_is_damaged_wherever_it_was_cut() {
    for compression in ALL {
        let node = Packed::new(compression);
        let borders = [node.offsets("ks/a"), node.offsets("ks/b"), vec![node.toc_offset()]].concat();
        let length = node.whole.len();
        for end in borders.into_iter().chain([1, 50, 51, 600, length / 2, length - 51, length - 1]) {
            assert_eq!(
                node.damage(&node.whole[..end]),
                CUT,
                "{compression:?} cut to {end} of {length} bytes"
            );
        }
        assert_eq!(node.damage(b""), "it is empty");
        assert_eq!(node.damage(&[&node.whole[..], b"\0"].concat()), CUT);
        assert_eq!(node.damage(&node.whole), "whole");
    }
}

#[test]
fn one_flipped_bit_is_told_by_the_piece_it_is_in() {
    // Stored, so that the place of every byte is known: 10 bytes of gzip header, 5 of a deflate block.
    let node = Packed::new(Compression::None);
    let (a, b) = (node.offsets("ks/a"), node.offsets("ks/b")[0]);
    let sha256 = "the SHA-256 differs from the table of contents";
    let (header, payload, trailer) = (10, 10 + 5, 8);

    assert_eq!(node.flipped(a[0] + payload), format!("bytes 0-1048575 of `ks/a`: {sha256}"));
    assert_eq!(node.flipped(a[1] + payload + 70_000), format!("bytes 1048576-2097151 of `ks/a`: {sha256}"));
    assert_eq!(node.flipped(a[2] + payload + 4), format!("bytes 2097152-2097156 of `ks/a`: {sha256}"));
    assert_eq!(node.flipped(b + payload), format!("bytes 0-4 of `ks/b`: {sha256}"));
    assert_eq!(node.flipped(b), "bytes 0-4 of `ks/b`: no gzip member begins where one should");
    assert_eq!(node.flipped(b + header + 1), "bytes 0-4 of `ks/b`: the compressed data cannot be decoded");
    assert_eq!(
        node.flipped(a[1] - trailer),
        "the gzip member that ends with bytes 0-1048575 of `ks/a`: the gzip checksum is wrong"
    );
    let differs = "it differs from the table of contents";
    // The last chunk of `ks/a`, its padding, then the next header.
    assert_eq!(node.flipped(a[2] + payload + 5), format!("the padding after `ks/a`: {differs}"));
    for field in [0, 100, 108, 124, 136, 148, 156, 257, 345, 511] {
        assert_eq!(
            node.flipped(a[2] + payload + 512 + field),
            format!("the tar header of `ks/b`: {differs}")
        );
    }
    assert_eq!(
        node.flipped(0),
        "the tar header of `cassandra_backup.json`: no gzip member begins where one should"
    );
    assert_eq!(node.flipped(header + 5), format!("the tar header of `cassandra_backup.json`: {differs}"));
}

#[test]
fn damage_to_the_manifest_the_table_of_contents_and_the_footer_is_told_on_opening() {
    let node = Packed::new(Compression::None);
    let (manifest, toc) = (node.offsets("cassandra_backup.json")[0], node.toc_offset());
    let opened = |at: usize| {
        let told = node.flipped(at);
        let error = Archive::open(&node.archive).unwrap_err().to_string();
        let begin = format!("the archive `{}` is damaged: ", node.archive.display());
        assert_eq!(error.strip_prefix(&begin).unwrap_or(&error), told);
        told
    };
    let size = Archive::open(&node.archive).unwrap().toc().entries[0].file_size().unwrap();
    let told = opened(manifest + 100);
    let expected = format!(
        "bytes 0-{} of `cassandra_backup.json`: the SHA-256 differs from the table of contents",
        size - 1
    );
    assert_eq!(told, expected);
    let place = format!("the table of contents, at byte {toc}");
    assert_eq!(opened(toc), format!("{place}: no gzip member begins where one should"));
    // The table itself is compressed: what a flipped bit does to it is not for a test to know.
    let table = opened(toc + 400);
    assert!(
        table.starts_with("the table of contents") || table.starts_with("its table of contents"),
        "{table}"
    );
    for at in 0..51 {
        let told = opened(node.whole.len() - 51 + at);
        assert!(told == CUT || told.starts_with("the table of contents, at byte "), "{told}");
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    for compression in [Compression::Fast, Compression::Best] {
        let node = Packed::new(compression);
        // The bits that fill the last byte of compressed data mean nothing: only this covers them.
        let sha256 = archives::verify(&node.archive).unwrap().sha256;
        fs::write(node.archive.with_extension("tgz.sha256"), format!("{sha256}  t.tgz\n")).unwrap();
        let near_borders =
            node.offsets("ks/a").into_iter().chain(node.offsets("ks/b")).flat_map(|at| at - 20..at + 30);
        let end = node.whole.len() - 300..node.whole.len();
        for at in near_borders.chain(end).step_by(7) {
            assert_ne!(node.flipped(at), "whole", "a flipped bit in byte {at}");
        }
    }
}

#[test]
fn the_checksum_beside_an_archive_is_compared() {
    let node = Packed::new(Compression::Fast);
    let beside = node.archive.with_extension("tgz.sha256");
    let sha256 = archives::verify(&node.archive).unwrap().sha256;

    fs::write(&beside, format!("{sha256}  t.tgz\n")).unwrap();
    assert_eq!(node.damage(&node.whole), "whole");

    let other = "0".repeat(64);
    fs::write(&beside, format!("{other}  t.tgz\n")).unwrap();
    assert_eq!(
        node.damage(&node.whole),
        format!("its SHA-256 is {sha256}, but `{}` says {other}", beside.display())
    );
    fs::write(&beside, "").unwrap();
    assert_eq!(node.damage(&node.whole), format!("`{}` beside it holds no SHA-256", beside.display()));
}

#[test]
fn what_is_not_an_archive_of_this_module_is_told_apart_from_a_damaged_one() {
    let work = TempDir::new().unwrap();
    let told = |name: &str| {
        let error = Archive::open(&work.path().join(name)).unwrap_err();
        let told = tell(&error);
        (told.word, told.message.replace(work.path().to_str().unwrap(), "/b"))
    };
    fs::write(work.path().join("text.tgz"), "x".repeat(100)).unwrap();
    fs::create_dir(work.path().join("dir.tgz")).unwrap();

    assert_eq!(told("none.tgz"), ("archive_missing", "there is no archive `/b/none.tgz`".into()));
    let foreign = |name: &str, why: &str| {
        ("archive_foreign", format!("`/b/{name}.tgz` is not an archive of this module: {why}"))
    };
    assert_eq!(told("text.tgz"), foreign("text", "it has no table of contents"));
    for (name, content) in [("gzip", &b"of someone else"[..]), ("empty-gzip", b"")] {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        writer.write_all(content).unwrap();
        let file = [writer.finish().unwrap(), vec![0; 51]].concat();
        fs::write(work.path().join(format!("{name}.tgz")), file).unwrap();
        assert_eq!(told(&format!("{name}.tgz")), foreign(name, "it has no table of contents"));
    }
    assert_eq!(told("dir.tgz"), foreign("dir", "it is a directory"));
}
