//! Each coding that ffmpeg sends and the server takes in: what a player gets is what is in the film, to its end; with the options of OBS, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::publish::{Studio, studio};
use crate::support::namespaces::Family::{V4, V6};
use crate::support::{Killed, SOON, wait_for};

/// How long a player may go on behind its title's end.
const SLACK: Duration = Duration::from_secs(15);
/// Pictures of a film at least that a player is to get: it comes late.
const LEAST: usize = 20;
/// Octets that ffmpeg waits to send with others, and keeps to itself at the end: a packet.
const KEPT: usize = 1500;
/// Pictures, and noise of which no part is like another …
const SOURCES: &str = "-f lavfi -i testsrc2=s=160x90:r=25 -f lavfi -i anoisesrc=r=48000:a=0.3:seed=7";
/// … for so long: players that start together with all others have time to begin.
const SECONDS: &str = "12";

/// What is published under a name.
struct Coding {
    name: &'static str,
    transport: &'static str,
    /// How ffmpeg codes it.
    coded: &'static str,
    /// Of each sound, how many of the last octets may be missing.
    kept: &'static [usize],
    /// Whether it is coded while it is published, as OBS does.
    at_once: bool,
}

const CODINGS: [Coding; 7] = [
    Coding {
        name: "h265-opus",
        transport: "udp",
        coded: "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25:scenecut=0:bframes=3 -c:a libopus -b:a 64k",
        kept: &[0],
        at_once: false,
    },
    Coding {
        name: "vp8-vorbis",
        transport: "tcp",
        coded: "-c:v libvpx -deadline realtime -cpu-used 8 -g 25 -b:v 300k -c:a libvorbis",
        kept: &[KEPT],
        at_once: false,
    },
    Coding {
        name: "vp9-mp3",
        transport: "udp",
        coded: "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -b:v 300k -c:a libmp3lame -b:a 128k",
        kept: &[KEPT],
        at_once: false,
    },
    Coding {
        name: "mpeg4-g711",
        transport: "tcp",
        coded: "-map 1:a -c:v mpeg4 -bf 2 -g 25 -b:v 600k -ar 8000 -c:a:0 pcm_mulaw -c:a:1 pcm_alaw",
        kept: &[0, 0],
        at_once: false,
    },
    Coding {
        name: "mpeg2-samples",
        transport: "udp",
        coded: "-map 1:a -c:v mpeg2video -bf 2 -g 25 -b:v 600k -c:a:0 pcm_s16be -c:a:1 g722 -ar:a:1 16000",
        kept: &[0, 0],
        at_once: false,
    },
    // x264 as OBS sets it up: key pictures each two seconds, without B-pictures and with parameter sets before each of them, and the other way round.
    Coding {
        name: "obs-zerolatency",
        transport: "tcp",
        coded: "-c:v libx264 -preset veryfast -tune zerolatency -g 50 -b:v 600k -x264-params repeat-headers=1 -c:a aac -b:a 160k",
        kept: &[KEPT],
        at_once: true,
    },
    Coding {
        name: "obs-veryfast",
        transport: "udp",
        coded: "-c:v libx264 -preset veryfast -g 50 -bf 2 -b:v 600k -flags +global_header -c:a aac -b:a 160k",
        kept: &[KEPT],
        at_once: true,
    },
];

impl Coding {
    fn path(&self) -> String {
        format!("studio/{}", self.name)
    }

    fn film(&self, folder: &Path) -> PathBuf {
        folder.join(self.name).with_extension(if self.at_once { "nut" } else { "mkv" })
    }

