//! PSNR, SSIM and LPIPS, and the gradient of the last, against values computed outside of this
//! project.
//!
//! The fixtures are written by `oracle/ssim.py` (scikit-image), `oracle/lpips.py` (numpy and scipy, itself checked against the published pair) and
//! `oracle/lpips_gradient.py` (PyTorch).

use std::fs;
use std::path::PathBuf;

use safetensors::SafeTensors;
use serde::Deserialize;
use vq_train::data::to_batch;
use vq_train::metrics::{Lpips, psnr, ssim};
use vq_train::nn::Tape;
use vq_train::picture::{Picture, Size};

/// Two pictures as hex, and what the oracle says of them.
#[derive(Deserialize)]
struct Case {
    width: usize,
    height: usize,
    channels: usize,
    a: String,
    b: String,
    psnr: Option<f64>,
    ssim: Option<f64>,
    lpips: Option<f64>,
}

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

impl Case {
    fn pictures(&self) -> [Picture; 2] {
        let size = Size {
            width: self.width,
            height: self.height,
        };
        let byte = |i: usize, text: &str| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
        let bytes = |text: &str| (0..text.len()).step_by(2).map(|i| byte(i, text)).collect();
        [&self.a, &self.b].map(|text| Picture::new(size, self.channels, bytes(text)))
    }
}

fn oracle(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("oracle")
        .join(name)
}

fn assert_near(ours: f64, theirs: f64, tolerance: f64) {
    assert!(
        (ours - theirs).abs() <= tolerance,
        "{ours} here, {theirs} there"
    );
}

#[test]
fn psnr_and_ssim_agree_with_scikit_image() {
    let text = fs::read_to_string(oracle("ssim.json")).unwrap();
    let fixture: Fixture = serde_json::from_str(&text).unwrap();
    assert_eq!(fixture.cases.len(), 3);
    for case in fixture.cases {
        let [a, b] = case.pictures();
        assert_near(psnr(&a, &b), case.psnr.unwrap(), 1e-9);
        assert_near(ssim(&a, &b).unwrap(), case.ssim.unwrap(), 1e-9);
    }
}

#[test]
fn lpips_agrees_with_scipy_on_a_small_network() {
    let text = fs::read_to_string(oracle("lpips.json")).unwrap();
    let case: Case = serde_json::from_str(&text).unwrap();
    let network = Lpips::load(&oracle("lpips.safetensors")).unwrap();
    let [a, b] = case.pictures();
    assert_near(network.distance(&a, &b).unwrap(), case.lpips.unwrap(), 1e-6);
}

/// The largest error of a gradient, as a share of its largest value.
fn assert_gradient(ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
    let error = largest(&mut ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()));
    let most = largest(&mut theirs.iter().map(|v| v.abs()));
    assert!(error <= tolerance * most, "off by {error} of {most}");
}

#[test]
fn lpips_has_pytorchs_gradient_on_a_small_network() {
    let text = fs::read_to_string(oracle("lpips.json")).unwrap();
    let case: Case = serde_json::from_str(&text).unwrap();
    let network = Lpips::load(&oracle("lpips.safetensors")).unwrap();
    let bytes = fs::read(oracle("lpips_gradient.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for (name, channels) in [("rgb", 3), ("grey", 1)] {
        let [x, y] = case.pictures().map(|picture| {
            let samples = picture.pixels.chunks_exact(picture.channels);
            let pixels = samples.flat_map(|pixel| &pixel[..channels]).copied();
            to_batch(&[Picture::new(picture.size(), channels, pixels.collect())])
        });
        let (_, dy) = network.gradient(x.view(), y.view(), &mut Tape::recording());
        let data = file.tensor(name).unwrap().data();
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
        let theirs: Vec<f32> = data.chunks_exact(4).map(number).collect();
        assert_gradient(dy.as_slice().unwrap(), &theirs, 1e-5);
    }
}

/// The pair that the authors of LPIPS publish; needs their weights, which are too large to ship.
#[test]
fn lpips_agrees_with_the_published_pair() {
    if std::env::var_os(Lpips::VARIABLE).is_none() {
        eprintln!(
            "{} names no weights: only the small network is checked",
            Lpips::VARIABLE
        );
        return;
    }
    let network = Lpips::find(None).unwrap();
    let picture = |name: &str| Picture::load(&oracle("lpips-example").join(name)).unwrap();
    let reference = picture("ex_ref.png");
    for (name, published) in [("ex_p0.png", 0.72188), ("ex_p1.png", 0.13757)] {
        assert_near(
            network.distance(&reference, &picture(name)).unwrap(),
            published,
            2e-5,
        );
    }
}
