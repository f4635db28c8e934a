//! Video payloads beside readers that are not ours: the `rtp` crate puts packets together, and ffmpeg decodes what is left when disposable
//! access units are.
//!
//! Where ffmpeg is missing the tests are skipped by name; `FLOWSTEER_REQUIRE_TOOLS=1` makes that a failure.

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use flowsteer::library::{Av1Config, Codec, Mpeg4VisualConfig, PictureSize, Vp9Config};
use flowsteer::payload::{PacketBuffer, Payloader, RTP_HEADER_LEN};
use rtp::codecs::{vp8::Vp8Packet, vp9::Vp9Packet};
use rtp::packetizer::Depacketizer;

const PICTURE: &str = "testsrc2=s=320x180:r=25,noise=alls=2:allf=t";

/// Two seconds coded so, as a file of that format; `None` (having said so) where ffmpeg cannot.
fn film(test: &str, folder: &Path, format: &str, coded: &[&str]) -> Option<Vec<u8>> {
    let path = folder.join("film");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", PICTURE, "-t", "2", "-pix_fmt", "yuv420p"]);
    command.args(coded).args(["-f", format]).arg(&path).stderr(Stdio::null());
    if command.status().is_ok_and(|status| status.success()) {
        return Some(std::fs::read(&path).expect("ffmpeg wrote it"));
    }
    assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "{test}: ffmpeg does not code {coded:?}");
    eprintln!("skipped: {test}: ffmpeg does not code {coded:?}");
    None
}

/// An IVF file's header and its frames, each with its header of twelve octets (RFC 6386 section 9.1 names neither: 32 octets, then size
/// and time before each frame, little-endian).
fn ivf(file: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let (header, mut rest) = file.split_at(32);
    let mut frames = Vec::new();
    while let Some(size) = rest.first_chunk::<4>() {
        let (frame, behind) = rest.split_at(12 + u32::from_le_bytes(*size) as usize);
        frames.push(frame);
        rest = behind;
    }
    (header, frames)
}

/// A hash of each picture that ffmpeg decodes from a file of that format, by its time.
fn decoded(folder: &Path, format: &str, file: &[u8]) -> Vec<(String, String)> {
    let path = folder.join("decoded");
    std::fs::write(&path, file).expect("room for it");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-f", format, "-i"]).arg(&path);
    let output = command.args(["-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5", "-"]).output().expect("ffmpeg runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let fields = |line: &str| line.split(',').map(|field| field.trim().to_owned()).collect::<Vec<_>>();
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(fields);
    lines.map(|fields| (fields[2].clone(), fields[5].clone())).collect()
}

fn sent(payloader: &Payloader, unit: &[u8]) -> PacketBuffer {
    let mut buffer = PacketBuffer::default();
    payloader.payload(unit, false, &mut buffer).expect("a sound access unit");
    assert!(buffer.packets().iter().rev().enumerate().all(|(behind, packet)| packet.marker == (behind == 0)));
    buffer
}

fn payloads(buffer: &PacketBuffer) -> impl Iterator<Item = Bytes> {
    buffer.packets().iter().map(|packet| Bytes::copy_from_slice(&buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..]))
}

const SIZE: PictureSize = PictureSize { width: 320, height: 180 };
const REALTIME: [&str; 6] = ["-deadline", "realtime", "-cpu-used", "8", "-b:v", "600k"];
/// libvpx's three temporal layers: half of the pictures are referred to by none.
const LAYERS: &str = "ts_number_layers=3:ts_target_bitrate=240,360,600:ts_rate_decimator=4,2,1:ts_periodicity=4:ts_layer_id=0,2,1,2:\
                      ts_layering_mode=3";

