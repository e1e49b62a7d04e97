//! What one chunk of a batch runs with: the caches of its forward pass, and maps that are used again.

use super::max_pool::Winners;
use super::{Mask, Scalar, Statistics};
use ndarray::{Array4, ArrayView4, Ix4};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// `[n, h, w, c]`.
pub(super) type Dim4 = <Ix4 as ndarray::Dimension>::Pattern;

/// What one layer keeps between its forward and its backward pass.
#[derive(Debug, Clone)]
pub enum Cache<T> {
    /// The layer's input, `[n, h, w, c]`.
    Input(Array4<T>),
    /// Which values a ReLU or a dropout let through.
    Mask(Mask),
    /// Where a max pooling found its outputs.
    Winners(Winners),
    /// The shape of the layer's input.
    Shape(Dim4),
    /// What a layer has measured.
    Values(Vec<T>),
    /// Of a whole batch.
    Statistics(Arc<Statistics>),
}

/// A stack of caches: forward pushes in order, backward pops in reverse.
///
/// It also keeps the buffers of maps that are no longer needed, so that a step whose tape has seen one
/// like it allocates nothing.
#[derive(Debug)]
pub struct Tape<T> {
    recording: bool,
    leads: bool,
    stack: Vec<Cache<T>>,
    free: Vec<Vec<T>>,
    pub(super) free_masks: Vec<Mask>,
    pub(super) free_places: Vec<Vec<u32>>,
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
            free_places: Vec::new(),
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

    /// Sets the generator that layers with chance in them draw from during the next pass.
    pub fn seed(&mut self, draws: ChaCha8Rng) {
        self.draws = Some(draws);
    }

    /// Of a batch's chunks one leads and notes what is the same for all. A tape on its own leads.
    pub(super) fn lead(&mut self, leads: bool) {
        self.leads = leads;
    }

    /// Whether this chunk notes what is the same for all.
    pub(super) fn leads(&self) -> bool {
        self.leads
    }

    /// Runs a pass that no backward will follow, with this tape's maps.
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

    /// A map of this shape; what is in it is left over from others.
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

    /// A vector of this length; what is in it is left over from others.
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

    /// Takes back a map that nobody will read again.
    pub(crate) fn recycle(&mut self, map: Array4<T>) {
        self.recycle_buffer(map.into_raw_vec_and_offset().0);
    }

    /// Takes back a vector.
    pub(crate) fn recycle_buffer(&mut self, values: Vec<T>) {
        if values.capacity() > 0 {
            self.free.push(values);
        }
    }

    /// Bytes that this tape holds on to, in caches and in maps to be used again.
    pub fn bytes(&self) -> usize {
        let cached = self.stack.iter().map(|cache| match cache {
            Cache::Input(x) => x.len() * size_of::<T>(),
            Cache::Mask(mask) => mask.len(),
            Cache::Winners(winners) => winners.bytes(),
            Cache::Shape(_) => 0,
            Cache::Values(values) => values.capacity() * size_of::<T>(),
            Cache::Statistics(statistics) => statistics.len(),
        });
        let free = self.free.iter().map(|v| v.capacity() * size_of::<T>());
        cached.sum::<usize>() + free.sum::<usize>()
    }

    /// Drops what no backward pass will ask for.
    pub(crate) fn clear(&mut self) {
        while let Some(cache) = self.stack.pop() {
            match cache {
                Cache::Input(x) => self.recycle(x),
                Cache::Values(values) => self.recycle_buffer(values),
                Cache::Mask(mask) => self.free_masks.push(mask),
                Cache::Winners(_) | Cache::Shape(_) | Cache::Statistics(_) => {}
            }
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
                Cache::Input(x) => Cache::Input(self.copy(x)),
                Cache::Values(values) => {
                    let mut copy = self.buffer(values.len());
                    copy.copy_from_slice(values);
                    Cache::Values(copy)
                }
                Cache::Mask(mask) => {
                    let mut copy = self.free_masks.pop().unwrap_or_default();
                    copy.0.clone_from(&mask.0);
                    Cache::Mask(copy)
                }
                other => other.clone(),
            };
            self.stack[i] = cache;
            self.stack.push(copy);
        }
    }

    /// Keeps a cache for backward.
    pub(super) fn push(&mut self, cache: impl FnOnce() -> Cache<T>) {
        if self.recording {
            self.stack.push(cache());
        }
    }

    /// Keeps a layer's input for backward; a tape that does not record takes it back.
    pub(super) fn push_input(&mut self, x: Array4<T>) {
        if self.recording {
            self.stack.push(Cache::Input(x));
        } else {
            self.recycle(x);
        }
    }

    /// Keeps what a layer has measured; a tape that does not record takes it back.
    pub(super) fn push_values(&mut self, values: Vec<T>) {
        if self.recording {
            self.stack.push(Cache::Values(values));
        } else {
            self.recycle_buffer(values);
        }
    }

    pub(super) fn pop(&mut self) -> Cache<T> {
        self.stack
            .pop()
            .expect("backward runs once after each recorded forward")
    }

    pub(super) fn pop_input(&mut self) -> Array4<T> {
        match self.pop() {
            Cache::Input(x) => x,
            _ => unreachable!("a layer pops what it pushed"),
        }
    }

    pub(super) fn pop_shape(&mut self) -> Dim4 {
        match self.pop() {
            Cache::Shape(dim) => dim,
            _ => unreachable!("a layer pops what it pushed"),
        }
    }

    pub(super) fn pop_values(&mut self) -> Vec<T> {
        match self.pop() {
            Cache::Values(values) => values,
            _ => unreachable!("a layer pops what it pushed"),
        }
    }

    pub(super) fn pop_statistics(&mut self) -> Arc<Statistics> {
        match self.pop() {
            Cache::Statistics(statistics) => statistics,
            _ => unreachable!("a layer pops what it pushed"),
        }
    }

    pub(super) fn pop_mask(&mut self) -> Mask {
        match self.pop() {
            Cache::Mask(m) => m,
            _ => unreachable!("a layer pops what it pushed"),
        }
    }
}

/// One chunk of a batch at work: its tape, and its share of the gradients.
#[derive(Debug)]
pub struct Worker<T> {
    /// Caches and maps.
    pub tape: Tape<T>,
    /// Gradients, laid out like the parameters; empty where these are held fixed.
    pub grads: Vec<T>,
}
