//! Framing: the octets of a connection become requests and interleaved packets, whatever pieces they arrive in.
//!
//! Incomplete (`Ok(None)`) is told apart from invalid; header block and body are capped. Lines may end in LF alone, empty
//! lines before a message are skipped, folded header lines are unfolded. Responses to us are read and dropped. Read
//! RFC 2326 sections 4 and 10.12 first.
//!
//! Own code and not the crate `rtsp-types`, which waits without bound for a message that does not end, and hands out
//! request URLs rewritten by a URL library: `..` is resolved before it can be refused, and the URL is not the one that the
//! player will compare with.

use bytes::{Buf, BytesMut};

use crate::rtsp::message::{MessageLimits, Request};

/// What was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A request.
    Request(Request),
    /// An interleaved packet.
    Packet {
        /// Its channel.
        channel: u8,
        /// Its octets.
        octets: Vec<u8>,
    },
}

/// Why what comes cannot be understood any more; the connection is of no use after it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FramingError {
    /// The first line is neither a request's nor a response's.
    #[error("the first line is no RTSP request")]
    StartLine,
    /// A header line has no name.
    #[error("a header line is malformed")]
    Header,
    /// `Content-Length` is no length, or two different ones.
    #[error("Content-Length is malformed")]
    ContentLength,
    /// The header block is larger than it may be.
    #[error("the header block is larger than {0} octets")]
    HeaderTooLarge(usize),
    /// The body is larger than it may be.
    #[error("the body is larger than {limit} octets")]
    BodyTooLarge {
        /// Octets at most.
        limit: usize,
        /// `CSeq` of its request.
        sequence: Option<String>,
    },
}

/// A message whose header block is read, and the length of its body. `None` for a response.
type Head = (Option<Request>, usize);

/// Collects octets and gives messages. After an error it gives that error for ever.
#[derive(Debug)]
pub struct Decoder {
    limits: MessageLimits,
    buffer: BytesMut,
    /// Octets of `buffer` in which no header block ends.
    searched: usize,
    head: Option<Head>,
    failed: Option<FramingError>,
}

impl Decoder {
    /// An empty one.
    pub fn new(limits: MessageLimits) -> Self {
        Self { limits, buffer: BytesMut::new(), searched: 0, head: None, failed: None }
    }

    /// Whether a message has begun that is not complete.
    pub fn is_partial(&self) -> bool {
        self.head.is_some() || !self.buffer.is_empty()
    }

    /// Octets that were taken in and are no item yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Takes octets in. Call [`Decoder::next_item`] until it gives nothing before more are taken in.
    pub fn push(&mut self, octets: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(octets);
        }
    }

    /// The next message; `None` until more octets come.
    ///
    /// # Errors
    /// What comes cannot be understood.
    pub fn next_item(&mut self) -> Result<Option<Item>, FramingError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let outcome = self.advance();
        if let Err(error) = &outcome {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        }
        outcome
    }

    fn advance(&mut self) -> Result<Option<Item>, FramingError> {
        loop {
            if self.head.is_none() {
                let blank = self.buffer.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
                if blank > 0 {
                    self.buffer.advance(blank);
                    self.searched = 0;
                }
                match self.buffer.first() {
                    None => return Ok(None),
                    Some(b'$') => return Ok(self.packet()),
                    Some(_) => {}
                }
                let Some(end) = self.header_end()? else { return Ok(None) };
                let block = self.buffer.split_to(end);
                self.searched = 0;
                self.head = Some(parse_head(&block, self.limits.body)?);
            }
            if self.head.as_ref().is_some_and(|(_, length)| self.buffer.len() < *length) {
                return Ok(None);
            }
            let Some((request, length)) = self.head.take() else { return Ok(None) };
            let body = self.buffer.split_to(length);
            if let Some(mut request) = request {
                request.body = body.to_vec();
                return Ok(Some(Item::Request(request)));
            }
        }
    }

    /// `$`, channel, length in two octets, packet.
    fn packet(&mut self) -> Option<Item> {
        let (&channel, length) = (self.buffer.get(1)?, self.buffer.get(2..4)?);
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let octets = self.buffer.get(4..4 + length)?.to_vec();
        self.buffer.advance(4 + length);
        Some(Item::Packet { channel, octets })
    }

    /// Where the header block ends, its empty line included.
    fn header_end(&mut self) -> Result<Option<usize>, FramingError> {
        let window = &self.buffer[..self.buffer.len().min(self.limits.header)];
        let mut at = self.searched.saturating_sub(3);
        while let Some(found) = window.get(at..).and_then(|rest| rest.iter().position(|octet| *octet == b'\n')) {
            let after = at + found + 1;
            match window.get(after..) {
                Some([b'\n', ..]) => return Ok(Some(after + 1)),
                Some([b'\r', b'\n', ..]) => return Ok(Some(after + 2)),
                _ => at = after,
            }
        }
        self.searched = window.len();
        if window.len() >= self.limits.header {
            return Err(FramingError::HeaderTooLarge(self.limits.header));
        }
        Ok(None)
    }
}

