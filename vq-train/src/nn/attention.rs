//! Self-attention over all positions of a map, as VQ-GAN has it (Esser 2021): y = x + out(attend(norm(x))).
//!
//! With Q, K, V `[P, d]` the queries, keys and values of one head at the P positions of a picture:
//! S = softmax(Q K' / sqrt(d)), O = S V. Backward: dV = S' dO, dS = dO V', through the softmax to dA,
//! dQ = dA K / sqrt(d), dK = dA' Q / sqrt(d).

use super::builder::{BuildError, Builder, Configured};
use super::conv2d::{Conv2d, ConvSpec};
use super::gemm::{Strided, StridedMut, multiply};
use super::group_norm::{GroupNorm, GroupNormConfig, GroupNormSpec};
use super::layer::{Layer, Learnt, Matrix};
use super::map::{pictures, pictures_mut};
use super::params::{Init, ParamTable};
use super::scalar::Scalar;
use super::softmax::{softmax, softmax_backward};
use super::tape::{Cache, Tape};
use super::weights::{Pack, Weights};
use ndarray::Array4;
use serde::{Deserialize, Serialize};

/// Self-attention in a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionConfig {
    /// Heads, each with its own share of the channels.
    #[serde(default = "one")]
    pub heads: usize,
}

fn one() -> usize {
    1
}

impl<L: From<Box<Attention>>> Configured<L> for AttentionConfig {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        let norm = GroupNormConfig::default().spec(builder)?;
        builder.positive(&[("heads", self.heads)])?;
        builder.channels_divide(self.heads, "by heads")?;
        let layer = Attention::new(norm, self.heads, &builder.name, builder.table);
        builder.push(Box::new(layer));
        Ok(())
    }
}

/// An attention block with its normalisation and its skip connection.
#[derive(Debug, Clone)]
pub struct Attention {
    /// What normalises the input of the projections.
    pub norm: GroupNorm,
    /// 1x1 convolutions to queries, keys and values.
    pub projections: [Conv2d; 3],
    /// 1x1 convolution of what the heads attend to.
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

    /// O of all heads from their Q, K and V, each `[n, h, w, c]`. Keeps these and S.
    fn attend<T: Scalar>(&self, [q, k, v]: [Array4<T>; 3], tape: &mut Tape<T>) -> Array4<T> {
        let mut out = tape.map(q.dim());
        let (n, h, w, c) = q.dim();
        let positions = h * w;
        let mut kept = tape.buffer(n * self.heads * positions.pow(2));
        let mut all_s = kept.chunks_exact_mut(positions.pow(2));
        let maps = pictures(&q).zip(pictures(&k)).zip(pictures(&v));
        for (((q, k), v), out) in maps.zip(pictures_mut(&mut out)) {
            for (head, s) in self.each_head(c).zip(&mut all_s) {
                let scores = StridedMut::dense(s, positions);
                let (one, zero) = (T::one(), T::zero());
                multiply(
                    head.scale(),
                    head.of(q),
                    head.of(k).transposed(),
                    zero,
                    scores,
                );
                softmax(s, positions);
                let s = Strided::dense(s, positions);
                multiply(one, s, head.of(v), zero, head.of_mut(out));
            }
        }
        tape.push(Cache::Values(kept));
        [q, k, v]
            .into_iter()
            .for_each(|map| tape.push(Cache::Map(map)));
        out
    }

    /// dO to dQ, dK and dV.
    fn attend_backward<T: Scalar>(&self, dout: Array4<T>, tape: &mut Tape<T>) -> [Array4<T>; 3] {
        let [mut v, k, mut q] = std::array::from_fn(|_| tape.pop_map());
        let kept = tape.pop_values();
        let (_, h, w, c) = dout.dim();
        let positions = h * w;
        let mut all_s = kept.chunks_exact(positions.pow(2));
        let mut ds = tape.buffer(positions.pow(2));
        let mut dk = tape.map(k.dim());
        let maps = pictures_mut(&mut q).zip(pictures(&k));
        let maps = maps.zip(pictures_mut(&mut v));
        let gradients = pictures(&dout).zip(pictures_mut(&mut dk));
        for (((q, k), v), (dout, dk)) in maps.zip(gradients) {
            for (head, s) in self.each_head(c).zip(&mut all_s) {
                let (one, zero, scale) = (T::one(), T::zero(), head.scale());
                let dout = head.of(dout);
                let scores = StridedMut::dense(&mut ds, positions);
                multiply(one, dout, head.of(v).transposed(), zero, scores);
                softmax_backward(s, &mut ds, positions);
                let (s, ds) = (Strided::dense(s, positions), Strided::dense(&ds, positions));
                // dV and dQ take the places of V and Q.
                multiply(one, s.transposed(), dout, zero, head.of_mut(v));
                multiply(scale, ds.transposed(), head.of(q), zero, head.of_mut(dk));
                multiply(scale, ds, head.of(k), zero, head.of_mut(q));
            }
        }
        for buffer in [ds, kept] {
            tape.recycle_buffer(buffer);
        }
        tape.recycle(dout);
        tape.recycle(k);
        [q, dk, v]
    }

    fn convolutions(&self) -> impl Iterator<Item = &Conv2d> {
        self.projections.iter().chain([&self.out])
    }

    /// The heads of maps of so many channels.
    fn each_head(&self, channels: usize) -> impl Iterator<Item = Head> + use<> {
        let width = channels / self.heads;
        (0..self.heads).map(move |i| Head {
            first: i * width,
            width,
            channels,
        })
    }
}

impl Layer for Attention {
    fn kind(&self) -> &'static str {
        "attention"
    }

    /// `[n, h, w, c]` to the same shape.
    fn forward<T: Scalar>(
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
    fn backward<T: Scalar>(
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

    fn learnt(&self) -> Learnt {
        Learnt::Other
    }

    fn matrices(&self, found: &mut Vec<Matrix>) {
        self.convolutions().for_each(|conv| conv.matrices(found));
    }

    fn packed<'l, T: Scalar>(&'l self, found: &mut Vec<&'l dyn Pack<T>>) {
        self.convolutions().for_each(|conv| conv.packed(found));
    }
}

impl Head {
    /// 1 / sqrt(d).
    fn scale<T: Scalar>(&self) -> T {
        T::of((self.width as f64).sqrt().recip())
    }

    /// The head's part `[P, d]` of a map `[P, c]`.
    fn of<'m, T>(&self, map: &'m [T]) -> Strided<'m, T> {
        Strided {
            rows: map.len() / self.channels,
            values: &map[self.first..],
            columns: self.width,
            row_step: self.channels,
            column_step: 1,
        }
    }

    /// The head's part `[P, d]` of a map `[P, c]`, to be written.
    fn of_mut<'m, T>(&self, map: &'m mut [T]) -> StridedMut<'m, T> {
        StridedMut {
            rows: map.len() / self.channels,
            values: &mut map[self.first..],
            columns: self.width,
            row_step: self.channels,
        }
    }
}
