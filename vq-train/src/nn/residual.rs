//! y = x + f(x), then ReLU if asked for; where f changes the number of channels, a 1x1 convolution of x takes the place
//! of x.
//!
//! Backward: with dy masked by the ReLU, dx = f'(dy) + dy.

use super::builder::{BuildError, Builder, Configured};
use super::chain::Chain;
use super::chunks::{Worker, on_each};
use super::conv2d::{Conv2d, ConvSpec};
use super::layer::{Layer, Learnt, Matrix};
use super::params::Init;
use super::relu;
use super::scalar::Scalar;
use super::tape::Tape;
use super::weights::{Pack, Weights};
use ndarray::Array4;
use serde::{Deserialize, Serialize};

/// Residual blocks of a configuration's layers C.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualConfig<C> {
    /// The branch that is added to its input.
    pub layers: Vec<C>,
    /// How many such blocks follow each other.
    #[serde(default = "one")]
    pub repeat: usize,
    /// ReLU after the sum.
    #[serde(default)]
    pub relu: bool,
    /// Whether the branch may change the number of channels: a 1x1 convolution then takes the input
    /// around it.
    #[serde(default)]
    pub shortcut: bool,
}

fn one() -> usize {
    1
}

impl<L: Layer + From<Residual<L>>, C: Configured<L>> Configured<L> for ResidualConfig<C> {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        builder.positive(&[("repeat", self.repeat)])?;
        for i in 0..self.repeat {
            let name = match self.repeat {
                1 => builder.name.clone(),
                _ => format!("{}.{i}", builder.name),
            };
            let block = self.block(&name, builder)?;
            builder.push(block);
        }
        Ok(())
    }
}

impl<C> ResidualConfig<C> {
    /// One block. The branch's last convolution starts at zero, so that the block starts as its skip connection.
    fn block<L: Layer>(
        &self,
        name: &str,
        builder: &mut Builder<'_, L>,
    ) -> Result<Residual<L>, BuildError>
    where
        C: Configured<L>,
    {
        let from = builder.shape;
        let Some((last, first)) = self.layers.split_last() else {
            return Err(builder.error("residual.layers needs at least one layer"));
        };
        let layers = builder.nested(|builder| {
            for (i, layer) in first.iter().enumerate() {
                builder.layer(layer, format!("{name}.{i}"), None)?;
            }
            builder.layer(last, format!("{name}.{}", first.len()), Some(Init::Zero))
        })?;
        let to = builder.shape;
        if (to.num, to.den) != (from.num, from.den) {
            return Err(builder.error("a residual branch must keep the map's size"));
        }
        if to.channels != from.channels && !self.shortcut {
            let reason = "a residual branch that changes the channels needs shortcut = true";
            return Err(builder.error(reason));
        }
        let shortcut = (to.channels != from.channels).then(|| {
            let spec = ConvSpec::pointwise(from.channels, to.channels);
            Conv2d::new(spec, &format!("{name}.shortcut"), None, builder.table)
        });
        Ok(Residual {
            inner: Chain { layers },
            shortcut,
            relu: self.relu,
        })
    }
}

/// A residual block around a chain that keeps the map's height and width.
#[derive(Debug, Clone)]
pub struct Residual<L> {
    /// f.
    pub inner: Chain<L>,
    /// 1x1 convolution of x, where f changes the number of channels.
    pub shortcut: Option<Conv2d>,
    /// Whether a ReLU follows the sum.
    pub relu: bool,
}

/// A map on its way through f, and the one beside it.
struct Split<T> {
    inner: Array4<T>,
    skip: Array4<T>,
}

/// What happens before f and behind it, in both passes.
impl<L: Layer> Residual<L> {
    fn fork<T: Scalar>(&self, p: &Weights<'_, T>, x: Array4<T>, tape: &mut Tape<T>) -> Split<T> {
        let skip = tape.copy(&x);
        let skip = match &self.shortcut {
            Some(conv) => conv.forward(p, skip, tape),
            None => skip,
        };
        Split { inner: x, skip }
    }

    fn join<T: Scalar>(&self, split: Split<T>, tape: &mut Tape<T>) -> Array4<T> {
        let mut y = split.sum(tape);
        if self.relu {
            relu::rectify(&mut y, tape);
        }
        y
    }

    fn fork_back<T: Scalar>(&self, mut dy: Array4<T>, tape: &mut Tape<T>) -> Split<T> {
        if self.relu {
            relu::mask_gradient(tape, &mut dy);
        }
        let skip = tape.copy(&dy);
        Split { inner: dy, skip }
    }

    fn join_back<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        mut split: Split<T>,
        tape: &mut Tape<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        if let Some(conv) = &self.shortcut {
            split.skip = conv.backward(p, tape, split.skip, grads);
        }
        split.sum(tape)
    }
}

impl<T: Scalar> Split<T> {
    fn sum(self, tape: &mut Tape<T>) -> Array4<T> {
        let mut sum = self.inner;
        sum += &self.skip;
        tape.recycle(self.skip);
        sum
    }

    /// The maps inside of all chunks after `run`, each with the one beside it.
    fn all_through(
        splits: Vec<Split<T>>,
        run: impl FnOnce(Vec<Array4<T>>) -> Vec<Array4<T>>,
    ) -> Vec<Split<T>> {
        let apart = splits.into_iter().map(|split| (split.inner, split.skip));
        let (inner, skips): (Vec<_>, Vec<_>) = apart.unzip();
        let together = run(inner).into_iter().zip(skips);
        together
            .map(|(inner, skip)| Split { inner, skip })
            .collect()
    }
}

impl<L: Layer> Layer for Residual<L> {
    fn kind(&self) -> &'static str {
        "residual"
    }

    /// `[n, h, w, c]` to the same height and width.
    fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let mut split = self.fork(p, x, tape);
        split.inner = self.inner.forward(p, split.inner, tape);
        self.join(split, tape)
    }

    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let mut split = self.fork_back(dy, tape);
        split.inner = self.inner.backward(p, tape, split.inner, grads);
        self.join_back(p, split, tape, grads)
    }

    fn learnt(&self) -> Learnt {
        Learnt::Other
    }

    fn matrices(&self, found: &mut Vec<Matrix>) {
        found.extend(self.inner.matrices());
        self.shortcut.iter().for_each(|conv| conv.matrices(found));
    }

    fn packed<'l, T: Scalar>(&'l self, found: &mut Vec<&'l dyn Pack<T>>) {
        self.inner.packed(found);
        self.shortcut.iter().for_each(|conv| conv.packed(found));
    }

    fn spans_batch(&self) -> bool {
        self.inner.spans_batch()
    }

    fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let splits = on_each(maps, workers, |x, w| self.fork(p, x, &mut w.tape));
        let splits = Split::all_through(splits, |x| self.inner.forward_all(p, x, workers));
        on_each(splits, workers, |split, w| self.join(split, &mut w.tape))
    }

    fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let splits = on_each(maps, workers, |dy, w| self.fork_back(dy, &mut w.tape));
        let splits = Split::all_through(splits, |dy| self.inner.backward_all(p, dy, workers));
        on_each(splits, workers, |split, w| {
            self.join_back(p, split, &mut w.tape, &mut w.grads)
        })
    }
}
