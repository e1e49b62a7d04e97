//! Self-attention over all positions of a map, as VQ-GAN has it (Esser 2021): y = x + out(attend(norm(x))).
//!
//! With Q, K, V `[P, d]` the queries, keys and values of one head at the P positions of a picture:
//! S = softmax(Q K' / sqrt(d)), O = S V. Backward: dV = S' dO, dS = dO V', through the softmax to dA,
//! dQ = dA K / sqrt(d), dK = dA' Q / sqrt(d).

use super::conv2d::{pictures, pictures_mut};
use super::matrix::{Factor, add_transposed_product};
use super::softmax::{softmax, softmax_backward};
use super::{Conv2d, ConvSpec, GroupNorm, GroupNormSpec, Init, ParamTable, Scalar, Tape, Weights};
use ndarray::Array4;

/// An attention block with its normalisation and its way around.
#[derive(Debug, Clone)]
pub struct Attention {
    /// In front.
    pub norm: GroupNorm,
    /// 1x1 convolutions to queries, keys and values.
    pub projections: [Conv2d; 3],
    /// 1x1 convolution behind.
    pub out: Conv2d,
    /// Heads; divides the channels. Each has its own run of channels.
    pub heads: usize,
}

/// One head's part of a picture's `[P, c]` maps.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// Its first channel.
    first: usize,
    /// d.
    width: usize,
    /// c.
    channels: usize,
    /// P.
    positions: usize,
}

impl Attention {
    /// Enters the parameters of `NAME.norm`, `NAME.q`, `NAME.k`, `NAME.v` and `NAME.out`. The last starts
    /// at zero, so that the block starts as the identity.
    pub fn new(norm: GroupNormSpec, heads: usize, name: &str, table: &mut ParamTable) -> Self {
        let spec = ConvSpec::pointwise(norm.channels, norm.channels);
        let norm = GroupNorm::new(norm, &format!("{name}.norm"), table);
        let mut conv = |part: &str, init| Conv2d::new(spec, &format!("{name}.{part}"), init, table);
        Attention {
            norm,
            projections: ["q", "k", "v"].map(|part| conv(part, None)),
            out: conv("out", Some(Init::Zero)),
            heads,
        }
    }

    /// `[n, h, w, c]` to the same shape.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let skip = tape.copy(&x);
        let x = self.norm.forward(p, x, tape);
        let [query, key, value] = &self.projections;
        let (for_q, for_k) = (tape.copy(&x), tape.copy(&x));
        let q = query.forward(p, for_q, tape);
        let k = key.forward(p, for_k, tape);
        let v = value.forward(p, x, tape);
        let attended = self.attend([q, k, v], tape);
        let mut y = self.out.forward(p, attended, tape);
        y += &skip;
        tape.recycle(skip);
        y
    }

    /// dy `[n, h, w, c]` to dx of the same shape.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let around = tape.copy(&dy);
        let attended = self.out.backward(p, tape, dy, grads);
        let [dq, dk, dv] = self.attend_backward(attended, tape);
        let [query, key, value] = &self.projections;
        let mut sum = value.backward(p, tape, dv, grads);
        for (projection, part) in [(key, dk), (query, dq)] {
            let part = projection.backward(p, tape, part, grads);
            sum += &part;
            tape.recycle(part);
        }
        let mut dx = self.norm.backward(p, tape, sum, grads);
        dx += &around;
        tape.recycle(around);
        dx
    }

    /// O of all heads from their Q, K and V, each `[n, h, w, c]`. Keeps these and S.
    fn attend<T: Scalar>(&self, [q, k, v]: [Array4<T>; 3], tape: &mut Tape<T>) -> Array4<T> {
        let mut out = tape.map(q.dim());
        let (n, h, w, c) = q.dim();
        let mut kept = tape.buffer(n * self.heads * (h * w).pow(2));
        let mut all_s = kept.chunks_exact_mut((h * w).pow(2));
        let heads = self.each_head(h * w, c);
        let [mut qh, mut kh, mut vh, mut oh] = heads[0].buffers(tape);
        let mut panels = heads[0].panels(tape);
        let maps = pictures(&q).zip(pictures(&k)).zip(pictures(&v));
        for (((q, k), v), out) in maps.zip(pictures_mut(&mut out)) {
            for (head, s) in heads.iter().zip(&mut all_s) {
                head.take(q, head.scale(), &mut qh);
                head.take(k, T::one(), &mut kh);
                head.take(v, T::one(), &mut vh);
                head.times_transposed(&qh, &kh, &mut panels, s);
                softmax(s, h * w);
                head.times(s, &vh, &mut panels, &mut oh);
                head.put(&oh, T::one(), out);
            }
        }
        for buffer in [qh, kh, vh, oh, panels] {
            tape.recycle_buffer(buffer);
        }
        tape.push_values(kept);
        [q, k, v].into_iter().for_each(|map| tape.push_input(map));
        out
    }

    /// dO to dQ, dK and dV.
    fn attend_backward<T: Scalar>(&self, dout: Array4<T>, tape: &mut Tape<T>) -> [Array4<T>; 3] {
        let [mut v, mut k, mut q] = std::array::from_fn(|_| tape.pop_input());
        let kept = tape.pop_values();
        let (_, h, w, c) = dout.dim();
        let mut all_s = kept.chunks_exact((h * w).pow(2));
        let heads = self.each_head(h * w, c);
        let [mut qh, mut kh, mut vh, mut doh, mut dh] = heads[0].buffers(tape);
        let mut panels = heads[0].panels(tape);
        let mut ds = tape.buffer((h * w).pow(2));
        let maps = pictures_mut(&mut q).zip(pictures_mut(&mut k));
        let maps = maps.zip(pictures_mut(&mut v));
        for (((q, k), v), dout) in maps.zip(pictures(&dout)) {
            for (head, s) in heads.iter().zip(&mut all_s) {
                head.take(q, head.scale(), &mut qh);
                head.take(k, T::one(), &mut kh);
                head.take(v, T::one(), &mut vh);
                head.take(dout, T::one(), &mut doh);
                head.times_transposed(&doh, &vh, &mut panels, &mut ds);
                softmax_backward(s, &mut ds, h * w);
                // The gradients take the places of what they belong to.
                dh.fill(T::zero());
                add_transposed_product(s, &doh, h * w, &mut dh);
                head.put(&dh, T::one(), v);
                head.times(&ds, &kh, &mut panels, &mut dh);
                head.put(&dh, head.scale(), q);
                dh.fill(T::zero());
                add_transposed_product(&ds, &qh, h * w, &mut dh);
                head.put(&dh, T::one(), k);
            }
        }
        for buffer in [qh, kh, vh, doh, dh, panels, ds, kept] {
            tape.recycle_buffer(buffer);
        }
        tape.recycle(dout);
        [q, k, v]
    }

    /// At least one.
    fn each_head(&self, positions: usize, channels: usize) -> Vec<Head> {
        let width = channels / self.heads;
        let head = |i| Head {
            first: i * width,
            width,
            channels,
            positions,
        };
        (0..self.heads).map(head).collect()
    }
}

