//! What the generator says and hears over RTSP: requests, answers and interleaved packets in a connection's octets, the few lines
//! of SDP that it needs, transports. Pure; it knows nothing of a particular server.

/// The most that is kept of a connection before a whole message is there.
pub const MAX_MESSAGE: usize = 128 << 10;

/// One thing at the start of what a connection has brought.
pub enum Piece<'a> {
    /// The beginning of something: wait for more.
    Incomplete,
    /// An interleaved packet, and all that it takes.
    Packet { channel: u8, octets: &'a [u8], len: usize },
    /// An answer.
    Answer { answer: Answer<'a>, len: usize },
    /// A request of the server's, with its number.
    Request { sequence: Option<u32>, len: usize },
    /// Octets to be skipped.
    Blank(usize),
}

/// An answer's head and body.
pub struct Answer<'a> {
    pub status: u16,
    head: &'a str,
    pub body: &'a str,
}

impl<'a> Answer<'a> {
    pub fn header(&self, name: &str) -> Option<&'a str> {
        header(self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The first piece of what came in.
pub fn piece(octets: &[u8]) -> Piece<'_> {
    match octets {
        [] => Piece::Incomplete,
        [b'$', rest @ ..] => match rest {
            [channel, high, low, body @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                body.get(..len).map_or(Piece::Incomplete, |packet| Piece::Packet { channel: *channel, octets: packet, len: 4 + len })
            }
            _ => Piece::Incomplete,
        },
        [b'\r' | b'\n', ..] => Piece::Blank(octets.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count()),
        _ => message(octets),
    }
}

fn message(octets: &[u8]) -> Piece<'_> {
    let Some(end) = octets.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else { return Piece::Incomplete };
    let Ok(head) = std::str::from_utf8(&octets[..end]) else { return Piece::Blank(end) };
    let body_len = header(head, "Content-Length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let Some(body) = octets.get(end..).and_then(|rest| rest.get(..body_len)) else { return Piece::Incomplete };
    let len = end + body_len;
    match head.strip_prefix("RTSP/1.0 ").and_then(|rest| rest.get(..3)?.parse().ok()) {
        Some(status) => Piece::Answer { answer: Answer { status, head, body: std::str::from_utf8(body).unwrap_or_default() }, len },
        None => Piece::Request { sequence: header(head, "CSeq").and_then(|number| number.parse().ok()), len },
    }
}

/// Status and length of an HTTP answer, once it is there as a whole.
pub fn http_answer(octets: &[u8]) -> Option<(u16, usize)> {
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&octets[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let len = end + header(head, "Content-Length").map_or(Some(0), |len| len.parse().ok())?;
    (len <= octets.len()).then_some((status, len))
}

/// Host and port of an `rtsp://` URL.
pub fn authority(url: &str) -> Option<(String, u16)> {
    let rest = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("rtsp://")).and_then(|_| url.get(7..))?;
    let authority = rest.split(['/', '?']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    Some((host.to_owned(), port.map_or(Some(554), |port| port.parse().ok())?))
}

fn is_absolute(url: &str) -> bool {
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rtsp://"))
}

/// A control attribute beside its base.
pub fn resolve(base: &str, control: &str) -> String {
    if control.is_empty() || control == "*" {
        return base.to_owned();
    }
    if is_absolute(control) {
        return control.to_owned();
    }
    if control.starts_with('/') {
        let from = base.find("://").map_or(0, |at| at + 3);
        let end = base[from..].find(['/', '?']).map_or(base.len(), |at| from + at);
        return format!("{}{control}", &base[..end]);
    }
    let slash = if base.ends_with('/') { "" } else { "/" };
    format!("{base}{slash}{control}")
}

/// Picture or sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Video,
    Audio,
}

/// A track to set up.
#[derive(Clone, Debug)]
pub struct Offered {
    pub kind: Kind,
    pub url: String,
    pub payload_type: u8,
    pub clock: u32,
}

/// The aggregate URL, and the first video and the first audio track of a description.
pub fn describe(sdp: &str, base: &str, video_only: bool) -> (String, Vec<Offered>) {
    let mut session_control = "";
    let mut tracks: Vec<(Offered, &str)> = Vec::new();
    // Whether the section that is read now is the session's, one that is wanted, or another.
    let (mut in_media, mut wanted) = (false, false);
    for line in sdp.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            in_media = true;
            let mut words = media.split_whitespace();
            let kind = match words.next() {
                Some("video") => Some(Kind::Video),
                Some("audio") if !video_only => Some(Kind::Audio),
                _ => None,
            };
            let (profile, payload_type) = (words.nth(1).unwrap_or_default(), words.next().and_then(|number| number.parse().ok()));
            wanted = false;
            if let (Some(kind), Some(payload_type)) = (kind, payload_type)
                && profile.starts_with("RTP/AVP")
                && !tracks.iter().any(|(track, _)| track.kind == kind)
            {
                let clock = if kind == Kind::Video { 90_000 } else { 8_000 };
                tracks.push((Offered { kind, url: String::new(), payload_type, clock }, ""));
                wanted = true;
            }
        } else if let Some(control) = line.strip_prefix("a=control:") {
            match tracks.last_mut() {
                _ if !in_media => session_control = control.trim(),
                Some((_, track_control)) if wanted => *track_control = control.trim(),
                _ => {}
            }
        } else if let Some(map) = line.strip_prefix("a=rtpmap:")
            && wanted
            && let Some((track, _)) = tracks.last_mut()
            && let Some((number, format)) = map.split_once(' ')
            && number.parse() == Ok(track.payload_type)
            && let Some(clock) = format.split('/').nth(1).and_then(|clock| clock.trim().parse().ok()).filter(|clock| *clock > 0)
        {
            track.clock = clock;
        }
    }
    let base = if is_absolute(session_control) { session_control } else { base };
    let aggregate = resolve(base, session_control);
    let tracks = tracks.into_iter().map(|(track, control)| Offered { url: resolve(base, control), ..track }).collect();
    (aggregate, tracks)
}

/// A pair of numbers, `name=a-b` or `name=a`, in a Transport header.
pub fn pair(transport: &str, name: &str) -> Option<(u16, u16)> {
    let value = transport.split([';', ',']).find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))?;
    let (first, second) = value.split_once('-').map_or((value, None), |(first, second)| (first, Some(second)));
    let first: u16 = first.trim().parse().ok()?;
    Some((first, second.and_then(|second| second.trim().parse().ok()).unwrap_or(first.saturating_add(1))))
}

/// The address that media come from, where a Transport header names it.
pub fn source(transport: &str) -> Option<std::net::IpAddr> {
    transport.split([';', ',']).find_map(|part| part.trim().strip_prefix("source=")?.trim_matches(['[', ']']).parse().ok())
}
