//! Arbitrary bytes as packets.
#![no_main]

#[path = "src/packets.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
