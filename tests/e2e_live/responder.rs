//! A camera of our own, which does what cameras do and servers do not: it asks for a password, dies, and sends its sound late.
//!
//! RTSP/1.0 over one interleaved connection at a time (RFC 2326 section 10.12), Digest (RFC 2069), H.264 and G.711.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};

use crate::support::namespaces::Host;

/// Where it is.
pub const PORT: u16 = 7600;
/// Who may ask.
pub const USER: &str = "viewer";
pub const PASSWORD: &str = "s3cret";
const REALM: &str = "door";
const NONCE: &str = "0a4f113b";

/// The parameter sets of a picture that x264 made.
const SETS: &str = "Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==";
/// 25 pictures and 50 frames of sound a second.
pub const PICTURE: Duration = Duration::from_millis(40);
pub const FRAME: Duration = Duration::from_millis(20);
/// Pictures of a group.
const GROUP: u32 = 25;
/// What was sampled so much earlier than the first picture is the first sound …
pub const SOUND_BEFORE: u32 = 20;
/// … and it is sent so much later than it could be.
const SOUND_LATE: Duration = Duration::from_millis(150);
/// The timestamps at the camera's beginning: both are about to wrap.
const BASES: [u32; 2] = [u32::MAX - 70_000, u32::MAX - 900];
/// Its clock says 2026; it need not be right.
const NTP_SECONDS: u64 = 3_990_000_000;

/// A number that may stand in a NAL unit: it has no zeros.
pub fn encoded(number: u32) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| 0x80 | (number >> shift) as u8)
}

/// What it was asked: method, URL, and what `Authorization` said.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub method: String,
    pub url: String,
    pub authorization: Option<String>,
    pub status: u16,
}

/// Runs until dropped.
pub struct Responder {
    asked: Arc<Mutex<Vec<Asked>>>,
    dying: Arc<AtomicBool>,
    dead: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Responder {
    /// One that listens on a host.
    pub fn start(host: &Host) -> Self {
        let listener = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))).expect("a port that nobody else has");
        listener.set_nonblocking(true).expect("a socket has the option");
        let responder = Self { asked: Arc::default(), dying: Arc::default(), dead: Arc::default(), ended: Arc::default() };
        let (asked, dying, ended) = (Arc::clone(&responder.asked), Arc::clone(&responder.dying), Arc::clone(&responder.ended));
        let dead = Arc::clone(&responder.dead);
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                if dead.load(Ordering::Relaxed) {
                    continue;
                }
                let (asked, dying, ended) = (Arc::clone(&asked), Arc::clone(&dying), Arc::clone(&ended));
                thread::spawn(move || {
                    let _ = converse(stream, &asked, &|| dying.load(Ordering::Relaxed) || ended.load(Ordering::Relaxed));
                    dying.store(false, Ordering::Relaxed);
                });
            }
        });
        responder
    }

    /// What it was asked so far with that method.
    pub fn asked(&self, method: &str) -> Vec<Asked> {
        self.asked.lock().expect("pushing does not panic").iter().filter(|asked| asked.method == method).cloned().collect()
    }

    /// Everything that it was asked.
    pub fn all_asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("pushing does not panic").clone()
    }

    /// Whoever is played to is cut off, and nobody else is answered until it is back.
    pub fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.dying.store(true, Ordering::Relaxed);
    }

    /// It answers again.
    pub fn come_back(&self) {
        self.dead.store(false, Ordering::Relaxed);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Whether `Authorization` proves the password for a request.
fn is_proven(authorization: Option<&str>, method: &str) -> bool {
    let Some(fields) = authorization.and_then(|value| value.strip_prefix("Digest ")) else { return false };
    let field = |name: &str| {
        let value = fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        value.map_or("", |value| value.trim_matches('"'))
    };
    let expected = hex(&format!("{}:{NONCE}:{}", hex(&format!("{USER}:{REALM}:{PASSWORD}")), hex(&format!("{method}:{}", field("uri")))));
    field("username") == USER && field("response") == expected
}

fn converse(stream: TcpStream, asked: &Mutex<Vec<Asked>>, is_over: &dyn Fn() -> bool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let header = |name: &str| {
            let value = |line: &String| Some(line.split_once(": ").filter(|(header, _)| header.eq_ignore_ascii_case(name))?.1.to_owned());
            lines.iter().find_map(value)
        };
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
        let (method, url) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let authorization = header("Authorization");
        let is_open = !url.contains("locked") || is_proven(authorization.as_deref(), &method);
        let (status, headers, body) = match method.as_str() {
            _ if !is_open => (401, format!("WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{NONCE}\"\r\n"), String::new()),
            "DESCRIBE" => (200, format!("Content-Base: {url}/\r\nContent-Type: application/sdp\r\n"), description()),
            "SETUP" => {
                let channel = if url.ends_with("sound") { 2 } else { 0 };
                (200, format!("Transport: RTP/AVP/TCP;unicast;interleaved={channel}-{}\r\nSession: 1\r\n", channel + 1), String::new())
            }
            "OPTIONS" => (200, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n".to_owned(), String::new()),
            _ => (200, "Session: 1\r\n".to_owned(), String::new()),
        };
        let cseq = header("CSeq").unwrap_or_default();
        let said = if status == 200 { "OK" } else { "Unauthorized" };
        write!(writer, "RTSP/1.0 {status} {said}\r\nCSeq: {cseq}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())?;
        let is_play = method == "PLAY" && status == 200;
        asked.lock().expect("pushing does not panic").push(Asked { at: Instant::now(), method, url, authorization, status });
        if is_play {
            return play(&mut writer, is_over);
        }
    }
}

fn description() -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=door\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n\
         m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1;profile-level-id=42C01E;sprop-parameter-sets={SETS}\r\na=control:pictures\r\n\
         m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:sound\r\n"
    )
}

