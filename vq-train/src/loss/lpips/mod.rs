//! LPIPS v0.1 with AlexNet (Zhang et al. 2018), with its gradient: one network to measure and to train by.
//!
//! Two pictures pass the five convolutions of AlexNet; after each, the features are brought to
//! unit length over the channels, subtracted, squared, weighted by a learned head and averaged over
//! the map; the five results are added up.
//!
//! The weights are fixed, and they are not part of `vq`: 2.5 million numbers in a safetensors file
//! with the tensors `conv{0..4}.weight` (OIHW), `conv{0..4}.bias` and `lin{0..4}.weight`, all f32.
//! Channel counts are taken from the file, so a small network of the same form can be tested against
//! an oracle.

mod file;
#[cfg(test)]
mod tests;

pub use file::LpipsError;

use crate::nn::lanes::dot;
use crate::nn::{Chain, FixedWeights, Loop, Scalar, Tape, flat, flat_mut};
use ndarray::{Array4, ArrayView4, Axis};

/// The network with its weights; one value serves any number of threads.
#[derive(Debug)]
pub struct Lpips<T = f32> {
    stages: Vec<Stage<T>>,
    weights: FixedWeights<T>,
}

/// A convolution with its ReLU, after a pooling where AlexNet has one, and the head that weighs its features.
#[derive(Debug)]
struct Stage<T> {
    layers: Chain,
    /// [c]
    head: Vec<T>,
}

/// Mean and spread of ImageNet's channels, for samples in -1..1.
const SHIFT: [f64; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f64; 3] = [0.458, 0.448, 0.450];

/// Added to the length of features, so that those of length zero can be divided by it.
const EPSILON: f64 = 1e-10;

impl<T: Scalar> Lpips<T> {
    /// The sum of LPIPS(x_i, y_i) over a chunk of pictures `[n, h, w, c]`, and its gradient by y, of y's shape.
    ///
    /// Samples are in the network's units, (p - 128) / 128; grey ones (c = 1) are taken as RGB. The tape
    /// is left as it came, but for buffers to be used again.
    ///
    /// # Panics
    /// When x and y differ in shape, c is neither 1 nor 3, a side is shorter than [`Lpips::MIN_SIDE`], or the
    /// tape does not record.
    pub fn gradient(
        &self,
        x: ArrayView4<'_, T>,
        y: ArrayView4<'_, T>,
        tape: &mut Tape<T>,
    ) -> (f64, Array4<T>) {
        let targets = tape.unrecorded(|tape| self.features(&x, tape));
        let features = self.features(&y, tape);
        let p = self.weights.view();
        let (mut total, mut above) = (0.0, None);
        let pairs = targets.into_iter().zip(features);
        for (stage, (target, feature)) in self.stages.iter().zip(pairs).rev() {
            let (distance, mut df) = stage.compare(target, feature, tape);
            total += distance;
            if let Some(above) = above {
                df += &above;
                tape.recycle(above);
            }
            above = Some(stage.layers.backward(&p, tape, df, &mut []));
        }
        let dx = above.expect("there are five stages");
        (total, of_pictures(dx, y.dim().3, tape))
    }

    /// The sum of LPIPS(x_i, y_i) over a chunk of pictures, without a gradient; the tape need not record.
    pub fn sum(&self, x: ArrayView4<'_, T>, y: ArrayView4<'_, T>, tape: &mut Tape<T>) -> f64 {
        let [x, y] = tape.unrecorded(|tape| [&x, &y].map(|pictures| self.features(pictures, tape)));
        let mut total = 0.0;
        for (stage, (x, y)) in self.stages.iter().zip(x.into_iter().zip(y)) {
            let (distance, df) = stage.compare(x, y, tape);
            total += distance;
            tape.recycle(df);
        }
        total
    }

    /// The features behind each of the five ReLUs, `[n, h, w, c]` of each stage.
    fn features(&self, pictures: &ArrayView4<'_, T>, tape: &mut Tape<T>) -> Vec<Array4<T>> {
        let (_, h, w, _) = pictures.dim();
        assert!(
            h.min(w) >= Lpips::MIN_SIDE,
            "LPIPS of pictures of {w}x{h}, whose sides must not be below {}",
            Lpips::MIN_SIDE
        );
        let p = self.weights.view();
        let mut x = normalised(pictures, tape);
        let mut features = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            x = stage.layers.forward(&p, x, tape);
            features.push(tape.copy_of(&x.view()));
        }
        tape.recycle(x);
        features
    }
}

