//! MP4 and QuickTime files (ISO/IEC 14496-12 and -14): the movie box at either end, sample tables, edit lists, and
//! fragments.
//!
//! The box tree is walked here, so that a broken leaf costs one track and not the title; leaves are decoded by
//! `mp4-atom`. Every length and count is checked against the file before memory is taken for it.

pub(crate) mod audio_config;
mod boxes;
mod edits;
mod entry;
mod fragments;
mod pcm;
mod sound_entry;
mod tables;

use std::sync::Arc;

use mp4_atom::{Mdhd, Mvhd, Tkhd, Trex};

use crate::library::codec::Codec;
use crate::library::container::{left_out_subtitle, problem, unsendable};
use crate::library::title::{Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

use boxes::{Boxes, decode, find};

/// The largest movie box that is read.
const MAX_MOVIE_BOX: u64 = 256 << 20;
/// The largest movie fragment box that is read.
const MAX_FRAGMENT_BOX: u64 = 16 << 20;
/// Boxes at the top level that are looked at.
const MAX_TOP_LEVEL: usize = 1 << 20;
/// The same of what segments begin with: a handful are there.
const MAX_BEFORE_SEGMENTS: usize = 64;
/// Access units all tracks together may have: 70 hours of picture and sound, 200 MB of index.
const MAX_SAMPLES: usize = 8 << 20;
/// Tracks that are looked at: as many as there are dynamic payload types.
const MAX_TRACKS: usize = 32;

/// Whether the file begins like one of this family.
pub fn sniff(head: &[u8]) -> bool {
    matches!(head.get(4..8), Some(b"ftyp" | b"moov" | b"mdat" | b"free" | b"skip" | b"wide" | b"styp" | b"pnot" | b"moof" | b"sidx"))
}

/// Whether a file is what segments begin with: it describes tracks, and has nothing of them.
///
/// # Errors
/// It cannot be read.
pub(crate) fn is_beginning(source: &dyn ReadAt) -> Result<bool, Problem> {
    let (mut offset, mut has_movie) = (0, false);
    for _ in 0..MAX_BEFORE_SEGMENTS {
        let rest = source.size().saturating_sub(offset);
        if rest < 8 {
            return Ok(has_movie);
        }
        match top_level_box(source, offset, rest)? {
            Some((kind, header, len)) if matches!(&kind, b"moof" | b"mdat") && len > header => return Ok(false),
            Some((kind, _, len)) => {
                has_movie |= &kind == b"moov";
                offset += len;
            }
            None => return Ok(false),
        }
    }
    Ok(false)
}

/// A track as the movie box describes it, before edits.
struct Draft {
    id: u32,
    kind: MediaKind,
    codec: Codec,
    timescale: ClockRate,
    language: Option<String>,
    edits: Vec<edits::Edit>,
    samples: Vec<Sample>,
    /// When the next fragment's samples begin if it does not say.
    next_decode_time: i64,
    last_duration: u32,
}

/// Reads the index of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    let layout = Layout::read(source.as_ref())?;
    let movie = layout.movie.ok_or_else(|| match layout.cut_short {
        true => problem("the file is cut short: it ends before its index (moov)"),
        false => problem("the file has no index (moov)"),
    })?;
    let movie_scale = find(&movie, b"mvhd")
        .and_then(decode::<Mvhd>)
        .and_then(|header| ClockRate::new(header.timescale))
        .ok_or_else(|| problem("the index has no movie header"))?;
    let mut remarks: Vec<String> = Vec::new();
    let mut drafts = Vec::new();
    // No access unit is smaller than an octet, but for the few that are empty.
    let mut budget = MAX_SAMPLES.min(usize::try_from(source.size()).unwrap_or(usize::MAX));
    for (_, track) in Boxes::new(&movie).filter(|(kind, _)| kind == b"trak").take(MAX_TRACKS) {
        match draft(track, movie_scale, budget) {
            Ok(Some(draft)) => {
                budget = budget.saturating_sub(draft.samples.len());
                drafts.push(draft);
            }
            Ok(None) => {}
            Err(remark) => remarks.push(remark.reason),
        }
    }
    let defaults: Vec<Trex> = find(&movie, b"mvex").map_or_else(Vec::new, |extends| {
        Boxes::new(extends).filter(|(kind, _)| kind == b"trex").filter_map(|(_, body)| decode(body)).take(MAX_TRACKS).collect()
    });
    if !layout.fragments.is_empty() {
        let remark = fragments::append(source.as_ref(), &layout.fragments, &defaults, &mut drafts, &mut budget)?;
        remarks.extend(remark.or(layout.cut_short.then_some("the file is cut short")).map(str::to_owned));
    }
    let has_none = !drafts.is_empty() && drafts.iter().all(|draft| draft.samples.is_empty());
    if has_none && layout.fragments.is_empty() && !layout.cut_short && find(&movie, b"mvex").is_some() {
        return Err(problem(
            "it has no pictures and no sound: it is what segments (HLS, DASH) begin with, or a recording that has just begun",
        ));
    }
    let mut tracks = Vec::new();
    let mut duration = MediaTime::ZERO;
    for mut draft in drafts {
        if draft.samples.is_empty() {
            remarks.push(format!("the {} track is empty", draft.kind));
            continue;
        }
        if draft.samples.iter().any(|sample| !sample.lies_within(source.size())) {
            return Err(problem("the file is cut short: its index points behind its end"));
        }
        let samples = std::mem::take(&mut draft.samples);
        let (samples, last_duration, end) = edits::apply(&draft.edits, samples, draft.last_duration, draft.kind);
        if samples.is_empty() {
            remarks.push(format!("the edit list leaves nothing of the {} track", draft.kind));
            continue;
        }
        let mut samples = samples;
        if !samples.iter().any(Sample::is_random_access) {
            remarks.push(format!("the {} track names no random access point; it can be played from its beginning only", draft.kind));
            samples[0] = samples[0].with_random_access();
        }
        let index = SampleIndex::new(samples, last_duration);
        let track = Track { kind: draft.kind, codec: draft.codec, timescale: draft.timescale, language: draft.language, index };
        if let Some(why) = unsendable(&track, source.as_ref()) {
            remarks.push(format!("the {} track is left out: {why}", track.kind));
            continue;
        }
        duration = duration.max(MediaTime::from_ticks(end, track.timescale));
        tracks.push(track);
    }
    if tracks.is_empty() {
        let why = if remarks.is_empty() { "the file has no track that can be played".into() } else { remarks.join("; ") };
        return Err(problem(why));
    }
    let remark = (!remarks.is_empty()).then(|| problem(remarks.join("; ")));
    Ok(Title { path, duration, tracks, remark, source })
}

