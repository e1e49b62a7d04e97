//! Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003), with its gradient.
//!
//! Over windows of 11x11 Gaussian weights with means m, variances v and covariance v_xy,
//! ```text
//! luminance l = (2 m_x m_y + C1) / (m_x^2 + m_y^2 + C1)
//! contrast and structure s = (2 v_xy + C2) / (v_x + v_y + C2)
//! ```
//! with C1 = (.01 255)^2 and C2 = (.03 255)^2 for samples of 0 to 255. A scale is the mean of s over all
//! whole windows, the coarsest that of l s; from one scale to the next, pictures are averaged over
//! 2x2 samples, over what there is of them at an odd border. The product of the scales, each to
//! the power of its weight, is taken for each channel, and the mean of the channels is MS-SSIM.
//!
//! There are five scales in pictures whose sides are 161 at least. Of smaller ones there are as
//! many as leave room for the window, and their weights are brought to the sum of all five.
//!
//! It differs from `pytorch-msssim` in odd sides alone, where that averages with zeros.

use super::window::{Extent, SIDE, means, spread};
use crate::nn::{
    AveragePool, Layer, Loop, Padding, PoolSpec, Scalar, Tape, Weights, flat, flat_mut,
};
use ndarray::{Array4, ArrayView4};

/// The shortest side that has room for a window.
pub const MIN_SIDE: usize = SIDE;

/// Exponents of the scales, from the finest on: section 3.2 of the paper.
const WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

/// 255 in the network's units, (p - 128) / 128.
const RANGE: f64 = 255.0 / 128.0;
const C1: f64 = (0.01 * RANGE) * (0.01 * RANGE);
const C2: f64 = (0.03 * RANGE) * (0.03 * RANGE);

/// A loss takes scales of less similarity than this, which may be negative, for as much: powers of less
/// have gradients without bound.
const LEAST: f64 = 1e-6;

/// The 2x2 averages, over one row or column at an odd border.
const HALVES: AveragePool = AveragePool(PoolSpec {
    kernel: 2,
    stride: 2,
    pad: Padding {
        top_left: 0,
        bottom_right: 1,
    },
});

/// The sum of 1 - MS-SSIM(x_i, y_i) over a chunk of pictures `[n, h, w, c]`, and its gradient by y, of
/// y's shape.
///
/// Samples are in the network's units, (p - 128) / 128. Scales of negative similarity count as 1e-6, and
/// have no gradient. The tape is left as it came, but for buffers to be used again.
///
/// # Panics
/// When x and y differ in shape, a side is shorter than [`MIN_SIDE`], or the tape does not record.
pub fn gradient<T: Scalar>(
    x: ArrayView4<'_, T>,
    y: ArrayView4<'_, T>,
    tape: &mut Tape<T>,
) -> (f64, Array4<T>) {
    let (n, _, _, c) = y.dim();
    let scales = scales(x, y, tape);
    let weights = weights(scales.len());
    let products = products(&scales, LEAST);
    let (mut total, mut above) = (n as f64, None);
    total -= products.iter().sum::<f64>() / c as f64;
    for (scale, weight) in scales.into_iter().zip(weights).rev() {
        let of_mean = |(mean, product): (&f64, &f64)| match *mean > LEAST {
            true => -product * weight / mean / c as f64,
            false => 0.0,
        };
        let factors: Vec<f64> = scale.means.iter().zip(&products).map(of_mean).collect();
        let mut dy = scale.gradient.expect("the tape records");
        multiply(&mut dy, &factors);
        if let Some(above) = above {
            let coarser = HALVES.backward(&Weights::none(), tape, above, &mut []);
            dy += &coarser;
            tape.recycle(coarser);
        }
        above = Some(dy);
    }
    (total, above.expect("there is one scale at least"))
}

/// MS-SSIM of each of some pictures `[n, h, w, c]`, where scales of negative similarity count as zero.
///
/// # Panics
/// When x and y differ in shape, or a side is shorter than [`MIN_SIDE`].
pub fn similarities<T: Scalar>(
    x: ArrayView4<'_, T>,
    y: ArrayView4<'_, T>,
    tape: &mut Tape<T>,
) -> Vec<f64> {
    let c = y.dim().3;
    let scales = tape.unrecorded(|tape| scales(x, y, tape));
    let products = products(&scales, 0.0);
    let pictures = products.chunks_exact(c);
    pictures.map(|p| p.iter().sum::<f64>() / c as f64).collect()
}

