//! What files that hold one sound have in common: one track, the beginning of which is the title's.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::library::codec::Codec;
use crate::library::container::problem;
use crate::library::title::{Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track, Unpack};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

/// Access units that a track may have: 46 hours of 20 ms, 200 MB of index.
pub(super) const MAX_UNITS: usize = 8 << 20;
/// Channels that are taken.
pub(super) const MAX_CHANNELS: u8 = 8;
/// Samples of a channel in a second that are taken.
pub(super) const SAMPLE_RATES: RangeInclusive<u32> = 1_000..=768_000;

/// A file's sound.
pub(super) struct Sound {
    pub(super) codec: Codec,
    /// Ticks a second of the times in `samples`.
    pub(super) timescale: u32,
    pub(super) samples: Vec<Sample>,
    /// Ticks that the last access unit lasts.
    pub(super) last_duration: u32,
    /// When the sound ends, in ticks.
    pub(super) end: i64,
    pub(super) packing: Option<Arc<dyn Unpack>>,
}

impl Sound {
    /// Its track.
    ///
    /// # Errors
    /// It is empty, as the end of a sentence.
    pub(super) fn track(self) -> Result<(Track, MediaTime), &'static str> {
        let timescale = ClockRate::new(self.timescale).ok_or("its sampling rate is zero")?;
        if self.samples.is_empty() {
            return Err("it is empty");
        }
        let index = SampleIndex::new(self.samples, self.last_duration);
        let index = match self.packing {
            Some(packing) => index.packed(packing),
            None => index,
        };
        let track = Track { kind: MediaKind::Audio, codec: self.codec, timescale, language: None, index };
        Ok((track, MediaTime::from_ticks(self.end, timescale)))
    }

    /// The title of a file that holds nothing else.
    ///
    /// # Errors
    /// It is empty.
    pub(super) fn title(self, path: TitlePath, source: Arc<dyn ReadAt>, remark: Option<&str>) -> Result<Title, Problem> {
        let (track, duration) = self.track().map_err(|why| problem(format!("the audio track is left out: {why}")))?;
        Ok(Title { path, duration, tracks: vec![track], remark: remark.map(problem), source })
    }
}
