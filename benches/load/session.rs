//! One RTSP session: OPTIONS, DESCRIBE, SETUP of the tracks, PLAY, reports and keep-alives while it plays, TEARDOWN.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use super::meter::{Meter, SECOND, Stamp, Totals};
use super::rtsp::{self, Answer, Kind, MAX_MESSAGE, Offered, Piece};
use super::sockets::{Inbox, Ports, Waiting, local_address, wall_clock};

/// Receiver reports go so far apart.
const REPORT_EVERY: Stamp = 5 * SECOND;
/// The longest a session goes without a request.
const KEEP_ALIVE: Stamp = 30 * SECOND;
const CONNECT: Duration = Duration::from_secs(3);
/// Reads of one connection before others have their turn.
const ROUNDS: usize = 8;
/// Tracks of one session: a picture and a sound.
const MAX_TRACKS: usize = 2;

/// What all sessions share.
pub struct Common {
    pub tcp: bool,
    pub video_only: bool,
    pub range: Option<String>,
    pub receive_buffer: usize,
    pub ports: Ports,
    /// Connections while they are set up.
    pub control: Waiting,
    /// Sockets that media come in by.
    pub media: Waiting,
    pub inbox: Inbox,
    pub scratch: Vec<u8>,
    pub totals: Totals,
    /// Of branches that took a flow over: what makes up for the time since a key picture comes faster than it is shown.
    pub moved: Totals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Waiting,
    Options,
    Describe,
    Setup,
    Play,
    Playing,
    Teardown,
    Done,
    Failed,
}

/// Which of a session's sockets is ready.
#[derive(Clone, Copy, Debug)]
pub enum Socket {
    Connection,
    Rtp(Place),
    Rtcp(Place),
}

/// One place where a track arrives: the one that SETUP named is 0, branches follow.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub track: usize,
    pub branch: usize,
}

impl Socket {
    /// Sockets of one session have numbers below it.
    const PER_SESSION: u64 = 1 << 16;

    /// What epoll keeps: the session's number and the socket's.
    fn label(self, session: usize) -> u64 {
        let number = |place: Place, is_rtcp: u64| 2 + 2 * (place.branch * MAX_TRACKS + place.track) as u64 + is_rtcp;
        let socket = match self {
            Self::Connection => 0,
            Self::Rtp(place) => number(place, 0),
            Self::Rtcp(place) => number(place, 1),
        };
        session as u64 * Self::PER_SESSION + socket
    }

    pub fn of(label: u64) -> (usize, Self) {
        let (session, socket) = ((label / Self::PER_SESSION) as usize, label % Self::PER_SESSION);
        let Some(number) = socket.checked_sub(2) else { return (session, Self::Connection) };
        let at = (number / 2) as usize;
        let place = Place { track: at % MAX_TRACKS, branch: at / MAX_TRACKS };
        (session, if number % 2 == 0 { Self::Rtp(place) } else { Self::Rtcp(place) })
    }
}

pub struct Track {
    pub kind: Kind,
    pub meter: Meter,
    /// The first sequence number, as PLAY's answer tells it.
    pub announced: Option<u16>,
    /// The name that its flow is sent to, where SETUP's answer tells one.
    pub home: Option<String>,
    /// Where else it goes, in the order in which that was asked for.
    pub further: Vec<Branch>,
    url: String,
    sockets: Option<(UdpSocket, UdpSocket)>,
    channels: (u16, u16),
    reports_to: Option<SocketAddr>,
}

/// One more place where a track arrives, once an update has said so.
pub struct Branch {
    pub meter: Meter,
    /// The places before it are left.
    pub replaces: bool,
    /// When the update was sent.
    pub asked_at: Stamp,
    sockets: (UdpSocket, UdpSocket),
}

pub struct Session {
    pub number: usize,
    pub stage: Stage,
    pub failure: Option<String>,
    /// It played, and the server ended it.
    pub dropped: bool,
    pub tracks: Vec<Track>,
    pub rtcp_packets: u64,
    pub described_at: Option<Stamp>,
    pub setup_at: Option<Stamp>,
    pub play_at: Option<Stamp>,
    pub playing_at: Option<Stamp>,
    url: String,
    base: String,
    aggregate: String,
    id: String,
    stream: Option<TcpStream>,
    incoming: Vec<u8>,
    sequence: u32,
    set_up: usize,
    keep_alive: Stamp,
    has_get_parameter: bool,
    deadline: Stamp,
    reported_at: Stamp,
    asked_at: Stamp,
}

