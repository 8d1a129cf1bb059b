#![no_main]

#[path = "../../tests/corpus/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    invariants::table(data);
});
