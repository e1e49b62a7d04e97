//! What `build.rs` has put into the image: a model, packets, and the sizes of the memory they need.

include!(concat!(env!("OUT_DIR"), "/sizes.rs"));

/// Keeps bytes where their alignment relative to the file's start holds in memory too.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

static MODEL_FILE: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/model.vqm")));

/// The model, a `.vqm` file.
pub static MODEL: &[u8] = &MODEL_FILE.0;

/// The packets, a `.vqc` file.
pub static CODES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/codes.vqc"));
