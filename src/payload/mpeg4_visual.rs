//! MPEG-4 Visual in RTP (RFC 6416): VOPs as they are, fragmented where they must be, each VOP beginning a packet.
//!
//! What the decoder must know goes into the description (`config`), and in-band only where the file has it between its VOPs. Video
//! packets are not looked for: one that does not begin a payload is found by its resync marker all the same. Read first: RFC 6416
//! sections 5.1, 5.2 and 7.1; ISO/IEC 14496-2 section 6.2.

use crate::library::Mpeg4VisualConfig;
use crate::payload::start_codes::{START_CODE_LEN, StartCodes};
use crate::payload::{Format, Hex, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// Pictures in one sample at most.
const MAX_PICTURES: usize = 16;
/// Start codes (ISO/IEC 14496-2 table 6-3).
const VISUAL_OBJECT_SEQUENCE: u8 = 0xb0;
const VOP: u8 = 0xb6;
/// Octets that a VOP header may have, which is not to be split (RFC 6416 section 5.2): coding type, time, quantizer and what is between.
const VOP_HEADER_LEN: usize = 24;
/// vop_coding_type, in the two highest bits behind the start code: a B-VOP.
const BIDIRECTIONAL: u8 = 2;
/// Where no sequence header says: Simple Profile, level 1 (RFC 6416 section 7.1).
const DEFAULT_PROFILE: u8 = 1;

/// Makes packets of MPEG-4 VOPs.
#[derive(Debug)]
pub struct Mpeg4VisualPayloader {
    headers: Vec<u8>,
    max_payload: usize,
}

impl Mpeg4VisualPayloader {
    pub(super) fn new(config: &Mpeg4VisualConfig, max_packet: usize) -> Self {
        Self { headers: config.headers.clone(), max_payload: max_packet - RTP_HEADER_LEN }
    }

    /// profile_and_level_indication.
    fn profile_level(&self) -> u8 {
        let at = StartCodes::new(&self.headers).find(|(_, kind)| *kind == VISUAL_OBJECT_SEQUENCE);
        at.and_then(|(at, _)| self.headers.get(at + START_CODE_LEN)).copied().unwrap_or(DEFAULT_PROFILE)
    }

    fn write(&self, octets: &[u8], out: &mut PacketBuffer) {
        for piece in octets.chunks(self.max_payload) {
            out.begin();
            out.extend(piece);
            out.finish(false);
        }
    }
}

impl Format for Mpeg4VisualPayloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        // A sample has a picture, or a few where they are packed; not thousands, each in a packet of its own.
        if vops(unit).nth(MAX_PICTURES).is_some() {
            return Err(PayloadError::Broken("MPEG-4 picture"));
        }
        let mut begin = 0;
        let mut is_first = true;
        for at in vops(unit) {
            // Headers before the first VOP share its packet where its own header fits too.
            let shares = is_first && at + START_CODE_LEN + VOP_HEADER_LEN <= self.max_payload;
            is_first = false;
            if !shares {
                self.write(&unit[begin..at], out);
                begin = at;
            }
        }
        self.write(&unit[begin..], out);
        out.mark_last();
        Ok(())
    }

    /// Whether all its VOPs are predicted in both directions: nothing refers to them.
    fn is_disposable(&self, unit: &[u8]) -> bool {
        let mut vops = vops(unit).peekable();
        let is_bidirectional = |at: usize| unit.get(at + START_CODE_LEN).is_some_and(|octet| octet >> 6 == BIDIRECTIONAL);
        vops.peek().is_some() && vops.all(is_bidirectional)
    }

    fn encoding_name(&self) -> String {
        "MP4V-ES/90000".into()
    }

    fn format_parameters(&self) -> String {
        let mut parameters = format!("profile-level-id={}", self.profile_level());
        if !self.headers.is_empty() {
            parameters.push_str(&format!(";config={}", Hex(&self.headers)));
        }
        parameters
    }
}

/// Where VOPs begin.
fn vops(unit: &[u8]) -> impl Iterator<Item = usize> {
    StartCodes::new(unit).filter(|(_, kind)| *kind == VOP).map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