/// What lies where at the top level.
struct Layout {
    movie: Option<Vec<u8>>,
    /// Offset and length of each movie fragment box.
    fragments: Vec<(u64, u64)>,
    cut_short: bool,
}

impl Layout {
    fn read(source: &dyn ReadAt) -> Result<Self, Problem> {
        let mut layout = Self { movie: None, fragments: Vec::new(), cut_short: false };
        let mut offset = 0;
        for _ in 0..MAX_TOP_LEVEL {
            let rest = source.size().saturating_sub(offset);
            if rest < 8 {
                return Ok(layout);
            }
            let Some((kind, header, len)) = top_level_box(source, offset, rest)? else {
                layout.cut_short = true;
                return Ok(layout);
            };
            match &kind {
                b"moov" if layout.movie.is_none() => {
                    if len > MAX_MOVIE_BOX {
                        return Err(problem("the index (moov) is larger than 256 MB"));
                    }
                    layout.movie = Some(read(source, offset + header, len - header)?);
                }
                b"moof" => layout.fragments.push((offset, len)),
                _ => {}
            }
            offset += len;
        }
        Err(problem("the file has more than a million boxes"))
    }
}

/// Kind, header length and whole length of the box at `offset`; `None` where it reaches beyond the file or is no box.
fn top_level_box(source: &dyn ReadAt, offset: u64, rest: u64) -> Result<Option<([u8; 4], u64, u64)>, Problem> {
    let head = read(source, offset, rest.min(16))?;
    let (Some(size), Some(kind)) = (head.first_chunk::<4>(), head.get(4..8).and_then(|kind| kind.first_chunk::<4>())) else {
        return Ok(None);
    };
    let (header, len) = match u32::from_be_bytes(*size) {
        0 => (8, rest),
        1 => match head.get(8..16).and_then(|large| large.first_chunk::<8>()) {
            Some(large) => (16, u64::from_be_bytes(*large)),
            None => return Ok(None),
        },
        small => (8, u64::from(small)),
    };
    Ok((len >= header && len <= rest).then_some((*kind, header, len)))
}

