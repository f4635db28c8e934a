//! Real players against the real server: each of them × UDP and interleaved × IPv4 and IPv6, compared with the file unit by unit.
//!
//! What is compared: coded slices, SEI messages and audio frames, in order, by their hashes. Debian's VLC has no RTSP module; what its
//! library live555 says on the wire is in `e2e_transcript.rs`.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::elementary::Digest;
use support::film::{Film, FilmUnit, locate};
use support::namespaces::Family;
use support::players::{LOST_TO_BYE, Player, RECORDED_LATE, Received, play_with_retina};
use support::scene::Scene;
use support::viewer::Carriage;

/// Ten seconds, a key picture every two.
const TITLE: &str = "short.mp4";
/// How long a player may take to start, and to end after the title has.
const SLACK: Duration = Duration::from_secs(10);

/// The title from its first unit to its last; then the player ends by itself.
fn gets_the_whole_title_and_ends_with_it(player: Player, carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let (film, url, device) = (Film::named(TITLE), scene.url(family, TITLE), &scene.network.a);
    let start = Instant::now();
    let received = match player {
        Player::Retina => play_with_retina(device, &url, carriage, |_| false),
        _ => player.play(device, &url, carriage).end(Duration::from_secs(10) + SLACK),
    };
    assert!(start.elapsed() > Duration::from_secs(9), "a title of 10 s plays in real time, not in {:?}", start.elapsed());
    assert_eq!(film.locate_pictures("pictures", &received.pictures), 0);
    assert_eq!(film.locate_frames("sound", &received.frames), 0);
    assert_eq!((received.pictures.len(), received.frames.len()), (film.video.len(), film.audio.len()), "pictures and audio frames");
}

/// A seek to the middle starts at the last key picture at or before, and from there on nothing is missing.
fn seeks_to_the_middle(player: Player, carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let (film, url, device) = (Film::named(TITLE), scene.url(family, TITLE), &scene.network.a);
    let received = match player {
        // Retina cannot seek; it opens the title at a position.
        Player::Retina => play_with_retina(device, &format!("{url}?t=5"), carriage, |_| false),
        _ => player.play_from(device, &url, carriage, 5).end(Duration::from_secs(10) + SLACK),
    };
    let received = behind_a_seek(player, carriage, received, &film, film.key_at_or_before(5.0));
    let first = film.locate_pictures("pictures after the seek", &received.pictures);
    assert_eq!(first, film.key_at_or_before(5.0), "the position of the first picture");
    assert_eq!(received.pictures.len(), film.video.len() - first, "pictures up to the end");
    let first_frame = film.locate_frames("sound after the seek", &received.frames);
    let (sound, picture) = (film.audio[first_frame].time, film.video[first].time);
    assert!((sound - picture).abs() < 0.1, "the sound starts at {sound} s, the picture at {picture} s");
    assert_eq!(received.frames.len(), film.audio.len() - first_frame, "audio frames up to the end");
}

/// What came behind a seek to the key picture at `key`. Over UDP libavformat still gives what it has in its sockets from before its own seek,
/// which on a busy machine is much. Whether its sound begins too early is to be seen where it is interleaved.
#[track_caller]
fn behind_a_seek(player: Player, carriage: Carriage, mut received: Received, film: &Film, key: usize) -> Received {
    if player == Player::GStreamer {
        return received.behind_a_seek(film, key);
    }
    if carriage == Carriage::Interleaved || player == Player::Retina {
        return received;
    }
    let is_of = |whole: &[Digest], came: &[Digest]| came.iter().all(|unit| whole.contains(unit));
    let (pictures, frames) = (film.pictures(), film.frames());
    let begins = received.pictures.iter().position(|picture| *picture == pictures[key]).unwrap_or(0);
    // Of those that a wrong seek begins with, the last is right before the key picture.
    assert!(is_of(&pictures[..key - 1], &received.pictures[..begins]), "pictures of before the seek are others than the file's");
    received.pictures.drain(..begins);
    // Frames of silence look alike, also those of before and these.
    let sought = film.audio.iter().filter(|frame| frame.time > film.video[key].time - 0.1).count();
    let alike = received.frames.iter().rev().zip(frames.iter().rev()).take(sought).take_while(|(came, in_file)| came == in_file).count();
    let begins = received.frames.len() - alike;
    assert!(is_of(&frames[..frames.len() - alike], &received.frames[..begins]), "sound of before the seek is another than the file's");
    received.frames.drain(..begins);
    received
}

