//! Threads make an archive faster, and no other.

#[path = "support/archives.rs"]
mod archives;

use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::writer::Packing;

/// Whoever compares two backups of the same data compares bytes.
#[test]
fn the_same_files_make_the_same_archive_in_any_number_of_threads() {
    let (source, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (at, size) in [0, 5, 70_000, 1 << 20, 3_333_333, 700_000, 12].into_iter().enumerate() {
        let content: Vec<u8> = (0..size).map(|byte: usize| ((byte * byte / 97) >> (at % 5)) as u8).collect();
        std::fs::write(source.path().join(format!("file-{at}")), content).unwrap();
    }
    let made = [1, 2, 3, 8].map(|threads| {
        let archive = work.path().join("t.tgz");
        let packing = Packing { compression: Compression::Fast, threads };
        archives::pack_as(&[source.path()], &archive, packing).unwrap();
        for readers in [1, 4] {
            archives::verify_by(readers, &archive).unwrap();
        }
        std::fs::read(&archive).unwrap()
    });
    assert!(made.iter().all(|other| *other == made[0]));
}
