//! Searches for the nearest of a codebook's entries.

use super::{Drawn, ENTRIES, Memory, Mismatch, ROWS, Random};
use crate::kernels::Backend;
use crate::nearest::Table;

/// Draws `count` searches, from seeds `seed` on, and compares each code.
///
/// # Errors
/// The first difference.
pub fn searches<E: Drawn>(
    backend: Backend,
    seed: u32,
    count: u32,
    memory: &mut Memory<E>,
) -> Result<(), Mismatch> {
    (0..count).try_for_each(|i| search(backend, seed.wrapping_add(i), memory))
}

fn search<E: Drawn>(backend: Backend, draw: u32, memory: &mut Memory<E>) -> Result<(), Mismatch> {
    let mut random = Random(u64::from(draw));
    let size = E::DTYPE.size();
    let dim = match random.below(40) {
        // More than tiles have room for.
        0 => random.between(1020, 1030),
        1..10 => random.pick(&[1, 4, 8, 16, 32, 64]),
        10..20 => random.between(1, 140),
        _ => random.between(1, 24),
    } as usize;
    let most = random.pick(&[40, 600]).min(ENTRIES / (dim * size));
    let entries = &mut memory.entries[..random.between(1, most as u32) as usize * dim * size];
    draw_entries::<E>(&mut random, entries);
    let vectors = random.between(1, 30).min((ROWS / dim) as u32) as usize;
    let rows = &mut memory.rows[..vectors * dim];
    for vector in rows.chunks_exact_mut(dim) {
        draw_vector(&mut random, E::stored(entries), vector);
    }
    let entries = E::stored(entries);
    let table = Table::new(entries, dim, backend, &mut memory.packed.0);
    let mut codes = [u16::MAX; 30];
    if let Ok(table) = table {
        table.nearest(rows, &mut codes[..vectors]);
    }
    compare(draw, entries, rows, &codes[..vectors])?;
    #[cfg(test)]
    compare(
        draw,
        entries,
        rows,
        &tests::apart(entries, dim, backend, rows),
    )?;
    Ok(())
}

fn compare<E: Drawn>(
    draw: u32,
    entries: &[E::Stored],
    vectors: &[E],
    codes: &[u16],
) -> Result<(), Mismatch> {
    let dim = vectors.len() / codes.len();
    for (index, (vector, &found)) in vectors.chunks_exact(dim).zip(codes).enumerate() {
        let expected = nearest(entries, vector);
        if found != expected {
            return Err(Mismatch {
                draw,
                index,
                found: found.into(),
                expected: expected.into(),
            });
        }
    }
    Ok(())
}

/// Any numbers, or few different ones, or such as are near each other, or some that no model should have; perhaps with
/// repetitions.
fn draw_entries<E: Drawn>(random: &mut Random, bytes: &mut [u8]) {
    let size = E::DTYPE.size();
    let kind = random.below(8);
    let extreme = random.below(4) == 0;
    let few = [(); 3].map(|()| E::draw(random, false));
    for place in bytes.chunks_exact_mut(size) {
        let number = match kind {
            0 => random.pick(&few),
            1 => few[0].near(random),
            2 if random.below(200) == 0 => E::draw_broken(random),
            _ => E::draw(random, extreme),
        };
        number.store(place);
    }
    if random.below(4) == 0 {
        let half = bytes.len() / size / 2 * size;
        bytes.copy_within(..half, bytes.len() - half);
    }
}

/// Any numbers, or such as are near an entry, or the same as its.
fn draw_vector<E: Drawn>(random: &mut Random, entries: &[E::Stored], vector: &mut [E]) {
    let k = random.below((entries.len() / vector.len()) as u32) as usize;
    let entry = &entries[k * vector.len()..];
    let kind = random.below(16);
    for (x, &number) in vector.iter_mut().zip(entry) {
        let number = E::read(number);
        *x = match kind {
            0..4 => number,
            4..10 => number.near(random),
            10 => E::zero(0),
            11 if random.below(20) == 0 => E::draw_broken(random),
            _ => E::draw(random, kind == 12),
        };
    }
}

/// The reference, once more: all distances, and the first of the least.
fn nearest<E: Drawn>(entries: &[E::Stored], vector: &[E]) -> u16 {
    let mut best = (0, None);
    for (k, entry) in entries.chunks_exact(vector.len()).enumerate() {
        let pairs = vector.iter().zip(entry);
        let distance = pairs.fold(E::NO_DISTANCE, |sum, (&x, &number)| {
            x.distance(E::read(number), sum)
        });
        let is_finite = distance < E::NO_ENTRY;
        if is_finite && best.1.is_none_or(|least| distance < least) {
            best = (k as u16, Some(distance));
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;

    use std::vec;
    use std::vec::Vec;

    /// Searches once more, each slice in memory of its own.
    pub(super) fn apart<E: Drawn>(
        entries: &[E::Stored],
        dim: usize,
        backend: Backend,
        vectors: &[E],
    ) -> Vec<u16> {
        let (entries, vectors) = (entries.to_vec(), vectors.to_vec());
        let len = Table::<E>::memory_len(entries.len() / dim, dim, backend);
        let mut memory = vec![E::UNTOUCHED; len];
        let mut codes = vec![u16::MAX; vectors.len() / dim];
        let table = Table::new(&entries, dim, backend, &mut memory).unwrap();
        table.nearest(&vectors, &mut codes);
        codes
    }
}