/// Measurements of one scale.
struct Scale<T> {
    /// Mean similarity of each picture and channel, `[n, c]`.
    means: Vec<f64>,
    /// The gradient of each mean by y `[n, h, w, c]` at this scale, if the tape records.
    gradient: Option<Array4<T>>,
}

/// From the finest to the coarsest.
fn scales<T: Scalar>(
    x: ArrayView4<'_, T>,
    y: ArrayView4<'_, T>,
    tape: &mut Tape<T>,
) -> Vec<Scale<T>> {
    assert_eq!(x.dim(), y.dim(), "pictures to be compared");
    let (_, h, w, _) = y.dim();
    let count = count(h.min(w));
    assert!(
        count > 0,
        "MS-SSIM of pictures of {w}x{h}, whose sides must not be below {MIN_SIDE}"
    );
    let (mut x, mut y) = (tape.copy_of(&x), tape.copy_of(&y));
    let mut scales = Vec::with_capacity(count);
    for i in 0..count {
        let last = i + 1 == count;
        scales.push(Scale::of(&x, &y, last, tape));
        if !last {
            x = tape.unrecorded(|tape| HALVES.forward(&Weights::none(), x, tape));
            y = HALVES.forward(&Weights::none(), y, tape);
        }
    }
    tape.recycle(x);
    tape.recycle(y);
    scales
}

/// How many scales leave room for the window in pictures with this shorter side.
fn count(side: usize) -> usize {
    let sides = std::iter::successors(Some(side), |side| Some(side.div_ceil(2)));
    sides
        .take(WEIGHTS.len())
        .take_while(|&side| side >= SIDE)
        .count()
}

/// The exponents of so many scales; their sum is that of all five (1.0001, as published).
fn weights(count: usize) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator {
    let sum = |weights: &[f64]| weights.iter().sum::<f64>();
    let share = sum(&WEIGHTS) / sum(&WEIGHTS[..count]);
    WEIGHTS[..count].iter().map(move |weight| weight * share)
}

/// The scales' weighted product for each picture and channel, `[n, c]`; `least` is the least that counts.
fn products<T>(scales: &[Scale<T>], least: f64) -> Vec<f64> {
    let of = |i: usize| {
        let powers = scales.iter().zip(weights(scales.len()));
        powers
            .map(|(scale, weight)| scale.means[i].max(least).powf(weight))
            .product()
    };
    (0..scales[0].means.len()).map(of).collect()
}

/// Multiplies each channel of each picture by a factor of its own; `factors` is `[n, c]`.
fn multiply<T: Scalar>(map: &mut Array4<T>, factors: &[f64]) {
    let (n, h, w, c) = map.dim();
    let pictures = flat_mut(map).chunks_exact_mut(h * w * c);
    assert_eq!(factors.len(), n * c, "factors of pictures and channels");
    for (picture, factors) in pictures.zip(factors.chunks_exact(c)) {
        let factors: Vec<T> = factors.iter().map(|&f| T::of(f)).collect();
        for pixel in picture.chunks_exact_mut(c) {
            pixel.iter_mut().zip(&factors).for_each(|(v, &f)| *v *= f);
        }
    }
}

impl<T: Scalar> Scale<T> {
    fn of(x: &Array4<T>, y: &Array4<T>, luminance: bool, tape: &mut Tape<T>) -> Self {
        let (n, h, w, c) = y.dim();
        let extent = Extent { h, w, c };
        let mut windows = Windows::new(extent, luminance, tape);
        let mut gradient = tape.trains().then(|| tape.map(y.dim()));
        let mut similarities = Vec::with_capacity(n * c);
        for i in 0..n {
            let part = i * extent.len()..(i + 1) * extent.len();
            let pair = (&flat(x)[part.clone()], &flat(y)[part.clone()]);
            similarities.extend(windows.compare(pair));
            if let Some(gradient) = &mut gradient {
                windows.spread(pair, &mut flat_mut(gradient)[part]);
            }
        }
        windows.recycle(tape);
        Scale {
            means: similarities,
            gradient,
        }
    }
}

