//! The built binary: commands that end, and a server on loopback that runs until dropped.

// Each test binary uses its own part of this.
#![allow(dead_code)]
// kill: tests only.
#![allow(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How soon something must happen.
pub const SOON: Duration = Duration::from_secs(10);

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowsteer"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLOWSTEER_")) {
        command.env_remove(name);
    }
    command.current_dir(folder);
    command
}

pub fn flowsteer(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    command(folder).envs(environment.iter().copied()).args(arguments).output().expect("the binary runs")
}

/// Puts a text in the place of a file, at once: who looks meanwhile finds one or the other, and nothing half written.
pub fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).expect("written");
    std::fs::rename(next, file).expect("renamed");
}

/// A command that runs on; it is killed when dropped.
pub struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    told: Arc<Mutex<String>>,
}

impl Running {
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let (sender, lines) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let told = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (BufReader::new(child.stderr.take().expect("a pipe")), Arc::clone(&told));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *kept.lock().expect("pushing does not panic") += &(line + "\n");
            }
        });
        Self { child, lines, told }
    }

    /// The next line that it prints.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.lines.recv_timeout(SOON).unwrap_or_else(|error| panic!("{error}: {}", self.told()))
    }

    /// All that it prints until its end.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        std::iter::from_fn(|| self.lines.recv_timeout(SOON).ok()).map(|line| line + "\n").collect()
    }

    /// What it has said on standard error so far.
    pub fn told(&self) -> String {
        self.told.lock().expect("pushing does not panic").clone()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        let id = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: no pointers; the process is our child and not yet waited for.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    }

    /// Its exit code, once it has ended.
    #[track_caller]
    pub fn end(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child can be waited for") {
                return status.code();
            }
            assert!(start.elapsed() < SOON, "it goes on: {}", self.told());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that runs until dropped.
pub struct Server {
    child: Child,
    /// `rtsp://host:port`
    pub rtsp: String,
    /// `http://host:port`
    pub http: String,
    /// `host:port` of the mobility signalling.
    pub mobility: String,
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(folder: &Path) -> Self {
        Self::serve(folder, &Path::new(env!("CARGO_MANIFEST_DIR")).join("media"))
    }

    /// Serves another folder than the library.
    pub fn serve(folder: &Path, media: &Path) -> Self {
        let mut command = command(folder);
        command.arg("serve").arg(media).args(["--config", "f.toml", "--rtsp", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(["--rtp-port", "0", "--mobility", "127.0.0.1:0", "--state", "state"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, kept) = (child.stderr.take().expect("a pipe"), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().expect("pushing does not panic").push(line);
            }
        });
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut server = Self { child, rtsp: String::new(), http: String::new(), mobility: String::new(), log };
        for line in out.lines().map_while(Result::ok) {
            let url = |prefix: &str| line.strip_prefix(prefix).map(|url| url.trim_end_matches('/').to_owned());
            if let Some(rtsp) = url("rtsp  ") {
                server.rtsp = rtsp;
            } else if let Some(http) = url("http  ") {
                server.http = http;
            } else if let Some(mobility) = line.strip_prefix("mobility  udp ") {
                server.mobility = mobility.to_owned();
            } else if line == "ready" {
                return server;
            }
        }
        panic!("the server ended: {:?}", server.log.lock());
    }

    pub fn hang_up(&self) {
        let id = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: no pointers; the process is our child and not yet waited for.
        assert_eq!(unsafe { libc::kill(id, libc::SIGHUP) }, 0);
    }

    /// The status that DESCRIBE gives.
    pub fn describe(&self, path: &str) -> u16 {
        let address = self.rtsp.strip_prefix("rtsp://").expect("a URL");
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(SOON)).expect("possible");
        write!(stream, "DESCRIBE {}/{path} RTSP/1.0\r\nCSeq: 1\r\n\r\n", self.rtsp).expect("sent");
        let mut start = [0; 12];
        stream.read_exact(&mut start).expect("an answer");
        String::from_utf8_lossy(&start[9..]).parse().expect("a status")
    }

    #[track_caller]
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&[String]) -> bool) {
        let start = Instant::now();
        while !is_so(&self.log.lock().expect("pushing does not panic")) {
            assert!(start.elapsed() < SOON, "waited in vain: {what}; {:#?}", self.log.lock());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