#[test]
fn vp8_is_put_together_by_another_reader() {
    let test = "vp8_is_put_together_by_another_reader";
    let folder = tempfile::tempdir().expect("a folder");
    let coded = [&["-c:v", "libvpx", "-g", "25"][..], &REALTIME].concat();
    let Some(file) = film(test, folder.path(), "ivf", &coded) else { return };
    let (_, frames) = ivf(&file);
    assert_eq!(frames.len(), 50);
    let payloader = Payloader::new(&Codec::Vp8(SIZE), 700).expect("sound");
    let mut packets = 0;
    for frame in frames {
        let frame = &frame[12..];
        let buffer = sent(&payloader, frame);
        let mut received = Vec::new();
        for (position, payload) in payloads(&buffer).enumerate() {
            let mut packet = Vp8Packet::default();
            received.extend_from_slice(&packet.depacketize(&payload).expect("a VP8 payload"));
            assert_eq!((packet.s, packet.pid, packet.x), (u8::from(position == 0), 0, 0));
            assert_eq!(packet.n == 1, payloader.is_disposable(frame));
        }
        assert_eq!(received, frame);
        packets += buffer.packets().len();
    }
    assert!(packets > 100, "several packets a frame");
}

#[test]
fn vp9_is_put_together_by_another_reader() {
    let test = "vp9_is_put_together_by_another_reader";
    let folder = tempfile::tempdir().expect("a folder");
    // Two passes and looking ahead make hidden frames, and superframes of them.
    let log = folder.path().join("log");
    let coded = ["-c:v", "libvpx-vp9", "-g", "50", "-deadline", "good", "-cpu-used", "5", "-b:v", "200k", "-lag-in-frames", "25"];
    let coded = [&coded[..], &["-auto-alt-ref", "1", "-passlogfile", log.to_str().expect("text")]].concat();
    let pass = |number| film(test, folder.path(), "ivf", &[&coded[..], &["-pass", number]].concat());
    let (Some(_), Some(file)) = (pass("1"), pass("2")) else { return };
    let (_, frames) = ivf(&file);
    let payloader = Payloader::new(&Codec::Vp9(Vp9Config { profile: 0, size: SIZE }), 700).expect("sound");
    let (mut keys, mut superframes) = (0, 0);
    for frame in frames {
        let frame = &frame[12..];
        superframes += usize::from(frame[frame.len() - 1] & 0xe0 == 0xc0);
        // frame_marker 2, profile 0, show_existing_frame and frame_type 0.
        let is_key = frame[0] & 0xfc == 0x80;
        keys += usize::from(is_key);
        let buffer = sent(&payloader, frame);
        let (mut received, last) = (Vec::new(), buffer.packets().len() - 1);
        for (position, payload) in payloads(&buffer).enumerate() {
            let mut packet = Vp9Packet::default();
            received.extend_from_slice(&packet.depacketize(&payload).expect("a VP9 payload"));
            assert_eq!((packet.b, packet.e, packet.p), (position == 0, position == last, !is_key));
            assert!(!packet.i && !packet.l && !packet.f && !packet.v);
        }
        assert_eq!(received, frame);
    }
    assert!(keys >= 1 && superframes >= 1, "{keys} key frames, {superframes} superframes");
}

/// Leaves out what is disposable: the other pictures are decoded as they were.
fn leaving_out_is_no_harm(codec: &Codec, format: &str, file: &[u8], units: &[&[u8]], head: &[u8], unit_head: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let payloader = Payloader::new(codec, 1_400).expect("sound");
    let is_kept = |unit: &&&[u8]| !payloader.is_disposable(&unit[unit_head..]);
    let kept: Vec<&[u8]> = units.iter().filter(is_kept).copied().collect();
    let left_out = units.len() - kept.len();
    assert!(left_out * 4 >= units.len(), "{format}: {left_out} of {} are disposable", units.len());
    let whole = decoded(folder.path(), format, file);
    let rest = decoded(folder.path(), format, &[head, &kept.concat()].concat());
    assert_eq!((whole.len(), rest.len()), (units.len(), kept.len()));
    if format == "ivf" {
        assert!(rest.iter().all(|picture| whole.contains(picture)), "time and picture");
    } else {
        // An elementary stream has no times.
        let mut left = whole.iter();
        assert!(rest.iter().all(|(_, picture)| left.any(|(_, known)| known == picture)), "in the same order");
    }
}

