//! How packed entries lie: in blocks of as many as a vector register has sums, each behind some words for each of them.
//!
//! ```text
//! block := words[..][LANES] (of four bytes), numbers[D / TAPS][LANES][TAPS]
//! ```

use super::lanes::Lanes;
use crate::element::Element;
use crate::kernels::entries::Shape;
use crate::kernels::tiles::{Run, Strides, Tiles, accumulate, elements};
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Most numbers of a vector that tiles have room for. Scores of so many are exact in single precision.
pub(super) const MOST: usize = 1024;

/// Blocks that are searched together.
pub(super) const TOGETHER: usize = 2;

/// Most vectors that are searched for together.
pub(super) const VECTORS: usize = 12;

/// The layout of some entries.
#[derive(Debug)]
pub(super) struct Blocks<T> {
    /// Products of an entry over TAPS.
    pub(super) steps: usize,
    /// Words of an entry.
    words: usize,
    /// How many there are, those included that fill up.
    pub(super) count: usize,
    tiles: PhantomData<T>,
}

impl<T: Lanes> Blocks<T> {
    const TAPS_FIT: () = assert!(MOST.is_multiple_of(T::TAPS) && T::VECTORS <= VECTORS);

    /// Of entries with so many words each.
    #[inline(always)]
    pub(super) fn new(shape: Shape, words: usize) -> Self {
        let () = Self::TAPS_FIT;
        Self {
            steps: shape.dim.div_ceil(T::TAPS),
            words,
            count: shape.count.div_ceil(T::LANES).next_multiple_of(TOGETHER),
            tiles: PhantomData,
        }
    }

    /// Bytes of a block.
    #[inline(always)]
    pub(super) fn bytes(&self) -> usize {
        self.head_bytes() + self.steps * T::TAPS * T::LANES * size_of::<T::Number>()
    }

    /// Bytes of a block's words.
    #[inline(always)]
    pub(super) fn head_bytes(&self) -> usize {
        4 * self.words * T::LANES
    }

    /// Elements of all of them.
    pub(super) fn elements<E>(&self) -> usize {
        elements::<E>(self.bytes().saturating_mul(self.count))
    }

    /// Puts an entry in its place, of which zeros have been made; without numbers it is one that fills up.
    pub(super) fn put<E: Element>(
        &self,
        packed: &mut [E],
        k: usize,
        words: &[[u8; 4]],
        numbers: &[i8],
    ) {
        assert!(words.len() == self.words && numbers.len() <= self.steps * T::TAPS);
        let (block, lane) = (k / T::LANES, k % T::LANES);
        let block = &mut bytemuck::cast_slice_mut(packed)[block * self.bytes()..][..self.bytes()];
        let (places, rest) = block.split_at_mut(self.head_bytes());
        let places = places.as_chunks_mut().0.chunks_exact_mut(T::LANES);
        for (places, &word) in places.zip(words) {
            places[lane] = word;
        }
        let places = bytemuck::cast_slice_mut::<u8, T::Number>(rest);
        for (d, &number) in numbers.iter().enumerate() {
            let at = (d / T::TAPS * T::LANES + lane) * T::TAPS + d % T::TAPS;
            places[at] = T::weight(number);
        }
    }

    /// Where one of them starts.
    ///
    /// # Safety
    /// `packed` holds more than `block` blocks.
    #[inline(always)]
    pub(super) unsafe fn block<E>(&self, packed: &[E], block: usize) -> *const u8 {
        // SAFETY: the caller guarantees that the block lies within `packed`.
        unsafe { packed.as_ptr().cast::<u8>().add(block * self.bytes()) }
    }

    /// The products of P vectors and the entries of a block and the one behind it.
    ///
    /// # Safety
    /// The processor has T's instruction set; two blocks are readable at `block`; and at least P vectors
    /// [are set](Inputs::set).
    #[inline(always)]
    pub(super) unsafe fn products<const P: usize>(
        &self,
        block: *const u8,
        inputs: &Inputs<T>,
    ) -> [[T::Sums; TOGETHER]; P] {
        const { assert!(P <= VECTORS) }
        let strides = Strides {
            step: T::TAPS * T::LANES,
            vectors: self.bytes() / size_of::<T::Number>(),
            splats: Strides::every(self.steps * T::TAPS),
        };
        // SAFETY: the caller guarantees that the blocks are there, and that the vectors are set, each behind the other.
        unsafe {
            let run = Run {
                vectors: block.add(self.head_bytes()).cast(),
                splats: inputs.room.as_ptr().cast(),
            };
            let mut sums = [[T::words(0); TOGETHER]; P];
            accumulate::<T, false, P, TOGETHER>(&mut sums, run, &strides, self.steps);
            sums
        }
    }
}

/// Room for vectors as products take them.
pub(super) struct Inputs<T: Tiles> {
    room: [MaybeUninit<T::Number>; VECTORS * MOST],
}

impl<T: Lanes> Inputs<T> {
    /// Empty.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            room: [const { MaybeUninit::uninit() }; VECTORS * MOST],
        }
    }

    /// Sets vector p, of `steps` * TAPS numbers, filled up with zeros.
    #[inline(always)]
    pub(super) fn set(&mut self, p: usize, steps: usize, numbers: &[i8]) {
        let len = steps * T::TAPS;
        let (own, rest) = self.room[p * len..][..len].split_at_mut(numbers.len());
        for (place, &number) in own.iter_mut().zip(numbers) {
            place.write(T::activation(number));
        }
        for place in rest {
            place.write(T::activation(0));
        }
    }
}

/// How many of so many vectors are searched for together: all that can be, or a third, or one.
#[inline(always)]
pub(super) fn part<T: Lanes>(left: usize) -> usize {
    let third = T::VECTORS / 3;
    if left >= T::VECTORS {
        T::VECTORS
    } else if third > 1 && left >= third {
        third
    } else {
        1
    }
}

/// Calls a function for tiles of `part` vectors: the number becomes the last of its constants.
macro_rules! for_part {
    ($part:expr, $call:ident[$tiles:ty $(, $type:ty)*]($($argument:expr),*)) => {
        match $part {
            12 if const { <$tiles>::VECTORS == 12 } => $call::<$tiles $(, $type)*, 12>($($argument),*),
            6 if const { <$tiles>::VECTORS == 6 } => $call::<$tiles $(, $type)*, 6>($($argument),*),
            4 if const { <$tiles>::VECTORS == 12 || <$tiles>::VECTORS == 4 } => {
                $call::<$tiles $(, $type)*, 4>($($argument),*)
            }
            2 if const { <$tiles>::VECTORS == 6 } => $call::<$tiles $(, $type)*, 2>($($argument),*),
            _ => $call::<$tiles $(, $type)*, 1>($($argument),*),
        }
    };
}
pub(super) use for_part;
