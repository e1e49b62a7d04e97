//! Max pooling, y[oy, ox, c] = max over the window of x[.., .., c], and unpooling at the same places.
//!
//! Each output remembers where in its picture it was found. Backward adds the output's gradient there;
//! unpooling puts a value there and zeros elsewhere (Zeiler and Fergus 2014, PyTorch's `MaxUnpool2d`),
//! and its own backward reads the gradient from there.

use super::conv2d::{pictures, pictures_mut};
use super::tape::Dim4;
use super::{Cache, Chain, PoolSpec, Scalar, Tape, Weights, Worker, on_each};
use ndarray::Array4;

/// Where a max pooling found its outputs.
#[derive(Debug, Clone)]
pub struct Winners {
    /// The input's shape.
    dim: Dim4,
    /// For each output value the position y w + x of its picture.
    places: Vec<u32>,
}

impl Winners {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.places.len() * size_of::<u32>()
    }

    /// A large map that has each value of a small one added at its place, and zeros elsewhere.
    fn scatter<T: Scalar>(&self, small: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        let mut large = tape.zeros(self.dim);
        let places = self.of_pictures(&small);
        for ((large, small), places) in pictures_mut(&mut large).zip(pictures(&small)).zip(places) {
            let rows = small.chunks_exact(self.dim.3);
            for (values, places) in rows.zip(places.chunks_exact(self.dim.3)) {
                for (c, (&v, &place)) in values.iter().zip(places).enumerate() {
                    large[place as usize * self.dim.3 + c] += v;
                }
            }
        }
        tape.recycle(small);
        large
    }

    /// A small map's values from their places in a large one: the adjoint of [`Winners::scatter`].
    fn gather<T: Scalar>(&self, large: Array4<T>, small: Dim4, tape: &mut Tape<T>) -> Array4<T> {
        let mut small = tape.map(small);
        let places = self.of_pictures(&small);
        for ((large, small), places) in pictures(&large).zip(pictures_mut(&mut small)).zip(places) {
            let rows = small.chunks_exact_mut(self.dim.3);
            for (values, places) in rows.zip(places.chunks_exact(self.dim.3)) {
                for (c, (v, &place)) in values.iter_mut().zip(places).enumerate() {
                    *v = large[place as usize * self.dim.3 + c];
                }
            }
        }
        tape.recycle(large);
        small
    }

    fn of_pictures<T>(&self, small: &Array4<T>) -> std::slice::ChunksExact<'_, u32> {
        self.places.chunks_exact(small.len() / self.dim.0)
    }
}

/// The largest of each window and channel; NaN if one is in it.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool(pub PoolSpec);

impl MaxPool {
    /// `[n, h, w, c]` to `[n, (h + before + after - kernel) / stride + 1, .., c]`, rounded down.
    pub fn forward<T: Scalar>(&self, x: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        let (y, winners) = self.pool(x, tape);
        tape.push_winners(winners);
        y
    }

    /// The output's gradient to the input's.
    pub fn backward<T: Scalar>(&self, tape: &mut Tape<T>, dy: Array4<T>) -> Array4<T> {
        let winners = tape.pop_winners();
        let dx = winners.scatter(dy, tape);
        tape.recycle_places(winners.places);
        dx
    }

    fn pool<T: Scalar>(&self, x: Array4<T>, tape: &mut Tape<T>) -> (Array4<T>, Winners) {
        let (dim, out) = (x.dim(), self.0.output(x.dim()));
        let mut y = tape.map(out);
        let mut places = tape.places(y.len());
        let parts = places.chunks_exact_mut(out.1 * out.2 * out.3);
        for ((xi, yi), places) in pictures(&x).zip(pictures_mut(&mut y)).zip(parts) {
            self.pool_picture(dim, xi, yi, places);
        }
        tape.recycle(x);
        (y, Winners { dim, places })
    }

