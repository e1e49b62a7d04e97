//! The chunks of a batch side by side: one map, one tape and one share of the gradients each.

use super::scalar::Scalar;
use super::tape::Tape;
use ndarray::Array4;
use rayon::prelude::*;

/// One chunk of a batch at work: its tape, and its share of the gradients.
#[derive(Debug)]
pub struct Worker<T> {
    /// Caches and buffers.
    pub tape: Tape<T>,
    /// Gradients, laid out like the parameters; empty where these are held fixed.
    pub grads: Vec<T>,
}

/// Runs a task on every chunk of a batch in parallel.
pub(crate) fn on_each<T: Scalar, M: Send, R: Send>(
    maps: Vec<M>,
    workers: &mut [Worker<T>],
    task: impl Fn(M, &mut Worker<T>) -> R + Sync,
) -> Vec<R> {
    maps.into_par_iter()
        .zip(workers)
        .with_max_len(1)
        .map(|(map, worker)| task(map, worker))
        .collect()
}

/// A copy of each chunk's map.
pub(crate) fn copies<T: Scalar>(maps: &[Array4<T>], workers: &mut [Worker<T>]) -> Vec<Array4<T>> {
    let views = maps.iter().map(|map| map.view()).collect();
    on_each(views, workers, |map, w| w.tape.copy_of(&map))
}

/// Adds `factor` times the other maps.
pub(crate) fn add<T: Scalar>(maps: &mut [Array4<T>], others: &[Array4<T>], factor: T) {
    for (map, other) in maps.iter_mut().zip(others) {
        map.zip_mut_with(other, |a, &b| *a += factor * b);
    }
}

/// Gives each chunk's map back to the tape that it came from.
pub(crate) fn recycle<T: Scalar>(maps: Vec<Array4<T>>, workers: &mut [Worker<T>]) {
    let each = maps.into_iter().zip(workers);
    each.for_each(|(map, w)| w.tape.recycle(map));
}

/// How many caches each tape keeps.
pub(crate) fn depths<T: Scalar>(workers: &[Worker<T>]) -> Vec<usize> {
    workers.iter().map(|w| w.tape.depth()).collect()
}

/// Keeps each tape's caches above its depth twice, for two backward passes: see [`Tape::repeat`].
pub(crate) fn repeat<T: Scalar>(workers: &mut [Worker<T>], depths: &[usize]) {
    let tapes = workers.iter_mut().zip(depths);
    tapes.for_each(|(w, &depth)| w.tape.repeat(depth));
}
