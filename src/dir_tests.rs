use super::*;
use std::os::unix::fs::symlink;

#[test]
fn a_symlink_is_neither_entered_nor_opened_and_removing_it_leaves_its_target() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let inside = tempfile::tempdir().unwrap();
    symlink(outside.path(), inside.path().join("ks")).unwrap();
    symlink(outside.path().join("secret"), inside.path().join("file")).unwrap();
    let dir = Dir::open(inside.path()).unwrap();

    assert!(dir.dir("ks").is_err());
    assert!(dir.file("file").is_err());
    dir.remove_tree("ks").unwrap();
    dir.remove_tree("file").unwrap();

    assert!(dir.entries().unwrap().is_empty());
    assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "s");
}

#[test]
fn only_single_names_are_names() {
    let here = tempfile::tempdir().unwrap();
    let dir = Dir::open(here.path()).unwrap();
    for name in ["", ".", "..", "a/b", "/etc", "a\0b", &"é".repeat(128)] {
        assert!(dir.dir(name).is_err(), "{name:?}");
        assert!(dir.stat(name).is_err(), "{name:?}");
        assert!(dir.remove_tree(name).is_err(), "{name:?}");
    }
    for path in ["", "/a", "a/", "a//b", "a/../b", "./a"] {
        assert!(RelativePath::parse(path).is_err(), "{path:?}");
    }
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    let here = tempfile::tempdir().unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, here.path().join("f"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let refused = Dir::open(here.path()).unwrap().file("f").unwrap_err().to_string();
    assert_eq!(refused, format!("`{}` is not a regular file", here.path().join("f").display()));
}

/// Opening a watchdog's device starts it. A fifo tells as well as a device whether it was opened.
#[test]
fn what_is_no_regular_file_is_not_even_opened() {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    let here = tempfile::tempdir().unwrap();
    let fifo = here.path().join("f");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, &fifo, WatchFlags::OPEN).unwrap();
    let was_opened = || rustix::io::read(&watch, &mut [0; 4096]).is_ok();

    Dir::open(here.path()).unwrap().file("f").unwrap_err();
    assert!(!was_opened());
    File::options().read(true).write(true).open(&fifo).unwrap();
    assert!(was_opened());
}

#[test]
fn a_directory_that_has_to_be_new_is_not_the_one_that_is_there() {
    let here = tempfile::tempdir().unwrap();
    let dir = Dir::open(here.path()).unwrap();
    dir.make_new_dir("made", 0o700).unwrap();
    let refused = dir.make_new_dir("made", 0o700).unwrap_err().to_string();
    assert_eq!(refused, format!("`{}` exists already", here.path().join("made").display()));
}

#[test]
fn no_tree_is_too_deep_to_be_refused() {
    let here = tempfile::tempdir().unwrap();
    let deepest = here.path().join(["d"; MOST_LEVELS + 1].join("/"));
    std::fs::create_dir_all(&deepest).unwrap();
    let dir = Dir::open(here.path()).unwrap();
    let refused = dir.remove_tree("d").unwrap_err().to_string();
    assert_eq!(refused, format!("`{}` lies too deep to be removed", deepest.display()));
    std::fs::remove_dir(&deepest).unwrap();
    dir.remove_tree("d").unwrap();
    assert!(dir.entries().unwrap().is_empty());
}

/// `u::rwx,u:7:rwx,g::r-x,m::rwx,o::---`, as the kernel has it: version, then tag, permissions and id of each entry.
#[test]
fn what_is_made_in_a_directory_like_another_gets_the_acl_of_what_is_made_in_that() {
    let entries = [(1, 7, u32::MAX), (2, 7, 7), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend([u16::to_le_bytes(tag), u16::to_le_bytes(permissions)].concat());
        acl.extend(u32::to_le_bytes(id));
    }
    let folder = tempfile::tempdir().unwrap();
    let root = Dir::open(folder.path()).unwrap();
    let [live, plain, staged] = ["live", "plain", "staged"].map(|name| root.make_dir(name, 0o755).unwrap());
    let acl_of = |dir: &Dir| {
        let mut found = [0; 256];
        let length = rustix::fs::fgetxattr(&dir.handle, "system.posix_acl_default", &mut found);
        length.ok().map(|length| found[..length].to_vec())
    };

    rustix::fs::setxattr(folder.path().join("live"), "system.posix_acl_default", &acl, XattrFlags::empty())
        .unwrap();
    staged.inherit_like(&live).unwrap();
    assert_eq!(acl_of(&staged.make_dir("ks1", 0o755).unwrap()), Some(acl));
    plain.inherit_like(&root).unwrap();
    assert_eq!(acl_of(&plain), None);
}
