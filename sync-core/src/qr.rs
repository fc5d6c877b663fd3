//! QR images of the codes by which phones join (see [`dinh_proto::join`]), as SVG and PNG.
//!
//! Error correction M, byte mode, the quiet zone of 4 modules that the standard asks for. Black on white: some scanners do not read
//! light codes on a dark ground, so do not invert it for a dark theme.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use qrcode::types::QrError as Refused;
use qrcode::{Color, EcLevel, QrCode};
use thiserror::Error;

/// Modules of white on each side.
const QUIET: usize = 4;
/// Most pixels for a module: the largest code is then an image of 5,920 by 5,920 pixels.
const SCALE_MAX: u8 = 32;
/// Digits that the largest code holds at error correction M; of other letters it holds fewer.
const TEXT_BYTES_MAX: usize = 5_596;

/// Why there is no image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QrError {
    /// No QR code holds that much. Those that phones read well hold a few hundred bytes.
    #[error("{bytes} bytes do not fit into a QR code")]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
}

/// An SVG image of the code that says `text`, one unit to a module; it scales to any size without loss.
///
/// # Errors
/// The text is too long: see [`QrError`].
pub fn svg(text: &str) -> Result<String, QrError> {
    let modules = Modules::of(text)?;
    let side = modules.side;
    let mut path = String::new();
    for y in 0..side {
        let mut x = 0;
        while x < side {
            let run = (x..side).take_while(|x| modules.is_dark(*x, y)).count();
            if run > 0 {
                write!(path, "M{x} {y}h{run}v1h-{run}z").expect("a string takes any text");
            }
            x += run.max(1);
        }
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
    ))
}

/// A PNG image of the code that says `text`, `scale` pixels to a module (1 to 32; others are brought into this range).
///
/// # Errors
/// The text is too long: see [`QrError`].
pub fn png(text: &str, scale: u8) -> Result<Vec<u8>, QrError> {
    let modules = Modules::of(text)?;
    let scale = usize::from(scale.clamp(1, SCALE_MAX));
    let pixels = modules.side * scale;
    // One bit a pixel, 1 is white; before each line the number of its filter, none.
    let mut lines = Vec::with_capacity(pixels * (1 + pixels.div_ceil(8)));
    for y in 0..modules.side {
        let mut line = vec![0; 1 + pixels.div_ceil(8)];
        for x in (0..pixels).filter(|x| !modules.is_dark(x / scale, y)) {
            line[1 + x / 8] |= 0x80 >> (x % 8);
        }
        (0..scale).for_each(|_| lines.extend_from_slice(&line));
    }
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    let packed = deflate
        .write_all(&lines)
        .and_then(|()| deflate.finish())
        .expect("a vector takes all that is written");
    let side = u32::try_from(pixels).expect("185 modules of 32 pixels at most").to_be_bytes();
    // Bit depth 1, greyscale, deflate, the one kind of filters, not interlaced.
    let head = [&side[..], &side, &[1, 0, 0, 0, 0]].concat();
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut out, *b"IHDR", &head);
    chunk(&mut out, *b"IDAT", &packed);
    chunk(&mut out, *b"IEND", &[]);
    Ok(out)
}

fn chunk(out: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    let mut crc = Crc::new();
    crc.update(&name);
    crc.update(data);
    out.extend_from_slice(&u32::try_from(data.len()).expect("some 4 MiB at most").to_be_bytes());
    out.extend_from_slice(&name);
    out.extend_from_slice(data);
    out.extend_from_slice(&crc.sum().to_be_bytes());
}

/// A code with its quiet zone.
struct Modules {
    side: usize,
    code: QrCode,
}

