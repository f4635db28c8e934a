//! Descriptions as publishers write them, and access units out of the packets that our own payload formats make of them.

use proptest::prelude::*;

use super::announced::{AnnounceError, Announced, AnnouncedTrack, Coding};
use super::depacketizer::{Depacketizer, Payload, Received};
use super::publication::{DESCRIBED, Output, PATIENCE, Publication, PublishedUnit};
use super::receiver::Junk;
use crate::library::{AacConfig, Codec, H264Config, NalFraming};
use crate::now::Mono;
use crate::payload::{PacketBuffer, Payloader, RTP_HEADER_LEN};

/// As FFmpeg 7 announces a film.
const FFMPEG: &str = "v=0\r\no=- 0 0 IN IP6 ::1\r\ns=No Name\r\nc=IN IP6 ::1\r\nt=0 0\r\na=tool:libavformat 61.7.100\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==; profile-level-id=42C01E\r\na=control:streamid=0\r\n\
    m=audio 0 RTP/AVP 97\r\nb=AS:69\r\na=rtpmap:97 MPEG4-GENERIC/48000/1\r\n\
    a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=118856E500\r\na=control:streamid=1\r\n\
    m=text 0 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\na=control:streamid=2\r\n";

fn announced() -> Announced {
    Announced::parse(FFMPEG.as_bytes()).expect("it can be read")
}

#[test]
fn what_ffmpeg_announces_is_understood_and_what_is_left_out_is_named() {
    let Announced { tracks, left_out } = announced();
    assert_eq!(tracks.iter().map(|track| (track.position, track.payload_type)).collect::<Vec<_>>(), [(0, 96), (1, 97)]);
    assert_eq!(tracks[0].control.as_deref(), Some("streamid=0"));
    assert!(matches!(&tracks[0].coding, Coding::H264(sets) if sets.len() == 2 && sets[0][0] == 0x67 && sets[1][0] == 0x68));
    assert!(matches!(&tracks[1].coding, Coding::Aac { config: AacConfig { sample_rate: 48_000, channels: 1, .. }, .. }));
    assert_eq!((left_out.len(), left_out[0].reason.as_str()), (1, "text coded as T140 is not taken in"));
    let codec = Depacketizer::new(&tracks[0]).codec().cloned();
    assert!(matches!(codec, Some(Codec::H264(H264Config { framing: NalFraming::Length(4), .. }))), "{codec:?}");
}

#[test]
fn what_cannot_be_taken_in_is_refused_with_a_reason() {
    let of = |media: &str| Announced::parse(format!("v=0\r\ns=x\r\n{media}").as_bytes());
    assert_eq!(Announced::parse(b"no description"), Err(AnnounceError::Syntax));
    assert_eq!(of(&"m=audio 0 RTP/AVP 0\r\n".repeat(9)), Err(AnnounceError::TooMany));
    assert_eq!(of("m=audio 0 RTP/AVP 0\r\n").expect("its payload type says it all").tracks.len(), 1);
    for (media, reason) in [
        ("", "there is none"),
        ("m=audio 0 RTP/AVP 97\r\n", "payload type 97 is not explained"),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 theora/90000\r\n", "video coded as THEORA is not taken in"),
        ("m=video 0 RTP/AVP 26\r\n", "video coded as JPEG is not taken in"),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/1000\r\n", "VP8 with another clock than 90000"),
        ("m=audio 0 RTP/AVP 96\r\na=rtpmap:96 vorbis/44100/2\r\na=fmtp:96 configuration=AAAA\r\n", "VORBIS without its configuration"),
        ("m=audio 0 RTP/AVP 96\r\na=rtpmap:96 MPEG4-GENERIC/48000\r\n", "MPEG4-GENERIC in another mode than AAC-hbr and AAC-lbr"),
        ("m=audio 0 RTP/AVP 96\r\na=rtpmap:96 opus/0/2\r\n", "OPUS without a clock"),
    ] {
        assert_eq!(of(media), Err(AnnounceError::Nothing(reason.into())), "{media}");
    }
}

