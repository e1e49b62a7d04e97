//! Vector registers of floats, one type for each instruction set, and which of them this CPU has.
//!
//! A loop is written once over [`Lanes`], as a [`Task`], and compiled for each of them by [`Simd`]. All that
//! fuse multiplication and addition give the same results, in any width.

#[cfg(target_arch = "x86_64")]
mod x86;

/// A register of floats.
///
/// # Safety
/// Whoever implements it promises that loads read, and stores write, no more than their callers guarantee.
pub unsafe trait Lanes: Copy {
    /// What is in it.
    type Float: Copy + Default;
    /// How many of them.
    const LANES: usize;

    /// # Safety
    /// The CPU has the instruction set; `LANES` floats can be read from `from` on.
    unsafe fn load(from: *const Self::Float) -> Self;
    /// # Safety
    /// The CPU has the instruction set; `LANES` floats can be written from `to` on.
    unsafe fn store(self, to: *mut Self::Float);
    /// The first `count` floats, at most LANES; zeros behind them.
    ///
    /// # Safety
    /// The CPU has the instruction set; `count` floats can be read from `from` on.
    unsafe fn load_part(from: *const Self::Float, count: usize) -> Self;
    /// Writes the first `count` floats, at most LANES.
    ///
    /// # Safety
    /// The CPU has the instruction set; `count` floats can be written from `to` on.
    unsafe fn store_part(self, to: *mut Self::Float, count: usize);
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn splat(x: Self::Float) -> Self;
    /// self + a * b.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self;
    /// self + other.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn add(self, other: Self) -> Self;
    /// self - other.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn sub(self, other: Self) -> Self;
    /// max(self, 0).
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn rectify(self) -> Self;
}

/// A loop to be compiled for every instruction set.
pub trait Task {
    /// What it computes with.
    type Float;

    /// Runs it. Products work in tiles of M (or Q, or 1) rows by W registers, so that their sums stay in
    /// registers; in half panels by H registers, which are at most such a panel's width.
    ///
    /// # Safety
    /// The CPU has V's instruction set.
    unsafe fn run<
        V: Lanes<Float = Self::Float>,
        const M: usize,
        const Q: usize,
        const W: usize,
        const H: usize,
    >(
        self,
    );
}

/// A plain loop that the compiler turns into vector instructions, of whatever the CPU has.
///
/// Implementations of `run` are marked `#[inline(always)]`, and so is what they call: only what ends up inside
/// is compiled for more than the least of instruction sets.
pub(crate) trait Loop: Sized {
    /// What it computes with.
    type Float: Simd;

    /// The loop.
    fn run(self);

    /// Runs it with the widest registers.
    fn run_wide(self) {
        Self::Float::run(Plain(self));
    }
}

struct Plain<L>(L);

impl<L: Loop> Task for Plain<L> {
    type Float = L::Float;

    #[inline(always)]
    unsafe fn run<
        V: Lanes<Float = L::Float>,
        const M: usize,
        const Q: usize,
        const W: usize,
        const H: usize,
    >(
        self,
    ) {
        self.0.run();
    }
}

/// Float types, with what the CPU has for them.
pub trait Simd: Copy + Sized {
    /// Runs a task with the widest registers.
    #[doc(hidden)]
    fn run(task: impl Task<Float = Self>);
}

impl Simd for f32 {
    fn run(task: impl Task<Float = f32>) {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: just detected; every such CPU has FMA.
                return unsafe { run_avx512(task) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: just detected.
                return unsafe { run_avx2(task) };
            }
        }
        run_portable(task);
    }
}