/// Sends in real time, until the connection is cut or it dies. What else it is asked is answered by nothing.
fn play(writer: &mut TcpStream, is_over: &dyn Fn() -> bool) -> io::Result<()> {
    let mut frame = |channel: u8, octets: &[u8]| {
        let length = u16::try_from(octets.len()).expect("a small packet").to_be_bytes();
        writer.write_all(&[&[b'$', channel, length[0], length[1]], octets].concat())
    };
    let began = Instant::now();
    let (mut picture, mut sound) = (0_u32, 0_u32);
    // It was sampled before the pictures that come with it. Told before the first picture, it need not be waited for.
    let sampled = |sound: u32| u128::from(NTP_SECONDS) * 1_000_000_000 + (FRAME * sound).as_nanos() - (FRAME * SOUND_BEFORE).as_nanos();
    frame(3, &report_at(sampled(0), BASES[1], 9))?;
    while !is_over() {
        while PICTURE * picture <= began.elapsed() {
            let timestamp = BASES[0].wrapping_add(picture.wrapping_mul(3600));
            let nal = if picture % GROUP == 0 { 0x65 } else { 0x41 };
            let slice = [&[nal, 0x88, 0x84][..], &[0x55; 200], &encoded(picture)].concat();
            frame(0, &rtp(0x80 | 96, picture as u16, timestamp, 7, &slice))?;
            if picture % GROUP == 0 {
                frame(1, &report(PICTURE * picture, timestamp, 7))?;
            }
            picture += 1;
        }
        while FRAME * sound + SOUND_LATE <= began.elapsed() {
            let timestamp = BASES[1].wrapping_add(sound.wrapping_mul(160));
            frame(2, &rtp(0, sound as u16, timestamp, 9, &[&encoded(sound)[..], &[0xd5; 156]].concat()))?;
            if sound % 50 == 0 {
                frame(3, &report_at(sampled(sound), timestamp, 9))?;
            }
            sound += 1;
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn rtp(type_and_marker: u8, sequence: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    [&[0x80, type_and_marker][..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &ssrc.to_be_bytes(), payload].concat()
}

fn report(since_beginning: Duration, timestamp: u32, ssrc: u32) -> Vec<u8> {
    report_at(u128::from(NTP_SECONDS) * 1_000_000_000 + since_beginning.as_nanos(), timestamp, ssrc)
}

/// A sender report, of nanoseconds of the camera's clock (RFC 3550 section 6.4.1).
fn report_at(nanos: u128, timestamp: u32, ssrc: u32) -> Vec<u8> {
    let ntp = u64::try_from((nanos << 32) / 1_000_000_000).expect("seconds of this era");
    [&[0x80, 200, 0, 6][..], &ssrc.to_be_bytes(), &ntp.to_be_bytes(), &timestamp.to_be_bytes(), &[0; 8]].concat()
}
