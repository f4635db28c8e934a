//! Containers and codings beside players: each plays each whole, from a seek on, and at other scales. Pictures are compared as they are decoded,
//! sound octet by octet (samples where it is not coded), with what is in the file. The table in `docs/players.md` is written from what came out.

mod support;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use support::namespaces::Family;
use support::scene::Scene;
use support::tools_are_required;

/// Seconds of each film.
const LENGTH: f64 = 3.0;
/// Where players seek to: within the third group of a second.
const SEEK: &str = "2.3";
/// A player must have ended by then.
const LIMIT: Duration = Duration::from_secs(60);
/// Octets of sound from before a seek that are let pass: of one that is coded, and of samples.
const STALE: [usize; 2] = [4096, 16_384];
/// … and pictures.
const LATE: usize = 2;
/// Players at a time: they wait for the next picture most of the time.
const AT_ONCE: usize = 6;
const BEGIN: &str = "<!-- what came out of tests/e2e_matrix.rs -->";
const END: &str = "<!-- end of it -->";

/// A file and what is in it.
struct Row {
    file: &'static str,
    video: Option<(&'static str, &'static [&'static str])>,
    audio: Option<(&'static str, &'static [&'static str])>,
    format: &'static [&'static str],
}

const H264: &[&str] = &["libx264", "-preset", "veryfast", "-g", "25", "-keyint_min", "25", "-sc_threshold", "0", "-bf", "2"];
const H265: &[&str] = &[
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "log-level=error:keyint=25:min-keyint=25:scenecut=0:open-gop=0:bframes=2",
    "-tag:v",
    "hvc1",
];
const PLAIN_H265: &[&str] =
    &["libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=25:min-keyint=25:scenecut=0:open-gop=0:bframes=2"];
const MPEG2: &[&str] = &["mpeg2video", "-g", "25", "-bf", "2", "-sc_threshold", "1000000000", "-flags", "+cgop", "-b:v", "600k"];
const OPUS: &[&str] = &["libopus", "-b:a", "64k"];
const AAC: &[&str] = &["aac", "-b:a", "64k"];

const ROWS: [Row; 22] = [
    Row { file: "a.mp4", video: Some(("H.264", H264)), audio: Some(("AAC", AAC)), format: &[] },
    Row { file: "b.mp4", video: Some(("H.265", H265)), audio: Some(("AC-3", &["ac3", "-b:a", "96k"])), format: &[] },
    Row {
        file: "c.mp4",
        video: Some(("AV1", &["libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "25", "-keyint_min", "25", "-b:v", "200k"])),
        audio: Some(("Opus", OPUS)),
        format: &[],
    },
    Row {
        file: "d.mov",
        video: Some(("MPEG-4", &["mpeg4", "-g", "25", "-bf", "2", "-sc_threshold", "1000000000", "-b:v", "600k"])),
        audio: Some(("L16", &["pcm_s16be"])),
        format: &[],
    },
    Row {
        file: "e.mov",
        video: Some(("Motion JPEG", &["mjpeg", "-huffman", "default", "-pix_fmt", "yuvj420p", "-q:v", "8"])),
        audio: Some(("mu-law", &["pcm_mulaw", "-ar", "8000", "-ac", "1"])),
        format: &[],
    },
    Row { file: "f.mkv", video: Some(("H.264", H264)), audio: Some(("MP3", &["libmp3lame", "-b:a", "96k"])), format: &[] },
    Row { file: "g.mkv", video: Some(("H.265", PLAIN_H265)), audio: Some(("AAC", AAC)), format: &[] },
    Row { file: "h.mkv", video: Some(("MPEG-2", MPEG2)), audio: Some(("AC-3", &["ac3", "-b:a", "96k"])), format: &[] },
    Row {
        file: "i.webm",
        video: Some(("VP8", &["libvpx", "-g", "25", "-keyint_min", "25", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "300k"])),
        audio: Some(("Vorbis", &["libvorbis"])),
        format: &[],
    },
    Row {
        file: "j.webm",
        video: Some(("VP9", &["libvpx-vp9", "-g", "25", "-keyint_min", "25", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "300k"])),
        audio: Some(("Opus", OPUS)),
        format: &[],
    },
    Row { file: "k.ts", video: Some(("H.264", H264)), audio: Some(("AAC", AAC)), format: &[] },
    Row { file: "l.ts", video: Some(("H.265", PLAIN_H265)), audio: Some(("MP2", &["mp2", "-b:a", "96k"])), format: &[] },
    Row { file: "m.264", video: Some(("H.264", H264)), audio: None, format: &["-f", "h264"] },
    Row { file: "n.265", video: Some(("H.265", PLAIN_H265)), audio: None, format: &["-f", "hevc"] },
    Row {
        file: "o.mp3",
        video: None,
        audio: Some(("MP3", &["libmp3lame", "-b:a", "96k", "-write_xing", "0"])),
        format: &["-id3v2_version", "0"],
    },
    Row { file: "p.aac", video: None, audio: Some(("AAC", AAC)), format: &["-f", "adts"] },
    Row { file: "q.wav", video: None, audio: Some(("L16", &["pcm_s16le"])), format: &[] },
    Row { file: "r.flac", video: None, audio: Some(("FLAC, as L16", &["flac", "-sample_fmt", "s16"])), format: &[] },
    Row { file: "s.opus", video: None, audio: Some(("Opus", OPUS)), format: &["-f", "ogg"] },
    Row { file: "t.ogg", video: None, audio: Some(("Vorbis", &["libvorbis"])), format: &["-f", "ogg"] },
    Row { file: "u.ts", video: Some(("MPEG-2", MPEG2)), audio: Some(("AC-3", &["ac3", "-b:a", "96k"])), format: &[] },
    Row {
        file: "v.ts",
        video: Some(("MPEG-4", &["mpeg4", "-g", "25", "-bf", "2", "-sc_threshold", "1000000000", "-b:v", "600k"])),
        audio: Some(("AC-3", &["ac3", "-b:a", "96k"])),
        format: &[],
    },
];

impl Row {
    fn make(&self, folder: &Path) {
        let mut command = Command::new("ffmpeg");
        command.args([
            "-nostdin",
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x176:r=25",
            "-f",
            "lavfi",
            "-i",
            "aevalsrc=0.3*sin(880*t*(1+t))|0.3*sin(660*t*(2+t)):s=48000",
        ]);
        command.args(["-t", &LENGTH.to_string()]);
        if let Some((_, coder)) = self.video {
            command.args(["-map", "0:v", "-c:v"]).args(coder);
            if !coder.contains(&"-pix_fmt") {
                command.args(["-pix_fmt", "yuv420p"]);
            }
        }
        if let Some((_, coder)) = self.audio {
            command.args(["-map", "1:a", "-c:a"]).args(coder);
        }
        let output = command.args(self.format).arg(folder.join(self.file)).stdin(Stdio::null()).output().expect("ffmpeg runs");
        assert!(output.status.success(), "{}: {}", self.file, String::from_utf8_lossy(&output.stderr));
    }

    fn container(&self) -> &'static str {
        match self.file.rsplit('.').next().expect("an ending") {
            "mp4" => "MP4",
            "mov" => "MOV",
            "mkv" => "Matroska",
            "webm" => "WebM",
            "ts" => "MPEG-TS",
            "264" | "265" => "raw",
            "mp3" => "MP3",
            "aac" => "ADTS",
            "wav" => "WAV",
            "flac" => "FLAC",
            _ => "Ogg",
        }
    }

    fn is_linear(&self) -> bool {
        self.audio.is_some_and(|(name, _)| name.ends_with("L16"))
    }

    /// How ffmpeg is to write sound so that files and streams compare.
    fn sound(&self, of_file: bool) -> Vec<&'static str> {
        if self.is_linear() {
            return vec!["-c:a", "pcm_s16le", "-f", "s16le"];
        }
        let has_headers = of_file && matches!(self.container(), "MPEG-TS" | "ADTS") && self.audio.is_some_and(|(name, _)| name == "AAC");
        let mut options = vec!["-c:a", "copy", "-f", "data"];
        if has_headers {
            options.extend(["-bsf:a", "aac_adtstoasc"]);
        }
        options
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Player {
    Ffmpeg,
    PyAv,
    GStreamer,
}

const PLAYERS: [Player; 3] = [Player::Ffmpeg, Player::PyAv, Player::GStreamer];

impl Player {
    /// Why it cannot play a coding, where it is known that it cannot.
    fn lacks(self, row: &Row) -> Option<&'static str> {
        let (video, audio) = (row.video.map(|(name, _)| name), row.audio.map(|(name, _)| name));
        match self {
            Self::Ffmpeg if video == Some("AV1") => Some("FFmpeg 5.1 has no depayloader for AV1"),
            Self::GStreamer if video == Some("AV1") => Some("its depayloader for AV1 is in a plugin that Debian 12 has not"),
            _ if audio.is_none() && video.is_none() => Some("nothing to play"),
            _ => None,
        }
    }
}

/// What GStreamer takes pictures, or sound, apart with.
fn elements(coding: &str) -> &'static str {
    match coding {
        "H.264" => "rtph264depay ! h264parse ! avdec_h264",
        "H.265" => "rtph265depay ! h265parse ! avdec_h265",
        "MPEG-4" => "rtpmp4vdepay ! mpeg4videoparse ! avdec_mpeg4",
        "MPEG-2" => "rtpmpvdepay ! mpegvideoparse ! avdec_mpeg2video",
        "Motion JPEG" => "rtpjpegdepay ! avdec_mjpeg",
        "VP8" => "rtpvp8depay ! avdec_vp8",
        "VP9" => "rtpvp9depay ! avdec_vp9",
        "AAC" => "rtpmp4gdepay",
        "AC-3" => "rtpac3depay",
        "Opus" => "rtpopusdepay",
        "L16" | "FLAC, as L16" => "rtpL16depay",
        "mu-law" => "rtppcmudepay",
        "MP3" | "MP2" => "rtpmpadepay",
        "Vorbis" => "rtpvorbisdepay",
        _ => "none",
    }
}

/// What is in a file, or came to a player.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// A hash of each decoded picture, in the order in which they are shown.
    pictures: Vec<String>,
    sound: Vec<u8>,
}

/// What is in a file: of pictures also by PyAV's decoders, which are others, and which pictures are key pictures, and when they are shown.
struct File {
    seen: Seen,
    by_pyav: Vec<String>,
    keys: Vec<(bool, f64)>,
}

fn read_lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap_or_default().trim().to_owned()).collect()
}

fn seen(folder: &Path) -> Seen {
    Seen { pictures: read_lines(&folder.join("pictures")), sound: fs::read(folder.join("sound")).unwrap_or_default() }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players").join(name)
}

fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin/python")
}