impl Session {
    pub fn new(number: usize, url: String) -> Self {
        Self {
            number,
            stage: Stage::Waiting,
            failure: None,
            dropped: false,
            tracks: Vec::new(),
            rtcp_packets: 0,
            described_at: None,
            setup_at: None,
            play_at: None,
            playing_at: None,
            base: url.clone(),
            aggregate: url.clone(),
            url,
            id: String::new(),
            stream: None,
            incoming: Vec::new(),
            sequence: 0,
            set_up: 0,
            keep_alive: KEEP_ALIVE,
            has_get_parameter: false,
            deadline: 0,
            reported_at: 0,
            asked_at: 0,
        }
    }

    /// It plays, or has failed to.
    pub fn is_settled(&self) -> bool {
        self.playing_at.is_some() || self.stage == Stage::Failed
    }

    pub fn is_starting(&self) -> bool {
        matches!(self.stage, Stage::Options | Stage::Describe | Stage::Setup | Stage::Play)
    }

    pub fn first_packet_at(&self) -> Option<Stamp> {
        self.tracks.iter().filter_map(|track| track.meter.first_at()).min()
    }

    fn fail(&mut self, why: impl Into<String>) {
        match self.stage {
            Stage::Done | Stage::Failed => return,
            Stage::Teardown => self.stage = Stage::Done,
            stage => {
                self.dropped = stage == Stage::Playing;
                self.failure = Some(format!("{stage:?}: {}", why.into()));
                self.stage = Stage::Failed;
            }
        }
        self.close();
    }

    fn close(&mut self) {
        self.stream = None;
        self.incoming = Vec::new();
        self.tracks.iter_mut().for_each(|track| track.sockets = None);
    }

    pub fn start(&mut self, common: &mut Common, deadline: Stamp) {
        self.deadline = deadline;
        self.stage = Stage::Options;
        match self.connect(common) {
            Ok(stream) => self.stream = Some(stream),
            Err(error) => return self.fail(error.to_string()),
        }
        let url = self.url.clone();
        self.request("OPTIONS", &url, "");
    }

    fn connect(&self, common: &Common) -> std::io::Result<TcpStream> {
        let (host, port) = rtsp::authority(&self.url).ok_or(ErrorKind::InvalidInput)?;
        let address = (host.as_str(), port).to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&address, CONNECT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        common.control.add(&stream, Socket::Connection.label(self.number))?;
        Ok(stream)
    }

    fn send(&mut self, octets: &[u8]) {
        let sent = match &mut self.stream {
            Some(stream) => stream.write_all(octets),
            None => return,
        };
        if let Err(error) = sent {
            self.fail(format!("send: {error}"));
        }
    }

    fn request(&mut self, method: &str, url: &str, headers: &str) {
        self.sequence += 1;
        self.asked_at = wall_clock();
        let session = if self.id.is_empty() { String::new() } else { format!("Session: {}\r\n", self.id) };
        let text = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\nUser-Agent: flowsteer-load\r\n{session}{headers}\r\n", self.sequence);
        self.send(text.as_bytes());
    }

    /// Takes what a socket brought.
    pub fn ready(&mut self, socket: Socket, common: &mut Common) {
        match socket {
            Socket::Connection => self.read(common),
            Socket::Rtp(place) => {
                let Common { inbox, totals, moved, .. } = common;
                if let Some((rtp, meter, replaces)) = self.tracks.get_mut(place.track).and_then(|track| track.receiver(place.branch)) {
                    let totals = if replaces { moved } else { totals };
                    inbox.drain(rtp, |head, len, at| meter.take(head, len, at, totals));
                }
            }
            Socket::Rtcp(place) => {
                if let Some(rtcp) = self.tracks.get(place.track).and_then(|track| track.reports(place.branch)) {
                    while rtcp.recv(&mut common.scratch).is_ok() {
                        self.rtcp_packets += 1;
                    }
                }
            }
        }
    }

