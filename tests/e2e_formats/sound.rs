//! Sound files to real players: each file whole and from a position on, octet by octet what is in it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::support::namespaces::Family::{V4, V6};
use crate::support::players;
use crate::support::scene::Scene;
use crate::support::sound::{LENGTH, SOUNDS, Sound, folder};
use crate::support::viewer::Carriage::{self, Interleaved, Udp};
use crate::support::wait_for;

/// How long a player may take for a file.
const LIMIT: Duration = Duration::from_secs(60);
/// Where in the files a seek goes, in seconds.
const POSITION: u32 = 2;

fn ffmpeg(scene: &Scene, url: &str, carriage: Carriage, _sound: &Sound, out: &Path) -> Command {
    let mut command = scene.network.a.command("ffmpeg");
    command.args(["-nostdin", "-loglevel", "warning", "-y", "-rtsp_transport", if carriage == Udp { "udp" } else { "tcp" }]);
    // Where it is kept from reading for a while, nothing is lost.
    command.args(["-buffer_size", "8388608", "-reorder_queue_size", "1000"]);
    command.args(["-i", url, "-map", "0:a", "-c", "copy", "-f", "data"]).arg(out);
    command
}

fn gstreamer(scene: &Scene, url: &str, carriage: Carriage, sound: &Sound, out: &Path) -> Command {
    let mut command = players::script(&scene.network.b, "gstreamer_sound.py");
    command.args([url, if carriage == Udp { "udp" } else { "tcp" }, sound.depayloader]).arg(out);
    command
}

type Player = fn(&Scene, &str, Carriage, &Sound, &Path) -> Command;

/// Plays all of them at once to a player of that kind; gives what each got.
///
/// Over each transport one test at a time: where a hundred players start together, GStreamer hears of a title's end before it has read all.
fn play(player: Player, carriage: Carriage, query: &str) -> Option<Vec<Vec<u8>>> {
    static ALONE: [Mutex<()>; 2] = [const { Mutex::new(()) }; 2];
    let _alone = ALONE[usize::from(carriage == Udp)].lock().unwrap_or_else(PoisonError::into_inner);
    let scene = Scene::set_with(folder(), &[])?;
    let out = tempfile::tempdir().expect("a folder");
    let start = |sound: &Sound| {
        let url = format!("{}{query}", scene.url(if carriage == Udp { V6 } else { V4 }, sound.name));
        let log = File::create(out.path().join(format!("{}.log", sound.name))).expect("a file in a temporary folder");
        let mut command = player(&scene, &url, carriage, sound, &out.path().join(sound.name));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the player starts")
    };
    let running: Vec<_> = SOUNDS.iter().map(start).collect();
    let end = |(mut child, sound): (std::process::Child, &Sound)| {
        let status = wait_for(&format!("{} to end", sound.name), LIMIT, || child.try_wait().expect("our child can be waited for"));
        let log = fs::read_to_string(out.path().join(format!("{}.log", sound.name))).unwrap_or_default();
        assert!(status.success(), "{}: {status}\n{log}", sound.name);
        fs::read(out.path().join(sound.name)).unwrap_or_else(|error| panic!("{}: {error}\n{log}", sound.name))
    };
    Some(running.into_iter().zip(&SOUNDS).map(end).collect())
}

fn gets_all(player: Player, carriage: Carriage) {
    let Some(received) = play(player, carriage, "") else { return };
    let wrong = SOUNDS.iter().zip(received).filter_map(|(sound, received)| {
        let held = sound.octets();
        assert!(!held.is_empty(), "{}", sound.name);
        let alike = received.iter().zip(&held).take_while(|(a, b)| a == b).count();
        (received != held).then(|| format!("{}: {} of {} octets, {alike} alike", sound.name, received.len(), held.len()))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn gets_the_rest(player: Player, carriage: Carriage) {
    let Some(received) = play(player, carriage, &format!("?t={POSITION}")) else { return };
    let wrong = SOUNDS.iter().zip(received).filter_map(|(sound, received)| {
        let held = sound.octets();
        // From the access unit that sounds there on, which is 0.1 s long at most, and not long before it.
        let expected = held.len() * (LENGTH - POSITION) as usize / LENGTH as usize;
        let slack = if sound.rate > 0 { sound.rate / 8 } else { held.len() / 10 };
        let fits = held.ends_with(&received) && received.len().abs_diff(expected) <= slack;
        (!fits).then(|| format!("{}: {} octets, {expected} expected; its end: {}", sound.name, received.len(), held.ends_with(&received)))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn ffmpeg_gets_all_of_each() {
    gets_all(ffmpeg, Udp);
}

#[test]
fn ffmpeg_gets_all_of_each_interleaved() {
    gets_all(ffmpeg, Interleaved);
}

#[test]
fn ffmpeg_gets_the_rest_from_a_position_on() {
    gets_the_rest(ffmpeg, Interleaved);
}

#[test]
fn gstreamer_gets_all_of_each() {
    gets_all(gstreamer, Udp);
}

#[test]
fn gstreamer_gets_the_rest_from_a_position_on() {
    gets_the_rest(gstreamer, Interleaved);
}
