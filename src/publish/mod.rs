//! What a publisher sends in, before it is a title: what it announces, its RTP packets put in order and made access units.
//!
//! Pure. Read RFC 2326 section 10.3, RFC 3550 sections 6.4 and appendix A first.

pub mod aac;
pub mod announced;
pub mod depacketizer;
pub mod frames;
pub mod nal;
pub mod pieces;
pub mod publication;
pub mod receiver;
pub mod reorder;
pub mod vorbis;

#[cfg(test)]
mod coding_tests;
#[cfg(test)]
mod tests;
