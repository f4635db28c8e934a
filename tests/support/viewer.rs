//! A player of our own that keeps every packet: what take-overs are measured with.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::support::elementary::{Unit, audio_frames, pictures};
use crate::support::namespaces::{Family, Host};
use crate::support::recording::{Packet, PortPair, Recording};
use crate::support::rtsp::{Connection, Kind, Response, parse_description};

/// How a player asks for its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    Udp,
    Interleaved,
}

/// One track being watched.
#[derive(Debug)]
pub struct Watched {
    /// `video` or `audio`.
    pub media: String,
    pub payload_type: u8,
    pub clock_rate: u32,
    /// Its SETUP URL.
    pub url: String,
    /// The home address and the flow label of the SETUP response.
    pub home: String,
    pub label: u32,
    /// The `ssrc` of the SETUP response.
    pub ssrc: u32,
    /// The SETUP response's `Transport`.
    pub transport: String,
    pub recording: Arc<Recording>,
    pub ports: Option<PortPair>,
}

impl Watched {
    /// The RTP packets so far.
    pub fn packets(&self) -> Vec<Packet> {
        self.recording.so_far().rtp
    }

    /// The units so far, having checked that no packet is missing between the first and the last, nor came twice or late.
    #[track_caller]
    pub fn units(&self) -> Vec<Unit> {
        let packets = self.packets();
        assert_contiguous(&self.media, &packets);
        units(&self.media, &packets)
    }
}

/// Packets → units, by the kind of media.
pub fn units(media: &str, packets: &[Packet]) -> Vec<Unit> {
    match media {
        "video" => pictures(packets),
        "audio" => audio_frames(packets),
        other => panic!("no units of {other}"),
    }
}

/// Checks that sequence numbers rise by one from packet to packet.
#[track_caller]
pub fn assert_contiguous(whose: &str, packets: &[Packet]) {
    for (position, pair) in packets.windows(2).enumerate() {
        let (before, next) = (pair[0].sequence(), pair[1].sequence());
        assert_eq!(next, before.wrapping_add(1), "{whose}: packet {position} of {} is followed by another than the next", packets.len());
    }
}

/// A player: an RTSP session and its receivers.
#[derive(Debug)]
pub struct Viewer {
    pub connection: Connection,
    /// The aggregate's URL.
    pub base: String,
    pub description: String,
    pub tracks: Vec<Watched>,
}

impl Viewer {
    /// DESCRIBE and a SETUP of every track; nothing plays yet.
    #[track_caller]
    pub fn open(host: &Host, url: &str, carriage: Carriage) -> Self {
        Self::open_tracks(host, url, carriage, &["video", "audio"])
    }

    /// As [`Viewer::open`], for some of the media only.
    #[track_caller]
    pub fn open_tracks(host: &Host, url: &str, carriage: Carriage, media: &[&str]) -> Self {
        Self::open_profile(host, url, carriage, media, "RTP/AVP")
    }

    /// As [`Viewer::open`], with feedback.
    #[track_caller]
    pub fn open_with_feedback(host: &Host, url: &str, carriage: Carriage) -> Self {
        Self::open_profile(host, url, carriage, &["video", "audio"], "RTP/AVPF")
    }

