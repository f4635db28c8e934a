//! Playlists to real players and to a receiver of every packet: over the borders of items nothing is missing, nothing comes twice, and
//! sequence numbers and timestamps go on; so they do from one round of `?loop` to the next.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::SOON;
use crate::support::elementary::{Digest, Unit};
use crate::support::film::{Film, FilmUnit};
use crate::support::namespaces::Family::{V4, V6};
use crate::support::players::{Player, Received, play_with_retina};
use crate::support::recording::Packet;
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::{self, Interleaved, Udp};
use crate::support::viewer::{Viewer, Watched};
use crate::support::wait_for;

/// 50 pictures with B pictures, two groups.
const ONE: &str = "one.mp4";
/// 36 pictures of another size, 24 a second, in another container: other parameter sets.
const TWO: &str = "two.mkv";
/// 25 pictures, no sound.
const SILENT: &str = "silent.mp4";
const SLACK: Duration = Duration::from_secs(20);
/// Media follow each other sooner unless the server stands still.
const STILL: Duration = Duration::from_millis(150);

fn ffmpeg(arguments: &[&str], to: &Path) {
    let made = Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(to).status();
    assert!(made.expect("ffmpeg starts").success(), "{arguments:?}");
}

fn make_film(path: &Path, size: &str, rate: &str, seconds: &str, sound: Option<&str>, group: &str) {
    let picture = format!("testsrc2=s={size}:r={rate},noise=alls=8:allf=t");
    let sound = sound.map(|hertz| format!("sine=f={hertz}:r=48000"));
    let mut arguments = vec!["-f", "lavfi", "-i", &picture];
    arguments.extend(sound.iter().flat_map(|sound| ["-f", "lavfi", "-i", sound]));
    arguments.extend(["-t", seconds, "-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", group, "-sc_threshold", "0"]);
    arguments.extend(["-pix_fmt", "yuv420p", "-b:v", "300k", "-c:a", "aac", "-b:a", "64k", "-ac", "2"]);
    ffmpeg(&arguments, path);
}

struct Films {
    folder: tempfile::TempDir,
    one: Film,
    two: Film,
    silent: Film,
}

/// The films and the lists, made once for all tests here.
fn films() -> &'static Films {
    static MADE: OnceLock<Films> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        make_film(&at(ONE), "192x108", "25", "2", Some("440"), "25");
        make_film(&at(TWO), "128x96", "24", "1.5", Some("660"), "36");
        make_film(&at(SILENT), "192x108", "25", "1", None, "25");
        let hls = ["-i", &at(ONE).to_string_lossy(), "-c", "copy", "-hls_time", "1", "-hls_list_size", "0", "-f", "hls"].map(str::to_owned);
        let with = |more: &[&'static str]| hls.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>();
        ffmpeg(&with(&[]), &at("packets.m3u8"));
        ffmpeg(&with(&["-hls_segment_type", "fmp4"]), &at("fragments.m3u8"));
        ffmpeg(&["-i", &at(TWO).to_string_lossy(), "-c", "copy"], &at("two.ts"));
        let lists = [
            ("all.m3u8", "#EXTM3U\n#EXTINF:2,One\none.mp4\n#EXTINF:1.5,Two\ntwo.mkv\nmissing.mp4\n"),
            ("gap.m3u", "one.mp4\nsilent.mp4\none.mp4\n"),
            ("mixed.m3u", "one.mp4\ntwo.ts\n"),
            ("part.toml", "[[item]]\nfile = \"one.mp4\"\nstart = 1\n\n[[item]]\nfile = \"two.mkv\"\nend = 1.0\n"),
        ];
        lists.iter().for_each(|(name, text)| fs::write(at(name), text).expect("written"));
        let film = |name: &str, media: &[&str]| Film::at(&at(name), name, media);
        let (one, two, silent) = (film(ONE, &["video", "audio"]), film(TWO, &["video", "audio"]), film(SILENT, &["video"]));
        assert_eq!([&one, &two, &silent].map(|film| film.video.len()), [50, 36, 25]);
        Films { folder, one, two, silent }
    })
}

