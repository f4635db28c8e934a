"""Films made by a command, and what is in them: a digest of each picture and of each audio frame, as a receiver can compute them.

720p30 H.264 and AAC of about 4.15 Mbit/s. Moving pictures with noise, so that the encoder needs its rate; no perceptual noise
substitution in the sound, so that decoding it gives the same samples each time.
"""

import hashlib
import os
import subprocess

RATE = 30
SAMPLE_RATE = 48_000
FRAME_SAMPLES = 1_024


class Film:
    def __init__(self, folder, seconds, key_seconds, b_pictures, is_open=False):
        self.name = f"film-{seconds}s-key{key_seconds}-b{b_pictures}{'-open' if is_open else ''}.mp4"
        self.is_open = is_open
        self.seconds, self.key_seconds, self.b_pictures = seconds, key_seconds, b_pictures
        self.path = os.path.join(folder, self.name)
        if not os.path.exists(self.path):
            os.makedirs(folder, exist_ok=True)
            self._make()
        self._pictures = self._frames = None

    def command(self, out):
        """The command that makes it."""
        distance = self.key_seconds * RATE
        return (
            ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
            + ["-f", "lavfi", "-i", f"testsrc2=size=1280x720:rate={RATE}:duration={self.seconds},noise=alls=12:allf=t,format=yuv420p"]
            + ["-f", "lavfi", "-i", f"aevalsrc=exprs='0.2*sin(2*PI*(300+20*t)*t)+0.1*(random(0)-0.5)':sample_rate={SAMPLE_RATE}:duration={self.seconds}"]
            + ["-map", "0:v", "-map", "1:a", "-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-profile:v", "main"]
            + ["-b:v", "4M", "-maxrate", "4M", "-bufsize", "2M", "-x264-params", f"open-gop={int(self.is_open)}"]
            + ["-g", str(distance), "-keyint_min", str(distance), "-sc_threshold", "0", "-bf", str(self.b_pictures), "-b_strategy", "0"]
            + ["-c:a", "aac", "-aac_pns", "0", "-b:a", "128k", "-ac", "2", "-movflags", "+faststart"]
            + ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1", "-f", "mp4", out]
        )

    def _make(self):
        part = f"{self.path}.{os.getpid()}.part"
        subprocess.run(self.command(part), check=True)
        os.rename(part, self.path)

    def _copied(self, *options):
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-ignore_editlist", "1", "-i", self.path, "-c", "copy", *options, "-"]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout

    @property
    def pictures(self):
        """Digest of a picture's slices → its place in decoding order."""
        if self._pictures is None:
            slices = []
            for unit in self._copied("-map", "0:v", "-f", "h264").split(b"\0\0\1")[1:]:
                # The zero before the next start code belongs to that one.
                unit = unit.rstrip(b"\0")
                if unit[0] & 0x1F in (1, 5):
                    if unit[1] & 0x80:
                        slices.append([])
                    slices[-1].append(unit)
            self._pictures = {digest(parts): index for index, parts in enumerate(slices)}
            if len(self._pictures) != self.seconds * RATE:
                raise RuntimeError(f"{self.name} has {len(self._pictures)} different pictures")
        return self._pictures

    @property
    def frames(self):
        """Digest of an audio frame → its place."""
        if self._frames is None:
            octets, at, frames = self._copied("-map", "0:a", "-f", "adts"), 0, []
            while at + 7 <= len(octets):
                length = (octets[at + 3] & 3) << 11 | octets[at + 4] << 3 | octets[at + 5] >> 5
                head = 7 if octets[at + 1] & 1 else 9
                frames.append(digest([octets[at + head : at + length]]))
                at += length
            self._frames = {one: index for index, one in enumerate(frames) if frames.count(one) == 1}
        return self._frames


def digest(parts):
    made = hashlib.md5()
    for part in parts:
        made.update(part)
    return made.digest()[:8]