/// The payloads of one access unit, with their markers.
pub(super) fn payloads(payloader: &mut Payloader, unit: &[u8], key: bool) -> Vec<(Vec<u8>, bool)> {
    let mut out = PacketBuffer::default();
    payloader.payload(unit, key, &mut out).expect("it can be sent");
    let payload = |range: std::ops::Range<usize>| out.octets()[range][RTP_HEADER_LEN..].to_vec();
    out.packets().iter().map(|packet| (payload(packet.range.clone()), packet.marker)).collect()
}

/// An access unit of slices of these sizes, the first one the first of its picture.
fn picture(slices: &[usize]) -> Vec<u8> {
    let slice = |(number, size): (usize, &usize)| {
        let mut nal = vec![if number == 0 { 0x80 } else { 0x40 }; *size + 1];
        nal[0] = 0x41;
        [&(nal.len() as u32).to_be_bytes(), nal.as_slice()].concat()
    };
    slices.iter().enumerate().flat_map(slice).collect()
}

fn drain(depacketizer: &mut Depacketizer) -> Vec<Received> {
    std::iter::from_fn(|| depacketizer.poll()).collect()
}

proptest! {
    /// Whatever is lost: pictures of which everything came are whole, all others are dropped and counted.
    #[test]
    fn pictures_come_whole_or_not_at_all(
        pictures in proptest::collection::vec(proptest::collection::vec(1..4000_usize, 1..5), 1..6),
        lost in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let track = announced().tracks.remove(0);
        let mut depacketizer = Depacketizer::new(&track);
        let mut payloader = Payloader::new(depacketizer.codec().expect("the sets are known"), 1200).expect("a format");
        let units: Vec<Vec<u8>> = pictures.iter().map(|slices| picture(slices)).collect();
        let mut packets = Vec::new();
        for (number, unit) in units.iter().enumerate() {
            packets.extend(payloads(&mut payloader, unit, false).into_iter().map(|(octets, marker)| (number, octets, marker)));
        }
        let lost: Vec<usize> = lost.iter().map(|index| index.index(packets.len())).collect();
        let (mut got, mut missing) = (Vec::new(), false);
        for (position, (number, octets, marker)) in packets.iter().enumerate() {
            if lost.contains(&position) {
                missing = true;
                continue;
            }
            if std::mem::take(&mut missing) {
                depacketizer.handle_loss();
            }
            let _ = depacketizer.handle_payload(&Payload { timestamp: *number as i64 * 3600, marker: *marker, octets });
            got.extend(drain(&mut depacketizer));
        }
        let is_whole = |number: &usize| !packets.iter().enumerate().any(|(at, (of, ..))| of == number && lost.contains(&at));
        for unit in &got {
            prop_assert_eq!(&unit.octets, &units[(unit.timestamp / 3600) as usize]);
            prop_assert!(is_whole(&((unit.timestamp / 3600) as usize)));
        }
        if lost.is_empty() {
            prop_assert_eq!(got.len(), units.len());
        }
    }

    #[test]
    fn sound_comes_as_it_was(sizes in proptest::collection::vec(1..8000_usize, 1..10)) {
        let track = announced().tracks.remove(1);
        let mut depacketizer = Depacketizer::new(&track);
        let mut payloader = Payloader::new(depacketizer.codec().expect("it was announced"), 1200).expect("a format");
        for (number, size) in sizes.iter().enumerate() {
            let unit = vec![number as u8; *size];
            for (octets, marker) in payloads(&mut payloader, &unit, true) {
                depacketizer.handle_payload(&Payload { timestamp: number as i64 * 1024, marker, octets: &octets }).expect("sound");
            }
            let got = drain(&mut depacketizer);
            prop_assert_eq!(got, vec![Received { timestamp: number as i64 * 1024, duration: Some(1024), random_access: true, octets: unit }]);
        }
    }

    /// Neither payloads nor whole datagrams of anything make it panic, and nothing grows without bound.
    #[test]
    fn no_octets_make_it_panic(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..60), h265: bool) {
        let mut tracks = announced().tracks;
        if h265 {
            tracks[0].coding = Coding::H265(Vec::new());
        }
        let mut publication = Publication::new(tracks, 1);
        for (number, mut datagram) in datagrams.into_iter().enumerate() {
            if let [first, second, ..] = &mut datagram[..] {
                (*first, *second) = (0x80, (96 + (number % 2) as u8) | (*second & 0x80));
            }
            let now = Mono::from_nanos(number as u64 * 100_000_000);
            let _ = publication.handle_rtp(number % 2, &datagram, now);
            publication.handle_rtcp(number % 2, &datagram, now);
            while publication.poll(now).is_some() {}
            while publication.poll_report(now).is_some() {}
        }
    }
}

