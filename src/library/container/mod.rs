//! File formats. One file or folder each; [`parse`] tells them apart by content.

use std::sync::Arc;

use crate::library::codec::Codec;
use crate::library::jpeg::Picture;
use crate::library::title::{Problem, ReadAt, Title, TitlePath, Track, Unpack};

pub mod adts;
pub mod annexb;
pub(crate) mod configuration;
pub(crate) use configuration::h265 as h265_record;
pub mod flac;
pub mod matroska;
pub mod mp4;
pub mod mpeg_audio;
pub mod mpegts;
pub mod ogg;
pub(crate) mod order;
mod sound;
pub mod wav;
mod window;

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
    if matroska::sniff(&head[..known]) {
        return matroska::parse(source, path);
    }
    if wav::sniff(&head[..known]) {
        return wav::parse(source, path);
    }
    if ogg::sniff(&head[..known]) {
        return ogg::parse(source, path);
    }
    if flac::sniff(&head[..known]) {
        return flac::parse(source, path);
    }
    if mpegts::sniff(source.as_ref()) {
        return mpegts::parse(source, path);
    }
    if adts::sniff(source.as_ref()) {
        return adts::parse(source, path);
    }
    if let Some(coding) = annexb::sniff(source.as_ref()) {
        return annexb::parse(source, path, coding);
    }
    // Any frame begins so: the last one that is asked.
    if mpeg_audio::sniff(&head[..known]) {
        return mpeg_audio::parse(source, path);
    }
    Err(problem(UNKNOWN))
}

/// Why a track cannot be sent although its coding can, as the end of a sentence: with JPEG that shows in the pictures only, of which the
/// first is looked at; `None` where it can.
pub(crate) fn unsendable(track: &Track, source: &dyn ReadAt) -> Option<String> {
    let (Codec::Jpeg(_), Some(unit)) = (&track.codec, track.access_unit(0)) else { return None };
    if u64::from(unit.size) > source.size() {
        return Some("its first picture is larger than the file".into());
    }
    let mut octets = vec![0; unit.size as usize];
    if let Err(error) = track.read(source, &[unit], &mut octets) {
        return Some(format!("its first picture cannot be read: {error}"));
    }
    Picture::parse(&octets).err().map(|problem| problem.to_string())
}

/// How a container puts access units together, made anew from what [`Unpack::kept`] gave; `None` where it is not of this version.
pub fn restore(container: &str, parameters: &[u8]) -> Option<Arc<dyn Unpack>> {
    // A line for each container that keeps something.
    match container {
        flac::NAME => Some(Arc::new(flac::restore(parameters)?)),
        matroska::packing::NAME => Some(Arc::new(matroska::packing::Prefixed::new(parameters.to_vec()))),
        mpegts::unpack::NAME => Some(Arc::new(mpegts::unpack::restore(parameters)?)),
        ogg::NAME => Some(Arc::new(ogg::Pages)),
        _ => None,
    }
}

/// The problem of a file that begins like none of these formats.
pub(crate) const UNKNOWN: &str = "not a media file of a known format";

/// The remark on a subtitle track, in the language that the file names: `why` is the end of a sentence.
pub(crate) fn left_out_subtitle(language: Option<&str>, why: &str) -> String {
    let language = language.map(|language| format!(" ({language})")).unwrap_or_default();
    format!("the subtitle track{language} is left out: {why}")
}

/// A problem in words.
pub(crate) fn problem(reason: impl Into<String>) -> Problem {
    Problem { reason: reason.into() }
}
