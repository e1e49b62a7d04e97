//! Round trips, foreign element types, folded pixels, and files that are not what they should be.

use super::*;
use crate::nn::normal;
use crate::random::{Purpose, generator};
use crate::train::Trainer;
use ndarray::Array4;

const CONFIG: &str = r#"
    name = "t"
    data = { kind = "photos", size = [16, 16] }
    quantizer = { codes = 6, dim = 3 }
    train = { steps = 1, batch = 1 }
    [model]
    channels = 3
    encoder = [
      { conv = { out = 5, kernel = 3, stride = 2, pad = 1, relu = true } },
      { residual = { layers = [{ conv = { out = 4 } }, { conv = { out = 5, kernel = 1, bias = false } }] } },
      { conv = { out = 3, kernel = 4, stride = 2 } },
    ]
    decoder = [
      { transposed = { out = 4, kernel = 3, pad = 1, relu = true } },
      { transposed = { out = 12, stride = 1, kernel = 3 } },
      { shuffle = 2 },
    ]"#;

struct Case {
    config: Config,
    model: VqVae,
    params: Vec<f32>,
}

fn case() -> Case {
    case_of(CONFIG)
}

fn case_of(text: &str) -> Case {
    let config = Config::parse(text, "test").unwrap();
    let model = VqVae::build(&config).unwrap();
    let mut rng = generator(3, Purpose::Weights, 0);
    let params = (0..model.table.len()).map(|_| 0.3 * normal(&mut rng) as f32);
    let params = params.collect();
    Case {
        config,
        model,
        params,
    }
}

impl Case {
    fn file(&self) -> Vec<u8> {
        to_safetensors(&self.model, &self.params)
    }

    fn import(&self, file: &[u8]) -> Result<Imported, InterchangeError> {
        import(&self.config, file, &Names::default(), None)
    }
}

