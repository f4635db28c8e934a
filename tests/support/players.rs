//! Real players that keep what they get: ffmpeg and mpv (Debian's), PyAV, GStreamer, retina.
//!
//! What is told apart is only how each is started; what they received comes back in one form.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt;
use retina::client::{Credentials, PlayOptions, Session, SessionOptions, SetupOptions, Transport};
use retina::codec::{CodecItem, FrameFormat};
use tempfile::TempDir;
use url::Url;

use crate::support::elementary::{Digest, Pictures, adts_frames};
use crate::support::film::Film;
use crate::support::namespaces::Host;
use crate::support::recording::BYE;
use crate::support::viewer::Carriage;

/// A player's program or library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Player {
    Ffmpeg,
    Mpv,
    PyAv,
    GStreamer,
    Retina,
}

/// What a player got, in its order.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Of mpv without those at the beginning: see [`RECORDER_SETTLES`].
    pub pictures: Vec<Digest>,
    pub frames: Vec<Digest>,
    /// How many pictures it showed, where it shows any.
    pub shown: Option<usize>,
}

impl Received {
    /// It is what the film has, from the first picture that was asked for, `begin` seconds behind its beginning, to the end.
    #[track_caller]
    pub fn assert_whole_from(&self, whose: &str, title: &str, begin: f64) {
        let film = Film::named(title);
        let first = film.locate_pictures(&format!("{whose}'s pictures"), &self.pictures);
        assert_eq!(first, film.key_at_or_before(begin), "{whose}'s first picture");
        assert_eq!(first + self.pictures.len(), film.video.len(), "{whose}'s last picture");
        let first = film.locate_frames(&format!("{whose}'s sound"), &self.frames);
        assert_eq!(first + self.frames.len(), film.audio.len(), "{whose}'s last audio frame");
    }

    /// What came behind a seek to the key picture at `key`: GStreamer may let a unit of before through behind its own flush.
    pub fn behind_a_seek(mut self, film: &Film, key: usize) -> Self {
        let begins = self.pictures.iter().take(1 + LATE).position(|picture| *picture == film.video[key].digest);
        self.pictures.drain(..begins.unwrap_or(0));
        let frames = film.frames();
        let follows = |pair: &[Digest]| frames.windows(2).any(|place| place == pair);
        let begins = self.frames.windows(2).take(1 + LATE).position(follows);
        self.frames.drain(..begins.unwrap_or(0));
        self
    }
}

/// At most so many units of before a seek come late.
const LATE: usize = 2;

/// mpv's recorder leaves out some of the first pictures, until it knows their decoding times: so many of a record do not count.
const RECORDER_SETTLES: usize = 6;
/// At most so many pictures are missing at the beginning of what is had of mpv.
pub const RECORDED_LATE: usize = 10;

/// libavformat reads a BYE before the packets that wait beside it, and sound behind the pictures: a player that was kept from reading, as mpv is
/// by showing pictures, may lose so many of the last audio frames.
pub const LOST_TO_BYE: usize = 24;

/// How a player keeps what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// Two elementary streams.
    Streams,
    /// A tape, see `tests/players/tape.py`.
    Tape,
    /// A Matroska file, and a JPEG file for each picture it has shown.
    Record,
}

/// A player that is running; killed when dropped. Its standard error is printed where the test has failed.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    stdin: ChildStdin,
    says: mpsc::Receiver<String>,
    out: TempDir,
    keeps: Keeps,
}

/// The Python that has PyAV and GStreamer's bindings.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin/python");
    assert!(venv.exists(), "{} is missing: tests/run --prepare makes it", venv.display());
    venv
}

