//! Headers of elementary streams: what a frame or a picture says of itself, whatever the file around it; and how a stream without a
//! container falls into access units.

pub mod ac3;
pub mod adts;
pub mod bits;
pub mod frames;
pub mod h264;
pub mod h265;
pub mod latm;
pub mod loas;
pub mod mpeg4_visual;
pub mod mpeg_audio;
pub mod mpeg_video;
pub mod opus;
pub mod opus_stream;
pub mod pictures;
pub mod start_code;
pub mod vorbis;