    fn pool_picture<T: Scalar>(
        &self,
        (_, h, w, c): Dim4,
        x: &[T],
        y: &mut [T],
        places: &mut [u32],
    ) {
        self.0.windows((h, w), |out, rows, columns| {
            let (best, at) = (&mut y[out * c..][..c], &mut places[out * c..][..c]);
            let first = rows.start * w + columns.start;
            best.copy_from_slice(&x[first * c..][..c]);
            at.fill(first as u32);
            for place in rows.flat_map(|row| columns.clone().map(move |column| row * w + column)) {
                let tap = &x[place * c..][..c];
                for ((best, at), &v) in best.iter_mut().zip(&mut *at).zip(tap) {
                    let better = v > *best || v.is_nan();
                    *best = if better { v } else { *best };
                    *at = if better { place as u32 } else { *at };
                }
            }
        });
    }
}

/// Max pooling, layers on the small map, and unpooling to where the maxima were found.
///
/// The layers in between keep the map's shape. Windows are `factor` apart and do not overlap, so that
/// every place is taken once at most.
#[derive(Debug, Clone)]
pub struct MaxUnpool {
    /// Side of the windows, and step between them; the map's sizes are multiples of it.
    pub factor: usize,
    /// What runs on the small map.
    pub inner: Chain,
}

impl MaxUnpool {
    fn pool<T: Scalar>(&self, x: Array4<T>, tape: &mut Tape<T>) -> (Array4<T>, Winners) {
        let spec = PoolSpec {
            kernel: self.factor,
            stride: self.factor,
            before: 0,
            after: 0,
        };
        MaxPool(spec).pool(x, tape)
    }

    /// `[n, h, w, c]` to the same shape.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let (x, winners) = self.pool(x, tape);
        let y = self.inner.forward(p, x, tape);
        unpool(y, winners, tape)
    }

    /// The output's gradient to the input's; adds the inner layers' into `grads`.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let (dy, winners) = self.pick(dy, tape);
        let dx = self.inner.backward(p, tape, dy, grads);
        put_back(dx, winners, tape)
    }

    pub(super) fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let pooled = on_each(maps, workers, |x, w| self.pool(x, &mut w.tape));
        let (maps, winners): (Vec<_>, Vec<_>) = pooled.into_iter().unzip();
        let maps = self.inner.forward_all(p, maps, workers);
        let ends = maps.into_iter().zip(winners).zip(workers);
        ends.map(|((y, winners), w)| unpool(y, winners, &mut w.tape))
            .collect()
    }

    pub(super) fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let picked = on_each(maps, workers, |dy, w| self.pick(dy, &mut w.tape));
        let (maps, winners): (Vec<_>, Vec<_>) = picked.into_iter().unzip();
        let maps = self.inner.backward_all(p, maps, workers);
        let ends = maps.into_iter().zip(winners).zip(workers);
        ends.map(|((dx, winners), w)| put_back(dx, winners, &mut w.tape))
            .collect()
    }

    /// Backward's first part: the gradient of the small map.
    fn pick<T: Scalar>(&self, dy: Array4<T>, tape: &mut Tape<T>) -> (Array4<T>, Winners) {
        let winners = tape.pop_winners();
        let (n, h, w, c) = dy.dim();
        let small = (n, h / self.factor, w / self.factor, c);
        (winners.gather(dy, small, tape), winners)
    }
}

/// Forward's last part.
fn unpool<T: Scalar>(y: Array4<T>, winners: Winners, tape: &mut Tape<T>) -> Array4<T> {
    let y = winners.scatter(y, tape);
    tape.push_winners(winners);
    y
}

/// Backward's last part.
fn put_back<T: Scalar>(dx: Array4<T>, winners: Winners, tape: &mut Tape<T>) -> Array4<T> {
    let dx = winners.scatter(dx, tape);
    tape.recycle_places(winners.places);
    dx
}

impl<T: Scalar> Tape<T> {
    /// Keeps winners for backward; a tape that does not record takes their memory back.
    fn push_winners(&mut self, winners: Winners) {
        if self.trains() {
            self.push(|| Cache::Winners(winners));
        } else {
            self.recycle_places(winners.places);
        }
    }

    fn pop_winners(&mut self) -> Winners {
        match self.pop() {
            Cache::Winners(winners) => winners,
            _ => unreachable!("a layer pops what it pushed"),
        }
    }

    /// Room for so many places; what is in it is left over from others.
    fn places(&mut self, len: usize) -> Vec<u32> {
        let mut places = self.free_places.pop().unwrap_or_default();
        places.resize(len, 0);
        places
    }

    fn recycle_places(&mut self, places: Vec<u32>) {
        self.free_places.push(places);
    }
}
