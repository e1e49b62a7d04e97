//! What this processor, and the system on it, can do beyond what the program is compiled for.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{has_avx2, has_avx512};

/// Whether the processor has AVX2, FMA and F16C.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_avx2() -> bool {
    false
}

/// Whether the processor has AVX-512 F, BW, DQ, VL and VNNI beside those of AVX2.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_avx512() -> bool {
    false
}

/// Whether the processor has SDOT: asked where there is a system to ask, else as the compiler was told.
pub(super) fn has_dotprod() -> bool {
    #[cfg(all(target_arch = "aarch64", feature = "std"))]
    {
        std::arch::is_aarch64_feature_detected!("dotprod")
    }
    #[cfg(not(all(target_arch = "aarch64", feature = "std")))]
    {
        cfg!(target_feature = "dotprod")
    }
}

/// CPUID by hand: crates that ask without an operating system name neither F16C nor VNNI.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{__cpuid_count, _xgetbv};
    use core::sync::atomic::{AtomicU8, Ordering};

    /// What a processor, and the system on it, can do; what is not known yet is 0.
    static KNOWN: AtomicU8 = AtomicU8::new(0);

    const ASKED: u8 = 1;
    const HAS_AVX2: u8 = 2;
    const HAS_AVX512: u8 = 4;

    /// Whether the processor has AVX2, FMA and F16C.
    pub(in crate::kernels) fn has_avx2() -> bool {
        known() & HAS_AVX2 != 0
    }

    /// Whether the processor has AVX-512 F, BW, DQ, VL and VNNI beside that.
    pub(in crate::kernels) fn has_avx512() -> bool {
        known() & HAS_AVX512 != 0
    }

    /// Asks but once: below a hypervisor the question is slow.
    fn known() -> u8 {
        let mut known = KNOWN.load(Ordering::Relaxed);
        if known == 0 {
            known = ASKED | asked();
            KNOWN.store(known, Ordering::Relaxed);
        }
        known
    }

    fn asked() -> u8 {
        if cfg!(miri) {
            // It has no CPUID, but knows what the program is compiled for.
            return u8::from(cfg!(target_feature = "avx2")) * HAS_AVX2;
        }
        // A bit of a register.
        let bit = |register: u32, bit: u32| register >> bit & 1 != 0;
        let all = |register, bits: &[u32]| bits.iter().all(|&i| bit(register, i));
        let leaf = |leaf, part| {
            // SAFETY: every x86-64 processor has CPUID.
            #[allow(unused_unsafe)]
            unsafe {
                __cpuid_count(leaf, part)
            }
        };
        let basic = leaf(1, 0);
        // FMA, XSAVE in use, AVX and F16C.
        if leaf(0, 0).eax < 7 || !all(basic.ecx, &[12, 27, 28, 29]) {
            return 0;
        }
        // SAFETY: the bit says that the system has switched XSAVE on.
        let saved = unsafe { saved() };
        let extended = leaf(7, 0);
        let avx2 = saved & YMM == YMM && bit(extended.ebx, 5);
        let avx512 = avx2
            && saved & ZMM == ZMM
            // F, DQ, BW and VL; VNNI.
            && all(extended.ebx, &[16, 17, 30, 31])
            && bit(extended.ecx, 11);
        (u8::from(avx2) * HAS_AVX2) | (u8::from(avx512) * HAS_AVX512)
    }

    /// The halves of the vector registers of AVX.
    const YMM: u64 = 0b110;
    /// Those of AVX-512 beside them.
    const ZMM: u64 = 0b1110_0110;

    /// The registers that the system saves when it switches tasks.
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: register 0 is there.
        unsafe { _xgetbv(0) }
    }

    #[cfg(test)]
    mod tests {
        extern crate std;

        #[test]
        fn what_the_processor_has_is_what_std_says() {
            use std::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma") && has!("f16c");
            let bytes = has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
            assert_eq!(super::has_avx2(), avx2);
            assert_eq!(
                super::has_avx512(),
                avx2 && has!("avx512f") && bytes && has!("avx512vnni")
            );
        }
    }
}
