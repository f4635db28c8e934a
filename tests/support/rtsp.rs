//! An RTSP/1.0 connection as a client has it (RFC 2326): requests out, responses and interleaved packets in.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::SOON;
use crate::support::namespaces::Host;
use crate::support::recording::{Packet, Recording, stamp, take};

/// A response, and when its last octet came.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A header's value that has to be there.
    #[track_caller]
    pub fn expect_header(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// Itself, having checked that it is a success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{self:#?}");
        self
    }

    /// The start of `Range: npt=`, in seconds.
    #[track_caller]
    pub fn range_start(&self) -> f64 {
        let range = self.expect_header("Range");
        let start = range.strip_prefix("npt=").and_then(|range| range.split('-').next()).and_then(|start| start.parse().ok());
        start.unwrap_or_else(|| panic!("Range: {range}"))
    }

    /// `RTP-Info` as (url, seq, rtptime), one for each track.
    #[track_caller]
    pub fn rtp_info(&self) -> Vec<RtpInfo> {
        let entries = self.expect_header("RTP-Info").split(",url=");
        entries
            .map(|entry| {
                let mut parts = entry.strip_prefix("url=").unwrap_or(entry).split(';');
                let url = parts.next().expect("splitting gives one at least").to_owned();
                let values: HashMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
                let number = |name: &str| values.get(name).and_then(|value| value.parse::<u32>().ok());
                let (Some(seq), Some(rtptime)) = (number("seq"), number("rtptime")) else { panic!("RTP-Info entry {entry}") };
                RtpInfo { url, seq: u16::try_from(seq).expect("16 bits"), rtptime }
            })
            .collect()
    }
}

/// One entry of `RTP-Info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpInfo {
    pub url: String,
    pub seq: u16,
    pub rtptime: u32,
}

type Channels = Arc<Mutex<HashMap<u8, (Arc<Recording>, Kind)>>>;

/// What an interleaved channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rtp,
    Rtcp,
}

/// A connection. Dropping it closes it without a TEARDOWN, as a crashed player's is.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    responses: mpsc::Receiver<Response>,
    channels: Channels,
    closed: Arc<AtomicBool>,
    next_sequence: u32,
    /// The RTSP session's id, once a SETUP has given one.
    pub session: Option<String>,
    /// Sent with every request.
    pub user_agent: String,
}

impl Connection {
    /// Connects from `host`.
    pub fn open(host: &Host, to: SocketAddr) -> Self {
        let stream = host.run(|| TcpStream::connect_timeout(&to, SOON)).expect("the RTSP listener takes connections");
        stream.set_nodelay(true).expect("a TCP socket has the option");
        let (sender, responses) = mpsc::channel();
        let (channels, closed): (Channels, Arc<AtomicBool>) = Default::default();
        stamp(stream.as_raw_fd());
        let reading = Stamped { stream: stream.try_clone().expect("a socket can be cloned"), at: Instant::now() };
        let reader = BufReader::with_capacity(1 << 16, reading);
        let (theirs, done) = (Arc::clone(&channels), Arc::clone(&closed));
        thread::spawn(move || {
            let _ = read(reader, &sender, &theirs);
            done.store(true, Ordering::Release);
        });
        Self { stream, responses, channels, closed, next_sequence: 1, session: None, user_agent: "flowsteer-test/1.0".to_owned() }
    }

