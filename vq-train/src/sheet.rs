//! Contact sheets: pictures side by side with headings and captions, as one picture.
//!
//! Pictures are enlarged by whole factors without smoothing, so that every decoded pixel can be
//! seen, or reduced when they are large. The letters are Noto Sans Mono (SIL Open Font License),
//! rasterised by the `noto-sans-mono-bitmap` crate.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use crate::picture::{Picture, Size};

/// A grid of pictures under headings.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// One line above everything; may be empty.
    pub title: String,
    /// A heading for each column.
    pub columns: Vec<String>,
    /// Cells from left to right; a row may be shorter than the headings.
    pub rows: Vec<Vec<Cell>>,
    /// Whole factor by which pictures are enlarged; none: to a width of about 256 pixels.
    pub zoom: Option<usize>,
}

/// A picture with a caption beneath it.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The picture, grey or RGB.
    pub picture: Picture,
    /// Caption at the left edge, such as a name or a size.
    pub left: String,
    /// Caption at the right edge, such as a quality.
    pub right: String,
}

impl Cell {
    /// A cell with its captions, either of which may be empty.
    pub fn new(picture: &Picture, left: &str, right: &str) -> Cell {
        Cell {
            picture: picture.clone(),
            left: left.into(),
            right: right.into(),
        }
    }

    fn caption_width(&self) -> usize {
        let space = if self.left.is_empty() || self.right.is_empty() {
            ""
        } else {
            "  "
        };
        CAPTION.width(&self.left) + CAPTION.width(space) + CAPTION.width(&self.right)
    }
}

/// Weight, size and colour of a line of text.
#[derive(Clone, Copy)]
struct Style {
    weight: FontWeight,
    height: RasterHeight,
    ink: [u8; 3],
}

const TITLE: Style = Style {
    weight: FontWeight::Bold,
    height: RasterHeight::Size20,
    ink: [24, 26, 31],
};
const HEADING: Style = Style {
    weight: FontWeight::Bold,
    height: RasterHeight::Size16,
    ink: [52, 56, 66],
};
const CAPTION: Style = Style {
    weight: FontWeight::Regular,
    height: RasterHeight::Size16,
    ink: [74, 79, 92],
};

const PAPER: [u8; 3] = [250, 250, 248];
const FRAME: [u8; 3] = [214, 214, 210];

/// Distances in pixels: around everything, between columns, between rows, above a caption.
const MARGIN: usize = 24;
const COLUMN_GAP: usize = 18;
const ROW_GAP: usize = 16;
const CAPTION_GAP: usize = 4;

/// The width that enlarged pictures come near to, and the one above which they are reduced.
const COMMON_WIDTH: usize = 256;
const MAX_WIDTH: usize = 512;

impl Style {
    fn width(self, text: &str) -> usize {
        text.chars().count() * get_raster_width(self.weight, self.height)
    }

    fn line(self) -> usize {
        self.height as usize
    }
}

impl Sheet {
    /// An empty sheet.
    pub fn new(title: &str, columns: impl IntoIterator<Item = String>) -> Sheet {
        let columns = columns.into_iter().collect();
        Sheet {
            title: title.into(),
            columns,
            rows: Vec::new(),
            zoom: None,
        }
    }

    /// A sheet of originals and reconstructions, as many pairs beside each other as fit well.
    pub fn of_pairs<'a>(
        title: &str,
        pairs: impl IntoIterator<Item = (&'a Picture, &'a Picture)>,
    ) -> Sheet {
        const PAIRS: usize = 3;
        let cells: Vec<[Cell; 2]> = pairs
            .into_iter()
            .map(|(original, decoded)| {
                let psnr = format!("{:.2} dB", crate::metrics::psnr(original, decoded));
                [Cell::new(original, "", ""), Cell::new(decoded, "", &psnr)]
            })
            .collect();
        let headings = ["original", "reconstruction"].map(String::from);
        let columns = headings
            .into_iter()
            .cycle()
            .take(2 * PAIRS.min(cells.len()));
        let mut sheet = Sheet::new(title, columns);
        sheet.rows = cells
            .chunks(PAIRS)
            .map(|pairs| pairs.as_flattened().to_vec())
            .collect();
        sheet
    }

    /// Draws the sheet.
    pub fn render(&self) -> Picture {
        let sheet = self.scaled();
        let layout = Layout::of(&sheet);
        let mut canvas = Canvas(Picture::filled(layout.size, &PAPER));
        canvas.text(&sheet.title, MARGIN, MARGIN, TITLE);
        for (heading, &x) in sheet.columns.iter().zip(&layout.lefts) {
            canvas.text(heading, x, layout.headings, HEADING);
        }
        for (cells, &y) in sheet.rows.iter().zip(&layout.tops) {
            for ((cell, &x), &width) in cells.iter().zip(&layout.lefts).zip(&layout.widths) {
                canvas.cell(cell, x, y, width);
            }
        }
        canvas.0
    }

    /// The same sheet with its pictures in RGB and as large as they will be drawn.
    fn scaled(&self) -> Sheet {
        let pictures = self.rows.iter().flatten().map(|cell| cell.picture.width);
        let widest = pictures.max().unwrap_or(1);
        let zoom = self.zoom.unwrap_or((COMMON_WIDTH / widest).max(1));
        let mut sheet = self.clone();
        for cell in sheet.rows.iter_mut().flatten() {
            cell.picture = reduced(&enlarged(&cell.picture.with_channels(3), zoom));
        }
        sheet
    }
}

