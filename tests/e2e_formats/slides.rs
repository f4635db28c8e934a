//! Slide shows to real players: decoded pictures are those of the files, as often and as long as `slides.toml` says, and edits show.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::namespaces::Family::{V4, V6};
use crate::support::namespaces::Host;
use crate::support::scene::Scene;
use crate::support::{SOON, wait_for};

const FRAMEHASH: [&str; 9] = ["-map", "0:v", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5", "-"];
const SHOW: &str = "trip/slides.toml";
/// Three pictures, the first of them twice, and one that RTP cannot carry.
const SLIDES: &str = r#"
title = "A trip"
seconds = 0.5
rate = 2
[[slides]]
file = "a.jpg"
[[slides]]
file = "more/b.jpg"
seconds = 1.2
[[slides]]
file = "c.jpeg"
[[slides]]
file = "progressive.jpg"
[[slides]]
file = "a.jpg"
"#;
/// What comes, and when in milliseconds.
const SHOWN: [&str; 6] = ["a.jpg", "more/b.jpg", "more/b.jpg", "more/b.jpg", "c.jpeg", "a.jpg"];
const TIMES: [u64; 6] = [0, 500, 900, 1_300, 1_700, 2_200];

fn ffmpeg(arguments: &[&str], file: &Path) {
    let mut command = Command::new("ffmpeg");
    let made = command.args(["-v", "error", "-nostdin", "-y"]).args(arguments).arg(file).status();
    assert!(made.expect("ffmpeg starts").success(), "ffmpeg {arguments:?}");
}

/// The pictures of a trip, with a hash of each as it is decoded.
fn make(folder: &Path) -> HashMap<&'static str, String> {
    fs::create_dir_all(folder.join("more")).expect("made");
    let pictures = [("a.jpg", "3", "yuvj420p"), ("more/b.jpg", "2", "yuvj420p"), ("c.jpeg", "10", "yuvj420p"), ("d.jpg", "1", "yuvj420p")];
    let made = |(at, (name, quality, format)): (usize, (&'static str, &str, &str))| {
        let source = format!("testsrc2=s=640x368,noise=alls=9:all_seed={at},hue=h={}", at * 60);
        let coded = ["-frames:v", "1", "-c:v", "mjpeg", "-huffman", "default", "-q:v", quality, "-pix_fmt", format];
        ffmpeg(&[&["-f", "lavfi", "-i", &source][..], &coded].concat(), &folder.join(name));
        (name, hashes(&Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(folder.join(name)).args(FRAMEHASH).output()).remove(0).1)
    };
    let hashes = pictures.into_iter().enumerate().map(made).collect();
    // A picture coded otherwise is told by its frame header.
    let mut progressive = fs::read(folder.join("a.jpg")).expect("there");
    let at = progressive.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame header");
    progressive[at + 1] = 0xc2;
    fs::write(folder.join("progressive.jpg"), progressive).expect("written");
    hashes
}

/// Time and hash of each picture of a framehash, or of lines that are hashes.
#[track_caller]
fn hashes(output: &std::io::Result<Output>) -> Vec<(u64, String)> {
    let output = output.as_ref().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::str::from_utf8(&output.stdout).expect("text");
    let rate = text.lines().find_map(|line| line.strip_prefix("#tb 0: 1/")).map_or(1, |rate| rate.trim().parse().expect("a number"));
    let fields = |line: &str| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let time = fields.get(2).map_or(0, |time| time.parse::<u64>().expect("a number") * 1_000 / rate);
        (time, fields.last().expect("a hash").to_string())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(fields).collect()
}

fn ffmpeg_plays(host: &Host, url: &str, transport: &str) -> Vec<(u64, String)> {
    let mut command = host.command("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-rtsp_transport", transport, "-buffer_size", "8388608", "-i", url]).args(FRAMEHASH);
    hashes(&command.output())
}

/// What a player calls the title at `url`.
fn name(host: &Host, url: &str) -> String {
    let asked = ["-v", "error", "-rtsp_transport", "tcp", "-show_entries", "format_tags=title", "-of", "csv=p=0", url];
    let output = host.command("ffprobe").args(asked).output().expect("ffprobe runs");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn script_plays(host: &Host, player: &[&str], url: &str, transport: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = host.command(root.join("target/test-venv/bin/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(root.join("tests/players/pictures.py")).args([player[0], url, transport]);
    hashes(&command.args(&player[1..]).output()).into_iter().map(|(_, hash)| hash).collect()
}

/// The title as the API shows it, once it is as wanted.
fn title(scene: &Scene, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    wait_for("the show to be as it was written", SOON, || {
        let titles = scene.operator().get("/api/v1/titles").json();
        let titles = titles.as_array().expect("a list").clone();
        assert!(titles.len() == 1 && titles[0]["path"] == SHOW, "{titles:?}");
        titles.into_iter().find(|title| wanted(title))
    })
}

#[test]
fn pictures_are_shown_as_they_are_in_their_order_and_edits_show() {
    let library = tempfile::tempdir().expect("a folder");
    let folder = library.path().join("trip");
    let files = make(&folder);
    fs::write(folder.join("slides.toml"), SLIDES).expect("written");
    let Some(scene) = Scene::set_with(library.path(), &[]) else { return };
    let known = title(&scene, |title| title["tracks"].is_array());
    assert_eq!((&known["durationSeconds"], &known["tracks"][0]["codec"]), (&2.7.into(), &"mjpeg".into()), "{known}");
    let left_out = "\"progressive.jpg\" is left out: a JPEG picture is not coded in the baseline process";
    assert_eq!(known["problem"], left_out, "{known}");

    let device = &scene.network.a;
    let shown: Vec<String> = SHOWN.iter().map(|name| files[name].clone()).collect();
    std::thread::scope(|threads| {
        threads.spawn(|| assert_eq!(name(device, &scene.url(V4, SHOW)), "A trip"));
        for (family, transport) in [(V6, "udp"), (V4, "tcp")] {
            let (scene, shown) = (&scene, &shown);
            threads.spawn(move || {
                let url = scene.url(family, SHOW);
                let received = ffmpeg_plays(device, &url, transport);
                let (times, pictures): (Vec<u64>, Vec<String>) = received.into_iter().unzip();
                assert_eq!((times, &pictures), (TIMES.to_vec(), shown), "ffmpeg over {transport}");
            });
            for player in [&["pyav"][..], &["gstreamer", "rtpjpegdepay", "avdec_mjpeg"]] {
                threads.spawn(move || {
                    assert_eq!(script_plays(device, player, &scene.url(family, SHOW), transport), *shown, "{player:?} over {transport}");
                });
            }
        }
    });

    // Another picture under a name, then another list.
    fs::copy(folder.join("d.jpg"), folder.join("a.jpg")).expect("copied");
    fs::write(folder.join("slides.toml"), "slides = [{ file = \"a.jpg\", seconds = 0.4 }, { file = \"c.jpeg\", seconds = 0.8 }]")
        .expect("written");
    title(&scene, |title| title["durationSeconds"] == 1.2 && title["problem"].is_null());
    let received = ffmpeg_plays(device, &scene.url(V4, SHOW), "tcp");
    let expected = [(0, "d.jpg"), (200, "d.jpg"), (400, "c.jpeg"), (600, "c.jpeg"), (800, "c.jpeg"), (1_000, "c.jpeg")];
    assert_eq!(received, expected.map(|(time, name)| (time, files[name].clone())));
}
