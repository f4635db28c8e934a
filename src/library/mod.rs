//! The media library: a folder becomes titles, a title's tracks have a compact sample index, access units are read
//! when they are due.
//!
//! Parsers here are pure: they see a [`ReadAt`], never a path. Nothing here knows RTP.

pub mod codec;
pub mod container;
pub mod elementary;
pub mod folder;
pub mod jpeg;
pub mod title;
pub mod watch;

pub use codec::{
    AacConfig, Av1Config, Codec, H264Config, H265Config, H265Profile, Mpeg4VisualConfig, NalFraming, PcmConfig, PcmSample, PictureSize,
    SoundFormat, VorbisConfig,
};
pub use folder::{Change, ChangeKind, Entry, Library};
pub use title::{AccessUnit, Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track, Unpack};
