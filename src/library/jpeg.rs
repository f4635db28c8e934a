//! What a JPEG picture says of itself before its scan, as far as RTP can carry it: baseline, three components in one scan, 4:2:0 or
//! 4:2:2, the Huffman tables of annex K.
//!
//! Whether a picture is of that kind shows in the picture alone; a container asks [`Picture::parse`] of the first one and leaves the track
//! out where it is not. Nothing is decoded. Read first: ITU-T T.81 annex B and section K.3; RFC 2435 section 3.1.

mod tables;

use tables::is_standard;

/// Markers (ITU-T T.81 table B.1), without the octet 0xff before.
const BASELINE: u8 = 0xc0;
const HUFFMAN_TABLES: u8 = 0xc4;
const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const QUANTIZATION_TABLES: u8 = 0xdb;
const RESTART_INTERVAL: u8 = 0xdd;
/// Samples across or down that RTP can say: 255 times eight (RFC 2435 section 3.1.5).
const MAX_SIZE: u16 = 2040;
/// Coefficients of a block.
const BLOCK: usize = 64;

/// Why a picture cannot be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JpegProblem {
    /// It is broken or cut short.
    #[error("a JPEG picture is broken")]
    Broken,
    /// Progressive, lossless, arithmetic coding, or more than eight bits.
    #[error("a JPEG picture is not coded in the baseline process")]
    Process,
    /// The components are none that RTP can name.
    #[error("a JPEG picture is neither 4:2:0 nor 4:2:2 in one scan")]
    Sampling,
    /// It is larger than RTP can say.
    #[error("a JPEG picture is larger than 2040 samples across or down")]
    Size,
    /// It is two fields, a picture each.
    #[error("a JPEG picture is two fields")]
    Fields,
    /// Its Huffman tables are its own.
    #[error("a JPEG picture has Huffman tables of its own")]
    Huffman,
}

/// How often the components are sampled (RFC 2435 section 4.1 numbers them so).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// 4:2:2.
    HalfAcross = 0,
    /// 4:2:0.
    HalfBoth = 1,
}

/// A quantization table in zigzag order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizationTable<'a> {
    /// Whether values have 16 bits.
    pub is_wide: bool,
    /// The values.
    pub octets: &'a [u8],
}

/// A picture taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture<'a> {
    /// How its colours are sampled.
    pub sampling: Sampling,
    /// Samples across.
    pub width: u16,
    /// Samples down.
    pub height: u16,
    /// Blocks between restart markers; zero where there are none.
    pub restart_interval: u16,
    /// For brightness and for both colours.
    pub tables: [QuantizationTable<'a>; 2],
    /// The entropy-coded data, markers between restart intervals included, without the end of image.
    pub scan: &'a [u8],
}

/// A component of a frame header (section B.2.2).
#[derive(Clone, Copy, Default)]
struct Component {
    id: u8,
    sampling: u8,
    table: u8,
}

/// What is collected up to the scan.
#[derive(Default)]
struct Draft<'a> {
    tables: [Option<QuantizationTable<'a>>; 4],
    restart_interval: u16,
    frame: Option<(u16, u16, [Component; 3])>,
}

impl<'a> Picture<'a> {
    /// Octets of a scan that RTP can say: its offsets have 24 bits (RFC 2435 section 3.1.2).
    pub const MAX_SCAN: usize = 0x00ff_ffff;

    /// Takes a picture apart.
    ///
    /// # Errors
    /// Why it cannot be carried.
    pub fn parse(octets: &'a [u8]) -> Result<Self, JpegProblem> {
        let mut rest = octets.strip_prefix(&[0xff, START]).ok_or(JpegProblem::Broken)?;
        let mut draft = Draft::default();
        loop {
            let (marker, body, behind) = segment(rest).ok_or(JpegProblem::Broken)?;
            rest = behind;
            match marker {
                SCAN => return draft.finish(body, behind),
                QUANTIZATION_TABLES => draft.quantization(body).ok_or(JpegProblem::Broken)?,
                HUFFMAN_TABLES => huffman(body)?,
                RESTART_INTERVAL => {
                    draft.restart_interval = body.first_chunk().map(|interval| u16::from_be_bytes(*interval)).ok_or(JpegProblem::Broken)?;
                }
                BASELINE => draft.frame = Some(frame(body)?),
                0xc1..=0xcf => return Err(JpegProblem::Process),
                // Applications' and comments.
                0xe0..=0xef | 0xfe => {}
                _ => return Err(JpegProblem::Broken),
            }
        }
    }
}

/// The picture that `octets` begin with, its end included and whatever lies behind left out: cameras put more pictures there, and
/// programs padding.
///
/// # Errors
/// It is broken, or its end is missing.
pub fn first_picture(octets: &[u8]) -> Result<&[u8], JpegProblem> {
    let mut rest = octets.strip_prefix(&[0xff, START]).ok_or(JpegProblem::Broken)?;
    loop {
        let (marker, _, behind) = segment(rest).ok_or(JpegProblem::Broken)?;
        rest = behind;
        if marker == SCAN {
            let end = behind.windows(2).position(|pair| pair == [0xff, END]).ok_or(JpegProblem::Broken)?;
            return octets.get(..octets.len() - behind.len() + end + 2).ok_or(JpegProblem::Broken);
        }
    }
}