fn rtp(track: &AnnouncedTrack, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let head = [0x80, 0x80 | track.payload_type];
    [&head[..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, 9], payload].concat()
}

fn sender_report(ntp: u64, timestamp: u32) -> Vec<u8> {
    [&[0x80, 200, 0, 6, 0, 0, 0, 9][..], &ntp.to_be_bytes(), &timestamp.to_be_bytes(), &[0; 8]].concat()
}

/// A frame of four octets.
const SOUND: [u8; 8] = [0, 16, 0, 4 << 3, 1, 2, 3, 4];

fn units(publication: &mut Publication, now: Mono) -> Vec<Output> {
    std::iter::from_fn(|| publication.poll(now)).collect()
}

#[test]
fn sender_reports_put_tracks_beside_each_other_and_else_arrival_does() {
    let slice = &picture(&[20])[4..];
    for with_reports in [true, false] {
        let tracks = announced().tracks;
        let mut publication = Publication::new(tracks.clone(), 1);
        let now = Mono::from_nanos(1_000_000_000);
        if with_reports {
            // The sound is half a second behind the picture, though they come together.
            publication.handle_rtcp(0, &sender_report(100 << 32, 5000), now);
            publication.handle_rtcp(1, &sender_report(100 << 32, 70), now);
        }
        publication.handle_rtp(0, &rtp(&tracks[0], 1, 5000, slice), now).expect("taken");
        publication.handle_rtp(1, &rtp(&tracks[1], 1, 70 + 24_000, &SOUND), now).expect("taken");
        let later = if with_reports { now } else { now + PATIENCE };
        if !with_reports {
            assert_eq!(units(&mut publication, now), [], "reports are waited for");
            assert_eq!(publication.poll_timeout(), Some(now + PATIENCE.min(std::time::Duration::from_secs(1))));
        }
        let out = units(&mut publication, later);
        assert!(matches!(&out[0], Output::Begin(tracks, silent) if tracks.len() == 2 && silent.is_empty()));
        let times: Vec<_> = out[1..]
            .iter()
            .map(|output| match output {
                Output::Unit(PublishedUnit { track, presentation_time, .. }) => (*track, *presentation_time),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(times, [(0, 0), (1, if with_reports { 24_000 } else { 0 })]);
    }
}

#[test]
fn parameter_sets_that_come_late_are_waited_for_while_packets_of_their_track_come() {
    let half = std::time::Duration::from_millis(500);
    let mut tracks = announced().tracks;
    let Coding::H264(sets) = std::mem::replace(&mut tracks[0].coding, Coding::H264(Vec::new())) else { panic!("H.264 was announced") };
    let slice = picture(&[20])[4..].to_vec();
    let begins = |publication: &mut Publication, now| match units(publication, now).first() {
        Some(Output::Begin(tracks, silent)) => Some((tracks.len(), silent.clone())),
        _ => None,
    };
    // The pictures end after as many half seconds as the first number says; the sets come with the second.
    for (end, sets_at, expected_at, expected) in
        [(30, 8, 8, (2, vec![])), (30, 30, 20, (1, vec![0])), (4, 30, 7, (1, vec![0])), (0, 30, 3, (1, vec![0]))]
    {
        let mut publication = Publication::new(tracks.clone(), 1);
        for reporting in [0, 1] {
            publication.handle_rtcp(reporting, &sender_report(100 << 32, 5000), Mono::default());
        }
        let (mut begun, mut sequence) = (None, 0);
        for step in 0..30 {
            let now = Mono::default() + half * step;
            let payloads = if step == sets_at { [&sets[..], std::slice::from_ref(&slice)].concat() } else { vec![slice.clone()] };
            let pictures = payloads.iter().filter(|_| step <= end && end > 0);
            for payload in pictures {
                sequence += 1;
                publication.handle_rtp(0, &rtp(&tracks[0], sequence, 5000 + step * 45_000, payload), now).expect("taken");
            }
            publication.handle_rtp(1, &rtp(&tracks[1], step as u16, 5000 + step * 24_000, &SOUND), now).expect("taken");
            assert!(publication.poll_timeout().is_some_and(|due| due <= Mono::default() + DESCRIBED) || begun.is_some());
            if let Some(what) = begins(&mut publication, now) {
                begun = Some((step, what));
            }
        }
        assert_eq!(begun, Some((expected_at, expected)), "pictures until {end}, sets at {sets_at}");
    }
}

/// The same of another source.
fn of_source(mut datagram: Vec<u8>, ssrc: u8) -> Vec<u8> {
    datagram[11] = ssrc;
    datagram
}

#[test]
fn another_source_goes_on_where_one_has_ended_and_does_not_disturb_one_that_sends() {
    let track = announced().tracks.remove(1);
    let (mut publication, start) = (Publication::new(vec![track.clone()], 1), Mono::default());
    let mut now = start;
    let mut out = Vec::new();
    let mut send = |ssrc, sequence, timestamp, millis| {
        now += std::time::Duration::from_millis(millis);
        let outcome = publication.handle_rtp(0, &of_source(rtp(&track, sequence, timestamp, &SOUND), ssrc), now);
        out.extend(units(&mut publication, now));
        outcome
    };
    assert_eq!(send(9, 1, 1000, 0), Ok(()));
    assert_eq!(send(7, 500, 9, 20), Err(Junk::Source));
    assert_eq!(send(7, 501, 9, 20), Err(Junk::Source));
    assert_eq!(send(9, 2, 1000 + 40 * 48, 0), Ok(()));
    assert_eq!(send(7, 502, 80_000, 0), Err(Junk::Source), "those in a row count");
    assert_eq!(send(7, 503, 80_000, 0), Err(Junk::Source));
    assert_eq!(send(7, 504, 80_000, 20), Ok(()));
    assert_eq!(send(9, 3, 5, 20), Err(Junk::Source));
    assert_eq!(send(7, 505, 80_000 + 48 * 20, 0), Ok(()));
    assert_eq!(send(4, 60_000, 7, 2000), Ok(()), "silence is enough");
    let times: Vec<_> = out
        .iter()
        .filter_map(|output| match output {
            Output::Unit(unit) => Some(unit.presentation_time),
            _ => None,
        })
        .collect();
    let first = times[0];
    assert_eq!(times.iter().map(|time| (time - first) / 48).collect::<Vec<_>>(), [0, 40, 60, 80, 2080]);
    let (_, report) = publication.poll_report(now).expect("it is due");
    assert_eq!(report[11], 4);
}

#[test]
fn what_was_lost_is_reported_to_its_sender() {
    let tracks = announced().tracks;
    let mut publication = Publication::new(vec![tracks[1].clone()], 0x0102_0304);
    let start = Mono::default();
    for sequence in [1, 2, 5] {
        publication.handle_rtp(0, &rtp(&tracks[1], sequence, 0, &SOUND), start).expect("taken");
    }
    assert!(publication.handle_rtp(0, &rtp(&tracks[0], 6, 0, &SOUND), start).is_err(), "another payload type");
    assert_eq!(publication.poll_report(start), None, "not at once");
    let (track, report) = publication.poll_report(start + std::time::Duration::from_secs(1)).expect("it is due");
    assert_eq!((track, report[1], &report[4..12]), (0, 201, &[1, 2, 3, 4, 0, 0, 0, 9][..]));
    // Two of five.
    assert_eq!((report[12], &report[13..16], &report[16..20]), (102, &[0, 0, 2][..], &[0, 0, 0, 5][..]));
    assert_eq!(publication.counters().map(|counters| counters.junk).sum::<u64>(), 1);
}