fn parse_head(block: &[u8], body_limit: usize) -> Result<Head, FramingError> {
    let mut lines = block.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start = lines.next().and_then(|line| std::str::from_utf8(line).ok()).ok_or(FramingError::StartLine)?;
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let text = String::from_utf8_lossy(line);
        if text.starts_with([' ', '\t']) {
            let (_, value) = headers.last_mut().ok_or(FramingError::Header)?;
            value.push(' ');
            value.push_str(text.trim());
            continue;
        }
        let (name, value) = text.split_once(':').ok_or(FramingError::Header)?;
        let name = name.trim_end();
        if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(FramingError::Header);
        }
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = content_length(&headers)?;
    let request = if start.starts_with("RTSP/") {
        None
    } else {
        let (method, rest) = start.split_once(' ').ok_or(FramingError::StartLine)?;
        let (url, version) = rest.trim_end().rsplit_once(' ').ok_or(FramingError::StartLine)?;
        let url = url.trim();
        let is_token = !method.is_empty() && method.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet));
        if !is_token || url.is_empty() || url.chars().any(char::is_control) || !version.starts_with("RTSP/") {
            return Err(FramingError::StartLine);
        }
        Some(Request { method: method.to_owned(), uri: url.to_owned(), version: version.to_owned(), headers, body: Vec::new() })
    };
    if length > body_limit {
        let sequence = request.as_ref().and_then(Request::sequence).map(str::to_owned);
        return Err(FramingError::BodyTooLarge { limit: body_limit, sequence });
    }
    Ok((request, length))
}

fn content_length(headers: &[(String, String)]) -> Result<usize, FramingError> {
    let mut stated = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Content-Length")).map(|(_, value)| {
        let digits = !value.is_empty() && value.len() <= 18 && value.bytes().all(|octet| octet.is_ascii_digit());
        value.parse::<usize>().ok().filter(|_| digits).ok_or(FramingError::ContentLength)
    });
    let Some(first) = stated.next() else { return Ok(0) };
    let first = first?;
    for other in stated {
        if other? != first {
            return Err(FramingError::ContentLength);
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Outcome = (Vec<Item>, Option<FramingError>, bool);

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: MessageLimits) -> Outcome {
        let mut decoder = Decoder::new(limits);
        let mut items = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.next_item() {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(error) => return (items, Some(error), false),
                }
            }
        }
        let partial = decoder.is_partial();
        (items, None, partial)
    }

    fn request(text: &str) -> Request {
        match decode([text.as_bytes()], MessageLimits::default()).0.pop() {
            Some(Item::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_with_its_url_as_typed() {
        let read = request(
            "\r\n\r\nSETUP rtsp://Host:8554/A%20b/../c RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast,\r\n\tRTP/AVP/TCP\r\nContent-Length: 2\r\n\r\nhi",
        );
        assert_eq!(read.method, "SETUP");
        assert_eq!(read.uri, "rtsp://Host:8554/A%20b/../c");
        assert_eq!(read.sequence(), Some("3"));
        assert_eq!(read.header("transport"), Some("RTP/AVP;unicast, RTP/AVP/TCP"));
        assert_eq!(read.body, b"hi");
    }

    #[test]
    fn bare_line_feeds_and_other_versions_are_read() {
        let read = request("OPTIONS * RTSP/2.0\nCSeq:1\n\n");
        assert_eq!(read.version, "RTSP/2.0");
        assert_eq!(read.sequence(), Some("1"));
    }

    #[test]
    fn packets_and_responses_between_requests_are_told_apart() {
        let text = b"$\x01\x00\x03abcRTSP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody$\x00\x00\x00OPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n$\x02\x00\x09";
        let (items, error, partial) = decode([&text[..]], MessageLimits::default());
        assert_eq!(error, None);
        assert!(partial, "a packet has begun");
        assert_eq!(items.len(), 3);
        assert_eq!(items[0], Item::Packet { channel: 1, octets: b"abc".to_vec() });
        assert_eq!(items[1], Item::Packet { channel: 0, octets: Vec::new() });
        assert!(matches!(&items[2], Item::Request(request) if request.sequence() == Some("2")));
    }

    #[test]
    fn what_is_too_large_or_malformed_is_refused() {
        let limits = MessageLimits { header: 64, body: 8 };
        let long = format!("OPTIONS * RTSP/1.0\r\nX: {}\r\n\r\n", "x".repeat(64));
        let table: [(&str, FramingError); 9] = [
            (&long, FramingError::HeaderTooLarge(64)),
            (
                "OPTIONS * RTSP/1.0\r\nCSeq: 4\r\nContent-Length: 9\r\n\r\n",
                FramingError::BodyTooLarge { limit: 8, sequence: Some("4".into()) },
            ),
            ("OPTIONS * RTSP/1.0\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", FramingError::ContentLength),
            ("OPTIONS * RTSP/1.0\r\nContent-Length: +1\r\n\r\n", FramingError::ContentLength),
            ("OPTIONS * RTSP/1.0\r\nno colon\r\n\r\n", FramingError::Header),
            ("OPTIONS * RTSP/1.0\r\n folded: at once\r\n\r\n", FramingError::Header),
            ("GET / HTTP/1.1\r\n\r\n", FramingError::StartLine),
            ("OPTIONS\r\n\r\n", FramingError::StartLine),
            ("\x16\x03\x01 a RTSP/1.0\r\n\r\n", FramingError::StartLine),
        ];
        for (text, expected) in table {
            assert_eq!(decode([text.as_bytes()], limits).1, Some(expected), "{text:?}");
        }
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            3 => Just(b"PLAY rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n".to_vec()),
            2 => Just(b"\r\n".to_vec()),
            1 => Just(b"Content-Length: 3\r\n".to_vec()),
            1 => Just(b"$\x01\x00\x02".to_vec()),
            1 => Just(b"RTSP/1.0 200 OK\r\n".to_vec()),
            1 => Just(b"\n\n".to_vec()),
            2 => proptest::collection::vec(any::<u8>(), 0..12),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(octets in hostile(), size in 1usize..9) {
            let limits = MessageLimits { header: 96, body: 4 };
            let whole = decode([&octets[..]], limits);
            prop_assert_eq!(&whole, &decode(octets.chunks(size), limits));
        }

        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            decode(octets.chunks(7), MessageLimits::default());
        }
    }
}
