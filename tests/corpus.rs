//! What fuzzing has found worth keeping, read again: no panic, and all that is accepted holds what it must.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "support/forge.rs"]
mod forge;
#[path = "corpus/invariants.rs"]
mod invariants;
#[path = "corpus/seeds.rs"]
mod seeds;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Every file of a target's corpus, by its name.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(corpus(target)).unwrap().map(|file| file.unwrap());
    let mut files: Vec<_> =
        files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn the_corpus_is_read_and_all_that_is_accepted_holds_what_it_must() {
    for (target, read) in invariants::TARGETS {
        let inputs = inputs(target);
        let accepted = inputs.iter().filter(|(_, input)| read(input)).count();
        assert!(accepted > 0 && accepted < inputs.len(), "{target}: {accepted} of {} accepted", inputs.len());
    }
}

/// In the repository it has to be small.
#[test]
fn the_corpus_has_less_than_a_megabyte() {
    let sizes =
        invariants::TARGETS.iter().flat_map(|(target, _)| inputs(target)).map(|(_, input)| input.len());
    let total: usize = sizes.sum();
    assert!(total < 1_000_000, "{total} bytes");
}

#[test]
fn every_seed_is_in_the_corpus_and_every_honest_one_is_accepted() {
    for (target, name, input) in seeds::all() {
        let path = corpus(target).join(format!("seed-{name}"));
        assert!(
            fs::read(&path).is_ok_and(|there| there == input),
            "{}: run the ignored test",
            path.display()
        );
        let (_, read) = invariants::TARGETS.iter().find(|(known, _)| *known == target).unwrap();
        assert_eq!(read(&input), !name.starts_with("bad-"), "{target}: {name}");
    }
}

/// Run it after a change to the seeds: `cargo test --test corpus -- --ignored`.
#[test]
#[ignore = "it writes into the work tree"]
fn the_seeds_are_written() {
    for (target, name, input) in seeds::all() {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(corpus(target).join(format!("seed-{name}")), input).unwrap();
    }
}
