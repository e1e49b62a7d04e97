//! Chooses what goes into the image.
//!
//! - `VQ_BOARD` names a folder of `boards/`: its `memory.x` goes to the linker, its name to `src/board.rs`.
//! - `VQ_MODEL` and `VQ_CODES` are paths of a `.vqm` and a `.vqc` file: they go into the flash, and how
//!   much static memory they need is worked out here, so that the firmware reserves exactly that. Without
//!   them it is a small sample, so that the firmware always builds.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use vq_core::bitstream::{CodedPicture, Frames, Packet, Packets, frame_length};
use vq_core::format::{
    Codebook, Container, DepthToSpace, Dtype, Entropy, Graph, Op, Quant, container,
};
use vq_core::{Backend, Direction, Model, PictureSize};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    board(&out)?;
    let (file, codes) = match (named_file("VQ_MODEL")?, named_file("VQ_CODES")?) {
        (Some(file), Some(codes)) => (file, codes),
        (None, None) => sample()?,
        _ => {
            return Err(
                "VQ_MODEL and VQ_CODES go together: a model, and packets of its codes".into(),
            );
        }
    };
    let model = Model::parse(&file)?;
    fs::write(out.join("model.vqm"), &file)?;
    fs::write(out.join("codes.vqc"), &codes)?;
    fs::write(out.join("sizes.rs"), sizes(&model, &codes)?)?;
    Ok(())
}

fn board(out: &Path) -> Result<()> {
    println!("cargo::rerun-if-env-changed=VQ_BOARD");
    let boards = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("boards");
    for entry in fs::read_dir(&boards)? {
        println!(
            "cargo::rustc-check-cfg=cfg(board, values({:?}))",
            entry?.file_name()
        );
    }
    if env::var("CARGO_CFG_TARGET_OS")? != "none" {
        return Ok(());
    }
    let board = env::var("VQ_BOARD").unwrap_or_else(|_| "mps2-an386".to_owned());
    let memory = boards.join(&board).join("memory.x");
    println!("cargo::rerun-if-changed={}", memory.display());
    fs::copy(&memory, out.join("memory.x"))
        .map_err(|e| format!("VQ_BOARD={board}: {}: {e}", memory.display()))?;
    println!("cargo::rustc-cfg=board={board:?}");
    println!("cargo::rustc-link-search={}", out.display());
    let script = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        // cortex-m-rt's.
        "arm" => "link.x",
        _ => {
            println!("cargo::rerun-if-changed=riscv.x");
            fs::copy("riscv.x", out.join("riscv.x"))?;
            "riscv.x"
        }
    };
    println!("cargo::rustc-link-arg-bins=-T{script}");
    Ok(())
}

/// The bytes of the file that a variable names, if it is set.
fn named_file(variable: &str) -> Result<Option<Vec<u8>>> {
    println!("cargo::rerun-if-env-changed={variable}");
    let Some(path) = env::var_os(variable).map(PathBuf::from) else {
        return Ok(None);
    };
    println!("cargo::rerun-if-changed={}", path.display());
    let bytes = fs::read(&path).map_err(|e| format!("{variable}={}: {e}", path.display()))?;
    Ok(Some(bytes))
}

/// Rust source: the lengths of the firmware's static memory.
fn sizes(model: &Model, codes: &[u8]) -> Result<String> {
    check_features(model.dtype())?;
    let backend = Backend::of_target(&env::var("TARGET")?, &env::var("CARGO_ENCODED_RUSTFLAGS")?);
    let size = picture_size(model, codes);
    let needs = vq_core::needs(model, Direction::Decode, size, backend)?;
    Ok(format!(
        "/// What decoding the payload's picture needs.\npub const NEEDS: vq_core::Needs = vq_core::{needs:?};\n"
    ))
}

/// Refuses a model for whose element type the firmware is built without arithmetic.
fn check_features(dtype: Dtype) -> Result<()> {
    let feature = match dtype {
        Dtype::I8 => return Ok(()),
        Dtype::F16 => "f16",
        Dtype::F32 => "f32",
    };
    env::var_os(format!("CARGO_FEATURE_{}", feature.to_uppercase()))
        .map(drop)
        .ok_or_else(|| format!("the model holds {dtype:?}: add --features {feature}").into())
}

/// The size that the first good packet names.
fn picture_size(model: &Model, codes: &[u8]) -> PictureSize {
    let mut packets = Frames::new(codes).filter_map(|frame| frame.ok());
    packets
        .find_map(|frame| {
            Packet::check(frame, model.stream())
                .ok()
                .map(|packet| packet.size())
        })
        .unwrap_or(model.native())
}

/// A model and a picture: vector quantisation at its plainest, where a code's embedding is its block
/// of 4 x 4 grey pixels, and a picture that shows each of them.
fn sample() -> Result<(Vec<u8>, Vec<u8>)> {
    const CODES: u16 = 16;
    const SIDE: u16 = 4;
    let blob: Vec<u8> = (0..=255).collect();
    let spread = [Op::DepthToSpace(DepthToSpace {
        input: 0,
        factor: SIDE as u8,
    })];
    let mut ops = vec![0; Graph::encoded_len(&spread)];
    let model = Container {
        name: "sample",
        code_id: container::CRC.checksum(&blob),
        dtype: Dtype::I8,
        channels: 1,
        down: SIDE as u8,
        native: PictureSize {
            width: 16,
            height: 16,
        },
        dim: SIDE * SIDE,
        latent: Quant::PIXEL,
        codebooks: [Codebook {
            codes: CODES,
            table: 0,
        }]
        .into_iter()
        .collect(),
        entropy: Entropy::Fixed,
        decoder: Graph::encode(&spread, &mut ops).map_err(|fault| fault.to_string())?,
        encoder: None,
        pad: &[],
        blob: &blob,
    };
    let mut file = vec![0; container::encoded_len(&model)];
    container::encode(&model, &mut file)?;
    let codes = sample_codes(&Model::parse(&file)?, CODES)?;
    Ok((file, codes))
}

fn sample_codes(model: &Model, count: u16) -> Result<Vec<u8>> {
    let codes: Vec<u16> = (0..count).collect();
    let picture = CodedPicture {
        size: model.native(),
        image: 0,
        codes: &codes,
    };
    let mut packet = [0; 64];
    let packet = Packets::new(model.stream(), picture, 64)?.write(0, &mut packet)?;
    Ok([&frame_length(packet)?, packet].concat())
}
