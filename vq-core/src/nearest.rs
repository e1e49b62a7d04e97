//! Vectors to codes: the nearest entries, stage by stage.

use crate::codebook::Codebooks;
use crate::error::RunError;
use crate::kernels::nearest::{self as kernel, Entries, Shape};
use crate::kernels::{ALIGN, Backend, HasKernels};
use crate::model::Model;
use crate::shape::MAX_STAGES;
use crate::typed::with_element;
use core::ops::Range;

/// K entries of D numbers, laid out for the search by one backend.
///
/// ```
/// # fn run() -> Result<(), vq_core::RunError> {
/// use vq_core::{Backend, Table};
/// let entries = [[0.0f32, 0.0], [2.0, 0.0], [0.0, 3.0]].map(|entry| entry.map(f32::to_le_bytes));
/// let backend = Backend::best();
/// let mut memory = vec![0.0; Table::<f32>::memory_len(3, 2, backend)];
/// let table = Table::new(entries.as_flattened(), 2, backend, &mut memory)?;
/// let mut codes = [0; 2];
/// table.nearest(&[1.1, 0.5, 0.0, 9.0], &mut codes);
/// assert_eq!(codes, [1, 2]);
/// # Ok(()) }
/// # run().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Table<'a, E: HasKernels> {
    entries: Entries<'a, E>,
    packed: &'a [E],
    kernel: kernel::NearestCodes<E>,
}

impl<'a, E: HasKernels> Table<'a, E> {
    /// Elements of memory that a table of K = `count` entries of D = `dim` numbers needs.
    pub fn memory_len(count: usize, dim: usize, backend: Backend) -> usize {
        let packed = (E::kernels(backend).nearest.packed_len)(Shape { count, dim });
        // Wherever the memory starts, there is an aligned place in it.
        let align = if packed > 0 {
            ALIGN / size_of::<E>()
        } else {
            0
        };
        packed.saturating_add(align)
    }

    /// Lays out `entries`, \[K\]\[D\] with D = `dim`, little-endian, in `memory`.
    ///
    /// # Errors
    /// [`RunError::Scratch`] when `memory` has fewer than [`Table::memory_len`] elements.
    ///
    /// # Panics
    /// When `dim` is 0.
    pub fn new(
        entries: &'a [E::Stored],
        dim: usize,
        backend: Backend,
        memory: &'a mut [E],
    ) -> Result<Self, RunError> {
        assert!(dim > 0, "entries have no numbers");
        let entries = Entries {
            numbers: entries,
            dim,
        };
        let (needed, given) = (Self::memory_needed(entries, backend), memory.len());
        if given < needed {
            return Err(RunError::Scratch { needed, given });
        }
        Self::lay_out(entries, backend, memory);
        Ok(Self::laid_out(entries, backend, memory))
    }

    fn memory_needed(entries: Entries<'_, E>, backend: Backend) -> usize {
        let Shape { count, dim } = entries.shape();
        Self::memory_len(count, dim, backend)
    }

    /// Fills the memory.
    fn lay_out(entries: Entries<'_, E>, backend: Backend, memory: &mut [E]) {
        let search = E::kernels(backend).nearest;
        let place = place(memory, (search.packed_len)(entries.shape()));
        (search.pack)(entries, &mut memory[place]);
    }

    /// With memory that has been filled.
    fn laid_out(entries: Entries<'a, E>, backend: Backend, memory: &'a [E]) -> Self {
        let search = E::kernels(backend).nearest;
        Self {
            entries,
            packed: &memory[place(memory, (search.packed_len)(entries.shape()))],
            kernel: search,
        }
    }

    /// Finds the entry nearest to each of `vectors`, \[n\]\[D\]: the one of the least squared distance, of equals the
    /// lowest; 0 where no distance is finite. As many as there are `codes`.
    ///
    /// # Panics
    /// When there are not so many vectors.
    pub fn nearest(&self, vectors: &[E], codes: &mut [u16]) {
        let vectors = &vectors[..codes.len() * self.entries.dim];
        (self.kernel.nearest)(self.entries, self.packed, vectors, codes);
        #[cfg(feature = "check-kernels")]
        for (vector, &code) in vectors.chunks_exact(self.entries.dim).zip(&*codes) {
            let mut expected = [0];
            (kernel::NearestCodes::SCALAR.nearest)(self.entries, &[], vector, &mut expected);
            assert!([code] == expected, "{code} is not nearest to {vector:?}");
        }
    }
}

