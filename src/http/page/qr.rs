//! A text as a QR code (ISO/IEC 18004), drawn as SVG: one path of squares, with the quiet zone of four modules around it.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

/// Octets of a text at most.
pub const MAX_TEXT: usize = 2048;
/// Modules around the code.
const QUIET: usize = 4;

/// Why a text is not drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QrError {
    /// No text.
    #[error("there is no text")]
    Empty,
    /// More than [`MAX_TEXT`] octets, or more than a code holds.
    #[error("the text is longer than {MAX_TEXT} octets")]
    TooLong,
}

/// Draws a text.
///
/// # Errors
/// A text that is empty or too long.
pub fn draw(text: &str) -> Result<String, QrError> {
    if text.is_empty() {
        return Err(QrError::Empty);
    }
    if text.len() > MAX_TEXT {
        return Err(QrError::TooLong);
    }
    // A screen is not dirty: the least redundancy gives the largest modules.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| QrError::TooLong)?;
    let (width, colors) = (code.width(), code.to_colors());
    let mut squares = String::new();
    for (row, line) in colors.chunks(width).enumerate() {
        let mut column = 0;
        for run in line.chunk_by(|left, right| left == right) {
            if run[0] == Color::Dark {
                let _ = write!(squares, "M{} {}h{}v1h-{}z", column + QUIET, row + QUIET, run.len(), run.len());
            }
            column += run.len();
        }
    }
    let side = width + 2 * QUIET;
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{squares}\"/></svg>\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finder_pattern_stands_in_three_corners_inside_of_the_quiet_zone() {
        let svg = draw("rtsp://host/").expect("a short text");
        // Version 1 has 21 modules a side.
        assert!(svg.contains("viewBox=\"0 0 29 29\""), "{svg}");
        for (row, column) in [(4, 4), (4, 18), (18, 4), (10, 4)] {
            assert!(svg.contains(&format!("M{column} {row}h7v1h-7z")), "{row} {column} in {svg}");
        }
    }

    #[test]
    fn a_text_is_drawn_up_to_its_bound_and_nothing_of_it_stands_in_the_drawing() {
        assert_eq!(draw(""), Err(QrError::Empty));
        assert_eq!(draw(&"x".repeat(MAX_TEXT + 1)), Err(QrError::TooLong));
        let drawn = draw(&"<é>".repeat(MAX_TEXT / 4)).expect("as long as may be");
        assert_eq!(drawn.matches('<').count(), 4, "nothing but the drawing's own elements");
    }
}
