//! Our side of `nearest.py`: finds the nearest entries, and says how long it took.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use vq_benches::finish;
use vq_core::{Backend, HasKernels, Table};

/// Times the search and prints one JSON object.
#[derive(Parser)]
struct Args {
    /// Entries, `[K][D]`, little-endian.
    entries: PathBuf,
    /// Vectors, `[n][D]`, little-endian.
    vectors: PathBuf,
    /// D.
    #[arg(long)]
    dim: usize,
    /// What they consist of.
    #[arg(long)]
    dtype: Dtype,
    /// Whose kernels; the fastest there are, if none is named.
    #[arg(long)]
    backend: Option<String>,
    /// Searches, behind one for warmth.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Where the codes go, u16 `[n]`, little-endian.
    #[arg(long)]
    codes: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    I8,
}

fn main() -> ExitCode {
    let args = Args::parse();
    finish(match args.dtype {
        Dtype::F32 => run::<f32>(&args),
        Dtype::I8 => run::<i8>(&args),
    })
}

fn run<E: HasKernels>(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let backend = match &args.backend {
        Some(name) => Backend::named(name).ok_or("no such backend")?,
        None => Backend::best(),
    };
    let (entries, vectors) = (std::fs::read(&args.entries)?, std::fs::read(&args.vectors)?);
    let entries = E::stored(&entries);
    let vectors: Vec<E> = E::stored(&vectors).iter().map(|&x| E::read(x)).collect();
    let count = entries.len() / args.dim;
    let mut memory = vec![E::default(); Table::<E>::memory_len(count, args.dim, backend)];
    let start = Instant::now();
    let table = Table::new(entries, args.dim, backend, &mut memory)?;
    let laid_out = start.elapsed();
    let mut codes = vec![0; vectors.len() / args.dim];
    table.nearest(&vectors, &mut codes);
    let times = (0..args.runs).map(|_| {
        let start = Instant::now();
        table.nearest(&vectors, &mut codes);
        start.elapsed()
    });
    let least = times.min().ok_or("no runs")?;
    if let Some(file) = &args.codes {
        let bytes: Vec<u8> = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
        std::fs::write(file, bytes)?;
    }
    let line = serde_json::json!({
        "backend": backend.name(),
        "pack_us": laid_out.as_secs_f64() * 1e6,
        "us": least.as_secs_f64() * 1e6,
    });
    println!("{line}");
    Ok(())
}
