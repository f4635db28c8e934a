"""GStreamer as a player that shows what it gets: gstreamer_frames.py URL udp|tcp FOLDER PICTURES SOUND [seek SECONDS | scale FACTOR]

PICTURES and SOUND name what follows rtspsrc for either kind, or "none". Writes FOLDER/pictures, a line for each decoded picture (a hash of its samples), and
FOLDER/sound, the octets of all sound as its depayloader gives them. "seek" goes there once it has something of each kind and keeps what comes after,
"scale" seeks to the beginning at that rate, by key pictures where the server sends no others. It ends when the title does.
"""

import hashlib
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

from gstreamer_player import Player  # noqa: E402
from gstreamer_segments import show_all  # noqa: E402
from tape import tell  # noqa: E402

CHAIN = """
source. ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! application/x-rtp,media={media} ! {elements}
  ! fakesink name={kind} sync=false async=false
"""


def main():
    url, transport, folder, pictures, sound = sys.argv[1:6]
    what, *numbers = sys.argv[6:] or ["whole"]
    Gst.init(None)
    wanted = {"v": ("video", pictures), "a": ("audio", sound)}
    chains = {kind: CHAIN.format(kind=kind, media=media, elements=elements) for kind, (media, elements) in wanted.items() if elements != "none"}
    player = Player(url, transport, 500, chains)
    show_all(player.pipeline)
    player.pipeline.set_state(Gst.State.PLAYING)
    if what != "whole":
        player.wait_for(lambda: {kind for kind, _ in player.received} == set(chains), "picture or sound")
        rate = float(numbers[0]) if what == "scale" else 1.0
        to = int(float(numbers[0]) * Gst.SECOND) if what == "seek" else 0
        flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
        if what == "scale":
            flags |= Gst.SeekFlags.SKIP
        if not player.pipeline.seek(rate, Gst.Format.TIME, flags, Gst.SeekType.SET, to, Gst.SeekType.NONE, 0):
            sys.exit("the seek is refused")
        tell("sought")
    player.wait_for(lambda: player.ended == Gst.MessageType.EOS, "end of stream")
    with open(f"{folder}/pictures", "w") as pictures, open(f"{folder}/sound", "wb") as sound, player.changed:
        for kind, octets in player.received:
            if kind == "v":
                print(hashlib.md5(octets).hexdigest(), file=pictures)
            elif octets[1:7] != b"vorbis":
                # Not the headers that the depayloader makes of the description.
                sound.write(octets)
    player.pipeline.set_state(Gst.State.NULL)
    tell("end")


main()