/// A script of `tests/players`, to be given what it asks for.
pub fn script(host: &Host, name: &str) -> Command {
    let mut command = host.command(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players").join(name));
    // No compiled files beside the sources.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

impl Player {
    /// Plays from where the server starts to the title's end.
    pub fn play(self, host: &Host, url: &str, carriage: Carriage) -> Running {
        self.start(host, url, carriage, None)
    }

    /// GStreamer, waiting for missing packets as long as it does unless told, or, where it asks for them, as long as it takes.
    pub fn play_patiently(host: &Host, url: &str, asks: bool) -> Running {
        let out = TempDir::new().expect("a temporary folder");
        let mut command = script(host, "gstreamer_player.py");
        command.args([url, transport(Carriage::Udp)]).arg(out.path().join("tape")).arg(if asks { "asking" } else { "patient" });
        Running::start(Self::GStreamer, command, out, Keeps::Tape)
    }

    /// GStreamer, interleaved, making sure that the server has the certificate in that file.
    pub fn play_trusting(host: &Host, url: &str, certificate: &Path) -> Running {
        let out = TempDir::new().expect("a temporary folder");
        let mut command = script(host, "gstreamer_player.py");
        command.args([url, transport(Carriage::Interleaved)]).arg(out.path().join("tape")).arg("trusting").arg(certificate);
        Running::start(Self::GStreamer, command, out, Keeps::Tape)
    }

    /// Plays from `seconds` on, by a seek of the player's own, to the title's end.
    pub fn play_from(self, host: &Host, url: &str, carriage: Carriage, seconds: u32) -> Running {
        self.start(host, url, carriage, Some(seconds))
    }

    /// GStreamer, from the beginning at a rate that is its own: it asks for the speed.
    pub fn play_at_a_rate(host: &Host, url: &str, carriage: Carriage, rate: u32) -> Running {
        let out = TempDir::new().expect("a temporary folder");
        let mut command = script(host, "gstreamer_player.py");
        command.args([url, transport(carriage)]).arg(out.path().join("tape")).args(["rate", &rate.to_string()]);
        Running::start(Self::GStreamer, command, out, Keeps::Tape)
    }

    fn start(self, host: &Host, url: &str, carriage: Carriage, seek: Option<u32>) -> Running {
        let out = TempDir::new().expect("a temporary folder");
        let tape = out.path().join("tape");
        let transport = transport(carriage);
        let seconds = seek.map(|seconds| seconds.to_string());
        let command = match self {
            Self::Ffmpeg => {
                let mut command = host.command("ffmpeg");
                command.args(["-nostdin", "-loglevel", "warning", "-y", "-rtsp_transport", transport]);
                command.args(["-buffer_size", "8388608", "-reorder_queue_size", "1000"]);
                command.args(seconds.iter().flat_map(|seconds| ["-ss", seconds.as_str()]));
                command.args(["-i", url, "-map", "0:v", "-c", "copy", "-f", Film::coding(url)]).arg(out.path().join("video"));
                command.args(["-map", "0:a", "-c", "copy", "-f", "adts"]).arg(out.path().join("audio"));
                command
            }
            Self::Mpv => {
                assert!(seconds.is_none(), "mpv is not asked to seek");
                let mut command = host.command("mpv");
                command.args(["--no-config", "--no-terminal", "--framedrop=no", "--ao=null", "--vo=image", "--vo-image-format=jpg"]);
                command.arg(format!("--vo-image-outdir={}", out.path().join("shown").display()));
                command.arg(format!("--stream-record={}", out.path().join("record.mkv").display()));
                // Else it reads no further ahead than it shows, and what it was late for is still to be read when BYE comes.
                command.arg("--cache=yes");
                command.arg("--demuxer-lavf-o=buffer_size=8388608,reorder_queue_size=1000");
                command.args([&format!("--rtsp-transport={transport}"), url]);
                command
            }
            Self::PyAv => {
                let mut command = script(host, "pyav_player.py");
                command.args([url, transport]).arg(tape).args(seconds);
                command
            }
            Self::GStreamer => {
                let mut command = script(host, "gstreamer_player.py");
                command.args([url, transport]).arg(tape).args(seconds.iter().flat_map(|seconds| ["seek", seconds.as_str()]));
                command
            }
            Self::Retina => panic!("retina is no program: see play_with_retina"),
        };
        let keeps = match self {
            Self::Ffmpeg => Keeps::Streams,
            Self::Mpv => Keeps::Record,
            Self::PyAv | Self::GStreamer | Self::Retina => Keeps::Tape,
        };
        Running::start(self, command, out, keeps)
    }

    /// Plays `pictures`, pauses and says "paused", resumes when told, and ends `more` pictures later.
    pub fn play_with_a_pause(self, host: &Host, url: &str, carriage: Carriage, pictures: u32, more: u32) -> Running {
        let out = TempDir::new().expect("a temporary folder");
        let tape = out.path().join("tape");
        let counts = [pictures.to_string(), more.to_string()];
        let mut command = match self {
            Self::Ffmpeg | Self::PyAv => {
                let mut command = script(host, "libav_player.py");
                command.arg(if self == Self::Ffmpeg { "system" } else { "pyav" });
                command
            }
            Self::GStreamer => script(host, "gstreamer_player.py"),
            Self::Mpv | Self::Retina => panic!("{self:?} is not asked to pause"),
        };
        command.args([url, transport(carriage)]).arg(tape);
        command.args((self == Self::GStreamer).then_some("pause")).args(counts);
        Running::start(self, command, out, Keeps::Tape)
    }
}

fn transport(carriage: Carriage) -> &'static str {
    match carriage {
        Carriage::Udp => "udp",
        Carriage::Interleaved => "tcp",
    }
}

impl Running {
    fn start(player: Player, mut command: Command, out: TempDir, keeps: Keeps) -> Self {
        let stderr = fs::File::create(out.path().join("stderr")).expect("a file in a temporary folder");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().expect("the player starts");
        let (lines, says) = mpsc::channel();
        let stdout = child.stdout.take().expect("stdout is a pipe");
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let stdin = child.stdin.take().expect("stdin is a pipe");
        Self { name: format!("{player:?}"), child, stdin, says, out, keeps }
    }

    /// Waits until the player has said this.
    #[track_caller]
    pub fn wait_until_it_says(&mut self, what: &str, limit: Duration) {
        let line = self.says.recv_timeout(limit);
        assert_eq!(line.as_deref(), Ok(what), "what {} says", self.name);
    }

    /// Tells the player to go on.
    pub fn tell(&mut self, what: &str) {
        writeln!(self.stdin, "{what}").expect("the player listens");
    }

    /// Ends it with SIGINT, as a person does: it still says TEARDOWN and writes what it has.
    pub fn interrupt(&self) {
        let id = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: no pointers; the process is our child and not yet waited for.
        unsafe { libc::kill(id, libc::SIGINT) };
    }

    /// Waits until the player ends by itself, and gives what it got.
    ///
    /// # Panics
    /// Where it does not end within `limit`, or fails.
    #[track_caller]
    pub fn end(mut self, limit: Duration) -> Received {
        let status = self.ended(limit);
        assert!(status.success(), "{}: {status}", self.name);
        self.received()
    }

    /// Waits until the player ends by itself, having failed; what it has said about that.
    ///
    /// # Panics
    /// Where it does not end within `limit`, or does not fail.
    #[track_caller]
    pub fn end_refused(mut self, limit: Duration) -> String {
        let status = self.ended(limit);
        assert!(!status.success(), "{}: {status}", self.name);
        fs::read_to_string(self.out.path().join("stderr")).expect("what it says is text")
    }

    /// As [`Running::end`], for one that is known not to end each time; `None` where it has not.
    pub fn end_if_it_does(mut self, limit: Duration) -> Option<Received> {
        let status = self.ended_within(limit)?;
        assert!(status.success(), "{}: {status}", self.name);
        Some(self.received())
    }

    #[track_caller]
    fn ended(&mut self, limit: Duration) -> ExitStatus {
        let status = self.ended_within(limit);
        status.unwrap_or_else(|| panic!("{} has not ended by itself within {limit:?}", self.name))
    }

    fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            let status = self.child.try_wait().expect("our child can be waited for");
            if status.is_some() || start.elapsed() >= limit {
                return status;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our child can be waited for").is_none()
    }

    fn received(&self) -> Received {
        let mut shown = None;
        if self.keeps == Keeps::Record {
            self.take_record_apart();
            shown = Some(fs::read_dir(self.out.path().join("shown")).expect("the player showed something").count());
        }
        if self.keeps != Keeps::Tape {
            let read = |name| fs::read(self.out.path().join(name)).expect("the player wrote it");
            let pictures = Pictures::of_annex_b(&read("video"));
            let settled = if self.keeps == Keeps::Record { RECORDER_SETTLES } else { 0 };
            let pictures = pictures.into_iter().skip(settled).map(|picture| picture.digest).collect();
            return Received { pictures, frames: adts_frames(&read("audio")).into_iter().map(Digest::of).collect(), shown };
        }
        let (mut pictures, mut frames) = (Vec::new(), Vec::new());
        let tape = fs::read(self.out.path().join("tape")).expect("the player wrote a tape");
        let mut rest = &tape[..];
        while let [kind, a, b, c, d, tail @ ..] = rest {
            let (record, tail) = tail.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            match kind {
                b'v' => pictures.extend(Pictures::of_annex_b(record).into_iter().map(|picture| picture.digest)),
                b'a' => frames.push(Digest::of(record)),
                other => panic!("a record of kind {other} on a tape"),
            }
            rest = tail;
        }
        Received { pictures, frames, shown }
    }

    fn take_record_apart(&self) {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error", "-y", "-i"]).arg(self.out.path().join("record.mkv"));
        // The record need not begin with a key picture.
        command.args(["-map", "0:v", "-copyinkf", "-c", "copy", "-f", "h264"]).arg(self.out.path().join("video"));
        command.args(["-map", "0:a", "-c", "copy", "-f", "adts"]).arg(self.out.path().join("audio"));
        let output = command.output().expect("ffmpeg runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let mut said = String::new();
            let _ = fs::File::open(self.out.path().join("stderr")).and_then(|mut stderr| stderr.read_to_string(&mut said));
            eprintln!("--- standard error of {}\n{said}--- end of it", self.name);
        }
    }
}

/// Plays with retina until every track has said BYE or `enough` says so of what came.
pub fn play_with_retina(host: &Host, url: &str, carriage: Carriage, enough: impl Fn(&Received) -> bool + Send) -> Received {
    let url = Url::parse(url).expect("a URL");
    host.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let playing = retina(url, carriage, enough);
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), playing).await }).expect("retina ends within 30 s")
    })
}

