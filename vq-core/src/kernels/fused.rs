//! The one kernel of single numbers: a fused multiply-add.

#![allow(unsafe_code)]

/// a * b + c, rounded once: a fused multiply-add, where the target is sure to have one.
#[inline(always)]
pub(crate) fn fused(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(vfma)]
    {
        // SAFETY: the target's processors have the instruction.
        unsafe { vfma(a, b, c) }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let sum: f32;
        // SAFETY: every such processor has the instruction, which reads and writes registers only.
        unsafe {
            core::arch::asm!(
                "fmadd {sum:s}, {a:s}, {b:s}, {c:s}",
                sum = out(vreg) sum,
                a = in(vreg) a,
                b = in(vreg) b,
                c = in(vreg) c,
                options(pure, nomem, nostack),
            );
        }
        sum
    }
    #[cfg(not(any(vfma, target_arch = "aarch64")))]
    libm::fmaf(a, b, c)
}

/// a * b + c. A function of its own: inline assembly has no registers for singles where there are none for doubles.
#[cfg(vfma)]
#[unsafe(naked)]
unsafe extern "C" fn vfma(a: f32, b: f32, c: f32) -> f32 {
    core::arch::naked_asm!(
        ".fpu fpv4-sp-d16",
        "vfma.f32 s2, s0, s1",
        "vmov.f32 s0, s2",
        "bx lr"
    )
}
