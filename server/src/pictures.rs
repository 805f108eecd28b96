//! Pictures of products: reads what a shop uploads, makes JPEG files of several widths from its pixels alone, and keeps those that are
//! asked for. What else an upload carries (places, cameras, comments) is left behind with it.

use bytes::Bytes;
use flashsale_engine::{
    error::Error,
    kept::Kept,
    sale::Picture,
    store::{Store, pictures::NewPicture},
};
use flashsale_protocol::{Code, Reject};
use image::{
    DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage, codecs::jpeg::JpegEncoder,
    imageops::FilterType,
};
use sha2::{Digest, Sha256};
use std::{io::Cursor, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is wrong with an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Bytes,
    /// Known before any of them is decoded.
    Pixels,
    /// Another format, or one that is broken.
    Unreadable,
}

impl From<Wrong> for Reject {
    fn from(wrong: Wrong) -> Self {
        let text = match wrong {
            Wrong::Bytes => "A picture may have at most 5 MB.",
            Wrong::Pixels => {
                "A picture may have at most 25 million pixels, and 10,000 on a side. Make it smaller, please."
            }
            Wrong::Unreadable => "This is no picture that we can read. It must be a PNG, JPEG or WebP file.",
        };
        Reject::because(Code::PictureRefused, text)
    }
}

/// Largest upload.
pub const MAX_BYTES: usize = 5_000_000;
/// Most pixels that are decoded: what the cameras of phones make, and 100 MB of memory at most in the usual formats.
const MAX_PIXELS: u64 = 25_000_000;
const MAX_SIDE: u32 = 10_000;
/// Most memory that a decoder may take beside its pixels.
const MAX_DECODER_BYTES: u64 = 256_000_000;
/// Widths of the files: a card on a phone, the same on a sharp screen, a sale's page, the same on a sharp screen.
const WIDTHS: [u32; 4] = [320, 640, 960, 1_600];
/// Of 100: beyond it files grow faster than anybody sees.
const QUALITY: u8 = 82;
/// Uploads that this process has in its memory at a time.
const UPLOADS_MOST: usize = 8;
/// Pictures that it decodes at a time: each takes a core for a second or two.
const DECODED_AT_ONCE: usize = 1;
/// When an upload that found no place should come again.
const BUSY_MS: u64 = 2_000;
/// Bytes of files that it keeps, and for how long.
const KEPT_BYTES: u64 = 64_000_000;
const KEPT_FOR: Duration = Duration::from_secs(600);
const ID_BYTES: usize = 16;

pub struct Pictures {
    uploads: Arc<Semaphore>,
    decoding: Semaphore,
    files: Kept<(String, u32), Option<Bytes>>,
}

impl Default for Pictures {
    fn default() -> Self {
        let weight = |file: &Option<Bytes>| {
            let bytes = file.as_ref().map_or(1, Bytes::len);
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self {
            uploads: Arc::new(Semaphore::new(UPLOADS_MOST)),
            decoding: Semaphore::new(DECODED_AT_ONCE),
            files: Kept::weighed(KEPT_BYTES, KEPT_FOR, weight),
        }
    }
}

impl Pictures {
    /// A place for an upload, before its bytes are read.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, Reject> {
        let place = self.uploads.clone().try_acquire_owned();
        place.map_err(|_| Reject::new(Code::Busy).after_ms(BUSY_MS))
    }

    /// The picture that these bytes are, for this shop. It is made on a thread apart from those of requests, one after the other.
    pub async fn read(&self, shop: &str, alt: String, bytes: Bytes) -> Result<NewPicture, Reject> {
        let _turn = self.decoding.acquire().await.map_err(|_| Code::Unavailable)?;
        let shop = shop.to_owned();
        let made = tokio::task::spawn_blocking(move || made(&shop, alt, &bytes));
        let made = made.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a decoder of pictures has failed");
            Err(Wrong::Unreadable)
        });
        made.map_err(Reject::from)
    }

    /// A file of a picture. Everybody asks for the same ones at once: one look answers them.
    pub async fn file(&self, store: &Store, picture: &str, width: u32) -> Result<Option<Bytes>, Error> {
        let key = (picture.to_owned(), width);
        let look = async { Ok(store.picture_file(picture, width).await?.map(Bytes::from)) };
        let file = self.files.get_or_read(&key, look).await?;
        if file.is_none() {
            // It may be uploaded in a moment.
            self.files.forget(&key).await;
        }
        Ok(file)
    }
}

