//! A client that says on the wire what VLC says with its library live555: the same requests, header for header, in the same order.
//!
//! Debian builds VLC without its RTSP module, so that the player itself cannot be had. What it says was learned from the sources of both
//! (VLC 3.0, live555 2016.11.28): the form of its requests, how it joins URLs, the datagrams by which it opens a NAT's way, and the
//! requests behind seeking, pausing, switching a track off and on, and staying alive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::support::namespaces::{Family, Host};
use crate::support::recording::{Packet, PortPair, Recording};
use crate::support::rtsp::{Connection, Kind, Response, Section, parse_description};
use crate::support::viewer::{Carriage, authority, parameter};

const USER_AGENT: &str = "LibVLC/3.0.20 (LIVE555 Streaming Media v2016.11.28)";
/// What live555 sends from its RTP and its RTCP port after SETUP, twice each.
const DUMMY: [u8; 4] = [0xce, 0xfa, 0xed, 0xfe];

/// One track as VLC has it.
#[derive(Debug)]
pub struct Subsession {
    pub section: Section,
    pub recording: Arc<Recording>,
    pub ports: Option<PortPair>,
    /// `server_port` of the SETUP response.
    pub server_port: u16,
}

/// The player.
#[derive(Debug)]
pub struct Vlc<'h> {
    host: &'h Host,
    server: SocketAddr,
    carriage: Carriage,
    pub connection: Connection,
    sequence: u32,
    url: String,
    /// The aggregate's URL: `Content-Base` as it came.
    pub base: String,
    pub session_lines: Vec<String>,
    pub tracks: Vec<Subsession>,
}

impl<'h> Vlc<'h> {
    /// OPTIONS and DESCRIBE; both have to succeed.
    #[track_caller]
    pub fn open(host: &'h Host, url: &str, carriage: Carriage) -> Self {
        let server = authority(url);
        let connection = Connection::open(host, server);
        // live555 counts its requests from 2 on.
        let (url, base) = (url.to_owned(), String::new());
        let mut vlc = Self { host, server, carriage, connection, sequence: 1, url, base, session_lines: Vec::new(), tracks: Vec::new() };
        let options = vlc.ask("OPTIONS", &vlc.url.clone(), "").ok();
        assert!(options.expect_header("Public").split(", ").any(|method| method == "GET_PARAMETER"), "VLC then keeps alive by it");
        let described = vlc.ask("DESCRIBE", &vlc.url.clone(), "Accept: application/sdp\r\n").ok();
        vlc.base = described.expect_header("Content-Base").to_owned();
        let (session_lines, sections) = parse_description(&described.body);
        vlc.session_lines = session_lines;
        let track = |section| Subsession { section, recording: Arc::default(), ports: None, server_port: 0 };
        vlc.tracks = sections.into_iter().map(track).collect();
        vlc
    }

    /// Opens, sets up and plays all tracks from the start.
    #[track_caller]
    pub fn watch(host: &'h Host, url: &str, carriage: Carriage) -> Self {
        let mut vlc = Self::open(host, url, carriage);
        for track in 0..vlc.tracks.len() {
            vlc.set_up(track).ok();
            vlc.open_the_way(track);
        }
        vlc.play(Some(0.0)).ok();
        vlc
    }