    fn read(&mut self, common: &mut Common) {
        for _ in 0..ROUNDS {
            let Some(stream) = &mut self.stream else { return };
            let len = match stream.read(&mut common.scratch) {
                Ok(0) => return self.fail("closed by the server"),
                Ok(len) => len,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
                Err(error) => return self.fail(error.to_string()),
            };
            let at = wall_clock();
            let mut octets = std::mem::take(&mut self.incoming);
            octets.extend_from_slice(&common.scratch[..len]);
            let mut taken = 0;
            while self.stream.is_some() {
                match rtsp::piece(&octets[taken..]) {
                    Piece::Incomplete => break,
                    Piece::Blank(len) => taken += len,
                    Piece::Packet { channel, octets, len } => {
                        taken += len;
                        self.interleaved(u16::from(channel), octets, at, &mut common.totals);
                    }
                    Piece::Answer { answer, len } => {
                        taken += len;
                        self.answered(&answer, at, common);
                    }
                    Piece::Request { sequence, len } => {
                        taken += len;
                        let sequence = sequence.unwrap_or_default();
                        self.send(format!("RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n\r\n").as_bytes());
                    }
                }
            }
            octets.drain(..taken);
            if octets.len() > MAX_MESSAGE {
                return self.fail("a message too long");
            }
            if self.stream.is_some() {
                self.incoming = octets;
            }
        }
    }

    fn interleaved(&mut self, channel: u16, packet: &[u8], at: Stamp, totals: &mut Totals) {
        for track in &mut self.tracks {
            if track.channels.0 == channel {
                return track.meter.take(packet, packet.len(), at, totals);
            }
            if track.channels.1 == channel {
                self.rtcp_packets += 1;
                return;
            }
        }
    }

    fn answered(&mut self, answer: &Answer<'_>, at: Stamp, common: &mut Common) {
        if answer.header("CSeq").and_then(|number| number.parse().ok()) != Some(self.sequence) {
            return;
        }
        if answer.status != 200 && !matches!(self.stage, Stage::Options | Stage::Playing | Stage::Teardown) {
            return self.fail(format!("status {}", answer.status));
        }
        match self.stage {
            Stage::Options => {
                self.has_get_parameter = answer.header("Public").is_some_and(|methods| methods.contains("GET_PARAMETER"));
                self.stage = Stage::Describe;
                self.described_at = Some(at);
                let url = self.url.clone();
                self.request("DESCRIBE", &url, "Accept: application/sdp\r\n");
            }
            Stage::Describe => {
                let base = answer.header("Content-Base").or_else(|| answer.header("Content-Location")).unwrap_or(&self.url);
                self.base = rtsp::resolve(&self.url, base);
                let (aggregate, offered) = rtsp::describe(answer.body, &self.base, common.video_only);
                if offered.is_empty() {
                    return self.fail("no track to play in the description");
                }
                self.aggregate = aggregate;
                self.tracks = offered.into_iter().take(MAX_TRACKS).enumerate().map(|(index, offered)| Track::new(index, offered)).collect();
                self.stage = Stage::Setup;
                self.set_up(common);
            }
            Stage::Setup => {
                if let Some(session) = answer.header("Session") {
                    let (id, parameters) = session.split_once(';').unwrap_or((session, ""));
                    self.id = id.trim().to_owned();
                    let timeout = parameters.split_once("timeout=").and_then(|(_, seconds)| seconds.trim().parse::<Stamp>().ok());
                    self.keep_alive = timeout.map_or(KEEP_ALIVE, |seconds| (seconds * SECOND / 2).clamp(SECOND, KEEP_ALIVE));
                }
                let peer = self.stream.as_ref().and_then(|stream| stream.peer_addr().ok()).map(|peer| peer.ip());
                if let (Some(transport), Some(peer)) = (answer.header("Transport"), peer) {
                    self.tracks[self.set_up].agreed(transport, peer);
                }
                let home = answer.header("Home-Address").and_then(|value| value.split(';').next());
                self.tracks[self.set_up].home = home.map(|home| home.trim().to_owned());
                self.set_up += 1;
                if self.set_up < self.tracks.len() { self.set_up(common) } else { self.play(common) }
            }
            Stage::Play => {
                self.announced(answer.header("RTP-Info").unwrap_or_default());
                self.stage = Stage::Playing;
                self.playing_at = Some(at);
                self.reported_at = at;
            }
            Stage::Teardown => {
                self.stage = Stage::Done;
                self.close();
            }
            Stage::Waiting | Stage::Playing | Stage::Done | Stage::Failed => {}
        }
    }