/// While it is paused the presentation stands still; afterwards it goes on where it was.
fn pauses_and_resumes(player: Player, carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let (film, url, device) = (Film::named(TITLE), scene.url(family, TITLE), &scene.network.a);
    let (received, stood) = if player == Player::Retina {
        // Retina cannot pause; the operator does.
        let is_resumed = AtomicBool::new(false);
        let enough = |received: &Received| is_resumed.load(Ordering::Relaxed) && received.pictures.len() >= 75;
        thread::scope(|scope| {
            let playing = scope.spawn(|| play_with_retina(device, &url, carriage, enough));
            let session = scene.operator().wait_for_state("playing");
            thread::sleep(Duration::from_secs(1));
            scene.operator().control(&session, "pause", &json!({}));
            let stood = assert_stands_still(&scene);
            scene.operator().control(&session, "play", &json!({}));
            is_resumed.store(true, Ordering::Relaxed);
            (playing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), stood)
        })
    } else {
        let mut running = player.play_with_a_pause(device, &url, carriage, 30, 45);
        running.wait_until_it_says("paused", SLACK * 2);
        let stood = assert_stands_still(&scene);
        running.tell("resume");
        (running.end(SLACK), stood)
    };
    let Received { pictures, frames, .. } = received;
    if player != Player::Retina && player != Player::GStreamer && carriage == Carriage::Interleaved {
        // libavformat throws away the interleaved packets that come between its PAUSE and the answer: seconds of them on a busy machine.
        assert_in_one_or_two_pieces("pictures", &film.video, &pictures, stood);
        assert_in_one_or_two_pieces("sound", &film.audio, &frames, stood);
    } else {
        assert_eq!(film.locate_pictures("pictures across the pause", &pictures), 0);
        assert_eq!(film.locate_frames("sound across the pause", &frames), 0);
    }
}

/// A seek to behind the end plays the last of the title, and the player ends with it.
fn ends_after_a_seek_past_the_end(player: Player, carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let received = player.play_from(&scene.network.a, &scene.url(family, TITLE), carriage, 100).end(SLACK + SLACK);
    let received = behind_a_seek(player, carriage, received, &film, film.key_at_or_before(10.0));
    // The ffmpeg program throws away what lies before the position that it asked for, which is all of it.
    if player != Player::Ffmpeg || !received.pictures.is_empty() {
        let first = film.locate_pictures("pictures after the seek", &received.pictures);
        assert_eq!(first, film.key_at_or_before(10.0), "the position of the first picture");
        assert_eq!(received.pictures.len(), film.video.len() - first, "pictures up to the end");
    }
}

/// mpv shows every picture, and ends.
fn mpv_shows_the_whole_title_and_ends_with_it(carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let received = Player::Mpv.play(&scene.network.a, &scene.url(family, TITLE), carriage).end(Duration::from_secs(10) + SLACK);
    assert_eq!(received.shown, Some(film.video.len()), "pictures shown");
    let first = film.locate_pictures("pictures", &received.pictures);
    assert!(first <= RECORDED_LATE, "the record begins with picture {first}");
    assert_eq!(first + received.pictures.len(), film.video.len(), "pictures up to the end");
    assert_eq!(film.locate_frames("sound", &received.frames), 0);
    assert!(received.frames.len() + LOST_TO_BYE >= film.audio.len(), "of {} audio frames {}", film.audio.len(), received.frames.len());
}

/// Where it does so, in seconds.
#[track_caller]
fn assert_stands_still(scene: &Scene) -> f64 {
    let before = scene.operator().wait_for_state("paused");
    thread::sleep(Duration::from_millis(700));
    let after = scene.operator().session();
    assert_eq!((&after["state"], &after["positionSeconds"]), (&json!("paused"), &before["positionSeconds"]), "half a second later");
    after["positionSeconds"].as_f64().expect("a position")
}

