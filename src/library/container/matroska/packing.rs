//! Frames whose common beginning is stored once, with the track (header stripping, RFC 9559 section 5.1.4.1.31.9).

use std::io;

use crate::library::title::{AccessUnit, ReadAt, Unpack};

/// Under which name an index keeps the common beginning.
pub const NAME: &str = "matroska";

/// Puts the common beginning before what is stored at an access unit's offset.
#[derive(Debug)]
pub struct Prefixed {
    prefix: Box<[u8]>,
}

impl Prefixed {
    /// Of frames that begin so.
    pub fn new(prefix: Vec<u8>) -> Self {
        Self { prefix: prefix.into_boxed_slice() }
    }
}

impl Unpack for Prefixed {
    fn unpack(&self, source: &dyn ReadAt, unit: &AccessUnit, octets: &mut [u8]) -> io::Result<()> {
        let (beginning, stored) = octets.split_at_mut_checked(self.prefix.len()).ok_or(io::ErrorKind::InvalidData)?;
        beginning.copy_from_slice(&self.prefix);
        source.read_exact_at(stored, unit.offset)
    }

    fn kept(&self) -> Option<(&'static str, Vec<u8>)> {
        Some((NAME, self.prefix.to_vec()))
    }
}
