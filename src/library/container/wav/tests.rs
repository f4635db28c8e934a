use super::*;
use crate::quantities::MediaTime;

fn format_chunk(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let block = channels * bits.div_ceil(8);
    let rest = [block.to_le_bytes(), bits.to_le_bytes()].concat();
    [&tag.to_le_bytes()[..], &channels.to_le_bytes(), &rate.to_le_bytes(), &(rate * u32::from(block)).to_le_bytes(), &rest].concat()
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let padding: &[u8] = if body.len() % 2 == 1 { &[0] } else { &[] };
    [&kind[..], &(body.len() as u32).to_le_bytes(), body, padding].concat()
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    [b"RIFF", &(body.len() as u32 + 4).to_le_bytes()[..], b"WAVE", &body].concat()
}

fn parse_octets(octets: Vec<u8>) -> Result<Title, Problem> {
    assert!(sniff(&octets[..12]));
    parse(Arc::new(octets), TitlePath::new("a.wav").expect("a path"))
}

fn units(title: &Title) -> Vec<(u64, u32, i64, u32)> {
    let track = &title.tracks[0];
    let unit = |position| track.access_unit(position).expect("within");
    (0..track.len()).map(unit).map(|unit| (unit.offset, unit.size, unit.decode_time, unit.duration)).collect()
}

#[test]
fn samples_become_units_of_twenty_milliseconds() {
    let title = parse_octets(file(&[chunk(b"fmt ", &format_chunk(1, 2, 8_000, 16)), chunk(b"data", &[7; 1_500])])).expect("sound");
    assert_eq!(units(&title), [(44, 640, 0, 160), (684, 640, 160, 160), (1_324, 220, 320, 55)]);
    assert_eq!(title.duration, MediaTime::from_nanos(46_875_000));
    assert_eq!(title.remark, None);
    let config = PcmConfig { sample: PcmSample::Little16, sample_rate: 8_000, channels: 2 };
    assert_eq!(title.tracks[0].codec, Codec::Pcm(config));
}

#[test]
fn each_format_is_told_by_its_number_and_bits() {
    let codec = |tag, channels, rate, bits| {
        let made = file(&[chunk(b"LIST", &[1, 2, 3]), chunk(b"fmt ", &format_chunk(tag, channels, rate, bits)), chunk(b"data", &[0; 96])]);
        parse_octets(made).map(|title| title.tracks[0].codec.clone()).map_err(|problem| problem.reason)
    };
    let pcm = |sample, sample_rate, channels| Ok(Codec::Pcm(PcmConfig { sample, sample_rate, channels }));
    assert_eq!(codec(1, 1, 11_025, 8), pcm(PcmSample::Unsigned8, 11_025, 1));
    assert_eq!(codec(1, 6, 96_000, 24), pcm(PcmSample::Little24, 96_000, 6));
    assert_eq!(codec(6, 1, 8_000, 8), pcm(PcmSample::ALaw, 8_000, 1));
    assert_eq!(codec(7, 2, 8_000, 8), pcm(PcmSample::MuLaw, 8_000, 2));
    assert_eq!(codec(0x28f, 1, 16_000, 8), Ok(Codec::G722(SoundFormat { sample_rate: 16_000, channels: 1 })));
    for (refused, why) in [
        (codec(1, 2, 48_000, 32), "samples of 32 bits are not supported"),
        (codec(3, 2, 48_000, 32), "samples with a floating point are not supported"),
        (codec(0x55, 2, 48_000, 0), "WAV format 0x0055 is not supported"),
        (codec(1, 9, 48_000, 16), "so many channels are not supported"),
        (codec(1, 0, 48_000, 16), "so many channels are not supported"),
        (codec(1, 1, 0, 16), "a sampling rate of 0 Hz is not supported"),
        (codec(6, 1, 8_000, 16), "blocks of 2 octets do not fit its format"),
    ] {
        assert_eq!(refused, Err(format!("the audio track is left out: {why}")));
    }
}

#[test]
fn the_extensible_format_names_another() {
    let extensible = |tag: u16, rest: &[u8]| {
        let format = [&format_chunk(0xfffe, 2, 48_000, 24)[..], &[22, 0, 24, 0, 3, 0, 0, 0], &tag.to_le_bytes(), rest].concat();
        parse_octets(file(&[chunk(b"fmt ", &format), chunk(b"data", &[0; 96])]))
    };
    let config = PcmConfig { sample: PcmSample::Little24, sample_rate: 48_000, channels: 2 };
    assert_eq!(extensible(1, &SUBFORMAT).expect("sound").tracks[0].codec, Codec::Pcm(config));
    assert!(extensible(3, &SUBFORMAT).is_err());
    assert!(extensible(1, &[0; 14]).is_err());
    assert!(extensible(1, &SUBFORMAT[..10]).is_err());
}

#[test]
fn a_length_that_the_writer_did_not_know_is_up_to_the_end() {
    let with_length = |length: u32| {
        let mut made = file(&[chunk(b"fmt ", &format_chunk(7, 1, 8_000, 8)), chunk(b"data", &[7; 400])]);
        made[40..44].copy_from_slice(&length.to_le_bytes());
        parse_octets(made).expect("sound")
    };
    for (length, octets, is_short) in [(0, 400, false), (u32::MAX, 400, false), (401, 400, true), (400, 400, false), (399, 399, false)] {
        let title = with_length(length);
        assert_eq!(units(&title).iter().map(|unit| unit.1).sum::<u32>(), octets, "{length}");
        assert_eq!(title.remark.is_some(), is_short, "{length}");
    }
}

#[test]
fn a_long_file_says_its_length_before() {
    let ds64 = [&9_000_000_000u64.to_le_bytes()[..], &321u64.to_le_bytes(), &[0; 12]].concat();
    let mut made = file(&[chunk(b"ds64", &ds64), chunk(b"fmt ", &format_chunk(6, 1, 8_000, 8)), chunk(b"data", &[7; 400])]);
    made[..4].copy_from_slice(b"RF64");
    let at = made.len() - 404;
    made[at..at + 4].copy_from_slice(&[0xff; 4]);
    assert_eq!(units(&parse_octets(made).expect("sound")).iter().map(|unit| unit.1).sum::<u32>(), 321);
}

#[test]
fn broken_files_have_a_problem() {
    let format = chunk(b"fmt ", &format_chunk(1, 2, 8_000, 16));
    let table = [
        (file(&[chunk(b"data", &[0; 8])]), "the file has no format (no fmt chunk) before its sound"),
        (file(std::slice::from_ref(&format)), "the file has no sound (no data chunk)"),
        (file(&[]), "the file has no format (no fmt chunk)"),
        (file(&[chunk(b"fmt ", &[1, 0, 2])]), "the audio track is left out: its format is cut short"),
        (file(&[format, chunk(b"data", &[])]), "the audio track is left out: it is empty"),
    ];
    for (octets, why) in table {
        assert_eq!(parse_octets(octets).err().map(|problem| problem.reason), Some(why.to_owned()));
    }
}
