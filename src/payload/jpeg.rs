//! JPEG in RTP (RFC 2435): the scan of a picture in fragments, its quantization tables in the first packet of each.
//!
//! Q is 255, so that receivers take the tables of each picture as they come. Pictures that the format cannot say (see
//! [`Picture`](crate::library::jpeg::Picture)) are refused one by one; containers leave a track out whose first one is such. A size that is no
//! multiple of eight is rounded up: what a receiver shows beyond it is what the coder padded with. Has the static payload type 26. Read
//! first: RFC 2435 sections 3.1 and 4.

use crate::library::jpeg::{JpegProblem, Picture};
use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// The main header (section 3.1).
const MAIN_HEADER_LEN: usize = 8;
/// The restart marker header (section 3.1.7), and what it says of fragments that are not whole restart intervals: first and last, no
/// count.
const RESTART_HEADER_LEN: usize = 4;
const NOT_COUNTED: u16 = 0xffff;
/// Added to the type where there are restart markers.
const WITH_RESTARTS: u8 = 64;
/// The quantization table header (section 3.1.8) before two tables of 16 bits.
const TABLE_HEADER_LEN: usize = 4;
const MOST_TABLES: usize = 256;
/// The tables are in each picture.
const DYNAMIC: u8 = 255;

/// Makes packets of JPEG pictures.
#[derive(Debug)]
pub struct JpegPayloader {
    max_payload: usize,
}

impl JpegPayloader {
    pub(super) const fn new(max_packet: usize) -> Result<Self, PayloadError> {
        let max_payload = max_packet - RTP_HEADER_LEN;
        if max_payload <= MAIN_HEADER_LEN + RESTART_HEADER_LEN + TABLE_HEADER_LEN + MOST_TABLES {
            return Err(PayloadError::PacketSize(max_packet));
        }
        Ok(Self { max_payload })
    }
}

impl Format for JpegPayloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        let picture = Picture::parse(unit)?;
        if picture.scan.len() > Picture::MAX_SCAN {
            return Err(PayloadError::TooLarge { size: picture.scan.len(), limit: Picture::MAX_SCAN });
        }
        let restarts = picture.restart_interval > 0;
        let kind = picture.sampling as u8 + if restarts { WITH_RESTARTS } else { 0 };
        let (across, down) = (picture.width.div_ceil(8) as u8, picture.height.div_ceil(8) as u8);
        let mut offset = 0;
        while offset < picture.scan.len() {
            let [_, high, middle, low] = (offset as u32).to_be_bytes();
            let mut room = self.max_payload - MAIN_HEADER_LEN;
            out.begin();
            out.extend(&[0, high, middle, low, kind, DYNAMIC, across, down]);
            if restarts {
                out.extend(&picture.restart_interval.to_be_bytes());
                out.extend(&NOT_COUNTED.to_be_bytes());
                room -= RESTART_HEADER_LEN;
            }
            if offset == 0 {
                room -= write_tables(&picture, out);
            }
            let end = picture.scan.len().min(offset + room);
            out.extend(&picture.scan[offset..end]);
            out.finish(end == picture.scan.len());
            offset = end;
        }
        Ok(())
    }

    fn encoding_name(&self) -> String {
        "JPEG/90000".into()
    }
}

/// Appends the quantization table header; its octets.
fn write_tables(picture: &Picture<'_>, out: &mut PacketBuffer) -> usize {
    // A bit for each table, the lowest for the first.
    let precision = (0u8..).zip(&picture.tables).map(|(bit, table)| u8::from(table.is_wide) << bit).sum();
    let len: usize = picture.tables.iter().map(|table| table.octets.len()).sum();
    let [high, low] = (len as u16).to_be_bytes();
    out.extend(&[0, precision, high, low]);
    picture.tables.iter().for_each(|table| out.extend(table.octets));
    TABLE_HEADER_LEN + len
}

impl From<JpegProblem> for PayloadError {
    fn from(problem: JpegProblem) -> Self {
        Self::Jpeg(problem)
    }
}

#[cfg(test)]
mod tests;
