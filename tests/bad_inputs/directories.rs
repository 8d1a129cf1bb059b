//! Where the node's directories and the archive may not lie: in each other.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::support::{Dirs, FakeNode};
use super::{backed_up, reason};

/// Each of the node's directories with what it is called.
fn named(dirs: &Dirs) -> [(&'static str, &Path); 4] {
    [
        ("data directory", &dirs.data[0]),
        ("commit log directory", &dirs.commitlog),
        ("hints directory", &dirs.hints),
        ("saved caches directory", &dirs.saved_caches),
    ]
}

/// It would be set aside with the directory.
#[test]
fn an_archive_inside_one_of_the_nodes_directories_is_refused_also_through_a_symlink() {
    let node = backed_up(FakeNode::running());
    let dirs = node.dirs();
    for (name, directory) in named(&dirs) {
        let inside = directory.join("nightly.tgz");
        fs::copy(node.archive("nightly"), &inside).unwrap();
        let (file, folder) = (node.host().join("link.tgz"), node.host().join("link"));
        symlink(&inside, &file).unwrap();
        symlink(directory, &folder).unwrap();
        let refusal = |archive: &Path| {
            let (archive, directory) = (archive.display(), directory.display());
            format!(
                "`{archive}` lies inside the node's {name} `{directory}`, which is set aside: move it out of there"
            )
        };
        for source in [&inside, &file, &folder.join("nightly.tgz")] {
            assert_eq!(reason(&node, json!({"tag": null, "src": source, "force": true})), refusal(source));
        }
        assert_eq!(reason(&node, json!({"backup_dir": folder})), refusal(&folder.join("nightly.tgz")));
        assert_eq!(
            reason(&node, json!({"tag": "latest", "backup_dir": directory})),
            refusal(&directory.join("nightly.tgz"))
        );
        for gone in [inside, file, folder] {
            fs::remove_file(gone).unwrap();
        }
    }
}

/// The archive would stay, but its path would lead nowhere.
#[test]
fn a_link_inside_the_nodes_directories_to_an_archive_elsewhere_is_refused() {
    let node = backed_up(FakeNode::running());
    let hints = node.dirs().hints;
    let link = hints.join("nightly.tgz");
    symlink(node.archive("nightly"), &link).unwrap();
    assert_eq!(
        reason(&node, json!({"tag": null, "src": link})),
        format!(
            "`{}` lies inside the node's hints directory `{}`, which is set aside: move it out of there",
            link.display(),
            hints.display()
        )
    );
}

/// As cassandra.yaml has them: data, commit log, hints, saved caches.
fn configured(node: FakeNode, [data, commitlog, hints, caches]: [&Path; 4]) -> FakeNode {
    let yaml = format!(
        "data_file_directories: [{}]\ncommitlog_directory: {}\nhints_directory: {}\nsaved_caches_directory: {}\n\
         native_transport_port: {}\n",
        data.display(),
        commitlog.display(),
        hints.display(),
        caches.display(),
        node.port()
    );
    node.file_inside("/etc/cassandra/cassandra.yaml", &yaml)
}

/// One of the two would be moved with the other, and then once more by itself.
#[test]
fn directories_of_the_node_that_lie_in_each_other_are_refused() {
    let mut node = backed_up(FakeNode::running());
    let dirs = node.dirs();
    let [data, log, hints, caches] = named(&dirs).map(|(_, path)| path);
    let inside = |inner_name: &str, inner: &Path, outer_name: &str, outer: &Path| {
        format!(
            "the {inner_name} `{}` lies inside the {outer_name} `{}`; give each its own in cassandra.yaml",
            inner.display(),
            outer.display()
        )
    };
    let (in_data, in_log) = (data.join("ks1/hints"), log.join("archive"));
    for (places, expected) in [
        ([data, log, &in_data, caches], inside("hints directory", &in_data, "data directory", data)),
        ([data, log, hints, &in_log], inside("saved caches directory", &in_log, "commit log directory", log)),
        (
            [data, log, hints, hints],
            format!(
                "the saved caches directory `{0}` is the hints directory `{0}` as well; give each its own in \
                 cassandra.yaml",
                hints.display()
            ),
        ),
        (
            [data, log, data, caches],
            format!(
                "the hints directory `{0}` is the data directory `{0}` as well; give each its own in cassandra.yaml",
                data.display()
            ),
        ),
    ] {
        node = configured(node, places);
        assert_eq!(reason(&node, json!({"force": true})), expected);
        node.stop();
        assert_eq!(reason(&node, json!({"force": true})), expected);
        node = configured(node, [data, log, hints, caches]);
        node.start();
    }
}

#[test]
fn directories_inside_the_commit_log_are_refused_each_of_them() {
    let node = backed_up(FakeNode::running());
    let dirs = node.dirs();
    let node = configured(node, [&dirs.data[0], &dirs.storage, &dirs.hints, &dirs.saved_caches]);
    let (data, hints) = (dirs.data[0].display(), dirs.hints.display());
    let (caches, storage) = (dirs.saved_caches.display(), dirs.storage.display());
    let own = "give each its own in cassandra.yaml";
    assert_eq!(
        reason(&node, json!({})),
        format!(
            "3 reasons not to begin: the data directory `{data}` lies inside the commit log directory `{storage}`; {own}; the \
             hints directory `{hints}` lies inside the commit log directory `{storage}`; {own}; the saved caches \
             directory `{caches}` lies inside the commit log directory `{storage}`; {own}"
        )
    );
}

#[test]
fn an_archive_inside_the_node_is_told_with_all_other_reasons() {
    let node = backed_up(FakeNode::running()).auto_remove();
    let hints = node.dirs().hints;
    let inside = hints.join("nightly.tgz");
    fs::copy(node.archive("nightly"), &inside).unwrap();
    assert_eq!(
        reason(&node, json!({"tag": null, "src": inside})),
        format!(
            "2 reasons not to begin: `{}` lies inside the node's hints directory `{}`, which is set aside: move it \
             out of there; the container was made with `--rm`: \
             its data would be gone once it stops; back the node up, then make it again without `--rm`",
            inside.display(),
            hints.display()
        )
    );
}
