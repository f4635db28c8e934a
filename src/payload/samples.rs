//! Samples as they are: L16 (RFC 3551 section 4.5.11), L24 (RFC 3190 section 4), G.711 as PCMU and PCMA (RFC 3551 section 4.5.14), and
//! G.722 (section 4.5.2), whose clock is 8,000 Hz although it samples at 16,000: by an error of RFC 1890, kept for its age.
//!
//! An access unit is as many packets as it needs, each with whole samples of all channels and its own time. Linear samples go out with the
//! higher octet first; eight bits without sign, which few players know as L8, go out as L16. No packet is marked, for none begins after
//! a silence that was not sent (section 4.1). Channels stand in the order of the file: receivers take it for the order of section 4.1,
//! which WAV files share up to two channels.

use crate::library::{PcmConfig, PcmSample, SoundFormat};
use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// Octets that are turned round at once; samples of two and of three octets fit without a rest.
const TURN: usize = 240;

/// How a file's samples become those of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// They are the same.
    Keep,
    /// Two octets change places.
    Swap16,
    /// Three octets change places.
    Swap24,
    /// Eight bits without sign become sixteen with one.
    Widen,
}

impl Turn {
    /// Appends `octets`, at most [`TURN`] and whole samples, as the network has them.
    fn write(self, octets: &[u8], out: &mut PacketBuffer) {
        let mut turned = [0; 2 * TURN];
        match self {
            Self::Keep => return out.extend(octets),
            Self::Swap16 => {
                for (to, from) in turned.chunks_exact_mut(2).zip(octets.chunks_exact(2)) {
                    to.copy_from_slice(&[from[1], from[0]]);
                }
            }
            Self::Swap24 => {
                for (to, from) in turned.chunks_exact_mut(3).zip(octets.chunks_exact(3)) {
                    to.copy_from_slice(&[from[2], from[1], from[0]]);
                }
            }
            Self::Widen => {
                for (to, from) in turned.chunks_exact_mut(2).zip(octets) {
                    to.copy_from_slice(&[from ^ 0x80, 0]);
                }
            }
        }
        out.extend(&turned[..octets.len() * if self == Self::Widen { 2 } else { 1 }]);
    }
}

/// Makes packets of samples. `rtp` has a payloader for G.711 and G.722, which allocates for each packet, and knows neither linear samples
/// nor that each packet has a time of its own.
#[derive(Debug)]
pub struct SamplePayloader {
    name: &'static str,
    clock_rate: u32,
    channels: u8,
    /// Octets in the file of what the clock ticks once for: a sample of each channel.
    tick: usize,
    /// Ticks that a packet has room for.
    ticks: usize,
    turn: Turn,
}

impl SamplePayloader {
    pub(super) fn pcm(config: &PcmConfig, max_packet: usize) -> Result<Self, PayloadError> {
        let (name, turn) = match config.sample {
            PcmSample::Unsigned8 => ("L16", Turn::Widen),
            PcmSample::Little16 => ("L16", Turn::Swap16),
            PcmSample::Big16 => ("L16", Turn::Keep),
            PcmSample::Little24 => ("L24", Turn::Swap24),
            PcmSample::Big24 => ("L24", Turn::Keep),
            PcmSample::ALaw => ("PCMA", Turn::Keep),
            PcmSample::MuLaw => ("PCMU", Turn::Keep),
        };
        Self::new(name, config.sample_rate, config.channels, config.sample.octets(), turn, max_packet)
    }

    pub(super) fn g722(format: &SoundFormat, max_packet: usize) -> Result<Self, PayloadError> {
        if format.channels != 1 {
            return Err(PayloadError::Channels(format.channels));
        }
        Self::new("G722", 8_000, 1, 1, Turn::Keep, max_packet)
    }

    fn new(name: &'static str, clock_rate: u32, channels: u8, octets: usize, turn: Turn, max_packet: usize) -> Result<Self, PayloadError> {
        let tick = octets * usize::from(channels);
        let sent = if turn == Turn::Widen { tick * 2 } else { tick };
        let ticks = (max_packet - RTP_HEADER_LEN).checked_div(sent).filter(|ticks| *ticks > 0).ok_or(PayloadError::Channels(channels))?;
        Ok(Self { name, clock_rate, channels, tick, ticks, turn })
    }
}