#[test]
fn vp8_decodes_without_what_is_disposable() {
    let test = "vp8_decodes_without_what_is_disposable";
    let folder = tempfile::tempdir().expect("a folder");
    let coded = [&["-c:v", "libvpx", "-g", "25", "-error-resilient", "1", "-ts-parameters", LAYERS][..], &REALTIME].concat();
    let Some(file) = film(test, folder.path(), "ivf", &coded) else { return };
    let (head, frames) = ivf(&file);
    leaving_out_is_no_harm(&Codec::Vp8(SIZE), "ivf", &file, &frames, head, 12);
}

#[test]
fn vp9_decodes_without_what_is_disposable() {
    let test = "vp9_decodes_without_what_is_disposable";
    let folder = tempfile::tempdir().expect("a folder");
    let coded = [&["-c:v", "libvpx-vp9", "-g", "25", "-error-resilient", "1", "-ts-parameters", LAYERS][..], &REALTIME].concat();
    let Some(file) = film(test, folder.path(), "ivf", &coded) else { return };
    let (head, frames) = ivf(&file);
    leaving_out_is_no_harm(&Codec::Vp9(Vp9Config { profile: 0, size: SIZE }), "ivf", &file, &frames, head, 12);
}

#[test]
fn av1_decodes_without_what_is_disposable() {
    let test = "av1_decodes_without_what_is_disposable";
    let folder = tempfile::tempdir().expect("a folder");
    // Low delay with a pyramid: the highest layer is kept in no slot, and no picture is shown later than it is coded.
    let coded = ["-c:v", "libsvtav1", "-preset", "12", "-g", "25", "-svtav1-params", "pred-struct=1"];
    let Some(file) = film(test, folder.path(), "ivf", &coded) else { return };
    let (head, frames) = ivf(&file);
    // A delimiter of two octets, then the sequence header.
    let sequence_header = frames[0][14..14 + 2 + usize::from(frames[0][15])].to_vec();
    let config = Av1Config { profile: 0, level_idx: 0, tier: 0, sequence_header, width: 320, height: 180 };
    leaving_out_is_no_harm(&Codec::Av1(config), "ivf", &file, &frames, head, 12);
}

/// The access units of an elementary stream, each up to the start code that begins the next.
fn elementary(file: &[u8], begins: &[u8], picture: u8) -> Vec<Vec<u8>> {
    let starts: Vec<usize> = (0..file.len() - 3).filter(|at| file[*at..at + 3] == [0, 0, 1]).collect();
    let (mut cuts, mut has_picture) = (vec![0], false);
    for at in starts {
        let kind = file[at + 3];
        if has_picture && begins.contains(&kind) {
            cuts.push(at);
            has_picture = false;
        }
        has_picture |= kind == picture;
    }
    cuts.push(file.len());
    cuts.windows(2).map(|cut| file[cut[0]..cut[1]].to_vec()).collect()
}

#[test]
fn mpeg_video_decodes_without_what_is_disposable() {
    let folder = tempfile::tempdir().expect("a folder");
    let test = "mpeg_video_decodes_without_what_is_disposable";
    for coder in ["mpeg2video", "mpeg1video"] {
        let coded = ["-c:v", coder, "-bf", "2", "-g", "13", "-b:v", "800k"];
        let Some(file) = film(test, folder.path(), coder, &coded) else { return };
        let units = elementary(&file, &[0xb3, 0xb8, 0], 0);
        let units: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
        leaving_out_is_no_harm(&Codec::Mpeg2Video(SIZE), "mpegvideo", &file, &units, &[], 0);
    }
}

#[test]
fn mpeg4_decodes_without_what_is_disposable() {
    let folder = tempfile::tempdir().expect("a folder");
    let coded = ["-c:v", "mpeg4", "-bf", "2", "-g", "25", "-b:v", "600k"];
    let Some(file) = film("mpeg4_decodes_without_what_is_disposable", folder.path(), "m4v", &coded) else { return };
    let units = elementary(&file, &[0xb0, 0xb3, 0xb6], 0xb6);
    let units: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
    let codec = Codec::Mpeg4Visual(Mpeg4VisualConfig { headers: Vec::new(), width: 320, height: 180 });
    leaving_out_is_no_harm(&codec, "m4v", &file, &units, &[], 0);
}