impl Modules {
    fn of(text: &str) -> Result<Self, QrError> {
        // The encoder looks for the shortest form of all of a text, with several times its memory, before it sees that there is none.
        if text.len() > TEXT_BYTES_MAX {
            return Err(QrError::TooLong { bytes: text.len() });
        }
        let code = QrCode::with_error_correction_level(text, EcLevel::M).map_err(|e| match e {
            // The others are about versions and segments that a caller chooses, which this one does not.
            Refused::DataTooLong
            | Refused::InvalidVersion
            | Refused::UnsupportedCharacterSet
            | Refused::InvalidEciDesignator
            | Refused::InvalidCharacter => QrError::TooLong { bytes: text.len() },
        })?;
        Ok(Self { side: code.width() + 2 * QUIET, code })
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < self.code.width());
        inside(x).zip(inside(y)).is_some_and(|at| self.code[at] == Color::Dark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dinh_proto::charter::record::JoinRequest;
    use dinh_proto::ids::{ItemId, SpaceId};
    use dinh_proto::join::{Code, RootKey, Welcome};
    use dinh_proto::keys::{DeviceKey, RelayKey};

    fn links() -> Vec<String> {
        let request = JoinRequest::new(&DeviceKey::from_seed(&[1; 32]));
        let relay = RelayKey::from_seed(&[3; 32]).public();
        let welcome =
            Welcome::new(SpaceId([1; 16]), ItemId([2; 32]), relay, "ws://relay.example:4480/dinh/v1");
        let root = RootKey::new(&[0xab; 32], SpaceId([1; 16]));
        let codes = [Code::from(request), welcome.unwrap().into(), root.into()];
        codes.iter().map(|code| code.link().to_string()).collect()
    }

    fn scan(width: usize, dark: impl Fn(usize, usize) -> bool) -> String {
        let mut image = rqrr::PreparedImage::prepare_from_bitmap(width, width, dark);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1, "one code in the image");
        grids[0].decode().unwrap().1
    }

    /// Side and pixels, true if dark.
    fn decode_png(bytes: &[u8]) -> (usize, Vec<bool>) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.width, info.height);
        (info.width as usize, pixels[..info.buffer_size()].iter().map(|p| *p < 128).collect())
    }

    /// Side and pixels of the path that `svg` writes.
    fn draw(svg: &str) -> (usize, Vec<bool>) {
        let between = |after: &str, before: char| {
            let (_, rest) = svg.split_once(after).unwrap();
            rest.split_once(before).unwrap().0.to_owned()
        };
        let side: usize = between("viewBox=\"0 0 ", ' ').parse().unwrap();
        let mut pixels = vec![false; side * side];
        for run in between("fill=\"#000\" d=\"M", '"').trim_end_matches('z').split("zM") {
            let (at, size) = run.split_once('h').unwrap();
            let (x, y) = at.split_once(' ').unwrap();
            let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
            let width: usize = size.split_once('v').unwrap().0.parse().unwrap();
            pixels[y * side + x..y * side + x + width].fill(true);
        }
        (side, pixels)
    }

    #[test]
    fn a_decoder_reads_back_what_the_images_say() {
        let texts = [links(), vec!["x".into(), "Chi bộ thôn Đông".into(), "7".repeat(2_000)]].concat();
        let mut read = 0;
        for text in &texts {
            let (side, drawn) = draw(&svg(text).unwrap());
            let quiet = |x: usize, y: usize| x.min(y) < QUIET || x.max(y) >= side - QUIET;
            assert!((0..side * side).all(|i| !(drawn[i] && quiet(i % side, i / side))));
            assert!(drawn[QUIET * side + QUIET], "the corner of the code");
            let enlarged = |x: usize, y: usize| drawn[y / 4 * side + x / 4];
            assert_eq!(scan(4 * side, enlarged), *text);
            read += 1;
            for scale in [1, 3, 8] {
                let (width, pixels) = decode_png(&png(text, scale).unwrap());
                assert_eq!(width, side * usize::from(scale));
                let scale = usize::from(scale);
                let same = |i: usize| pixels[i] == drawn[i / width / scale * side + i % width / scale];
                assert!((0..width * width).all(same), "both images show the same modules");
                // One pixel to a module is too little for the decoder.
                if scale > 1 {
                    assert_eq!(scan(width, |x, y| pixels[y * width + x]), *text);
                    read += 1;
                }
            }
        }
        println!("{read} images of {} texts read back", texts.len());
    }

    #[test]
    fn what_does_not_fit_has_no_image() {
        let most = "x".repeat(2_331);
        assert!(svg(&most).is_ok() && png(&most, 1).is_ok());
        let bytes = most.len() + 1;
        assert_eq!(svg(&"x".repeat(bytes)), Err(QrError::TooLong { bytes }));
        assert_eq!(png(&"x".repeat(bytes), 1), Err(QrError::TooLong { bytes }));
        // Of nothing more than of digits.
        assert!(svg(&"7".repeat(TEXT_BYTES_MAX)).is_ok());
        let bytes = TEXT_BYTES_MAX + 1;
        assert_eq!(svg(&"7".repeat(bytes)), Err(QrError::TooLong { bytes }));
        let side = |scale| decode_png(&png("x", scale).unwrap()).0;
        assert_eq!((side(0), side(200)), (side(1), side(32)));
    }
}
