//! Binding updates over the server's HTTP API, while all sessions play: further branches, and moves.
//!
//! One update after the other, so that what is measured of each is its own; one connection at a time, made when it is needed, for
//! servers close one on which nothing is asked. It is for a server that tells `Home-Address` in its answers to SETUP.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::meter::Stamp;
use super::rtsp::http_answer;
use super::session::{Common, Session, Stage};
use super::sockets::wall_clock;

/// What epoll keeps for the connection.
pub const LABEL: u64 = u64::MAX;
const CONNECT: Duration = Duration::from_secs(3);
/// Bindings are numbered from here on, far from those that a server draws.
const FIRST_BINDING: usize = 20_000;
/// Failures that are kept.
const KEPT: usize = 3;

/// A flow that is to go to one more place, or to another.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Not before this.
    pub due: Stamp,
    pub session: usize,
    pub track: usize,
    /// Where it went is left.
    pub replaces: bool,
}

/// The connection, what waits for it, and what came of it.
pub struct Updates {
    stream: Option<TcpStream>,
    host: String,
    join: String,
    waiting: VecDeque<Update>,
    asked: Option<(Update, Stamp)>,
    incoming: Vec<u8>,
    /// From sending to the answer, in milliseconds.
    pub answered: Vec<f64>,
    pub refused: usize,
    /// The first few reasons.
    pub failures: Vec<String>,
}

impl Updates {
    /// Asks at `http://HOST:PORT`.
    pub fn new(url: &str, join: &str) -> std::io::Result<Self> {
        let host = url.strip_prefix("http://").ok_or(ErrorKind::InvalidInput)?.trim_end_matches('/').to_owned();
        Ok(Self {
            stream: None,
            host,
            join: join.to_owned(),
            waiting: VecDeque::new(),
            asked: None,
            incoming: Vec::new(),
            answered: Vec::new(),
            refused: 0,
            failures: Vec::new(),
        })
    }

    fn connect(&mut self, common: &Common) -> std::io::Result<()> {
        if self.stream.is_none() {
            let address = self.host.to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
            let stream = TcpStream::connect_timeout(&address, CONNECT)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            common.control.add(&stream, LABEL)?;
            self.incoming.clear();
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Adds updates; they are sent in this order.
    pub fn plan(&mut self, updates: impl IntoIterator<Item = Update>) {
        self.waiting.extend(updates);
    }

    /// Nothing waits or is on its way.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.asked.is_none()
    }

    /// Sends the next update, if one is due and the one before is answered.
    pub fn step(&mut self, sessions: &mut [Session], common: &mut Common) {
        let is_due = self.waiting.front().is_some_and(|update| update.due <= wall_clock());
        if self.asked.is_some() || !is_due {
            return;
        }
        let Some(update) = self.waiting.pop_front() else { return };
        if let Err(error) = self.ask(update, sessions, common) {
            self.failed(error.to_string());
        }
    }

    fn ask(&mut self, update: Update, sessions: &mut [Session], common: &mut Common) -> std::io::Result<()> {
        self.connect(common)?;
        let session = sessions.get_mut(update.session).filter(|session| session.stage == Stage::Playing).ok_or(ErrorKind::NotConnected)?;
        let home = session.tracks.get(update.track).and_then(|track| track.home.clone()).ok_or(ErrorKind::Unsupported)?;
        let care_of = session.branch(update.track, update.replaces, common)?;
        let further = &mut session.tracks[update.track].further;
        let request = self.request(&home, FIRST_BINDING + further.len(), care_of, update.replaces);
        let at = wall_clock();
        if let Some(branch) = further.last_mut() {
            branch.asked_at = at;
        }
        if let Some(stream) = &mut self.stream
            && let Err(error) = stream.write_all(request.as_bytes())
        {
            further.pop();
            self.stream = None;
            return Err(error);
        }
        self.asked = Some((update, at));
        Ok(())
    }

    fn request(&self, home: &str, binding: usize, care_of: SocketAddr, replaces: bool) -> String {
        let mode = if replaces { "move" } else { "fork" };
        let body = serde_json::json!({ "careOf": care_of.to_string(), "mode": mode, "join": self.join }).to_string();
        format!(
            "PUT /api/v1/home-addresses/{home}/bindings/{binding} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )
    }

    fn failed(&mut self, why: String) {
        self.refused += 1;
        if self.failures.len() < KEPT {
            self.failures.push(why);
        }
    }

    /// Takes what the connection brought.
    pub fn ready(&mut self, sessions: &mut [Session]) {
        let mut octets = [0; 4096];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut octets) {
                Ok(0) => self.closed("closed by the server"),
                Ok(len) => self.incoming.extend_from_slice(&octets[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.closed(&error.to_string()),
            }
        }
        let at = wall_clock();
        while let Some((status, len)) = http_answer(&self.incoming) {
            let text = String::from_utf8_lossy(&self.incoming[..len]).lines().last().unwrap_or_default().to_owned();
            self.incoming.drain(..len);
            let Some((update, asked_at)) = self.asked.take() else { continue };
            self.answered.push((at - asked_at) as f64 / 1e6);
            if !(200..300).contains(&status) {
                // Nothing goes there.
                sessions[update.session].tracks[update.track].further.pop();
                self.failed(format!("{status}: {text}"));
            }
        }
    }

    /// The connection is no more; what was asked on it has failed, and the next update makes another.
    fn closed(&mut self, why: &str) {
        self.stream = None;
        if self.asked.take().is_some() {
            self.failed(format!("the API's connection: {why}"));
        }
    }
}
