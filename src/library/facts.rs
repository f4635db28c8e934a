//! What is known of a title while nobody plays it: enough for a list, and nothing of its index.

use serde::{Deserialize, Serialize};

use crate::library::codec::{PictureSize, SoundFormat};
use crate::library::title::{Problem, Title, Track};
use crate::quantities::{MediaKind, MediaTime};

/// Of a title that can be played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The length of its timeline.
    pub duration: MediaTime,
    /// Its tracks, in their order.
    pub tracks: Box<[TrackFacts]>,
    /// Something about the file that its viewer should know although it plays.
    pub remark: Option<Problem>,
}

/// Of a track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackFacts {
    /// Video, audio or text.
    pub kind: MediaKind,
    /// How it is coded, in a word.
    pub codec: Box<str>,
    /// The mean bit rate in bits per second.
    pub bitrate: u64,
    /// Luma samples across and down; `None` for sound.
    pub picture_size: Option<PictureSize>,
    /// What is heard; `None` for pictures.
    pub sound_format: Option<SoundFormat>,
    /// BCP 47 or ISO 639 language, if the file names one.
    pub language: Option<Box<str>>,
}

impl From<&Title> for Facts {
    fn from(title: &Title) -> Self {
        Self { duration: title.duration, tracks: title.tracks.iter().map(TrackFacts::from).collect(), remark: title.remark.clone() }
    }
}

impl From<&Track> for TrackFacts {
    fn from(track: &Track) -> Self {
        Self {
            kind: track.kind,
            codec: track.codec.name().into(),
            bitrate: track.bitrate(),
            picture_size: track.codec.picture_size(),
            sound_format: track.codec.sound_format(),
            language: track.language.as_deref().map(Into::into),
        }
    }
}
