//! What fuzzing has found worth keeping, read again.

mod others;

use std::path::Path;

#[test]
fn the_corpus_holds_what_it_must() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/codec");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 50, "{} files", files.len());
    for file in files {
        others::holds::codec(&std::fs::read(file).unwrap());
    }
}
