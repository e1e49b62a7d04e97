//! What a firmware image takes of flash and RAM, read from its ELF file's program headers.

/// Bytes of memory that an image takes before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footprint {
    /// Code, constants, and the initial values of variables.
    pub(super) flash: u64,
    /// Variables; the stack comes on top.
    pub(super) ram: u64,
}

const PT_LOAD: u32 = 1;
const PF_W: u32 = 2;

/// Reads a 32-bit little-endian ELF file; `None` if it is not one.
///
/// Source: Tool Interface Standard, Executable and Linking Format 1.2, figures 1-3 and 2-1.
pub(super) fn footprint(elf: &[u8]) -> Option<Footprint> {
    if elf.get(..6)? != b"\x7fELF\x01\x01" {
        return None;
    }
    let table = word(elf, 28)? as usize;
    let entry_size = half(elf, 42)? as usize;
    let mut sum = Footprint { flash: 0, ram: 0 };
    for index in 0..half(elf, 44)? as usize {
        let header = elf.get(table.checked_add(index * entry_size)?..)?;
        if word(header, 0)? == PT_LOAD {
            sum.flash += u64::from(word(header, 16)?);
            if word(header, 24)? & PF_W != 0 {
                sum.ram += u64::from(word(header, 20)?);
            }
        }
    }
    Some(sum)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|b| u32::from_le_bytes(*b))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|b| u16::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these segments: kind, bytes in the file, bytes in memory, flags.
    fn image(segments: &[[u32; 4]]) -> Vec<u8> {
        let mut elf = b"\x7fELF\x01\x01".to_vec();
        elf.resize(52, 0);
        elf[28] = 52;
        elf[42] = 32;
        elf[44] = segments.len() as u8;
        for &[kind, file, memory, flags] in segments {
            let words = [kind, 0, 0, 0, file, memory, flags, 4];
            elf.extend(words.iter().flat_map(|w| w.to_le_bytes()));
        }
        elf
    }

    #[test]
    fn initial_values_count_as_flash_and_as_ram() {
        let elf = image(&[
            [1, 1000, 1000, 5],
            [1, 24, 24, 6],
            [1, 0, 500, 6],
            [6, 7, 7, 4],
        ]);
        assert_eq!(
            footprint(&elf),
            Some(Footprint {
                flash: 1024,
                ram: 524
            })
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let elf = image(&[[1, 1000, 1000, 5]]);
        for len in 0..elf.len() - 4 {
            assert_eq!(footprint(&elf[..len]), None, "{len} bytes");
        }
        assert_eq!(footprint(b"\x7fELF\x02\x01 a 64-bit file"), None);
    }
}
