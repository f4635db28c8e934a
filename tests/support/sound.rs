//! Sound files of all kinds, made by ffmpeg, and what is in them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// How long each sounds, in seconds.
pub const LENGTH: u32 = 4;

/// A sound file.
#[derive(Clone, Copy, Debug)]
pub struct Sound {
    /// Its name.
    pub name: &'static str,
    /// What ffmpeg makes it with.
    coding: &'static [&'static str],
    /// How ffmpeg writes what is sent of it: as it is, or decoded into these samples.
    sent: &'static str,
    /// GStreamer's element that puts its packets together.
    pub depayloader: &'static str,
    /// Octets of what is sent in a second; zero where it varies.
    pub rate: usize,
}

const fn sound(name: &'static str, coding: &'static [&'static str], sent: &'static str, depayloader: &'static str, rate: usize) -> Sound {
    Sound { name, coding, sent, depayloader, rate }
}

/// All of them.
pub const SOUNDS: [Sound; 22] = [
    sound("layer3.mp3", &["-c:a", "libmp3lame", "-b:a", "128k", "-ar", "44100"], "copy", "rtpmpadepay", 16_000),
    sound("variable.mp3", &["-c:a", "libmp3lame", "-q:a", "4", "-ar", "22050", "-ac", "1"], "copy", "rtpmpadepay", 0),
    sound("layer2.mp2", &["-c:a", "mp2", "-b:a", "192k", "-ar", "48000"], "copy", "rtpmpadepay", 24_000),
    sound("speech.opus", &["-c:a", "libopus", "-b:a", "96k"], "copy", "rtpopusdepay", 0),
    sound("mono.ogg", &["-c:a", "libopus", "-b:a", "24k", "-ac", "1", "-frame_duration", "60"], "copy", "rtpopusdepay", 0),
    sound("speech.ts", &["-c:a", "libopus", "-b:a", "96k"], "copy", "rtpopusdepay", 0),
    sound("music.ogg", &["-c:a", "libvorbis", "-q:a", "9", "-ar", "44100"], "copy", "rtpvorbisdepay", 0),
    sound("cd.flac", &["-c:a", "flac", "-sample_fmt", "s16", "-ar", "44100"], "pcm_s16be", "rtpL16depay", 176_400),
    sound("studio.flac", &["-c:a", "flac", "-sample_fmt", "s32", "-ar", "96000"], "pcm_s24be", "rtpL24depay", 576_000),
    sound("cd.wav", &["-c:a", "pcm_s16le", "-ar", "44100"], "pcm_s16be", "rtpL16depay", 176_400),
    sound("studio.wav", &["-c:a", "pcm_s24le", "-ar", "48000", "-rf64", "always"], "pcm_s24be", "rtpL24depay", 288_000),
    sound("old.wav", &["-c:a", "pcm_u8", "-ar", "11025", "-ac", "1"], "pcm_s16be", "rtpL16depay", 22_050),
    sound("mulaw.wav", &["-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "1"], "copy", "rtppcmudepay", 8_000),
    sound("alaw.wav", &["-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1"], "copy", "rtppcmadepay", 8_000),
    sound("g722.wav", &["-c:a", "g722", "-ar", "16000", "-ac", "1"], "copy", "rtpg722depay", 8_000),
    sound("surround.mp4", &["-c:a", "ac3", "-b:a", "448k", "-ar", "48000", "-ac", "6"], "copy", "rtpac3depay", 56_000),
    sound("opus.mp4", &["-c:a", "libopus", "-b:a", "96k"], "copy", "rtpopusdepay", 0),
    sound("cd.mov", &["-c:a", "pcm_s16le", "-ar", "44100"], "pcm_s16be", "rtpL16depay", 176_400),
    sound("studio.mov", &["-c:a", "pcm_s24be", "-ar", "48000"], "pcm_s24be", "rtpL24depay", 288_000),
    sound("wide.mov", &["-c:a", "pcm_s24le", "-ar", "96000"], "pcm_s24be", "rtpL24depay", 576_000),
    sound("mulaw.mov", &["-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "1"], "copy", "rtppcmudepay", 8_000),
    sound("layer3.mp4", &["-c:a", "libmp3lame", "-b:a", "128k", "-ar", "44100"], "copy", "rtpmpadepay", 16_000),
];

/// The folder with all of them, made once.
pub fn folder() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let folder = TempDir::new().expect("a folder");
        SOUNDS.iter().for_each(|sound| sound.make(folder.path()));
        folder
    };
    MADE.get_or_init(make).path()
}

impl Sound {
    fn make(&self, folder: &Path) {
        let heard = format!("aevalsrc=0.2*random(0)+0.3*sin(2764*t)|0.2*random(1)+0.3*sin(4147*t):d={LENGTH}:s=48000");
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "lavfi", "-i", &heard])
            .args(if self.coding.contains(&"-ac") { &[][..] } else { &["-ac", "2"] })
            .args(self.coding)
            .arg(folder.join(self.name))
            .status()
            .expect("ffmpeg starts");
        assert!(made.success(), "{}", self.name);
    }

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        folder().join(self.name)
    }

    /// What is sent of it, one access unit behind the other.
    pub fn octets(&self) -> Vec<u8> {
        let output = Command::new("ffmpeg")
            .args(
                ["-nostdin", "-v", "error", "-ignore_editlist", "1"]
                    .iter()
                    .take(if self.name.ends_with(".mp4") || self.name.ends_with(".mov") { 5 } else { 3 }),
            )
            .arg("-i")
            .arg(self.path())
            .args(["-map", "0:a", "-c:a", self.sent, "-f", "data", "-"])
            .output()
            .expect("ffmpeg runs");
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}