/// Adds ffmpeg's outputs for what a row has.
fn outputs(command: &mut Command, row: &Row, of_file: bool, folder: &Path) {
    if row.video.is_some() {
        command.args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5"]).arg(folder.join("pictures"));
    }
    if row.audio.is_some() {
        command.args(["-map", "0:a:0"]).args(row.sound(of_file)).arg(folder.join("sound"));
    }
}

fn read_file(row: &Row, media: &Path) -> File {
    let path = media.join(row.file);
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y", "-i"]).arg(&path);
    outputs(&mut command, row, true, folder.path());
    assert!(command.status().expect("ffmpeg runs").success(), "{}", row.file);
    let mut file = File { seen: seen(folder.path()), by_pyav: Vec::new(), keys: Vec::new() };
    if row.video.is_some() {
        let again = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(python());
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script("pyav_frames.py")).arg(&path).arg("udp").arg(again.path());
        assert!(command.stdout(Stdio::null()).status().expect("python runs").success(), "{}", row.file);
        file.by_pyav = seen(again.path()).pictures;
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=key_frame", "-of", "csv=p=0"]);
        let output = command.arg(&path).output().expect("ffprobe runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let flags = text.lines().filter(|line| !line.is_empty()).enumerate();
        file.keys = flags.map(|(number, line)| (line.starts_with('1'), number as f64 / 25.0)).collect();
        assert_eq!(file.keys.len(), file.seen.pictures.len(), "{}", row.file);
    }
    file
}

