//! A slide show: what `slides.toml` says, and the index of the pictures that it shows.
//!
//! A picture goes out again and again as long as it is shown: a device that joins, or has lost one, has it soon, and FFmpeg shows nothing
//! before it has had twenty. Each time costs what a picture takes, hundreds of kilobytes, and shows nothing new; so it is five times a
//! second unless something else is asked for. Nothing is decoded, scaled or turned. What is read here is text and octets; which files
//! there are is found out by `files.rs`.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;

use crate::library::codec::{Codec, PictureSize};
use crate::library::container::problem;
use crate::library::jpeg::{JpegProblem, Picture, first_picture};
use crate::library::title::{Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

/// Octets of `slides.toml` at most.
pub const MAX_TEXT: u64 = 1 << 20;
/// Slides of a show at most.
pub const MAX_SLIDES: usize = 10_000;
/// Octets of a file with a picture at most: more than RTP can carry of one.
pub const MAX_FILE: u64 = 32 << 20;
/// The clock of JPEG in RTP (RFC 2435 section 3).
const CLOCK: ClockRate = ClockRate::VIDEO;
/// How long a picture is shown where nothing is said, in seconds.
const SECONDS: f64 = 5.0;
/// The least and the most that can be said: the time of a picture of 25 a second, and a day.
const SECONDS_RANGE: std::ops::RangeInclusive<f64> = 0.04..=86_400.0;
/// How often in a second a picture goes out where nothing is said, and how often it may.
const RATE: u32 = 5;
const RATE_RANGE: std::ops::RangeInclusive<u32> = 1..=25;
/// Access units of a show at most: eleven days at once a second.
const MAX_UNITS: u64 = 1_000_000;
/// Slides that are named where they are left out.
const NAMED: usize = 4;
/// Characters of a title at most.
const MAX_TITLE: usize = 200;
/// Characters of a name that are shown.
const NAME_SHOWN: usize = 60;

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: Option<String>,
    seconds: Option<f64>,
    rate: Option<u32>,
    slides: Option<Vec<WrittenSlide>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSlide {
    file: String,
    seconds: Option<f64>,
}

/// What is shown, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct SlideShow {
    /// What its owner calls it.
    pub title: Option<String>,
    /// How long a picture is shown of which nothing else is said, in seconds.
    pub seconds: f64,
    /// How often in a second a picture goes out.
    pub rate: u32,
    /// The slides; `None` where all pictures of the folder are, in the order of their names.
    pub slides: Option<Vec<Slide>>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Slide {
    /// Its file's path below the folder of the show.
    pub file: TitlePath,
    /// How long it is shown, in seconds.
    pub seconds: f64,
    /// How often in a second it goes out at least.
    pub rate: u32,
}

impl SlideShow {
    /// Reads `slides.toml`.
    ///
    /// # Errors
    /// What is wrong with it, and in which line.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let written: Written = toml::from_str(text).map_err(|error| {
            let line = error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.split('\n').count());
            problem(format!("line {line}: {}", one_line(error.message())))
        })?;
        let title = written.title.map(|title| one_line(title.trim()));
        if title.as_ref().is_some_and(|title| title.is_empty() || title.chars().count() > MAX_TITLE) {
            return Err(problem(format!("the title has 1 to {MAX_TITLE} characters")));
        }
        let seconds = duration(written.seconds, SECONDS)?;
        let rate = written.rate.unwrap_or(RATE);
        if !RATE_RANGE.contains(&rate) {
            return Err(problem(format!("the rate is {} to {} times a second", RATE_RANGE.start(), RATE_RANGE.end())));
        }
        let slide = |slide: WrittenSlide| {
            let file = TitlePath::new(&slide.file)
                .ok_or_else(|| problem(format!("\"{}\" is no file below the folder of the slides", shown(&slide.file))))?;
            Ok(Slide { file, seconds: duration(slide.seconds, seconds)?, rate })
        };
        if written.slides.as_ref().is_some_and(|slides| slides.len() > MAX_SLIDES) {
            return Err(problem(format!("there are more than {MAX_SLIDES} slides")));
        }
        let slides = written.slides.map(|slides| slides.into_iter().map(slide).collect::<Result<Vec<_>, Problem>>()).transpose()?;
        Ok(Self { title, seconds, rate, slides })
    }
}

fn duration(seconds: Option<f64>, otherwise: f64) -> Result<f64, Problem> {
    let seconds = seconds.unwrap_or(otherwise);
    let (least, most) = SECONDS_RANGE.into_inner();
    // What is no number lies nowhere.
    if SECONDS_RANGE.contains(&seconds) { Ok(seconds) } else { Err(problem(format!("a slide can be shown for {least} to {most} seconds"))) }
}

