//! LPIPS v0.1 with AlexNet (Zhang et al. 2018): the forward pass, for measuring.
//!
//! Two pictures pass the five convolutions of AlexNet; after each, the features are brought to
//! unit length over the channels, subtracted, squared, weighted by a learned head and averaged over
//! the map; the five results are added up. There is no backward pass here.
//!
//! The weights are not part of `vq`: 2.5 million numbers in a safetensors file with the tensors
//! `conv{0..4}.weight` (OIHW), `conv{0..4}.bias` and `lin{0..4}.weight`, all f32. Channel counts
//! are taken from the file, so a small network of the same form can be tested against an oracle.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use ndarray::{Array1, Array2, ArrayView2, Axis};
use safetensors::{Dtype, SafeTensors};

use super::assert_comparable;
use crate::picture::Picture;

/// Why LPIPS cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LpipsError {
    /// Nobody named a weights file.
    #[error(
        "LPIPS needs AlexNet's weights, which are not part of vq: name a safetensors file \
         (conv0..4.weight, conv0..4.bias, lin0..4.weight; about 10 MB) with --lpips or in the \
         environment variable {}",
        Lpips::VARIABLE
    )]
    NotNamed,
    /// The file cannot be read.
    #[error("cannot read the LPIPS weights {path}: {source}; check --lpips or {}", Lpips::VARIABLE, path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{path} does not hold the LPIPS weights: {reason}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The first thing that is wrong.
        reason: String,
    },
}

/// The network with its weights; one value serves any number of threads.
pub struct Lpips {
    stages: Vec<Stage>,
}

/// A convolution with its ReLU, and the head that weighs its features.
struct Stage {
    geometry: Geometry,
    /// [kernel * kernel * c_in, c_out], rows in the order of a patch: ky, kx, channel.
    weights: Array2<f32>,
    /// [c_out]
    bias: Array1<f32>,
    /// [c_out]
    head: Array1<f32>,
}

/// What AlexNet fixes about a convolution.
#[derive(Clone, Copy)]
struct Geometry {
    /// Whether a max-pooling of 3x3, stride 2 comes first.
    pool: bool,
    kernel: usize,
    stride: usize,
    padding: usize,
}

const ALEXNET: [Geometry; 5] = [
    Geometry {
        pool: false,
        kernel: 11,
        stride: 4,
        padding: 2,
    },
    Geometry {
        pool: true,
        kernel: 5,
        stride: 1,
        padding: 2,
    },
    Geometry {
        pool: true,
        kernel: 3,
        stride: 1,
        padding: 1,
    },
    Geometry {
        pool: false,
        kernel: 3,
        stride: 1,
        padding: 1,
    },
    Geometry {
        pool: false,
        kernel: 3,
        stride: 1,
        padding: 1,
    },
];

/// Mean and spread of ImageNet's channels, for samples in -1..1.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

/// A feature map: `values` is [h * w, c].
struct Map {
    h: usize,
    w: usize,
    values: Array2<f32>,
}

impl Lpips {
    /// The environment variable that names the weights file.
    pub const VARIABLE: &str = "VQ_LPIPS";

    /// The shortest side for which every layer has something to work on.
    pub const MIN_SIDE: usize = 31;

    /// Loads the weights from `path`, or else from the file that [`Lpips::VARIABLE`] names.
    ///
    /// # Errors
    /// [`LpipsError`]; `NotNamed` when there is neither.
    pub fn find(path: Option<&Path>) -> Result<Lpips, LpipsError> {
        let named = env::var_os(Self::VARIABLE).filter(|value| !value.is_empty());
        match path.map(PathBuf::from).or(named.map(PathBuf::from)) {
            Some(path) => Self::load(&path),
            None => Err(LpipsError::NotNamed),
        }
    }

    /// Loads the weights from a safetensors file.
    ///
    /// # Errors
    /// [`LpipsError::Read`], [`LpipsError::Content`].
    pub fn load(path: &Path) -> Result<Lpips, LpipsError> {
        let bytes = fs::read(path).map_err(|source| LpipsError::Read {
            path: path.into(),
            source,
        })?;
        Self::from_safetensors(&bytes).map_err(|reason| LpipsError::Content {
            path: path.into(),
            reason,
        })
    }

