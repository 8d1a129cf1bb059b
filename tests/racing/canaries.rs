//! What lies outside of the node's mount and is none of its business: looked at after every run.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::mount::CASSANDRA;
use crate::support::{Tree, tree_with_times};

/// In every file that only a symlink leads to.
const SECRET: &[u8] = b"c4nary";

pub struct Canaries {
    root: PathBuf,
    before: Tree,
}

impl Canaries {
    /// Made to be taken for a data directory, a keyspace, a table, a snapshot, a work directory or one of its levels:
    /// in each of these places lies a whole table, like the node's own to the size and time of every file.
    pub fn below(root: &Path, table: &Path) -> Canaries {
        let name = table.file_name().unwrap();
        let tree = root.join("tree");
        let tables = [
            tree.clone(),
            tree.join("nightly"),
            tree.join("snapshots/nightly"),
            tree.join(name).join("snapshots/nightly"),
            tree.join("ks1").join(name).join("snapshots/nightly"),
            tree.join("staged/ks1").join(name),
            tree.join("previous/ks1").join(name),
        ];
        tables.iter().for_each(|canary| imitate(table, canary));
        let files =
            ["run", "system/local-1/f", "previous/system/local-1/f", "undone/f", "replaced/f", "probe-1"];
        for path in files.iter().map(|file| tree.join(file)).chain([root.join("file"), root.join("others")]) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, SECRET.repeat(20)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        fs::set_permissions(root.join("others"), Permissions::from_mode(0o644)).unwrap();
        chown(root.join("others"), Some(1000), Some(1000)).unwrap();
        chown(root.join("tree/undone"), Some(1000), Some(1000)).unwrap();
        // His own file, which he can read anyway: not to be written, given away or removed.
        fs::write(root.join("linked"), "his own\n".repeat(20)).unwrap();
        fs::set_permissions(root.join("linked"), Permissions::from_mode(0o600)).unwrap();
        chown(root.join("linked"), Some(CASSANDRA), Some(CASSANDRA)).unwrap();
        Canaries { root: root.to_owned(), before: tree_with_times(root) }
    }

    pub fn directory(&self) -> PathBuf {
        self.root.join("tree")
    }

    pub fn file(&self) -> PathBuf {
        self.root.join("file")
    }

    pub fn linked(&self) -> PathBuf {
        self.root.join("linked")
    }

    /// Each is there as it was, to its mode, its owner and its time.
    pub fn are_untouched(&self) {
        assert_eq!(tree_with_times(&self.root), self.before, "what lies outside was touched");
    }

    /// No copy of a secret has come to where the node or the login user could read it.
    pub fn are_secret(&self, mount: &Path, backup_dir: &Path, result: &Value) {
        assert!(!holds_secret(result.to_string().as_bytes()), "the result has what lies outside: {result:#}");
        for path in files(mount) {
            let is_read = holds_secret(File::open(&path).unwrap());
            assert!(!is_read, "`{}` has what lies outside", path.display());
        }
        for path in files(backup_dir) {
            // Of an archive under construction as much as can be unpacked.
            let is_packed = holds_secret(MultiGzDecoder::new(File::open(&path).unwrap()));
            assert!(!is_packed, "the archive `{}` has what lies outside", path.display());
        }
    }
}

/// The same files with other content: only what has to make sense for the table to be packed does.
fn imitate(table: &Path, canary: &Path) {
    fs::create_dir_all(canary).unwrap();
    let mut listed = Vec::new();
    for file in files(table).into_iter().filter(|file| file.parent() == Some(table)) {
        let (content, name) = (fs::read(&file).unwrap(), file.file_name().unwrap().to_str().unwrap());
        let secret: Vec<u8> = SECRET.iter().copied().cycle().take(content.len()).collect();
        let copy = canary.join(name);
        fs::write(&copy, if name.ends_with("TOC.txt") { content } else { secret }).unwrap();
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        File::options().write(true).open(&copy).unwrap().set_modified(time).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
        if name.ends_with("-Data.db") {
            listed.push(format!("\"{name}\""));
        }
    }
    fs::write(canary.join("manifest.json"), format!("{{\"files\": [{}]}}", listed.join(", "))).unwrap();
}

fn files(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}

fn holds_secret(mut source: impl Read) -> bool {
    let (mut content, mut piece) = (Vec::new(), [0; 64 * 1024]);
    // What is no gzip, or ends in its middle, has no more to tell.
    while let Ok(count @ 1..) = source.read(&mut piece) {
        content.extend_from_slice(&piece[..count]);
    }
    content.windows(SECRET.len()).any(|window| window == SECRET)
}