/// What retina says where it is refused a description; `None` where it gets one.
pub fn refused_to_retina(host: &Host, url: &str) -> Option<String> {
    let (url, credentials) = without_credentials(Url::parse(url).expect("a URL"));
    let options = SessionOptions::default().user_agent("flowsteer-test (retina)".to_owned()).creds(credentials);
    host.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(Session::describe(url, options)).err().map(|error| error.to_string())
    })
}

/// retina takes credentials beside the URL.
fn without_credentials(mut url: Url) -> (Url, Option<Credentials>) {
    let password = url.password().unwrap_or_default().to_owned();
    let credentials = (!url.username().is_empty()).then(|| Credentials { username: url.username().to_owned(), password });
    url.set_password(None).and_then(|()| url.set_username("")).expect("an RTSP URL may have none");
    (url, credentials)
}

/// From now on the UDP sockets of this process hold seconds of a film, where a thread is kept from reading: retina opens its own, and cannot
/// be told of it.
fn widen_sockets() {
    let descriptors = fs::read_dir("/proc/self/fd").expect("a process sees its own");
    for descriptor in descriptors.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        let (mut kind, room): (libc::c_int, libc::c_int) = (0, 8 << 20);
        let mut length = mem::size_of_val(&kind) as libc::socklen_t;
        // SAFETY: the pointers are to integers that live during the calls, and the lengths are theirs. A descriptor that is closed meanwhile, or
        // is no socket's, is an error that changes nothing.
        unsafe {
            let found = libc::getsockopt(descriptor, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut length);
            if found == 0 && kind == libc::SOCK_DGRAM {
                libc::setsockopt(descriptor, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const room).cast(), length);
            }
        }
    }
}

