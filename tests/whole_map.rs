//! What sees whole maps: exported and run by the core, against PyTorch; and held to its own limits.
//!
//! The fixture is written by `oracle/whole_map.py`, which computes in float64. A new case is a line there
//! and none here.

use std::fs;
use std::path::PathBuf;

use safetensors::SafeTensors;
use serde::Deserialize;
use vq_core::format::{Dtype, Kernel, Op, Quant};
use vq_core::{Codec, Decoding, Direction, Element, HasKernels, PictureSize, Probe, Source, f16};
use vq_tests::Draft;
use vq_tests::draft::ConvShape;
use vq_train::checkpoint::Checkpoint;
use vq_train::config::{Config, LayerConfig};
use vq_train::export::{Options, export};
use vq_train::model::VqVae;
use vq_train::train::Trainer;

/// A convolution of every point by itself.
const POINT: ConvShape = ConvShape {
    out_channels: 1,
    kernel: Kernel {
        height: 1,
        width: 1,
    },
    stride: 1,
};

#[derive(Deserialize)]
struct Case {
    layers: Vec<LayerConfig>,
}

/// Numbers of one case and their shape, NHWC.
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn tensor(file: &SafeTensors<'_>, name: &str) -> Option<Tensor> {
    let tensor = file.tensor(name).ok()?;
    let value = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    Some(Tensor {
        shape: tensor.shape().to_vec(),
        values: tensor.data().chunks_exact(4).map(value).collect(),
    })
}

/// A model whose decoder has these layers, of an input of `dim` channels, that grows by `down`.
fn config(
    layers: Vec<LayerConfig>,
    dim: usize,
    [width, height]: [usize; 2],
    down: usize,
) -> Config {
    let text = format!(
        r#"
        name = "case"
        data = {{ kind = "photos", size = [{width}, {height}] }}
        quantizer = {{ codes = 2, dim = {dim} }}
        train = {{ steps = 1, batch = 1 }}
        [model]
        channels = 3
        encoder = [{{ conv = {{ out = {dim}, kernel = {down}, stride = {down} }} }}]
        decoder = [{{ upsample = {down} }}, {{ conv = {{ out = 3 }} }}]"#
    );
    let mut config = Config::parse(&text, "test").unwrap();
    config.model.decoder = layers;
    config
}

/// A trainer whose decoder has the case's parameters; all others are 0.
fn trainer(file: &SafeTensors<'_>, index: usize, config: &Config) -> Trainer {
    let model = VqVae::build(config).unwrap();
    let mut params = vec![0.0; model.table.len()];
    let entries = model.table.entries.iter();
    let own = entries.filter(|entry| entry.name.starts_with("decoder."));
    for (i, entry) in own.enumerate() {
        let found = tensor(file, &format!("{index}/param.{i}")).unwrap();
        assert_eq!(found.shape, entry.shape, "{}", entry.name);
        params[entry.range.clone()].copy_from_slice(&found.values);
    }
    Trainer::resume(Checkpoint::of_params(config, params, 1.0)).unwrap()
}

/// A map of latents that are fed to a decoder, and what it makes of them.
struct Fed<'a, E> {
    latents: &'a [E],
}

impl<E: HasKernels> Source for Fed<'_, E> {
    type Element = E;

    fn fill(&mut self, y: u32, row: &mut [E]) {
        row.copy_from_slice(&self.latents[y as usize * row.len()..][..row.len()]);
    }
}

struct Last<E> {
    value: usize,
    rows: Vec<E>,
}

impl<E: Element> Probe<E> for Last<E> {
    fn after(&mut self, value: usize, _: u32, row: &[E]) {
        if value == self.value {
            self.rows.extend_from_slice(row);
        }
    }
}

/// The last value before it becomes bytes.
fn decoded<E: HasKernels>(file: &[u8], size: PictureSize, latents: &[E]) -> Vec<E> {
    let codec = Codec::new(file.to_vec()).unwrap();
    let model = codec.model();
    let mut last = Last {
        value: model.decoder().len(),
        rows: Vec::new(),
    };
    let decoded = codec.with_engine(Direction::Decode, size, |engine| {
        let mut row = vec![0; engine.plan().row_bytes()];
        let mut decoding = Decoding::with_source(engine, Fed { latents }, 0..size.height)?;
        while decoding.next_row_with(&mut last, &mut row)?.is_some() {}
        Ok(())
    });
    decoded.unwrap();
    last.rows
}

/// Root mean square and largest number.
fn size(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let (mut square, mut largest, mut count) = (0.0, 0f64, 0.0);
    for value in values {
        square += value * value;
        largest = largest.max(value.abs());
        count += 1.0;
    }
    [f64::sqrt(square / count), largest]
}

fn assert_near(what: &str, found: impl Iterator<Item = f64>, wanted: &[f32], tolerance: f64) {
    let found: Vec<f64> = found.collect();
    assert_eq!(found.len(), wanted.len(), "{what}");
    let wide = wanted.iter().map(|&y| f64::from(y));
    let error = size(found.iter().zip(wide.clone()).map(|(a, b)| a - b));
    let whole = size(wide);
    let [rms, largest] = [error[0] / whole[0], error[1] / whole[1]];
    println!("{what}: {rms:.1e} of the mean square, {largest:.1e} of the largest");
    assert!(
        rms < tolerance && largest < 3.0 * tolerance,
        "{what}: {rms:e}, {largest:e}"
    );
}