fn read(source: &dyn ReadAt, offset: u64, len: u64) -> Result<Vec<u8>, Problem> {
    let len = usize::try_from(len).map_err(|_| problem("a box is too large"))?;
    let mut octets = vec![0; len];
    source.read_exact_at(&mut octets, offset).map_err(|error| problem(format!("the file cannot be read: {error}")))?;
    Ok(octets)
}

/// A track box; `None` for tracks that are no media (hints, chapters, timecode); an error names a track left out.
fn draft(track: &[u8], movie_scale: ClockRate, budget: usize) -> Result<Option<Draft>, Problem> {
    let Some(media) = find(track, b"mdia") else { return Ok(None) };
    let handler = find(media, b"hdlr").and_then(|body| body.get(8..12));
    let kind = match handler {
        Some(b"vide") => MediaKind::Video,
        Some(b"soun") => MediaKind::Audio,
        Some(b"sbtl" | b"subt" | b"text" | b"subp" | b"clcp") => return Err(problem(subtitle(media))),
        _ => return Ok(None),
    };
    let broken = |what: &str| problem(format!("the {kind} track is left out: {what}"));
    let id = find(track, b"tkhd").and_then(decode::<Tkhd>).ok_or_else(|| broken("it has no header"))?.track_id;
    let header = find(media, b"mdhd").and_then(decode::<Mdhd>).ok_or_else(|| broken("it has no media header"))?;
    let timescale = ClockRate::new(header.timescale).ok_or_else(|| broken("its timescale is zero"))?;
    let table = find(media, b"minf").and_then(|info| find(info, b"stbl")).ok_or_else(|| broken("it has no sample table"))?;
    let descriptions = find(table, b"stsd").ok_or_else(|| broken("it has no sample description"))?;
    let codec = entry::codec(descriptions, &tables::descriptions(table)).map_err(|what| broken(&what))?;
    if codec.kind() != kind {
        return Err(broken("its coding is none for such a track"));
    }
    let single = pcm::read(table, &codec, budget).map_err(|what| broken(&what))?;
    let mut tables = single.map_or_else(|| tables::read(table, budget).map_err(|what| broken(&what)), Ok)?;
    if kind != MediaKind::Video {
        // Any frame of the audio codecs here can be decoded first, whatever the file says.
        tables.samples.iter_mut().for_each(|sample| *sample = sample.with_random_access());
    }
    let list = find(track, b"edts").and_then(|edits| find(edits, b"elst"));
    let edits = list.map_or_else(Vec::new, |list| edits::read(list, movie_scale, timescale));
    let language = language(&header);
    Ok(Some(Draft {
        id,
        kind,
        codec,
        timescale,
        language,
        edits,
        next_decode_time: tables.end,
        samples: tables.samples,
        last_duration: tables.last_duration,
    }))
}

/// The language of a track where it names one in ISO 639-2.
fn language(header: &Mdhd) -> Option<String> {
    let is_named = |code: &&String| code.bytes().all(|byte| byte.is_ascii_lowercase()) && *code != "und" && code.len() == 3;
    Some(&header.language).filter(is_named).cloned()
}

/// The remark on a subtitle track.
fn subtitle(media: &[u8]) -> String {
    let language = find(media, b"mdhd").and_then(decode::<Mdhd>).as_ref().and_then(language);
    let descriptions = find(media, b"minf").and_then(|info| find(info, b"stbl")).and_then(|table| find(table, b"stsd"));
    // Behind version, flags and count: size and name of the first one (section 8.5.2).
    let name = descriptions.and_then(|list| list.get(12..16)).and_then(|name| name.first_chunk::<4>());
    let why = name.map_or_else(|| "it has no sample description".into(), |name| entry::unsupported(*name));
    left_out_subtitle(language.as_deref(), &why)
}

#[cfg(test)]
mod tests;
