//! Presentations as session descriptions (RFC 4566, RFC 8866): for DESCRIBE, for the stream context and for receivers
//! that know no RTSP.
//!
//! Pure, and no parser: this server reads no descriptions. What players make of each line is listed in
//! `docs/players.md`; read RFC 2326 appendix C and RFC 8866 section 5 first.
//!
//! The rules that are easy to break: every `m=` section has its own `a=control` and the session has `a=control:*`; no
//! line is blank and no `?` stands in a control URL; the `c=` address is the unspecified one of the family that the
//! player came over; the length stands in `a=range` on session level, or players allow neither pause nor seek.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use sdp_types::{AddrType, Attribute, Bandwidth, Connection, Media, NetType, Origin, Session, Time};

use crate::library::Track;
use crate::payload::Payloader;
use crate::quantities::{ClockRate, MediaKind, PayloadType};

pub use crate::payload::payload_type;

/// How long what is described lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A title of that length.
    Title(Duration),
    /// A source without beginning and end.
    Live,
}

impl Extent {
    fn range(self) -> String {
        match self {
            Self::Title(length) => format!("npt=0-{}", seconds(length)),
            Self::Live => "npt=now-".into(),
        }
    }
}

/// One flow, as a player must know it beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpTrack {
    /// Video, audio or text.
    pub kind: MediaKind,
    /// The number in its RTP packets.
    pub payload_type: PayloadType,
    /// The payload format's name, as in `a=rtpmap` (RFC 8866 section 6.6): `H264`, `mpeg4-generic`.
    pub encoding_name: String,
    /// The RTP clock.
    pub clock_rate: ClockRate,
    /// Audio channels, where `a=rtpmap` is to name them.
    pub channels: Option<u8>,
    /// What stands behind the payload type in `a=fmtp`, if anything: `k=v;k=v`.
    pub format_parameters: Option<String>,
    /// The mean rate of its media in bits per second; 0 where unknown.
    pub bitrate: u64,
    /// BCP 47 or ISO 639.
    pub language: Option<String>,
    /// The `N` of `a=control:trackID=N`.
    pub control: usize,
    /// How what does not arrive is sent again, where it is.
    pub retransmission: Option<Retransmission>,
}

/// How packets that do not arrive are sent again (RFC 4588 section 8.6): the receiver says which by NACK (RFC 4585).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmission {
    /// The number in the RTP packets that are sent again.
    pub payload_type: PayloadType,
    /// For how long a packet can be sent again.
    pub time: Duration,
}

impl SdpTrack {
    /// The track at `index` of a title, sent in packets of at most `max_packet` octets; `None` where it cannot be sent.
    pub fn of(index: usize, track: &Track, max_packet: usize) -> Option<Self> {
        let payloader = Payloader::new(&track.codec, max_packet).ok()?;
        // `name/clock` or `name/clock/channels`.
        let mapping = payloader.encoding_name();
        let mut parts = mapping.split('/');
        Some(Self {
            kind: track.kind,
            payload_type: payload_type(&track.codec, index)?,
            encoding_name: parts.next()?.to_owned(),
            clock_rate: payloader.clock_rate(),
            channels: parts.nth(1).and_then(|channels| channels.parse().ok()),
            format_parameters: Some(payloader.format_parameters()),
            bitrate: track.bitrate(),
            language: track.language.clone(),
            control: index,
            retransmission: None,
        })
    }

    /// With what does not arrive sent again for so long, where there is a payload type for it.
    #[must_use]
    pub fn with_retransmission(self, time: Duration) -> Self {
        let retransmission = PayloadType::retransmission(self.control).map(|payload_type| Retransmission { payload_type, time });
        Self { retransmission, ..self }
    }
}

/// Names a description (RFC 8866 section 5.2): the same numbers name the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What is described; shortened to 63 bits, which every reader can hold.
    pub session: u64,
    /// Rises when the description of it changes.
    pub version: u64,
    /// The address of this server that was asked, or that the media come from. Its family is the one of the `c=` line.
    pub server: IpAddr,
}