fn set() -> Option<(Scene, &'static Films)> {
    let films = films();
    Some((Scene::set_with(films.folder.path(), &[])?, films))
}

fn digests<'a>(units: impl IntoIterator<Item = &'a FilmUnit>) -> Vec<Digest> {
    units.into_iter().map(|unit| unit.digest).collect()
}

/// Of an item that is not the first: what its coder has put before its beginning is not heard.
fn heard(film: &Film) -> impl Iterator<Item = &FilmUnit> {
    film.audio.iter().filter(|unit| unit.time > -0.011)
}

impl Films {
    /// What `all.m3u8` gives.
    fn all(&self) -> (Vec<Digest>, Vec<Digest>) {
        let pictures = digests(self.one.video.iter().chain(&self.two.video));
        (pictures, digests(self.one.audio.iter().chain(heard(&self.two))))
    }
}

#[track_caller]
fn same(whose: &str, received: &Received, (pictures, frames): &(Vec<Digest>, Vec<Digest>)) {
    let place = |all: &[Digest], one: &Digest| all.iter().position(|other| other == one);
    let places = |all: &[Digest], of: &[Digest]| of.iter().map(|one| place(all, one)).collect::<Vec<_>>();
    assert!(received.pictures == *pictures, "{whose}: {} pictures: {:?}", pictures.len(), places(pictures, &received.pictures));
    assert!(received.frames == *frames, "{whose}: {} frames: {:?}", frames.len(), places(frames, &received.frames));
}

fn gets_all(player: Player, carriage: Carriage) {
    let Some((scene, films)) = set() else { return };
    let url = scene.url(if carriage == Udp { V6 } else { V4 }, "all.m3u8");
    let received = player.play(&scene.network.a, &url, carriage).end(SLACK);
    same(&format!("{player:?}"), &received, &films.all());
}

#[test]
fn ffmpeg_gets_both_items() {
    gets_all(Player::Ffmpeg, Udp);
}

#[test]
fn pyav_gets_both_items() {
    gets_all(Player::PyAv, Interleaved);
}

#[test]
fn gstreamer_gets_both_items() {
    gets_all(Player::GStreamer, Udp);
}

/// Length-prefixed and byte-stream items together, whose parameter sets differ; and the segments of HLS, as one.
#[test]
fn retina_and_ffmpeg_get_items_of_another_container_and_segments() {
    let Some((scene, films)) = set() else { return };
    let segments = ["packets.m3u8", "fragments.m3u8"].map(|list| {
        let running = Player::Ffmpeg.play(&scene.network.b, &scene.url(V6, list), Udp);
        (list, running)
    });
    let frames = digests(films.one.audio.iter().chain(heard(&films.two)));
    let whole = |received: &Received| received.frames.len() >= frames.len() && received.pictures.len() >= 86;
    let received = play_with_retina(&scene.network.a, &scene.url(V6, "mixed.m3u"), Udp, whole);
    // A transport stream's pictures have delimiters, and its messages are put together otherwise: they are counted.
    assert_eq!((received.pictures.len(), received.frames.len()), (86, frames.len()));
    assert_eq!(received.pictures[..50], films.one.pictures()[..]);
    assert_eq!(received.frames, frames);
    for (list, running) in segments {
        let received = running.end(SLACK);
        assert_eq!((received.pictures.len(), &received.frames), (50, &films.one.frames()), "{list}");
    }
}

/// What is decoded over the border, where size and parameter sets change, is every picture, and the decoder has nothing to say.
#[test]
fn ffmpeg_decodes_over_the_border() {
    let Some((scene, _)) = set() else { return };
    let mut command = scene.network.a.command("ffmpeg");
    command.args(["-nostdin", "-loglevel", "warning", "-rtsp_transport", "tcp", "-i", &scene.url(V4, "mixed.m3u"), "-map", "0:v"]);
    let output = command.args(["-fps_mode", "passthrough", "-f", "framehash", "-"]).output().expect("ffmpeg runs");
    let shown = String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!((shown, String::from_utf8_lossy(&output.stderr).as_ref()), (86, ""));
}

