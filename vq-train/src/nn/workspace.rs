//! The memory of a training step, and the order in which chunks' gradients are added up.

use super::chunks::Worker;
use super::scalar::Scalar;
use super::tape::Tape;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Memory of a training step, used again by the next.
#[derive(Debug, Default)]
pub struct Workspace<T> {
    pub(crate) workers: Vec<Worker<T>>,
    pub(crate) panels: Vec<T>,
}

impl<T: Scalar> Workspace<T> {
    /// The gradients of the last step, in the order of the parameter table.
    pub fn grads(&mut self) -> &mut [T] {
        self.workers.first_mut().map_or(&mut [], |w| &mut w.grads)
    }

    /// Bytes that it holds on to between steps.
    pub fn bytes(&self) -> usize {
        let floats = |v: &Vec<T>| v.capacity() * size_of::<T>();
        let worker = |w: &Worker<T>| w.tape.bytes() + floats(&w.grads);
        self.workers.iter().map(worker).sum::<usize>() + floats(&self.panels)
    }

    /// Makes a worker for each chunk, with gradients of zero and an empty tape.
    pub(crate) fn prepare(
        &mut self,
        chunks: usize,
        params: usize,
        seed: impl Fn(u64) -> ChaCha8Rng,
    ) {
        self.workers.resize_with(chunks, || Worker {
            tape: Tape::recording(),
            grads: Vec::new(),
        });
        for (i, worker) in self.workers.iter_mut().enumerate() {
            worker.tape.clear();
            worker.tape.seed(seed(i as u64 + 1));
            worker.grads.resize(params, T::zero());
        }
        let workers = self.workers.par_iter_mut();
        workers.for_each(|w| w.grads.fill(T::zero()));
    }

    /// Adds the chunks' gradients up in their order, into those of the first.
    pub(crate) fn reduce(&mut self) {
        const RANGE: usize = 1 << 14;
        let Some((first, others)) = self.workers.split_first_mut() else {
            return;
        };
        let ranges = first.grads.par_chunks_mut(RANGE).enumerate();
        ranges.for_each(|(i, range)| {
            for other in others.iter() {
                for (a, &b) in range.iter_mut().zip(&other.grads[i * RANGE..]) {
                    *a += b;
                }
            }
        });
    }
}