    fn set_up(&mut self, common: &mut Common) {
        let index = self.set_up;
        let transport = if common.tcp {
            format!("RTP/AVP/TCP;unicast;interleaved={}-{}", 2 * index, 2 * index + 1)
        } else {
            match self.open(index, common) {
                Ok(port) => format!("RTP/AVP;unicast;client_port={port}-{}", port + 1),
                Err(error) => return self.fail(format!("ports: {error}")),
            }
        };
        if index == 0 {
            self.setup_at = Some(wall_clock());
        }
        let url = self.tracks[index].url.clone();
        self.request("SETUP", &url, &format!("Transport: {transport}\r\n"));
    }

    fn open(&mut self, index: usize, common: &mut Common) -> std::io::Result<u16> {
        let (rtp, rtcp) = self.pair(Place { track: index, branch: 0 }, common)?;
        let port = rtp.local_addr()?.port();
        self.tracks[index].sockets = Some((rtp, rtcp));
        Ok(port)
    }

    /// Sockets that are waited for, where a track is to arrive.
    fn pair(&self, place: Place, common: &mut Common) -> std::io::Result<(UdpSocket, UdpSocket)> {
        let address = local_address(self.stream.as_ref().ok_or(ErrorKind::NotConnected)?)?;
        let (rtp, rtcp) = common.ports.pair(address, common.receive_buffer)?;
        common.media.add(&rtp, Socket::Rtp(place).label(self.number))?;
        common.media.add(&rtcp, Socket::Rtcp(place).label(self.number))?;
        Ok((rtp, rtcp))
    }

    /// One more place for a track, which an update is to name; its RTP address.
    pub fn branch(&mut self, index: usize, replaces: bool, common: &mut Common) -> std::io::Result<SocketAddr> {
        let branch = 1 + self.tracks.get(index).ok_or(ErrorKind::NotFound)?.further.len();
        let sockets = self.pair(Place { track: index, branch }, common)?;
        let address = sockets.0.local_addr()?;
        let track = &mut self.tracks[index];
        let meter = Meter::new(track.meter.clock, track.meter.payload_type);
        track.further.push(Branch { meter, replaces, asked_at: wall_clock(), sockets });
        Ok(address)
    }

    fn play(&mut self, common: &mut Common) {
        // From here on a connection may carry media: it is drained with the rest of them.
        if common.tcp
            && let Some(stream) = &self.stream
        {
            common.control.remove(stream);
            if let Err(error) = common.media.add(stream, Socket::Connection.label(self.number)) {
                return self.fail(error.to_string());
            }
        }
        self.stage = Stage::Play;
        self.play_at = Some(wall_clock());
        let range = common.range.as_ref().map_or(String::new(), |range| format!("Range: {range}\r\n"));
        let url = self.aggregate.clone();
        self.request("PLAY", &url, &range);
    }

    fn announced(&mut self, info: &str) {
        for (index, entry) in info.split(',').enumerate() {
            let field = |name: &str| entry.split(';').find_map(|part| part.trim().strip_prefix(name));
            let Some(number) = field("seq=").and_then(|number| number.parse().ok()) else { continue };
            let url = field("url=").unwrap_or_default();
            let named = self.tracks.iter().position(|track| !url.is_empty() && (track.url.ends_with(url) || url.ends_with(&track.url)));
            if let Some(track) = self.tracks.get_mut(named.unwrap_or(index)) {
                track.announced = Some(number);
            }
        }
    }

    pub fn tear_down(&mut self) {
        if self.stage == Stage::Playing {
            self.stage = Stage::Teardown;
            let url = self.aggregate.clone();
            self.request("TEARDOWN", &url, "");
        }
    }

