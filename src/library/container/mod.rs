//! File formats. One file or folder each; [`parse`] tells them apart by content.

use std::sync::Arc;

use crate::library::title::{Problem, ReadAt, Title, TitlePath, Unpack};

pub mod mp4;

/// Reads the index of a file.
///
/// # Errors
/// A [`Problem`] with what is wrong, in words for the file's owner.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    if source.size() == 0 {
        return Err(problem("the file is empty"));
    }
    let mut head = [0; 16];
    let known = usize::try_from(source.size()).unwrap_or(usize::MAX).min(head.len());
    source.read_exact_at(&mut head[..known], 0).map_err(|error| problem(format!("the file cannot be read: {error}")))?;
    if mp4::sniff(&head[..known]) {
        return mp4::parse(source, path);
    }
    Err(problem(UNKNOWN))
}

/// How a container puts access units together, made anew from what [`Unpack::kept`] gave; `None` where it is not of this version.
pub fn restore(container: &str, parameters: &[u8]) -> Option<Arc<dyn Unpack>> {
    // A line for each container that keeps something: "name" => name::restore(parameters).
    let _ = (container, parameters);
    None
}

/// The problem of a file that begins like none of these formats.
pub(crate) const UNKNOWN: &str = "not a media file of a known format";

/// A problem in words.
pub(crate) fn problem(reason: impl Into<String>) -> Problem {
    Problem { reason: reason.into() }
}
