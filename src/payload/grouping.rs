//! Access units that share a packet.
//!
//! A frame of AAC is small, and a packet costs what a packet costs: two frames together cost half. Which share one follows from
//! the index alone, the first of two at an even position in the track, so that whoever is sent a packet, when, and how often,
//! gets the same octets.
//!
//! All of such a track leaves half a frame after the decode time of a packet's first frame: its first frame is late by as much
//! as its second is early, and sound stays beside its pictures.

use std::time::Duration;

use crate::library::{AccessUnit, Track};
use crate::quantities::MediaTime;

/// The longest frame of which two share a packet: otherwise sound would lie too far from its picture.
const LONGEST: Duration = Duration::from_millis(24);

/// How the access units of a track share packets; by default each has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouping(Option<Pairs>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pairs {
    /// Ticks from one frame to the next.
    frame: i64,
    /// Octets of two frames at most.
    room: usize,
    /// Octets of one frame at most.
    largest: usize,
    hold: Duration,
}

impl Grouping {
    /// Two frames of a track, where they are short and two mostly fit `room` octets.
    pub(super) fn pairs(track: &Track, room: usize, largest: usize) -> Self {
        // Of a live track it is not known yet what follows.
        let found = track.access_unit(0).filter(|_| !track.is_live()).and_then(|first| {
            let lasts = MediaTime::from_ticks(i64::from(first.duration), track.timescale).since(MediaTime::ZERO);
            let mean = u128::from(track.bitrate()) * lasts.as_nanos() / 8_000_000_000;
            let sensible = !lasts.is_zero() && lasts <= LONGEST && mean * 2 <= room as u128;
            sensible.then_some(Pairs { frame: i64::from(first.duration), room, largest, hold: lasts / 2 })
        });
        Self(found)
    }

    /// How long after the decode time of its first access unit a packet leaves.
    pub fn hold(&self) -> Duration {
        self.0.map_or(Duration::ZERO, |pairs| pairs.hold)
    }

    /// The access unit that goes with the one at `position`, in the packet that begins with that one.
    pub fn second(&self, track: &Track, position: usize) -> Option<AccessUnit> {
        let pairs = self.0.filter(|_| position.is_multiple_of(2))?;
        let (first, second) = (track.access_unit(position)?, track.access_unit(position + 1)?);
        let fits = |unit: &AccessUnit| (1..=pairs.largest).contains(&(unit.size as usize));
        let follows = second.presentation_time.checked_sub(first.presentation_time) == Some(pairs.frame);
        let room = (first.size as usize).saturating_add(second.size as usize) <= pairs.room;
        (fits(&first) && fits(&second) && follows && room).then_some(second)
    }

    /// How many access units the packets have that begin with the one at `position`.
    pub fn count(&self, track: &Track, position: usize) -> usize {
        1 + usize::from(self.second(track, position).is_some())
    }

    /// The position at which the packet begins that the access unit at `position` is in, where nothing begins between the two.
    pub fn packet_of(&self, track: &Track, position: usize) -> usize {
        match position.checked_sub(1) {
            Some(before) if self.count(track, before) > 1 => before,
            _ => position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::{AacConfig, Codec, Sample, SampleIndex};
    use crate::payload::Payloader;
    use crate::quantities::{ClockRate, MediaKind};

    const RATE: u32 = 48_000;

    /// Frames of these sizes; what `late` names is one tick late.
    fn track(sizes: &[u32], frame: u32, late: Option<usize>) -> Track {
        let sample = |(number, size): (usize, &u32)| {
            let at = i64::from(frame) * number as i64 + i64::from(late == Some(number));
            Sample::new(number as u64 * 10_000, *size, at, 0, true).expect("small")
        };
        let config = AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate: RATE, channels: 2 };
        Track {
            kind: MediaKind::Audio,
            codec: Codec::Aac(config),
            timescale: ClockRate::new(RATE).expect("not zero"),
            language: None,
            index: SampleIndex::new(sizes.iter().enumerate().map(sample).collect(), frame),
        }
    }

    fn counts(track: &Track, max_packet: usize) -> Vec<usize> {
        let grouping = Payloader::new(&track.codec, max_packet).expect("sound").grouping(track);
        (0..track.len()).map(|position| grouping.count(track, position)).collect()
    }

    #[test]
    fn two_frames_share_a_packet_by_their_place_in_the_track() {
        let track = track(&[300; 7], 1024, None);
        assert_eq!(counts(&track, 1400), [2, 1, 2, 1, 2, 1, 1]);
        let grouping = Payloader::new(&track.codec, 1400).expect("sound").grouping(&track);
        let begins: Vec<usize> = (0..7).map(|position| grouping.packet_of(&track, position)).collect();
        assert_eq!(begins, [0, 0, 2, 2, 4, 4, 6]);
        assert_eq!(grouping.second(&track, 2).map(|unit| unit.offset), Some(30_000));
        assert_eq!(grouping.hold(), Duration::from_nanos(10_666_666));
    }

    #[test]
    fn frames_that_do_not_fit_or_do_not_follow_each_other_have_their_own() {
        // 1400 - 12 - 6 octets are left for two.
        assert_eq!(counts(&track(&[300, 300, 691, 691, 692, 691, 0, 5], 1024, None), 1400), [2, 1, 2, 1, 1, 1, 1, 1]);
        assert_eq!(counts(&track(&[300; 4], 1024, Some(3)), 1400), [2, 1, 1, 1]);
    }

    #[test]
    fn long_or_large_frames_are_neither_shared_nor_held() {
        for track in [track(&[300; 4], 2048, None), track(&[900; 4], 1024, None), track(&[300; 4], 0, None), track(&[], 1024, None)] {
            let grouping = Payloader::new(&track.codec, 1400).expect("sound").grouping(&track);
            assert_eq!(grouping, Grouping::default());
            assert_eq!((grouping.hold(), grouping.count(&track, 0)), (Duration::ZERO, 1));
        }
    }
}