/// A text from outside in a line of ours.
fn one_line(text: &str) -> String {
    text.split(char::is_control).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn shown(name: &str) -> String {
    let start: String = one_line(name).chars().take(NAME_SHOWN).collect();
    if name.chars().nth(NAME_SHOWN).is_some() { format!("{start}…") } else { start }
}

/// Where a slide's picture lies in the source of its show, or why there is none.
pub type Place = Result<Range<u64>, &'static str>;

/// What is left out, and the first reasons.
#[derive(Default)]
struct LeftOut {
    named: Vec<String>,
    more: usize,
}

impl LeftOut {
    fn add(&mut self, slide: &Slide, why: &str) {
        if self.named.len() < NAMED {
            self.named.push(format!("\"{}\" is left out: {why}", shown(slide.file.as_str())));
        } else {
            self.more += 1;
        }
    }

    fn into_problem(self) -> Option<Problem> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        let all: Vec<String> = self.named.into_iter().chain(more).collect();
        (!all.is_empty()).then(|| problem(all.join("; ")))
    }
}

/// The index of a show: each slide with the place of its picture in `source`. Pictures are read one by one to see whether RTP can carry
/// them, each once.
///
/// # Errors
/// None of them can be shown, or there are too many.
pub fn index(slides: &[(Slide, Place)], source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    let mut left_out = LeftOut::default();
    let mut looked_at: HashMap<u64, Result<Still, String>> = std::collections::HashMap::new();
    let mut told = HashSet::new();
    let mut samples: Vec<Sample> = Vec::new();
    let (mut size, mut time, mut last_duration) = (None, 0u64, 0);
    let mut octets = Vec::new();
    for (slide, place) in slides {
        let still = match place {
            Ok(place) => looked_at.entry(place.start).or_insert_with(|| look(source.as_ref(), place, &mut octets)).clone(),
            Err(why) => Err((*why).to_owned()),
        };
        let still = match still {
            Ok(still) => still,
            Err(why) => {
                if told.insert(&slide.file) {
                    left_out.add(slide, &why);
                }
                continue;
            }
        };
        let lasts = (slide.seconds * f64::from(CLOCK.hertz())).round() as u64;
        let times = (lasts * u64::from(slide.rate)).div_ceil(u64::from(CLOCK.hertz())).max(1);
        if samples.len() as u64 + times > MAX_UNITS {
            return Err(problem(format!("pictures would go out more than {MAX_UNITS} times")));
        }
        let at = |turn: u64| time + lasts * turn / times;
        samples.extend((0..times).filter_map(|turn| Sample::new(still.offset, still.octets, at(turn) as i64, 0, true)));
        last_duration = (at(times) - at(times - 1)) as u32;
        time += lasts;
        size.get_or_insert(still.size);
    }
    let remark = left_out.into_problem();
    let Some(size) = size else {
        return Err(remark.unwrap_or_else(|| problem("there is no JPEG picture in the folder")));
    };
    let index = SampleIndex::new(samples, last_duration);
    let track = Track { kind: MediaKind::Video, codec: Codec::Jpeg(size), timescale: CLOCK, language: None, index };
    Ok(Title { path, duration: MediaTime::from_ticks(time as i64, CLOCK), tracks: vec![track], remark, source })
}

/// A picture that can be shown.
#[derive(Clone, Copy)]
struct Still {
    offset: u64,
    octets: u32,
    size: PictureSize,
}

fn look(source: &dyn ReadAt, place: &Range<u64>, octets: &mut Vec<u8>) -> Result<Still, String> {
    let size = place.end.saturating_sub(place.start);
    if size > MAX_FILE {
        return Err("the file is too large".into());
    }
    octets.resize(size as usize, 0);
    source.read_exact_at(octets, place.start).map_err(|error| format!("the file cannot be read: {error}"))?;
    let picture = first_picture(octets).map_err(|problem| match problem {
        JpegProblem::Broken => "it is no JPEG picture, or not all of it is there".to_owned(),
        other => other.to_string(),
    })?;
    let parsed = Picture::parse(picture).map_err(|problem| problem.to_string())?;
    if parsed.scan.len() > Picture::MAX_SCAN {
        return Err("the picture is too large".into());
    }
    Ok(Still { offset: place.start, octets: picture.len() as u32, size: PictureSize { width: parsed.width, height: parsed.height } })
}

#[cfg(test)]
mod tests;