/// Marker, what belongs to it, and what follows; fill octets may lie before (section B.1.1.2).
fn segment(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let at = octets.iter().position(|octet| *octet != 0xff).filter(|at| *at > 0)?;
    let (marker, rest) = octets.get(at..)?.split_first()?;
    let size = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    let (whole, behind) = rest.split_at_checked(size)?;
    Some((*marker, whole.get(2..)?, behind))
}

/// Section B.2.2.
fn frame(body: &[u8]) -> Result<(u16, u16, [Component; 3]), JpegProblem> {
    let &[precision, high, low, right, left, count, ref rest @ ..] = body else { return Err(JpegProblem::Broken) };
    if precision != 8 {
        return Err(JpegProblem::Process);
    }
    if count != 3 {
        return Err(JpegProblem::Sampling);
    }
    let mut components = [Component::default(); 3];
    for (component, fields) in components.iter_mut().zip(rest.chunks_exact(3)) {
        *component = Component { id: fields[0], sampling: fields[1], table: fields[2] };
    }
    if rest.len() < 9 {
        return Err(JpegProblem::Broken);
    }
    Ok((u16::from_be_bytes([right, left]), u16::from_be_bytes([high, low]), components))
}

/// Section B.2.4.2: several in a segment.
fn huffman(mut body: &[u8]) -> Result<(), JpegProblem> {
    while let Some((head, rest)) = body.split_first() {
        let lengths = rest.get(..16).ok_or(JpegProblem::Broken)?;
        let values = 16 + lengths.iter().map(|count| usize::from(*count)).sum::<usize>();
        let (table, behind) = rest.split_at_checked(values).ok_or(JpegProblem::Broken)?;
        if !is_standard(*head, table) {
            return Err(JpegProblem::Huffman);
        }
        body = behind;
    }
    Ok(())
}

impl<'a> Draft<'a> {
    /// Section B.2.4.1: several in a segment.
    fn quantization(&mut self, mut body: &'a [u8]) -> Option<()> {
        while let Some((head, rest)) = body.split_first() {
            let is_wide = head >> 4 != 0;
            let (octets, behind) = rest.split_at_checked(if is_wide { 2 * BLOCK } else { BLOCK })?;
            *self.tables.get_mut(usize::from(head & 15))? = Some(QuantizationTable { is_wide, octets });
            body = behind;
        }
        Some(())
    }

    /// By the scan header (section B.2.3), and what follows it.
    fn finish(self, header: &[u8], behind: &'a [u8]) -> Result<Picture<'a>, JpegProblem> {
        let (width, height, [luma, blue, red]) = self.frame.ok_or(JpegProblem::Broken)?;
        let &[count, ref parts @ ..] = header else { return Err(JpegProblem::Broken) };
        let in_order = |part: usize, id: u8| parts.get(2 * part) == Some(&id);
        if count != 3 || !(in_order(0, luma.id) && in_order(1, blue.id) && in_order(2, red.id)) {
            return Err(JpegProblem::Sampling);
        }
        if [parts.get(1), parts.get(3), parts.get(5)] != [Some(&0x00), Some(&0x11), Some(&0x11)] {
            return Err(JpegProblem::Huffman);
        }
        let sampling = match (luma.sampling, blue.sampling, red.sampling) {
            (0x21, 0x11, 0x11) => Sampling::HalfAcross,
            (0x22, 0x11, 0x11) => Sampling::HalfBoth,
            _ => return Err(JpegProblem::Sampling),
        };
        let table = |number: u8| self.tables.get(usize::from(number)).copied().flatten().ok_or(JpegProblem::Broken);
        let tables = [table(luma.table)?, table(blue.table)?];
        if table(red.table)? != tables[1] {
            return Err(JpegProblem::Sampling);
        }
        if width == 0 || height == 0 {
            return Err(JpegProblem::Broken);
        }
        if width.max(height) > MAX_SIZE {
            return Err(JpegProblem::Size);
        }
        // Within the data the marker cannot stand; behind it there may be padding.
        let end = behind.windows(2).position(|pair| pair == [0xff, END]).unwrap_or(behind.len());
        let (scan, more) = behind.split_at_checked(end).unwrap_or_default();
        if more.windows(3).any(|octets| octets == [0xff, START, 0xff]) {
            return Err(JpegProblem::Fields);
        }
        if scan.is_empty() {
            return Err(JpegProblem::Broken);
        }
        Ok(Picture { sampling, width, height, restart_interval: self.restart_interval, tables, scan })
    }
}

#[cfg(test)]
pub(crate) mod tests;
