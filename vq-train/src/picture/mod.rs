//! Pictures in memory: 8 bits a sample, grey or RGB, rows from the top.
//!
//! This is the one type that the data loader, the codecs, the metrics and the contact sheets
//! exchange. Files are read and written in [`files`]; nothing here knows about models.

pub mod files;

use std::fmt;
use std::str::FromStr;

pub use files::{Folder, PictureError};
use vq_resample::{Part, Samples, lanczos};

/// A width and a height in pixels, neither of them zero; written `WxH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Sides are limited to what the wire format can name.
const MAX_SIDE: usize = 65_535;

/// A picture may have this many pixels, such as 16,384 x 8,192: a size that somebody else names must
/// not exhaust the memory.
pub const MAX_PIXELS: usize = 1 << 27;

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |s: &str| s.parse().ok().filter(|n| (1..=MAX_SIDE).contains(n));
        text.split_once(['x', 'X'])
            .and_then(|(w, h)| {
                Some(Size {
                    width: side(w)?,
                    height: side(h)?,
                })
            })
            .filter(|size| size.width * size.height <= MAX_PIXELS)
            .ok_or_else(|| {
                format!(
                    "{text:?} is not WxH with sides of 1 to {MAX_SIDE} pixels and at most \
                     {MAX_PIXELS} pixels in all, such as 128x128"
                )
            })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A part of a picture in pixels; fractions are allowed and interpolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Distance of the left edge from the picture's.
    pub left: f64,
    /// Distance of the upper edge from the picture's.
    pub top: f64,
    /// Width, above zero.
    pub width: f64,
    /// Height, above zero.
    pub height: f64,
}

/// A picture of 8-bit samples: `pixels[(y * width + x) * channels + c]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// 1 for grey, 3 for RGB (sRGB values as they stand in the file).
    pub channels: usize,
    /// `height * width * channels` samples.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// A picture around existing samples.
    ///
    /// # Panics
    /// When `pixels` is not `width * height * channels` long, a side is zero, or `channels` is
    /// neither 1 nor 3: that is a mistake of the calling code, not of a file.
    pub fn new(size: Size, channels: usize, pixels: Vec<u8>) -> Self {
        let Size { width, height } = size;
        assert!(width > 0 && height > 0, "a picture of {size} has no pixels");
        assert!(
            channels == 1 || channels == 3,
            "{channels} channels are neither grey nor RGB"
        );
        assert_eq!(
            pixels.len(),
            width * height * channels,
            "samples of a {size} picture"
        );
        Picture {
            width,
            height,
            channels,
            pixels,
        }
    }

    /// A picture of one colour: one sample for each channel.
    pub fn filled(size: Size, colour: &[u8]) -> Self {
        Self::new(size, colour.len(), colour.repeat(size.width * size.height))
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }

    /// The same picture in grey (1) or RGB (3); grey is the BT.601 luma, rounded.
    pub fn with_channels(&self, channels: usize) -> Picture {
        let pixels = match (self.channels, channels) {
            (1, 3) => self.pixels.iter().flat_map(|&v| [v; 3]).collect(),
            (3, 1) => self.pixels.chunks_exact(3).map(luma).collect(),
            _ => self.pixels.clone(),
        };
        Picture::new(self.size(), channels, pixels)
    }

    /// `region` resampled to `size` with the Lanczos kernel of radius 3, widened when shrinking.
    ///
    /// # Panics
    /// When `region` is empty or reaches beyond the picture.
    pub fn resample(&self, region: Region, size: Size) -> Picture {
        let Region {
            left,
            top,
            width,
            height,
        } = region;
        let part = Part::Rectangle {
            left,
            top,
            width,
            height,
        };
        self.resized(part, size)
    }

    /// The largest centred part with the proportions of `size`, resampled to it (`--size WxH`).
    pub fn fit(&self, size: Size) -> Picture {
        self.resized(Part::Centre, size)
    }

    fn resized(&self, part: Part, size: Size) -> Picture {
        let side = |n: usize| u32::try_from(n).expect("a side fits u32");
        let samples = Samples {
            width: side(self.width),
            height: side(self.height),
            channels: self.channels,
            pixels: &self.pixels,
        };
        let pixels = lanczos(samples, part, side(size.width), side(size.height));
        Picture::new(size, self.channels, pixels)
    }
}

impl fmt::Debug for Picture {
    /// Names the picture without its samples, so that a failed assertion stays readable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Picture({}x{}x{})",
            self.width, self.height, self.channels
        )
    }
}

fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [0, 1, 2].map(|c| u32::from(rgb[c]));
    ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        let size: Size = "128x96".parse().unwrap();
        assert_eq!(
            (size, size.to_string().as_str()),
            (
                Size {
                    width: 128,
                    height: 96
                },
                "128x96"
            )
        );
        for bad in ["", "128", "0x4", "4x0", "x", "-1x3", "65536x1", "1x1x1"] {
            assert!(bad.parse::<Size>().unwrap_err().contains("WxH"), "{bad:?}");
        }
    }

    #[test]
    fn grey_and_rgb_convert() {
        let size = Size {
            width: 2,
            height: 1,
        };
        let rgb = Picture::new(size, 3, vec![255, 0, 0, 9, 9, 9]);
        let grey = rgb.with_channels(1);
        assert_eq!(grey.pixels, [76, 9]);
        assert_eq!(grey.with_channels(3).pixels, [76, 76, 76, 9, 9, 9]);
        assert_eq!(rgb.with_channels(3), rgb);
    }

    #[test]
    fn fit_takes_the_centre() {
        // Three flat squares side by side: only the middle one may be seen.
        let size = Size {
            width: 30,
            height: 10,
        };
        let pixels = (0..300).map(|i| [10, 200, 90][i % 30 / 10]).collect();
        let middle = Picture::new(size, 1, pixels).fit(Size {
            width: 10,
            height: 10,
        });
        assert_eq!(
            middle,
            Picture::filled(
                Size {
                    width: 10,
                    height: 10
                },
                &[200]
            )
        );
    }

    #[test]
    fn resample_at_the_same_scale_copies() {
        let size = Size {
            width: 7,
            height: 5,
        };
        let picture = Picture::new(size, 3, (0..105).collect());
        let region = Region {
            left: 2.0,
            top: 1.0,
            width: 3.0,
            height: 2.0,
        };
        let part = picture.resample(
            region,
            Size {
                width: 3,
                height: 2,
            },
        );
        let row = |y: usize| &picture.pixels[(y * 7 + 2) * 3..][..9];
        assert_eq!(part.pixels, [row(1), row(2)].concat());
    }
}
