//! Pictures on disk: PNG, JPEG and WebP in, PNG out, and folders of them.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader};
use rayon::prelude::*;

use super::{Picture, Size};
use crate::{atomic, input};

/// What went wrong with a picture file or a folder of them, and what can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The file or folder cannot be opened or read at all.
    #[error("cannot read {path}: {source}; check the name and its permissions", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The bytes are no complete PNG, JPEG or WebP picture.
    #[error("{path} is not a whole PNG, JPEG or WebP picture ({reason}); remove it or convert it again", path = path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        reason: String,
    },
    /// The picture would not fit the memory that one picture may take.
    #[error("{path} has {width}x{height} pixels, more than can be handled; scale it down first", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// A folder without a single picture file.
    #[error("{path} holds no PNG, JPEG or WebP files; name a folder that does", path = path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {source}; check that its folder exists, is writable and has room", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// The pictures of a folder that could be read, and why the others could not.
#[derive(Debug, Default)]
pub struct Folder {
    /// Path and picture, sorted by path.
    pub pictures: Vec<(PathBuf, Picture)>,
    /// One error for each file that was skipped, sorted by path.
    pub skipped: Vec<PictureError>,
}

/// A picture may take this much memory while it is read: 16,384 x 8,192 pixels of RGBA.
const MAX_BYTES: u64 = 512 << 20;

impl Picture {
    /// Reads a PNG, JPEG or WebP file; the bytes decide which, not the name.
    ///
    /// Turned upright as its EXIF orientation asks; alpha is composited on white; 16-bit samples
    /// are reduced to 8. Grey files give one channel, all others three (see
    /// [`Picture::with_channels`]). Colour profiles are ignored: samples are taken for sRGB.
    ///
    /// # Errors
    /// [`PictureError::Read`], [`PictureError::Decode`] (also for a truncated file, which many
    /// readers pad with grey) or [`PictureError::TooLarge`].
    pub fn load(path: &Path) -> Result<Picture, PictureError> {
        let bytes = input::read(path).map_err(|source| PictureError::Read {
            path: path.into(),
            source,
        })?;
        Picture::from_file_bytes(&bytes, path)
    }

    /// [`Picture::load`] for bytes that are already in memory; `path` only names them in errors.
    ///
    /// # Errors
    /// As [`Picture::load`].
    pub fn from_file_bytes(bytes: &[u8], path: &Path) -> Result<Picture, PictureError> {
        let decode = |reason: String| PictureError::Decode {
            path: path.into(),
            reason,
        };
        let reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .expect("a cursor in memory does not fail");
        if let (Some(ImageFormat::Jpeg), Some(fault)) = (reader.format(), jpeg_fault(bytes)) {
            return Err(decode(fault.into()));
        }
        let mut decoder = reader.into_decoder().map_err(|e| decode(say(&e)))?;
        let (width, height) = decoder.dimensions();
        if decoder.total_bytes() > MAX_BYTES || width.max(height) as usize > super::MAX_SIDE {
            return Err(PictureError::TooLarge {
                path: path.into(),
                width,
                height,
            });
        }
        let orientation = decoder.orientation().map_err(|e| decode(say(&e)))?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(|e| decode(say(&e)))?;
        image.apply_orientation(orientation);
        Ok(flatten(&image))
    }

    /// The picture as the bytes of a PNG file.
    pub fn to_png(&self) -> Vec<u8> {
        let colour = if self.channels == 1 {
            ExtendedColorType::L8
        } else {
            ExtendedColorType::Rgb8
        };
        let mut png = Cursor::new(Vec::new());
        let (width, height) = (self.width as u32, self.height as u32);
        image::write_buffer_with_format(
            &mut png,
            &self.pixels,
            width,
            height,
            colour,
            ImageFormat::Png,
        )
        .expect("8-bit samples in memory always make a PNG");
        png.into_inner()
    }

    /// Writes a PNG file, whole or not at all (see [`atomic::write`]).
    ///
    /// # Errors
    /// [`PictureError::Write`].
    pub fn save_png(&self, path: &Path) -> Result<(), PictureError> {
        atomic::write(path, &self.to_png()).map_err(|source| PictureError::Write {
            path: path.into(),
            source,
        })
    }
}