    fn from_safetensors(bytes: &[u8]) -> Result<Lpips, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let mut stages = Vec::with_capacity(ALEXNET.len());
        let mut c_in = 3;
        for (index, geometry) in ALEXNET.into_iter().enumerate() {
            let stage = Stage::from_safetensors(&file, index, geometry, c_in)?;
            c_in = stage.bias.len();
            stages.push(stage);
        }
        Ok(Lpips { stages })
    }

    /// The perceptual distance of two pictures, 0 when they are identical; `None` where a side is
    /// shorter than [`Lpips::MIN_SIDE`]. Grey pictures are taken as RGB.
    ///
    /// # Panics
    /// When the pictures differ in size or channels.
    pub fn distance(&self, a: &Picture, b: &Picture) -> Option<f64> {
        assert_comparable(a, b);
        if a.width.min(a.height) < Self::MIN_SIDE {
            return None;
        }
        let (mut a, mut b) = (normalised(a), normalised(b));
        let mut distance = 0.0;
        for stage in &self.stages {
            (a, b) = (stage.forward(&a), stage.forward(&b));
            distance += stage.compare(a.values.view(), b.values.view());
        }
        Some(distance)
    }
}

impl Stage {
    fn from_safetensors(
        file: &SafeTensors<'_>,
        index: usize,
        geometry: Geometry,
        c_in: usize,
    ) -> Result<Stage, String> {
        let k = geometry.kernel;
        let bias = tensor(file, &format!("conv{index}.bias"), None)?;
        let c_out = bias.len();
        let oihw = tensor(
            file,
            &format!("conv{index}.weight"),
            Some(&[c_out, c_in, k, k]),
        )?;
        let head = tensor(file, &format!("lin{index}.weight"), Some(&[c_out]))?;
        let weights = Array2::from_shape_fn((k * k * c_in, c_out), |(row, o)| {
            let (position, c) = (row / c_in, row % c_in);
            oihw[(o * c_in + c) * k * k + position]
        });
        Ok(Stage {
            geometry,
            weights,
            bias: bias.into(),
            head: head.into(),
        })
    }

    /// Pooling where AlexNet has it, convolution, ReLU.
    fn forward(&self, input: &Map) -> Map {
        if self.geometry.pool {
            return self.convolve(&max_pool(input));
        }
        self.convolve(input)
    }

    fn convolve(&self, input: &Map) -> Map {
        let Geometry {
            kernel,
            stride,
            padding,
            ..
        } = self.geometry;
        let out = |side: usize| (side + 2 * padding - kernel) / stride + 1;
        let (h, w) = (out(input.h), out(input.w));
        let mut values = patches(input, self.geometry, h, w).dot(&self.weights);
        values += &self.bias;
        values.mapv_inplace(|v| v.max(0.0));
        Map { h, w, values }
    }

