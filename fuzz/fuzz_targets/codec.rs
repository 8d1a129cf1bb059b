#![no_main]

#[path = "../../codec/tests/others/mod.rs"]
mod others;

libfuzzer_sys::fuzz_target!(|data: &[u8]| others::holds::codec(data));