    /// Asks, and waits for the answer to that request.
    #[track_caller]
    pub fn request(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> Response {
        let sequence = self.send(method, url, headers);
        let response = self.next_response(&format!("{method} {url}"));
        assert_eq!(response.header("CSeq"), Some(sequence.to_string().as_str()), "CSeq of {response:#?}");
        response
    }

    /// Sends a request and gives its `CSeq`; the answer is had with [`Connection::next_response`].
    pub fn send(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> u32 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let mut request = format!("{method} {url} RTSP/1.0\r\nCSeq: {sequence}\r\nUser-Agent: {}\r\n", self.user_agent);
        if let Some(session) = &self.session {
            request += &format!("Session: {session}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        self.send_octets((request + "\r\n").as_bytes());
        sequence
    }

    /// Sends octets as they are.
    pub fn send_octets(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).expect("the connection takes a request");
    }

    /// The next response of the connection, in order.
    #[track_caller]
    pub fn next_response(&mut self, to: &str) -> Response {
        self.next_response_within(to, SOON)
    }

    /// The next response, of a request that may take long.
    #[track_caller]
    pub fn next_response_within(&mut self, to: &str, limit: Duration) -> Response {
        let response = self.responses.recv_timeout(limit);
        let response = response.unwrap_or_else(|error| panic!("no answer to {to}: {error}"));
        if let Some(session) = response.header("Session") {
            self.session = Some(session.split(';').next().expect("splitting gives one at least").to_owned());
        }
        response
    }

    /// Packets of this channel go to that recording.
    pub fn record(&self, channel: u8, recording: &Arc<Recording>, kind: Kind) {
        self.channels.lock().expect("nobody panics while holding it").insert(channel, (Arc::clone(recording), kind));
    }

    /// Whether the server has closed it.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Sends an interleaved frame.
    pub fn send_frame(&mut self, channel: u8, octets: &[u8]) {
        let length = u16::try_from(octets.len()).expect("a frame of at most 65,535 octets").to_be_bytes();
        let frame = [&[b'$', channel, length[0], length[1]], octets].concat();
        self.send_octets(&frame);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The reading end, and when the last came of what was read: together with it, what was read at once may have come before.
struct Stamped {
    stream: TcpStream,
    at: Instant,
}

impl Read for Stamped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = take(self.stream.as_raw_fd(), buffer)?;
        self.at = taken.at;
        Ok(taken.length)
    }
}

fn read(mut reader: BufReader<Stamped>, responses: &mpsc::Sender<Response>, channels: &Channels) -> io::Result<()> {
    loop {
        let mut first = [0];
        reader.read_exact(&mut first)?;
        if first[0] == b'$' {
            let mut head = [0; 3];
            reader.read_exact(&mut head)?;
            let mut octets = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            reader.read_exact(&mut octets)?;
            let packet = Packet { at: reader.get_ref().at, octets, label: None, from: None };
            let channel = channels.lock().expect("nobody panics while holding it").get(&head[0]).cloned();
            match channel {
                Some((recording, Kind::Rtp)) => recording.add_rtp(packet),
                Some((recording, Kind::Rtcp)) => recording.add_rtcp(packet),
                None => eprintln!("an interleaved packet of {} octets on channel {}, which nobody set up", packet.octets.len(), head[0]),
            }
        } else {
            let response = read_response(&mut reader, first[0])?;
            if responses.send(response).is_err() {
                return Ok(());
            }
        }
    }
}

fn read_response(reader: &mut BufReader<Stamped>, first: u8) -> io::Result<Response> {
    let mut line = String::from(char::from(first));
    reader.read_line(&mut line)?;
    let mut parts = line.trim_end().splitn(3, ' ');
    let (version, status, reason) = (parts.next(), parts.next(), parts.next());
    assert_eq!(version, Some("RTSP/1.0"), "a status line: {line:?}");
    let status = status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("a status line: {line:?}"));
    let reason = reason.unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("a header line ends in CR LF: {line:?}"));
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("a header line: {line:?}"));
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut response = Response { status, reason, headers, body: String::new(), at: reader.get_ref().at };
    let length = response.header("Content-Length").map_or(0, |length| length.parse().expect("a length is a number"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    response.body = String::from_utf8(body).expect("a description is UTF-8");
    response.at = reader.get_ref().at;
    Ok(response)
}

/// A media section of a description (RFC 8866).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `video` or `audio`.
    pub media: String,
    pub payload_type: u8,
    pub clock_rate: u32,
    /// The value of `a=control`.
    pub control: String,
    pub lines: Vec<String>,
}

/// The session level's lines, and the media sections.
#[track_caller]
pub fn parse_description(description: &str) -> (Vec<String>, Vec<Section>) {
    let mut session = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    for line in description.split_terminator("\r\n") {
        assert!(line.len() > 2 && line.as_bytes()[1] == b'=' && !line.ends_with(' '), "{line:?} in\n{description}");
        if let Some(media) = line.strip_prefix("m=") {
            let words: Vec<&str> = media.split(' ').collect();
            let payload_type = words[3].parse().expect("a payload type");
            sections.push(Section { media: words[0].to_owned(), payload_type, clock_rate: 0, control: String::new(), lines: Vec::new() });
        }
        let Some(section) = sections.last_mut() else {
            session.push(line.to_owned());
            continue;
        };
        section.lines.push(line.to_owned());
        if let Some(control) = line.strip_prefix("a=control:") {
            section.control = control.to_owned();
        }
        if let Some(map) = line.strip_prefix(&format!("a=rtpmap:{} ", section.payload_type)) {
            section.clock_rate = map.split('/').nth(1).and_then(|rate| rate.parse().ok()).expect("a clock rate");
        }
    }
    (session, sections)
}