fn made(shop: &str, alt: String, bytes: &[u8]) -> Result<NewPicture, Wrong> {
    let pixels = pixels(bytes)?;
    let mut files = Vec::with_capacity(WIDTHS.len());
    // From the largest down, each from the one before: the whole of it is gone through once.
    let mut present = pixels;
    for width in widths(present.width()).into_iter().rev() {
        present = resized(present, width);
        files.push((width, jpeg(&present)?, present.height()));
    }
    files.reverse();
    let mut hash = Sha256::new().chain_update(shop).chain_update([0]);
    for (width, file, _) in &files {
        hash.update(width.to_le_bytes());
        hash.update((file.len() as u64).to_le_bytes());
        hash.update(file);
    }
    let (width, height) = files
        .last()
        .map_or((0, 0), |(width, _, height)| (*width, *height));
    let picture = Picture {
        id: hex::encode(&hash.finalize()[..ID_BYTES]),
        width,
        height,
        widths: files.iter().map(|(width, ..)| *width).collect(),
        alt,
    };
    Ok(NewPicture {
        picture,
        files: files.into_iter().map(|(width, file, _)| (width, file)).collect(),
    })
}

/// The upright pixels, on white where they let something through. How many there will be is known before they are decoded.
fn pixels(bytes: &[u8]) -> Result<RgbImage, Wrong> {
    let unreadable = |_| Wrong::Unreadable;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|_| Wrong::Unreadable)?;
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Wrong::Pixels);
    }
    let orientation = decoder.orientation();
    let mut image = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    if let Ok(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(match image.color().has_alpha() {
        true => on_white(&image),
        false => image.into_rgb8(),
    })
}

fn on_white(image: &DynamicImage) -> RgbImage {
    let image = image.to_rgba8();
    let mut pixels = RgbImage::new(image.width(), image.height());
    for (onto, from) in pixels.pixels_mut().zip(image.pixels()) {
        let [red, green, blue, alpha] = from.0.map(u32::from);
        let blend = |colour: u32| ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        onto.0 = [blend(red), blend(green), blend(blue)];
    }
    pixels
}

/// The widths of the files of a picture that is so wide: never wider than it is.
fn widths(width: u32) -> Vec<u32> {
    let mut widths: Vec<u32> = WIDTHS.into_iter().filter(|one| *one <= width).collect();
    let largest = WIDTHS[WIDTHS.len() - 1];
    if width < largest && widths.last() != Some(&width) {
        widths.push(width);
    }
    widths
}

fn resized(image: RgbImage, width: u32) -> RgbImage {
    if image.width() == width {
        return image;
    }
    let height = (u64::from(image.height()) * u64::from(width) + u64::from(image.width()) / 2)
        / u64::from(image.width());
    image::imageops::resize(&image, width, (height as u32).max(1), FilterType::CatmullRom)
}

