//! Where titles have an edge: items of a playlist that are coded with other parameters, a range that is played backwards, transport streams
//! from round to round, sound that no packet can hold.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::SOON;
use crate::support::namespaces::Family::{V4, V6};
use crate::support::recording::{Arrived, Packet};
use crate::support::rtsp::Connection;
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::{Interleaved, Udp};
use crate::support::viewer::{Viewer, authority};
use crate::support::wait_for;
use crate::video::{AV1, Coding, FRAMEHASH, Player, hashes};

const PICTURE: &str = "testsrc2=s=192x108";
/// Lists of two items of a second each, whose parameter sets or headers differ: the ending, and how each item is coded.
const LISTS: [(&str, &str, [&str; 2]); 3] = [
    (
        "h265",
        "mp4",
        [
            "-r 25 -c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=error:keyint=25:bframes=2:open-gop=0",
            "-r 24 -c:v libx265 -preset medium -tag:v hvc1 -x265-params log-level=error:keyint=12:bframes=3:open-gop=0:no-sao=1:ctu=32:ref=2",
        ],
    ),
    (
        "av1",
        "mp4",
        ["-r 25 -c:v libsvtav1 -preset 12 -g 25", "-r 24 -c:v libsvtav1 -preset 8 -g 12 -svtav1-params enable-cdef=0:enable-restoration=0"],
    ),
    ("mpeg4", "mp4", ["-r 25 -c:v mpeg4 -g 25 -bf 2 -b:v 500k", "-r 24 -c:v mpeg4 -g 12 -bf 2 -mpeg_quant 1 -b:v 500k"]),
];
const SLACK: Duration = Duration::from_secs(20);

fn ffmpeg(arguments: &str, to: &Path) {
    let made = Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(arguments.split(' ')).arg(to).status();
    assert!(made.expect("ffmpeg starts").success(), "{arguments}");
}

/// Made once for all tests here.
fn set() -> Option<(Scene, &'static Path)> {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let stream = "-f lavfi -i sine=r=48000 -t 1 -c:v libx264 -preset ultrafast -g 25 -bf 0 -c:a mp2";
        let long = "-f lavfi -i testsrc2=s=64x48:r=1 -t 7200 -c:v libx264 -preset ultrafast -g 2 -bf 0 -muxdelay 0 -output_ts_offset 92000";
        let opus = "-f lavfi -i sine=r=48000 -t 2 -c:v libx264 -preset ultrafast -c:a libopus -b:a 510k -vbr off -frame_duration 60 -ac 2";
        let mut files = vec![
            ("long.ts".to_owned(), long.to_owned()),
            ("back.mp4".into(), format!("-f lavfi -i {PICTURE}:r=25 -t 14 -c:v libx264 -preset ultrafast -g 10 -pix_fmt yuv420p")),
            ("round.ts".into(), format!("-f lavfi -i {PICTURE}:r=25 {stream}")),
            ("loud.mkv".into(), format!("-f lavfi -i {PICTURE}:r=25 {opus}")),
        ];
        for (coding, ending, items) in LISTS {
            let names = [0, 1].map(|number| format!("{coding}-{number}.{ending}"));
            std::fs::write(at(&format!("{coding}.m3u")), names.join("\n")).expect("written");
            let coded = items.map(|item| format!("-f lavfi -i {PICTURE} -t 1 -pix_fmt yuv420p {item}"));
            files.extend(names.into_iter().zip(coded));
        }
        std::thread::scope(|scope| {
            files.iter().for_each(|(name, coded)| drop(scope.spawn(|| ffmpeg(coded, &at(name)))));
        });
        folder
    });
    Some((Scene::set_with(folder.path(), &[])?, folder.path()))
}