/// The answer to DESCRIBE: ports and addresses are agreed on later, in SETUP.
pub fn describe(name: &str, tracks: &[SdpTrack], identity: Identity, extent: Extent) -> String {
    let mut session = session(name, identity, extent);
    session.connection = Some(connection(unspecified(identity.server)));
    session.attributes.push(Attribute::with_value("control", "*"));
    for track in tracks {
        let mut media = media(track, 0);
        media.add_attribute_with_value("control", format_args!("trackID={}", track.control));
        session.medias.push(media);
    }
    session.to_string()
}

/// A description for a receiver that knows no RTSP and listens on `port` for RTP and on `rtcp_port` for RTCP: `c=` is
/// the address that the packets come from.
pub fn receiver(name: &str, track: &SdpTrack, identity: Identity, extent: Extent, port: u16, rtcp_port: u16) -> String {
    let mut session = session(name, identity, extent);
    session.connection = Some(connection(identity.server));
    let mut media = media(track, port);
    media.add_attribute_with_value("rtcp", rtcp_port);
    media.add_attribute_from_str("recvonly");
    session.medias.push(media);
    session.to_string()
}

/// What our reports take of the rate, in bits a second.
const SENDER_REPORTS: u64 = 2_000;
/// What those of a receiver that asks for retransmission may take at least.
const RECEIVER_REPORTS: u64 = 64_000;

fn session(name: &str, identity: Identity, extent: Extent) -> Session {
    let name = line(name);
    Session {
        origin: Origin::with_ip_addr(identity.session & (u64::MAX >> 1), identity.version, identity.server),
        session_name: if name.is_empty() { "-".into() } else { name },
        session_description: None,
        uri: None,
        emails: Vec::new(),
        phones: Vec::new(),
        connection: None,
        bandwidths: Vec::new(),
        times: vec![Time::new(0, 0)],
        time_zones: Vec::new(),
        key: None,
        attributes: vec![Attribute::with_value("tool", "flowsteer"), Attribute::with_value("range", extent.range())],
        medias: Vec::new(),
    }
}

fn media(track: &SdpTrack, port: u16) -> Media {
    let payload_type = track.payload_type.bits();
    let mut attributes = Vec::new();
    let mut mapping = format!("{payload_type} {}/{}", track.encoding_name, track.clock_rate.hertz());
    if let Some(channels) = track.channels {
        mapping.push_str(&format!("/{channels}"));
    }
    attributes.push(Attribute::with_value("rtpmap", mapping));
    if let Some(parameters) = track.format_parameters.as_deref().map(line).filter(|parameters| !parameters.is_empty()) {
        attributes.push(Attribute::with_value("fmtp", format!("{payload_type} {parameters}")));
    }
    // Not every parser knows the profile with feedback: only who asked for it is told it.
    let (mut proto, mut formats) = ("RTP/AVP", payload_type.to_string());
    if let Some(Retransmission { payload_type: again, time }) = track.retransmission {
        let again = again.bits();
        (proto, formats) = ("RTP/AVPF", format!("{payload_type} {again}"));
        attributes.push(Attribute::with_value("rtcp-fb", format!("{payload_type} nack")));
        attributes.push(Attribute::with_value("rtpmap", format!("{again} rtx/{}", track.clock_rate.hertz())));
        attributes.push(Attribute::with_value("fmtp", format!("{again} apt={payload_type};rtx-time={}", time.as_millis())));
    }
    if let Some(language) = track.language.as_deref().filter(|language| is_language(language)) {
        attributes.push(Attribute::with_value("lang", language));
    }
    let kilobits = track.bitrate.div_ceil(1000);
    let mut bandwidths = Vec::new();
    if kilobits > 0 {
        bandwidths.push(Bandwidth { bwtype: "AS".into(), bandwidth: kilobits });
    }
    if track.retransmission.is_some() {
        // A twentieth of a small rate would let a receiver ask too seldom (RFC 3556).
        bandwidths.push(Bandwidth { bwtype: "RS".into(), bandwidth: SENDER_REPORTS });
        bandwidths.push(Bandwidth { bwtype: "RR".into(), bandwidth: (track.bitrate / 20).max(RECEIVER_REPORTS) });
    }
    Media {
        media: track.kind.as_str().into(),
        port,
        num_ports: None,
        proto: proto.into(),
        fmt: formats,
        media_title: None,
        connections: Vec::new(),
        bandwidths,
        key: None,
        attributes,
    }
}