/// A seek into the second item, by the player.
#[test]
fn ffmpeg_seeks_into_the_second_item() {
    let Some((scene, films)) = set() else { return };
    let received = Player::Ffmpeg.play_from(&scene.network.a, &scene.url(V4, "all.m3u8"), Interleaved, 3).end(SLACK);
    assert_eq!(received.pictures, films.two.pictures());
}

/// Parts of items; who takes over near the border goes on over it.
#[test]
fn parts_of_items_are_handed_over_at_the_border() {
    let Some((scene, films)) = set() else { return };
    // At a quarter of the speed, so that a player that is slow to start comes before the end.
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, "part.toml?speed=0.25"), Udp);
    a.video().recording.wait_for("5 pictures", SOON, |arrived| (pictures_begun(&arrived.rtp) >= 5).then_some(()));
    let url = scene.operator().takeover_url(&a.video().home, V4, "presentation");
    let received = Player::Ffmpeg.play(&scene.network.b, &url, Interleaved).end(SLACK);
    // Of the first item the second group; of the second what is shown before its end, a picture that others lean on with it.
    let second: Vec<&FilmUnit> = films.two.video.iter().collect();
    let last = second.iter().rposition(|unit| unit.time - second[0].time < 1.0 - 0.001).expect("pictures");
    let pictures = digests(films.one.video[25..].iter().chain(second[..=last].iter().copied()));
    // Where this machine is slow it takes over behind the border, and begins with the key picture there.
    assert!(received.pictures == pictures || received.pictures == pictures[25..], "{:?} of {pictures:?}", received.pictures);
    let units: Vec<Digest> = a.video().units().iter().map(|unit| unit.digest).collect();
    assert_eq!(units, pictures[..units.len()]);
}

fn pictures_begun(packets: &[Packet]) -> usize {
    packets.chunk_by(|before, next| before.timestamp() == next.timestamp()).count()
}

/// Ticks from the first unit on, whatever wraps around.
fn ticks(units: &[Unit]) -> Vec<i64> {
    units.iter().map(|unit| i64::from(unit.timestamp.wrapping_sub(units[0].timestamp) as i32)).collect()
}

/// Times in the order of showing, in seconds: none twice, none further from the next than `most`.
#[track_caller]
fn assert_steady(watched: &Watched, units: &[Unit], (least, most): (f64, f64)) {
    let mut shown = ticks(units);
    shown.sort_unstable();
    // What is shown between the last ones may not have come yet.
    shown.truncate(shown.len().saturating_sub(3));
    let steps: Vec<f64> = shown.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / f64::from(watched.clock_rate)).collect();
    let odd: Vec<_> = steps.iter().enumerate().filter(|(_, step)| **step < least || **step > most).collect();
    assert!(odd.is_empty(), "{}: steps of {odd:?} s among {}", watched.media, steps.len());
}

/// For how long nothing of a track came at most, in seconds; nothing where that was no longer than media take.
fn stood_still(watched: &Watched) -> f64 {
    let pauses = watched.packets().windows(2).map(|pair| pair[1].at.duration_since(pair[0].at)).max();
    pauses.filter(|pause| *pause > STILL).unwrap_or_default().as_secs_f64()
}