impl Simd for f64 {
    fn run(task: impl Task<Float = f64>) {
        // SAFETY: arrays need no instruction set.
        unsafe { task.run::<[f64; 2], 1, 1, 16, 8>() }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
pub(super) fn run_avx512(task: impl Task<Float = f32>) {
    // SAFETY: the attribute above.
    unsafe { task.run::<std::arch::x86_64::__m512, 8, 4, 2, 1>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) fn run_avx2(task: impl Task<Float = f32>) {
    // SAFETY: the attribute above.
    unsafe { task.run::<std::arch::x86_64::__m256, 6, 3, 2, 2>() }
}

pub(super) fn run_portable(task: impl Task<Float = f32>) {
    // SAFETY: arrays need no instruction set.
    unsafe { task.run::<[f32; 4], 1, 1, 8, 4>() }
}

/// sums += x * row.
///
/// # Safety
/// The CPU has V's instruction set.
#[inline(always)]
pub(super) unsafe fn add_product<V: Lanes, const W: usize>(
    sums: &mut [V; W],
    x: V::Float,
    row: &[V; W],
) {
    // SAFETY: the caller guarantees that the CPU has the instruction set.
    unsafe {
        let x = V::splat(x);
        for (sum, &v) in sums.iter_mut().zip(row) {
            *sum = sum.multiply_add(x, v);
        }
    }
}

/// Loads W registers.
///
/// # Safety
/// The CPU has V's instruction set; W * LANES floats can be read from `from` on.
#[inline(always)]
pub(super) unsafe fn load<V: Lanes, const W: usize>(from: *const V::Float) -> [V; W] {
    // SAFETY: register w is read from float w * LANES on, and w is below W; the CPU has the instructions.
    unsafe {
        let mut registers = [V::splat(V::Float::default()); W];
        for (w, register) in registers.iter_mut().enumerate() {
            *register = V::load(from.add(w * V::LANES));
        }
        registers
    }
}

/// Loads W registers of which `valid` floats exist; the others are zeros.
///
/// # Safety
/// The CPU has V's instruction set; W * LANES floats, or `valid` where that is less, can be read from `from` on.
#[inline(always)]
pub(super) unsafe fn load_some<V: Lanes, const W: usize>(
    from: *const V::Float,
    valid: usize,
) -> [V; W] {
    // SAFETY: no float is read whose number is not below `valid`; the CPU has the instructions.
    unsafe {
        if valid >= W * V::LANES {
            return load(from);
        }
        let mut registers = [V::splat(V::Float::default()); W];
        for (w, register) in registers.iter_mut().enumerate() {
            let first = w * V::LANES;
            if first < valid {
                *register = V::load_part(from.add(first), V::LANES.min(valid - first));
            }
        }
        registers
    }
}

/// Stores the first `valid` floats of W registers.
///
/// # Safety
/// The CPU has V's instruction set; W * LANES floats, or `valid` where that is less, can be written from `to` on.
#[inline(always)]
pub(super) unsafe fn store_some<V: Lanes, const W: usize>(
    registers: [V; W],
    to: *mut V::Float,
    valid: usize,
) {
    // SAFETY: no float is written whose number is not below `valid`; the CPU has the instructions.
    unsafe {
        for (w, register) in registers.into_iter().enumerate() {
            let first = w * V::LANES;
            if first + V::LANES <= valid {
                register.store(to.add(first));
            } else if first < valid {
                register.store_part(to.add(first), valid - first);
            }
        }
    }
}

macro_rules! portable {
    ($float:ty, $lanes:literal) => {
        // SAFETY: whole arrays are read and written, or `count` floats one by one.
        unsafe impl Lanes for [$float; $lanes] {
            type Float = $float;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn load(from: *const $float) -> Self {
                // SAFETY: the caller guarantees that so many floats are readable; an array of them needs no other alignment.
                unsafe { from.cast::<Self>().read() }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $float) {
                // SAFETY: the caller guarantees that so many floats are writable; an array needs no other alignment.
                unsafe { to.cast::<Self>().write(self) }
            }
            #[inline(always)]
            unsafe fn load_part(from: *const $float, count: usize) -> Self {
                let mut part = [0.0; $lanes];
                for (i, value) in part.iter_mut().enumerate().take(count) {
                    // SAFETY: `i` is below `count`, and the caller guarantees that so many floats are readable.
                    *value = unsafe { *from.add(i) };
                }
                part
            }
            #[inline(always)]
            unsafe fn store_part(self, to: *mut $float, count: usize) {
                for (i, value) in self.into_iter().enumerate().take(count) {
                    // SAFETY: `i` is below `count`, and the caller guarantees that so many floats are writable.
                    unsafe { *to.add(i) = value };
                }
            }
            #[inline(always)]
            unsafe fn splat(x: $float) -> Self {
                [x; $lanes]
            }
            #[inline(always)]
            unsafe fn multiply_add(mut self, a: Self, b: Self) -> Self {
                for (sum, (a, b)) in self.iter_mut().zip(a.into_iter().zip(b)) {
                    *sum = if cfg!(target_arch = "aarch64") {
                        a.mul_add(b, *sum)
                    } else {
                        a * b + *sum
                    };
                }
                self
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                std::array::from_fn(|i| self[i] + other[i])
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                std::array::from_fn(|i| self[i] - other[i])
            }
            #[inline(always)]
            unsafe fn rectify(self) -> Self {
                self.map(|x| if x > 0.0 { x } else { 0.0 })
            }
        }
    };
}

portable!(f32, 4);
portable!(f64, 2);

#[cfg(test)]
pub(super) mod testing {
    //! Every instruction set that this CPU has, against plain loops.
    use crate::nn::normal;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    pub(in crate::nn) fn numbers(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| normal(&mut rng) as f32).collect()
    }

    /// Runs a task with each instruction set on a copy of `start` and compares: with plain results, and
    /// those of fused arithmetic with each other to the bit.
    ///
    /// `$task` is an expression of the copy, `$out`.
    macro_rules! assert_agrees {
        ($start:expr, $plain:expr, $case:expr, |$out:ident| $task:expr) => {{
            use crate::nn::simd;
            let mut results: Vec<(&str, Vec<f32>)> = Vec::new();
            let mut $out: Vec<f32> = $start.to_vec();
            simd::run_portable($task);
            results.push(("portable", $out));
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    let mut $out: Vec<f32> = $start.to_vec();
                    // SAFETY: just detected.
                    unsafe { simd::run_avx2($task) };
                    results.push(("avx2", $out));
                }
                if is_x86_feature_detected!("avx512f") {
                    let mut $out: Vec<f32> = $start.to_vec();
                    // SAFETY: just detected.
                    unsafe { simd::run_avx512($task) };
                    results.push(("avx512", $out));
                }
            }
            simd::testing::assert_close(&results, &$plain, $case);
        }};
    }
    pub(in crate::nn) use assert_agrees;

    pub(in crate::nn) fn assert_close(results: &[(&str, Vec<f32>)], plain: &[f64], case: usize) {
        for (name, result) in results {
            for (i, (&got, &wanted)) in result.iter().zip(plain).enumerate() {
                let error = (f64::from(got) - wanted).abs() / (1.0 + wanted.abs());
                assert!(error < 1e-4, "case {case}, {name}, {i}: {got} {wanted}");
            }
        }
        let fused = &results[1..];
        assert!(fused.iter().all(|(_, result)| *result == fused[0].1));
    }

    /// rows x columns of positions, channels of the map and of the output; windows of 3 rows by 2.
    pub(in crate::nn) const CASES: [[usize; 4]; 5] = [
        [1, 1, 1, 1],
        [3, 5, 3, 12],
        [7, 7, 20, 33],
        [2, 13, 8, 64],
        [4, 4, 150, 50],
    ];
}
