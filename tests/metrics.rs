//! PSNR, SSIM, MS-SSIM and LPIPS, and the gradients of the last two, against values computed outside of this
//! project.
//!
//! The fixtures are written by `oracle/ssim.py` (scikit-image), `oracle/ms_ssim.py` (pytorch-msssim),
//! `oracle/lpips.py` (numpy and scipy, itself checked against the published pair) and
//! `oracle/lpips_gradient.py` (PyTorch).

use std::fs;
use std::path::PathBuf;

use safetensors::SafeTensors;
use serde::Deserialize;
use vq_train::data::to_batch;
use vq_train::loss::ms_ssim::gradient;
use vq_train::metrics::{Lpips, ms_ssim, psnr, ssim};
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

/// What pytorch-msssim says of pictures that are made from their size.
#[derive(Deserialize)]
struct MsSsimCase {
    width: usize,
    height: usize,
    channels: usize,
    ms_ssim: f64,
    /// Every so many values of the gradient are given.
    step: usize,
    gradient: Vec<f32>,
}

impl MsSsimCase {
    /// As `pictures` of the script.
    fn pictures(&self) -> [Picture; 2] {
        let size = Size {
            width: self.width,
            height: self.height,
        };
        let samples = || (0..size.width * size.height * self.channels).map(|i| i as i32);
        let (w, c) = (self.width as i32, self.channels as i32);
        let place = |i: i32| (i / c / w, i / c % w, i % c);
        let a = |i: i32| {
            let (y, x, k) = place(i);
            (x * x / 7 + 3 * y + 40 * k) % 256
        };
        let b = |i: i32| {
            let (y, x, k) = place(i);
            let noise = (37 * x + 91 * y + 53 * k + 7 * x * y) % 61 - 30;
            (a(i) + noise).clamp(0, 255)
        };
        let picture = |pixels: Vec<u8>| Picture::new(size, self.channels, pixels);
        [
            picture(samples().map(|i| a(i) as u8).collect()),
            picture(samples().map(|i| b(i) as u8).collect()),
        ]
    }
}

#[test]
fn ms_ssim_and_its_gradient_agree_with_pytorch_msssim() {
    #[derive(Deserialize)]
    struct Fixture {
        cases: Vec<MsSsimCase>,
    }
    let text = fs::read_to_string(oracle("ms_ssim.json")).unwrap();
    let fixture: Fixture = serde_json::from_str(&text).unwrap();
    assert_eq!(fixture.cases.len(), 3);
    for case in fixture.cases {
        let [a, b] = case.pictures();
        assert_near(ms_ssim(&a, &b).unwrap(), case.ms_ssim, 5e-6);
        let [x, y] = [a, b].map(|picture| to_batch(&[picture]));
        let every = |dy: Vec<f32>| dy.into_iter().step_by(case.step).collect::<Vec<f32>>();
        let (loss, dy) = gradient(x.view(), y.view(), &mut Tape::recording());
        assert_near(loss, 1.0 - case.ms_ssim, 5e-6);
        assert_gradient(&every(dy.into_iter().collect()), &case.gradient, 1e-4);
        let [x, y] = [x, y].map(|map| map.mapv(f64::from));
        let (loss, dy) = gradient(x.view(), y.view(), &mut Tape::recording());
        assert_near(loss, 1.0 - case.ms_ssim, 1e-12);
        let rounded = dy.into_iter().map(|v| v as f32).collect();
        assert_gradient(&every(rounded), &case.gradient, 1e-6);
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