impl Format for SamplePayloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        if !unit.len().is_multiple_of(self.tick) {
            return Err(PayloadError::Broken("run of samples"));
        }
        let mut later = 0;
        for octets in unit.chunks(self.ticks * self.tick) {
            out.begin();
            out.set_later(later);
            octets.chunks(TURN).for_each(|octets| self.turn.write(octets, out));
            out.finish(false);
            later = later.saturating_add(self.ticks as u32);
        }
        Ok(())
    }

    fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// One channel is not named: the way players know PCMU, PCMA and G722.
    fn encoding_name(&self) -> String {
        match self.channels {
            1 => format!("{}/{}", self.name, self.clock_rate),
            channels => format!("{}/{}/{channels}", self.name, self.clock_rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::library::Codec;
    use crate::payload::Payloader;

    fn pcm(sample: PcmSample, sample_rate: u32, channels: u8) -> Codec {
        Codec::Pcm(PcmConfig { sample, sample_rate, channels })
    }

    fn sent(codec: &Codec, unit: &[u8], max_packet: usize) -> Vec<(u32, Vec<u8>)> {
        let mut buffer = PacketBuffer::default();
        Payloader::new(codec, max_packet).expect("is carried").payload(unit, true, &mut buffer).expect("whole samples");
        assert!(buffer.packets().iter().all(|packet| !packet.marker && packet.range.len() <= max_packet));
        buffer.packets().iter().map(|packet| (packet.later, buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..].to_vec())).collect()
    }

    #[test]
    fn the_higher_octet_goes_first() {
        let unit = [1, 2, 3, 4, 5, 6];
        let table = [
            (PcmSample::Little16, vec![2, 1, 4, 3, 6, 5]),
            (PcmSample::Big16, unit.to_vec()),
            (PcmSample::Little24, vec![3, 2, 1, 6, 5, 4]),
            (PcmSample::Big24, unit.to_vec()),
            (PcmSample::Unsigned8, vec![0x81, 0, 0x82, 0, 0x83, 0, 0x84, 0, 0x85, 0, 0x86, 0]),
            (PcmSample::ALaw, unit.to_vec()),
            (PcmSample::MuLaw, unit.to_vec()),
        ];
        for (sample, expected) in table {
            assert_eq!(sent(&pcm(sample, 8_000, 1), &unit, 1_400), [(0, expected)], "{sample:?}");
        }
    }

    #[test]
    fn each_packet_has_whole_samples_and_its_own_time() {
        // 52 octets hold 13 times two samples of 16 bits, 8 times two of 24 bits, 52 of G.711, 52 of G.722.
        let times = |codec: &Codec, octets: usize| -> Vec<(u32, usize)> {
            sent(codec, &vec![0; octets], 64).iter().map(|(later, payload)| (*later, payload.len())).collect()
        };
        assert_eq!(times(&pcm(PcmSample::Little16, 48_000, 2), 120), [(0, 52), (13, 52), (26, 16)]);
        assert_eq!(times(&pcm(PcmSample::Little24, 48_000, 2), 108), [(0, 48), (8, 48), (16, 12)]);
        assert_eq!(times(&pcm(PcmSample::Unsigned8, 8_000, 1), 60), [(0, 52), (26, 52), (52, 16)]);
        assert_eq!(times(&pcm(PcmSample::MuLaw, 8_000, 1), 160), [(0, 52), (52, 52), (104, 52), (156, 4)]);
        let g722 = Codec::G722(SoundFormat { sample_rate: 16_000, channels: 1 });
        assert_eq!(times(&g722, 160), [(0, 52), (52, 52), (104, 52), (156, 4)]);
    }

    #[test]
    fn the_description_is_what_players_read() {
        let name = |codec: &Codec| Payloader::new(codec, 1_400).expect("is carried").encoding_name();
        assert_eq!(name(&pcm(PcmSample::Little16, 44_100, 2)), "L16/44100/2");
        assert_eq!(name(&pcm(PcmSample::Unsigned8, 11_025, 1)), "L16/11025");
        assert_eq!(name(&pcm(PcmSample::Little24, 96_000, 6)), "L24/96000/6");
        assert_eq!(name(&pcm(PcmSample::ALaw, 8_000, 1)), "PCMA/8000");
        assert_eq!(name(&pcm(PcmSample::MuLaw, 16_000, 2)), "PCMU/16000/2");
        assert_eq!(name(&Codec::G722(SoundFormat { sample_rate: 16_000, channels: 1 })), "G722/8000");
    }

    #[test]
    fn what_is_no_run_of_samples_is_refused() {
        let mut buffer = PacketBuffer::default();
        let stereo = Payloader::new(&pcm(PcmSample::Little16, 48_000, 2), 1_400).expect("is carried");
        assert_eq!(stereo.payload(&[], true, &mut buffer), Err(PayloadError::Empty));
        assert_eq!(stereo.payload(&[0; 6], true, &mut buffer), Err(PayloadError::Broken("run of samples")));
        assert_eq!(Payloader::new(&pcm(PcmSample::Little16, 48_000, 0), 1_400).err(), Some(PayloadError::Channels(0)));
        assert_eq!(Payloader::new(&pcm(PcmSample::Little24, 48_000, 18), 64).err(), Some(PayloadError::Channels(18)));
        assert_eq!(Payloader::new(&pcm(PcmSample::Little16, 0, 2), 1_400).err(), Some(PayloadError::Clock));
        let two = Codec::G722(SoundFormat { sample_rate: 16_000, channels: 2 });
        assert_eq!(Payloader::new(&two, 1_400).err(), Some(PayloadError::Channels(2)));
    }

    proptest! {
        #[test]
        fn what_is_received_is_what_was_sent(samples in proptest::collection::vec(any::<(i16, i16)>(), 1..2_000), max_packet in 64usize..3_000) {
            let unit: Vec<u8> = samples.iter().flat_map(|(left, right)| [left.to_le_bytes(), right.to_le_bytes()].concat()).collect();
            let mut received = vec![(0, 0); samples.len()];
            for (later, payload) in sent(&pcm(PcmSample::Little16, 48_000, 2), &unit, max_packet) {
                for (at, pair) in payload.chunks(4).enumerate() {
                    received[later as usize + at] = (i16::from_be_bytes([pair[0], pair[1]]), i16::from_be_bytes([pair[2], pair[3]]));
                }
            }
            prop_assert_eq!(received, samples);
        }
    }
}