fn jpeg(image: &RgbImage) -> Result<Vec<u8>, Wrong> {
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
    image.write_with_encoder(encoder).map_err(|error| {
        tracing::error!(%error, "a picture cannot be encoded");
        Wrong::Unreadable
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{
        ExtendedColorType, ImageEncoder, Rgba, RgbaImage,
        codecs::{png::PngEncoder, webp::WebPEncoder},
    };

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut file = Vec::new();
        let pixels = vec![90; (width * height * 3) as usize];
        PngEncoder::new(&mut file)
            .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
            .expect("encodes");
        file
    }

    /// The size of what is read again from a file.
    fn size(file: &[u8]) -> (u32, u32) {
        let image = image::load_from_memory(file).expect("a picture");
        (image.width(), image.height())
    }

    #[test]
    fn a_picture_gets_files_of_several_widths_and_none_is_wider_than_it_was() {
        let of = |width, height| made("shop", String::new(), &png(width, height)).expect("a picture");
        let wide = of(2_000, 1_000);
        assert_eq!(wide.picture.widths, [320, 640, 960, 1_600]);
        assert_eq!((wide.picture.width, wide.picture.height), (1_600, 800));
        for (width, file) in &wide.files {
            assert_eq!(size(file), (*width, width / 2));
        }
        assert_eq!(of(700, 100).picture.widths, [320, 640, 700]);
        assert_eq!(of(640, 640).picture.widths, [320, 640]);
        assert_eq!(of(5, 9).picture.widths, [5]);
        assert_eq!(of(9_000, 1).picture.height, 1);
    }

    #[test]
    fn png_jpeg_and_webp_are_read_and_their_metadata_is_left_behind() {
        let secret = "GPS of the studio";
        let mut webp = Vec::new();
        WebPEncoder::new_lossless(&mut webp)
            .write_image(&[7; 12], 2, 2, ExtendedColorType::Rgb8)
            .expect("encodes");
        let mut jpeg = Vec::new();
        let mut encoder = JpegEncoder::new(&mut jpeg);
        encoder
            .set_exif_metadata(secret.as_bytes().to_vec())
            .expect("takes it");
        encoder
            .write_image(&[7; 12], 2, 2, ExtendedColorType::Rgb8)
            .expect("encodes");
        assert!(jpeg.windows(secret.len()).any(|part| part == secret.as_bytes()));
        for upload in [png(2, 2), webp, jpeg] {
            let made = made("shop", String::new(), &upload).expect("a picture");
            let (_, file) = &made.files[0];
            assert!(file.starts_with(&[0xff, 0xd8]), "JPEG");
            assert!(!file.windows(secret.len()).any(|part| part == secret.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_picture_or_too_large_a_one_is_refused_before_it_is_decoded() {
        let refused = |bytes: &[u8]| made("shop", String::new(), bytes).expect_err("refused");
        for none in [
            &b""[..],
            b"<svg onload=alert(1)>",
            b"GIF89a\x01\x00\x01\x00",
            b"\x89PNG\r\n\x1a\n",
            &png(9, 9)[..60],
        ] {
            assert_eq!(refused(none), Wrong::Unreadable, "{none:?}");
        }
        // The size stands in the header: 40 megapixels of nothing behind it are never asked for.
        let sized = |width: u32, height: u32| {
            let mut bomb = png(1, 1);
            bomb[16..20].copy_from_slice(&width.to_be_bytes());
            bomb[20..24].copy_from_slice(&height.to_be_bytes());
            let sum = crc(&bomb[12..29]);
            bomb[29..33].copy_from_slice(&sum.to_be_bytes());
            bomb
        };
        for (width, height) in [
            (8_000, 5_000),
            (10_001, 1),
            (1, 10_001),
            (100_000, 100_000),
            (u32::MAX / 2, u32::MAX / 2),
        ] {
            let code = refused(&sized(width, height));
            assert!(
                matches!(code, Wrong::Pixels | Wrong::Unreadable),
                "{width}: {code:?}"
            );
        }
        assert_eq!(refused(&sized(8_000, 5_000)), Wrong::Pixels);
        assert_eq!(refused(&sized(50_000, 50_000)), Wrong::Pixels);
        assert_eq!(
            refused(&sized(4_000, 4_000)),
            Wrong::Unreadable,
            "few enough, but they are not there"
        );
    }

    /// The checksum of a chunk of PNG.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
                1 => (crc >> 1) ^ 0xedb8_8320,
                _ => crc >> 1,
            })
        })
    }

    #[test]
    fn what_lets_something_through_stands_on_white() {
        let mut image = RgbaImage::from_pixel(1, 2, Rgba([10, 20, 30, 0]));
        image.put_pixel(0, 1, Rgba([10, 20, 30, 255]));
        let pixels = on_white(&DynamicImage::ImageRgba8(image));
        assert_eq!(pixels.get_pixel(0, 0).0, [255, 255, 255]);
        assert_eq!(pixels.get_pixel(0, 1).0, [10, 20, 30]);
    }

    #[test]
    fn a_picture_s_name_is_of_its_bytes_and_of_its_shop() {
        let name = |shop: &str, side| {
            made(shop, String::new(), &png(side, side))
                .expect("a picture")
                .picture
                .id
        };
        assert_eq!(name("a", 3), name("a", 3));
        assert_ne!(name("a", 3), name("a", 4));
        assert_ne!(name("a", 3), name("b", 3));
    }
}