/// What a player did with a row: whole, seek, scale.
type Cells = [Result<(), String>; 3];

/// How a title is played.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Whole,
    Seek,
    Scale(i32),
}

/// Plays, and gives what came; an error says what went wrong.
fn play(player: Player, row: &Row, way: Way, scene: &Scene) -> Result<Seen, String> {
    let host = &scene.network.a;
    let family = if player == Player::PyAv { Family::V4 } else { Family::V6 };
    let url = scene.url(family, row.file);
    let url = match way {
        Way::Scale(scale) if player != Player::GStreamer => format!("{url}?scale={scale}"),
        // libavformat still gives sound from before a seek of its own, and nothing tells it apart.
        Way::Seek if player != Player::GStreamer && row.video.is_none() => format!("{url}?t={SEEK}"),
        _ => url,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = match player {
        Player::Ffmpeg => {
            let mut command = host.command("ffmpeg");
            command.args([
                "-nostdin",
                "-v",
                "error",
                "-y",
                "-rtsp_transport",
                // After a seek of its own it still gives what came over UDP before.
                if way == Way::Seek { "tcp" } else { "udp" },
                "-buffer_size",
                "8388608",
                "-reorder_queue_size",
                "1000",
            ]);
            if way == Way::Seek && row.video.is_some() {
                command.args(["-noaccurate_seek", "-ss", SEEK]);
            }
            command.args(["-i", &url]);
            outputs(&mut command, row, false, folder.path());
            command
        }
        Player::PyAv => {
            let mut command = host.command(python());
            command.arg(script("pyav_frames.py")).args([&url, "tcp"]).arg(folder.path());
            if way == Way::Seek && row.video.is_some() {
                command.arg(SEEK);
            }
            command
        }
        Player::GStreamer => {
            let mut command = host.command(python());
            let chain = |coding: Option<(&str, &[&str])>| coding.map_or("none", |(name, _)| elements(name));
            command.arg(script("gstreamer_frames.py")).args([&url, "udp"]).arg(folder.path()).args([chain(row.video), chain(row.audio)]);
            match way {
                Way::Whole => {}
                Way::Seek => drop(command.args(["seek", SEEK])),
                Way::Scale(scale) => drop(command.args(["scale", &scale.to_string()])),
            }
            command
        }
    };
    let errors = fs::File::create(folder.path().join("errors")).expect("a file");
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let mut child = command.spawn().expect("the player starts");
    let start = Instant::now();
    loop {
        match child.try_wait().expect("our child can be waited for") {
            Some(status) if status.success() => {
                let mut came = seen(folder.path());
                if player == Player::GStreamer && row.is_linear() {
                    // As they are on the wire, the higher octet first.
                    came.sound.as_chunks_mut::<2>().0.iter_mut().for_each(|sample| sample.reverse());
                }
                return Ok(came);
            }
            Some(status) => {
                let said = fs::read_to_string(folder.path().join("errors")).unwrap_or_default();
                return Err(format!("{status}: {}", said.lines().last().unwrap_or_default()));
            }
            None if start.elapsed() > LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it has not ended within {LIMIT:?}"));
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Compares what came with what is in the file.
fn compare(player: Player, row: &Row, way: Way, file: &File, came: &Seen) -> Result<(), String> {
    let pictures = if player == Player::PyAv { &file.by_pyav } else { &file.seen.pictures };
    let whole = || (pictures.clone(), file.seen.sound.clone());
    let stale_at_most = STALE[usize::from(row.is_linear())];
    let (expected, sound) = match way {
        Way::Whole => whole(),
        // Nothing is to be seen: it plays as ever.
        Way::Scale(_) if row.video.is_none() => whole(),
        Way::Scale(2) => (pictures.clone(), Vec::new()),
        Way::Scale(scale) => {
            let keys = file.keys.iter().zip(pictures).filter(|((key, _), _)| *key).map(|(_, picture)| picture.clone());
            let mut keys: Vec<String> = keys.collect();
            if scale < 0 {
                keys.reverse();
            }
            (keys, Vec::new())
        }
        Way::Seek => {
            let first = pictures.len().checked_sub(came.pictures.len()).ok_or("more pictures than there are")?;
            if row.video.is_some() && !file.keys.get(first).is_some_and(|(key, time)| *key && (0.95..2.31).contains(time)) {
                return Err(format!("{} pictures came, which begin with no key picture before the position", came.pictures.len()));
            }
            // GStreamer lets one buffer through that came before the seek took effect.
            let common = file.seen.sound.iter().rev().zip(came.sound.iter().rev()).take_while(|(in_file, came)| in_file == came).count();
            let stale = came.sound.len() - common;
            let is_stale =
                |octets: &[u8]| octets.len() <= stale_at_most && file.seen.sound.windows(octets.len()).any(|place| place == octets);
            let is_excused = player == Player::GStreamer && stale > 0 && is_stale(&came.sound[..stale]);
            let came_sound = if is_excused { &came.sound[stale..] } else { &came.sound[..] };
            let first_octet = file.seen.sound.len().checked_sub(came_sound.len()).ok_or("more sound than there is")?;
            let share = came_sound.len() as f64 / file.seen.sound.len().max(1) as f64;
            if row.audio.is_some() && !(0.1..0.8).contains(&share) {
                return Err(format!("{share:.2} of the sound came"));
            }
            (pictures[first..].to_vec(), [&came.sound[..came.sound.len() - came_sound.len()], &file.seen.sound[first_octet..]].concat())
        }
    };
    if came.pictures != expected {
        let equal = came.pictures.iter().zip(&expected).take_while(|(came, in_file)| came == in_file).count();
        return Err(format!("{} pictures of {}, the first {equal} as in the file", came.pictures.len(), expected.len()));
    }
    // GStreamer lets one buffer through that came before the seek by which it asks for the scale.
    let is_stale = |octets: &[u8]| octets.len() <= stale_at_most && file.seen.sound.windows(octets.len()).any(|place| place == octets);
    if player == Player::GStreamer && matches!(way, Way::Scale(_)) && sound.is_empty() && !came.sound.is_empty() && is_stale(&came.sound) {
        return Ok(());
    }
    if came.sound != sound {
        let equal = came.sound.iter().zip(&sound).take_while(|(came, in_file)| came == in_file).count();
        // Where it is, and how far it goes on so, for whoever looks for what is missing.
        let begins = came.sound.get(..32).and_then(|begin| file.seen.sound.windows(32).position(|octets| octets == begin));
        let runs =
            begins.map_or(0, |at| file.seen.sound[at..].iter().zip(&came.sound).take_while(|(in_file, came)| in_file == came).count());
        return Err(format!(
            "{} octets of sound of {}, the first {equal} as they should be; {runs} of them are at {begins:?} in the file",
            came.sound.len(),
            sound.len()
        ));
    }
    Ok(())
}

/// What of a row a player did: whole, seek, scale.
fn cells(player: Player, row: &Row, file: &File, scene: &Scene) -> Cells {
    let scales: &[i32] = match player {
        Player::Ffmpeg => &[2, 4],
        Player::PyAv => &[2, -4],
        // A film of three seconds is over before it has begun to show a fourth of them.
        Player::GStreamer if row.video.is_some() => &[2],
        Player::GStreamer => &[],
    };
    let try_way = |way| {
        let compared = |mut came: Seen| {
            let first = compare(player, row, way, file, &came);
            if first.is_ok() || player != Player::GStreamer || way == Way::Whole {
                return first;
            }
            // It lets pictures through that came before its seek took effect.
            for _ in 0..LATE.min(came.pictures.len()) {
                came.pictures.remove(0);
                if compare(player, row, way, file, &came).is_ok() {
                    return Ok(());
                }
            }
            first
        };
        play(player, row, way, scene).and_then(compared).map_err(|error| format!("{way:?}: {error}"))
    };
    // On a busy machine its flush takes a picture or a frame of after the seek along: once, and not each time.
    let sought = |way| try_way(way).or_else(|error| if player == Player::GStreamer { try_way(way) } else { Err(error) });
    let scaled = scales.iter().try_for_each(|scale| sought(Way::Scale(*scale)));
    [try_way(Way::Whole), sought(Way::Seek), scaled]
}

fn table(came: &[Vec<Option<Cells>>]) -> String {
    let mut text = String::from(
        "| container | pictures | sound | ffmpeg: whole, seek, scale | PyAV: whole, seek, scale | GStreamer: whole, seek, scale |\n|---|---|---|---|---|---|\n",
    );
    for (row, players) in ROWS.iter().zip(came) {
        let name = |coding: Option<(&'static str, &[&str])>| coding.map_or("", |(name, _)| name);
        let _ = write!(text, "| {} | {} | {} |", row.container(), name(row.video), name(row.audio));
        for (player, cells) in PLAYERS.iter().zip(players) {
            let shown = match (cells, player.lacks(row)) {
                (None, reason) => reason.unwrap_or("not tried").to_owned(),
                (Some(cells), _) => {
                    let has_scale = row.video.is_some();
                    let cell = |number: usize, cell: &Result<(), String>| match cell {
                        _ if number == 2 && !has_scale => "–",
                        Ok(()) => "yes",
                        Err(_) => "no",
                    };
                    cells.iter().enumerate().map(|(number, one)| cell(number, one)).collect::<Vec<_>>().join(", ")
                }
            };
            let _ = write!(text, " {shown} |");
        }
        text.push('\n');
    }
    text
}

/// Writes the table where it belongs; in CI it is there already, or this fails.
fn keep(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/players.md");
    let text = fs::read_to_string(&path).expect("the document is there");
    let (before, rest) = text.split_once(BEGIN).expect("the table's place is marked");
    let (old, after) = rest.split_once(END).expect("the table's end is marked");
    let new = format!("\n{table}");
    if old != new {
        assert!(
            std::env::var_os("CI").is_none(),
            "the table in docs/players.md is not what came out: run this test and commit what it writes\n{table}"
        );
        fs::write(&path, format!("{before}{BEGIN}{new}{END}{after}")).expect("the document can be written");
    }
}

#[test]
fn what_players_get_is_what_is_in_the_file() {
    let media = tempfile::tempdir().expect("a folder");
    let queue: Mutex<VecDeque<&Row>> = Mutex::new(ROWS.iter().collect());
    let next = |queue: &Mutex<VecDeque<&'static Row>>| queue.lock().expect("no panic under the lock").pop_front();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(row) = next(&queue) {
                    row.make(media.path());
                }
            });
        }
    });
    let Some(scene) = Scene::set_with(media.path(), &[]) else { return };
    let files: Vec<File> = ROWS.iter().map(|row| read_file(row, media.path())).collect();
    let jobs: VecDeque<(usize, usize)> = (0..ROWS.len()).flat_map(|row| (0..PLAYERS.len()).map(move |player| (row, player))).collect();
    let jobs = Mutex::new(jobs);
    let came: Mutex<Vec<Vec<Option<Cells>>>> = Mutex::new(vec![vec![None; PLAYERS.len()]; ROWS.len()]);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((row, player)) = jobs.lock().expect("no panic under the lock").pop_front() else { return };
                    if PLAYERS[player].lacks(&ROWS[row]).is_none() {
                        let cells = cells(PLAYERS[player], &ROWS[row], &files[row], &scene);
                        came.lock().expect("no panic under the lock")[row][player] = Some(cells);
                    }
                }
            });
        }
    });
    let came = came.into_inner().expect("no panic under the lock");
    let mut failures = Vec::new();
    for (row, players) in ROWS.iter().zip(&came) {
        for (player, cells) in PLAYERS.iter().zip(players) {
            failures.extend(
                cells.iter().flatten().filter_map(|cell| cell.as_ref().err()).map(|error| format!("{} {player:?} {error}", row.file)),
            );
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(came.iter().flatten().flatten().count() >= 50 || !tools_are_required());
    keep(&table(&came));
}