/// Every number and every tick over the borders, and from round to round.
#[test]
fn numbers_and_timestamps_go_on_over_borders_and_rounds() {
    let Some((scene, films)) = set() else { return };
    let (pictures, frames) = films.all();
    let carriages = [Udp, Interleaved];
    let viewers = carriages.map(|carriage| {
        let host = if carriage == Udp { &scene.network.a } else { &scene.network.b };
        Viewer::watch(host, &scene.url(V6, "all.m3u8?loop"), carriage)
    });
    for viewer in &viewers {
        // Into the second round's second item.
        viewer.video().recording.wait_for("a second round", SLACK, |arrived| (pictures_begun(&arrived.rtp) > 86 + 60).then_some(()));
        // A further round has no more of what is before its beginning than an item that is not the first.
        let further = digests(heard(&films.one).chain(heard(&films.two)));
        for (track, round, further) in [(viewer.video(), &pictures, &pictures), (viewer.audio(), &frames, &further)] {
            // Numbers that go on: nothing lost, nothing twice.
            let units = track.units();
            let came: Vec<Digest> = units.iter().map(|unit| unit.digest).collect();
            // Where this machine is slow it is in a third round by now.
            let again: Vec<Digest> = round.iter().chain(further.iter().cycle()).copied().take(came.len()).collect();
            assert_eq!(came, again, "{}: round for round", track.media);
            assert!(track.packets().iter().all(|packet| packet.ssrc() == track.ssrc && packet.payload_type() == track.payload_type));
            // 25 and 24 pictures a second; at a border what is longer, sound or pictures, has its end. MP4 has the last frame of sound cut.
            let (least, most) = if track.media == "video" { (0.039, 0.120) } else { (0.0159, 0.070) };
            // A round that the server is late for begins so much later.
            assert_steady(track, &units, (least, most + stood_still(track)));
        }
    }
}

/// An item without sound: a gap in its numbers nowhere, in its timestamps as long as the item.
#[test]
fn sound_has_a_gap_where_an_item_has_none() {
    let Some((scene, films)) = set() else { return };
    let viewer = Viewer::watch(&scene.network.a, &scene.url(V6, "gap.m3u?t=1"), Udp);
    for track in &viewer.tracks {
        track.recording.wait_for("the end", SLACK, |arrived| arrived.bye_at());
    }
    let video = viewer.video().units();
    let expected = digests(films.one.video[25..].iter().chain(&films.silent.video).chain(&films.one.video));
    assert_eq!(video.iter().map(|unit| unit.digest).collect::<Vec<_>>(), expected);
    assert_steady(viewer.video(), &video, (0.039, 0.081));
    let sound = viewer.audio().units();
    let at: Vec<f64> = ticks(&sound).iter().map(|tick| *tick as f64 / f64::from(viewer.audio().clock_rate)).collect();
    let steps: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.070).collect();
    assert!(steps.len() == 1 && (1.0..1.1).contains(&steps[0]), "{steps:?}");
    let again = heard(&films.one).count();
    assert_eq!(sound.iter().rev().take(again).rev().map(|unit| unit.digest).collect::<Vec<_>>(), digests(heard(&films.one)));
}

/// What the list names, and what it leaves out, is shown; a change of either is seen while the server runs.
#[test]
fn an_edited_list_is_seen() {
    let films = films();
    let folder = tempfile::tempdir().expect("a folder");
    let copy = |from: &str, to: &str| fs::copy(films.folder.path().join(from), folder.path().join(to)).expect("copied");
    copy(ONE, "a.mp4");
    fs::write(folder.path().join("list.m3u"), "a.mp4\nb.mp4\nhttp://example.org/c.mp4\n").expect("written");
    let Some(scene) = Scene::set_with(folder.path(), &[]) else { return };
    let shown = |what: &str, duration: std::ops::Range<f64>, problem: Option<&str>| {
        wait_for(what, SOON * 2, || {
            let titles = scene.operator().get("/api/v1/titles").json();
            let titles = titles.as_array().or_else(|| titles["titles"].as_array())?.clone();
            let list = titles.into_iter().find(|title| title["path"] == "list.m3u")?;
            (list["durationSeconds"].as_f64().is_some_and(|seconds| duration.contains(&seconds)) && list["problem"].as_str() == problem)
                .then_some(())
        });
    };
    let url = "line 3: a URL is no file of the library";
    shown("one item", 2.0..2.1, Some(&format!("{url}; line 2: there is no such file")));
    copy(TWO, "b.mp4");
    shown("the second item", 3.5..3.7, Some(url));
    fs::write(folder.path().join("list.m3u"), "b.mp4\n").expect("written");
    shown("the edited list", 1.5..1.6, None);
}
