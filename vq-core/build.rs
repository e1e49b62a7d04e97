//! Says which backend the target has: `cfg(backend = "thumb2-dsp")`; `cfg(thumb2)` where it knows
//! Thumb-2, `cfg(armv8m)` where its assembler must be told the processor;
//! `cfg(vfma)` where it adds products in single precision without rounding them; `cfg(vectors)` where kernels know
//! vectors of single precision.

#[path = "src/target.rs"]
mod target;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/target.rs");
    println!("cargo::rustc-check-cfg=cfg(thumb2, armv8m, vfma, vectors)");
    let known = r#"values("scalar", "thumb1", "thumb2", "thumb2-dsp", "helium")"#;
    println!("cargo::rustc-check-cfg=cfg(backend, {known})");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let triple = variable("TARGET");
    let backend = target::backend_name(&triple, &variable("CARGO_ENCODED_RUSTFLAGS"));
    println!("cargo::rustc-cfg=backend={backend:?}");
    if backend != "scalar" && backend != "thumb1" {
        println!("cargo::rustc-cfg=thumb2");
    }
    if has_vfma(&triple) {
        println!("cargo::rustc-cfg=vfma");
    }
    let features = variable("CARGO_CFG_TARGET_FEATURE");
    if match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "x86_64" | "aarch64" => true,
        "wasm32" => features.split(',').any(|feature| feature == "simd128"),
        _ => false,
    } {
        println!("cargo::rustc-cfg=vectors");
    }
    if triple.starts_with("thumbv8m") {
        println!("cargo::rustc-cfg=armv8m");
    }
    if triple.starts_with("thumbv8m.main") && backend == "thumb2" {
        println!(
            "cargo::warning=vq-core takes the kernels of a Cortex-M3, 1.7 times as many instructions: \
             say -C target-cpu=cortex-m33 or cortex-m55 in the target's rustflags"
        );
    }
}

/// Whether the target's processors have VFMA for single precision.
fn has_vfma(triple: &str) -> bool {
    (triple.starts_with("thumbv7em") || triple.starts_with("thumbv8m.main"))
        && triple.ends_with("eabihf")
}