    /// The mean over all positions of `sum_c head_c (a^_c - b^_c)^2`, a^ and b^ of unit length.
    fn compare(&self, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> f64 {
        let position = |(a, b): (ndarray::ArrayView1<'_, f32>, ndarray::ArrayView1<'_, f32>)| {
            let (na, nb) = (a.dot(&a).sqrt() + 1e-10, b.dot(&b).sqrt() + 1e-10);
            let squares = a.iter().zip(b).map(|(a, b)| (a / na - b / nb).powi(2));
            f64::from(
                squares
                    .zip(&self.head)
                    .map(|(square, head)| square * head)
                    .sum::<f32>(),
            )
        };
        let total: f64 = a.rows().into_iter().zip(b.rows()).map(position).sum();
        total / a.len_of(Axis(0)) as f64
    }
}

/// The f32 values of a tensor, which must have `shape` (or one dimension of any length).
fn tensor(file: &SafeTensors<'_>, name: &str, shape: Option<&[usize]>) -> Result<Vec<f32>, String> {
    let view = file
        .tensor(name)
        .map_err(|_| format!("there is no tensor {name}"))?;
    let fits = shape.map_or(view.shape().len() == 1, |expected| view.shape() == expected);
    if view.dtype() != Dtype::F32 || !fits || view.data().is_empty() {
        let expected = shape.map_or("one dimension".into(), |s| format!("{s:?}"));
        let (found, dtype) = (view.shape(), view.dtype());
        return Err(format!(
            "{name} is {dtype:?} {found:?} instead of F32 {expected}"
        ));
    }
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    Ok(view.data().chunks_exact(4).map(number).collect())
}

/// Samples brought to -1..1 and then to AlexNet's input distribution.
fn normalised(picture: &Picture) -> Map {
    let rgb = picture.with_channels(3);
    let values = Array2::from_shape_fn((rgb.height * rgb.width, 3), |(i, c)| {
        (f32::from(rgb.pixels[i * 3 + c]) / 127.5 - 1.0 - SHIFT[c]) / SCALE[c]
    });
    Map {
        h: rgb.height,
        w: rgb.width,
        values,
    }
}

/// im2col: [h * w, kernel * kernel * c], each row the patch under one output; zeros outside.
fn patches(input: &Map, geometry: Geometry, h: usize, w: usize) -> Array2<f32> {
    let Geometry {
        kernel,
        stride,
        padding,
        ..
    } = geometry;
    let c = input.values.ncols();
    let source = input.values.as_slice().expect("maps are contiguous");
    let mut patches = Array2::zeros((h * w, kernel * kernel * c));
    for (i, mut patch) in patches.rows_mut().into_iter().enumerate() {
        let patch = patch.as_slice_mut().expect("rows are contiguous");
        let (top, left) = (i / w * stride, i % w * stride);
        for ky in 0..kernel {
            let Some(y) = (top + ky).checked_sub(padding).filter(|&y| y < input.h) else {
                continue;
            };
            // Columns first..last of the kernel lie inside the map; one copy for all of them.
            let first = padding.saturating_sub(left);
            let last = kernel.min(input.w + padding - left);
            let from = (y * input.w + left + first - padding) * c;
            let run = (last - first) * c;
            patch[(ky * kernel + first) * c..][..run].copy_from_slice(&source[from..][..run]);
        }
    }
    patches
}

/// Largest value of each 3x3 window, stride 2, no padding.
fn max_pool(input: &Map) -> Map {
    let (h, w) = ((input.h - 3) / 2 + 1, (input.w - 3) / 2 + 1);
    let values = Array2::from_shape_fn((h * w, input.values.ncols()), |(i, c)| {
        let (top, left) = (i / w * 2, i % w * 2);
        let window = (0..9).map(|k| input.values[[(top + k / 3) * input.w + left + k % 3, c]]);
        window.fold(f32::NEG_INFINITY, f32::max)
    });
    Map { h, w, values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Size;

    /// A network with one channel in each stage, all weights 0.01.
    fn file(drop: Option<&str>) -> Vec<u8> {
        let shapes: Vec<(String, Vec<usize>)> = (0..5)
            .flat_map(|i| {
                let (k, c_in) = (ALEXNET[i].kernel, if i == 0 { 3 } else { 1 });
                [
                    (format!("conv{i}.weight"), vec![1, c_in, k, k]),
                    (format!("conv{i}.bias"), vec![1]),
                    (format!("lin{i}.weight"), vec![1]),
                ]
            })
            .filter(|(name, _)| Some(name.as_str()) != drop)
            .collect();
        let ones = 0.01f32.to_le_bytes().repeat(3 * 11 * 11);
        let view = |shape: &Vec<usize>| {
            let data = &ones[..shape.iter().product::<usize>() * 4];
            safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), data).unwrap()
        };
        safetensors::serialize(shapes.iter().map(|(name, shape)| (name, view(shape))), None)
            .unwrap()
    }

    #[test]
    fn identical_pictures_have_no_distance_and_small_ones_none_at_all() {
        let network = Lpips::from_safetensors(&file(None)).unwrap();
        let side = Lpips::MIN_SIDE;
        let picture = Picture::filled(
            Size {
                width: side,
                height: side + 9,
            },
            &[9, 99, 199],
        );
        assert_eq!(network.distance(&picture, &picture), Some(0.0));
        let small = Picture::filled(
            Size {
                width: side - 1,
                height: side,
            },
            &[9],
        );
        assert_eq!(network.distance(&small, &small), None);
    }

    #[test]
    fn a_faulty_file_is_named_with_its_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let say = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Lpips::load(&path).err().expect("must not load").to_string()
        };
        let whole = file(None);
        assert!(say(&file(Some("lin3.weight"))).contains("no tensor lin3.weight"));
        assert!(say(&whole[..whole.len() - 1]).contains("weights.safetensors"));
        assert!(say(b"").contains("does not hold"));
        let absent = Lpips::load(&folder.path().join("none"))
            .err()
            .unwrap()
            .to_string();
        assert!(
            absent.contains("none") && absent.contains("VQ_LPIPS"),
            "{absent}"
        );
    }
}
