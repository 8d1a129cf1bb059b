//! Tars that nobody's tar would write: small, and they would take much memory or say one name twice.

use std::fs;
use std::io::Write;

use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::refused::{refused, told};
use super::support::FakeNode;
use super::{RESTORE, node};

/// Less than any of these bombs would take.
const LITTLE: u64 = 64 << 20;

const LOCAL: &str = "system/local-7ad54392bcdd35a684174e047860b377";

fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// What is said of it in little memory.
fn refused_in_little(node: &FakeNode, tar: &mut dyn FnMut(&mut dyn Write)) -> String {
    let path = node.host().join("bomb.tgz");
    let mut gzip =
        flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
    tar(&mut gzip);
    gzip.finish().unwrap();
    let result = node.start_module_within(RESTORE, json!({"src": path}), LITTLE).finish();
    assert_eq!(result["failed"], true, "{result:#}");
    told(&result, &path)
}

fn zeros(to: &mut dyn Write, mebibytes: usize) {
    let zeros = vec![0; 1 << 20];
    (0..mebibytes).for_each(|_| to.write_all(&zeros).unwrap());
}

#[test]
fn headers_that_claim_gigabytes_are_not_given_them() {
    let node = node();
    for (kind, what) in [
        (EntryType::GNULongName, "a long name"),
        (EntryType::GNULongLink, "a long link"),
        (EntryType::XHeader, "words of pax"),
        (EntryType::Directory, "a directory with content"),
    ] {
        let told = refused_in_little(&node, &mut |to| {
            to.write_all(header(EntryType::Directory, "system", 0).as_bytes()).unwrap();
            to.write_all(header(kind, "x", 512 << 20).as_bytes()).unwrap();
            zeros(to, 512);
            to.write_all(&[0; 1024]).unwrap();
        });
        assert!(told.starts_with("damaged: in or behind `"), "{what}: {told}");
        assert!(told.ends_with("its headers are larger than any"), "{what}: {told}");
    }
}

#[test]
fn lists_of_components_that_are_larger_than_any_are_not_kept() {
    let node = node();
    let told = refused_in_little(&node, &mut |to| {
        to.write_all(header(EntryType::Regular, &format!("{LOCAL}/nb-1-big-TOC.txt"), 64 << 20).as_bytes())
            .unwrap();
        zeros(to, 64);
        to.write_all(&[0; 1024]).unwrap();
    });
    assert_eq!(told, "damaged: its lists of files are larger than those of any node");
}

#[test]
fn a_name_that_comes_twice_and_a_link_to_what_is_not_there_are_refused() {
    let node = node();
    let path = node.host().join("odd.tar");
    let name = format!("{LOCAL}/nb-1-big-Filter.db");
    let mut tar = Builder::new(Vec::new());
    for content in ["x", "y"] {
        tar.append(&header(EntryType::Regular, &name, 1), content.as_bytes()).unwrap();
    }
    fs::write(&path, tar.into_inner().unwrap()).unwrap();
    assert_eq!(refused(&node, &path), format!("foreign: `{name}` is in it twice"));

    let mut tar = Builder::new(Vec::new());
    let mut link = header(EntryType::Link, &name, 0);
    tar.append_link(&mut link, &name, "../../etc/passwd").unwrap();
    fs::write(&path, tar.into_inner().unwrap()).unwrap();
    assert_eq!(refused(&node, &path), "foreign: `../../etc/passwd` in it leads out of it");

    let mut tar = Builder::new(Vec::new());
    let mut link = header(EntryType::Link, &name, 0);
    tar.append_link(&mut link, &name, "elsewhere").unwrap();
    fs::write(&path, tar.into_inner().unwrap()).unwrap();
    let told = format!("foreign: `{name}` in it is a hard link to `elsewhere`, which is not before it");
    assert_eq!(refused(&node, &path), told);
}
