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
    for name in ["", ".", "..", "a/b", "/etc", "a\0b"] {
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