/// Statistics of all windows of one picture `[h, w, c]`, in maps `[h - 10, w - 10, c]`: first the means
/// named here, then the similarity, and what its mean changes by with each of the means.
struct Windows<T> {
    extent: Extent,
    luminance: bool,
    /// Of x.
    x: Vec<T>,
    /// Of y; then the gradient by it.
    y: Vec<T>,
    /// Of x^2; then the similarity.
    xx: Vec<T>,
    /// Of y^2; then the gradient by it.
    yy: Vec<T>,
    /// Of x y; then the gradient by it.
    xy: Vec<T>,
    /// `[h, w, c]`.
    products: Vec<T>,
    row: Vec<T>,
}

impl<T: Scalar> Windows<T> {
    fn new(extent: Extent, luminance: bool, tape: &mut Tape<T>) -> Self {
        let windows = extent.windows().len();
        let mut map = || tape.buffer(windows);
        Windows {
            extent,
            luminance,
            x: map(),
            y: map(),
            xx: map(),
            yy: map(),
            xy: map(),
            products: tape.buffer(extent.len()),
            row: tape.buffer(extent.w * extent.c),
        }
    }

    fn recycle(self, tape: &mut Tape<T>) {
        let Windows {
            x,
            y,
            xx,
            yy,
            xy,
            products,
            row,
            ..
        } = self;
        for values in [x, y, xx, yy, xy, products, row] {
            tape.recycle_buffer(values);
        }
    }

    /// The mean similarity of each channel.
    fn compare(&mut self, (x, y): (&[T], &[T])) -> Vec<f64> {
        means(self.extent, x, &mut self.x, &mut self.row);
        means(self.extent, y, &mut self.y, &mut self.row);
        self.products_of(x, x);
        means(self.extent, &self.products, &mut self.xx, &mut self.row);
        self.products_of(y, y);
        means(self.extent, &self.products, &mut self.yy, &mut self.row);
        self.products_of(x, y);
        means(self.extent, &self.products, &mut self.xy, &mut self.row);
        let similarity = Similarity {
            luminance: self.luminance,
            x: &self.x,
            y: &mut self.y,
            xx: &mut self.xx,
            yy: &mut self.yy,
            xy: &mut self.xy,
        };
        similarity.run_wide();
        self.channel_means()
    }

    fn products_of(&mut self, a: &[T], b: &[T]) {
        let factors = a.iter().zip(b);
        let products = self.products.iter_mut().zip(factors);
        products.for_each(|(product, (&a, &b))| *product = a * b);
    }

    /// The mean of the similarities of each channel.
    fn channel_means(&self) -> Vec<f64> {
        let c = self.extent.c;
        let mut sums = vec![0.0; c];
        for values in self.xx.chunks_exact(c) {
            let channels = sums.iter_mut().zip(values);
            channels.for_each(|(sum, value)| *sum += value.wide());
        }
        let windows = (self.xx.len() / c) as f64;
        sums.into_iter().map(|sum| sum / windows).collect()
    }

    /// The gradient by y of each channel's mean similarity, after [`Windows::compare`].
    ///
    /// A window's means depend on y by its weights, on y^2 by 2 y times these, and on x y by x times these.
    fn spread(&mut self, (x, y): (&[T], &[T]), dy: &mut [T]) {
        let Extent { h, w, .. } = self.extent.windows();
        let share = T::of(1.0 / (h * w) as f64);
        spread(self.extent, &self.y, dy, &mut self.row);
        dy.iter_mut().for_each(|dy| *dy *= share);
        for (map, at, share) in [(&self.yy, y, share + share), (&self.xy, x, share)] {
            spread(self.extent, map, &mut self.products, &mut self.row);
            let terms = dy.iter_mut().zip(self.products.iter().zip(at));
            terms.for_each(|(dy, (&d, &v))| *dy += share * d * v);
        }
    }
}

/// From means of windows to similarities and their gradients, number by number: see [`Windows`].
///
/// With variances v_y = E(y^2) - m_y^2 and v_xy = E(x y) - m_x m_y, and D = v_x + v_y + C2, the derivatives
/// of s are 2 / D by v_xy and -s / D by v_y, those by m_y follow, and l adds its own.
struct Similarity<'a, T> {
    luminance: bool,
    x: &'a [T],
    y: &'a mut [T],
    xx: &'a mut [T],
    yy: &'a mut [T],
    xy: &'a mut [T],
}

