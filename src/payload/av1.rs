//! AV1 in RTP (RTP Payload Format For AV1, by the Alliance for Open Media): the OBUs of a temporal unit without their sizes, as many
//! in a packet as fit, fragmented where they do not.
//!
//! No dependency descriptor, no scalability. Temporal delimiters, tile lists and padding are left out, as the format has it; a sequence
//! header goes before each random access point that has none. Read first: the format's sections 4.3 to 4.5; AV1 Bitstream & Decoding
//! Process Specification sections 5.3 to 5.5 and 5.9.

mod header;
mod obu;

use smallvec::SmallVec;

use crate::library::Av1Config;
use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN};

use header::{Sequence, refreshes_nothing};
use obu::{FRAME, FRAME_HEADER, Obu, Obus, SEQUENCE_HEADER, leb128, leb128_len};

/// The aggregation header (section 4.4).
const AGGREGATION_HEADER_LEN: usize = 1;
const CONTINUES: u8 = 0x80;
const IS_CONTINUED: u8 = 0x40;
const COUNT_SHIFT: u8 = 4;
const NEW_SEQUENCE: u8 = 0x08;
/// Elements that W can count; of so many the last has no length.
const MAX_COUNTED: usize = 3;
/// The least of an OBU that begins at a packet's end: less is not worth its length.
const LEAST_FRAGMENT: usize = 16;

/// Makes packets of AV1 temporal units.
#[derive(Debug)]
pub struct Av1Payloader {
    config: Av1Config,
    sequence: Option<Sequence>,
    max_payload: usize,
}

impl Av1Payloader {
    pub(super) fn new(config: &Av1Config, max_packet: usize) -> Self {
        let mut told = Obus::new(&config.sequence_header).map_while(Result::ok);
        let sequence = told.find(|obu| obu.kind() == SEQUENCE_HEADER).and_then(|obu| Sequence::parse(obu.body));
        Self { config: config.clone(), sequence, max_payload: max_packet - RTP_HEADER_LEN }
    }
}

impl Format for Av1Payloader {
    fn payload(&self, unit: &[u8], random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        // The first pass reads the sizes only, so that a broken unit is refused before anything is written.
        let (mut any, mut has_sequence) = (false, false);
        for obu in Obus::new(unit) {
            has_sequence |= obu?.kind() == SEQUENCE_HEADER;
            any = true;
        }
        if !any {
            return Err(PayloadError::Empty);
        }
        let repeated: &[u8] = if random_access && !has_sequence { &self.config.sequence_header } else { &[] };
        let mut writer = Writer::new(out, self.max_payload, random_access);
        Obus::new(repeated).chain(Obus::new(unit)).map_while(Result::ok).for_each(|obu| writer.add(obu));
        writer.finish();
        Ok(())
    }

    /// Whether none of its frames is kept for others (refresh_frame_flags is zero).
    fn is_disposable(&self, unit: &[u8]) -> bool {
        let Some(sequence) = &self.sequence else { return false };
        let mut any = false;
        for obu in Obus::new(unit) {
            let Ok(obu) = obu else { return false };
            match obu.kind() {
                SEQUENCE_HEADER => return false,
                FRAME | FRAME_HEADER if refreshes_nothing(obu.body, sequence) => any = true,
                FRAME | FRAME_HEADER => return false,
                _ => {}
            }
        }
        any
    }

    fn encoding_name(&self) -> String {
        "AV1/90000".into()
    }

    /// Section 7.2.1.
    fn format_parameters(&self) -> String {
        format!("profile={};level-idx={};tier={}", self.config.profile, self.config.level_idx, self.config.tier)
    }
}

/// Part of an OBU that goes into a packet.
struct Element<'a> {
    obu: Obu<'a>,
    from: usize,
    to: usize,
}

/// Fills packets with OBUs, one after the other.
struct Writer<'a, 'b> {
    out: &'b mut PacketBuffer,
    max_payload: usize,
    new_sequence: bool,
    elements: SmallVec<[Element<'a>; 8]>,
    /// Of the packet, if all elements so far have a length.
    octets: usize,
}

impl<'a, 'b> Writer<'a, 'b> {
    fn new(out: &'b mut PacketBuffer, max_payload: usize, new_sequence: bool) -> Self {
        Self { out, max_payload, new_sequence, elements: SmallVec::new(), octets: AGGREGATION_HEADER_LEN }
    }

    /// What the next element can have, be it the packet's last.
    fn room(&self) -> usize {
        let left = self.max_payload.saturating_sub(self.octets);
        let length = if self.elements.len() < MAX_COUNTED { 0 } else { leb128_len(left) };
        left.saturating_sub(length)
    }

    fn add(&mut self, obu: Obu<'a>) {
        let mut from = 0;
        loop {
            let (rest, room) = (obu.len() - from, self.room());
            if rest <= room {
                self.push(Element { obu, from, to: obu.len() });
                return;
            }
            if room >= LEAST_FRAGMENT {
                self.push(Element { obu, from, to: from + room });
                from += room;
            }
            self.flush();
        }
    }

    fn push(&mut self, element: Element<'a>) {
        let len = element.to - element.from;
        self.octets += leb128_len(len) + len;
        self.elements.push(element);
    }

    fn flush(&mut self) {
        let (Some(first), Some(last)) = (self.elements.first(), self.elements.last()) else { return };
        let count = self.elements.len();
        let is_counted = count <= MAX_COUNTED;
        let mut header = if is_counted { (count as u8) << COUNT_SHIFT } else { 0 };
        header |= if first.from > 0 { CONTINUES } else { 0 };
        header |= if last.to < last.obu.len() { IS_CONTINUED } else { 0 };
        header |= if std::mem::take(&mut self.new_sequence) { NEW_SEQUENCE } else { 0 };
        self.out.begin();
        self.out.extend(&[header]);
        for (position, element) in self.elements.iter().enumerate() {
            if !(is_counted && position + 1 == count) {
                self.out.extend(&leb128(element.to - element.from));
            }
            element.obu.write(element.from, element.to, self.out);
        }
        self.out.finish(false);
        self.elements.clear();
        self.octets = AGGREGATION_HEADER_LEN;
    }

    /// The marker is set for the last packet of a temporal unit (section 4.2).
    fn finish(mut self) {
        self.flush();
        self.out.mark_last();
    }
}

#[cfg(test)]
mod tests;