    fn coding(&self) -> impl Iterator<Item = &'static str> {
        ["-map", "0:v", "-map", "1:a"].into_iter().chain(self.coded.split(' ')).chain(["-pix_fmt", "yuv420p"])
    }

    fn make(&self, folder: &Path) {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y"]).args(SOURCES.split(' ')).args(["-t", SECONDS]).args(self.coding());
        assert!(command.arg(self.film(folder)).status().expect("ffmpeg starts").success(), "{}", self.name);
    }

    /// Publishes it once in real time.
    fn publish(&self, studio: &Studio, folder: &Path) -> Killed {
        let target = studio.target(if self.transport == "udp" { V6 } else { V4 }, "anna:s3cret@", &self.path());
        let mut command = studio.scene.network.b.command("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error", "-y", "-re"]);
        if self.at_once {
            // Each source by itself in real time; what is published is kept, too.
            command.args(SOURCES.replace(" -f", " -re -f").split(' ')).args(["-t", SECONDS]).args(self.coding());
            let film = self.film(folder);
            command.args(["-f", "tee"]).arg(format!("[f=rtsp:rtsp_transport={}]{target}|[f=nut]{}", self.transport, film.display()));
        } else {
            command.arg("-i").arg(self.film(folder)).args(["-map", "0", "-c", "copy", "-strict", "experimental"]);
            command.args(["-f", "rtsp", "-rtsp_transport", self.transport, &target]);
        }
        Killed(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("ffmpeg starts"))
    }

    /// What ffmpeg gives of a source: hashes of the pictures that it decodes, and all octets of each sound.
    fn keep(&self, mut command: Command, source: &str, out: &Path) -> Command {
        command
            .args(["-i", source, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5"])
            .arg(out.join("pictures"));
        for sound in 0..self.kept.len() {
            command.args(["-map", &format!("0:a:{sound}"), "-c", "copy", "-f", "data"]).arg(out.join(format!("sound{sound}")));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn kept(&self, out: &Path) -> (Vec<String>, Vec<Vec<u8>>) {
        let read = |name: &str| fs::read(out.join(name)).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name));
        let text = String::from_utf8(read("pictures")).expect("text");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pictures = lines.filter_map(|line| line.rsplit(',').next()).map(|hash| hash.trim().to_owned()).collect();
        (pictures, (0..self.kept.len()).map(|sound| read(&format!("sound{sound}"))).collect())
    }

    fn is_published_and_watched(&self, studio: &Studio, folder: &Path) {
        let outs = ["in", "got"].map(|what| folder.join(format!("{}-{what}", self.name)));
        outs.iter().for_each(|out| fs::create_dir(out).expect("a new folder"));
        let mut publisher = self.publish(studio, folder);
        wait_for(&format!("{} to be there", self.name), SOON, || studio.shown_at(&self.path()));
        let mut command = studio.scene.network.a.command("ffmpeg");
        let is_udp = self.transport == "tcp";
        command.args(["-nostdin", "-loglevel", "error", "-y", "-rtsp_transport", if is_udp { "udp" } else { "tcp" }]);
        command.args(["-buffer_size", "8388608", "-reorder_queue_size", "1000"]);
        let url = studio.scene.url(if is_udp { V6 } else { V4 }, &self.path());
        let mut player = Killed(self.keep(command, &url, &outs[1]).spawn().expect("ffmpeg starts"));
        assert!(publisher.0.wait().expect("our child can be waited for").success(), "{} is published to its end", self.name);
        let ended = wait_for(&format!("the player of {} to end", self.name), SLACK, || player.0.try_wait().expect("our child"));
        assert!(ended.success(), "{}: {ended}", self.name);
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error", "-y"]);
        let film = self.film(folder);
        assert!(self.keep(command, film.to_str().expect("text"), &outs[0]).status().expect("ffmpeg runs").success());
        let ((held, sounds), (pictures, heard)) = (self.kept(&outs[0]), self.kept(&outs[1]));
        assert!(pictures.len() >= LEAST && held.ends_with(&pictures), "{}: {} of {} pictures", self.name, pictures.len(), held.len());
        for ((sound, heard), kept) in sounds.iter().zip(heard).zip(self.kept) {
            let begin = &heard[..heard.len().min(64)];
            let begins = sound.windows(begin.len().max(1)).position(|window| window == begin);
            let begins =
                begins.unwrap_or_else(|| panic!("{}: what begins the {} octets of sound is not in the film", self.name, heard.len()));
            let rest = &sound[begins..];
            let alike = rest.iter().zip(&heard).take_while(|(held, heard)| held == heard).count();
            let missing = rest.len() - alike.min(rest.len());
            assert!(alike == heard.len() && missing <= *kept, "{}: {alike} of {} octets alike, {missing} missing", self.name, heard.len());
            assert!(heard.len() * 5 >= sound.len(), "{}: {} of {} octets", self.name, heard.len(), sound.len());
        }
    }
}

#[test]
fn each_coding_is_watched_as_it_was_published() {
    let Some(studio) = studio() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    // All are there before one is played: nothing else is coded meanwhile but what has to be.
    std::thread::scope(|scope| {
        for coding in CODINGS.iter().filter(|coding| !coding.at_once) {
            scope.spawn(|| coding.make(folder.path()));
        }
    });
    std::thread::scope(|scope| {
        for coding in &CODINGS {
            scope.spawn(|| coding.is_published_and_watched(&studio, folder.path()));
        }
    });
    assert_eq!(studio.metric("flowsteer_published_dropped_total"), 0, "nothing was lost, and nothing was junk");
}

#[test]
fn what_is_not_taken_in_is_refused_or_named() {
    let Some(studio) = studio() else { return };
    let publish = |coded: &str, path: &str| {
        let mut command = studio.scene.network.b.command("ffmpeg");
        // It is killed before its end.
        command.args(["-nostdin", "-loglevel", "error", "-re"]).args(SOURCES.split(' ')).args(["-t", "60"]).args(coded.split(' '));
        command.args(["-f", "rtsp", "-rtsp_transport", "tcp", &studio.target(V4, "anna:s3cret@", path)]);
        Killed(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ffmpeg starts"))
    };
    let mut refused = publish("-map 0:v -c:v libtheora -pix_fmt yuv420p", "studio/theora");
    let _partly = publish("-map 0:v -map 1:a -c:v mjpeg -huffman default -pix_fmt yuvj420p -c:a pcm_alaw -ar 8000", "studio/partly");
    let said = std::io::read_to_string(refused.0.stderr.take().expect("stderr is a pipe")).expect("text");
    assert!(!refused.0.wait().expect("our child can be waited for").success() && said.contains("415"), "{said}");
    let shown = wait_for("the title to be online", SOON, || studio.shown_at("studio/partly").filter(|title| title["online"] == true));
    assert_eq!(shown["problem"], "video coded as JPEG is not taken in");
    assert_eq!(shown["tracks"].as_array().map(Vec::len), Some(1));
}
