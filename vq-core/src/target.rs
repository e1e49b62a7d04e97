//! From the compiler's target to its backend. Shared with `build.rs`, which turns it into a `cfg`.

/// The name of the backend for a target without an operating system: its triple, and the compiler's flags for it as
/// cargo encodes them.
///
/// Stable Rust has no `cfg` for the DSP extension, so names decide.
pub(crate) fn backend_name(triple: &str, flags: &str) -> &'static str {
    match triple.split('-').next() {
        Some("thumbv6m") => "thumb1",
        Some("thumbv7em") => "thumb2-dsp",
        Some("thumbv8m.main") if flags.contains("target-cpu=cortex-m33") => "thumb2-dsp",
        Some("thumbv8m.main") if flags.contains("target-cpu=cortex-m55") => "helium",
        Some("thumbv7m" | "thumbv8m.main") => "thumb2",
        _ => "scalar",
    }
}