/// Where aligned elements lie in memory that has a few more.
fn place<E>(memory: &[E], len: usize) -> Range<usize> {
    let start = memory.as_ptr().align_offset(ALIGN).min(memory.len() - len);
    start..start + len
}

/// The codebooks of a model, laid out for the search by one backend.
#[derive(Debug, Clone)]
pub struct NearestCodes<'a, E: HasKernels> {
    codebooks: Codebooks<'a, E>,
    tables: heapless::Vec<Table<'a, E>, MAX_STAGES>,
}

/// Elements of memory, of the model's type, that [`NearestCodes::new`] needs.
pub fn memory_len(model: &Model<'_>, backend: Backend) -> usize {
    // Without arithmetic for the type there is no search, either.
    let len = with_element!(model.dtype(), E => Table::<E>::memory_len, else return 0);
    let books = model.codebooks().iter();
    let lens = books.map(|book| len(book.codes.into(), model.dim().into(), backend));
    lens.fold(0, usize::saturating_add)
}

/// Vectors whose codes are found before what they leave is looked at.
const VECTORS: usize = 48;

impl<'a, E: HasKernels> NearestCodes<'a, E> {
    /// Lays out the codebooks of `model` in `memory`.
    ///
    /// # Errors
    /// [`RunError`] when the model has another element type, or `memory` has fewer than [`memory_len`] elements.
    pub fn new(model: &Model<'a>, backend: Backend, memory: &'a mut [E]) -> Result<Self, RunError> {
        let (needed, given) = (memory_len(model, backend), memory.len());
        if given < needed {
            return Err(RunError::Scratch { needed, given });
        }
        Self::lay_out(model, backend, memory)?;
        Self::laid_out(model, backend, memory)
    }

    /// Fills the memory.
    pub(crate) fn lay_out(
        model: &Model<'_>,
        backend: Backend,
        mut memory: &mut [E],
    ) -> Result<(), RunError> {
        for entries in Codebooks::<E>::new(model)?.entries() {
            let (own, rest) = memory.split_at_mut(Table::memory_needed(entries, backend));
            Table::lay_out(entries, backend, own);
            memory = rest;
        }
        Ok(())
    }

    /// With memory that has been filled.
    pub(crate) fn laid_out(
        model: &Model<'a>,
        backend: Backend,
        mut memory: &'a [E],
    ) -> Result<Self, RunError> {
        let codebooks = Codebooks::new(model)?;
        let tables = codebooks.entries().map(|entries| {
            let (own, rest) = memory.split_at(Table::memory_needed(entries, backend));
            memory = rest;
            Table::laid_out(entries, backend, own)
        });
        let tables = tables.collect();
        Ok(Self { codebooks, tables })
    }

    /// The codebooks.
    pub fn codebooks(&self) -> &Codebooks<'a, E> {
        &self.codebooks
    }

    /// Finds the nearest entry of the first stage for each of some latents, then the one of the second nearest to what
    /// is left, and so on. Of equally near ones the lowest code is taken.
    ///
    /// `latents`, \[n\]\[D\] numbers, become what is left at the last stage; `set(stage, i, code)` takes the codes of
    /// latent i.
    pub fn quantise(&self, latents: &mut [E], mut set: impl FnMut(usize, usize, u16)) {
        let dim = self.codebooks.dim();
        let mut codes = [0; VECTORS];
        for (group, latents) in latents.chunks_mut(VECTORS * dim).enumerate() {
            let codes = &mut codes[..latents.len() / dim];
            for (stage, table) in self.tables.iter().enumerate() {
                table.nearest(latents, codes);
                let is_last = stage + 1 == self.tables.len();
                for (i, (latent, &code)) in latents.chunks_exact_mut(dim).zip(&*codes).enumerate() {
                    set(stage, group * VECTORS + i, code);
                    if !is_last {
                        self.codebooks.subtract(stage, code, latent);
                    }
                }
            }
        }
    }
}
