//! What a forward pass leaves for the backward pass of one chunk of a batch, and buffers that are used again.

use super::map::Dim4;
use super::scalar::Scalar;
use ndarray::{Array4, ArrayView4};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// What one layer keeps between its forward and its backward pass, by the kind of data.
#[derive(Debug, Clone)]
pub enum Cache<T> {
    /// A map `[n, h, w, c]`, mostly the layer's input.
    Map(Array4<T>),
    /// The shape `(n, h, w, c)` of a map.
    Shape(Dim4),
    /// Numbers that the layer has computed.
    Values(Vec<T>),
    /// One flag for each value of a map, or none at all.
    Mask(Vec<bool>),
    /// Indices into a map.
    Indices(Vec<u32>),
    /// Numbers in double precision that all chunks of a batch share.
    Shared(Arc<[f64]>),
}

/// A stack of caches: forward pushes in order, backward pops in reverse.
///
/// It also keeps the buffers that are no longer needed, so that a step whose tape has seen one like it allocates
/// nothing.
#[derive(Debug)]
pub struct Tape<T> {
    recording: bool,
    leads: bool,
    stack: Vec<Cache<T>>,
    free: Vec<Vec<T>>,
    free_masks: Vec<Vec<bool>>,
    free_indices: Vec<Vec<u32>>,
    draws: Option<ChaCha8Rng>,
}

impl<T: Scalar> Tape<T> {
    /// For a pass that will be followed by backward. Layers that behave otherwise in training than in
    /// use (dropout, batch statistics) train.
    pub fn recording() -> Self {
        Tape {
            recording: true,
            leads: true,
            stack: Vec::new(),
            free: Vec::new(),
            free_masks: Vec::new(),
            free_indices: Vec::new(),
            draws: None,
        }
    }

    /// For inference: drops what it is given.
    pub fn off() -> Self {
        Tape {
            recording: false,
            ..Tape::recording()
        }
    }

    /// Sets the generator from which layers draw during the next pass.
    pub fn seed(&mut self, draws: ChaCha8Rng) {
        self.draws = Some(draws);
    }

    /// Sets whether this chunk is the one of its batch that records statistics of the whole batch. A tape on its
    /// own is.
    pub(super) fn lead(&mut self, leads: bool) {
        self.leads = leads;
    }

    /// Whether this chunk records statistics of the whole batch.
    pub(super) fn leads(&self) -> bool {
        self.leads
    }

    /// Runs a pass that no backward will follow, with this tape's buffers.
    pub(crate) fn unrecorded<R>(&mut self, run: impl FnOnce(&mut Self) -> R) -> R {
        let recording = std::mem::replace(&mut self.recording, false);
        let result = run(self);
        self.recording = recording;
        result
    }

    /// Whether the pass trains.
    pub(crate) fn trains(&self) -> bool {
        self.recording
    }

    /// The generator of this pass; without [`Tape::seed`] there is none, and nothing is random.
    pub(super) fn draws(&mut self) -> Option<&mut ChaCha8Rng> {
        self.draws.as_mut()
    }
}

/// Buffers.
impl<T: Scalar> Tape<T> {
    /// A map of this shape with unspecified values.
    pub(crate) fn map(&mut self, dim: Dim4) -> Array4<T> {
        let values = self.buffer(dim.0 * dim.1 * dim.2 * dim.3);
        Array4::from_shape_vec(dim, values).expect("as many values as the shape has")
    }

    /// A map of zeros.
    pub(crate) fn zeros(&mut self, dim: Dim4) -> Array4<T> {
        let mut map = self.map(dim);
        map.fill(T::zero());
        map
    }

    /// A copy of a map.
    pub(super) fn copy(&mut self, map: &Array4<T>) -> Array4<T> {
        self.copy_of(&map.view())
    }

    /// A copy of a part of a batch.
    pub(crate) fn copy_of(&mut self, view: &ArrayView4<'_, T>) -> Array4<T> {
        let mut copy = self.map(view.dim());
        copy.assign(view);
        copy
    }

    /// A vector of this length with unspecified values.
    pub(crate) fn buffer(&mut self, len: usize) -> Vec<T> {
        // The smallest that is long enough, so that no other map has to grow one.
        let fitting = self.free.iter().enumerate();
        let fitting = fitting.filter(|(_, free)| (len..=4 * len).contains(&free.capacity()));
        let best = fitting.min_by_key(|(_, free)| free.capacity());
        let mut values = match best.map(|(i, _)| i) {
            Some(i) => self.free.swap_remove(i),
            None => Vec::with_capacity(len),
        };
        values.resize(len, T::zero());
        values
    }

    /// An empty vector of flags.
    pub(super) fn mask(&mut self) -> Vec<bool> {
        let mut mask = self.free_masks.pop().unwrap_or_default();
        mask.clear();
        mask
    }

    /// Indices of this length with unspecified values.
    pub(super) fn indices(&mut self, len: usize) -> Vec<u32> {
        let mut indices = self.free_indices.pop().unwrap_or_default();
        indices.resize(len, 0);
        indices
    }

