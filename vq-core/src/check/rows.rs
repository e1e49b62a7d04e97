//! Rows of the operators that take one row and no weights: ReLU, activations, depth to space.

use super::{Drawn, Memory, Mismatch, ROWS, Random, compare};
use crate::curves::{ActivationKind, CURVE_LEN};
use crate::kernels::{Backend, PixelRow};

/// Draws `count` ReLUs, activations and rows of depth to space each, from seeds `seed` on, and compares each result.
///
/// # Errors
/// The first difference.
pub fn single_rows<E: Drawn>(
    backend: Backend,
    seed: u32,
    count: u32,
    memory: &mut Memory<E>,
) -> Result<(), Mismatch> {
    (0..count).try_for_each(|i| {
        let draw = seed.wrapping_add(i);
        relu(backend, draw, memory)?;
        activation(backend, draw, memory)?;
        depth_to_space(backend, draw, memory)
    })
}

fn relu<E: Drawn>(backend: Backend, draw: u32, memory: &mut Memory<E>) -> Result<(), Mismatch> {
    let mut random = Random(u64::from(draw));
    let len = random.below(100) as usize;
    let own = Own::draw(&mut random, memory, len, len);
    let zero = E::zero(random.pick(&[-128, 0, 3, 127]));
    let kernel = E::kernels(backend).relu_row;
    own.check(
        draw,
        |x, out| kernel(x, zero, out),
        |x, i| x[i].at_least(zero),
    )
}

fn activation<E: Drawn>(
    backend: Backend,
    draw: u32,
    memory: &mut Memory<E>,
) -> Result<(), Mismatch> {
    let mut random = Random(u64::from(draw));
    let mut table = [0; CURVE_LEN];
    table.fill_with(|| random.next() as u8);
    let slope = random.below(100) as f32 / 100.0;
    let kind = random.pick(&[
        ActivationKind::Tanh,
        ActivationKind::Sigmoid,
        ActivationKind::Silu,
        ActivationKind::LeakyRelu { slope },
    ]);
    let len = random.below(100) as usize;
    let own = Own::draw(&mut random, memory, len, len);
    let kernel = E::kernels(backend).activation_row;
    own.check(
        draw,
        |x, out| kernel(x, E::curve(kind, 0, &table), out),
        |x, i| x[i].bend(E::curve(kind, 0, &table)),
    )
}

fn depth_to_space<E: Drawn>(
    backend: Backend,
    draw: u32,
    memory: &mut Memory<E>,
) -> Result<(), Mismatch> {
    let mut random = Random(u64::from(draw));
    let factor = random.between(1, 4);
    let shape = PixelRow {
        factor: factor as usize,
        channels: random.between(1, 20) as usize,
        fy: random.below(factor) as usize,
    };
    let most = (ROWS - 4).min(1000) / shape.point();
    let points = random.below(most.min(40) as u32 + 1) as usize;
    let (len, out_len) = (points * shape.point(), points * shape.pixels());
    let own = Own::draw(&mut random, memory, len, out_len);
    let kernel = E::kernels(backend).depth_to_space_row;
    own.check(
        draw,
        |x, out| kernel(x, shape, out),
        |x, i| {
            let (point, i) = (i / shape.pixels(), i % shape.pixels());
            x[point * shape.point() + shape.source(i)]
        },
    )
}

/// A drawn row, and where its results go.
struct Own<'a, E> {
    x: &'a [E],
    out: &'a mut [E],
    /// Where in `out` the results start.
    first: usize,
    /// Number of results.
    len: usize,
}

impl<'a, E: Drawn> Own<'a, E> {
    fn draw(random: &mut Random, memory: &'a mut Memory<E>, x_len: usize, len: usize) -> Self {
        let extreme = random.below(4) == 0;
        let start = random.below(4) as usize;
        let x = &mut memory.rows[start..][..x_len];
        x.fill_with(|| E::draw(random, extreme));
        Self {
            x,
            out: &mut memory.out,
            first: random.below(4) as usize,
            len,
        }
    }

    /// Compares what a kernel makes of the row with what each result is expected to be, and whether it leaves alone what
    /// lies around the results.
    fn check(
        self,
        draw: u32,
        kernel: impl Fn(&[E], &mut [E]),
        expected: impl Fn(&[E], usize) -> E,
    ) -> Result<(), Mismatch> {
        self.out.fill(E::UNTOUCHED);
        kernel(self.x, &mut self.out[self.first..][..self.len]);
        compare(draw, self.out, |index| {
            let own = index.checked_sub(self.first).filter(|&i| i < self.len);
            own.map_or(E::UNTOUCHED, |i| expected(self.x, i))
        })?;
        #[cfg(test)]
        {
            let found = apart(&kernel, self.x, self.len);
            compare(draw, &found, |i| expected(self.x, i))?;
        }
        Ok(())
    }
}

#[cfg(test)]
extern crate std;

/// Calls a kernel once more, each slice in memory of its own.
#[cfg(test)]
fn apart<E: Drawn>(kernel: impl Fn(&[E], &mut [E]), x: &[E], len: usize) -> std::vec::Vec<E> {
    let (x, mut out) = (x.to_vec(), std::vec![E::UNTOUCHED; len]);
    kernel(&x, &mut out);
    out
}
