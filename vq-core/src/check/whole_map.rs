//! Operators that see the whole map, in floats, compared with their formulas in double precision.

use super::{Drawn, Memory, Mismatch, Random};
use crate::element::Real;
use crate::kernels::{Attend, Backend, MapRows, Norm};
use crate::tensor::Quant;

/// Most channels of a map.
const CHANNELS: usize = 24;
/// Most points of a map.
const POINTS: usize = 36;
/// Most elements between the rows of a map.
const PADDING: u32 = 4;
/// Elements of a map's slots.
const SLOTS: usize = CHANNELS * POINTS + 2 * PADDING as usize * POINTS;

/// Draws `count` group normalisations and attentions each, from seeds `seed` on, and compares each result.
///
/// # Errors
/// The first result that is off by more than rounding.
pub fn whole_maps<R: Drawn + Real>(
    backend: Backend,
    seed: u32,
    count: u32,
    memory: &mut Memory<R>,
) -> Result<(), Mismatch> {
    (0..count).try_for_each(|i| {
        let draw = seed.wrapping_add(i);
        group_norm(backend, draw, memory)?;
        attention(backend, draw, memory)
    })
}

/// A map's numbers of rows and columns.
#[derive(Clone, Copy)]
struct Side {
    width: usize,
    height: usize,
}

impl Side {
    fn draw(random: &mut Random) -> Self {
        let [width, height] = [0; 2].map(|_| random.between(1, 6) as usize);
        Self { width, height }
    }
}

/// Draws a map, with anything around its rows.
fn draw_map<'a, R: Drawn>(
    random: &mut Random,
    slots: &'a mut [R],
    side: Side,
    channels: usize,
) -> MapRows<'a, R> {
    let [left, right] = [0; 2].map(|_| random.below(PADDING + 1) as usize);
    let row_len = side.width * channels;
    let slot_len = left + row_len + right;
    let slots = &mut slots[..side.height * slot_len];
    slots.fill_with(|| R::draw(random, false));
    MapRows {
        slots,
        slot_len,
        first: random.below(side.height as u32) as usize,
        left,
        row_len,
        height: side.height,
        channels,
    }
}

fn group_norm<R: Drawn + Real>(
    backend: Backend,
    draw: u32,
    memory: &mut Memory<R>,
) -> Result<(), Mismatch> {
    let Some(kernels) = &R::kernels(backend).whole_map else {
        return Ok(());
    };
    let mut random = Random(u64::from(draw));
    let groups = random.between(1, 4) as usize;
    let size = random.between(1, 6) as usize;
    let channels = groups * size;
    let side = Side::draw(&mut random);
    let (slots, room) = memory.room.split_at_mut(SLOTS);
    let map = draw_map(&mut random, slots, side, channels);
    let params = &mut memory.weights[..8 * channels];
    for param in params.as_chunks_mut().0 {
        *param = f32::to_le_bytes((random.next() as i32) as f32 / (1u32 << 30) as f32);
    }
    let (gain, bias) = params.split_at(4 * channels);
    let norm = Norm {
        groups,
        eps: 1e-5,
        silu: random.below(2) == 0,
        gain,
        bias,
    };
    let statistics = &mut room[..2 * groups * R::PER_SINGLE];
    (kernels.measure)(map, &norm, statistics);
    let out = &mut memory.out[..map.row_len];
    for row in map.rows() {
        (kernels.norm_row)(row, &norm, statistics, out);
        near(draw, out, |i| normalised(map, &norm, i % channels, row[i]))?;
    }
    Ok(())
}

/// `(x - mean) / sqrt(variance + eps) * gain + bias`, and SiLU of that.
fn normalised<R: Real>(map: MapRows<'_, R>, norm: &Norm<'_>, channel: usize, x: R) -> f64 {
    let size = map.channels / norm.groups;
    let group = channel / size * size;
    let numbers = || {
        map.points()
            .flat_map(move |point| &point[group..][..size])
            .map(|x| f64::from(x.single()))
    };
    let count = numbers().count() as f64;
    let mean = numbers().sum::<f64>() / count;
    let variance = numbers().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    let param = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.as_chunks().0[channel]));
    let factor = param(norm.gain) / libm::sqrt(variance + f64::from(norm.eps));
    let u = (f64::from(x.single()) - mean) * factor + param(norm.bias);
    if norm.silu {
        u / (1.0 + libm::exp(-u))
    } else {
        u
    }
}

fn attention<R: Drawn + Real>(
    backend: Backend,
    draw: u32,
    memory: &mut Memory<R>,
) -> Result<(), Mismatch> {
    let Some(kernels) = &R::kernels(backend).whole_map else {
        return Ok(());
    };
    let mut random = Random(u64::from(draw));
    let heads = random.between(1, 3) as usize;
    let [keys, values] = [0; 2].map(|_| heads * random.between(1, 8) as usize);
    let side = Side::draw(&mut random);
    let (queries, rest) = memory.room.split_at_mut(6 * CHANNELS);
    let queries = &mut queries[..side.width * keys];
    queries.fill_with(|| R::draw(&mut random, false));
    let (key_slots, rest) = rest.split_at_mut(SLOTS);
    let (value_slots, room) = rest.split_at_mut(SLOTS);
    let attend = Attend {
        heads,
        queries,
        keys: draw_map(&mut random, key_slots, side, keys),
        values: draw_map(&mut random, value_slots, side, values),
    };
    let scores = &mut room[..side.width * side.height * R::PER_SINGLE];
    let out = &mut memory.out[..side.width * values];
    (kernels.attention_row)(&attend, scores, out);
    near(draw, out, |i| attended(&attend, i / values, i % values))
}

/// The mean of a channel's values, weighted by exp(query * key) of the channel's head.
fn attended<R: Real>(attend: &Attend<'_, R>, x: usize, channel: usize) -> f64 {
    let key_len = attend.keys.channels / attend.heads;
    let head = channel / (attend.values.channels / attend.heads) * key_len;
    let query = &attend.queries[x * attend.keys.channels + head..][..key_len];
    let (mut sum, mut total) = (0.0, 0.0);
    for (key, value) in attend.keys.points().zip(attend.values.points()) {
        let pairs = query.iter().zip(&key[head..]);
        let score = pairs.map(|(q, k)| f64::from(q.single()) * f64::from(k.single()));
        let weight = libm::exp(score.sum());
        sum += weight * f64::from(value[channel].single());
        total += weight;
    }
    sum / total
}

/// Compares results that are rounded: in single precision, whatever the order, and then to the element type.
fn near<R: Drawn + Real>(
    draw: u32,
    found: &[R],
    expected: impl Fn(usize) -> f64,
) -> Result<(), Mismatch> {
    let rounded = if R::PER_SINGLE == 1 {
        0.0
    } else {
        1.0 / 1024.0
    };
    for (index, &found) in found.iter().enumerate() {
        let expected = expected(index);
        let most = (1e-4 + rounded) * (1.0 + expected.abs());
        let is_near = (f64::from(found.single()) - expected).abs() <= most;
        if !is_near {
            return Err(Mismatch {
                draw,
                index,
                found: found.real(Quant::UNIT),
                expected: expected as f32,
            });
        }
    }
    Ok(())
}