impl<T: Scalar> Stage<T> {
    /// The distance of features `[n, h, w, c]`, and its gradient in b's place.
    fn compare(&self, a: Array4<T>, mut b: Array4<T>, tape: &mut Tape<T>) -> (f64, Array4<T>) {
        assert_eq!(a.dim(), b.dim(), "features to be compared");
        let (_, h, w, c) = a.dim();
        let mut scratch = tape.buffer(2 * c);
        let mut total = 0.0;
        let comparison = Comparison {
            a: flat(&a),
            b: flat_mut(&mut b),
            head: &self.head,
            share: T::of(1.0 / (h * w) as f64),
            scratch: &mut scratch,
            total: &mut total,
        };
        comparison.run_wide();
        tape.recycle_buffer(scratch);
        tape.recycle(a);
        (total, b)
    }
}

/// The means over all positions of a map, added up, and their gradient by b in its place.
///
/// At one position, with u = a / (|a| + e), v = b / (|b| + e), d = v - u and the head's weights w:
/// ```text
/// distance = sum over c of w[c] d[c]^2
/// g = 2 w d                                              (by v)
/// db = g / (|b| + e) - b (g'b) / (|b| (|b| + e)^2)
/// ```
/// Features of length zero are all zeros behind a ReLU, which lets no gradient through; theirs is zero here.
struct Comparison<'a, T> {
    /// `[positions, c]`.
    a: &'a [T],
    /// `[positions, c]`.
    b: &'a mut [T],
    /// `[c]`.
    head: &'a [T],
    /// One position's share of the mean.
    share: T,
    /// `[2, c]`.
    scratch: &'a mut [T],
    total: &'a mut f64,
}

impl<T: Scalar> Loop for Comparison<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let channels = self.head.len();
        let (d, g) = self.scratch.split_at_mut(channels);
        let epsilon = T::of(EPSILON);
        let rows = self.a.chunks_exact(channels);
        for (a, b) in rows.zip(self.b.chunks_exact_mut(channels)) {
            let length = dot(b, b).sqrt();
            let scale_a = T::one() / (dot(a, a).sqrt() + epsilon);
            let scale_b = T::one() / (length + epsilon);
            for (d, (&a, &b)) in d.iter_mut().zip(a.iter().zip(&*b)) {
                *d = b * scale_b - a * scale_a;
            }
            for (g, (&w, &d)) in g.iter_mut().zip(self.head.iter().zip(&*d)) {
                *g = w * d * self.share;
            }
            *self.total += dot(g, d).wide();
            if length == T::zero() {
                b.fill(T::zero());
                continue;
            }
            let outer = T::of(2.0) * scale_b;
            let along = dot(g, b) * scale_b / length;
            for (b, &g) in b.iter_mut().zip(&*g) {
                *b = outer * (g - *b * along);
            }
        }
    }
}

/// Factor and summand that bring a sample of channel c to AlexNet's input distribution.
///
/// The sample v is (p - 128) / 128, AlexNet's is (p / 127.5 - 1 - shift) / scale.
fn units(c: usize) -> (f64, f64) {
    (
        256.0 / 255.0 / SCALE[c],
        (1.0 / 255.0 - SHIFT[c]) / SCALE[c],
    )
}

/// Pictures `[n, h, w, c]` as AlexNet takes them, `[n, h, w, 3]`.
fn normalised<T: Scalar>(pictures: &ArrayView4<'_, T>, tape: &mut Tape<T>) -> Array4<T> {
    let (n, h, w, c) = pictures.dim();
    assert!(c == 1 || c == 3, "{c} channels are neither grey nor RGB");
    let units = [0, 1, 2].map(units).map(|(f, s)| (T::of(f), T::of(s)));
    let mut x = tape.map((n, h, w, 3));
    let rows = pictures.outer_iter();
    let rows = rows.flat_map(|picture| (0..h).map(move |i| picture.index_axis_move(Axis(0), i)));
    for (to, row) in flat_mut(&mut x).chunks_exact_mut(3 * w).zip(rows) {
        // Whole pictures and windows of them have their rows in one piece.
        let row = row.as_standard_layout();
        let pixels = row.as_slice().expect("in standard layout").chunks_exact(c);
        for (to, pixel) in to.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
            for (k, (to, &(factor, summand))) in to.iter_mut().zip(&units).enumerate() {
                *to = pixel[k.min(c - 1)] * factor + summand;
            }
        }
    }
    x
}

/// The gradient by AlexNet's input `[n, h, w, 3]` to that by the pictures: the adjoint of [`normalised`].
fn of_pictures<T: Scalar>(dx: Array4<T>, c: usize, tape: &mut Tape<T>) -> Array4<T> {
    let (n, h, w, _) = dx.dim();
    let factors = [0, 1, 2].map(|k| T::of(units(k).0));
    let mut dy = tape.map((n, h, w, c));
    let pixels = flat_mut(&mut dy).chunks_exact_mut(c);
    for (pixel, from) in pixels.zip(flat(&dx).as_chunks::<3>().0) {
        pixel.fill(T::zero());
        for (k, (&from, &factor)) in from.iter().zip(&factors).enumerate() {
            pixel[k.min(c - 1)] += from * factor;
        }
    }
    tape.recycle(dx);
    dy
}