/// The tensors of a file after `change`.
fn changed(
    file: &[u8],
    change: impl Fn(&str, Dtype, &[u8]) -> Option<(String, Dtype, Vec<u8>)>,
) -> Vec<u8> {
    let read = SafeTensors::deserialize(file).unwrap();
    let tensors: Vec<_> = read
        .iter()
        .filter_map(|(name, view)| {
            let (name, dtype, data) = change(name, view.dtype(), view.data())?;
            Some((name, dtype, view.shape().to_vec(), data))
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn the_layout_is_pytorchs() {
    let case = case();
    let file = case.file();
    let file = SafeTensors::deserialize(&file).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("encoder.2.weight"), [3, 5, 4, 4]);
    assert_eq!(shape("decoder.0.weight"), [3, 4, 3, 3]);
    assert_eq!(shape("quantizer.codebook"), [6, 3]);
    let at = |name: &str, i: usize| values(name, &file.tensor(name).unwrap()).unwrap()[i];
    let ours = |name: &str, i: usize| {
        let entry = case
            .model
            .table
            .entries
            .iter()
            .find(|e| e.name == name)
            .unwrap();
        case.params[entry.range.clone()][i]
    };
    // Output 2, input 4, row 1, column 3 of a convolution.
    let theirs = at("encoder.2.weight", ((2 * 5 + 4) * 4 + 1) * 4 + 3);
    assert_eq!(theirs, ours("encoder.2.weight", ((4 + 3) * 5 + 4) * 3 + 2));
    // Input 2, output 1, row 2, column 0 of a transposed one.
    let theirs = at("decoder.0.weight", ((2 * 4 + 1) * 3 + 2) * 3);
    assert_eq!(theirs, ours("decoder.0.weight", ((2 * 3 + 2) * 3) * 4 + 1));
}

#[test]
fn a_round_trip_keeps_every_bit_and_makes_a_checkpoint_that_exports() {
    let case = case();
    let imported = case.import(&case.file()).unwrap();
    assert_eq!(imported.checkpoint.params, case.params);
    assert!(imported.assumed.is_empty() && imported.unused.is_empty());
    let trainer = Trainer::resume(imported.checkpoint).unwrap();
    let codes = trainer.tables().expect("codes are placed").remove(0);
    assert_eq!(codes.values.len(), 18);
    assert_eq!(to_safetensors(&trainer.model, &trainer.params), case.file());
}

#[test]
fn every_quantiser_goes_out_and_comes_back() {
    for other in [
        "kind = 'gradient'",
        "kind = 'gumbel'",
        "kind = 'simvq'",
        "stages = 2",
        "stages = 2, sides = [2, 1]",
        "groups = 3",
        "cosine = true",
    ] {
        let case = case_of(&CONFIG.replace("dim = 3", &format!("dim = 3, {other}")));
        let imported = case.import(&case.file()).unwrap();
        assert_eq!(imported.checkpoint.params, case.params, "{other}");
        assert!(
            imported.assumed.is_empty(),
            "{other}: {:?}",
            imported.assumed
        );
    }
    // A projection is multiplied from the right here, and from the left in PyTorch.
    let case = case_of(&CONFIG.replace("dim = 3", "dim = 3, kind = 'gumbel'"));
    let file = case.file();
    let file = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(file.tensor("quantizer.weight").unwrap().shape(), [6, 3]);
}

#[test]
fn half_precision_is_widened_exactly() {
    let case = case();
    let file = case.file();
    type Narrow = fn(f32) -> (u16, f32);
    let f16: Narrow = |v| (f16::from_f32(v).to_bits(), f16::from_f32(v).to_f32());
    let bf16: Narrow = |v| (bf16::from_f32(v).to_bits(), bf16::from_f32(v).to_f32());
    for (dtype, narrow) in [(Dtype::F16, f16), (Dtype::BF16, bf16)] {
        let half = changed(&file, |name, _, data| {
            let words = data.chunks_exact(4);
            let value = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
            let bytes = words.flat_map(|b| narrow(value(b)).0.to_le_bytes());
            Some((name.into(), dtype, bytes.collect()))
        });
        let expected: Vec<f32> = case.params.iter().map(|&v| narrow(v).1).collect();
        assert_eq!(case.import(&half).unwrap().checkpoint.params, expected);
    }
    let integers = changed(&file, |name, _, data| {
        Some((name.into(), Dtype::I32, data.into()))
    });
    let error = case.import(&integers).unwrap_err().to_string();
    assert!(
        error.contains("I32") && error.contains("encoder.0"),
        "{error}"
    );
}

#[test]
fn statistics_of_the_codebook_are_made_up_only_when_both_are_not_there() {
    let case = case();
    let without = changed(&case.file(), |name, dtype, data| {
        (name != "quantizer.sums").then(|| (name.into(), dtype, data.into()))
    });
    let imported = case.import(&without).unwrap();
    let params = &imported.checkpoint.params;
    let of = |name: &str| {
        let entry = case.model.table.entries.iter().find(|e| e.name == name);
        &params[entry.unwrap().range.clone()]
    };
    assert_eq!(of("quantizer.sums"), of("quantizer.codebook"));
    assert_eq!(of("quantizer.counts"), [1.0; 6]);
    assert_eq!(imported.assumed.len(), 2);
    assert_eq!(imported.unused, ["quantizer.counts"]);
}

#[test]
fn another_range_of_pixels_is_exact_at_the_borders_too() {
    for case in [case(), case_of(&ends_with_tanh())] {
        assert_range_of_pixels(&case);
    }
}

/// A decoder whose output is no convolution's.
fn ends_with_tanh() -> String {
    let text = CONFIG.replace("{ shuffle = 2 },\n    ]", "{ shuffle = 2 },\n\"tanh\" ]");
    assert_ne!(text, CONFIG);
    text
}

fn assert_range_of_pixels(case: &Case) {
    for (text, low, high) in [
        ("-1..1", -1.0, 1.0),
        ("0..1", 0.0, 1.0),
        ("-0.5..0.5", -0.5, 0.5),
    ] {
        let pixels = Some(text.parse().unwrap());
        let imported = import(&case.config, &case.file(), &Names::default(), pixels).unwrap();
        let trainer = Trainer::resume(imported.checkpoint).unwrap();
        let byte =
            |(_, y, x, c): (usize, usize, usize, usize)| ((y * 37 + x * 11 + c * 90) % 256) as f32;
        let ours = Array4::from_shape_fn((1, 16, 16, 3), |i| (byte(i) - 128.0) / 128.0);
        let theirs =
            Array4::from_shape_fn((1, 16, 16, 3), |i| low + (high - low) * byte(i) / 255.0);
        let z = case.model.encode(&case.params, theirs.view());
        let folded = trainer.model.encode(&trainer.params, ours.view());
        let error = (&z - &folded).iter().fold(0.0f32, |a, v| a.max(v.abs()));
        assert!(error < 2e-5, "{text}: {error}");
        let theirs = case.model.decode(&case.params, z.view());
        let as_bytes = theirs.mapv(|v| (v - low) / (high - low) * 255.0);
        let ours = trainer.model.decode(&trainer.params, z.view());
        let error = (as_bytes - ours.mapv(|v| 128.0 * v + 128.0)).mapv(f32::abs);
        let largest = error.iter().fold(0.0f32, |a, &v| a.max(v));
        assert!(largest < 1e-2, "{text}: {largest} of 255");
    }
}

#[test]
fn ranges_of_pixels_that_are_none_are_refused() {
    for text in [
        "", "1", "..", "1..0", "0..0", "nan..1", "0..inf", "a..b", "-1e9..1",
    ] {
        assert!(text.parse::<Pixels>().is_err(), "{text}");
    }
}

#[test]
fn bytes_from_outside_are_refused_with_a_reason_and_never_panic() {
    let case = case();
    let file = case.file();
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    for n in (0..header).chain([file.len() - 1]) {
        case.import(&file[..n]).unwrap_err();
    }
    for n in 0..header {
        for bit in [0x01, 0x10, 0x80] {
            let mut flipped = file.clone();
            flipped[n] ^= bit;
            // A flipped bit in a name that is not looked at, or in a blank, changes nothing.
            if let Ok(imported) = case.import(&flipped) {
                assert_eq!(imported.checkpoint.params.len(), case.params.len());
            }
        }
    }
    let hostile = |json: &str, length: u64| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.extend([0; 64]);
        case.import(&bytes).unwrap_err().to_string()
    };
    hostile("{}", u64::MAX);
    hostile("{}", 1 << 40);
    let tensor = |shape: &str, ends: &str| {
        format!(r#"{{"encoder.0.weight":{{"dtype":"F32","shape":{shape},"data_offsets":{ends}}}}}"#)
    };
    for (shape, ends) in [
        ("[5,3,3,3]", "[0,64]"),
        ("[18446744073709551615,18446744073709551615]", "[0,64]"),
        ("[16]", "[64,0]"),
        ("[16]", "[0,18446744073709551615]"),
        ("[-1]", "[0,64]"),
        ("[0,18446744073709551615]", "[0,0]"),
    ] {
        let json = tensor(shape, ends);
        hostile(&json, json.len() as u64);
    }
    let json = tensor("[16]", "[0,64]");
    let error = hostile(&json, json.len() as u64);
    assert!(
        error.contains("encoder.0") && error.contains("--map"),
        "{error}"
    );
}

#[test]
fn values_that_are_not_finite_are_named() {
    let case = case();
    for bad in [f32::NAN, f32::INFINITY] {
        let file = changed(&case.file(), |name, dtype, data| {
            let mut data = data.to_vec();
            if name == "decoder.1.bias" {
                data[8..12].copy_from_slice(&bad.to_le_bytes());
            }
            Some((name.into(), dtype, data))
        });
        let error = case.import(&file).unwrap_err().to_string();
        assert!(error.contains("decoder.1.bias[2]"), "{error}");
    }
}