/// Of each picture of a file, as decoded.
fn decoded(file: &Path) -> Vec<String> {
    hashes(&Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-i"]).arg(file).args(FRAMEHASH).output().expect("ffmpeg runs"))
}

/// What is decoded over the border is every picture of both items; a part of the list, and twice as fast, as well.
#[test]
fn items_with_other_parameters_are_decoded_over_the_border() {
    let Some((scene, folder)) = set() else { return };
    let scene = &scene;
    std::thread::scope(|scope| {
        let queries = |coding: &'static str| -> &'static [&'static str] {
            match coding {
                "h265" => &["", "?end=1.5", "?scale=2"],
                "av1" => &["", "?t=0.5&end=1.6"],
                _ => &["", "?end=1.5"],
            }
        };
        let asked: Vec<_> =
            LISTS.iter().flat_map(|(coding, ending, _)| queries(coding).iter().map(move |query| (*coding, *ending, *query))).collect();
        let running: Vec<_> = asked
            .into_iter()
            .map(|(coding, ending, query)| {
                let play = move || {
                    let url = format!("{}{query}", scene.url(V4, &format!("{coding}.m3u")));
                    let whose = Coding { elements: ["", ""], ..AV1 };
                    match coding {
                        "av1" => Player::PyAv.play(&whose, &scene.network.a, &url, Interleaved),
                        "h265" => Player::Ffmpeg.play(&whose, &scene.network.a, &url, Interleaved),
                        _ => {
                            // In several threads its decoder keeps the quantization matrices of the first item.
                            let mut command = scene.network.a.command("ffmpeg");
                            command.args(["-v", "error", "-nostdin", "-threads", "1", "-rtsp_transport", "tcp", "-i", &url]);
                            hashes(&command.args(FRAMEHASH).output().expect("ffmpeg runs"))
                        }
                    }
                };
                (coding, ending, query, scope.spawn(play))
            })
            .collect();
        for (coding, ending, query, played) in running {
            let items = [0, 1].map(|number| decoded(&folder.join(format!("{coding}-{number}.{ending}"))));
            assert_eq!(items.each_ref().map(Vec::len), [25, 24], "{coding}");
            let whole = items.concat();
            let expected = match query {
                // Up to the picture that is shown before the end.
                "?end=1.5" => &whole[..25 + 12],
                "?t=0.5&end=1.6" => &whole[..25 + 15],
                _ => &whole[..],
            };
            let played = played.join().expect("no panic");
            assert!(played.len() >= expected.len(), "{coding}{query}: {} pictures", played.len());
            let (shown, ahead) = played.split_at(expected.len());
            assert_eq!(shown, expected, "{coding}{query}");
            // What others lean on is sent ahead of its turn, and before the end.
            let next = &whole[expected.len()..whole.len().min(expected.len() + 8)];
            assert!(ahead.len() <= 3 && ahead.iter().all(|picture| next.contains(picture)), "{coding}{query}: {} ahead", ahead.len());
        }
    });
}

#[test]
fn a_range_is_played_backwards() {
    let Some((scene, _)) = set() else { return };
    let url = scene.url(V6, "back.mp4?t=10") + "&end=6&scale=-4";
    let viewer = Viewer::watch(&scene.network.a, &url, Udp);
    assert!(viewer.description.contains("a=range:npt=0-10"), "{}", viewer.description);
    viewer.video().recording.wait_for("BYE", SOON, Arrived::bye_at);
    let pictures = viewer.video().units();
    assert!(pictures.iter().all(|picture| picture.key));
    // A key picture every 0.4 s, from 10 to 6.
    assert_eq!(pictures.len(), 11);
    let took = pictures.last().expect("eleven").timestamp.wrapping_sub(pictures[0].timestamp);
    assert_eq!(took, 90_000, "four seconds at -4");
    let mut command = scene.network.b.command("ffmpeg");
    let output = command.args(["-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", &url]).args(FRAMEHASH).output();
    assert_eq!(hashes(&output.expect("ffmpeg runs")).len(), 11);
    let mut connection = Connection::open(&scene.network.a, authority(&url));
    let url = scene.url(V6, "back.mp4?t=10") + "&end=6";
    let described = connection.request("DESCRIBE", &url, &[("Accept", "application/sdp")]).ok();
    let track = format!("{}trackID=0", described.expect_header("Content-Base"));
    let answer = connection.request("SETUP", &track, &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")]);
    assert_eq!(answer.status, 457, "forward there is no such range");
}

const LEN: usize = 188;

fn transport_packets(packets: &[Packet]) -> Vec<Vec<u8>> {
    packets.iter().flat_map(|packet| packet.payload().chunks(LEN).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
}

/// From round to round the file's packets come as they are: counters and clock references begin anew, timestamps go on. FFmpeg goes on.
#[test]
fn a_transport_stream_is_repeated_as_it_is() {
    let Some((scene, folder)) = set() else { return };
    let url = scene.url(V6, "round.ts?as=ts") + "&loop";
    let mut command = scene.network.b.command("ffmpeg");
    command.args(["-v", "fatal", "-nostdin", "-rtsp_transport", "tcp", "-i", &url, "-map", "0:v", "-frames:v", "60"]);
    let ffmpeg = command.args(["-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5", "-"]).stdout(std::process::Stdio::piped());
    let ffmpeg = ffmpeg.spawn().expect("ffmpeg starts");
    let viewer = Viewer::watch(&scene.network.a, &url, Udp);
    let file = std::fs::read(folder.join("round.ts")).expect("there");
    let file: Vec<Vec<u8>> = file.chunks(LEN).map(<[u8]>::to_vec).collect();
    let rounds = file.len() * 5 / 2;
    viewer.video().recording.wait_for("two rounds and a half", SLACK, |arrived| {
        (arrived.rtp.iter().map(|packet| packet.payload().len() / LEN).sum::<usize>() >= rounds).then_some(())
    });
    let packets = viewer.video().packets();
    crate::support::viewer::assert_contiguous("the stream", &packets);
    let came = transport_packets(&packets);
    let again: Vec<Vec<u8>> = file.iter().cycle().take(came.len()).cloned().collect();
    assert!(came == again, "{} packets, {} a round", came.len(), file.len());
    let steps: Vec<u32> = packets.windows(2).map(|pair| pair[1].timestamp().wrapping_sub(pair[0].timestamp())).collect();
    assert!(steps.iter().all(|step| *step < 90_000), "timestamps go on: {:?}", steps.iter().max());
    let output = ffmpeg.wait_with_output().expect("ffmpeg ends");
    let shown = hashes(&output);
    assert_eq!(shown.len(), 60, "pictures of three rounds");
    assert!(shown[26..50].iter().any(|picture| shown[..25].contains(picture)), "the same again");
}

/// Two hours, in which the clock of the stream wraps round.
#[test]
fn a_long_transport_stream_is_played_from_near_its_end() {
    let Some((scene, folder)) = set() else { return };
    let url = scene.url(V6, "long.ts?as=ts") + "&t=7198";
    let viewer = Viewer::watch(&scene.network.a, &url, Interleaved);
    viewer.video().recording.wait_for("BYE", SLACK, Arrived::bye_at);
    let came = transport_packets(&viewer.video().packets());
    let file = std::fs::read(folder.join("long.ts")).expect("there");
    let tail = came.concat();
    assert!(file.ends_with(&tail) && came.len() > 4, "{} packets are not the file's last", came.len());
    assert!(tail.len() < file.len() / 1_000, "{} octets of {}", tail.len(), file.len());
}

/// What no packet can hold is counted, and told once; the pictures play. Packets leave room for the number of one that is sent again.
#[test]
fn sound_that_no_packet_can_hold_is_counted() {
    let Some((scene, _)) = set() else { return };
    let viewer = Viewer::watch(&scene.network.a, &scene.url(V6, "loud.mkv"), Udp);
    viewer.video().recording.wait_for("40 packets", SOON, |arrived| (arrived.rtp.len() >= 40).then_some(()));
    assert_eq!(viewer.video().packets().iter().map(|packet| packet.octets.len()).max(), Some(1398));
    assert_eq!(viewer.audio().recording.count(), 0);
    let counted = |metrics: &str| {
        let line = metrics.lines().find(|line| line.starts_with("flowsteer_oversized_access_units_total"))?;
        line.rsplit(' ').next()?.parse::<u64>().ok().filter(|count| *count > 3)
    };
    wait_for("the counter", SOON, || counted(&scene.operator().get("/metrics").text()));
    drop(viewer);
}
