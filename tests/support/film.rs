//! What is in a file of the library, read by ffmpeg and not by the code under test.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::elementary::{Digest, Picture, Pictures, adts_frames};

/// One coded picture or audio frame of a file, in decode order.
#[derive(Clone, Debug)]
pub struct FilmUnit {
    pub digest: Digest,
    /// Whether decoding can start there.
    pub key: bool,
    /// When it is shown, in seconds of the title's timeline.
    pub time: f64,
}

/// A file's two tracks.
#[derive(Debug)]
pub struct Film {
    pub name: String,
    pub video: Vec<FilmUnit>,
    pub audio: Vec<FilmUnit>,
}

/// The folder of the library.
pub fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("media")
}

impl Film {
    /// Reads a file of the library that has picture and sound; each is read once a process.
    pub fn named(name: &str) -> Arc<Self> {
        Self::of_tracks(name, &["video", "audio"])
    }

    /// Reads a file of which only these media are there.
    pub fn of_tracks(name: &str, media: &[&str]) -> Arc<Self> {
        static READ: Mutex<Option<HashMap<String, Arc<Film>>>> = Mutex::new(None);
        let mut read = READ.lock().expect("reading a film does not fail");
        let films = read.get_or_insert_with(HashMap::new);
        Arc::clone(films.entry(name.to_owned()).or_insert_with(|| Arc::new(Self::read(name, media))))
    }

    /// How a player or a file of that name is asked for its pictures as a byte stream: by their coding.
    pub fn coding(name: &str) -> &'static str {
        if name.contains("h265") { "hevc" } else { "h264" }
    }

    fn read(name: &str, media: &[&str]) -> Self {
        Self::at(&library().join(name), name, media)
    }

    /// Reads a file that is not of the library.
    pub fn at(path: &Path, name: &str, media: &[&str]) -> Self {
        let (mut video, mut audio) = (Vec::new(), Vec::new());
        if media.contains(&"video") {
            let pictures = Pictures::of_annex_b(&copy_of(path, &["-map", "0:v:0", "-f", Self::coding(name)]));
            let times = times(path, "v:0");
            assert_eq!(pictures.len(), times.len(), "pictures and their times in {name}");
            let unit = |(picture, time): (Picture, f64)| FilmUnit { digest: picture.digest, key: picture.key, time };
            video = pictures.into_iter().zip(times).map(unit).collect();
        }
        if media.contains(&"audio") {
            let adts = copy_of(path, &["-map", "0:a:0", "-f", "adts"]);
            let (frames, times) = (adts_frames(&adts), times(path, "a:0"));
            assert_eq!(frames.len(), times.len(), "audio frames and their times in {name}");
            let unit = |(frame, time): (&[u8], f64)| FilmUnit { digest: Digest::of(frame), key: true, time };
            audio = frames.into_iter().zip(times).map(unit).collect();
        }
        Self { name: name.to_owned(), video, audio }
    }

    /// The pictures' digests in decode order.
    pub fn pictures(&self) -> Vec<Digest> {
        self.video.iter().map(|unit| unit.digest).collect()
    }

    /// The audio frames' digests.
    pub fn frames(&self) -> Vec<Digest> {
        self.audio.iter().map(|unit| unit.digest).collect()
    }

    /// The position of the key picture at which a start at `seconds` begins: the last one at or before.
    pub fn key_at_or_before(&self, seconds: f64) -> usize {
        let fits = |unit: &FilmUnit| unit.key && unit.time <= seconds + 0.001;
        self.video.iter().rposition(fits).expect("every film begins with a key picture")
    }

    /// Where these pictures lie: the position of the first, having checked that the others follow it one by one.
    #[track_caller]
    pub fn locate_pictures(&self, whose: &str, digests: &[Digest]) -> usize {
        locate(whose, &self.pictures(), digests)
    }

    /// As [`Film::locate_pictures`], for audio frames.
    #[track_caller]
    pub fn locate_frames(&self, whose: &str, digests: &[Digest]) -> usize {
        locate(whose, &self.frames(), digests)
    }
}

/// Where `part` lies in `whole` as one piece.
#[track_caller]
pub fn locate(whose: &str, whole: &[Digest], part: &[Digest]) -> usize {
    assert!(!part.is_empty(), "{whose}: nothing came");
    // Frames of silence look alike: of several places, the one where most fits.
    let places: Vec<usize> = whole.iter().enumerate().filter(|(_, digest)| **digest == part[0]).map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "{whose}: the first unit is not in the file, then {:?}", positions(whole, &part[1..]));
    let fits = |place: usize| whole[place..].iter().zip(part).take_while(|(in_file, came)| in_file == came).count();
    let best = places.into_iter().max_by_key(|place| fits(*place)).expect("there is one at least");
    let length = fits(best);
    assert!(
        length == part.len(),
        "{whose}: {length} units from position {best} on are as in the file, of {} that came; then come positions {:?}",
        part.len(),
        positions(whole, &part[length..])
    );
    best
}

/// Where the first few units of `part` are in `whole`, for a failing test's message.
fn positions(whole: &[Digest], part: &[Digest]) -> Vec<Option<usize>> {
    part.iter().take(8).map(|digest| whole.iter().position(|in_file| in_file == digest)).collect()
}

fn copy_of(path: &Path, options: &[&str]) -> Vec<u8> {
    let out = tempfile::NamedTempFile::new().expect("a temporary file");
    // Pictures and frames that an edit list cuts away, but that decoding starts from, belong to what is compared.
    let has_edits = path.extension().is_some_and(|ending| ["mp4", "mov", "m4a"].iter().any(|name| ending == *name));
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y"])
        .args(if has_edits { &["-ignore_editlist", "1"][..] } else { &[] })
        .arg("-i")
        .arg(path)
        .args(["-c", "copy"])
        .args(options)
        .arg(out.path())
        .output()
        .expect("ffmpeg runs");
    assert!(output.status.success(), "ffmpeg -i {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    fs::read(out.path()).expect("ffmpeg wrote it")
}

fn times(path: &Path, track: &str) -> Vec<f64> {
    let output = Command::new("ffprobe")
        .args(["-loglevel", "error", "-of", "json", "-show_entries", "packet=pts_time", "-select_streams", track])
        .arg(path)
        .output()
        .expect("ffprobe runs");
    assert!(output.status.success(), "ffprobe {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON");
    let packets = answer["packets"].as_array().expect("packets are listed");
    packets.iter().map(|packet| packet["pts_time"].as_str().and_then(|time| time.parse().ok()).expect("every packet has a time")).collect()
}
