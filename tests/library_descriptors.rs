//! A server that has run out of file descriptors: what it cannot look at just now has not vanished.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Descriptors that the server may have, in all.
const LIMIT: u32 = 48;
/// Longer than the folder stays unlooked at.
const RESCANNED: Duration = Duration::from_secs(30);

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a length");
        }
        let last = line.trim().is_empty();
        head += &line;
        if last {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    head + &String::from_utf8_lossy(&body)
}

#[test]
fn a_server_without_a_descriptor_left_keeps_its_titles() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4"), folder.path().join("short.mp4")).expect("copied");
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -Sn {LIMIT}; ulimit -Hn {LIMIT}; exec \"$@\""))
        .args(["sh", env!("CARGO_BIN_EXE_flowsteer"), "serve"])
        .arg(folder.path())
        .args(["--state", "none", "--rtsp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rtp-port", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let banner = BufReader::new(child.stdout.take().expect("a pipe"));
    let log = BufReader::new(child.stderr.take().expect("a pipe"));
    let _server = Server(child);
    let mut rtsp: Option<SocketAddr> = None;
    for line in banner.lines().map_while(Result::ok) {
        if let Some(url) = line.strip_prefix("rtsp  rtsp://") {
            rtsp = Some(url.trim_end_matches('/').parse().expect("an address"));
        }
        if line == "ready" {
            break;
        }
    }
    let rtsp = rtsp.expect("the banner names the listener");
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });

    let mut player = TcpStream::connect(rtsp).expect("a connection");
    player.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let describe = |number: u32| format!("DESCRIBE rtsp://{rtsp}/short.mp4 RTSP/1.0\r\nCSeq: {number}\r\n\r\n");
    assert!(ask(&mut player, &describe(1)).starts_with("RTSP/1.0 200"));

    // More than it has descriptors for; those it cannot accept wait in the listener's queue.
    let _crowd: Vec<TcpStream> = (0..LIMIT).map(|_| TcpStream::connect(rtsp).expect("queued")).collect();
    let begun = Instant::now();
    let unread = std::iter::from_fn(|| lines.recv_timeout(RESCANNED.saturating_sub(begun.elapsed())).ok())
        .find(|line| line.contains("the folder cannot be read"));
    assert!(unread.is_some(), "the server was not out of descriptors when it looked at its folder");
    let answer = ask(&mut player, &describe(2));
    assert!(answer.starts_with("RTSP/1.0 200"), "the title is still known: {answer}");
}
