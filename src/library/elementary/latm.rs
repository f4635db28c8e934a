//! AAC in LATM (ISO/IEC 14496-3 section 1.7): an AudioMuxElement holds the configuration, or says that it is still the one before, and
//! access units behind it that begin at any bit.
//!
//! One program of one layer is read, as broadcasters send it. What a decoder needs is told beforehand as for other AAC; where it lies
//! in an element does not matter to anybody else. Read first: tables 1.41 to 1.48, and 1.15 for the AudioSpecificConfig.

use crate::library::codec::AacConfig;
use crate::library::elementary::bits::Bits;

/// By samplingFrequencyIndex (table 1.18).
const RATES: [u32; 13] = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// Channels by channelConfiguration; zero where a program config element lists them, which is not read, or where there is none.
const CHANNELS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 0, 8, 0];
/// Audio object types.
const SBR: u32 = 5;
const PARAMETRIC_STEREO: u32 = 29;
/// What announces SBR, and parametric stereo, behind the core's configuration.
const SBR_BEHIND: u32 = 0x2b7;
const PARAMETRIC_STEREO_BEHIND: u32 = 0x548;
/// Bits that a StreamMuxConfig says its AudioSpecificConfig has, at most.
const MAX_SPECIFIC: usize = 4_096;

/// What is said of the access units that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mux {
    /// What a decoder of the bare access units must know.
    pub config: AacConfig,
    /// Samples of a channel in an access unit.
    pub samples: u32,
    /// Access units of an element.
    count: u32,
    /// Octets of each, where they do not say it themselves.
    fixed: Option<u32>,
}

/// An access unit within an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Bits before it.
    pub at: usize,
    /// Octets.
    pub size: u32,
}

/// Reads an AudioMuxElement with muxConfigPresent (table 1.41): what its access units are like, `mux` before it says so of those before,
/// and where they lie, which is added to `payloads`; `None` where it cannot be read, or is of a kind that is not.
pub fn element(octets: &[u8], mux: &mut Option<Mux>, payloads: &mut Vec<Payload>) -> Option<()> {
    let mut bits = Bits::new(octets);
    // useSameStreamMux
    if !bits.bit()? {
        *mux = stream_mux(octets, &mut bits);
    }
    let mux = mux.as_ref()?;
    for _ in 0..mux.count {
        let size = match mux.fixed {
            Some(size) => size,
            None => lengths(&mut bits)?,
        };
        let at = bits.position();
        let end = at.checked_add(size as usize * 8)?;
        if end > octets.len() * 8 {
            return None;
        }
        if size > 0 {
            payloads.push(Payload { at, size });
        }
        bits = Bits::at(octets, end);
    }
    Some(())
}

/// PayloadLengthInfo of one program (table 1.44): octets in steps of 255.
fn lengths(bits: &mut Bits<'_>) -> Option<u32> {
    let mut size: u32 = 0;
    loop {
        let step = bits.take(8)?;
        size = size.checked_add(step)?;
        if step < 255 {
            return Some(size);
        }
    }
}

/// LatmGetValue (table 1.43).
fn value(bits: &mut Bits<'_>) -> Option<u32> {
    let octets = bits.take(2)? + 1;
    bits.take(octets * 8)
}