/// Where everything goes.
struct Layout {
    size: Size,
    headings: usize,
    lefts: Vec<usize>,
    widths: Vec<usize>,
    tops: Vec<usize>,
}

impl Layout {
    fn of(sheet: &Sheet) -> Layout {
        let count = sheet
            .rows
            .iter()
            .map(Vec::len)
            .max()
            .unwrap_or(0)
            .max(sheet.columns.len());
        let widths: Vec<usize> = (0..count)
            .map(|column| column_width(sheet, column))
            .collect();
        let (lefts, right) = positions(MARGIN, &widths, COLUMN_GAP);
        let headings = match sheet.title.is_empty() {
            true => MARGIN,
            false => MARGIN + TITLE.line() + ROW_GAP,
        };
        let heights: Vec<usize> = sheet.rows.iter().map(|cells| row_height(cells)).collect();
        let first = match sheet.columns.is_empty() {
            true => headings,
            false => headings + HEADING.line() + CAPTION_GAP,
        };
        let (tops, bottom) = positions(first, &heights, ROW_GAP);
        let width = right.max(MARGIN + TITLE.width(&sheet.title)) + MARGIN;
        let size = Size {
            width,
            height: bottom.max(first) + MARGIN,
        };
        Layout {
            size,
            headings,
            lefts,
            widths,
            tops,
        }
    }
}

/// The start of each length when they follow each other with gaps, and the end of the last.
fn positions(start: usize, lengths: &[usize], gap: usize) -> (Vec<usize>, usize) {
    let mut end = start;
    let starts = lengths
        .iter()
        .enumerate()
        .map(|(index, length)| {
            let at = if index == 0 { start } else { end + gap };
            end = at + length;
            at
        })
        .collect();
    (starts, end)
}

fn column_width(sheet: &Sheet, column: usize) -> usize {
    let heading = sheet
        .columns
        .get(column)
        .map_or(0, |heading| HEADING.width(heading));
    let cells = sheet.rows.iter().filter_map(|cells| cells.get(column));
    cells
        .map(|cell| cell.picture.width.max(cell.caption_width()))
        .fold(heading, usize::max)
}

fn row_height(cells: &[Cell]) -> usize {
    let picture = cells
        .iter()
        .map(|cell| cell.picture.height)
        .max()
        .unwrap_or(0);
    match cells.iter().all(|cell| cell.caption_width() == 0) {
        true => picture,
        false => picture + CAPTION_GAP + CAPTION.line(),
    }
}

/// Each pixel as a square of `zoom` x `zoom`.
fn enlarged(picture: &Picture, zoom: usize) -> Picture {
    let row = |y: usize| {
        let pixels = picture.pixels[y * picture.width * 3..][..picture.width * 3].chunks_exact(3);
        pixels
            .flat_map(|pixel| pixel.repeat(zoom))
            .collect::<Vec<u8>>()
    };
    let pixels = (0..picture.height)
        .flat_map(|y| row(y).repeat(zoom))
        .collect();
    let size = Size {
        width: picture.width * zoom,
        height: picture.height * zoom,
    };
    Picture::new(size, 3, pixels)
}

/// No wider than [`MAX_WIDTH`], in its proportions.
fn reduced(picture: &Picture) -> Picture {
    if picture.width <= MAX_WIDTH {
        return picture.clone();
    }
    let height = (picture.height * MAX_WIDTH).div_ceil(picture.width);
    picture.fit(Size {
        width: MAX_WIDTH,
        height,
    })
}

/// An RGB picture that is drawn on; what falls outside is cut off.
struct Canvas(Picture);

impl Canvas {
    /// Lays `ink` over the pixel, `cover` of 255 opaque.
    fn blend(&mut self, x: usize, y: usize, ink: [u8; 3], cover: u8) {
        if x >= self.0.width || y >= self.0.height {
            return;
        }
        let cover = u32::from(cover);
        let at = (y * self.0.width + x) * 3;
        for (under, over) in self.0.pixels[at..at + 3].iter_mut().zip(ink) {
            let mixed = u32::from(over) * cover + u32::from(*under) * (255 - cover);
            *under = ((mixed + 127) / 255) as u8;
        }
    }