/// As in the file from the first unit on, with at most one gap, around which a unit may be damaged: of what was sent before it stood
/// there, a little of which is shown later; a second of it at any rate.
#[track_caller]
fn assert_in_one_or_two_pieces(whose: &str, film: &[FilmUnit], part: &[Digest], stood: f64) {
    let whole: Vec<Digest> = film.iter().map(|unit| unit.digest).collect();
    let same = whole.iter().zip(part).take_while(|(in_file, came)| in_file == came).count();
    if same == part.len() {
        return;
    }
    // What is late is sent one track behind the other, and it stands where the first unit that was not sent belongs.
    let until = (stood + 0.2).max(film[same].time + 1.0);
    let sent = film.iter().filter(|unit| unit.time <= until).count();
    let rest = &part[same..];
    let known = rest.iter().take(3).position(|digest| whole[same..].contains(digest));
    let known = known.unwrap_or_else(|| panic!("{whose}: units after {same} that are not in the file"));
    let next = same + locate(whose, &whole[same..], &rest[known..]);
    assert!(next <= sent + 1, "{whose}: the units from {same} to {next} are missing, and {sent} at most were sent before the pause");
}

macro_rules! rows {
    ($player:ident, $variant:expr) => {
        mod $player {
            rows!(over_udp_and_ipv6, $variant, Udp, V6);
            rows!(over_udp_and_ipv4, $variant, Udp, V4);
            rows!(interleaved_over_ipv6, $variant, Interleaved, V6);
            rows!(interleaved_over_ipv4, $variant, Interleaved, V4);
        }
    };
    ($network:ident, $variant:expr, $carriage:ident, $family:ident) => {
        mod $network {
            use crate::support::{namespaces::Family::$family, players::Player, viewer::Carriage::$carriage};

            #[test]
            fn gets_the_whole_title_and_ends_with_it() {
                crate::gets_the_whole_title_and_ends_with_it($variant, $carriage, $family);
            }

            #[test]
            fn seeks_to_the_middle() {
                crate::seeks_to_the_middle($variant, $carriage, $family);
            }

            #[test]
            fn pauses_and_resumes() {
                crate::pauses_and_resumes($variant, $carriage, $family);
            }
        }
    };
}

rows!(ffmpeg, Player::Ffmpeg);
rows!(pyav, Player::PyAv);
rows!(gstreamer, Player::GStreamer);
rows!(retina, Player::Retina);

macro_rules! mpv {
    ($($name:ident: $carriage:ident, $family:ident;)*) => {
        mod mpv {
            use crate::support::{namespaces::Family, viewer::Carriage};

            $(
                #[test]
                fn $name() {
                    crate::mpv_shows_the_whole_title_and_ends_with_it(Carriage::$carriage, Family::$family);
                }
            )*
        }
    };
}

mpv! {
    shows_the_whole_title_over_udp_and_ipv6: Udp, V6;
    shows_the_whole_title_over_udp_and_ipv4: Udp, V4;
    shows_the_whole_title_interleaved_over_ipv6: Interleaved, V6;
    shows_the_whole_title_interleaved_over_ipv4: Interleaved, V4;
}

macro_rules! past_the_end {
    ($($name:ident: $player:ident, $carriage:ident;)*) => {
        mod a_seek_past_the_end {
            use crate::support::{namespaces::Family, players::Player, viewer::Carriage};

            $(
                #[test]
                fn $name() {
                    crate::ends_after_a_seek_past_the_end(Player::$player, Carriage::$carriage, Family::V6);
                }
            )*
        }
    };
}

past_the_end! {
    ends_ffmpeg_over_udp: Ffmpeg, Udp;
    ends_ffmpeg_interleaved: Ffmpeg, Interleaved;
    ends_pyav_over_udp: PyAv, Udp;
    ends_pyav_interleaved: PyAv, Interleaved;
    ends_gstreamer_over_udp: GStreamer, Udp;
    ends_gstreamer_interleaved: GStreamer, Interleaved;
}
