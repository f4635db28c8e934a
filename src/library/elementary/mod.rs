//! Headers of elementary streams: what a frame or a picture says of itself, whatever the file around it.

pub mod ac3;
pub mod mpeg_audio;
pub mod opus;
pub mod vorbis;
