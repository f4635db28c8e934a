//! The server under test: the built binary, running on the network's server host with the default ports.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::http::{self, Answer};
use crate::support::namespaces::{Family, Host};
use crate::support::{SOON, wait_for};

const RTSP: u16 = 8554;
const HTTP: u16 = 8080;
/// The RTP port; RTCP is the next.
pub const RTP: u16 = 8000;

/// A server that is to end at once has ended by then: the two seconds that it takes at most, and as much again where the machine is busy.
pub const ENDS: Duration = Duration::from_secs(4);

/// Runs until dropped; what it logged is printed where the test has failed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    banner: Vec<String>,
    log: Arc<Mutex<Vec<String>>>,
    _state: TempDir,
}

impl Server {
    /// Starts it, and waits for its banner's last line.
    ///
    /// # Panics
    /// Where it ends instead, or says nothing for 30 seconds.
    pub fn start(host: &Host, media: &Path, flags: &[&str]) -> Self {
        let state = TempDir::new().expect("a temporary folder");
        let mut command = flowsteer(host);
        command.arg("serve").arg(media).args(flags);
        if !flags.contains(&"--state") {
            command.arg("--state").arg(state.path());
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, kept) = (child.stderr.take().expect("stderr is a pipe"), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().expect("pushing does not panic").push(line);
            }
        });
        let (lines, come) = mpsc::channel();
        let stdout = child.stdout.take().expect("stdout is a pipe");
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { child, banner: Vec::new(), log, _state: state };
        loop {
            match come.recv_timeout(SOON * 3) {
                Ok(line) if line == "ready" => return server,
                Ok(line) => server.banner.push(line),
                Err(_) => panic!("the server did not get ready; banner so far: {:#?}", server.banner),
            }
        }
    }

    /// The banner's lines before `ready`.
    pub fn banner(&self) -> &[String] {
        &self.banner
    }

    /// Whether a line of its log has that in it.
    pub fn has_logged(&self, what: &str) -> bool {
        self.log.lock().expect("pushing does not panic").iter().any(|line| line.contains(what))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let id = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: no pointers; the process is our child and not yet waited for.
        unsafe { libc::kill(id, libc::SIGTERM) };
        wait_for("the server to end", SOON, || self.child.try_wait().expect("our child can be waited for"))
    }

    /// Sends SIGHUP: the configuration is read again.
    pub fn hang_up(&self) {
        let id = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: no pointers; the process is our child and not yet waited for.
        unsafe { libc::kill(id, libc::SIGHUP) };
    }

    /// What it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("pushing does not panic").clone()
    }

    /// Sends SIGTERM, and waits for nothing.
    pub fn ask_to_end(&self) {
        let id = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: no pointers; the process is our child and not yet waited for.
        unsafe { libc::kill(id, libc::SIGTERM) };
    }

    /// How it ended by itself, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child can be waited for")
    }

    /// Panics if it ended by itself.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("our child can be waited for");
        assert!(ended.is_none(), "the server ended: {ended:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the server's log{}", ended.map(|status| format!(", it ended by itself: {status}")).unwrap_or_default());
            for line in self.log.lock().expect("pushing does not panic").iter() {
                eprintln!("{line}");
            }
            eprintln!("--- end of the server's log");
        }
    }
}

/// The binary, with no setting from the environment the tests run in.
pub fn flowsteer(host: &Host) -> Command {
    let mut command = host.command(env!("CARGO_BIN_EXE_flowsteer"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLOWSTEER_")) {
        command.env_remove(name);
    }
    command
}

/// `host:8554`, as a URL has it.
pub fn rtsp_address(host: &Host, family: Family) -> SocketAddr {
    SocketAddr::new(host.address(family), RTSP)
}

/// The URL of a title.
pub fn title_url(host: &Host, family: Family, title: &str) -> String {
    let encoded: String = title
        .bytes()
        .map(|octet| match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' | b'?' | b'=' => char::from(octet).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    format!("rtsp://{}/{encoded}", rtsp_address(host, family))
}

/// The server's API, asked by its operator: from the server's own host over loopback.
#[derive(Clone, Copy, Debug)]
pub struct Operator<'a> {
    pub host: &'a Host,
}

impl Operator<'_> {
    fn ask(self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        http::ask(self.host, (Ipv4Addr::LOCALHOST, HTTP).into(), method, target, &[], body)
    }

    pub fn get(self, target: &str) -> Answer {
        self.ask("GET", target, None)
    }

    pub fn post(self, target: &str, body: &Value) -> Answer {
        self.ask("POST", target, Some(body))
    }

    pub fn put(self, target: &str, body: &Value) -> Answer {
        self.ask("PUT", target, Some(body))
    }

    pub fn delete(self, target: &str) -> Answer {
        self.ask("DELETE", target, None)
    }

    /// All presentations.
    #[track_caller]
    pub fn sessions(self) -> Vec<Value> {
        self.get("/api/v1/sessions").json().as_array().expect("a list of sessions").clone()
    }

    /// The only presentation.
    #[track_caller]
    pub fn session(self) -> Value {
        let mut sessions = self.sessions();
        assert_eq!(sessions.len(), 1, "one presentation: {sessions:#?}");
        sessions.remove(0)
    }

    /// Waits until there is one presentation and it is in `state`.
    #[track_caller]
    pub fn wait_for_state(self, state: &str) -> Value {
        wait_for(&format!("a presentation that is {state}"), SOON, || match &self.sessions()[..] {
            [session] if session["state"] == state => Some(session.clone()),
            _ => None,
        })
    }

    /// `…/{call}` of a presentation.
    #[track_caller]
    pub fn control(self, session: &Value, call: &str, body: &Value) {
        let id = session["id"].as_str().map_or_else(|| session["id"].to_string(), str::to_owned);
        let answer = self.post(&format!("/api/v1/sessions/{id}/{call}"), body);
        assert!((200..300).contains(&answer.status), "{call}: {} {}", answer.status, answer.text());
    }

    /// The URL with which another device takes what plays to that home address, to be opened over that family.
    #[track_caller]
    pub fn takeover_url(self, home: &str, family: Family, scope: &str) -> String {
        let answer = self.post(&format!("/api/v1/home-addresses/{home}/context"), &json!({ "scope": scope })).json();
        let url = answer["takeoverUrl"].as_str().unwrap_or_else(|| panic!("no takeoverUrl in {answer:#}"));
        self.reach_over(url, family)
    }

    /// The same URL with the server's address of that family.
    pub fn reach_over(self, url: &str, family: Family) -> String {
        let rest = url.strip_prefix("rtsp://").expect("an RTSP URL").split_once('/').expect("a URL with a path").1;
        format!("rtsp://{}/{rest}", rtsp_address(self.host, family))
    }

    /// Runs an operating subcommand on the server's host.
    pub fn flowsteer(self, arguments: &[&str]) -> std::process::Output {
        flowsteer(self.host).args(arguments).output().expect("the binary runs")
    }
}