    fn text(&mut self, text: &str, x: usize, y: usize, style: Style) {
        let advance = get_raster_width(style.weight, style.height);
        for (index, letter) in text.chars().enumerate() {
            let known = |letter| get_raster(letter, style.weight, style.height);
            let glyph = known(letter)
                .or_else(|| known('?'))
                .expect("the font has ASCII");
            for (dy, row) in glyph.rows().enumerate() {
                for (dx, &cover) in row.iter().enumerate() {
                    self.blend(x + index * advance + dx, y + dy, style.ink, cover);
                }
            }
        }
    }

    /// The picture at the upper left of a column `width` wide, in a thin frame, and its caption.
    fn cell(&mut self, cell: &Cell, x: usize, y: usize, width: usize) {
        let Picture {
            width: w,
            height: h,
            ..
        } = cell.picture;
        for (dx, dy) in (0..w + 2).flat_map(|dx| [(dx, 0), (dx, h + 1)]) {
            self.blend(x + dx - 1, y + dy - 1, FRAME, 255);
        }
        for (dx, dy) in (0..h + 2).flat_map(|dy| [(0, dy), (w + 1, dy)]) {
            self.blend(x + dx - 1, y + dy - 1, FRAME, 255);
        }
        for (dy, row) in cell.picture.pixels.chunks_exact(w * 3).enumerate() {
            let at = ((y + dy) * self.0.width + x) * 3;
            self.0.pixels[at..at + w * 3].copy_from_slice(row);
        }
        let caption = y + h + CAPTION_GAP;
        self.text(&cell.left, x, caption, CAPTION);
        // Under its picture, unless the caption is the wider of the two.
        let right = x + w.max(cell.caption_width()).min(width) - CAPTION.width(&cell.right);
        self.text(&cell.right, right, caption, CAPTION);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: [u8; 3] = [255, 0, 0];

    fn count(picture: &Picture, colour: [u8; 3]) -> usize {
        picture
            .pixels
            .chunks_exact(3)
            .filter(|pixel| *pixel == colour)
            .count()
    }

    fn red(width: usize, height: usize) -> Picture {
        Picture::filled(Size { width, height }, &RED)
    }

    #[test]
    fn pictures_are_enlarged_by_whole_factors() {
        let mut sheet = Sheet::new("", []);
        sheet.rows.push(vec![Cell::new(&red(128, 96), "", "")]);
        let drawn = sheet.render();
        assert_eq!(count(&drawn, RED), 256 * 192);
        assert_eq!(
            drawn.size(),
            Size {
                width: 256 + 2 * MARGIN,
                height: 192 + 2 * MARGIN
            }
        );
        sheet.zoom = Some(3);
        assert_eq!(count(&sheet.render(), RED), 384 * 288);
    }

    #[test]
    fn large_pictures_are_reduced() {
        let mut sheet = Sheet::new("", []);
        sheet.rows.push(vec![Cell::new(&red(2048, 1024), "", "")]);
        assert_eq!(count(&sheet.render(), RED), 512 * 256);
    }

    #[test]
    fn captions_widen_a_column_and_are_drawn() {
        let mut sheet = Sheet::new("A title", ["one".into(), "two".into()]);
        sheet.zoom = Some(1);
        let long = "a caption wider than its picture";
        sheet.rows.push(vec![
            Cell::new(&red(8, 8), long, "9 dB"),
            Cell::new(&red(8, 8), "", ""),
        ]);
        sheet.rows.push(vec![Cell::new(
            &Picture::filled(
                Size {
                    width: 8,
                    height: 8,
                },
                &[7],
            ),
            "é☃",
            "",
        )]);
        let drawn = sheet.render();
        assert!(drawn.width > CAPTION.width(long) + CAPTION.width("9 dB"));
        assert_eq!((count(&drawn, RED), count(&drawn, [7, 7, 7])), (128, 64));
        assert!(count(&drawn, CAPTION.ink) > 20 && count(&drawn, TITLE.ink) > 20);
    }

    #[test]
    fn pairs_stand_beside_each_other() {
        let (red, other) = (
            red(32, 32),
            Picture::filled(
                Size {
                    width: 32,
                    height: 32,
                },
                &[0, 0, 255],
            ),
        );
        let sheet = Sheet::of_pairs("step 100", std::iter::repeat_n((&red, &other), 4));
        assert_eq!(
            (
                sheet.columns.len(),
                sheet.rows[0].len(),
                sheet.rows[1].len()
            ),
            (6, 6, 2)
        );
        let side = 32 * 8;
        assert_eq!(count(&sheet.render(), RED), 4 * side * side);
    }

    #[test]
    fn an_empty_sheet_is_still_a_picture() {
        assert_eq!(
            count(&Sheet::new("", []).render(), PAPER),
            4 * MARGIN * MARGIN
        );
    }
}
