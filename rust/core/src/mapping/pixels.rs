//! Lists of pixels as images, as OpenCV writes them: rows of grey values, or of pixels in the order blue, green, red.

use image::codecs::bmp::BmpEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::json::Json;
use super::shorten;

/// Values of an image at most: what is one message has to stay in memory as a whole.
const MOST_VALUES: usize = 64 << 20;
/// Pixels of a side at most, the bound of JPEG.
const LONGEST_SIDE: usize = 65_535;
/// As OpenCV has it.
const JPEG_QUALITY: u8 = 95;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    Jpeg,
    Bmp,
}

impl Format {
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "bmp" => Some(Self::Bmp),
            _ => None,
        }
    }
}

/// The file of an image. An error says which row, and what is wrong with it.
pub(super) fn encode(pixels: &Json<'_>, format: Format) -> Result<Vec<u8>, String> {
    let image = Image::read(pixels)?;
    let (width, height) = (image.width as u32, image.height as u32);
    let mut file = Vec::new();
    let written = match format {
        Format::Png => {
            PngEncoder::new(&mut file).write_image(&image.values, width, height, image.color)
        }
        Format::Jpeg => JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY).write_image(
            &image.values,
            width,
            height,
            image.color,
        ),
        Format::Bmp => {
            BmpEncoder::new(&mut file).write_image(&image.values, width, height, image.color)
        }
    };
    written.map_err(|e| e.to_string())?;
    Ok(file)
}

struct Image {
    width: usize,
    height: usize,
    color: ExtendedColorType,
    /// In the order of the format: red, green, blue.
    values: Vec<u8>,
}

fn list<'j>(value: &'j Json<'_>) -> Option<&'j [Json<'j>]> {
    match value {
        Json::List(values) => Some(values),
        _ => None,
    }
}

impl Image {
    fn read(pixels: &Json<'_>) -> Result<Self, String> {
        let rows = list(pixels).ok_or("pixels are a list of rows")?;
        let first = rows.first().and_then(list).unwrap_or_default();
        let (width, height) = (first.len(), rows.len());
        if width == 0 {
            return Err("an image needs a row with a pixel".into());
        }
        let channels = first.first().and_then(list).map_or(1, <[_]>::len);
        let color = match channels {
            1 => ExtendedColorType::L8,
            3 => ExtendedColorType::Rgb8,
            other => {
                return Err(format!(
                    "a pixel of {other} values: 1 is grey, 3 are blue, green and red"
                ));
            }
        };
        if width.max(height) > LONGEST_SIDE {
            return Err(format!(
                "an image of {width} x {height} pixels: a side has {LONGEST_SIDE} at most"
            ));
        }
        let count = width * height * channels;
        if count > MOST_VALUES {
            return Err(format!("an image of {count} values: {MOST_VALUES} at most"));
        }
        let is_flat = list(&first[0]).is_none();
        let mut values = Vec::with_capacity(count);
        for (number, row) in rows.iter().enumerate() {
            let at = |what: String| format!("row {}: {what}", number + 1);
            let row = list(row).ok_or_else(|| at("no list of pixels".into()))?;
            if row.len() != width {
                let many = row.len();
                return Err(at(format!("{many} pixels, the first row has {width}")));
            }
            for pixel in row {
                if is_flat {
                    values.push(value(pixel).map_err(at)?);
                    continue;
                }
                let parts = list(pixel).filter(|parts| parts.len() == channels);
                let parts = parts.ok_or_else(|| {
                    at(format!(
                        "each pixel is a list of {channels}, as the first is"
                    ))
                })?;
                for part in parts.iter().rev() {
                    values.push(value(part).map_err(at)?);
                }
            }
        }
        Ok(Self {
            width,
            height,
            color,
            values,
        })
    }
}

fn value(json: &Json<'_>) -> Result<u8, String> {
    let found = match json {
        Json::Int(i) => u8::try_from(*i).ok(),
        Json::Float(f) if f.fract() == 0.0 && (0.0..=255.0).contains(f) => Some(*f as u8),
        _ => None,
    };
    found.ok_or_else(|| {
        let text = json.to_json(", ", ": ");
        format!("'{}' is no value from 0 to 255", shorten(&text))
    })
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, load_from_memory_with_format};

    use super::*;

    fn file(pixels: &str, format: Format) -> Result<Vec<u8>, String> {
        encode(&Json::parse(pixels.as_bytes()).expect("JSON"), format)
    }

    #[test]
    fn grey_and_coloured_images_come_back_as_they_were() {
        for (format, read_as) in [
            (Format::Png, ImageFormat::Png),
            (Format::Bmp, ImageFormat::Bmp),
        ] {
            let grey = file("[[0, 128, 255], [1, 2.0, 3]]", format).expect("grey");
            let grey = load_from_memory_with_format(&grey, read_as).expect("an image");
            assert_eq!((grey.width(), grey.height()), (3, 2));
            assert_eq!(grey.to_luma8().as_raw(), &[0, 128, 255, 1, 2, 3]);
            let single = file("[[[7]]]", format).expect("grey");
            let single = load_from_memory_with_format(&single, read_as).expect("an image");
            assert_eq!(single.to_luma8().as_raw(), &[7]);
            // Blue, green, red.
            let colour = file("[[[255, 1, 2]], [[0, 0, 9]]]", format).expect("coloured");
            let colour = load_from_memory_with_format(&colour, read_as).expect("an image");
            assert_eq!(colour.to_rgb8().as_raw(), &[2, 1, 255, 9, 0, 0]);
        }
    }

    #[test]
    fn jpeg_is_near_to_it() {
        let row = vec!["[250, 10, 20]"; 16].join(", ");
        let rows = vec![format!("[{row}]"); 16].join(", ");
        let jpeg = file(&format!("[{rows}]"), Format::Jpeg).expect("a file");
        let image = load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).expect("an image");
        for pixel in image.to_rgb8().pixels() {
            for (found, expected) in pixel.0.iter().zip([20_u8, 10, 250]) {
                assert!(found.abs_diff(expected) <= 4, "{pixel:?}");
            }
        }
    }

    #[test]
    fn what_is_no_image_says_where() {
        for (pixels, part) in [
            ("7", "a list of rows"),
            ("[]", "a row with a pixel"),
            ("[[], []]", "a row with a pixel"),
            ("[[1, 2], [3]]", "row 2: 1 pixels, the first row has 2"),
            ("[[1], 2]", "row 2: no list"),
            ("[[1, 256]]", "row 1: '256' is no value"),
            ("[[-1]]", "'-1' is no value"),
            ("[[1.5]]", "'1.5' is no value"),
            ("[[\"1\"]]", "no value from 0 to 255"),
            ("[[null]]", "'null' is no value"),
            ("[[1, [2]]]", "row 1: '[2]' is no value"),
            ("[[[1, 2]]]", "a pixel of 2 values"),
            (
                "[[[1, 2, 3]], [[1, 2]]]",
                "row 2: each pixel is a list of 3",
            ),
            ("[[[1, 2, 3], 4]]", "row 1: each pixel is a list of 3"),
            ("[[[1, 2, 3]], [[1, 2, 300]]]", "row 2: '300'"),
        ] {
            let said = file(pixels, Format::Png).expect_err(pixels);
            assert!(said.contains(part), "{pixels}: {said}");
        }
        let long = format!("[[{}0]]", "0,".repeat(LONGEST_SIDE));
        let said = file(&long, Format::Png).expect_err("too wide");
        assert!(said.contains("65536 x 1 pixels"), "{said}");
    }
}
