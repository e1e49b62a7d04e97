//! The codecs that a user would pick instead, each at the setting nearest in bytes.
//!
//! JPEG comes from the `jpeg-encoder` crate, WebP from libwebp. Both are given their best: JPEG
//! optimised Huffman tables and 4:2:0, lossy WebP its slowest method. Whole files are counted,
//! headers included, because whole files are what a link carries. Nothing is tuned beyond the
//! quality setting, as in a user's hands.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::picture::Picture;

/// A codec to be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// Baseline JPEG, qualities 1 to 100.
    Jpeg,
    /// Lossy WebP, qualities 0 to 100.
    WebP,
}

/// A picture as a rival codec gives it back.
#[derive(Clone, Debug)]
pub struct RivalPicture {
    /// Who did it.
    pub rival: Rival,
    /// The quality setting.
    pub quality: u8,
    /// Whether no setting found gives a file as small as the target.
    pub too_large: bool,
    /// Size of the whole file.
    pub bytes: usize,
    /// The file decoded, with the channels of the original.
    pub picture: Picture,
}

/// A rival codec refused a picture.
#[derive(Debug, thiserror::Error)]
#[error(
    "{rival} cannot code a picture of {width}x{height} pixels: {reason}; leave it out of --against or give a --size"
)]
pub struct RivalError {
    rival: Rival,
    width: usize,
    height: usize,
    reason: String,
}

impl Rival {
    /// All of them.
    pub const ALL: [Rival; 2] = [Rival::Jpeg, Rival::WebP];

    /// Codes `picture` with the setting whose file is nearest to `target` bytes, the smaller one
    /// of two that are equally near. For a few hundred bytes that is often the lowest there is.
    /// File sizes are taken to grow with quality, which they do but for a few bytes.
    ///
    /// # Errors
    /// [`RivalError`] when the picture is larger than the format allows.
    pub fn nearest(self, picture: &Picture, target: usize) -> Result<RivalPicture, RivalError> {
        // Bisection: `low` gives at most the target (or is the lowest), `high` more (or is 100).
        let (mut low, mut high) = (self.lowest_quality(), 100);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.encode(picture, middle)?.len() <= target {
                true => low = middle,
                false => high = middle,
            }
        }
        let files = [
            (low, self.encode(picture, low)?),
            (high, self.encode(picture, high)?),
        ];
        let too_large = files.iter().all(|(_, file)| file.len() > target);
        let (quality, file) = files
            .into_iter()
            .min_by_key(|(_, file)| file.len().abs_diff(target))
            .expect("there are two");
        let decoded = self
            .decode(picture, quality, &file)
            .map_err(|reason| self.error(picture, reason))?;
        Ok(RivalPicture {
            rival: self,
            quality,
            too_large,
            bytes: file.len(),
            picture: decoded.with_channels(picture.channels),
        })
    }

    /// The whole file of `picture` at `quality`, as small as this codec writes it.
    ///
    /// # Errors
    /// As [`Rival::nearest`].
    pub fn encode(self, picture: &Picture, quality: u8) -> Result<Vec<u8>, RivalError> {
        let file = match self {
            Rival::Jpeg => encode_jpeg(picture, quality, Huffman::Optimised),
            Rival::WebP => encode_webp(picture, quality),
        };
        file.map_err(|reason| self.error(picture, reason))
    }

    fn lowest_quality(self) -> u8 {
        match self {
            Rival::Jpeg => 1,
            Rival::WebP => 0,
        }
    }

    /// What `file`, which is `picture` at `quality`, decodes to.
    fn decode(self, picture: &Picture, quality: u8, file: &[u8]) -> Result<Picture, String> {
        let parse = |file: &[u8]| {
            Picture::from_file_bytes(file, Path::new("the coded file")).map_err(|e| e.to_string())
        };
        match self {
            Rival::Jpeg => parse(&encode_jpeg(picture, quality, Huffman::Standard)?),
            Rival::WebP => parse(file),
        }
    }

    fn error(self, picture: &Picture, reason: String) -> RivalError {
        RivalError {
            rival: self,
            width: picture.width,
            height: picture.height,
            reason,
        }
    }
}

impl FromStr for Rival {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Rival::ALL
            .into_iter()
            .find(|rival| rival.to_string() == name.to_ascii_lowercase())
            .ok_or_else(|| {
                format!("{name:?} is not a codec to compare with; there are jpeg and webp")
            })
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Rival::Jpeg => "jpeg",
            Rival::WebP => "webp",
        })
    }
}