fn connection(address: IpAddr) -> Connection {
    let family = if address.is_ipv4() { AddrType::Ip4 } else { AddrType::Ip6 };
    Connection::new(NetType::In, family, address)
}

const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Seconds with as many decimals as milliseconds need; never beyond the end, for a player may seek to where we say it is.
/// What is cut off, playback makes good: an end so close to the title's is the title's.
fn seconds(length: Duration) -> String {
    let text = format!("{}.{:03}", length.as_secs(), length.subsec_millis());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One line without control characters, and without blanks at its ends.
fn line(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect::<String>().trim().to_owned()
}

/// A language tag, by its characters (RFC 5646 section 2.1). `und` says nothing and is left out.
fn is_language(tag: &str) -> bool {
    (2..=35).contains(&tag.len()) && tag != "und" && tag.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video() -> SdpTrack {
        SdpTrack {
            kind: MediaKind::Video,
            payload_type: PayloadType::dynamic(0).expect("96"),
            encoding_name: "H264".into(),
            clock_rate: ClockRate::VIDEO,
            channels: None,
            format_parameters: Some("packetization-mode=1;profile-level-id=64001E;sprop-parameter-sets=Z2QAHg==,aOvjyyLA".into()),
            bitrate: 312_345,
            language: None,
            control: 0,
            retransmission: None,
        }
    }

    fn audio() -> SdpTrack {
        SdpTrack {
            kind: MediaKind::Audio,
            payload_type: PayloadType::dynamic(1).expect("97"),
            encoding_name: "mpeg4-generic".into(),
            clock_rate: ClockRate::new(44_100).expect("not zero"),
            channels: Some(2),
            format_parameters: Some("streamtype=5;profile-level-id=41;mode=AAC-hbr;config=1210".into()),
            bitrate: 64_000,
            language: Some("deu".into()),
            control: 1,
            retransmission: None,
        }
    }

    const SIX: Identity = Identity { session: 7, version: 1, server: IpAddr::V6(Ipv6Addr::LOCALHOST) };
    const FOUR: Identity = Identity { session: u64::MAX, version: 1, server: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)) };

    #[test]
    fn a_title_over_ipv6_is_described_line_by_line_as_players_want_it() {
        let text = describe("films/count down.mp4", &[video(), audio()], SIX, Extent::Title(Duration::from_millis(60_020)));
        let lines = [
            "v=0",
            "o=- 7 1 IN IP6 ::1",
            "s=films/count down.mp4",
            "c=IN IP6 ::",
            "t=0 0",
            "a=tool:flowsteer",
            "a=range:npt=0-60.02",
            "a=control:*",
            "m=video 0 RTP/AVP 96",
            "b=AS:313",
            "a=rtpmap:96 H264/90000",
            "a=fmtp:96 packetization-mode=1;profile-level-id=64001E;sprop-parameter-sets=Z2QAHg==,aOvjyyLA",
            "a=control:trackID=0",
            "m=audio 0 RTP/AVP 97",
            "b=AS:64",
            "a=rtpmap:97 mpeg4-generic/44100/2",
            "a=fmtp:97 streamtype=5;profile-level-id=41;mode=AAC-hbr;config=1210",
            "a=lang:deu",
            "a=control:trackID=1",
            "",
        ];
        assert_eq!(text, lines.join("\r\n"));
    }

    #[test]
    fn retransmission_is_described_to_who_asked_for_it() {
        let time = Duration::from_secs(2);
        let text = describe("x", &[video().with_retransmission(time), audio().with_retransmission(time)], SIX, Extent::Live);
        let lines = [
            "m=video 0 RTP/AVPF 96 112",
            "b=AS:313",
            "b=RS:2000",
            "b=RR:64000",
            "a=rtpmap:96 H264/90000",
            "a=fmtp:96 packetization-mode=1;profile-level-id=64001E;sprop-parameter-sets=Z2QAHg==,aOvjyyLA",
            "a=rtcp-fb:96 nack",
            "a=rtpmap:112 rtx/90000",
            "a=fmtp:112 apt=96;rtx-time=2000",
            "a=control:trackID=0",
            "m=audio 0 RTP/AVPF 97 113",
            "b=AS:64",
            "b=RS:2000",
            "b=RR:64000",
            "a=rtpmap:97 mpeg4-generic/44100/2",
            "a=fmtp:97 streamtype=5;profile-level-id=41;mode=AAC-hbr;config=1210",
            "a=rtcp-fb:97 nack",
            "a=rtpmap:113 rtx/44100",
            "a=fmtp:113 apt=97;rtx-time=2000",
            "a=lang:deu",
            "a=control:trackID=1",
            "",
        ];
        assert!(text.ends_with(&lines.join("\r\n")), "{text}");
        // Payload types end at 127: a track beyond has none to spare.
        let far = SdpTrack { control: 16, ..video() };
        assert_eq!(far.clone().with_retransmission(time), far);
    }

    #[test]
    fn the_connection_line_follows_the_family_the_player_came_over() {
        let text = describe("x", &[video()], FOUR, Extent::Live);
        assert!(text.contains("\r\nc=IN IP4 0.0.0.0\r\n"), "{text}");
        assert!(text.contains("\r\na=range:npt=now-\r\n"), "{text}");
        assert!(text.contains(&format!("\r\no=- {} 1 IN IP4 192.0.2.1\r\n", i64::MAX)), "{text}");
    }

    #[test]
    fn a_receiver_without_rtsp_is_told_address_and_ports() {
        let text = receiver("sound.m4a", &audio(), FOUR, Extent::Title(Duration::from_secs(10)), 5000, 5001);
        let lines = [
            "v=0",
            "o=- 9223372036854775807 1 IN IP4 192.0.2.1",
            "s=sound.m4a",
            "c=IN IP4 192.0.2.1",
            "t=0 0",
            "a=tool:flowsteer",
            "a=range:npt=0-10",
            "m=audio 5000 RTP/AVP 97",
            "b=AS:64",
            "a=rtpmap:97 mpeg4-generic/44100/2",
            "a=fmtp:97 streamtype=5;profile-level-id=41;mode=AAC-hbr;config=1210",
            "a=lang:deu",
            "a=rtcp:5001",
            "a=recvonly",
            "",
        ];
        assert_eq!(text, lines.join("\r\n"));
    }

    #[test]
    fn names_out_of_a_file_system_cannot_add_lines() {
        let hostile = "a\r\na=control:rtsp://elsewhere/\n\0\u{85}b ";
        let mut track = audio();
        track.language = Some("de\r\na=x".into());
        track.format_parameters = Some(" \r\n".into());
        let text = describe(hostile, &[track], SIX, Extent::Live);
        assert!(text.contains("\r\ns=aa=control:rtsp://elsewhere/b\r\n"), "{text}");
        assert!(!text.contains("fmtp") && !text.contains("lang") && !text.contains("\r\n\r\n"), "{text}");
        assert!(describe("\r\n", &[], SIX, Extent::Live).contains("\r\ns=-\r\n"));
    }

    #[test]
    fn no_line_ends_in_a_blank_and_every_section_has_its_control() {
        let text = describe("x", &[video(), audio()], SIX, Extent::Title(Duration::ZERO));
        assert!(text.lines().all(|line| line.len() > 2 && line.trim_end() == line), "{text}");
        assert_eq!(text.matches("\r\nm=").count() + 1, text.matches("\r\na=control:").count());
        assert!(!text.contains('?'));
    }
}
