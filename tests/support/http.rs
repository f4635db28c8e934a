//! As much of an HTTP client as asking the server's API takes: one request a connection, JSON both ways (RFC 9112).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::support::SOON;
use crate::support::namespaces::Host;

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, having checked that the call succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks from `host`.
pub fn ask(host: &Host, to: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    let mut stream = host.run(|| TcpStream::connect_timeout(&to, SOON)).expect("the HTTP listener takes connections");
    // A browser may take long to start.
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout above zero");
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !body.is_empty() {
        request += "Content-Type: application/json\r\n";
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all((request + "\r\n" + &body).as_bytes()).expect("the request is taken");
    let mut octets = read(&mut stream);
    let end = head_length(&octets).expect("a response has a head");
    let head = String::from_utf8(octets[..end].to_vec()).expect("a head is text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line has a status");
    let mut body = octets.split_off(end);
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = joined(&body);
    }
    Answer { status, head, body }
}

/// A response, to the end that it states, else to that of the connection: a driver's browser may hold on to that.
fn read(stream: &mut TcpStream) -> Vec<u8> {
    let (mut octets, mut part) = (Vec::new(), [0; 16384]);
    loop {
        let count = match stream.read(&mut part) {
            // This process was stopped and goes on.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.expect("the response comes"),
        };
        octets.extend_from_slice(&part[..count]);
        if count == 0 || stated_length(&octets).is_some_and(|length| octets.len() >= length) {
            return octets;
        }
    }
}

fn head_length(octets: &[u8]) -> Option<usize> {
    octets.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn stated_length(octets: &[u8]) -> Option<usize> {
    let end = head_length(octets)?;
    let head = String::from_utf8_lossy(&octets[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())?;
    Some(end + length)
}

fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|window| window == b"\r\n") {
        let length =
            std::str::from_utf8(&chunks[..end]).ok().and_then(|length| usize::from_str_radix(length, 16).ok()).expect("a chunk's length");
        body.extend_from_slice(&chunks[end + 2..end + 2 + length]);
        chunks = &chunks[end + 4 + length..];
    }
    body
}