impl<T: Scalar> Loop for Similarity<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let [one, two, c1, c2] = [1.0, 2.0, C1, C2].map(T::of);
        let means = self.x.iter().zip(self.y);
        let products = self.xx.iter_mut().zip(self.yy.iter_mut()).zip(self.xy);
        for ((&mx, my), ((xx, yy), xy)) in means.zip(products) {
            let d = *xx - mx * mx + *yy - *my * *my + c2;
            let s = (two * (*xy - mx * *my) + c2) / d;
            // Luminance is measured from black, which is -1.
            let (bx, by) = (mx + one, *my + one);
            let b = bx * bx + by * by + c1;
            let (l, dl) = if self.luminance {
                let l = (two * bx * by + c1) / b;
                (l, two * (bx - by * l) / b)
            } else {
                (one, T::zero())
            };
            *xx = l * s;
            *yy = -l * s / d;
            *xy = two * l / d;
            *my = s * dl - two * *my * *yy - mx * *xy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::normal;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Pictures and what is left of them under noise; `share` is that of the picture.
    fn pair(shape: (usize, usize, usize, usize), share: f64) -> [Array4<f64>; 2] {
        let mut rng = ChaCha8Rng::seed_from_u64(shape.1 as u64);
        let mut draw = || Array4::from_shape_simple_fn(shape, || 0.3 * normal(&mut rng));
        let x = draw();
        let y = &x * share + draw() * 0.5;
        [x, y]
    }

    #[test]
    fn gradient_agrees_with_differences() {
        // One scale, and several with odd sides on the way.
        for (shape, share) in [
            ((2, 11, 14, 3), 0.8),
            ((2, 45, 41, 1), 0.8),
            ((1, 22, 43, 3), 0.5),
        ] {
            let [x, y] = pair(shape, share);
            let mut tape = Tape::recording();
            let (_, dy) = gradient(x.view(), y.view(), &mut tape);
            let largest = dy.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            let mut at = |i: usize, step: f64| {
                let mut y = y.clone();
                y.as_slice_mut().unwrap()[i] += step;
                gradient(x.view(), y.view(), &mut tape).0
            };
            let step = 1e-5;
            for (i, &analytic) in flat(&dy).iter().enumerate().step_by(7) {
                let numeric = (at(i, step) - at(i, -step)) / (2.0 * step);
                let error = (analytic - numeric).abs() / largest;
                assert!(
                    error < 1e-6,
                    "{shape:?} {i}: {analytic} {numeric} of {largest}"
                );
            }
        }
    }

    #[test]
    fn identical_pictures_are_a_minimum() {
        let [x, _] = pair((2, 32, 24, 3), 1.0);
        let mut tape = Tape::recording();
        let (sum, dy) = gradient(x.view(), x.view(), &mut tape);
        assert!(sum.abs() < 1e-12, "{sum}");
        assert!(dy.iter().all(|v| v.abs() < 1e-12));
        for similarity in similarities(x.view(), x.view(), &mut tape) {
            assert!((similarity - 1.0).abs() < 1e-12, "{similarity}");
        }
    }

    #[test]
    fn an_inverted_picture_has_no_similarity_and_a_finite_gradient() {
        let [x, _] = pair((1, 24, 24, 1), 1.0);
        let y = -&x;
        let mut tape = Tape::recording();
        let (loss, dy) = gradient(x.view(), y.view(), &mut tape);
        assert!(loss > 0.9 && loss < 1.0, "{loss}");
        assert!(dy.iter().all(|v| v.is_finite()));
        assert_eq!(similarities(x.view(), y.view(), &mut tape), [0.0]);
    }

    #[test]
    fn small_pictures_have_fewer_scales() {
        let counts = [10, 11, 20, 21, 41, 81, 128, 161, 500].map(count);
        assert_eq!(counts, [0, 1, 1, 2, 3, 4, 4, 5, 5]);
        for scales in 1..=WEIGHTS.len() {
            assert!((weights(scales).sum::<f64>() - 1.0001).abs() < 1e-12);
        }
    }
}