#[test]
fn exported_decoders_agree_with_pytorch() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("oracle/whole_map.safetensors");
    let bytes = fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let described = &metadata.metadata().as_ref().unwrap()["cases"];
    let cases: Vec<Case> = serde_json::from_str(described).unwrap();
    assert_eq!(cases.len(), 6);
    let file = &SafeTensors::deserialize(&bytes).unwrap();
    for (index, case) in cases.into_iter().enumerate() {
        let what = format!("{:?}", case.layers);
        let x = tensor(file, &format!("{index}/x")).unwrap();
        let y = tensor(file, &format!("{index}/y")).unwrap();
        let (height, width) = (y.shape[1], y.shape[2]);
        let config = config(
            case.layers,
            x.shape[3],
            [width, height],
            height / x.shape[1],
        );
        let trainer = trainer(file, index, &config);
        let file = |dtype| {
            let encoder = true;
            export(&trainer, Options { dtype, encoder }, &[]).unwrap()
        };
        let size = PictureSize {
            width: width as u16,
            height: height as u16,
        };
        let singles = decoded::<f32>(&file(Dtype::F32), size, &x.values);
        let singles = singles.into_iter().map(f64::from);
        assert_near(&format!("f32 {what}"), singles, &y.values, 2e-6);
        let latents: Vec<f16> = x.values.iter().map(|&x| f16::from_f32(x)).collect();
        let halves = decoded::<f16>(&file(Dtype::F16), size, &latents);
        let halves = halves.into_iter().map(f64::from);
        assert_near(&format!("f16 {what}"), halves, &y.values, 2e-3);
    }
}

/// Squares, sums and scores of the largest halves stay finite: they are singles.
#[test]
fn halves_do_not_overflow() {
    let mut draft = Draft::new(2, Dtype::F16, 1, 1, 4, &[1]);
    let mut graph = draft.start(draft.latent_map());
    draft.group_norm(&mut graph, 1, false);
    draft.attention(&mut graph, 0, 0, 1);
    draft.group_norm(&mut graph, 2, true);
    draft.add(&mut graph, 1, false, Quant::UNIT);
    draft.conv(&mut graph, POINT, false, Quant::UNIT);
    draft.decoder = graph.ops;
    let largest = [f16::MAX, f16::MIN, f16::MAX, f16::MIN];
    let latents: Vec<f16> = (0..64 * 64)
        .flat_map(|i| if i % 3 == 0 { [f16::MIN; 4] } else { largest })
        .collect();
    let size = PictureSize {
        width: 64,
        height: 64,
    };
    let found = decoded(&draft.file(), size, &latents);
    assert!(found.iter().all(|x| x.is_finite()));
    assert!(found.iter().any(|&x| x != found[0]));
}

/// The mean square less the squared mean would lose a small variance in single precision.
#[test]
fn large_means_hide_no_small_variance() {
    let mut draft = Draft::new(2, Dtype::F32, 1, 1, 1, &[1]);
    let mut graph = draft.start(draft.latent_map());
    draft.group_norm(&mut graph, 1, false);
    draft.decoder = graph.ops;
    let Op::GroupNorm(op) = &mut draft.decoder[0] else {
        unreachable!()
    };
    op.eps = 1e-12;
    let params = op.params as usize;
    draft.blob[params..params + 4].copy_from_slice(&1f32.to_le_bytes());
    draft.blob[params + 4..params + 8].copy_from_slice(&0f32.to_le_bytes());
    let size = PictureSize {
        width: 256,
        height: 256,
    };
    // Mean 1000, deviation 1/128.
    let latents: Vec<f32> = (0..256 * 256)
        .map(|i| 1000.0 + if i % 2 == 0 { 1.0 } else { -1.0 } / 128.0)
        .collect();
    let found = decoded(&draft.file(), size, &latents);
    for (x, y) in latents.iter().zip(found) {
        assert!((y - (x - 1000.0) * 128.0).abs() < 1e-3, "{x}: {y}");
    }
}

/// Each value's rows come about once and in order, and before a whole map is there, nothing behind it.
#[test]
fn rows_come_in_order_and_the_first_costs_the_whole_map() {
    let mut draft = Draft::new(9, Dtype::F16, 1, 1, 4, &[7]);
    let mut graph = draft.start(draft.latent_map());
    draft.group_norm(&mut graph, 2, true);
    draft.attention(&mut graph, 1, 1, 2);
    draft.conv(&mut graph, POINT, false, Quant::UNIT);
    draft.decoder = graph.ops;
    let codec = draft.codec();
    let size = PictureSize {
        width: 6,
        height: 5,
    };
    let codes: Vec<u16> = (0..30).map(|i| i * 5 % 7).collect();
    let mut order = Order::default();
    codec.decode_with::<f16>(&mut order, &codes, size).unwrap();
    for value in 0..4 {
        let rows = order.0.iter().filter(|&&(of, _)| of == value);
        assert!(rows.map(|&(_, y)| y).eq(0..5), "value {value}");
    }
    let before = order.0.iter().take_while(|&&(value, _)| value < 2);
    assert_eq!(
        before.count(),
        10,
        "all latents and all normalised rows first"
    );
}

/// The values and rows in the order in which they are made.
#[derive(Default)]
struct Order(Vec<(usize, u32)>);

impl<E> Probe<E> for Order {
    fn after(&mut self, value: usize, y: u32, _: &[E]) {
        self.0.push((value, y));
    }
}