    /// Takes back a map that is no longer read.
    pub(crate) fn recycle(&mut self, map: Array4<T>) {
        self.recycle_buffer(map.into_raw_vec_and_offset().0);
    }

    /// Takes back a vector.
    pub(crate) fn recycle_buffer(&mut self, values: Vec<T>) {
        if values.capacity() > 0 {
            self.free.push(values);
        }
    }

    /// Takes back flags.
    pub(super) fn recycle_mask(&mut self, mask: Vec<bool>) {
        self.free_masks.push(mask);
    }

    /// Takes back indices.
    pub(super) fn recycle_indices(&mut self, indices: Vec<u32>) {
        self.free_indices.push(indices);
    }

    /// Bytes that this tape holds on to, in caches and in maps to be used again.
    pub fn bytes(&self) -> usize {
        let cached = self.stack.iter().map(|cache| match cache {
            Cache::Map(x) => x.len() * size_of::<T>(),
            Cache::Shape(_) => 0,
            Cache::Values(values) => values.capacity() * size_of::<T>(),
            Cache::Mask(mask) => mask.len(),
            Cache::Indices(indices) => indices.len() * size_of::<u32>(),
            Cache::Shared(numbers) => numbers.len() * size_of::<f64>(),
        });
        let free = self.free.iter().map(|v| v.capacity() * size_of::<T>());
        cached.sum::<usize>() + free.sum::<usize>()
    }
}

/// The stack as a whole.
impl<T: Scalar> Tape<T> {
    /// Drops all caches.
    pub(crate) fn clear(&mut self) {
        while let Some(cache) = self.stack.pop() {
            self.take_back(cache);
        }
    }

    /// How many caches it keeps.
    pub(crate) fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Keeps the caches above `depth` twice, so that two backward passes can follow the forward pass that
    /// left them.
    pub(crate) fn repeat(&mut self, depth: usize) {
        for i in depth..self.stack.len() {
            // Taken out for as long as its copy is made, which needs the tape.
            let cache = std::mem::replace(&mut self.stack[i], Cache::Values(Vec::new()));
            let copy = match &cache {
                Cache::Map(x) => Cache::Map(self.copy(x)),
                Cache::Values(values) => {
                    let mut copy = self.buffer(values.len());
                    copy.copy_from_slice(values);
                    Cache::Values(copy)
                }
                Cache::Mask(mask) => {
                    let mut copy = self.mask();
                    copy.extend_from_slice(mask);
                    Cache::Mask(copy)
                }
                Cache::Indices(indices) => {
                    let mut copy = self.indices(indices.len());
                    copy.copy_from_slice(indices);
                    Cache::Indices(copy)
                }
                Cache::Shape(_) | Cache::Shared(_) => cache.clone(),
            };
            self.stack[i] = cache;
            self.stack.push(copy);
        }
    }

    fn take_back(&mut self, cache: Cache<T>) {
        match cache {
            Cache::Map(x) => self.recycle(x),
            Cache::Values(values) => self.recycle_buffer(values),
            Cache::Mask(mask) => self.recycle_mask(mask),
            Cache::Indices(indices) => self.recycle_indices(indices),
            Cache::Shape(_) | Cache::Shared(_) => {}
        }
    }
}

/// What layers push and pop. A layer pops what it pushed, in reverse order.
impl<T: Scalar> Tape<T> {
    /// Keeps a cache for backward; a tape that does not record takes its memory back.
    pub(super) fn push(&mut self, cache: Cache<T>) {
        if self.recording {
            self.stack.push(cache);
        } else {
            self.take_back(cache);
        }
    }

    fn pop(&mut self) -> Cache<T> {
        self.stack
            .pop()
            .expect("backward runs once after each recorded forward")
    }

    /// The map on top.
    pub(super) fn pop_map(&mut self) -> Array4<T> {
        match self.pop() {
            Cache::Map(x) => x,
            other => unreachable!("a map was pushed, not {other:?}"),
        }
    }

    /// The shape on top.
    pub(super) fn pop_shape(&mut self) -> Dim4 {
        match self.pop() {
            Cache::Shape(dim) => dim,
            other => unreachable!("a shape was pushed, not {other:?}"),
        }
    }

    /// The numbers on top.
    pub(super) fn pop_values(&mut self) -> Vec<T> {
        match self.pop() {
            Cache::Values(values) => values,
            other => unreachable!("values were pushed, not {other:?}"),
        }
    }

    /// The flags on top.
    pub(super) fn pop_mask(&mut self) -> Vec<bool> {
        match self.pop() {
            Cache::Mask(mask) => mask,
            other => unreachable!("a mask was pushed, not {other:?}"),
        }
    }

    /// The indices on top.
    pub(super) fn pop_indices(&mut self) -> Vec<u32> {
        match self.pop() {
            Cache::Indices(indices) => indices,
            other => unreachable!("indices were pushed, not {other:?}"),
        }
    }

    /// The shared numbers on top.
    pub(super) fn pop_shared(&mut self) -> Arc<[f64]> {
        match self.pop() {
            Cache::Shared(numbers) => numbers,
            other => unreachable!("shared numbers were pushed, not {other:?}"),
        }
    }
}