impl Head {
    /// 1 / sqrt(d).
    fn scale<T: Scalar>(&self) -> T {
        T::of((self.width as f64).sqrt().recip())
    }

    /// Room for `[P, d]`, N times.
    fn buffers<T: Scalar, const N: usize>(&self, tape: &mut Tape<T>) -> [Vec<T>; N] {
        std::array::from_fn(|_| tape.buffer(self.positions * self.width))
    }

    /// Room for a right factor.
    fn panels<T: Scalar>(&self, tape: &mut Tape<T>) -> Vec<T> {
        let (p, d) = (self.positions, self.width);
        tape.buffer(Factor::<T>::len(d, p).max(Factor::<T>::len(p, d)))
    }

    /// Its part of a map `[P, c]`, times a factor, as `[P, d]`.
    fn take<T: Scalar>(&self, map: &[T], factor: T, part: &mut [T]) {
        let rows = map.chunks_exact(self.channels);
        for (to, row) in part.chunks_exact_mut(self.width).zip(rows) {
            let own = &row[self.first..self.first + self.width];
            to.iter_mut().zip(own).for_each(|(a, &b)| *a = b * factor);
        }
    }

    /// Puts `[P, d]`, times a factor, in its place of a map `[P, c]`.
    fn put<T: Scalar>(&self, part: &[T], factor: T, map: &mut [T]) {
        let rows = map.chunks_exact_mut(self.channels);
        for (from, row) in part.chunks_exact(self.width).zip(rows) {
            let own = &mut row[self.first..self.first + self.width];
            own.iter_mut().zip(from).for_each(|(a, &b)| *a = b * factor);
        }
    }

    /// out `[P, P]` = a b' for a and b `[P, d]`.
    fn times_transposed<T: Scalar>(&self, a: &[T], b: &[T], panels: &mut [T], out: &mut [T]) {
        let (rows, columns) = (self.width, self.positions);
        let panels = &mut panels[..Factor::<T>::len(rows, columns)];
        Factor::pack_transposed(b, (rows, columns), panels);
        Factor::new(panels, rows, columns).multiply(a, &[], false, out);
    }

    /// out `[P, d]` = s b for s `[P, P]` and b `[P, d]`.
    fn times<T: Scalar>(&self, s: &[T], b: &[T], panels: &mut [T], out: &mut [T]) {
        let (rows, columns) = (self.positions, self.width);
        let panels = &mut panels[..Factor::<T>::len(rows, columns)];
        Factor::pack(b, (rows, columns), panels);
        Factor::new(panels, rows, columns).multiply(s, &[], false, out);
    }
}