async fn retina(url: Url, carriage: Carriage, enough: impl Fn(&Received) -> bool) -> Received {
    let (url, credentials) = without_credentials(url);
    let options = SessionOptions::default().user_agent("flowsteer-test (retina)".to_owned()).creds(credentials);
    let mut session = Session::describe(url, options).await.expect("retina describes");
    let tracks = session.streams().len();
    for track in 0..tracks {
        let transport = match carriage {
            Carriage::Udp => Transport::Udp(Default::default()),
            Carriage::Interleaved => Transport::Tcp(Default::default()),
        };
        let options = SetupOptions::default()
            .transport(transport)
            .frame_format(FrameFormat { aac_framing: FrameFormat::MP4.aac_framing, ..FrameFormat::SIMPLE });
        session.setup(track, options).await.expect("retina sets a track up");
    }
    widen_sockets();
    let options = PlayOptions::default();
    let mut demuxed = session.play(options).await.expect("retina plays").demuxed().expect("retina knows the formats");
    let (mut received, mut byes) = (Received::default(), 0);
    while byes < tracks && !enough(&received) {
        let item = demuxed.next().await.expect("the session goes on until we end it").expect("retina finds nothing wrong");
        byes += take_in(&mut received, item);
    }
    // A BYE is read before the packets that wait beside it.
    let waits = Duration::from_millis(50);
    while byes >= tracks
        && let Ok(Some(Ok(item))) = tokio::time::timeout(waits, demuxed.next()).await
    {
        take_in(&mut received, item);
    }
    received
}

/// Keeps what has come; how many BYEs that was.
fn take_in(received: &mut Received, item: CodecItem) -> usize {
    match item {
        CodecItem::VideoFrame(frame) => {
            assert_eq!(frame.loss(), 0, "packets lost before a picture");
            received.pictures.extend(Pictures::of_annex_b(frame.data()).into_iter().map(|picture| picture.digest));
        }
        CodecItem::AudioFrame(frame) => {
            assert_eq!(frame.loss(), 0, "packets lost before an audio frame");
            received.frames.push(Digest::of(frame.data()));
        }
        CodecItem::Rtcp(compound) => return compound.pkts().filter(|packet| packet.payload_type() == BYE).count(),
        _ => {}
    }
    0
}
