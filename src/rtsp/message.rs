//! RTSP messages (RFC 2326 sections 4 to 7) as values. Framing is `decoder`'s; what single headers say is `header`'s.
//!
//! URIs are kept as they came: players compare `RTP-Info` with what they sent, octet by octet.

use std::fmt::{self, Write as _};

/// Bounds of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Octets from the request line to the empty line.
    pub header: usize,
    /// Octets of body.
    pub body: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { header: 16 * 1024, body: 64 * 1024 }
    }
}

/// A request.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// As it came; methods are case-sensitive.
    pub method: String,
    /// As it came.
    pub uri: String,
    /// As it came: `RTSP/1.0`.
    pub version: String,
    /// Names as they came, values without surrounding blanks.
    pub(crate) headers: Vec<(String, String)>,
    /// Without interpretation.
    pub body: Vec<u8>,
}

impl Request {
    /// The octets that it keeps: those of its target, its headers and its body.
    pub fn octets(&self) -> usize {
        self.uri.len() + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + self.body.len()
    }

    /// The value of the first header of that name, case ignored.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The values of all headers of that name.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `CSeq`, as it came; `None` where it is missing or no number.
    pub fn sequence(&self) -> Option<&str> {
        self.header("CSeq").filter(|text| (1..=20).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit()))
    }
}

impl fmt::Debug for Request {
    /// Without what may be secret: the URI's query and the headers' values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.uri.split('?').next().unwrap_or_default();
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "{} {uri} {} {names:?} and {} octets", self.method, self.version, self.body.len())
    }
}

/// A status code (RFC 2326 section 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

impl Status {
    /// Success.
    pub const OK: Self = Self(200);

    /// The standard's phrase.
    pub const fn phrase(self) -> &'static str {
        match self.0 {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            408 => "Request Timeout",
            413 => "Request Entity Too Large",
            415 => "Unsupported Media Type",
            453 => "Not Enough Bandwidth",
            454 => "Session Not Found",
            455 => "Method Not Valid in This State",
            457 => "Invalid Range",
            459 => "Aggregate Operation Not Allowed",
            460 => "Only Aggregate Operation Allowed",
            461 => "Unsupported Transport",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            505 => "RTSP Version Not Supported",
            551 => "Option not supported",
            _ => "Internal Server Error",
        }
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: Status,
    /// The phrase, if it is to say more than the standard's.
    pub phrase: Option<String>,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Response {
    /// A response without headers and body.
    pub const fn new(status: Status) -> Self {
        Self { status, phrase: None, headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets the body and what it is.
    #[must_use]
    pub fn body(self, kind: &str, body: Vec<u8>) -> Self {
        let mut this = self.with("Content-Type", kind);
        this.body = body;
        this
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// As octets, with the request's sequence number.
    pub fn emit(&self, cseq: Option<&str>) -> Vec<u8> {
        let phrase = self.phrase.as_deref().unwrap_or(self.status.phrase());
        let mut text = format!("RTSP/1.0 {} {}\r\n", self.status.0, clean(phrase));
        if let Some(cseq) = cseq {
            let _ = write!(text, "CSeq: {}\r\n", clean(cseq));
        }
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {}\r\n", clean(value));
        }
        if !self.body.is_empty() {
            let _ = write!(text, "Content-Length: {}\r\n", self.body.len());
        }
        text.push_str("\r\n");
        let mut octets = text.into_bytes();
        octets.extend_from_slice(&self.body);
        octets
    }
}

/// Without what would end the line.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_cannot_be_split_by_what_it_quotes() {
        let mut response = Response::new(Status(404)).with("Session", "a\r\nInjected: b");
        response.phrase = Some("no\r\n\r\nsuch".into());
        let text = String::from_utf8(response.emit(Some("1\n2"))).expect("text");
        assert_eq!(text, "RTSP/1.0 404 no    such\r\nCSeq: 1 2\r\nSession: a  Injected: b\r\n\r\n");
    }

    #[test]
    fn a_request_does_not_show_its_secrets() {
        let request = Request {
            method: "SETUP".into(),
            uri: "rtsp://h/home/fd00::1?key=secret".into(),
            version: "RTSP/1.0".into(),
            headers: vec![("Session".into(), "secret".into()), ("Authorization".into(), "secret".into())],
            body: b"secret".to_vec(),
        };
        assert!(!format!("{request:?}").contains("secret"));
    }

    #[test]
    fn a_sequence_number_is_a_number() {
        let of = |value: &str| {
            let headers = vec![("cseq".into(), value.into())];
            let request = Request { method: String::new(), uri: String::new(), version: String::new(), headers, body: Vec::new() };
            request.sequence().map(str::to_owned)
        };
        assert_eq!(of("007"), Some("007".into()));
        for wrong in ["", "-1", "1 ", "0x1", "123456789012345678901"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