    /// What is due: reports, keep-alives, giving up.
    pub fn tick(&mut self, now: Stamp) {
        if self.is_starting() && now > self.deadline {
            return self.fail("timeout");
        }
        if self.stage != Stage::Playing {
            return;
        }
        if now - self.reported_at > REPORT_EVERY {
            self.reported_at = now;
            for index in 0..self.tracks.len() {
                self.report(index);
            }
        }
        if now - self.asked_at > self.keep_alive {
            let url = self.aggregate.clone();
            self.request(if self.has_get_parameter { "GET_PARAMETER" } else { "OPTIONS" }, &url, "");
        }
    }

    fn report(&mut self, index: usize) {
        let track = &self.tracks[index];
        let receiver = (0x464c_0000 + (self.number * 8 + index) as u32).to_be_bytes();
        let mut packet = Vec::with_capacity(64);
        match track.meter.reported() {
            Some((source, lost, highest)) => {
                packet.extend_from_slice(&[0x81, 201, 0, 7]);
                packet.extend_from_slice(&receiver);
                packet.extend_from_slice(&source.to_be_bytes());
                packet.extend_from_slice(&(lost.min(0x7f_ffff) as u32).to_be_bytes());
                packet.extend_from_slice(&highest.to_be_bytes());
                packet.extend_from_slice(&[0; 12]);
            }
            None => {
                packet.extend_from_slice(&[0x80, 201, 0, 1]);
                packet.extend_from_slice(&receiver);
            }
        }
        packet.extend_from_slice(&[0x81, 202, 0, 3]);
        packet.extend_from_slice(&receiver);
        packet.extend_from_slice(&[1, 4, b'l', b'o', b'a', b'd', 0, 0]);
        match (&track.sockets, track.reports_to) {
            (Some((_, rtcp)), Some(address)) => {
                let _ = rtcp.send_to(&packet, address);
            }
            (Some(_), None) => {}
            (None, _) => {
                let mut framed = vec![b'$', track.channels.1 as u8, 0, packet.len() as u8];
                framed.extend_from_slice(&packet);
                self.send(&framed);
            }
        }
    }
}

impl Track {
    fn new(index: usize, offered: Offered) -> Self {
        let index = index as u16;
        Self {
            kind: offered.kind,
            meter: Meter::new(offered.clock, offered.payload_type),
            announced: None,
            home: None,
            further: Vec::new(),
            url: offered.url,
            sockets: None,
            channels: (2 * index, 2 * index + 1),
            reports_to: None,
        }
    }

    /// Socket and meter of a place, and whether it took the flow over.
    fn receiver(&mut self, branch: usize) -> Option<(&UdpSocket, &mut Meter, bool)> {
        match branch.checked_sub(1) {
            None => Some((&self.sockets.as_ref()?.0, &mut self.meter, false)),
            Some(at) => self.further.get_mut(at).map(|branch| (&branch.sockets.0, &mut branch.meter, branch.replaces)),
        }
    }

    fn reports(&self, branch: usize) -> Option<&UdpSocket> {
        match branch.checked_sub(1) {
            None => Some(&self.sockets.as_ref()?.1),
            Some(at) => self.further.get(at).map(|branch| &branch.sockets.1),
        }
    }

    /// The meters of all places, the first one's first.
    pub fn meters(&self) -> impl Iterator<Item = &Meter> {
        std::iter::once(&self.meter).chain(self.further.iter().map(|branch| &branch.meter))
    }

    /// … of those that packets are to come to.
    pub fn current(&self) -> impl Iterator<Item = &Meter> {
        let left = self.further.iter().rposition(|branch| branch.replaces).map_or(0, |at| at + 1);
        self.meters().skip(left)
    }

    fn agreed(&mut self, transport: &str, peer: IpAddr) {
        if let Some(channels) = rtsp::pair(transport, "interleaved") {
            self.channels = channels;
        }
        let address = rtsp::source(transport).unwrap_or(peer);
        self.reports_to = rtsp::pair(transport, "server_port").map(|(_, rtcp)| SocketAddr::new(address, rtcp));
    }
}