    /// Sends a request as live555 writes it, and waits for the answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, url: &str, headers: &str) -> Response {
        self.sequence += 1;
        let request = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\nUser-Agent: {USER_AGENT}\r\n{headers}\r\n", self.sequence);
        self.connection.send_octets(request.as_bytes());
        let response = self.connection.next_response(&format!("{method} {url}"));
        assert_eq!(response.header("CSeq"), Some(self.sequence.to_string().as_str()), "CSeq of {response:#?}");
        response
    }

    fn session_header(&self) -> String {
        self.connection.session.as_ref().map(|session| format!("Session: {session}\r\n")).unwrap_or_default()
    }

    /// How live555 makes a track's URL: the two parts in a row, with a slash only where neither has one.
    pub fn track_url(&self, track: usize) -> String {
        let control = &self.tracks[track].section.control;
        if control.starts_with("rtsp://") {
            return control.clone();
        }
        let slash = if self.base.ends_with('/') || control.starts_with('/') { "" } else { "/" };
        format!("{}{slash}{control}", self.base)
    }

    /// SETUP of a track, with new receivers.
    #[track_caller]
    pub fn set_up(&mut self, track: usize) -> Response {
        let recording = Arc::new(Recording::default());
        let family = if self.server.is_ipv6() { Family::V6 } else { Family::V4 };
        let (ports, transport) = match self.carriage {
            Carriage::Udp => {
                let pair = PortPair::open(self.host, self.host.address(family), &recording);
                let transport = format!("RTP/AVP;unicast;client_port={}-{}", pair.rtp_port, pair.rtp_port + 1);
                (Some(pair), transport)
            }
            Carriage::Interleaved => {
                let channel = u8::try_from(track * 2).expect("few tracks");
                self.connection.record(channel, &recording, Kind::Rtp);
                self.connection.record(channel + 1, &recording, Kind::Rtcp);
                (None, format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel + 1))
            }
        };
        let headers = format!("Transport: {transport}\r\n{}", self.session_header());
        let answer = self.ask("SETUP", &self.track_url(track), &headers);
        let server_port = parameter(answer.header("Transport").unwrap_or_default(), "server_port").and_then(|pair| pair.split('-').next());
        let subsession = &mut self.tracks[track];
        subsession.server_port = server_port.and_then(|port| port.parse().ok()).unwrap_or(0);
        (subsession.recording, subsession.ports) = (recording, ports);
        answer
    }

    /// The datagrams that live555 sends towards the server's ports, in case there is a NAT between.
    pub fn open_the_way(&self, track: usize) {
        let subsession = &self.tracks[track];
        let Some(ports) = &subsession.ports else { return };
        for _ in 0..2 {
            ports.send_from_rtp(&DUMMY, (self.server.ip(), subsession.server_port).into());
            ports.send_from_rtcp(&DUMMY, (self.server.ip(), subsession.server_port + 1).into());
        }
    }

    /// PLAY of everything: at a position, or, after a pause, without one.
    #[track_caller]
    pub fn play(&mut self, from: Option<f64>) -> Response {
        let range = from.map(|seconds| format!("Range: npt={seconds:.3}-\r\n")).unwrap_or_default();
        let headers = self.session_header() + &range;
        self.ask("PLAY", &self.base.clone(), &headers)
    }

    /// live555 opens its demultiplexer only when it has read the answer to PLAY: until then nothing comes in between. Where our reader was
    /// kept from reading, both were there when it came, and how far apart they had come is not to be known.
    #[track_caller]
    pub fn assert_pause(&self, answer: &Response, first: &Packet) {
        let pause = first.at.saturating_duration_since(answer.at);
        let is_told_apart = first.at != answer.at;
        assert!(!is_told_apart || pause >= Duration::from_millis(15), "the first packet comes {pause:?} after the response");
    }

    /// PAUSE of everything.
    #[track_caller]
    pub fn pause(&mut self) -> Response {
        let headers = self.session_header();
        self.ask("PAUSE", &self.base.clone(), &headers)
    }

    /// A person moves the slider: PAUSE, then PLAY there.
    #[track_caller]
    pub fn seek(&mut self, seconds: f64) -> Response {
        self.pause().ok();
        self.play(Some(seconds)).ok()
    }

    /// A person switches a track off.
    #[track_caller]
    pub fn switch_off(&mut self, track: usize) -> Response {
        let headers = self.session_header();
        self.ask("TEARDOWN", &self.track_url(track), &headers)
    }

    /// A person switches it on again: SETUP, then PLAY of that track without a position.
    #[track_caller]
    pub fn switch_on(&mut self, track: usize) -> Response {
        self.set_up(track).ok();
        self.open_the_way(track);
        let headers = self.session_header();
        self.ask("PLAY", &self.track_url(track), &headers)
    }

    /// What VLC's timer sends two seconds before the session would time out.
    #[track_caller]
    pub fn keep_alive(&mut self) -> Response {
        let headers = self.session_header();
        self.ask("GET_PARAMETER", &self.base.clone(), &headers)
    }

    #[track_caller]
    pub fn tear_down(&mut self) -> Response {
        let headers = self.session_header();
        self.ask("TEARDOWN", &self.base.clone(), &headers)
    }
}
