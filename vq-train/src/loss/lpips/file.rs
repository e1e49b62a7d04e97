//! AlexNet as LPIPS has it, and its weights from a safetensors file.

use super::{Lpips, Stage};
use crate::input;
use crate::nn::{
    Chain, Conv2d, ConvSpec, FixedWeights, MaxPool, Padding, ParamTable, PoolSpec, Scalar,
};
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};
use std::{env, io};

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

/// Sizes of one of AlexNet's convolutions.
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
        match Self::named(path) {
            Some(path) => Self::load(&path),
            None => Err(LpipsError::NotNamed),
        }
    }

    /// The weights file that [`Lpips::find`] loads: `path`, or else the one that [`Lpips::VARIABLE`] names.
    pub fn named(path: Option<&Path>) -> Option<PathBuf> {
        let named = env::var_os(Self::VARIABLE).filter(|value| !value.is_empty());
        path.map(PathBuf::from).or(named.map(PathBuf::from))
    }

    /// Loads the weights from a safetensors file.
    ///
    /// # Errors
    /// [`LpipsError::Read`], [`LpipsError::Content`].
    pub fn load(path: &Path) -> Result<Lpips, LpipsError> {
        let bytes = input::read(path).map_err(|source| LpipsError::Read {
            path: path.into(),
            source,
        })?;
        Self::from_safetensors(&bytes).map_err(|reason| LpipsError::Content {
            path: path.into(),
            reason,
        })
    }
}

impl<T: Scalar> Lpips<T> {
    /// Takes the weights from a safetensors file's bytes, or says what is wrong with them.
    pub(super) fn from_safetensors(bytes: &[u8]) -> Result<Self, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let mut table = ParamTable::default();
        let (mut stages, mut values) = (Vec::with_capacity(ALEXNET.len()), Vec::new());
        let mut in_channels = 3;
        for (index, geometry) in ALEXNET.into_iter().enumerate() {
            let bias: Vec<T> = tensor(&file, &format!("conv{index}.bias"), None)?;
            let (k, out_channels) = (geometry.kernel, bias.len());
            let shape = [out_channels, in_channels, k, k];
            let oihw: Vec<T> = tensor(&file, &format!("conv{index}.weight"), Some(&shape))?;
            let head = tensor(&file, &format!("lin{index}.weight"), Some(&[out_channels]))?;
            stages.push(Stage {
                layers: geometry.layers(in_channels, out_channels, index, &mut table),
                head,
            });
            // The table's order: W as [k, k, in_channels, out_channels], then b.
            values.extend((0..k * k * in_channels * out_channels).map(|i| {
                let (position, c, o) = (
                    i / out_channels / in_channels,
                    i / out_channels % in_channels,
                    i % out_channels,
                );
                oihw[(o * in_channels + c) * k * k + position]
            }));
            values.extend(bias);
            in_channels = out_channels;
        }
        let chains: Vec<&Chain> = stages.iter().map(|stage| &stage.layers).collect();
        let weights = FixedWeights::new(&table, &chains, values);
        Ok(Lpips { stages, weights })
    }
}

impl Geometry {
    /// Pooling where AlexNet has it, convolution, ReLU.
    fn layers(
        self,
        in_channels: usize,
        out_channels: usize,
        index: usize,
        table: &mut ParamTable,
    ) -> Chain {
        let pool = PoolSpec {
            kernel: 3,
            stride: 2,
            pad: Padding::NONE,
        };
        let spec = ConvSpec {
            in_channels,
            out_channels,
            kernel: self.kernel,
            stride: self.stride,
            pad: Padding::even(self.padding),
            relu: true,
            bias: true,
        };
        let pool = self.pool.then_some(MaxPool(pool).into());
        let conv = Conv2d::new(spec, &format!("conv{index}"), None, table);
        Chain {
            layers: pool.into_iter().chain([conv.into()]).collect(),
        }
    }
}

/// The f32 values of a tensor, which must have `shape` (or one dimension of any length).
fn tensor<T: Scalar>(
    file: &SafeTensors<'_>,
    name: &str,
    shape: Option<&[usize]>,
) -> Result<Vec<T>, String> {
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
    let (numbers, _) = view.data().as_chunks::<4>();
    let number = |&bytes: &[u8; 4]| T::of(f64::from(f32::from_le_bytes(bytes)));
    Ok(numbers.iter().map(number).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::nn::normal;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::fs;

    impl<T: Scalar> Lpips<T> {
        /// A network of AlexNet's form with few channels and drawn weights.
        pub(crate) fn small() -> Self {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let weight = |fan_in: usize| (normal(&mut rng) * (2.0 / fan_in as f64).sqrt()) as f32;
            Self::from_safetensors(&file([5, 6, 4, 5, 3], None, weight)).unwrap()
        }
    }

    /// The bytes of a network with these numbers of channels, without the tensor `drop`; `value` makes each
    /// weight from the number of those that its output adds up.
    pub(in super::super) fn file(
        channels: [usize; 5],
        drop: Option<&str>,
        mut value: impl FnMut(usize) -> f32,
    ) -> Vec<u8> {
        let mut tensors = Vec::new();
        let mut in_channels = 3;
        for (i, (out_channels, geometry)) in channels.into_iter().zip(ALEXNET).enumerate() {
            let k = geometry.kernel;
            tensors.push((
                format!("conv{i}.weight"),
                vec![out_channels, in_channels, k, k],
            ));
            tensors.push((format!("conv{i}.bias"), vec![out_channels]));
            tensors.push((format!("lin{i}.weight"), vec![out_channels]));
            in_channels = out_channels;
        }
        tensors.retain(|(name, _)| Some(name.as_str()) != drop);
        let bytes = |(name, shape): (String, Vec<usize>)| {
            let fan_in = shape[1..].iter().product();
            let count = shape.iter().product::<usize>();
            let data: Vec<u8> = (0..count)
                .flat_map(|_| value(fan_in).to_le_bytes())
                .collect();
            (name, shape, data)
        };
        let tensors: Vec<_> = tensors.into_iter().map(bytes).collect();
        let views = tensors.iter().map(|(name, shape, data)| {
            let view = safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), data);
            (name, view.unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn a_faulty_file_is_named_with_its_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let say = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Lpips::load(&path).expect_err("must not load").to_string()
        };
        let whole = file([1; 5], None, |_| 0.01);
        let without = file([1; 5], Some("lin3.weight"), |_| 0.01);
        assert!(say(&without).contains("no tensor lin3.weight"));
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
