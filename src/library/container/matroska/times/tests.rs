use super::*;
use crate::library::codec::{AacConfig, PcmConfig, PcmSample, SoundFormat};
use proptest::prelude::*;

const MILLISECOND: u64 = 1_000_000;

fn frame(time: i64) -> Frame {
    Frame { offset: 0, time, size: 100, head: [0; HEAD], is_key: true, is_timed: true }
}

fn clock(hertz: u32) -> ClockRate {
    ClockRate::new(hertz).expect("not zero")
}

fn frames(times: impl IntoIterator<Item = i64>) -> Vec<Frame> {
    times.into_iter().map(frame).collect()
}

fn steps(times: &Times) -> Vec<i64> {
    times.presentation.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Frames of so many samples as a file has them that rounds to milliseconds.
fn rounded(start: f64, count: i64, samples: i64, hertz: u32) -> Vec<Frame> {
    frames((0..count).map(|at| ((start + (at * samples) as f64 / f64::from(hertz)) * 1e3).round() as i64))
}

fn sound(frames: &[Frame], hertz: u32, samples: u32) -> Times {
    of_sound(frames, MILLISECOND, clock(hertz), None, &Samples::Constant(samples))
}

#[test]
fn rounded_frames_of_sound_follow_each_other_by_their_samples() {
    let times = sound(&rounded(0.0, 20_000, 1_024, 44_100), 44_100, 1_024);
    assert_eq!(times.presentation, (0..20_000).map(|at| at * 1_024).collect::<Vec<_>>());
    assert_eq!(times.last_duration, 1_024);
    let later = sound(&rounded(0.023_2, 500, 1_152, 44_100), 44_100, 1_152);
    assert!(steps(&later).iter().all(|step| *step == 1_152));
    assert!((later.presentation[0] - 1_023).abs() <= 2, "what the others were rounded to tells the first: {}", later.presentation[0]);
    let two = sound(&frames([1_000, 1_021]), 48_000, 1_024);
    assert_eq!(two.presentation, [48_000, 49_024], "rounding explains it");
}

#[test]
fn a_gap_begins_the_count_anew() {
    let before = rounded(0.0, 100, 1_024, 48_000);
    let times = sound(&[before, rounded(10.0, 100, 1_024, 48_000)].concat(), 48_000, 1_024);
    assert_eq!((times.presentation[99], times.presentation[100]), (99 * 1_024, 480_000));
    assert!(steps(&times).iter().enumerate().all(|(at, step)| at == 99 || *step == 1_024));
}

#[test]
fn a_clock_that_drifts_is_followed() {
    // A recording whose sampling clock is 0.1 % slow.
    let slow = frames((0..10_000).map(|at| (f64::from(at) * 1_024.0 / 48_000.0 * 1.001 * 1e3).round() as i64));
    let times = sound(&slow, 48_000, 1_024);
    for (frame, ticks) in slow.iter().zip(&times.presentation) {
        assert!((frame.time - ticks * 1_000 / 48_000).abs() <= 7, "{} {ticks}", frame.time);
    }
    assert!(steps(&times).iter().filter(|step| **step != 1_024).count() < 30);
}

#[test]
fn frames_that_share_a_block_lie_behind_each_other() {
    let untimed = |frame: Frame| Frame { is_timed: false, ..frame };
    let laced: Vec<Frame> = [0, 60, 120].iter().flat_map(|time| [frame(*time), untimed(frame(*time)), untimed(frame(*time))]).collect();
    let known = of_sound(&laced, MILLISECOND, clock(48_000), None, &Samples::Constant(960));
    assert_eq!(known.presentation, (0..9).map(|at| at * 960).collect::<Vec<_>>());
    let unknown = of_sound(&laced, MILLISECOND, clock(48_000), None, &Samples::Unknown);
    assert_eq!(unknown.presentation, known.presentation);
    assert_eq!(unknown.last_duration, 960);
    let told = of_sound(&laced[..3], MILLISECOND, clock(48_000), Some(20 * MILLISECOND), &Samples::Unknown);
    assert_eq!(told.presentation, [0, 960, 1_920]);
}

#[test]
fn pictures_of_a_constant_rate_become_exact() {
    let of_rate = |hertz: i64, part: i64| (0..2_000).map(move |at| (at * part * 1_000 + hertz / 2) / hertz);
    for (hertz, part, scale) in [(24_000, 1_001, 1), (30_000, 1_001, 1), (60_000, 1_001, 1), (25, 1, 1_000), (120, 1, 1_000)] {
        let ticks = (hertz * scale) as u32;
        for duration in [Some((1e9 * part as f64 / hertz as f64) as u64), None] {
            let times = of_pictures(&frames(of_rate(hertz, part)), MILLISECOND, duration);
            assert_eq!((times.timescale, times.last_duration), (clock(ticks), (part * scale) as u32), "{hertz}/{part}");
            assert!(steps(&times).iter().all(|step| *step == part * scale), "{hertz}/{part}");
            assert!(times.presentation[0].abs() <= i64::from(ticks) / 2_000, "{hertz}/{part}");
        }
    }
}

#[test]
fn pictures_of_no_constant_rate_keep_their_times() {
    let times = of_pictures(&frames([0, 40, 85, 120, 160]), MILLISECOND, Some(40 * MILLISECOND));
    assert_eq!((times.timescale, times.presentation), (ClockRate::VIDEO, vec![0, 3_600, 7_650, 10_800, 14_400]));
    let dropped = of_pictures(&frames([0, 40, 120, 80, 1_000]), MILLISECOND, Some(40 * MILLISECOND));
    assert_eq!(dropped.presentation, [0, 1_000, 3_000, 2_000, 25_000], "a gap of whole pictures is none");
}

#[test]
fn samples_of_a_frame_are_told_by_its_coding() {
    let opus = |toc: u8, count: u8| opus_samples([toc, count]);
    // Configurations of 20 ms (CELT), 60 ms (SILK), 10 ms (hybrid), 2.5 ms; one frame, two, five.
    assert_eq!([opus(0xfc, 0), opus(0x18, 0), opus(0x60, 0), opus(0x80, 0)], [960, 2_880, 480, 120]);
    assert_eq!([opus(0xfd, 0), opus(0xfe, 0), opus(0xff, 5), opus(0xff, 0xc5)], [1_920, 1_920, 4_800, 4_800]);
    let aac = |config: &[u8]| Codec::Aac(AacConfig { audio_specific_config: config.to_vec(), sample_rate: 48_000, channels: 2 });
    assert_eq!(Samples::new(&aac(&[0x11, 0x90]), "A_AAC", &[]), Samples::Constant(1_024));
    assert_eq!(Samples::new(&aac(&[0x11, 0x94]), "A_AAC", &[]), Samples::Constant(960));
    let mp3 = |sample_rate| Codec::MpegAudio(SoundFormat { sample_rate, channels: 2 });
    assert_eq!(Samples::new(&mp3(44_100), "A_MPEG/L3", &[]), Samples::Constant(1_152));
    assert_eq!(Samples::new(&mp3(22_050), "A_MPEG/L3", &[]), Samples::Constant(576));
    assert_eq!(Samples::new(&mp3(22_050), "A_MPEG/L2", &[]), Samples::Constant(1_152));
    let pcm = Codec::Pcm(PcmConfig { sample: PcmSample::Little24, sample_rate: 48_000, channels: 2 });
    assert_eq!(Samples::new(&pcm, "A_PCM/INT/LIT", &[]).of(&frame(0)), Some(16));
    let stripped = Samples::new(&Codec::Opus(SoundFormat { sample_rate: 48_000, channels: 2 }), "A_OPUS", &[0xff]);
    assert_eq!(stripped.of(&Frame { head: [2, 9], ..frame(0) }), Some(1_920), "the first octet is not stored");
}

proptest! {
    #[test]
    fn any_times_give_as_many(
        times in proptest::collection::vec((any::<i64>(), any::<bool>()), 0..40), scale in 1u64..=1_000_000_000,
        duration in proptest::option::of(any::<u64>()), rate in 1u32..200_000,
    ) {
        let frames: Vec<Frame> = times.iter().map(|(time, is_timed)| Frame { is_timed: *is_timed, ..frame(*time) }).collect();
        for samples in [Samples::Constant(1_024), Samples::Octets(0), Samples::Octets(4), Samples::Opus([0; HEAD], 0), Samples::Unknown] {
            prop_assert_eq!(of_sound(&frames, scale, clock(rate), duration, &samples).presentation.len(), frames.len());
        }
        prop_assert_eq!(of_pictures(&frames, scale, duration).presentation.len(), frames.len());
    }
}
