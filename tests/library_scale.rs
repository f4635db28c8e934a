//! A library that is too large to wait for: served as soon as it is listed, indexed behind that, and known at once the next time.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// More than are waited for.
const TITLES: usize = 3000;
/// How long something may take on a slow machine.
const LONG: Duration = Duration::from_secs(60);

struct Server {
    child: Child,
    rtsp: SocketAddr,
    http: SocketAddr,
    library: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(media: &Path, state: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flowsteer"))
            .arg("serve")
            .arg(media)
            .arg("--state")
            .arg(state)
            .args(["--rtsp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rtp-port", "0", "--mobility", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let banner = BufReader::new(child.stdout.take().expect("a pipe"));
        let lines: Vec<String> = banner.lines().map_while(Result::ok).take_while(|line| line != "ready").collect();
        let told = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).expect("the banner tells it").trim().to_owned();
        let address = |name: &str| told(name).split('/').nth(2).expect("a URL").parse().expect("an address");
        Self { rtsp: address("rtsp "), http: address("http "), library: told("library "), child }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http).expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http).expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }

    fn titles(&self) -> Vec<Value> {
        serde_json::from_str(&self.get("/api/v1/titles")).expect("a list")
    }

    fn indexed(&self) -> usize {
        let metrics = self.get("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix("flowsteer_library_indexed "));
        line.expect("told").trim().parse::<f64>().expect("a number") as usize
    }

    /// The status of a DESCRIBE.
    fn describe(&self, title: &str) -> String {
        let mut stream = TcpStream::connect(self.rtsp).expect("a connection");
        stream.set_read_timeout(Some(LONG)).expect("possible");
        write!(stream, "DESCRIBE rtsp://{}/{title} RTSP/1.0\r\nCSeq: 1\r\n\r\n", self.rtsp).expect("taken");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn wait_until_indexed(&self) {
        let begun = Instant::now();
        while self.indexed() < TITLES {
            assert!(begun.elapsed() < LONG, "{} of {TITLES}", self.indexed());
        }
    }
}

/// What is kept of a library: the file with the facts of all titles.
fn facts(state: &Path) -> std::path::PathBuf {
    let library = fs::read_dir(state.join("index")).expect("something is kept").next().expect("of one library").expect("there");
    library.path().join("facts")
}

#[test]
fn a_large_library_is_served_before_it_is_indexed_and_known_at_once_the_next_time() {
    let (media, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let first = media.path().join("00000.mp4");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4"), &first).expect("copied");
    for number in 1..TITLES - 1 {
        fs::hard_link(&first, media.path().join(format!("{number:05}.mp4"))).expect("linked");
    }
    fs::write(media.path().join("noise.mp4"), b"no film at all").expect("written");

    let server = Server::start(media.path(), state.path());
    assert!(server.library.starts_with(&format!("{TITLES} titles in ")), "{}", server.library);
    // The last of those to be indexed.
    assert_eq!(server.describe("02998.mp4"), "RTSP/1.0 200 OK");
    assert!(server.describe("noise.mp4").starts_with("RTSP/1.0 404 "));
    assert_eq!(server.titles().len(), TITLES);
    server.wait_until_indexed();
    let titles = server.titles();
    assert!(titles.iter().all(|title| title.get("indexing").is_none()));
    assert_eq!(titles.iter().filter(|title| title["tracks"][0]["codec"] == "h264").count(), TITLES - 1);
    assert!(titles[TITLES - 1]["problem"].is_string());
    // What is kept while it is being indexed is not all of it.
    let is_path = |octets: &&[u8]| *octets == b".mp4";
    let kept = || fs::read(facts(state.path())).map_or(0, |octets| octets.windows(4).filter(is_path).count());
    let begun = Instant::now();
    while kept() < TITLES {
        assert!(begun.elapsed() < LONG, "{} are kept", kept());
    }
    drop(server);

    let server = Server::start(media.path(), state.path());
    assert!(!server.library.contains("indexing"), "{}", server.library);
    assert_eq!(server.indexed(), TITLES);
    let paths = |titles: &[Value]| titles.iter().map(|title| (title["path"].clone(), title["tracks"].clone())).collect::<Vec<_>>();
    assert_eq!(paths(&server.titles()), paths(&titles));
    assert_eq!(server.describe("01234.mp4"), "RTSP/1.0 200 OK");
    drop(server);

    // What is damaged is made anew.
    let mut octets = fs::read(facts(state.path())).expect("kept");
    let middle = octets.len() / 2;
    octets[middle] ^= 0x55;
    fs::write(facts(state.path()), octets).expect("written");
    let server = Server::start(media.path(), state.path());
    server.wait_until_indexed();
    assert_eq!(paths(&server.titles()), paths(&titles));
}