    #[track_caller]
    fn open_profile(host: &Host, url: &str, carriage: Carriage, media: &[&str], profile: &str) -> Self {
        let to = authority(url);
        let mut connection = Connection::open(host, to);
        connection.request("OPTIONS", url, &[]).ok();
        let described = connection.request("DESCRIBE", url, &[("Accept", "application/sdp")]).ok();
        let base = described.expect_header("Content-Base").to_owned();
        let (_, sections) = parse_description(&described.body);
        let mut viewer = Self { connection, base, description: described.body, tracks: Vec::new() };
        for section in sections.into_iter().filter(|section| media.contains(&section.media.as_str())) {
            let url = format!("{}{}", viewer.base, section.control);
            let recording = Arc::new(Recording::default());
            let (ports, asked) = match carriage {
                Carriage::Udp => {
                    let family = if to.is_ipv6() { Family::V6 } else { Family::V4 };
                    let pair = PortPair::open(host, host.address(family), &recording);
                    let asked = format!("{profile};unicast;client_port={}-{}", pair.rtp_port, pair.rtp_port + 1);
                    (Some(pair), asked)
                }
                Carriage::Interleaved => {
                    let channel = viewer.tracks.len() * 2;
                    (None, format!("{profile}/TCP;unicast;interleaved={channel}-{}", channel + 1))
                }
            };
            let answer = viewer.connection.request("SETUP", &url, &[("Transport", &asked)]).ok();
            let transport = answer.expect_header("Transport").to_owned();
            if let Some(pair) = parameter(&transport, "interleaved") {
                let channel: u8 = pair.split('-').next().and_then(|channel| channel.parse().ok()).expect("a pair of channels");
                viewer.connection.record(channel, &recording, Kind::Rtp);
                viewer.connection.record(channel + 1, &recording, Kind::Rtcp);
            }
            let (home, label) = home_address(&answer);
            let ssrc = parameter(&transport, "ssrc").expect("the server names its SSRC");
            let ssrc = u32::from_str_radix(ssrc, 16).expect("eight hex digits");
            let (media, payload_type, clock_rate) = (section.media, section.payload_type, section.clock_rate);
            viewer.tracks.push(Watched { media, payload_type, clock_rate, url, home, label, ssrc, transport, recording, ports });
        }
        viewer
    }

    /// Opens and plays.
    #[track_caller]
    pub fn watch(host: &Host, url: &str, carriage: Carriage) -> Self {
        let mut viewer = Self::open(host, url, carriage);
        viewer.play();
        viewer
    }

    /// PLAY with the start position that players send by themselves.
    #[track_caller]
    pub fn play(&mut self) -> Response {
        self.connection.request("PLAY", &self.base.clone(), &[("Range", "npt=0.000-")]).ok()
    }

    /// PLAY without a position.
    #[track_caller]
    pub fn resume(&mut self) -> Response {
        self.connection.request("PLAY", &self.base.clone(), &[]).ok()
    }

    /// PLAY at a position.
    #[track_caller]
    pub fn seek(&mut self, seconds: f64) -> Response {
        self.connection.request("PLAY", &self.base.clone(), &[("Range", &format!("npt={seconds:.3}-"))]).ok()
    }

    #[track_caller]
    pub fn pause(&mut self) -> Response {
        self.connection.request("PAUSE", &self.base.clone(), &[]).ok()
    }

    #[track_caller]
    pub fn tear_down(&mut self) -> Response {
        self.connection.request("TEARDOWN", &self.base.clone(), &[]).ok()
    }

    /// The track of that kind.
    #[track_caller]
    pub fn track(&self, media: &str) -> &Watched {
        self.tracks.iter().find(|track| track.media == media).unwrap_or_else(|| panic!("no {media} is watched"))
    }

    pub fn video(&self) -> &Watched {
        self.track("video")
    }

    pub fn audio(&self) -> &Watched {
        self.track("audio")
    }
}

/// The server's address in an RTSP URL.
#[track_caller]
pub fn authority(url: &str) -> SocketAddr {
    let authority = url.strip_prefix("rtsp://").and_then(|rest| rest.split('/').next()).expect("an RTSP URL");
    authority.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// The value of a `Transport` parameter.
pub fn parameter<'t>(transport: &'t str, name: &str) -> Option<&'t str> {
    transport.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// `Home-Address` of a SETUP response: the address and the flow label.
#[track_caller]
pub fn home_address(answer: &Response) -> (String, u32) {
    let value = answer.expect_header("Home-Address");
    let (home, label) = value.split_once(";flow-label=0x").unwrap_or_else(|| panic!("Home-Address: {value}"));
    assert_eq!(label.len(), 5, "five hex digits: {value}");
    (home.to_owned(), u32::from_str_radix(label, 16).expect("hex digits"))
}
