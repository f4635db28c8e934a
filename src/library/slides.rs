//! Slide shows: a folder of JPEG pictures and a `slides.toml`, which names the title, become a track of Motion JPEG.

pub(crate) mod files;
pub mod show;

use std::ffi::OsStr;
use std::path::Path;

/// The name of the file that makes a folder a show.
const NAME: &str = "slides.toml";

/// Whether a file is what makes its folder a show.
pub(crate) fn is_slide_show(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new(NAME))
}