/// StreamMuxConfig (table 1.42).
fn stream_mux<'a>(octets: &'a [u8], bits: &mut Bits<'a>) -> Option<Mux> {
    let version = bits.bit()?;
    // audioMuxVersionA is for versions to come.
    if version && bits.bit()? {
        return None;
    }
    if version {
        value(bits)?; // taraBufferFullness
    }
    let has_same_timing = bits.bit()?;
    let count = bits.take(6)? + 1;
    let (programs, layers) = (bits.take(4)?, bits.take(3)?);
    if !has_same_timing || programs > 0 || layers > 0 {
        return None;
    }
    let declared = if version { Some(value(bits)? as usize).filter(|bits| *bits <= MAX_SPECIFIC) } else { None };
    if version && declared.is_none() {
        return None;
    }
    let start = bits.position();
    let specific = Specific::read(bits, declared.map(|len| start + len))?;
    let len = declared.unwrap_or(bits.position() - start);
    let audio_specific_config = copied(octets, start, len)?;
    *bits = Bits::at(octets, start + len);
    let fixed = match bits.take(3)? {
        0 => {
            bits.skip(8)?; // latmBufferFullness
            None
        }
        // frameLength, from 20 octets on.
        1 => Some(bits.take(9)? + 20),
        _ => return None,
    };
    // otherDataPresent: it lies behind the access units, nothing is to be known of it but that.
    if bits.bit()? {
        if version {
            value(bits)?;
        } else {
            while bits.bit()? {
                bits.skip(8)?;
            }
            bits.skip(8)?;
        }
    }
    if bits.bit()? {
        bits.skip(8)?; // crcCheckSum
    }
    let config = AacConfig { audio_specific_config, sample_rate: specific.sample_rate, channels: specific.channels };
    Some(Mux { config, samples: specific.samples, count, fixed })
}

/// What is read of an AudioSpecificConfig.
struct Specific {
    sample_rate: u32,
    channels: u8,
    samples: u32,
}

impl Specific {
    /// Reads it to its end, as nothing else may say where that is; up to `end`, where that is known, for what may be announced behind it.
    fn read(bits: &mut Bits<'_>, end: Option<usize>) -> Option<Self> {
        let named = object_type(bits)?;
        let sample_rate = sample_rate(bits)?;
        let channels = *CHANNELS.get(bits.take(4)? as usize)?;
        let is_extended = matches!(named, SBR | PARAMETRIC_STEREO);
        let core = if is_extended {
            self::sample_rate(bits)?;
            object_type(bits)?
        } else {
            named
        };
        // Main, LC, SSR, LTP: GASpecificConfig (table 4.1).
        if !matches!(core, 1..=4) || channels == 0 || sample_rate == 0 {
            return None;
        }
        let samples = if bits.bit()? { 960 } else { 1_024 };
        if bits.bit()? {
            bits.skip(14)?; // coreCoderDelay
        }
        // extensionFlag, which none of these has.
        if bits.bit()? {
            return None;
        }
        let behind = end.is_some_and(|end| end >= bits.position() + 28) && !is_extended && announced(&mut bits.clone());
        let has_both = channels == 1 && (named == PARAMETRIC_STEREO || behind);
        Some(Self { sample_rate, channels: if has_both { 2 } else { channels }, samples })
    }
}

/// Whether parametric stereo is announced.
fn announced(bits: &mut Bits<'_>) -> bool {
    let mut read = || {
        let has_sbr = bits.take(11)? == SBR_BEHIND && object_type(bits)? == SBR && bits.bit()?;
        if !has_sbr {
            return Some(false);
        }
        sample_rate(bits)?;
        Some(bits.take(11)? == PARAMETRIC_STEREO_BEHIND && bits.bit()?)
    };
    read().unwrap_or(false)
}

fn object_type(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.take(5)? {
        31 => Some(32 + bits.take(6)?),
        kind => Some(kind),
    }
}

fn sample_rate(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.take(4)? {
        15 => bits.take(24),
        index => RATES.get(index as usize).copied(),
    }
}

/// So many bits from `start` on, with zeros up to the end of an octet.
fn copied(octets: &[u8], start: usize, len: usize) -> Option<Vec<u8>> {
    let mut bits = Bits::at(octets, start);
    let mut copy = Vec::with_capacity(len.div_ceil(8));
    let mut left = len as u32;
    while left > 0 {
        let count = left.min(8);
        copy.push((bits.take(count)? << (8 - count)) as u8);
        left -= count;
    }
    Some(copy)
}

#[cfg(test)]
mod tests;
