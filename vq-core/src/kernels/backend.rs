//! Which inner loops a run uses. What they do is in the files beside this one.

use super::cpu;
use crate::target::backend_name;

/// Inner loops for one kind of processor. In integers all give the same numbers; on other processors they run as plain
/// loops, with the feature `emulate` in the order of the instructions.
///
/// Numbered from 1, so that a plan without one is all zeros, and a device need not keep it in its flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Backend {
    /// Plain loops, for every processor: the reference.
    Scalar = 1,
    /// Cortex-M0 and M0+: two products in three instructions, in the halves of a word.
    Thumb1,
    /// Cortex-M3: two products in two instructions, the same way.
    Thumb2,
    /// Cortex-M4, M7 and M33: two products an instruction (the DSP extension).
    Thumb2Dsp,
    /// Cortex-M55 and M85: sixteen products an instruction.
    Helium,
    /// WebAssembly with vectors of 128 bits, where the program is compiled with them.
    Simd128,
    /// AArch64.
    Neon,
    /// AArch64 with dotprod. Found as the program starts with the feature `std`, else where the compiler is told.
    NeonDot,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI: sixty-four products an instruction.
    Avx512,
}

impl Backend {
    /// All there are, the reference first.
    pub const ALL: [Self; 10] = [
        Self::Scalar,
        Self::Thumb1,
        Self::Thumb2,
        Self::Thumb2Dsp,
        Self::Helium,
        Self::Simd128,
        Self::Neon,
        Self::NeonDot,
        Self::Avx2,
        Self::Avx512,
    ];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Thumb1 => "thumb1",
            Self::Thumb2 => "thumb2",
            Self::Thumb2Dsp => "thumb2-dsp",
            Self::Helium => "helium",
            Self::Simd128 => "simd128",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dotprod",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The one that people call `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// Whether this processor has its instructions.
    pub fn is_native(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Thumb1 => cfg!(backend = "thumb1"),
            Self::Thumb2 => cfg!(backend = "thumb2"),
            Self::Thumb2Dsp => cfg!(backend = "thumb2-dsp"),
            Self::Helium => cfg!(backend = "helium"),
            Self::Simd128 => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
            Self::Neon => cfg!(target_arch = "aarch64"),
            Self::NeonDot => cpu::has_dotprod(),
            Self::Avx2 => cpu::has_avx2(),
            Self::Avx512 => cpu::has_avx512(),
        }
    }

    /// The fastest that this processor has.
    pub fn best() -> Self {
        // The reference is always there.
        let native = Self::ALL.into_iter().rfind(|backend| backend.is_native());
        native.unwrap_or(Self::Scalar)
    }

    /// The fastest for a target without an operating system, named as the compiler names it, and the compiler's flags
    /// for it as cargo encodes them: for build scripts that reserve memory.
    pub fn of_target(triple: &str, flags: &str) -> Self {
        Self::named(backend_name(triple, flags)).unwrap_or(Self::Scalar)
    }
}