/// The picture files (`.png`, `.jpg`, `.jpeg`, `.webp`) in `path` and the folders below it, sorted;
/// or `path` itself when it is a file, whatever its name.
///
/// Hidden entries and links to folders are passed over.
///
/// # Errors
/// [`PictureError::Read`], and [`PictureError::Empty`] when there are none.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, PictureError> {
    let read = |source| PictureError::Read {
        path: path.into(),
        source,
    };
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut found = Vec::new();
    collect(path, &mut found)?;
    found.sort();
    if found.is_empty() {
        return Err(PictureError::Empty { path: path.into() });
    }
    Ok(found)
}

/// Reads every picture that [`list`] finds, in parallel, each passed through `prepare` (a crop, a
/// channel count) at once, so that no folder has to fit memory at full size.
///
/// # Errors
/// As [`list`]. A file that cannot be read is no error: it is named in [`Folder::skipped`].
pub fn load_folder(
    path: &Path,
    prepare: impl Fn(Picture) -> Picture + Sync,
) -> Result<Folder, PictureError> {
    let paths = list(path)?;
    let loaded: Vec<_> = paths
        .par_iter()
        .map(|p| Picture::load(p).map(&prepare))
        .collect();
    let mut folder = Folder::default();
    for (path, result) in paths.into_iter().zip(loaded) {
        match result {
            Ok(picture) => folder.pictures.push((path, picture)),
            Err(error) => folder.skipped.push(error),
        }
    }
    Ok(folder)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), PictureError> {
    let read = |source| PictureError::Read {
        path: folder.into(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        } else if entry.file_type().map_err(read)?.is_dir() {
            collect(&path, found)?;
        } else if has_picture_name(&path) && !path.is_dir() {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a name ends as those do that [`list`] finds.
pub fn has_picture_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    ["png", "jpg", "jpeg", "webp"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// What is wrong with a JPEG that the decoder would turn into false pixels without a word; a codec
/// must not learn from those.
///
/// It fills what a truncated file lacks with grey. And it misreads a sequential file (SOF0, SOF1)
/// that keeps its components in separate scans (zune-image issues 419 and 448), which is rare.
fn jpeg_fault(bytes: &[u8]) -> Option<&'static str> {
    const TRUNCATED: Option<&str> = Some("the JPEG ends early");
    const SEPARATE: Option<&str> = Some("the JPEG's colours lie in separate scans");
    const END: [u8; 2] = [0xFF, 0xD9];
    let mut components = 0;
    let mut at = 2;
    // Segments are skipped by their lengths: a thumbnail in one of them has an end of its own.
    while let Some(&[0xFF, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            0xC0 | 0xC1 => components = bytes.get(at + 9).copied().unwrap_or(0),
            0xDA if bytes.get(at + 4).is_some_and(|&n| n < components) => return SEPARATE,
            0xDA => return TRUNCATED.filter(|_| !bytes[at..].windows(2).any(|w| w == END)),
            _ => (),
        }
        // A marker may be preceded by any number of fill bytes.
        at += if marker == 0xFF {
            1
        } else {
            2 + usize::from(u16::from_be_bytes([high, low]))
        };
    }
    TRUNCATED
}

/// To 8-bit grey or RGB, transparent parts on white.
fn flatten(image: &DynamicImage) -> Picture {
    let size = Size {
        width: image.width() as usize,
        height: image.height() as usize,
    };
    let colour = image.color();
    if !colour.has_alpha() {
        return match colour.has_color() {
            true => Picture::new(size, 3, image.to_rgb8().into_raw()),
            false => Picture::new(size, 1, image.to_luma8().into_raw()),
        };
    }
    let channels = if colour.has_color() { 3 } else { 1 };
    let rgba = image.to_rgba8();
    let on_white = |p: &image::Rgba<u8>| {
        let alpha = u32::from(p.0[3]);
        let blend = |v: u8| ((u32::from(v) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        [blend(p.0[0]), blend(p.0[1]), blend(p.0[2])]
            .into_iter()
            .take(channels)
    };
    Picture::new(size, channels, rgba.pixels().flat_map(on_white).collect())
}

fn say(error: &ImageError) -> String {
    match error {
        ImageError::Unsupported(_) => "its format is not one of them".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        width: 3,
        height: 2,
    };

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn parse(bytes: &[u8]) -> Result<Picture, PictureError> {
        Picture::from_file_bytes(bytes, Path::new("p"))
    }

    #[test]
    fn png_round_trip_in_grey_and_rgb() {
        for channels in [1, 3] {
            let picture = Picture::new(SIZE, channels, (0..6 * channels as u8).collect());
            assert_eq!(parse(&picture.to_png()).unwrap(), picture);
        }
    }

    #[test]
    fn alpha_lies_on_white_and_sixteen_bits_shrink() {
        let rgba =
            image::RgbaImage::from_raw(1, 2, vec![0, 100, 255, 0, 0, 100, 255, 128]).unwrap();
        let png = encoded(&rgba.into(), ImageFormat::Png);
        assert_eq!(parse(&png).unwrap().pixels, [255, 255, 255, 127, 177, 255]);
        let deep = image::ImageBuffer::from_raw(2, 1, vec![65_535u16, 257 * 7]).unwrap();
        let png = encoded(&DynamicImage::ImageLuma16(deep), ImageFormat::Png);
        assert_eq!(
            parse(&png).unwrap(),
            Picture::new(
                Size {
                    width: 2,
                    height: 1
                },
                1,
                vec![255, 7]
            )
        );
    }

    #[test]
    fn exif_orientation_is_followed() {
        // Orientation 6: the stored picture is to be turned by 90 degrees clockwise.
        const EXIF: &[u8] =
            b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let size = Size {
            width: 32,
            height: 16,
        };
        let halves = (0..size.width * size.height).map(|i| if i % 32 < 16 { 0 } else { 255 });
        let mut jpeg = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 90);
        encoder.add_app_segment(1, EXIF.to_vec()).unwrap();
        encoder
            .encode(
                &halves.collect::<Vec<u8>>(),
                32,
                16,
                jpeg_encoder::ColorType::Luma,
            )
            .unwrap();
        let turned = parse(&jpeg).unwrap();
        assert_eq!(
            turned.size(),
            Size {
                width: 16,
                height: 32
            }
        );
        assert!(
            turned.pixels[..256].iter().all(|&v| v < 32),
            "the left half is now on top"
        );
        assert!(turned.pixels[256..].iter().all(|&v| v > 223));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let picture = Picture::new(
            Size {
                width: 16,
                height: 16,
            },
            1,
            (0..=255).collect(),
        );
        let image =
            DynamicImage::ImageLuma8(image::GrayImage::from_raw(16, 16, picture.pixels).unwrap());
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let whole = encoded(&image, format);
            assert!(parse(&whole).is_ok());
            // A PNG's last chunk holds no pixels; readers do without its checksum.
            let last = if format == ImageFormat::Png {
                whole.len() - 12
            } else {
                whole.len()
            };
            for end in 0..last {
                assert!(
                    parse(&whole[..end]).is_err(),
                    "{format:?} cut at {end} of {last}"
                );
            }
        }
    }

    #[test]
    fn a_jpeg_that_the_decoder_misreads_is_refused() {
        let mut jpeg = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 90);
        // This encoder writes separate scans when it optimises the Huffman tables.
        encoder.set_optimized_huffman_tables(true);
        encoder
            .encode(&[77; 16 * 16 * 3], 16, 16, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        assert!(
            parse(&jpeg)
                .unwrap_err()
                .to_string()
                .contains("separate scans")
        );
    }

    #[test]
    fn folders_are_sorted_and_report_what_they_skip() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(matches!(
            list(folder.path()),
            Err(PictureError::Empty { .. })
        ));
        fs::create_dir(at("deep")).unwrap();
        let picture = Picture::filled(SIZE, &[1, 2, 3]);
        for name in ["z.png", "deep/b.PNG", "a.jpg"] {
            picture.save_png(&at(name)).unwrap();
        }
        fs::write(at("broken.webp"), b"RIFF").unwrap();
        fs::write(at("notes.txt"), b"not listed").unwrap();
        picture.save_png(&at(".hidden.png")).unwrap();

        let loaded = load_folder(folder.path(), |p| p.with_channels(1)).unwrap();
        let names: Vec<_> = loaded
            .pictures
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        assert_eq!(names, [at("a.jpg"), at("deep/b.PNG"), at("z.png")]);
        assert!(loaded.pictures.iter().all(|(_, p)| p.channels == 1));
        assert_eq!(loaded.skipped.len(), 1);
        assert!(loaded.skipped[0].to_string().contains("broken.webp"));
    }

    #[test]
    fn errors_name_the_path() {
        let missing = Picture::load(Path::new("no/such.png"))
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("no/such.png") && missing.contains("check the name"),
            "{missing}"
        );
        let unwritable = Picture::filled(SIZE, &[0]).save_png(Path::new("no/such/a.png"));
        assert!(matches!(unwritable, Err(PictureError::Write { .. })));
    }
}
