//! The media library: a folder becomes titles, the tracks of one that is open have a compact sample index, access units are read
//! when they are due.
//!
//! Parsers here are pure: they see a [`ReadAt`], never a path. Nothing here knows RTP.

pub mod cache;
pub mod chain;
pub mod codec;
pub mod container;
pub mod cover;
pub mod elementary;
mod entry;
mod facts;
pub mod file;
pub mod folder;
mod indexing;
pub mod joined;
pub mod jpeg;
mod listed;
pub mod live;
mod opening;
pub mod playlist;
pub mod record;
pub mod slides;
pub mod title;
pub mod watch;

pub use cache::CacheSettings;
pub use codec::{
    AacConfig, Av1Config, Codec, H264Config, H265Config, H265Profile, Mpeg4VisualConfig, NalFraming, PcmConfig, PcmSample, PictureSize,
    SoundFormat, VorbisConfig, Vp9Config,
};
pub use entry::{Entry, Form};
pub use facts::{Facts, TrackFacts};
pub use folder::{Change, ChangeKind, Library};
pub use opening::{HeldCover, TooManyCovers};
pub use title::{AccessUnit, Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track, Unpack};
