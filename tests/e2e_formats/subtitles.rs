//! Films with subtitles: these are left out and named, picture and sound play whole.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::film::Film;
use crate::support::namespaces::Family::V4;
use crate::support::players::Player;
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::Interleaved;
use flowsteer::library::{Library, TitlePath};

const SLACK: Duration = Duration::from_secs(20);
/// Title, coding of the subtitles by ffmpeg's name, and by the file's.
const FILMS: [(&str, &str, &str); 4] = [
    ("film.mp4", "mov_text", "tx3g"),
    ("film.mov", "mov_text", "text"),
    ("film.mkv", "srt", "S_TEXT/UTF8"),
    ("ass.mkv", "ass", "S_TEXT/ASS"),
];

/// Two seconds with sound, as they are and with subtitles in two languages.
fn make_films(folder: &Path) {
    let run = |arguments: &str, name: &str| {
        let made = Command::new("ffmpeg").args(["-v", "error", "-y"]).args(arguments.split(' ')).arg(folder.join(name)).status();
        assert!(made.expect("ffmpeg starts").success(), "ffmpeg {arguments} {name}");
    };
    let source = "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=f=440:r=48000 -t 2";
    run(&format!("{source} -c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a aac -b:a 64k"), "source.mp4");
    let lines = "1\n00:00:00,500 --> 00:00:01,000\nOne.\n\n2\n00:00:01,200 --> 00:00:01,900\nTwo.\n";
    std::fs::write(folder.join("lines.srt"), lines).expect("written");
    let [source, lines] = ["source.mp4", "lines.srt"].map(|name| folder.join(name).display().to_string());
    for (name, coding, _) in FILMS {
        let languages = "-metadata:s:s:0 language=ger -metadata:s:s:1 language=fre";
        run(&format!("-i {source} -i {lines} -i {lines} -map 0 -map 1 -map 2 -c copy -c:s {coding} {languages}"), name);
    }
}

#[test]
fn films_play_without_their_subtitles_which_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    make_films(folder.path());
    let Some(scene) = Scene::set_with(folder.path(), &[]) else { return };
    let film = Film::at(&folder.path().join("source.mp4"), "source.mp4", &["video", "audio"]);
    let library = Library::open(folder.path()).expect("a folder");
    for (name, _, coding) in FILMS {
        let entry = library.entry(&TitlePath::new(name).expect("a path")).expect("there");
        let facts = entry.facts().expect("it plays");
        let sentence = |language| match name {
            // It has QuickTime's own numbers for languages, which are not read.
            "film.mov" => format!("the subtitle track is left out: {coding} is not supported"),
            _ => format!("the subtitle track ({language}) is left out: {coding} is not supported"),
        };
        let told = facts.remark.as_ref().map(|remark| remark.reason.clone());
        assert_eq!(told, Some(format!("{}; {}", sentence("ger"), sentence("fre"))), "{name}");
        assert_eq!(facts.tracks.iter().map(|track| &*track.codec).collect::<Vec<_>>(), ["h264", "aac"], "{name}");
    }
    let playing = FILMS.map(|(name, ..)| {
        let player = if name == "film.mkv" { Player::GStreamer } else { Player::Ffmpeg };
        let url = scene.url(V4, name);
        (name, player.play(&scene.network.a, &url, Interleaved))
    });
    for (name, playing) in playing {
        let received = playing.end(SLACK);
        assert_eq!(received.pictures, film.pictures(), "{name}");
        assert_eq!(received.frames, film.frames(), "{name}");
    }
}
