//! Lanczos resampling of 8-bit pictures.
//!
//! A crate of its own for one reason: `fast_image_resize` is generic over its images, so whoever
//! calls it compiles its kernels. Here that happens once, and not at each change of the trainer.
#![forbid(unsafe_code)]

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

/// 8-bit samples, `pixels[(y * width + x) * channels + c]`.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 1 or 3.
    pub channels: usize,
    /// `height * width * channels` samples.
    pub pixels: &'a [u8],
}

/// Which part of a picture is resampled.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The largest centred part with the target's proportions.
    Centre,
    /// A rectangle inside the picture, in pixels and their fractions.
    Rectangle {
        /// Distance of the left edge from the picture's.
        left: f64,
        /// Distance of the upper edge from the picture's.
        top: f64,
        /// Above zero.
        width: f64,
        /// Above zero.
        height: f64,
    },
}

/// `part` of a picture at `width` by `height`, with the Lanczos kernel of radius 3, widened when
/// shrinking.
///
/// # Panics
/// When the part is empty or reaches beyond the picture, or the samples are not as many as the sizes
/// say.
pub fn lanczos(picture: Samples<'_>, part: Part, width: u32, height: u32) -> Vec<u8> {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    let options = match part {
        Part::Centre => options.fit_into_destination(None),
        Part::Rectangle {
            left,
            top,
            width,
            height,
        } => options.crop(left, top, width, height),
    };
    match picture.channels {
        1 => resample::<U8>(picture, &options, width, height),
        _ => resample::<U8x3>(picture, &options, width, height),
    }
}

fn resample<P: PixelTrait>(
    picture: Samples<'_>,
    options: &ResizeOptions,
    width: u32,
    height: u32,
) -> Vec<u8> {
    let source = TypedImageRef::<P>::from_buffer(picture.width, picture.height, picture.pixels)
        .expect("as many samples as the size says");
    let mut pixels = vec![0; width as usize * height as usize * picture.channels];
    let mut target = TypedImage::<P>::from_buffer(width, height, &mut pixels)
        .expect("as many samples as the size says");
    Resizer::new()
        .resize_typed(&source, &mut target, options)
        .expect("the part lies inside the picture");
    pixels
}