/// Which code tables a JPEG carries. They decide its size and nothing about its pixels.
///
/// `jpeg-encoder` puts components with optimised tables into separate scans, which the decoder of
/// the `image` crate misreads. So the optimised file is counted, and its twin decoded.
#[derive(Clone, Copy, PartialEq)]
enum Huffman {
    Standard,
    Optimised,
}

fn encode_jpeg(picture: &Picture, quality: u8, huffman: Huffman) -> Result<Vec<u8>, String> {
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder.set_optimized_huffman_tables(huffman == Huffman::Optimised);
    let colour = match picture.channels {
        1 => jpeg_encoder::ColorType::Luma,
        _ => jpeg_encoder::ColorType::Rgb,
    };
    let side = |n: usize| u16::try_from(n).map_err(|e| e.to_string());
    encoder
        .encode(
            &picture.pixels,
            side(picture.width)?,
            side(picture.height)?,
            colour,
        )
        .map_err(|e| e.to_string())?;
    Ok(file)
}

fn encode_webp(picture: &Picture, quality: u8) -> Result<Vec<u8>, String> {
    let rgb = picture.with_channels(3);
    let mut config = webp::WebPConfig::new().map_err(|()| "libwebp does not start".to_string())?;
    config.quality = f32::from(quality);
    config.method = 6;
    let (width, height) = (rgb.width as u32, rgb.height as u32);
    webp::Encoder::from_rgb(&rgb.pixels, width, height)
        .encode_advanced(&config)
        .map(|file| file.to_vec())
        .map_err(|e| format!("{e:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::psnr;
    use crate::picture::Size;

    fn waves(size: Size, channels: usize) -> Picture {
        let sample = |i: usize| {
            let (x, y) = (i / channels % size.width, i / channels / size.width);
            let wave = (x as f64 / 5.0 + (i % channels) as f64).sin() * (y as f64 / 7.0).cos();
            (128.0 + 100.0 * wave) as u8
        };
        let pixels = (0..size.width * size.height * channels)
            .map(sample)
            .collect();
        Picture::new(size, channels, pixels)
    }

    #[test]
    fn the_nearest_setting_is_the_nearest_of_all() {
        for channels in [1, 3] {
            let picture = waves(
                Size {
                    width: 48,
                    height: 40,
                },
                channels,
            );
            for rival in Rival::ALL {
                let sizes = (rival.lowest_quality()..=100)
                    .map(|q| rival.encode(&picture, q).unwrap().len());
                let sizes: Vec<usize> = sizes.collect();
                for target in [0, 700, 1200, 1_000_000] {
                    let coded = rival.nearest(&picture, target).unwrap();
                    let off = |bytes: usize| bytes.abs_diff(target);
                    let best = sizes.iter().map(|&bytes| off(bytes)).min().unwrap();
                    assert_eq!(off(coded.bytes), best, "{rival} {channels} {target}");
                    assert_eq!(coded.too_large, sizes.iter().all(|&bytes| bytes > target));
                    assert_eq!(
                        (coded.picture.size(), coded.picture.channels),
                        (picture.size(), channels)
                    );
                }
            }
        }
    }

    #[test]
    fn more_bytes_give_a_better_picture() {
        let picture = waves(
            Size {
                width: 64,
                height: 64,
            },
            3,
        );
        for rival in Rival::ALL {
            let [poor, good] = [0, 4000].map(|t| rival.nearest(&picture, t).unwrap());
            assert!(poor.too_large && !good.too_large);
            let [poor, good] = [poor, good].map(|coded| psnr(&picture, &coded.picture));
            assert!(
                poor > 10.0 && good > poor + 3.0,
                "{rival}: {poor} dB, {good} dB"
            );
        }
    }

    #[test]
    fn what_a_format_cannot_hold_is_an_error() {
        let long = Picture::filled(
            Size {
                width: 16_384,
                height: 1,
            },
            &[0],
        );
        let error = Rival::WebP.nearest(&long, 100).unwrap_err().to_string();
        assert!(
            error.contains("webp") && error.contains("16384x1"),
            "{error}"
        );
    }

    #[test]
    fn names_are_read_and_written() {
        assert_eq!("JPEG".parse(), Ok(Rival::Jpeg));
        assert_eq!("webp".parse(), Ok(Rival::WebP));
        assert!(
            "avif"
                .parse::<Rival>()
                .unwrap_err()
                .contains("jpeg and webp")
        );
    }
}
