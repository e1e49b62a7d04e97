//! Arbitrary bytes as a model, and what becomes of it.
#![no_main]

#[path = "src/container.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
